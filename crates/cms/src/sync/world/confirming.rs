//! What an op that was carried out, or refused, makes of the trees.

use cms_engine::{Answer, CloudMessage, Flags, Op, Row, RowId, Sides};
use cms_store::Change;

use crate::sync::journal::Reason;
use crate::sync::world::World;
use crate::sync::world::state::synced_record;

impl World {
    /// What both sides agree on of the flags of a message that has more to be told: flags that a file was given because the cloud
    /// said so look like the user's wish once the cloud says otherwise. `after` is what the row will be when all is told.
    pub(crate) fn agreed_already(&self, row: RowId, after: &Row) -> Option<Sides<Flags>> {
        let old = self.synced.get(row)?.flags;
        let here = self.local.files.get(&after.file)?.flags;
        let there = self.cloud.messages.get(&after.remote)?.flags;
        let agreed = ((here ^ old.local) & (there ^ old.cloud)) - (here ^ there);
        (!agreed.is_empty())
            .then(|| Sides { local: old.local.with(agreed, here), cloud: old.cloud.with(agreed, there) })
    }

    /// Whether the cloud was heard to say something of messages that their rows don't tell: files may have been brought up to
    /// it.
    pub(crate) fn has_unnoted(&self) -> bool {
        let mut homeless = self.homeless.iter().filter_map(|id| self.cloud.messages.get(id));
        let is_newer = |row: &Row, message: &CloudMessage| {
            let edited = (message.flags | row.flags.cloud).contains(Flags::DRAFT)
                && message.hash.is_some_and(|hash| hash != row.hash);
            edited || message.flags != row.flags.cloud || message.mailbox != row.mailbox
        };
        let mut unlike = self.synced.unlike_the_cloud(&self.cloud);
        homeless.any(|message| message.hash.is_some())
            || unlike
                .any(|(_, row)| self.cloud.messages.get(&row.remote).is_some_and(|message| is_newer(&row, message)))
    }

    /// Moves the base for a confirmed op, and the trees with it as far as the op says how they are now, and writes it into
    /// the journal.
    pub(crate) fn confirm(&mut self, op: &Op, answer: &Answer, reason: &Reason) {
        let before = op.row();
        let row_before = self.row_before(op);
        let vanished_file = before.and_then(|row| self.synced.get(row)).map(|row| (row.file.clone(), row.hash));
        // A message has one row: one that a new row takes the place of goes from the database first.
        let rivals: Vec<(RowId, Row)> = op_base(op)
            .map(|base| [self.synced.by_remote(&base.remote), self.synced.by_file(&base.file)])
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|rival| Some((rival, self.synced.get(rival)?.clone())))
            .collect();
        let row = self.synced.confirm(op, answer);
        for (rival, lost) in rivals {
            if self.synced.get(rival).is_some() || Some(rival) == before {
                continue;
            }
            self.changes.push(Change::DeleteSynced(rival));
            self.write_rival(rival, &lost, reason);
            let Row { remote, file, hash, .. } = lost;
            // What it stood for is nobody's now.
            if self.synced.by_remote(&remote).is_none()
                && let Some(message) = self.cloud.messages.get(&remote).cloned()
                && self.is_brought(&remote, &message)
            {
                self.homeless.insert(remote.clone());
                self.touch(&remote);
            }
            if self.synced.by_file(&file).is_none() {
                self.orphan(file, hash);
            }
        }
        self.mirror(before, row);
        self.write_journal(op, row, row_before.as_ref(), answer, reason);
        if let Some((file, hash)) = vanished_file
            && self.synced.by_file(&file).is_none()
        {
            self.local.vanished.remove(&file);
            self.orphan(file, hash);
        }
    }

    /// The row that an op concerns, as it is now; for a leftover, that of the message that it is left of.
    pub(super) fn row_before(&self, op: &Op) -> Option<Row> {
        let row = match op {
            Op::Remove { row: None, file, .. } => self.synced.by_file(file),
            _ => op.row(),
        };
        row.and_then(|row| self.synced.get(row)).cloned()
    }

    /// Moves the base for an op that the cloud refused for good, for that reason.
    pub(crate) fn refuse(&mut self, op: &Op, reason: &Reason, why: String) {
        let Some(before) = op.row() else { return };
        let Some(old) = self.synced.get(before).cloned() else { return };
        let local = self.local.files.get(&old.file).map(|file| file.flags);
        let cloud = self.cloud.messages.get(&old.remote).map(|message| message.flags);
        // A file that was deleted here and can't be deleted there comes back.
        self.local.vanished.remove(&old.file);
        let row = self.synced.refuse(op, local, cloud);
        self.mirror(Some(before), row);
        self.write_refusal(op, &old, reason, why);
        self.touch_row(before);
    }

    /// Changes a row outside of any op.
    pub(crate) fn amend_row(&mut self, id: RowId, change: impl FnOnce(&mut Row)) {
        if let Some(mut row) = self.synced.get(id).cloned() {
            change(&mut row);
            self.synced.put(id, row);
            self.mirror(Some(id), Some(id));
        }
    }

    pub(super) fn mirror(&mut self, before: Option<RowId>, after: Option<RowId>) {
        if let Some(before) = before
            && Some(before) != after
            && self.synced.get(before).is_none()
        {
            self.changes.push(Change::DeleteSynced(before));
        }
        if let Some(id) = after
            && let Some(row) = self.synced.get(id)
        {
            self.strangers.remove(&row.file);
            self.saved.remove(&row.file);
            self.homeless.remove(&row.remote);
            self.changes.push(Change::PutSynced(synced_record(id, row)));
            self.touched.rows.insert(id);
            self.note_linked(id);
        }
    }
}

pub(super) fn op_base(op: &Op) -> Option<&Row> {
    match op {
        Op::Deliver { base, .. }
        | Op::Replace { base, .. }
        | Op::Rename { base, .. }
        | Op::SetCloudFlags { base, .. }
        | Op::MoveInCloud { base, .. }
        | Op::UpdateDraft { base, .. }
        | Op::Record { base, .. } => Some(base),
        Op::Fetch { .. } | Op::Upload { .. } | Op::Remove { .. } | Op::DeleteInCloud { .. } | Op::Forget { .. } => None,
    }
}
