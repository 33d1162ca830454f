//! When what the trees say is written down: after what it tells of is on the disk.

use std::time::Duration;

use cms_maildir::MaildirError;
use cms_store::StoreError;
use tokio::time::Instant;
use tracing::debug;

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

    /// A full disk is waited for; anything else that keeps the state from being written ends the run.
    pub(super) fn could_not_write(&mut self, error: SyncError) -> Result<(), SyncError> {
        if let SyncError::Store(StoreError::Damaged { .. }) = error {
            // The next start may not come across it before its own first change.
            open::set_aside(&self.state_dir)?;
        }
        if !error.is_disk_full() {
            return Err(error);
        }
        self.tell_once("the disk is full: waiting until there is room again; nothing is lost");
        self.fail(error);
        self.paused_until = Some(Instant::now() + Duration::from_secs(10));
        Ok(())
    }
}
