//! What stands between the program and the disk: failures, other programs that act just before a deed, an end of the
//! power in the middle of one, and the memory of what a power failure would undo.
//!
//! The file system is a real one in memory. A simulated one would be a second opinion of what rename(2), link counts
//! and inotify do, to be believed as little as the first.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cms_disk::{Deed, Interposer};
use cms_engine::ContentHash;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::power::{Counter, Power};
use super::trace::Trace;

/// Who acts just before a deed.
pub(super) type Meddler = Box<dyn Fn()>;

/// What may go wrong.
pub(super) struct Disk {
    pub(super) power: Arc<Power>,
    pub(super) trace: Trace,
    pub(super) root: PathBuf,
    /// The power goes at this deed from now; never if it isn't positive.
    pub(super) deeds_left: Counter,
    pub(super) state: RefCell<DiskState>,
    pub(super) meddler: RefCell<Option<Meddler>>,
}

/// What changes as deeds are done.
// Each of these is a fact of its own.
#[allow(clippy::struct_excessive_bools)]
pub(super) struct DiskState {
    pub(super) random: ChaCha8Rng,
    /// How many deeds of a thousand fail.
    pub(super) failures_per_mille: u32,
    /// How many changes of names of a thousand take so long that others act meanwhile.
    pub(super) slow_per_mille: u32,
    /// How many deeds of a thousand somebody meddles with.
    pub(super) meddling_per_mille: u32,
    /// How often somebody still acts between the program's deeds. Files that come so make for more deeds, and where these let
    /// more come than they take in, that would never end.
    pub(super) meddling_left: u32,
    /// Whether the disk is full.
    pub(super) full: bool,
    /// Whether flushing is skipped without a word, to see that it is missed.
    pub(super) lying: bool,
    /// Whether what is removed from a Maildir is removed from the store as well, to see that it is missed.
    pub(super) careless: bool,
    /// Whether a power failure is ahead, so that what it would undo is remembered.
    pub(super) remembers: bool,
    /// Whether something was done in a Maildir that no transaction tells of yet.
    pub(super) unrecorded: bool,
    /// Whether anything was written down since the program was started.
    pub(super) committed: bool,
    /// The bytes of every file that the program removed from a Maildir.
    pub(super) taken: BTreeSet<ContentHash>,
    log: Vec<Undo>,
    /// Inodes of files with bytes that weren't flushed.
    unflushed: BTreeSet<u64>,
    /// The database's log after each transaction since all of it was last durable: its length, and when.
    commits: Vec<u64>,
    stash: u64,
}

/// How a change of names is taken back.
#[derive(Debug)]
enum Undo {
    /// The name wasn't there.
    Unlink(PathBuf),
    /// The file had the first name, not the second.
    RenameBack(PathBuf, PathBuf),
    /// The file was there; a further name of it is kept.
    PutBack { stash: PathBuf, path: PathBuf },
}

impl DiskState {
    pub(super) fn new(random: ChaCha8Rng) -> Self {
        Self {
            random,
            failures_per_mille: 0,
            slow_per_mille: 0,
            meddling_per_mille: 0,
            meddling_left: 0,
            full: false,
            lying: false,
            careless: false,
            remembers: false,
            unrecorded: false,
            committed: false,
            taken: BTreeSet::new(),
            log: Vec::new(),
            unflushed: BTreeSet::new(),
            commits: Vec::new(),
            stash: 0,
        }
    }

    /// Makes everything durable that is there.
    pub(super) fn settle(&mut self) {
        self.log.clear();
        self.unflushed.clear();
        self.commits.clear();
    }
}

impl Disk {
    /// Lets somebody else's change be durable, and with it, since names are written in their order, all before it.
    pub(super) fn somebody_changed_names(&self) {
        if let Ok(mut state) = self.state.try_borrow_mut() {
            state.log.clear();
        }
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    fn tell(&self, how: &str, deed: Deed<'_>) {
        let line = match deed {
            Deed::Read(path) => format!("read {}", self.relative(path)),
            Deed::List(path) => format!("list {}", self.relative(path)),
            Deed::Create(path) => format!("create {}", self.relative(path)),
            Deed::Write(path) => format!("write {}", self.relative(path)),
            Deed::SyncFile(path) => format!("fsync {}", self.relative(path)),
            Deed::SyncDirectory(path) => format!("fsync directory {}", self.relative(path)),
            Deed::SyncFileSystem(_) => "syncfs".to_owned(),
            Deed::Link(from, to) => format!("link {} {}", self.relative(from), self.relative(to)),
            Deed::Symlink(path) => format!("symlink {}", self.relative(path)),
            Deed::Rename(from, to) => format!("rename {} {}", self.relative(from), self.relative(to)),
            Deed::Remove(path) => format!("unlink {}", self.relative(path)),
            Deed::MakeDirectory(path) => format!("mkdir {}", self.relative(path)),
            Deed::Commit(_) => "commit".to_owned(),
            Deed::CommitDurably(_) => "commit durably".to_owned(),
        };
        self.trace.line(format_args!("disk {how}{line}"));
    }

    fn database(&self) -> PathBuf {
        self.root.join("state/state.sqlite")
    }

    /// Takes back what was not made durable: a random part of it, the newest first, as a journal does.
    /// Returns whether a transaction went with it.
    pub(super) fn fail_power(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let names = state.log.len();
        let lost = if names == 0 { 0 } else { state.random.random_range(0..=names) };
        let undone: Vec<Undo> = state.log.split_off(names - lost);
        for undo in undone.into_iter().rev() {
            match undo {
                Undo::Unlink(path) => drop(fs::remove_file(path)),
                Undo::RenameBack(from, to) => {
                    // A file of the user's may have the old name by now.
                    if !from.exists() {
                        drop(fs::rename(to, from));
                    }
                }
                Undo::PutBack { stash, path } => drop(fs::hard_link(stash, path)),
            }
        }
        let mut emptied = 0;
        if !state.unflushed.is_empty() {
            for path in files_below(&self.root) {
                let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
                if metadata.is_file() && state.unflushed.contains(&metadata.ino()) && state.random.random_bool(0.7) {
                    emptied += u32::from(fs::write(&path, b"").is_ok());
                }
            }
        }
        // A transaction that wasn't followed by a checkpoint may be gone, with all after it.
        let commits = state.commits.len();
        let mut forgot = false;
        if commits > 0 {
            let kept = state.random.random_range(0..commits);
            forgot = kept + 1 < commits;
            let length = state.commits.get(kept).copied().unwrap_or_default();
            let log = self.database().with_extension("sqlite-wal");
            if let Ok(file) = fs::OpenOptions::new().write(true).open(&log)
                && file.metadata().is_ok_and(|metadata| metadata.len() > length)
            {
                drop(file.set_len(length));
            }
            drop(fs::remove_file(self.database().with_extension("sqlite-shm")));
        }
        self.trace.line(format_args!("power failure: {lost} of {names} names, {emptied} files, of {commits} commits"));
        state.settle();
        forgot
    }
}

impl Interposer for Disk {
    fn before(&self, deed: Deed<'_>) -> io::Result<()> {
        if self.power.is_off() {
            return Err(io::Error::from_raw_os_error(5));
        }
        let meddles = {
            let mut state = self.state.borrow_mut();
            let per_mille = state.meddling_per_mille;
            per_mille > 0 && state.random.random_range(0..1000) < per_mille
        };
        if meddles {
            self.meddle();
        }
        let left = self.deeds_left.get();
        if left > 0 {
            self.deeds_left.set(left - 1);
            if left == 1 {
                self.tell("power goes before ", deed);
                self.power.turn_off();
                return Err(io::Error::from_raw_os_error(5));
            }
        }
        let mut state = self.state.borrow_mut();
        let took = taken_from_a_maildir(deed);
        if let Some(code) = refusal(&mut state, deed) {
            drop(state);
            self.tell(&format!("error {code} "), deed);
            return Err(io::Error::from_raw_os_error(code));
        }
        if state.remembers {
            self.remember_before(&mut state, deed);
        }
        if let Some(hash) = took.filter(|_| state.careless) {
            drop(fs::remove_file(self.stored(&hash)));
        }
        state.taken.extend(took);
        Ok(())
    }

    fn after(&self, deed: Deed<'_>) {
        self.note(deed);
        // What takes long is done, and others have gone on before the program hears of it.
        let is_slow = matches!(deed, Deed::Rename(..) | Deed::Link(..) | Deed::Remove(_)) && {
            let mut state = self.state.borrow_mut();
            let per_mille = state.slow_per_mille;
            per_mille > 0 && state.random.random_range(0..1000) < per_mille
        };
        if is_slow {
            self.meddle();
        }
    }
}

impl Disk {
    /// Lets somebody act, unless that was done too often.
    fn meddle(&self) {
        let is_left = {
            let left = &mut self.state.borrow_mut().meddling_left;
            let is_left = *left > 0;
            *left = left.saturating_sub(1);
            is_left
        };
        if is_left && let Some(meddler) = &*self.meddler.borrow() {
            meddler();
        }
    }

    fn stored(&self, hash: &ContentHash) -> PathBuf {
        let name = hash.to_string();
        self.root.join("state/messages").join(&name[..2]).join(&name[2..])
    }

    /// What the program took out of the Maildirs and the store doesn't have, so that nobody can bring it back.
    pub(super) fn not_restorable(&self) -> Vec<ContentHash> {
        let is_there =
            |hash: &ContentHash| fs::read(self.stored(hash)).is_ok_and(|bytes| ContentHash::of(&bytes) == *hash);
        self.state.borrow().taken.iter().filter(|hash| !is_there(hash)).copied().collect()
    }

    /// Remembers what was done.
    fn note(&self, deed: Deed<'_>) {
        if !matches!(deed, Deed::Read(_) | Deed::List(_)) {
            self.tell("", deed);
        }
        let mut state = self.state.borrow_mut();
        match deed {
            Deed::Link(_, path) | Deed::Rename(_, path) if !path.starts_with(self.root.join("state")) => {
                state.unrecorded = true;
            }
            Deed::Commit(_) | Deed::CommitDurably(_) => {
                state.unrecorded = false;
                state.committed = true;
            }
            _ => {}
        }
        if !state.remembers {
            return;
        }
        let inode = |path: &Path| fs::symlink_metadata(path).map(|metadata| metadata.ino()).unwrap_or_default();
        match deed {
            Deed::Create(path) => {
                state.unflushed.insert(inode(path));
                state.log.push(Undo::Unlink(path.to_owned()));
            }
            Deed::Write(path) => {
                state.unflushed.insert(inode(path));
            }
            Deed::Link(_, to) | Deed::Symlink(to) => state.log.push(Undo::Unlink(to.to_owned())),
            Deed::Rename(from, to) => state.log.push(Undo::RenameBack(from.to_owned(), to.to_owned())),
            Deed::SyncFile(path) if !state.lying => {
                state.unflushed.remove(&inode(path));
            }
            Deed::SyncFileSystem(_) if !state.lying => state.settle(),
            Deed::SyncDirectory(directory) if !state.lying => {
                // Names are written in their order, so that what came before goes with the newest in this directory.
                let touches = |undo: &Undo| match undo {
                    Undo::Unlink(path) | Undo::PutBack { path, .. } => path.parent() == Some(directory),
                    Undo::RenameBack(from, to) => from.parent() == Some(directory) || to.parent() == Some(directory),
                };
                if let Some(at) = state.log.iter().rposition(touches) {
                    state.log.drain(..=at);
                }
            }
            Deed::Commit(database) | Deed::CommitDurably(database) => {
                if matches!(deed, Deed::CommitDurably(_)) && !state.lying {
                    state.commits.clear();
                }
                let log = database.with_extension("sqlite-wal");
                let length = fs::metadata(log).map(|metadata| metadata.len()).unwrap_or_default();
                state.commits.push(length);
            }
            _ => {}
        }
    }

    fn remember_before(&self, state: &mut DiskState, deed: Deed<'_>) {
        match deed {
            Deed::Remove(path) if path.symlink_metadata().is_ok() => {
                state.stash += 1;
                let directory = self.root.join("stash");
                let stash = directory.join(state.stash.to_string());
                if fs::create_dir_all(&directory).and_then(|()| fs::hard_link(path, &stash)).is_ok() {
                    state.log.push(Undo::PutBack { stash, path: path.to_owned() });
                }
            }
            Deed::Commit(database) | Deed::CommitDurably(database) if state.commits.is_empty() => {
                let log = database.with_extension("sqlite-wal");
                state.commits.push(fs::metadata(log).map(|metadata| metadata.len()).unwrap_or_default());
            }
            _ => {}
        }
    }
}

/// What goes from a Maildir by a deed.
fn taken_from_a_maildir(deed: Deed<'_>) -> Option<ContentHash> {
    let Deed::Remove(path) = deed else { return None };
    let is_message = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".cms-removed."));
    let bytes = fs::read(path).ok().filter(|_| is_message)?;
    Some(ContentHash::of(&bytes))
}

const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;

/// The error number that a deed fails with, if it does.
fn refusal(state: &mut DiskState, deed: Deed<'_>) -> Option<i32> {
    let needs_room = matches!(
        deed,
        Deed::Create(_)
            | Deed::Write(_)
            | Deed::Link(..)
            | Deed::Symlink(_)
            | Deed::MakeDirectory(_)
            | Deed::Commit(_)
            | Deed::CommitDurably(_)
            | Deed::Rename(..)
    );
    if state.full && needs_room && state.random.random_bool(0.9) {
        return Some(ENOSPC);
    }
    let per_mille = state.failures_per_mille;
    if per_mille == 0 || state.random.random_range(0..1000) >= per_mille {
        return None;
    }
    Some(match deed {
        _ if needs_room && state.random.random_bool(0.4) => ENOSPC,
        Deed::Commit(_) | Deed::CommitDurably(_) => ENOSPC,
        Deed::Link(..) | Deed::Rename(..) | Deed::Remove(_) | Deed::Read(_) | Deed::List(_)
            if state.random.random_bool(0.5) =>
        {
            EACCES
        }
        _ => EIO,
    })
}

/// Every file below a directory, in a fixed order.
pub(super) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(_) => files.push(entry.path()),
                Err(_) => {}
            }
        }
    }
    files.sort();
    files
}
