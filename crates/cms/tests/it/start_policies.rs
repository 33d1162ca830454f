//! What holds of changes that were made while nothing was watching, and what is held for the user's word.

use std::fs;

use simcloud::{Deletion, FlagChange, FlagStatus, Knobs, Options};

use crate::mail_program::{INBOX_AND_LISTS, TRASH, letters, text};
use crate::world::{World, wait_for};

fn calm(messages: usize) -> World {
    World::with(Options { messages, knobs: Knobs::calm(), ..Options::default() })
}

fn flagged(world: &World, id: &str) -> bool {
    world.message(id).unwrap().flag == FlagStatus::Flagged
}

#[test]
fn f01_files_that_went_while_it_was_stopped_come_back_without_a_download() {
    for arguments in [&["sync"][..], &["sync", "--online"], &["sync", "--offline"]] {
        let world = calm(12);
        world.sync();
        let names = world.files("INBOX");
        world.cloud.reset_counters();
        for name in &names[..9] {
            world.unlink("INBOX", name);
        }
        let finished = world.cms(arguments);
        assert!(finished.status.success(), "{arguments:?}: {}", finished.stderr);
        assert_eq!(world.files("INBOX"), names, "{arguments:?}");
        world.assert_same("INBOX", "Inbox");
        for kind in ["value", "move", "delete", "patch"] {
            assert_eq!(world.asked(kind), 0, "{arguments:?}: {kind}");
        }
        assert!(world.there(TRASH).is_empty());
        world.assert_lawful();
    }
}

#[test]
fn the_daemon_brings_back_what_went_before_it_and_tells_the_rest() {
    let world = calm(10);
    let id = world.receive("Inbox", "flagged");
    world.sync();
    let names = world.files("INBOX");
    let gone = names.iter().find(|name| !world.files_of("INBOX", "flagged").contains(name)).unwrap();
    world.unlink("INBOX", gone);
    world.set_letters("INBOX", &world.file_of("INBOX", "flagged"), "F");
    let daemon = world.daemon();
    assert!(world.path("INBOX").join(gone).exists());
    assert!(flagged(&world, &id));
    world.let_polls_pass(4);
    world.assert_same("INBOX", "Inbox");
    assert_eq!(world.there("Inbox").len(), 11);
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn of_two_names_of_one_file_the_one_that_was_known_still_counts_at_the_next_start() {
    let world = calm(2);
    let id = world.receive("Inbox", "twice");
    world.sync();
    let flagged_name = world.set_letters("INBOX", &world.file_of("INBOX", "twice"), "F");
    world.sync();
    assert!(flagged(&world, &id));
    // It would come first in any order of names.
    let inbox = world.path("INBOX");
    fs::hard_link(inbox.join(&flagged_name), inbox.join(flagged_name.trim_end_matches('F'))).unwrap();
    world.cloud.reset_counters();
    world.sync();
    assert_eq!(world.asked("patch"), 0);
    assert!(flagged(&world, &id));
    world.assert_lawful();
}

#[test]
fn online_discards_what_was_changed_while_it_was_stopped() {
    let world = World::with(Options {
        messages: 6,
        folders: vec![("Inbox/Lists".to_owned(), 3)],
        knobs: Knobs::calm(),
        ..Options::default()
    });
    world.configure(INBOX_AND_LISTS);
    let subjects = ["flagged", "trashed", "filed", "deleted there", "read there"];
    let [mine, trashed, filed, deleted, read] = subjects.map(|subject| world.receive("Inbox", subject));
    world.sync();
    let names = subjects.map(|subject| world.file_of("INBOX", subject));
    world.set_letters("INBOX", &names[0], "FS");
    world.set_letters("INBOX", &names[1], "T");
    world.rename("INBOX", &names[2], "Lists", &names[2]);
    world.set_letters("INBOX", &names[3], "F");
    world.set_letters("INBOX", &names[4], "R");
    world.cloud.delete_message("", &deleted, Deletion::Trash).unwrap();
    world.cloud.set_flags("", &read, FlagChange { is_read: Some(true), ..FlagChange::default() }).unwrap();
    world.cloud.reset_counters();
    let finished = world.cms(&["sync", "--online"]);
    assert!(finished.status.success(), "{}", finished.stderr);
    for kind in ["value", "move", "delete", "patch"] {
        assert_eq!(world.asked(kind), 0, "{kind}");
    }
    world.assert_same("INBOX", "Inbox");
    world.assert_same("Lists", "Inbox/Lists");
    assert!(!flagged(&world, &mine) && world.is_in(&trashed, "Inbox") && world.is_in(&filed, "Inbox"));
    assert!(world.files_of("INBOX", "deleted there").is_empty());
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    world.assert_lawful();
}

#[test]
fn by_default_both_sides_changes_are_merged() {
    for arguments in [&["sync"][..], &["sync", "--offline"]] {
        let world = World::new(20);
        let subjects = ["both", "same", "unflagged", "beaten"];
        let [both, same, unflagged, beaten] = subjects.map(|subject| world.receive("Inbox", subject));
        world
            .cloud
            .set_flags("", &unflagged, FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() })
            .unwrap();
        world.sync();
        let names = subjects.map(|subject| world.file_of("INBOX", subject));
        for (name, letters) in names.iter().zip(["F", "S", "", "FS"]) {
            world.set_letters("INBOX", name, letters);
        }
        for id in [&both, &same, &unflagged] {
            world.cloud.set_flags("", id, FlagChange { is_read: Some(true), ..FlagChange::default() }).unwrap();
        }
        world.cloud.delete_message("", &beaten, Deletion::Trash).unwrap();
        let finished = world.cms(arguments);
        assert!(finished.status.success(), "{arguments:?}: {}", finished.stderr);
        world.assert_same("INBOX", "Inbox");
        let [both, unflagged] = [&both, &unflagged].map(|id| world.message(id).unwrap());
        assert!(both.is_read && both.flag == FlagStatus::Flagged, "{both:?}");
        assert!(unflagged.is_read && unflagged.flag == FlagStatus::NotFlagged, "{unflagged:?}");
        // A deletion beats flags, whichever side made it.
        assert!(world.files_of("INBOX", "beaten").is_empty());
        world.assert_lawful();
    }
}

#[test]
fn f02_after_a_lost_state_nothing_is_deleted_or_doubled_on_either_side() {
    for offline in [false, true] {
        let world = World::new(60);
        let [mine, theirs, marked] =
            ["flagged here", "flagged there", "trashed here"].map(|subject| world.receive("Inbox", subject));
        // Twins are the hardest to recognize.
        world.receive("Inbox", "twin");
        world.receive("Inbox", "twin");
        world.sync();
        world.set_letters("INBOX", &world.file_of("INBOX", "flagged here"), "F");
        world.set_letters("INBOX", &world.file_of("INBOX", "trashed here"), "T");
        world
            .cloud
            .set_flags("", &theirs, FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() })
            .unwrap();
        let inodes: Vec<u64> = world.files("INBOX").iter().map(|name| world.inode("INBOX", name)).collect();
        fs::remove_dir_all(world.path(".cms")).unwrap();
        world.cloud.reset_counters();

        let arguments: &[&str] = if offline { &["sync", "--offline"] } else { &["sync"] };
        let finished = world.cms(arguments);
        assert!(finished.status.success(), "offline {offline}: {}", finished.stderr);
        assert_eq!(
            (world.files("INBOX").len(), world.there("Inbox").len(), world.there(TRASH).len()),
            (65, 65, 0),
            "offline {offline}"
        );
        let mut after: Vec<u64> = world.files("INBOX").iter().map(|name| world.inode("INBOX", name)).collect();
        after.sort_unstable();
        let mut before = inodes;
        before.sort_unstable();
        assert_eq!(after, before, "offline {offline}: files were made anew");
        assert_eq!(world.asked("value"), 0, "offline {offline}: what is here was downloaded");
        assert_eq!((flagged(&world, &mine), flagged(&world, &theirs)), (offline, !offline), "offline {offline}");
        assert!(world.is_in(&marked, "Inbox"));
        let without_trashed = |messages: Vec<(String, String)>| -> Vec<(String, String)> {
            messages.into_iter().map(|(hash, flags)| (hash, flags.replace('T', ""))).collect()
        };
        assert_eq!(without_trashed(world.here("INBOX")), without_trashed(world.there("Inbox")), "offline {offline}");

        let again = world.sync();
        assert!(again.stderr.contains("nothing to do"), "offline {offline}: {}", again.stderr);
        assert_eq!(world.files("INBOX").len(), 65);
        assert!(world.is_in(&marked, "Inbox"));
        world.assert_lawful();
    }
}

#[test]
fn f03_a_mass_deletion_in_the_cloud_is_held() {
    let world = World::new(60);
    let ids: Vec<String> = {
        world.sync();
        world.cloud.state("").unwrap().messages().map(|message| message.id.clone()).collect()
    };
    for id in &ids[..50] {
        world.cloud.delete_message("", id, Deletion::Purge).unwrap();
    }
    let names = world.files("INBOX");
    for arguments in [&["sync"][..], &["sync"], &["sync", "--online"], &["plan"]] {
        let held = world.cms(arguments);
        assert_eq!(held.status.code(), Some(4), "{arguments:?}: {}", held.stderr);
        assert!(
            format!("{}{}", held.stderr, held.stdout).contains("held: 50 of 60 messages are gone from `inbox`"),
            "{arguments:?}: {}",
            held.stderr
        );
        assert_eq!(world.files("INBOX"), names, "{arguments:?}");
    }
    // The rest goes on.
    world
        .cloud
        .set_flags(
            "",
            &ids[55],
            FlagChange { flag: Some(FlagStatus::Flagged), is_read: Some(true), ..FlagChange::default() },
        )
        .unwrap();
    world.receive("Inbox", "fresh");
    let daemon = world.start(&["run"]);
    daemon.wait_for_line("held: ");
    world.file_of("INBOX", "fresh");
    world.let_polls_pass(3);
    assert_eq!(world.files("INBOX").len(), 61);
    daemon.stop();

    world.configure("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\ncfg.max_deletions = 50\n");
    world.sync();
    world.assert_same("INBOX", "Inbox");
    assert_eq!(world.files("INBOX").len(), 11);
    world.assert_lawful();
}

#[test]
fn f04_a_mass_deletion_here_is_held() {
    let world = World::new(60);
    world.sync();
    for name in &world.files("INBOX")[..40] {
        world.set_letters("INBOX", name, "ST");
    }
    for arguments in [&["sync"][..], &["sync", "--offline"], &["plan"]] {
        let held = world.cms(arguments);
        assert_eq!(held.status.code(), Some(4), "{arguments:?}: {}", held.stderr);
        assert!(
            format!("{}{}", held.stderr, held.stdout).contains("held: 40 of 60 messages of `inbox` were deleted here"),
            "{arguments:?}: {}",
            held.stderr
        );
        assert_eq!((world.files("INBOX").len(), world.there("Inbox").len()), (60, 60), "{arguments:?}");
    }
    // What is taken back isn't held any more, and what is few is done.
    let trashed: Vec<String> = world.files("INBOX").into_iter().filter(|name| name.ends_with('T')).collect();
    for name in &trashed[..30] {
        world.set_letters("INBOX", name, "S");
    }
    world.sync();
    assert_eq!((world.files("INBOX").len(), world.there("Inbox").len(), world.there(TRASH).len()), (50, 50, 10));
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

#[test]
fn f01_a_mass_deletion_while_it_runs_is_held_and_comes_back_at_the_next_start() {
    let world = World::new(60);
    let daemon = world.daemon();
    let names = world.files("INBOX");
    for name in &names {
        world.unlink("INBOX", name);
    }
    daemon.wait_for_line("held: 60 of 60 messages of `inbox` were deleted here");
    world.let_polls_pass(3);
    assert_eq!((world.there("Inbox").len(), world.there(TRASH).len()), (60, 0));
    daemon.stop();
    world.sync();
    assert_eq!(world.files("INBOX"), names);
    world.assert_same("INBOX", "Inbox");
    wait_for("nothing was deleted", || world.there(TRASH).is_empty());
    world.assert_lawful();
}

#[test]
fn what_was_trashed_while_it_was_stopped_is_deleted_though_the_cloud_flagged_it() {
    for (arguments, deleted) in [(&["sync"][..], true), (&["sync", "--offline"], true), (&["sync", "--online"], false)]
    {
        let world = calm(8);
        let id = world.receive_read("Inbox", "trashed");
        world.sync();
        world.set_letters("INBOX", &world.file_of("INBOX", "trashed"), "ST");
        world
            .cloud
            .set_flags("", &id, FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() })
            .unwrap();
        let finished = world.cms(arguments);
        assert!(finished.status.success(), "{arguments:?}: {}", finished.stderr);
        assert_eq!(world.is_in(&id, TRASH), deleted, "{arguments:?}");
        if deleted {
            assert!(world.files_of("INBOX", "trashed").is_empty(), "{arguments:?}");
        } else {
            assert_eq!(letters(&world.file_of("INBOX", "trashed")), "FS");
        }
        world.assert_same("INBOX", "Inbox");
        world.assert_lawful();
    }
}

#[test]
fn the_daemon_discards_with_online_what_came_before_it_and_nothing_that_comes_after() {
    let world = calm(8);
    let ids = ["before", "after", "trashed after"].map(|subject| world.receive_read("Inbox", subject));
    world.sync();
    world.set_letters("INBOX", &world.file_of("INBOX", "before"), "FS");
    let daemon = world.start(&["run", "--online"]);
    daemon.wait_for_line("Both sides are the same");
    assert_eq!(letters(&world.file_of("INBOX", "before")), "S");
    world.set_letters("INBOX", &world.file_of("INBOX", "after"), "FS");
    world.set_letters("INBOX", &world.file_of("INBOX", "trashed after"), "ST");
    wait_for("the flag is told", || flagged(&world, &ids[1]));
    wait_for("the deletion is told", || world.is_in(&ids[2], TRASH));
    assert!(!flagged(&world, &ids[0]));
    world.wait_until_same("INBOX", "Inbox");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn no_policy_touches_a_file_that_is_only_here() {
    for arguments in [&["sync"][..], &["sync", "--online"], &["sync", "--offline"]] {
        let world = calm(5);
        world.sync();
        world.put("INBOX", "cur/1700000000.M1.elsewhere:2,FS", text("only here"));
        for _ in 0..2 {
            let finished = world.cms(arguments);
            assert!(finished.status.success(), "{arguments:?}: {}", finished.stderr);
            assert_eq!(world.files_of("INBOX", "only here"), ["cur/1700000000.M1.elsewhere:2,FS"], "{arguments:?}");
        }
        assert_eq!(world.files("INBOX").len(), 6, "{arguments:?}");
        world.assert_lawful();
    }
}

#[test]
fn f26_online_with_a_lost_state_takes_the_clouds_flags_and_deletes_nothing() {
    let world = calm(10);
    let mine = world.receive_read("Inbox", "flagged here");
    world.sync();
    world.set_letters("INBOX", &world.file_of("INBOX", "flagged here"), "FS");
    fs::remove_dir_all(world.path(".cms")).unwrap();
    world.cloud.reset_counters();
    let finished = world.cms(&["sync", "--online"]);
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(!flagged(&world, &mine));
    assert_eq!((world.files("INBOX").len(), world.there("Inbox").len(), world.asked("value")), (11, 11, 0));
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}
