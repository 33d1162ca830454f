//! What a claims challenge asks for: it is brought with the next renewal or the next sign-in, and no further.

use cms_auth::{AccessTokens, AuthError, TokenSource};
use serde_json::{Value, json};
use simcloud::{Action, ClaimsChallenge, Fault, Server, TokenRefusal};

use crate::support::{PORT, browse, registration, signed_in, source, source_as, start, until};

fn demand() -> Value {
    json!({"access_token": {"acrs": {"essential": true, "value": "c1 & \"more\" + é"}}})
}

/// What the address of the next sign-in asks for.
fn asked_for(source: &TokenSource) -> Option<Value> {
    let address = source.begin(PORT).unwrap();
    let claims = address.query_pairs().find(|(name, _)| name == "claims").map(|(_, value)| value.into_owned());
    claims.map(|claims| serde_json::from_str(&claims).unwrap())
}

fn refuse(server: &Server, grant_type: &str) {
    server.cloud().refuse_tokens(TokenRefusal {
        suberror: Some("basic_action".to_owned()),
        claims: Some(demand().to_string()),
        grant_type: grant_type.to_owned(),
        ..TokenRefusal::once("interaction_required", 50_076)
    });
}

#[tokio::test]
async fn a_refusal_that_asks_for_claims_has_the_next_sign_in_bring_them() {
    let server = start().await;
    let source = signed_in(&server).await;
    assert_eq!(asked_for(&source), None);
    let token = source.access_token().await.unwrap();
    refuse(&server, "refresh_token");
    assert!(matches!(source.renew(&token, None).await, Err(AuthError::SignInNeeded { .. })));
    // However often it is begun, until one succeeds.
    assert_eq!(asked_for(&source), Some(demand()));
    refuse(&server, "authorization_code");
    assert!(!browse(&source).await.good);
    assert_eq!(asked_for(&source), Some(demand()));
    assert!(browse(&source).await.good);
    assert_eq!(asked_for(&source), None);
}

#[tokio::test]
async fn a_code_that_is_refused_for_claims_has_the_next_sign_in_bring_them() {
    let server = start().await;
    let source = source(&server);
    refuse(&server, "authorization_code");
    let landing = browse(&source).await;
    assert!(!landing.good && landing.words.contains("AADSTS50076"), "{landing:?}");
    assert_eq!(asked_for(&source), Some(demand()));
    assert!(browse(&source).await.good);
    assert_eq!(asked_for(&source), None);
}

#[tokio::test]
async fn claims_are_brought_even_if_the_tokens_are_busy() {
    let server = start().await;
    let mut registration = registration(&server);
    registration.further_resources = vec![vec!["https://outlook.office.com/mail.read".to_owned()]];
    let source = source_as(&server, registration);
    assert!(browse(&source).await.good);
    let token = source.access_token().await.unwrap();
    server.cloud().inject(Fault::once("token", Action::Delay { milliseconds: 500 }));
    let before = crate::support::requests(&server, "token");
    let renewing = {
        let source = source.clone();
        tokio::spawn(async move { source.renew(&token, Some(&demand().to_string())).await })
    };
    until("it is renewed", async || crate::support::requests(&server, "token") == before + 1).await;
    assert_eq!(asked_for(&source), Some(demand()));
    renewing.await.unwrap().unwrap();
    assert_eq!(asked_for(&source), None);
}

#[tokio::test]
async fn claims_meet_a_challenge_and_are_kept_through_faults() {
    let server = start().await;
    let source = signed_in(&server).await;
    let demand = demand().to_string();
    let challenge = ClaimsChallenge { claims: demand.clone(), force: true, ..ClaimsChallenge::default() };
    server.cloud().challenge("", challenge).unwrap();
    let profile = async |token: &cms_auth::AccessToken| {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/v1.0/me", server.url());
        http.get(url).bearer_auth(token.reveal()).send().await.unwrap().status().as_u16()
    };
    let token = source.access_token().await.unwrap();
    assert_eq!(profile(&token).await, 401);
    server.cloud().inject(Fault::once("token", Action::status(503)));
    source.renew(&token, Some(&demand)).await.unwrap_err();
    // Whoever renews next brings them, too.
    let renewed = source.renew(&token, None).await.unwrap();
    assert_eq!(profile(&renewed).await, 200);
    assert_eq!(asked_for(&source), None);
}

#[tokio::test]
async fn a_challenge_that_no_renewal_meets_is_brought_to_the_sign_in() {
    let server = start().await;
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    let renewed = source.renew(&token, Some(&demand().to_string())).await.unwrap();
    let refused = source.sign_in_anew(&renewed, "the mail service doesn't accept it").await;
    assert!(matches!(refused, Err(AuthError::SignInNeeded { .. })), "{refused:?}");
    assert_eq!(asked_for(&source), Some(demand()));
    assert!(browse(&source).await.good);
    let token = source.access_token().await.unwrap();
    let renewed = source.renew(&token, None).await.unwrap();
    source.sign_in_anew(&renewed, "the mail service doesn't accept it").await.unwrap_err();
    assert_eq!(asked_for(&source), None, "nothing is asked for that nobody asked for");
}
