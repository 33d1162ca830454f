//! Mailboxes, Maildirs and single texts: what the configuration names gets an id that stays.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cms_engine::{MailboxId, MaildirId};
use rusqlite::{OptionalExtension, ToSql, params};

use super::{Change, Database, MailboxRecord};
use crate::StoreError;

impl Database {
    /// The id of a mailbox of an account, given the first time it is asked for.
    pub fn mailbox_id(&mut self, account: &str, name: &str) -> Result<MailboxId, StoreError> {
        self.id_of(
            "SELECT id FROM mailboxes WHERE account = ?1 AND name = ?2",
            "INSERT INTO mailboxes (account, name) VALUES (?1, ?2) RETURNING id",
            params![account, name],
        )
        .map(MailboxId)
    }

    /// The id of a Maildir, given the first time it is asked for. `path` must be absolute: it is what the id stands for.
    pub fn maildir_id(&mut self, path: &Path) -> Result<MaildirId, StoreError> {
        self.id_of(
            "SELECT id FROM maildirs WHERE path = ?1",
            "INSERT INTO maildirs (path) VALUES (?1) RETURNING id",
            params![path.as_os_str().as_bytes()],
        )
        .map(MaildirId)
    }

    /// All mailboxes that were ever configured, by id.
    pub fn mailboxes(&self) -> Result<Vec<MailboxRecord>, StoreError> {
        let mut mailboxes = Vec::new();
        let sql = "SELECT id, account, name, folder, cursor, complete FROM mailboxes ORDER BY id";
        self.each_row(sql, |row| {
            mailboxes.push(MailboxRecord {
                id: MailboxId(row.get(0)?),
                account: row.get(1)?,
                name: row.get(2)?,
                folder: row.get(3)?,
                cursor: row.get(4)?,
                complete: row.get(5)?,
            });
            Ok(())
        })?;
        Ok(mailboxes)
    }

    /// All Maildirs that were ever configured, by id.
    pub fn maildirs(&self) -> Result<Vec<(MaildirId, PathBuf)>, StoreError> {
        let mut maildirs = Vec::new();
        self.each_row("SELECT id, path FROM maildirs ORDER BY id", |row| {
            let path: Vec<u8> = row.get(1)?;
            maildirs.push((MaildirId(row.get(0)?), OsString::from_vec(path).into()));
            Ok(())
        })?;
        Ok(maildirs)
    }

    /// Stores the cloud's id of a mailbox's folder.
    pub fn set_folder(&mut self, mailbox: MailboxId, folder: &str) -> Result<(), StoreError> {
        self.apply(&[Change::SetFolder { mailbox, folder: folder.to_owned() }])
    }

    /// Stores where a mailbox's listing goes on. With the rows that the listing gave, use [`Change::SetCursor`].
    pub fn set_cursor(&mut self, mailbox: MailboxId, cursor: Option<&str>, complete: bool) -> Result<(), StoreError> {
        self.apply(&[Change::SetCursor { mailbox, cursor: cursor.map(str::to_owned), complete }])
    }

    /// Reads the text stored under a key.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .map_err(|error| self.failed(error))
    }

    /// Stores a text under a key.
    pub fn set_meta(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        self.apply(&[Change::SetMeta { key: key.to_owned(), value: value.to_owned() }])
    }

    fn id_of(&mut self, find: &str, insert: &str, parameters: &[&dyn ToSql]) -> Result<u32, StoreError> {
        let path = &self.path;
        let failed = |error| StoreError::database(path, error);
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
        let found = transaction.query_row(find, parameters, |row| row.get(0)).optional().map_err(failed)?;
        let id = match found {
            Some(id) => id,
            None => transaction.query_row(insert, parameters, |row| row.get(0)).map_err(failed)?,
        };
        transaction.commit().map_err(failed)?;
        Ok(id)
    }
}
