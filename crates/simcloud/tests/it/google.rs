use serde_json::{Value, json};
use simcloud::{DEFAULT_GOOGLE_CLIENT_ID, DEFAULT_GOOGLE_CLIENT_SECRET, GoogleClient, Options, SignInMode};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::client::{Answer, Fixture};
use crate::oauth::{VERIFIER, order, page, post, returned, text};

const REDIRECT: &str = "http://127.0.0.1:45678/oauth2/gmail";
const MODIFY: &str = "https://www.googleapis.com/auth/gmail.modify";

fn target(change: &[(&str, &str)]) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let mut query = vec![
        ("client_id", DEFAULT_GOOGLE_CLIENT_ID),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("scope", MODIFY),
        ("state", "state"),
        ("access_type", "offline"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    query.retain(|(name, _)| change.iter().all(|(other, _)| other != name));
    query.extend(change.iter().filter(|(_, value)| !value.is_empty()));
    format!("/o/oauth2/v2/auth?{}", url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish())
}

async fn authorize(it: &Fixture, change: &[(&str, &str)]) -> Answer {
    it.send(it.http.get(format!("{}{}", it.server.url(), target(change)))).await
}

async fn token(it: &Fixture, change: &[(&str, &str)]) -> Answer {
    let mut form = vec![
        ("client_id", DEFAULT_GOOGLE_CLIENT_ID),
        ("client_secret", DEFAULT_GOOGLE_CLIENT_SECRET),
        ("grant_type", "authorization_code"),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    form.retain(|(name, _)| change.iter().all(|(other, _)| other != name));
    form.extend(change.iter().filter(|(_, value)| !value.is_empty()));
    post(it, "/token", &form).await
}

async fn tokens(it: &Fixture, change: &[(&str, &str)]) -> Value {
    let code = returned(&authorize(it, change).await, "code");
    let answer = token(it, &[("code", &code)]).await;
    assert_eq!(answer.status, 200, "{}", page(&answer));
    answer.json()
}

async fn profile(it: &Fixture, access_token: &str) -> Answer {
    let url = format!("{}/gmail/v1/users/me/profile", it.server.url());
    it.send(it.http.get(url).bearer_auth(access_token)).await
}

async fn refresh(it: &Fixture, refresh_token: &str) -> Answer {
    token(it, &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
}

fn refusal(answer: &Answer) -> (u16, String) {
    assert!(answer.json()["error_description"].is_string());
    (answer.status, text(&answer.json(), "error"))
}

#[tokio::test]
async fn a_desktop_program_signs_in() {
    let it = Fixture::calm(1).await;
    let answer = authorize(&it, &[("redirect_uri", "http://[::1]:7/x")]).await;
    assert!(answer.header("location").starts_with("http://[::1]:7/x?state=state&code="));
    let tokens = tokens(&it, &[]).await;
    assert_eq!((&tokens["scope"], &tokens["token_type"]), (&json!(MODIFY), &json!("Bearer")));
    let answer = profile(&it, &text(&tokens, "access_token")).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"emailAddress": "user@domain.com"})));
    let refreshed = refresh(&it, &text(&tokens, "refresh_token")).await.json();
    assert!(refreshed["access_token"].is_string() && refreshed["refresh_token"].is_null());
    let secrets = it.cloud.secrets();
    assert!(secrets.contains(&text(&tokens, "refresh_token")) && secrets.contains(&VERIFIER.to_owned()));
}

#[tokio::test]
async fn the_client_secret_is_demanded() {
    let it = Fixture::calm(1).await;
    let code = returned(&authorize(&it, &[]).await, "code");
    for secret in ["", "wrong"] {
        let answer = token(&it, &[("code", &code), ("client_secret", secret)]).await;
        assert_eq!(refusal(&answer), (401, "invalid_client".to_owned()));
    }
    let answer = token(&it, &[("code", &code), ("client_id", "unknown")]).await;
    assert_eq!(refusal(&answer), (401, "invalid_client".to_owned()));
    assert_eq!(token(&it, &[("code", &code)]).await.status, 200);
    assert_eq!(refusal(&token(&it, &[("code", &code)]).await), (400, "invalid_grant".to_owned()));
}

#[tokio::test]
async fn codes_are_bound_to_verifier_redirect_and_time() {
    let it = Fixture::calm(1).await;
    let code = returned(&authorize(&it, &[]).await, "code");
    let wrong = "another-verifier-that-is-long-enough-for-rfc-7636";
    for (name, value, error) in [
        ("code_verifier", "", "invalid_grant"),
        ("code_verifier", wrong, "invalid_grant"),
        ("redirect_uri", "http://127.0.0.1:1/oauth2/gmail", "redirect_uri_mismatch"),
        ("redirect_uri", "", "invalid_request"),
        ("grant_type", "password", "unsupported_grant_type"),
        ("grant_type", "", "invalid_request"),
    ] {
        let answer = token(&it, &[("code", &code), (name, value)]).await;
        assert_eq!(refusal(&answer), (400, error.to_owned()), "{name}={value}");
    }
    it.cloud.turn(|knobs| knobs.authorization_code_seconds = 0);
    assert_eq!(refusal(&token(&it, &[("code", &code)]).await).1, "invalid_grant");
}

#[tokio::test]
async fn what_is_wrong_with_an_authorization_request_is_shown_on_a_page() {
    let it = Fixture::calm(1).await;
    for (name, value, error) in [
        ("client_id", "unknown", "invalid_client"),
        ("client_id", "", "invalid_request"),
        ("redirect_uri", "http://localhost:1/", "redirect_uri_mismatch"),
        ("redirect_uri", "https://example.com/", "redirect_uri_mismatch"),
        ("response_type", "token", "unsupported_response_type"),
        ("scope", "Mail.Read", "invalid_scope"),
        ("prompt", "please", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("login_hint", "nobody@x.org", "access_denied"),
    ] {
        let answer = authorize(&it, &[(name, value)]).await;
        assert!(answer.header("location").is_empty() && page(&answer).contains(error), "{name}={value}");
    }
}

#[tokio::test]
async fn refresh_tokens_must_be_asked_for() {
    let it = Fixture::calm(1).await;
    assert!(tokens(&it, &[("access_type", "")]).await["refresh_token"].is_null());
    it.cloud.turn(|knobs| knobs.google_refresh_token_once = true);
    assert!(tokens(&it, &[]).await["refresh_token"].is_null(), "consent was given before");
    assert!(tokens(&it, &[("prompt", "select_account consent")]).await["refresh_token"].is_string());
}

#[tokio::test]
async fn users_untick_scopes() {
    let it = Fixture::calm(1).await;
    let body = json!({"scopes": [MODIFY]});
    assert_eq!(order(&it, "POST", "/google/unticked", &body).await.status, 200);
    let tokens = tokens(&it, &[("scope", &format!("openid {MODIFY}"))]).await;
    assert_eq!(tokens["scope"], "openid");
    let answer = profile(&it, &text(&tokens, "access_token")).await;
    let error = answer.json()["error"].clone();
    assert_eq!((answer.status, &error["status"]), (403, &json!("PERMISSION_DENIED")));
    assert_eq!(error["errors"][0]["reason"], "insufficientPermissions");
}

#[tokio::test]
async fn a_revoked_grant_is_over() {
    let it = Fixture::calm(1).await;
    let first = tokens(&it, &[]).await;
    let (access, refresh_token) = (text(&first, "access_token"), text(&first, "refresh_token"));
    assert_eq!(post(&it, "/revoke", &[("token", &access)]).await.status, 200);
    assert_eq!(refusal(&refresh(&it, &refresh_token).await), (400, "invalid_grant".to_owned()));
    let answer = profile(&it, &access).await;
    assert_eq!((answer.status, &answer.json()["error"]["errors"][0]["reason"]), (401, &json!("authError")));
    assert_eq!(refusal(&post(&it, "/revoke", &[("token", &access)]).await), (400, "invalid_token".to_owned()));
    let second = text(&tokens(&it, &[]).await, "refresh_token");
    it.cloud.revoke("user@domain.com", false);
    assert_eq!(refusal(&refresh(&it, &second).await), (400, "invalid_grant".to_owned()));
}

#[tokio::test]
async fn access_tokens_of_google_expire() {
    let it = Fixture::calm(1).await;
    let access = text(&tokens(&it, &[]).await, "access_token");
    it.cloud.expire_access_tokens();
    assert_eq!(profile(&it, &access).await.status, 401);
    assert_eq!(crate::oauth::me(&it, &access).await.status, 401, "another cloud's token is no token");
}

#[tokio::test]
async fn people_pick_an_account_at_google_too() {
    let users = vec!["first@gmail.com".to_owned(), "second@gmail.com".to_owned()];
    let it = Fixture::new(Options { users, ..Options::default() }).await;
    it.cloud.set_sign_in_mode(SignInMode::Form);
    assert!(page(&authorize(&it, &[("login_hint", "first@gmail.com")]).await).contains("id=\"account-1\""));
    let answer = post(&it, &target(&[]), &[("action", "cancel")]).await;
    assert_eq!(returned(&answer, "error"), "access_denied");
    assert_eq!(returned(&authorize(&it, &[("prompt", "none")]).await, "error"), "interaction_required");
    let answer = post(&it, &target(&[]), &[("account", "second@gmail.com"), ("action", "sign-in")]).await;
    let tokens = token(&it, &[("code", &returned(&answer, "code"))]).await.json();
    let who = profile(&it, &text(&tokens, "access_token")).await.json();
    assert_eq!(who["emailAddress"], "second@gmail.com");
    let url = format!("{}/gmail/v1/users/first@gmail.com/profile", it.server.url());
    let answer = it.send(it.http.get(url).bearer_auth(text(&tokens, "access_token"))).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn other_clients_are_registered() {
    let it = Fixture::calm(1).await;
    let client = GoogleClient { client_id: "mine".to_owned(), client_secret: "s".to_owned() };
    it.cloud.register_google(client);
    let code = returned(&authorize(&it, &[("client_id", "mine")]).await, "code");
    assert_eq!(token(&it, &[("code", &code), ("client_id", "mine"), ("client_secret", "s")]).await.status, 200);
    let body = json!({"client_id": "yours", "client_secret": "t"});
    assert_eq!(order(&it, "POST", "/google/clients", &body).await.status, 200);
    assert_eq!(authorize(&it, &[("client_id", "yours")]).await.status, 302);
}
