//! Changes of ours whose answers were lost. The service may have made them, and then what it tells of their messages is our
//! doing and nobody's wish: above all where the user has taken the change back meanwhile.

use std::time::Duration;

use cms_engine::{Answer, MailboxId, Op, RemoteId, Sides};
use tokio::time::Instant;
use tracing::debug;

use crate::sync::driver::Driver;
use crate::sync::journal::Reason;

/// How long what the cloud tells may be taken for such a change. Afterwards it is more likely somebody else's.
const REMEMBERED: Duration = Duration::from_secs(600);

/// What changes is told late at times. A round that ends so long after a change, and isn't the first since, would have told it.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// One such change.
pub(super) struct Unanswered {
    op: Op,
    reason: Reason,
    since: Instant,
    /// How many rounds of its mailbox have ended since.
    rounds: u32,
}

impl Unanswered {
    fn is_move(op: &Op) -> bool {
        matches!(op, Op::MoveInCloud { .. })
    }
}

impl Driver {
    /// Remembers a change that may have been made. Deletions aren't remembered: who takes one back finds his message
    /// among the deleted ones.
    pub(super) fn note_unanswered(&mut self, id: &RemoteId, op: Op, reason: Reason) {
        if matches!(op, Op::SetCloudFlags { .. } | Op::MoveInCloud { deletes: false, .. }) {
            self.replace_unanswered(id, &op);
            let unanswered = Unanswered { op, reason, since: Instant::now(), rounds: 0 };
            self.unanswered.entry(id.clone()).or_default().push(unanswered);
        }
    }

    /// Forgets a change that another one of its kind, of the flags or of the place, is made after.
    pub(super) fn replace_unanswered(&mut self, id: &RemoteId, op: &Op) {
        if let Some(all) = self.unanswered.get_mut(id) {
            all.retain(|unanswered| Unanswered::is_move(&unanswered.op) != Unanswered::is_move(op));
        }
    }

    /// Forgets what nobody would take for our doing any more.
    pub(super) fn forget_unanswered(&mut self, now: Instant) {
        self.unanswered.retain(|_, all| {
            all.retain(|unanswered| now.duration_since(unanswered.since) < REMEMBERED);
            !all.is_empty()
        });
    }

    /// Forgets what a mailbox would have told by now, had it been made.
    pub(super) fn forget_what_was_not_made(&mut self, mailbox: MailboxId) {
        let now = Instant::now();
        let synced = &self.world.synced;
        for (id, all) in &mut self.unanswered {
            let is_here =
                synced.by_remote(id).and_then(|row| synced.get(row)).is_some_and(|row| row.mailbox == mailbox);
            if is_here {
                for unanswered in all.iter_mut() {
                    unanswered.rounds += 1;
                }
                all.retain(|it| Unanswered::is_move(&it.op) || it.rounds < 2 || now < it.since + TOLD_WITHIN);
            }
        }
    }

    /// Takes what the cloud says of a message by now for a change of ours, if it is what that would have made of it.
    pub(super) fn recognize_unanswered(&mut self, id: &RemoteId) {
        let count = self.unanswered.get(id).map_or(0, Vec::len);
        for at in (0..count).rev() {
            self.recognize_one(id, at);
        }
    }

    fn recognize_one(&mut self, id: &RemoteId, at: usize) {
        let Some(Unanswered { op, .. }) = self.unanswered.get(id).and_then(|all| all.get(at)) else { return };
        let Some(message) = self.world.cloud.messages.get(id) else { return };
        let Some(row) = op.row().and_then(|row| self.world.synced.get(row)).filter(|row| row.remote == *id) else {
            return drop(self.unanswered.remove(id));
        };
        let mut after = row.clone();
        let made = match op {
            Op::MoveInCloud { row, to, base, .. } if message.mailbox == *to && after.mailbox != *to => {
                // Its file was to be there; where it is now says what the user wants by now.
                if self.world.synced.by_file(&base.file).is_some_and(|other| other != *row) {
                    return;
                }
                after.mailbox = *to;
                after.file = base.file.clone();
                Op::MoveInCloud { row: *row, to: *to, base: after, deletes: false }
            }
            Op::SetCloudFlags { row, add, remove, .. } if message.flags & (*add | *remove) == *add => {
                let told = *add | *remove;
                after.flags =
                    Sides { local: after.flags.local.with(told, *add), cloud: after.flags.cloud.with(told, *add) };
                Op::SetCloudFlags { row: *row, add: *add, remove: *remove, base: after }
            }
            _ => return,
        };
        if let Some(Unanswered { reason, .. }) = self.unanswered.get_mut(id).map(|all| all.remove(at)) {
            debug!(op = %made, "A change whose answer was lost was made");
            let flags = self.world.cloud.messages.get(id).map(|message| message.flags);
            self.world.confirm(&made, &Answer { flags, ..Answer::default() }, &reason);
            self.world.touch(id);
        }
    }
}
