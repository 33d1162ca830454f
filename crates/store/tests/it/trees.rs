//! The folders of whole accounts.

use std::path::{Path, PathBuf};

use cms_engine::MaildirId;
use cms_store::{Database, TreeFolderRecord, TreePlace, TreeStanding};
use tempfile::TempDir;

fn place<'a>(folder: &'a str, name: &'a str, directory: &'a str) -> TreePlace<'a> {
    TreePlace {
        account: "user",
        tree: "user",
        folder,
        name,
        root: Path::new("/mail"),
        directory: Path::new(directory),
        standing: TreeStanding::Synced,
    }
}

fn path_of(database: &Database, maildir: MaildirId) -> PathBuf {
    database.maildirs().unwrap().into_iter().find(|(id, _)| *id == maildir).unwrap().1
}

fn find<'a>(folders: &'a [TreeFolderRecord], folder: &str) -> &'a TreeFolderRecord {
    folders.iter().find(|known| known.folder == folder).unwrap()
}

#[test]
fn a_folder_keeps_its_mailbox_and_maildir_whatever_it_is_called() {
    let directory = TempDir::new().unwrap();
    let mut database = Database::open(directory.path()).unwrap();
    database.place_tree_folders(&[place("A", "one", "one"), place("B", "two", "two")]).unwrap();
    let before = database.tree_folders().unwrap();
    // They change names with each other, and a third one comes to a name that is free by that.
    database
        .place_tree_folders(&[place("A", "two", "two"), place("B", "three", "three"), place("C", "one", "one")])
        .unwrap();
    drop(database);
    let database = Database::open(directory.path()).unwrap();
    let after = database.tree_folders().unwrap();
    for (folder, name) in [("A", "two"), ("B", "three")] {
        let (was, is) = (find(&before, folder), find(&after, folder));
        assert_eq!((was.mailbox, was.maildir), (is.mailbox, is.maildir));
        assert_eq!((is.name.as_str(), path_of(&database, is.maildir)), (name, Path::new("/mail").join(name)));
    }
    assert_eq!(after.len(), 3);
    let new = find(&after, "C");
    assert!(before.iter().all(|was| was.mailbox != new.mailbox && was.maildir != new.maildir));
    assert_eq!(path_of(&database, new.maildir), Path::new("/mail/one"));
}

#[test]
fn a_folder_that_was_a_mailbox_by_itself_goes_on_as_that_one() {
    let directory = TempDir::new().unwrap();
    let mut database = Database::open(directory.path()).unwrap();
    let inbox = database.mailbox_id("user", "inbox").unwrap();
    database.set_folder(inbox, "I").unwrap();
    let stale = database.mailbox_id("user", "Lists").unwrap();
    database.set_folder(stale, "another folder").unwrap();
    let maildir = database.maildir_id(Path::new("/mail/Inbox")).unwrap();
    database.place_tree_folders(&[place("I", "Inbox", "Inbox"), place("L", "Lists", "Lists")]).unwrap();
    let folders = database.tree_folders().unwrap();
    assert_eq!((find(&folders, "I").mailbox, find(&folders, "I").maildir), (inbox, maildir));
    assert_ne!(find(&folders, "L").mailbox, stale, "a name alone makes no folder the same");
}

#[test]
fn below_another_root_a_folder_is_another_maildir() {
    let directory = TempDir::new().unwrap();
    let mut database = Database::open(directory.path()).unwrap();
    database.place_tree_folders(&[place("A", "one", "one")]).unwrap();
    let before = database.tree_folders().unwrap();
    let elsewhere = TreePlace { root: Path::new("/other"), ..place("A", "one", "one") };
    database.place_tree_folders(&[elsewhere]).unwrap();
    let after = database.tree_folders().unwrap();
    assert_eq!(before[0].mailbox, after[0].mailbox);
    assert_ne!(before[0].maildir, after[0].maildir);
    assert_eq!(path_of(&database, after[0].maildir), Path::new("/other/one"));
    assert_eq!(path_of(&database, before[0].maildir), Path::new("/mail/one"));
}

#[test]
fn a_database_of_the_version_before_is_brought_to_this_one() {
    let directory = TempDir::new().unwrap();
    let connection = rusqlite::Connection::open(Database::path(directory.path())).unwrap();
    for step in [
        include_str!("../../src/database/schema_1.sql"),
        include_str!("../../src/database/schema_2.sql"),
        include_str!("../../src/database/schema_3.sql"),
        include_str!("../../src/database/schema_4.sql"),
        include_str!("../../src/database/schema_5.sql"),
        include_str!("../../src/database/schema_6.sql"),
    ] {
        connection.execute_batch(step).unwrap();
    }
    connection.execute("INSERT INTO mailboxes (account, name) VALUES ('user', 'inbox')", []).unwrap();
    let message = "INSERT INTO cloud (remote_id, mailbox, flags, received, attempts) VALUES ('A', 1, 0, 0, 0)";
    connection.execute(message, []).unwrap();
    connection.pragma_update(None, "user_version", 6).unwrap();
    drop(connection);
    let reader = Database::open_read_only(directory.path()).unwrap().unwrap();
    assert_eq!(reader.tree_folders().unwrap(), [], "who only reads needs no new version");
    let mut sizes = Vec::new();
    reader.load_cloud(|record| sizes.push(record.size)).unwrap();
    assert_eq!(sizes, [None]);
    drop(reader);
    let mut database = Database::open(directory.path()).unwrap();
    assert_eq!(database.mailboxes().unwrap().len(), 1);
    database.place_tree_folders(&[place("A", "one", "one")]).unwrap();
    assert_eq!(database.tree_folders().unwrap().len(), 1);
}
