//! The rules that come from forty failures of peers (`docs/failures.md`): those that need the whole program and have no
//! other place, and that each rule has its tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use simcloud::{FlagChange, FlagStatus, Knobs, Options};

use crate::mail_program::letters;
use crate::world::{Running, World, wait_for};

#[test]
fn f20_the_cursor_of_a_quiet_mailbox_does_not_grow_old() {
    // Graph lets the last three delta links live; Gmail forgets a history id within a week or so.
    let world = World::with(Options { messages: 5, knobs: Knobs::calm(), ..Options::default() });
    world.sync();
    let mut told = String::new();
    for _ in 0..6 {
        world.cloud.reset_counters();
        let finished = world.sync();
        assert_eq!(world.asked("delta"), 1, "{}", finished.stderr);
        told.push_str(&finished.stderr);
    }
    assert!(!told.contains("has forgotten"), "{told}");
    // What is new is told from there.
    world.receive("Inbox", "after a quiet week");
    let last = world.sync();
    assert!(last.stderr.contains("1 downloaded"), "{}", last.stderr);
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

/// A daemon over a full inbox where hardly anything may be deleted: that ids change must not even look like a deletion.
fn daemon_that_may_delete_one(world: &World) -> Running {
    world.configure("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\ncfg.max_deletions = 1\n");
    world.daemon()
}

/// Flags a message here, and waits for it to be flagged there.
fn flag_one_that_is_not(world: &World, names: &[String]) {
    let plain = names.iter().find(|name| !letters(name).contains('F')).unwrap();
    world.set_letters("INBOX", plain, &format!("F{}", letters(plain)));
    world.wait_until_same("INBOX", "Inbox");
}

fn all_ids(world: &World) -> Vec<String> {
    world.cloud.state("").unwrap().messages().map(|message| message.id.clone()).collect()
}

#[test]
fn f22_f27_a_lost_cursor_with_all_classic_ids_new_deletes_and_downloads_nothing() {
    let world = World::with(Options { messages: 40, knobs: Knobs::calm(), ..Options::default() });
    let daemon = daemon_that_may_delete_one(&world);
    let names = world.files("INBOX");
    let downloads = world.asked("value");
    for id in all_ids(&world) {
        world.cloud.move_away_and_back("", &id, "Archive").unwrap();
    }
    world.cloud.kill_delta_tokens("").unwrap();
    daemon.wait_for_line("has forgotten where we were");
    world.let_polls_pass(4);
    assert_eq!(world.files("INBOX"), names);
    assert_eq!(world.asked("value"), downloads, "nothing is downloaded again");
    assert!(!daemon.stderr().contains("held"), "{}", daemon.stderr());
    flag_one_that_is_not(&world, &names);
    assert_eq!(world.asked("patch"), 1, "it is still the same mail: a flag set here arrives");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn f27_immutable_ids_that_all_change_under_a_daemon_delete_hold_and_double_nothing() {
    for is_cursor_lost in [false, true] {
        let world = World::with(Options { messages: 40, knobs: Knobs::calm(), ..Options::default() });
        let daemon = daemon_that_may_delete_one(&world);
        let names = world.files("INBOX");
        let there = world.there("Inbox");
        let old = all_ids(&world);
        for id in &old {
            world.cloud.renumber("", id).unwrap();
        }
        if is_cursor_lost {
            world.cloud.kill_delta_tokens("").unwrap();
        }
        world.let_polls_pass(6);
        assert!(all_ids(&world).iter().all(|id| !old.contains(id)));
        assert_eq!((world.files("INBOX"), world.there("Inbox")), (names.clone(), there), "{}", daemon.stderr());
        assert!(!daemon.stderr().contains("held"), "{}", daemon.stderr());
        for kind in ["move", "delete", "patch", "create"] {
            assert_eq!(world.asked(kind), 0, "{kind}: {}", daemon.stderr());
        }
        flag_one_that_is_not(&world, &names);
        assert_eq!(world.asked("patch"), 1, "the files are those of the same messages: {}", daemon.stderr());
        daemon.stop();
        world.assert_lawful();
    }
}

#[test]
fn f29_what_another_client_only_marked_is_not_deleted_with_what_is() {
    let world = World::with(Options { messages: 5, knobs: Knobs::calm(), ..Options::default() });
    let [gone, marked] = ["gone", "marked"].map(|subject| world.receive_read("Inbox", subject));
    let daemon = world.daemon();
    world.cloud.reset_counters();
    // The Trash flag on one, and another one that some program has marked in a way that isn't a deletion here.
    world.set_letters("INBOX", &world.file_of("INBOX", "marked"), "RSz");
    world.set_letters("INBOX", &world.file_of("INBOX", "gone"), "ST");
    wait_for("the deletion arrives", || !world.is_in(&gone, "Inbox"));
    world.let_polls_pass(3);
    assert!(world.is_in(&marked, "Inbox"));
    assert_eq!((world.there("Inbox").len(), world.there("Deleted Items").len()), (6, 1));
    assert_eq!((world.asked("move"), world.asked("delete")), (1, 0), "one by one, and into the trash");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn f32_a_computer_that_slept_finds_what_happened_meanwhile() {
    let world = World::with(Options { messages: 5, knobs: Knobs::calm(), ..Options::default() });
    let [flagged, read] = ["flagged there", "read here"].map(|subject| world.receive("Inbox", subject));
    let daemon = world.daemon();
    daemon.signal(Signal::STOP);
    world.receive("Inbox", "came meanwhile");
    let change = FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() };
    world.cloud.set_flags("", &flagged, change).unwrap();
    world.set_letters("INBOX", &world.file_of("INBOX", "read here"), "S");
    // Every connection that was open is dead by then, as after a suspend.
    world.cloud.expire_access_tokens();
    daemon.signal(Signal::CONT);
    wait_for("what came is here", || world.files_of("INBOX", "came meanwhile").len() == 1);
    wait_for("the flag is here", || letters(&world.file_of("INBOX", "flagged there")) == "F");
    wait_for("the mark is there", || world.message(&read).unwrap().is_read);
    world.wait_until_same("INBOX", "Inbox");
    daemon.stop();
    world.assert_lawful();
}

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Calls `visit` with every Rust source below a directory.
fn each_source(directory: &Path, visit: &mut dyn FnMut(&str)) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            each_source(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(&fs::read_to_string(path).unwrap());
        }
    }
}

/// The numbers that a test's name begins with: `f22_f27_a_lost…` has two.
fn numbers(name: &str) -> impl Iterator<Item = u32> {
    let number = |part: &str| {
        let digits = part.strip_prefix('f').filter(|digits| digits.len() == 2)?;
        digits.parse().ok()
    };
    name.split('_').map_while(number)
}

#[test]
fn each_rule_has_a_test_and_the_table_of_rules_names_tests_that_exist() {
    let mut tests: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    each_source(&root().join("crates"), &mut |source| {
        let names = source.lines().filter_map(|line| line.trim().trim_start_matches("async ").strip_prefix("fn f"));
        for name in names.filter_map(|rest| rest.split_once('(')).map(|(name, _)| format!("f{name}")) {
            for number in numbers(&name) {
                tests.entry(number).or_default().insert(name.clone());
            }
        }
    });
    let table = fs::read_to_string(root().join("docs/failures.md")).unwrap();
    let mut rules = BTreeSet::new();
    for line in table.lines().filter_map(|line| line.strip_prefix("| F")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let number: u32 = cells[0].parse().unwrap();
        assert!(rules.insert(number), "F{number} is there twice");
        let named: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        let none = cells[2].starts_with("none");
        assert!(named.is_empty() == none, "F{number} names tests, or says why there are none: {line}");
        let there = tests.get(&number).cloned().unwrap_or_default();
        assert!(none || !there.is_empty(), "F{number} has no test");
        for name in named {
            assert!(there.contains(name), "F{number}: there is no test `{name}`");
        }
    }
    assert_eq!(rules, (1..=40).collect());
}
