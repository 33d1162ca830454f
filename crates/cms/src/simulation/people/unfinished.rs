//! What takes two steps: the second one, some time after the first.

use std::fs;

use cms_engine::{ContentHash, Flags};
use cms_maildir::Place;

use crate::simulation::ledger::Spot;
use crate::simulation::people::{People, Seen};

impl People {
    pub(crate) fn perhaps_at_once(&mut self) {
        if self.dice(3) > 0 {
            self.finish_one();
        }
    }

    /// Does the second half of something.
    pub(crate) fn finish_one(&mut self) {
        if self.rest.is_empty() {
            return;
        }
        let at = self.dice(u32::try_from(self.rest.len()).unwrap_or(1)) as usize;
        let rest = self.rest.remove(at);
        self.finish(&rest);
    }

    /// A program finds its message again by its base name.
    pub(crate) fn find_again(&self, original: &Seen) -> Option<Seen> {
        self.files().into_iter().find(|seen| {
            seen.maildir == original.maildir
                && seen.name.base_name == original.name.base_name
                && seen.hash == original.hash
        })
    }

    pub(super) fn finish(&mut self, rest: &Rest) {
        match rest {
            Rest::Rewritten { original, trashes } => self.finish_rewriting(original, *trashes),
            Rest::MakeFolder(at) => self.make_folder(*at),
            Rest::Sent { bytes } => self.file_sent(bytes),
            Rest::MakeMaildir(at) => self.make_maildir(*at),
            Rest::Wipe(at) => self.wipe_more(*at),
            Rest::NameFolder(at) => self.name_folder(*at),
            Rest::Mount(at) => {
                let maildir = self.pairs[*at].maildir.clone();
                if maildir.exists() {
                    // What was made there meanwhile is hidden, as under a mount.
                    self.serial += 1;
                    let under = maildir.with_extension(format!("under{}", self.serial));
                    drop(fs::rename(&maildir, under));
                }
                let back = fs::rename(maildir.with_extension("away"), &maildir).is_ok();
                self.trace.line(format_args!("here Maildir {at} is mounted again: {back}"));
            }
            Rest::Trash { original, to } | Rest::Unlink { original, to } => {
                let found = self.find_again(original);
                let done = found.is_some_and(|found| {
                    let path = self.path(&found);
                    if let Rest::Unlink { .. } = rest {
                        return fs::remove_file(path).is_ok();
                    }
                    let name = found.name.with_flags(found.name.flags | Flags::TRASHED);
                    fs::rename(path, self.directory(found.maildir, Place::Cur).join(name.on_disk())).is_ok()
                });
                self.trace.line(format_args!("here the second half of {rest:?}: {done}"));
                if !done {
                    if self.ledger.foreign_mut(&original.hash).is_some() {
                        self.adopt_foreign_copies(original.hash);
                    }
                    return;
                }
                // Copies of a file that the cloud never had are no more the cloud's than that.
                let is_foreign = self.ledger.of_content(original.hash).next().is_none();
                if is_foreign && matches!(rest, Rest::Trash { .. }) {
                    // A file that the cloud never had stays where it is, flag or not.
                    return self.adopt_foreign_copies(original.hash);
                }
                if let Some(copies) = self.ledger.copied.get_mut(&original.hash) {
                    *copies = copies.saturating_sub(1);
                }
                let watched = self.watched;
                let from_trash = Some(original.maildir) == self.trash;
                for message in self.ledger.of_content(original.hash) {
                    if from_trash {
                        // Unless the copy is in its place, this was the end of it.
                        message.copied_to.push(Spot::Nowhere);
                    }
                    message.copies += 1;
                    // What is unlinked unseen, with a further name elsewhere, is a move all the same.
                    message.unsure |= !watched && matches!(rest, Rest::Unlink { .. });
                }
                self.note_move(original.hash, *to);
            }
        }
    }

    /// Two files of another program with the same content: nobody counts on how many there are.
    pub(super) fn adopt_foreign_copies(&mut self, hash: ContentHash) {
        self.ledger.foreign.retain(|foreign| foreign.hash != hash);
        self.ledger.copied.insert(hash, 9);
    }

    /// Everybody finishes what they began.
    pub(crate) fn finish_all(&mut self) {
        while !self.rest.is_empty() {
            self.finish_one();
        }
    }
}

/// The second half of something that a mail program does in two steps.
#[derive(Clone, Debug)]
pub(crate) enum Rest {
    /// Flag the original as trashed, whose copy went into that Maildir.
    Trash { original: Seen, to: usize },
    /// Remove the original, whose further name went into that Maildir.
    Unlink { original: Seen, to: usize },
    /// Mount the Maildir again.
    Mount(usize),
    /// Remove a draft that was written anew, or flag it as trashed.
    Rewritten { original: Seen, trashes: bool },
    /// Make a folder again that was removed in the cloud.
    MakeFolder(usize),
    /// Make a Maildir again that was removed here.
    MakeMaildir(usize),
    /// Remove more of a Maildir that is being removed.
    Wipe(usize),
    /// Give a folder its name again.
    NameFolder(usize),
    /// File in the cloud what was sent.
    Sent { bytes: Vec<u8> },
}
