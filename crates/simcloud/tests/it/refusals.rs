use serde_json::json;
use simcloud::{DEFAULT_CLIENT_ID, TokenRefusal};

use crate::client::Fixture;
use crate::oauth::{code, number, order, refresh, signed_in, text, token};

#[tokio::test]
async fn every_row_of_the_table_can_be_provoked() {
    let it = Fixture::calm(1).await;
    let refresh_token = signed_in(&it).await;
    for (error, wanted, status) in [
        ("interaction_required", 50_076, 400),
        ("invalid_grant", 50_173, 400),
        ("invalid_grant", 70_043, 400),
        ("consent_required", 90_008, 400),
        ("unauthorized_client", 700_016, 400),
        ("invalid_client", 7_000_218, 401),
        ("access_denied", 53_003, 400),
        ("invalid_grant", 65_002, 400),
        ("invalid_grant", 50_196, 400),
        ("invalid_request", 90_038, 400),
        ("invalid_request", 90_002, 400),
        ("temporarily_unavailable", 90_033, 400),
    ] {
        it.cloud.refuse_tokens(TokenRefusal::once(error, wanted));
        let answer = refresh(&it, &refresh_token, &[]).await;
        assert_eq!((answer.status, number(&answer)), (status, i64::from(wanted)));
        assert_eq!(text(&answer.json(), "error"), error);
        assert_eq!(refresh(&it, &refresh_token, &[]).await.status, 200, "once is once");
    }
}

#[tokio::test]
async fn a_refused_code_can_still_be_redeemed() {
    let it = Fixture::calm(1).await;
    let code = code(&it).await;
    it.cloud.refuse_tokens(TokenRefusal { status: Some(503), ..TokenRefusal::once("server_error", 90_006) });
    assert_eq!(token(&it, &[("code", &code)]).await.status, 503);
    assert_eq!(token(&it, &[("code", &code)]).await.status, 200);
}

#[tokio::test]
async fn refusals_strike_only_whom_they_are_meant_for() {
    let it = Fixture::calm(1).await;
    let refresh_token = signed_in(&it).await;
    for rule in [
        TokenRefusal { user: "else@domain.com".to_owned(), ..TokenRefusal::once("invalid_grant", 50_173) },
        TokenRefusal { grant_type: "authorization_code".to_owned(), ..TokenRefusal::once("invalid_grant", 50_173) },
        TokenRefusal { client_id: "another".to_owned(), ..TokenRefusal::once("invalid_grant", 50_173) },
        TokenRefusal { skip: 1, ..TokenRefusal::once("invalid_grant", 70_043) },
    ] {
        it.cloud.refuse_tokens(rule);
    }
    assert_eq!(refresh(&it, &refresh_token, &[]).await.status, 200);
    assert_eq!(number(&refresh(&it, &refresh_token, &[]).await), 70_043);
    it.cloud.refuse_tokens(TokenRefusal {
        user: "USER@domain.com".to_owned(),
        ..TokenRefusal::once("invalid_grant", 50_057)
    });
    assert_eq!(number(&refresh(&it, &refresh_token, &[]).await), 50_057);
}

#[tokio::test]
async fn refusals_are_ordered_over_http() {
    let it = Fixture::calm(1).await;
    let refresh_token = signed_in(&it).await;
    let body = json!({"error": "interaction_required", "number": 50079, "suberror": "basic_action",
        "claims": "{\"access_token\":{}}", "text": "Enroll.", "client_id": DEFAULT_CLIENT_ID});
    let number = order(&it, "POST", "/token-refusals", &body).await.json()["order"].as_u64().unwrap();
    let json = refresh(&it, &refresh_token, &[]).await.json();
    assert_eq!(
        (text(&json, "suberror").as_str(), text(&json, "claims").as_str()),
        ("basic_action", "{\"access_token\":{}}")
    );
    assert!(text(&json, "error_description").starts_with("AADSTS50079: Enroll.\r\nTrace ID: "));
    let list = order(&it, "GET", "/token-refusals", &json!({})).await.json();
    assert_eq!((&list[0]["refused"], &list[0]["refusal"]["number"]), (&json!(1), &json!(50_079)));
    assert_eq!(order(&it, "DELETE", &format!("/token-refusals/{number}"), &json!({})).await.status, 200);
    assert_eq!(order(&it, "DELETE", &format!("/token-refusals/{number}"), &json!({})).await.status, 400);
    assert_eq!(refresh(&it, &refresh_token, &[]).await.status, 200);
    order(&it, "POST", "/token-refusals", &body).await;
    assert_eq!(order(&it, "DELETE", "/token-refusals", &json!({})).await.status, 200);
    assert_eq!(refresh(&it, &refresh_token, &[]).await.status, 200);
}
