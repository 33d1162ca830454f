//! One message on its way out of the store, as the cloud takes it.

use std::fs::File;
use std::io::{self, Read};

use cms_engine::ContentHash;

use crate::{Store, WireLineEnds};

/// How much is read from the disk at a time.
const PIECE: usize = 64 * 1024;

/// A stored message as a stream with CRLF line ends. It ends in an error, [`io::ErrorKind::InvalidData`], if the file isn't
/// what its name says, so that nothing else than the message is ever believed to have been sent.
#[derive(Debug)]
pub struct Outgoing {
    file: File,
    hash: ContentHash,
    hasher: blake3::Hasher,
    line_ends: WireLineEnds,
    piece: Vec<u8>,
    /// What is converted and not yet taken, from `taken` on.
    ready: Vec<u8>,
    taken: usize,
}

impl Store {
    /// Opens a message to be sent.
    pub fn outgoing(&self, hash: &ContentHash) -> io::Result<Outgoing> {
        Ok(Outgoing {
            file: File::open(self.path_of(hash))?,
            hash: *hash,
            hasher: blake3::Hasher::new(),
            line_ends: WireLineEnds::default(),
            piece: vec![0; PIECE],
            ready: Vec::new(),
            taken: 0,
        })
    }

    /// How many bytes a message has as the cloud takes it.
    pub fn wire_size_of(&self, hash: &ContentHash) -> io::Result<u64> {
        io::copy(&mut self.outgoing(hash)?, &mut io::sink())
    }
}

impl Read for Outgoing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.ready.len() {
            let count = self.file.read(&mut self.piece)?;
            if count == 0 {
                let found = ContentHash::new(*self.hasher.finalize().as_bytes());
                let message = "a stored message isn't what its name says";
                return if found == self.hash {
                    Ok(0)
                } else {
                    Err(io::Error::new(io::ErrorKind::InvalidData, message))
                };
            }
            let piece = self.piece.get(..count).unwrap_or_default();
            self.hasher.update(piece);
            self.ready.clear();
            self.taken = 0;
            self.line_ends.convert(piece, &mut self.ready);
        }
        let left = self.ready.get(self.taken..).unwrap_or_default();
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.taken += count;
        Ok(count)
    }
}
