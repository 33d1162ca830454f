use std::fs;

use cms_engine::{ContentHash, HashSet};
use cms_store::MessageIds;

use crate::Fixture;

/// Content number `number`; its Message-ID is a third of that, so that three have the same.
fn content(number: u8) -> ContentHash {
    ContentHash::of(&[number])
}

fn message_id(number: u8) -> String {
    format!("{}@domain.com", number / 3)
}

/// Brings the index up to these, and returns which were read for that.
fn catch_up(index: &mut MessageIds, stored: std::ops::Range<u8>) -> Vec<ContentHash> {
    let all: HashSet<ContentHash> = stored.clone().map(content).collect();
    let mut asked = Vec::new();
    let read = |unknown: &[ContentHash]| {
        asked.extend_from_slice(unknown);
        stored.map(|number| (content(number), message_id(number))).filter(|(hash, _)| unknown.contains(hash)).collect()
    };
    index.catch_up(&all, read).unwrap();
    asked
}

fn found(index: &MessageIds, number: u8) -> Vec<ContentHash> {
    let mut found = index.find(&message_id(number)).unwrap();
    found.sort_unstable();
    found
}

fn sorted(numbers: std::ops::Range<u8>) -> Vec<ContentHash> {
    let mut hashes: Vec<ContentHash> = numbers.map(content).collect();
    hashes.sort_unstable();
    hashes
}

#[test]
fn each_message_is_read_once_and_what_is_gone_is_no_longer_found() {
    let fixture = Fixture::new();
    let mut index = MessageIds::open(fixture.state_dir()).unwrap();
    assert_eq!(catch_up(&mut index, 0..9).len(), 9);
    assert_eq!(found(&index, 4), sorted(3..6));
    drop(index);

    let mut index = MessageIds::open(fixture.state_dir()).unwrap();
    assert_eq!(catch_up(&mut index, 0..9), []);
    assert_eq!(catch_up(&mut index, 4..11), sorted(9..11));
    assert_eq!(found(&index, 4), sorted(4..6));
    assert_eq!(found(&index, 0), []);
    assert_eq!(found(&index, 10), sorted(9..11));
}

#[test]
fn what_could_not_be_read_is_read_the_next_time() {
    let fixture = Fixture::new();
    let mut index = MessageIds::open(fixture.state_dir()).unwrap();
    index.catch_up(&[content(1)].into_iter().collect(), |_| Vec::new()).unwrap();
    assert_eq!(found(&index, 1), []);
    assert_eq!(catch_up(&mut index, 1..2), [content(1)]);
    assert_eq!(found(&index, 1), [content(1)]);
}

#[test]
fn an_index_that_is_damaged_is_made_anew() {
    let fixture = Fixture::new();
    drop(MessageIds::open(fixture.state_dir()).unwrap());
    fs::write(fixture.state_dir().join("message-ids.sqlite"), [b'x'; 5000]).unwrap();
    let mut index = MessageIds::open(fixture.state_dir()).unwrap();
    assert_eq!(catch_up(&mut index, 0..3).len(), 3);
    assert_eq!(found(&index, 0), sorted(0..3));
}
