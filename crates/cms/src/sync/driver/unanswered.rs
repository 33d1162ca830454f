//! Changes of ours whose answers were lost. The service may have made them, and then what it tells of their messages is our
//! doing and nobody's wish: above all where the user has taken the change back meanwhile.
//!
//! What is asked for is written down before, so that the next run knows it should this one be killed.

use std::time::Duration;

use cms_engine::{Answer, Flags, HashMap, MailboxId, MaildirId, Op, RemoteId, Row, Sides};
use cms_store::{Asked, AskedRecord, Change, Database, Wanted};
use tokio::time::Instant;
use tracing::debug;

use crate::sync::driver::Driver;
use crate::sync::journal::Reason;
use crate::sync::world::World;
use crate::sync::{Setup, Start, SyncError};

/// How long what the cloud tells may be taken for such a change. Afterwards it is more likely somebody else's.
const REMEMBERED: Duration = Duration::from_secs(600);

/// What changes is told late at times. A round that ends so long after a change, and isn't the first since, would have told it.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// Changes that may have been made, by their messages.
#[derive(Default)]
pub(super) struct AllUnanswered {
    of: HashMap<RemoteId, Vec<Unanswered>>,
    /// The numbers of the notes of changes that are under way.
    under_way: HashMap<RemoteId, u64>,
    /// The number of the last note.
    last: u64,
}

/// One such change.
struct Unanswered {
    /// The number of its note, if it has one.
    number: Option<u64>,
    op: Op,
    /// Why it was made; nothing of what another run has made.
    reason: Option<Reason>,
    since: Instant,
    /// How many rounds of its mailbox have ended since.
    rounds: u32,
}

impl Unanswered {
    fn is_move(op: &Op) -> bool {
        matches!(op, Op::MoveInCloud { .. })
    }
}

impl AllUnanswered {
    /// What the last run left. It isn't known that long; but who looks at a message for the first time since, and finds of it
    /// the very flags that were asked for, need not wonder who set them. Of a place the same is believed only for a while,
    /// for what was put there by somebody else would be taken away.
    pub(super) fn load(
        setup: &Setup,
        database: &Database,
        world: &mut World,
        maildirs: &[MaildirId],
    ) -> Result<Self, SyncError> {
        let mut all = Self::default();
        let now = (setup.surroundings.now)();
        for AskedRecord { number, at, id, what } in database.asked().map_err(SyncError::Store)? {
            all.last = all.last.max(number);
            let is_recent = (0..=REMEMBERED.as_secs().cast_signed()).contains(&(now.0 - at.0));
            let row = world.synced.by_remote(&id).filter(|_| setup.start != Start::Online);
            let known = row.and_then(|row| Some((row, world.synced.get(row)?.clone())));
            let op = known.and_then(|(row, base)| match what {
                Asked::Flags { add, remove } => Some(Op::SetCloudFlags { row, add, remove, base }),
                Asked::Place { mailbox, file } if is_recent && maildirs.contains(&file.maildir) => {
                    let base = Row { mailbox, file, ..base };
                    Some(Op::MoveInCloud { row, to: mailbox, base, deletes: false })
                }
                Asked::Place { .. } => None,
            });
            match op {
                Some(op) => {
                    let number = Some(number);
                    let unanswered = Unanswered { number, op, reason: None, since: Instant::now(), rounds: 0 };
                    all.of.entry(id).or_default().push(unanswered);
                }
                None => world.note(Change::Answered { number }),
            }
        }
        Ok(all)
    }

    /// Of how many messages there are any.
    pub(super) fn len(&self) -> usize {
        self.of.len()
    }
}

/// What is to be written down of a change before the cloud is asked for it. Deletions aren't remembered: who takes one back
/// finds his message among the deleted ones.
fn asked(op: &Op) -> Option<Asked> {
    match op {
        Op::SetCloudFlags { add, remove, .. } => Some(Asked::Flags { add: *add, remove: *remove }),
        Op::MoveInCloud { to, base, deletes: false, .. } => {
            Some(Asked::Place { mailbox: *to, file: base.file.clone() })
        }
        _ => None,
    }
}

impl Driver {
    /// Asks the cloud for changes once that is written down.
    pub(super) fn note_and_act_there(&mut self, ops: Vec<Op>) -> Result<(), SyncError> {
        if self.note_asked(&ops)? {
            self.act_there(ops);
        } else {
            for op in &ops {
                self.world.touch_op(op);
            }
        }
        Ok(())
    }

    /// Writes down what the cloud is about to be asked for, with all else that is to be written. Returns whether that worked;
    /// else it must not be asked.
    ///
    /// By itself it isn't made durable: a power failure may undo it, a kill doesn't.
    fn note_asked(&mut self, ops: &[Op]) -> Result<bool, SyncError> {
        let at = self.now();
        let mut is_any = false;
        for op in ops {
            let Some(what) = asked(op) else { continue };
            if let Some((_, request)) = self.request(op) {
                self.unanswered.last += 1;
                let number = self.unanswered.last;
                self.world.note(Change::Asked(AskedRecord { number, at, id: request.id.clone(), what }));
                self.unanswered.under_way.insert(request.id, number);
                is_any = true;
            }
        }
        if !is_any {
            return Ok(true);
        }
        self.write_down()?;
        let is_written = !self.world.has_changes();
        if !is_written {
            for id in ops.iter().filter_map(|op| op.id(&self.world.synced)).cloned().collect::<Vec<_>>() {
                self.note_answered(&id);
            }
        }
        Ok(is_written)
    }

    /// Forgets the note of a change of which it is known what came of it. That is written down together with it.
    pub(super) fn note_answered(&mut self, id: &RemoteId) {
        if let Some(number) = self.unanswered.under_way.remove(id) {
            self.world.note(Change::Answered { number });
        }
    }

    /// Remembers a change that may have been made.
    pub(super) fn note_unanswered(&mut self, id: &RemoteId, op: Op, reason: Reason) {
        if asked(&op).is_some() {
            self.replace_unanswered(id, &op);
            let number = self.unanswered.under_way.remove(id);
            let unanswered = Unanswered { number, op, reason: Some(reason), since: Instant::now(), rounds: 0 };
            self.unanswered.of.entry(id.clone()).or_default().push(unanswered);
        }
    }

    /// Forgets a change that another one of its kind, of the same flags or of the place, is made after.
    pub(super) fn replace_unanswered(&mut self, id: &RemoteId, op: &Op) {
        if let Some(all) = self.unanswered.of.get_mut(id) {
            for unanswered in all.iter_mut() {
                if let Op::SetCloudFlags { add, remove, .. } = &mut unanswered.op {
                    let again = told(op);
                    (*add, *remove) = (*add - again, *remove - again);
                }
            }
            keep(all, &mut self.world, |unanswered| {
                if Unanswered::is_move(&unanswered.op) {
                    !Unanswered::is_move(op)
                } else {
                    !told(&unanswered.op).is_empty()
                }
            });
        }
    }

    /// Forgets what nobody would take for our doing any more.
    pub(super) fn forget_unanswered(&mut self, now: Instant) {
        self.unanswered.of.retain(|_, all| {
            keep(all, &mut self.world, |unanswered| now.duration_since(unanswered.since) < REMEMBERED);
            !all.is_empty()
        });
    }

    /// Forgets what a mailbox would have told by now, had it been made.
    pub(super) fn forget_what_was_not_made(&mut self, mailbox: MailboxId) {
        let now = Instant::now();
        for (id, all) in &mut self.unanswered.of {
            let synced = &self.world.synced;
            let is_here =
                synced.by_remote(id).and_then(|row| synced.get(row)).is_some_and(|row| row.mailbox == mailbox);
            if is_here {
                for unanswered in all.iter_mut() {
                    unanswered.rounds += 1;
                }
                keep(all, &mut self.world, |it| it.rounds < 2 || now < it.since + TOLD_WITHIN);
            }
        }
    }

    /// Takes what the cloud says of a message by now for a change of ours, if it is what that would have made of it.
    pub(super) fn recognize_unanswered(&mut self, id: &RemoteId) {
        let count = self.unanswered.of.get(id).map_or(0, Vec::len);
        for at in (0..count).rev() {
            self.recognize_one(id, at);
        }
    }

    fn recognize_one(&mut self, id: &RemoteId, at: usize) {
        let Some(Unanswered { op, .. }) = self.unanswered.of.get(id).and_then(|all| all.get(at)) else { return };
        let Some(message) = self.world.cloud.messages.get(id) else { return };
        let Some(row) = op.row().and_then(|row| self.world.synced.get(row)).filter(|row| row.remote == *id) else {
            let mut all = self.unanswered.of.remove(id).unwrap_or_default();
            return keep(&mut all, &mut self.world, |_| false);
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
        if let Some(Unanswered { number, reason, .. }) = self.unanswered.of.get_mut(id).map(|all| all.remove(at)) {
            debug!(op = %made, "A change whose answer was lost was made");
            let reason = reason.unwrap_or_else(|| Reason { wanted: Wanted::Local, ..self.reason(&made) });
            let flags = self.world.cloud.messages.get(id).map(|message| message.flags);
            self.world.confirm(&made, &Answer { flags, ..Answer::default() }, &reason);
            self.world.touch(id);
            if let Some(number) = number {
                self.world.note(Change::Answered { number });
            }
        }
    }
}

/// The flags that an op changes in the cloud.
fn told(op: &Op) -> Flags {
    match op {
        Op::SetCloudFlags { add, remove, .. } => *add | *remove,
        _ => Flags::NONE,
    }
}

/// Keeps those of the changes, and forgets the notes of the others.
fn keep(all: &mut Vec<Unanswered>, world: &mut World, is_kept: impl Fn(&Unanswered) -> bool) {
    for number in all.iter().filter(|unanswered| !is_kept(unanswered)).filter_map(|unanswered| unanswered.number) {
        world.note(Change::Answered { number });
    }
    all.retain(is_kept);
}
