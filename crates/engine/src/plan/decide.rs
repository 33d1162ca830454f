//! What is done about one message, once it is known who is who. The table in the parent's documentation, as code.

use crate::op::base as new_base;
use crate::plan::matching::{Found, Here, There};
use crate::plan::{Plan, Policy};
use crate::{
    Absence, BaseName, CloudMessage, CloudTree, FileKey, Flags, LocalFile, LocalTree, MaildirId, Op, RemoteId, Row,
    RowId, Side, Sides, SyncedTree,
};

/// Decides for a message that has a row.
pub(super) fn known(plan: &mut Plan, cloud: &CloudTree, local: &LocalTree, policy: &Policy<'_>, found: &Found<'_>) {
    let Found { row, base, here, there } = found;
    let message = match there {
        There::At(id) => cloud.messages.get(id).map(|message| (id, message)),
        There::Unlisted | There::Perhaps | There::Absent => None,
    };
    // A draft that may have been edited in the cloud is looked at whatever else is decided.
    if let Some((id, message)) = message
        && message.hash.is_none()
        && !message.blocked
    {
        plan.ops.push(Op::Fetch { id: id.clone() });
        return;
    }
    match (here, there, message) {
        (Here::Unreadable | Here::Absent(Absence::Settling), _, _) | (_, There::Unlisted | There::Perhaps, _) => {
            plan.waiting.push(*row);
        }
        (Here::Absent(_), There::Absent, _) => plan.ops.push(Op::Forget { row: *row }),
        (Here::At(file) | Here::Copied { to: file, .. }, There::Absent, _) => {
            gone_in_the_cloud(plan, local, *row, base, file);
        }
        (Here::Absent(absence), There::At(_), Some((id, message))) => {
            gone_here(plan, local, policy, *row, base, *absence, id, message);
        }
        (Here::At(file), There::At(_), Some((id, message))) => {
            if let Some(seen) = local.files.get(file) {
                both_there(plan, local, policy, *row, base, file, seen, id, message);
            }
        }
        // A move in two steps: once the trashed original is out of the way, the copy is found as the row's own file.
        (Here::Copied { old, .. }, There::At(_), Some(_)) => {
            plan.ops.push(Op::Remove { row: None, file: old.clone(), trashed: true });
        }
        // `There::At` always names a message of the tree.
        (_, There::At(_), None) => plan.waiting.push(*row),
    }
}

/// The cloud deleted it, so it goes here too (the store keeps it), unless it was edited here.
fn gone_in_the_cloud(plan: &mut Plan, local: &LocalTree, row: RowId, base: &Row, file: &FileKey) {
    let Some(seen) = local.files.get(file) else { return };
    if edited(base, seen) {
        plan.ops.push(Op::Forget { row });
    } else {
        let trashed = seen.flags.contains(Flags::TRASHED);
        plan.ops.push(Op::Remove { row: Some(row), file: file.clone(), trashed });
    }
}

/// The file isn't there: a deletion to be told to the cloud, or a file that comes back.
#[allow(clippy::too_many_arguments)]
fn gone_here(
    plan: &mut Plan,
    local: &LocalTree,
    policy: &Policy<'_>,
    row: RowId,
    base: &Row,
    absence: Absence,
    id: &RemoteId,
    message: &CloudMessage,
) {
    let moved = message.mailbox != base.mailbox;
    let edited_there = draft_edited(base, message);
    if absence == Absence::Observed && !moved && !edited_there {
        delete_in_the_cloud(plan, policy, row, base, id, message);
        return;
    }
    let hash = if edited_there { message.hash.unwrap_or(base.hash) } else { base.hash };
    let maildir = if moved {
        match policy.router.maildir_for(message.mailbox, &hash, message.flags) {
            Some(maildir) if local.readable.contains(&maildir) => maildir,
            _ => return plan.waiting.push(row),
        }
    } else {
        base.file.maildir
    };
    let flags = merge(policy, base, base.flags.local, message.flags).local - Flags::TRASHED;
    let mut after = base.clone();
    after.remote = id.clone();
    after.mailbox = message.mailbox;
    after.file = FileKey::new(maildir, free_name(local, maildir, &base.file.base_name));
    after.flags = Sides { local: flags, cloud: message.flags };
    after.hash = hash;
    after.revision.clone_from(&message.revision);
    plan.ops.push(Op::Deliver { row: Some(row), base: after });
}

/// Both sides have it: the place first, then the flags.
#[allow(clippy::too_many_arguments)]
fn both_there(
    plan: &mut Plan,
    local: &LocalTree,
    policy: &Policy<'_>,
    row: RowId,
    base: &Row,
    file: &FileKey,
    seen: &LocalFile,
    id: &RemoteId,
    message: &CloudMessage,
) {
    let edited_here = edited(base, seen);
    if edited_here {
        plan.edited.push(row);
    }
    let moved_there = message.mailbox != base.mailbox;
    if draft_edited(base, message) {
        return edited_in_the_cloud(plan, local, policy, row, base, file, seen, id, message, edited_here);
    }
    let trashed = (seen.flags - base.flags.local).contains(Flags::TRASHED);
    if trashed && !moved_there {
        return delete_in_the_cloud(plan, policy, row, base, id, message);
    }

    let mut merged = merge(policy, base, seen.flags, message.flags);
    let mut after = base.clone();
    after.remote = id.clone();
    after.file = file.clone();
    after.inode = if seen.inode == 0 { base.inode } else { seen.inode };
    after.revision.clone_from(&message.revision);

    let filed_here = file.maildir != base.file.maildir;
    if moved_there {
        // Where both sides moved it, the cloud's place holds: only the cloud can say where the message is.
        if trashed {
            merged.local = merged.local - Flags::TRASHED;
        }
        after.mailbox = message.mailbox;
        let Some(target) = policy.router.maildir_for(message.mailbox, &base.hash, message.flags) else {
            return plan.waiting.push(row);
        };
        if target != file.maildir {
            if !local.readable.contains(&target) {
                return plan.waiting.push(row);
            }
            after.file = FileKey::new(target, free_name(local, target, &file.base_name));
        }
    } else if filed_here && policy.router.maildir_for(base.mailbox, &base.hash, message.flags) != Some(file.maildir) {
        let elsewhere = policy.mailboxes.iter().copied().find(|mailbox| {
            *mailbox != base.mailbox
                && policy.router.maildir_for(*mailbox, &base.hash, message.flags) == Some(file.maildir)
        });
        if let Some(mailbox) = elsewhere {
            // The place alone moves with this op; flags that changed too are told next, to the message in its new place.
            after.mailbox = mailbox;
            after.flags = base.flags;
            plan.ops.push(Op::MoveInCloud { row, to: mailbox, base: after, deletes: false });
            return;
        }
        // No mailbox leads to that Maildir: the user's filing is kept here and nowhere else.
    }

    let tell = (merged.cloud ^ message.flags) & policy.settable_flags;
    if seen.flags != merged.local || after.file != *file {
        after.flags = rebased(base, seen.flags, message.flags, merged.local ^ seen.flags, merged.local);
        plan.ops.push(Op::Rename { row, from: file.clone(), base: after });
    } else if !tell.is_empty() {
        let (add, remove) = (tell & merged.cloud, tell - merged.cloud);
        after.flags = rebased(base, seen.flags, message.flags, tell, merged.cloud);
        plan.ops.push(Op::SetCloudFlags { row, add, remove, base: after });
    } else {
        after.flags = Sides { local: seen.flags, cloud: message.flags };
        if after != *base {
            plan.ops.push(Op::Record { row: Some(row), base: after });
        }
    }
}

/// A draft has other content in the cloud now. With an edit on this side too, both are kept.
#[allow(clippy::too_many_arguments)]
fn edited_in_the_cloud(
    plan: &mut Plan,
    local: &LocalTree,
    policy: &Policy<'_>,
    row: RowId,
    base: &Row,
    file: &FileKey,
    seen: &LocalFile,
    id: &RemoteId,
    message: &CloudMessage,
    edited_here: bool,
) {
    let hash = message.hash.unwrap_or(base.hash);
    let moved = message.mailbox != base.mailbox;
    let maildir = if moved {
        match policy.router.maildir_for(message.mailbox, &hash, message.flags) {
            Some(maildir) if local.readable.contains(&maildir) => maildir,
            _ => return plan.waiting.push(row),
        }
    } else {
        file.maildir
    };
    // The trees' names are keys of caches in mail programs, so that other bytes need another name.
    let revision = message.revision.as_deref().unwrap_or_default();
    let name = BaseName::for_message(message.received, &RemoteId::new(format!("{id} {revision} {hash}")), policy.host);
    let mut after = base.clone();
    after.remote = id.clone();
    after.mailbox = message.mailbox;
    after.file = FileKey::new(maildir, name);
    after.flags =
        Sides { local: merge(policy, base, seen.flags, message.flags).local - Flags::TRASHED, cloud: message.flags };
    after.hash = hash;
    after.inode = 0;
    after.revision.clone_from(&message.revision);
    if edited_here {
        // The row goes over to the new file; the edited one stays as a file that only the Maildir has.
        plan.ops.push(Op::Deliver { row: Some(row), base: after });
    } else {
        plan.ops.push(Op::Replace { row, old: file.clone(), base: after });
    }
}

fn delete_in_the_cloud(
    plan: &mut Plan,
    policy: &Policy<'_>,
    row: RowId,
    base: &Row,
    id: &RemoteId,
    message: &CloudMessage,
) {
    match (policy.deleted_mailbox)(message.mailbox) {
        Some(target) if target != message.mailbox => {
            // The base keeps the old mailbox and takes the Trash flag on both sides: to the next plan the cloud looks as
            // if it had moved the message and cleared the flag, and so the file follows into the other Maildir.
            let mut after = base.clone();
            after.remote = id.clone();
            after.flags.local |= Flags::TRASHED;
            after.flags.cloud |= Flags::TRASHED;
            plan.ops.push(Op::MoveInCloud { row, to: target, base: after, deletes: true });
        }
        _ => plan.ops.push(Op::DeleteInCloud { row, id: id.clone(), mailbox: message.mailbox }),
    }
}

/// Decides for a message and a file that are the same and have no row: a state that was lost, or a delivery that
/// wasn't recorded.
pub(super) fn adopt(
    plan: &mut Plan,
    cloud: &CloudTree,
    local: &LocalTree,
    policy: &Policy<'_>,
    id: &RemoteId,
    file: &FileKey,
) {
    let (Some(message), Some(seen)) = (cloud.messages.get(id), local.files.get(file)) else { return };
    let Some(hash) = message.hash else { return };
    let mut base = new_base(id.clone(), message.mailbox, file.maildir, file.base_name.clone(), hash, message.received);
    // Without a base, one side's present state is taken for it, and the other side's wins as the one that changed.
    let flags = match policy.first_meeting {
        Side::Cloud => seen.flags,
        Side::Local => message.flags,
    };
    base.flags = Sides { local: flags, cloud: flags };
    base.inode = seen.inode;
    base.revision.clone_from(&message.revision);
    plan.ops.push(Op::Record { row: None, base });
}

/// Decides for a message that is in the cloud only.
pub(super) fn arrived(
    plan: &mut Plan,
    cloud: &CloudTree,
    local: &LocalTree,
    synced: &SyncedTree,
    policy: &Policy<'_>,
    id: &RemoteId,
) {
    let Some(message) = cloud.messages.get(id) else { return };
    let Some(hash) = message.hash else {
        if !message.blocked {
            plan.ops.push(Op::Fetch { id: id.clone() });
        }
        return;
    };
    let Some(maildir) = policy.router.maildir_for(message.mailbox, &hash, message.flags) else { return };
    if !local.readable.contains(&maildir) {
        return;
    }
    let first = BaseName::for_message(message.received, id, policy.host);
    let taken = |name: &BaseName| {
        let key = FileKey::new(maildir, name.clone());
        local.files.contains_key(&key) || synced.by_file(&key).is_some()
    };
    let name = numbered(&first, taken);
    let mut base = new_base(id.clone(), message.mailbox, maildir, name, hash, message.received);
    base.flags = Sides { local: message.flags & policy.readable_flags, cloud: message.flags };
    base.revision.clone_from(&message.revision);
    plan.ops.push(Op::Deliver { row: None, base });
}

/// The name itself, or the first numbered form of it that no file in the Maildir has.
fn free_name(local: &LocalTree, maildir: MaildirId, name: &BaseName) -> BaseName {
    let taken = |name: &BaseName| local.files.contains_key(&FileKey::new(maildir, name.clone()));
    numbered(name, taken)
}

/// The first numbered form of the name that isn't taken.
fn numbered(name: &BaseName, taken: impl Fn(&BaseName) -> bool) -> BaseName {
    let mut candidate = name.clone();
    let mut number = 0_u64;
    while taken(&candidate) {
        number += 1;
        candidate = BaseName::new(format!("{name}.{number}"));
    }
    candidate
}

fn edited(base: &Row, seen: &LocalFile) -> bool {
    seen.hash.is_some_and(|hash| hash != base.hash)
}

/// Whether the cloud has another version. Only drafts have versions: Exchange may build other bytes for the very same
/// received message each time it is asked (dkim_verifier#70).
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
    let cloud = cloud.with(local_changed & (policy.settable_flags - cloud_changed), local);
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
