//! `cms verify`: whether both sides are the same, down to the bytes.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cms_store::Database;
use serde_json::Value;
use simcloud::{Action, Deletion, Fault, FlagChange};

use crate::journal::{calm, told};
use crate::mail_program::INBOX_AND_LISTS;
use crate::world::{World, wait_for};

/// What differs, by its kind, where something must.
#[track_caller]
fn kinds(world: &World) -> Vec<String> {
    let finished = world.cms(&["verify", "--json"]);
    let found: Value =
        serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{}{}", finished.stdout, finished.stderr));
    let differences = found["differences"].as_array().unwrap();
    assert_eq!(finished.status.code(), Some(i32::from(!differences.is_empty())), "{found}");
    assert_eq!(found["same"], differences.is_empty());
    differences.iter().map(|difference| difference["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn both_sides_are_the_same_after_a_sync_and_verifying_changes_nothing() {
    let world = calm(25, &["Inbox/Lists"]);
    world.configure(INBOX_AND_LISTS);
    for subject in ["a", "b"] {
        world.receive("Inbox/Lists", subject);
    }
    world.sync();
    let files = (world.files("INBOX"), world.files("Lists"));
    world.cloud.reset_counters();
    let text = told(&world, &["verify"]);
    for expected in [
        "`inbox`: 25 in the cloud, 25 known of, 25 the same on both sides",
        "`Inbox/Lists`: 2 in the cloud, 2 known of, 2 the same on both sides",
        "25 files, 25 the same on both sides",
        "read the bytes of 27 files and of 27 stored messages",
        "both sides are the same",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
    assert_eq!((world.files("INBOX"), world.files("Lists")), files);
    for kind in ["value", "patch", "move", "delete"] {
        assert_eq!(world.asked(kind), 0, "{kind}");
    }
    world.assert_lawful();
}

/// Nothing has to happen first: the loop isn't woken by a timer that is for those who wait for both sides to be the same.
#[test]
fn without_a_daemon_verifying_begins_at_once() {
    let world = calm(3, &[]);
    world.sync();
    let begun = Instant::now();
    told(&world, &["verify"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "that timer's span");
}

/// The attempts that each further mailbox would take are spared.
#[test]
fn a_service_that_is_out_of_reach_is_not_asked_for_each_mailbox_anew() {
    let world = calm(1, &["Inbox/A", "Inbox/B"]);
    let all = ["inbox", "Inbox/A", "Inbox/B"].map(|name| format!("Office365(\"{name}\", account)\n"));
    world.configure(&format!("MailDir(\"INBOX\")\n{}", all.concat()));
    world.sync();
    for kind in ["delta", "batch"] {
        world.cloud.inject(Fault::always(kind, Action::ResetBefore));
    }
    world.cloud.reset_counters();
    let finished = world.cms(&["verify"]);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("can't be reached"), "{}", finished.stderr);
    // Four attempts to list the first mailbox, and four to poll it. The others are polled in a batch.
    assert_eq!(world.asked("delta"), 8);
}

/// What `cms status` says of the last comparison.
fn compared(world: &World) -> Value {
    let finished = world.cms(&["status", "--json"]);
    serde_json::from_str::<Value>(&finished.stdout).unwrap_or_else(|_| panic!("{}", finished.stderr))["compared"]
        .clone()
}

/// It is due after a week, and where a clock that was ahead has written down when it was made.
#[test]
fn a_daemon_compares_by_itself_once_a_week_and_the_status_tells_what_it_found() {
    let world = calm(6, &[]);
    world.receive_read("Inbox", "edited");
    world.sync();
    assert_eq!(compared(&world), Value::Null);
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let path = world.path("INBOX").join(world.file_of("INBOX", "edited"));
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"edited\n").unwrap();
    // The store's copy is fetched again; the edit stays, and is told again.
    for (last, differences) in [(now - 8 * 86_400, 2), (now + 3650 * 86_400, 1)] {
        let mut state = Database::open(&world.path(".cms")).unwrap();
        state.set_meta("compared at", &last.to_string()).unwrap();
        state.set_meta("comparison", "").unwrap();
        drop(state);
        let daemon = world.daemon();
        wait_for("it has compared", || compared(&world) != Value::Null);
        let found = compared(&world);
        assert_eq!((&found["differences"], &found["files"]), (&differences.into(), &7.into()), "{}", daemon.stderr());
        assert!(daemon.stop().status.success());
        assert_eq!(compared(&world), found, "it is told without a daemon, too");
        let text = world.cms(&["status"]).stdout;
        let words = format!("7 files read, {differences} difference");
        assert!(text.contains(&words), "{text}");
    }
    // It isn't due now.
    let daemon = world.daemon();
    let found = compared(&world);
    world.let_polls_pass(2);
    assert_eq!(compared(&world), found);
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}

#[test]
fn every_kind_of_difference_is_found_told_once_and_mended_by_the_planner() {
    let world = calm(10, &[]);
    let [read_there, gone_there, lost_here, read_here] =
        ["read-there", "gone-there", "lost-here", "read-here"].map(|subject| world.receive("Inbox", subject));
    world.sync();
    world.receive("Inbox", "new-there");
    world.cloud.set_flags("", &read_there, FlagChange { is_read: Some(true), ..FlagChange::default() }).unwrap();
    world.cloud.delete_message("", &gone_there, Deletion::Purge).unwrap();
    world.unlink("INBOX", &world.file_of("INBOX", "lost-here"));
    world.set_letters("INBOX", &world.file_of("INBOX", "read-here"), "S");
    let mut found = kinds(&world);
    found.sort();
    assert_eq!(found, ["file_missing", "flags", "gone_in_cloud", "other_in_cloud", "unknown_in_cloud"]);
    assert!(world.message(&read_here).unwrap().is_read);
    assert!(world.is_in(&lost_here, "Inbox"));
    world.assert_same("INBOX", "Inbox");
    assert_eq!(kinds(&world), Vec::<String>::new());
    world.assert_lawful();
}

#[test]
fn a_file_only_here_is_a_difference() {
    let world = calm(2, &[]);
    world.sync();
    world.put("INBOX", "new/1.only.here", "Subject: only\n\nx\n");
    assert_eq!(kinds(&world), ["only_here"]);
}

/// A file that is written to under the same inode takes its stored copy with it.
#[test]
fn a_file_that_was_rewritten_in_place_is_an_edit_and_its_stored_copy_is_fetched_again() {
    let world = calm(3, &[]);
    let id = world.receive("Inbox", "rewritten");
    world.sync();
    let name = world.file_of("INBOX", "rewritten");
    let path = world.path("INBOX").join(&name);
    let original = fs::read(&path).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"A note of mine.\n").unwrap();
    let mut found = kinds(&world);
    found.sort();
    assert_eq!(found, ["file_edited", "store_damaged"]);
    let edited = fs::read(&path).unwrap();
    assert!(edited.ends_with(b"A note of mine.\n"), "the edit stays");
    // The store has the message again as it was.
    let hex = blake3::hash(&original).to_hex().to_string();
    let stored = world.path(".cms/messages").join(&hex[..2]).join(&hex[2..]);
    assert_eq!(fs::read(stored).unwrap(), original);
    let log = told(&world, &["log", path.to_str().unwrap()]);
    assert!(log.contains("found edited in INBOX"), "{log}");
    // What the cloud deletes now doesn't take the edit with it, not even after a restart.
    world.cloud.delete_message("", &id, Deletion::Purge).unwrap();
    world.sync();
    assert_eq!(fs::read(&path).unwrap(), edited);
    world.sync();
    assert_eq!(fs::read(&path).unwrap(), edited);
    world.assert_lawful();
}

/// The same for an editor that writes a new file under the old name.
#[test]
fn an_edit_that_was_noted_survives_a_restart_and_a_deletion_in_the_cloud() {
    let world = calm(3, &[]);
    let id = world.receive("Inbox", "edited");
    let daemon = world.daemon();
    let name = world.file_of("INBOX", "edited");
    world.put("INBOX", &name, "Subject: edited\n\nMine.\n");
    daemon.wait_for_line("was edited here");
    daemon.stop();
    world.sync();
    world.cloud.delete_message("", &id, Deletion::Purge).unwrap();
    world.sync();
    assert_eq!(fs::read(world.path("INBOX").join(&name)).unwrap(), b"Subject: edited\n\nMine.\n");
}

#[test]
fn a_damaged_stored_message_is_told_and_fetched_again() {
    let world = calm(4, &[]);
    world.receive("Inbox", "damaged");
    world.sync();
    let path = world.path("INBOX").join(world.file_of("INBOX", "damaged"));
    let original = fs::read(&path).unwrap();
    let hex = blake3::hash(&original).to_hex().to_string();
    let stored = world.path(".cms/messages").join(&hex[..2]).join(&hex[2..]);
    fs::remove_file(&stored).unwrap();
    fs::write(&stored, "something else").unwrap();
    assert_eq!(kinds(&world), ["store_damaged"]);
    assert_eq!(fs::read(&stored).unwrap(), original);
    fs::remove_file(&stored).unwrap();
    assert_eq!(kinds(&world), ["store_damaged"]);
    assert_eq!(fs::read(&stored).unwrap(), original);
    assert_eq!(kinds(&world), Vec::<String>::new());
    assert_eq!(fs::read(&path).unwrap(), original);
    world.assert_lawful();
}

/// A message that the cloud lists and never gives isn't here, whatever else went well.
#[test]
fn f17_both_sides_are_not_called_the_same_while_a_message_is_missing() {
    let world = calm(5, &[]);
    let id = world.receive("Inbox", "missing");
    for kind in ["value", "batch-item:value"] {
        world.cloud.inject(Fault { path: id.clone(), ..Fault::always(kind, Action::status(404)) });
    }
    let finished = world.cms(&["sync"]);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(!finished.stderr.contains("both sides are the same"), "{}", finished.stderr);
    assert!(finished.stderr.contains("1 not downloadable now"), "{}", finished.stderr);
    assert_eq!(kinds(&world), ["not_here"]);
    let daemon = world.daemon();
    daemon.wait_for_line("Both sides are the same but for what is told here; watching (1 not downloadable now)");
    daemon.stop();
    assert_eq!(world.files("INBOX").len(), 5);
}
