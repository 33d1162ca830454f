//! The local side: from what is on disk to the Local tree, and from the planner's local ops to the disk.

use std::io;
use std::path::{Path, PathBuf};

use cms_engine::{
    Absence, Answer, BaseName, ContentHash, FileKey, Flags, HashSet, LocalFile, MaildirId, Op, RemoteId, UnixSeconds,
};
use cms_maildir::{Entry, FileName, Maildir, MaildirError, Place, WatchEvent, hash_file};
use cms_store::{Change, Store, StoreError};
use tracing::{debug, info, warn};

use crate::sync::saved_copy::hash_without_lengths;
use crate::sync::world::{Located, World};

/// One configured Maildir, readable or not.
struct Configured {
    id: MaildirId,
    path: PathBuf,
    opened: Option<Maildir>,
}

/// All configured Maildirs.
pub(crate) struct LocalSide {
    store: Store,
    maildirs: Vec<Configured>,
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
}

/// Why a local op wasn't done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    /// The disk isn't as the tree says: look again, then plan again.
    #[error("the Maildir has changed meanwhile")]
    LookAgain(MaildirId),
    /// The store doesn't have the content: download it again.
    #[error("the message store has lost a message")]
    ContentMissing,
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
            Self::LookAgain(_) | Self::ContentMissing => false,
        }
    }
}

impl LocalSide {
    pub(crate) fn new(store: Store, maildirs: impl IntoIterator<Item = (MaildirId, PathBuf)>) -> Self {
        Self { store, maildirs: maildirs.into_iter().map(|(id, path)| Configured { id, path, opened: None }).collect() }
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

    /// Opens a Maildir. One that doesn't exist is made, unless Synced says that mail was in it: then its disk may not
    /// be mounted, and making an empty one would look like a wiped mailbox.
    pub(crate) fn open(&mut self, world: &World, id: MaildirId) -> Result<(), MaildirError> {
        let Some(configured) = self.maildirs.iter_mut().find(|maildir| maildir.id == id) else { return Ok(()) };
        let opened = match Maildir::open(&configured.path) {
            Err(MaildirError::NotAMaildir { .. }) if !world.synced.iter().any(|(_, row)| row.file.maildir == id) => {
                let made = Maildir::create(&configured.path)?;
                info!(maildir = %configured.path.display(), "Made a new Maildir");
                made
            }
            other => other?,
        };
        configured.opened = Some(opened);
        Ok(())
    }

    /// Takes a Maildir out of use until it can be opened again.
    pub(crate) fn close(&mut self, world: &mut World, id: MaildirId) {
        if let Some(configured) = self.maildirs.iter_mut().find(|maildir| maildir.id == id) {
            configured.opened = None;
        }
        world.lose_maildir(id);
    }

    /// Lists a Maildir and brings the Local tree up to it. `missing` says how files that aren't there any more went.
    ///
    /// Names that Synced knows are believed without a look at the file: each change of flags, arrival and removal
    /// shows in the names, and reading names is five times cheaper than asking for each file.
    pub(crate) fn scan(&self, world: &mut World, id: MaildirId, missing: Option<Absence>) -> Result<(), LocalError> {
        let Some(maildir) = self.maildir(id) else { return Ok(()) };
        let scan = maildir.scan()?;
        let first = !world.local.readable.contains(&id);
        let look = if first { Look::First } else { Look::Again };
        if first {
            world.local.files.reserve(scan.entries.len());
            world.places.reserve(scan.entries.len());
        } else if scan.still {
            // A name that changes while the directory is read may be missed, so only a quiet listing tells what is gone.
            let names: HashSet<_> = scan.entries.iter().map(|entry| &entry.name.base_name).collect();
            let gone: Vec<FileKey> = world
                .local
                .files
                .keys()
                .filter(|key| key.maildir == id && !names.contains(&key.base_name))
                .cloned()
                .collect();
            for key in gone {
                world.drop_file(&key, missing);
            }
        }
        for entry in scan.entries {
            if look == Look::Again && is_known(world, id, &entry) {
                continue;
            }
            self.take(world, id, maildir, entry.place, entry.name, look)?;
        }
        world.local.readable.insert(id);
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
        let row = world.synced.by_file(&key).and_then(|row| world.synced.get(row));
        if let Some(row) = row
            && look == Look::First
        {
            let file = LocalFile { flags: name.flags, hash: None, inode: row.inode };
            world.put_file(key, file, Located { place, name });
            return Ok(());
        }
        let Some(facts) = maildir.inspect(place, &name)? else { return Ok(()) };
        if let Some(known) = world.local.files.get(&key)
            && known.inode == facts.inode
            && !(look == Look::Heard && row.is_none())
        {
            let mut file = known.clone();
            let changed = file.flags != name.flags;
            file.flags = name.flags;
            if changed {
                world.put_file(key, file, Located { place, name });
            } else {
                world.places.insert(key, Located { place, name });
            }
            return Ok(());
        }
        let path = maildir.path_of(place, &name);
        let hash = match row {
            Some(row) if row.inode == facts.inode => None,
            _ => match self.content_of(&path) {
                Ok(hash) => Some(hash),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                // One file that can't be read is left alone and spoils nothing else; it is there all the same.
                Err(error) => {
                    let has_row = row.is_some();
                    if has_row || world.note_unread(key.clone(), Located { place, name: name.clone() }) {
                        warn!(file = %path.display(), %error, "Couldn't read a file in the Maildir; it is left alone");
                    }
                    if !has_row {
                        return Ok(());
                    }
                    None
                }
            },
        };
        let file = LocalFile { flags: name.flags, hash, inode: facts.inode };
        world.put_file(key, file, Located { place, name });
        Ok(())
    }

    /// Looks again at files that couldn't be read.
    pub(crate) fn read_again(&self, world: &mut World) -> Result<(), LocalError> {
        for (key, Located { place, name }) in world.try_unread() {
            let Some(maildir) = self.maildir(key.maildir) else { continue };
            if maildir.inspect(place, &name)?.is_none() {
                world.unread.remove(&key);
                continue;
            }
            self.take(world, key.maildir, maildir, place, name, Look::Heard)?;
        }
        Ok(())
    }

    /// The hash of a file's content; of a copy that mutt made, that of the message which it is a copy of.
    fn content_of(&self, path: &Path) -> io::Result<ContentHash> {
        let hash = hash_file(path)?;
        if self.store.contains(&hash) {
            return Ok(hash);
        }
        // Only a message that is known is taken for the original.
        Ok(hash_without_lengths(path)?.filter(|original| self.store.contains(original)).unwrap_or(hash))
    }

    /// Takes what the watcher heard. Returns the Maildirs that need more than that: those that were lost or came back.
    pub(crate) fn hear(&self, world: &mut World, events: Vec<WatchEvent>) -> Vec<WatchEvent> {
        let mut serious = Vec::new();
        for event in events {
            match event {
                WatchEvent::Appeared { maildir: id, place, file_name } => {
                    let (Some(maildir), Some(name)) = (self.maildir(id), FileName::parse(&file_name)) else { continue };
                    if let Err(error) = self.take(world, id, maildir, place, name, Look::Heard) {
                        warn!(maildir = %maildir.path().display(), %error, "Couldn't look at a new file");
                        serious.push(WatchEvent::Overflow);
                    }
                }
                WatchEvent::Vanished { maildir: id, place, file_name } => {
                    let (Some(maildir), Some(name)) = (self.maildir(id), FileName::parse(&file_name)) else { continue };
                    let key = FileKey::new(id, name.base_name.clone());
                    let was_here =
                        world.places.get(&key).is_some_and(|known| known.place == place && known.name == name);
                    // An event tells of the past: what counts is what the disk says now.
                    if was_here && matches!(maildir.inspect(place, &name), Ok(None)) {
                        world.drop_file(&key, Some(Absence::Settling));
                    }
                }
                WatchEvent::DirectoryGone { .. } | WatchEvent::DirectoryBack { .. } | WatchEvent::Overflow => {
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
            let (file, located) = (world.local.files.get(&key)?, world.places.get(&key)?);
            let hash = file.hash.filter(|_| world.is_stranger(&key))?;
            let maildir = configured.opened.as_ref()?;
            let facts = maildir.inspect(located.place, &located.name).ok()??;
            let untouched = facts.inode == file.inode && facts.mtime == message.received;
            (untouched && Self::keep(store, maildir, located, &hash).is_ok()).then_some(hash)
        })
    }

    /// Does one local op: the disk first, then the trees.
    pub(crate) fn perform(
        &self,
        world: &mut World,
        store: &Store,
        op: &Op,
        now: UnixSeconds,
    ) -> Result<(), LocalError> {
        match op {
            Op::Deliver { row, base } => {
                let mut base = base.clone();
                self.deliver(world, store, &mut base)?;
                world.confirm(&Op::Deliver { row: *row, base }, &Answer::default());
            }
            Op::Replace { row, old, base } => {
                let mut base = base.clone();
                self.must_be_as_known(world, old)?;
                self.deliver(world, store, &mut base)?;
                self.unlink(world, store, old, now)?;
                world.confirm(&Op::Replace { row: *row, old: old.clone(), base }, &Answer::default());
            }
            Op::Rename { row, from, base } => {
                let mut base = base.clone();
                self.rename(world, from, &mut base)?;
                world.confirm(&Op::Rename { row: *row, from: from.clone(), base }, &Answer::default());
            }
            Op::Remove { file, .. } => {
                self.unlink(world, store, file, now)?;
                world.confirm(op, &Answer::default());
            }
            Op::Record { .. } | Op::Forget { .. } => world.confirm(op, &Answer::default()),
            Op::Fetch { .. } | Op::SetCloudFlags { .. } | Op::MoveInCloud { .. } | Op::DeleteInCloud { .. } => {}
        }
        Ok(())
    }

    fn deliver(&self, world: &mut World, store: &Store, base: &mut cms_engine::Row) -> Result<(), LocalError> {
        let id = base.file.maildir;
        let maildir = self.maildir(id).ok_or(LocalError::LookAgain(id))?;
        if !store.contains(&base.hash) {
            return Err(LocalError::ContentMissing);
        }
        let delivered = maildir
            .deliver(&store.path_of(&base.hash), &base.file.base_name, base.flags.local, "", base.received)
            .map_err(|error| look_again(error, id))?;
        world.note(Change::Unreleased { hash: base.hash });
        base.inode = delivered.facts.inode;
        let file = LocalFile { flags: delivered.name.flags, hash: None, inode: delivered.facts.inode };
        debug!(file = %delivered.name, how = ?delivered.how, "Delivered");
        world.put_file(base.file.clone(), file, Located { place: delivered.place, name: delivered.name });
        Ok(())
    }

    fn rename(&self, world: &mut World, from: &FileKey, base: &mut cms_engine::Row) -> Result<(), LocalError> {
        let id = from.maildir;
        let to = base.file.maildir;
        let located = world.places.get(from).cloned().ok_or(LocalError::LookAgain(id))?;
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
        if base.inode == 0 {
            base.inode = file.inode;
        }
        if *from != base.file {
            world.drop_file(from, None);
        }
        world.put_file(base.file.clone(), file, Located { place, name });
        Ok(())
    }

    fn unlink(&self, world: &mut World, store: &Store, key: &FileKey, now: UnixSeconds) -> Result<(), LocalError> {
        let id = key.maildir;
        let maildir = self.maildir(id).ok_or(LocalError::LookAgain(id))?;
        let located = world.places.get(key).cloned().ok_or(LocalError::LookAgain(id))?;
        self.must_be_as_known(world, key)?;
        let row = world.synced.by_file(key).and_then(|row| world.synced.get(row)).map(|row| row.hash);
        let hash = world.local.files.get(key).and_then(|file| file.hash).or(row);
        if let Some(hash) = hash {
            Self::keep(store, maildir, &located, &hash)?;
            world.note(Change::Released { hash, at: now });
        }
        if !maildir.remove(located.place, &located.name).map_err(|error| look_again(error, id))? {
            return Err(LocalError::LookAgain(id));
        }
        world.drop_file(key, None);
        Ok(())
    }

    /// That a file which is about to go is the one that the tree means. Names are believed when a Maildir is first listed,
    /// and an edit that was made before that is in a file of its own under the same name.
    fn must_be_as_known(&self, world: &World, key: &FileKey) -> Result<(), LocalError> {
        let id = key.maildir;
        let maildir = self.maildir(id).ok_or(LocalError::LookAgain(id))?;
        let located = world.places.get(key).ok_or(LocalError::LookAgain(id))?;
        let known = world.local.files.get(key).ok_or(LocalError::LookAgain(id))?;
        match maildir.inspect(located.place, &located.name)? {
            Some(facts) if facts.inode == known.inode => Ok(()),
            _ => Err(LocalError::LookAgain(id)),
        }
    }

    /// Makes sure that the store holds what is about to leave a Maildir.
    fn keep(
        store: &Store,
        maildir: &Maildir,
        located: &Located,
        hash: &cms_engine::ContentHash,
    ) -> Result<(), LocalError> {
        if !store.contains(hash) {
            store.adopt(&maildir.path_of(located.place, &located.name), hash)?;
        }
        Ok(())
    }

    /// Makes what was done in a Maildir durable.
    pub(crate) fn sync_directories(&self, id: MaildirId) -> Result<(), MaildirError> {
        self.maildir(id).map_or(Ok(()), Maildir::sync_directories)
    }
}

/// Whether the tree has the very file that a listing names, under the very name.
fn is_known(world: &World, id: MaildirId, entry: &Entry) -> bool {
    let key = FileKey::new(id, entry.name.base_name.clone());
    let same_name = |known: &Located| known.place == entry.place && known.name == entry.name;
    world.places.get(&key).is_some_and(same_name)
        && world.local.files.get(&key).is_some_and(|file| file.inode == entry.inode)
}

/// A file that isn't where the tree says, or a name that is taken, means that the tree is behind the disk.
fn look_again(error: MaildirError, id: MaildirId) -> LocalError {
    match error {
        MaildirError::Vanished { .. } | MaildirError::NameTaken { .. } => LocalError::LookAgain(id),
        MaildirError::SourceMissing { .. } => LocalError::ContentMissing,
        other => LocalError::Maildir(other),
    }
}
