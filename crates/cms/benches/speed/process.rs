//! The program as a process, and what it took.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Result;
use crate::proc::Proc;

/// How often a running process is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// How long anything may take before the measurement is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// The program while it runs. It is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    began: Instant,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// What a process took, from its start to its end.
pub(crate) struct Usage {
    pub(crate) wall: Duration,
    /// Seconds of processor time, in user mode and in the kernel.
    pub(crate) processor_seconds: f64,
    /// The most memory that was resident.
    pub(crate) peak_megabytes: f64,
    /// Bytes that were handed to the disk.
    pub(crate) written: u64,
}

impl Running {
    /// Starts a command. Whatever address it asks for to be signed in at is visited: the simulated service signs in
    /// whoever comes.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let began = Instant::now();
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stderr.take().ok_or("stderr is not piped")?);
        let stderr = Arc::new(Mutex::new(String::new()));
        let text = stderr.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(std::result::Result::ok) {
                if let Some(address) = line.trim().strip_prefix("http").filter(|rest| rest.contains("/oauth2/")) {
                    let _ = simcloud::visit(&format!("http{address}"));
                }
                let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
            }
        });
        Ok(Self { child, began, stderr, reader: Some(reader) })
    }

    fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has written a text to stderr.
    pub(crate) fn wait_for_line(&self, text: &str) -> Result<()> {
        wait_until(&format!("cms says `{text}`"), || self.stderr().contains(text))
            .map_err(|error| format!("{error}:\n{}", self.stderr()).into())
    }

    /// Seconds of processor time that it took so far.
    pub(crate) fn processor_seconds(&self) -> Result<f64> {
        self.proc().processor_seconds()
    }

    /// The memory that is resident now.
    pub(crate) fn resident_megabytes(&self) -> Result<f64> {
        self.proc().fields("status")?.megabytes("VmRSS").ok_or_else(|| "/proc tells no memory".into())
    }

    /// Bytes that it handed to the disk so far.
    pub(crate) fn written(&self) -> Result<u64> {
        written(&self.proc())
    }

    /// How many directories it watches.
    pub(crate) fn watches(&self) -> Result<usize> {
        let mut watches = 0;
        for entry in fs::read_dir(self.proc().path("fdinfo"))? {
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            watches += text.lines().filter(|line| line.starts_with("inotify wd:")).count();
        }
        Ok(watches)
    }

    fn proc(&self) -> Proc {
        Proc::of(self.child.id())
    }

    /// Asks it to stop (SIGTERM) and waits for its end.
    pub(crate) fn stop(self) -> Result<Usage> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        self.finish()
    }

    /// Waits for its end, which must be a success.
    pub(crate) fn finish(self) -> Result<Usage> {
        self.finish_within(PATIENCE)
    }

    /// Waits so long for its end.
    pub(crate) fn finish_within(mut self, patience: Duration) -> Result<Usage> {
        let (status, usage) = self.watch(patience)?;
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| "the reader of stderr failed")?;
        }
        if status.success() { Ok(usage) } else { Err(format!("cms: {status}\n{}", self.stderr()).into()) }
    }

    /// Looks at the process until it has ended, but before it is forgotten: its parent is still to be told.
    fn watch(&mut self, patience: Duration) -> Result<(ExitStatus, Usage)> {
        let proc = self.proc();
        let mut peak_megabytes = 0.0;
        while self.began.elapsed() < patience {
            let status = proc.fields("status")?;
            // Memory is gone from the list once the process has ended.
            peak_megabytes = status.megabytes("VmHWM").unwrap_or(peak_megabytes);
            if status.text("State").is_some_and(|state| state.starts_with('Z')) {
                let wall = self.began.elapsed();
                let (processor_seconds, written) = (proc.processor_seconds()?, written(&proc)?);
                return Ok((self.child.wait()?, Usage { wall, processor_seconds, peak_megabytes, written }));
            }
            std::thread::sleep(LOOK);
        }
        Err(format!("cms doesn't end:\n{}", self.stderr()).into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes in whole pages, as the disk gets them, and of files alone. The count of all bytes that were written (`wchar`) has
/// requests among them, which went to the network, and lacks what `SQLite` changes in mapped memory.
fn written(proc: &Proc) -> Result<u64> {
    proc.fields("io")?.number("write_bytes").ok_or_else(|| "/proc tells nothing of writing".into())
}

/// Waits for something that must come true.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return Err(format!("waited in vain until {what}").into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// The middle one of several figures.
pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
