//! What passes by itself: it ends no sign-in, is told for what it looks like, and can be tried again.

use cms_auth::{AccessTokens, AuthError, Landing, SignInState};
use futures_util::future::join_all;
use simcloud::{Action, BodyKind, Fault};

use crate::support::{browse, requests, signed_in, source, start};

/// The page of a network that wants people to sign in or pay first.
fn portal(status: u16) -> Action {
    Action::Status { status, body: BodyKind::Html, code: String::new(), message: String::new(), retry_after: None }
}

/// Each fault, and what its words say.
fn faults() -> Vec<(Action, &'static str)> {
    let network = "the sign-in page of a network may be in between";
    vec![
        (Action::status(500), "it answered with status 500"),
        (Action::status(503), "it answered with status 503"),
        (portal(511), "it answered with status 511"),
        (Action::throttled(0), "it answered with status 429"),
        (Action::Html, network),
        (portal(302), network),
        (portal(403), network),
        (Action::Garbage, network),
        (Action::ErrorInOk { code: "UnknownError".to_owned() }, network),
        (Action::status(400), network),
        (Action::ResetBefore, "error sending request"),
        (Action::Truncate { after: 20 }, "error decoding response body"),
    ]
}

fn told(landing: &Landing, words: &str, action: &Action) {
    assert!(!landing.good, "{action:?}");
    assert!(landing.words.starts_with("the sign-in service can't be reached: "), "{action:?}: {landing:?}");
    assert!(landing.words.contains(words), "{action:?}: {landing:?}");
}

#[tokio::test]
async fn a_sign_in_that_met_a_fault_fails_in_words_and_can_be_begun_again() {
    let server = start().await;
    for (action, words) in faults() {
        let source = source(&server);
        server.cloud().inject(Fault::once("token", action.clone()));
        told(&browse(&source).await, words, &action);
        assert!(matches!(source.state(), SignInState::Failed { .. }), "{action:?}");
        assert!(browse(&source).await.good, "{action:?}");
    }
}

#[tokio::test]
async fn a_fault_during_another_sign_in_leaves_the_one_that_is_held() {
    let server = start().await;
    let source = signed_in(&server).await;
    let mut token = source.access_token().await.unwrap();
    for (action, words) in faults() {
        server.cloud().inject(Fault::once("token", action.clone()));
        told(&browse(&source).await, words, &action);
        assert_eq!(source.access_token().await.unwrap(), token, "{action:?}");
        server.cloud().inject(Fault::once("token", action.clone()));
        match source.renew(&token, None).await {
            Err(AuthError::Unreachable(reason)) => assert!(reason.contains(words), "{action:?}: {reason}"),
            other => panic!("{action:?}: {other:?}"),
        }
        let renewed = source.renew(&token, None).await.unwrap();
        assert_ne!(renewed, token, "{action:?}");
        token = renewed;
    }
}

#[tokio::test]
async fn a_code_cannot_be_had_during_a_fault_and_can_after_it() {
    let server = start().await;
    let source = source(&server);
    for (action, words) in faults() {
        server.cloud().inject(Fault::once("devicecode", action.clone()));
        match source.begin_with_code().await {
            Err(AuthError::Unreachable(reason)) => assert!(reason.contains(words), "{action:?}: {reason}"),
            other => panic!("{action:?}: {other:?}"),
        }
        assert_eq!(source.state(), SignInState::Unknown, "{action:?}");
    }
    source.begin_with_code().await.unwrap();
    assert!(matches!(source.state(), SignInState::WithCode { .. }));
}

/// The faults that whoever asks for the profile waits out, as the mail service shows them.
fn faults_of_the_profile() -> impl Iterator<Item = (Action, &'static str)> {
    faults().into_iter().filter(|(action, _)| {
        let refusal = *action == portal(403) || *action == Action::status(400);
        !refusal && !matches!(action, Action::ErrorInOk { .. })
    })
}

#[tokio::test]
async fn who_has_signed_in_is_asked_again_after_a_fault() {
    join_all(faults_of_the_profile().map(|(action, _)| async move {
        let server = start().await;
        server.cloud().inject(Fault::once("me", action.clone()));
        let source = source(&server);
        assert!(browse(&source).await.good, "{action:?}");
        assert_eq!(source.report().await.user.as_deref(), Some(crate::support::USER), "{action:?}");
        assert_eq!(requests(&server, "me"), 2, "{action:?}");
    }))
    .await;
}

#[tokio::test]
async fn nobody_is_taken_for_somebody_else_while_the_mail_service_is_away() {
    join_all(faults_of_the_profile().map(|(action, words)| async move {
        let server = start().await;
        let source = signed_in(&server).await;
        let token = source.access_token().await.unwrap();
        server.cloud().inject(Fault::always("me", action.clone()));
        let landing = browse(&source).await;
        told(&landing, words, &action);
        assert!(landing.words.contains("who has signed in can't be asked"), "{landing:?}");
        assert_eq!(source.access_token().await.unwrap(), token, "{action:?}");
        server.cloud().clear_faults();
        assert!(browse(&source).await.good, "{action:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_pause_that_the_sign_in_service_asks_for_is_kept() {
    let server = start().await;
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    server.cloud().inject(Fault::once("token", Action::throttled(1)));
    assert!(matches!(source.renew(&token, None).await, Err(AuthError::Unreachable(_))));
    assert_ne!(source.renew(&token, None).await.unwrap(), token);
    let asked: Vec<_> = server.cloud().requests(0).into_iter().filter(|request| request.kind == "token").collect();
    let [.., refused, granted] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((refused.status, granted.status), (429, 200));
    assert!(granted.arrived_ms >= refused.answered_ms + 1000.0, "{refused:?} {granted:?}");
    // A long one isn't waited for, and no request is made while it lasts.
    server.cloud().inject(Fault::once("token", Action::throttled(600)));
    let token = source.access_token().await.unwrap();
    assert!(matches!(source.renew(&token, None).await, Err(AuthError::Unreachable(_))));
    let before = server.cloud().counters().http_requests;
    match source.renew(&token, None).await {
        Err(AuthError::Unreachable(reason)) => assert!(reason.contains("not to be asked for another 5"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.cloud().counters().http_requests, before);
    assert!(source.is_signed_in().await);
}
