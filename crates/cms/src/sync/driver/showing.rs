//! What the page is told of the mailboxes.

use std::time::Duration;

use cms_engine::{HashMap, MailboxId};
use tokio::time::Instant;

use crate::page::{Activity, MailboxStatus};
use crate::sync::driver::{Driver, Mailbox};

/// To count the messages of all mailboxes takes a walk over the tree, so while much happens it isn't done more often.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

impl Driver {
    /// Tells the page how the mailboxes stand: now and then while there is work, and whenever that is done.
    pub(super) fn show_on_page(&mut self, settled: bool) {
        let Some(board) = self.board.clone() else { return };
        let now = Instant::now();
        let due = self.shown_at.is_none_or(|at| now.duration_since(at) >= BETWEEN_LOOKS);
        let settled_now = settled && !self.was_settled;
        if !due && !settled_now {
            return;
        }
        self.shown_at = Some(now);
        let mailboxes = self.mailbox_lines();
        board.update(|status| status.mailboxes = mailboxes);
    }

    pub(super) fn mailbox_lines(&self) -> Vec<MailboxStatus> {
        let mut messages: HashMap<MailboxId, u64> = HashMap::default();
        for message in self.world.cloud.messages.values() {
            *messages.entry(message.mailbox).or_default() += 1;
        }
        let mut waiting: HashMap<MailboxId, u64> = HashMap::default();
        for message in self.downloading.iter().filter_map(|id| self.world.cloud.messages.get(id)) {
            *waiting.entry(message.mailbox).or_default() += 1;
        }
        let line = |mailbox: &Mailbox| {
            let messages = messages.get(&mailbox.id).copied().unwrap_or_default();
            let waiting = waiting.get(&mailbox.id).copied().unwrap_or_default();
            MailboxStatus {
                account: mailbox.account,
                name: mailbox.name.clone(),
                messages,
                activity: self.activity(mailbox, messages, waiting),
                synced_at: mailbox.synced_at.map(|at| at.0),
                trouble: mailbox.trouble.clone(),
                held: self.held_in(mailbox.account, &mailbox.name).cloned().collect(),
            }
        };
        self.mailboxes.iter().map(line).collect()
    }

    fn activity(&self, mailbox: &Mailbox, messages: u64, waiting: u64) -> Activity {
        match &mailbox.round {
            Some(round) if mailbox.cursor.is_none() && !round.seen.is_empty() => Activity::Listing {
                done: round.seen.len() as u64,
                total: Some(mailbox.total_items).filter(|total| *total > 0),
            },
            _ if waiting > 0 => Activity::Downloading { done: messages.saturating_sub(waiting), total: messages },
            _ if self.changing > 0 => Activity::Changing,
            _ if !mailbox.polled || mailbox.failures > 0 => Activity::Waiting,
            _ => Activity::Idle,
        }
    }
}
