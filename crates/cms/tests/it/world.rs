//! A world for a test: a simulated cloud, a directory with Maildirs, and the real program between them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use simcloud::{Cloud, FlagStatus, Options, Server};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The user that every world has.
pub(crate) const USER: &str = "user@domain.com";

/// A simulated cloud and a directory.
pub(crate) struct World {
    pub(crate) cloud: Cloud,
    pub(crate) url: String,
    pub(crate) directory: TempDir,
    _server: Server,
    _runtime: Runtime,
}

/// One message as both sides can be compared by: its content and its flags, in Maildir letters.
pub(crate) type Message = (String, String);

impl World {
    /// A world whose inbox holds that many generated messages, and one Maildir, `INBOX`.
    pub(crate) fn new(messages: usize) -> Self {
        Self::with(Options { messages, ..Options::default() })
    }

    /// A world with a cloud made to order.
    pub(crate) fn with(options: Options) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(simcloud::serve(options)).unwrap();
        let world = Self {
            cloud: server.cloud().clone(),
            url: server.url(),
            directory: tempfile::tempdir().unwrap(),
            _server: server,
            _runtime: runtime,
        };
        world.configure("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\n");
        world
    }

    /// Writes `cms.cfg`. The text may use `account`, which is the simulated one.
    pub(crate) fn configure(&self, text: &str) {
        let url = &self.url;
        let mut all =
            format!("account = Office365_Account(user=\"{USER}\", login_url=\"{url}\", graph_url=\"{url}\")\n");
        let _ = writeln!(all, "{text}cfg.listen = \"127.0.0.1:0\"");
        if !text.contains("poll_interval") {
            // The least that is allowed; tests wait for what polls find.
            all.push_str("cfg.poll_interval = 1\n");
        }
        fs::write(self.path("cms.cfg"), all).unwrap();
    }

    /// A path below the world's directory.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program with the world's configuration and these arguments, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.prepared(Command::new(env!("CARGO_BIN_EXE_cms")), arguments)
    }

    /// The same, started by another program, which has arguments of its own.
    pub(crate) fn command_under(&self, program: &str, its_own: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(its_own).arg(env!("CARGO_BIN_EXE_cms"));
        self.prepared(command, arguments)
    }

    fn prepared(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.arg("-c").arg(self.path("cms.cfg")).args(arguments).current_dir(self.directory.path());
        command
            .env("HOME", self.directory.path())
            // Nobody's own keyring and desktop.
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .env("XDG_RUNTIME_DIR", self.directory.path().join("no-runtime-dir"))
            .env_remove("BROWSER")
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts the program. Whatever address it asks for to be signed in at is visited.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::of(self.command(arguments))
    }

    /// Runs the program to its end.
    pub(crate) fn cms(&self, arguments: &[&str]) -> Finished {
        self.start(arguments).finish()
    }

    /// Runs `cms sync`, which must succeed.
    pub(crate) fn sync(&self) -> Finished {
        let finished = self.cms(&["sync"]);
        assert!(finished.status.success(), "cms sync: {}\n{}", finished.status, finished.stderr);
        finished
    }

    /// Runs a command that must succeed, and returns what it says.
    #[track_caller]
    pub(crate) fn done(&self, command: &[&str]) -> String {
        let finished = self.cms(command);
        assert_eq!(finished.status.code(), Some(0), "{command:?}: {}{}", finished.stdout, finished.stderr);
        finished.stdout
    }

    /// What `cms status` says. Where nothing runs it may miss a sign-in, and say so by its exit status.
    pub(crate) fn status(&self) -> String {
        self.cms(&["status"]).stdout
    }

    /// Starts the daemon and waits until it says that both sides are the same.
    pub(crate) fn daemon(&self) -> Running {
        let running = self.start(&["run"]);
        running.wait_for_line("Both sides are the same");
        running
    }

    /// The files of a Maildir by name, `new/…` and `cur/…`.
    pub(crate) fn files(&self, maildir: &str) -> Vec<String> {
        let mut names = Vec::new();
        for place in ["new", "cur"] {
            let Ok(directory) = fs::read_dir(self.path(maildir).join(place)) else { continue };
            for entry in directory.filter_map(Result::ok) {
                names.push(format!("{place}/{}", entry.file_name().to_string_lossy()));
            }
        }
        names.sort();
        names
    }

    /// What a Maildir holds: content hash and flags of each file, sorted. Letters other than D, F, P, R, S, T are left out.
    pub(crate) fn here(&self, maildir: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        for name in self.files(maildir) {
            let Ok(bytes) = fs::read(self.path(maildir).join(&name)) else { continue };
            messages.push((blake3::hash(&bytes).to_hex().to_string(), flags_of(&name)));
        }
        messages.sort();
        messages
    }

    /// What a folder in the cloud holds, in the same form.
    pub(crate) fn there(&self, folder: &str) -> Vec<Message> {
        self.there_for("", folder)
    }

    /// What a folder of some user's holds in the cloud.
    pub(crate) fn there_for(&self, user: &str, folder: &str) -> Vec<Message> {
        let state = self.cloud.state(user).unwrap();
        let mut messages: Vec<Message> = state
            .messages()
            .filter(|message| message.folder == folder)
            .map(|message| {
                let mut flags = String::new();
                let verb = message.verb.unwrap_or_default();
                for (set, letter) in [
                    (message.is_draft, 'D'),
                    (message.flag == FlagStatus::Flagged, 'F'),
                    (verb == 104 || message.icon == Some(262), 'P'),
                    (
                        verb == 102
                            || verb == 103
                            || message.icon == Some(261)
                            || message.status.unwrap_or_default() & 0x200 != 0,
                        'R',
                    ),
                    (message.is_read, 'S'),
                ] {
                    if set {
                        flags.push(letter);
                    }
                }
                (message.blake3_lf.clone(), flags)
            })
            .collect();
        messages.sort();
        messages
    }

    /// Waits until a Maildir and a folder hold the same messages with the same flags.
    pub(crate) fn wait_until_same(&self, maildir: &str, folder: &str) {
        let same = || self.here(maildir) == self.there(folder);
        assert!(wait(&same), "`{maildir}` and `{folder}` stay different:\n{}", self.difference(maildir, folder));
    }

    /// That a Maildir and a folder hold the same messages with the same flags.
    pub(crate) fn assert_same(&self, maildir: &str, folder: &str) {
        let (here, there) = (self.here(maildir), self.there(folder));
        assert!(here == there, "`{maildir}` and `{folder}` differ:\n{}", self.difference(maildir, folder));
    }

    /// What differs, with the names of the files concerned.
    fn difference(&self, maildir: &str, folder: &str) -> String {
        let (here, there) = (self.here(maildir), self.there(folder));
        let mut text = difference(&here, &there);
        for name in self.files(maildir) {
            let Ok(bytes) = fs::read(self.path(maildir).join(&name)) else { continue };
            let hash = blake3::hash(&bytes).to_hex().to_string();
            let count = |messages: &[Message]| messages.iter().filter(|(other, _)| *other == hash).count();
            if count(&here) != count(&there) {
                let _ = writeln!(text, "{} is in {name}", &hash[..12]);
            }
        }
        text
    }

    /// That the client broke no rule of the service.
    pub(crate) fn assert_lawful(&self) {
        let counters = self.cloud.counters();
        assert!(counters.violations.is_empty(), "violations: {:#?}", counters.violations);
        assert_eq!(counters.throttled_by_client, 0, "answers of 429 that the client brought upon itself");
        let of_classic_ids: Vec<_> = counters.notes.keys().filter(|note| note.contains("ImmutableId")).collect();
        assert!(of_classic_ids.is_empty(), "ids that change with each move were asked for: {of_classic_ids:#?}");
    }
}

fn flags_of(name: &str) -> String {
    let letters = name.split_once(":2,").map_or("", |(_, letters)| letters);
    letters.chars().filter(|letter| "DFPRST".contains(*letter)).collect()
}

fn difference(here: &[Message], there: &[Message]) -> String {
    let mut counts: BTreeMap<&Message, (usize, usize)> = BTreeMap::new();
    for message in here {
        counts.entry(message).or_default().0 += 1;
    }
    for message in there {
        counts.entry(message).or_default().1 += 1;
    }
    let mut text = format!("{} here, {} there\n", here.len(), there.len());
    for ((hash, flags), (here, there)) in counts.into_iter().filter(|(_, (here, there))| here != there).take(20) {
        let _ = writeln!(text, "{} `{flags}`: {here} here, {there} there", &hash[..12]);
    }
    text
}

/// Waits for a condition, and says whether it came true in time.
pub(crate) fn wait(condition: &dyn Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a condition that must come true.
#[track_caller]
pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    assert!(wait(&condition), "waited in vain until {what}");
}

/// The program while it runs. It is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    stderr: Arc<Mutex<String>>,
    stdout: Option<std::thread::JoinHandle<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

/// The address to sign in at that a line of the terminal or of a log for programs shows.
pub(crate) fn sign_in_address(line: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let text = json["address"].as_str().unwrap_or(line.trim());
    (text.starts_with("http") && text.contains("/oauth2/")).then(|| text.to_owned())
}

/// The program after it has ended.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Running {
    /// Starts a command whose stdout and stderr are piped. Whatever address it asks for to be signed in at is visited.
    pub(crate) fn of(command: Command) -> Self {
        // This is the browser: the simulated service signs in whoever comes.
        Self::with(command, |address| drop(simcloud::visit(address)))
    }

    /// The same with nobody who signs in.
    pub(crate) fn unattended(command: Command) -> Self {
        Self::with(command, |_| {})
    }

    fn with(mut command: Command, visit: impl Fn(&str) + Send + 'static) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let stderr = Arc::new(Mutex::new(String::new()));
        let text = stderr.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Some(address) = sign_in_address(&line) {
                    visit(&address);
                }
                let mut text = text.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
            }
        });
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        Self { child, stderr, stdout: Some(stdout), reader: Some(reader) }
    }

    /// What it has written to stderr until now.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until stderr holds a text.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, text: &str) {
        assert!(wait(&|| self.stderr().contains(text)), "`{text}` never came:\n{}", self.stderr());
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to stop (SIGTERM) and waits for the end.
    pub(crate) fn stop(self) -> Finished {
        self.signal(Signal::TERM);
        self.finish()
    }

    /// Kills it (SIGKILL) and waits for the end.
    pub(crate) fn kill(mut self) -> Finished {
        self.child.kill().unwrap();
        self.finish()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        let deadline = Instant::now() + PATIENCE * 4;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it doesn't end:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(5));
        };
        let stdout = self.stdout.take().map(|reader| reader.join().unwrap()).unwrap_or_default();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        Finished { status, stdout, stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
