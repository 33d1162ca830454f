//! Messages that can't be downloaded for now, and what is missing here.

use std::time::Duration;

use cms_engine::{MailboxId, RemoteId, UnixSeconds};

use crate::sync::world::World;
use crate::sync::world::rfc3339;

impl World {
    /// Notes that a message can't be downloaded for now, because of what it is.
    pub(crate) fn block(&mut self, id: &RemoteId, why: String, retry_at: impl FnOnce(u32) -> UnixSeconds) {
        self.note_trouble(id, why, false, retry_at);
    }

    /// Notes that a message can't be kept for now, for a reason that lies on this machine.
    pub(crate) fn block_for_now(&mut self, id: &RemoteId, why: String, retry_at: impl FnOnce(u32) -> UnixSeconds) {
        self.note_trouble(id, why, true, retry_at);
    }

    pub(super) fn note_trouble(
        &mut self,
        id: &RemoteId,
        why: String,
        is_ours: bool,
        retry_at: impl FnOnce(u32) -> UnixSeconds,
    ) {
        let attempts = self.troubles.get(id).map_or(0, |trouble| trouble.attempts) + 1;
        self.troubles.insert(id.clone(), Trouble { why, attempts, retry_at: retry_at(attempts), is_ours });
        if let Some(mut message) = self.cloud.messages.get(id).cloned() {
            message.blocked = true;
            self.put_cloud(id.clone(), message);
        }
    }

    /// Lets every message be tried again whose time has come, or lies so far ahead that the clock was set back.
    pub(crate) fn unblock_due(&mut self, now: UnixSeconds) {
        let is_due = |at: UnixSeconds| at <= now || (at.0 > now.0 + LONGEST_WAIT && at.0 != i64::MAX);
        let due: Vec<RemoteId> =
            self.troubles.iter().filter(|(_, trouble)| is_due(trouble.retry_at)).map(|(id, _)| id.clone()).collect();
        for id in due {
            if let Some(trouble) = self.troubles.get_mut(&id) {
                trouble.retry_at = UnixSeconds(i64::MAX);
            }
            if let Some(message) = self.cloud.messages.get_mut(&id)
                && message.blocked
            {
                message.blocked = false;
                self.touch(&id);
            }
        }
    }

    /// How long until a message may be tried again that couldn't be downloaded.
    pub(crate) fn next_retry(&self, now: UnixSeconds) -> Option<Duration> {
        let next = self.troubles.values().map(|trouble| trouble.retry_at).filter(|at| at.0 != i64::MAX).min()?;
        let wait = next.0.saturating_sub(now.0).clamp(1, LONGEST_WAIT);
        Some(Duration::from_secs(wait.unsigned_abs()))
    }

    /// How many messages of the cloud have no file yet though nothing is told of why. Counted in the trees: that nothing
    /// failed says little, for a question without an answer fails nowhere.
    pub(crate) fn missing_here(&self) -> usize {
        let is_missing = |id: &&RemoteId| {
            let message = self.cloud.messages.get(id);
            message.is_some_and(|message| self.cloud.complete.contains(&message.mailbox))
                && !self.troubles.contains_key(*id)
                && !message.is_some_and(|message| self.is_left_out(id, message))
                && self.synced.by_remote(id).is_none()
        };
        let busy = self.busy.ids.iter().filter(|id| !self.homeless.contains(*id));
        self.homeless.iter().chain(busy).filter(is_missing).count()
    }

    /// One line for each message that can't be downloaded for now.
    pub(crate) fn trouble_lines(&self) -> Vec<String> {
        self.trouble_lines_where(|_| true)
    }

    /// One line for each message of a mailbox that can't be downloaded for now.
    pub(crate) fn trouble_lines_of(&self, mailbox: MailboxId) -> Vec<String> {
        self.trouble_lines_where(|its| its == mailbox)
    }

    pub(super) fn trouble_lines_where(&self, wanted: impl Fn(MailboxId) -> bool) -> Vec<String> {
        let mut lines: Vec<String> = self
            .troubles
            .iter()
            .filter_map(|(id, trouble)| {
                let message = self.cloud.messages.get(id).filter(|message| wanted(message.mailbox))?;
                if self.is_nobodys_concern(id, message) {
                    return None;
                }
                let received = message.received;
                Some(format!("the message received {} (id {id}): {}", rfc3339(received), trouble.why))
            })
            .collect();
        lines.sort_unstable();
        lines
    }
}

/// Why a message can't be downloaded for now.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// In words.
    pub(crate) why: String,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// When it is tried again.
    pub(crate) retry_at: UnixSeconds,
    /// Whether it is this machine's trouble rather than the message's. Then the next start tries it at once.
    pub(crate) is_ours: bool,
}

/// The longest that a message waits until its download is tried again, in seconds: a day.
pub(crate) const LONGEST_WAIT: i64 = 86_400;
