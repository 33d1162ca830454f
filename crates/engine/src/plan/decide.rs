//! What is done about one message, once it is known who is who. The table in the parent's documentation, as code.

use crate::op::{base as new_base, first_flags};
use crate::plan::matching::{Found, Here, Matched, There};
use crate::plan::{Plan, Policy, Readiness, Role, Word};
use crate::{
    Absence, BaseName, CloudBytes, CloudMessage, CloudTree, ContentHash, FileKey, Flags, HashSet, LocalFile, LocalTree,
    MailboxId, MaildirId, Op, RemoteId, Row, RowId, Side, Sides, SyncedTree,
};

/// The plan in the making, with all that it depends on.
pub(super) struct Deciding<'a> {
    pub(super) plan: Plan,
    cloud: &'a CloudTree,
    local: &'a LocalTree,
    synced: &'a SyncedTree,
    policy: &'a Policy<'a>,
    /// The places that this plan's steps fill, so that no two of them fill the same.
    claimed: HashSet<FileKey>,
}

/// What the user meant by moving a message's file to another Maildir.
enum Filed {
    /// To file the message into that mailbox.
    Into(MailboxId),
    /// The message belongs there as it is, or no mailbox leads there: it is filed here and nowhere else.
    HereOnly,
    /// Which Maildir it belongs to can't be told now.
    NobodyKnows,
}

/// A row with its message.
#[derive(Clone, Copy)]
struct Known<'a> {
    row: RowId,
    base: &'a Row,
    id: &'a RemoteId,
    message: &'a CloudMessage,
    /// Whether the cloud has another version of it.
    edited_there: bool,
    /// The file of that version, if it is here already.
    version: Option<&'a FileKey>,
}

impl<'a> Deciding<'a> {
    pub(super) fn new(
        cloud: &'a CloudTree,
        local: &'a LocalTree,
        synced: &'a SyncedTree,
        policy: &'a Policy<'a>,
    ) -> Self {
        Self { plan: Plan::default(), cloud, local, synced, policy, claimed: HashSet::default() }
    }

    /// Decides for a message that has a row.
    pub(super) fn known(&mut self, found: &Found<'_>) {
        let Found { row, base, here, there, version } = found;
        let known = match there {
            There::At(id) => self.cloud.messages.get(id).map(|message| {
                let edited_there = draft_edited(base, message, self.policy);
                Known { row: *row, base, id, message, edited_there, version: version.as_ref() }
            }),
            There::Unlisted | There::Perhaps | There::Absent => None,
        };
        // A draft that may have been edited in the cloud is looked at whatever else is decided.
        if let Some(Known { id, message, .. }) = known
            && message.hash.is_none()
            && !message.blocked
        {
            self.plan.ops.push(Op::Fetch { id: id.clone() });
            return;
        }
        if let Some(known) = known
            && let Some(place) = self.replaced(known, here)
        {
            self.claimed.insert(place.0.clone());
            let mut after = known.base.clone();
            after.remote = known.id.clone();
            take_version(&mut after, known.message);
            after.inode = place.1.inode;
            // The flags stay those of the base: what either side has changed since then crosses over next.
            after.file = place.0;
            self.plan.ops.push(Op::Record { row: Some(*row), base: after });
            return;
        }
        match (here, there, known) {
            (Here::Unreadable | Here::Absent(Absence::Settling), _, _) | (_, There::Unlisted | There::Perhaps, _) => {
                self.plan.waiting.push(*row);
            }
            // A move in two steps: once the trashed original is out of the way, the copy is found as the row's own file.
            (Here::Copied { old, .. }, _, _) => {
                self.plan.waiting.push(*row);
                self.plan.ops.push(Op::Remove { row: None, file: old.clone(), trashed: true });
            }
            (Here::At(_) | Here::Absent(_), There::At(_), Some(known)) if self.was_deleted_unread(known) => {
                // What was written there outlives the deletion, which was meant for what was known.
                let mut after = base_now(known);
                after.flags.local = after.flags.local - Flags::TRASHED;
                after.flags.cloud = after.flags.cloud - Flags::TRASHED;
                self.plan.ops.push(Op::MoveInCloud { row: *row, to: base.mailbox, base: after, deletes: false });
            }
            (Here::Absent(absence), There::Absent, _) => self.gone_on_both_sides(*row, base, *absence),
            (Here::At(file), There::Absent, _) => self.gone_in_the_cloud(*row, base, file),
            (Here::Absent(absence), There::At(_), Some(known)) => self.gone_here(known, *absence),
            (Here::At(file), There::At(_), Some(known)) => {
                if let Some(seen) = self.local.files.get(file) {
                    self.both_there(known, file, seen);
                }
            }
            // `There::At` always names a message of the tree.
            (_, There::At(_), None) => self.plan.waiting.push(*row),
        }
    }

    /// The new version of a draft, if it is in place and the old one isn't any more: a replacement that wasn't recorded.
    /// What may have been found in the old one's stead is a copy of the user's.
    fn replaced(&self, known: Known<'_>, here: &Here) -> Option<(FileKey, &'a LocalFile)> {
        let Known { base, message, .. } = known;
        match here {
            Here::At(file) if *file != base.file => {}
            Here::Absent(_) => {}
            _ => return None,
        }
        if !known.edited_there {
            return None;
        }
        if let Some(version) = known.version {
            return self.local.files.get(version).map(|seen| (version.clone(), seen));
        }
        let name = self.version_name(known, &message.hash?);
        let mut maildirs: Vec<MaildirId> = self.local.readable.iter().copied().collect();
        maildirs.sort_unstable();
        maildirs.into_iter().find_map(|maildir| {
            let place = FileKey::new(maildir, name.clone());
            let seen = self.local.files.get(&place)?;
            (seen.hash == message.hash).then_some((place, seen))
        })
    }

    /// The cloud deleted it, so it goes here too (the store keeps it), unless it was edited here.
    fn gone_in_the_cloud(&mut self, row: RowId, base: &Row, file: &FileKey) {
        let Some(seen) = self.local.files.get(file) else { return };
        if self.is_kept(row, base) && !seen.flags.contains(Flags::TRASHED) {
            let mut after = base.clone();
            after.file = file.clone();
            after.inode = if seen.inode == 0 || edited(base, seen) { base.inode } else { seen.inode };
            if after != *base {
                self.plan.ops.push(Op::Record { row: Some(row), base: after });
            }
            return;
        }
        // A file that was found by its content alone may as well be a copy that the user keeps.
        let is_own = file.base_name == base.file.base_name || (base.inode != 0 && seen.inode == base.inode);
        if edited(base, seen) || !is_own || self.word(row) == Some(Word::Keep) {
            self.plan.ops.push(Op::Forget { row });
        } else {
            let trashed = seen.flags.contains(Flags::TRASHED);
            self.plan.ops.push(Op::Remove { row: Some(row), file: file.clone(), trashed });
        }
    }

    /// Nobody has it any more, and that is the end of it, unless it is one that is kept here and nobody knows why it isn't
    /// there: then the store may have it.
    fn gone_on_both_sides(&mut self, row: RowId, base: &Row, absence: Absence) {
        if absence != Absence::Unexplained || !self.is_kept(row, base) || self.word(row) == Some(Word::Delete) {
            return self.plan.ops.push(Op::Forget { row });
        }
        let mut after = base.clone();
        after.file = self.free_place(Some(row), base.file.maildir, &base.file.base_name);
        after.flags.local = after.flags.local - Flags::TRASHED;
        self.plan.ops.push(Op::Deliver { row: Some(row), base: after });
    }

    /// Whether a message that is gone from the cloud stays here.
    fn is_kept(&self, row: RowId, base: &Row) -> bool {
        !base.flags.cloud.contains(Flags::DRAFT) && (self.policy.keeps)(row, base.mailbox)
    }

    fn word(&self, row: RowId) -> Option<Word> {
        (self.policy.word)(row)
    }

    /// The file isn't there: a deletion to be told to the cloud, or a file that comes back.
    fn gone_here(&mut self, known: Known<'_>, absence: Absence) {
        let Known { row, base, message, .. } = known;
        let moved = message.mailbox != base.mailbox;
        let edited_there = known.edited_there;
        let deleted = match self.word(row) {
            Some(Word::Delete) => true,
            Some(Word::Keep) => false,
            None => absence == Absence::Observed,
        };
        if deleted && !moved && !edited_there {
            return self.delete_in_the_cloud(known);
        }
        if message.hash.is_none() && (base.flags.cloud | message.flags).contains(Flags::DRAFT) {
            // What the file is known to have been may not be what the cloud has by now, which another file may be.
            return self.plan.waiting.push(row);
        }
        let mut after = base_now(known);
        if edited_there {
            take_version(&mut after, message);
        }
        if moved {
            after.mailbox = message.mailbox;
            match self.place_in_the_cloud(message, &after.hash) {
                Some(maildir) => after.file.maildir = maildir,
                None => return self.plan.waiting.push(row),
            }
        }
        after.file = if edited_there {
            self.version_place(known, after.file.maildir, &after.hash)
        } else {
            self.free_place(Some(row), after.file.maildir, &base.file.base_name)
        };
        let flags = merge(self.policy, base, base.flags.local, message.flags).local - Flags::TRASHED;
        after.flags = Sides { local: flags, cloud: message.flags };
        self.plan.ops.push(Op::Deliver { row: Some(row), base: after });
    }

    /// Both sides have it: the place first, then the flags.
    fn both_there(&mut self, known: Known<'_>, file: &FileKey, seen: &LocalFile) {
        let Known { row, base, message, .. } = known;
        let edited_here = edited(base, seen);
        let moved_there = message.mailbox != base.mailbox;
        let edited_there = known.edited_there;
        let kept = self.word(row) == Some(Word::Keep);
        let trashed = (seen.flags - base.flags.local).contains(Flags::TRASHED) && !kept;
        if trashed && !moved_there && !edited_there {
            let is_deleted_already = (self.policy.deleted_mailbox)(message.mailbox) == Some(message.mailbox);
            if is_deleted_already && file.maildir != base.file.maildir {
                // Taken out of the deleted messages and trashed elsewhere, it goes back there, not for good.
                match self.mailbox_filed_into(base, message, file.maildir) {
                    Filed::Into(mailbox) => {
                        let mut after = base_now(known);
                        after.file = file.clone();
                        after.inode = if seen.inode == 0 { base.inode } else { seen.inode };
                        after.mailbox = mailbox;
                        self.plan.ops.push(Op::MoveInCloud { row, to: mailbox, base: after, deletes: false });
                        return;
                    }
                    Filed::NobodyKnows => return self.plan.waiting.push(row),
                    Filed::HereOnly => {}
                }
            }
            return self.delete_in_the_cloud(known);
        }

        if edited_here && edited_there && self.is_own_update(known, seen) {
            // The place and the flags follow, now that it is known what the content is.
            let mut after = base.clone();
            after.remote = known.id.clone();
            take_version(&mut after, message);
            after.cloud_bytes =
                if seen.hash == message.hash { CloudBytes::Same } else { CloudBytes::Other(after.hash) };
            after.hash = seen.hash.unwrap_or(after.hash);
            after.file = file.clone();
            after.inode = seen.inode;
            self.plan.ops.push(Op::Record { row: Some(row), base: after });
            return;
        }
        if edited_here
            && !edited_there
            && !seen.flags.contains(Flags::TRASHED)
            && message.flags.contains(Flags::DRAFT)
            && self.policy.uploads.takes(base.mailbox).drafts
            && self.is_among_the_deleted(base, message)
            && self.keep_edit_of_deleted(known, file)
        {
            return;
        }
        if edited_here && !edited_there {
            if !moved_there && self.tell_content(known, file, seen) {
                return;
            }
            if moved_there && !self.takes_content(message) {
                self.plan.edited.push(row);
            }
        }

        let mut after = base_now(known);
        after.file = file.clone();
        // The base keeps the inode of what it knows: after a restart nothing else tells that this file isn't that, and it is
        // looked into before it is ever removed.
        after.inode = if seen.inode == 0 || edited_here { base.inode } else { seen.inode };
        if moved_there {
            // Where both sides moved it, the cloud's place holds: only the cloud can say where the message is.
            after.mailbox = message.mailbox;
            let hash = message.hash.filter(|_| edited_there).unwrap_or(base.hash);
            match self.place_in_the_cloud(message, &hash) {
                Some(maildir) => after.file.maildir = maildir,
                None => return self.plan.waiting.push(row),
            }
        } else if file.maildir != base.file.maildir {
            match self.mailbox_filed_into(base, message, file.maildir) {
                Filed::Into(mailbox) => {
                    // The place alone moves with this op; flags that changed too are told next, to the message in its
                    // new place.
                    after.mailbox = mailbox;
                    self.plan.ops.push(Op::MoveInCloud { row, to: mailbox, base: after, deletes: false });
                    return;
                }
                Filed::NobodyKnows => return self.plan.waiting.push(row),
                Filed::HereOnly => {}
            }
        }
        if edited_there {
            take_version(&mut after, message);
            return self.edited_in_the_cloud(known, file, seen, after);
        }

        let mut merged = merge(self.policy, base, seen.flags, message.flags);
        if moved_there || kept {
            // A message that the cloud moved was moved, not deleted: it lives on there.
            merged.local = merged.local - Flags::TRASHED;
        }
        if self.tell_flags(known, file, seen, merged) {
            return;
        }
        // What the cloud could be told it knows by now, so that both sides' flags are settled with this.
        after.flags = Sides { local: merged.local, cloud: message.flags };
        if after.file.maildir != file.maildir {
            after.file = self.free_place(None, after.file.maildir, &file.base_name);
        }
        if seen.flags != merged.local || after.file != *file {
            self.plan.ops.push(Op::Rename { row, from: file.clone(), base: after });
        } else if after != *base {
            self.plan.ops.push(Op::Record { row: Some(row), base: after });
        }
    }

    /// Whether a message was put among the deleted ones since the base.
    fn is_among_the_deleted(&self, base: &Row, message: &CloudMessage) -> bool {
        message.mailbox != base.mailbox && (self.policy.deleted_mailbox)(base.mailbox) == Some(message.mailbox)
    }

    /// Whether a draft that was put among the deleted ones because of this side says something else there than this side knew
    /// of: somebody was quicker with it. That the cloud makes other bytes of a draft when it is moved is no reason.
    fn was_deleted_unread(&self, known: Known<'_>) -> bool {
        let Known { base, message, edited_there, .. } = known;
        let is_for_this_side = base.flags.cloud.contains(Flags::TRASHED) && self.is_among_the_deleted(base, message);
        let says_the_same = |hash: &ContentHash| self.policy.uploads.is_made_of(hash, &base.hash);
        edited_there && is_for_this_side && message.hash.is_some_and(|hash| !says_the_same(&hash))
    }

    /// Gives a draft among the deleted ones a file of its own, so that the edited one stays as a draft that only the Maildir has:
    /// an edit outlives a deletion. Returns whether they are in two places.
    fn keep_edit_of_deleted(&mut self, known: Known<'_>, file: &FileKey) -> bool {
        let Known { row, base, message, .. } = known;
        let Some(maildir) = self.place_in_the_cloud(message, &base.hash) else {
            self.plan.waiting.push(row);
            return true;
        };
        if maildir == file.maildir {
            return false;
        }
        let mut after = base_now(known);
        after.mailbox = message.mailbox;
        after.file = self.version_place(known, maildir, &after.hash);
        after.inode = 0;
        let local = merge(self.policy, base, base.flags.local, message.flags).local - Flags::TRASHED;
        after.flags = Sides { local, cloud: message.flags };
        self.plan.ops.push(Op::Deliver { row: Some(row), base: after });
        true
    }

    /// Whether the cloud's new version of a draft is the one that is here too: an update whose answer was lost.
    fn is_own_update(&self, known: Known<'_>, seen: &LocalFile) -> bool {
        let contents = known.message.hash.zip(seen.hash);
        contents.is_some_and(|(there, here)| there == here || self.policy.uploads.is_made_of(&there, &here))
    }

    /// Whether the cloud takes another content of a message.
    fn takes_content(&self, message: &CloudMessage) -> bool {
        message.flags.contains(Flags::DRAFT) && self.policy.uploads.takes(message.mailbox).drafts
    }

    /// Gives the cloud a draft's new content, if it takes that; otherwise the user is told that the edit stays here.
    /// Returns whether there is something to do first.
    fn tell_content(&mut self, known: Known<'_>, file: &FileKey, seen: &LocalFile) -> bool {
        let Known { row, base, id, message, .. } = known;
        let readiness =
            if self.takes_content(message) { self.policy.uploads.readiness(file) } else { Readiness::Never };
        match (readiness, seen.hash) {
            // The cloud may have another version too, which can't be looked at now and must not be lost.
            (Readiness::Now | Readiness::Later, _) if message.hash.is_none() => self.plan.waiting.push(row),
            (Readiness::Now, Some(hash)) => {
                let mut after = base.clone();
                after.remote = id.clone();
                after.file = file.clone();
                if base.remote != *id {
                    // Known by its old content alone, which it is about to lose.
                    self.plan.ops.push(Op::Record { row: Some(row), base: after });
                    return true;
                }
                if file.base_name != base.file.base_name {
                    // A new file; that it has fewer letters than the old one is nobody's wish.
                    after.flags = first_flags(seen.flags, message.flags);
                }
                after.inode = seen.inode;
                after.hash = hash;
                after.cloud_bytes = CloudBytes::Unread;
                after.revision = None;
                self.plan.ops.push(Op::UpdateDraft { row, base: after, revision: message.revision.clone() });
                return true;
            }
            (Readiness::Later, _) => {
                self.plan.unripe.push(file.clone());
                self.plan.waiting.push(row);
                // Of a file that was written anew the flags come with the content.
                return file.base_name != base.file.base_name;
            }
            (Readiness::Now, None) | (Readiness::Never, _) => self.plan.edited.push(row),
        }
        false
    }

    /// Tells the cloud what changed in the Maildir, if something did; all else stays as the base has it until then.
    fn tell_flags(&mut self, known: Known<'_>, file: &FileKey, seen: &LocalFile, merged: Sides<Flags>) -> bool {
        let Known { row, base, id, message, .. } = known;
        let tell = (merged.cloud ^ message.flags) & self.policy.settable_flags;
        if tell.is_empty() {
            return false;
        }
        let mut after = base.clone();
        after.remote = id.clone();
        after.file = file.clone();
        if file.maildir != base.file.maildir && message.mailbox != base.mailbox {
            // With the file's new place and the message's old one, a base would say that the file was filed here only, should
            // the cloud's move be taken back meanwhile. So it names the mailbox that the file is for.
            if self.place_in_the_cloud(message, &base.hash) == Some(file.maildir) {
                after.mailbox = message.mailbox;
            } else if let Filed::Into(mailbox) = self.mailbox_filed_into(base, message, file.maildir) {
                after.mailbox = mailbox;
            }
        }
        after.flags = rebased(base, seen.flags, message.flags, tell, merged.cloud);
        let (add, remove) = (tell & merged.cloud, tell - merged.cloud);
        self.plan.ops.push(Op::SetCloudFlags { row, add, remove, base: after });
        true
    }

    /// A draft has other content in the cloud now; `after` says where it belongs and what it is. With an edit on this
    /// side too, both are kept.
    fn edited_in_the_cloud(&mut self, known: Known<'_>, file: &FileKey, seen: &LocalFile, mut after: Row) {
        let Known { row, base, message, .. } = known;
        let merged = merge(self.policy, base, seen.flags, message.flags);
        if self.tell_flags(known, file, seen, merged) {
            return;
        }
        after.file = self.version_place(known, after.file.maildir, &after.hash);
        after.flags = Sides { local: merged.local - Flags::TRASHED, cloud: message.flags };
        after.inode = 0;
        if edited(base, seen) {
            // The row goes over to the new file; the edited one stays as a file that only the Maildir has.
            self.plan.ops.push(Op::Deliver { row: Some(row), base: after });
        } else {
            self.plan.ops.push(Op::Replace { row, old: file.clone(), base: after });
        }
    }

    fn delete_in_the_cloud(&mut self, known: Known<'_>) {
        let Known { row, base, id, message, .. } = known;
        if message.hash.is_none() {
            // A version that couldn't be looked at yet, and an edit beats a deletion.
            return self.plan.waiting.push(row);
        }
        match (self.policy.deleted_mailbox)(message.mailbox) {
            Some(target) if target != message.mailbox => {
                // The base keeps the old mailbox and takes the Trash flag on both sides: to the next plan the cloud looks
                // as if it had moved the message and cleared the flag, and so the file follows into the other Maildir.
                let mut after = base.clone();
                after.remote = id.clone();
                after.flags.local |= Flags::TRASHED;
                after.flags.cloud |= Flags::TRASHED;
                self.plan.ops.push(Op::MoveInCloud { row, to: target, base: after, deletes: true });
            }
            _ => self.plan.ops.push(Op::DeleteInCloud { row, id: id.clone(), mailbox: message.mailbox }),
        }
    }

    /// Decides for a message and a file that are the same and have no row: a state that was lost, a delivery or an upload
    /// that wasn't recorded.
    pub(super) fn adopt(&mut self, id: &RemoteId, file: &FileKey) {
        let (Some(message), Some(seen)) = (self.cloud.messages.get(id), self.local.files.get(file)) else { return };
        let Some(hash) = message.hash else { return };
        let mut base =
            new_base(id.clone(), message.mailbox, file.maildir, file.base_name.clone(), hash, message.received);
        base.inode = seen.inode;
        base.revision.clone_from(&message.revision);
        if let Some(own) = seen.hash.filter(|own| *own != hash) {
            // The cloud made it of the user's own file, or of what both were made of: the file stays as it is.
            base.hash = own;
            base.cloud_bytes = CloudBytes::Other(hash);
            base.flags = first_flags(seen.flags, message.flags);
            self.plan.ops.push(Op::Record { row: None, base });
            return;
        }
        // Without a base, one side's present state is taken for it, and the other side's wins as the one that changed.
        let flags = match self.policy.first_meeting {
            Side::Cloud => seen.flags,
            // Who trashed it, and when, nobody knows: without a base nothing is deleted.
            Side::Local => message.flags | (seen.flags & Flags::TRASHED),
        };
        base.flags = Sides { local: flags, cloud: flags };
        let leads_to = |mailbox: MailboxId| self.policy.router.maildir_for(mailbox, &hash, message.flags);
        if leads_to(message.mailbox) != Some(file.maildir) {
            for mailbox in self.policy.mailboxes {
                match leads_to(*mailbox) {
                    // It was moved in the cloud since it was delivered; the next plan finds that so and brings the file home.
                    Some(its) if its == file.maildir => base.mailbox = *mailbox,
                    Some(_) => {}
                    // Another time.
                    None => return,
                }
            }
        }
        self.plan.ops.push(Op::Record { row: None, base });
    }

    /// Decides for a file that only a Maildir has.
    pub(super) fn only_here(&mut self, file: &FileKey, matched: &Matched<'_>) {
        let Some(seen) = self.local.files.get(file) else { return };
        if self.claimed.contains(file) {
            // A row's own file, left by a step that wasn't recorded.
            return;
        }
        let readiness = self.policy.uploads.readiness(file);
        let possible = readiness != Readiness::Never && !seen.flags.contains(Flags::TRASHED);
        let Some(hash) = seen.hash.filter(|_| possible) else { return self.plan.local_only.push(file.clone()) };
        let (mailbox, draft) = match self.upload_target(file, &hash, seen.flags) {
            Target::Nowhere => return self.plan.local_only.push(file.clone()),
            Target::Unsure => return self.plan.unripe.push(file.clone()),
            Target::Mailbox { mailbox, draft } => (mailbox, draft),
        };
        // A draft is made in the folder for drafts, wherever it is to be in the end.
        let concerned = |other: &MailboxId| {
            let for_drafts = self.policy.uploads.takes(*other).role == Role::Drafts;
            *other == mailbox || (for_drafts && (self.policy.same_account)(mailbox, *other))
        };
        let unsettled = |other: &MailboxId| !self.cloud.complete.contains(other) || matched.unread.contains(other);
        let waits = self.policy.mailboxes.iter().any(|other| concerned(other) && unsettled(other));
        let known_as = || self.policy.uploads.message_id(&hash);
        let rewrites = draft && matched.untold.contains(&file.maildir)
            || !matched.rewriting.is_empty() && matched.rewriting.contains(&known_as());
        if readiness == Readiness::Later || waits || matched.moving.contains(&hash) || rewrites {
            return self.plan.unripe.push(file.clone());
        }
        if matched.undelivered.contains(file) {
            return;
        }
        let (flags, inode) = (seen.flags, seen.inode);
        self.plan.ops.push(Op::Upload { file: file.clone(), hash, flags, inode, mailbox, draft });
    }

    /// Which mailbox a file that only a Maildir has is for.
    fn upload_target(&self, file: &FileKey, hash: &ContentHash, flags: Flags) -> Target {
        let marked = flags.contains(Flags::DRAFT);
        let takes = |mailbox: MailboxId| self.policy.uploads.takes(mailbox);
        let may_take = |mailbox: &MailboxId| {
            let takes = takes(*mailbox);
            takes.others || (takes.drafts && (marked || matches!(takes.role, Role::Drafts | Role::Unknown)))
        };
        // To ask where a message belongs may take a look at its header.
        if !self.policy.mailboxes.iter().any(may_take) {
            return Target::Nowhere;
        }
        let leading_here = |flags| -> Vec<MailboxId> {
            let leads = |one: &MailboxId| self.policy.router.maildir_for(*one, hash, flags) == Some(file.maildir);
            self.policy.mailboxes.iter().copied().filter(leads).collect()
        };
        let (for_drafts, for_others) = (leading_here(flags | Flags::DRAFT), leading_here(flags));
        if for_drafts.iter().chain(&for_others).any(|one| takes(*one).role == Role::Unknown) {
            return Target::Unsure;
        }
        let is = |role: Role| move |one: &MailboxId| takes(*one).role == role;
        if marked || (!for_drafts.is_empty() && for_drafts.iter().all(is(Role::Drafts))) {
            let best = for_drafts.iter().copied().find(is(Role::Drafts)).or(for_drafts.first().copied());
            return match best.filter(|mailbox| takes(*mailbox).drafts) {
                Some(mailbox) => Target::Mailbox { mailbox, draft: true },
                None => Target::Nowhere,
            };
        }
        // Of what was sent the cloud files a copy of its own, which the file joins.
        let sent = for_others.iter().any(is(Role::Sent));
        let taken = |one: &MailboxId| !sent && takes(*one).others && takes(*one).role == Role::Other;
        match for_others.iter().copied().find(taken) {
            Some(mailbox) => Target::Mailbox { mailbox, draft: false },
            None => Target::Nowhere,
        }
    }

    /// Decides for a message that is in the cloud only.
    pub(super) fn arrived(&mut self, id: &RemoteId) {
        let Some(message) = self.cloud.messages.get(id) else { return };
        let Some(hash) = message.hash else {
            if !message.blocked {
                self.plan.ops.push(Op::Fetch { id: id.clone() });
            }
            return;
        };
        let Some(maildir) = self.place_in_the_cloud(message, &hash) else { return };
        let first = BaseName::for_message(message.received, id, self.policy.host);
        let place = self.free_place(None, maildir, &first);
        let mut base = new_base(id.clone(), message.mailbox, maildir, place.base_name, hash, message.received);
        base.flags = Sides { local: message.flags & self.policy.readable_flags, cloud: message.flags };
        base.revision.clone_from(&message.revision);
        self.plan.ops.push(Op::Deliver { row: None, base });
    }

    /// The Maildir that a message belongs to by the place where the cloud has it, if it can be read.
    fn place_in_the_cloud(&self, message: &CloudMessage, hash: &ContentHash) -> Option<MaildirId> {
        let maildir = self.policy.router.maildir_for(message.mailbox, hash, message.flags)?;
        self.local.readable.contains(&maildir).then_some(maildir)
    }

    /// What the user meant by moving a message's file to that Maildir.
    fn mailbox_filed_into(&self, base: &Row, message: &CloudMessage, maildir: MaildirId) -> Filed {
        let leads_to = |mailbox| self.policy.router.maildir_for(mailbox, &base.hash, message.flags);
        match leads_to(base.mailbox) {
            None => return Filed::NobodyKnows,
            Some(its) if its == maildir => return Filed::HereOnly,
            Some(_) => {}
        }
        let mut filed = Filed::HereOnly;
        for mailbox in self.policy.mailboxes.iter().copied() {
            if mailbox == base.mailbox || !(self.policy.same_account)(base.mailbox, mailbox) {
                continue;
            }
            match leads_to(mailbox) {
                Some(its) if its == maildir => return Filed::Into(mailbox),
                Some(_) => {}
                None => filed = Filed::NobodyKnows,
            }
        }
        filed
    }

    /// A place in a Maildir under that name, or under the first numbered form of it that is free: no file is there, no
    /// other row claims it, and no other step of this plan fills it.
    fn free_place(&mut self, row: Option<RowId>, maildir: MaildirId, name: &BaseName) -> FileKey {
        let mut place = FileKey::new(maildir, name.clone());
        let mut number = 0_u64;
        while self.claimed.contains(&place)
            || self.local.files.contains_key(&place)
            || self.synced.by_file(&place).is_some_and(|other| Some(other) != row)
        {
            number += 1;
            place.base_name = BaseName::new(format!("{name}.{number}"));
        }
        self.claimed.insert(place.clone());
        place
    }

    /// The place of a draft's new version, which may be there already. If somebody has written that one anew under its own name,
    /// it is another file, and the version goes beside it.
    fn version_place(&mut self, known: Known<'_>, maildir: MaildirId, hash: &ContentHash) -> FileKey {
        if let Some(version) = known.version.filter(|version| version.maildir == maildir) {
            self.claimed.insert(version.clone());
            return version.clone();
        }
        let name = self.version_name(known, hash);
        let mut place = FileKey::new(maildir, name.clone());
        let mut number = 0_u64;
        let is_another = |place: &FileKey| {
            let found = self.local.files.get(place);
            found.and_then(|file| file.hash).is_some_and(|found| found != *hash)
        };
        while is_another(&place) {
            number += 1;
            place.base_name = BaseName::new(format!("{name}.{number}"));
        }
        self.claimed.insert(place.clone());
        place
    }

    /// The name of a draft's new version.
    fn version_name(&self, known: Known<'_>, hash: &ContentHash) -> BaseName {
        BaseName::for_version(known.message.received, known.id, hash, self.policy.host)
    }
}

/// Which mailbox a file is uploaded to.
enum Target {
    /// None takes it.
    Nowhere,
    /// That can't be told yet.
    Unsure,
    /// This one.
    Mailbox { mailbox: MailboxId, draft: bool },
}

/// The base under the message's present id, and with its present bytes and revision if they aren't another version:
/// the revision of content that wasn't looked at must not be taken, or the next look would find nothing new.
fn base_now(known: Known<'_>) -> Row {
    let Known { base, id, message, .. } = known;
    let mut after = base.clone();
    after.remote = id.clone();
    if let Some(hash) = message.hash
        && !known.edited_there
        && (hash == base.hash || base.cloud_bytes != CloudBytes::Same)
    {
        after.cloud_bytes = if hash == base.hash { CloudBytes::Same } else { CloudBytes::Other(hash) };
        after.revision.clone_from(&message.revision);
    }
    after
}

/// Takes the cloud's version of a draft for the content of both sides.
fn take_version(after: &mut Row, message: &CloudMessage) {
    after.hash = message.hash.unwrap_or(after.hash);
    after.cloud_bytes = CloudBytes::Same;
    after.revision.clone_from(&message.revision);
}

fn edited(base: &Row, seen: &LocalFile) -> bool {
    seen.hash.is_some_and(|hash| hash != base.hash)
}

/// Whether the cloud has another version. Only drafts have versions: Exchange may build other bytes for the very same
/// received message each time it is asked (`dkim_verifier#70`).
pub(super) fn draft_edited(base: &Row, message: &CloudMessage, policy: &Policy<'_>) -> bool {
    if !(base.flags.cloud | message.flags).contains(Flags::DRAFT) {
        return false;
    }
    let own_form = |hash: &ContentHash| match base.cloud_bytes {
        CloudBytes::Same | CloudBytes::Other(_) => base.is_known_in_the_cloud(hash),
        // What was uploaded last, unless somebody was quicker than we are with reading it back.
        CloudBytes::Unread => {
            (base.revision.is_some() && base.revision == message.revision)
                || *hash == base.hash
                || policy.uploads.is_made_of(hash, &base.hash)
        }
    };
    message.hash.is_some_and(|hash| !own_form(&hash))
}

/// Merges the flags of both sides bit by bit: the side that differs from the base wins.
fn merge(policy: &Policy<'_>, base: &Row, local: Flags, cloud: Flags) -> Sides<Flags> {
    let local_changed = (local ^ base.flags.local) - Flags::TRASHED;
    let mut cloud_changed = (cloud ^ base.flags.cloud) & (policy.readable_flags | Flags::TRASHED);
    // The cloud keeps only the newest of these, so that one which made room for another wasn't taken away by anyone.
    if !(cloud & policy.exclusive_flags).is_empty() {
        cloud_changed = cloud_changed - (policy.exclusive_flags - cloud);
    }
    // Both changed: they agree, or the bases differed before; then the cloud's word holds.
    let local = local.with(cloud_changed, cloud);
    let mut told = local_changed & (policy.settable_flags - cloud_changed);
    if !(cloud_changed & cloud & policy.exclusive_flags).is_empty() {
        // The cloud has a newer one of these; to tell it of another would take that one away before it has come here.
        told = told - policy.exclusive_flags;
    }
    let cloud = cloud.with(told, local);
    Sides { local, cloud }
}

/// The base once the bits of `moved` have crossed over and have the values that they have in `value` on both sides.
///
/// Bits that both sides agree on already are taken over too; what still waits to cross keeps its old base.
fn rebased(base: &Row, local: Flags, cloud: Flags, moved: Flags, value: Flags) -> Sides<Flags> {
    let agreed = !(local ^ cloud);
    Sides {
        local: base.flags.local.with(agreed, local).with(moved, value),
        cloud: base.flags.cloud.with(agreed, cloud).with(moved, value),
    }
}
