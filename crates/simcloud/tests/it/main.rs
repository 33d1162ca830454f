//! The simulation, driven over HTTP as a client drives the service.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod batch;
mod client;
mod delta;
mod faults;
mod folders;
mod ids;
mod mail;
mod sign_in;
mod throttling;
