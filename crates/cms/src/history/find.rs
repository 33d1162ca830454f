//! Finding the story of one message: by its Message-ID, by its file, by an entry's number.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cms_engine::{BaseName, ContentHash, HashSet, RowId, UnixSeconds};
use cms_maildir::{FileName, hash_file};
use cms_store::{JournalPart, MessageIds, Standing, StoreError, SyncedRecord};

use super::{History, Told};
use crate::envelope::{bare_id, message_id};
use crate::problem::with_causes;

/// To read the headers of so many messages takes a while, which is told.
const MANY: usize = 10_000;

/// What the user named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sought {
    /// A file, by its base name, and where it lies if that was said.
    File {
        /// The base name.
        name: BaseName,
        /// The path, if it was more than a name.
        path: Option<PathBuf>,
    },
    /// A Message-ID without brackets. A base name may look like one.
    MessageId(String),
}

impl Sought {
    /// Understands what the user typed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let path = Path::new(text);
        if !text.trim_start().starts_with('<') && (text.contains('/') || path.is_file()) {
            let name = FileName::parse(path.file_name()?)?.base_name;
            return Some(Self::File { name, path: Some(path.to_owned()) });
        }
        let id = bare_id(text);
        (!id.is_empty()).then(|| Self::MessageId(id.to_owned()))
    }
}

/// The story of one message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// What was done to it, oldest first.
    pub(crate) entries: Vec<Told>,
    /// Its rows that exist now: more than one for twins.
    pub(crate) rows: Vec<SyncedRecord>,
    /// A file in a Maildir that has no row.
    pub(crate) stranger: Option<PathBuf>,
    /// Its content, as far as the store has it.
    pub(crate) contents: Vec<ContentHash>,
}

impl Found {
    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.rows.is_empty() && self.stranger.is_none() && self.contents.is_empty()
    }
}

impl History {
    /// Finds the story of a message.
    pub(crate) fn find(&self, wanted: &Sought) -> Result<Found, StoreError> {
        match wanted {
            Sought::File { name, path } => {
                let hash = path.as_deref().and_then(|path| hash_file(path).ok());
                let mut found = self.story(|message| message.file.base_name == *name)?;
                // A file without a row, or one that another program copied: its content may be known.
                if found.is_empty()
                    && let Some(hash) = hash
                {
                    found = self.story(|message| message.hash == hash)?;
                }
                found.stranger = path.clone().filter(|path| found.rows.is_empty() && path.is_file());
                Ok(found)
            }
            Sought::MessageId(id) => {
                let by_name = self.story(|message| message.file.base_name.as_str() == id)?;
                if !by_name.is_empty() {
                    return Ok(by_name);
                }
                let hashes = self.with_message_id(id)?;
                if hashes.is_empty() {
                    return Ok(Found::default());
                }
                let mut found = self.story(|message| hashes.contains(&message.hash))?;
                found.contents.extend(hashes);
                found.contents.sort_unstable();
                found.contents.dedup();
                Ok(found)
            }
        }
    }

    /// All that is known of the messages that `is` picks, with what else happened to the same rows.
    fn story(&self, is: impl Fn(&Standing) -> bool) -> Result<Found, StoreError> {
        let all = self.entries(JournalPart::Since(UnixSeconds(i64::MIN)))?;
        let mut rows: BTreeSet<RowId> = BTreeSet::new();
        let mut found = Found::default();
        self.database.load_synced(|record| {
            if is(&Standing::from(&record)) {
                rows.insert(record.row_id);
            }
        })?;
        let touches = |told: &Told| {
            [told.message.as_ref(), told.entry.before.as_ref(), told.entry.after.standing()]
                .into_iter()
                .flatten()
                .any(&is)
        };
        rows.extend(all.iter().filter(|told| touches(told)).filter_map(|told| told.entry.row));
        found.entries = all
            .into_iter()
            .filter(|told| told.entry.row.is_some_and(|row| rows.contains(&row)) || touches(told))
            .collect();
        for row in rows {
            found.rows.extend(self.database.synced_row(row)?);
        }
        let mut contents: HashSet<ContentHash> = found.rows.iter().map(|row| row.hash).collect();
        contents.extend(found.entries.iter().filter_map(Told::hash));
        found.contents = contents.into_iter().filter(|hash| self.has(hash)).collect();
        found.contents.sort_unstable();
        Ok(found)
    }

    /// The stored messages with a Message-ID, whoever holds them.
    fn with_message_id(&self, id: &str) -> Result<HashSet<ContentHash>, StoreError> {
        let mut all = HashSet::default();
        self.store.each_message(|hash| {
            all.insert(hash);
            Ok(())
        })?;
        match self.look_up(id, &all) {
            Ok(found) => Ok(found),
            // Where nothing can be written, all are read each time.
            Err(error) => {
                tracing::debug!(error = %with_causes(&error), "The index of Message-IDs can't be used");
                let all: Vec<ContentHash> = all.into_iter().collect();
                let read = self.message_ids(&all).into_iter();
                Ok(read.filter(|(_, found)| found == id).map(|(hash, _)| hash).collect())
            }
        }
    }

    fn look_up(&self, id: &str, all: &HashSet<ContentHash>) -> Result<HashSet<ContentHash>, StoreError> {
        let mut index = MessageIds::open(self.store.state_dir())?;
        index.catch_up(all, |unknown| {
            if unknown.len() >= MANY {
                let count = unknown.len();
                tracing::warn!(
                    "reading the headers of {count} messages, once; they are found by an index from then on"
                );
            }
            self.message_ids(unknown)
        })?;
        Ok(index.find(id)?.into_iter().collect())
    }

    /// Reads the Message-IDs of stored messages; one that can't be read is left out.
    fn message_ids(&self, some: &[ContentHash]) -> Vec<(ContentHash, String)> {
        let store = &self.store;
        let id_of = |hash: &ContentHash| Some((*hash, message_id(&store.header(hash).ok()?)));
        let read = |some: &[ContentHash]| some.iter().filter_map(id_of).collect::<Vec<_>>();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let part = some.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let readers: Vec<_> = some.chunks(part).map(|some| scope.spawn(move || read(some))).collect();
            // A thread that panicked has read nothing.
            readers.into_iter().filter_map(|reader| reader.join().ok()).flatten().collect()
        })
    }
}
