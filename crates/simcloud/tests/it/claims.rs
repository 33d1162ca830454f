use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use simcloud::ClaimsChallenge;

use crate::client::{Answer, Fixture};
use crate::oauth::{authorize, me, number, order, refresh, returned, signed_in, text, token};

const CAPABLE: &str = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;

/// The claims that a challenge demands.
fn demanded(answer: &Answer) -> Value {
    let headers: Vec<&str> =
        answer.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(headers.len(), 2, "a header that means nothing comes first");
    assert!(headers[1].starts_with("Bearer realm=\"\"") && headers[1].contains("error=\"insufficient_claims\""));
    let (_, rest) = headers[1].split_once("claims=\"").unwrap();
    let rest = if rest.starts_with('"') { rest.split_once("claims=\"").unwrap().1 } else { rest };
    serde_json::from_slice(&STANDARD.decode(rest.split('"').next().unwrap()).unwrap()).unwrap()
}

fn merged(mut demanded: Value) -> String {
    demanded["access_token"]["xms_cc"] = json!({"values": ["cp1"]});
    demanded.to_string()
}

async fn access(it: &Fixture, refresh_token: &str, claims: &str) -> String {
    text(&refresh(it, refresh_token, &[("claims", claims)]).await.json(), "access_token")
}

#[tokio::test]
async fn a_capable_client_is_challenged_until_it_has_shown_the_claims() {
    let it = Fixture::calm(1).await;
    let refresh_token = signed_in(&it).await;
    let capable = access(&it, &refresh_token, CAPABLE).await;
    it.cloud.challenge("", ClaimsChallenge::default()).unwrap();
    let answer = me(&it, &capable).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "InvalidAuthenticationToken"));
    let another = access(&it, &refresh_token, CAPABLE).await;
    assert_eq!(me(&it, &another).await.status, 401, "a token without the claims is no better");
    let good = access(&it, &refresh_token, &merged(demanded(&answer))).await;
    assert_eq!(me(&it, &good).await.status, 200);
    assert_eq!(me(&it, &capable).await.status, 401, "what was challenged stays so");
    let later = access(&it, &refresh_token, CAPABLE).await;
    assert_eq!(me(&it, &later).await.status, 200, "the challenge is met");
}

#[tokio::test]
async fn a_client_that_declared_nothing_is_challenged_only_by_force() {
    let it = Fixture::calm(1).await;
    it.cloud.challenge("", ClaimsChallenge::default()).unwrap();
    assert_eq!(it.get("/me").await.status, 200);
    it.cloud.challenge("", ClaimsChallenge { force: true, ..ClaimsChallenge::default() }).unwrap();
    assert_eq!(it.get("/me").await.status, 401);
    it.cloud.challenge("", ClaimsChallenge { force: true, status: 403, ..ClaimsChallenge::default() }).unwrap();
    let answer = it.get("/me").await;
    assert_eq!(answer.status, 403);
    assert!(demanded(&answer)["access_token"]["nbf"]["essential"].as_bool().unwrap());
    it.cloud.clear_challenges("");
    assert_eq!(it.get("/me").await.status, 200);
}

#[tokio::test]
async fn a_challenge_may_need_the_user() {
    let it = Fixture::calm(1).await;
    let refresh_token = signed_in(&it).await;
    it.cloud.challenge("", ClaimsChallenge { silent: false, force: true, ..ClaimsChallenge::default() }).unwrap();
    let claims = merged(demanded(&it.get("/me").await));
    let answer = refresh(&it, &refresh_token, &[("claims", &claims)]).await;
    assert_eq!(number(&answer), 50_076);
    let json = answer.json();
    assert_eq!(
        (text(&json, "error").as_str(), text(&json, "suberror").as_str()),
        ("interaction_required", "basic_action")
    );
    let wanted: Value = serde_json::from_str(&text(&json, "claims")).unwrap();
    let answer = authorize(&it, &[("claims", &wanted.to_string())]).await;
    let tokens = token(&it, &[("code", &returned(&answer, "code"))]).await.json();
    assert_eq!(me(&it, &text(&tokens, "access_token")).await.status, 200);
    assert_eq!(refresh(&it, &refresh_token, &[("claims", &claims)]).await.status, 200);
}

#[tokio::test]
async fn claims_must_be_json() {
    let it = Fixture::calm(1).await;
    let refresh_token = signed_in(&it).await;
    assert_eq!(number(&refresh(&it, &refresh_token, &[("claims", "e30=")]).await), 90_015);
    assert_eq!(returned(&authorize(&it, &[("claims", "[]")]).await, "error"), "invalid_request");
}

#[tokio::test]
async fn challenges_are_made_over_http() {
    let it = Fixture::calm(1).await;
    let body = json!({"claims": "{\"access_token\":{\"acrs\":{\"essential\":true,\"value\":\"c1\"}}}", "force": true});
    assert_eq!(order(&it, "POST", "/challenges", &body).await.status, 200);
    assert_eq!(demanded(&it.get("/me").await)["access_token"]["acrs"]["value"], "c1");
    assert_eq!(order(&it, "POST", "/challenges", &json!({"claims": "no"})).await.status, 400);
    assert_eq!(order(&it, "POST", "/challenges", &json!({"status": 500})).await.status, 400);
    assert_eq!(order(&it, "DELETE", "/challenges", &json!({})).await.status, 200);
    assert_eq!(it.get("/me").await.status, 200);
}
