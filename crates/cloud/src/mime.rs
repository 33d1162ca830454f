//! The parts of a message, read as a stream: a message of any length takes no more memory than what is asked for of it
//! (RFC 2045, RFC 2046).
//!
//! Anything is read without failing, but for the reading itself: what isn't MIME is one part.

mod content;
mod parts;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

pub use content::{Content, contents};
pub use parts::{Kind, Part, parts};

/// Bytes that can be read from their beginning as often as need be.
pub trait Readable: Send + Sync {
    /// Begins to read them.
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>>;
}

impl Readable for &[u8] {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(*self))
    }
}

impl Readable for PathBuf {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(File::open(self)?))
    }
}
