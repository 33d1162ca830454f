//! Changes that the cloud was asked for. One that is still here at a start was on its way when the last run ended, so that
//! nobody knows whether it was made.

use cms_engine::{BaseName, FileKey, Flags, MailboxId, MaildirId, RemoteId, UnixSeconds};
use rusqlite::{Transaction, params};

use super::Database;
use super::load::text;
use crate::StoreError;

/// One such change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AskedRecord {
    /// By which it is forgotten. Numbers are never given twice while there are others.
    pub number: u64,
    /// When the cloud was asked.
    pub at: UnixSeconds,
    /// Of which message.
    pub id: RemoteId,
    /// For what.
    pub what: Asked,
}

/// What the cloud was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Other flags.
    Flags {
        /// Those to set.
        add: Flags,
        /// Those to clear.
        remove: Flags,
    },
    /// Another place.
    Place {
        /// The mailbox that the message was to be in.
        mailbox: MailboxId,
        /// Where its file was to be.
        file: FileKey,
    },
}

impl Database {
    /// The changes of which it isn't known what came of them, in the order in which they were asked for.
    pub fn asked(&self) -> Result<Vec<AskedRecord>, StoreError> {
        let mut records = Vec::new();
        let sql = "SELECT number, at, remote_id, add_flags, remove_flags, mailbox, maildir, base_name
                   FROM asked ORDER BY number";
        self.each_row(sql, |row| {
            let what = match row.get::<_, Option<u32>>(5)? {
                None => Asked::Flags { add: Flags::from_bits(row.get(3)?), remove: Flags::from_bits(row.get(4)?) },
                Some(mailbox) => {
                    let file = FileKey::new(MaildirId(row.get(6)?), BaseName::new(text(row, 7)?));
                    Asked::Place { mailbox: MailboxId(mailbox), file }
                }
            };
            records.push(AskedRecord {
                number: row.get::<_, i64>(0)?.cast_unsigned(),
                at: UnixSeconds(row.get(1)?),
                id: RemoteId::new(text(row, 2)?),
                what,
            });
            Ok(())
        })?;
        Ok(records)
    }
}

pub(super) fn write(transaction: &Transaction<'_>, record: &AskedRecord) -> rusqlite::Result<()> {
    let (flags, place) = match &record.what {
        Asked::Flags { add, remove } => (Some((add.bits(), remove.bits())), None),
        Asked::Place { mailbox, file } => (None, Some((mailbox.0, file))),
    };
    transaction
        .prepare_cached(
            "INSERT INTO asked (number, at, remote_id, add_flags, remove_flags, mailbox, maildir, base_name)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            record.number.cast_signed(),
            record.at.0,
            record.id.as_str(),
            flags.map(|(add, _)| add),
            flags.map(|(_, remove)| remove),
            place.map(|(mailbox, _)| mailbox),
            place.map(|(_, file)| file.maildir.0),
            place.map(|(_, file)| file.base_name.as_str()),
        ])
        .map(|_| ())
}
