//! The program as a process, and what it takes.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Result;
use crate::proc::Proc;

/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(60);

/// The program while it runs. It is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    in_sync: Arc<AtomicBool>,
    /// What it last said of its collections.
    lengths: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// What it takes at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    /// Megabytes that are resident.
    pub(crate) memory: f64,
    /// Those of them that are no file's: heap and stacks, `SQLite`'s pages among them.
    pub(crate) anonymous: f64,
    /// The most that ever were.
    pub(crate) peak_memory: f64,
    /// Seconds of processor time, in user mode and in the kernel.
    pub(crate) processor: f64,
    pub(crate) open_files: usize,
    pub(crate) threads: u64,
}

impl Running {
    /// Starts a command whose stderr goes into a log. Whatever address it asks for to be signed in at is visited: the
    /// simulated service signs in whoever comes.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C is for us: the program is to be there until both sides are the same.
        command.process_group(0);
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stderr.take().ok_or("stderr is not piped")?);
        let mut log = File::create(log)?;
        let in_sync = Arc::new(AtomicBool::new(false));
        let said = in_sync.clone();
        let lengths = Arc::new(Mutex::new(String::new()));
        let last_lengths = lengths.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(std::result::Result::ok) {
                if let Some(address) = line.trim().strip_prefix("http").filter(|rest| rest.contains("/oauth2/")) {
                    let _ = simcloud::visit(&format!("http{address}"));
                }
                if line.contains("Both sides are the same") {
                    said.store(true, Ordering::Relaxed);
                }
                if let Some((_, lengths)) = line.split_once("Lengths: ") {
                    lengths.clone_into(&mut last_lengths.lock().unwrap_or_else(PoisonError::into_inner));
                }
                let _ = writeln!(log, "{line}");
            }
        });
        Ok(Self { child, in_sync, lengths, reader: Some(reader) })
    }

    /// Whether it has said that both sides are the same.
    pub(crate) fn was_in_sync(&self) -> bool {
        self.in_sync.load(Ordering::Relaxed)
    }

    pub(crate) fn lengths(&self) -> String {
        self.lengths.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn assert_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("cms ended: {status}").into()),
        }
    }

    pub(crate) fn taken(&self) -> Result<Taken> {
        let proc = Proc::of(self.child.id());
        let status = proc.fields("status")?;
        let megabytes = |name| status.megabytes(name).unwrap_or_default();
        Ok(Taken {
            memory: megabytes("VmRSS"),
            anonymous: megabytes("RssAnon"),
            peak_memory: megabytes("VmHWM"),
            processor: proc.processor_seconds()?,
            open_files: fs::read_dir(proc.path("fd"))?.count(),
            threads: status.number("Threads").unwrap_or_default(),
        })
    }

    /// Asks it to stop (SIGTERM), and waits for its end, which must be a success.
    pub(crate) fn stop(mut self) -> Result<()> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < STOP {
            if let Some(status) = self.child.try_wait()? {
                if let Some(reader) = self.reader.take() {
                    reader.join().map_err(|_| "the reader of stderr failed")?;
                }
                return if status.success() { Ok(()) } else { Err(format!("cms: {status}").into()) };
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("cms doesn't stop".into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
