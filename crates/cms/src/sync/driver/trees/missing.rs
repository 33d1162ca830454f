//! Maildirs of trees that were removed here. That says nothing of why, so it is held like a Maildir that was emptied: what is to
//! become of the folder in the cloud is the user's to say.

use std::time::Duration;

use cms_cloud::contract::FolderId;
use cms_engine::{HashSet, MailboxId, MaildirId, RowId, Word};
use cms_maildir::maildirs_below;
use cms_store::Change;
use tokio::time::Instant;
use tracing::info;

use crate::control::{HeldReport, Reply, Which};
use crate::page::argument;
use crate::problem::with_causes;
use crate::sync::driver::{Driver, Mailbox};
use crate::tree::{REMOVED, removed_key};

impl Driver {
    /// Takes note of a Maildir of a tree that isn't there, if others of the tree are. Whether it was comes back.
    pub(in crate::sync::driver) fn note_removed(&mut self, id: MaildirId) -> bool {
        let is_its = |mailbox: &&Mailbox| mailbox.home == Some(id);
        let Some((tree, is_gone)) =
            self.mailboxes.iter().find(is_its).and_then(|mailbox| Some((mailbox.tree?, mailbox.is_gone)))
        else {
            return false;
        };
        if !self.has_root(tree) {
            return false;
        }
        if self.watching {
            self.reopen_at = Some(Instant::now() + Duration::from_secs(5));
        }
        if is_gone {
            // Neither side has it any more. What is to be done with its messages needs a place.
            if let Err(error) = self.local.accept(&mut self.world, id) {
                self.tell_once(&with_causes(&error));
            }
        } else if self.trees.missing.insert(id) {
            self.plan_at.get_or_insert_with(Instant::now);
        }
        true
    }

    /// Looks for such Maildirs, for who only wants to know what is held.
    pub(in crate::sync::driver) fn look_for_removed(&mut self) {
        for id in self.local.ids() {
            if self.local.maildir(id).is_none() && self.local.is_known(id) && !self.local.is_replaced(id) {
                self.note_removed(id);
            }
        }
    }

    /// Whether a tree's Maildirs are anywhere. Where none is, the disk may not be mounted, and none is to be made in its place.
    pub(super) fn has_root(&self, tree: usize) -> bool {
        let mut homes = self.mailboxes.iter().filter(|mailbox| mailbox.tree == Some(tree)).filter_map(|one| one.home);
        let Some(first) = homes.next() else { return true };
        let is_open = |id| self.local.maildir(id).is_some();
        let root = &self.trees.looks[tree].tree.root;
        is_open(first) || homes.any(is_open) || maildirs_below(root).is_ok_and(|below| !below.marked.is_empty())
    }

    /// The Maildirs that wait for the user's word.
    pub(in crate::sync::driver) fn missing_homes(&self) -> Vec<MaildirId> {
        let mut homes: Vec<MaildirId> = self.trees.missing.iter().copied().collect();
        homes.retain(|id| self.local.maildir(*id).is_none() && !self.is_to_go(*id));
        homes.sort_unstable();
        homes
    }

    /// Whether the user has said that the folder of a Maildir is to go.
    fn is_to_go(&self, id: MaildirId) -> bool {
        self.trees.to_go.contains(&id)
            || self.database.meta(&removed_key(id)).is_ok_and(|word| word.as_deref() == Some(REMOVED))
    }

    /// What is held for a Maildir that isn't there.
    pub(in crate::sync::driver) fn missing_report(&self, id: MaildirId) -> Option<HeldReport> {
        let mailbox = self.mailboxes.iter().find(|mailbox| mailbox.home == Some(id))?;
        let directory = self.local.path(id)?.display().to_string();
        let rows: Vec<RowId> =
            self.world.synced.iter().filter(|(_, row)| row.file.maildir == id).map(|(row, _)| row).collect();
        let (samples, count) = (self.samples(&rows), rows.len() as u64);
        let hash = blake3::hash(format!("{directory} isn't there").as_bytes());
        Some(HeldReport {
            id: hash.to_hex()[..16].to_owned(),
            account: mailbox.sign_in,
            mailbox: mailbox.name.clone(),
            gone_from_cloud: false,
            count,
            of: count,
            cause: format!("`{directory}`, the Maildir of the folder `{}`, isn't there any more", mailbox.name),
            samples,
            directory: Some(directory),
        })
    }

    /// Takes the user's word on Maildirs that aren't there; on one comes one on those in it.
    pub(in crate::sync::driver) fn rule_missing(
        &mut self,
        which: &Which,
        word: Word,
    ) -> Result<Vec<HeldReport>, Reply> {
        let meant: Vec<(MaildirId, HeldReport)> =
            self.holding_missing().iter().filter(|(_, report)| self.is_meant(which, report)).cloned().collect();
        for (id, report) in &meant {
            let Some(directory) = &report.directory else { continue };
            if word == Word::Keep {
                match self.accept_maildir(directory) {
                    Some(Err(error)) => return Err(Reply::Refused { what: with_causes(&error), hint: None }),
                    Some(Ok(())) | None => drop(self.trees.missing.remove(id)),
                }
                continue;
            }
            let inside = format!("{}/", report.mailbox);
            let is_here = |mailbox: &&Mailbox| {
                mailbox.sign_in == report.account
                    && mailbox.name.starts_with(&inside)
                    && mailbox.home.is_some_and(|home| self.local.maildir(home).is_some())
            };
            if let Some(here) = self.mailboxes.iter().find(is_here) {
                return Err(Reply::Refused {
                    what: format!(
                        "a folder goes with all that is in it, and the Maildir of `{}` is still here",
                        here.name
                    ),
                    hint: Some(format!("remove that one too, or `cms held restore {}`", argument(directory))),
                });
            }
            let tree = self.mailboxes.iter().find(|mailbox| mailbox.home == Some(*id)).and_then(|one| one.tree);
            self.trees.to_go.insert(*id);
            if let Some(tree) = tree {
                self.look_at_folders_now(tree);
            }
            self.world.note(Change::SetMeta { key: removed_key(*id), value: REMOVED.to_owned() });
        }
        Ok(meant.into_iter().map(|(_, report)| report).collect())
    }

    /// Makes the Maildir of a folder again that has gone to the deleted items by the user's word: what becomes of it now is
    /// what becomes of any folder that goes there.
    pub(super) fn has_gone(&mut self, folder: &FolderId) -> bool {
        let is_its = |mailbox: &&Mailbox| mailbox.tree.is_some() && mailbox.last_folder.as_ref() == Some(folder);
        let Some((name, home)) =
            self.mailboxes.iter().find(is_its).and_then(|mailbox| Some((mailbox.name.clone(), mailbox.home?)))
        else {
            return true;
        };
        if let Err(error) = self.local.accept(&mut self.world, home) {
            self.tell_once(&with_causes(&error));
            return false;
        }
        info!(folder = %name, "A folder whose Maildir was removed here is among the deleted items");
        self.trees.missing.remove(&home);
        self.trees.to_go.remove(&home);
        self.world.note(Change::SetMeta { key: removed_key(home), value: crate::tree::GONE.to_owned() });
        true
    }

    /// Takes the user's word back, for the cloud doesn't follow it.
    pub(super) fn stays_after_all(&mut self, folder: &FolderId) {
        let is_its = |mailbox: &&Mailbox| mailbox.tree.is_some() && mailbox.last_folder.as_ref() == Some(folder);
        if let Some(home) = self.mailboxes.iter().find(is_its).and_then(|mailbox| mailbox.home) {
            self.trees.to_go.remove(&home);
            self.world.note(Change::SetMeta { key: removed_key(home), value: String::new() });
        }
    }

    /// The rows of messages that went with a folder which went by the user's word: he isn't asked again.
    pub(in crate::sync::driver) fn rows_that_may_go(&self) -> HashSet<RowId> {
        let has_word = |home: MaildirId| {
            self.database.meta(&removed_key(home)).is_ok_and(|word| word.is_some_and(|word| !word.is_empty()))
        };
        let went = |mailbox: &&Mailbox| mailbox.is_gone && mailbox.home.is_some_and(has_word);
        let ruled: Vec<MailboxId> = self.mailboxes.iter().filter(went).map(|mailbox| mailbox.id).collect();
        if ruled.is_empty() {
            return HashSet::default();
        }
        let its =
            self.world.synced.iter().filter(|(_, row)| {
                ruled.contains(&row.mailbox) && !self.world.cloud.messages.contains_key(&row.remote)
            });
        its.map(|(row, _)| row).collect()
    }
}
