//! `cms undo`: what was done is taken back on both sides, and taking back can be taken back.

use simcloud::{Deletion, FlagChange, FlagStatus};

use crate::journal::{calm, deeds, objects, told};
use crate::mail_program::{INBOX_AND_LISTS, TRASH, letters};
use crate::world::{World, wait_for};

/// The run that a report names.
#[track_caller]
fn run_of(report: &str) -> String {
    let (_, rest) = report.split_once("`cms undo ").unwrap_or_else(|| panic!("no run in:\n{report}"));
    rest.split_once('`').unwrap().0.to_owned()
}

/// The number of the newest entry for a subject.
fn number_of(world: &World, subject: &str, did: &str) -> String {
    let entries = objects(world, &["log", "--since", "1h", "--json"]);
    let of_it = entries.iter().rev().find(|entry| entry["subject"] == subject && entry["did"] == did);
    of_it.unwrap_or_else(|| panic!("no {did} of {subject}"))["number"].to_string()
}

#[test]
fn an_hour_is_taken_back_on_both_sides_and_so_is_taking_it_back() {
    let world = calm(3, &["Inbox/Lists"]);
    world.configure(INBOX_AND_LISTS);
    let [read_here, flagged_there, moved_here, moved_there, deleted_here, deleted_there] =
        ["read-here", "flagged-there", "moved-here", "moved-there", "deleted-here", "deleted-there"]
            .map(|subject| world.receive("Inbox", subject));
    world.sync();
    let (here, there) =
        ((world.here("INBOX"), world.here("Lists")), (world.there("Inbox"), world.there("Inbox/Lists")));

    world.set_letters("INBOX", &world.file_of("INBOX", "read-here"), "S");
    world
        .cloud
        .set_flags("", &flagged_there, FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() })
        .unwrap();
    let name = world.file_of("INBOX", "moved-here");
    world.rename("INBOX", &name, "Lists", &name);
    world.cloud.move_message("", &moved_there, "Inbox/Lists").unwrap();
    world.set_letters("INBOX", &world.file_of("INBOX", "deleted-here"), "T");
    world.cloud.delete_message("", &deleted_there, Deletion::Trash).unwrap();
    world.sync();
    assert!(world.message(&read_here).unwrap().is_read);
    assert!(world.is_in(&moved_here, "Inbox/Lists") && world.is_in(&deleted_here, TRASH));
    assert_eq!((world.files("INBOX").len(), world.files("Lists").len()), (5, 2));
    let changed = ((world.here("INBOX"), world.here("Lists")), (world.there("Inbox"), world.there("Inbox/Lists")));

    world.cloud.reset_counters();
    let dry = told(&world, &["undo", "--dry-run"]);
    assert_eq!(dry.lines().count(), 6, "{dry}");
    assert_eq!(world.asked("move") + world.asked("patch"), 0, "nothing was changed");
    let undone = told(&world, &["undo"]);
    assert_eq!(world.there("Inbox"), there.0, "{undone}");
    assert_eq!(world.there("Inbox/Lists"), there.1, "{undone}");
    assert_eq!((world.here("INBOX"), world.here("Lists")), here, "{undone}");
    world.sync();
    assert_eq!((world.here("INBOX"), world.here("Lists")), here);
    assert_eq!(world.asked("value"), 0, "nothing was downloaded");
    for subject in ["read-here", "moved-there", "deleted-there"] {
        assert_eq!(deeds(&world, subject).last().unwrap().1, "undo", "{subject}: {:?}", deeds(&world, subject));
    }

    let log = told(&world, &["log", "--since", "1h"]);
    for (from, to) in [("Inbox/Lists", "inbox"), ("inbox", "Inbox/Lists")] {
        let expected = format!("moved in the cloud from {from} to {to}{}", if to == "inbox" { " (undo)" } else { "" });
        assert!(log.contains(&expected), "{expected:?} is missing in:\n{log}");
    }

    // An hour that was taken back is as it was before it: there is nothing to do.
    assert_eq!(told(&world, &["undo", "--dry-run"]), "nothing to do: it is as it was\n");
    told(&world, &["undo", &run_of(&undone)]);
    assert_eq!(
        ((world.here("INBOX"), world.here("Lists")), (world.there("Inbox"), world.there("Inbox/Lists"))),
        changed
    );
    world.sync();
    assert_eq!((world.there("Inbox"), world.there("Inbox/Lists")), changed.1);
    world.assert_lawful();
}

#[test]
fn one_change_is_taken_back_and_others_stay() {
    let world = calm(2, &[]);
    let [one, other] = ["one", "other"].map(|subject| world.receive("Inbox", subject));
    world.sync();
    for subject in ["one", "other"] {
        world.set_letters("INBOX", &world.file_of("INBOX", subject), "FS");
    }
    world.sync();
    // Read and flagged in one step; then a third flag in a step of its own, which isn't taken back.
    world.set_letters("INBOX", &world.file_of("INBOX", "one"), "FRS");
    let first = number_of(&world, "one", "flagged there");
    world.sync();
    told(&world, &["undo", &first]);
    assert_eq!(letters(&world.file_of("INBOX", "one")), "R");
    let message = world.message(&one).unwrap();
    assert!(!message.is_read && message.flag == FlagStatus::NotFlagged && message.verb == Some(103));
    assert!(world.message(&other).unwrap().is_read);
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

#[test]
fn what_cannot_be_taken_back_is_told_with_the_reason() {
    let world = calm(1, &[]);
    let id = world.receive("Inbox", "came");
    world.sync();
    let came = number_of(&world, "came", "delivered");
    let finished = world.cms(&["undo", &came]);
    assert!(finished.stdout.contains("that a message came isn't taken back"), "{}", finished.stdout);
    assert_eq!(finished.status.code(), Some(1));
    world.set_letters("INBOX", &world.file_of("INBOX", "came"), "S");
    world.sync();
    let read = number_of(&world, "came", "flagged there");
    world.cloud.delete_message("", &id, Deletion::Purge).unwrap();
    world.sync();
    let finished = world.cms(&["undo", &read]);
    assert!(finished.stdout.contains("the message is gone since"), "{}", finished.stdout);
    for nothing in [&["undo", "4711"][..], &["undo", "run-9"], &["undo", "--last", "9999-01-01"]] {
        let finished = world.cms(nothing);
        assert_eq!(finished.status.code(), Some(1), "{}", finished.stdout);
    }
    assert_eq!(world.cms(&["undo", "yesterday"]).status.code(), Some(2));
    world.assert_lawful();
}

#[test]
fn a_killed_undo_is_finished_by_the_next_sync_or_left_undone_whole() {
    let world = calm(30, &[]);
    world.sync();
    let before = world.here("INBOX");
    for name in world.files("INBOX") {
        let old = letters(&name).to_owned();
        let new = if old.contains('F') { old.replace('F', "") } else { format!("F{old}") };
        world.set_letters("INBOX", &name, &new);
    }
    world.sync();
    let running = world.start(&["undo"]);
    wait_for("it has begun", || world.here("INBOX").iter().any(|message| before.contains(message)));
    running.kill();
    world.sync();
    world.assert_same("INBOX", "Inbox");
    told(&world, &["undo"]);
    world.assert_same("INBOX", "Inbox");
    assert_eq!(world.here("INBOX"), before);
    world.assert_lawful();
}

#[test]
fn a_running_daemon_does_it_when_asked() {
    let world = calm(2, &[]);
    let [one, other] = ["one", "other"].map(|subject| world.receive("Inbox", subject));
    let daemon = world.daemon();
    world.set_letters("INBOX", &world.file_of("INBOX", "one"), "S");
    wait_for("it is read there", || world.message(&one).unwrap().is_read);
    world.set_letters("INBOX", &world.file_of("INBOX", "other"), "T");
    wait_for("it is deleted there", || world.is_in(&other, TRASH));
    wait_for("its file is gone", || world.files_of("INBOX", "other").is_empty());
    wait_for("that is written down", || deeds(&world, "other").len() == 3);
    let undone = told(&world, &["undo"]);
    assert!(!world.message(&one).unwrap().is_read && world.is_in(&other, "Inbox"), "{undone}");
    assert!(!letters(&world.file_of("INBOX", "one")).contains('S'));
    world.file_of("INBOX", "other");
    world.assert_same("INBOX", "Inbox");
    assert!(told(&world, &["verify"]).ends_with("both sides are the same\n"));
    told(&world, &["undo", &run_of(&undone)]);
    assert!(world.message(&one).unwrap().is_read && world.is_in(&other, TRASH));
    told(&world, &["restore", "--search", "other"]);
    world.file_of("INBOX", "other");
    world.let_polls_pass(3);
    assert!(world.is_in(&other, "Inbox"));
    world.assert_same("INBOX", "Inbox");
    // New mail that no poll has told of yet is no difference.
    world.receive("Inbox", "just-now");
    assert!(told(&world, &["verify"]).ends_with("both sides are the same\n"));
    daemon.stop();
    world.assert_lawful();
}
