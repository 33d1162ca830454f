//! The socket's place in the file system.
//!
//! The path of a Unix socket has 107 bytes at the most (unix(7)), which a state directory can exceed. Through
//! `/proc/self/fd` every directory has a short path.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Its name in the state directory.
const NAME: &str = "control.sock";

/// Where the socket of a state directory is.
pub(super) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(NAME)
}

/// A path to the socket that is short enough, for as long as this lives.
pub(super) struct ShortPath {
    path: PathBuf,
    _directory: Option<File>,
}

impl ShortPath {
    pub(super) fn of(state_dir: &Path) -> io::Result<Self> {
        let path = path(state_dir);
        if SocketAddr::from_pathname(&path).is_ok() {
            return Ok(Self { path, _directory: None });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = File::from(rustix::fs::open(state_dir, flags, Mode::empty())?);
        let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()));
        Ok(Self { path, _directory: Some(directory) })
    }

    pub(super) fn as_path(&self) -> &Path {
        &self.path
    }
}
