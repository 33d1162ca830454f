//! A Maildir on disk: scan, watch, deliver, rename, remove.
//!
//! The format is Bernstein's (maildir(5)) with what mail programs add to it: letters beyond the six flags, a suffix
//! in `new`, none in `cur`. Three rules hold everywhere:
//!
//! * A message file is never written in place. It appears whole under its final name, changes flags by being renamed,
//!   and keeps its base name.
//! * Nothing is overwritten: a name that is taken is an error.
//! * A listing is whole or an error, and it says whether the directory kept still meanwhile.
//!
//! All calls but [`Watcher::next_batch`] and [`Watcher::try_out`] block for as long as the disk takes.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod deliver;
mod directory;
mod error;
mod file_name;
mod hearing;
mod host;
mod mark;
mod rename;
mod scan;
mod tree;
mod watch;

pub use deliver::{Delivered, How};
pub use directory::{FileFacts, Maildir, hash_file};
pub use error::MaildirError;
pub use file_name::{FileName, Place};
pub use hearing::Hearing;
pub use host::host_name;
pub use rename::Removal;
pub use scan::{Entry, Scan};
pub use tree::{Below, maildirs_below, move_directory, remove_empty_directories, remove_empty_maildir};
pub use watch::{WatchEvent, Watcher};
