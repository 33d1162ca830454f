//! A desktop session of a test's own: a private bus and a real keyring on it.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use zbus::zvariant::{ObjectPath, OwnedObjectPath, OwnedValue, Value};

use crate::shared::{has_program, service};
use crate::world::PATIENCE;

/// How the keyring of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyring {
    Unlocked,
    Locked,
    None,
}

/// A session, which ends when this is dropped.
pub(crate) struct Desktop {
    script: Child,
    /// Where the bus is.
    pub(crate) bus: String,
}

impl Desktop {
    /// Begins a session whose keyring is kept in that directory. Nothing if there can be none here.
    pub(crate) fn begin(directory: &Path, keyring: Keyring) -> Option<Self> {
        let with_keyring = service("with-keyring")?;
        if !["gnome-keyring-daemon", "dbus-daemon"].into_iter().all(has_program) {
            return None;
        }
        let mut command = Command::new(with_keyring);
        command.args(["sh", "-c", "echo \"$DBUS_SESSION_BUS_ADDRESS\"; cat"]).env("KEYRING_DIR", directory);
        match keyring {
            Keyring::Unlocked => {}
            Keyring::Locked => drop(command.env("KEYRING_LOCKED", "1")),
            Keyring::None => drop(command.env("KEYRING_NONE", "1")),
        }
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut bus = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut bus).unwrap();
        assert!(bus.starts_with("unix:"), "the session's bus is at `{bus}`");
        Some(Self { script, bus: bus.trim().to_owned() })
    }

    /// Lets a program run in the session.
    pub(crate) fn enter(&self, mut command: Command) -> Command {
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.bus);
        command
    }

    async fn connect(&self) -> zbus::Connection {
        zbus::connection::Builder::address(self.bus.as_str()).unwrap().build().await.unwrap()
    }

    /// Unlocks the keyring, as the user does who types its password.
    pub(crate) fn unlock(&self) {
        runtime().block_on(async {
            let bus = self.connect().await;
            let (service, root) = ("org.freedesktop.secrets", "/org/freedesktop/secrets");
            let secrets = Some("org.freedesktop.Secret.Service");
            let opened =
                bus.call_method(Some(service), root, secrets, "OpenSession", &("plain", Value::from(""))).await;
            let opened = opened.unwrap();
            let (_, session): (OwnedValue, OwnedObjectPath) = opened.body().deserialize().unwrap();
            let login = ObjectPath::try_from("/org/freedesktop/secrets/collection/login").unwrap();
            let password = (session, Vec::<u8>::new(), b"test".to_vec(), "text/plain");
            let interface = Some("org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface");
            bus.call_method(Some(service), root, interface, "UnlockWithMasterPassword", &(login, password))
                .await
                .unwrap();
        });
    }

    /// What the keyring holds for this program, as base64 or text.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut command = Command::new("secret-tool");
        command.args(["search", "--all", "--unlock", "application", "cms"]);
        let output = self.enter(command).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter_map(|line| line.strip_prefix("secret = ")).map(str::to_owned).collect()
    }

    /// Takes over the desktop's notifications; what is shown comes out as summary and body.
    pub(crate) fn notifications(&self) -> Notifications {
        let (shown, seen) = channel();
        let runtime = runtime();
        let connection = runtime.block_on(async {
            zbus::connection::Builder::address(self.bus.as_str())
                .unwrap()
                .name("org.freedesktop.Notifications")
                .unwrap()
                .serve_at("/org/freedesktop/Notifications", Board { shown })
                .unwrap()
                .build()
                .await
                .unwrap()
        });
        Notifications { seen, _connection: connection, _runtime: runtime }
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        // The session lasts as long as its standard input.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

/// What a desktop shows.
pub(crate) struct Notifications {
    seen: Receiver<(String, String)>,
    _connection: zbus::Connection,
    _runtime: tokio::runtime::Runtime,
}

impl Notifications {
    /// Waits for the next notification.
    #[track_caller]
    pub(crate) fn next(&self) -> (String, String) {
        self.seen.recv_timeout(PATIENCE).expect("nothing is shown")
    }
}

struct Board {
    shown: Sender<(String, String)>,
}

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Board {
    // As the Desktop Notifications Specification has it; most of it is of no interest here.
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value, unused_variables)]
    fn notify(
        &self,
        app_name: String,
        replaces_id: u32,
        app_icon: String,
        summary: String,
        body: String,
        actions: Vec<String>,
        hints: HashMap<String, OwnedValue>,
        expire_timeout: i32,
    ) -> u32 {
        let _ = self.shown.send((summary, body));
        1
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
