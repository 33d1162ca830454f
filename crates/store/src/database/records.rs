//! The rows of the tables, and the changes that can be made to them.

use cms_engine::{
    BaseName, CloudBytes, ContentHash, Flags, MailboxId, MaildirId, RemoteId, RowId, Side, UnixSeconds, Word,
};

use super::{AskedRecord, JournalEntry, TreeStanding};

/// One mailbox of one account, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailboxRecord {
    /// Its id here.
    pub id: MailboxId,
    /// The account, as the configuration names it.
    pub account: String,
    /// The mailbox, as the configuration names it.
    pub name: String,
    /// The cloud's id of the folder, once known.
    pub folder: Option<String>,
    /// Where the listing goes on, once begun.
    pub cursor: Option<String>,
    /// Whether the folder was listed whole since the cursor was last lost.
    pub complete: bool,
}

/// One message of the Cloud tree: what the cloud last told about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CloudRecord {
    /// Which message.
    pub remote_id: RemoteId,
    /// The mailbox that it is in.
    pub mailbox: MailboxId,
    /// Its flags.
    pub flags: Flags,
    /// When it was received.
    pub received: UnixSeconds,
    /// The hash of its content, once downloaded.
    pub hash: Option<ContentHash>,
    /// A draft's revision, as last told.
    pub revision: Option<String>,
    /// A draft's revision at the time of its download.
    pub fetched_revision: Option<String>,
    /// Why it can't be downloaded.
    pub trouble: Option<String>,
    /// When to try the download again.
    pub retry_at: Option<UnixSeconds>,
    /// How often the download failed.
    pub attempts: u32,
    /// About how many bytes it has, where that is of use for the download yet to be made.
    pub size: Option<u64>,
}

/// One row of the Synced tree: what both sides last agreed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncedRecord {
    /// Which row.
    pub row_id: RowId,
    /// The message in the cloud; nothing for one that exists only here.
    pub remote_id: Option<RemoteId>,
    /// Its mailbox there.
    pub mailbox: MailboxId,
    /// The Maildir that holds its file.
    pub maildir: MaildirId,
    /// The file's base name there.
    pub base_name: BaseName,
    /// The flags that the file had.
    pub local_flags: Flags,
    /// The flags that the cloud had.
    pub cloud_flags: Flags,
    /// The hash of the file's content.
    pub hash: ContentHash,
    /// What the cloud has for it.
    pub cloud_bytes: CloudBytes,
    /// The file's inode.
    pub inode: u64,
    /// When the message was received.
    pub received: UnixSeconds,
    /// A draft's revision.
    pub revision: Option<String>,
}

/// Something that the user was told about a file.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ReportedNote {
    /// The Maildir that holds the file.
    pub maildir: MaildirId,
    /// Its base name, or its whole name where it has none.
    pub base_name: String,
    /// What was told: a stable word.
    pub what: String,
}

/// A deletion that was made, or begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeletedNote {
    /// Which row's message.
    pub row: RowId,
    /// The side that lost it.
    pub side: Side,
    /// The mailbox that it was in.
    pub mailbox: MailboxId,
    /// When.
    pub at: UnixSeconds,
}

/// One change to the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Adds or replaces a message of the Cloud tree.
    PutCloud(CloudRecord),
    /// Removes one, if it is there.
    DeleteCloud(RemoteId),
    /// Adds or replaces a row of the Synced tree. Base names and remote ids are unique among rows.
    PutSynced(SyncedRecord),
    /// Removes one, if it is there.
    DeleteSynced(RowId),
    /// Stores the cloud's id of a mailbox's folder.
    SetFolder {
        /// Which mailbox.
        mailbox: MailboxId,
        /// The cloud's id.
        folder: String,
    },
    /// Says how a folder of a tree stands.
    SetTreeStanding {
        /// Its mailbox.
        mailbox: MailboxId,
        /// How it stands.
        standing: TreeStanding,
    },
    /// Stores where a mailbox's listing goes on.
    SetCursor {
        /// Which mailbox.
        mailbox: MailboxId,
        /// The cursor; nothing if it is lost.
        cursor: Option<String>,
        /// Whether the folder was listed whole.
        complete: bool,
    },
    /// Stores a text under a key.
    SetMeta {
        /// The key.
        key: String,
        /// The text.
        value: String,
    },
    /// Notes that the user was told something.
    Reported(ReportedNote),
    /// Forgets all that was told about a file.
    ClearReported {
        /// The Maildir that holds the file.
        maildir: MaildirId,
        /// Its base name, as it was noted.
        base_name: String,
    },
    /// Notes that nothing needs a message any more. An earlier note stands.
    Released {
        /// Which message.
        hash: ContentHash,
        /// Since when.
        at: UnixSeconds,
    },
    /// Adds an entry to the journal.
    Journal(Box<JournalEntry>),
    /// Notes what the cloud is asked for.
    Asked(AskedRecord),
    /// Forgets that, since it is known what came of it.
    Answered {
        /// The note's number.
        number: u64,
    },
    /// Forgets that note.
    Unreleased {
        /// Which message.
        hash: ContentHash,
    },
    /// Notes a deletion. An earlier note stands.
    Deleted(DeletedNote),
    /// Forgets the note of a deletion.
    ForgetDeleted {
        /// Which row's message.
        row: RowId,
        /// The side that lost it.
        side: Side,
    },
    /// Stores what the user said of a held deletion, or forgets it.
    SetWord {
        /// Which row's message.
        row: RowId,
        /// What was said; nothing to forget it.
        word: Option<Word>,
    },
}
