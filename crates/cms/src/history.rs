//! What the state directory knows of the past: the journal with names for its numbers, and the messages that it tells of.
//! Reads only, so that it works beside a daemon and without one.

mod find;
mod removed;
mod words;

use std::path::{Path, PathBuf};

use cms_engine::{Became, ContentHash, FileKey, Flags, HashMap, MailboxId, MaildirId, RowId, UnixSeconds};
use cms_store::{After, Database, Deed, JournalEntry, JournalPart, JournalRecord, Standing, Store, StoreError};

use crate::envelope::Envelope;

pub(crate) use find::{Found, Sought};
pub(crate) use removed::Removed;
pub(crate) use words::{flags_in_words, json, line, what, why};

/// The past.
pub(crate) struct History {
    database: Database,
    store: Store,
    mailboxes: HashMap<MailboxId, String>,
    maildirs: HashMap<MaildirId, PathBuf>,
}

/// An entry with the message that it tells of.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) number: u64,
    pub(crate) entry: JournalEntry,
    /// The message as it was before, or if there was none before, after. Nothing if nobody knows any more.
    pub(crate) message: Option<Standing>,
}

impl Told {
    /// The content that the entry is about: what was there before it.
    pub(crate) fn hash(&self) -> Option<ContentHash> {
        self.message.as_ref().map(|message| message.hash)
    }

    /// Whether a message went from a side by this, and nothing but a restoration brings it back.
    pub(crate) fn is_removal(&self) -> bool {
        matches!(self.entry.deed, Deed::RemovedHere | Deed::DeletedThere | Deed::Forgotten | Deed::Replaced)
            && !self.leaves_the_file()
            && self.entry.ended == cms_store::Ended::Done
            && self.entry.before.is_some()
    }

    /// Whether this has ended a row whose file stays, as one that only the Maildir has.
    pub(crate) fn leaves_the_file(&self) -> bool {
        self.entry.deed == Deed::Forgotten && !matches!(self.entry.because.here, Became::Gone | Became::Missing)
    }
}

impl History {
    /// Opens the past of a state directory; nothing if there is none yet.
    pub(crate) fn open(state_dir: &Path) -> Result<Option<Self>, StoreError> {
        let Some(database) = Database::open_read_only(state_dir)? else { return Ok(None) };
        let store = Store::open(state_dir)?;
        let mailboxes = database.mailboxes()?.into_iter().map(|mailbox| (mailbox.id, mailbox.name)).collect();
        let maildirs = database.maildirs()?.into_iter().collect();
        Ok(Some(Self { database, store, mailboxes, maildirs }))
    }

    /// Entries of the journal, oldest first.
    pub(crate) fn entries(&self, part: JournalPart) -> Result<Vec<Told>, StoreError> {
        let mut records: Vec<JournalRecord> = Vec::new();
        self.database.journal(part, |record| records.push(record))?;
        // What a first delivery doesn't say is found in a later entry of its row.
        let mut later: HashMap<RowId, Standing> = HashMap::default();
        let mut told = Vec::with_capacity(records.len());
        for JournalRecord { number, entry } in records.into_iter().rev() {
            let own = entry.before.clone().or_else(|| entry.after.standing().cloned());
            let message = match (own, entry.row) {
                (Some(own), _) => Some(own),
                (None, Some(row)) => match later.get(&row) {
                    Some(known) => Some(known.clone()),
                    None => self.message_of(row)?,
                },
                (None, None) => None,
            };
            if let (Some(row), Some(message)) = (entry.row, &message) {
                later.insert(row, message.clone());
            }
            let message = message.map(|message| match &entry.after {
                After::AsItsRow(flags) => Standing { flags: *flags, ..message },
                _ => message,
            });
            told.push(Told { number, entry, message });
        }
        told.reverse();
        Ok(told)
    }

    /// A row's message, as the row or else the journal tells it.
    fn message_of(&self, row: RowId) -> Result<Option<Standing>, StoreError> {
        if let Some(record) = self.database.synced_row(row)? {
            return Ok(Some(Standing::from(&record)));
        }
        let mut found = None;
        self.database.journal(JournalPart::OfRow(row), |record| {
            if found.is_none() {
                found = record.entry.before;
            }
        })?;
        Ok(found)
    }

    /// What a message says of itself, from the copy in the store; nothing if that isn't there.
    pub(crate) fn envelope(&self, hash: &ContentHash) -> Option<Envelope> {
        self.store.header(hash).ok().map(|header| Envelope::read(&header))
    }

    /// Whether the store has a message.
    pub(crate) fn has(&self, hash: &ContentHash) -> bool {
        self.store.contains(hash)
    }

    /// A mailbox by its configured name.
    pub(crate) fn mailbox(&self, id: MailboxId) -> &str {
        self.mailboxes.get(&id).map_or("?", String::as_str)
    }

    /// A Maildir's path.
    pub(crate) fn maildir(&self, id: MaildirId) -> Option<&Path> {
        self.maildirs.get(&id).map(PathBuf::as_path)
    }

    /// A Maildir's name, as short as it tells it from others.
    pub(crate) fn maildir_name(&self, id: MaildirId) -> String {
        let Some(path) = self.maildir(id) else { return "?".to_owned() };
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let short = name(path).unwrap_or_else(|| path.display().to_string());
        let alone = self.maildirs.values().filter(|other| name(other).as_deref() == Some(&short)).count() == 1;
        if alone { short } else { path.display().to_string() }
    }

    /// Where a file is in its Maildir now, if it is there, with its flags.
    pub(crate) fn file_now(&self, key: &FileKey) -> Option<(PathBuf, Flags)> {
        let maildir = self.maildir(key.maildir)?;
        ["cur", "new"].iter().find_map(|place| {
            let names = std::fs::read_dir(maildir.join(place)).ok()?.filter_map(Result::ok);
            names
                .filter_map(|entry| Some((entry.path(), cms_maildir::FileName::parse(entry.file_name())?)))
                .find_map(|(path, name)| (name.base_name == key.base_name).then_some((path, name.flags)))
        })
    }
}

/// A time as people read it, in UTC.
pub(crate) fn time(at: UnixSeconds) -> String {
    crate::logging::utc(u64::try_from(at.0).unwrap_or_default()).replace('T', " ")
}
