//! The planner, proved from outside: pictures, the decision table, and random worlds run to rest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod documentation;
mod pictures;
mod properties;
mod scope;
mod table;
mod uploads;
mod world;
