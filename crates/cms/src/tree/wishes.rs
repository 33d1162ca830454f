//! What somebody has done with the directories of a tree, as what is to be done with its folders.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cms_cloud::contract::{CloudAccount, CloudError, FolderId, Purpose, Tree, TreeFolder};
use cms_engine::{HashSet, MaildirId};
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
    /// A folder is to go to the deleted items, for its Maildir was removed and the user says that this is meant.
    Remove { folder: FolderId, path: Vec<String> },
}

/// Where the state keeps what the user said of a Maildir that was removed …
pub(crate) fn removed_key(maildir: MaildirId) -> String {
    format!("maildir {} removed", maildir.0)
}
/// … that its folder is to go, …
pub(crate) const REMOVED: &str = "its folder is to go";
/// … and that it has gone.
pub(crate) const GONE: &str = "its folder has gone";

impl FolderWish {
    /// The path that is wished for, as people read it.
    pub(crate) fn path(&self) -> String {
        self.parts().join("/")
    }

    fn parts(&self) -> &[String] {
        let (Self::Move { path, .. } | Self::Make { path } | Self::Remove { path, .. }) = self;
        path
    }
}

/// The path that a folder is wished to have: its Maildir is at another place than its path in the cloud says, and that path is
/// the one that both sides knew. Where the cloud has given it another one, that one holds.
pub(super) fn wished_path(
    database: &Database,
    tree: &TreeSetup,
    record: &TreeFolderRecord,
    place: &Path,
    one: &Placed,
) -> Result<Option<Vec<String>>, SyncError> {
    let is_ours = place.file_name().is_some_and(|name| name.to_string_lossy().starts_with(MOVING));
    if place == one.directory || record.name != one.name || one.standing != TreeStanding::Synced || is_ours {
        return Ok(None);
    }
    let missed = database.meta(&missed_key(record.maildir)).map_err(SyncError::Store)?;
    if missed.is_some_and(|name| !name.is_empty() && name != one.name) {
        return Ok(None);
    }
    let layout = tree.shape.layout;
    let path = path_of(layout, place).filter(|path| !path.is_empty() && is_of(layout, place, path));
    let is_refused = |path: &Vec<String>| {
        tree.refused.contains(&FolderWish::Move { folder: one.folder.clone(), path: path.clone() })
    };
    Ok(path.filter(|path| !is_refused(path)))
}

/// Where the state keeps what a folder was called when its Maildir went missing, for one that comes back at its old place wasn't
/// moved by anybody.
pub(super) fn missed_key(maildir: MaildirId) -> String {
    format!("maildir {} missed as", maildir.0)
}

/// What comes of the directories of a tree.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// What is wished, the outermost first: what is in a folder goes with it.
    pub(crate) of_cloud: Vec<FolderWish>,
    /// The Maildirs that somebody has made and that are nobody's, each with why.
    pub(crate) nobodys: Vec<(PathBuf, Nobodys)>,
}

/// Why a Maildir becomes no folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nobodys {
    /// No folder's directory is called so.
    Name,
    /// The folder of this path is left out by the configuration.
    LeftOut(String),
}

/// Looks what somebody has done with the directories of a tree.
pub(crate) fn wishes(database: &Database, tree: &TreeSetup, mailboxes: &[MailboxSetup]) -> Result<Wishes, SyncError> {
    let Some(listed) = &tree.listed else { return Ok(Wishes::default()) };
    let below_root = maildirs_below(&tree.root).map_err(SyncError::Maildir)?;
    let known = known_folders(database, tree)?;
    let placed = arranged(database, tree, mailboxes, &known, &|_| false)?;
    let (mut wishes, mut claimed) = (Vec::new(), HashSet::default());
    for record in &known {
        let Some(place) = place_of(database, tree, record, &below_root)? else {
            wishes.extend(removed(database, tree, record)?.filter(|wish| !tree.refused.contains(wish)));
            continue;
        };
        if let Some(one) = placed.iter().find(|one| one.folder.0 == record.folder)
            && let Some(path) = wished_path(database, tree, record, &place, one)?
        {
            wishes.push(FolderWish::Move { folder: one.folder.clone(), path });
        }
        claimed.insert(place);
    }
    claimed.extend(placed.iter().map(|one| one.directory.clone()));
    wishes.extend(made(tree, listed, &below_root, &claimed));
    wishes.sort_by_key(|wish| (wish.parts().len(), wish.parts().to_vec()));
    Ok(Wishes { of_cloud: wishes, nobodys: nobodys(tree, &below_root, &claimed) })
}

/// The Maildirs that somebody has made and that can't become a folder.
fn nobodys(tree: &TreeSetup, below_root: &Below, claimed: &HashSet<PathBuf>) -> Vec<(PathBuf, Nobodys)> {
    let layout = tree.shape.layout;
    let why = |place: &PathBuf| match path_of(layout, place).filter(|path| is_of(layout, place, path)) {
        None => Some(Nobodys::Name),
        Some(path) if path.is_empty() => None,
        Some(path) => {
            let path = path.join("/");
            (!tree.shape.filter.takes(std::slice::from_ref(&path), true)).then_some(Nobodys::LeftOut(path))
        }
    };
    let unclaimed = below_root.unmarked.iter().filter(|place| !claimed.contains(*place));
    unclaimed
        .filter(|place| !place.as_os_str().is_empty())
        .filter_map(|place| Some((tree.root.join(place), why(place)?)))
        .collect()
}

/// What the user has said of a Maildir that isn't there.
fn removed(database: &Database, tree: &TreeSetup, record: &TreeFolderRecord) -> Result<Option<FolderWish>, SyncError> {
    let word = database.meta(&removed_key(record.maildir)).map_err(SyncError::Store)?;
    let is_to_go = word.as_deref() == Some(REMOVED) && record.standing == TreeStanding::Synced;
    let path = || tree.shape.path_in(&record.name).split('/').map(str::to_owned).collect();
    Ok(is_to_go.then(|| FolderWish::Remove { folder: FolderId(record.folder.clone()), path: path() }))
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
        FolderWish::Remove { folder, .. } => remove(account.as_ref(), &listed, &folder).await,
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

/// Moves a folder to the deleted items, unless it is there.
async fn remove(account: &dyn CloudAccount, listed: &Tree, folder: &FolderId) -> Result<(), CloudError> {
    let find = |id: &FolderId| listed.folders.iter().find(|known| known.id == *id);
    let Some(now) = find(folder) else { return Ok(()) };
    let mut above = now.parent.as_ref();
    // As many steps as there are folders lead out of every circle.
    for _ in 0..listed.folders.len() {
        let Some(parent) = above.and_then(find) else { break };
        if parent.purpose == Some(Purpose::Deleted) {
            return Ok(());
        }
        above = parent.parent.as_ref();
    }
    let Some(deleted) = listed.folders.iter().find(|known| known.purpose == Some(Purpose::Deleted)) else {
        return Err(CloudError::NoSuchFolder { name: Purpose::Deleted.english().to_owned(), nearest: Vec::new() });
    };
    let is_taken = |name: &str, parent: Option<&FolderId>| {
        let has_it = |known: &TreeFolder| known.name.to_lowercase() == name.to_lowercase();
        listed.folders.iter().any(|known| known.parent.as_ref() == parent && known.id != *folder && has_it(known))
    };
    if is_taken(&now.name, Some(&deleted.id)) {
        // Two folders of one name can't be in one place.
        let others = (2_usize..).map(|number| format!("{} ({number})", now.name));
        let free = |name: &String| !is_taken(name, Some(&deleted.id)) && !is_taken(name, now.parent.as_ref());
        if let Some(name) = others.take(listed.folders.len() + 1).find(free) {
            account.rename_folder(folder, &name).await?;
        }
    }
    account.move_folder(folder, Some(&deleted.id)).await
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
