use std::fs;

use cms_engine::{ContentHash, UnixSeconds};
use cms_store::{Change, Database, Pruned};

use crate::Fixture;

fn message(number: u32) -> Vec<u8> {
    format!("Subject: {number}\n\n").into_bytes()
}

#[test]
fn only_old_released_messages_that_nobody_holds_are_removed() {
    let fixture = Fixture::new();
    let mut database = Database::open(fixture.state_dir()).unwrap();
    let hashes: Vec<ContentHash> =
        (0..5).map(|number| fixture.download(&number.to_string(), &message(number)).hash).collect();
    let [old, young, held, kept, unreleased] = hashes[..] else { panic!() };
    fixture.deliver(&held, "delivered");
    let released = |hash, at| Change::Released { hash, at: UnixSeconds(at) };
    database.apply(&[released(old, 10), released(young, 11), released(held, 10), released(kept, 10)]).unwrap();

    let pruned = fixture.store.prune(&mut database, UnixSeconds(10), |hash| *hash == kept).unwrap();
    assert_eq!(pruned, Pruned { messages: 1, bytes: message(0).len() as u64 });
    let there: Vec<bool> = hashes.iter().map(|hash| fixture.store.contains(hash)).collect();
    assert_eq!(there, [false, true, true, true, true]);
    assert_eq!(database.released().unwrap(), [(young, UnixSeconds(11))]);

    // Killed between removing a file and dropping its note, the next run only drops the note.
    fs::remove_file(fixture.store.path_of(&young)).unwrap();
    let pruned = fixture.store.prune(&mut database, UnixSeconds(11), |_| false).unwrap();
    assert_eq!((pruned, database.released().unwrap()), (Pruned::default(), Vec::new()));
    assert!(fixture.store.contains(&unreleased));
}

#[test]
fn what_nothing_names_is_noted_once_and_kept_until_then() {
    let fixture = Fixture::new();
    let mut database = Database::open(fixture.state_dir()).unwrap();
    let orphan = fixture.download("orphan", &message(1)).hash;
    let held = fixture.download("held", &message(2)).hash;
    let kept = fixture.download("kept", &message(3)).hash;
    fixture.deliver(&held, "delivered");
    let keep = |hash: &ContentHash| *hash == kept;
    assert_eq!(fixture.store.note_unused(&mut database, UnixSeconds(5), keep).unwrap(), 1);
    assert_eq!(fixture.store.note_unused(&mut database, UnixSeconds(9), keep).unwrap(), 0);
    assert_eq!(database.released().unwrap(), [(orphan, UnixSeconds(5))]);
    assert!(fixture.store.contains(&orphan));
}
