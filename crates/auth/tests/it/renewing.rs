//! Living with tokens: renewal, revocation, faults on the way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cms_auth::{AccessTokens, AuthError, Patience, SignInState, TokenSource, TokenSourceOptions};
use simcloud::{Action, Fault};

use crate::support::{browse, obey, options, registration, requests, signed_in, source_as, start};

#[tokio::test]
async fn a_rejected_token_is_renewed_once_for_all() {
    let server = start().await;
    let source = signed_in(&server).await;
    let rejected = source.access_token().await.unwrap();
    let before = server.cloud().counters().http_requests;
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (source, rejected) = (source.clone(), rejected.clone());
            tokio::spawn(async move { source.renew(&rejected, None).await.unwrap() })
        })
        .collect();
    for caller in callers {
        assert_ne!(caller.await.unwrap(), rejected);
    }
    assert_eq!(server.cloud().counters().http_requests, before + 1);
}

#[tokio::test]
async fn a_revoked_sign_in_is_over_and_the_user_is_not_asked_twice_in_one_run() {
    let server = start().await;
    let source = TokenSource::new(options(&server, Patience::Once(Duration::from_secs(20)))).unwrap();
    let asked = obey(&source);
    let token = source.access_token().await.unwrap();
    server.cloud().revoke("", true);
    // Nobody obeys any more.
    server.cloud().set_sign_in_mode(simcloud::SignInMode::Page { number: 90_094 });
    match source.renew(&token, None).await {
        Err(AuthError::SignInNeeded { reason, .. }) => {
            assert!(reason.contains("AADSTS50173") && reason.contains("the password was changed"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(source.access_token().await, Err(AuthError::SignInNeeded { .. })));
    assert!(asked.load(Ordering::SeqCst) >= 1);
}

#[tokio::test]
async fn a_daemon_goes_on_by_itself_after_the_user_signed_in_again() {
    let server = start().await;
    let source = TokenSource::new(options(&server, Patience::Forever)).unwrap();
    let asked = obey(&source);
    let token = source.access_token().await.unwrap();
    server.cloud().revoke("", true);
    assert_ne!(source.renew(&token, None).await.unwrap(), token);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn f11_faults_of_the_sign_in_service_do_not_end_a_sign_in() {
    let server = start().await;
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    for action in [
        Action::status(500),
        Action::status(503),
        Action::throttled(1),
        Action::Html,
        Action::Garbage,
        Action::ResetBefore,
        Action::Truncate { after: 20 },
    ] {
        server.cloud().inject(Fault::once("token", action.clone()));
        let answer = source.renew(&token, None).await;
        assert!(matches!(answer, Err(AuthError::Unreachable(_))), "{action:?}: {answer:?}");
        assert!(matches!(source.state(), SignInState::Unreachable { .. }), "{action:?}");
        assert!(source.is_signed_in().await, "{action:?}");
    }
    assert_ne!(source.renew(&token, None).await.unwrap(), token);
    assert!(matches!(source.state(), SignInState::SignedIn { .. }));
}

#[tokio::test]
async fn one_sign_in_serves_several_resources() {
    let server = start().await;
    let mut registration = registration(&server);
    registration.further_resources = vec![vec!["https://outlook.office.com/mail.read".to_owned()]];
    let source = TokenSource::new(TokenSourceOptions { registration, ..options(&server, Patience::None) }).unwrap();
    assert!(browse(&source).await.good);
    let graph = source.access_token().await.unwrap();
    let outlook_tokens = source.for_resource(1).unwrap();
    let outlook = outlook_tokens.access_token().await.unwrap();
    assert_ne!(graph, outlook);
    // Each is held apart, and renewing one leaves the other.
    assert_eq!(source.access_token().await.unwrap(), graph);
    assert_ne!(outlook_tokens.renew(&outlook, None).await.unwrap(), outlook);
    assert_eq!(source.access_token().await.unwrap(), graph);
    assert!(source.for_resource(2).is_none());
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let server = start().await;
    server.cloud().turn(|knobs| knobs.access_token_seconds = 1);
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    // Of a life this short, the second half is left for the way.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_ne!(source.access_token().await.unwrap(), token);
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_leads_to_a_sign_in_once_for_all() {
    let server = start().await;
    let source = TokenSource::new(options(&server, Patience::Forever)).unwrap();
    let asked = obey(&source);
    let rejected = source.access_token().await.unwrap();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (source, rejected) = (source.clone(), rejected.clone());
            tokio::spawn(async move { source.sign_in_anew(&rejected, "it isn't accepted").await.unwrap() })
        })
        .collect();
    for caller in callers {
        assert_ne!(caller.await.unwrap(), rejected);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn fifty_callers_make_one_request_for_each_resource_and_each_life() {
    let server = start().await;
    server.cloud().turn(|knobs| knobs.access_token_seconds = 2);
    let mut registration = registration(&server);
    registration.further_resources = vec![vec!["https://outlook.office.com/mail.read".to_owned()]];
    let source = source_as(&server, registration);
    assert!(browse(&source).await.good);
    let mut last = requests(&server, "token");
    // The first time none was had yet of the other resource.
    for round in 0..2 {
        // Of a life this short, the second half is left for the way.
        tokio::time::sleep(Duration::from_millis(1050)).await;
        let callers: Vec<_> = (0..50)
            .map(|number| {
                let tokens = source.for_resource(number % 2).unwrap();
                tokio::spawn(async move { (number % 2, tokens.access_token().await.unwrap()) })
            })
            .collect();
        let mut tokens = [Vec::new(), Vec::new()];
        for caller in callers {
            let (resource, token) = caller.await.unwrap();
            tokens[resource].push(token);
        }
        assert!(tokens.iter().all(|same| same.iter().all(|token| *token == same[0])), "round {round}");
        assert_eq!(requests(&server, "token"), last + 2, "round {round}");
        last += 2;
    }
    // A failure is shared as well.
    let token = source.access_token().await.unwrap();
    server.cloud().inject(Fault::always("token", Action::status(503)));
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (source, token) = (source.clone(), token.clone());
            tokio::spawn(async move { source.renew(&token, None).await })
        })
        .collect();
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), Err(AuthError::Unreachable(_))));
    }
    assert_eq!(requests(&server, "token"), last + 1);
}

/// Scopes of the old Outlook REST interface.
fn outlook() -> Vec<String> {
    vec!["https://outlook.office.com/mail.read".to_owned()]
}

#[tokio::test]
async fn what_is_had_beside_is_had_by_the_same_refresh_token() {
    let server = start().await;
    let mut registration = registration(&server);
    registration.further_resources = vec![outlook()];
    let source = source_as(&server, registration);
    assert!(browse(&source).await.good);
    let graph = source.access_token().await.unwrap();
    let beside = source.beside(outlook());
    let before = requests(&server, "token");
    let token = beside.access_token().await.unwrap();
    assert_ne!(token, graph);
    assert_eq!(beside.access_token().await.unwrap(), token, "it is kept");
    assert_eq!(requests(&server, "token"), before + 1);
    assert_ne!(beside.renew(&token, None).await.unwrap(), token);
    assert_eq!(source.access_token().await.unwrap(), graph, "the main one stays as it is");
    assert!(source.renew(&graph, None).await.is_ok(), "and what came with the other one is good for it");
}

/// Nothing that happens to a token that the account can do without is a matter of its sign-in's.
#[tokio::test]
async fn what_is_refused_beside_ends_no_sign_in_and_asks_nobody() {
    let server = start().await;
    let source = TokenSource::new(options(&server, Patience::Forever)).unwrap();
    let asked = obey(&source);
    let graph = source.access_token().await.unwrap();
    let beside = source.beside(outlook());
    let standing = |source: &TokenSource| matches!(source.state(), SignInState::SignedIn { .. });
    // Nobody consented to it.
    let answer = beside.access_token().await;
    assert!(matches!(&answer, Err(AuthError::Refused { reason }) if reason.contains("65001")), "{answer:?}");
    assert!(standing(&source));
    for action in [Action::status(503), Action::ResetBefore, Action::Html] {
        server.cloud().inject(Fault::once("token", action.clone()));
        let answer = beside.access_token().await;
        assert!(matches!(answer, Err(AuthError::Unreachable(_))), "{action:?}: {answer:?}");
        assert!(standing(&source), "{action:?}");
    }
    assert!(matches!(beside.sign_in_anew(&graph, "it isn't good").await, Err(AuthError::Refused { .. })));
    assert_eq!(source.access_token().await.unwrap(), graph);
    assert!(source.renew(&graph, None).await.is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), 1, "the user was asked again");
}

/// Where nobody has signed in, nobody is asked to.
#[tokio::test]
async fn nothing_is_had_beside_where_nobody_has_signed_in() {
    let server = start().await;
    let source = TokenSource::new(options(&server, Patience::Forever)).unwrap();
    let before = source.state();
    let answer = source.beside(outlook()).access_token().await;
    assert!(matches!(answer, Err(AuthError::SignInNeeded { .. })), "{answer:?}");
    assert_eq!(source.state(), before);
    assert_eq!(requests(&server, "token"), 0);
}
