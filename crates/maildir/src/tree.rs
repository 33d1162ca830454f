//! Directories that hold Maildirs: which of them are there, by their marks, and how one gets another name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::mark::NAME;
use crate::{Maildir, MaildirError};

/// What belongs to a Maildir itself, in the order in which it is moved: without the last of them it is none of ours.
const PARTS: [&str; 4] = ["tmp", "new", "cur", NAME];

/// How deep Maildirs are looked for.
pub(crate) const DEPTH: usize = 64;

/// What there is below a directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Below {
    /// The Maildirs with a mark, by the id in it: where they are, relative to the directory. The first of several with one id.
    pub marked: BTreeMap<String, PathBuf>,
    /// Those without one.
    pub unmarked: Vec<PathBuf>,
}

/// Looks for Maildirs at and below a directory. One that isn't there holds none.
pub fn maildirs_below(root: &Path) -> Result<Below, MaildirError> {
    let mut below = Below::default();
    let mut unvisited = vec![(PathBuf::new(), 0)];
    while let Some((relative, depth)) = unvisited.pop() {
        let path = join(root, &relative);
        match Maildir::open(&path) {
            Ok(maildir) => match maildir.mark()? {
                Some(mark) => drop(below.marked.entry(mark).or_insert_with(|| relative.clone())),
                None => below.unmarked.push(relative.clone()),
            },
            Err(MaildirError::NotAMaildir { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut names = subdirectories(&path)?;
        if depth < DEPTH {
            names.sort_unstable_by(|a, b| b.cmp(a));
            unvisited.extend(names.into_iter().map(|name| (relative.join(name), depth + 1)));
        }
    }
    Ok(below)
}

/// Whether a name is that of a part of a Maildir.
pub(crate) fn is_part(name: &OsStr) -> bool {
    PARTS.iter().any(|part| name == *part)
}

/// The directories in a directory that may be Maildirs or hold some. One that isn't there holds none.
pub(crate) fn subdirectories(path: &Path) -> Result<Vec<OsString>, MaildirError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(MaildirError::io("list", path, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| MaildirError::io("list", path, error))?;
        // Links lead out of the tree, or in circles.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !is_part(&entry.file_name()) {
            names.push(entry.file_name());
        }
    }
    Ok(names)
}

/// Gives a Maildir's directory another place, with all that is in it. Where there is a directory already, what is in the old
/// one goes into it as far as nothing is in its way.
pub fn move_directory(from: &Path, to: &Path) -> Result<(), MaildirError> {
    let failed = |error| MaildirError::io("move", from, error);
    if let Some(parent) = to.parent() {
        cms_disk::create_private_directories(parent).map_err(|error| MaildirError::io("create", parent, error))?;
    }
    // An empty directory is replaced by a rename.
    match cms_disk::rename(from, to) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
            merge(from, to).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    for parent in [from.parent(), to.parent()].into_iter().flatten() {
        cms_disk::sync_directory(parent).map_err(|error| MaildirError::io("flush", parent, error))?;
    }
    Ok(())
}

fn merge(from: &Path, to: &Path) -> io::Result<()> {
    let mut names: Vec<_> =
        fs::read_dir(from)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
    let place = |name: &std::ffi::OsString| PARTS.iter().position(|part| name == part).map_or(0, |at| at + 1);
    names.sort_by_key(|name| (place(name), name.clone()));
    for name in names {
        cms_disk::rename_without_replacing(&from.join(&name), &to.join(&name))?;
    }
    cms_disk::sync_directory(to)?;
    fs::remove_dir(from)
}

/// Takes a Maildir away that holds nothing. Whether it did comes back: what nobody knows of stays, and all with it.
pub fn remove_empty_maildir(path: &Path) -> Result<bool, MaildirError> {
    let failed = |error| MaildirError::io("remove", path, error);
    for part in ["cur", "new", "tmp"] {
        match fs::read_dir(path.join(part)) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Ok(false);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    for part in ["cur", "new", "tmp"] {
        match fs::remove_dir(path.join(part)) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(false),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    match cms_disk::remove_file(&path.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    // Other Maildirs may be in it.
    let _ = fs::remove_dir(path);
    Ok(true)
}

/// Takes directories away that hold nothing, from one upwards as far as the root, which stays.
pub fn remove_empty_directories(root: &Path, mut path: &Path) {
    let is_gone = |path: &Path| match fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    while path != root && path.starts_with(root) && is_gone(path) {
        let Some(parent) = path.parent() else { return };
        path = parent;
    }
}

fn join(root: &Path, relative: &Path) -> PathBuf {
    if relative.as_os_str().is_empty() { root.to_owned() } else { root.join(relative) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn maildir(path: &Path, mark: &str) {
        Maildir::create(path).unwrap().set_mark(mark).unwrap();
    }

    #[test]
    fn maildirs_are_found_by_their_marks_wherever_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        maildir(&root.join("a"), "A");
        maildir(&root.join("a/b"), "B");
        Maildir::create(root.join("c/d")).unwrap();
        std::os::unix::fs::symlink(root, root.join("loop")).unwrap();
        let below = maildirs_below(root).unwrap();
        assert_eq!(below.marked, [("A".to_owned(), "a".into()), ("B".to_owned(), "a/b".into())].into());
        assert_eq!(below.unmarked, [PathBuf::from("c/d")]);
        assert_eq!(maildirs_below(&root.join("none")).unwrap(), Below::default());
    }

    #[test]
    fn a_maildir_goes_into_a_directory_that_only_holds_others() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        maildir(&root.join("a"), "A");
        fs::write(root.join("a/cur/x"), "x").unwrap();
        maildir(&root.join("b/c"), "C");
        move_directory(&root.join("a"), &root.join("b")).unwrap();
        let below = maildirs_below(root).unwrap();
        assert_eq!(below.marked, [("A".to_owned(), "b".into()), ("C".to_owned(), "b/c".into())].into());
        assert!(root.join("b/cur/x").exists() && !root.join("a").exists());
    }

    #[test]
    fn what_is_in_a_maildir_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        maildir(&root.join("a"), "A");
        fs::write(root.join("a/new/x"), "x").unwrap();
        assert!(!remove_empty_maildir(&root.join("a")).unwrap());
        assert!(root.join("a/cur").exists());
        fs::remove_file(root.join("a/new/x")).unwrap();
        maildir(&root.join("a/b"), "B");
        assert!(remove_empty_maildir(&root.join("a")).unwrap());
        assert!(Maildir::open(root.join("a/b")).is_ok() && !root.join("a/cur").exists());
        assert!(remove_empty_maildir(&root.join("a/b")).unwrap());
        // The Maildir's own directory went with it.
        remove_empty_directories(root, &root.join("a/b"));
        assert!(!root.join("a").exists() && root.exists());
    }
}
