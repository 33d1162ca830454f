//! The program as a whole, run as its users run it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod both_ways;
mod browser;
mod cli;
mod configuration_of_the_seed;
mod corpus;
mod crossing;
mod desktop;
mod disk;
mod disk_faults;
mod failures;
mod faults;
mod first_sync;
mod held;
mod kills;
mod laptop;
mod ledger;
mod mail_program;
mod moves;
mod mutt;
mod namespace;
mod power;
mod python_failures;
mod redaction;
mod scope;
mod seeds;
mod shared;
mod signing_in;
mod start_policies;
mod status;
mod stop;
mod stories;
mod world;
