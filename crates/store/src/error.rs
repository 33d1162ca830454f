//! Why something could not be done in the state directory.

use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be done in the state directory. Each variant is another thing to do next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or the user's share of it, is full. Nothing is lost; go on when there is room.
    #[error("the disk is full: couldn't {doing} `{}`", path.display())]
    DiskFull {
        /// What was being done, as a verb: "write", "link".
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
    },
    /// The system refused otherwise.
    #[error("couldn't {doing} `{}`", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was downloaded is no message, so it isn't kept. Download again, later.
    #[error("what was downloaded is no message: {reason}")]
    NotAMessage {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Another process works on this state directory.
    #[error("`{}` is in use by {holder}", path.display())]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// Who holds it: "process 123 on host", as far as known.
        holder: String,
    },
    /// The database can't be read. Set it aside ([`crate::Database::set_aside`]) and begin without.
    #[error("the database `{}` is damaged: {detail}", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A newer version of the program wrote the database. Use that version.
    #[error("the database `{}` was written by a newer version (schema {found}, this version knows {known})", path.display())]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// The schema version found.
        found: u32,
        /// The newest one that this version knows.
        known: u32,
    },
    /// The database refused a change: two rows for one message or file, or a row of something unknown. Nothing of the
    /// batch was written.
    #[error("the database `{}` refused a change: {detail}", path.display())]
    Conflict {
        /// The database file.
        path: PathBuf,
        /// Which rule was broken.
        detail: String,
    },
    /// The database failed otherwise.
    #[error("the database `{}` failed", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Sorts an error of the system into the variants above.
    pub(crate) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { doing, path },
            _ => Self::Io { doing, path, source },
        }
    }

    /// Sorts an error of the database into the variants above.
    pub(crate) fn database(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::{Error, ErrorCode};
        let path = path.to_owned();
        match &source {
            Error::SqliteFailure(failure, detail) => match failure.code {
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                    Self::Damaged { path, detail: source.to_string() }
                }
                ErrorCode::DiskFull => Self::DiskFull { doing: "write", path },
                ErrorCode::ConstraintViolation => {
                    Self::Conflict { path, detail: detail.clone().unwrap_or_else(|| source.to_string()) }
                }
                _ => Self::Database { path, source },
            },
            Error::InvalidColumnType(..) | Error::FromSqlConversionFailure(..) | Error::IntegralValueOutOfRange(..) => {
                Self::Damaged { path, detail: source.to_string() }
            }
            _ => Self::Database { path, source },
        }
    }
}
