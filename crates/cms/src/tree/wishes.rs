//! What somebody has done with the directories of a tree, as what is to be done with its folders.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cms_cloud::contract::{CloudAccount, CloudError, FolderId, Tree, TreeFolder};
use cms_engine::HashSet;
use cms_maildir::{Below, maildirs_below};
use cms_store::{Database, TreeFolderRecord, TreeStanding};

use super::arrange::Placed;
use super::expand::{MOVING, arranged, known_folders, place_of};
use super::names::{directory, path_of};
use super::{Layout, TreeSetup};
use crate::sync::{MailboxSetup, SyncError};

/// What is wished of the cloud.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FolderWish {
    /// A folder is to have another path, as its Maildir's directory has.
    Move { folder: FolderId, path: Vec<String> },
    /// A folder is to be made for a Maildir that somebody has made.
    Make { path: Vec<String> },
}

impl FolderWish {
    /// The path that is wished for, as people read it.
    pub(crate) fn name(&self) -> String {
        let (Self::Move { path, .. } | Self::Make { path }) = self;
        path.join("/")
    }
}

/// The path that a folder is wished to have: its Maildir is at another place than its path in the cloud says, and that path is
/// the one that both sides knew. Where the cloud has given it another one, that one holds.
pub(super) fn wished_path(
    tree: &TreeSetup,
    record: &TreeFolderRecord,
    place: &Path,
    one: &Placed,
) -> Option<Vec<String>> {
    let is_ours = place.file_name().is_some_and(|name| name.to_string_lossy().starts_with(MOVING));
    if place == one.directory || record.name != one.name || one.standing != TreeStanding::Synced || is_ours {
        return None;
    }
    let layout = tree.shape.layout;
    let path = path_of(layout, place).filter(|path| !path.is_empty() && is_of(layout, place, path))?;
    let wish = FolderWish::Move { folder: one.folder.clone(), path };
    let FolderWish::Move { path, .. } = (!tree.refused.contains(&wish)).then_some(wish)? else { return None };
    Some(path)
}

/// What is wished, the outermost first: what is in a folder goes with it.
pub(crate) fn wishes(
    database: &Database,
    tree: &TreeSetup,
    mailboxes: &[MailboxSetup],
) -> Result<Vec<FolderWish>, SyncError> {
    let Some(listed) = &tree.listed else { return Ok(Vec::new()) };
    let below_root = maildirs_below(&tree.root).map_err(SyncError::Maildir)?;
    let known = known_folders(database, tree)?;
    let placed = arranged(database, tree, mailboxes, &known, &|_| false)?;
    let (mut wishes, mut claimed) = (Vec::new(), HashSet::default());
    for record in &known {
        let Some(place) = place_of(database, tree, record, &below_root)? else { continue };
        if let Some(one) = placed.iter().find(|one| one.folder.0 == record.folder)
            && let Some(path) = wished_path(tree, record, &place, one)
        {
            wishes.push(FolderWish::Move { folder: one.folder.clone(), path });
        }
        claimed.insert(place);
    }
    claimed.extend(placed.iter().map(|one| one.directory.clone()));
    wishes.extend(made(tree, listed, &below_root, &claimed));
    wishes.sort_by_key(|wish| {
        let (FolderWish::Move { path, .. } | FolderWish::Make { path }) = wish;
        (path.len(), path.clone())
    });
    Ok(wishes)
}

/// The Maildirs that somebody has made, where the tree would take in a folder of that path and there is none. One that has a
/// mark was ours once, and its folder is not to be there again for that.
fn made(tree: &TreeSetup, listed: &Tree, below_root: &Below, claimed: &HashSet<PathBuf>) -> Vec<FolderWish> {
    let layout = tree.shape.layout;
    let is_new =
        |path: &Vec<String>| tree.shape.filter.takes(&[path.join("/")], true) && find(listed, path).len() < path.len();
    let unclaimed = below_root.unmarked.iter().filter(|place| !claimed.contains(*place));
    unclaimed
        .filter_map(|place| Some((place, path_of(layout, place).filter(|path| !path.is_empty())?)))
        .filter(|(place, path)| is_of(layout, place, path) && is_new(path))
        .map(|(_, path)| FolderWish::Make { path })
        .filter(|wish| !tree.refused.contains(wish))
        .collect()
}

/// Whether a folder of this path would have that directory.
fn is_of(layout: Layout, place: &Path, path: &[String]) -> bool {
    directory(layout, &path.iter().map(String::as_str).collect::<Vec<_>>(), false) == place
}

/// The folders on the way along a path, as far as they are there.
fn find<'t>(listed: &'t Tree, path: &[String]) -> Vec<&'t TreeFolder> {
    let mut found: Vec<&TreeFolder> = Vec::new();
    for name in path {
        let parent = found.last().map(|folder| &folder.id);
        let is_it = |folder: &&TreeFolder| {
            folder.parent.as_ref() == parent && folder.name.to_lowercase() == name.to_lowercase()
        };
        match listed.folders.iter().find(is_it) {
            Some(folder) => found.push(folder),
            None => break,
        }
    }
    found
}

/// Does in the cloud what is wished, as far as it isn't so already.
pub(crate) async fn fulfil(
    account: Arc<dyn CloudAccount>,
    listed: Arc<Tree>,
    wish: FolderWish,
) -> Result<(), CloudError> {
    match wish {
        FolderWish::Make { path } => make(account.as_ref(), &listed, &path).await.map(|_| ()),
        FolderWish::Move { folder, path } => {
            let Some((name, above)) = path.split_last() else { return Ok(()) };
            let parent = make(account.as_ref(), &listed, above).await?;
            let Some(now) = listed.folders.iter().find(|known| known.id == folder) else { return Ok(()) };
            if now.parent != parent {
                account.move_folder(&folder, parent.as_ref()).await?;
            }
            if now.name != *name {
                account.rename_folder(&folder, name).await?;
            }
            Ok(())
        }
    }
}

/// Makes what is missing of a path; the last folder comes back.
async fn make(account: &dyn CloudAccount, listed: &Tree, path: &[String]) -> Result<Option<FolderId>, CloudError> {
    let found = find(listed, path);
    let mut parent = found.last().map(|folder| folder.id.clone());
    for name in &path[found.len()..] {
        parent = Some(account.create_folder(parent.as_ref(), name).await?);
    }
    Ok(parent)
}
