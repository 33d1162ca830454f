//! The token vault with its key in a real keyring.
//!
//! Each story runs in a process of its own under `services/with-keyring` of the shared directory (`CMS_SHARED`, or
//! `shared` beside the project), which gives it a private session bus; without that nothing is tried.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cms_auth::{KeyDescription, KeySource, KeyringState, Vault, VaultError};
use secret_service::{EncryptionType, SecretService};

use crate::vault::{sign_in, token};

/// Names the story that this process is to live through.
const STORY: &str = "CMS_TEST_KEYRING_STORY";
/// Where the story's vault is.
const DIRECTORY: &str = "CMS_TEST_KEYRING_DIRECTORY";
/// Longer than anything takes here that comes at all.
const SOON: Duration = Duration::from_secs(20);

/// A keyring and a vault, which last from one session to the next.
struct Place {
    directory: tempfile::TempDir,
    with_keyring: PathBuf,
}

/// How the keyring of a session is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    Unlocked,
    Locked,
    Without,
}

impl Place {
    /// Nothing if there can be no keyring here.
    fn new() -> Option<Self> {
        let shared = std::env::var_os("CMS_SHARED")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
        let with_keyring = shared.join("services/with-keyring");
        if !with_keyring.is_file() {
            println!("skipped: needs services/with-keyring");
            return None;
        }
        for program in ["gnome-keyring-daemon", "dbus-daemon"] {
            let found = Command::new("sh").arg("-c").arg(format!("command -v {program}")).output().unwrap();
            if !found.status.success() {
                println!("skipped: needs {program}");
                return None;
            }
        }
        Some(Self { directory: tempfile::tempdir().unwrap(), with_keyring })
    }

    /// Lives through a story in a session of its own.
    fn live(&self, session: Session, story: &str) {
        let mut command = Command::new(&self.with_keyring);
        command.env("KEYRING_DIR", self.directory.path().join("keyring"));
        match session {
            Session::Unlocked => &mut command,
            Session::Locked => command.env("KEYRING_LOCKED", "1"),
            Session::Without => command.env("KEYRING_NONE", "1"),
        };
        let us = std::env::current_exe().unwrap();
        command.arg(us).args(["--exact", "keyring::session", "--ignored", "--nocapture"]);
        let output = command.env(STORY, story).env(DIRECTORY, self.directory.path()).output().unwrap();
        let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success() && told[0].contains("1 passed"), "{story}: {}\n{}", told[0], told[1]);
    }

    fn file(&self) -> Vec<u8> {
        fs::read(self.directory.path().join("tokens")).unwrap()
    }
}

#[test]
fn a_sign_in_outlives_the_process_and_the_session() {
    let Some(place) = Place::new() else { return };
    place.live(Session::Unlocked, "keep");
    place.live(Session::Unlocked, "load");
}

#[test]
fn f13_a_locked_keyring_is_waited_for_and_never_taken_for_empty() {
    let Some(place) = Place::new() else { return };
    place.live(Session::Unlocked, "keep");
    let before = place.file();
    place.live(Session::Locked, "locked");
    place.live(Session::Locked, "nobody answers");
    assert_eq!(place.file(), before);
    place.live(Session::Locked, "unlocked over the bus");
    place.live(Session::Locked, "unlocked by a login");
}

#[test]
fn f13_no_key_is_made_in_a_locked_keyring() {
    let Some(place) = Place::new() else { return };
    place.live(Session::Unlocked, "nothing");
    place.live(Session::Locked, "begin in a locked keyring");
}

#[test]
fn without_a_keyring_that_is_said_at_once() {
    let Some(place) = Place::new() else { return };
    place.live(Session::Without, "absent");
    place.live(Session::Unlocked, "keep");
    let before = place.file();
    place.live(Session::Without, "absent");
    assert_eq!(place.file(), before);
}

#[test]
fn a_key_at_hand_outlives_the_keyring() {
    let Some(place) = Place::new() else { return };
    place.live(Session::Unlocked, "vanish");
}

#[test]
fn f12_processes_that_begin_a_vault_at_the_same_time_share_it() {
    let Some(place) = Place::new() else { return };
    place.live(Session::Unlocked, "begin together");
}

#[test]
fn f13_another_key_reads_nothing_and_overwrites_nothing() {
    let Some(place) = Place::new() else { return };
    place.live(Session::Unlocked, "keep");
    let before = place.file();
    place.live(Session::Unlocked, "another key");
    assert_eq!(place.file(), before);
}

#[test]
fn with_the_last_account_the_key_leaves_the_keyring() {
    let Some(place) = Place::new() else { return };
    place.live(Session::Unlocked, "keep");
    place.live(Session::Unlocked, "forget");
}

/// The process within a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of the other tests"]
async fn session() {
    let Ok(story) = std::env::var(STORY) else { return };
    match story.as_str() {
        "nothing" => {}
        "keep" => keep().await,
        "load" => load().await,
        "locked" => locked().await,
        "nobody answers" => nobody_answers().await,
        "unlocked over the bus" => unlocked_meanwhile(unlock_over_the_bus()).await,
        "unlocked by a login" => {
            unlocked_meanwhile(async {
                unlock();
                // Whoever logs in starts something that comes to the bus.
                drop(zbus::Connection::session().await.unwrap());
            })
            .await;
        }
        "begin in a locked keyring" => begin_in_a_locked_keyring().await,
        "absent" => absent().await,
        "vanish" => vanish().await,
        "begin together" => begin_together().await,
        "begin" => vault().keep(&format!("process-{}", std::process::id()), &sign_in("token")).await.unwrap(),
        "another key" => another_key().await,
        "forget" => forget().await,
        other => panic!("{other}"),
    }
}

fn path() -> PathBuf {
    PathBuf::from(std::env::var_os(DIRECTORY).unwrap()).join("tokens")
}

fn vault() -> Vault {
    Vault::new(path(), KeySource::Keyring)
}

async fn state(vault: &Vault) -> KeyringState {
    match vault.describe_key().await {
        KeyDescription::Keyring(state) => state,
        KeyDescription::Command(command) => panic!("{command}"),
    }
}

/// How many keys the keyring holds for whatever vault.
async fn keys() -> usize {
    let service = SecretService::connect(EncryptionType::Plain).await.unwrap();
    let found = service.search_items(HashMap::from([("application", "cms")])).await.unwrap();
    found.unlocked.len() + found.locked.len()
}

/// Unlocks the keyring as logging in does, through the socket of the running daemon.
fn unlock() {
    const UNLOCK: u32 = 1;
    let password = b"test";
    let length = u32::try_from(password.len()).unwrap();
    let mut message = vec![0];
    for number in [12 + length, UNLOCK, length] {
        message.extend(number.to_be_bytes());
    }
    message.extend(password);
    let socket = PathBuf::from(std::env::var_os("GNOME_KEYRING_CONTROL").unwrap()).join("control");
    let mut daemon = UnixStream::connect(socket).unwrap();
    daemon.write_all(&message).unwrap();
    let mut answer = [0; 8];
    daemon.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0, 0, 0, 8, 0, 0, 0, 0]);
}

/// Unlocks the keyring as answering its question does, as far as its clients see.
async fn unlock_over_the_bus() {
    let bus = zbus::Connection::session().await.unwrap();
    let service = "org.freedesktop.secrets";
    let root = "/org/freedesktop/secrets";
    let opened = bus
        .call_method(
            Some(service),
            root,
            Some("org.freedesktop.Secret.Service"),
            "OpenSession",
            &("plain", zbus::zvariant::Value::from("")),
        )
        .await
        .unwrap();
    let (_, session): (zbus::zvariant::OwnedValue, zbus::zvariant::OwnedObjectPath) =
        opened.body().deserialize().unwrap();
    let login = zbus::zvariant::ObjectPath::try_from("/org/freedesktop/secrets/collection/login").unwrap();
    let password = (session, Vec::<u8>::new(), b"test".to_vec(), "text/plain");
    let interface = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface";
    bus.call_method(Some(service), root, Some(interface), "UnlockWithMasterPassword", &(login, password))
        .await
        .unwrap();
}

async fn keep() {
    let vault = vault();
    assert_eq!(state(&vault).await, KeyringState::Ready);
    vault.keep("one", &sign_in("token one")).await.unwrap();
    vault.keep("two", &sign_in("token two")).await.unwrap();
    assert_eq!(keys().await, 1);
    assert_eq!(state(&vault).await, KeyringState::HasKey);
}

async fn load() {
    let vault = vault();
    tokio::time::timeout(SOON, vault.wait_for_key()).await.unwrap();
    assert_eq!(token(&vault, "one").await.unwrap(), "token one");
    assert_eq!(token(&vault, "two").await.unwrap(), "token two");
    assert_eq!(keys().await, 1);
}

async fn locked() {
    let vault = vault().with_patience(Duration::from_secs(3));
    assert_eq!(state(&vault).await, KeyringState::Locked);
    // Who has nothing there doesn't need the key.
    assert_eq!(vault.load("stranger").await.unwrap(), None);
    let began = Instant::now();
    assert!(matches!(vault.load("one").await, Err(VaultError::Locked { .. })));
    println!("the first load took {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5));
    // The user isn't asked again.
    let began = Instant::now();
    assert!(matches!(vault.load("one").await, Err(VaultError::Locked { .. })));
    assert!(matches!(vault.keep("three", &sign_in("token")).await, Err(VaultError::Locked { .. })));
    println!("the next load and keep took {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(keys().await, 1);
    let waited = tokio::time::timeout(Duration::from_millis(500), vault.wait_for_key()).await;
    assert!(waited.is_err());
}

async fn nobody_answers() {
    // Something that would put the question on the screen, and whose user is out.
    let prompter = zbus::Connection::session().await.unwrap();
    prompter.request_name("org.gnome.keyring.SystemPrompter").await.unwrap();
    let patience = Duration::from_secs(2);
    let vault = vault().with_patience(patience);
    let began = Instant::now();
    assert!(matches!(vault.load("one").await, Err(VaultError::Locked { .. })));
    println!("nobody answered for {:?}", began.elapsed());
    assert!((patience..patience * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    let began = Instant::now();
    assert!(matches!(vault.load("one").await, Err(VaultError::Locked { .. })));
    assert!(began.elapsed() < patience);
}

async fn unlocked_meanwhile(unlocking: impl Future<Output = ()>) {
    let vault = Arc::new(vault().with_patience(Duration::from_secs(1)));
    assert!(matches!(vault.load("one").await, Err(VaultError::Locked { .. })));
    let waiting = tokio::spawn({
        let vault = Arc::clone(&vault);
        async move { vault.wait_for_key().await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    let began = Instant::now();
    unlocking.await;
    tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
    println!("unlocking was noticed after {:?}", began.elapsed());
    assert_eq!(token(&vault, "one").await.unwrap(), "token one");
    // Also if it is unlocked before anybody waits.
    tokio::time::timeout(SOON, vault.wait_for_key()).await.unwrap();
}

async fn begin_in_a_locked_keyring() {
    let vault = vault().with_patience(Duration::from_secs(1));
    assert!(matches!(vault.keep("one", &sign_in("token")).await, Err(VaultError::Locked { .. })));
    assert!(!path().exists());
    assert_eq!(keys().await, 0);
    unlock();
    tokio::time::timeout(SOON, vault.wait_for_key()).await.unwrap();
    vault.keep("one", &sign_in("token one")).await.unwrap();
    assert_eq!(keys().await, 1);
}

async fn absent() {
    let vault = vault();
    assert!(matches!(state(&vault).await, KeyringState::Absent(_)));
    let began = Instant::now();
    let error = match vault.load("one").await {
        Ok(kept) => {
            assert_eq!(kept, None);
            vault.keep("one", &sign_in("token")).await.unwrap_err()
        }
        Err(error) => error,
    };
    assert!(matches!(error, VaultError::NoKeyring { .. }), "{error:?}");
    println!("{error}; after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(2));
    let waited = tokio::time::timeout(Duration::from_millis(300), vault.wait_for_key()).await;
    assert!(waited.is_err());
}

async fn vanish() {
    let held = vault();
    held.keep("one", &sign_in("token one")).await.unwrap();
    let bus = zbus::Connection::session().await.unwrap();
    let dbus = zbus::fdo::DBusProxy::new(&bus).await.unwrap();
    let name = zbus::names::BusName::try_from("org.freedesktop.secrets").unwrap();
    let daemon = dbus.get_connection_unix_process_id(name.clone()).await.unwrap();
    let daemon = rustix::process::Pid::from_raw(daemon.try_into().unwrap()).unwrap();
    rustix::process::kill_process(daemon, rustix::process::Signal::KILL).unwrap();
    while dbus.name_has_owner(name.clone()).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The key at hand goes on working; whoever has none is told why.
    held.keep("one", &sign_in("token anew")).await.unwrap();
    assert_eq!(token(&held, "one").await.unwrap(), "token anew");
    let later = vault();
    let error = later.load("one").await.unwrap_err();
    assert!(matches!(error, VaultError::NoKeyring { .. }), "{error:?}");
    // It comes back, and is noticed.
    let waiting = tokio::spawn(async move {
        later.wait_for_key().await;
        later
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    let mut back = Command::new("gnome-keyring-daemon")
        .args(["--foreground", "--unlock", "--components=secrets"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    back.stdin.take().unwrap().write_all(b"test").unwrap();
    let later = tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
    assert_eq!(token(&later, "one").await.unwrap(), "token anew");
    // Signing out needs none of this.
    back.kill().unwrap();
    back.wait().unwrap();
    assert!(vault().forget("one").await.unwrap());
    assert!(!path().exists());
}

async fn begin_together() {
    let us = std::env::current_exe().unwrap();
    let processes: Vec<_> = (0..4)
        .map(|_| {
            let mut process = Command::new(&us);
            process.args(["--exact", "keyring::session", "--ignored"]).env(STORY, "begin").spawn().unwrap()
        })
        .collect();
    let mut accounts = Vec::new();
    for mut process in processes {
        accounts.push(format!("process-{}", process.id()));
        assert!(process.wait().unwrap().success());
    }
    let vault = vault();
    for account in accounts {
        assert_eq!(token(&vault, &account).await.unwrap(), "token");
    }
    // Who came too late took its own key away again.
    assert_eq!(keys().await, 1);
}

async fn another_key() {
    let service = SecretService::connect(EncryptionType::Dh).await.unwrap();
    let found = service.search_items(HashMap::from([("application", "cms")])).await.unwrap();
    let item = &found.unlocked[0];
    assert_eq!(item.get_label().await.unwrap(), "Cloud MailDir Sync: key of the token vault");
    item.set_secret(b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "text/plain").await.unwrap();
    for remains in [1, 0] {
        let vault = vault();
        for error in [vault.load("one").await.unwrap_err(), vault.keep("one", &sign_in("x")).await.unwrap_err()] {
            assert!(matches!(error, VaultError::WrongKey { .. }), "{error:?}");
            println!("{error}");
        }
        assert_eq!(keys().await, remains);
        if remains == 1 {
            item.delete().await.unwrap();
        } else {
            assert_eq!(state(&vault).await, KeyringState::LacksKey);
        }
    }
}

async fn forget() {
    let vault = vault();
    assert!(vault.forget("one").await.unwrap());
    assert_eq!((keys().await, token(&vault, "two").await.unwrap()), (1, "token two".to_owned()));
    assert!(vault.forget("two").await.unwrap());
    assert_eq!((keys().await, path().exists()), (0, false));
    assert_eq!(vault.load("two").await.unwrap(), None);
}
