//! The way through the browser.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cms_auth::{AccessTokens, AuthError, Patience, SignInState, TokenSource, TokenSourceOptions};
use simcloud::{RedirectType, SignInMode};

use crate::support::{PORT, USER, browse, obey, options, redirected, signed_in, source, start, wait_for};

#[tokio::test]
async fn signing_in_brings_a_token_that_is_held() {
    let server = start().await;
    let source = source(&server);
    assert!(matches!(source.access_token().await, Err(AuthError::SignInNeeded { .. })));
    assert!(browse(&source).await.good);
    let token = source.access_token().await.unwrap();
    assert_eq!(source.access_token().await.unwrap(), token);
    assert!(!format!("{token:?}{token}").contains(token.reveal()));
    let report = source.report().await;
    assert_eq!(report.user.as_deref(), Some(USER));
    assert!(report.scopes.iter().any(|scope| scope.ends_with("Mail.ReadWrite")), "{report:?}");
}

#[tokio::test]
async fn callers_that_need_a_token_first_share_one_sign_in() {
    let server = start().await;
    let source = TokenSource::new(options(&server, Patience::Once(Duration::from_secs(20)))).unwrap();
    let asked = obey(&source);
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let source = source.clone();
            tokio::spawn(async move { source.access_token().await.unwrap() })
        })
        .collect();
    let mut tokens = Vec::new();
    for caller in callers {
        tokens.push(caller.await.unwrap());
    }
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn nobody_waits_for_a_user_who_does_not_come() {
    let server = start().await;
    let source = TokenSource::new(options(&server, Patience::Once(Duration::from_millis(50)))).unwrap();
    assert!(matches!(source.access_token().await, Err(AuthError::TimedOut(_))));
    // There is one chance only.
    assert!(matches!(source.access_token().await, Err(AuthError::SignInNeeded { .. })));
}

#[tokio::test]
async fn a_declined_sign_in_says_so_and_can_be_begun_again() {
    let server = start().await;
    server.cloud().set_sign_in_mode(SignInMode::Redirect { error: "access_denied".to_owned(), number: 65_004 });
    let source = source(&server);
    let landing = browse(&source).await;
    assert!(!landing.good && landing.words.contains("AADSTS65004"), "{landing:?}");
    assert!(landing.words.contains("the consent was declined"), "{landing:?}");
    assert!(matches!(source.state(), SignInState::Failed { .. }));
    server.cloud().set_sign_in_mode(SignInMode::Immediate);
    assert!(browse(&source).await.good);
    assert!(matches!(source.state(), SignInState::SignedIn { .. }));
}

#[tokio::test]
async fn whoever_waits_for_a_sign_in_hears_that_it_was_declined() {
    let server = start().await;
    server.cloud().set_sign_in_mode(SignInMode::Redirect { error: "access_denied".to_owned(), number: 65_004 });
    let source = TokenSource::new(options(&server, Patience::Once(Duration::from_secs(20)))).unwrap();
    obey(&source);
    match source.access_token().await {
        Err(AuthError::Refused { reason }) => assert!(reason.contains("65004"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn f39_answers_of_strangers_change_nothing() {
    let server = start().await;
    let source = source(&server);
    let address = source.begin(PORT).unwrap();
    let query = redirected(&address).await.unwrap();
    for stranger in ["code=stolen&state=guessed", "error=access_denied", "", "state=&code=x", "state=%00&code=%ff"] {
        assert_eq!(source.came_back(stranger).await, None, "{stranger}");
    }
    let state = query.split('&').find(|pair| pair.starts_with("state=")).unwrap();
    assert_eq!(source.came_back(&format!("{state}&code=")).await, None);
    assert_eq!(source.state(), SignInState::InBrowser);
    // The real answer still counts, and counts once.
    assert!(source.came_back(&query).await.unwrap().good);
    assert_eq!(source.came_back(&query).await, None);
}

#[tokio::test]
async fn an_answer_to_another_accounts_attempt_is_not_taken() {
    let server = start().await;
    let (one, other) = (source(&server), source(&server));
    let query = redirected(&one.begin(PORT).unwrap()).await.unwrap();
    other.begin(PORT).unwrap();
    assert_eq!(other.came_back(&query).await, None);
    assert!(one.came_back(&query).await.unwrap().good);
}

#[tokio::test]
async fn a_cancelled_attempt_is_over() {
    let server = start().await;
    let source = source(&server);
    let query = redirected(&source.begin(PORT).unwrap()).await.unwrap();
    source.cancel();
    assert!(matches!(source.state(), SignInState::Failed { .. }));
    assert_eq!(source.came_back(&query).await, None);
}

#[tokio::test]
async fn a_sign_in_that_was_asked_for_replaces_the_one_that_is_held() {
    let server = start().await;
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    let asked = obey(&source);
    source.sign_in(Duration::from_secs(20)).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_ne!(source.access_token().await.unwrap(), token);
}

#[tokio::test]
async fn a_registration_of_the_other_kind_works_as_well_and_its_end_is_known() {
    let server = start().await;
    server
        .cloud()
        .register(simcloud::Registration { redirect_type: RedirectType::Spa, ..simcloud::Registration::default() });
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    assert_ne!(source.renew(&token, None).await.unwrap(), token);
    let report = source.report().await;
    assert_eq!(report.ends_at, Some(report.signed_in_at + 86_400));
}

#[tokio::test]
async fn another_account_than_the_configured_one_is_refused() {
    let options_of_cloud = simcloud::Options {
        users: vec![USER.to_owned(), "other@domain.com".to_owned()],
        ..simcloud::Options::default()
    };
    let server = simcloud::serve(options_of_cloud).await.unwrap();
    let source = source(&server);
    // In the browser somebody else is signed in: the service ignores the hint.
    let address = source.begin(PORT).unwrap().as_str().replace("user%40domain.com", "other%40domain.com");
    let query = redirected(&address.parse().unwrap()).await.unwrap();
    let landing = source.came_back(&query).await.unwrap();
    assert!(!landing.good, "{landing:?}");
    assert!(landing.words.contains("other@domain.com signed in where user@domain.com was expected"), "{landing:?}");
    assert!(matches!(source.access_token().await, Err(AuthError::SignInNeeded { .. })));
    // Next time the service is asked to let the user choose.
    assert!(source.begin(PORT).unwrap().as_str().contains("prompt=select_account"));
}

#[tokio::test]
async fn without_a_configured_user_the_first_one_is_kept_to() {
    let options_of_cloud = simcloud::Options {
        users: vec![USER.to_owned(), "other@domain.com".to_owned()],
        ..simcloud::Options::default()
    };
    let server = simcloud::serve(options_of_cloud).await.unwrap();
    let source = TokenSource::new(TokenSourceOptions { user: None, ..options(&server, Patience::None) }).unwrap();
    assert!(browse(&source).await.good);
    assert_eq!(source.report().await.user.as_deref(), Some(USER));
    let mut address = source.begin(PORT).unwrap();
    address = address.as_str().replace("user%40domain.com", "other%40domain.com").parse().unwrap();
    let landing = source.came_back(&redirected(&address).await.unwrap()).await.unwrap();
    assert!(!landing.good && landing.words.contains("cms sign-out"), "{landing:?}");
}

#[tokio::test]
async fn a_daemon_waits_for_the_user_as_long_as_it_takes() {
    let server = start().await;
    let source = TokenSource::new(options(&server, Patience::Forever)).unwrap();
    let waiting = {
        let source = source.clone();
        tokio::spawn(async move { source.access_token().await })
    };
    wait_for(&source, |state| matches!(state, SignInState::Needed { .. })).await;
    server.cloud().set_sign_in_mode(SignInMode::Redirect { error: "access_denied".to_owned(), number: 65_004 });
    assert!(!browse(&source).await.good);
    assert!(!waiting.is_finished());
    server.cloud().set_sign_in_mode(SignInMode::Immediate);
    assert!(browse(&source).await.good);
    waiting.await.unwrap().unwrap();
}
