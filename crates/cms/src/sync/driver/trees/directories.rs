//! What somebody does with the directories of a tree, and what is done in the cloud for it.

use std::path::Path;

use cms_cloud::contract::CloudError;
use cms_engine::MaildirId;
use tracing::{debug, info, warn};

use crate::problem::with_causes;
use crate::sync::driver::Driver;
use crate::sync::tasks::Event;
use crate::tree::{FolderWish, Nobodys, fulfil, is_elsewhere, wishes};

impl Driver {
    /// Does in the cloud what somebody has done with the directories of a tree, one thing at a time: what comes of it is seen in
    /// the list of folders.
    pub(in crate::sync::driver) fn follow_directories(&mut self) {
        if self.trees.fulfilling || self.trees.changed_at.is_some() || self.setup.dry_run {
            return;
        }
        for at in 0..self.trees.looks.len() {
            let look = &self.trees.looks[at];
            let Some(listed) = look.tree.listed.clone().filter(|_| look.listed) else { continue };
            let found = match wishes(&self.database, &look.tree, &self.trees.mailboxes) {
                Ok(found) => found,
                Err(error) => {
                    debug!(%error, "Couldn't look at the directories of a tree");
                    continue;
                }
            };
            for (maildir, why) in found.nobodys {
                self.tell_nobodys(&maildir, &why);
            }
            if let Some(wish) = found.of_cloud.into_iter().next() {
                if self.trees.fulfilled.take().as_ref() == Some(&wish) {
                    // The cloud said that it was done, and has made something else of it.
                    self.refuse(at, wish);
                    return;
                }
                let account = self.accounts[self.trees.looks[at].tree.client].clone();
                let events = self.events.0.clone();
                self.trees.fulfilling = true;
                self.tasks.spawn(async move {
                    let result = fulfil(account, listed, wish.clone()).await;
                    let _ = events.send(Event::Fulfilled { tree: at, wish, result }).await;
                });
                return;
            }
        }
    }

    /// Says why a Maildir that somebody has made is no folder's.
    fn tell_nobodys(&mut self, maildir: &Path, why: &Nobodys) {
        let maildir = maildir.display();
        let told = match why {
            Nobodys::Name => format!(
                "`{maildir}` is a Maildir that becomes no folder: no folder's directory has such a name here (`Names` in \
                 docs/configuration.md tells how they are written)"
            ),
            Nobodys::LeftOut(path) => {
                format!("`{maildir}` is a Maildir that becomes no folder: `include` and `exclude` leave `{path}` out")
            }
        };
        self.tell_once(&told);
    }

    pub(in crate::sync::driver) fn fulfilled(&mut self, tree: usize, wish: FolderWish, result: Result<(), CloudError>) {
        self.trees.fulfilling = false;
        let name = self.trees.looks.get(tree).map(|look| look.tree.shape.name_of(&wish.path())).unwrap_or_default();
        match (result, &wish) {
            (Ok(()), FolderWish::Make { .. }) => {
                info!(folder = %name, "Made a folder for a Maildir that was made here");
            }
            (Ok(()), FolderWish::Move { .. }) => {
                info!(folder = %name, "A folder has the name that was given to its Maildir");
            }
            (Ok(()), FolderWish::Remove { .. }) => {}
            (Err(error @ (CloudError::Refused { .. } | CloudError::Gone | CloudError::NoSuchFolder { .. })), _) => {
                let text = with_causes(&error);
                match &wish {
                    FolderWish::Make { .. } => warn!("the cloud makes no folder `{name}`: {text}"),
                    FolderWish::Remove { .. } => warn!(
                        "the cloud doesn't let the folder `{name}` go to the deleted items: {text}; `cms held restore` puts its \
                         mail back here"
                    ),
                    FolderWish::Move { .. } => warn!(
                        "the cloud doesn't let a folder be called `{name}`, so its Maildir gets its old name again: {text}"
                    ),
                }
                return self.refuse(tree, wish);
            }
            (Err(error), _) => return self.fail_if_passing(error),
        }
        if let FolderWish::Remove { folder, .. } = &wish
            && !self.has_gone(folder)
        {
            return;
        }
        if matches!(wish, FolderWish::Remove { .. })
            && let Some(look) = self.trees.looks.get_mut(tree)
        {
            // Its Maildir was made where the last one was, and is to go where the folder is now.
            look.tree.listed = None;
        }
        self.trees.fulfilled = Some(wish);
        self.look_at_folders_now(tree);
    }

    /// Leaves something undone in the cloud; a directory gets the name of its folder again.
    fn refuse(&mut self, tree: usize, wish: FolderWish) {
        let is_move = matches!(wish, FolderWish::Move { .. });
        if let FolderWish::Remove { folder, .. } = &wish {
            self.stays_after_all(&folder.clone());
        }
        if let Some(look) = self.trees.looks.get_mut(tree) {
            look.tree.refused.insert(wish);
        }
        if is_move {
            self.folders_have_changed();
        }
        self.look_at_folders_now(tree);
    }

    /// Looks for a Maildir of a tree that isn't where it was: somebody may have moved it.
    pub(in crate::sync::driver) fn look_for_moved(&mut self, maildir: MaildirId) {
        let tree = self.mailboxes.iter().find(|mailbox| mailbox.home == Some(maildir)).and_then(|mailbox| mailbox.tree);
        let Some(look) = tree.and_then(|tree| self.trees.looks.get(tree)) else { return };
        if is_elsewhere(&self.database, &look.tree, maildir).unwrap_or_default() {
            self.folders_have_changed();
        } else {
            self.note_removed(maildir);
        }
    }
}
