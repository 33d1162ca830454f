//! A simulated service in this process, and a directory with a Maildir for the program, which is a process of its own.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use simcloud::{Cloud, Knobs, MailboxState, Options, Server, StateQuery};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::Result;
use crate::process::{Running, wait_until};

/// The limit of requests in ten minutes where it isn't what is measured: more than any measurement makes.
const NO_LIMIT: u32 = 10_000_000;

pub(crate) struct World {
    pub(crate) cloud: Cloud,
    pub(crate) messages: usize,
    /// Folders beside the inbox, each with a Maildir of its own.
    pub(crate) folders: usize,
    pub(crate) latency_ms: u32,
    url: String,
    directory: TempDir,
    rate_limit: Option<u32>,
    _server: Server,
    _runtime: Runtime,
}

/// The name of a folder and of its Maildir, counted from 1.
pub(crate) fn folder_name(number: usize) -> String {
    format!("folder-{number}")
}

impl World {
    /// A mailbox with that many messages whose bodies are of usual size times `size_scale`, and an empty Maildir. The
    /// service sets no limit of requests in a time, and the program is told so.
    pub(crate) fn new(messages: usize, size_scale: f64, latency_ms: u32) -> Result<Self> {
        let knobs = Knobs { latency_ms: latency_ms.into(), window_requests: NO_LIMIT.into(), ..Knobs::calm() };
        Self::with(Options { messages, size_scale, knobs, ..Options::default() }, Some(NO_LIMIT))
    }

    /// That many messages in that many folders and none in the inbox, at a service that answers at once.
    pub(crate) fn with_folders(messages: usize, folders: usize) -> Result<Self> {
        let knobs = Knobs { window_requests: NO_LIMIT.into(), latency_ms: 0, delta_page_cap: 2000, ..Knobs::calm() };
        let sizes = (0..folders).map(|number| (messages / folders) + usize::from(number < messages % folders));
        let named = sizes.enumerate().map(|(number, size)| (folder_name(number + 1), size));
        Self::with(Options { folders: named.collect(), size_scale: 0.02, knobs, ..Options::default() }, Some(NO_LIMIT))
    }

    /// The same with the limit that Microsoft documents, and a program that was told nothing.
    pub(crate) fn with_documented_limit(messages: usize, latency_ms: u32) -> Result<Self> {
        let knobs = Knobs { latency_ms: latency_ms.into(), ..Knobs::calm() };
        Self::with(Options { messages, size_scale: 0.1, knobs, ..Options::default() }, None)
    }

    fn with(options: Options, rate_limit: Option<u32>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let latency_ms = u32::try_from(options.knobs.latency_ms)?;
        let (messages, folders) = (options.messages, options.folders.len());
        let server = runtime.block_on(simcloud::serve(options))?;
        Ok(Self {
            cloud: server.cloud().clone(),
            messages,
            folders,
            latency_ms,
            url: server.url(),
            // On a real disk, which a directory for temporary files needn't be.
            directory: TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?,
            rate_limit,
            _server: server,
            _runtime: runtime,
        })
    }

    /// Where the service is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program, to be started with a configuration that polls at this interval.
    pub(crate) fn command(&self, poll_interval: &str, argument: &str) -> Result<Command> {
        let url = &self.url;
        let mut text =
            format!("account = Office365_Account(user=\"user@domain.com\", login_url=\"{url}\", graph_url=\"{url}\"");
        if let Some(limit) = self.rate_limit {
            write!(text, ", rate_limit={limit}")?;
        }
        text.push_str(")\n");
        if self.folders == 0 {
            text.push_str("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\n");
        } else {
            let names: Vec<String> = (1..=self.folders).map(folder_name).collect();
            writeln!(text, "maildirs = {{}}\nfor name in {names:?}:")?;
            text.push_str("    maildirs[name] = MailDir(\"mail/\" + name)\n    Office365(name, account)\n");
            text.push_str("cfg.direct_message = lambda message: maildirs[message.mailbox]\n");
        }
        writeln!(text, "cfg.listen = \"127.0.0.1:0\"\ncfg.poll_interval = \"{poll_interval}\"")?;
        fs::write(self.path("cms.cfg"), text)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_cms"));
        command.arg("-c").arg(self.path("cms.cfg")).arg(argument).current_dir(self.directory.path());
        command.env("HOME", self.directory.path());
        for browser in ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"] {
            command.env_remove(browser);
        }
        Ok(command)
    }

    /// Starts `cms sync`.
    pub(crate) fn sync(&self) -> Result<Running> {
        Running::start(self.command("60s", "sync")?)
    }

    /// Starts the daemon and waits until it says that both sides are the same.
    pub(crate) fn daemon(&self, poll_interval: &str) -> Result<Running> {
        let running = Running::start(self.command(poll_interval, "run")?)?;
        running.wait_for_line("Both sides are the same")?;
        Ok(running)
    }

    /// The names of the files in `cur`.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(self.path("INBOX/cur"))?;
        let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// How many messages the Maildir holds.
    pub(crate) fn delivered(&self) -> Result<usize> {
        Ok(self.files()?.len() + fs::read_dir(self.path("INBOX/new"))?.count())
    }

    /// What the service has, without the content.
    pub(crate) fn state(&self) -> Result<MailboxState> {
        Ok(self.cloud.state_of("", &StateQuery { hashes: false, ..StateQuery::default() })?)
    }

    /// Requests for mail since the counters were set back. Signing in isn't one, nor is the question who has signed in.
    pub(crate) fn mail_requests(&self) -> u64 {
        let requests = self.cloud.counters().requests;
        let mail = requests.iter().filter(|(kind, _)| {
            !matches!(kind.as_str(), "authorize" | "token" | "me") && !kind.starts_with("batch-item:")
        });
        mail.map(|(_, count)| count).sum()
    }

    /// Waits until the service has heard nothing for a while.
    pub(crate) fn wait_for_silence(&self) -> Result<()> {
        let (mut last, mut since) = (self.cloud.counters().http_requests, Instant::now());
        wait_until("no request comes", || {
            let now = self.cloud.counters().http_requests;
            if now != last {
                (last, since) = (now, Instant::now());
            }
            since.elapsed().as_millis() > 500
        })
    }

    /// Milliseconds on the service's clock at `at`, found out by a request.
    pub(crate) fn service_clock(&self) -> Result<impl Fn(Instant) -> f64 + use<>> {
        let here = Instant::now();
        let mut best = f64::INFINITY;
        for _ in 0..10 {
            let since = self.cloud.requests(0).last().map_or(0, |request| request.number);
            let asked = here.elapsed().as_secs_f64() * 1000.0;
            simcloud::visit(&format!("{}/v1.0/me", self.url))?;
            let arrived = self.cloud.requests(since).first().ok_or("the service has no log")?.arrived_ms;
            best = best.min(arrived - asked);
        }
        Ok(move |at: Instant| best + at.saturating_duration_since(here).as_secs_f64() * 1000.0)
    }
}
