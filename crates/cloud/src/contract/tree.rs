//! The folders of a whole account, for who keeps all of them the same.

use super::{Cursor, FolderId};

/// The folders of an account that people see and that may hold mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Each of them, in no order.
    pub folders: Vec<TreeFolder>,
    /// Those of the folders that were asked for by their ids that aren't there any more. One that is neither here nor in the
    /// list is there, at a place that isn't told.
    pub gone: Vec<FolderId>,
}

/// One folder of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeFolder {
    /// What it is asked for by; the same whatever it is called and wherever it is moved.
    pub id: FolderId,
    /// The folder that it lies in; nothing at the top.
    pub parent: Option<FolderId>,
    /// What it is called, as a part of a path. It may hold any character.
    pub name: String,
    /// What it is for, where every mailbox has such a folder.
    pub purpose: Option<Purpose>,
}

/// What a folder is for that every mailbox has, whatever it is called in the mailbox's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Where mail arrives.
    Inbox,
    /// What isn't sent yet.
    Drafts,
    /// What was sent.
    Sent,
    /// What was deleted.
    Deleted,
    /// What the service takes for unwanted.
    Junk,
    /// What was filed away.
    Archive,
    /// What is on its way out. It holds no mail that stays.
    Outbox,
    /// What was said in chats.
    Conversations,
    /// What mail programs couldn't bring together.
    SyncIssues,
}

impl Purpose {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Inbox,
        Self::Drafts,
        Self::Sent,
        Self::Deleted,
        Self::Junk,
        Self::Archive,
        Self::Outbox,
        Self::Conversations,
        Self::SyncIssues,
    ];

    /// What such a folder is called in English.
    pub fn english(self) -> &'static str {
        match self {
            Self::Inbox => "Inbox",
            Self::Drafts => "Drafts",
            Self::Sent => "Sent Items",
            Self::Deleted => "Deleted Items",
            Self::Junk => "Junk Email",
            Self::Archive => "Archive",
            Self::Outbox => "Outbox",
            Self::Conversations => "Conversation History",
            Self::SyncIssues => "Sync Issues",
        }
    }

    /// Whether what is in it is mail that somebody keeps.
    pub fn holds_mail(self) -> bool {
        !matches!(self, Self::Outbox | Self::Conversations | Self::SyncIssues)
    }
}

/// Whether the folders of an account are as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeNews {
    /// Whether some were made, renamed, moved or deleted, or may have been.
    pub changed: bool,
    /// From where to ask the next time. Without one the cloud can't tell, and the folders must be listed.
    pub cursor: Option<Cursor>,
}
