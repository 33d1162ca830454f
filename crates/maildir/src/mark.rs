//! The mark that tells a Maildir from another one in its place: a file with an id, in the Maildir's own directory, where
//! mail programs look for directories alone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use crate::directory::facts_of;
use crate::{Maildir, MaildirError, Place};

/// The file's name.
pub(crate) const NAME: &str = ".cms-maildir";

/// The longest id that is read.
const LONGEST: usize = 64;

impl Maildir {
    /// The id in the Maildir's mark, if it has one.
    pub fn mark(&self) -> Result<Option<String>, MaildirError> {
        let path = self.path().join(NAME);
        let failed = |error| MaildirError::io("read", &path, error);
        if facts_of(&path).map_err(failed)?.is_none() {
            return self.must_be_there().map(|()| None);
        }
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(cms_disk::open(&path).map_err(failed)?, LONGEST as u64), &mut text)
            .map_err(failed)?;
        let id = String::from_utf8_lossy(&text).trim().to_owned();
        Ok((!id.is_empty()).then_some(id))
    }

    /// Marks the Maildir, in place of a mark that it may have. It survives a power failure from then on.
    pub fn set_mark(&self, id: &str) -> Result<(), MaildirError> {
        let path = self.path().join(NAME);
        let part = self.path().join(format!("{NAME}.part"));
        let failed = |error| MaildirError::io("write", &path, error);
        match cms_disk::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut file = cms_disk::create_new(&part).map_err(failed)?;
        cms_disk::write_all(&mut file, &part, format!("{id}\n").as_bytes()).map_err(failed)?;
        cms_disk::sync_file(&file, &part).map_err(failed)?;
        cms_disk::rename(&part, &path).map_err(failed)?;
        cms_disk::sync_directory(self.path()).map_err(failed)
    }

    /// What the file system calls the directory of the messages, until it is mounted anew: its device and its inode.
    pub fn identity(&self) -> Result<(u64, u64), MaildirError> {
        let cur = self.directory(Place::Cur);
        let metadata = fs::metadata(&cur).map_err(|error| MaildirError::io("inspect", &cur, error))?;
        Ok((metadata.dev(), metadata.ino()))
    }
}
