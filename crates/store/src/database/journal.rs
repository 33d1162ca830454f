//! The journal: what was done to either side, why, and what was before.

use cms_engine::{
    BaseName, Became, Because, ContentHash, FileKey, Flags, MailboxId, MaildirId, RemoteId, Row, RowId, Sides,
    UnixSeconds,
};
use rusqlite::{Transaction, params};

use super::load::{flags, optional_hash, optional_text};
use super::{Change, Database, SyncedRecord};
use crate::StoreError;

/// The schema version that brought the journal.
const SINCE_VERSION: u32 = 3;

/// The schema version that brought the age of entries.
const AGE_SINCE: u32 = 5;

/// The schema version that brought the requests' ids.
const EXCHANGE_SINCE: u32 = 6;

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Deed {
    /// A new message came into a Maildir.
    Delivered,
    /// A file that had gone came back.
    Returned,
    /// A draft's new version took the old one's place here.
    Replaced,
    /// A file's flags were changed.
    FlaggedHere,
    /// A file was moved to another Maildir.
    MovedHere,
    /// A file was taken out of its Maildir.
    RemovedHere,
    /// The old file of a message that lives on under another name was taken out.
    LeftoverRemoved,
    /// A message's flags were changed in the cloud.
    FlaggedThere,
    /// A message was moved in the cloud.
    MovedThere,
    /// A message was deleted in the cloud.
    DeletedThere,
    /// Both sides were found the same.
    Agreed,
    /// Neither side had it any more, or only one that keeps it.
    Forgotten,
    /// A file was put back that only the Maildir has.
    RestoredHere,
    /// A message was moved back in the cloud from where deleted ones are.
    RestoredThere,
    /// A file was found to hold other bytes than it was delivered with.
    FoundEdited,
    /// A message was made in the cloud of a file.
    Uploaded,
    /// A draft in the cloud got the content that its file has.
    UpdatedThere,
}

/// Who wanted it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Wanted {
    /// Whoever changed it in the cloud.
    Cloud,
    /// Whoever changed it in the Maildir.
    Local,
    /// Nobody: both sides had it already, or neither.
    Nobody,
    /// The rule for what went while nobody was watching.
    Start,
    /// The user, asked about deletions that were held.
    Word,
    /// The user, by `cms undo`.
    Undo,
    /// The user, by `cms restore`.
    Restore,
}

/// By which observation it was heard of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Heard {
    /// The first listing of a mailbox, or one from the beginning.
    Listing,
    /// A poll for what changed.
    Poll,
    /// A question about that message.
    Asked,
    /// The listing of a Maildir at the start.
    StartScan,
    /// The watch on a Maildir.
    Watch,
    /// A later listing of a Maildir.
    Scan,
    /// A command of the user.
    Command,
    /// A comparison of everything.
    Verification,
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Ended {
    /// It was done.
    Done,
    /// The cloud refused.
    Refused,
}

/// A message as a row of the Synced tree has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The cloud's name for it; nothing for one that only the Maildir has.
    pub remote: Option<RemoteId>,
    /// Its mailbox; nothing for one that only the Maildir has.
    pub mailbox: Option<MailboxId>,
    /// Its file.
    pub file: FileKey,
    /// Its content.
    pub hash: ContentHash,
    /// Its flags.
    pub flags: Sides<Flags>,
}

/// What a message was after something was done to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum After {
    /// It has no row any more, or never had one.
    Nothing,
    /// It is as its row says, which needn't be written twice; only the flags may be others by now.
    AsItsRow(Sides<Flags>),
    /// This.
    As(Standing),
}

impl After {
    /// The flags after.
    pub fn flags(&self) -> Option<Sides<Flags>> {
        match self {
            Self::Nothing => None,
            Self::AsItsRow(flags) => Some(*flags),
            Self::As(standing) => Some(standing.flags),
        }
    }

    /// All of it, as far as the entry itself tells it.
    pub fn standing(&self) -> Option<&Standing> {
        match self {
            Self::Nothing | Self::AsItsRow(_) => None,
            Self::As(standing) => Some(standing),
        }
    }
}

/// One entry of the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalEntry {
    /// When, by the computer's clock.
    pub at: UnixSeconds,
    /// When, by the state's own clock, by which it is kept.
    pub age: UnixSeconds,
    /// What.
    pub deed: Deed,
    /// Who wanted it.
    pub wanted: Wanted,
    /// What had become of the message, by which the planner decided.
    pub because: Because,
    /// By which observation that was learned.
    pub heard: Heard,
    /// When that was, if it is known.
    pub heard_at: Option<UnixSeconds>,
    /// The undo that it is a part of.
    pub undo: Option<u32>,
    /// The message's row.
    pub row: Option<RowId>,
    /// The message before; nothing if it had no row.
    pub before: Option<Standing>,
    /// The message after.
    pub after: After,
    /// What the cloud was asked.
    pub request: Option<String>,
    /// As what the cloud's own logs know that request.
    pub request_id: Option<String>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// What it answered, beyond that it is done.
    pub answer: Option<String>,
    /// How it ended.
    pub ended: Ended,
}

/// One entry of the journal, as it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalRecord {
    /// Its number; later entries have higher ones.
    pub number: u64,
    /// What it says.
    pub entry: JournalEntry,
}

/// Which part of the journal to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JournalPart {
    /// All since a time.
    Since(UnixSeconds),
    /// The newest so many.
    Newest(u32),
    /// All of one row.
    OfRow(RowId),
}

impl From<&Row> for Standing {
    fn from(row: &Row) -> Self {
        Self {
            remote: Some(row.remote.clone()),
            mailbox: Some(row.mailbox),
            file: row.file.clone(),
            hash: row.hash,
            flags: row.flags,
        }
    }
}

impl From<&SyncedRecord> for Standing {
    fn from(record: &SyncedRecord) -> Self {
        Self {
            remote: record.remote_id.clone(),
            mailbox: Some(record.mailbox),
            file: FileKey::new(record.maildir, record.base_name.clone()),
            hash: record.hash,
            flags: Sides { local: record.local_flags, cloud: record.cloud_flags },
        }
    }
}

impl Database {
    /// Reads entries of the journal, oldest first.
    ///
    /// Of which message an entry with [`After::AsItsRow`] tells is found in the next entry of the same row, as what was
    /// before that, or in the row itself. All others are complete.
    pub fn journal(&self, part: JournalPart, mut take: impl FnMut(JournalRecord)) -> Result<(), StoreError> {
        if self.version < SINCE_VERSION {
            return Ok(());
        }
        let (condition, number) = match part {
            JournalPart::Since(at) => ("at >= ?1", at.0),
            JournalPart::OfRow(row) => ("row_id = ?1", row.0.cast_signed()),
            JournalPart::Newest(count) => {
                ("number > (SELECT coalesce(max(number), 0) FROM journal) - ?1", i64::from(count))
            }
        };
        // Who only reads may meet an older state.
        let age = if self.version >= AGE_SINCE { "coalesce(age, at)" } else { "at" };
        let exchange = if self.version >= EXCHANGE_SINCE { "request_id, status" } else { "NULL, NULL" };
        let sql = format!(
            "SELECT number, at, deed, wanted, here, there, heard, heard_at, undo, row_id,
                    remote_id, mailbox, maildir, base_name, hash, local_flags, cloud_flags,
                    new_id, new_mailbox, new_maildir, new_name, new_hash, new_local, new_cloud, request, answer,
                    {age}, {exchange}
             FROM journal WHERE {condition} ORDER BY number"
        );
        self.each_row_of(&sql, [number], |row| {
            take(read(row)?);
            Ok(())
        })
    }

    /// The number that the next undo gets.
    pub fn next_undo(&self) -> Result<u32, StoreError> {
        let mut last = 0;
        if self.version >= SINCE_VERSION {
            self.each_row_of("SELECT coalesce(max(undo), 0) FROM journal WHERE undo IS NOT NULL", [], |row| {
                last = row.get(0)?;
                Ok(())
            })?;
        }
        Ok(last + 1)
    }

    /// Drops at most so many entries that were written before `until` by the state's own clock, oldest first.
    /// Returns how many. The newest entry stays, so that numbers are never given twice.
    pub fn prune_journal(&mut self, until: UnixSeconds, most: u32) -> Result<usize, StoreError> {
        let sql = "DELETE FROM journal WHERE number IN
                       (SELECT number FROM journal
                        WHERE number < (SELECT max(number) FROM journal) ORDER BY number LIMIT ?2)
                   AND coalesce(age, at) < ?1";
        self.connection.execute(sql, params![until.0, most]).map_err(|error| self.failed(error))
    }
}

impl Change {
    /// The change that writes an entry of the journal.
    pub fn journal(entry: JournalEntry) -> Self {
        Self::Journal(Box::new(entry))
    }
}

pub(super) fn write(transaction: &Transaction<'_>, entry: &JournalEntry) -> rusqlite::Result<()> {
    let (old, new) = (entry.before.as_ref(), entry.after.standing());
    // What is after is written as far as it isn't what was before.
    let changed = |same: fn(&Standing, &Standing) -> bool| new.filter(|new| old.is_none_or(|old| !same(old, new)));
    let new_flags = entry.after.flags();
    transaction
        .prepare_cached(
            "INSERT INTO journal (at, deed, wanted, here, there, heard, heard_at, undo, row_id,
                                  remote_id, mailbox, maildir, base_name, hash, local_flags, cloud_flags,
                                  new_id, new_mailbox, new_maildir, new_name, new_hash, new_local, new_cloud,
                                  request, answer, age, request_id, status)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
                     ?23, ?24, ?25, ?26, ?27, ?28)",
        )?
        .execute(params![
            entry.at.0,
            entry.deed.code() + if entry.ended == Ended::Refused { REFUSED } else { 0 },
            entry.wanted.code(),
            entry.because.here.code(),
            entry.because.there.code(),
            entry.heard.code(),
            entry.heard_at.map(|at| at.0),
            entry.undo,
            entry.row.map(|row| row.0.cast_signed()),
            old.and_then(|old| old.remote.as_ref()).map(RemoteId::as_str),
            old.and_then(|old| old.mailbox).map(|mailbox| mailbox.0),
            old.map(|old| old.file.maildir.0),
            old.map(|old| old.file.base_name.as_str()),
            old.map(|old| old.hash.as_bytes()),
            old.map(|old| old.flags.local.bits()),
            old.map(|old| old.flags.cloud.bits()),
            changed(|a, b| a.remote == b.remote).and_then(|new| new.remote.as_ref()).map(RemoteId::as_str),
            changed(|a, b| a.mailbox == b.mailbox).and_then(|new| new.mailbox).map(|mailbox| mailbox.0),
            changed(|a, b| a.file.maildir == b.file.maildir).map(|new| new.file.maildir.0),
            changed(|a, b| a.file.base_name == b.file.base_name).map(|new| new.file.base_name.as_str()),
            changed(|a, b| a.hash == b.hash).map(|new| new.hash.as_bytes()),
            new_flags.map(|flags| flags.local.bits()),
            new_flags.map(|flags| flags.cloud.bits()),
            entry.request,
            entry.answer,
            entry.age.0,
            entry.request_id,
            entry.status,
        ])
        .map(|_| ())
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<JournalRecord> {
    let deed: u8 = row.get(2)?;
    let before = match (row.get::<_, Option<u32>>(12)?, optional_text(row, 13)?, optional_hash(row, 14)?) {
        (Some(maildir), Some(name), Some(hash)) => Some(Standing {
            remote: optional_text(row, 10)?.map(RemoteId::new),
            mailbox: row.get::<_, Option<u32>>(11)?.map(MailboxId),
            file: FileKey::new(MaildirId(maildir), BaseName::new(name)),
            hash,
            flags: Sides { local: flags(row, 15)?, cloud: flags(row, 16)? },
        }),
        _ => None,
    };
    let new_maildir: Option<u32> = row.get(19)?;
    let new_name = optional_text(row, 20)?;
    let new_hash = optional_hash(row, 21)?;
    let flags_after = match row.get::<_, Option<u8>>(22)? {
        Some(_) => Some(Sides { local: flags(row, 22)?, cloud: flags(row, 23)? }),
        None => None,
    };
    let maildir = new_maildir.map(MaildirId).or(before.as_ref().map(|before| before.file.maildir));
    let name = new_name.map(BaseName::new).or(before.as_ref().map(|before| before.file.base_name.clone()));
    let hash = new_hash.or(before.as_ref().map(|before| before.hash));
    let after = match (flags_after, maildir, name, hash) {
        (None, ..) => After::Nothing,
        (Some(flags), Some(maildir), Some(name), Some(hash)) => After::As(Standing {
            remote: optional_text(row, 17)?
                .map(RemoteId::new)
                .or_else(|| before.as_ref().and_then(|before| before.remote.clone())),
            mailbox: row
                .get::<_, Option<u32>>(18)?
                .map(MailboxId)
                .or_else(|| before.as_ref().and_then(|before| before.mailbox)),
            file: FileKey::new(maildir, name),
            hash,
            flags,
        }),
        (Some(flags), ..) => After::AsItsRow(flags),
    };
    Ok(JournalRecord {
        number: row.get::<_, i64>(0)?.cast_unsigned(),
        entry: JournalEntry {
            at: UnixSeconds(row.get(1)?),
            age: UnixSeconds(row.get(26)?),
            deed: Deed::of(deed % REFUSED),
            wanted: Wanted::of(row.get(3)?),
            because: Because { here: became(row.get(4)?), there: became(row.get(5)?) },
            heard: Heard::of(row.get(6)?),
            heard_at: row.get::<_, Option<i64>>(7)?.map(UnixSeconds),
            undo: row.get(8)?,
            row: row.get::<_, Option<i64>>(9)?.map(|row| RowId(row.cast_unsigned())),
            before,
            after,
            request: row.get(24)?,
            request_id: row.get(27)?,
            status: row.get(28)?,
            answer: row.get(25)?,
            ended: if deed >= REFUSED { Ended::Refused } else { Ended::Done },
        },
    })
}

/// Added to the code of a deed that the cloud refused.
const REFUSED: u8 = 100;

/// Codes are written to disk: a variant keeps its place for good, and new ones come last.
macro_rules! coded {
    ($name:ident: $($variant:ident),+) => {
        impl $name {
            const IN_ORDER: &[Self] = &[$(Self::$variant),+];

            fn code(self) -> u8 {
                Self::IN_ORDER.iter().position(|known| *known == self).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
            }

            /// The variant of a code; for one that a newer version wrote, the last that is known.
            fn of(code: u8) -> Self {
                Self::IN_ORDER[usize::from(code).min(Self::IN_ORDER.len() - 1)]
            }
        }
    };
}
coded!(Deed: Delivered, Returned, Replaced, FlaggedHere, MovedHere, RemovedHere, LeftoverRemoved, FlaggedThere, MovedThere,
       DeletedThere, Agreed, Forgotten, RestoredHere, RestoredThere, FoundEdited, Uploaded, UpdatedThere);
coded!(Wanted: Cloud, Local, Nobody, Start, Word, Undo, Restore);
coded!(Heard: Listing, Poll, Asked, StartScan, Watch, Scan, Command, Verification);

const BECAME: [Became; 10] = [
    Became::Absent,
    Became::New,
    Became::Unchanged,
    Became::Flags,
    Became::Moved,
    Became::Edited,
    Became::Trashed,
    Became::Gone,
    Became::Missing,
    Became::Unreadable,
];

trait Coded {
    fn code(self) -> u8;
}

impl Coded for Became {
    fn code(self) -> u8 {
        BECAME.iter().position(|known| *known == self).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
    }
}

fn became(code: u8) -> Became {
    BECAME[usize::from(code).min(BECAME.len() - 1)]
}
