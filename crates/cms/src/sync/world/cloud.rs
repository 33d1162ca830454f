//! What the cloud says, and what becomes of the Cloud tree by it.

use cms_cloud::contract::Seen;
use cms_engine::{CloudBytes, CloudMessage, ContentHash, Flags, HashSet, MailboxId, RemoteId, Row};
use cms_store::Change;

use crate::sync::world::World;

impl World {
    /// Takes what the cloud said of a message, with `mailbox` as the place where it was seen.
    pub(crate) fn see(&mut self, seen: &Seen, mailbox: MailboxId) -> Taken {
        let known = self.cloud.messages.get(&seen.id);
        if let Some(size) = seen.size
            && known.is_none_or(|known| known.hash.is_none())
        {
            self.sizes.insert(seen.id.clone(), size);
        }
        let Some(known) = known else {
            // The report of a read mark alone doesn't make a message of one that was never seen.
            let Some(received) = seen.received else { return Taken::AskFirst };
            let message = CloudMessage {
                mailbox,
                flags: seen.flags & seen.known_flags,
                received,
                hash: self.content_of_its_row(seen),
                revision: seen.revision.clone().map(Into::into),
                blocked: false,
            };
            self.put_cloud(seen.id.clone(), message);
            return Taken::Yes;
        };
        let mut message = known.clone();
        message.mailbox = mailbox;
        let was_draft = message.flags.contains(Flags::DRAFT);
        message.flags = message.flags.with(seen.known_flags, seen.flags);
        if let Some(received) = seen.received {
            message.received = received;
        }
        let is_draft = message.flags.contains(Flags::DRAFT);
        if is_draft && seen.revision.is_some() && seen.revision.as_deref() != message.revision.as_deref() {
            message.revision = seen.revision.clone().map(Into::into);
            message.hash = None;
        }
        if was_draft && !is_draft {
            // Sending gives a draft its final form.
            message.revision = None;
            message.hash = None;
        }
        if message != *known {
            self.put_cloud(seen.id.clone(), message);
        }
        Taken::Yes
    }

    /// The content of a message that was gone and is back under its id. Of a draft it may be another one by now.
    fn content_of_its_row(&self, seen: &Seen) -> Option<ContentHash> {
        let row = self.synced.get(self.synced.by_remote(&seen.id)?)?;
        let is_draft = (seen.flags | row.flags.cloud).contains(Flags::DRAFT);
        (!is_draft && row.cloud_bytes == CloudBytes::Same).then_some(row.hash)
    }

    /// About how many bytes a message has that is to be downloaded, if the cloud told.
    pub(crate) fn size(&self, id: &RemoteId) -> Option<u64> {
        self.sizes.get(id).copied()
    }

    /// Says that a message isn't to be taken for a small one.
    pub(crate) fn forget_size(&mut self, id: &RemoteId) {
        self.sizes.remove(id);
    }

    /// Writes a message into the Cloud tree.
    pub(crate) fn put_cloud(&mut self, id: RemoteId, message: CloudMessage) {
        self.changes.push(Change::PutCloud(self.cloud_record(&id, &message)));
        if self.synced.by_remote(&id).is_none() && !self.busy.ids.contains(&id) && self.is_brought(&id, &message) {
            self.homeless.insert(id.clone());
        }
        self.touch(&id);
        self.hearsay.of_message(&id);
        self.cloud.messages.insert(id, message);
    }

    /// Takes a message out of the Cloud tree: it is in none of the configured mailboxes any more.
    pub(crate) fn drop_cloud(&mut self, id: &RemoteId) {
        self.sizes.remove(id);
        if let Some(message) = self.cloud.messages.remove(id) {
            self.note_gone(id, &message);
            self.troubles.remove(id);
            self.homeless.remove(id);
            self.changes.push(Change::DeleteCloud(id.clone()));
            self.hearsay.of_message(id);
            self.touch(id);
        }
    }

    /// What a download of a message is of, as the store is to know it: for a draft, that revision of it, so that an older
    /// one which was downloaded before a crash isn't taken for it; for all else the message.
    pub(crate) fn version(&self, id: &RemoteId) -> RemoteId {
        match self.cloud.messages.get(id) {
            Some(CloudMessage { flags, revision: Some(revision), .. }) if flags.contains(Flags::DRAFT) => {
                RemoteId::new(format!("{id} {revision}"))
            }
            _ => id.clone(),
        }
    }

    /// The revision at which a draft is that was uploaded and not read back yet. What is read at another one is what somebody
    /// else has made of it.
    pub(crate) fn uploaded_revision(&self, id: &RemoteId) -> Option<Box<str>> {
        let row = self.synced.get(self.synced.by_remote(id)?)?;
        let message = self.cloud.messages.get(id)?;
        let is_draft = message.flags.contains(Flags::DRAFT);
        message.revision.clone().filter(|_| is_draft && row.cloud_bytes == CloudBytes::Unread)
    }

    /// The downloads that a run which ended early may have completed without writing it down.
    pub(crate) fn awaited_versions(&self) -> impl Iterator<Item = RemoteId> {
        self.cloud.messages.unread().map(|(id, _)| self.version(id))
    }

    /// Notes the content of a message that was downloaded.
    ///
    /// `lost` says that the content of its row is nowhere any more.
    pub(crate) fn fetched(&mut self, id: &RemoteId, hash: ContentHash, lost: bool) {
        self.sizes.remove(id);
        self.troubles.remove(id);
        if let Some(mut message) = self.cloud.messages.get(id).cloned() {
            message.hash = Some(hash);
            message.blocked = false;
            let draft = message.flags.contains(Flags::DRAFT);
            self.put_cloud(id.clone(), message);
            // Exchange may make other bytes of a message each time. It is no other message for that: what was downloaded
            // again because it was lost here takes the place of what was lost.
            let may_be_amended = |row: &Row| {
                let is_draft = draft || row.flags.cloud.contains(Flags::DRAFT);
                // Of a draft these may be another version, which takes the place of nothing but what nobody has.
                row.hash != hash && (!is_draft || !self.local.files.contains_key(&row.file))
            };
            if lost
                && let Some(row) = self.synced.by_remote(id)
                && self.synced.get(row).is_some_and(may_be_amended)
            {
                self.amend_row(row, |row| {
                    row.hash = hash;
                    row.cloud_bytes = CloudBytes::Same;
                });
            }
        }
    }

    /// Lets a message be downloaded again whose content was lost here.
    pub(crate) fn forget_content(&mut self, id: &RemoteId) {
        if let Some(mut message) = self.cloud.messages.get(id).cloned() {
            message.hash = None;
            message.blocked = false;
            self.put_cloud(id.clone(), message);
        }
    }

    /// Forgets what messages have as their content that the store turned out not to have, so that it is downloaded again.
    pub(crate) fn forget_contents(&mut self, contents: &HashSet<ContentHash>) {
        let rows = self.synced.iter().filter(|(_, row)| contents.contains(&row.hash)).map(|(_, row)| row.remote);
        let known = |message: &CloudMessage| message.hash.is_some_and(|hash| contents.contains(&hash));
        let messages = self.cloud.messages.iter().filter(|(_, message)| known(message)).map(|(id, _)| id);
        let ids: HashSet<RemoteId> = rows.chain(messages).collect();
        for id in ids {
            self.forget_content(&id);
        }
    }
}

/// What applying one observation of the cloud came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The tree says so now.
    Yes,
    /// It is too little to go by, or may be older than what we know: the message must be asked for by its id.
    AskFirst,
}
