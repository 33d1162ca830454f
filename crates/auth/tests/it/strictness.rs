//! A service that takes nothing but what is right: codes, verifiers, addresses, headers, scopes, lives.

use cms_auth::{AccessTokens, AuthError, Landing, SignInState, TokenSource};
use simcloud::{Action, Consent, Fault, RedirectType, Registration, Server, TokenRefusal};

use crate::support::{
    PORT, assert_well_behaved, browse, redirected, registration, requests, signed_in, source, source_as, start,
};

fn register(server: &Server, change: impl FnOnce(&mut Registration)) {
    let mut registration = Registration::default();
    change(&mut registration);
    server.cloud().register(registration);
}

fn told(landing: &Landing, number: u32, remedy: &str) {
    assert!(!landing.good, "{landing:?}");
    assert!(landing.words.contains(&format!("AADSTS{number}: ")) && landing.words.contains(remedy), "{landing:?}");
}

fn value<'q>(query: &'q str, name: &str) -> &'q str {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap()
}

/// What the browser brings back of one attempt, in the place of another's.
async fn swapped(source: &TokenSource) -> (String, String) {
    let one = redirected(&source.begin(PORT).unwrap()).await.unwrap();
    let other = redirected(&source.begin(PORT).unwrap()).await.unwrap();
    let with_state = |code: &str, state: &str| format!("code={}&state={}", value(code, "code"), value(state, "state"));
    (with_state(&one, &one), with_state(&one, &other))
}

#[tokio::test]
async fn a_code_of_another_attempt_has_another_verifier() {
    let server = start().await;
    let source = source(&server);
    let (right, wrong) = swapped(&source).await;
    told(&source.came_back(&wrong).await.unwrap(), 501_481, "sign in again, from one window only");
    // The right one isn't spoilt by it.
    assert!(source.came_back(&right).await.unwrap().good);
    assert_well_behaved(&server);
}

#[tokio::test]
async fn a_code_is_redeemed_once() {
    let server = start().await;
    let source = source(&server);
    let (first, again) = swapped(&source).await;
    // It is redeemed, and the answer is lost.
    server.cloud().inject(Fault::once("token", Action::ResetAfter));
    assert!(!source.came_back(&first).await.unwrap().good);
    told(&source.came_back(&again).await.unwrap(), 54_005, "the code was used already: sign in again");
    assert!(browse(&source).await.good);
}

#[tokio::test]
async fn a_late_code_is_refused() {
    let server = start().await;
    server.cloud().turn(|knobs| knobs.authorization_code_seconds = 0);
    let source = source(&server);
    told(&browse(&source).await, 70_008, "sign in again");
    server.cloud().turn(|knobs| knobs.authorization_code_seconds = 600);
    assert!(browse(&source).await.good);
}

#[tokio::test]
async fn the_redirect_address_is_compared_to_the_letter_but_for_its_port() {
    let server = start().await;
    register(&server, |application| application.redirects = vec!["http://localhost/oauth2/msal".to_owned()]);
    let with = |host: &str, path: &str| {
        let mut registration = registration(&server);
        (registration.redirect_host, registration.redirect_path) = (host.to_owned(), path.to_owned());
        source_as(&server, registration)
    };
    for (host, path) in [("127.0.0.1", "/oauth2/msal"), ("localhost", "/oauth2/MSAL"), ("localhost", "/")] {
        let source = with(host, path);
        // The page says it; nobody comes back to us.
        assert_eq!(redirected(&source.begin(PORT).unwrap()).await, None, "{host}{path}");
        assert_eq!(source.state(), SignInState::InBrowser);
    }
    assert!(browse(&with("localhost", "/oauth2/msal")).await.good);
}

#[tokio::test]
async fn the_origin_is_turned_once_whichever_way_it_was_wrong() {
    let server = start().await;
    for (redirect_type, send_origin) in [(RedirectType::Spa, false), (RedirectType::Native, true)] {
        register(&server, |application| application.redirect_type = redirect_type);
        let mut registration = registration(&server);
        registration.send_origin = send_origin;
        let source = source_as(&server, registration);
        let before = requests(&server, "token");
        assert!(browse(&source).await.good, "{redirect_type:?}");
        assert_eq!(requests(&server, "token"), before + 2, "{redirect_type:?}");
        // What worked is remembered.
        let token = source.access_token().await.unwrap();
        source.renew(&token, None).await.unwrap();
        assert_eq!(requests(&server, "token"), before + 3, "{redirect_type:?}");
        assert_eq!(source.report().await.ends_at.is_some(), redirect_type == RedirectType::Spa);
    }
}

#[tokio::test]
async fn the_origin_follows_a_registration_that_is_changed() {
    let server = start().await;
    let source = signed_in(&server).await;
    for redirect_type in [RedirectType::Spa, RedirectType::Native] {
        register(&server, |application| application.redirect_type = redirect_type);
        let token = source.access_token().await.unwrap();
        assert_ne!(source.renew(&token, None).await.unwrap(), token, "{redirect_type:?}");
    }
}

#[tokio::test]
async fn the_origin_is_not_turned_for_ever_and_does_not_hide_what_is_wrong() {
    let server = start().await;
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    // Refused for what it asks for; the other way it would be refused for its origin.
    server.cloud().refuse_tokens(TokenRefusal::once("invalid_request", 28_000));
    let before = requests(&server, "token");
    let refused = source.renew(&token, None).await.unwrap_err();
    assert!(matches!(&refused, AuthError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains("AADSTS28000") && !refused.to_string().contains("9002326"), "{refused}");
    assert_eq!(requests(&server, "token"), before + 2);
    assert_ne!(source.renew(&token, None).await.unwrap(), token);
    assert_eq!(requests(&server, "token"), before + 3, "what failed isn't remembered");
}

#[tokio::test]
async fn a_scope_that_was_not_granted_ends_in_words_about_consent() {
    let server = start().await;
    let without = Consent::WithoutScopes { scopes: vec!["Mail.ReadWrite".to_owned()] };
    server.cloud().set_consent("", without);
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    let refused = source.renew(&token, None).await.unwrap_err();
    assert!(matches!(refused, AuthError::SignInNeeded { .. }), "{refused:?}");
    assert!(refused.to_string().contains("AADSTS65001") && refused.to_string().contains("/adminconsent?"), "{refused}");
}

#[tokio::test]
async fn consent_that_is_withdrawn_is_asked_for_again_by_signing_in() {
    let server = start().await;
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    server.cloud().set_consent("", Consent::NotConsented);
    let refused = source.renew(&token, None).await.unwrap_err();
    assert!(matches!(refused, AuthError::SignInNeeded { .. }), "{refused:?}");
    assert!(browse(&source).await.good);
    let token = source.access_token().await.unwrap();
    source.renew(&token, None).await.unwrap();
    server.cloud().set_consent("", Consent::UserDeclines);
    told(&browse(&source).await, 65_004, "the consent was declined");
    server.cloud().set_consent("", Consent::AdminRequired);
    assert_eq!(redirected(&source.begin(PORT).unwrap()).await, None);
    // What was signed in before is none the worse for it.
    assert!(source.is_signed_in().await);
}

#[tokio::test]
async fn a_token_that_the_mail_service_does_not_take_is_refused_at_once() {
    let server = start().await;
    let outlook = vec!["https://outlook.office.com/mail.read".to_owned()];
    let graph = server.url().parse().unwrap();
    let source = source_as(&server, registration(&server).with_scopes(outlook).with_graph_at(&graph));
    let landing = browse(&source).await;
    assert!(!landing.good && landing.words.contains("check `scopes`"), "{landing:?}");
    assert!(!source.is_signed_in().await);
    // One that may read mail and not say whose it is will do.
    let mail = vec!["https://graph.microsoft.com/Mail.ReadWrite".to_owned()];
    let source = source_as(&server, registration(&server).with_scopes(mail).with_graph_at(&graph));
    server.cloud().inject(Fault::once("me", Action::status(403)));
    assert!(browse(&source).await.good);
}

#[tokio::test]
async fn refresh_tokens_end_in_their_own_ways() {
    let server = start().await;
    let cloud = server.cloud();
    let day = 24 * 3600;
    let refused = async |source: &TokenSource, number: u32, remedy: &str| {
        let token = source.access_token().await.unwrap();
        match source.renew(&token, None).await {
            Err(AuthError::SignInNeeded { reason, .. }) => {
                assert!(reason.contains(&format!("AADSTS{number}: ")) && reason.contains(remedy), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert!(!source.is_signed_in().await);
        assert!(browse(source).await.good);
    };
    let source = signed_in(&server).await;
    cloud.revoke("", false);
    refused(&source, 50_173, "the password was changed").await;
    // Used within its life, it lives on.
    for _ in 0..3 {
        cloud.age_refresh_tokens("", 60 * day);
        let token = source.access_token().await.unwrap();
        source.renew(&token, None).await.unwrap();
    }
    cloud.age_refresh_tokens("", 91 * day);
    refused(&source, 700_082, "wasn't used for too long").await;

    register(&server, |application| application.redirect_type = RedirectType::Spa);
    let source = signed_in(&server).await;
    cloud.age_refresh_tokens("", day / 2);
    let token = source.access_token().await.unwrap();
    source.renew(&token, None).await.unwrap();
    // Renewing makes it live no longer.
    cloud.age_refresh_tokens("", day / 2 + 1);
    refused(&source, 700_084, "register it as a mobile and desktop application").await;
    assert_well_behaved(&server);
}

#[tokio::test]
async fn registrations_that_are_set_up_otherwise_are_told_apart() {
    let server = start().await;
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    register(&server, |application| application.public_client = false);
    let refused = source.renew(&token, None).await.unwrap_err();
    assert!(matches!(refused, AuthError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains("AADSTS7000218") && refused.to_string().contains("allow public client flows"));
    told(&browse(&source).await, 7_000_218, "allow public client flows");

    register(&server, |application| application.tenant = Some("contoso.com".to_owned()));
    let refused = source.renew(&token, None).await.unwrap_err();
    assert!(matches!(refused, AuthError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains("AADSTS50194") && refused.to_string().contains("set `tenant`"), "{refused}");
    assert_eq!(redirected(&source.begin(PORT).unwrap()).await, None);

    let mut strange = registration(&server);
    strange.client_secret = Some("secret".to_owned());
    register(&server, |_| {});
    told(&browse(&source_as(&server, strange)).await, 700_025, "must not send a secret");
    register(&server, |application| application.client_id = "other".to_owned());
    assert!(source.is_signed_in().await, "none of this ended it");
    assert_ne!(source.renew(&token, None).await.unwrap(), token);
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_with_what_may_come_of_it() {
    let server = start().await;
    server.cloud().turn(|knobs| knobs.clock_offset_seconds = 3600);
    let source = signed_in(&server).await;
    let words = "this computer's clock is 60 minutes behind the service's";
    assert!(source.report().await.clock.unwrap().contains(words));
    let first = source.access_token().await.unwrap();
    let token = source.renew(&first, None).await.unwrap();
    assert_ne!(token, first);
    server.cloud().refuse_tokens(TokenRefusal::once("invalid_grant", 50_173));
    let error = source.renew(&token, None).await.unwrap_err().to_string();
    assert!(error.contains("AADSTS50173") && error.contains(words), "{error}");
    server.cloud().refuse_tokens(TokenRefusal::once("invalid_grant", 54_005));
    let landing = browse(&source).await;
    assert!(landing.words.contains("AADSTS54005") && landing.words.contains(words), "{landing:?}");
    server.cloud().turn(|knobs| knobs.clock_offset_seconds = 0);
    assert!(browse(&source).await.good);
    assert_eq!(source.report().await.clock, None);
}
