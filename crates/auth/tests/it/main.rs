//! Signing in, renewing and keeping, against simulated services and real keyrings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod keyring;
mod renewing;
mod signing_in;
mod support;
mod vault;
