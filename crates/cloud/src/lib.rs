//! What a cloud mailbox is, and the clients that make one of Microsoft Graph (and others).
//!
//! The contract is in [`contract`]; a provider is a folder of its own beside it and is named nowhere else.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod background;
pub mod contract;
mod exchange;
mod http;
pub mod mime;
pub mod office365;

pub use background::in_background;
pub use exchange::{Exchange, recorded};
pub use http::{NeverSent, RetryPolicy, Timeouts, Transport};
