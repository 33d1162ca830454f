//! What outlives the process, and what other processes do to it meanwhile.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use cms_auth::{
    AccessTokens, AuthError, KeptSignIn, KeySource, Patience, SignInState, TokenSource, TokenSourceOptions, Vault,
};
use simcloud::{Action, Fault, Server, TokenRefusal};

use crate::support::{PORT, USER, browse, kept_source, options, redirected, registration, start, wait_for};

const OTHER: &str = "other@domain.com";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("tokens")
    }

    /// The vault as a process of its own has it.
    fn vault(&self) -> Arc<Vault> {
        self.vault_with("echo test-passphrase")
    }

    fn vault_with(&self, command: &str) -> Arc<Vault> {
        Arc::new(Vault::new(self.path(), KeySource::Command(command.to_owned())))
    }

    /// Lets nothing be written, which for a privileged user takes more than modes.
    fn block(&self) {
        fs::create_dir_all(self.path().with_extension("new").join("in the way")).unwrap();
    }

    fn unblock(&self) {
        fs::remove_dir_all(self.path().with_extension("new")).unwrap();
    }
}

async fn two_users() -> Server {
    let users = vec![USER.to_owned(), OTHER.to_owned()];
    simcloud::serve(simcloud::Options { users, ..simcloud::Options::default() }).await.unwrap()
}

fn source_of(server: &Server, vault: &Arc<Vault>, user: Option<&str>, patience: Patience) -> TokenSource {
    TokenSource::new(TokenSourceOptions {
        user: user.map(str::to_owned),
        vault: Some(vault.clone()),
        ..options(server, patience)
    })
    .unwrap()
}

async fn kept(server: &Server, vault: &Vault, user: &str) -> Option<KeptSignIn> {
    vault.load(&registration(server).kept_as(Some(user))).await.unwrap()
}

async fn sign_in(source: &TokenSource) {
    let landing = browse(source).await;
    assert!(landing.good, "{landing:?}");
}

async fn renew(source: &TokenSource) {
    let token = source.access_token().await.unwrap();
    assert_ne!(source.renew(&token, None).await.unwrap(), token);
}

/// A source that nobody signs in, as after a restart.
async fn restarted(server: &Server, place: &Place) -> TokenSource {
    let source = kept_source(server, &place.vault());
    source.access_token().await.unwrap();
    source
}

#[tokio::test]
async fn f12_the_newest_refresh_token_is_kept_and_serves_after_a_restart() {
    let (server, place) = (start().await, Place::new());
    let vault = place.vault();
    let first = kept_source(&server, &vault);
    sign_in(&first).await;
    assert_eq!(first.report().await.not_kept, None);
    let mut last = kept(&server, &vault, USER).await.unwrap();
    assert_eq!(last.user.as_deref(), Some(USER));
    let fifty_days = 50 * 24 * 3600;
    for _ in 0..2 {
        server.cloud().age_refresh_tokens("", fifty_days);
        renew(&first).await;
        let now = kept(&server, &vault, USER).await.unwrap();
        assert_ne!(now.refresh_token, last.refresh_token);
        assert_eq!(now.signed_in_at, last.signed_in_at);
        last = now;
    }
    server.cloud().age_refresh_tokens("", fifty_days);
    // All but the newest are too old by now.
    let second = restarted(&server, &place).await;
    assert!(matches!(second.state(), SignInState::SignedIn { not_kept: None, .. }), "{:?}", second.state());
    assert_eq!(second.report().await.user.as_deref(), Some(USER));
    restarted(&server, &place).await;
}

#[tokio::test]
async fn f11_what_was_received_and_not_kept_leaves_the_old_one_good() {
    let (server, place) = (start().await, Place::new());
    let source = kept_source(&server, &place.vault());
    sign_in(&source).await;
    let before = fs::read(place.path()).unwrap();
    place.block();
    renew(&source).await;
    let not_kept = source.report().await.not_kept.unwrap();
    assert!(not_kept.contains("could not write") && not_kept.contains("its disk has room"), "{not_kept}");
    assert!(matches!(source.state(), SignInState::SignedIn { not_kept: Some(_), .. }));
    assert_eq!(fs::read(place.path()).unwrap(), before);
    // This process goes on with what it holds, and one that is started now with what is kept.
    renew(&source).await;
    restarted(&server, &place).await;
    place.unblock();
    renew(&source).await;
    assert_eq!(source.report().await.not_kept, None);
    assert_ne!(fs::read(place.path()).unwrap(), before);
    restarted(&server, &place).await;
}

#[tokio::test]
async fn a_vault_that_is_no_file_costs_nothing_but_the_keeping() {
    let (server, place) = (start().await, Place::new());
    fs::create_dir(place.path()).unwrap();
    let source = kept_source(&server, &place.vault());
    assert!(matches!(source.access_token().await, Err(AuthError::SignInNeeded { .. })));
    sign_in(&source).await;
    let report = source.report().await;
    assert!(report.not_kept.unwrap().contains("could not read"));
    renew(&source).await;
    // Once somebody has put it right, it is kept with the next renewal.
    fs::remove_dir(place.path()).unwrap();
    renew(&source).await;
    assert_eq!(source.report().await.not_kept, None);
    restarted(&server, &place).await;
}

#[tokio::test]
async fn a_sign_in_that_could_not_be_kept_is_not_lost_for_an_older_one() {
    let (server, place) = (two_users().await, Place::new());
    sign_in(&kept_source(&server, &place.vault())).await;
    server.cloud().revoke("", true);
    // The kept one is dead; what takes its place can't be kept, here before the vault was even looked into.
    place.block();
    let source = kept_source(&server, &place.vault());
    sign_in(&source).await;
    assert!(source.report().await.not_kept.is_some());
    renew(&source).await;
    // Another account's process writes the file.
    place.unblock();
    sign_in(&source_of(&server, &place.vault(), Some(OTHER), Patience::None)).await;
    assert!(source.is_signed_in().await);
    renew(&source).await;
    assert_eq!(source.report().await.not_kept, None);
    restarted(&server, &place).await;
}

#[tokio::test]
async fn signing_in_elsewhere_is_noticed_by_whoever_waits() {
    let (server, place) = (start().await, Place::new());
    let first = source_of(&server, &place.vault(), Some(USER), Patience::Forever);
    for round in 0..2 {
        let waiting = {
            let first = first.clone();
            tokio::spawn(async move { first.access_token().await })
        };
        wait_for(&first, |state| matches!(state, SignInState::Needed { .. })).await;
        let second = kept_source(&server, &place.vault());
        sign_in(&second).await;
        let token = tokio::time::timeout(crate::support::PATIENCE, waiting).await.unwrap().unwrap().unwrap();
        assert!(matches!(first.state(), SignInState::SignedIn { .. }), "round {round}");
        // And signing out is, when the next token is needed.
        assert!(second.sign_out().await.unwrap().was_signed_in);
        assert!(!first.is_signed_in().await, "round {round}");
        assert!(matches!(first.state(), SignInState::Needed { reason } if reason == "it was signed out"));
        drop(token);
    }
}

#[tokio::test]
async fn signing_out_elsewhere_makes_room_for_another_account() {
    let (server, place) = (two_users().await, Place::new());
    let source = source_of(&server, &place.vault(), None, Patience::None);
    sign_in(&source).await;
    assert_eq!(source.report().await.user.as_deref(), Some(USER));
    let other_process = source_of(&server, &place.vault(), None, Patience::None);
    assert!(other_process.sign_out().await.unwrap().was_signed_in);
    match source.access_token().await {
        Err(AuthError::SignInNeeded { reason, .. }) => assert_eq!(reason, "it was signed out"),
        other => panic!("{other:?}"),
    }
    for source in [&source, &other_process] {
        let mut address = source.begin(PORT).unwrap();
        assert!(!address.query_pairs().any(|(name, _)| name == "login_hint"), "{address}");
        address.query_pairs_mut().append_pair("login_hint", OTHER);
        let landing = source.came_back(&redirected(&address).await.unwrap()).await.unwrap();
        assert!(landing.good, "{landing:?}");
        assert_eq!(source.report().await.user.as_deref(), Some(OTHER));
    }
}

#[tokio::test]
async fn signing_out_removes_the_record_and_with_the_last_one_the_file() {
    let (server, place) = (two_users().await, Place::new());
    let vault = place.vault();
    let one = kept_source(&server, &vault);
    let other = source_of(&server, &vault, Some(OTHER), Patience::None);
    // At once, in one process.
    tokio::join!(sign_in(&one), sign_in(&other));
    tokio::join!(renew(&one), renew(&other));
    let (kept_one, kept_other) =
        (kept(&server, &vault, USER).await.unwrap(), kept(&server, &vault, OTHER).await.unwrap());
    assert_ne!(kept_one.refresh_token, kept_other.refresh_token);
    assert_eq!((kept_one.user.as_deref(), kept_other.user.as_deref()), (Some(USER), Some(OTHER)));
    let out = one.sign_out().await.unwrap();
    assert!(out.was_signed_in && !out.revoked, "{out:?}");
    assert_eq!(kept(&server, &vault, USER).await, None);
    renew(&other).await;
    assert!(other.sign_out().await.unwrap().was_signed_in);
    assert!(!place.path().exists());
}

#[tokio::test]
async fn a_refusal_that_may_pass_leaves_what_is_kept() {
    let (server, place) = (start().await, Place::new());
    let source = kept_source(&server, &place.vault());
    sign_in(&source).await;
    let before = fs::read(place.path()).unwrap();
    for (error, number) in
        [("interaction_required", 50_076), ("interaction_required", 53_003), ("invalid_grant", 50_173)]
    {
        let source = kept_source(&server, &place.vault());
        server.cloud().refuse_tokens(TokenRefusal::once(error, number));
        assert!(matches!(source.access_token().await, Err(AuthError::SignInNeeded { .. })), "{number}");
        assert!(!source.is_signed_in().await, "{number}");
        assert_eq!(fs::read(place.path()).unwrap(), before, "{number}");
    }
    for action in [Action::status(503), Action::throttled(1), Action::Html, Action::Garbage, Action::ResetBefore] {
        server.cloud().inject(Fault::once("token", action.clone()));
        let token = source.access_token().await.unwrap();
        assert!(matches!(source.renew(&token, None).await, Err(AuthError::Unreachable(_))), "{action:?}");
        assert_eq!(fs::read(place.path()).unwrap(), before, "{action:?}");
    }
    restarted(&server, &place).await;
}

#[tokio::test]
async fn a_wrong_key_overwrites_nothing_and_names_its_remedy() {
    let (server, place) = (start().await, Place::new());
    sign_in(&kept_source(&server, &place.vault())).await;
    let before = fs::read(place.path()).unwrap();
    let source = kept_source(&server, &place.vault_with("echo another-passphrase"));
    match source.access_token().await {
        Err(AuthError::SignInNeeded { reason, .. }) => {
            assert!(
                reason.contains("the key at hand does not open") && reason.contains("bring back the key"),
                "{reason}"
            );
            assert!(!reason.contains("-passphrase\n"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    sign_in(&source).await;
    renew(&source).await;
    assert!(source.report().await.not_kept.unwrap().contains("bring back the key"));
    assert_eq!(fs::read(place.path()).unwrap(), before);
    restarted(&server, &place).await;
}

#[tokio::test]
async fn a_file_that_could_not_be_read_is_looked_at_again_once_it_is_another() {
    let (server, place) = (start().await, Place::new());
    sign_in(&kept_source(&server, &place.vault())).await;
    let good = fs::read(place.path()).unwrap();
    fs::write(place.path(), "garbage").unwrap();
    let source = source_of(&server, &place.vault(), Some(USER), Patience::Forever);
    let waiting = {
        let source = source.clone();
        tokio::spawn(async move { source.access_token().await })
    };
    wait_for(&source, |state| matches!(state, SignInState::Needed { .. })).await;
    fs::write(place.path(), good).unwrap();
    tokio::time::timeout(crate::support::PATIENCE, waiting).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn where_nothing_is_kept_no_key_is_asked_for() {
    let (server, place) = (start().await, Place::new());
    let runs = place.0.path().join("runs");
    let source = kept_source(&server, &place.vault_with(&format!("echo run >>'{}'; echo key", runs.display())));
    assert!(!source.is_signed_in().await);
    assert!(matches!(source.access_token().await, Err(AuthError::SignInNeeded { .. })));
    assert!(!source.sign_out().await.unwrap().was_signed_in);
    assert!(!runs.exists());
    sign_in(&source).await;
    renew(&source).await;
    assert_eq!(fs::read_to_string(&runs).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn a_sign_in_that_has_ended_does_not_come_back_from_the_vault_while_the_user_is_at_the_next() {
    let server = two_users().await;
    let place = Place::new();
    let vault = place.vault();
    let ended = source_of(&server, &vault, Some(USER), Patience::Forever);
    let other = source_of(&server, &vault, Some(OTHER), Patience::None);
    sign_in(&ended).await;
    sign_in(&other).await;
    let token = ended.access_token().await.unwrap();
    server.cloud().revoke(USER, true);
    let waiting = {
        let ended = ended.clone();
        tokio::spawn(async move { ended.renew(&token, None).await })
    };
    wait_for(&ended, |state| matches!(state, SignInState::Needed { .. })).await;
    let query = redirected(&ended.begin(PORT).unwrap()).await.unwrap();
    // The other account writes to the same file meanwhile; what is kept of this one is still what has ended.
    renew(&other).await;
    assert!(!ended.is_signed_in().await);
    assert_eq!(ended.state(), SignInState::InBrowser);
    assert!(ended.came_back(&query).await.expect("the attempt is still waited for").good);
    waiting.await.unwrap().unwrap();
}
