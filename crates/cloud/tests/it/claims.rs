//! The mail service wants another token, and gets one: without the user where that can be.

use std::time::Duration;

use cms_cloud::contract::CloudError;
use serde_json::{Value, json};
use simcloud::{Action, ClaimsChallenge, Fault};

use crate::support::{SignedIn, browse, signed_in};

fn demand() -> Value {
    json!({"access_token": {"acrs": {"essential": true, "value": "c1"}}})
}

fn challenge(world: &SignedIn, change: impl FnOnce(&mut ClaimsChallenge)) {
    let mut challenge = ClaimsChallenge { claims: demand().to_string(), force: true, ..ClaimsChallenge::default() };
    change(&mut challenge);
    world.server.cloud().challenge("", challenge).unwrap();
}

/// What the address of the next sign-in asks for.
fn asked_for(world: &SignedIn) -> Option<Value> {
    let address = world.source.begin(8080).unwrap();
    let claims = address.query_pairs().find(|(name, _)| name == "claims").map(|(_, value)| value.into_owned());
    claims.map(|claims| serde_json::from_str(&claims).unwrap())
}

#[tokio::test]
async fn a_challenge_is_met_without_the_user() {
    for status in [401, 403] {
        let world = signed_in(0).await;
        challenge(&world, |challenge| challenge.status = status);
        let before = world.requests("token");
        world.ask().await.unwrap();
        world.ask().await.unwrap();
        assert_eq!(world.requests("token"), before + 1, "{status}");
        assert_eq!(world.requests("authorize"), 1, "{status}");
        assert_eq!(asked_for(&world), None, "{status}");
        // What was asked for was asked for once: the next challenge is another one.
        challenge(&world, |challenge| challenge.claims = json!({"access_token": {"nbf": {"value": "2"}}}).to_string());
        world.ask().await.unwrap();
        assert_eq!(world.requests("token"), before + 2, "{status}");
    }
}

#[tokio::test]
async fn who_declares_no_such_ability_is_not_challenged() {
    let world = signed_in(0).await;
    challenge(&world, |challenge| challenge.force = false);
    let before = world.requests("token");
    world.ask().await.unwrap();
    assert_eq!(world.requests("token"), before);
}

#[tokio::test]
async fn a_challenge_behind_a_token_that_has_expired_is_met_without_the_user_too() {
    let world = signed_in(0).await;
    world.server.cloud().expire_access_tokens();
    challenge(&world, |_| {});
    let before = world.requests("token");
    world.ask().await.unwrap();
    assert_eq!(world.requests("token"), before + 2);
    assert_eq!(world.requests("authorize"), 1);
}

#[tokio::test]
async fn many_that_are_challenged_at_the_same_time_get_one_token() {
    let world = signed_in(0).await;
    challenge(&world, |_| {});
    world.server.cloud().turn(|knobs| knobs.latency_ms = 50);
    let before = world.requests("token");
    let answers = tokio::join!(world.ask(), world.ask(), world.ask());
    assert!(answers.0.is_ok() && answers.1.is_ok() && answers.2.is_ok(), "{answers:?}");
    assert_eq!(world.requests("token"), before + 1);
}

#[tokio::test]
async fn a_challenge_that_wants_the_user_is_brought_to_the_sign_in() {
    let world = signed_in(0).await;
    challenge(&world, |challenge| challenge.silent = false);
    match world.ask().await {
        Err(CloudError::SignInNeeded { reason, .. }) => assert!(reason.contains("AADSTS50076"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(asked_for(&world), Some(demand()));
    browse(&world.source).await;
    let before = world.requests("token");
    world.ask().await.unwrap();
    assert_eq!(world.requests("token"), before, "the token of the sign-in meets it");
    assert_eq!(asked_for(&world), None);
}

#[tokio::test]
async fn a_token_of_another_resource_leads_to_one_renewal_and_then_to_the_user() {
    let world = signed_in(1).await;
    let before = world.requests("token");
    match world.ask().await {
        Err(CloudError::SignInNeeded { reason, .. }) => {
            assert!(reason.contains("doesn't accept a fresh sign-in") && reason.contains("401"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    // One for the first token of that resource.
    assert_eq!(world.requests("token"), before + 2);
    assert!(matches!(world.ask().await, Err(CloudError::SignInNeeded { .. })));
    assert_eq!(world.requests("token"), before + 2);
}

#[tokio::test]
async fn a_fault_of_the_sign_in_service_during_a_renewal_is_waited_out() {
    let world = signed_in(0).await;
    world.server.cloud().expire_access_tokens();
    let fault = Fault { count: Some(2), ..Fault::always("token", Action::status(503)) };
    world.server.cloud().inject(fault);
    world.ask().await.unwrap();
    // One that lasts ends the call, and no sign-in.
    world.server.cloud().expire_access_tokens();
    world.server.cloud().inject(Fault::always("token", Action::status(503)));
    let unreachable = tokio::time::timeout(Duration::from_secs(20), world.ask()).await.unwrap();
    assert!(matches!(unreachable, Err(CloudError::Unreachable(_))), "{unreachable:?}");
    world.server.cloud().clear_faults();
    world.ask().await.unwrap();
    assert_eq!(world.requests("authorize"), 1);
}
