//! The Microsoft Graph client against a simulated Microsoft 365.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod apply;
mod changes;
mod claims;
mod fetch;
mod folders;
mod hung;
mod large;
mod notifications;
mod over_tls;
mod polls;
mod silence;
mod support;
mod throttling;
mod together;
mod uploads;
mod webhooks;
