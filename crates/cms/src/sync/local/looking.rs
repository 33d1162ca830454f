//! From what is on disk to the Local tree: listings, and what the watcher tells.

use std::io;
use std::path::Path;

use cms_engine::{Absence, ContentHash, FileKey, Flags, HashSet, LocalFile, MaildirId};
use cms_maildir::{Entry, FileName, Maildir, Place, Scan, WatchEvent, hash_file};
use tracing::warn;

use crate::sync::local::{LocalError, LocalSide};
use crate::sync::saved_copy::hash_without_lengths;
use crate::sync::world::{Located, World};

impl LocalSide {
    /// Lists a Maildir and brings the Local tree up to it. `missing` says how files that aren't there any more went.
    ///
    /// Names that Synced knows are believed without a look at the file: each change of flags, arrival and removal
    /// shows in the names, and reading names is five times cheaper than asking for each file.
    pub(crate) fn scan(
        &mut self,
        world: &mut World,
        id: MaildirId,
        missing: Option<Absence>,
    ) -> Result<(), LocalError> {
        let Some(maildir) = self.maildir(id) else { return Ok(()) };
        let mut scan = maildir.scan()?;
        prefer_own_files(world, id, &mut scan);
        // Asked afterwards: what was listed is believed only of our own.
        self.must_be_ours(world, id)?;
        let Some(configured) = self.maildirs.iter_mut().find(|maildir| maildir.id == id) else { return Ok(()) };
        let doubted = std::mem::take(&mut configured.doubted);
        let Some(maildir) = self.maildir(id) else { return Ok(()) };
        let first = !world.local.readable.contains(&id);
        let look = if first && !doubted { Look::First } else { Look::Again };
        if !first && scan.still {
            // A name that changes while the directory is read may be missed, so only a quiet listing tells what is gone.
            let names: HashSet<_> = scan.entries.iter().map(|entry| &entry.name.base_name).collect();
            let gone: Vec<FileKey> =
                world.local.files.keys_in(id).filter(|key| !names.contains(&key.base_name)).collect();
            for key in gone {
                world.drop_file(&key, missing);
            }
        }
        world.doubles.retain(|key, _| key.maildir != id);
        for Entry { place, name, .. } in scan.doubles {
            world.doubles.insert(FileKey::new(id, name.base_name.clone()), Located { place, name });
        }
        for entry in scan.entries {
            if look == Look::Again && is_known(world, id, &entry) {
                continue;
            }
            self.take(world, id, maildir, entry.place, entry.name, look)?;
        }
        world.local.readable.insert(id);
        world.forget_unpacked();
        Ok(())
    }

    /// Takes one name that is in a Maildir into the tree.
    fn take(
        &self,
        world: &mut World,
        id: MaildirId,
        maildir: &Maildir,
        place: Place,
        name: FileName,
        look: Look,
    ) -> Result<(), LocalError> {
        let key = FileKey::new(id, name.base_name.clone());
        // A draft may have been edited under its own name.
        if look == Look::First
            && let Some(row) = world.synced.brief_by_file(&key)
            && !row.flags.cloud.contains(Flags::DRAFT)
        {
            let file = LocalFile { flags: name.flags, hash: None, inode: row.inode };
            world.put_file(key, file, Located { place, name });
            return Ok(());
        }
        let row = world.synced.by_file(&key).and_then(|row| world.synced.get(row));
        let Some(facts) = maildir.inspect(place, &name)? else {
            if row.is_none() {
                world.note_missed(&key);
            }
            return Ok(());
        };
        if let Some((known, file)) = world.located(&key).zip(world.local.files.get(&key))
            && (known.place != place || known.name != name)
            && (file.inode != facts.inode || look != Look::Written)
            && maildir.inspect(known.place, &known.name)?.is_some_and(|there| there.inode == file.inode)
        {
            // Two files under one base name, or two names of one: this one takes the other's place when that goes.
            world.doubles.insert(key, Located { place, name });
            return Ok(());
        }
        if let Some(known) = world.local.files.get(&key)
            && known.inode == facts.inode
            && !(look == Look::Written || look == Look::Heard && row.is_none())
        {
            let mut file = known.clone();
            let changed = file.flags != name.flags;
            file.flags = name.flags;
            if changed {
                world.put_file(key, file, Located { place, name });
            } else {
                world.place(key, Located { place, name });
            }
            return Ok(());
        }
        let path = maildir.path_of(place, &name);
        let is_stranger = row.is_none();
        let expected = row.map(|row| row.hash);
        let content = match row {
            Some(row) if row.inode == facts.inode && look != Look::Written => None,
            _ => match self.content_of(&path, expected) {
                Ok(content) => Some(content),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if is_stranger {
                        world.note_missed(&key);
                    }
                    return Ok(());
                }
                // One file that can't be read is left alone and spoils nothing else; it is there all the same.
                Err(error) => {
                    let located = Located { place, name: name.clone() };
                    let is_new = if is_stranger {
                        world.note_unread(key, located, facts.inode)
                    } else {
                        world.put_unread(key, name.flags, located, facts.inode)
                    };
                    if is_new {
                        warn!(file = %path.display(), %error, "Couldn't read a file in the Maildir; it is left alone");
                    }
                    return Ok(());
                }
            },
        };
        let hash = content.map(|content| content.hash);
        let written = hash.filter(|_| look == Look::Written);
        let file = LocalFile { flags: name.flags, hash, inode: facts.inode };
        world.put_file(key.clone(), file, Located { place, name });
        match content.and_then(|content| content.bare).filter(|_| is_stranger) {
            Some(bare) => drop(world.saved.insert(key.clone(), bare)),
            None => drop(world.saved.remove(&key)),
        }
        match written {
            Some(hash) => self.written(world, &key, facts.inode, hash),
            None => Ok(()),
        }
    }

    /// Takes in that somebody has written into a file, which has that content now, without giving it another inode. All
    /// names of the file have the content, the store's name too, which stands for another one: the original is
    /// downloaded again.
    pub(super) fn written(
        &self,
        world: &mut World,
        key: &FileKey,
        inode: u64,
        hash: ContentHash,
    ) -> Result<(), LocalError> {
        let names: Vec<FileKey> = world.local.files.with_inode(inode).collect();
        for name in names {
            let row = world.synced.by_file(&name).and_then(|row| world.synced.get(row));
            if let Some(row) = row
                && row.hash != hash
                && self.store.rename_altered(&row.hash)?
            {
                let id = row.remote.clone();
                world.forget_content(&id);
            }
            if name != *key
                && let (Some(file), Some(located)) = (world.local.files.get(&name), world.located(&name))
            {
                let (file, located) = (LocalFile { hash: Some(hash), ..file.clone() }, located);
                world.put_file(name, file, located);
            }
        }
        Ok(())
    }

    /// Looks into a file that was found to have been written to.
    pub(crate) fn look_into(&self, world: &mut World, key: &FileKey) -> Result<(), LocalError> {
        let Some(maildir) = self.maildir(key.maildir) else { return Ok(()) };
        let Some(Located { place, name }) = world.located(key) else { return Ok(()) };
        self.take(world, key.maildir, maildir, place, name, Look::Written)
    }

    /// Looks again at files that couldn't be read.
    pub(crate) fn read_again(&self, world: &mut World) -> Result<(), LocalError> {
        for (key, Located { place, name }) in world.try_unread() {
            let Some(maildir) = self.maildir(key.maildir) else { continue };
            if maildir.inspect(place, &name)?.is_none() {
                world.note_missed(&key);
                world.unread.remove(&key);
                continue;
            }
            self.take(world, key.maildir, maildir, place, name, Look::Heard)?;
        }
        Ok(())
    }

    /// A file's content; of a copy that mutt made, that of the message which it is a copy of. `expected` is what it is
    /// most likely a copy of.
    pub(super) fn content_of(&self, path: &Path, expected: Option<ContentHash>) -> io::Result<Content> {
        let hash = hash_file(path)?;
        if expected == Some(hash) {
            return Ok(Content { hash, bare: None });
        }
        let Some(bare) = hash_without_lengths(path)? else { return Ok(Content { hash, bare: None }) };
        // Only a message that is known is taken for the original. What is asked for first may have lengths of its own.
        let original = match expected {
            Some(expected) if self.without_lengths(&expected) == Some(bare) => Some(expected),
            _ if self.store.contains(&hash) => return Ok(Content { hash, bare: None }),
            _ => self.store.contains(&bare).then_some(bare),
        };
        Ok(Content { hash: original.unwrap_or(hash), bare: original.is_none().then_some(bare) })
    }

    /// The hash that a stored message would have without lengths in its header, if it has any.
    fn without_lengths(&self, hash: &ContentHash) -> Option<ContentHash> {
        hash_without_lengths(&self.store.path_of(hash)).ok().flatten()
    }

    /// Finds out which files are mutt's copies of messages that went, where those had lengths in their headers before. Which
    /// message such a copy is of can't be told by itself; only of those that went, one is looked for.
    pub(crate) fn recognize_saved_copies(&self, world: &mut World) {
        if world.saved.is_empty() {
            return;
        }
        for original in world.contents_that_went() {
            let Some(bare) = self.without_lengths(&original) else { continue };
            let copies: Vec<FileKey> =
                world.saved.iter().filter(|(_, copy)| **copy == bare).map(|(key, _)| key.clone()).collect();
            for key in copies {
                world.saved.remove(&key);
                if let (Some(file), Some(located)) = (world.local.files.get(&key), world.located(&key)) {
                    let (file, located) = (LocalFile { hash: Some(original), ..file.clone() }, located);
                    world.put_file(key, file, located);
                }
            }
        }
    }

    /// Takes what the watcher heard. Returns the Maildirs that need more than that: those that were lost or came back.
    pub(crate) fn hear(&self, world: &mut World, events: Vec<WatchEvent>) -> Vec<WatchEvent> {
        let mut serious = Vec::new();
        // A file that was written to may have another name by now, which is told next.
        let mut written: HashSet<FileKey> = HashSet::default();
        for event in events {
            match event {
                WatchEvent::Appeared { maildir: id, place, ref file_name }
                | WatchEvent::Written { maildir: id, place, ref file_name } => {
                    let (Some(maildir), Some(name)) = (self.maildir(id), FileName::parse(file_name)) else { continue };
                    let key = FileKey::new(id, name.base_name.clone());
                    if matches!(event, WatchEvent::Written { .. }) {
                        written.insert(key.clone());
                    }
                    let look = if written.contains(&key) { Look::Written } else { Look::Heard };
                    if let Err(error) = self.take(world, id, maildir, place, name, look) {
                        warn!(maildir = %maildir.path().display(), %error, "Couldn't look at a new file");
                        serious.push(WatchEvent::Overflow);
                    }
                }
                WatchEvent::Vanished { maildir: id, place, file_name } => {
                    let (Some(maildir), Some(name)) = (self.maildir(id), FileName::parse(&file_name)) else { continue };
                    let key = FileKey::new(id, name.base_name.clone());
                    let known = world.located(&key).map(|known| known.place == place && known.name == name);
                    // An event tells of the past: what counts is what the disk says now.
                    let now = if known == Some(false) { continue } else { maildir.inspect(place, &name) };
                    if now.is_err() {
                        // It is told only once.
                        serious.push(WatchEvent::Overflow);
                    } else if known.is_none() && matches!(now, Ok(None)) {
                        world.explain_absence(&key);
                    } else if matches!(now, Ok(None)) {
                        world.drop_file(&key, Some(Absence::Settling));
                        if let Some(Located { place, name }) = world.doubles.remove(&key)
                            && let Err(error) = self.take(world, id, maildir, place, name, Look::Heard)
                        {
                            warn!(maildir = %maildir.path().display(), %error, "Couldn't look at a file");
                            serious.push(WatchEvent::Overflow);
                        }
                    }
                }
                WatchEvent::DirectoryGone { .. }
                | WatchEvent::DirectoryBack { .. }
                | WatchEvent::DirectoriesChanged { .. }
                | WatchEvent::Overflow => {
                    serious.push(event);
                }
            }
        }
        serious
    }

    /// Whether any Maildir has files whose disappearance may yet turn out to be a move.
    pub(crate) fn is_settling(world: &World) -> bool {
        world.local.vanished.values().any(|absence| *absence == Absence::Settling)
    }
}

/// Why a name is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The Maildir is listed for the first time: names that Synced knows are believed.
    First,
    /// It is listed again.
    Again,
    /// Something happened to the file. One without a row may have been written to: programs that don't go by way of
    /// `tmp` show half a message first.
    Heard,
    /// Somebody has written to the file, whatever it is.
    Written,
}

/// What a file holds.
#[derive(Clone, Copy)]
pub(super) struct Content {
    /// Its hash, or that of the message which it is a copy of.
    pub(super) hash: ContentHash,
    /// Of what may be a copy that mutt made, of nobody knows which message: the hash without the lengths in its header.
    pub(super) bare: Option<ContentHash>,
}

/// Whether the tree has the very file that a listing names, under the very name.
fn is_known(world: &World, id: MaildirId, entry: &Entry) -> bool {
    let key = FileKey::new(id, entry.name.base_name.clone());
    let same_name = |known: Located| known.place == entry.place && known.name == entry.name;
    world.located(&key).is_some_and(same_name)
        && world.local.files.copy_of(&key).is_some_and(|file| file.inode == entry.inode)
}

/// Of files with one base name, lets that one stand for it which the row knows: by its inode, and of several names of one
/// file, by its flags. Any other choice would look like a change that somebody made while nothing was listed.
fn prefer_own_files(world: &World, id: MaildirId, scan: &mut Scan) {
    for double in &mut scan.doubles {
        let row = world.synced.by_file(&FileKey::new(id, double.name.base_name.clone()));
        let Some(row) = row.and_then(|row| world.synced.get(row)) else { continue };
        let unlike = |entry: &Entry| (entry.inode != row.inode, entry.name.flags != row.flags.local);
        let chosen = scan.entries.iter_mut().find(|entry| entry.name.base_name == double.name.base_name);
        if let Some(chosen) = chosen.filter(|chosen| unlike(double) < unlike(chosen)) {
            std::mem::swap(chosen, double);
        }
    }
}
