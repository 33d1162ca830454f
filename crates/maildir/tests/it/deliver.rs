use std::fs;

use cms_engine::{ContentHash, UnixSeconds};
use cms_maildir::{How, Maildir, MaildirError, hash_file};

use crate::{Fixture, base, elsewhere, flags, names};

const THEN: UnixSeconds = UnixSeconds(1_700_000_000);

/// Delivers into an empty Maildir and compares the only name there afterwards.
fn check(letters: &str, others: &str, expected: &str) {
    let fixture = Fixture::new();
    let source = fixture.stored("message", "Subject: x\n\n");
    let done = fixture.maildir.deliver(&source, &base("1.R1.vm"), flags(letters), others, THEN).unwrap();
    assert_eq!(fixture.names(), [expected]);
    assert_eq!(format!("{}/{}", done.place, done.name.on_disk()), expected);
    assert_eq!((done.how, done.facts.mtime, done.facts.links), (How::Linked, THEN, 2));
}

#[test]
fn unseen_messages_are_new_and_others_current() {
    check("", "", "new/1.R1.vm");
    check("S", "", "cur/1.R1.vm:2,S");
    check("F", "", "cur/1.R1.vm:2,F");
    check("", "a", "cur/1.R1.vm:2,a");
    check("TSF", "ba", "cur/1.R1.vm:2,FSTab");
}

#[test]
fn a_delivery_repeated_after_a_crash_is_one_delivery() {
    let fixture = Fixture::new();
    let source = fixture.stored("message", "Subject: x\n\n");
    for renamed in ["new/1.R1.vm", "cur/1.R1.vm:2,", "cur/1.R1.vm:2,RSa", "new/1.R1.vm:2,T"] {
        // Each round is a new process, which finds what the one before left and a reader renamed.
        let maildir = Maildir::open(fixture.maildir.path()).unwrap();
        let done = maildir.deliver(&source, &base("1.R1.vm"), flags(""), "", THEN).unwrap();
        let again = maildir.deliver(&source, &base("1.R1.vm"), flags("F"), "", THEN).unwrap();
        assert_eq!((again.how, again.place, &again.name), (How::AlreadyThere, done.place, &done.name));
        assert_eq!(fixture.names().len(), 1);
        fs::rename(maildir.path_of(done.place, &done.name), maildir.path().join(renamed)).unwrap();
    }
}

#[test]
fn a_message_that_a_reader_removed_is_delivered_again() {
    let fixture = Fixture::new();
    let source = fixture.stored("message", "Subject: x\n\n");
    let done = fixture.maildir.deliver(&source, &base("1.R1.vm"), flags("S"), "", THEN).unwrap();
    fs::remove_file(fixture.maildir.path_of(done.place, &done.name)).unwrap();
    let again = fixture.maildir.deliver(&source, &base("1.R1.vm"), flags("S"), "", THEN).unwrap();
    assert_eq!(again.how, How::Linked);
}

#[test]
fn the_same_bytes_in_another_file_count_as_delivered_and_other_bytes_as_taken() {
    let fixture = Fixture::new();
    let source = fixture.stored("message", "Subject: x\n\n");
    fixture.put("cur/1.R1.vm:2,S", "Subject: x\n\n");
    fixture.put("cur/2.R2.vm:2,S", "Subject: y\n\n");
    let done = fixture.maildir.deliver(&source, &base("1.R1.vm"), flags(""), "", THEN).unwrap();
    assert_eq!((done.how, done.name.on_disk()), (How::AlreadyThere, "1.R1.vm:2,S".to_owned()));
    let error = fixture.maildir.deliver(&source, &base("2.R2.vm"), flags(""), "", THEN).unwrap_err();
    assert!(matches!(error, MaildirError::NameTaken { .. }), "{error}");
    assert_eq!(fixture.names(), ["cur/1.R1.vm:2,S", "cur/2.R2.vm:2,S"]);
}

#[test]
fn a_file_that_came_under_the_very_name_since_the_listing_is_not_overwritten() {
    let fixture = Fixture::new();
    let source = fixture.stored("message", "Subject: x\n\n");
    fixture.maildir.deliver(&source, &base("0.R0.vm"), flags("S"), "", THEN).unwrap();
    let taken = fixture.put("cur/1.R1.vm:2,S", "another");
    let error = fixture.maildir.deliver(&source, &base("1.R1.vm"), flags("S"), "", THEN).unwrap_err();
    assert!(matches!(error, MaildirError::NameTaken { .. }), "{error}");
    assert_eq!(fs::read_to_string(taken).unwrap(), "another");
}

#[test]
fn f28_twins_are_two_files_and_keep_their_own_times() {
    let fixture = Fixture::new();
    let source = fixture.stored("message", "Subject: x\n\n");
    let later = UnixSeconds(THEN.0 + 60);
    let one = fixture.maildir.deliver(&source, &base("1.R1.vm"), flags("S"), "", THEN).unwrap();
    let same_time = fixture.maildir.deliver(&source, &base("2.R2.vm"), flags(""), "", THEN).unwrap();
    let other_time = fixture.maildir.deliver(&source, &base("3.R3.vm"), flags(""), "", later).unwrap();
    assert_eq!([one.how, same_time.how, other_time.how], [How::Linked, How::Copied, How::Copied]);
    // Who writes into one of them doesn't write into another.
    assert_ne!(one.facts.inode, same_time.facts.inode);
    assert_ne!(one.facts.inode, other_time.facts.inode);
    let time = |done: &cms_maildir::Delivered| fixture.maildir.inspect(done.place, &done.name).unwrap().unwrap().mtime;
    assert_eq!([time(&one), time(&same_time), time(&other_time)], [THEN, THEN, later]);
    assert_eq!(fixture.names(), ["cur/1.R1.vm:2,S", "new/2.R2.vm", "new/3.R3.vm"]);
    fixture.maildir.sync_directories().unwrap();
}

#[test]
fn without_a_common_file_system_the_message_is_copied_once() {
    let fixture = Fixture::new();
    let Some(other) = elsewhere(fixture.directory.path()) else { return };
    let source = other.path().join("message");
    fs::write(&source, "Subject: x\n\n").unwrap();
    // What an interrupted copy leaves.
    fixture.put("tmp/1.R1.vm", "Subj");
    let done = fixture.maildir.deliver(&source, &base("1.R1.vm"), flags("S"), "", THEN).unwrap();
    assert_eq!((done.how, done.facts.mtime), (How::Copied, THEN));
    assert_eq!(
        hash_file(&fixture.maildir.path_of(done.place, &done.name)).unwrap(),
        ContentHash::of(b"Subject: x\n\n")
    );
    let again = fixture.maildir.deliver(&source, &base("1.R1.vm"), flags(""), "", THEN).unwrap();
    assert_eq!(again.how, How::AlreadyThere);
    assert_eq!(fixture.names(), ["cur/1.R1.vm:2,S"]);
}

#[test]
fn what_is_missing_is_named() {
    let fixture = Fixture::new();
    let missing = fixture.directory.path().join("nothing");
    let error = fixture.maildir.deliver(&missing, &base("1.R1.vm"), flags(""), "", THEN).unwrap_err();
    assert!(matches!(error, MaildirError::SourceMissing { path } if path == missing));

    let source = fixture.stored("message", "Subject: x\n\n");
    fs::remove_dir(fixture.maildir.path().join("cur")).unwrap();
    let error = fixture.maildir.deliver(&source, &base("1.R1.vm"), flags("S"), "", THEN).unwrap_err();
    assert!(matches!(error, MaildirError::NotAMaildir { missing: "cur", .. }), "{error}");
    fs::create_dir(fixture.maildir.path().join("cur")).unwrap();

    let long = "x".repeat(300);
    let error = fixture.maildir.deliver(&source, &base(&long), flags("S"), "", THEN).unwrap_err();
    assert!(matches!(error, MaildirError::Io { .. }) && !error.is_disk_full(), "{error}");
    assert_eq!(names(&fixture.maildir), [""; 0]);
}
