//! Renaming and removing: flag changes and moves, without ever overwriting a file.

use std::fs;
use std::io;
use std::path::Path;

use cms_engine::{BaseName, Flags};
use rustix::io::Errno;

use crate::directory::facts_of;
use crate::{FileName, Maildir, MaildirError, Place};

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

    /// Removes a message's file; what is gone already is no error, and `false`.
    ///
    /// Removes that name alone: a file that another program renamed meanwhile stays.
    pub fn remove(&self, place: Place, name: &FileName) -> Result<bool, MaildirError> {
        let path = self.path_of(place, name);
        match cms_disk::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.must_be_there().map(|()| false),
            Err(error) => Err(MaildirError::io("remove", &path, error)),
        }
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
