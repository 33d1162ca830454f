//! What the sign-in service may refuse with: each row leads to the next step that is documented for it, and to words that
//! hold the number and the remedy.

use cms_auth::{AccessTokens, AuthError, SignInState};
use simcloud::{Server, SignInMode, TokenRefusal};

use crate::support::{browse, redirected, requests, signed_in, source, start};

/// What a program does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Only the user can help.
    SignIn,
    /// Nothing helps but a change; what was signed in may still be good.
    Stop,
    /// It passes.
    Later,
}

use Next::{Later, SignIn, Stop};

type Row = (u32, &'static str, Next, &'static str);

const SECOND_FACTOR: &str = "the second factor is asked for";
const UNUSED: &str = "wasn't used for too long";
const REDIRECT: &str = "check `redirect_host` (`127.0.0.1` or `localhost`) and `redirect_path`";
const POLICY: &str = "Conditional Access doesn't let this device or application in: ask an administrator";
const PASSES: &str = "this passes by itself";
const STRANGER: &str = "doesn't belong to the sign-in that this program began";

/// Microsoft's numbers, the errors that they have been seen with, and what is to come of them.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    (50_074, "interaction_required", SignIn, SECOND_FACTOR),
    (50_074, "invalid_grant", SignIn, SECOND_FACTOR),
    (50_076, "interaction_required", SignIn, SECOND_FACTOR),
    (50_076, "invalid_grant", SignIn, SECOND_FACTOR),
    (50_078, "interaction_required", SignIn, SECOND_FACTOR),
    (50_078, "invalid_grant", SignIn, SECOND_FACTOR),
    (50_079, "interaction_required", SignIn, SECOND_FACTOR),
    (50_079, "invalid_grant", SignIn, SECOND_FACTOR),
    (50_173, "invalid_grant", SignIn, "the password was changed or an administrator ended all sessions"),
    (70_008, "invalid_grant", SignIn, UNUSED),
    (700_082, "invalid_grant", SignIn, UNUSED),
    (70_043, "invalid_grant", SignIn, "sign-in frequency policy will ask for it from time to time"),
    (700_084, "invalid_grant", SignIn, "register it as a mobile and desktop application"),
    (65_001, "invalid_grant", SignIn, "consent, or ask an administrator"),
    (65_001, "consent_required", SignIn, "/common/adminconsent?client_id=122f4826-"),
    (90_008, "invalid_grant", SignIn, "consent, or ask an administrator"),
    (90_008, "consent_required", SignIn, "/common/adminconsent?client_id=122f4826-"),
    (65_004, "access_denied", Stop, "the consent was declined"),
    (90_094, "access_denied", Stop, "an administrator must approve this client id"),
    (90_094, "invalid_request", Stop, "/common/adminconsent?client_id=122f4826-"),
    (90_095, "access_denied", Stop, "/common/adminconsent?client_id=122f4826-"),
    (700_016, "unauthorized_client", Stop, "check `tenant` and `client_id`"),
    (7_000_218, "invalid_client", Stop, "allow public client flows"),
    (700_025, "invalid_client", Stop, "must not send a secret"),
    (50_011, "invalid_request", Stop, REDIRECT),
    (70_004, "invalid_request", Stop, REDIRECT),
    (900_971, "invalid_request", Stop, REDIRECT),
    (50_105, "access_denied", Stop, "an administrator must assign the user"),
    (53_000, "interaction_required", SignIn, POLICY),
    (53_000, "access_denied", Stop, POLICY),
    (53_001, "interaction_required", SignIn, POLICY),
    (53_001, "access_denied", Stop, POLICY),
    (53_003, "interaction_required", SignIn, POLICY),
    (53_003, "access_denied", Stop, POLICY),
    (530_032, "interaction_required", SignIn, POLICY),
    (530_032, "access_denied", Stop, POLICY),
    (50_005, "interaction_required", SignIn, POLICY),
    (50_005, "access_denied", Stop, POLICY),
    (65_002, "invalid_grant", SignIn, "this client id may not use this service: use another"),
    (50_196, "invalid_grant", Later, "wait some minutes"),
    (50_020, "invalid_grant", SignIn, "use another account or tenant"),
    (90_072, "invalid_grant", SignIn, "use another account or tenant"),
    (90_038, "invalid_request", Stop, "check `tenant` and the national cloud"),
    (90_002, "invalid_request", Stop, "check `tenant` and the national cloud"),
    (50_034, "invalid_grant", SignIn, "there is no such user"),
    (50_057, "invalid_grant", SignIn, "the account is disabled"),
    (50_055, "invalid_grant", SignIn, "the password has expired"),
    (90_033, "temporarily_unavailable", Later, PASSES),
    (90_006, "server_error", Later, PASSES),
    (50_033, "temporarily_unavailable", Later, PASSES),
    (90_024, "server_error", Later, PASSES),
    (54_005, "invalid_grant", SignIn, "the code was used already"),
    (50_147, "invalid_grant", SignIn, STRANGER),
    (50_148, "invalid_grant", SignIn, STRANGER),
    (501_481, "invalid_grant", SignIn, STRANGER),
    (501_491, "invalid_grant", SignIn, STRANGER),
    (700_005, "invalid_grant", SignIn, "the answer came from another tenant: check `tenant`"),
    (9_002_326, "invalid_request", Stop, "leave out `send_origin`"),
    (9_002_327, "invalid_request", Stop, "set `send_origin`"),
    (28_000, "invalid_request", Stop, "a token is for one service only"),
    (700_022, "invalid_request", Stop, "a token is for one service only"),
    (70_011, "invalid_scope", Stop, "check `scopes`"),
    (70_018, "bad_verification_code", Stop, "that isn't the code that was shown"),
    (70_019, "expired_token", Stop, "the code wasn't entered in time"),
    (50_194, "invalid_request", Stop, "the client id works in its own tenant only: set `tenant`"),
];

fn refuse(server: &Server, grant_type: &str, number: u32, error: &str) {
    let grant_type = grant_type.to_owned();
    server.cloud().refuse_tokens(TokenRefusal { grant_type, count: None, ..TokenRefusal::once(error, number) });
}

fn next(error: &AuthError) -> Next {
    match error {
        AuthError::SignInNeeded { .. } => SignIn,
        AuthError::Refused { .. } => Stop,
        AuthError::Unreachable(_) => Later,
        other => panic!("{other:?}"),
    }
}

fn assert_told(words: &str, number: u32, remedy: &str) {
    assert!(words.contains(&format!("AADSTS{number}: ")), "{words}");
    assert!(words.contains(remedy), "{words}");
    assert!(!words.contains("Trace ID") && !words.contains('\n'), "{words}");
}

#[tokio::test]
async fn every_refusal_of_a_refresh_token_has_its_next_step_and_its_remedy() {
    let server = start().await;
    for &(number, error, wanted, remedy) in ROWS {
        let source = signed_in(&server).await;
        let token = source.access_token().await.unwrap();
        refuse(&server, "refresh_token", number, error);
        let refused = source.renew(&token, None).await.unwrap_err();
        assert_eq!(next(&refused), wanted, "{number} {error}: {refused:?}");
        assert_told(&refused.to_string(), number, remedy);
        // Only what is over is forgotten.
        assert_eq!(source.is_signed_in().await, wanted != SignIn, "{number} {error}");
        match (wanted, source.state()) {
            (Later, SignInState::Unreachable { reason }) | (SignIn | Stop, SignInState::Failed { reason }) => {
                assert_told(&reason, number, remedy);
            }
            (_, other) => panic!("{number} {error}: {other:?}"),
        }
        server.cloud().clear_token_refusals();
        match wanted {
            // It is left alone, as it asked; see below.
            Later if number == 50_196 => {}
            Stop | Later => assert_ne!(source.renew(&token, None).await.unwrap(), token, "{number} {error}"),
            SignIn => assert!(browse(&source).await.good, "{number} {error}"),
        }
    }
}

#[tokio::test]
async fn every_refusal_of_a_code_is_told_and_the_sign_in_can_be_begun_again() {
    let server = start().await;
    for &(number, error, _, remedy) in ROWS {
        let source = source(&server);
        refuse(&server, "authorization_code", number, error);
        let landing = browse(&source).await;
        assert!(!landing.good && landing.heading == "Not signed in", "{number} {error}: {landing:?}");
        assert_told(&landing.words, number, remedy);
        let SignInState::Failed { reason } = source.state() else { panic!("{number} {error}: {:?}", source.state()) };
        assert_eq!(reason, landing.words);
        assert!(!source.is_signed_in().await);
        server.cloud().clear_token_refusals();
        assert!(browse(&source).await.good, "{number} {error}");
    }
}

#[tokio::test]
async fn every_refusal_that_the_browser_brings_back_is_told() {
    let server = start().await;
    for &(number, error, _, remedy) in ROWS {
        let source = source(&server);
        server.cloud().set_sign_in_mode(SignInMode::Redirect { error: error.to_owned(), number });
        let landing = browse(&source).await;
        assert!(!landing.good, "{number} {error}: {landing:?}");
        assert_told(&landing.words, number, remedy);
        assert!(matches!(source.state(), SignInState::Failed { .. }));
    }
    assert_eq!(requests(&server, "token"), 0);
}

#[tokio::test]
async fn a_refusal_that_the_browser_keeps_to_itself_leaves_the_sign_in_open() {
    let server = start().await;
    let source = source(&server);
    for number in [90_094, 90_095, 50_011, 70_004, 900_971, 50_105, 50_020, 90_072, 50_034, 50_057] {
        server.cloud().set_sign_in_mode(SignInMode::Page { number });
        assert_eq!(redirected(&source.begin(crate::support::PORT).unwrap()).await, None, "{number}");
        assert_eq!(source.state(), SignInState::InBrowser, "{number}");
    }
    server.cloud().set_sign_in_mode(SignInMode::Immediate);
    assert!(browse(&source).await.good);
}

#[tokio::test]
async fn what_to_do_next_depends_on_no_number() {
    let server = start().await;
    for &(number, error, wanted, _) in ROWS.iter().filter(|(number, ..)| *number != 50_196) {
        let source = signed_in(&server).await;
        let token = source.access_token().await.unwrap();
        refuse(&server, "refresh_token", 99_999, error);
        let refused = source.renew(&token, None).await.unwrap_err();
        assert_eq!(next(&refused), wanted, "{number} {error}: {refused:?}");
        assert!(refused.to_string().contains("AADSTS99999: "), "{refused}");
        server.cloud().clear_token_refusals();
    }
}

#[tokio::test]
async fn a_service_that_is_asked_too_often_is_left_alone_and_nothing_is_lost() {
    let server = start().await;
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    server.cloud().refuse_tokens(TokenRefusal::once("invalid_grant", 50_196));
    source.renew(&token, None).await.unwrap_err();
    let before = requests(&server, "token");
    for _ in 0..20 {
        let resting = source.renew(&token, None).await.unwrap_err();
        assert_eq!(next(&resting), Later);
        assert_told(&resting.to_string(), 50_196, "wait some minutes");
    }
    assert_eq!(requests(&server, "token"), before, "it isn't asked while it rests");
    assert!(source.is_signed_in().await);
    // The token at hand is good for what it is good for.
    assert_eq!(source.access_token().await.unwrap(), token);
    // A user who signs in all the same ends the rest.
    assert!(browse(&source).await.good);
    let token = source.access_token().await.unwrap();
    assert_ne!(source.renew(&token, None).await.unwrap(), token);
}

#[tokio::test]
async fn a_code_that_is_redeemed_too_often_makes_renewals_rest_as_well() {
    let server = start().await;
    let source = signed_in(&server).await;
    let token = source.access_token().await.unwrap();
    server.cloud().refuse_tokens(TokenRefusal::once("invalid_grant", 50_196));
    assert!(!browse(&source).await.good);
    let before = requests(&server, "token");
    assert_eq!(next(&source.renew(&token, None).await.unwrap_err()), Later);
    assert_eq!(requests(&server, "token"), before);
    assert!(source.is_signed_in().await);
}
