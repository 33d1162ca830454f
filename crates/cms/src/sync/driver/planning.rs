//! From touched trees to steps: the planner's policy, and who carries out what it says.

use std::sync::Arc;
use std::time::Duration;

use cms_cloud::contract::FolderRole;
use cms_engine::{
    Absence, Flags, HashSet, MailboxId, Op, Plan, Policy, RemoteId, Role, Row, RowId, Side, Uploads, Word,
};
use cms_store::Wanted;
use tokio::time::Instant;

use crate::sync::driver::{DeleteTarget, Driver, LOCAL_STEPS, Mailbox, PAIRING_WINDOW};
use crate::sync::journal::Reason;
use crate::sync::{Start, SyncError};

/// How long until a message's Maildir is asked for again, after its content or the configuration didn't tell.
const ROUTING_RETRY: Duration = Duration::from_secs(30);

/// How long a message that was sent just now waits for the file that a mail program may be filing of it.
const FILING_WINDOW: Duration = Duration::from_secs(3);

/// How long ago that is at the most, in seconds. Two clocks may differ.
const LATELY_SENT: i64 = 120;

/// The messages that a mail program may be filing a file of.
#[derive(Default)]
pub(super) struct Filing {
    /// Those that have waited for it.
    pub(super) waited_for: HashSet<RemoteId>,
    /// Those of the postponed that wait to know what their mailbox is for.
    pub(super) await_roles: Vec<(Instant, RemoteId)>,
}

/// Which mailbox has the deleted messages of another one.
pub(super) fn deleted_mailbox(all: &[Mailbox], mailbox: MailboxId) -> Option<MailboxId> {
    let mailbox = all.iter().find(|known| known.id == mailbox)?;
    let DeleteTarget::Folder(target) = &mailbox.delete_target else { return None };
    let is_target = |other: &&Mailbox| other.account == mailbox.account && other.folder.as_ref() == Some(target);
    all.iter().find(is_target).map(|other| other.id)
}

impl Driver {
    pub(super) fn plan(&mut self) -> Plan {
        self.end_cycles();
        self.prepare_uploads();
        let mailboxes: Vec<MailboxId> = self.mailboxes.iter().map(|mailbox| mailbox.id).collect();
        let capabilities = self.accounts.first().map(|account| account.capabilities());
        let all = &self.mailboxes;
        let deleted_mailbox = |mailbox: MailboxId| deleted_mailbox(all, mailbox);
        let same_account = |one: MailboxId, other: MailboxId| {
            let account = |id| all.iter().find(|known| known.id == id).map(|mailbox| mailbox.account);
            account(one) == account(other)
        };
        let scopes = Arc::clone(&self.world.scopes);
        let may_go = self.rows_that_may_go();
        let policy = Policy {
            mailboxes: &mailboxes,
            same_account: &same_account,
            readable_flags: capabilities.map_or(Flags::NONE, |can| can.readable_flags),
            settable_flags: capabilities.map_or(Flags::NONE, |can| can.settable_flags),
            exclusive_flags: capabilities.map_or(Flags::NONE, |can| can.exclusive_flags),
            deleted_mailbox: &deleted_mailbox,
            keeps: &|row: RowId, mailbox| scopes.keeps(row, mailbox),
            since: &|mailbox| scopes.since(mailbox),
            first_meeting: if self.start == Start::Offline { Side::Local } else { Side::Cloud },
            max_deletions: self.max_deletions,
            deleted_lately: self.holding.deleted_lately(),
            word: &|row: RowId| self.holding.word(row).or_else(|| may_go.contains(&row).then_some(Word::Delete)),
            folder_was_removed: &|row: RowId| self.holding.is_of_removed_folder(row),
            router: &self.routing,
            uploads: &self.uploads,
            host: &self.host,
        };
        self.local.recognize_saved_copies(&mut self.world);
        self.world.plan(&policy)
    }

    /// Notes what a run that was killed had put in place and not noted, before the cloud tells of anything newer. Once a
    /// message is gone there, or a draft has another version, nobody would know any more what its file is.
    pub(super) fn note_what_was_left(&mut self) {
        if !self.world.has_unnoted() {
            return;
        }
        for op in self.plan().ops {
            let noted = match op {
                Op::Replace { .. } | Op::Record { .. } => op,
                Op::SetCloudFlags { row, base, .. } => match self.world.agreed_already(row, &base) {
                    Some(flags) => Op::Record { row: Some(row), base: Row { flags, ..base } },
                    None => continue,
                },
                // These come before the flags.
                Op::MoveInCloud { row, base, .. } | Op::UpdateDraft { row, base, .. } => {
                    match self.world.agreed_already(row, &base).zip(self.world.synced.get(row)) {
                        Some((flags, old)) => Op::Record { row: Some(row), base: Row { flags, ..old.clone() } },
                        None => continue,
                    }
                }
                _ => continue,
            };
            if !self.act_here(&noted) {
                break;
            }
        }
        self.world.touch_everything();
    }

    pub(super) fn plan_and_act(&mut self) -> Result<(), SyncError> {
        self.plan_at = None;
        if self.paused_until.is_some() || self.compare_first {
            return Ok(());
        }
        self.flips.heed(|row| self.world.touches(row), Instant::now());
        self.take_back_leftovers();
        let plan = self.plan();
        let routing_failed = self.routing.take_failed();
        if routing_failed {
            // What waits for an answer is asked for again by time alone.
            self.routing_retry_at = Some(Instant::now() + ROUTING_RETRY);
        }
        let missing = self.routing.take_missing();
        if !missing.is_empty() {
            self.world.forget_contents(&missing);
        }
        if self.must_look_twice(&plan.ops) {
            self.plan_at = Some(Instant::now());
            return Ok(());
        }
        // What a file is given because the cloud said so must not look like the user's wish, should this run end before it is
        // noted and the cloud say otherwise by then.
        if plan.ops.iter().any(|op| matches!(op, Op::Rename { .. })) {
            self.write_down()?;
            if self.paused_until.is_some() {
                plan.ops.iter().for_each(|op| self.world.touch_op(op));
                return Ok(());
            }
        }
        self.note_held(&plan);
        self.note_local_only(&plan);
        let unread = self.world.has_unread();
        let uncertain = self.uploads.is_uncertain();
        let all_readable = self.all_readable();
        self.note_unripe(&plan, routing_failed);
        self.forget_kept();
        let mut steps = 0;
        let mut cloud_steps = Vec::new();
        let mut others = Vec::new();
        let mut ops = plan.ops.into_iter();
        for op in ops.by_ref() {
            match op {
                op if self.is_frozen(&op) => self.world.keep_in_scope(&op),
                Op::Fetch { id } if self.recognize(&id) => {}
                Op::Fetch { id } => {
                    self.world.begin(&id);
                    self.queue_download(id);
                }
                // What a mailbox has to tell since the last run is heard before it is changed: a draft that was edited
                // there meanwhile must not fall to a deletion here.
                Op::SetCloudFlags { .. } | Op::MoveInCloud { .. } | Op::DeleteInCloud { .. } => {
                    self.note_taking_out(&op);
                    if deletes_there(&op) && !all_readable {
                        // It may be the end of a move into the Maildir that can't be read, and is planned anew with it.
                        self.world.keep_in_scope(&op);
                    } else if deletes_there(&op) && (unread || uncertain && self.is_of_draft(&op)) {
                        // One of the files may be a copy, and this the end of a move; or a draft's next version.
                        self.postpone(&op, self.until_read_again());
                    } else if self.is_heard(&op) {
                        cloud_steps.push(op);
                    } else {
                        self.world.keep_in_scope(&op);
                    }
                }
                // A file that can't be read may be this message: moved, or where the state that told of it was lost.
                Op::Deliver { ref row, .. } if unread || uncertain && row.is_none() => {
                    self.postpone(&op, self.until_read_again());
                }
                Op::Deliver { row: None, ref base } if !all_readable && self.may_be_an_upload_unheard_of(base) => {
                    // It is looked at again once everything can be read.
                    self.world.keep_in_scope(&op);
                }
                // It has its Message-ID already, and the answer to the last of the requests that make it hasn't come.
                Op::Deliver { row: None, ref base } if self.is_being_made(base) => self.postpone(&op, PAIRING_WINDOW),
                // The file that a mail program has filed of a message that it has just sent is about to be heard of.
                Op::Deliver { row: None, ref base } if self.may_be_filed_here(base) => {
                    self.wait_for_file(&op, base.mailbox);
                }
                Op::Deliver { row: None, ref base } if self.may_be_another(base, &mut others) => {}
                // What is missing may be in the Maildir that can't be read.
                Op::Deliver { row: Some(_), .. } | Op::Forget { .. } if !all_readable => self.world.keep_in_scope(&op),
                // Nor is a draft brought back that may have been written anew: what the cloud has by now tells.
                Op::Deliver { row: Some(_), ref base } if is_draft(base) && !self.is_heard(&op) => {
                    self.world.keep_in_scope(&op);
                }
                // What the mailbox told may lag behind what an earlier run has told it. Only a question is sure.
                Op::Deliver { row: Some(_), ref base }
                    if is_draft(base) && self.drafts_asked_for.insert(base.remote.clone()) =>
                {
                    self.ask(None, vec![base.remote.clone()]);
                    self.world.keep_in_scope(&op);
                }
                op @ Op::UpdateDraft { .. } if self.is_heard(&op) => self.begin_update(op)?,
                op @ Op::UpdateDraft { .. } => self.world.keep_in_scope(&op),
                op @ Op::Upload { .. } => self.begin_upload(op)?,
                op if steps < LOCAL_STEPS => {
                    steps += usize::from(!matches!(op, Op::Record { .. } | Op::Forget { .. }));
                    if !self.act_here(&op) {
                        break;
                    }
                }
                op => self.world.touch_op(&op),
            }
        }
        // What the rest was planned from isn't what the trees say by now.
        for op in ops {
            self.world.touch_op(&op);
        }
        self.note_and_act_there(cloud_steps)?;
        self.ask_for_others(others);
        if self.world.is_touched() && self.paused_until.is_none() {
            self.plan_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Before anything follows from what a listing didn't show, or showed with the Trash flag, everything is listed again,
    /// until a listing finds nothing new.
    ///
    /// Directories are listed one after the other. A file that is moved meanwhile may be missing in both; and a Trash flag
    /// seen in the second may end a move whose copy had gone into the first after that was listed. The watcher's events
    /// need no such care, since they come in the order in which things happened; but a file that one of them tells of may be
    /// gone again when it is looked at. A message without a row may have a file that was renamed during the first listing,
    /// where the state was lost.
    fn must_look_twice(&mut self, steps: &[Op]) -> bool {
        self.needs_second_look |= std::mem::take(&mut self.world.missed);
        let listed_once = self.listed_once;
        let follows_from_absence = |op: &Op| match op {
            // What nobody has any more may have been moved, and would stay as a file that no message belongs to.
            Op::Forget { .. }
            | Op::DeleteInCloud { .. }
            | Op::MoveInCloud { deletes: true, .. }
            | Op::Deliver { row: Some(_), .. } => true,
            Op::Deliver { row: None, .. } => listed_once,
            _ => false,
        };
        if !self.needs_second_look || !steps.iter().any(follows_from_absence) {
            return false;
        }
        self.rescan(self.watching.then_some(Absence::Settling));
        self.needs_second_look = self.world.is_touched() || self.world.missed;
        self.listed_once &= self.needs_second_look;
        self.world.touch_everything();
        true
    }

    /// Notes that a change crossed over. A message that goes on changing to and fro is left alone for a while.
    pub(super) fn note_crossing(&mut self, op: &Op) {
        if let Some(row) = op.row().filter(|_| crosses(op))
            && self.flips.note(row, Instant::now())
            && let Some(row) = self.world.synced.get(row)
        {
            let file = row.file.base_name.clone();
            self.tell_once(&format!(
                "`{file}` is changed again and again, as if two programs couldn't agree about it; it is left as it is on both sides until nothing happened to it for ten minutes"
            ));
        }
    }

    fn is_frozen(&self, op: &Op) -> bool {
        crosses(op) && op.row().is_some_and(|row| self.flips.is_frozen(row))
    }

    /// Why a step is taken. Ask before it is.
    pub(super) fn reason(&self, op: &Op) -> Reason {
        let reason = self.world.reason(op, self.now(), self.age());
        let of_word = op.row().is_some_and(|row| self.holding.word(row).is_some());
        let wanted = if of_word && reason.undo.is_none() { Wanted::Word } else { reason.wanted };
        Reason { wanted, ..reason }
    }

    /// Whether a message was sent just now, so that a mail program may be filing its own copy of it: the two are one message.
    /// What a mailbox is for is asked when the first new message comes.
    fn may_be_filed_here(&mut self, base: &Row) -> bool {
        let is_new = (self.now().0 - base.received.0).abs() < LATELY_SENT;
        if !is_new || !self.watching || self.filing.waited_for.contains(&base.remote) {
            return false;
        }
        let role = self.mailbox(base.mailbox).and_then(|mailbox| mailbox.role);
        if role.is_none() {
            self.ask_roles();
        }
        let may_be = match role {
            Some(role) => role == FolderRole::Sent,
            None => self.asking > 0,
        };
        if may_be && role.is_some() {
            self.filing.waited_for.insert(base.remote.clone());
        }
        may_be
    }

    /// Has a new message wait for the file that a mail program may be filing of it, or until its mailbox is known to be for
    /// something else.
    fn wait_for_file(&mut self, op: &Op, mailbox: MailboxId) {
        self.postpone(op, FILING_WINDOW);
        if self.mailbox(mailbox).is_none_or(|mailbox| mailbox.role.is_none()) {
            self.filing.await_roles.extend(self.postponed.last().cloned());
        }
    }

    /// Has the messages planned anew that waited to know what their mailbox is for. Most mailboxes are for nothing that takes
    /// longer.
    pub(super) fn let_go_those_that_await_roles(&mut self) {
        let waiting = std::mem::take(&mut self.filing.await_roles);
        let over: Vec<_> = self.postponed.extract_if(.., |entry| waiting.contains(entry)).collect();
        for (_, id) in &over {
            self.end_waiting(id);
        }
        if !over.is_empty() {
            self.plan_at = Some(Instant::now());
        }
    }

    /// Whether a draft may be what an upload has made that nobody here heard of: an earlier run ended before the answer, or
    /// it never came. Its file, by which it would be known, may be in a Maildir that can't be read now. A draft that was made
    /// later is somebody else's.
    fn may_be_an_upload_unheard_of(&self, base: &Row) -> bool {
        let is_made_there = matches!(self.uploads.takes(base.mailbox).role, Role::Drafts | Role::Unknown);
        let are_taken = self.mailboxes.iter().any(|mailbox| self.uploads.takes(mailbox.id).drafts);
        is_draft(base) && is_made_there && are_taken && self.uploads.may_be_unheard_of(base.received)
    }

    /// Whether a draft is one that takes several requests, and isn't known to be whole yet.
    fn is_being_made(&self, base: &Row) -> bool {
        is_draft(base) && self.uploads.message_id(&base.hash).is_some_and(|id| self.unfinished.becomes(&id))
    }

    fn is_of_draft(&self, op: &Op) -> bool {
        op.row().and_then(|row| self.world.synced.get(row)).is_some_and(is_draft)
    }

    /// Whether the mailbox that a message is in has been polled since the start.
    pub(super) fn is_heard(&self, op: &Op) -> bool {
        let message = op.id(&self.world.synced).and_then(|id| self.world.cloud.messages.get(id));
        message.and_then(|message| self.mailbox(message.mailbox)).is_some_and(|mailbox| mailbox.polled)
    }
}

/// Whether an op brings flags or a place from one side to the other, which can go on without end. A deletion can't.
fn crosses(op: &Op) -> bool {
    matches!(op, Op::Rename { .. } | Op::SetCloudFlags { .. } | Op::MoveInCloud { deletes: false, .. })
}

fn is_draft(row: &Row) -> bool {
    row.flags.cloud.contains(Flags::DRAFT)
}

/// Whether a step deletes a message in the cloud.
pub(super) fn deletes_there(op: &Op) -> bool {
    matches!(op, Op::DeleteInCloud { .. } | Op::MoveInCloud { deletes: true, .. })
}
