//! What the rest of the program tells the page.

use serde::{Deserialize, Serialize};

use super::held::HeldReport;

/// All that the page shows. It holds no tokens, and of mail the headlines of a few held messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// The process that serves the page.
    pub pid: u32,
    /// The command that runs: "run", "sync", "sign-in" …
    pub command: String,
    /// The accounts, in the order of the configuration; everything else names them by their place here.
    pub accounts: Vec<AccountStatus>,
    /// The mailboxes of all accounts.
    pub mailboxes: Vec<MailboxStatus>,
    /// What is wrong on this machine, whatever the mailbox: a full disk, a Maildir that isn't there.
    pub troubles: Vec<Trouble>,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountStatus {
    /// As people know it: the user's name, or the tenant.
    pub name: String,
    /// Such as "Microsoft 365" or "Gmail".
    pub service: String,
    /// Whether we may use it.
    pub sign_in: SignInStatus,
}

/// How far the sign-in of an account is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SignInStatus {
    /// Not looked at yet.
    Unknown,
    /// Tokens are there and work.
    SignedIn {
        /// Who signed in, if the service told.
        user: Option<String>,
        /// When the tokens were last renewed, in seconds since 1970.
        renewed_at: Option<i64>,
        /// Whether it survives a restart.
        kept: bool,
    },
    /// The user must sign in.
    Needed {
        /// Why: a sentence.
        reason: String,
    },
    /// A sign-in in the browser has begun.
    InBrowser,
    /// A sign-in by device code has begun.
    WithCode {
        /// What to type.
        user_code: String,
        /// Where to type it.
        address: String,
        /// When the code ends, in seconds since 1970.
        expires_at: i64,
    },
    /// The tokens are in a keyring that is locked.
    WaitingForKeyring,
    /// The sign-in service doesn't answer; it is asked again.
    Unreachable {
        /// Why: a sentence.
        reason: String,
    },
    /// The last sign-in came to nothing.
    Failed {
        /// Why: a sentence.
        reason: String,
        /// What the user can do about it.
        remedy: Option<String>,
    },
}

/// One mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MailboxStatus {
    /// The place of its account in [`Status::accounts`].
    pub account: usize,
    /// As the configuration names it.
    pub name: String,
    /// How many messages it has here.
    pub messages: u64,
    /// What is going on.
    pub activity: Activity,
    /// When both sides were last the same, in seconds since 1970.
    pub synced_at: Option<i64>,
    /// What is in the way, if anything.
    pub trouble: Option<Trouble>,
    /// Deletions that wait for the user's word.
    pub held: Vec<HeldReport>,
}

/// What is going on in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Activity {
    /// Nothing: both sides are watched.
    Idle,
    /// The cloud is asked what it has.
    Listing {
        /// Messages listed.
        done: u64,
        /// Messages there are, if the cloud said so.
        total: Option<u64>,
    },
    /// Messages are fetched.
    Downloading {
        /// Messages fetched.
        done: u64,
        /// Messages to fetch.
        total: u64,
        /// How long it takes until all that is waited for is here, if that can be told.
        #[serde(default)]
        seconds_left: Option<u64>,
    },
    /// Changes are made on either side.
    Changing,
    /// For its account, or until the cloud may be asked again.
    Waiting,
}

/// Something in the way, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What is wrong: a sentence.
    pub what: String,
    /// What the user can do about it.
    pub remedy: Option<String>,
}

impl SignInStatus {
    /// Whether the user has something to do before this account can be used.
    pub fn is_pending(&self) -> bool {
        match self {
            Self::Needed { .. } | Self::Failed { .. } | Self::InBrowser | Self::WithCode { .. } => true,
            Self::Unknown | Self::SignedIn { .. } | Self::WaitingForKeyring | Self::Unreachable { .. } => false,
        }
    }

    /// The name of the state, as in JSON.
    pub(super) fn state(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::SignedIn { .. } => "signed_in",
            Self::Needed { .. } => "needed",
            Self::InBrowser => "in_browser",
            Self::WithCode { .. } => "with_code",
            Self::WaitingForKeyring => "waiting_for_keyring",
            Self::Unreachable { .. } => "unreachable",
            Self::Failed { .. } => "failed",
        }
    }
}
