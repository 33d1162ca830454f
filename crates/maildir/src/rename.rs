//! Renaming and removing: flag changes and moves, without ever overwriting a file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use cms_engine::{BaseName, Flags};
use rustix::io::Errno;

use crate::directory::facts_of;
use crate::{FileFacts, FileName, Maildir, MaildirError, Place};

impl Maildir {
    /// Gives a message other flags and returns where it is now.
    ///
    /// Only the name changes; base name and foreign letters stay. A message in `new` that has flags afterwards goes to
    /// `cur`. A name that already says these flags is left as it is, however it is spelt.
    ///
    /// [`MaildirError::Vanished`] if the file isn't there under `current`; [`MaildirError::NameTaken`] if another file
    /// has the new name.
    pub fn set_flags(&self, place: Place, current: &FileName, flags: Flags) -> Result<(Place, FileName), MaildirError> {
        let source = self.path_of(place, current);
        if flags == current.flags {
            return match facts_of(&source) {
                Ok(Some(_)) => Ok((place, current.clone())),
                Ok(None) => Err(self.vanished(&source)),
                Err(error) => Err(MaildirError::io("inspect", &source, error)),
            };
        }
        let name = current.with_flags(flags);
        let new_place = if flags.is_empty() { place } else { Place::Cur };
        self.rename(&source, self, &self.path_of(new_place, &name))?;
        Ok((new_place, name))
    }

    /// Removes a message's file, if it is the one that was inspected and nobody has written to it since.
    ///
    /// Removes that name alone: a file that another program renamed meanwhile stays. Nor can a file be lost that took the
    /// name between a look at it and its end: it is taken aside first, into `tmp`, looked at there, and put back if it is
    /// another one. What a run that was killed has left there, [`Maildir::taken_aside`] finds.
    pub fn remove(&self, place: Place, name: &FileName, expected: &FileFacts) -> Result<Removal, MaildirError> {
        let path = self.path_of(place, name);
        let aside = self.aside(place, name);
        match self.rename(&path, self, &aside) {
            Ok(()) => {}
            Err(MaildirError::Vanished { .. }) => return Ok(Removal::Gone),
            // One that couldn't be put back earlier.
            Err(MaildirError::NameTaken { .. }) => return self.put_back(&aside).map(|()| Removal::Another),
            Err(MaildirError::Io { source, .. }) if is_one_of(&source, &[Errno::NAMETOOLONG]) => {
                return self.remove_at_once(&path, expected);
            }
            Err(MaildirError::Io { source, .. }) => return Err(MaildirError::io("remove", &path, source)),
            Err(error) => return Err(error),
        }
        let found = facts_of(&aside);
        if found.as_ref().is_ok_and(|found| found.is_some_and(|found| found.is_unwritten(expected))) {
            match cms_disk::remove_file(&aside) {
                Ok(()) => return Ok(Removal::Done),
                Err(error) => {
                    self.put_back(&aside)?;
                    return Err(MaildirError::io("remove", &path, error));
                }
            }
        }
        self.put_back(&aside)?;
        found.map_err(|error| MaildirError::io("inspect", &path, error))?;
        Ok(Removal::Another)
    }

    /// Removes a file whose name leaves no room for more.
    fn remove_at_once(&self, path: &Path, expected: &FileFacts) -> Result<Removal, MaildirError> {
        match facts_of(path) {
            Ok(Some(found)) if found.is_unwritten(expected) => {}
            Ok(Some(_)) => return Ok(Removal::Another),
            Ok(None) => return self.must_be_there().map(|()| Removal::Gone),
            Err(error) => return Err(MaildirError::io("inspect", path, error)),
        }
        match cms_disk::remove_file(path) {
            Ok(()) => Ok(Removal::Done),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.must_be_there().map(|()| Removal::Gone),
            Err(error) => Err(MaildirError::io("remove", path, error)),
        }
    }

    /// Files that were taken aside to be removed, by a run that ended before it was done.
    pub fn taken_aside(&self) -> Result<Vec<PathBuf>, MaildirError> {
        let tmp = self.path().join("tmp");
        let entries = fs::read_dir(&tmp).map_err(|error| MaildirError::io("read", &tmp, error))?;
        let is_it = |name: &OsString| name.as_bytes().starts_with(ASIDE.as_bytes());
        Ok(entries.flatten().map(|entry| entry.file_name()).filter(is_it).map(|name| tmp.join(name)).collect())
    }

    /// Puts a file back that was taken aside, under its own name or, if that is taken, the first numbered form of it.
    pub fn put_back(&self, aside: &Path) -> Result<(), MaildirError> {
        let Some((place, name)) = aside.file_name().and_then(from_aside) else { return Ok(()) };
        let mut back = name.clone();
        let mut number = 0_u32;
        loop {
            match self.rename(aside, self, &self.path_of(place, &back)) {
                Err(MaildirError::NameTaken { .. }) => {
                    number += 1;
                    back.base_name = BaseName::new(format!("{}.{number}", name.base_name));
                }
                // Somebody else has put it back.
                Err(MaildirError::Vanished { .. }) => return Ok(()),
                other => return other,
            }
        }
    }

    /// Removes a file for good that was taken aside.
    pub fn discard(&self, aside: &Path) -> Result<(), MaildirError> {
        match cms_disk::remove_file(aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(MaildirError::io("remove", aside, error)),
            _ => Ok(()),
        }
    }

    /// Where a file is taken aside. Its name says where it was.
    fn aside(&self, place: Place, name: &FileName) -> PathBuf {
        let mut aside = OsString::from(ASIDE);
        aside.push(place.directory());
        aside.push(".");
        aside.push(name.on_disk());
        self.path().join("tmp").join(aside)
    }

    /// Moves a message to another Maildir, under `base_name` there, and returns where it is now.
    ///
    /// An untouched message in `new` stays new. [`MaildirError::NameTaken`] if the target holds a file under that base
    /// name, even one with the same content: that one is another message.
    pub fn move_to(
        &self,
        place: Place,
        name: &FileName,
        target: &Self,
        base_name: &BaseName,
        flags: Flags,
    ) -> Result<(Place, FileName), MaildirError> {
        let source = self.path_of(place, name);
        if let Some(taken) = target.find(base_name)? {
            return Err(MaildirError::NameTaken { path: target.path_of(taken.place, &taken.name) });
        }
        let stays_new = place == Place::New && flags.is_empty() && name.other_letters.is_empty();
        let (new_place, new_name) = if stays_new {
            (Place::New, FileName::bare(base_name.clone()))
        } else {
            (Place::Cur, FileName::new(base_name.clone(), flags, &name.other_letters))
        };
        let destination = target.path_of(new_place, &new_name);
        match self.rename(&source, target, &destination) {
            Err(MaildirError::Io { source: error, .. }) if error.kind() == io::ErrorKind::CrossesDevices => {
                let mtime = match facts_of(&source) {
                    Ok(Some(facts)) => facts.mtime,
                    Ok(None) => return Err(self.vanished(&source)),
                    Err(error) => return Err(MaildirError::io("inspect", &source, error)),
                };
                target.copy_in(&source, base_name, mtime, &destination)?;
                // The copy must be durable, its name included, before the only other one goes.
                target.sync_directories()?;
                if let Err(error) = cms_disk::remove_file(&source) {
                    if error.kind() != io::ErrorKind::NotFound {
                        return Err(MaildirError::io("remove", &source, error));
                    }
                    // Another program renamed or removed it meanwhile. Its deed stands, and the copy would be a second message.
                    cms_disk::remove_file(&destination)
                        .map_err(|error| MaildirError::io("remove", &destination, error))?;
                    return Err(self.vanished(&source));
                }
            }
            other => other?,
        }
        target.remember(base_name);
        Ok((new_place, new_name))
    }

    /// Renames without overwriting. `target` is the Maildir that `to` is in.
    pub(crate) fn rename(&self, from: &Path, target: &Self, to: &Path) -> Result<(), MaildirError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => match target.must_be_there() {
                Err(missing) => missing,
                Ok(()) => self.vanished(from),
            },
            _ => MaildirError::io("rename", from, error),
        };
        match cms_disk::rename_without_replacing(from, to) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => finish_linked(from, to),
            // Some network file systems know no such flag.
            Err(error) if is_one_of(&error, &[Errno::INVAL, Errno::NOSYS, Errno::NOTSUP]) => {
                match cms_disk::hard_link(from, to) {
                    Ok(()) => cms_disk::remove_file(from).map_err(failed),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => finish_linked(from, to),
                    // Nor hard links: what is left is to look first. The name holds our own base name, so nobody else
                    // has a reason to take it in between.
                    Err(error) if is_one_of(&error, &[Errno::PERM, Errno::NOTSUP]) => {
                        if fs::symlink_metadata(to).is_ok() {
                            return Err(MaildirError::NameTaken { path: to.to_owned() });
                        }
                        cms_disk::rename(from, to).map_err(failed)
                    }
                    Err(error) => Err(failed(error)),
                }
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The file isn't there; unless the whole Maildir isn't, which says nothing about the file.
    pub(crate) fn vanished(&self, path: &Path) -> MaildirError {
        self.must_be_there().err().unwrap_or_else(|| MaildirError::Vanished { path: path.to_owned() })
    }
}

fn is_one_of(error: &io::Error, reasons: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|code| reasons.contains(&Errno::from_raw_os_error(code)))
}

/// What became of a file that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is removed.
    Done,
    /// It was gone already.
    Gone,
    /// Another one is there, or somebody has written to it: it stays.
    Another,
}

/// How the names of files begin that are taken aside.
const ASIDE: &str = ".cms-removed.";

/// Where a file was that was taken aside.
fn from_aside(aside: &OsStr) -> Option<(Place, FileName)> {
    let rest = aside.as_bytes().strip_prefix(ASIDE.as_bytes())?;
    let place = [Place::New, Place::Cur].into_iter().find(|place| {
        rest.strip_prefix(place.directory().as_bytes()).is_some_and(|rest| rest.first() == Some(&b'.'))
    })?;
    let name = rest.get(place.directory().len() + 1..)?;
    Some((place, FileName::parse(OsStr::from_bytes(name))?))
}

/// Both names exist. If they name one file, a rename was begun as link and unlink, and the rest of it is done here.
fn finish_linked(from: &Path, to: &Path) -> Result<(), MaildirError> {
    let facts = |path: &Path| facts_of(path).map_err(|error| MaildirError::io("inspect", path, error));
    match (facts(from)?, facts(to)?) {
        (Some(one), Some(other)) if one.is_same_file(&other) => {
            cms_disk::remove_file(from).map_err(|error| MaildirError::io("remove", from, error))
        }
        (None, _) => Err(MaildirError::Vanished { path: from.to_owned() }),
        _ => Err(MaildirError::NameTaken { path: to.to_owned() }),
    }
}
