//! Why a step was taken: the place in the planner's table that a message was found in.

use crate::{Absence, CloudTree, FileKey, Flags, LocalTree, Op, RemoteId, Row, SyncedTree};

/// What became of a message on one side since the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Became {
    /// It isn't there, and never was as far as the base knows.
    Absent,
    /// It is there and has no base.
    New,
    /// It is as the base has it.
    Unchanged,
    /// It has other flags.
    Flags,
    /// It is in another place.
    Moved,
    /// It has other content.
    Edited,
    /// It was marked for deletion.
    Trashed,
    /// It was seen to go, or the cloud says that it is gone.
    Gone,
    /// It isn't there, and nobody saw it go.
    Missing,
    /// Its place can't be read.
    Unreadable,
}

/// What became of a message on both sides: a row and a column of the table in [`crate::plan()`]'s module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Because {
    /// The file.
    pub here: Became,
    /// The message in the cloud.
    pub there: Became,
}

impl Because {
    /// Finds out why a step is in a plan, from the same trees that the plan was made of.
    pub fn of(op: &Op, cloud: &CloudTree, local: &LocalTree, synced: &SyncedTree) -> Self {
        let base = op.row().and_then(|row| synced.get(row));
        let id = op.id(synced);
        match base {
            Some(base) => Self { here: here(op, base, local), there: there(id, base, cloud) },
            None => Self {
                here: file_of(op, None)
                    .filter(|file| local.files.contains_key(file))
                    .map_or(Became::Absent, |_| Became::New),
                there: id.filter(|id| cloud.messages.contains_key(id)).map_or(Became::Absent, |_| Became::New),
            },
        }
    }
}

fn here(op: &Op, base: &Row, local: &LocalTree) -> Became {
    let file = file_of(op, Some(base)).unwrap_or(&base.file);
    if !local.readable.contains(&file.maildir) {
        return Became::Unreadable;
    }
    match local.files.get(file) {
        Some(seen) if (seen.flags - base.flags.local).contains(Flags::TRASHED) => Became::Trashed,
        Some(_) if *file != base.file => Became::Moved,
        Some(seen) if seen.hash.is_some_and(|hash| hash != base.hash) => Became::Edited,
        Some(seen) if seen.flags != base.flags.local => Became::Flags,
        Some(_) => Became::Unchanged,
        None => match local.vanished.get(file) {
            Some(Absence::Observed | Absence::Settling) => Became::Gone,
            Some(Absence::Unexplained) | None => Became::Missing,
        },
    }
}

fn there(id: Option<&RemoteId>, base: &Row, cloud: &CloudTree) -> Became {
    match id.and_then(|id| cloud.messages.get(id)) {
        None => Became::Gone,
        Some(message) if message.mailbox != base.mailbox => Became::Moved,
        Some(message)
            if (message.flags | base.flags.cloud).contains(Flags::DRAFT)
                && !message.hash.is_some_and(|hash| base.is_known_in_the_cloud(&hash)) =>
        {
            Became::Edited
        }
        Some(message) if message.flags != base.flags.cloud => Became::Flags,
        Some(_) => Became::Unchanged,
    }
}

/// The file that a step is about, where it is now.
fn file_of<'a>(op: &'a Op, base: Option<&'a Row>) -> Option<&'a FileKey> {
    match op {
        Op::Rename { from, .. } => Some(from),
        Op::Remove { file, .. } | Op::Upload { file, .. } => Some(file),
        Op::Replace { old, .. } => Some(old),
        Op::MoveInCloud { base, .. }
        | Op::SetCloudFlags { base, .. }
        | Op::UpdateDraft { base, .. }
        | Op::Record { base, .. } => Some(&base.file),
        Op::Deliver { .. } | Op::DeleteInCloud { .. } | Op::Forget { .. } | Op::Fetch { .. } => {
            base.map(|base| &base.file)
        }
    }
}
