//! From what a tree's folders are to be to directories and rows of the state.

use std::path::{Path, PathBuf};

use cms_cloud::contract::{FolderId, Tree};
use cms_engine::{HashSet, MailboxId, MaildirId};
use cms_maildir::{Below, Maildir, maildirs_below, move_directory, remove_empty_directories, remove_empty_maildir};
use cms_store::{Database, StoreError, TreeFolderRecord, TreePlace, TreeStanding};
use tracing::{debug, info, warn};

use super::arrange::{Named, Placed, arrange};
use super::wishes::{missed_key, removed_key, wished_path};
use super::{Layout, TreeSetup};
use crate::sync::{MailboxSetup, SyncError, mark_key};

/// What the directory of a Maildir is called while all others are moved that change places with it.
pub(super) const MOVING: &str = ".cms-moving-";

/// A folder of a tree as a mailbox with its Maildir.
#[derive(Clone, Debug)]
pub(crate) struct Expanded {
    /// Which tree, as an index.
    pub(crate) tree: usize,
    pub(crate) mailbox: MailboxId,
    pub(crate) maildir: MaildirId,
    pub(crate) folder: FolderId,
    /// What it is called.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// Whether the cloud doesn't have it any more.
    pub(crate) gone: bool,
}

/// What the trees come to: from the state alone, or where folders were listed, from what they are to be, which is made so
/// unless nothing may be touched.
pub(crate) fn expand(
    database: &mut Database,
    trees: &[TreeSetup],
    mailboxes: &[MailboxSetup],
    may_touch: bool,
) -> Result<Vec<Expanded>, SyncError> {
    if trees.is_empty() {
        return Ok(Vec::new());
    }
    for tree in trees {
        must_have_layout(database, tree)?;
        if may_touch && tree.listed.is_some() {
            reconcile(database, tree, mailboxes)?;
        }
    }
    let mut records = database.tree_folders().map_err(SyncError::Store)?;
    for tree in trees {
        settle_places(database, tree, &mut records, may_touch)?;
    }
    Ok(expanded(&records, trees))
}

/// Finds Maildirs that aren't where the state has them: somebody has moved them, or a run that was killed.
fn settle_places(
    database: &mut Database,
    tree: &TreeSetup,
    records: &mut [TreeFolderRecord],
    may_touch: bool,
) -> Result<(), SyncError> {
    let is_missing = |record: &TreeFolderRecord| {
        record.tree == tree.name
            && record.standing != TreeStanding::LeftOut
            && Maildir::open(below(&tree.root, &record.directory)).is_err()
    };
    if !records.iter().any(is_missing) {
        return Ok(());
    }
    let below_root = maildirs_below(&tree.root).map_err(SyncError::Maildir)?;
    for record in records.iter_mut().filter(|record| is_missing(record)) {
        if let Some(found) = place_of(database, tree, record, &below_root)?.filter(|found| *found != record.directory) {
            debug!(folder = %record.name, from = %record.directory.display(), to = %found.display(), "Found a Maildir");
            record.directory = found;
            if may_touch {
                let place = place(tree, record, record.standing);
                database.place_tree_folders(&[place]).map_err(SyncError::Store)?;
            }
        }
    }
    Ok(())
}

fn expanded(records: &[TreeFolderRecord], trees: &[TreeSetup]) -> Vec<Expanded> {
    let mut expanded = Vec::new();
    for (at, tree) in trees.iter().enumerate() {
        let its = |record: &&TreeFolderRecord| record.tree == tree.name && record.standing != TreeStanding::LeftOut;
        expanded.extend(records.iter().filter(its).map(|record| Expanded {
            tree: at,
            mailbox: record.mailbox,
            maildir: record.maildir,
            folder: FolderId(record.folder.clone()),
            name: record.name.clone(),
            path: below(&tree.root, &record.directory),
            gone: record.standing == TreeStanding::Gone,
        }));
    }
    expanded
}

/// Whether a Maildir that isn't where it was is somewhere else below the root.
pub(crate) fn is_elsewhere(database: &Database, tree: &TreeSetup, maildir: MaildirId) -> Result<bool, SyncError> {
    let mark = database.meta(&mark_key(maildir)).map_err(SyncError::Store)?.filter(|mark| !mark.is_empty());
    let below_root = maildirs_below(&tree.root).map_err(SyncError::Maildir)?;
    Ok(mark.is_some_and(|mark| below_root.marked.contains_key(&mark)))
}

/// What the trees came to when somebody last looked at the folders. Nothing is changed.
pub(crate) fn known(state_dir: &Path, trees: &[TreeSetup]) -> Result<Vec<Expanded>, StoreError> {
    match Database::open_read_only(state_dir)?.filter(|_| !trees.is_empty()) {
        Some(database) => Ok(expanded(&database.tree_folders()?, trees)),
        None => Ok(Vec::new()),
    }
}

/// The folders that a tree takes in, as they are listed, by their ids: what each of them is called.
pub(crate) fn taken_in(tree: &TreeSetup, listed: &Tree, named: &[Named]) -> Vec<(FolderId, String)> {
    let placed = arrange(&tree.shape, listed, &[], named, &|_| false);
    placed.into_iter().map(|one| (one.folder, one.name)).collect()
}

/// What making the folders so would do, a line each.
pub(crate) fn steps(
    database: &Database,
    tree: &TreeSetup,
    mailboxes: &[MailboxSetup],
) -> Result<Vec<String>, SyncError> {
    let known = known_folders(database, tree)?;
    let placed = arranged(database, tree, mailboxes, &known, &|_| false)?;
    let mut steps = Vec::new();
    for one in &placed {
        let path = below(&tree.root, &one.directory);
        let record = known.iter().find(|record| record.folder == one.folder.0);
        match (record, one.standing) {
            (None, _) => {
                steps.push(format!("make the Maildir `{}` for the folder `{}`", path.display(), one.name));
            }
            (Some(record), TreeStanding::Synced) if record.directory != one.directory => steps.push(format!(
                "move the Maildir `{}` to `{}`",
                below(&tree.root, &record.directory).display(),
                path.display()
            )),
            (Some(record), TreeStanding::Gone) if record.standing == TreeStanding::Synced && !tree.keep => {
                steps.push(format!("take away what `{}` holds: the folder `{}` is gone", path.display(), one.name));
            }
            (Some(record), TreeStanding::LeftOut) if record.standing == TreeStanding::Synced => {
                steps.push(format!("leave the Maildir `{}` alone from now on", path.display()));
            }
            _ => {}
        }
    }
    steps.sort();
    Ok(steps)
}

/// Whether the folders as they were listed are what the state has, and where it has them.
pub(crate) fn is_as_arranged(
    database: &Database,
    tree: &TreeSetup,
    mailboxes: &[MailboxSetup],
    with_directories: bool,
) -> Result<bool, SyncError> {
    let known = known_folders(database, tree)?;
    let placed = arranged(database, tree, mailboxes, &known, &|_| false)?;
    for one in &placed {
        let is_it = |record: &&TreeFolderRecord| record.folder == one.folder.0;
        let Some(record) = known.iter().find(is_it) else { return Ok(false) };
        let is_so = record.name == one.name
            && record.standing == one.standing
            && (!with_directories
                || record.directory == one.directory
                || wished_path(database, tree, record, &record.directory, one)?.is_some());
        if !is_so {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn known_folders(database: &Database, tree: &TreeSetup) -> Result<Vec<TreeFolderRecord>, SyncError> {
    let mut known = database.tree_folders().map_err(SyncError::Store)?;
    known.retain(|record| record.tree == tree.name);
    Ok(known)
}

pub(super) fn arranged(
    database: &Database,
    tree: &TreeSetup,
    mailboxes: &[MailboxSetup],
    known: &[TreeFolderRecord],
    is_taken: &dyn Fn(&Path) -> bool,
) -> Result<Vec<Placed>, SyncError> {
    let Some(listed) = &tree.listed else { return Ok(Vec::new()) };
    let stored = database.mailboxes().map_err(SyncError::Store)?;
    let its = mailboxes.iter().filter(|mailbox| mailbox.client == tree.client);
    let named: Vec<Named> = its
        .map(|mailbox| {
            let is_it =
                |stored: &&cms_store::MailboxRecord| stored.account == tree.account_name && stored.name == mailbox.name;
            let folder = stored.iter().find(is_it).and_then(|stored| stored.folder.clone()).map(FolderId);
            Named { folder, name: mailbox.name.clone() }
        })
        .collect();
    Ok(arrange(&tree.shape, listed, known, &named, is_taken))
}

fn reconcile(database: &mut Database, tree: &TreeSetup, mailboxes: &[MailboxSetup]) -> Result<(), SyncError> {
    let known = known_folders(database, tree)?;
    let below_root = maildirs_below(&tree.root).map_err(SyncError::Maildir)?;
    let mut here: Vec<(&TreeFolderRecord, Option<PathBuf>)> = Vec::new();
    for record in &known {
        here.push((record, place_of(database, tree, record, &below_root)?));
    }
    let claimed: HashSet<&PathBuf> = here.iter().filter_map(|(_, place)| place.as_ref()).collect();
    let is_taken = |directory: &Path| {
        !claimed.contains(&directory.to_owned()) && Maildir::open(below(&tree.root, directory)).is_ok()
    };
    let placed = arranged(database, tree, mailboxes, &known, &is_taken)?;
    let find = |one: &Placed| here.iter().find(|(record, _)| record.folder == one.folder.0);
    // What a directory holds goes with it, so the innermost are moved out first, and go in last.
    let mut moves: Vec<(&TreeFolderRecord, &PathBuf, &Placed)> = Vec::new();
    for one in &placed {
        if let Some((record, Some(place))) = find(one)
            && *place != one.directory
            && one.standing != TreeStanding::LeftOut
            && wished_path(database, tree, record, place, one)?.is_none()
        {
            moves.push((record, place, one));
        }
    }
    let depth = |path: &Path| path.components().count();
    moves.sort_by_key(|(_, from, _)| std::cmp::Reverse(depth(from)));
    let moving = |record: &TreeFolderRecord| tree.root.join(format!("{MOVING}{}", record.mailbox.0));
    for (record, from, _) in &moves {
        let (from, to) = (below(&tree.root, from), moving(record));
        if from != to {
            move_directory(&from, &to).map_err(SyncError::Maildir)?;
        }
    }
    moves.sort_by_key(|(_, _, one)| depth(&one.directory));
    for (record, from, one) in &moves {
        move_directory(&moving(record), &below(&tree.root, &one.directory)).map_err(SyncError::Maildir)?;
        if let Some(parent) = below(&tree.root, from).parent() {
            remove_empty_directories(&tree.root, parent);
        }
        if record.name != one.name {
            info!(from = %record.name, to = %one.name, "A folder has another name in the cloud; so has its Maildir");
        }
    }
    tell(tree, &known, &placed);
    // A Maildir that isn't there now may come back where it was.
    let mut placed = placed;
    let mut missed: Vec<(String, &str)> = Vec::new();
    for one in &mut placed {
        let Some((record, place)) = here.iter().find(|(record, _)| record.folder == one.folder.0) else { continue };
        let key = missed_key(record.maildir);
        let known = database.meta(&key).map_err(SyncError::Store)?.is_some_and(|name| !name.is_empty());
        match place {
            None => {
                one.directory.clone_from(&record.directory);
                if !known && record.name != one.name {
                    missed.push((key, &record.name));
                }
            }
            Some(place) => {
                if wished_path(database, tree, record, place, one)?.is_some() {
                    // The cloud is to follow.
                    one.directory.clone_from(place);
                } else if known {
                    missed.push((key, ""));
                }
            }
        }
    }
    for (key, name) in missed {
        database.set_meta(&key, name).map_err(SyncError::Store)?;
    }
    write_down(database, tree, &placed)?;
    clear_away(database, tree)
}

/// Directories that lie otherwise are others: nobody could say which one became which.
fn must_have_layout(database: &mut Database, tree: &TreeSetup) -> Result<(), SyncError> {
    let known = known_folders(database, tree)?;
    let key = format!("tree {} layout", tree.name);
    let now = format!("{} {}", tree.shape.layout.name(), tree.root.display());
    let before = database.meta(&key).map_err(SyncError::Store)?;
    let other = match tree.shape.layout {
        Layout::Fs => Layout::MaildirPlusPlus,
        Layout::MaildirPlusPlus => Layout::Fs,
    };
    if !known.is_empty() && before == Some(format!("{} {}", other.name(), tree.root.display())) {
        let what = format!(
            "the Maildirs in `{}` lie as `layout=\"{}\"` says, and can't be made to lie otherwise",
            tree.root.display(),
            other.name()
        );
        let what = tree.position.as_ref().map_or_else(|| what.clone(), |position| format!("{position}: {what}"));
        let hint = "write the layout that they have, or name another root".to_owned();
        return Err(SyncError::Configuration { what, hint });
    }
    if before.as_ref() != Some(&now) {
        database.set_meta(&key, &now).map_err(SyncError::Store)?;
    }
    Ok(())
}

/// Where a folder's Maildir is now: where its mark is, for a run may have been killed between a move and the note of it.
pub(super) fn place_of(
    database: &Database,
    tree: &TreeSetup,
    record: &TreeFolderRecord,
    below_root: &Below,
) -> Result<Option<PathBuf>, SyncError> {
    let mark = database.meta(&mark_key(record.maildir)).map_err(SyncError::Store)?.filter(|mark| !mark.is_empty());
    let there = Maildir::open(below(&tree.root, &record.directory));
    // Where somebody has copied a Maildir with its mark, it is the one that was there before.
    let is_it = there.as_ref().is_ok_and(|there| mark.is_some() && there.mark().is_ok_and(|found| found == mark));
    if let Some(found) = mark.and_then(|mark| below_root.marked.get(&mark)).filter(|_| !is_it) {
        return Ok(Some(found.clone()));
    }
    Ok(there.is_ok().then(|| record.directory.clone()))
}

fn tell(tree: &TreeSetup, known: &[TreeFolderRecord], placed: &[Placed]) {
    let is_unseen = |one: &Placed| tree.listed.as_ref().is_some_and(|listed| listed.gone.contains(&one.folder));
    for one in placed {
        let before = known.iter().find(|record| record.folder == one.folder.0).map(|record| record.standing);
        match (before, one.standing) {
            (None, _) => info!(folder = %one.name, "A folder is new in the tree"),
            (Some(TreeStanding::Synced), TreeStanding::Gone) if tree.keep => {
                info!(folder = %one.name, "A folder is gone from the cloud; its Maildir stays here with its messages");
            }
            (Some(TreeStanding::Synced), TreeStanding::Gone) => {
                info!(folder = %one.name, "A folder is gone from the cloud; so are its messages here, as far as they aren't held");
            }
            (Some(TreeStanding::Synced), TreeStanding::LeftOut) if is_unseen(one) => {
                info!(folder = %one.name, "A folder of somebody else's mailbox was deleted, or isn't shared any more; its Maildir stays as it is");
            }
            (Some(TreeStanding::Synced), TreeStanding::LeftOut) => {
                info!(folder = %one.name, "A folder isn't in the tree any more; its Maildir stays as it is");
            }
            _ => {}
        }
    }
}

fn write_down(database: &mut Database, tree: &TreeSetup, placed: &[Placed]) -> Result<(), SyncError> {
    let places: Vec<TreePlace<'_>> = placed
        .iter()
        .map(|one| TreePlace {
            account: &tree.account_name,
            tree: &tree.name,
            folder: &one.folder.0,
            name: &one.name,
            root: &tree.root,
            directory: &one.directory,
            standing: one.standing,
        })
        .collect();
    database.place_tree_folders(&places).map_err(SyncError::Store)
}

/// Whether the Maildir of a folder stays though the folder is gone. That the user let the folder go is another thing.
pub(crate) fn is_kept(database: &Database, tree: &TreeSetup, maildir: MaildirId) -> Result<bool, SyncError> {
    let word = || database.meta(&removed_key(maildir)).map_err(SyncError::Store);
    Ok(tree.keep && word()?.is_none_or(|word| word.is_empty()))
}

/// Takes the Maildirs away of folders that are gone and of which nothing is left.
fn clear_away(database: &mut Database, tree: &TreeSetup) -> Result<(), SyncError> {
    let mut left_out = Vec::new();
    for record in known_folders(database, tree)? {
        let is_over = record.standing == TreeStanding::Gone
            && !is_kept(database, tree, record.maildir)?
            && database.left_in_tree_folder(&record).map_err(SyncError::Store)? == 0;
        if !is_over {
            continue;
        }
        // It may have gone along with one that it is in.
        let place = place_of(database, tree, &record, &maildirs_below(&tree.root).map_err(SyncError::Maildir)?)?;
        let path = below(&tree.root, place.as_ref().unwrap_or(&record.directory));
        // One that is known by a mark is waited for where it is missing.
        database.set_meta(&mark_key(record.maildir), "").map_err(SyncError::Store)?;
        if remove_empty_maildir(&path).map_err(SyncError::Maildir)? {
            remove_empty_directories(&tree.root, &path);
            info!(folder = %record.name, "A folder is gone, and so is its Maildir");
            database.forget_tree_folder(record.mailbox).map_err(SyncError::Store)?;
        } else {
            warn!(
                "the folder `{}` is gone from the cloud; `{}` holds what nobody knows of, so it stays",
                record.name,
                path.display()
            );
            left_out.push(record);
        }
    }
    let places: Vec<TreePlace<'_>> = left_out.iter().map(|record| place(tree, record, TreeStanding::LeftOut)).collect();
    database.place_tree_folders(&places).map_err(SyncError::Store)
}

/// A folder of a tree as the state has it, with another standing.
fn place<'a>(tree: &'a TreeSetup, record: &'a TreeFolderRecord, standing: TreeStanding) -> TreePlace<'a> {
    TreePlace {
        account: &tree.account_name,
        tree: &tree.name,
        folder: &record.folder,
        name: &record.name,
        root: &tree.root,
        directory: &record.directory,
        standing,
    }
}

fn below(root: &Path, directory: &Path) -> PathBuf {
    if directory.as_os_str().is_empty() { root.to_owned() } else { root.join(directory) }
}
