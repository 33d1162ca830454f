//! When mailboxes are polled: as if the cloud told us at once while somebody is there, and seldom where nothing happens.

use std::time::Duration;

use cms_engine::MailboxId;
use tokio::time::Instant;
use tracing::debug;

use crate::sync::alarms::Alarm;
use crate::sync::driver::Driver;
use crate::sync::driver::mailbox::Mailbox;

/// Between two polls lies at most this part of the time since anything happened, so that it gets quiet by and by.
const PATIENCE: u32 = 12;

impl Driver {
    /// Notes that something happens: mail comes, a file is changed, somebody looks. Polls come soon from now on.
    pub(super) fn note_activity(&mut self) {
        self.active_at = Instant::now();
        for at in 0..self.mailboxes.len() {
            let soon = self.active_at + self.poll_pause(&self.mailboxes[at]);
            let mailbox = &mut self.mailboxes[at];
            // One that couldn't be heard has its own times.
            if mailbox.failures == 0 {
                mailbox.next_poll = mailbox.next_poll.min(soon);
            }
        }
    }

    /// How long after a poll the next one of a mailbox comes.
    pub(super) fn poll_pause(&self, mailbox: &Mailbox) -> Duration {
        let account = mailbox.account;
        let mailboxes = self.mailboxes.iter().filter(|mailbox| mailbox.account == account).count();
        let mailboxes = u32::try_from(mailboxes).unwrap_or(u32::MAX);
        let least = self.accounts[account].capabilities().poll_cost.saturating_mul(mailboxes);
        if self.is_told_of(mailbox) {
            return self.poll_interval.max(least);
        }
        let somebody_looks = self.board.as_ref().is_some_and(|board| board.open_tabs() > 0);
        let quiet = if somebody_looks { Duration::ZERO } else { self.active_at.elapsed() };
        pause_after(quiet, least, self.quick_poll_interval, self.poll_interval)
    }

    /// Polls every mailbox at once, whatever its time would be, and asks which folders there are.
    pub(super) fn alarm(&mut self, alarm: Alarm) {
        debug!("Looking into the mailboxes at once: {alarm}");
        self.active_at = Instant::now();
        for account in &self.accounts {
            account.network_changed();
        }
        let ids: Vec<MailboxId> = self.mailboxes.iter().map(|mailbox| mailbox.id).collect();
        for id in ids {
            // What kept a mailbox from being heard may be over, too.
            if let Some(mailbox) = self.mailbox_mut(id).filter(|mailbox| mailbox.failures > 0) {
                mailbox.next_poll = mailbox.next_poll.min(Instant::now());
            }
            self.poll_soon(id);
        }
        self.trees.look_soon();
    }
}

/// The pause between two polls where nothing has happened for `quiet` and the account bears one in `least`: from `quick`
/// while things happen to what the user wants, `longest`.
fn pause_after(quiet: Duration, least: Duration, quick: Duration, longest: Duration) -> Duration {
    (quiet / PATIENCE).max(quick).min(longest).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_come_quickly_while_things_happen_and_seldom_later() {
        let seconds = Duration::from_secs;
        let pause_after = |quiet, least, longest| pause_after(quiet, least, seconds(5), longest);
        let pause = |quiet| pause_after(seconds(quiet), Duration::from_millis(240), seconds(60)).as_secs();
        assert_eq!([0, 60, 120, 300, 720, 100_000].map(pause), [5, 5, 10, 25, 60, 60]);
        assert_eq!(pause_after(seconds(0), Duration::ZERO, seconds(1)), seconds(1), "as often as the user wants");
        assert_eq!(pause_after(seconds(0), seconds(48), seconds(60)), seconds(48), "two hundred mailboxes");
        assert_eq!(pause_after(seconds(0), seconds(480), seconds(60)), seconds(480), "no more than the service bears");
    }
}
