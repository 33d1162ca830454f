//! Folders that are gone from the cloud and made there again, by the user's word.

use std::sync::Arc;

use cms_cloud::contract::{CloudAccount, CloudError, FolderId};
use cms_engine::MailboxId;
use cms_store::{Change, TreeStanding};
use tokio::sync::mpsc::Sender;
use tracing::info;

use crate::sync::driver::Driver;
use crate::sync::tasks::Event;

impl Driver {
    /// Makes the folder of a mailbox again that is gone from the cloud, for its messages are to be there by the user's word.
    /// Where it only lies among what was deleted, it is moved back.
    pub(in crate::sync::driver) fn make_folder_again(&mut self, id: MailboxId) {
        let Some((mailbox, tree)) = self.mailbox(id).and_then(|mailbox| Some((mailbox, mailbox.tree?))) else { return };
        if !mailbox.is_gone || self.trees.making {
            return;
        }
        let Some(shape) = self.trees.looks.get(tree).map(|look| &look.tree.shape) else { return };
        let levels: Vec<&str> = shape.path_in(&mailbox.name).split('/').collect();
        let mut path = Vec::new();
        for depth in 1..=levels.len() {
            let name = shape.name_of(&levels[..depth].join("/"));
            let known = self.mailboxes.iter().find(|other| other.tree == Some(tree) && other.name == name);
            path.push(Level {
                name: levels[depth - 1].to_owned(),
                gone: known.filter(|known| known.is_gone).map(|known| known.id),
                folder: known.and_then(|known| known.last_folder.clone()),
            });
        }
        let account = self.accounts[mailbox.account].clone();
        self.trees.making = true;
        self.tasks.spawn(make_again(account, path, self.events.0.clone()));
    }

    pub(in crate::sync::driver) fn made_folders(&mut self, result: Result<Vec<(MailboxId, FolderId)>, CloudError>) {
        self.trees.making = false;
        let made = match result {
            Ok(made) => made,
            Err(error) => return self.fail_if_passing(error),
        };
        for (id, folder) in made {
            let Some(mailbox) = self.mailbox(id) else { continue };
            info!(folder = %mailbox.name, "Made a folder again in the cloud");
            self.world.note(Change::SetFolder { mailbox: id, folder: folder.0 });
            // Nothing is known yet of what is in it.
            self.world.note(Change::SetCursor { mailbox: id, cursor: None, complete: false });
            self.world.note(Change::SetTreeStanding { mailbox: id, standing: TreeStanding::Synced });
        }
        self.folders_have_changed();
    }
}

/// A folder on the way from the top to one that is gone.
struct Level {
    name: String,
    /// The mailbox that it is, if it is gone too.
    gone: Option<MailboxId>,
    /// Which folder it is, or was.
    folder: Option<FolderId>,
}

/// Makes folders again that are gone, from the top on.
async fn make_again(account: Arc<dyn CloudAccount>, path: Vec<Level>, events: Sender<Event>) {
    let make = async {
        let (mut parent, mut made) = (None, Vec::new());
        for Level { name, gone, folder } in path {
            parent = Some(match (gone, folder) {
                (None, Some(folder)) => folder,
                (Some(mailbox), Some(folder)) => {
                    let back = account.move_folder(&folder, parent.as_ref()).await;
                    let folder = match back {
                        Ok(()) => folder,
                        Err(CloudError::Gone | CloudError::Refused { .. }) => {
                            account.create_folder(parent.as_ref(), &name).await?
                        }
                        Err(error) => return Err(error),
                    };
                    made.push((mailbox, folder.clone()));
                    folder
                }
                (_, None) => account.create_folder(parent.as_ref(), &name).await?,
            });
        }
        Ok(made)
    };
    let result = make.await;
    let _ = events.send(Event::MadeFolders { result }).await;
}
