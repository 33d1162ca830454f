//! Finding the story of one message: by its Message-ID, by its file, by an entry's number.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cms_engine::{BaseName, ContentHash, HashSet, RowId, UnixSeconds};
use cms_maildir::{FileName, hash_file};
use cms_store::{JournalPart, Standing, StoreError, SyncedRecord};

use super::{History, Told};
use crate::envelope::{bare_id, message_id};

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
        let mut all = Vec::new();
        self.store.each_message(|hash| {
            all.push(hash);
            Ok(())
        })?;
        let store = &self.store;
        // A header that can't be read is no reason to find nothing.
        let is_it = |hash: &ContentHash| store.header(hash).is_ok_and(|header| message_id(&header) == id);
        let search = |some: &[ContentHash]| some.iter().copied().filter(is_it).collect::<Vec<_>>();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let part = all.len().div_ceil(threads).max(1);
        let found = std::thread::scope(|scope| {
            let searches: Vec<_> = all.chunks(part).map(|some| scope.spawn(move || search(some))).collect();
            // A thread that panicked has found nothing.
            searches.into_iter().filter_map(|search| search.join().ok()).flatten().collect()
        });
        Ok(found)
    }
}
