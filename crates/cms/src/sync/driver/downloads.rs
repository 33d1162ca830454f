//! Downloads: a few at a time, newest first, and what is done when one fails.

use std::time::Duration;

use cms_cloud::contract::CloudError;
use cms_engine::{RemoteId, UnixSeconds};
use cms_store::StoreError;
use tokio::time::Instant;
use tracing::warn;

use crate::problem::with_causes;
use crate::progress::time_left;
use crate::sync::SyncError;
use crate::sync::driver::{DOWNLOADS, Driver, GATHER, GATHER_MANY, MANY_DOWNLOADS, backoff};
use crate::sync::fetching::{self, Download, FetchError};
use crate::sync::world::LONGEST_WAIT;

/// What was downloaded since nothing was waiting.
#[derive(Default)]
pub(super) struct Burst {
    pub(super) done: u64,
    pub(super) bytes: u64,
    pub(super) began: Option<Instant>,
}

impl Driver {
    /// How long the services' limits make the downloads take that are waited for.
    pub(super) fn least_time(&self) -> Duration {
        if let [account] = self.accounts.as_slice() {
            return account.least_time(self.downloading.len());
        }
        let mut waiting = vec![0; self.accounts.len()];
        for account in self.downloading.iter().filter_map(|id| self.account_of(id)) {
            waiting[account] += 1;
        }
        self.accounts
            .iter()
            .zip(waiting)
            .map(|(account, waiting)| account.least_time(waiting))
            .max()
            .unwrap_or_default()
    }

    /// How long the downloads take that are waited for, in seconds.
    pub(super) fn seconds_left(&self) -> Option<u64> {
        let Burst { done, began, .. } = self.burst;
        let total = done + self.downloading.len() as u64;
        let left = time_left(done, total, began.map(|began| began.elapsed()).unwrap_or_default(), self.least_time());
        left.map(|left| left.as_secs().max(1))
    }

    /// Keeps as many downloads under way as make sense.
    pub(super) fn start_downloads(&mut self) {
        // Where no more wait than run at a time anyway, each is here soonest alone.
        let waiting = self.downloads.len();
        while self.downloads_running < DOWNLOADS && self.downloads_paused_until.is_none() && self.paused_until.is_none()
        {
            let Some(id) = self.downloads.pop() else { return };
            let Some(account) = self.account_of(&id) else {
                self.downloading.remove(&id);
                self.world.end(&id);
                continue;
            };
            self.downloads_running += 1;
            let together = self.companions(&id, account, waiting);
            let (account, store, events) = (self.accounts[account].clone(), self.store.clone(), self.events.0.clone());
            let surroundings = self.surroundings.clone();
            let version = self.world.version(&id);
            if together.is_empty() {
                let revision = self.world.uploaded_revision(&id);
                self.tasks.spawn(fetching::fetch(account, store, surroundings, id, version, revision, events));
            } else {
                let others = together.into_iter().map(|id| (self.world.version(&id), id));
                let messages =
                    std::iter::once((id, version)).chain(others.map(|(version, id)| (id, version))).collect();
                self.tasks.spawn(fetching::fetch_together(account, store, surroundings, messages, events));
            }
        }
    }

    /// Lines a message up for its download.
    pub(super) fn queue_download(&mut self, id: RemoteId) {
        let received = self.world.cloud.messages.get(&id).map(|message| message.received);
        self.downloading.insert(id.clone());
        self.downloads.push(id, received.unwrap_or_default());
    }

    /// Takes the messages out of the queue that are to be downloaded together with this one, which is the first.
    ///
    /// All that run at a time get as many, so that a few messages aren't asked for one after the other while others of the
    /// service's places are idle.
    fn companions(&mut self, first: &RemoteId, account: usize, waiting: usize) -> Vec<RemoteId> {
        let Some(can) = self.accounts[account].capabilities().together else { return Vec::new() };
        let most = waiting.div_ceil(can.at_a_time.max(1)).min(can.most);
        let mut queue = std::mem::take(&mut self.downloads);
        // What must be of a certain revision is asked for that as well.
        let size = |id: &RemoteId| self.world.size(id).filter(|_| self.world.uploaded_revision(id).is_none());
        let companions = match size(first) {
            Some(bytes) if bytes <= can.longest_bytes => {
                let of_account = |id: &RemoteId| size(id).filter(|_| self.account_of(id) == Some(account));
                queue.take_small(bytes, most, can, of_account)
            }
            _ => Vec::new(),
        };
        self.downloads = queue;
        companions
    }

    /// Takes what came of downloads that one task made.
    pub(super) fn fetched_all(&mut self, downloads: Vec<Download>) {
        self.downloads_running -= 1;
        for download in downloads {
            self.fetched(download);
        }
    }

    fn fetched(&mut self, download: Download) {
        let Download { id, version, checked, result } = download;
        let (id, version) = (&id, &version);
        let now = self.now();
        self.downloading.remove(id);
        match result {
            // A draft was edited while it was downloaded. These may be the bytes from before.
            Ok(_) if self.world.version(id) != *version => {
                self.to_settle.push(version.clone());
                self.world.end(id);
            }
            // It was begun before the answer to the upload told whose it is, and may be what somebody else has made of it.
            Ok(_) if !checked && self.world.uploaded_revision(id).is_some() => {
                self.to_settle.push(version.clone());
                self.world.end(id);
            }
            Ok(stored) => {
                self.summary.downloaded += 1;
                self.summary.bytes += stored.size;
                self.burst.done += 1;
                self.burst.bytes += stored.size;
                let row = self.world.synced.by_remote(id).and_then(|row| self.world.synced.get(row));
                let lost = row.is_some_and(|row| !self.store.contains(&row.hash));
                self.world.fetched(id, stored.hash, lost);
                self.unflushed = true;
                self.to_settle.push(version.clone());
                self.world.end(id);
                // One flush of the disk and one transaction serve all that come in a short while.
                let gather = if self.downloading.len() < MANY_DOWNLOADS { GATHER } else { GATHER_MANY };
                self.plan_at.get_or_insert(Instant::now() + gather);
            }
            Err(FetchError::Alone) => {
                self.world.forget_size(id);
                self.queue_download(id.clone());
            }
            Err(FetchError::Edited) => {
                self.to_settle.push(version.clone());
                self.world.end(id);
                self.ask(None, vec![id.clone()]);
            }
            Err(FetchError::Cloud(CloudError::Gone)) => {
                self.world.end(id);
                // If it turns out to be there all the same, asking for its bytes again at once makes no sense.
                self.world.block(id, "the cloud lists it, but doesn't give it".to_owned(), |attempts| {
                    UnixSeconds(now.0 + (60_i64 << attempts.min(10)).min(LONGEST_WAIT))
                });
                self.ask(None, vec![id.clone()]);
            }
            Err(FetchError::Cloud(
                error @ (CloudError::Unreachable(_) | CloudError::Throttled(_) | CloudError::SignInNeeded { .. }),
            )) => {
                self.queue_download(id.clone());
                self.downloads_paused_until = Some(Instant::now() + backoff(1));
                self.fail_if_passing(error);
            }
            Err(FetchError::Store(error @ StoreError::DiskFull { .. })) => {
                self.queue_download(id.clone());
                self.downloads_paused_until = Some(Instant::now() + Duration::from_secs(10));
                self.tell_of_disk("the disk is full: waiting until there is room again; nothing is lost".to_owned());
                self.fail(SyncError::Store(error));
            }
            Err(FetchError::Store(error)) if !matches!(error, StoreError::NotAMessage { .. }) => {
                let why = with_causes(&error);
                self.tell_of_disk(format!("a message can't be kept: {why}; the rest goes on, and it is tried again"));
                self.world.end(id);
                self.world
                    .block_for_now(id, why, |attempts| UnixSeconds(now.0 + (30_i64 << (attempts - 1).min(4)).min(300)));
                if self.watching {
                    // What keeps one from being stored may keep them all.
                    self.downloads_paused_until = Some(Instant::now() + backoff(0));
                }
            }
            Err(error) => {
                let never = matches!(error, FetchError::Cloud(CloudError::Unconvertible { .. }));
                let why = with_causes(&error);
                warn!("a message can't be downloaded: {why}; the rest goes on, and it is tried again later");
                self.world.end(id);
                self.world.block(id, why, |attempts| {
                    let first = if never { 3600 } else { 300 };
                    UnixSeconds(now.0 + (first << (attempts - 1).min(8)).min(LONGEST_WAIT))
                });
            }
        }
    }
}
