//! The first sync, and what a second one finds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use simcloud::{Action, Fault, Knobs, Options, RequestRecord};

use crate::world::{Running, World, wait_for};

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
    assert_eq!(world.asked("value"), 0, "downloads: {:?}", counters.requests);
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

/// The ids of the messages that a request asks for the bytes of.
fn downloaded(request: &RequestRecord) -> Vec<String> {
    let addresses = std::iter::once(&request.target).chain(&request.items);
    let id = |address: &String| Some(address.strip_suffix("/$value")?.rsplit_once('/')?.1.to_owned());
    addresses.filter_map(id).collect()
}

#[test]
fn a_first_sync_brings_small_messages_together_and_the_newest_first() {
    let world = World::new(300);
    world.sync();
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
    let mut log = world.cloud.requests(0);
    log.sort_by(|a, b| a.arrived_ms.total_cmp(&b.arrived_ms));
    let order: Vec<String> = log.iter().flat_map(downloaded).collect();
    let requests = log.iter().filter(|request| !downloaded(request).is_empty()).count();
    assert!(requests < 60, "{requests} requests for 300 messages");
    let state = world.cloud.state("").unwrap();
    let mut newest: Vec<_> = state.messages().map(|message| (message.received_seconds, message.id.clone())).collect();
    newest.sort_by(|a, b| b.cmp(a));
    // Eight requests are on their way at a time and none is waited for, so each message may come so much sooner or later.
    let places: Vec<usize> = newest.iter().map(|(_, id)| order.iter().position(|other| other == id).unwrap()).collect();
    for (rank, place) in places.iter().enumerate() {
        assert!(place.abs_diff(rank) <= 8 * 20, "number {rank} from above came as number {place}");
    }
    let (newest, oldest): (usize, usize) = (places[..100].iter().sum(), places[200..].iter().sum());
    assert!(
        newest * 2 < oldest,
        "the newest hundred came at {} on average, the oldest at {}",
        newest / 100,
        oldest / 100
    );
}

#[test]
fn one_new_message_is_fetched_alone_at_once() {
    let world = World::new(30);
    world.sync();
    world.cloud.reset_counters();
    world.cloud.add_generated("", "Inbox", 1).unwrap();
    world.sync();
    world.assert_same("INBOX", "Inbox");
    let counters = world.cloud.counters();
    assert_eq!((counters.requests.get("value"), counters.requests.get("batch")), (Some(&1), None));
    world.assert_lawful();
}

#[test]
fn a_first_sync_that_was_interrupted_brings_the_rest_together_too() {
    let world = World::new(300);
    // All are listed, and none is brought.
    world.cloud.inject(Fault::always("batch*", Action::Hang));
    world.cloud.inject(Fault::always("value", Action::Hang));
    let first = world.start(&["sync"]);
    wait_for("downloads are asked for", || world.asked("batch") > 0);
    first.kill();
    world.cloud.clear_faults();
    world.cloud.reset_counters();
    world.sync();
    world.assert_same("INBOX", "Inbox");
    let counters = world.cloud.counters();
    assert_eq!(counters.requests.get("delta"), Some(&1), "nothing was listed again: {:?}", counters.requests);
    assert!(counters.http_requests < 60, "{} requests for 300 messages", counters.http_requests);
}

#[test]
fn a_bar_is_never_drawn_without_what_it_is_of() {
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: needs script");
        return;
    }
    let knobs = Knobs { latency_ms: 700, ..Knobs::calm() };
    let world = World::with(Options { messages: 200, knobs, ..Options::default() });
    world.configure(
        "MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\ncfg.token_key_command = \"echo a-passphrase-for-tests\"\n",
    );
    world.done(&["check"]);
    let at_terminal = ["-c", "exec script -qec \"$*\" /dev/null", "sh"];
    let told = Running::of(world.command_under("sh", &at_terminal, &["sync"])).finish();
    assert!(told.stdout.contains("Downloading ["), "{}", told.stdout);
    // That is how a bar looks that nobody has told what to look like.
    assert!(!told.stdout.contains('░'), "{}", told.stdout);
}
