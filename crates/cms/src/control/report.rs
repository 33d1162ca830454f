//! How everything stands, as `cms status` tells it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::page::{Activity, SignInStatus, Trouble};

/// How everything stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The process that holds the state; nothing if none runs, and all else is what the last one wrote down.
    pub(crate) process: Option<ProcessReport>,
    /// The accounts, in the order of the configuration, each with its mailboxes.
    pub(crate) accounts: Vec<AccountReport>,
    /// The Maildirs, in the order of the configuration.
    pub(crate) maildirs: Vec<MaildirReport>,
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

/// Deletions in one mailbox that wait for the user's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldReport {
    /// Stands for exactly these messages: another set has another id.
    pub(crate) id: String,
    /// The place of the account in the configuration.
    pub(crate) account: usize,
    /// The mailbox, as the configuration names it.
    pub(crate) mailbox: String,
    /// Whether the messages are gone from the cloud, and files would go; else they were deleted here.
    pub(crate) gone_from_cloud: bool,
    /// How many messages.
    pub(crate) count: u64,
    /// Of how many that both sides had.
    pub(crate) of: u64,
    /// What happened: a sentence without its full stop.
    pub(crate) cause: String,
    /// Up to five of them, newest first.
    pub(crate) samples: Vec<Headline>,
}

/// A message as people know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Headline {
    /// Its subject, decoded; empty if it has none.
    pub(crate) subject: String,
    /// Who sent it.
    pub(crate) sender: String,
    /// When it was received, as RFC 3339 writes it.
    pub(crate) received: String,
}

impl HeldReport {
    /// What makes it worse.
    pub(crate) fn avoid(&self) -> &'static str {
        if self.gone_from_cloud {
            "don't delete the files or the state directory: they may hold the only copies"
        } else {
            "don't delete the state directory, and don't raise `cfg.max_deletions`, to be rid of this"
        }
    }

    /// What is safe whatever has happened, and the command for it.
    pub(crate) fn safe(&self) -> String {
        let what = if self.gone_from_cloud { "keep the files" } else { "get the messages back" };
        format!("to {what}: `cms held restore {}`", argument(&self.mailbox))
    }

    /// What to do if the deletions are meant.
    pub(crate) fn meant(&self) -> String {
        let what = if self.gone_from_cloud { "remove the files too" } else { "delete them in the cloud too" };
        format!("only if that is what you want, to {what}: `cms held apply {}`", argument(&self.mailbox))
    }
}

impl fmt::Display for HeldReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = if self.gone_from_cloud { "their files are kept" } else { "the cloud keeps them" };
        write!(f, "{}; {kept} until you say otherwise", self.cause)
    }
}

/// A mailbox as it is typed after a command.
fn argument(mailbox: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    if mailbox.chars().all(plain) { mailbox.to_owned() } else { format!("'{}'", mailbox.replace('\'', "'\\''")) }
}
