//! When what the trees say is written down: after what it tells of is on the disk.

use std::time::Duration;

use cms_maildir::MaildirError;
use cms_store::StoreError;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::problem::with_causes;
use crate::sync::SyncError;
use crate::sync::driver::{Driver, open};

impl Driver {
    /// Whether downloads wait for more of their kind. Whatever else is to be written can wait as long.
    pub(super) fn is_gathering(&self) -> bool {
        self.unflushed && self.plan_at.is_some_and(|at| at > Instant::now())
    }

    /// Makes durable what was downloaded.
    pub(super) fn flush_downloads(&mut self) -> Result<(), SyncError> {
        if self.unflushed {
            if let Err(error) = self.store.flush() {
                return self.could_not_write(SyncError::Store(error));
            }
            self.unflushed = false;
        }
        Ok(())
    }

    /// Writes the trees' changes to the database, after what they tell of is on the disk.
    pub(super) fn write_down(&mut self) -> Result<(), SyncError> {
        if !self.world.has_changes() {
            return Ok(());
        }
        let touched = std::mem::take(&mut self.touched_maildirs);
        for id in touched.iter().copied() {
            match self.local.sync_directories(id) {
                Ok(()) => {}
                // There is nothing left to make durable, and what was in it is missing for no known reason.
                Err(MaildirError::NotAMaildir { .. }) if self.watching => {
                    self.local.close(&mut self.world, id);
                    self.reopen_at = Some(Instant::now() + Duration::from_secs(2));
                }
                Err(error) => {
                    self.touched_maildirs.extend(touched);
                    return self.could_not_write(SyncError::Maildir(error));
                }
            }
        }
        self.unflushed |= self.local.take_adopted();
        self.flush_downloads()?;
        if self.unflushed {
            return Ok(());
        }
        let changes = self.world.take_changes();
        if let Err(error) = self.database.apply(&changes) {
            self.world.put_back(changes);
            return self.could_not_write(SyncError::Store(error));
        }
        for id in self.to_settle.drain(..) {
            if let Err(error) = self.store.settle(&id) {
                debug!(%error, "Couldn't tidy up after a download");
            }
        }
        Ok(())
    }

    /// Waits for better times, for room on the disk above all: what isn't written down stays in the trees. Only what no
    /// waiting mends ends the run.
    pub(super) fn could_not_write(&mut self, error: SyncError) -> Result<(), SyncError> {
        match &error {
            SyncError::Store(StoreError::Damaged { .. }) => {
                // The next start may not come across it before its own first change.
                open::set_aside(&self.state_dir)?;
                return Err(error);
            }
            SyncError::Store(StoreError::Conflict { .. } | StoreError::NewerSchema { .. }) => return Err(error),
            _ => {}
        }
        let what = if error.is_disk_full() {
            "the disk is full: waiting until there is room again; nothing is lost".to_owned()
        } else {
            format!("{}; waiting until that works again; nothing is lost", with_causes(&error))
        };
        self.tell_of_disk(what);
        self.fail(error);
        self.paused_until = Some(Instant::now() + Duration::from_secs(10));
        Ok(())
    }

    /// Tells what is wrong with the disk, once until it has been well again.
    pub(super) fn tell_of_disk(&mut self, what: String) {
        if !self.told_of_disk.contains(&what) {
            self.tell_once(&what);
            self.told_of_disk.push(what);
        }
    }

    /// Lets it be told anew if the disk fails again, after everything could be done.
    pub(super) fn disk_is_well(&mut self) {
        if !self.told_of_disk.is_empty() {
            info!("The disk takes everything again");
        }
        for what in self.told_of_disk.drain(..) {
            self.told.remove(&what);
        }
    }
}
