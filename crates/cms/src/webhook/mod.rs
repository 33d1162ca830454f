//! Where the mail service's change notifications arrive, behind a proxy or at the end of a tunnel.
//!
//! It is a listener of its own and not the page's: the page answers this user's processes alone, under its own names,
//! and a proxy is neither. Here anybody may ask, and finds one path that takes notifications and shows nothing. What
//! that path is told is [`Webhook`]'s to judge; it can do no more than have a mailbox looked at sooner.

mod respond;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use server::Reception;
