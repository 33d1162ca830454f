//! An index from Message-IDs to stored messages, in a file of its own: it can be made anew at any time, so that nothing is lost
//! with it, and commands may write it while a daemon holds the state.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cms_engine::{ContentHash, HashSet};
use rusqlite::{Connection, OpenFlags, params};

use crate::StoreError;

/// The file's name in the state directory.
const FILE_NAME: &str = "message-ids.sqlite";

const SCHEMA: &str = "\
CREATE TABLE IF NOT EXISTS messages (hash BLOB PRIMARY KEY, message_id TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_message_id ON messages (message_id);";

/// The index.
#[derive(Debug)]
pub struct MessageIds {
    connection: Connection,
    path: PathBuf,
}

impl MessageIds {
    /// Opens the index of a state directory. One that is damaged is made anew.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join(FILE_NAME);
        Self::open_at(&path).or_else(|error| match error {
            StoreError::Damaged { .. } => {
                for suffix in ["", "-journal"] {
                    let mut name = path.clone().into_os_string();
                    name.push(suffix);
                    drop(fs::remove_file(name));
                }
                Self::open_at(&path)
            }
            other => Err(other),
        })
    }

    fn open_at(path: &Path) -> Result<Self, StoreError> {
        let made = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        made.map_err(|error| StoreError::io("open", path, error))?;
        let failed = |error| StoreError::database(path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
        connection.execute_batch(SCHEMA).map_err(failed)?;
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Brings the index up to what the store holds now. `read` is asked for the Message-IDs of those that it doesn't know; what
    /// it doesn't answer for stays unknown.
    pub fn catch_up(
        &mut self,
        stored: &HashSet<ContentHash>,
        read: impl FnOnce(&[ContentHash]) -> Vec<(ContentHash, String)>,
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        let failed = |error| StoreError::database(&path, error);
        let known: HashSet<ContentHash> = self.hashes("SELECT hash FROM messages", [])?.into_iter().collect();
        let mut unknown: Vec<ContentHash> = stored.difference(&known).copied().collect();
        unknown.sort_unstable();
        let new = if unknown.is_empty() { Vec::new() } else { read(&unknown) };
        let transaction = self.connection.transaction().map_err(failed)?;
        for (hash, message_id) in &new {
            let insert = "INSERT OR REPLACE INTO messages (hash, message_id) VALUES (?1, ?2)";
            let mut insert = transaction.prepare_cached(insert).map_err(failed)?;
            insert.execute(params![hash.as_bytes(), message_id]).map_err(failed)?;
        }
        for gone in known.difference(stored) {
            let delete = "DELETE FROM messages WHERE hash = ?1";
            let mut delete = transaction.prepare_cached(delete).map_err(failed)?;
            delete.execute(params![gone.as_bytes()]).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    /// The messages with a Message-ID.
    pub fn find(&self, message_id: &str) -> Result<Vec<ContentHash>, StoreError> {
        self.hashes("SELECT hash FROM messages WHERE message_id = ?1", [message_id])
    }

    fn hashes(&self, query: &str, parameters: impl rusqlite::Params) -> Result<Vec<ContentHash>, StoreError> {
        let failed = |error| StoreError::database(&self.path, error);
        let mut statement = self.connection.prepare_cached(query).map_err(failed)?;
        let rows = statement.query_map(parameters, |row| row.get::<_, [u8; 32]>(0)).map_err(failed)?;
        rows.map(|row| row.map(ContentHash::new).map_err(failed)).collect()
    }
}
