//! A simulated service in this process, the way to it, and a directory with Maildirs for the program, which is a process
//! of its own.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::{Connection, OpenFlags};
use simcloud::{Action, Cloud, Fault, Knobs, Options, RetryAfter, Server};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::mail::MAILBOXES;
use crate::network::Network;
use crate::process::Running;
use crate::{Arguments, Result};

/// How long a sign-in lasts until it must be renewed.
const ACCESS_TOKEN_SECONDS: u64 = 300;

/// How late the service shows a change to those who ask what changed.
const LATE_MS: u64 = 1500;

pub(crate) struct World {
    pub(crate) cloud: Cloud,
    pub(crate) network: Network,
    pub(crate) root: PathBuf,
    interrupts: Arc<AtomicUsize>,
    program: PathBuf,
    _directory: Option<TempDir>,
    _server: Server,
    _runtime: Runtime,
}

impl World {
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let basis = if arguments.calm {
            Knobs::calm()
        } else {
            Knobs {
                access_token_seconds: ACCESS_TOKEN_SECONDS,
                delta_lag_ms: LATE_MS,
                patch_conflict: 0.01,
                ..Knobs::default()
            }
        };
        let knobs = Knobs { latency_ms: arguments.latency, uploads_kept: true, ..basis };
        let options = Options { seed: arguments.seed(), knobs, ..Options::default() };
        let server = runtime.block_on(simcloud::serve(options))?;
        let network = Network::new(&runtime, server.address())?;
        let (root, directory) = if let Some(root) = &arguments.directory {
            fs::create_dir_all(root)?;
            (root.canonicalize()?, None)
        } else {
            // On a real disk, which a directory for temporary files needn't be.
            let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
            (directory.path().to_owned(), Some(directory))
        };
        let program = arguments.program.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_cms").into());
        let cloud = server.cloud().clone();
        let interrupts = Arc::new(AtomicUsize::new(0));
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let (interrupts, _inside) = (interrupts.clone(), runtime.enter());
            let mut signals = signal(kind)?;
            runtime.spawn(async move {
                while signals.recv().await.is_some() {
                    interrupts.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let world = Self {
            cloud,
            network,
            root,
            interrupts,
            program,
            _directory: directory,
            _server: server,
            _runtime: runtime,
        };
        world.configure(arguments.poll.as_deref())?;
        Ok(world)
    }

    fn configure(&self, poll: Option<&str>) -> Result<()> {
        let url = format!("http://{}", self.network.address);
        let mut text = format!(
            "account = Office365_Account(user=\"user@domain.com\", login_url=\"{url}\", graph_url=\"{url}\")\n"
        );
        let mut places = String::new();
        for (maildir, folder) in MAILBOXES {
            fs::create_dir_all(self.root.join(maildir))?;
            for place in ["cur", "new", "tmp"] {
                fs::create_dir_all(self.root.join(maildir).join(place))?;
            }
            writeln!(text, "{maildir} = MailDir(\"{maildir}\")\nOffice365(\"{folder}\", account)")?;
            write!(places, "\"{folder}\": {maildir}, ")?;
        }
        write!(
            text,
            "places = {{{places}}}\ndef place(msg):\n    return places[msg.mailbox]\ncfg.direct_message = place\n\
             cfg.listen = \"127.0.0.1:0\"\ncfg.max_deletions = 100000\n"
        )?;
        if let Some(poll) = poll {
            writeln!(text, "cfg.poll_interval = \"{poll}\"")?;
        }
        fs::write(self.root.join("cms.cfg"), text)?;
        Ok(())
    }

    /// Starts the daemon.
    pub(crate) fn start(&self) -> Result<Running> {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.root.join("cms.cfg")).args(["-v", "run"]).current_dir(&self.root);
        command
            .env("HOME", &self.root)
            // Nobody's own keyring and desktop.
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .env("XDG_RUNTIME_DIR", self.root.join("no-runtime-dir"));
        for browser in ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"] {
            command.env_remove(browser);
        }
        Running::start(command, &self.log())
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("cms.log")
    }

    /// How often somebody wanted an end.
    pub(crate) fn interrupts(&self) -> usize {
        self.interrupts.load(Ordering::Relaxed)
    }

    /// Lets a few of a hundred requests fail from now on, each kind of failure by dice of its own.
    pub(crate) fn inject_faults(&self, seed: u64) {
        let busy = Action::Status {
            status: 503,
            body: simcloud::BodyKind::Json,
            code: String::new(),
            message: String::new(),
            retry_after: Some(RetryAfter::Seconds(1)),
        };
        let failures = [
            ("", 0.015, busy),
            ("", 0.01, Action::status(500)),
            ("", 0.005, Action::status(504)),
            ("", 0.007, Action::ResetBefore),
            ("", 0.007, Action::ResetAfter),
            ("", 0.02, Action::Delay { milliseconds: 2000 }),
            ("", 0.0005, Action::throttled(2)),
            ("", 0.0002, Action::Hang),
            ("value", 0.02, Action::Truncate { after: 300 }),
            ("delta", 0.01, Action::Truncate { after: 200 }),
            ("batch", 0.01, Action::Truncate { after: 100 }),
            ("batch-item:*", 0.01, Action::status(503)),
        ];
        for (number, (kind, probability, action)) in (0..).zip(failures) {
            // Signing in has its own ways of failing, and none of them is the subject here.
            let path = if kind.is_empty() { "/v1.0/" } else { "" };
            let fault =
                Fault { path: path.to_owned(), probability, seed: seed ^ number, ..Fault::always(kind, action) };
            self.cloud.inject(fault);
        }
    }

    /// How many rows each table of the database has that grows.
    pub(crate) fn rows(&self) -> Vec<(&'static str, i64)> {
        let path = self.root.join(".cms/state.sqlite");
        let Ok(database) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY) else {
            return Vec::new();
        };
        let count = |table: &str| database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0));
        let tables = ["cloud", "synced", "journal", "released", "deleted"];
        tables.into_iter().filter_map(|table| Some((table, count(table).ok()?))).collect()
    }

    /// Megabytes of the state directory: of the database with all that belongs to it, and of the messages.
    pub(crate) fn sizes(&self) -> (f64, f64) {
        let state = self.root.join(".cms");
        let messages = bytes_below(&state.join("messages"));
        let rest = bytes_below(&state).saturating_sub(messages);
        (rest as f64 / 1e6, messages as f64 / 1e6)
    }
}

/// What vanishes meanwhile doesn't count.
fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.filter_map(std::result::Result::ok).map(size).sum()
}
