//! Why something could not be done in a Maildir.

use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be done in a Maildir. Each variant is another thing to do next.
#[derive(Debug, thiserror::Error)]
pub enum MaildirError {
    /// The directory has no `cur`, `new` or `tmp`, or isn't there at all.
    ///
    /// Says nothing about messages: a disk that isn't mounted looks like this.
    #[error("`{}` is not a Maildir: `{missing}` is missing", path.display())]
    NotAMaildir {
        /// The Maildir that was asked for.
        path: PathBuf,
        /// Which directory is missing: `cur`, `new`, `tmp`, or `.` for the Maildir itself.
        missing: &'static str,
    },
    /// Another file is there under the name, and nothing is overwritten.
    #[error("`{}` is already taken by another message", path.display())]
    NameTaken {
        /// The name that is taken.
        path: PathBuf,
    },
    /// The file is no longer there under this name: another program renamed or removed it. Scan, and plan again.
    #[error("`{}` is no longer there", path.display())]
    Vanished {
        /// The name that was expected.
        path: PathBuf,
    },
    /// The file to deliver is not in the store.
    #[error("`{}`, which should be delivered, doesn't exist", path.display())]
    SourceMissing {
        /// The file that was to be delivered.
        path: PathBuf,
    },
    /// The kernel gives this user no more watches; raise the limit named.
    #[error("the limit of watched directories is reached, so `{}` can't be watched: raise {sysctl}", path.display())]
    WatchLimit {
        /// What was to be watched.
        path: PathBuf,
        /// The kernel setting (sysctl) that holds the limit.
        sysctl: &'static str,
    },
    /// The system refused. See [`MaildirError::is_disk_full`] and its siblings for the kinds that matter.
    #[error("couldn't {doing} `{}`", path.display())]
    Io {
        /// What was being done, as a verb: "link", "read".
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl MaildirError {
    /// Whether the disk, or the user's share of it, is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self.kind(), Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// Whether the file system is mounted read-only.
    pub fn is_read_only(&self) -> bool {
        self.kind() == Some(io::ErrorKind::ReadOnlyFilesystem)
    }

    /// Whether this user may not do it.
    pub fn is_permission_denied(&self) -> bool {
        self.kind() == Some(io::ErrorKind::PermissionDenied)
    }

    /// Whether something that isn't a directory is where a directory should be.
    pub fn is_not_a_directory(&self) -> bool {
        matches!(self.kind(), Some(io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists))
    }

    fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    pub(crate) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), source: source.into() }
    }
}
