use std::fs;

use cms_maildir::{Maildir, MaildirError, Place, Removal};

use crate::{Fixture, at, base, elsewhere, flags, names};

/// Sets flags on the only file and compares the name afterwards.
fn check(before: &str, letters: &str, after: &str) {
    let fixture = Fixture::new();
    fixture.put(before, "x");
    let (place, name) = at(before);
    let (place, name) = fixture.maildir.set_flags(place, &name, flags(letters)).unwrap();
    assert_eq!(format!("{place}/{}", name.on_disk()), after, "the name told for {before} with {letters}");
    assert_eq!(fixture.names(), [after], "the name on disk for {before} with {letters}");
}

#[test]
fn flags_are_set_by_renaming() {
    check("cur/1.a:2,", "S", "cur/1.a:2,S");
    check("cur/1.a:2,FS", "", "cur/1.a:2,");
    check("cur/1.a", "F", "cur/1.a:2,F");
    check("cur/1.a:2,bSa", "RS", "cur/1.a:2,RSab");
    check("cur/1.a:1,S", "F", "cur/1.a:2,F");
    check("cur/1.a,S=3,W=4:2,S", "T", "cur/1.a,S=3,W=4:2,T");
}

#[test]
fn a_new_message_that_gains_a_flag_goes_to_cur() {
    check("new/1.a", "S", "cur/1.a:2,S");
    check("new/1.a:2,", "F", "cur/1.a:2,F");
    check("new/1.a:2,T", "ST", "cur/1.a:2,ST");
    check("new/1.a:2,T", "", "new/1.a:2,");
}

#[test]
fn a_name_that_says_the_flags_already_is_left_alone() {
    check("cur/1.a:2,SS", "S", "cur/1.a:2,SS");
    check("cur/1.a", "", "cur/1.a");
    check("new/1.a:2,D", "D", "new/1.a:2,D");
}

#[test]
fn another_file_under_the_new_name_is_not_overwritten() {
    let fixture = Fixture::new();
    fixture.put("cur/1.a:2,", "mine");
    let taken = fixture.put("cur/1.a:2,S", "another");
    let (place, name) = at("cur/1.a:2,");
    let error = fixture.maildir.set_flags(place, &name, flags("S")).unwrap_err();
    assert!(matches!(error, MaildirError::NameTaken { path } if path == taken));
    assert_eq!(fs::read_to_string(taken).unwrap(), "another");
    assert_eq!(fixture.names().len(), 2);
}

#[test]
fn a_rename_that_another_program_began_as_a_link_is_finished() {
    let fixture = Fixture::new();
    let path = fixture.put("cur/1.a:2,", "x");
    fs::hard_link(path, fixture.maildir.path().join("cur/1.a:2,S")).unwrap();
    let (place, name) = at("cur/1.a:2,");
    fixture.maildir.set_flags(place, &name, flags("S")).unwrap();
    assert_eq!(fixture.names(), ["cur/1.a:2,S"]);
}

#[test]
fn a_file_that_was_renamed_meanwhile_has_vanished() {
    let fixture = Fixture::new();
    fixture.put("cur/1.a:2,F", "x");
    let (place, name) = at("cur/1.a:2,");
    for letters in ["S", ""] {
        let error = fixture.maildir.set_flags(place, &name, flags(letters)).unwrap_err();
        assert!(matches!(error, MaildirError::Vanished { .. }), "{error}");
    }
    let (_, there) = at("cur/1.a:2,F");
    let facts = fixture.maildir.inspect(place, &there).unwrap().unwrap();
    let removal = fixture.maildir.remove(place, &name, &facts).unwrap();
    assert_eq!(removal, Removal::Gone, "it isn't there under that name");
    assert_eq!(fixture.names(), ["cur/1.a:2,F"]);
    fs::remove_dir_all(fixture.maildir.path().join("cur")).unwrap();
    let error = fixture.maildir.set_flags(place, &name, flags("S")).unwrap_err();
    assert!(matches!(error, MaildirError::NotAMaildir { missing: "cur", .. }), "{error}");
}

#[test]
fn removing_removes_one_name() {
    let fixture = Fixture::new();
    fixture.put("cur/1.a:2,", "x");
    fixture.put("new/2.b", "x");
    let (place, name) = at("cur/1.a:2,");
    let facts = fixture.maildir.inspect(place, &name).unwrap().unwrap();
    assert_eq!(fixture.maildir.remove(place, &name, &facts).unwrap(), Removal::Done);
    assert_eq!(fixture.maildir.remove(place, &name, &facts).unwrap(), Removal::Gone);
    assert_eq!(fixture.names(), ["new/2.b"]);
    assert!(fixture.maildir.taken_aside().unwrap().is_empty());
}

#[test]
fn a_file_that_took_the_name_of_one_that_is_to_be_removed_stays() {
    let fixture = Fixture::new();
    for file in ["cur/1.a:2,S", "new/2.b"] {
        fixture.put(file, "x");
        let (place, name) = at(file);
        let facts = fixture.maildir.inspect(place, &name).unwrap().unwrap();
        let path = fixture.maildir.path().join(file);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another one").unwrap();
        assert_eq!(fixture.maildir.remove(place, &name, &facts).unwrap(), Removal::Another);
        assert_eq!(fs::read(&path).unwrap(), b"another one");
        // So does one that somebody has written to.
        let facts = fixture.maildir.inspect(place, &name).unwrap().unwrap();
        fs::write(&path, "and more of it").unwrap();
        assert_eq!(fixture.maildir.remove(place, &name, &facts).unwrap(), Removal::Another);
        assert_eq!(fs::read(&path).unwrap(), b"and more of it");
    }
}

#[test]
fn what_was_taken_aside_is_found_and_put_back_beside_what_is_there_by_now() {
    let fixture = Fixture::new();
    let aside = fixture.maildir.path().join("tmp/.cms-removed.cur.1.a:2,S");
    fs::write(&aside, "x").unwrap();
    fixture.put("cur/1.a:2,S", "y");
    assert_eq!(fixture.maildir.taken_aside().unwrap(), std::slice::from_ref(&aside));
    fixture.maildir.put_back(&aside).unwrap();
    assert_eq!(fixture.names(), ["cur/1.a.1:2,S", "cur/1.a:2,S"]);
    assert_eq!(fs::read(fixture.maildir.path().join("cur/1.a.1:2,S")).unwrap(), b"x");
}

#[test]
fn a_name_that_leaves_no_room_for_more_can_be_removed() {
    let fixture = Fixture::new();
    let file = format!("cur/{}:2,S", "x".repeat(250));
    fixture.put(&file, "x");
    let (place, name) = at(&file);
    let facts = fixture.maildir.inspect(place, &name).unwrap().unwrap();
    assert_eq!(fixture.maildir.remove(place, &name, &facts).unwrap(), Removal::Done);
    assert!(fixture.names().is_empty());
}

#[test]
fn a_move_keeps_the_base_name_and_overwrites_nothing() {
    let fixture = Fixture::new();
    let target = Maildir::create(fixture.directory.path().join("Lists")).unwrap();
    for (from, letters, to) in [
        ("cur/1.a:2,Sa", "FS", "cur/1.a:2,FSa"),
        ("new/2.b", "", "new/2.b"),
        ("cur/3.c:2,", "", "cur/3.c:2,"),
        ("new/4.d", "S", "cur/4.d:2,S"),
    ] {
        fixture.put(from, from);
        let (place, name) = at(from);
        let (place, name) = fixture.maildir.move_to(place, &name, &target, &name.base_name, flags(letters)).unwrap();
        assert_eq!(format!("{place}/{}", name.on_disk()), to);
        assert_eq!(fs::read_to_string(target.path_of(place, &name)).unwrap(), from);
    }
    assert_eq!(fixture.names(), [""; 0]);
    assert_eq!(names(&target).len(), 4);

    fixture.put("cur/1.a:2,Sa", "another");
    let (place, name) = at("cur/1.a:2,Sa");
    let error = fixture.maildir.move_to(place, &name, &target, &name.base_name, flags("T")).unwrap_err();
    assert!(matches!(error, MaildirError::NameTaken { .. }), "the base name is taken, if with other flags: {error}");
    assert_eq!(fixture.names(), ["cur/1.a:2,Sa"]);
    // It goes in under another name, and stays the same file.
    let inode = fixture.maildir.inspect(place, &name).unwrap().unwrap().inode;
    let (place, name) = fixture.maildir.move_to(place, &name, &target, &base("1.a.1"), flags("T")).unwrap();
    assert_eq!(format!("{place}/{}", name.on_disk()), "cur/1.a.1:2,Ta");
    assert_eq!(target.inspect(place, &name).unwrap().unwrap().inode, inode);
}

#[test]
fn a_move_to_another_file_system_copies_and_keeps_the_time() {
    let fixture = Fixture::new();
    let Some(other) = elsewhere(fixture.directory.path()) else { return };
    let target = Maildir::create(other.path().join("Lists")).unwrap();
    fixture.put("cur/1.a:2,S", "content");
    let (place, name) = at("cur/1.a:2,S");
    let before = fixture.maildir.inspect(place, &name).unwrap().unwrap();
    let (place, name) = fixture.maildir.move_to(place, &name, &target, &name.base_name, flags("S")).unwrap();
    let after = target.inspect(place, &name).unwrap().unwrap();
    assert_eq!((place, after.size, after.mtime), (Place::Cur, before.size, before.mtime));
    assert_eq!((fixture.names().len(), names(&target)), (0, vec!["cur/1.a:2,S".to_owned()]));
}
