//! The page at <http://localhost:8080/>: what the program does, and the way through every sign-in.
//!
//! The program writes its [`Status`] on a [`Board`] and takes orders at a [`Desk`]; [`Page`] stands between them and
//! the browser. Nothing here knows what a sign-in consists of, and the page has no tokens to show. Of mail it shows the
//! subject, the sender and the time of a few messages whose deletion waits for the user's word, and nothing else.
//!
//! Invariant: a web page in the user's browser, or another user of this machine, can neither read the status nor
//! begin or end a sign-in, nor say anything of held deletions. `guard` and `peer` hold the rules, `respond` applies them before anything else.

mod accounts;
mod answer;
mod board;
mod desk;
mod error;
mod events;
mod form;
#[doc(hidden)]
pub mod fuzz;
mod guard;
mod held;
mod holder;
mod html;
mod overall;
mod panel;
mod peer;
mod render;
mod respond;
mod server;
mod sockets;
mod status;
mod words;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use board::Board;
pub use desk::{CameBack, Desk};
pub use error::PageError;
pub(crate) use held::argument;
pub use held::{Headline, HeldReport, Word};
pub use holder::Holder;
pub use server::{BoundPage, Page, PageHandle};
pub use status::{AccountStatus, Activity, MailboxStatus, SignInStatus, Status, Trouble};
