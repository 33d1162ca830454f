//! Letting go of messages that nobody holds any more, some days after.

use std::fs;
use std::io;

use cms_engine::{ContentHash, UnixSeconds};

use crate::messages::{file_size, remove};
use crate::{Change, Database, Store, StoreError};

/// What was removed from the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pruned {
    /// How many messages.
    pub messages: u64,
    /// How many bytes they held.
    pub bytes: u64,
}

impl Store {
    /// Removes the messages that were released at or before `released_until`, as far as no Maildir holds them
    /// and `keep` doesn't name them. Notes of messages that are in use again are dropped.
    ///
    /// `keep` must name every hash in the Cloud and Synced trees: where the Maildirs are on another file system, link
    /// counts tell nothing.
    pub fn prune(
        &self,
        database: &mut Database,
        released_until: UnixSeconds,
        keep: impl Fn(&ContentHash) -> bool,
    ) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        let mut settled = Vec::new();
        for (hash, at) in database.released()? {
            if at > released_until {
                continue;
            }
            let path = self.path_of(&hash);
            if !keep(&hash) && self.links(&hash)? == Some(1) {
                let size = file_size(&path).map_err(|error| StoreError::io("inspect", &path, error))?;
                remove(&path)?;
                pruned.messages += 1;
                pruned.bytes += size.unwrap_or_default();
            }
            settled.push(Change::Unreleased { hash });
        }
        // Killed before this, the next run finds the files gone and only drops the notes.
        database.apply(&settled)?;
        Ok(pruned)
    }

    /// Notes as released at `now` what is in the store though nothing names it, so that [`Store::prune`] takes it some
    /// days later: files left by a crash, or removed from a Maildir while nobody watched. Returns how many were found.
    ///
    /// Lists the whole store; once a day is enough. `keep` is as for [`Store::prune`].
    pub fn note_unused(
        &self,
        database: &mut Database,
        now: UnixSeconds,
        keep: impl Fn(&ContentHash) -> bool,
    ) -> Result<usize, StoreError> {
        let mut noted: Vec<ContentHash> = database.released()?.into_iter().map(|(hash, _)| hash).collect();
        noted.sort_unstable();
        let mut found = Vec::new();
        self.each_message(|hash| {
            if !keep(&hash) && noted.binary_search(&hash).is_err() && self.links(&hash)? == Some(1) {
                found.push(Change::Released { hash, at: now });
            }
            Ok(())
        })?;
        database.apply(&found)?;
        Ok(found.len())
    }

    /// Calls `visit` with every message that the store holds, in no order.
    pub fn each_message(&self, mut visit: impl FnMut(ContentHash) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let messages = self.messages();
        let failed = |error: io::Error| StoreError::io("read", &messages, error);
        for directory in fs::read_dir(&messages).map_err(failed)? {
            let directory = directory.map_err(failed)?;
            if !directory.file_type().map_err(failed)?.is_dir() {
                continue;
            }
            for file in fs::read_dir(directory.path()).map_err(failed)? {
                let file = file.map_err(failed)?;
                let (start, rest) = (directory.file_name(), file.file_name());
                let hex = format!("{}{}", start.to_string_lossy(), rest.to_string_lossy());
                if let Some(hash) = ContentHash::from_hex(&hex) {
                    visit(hash)?;
                }
            }
        }
        Ok(())
    }
}
