//! Google: a secret that isn't one, refresh tokens that stay, scopes that can be unticked, and no codes for mail.

use cms_auth::{AccessTokens, AuthError, Patience, SignInState, TokenSource, TokenSourceOptions};
use simcloud::{Action, Fault, Server, SignInMode};

use crate::support::{
    PORT, USER, assert_well_behaved, browse, google_registration, options, redirected, requests, source_as, start,
};

fn source(server: &Server) -> TokenSource {
    source_as(server, google_registration(server))
}

async fn signed_in(server: &Server) -> TokenSource {
    let source = source(server);
    let landing = browse(&source).await;
    assert!(landing.good, "{landing:?}");
    source
}

#[tokio::test]
async fn a_sign_in_is_renewed_for_ever_with_the_first_refresh_token() {
    let server = start().await;
    let source = signed_in(&server).await;
    assert_eq!(source.report().await.user.as_deref(), Some(USER));
    let mut token = source.access_token().await.unwrap();
    for _ in 0..3 {
        let renewed = source.renew(&token, None).await.unwrap();
        assert_ne!(renewed, token);
        token = renewed;
    }
    assert_eq!(requests(&server, "google-token"), 4);
    assert_well_behaved(&server);
}

#[tokio::test]
async fn a_refresh_token_is_asked_for_where_none_is_held_and_kept_where_no_other_comes() {
    let server = start().await;
    server.cloud().turn(|knobs| knobs.google_refresh_token_once = true);
    let prompt = |source: &TokenSource| {
        let address = source.begin(PORT).unwrap();
        address.query_pairs().find(|(name, _)| name == "prompt").map(|(_, value)| value.into_owned())
    };
    // Consented to on the first machine, and signed in to on the second as well.
    for source in [signed_in(&server).await, signed_in(&server).await] {
        assert_eq!(prompt(&source), None);
        assert!(browse(&source).await.good);
        let token = source.access_token().await.unwrap();
        assert_ne!(source.renew(&token, None).await.unwrap(), token);
        source.sign_out().await.unwrap();
        assert_eq!(prompt(&source).as_deref(), Some("consent select_account"));
    }
}

#[tokio::test]
async fn an_unticked_scope_is_refused_in_words_that_help() {
    let server = start().await;
    let scope = "https://www.googleapis.com/auth/gmail.modify";
    server.cloud().set_google_unticked(vec![scope.to_owned()]);
    let source = source(&server);
    let landing = browse(&source).await;
    assert!(!landing.good && landing.words.contains(scope), "{landing:?}");
    assert!(landing.words.contains("leave the boxes on the consent page ticked"), "{landing:?}");
    assert!(!source.is_signed_in().await);
    server.cloud().set_google_unticked(Vec::new());
    assert!(browse(&source).await.good);
}

#[tokio::test]
async fn signing_out_revokes_and_what_is_revoked_is_dead() {
    let server = start().await;
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    let profile = async || {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/gmail/v1/users/me/profile", server.url());
        http.get(url).bearer_auth(token.reveal()).send().await.unwrap().status().as_u16()
    };
    assert_eq!(profile().await, 200);
    let out = source.sign_out().await.unwrap();
    assert!(out.was_signed_in && out.revoked && out.trouble.is_none(), "{out:?}");
    assert_eq!(profile().await, 401);
    assert!(matches!(source.access_token().await, Err(AuthError::SignInNeeded { .. })));
    let out = source.sign_out().await.unwrap();
    assert!(!out.was_signed_in && !out.revoked, "{out:?}");
}

#[tokio::test]
async fn a_service_that_cannot_be_told_does_not_keep_anybody_signed_in_here() {
    let server = start().await;
    let source = signed_in(&server).await;
    server.cloud().inject(Fault::once("google-revoke", Action::status(503)));
    let out = source.sign_out().await.unwrap();
    assert!(out.was_signed_in && !out.revoked && out.trouble.unwrap().contains("503"));
    assert!(!source.is_signed_in().await);
}

#[tokio::test]
async fn what_was_revoked_elsewhere_is_over() {
    let server = start().await;
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    server.cloud().revoke("", true);
    match source.renew(&token, None).await {
        Err(AuthError::SignInNeeded { reason, .. }) => {
            assert!(reason.contains("invalid_grant") && reason.contains("sign in again"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!source.is_signed_in().await);
    assert!(browse(&source).await.good);
}

#[tokio::test]
async fn a_wrong_or_missing_secret_is_told_and_ends_nothing() {
    let server = start().await;
    for (secret, words) in [(None, "client_secret is missing"), (Some("wrong"), "client secret is invalid")] {
        let mut registration = google_registration(&server);
        registration.client_secret = secret.map(str::to_owned);
        let landing = browse(&source_as(&server, registration)).await;
        assert!(!landing.good && landing.words.contains(words), "{landing:?}");
        assert!(landing.words.contains("check the client id and its secret"), "{landing:?}");
    }
    // The secret is changed there while somebody is signed in.
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    let changed = simcloud::GoogleClient { client_secret: "new".to_owned(), ..simcloud::GoogleClient::default() };
    server.cloud().register_google(changed);
    assert!(matches!(source.renew(&token, None).await, Err(AuthError::Refused { .. })));
    assert!(source.is_signed_in().await);
    server.cloud().register_google(simcloud::GoogleClient::default());
    assert_ne!(source.renew(&token, None).await.unwrap(), token);
}

#[tokio::test]
async fn another_account_is_refused() {
    let users = vec![USER.to_owned(), "other@domain.com".to_owned()];
    let server = simcloud::serve(simcloud::Options { users, ..simcloud::Options::default() }).await.unwrap();
    let source = source(&server);
    let address = source.begin(PORT).unwrap().as_str().replace("user%40domain.com", "other%40domain.com");
    let query = redirected(&address.parse().unwrap()).await.unwrap();
    let landing = source.came_back(&query).await.unwrap();
    assert!(!landing.good && landing.words.contains("other@domain.com signed in where"), "{landing:?}");
    assert!(!source.is_signed_in().await);
}

#[tokio::test]
async fn there_are_no_codes_for_mail() {
    let server = start().await;
    let source = source(&server);
    assert!(!source.registration().has_device_codes());
    match source.begin_with_code().await {
        Err(AuthError::Refused { reason }) => assert!(reason.contains("no sign-in by code for mail"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(source.state(), SignInState::Unknown);
}

#[tokio::test]
async fn faults_and_declines_are_what_they_are_elsewhere() {
    let server = start().await;
    let options = TokenSourceOptions { registration: google_registration(&server), ..options(&server, Patience::None) };
    let source = TokenSource::new(options).unwrap();
    server.cloud().set_sign_in_mode(SignInMode::Redirect { error: "access_denied".to_owned(), number: 0 });
    let landing = browse(&source).await;
    assert!(!landing.good && landing.words.contains("the sign-in was declined"), "{landing:?}");
    server.cloud().set_sign_in_mode(SignInMode::Immediate);
    assert!(browse(&source).await.good);
    let token = source.access_token().await.unwrap();
    for action in [Action::status(503), Action::throttled(1), Action::Html, Action::Garbage, Action::ResetBefore] {
        server.cloud().inject(Fault::once("google-token", action.clone()));
        let answer = source.renew(&token, None).await;
        assert!(matches!(answer, Err(AuthError::Unreachable(_))), "{action:?}: {answer:?}");
        assert!(source.is_signed_in().await, "{action:?}");
    }
    assert_ne!(source.renew(&token, None).await.unwrap(), token);
}
