//! How everything stands, as `cms status` tells it.

use serde::{Deserialize, Serialize};

use crate::page::{Activity, HeldReport, SignInStatus, Trouble};

/// How everything stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The process that holds the state; nothing if none runs, and all else is what the last one wrote down.
    pub(crate) process: Option<ProcessReport>,
    /// The accounts, in the order of the configuration, each with its mailboxes.
    pub(crate) accounts: Vec<AccountReport>,
    /// The Maildirs, in the order of the configuration.
    pub(crate) maildirs: Vec<MaildirReport>,
    /// What the disk refuses for now.
    #[serde(default)]
    pub(crate) disk: Vec<Trouble>,
    /// The last comparison of everything, if there was one.
    #[serde(default)]
    pub(crate) compared: Option<ComparisonReport>,
}

/// What a comparison of everything found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ComparisonReport {
    /// When it ended, in seconds since 1970.
    pub(crate) at: i64,
    /// How many files were read.
    pub(crate) files: u64,
    /// How many differences there were. They were told, and mended as far as the planner knows how.
    pub(crate) differences: u64,
}

/// The process that holds the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessReport {
    /// Its number.
    pub(crate) pid: u32,
    /// Its command: "run", "sync" …
    pub(crate) command: String,
    /// Its version.
    pub(crate) version: String,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountReport {
    /// As people know it.
    pub(crate) name: String,
    /// Such as "Microsoft 365".
    pub(crate) service: String,
    /// Whether it may be used.
    pub(crate) sign_in: SignInStatus,
    /// Its mailboxes.
    pub(crate) mailboxes: Vec<MailboxReport>,
}

/// One mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailboxReport {
    /// As the configuration names it.
    pub(crate) name: String,
    /// How many messages the cloud has in it.
    pub(crate) messages: u64,
    /// How many of them aren't here yet.
    pub(crate) waiting: u64,
    /// How many stay in the cloud because they were received before `since`.
    #[serde(default)]
    pub(crate) left_out: u64,
    /// Since when messages are brought here, in seconds since 1970, if it isn't all of them.
    #[serde(default)]
    pub(crate) since: Option<i64>,
    /// How many stay here though the cloud has them no more.
    #[serde(default)]
    pub(crate) kept: u64,
    /// What is going on, if something runs.
    pub(crate) activity: Option<Activity>,
    /// When the cloud was last heard to the end, in seconds since 1970.
    pub(crate) synced_at: Option<i64>,
    /// When it is asked next, in seconds since 1970.
    pub(crate) next_poll_at: Option<i64>,
    /// What is in the way.
    pub(crate) trouble: Option<Trouble>,
    /// Messages that can't be downloaded for now, each with the reason.
    pub(crate) not_downloadable: Vec<String>,
    /// Deletions that wait for the user's word.
    pub(crate) held: Vec<HeldReport>,
}

/// One Maildir.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MaildirReport {
    /// Where it is.
    pub(crate) path: String,
    /// Whether it is used.
    pub(crate) state: MaildirState,
    /// Files that only it has.
    pub(crate) local_only: u64,
}

/// Whether a Maildir is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MaildirState {
    /// It is the one that we know.
    Known,
    /// It never was there, and will be made.
    New,
    /// It held mail and isn't there, or can't be read.
    Missing,
    /// Another directory is in its place.
    Replaced,
}
