//! Who has a port that we want.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::sockets;

/// The process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// The name of its program.
    pub command: String,
}

impl Holder {
    /// Finds who listens on `address`, as far as we may know: other users' processes don't show what they hold.
    pub(crate) fn of(address: SocketAddr) -> Option<Self> {
        let inodes: Vec<String> = sockets::list()
            .iter()
            .filter(|socket| socket.listens && socket.local.port() == address.port())
            .filter(|socket| socket.local.ip() == address.ip() || socket.local.ip().is_unspecified())
            .map(|socket| format!("socket:[{}]", socket.inode))
            .collect();
        if inodes.is_empty() {
            return None;
        }
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            has_open(&entry.path(), &inodes).then(|| Self { pid, command: command(&entry.path()) })
        })
    }

    /// Whether it is this same program.
    pub fn is_cms(&self) -> bool {
        self.command == "cms"
    }
}

fn has_open(process: &Path, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else { return false };
    files.flatten().any(|file| {
        fs::read_link(file.path())
            .is_ok_and(|target| sockets.iter().any(|socket| socket.as_bytes() == target.as_os_str().as_bytes()))
    })
}

/// The program as it was called, without its folder; the kernel's short name if that can't be read.
fn command(process: &Path) -> String {
    let called = fs::read(process.join("cmdline")).unwrap_or_default();
    let first = called.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = first.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let name = if name.is_empty() { fs::read(process.join("comm")).unwrap_or_default() } else { name.to_vec() };
    // A process can call itself anything, and this is shown in a terminal.
    String::from_utf8_lossy(&name).chars().filter(|c| !c.is_control()).take(64).collect()
}
