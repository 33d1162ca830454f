//! What is being worked on, so that nothing is planned for it.

use cms_engine::{FileKey, Op, RemoteId};

use crate::sync::world::World;
use crate::sync::world::confirming::op_base;

impl World {
    /// Says that work on a message has begun.
    pub(crate) fn begin(&mut self, id: &RemoteId) {
        self.busy.ids.insert(id.clone());
        self.homeless.remove(id);
    }

    /// Says that a message is being worked on for the sake of an op.
    pub(crate) fn begin_op(&mut self, id: &RemoteId, op: &Op) {
        self.begin(id);
        if let Some(row) = op.row() {
            self.concerned.insert(id.clone(), row);
            // Under the id that its row knows, the message would be looked for among others of the same content meanwhile.
            let known_as = self.synced.get(row).map(|row| &row.remote).filter(|known_as| *known_as != id);
            if let Some(known_as) = known_as.cloned()
                && self.busy.ids.insert(known_as.clone())
            {
                self.known_as.insert(id.clone(), known_as);
            }
        }
    }

    /// Says that a change of a message has begun. The file that its row gets by it is that of no twin meanwhile.
    pub(crate) fn begin_change(&mut self, id: &RemoteId, op: &Op) {
        self.begin_op(id, op);
        if let Some(file) = op_base(op).map(|base| &base.file).filter(|file| self.strangers.contains(*file)) {
            self.busy.promised.insert(file.clone());
            self.promised.insert(id.clone(), file.clone());
        }
    }

    /// Says that work on a message has ended, however it ended.
    pub(crate) fn end(&mut self, id: &RemoteId) {
        self.busy.ids.remove(id);
        self.touched.rows.extend(self.concerned.remove(id));
        if let Some(known_as) = self.known_as.remove(id) {
            self.busy.ids.remove(&known_as);
        }
        if let Some(file) = self.promised.remove(id) {
            self.busy.promised.remove(&file);
            self.free_file(&file);
        }
        if self.synced.by_remote(id).is_none()
            && let Some(message) = self.cloud.messages.get(id).cloned()
            && self.is_brought(id, &message)
        {
            self.homeless.insert(id.clone());
        }
        self.touch(id);
    }

    /// Says that the upload of a file has begun.
    pub(crate) fn begin_file(&mut self, key: &FileKey) {
        self.busy.files.insert(key.clone());
    }

    /// Says that the upload of a file has ended, however it ended.
    pub(crate) fn end_file(&mut self, key: &FileKey) {
        self.busy.files.remove(key);
        self.free_file(key);
    }

    pub(super) fn free_file(&mut self, key: &FileKey) {
        if self.synced.by_file(key).is_none() {
            self.local.vanished.remove(key);
        }
        self.touched.files.insert(key.clone());
    }
}
