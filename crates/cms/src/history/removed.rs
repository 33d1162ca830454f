//! What was removed lately, and could be brought back.

use std::collections::BTreeMap;

use cms_engine::UnixSeconds;
use cms_store::{Deed, JournalPart, Standing, StoreError};

use super::{History, Told};
use crate::envelope::Envelope;

/// Which side a message was removed on first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// In the Maildir.
    Here,
    /// In the cloud.
    Cloud,
    /// A draft's old version went because the cloud has a new one.
    Edit,
    /// On both.
    Both,
}

impl By {
    /// In words.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Here => "deleted here",
            Self::Cloud => "deleted in the cloud",
            Self::Edit => "old version of a draft",
            Self::Both => "gone from both sides",
        }
    }
}

/// A message that was removed.
#[derive(Clone, Debug)]
pub(crate) struct Removed {
    /// The entry that removed it: what `cms restore` names it by.
    pub(crate) number: u64,
    pub(crate) at: UnixSeconds,
    pub(crate) by: By,
    /// As it was.
    pub(crate) message: Standing,
    /// Empty where the store has it no more.
    pub(crate) envelope: Envelope,
    /// Whether the store has it.
    pub(crate) kept: bool,
}

impl Removed {
    /// Whether subject or sender have all of these words, whatever their case.
    pub(crate) fn has_words(&self, words: &str) -> bool {
        let text = format!("{} {}", self.envelope.subject, self.envelope.from).to_lowercase();
        words.split_whitespace().all(|word| text.contains(&word.to_lowercase()))
    }
}

impl History {
    /// What was removed since then and hasn't come back, oldest first.
    pub(crate) fn removed(&self, since: UnixSeconds) -> Result<Vec<Removed>, StoreError> {
        let entries = self.entries(JournalPart::Since(since))?;
        let mut removed: BTreeMap<(Option<u64>, bool, u64), Vec<&Told>> = BTreeMap::new();
        for told in entries.iter().filter(|told| told.is_removal()) {
            // Several deeds make one removal. Each version of a draft is one of its own, and so is what has no row.
            let replaced = told.entry.deed == Deed::Replaced;
            let alone = if replaced || told.entry.row.is_none() { told.number } else { 0 };
            removed.entry((told.entry.row.map(|row| row.0), replaced, alone)).or_default().push(told);
        }
        let mut found = Vec::new();
        for told in removed.into_values() {
            let (Some(first), Some(last)) = (told.first(), told.last()) else { continue };
            let Some(message) = first.entry.before.clone() else { continue };
            if last.entry.deed != Deed::Replaced && self.is_back(&message, last.number, &entries)? {
                continue;
            }
            let by = match () {
                () if last.entry.deed == Deed::Replaced => By::Edit,
                () if told.iter().any(|told| told.entry.deed == Deed::DeletedThere) => By::Here,
                () if told.iter().any(|told| told.entry.deed == Deed::RemovedHere) => By::Cloud,
                () => By::Both,
            };
            found.push(Removed {
                number: last.number,
                at: first.entry.at,
                by,
                envelope: self.envelope(&message.hash).unwrap_or_default(),
                kept: self.has(&message.hash),
                message,
            });
        }
        found.sort_by_key(|removed| removed.number);
        Ok(found)
    }

    /// Whether a message that was removed came back later, or is there under the same row or id.
    fn is_back(&self, message: &Standing, removed: u64, entries: &[Told]) -> Result<bool, StoreError> {
        let later = entries.iter().filter(|told| told.number > removed);
        let restored = later
            .filter(|told| matches!(told.entry.deed, Deed::RestoredHere | Deed::Delivered | Deed::Agreed))
            .filter(|told| told.entry.before.is_none())
            .filter_map(|told| told.message.as_ref())
            .any(|back| back.file == message.file || (back.remote.is_some() && back.remote == message.remote));
        Ok(restored || self.has_row(message)?)
    }

    fn has_row(&self, message: &Standing) -> Result<bool, StoreError> {
        let mut found = false;
        self.database.each_synced_of(message.remote.as_ref(), |_| found = true)?;
        Ok(found)
    }
}
