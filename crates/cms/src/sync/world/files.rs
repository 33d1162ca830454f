//! What is on disk, and what becomes of the Local tree by it.

use cms_engine::{Absence, ContentHash, FileKey, Flags, HashSet, LocalFile, MaildirId};
use cms_maildir::{FileName, Place};
use cms_store::{Change, ReportedNote};

use crate::sync::world::World;

impl World {
    /// Writes a file into the Local tree.
    pub(crate) fn put_file(&mut self, key: FileKey, file: LocalFile, located: Located) {
        if !self.local.vanished.is_empty() {
            self.local.vanished.remove(&key);
        }
        if self.synced.by_file(&key).is_none() {
            self.strangers.insert(key.clone());
        }
        if !self.everything_touched {
            self.touched.files.insert(key.clone());
        }
        if !self.unread.is_empty() {
            self.unread.remove(&key);
        }
        self.hearsay.of_file(&key);
        if is_usual(&key, &file, &located) {
            if !self.places.is_empty() {
                self.places.remove(&key);
            }
            self.local.files.put(key, file, located.place == Place::New);
        } else {
            self.local.files.put(key.clone(), file, false);
            self.places.insert(key, located);
        }
    }

    /// Where a file of the Local tree is on disk.
    pub(crate) fn located(&self, key: &FileKey) -> Option<Located> {
        if let Some(located) = self.places.get(key) {
            return Some(located.clone());
        }
        let file = self.local.files.copy_of(key)?;
        let base_name = key.base_name.clone();
        Some(if self.local.files.is_new(key) {
            Located { place: Place::New, name: FileName::bare(base_name) }
        } else {
            Located { place: Place::Cur, name: FileName::new(base_name, file.flags, "") }
        })
    }

    /// Notes that a file of the Local tree is elsewhere.
    pub(crate) fn place(&mut self, key: FileKey, located: Located) {
        if let Some(file) = self.local.files.copy_of(&key) {
            let is_usual = is_usual(&key, &file, &located);
            self.local.files.put(key.clone(), file, is_usual && located.place == Place::New);
            if is_usual {
                self.places.remove(&key);
            } else {
                self.places.insert(key, located);
            }
        }
    }

    /// Packs what has come to rest, if that is worth it, and lets go of what was unpacked to be looked at.
    pub(crate) fn pack(&mut self) {
        if self.synced.unpacked() > self.pack_beyond.max(PACKED_TOGETHER) {
            cms_engine::pack(&mut self.cloud, &mut self.local, &mut self.synced);
            // What couldn't be packed isn't looked at again and again.
            self.pack_beyond = self.synced.unpacked() * 2;
        }
    }

    /// Lets go of what was unpacked to be looked at.
    pub(crate) fn forget_unpacked(&mut self) {
        cms_engine::forget_unpacked(&mut self.cloud, &mut self.local, &mut self.synced);
    }

    /// Notes that a file can't be read. Returns whether that is new.
    pub(crate) fn note_unread(&mut self, key: FileKey, located: Located, inode: u64) -> bool {
        let tries = self.unread.get(&key).map(|unread| unread.tries);
        self.unread.insert(key, Unread { located, inode, tries: tries.unwrap_or_default() });
        tries.is_none()
    }

    /// Writes a file of a row into the Local tree that isn't the one that the row knows and can't be read. Returns whether
    /// that is new.
    pub(crate) fn put_unread(&mut self, key: FileKey, flags: Flags, located: Located, inode: u64) -> bool {
        let known = self.unread.remove(&key);
        let is_new = known.is_none();
        self.put_file(key.clone(), LocalFile { flags, hash: None, inode: 0 }, located.clone());
        self.unread.insert(key, known.unwrap_or(Unread { located, inode, tries: 0 }));
        is_new
    }

    /// Whether any file that can't be read is worth another try soon.
    pub(crate) fn has_unread(&self) -> bool {
        self.unread.values().any(|unread| unread.tries < TRIES_OF_UNREAD)
    }

    /// Hands out the files that couldn't be read and are worth another try, and counts that try.
    pub(crate) fn try_unread(&mut self) -> Vec<(FileKey, Located)> {
        let mut due = Vec::new();
        for (key, unread) in &mut self.unread {
            if unread.tries < TRIES_OF_UNREAD {
                unread.tries += 1;
                due.push((key.clone(), unread.located.clone()));
            }
        }
        due
    }

    /// Takes a file out of the Local tree, and notes how it went if somebody saw it.
    pub(crate) fn drop_file(&mut self, key: &FileKey, absence: Option<Absence>) {
        self.places.remove(key);
        if self.strangers.remove(key) {
            self.note_gone_further(key);
        }
        self.saved.remove(key);
        if self.local.files.remove(key).is_some() {
            if let Some(absence) = absence
                && (self.synced.by_file(key).is_some() || self.busy.has_file(key))
            {
                self.local.vanished.insert(key.clone(), absence);
            }
            self.hearsay.of_file(key);
            self.touched.files.insert(key.clone());
        }
    }

    /// Notes that a file without a row was gone when it was to be looked at.
    pub(crate) fn note_missed(&mut self, key: &FileKey) {
        self.missed = true;
        self.note_gone_further(key);
    }

    /// Notes what a file without a row that goes may have been before: a file that was moved here from another Maildir a
    /// moment ago. What became of it shows only now, so that nothing follows from its absence yet.
    fn note_gone_further(&mut self, key: &FileKey) {
        let unread = || self.unread.get(key).map(|unread| unread.inode);
        let inode = self.local.files.get(key).map(|file| file.inode).or_else(unread);
        let elsewhere = self.local.vanished.keys().filter(|gone| gone.maildir != key.maildir);
        let same_inode = |gone: &FileKey| {
            self.synced.brief_by_file(gone).is_some_and(|row| row.inode != 0 && Some(row.inode) == inode)
        };
        let was = elsewhere.filter(|gone| gone.base_name == key.base_name || same_inode(gone));
        let was: Vec<FileKey> = was.cloned().collect();
        for gone in was {
            self.local.vanished.insert(gone.clone(), Absence::Settling);
            self.gone_further.insert(gone);
        }
    }

    /// Whether there are files of rows that may have been moved to another Maildir and gone from there. They are settling.
    pub(crate) fn has_gone_further(&self) -> bool {
        !self.gone_further.is_empty()
    }

    /// Takes out the files of rows that may have been moved to another Maildir and gone from there since they were asked for
    /// last.
    pub(crate) fn take_gone_further(&mut self) -> HashSet<FileKey> {
        std::mem::take(&mut self.gone_further)
    }

    /// Notes that a file was seen to go which a listing has missed already, or which couldn't be read.
    pub(crate) fn explain_absence(&mut self, key: &FileKey) {
        if self.unread.contains_key(key) {
            self.note_gone_further(key);
            self.unread.remove(key);
        }
        if self.synced.by_file(key).is_some() && !self.local.files.contains_key(key) {
            self.local.vanished.entry(key.clone()).or_insert(Absence::Settling);
            self.touched.files.insert(key.clone());
        }
    }

    /// Notes that a file which isn't where its row has it was not deleted there.
    pub(crate) fn forget_vanishing(&mut self, key: &FileKey) {
        self.local.vanished.remove(key);
    }

    /// Says that a Maildir can't be read any more: nothing that went from it lately was a deletion.
    pub(crate) fn lose_maildir(&mut self, maildir: MaildirId) {
        self.local.readable.remove(&maildir);
        self.local.files.remove_all_in(maildir);
        self.places.retain(|key, _| key.maildir != maildir);
        self.doubles.retain(|key, _| key.maildir != maildir);
        self.strangers.retain(|key| key.maildir != maildir);
        self.unread.retain(|key, _| key.maildir != maildir);
        self.saved.retain(|key, _| key.maildir != maildir);
        self.local.vanished.retain(|key, _| key.maildir != maildir);
        self.everything_touched = true;
    }

    /// Ends the time in which vanished files of a Maildir may turn up elsewhere. Returns whether there were any.
    pub(crate) fn settle_vanished(&mut self, maildir: MaildirId) -> bool {
        let mut any = false;
        for (key, absence) in &mut self.local.vanished {
            if key.maildir == maildir && *absence == Absence::Settling {
                *absence = Absence::Observed;
                self.touched.files.insert(key.clone());
                any = true;
            }
        }
        any
    }

    /// Whether a file has no row.
    pub(crate) fn is_stranger(&self, key: &FileKey) -> bool {
        self.strangers.contains(key)
    }

    /// The files that have no row.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = &FileKey> {
        self.strangers.iter()
    }

    /// Notes that a place has no row any more. If a file is there, it has the content that the row had, unless it is known
    /// to have another one: without knowing it, nobody could tell what the file is.
    pub(super) fn orphan(&mut self, file: FileKey, hash: ContentHash) {
        if let Some(found) = self.local.files.get_mut(&file) {
            found.hash.get_or_insert(hash);
            self.strangers.insert(file.clone());
        }
        self.touched.files.insert(file);
    }

    /// Whether the user was told that a file is only here.
    pub(crate) fn is_reported(&self, key: &FileKey) -> bool {
        self.reported.contains(key)
    }

    /// Notes that the user was told that a file is only here.
    pub(crate) fn report(&mut self, key: &FileKey) {
        if self.reported.insert(key.clone()) {
            let base_name = key.base_name.as_str().to_owned();
            self.note(Change::Reported(ReportedNote { maildir: key.maildir, base_name, what: ONLY_HERE.to_owned() }));
        }
    }
}

/// Where a file is on disk, beyond what the engine needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    /// `new` or `cur`.
    pub(crate) place: Place,
    /// Its whole name.
    pub(crate) name: FileName,
}

/// A file that is there and can't be read.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    /// Where it is.
    pub(crate) located: Located,
    /// Its inode.
    pub(crate) inode: u64,
    /// How often it was tried again.
    pub(crate) tries: u32,
}

/// So many rows at rest are worth packing.
const PACKED_TOGETHER: usize = if cfg!(test) { 2 } else { 1000 };

/// How often a file that can't be read is tried again. Until then it may be what a file that went has become.
const TRIES_OF_UNREAD: u32 = 6;

/// Whether a file lies in `new` under its base name, or in `cur` under the name that we would write, as nearly all do. Of such
/// a file nothing is noted but which of both.
fn is_usual(key: &FileKey, file: &LocalFile, Located { place, name }: &Located) -> bool {
    match place {
        Place::New => *name == FileName::bare(key.base_name.clone()) && file.flags.is_empty(),
        Place::Cur => *name == FileName::new(key.base_name.clone(), file.flags, ""),
    }
}

/// The note of [`World::report`] in the database.
pub(crate) const ONLY_HERE: &str = "only here";
