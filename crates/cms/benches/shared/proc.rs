//! What Linux tells of a process (`proc(5)`).

use std::fmt::Display;
use std::fs;
use std::path::PathBuf;

use crate::Result;

/// A process, or a thread of this one.
pub(crate) struct Proc(PathBuf);

/// A file whose lines are names and numbers.
pub(crate) struct Fields(String);

impl Proc {
    /// A process by its id, or anything else that `/proc` has under such a name.
    pub(crate) fn of(name: impl Display) -> Self {
        Self(PathBuf::from(format!("/proc/{name}")))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn fields(&self, name: &str) -> Result<Fields> {
        Ok(Fields(self.read(name)?))
    }

    /// Seconds of processor time that it took so far, in user mode and in the kernel.
    pub(crate) fn processor_seconds(&self) -> Result<f64> {
        processor_seconds(&self.read("stat")?).ok_or_else(|| "/proc tells no processor time".into())
    }

    fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.path(name)).map_err(|error| format!("needs /proc: {error}").into())
    }
}

impl Fields {
    /// The rest of the line that begins with this name.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.split_whitespace().next()?.parse().ok()
    }

    /// What `/proc` tells in units of 1024 bytes.
    pub(crate) fn megabytes(&self, name: &str) -> Option<f64> {
        Some(self.number(name)? as f64 * 1024.0 / 1e6)
    }
}

/// Fields 14 and 15 of `proc_pid_stat(5)`, in ticks of which a second has 100 wherever Linux tells them to programs.
fn processor_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}
