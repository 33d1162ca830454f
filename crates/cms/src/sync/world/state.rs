//! The trees as the database has them: what is loaded from it, and what it is to be told.

use cms_engine::{BaseName, CloudMessage, ContentHash, FileKey, RemoteId, Row, RowId, Sides};
use cms_store::{Change, CloudRecord, ReportedNote, SyncedRecord};

use crate::sync::world::{Trouble, World};

impl World {
    /// Adds a change that the database is to be told with the next ones.
    pub(crate) fn note(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Hands out the changes that the database hasn't been told yet.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Takes changes back that couldn't be written; they go before whatever came since.
    pub(crate) fn put_back(&mut self, mut changes: Vec<Change>) {
        changes.append(&mut self.changes);
        self.changes = changes;
    }

    /// Whether there is something that the database hasn't been told.
    pub(crate) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    pub(super) fn cloud_record(&self, id: &RemoteId, message: &CloudMessage) -> CloudRecord {
        let trouble = self.troubles.get(id).filter(|trouble| !trouble.is_ours);
        CloudRecord {
            remote_id: id.clone(),
            mailbox: message.mailbox,
            flags: message.flags,
            received: message.received,
            hash: message.hash,
            revision: message.revision.as_deref().map(Into::into),
            fetched_revision: None,
            trouble: trouble.filter(|_| message.blocked).map(|trouble| trouble.why.clone()),
            retry_at: trouble.filter(|_| message.blocked).map(|trouble| trouble.retry_at),
            attempts: trouble.map_or(0, |trouble| trouble.attempts),
            size: self.size(id),
        }
    }

    /// Takes a stored message into the tree at the start.
    pub(crate) fn load_cloud(&mut self, record: CloudRecord) {
        if let (Some(why), Some(retry_at)) = (record.trouble, record.retry_at) {
            let trouble = Trouble { why, attempts: record.attempts, retry_at, is_ours: false };
            self.troubles.insert(record.remote_id.clone(), trouble);
        }
        if let Some(size) = record.size {
            self.sizes.insert(record.remote_id.clone(), size);
        }
        let message = CloudMessage {
            mailbox: record.mailbox,
            flags: record.flags,
            received: record.received,
            hash: record.hash,
            revision: record.revision.map(Into::into),
            blocked: self.troubles.contains_key(&record.remote_id),
        };
        self.cloud.messages.insert(record.remote_id, message);
    }

    /// The content of every message in the trees.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = ContentHash> {
        self.cloud.messages.values().filter_map(|message| message.hash).chain(self.synced.contents())
    }

    /// Finds the messages without a row, once all trees are loaded.
    pub(crate) fn find_homeless(&mut self) {
        for id in self.cloud.messages.without_row(&self.synced).collect::<Vec<RemoteId>>() {
            if let Some(message) = self.cloud.messages.get(&id).cloned()
                && self.is_brought(&id, &message)
            {
                self.homeless.insert(id);
            }
        }
    }

    /// Takes a stored row into the tree at the start, before the cloud's messages are loaded.
    pub(crate) fn load_row(&mut self, record: SyncedRecord) {
        let Some(remote) = record.remote_id else { return };
        let row = Row {
            remote,
            mailbox: record.mailbox,
            file: FileKey::new(record.maildir, record.base_name),
            flags: Sides { local: record.local_flags, cloud: record.cloud_flags },
            hash: record.hash,
            cloud_bytes: record.cloud_bytes,
            inode: record.inode,
            received: record.received,
            revision: record.revision.map(Into::into),
        };
        let rows = self.loading.entry(row.file.maildir).or_default();
        rows.push((record.row_id, row));
        if rows.len() >= LOADED_TOGETHER {
            self.synced.load(rows);
        }
    }

    /// Says that all rows were loaded. The other trees can answer from them now.
    pub(crate) fn loaded_rows(&mut self) {
        for mut rows in std::mem::take(&mut self.loading).into_values() {
            self.synced.load(&mut rows);
        }
        self.synced.share(&mut self.cloud, &mut self.local);
    }

    /// Takes a stored note that the user was told of a file.
    pub(crate) fn load_reported(&mut self, note: ReportedNote) {
        self.reported.insert(FileKey::new(note.maildir, BaseName::new(note.base_name)));
    }
}

/// How many of a Maildir's stored rows are packed together.
const LOADED_TOGETHER: usize = 256;

pub(super) fn synced_record(id: RowId, row: &Row) -> SyncedRecord {
    SyncedRecord {
        row_id: id,
        remote_id: Some(row.remote.clone()),
        mailbox: row.mailbox,
        maildir: row.file.maildir,
        base_name: row.file.base_name.clone(),
        local_flags: row.flags.local,
        cloud_flags: row.flags.cloud,
        hash: row.hash,
        cloud_bytes: row.cloud_bytes,
        inode: row.inode,
        received: row.received,
        revision: row.revision.as_deref().map(Into::into),
    }
}
