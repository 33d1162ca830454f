//! Refresh tokens on the disk, encrypted.

pub(crate) mod format;
pub(crate) mod key;

pub use self::format::{FormatError, KeptSignIn};
