//! What a command asks the loop to do beside keeping both sides the same, and what came of it.

use serde::{Deserialize, Serialize};

use crate::sync::verification::Verification;

/// Something to be done by the loop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "errand", rename_all = "snake_case")]
pub(crate) enum Errand {
    /// Take back what was done.
    Undo {
        /// What of it.
        what: Undone,
        /// Whether only to tell what would be done.
        dry_run: bool,
    },
    /// Bring back messages that were removed, each named by an entry of the journal.
    Restore {
        /// The entries' numbers.
        numbers: Vec<u64>,
    },
    /// Compare everything with everything.
    Verify,
}

/// Which part of the journal to take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Undone {
    /// All since a time, in seconds since 1970.
    Since(i64),
    /// One entry.
    Entry(u64),
    /// An undo or a restoration, by its number.
    Run(u32),
}

/// What came of an errand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrandReport {
    /// What was done, or would be.
    pub(crate) done: Vec<String>,
    /// What couldn't be done, each with the reason.
    pub(crate) not_done: Vec<String>,
    /// The number by which it can itself be taken back, if something was done.
    pub(crate) run: Option<u32>,
    /// Whether some of it is still on its way to the cloud.
    pub(crate) on_its_way: bool,
    /// What a comparison found.
    pub(crate) verification: Option<Verification>,
}

/// Takes the report of an errand.
pub(crate) type Answer = Box<dyn FnOnce(ErrandReport) + Send>;
