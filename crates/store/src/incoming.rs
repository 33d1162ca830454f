//! One download on its way into the store.
//!
//! What is on disk when, so that a kill at any point costs at most the download that ran:
//!
//! 1. `incoming/ID.part` grows; ID is the BLAKE3 of the remote id. Alone, it is rubbish.
//! 2. Complete and checked, it gets a mark: a symbolic link `incoming/ID` whose target is no path but the content hash.
//! 3. It is renamed to its final place, `messages/ab/cdef…`.
//! 4. When the database knows the hash, the mark goes ([`Store::settle`]).
//!
//! The mark is no hard link, so that a message's link count tells exactly how many Maildirs hold it. It names the hash in
//! base64, since ext4 and others keep a target of less than 60 bytes in the inode, and take a block for a longer one.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cms_engine::{ContentHash, RemoteId};

use crate::messages::{hash_of, marked_hash, remove};
use crate::{LineEnds, Store, StoreError, message_start};

/// A message that is in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The hash of its bytes in LF form.
    pub hash: ContentHash,
    /// How many bytes that form has.
    pub size: u64,
}

/// A message that is being downloaded. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    store: Store,
    file: File,
    part: PathBuf,
    progress: Progress,
    /// Reused for each piece.
    converted: Vec<u8>,
}

/// All that begins anew when the download does.
#[derive(Debug, Default)]
struct Progress {
    line_ends: LineEnds,
    hasher: blake3::Hasher,
    raw_bytes: u64,
    size: u64,
    start: Vec<u8>,
}

impl Store {
    /// Begins a download. What an earlier attempt left is discarded.
    pub fn incoming(&self, id: &RemoteId) -> Result<Incoming, StoreError> {
        let part = self.mark_of(id).with_extension("part");
        remove(&part)?;
        let file = cms_disk::create_new(&part).map_err(|error| StoreError::io("create", &part, error))?;
        Ok(Incoming { store: self.clone(), file, part, progress: Progress::default(), converted: Vec::new() })
    }

    /// Finds a download that was completed, but perhaps not recorded before a crash. Its bytes are hashed again; if they
    /// aren't what they were, nothing is found.
    pub fn finished_incoming(&self, id: &RemoteId) -> Result<Option<Stored>, StoreError> {
        let mark = self.mark_of(id);
        let Some(hash) = marked_hash(&mark) else { return Ok(None) };
        let path = self.path_of(&hash);
        match hash_of(&path) {
            Ok(found) if found == hash => {
                let size = fs::metadata(&path).map_err(|error| StoreError::io("inspect", &path, error))?.len();
                Ok(Some(Stored { hash, size }))
            }
            Ok(_) => {
                // A power failure came before the flush. Under this name it would pass for the message.
                tracing::warn!(path = %path.display(), "a stored message isn't what its name says, and is downloaded again");
                remove(&path)?;
                remove(&mark).map(|()| None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => remove(&mark).map(|()| None),
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    /// Forgets that a download was completed, after the database row that names its hash was written.
    pub fn settle(&self, id: &RemoteId) -> Result<(), StoreError> {
        remove(&self.mark_of(id))
    }

    /// Forgets that downloads were completed, but for those of these messages: what a process left that was killed between
    /// writing the database and [`Store::settle`].
    pub fn settle_all_but(&self, ids: impl IntoIterator<Item = RemoteId>) -> Result<(), StoreError> {
        let directory = self.incoming_dir();
        let failed = |error| StoreError::io("read", &directory, error);
        // In a fixed order, so that the same simulated world takes the same course each time.
        let mut marks = BTreeSet::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            marks.insert(entry.map_err(failed)?.path());
        }
        marks.retain(|path| path.extension().is_none());
        if marks.is_empty() {
            return Ok(());
        }
        for id in ids {
            marks.remove(&self.mark_of(&id));
        }
        marks.iter().try_for_each(|mark| remove(mark))
    }

    fn mark_of(&self, id: &RemoteId) -> PathBuf {
        self.incoming_dir().join(blake3::hash(id.as_str().as_bytes()).to_hex().as_str())
    }
}

impl Incoming {
    /// Forgets all that was written: the transfer begins again.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.progress = Progress::default();
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(|error| StoreError::io("write", &self.part, error))
    }

    /// Takes the next bytes as the cloud sends them, however they are cut. CRLF becomes LF.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.converted.clear();
        self.progress.raw_bytes += piece.len() as u64;
        self.progress.line_ends.convert(piece, &mut self.converted);
        self.append()
    }

    /// How many bytes came in since the transfer began, CRs included: what a length that the cloud promised is compared with.
    pub fn raw_bytes(&self) -> u64 {
        self.progress.raw_bytes
    }

    /// Ends a download that is complete: checks that it may be a message, makes its bytes durable and gives it its name
    /// by content. The name is durable after the next [`Store::flush`].
    pub fn finish(mut self) -> Result<Stored, StoreError> {
        self.check()?;
        cms_disk::sync_file(&self.file, &self.part).map_err(|error| StoreError::io("flush", &self.part, error))?;
        self.place()
    }

    /// Like [`Incoming::finish`], but the bytes too are durable only after the next [`Store::flush`]: for many downloads
    /// in a row that costs a fraction. The database may name the message, and [`Store::settle`] be called, only after it.
    ///
    /// A power failure before may leave a file that isn't what its name says. It isn't believed: whoever finds a message
    /// here that no row names hashes it first.
    pub fn finish_unflushed(mut self) -> Result<Stored, StoreError> {
        self.check()?;
        self.place()
    }

    fn check(&mut self) -> Result<(), StoreError> {
        self.converted.clear();
        std::mem::take(&mut self.progress.line_ends).finish(&mut self.converted);
        self.append()?;
        message_start::check(&self.progress.start).map_err(|reason| StoreError::NotAMessage { reason })
    }

    fn place(&self) -> Result<Stored, StoreError> {
        let hash = ContentHash::new(*self.progress.hasher.finalize().as_bytes());
        self.mark(&hash)?;
        self.store.put_in_place(&self.part, &hash)?;
        Ok(Stored { hash, size: self.progress.size })
    }

    /// Leaves the mark that names the hash.
    fn mark(&self, hash: &ContentHash) -> Result<(), StoreError> {
        let mark = self.part.with_extension("");
        remove(&mark)?;
        let target = URL_SAFE_NO_PAD.encode(hash.as_bytes());
        cms_disk::symlink(Path::new(&target), &mark).map_err(|error| StoreError::io("create", &mark, error))
    }

    fn append(&mut self) -> Result<(), StoreError> {
        let bytes = &self.converted;
        cms_disk::write_all(&mut self.file, &self.part, bytes)
            .map_err(|error| StoreError::io("write", &self.part, error))?;
        self.progress.hasher.update(bytes);
        self.progress.size += bytes.len() as u64;
        let wanted = message_start::ENOUGH.saturating_sub(self.progress.start.len()).min(bytes.len());
        self.progress.start.extend(bytes.iter().take(wanted));
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // After `finish` the file has another name, and this finds nothing.
        let _ = cms_disk::remove_file(&self.part);
    }
}
