//! Signing in, renewing and keeping, against simulated services and real keyrings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod claims;
mod device_code;
mod faults;
mod google;
mod keeping;
mod keyring;
mod refusals;
mod renewing;
mod signing_in;
mod strictness;
mod support;
mod vault;
