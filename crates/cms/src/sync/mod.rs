//! Keeping both sides the same: observe, plan, apply.
//!
//! [`Driver`] is the loop. It owns the trees ([`world`]); [`local`] and [`tasks`] are its hands on the disk and in the
//! cloud; [`routing`] answers which Maildir a message belongs to. What it tells its user is in [`report`].

mod age;
mod alarms;
mod at_rest;
mod driver;
mod errand;
mod fetching;
mod flips;
mod headline;
mod journal;
mod local;
mod making;
mod message_text;
mod original;
mod queue;
mod report;
mod routing;
mod saved_copy;
mod scope;
mod surroundings;
mod tasks;
mod told;
mod undo;
mod uploads;
mod verification;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cms_cloud::contract::{CloudAccount, CloudError, DeleteAction, Notifier};
use cms_maildir::MaildirError;
use cms_store::StoreError;

use crate::configuration::{Since, Upload};
use crate::control::Door;
use crate::page::Board;
use crate::progress::Progress;
use crate::tree::TreeSetup;

pub(crate) use at_rest::{complete as complete_at_rest, unknown_mailbox};
pub(crate) use driver::Driver;
pub(crate) use errand::{Errand, ErrandReport, Undone};
pub(crate) use local::{LocalError, mark_key};
pub(crate) use report::{Listener, Notice, Summary};
pub(crate) use routing::Route;
pub(crate) use surroundings::Surroundings;
pub(crate) use verification::{MailboxCounts, MaildirCounts};

/// What a run needs to know.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) state_dir: PathBuf,
    /// Signed in, or signing in when they are first asked: one for each that signs in, then those that reach mailboxes of
    /// others' with the same sign-ins.
    pub(crate) accounts: Vec<Arc<dyn CloudAccount>>,
    /// What the accounts that sign in are called in the database; stable across runs.
    pub(crate) account_names: Vec<String>,
    pub(crate) mailboxes: Vec<MailboxSetup>,
    /// The accounts that are kept as a whole.
    pub(crate) trees: Vec<TreeSetup>,
    pub(crate) maildirs: Vec<PathBuf>,
    /// Nothing where every message goes to the first Maildir.
    pub(crate) route: Option<Arc<Route>>,
    /// Between two polls of a mailbox where nothing happens.
    pub(crate) poll_interval: Duration,
    /// The same while things happen.
    pub(crate) quick_poll_interval: Duration,
    pub(crate) keep_deleted_days: u32,
    pub(crate) max_deletions: Option<u32>,
    pub(crate) on_change: Option<String>,
    pub(crate) start: Start,
    /// Whether nothing outside the state directory may be touched.
    pub(crate) dry_run: bool,
    pub(crate) surroundings: Surroundings,
    pub(crate) progress: Progress,
    pub(crate) listener: Option<Arc<Listener>>,
    /// What the page shows of the mailboxes.
    pub(crate) board: Option<Board>,
    /// Where the page asks.
    pub(crate) door: Option<Door>,
    /// What tells of changes, beside polling.
    pub(crate) push: Vec<PushSetup>,
}

/// What tells of changes in mailboxes of one account.
#[derive(Clone)]
pub(crate) struct PushSetup {
    /// The account, as an index.
    pub(crate) account: usize,
    /// What it is called in the database.
    pub(crate) account_name: String,
    /// The configured names of the mailboxes.
    pub(crate) mailboxes: Vec<String>,
    /// Whether it tells of the folders of the account's tree as well.
    pub(crate) tree: bool,
    pub(crate) notifier: Arc<dyn Notifier>,
    /// Whether it is tried again and again where it isn't there, instead of once a day.
    pub(crate) insists: bool,
}

/// How often a mailbox is polled while things happen.
pub(crate) const QUICK_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// One configured mailbox.
#[derive(Clone)]
pub(crate) struct MailboxSetup {
    /// The account that signs in for it, as an index.
    pub(crate) account: usize,
    /// Which of [`Setup::accounts`] reaches it.
    pub(crate) client: usize,
    /// Its configured name.
    pub(crate) name: String,
    /// Where the configuration says so, as `file:line:column`.
    pub(crate) position: Option<String>,
    /// What deleting means.
    pub(crate) delete_action: DeleteAction,
    /// What goes there from the Maildirs.
    pub(crate) upload: Upload,
    /// Since when messages are brought here.
    pub(crate) since: Option<Since>,
    /// Whether what the cloud deletes there stays here.
    pub(crate) keep: bool,
}

/// What holds of the changes that were made in the Maildirs while nothing was watching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Start {
    /// They are merged with the cloud's.
    #[default]
    Merge,
    /// They are discarded.
    Online,
    /// They are merged; and where no base is known, the Maildir's flags win.
    Offline,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    /// The configuration names something that doesn't exist.
    #[error("{what}")]
    Configuration {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A Maildir that held mail isn't there.
    #[error("`{}`, which held mail, isn't there", path.display())]
    MaildirMissing {
        /// The Maildir.
        path: PathBuf,
        /// What was missing.
        source: MaildirError,
    },
    /// Another directory is in the place of a Maildir that held mail.
    #[error("`{}` isn't the directory that held the mail: its mark is missing, or is another one's", path.display())]
    MaildirReplaced {
        /// The Maildir.
        path: PathBuf,
    },
    /// One mailbox can't be synced, and the others can.
    #[error("`{mailbox}` couldn't be synced")]
    Mailbox {
        /// What the user calls it.
        mailbox: String,
        /// What the cloud said.
        source: CloudError,
    },
    #[error(transparent)]
    Cloud(CloudError),
    #[error(transparent)]
    Maildir(MaildirError),
    #[error(transparent)]
    Local(LocalError),
    #[error(transparent)]
    Store(StoreError),
}

impl SyncError {
    /// Whether the disk is full.
    pub(crate) fn is_disk_full(&self) -> bool {
        match self {
            Self::Maildir(error) => error.is_disk_full(),
            Self::Local(error) => error.is_disk_full(),
            Self::Store(error) => matches!(error, StoreError::DiskFull { .. }),
            Self::Configuration { .. }
            | Self::MaildirMissing { .. }
            | Self::MaildirReplaced { .. }
            | Self::Mailbox { .. }
            | Self::Cloud(_) => false,
        }
    }
}
