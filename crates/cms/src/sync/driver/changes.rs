//! Changes in the cloud: what is asked for, and what each answer means for the trees.

use std::time::Duration;

use cms_cloud::Exchange;
use cms_cloud::contract::{CloudChange, CloudError, CloudOp, DeleteAction, Outcome, Seen};
use cms_engine::{Answer, FileKey, Flags, HashMap, MailboxId, Op, RemoteId, Row, Sides};
use tokio::time::Instant;
use tracing::debug;

use crate::problem::with_causes;
use crate::sync::driver::planning::{deleted_mailbox, deletes_there};
use crate::sync::driver::{CLOUD_STEPS, DeleteTarget, Driver, backoff};
use crate::sync::journal::Reason;
use crate::sync::tasks::{self, Change, Event};

/// How often a change that the cloud says it made, and didn't, is asked for in all.
const TRIES_OF_UNMADE: u32 = 3;

/// What came of changes other than what they were for, by their messages.
#[derive(Default)]
pub(super) struct Setbacks {
    /// Messages of which the last change was answered by "gone", and whether the cloud has said since that they are there.
    said_gone: HashMap<RemoteId, bool>,
    /// How often a change of flags was said to be made, and wasn't or may not have been.
    unmade: HashMap<RemoteId, u32>,
    /// The folders that messages were last to go to and that weren't there, and since when that was said.
    unmoved: HashMap<RemoteId, (String, Instant)>,
}

impl Setbacks {
    /// Forgets those of other messages.
    pub(super) fn keep(&mut self, message: impl Fn(&RemoteId) -> bool) {
        self.said_gone.retain(|id, _| message(id));
        self.unmade.retain(|id, _| message(id));
        self.unmoved.retain(|id, _| message(id));
    }

    /// Notes that the cloud says, asked for a message, that it is there.
    pub(super) fn heard_of(&mut self, id: &RemoteId) {
        if let Some(is_there) = self.said_gone.get_mut(id) {
            *is_there = true;
        }
    }
}

impl Driver {
    /// Gives changes to the accounts that they concern.
    pub(super) fn act_there(&mut self, ops: Vec<Op>) {
        if !ops.is_empty() {
            self.note_activity();
        }
        let mut work: Vec<Vec<Change>> = self.accounts.iter().map(|_| Vec::new()).collect();
        for op in ops {
            match self.request(&op) {
                Some((account, request)) => {
                    self.note_deletion(&op, op.deletes_from(&self.world.synced));
                    self.replace_unanswered(&request.id, &op);
                    self.world.begin_change(&request.id, &op);
                    self.writing.insert(request.id.clone());
                    let mut reason = self.reason(&op);
                    reason.request = Some(self.accounts[account].request_line(&request.change));
                    self.reasons.insert(request.id.clone(), reason);
                    let only_at = self.must_still_be_at(&op);
                    work[account].push(Change { op, request, only_at });
                }
                // Who looks for a folder by its name takes longer than who asks where deleted messages go.
                None if moved_to(&op).is_some() => self.postpone(&op, backoff(0)),
                None => self.postpone(&op, Duration::from_millis(100)),
            }
        }
        for (account, work) in work.into_iter().enumerate() {
            let mut work = work.into_iter().peekable();
            while work.peek().is_some() {
                let some: Vec<_> = work.by_ref().take(CLOUD_STEPS).collect();
                self.changing += 1;
                self.tasks.spawn(tasks::apply(self.accounts[account].clone(), some, self.events.0.clone()));
            }
        }
    }

    /// Puts an op into the cloud's words; nothing if something has to be learned first.
    pub(super) fn request(&mut self, op: &Op) -> Option<(usize, CloudOp)> {
        let id = op.id(&self.world.synced)?.clone();
        let known = self.world.cloud.messages.get(&id)?;
        let (mailbox, flags) = (known.mailbox, known.flags);
        let change = match op {
            Op::SetCloudFlags { add, remove, .. } => {
                CloudChange::SetFlags { add: *add, remove: *remove, result: (flags | *add) - *remove }
            }
            Op::MoveInCloud { to, .. } => CloudChange::Move { to: self.mailbox(*to)?.folder.clone()? },
            Op::DeleteInCloud { mailbox, .. } => CloudChange::Delete(self.delete_action(*mailbox)?),
            _ => return None,
        };
        Some((self.mailbox(mailbox)?.account, CloudOp { id, change }))
    }

    /// The revision that a draft must still be at when it is deleted: what somebody has written in the cloud since then nobody
    /// has seen yet, and it holds against a deletion.
    fn must_still_be_at(&self, op: &Op) -> Option<Box<str>> {
        let message = op.id(&self.world.synced).and_then(|id| self.world.cloud.messages.get(id))?;
        let is_draft = message.flags.contains(Flags::DRAFT);
        message.revision.clone().filter(|_| is_draft && deletes_there(op))
    }

    /// How to delete from a mailbox: for good where deleted messages go already.
    pub(super) fn delete_action(&mut self, id: MailboxId) -> Option<DeleteAction> {
        let mailbox = self.mailbox(id)?;
        let action = mailbox.delete_action;
        match &mailbox.delete_target {
            // Archiving in the archive must not be the end of a message.
            DeleteTarget::Folder(target)
                if mailbox.folder.as_ref() == Some(target) && action == DeleteAction::Archive =>
            {
                Some(DeleteAction::Trash)
            }
            DeleteTarget::Folder(target) if mailbox.folder.as_ref() == Some(target) => Some(DeleteAction::Purge),
            DeleteTarget::Folder(_) | DeleteTarget::Nowhere => Some(action),
            DeleteTarget::Unknown => {
                let (account, events) = (self.accounts[mailbox.account].clone(), self.events.0.clone());
                if self.told.insert(format!("asking for the delete target of {}", id.0)) {
                    self.tasks.spawn(async move {
                        let target = account.delete_target(action).await.ok().flatten();
                        let _ = events.send(Event::DeleteTarget { mailbox: id, target }).await;
                    });
                }
                None
            }
        }
    }

    pub(super) fn postpone(&mut self, op: &Op, wait: Duration) {
        if let Some(id) = op.id(&self.world.synced).cloned() {
            self.world.begin_op(&id, op);
            self.postponed.push((Instant::now() + wait, id));
        }
    }

    /// Says that a message needn't wait any more. One that is being changed by now is left to that: it would be changed a
    /// second time at once.
    pub(super) fn end_waiting(&mut self, id: &RemoteId) {
        if !self.writing.contains(id) {
            self.world.end(id);
        }
    }

    pub(super) fn applied(&mut self, results: Vec<(Op, Outcome, Option<Exchange>)>) {
        self.changing -= 1;
        for (op, outcome, exchange) in results {
            let Some(id) = op.id(&self.world.synced).cloned() else { continue };
            self.writing.remove(&id);
            let mut reason = self.reasons.remove(&id).unwrap_or_else(|| self.reason(&op));
            (reason.at, reason.age) = (self.now(), self.age());
            reason.sent(exchange);
            let mut ask = self.ask_after.remove(&id);
            if !matches!(outcome, Outcome::Later(_) | Outcome::Unconfirmed { .. }) {
                self.note_answered(&id);
            }
            match outcome {
                Outcome::Unconfirmed { now, .. } if self.is_worth_another_try(&id) => {
                    debug!(%op, "Nobody knows whether the cloud made the change that it took");
                    let rest = self.confirm_what_was_made(op, &id, now.as_ref(), &reason);
                    self.note_unanswered(&id, rest, reason);
                    self.put_off(id, ask);
                    continue;
                }
                Outcome::Done { id: new, now } | Outcome::Unconfirmed { id: new, now } => {
                    self.note_answered(&id);
                    self.own_writes.insert(id.clone(), Instant::now());
                    self.setbacks.said_gone.remove(&id);
                    self.setbacks.unmoved.remove(&id);
                    if self.is_unmade(&op, now.as_ref()) {
                        let op = self.confirm_what_was_made(op, &id, now.as_ref(), &reason);
                        if self.is_worth_another_try(&id) {
                            debug!(%op, "The cloud took the change and didn't make it");
                            self.put_off(id, ask);
                            continue;
                        }
                        let what = format!("{op}: it took the change and didn't make it");
                        self.tell_once(&format!("the cloud refuses to {what}; it is kept here as it is"));
                        self.summary.refused.push(what);
                        self.setbacks.unmade.remove(&id);
                        self.world.refuse(&op, &reason, "it took the change and didn't make it".to_owned());
                    } else {
                        self.setbacks.unmade.remove(&id);
                        let now_called = new.clone().unwrap_or_else(|| id.clone());
                        self.done(&op, &id, new, now.as_ref(), &reason);
                        // The answer to one change may tell what became of another.
                        self.recognize_unanswered(&now_called);
                        self.note_crossing(&op);
                        if let Some(notice) = self.summary.count_cloud(&op) {
                            self.tell(&notice);
                        }
                    }
                }
                // Only a direct question tells whether it is gone or merely elsewhere. A message that is there by that
                // answer and gone by the next one as well can't be changed; that isn't tried for ever.
                Outcome::Gone if self.setbacks.said_gone.get(&id) != Some(&true) => {
                    self.setbacks.said_gone.insert(id.clone(), false);
                    ask = true;
                }
                Outcome::Gone => {
                    self.setbacks.said_gone.remove(&id);
                    self.world.refuse(&op, &reason, "it says that the message isn't there, and lists it".to_owned());
                }
                // Somebody else changed it: what it is now decides what is done.
                Outcome::Outdated => ask = true,
                Outcome::Later(error) => {
                    debug!(%op, %error, "Nobody knows whether the cloud made the change");
                    self.note_unanswered(&id, op, reason);
                    self.put_off(id, ask);
                    self.fail_if_passing(error);
                    continue;
                }
                Outcome::Refused(CloudError::NoSuchFolder { name, .. })
                    if let Some(to) = moved_to(&op)
                        && !self.is_surely_missing(&id, to, &name) =>
                {
                    // Its mailbox may be another folder by now.
                    self.look_for_folder(to);
                    self.put_off(id, ask);
                    continue;
                }
                Outcome::Refused(error) => {
                    let why = with_causes(&error);
                    let what = format!("{op}: {why}");
                    self.tell_once(&format!("the cloud refuses to {what}; it is kept here as it is"));
                    self.summary.refused.push(what);
                    self.world.refuse(&op, &reason, why.clone());
                    if let Op::UpdateDraft { base, .. } = &op {
                        self.refuse_upload(&base.file, &why);
                    }
                }
            }
            if ask {
                self.ask(None, vec![id]);
            } else {
                self.world.end(&id);
            }
        }
        self.end_rounds();
    }

    /// Counts the tries of a change of flags that wasn't made, or may not have been. Returns whether it is to be tried again.
    fn is_worth_another_try(&mut self, id: &RemoteId) -> bool {
        let times = self.setbacks.unmade.entry(id.clone()).or_default();
        *times += 1;
        *times < TRIES_OF_UNMADE
    }

    /// Lets a change that wasn't made be tried again later. What a page said of its message meanwhile was set aside, and is
    /// told only once, so that it must be asked for.
    fn put_off(&mut self, id: RemoteId, ask: bool) {
        self.postponed.push((Instant::now() + backoff(0), id.clone()));
        if ask {
            self.ask(None, vec![id]);
        }
    }

    /// Notes that a message is to be taken out of the deleted ones, though the cloud may not be asked yet. Should its file go
    /// before the cloud knows of that, it is deleted where it was put, not for good: it is among the deleted ones still, and
    /// comes back there.
    pub(super) fn note_taking_out(&mut self, op: &Op) {
        let Op::MoveInCloud { row, deletes: false, .. } = op else { return };
        if let Some(row) = self.world.synced.get(*row) {
            let (mailbox, file) = (row.mailbox, row.file.clone());
            self.note_taken_out(mailbox, &file);
        }
    }

    /// The same of files that were taken out of the deleted messages and removed where they were put, both within a moment.
    pub(super) fn keep_what_was_taken_out(&mut self) {
        for file in self.world.take_gone_further() {
            if let Some(row) = self.world.synced.by_file(&file).and_then(|row| self.world.synced.get(row)) {
                let mailbox = row.mailbox;
                self.note_taken_out(mailbox, &file);
            }
        }
    }

    fn note_taken_out(&mut self, mailbox: MailboxId, file: &FileKey) {
        if deleted_mailbox(&self.mailboxes, mailbox) == Some(mailbox) {
            self.world.forget_vanishing(file);
        }
    }

    /// Whether a message can't be moved to a folder although a poll that began after this was first said found it there.
    fn is_surely_missing(&mut self, id: &RemoteId, to: MailboxId, folder: &str) -> bool {
        let polled_at = self
            .mailbox(to)
            .filter(|mailbox| mailbox.folder.as_ref().is_some_and(|its| its.0 == folder))
            .and_then(|mailbox| mailbox.polled_at);
        match self.setbacks.unmoved.get(id) {
            Some((known, since)) if known == folder => polled_at.is_some_and(|at| at > *since),
            _ => {
                self.setbacks.unmoved.insert(id.clone(), (folder.to_owned(), Instant::now()));
                false
            }
        }
    }

    /// Whether the cloud says of a change of flags both that it is done and that the flags are still others. Of flags of
    /// which it keeps only one at a time, one that is there is enough.
    pub(super) fn is_unmade(&self, op: &Op, now: Option<&Seen>) -> bool {
        let (Op::SetCloudFlags { add, remove, .. }, Some(now)) = (op, now) else { return false };
        let exclusive = self.accounts.first().map_or(Flags::NONE, |account| account.capabilities().exclusive_flags);
        let mut expected = *add & now.known_flags;
        if !(expected & exclusive & now.flags).is_empty() {
            expected = expected - exclusive;
        }
        !((expected - now.flags) | (*remove & now.flags & now.known_flags)).is_empty()
    }

    /// Of a change of flags that the cloud made in part, confirms that part, and returns the rest. Otherwise what it did at our
    /// word would look like somebody else's wish.
    fn confirm_what_was_made(&mut self, op: Op, id: &RemoteId, now: Option<&Seen>, reason: &Reason) -> Op {
        let (Op::SetCloudFlags { row, add, remove, base }, Some(now)) = (&op, now) else { return op };
        let made = (*add | *remove) & (now.known_flags - (now.flags ^ *add));
        let Some(known) = self.world.synced.get(*row).filter(|_| !made.is_empty()) else { return op };
        let flags = Sides { local: known.flags.local.with(made, *add), cloud: known.flags.cloud.with(made, *add) };
        let after = Row { flags, ..known.clone() };
        let part = Op::SetCloudFlags { row: *row, add: *add & made, remove: *remove & made, base: after };
        let rest = Op::SetCloudFlags { row: *row, add: *add - made, remove: *remove - made, base: base.clone() };
        self.done(&part, id, None, Some(now), reason);
        rest
    }

    pub(super) fn done(&mut self, op: &Op, id: &RemoteId, new: Option<RemoteId>, now: Option<&Seen>, reason: &Reason) {
        let told = now.map(|seen| (seen.flags, seen.known_flags));
        match op {
            Op::DeleteInCloud { .. } => {
                self.world.confirm(op, &Answer { id: new, ..Answer::default() }, reason);
                self.world.drop_cloud(id);
                return;
            }
            Op::SetCloudFlags { add, remove, .. } => {
                if let Some(message) = self.world.cloud.messages.get(id) {
                    let mut message = message.clone();
                    message.flags = (message.flags | *add) - *remove;
                    if let Some((flags, known)) = told {
                        message.flags = message.flags.with(known, flags);
                    }
                    self.world.put_cloud(id.clone(), message);
                }
            }
            Op::UpdateDraft { base, .. } => {
                self.uploads.done(&base.file, &base.hash);
                if let Some(message) = self.world.cloud.messages.get(id) {
                    let mut message = message.clone();
                    // Its bytes are read back once.
                    message.hash = None;
                    message.revision = now.and_then(|seen| seen.revision.clone()).map(Into::into).or(message.revision);
                    if let (Some(_), Some(now)) = (&new, now) {
                        message.received = now.received.unwrap_or(message.received);
                        message.flags = message.flags.with(now.known_flags, now.flags);
                    }
                    self.world.put_cloud(id.clone(), message);
                }
            }
            Op::MoveInCloud { to, .. } => {
                if let Some(message) = self.world.cloud.messages.get(id) {
                    let mut message = message.clone();
                    message.mailbox = *to;
                    self.world.put_cloud(id.clone(), message);
                }
            }
            _ => {}
        }
        let new = new.filter(|new| new != id);
        if let Some(new) = &new
            && let Some(message) = self.world.cloud.messages.get(id).cloned()
        {
            self.world.put_cloud(new.clone(), message);
        }
        let revision = now.and_then(|seen| seen.revision.clone()).map(Into::into);
        let flags: Option<Flags> = self.world.cloud.messages.get(id).map(|message| message.flags);
        let received = now.and_then(|seen| seen.received);
        self.world.confirm(op, &Answer { id: new.clone(), flags, received, revision }, reason);
        if new.is_some() {
            self.world.drop_cloud(id);
        }
    }
}

/// The mailbox that an op moves a message to.
fn moved_to(op: &Op) -> Option<MailboxId> {
    match op {
        Op::MoveInCloud { to, .. } => Some(*to),
        _ => None,
    }
}
