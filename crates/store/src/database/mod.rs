//! The database: what was observed and agreed on, so that a start needs to ask only for what changed.

mod asked;
mod changes;
mod journal;
mod load;
mod names;
mod records;
mod schema;
mod trees;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags};

pub use asked::{Asked, AskedRecord};
pub use journal::{After, Deed, Ended, Heard, JournalEntry, JournalPart, JournalRecord, Standing, Wanted};
pub use records::{Change, CloudRecord, DeletedNote, MailboxRecord, ReportedNote, SyncedRecord};
pub use trees::{TreeFolderRecord, TreePlace, TreeStanding};

use crate::StoreError;
use crate::messages::create_private;

/// The file's name in the state directory.
const FILE_NAME: &str = "state.sqlite";

/// The persistent state: one `SQLite` database in WAL mode.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    path: PathBuf,
    is_new: bool,
    /// The schema version; an older one than ours only where the database was opened to read.
    version: u32,
}

impl Database {
    /// Opens the database of a state directory, making or migrating it if need be.
    ///
    /// [`StoreError::Damaged`] if it can't be read; the check is quick (the schema, and a count of the rows), so that
    /// later calls may still find damage. [`StoreError::NewerSchema`] if a newer version wrote it.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        create_private(state_dir)?;
        let path = Self::path(state_dir);
        // Made here for its mode, which SQLite gives to the files beside it, too.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| StoreError::io("open", &path, error))?;
        let failed = |error| StoreError::database(&path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        configure(&connection).map_err(failed)?;
        let is_new = schema::migrate(&mut connection, &path)?;
        schema::check(&connection, &path)?;
        Ok(Self { connection, path, is_new, version: schema::newest() })
    }

    /// Opens the database of a state directory for reading alone, beside whoever else works with it. Nothing if there is
    /// none yet. What an older version wrote is read as far as it goes.
    pub fn open_read_only(state_dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = Self::path(state_dir);
        if !path.exists() {
            return Ok(None);
        }
        let failed = |error| StoreError::database(&path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
        let version = schema::version(&connection, &path)?;
        // A file that was only just made has no tables yet.
        Ok((version > 0).then_some(Self { connection, path, is_new: false, version }))
    }

    /// Where the database of a state directory is.
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join(FILE_NAME)
    }

    /// Whether there was no database before: what is known now is nothing, which says nothing about the world.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Moves a damaged database out of the way, to be looked at later, and returns where it is now: beside the old
    /// place, with the time in its name. The next [`Database::open`] makes a new one.
    pub fn set_aside(state_dir: &Path) -> Result<PathBuf, StoreError> {
        let path = Self::path(state_dir);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut aside = state_dir.join(format!("{FILE_NAME}.damaged-{now}"));
        let mut later = now;
        while fs::symlink_metadata(&aside).is_ok() {
            later += 1;
            aside = state_dir.join(format!("{FILE_NAME}.damaged-{later}"));
        }
        // The database first: a log without its database is discarded by SQLite, a database without its log is older.
        for suffix in ["", "-wal", "-shm"] {
            let from = with_suffix(&path, suffix);
            match fs::rename(&from, with_suffix(&aside, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("set aside", &from, error));
                }
                _ => {}
            }
        }
        Ok(aside)
    }

    fn failed(&self, error: rusqlite::Error) -> StoreError {
        StoreError::database(&self.path, error)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // In WAL mode NORMAL keeps the database consistent in every case, and a killed process loses nothing. A power failure
    // may undo the last batches; what mustn't be undone asks for more ([`Database::apply`]).
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -16_000)
}
