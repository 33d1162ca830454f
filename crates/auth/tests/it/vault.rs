//! The token vault with a key that a command gives: what is kept, and what no mishap may cost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cms_auth::{KeptSignIn, KeyCommandFailure, KeyDescription, KeySource, RefreshToken, Vault, VaultError};

/// One process, which the tests run themselves again as.
const WRITER: &str = "CMS_TEST_VAULT_WRITER";

pub(crate) fn sign_in(token: &str) -> KeptSignIn {
    KeptSignIn {
        refresh_token: RefreshToken::new(token),
        user: Some("user@domain.com".to_owned()),
        scopes: vec!["offline_access".to_owned()],
        signed_in_at: 1_700_000_000,
        renewed_at: 1_700_003_600,
    }
}

pub(crate) async fn token(vault: &Vault, account: &str) -> Option<String> {
    vault.load(account).await.unwrap().map(|kept| kept.refresh_token.reveal().to_owned())
}

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("tokens")
    }

    /// A vault as a new process has it, whose command also counts how often it is run.
    fn vault(&self, command: &str) -> Vault {
        let runs = self.directory.path().join("runs");
        Vault::new(self.path(), KeySource::Command(format!("echo run >>'{}'; {command}", runs.display())))
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.directory.path().join("runs")).unwrap_or_default().lines().count()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.retain(|name| name != "runs");
        names
    }
}

#[tokio::test]
async fn what_is_kept_is_there_in_the_next_process_and_nowhere_readable() {
    let place = Place::new();
    let vault = place.vault("echo hunt'er'2");
    vault.keep("one", &sign_in("0.AXoA-first")).await.unwrap();
    let before = vault.fingerprint();
    vault.keep("one", &sign_in("0.AXoA-second")).await.unwrap();
    assert_ne!(vault.fingerprint(), before);

    let vault = place.vault("echo hunt'er'2");
    let kept = vault.load("one").await.unwrap().unwrap();
    assert_eq!(kept, sign_in("0.AXoA-second"));
    let bytes = String::from_utf8_lossy(&fs::read(place.path()).unwrap()).into_owned();
    for text in [&bytes, &format!("{kept:?} {vault:?}")] {
        assert!(!text.contains("0.AXoA") && !text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn f36_the_command_is_run_once_and_not_before_there_is_something_to_open() {
    let place = Place::new();
    let vault = place.vault("echo hunter2");
    assert_eq!(vault.load("one").await.unwrap(), None);
    assert!(!vault.forget("one").await.unwrap());
    assert_eq!(vault.fingerprint(), None);
    assert!(matches!(vault.describe_key().await, KeyDescription::Command(_)));
    assert_eq!((place.runs(), place.names().len()), (0, 0));
    vault.keep("one", &sign_in("token one")).await.unwrap();
    vault.keep("two", &sign_in("token two")).await.unwrap();
    assert_eq!(place.runs(), 1);

    let vault = std::sync::Arc::new(place.vault("echo hunter2"));
    assert_eq!(vault.load("stranger").await.unwrap(), None);
    assert_eq!(place.runs(), 1);
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let vault = std::sync::Arc::clone(&vault);
            tokio::spawn(async move { token(&vault, "one").await.unwrap() })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), "token one");
    }
    assert_eq!(place.runs(), 2);
}

#[tokio::test]
async fn a_command_that_gives_nothing_is_not_run_again_by_itself() {
    let place = Place::new();
    let vault = place.vault("echo hunter2; exit 3");
    for _ in 0..3 {
        let error = vault.keep("one", &sign_in("token")).await.unwrap_err();
        let VaultError::KeyCommand { reason: KeyCommandFailure::Status(_), .. } = &error else { panic!("{error:?}") };
        assert!(error.to_string().ends_with("it ended with exit status: 3"), "{error}");
    }
    assert_eq!((place.runs(), place.path().exists()), (1, false));
    vault.ask_again().await;
    vault.keep("one", &sign_in("token")).await.unwrap_err();
    assert_eq!(place.runs(), 2);

    let empty = place.vault("true").keep("one", &sign_in("token")).await;
    assert!(matches!(empty, Err(VaultError::KeyCommand { reason: KeyCommandFailure::Empty, .. })), "{empty:?}");
    let (began, slow) = (Instant::now(), place.vault("exec sleep 30").with_patience(Duration::from_millis(200)));
    let slow = slow.keep("one", &sign_in("token")).await;
    assert!(matches!(slow, Err(VaultError::KeyCommand { reason: KeyCommandFailure::Slow(_), .. })), "{slow:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn f13_another_key_reads_nothing_and_overwrites_nothing() {
    let place = Place::new();
    place.vault("echo hunter2").keep("one", &sign_in("token one")).await.unwrap();
    let before = fs::read(place.path()).unwrap();
    for vault in [place.vault("echo hunter3"), Vault::new(place.path(), KeySource::Keyring)] {
        for error in [vault.load("one").await.unwrap_err(), vault.keep("two", &sign_in("x")).await.unwrap_err()] {
            assert!(matches!(error, VaultError::WrongKey { .. }), "{error:?}");
            assert!(error.to_string().contains(place.path().to_str().unwrap()), "{error}");
        }
    }
    assert_eq!(fs::read(place.path()).unwrap(), before);
    assert_eq!(place.names(), ["tokens", "tokens.lock"]);
    // Signing out takes no key; what comes then may have another.
    let vault = place.vault("echo hunter3");
    assert!(vault.forget("one").await.unwrap());
    vault.keep("one", &sign_in("anew")).await.unwrap();
    assert_eq!(token(&place.vault("echo hunter3"), "one").await.unwrap(), "anew");
}

#[tokio::test]
async fn forgetting_leaves_the_others_and_at_last_nothing() {
    let place = Place::new();
    let vault = place.vault("echo hunter2");
    vault.keep("one", &sign_in("token one")).await.unwrap();
    vault.keep("two", &sign_in("token two")).await.unwrap();
    let keyless = place.vault("false");
    assert!(keyless.forget("one").await.unwrap());
    assert!(!keyless.forget("one").await.unwrap());
    assert_eq!(token(&vault, "one").await, None);
    assert_eq!(token(&vault, "two").await.unwrap(), "token two");
    assert!(keyless.forget("two").await.unwrap());
    assert!(!place.path().exists());
    assert_eq!(token(&vault, "two").await, None);
    assert_eq!(place.runs(), 1);
    // And it all may begin anew, under another vault's key.
    vault.keep("two", &sign_in("again")).await.unwrap();
    assert_eq!(token(&place.vault("echo hunter2"), "two").await.unwrap(), "again");
}

#[tokio::test]
async fn f26_a_damaged_file_is_put_aside_and_what_is_whole_in_it_is_saved() {
    let place = Place::new();
    let vault = place.vault("echo hunter2");
    vault.keep("one", &sign_in("token one")).await.unwrap();
    vault.keep("two", &sign_in("token two")).await.unwrap();
    let mut bytes = fs::read(place.path()).unwrap();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    fs::write(place.path(), &bytes).unwrap();

    // Reading changes nothing, and reads what can be read.
    assert_eq!(token(&vault, "one").await.unwrap(), "token one");
    let error = vault.load("two").await.unwrap_err();
    assert!(matches!(error, VaultError::Damaged { .. }), "{error:?}");
    assert!(matches!(vault.load("three").await, Err(VaultError::Damaged { .. })));
    assert_eq!(place.names(), ["tokens", "tokens.lock"]);

    vault.keep("two", &sign_in("token anew")).await.unwrap();
    assert_eq!(fs::read(place.directory.path().join("tokens.damaged-1")).unwrap(), bytes);
    assert_eq!(token(&vault, "one").await.unwrap(), "token one");
    assert_eq!(token(&vault, "two").await.unwrap(), "token anew");

    // Nothing at all can be told from this one.
    fs::write(place.path(), "garbage").unwrap();
    assert!(matches!(vault.load("one").await, Err(VaultError::Damaged { .. })));
    assert!(matches!(vault.forget("one").await, Err(VaultError::Damaged { .. })));
    vault.keep("one", &sign_in("token one")).await.unwrap();
    assert_eq!(fs::read(place.directory.path().join("tokens.damaged-2")).unwrap(), b"garbage");
    assert_eq!(token(&vault, "one").await.unwrap(), "token one");
    assert_eq!(token(&vault, "two").await, None);
    assert_eq!(place.runs(), 1);
}

#[tokio::test]
async fn a_file_of_a_later_version_is_left_alone() {
    let place = Place::new();
    fs::write(place.path(), b"CMSVAULT\x02whatever").unwrap();
    let vault = place.vault("echo hunter2");
    for error in [
        vault.load("one").await.unwrap_err(),
        vault.keep("one", &sign_in("token")).await.unwrap_err(),
        vault.forget("one").await.unwrap_err(),
    ] {
        assert!(matches!(error, VaultError::NewerVersion { version: 2, .. }), "{error:?}");
    }
    assert_eq!(fs::read(place.path()).unwrap(), b"CMSVAULT\x02whatever");
    assert_eq!(place.runs(), 0);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_and_changes_nothing() {
    let place = Place::new();
    let vault = place.vault("echo hunter2");
    vault.keep("one", &sign_in("token one")).await.unwrap();
    let before = fs::read(place.path()).unwrap();
    for (account, token) in [("", "token".to_owned()), ("two", "x".repeat(100_000))] {
        let error = vault.keep(account, &sign_in(&token)).await.unwrap_err();
        assert!(matches!(error, VaultError::Unfit { .. }), "{error:?}");
    }
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

/// Runs this program again as a process that keeps `count` sign-ins of `account`, one after the other.
fn writer(path: &Path, account: &str, count: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "vault::writer_process", "--ignored"]).stdout(Stdio::null());
    command.env(WRITER, format!("{} {account} {count}", path.display()));
    command
}

#[tokio::test]
#[ignore = "a process of the other tests"]
async fn writer_process() {
    let Ok(task) = std::env::var(WRITER) else { return };
    let [path, account, count] = task.split(' ').collect::<Vec<_>>()[..] else { panic!("{task}") };
    let vault = Vault::new(path.into(), KeySource::Command("echo hunter2".to_owned()));
    for number in 1..=count.parse().unwrap() {
        vault.keep(account, &sign_in(&format!("token {number} of {account}"))).await.unwrap();
    }
}

#[tokio::test]
async fn f12_processes_that_write_at_the_same_time_lose_nothing() {
    let place = Place::new();
    let writers: Vec<_> =
        (0..4).map(|number| writer(&place.path(), &format!("account-{number}"), 10).spawn().unwrap()).collect();
    for mut writer in writers {
        assert!(writer.wait().unwrap().success());
    }
    let vault = place.vault("echo hunter2");
    for number in 0..4 {
        let account = format!("account-{number}");
        assert_eq!(token(&vault, &account).await.unwrap(), format!("token 10 of {account}"));
    }
    assert_eq!(place.names(), ["tokens", "tokens.lock"]);
}

#[tokio::test]
async fn f26_a_process_that_is_killed_leaves_the_old_file_or_the_new_one() {
    let place = Place::new();
    let vault = place.vault("echo hunter2");
    vault.keep("other", &sign_in("token of other")).await.unwrap();
    for round in 0..8 {
        let before = vault.fingerprint();
        let mut writer = writer(&place.path(), "one", 1_000_000).spawn().unwrap();
        while vault.fingerprint() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        writer.kill().unwrap();
        writer.wait().unwrap();
        assert!(token(&vault, "one").await.unwrap().starts_with("token "));
        assert_eq!(token(&vault, "other").await.unwrap(), "token of other");
    }
}
