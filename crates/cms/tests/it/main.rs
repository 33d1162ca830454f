//! The program as a whole, run as its users run it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cli;
mod first_sync;
mod configuration_of_the_seed;
mod corpus;
mod mail_program;
mod python_failures;
mod world;
