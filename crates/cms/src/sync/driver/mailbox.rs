//! One mailbox: what the configuration and the cloud say of it, and how far its listing has come.

use cms_cloud::contract::{Cursor, DeleteAction, FolderId, FolderRole};
use cms_engine::{HashSet, MailboxId, MaildirId, RemoteId, UnixSeconds};
use tokio::time::Instant;

use crate::configuration::Upload;
use crate::page::Trouble;
use crate::sync::SyncError;
use crate::sync::driver::Driver;

/// One configured mailbox.
pub(super) struct Mailbox {
    pub(super) id: MailboxId,
    pub(super) account: usize,
    /// The account that signs in for it, under which it is shown.
    pub(super) sign_in: usize,
    pub(super) name: String,
    /// The tree that it is in, as an index.
    pub(super) tree: Option<usize>,
    /// The Maildir that all its messages are in, where it is in a tree.
    pub(super) home: Option<MaildirId>,
    /// Whether the cloud doesn't have it any more, though its messages may still be here.
    pub(super) is_gone: bool,
    pub(super) position: Option<String>,
    pub(super) delete_action: DeleteAction,
    pub(super) upload: Upload,
    /// What it is for, once that was asked.
    pub(super) role: Option<FolderRole>,
    pub(super) role_asked: bool,
    pub(super) folder: Option<FolderId>,
    /// The folder that it was when it was last there.
    pub(super) last_folder: Option<FolderId>,
    pub(super) total_items: u64,
    pub(super) cursor: Option<Cursor>,
    /// Where deleted messages go.
    pub(super) delete_target: DeleteTarget,
    pub(super) round: Option<Round>,
    pub(super) next_poll: Instant,
    pub(super) failures: u32,
    /// Whether a round was completed since the start.
    pub(super) polled: bool,
    /// Why a single run goes on without it.
    pub(super) left_out: Option<SyncError>,
    /// When the last round began that was completed. What it tells is at least as new as that.
    pub(super) polled_at: Option<Instant>,
    /// The time of day of that.
    pub(super) synced_at: Option<UnixSeconds>,
    /// What is in the way.
    pub(super) trouble: Option<Trouble>,
}

/// Where deleted messages of a mailbox go.
pub(super) enum DeleteTarget {
    /// It wasn't asked for yet.
    Unknown,
    /// Nowhere: they are deleted for good.
    Nowhere,
    /// Into a folder.
    Folder(FolderId),
}

impl From<Option<FolderId>> for DeleteTarget {
    fn from(folder: Option<FolderId>) -> Self {
        folder.map_or(Self::Nowhere, Self::Folder)
    }
}

/// A round of polling under way.
pub(super) struct Round {
    pub(super) began: Instant,
    pub(super) seen: HashSet<RemoteId>,
    pub(super) removals: HashSet<RemoteId>,
    /// Set when the last page has come: the cursor to save once nothing is open any more.
    pub(super) finished: Option<Cursor>,
    pub(super) open_questions: usize,
    pub(super) failed: bool,
    /// Whether the folder was looked up by name in this round.
    pub(super) opened: bool,
}

impl Round {
    /// One that begins now, with so many questions open.
    pub(super) fn new(open_questions: usize) -> Self {
        Self {
            began: Instant::now(),
            seen: HashSet::default(),
            removals: HashSet::default(),
            finished: None,
            open_questions,
            failed: false,
            opened: false,
        }
    }
}

impl Driver {
    pub(super) fn mailbox_mut(&mut self, id: MailboxId) -> Option<&mut Mailbox> {
        self.mailboxes.iter_mut().find(|mailbox| mailbox.id == id)
    }

    pub(super) fn mailbox(&self, id: MailboxId) -> Option<&Mailbox> {
        self.mailboxes.iter().find(|mailbox| mailbox.id == id)
    }

    /// What is wrong with a mailbox of the configuration, with the place where that says so.
    pub(super) fn wrong(&self, id: MailboxId, what: &str, hint: String) -> SyncError {
        let position = self.mailbox(id).and_then(|mailbox| mailbox.position.as_ref());
        let what = position.map_or_else(|| what.to_owned(), |position| format!("{position}: {what}"));
        SyncError::Configuration { what, hint }
    }

    pub(super) fn mailbox_name(&self, id: MailboxId) -> String {
        self.mailbox(id).map(|mailbox| mailbox.name.clone()).unwrap_or_default()
    }
}
