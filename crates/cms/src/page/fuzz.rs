//! A way in for fuzzers.
