//! Opening and closing Maildirs, and the marks by which one is known to be the one that it was.

use cms_engine::MaildirId;
use cms_maildir::{Maildir, MaildirError, hash_file};
use cms_store::{Change, Store};
use tracing::{debug, info, warn};

use crate::sync::local::{Configured, LocalError, LocalSide};
use crate::sync::world::World;

impl LocalSide {
    /// Opens a Maildir. One that doesn't exist is made, unless Synced says that mail was in it: then its disk may not
    /// be mounted, and making an empty one would look like a wiped mailbox. For the same reason, one that held mail and
    /// has not its mark isn't opened ([`LocalError::Replaced`]). One that was never marked is marked, and what a killed
    /// run has begun in it is ended, if `may_touch`.
    pub(crate) fn open(&mut self, world: &mut World, id: MaildirId, may_touch: bool) -> Result<(), LocalError> {
        let Some(configured) = self.maildirs.iter_mut().find(|maildir| maildir.id == id) else { return Ok(()) };
        let held_mail = world.synced.has_files_in(id);
        let opened = match Maildir::open(&configured.path) {
            Err(MaildirError::NotAMaildir { .. })
                if !held_mail && configured.mark.is_none() && !configured.was_there =>
            {
                let made = Maildir::create(&configured.path)?;
                info!(maildir = %configured.path.display(), "Made a new Maildir");
                made
            }
            other => other?,
        };
        let found = opened.mark()?;
        configured.replaced = held_mail && configured.mark.is_some() && found != configured.mark;
        if configured.replaced {
            return Err(LocalError::Replaced(id));
        }
        match found {
            Some(found) => configured.adopt_mark(world, found),
            None if may_touch => configured.set_mark(world, &opened),
            None => {}
        }
        if may_touch {
            tidy_up(&self.store, &opened);
        }
        configured.take_into_use(opened)?;
        Ok(())
    }

    /// Takes whatever directory is at a Maildir's path for the Maildir from now on, by the user's word; one that isn't
    /// there is made. What it should hold and doesn't comes back. Another Maildir's directory isn't taken
    /// ([`LocalError::OfAnother`]).
    pub(crate) fn accept(&mut self, world: &mut World, id: MaildirId) -> Result<(), LocalError> {
        self.must_not_be_anothers(id)?;
        let Some(configured) = self.maildirs.iter_mut().find(|maildir| maildir.id == id) else { return Ok(()) };
        let opened = Maildir::create(&configured.path)?;
        configured.mark = None;
        configured.set_mark(world, &opened);
        configured.replaced = false;
        // Its files may have known names and be others all the same.
        configured.doubted = true;
        configured.take_into_use(opened)?;
        Ok(())
    }

    fn must_not_be_anothers(&self, id: MaildirId) -> Result<(), LocalError> {
        let Some(path) = self.path(id) else { return Ok(()) };
        let Ok(Some(found)) = Maildir::open(path).and_then(|maildir| maildir.mark()) else { return Ok(()) };
        match self.maildirs.iter().find(|other| other.id != id && other.mark.as_ref() == Some(&found)) {
            Some(other) => Err(LocalError::OfAnother { path: path.to_owned(), other: other.path.clone() }),
            None => Ok(()),
        }
    }

    /// Takes a Maildir out of use until it can be opened again.
    pub(crate) fn close(&mut self, world: &mut World, id: MaildirId) {
        if let Some(configured) = self.maildirs.iter_mut().find(|maildir| maildir.id == id) {
            configured.opened = None;
            configured.identity = None;
        }
        world.lose_maildir(id);
    }

    /// That the directory at a Maildir's path is the one that was opened. A mark that somebody took away from it is made
    /// again.
    pub(super) fn must_be_ours(&mut self, world: &mut World, id: MaildirId) -> Result<(), LocalError> {
        let Some(configured) = self.maildirs.iter_mut().find(|maildir| maildir.id == id) else { return Ok(()) };
        let Some(mark) = configured.mark.clone() else {
            configured.mark_again(world);
            return Ok(());
        };
        let Some(maildir) = configured.opened.take() else { return Ok(()) };
        let found = maildir.mark();
        let same_directory = maildir.identity().is_ok_and(|identity| Some(identity) == configured.identity);
        let found = match found {
            Ok(None) if same_directory => {
                configured.set_mark(world, &maildir);
                configured.mark.clone()
            }
            Ok(found) => found,
            Err(error) => {
                configured.opened = Some(maildir);
                return Err(error.into());
            }
        };
        configured.opened = Some(maildir);
        if found == Some(mark) || found == configured.mark {
            return Ok(());
        }
        configured.replaced = true;
        Err(LocalError::Replaced(id))
    }
}

impl Configured {
    fn adopt_mark(&mut self, world: &mut World, mark: String) {
        if self.mark.as_ref() != Some(&mark) {
            world.note(Change::SetMeta { key: mark_key(self.id), value: mark.clone() });
            self.mark = Some(mark);
        }
    }

    /// Marks the Maildir, on the disk first: a mark that only the database knows would be missed. One that can't be marked
    /// is used without.
    fn set_mark(&mut self, world: &mut World, maildir: &Maildir) {
        let mark = self.mark.take().unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
        match maildir.set_mark(&mark) {
            Ok(()) => {
                world.note(Change::SetMeta { key: mark_key(self.id), value: mark.clone() });
                self.mark = Some(mark);
                self.unmarked = false;
            }
            Err(error) => {
                debug!(%error, "Couldn't mark a Maildir");
                self.unmarked = true;
                world.note(Change::SetMeta { key: mark_key(self.id), value: String::new() });
            }
        }
    }

    /// Tries once more to mark a Maildir that couldn't be marked. What isn't known by a mark is made anew where it is missing.
    fn mark_again(&mut self, world: &mut World) {
        let Some(maildir) = self.opened.take_if(|_| self.unmarked) else { return };
        if maildir.identity().is_ok_and(|identity| Some(identity) == self.identity) {
            // The first attempt may have come as far as the mark itself.
            self.mark = maildir.mark().ok().flatten();
            self.set_mark(world, &maildir);
        }
        self.opened = Some(maildir);
    }

    fn take_into_use(&mut self, maildir: Maildir) -> Result<(), MaildirError> {
        self.identity = Some(maildir.identity()?);
        self.opened = Some(maildir);
        self.was_there = true;
        Ok(())
    }
}

/// The key of the id in a Maildir's mark in the database.
pub(crate) fn mark_key(maildir: MaildirId) -> String {
    format!("maildir {} mark", maildir.0)
}

/// Ends what a run has begun that was killed: of the files that it took aside, those whose content the store has are removed,
/// and all others put back. What can't be read now is left for the next time.
fn tidy_up(store: &Store, maildir: &Maildir) {
    if let Err(error) = maildir.remove_trial_file() {
        debug!(%error, "Couldn't remove the file by which the watch was tried");
    }
    for aside in maildir.taken_aside().unwrap_or_default() {
        let ended = match hash_file(&aside) {
            Ok(hash) if store.contains(&hash) => maildir.discard(&aside),
            Ok(_) => maildir.put_back(&aside),
            Err(source) => Err(MaildirError::Io { doing: "read", path: aside.clone(), source }),
        };
        if let Err(error) = ended {
            warn!(file = %aside.display(), %error, "Couldn't finish the removal of a file");
        }
    }
}
