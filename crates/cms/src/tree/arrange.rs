//! What a tree's folders are to be here, from what the cloud and the state say of them. No I/O.

use std::path::{Path, PathBuf};

use cms_cloud::contract::{FolderId, Purpose, Tree, TreeFolder};
use cms_engine::{HashMap, HashSet};
use cms_store::{TreeFolderRecord, TreeStanding};

use super::filter::Filter;
use super::names::{self, Layout};

/// How deep folders are followed.
const DEPTH: usize = 64;

/// How a tree is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) layout: Layout,
    pub(crate) filter: Filter,
    /// Whose mailbox it is, where it isn't the account's own. The names of its folders begin with that, as those of such a
    /// mailbox do that the configuration names by itself.
    pub(crate) owner: Option<String>,
}

impl Shape {
    /// What a folder is called wherever it is told, by its path.
    pub(crate) fn name_of(&self, path: &str) -> String {
        self.owner.as_ref().map_or_else(|| path.to_owned(), |owner| format!("{owner}/{path}"))
    }

    /// The path of a folder, by what it is called.
    pub(crate) fn path_in<'n>(&self, name: &'n str) -> &'n str {
        let in_owners = self.owner.as_deref().and_then(|owner| name.strip_prefix(owner)?.strip_prefix('/'));
        in_owners.unwrap_or(name)
    }
}

/// A folder as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) folder: FolderId,
    /// What it is called.
    pub(crate) name: String,
    /// The Maildir's directory below the root.
    pub(crate) directory: PathBuf,
    pub(crate) standing: TreeStanding,
}

/// A folder that the configuration names by itself, so that it is none of the tree's.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) folder: Option<FolderId>,
    pub(crate) name: String,
}

/// A folder with where it is.
struct Located<'t> {
    folder: &'t TreeFolder,
    path: Vec<&'t str>,
    /// What it is for, and what the folder at the top is for that it lies in.
    above: Option<Purpose>,
}

impl Located<'_> {
    fn path(&self) -> String {
        self.path.join("/")
    }

    /// The paths under which it may be meant.
    fn names(&self) -> Vec<String> {
        let mut names = vec![self.path()];
        if let Some(above) = self.above {
            let below = self.path[1..].iter().copied();
            names.push(std::iter::once(above.english()).chain(below.clone()).collect::<Vec<_>>().join("/"));
            // As the configuration may name it, `sentitems`.
            let squeezed = above.english().replace(' ', "");
            names.push(std::iter::once(squeezed.as_str()).chain(below).collect::<Vec<_>>().join("/"));
        }
        names
    }

    fn is_inbox(&self) -> bool {
        self.folder.purpose == Some(Purpose::Inbox)
    }
}

/// What the folders of a tree are to be: those that are in it, and those that were.
///
/// A folder that is known and isn't told of stays what it is: only that it isn't there any more says that it is gone. So does
/// that it was deleted, where what was deleted isn't kept here. In somebody else's mailbox one that isn't there may as well be
/// one that isn't shared any more, so that it stays as it is, as one does that the configuration doesn't want, and nobody looks at it. `is_taken` says whether a directory is somebody else's Maildir.
pub(crate) fn arrange(
    shape: &Shape,
    tree: &Tree,
    known: &[TreeFolderRecord],
    named: &[Named],
    is_taken: &dyn Fn(&Path) -> bool,
) -> Vec<Placed> {
    let located = locate(tree);
    let listed: HashMap<&str, &Located<'_>> = located.iter().map(|one| (one.folder.id.0.as_str(), one)).collect();
    let mut wanted: Vec<&Located<'_>> = Vec::new();
    let mut placed: Vec<Placed> = Vec::new();
    for record in known {
        let id = FolderId(record.folder.clone());
        let found = listed.get(record.folder.as_str());
        let standing = match found {
            Some(one) if is_wanted(shape, one, named) => {
                wanted.push(one);
                continue;
            }
            Some(one) if record.standing != TreeStanding::LeftOut && is_deleted(one) => TreeStanding::Gone,
            Some(_) => TreeStanding::LeftOut,
            None if tree.gone.contains(&id) && record.standing == TreeStanding::Synced => match shape.owner {
                None => TreeStanding::Gone,
                Some(_) => TreeStanding::LeftOut,
            },
            None => record.standing,
        };
        let (name, directory) = (record.name.clone(), record.directory.clone());
        placed.push(Placed { folder: id, name, directory, standing });
    }
    let is_known = |one: &&Located<'_>| known.iter().any(|record| record.folder == one.folder.id.0);
    let mut new: Vec<&Located<'_>> =
        located.iter().filter(|one| !is_known(one) && is_wanted(shape, one, named)).collect();
    new.sort_by_key(|one| one.path());
    // Who has a directory that fits keeps it.
    let has = |one: &Located<'_>| {
        known.iter().find(|record| record.folder == one.folder.id.0).map(|record| &record.directory)
    };
    wanted.sort_by_key(|one| !candidates(shape, one).iter().any(|fits| Some(fits) == has(one)));
    let mut used: HashSet<String> = placed.iter().map(|one| folded(&one.directory)).collect();
    for one in wanted.into_iter().chain(new) {
        let [plain, apart] = candidates(shape, one);
        let had = has(one);
        let is_free = |directory: &PathBuf| {
            let is_own = had.is_none() || had == Some(directory);
            !used.contains(&folded(directory)) && (is_own || !is_taken(directory))
        };
        let directory = match had {
            Some(had) if *had == apart && is_free(had) => apart,
            _ if is_free(&plain) => plain,
            _ => apart,
        };
        used.insert(folded(&directory));
        let (folder, name) = (one.folder.id.clone(), shape.name_of(&one.path()));
        placed.push(Placed { folder, name, directory, standing: TreeStanding::Synced });
    }
    placed
}

fn candidates(shape: &Shape, one: &Located<'_>) -> [PathBuf; 2] {
    let plain = names::directory(shape.layout, &one.path, one.is_inbox());
    let apart = names::told_apart(&plain, &one.folder.id.0);
    [plain, apart]
}

fn is_wanted(shape: &Shape, one: &Located<'_>, named: &[Named]) -> bool {
    let names = one.names();
    let is_named = named.iter().any(|named| {
        named.folder.as_ref() == Some(&one.folder.id)
            || names.iter().any(|name| name.to_lowercase() == shape.path_in(&named.name).to_lowercase())
    });
    !is_named && shape.filter.takes(&names, one.above.is_none_or(Purpose::holds_mail))
}

/// Whether a folder lies among what was deleted.
fn is_deleted(one: &Located<'_>) -> bool {
    one.above == Some(Purpose::Deleted) && one.path.len() > 1
}

/// A directory as a file system knows it that doesn't mind case.
fn folded(directory: &Path) -> String {
    directory.to_string_lossy().to_lowercase()
}

/// The path of each folder. One whose parent isn't told has none.
fn locate(tree: &Tree) -> Vec<Located<'_>> {
    let by_id: HashMap<&FolderId, &TreeFolder> = tree.folders.iter().map(|folder| (&folder.id, folder)).collect();
    let locate = |folder| {
        let mut path: Vec<&str> = Vec::new();
        let mut at: &TreeFolder = folder;
        loop {
            path.push(&at.name);
            match &at.parent {
                None => break,
                Some(_) if path.len() > DEPTH => return None,
                Some(parent) => at = by_id.get(parent)?,
            }
        }
        path.reverse();
        Some(Located { folder, path, above: at.purpose })
    };
    tree.folders.iter().filter_map(locate).collect()
}

#[cfg(test)]
mod tests {
    use cms_engine::{MailboxId, MaildirId};

    use super::*;

    fn folder(id: &str, parent: Option<&str>, name: &str, purpose: Option<Purpose>) -> TreeFolder {
        let parent = parent.map(|parent| FolderId(parent.to_owned()));
        TreeFolder { id: FolderId(id.to_owned()), parent, name: name.to_owned(), purpose }
    }

    fn tree(folders: Vec<TreeFolder>) -> Tree {
        Tree { folders, gone: Vec::new() }
    }

    fn shape(exclude: &[&str]) -> Shape {
        let exclude: Vec<String> = exclude.iter().map(|text| (*text).to_owned()).collect();
        Shape { layout: Layout::Fs, filter: Filter::new(&["*".to_owned()], &exclude), owner: None }
    }

    fn known(placed: &[Placed]) -> Vec<TreeFolderRecord> {
        let record = |(at, one): (usize, &Placed)| TreeFolderRecord {
            mailbox: MailboxId(u32::try_from(at).unwrap()),
            maildir: MaildirId(u32::try_from(at).unwrap()),
            tree: "tree".to_owned(),
            folder: one.folder.0.clone(),
            name: one.name.clone(),
            directory: one.directory.clone(),
            standing: one.standing,
        };
        placed.iter().enumerate().map(record).collect()
    }

    fn run(shape: &Shape, tree: &Tree, known: &[TreeFolderRecord]) -> Vec<(String, String, TreeStanding)> {
        let placed = arrange(shape, tree, known, &[], &|_| false);
        let mut lines: Vec<_> =
            placed.into_iter().map(|one| (one.folder.0, one.directory.display().to_string(), one.standing)).collect();
        lines.sort_by(|a, b| a.0.cmp(&b.0));
        lines
    }

    fn lines(expected: &[(&str, &str, TreeStanding)]) -> Vec<(String, String, TreeStanding)> {
        expected.iter().map(|(id, path, standing)| ((*id).to_owned(), (*path).to_owned(), *standing)).collect()
    }

    use TreeStanding::{Gone, LeftOut, Synced};

    #[test]
    fn each_folder_that_holds_mail_has_a_directory() {
        let cloud = tree(vec![
            folder("i", None, "Posteingang", Some(Purpose::Inbox)),
            folder("l", Some("i"), "Lists", None),
            folder("o", None, "Postausgang", Some(Purpose::Outbox)),
            folder("j", None, "Junk-E-Mail", Some(Purpose::Junk)),
            folder("lost", Some("nobody"), "x", None),
        ]);
        let expected = lines(&[("i", "Posteingang", Synced), ("l", "Posteingang/Lists", Synced)]);
        assert_eq!(run(&shape(&["Junk Email"]), &cloud, &[]), expected);
        assert_eq!(run(&shape(&["Junk-E-Mail"]), &cloud, &[]), expected);
        let plus = Shape { layout: Layout::MaildirPlusPlus, ..shape(&["junk*"]) };
        assert_eq!(run(&plus, &cloud, &[]), lines(&[("i", "", Synced), ("l", ".Posteingang.Lists", Synced)]));
    }

    #[test]
    fn f35_only_what_is_not_there_any_more_is_gone() {
        let before = tree(vec![
            folder("a", None, "A", None),
            folder("b", None, "B", None),
            folder("c", None, "C", None),
            folder("d", None, "D", None),
            folder("t", None, "Deleted Items", Some(Purpose::Deleted)),
        ]);
        let was = known(&arrange(&shape(&["Deleted Items*"]), &before, &[], &[], &|_| false));
        let mut now = tree(vec![
            folder("a", None, "New name", None),
            folder("d", Some("t"), "D", None),
            folder("t", None, "Deleted Items", Some(Purpose::Deleted)),
            folder("b2", None, "B", None),
        ]);
        now.gone.push(FolderId("b".to_owned()));
        let expected = [
            ("a", "New name", Synced),
            ("b", "B", Gone),
            ("b2", &format!("B%~{}", &blake3::hash(b"b2").to_hex()[..8]), Synced),
            ("c", "C", Synced),
            ("d", "D", Gone),
        ];
        assert_eq!(run(&shape(&["Deleted Items*"]), &now, &was), lines(&expected));
        // In somebody else's mailbox it may be that it isn't shared any more.
        let theirs = Shape { owner: Some("team@domain.com".to_owned()), ..shape(&["Deleted Items*"]) };
        let told = arrange(&theirs, &now, &was, &[], &|_| false);
        let standing = |id: &str| told.iter().find(|one| one.folder.0 == id).map(|one| one.standing);
        assert_eq!((standing("b"), standing("c"), standing("d")), (Some(LeftOut), Some(Synced), Some(Gone)));
        // Where what was deleted is kept here, it is only somewhere else.
        let kept = run(&shape(&[]), &now, &was);
        assert!(kept.contains(&("d".to_owned(), "Deleted Items/D".to_owned(), Synced)));
    }

    #[test]
    fn f34_what_the_configuration_does_not_want_any_more_is_not_gone() {
        let cloud = tree(vec![folder("a", None, "A", None), folder("b", None, "B", None)]);
        let was = known(&arrange(&shape(&[]), &cloud, &[], &[], &|_| false));
        assert_eq!(run(&shape(&["B"]), &cloud, &was), lines(&[("a", "A", Synced), ("b", "B", LeftOut)]));
        let named = [Named { folder: None, name: "b".to_owned() }];
        let placed = arrange(&shape(&[]), &cloud, &was, &named, &|_| false);
        assert!(placed.iter().any(|one| one.folder.0 == "b" && one.standing == LeftOut));
    }

    #[test]
    fn the_folders_of_a_mailbox_of_somebody_elses_are_called_by_its_owner() {
        let cloud =
            tree(vec![folder("i", None, "Posteingang", Some(Purpose::Inbox)), folder("l", Some("i"), "x", None)]);
        let theirs = Shape { owner: Some("team@domain.com".to_owned()), ..shape(&[]) };
        let named = [Named { folder: None, name: "team@domain.com/inbox".to_owned() }];
        let placed = arrange(&theirs, &cloud, &[], &named, &|_| false);
        let [one] = placed.as_slice() else { panic!("{placed:?}") };
        assert_eq!(
            (one.name.as_str(), one.directory.as_path()),
            ("team@domain.com/Posteingang/x", Path::new("Posteingang/x"))
        );
        assert_eq!(theirs.path_in(&one.name), "Posteingang/x");
    }

    #[test]
    fn no_two_folders_have_one_directory() {
        let cloud = tree(vec![
            folder("a", None, "x", None),
            folder("b", None, "X", None),
            folder("c", Some("a"), "y", None),
            folder("d", None, "x/y", None),
        ]);
        let placed = arrange(&shape(&[]), &cloud, &[], &[], &|_| false);
        let distinct: HashSet<String> = placed.iter().map(|one| folded(&one.directory)).collect();
        assert_eq!(distinct.len(), 4);
        // It stays so.
        assert_eq!(run(&shape(&[]), &cloud, &known(&placed)), run(&shape(&[]), &cloud, &[]));
        // A directory that is somebody else's Maildir isn't taken by a folder that comes there, but a new folder is it.
        let was = known(&placed);
        let renamed = tree(vec![folder("a", None, "z", None), folder("e", None, "z2", None)]);
        let placed = arrange(&shape(&[]), &renamed, &was, &[], &|path| path.starts_with("z") || path.starts_with("z2"));
        let of = |id: &str| placed.iter().find(|one| one.folder.0 == id).unwrap().directory.display().to_string();
        assert!(of("a").starts_with("z%~"));
        assert_eq!(of("e"), "z2");
    }
}
