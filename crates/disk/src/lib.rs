//! The few ways in which the program changes a file system, each in one place.
//!
//! All of them go through [`step`], so that a test can stand in between (feature `interposer`): make one fail, let
//! another program act just before it, end the program in its middle, or note what a power failure would undo. Without
//! the feature nothing is added to the system call.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{CWD, RenameFlags, renameat_with};

#[cfg(feature = "interposer")]
mod interposer;
#[cfg(feature = "interposer")]
pub use interposer::{Interposer, interpose};

/// Something that is done to the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed<'a> {
    /// A file is read, or asked about.
    Read(&'a Path),
    /// A directory is listed.
    List(&'a Path),
    /// A new file is made.
    Create(&'a Path),
    /// Bytes are written into a file.
    Write(&'a Path),
    /// A file's bytes are made durable.
    SyncFile(&'a Path),
    /// A directory's names are made durable.
    SyncDirectory(&'a Path),
    /// Everything on the file system that this lies on is made durable.
    SyncFileSystem(&'a Path),
    /// A file gets a further name.
    Link(&'a Path, &'a Path),
    /// A symbolic link is made.
    Symlink(&'a Path),
    /// A file gets another name.
    Rename(&'a Path, &'a Path),
    /// A name is removed.
    Remove(&'a Path),
    /// A directory is made.
    MakeDirectory(&'a Path),
    /// A transaction of the database in this file is committed. A power failure may undo it.
    Commit(&'a Path),
    /// A transaction is committed, and it and all before it are made durable.
    CommitDurably(&'a Path),
}

/// Does one thing to the file system.
#[cfg(not(feature = "interposer"))]
pub fn step<T>(_deed: Deed<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    act()
}

/// Does one thing to the file system, if who stands in between lets it.
#[cfg(feature = "interposer")]
pub fn step<T>(deed: Deed<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    interposer::step(deed, act)
}

/// The time that files are stamped with.
///
/// Where a test stands in between, nobody changes anything behind its back, so every time stamp counts as long past.
pub fn now() -> SystemTime {
    #[cfg(feature = "interposer")]
    if interposer::is_interposed() {
        return SystemTime::now() + std::time::Duration::from_secs(3600);
    }
    SystemTime::now()
}

/// Opens a file for reading.
pub fn open(path: &Path) -> io::Result<File> {
    step(Deed::Read(path), || File::open(path))
}

/// Makes a file that isn't there, for this user alone (mode 0600), and opens it for writing.
pub fn create_new(path: &Path) -> io::Result<File> {
    step(Deed::Create(path), || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path))
}

/// Writes all bytes into a file that was opened under this path.
pub fn write_all(file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    step(Deed::Write(path), || file.write_all(bytes))
}

/// Makes the bytes of a file durable that was opened under this path (fsync(2)).
pub fn sync_file(file: &File, path: &Path) -> io::Result<()> {
    step(Deed::SyncFile(path), || file.sync_all())
}

/// Makes the names in a directory durable (fsync(2)).
pub fn sync_directory(path: &Path) -> io::Result<()> {
    step(Deed::SyncDirectory(path), || File::open(path)?.sync_all())
}

/// Makes everything durable on the file system that this path lies on (syncfs(2)).
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    step(Deed::SyncFileSystem(path), || Ok(rustix::fs::syncfs(File::open(path)?)?))
}

/// Gives a file a further name that isn't taken (link(2)).
pub fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    step(Deed::Link(from, to), || fs::hard_link(from, to))
}

/// Makes a symbolic link.
pub fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    step(Deed::Symlink(path), || std::os::unix::fs::symlink(target, path))
}

/// Renames a file; one that has the new name goes (rename(2)).
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step(Deed::Rename(from, to), || fs::rename(from, to))
}

/// Renames a file to a name that isn't taken (renameat2(2) with `RENAME_NOREPLACE`).
pub fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    step(Deed::Rename(from, to), || Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?))
}

/// Removes a file's name (unlink(2)).
pub fn remove_file(path: &Path) -> io::Result<()> {
    step(Deed::Remove(path), || fs::remove_file(path))
}

/// Makes a directory, and those above it, for this user alone (mode 0700). One that is there is fine.
pub fn create_private_directories(path: &Path) -> io::Result<()> {
    step(Deed::MakeDirectory(path), || DirBuilder::new().recursive(true).mode(0o700).create(path))
}
