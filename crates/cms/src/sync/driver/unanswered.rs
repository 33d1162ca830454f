//! Changes of ours whose answers were lost. The service may have made them, and then what it tells of their messages is our
//! doing and nobody's wish: above all where the user has taken the change back meanwhile.

use std::time::Duration;

use cms_engine::{Answer, Op, RemoteId, Sides};
use tokio::time::Instant;
use tracing::debug;

use crate::sync::driver::Driver;
use crate::sync::journal::Reason;

/// How long what the cloud tells may be taken for such a change. Afterwards it is more likely somebody else's.
const REMEMBERED: Duration = Duration::from_secs(600);

/// One such change.
pub(super) struct Unanswered {
    op: Op,
    reason: Reason,
    since: Instant,
}

impl Driver {
    /// Remembers a change that may have been made. Deletions aren't remembered: who takes one back finds his message
    /// among the deleted ones.
    pub(super) fn note_unanswered(&mut self, id: &RemoteId, op: Op, reason: Reason) {
        if matches!(op, Op::SetCloudFlags { .. } | Op::MoveInCloud { deletes: false, .. }) {
            self.unanswered.insert(id.clone(), Unanswered { op, reason, since: Instant::now() });
        }
    }

    /// Forgets what nobody would take for our doing any more.
    pub(super) fn forget_unanswered(&mut self, now: Instant) {
        self.unanswered.retain(|_, unanswered| now.duration_since(unanswered.since) < REMEMBERED);
    }

    /// Takes what the cloud says of a message by now for the change of ours, if it is what that would have made of it.
    pub(super) fn recognize_unanswered(&mut self, id: &RemoteId) {
        let Some(Unanswered { op, .. }) = self.unanswered.get(id) else { return };
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
        if let Some(Unanswered { reason, .. }) = self.unanswered.remove(id) {
            debug!(op = %made, "A change whose answer was lost was made");
            let flags = self.world.cloud.messages.get(id).map(|message| message.flags);
            self.world.confirm(&made, &Answer { flags, ..Answer::default() }, &reason);
            self.world.touch(id);
        }
    }
}
