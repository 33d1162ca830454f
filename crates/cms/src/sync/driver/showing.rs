//! What the page is told of the mailboxes.

use std::time::Duration;

use cms_engine::{HashMap, MailboxId};
use tokio::time::Instant;
use tracing::debug;

use crate::page::{Activity, MailboxStatus, Trouble, argument};
use crate::sync::driver::{Driver, Mailbox};

/// To count the messages of all mailboxes takes a walk over the tree, so while much happens it isn't done more often.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

impl Driver {
    /// Tells a debugging log what could grow without end.
    pub(super) fn tell_lengths(&self) {
        let ours = [
            ("downloading", self.downloading.len()),
            ("writing", self.writing.len()),
            ("reasons", self.reasons.len()),
            ("own_writes", self.own_writes.len()),
            ("unanswered", self.unanswered.len()),
            ("waited_for", self.filing.waited_for.len()),
            ("drafts_asked_for", self.drafts_asked_for.len()),
            ("gone_by_id", self.gone_by_id.len()),
            ("postponed", self.postponed.len()),
            ("unripe", self.unripe.len()),
            ("told", self.told.len()),
            ("flips", self.flips.len()),
            ("frozen", self.flips.frozen()),
            ("unreported", self.unreported.len()),
        ];
        let lengths: Vec<String> =
            self.world.lengths().into_iter().chain(ours).map(|(what, length)| format!("{what} {length}")).collect();
        debug!("Lengths: {}", lengths.join(", "));
    }

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
        let mut troubles = self.disk_troubles();
        troubles.extend(self.maildir_troubles());
        board.update(|status| {
            status.mailboxes = mailboxes;
            status.troubles = troubles;
        });
    }

    /// What the disk refuses for now.
    pub(super) fn disk_troubles(&self) -> Vec<Trouble> {
        let told = self.told_of_disk.iter();
        told.map(|what| Trouble { what: sentence(what), remedy: None }).collect()
    }

    fn maildir_troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for id in self.local.ids() {
            let Some(path) = self.local.path(id).map(|path| path.display().to_string()) else { continue };
            let what = match () {
                () if self.local.maildir(id).is_some() => continue,
                () if self.local.is_replaced(id) => "isn't the directory that held the mail",
                () => "can't be used now",
            };
            troubles.push(Trouble {
                what: format!("The Maildir `{path}` {what}; nothing is deleted in the cloud because of that."),
                remedy: Some(format!(
                    "Mount its disk if it isn't mounted, and all goes on by itself. If its mail is to be put back there: \
                     `cms held restore {}`",
                    argument(&path)
                )),
            });
        }
        troubles
    }

    pub(super) fn mailbox_lines(&self) -> Vec<MailboxStatus> {
        let messages = self.world.cloud.messages.counts();
        let mut waiting: HashMap<MailboxId, u64> = HashMap::default();
        for message in self.downloading.iter().filter_map(|id| self.world.cloud.messages.get(id)) {
            *waiting.entry(message.mailbox).or_default() += 1;
        }
        let seconds_left = self.seconds_left();
        let left_out = self.world.left_out();
        let line = |mailbox: &Mailbox| {
            let messages = messages.get(&mailbox.id).copied().unwrap_or_default();
            let waiting = waiting.get(&mailbox.id).copied().unwrap_or_default();
            MailboxStatus {
                account: mailbox.sign_in,
                name: mailbox.name.clone(),
                messages,
                activity: self.activity(
                    mailbox,
                    messages - left_out.get(&mailbox.id).copied().unwrap_or_default(),
                    waiting,
                    seconds_left,
                ),
                synced_at: mailbox.synced_at.map(|at| at.0),
                trouble: mailbox.trouble.clone(),
                held: self.held_in(mailbox.sign_in, &mailbox.name).cloned().collect(),
            }
        };
        self.mailboxes.iter().map(line).collect()
    }

    fn activity(&self, mailbox: &Mailbox, messages: u64, waiting: u64, seconds_left: Option<u64>) -> Activity {
        match &mailbox.round {
            Some(round) if mailbox.cursor.is_none() && !round.seen.is_empty() => Activity::Listing {
                done: round.seen.len() as u64,
                total: Some(mailbox.total_items).filter(|total| *total > 0),
            },
            _ if waiting > 0 => {
                Activity::Downloading { done: messages.saturating_sub(waiting), total: messages, seconds_left }
            }
            _ if self.changing > 0 => Activity::Changing,
            _ if !mailbox.polled || mailbox.failures > 0 => Activity::Waiting,
            _ => Activity::Idle,
        }
    }
}

/// A clause as a sentence.
fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}
