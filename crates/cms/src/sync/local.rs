//! The local side: from what is on disk to the Local tree, and from the planner's local ops to the disk.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};

use cms_engine::{
    Absence, Answer, BaseName, ContentHash, FileKey, Flags, HashSet, LocalFile, MaildirId, Op, RemoteId, RowId,
    UnixSeconds,
};
use cms_maildir::{
    Entry, FileFacts, FileName, How, Maildir, MaildirError, Place, Removal, Scan, WatchEvent, hash_file,
};
use cms_store::{After, Change, Deed, JournalEntry, Standing, Store, StoreError};
use tracing::{debug, info, warn};

use crate::sync::journal::Reason;
use crate::sync::saved_copy::hash_without_lengths;
use crate::sync::world::{Located, World};

/// One configured Maildir, readable or not.
// Each of these is a fact of its own.
#[allow(clippy::struct_excessive_bools)]
struct Configured {
    id: MaildirId,
    path: PathBuf,
    opened: Option<Maildir>,
    /// Whether it was there in this run. It may have had no mark, if that couldn't be written.
    was_there: bool,
    /// The id in its mark; nothing if it was never marked.
    mark: Option<String>,
    /// Whether it couldn't be marked, so that it is tried again.
    unmarked: bool,
    /// The file system's name for it while it is open.
    identity: Option<(u64, u64)>,
    /// Whether another directory is in its place.
    replaced: bool,
    /// Whether names that Synced knows aren't believed when it is listed the next time.
    doubted: bool,
}

/// All configured Maildirs.
pub(crate) struct LocalSide {
    store: Store,
    maildirs: Vec<Configured>,
    /// Whether the store took a file in since that was last asked.
    adopted: Cell<bool>,
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
struct Content {
    /// Its hash, or that of the message which it is a copy of.
    hash: ContentHash,
    /// Of what may be a copy that mutt made, of nobody knows which message: the hash without the lengths in its header.
    bare: Option<ContentHash>,
}

/// Why a local op wasn't done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    /// The disk isn't as the tree says: look again, then plan again.
    #[error("the Maildir has changed meanwhile")]
    LookAgain(MaildirId),
    /// Another directory is in the Maildir's place: nothing in it, and nothing missing from it, means anything.
    #[error("another directory is in the place of a Maildir that held mail")]
    Replaced(MaildirId),
    /// The store doesn't have the content: download it again.
    #[error("the message store has lost a message")]
    ContentMissing,
    /// A file that is about to go can't be read, so that nobody knows what would be lost.
    #[error("couldn't read `{}`", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What a command is about isn't there.
    #[error("its file isn't there, or its Maildir can't be read")]
    NotThere,
    /// The Maildir can't be used now.
    #[error(transparent)]
    Maildir(#[from] MaildirError),
    /// The store can't be used now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LocalError {
    /// Whether the disk is full.
    pub(crate) fn is_disk_full(&self) -> bool {
        match self {
            Self::Maildir(error) => error.is_disk_full(),
            Self::Store(error) => matches!(error, StoreError::DiskFull { .. }),
            Self::LookAgain(_) | Self::Replaced(_) | Self::ContentMissing | Self::Unread { .. } | Self::NotThere => {
                false
            }
        }
    }
}

impl LocalSide {
    /// `maildirs`: each with the id in its mark, if it was marked.
    pub(crate) fn new(store: Store, maildirs: impl IntoIterator<Item = (MaildirId, PathBuf, Option<String>)>) -> Self {
        let configured = |(id, path, mark)| Configured {
            id,
            path,
            opened: None,
            was_there: false,
            mark,
            unmarked: false,
            identity: None,
            replaced: false,
            doubted: false,
        };
        Self { store, maildirs: maildirs.into_iter().map(configured).collect(), adopted: Cell::new(false) }
    }

    pub(crate) fn ids(&self) -> Vec<MaildirId> {
        self.maildirs.iter().map(|maildir| maildir.id).collect()
    }

    pub(crate) fn path(&self, id: MaildirId) -> Option<&Path> {
        self.maildirs.iter().find(|maildir| maildir.id == id).map(|maildir| maildir.path.as_path())
    }

    pub(crate) fn maildir(&self, id: MaildirId) -> Option<&Maildir> {
        self.maildirs.iter().find(|maildir| maildir.id == id)?.opened.as_ref()
    }

    /// Whether a Maildir was there once. Then it is waited for, and never made anew: mail may be in it that no row tells
    /// of, such as what was moved into it last.
    pub(crate) fn is_known(&self, id: MaildirId) -> bool {
        self.maildirs.iter().any(|maildir| maildir.id == id && maildir.mark.is_some())
    }

    /// Whether another directory is in a Maildir's place.
    pub(crate) fn is_replaced(&self, id: MaildirId) -> bool {
        self.maildirs.iter().any(|maildir| maildir.id == id && maildir.replaced)
    }

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
    /// there is made. What it should hold and doesn't comes back.
    pub(crate) fn accept(&mut self, world: &mut World, id: MaildirId) -> Result<(), LocalError> {
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
    fn must_be_ours(&mut self, world: &mut World, id: MaildirId) -> Result<(), LocalError> {
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
            world.missed |= row.is_none();
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
                    world.missed |= is_stranger;
                    return Ok(());
                }
                // One file that can't be read is left alone and spoils nothing else; it is there all the same.
                Err(error) => {
                    let located = Located { place, name: name.clone() };
                    let is_new = if is_stranger {
                        world.note_unread(key, located)
                    } else {
                        world.put_unread(key, name.flags, located)
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
    fn written(&self, world: &mut World, key: &FileKey, inode: u64, hash: ContentHash) -> Result<(), LocalError> {
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
                world.unread.remove(&key);
                world.missed = true;
                continue;
            }
            self.take(world, key.maildir, maildir, place, name, Look::Heard)?;
        }
        Ok(())
    }

    /// A file's content; of a copy that mutt made, that of the message which it is a copy of. `expected` is what it is
    /// most likely a copy of.
    fn content_of(&self, path: &Path, expected: Option<ContentHash>) -> io::Result<Content> {
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

    /// The content of the file that a delivery of a message has left, if nothing is known of that delivery any more. Its
    /// name is made of the message's id, and its time shows that nobody has written to it since. Drafts are known by
    /// their content only. The store holds the content afterwards.
    pub(crate) fn left_by_delivery(
        &self,
        world: &World,
        store: &Store,
        id: &RemoteId,
        host: &str,
    ) -> Option<ContentHash> {
        let message = world.cloud.messages.get(id)?;
        if message.flags.contains(Flags::DRAFT) || world.synced.by_remote(id).is_some() {
            return None;
        }
        let base_name = BaseName::for_message(message.received, id, host);
        self.maildirs.iter().find_map(|configured| {
            let key = FileKey::new(configured.id, base_name.clone());
            let (file, located) = (world.local.files.get(&key)?, world.located(&key)?);
            let hash = file.hash.filter(|_| world.is_stranger(&key))?;
            let maildir = configured.opened.as_ref()?;
            let facts = maildir.inspect(located.place, &located.name).ok()??;
            let untouched = facts.inode == file.inode && facts.is_as_delivered(message.received);
            (untouched && self.keep(store, maildir, &located, &hash).is_ok()).then_some(hash)
        })
    }

    /// Does one local op: the disk first, then the trees.
    pub(crate) fn perform(&self, world: &mut World, store: &Store, op: &Op, reason: &Reason) -> Result<(), LocalError> {
        let age = reason.age;
        match op {
            Op::Deliver { row, base } => {
                let mut base = base.clone();
                // Somebody may have written into the file before it went, and so into the store's: they were one file.
                if row.is_some() && store.rename_altered(&base.hash)? {
                    return Err(LocalError::ContentMissing);
                }
                self.deliver(world, store, &mut base, row.is_none())?;
                world.confirm(&Op::Deliver { row: *row, base }, &Answer::default(), reason);
            }
            Op::Replace { row, old, base } => {
                let mut base = base.clone();
                self.must_be_as_known(world, old)?;
                let was_there = world.local.files.contains_key(&base.file);
                self.deliver(world, store, &mut base, false)?;
                if let Err(error) = self.unlink(world, store, old, age) {
                    if !was_there {
                        self.take_back(world, &base.file);
                    }
                    return Err(error);
                }
                world.confirm(&Op::Replace { row: *row, old: old.clone(), base }, &Answer::default(), reason);
            }
            Op::Rename { row, from, base } => {
                let mut base = base.clone();
                self.rename(world, from, &mut base)?;
                world.confirm(&Op::Rename { row: *row, from: from.clone(), base }, &Answer::default(), reason);
            }
            Op::Remove { file, .. } => {
                self.unlink(world, store, file, age)?;
                world.confirm(op, &Answer::default(), reason);
            }
            Op::Record { .. } | Op::Forget { .. } => world.confirm(op, &Answer::default(), reason),
            Op::Fetch { .. }
            | Op::SetCloudFlags { .. }
            | Op::MoveInCloud { .. }
            | Op::DeleteInCloud { .. }
            | Op::Upload { .. }
            | Op::UpdateDraft { .. } => {}
        }
        Ok(())
    }

    /// Puts a message into its Maildir. `is_new` says that it had no row.
    fn deliver(
        &self,
        world: &mut World,
        store: &Store,
        base: &mut cms_engine::Row,
        is_new: bool,
    ) -> Result<(), LocalError> {
        let id = base.file.maildir;
        let maildir = self.maildir(id).ok_or(LocalError::LookAgain(id))?;
        if !store.contains(&base.hash) || store.is_shared(&base.hash)? && store.rename_altered(&base.hash)? {
            return Err(LocalError::ContentMissing);
        }
        let delivered = maildir
            .deliver(&store.path_of(&base.hash), &base.file.base_name, base.flags.local, "", base.received)
            .map_err(|error| look_again(error, id))?;
        world.note(Change::Unreleased { hash: base.hash });
        base.inode = delivered.facts.inode;
        if is_new && delivered.how == How::AlreadyThere {
            // A delivery that nobody remembers. Who changed the flags since isn't known, and the cloud's hold.
            base.flags = cms_engine::Sides { local: delivered.name.flags, cloud: delivered.name.flags };
        }
        let file = LocalFile { flags: delivered.name.flags, hash: None, inode: delivered.facts.inode };
        debug!(file = %delivered.name, how = ?delivered.how, "Delivered");
        world.put_file(base.file.clone(), file, Located { place: delivered.place, name: delivered.name });
        Ok(())
    }

    fn rename(&self, world: &mut World, from: &FileKey, base: &mut cms_engine::Row) -> Result<(), LocalError> {
        let id = from.maildir;
        let to = base.file.maildir;
        let located = world.located(from).ok_or(LocalError::LookAgain(id))?;
        let (source, target) = self.maildir(id).zip(self.maildir(to)).ok_or(LocalError::LookAgain(id))?;
        let (place, name) = if id == to {
            source.set_flags(located.place, &located.name, base.flags.local)
        } else {
            // Under a name of its own, if another message has its name there.
            source.move_to(located.place, &located.name, target, &base.file.base_name, base.flags.local)
        }
        .map_err(|error| look_again(error, id))?;
        let mut file = world.local.files.get(from).cloned().ok_or(LocalError::LookAgain(id))?;
        file.flags = name.flags;
        // The inode of a file that was edited isn't that of what the row tells.
        if base.inode == 0 && file.hash.is_none_or(|hash| hash == base.hash) {
            base.inode = file.inode;
        }
        if *from != base.file {
            world.drop_file(from, None);
        }
        world.put_file(base.file.clone(), file, Located { place, name });
        Ok(())
    }

    fn unlink(&self, world: &mut World, store: &Store, key: &FileKey, age: UnixSeconds) -> Result<(), LocalError> {
        let id = key.maildir;
        let maildir = self.maildir(id).ok_or(LocalError::LookAgain(id))?;
        let located = world.located(key).ok_or(LocalError::LookAgain(id))?;
        let facts = self.must_be_as_known(world, key)?;
        let row = world.synced.by_file(key).and_then(|row| world.synced.get(row)).map(|row| row.hash);
        let hash = world.local.files.get(key).and_then(|file| file.hash).or(row);
        if let Some(hash) = hash {
            self.keep(store, maildir, &located, &hash)?;
            world.note(Change::Released { hash, at: age });
        }
        match maildir.remove(located.place, &located.name, &facts).map_err(|error| look_again(error, id))? {
            Removal::Done => {}
            Removal::Gone | Removal::Another => return Err(LocalError::LookAgain(id)),
        }
        world.drop_file(key, None);
        Ok(())
    }

    /// Takes a file out again that was just delivered, as far as that can be done now: by the time of the next attempt the cloud
    /// may have another version, and nobody would know any more what this one is.
    fn take_back(&self, world: &mut World, key: &FileKey) {
        let Some((maildir, Located { place, name })) = self.maildir(key.maildir).zip(world.located(key)) else {
            return;
        };
        let Ok(Some(facts)) = maildir.inspect(place, &name) else { return };
        match maildir.remove(place, &name, &facts) {
            Ok(Removal::Done | Removal::Gone) => world.drop_file(key, None),
            Ok(Removal::Another) => {}
            Err(error) => debug!(%error, "Couldn't take a file out again"),
        }
    }

    /// Gives a row's file the flags of `value` that `mask` names, as a mail program would.
    pub(crate) fn set_flags(
        &self,
        world: &mut World,
        row: RowId,
        mask: Flags,
        value: Flags,
    ) -> Result<MaildirId, LocalError> {
        let key = world.synced.get(row).map(|row| row.file.clone()).ok_or(LocalError::NotThere)?;
        let located = world.located(&key).ok_or(LocalError::NotThere)?;
        let mut file = world.local.files.get(&key).cloned().ok_or(LocalError::NotThere)?;
        let maildir = self.maildir(key.maildir).ok_or(LocalError::NotThere)?;
        let (place, name) = maildir.set_flags(located.place, &located.name, file.flags.with(mask, value))?;
        file.flags = name.flags;
        let id = key.maildir;
        world.put_file(key, file, Located { place, name });
        Ok(id)
    }

    /// Moves a row's file to another Maildir, as a mail program would.
    pub(crate) fn move_file(&self, world: &mut World, row: RowId, to: MaildirId) -> Result<(), LocalError> {
        let from = world.synced.get(row).map(|row| row.file.clone()).ok_or(LocalError::NotThere)?;
        let located = world.located(&from).ok_or(LocalError::NotThere)?;
        let file = world.local.files.get(&from).cloned().ok_or(LocalError::NotThere)?;
        let (source, target) = self.maildir(from.maildir).zip(self.maildir(to)).ok_or(LocalError::NotThere)?;
        let hash = world.synced.get(row).map(|row| row.hash);
        let (place, name) = source.move_to(located.place, &located.name, target, &from.base_name, file.flags)?;
        world.drop_file(&from, Some(Absence::Observed));
        let file = LocalFile { hash: file.hash.or(hash), ..file };
        world.put_file(FileKey::new(to, name.base_name.clone()), file, Located { place, name });
        Ok(())
    }

    /// Puts a message into a Maildir that only the Maildir will have, under the name that it had.
    pub(crate) fn restore(
        &self,
        world: &mut World,
        store: &Store,
        key: &FileKey,
        flags: Flags,
        hash: &ContentHash,
        reason: &Reason,
    ) -> Result<(), LocalError> {
        let maildir = self.maildir(key.maildir).ok_or(LocalError::NotThere)?;
        if !store.contains(hash) {
            return Err(LocalError::ContentMissing);
        }
        let source = store.path_of(hash);
        // The file in the store has the time of its message.
        let received = maildir_time(&source).unwrap_or(reason.at);
        let delivered = maildir
            .deliver(&source, &key.base_name, flags, "", received)
            .map_err(|error| look_again(error, key.maildir))?;
        world.note(Change::Unreleased { hash: *hash });
        let standing = Standing {
            remote: None,
            mailbox: None,
            file: key.clone(),
            hash: *hash,
            flags: cms_engine::Sides { local: delivered.name.flags, cloud: Flags::NONE },
        };
        world.note(Change::journal(JournalEntry { after: After::As(standing), ..reason.entry(Deed::RestoredHere) }));
        let file = LocalFile { flags: delivered.name.flags, hash: Some(*hash), inode: delivered.facts.inode };
        world.put_file(key.clone(), file, Located { place: delivered.place, name: delivered.name });
        Ok(())
    }

    /// Takes a file out of its Maildir that only the Maildir has. The store keeps its content.
    pub(crate) fn remove_restored(
        &self,
        world: &mut World,
        store: &Store,
        key: &FileKey,
        standing: &Standing,
        reason: &Reason,
    ) -> Result<(), LocalError> {
        if !world.is_stranger(key) {
            return Err(LocalError::NotThere);
        }
        self.unlink(world, store, key, reason.age)?;
        world.note(Change::journal(JournalEntry { before: Some(standing.clone()), ..reason.entry(Deed::RemovedHere) }));
        Ok(())
    }

    /// That a file which is about to go is the one that the tree means. Names are believed when a Maildir is first listed,
    /// and an edit that was made before that is in a file of its own under the same name, or in the very file. Whatever
    /// has the time that it was delivered with wasn't written to since.
    fn must_be_as_known(&self, world: &mut World, key: &FileKey) -> Result<FileFacts, LocalError> {
        let id = key.maildir;
        let maildir = self.maildir(id).ok_or(LocalError::LookAgain(id))?;
        let located = world.located(key).ok_or(LocalError::LookAgain(id))?;
        let known = world.local.files.get(key).ok_or(LocalError::LookAgain(id))?;
        let facts = maildir.inspect(located.place, &located.name)?;
        let Some(facts) = facts.filter(|facts| facts.inode == known.inode) else {
            return Err(LocalError::LookAgain(id));
        };
        let Some(row) = world.synced.by_file(key).and_then(|row| world.synced.get(row)) else { return Ok(facts) };
        if facts.is_as_delivered(row.received) {
            return Ok(facts);
        }
        let path = maildir.path_of(located.place, &located.name);
        let content = self.content_of(&path, Some(row.hash)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => LocalError::LookAgain(id),
            _ => LocalError::Unread { path: path.clone(), source },
        })?;
        let hash = content.hash;
        if hash == known.hash.unwrap_or(row.hash) {
            return Ok(facts);
        }
        let (file, located) = (LocalFile { hash: Some(hash), ..known.clone() }, located.clone());
        world.put_file(key.clone(), file, located);
        self.written(world, key, facts.inode, hash)?;
        Err(LocalError::LookAgain(id))
    }

    /// Makes sure that the store holds a file's content, as it is to be read there.
    pub(crate) fn keep_file(&self, world: &mut World, store: &Store, key: &FileKey) -> Result<(), LocalError> {
        let id = key.maildir;
        self.must_be_as_known(world, key)?;
        let maildir = self.maildir(id).ok_or(LocalError::LookAgain(id))?;
        let located = world.located(key).ok_or(LocalError::LookAgain(id))?;
        let hash = world.local.files.get(key).and_then(|file| file.hash).ok_or(LocalError::LookAgain(id))?;
        self.keep(store, maildir, &located, &hash)
    }

    /// Makes sure that the store holds what is about to leave a Maildir.
    fn keep(
        &self,
        store: &Store,
        maildir: &Maildir,
        located: &Located,
        hash: &cms_engine::ContentHash,
    ) -> Result<(), LocalError> {
        if !store.contains(hash) {
            store.adopt(&maildir.path_of(located.place, &located.name), hash)?;
            self.adopted.set(true);
        }
        Ok(())
    }

    /// Whether the store took a file in since this was last asked. It isn't durable there until the store is flushed.
    pub(crate) fn take_adopted(&self) -> bool {
        self.adopted.take()
    }

    /// Makes what was done in a Maildir durable.
    pub(crate) fn sync_directories(&self, id: MaildirId) -> Result<(), MaildirError> {
        self.maildir(id).map_or(Ok(()), Maildir::sync_directories)
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

fn maildir_time(path: &Path) -> Option<UnixSeconds> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|metadata| UnixSeconds(metadata.mtime()))
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

/// A file that isn't where the tree says, or a name that is taken, means that the tree is behind the disk.
fn look_again(error: MaildirError, id: MaildirId) -> LocalError {
    match error {
        MaildirError::Vanished { .. } | MaildirError::NameTaken { .. } => LocalError::LookAgain(id),
        MaildirError::SourceMissing { .. } => LocalError::ContentMissing,
        other => LocalError::Maildir(other),
    }
}
