//! What is asked and answered, as it goes over the socket.

use serde::{Deserialize, Serialize};

use super::report::Report;
use crate::page::HeldReport;
use crate::sync::{Errand, ErrandReport};

/// The version of the language: another one isn't understood, and says so.
pub(super) const LANGUAGE: u32 = 1;

/// Something that the holder of the state is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Request {
    /// How everything stands.
    Status,
    /// Which deletions wait for the user's word.
    Held,
    /// The held deletions are meant: do them.
    Apply {
        /// Which of them.
        #[serde(default)]
        which: Which,
    },
    /// The held deletions aren't meant: what was deleted here comes back, and what is gone from the cloud stays here.
    Restore {
        /// Which of them.
        #[serde(default)]
        which: Which,
    },
    /// To do something; the reply comes when it is done.
    Errand {
        /// What.
        errand: Errand,
    },
}

/// Which of the held deletions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Which {
    /// All that there are.
    #[default]
    All,
    /// Those of a mailbox, by its configured name, with its account's name and a colon before it where that is needed; or,
    /// by its path, a Maildir that is out of use.
    Mailbox(String),
    /// Exactly those that were shown under this id.
    Shown(String),
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(crate) enum Reply {
    /// To [`Request::Status`].
    Status(Box<Report>),
    /// To [`Request::Held`].
    Held {
        /// What waits; nothing if nothing does.
        held: Vec<HeldReport>,
    },
    /// To [`Request::Apply`] and [`Request::Restore`]: the word is kept, and will be followed even after a crash.
    Ruled {
        /// What it holds for; nothing if nothing was held.
        held: Vec<HeldReport>,
    },
    /// To [`Request::Restore`] of a Maildir that was out of use: it is used again, and its mail is put back.
    Refilled {
        /// Its path.
        maildir: String,
    },
    /// To [`Request::Errand`].
    Errand {
        /// What came of it.
        report: Box<ErrandReport>,
    },
    /// It can't be done.
    Refused {
        /// Why, in words.
        what: String,
        /// What to do.
        hint: Option<String>,
    },
}

/// A request on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) language: u32,
    #[serde(flatten)]
    pub(super) request: Request,
}

/// A reply on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) language: u32,
    pub(super) version: String,
    #[serde(flatten)]
    pub(super) reply: Reply,
}

/// What every version can read of an answer, or of a question.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    pub(super) language: u32,
    #[serde(default)]
    pub(super) version: String,
}
