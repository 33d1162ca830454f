//! Messages that went into folders which weren't listed yet: where they are isn't decided before the folders are known.

use cms_cloud::contract::FolderId;
use cms_engine::{HashSet, MailboxId, RemoteId};
use tokio::time::Instant;
use tracing::debug;

use crate::sync::driver::Driver;

/// Messages of one answer whose folders are to be listed first. The answer counts as open until then, and so does its round,
/// so that what the round told is told again should the state be opened anew.
pub(super) struct Unlisted {
    tree: usize,
    round: Option<MailboxId>,
    ids: Vec<RemoteId>,
    folders: HashSet<FolderId>,
    since: Instant,
}

/// Whose folder isn't known, in one answer.
#[derive(Default)]
pub(super) struct Found {
    tree: usize,
    ids: Vec<RemoteId>,
    folders: HashSet<FolderId>,
}

impl Driver {
    /// The tree that a folder may be in which is none of the mailboxes. What isn't in it is of no concern: it is left out, or
    /// it was looked for and isn't listed.
    pub(super) fn may_be_new(&self, folder: &FolderId, account: Option<usize>) -> Option<usize> {
        let is_its = |at: &usize| account.is_none_or(|account| self.trees.client(*at) == Some(account));
        if (0..self.mailboxes.len()).any(|at| self.mailboxes[at].folder.as_ref() == Some(folder)) {
            return None;
        }
        // Which of those that are listed are taken in is known once the state was opened with them.
        (0..self.trees.len()).filter(is_its).find(|at| self.trees.has_changed() || !self.trees.knows(*at, folder))
    }

    /// Sets a message aside that is in such a folder. Whether it was comes back.
    pub(super) fn set_aside_unlisted(
        &mut self,
        found: &mut Found,
        round: Option<MailboxId>,
        id: &RemoteId,
        folder: Option<&FolderId>,
    ) -> bool {
        let Some(folder) = folder else { return false };
        let account = round.and_then(|id| self.mailbox(id)).map(|mailbox| mailbox.account);
        let account = account.or_else(|| self.account_to_ask(id));
        let Some(tree) = self.may_be_new(folder, account) else { return false };
        if self.setup.dry_run {
            // The state isn't opened anew for what is only looked at; the message counts as busy, and nothing is planned for it.
            return true;
        }
        found.tree = tree;
        found.ids.push(id.clone());
        found.folders.insert(folder.clone());
        true
    }

    /// Lists the folders for what was set aside of an answer. Whether there was anything comes back: then the answer is open.
    pub(super) fn list_for(&mut self, round: Option<MailboxId>, found: Found) -> bool {
        let Found { tree, ids, folders } = found;
        if ids.is_empty() {
            return false;
        }
        debug!(messages = ids.len(), "Messages are in folders that aren't known yet; looking at all folders");
        self.trees.unlisted.push(Unlisted { tree, round, ids, folders, since: Instant::now() });
        if !self.trees.has_changed() {
            self.look_at_folders_now(tree);
        }
        true
    }

    /// The folders that are waited for, by their tree: that one of them isn't listed is believed only if it isn't there.
    pub(super) fn waited_for_folders(&self, tree: usize) -> Vec<FolderId> {
        self.trees.unlisted.iter().filter(|one| one.tree == tree).flat_map(|one| one.folders.iter().cloned()).collect()
    }

    /// Asks again for the messages that waited for a list which was begun at this time.
    pub(super) fn ask_for_listed(&mut self, tree: usize, began: Instant) {
        if self.trees.has_changed() {
            // The state is opened anew before long, and everything is told again.
            return;
        }
        let is_over = |one: &mut Unlisted| one.tree == tree && one.since <= began;
        let over: Vec<Unlisted> = self.trees.unlisted.extract_if(.., is_over).collect();
        for Unlisted { round, ids, folders, .. } in over {
            self.trees.not_listed(tree, folders);
            if let Some(round) = round.and_then(|id| self.mailbox_mut(id)).and_then(|mailbox| mailbox.round.as_mut()) {
                round.open_questions -= 1;
            }
            self.loose_questions -= usize::from(round.is_none());
            self.ask(round, ids);
        }
        if self.trees.unlisted.iter().any(|one| one.tree == tree) {
            self.look_at_folders_now(tree);
        }
    }
}
