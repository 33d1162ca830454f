//! Writing: a batch of changes is one transaction.

use cms_disk::Deed;
use cms_engine::{CloudBytes, Side, Word};
use rusqlite::{Transaction, params};

use super::{Change, CloudRecord, Database, DeletedNote, ReportedNote, SyncedRecord, asked, journal};
use crate::StoreError;

impl Database {
    /// Makes all changes, in their order, or none of them.
    ///
    /// Rows of the Synced tree are durable afterwards, and with them all that was written before. Of other changes a power
    /// failure may undo the last ones: they are observations, and an older one only means looking again.
    pub fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let path = &self.path;
        let failed = |error| StoreError::database(path, error);
        // A file is durable under its new name before its row is written. Were the row older than that after a power failure, it
        // would look as if somebody had renamed the file since, and that would go up.
        let agreed = changes.iter().any(|change| matches!(change, Change::PutSynced(_) | Change::DeleteSynced(_)));
        let (deed, synchronous) =
            if agreed { (Deed::CommitDurably(path), "FULL") } else { (Deed::Commit(path), "NORMAL") };
        let mut committed = Ok(());
        cms_disk::step(deed, || {
            committed = (|| {
                self.connection.pragma_update(None, "synchronous", synchronous)?;
                let transaction = self.connection.transaction()?;
                changes.iter().try_for_each(|change| make(&transaction, change))?;
                transaction.commit()
            })();
            Ok(())
        })
        .map_err(|error| StoreError::io("write", path, error))?;
        committed.map_err(failed)
    }
}

fn make(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    let execute = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| {
        transaction.prepare_cached(sql)?.execute(parameters).map(|_| ())
    };
    match change {
        Change::PutCloud(record) => put_cloud(transaction, record),
        Change::DeleteCloud(id) => execute("DELETE FROM cloud WHERE remote_id = ?1", params![id.as_str()]),
        Change::PutSynced(record) => put_synced(transaction, record),
        Change::DeleteSynced(row) => execute("DELETE FROM synced WHERE row_id = ?1", params![row.0.cast_signed()]),
        Change::SetFolder { mailbox, folder } => {
            execute("UPDATE mailboxes SET folder = ?2 WHERE id = ?1", params![mailbox.0, folder])
        }
        Change::SetCursor { mailbox, cursor, complete } => execute(
            "UPDATE mailboxes SET cursor = ?2, complete = ?3 WHERE id = ?1",
            params![mailbox.0, cursor, complete],
        ),
        Change::SetTreeStanding { mailbox, standing } => {
            execute("UPDATE tree_folders SET standing = ?2 WHERE mailbox = ?1", params![mailbox.0, standing.number()])
        }
        Change::SetMeta { key, value } => execute(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
            params![key, value],
        ),
        Change::Reported(ReportedNote { maildir, base_name, what }) => execute(
            "INSERT INTO reported (maildir, base_name, what) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![maildir.0, base_name, what],
        ),
        Change::ClearReported { maildir, base_name } => {
            execute("DELETE FROM reported WHERE maildir = ?1 AND base_name = ?2", params![maildir.0, base_name])
        }
        Change::Released { hash, at } => execute(
            "INSERT INTO released (hash, at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![hash.as_bytes(), at.0],
        ),
        Change::Deleted(DeletedNote { row, side, mailbox, at }) => execute(
            "INSERT INTO deleted (row_id, side, mailbox, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            params![row.0.cast_signed(), side_number(*side), mailbox.0, at.0],
        ),
        Change::ForgetDeleted { row, side } => execute(
            "DELETE FROM deleted WHERE row_id = ?1 AND side = ?2",
            params![row.0.cast_signed(), side_number(*side)],
        ),
        Change::SetWord { row, word: Some(word) } => execute(
            "INSERT INTO words (row_id, word) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET word = excluded.word",
            params![row.0.cast_signed(), *word == Word::Delete],
        ),
        Change::SetWord { row, word: None } => {
            execute("DELETE FROM words WHERE row_id = ?1", params![row.0.cast_signed()])
        }
        Change::Asked(record) => asked::write(transaction, record),
        Change::Answered { number } => execute("DELETE FROM asked WHERE number = ?1", params![number.cast_signed()]),
        Change::Journal(entry) => journal::write(transaction, entry),
        Change::Unreleased { hash } => execute("DELETE FROM released WHERE hash = ?1", params![hash.as_bytes()]),
    }
}

/// A side as the tables have it.
fn side_number(side: Side) -> u8 {
    match side {
        Side::Local => 0,
        Side::Cloud => 1,
    }
}

fn put_cloud(transaction: &Transaction<'_>, record: &CloudRecord) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO cloud (remote_id, mailbox, flags, received, hash, revision, fetched_revision, trouble,
                                retry_at, attempts, size)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (remote_id) DO UPDATE SET
                 mailbox = excluded.mailbox, flags = excluded.flags, received = excluded.received,
                 hash = excluded.hash, revision = excluded.revision, fetched_revision = excluded.fetched_revision,
                 trouble = excluded.trouble, retry_at = excluded.retry_at, attempts = excluded.attempts,
                 size = excluded.size",
        )?
        .execute(params![
            record.remote_id.as_str(),
            record.mailbox.0,
            record.flags.bits(),
            record.received.0,
            record.hash.as_ref().map(cms_engine::ContentHash::as_bytes),
            record.revision,
            record.fetched_revision,
            record.trouble,
            record.retry_at.map(|at| at.0),
            record.attempts,
            record.size.and_then(|size| i64::try_from(size).ok()),
        ])
        .map(|_| ())
}

/// Only the same row is replaced. Another row with the same remote id or file is an error, for replacing it would forget
/// a message.
fn put_synced(transaction: &Transaction<'_>, record: &SyncedRecord) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO synced (row_id, remote_id, mailbox, maildir, base_name, local_flags, cloud_flags, hash,
                                 inode, received, revision, cloud_hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (row_id) DO UPDATE SET
                 remote_id = excluded.remote_id, mailbox = excluded.mailbox, maildir = excluded.maildir,
                 base_name = excluded.base_name, local_flags = excluded.local_flags,
                 cloud_flags = excluded.cloud_flags, hash = excluded.hash, inode = excluded.inode,
                 received = excluded.received, revision = excluded.revision,
                 cloud_hash = excluded.cloud_hash",
        )?
        .execute(params![
            record.row_id.0.cast_signed(),
            record.remote_id.as_ref().map(cms_engine::RemoteId::as_str),
            record.mailbox.0,
            record.maildir.0,
            record.base_name.as_str(),
            record.local_flags.bits(),
            record.cloud_flags.bits(),
            record.hash.as_bytes(),
            record.inode.cast_signed(),
            record.received.0,
            record.revision,
            match &record.cloud_bytes {
                CloudBytes::Same => None,
                CloudBytes::Other(hash) => Some(&hash.as_bytes()[..]),
                CloudBytes::Unread => Some(&[][..]),
            },
        ])
        .map(|_| ())
}
