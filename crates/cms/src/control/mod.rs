//! The control socket: how a command asks the process that holds the state, if one does.
//!
//! `control.sock` lies in the state directory and answers its own user alone. A line of JSON is a [`Request`], the next
//! line that comes back is the [`Reply`]; both name the version of this language. The loop answers, between its events:
//! nobody else reads or changes the trees. A command that finds nobody at the socket opens the state itself and answers
//! the same request by the same code (`sync::Driver::answer`).

mod client;
mod door;
mod message;
mod report;
mod server;
mod socket;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub(crate) use crate::page::{Headline, HeldReport};
pub(crate) use client::Client;
pub(crate) use door::Door;
pub(crate) use message::{Reply, Request, Which};
pub(crate) use report::{
    AccountReport, ComparisonReport, MailboxReport, MaildirReport, MaildirState, ProcessReport, Report,
};
pub(crate) use server::{Asked, Listening, serve};

/// Why nobody could be asked, or no answer came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// Nobody listens: open the state, which may be free.
    #[error("no process of cms answers at `{}`", path.display())]
    NobodyThere {
        /// The socket.
        path: PathBuf,
    },
    /// It ended before it answered. What was asked for may have been done or not; ask again.
    #[error("the process of cms that was asked ended before it answered")]
    Ended,
    /// It doesn't speak this language: another version.
    #[error("the running cms is another version ({theirs}); this one is {ours}")]
    OtherVersion {
        /// What it says.
        theirs: String,
        /// What we say.
        ours: &'static str,
    },
    /// It is another user's.
    #[error("`{}` belongs to another user", path.display())]
    Stranger {
        /// The socket.
        path: PathBuf,
    },
    /// The system refused.
    #[error("couldn't {doing} `{}`", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
