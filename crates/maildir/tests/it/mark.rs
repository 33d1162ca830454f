use std::fs;

use cms_maildir::Maildir;

#[test]
fn a_mark_is_kept_and_is_no_message() {
    let directory = tempfile::tempdir().unwrap();
    let maildir = Maildir::create(directory.path().join("INBOX")).unwrap();
    assert_eq!(maildir.mark().unwrap(), None);
    maildir.set_mark("one").unwrap();
    maildir.set_mark("another").unwrap();
    assert_eq!(Maildir::open(maildir.path()).unwrap().mark().unwrap().as_deref(), Some("another"));
    assert!(maildir.scan().unwrap().entries.is_empty());
    let names: Vec<_> = fs::read_dir(maildir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn what_is_no_mark_is_none_and_a_missing_maildir_has_none_either() {
    let directory = tempfile::tempdir().unwrap();
    let maildir = Maildir::create(directory.path().join("INBOX")).unwrap();
    fs::write(maildir.path().join(".cms-maildir"), "\n").unwrap();
    assert_eq!(maildir.mark().unwrap(), None);
    fs::write(maildir.path().join(".cms-maildir"), "x".repeat(10_000)).unwrap();
    assert_eq!(maildir.mark().unwrap().unwrap().len(), 64);
    fs::remove_dir_all(maildir.path()).unwrap();
    assert!(maildir.mark().is_err(), "that nothing is there says nothing");
}

#[test]
fn another_directory_has_another_identity() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("INBOX");
    let maildir = Maildir::create(&path).unwrap();
    let before = maildir.identity().unwrap();
    assert_eq!(maildir.identity().unwrap(), before);
    fs::rename(&path, directory.path().join("away")).unwrap();
    assert_ne!(Maildir::create(&path).unwrap().identity().unwrap(), before);
}
