//! From the planner's local ops to the disk.

use std::io;
use std::path::Path;

use cms_engine::{
    Absence, Answer, BaseName, ContentHash, FileKey, Flags, LocalFile, MaildirId, Op, RemoteId, RowId, UnixSeconds,
};
use cms_maildir::{FileFacts, How, Maildir, Removal};
use cms_store::{After, Change, Deed, JournalEntry, Standing, Store};
use tracing::debug;

use crate::sync::journal::Reason;
use crate::sync::local::{LocalError, LocalSide, look_again};
use crate::sync::world::{Leftover, Located, World};

impl LocalSide {
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
                let is_ours = world.leftovers.contains_key(&base.file);
                let was_there = world.local.files.contains_key(&base.file) && !is_ours;
                self.deliver(world, store, &mut base, false)?;
                if let Err(error) = self.unlink(world, store, old, age) {
                    if !was_there {
                        self.take_back(world, store, &base, age);
                    }
                    return Err(error);
                }
                world.leftovers.remove(&base.file);
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

    /// Takes a file out again that was just delivered: by the time of the next attempt the cloud may have another version, and
    /// nobody would know any more what this one is. Where that can't be done now, it is done later.
    fn take_back(&self, world: &mut World, store: &Store, base: &cms_engine::Row, age: UnixSeconds) {
        world.leftovers.insert(base.file.clone(), Leftover { inode: base.inode, received: base.received });
        drop(self.take_back_leftovers(world, store, age));
    }

    /// Takes out what was delivered for nothing, unless somebody has made something of it since. What can't be taken out now
    /// is left for the next time. Returns the Maildirs that files went from.
    pub(crate) fn take_back_leftovers(&self, world: &mut World, store: &Store, age: UnixSeconds) -> Vec<MaildirId> {
        let mut changed = Vec::new();
        for (key, leftover) in std::mem::take(&mut world.leftovers) {
            let is_row = world.synced.by_file(&key).is_some();
            let (Some(located), false) = (world.located(&key), is_row) else { continue };
            let still_is =
                match self.maildir(key.maildir).map(|maildir| maildir.inspect(located.place, &located.name)) {
                    Some(Ok(facts)) => facts
                        .is_some_and(|facts| facts.inode == leftover.inode && facts.is_as_delivered(leftover.received)),
                    Some(Err(_)) | None => true,
                };
            if !still_is {
                continue;
            }
            match self.unlink(world, store, &key, age) {
                Ok(()) => changed.push(key.maildir),
                Err(error) => {
                    debug!(%error, "Couldn't take a file out again");
                    world.leftovers.insert(key, leftover);
                }
            }
        }
        changed
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
}

fn maildir_time(path: &Path) -> Option<UnixSeconds> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|metadata| UnixSeconds(metadata.mtime()))
}
