//! The program as a whole, run as its users run it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cli;
mod first_sync;
mod world;
