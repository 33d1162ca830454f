//! Whole accounts: every folder is a mailbox with a Maildir of its own below one root.
//!
//! Which folders there are is an observation like any other. The state keeps it ([`cms_store::TreeFolderRecord`]): a folder
//! is known by the cloud's id, so that a folder which is renamed or moved keeps its mailbox and its Maildir, and only the
//! Maildir's directory gets another name. [`arrange`] says, without I/O, what the folders are to be; [`expand()`] makes it so,
//! before the Maildirs are opened. What the trees come to is readable from the state alone, so that a start needs no
//! network for it.
//!
//! What somebody does with the directories is found by the marks in the Maildirs, and asked of the cloud ([`wishes()`]).
//!
//! The driver lists the folders while it runs. Where they are other than they were, it ends what is under way, expands anew
//! and opens the state again: as after a kill, which costs nothing but the look at the Maildirs.

mod arrange;
mod expand;
mod filter;
mod names;
mod wishes;

use std::path::PathBuf;
use std::sync::Arc;

use cms_cloud::contract::{DeleteAction, Tree};
use cms_engine::HashSet;

use crate::configuration::{Since, Upload};

pub(crate) use arrange::{Named, Shape};
pub(crate) use expand::{Expanded, expand, is_as_arranged, is_elsewhere, is_kept, known, steps, taken_in};
pub(crate) use filter::Filter;
pub(crate) use names::Layout;
pub(crate) use wishes::{FolderWish, GONE, Nobodys, REMOVED, fulfil, removed_key, wishes};

/// One account that is kept as a whole.
#[derive(Clone)]
pub(crate) struct TreeSetup {
    /// The account that signs in, as an index.
    pub(crate) account: usize,
    /// What it is called in the database.
    pub(crate) account_name: String,
    /// What the tree is called there: several of one account are of different owners.
    pub(crate) name: String,
    /// Which client reaches it.
    pub(crate) client: usize,
    /// The directory that the Maildirs are in.
    pub(crate) root: PathBuf,
    /// Which folders, and where.
    pub(crate) shape: Shape,
    /// Where the configuration says so.
    pub(crate) position: Option<String>,
    /// What deleting means.
    pub(crate) delete_action: DeleteAction,
    /// What goes there from the Maildirs.
    pub(crate) upload: Upload,
    /// Since when messages are brought here.
    pub(crate) since: Option<Since>,
    /// Whether what the cloud deletes there stays here.
    pub(crate) keep: bool,
    /// The folders as they were last listed, if that was in this run.
    pub(crate) listed: Option<Arc<Tree>>,
    /// What the cloud refused in this run.
    pub(crate) refused: HashSet<FolderWish>,
}
