//! The simulation, driven over HTTP as a client drives the service.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod attachments;
mod batch;
mod claims;
mod client;
mod consent;
mod delta;
mod device;
mod faults;
mod folders;
mod google;
mod ids;
mod mail;
mod notifications;
mod oauth;
mod refusals;
mod sign_in;
mod sign_in_page;
mod strictness;
mod throttling;
mod uploads;
mod webhooks;
