//! What a cloud mailbox is, and the clients that make one of Microsoft Graph (and others).
//!
//! The contract is in [`contract`]; a provider is a folder of its own beside it and is named nowhere else.

pub mod contract;
