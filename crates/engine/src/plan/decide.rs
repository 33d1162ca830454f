//! What is done about one message, once it is known who is who. The table in the parent's documentation, as code.

use crate::op::base as new_base;
use crate::plan::matching::{Found, Here, There};
use crate::plan::{Plan, Policy, Word};
use crate::{
    Absence, BaseName, CloudMessage, CloudTree, ContentHash, FileKey, Flags, HashSet, LocalFile, LocalTree, MailboxId,
    MaildirId, Op, RemoteId, Row, RowId, Side, Sides, SyncedTree,
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
        let Found { row, base, here, there } = found;
        let known = match there {
            There::At(id) => self.cloud.messages.get(id).map(|message| Known { row: *row, base, id, message }),
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
            let mut after = known.base.clone();
            after.remote = known.id.clone();
            after.hash = known.message.hash.unwrap_or(base.hash);
            after.revision.clone_from(&known.message.revision);
            after.inode = place.1.inode;
            after.flags = Sides { local: place.1.flags, cloud: known.message.flags };
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
            (Here::Absent(_), There::Absent, _) => self.plan.ops.push(Op::Forget { row: *row }),
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
        if !draft_edited(base, message) {
            return None;
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
        // A file that was found by its content alone may as well be a copy that the user keeps.
        let is_own = file.base_name == base.file.base_name || (base.inode != 0 && seen.inode == base.inode);
        if edited(base, seen) || !is_own || self.word(row) == Some(Word::Keep) {
            self.plan.ops.push(Op::Forget { row });
        } else {
            let trashed = seen.flags.contains(Flags::TRASHED);
            self.plan.ops.push(Op::Remove { row: Some(row), file: file.clone(), trashed });
        }
    }

    fn word(&self, row: RowId) -> Option<Word> {
        (self.policy.word)(row)
    }

    /// The file isn't there: a deletion to be told to the cloud, or a file that comes back.
    fn gone_here(&mut self, known: Known<'_>, absence: Absence) {
        let Known { row, base, message, .. } = known;
        let moved = message.mailbox != base.mailbox;
        let edited_there = draft_edited(base, message);
        let deleted = match self.word(row) {
            Some(Word::Delete) => true,
            Some(Word::Keep) => false,
            None => absence == Absence::Observed,
        };
        if deleted && !moved && !edited_there {
            return self.delete_in_the_cloud(known);
        }
        let mut after = base_now(known);
        if edited_there {
            after.hash = message.hash.unwrap_or(base.hash);
            after.revision.clone_from(&message.revision);
        }
        if moved {
            after.mailbox = message.mailbox;
            match self.place_in_the_cloud(message, &after.hash) {
                Some(maildir) => after.file.maildir = maildir,
                None => return self.plan.waiting.push(row),
            }
        }
        after.file = if edited_there {
            FileKey::new(after.file.maildir, self.version_name(known, &after.hash))
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
        if edited(base, seen) {
            self.plan.edited.push(row);
        }
        let moved_there = message.mailbox != base.mailbox;
        let edited_there = draft_edited(base, message);
        let kept = self.word(row) == Some(Word::Keep);
        let trashed = (seen.flags - base.flags.local).contains(Flags::TRASHED) && !kept;
        if trashed && !moved_there && !edited_there {
            return self.delete_in_the_cloud(known);
        }

        let mut after = base_now(known);
        after.file = file.clone();
        after.inode = match seen.inode {
            // The base keeps the inode of what it knows: after a restart nothing else tells that this file isn't that, and
            // it is looked into before it is ever removed.
            _ if edited(base, seen) => base.inode,
            0 => base.inode,
            inode => inode,
        };
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
            after.revision.clone_from(&message.revision);
            after.hash = message.hash.unwrap_or(base.hash);
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

    /// Tells the cloud what changed in the Maildir, if something did; all else stays as the base has it until then.
    fn tell_flags(&mut self, known: Known<'_>, file: &FileKey, seen: &LocalFile, merged: Sides<Flags>) -> bool {
        let Known { row, base, id, message } = known;
        let tell = (merged.cloud ^ message.flags) & self.policy.settable_flags;
        if tell.is_empty() {
            return false;
        }
        let mut after = base.clone();
        after.remote = id.clone();
        after.file = file.clone();
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
        after.file.base_name = self.version_name(known, &after.hash);
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
        let Known { row, base, id, message } = known;
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

    /// Decides for a message and a file that are the same and have no row: a state that was lost, or a delivery that
    /// wasn't recorded.
    pub(super) fn adopt(&mut self, id: &RemoteId, file: &FileKey) {
        let (Some(message), Some(seen)) = (self.cloud.messages.get(id), self.local.files.get(file)) else { return };
        let Some(hash) = message.hash else { return };
        let mut base =
            new_base(id.clone(), message.mailbox, file.maildir, file.base_name.clone(), hash, message.received);
        // Without a base, one side's present state is taken for it, and the other side's wins as the one that changed.
        let flags = match self.policy.first_meeting {
            Side::Cloud => seen.flags,
            // Who trashed it, and when, nobody knows: without a base nothing is deleted.
            Side::Local => message.flags | (seen.flags & Flags::TRASHED),
        };
        base.flags = Sides { local: flags, cloud: flags };
        base.inode = seen.inode;
        base.revision.clone_from(&message.revision);
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

    /// The name of a draft's new version. Names are keys of caches in mail programs, so that other bytes need another
    /// name; and the same bytes the same name, so that an interrupted delivery isn't made twice.
    fn version_name(&self, known: Known<'_>, hash: &ContentHash) -> BaseName {
        let Known { id, message, .. } = known;
        let revision = message.revision.as_deref().unwrap_or_default();
        let version = RemoteId::new(format!("{id} {revision} {hash}"));
        BaseName::for_message(message.received, &version, self.policy.host)
    }
}

/// The base under the message's present id, and with its present revision if that is known to have the base's content:
/// the revision of content that wasn't looked at must not be taken, or the next look would find nothing new.
fn base_now(known: Known<'_>) -> Row {
    let mut after = known.base.clone();
    after.remote = known.id.clone();
    if known.message.hash == Some(after.hash) {
        after.revision.clone_from(&known.message.revision);
    }
    after
}

fn edited(base: &Row, seen: &LocalFile) -> bool {
    seen.hash.is_some_and(|hash| hash != base.hash)
}

/// Whether the cloud has another version. Only drafts have versions: Exchange may build other bytes for the very same
/// received message each time it is asked (`dkim_verifier#70`).
fn draft_edited(base: &Row, message: &CloudMessage) -> bool {
    let draft = (base.flags.cloud | message.flags).contains(Flags::DRAFT);
    draft && message.hash.is_some_and(|hash| hash != base.hash)
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
