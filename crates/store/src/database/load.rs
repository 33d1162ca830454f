//! Reading whole trees, row by row, at the start.

use std::sync::Arc;

use cms_engine::{
    BaseName, CloudBytes, ContentHash, Flags, MailboxId, MaildirId, RemoteId, RowId, Side, UnixSeconds, Word,
};
use rusqlite::Row;
use rusqlite::types::{FromSqlError, FromSqlResult, ValueRef};

use super::{CloudRecord, Database, DeletedNote, ReportedNote, SyncedRecord};
use crate::StoreError;

/// The first version of the schema that has the sizes of messages.
const SIZES_SINCE: u32 = 9;

impl Database {
    /// How many messages the Cloud tree has and how many rows the Synced tree, so that room can be made for them.
    pub fn tree_sizes(&self) -> Result<(usize, usize), StoreError> {
        let mut sizes = (0, 0);
        self.each_row("SELECT (SELECT count(*) FROM cloud), (SELECT count(*) FROM synced)", |row| {
            let size = |column| row.get::<_, i64>(column).map(|count| usize::try_from(count).unwrap_or_default());
            sizes = (size(0)?, size(1)?);
            Ok(())
        })?;
        Ok(sizes)
    }

    /// How many messages of the Cloud tree each mailbox has, and how many of them aren't downloaded.
    pub fn mailbox_sizes(&self) -> Result<Vec<(MailboxId, u64, u64)>, StoreError> {
        let mut sizes = Vec::new();
        let sql = "SELECT mailbox, count(*), count(*) - count(hash) FROM cloud GROUP BY mailbox";
        self.each_row(sql, |row| {
            sizes.push((
                MailboxId(row.get(0)?),
                row.get::<_, i64>(1)?.cast_unsigned(),
                row.get::<_, i64>(2)?.cast_unsigned(),
            ));
            Ok(())
        })?;
        Ok(sizes)
    }

    /// Calls `take` with every message of the Cloud tree, in the order of their ids.
    pub fn load_cloud(&self, mut take: impl FnMut(CloudRecord)) -> Result<(), StoreError> {
        let size = if self.version < SIZES_SINCE { "NULL" } else { "size" };
        self.each_row(
            &format!(
                "SELECT remote_id, mailbox, flags, received, hash, revision, fetched_revision, trouble, retry_at, attempts,
                        {size}
                 FROM cloud"
            ),
            |row| {
                take(CloudRecord {
                    remote_id: RemoteId::new(text(row, 0)?),
                    mailbox: MailboxId(row.get(1)?),
                    flags: Flags::from_bits(row.get(2)?),
                    received: UnixSeconds(row.get(3)?),
                    hash: optional_hash(row, 4)?,
                    revision: row.get(5)?,
                    fetched_revision: row.get(6)?,
                    trouble: row.get(7)?,
                    retry_at: row.get::<_, Option<i64>>(8)?.map(UnixSeconds),
                    attempts: row.get(9)?,
                    size: row.get::<_, Option<i64>>(10)?.and_then(|size| u64::try_from(size).ok()),
                });
                Ok(())
            },
        )
    }

    /// Calls `take` with every row of the Synced tree, in the order of their ids.
    pub fn load_synced(&self, mut take: impl FnMut(SyncedRecord)) -> Result<(), StoreError> {
        self.each_row(&format!("{SYNCED} ORDER BY row_id"), |row| {
            take(synced(row)?);
            Ok(())
        })
    }

    /// One row of the Synced tree.
    pub fn synced_row(&self, id: RowId) -> Result<Option<SyncedRecord>, StoreError> {
        let mut found = None;
        self.each_row_of(&format!("{SYNCED} WHERE row_id = ?1"), [id.0.cast_signed()], |row| {
            found = Some(synced(row)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// Calls `take` with the row of that remote id, if there is one.
    pub fn each_synced_of(
        &self,
        remote: Option<&RemoteId>,
        mut take: impl FnMut(SyncedRecord),
    ) -> Result<(), StoreError> {
        let Some(remote) = remote else { return Ok(()) };
        self.each_row_of(&format!("{SYNCED} WHERE remote_id = ?1"), [remote.as_str()], |row| {
            take(synced(row)?);
            Ok(())
        })
    }

    /// The id for the next row of the Synced tree: above all that were ever stored.
    pub fn next_row_id(&self) -> Result<RowId, StoreError> {
        let mut last = 0i64;
        self.each_row("SELECT seq FROM sqlite_sequence WHERE name = 'synced'", |row| {
            last = row.get(0)?;
            Ok(())
        })?;
        Ok(RowId(last.cast_unsigned() + 1))
    }

    /// All that the user was told about files.
    pub fn reported(&self) -> Result<Vec<ReportedNote>, StoreError> {
        let mut notes = Vec::new();
        self.each_row("SELECT maildir, base_name, what FROM reported", |row| {
            notes.push(ReportedNote { maildir: MaildirId(row.get(0)?), base_name: row.get(1)?, what: row.get(2)? });
            Ok(())
        })?;
        Ok(notes)
    }

    /// What the user was told about files that no row of the Synced tree has.
    pub fn reported_without_row(&self) -> Result<Vec<ReportedNote>, StoreError> {
        let mut notes = Vec::new();
        let sql = "SELECT maildir, base_name, what FROM reported WHERE NOT EXISTS (
                       SELECT 1 FROM synced
                       WHERE synced.maildir = reported.maildir AND synced.base_name = reported.base_name)";
        self.each_row(sql, |row| {
            notes.push(ReportedNote { maildir: MaildirId(row.get(0)?), base_name: row.get(1)?, what: row.get(2)? });
            Ok(())
        })?;
        Ok(notes)
    }

    /// The deletions that were noted, oldest first.
    pub fn deleted(&self) -> Result<Vec<DeletedNote>, StoreError> {
        let mut notes = Vec::new();
        self.each_row("SELECT row_id, side, mailbox, at FROM deleted ORDER BY at, row_id, side", |row| {
            notes.push(DeletedNote {
                row: RowId(row.get::<_, i64>(0)?.cast_unsigned()),
                side: if row.get(1)? { Side::Cloud } else { Side::Local },
                mailbox: MailboxId(row.get(2)?),
                at: UnixSeconds(row.get(3)?),
            });
            Ok(())
        })?;
        Ok(notes)
    }

    /// What the user said of held deletions.
    pub fn words(&self) -> Result<Vec<(RowId, Word)>, StoreError> {
        let mut words = Vec::new();
        self.each_row("SELECT row_id, word FROM words ORDER BY row_id", |row| {
            let word = if row.get(1)? { Word::Delete } else { Word::Keep };
            words.push((RowId(row.get::<_, i64>(0)?.cast_unsigned()), word));
            Ok(())
        })?;
        Ok(words)
    }

    /// The messages that nothing needs any more and since when, oldest first.
    pub fn released(&self) -> Result<Vec<(ContentHash, UnixSeconds)>, StoreError> {
        let mut released = Vec::new();
        self.each_row("SELECT hash, at FROM released ORDER BY at, hash", |row| {
            released.push((hash(row, 0)?, UnixSeconds(row.get(1)?)));
            Ok(())
        })?;
        Ok(released)
    }

    pub(super) fn each_row(
        &self,
        sql: &str,
        visit: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        self.each_row_of(sql, [], visit)
    }

    pub(super) fn each_row_of(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        mut visit: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let failed = |error| self.failed(error);
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement.query(parameters).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            visit(row).map_err(failed)?;
        }
        Ok(())
    }
}

const SYNCED: &str =
    "SELECT row_id, remote_id, mailbox, maildir, base_name, local_flags, cloud_flags, hash, inode, received,
                             revision, cloud_hash
                      FROM synced";

fn synced(row: &Row<'_>) -> rusqlite::Result<SyncedRecord> {
    Ok(SyncedRecord {
        row_id: RowId(row.get::<_, i64>(0)?.cast_unsigned()),
        remote_id: optional_text(row, 1)?.map(RemoteId::new),
        mailbox: MailboxId(row.get(2)?),
        maildir: MaildirId(row.get(3)?),
        base_name: BaseName::new(text(row, 4)?),
        local_flags: Flags::from_bits(row.get(5)?),
        cloud_flags: Flags::from_bits(row.get(6)?),
        hash: hash(row, 7)?,
        inode: row.get::<_, i64>(8)?.cast_unsigned(),
        received: UnixSeconds(row.get(9)?),
        revision: row.get(10)?,
        cloud_bytes: cloud_bytes(row, 11)?,
    })
}

/// Reads a text without a copy in between.
pub(super) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Arc<str>> {
    converted(row, column, ValueRef::as_str).map(Arc::from)
}

fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<ContentHash> {
    let bytes = converted(row, column, ValueRef::as_blob)?;
    let digest = bytes.try_into().map_err(|_| conversion_failed(column, FromSqlError::InvalidType))?;
    Ok(ContentHash::new(digest))
}

pub(super) fn optional_text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Arc<str>>> {
    if matches!(row.get_ref(column)?, ValueRef::Null) { Ok(None) } else { text(row, column).map(Some) }
}

/// Flags, none where none are told.
pub(super) fn flags(row: &Row<'_>, column: usize) -> rusqlite::Result<Flags> {
    row.get::<_, Option<u8>>(column).map(|bits| Flags::from_bits(bits.unwrap_or_default()))
}

pub(super) fn optional_hash(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<ContentHash>> {
    if matches!(row.get_ref(column)?, ValueRef::Null) { Ok(None) } else { hash(row, column).map(Some) }
}

fn cloud_bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<CloudBytes> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(CloudBytes::Same),
        ValueRef::Blob(b"") => Ok(CloudBytes::Unread),
        _ => hash(row, column).map(CloudBytes::Other),
    }
}

fn converted<'row, T>(
    row: &'row Row<'_>,
    column: usize,
    convert: impl FnOnce(&ValueRef<'row>) -> FromSqlResult<T>,
) -> rusqlite::Result<T> {
    convert(&row.get_ref(column)?).map_err(|error| conversion_failed(column, error))
}

fn conversion_failed(column: usize, error: FromSqlError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, Box::new(error))
}
