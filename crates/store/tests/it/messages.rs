use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use cms_engine::ContentHash;
use cms_store::StoreError;
use tempfile::TempDir;

use crate::Fixture;

const MESSAGE: &[u8] = b"Subject: x\nTo: y\n\nbody\n";

#[test]
fn a_local_file_is_taken_in_as_a_further_name() {
    let fixture = Fixture::new();
    let file = fixture.directory.path().join("local");
    fs::write(&file, MESSAGE).unwrap();
    let hash = ContentHash::of(MESSAGE);
    fixture.store.adopt(&file, &hash).unwrap();
    fixture.store.adopt(&file, &hash).unwrap();
    assert_eq!(fs::metadata(fixture.store.path_of(&hash)).unwrap().ino(), fs::metadata(&file).unwrap().ino());
    assert_eq!(fs::metadata(&file).unwrap().nlink(), 2);
    assert_eq!(fixture.incoming_names(), [""; 0]);
    fixture.store.flush().unwrap();
}

#[test]
fn a_local_file_elsewhere_is_copied() {
    let fixture = Fixture::new();
    let device = |path: &std::path::Path| fs::metadata(path).unwrap().dev();
    let Some(other) =
        TempDir::new_in("/dev/shm").ok().filter(|other| device(other.path()) != device(fixture.directory.path()))
    else {
        println!("skipped: needs a second file system");
        return;
    };
    fs::create_dir(other.path().join("tmp")).unwrap();
    assert!(!fixture.store.probe_same_file_system(other.path()));
    let file = other.path().join("local");
    fs::write(&file, MESSAGE).unwrap();
    let hash = ContentHash::of(MESSAGE);
    fixture.store.adopt(&file, &hash).unwrap();
    assert_eq!(fs::read(fixture.store.path_of(&hash)).unwrap(), MESSAGE);
    assert_eq!(fixture.incoming_names(), [""; 0]);
}

#[test]
fn what_is_no_file_is_not_taken_in() {
    let fixture = Fixture::new();
    let empty = fixture.directory.path().join("empty");
    fs::write(&empty, "").unwrap();
    for file in [empty, fixture.directory.path().join("nothing"), fixture.directory.path().to_owned()] {
        let error = fixture.store.adopt(&file, &ContentHash::of(b"")).unwrap_err();
        assert!(matches!(error, StoreError::NotAMessage { .. }), "{error}");
    }
    assert!(!fixture.store.contains(&ContentHash::of(b"")));
}

#[test]
fn the_header_ends_at_the_first_empty_line_or_at_its_limit() {
    let fixture = Fixture::new();
    let long = [b"Subject: x\n".to_vec(), vec![b'x'; 2 * 1024 * 1024]].concat();
    for (message, header) in [
        (MESSAGE, &b"Subject: x\nTo: y\n"[..]),
        (b"Subject: x", b"Subject: x"),
        (b"\nbody\n", b""),
        (&long, &long[..1024 * 1024]),
    ] {
        let stored = fixture.download("AAkA", message);
        assert!(fixture.store.header(&stored.hash).unwrap() == header);
    }
    let error = fixture.store.header(&ContentHash::of(b"unknown")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn the_probe_links_and_leaves_nothing() {
    let fixture = Fixture::new();
    let maildir = fixture.directory.path().join("INBOX");
    assert!(!fixture.store.probe_same_file_system(&maildir));
    fs::create_dir_all(maildir.join("tmp")).unwrap();
    for left_before in [false, true] {
        if left_before {
            fs::write(maildir.join("tmp/.cms-probe"), "").unwrap();
        }
        assert!(fixture.store.probe_same_file_system(&maildir));
        assert_eq!(fs::read_dir(maildir.join("tmp")).unwrap().count(), 0);
    }
    assert_eq!(fixture.incoming_names(), [""; 0]);
}

#[test]
fn releasing_takes_only_what_no_maildir_holds() {
    let fixture = Fixture::new();
    let stored = fixture.download("AAkA", MESSAGE);
    let file = fixture.deliver(&stored.hash, "delivered");
    assert!(!fixture.store.release(&stored.hash).unwrap());
    assert!(fixture.store.contains(&stored.hash));
    fs::remove_file(file).unwrap();
    assert!(fixture.store.release(&stored.hash).unwrap());
    assert!(!fixture.store.release(&stored.hash).unwrap());
    assert!(!fixture.store.contains(&stored.hash));
}

#[test]
fn what_somebody_wrote_into_is_stored_as_what_it_is_now() {
    let fixture = Fixture::new();
    let stored = fixture.download("AAkA", MESSAGE);
    assert!(!fixture.store.is_shared(&stored.hash).unwrap());
    let file = fixture.deliver(&stored.hash, "delivered");
    assert!(fixture.store.is_shared(&stored.hash).unwrap());
    assert!(!fixture.store.rename_altered(&stored.hash).unwrap());
    let edited = [MESSAGE, b"edited\n"].concat();
    fs::write(&file, &edited).unwrap();
    assert!(fixture.store.rename_altered(&stored.hash).unwrap());
    assert!(!fixture.store.contains(&stored.hash));
    let now = ContentHash::of(&edited);
    assert_eq!(fs::read(fixture.store.path_of(&now)).unwrap(), edited);
    // The original can be stored again.
    assert_eq!(fixture.download("AAkA", MESSAGE).hash, stored.hash);
    assert_eq!(fs::read(file).unwrap(), edited);
}

#[test]
fn f25_a_message_goes_out_with_the_line_ends_of_the_wire() {
    let fixture = Fixture::new();
    let file = fixture.directory.path().join("local");
    // Longer than what is read at a time, with an odd length of lines.
    let message = [&b"Subject: \xe4\n\n"[..], &b"seventeen bytes \n".repeat(20_000)].concat();
    fs::write(&file, &message).unwrap();
    let hash = ContentHash::of(&message);
    fixture.store.adopt(&file, &hash).unwrap();
    let mut sent = Vec::new();
    fixture.store.outgoing(&hash).unwrap().read_to_end(&mut sent).unwrap();
    assert_eq!(String::from_utf8_lossy(&sent), String::from_utf8_lossy(&message).replace('\n', "\r\n"));
    assert_eq!(fixture.store.wire_size_of(&hash).unwrap(), sent.len() as u64);
}

#[test]
fn what_a_program_wrote_over_is_not_sent_as_the_message() {
    let fixture = Fixture::new();
    let file = fixture.directory.path().join("local");
    fs::write(&file, MESSAGE).unwrap();
    let hash = ContentHash::of(MESSAGE);
    fixture.store.adopt(&file, &hash).unwrap();
    fs::write(&file, b"Subject: another\n\n").unwrap();
    let error = fixture.store.outgoing(&hash).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}
