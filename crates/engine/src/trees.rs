//! The three trees: what the cloud holds, what the Maildirs hold, and what both last agreed on.

mod files;
mod messages;
mod synced;

pub use files::Files;
pub use messages::Messages;
pub use synced::{Brief, SyncedTree};

use crate::{BaseName, ContentHash, FileKey, Flags, HashMap, HashSet, MailboxId, MaildirId, RemoteId, UnixSeconds};

/// One of the two sides that are kept the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The Maildirs.
    Local,
    /// The cloud account.
    Cloud,
}

/// A value for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides<T> {
    /// The Maildirs' value.
    pub local: T,
    /// The cloud's value.
    pub cloud: T,
}

/// What the cloud last told of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudMessage {
    /// The mailbox that it is in.
    pub mailbox: MailboxId,
    /// Its flags, as far as the cloud has them.
    pub flags: Flags,
    /// When it was received.
    pub received: UnixSeconds,
    /// The hash of its bytes as they were downloaded; nothing until then, and nothing again when a draft may have changed.
    pub hash: Option<ContentHash>,
    /// Drafts only: changes when the content may have changed.
    pub revision: Option<Box<str>>,
    /// Whether it can't be downloaded for now, so that asking again at once makes no sense.
    pub blocked: bool,
}

/// What the cloud last told us.
#[derive(Clone, Debug, Default)]
pub struct CloudTree {
    /// Every message of every listed mailbox.
    pub messages: Messages,
    /// The mailboxes that have been listed to the end at least once. In any other, absence means nothing.
    pub complete: HashSet<MailboxId>,
}

/// One file in a Maildir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFile {
    /// The flags in its name.
    pub flags: Flags,
    /// The hash of its bytes, where it was read: always for a name that Synced doesn't know. Nothing stands for
    /// "as Synced has it", since nobody writes into a file under a known name.
    pub hash: Option<ContentHash>,
    /// Its inode number, or 0 where it wasn't asked for.
    pub inode: u64,
}

/// How a file that Synced knows came to be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Nobody saw it go: it comes back.
    Unexplained,
    /// It was just seen to go, and may yet turn up under another name or in another Maildir.
    Settling,
    /// It was seen to go, and didn't turn up elsewhere: the user deleted it.
    Observed,
}

/// What the Maildirs hold.
#[derive(Clone, Debug, Default)]
pub struct LocalTree {
    /// Every file of every readable Maildir.
    pub files: Files,
    /// The Maildirs that were read completely and still can be. In any other, absence means nothing.
    pub readable: HashSet<MaildirId>,
    /// Files that were seen to go while we watched.
    pub vanished: HashMap<FileKey, Absence>,
}

/// One message that both sides have (or had): the merge base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The cloud's name for it.
    pub remote: RemoteId,
    /// The mailbox in which the cloud had it.
    pub mailbox: MailboxId,
    /// The file that is it.
    pub file: FileKey,
    /// The flags that each side had when both were last the same. They differ where the cloud can't hold a flag
    /// that the Maildir has, or the other way round.
    pub flags: Sides<Flags>,
    /// The hash of the file's bytes.
    pub hash: ContentHash,
    /// The bytes that the cloud has for it.
    pub cloud_bytes: CloudBytes,
    /// The file's inode number, or 0 where it isn't known.
    pub inode: u64,
    /// When it was received.
    pub received: UnixSeconds,
    /// Drafts only: the revision whose bytes were last looked at.
    pub revision: Option<Box<str>>,
}

/// The bytes that the cloud has for a message, compared with those of its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloudBytes {
    /// They are the same.
    #[default]
    Same,
    /// The cloud has these: it makes a message anew of what it is given, or of what it holds.
    Other(ContentHash),
    /// Not known yet. They are read once after an upload.
    Unread,
}

impl Row {
    /// Whether the cloud's bytes are those that it had for this row, or may be.
    pub fn is_known_in_the_cloud(&self, hash: &ContentHash) -> bool {
        match self.cloud_bytes {
            CloudBytes::Same => *hash == self.hash,
            CloudBytes::Other(known) => *hash == known,
            CloudBytes::Unread => true,
        }
    }

    /// The hash by which the message would be known again under another id.
    pub fn hash_in_the_cloud(&self) -> ContentHash {
        match self.cloud_bytes {
            CloudBytes::Other(known) => known,
            CloudBytes::Same | CloudBytes::Unread => self.hash,
        }
    }
}

impl FileKey {
    /// A file's place.
    pub fn new(maildir: MaildirId, base_name: BaseName) -> Self {
        Self { maildir, base_name }
    }
}
