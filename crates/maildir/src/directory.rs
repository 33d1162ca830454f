//! A Maildir's directories, and what can be asked about one file.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cms_disk::Deed;
use cms_engine::{ContentHash, UnixSeconds};

use crate::MaildirError;
use crate::file_name::{FileName, Place};

/// One Maildir: a directory with `cur`, `new` and `tmp` in it.
#[derive(Debug)]
pub struct Maildir {
    path: PathBuf,
    /// Hashes of the base names that were there when first asked, and of those delivered since; see `deliver`.
    pub(crate) known: Mutex<Option<HashSet<u64>>>,
}

/// What the file system says about one message file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileFacts {
    /// The inode number; a rename keeps it.
    pub inode: u64,
    /// The device that the inode number belongs to.
    pub device: u64,
    /// Bytes.
    pub size: u64,
    /// Last modification, which is the received time for messages that we delivered.
    pub mtime: UnixSeconds,
    /// The nanoseconds of that, which are 0 for messages that we delivered.
    pub mtime_nanos: i64,
    /// How many names the file has, the one in the store included.
    pub links: u64,
}

impl FileFacts {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            device: metadata.dev(),
            size: metadata.size(),
            mtime: UnixSeconds(metadata.mtime()),
            mtime_nanos: metadata.mtime_nsec(),
            links: metadata.nlink(),
        }
    }

    /// Whether the time is the one that a delivery gave the file, so that nobody has written to it since.
    pub fn is_as_delivered(&self, received: UnixSeconds) -> bool {
        (self.mtime, self.mtime_nanos) == (received, 0)
    }

    /// Whether it is the same file as earlier, with nothing written to it since.
    pub fn is_unwritten(&self, earlier: &Self) -> bool {
        self.is_same_file(earlier)
            && (self.size, self.mtime, self.mtime_nanos) == (earlier.size, earlier.mtime, earlier.mtime_nanos)
    }

    /// Whether both are names of one file.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.inode, self.device) == (other.inode, other.device)
    }
}

impl Maildir {
    /// Opens a Maildir that exists; all three directories must be there.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, MaildirError> {
        let maildir = Self { path: path.into(), known: Mutex::new(None) };
        maildir.must_be_there()?;
        Ok(maildir)
    }

    /// Opens a Maildir, making what is missing of it, readable by this user alone (mode 0700).
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, MaildirError> {
        let path = path.into();
        for directory in ["tmp", "new", "cur"] {
            let directory = path.join(directory);
            cms_disk::create_private_directories(&directory)
                .map_err(|error| MaildirError::io("create", &directory, error))?;
        }
        Self::open(path)
    }

    /// The directory that holds `cur`, `new` and `tmp`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a message file lies.
    pub fn path_of(&self, place: Place, name: &FileName) -> PathBuf {
        self.directory(place).join(name.on_disk())
    }

    /// Asks the file system about one file. Nothing comes out if it isn't there, or is no regular file.
    pub fn inspect(&self, place: Place, name: &FileName) -> Result<Option<FileFacts>, MaildirError> {
        let path = self.path_of(place, name);
        match facts_of(&path) {
            Ok(None) => self.must_be_there().map(|()| None),
            Ok(facts) => Ok(facts),
            Err(error) => Err(MaildirError::io("inspect", &path, error)),
        }
    }

    /// Makes all deliveries, renames and removals so far survive a power failure.
    ///
    /// Costs about the same for one change as for a thousand: call it once per batch.
    pub fn sync_directories(&self) -> Result<(), MaildirError> {
        for place in [Place::New, Place::Cur] {
            let path = self.directory(place);
            cms_disk::sync_directory(&path).map_err(|error| {
                // A directory that is missing is told as such.
                self.must_be_there().err().unwrap_or_else(|| MaildirError::io("flush", &path, error))
            })?;
        }
        Ok(())
    }

    pub(crate) fn directory(&self, place: Place) -> PathBuf {
        self.path.join(place.directory())
    }

    /// Tells a missing directory from a missing file: after "not found", only the latter says something about a message.
    pub(crate) fn must_be_there(&self) -> Result<(), MaildirError> {
        for missing in [".", "cur", "new", "tmp"] {
            let directory = self.path.join(missing);
            match fs::metadata(&directory) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => return Err(MaildirError::NotAMaildir { path: self.path.clone(), missing }),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    return Err(MaildirError::NotAMaildir { path: self.path.clone(), missing });
                }
                Err(error) => return Err(MaildirError::io("open", &directory, error)),
            }
        }
        Ok(())
    }
}

/// Asks about a regular file; nothing comes out for anything else, or if nothing is there.
pub(crate) fn facts_of(path: &Path) -> io::Result<Option<FileFacts>> {
    match cms_disk::step(Deed::Read(path), || fs::symlink_metadata(path)) {
        Ok(metadata) => Ok(metadata.is_file().then(|| FileFacts::of(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Hashes a file's bytes as they lie there, in memory that doesn't grow with the file.
pub fn hash_file(path: &Path) -> io::Result<ContentHash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(cms_disk::open(path)?)?;
    Ok(ContentHash::new(*hasher.finalize().as_bytes()))
}
