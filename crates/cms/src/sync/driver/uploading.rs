//! Uploads: when a file is ready, what is asked of the cloud, and what each answer means for the trees.
//!
//! To make a message is the one step that must not be repeated blindly. Nothing is noted beforehand: each upload begins with
//! a look for the message that an earlier one, whose answer was lost, may have made.

use std::time::Duration;

use cms_cloud::Exchange;
use cms_cloud::contract::{CloudError, Created, Fidelity, FolderRole, Outcome, Seen};
use cms_engine::{
    Absence, Answer, CloudBytes, CloudMessage, ContentHash, FileKey, Flags, HashMap, LocalFile, MailboxId, MessageId,
    Op, Plan, Role, Row, Takes, Uploads as _,
};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::configuration::Upload;
use crate::problem::with_causes;
use crate::progress::bytes;
use crate::sync::SyncError;
use crate::sync::driver::{Driver, PAIRING_WINDOW, backoff};
use crate::sync::making::Making;
use crate::sync::original::Original;
use crate::sync::tasks::{self, Update, UploadEnd};
use crate::sync::uploads::Address;

/// How long a file must have been there before it is uploaded whose content another message has too: such a file may be one
/// half of a move, whose other half a mail program does when it is told to.
const COPY_WINDOW: Duration = Duration::from_secs(30);

/// How long until an upload is tried again of which nobody knows whether it was made. The service may still be at it.
const UNKNOWN_WAIT: Duration = Duration::from_secs(10);

/// Uploads under way at a time. Of each as much is held in memory as goes in one request.
const UPLOADS: usize = 2;

/// What an upload under way is of, and under which Message-ID it is known.
#[derive(Clone, Debug)]
pub(crate) struct Underway {
    pub(crate) op: Op,
    pub(crate) file: FileKey,
    pub(crate) message_id: MessageId,
    /// The one that it has until it is whole.
    pub(crate) unfinished: MessageId,
    /// What goes before the message's own header.
    pub(crate) prefix: String,
}

impl Driver {
    /// What is known of uploads when a plan is made.
    pub(super) fn prepare_uploads(&mut self) {
        let mut takes = HashMap::default();
        for mailbox in &self.mailboxes {
            let can = self.accounts[mailbox.account].capabilities().uploads;
            let role = match mailbox.role {
                None => Role::Unknown,
                Some(FolderRole::Drafts) => Role::Drafts,
                Some(FolderRole::Sent) => Role::Sent,
                Some(FolderRole::Other) => Role::Other,
            };
            let takes_of_it = Takes {
                drafts: mailbox.upload != Upload::None && can.drafts != Fidelity::Refused,
                others: mailbox.upload == Upload::Import && can.others != Fidelity::Refused,
                role,
            };
            takes.insert(mailbox.id, takes_of_it);
        }
        let full = !self.may_upload();
        let files = &self.world.local.files;
        self.uploads.begin(takes, full, |key| files.get(key).map(|file| (file.flags, file.hash)));
        if self.world.strangers().next().is_some() {
            self.ask_roles();
            self.keep_candidates();
        }
        if self.uploads.any() {
            // What an update that nobody has heard the answer of has made of one is compared with it.
            let edited = self.world.edited_drafts();
            self.keep_contents(edited);
        }
    }

    /// Asks what mailboxes are for: only once there is a file for which that matters.
    pub(super) fn ask_roles(&mut self) {
        for mailbox in &mut self.mailboxes {
            if let (None, false, Some(folder)) = (mailbox.role, mailbox.role_asked, &mailbox.folder) {
                mailbox.role_asked = true;
                self.asking += 1;
                let (account, folder) = (self.accounts[mailbox.account].clone(), folder.clone());
                self.tasks.spawn(tasks::ask_role(account, mailbox.id, folder, self.events.0.clone()));
            }
        }
    }

    pub(super) fn told_role(&mut self, id: MailboxId, role: Result<FolderRole, CloudError>) {
        self.asking -= 1;
        let Some(mailbox) = self.mailbox_mut(id) else { return };
        match role {
            Ok(role) => {
                mailbox.role = Some(role);
                self.let_go_those_that_await_roles();
            }
            Err(error) => {
                // Asked again with the next plan, which a poll brings at the latest.
                mailbox.role_asked = false;
                self.filing.await_roles.clear();
                self.paused_roles_until = Some(Instant::now() + backoff(0));
                self.fail_if_passing(error);
            }
        }
        self.world.touch_everything();
    }

    /// Takes the content of files that may be uploaded into the store: what they are for, and what they are known by in the
    /// cloud, is in their headers.
    fn keep_candidates(&mut self) {
        let takes = |mailbox: MailboxId| self.uploads.takes(mailbox);
        let any_file = self.mailboxes.iter().any(|mailbox| {
            let Takes { drafts, others, role } = takes(mailbox.id);
            others || role == Role::Sent || (drafts && matches!(role, Role::Drafts | Role::Unknown))
        });
        if !any_file && !self.uploads.any() {
            return;
        }
        let candidate = |key: &&FileKey| {
            let Some(file) = self.world.local.files.get(key) else { return false };
            let concerned = any_file || file.flags.contains(Flags::DRAFT);
            concerned && !self.uploads.is_given_up(key) && self.kept.get(*key).copied() != file.hash
        };
        let candidates: Vec<FileKey> = self.world.strangers().filter(candidate).cloned().collect();
        self.keep_contents(candidates);
    }

    fn keep_contents(&mut self, files: Vec<FileKey>) {
        for key in files {
            if self.kept.get(&key).copied() == self.world.local.files.get(&key).and_then(|file| file.hash) {
                continue;
            }
            match self.local.keep_file(&mut self.world, &self.store, &key) {
                Ok(()) => {
                    if let Some(hash) = self.world.local.files.get(&key).and_then(|file| file.hash) {
                        self.kept.insert(key, hash);
                    }
                }
                Err(error) => {
                    debug!(file = %key.base_name, %error, "Couldn't take a file into the store");
                    self.uploads.miss_a_content();
                }
            }
        }
    }

    /// Notes which files wait to be uploaded, and until when. Where `routing_failed`, it isn't known for good which ones
    /// nobody takes.
    pub(super) fn note_unripe(&mut self, plan: &Plan, routing_failed: bool) {
        let now = Instant::now();
        for key in &plan.unripe {
            if self.uploads.ready_at(key).is_none() {
                let hash = self.world.local.files.get(key).and_then(|file| file.hash);
                let is_row = self.world.synced.by_file(key).is_some();
                let copied = !is_row && hash.is_some_and(|hash| self.is_of_another_message(&hash));
                self.uploads.wait_until(key, now + if copied { COPY_WINDOW } else { PAIRING_WINDOW });
            }
        }
        if self.uploads.any() && !routing_failed {
            for key in &plan.local_only {
                if let Some(LocalFile { flags, hash, .. }) = self.world.local.files.get(key) {
                    self.uploads.give_up(key, *flags, *hash);
                }
            }
        }
        self.unripe = plan.unripe.iter().cloned().collect();
    }

    fn is_of_another_message(&self, hash: &ContentHash) -> bool {
        self.world.synced.has_content(hash)
    }

    /// Whether an upload can begin. Before every mailbox was polled, it isn't known what an earlier run has uploaded.
    fn may_upload(&self) -> bool {
        self.uploading.len() < UPLOADS && self.mailboxes.iter().all(|mailbox| mailbox.polled)
    }

    /// When the next file may be ready. What else one waits for comes with an event.
    pub(super) fn next_upload(&self) -> Option<Instant> {
        self.uploads.next_ready().filter(|_| self.may_upload())
    }

    /// Plans again for files whose time has come.
    pub(super) fn look_at_unripe(&mut self, now: Instant) {
        if self.paused_roles_until.is_some_and(|at| at <= now) {
            self.paused_roles_until = None;
            self.world.touch_everything();
        }
        if self.may_upload() {
            for key in self.uploads.wake(now) {
                self.world.touch_file(&key);
            }
        }
    }

    /// Whether files wait to be uploaded.
    pub(super) fn has_unripe(&self) -> bool {
        !self.unripe.is_empty() || !self.uploading.is_empty()
    }

    /// Begins an upload by looking for what an earlier one may have made.
    pub(super) fn begin_upload(&mut self, op: Op) -> Result<(), SyncError> {
        let Op::Upload { file, hash, mailbox, draft, .. } = &op else { return Ok(()) };
        let (file, hash, mailbox, draft) = (file.clone(), *hash, *mailbox, *draft);
        // A file of a content that goes up already may be the same under another name. If it is a second one, what the first
        // one has made must be known before it is looked for.
        if self.uploading.len() >= UPLOADS || self.uploading.values().any(|its| *its == hash) {
            self.unripe.insert(file);
            return Ok(());
        }
        // What was delivered for nothing isn't what anybody has written.
        let is_leftover = self.world.leftovers.contains_key(&file);
        let size = if is_leftover { None } else { self.sendable_size(&file, &hash, mailbox, draft) };
        let Some(size) = size else {
            if !self.uploads.is_given_up(&file) {
                self.let_wait(&file);
            }
            return Ok(());
        };
        let Some(account) = self.mailbox(mailbox).map(|mailbox| mailbox.account) else { return Ok(()) };
        let account = self.accounts[account].clone();
        let Some(Address { message_id, prefix }) = self.address(&hash, &file) else {
            self.let_wait(&file);
            return Ok(());
        };
        let at_once = size + prefix.len() as u64 <= account.capabilities().uploads.longest_at_once_bytes;
        let Some(unfinished) = self.begin_unfinished(mailbox, (&hash, &message_id), &file, at_once)? else {
            self.let_wait(&file);
            return Ok(());
        };
        tell_that_it_takes_a_while(&file, size, at_once);
        self.world.begin_file(&file);
        self.uploading.insert(file.clone(), hash);
        self.changing += 1;
        let underway = Underway { op, file, message_id, unfinished, prefix };
        self.tasks.spawn(tasks::find_upload(account, underway, self.events.0.clone()));
        Ok(())
    }

    /// Tries an upload again after a while.
    fn let_wait(&mut self, file: &FileKey) {
        self.uploads.wait_until(file, Instant::now() + backoff(0));
        self.unripe.insert(file.clone());
    }

    /// What a content is known by in the cloud, unless that can't be found out now.
    fn address(&mut self, hash: &ContentHash, file: &FileKey) -> Option<Address> {
        let why = match self.uploads.address(hash) {
            Ok(address) if !self.uploads.is_uncertain() => return Some(address),
            Ok(_) => "a stored message that it may be a version of can't be read".to_owned(),
            Err(error) => with_causes(&error),
        };
        self.tell_of_disk(format!("`{}` can't be uploaded yet: {why}; it is tried again", file.base_name));
        None
    }

    /// Makes sure that a file can be sent as the plan means it, and says how many bytes it has with CRLF line ends. One that
    /// can't ever be sent is told and left.
    fn sendable_size(&mut self, file: &FileKey, hash: &ContentHash, mailbox: MailboxId, draft: bool) -> Option<u64> {
        if let Err(error) = self.local.keep_file(&mut self.world, &self.store, file) {
            debug!(file = %file.base_name, %error, "A file that is to be uploaded isn't what it was; looking again");
            self.rescan(self.watching.then_some(Absence::Settling));
            return None;
        }
        let can = self.accounts[self.mailbox(mailbox)?.account].capabilities().uploads;
        let longest = if draft { can.longest_draft_bytes } else { can.longest_other_bytes };
        let size = self.store.wire_size_of(hash).ok()?;
        if size > longest {
            self.refuse_upload(
                file,
                &format!("it has {}, and no message of more than {} is taken", bytes(size), bytes(longest)),
            );
            return None;
        }
        Some(size)
    }

    /// An answer to the question whether an upload was made already.
    pub(super) fn found_upload(&mut self, underway: Underway, found: Result<Vec<Seen>, CloudError>) {
        let Op::Upload { hash, mailbox, draft, .. } = &underway.op else { return };
        let Some(folder) = self.mailbox(*mailbox).and_then(|mailbox| mailbox.folder.clone()) else {
            self.end_unfinished(&underway.unfinished, true);
            return self.upload_later(&underway.file, backoff(0));
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.end_unfinished(&underway.unfinished, true);
                self.upload_later(&underway.file, backoff(0));
                return self.fail_if_passing(error);
            }
        };
        // One that a row links is another message, and so is one elsewhere that isn't a draft.
        let may_be_ours = |seen: &Seen| {
            let in_place = seen.folder.as_ref() == Some(&folder) || (*draft && seen.flags.contains(Flags::DRAFT));
            in_place && self.world.synced.by_remote(&seen.id).is_none()
        };
        let (candidates, others): (Vec<Seen>, Vec<Seen>) = found.into_iter().partition(may_be_ours);
        let Some(account) = self.mailbox(*mailbox).map(|mailbox| mailbox.account) else { return };
        let making = Making {
            account: self.accounts[account].clone(),
            folder,
            original: Original { store: self.store.clone(), hash: *hash, prefix: underway.prefix.clone() },
            draft: *draft,
            candidates,
            others: others.into_iter().map(|other| other.id).collect(),
        };
        self.tasks.spawn(making.run(underway, self.events.0.clone()));
    }

    /// What became of an upload.
    pub(super) fn uploaded(&mut self, end: UploadEnd) {
        let UploadEnd { underway, created, found, moved, exchange } = end;
        let Underway { op, file, unfinished, .. } = underway;
        let Op::Upload { hash, .. } = &op else { return };
        self.end_unfinished(&unfinished, matches!(created, Created::Made(_)));
        match created {
            Created::Made(seen)
                if found
                    && !moved
                    && !self.uploads.is_earlier_upload(hash)
                    && !self.world.cloud.messages.contains_key(&seen.id) =>
            {
                // The next plan joins the two, like all that meet for the first time.
                self.put_message(&seen, &op);
                self.unripe.insert(file.clone());
                self.end_upload(&file);
            }
            Created::Made(seen) => {
                self.unripe.remove(&file);
                self.uploads.done(&file, hash);
                self.unfinished.forget_setbacks(hash);
                // Once it has a row, it is remembered that its file was seen to go meanwhile.
                self.link_upload(&op, &seen, moved, exchange);
                self.end_upload(&file);
            }
            Created::Unknown(error) => {
                warn!(
                    "it isn't known whether `{}` reached the cloud ({}); looking for it before anything else",
                    file.base_name,
                    with_causes(&error)
                );
                self.uploads.doubt(*hash);
                self.upload_later(&file, UNKNOWN_WAIT);
                self.fail(SyncError::Cloud(error));
            }
            // What an earlier attempt may have made went while it was looked at. It is looked for anew.
            Created::Later(CloudError::Gone) => self.upload_later(&file, backoff(0)),
            Created::Later(error) => {
                self.upload_later(&file, backoff(0));
                self.fail_if_passing(error);
            }
            Created::Refused(error) => {
                self.end_upload(&file);
                self.refuse_upload(&file, &with_causes(&error));
            }
        }
    }

    fn link_upload(&mut self, op: &Op, seen: &Seen, moved: bool, exchange: Option<Exchange>) {
        if self.world.synced.by_remote(&seen.id).is_some() {
            // What was found of an earlier attempt has become another file's meanwhile.
            return;
        }
        let Some(CloudMessage { flags, received, .. }) = self.put_message(seen, op) else { return };
        let mut reason = self.reason(op);
        reason.sent(exchange);
        let answer = Answer {
            id: Some(seen.id.clone()),
            flags: Some(flags),
            received: Some(received),
            // What it is after a move may be what somebody has made of it since it was uploaded.
            revision: seen.revision.clone().filter(|_| !moved).map(Into::into),
        };
        self.world.confirm(op, &answer, &reason);
        self.own_writes.insert(seen.id.clone(), Instant::now());
        if let Some(notice) = self.summary.count_cloud(op) {
            self.tell(&notice);
        }
    }

    /// Writes the message of an upload into the Cloud tree. Its bytes are read back once. If the cloud has told something else of
    /// it meanwhile, nobody knows which was later, and it is asked for.
    fn put_message(&mut self, seen: &Seen, op: &Op) -> Option<CloudMessage> {
        let Op::Upload { mailbox, draft, .. } = op else { return None };
        let place = self.mailboxes.iter().find(|one| one.folder.is_some() && one.folder == seen.folder);
        let mailbox = place.map_or(*mailbox, |place| place.id);
        let flags = seen.flags & seen.known_flags | if *draft { Flags::DRAFT } else { Flags::NONE };
        let received = seen.received.unwrap_or_else(|| self.now());
        let revision = seen.revision.clone().map(Into::into);
        let message = CloudMessage { mailbox, flags, received, hash: None, revision, blocked: false };
        let differs = |told: &CloudMessage| {
            (told.mailbox, told.flags, &told.revision) != (message.mailbox, message.flags, &message.revision)
        };
        let is_doubtful = self.world.cloud.messages.get(&seen.id).is_some_and(differs);
        self.world.put_cloud(seen.id.clone(), message.clone());
        if is_doubtful || self.uploads.gone_meanwhile.contains(&seen.id) {
            self.ask(None, vec![seen.id.clone()]);
        }
        Some(message)
    }

    fn upload_later(&mut self, file: &FileKey, wait: Duration) {
        self.end_upload(file);
        self.uploads.wait_until(file, Instant::now() + wait);
        self.unripe.insert(file.clone());
    }

    fn end_upload(&mut self, file: &FileKey) {
        self.changing -= 1;
        self.uploading.remove(file);
        if self.uploading.is_empty() {
            self.uploads.gone_meanwhile.clear();
        }
        self.uploads.rouse();
        self.world.end_file(file);
        self.plan_at.get_or_insert_with(Instant::now);
    }

    /// Leaves a file that the cloud doesn't take where it is.
    pub(super) fn refuse_upload(&mut self, file: &FileKey, why: &str) {
        if let Some(LocalFile { flags, hash, .. }) = self.world.local.files.get(file) {
            self.uploads.give_up(file, *flags, *hash);
        }
        self.unripe.remove(file);
        self.tell_once(&format!(
            "the cloud doesn't take a message that is only here, such as `{}`: {why}",
            file.base_name
        ));
        self.world.touch_file(file);
    }

    /// Gives a draft in the cloud the content that its file has.
    pub(super) fn begin_update(&mut self, op: Op) -> Result<(), SyncError> {
        let Op::UpdateDraft { base, revision, .. } = &op else { return Ok(()) };
        let (id, file, hash, revision) = (base.remote.clone(), base.file.clone(), base.hash, revision.clone());
        let Some(mailbox) = self.world.cloud.messages.get(&id).map(|message| message.mailbox) else { return Ok(()) };
        let Some(size) = self.sendable_size(&file, &hash, mailbox, true) else {
            self.postpone(&op, backoff(0));
            return Ok(());
        };
        let Some(account) = self.mailbox(mailbox).map(|mailbox| mailbox.account) else { return Ok(()) };
        let account = self.accounts[account].clone();
        let Some(Address { prefix, message_id }) = self.address(&hash, &file) else {
            self.postpone(&op, backoff(0));
            return Ok(());
        };
        let at_once = size + prefix.len() as u64 <= account.capabilities().uploads.longest_at_once_bytes;
        let Some(unfinished) = self.begin_unfinished(mailbox, (&hash, &message_id), &file, at_once)? else {
            self.postpone(&op, backoff(0));
            return Ok(());
        };
        tell_that_it_takes_a_while(&file, size, at_once);
        let reason = self.reason(&op);
        self.reasons.insert(id.clone(), reason);
        self.world.begin_change(&id, &op);
        self.writing.insert(id);
        self.changing += 1;
        let original = Original { store: self.store.clone(), hash, prefix };
        let update = Update { op, original, message_id, unfinished, revision };
        self.tasks.spawn(tasks::update_draft(account, update, self.events.0.clone()));
        Ok(())
    }

    /// What became of an update, as far as it took the draft's place with another one.
    pub(super) fn updated(&mut self, op: &Op, outcome: &Outcome, unfinished: &MessageId) {
        if let (Op::UpdateDraft { base, .. }, Outcome::Later(_)) = (op, outcome)
            && self.unfinished.contains(unfinished)
        {
            self.uploads.doubt(base.hash);
        }
        if let (Op::UpdateDraft { base, .. }, Outcome::Done { .. }) = (op, outcome) {
            self.unfinished.forget_setbacks(&base.hash);
        }
        self.end_unfinished(unfinished, matches!(outcome, Outcome::Done { .. }));
    }

    /// Tells once, when an upload is read back, what the cloud made of it.
    pub(super) fn tell_stored_form(&self, before: Option<&Row>, after: &Row) {
        let unread = before.is_none_or(|row| row.cloud_bytes == CloudBytes::Unread);
        let name = &after.file.base_name;
        let there = match after.cloud_bytes {
            CloudBytes::Other(there) if unread => there,
            CloudBytes::Same if unread && before.is_some() => {
                return info!(file = %name, "The cloud has it as it is here");
            }
            CloudBytes::Other(_) | CloudBytes::Same | CloudBytes::Unread => return,
        };
        let Some(difference) = self.uploads.difference(&after.hash, &there) else {
            return info!(file = %name, "The cloud has built it anew; the original stays here");
        };
        if difference.keeps_everything() {
            info!(file = %name, "The cloud has it with more than is here ({difference})");
        } else {
            warn!("the cloud has built `{name}` anew ({difference}); the original stays here");
        }
    }

    /// Forgets what was kept of files that are gone.
    pub(super) fn forget_kept(&mut self) {
        let Self { kept, world, .. } = self;
        if kept.len() > 2 * world.local.files.len().max(100) {
            kept.retain(|key, _| world.local.files.contains_key(key));
        }
    }
}

fn tell_that_it_takes_a_while(file: &FileKey, size: u64, at_once: bool) {
    if !at_once {
        info!(file = %file.base_name, "Goes to the cloud in several requests ({})", bytes(size));
    }
}

/// The files without a row whose content is in the store.
pub(super) type Kept = HashMap<FileKey, ContentHash>;
