//! What is done to files in the Maildirs, by mail programs and by whoever has the disk in hand.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cms_engine::{BaseName, ContentHash, Flags};
use cms_maildir::{FileName, Place};
use rand::seq::IndexedRandom as _;

use crate::simulation::ledger::{FLAGS, Foreign, Spot};
use crate::simulation::people::{People, Rest, Seen};

impl People {
    /// All that is in the Maildirs, sorted.
    pub(crate) fn files(&self) -> Vec<Seen> {
        let mut files = Vec::new();
        for (maildir, pair) in self.pairs.iter().enumerate() {
            // What is made in its place is hidden once it is mounted again.
            if self.rest.iter().any(|rest| matches!(rest, Rest::Mount(at) if *at == maildir)) {
                continue;
            }
            for place in [Place::New, Place::Cur] {
                let directory = pair.maildir.join(place.directory());
                let Ok(entries) = fs::read_dir(&directory) else { continue };
                let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
                names.sort();
                for name in names {
                    let Ok(bytes) = fs::read(directory.join(&name)) else { continue };
                    if let Some(name) = FileName::parse(&name) {
                        let (hash, raw) = (self.hash_of(&bytes), ContentHash::of(&bytes));
                        files.push(Seen { maildir, place, name, hash, raw });
                    }
                }
            }
        }
        files
    }

    pub(crate) fn path(&self, seen: &Seen) -> PathBuf {
        self.directory(seen.maildir, seen.place).join(seen.name.on_disk())
    }

    pub(crate) fn directory(&self, maildir: usize, place: Place) -> PathBuf {
        self.pairs[maildir].maildir.join(place.directory())
    }

    /// Somebody does something in the Maildirs.
    pub(crate) fn act_here(&mut self) {
        let mut files = self.files();
        files.retain(|seen| self.texts.get(&seen.hash).is_none());
        let dice = self.dice(100);
        let Some(seen) = files.choose(&mut self.random).cloned() else {
            return if self.extras.mail { self.deliver_for_all() } else { self.deliver() };
        };
        let path = self.path(&seen);
        let others: Vec<usize> = (0..self.pairs.len())
            .filter(|at| *at != seen.maildir && !self.is_special(*at))
            .filter(|_| !self.is_unmounted())
            .collect();
        // Where everything goes to the cloud, a copy is a message of its own.
        let to = others.choose(&mut self.random).copied().filter(|_| !self.extras.mail);
        match (dice, to) {
            (38..48, _) => self.rename_here(&seen, &path, seen.name.flags | Flags::TRASHED),
            (48..52, _) if seen.name.flags.contains(Flags::TRASHED) => {
                self.rename_here(&seen, &path, seen.name.flags - Flags::TRASHED);
            }
            (52..57, _) => self.unlink(&seen, &path),
            (57..69, Some(to)) if !self.is_draft(&seen) => self.move_here(&seen, &path, to),
            (69..75, Some(to)) if !self.is_draft(&seen) => self.copy_then(&seen, &path, to),
            (75..79, Some(to)) if !self.is_draft(&seen) => self.link_then(&seen, &path, to),
            (79..85, _) => self.rename_by_an_indexer(&seen, &path),
            (85..88, _) if !self.is_draft(&seen) && !self.extras.mail => self.duplicate(&seen, &path),
            (88..94, _) if self.extras.mail => self.deliver_for_all(),
            (88..94, _) => self.deliver(),
            (94..97, _) => self.unmount(),
            _ => self.flag_here(&seen, &path),
        }
    }

    /// Whether a mailbox is for drafts, for what was sent, or for what was deleted.
    pub(crate) fn is_special(&self, at: usize) -> bool {
        [self.drafts, self.sent, self.trash].contains(&Some(at))
    }

    pub(super) fn is_draft(&self, seen: &Seen) -> bool {
        self.ledger.messages.iter().any(|message| message.is_draft && message.hash == seen.hash)
            || Some(seen.maildir) == self.drafts
    }

    /// A flag to be changed. The answer to a change doesn't name a mark of answering, so that a forgetful cloud is worse with it.
    pub(crate) fn some_flag(&mut self) -> Flags {
        let other = if self.extras.forgetful { Flags::REPLIED } else { Flags::FLAGGED };
        [Flags::SEEN, other][self.dice(2) as usize]
    }

    pub(super) fn flag_here(&mut self, seen: &Seen, path: &Path) {
        let flag = self.some_flag();
        self.rename_here(seen, path, seen.name.flags ^ flag);
    }

    /// Gives a file other flags, as a mail program does.
    pub(super) fn rename_here(&mut self, seen: &Seen, path: &Path, flags: Flags) {
        let name = seen.name.with_flags(flags);
        let to = self.directory(seen.maildir, Place::Cur).join(name.on_disk());
        if to.exists() || fs::rename(path, &to).is_err() {
            return;
        }
        self.trace.line(format_args!("here {} in {} gets {flags}", seen.name.on_disk(), seen.maildir));
        let changed = flags ^ seen.name.flags;
        let is_deletion = (changed & flags).contains(Flags::TRASHED);
        let is_rescue = (changed - flags).contains(Flags::TRASHED);
        let deleted = if Some(seen.maildir) == self.trash { Spot::Nowhere } else { self.deleted_spot() };
        let ambiguous = self.ledger.is_ambiguous(&seen.hash);
        for message in self.ledger.of_content(seen.hash) {
            // A copy that is trashed before the program knows what it is of is a copy and no more.
            message.unsure |= ambiguous || is_deletion && message.copies > 0;
            message.is_kept &= !is_deletion;
            for flag in FLAGS.into_iter().filter(|flag| changed.contains(*flag)) {
                message.flagged_here.push((flag, flags.contains(flag)));
            }
            if is_deletion {
                message.put_here.push(deleted);
            }
            if is_rescue {
                message.put_here.push(Spot::Box(seen.maildir));
                message.unsure = true;
            }
        }
    }

    pub(super) fn unlink(&mut self, seen: &Seen, path: &Path) {
        if fs::remove_file(path).is_err() {
            return;
        }
        self.trace.line(format_args!("here {} in {} is unlinked", seen.name.on_disk(), seen.maildir));
        if let Some(foreign) = self.ledger.foreign_mut(&seen.hash) {
            foreign.maildir = None;
        }
        let deleted = if Some(seen.maildir) == self.trash { Spot::Nowhere } else { self.deleted_spot() };
        let watched = self.watched;
        let half_moved = self.rest.iter().any(|rest| match rest {
            Rest::Trash { original, .. } | Rest::Unlink { original, .. } => original.hash == seen.hash,
            Rest::Mount(_)
            | Rest::Rewritten { .. }
            | Rest::MakeFolder(_)
            | Rest::MakeMaildir(_)
            | Rest::Wipe(_)
            | Rest::NameFolder(_)
            | Rest::Sent { .. } => false,
        });
        for message in self.ledger.of_content(seen.hash) {
            message.unsure = true;
            message.is_kept = false;
            if message.copies > 0 || half_moved {
                // The copy goes, and its original is trashed.
                message.copied_to.push(deleted);
            }
            // Where nobody sees it, it comes back.
            message.put_here.push(if watched { deleted } else { Spot::Box(seen.maildir) });
        }
    }

    /// Notes that the only file of a content was filed into another Maildir.
    pub(super) fn note_move(&mut self, hash: ContentHash, to: usize) {
        if let Some(foreign) = self.ledger.foreign_mut(&hash) {
            foreign.maildir = Some(to);
        }
        let ambiguous = self.ledger.is_ambiguous(&hash);
        for message in self.ledger.of_content(hash) {
            message.unsure |= ambiguous;
            message.put_here.push(Spot::Box(to));
        }
    }

    pub(super) fn move_here(&mut self, seen: &Seen, path: &Path, to: usize) {
        let target = self.directory(to, Place::Cur).join(seen.name.with_flags(seen.name.flags).on_disk());
        // Who moves what is trashed already wants two things at once.
        if seen.name.flags.contains(Flags::TRASHED) || target.exists() || fs::rename(path, &target).is_err() {
            return;
        }
        self.trace.line(format_args!("here {} moves from {} to {to}", seen.name.on_disk(), seen.maildir));
        self.note_move(seen.hash, to);
    }

    pub(crate) fn fresh_name(&mut self, flags: Flags) -> FileName {
        self.serial += 1;
        FileName::new(BaseName::new(format!("1790000000.P1Q{}.reader", self.serial)), flags, "")
    }

    /// mutt's way of filing: a copy, and the original is flagged as trashed.
    pub(super) fn copy_then(&mut self, seen: &Seen, path: &Path, to: usize) {
        if seen.name.flags.contains(Flags::TRASHED) || self.is_unmounted() {
            return;
        }
        let name = self.fresh_name(seen.name.flags);
        let target = self.directory(to, Place::Cur).join(name.on_disk());
        if fs::copy(path, &target).is_err() {
            return;
        }
        self.trace.line(format_args!("here {} is copied from {} to {to}", seen.name.on_disk(), seen.maildir));
        self.note_copy(seen.hash, to);
        self.rest.push(Rest::Trash { original: seen.clone(), to });
        self.perhaps_at_once();
    }

    pub(super) fn link_then(&mut self, seen: &Seen, path: &Path, to: usize) {
        let target = self.directory(to, Place::Cur).join(seen.name.with_flags(seen.name.flags).on_disk());
        if seen.name.flags.contains(Flags::TRASHED) || target.exists() || fs::hard_link(path, &target).is_err() {
            return;
        }
        self.trace.line(format_args!("here {} is linked from {} to {to}", seen.name.on_disk(), seen.maildir));
        self.note_copy(seen.hash, to);
        self.rest.push(Rest::Unlink { original: seen.clone(), to });
        self.perhaps_at_once();
    }

    pub(super) fn note_copy(&mut self, hash: ContentHash, to: usize) {
        if self.ledger.foreign_mut(&hash).is_some() {
            return self.adopt_foreign_copies(hash);
        }
        *self.ledger.copied.entry(hash).or_default() += 1;
        for message in self.ledger.of_content(hash) {
            message.copied_to.push(Spot::Box(to));
        }
    }

    /// An indexer gives the same file another name.
    pub(crate) fn rename_by_an_indexer(&mut self, seen: &Seen, path: &Path) {
        let name = self.fresh_name(seen.name.flags);
        let target = self.directory(seen.maildir, Place::Cur).join(name.on_disk());
        if fs::rename(path, target).is_ok() {
            self.trace.line(format_args!(
                "here {} in {} becomes {}",
                seen.name.on_disk(),
                seen.maildir,
                name.on_disk()
            ));
        }
    }

    pub(super) fn duplicate(&mut self, seen: &Seen, path: &Path) {
        let name = self.fresh_name(seen.name.flags - Flags::TRASHED);
        let target = self.directory(seen.maildir, Place::Cur).join(name.on_disk());
        if fs::copy(path, target).is_ok() {
            self.trace.line(format_args!("here {} in {} is duplicated", seen.name.on_disk(), seen.maildir));
            if self.ledger.foreign_mut(&seen.hash).is_some() {
                self.adopt_foreign_copies(seen.hash);
            } else {
                *self.ledger.copied.entry(seen.hash).or_default() += 1;
            }
        }
    }

    /// Another program delivers a message that the cloud doesn't have.
    pub(super) fn deliver(&mut self) {
        let ordinary: Vec<usize> = (0..self.pairs.len()).filter(|at| !self.is_special(*at)).collect();
        let Some(to) = ordinary.choose(&mut self.random).copied() else { return };
        if self.is_unmounted() {
            return;
        }
        let bytes = self.message_bytes("local");
        let name = FileName::bare(self.fresh_name(Flags::NONE).base_name);
        let temporary = self.pairs[to].maildir.join("tmp").join(name.on_disk());
        let target = self.directory(to, Place::New).join(name.on_disk());
        if fs::write(&temporary, &bytes).and_then(|()| fs::rename(&temporary, &target)).is_ok() {
            let hash = self.hash_of(&bytes);
            self.trace.line(format_args!("here {} is delivered into {to}: {hash}", name.on_disk()));
            self.ledger.foreign.push(Foreign { hash, maildir: Some(to) });
        }
    }

    /// Somebody mounts everything that isn't.
    pub(crate) fn mount_all(&mut self) {
        while let Some(at) = self.rest.iter().position(|rest| matches!(rest, Rest::Mount(_))) {
            let rest = self.rest.remove(at);
            self.finish(&rest);
        }
    }

    pub(crate) fn is_unmounted(&self) -> bool {
        self.rest.iter().any(|rest| matches!(rest, Rest::Mount(_) | Rest::MakeMaildir(_) | Rest::Wipe(_)))
    }

    /// A Maildir's disk goes away.
    pub(super) fn unmount(&mut self) {
        // Who has just copied something there waits for it.
        if !self.rest.is_empty() {
            return;
        }
        let at = self.dice(u32::try_from(self.pairs.len()).unwrap_or(1)) as usize;
        let maildir = self.pairs[at].maildir.clone();
        // Nobody knows a Maildir that was never there when the program ran.
        if self.watched
            && self.is_known
            && maildir.join(".cms-maildir").exists()
            && fs::rename(&maildir, maildir.with_extension("away")).is_ok()
        {
            self.ledger.unmounted = true;
            self.trace.line(format_args!("here Maildir {at} is unmounted"));
            self.rest.push(Rest::Mount(at));
        }
    }

    /// Which files there are, by inode and name: a run that does nothing leaves them alone.
    pub(crate) fn names(&self) -> Vec<(u64, String)> {
        let inode = |path: &Path| fs::symlink_metadata(path).map(|metadata| metadata.ino()).unwrap_or_default();
        self.files().iter().map(|seen| (inode(&self.path(seen)), seen.name.on_disk())).collect()
    }
}
