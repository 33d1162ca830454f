//! Flags, identities, the three trees and `plan()`: pure. No I/O, no clock, no randomness, no async.

mod flags;
mod identity;

pub use flags::Flags;
pub use identity::{
    BaseName, ContentHash, FileKey, MailboxId, MaildirId, RemoteId, RowId, UnixSeconds,
};
