//! A message as it goes to the cloud, and one that is looked at there.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use cms_cloud::contract::MimeSink;
use cms_cloud::mime::Readable;
use cms_engine::ContentHash;
use cms_store::Store;

/// A stored message with CRLF line ends, and what goes before its own header.
pub(crate) struct Original {
    pub(crate) store: Arc<Store>,
    pub(crate) hash: ContentHash,
    pub(crate) prefix: String,
}

impl Readable for Original {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.prefix.as_bytes().chain(self.store.outgoing(&self.hash)?)))
    }
}

/// A message that is fetched to be looked at once. It has no name, so that nothing is left of it.
pub(crate) struct LookedAt(File);

impl LookedAt {
    pub(crate) fn new(store: &Store) -> io::Result<Self> {
        tempfile::tempfile_in(store.state_dir()).map(Self)
    }
}

impl MimeSink for LookedAt {
    fn restart(&mut self) -> io::Result<()> {
        self.0.set_len(0)?;
        io::Seek::rewind(&mut self.0)
    }

    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.0.write_all(chunk)
    }
}

impl Readable for LookedAt {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(Reader { file: &self.0, at: 0 }))
    }
}

/// Reads a file without moving the place at which others read it.
struct Reader<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
