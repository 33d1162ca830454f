//! Putting a message into a Maildir, whole, under its final name.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::PoisonError;

use cms_disk::Deed;
use cms_engine::{BaseName, Flags, UnixSeconds};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, futimens, utimensat};
use rustix::io::Errno;

use crate::directory::{FileFacts, facts_of};
use crate::{Entry, FileName, Maildir, MaildirError, Place, hash_file};

/// What a delivery came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// Which directory the message is in.
    pub place: Place,
    /// Its file name there; not the one asked for if it was there already.
    pub name: FileName,
    /// What the file system says about it.
    pub facts: FileFacts,
    /// How it got there.
    pub how: How,
}

/// How a message got into the Maildir.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// As a further name of the file in the store.
    Linked,
    /// As a copy: the store is on another file system, or a twin has the file.
    Copied,
    /// It was there already, so an earlier delivery had been interrupted before it was recorded.
    AlreadyThere,
}

impl Maildir {
    /// Puts the complete file `source` into the Maildir under `base_name`. Done twice, it is as if done once.
    ///
    /// A message without flags and letters goes to `new` under its bare base name, so that it shows as new mail; all
    /// others go to `cur`. The file's modification time becomes `received`. A file that is there already under that base
    /// name, in whatever place and with whatever flags, is success if it is the same file or has the same bytes.
    ///
    /// The message is durable after the next [`Maildir::sync_directories`].
    pub fn deliver(
        &self,
        source: &Path,
        base_name: &BaseName,
        flags: Flags,
        other_letters: &str,
        received: UnixSeconds,
    ) -> Result<Delivered, MaildirError> {
        let facts = match facts_of(source) {
            Ok(Some(facts)) => facts,
            Ok(None) => return Err(MaildirError::SourceMissing { path: source.to_owned() }),
            Err(error) => return Err(MaildirError::io("inspect", source, error)),
        };
        if let Some(there) = self.find(base_name)? {
            return self.accept(there, source, &facts);
        }
        let mut name = FileName::new(base_name.clone(), flags, other_letters);
        let place = if name.flags.is_empty() && name.other_letters.is_empty() {
            name = FileName::bare(base_name.clone());
            Place::New
        } else {
            Place::Cur
        };
        let target = self.path_of(place, &name);
        let outcome = self.put(source, &facts, base_name, received, &target);
        if let Err(MaildirError::NameTaken { .. }) = outcome {
            let there = facts_of(&target).map_err(|error| MaildirError::io("inspect", &target, error))?;
            let inode = there.map_or(0, |facts| facts.inode);
            return self.accept(Entry { place, name, inode }, source, &facts);
        }
        // It is the file that was looked at before. Asking again could only tell what a reader has done to it since, and a
        // failure to ask would make a delivery look undone.
        let (how, facts) = outcome?;
        self.remember(base_name);
        Ok(Delivered { place, name, facts, how })
    }

    /// Links if that is possible and harms no other name of the file, else copies.
    fn put(
        &self,
        source: &Path,
        facts: &FileFacts,
        base_name: &BaseName,
        received: UnixSeconds,
        target: &Path,
    ) -> Result<(How, FileFacts), MaildirError> {
        // All names of a file share its time and its bytes. A twin gets a file of its own, so that a program which writes
        // into the one doesn't write into the other.
        let alone = facts.links == 1;
        if alone && (facts.is_as_delivered(received) || set_mtime(source, received).is_ok()) {
            match cms_disk::hard_link(source, target) {
                Ok(()) => {
                    return Ok((How::Linked, FileFacts { mtime: received, links: facts.links + 1, ..*facts }));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(MaildirError::NameTaken { path: target.to_owned() });
                }
                Err(error) if !needs_copy(&error) => return Err(self.delivery_failed(source, target, error)),
                Err(_) => {}
            }
        }
        self.copy_in(source, base_name, received, target).map(|facts| (How::Copied, facts))
    }

    /// Copies by way of `tmp`: written, flushed and dated before it appears under its final name.
    pub(crate) fn copy_in(
        &self,
        source: &Path,
        base_name: &BaseName,
        mtime: UnixSeconds,
        target: &Path,
    ) -> Result<FileFacts, MaildirError> {
        let temporary = self.path().join("tmp").join(base_name.as_str());
        let written = write_copy(source, &temporary, mtime);
        let renamed = match written {
            Ok(facts) => self.rename(&temporary, self, target).map(|()| facts),
            Err(error) => Err(self.delivery_failed(source, &temporary, error)),
        };
        if renamed.is_err() {
            // Nobody reads it there, and the next attempt begins by removing it.
            let _ = cms_disk::remove_file(&temporary);
        }
        renamed
    }

    /// The message seems to be there. It is, if it is the same file or has the same bytes.
    fn accept(&self, there: Entry, source: &Path, facts: &FileFacts) -> Result<Delivered, MaildirError> {
        let path = self.path_of(there.place, &there.name);
        let failed = |error| MaildirError::io("compare", &path, error);
        let Some(found) = facts_of(&path).map_err(failed)? else {
            return Err(self.vanished(&path));
        };
        let same = found.is_same_file(facts)
            || found.size == facts.size
                && hash_file(&path).map_err(failed)?
                    == hash_file(source).map_err(|error| MaildirError::io("compare", source, error))?;
        if same {
            Ok(Delivered { place: there.place, name: there.name, facts: found, how: How::AlreadyThere })
        } else {
            Err(MaildirError::NameTaken { path })
        }
    }

    /// Finds the file under a base name, whatever its place and flags.
    ///
    /// Only a listing can tell, and one per delivery would be too dear. So the base names are listed once, those
    /// delivered since are added, and a name among them makes for a fresh listing. Base names that others bring
    /// meanwhile are their own, not ours (maildir(5): they are unique).
    pub(crate) fn find(&self, base_name: &BaseName) -> Result<Option<Entry>, MaildirError> {
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.as_ref().is_some_and(|known| !known.contains(&hash_of(base_name))) {
                return Ok(None);
            }
        }
        let scan = self.scan()?;
        let names: HashSet<u64> = scan.entries.iter().map(|entry| hash_of(&entry.name.base_name)).collect();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(names);
        Ok(scan.entries.into_iter().find(|entry| entry.name.base_name == *base_name))
    }

    pub(crate) fn remember(&self, base_name: &BaseName) {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            known.insert(hash_of(base_name));
        }
    }

    fn delivery_failed(&self, source: &Path, target: &Path, error: io::Error) -> MaildirError {
        if error.kind() != io::ErrorKind::NotFound {
            return MaildirError::io("deliver", target, error);
        }
        self.must_be_there().err().unwrap_or_else(|| MaildirError::SourceMissing { path: source.to_owned() })
    }
}

fn hash_of(base_name: &BaseName) -> u64 {
    let mut hasher = DefaultHasher::new();
    base_name.hash(&mut hasher);
    hasher.finish()
}

/// Whether link(2) failed in a way that a copy gets around: other file system, no or too many hard links.
fn needs_copy(error: &io::Error) -> bool {
    const REASONS: [Errno; 5] = [Errno::XDEV, Errno::PERM, Errno::MLINK, Errno::NOTSUP, Errno::NOSYS];
    error.raw_os_error().is_some_and(|code| REASONS.contains(&Errno::from_raw_os_error(code)))
}

fn write_copy(source: &Path, temporary: &Path, mtime: UnixSeconds) -> io::Result<FileFacts> {
    let mut from = cms_disk::open(source)?;
    match cms_disk::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut to: File = cms_disk::create_new(temporary)?;
    cms_disk::step(Deed::Write(temporary), || io::copy(&mut from, &mut to))?;
    futimens(&to, &times(mtime))?;
    cms_disk::sync_file(&to, temporary)?;
    Ok(FileFacts::of(&to.metadata()?))
}

fn set_mtime(path: &Path, mtime: UnixSeconds) -> io::Result<()> {
    Ok(utimensat(CWD, path, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(mtime: UnixSeconds) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.0, tv_nsec: 0 },
    }
}
