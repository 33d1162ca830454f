//! Messages by content hash and the persistent state of the program.
//!
//! * [`Store`] holds every message once, in a file named by its content hash. Files in Maildirs are further names (hard
//!   links) of these.
//! * [`Incoming`] is one download on its way into the store: line ends converted, checked, flushed, then named.
//! * [`Outgoing`] is one message on its way to the cloud, with its line ends.
//! * [`Database`] holds what was observed and agreed on: the Cloud and Synced trees, cursors, notes, and
//!   the journal of what was done. Never work to do.
//! * [`Lock`] makes sure that one process at a time works on a state directory.
//!
//! Everything here is readable by this user alone. All calls block for as long as the disk takes.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod database;
mod error;
mod incoming;
mod line_ends;
mod lock;
mod message_ids;
mod message_start;
mod messages;
mod outgoing;
mod prune;

pub use database::{
    After, Asked, AskedRecord, Change, CloudRecord, Database, Deed, DeletedNote, Ended, Heard, JournalEntry,
    JournalPart, JournalRecord, MailboxRecord, ReportedNote, Standing, SyncedRecord, TreeFolderRecord, TreePlace,
    TreeStanding, Wanted,
};
pub use error::StoreError;
pub use incoming::{Incoming, Stored};
pub use line_ends::{LineEnds, WireLineEnds};
pub use lock::Lock;
pub use message_ids::MessageIds;
pub use messages::Store;
pub use outgoing::Outgoing;
pub use prune::Pruned;
