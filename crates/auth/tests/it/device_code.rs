//! Signing in with a code that is typed on another device.

use std::time::Duration;

use cms_auth::{AccessTokens, AuthError, SignInState, TokenSource};
use futures_util::future::join_all;
use simcloud::{Action, Consent, Fault, RedirectType, Registration, Server, TokenRefusal};

use crate::support::{USER, assert_well_behaved, browse, requests, signed_in, source, start, until, wait_for};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A service that lets programs ask every second.
async fn quick() -> Server {
    let options = simcloud::Options {
        users: vec![USER.to_owned(), "other@domain.com".to_owned()],
        ..simcloud::Options::default()
    };
    let server = simcloud::serve(options).await.unwrap();
    server.cloud().turn(|knobs| knobs.device_interval_seconds = 1);
    server
}

/// Asks for a code, and returns it.
async fn code(source: &TokenSource) -> String {
    source.begin_with_code().await.unwrap();
    match source.state() {
        SignInState::WithCode { user_code, .. } => user_code,
        other => panic!("{other:?}"),
    }
}

async fn failed(source: &TokenSource) -> String {
    match wait_for(source, |state| matches!(state, SignInState::Failed { .. } | SignInState::SignedIn { .. })).await {
        SignInState::Failed { reason } => reason,
        other => panic!("{other:?}"),
    }
}

/// When the token endpoint was asked, in milliseconds.
fn questions(server: &Server) -> Vec<f64> {
    server.cloud().requests(0).iter().filter(|one| one.kind == "token").map(|one| one.arrived_ms).collect()
}

fn signed(state: &SignInState) -> bool {
    matches!(state, SignInState::SignedIn { .. })
}

#[tokio::test]
async fn a_code_that_is_approved_signs_in() {
    // Whichever kind the registration is, and even if the service asks for no pause between two questions.
    let cases = [(RedirectType::Native, 1), (RedirectType::Native, 0), (RedirectType::Spa, 1)];
    join_all(cases.map(|(redirect_type, interval)| async move {
        let server = quick().await;
        server.cloud().register(Registration { redirect_type, ..Registration::default() });
        server.cloud().turn(|knobs| knobs.device_interval_seconds = interval);
        let source = source(&server);
        let code = code(&source).await;
        let SignInState::WithCode { address, expires_at, .. } = source.state() else { panic!() };
        assert!(address.ends_with("/devicelogin") && expires_at > 1_700_000_000, "{address} {expires_at}");
        // Some questions go unanswered before somebody has typed it.
        until("it is asked for", async || requests(&server, "token") == 1).await;
        server.cloud().approve_device(&code, USER).unwrap();
        wait_for(&source, signed).await;
        let asked = questions(&server);
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 900.0), "{asked:?}");
        let token = source.access_token().await.unwrap();
        assert_ne!(source.renew(&token, None).await.unwrap(), token);
        let report = source.report().await;
        assert_eq!(
            (report.user.as_deref(), report.ends_at.is_some()),
            (Some(USER), redirect_type == RedirectType::Spa)
        );
        assert_well_behaved(&server);
    }))
    .await;
}

#[tokio::test]
async fn a_code_that_is_declined_says_so() {
    // On the page where it is typed, or at the question for consent behind it.
    join_all([false, true].map(|at_consent| async move {
        let server = quick().await;
        let source = source(&server);
        let code = code(&source).await;
        if at_consent {
            server.cloud().set_consent("", Consent::UserDeclines);
            server.cloud().approve_device(&code, USER).unwrap_err();
        } else {
            server.cloud().decline_device(&code).unwrap();
        }
        let reason = failed(&source).await;
        assert!(reason.contains("AADSTS70017") && reason.contains("declined on the other device"), "{reason}");
        assert_well_behaved(&server);
    }))
    .await;
}

#[tokio::test]
async fn a_code_that_nobody_types_expires_in_words_that_name_what_a_policy_hides() {
    join_all([false, true].map(|blocked| async move {
        let server = quick().await;
        server.cloud().turn(|knobs| {
            knobs.device_code_seconds = 2;
            knobs.device_code_blocked = blocked;
        });
        let source = source(&server);
        let code = code(&source).await;
        if blocked {
            // The person is told; the program isn't.
            let told = server.cloud().approve_device(&code, USER).unwrap_err().to_string();
            assert!(told.contains("53003"), "{told}");
        }
        let reason = failed(&source).await;
        assert!(reason.contains("expired_token") && reason.contains("the code wasn't entered in time"), "{reason}");
        assert!(reason.contains("the organisation doesn't allow signing in by code"), "{reason}");
        assert!(matches!(source.access_token().await, Err(AuthError::SignInNeeded { .. })));
        assert_well_behaved(&server);
    }))
    .await;
}

#[tokio::test]
async fn a_code_that_was_cancelled_or_overtaken_is_not_asked_for_any_more() {
    join_all([false, true].map(|overtaken| async move {
        let server = quick().await;
        let source = source(&server);
        let code = code(&source).await;
        until("it is asked for", async || requests(&server, "token") == 1).await;
        if overtaken {
            assert!(browse(&source).await.good);
        } else {
            source.cancel();
            assert_eq!(failed(&source).await, "the sign-in was cancelled");
        }
        let (before, state) = (requests(&server, "token"), source.state());
        server.cloud().approve_device(&code, USER).unwrap();
        // Longer than it takes to ask.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(requests(&server, "token"), before, "{overtaken}");
        assert_eq!((source.state(), source.is_signed_in().await), (state, overtaken));
    }))
    .await;
}

#[tokio::test]
async fn whoever_is_asked_to_be_slower_is_slower_from_then_on() {
    let server = quick().await;
    let source = source(&server);
    server
        .cloud()
        .refuse_tokens(TokenRefusal { grant_type: GRANT_TYPE.to_owned(), ..TokenRefusal::once("slow_down", 70_016) });
    server.cloud().approve_device(&code(&source).await, USER).unwrap();
    wait_for(&source, signed).await;
    let asked = questions(&server);
    assert!(asked.len() == 2 && asked[1] - asked[0] >= 5900.0, "{asked:?}");
    assert_well_behaved(&server);
}

#[tokio::test]
async fn faults_while_somebody_types_do_not_give_the_code_up() {
    let faults = [Action::status(503), Action::throttled(1), Action::Html, Action::Garbage, Action::ResetBefore];
    let refusals = ["temporarily_unavailable", "server_error"].map(|error| TokenRefusal::once(error, 90_033));
    let orders = faults.into_iter().map(Ok).chain(refusals.into_iter().map(Err));
    join_all(orders.map(|order| async move {
        let server = quick().await;
        match &order {
            Ok(action) => drop(server.cloud().inject(Fault::once("token", action.clone()))),
            Err(refusal) => drop(server.cloud().refuse_tokens(refusal.clone())),
        }
        let source = source(&server);
        server.cloud().approve_device(&code(&source).await, USER).unwrap();
        wait_for(&source, |state| signed(state) || matches!(state, SignInState::Failed { .. })).await;
        assert!(signed(&source.state()), "{order:?}: {:?}", source.state());
        assert_eq!(requests(&server, "token"), 2, "{order:?}");
        assert_eq!(server.cloud().counters().violations, Vec::<String>::new());
    }))
    .await;
}

#[tokio::test]
async fn a_registration_that_allows_no_public_clients_shows_no_code() {
    let server = quick().await;
    server.cloud().register(Registration { public_client: false, ..Registration::default() });
    let source = source(&server);
    match source.begin_with_code().await {
        Err(AuthError::Refused { reason }) => {
            assert!(reason.contains("AADSTS7000218") && reason.contains("allow public client flows"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(source.state(), SignInState::Unknown);
}

#[tokio::test]
async fn a_code_typed_by_somebody_else_is_refused() {
    let server = quick().await;
    let source = source(&server);
    server.cloud().approve_device(&code(&source).await, "other@domain.com").unwrap();
    let reason = failed(&source).await;
    assert!(reason.contains("other@domain.com signed in where user@domain.com was expected"), "{reason}");
    assert!(!source.is_signed_in().await);
}

#[tokio::test]
async fn a_code_that_comes_to_nothing_does_not_end_a_sign_in_in_the_browser() {
    let server = quick().await;
    let source = source(&server);
    let code = code(&source).await;
    let query = crate::support::redirected(&source.begin(crate::support::PORT).unwrap()).await.unwrap();
    server.cloud().decline_device(&code).unwrap();
    until("the decline is heard of", async || requests(&server, "token") == 1).await;
    // The answer is on its way; what it changes, it changes soon.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(source.state(), SignInState::InBrowser);
    assert!(source.came_back(&query).await.unwrap().good);
}

#[tokio::test]
async fn a_code_that_comes_late_hides_no_sign_in() {
    let server = quick().await;
    server.cloud().inject(Fault::once("devicecode", Action::Delay { milliseconds: 500 }));
    let source = source(&server);
    let late = {
        let source = source.clone();
        tokio::spawn(async move { source.begin_with_code().await })
    };
    until("a code is asked for", async || requests(&server, "devicecode") == 1).await;
    assert!(browse(&source).await.good);
    late.await.unwrap().unwrap();
    assert!(signed(&source.state()), "{:?}", source.state());
    assert_eq!(server.cloud().pending_devices()[0].polls, 0);
    // Whoever asks for one anew gets one.
    code(&source).await;
}

#[tokio::test]
async fn a_code_that_comes_after_everything_was_given_up_is_not_shown() {
    let server = quick().await;
    server.cloud().inject(Fault::once("devicecode", Action::Delay { milliseconds: 300 }));
    let source = signed_in(&server).await;
    let late = {
        let source = source.clone();
        tokio::spawn(async move { source.begin_with_code().await })
    };
    until("a code is asked for", async || requests(&server, "devicecode") == 1).await;
    source.cancel();
    late.await.unwrap().unwrap();
    assert!(signed(&source.state()), "{:?}", source.state());
}

#[tokio::test]
async fn a_second_code_takes_the_place_of_the_first() {
    let server = start().await;
    let source = source(&server);
    let first = code(&source).await;
    let second = code(&source).await;
    assert_ne!(first, second);
    source.cancel();
}
