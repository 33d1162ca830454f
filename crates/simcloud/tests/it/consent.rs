use serde_json::json;
use simcloud::{Consent, DEFAULT_CLIENT_ID};

use crate::client::Fixture;
use crate::oauth::{authorize, code, number, order, page, refresh, returned, signed_in, text, token};

#[tokio::test]
async fn a_user_who_declines_sends_the_application_away() {
    let it = Fixture::calm(1).await;
    it.cloud.set_consent(DEFAULT_CLIENT_ID, Consent::UserDeclines);
    let answer = authorize(&it, &[]).await;
    assert_eq!(returned(&answer, "error"), "access_denied");
    assert!(returned(&answer, "error_description").starts_with("AADSTS65004: "));
}

#[tokio::test]
async fn an_administrator_is_needed() {
    let it = Fixture::calm(1).await;
    it.cloud.set_consent("another", Consent::AdminRequired);
    assert_eq!(authorize(&it, &[]).await.status, 302, "that is meant for another application");
    it.cloud.set_consent("", Consent::AdminRequired);
    let answer = authorize(&it, &[]).await;
    assert_eq!((answer.status, answer.header("location")), (400, ""));
    assert!(page(&answer).contains("AADSTS90094"));
}

#[tokio::test]
async fn consent_that_was_withdrawn_is_given_by_signing_in_again() {
    let it = Fixture::calm(1).await;
    let (old, unused) = (signed_in(&it).await, code(&it).await);
    it.cloud.set_consent("", Consent::NotConsented);
    let answer = refresh(&it, &old, &[]).await;
    assert_eq!((number(&answer), text(&answer.json(), "error").as_str()), (65_001, "invalid_grant"));
    assert_eq!(number(&token(&it, &[("code", &unused)]).await), 65_001);
    assert_eq!(returned(&authorize(&it, &[("prompt", "none")]).await, "error"), "consent_required");
    let new = signed_in(&it).await;
    assert_eq!(refresh(&it, &new, &[]).await.status, 200);
}

#[tokio::test]
async fn a_scope_that_was_not_granted_is_refused() {
    let it = Fixture::calm(1).await;
    it.cloud.set_consent("", Consent::WithoutScopes { scopes: vec!["Mail.ReadWrite".to_owned()] });
    let answer = authorize(&it, &[("scope", "User.Read Mail.ReadWrite offline_access")]).await;
    let code = returned(&answer, "code");
    assert_eq!(number(&token(&it, &[("code", &code)]).await), 65_001);
    let answer = authorize(&it, &[("scope", "User.Read Mail.ReadWrite offline_access")]).await;
    let tokens = token(&it, &[("code", &returned(&answer, "code")), ("scope", "")]).await.json();
    assert!(!text(&tokens, "scope").contains("Mail"));
    let url = format!("{}/v1.0/me/mailFolders", it.server.url());
    let answer = it.send(it.http.get(url).bearer_auth(text(&tokens, "access_token"))).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "ErrorAccessDenied"));
    assert_eq!(crate::oauth::me(&it, &text(&tokens, "access_token")).await.status, 200);
}

#[tokio::test]
async fn consent_is_set_over_http() {
    let it = Fixture::calm(1).await;
    let body = json!({"consent": "without_scopes", "scopes": ["Mail.ReadWrite"]});
    for body in [body, json!({"consent": "admin_required"}), json!({"consent": "user_declines"})] {
        assert_eq!(order(&it, "POST", &format!("/consent?client_id={DEFAULT_CLIENT_ID}"), &body).await.status, 200);
    }
    assert_eq!(returned(&authorize(&it, &[]).await, "error"), "access_denied");
    assert_eq!(order(&it, "POST", "/consent", &json!({"consent": "normal"})).await.status, 200);
    assert_ne!(returned(&authorize(&it, &[]).await, "code"), "");
    assert_eq!(order(&it, "POST", "/consent", &json!({"consent": "perhaps"})).await.status, 400);
}
