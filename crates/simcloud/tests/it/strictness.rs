use serde_json::json;
use simcloud::{DEFAULT_CLIENT_ID, Options, RedirectType, Registration};

use crate::client::Fixture;
use crate::oauth::{
    REDIRECT, VERIFIER, authorize, authorize_target, code, me, number, order, page, post, refresh, returned, signed_in,
    text, token,
};

#[tokio::test]
async fn a_verifier_must_be_shown() {
    let it = Fixture::calm(1).await;
    assert_eq!(number(&token(&it, &[("code", &code(&it).await), ("code_verifier", "")]).await), 50_148);
}

#[tokio::test]
async fn a_late_code_is_refused() {
    let it = Fixture::calm(1).await;
    let code = code(&it).await;
    it.cloud.turn(|knobs| knobs.authorization_code_seconds = 0);
    assert_eq!(number(&token(&it, &[("code", &code)]).await), 70_008);
}

#[tokio::test]
async fn a_code_is_good_for_one_tenant_and_one_client() {
    let it = Fixture::calm(1).await;
    let code = code(&it).await;
    let form = [
        ("client_id", DEFAULT_CLIENT_ID),
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    assert_eq!(number(&post(&it, "/contoso.com/oauth2/v2.0/token", &form).await), 700_005);
    it.cloud.register(Registration { client_id: "other".to_owned(), ..Registration::default() });
    assert_eq!(number(&token(&it, &[("code", &code), ("client_id", "other")]).await), 700_005);
    assert_eq!(number(&token(&it, &[("code", "nonsense")]).await), 9_002_313);
    assert_eq!(token(&it, &[("code", &code)]).await.status, 200);
}

#[tokio::test]
async fn the_redirect_of_the_code_must_come_again() {
    let it = Fixture::calm(1).await;
    let code = code(&it).await;
    for other in ["http://localhost:45678/oauth2/msal", "http://127.0.0.1:45678/oauth2/other"] {
        assert_eq!(number(&token(&it, &[("code", &code), ("redirect_uri", other)]).await), 50_011, "{other}");
    }
}

#[tokio::test]
async fn a_missing_parameter_is_named() {
    let it = Fixture::calm(1).await;
    let code = code(&it).await;
    for name in ["client_id", "grant_type", "code", "redirect_uri"] {
        let answer = token(&it, &[("code", if name == "code" { "" } else { &code }), (name, "")]).await;
        assert_eq!(number(&answer), 900_144, "{name}");
        assert!(text(&answer.json(), "error_description").contains(&format!("'{name}'")));
    }
    assert_eq!(number(&refresh(&it, "", &[]).await), 900_144);
    for name in ["response_type", "scope"] {
        let answer = authorize(&it, &[(name, "")]).await;
        assert!(returned(&answer, "error_description").contains("AADSTS900144"), "{name}");
    }
    assert!(page(&authorize(&it, &[("client_id", "")]).await).contains("AADSTS900144"));
    assert!(page(&authorize(&it, &[("redirect_uri", "")]).await).contains("AADSTS900971"));
    assert_ne!(returned(&authorize(&it, &[("what_is_this", "x")]).await, "code"), "", "unknown parameters are fine");
}

#[tokio::test]
async fn tokens_come_only_where_they_were_asked_for() {
    let it = Fixture::calm(1).await;
    let answer = authorize(&it, &[("scope", "Mail.ReadWrite")]).await;
    let tokens = token(&it, &[("code", &returned(&answer, "code"))]).await.json();
    assert!(tokens["refresh_token"].is_null() && tokens["id_token"].is_null());
    let answer = authorize(&it, &[("scope", "Mail.ReadWrite openid offline_access"), ("nonce", "n")]).await;
    let tokens = token(&it, &[("code", &returned(&answer, "code"))]).await.json();
    assert!(tokens["refresh_token"].is_string() && tokens["id_token"].is_string());
}

#[tokio::test]
async fn refresh_tokens_grow_old() {
    let it = Fixture::calm(1).await;
    let old = signed_in(&it).await;
    it.cloud.age_refresh_tokens("", 89 * 86_400);
    let new = text(&refresh(&it, &old, &[]).await.json(), "refresh_token");
    it.cloud.age_refresh_tokens("user@domain.com", 2 * 86_400);
    assert_eq!(number(&refresh(&it, &old, &[]).await), 700_082);
    assert_eq!(refresh(&it, &new, &[]).await.status, 200);
    let answer = order(&it, "POST", "/tokens/age", &json!({"seconds": 90 * 86_400})).await;
    assert_eq!((answer.status, number(&refresh(&it, &new, &[]).await)), (200, 700_082));
}

#[tokio::test]
async fn the_day_of_a_single_page_application_begins_with_the_sign_in() {
    let it = Fixture::calm(1).await;
    it.cloud.register(Registration { redirect_type: RedirectType::Spa, ..Registration::default() });
    let post_with_origin = async |more: &[(&str, &str)]| {
        let mut form = vec![("client_id", DEFAULT_CLIENT_ID)];
        form.extend_from_slice(more);
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = it.http.post(format!("{}/common/oauth2/v2.0/token", it.server.url())).body(body);
        let kind = "application/x-www-form-urlencoded";
        it.send(request.header("Content-Type", kind).header("Origin", "http://127.0.0.1:8080")).await
    };
    let code = code(&it).await;
    let grant = [("grant_type", "authorization_code"), ("redirect_uri", REDIRECT), ("code_verifier", VERIFIER)];
    let first = post_with_origin(&[grant[0], grant[1], grant[2], ("code", &code)]).await.json();
    let refresh =
        async |token: &str| post_with_origin(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await;
    it.cloud.age_refresh_tokens("", 80_000);
    let second = text(&refresh(&text(&first, "refresh_token")).await.json(), "refresh_token");
    it.cloud.age_refresh_tokens("", 7_000);
    assert_eq!(number(&refresh(&second).await), 700_084);
    let without = authorize(&it, &[("code_challenge", ""), ("code_challenge_method", "")]).await;
    let answer = post_with_origin(&[grant[0], grant[1], ("code", &returned(&without, "code"))]).await;
    assert_eq!(number(&answer), 9_002_325);
}

#[tokio::test]
async fn what_leaves_a_sign_in_open_to_others_is_noted() {
    let it = Fixture::calm(1).await;
    assert_eq!(authorize(&it, &[]).await.status, 302);
    assert!(it.cloud.counters().notes.is_empty());
    let change = [("code_challenge", ""), ("code_challenge_method", ""), ("state", "")];
    assert_eq!(authorize(&it, &change).await.status, 302);
    let plain = [("code_challenge", VERIFIER), ("code_challenge_method", "plain")];
    assert_eq!(authorize(&it, &plain).await.status, 302);
    let notes = it.cloud.counters().notes;
    assert!(notes.contains_key("authorize: no PKCE") && notes.contains_key("authorize: no state") && notes.len() == 3);
    let short = authorize(&it, &[("code_challenge", "short")]).await;
    assert!(returned(&short, "error_description").starts_with("AADSTS50147: "));
}

#[tokio::test]
async fn an_application_of_one_tenant_is_used_there_only() {
    let it = Fixture::calm(1).await;
    it.cloud.register(Registration { tenant: Some("contoso.com".to_owned()), ..Registration::default() });
    let at = |tenant: &str| authorize_target(&[]).replacen("common", tenant, 1);
    let get = async |tenant: &str| it.send(it.http.get(format!("{}{}", it.server.url(), at(tenant)))).await;
    assert!(page(&get("common").await).contains("AADSTS50194"));
    assert!(page(&get("fabrikam.com").await).contains("AADSTS700016"));
    assert_eq!(get("Contoso.com").await.status, 302);
    let form = [("client_id", DEFAULT_CLIENT_ID), ("grant_type", "refresh_token"), ("refresh_token", "x")];
    let ask = async |tenant: &str| number(&post(&it, &format!("/{tenant}/oauth2/v2.0/token"), &form).await);
    assert_eq!(ask("organizations").await, 50_194);
    assert_eq!(ask("fabrikam.com").await, 700_016);
    assert_eq!(ask("contoso.com").await, 9_002_313);
}

#[tokio::test]
async fn a_confidential_application_must_show_a_secret() {
    let it = Fixture::calm(1).await;
    let code = code(&it).await;
    it.cloud.register(Registration { public_client: false, ..Registration::default() });
    let answer = token(&it, &[("code", &code)]).await;
    assert_eq!((answer.status, number(&answer)), (401, 7_000_218));
}

#[tokio::test]
async fn every_secret_is_known() {
    let it = Fixture::calm(1).await;
    let code = code(&it).await;
    let tokens = token(&it, &[("code", &code)]).await.json();
    let form = [("client_id", DEFAULT_CLIENT_ID), ("scope", "Mail.Read")];
    let device = post(&it, "/common/oauth2/v2.0/devicecode", &form).await.json();
    let secrets = it.cloud.secrets();
    let issued = [&tokens["access_token"], &tokens["refresh_token"], &device["device_code"]];
    let issued = issued.map(|secret| secret.as_str().unwrap().to_owned());
    for secret in [issued.as_slice(), &[code, VERIFIER.to_owned(), it.token.clone()]].concat() {
        assert!(secrets.contains(&secret), "{secret}");
    }
    assert!(!secrets.contains(&text(&device, "user_code")));
    assert_eq!(order(&it, "GET", "/secrets", &json!({})).await.json(), json!(secrets));
}

#[tokio::test]
async fn the_clock_of_the_answers_can_be_wrong() {
    let it = Fixture::calm(1).await;
    let date = |answer: &crate::client::Answer| httpdate::parse_http_date(answer.header("date")).unwrap();
    let right = date(&it.get("/me").await);
    it.cloud.turn(|knobs| knobs.clock_offset_seconds = 7200);
    for wrong in [it.get("/me").await, authorize(&it, &[]).await, order(&it, "GET", "/users", &json!({})).await] {
        assert!(date(&wrong).duration_since(right).unwrap().as_secs() >= 7200);
    }
    it.cloud.turn(|knobs| knobs.clock_offset_seconds = -7200);
    assert!(right.duration_since(date(&it.get("/me").await)).unwrap().as_secs() > 7000);
}

#[tokio::test]
async fn a_mail_address_may_differ_from_the_name() {
    let aliases = vec![("user@domain.com".to_owned(), "first.last@domain.com".to_owned())];
    let it = Fixture::new(Options { aliases, ..Options::default() }).await;
    let json = it.get("/me?$select=userPrincipalName,mail,displayName,id").await.json();
    assert_eq!(
        (&json["userPrincipalName"], &json["mail"]),
        (&json!("user@domain.com"), &json!("first.last@domain.com"))
    );
    assert!(json["id"].is_string() && json["displayName"].is_string() && json.as_object().unwrap().len() == 5);
    let json = it.get("/me?$select=MAIL").await.json();
    assert_eq!((&json["mail"], json.as_object().unwrap().len()), (&json!("first.last@domain.com"), 2));
    assert_eq!(it.get("/me?$select=shoeSize").await.status, 400);
    assert_eq!(authorize(&it, &[("login_hint", "First.Last@domain.com")]).await.status, 302);
    assert_eq!(order(&it, "POST", "/account/mail", &json!({"mail": ""})).await.status, 200);
    assert!(me(&it, &it.token).await.json()["mail"].is_null());
}
