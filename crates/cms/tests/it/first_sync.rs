//! The first sync, and what a second one finds.

use std::fs;
use std::os::unix::fs::MetadataExt;

use simcloud::Options;

use crate::world::World;

#[test]
fn a_mailbox_arrives_whole_and_a_second_sync_has_nothing_to_do() {
    let world = World::new(120);
    world.sync();
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();

    let names = world.files("INBOX");
    world.cloud.reset_counters();
    let second = world.sync();
    assert!(second.stderr.contains("nothing to do"), "{}", second.stderr);
    assert_eq!(world.files("INBOX"), names);
    let counters = world.cloud.counters();
    assert_eq!(counters.requests.get("value"), None, "downloads: {:?}", counters.requests);
    assert_eq!(counters.requests.get("delta"), Some(&1), "{:?}", counters.requests);
    world.assert_lawful();
}

#[test]
fn files_are_links_into_the_store_and_their_time_is_the_received_time() {
    let world = World::with(Options { messages: 5, ..Options::default() });
    world.sync();
    let received: Vec<i64> = {
        let mut all: Vec<i64> =
            world.cloud.state("").unwrap().messages().map(|message| message.received_seconds).collect();
        all.sort_unstable();
        all
    };
    let mut times = Vec::new();
    for name in world.files("INBOX") {
        let facts = fs::metadata(world.path("INBOX").join(name)).unwrap();
        assert_eq!(facts.nlink(), 2);
        times.push(facts.mtime());
    }
    times.sort_unstable();
    assert_eq!(times, received);
}
