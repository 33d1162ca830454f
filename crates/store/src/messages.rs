//! The files of messages, named by their content.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cms_disk::Deed;
use cms_engine::ContentHash;
use rustix::io::Errno;

use crate::{Lock, StoreError};

/// The longest header that [`Store::header`] returns.
const LONGEST_HEADER: u64 = 1024 * 1024;

/// The messages in a state directory, each once: `messages/ab/cdef…` under the content hash in hexadecimal.
///
/// Files are never written in place. They appear whole, by rename or link.
#[derive(Clone, Debug)]
pub struct Store {
    state_dir: PathBuf,
}

impl Store {
    /// Opens the store in a state directory and makes what is missing of it. See [`Store::recover`] for the first start.
    pub fn open(state_dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self { state_dir: state_dir.into() };
        create_private(&store.state_dir)?;
        create_private(&store.messages())?;
        create_private(&store.incoming_dir())?;
        Ok(store)
    }

    /// Tidies up what a process left that was killed: a download that was complete is put in place, others are removed.
    ///
    /// Asks for the lock, since a running process' downloads look just like leftovers.
    pub fn recover(&self, _lock: &Lock) -> Result<(), StoreError> {
        let directory = self.incoming_dir();
        let failed = |error| StoreError::io("read", &directory, error);
        let mut paths = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            paths.push(entry.map_err(failed)?.path());
        }
        let (parts, marks): (Vec<PathBuf>, Vec<PathBuf>) =
            paths.into_iter().partition(|path| path.extension().is_some_and(|extension| extension == "part"));
        for part in parts {
            let mark = part.with_extension("");
            match marked_hash(&mark) {
                Some(hash) if hash_of(&part).is_ok_and(|found| found == hash) => self.put_in_place(&part, &hash)?,
                _ => remove(&part)?,
            }
        }
        for mark in marks {
            if !marked_hash(&mark).is_some_and(|hash| self.contains(&hash)) {
                remove(&mark)?;
            }
        }
        Ok(())
    }

    /// The state directory.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Where a message's file is, or would be.
    pub fn path_of(&self, hash: &ContentHash) -> PathBuf {
        let hex = hash.to_string();
        let (directory, name) = hex.split_at(2);
        self.messages().join(directory).join(name)
    }

    /// Whether the message is here. An empty file, as some file systems leave after a power failure, doesn't count.
    pub fn contains(&self, hash: &ContentHash) -> bool {
        file_size(&self.path_of(hash)).is_ok_and(|size| size.is_some_and(|size| size > 0))
    }

    /// Takes a file that lies in a Maildir into the store, as a further name of it, or as a copy if the Maildir is on
    /// another file system. The caller has just hashed it: `hash` is believed.
    pub fn adopt(&self, file: &Path, hash: &ContentHash) -> Result<(), StoreError> {
        let size = file_size(file).map_err(|error| StoreError::io("inspect", file, error))?;
        let Some(size) = size.filter(|size| *size > 0) else {
            return Err(StoreError::NotAMessage { reason: "its file is empty, gone or no regular file" });
        };
        if file_size(&self.path_of(hash)).is_ok_and(|there| there == Some(size)) {
            return Ok(());
        }
        let part = self.incoming_dir().join(format!("{hash}.adopted.part"));
        remove(&part)?;
        match cms_disk::hard_link(file, &part) {
            Ok(()) => {}
            Err(error) if needs_copy(&error) => copy(file, &part)?,
            Err(error) => return Err(StoreError::io("link", file, error)),
        }
        self.put_in_place(&part, hash)
    }

    /// Reads a message's header: all before the first empty line, at most 1 MiB of it.
    pub fn header(&self, hash: &ContentHash) -> io::Result<Vec<u8>> {
        let mut file = BufReader::new(cms_disk::open(&self.path_of(hash))?.take(LONGEST_HEADER));
        let mut header = Vec::new();
        loop {
            let start = header.len();
            file.read_until(b'\n', &mut header)?;
            if matches!(header.get(start..), None | Some(b"" | b"\n" | b"\r\n")) {
                header.truncate(start);
                return Ok(header);
            }
        }
    }

    /// Removes a message from the store for good, unless a Maildir holds it too. Returns whether it was removed.
    ///
    /// For what the user wants back within some days, note it as released instead and leave it to [`Store::prune`].
    pub fn release(&self, hash: &ContentHash) -> Result<bool, StoreError> {
        match self.links(hash)? {
            Some(1) => remove(&self.path_of(hash)).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Whether a Maildir has a name for the very file that is stored, so that somebody can write into it.
    pub fn is_shared(&self, hash: &ContentHash) -> Result<bool, StoreError> {
        Ok(self.links(hash)?.is_some_and(|links| links > 1))
    }

    /// Gives a stored file that isn't what its name says, since somebody has written into it, the name of what it is now:
    /// the message of the old name isn't here any more. Returns whether it was so.
    pub fn rename_altered(&self, hash: &ContentHash) -> Result<bool, StoreError> {
        let path = self.path_of(hash);
        match hash_of(&path) {
            Ok(there) if there == *hash => Ok(false),
            Ok(there) => self.put_in_place(&path, &there).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    /// Makes all that was stored so far survive a power failure, names included, and with it all else on that file
    /// system. One call for a batch costs far less than one for each file.
    pub fn flush(&self) -> Result<(), StoreError> {
        cms_disk::sync_file_system(&self.state_dir).map_err(|error| StoreError::io("flush", &self.state_dir, error))
    }

    /// Whether files of the store can be linked into this Maildir, found out by doing it.
    pub fn probe_same_file_system(&self, maildir: &Path) -> bool {
        let here = self.incoming_dir().join("probe.part");
        let there = maildir.join("tmp").join(".cms-probe");
        // A process that was killed may have left them.
        let clear = || [&here, &there].into_iter().for_each(|path| drop(cms_disk::remove_file(path)));
        clear();
        let linked = cms_disk::create_new(&here).and_then(|_| cms_disk::hard_link(&here, &there)).is_ok();
        clear();
        linked
    }

    pub(crate) fn messages(&self) -> PathBuf {
        self.state_dir.join("messages")
    }

    pub(crate) fn incoming_dir(&self) -> PathBuf {
        self.state_dir.join("incoming")
    }

    /// Gives a complete file its name by content. What is there under it already is kept if it has that content, which a
    /// file written shortly before a power failure may not have.
    pub(crate) fn put_in_place(&self, part: &Path, hash: &ContentHash) -> Result<(), StoreError> {
        let target = self.path_of(hash);
        match hash_of(&target) {
            Ok(there) if there == *hash => return remove(part),
            Ok(_) => {
                tracing::warn!(path = %target.display(), "a stored message wasn't what its name says, and is replaced");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("read", &target, error)),
        }
        if let Some(directory) = target.parent() {
            create_private(directory)?;
        }
        cms_disk::rename(part, &target).map_err(|error| StoreError::io("store", &target, error))
    }

    /// How many names a message's file has, in Maildirs and here; nothing if it isn't here.
    pub(crate) fn links(&self, hash: &ContentHash) -> Result<Option<u64>, StoreError> {
        use std::os::unix::fs::MetadataExt;
        let path = self.path_of(hash);
        match fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.nlink())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("inspect", &path, error)),
        }
    }
}

/// Makes a directory, and those above it, for this user alone (mode 0700).
pub(crate) fn create_private(directory: &Path) -> Result<(), StoreError> {
    cms_disk::create_private_directories(directory).map_err(|error| StoreError::io("create", directory, error))
}

/// Removes a file; what is gone already is fine.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match cms_disk::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// The content hash that the mark of a complete download names. Marks of earlier versions are links to the message's place.
pub(crate) fn marked_hash(mark: &Path) -> Option<ContentHash> {
    let target = fs::read_link(mark).ok()?;
    if let Ok(hash) = URL_SAFE_NO_PAD.decode(target.as_os_str().as_encoded_bytes()) {
        return hash.try_into().ok().map(ContentHash::new);
    }
    let name = target.file_name()?.to_str()?;
    let directory = target.parent()?.file_name()?.to_str()?;
    ContentHash::from_hex(&format!("{directory}{name}"))
}

pub(crate) fn hash_of(path: &Path) -> io::Result<ContentHash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(cms_disk::open(path)?)?;
    Ok(ContentHash::new(*hasher.finalize().as_bytes()))
}

/// The size of a regular file; nothing if none is there.
pub(crate) fn file_size(path: &Path) -> io::Result<Option<u64>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let mut source = cms_disk::open(from).map_err(|error| StoreError::io("read", from, error))?;
    cms_disk::create_new(to)
        .and_then(|mut target| {
            cms_disk::step(Deed::Write(to), || io::copy(&mut source, &mut target))?;
            cms_disk::sync_file(&target, to)
        })
        .map_err(|error| StoreError::io("write", to, error))
}

/// Whether link(2) failed in a way that a copy gets around.
fn needs_copy(error: &io::Error) -> bool {
    const REASONS: [Errno; 5] = [Errno::XDEV, Errno::PERM, Errno::MLINK, Errno::NOTSUP, Errno::NOSYS];
    error.raw_os_error().is_some_and(|code| REASONS.contains(&Errno::from_raw_os_error(code)))
}
