//! The whole sign-in against a simulated Entra ID, with a browser that obeys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod keyring;
mod vault;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cms_auth::{AccessTokens, AuthError, Browser, NationalCloud, Registration, TokenSource, TokenSourceOptions};
use simcloud::{Action, Fault, Server};

/// What the address that is shown leads to.
#[derive(Clone, Copy)]
enum Visitor {
    Obeys,
    NeverComes,
}

async fn start() -> Server {
    simcloud::serve(simcloud::Options::default()).await.unwrap()
}

fn source(
    server: &Server,
    visitor: Visitor,
    interactive: bool,
) -> (Arc<TokenSource>, Arc<AtomicUsize>, Arc<Mutex<String>>) {
    let mut registration = Registration::microsoft(NationalCloud::Global, None, None);
    registration.login_url = server.url().parse().unwrap();
    let shown = Arc::new(AtomicUsize::new(0));
    let address = Arc::new(Mutex::new(String::new()));
    let (count, last) = (Arc::clone(&shown), Arc::clone(&address));
    let prompt = move |_account: &str, address: &str| {
        count.fetch_add(1, Ordering::SeqCst);
        address.clone_into(&mut last.lock().unwrap());
        if matches!(visitor, Visitor::Obeys) {
            let address = address.to_owned();
            std::thread::spawn(move || simcloud::visit(&address));
        }
    };
    let options = TokenSourceOptions {
        registration,
        user: Some("user@domain.com".to_owned()),
        listen: "127.0.0.1:0".parse().unwrap(),
        prompt: Arc::new(prompt),
        browser: Browser::none(),
        interactive,
        patience: Duration::from_secs(20),
    };
    (Arc::new(TokenSource::new(options).unwrap()), shown, address)
}

#[tokio::test]
async fn signing_in_brings_a_token_that_is_kept() {
    let server = start().await;
    let (source, shown, _) = source(&server, Visitor::Obeys, false);
    assert!(matches!(source.access_token().await, Err(AuthError::SignInNeeded { .. })));
    source.sign_in().await.unwrap();
    let token = source.access_token().await.unwrap();
    assert_eq!(source.access_token().await.unwrap(), token);
    assert_eq!(shown.load(Ordering::SeqCst), 1);
    assert!(!format!("{token:?}{token}").contains(token.reveal()));
}

#[tokio::test]
async fn callers_that_need_a_token_first_share_one_sign_in() {
    let server = start().await;
    let (source, shown, _) = source(&server, Visitor::Obeys, true);
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { source.access_token().await.unwrap() })
        })
        .collect();
    let mut tokens = Vec::new();
    for caller in callers {
        tokens.push(caller.await.unwrap());
    }
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(shown.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_rejected_token_is_renewed_once_for_all() {
    let server = start().await;
    let (source, _, _) = source(&server, Visitor::Obeys, true);
    let rejected = source.access_token().await.unwrap();
    let before = server.cloud().counters().http_requests;
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (source, rejected) = (Arc::clone(&source), rejected.clone());
            tokio::spawn(async move { source.renew(&rejected).await.unwrap() })
        })
        .collect();
    for caller in callers {
        assert_ne!(caller.await.unwrap(), rejected);
    }
    assert_eq!(server.cloud().counters().http_requests, before + 1);
}

#[tokio::test]
async fn a_revoked_sign_in_is_over_and_no_browser_opens_by_itself() {
    let server = start().await;
    let (source, shown, _) = source(&server, Visitor::Obeys, true);
    let token = source.access_token().await.unwrap();
    server.cloud().revoke("", true);
    match source.renew(&token).await {
        Err(AuthError::SignInNeeded { reason, .. }) => assert!(reason.contains("AADSTS"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(source.access_token().await, Err(AuthError::SignInNeeded { .. })));
    assert_eq!(shown.load(Ordering::SeqCst), 1);
    source.sign_in().await.unwrap();
    assert_ne!(source.access_token().await.unwrap(), token);
}

#[tokio::test]
async fn faults_of_the_sign_in_service_do_not_end_a_sign_in() {
    let server = start().await;
    let (source, _, _) = source(&server, Visitor::Obeys, true);
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
        let answer = source.renew(&token).await;
        assert!(matches!(answer, Err(AuthError::Unreachable(_))), "{action:?}: {answer:?}");
        assert!(source.is_signed_in().await, "{action:?}");
    }
    assert_ne!(source.renew(&token).await.unwrap(), token);
}

#[tokio::test]
async fn a_declined_sign_in_says_so() {
    let server = start().await;
    server
        .cloud()
        .set_sign_in_mode(simcloud::SignInMode::Redirect { error: "access_denied".to_owned(), number: 65004 });
    let (source, _, _) = source(&server, Visitor::Obeys, false);
    match source.sign_in().await {
        Err(AuthError::Refused { reason }) => assert!(reason.contains("65004"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn strangers_at_the_loopback_address_change_nothing() {
    let server = start().await;
    let (source, shown, address) = source(&server, Visitor::NeverComes, false);
    let signing_in = {
        let source = Arc::clone(&source);
        tokio::spawn(async move { source.sign_in().await })
    };
    while shown.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let address = address.lock().unwrap().clone();
    let sign_in: url::Url = address.parse().unwrap();
    let redirect = sign_in.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    let visit =
        |url: String| async move { tokio::task::spawn_blocking(move || simcloud::visit(&url).unwrap()).await.unwrap() };
    assert_eq!(visit(format!("{redirect}?code=stolen&state=guessed")).await, 400);
    assert_eq!(visit(format!("{redirect}?error=access_denied")).await, 400);
    assert_eq!(visit(redirect.replace("/oauth2/msal", "/other")).await, 404);
    assert!(!signing_in.is_finished());
    // The real answer still counts.
    assert_eq!(visit(address).await, 200);
    signing_in.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_registration_of_the_other_kind_works_as_well() {
    let server = start().await;
    server.cloud().register(simcloud::Registration {
        redirect_type: simcloud::RedirectType::Spa,
        ..simcloud::Registration::default()
    });
    let (source, _, _) = source(&server, Visitor::Obeys, true);
    let token = source.access_token().await.unwrap();
    assert_ne!(source.renew(&token).await.unwrap(), token);
}
