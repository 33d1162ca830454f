//! Real mail with all its oddities, carried without a byte changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use simcloud::{Actor, FlagChange, FlagStatus, Options};

use crate::shared::shared;
use crate::world::World;

/// The same bytes with every CRLF made LF.
fn lines_ended_by_lf(bytes: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            result.push(*byte);
        }
    }
    result
}

/// Content, letters and time of each message, sorted.
type Mail = Vec<(Vec<u8>, String, i64)>;

#[test]
fn every_message_arrives_as_it_was_but_for_line_ends() {
    let directory = shared("mail");
    if !directory.is_dir() {
        println!("skipped: needs {}", directory.display());
        return;
    }
    let world = World::with(Options { eml: Some(directory.clone()), ..Options::default() });
    let mut sources: Vec<PathBuf> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    sources.sort();
    assert!(sources.len() > 1);

    let mut ids: Vec<(i64, String)> = world
        .cloud
        .state("")
        .unwrap()
        .messages()
        .map(|message| (message.received_seconds, message.id.clone()))
        .collect();
    ids.sort();
    assert_eq!(ids.len(), sources.len());
    let change = |is_read, flag, replied, forwarded, actor| FlagChange {
        actor,
        is_read,
        flag,
        replied,
        forwarded,
        ..FlagChange::default()
    };
    let changes = [
        ("", FlagChange::default()),
        ("S", change(Some(true), None, None, None, Actor::Outlook)),
        ("F", change(None, Some(FlagStatus::Flagged), None, None, Actor::Outlook)),
        ("RS", change(Some(true), None, Some(true), None, Actor::Outlook)),
        ("R", change(None, None, Some(true), None, Actor::Imap)),
        ("FPS", change(Some(true), Some(FlagStatus::Flagged), None, Some(true), Actor::Outlook)),
        // Done with is not flagged any more.
        ("S", change(Some(true), Some(FlagStatus::Complete), None, None, Actor::Outlook)),
    ];
    let mut expected: Mail = Vec::new();
    for (number, ((received, id), source)) in ids.iter().zip(&sources).enumerate() {
        let (letters, change) = &changes[number % changes.len()];
        world.cloud.set_flags("", id, change.clone()).unwrap();
        expected.push((lines_ended_by_lf(&fs::read(source).unwrap()), (*letters).to_owned(), *received));
    }
    expected.sort();

    world.sync();
    let mut arrived: Mail = Vec::new();
    for name in world.files("INBOX") {
        let path = world.path("INBOX").join(&name);
        let letters = name.split_once(":2,").map_or("", |(_, letters)| letters);
        arrived.push((fs::read(&path).unwrap(), letters.to_owned(), fs::metadata(&path).unwrap().mtime()));
    }
    arrived.sort();
    for (arrived, expected) in arrived.iter().zip(&expected) {
        assert!(
            arrived.0 == expected.0,
            "bytes differ from\n{}",
            String::from_utf8_lossy(&expected.0[..expected.0.len().min(2000)])
        );
        assert_eq!(
            (&arrived.1, arrived.2),
            (&expected.1, expected.2),
            "{}",
            String::from_utf8_lossy(&expected.0[..expected.0.len().min(500)])
        );
    }
    assert_eq!(arrived.len(), expected.len());

    let mut copies: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (content, ..) in &arrived {
        *copies.entry(content).or_default() += 1;
    }
    assert!(copies.values().any(|count| *count > 1), "the corpus has two messages that are the same");
    let second = world.sync();
    assert!(second.stderr.contains("nothing to do"), "{}", second.stderr);
    world.assert_lawful();
}
