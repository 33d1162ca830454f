use serde_json::json;
use simcloud::{Audience, DEFAULT_CLIENT_ID, RedirectType, Registration, SignInMode};

use crate::client::Fixture;
use crate::oauth::{SCOPE, authorize, code, number, token};

#[tokio::test]
async fn a_code_becomes_tokens_once() {
    let it = Fixture::calm(1).await;
    let code = code(&it).await;
    let wrong = "another-verifier-that-is-long-enough-for-rfc-7636";
    assert_eq!(number(&token(&it, &[("code", &code), ("code_verifier", wrong)]).await), 501_481);
    assert_eq!(number(&token(&it, &[("code", &code), ("code_verifier", "short")]).await), 501_491);
    assert_eq!(
        number(&token(&it, &[("code", &code), ("redirect_uri", "http://127.0.0.1:1/oauth2/msal")]).await),
        50_011
    );
    assert_eq!(number(&token(&it, &[("code", &code), ("scope", SCOPE)]).await), 28_000);
    let answer = token(&it, &[("code", &code)]).await;
    let json = answer.json();
    assert_eq!((answer.status, &json["token_type"], &json["expires_in"]), (200, &json!("Bearer"), &json!(3599)));
    assert_ne!(json["scope"], "https://graph.microsoft.com/Mail.ReadWrite offline_access");
    let request =
        it.http.get(format!("{}/v1.0/me", it.server.url())).bearer_auth(json["access_token"].as_str().unwrap());
    assert_eq!(it.send(request).await.json()["mail"], "user@domain.com");
    assert_eq!(number(&token(&it, &[("code", &code)]).await), 54_005);
}

#[tokio::test]
async fn refresh_tokens_rotate_and_serve_two_resources() {
    let it = Fixture::calm(1).await;
    let first = token(&it, &[("code", &code(&it).await)]).await.json()["refresh_token"].as_str().unwrap().to_owned();
    let refresh = async |old: &str, scope: &str| {
        token(&it, &[("grant_type", "refresh_token"), ("refresh_token", old), ("scope", scope)]).await
    };
    let second = refresh(&first, "Mail.ReadWrite").await.json();
    assert_ne!(second["refresh_token"], first.as_str());
    assert_eq!(refresh(&first, "Mail.ReadWrite").await.status, 200);
    let outlook =
        refresh(&first, "https://outlook.office.com/mail.read https://graph.microsoft.com/Mail.ReadWrite").await.json();
    let request =
        it.http.get(format!("{}/v1.0/me", it.server.url())).bearer_auth(outlook["access_token"].as_str().unwrap());
    let answer = it.send(request).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "InvalidAuthenticationToken"));
    assert_eq!(number(&refresh(&first, "Mail.Send").await), 65_001);
    it.cloud.revoke("", false);
    let answer = refresh(&first, "Mail.ReadWrite").await;
    assert_eq!(
        (number(&answer), answer.json()["error"].as_str().unwrap().to_owned()),
        (50_173, "invalid_grant".to_owned())
    );
}

#[tokio::test]
async fn redirects_are_compared_but_for_the_port() {
    let it = Fixture::calm(1).await;
    for bad in ["http://127.0.0.1:45678/oauth2/MSAL", "http://example.com/oauth2/msal", "http://127.0.0.1:1/"] {
        let answer = authorize(&it, &[("redirect_uri", bad)]).await;
        assert_eq!((answer.status, answer.header("location")), (400, ""), "{bad}");
    }
    assert_eq!(authorize(&it, &[("redirect_uri", "http://localhost:9/oauth2/msal")]).await.status, 302);
    assert_eq!(authorize(&it, &[("client_id", "unknown")]).await.status, 400);
    assert_eq!(authorize(&it, &[("login_hint", "nobody@x.org")]).await.status, 400);
    assert!(
        authorize(&it, &[("response_type", "token")])
            .await
            .header("location")
            .contains("error=unsupported_response_type")
    );
    let root =
        Registration { client_id: "r".into(), redirects: vec!["http://localhost".into()], ..Registration::default() };
    it.cloud.register(root);
    let answer = authorize(&it, &[("client_id", "r"), ("redirect_uri", "http://localhost:5")]).await;
    assert!(answer.header("location").starts_with("http://localhost:5/?"), "{}", answer.header("location"));
    it.cloud.set_sign_in_mode(SignInMode::Redirect { error: "access_denied".to_owned(), number: 65_004 });
    let answer = authorize(&it, &[]).await;
    assert!(
        answer.header("location").contains("error=access_denied")
            && answer.header("location").contains("state=st%26te")
    );
    it.cloud.set_sign_in_mode(SignInMode::Page { number: 90_094 });
    assert!(String::from_utf8_lossy(&authorize(&it, &[]).await.bytes).contains("AADSTS90094"));
}

#[tokio::test]
async fn the_token_endpoint_takes_forms_without_origin() {
    let it = Fixture::calm(1).await;
    let url = format!("{}/common/oauth2/v2.0/token", it.server.url());
    assert_eq!(number(&it.send(it.http.get(&url)).await), 900_561);
    assert_eq!(number(&it.send(it.http.post(&url).json(&json!({}))).await), 900_144);
    let refresh = it.cloud.tokens("", DEFAULT_CLIENT_ID, Audience::Graph).unwrap().1;
    let post = |origin: Option<&str>| {
        let body = format!("grant_type=refresh_token&client_id={DEFAULT_CLIENT_ID}&refresh_token={refresh}");
        let mut request = it.http.post(&url).header("Content-Type", "application/x-www-form-urlencoded").body(body);
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        it.send(request)
    };
    assert_eq!(number(&post(Some("http://127.0.0.1:8080")).await), 9_002_326);
    assert_eq!(post(None).await.status, 200);
    it.cloud.register(Registration { redirect_type: RedirectType::Spa, ..Registration::default() });
    assert_eq!(number(&post(None).await), 9_002_327);
    assert_eq!(post(Some("http://127.0.0.1:8080")).await.status, 200);
    assert_eq!(number(&token(&it, &[("grant_type", "password"), ("client_secret", "x")]).await), 700_025);
}

#[tokio::test]
async fn access_tokens_expire() {
    let it = Fixture::calm(1).await;
    assert_eq!(it.get("/me").await.status, 200);
    it.cloud.expire_access_tokens();
    let answer = it.get("/me").await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "InvalidAuthenticationToken"));
    assert!(!answer.header("www-authenticate").is_empty());
    let answer = it.send(it.http.get(format!("{}/v1.0/me", it.server.url()))).await;
    assert_eq!(answer.status, 401);
    it.cloud.turn(|knobs| knobs.access_token_seconds = 0);
    let token = it.cloud.access_token("").unwrap();
    let answer = it.send(it.http.get(format!("{}/v1.0/me", it.server.url())).bearer_auth(token)).await;
    assert_eq!(answer.status, 401);
}
