//! The vault's file on the disk: read at once, and written so that a crash leaves the old one or the new one.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::error::VaultError;
use super::format::FILE_BYTES_MAX;

/// Which state of the file this is, as far as one look at its directory entry tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    modified: (i64, i64),
    inode: u64,
    bytes: u64,
}

/// What the file is now; nothing if there is none.
pub(super) fn fingerprint(path: &Path) -> Option<Fingerprint> {
    let found = fs::metadata(path).ok()?;
    Some(Fingerprint { modified: (found.mtime(), found.mtime_nsec()), inode: found.ino(), bytes: found.len() })
}

/// The whole file, or the beginning of one that is too large. Nothing if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, VaultError> {
    let failed = VaultError::io("read", path);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let mut bytes = Vec::new();
    // One byte more than may be, so that a larger file is seen to be larger.
    match file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes) {
        Ok(_) => Ok(Some(bytes)),
        Err(e) => Err(failed(e)),
    }
}

/// The right to change the file, which one process at a time has. It is held for as long as writing takes, and never
/// while somebody is asked for a key.
pub(super) struct Writing {
    path: PathBuf,
    _lock: File,
}

impl Writing {
    /// Waits for the right. Makes the directory if there is none.
    pub(super) fn begin(path: &Path) -> Result<Self, VaultError> {
        let directory = directory_of(path);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(VaultError::io("make the directory", directory))?;
        let lock_path = beside(path, ".lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let lock = lock.map_err(VaultError::io("open", &lock_path))?;
        loop {
            match flock(&lock, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self { path: path.to_owned(), _lock: lock }),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(VaultError::io("lock", lock_path)(e.into())),
            }
        }
    }

    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, VaultError> {
        read(&self.path)
    }

    /// Puts these bytes in the file's place. They are on the disk when this returns.
    pub(super) fn replace(&self, bytes: &[u8]) -> Result<(), VaultError> {
        let new = beside(&self.path, ".new");
        let written = write_new(&new, bytes).and_then(|()| fs::rename(&new, &self.path));
        if let Err(e) = written {
            let _ = fs::remove_file(&new);
            return Err(VaultError::io("write", &self.path)(e));
        }
        self.sync_directory()
    }

    /// Removes the file for good.
    pub(super) fn remove(&self) -> Result<(), VaultError> {
        fs::remove_file(&self.path).map_err(VaultError::io("remove", &self.path))?;
        self.sync_directory()
    }

    /// Gives the file, which stays where it is, a second name that nothing will overwrite.
    pub(super) fn set_aside(&self) -> Result<PathBuf, VaultError> {
        let failed = VaultError::io("set aside", &self.path);
        for number in 1..1000 {
            let aside = beside(&self.path, &format!(".damaged-{number}"));
            let linked = match fs::hard_link(&self.path, &aside) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                    // Not every file system has second names.
                    fs::read(&self.path).and_then(|bytes| write_new_only(&aside, &bytes))
                }
                linked => linked,
            };
            match linked {
                Ok(()) => return Ok(aside),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Err(failed(ErrorKind::AlreadyExists.into()))
    }

    /// A new name is as durable as the directory that holds it.
    fn sync_directory(&self) -> Result<(), VaultError> {
        let directory = directory_of(&self.path);
        File::open(directory).and_then(|open| open.sync_all()).map_err(VaultError::io("write", directory))
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What a crash left there is worth nothing, and might have another mode.
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => write_new_only(path, bytes),
    }
}

fn write_new_only(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_user_may_read_what_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/tokens");
        let writing = Writing::begin(&path).unwrap();
        // As a crash in the middle of writing leaves it.
        fs::write(beside(&path, ".new"), "half").unwrap();
        writing.replace(b"one").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"one");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&beside(&path, ".lock")), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert!(!beside(&path, ".new").exists());
    }

    #[test]
    fn what_is_set_aside_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let writing = Writing::begin(&path).unwrap();
        for (number, text) in ["one", "two", "three"].into_iter().enumerate() {
            writing.replace(text.as_bytes()).unwrap();
            let aside = writing.set_aside().unwrap();
            assert_eq!(aside, beside(&path, &format!(".damaged-{}", number + 1)));
        }
        assert_eq!(fs::read(beside(&path, ".damaged-1")).unwrap(), b"one");
        assert_eq!(fs::read(beside(&path, ".damaged-3")).unwrap(), b"three");
    }

    #[test]
    fn every_change_has_its_fingerprint() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        assert_eq!(fingerprint(&path), None);
        let writing = Writing::begin(&path).unwrap();
        writing.replace(b"one").unwrap();
        let first = fingerprint(&path);
        assert!(first.is_some());
        assert_eq!(fingerprint(&path), first);
        writing.replace(b"two").unwrap();
        assert_ne!(fingerprint(&path), first);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let writing = Writing::begin(&path).unwrap();
        writing.replace(b"one").unwrap();
        // A directory in the way of the new file, as nothing else stops a privileged user.
        fs::create_dir(beside(&path, ".new")).unwrap();
        fs::write(beside(&path, ".new").join("in the way"), "").unwrap();
        let error = writing.replace(b"two").unwrap_err();
        assert!(error.to_string().starts_with("could not write "), "{error}");
        assert_eq!(read(&path).unwrap().unwrap(), b"one");
    }
}
