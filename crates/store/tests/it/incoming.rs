use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use cms_engine::ContentHash;
use cms_store::{Lock, Store, StoreError};

use crate::{Fixture, id};

const RAW: &[u8] = b"Subject: x\r\n\r\nbody\r\n";
const LF: &[u8] = b"Subject: x\n\nbody\n";

#[test]
fn a_download_is_stored_in_lf_form_under_its_hash() {
    let fixture = Fixture::new();
    let mut incoming = fixture.store.incoming(&id("AAkA")).unwrap();
    for piece in RAW.chunks(3) {
        incoming.write(piece).unwrap();
    }
    assert_eq!(incoming.raw_bytes(), RAW.len() as u64);
    let stored = incoming.finish().unwrap();
    assert_eq!((stored.hash, stored.size), (ContentHash::of(LF), LF.len() as u64));
    let path = fixture.store.path_of(&stored.hash);
    assert_eq!(fs::read(&path).unwrap(), LF);
    assert!(fixture.store.contains(&stored.hash));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.clone()), 0o600);
    assert_eq!(mode(path.parent().unwrap().to_owned()), 0o700);
    assert_eq!(mode(fixture.state_dir().to_owned()), 0o700);
    assert_eq!(mode(fixture.state_dir().join("incoming")), 0o700);
}

#[test]
fn a_transfer_that_begins_again_forgets_what_came_before() {
    let fixture = Fixture::new();
    let mut incoming = fixture.store.incoming(&id("AAkA")).unwrap();
    incoming.write(b"<html> and much longer than the message that comes then\r").unwrap();
    incoming.restart().unwrap();
    incoming.write(RAW).unwrap();
    assert_eq!(incoming.raw_bytes(), RAW.len() as u64);
    let stored = incoming.finish().unwrap();
    assert_eq!(fs::read(fixture.store.path_of(&stored.hash)).unwrap(), LF);
}

#[test]
fn f16_what_is_no_message_is_refused_and_leaves_nothing() {
    let fixture = Fixture::new();
    for body in [&b""[..], b"\r\n", b"<!DOCTYPE html>\r\n<html>", b"{\"error\": {}}", b"Bad gateway\r\n"] {
        let mut incoming = fixture.store.incoming(&id("AAkA")).unwrap();
        incoming.write(body).unwrap();
        let error = incoming.finish().unwrap_err();
        assert!(matches!(error, StoreError::NotAMessage { .. }), "{error}");
        assert!(!fixture.store.contains(&ContentHash::of(body)));
        assert_eq!(fixture.incoming_names(), [""; 0]);
        assert_eq!(fixture.store.finished_incoming(&id("AAkA")).unwrap(), None);
    }
}

#[test]
fn a_download_that_is_given_up_leaves_nothing() {
    let fixture = Fixture::new();
    let mut incoming = fixture.store.incoming(&id("AAkA")).unwrap();
    incoming.write(RAW).unwrap();
    drop(incoming);
    assert_eq!(fixture.incoming_names(), [""; 0]);
}

#[test]
fn many_downloads_are_made_durable_by_one_flush() {
    let fixture = Fixture::new();
    let mut incoming = fixture.store.incoming(&id("AAkA")).unwrap();
    incoming.write(RAW).unwrap();
    let stored = incoming.finish_unflushed().unwrap();
    fixture.store.flush().unwrap();
    assert_eq!(fixture.store.finished_incoming(&id("AAkA")).unwrap(), Some(stored));
    let mut incoming = fixture.store.incoming(&id("AAka")).unwrap();
    incoming.write(b"{}").unwrap();
    assert!(matches!(incoming.finish_unflushed().unwrap_err(), StoreError::NotAMessage { .. }));
}

#[test]
fn a_complete_download_is_known_by_its_id_until_settled() {
    let fixture = Fixture::new();
    let stored = fixture.download("AAkA", RAW);
    let reopened = Store::open(fixture.state_dir()).unwrap();
    assert_eq!(reopened.finished_incoming(&id("AAkA")).unwrap(), Some(stored));
    assert_eq!(reopened.finished_incoming(&id("AAka")).unwrap(), None);
    reopened.settle(&id("AAkA")).unwrap();
    reopened.settle(&id("AAkA")).unwrap();
    assert_eq!(reopened.finished_incoming(&id("AAkA")).unwrap(), None);
    assert!(reopened.contains(&stored.hash));
}

/// So that it takes no block of its own.
#[test]
fn a_mark_fits_into_an_inode() {
    let fixture = Fixture::new();
    fixture.download("AAkA", RAW);
    let target = fs::read_link(fixture.mark()).unwrap();
    assert!(target.as_os_str().len() < 60, "{}", target.display());
}

#[test]
fn a_mark_that_an_earlier_version_left_is_understood() {
    let fixture = Fixture::new();
    let stored = fixture.download("AAkA", RAW);
    let mark = fixture.mark();
    fs::remove_file(&mark).unwrap();
    let hex = stored.hash.to_string();
    symlink(format!("../messages/{}/{}", &hex[..2], &hex[2..]), &mark).unwrap();
    fs::rename(fixture.store.path_of(&stored.hash), mark.with_extension("part")).unwrap();
    fixture.store.recover(&Lock::acquire(fixture.state_dir()).unwrap()).unwrap();
    assert_eq!(fixture.store.finished_incoming(&id("AAkA")).unwrap(), Some(stored));
}

#[test]
fn of_completed_downloads_only_those_that_are_waited_for_stay_known() {
    let fixture = Fixture::new();
    for name in ["written down", "waited for", "of nobody"] {
        let mut incoming = fixture.store.incoming(&id(name)).unwrap();
        incoming.write(RAW).unwrap();
        incoming.finish().unwrap();
    }
    fixture.store.settle_all_but([id("waited for"), id("not begun")]).unwrap();
    let hash = ContentHash::of(LF);
    let found = |name| fixture.store.finished_incoming(&id(name)).unwrap().map(|stored| stored.hash);
    assert_eq!([found("written down"), found("waited for"), found("of nobody")], [None, Some(hash), None]);
    assert!(fixture.store.contains(&hash));
}

#[test]
fn two_messages_with_the_same_bytes_share_a_file() {
    let fixture = Fixture::new();
    let one = fixture.download("one", RAW);
    let path = fixture.deliver(&one.hash, "delivered");
    let two = fixture.download("two", LF);
    assert_eq!(one, two);
    assert_eq!(fixture.incoming_names(), ["mark", "mark"]);
    assert_eq!(fs::metadata(path).unwrap().nlink(), 2);
}

#[test]
fn f16_a_file_under_the_hash_that_is_something_else_is_replaced() {
    let fixture = Fixture::new();
    for damaged in [&b""[..], b"Subj", &[0; LF.len()]] {
        let stored = fixture.download("AAkA", RAW);
        let path = fixture.store.path_of(&stored.hash);
        fs::remove_file(&path).unwrap();
        fs::write(&path, damaged).unwrap();
        assert_eq!(fixture.store.contains(&stored.hash), !damaged.is_empty());
        assert_eq!(fixture.download("AAkA", RAW), stored);
        assert_eq!(fs::read(&path).unwrap(), LF);
    }
}

#[test]
fn f16_a_finished_download_whose_bytes_are_others_now_is_not_found() {
    let fixture = Fixture::new();
    let stored = fixture.download("AAkA", RAW);
    let path = fixture.store.path_of(&stored.hash);
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![0; LF.len()]).unwrap();
    assert_eq!(fixture.store.finished_incoming(&id("AAkA")).unwrap(), None);
    assert!(!fixture.store.contains(&stored.hash));
    assert_eq!(fixture.incoming_names(), [""; 0]);
}

/// The steps of a download, each state made as a kill right after it would leave it; then a start.
#[test]
fn killed_after_any_step_a_download_is_complete_or_gone() {
    let mut reached = Vec::new();
    for step in 0..5 {
        let fixture = Fixture::new();
        // Where a whole download leaves things.
        let stored = fixture.download("AAkA", RAW);
        let path = fixture.store.path_of(&stored.hash);
        let mark = fixture.mark();
        let part = mark.with_extension("part");
        match step {
            // Bytes are coming in.
            0 => {
                fs::remove_file(&mark).unwrap();
                fs::remove_file(&path).unwrap();
                fs::write(&part, &LF[..5]).unwrap();
            }
            // All bytes are there and flushed, which nobody can tell yet.
            1 => {
                fs::remove_file(&mark).unwrap();
                fs::rename(&path, &part).unwrap();
            }
            // The mark is there.
            2 => fs::rename(&path, &part).unwrap(),
            // In place.
            3 => {}
            // Settled.
            _ => fixture.store.settle(&id("AAkA")).unwrap(),
        }
        let store = Store::open(fixture.state_dir()).unwrap();
        store.recover(&Lock::acquire(fixture.state_dir()).unwrap()).unwrap();
        let found = store.finished_incoming(&id("AAkA")).unwrap();
        assert_eq!(store.contains(&stored.hash), step >= 2, "after step {step}");
        assert_eq!(fixture.incoming_names(), if matches!(step, 2 | 3) { vec!["mark"] } else { vec![] });
        reached.push(found.is_some());
    }
    assert_eq!(reached, [false, false, true, true, false]);
}

#[test]
fn f16_a_part_that_is_not_what_its_mark_says_is_removed() {
    let fixture = Fixture::new();
    let stored = fixture.download("AAkA", RAW);
    let mark = fixture.mark();
    fs::remove_file(fixture.store.path_of(&stored.hash)).unwrap();
    fs::write(mark.with_extension("part"), &LF[..5]).unwrap();
    fixture.store.recover(&Lock::acquire(fixture.state_dir()).unwrap()).unwrap();
    assert_eq!(fixture.incoming_names(), [""; 0]);
    assert!(!fixture.store.contains(&stored.hash));
}

/// Real and broken mail, one message per `.eml` file, in the directory that `CMS_MAIL_CORPUS` names.
#[test]
fn f24_every_message_of_a_corpus_is_stored_whatever_its_header_looks_like() {
    let Some(corpus) = std::env::var_os("CMS_MAIL_CORPUS") else {
        println!("skipped: needs CMS_MAIL_CORPUS, a directory of messages");
        return;
    };
    let fixture = Fixture::new();
    let mut seen = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "eml") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&path).unwrap();
        let mut incoming = fixture.store.incoming(&id(&name)).unwrap();
        for piece in bytes.chunks(1000) {
            incoming.write(piece).unwrap();
        }
        let stored = incoming.finish().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(fixture.store.contains(&stored.hash), "{name}");
        assert!(fixture.store.header(&stored.hash).unwrap().len() as u64 <= stored.size, "{name}");
        seen += 1;
    }
    assert!(seen > 0, "no .eml file in the corpus");
}
