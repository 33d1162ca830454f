//! The local side: from what is on disk to the Local tree, and from the planner's local ops to the disk.

mod looking;
mod opening;
mod performing;

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};

use cms_engine::MaildirId;
use cms_maildir::{Maildir, MaildirError};
use cms_store::{Store, StoreError};

pub(crate) use opening::mark_key;

/// One configured Maildir, readable or not.
// Each of these is a fact of its own.
#[allow(clippy::struct_excessive_bools)]
struct Configured {
    id: MaildirId,
    path: PathBuf,
    opened: Option<Maildir>,
    /// Whether it was there in this run. It may have had no mark, if that couldn't be written.
    was_there: bool,
    /// The id in its mark; nothing if it was never marked.
    mark: Option<String>,
    /// Whether it couldn't be marked, so that it is tried again.
    unmarked: bool,
    /// The file system's name for it while it is open.
    identity: Option<(u64, u64)>,
    /// Whether another directory is in its place.
    replaced: bool,
    /// Whether names that Synced knows aren't believed when it is listed the next time.
    doubted: bool,
}

/// All configured Maildirs.
pub(crate) struct LocalSide {
    store: Store,
    maildirs: Vec<Configured>,
    /// Whether the store took a file in since that was last asked.
    adopted: Cell<bool>,
}

/// Why a local op wasn't done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    /// The disk isn't as the tree says: look again, then plan again.
    #[error("the Maildir has changed meanwhile")]
    LookAgain(MaildirId),
    /// Another directory is in the Maildir's place: nothing in it, and nothing missing from it, means anything.
    #[error("another directory is in the place of a Maildir that held mail")]
    Replaced(MaildirId),
    /// The directory in a Maildir's place is that of another Maildir: all of its mail would seem to have been moved.
    #[error("`{}` is the directory that held the mail of `{}`", path.display(), other.display())]
    OfAnother {
        /// Where it is.
        path: PathBuf,
        /// Where it was.
        other: PathBuf,
    },
    /// The store doesn't have the content: download it again.
    #[error("the message store has lost a message")]
    ContentMissing,
    /// A file that is about to go can't be read, so that nobody knows what would be lost.
    #[error("couldn't read `{}`", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What a command is about isn't there.
    #[error("its file isn't there, or its Maildir can't be read")]
    NotThere,
    /// The Maildir can't be used now.
    #[error(transparent)]
    Maildir(#[from] MaildirError),
    /// The store can't be used now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LocalError {
    /// Whether the disk is full.
    pub(crate) fn is_disk_full(&self) -> bool {
        match self {
            Self::Maildir(error) => error.is_disk_full(),
            Self::Store(error) => matches!(error, StoreError::DiskFull { .. }),
            Self::LookAgain(_)
            | Self::Replaced(_)
            | Self::OfAnother { .. }
            | Self::ContentMissing
            | Self::Unread { .. }
            | Self::NotThere => false,
        }
    }
}

impl LocalSide {
    /// `maildirs`: each with the id in its mark, if it was marked.
    pub(crate) fn new(store: Store, maildirs: impl IntoIterator<Item = (MaildirId, PathBuf, Option<String>)>) -> Self {
        let configured = |(id, path, mark)| Configured {
            id,
            path,
            opened: None,
            was_there: false,
            mark,
            unmarked: false,
            identity: None,
            replaced: false,
            doubted: false,
        };
        Self { store, maildirs: maildirs.into_iter().map(configured).collect(), adopted: Cell::new(false) }
    }

    pub(crate) fn ids(&self) -> Vec<MaildirId> {
        self.maildirs.iter().map(|maildir| maildir.id).collect()
    }

    pub(crate) fn path(&self, id: MaildirId) -> Option<&Path> {
        self.maildirs.iter().find(|maildir| maildir.id == id).map(|maildir| maildir.path.as_path())
    }

    pub(crate) fn maildir(&self, id: MaildirId) -> Option<&Maildir> {
        self.maildirs.iter().find(|maildir| maildir.id == id)?.opened.as_ref()
    }

    /// Whether a Maildir was there once. Then it is waited for, and never made anew: mail may be in it that no row tells
    /// of, such as what was moved into it last.
    pub(crate) fn is_known(&self, id: MaildirId) -> bool {
        self.maildirs.iter().any(|maildir| maildir.id == id && maildir.mark.is_some())
    }

    /// Whether another directory is in a Maildir's place.
    pub(crate) fn is_replaced(&self, id: MaildirId) -> bool {
        self.maildirs.iter().any(|maildir| maildir.id == id && maildir.replaced)
    }

    /// Whether the store took a file in since this was last asked. It isn't durable there until the store is flushed.
    pub(crate) fn take_adopted(&self) -> bool {
        self.adopted.take()
    }

    /// Makes what was done in a Maildir durable.
    pub(crate) fn sync_directories(&self, id: MaildirId) -> Result<(), MaildirError> {
        self.maildir(id).map_or(Ok(()), Maildir::sync_directories)
    }
}

/// A file that isn't where the tree says, or a name that is taken, means that the tree is behind the disk.
fn look_again(error: MaildirError, id: MaildirId) -> LocalError {
    match error {
        MaildirError::Vanished { .. } | MaildirError::NameTaken { .. } => LocalError::LookAgain(id),
        MaildirError::SourceMissing { .. } => LocalError::ContentMissing,
        other => LocalError::Maildir(other),
    }
}
