//! Flags, identities, the three trees and `plan()`: pure. No I/O, no clock, no randomness, no async.

mod because;
mod collections;
mod flags;
mod identity;
mod op;
mod packed;
mod plan;
mod trees;

pub use because::{Became, Because};
pub use collections::{HashMap, HashSet};
pub use flags::Flags;
pub use identity::{BaseName, ContentHash, FileKey, MailboxId, MaildirId, MessageId, RemoteId, RowId, UnixSeconds};
pub use op::{Answer, Op};
pub use packed::{forget_unpacked, pack};
pub use plan::{
    Busy, Deletions, Held, Plan, Policy, Readiness, Reason, Role, Router, Scope, Takes, Touched, Uploads, Word, plan,
};
pub use trees::{
    Absence, Brief, CloudBytes, CloudMessage, CloudTree, Files, LocalFile, LocalTree, Messages, Row, Side, Sides,
    SyncedTree,
};
