//! Five things that a simpler synchronizer gets wrong.

use std::fs;

use simcloud::{Action, Deletion, Fault, FlagChange, FlagStatus, Knobs, NewMessage, Options};

use crate::mail_program::{INBOX_AND_LISTS, TRASH, base_name, text};
use crate::world::{World, wait_for};

#[test]
fn a_file_that_only_the_maildir_has_stays_and_is_told_once() {
    let world = World::new(3);
    let daemon = world.daemon();
    for (name, subject) in [("new/1.a.host", "mine"), ("cur/2.b.host:2,S", "mine too")] {
        world.put("INBOX", name, text(subject));
    }
    daemon.wait_for_line("`1.a.host` in `");
    daemon.wait_for_line("`2.b.host` in `");
    world.let_polls_pass(2);
    let told = daemon.stop().stderr;
    assert_eq!(told.matches("is only here").count(), 2, "{told}");

    let told = world.sync().stderr;
    assert!(!told.contains("is only here"), "{told}");
    assert_eq!(fs::read_to_string(world.path("INBOX/new/1.a.host")).unwrap(), text("mine"));
    assert_eq!(fs::read_to_string(world.path("INBOX/cur/2.b.host:2,S")).unwrap(), text("mine too"));
    assert_eq!(world.files("INBOX").len(), 5);
    assert_eq!((world.there("Inbox").len(), world.there(TRASH).len(), world.asked("create")), (3, 0, 0));
    world.assert_lawful();
}

#[test]
fn identical_twins_stay_as_many_as_they_are_each_with_its_own_flags() {
    let world = World::new(45);
    let twins: Vec<String> = (0..5)
        .map(|number| {
            // Two were received at the same second, the others at seconds of their own.
            let received = Some(1_700_000_000 + 60 * i64::from(u8::max(number, 1)));
            world.cloud.add_message("", NewMessage { received, ..NewMessage::mime("Inbox", text("twin")) }).unwrap()
        })
        .collect();
    let daemon = world.daemon();
    world.assert_same("INBOX", "Inbox");
    assert_eq!(world.files("INBOX").len(), 50);
    assert_eq!(world.files_of("INBOX", "twin").len(), 5);

    world.cloud.set_flags("", &twins[1], FlagChange { is_read: Some(true), ..FlagChange::default() }).unwrap();
    world.wait_until_same("INBOX", "Inbox");
    let unread = |world: &World| -> Vec<String> {
        world.files_of("INBOX", "twin").into_iter().filter(|name| name.starts_with("new/")).collect()
    };
    assert_eq!(unread(&world).len(), 4);

    let flagged = world.set_letters("INBOX", &unread(&world)[0], "F");
    let count_flagged = || world.there("Inbox").iter().filter(|(_, flags)| flags == "F").count();
    let before = count_flagged();
    wait_for("the flag is in the cloud", || count_flagged() == before + 1);
    world.wait_until_same("INBOX", "Inbox");

    let gone = unread(&world)[0].clone();
    world.unlink("INBOX", &gone);
    wait_for("a twin is in the trash", || world.there(TRASH).len() == 1);
    world.wait_until_same("INBOX", "Inbox");
    assert_eq!(world.files_of("INBOX", "twin").len(), 4);

    let plain = |id: &&String| {
        let message = world.message(id).unwrap();
        message.folder == "Inbox" && !message.is_read && message.flag == FlagStatus::NotFlagged
    };
    let left = twins.iter().find(plain).unwrap();
    world.cloud.delete_message("", left, Deletion::Trash).unwrap();
    world.wait_until_same("INBOX", "Inbox");
    world.let_polls_pass(3);
    world.assert_same("INBOX", "Inbox");
    assert_eq!(world.files_of("INBOX", "twin").len(), 3);
    assert_eq!((world.files("INBOX").len(), world.there("Inbox").len(), world.there(TRASH).len()), (48, 48, 2));
    assert!(world.files_of("INBOX", "twin").iter().any(|name| base_name(name) == base_name(&flagged)));
    daemon.stop();
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    world.assert_lawful();
}

#[test]
fn a_body_that_breaks_off_is_never_delivered_by_half() {
    for gzip in [false, true] {
        let world =
            World::with(Options { messages: 12, knobs: Knobs { gzip, ..Knobs::default() }, ..Options::default() });
        // What comes in a batch that breaks off is asked for message by message.
        for after in [0, 100, 1000, 3000] {
            world.cloud.inject(Fault::once("batch", Action::Truncate { after }));
        }
        for (skip, after) in [(0, 0), (2, 500), (2, 100), (2, 1)] {
            world.cloud.inject(Fault { skip, ..Fault::once("value", Action::Truncate { after }) });
        }
        let finished = world.cms(&["sync"]);
        assert_eq!(world.cloud.counters().faults_injected, 8, "gzip {gzip}: {}", finished.stderr);
        assert!(finished.status.success(), "gzip {gzip}: {}", finished.stderr);
        world.assert_same("INBOX", "Inbox");

        // One that never comes whole isn't delivered at all, and spoils nothing else.
        let hopeless = world.cloud.add_message("", NewMessage::generated("Inbox")).unwrap();
        let fine = world.receive("Inbox", "short");
        let path = format!("{hopeless}/$value");
        let number = world.cloud.inject(Fault { path, ..Fault::always("value", Action::Truncate { after: 90 }) });
        let failed = world.cms(&["sync"]);
        assert!(!failed.status.success(), "gzip {gzip}: {}", failed.stderr);
        let whole = world.there("Inbox");
        let here = world.here("INBOX");
        assert!(
            here.iter().all(|message| whole.contains(message)),
            "gzip {gzip}: a message that the cloud doesn't have: {here:?}"
        );
        assert!(here.len() < whole.len());
        assert!(!fs::read_dir(world.path("INBOX/tmp")).unwrap().any(|_| true), "gzip {gzip}: something is left in tmp");

        world.cloud.remove_fault(number);
        world.sync();
        world.assert_same("INBOX", "Inbox");
        assert!(world.is_in(&fine, "Inbox") && world.is_in(&hopeless, "Inbox"));
        world.assert_lawful();
    }
}

/// How a message gets from one Maildir into another.
#[derive(Clone, Copy, Debug)]
enum Filing {
    /// `mv`.
    Rename,
    /// A rename under a name of the program's own.
    RenameAnew,
    /// `cp` and `rm`: mutt writes a copy under a new name, then unlinks the old file.
    CopyAndUnlink,
    /// The same with `maildir_trash`: the old file gets the Trash flag instead.
    CopyAndTrash,
}

#[test]
fn f07_a_message_filed_by_hand_is_one_move_in_the_cloud() {
    for filing in [Filing::Rename, Filing::RenameAnew, Filing::CopyAndUnlink, Filing::CopyAndTrash] {
        let world = World::with(Options {
            messages: 5,
            folders: vec![("Inbox/Lists".to_owned(), 4)],
            knobs: Knobs::calm(),
            ..Options::default()
        });
        world.configure(INBOX_AND_LISTS);
        let read = world.receive_read("Inbox", "filed");
        let unread = world.receive("Inbox", "filed unread");
        let daemon = world.daemon();
        world.cloud.reset_counters();
        for (number, (id, subject)) in [(&read, "filed"), (&unread, "filed unread")].into_iter().enumerate() {
            let name = world.file_of("INBOX", subject);
            let (place, _) = name.split_once('/').unwrap();
            let suffix = if place == "cur" { ":2,S" } else { "" };
            let anew = format!("{place}/170000000{number}.R7.mutt{suffix}");
            let target = match filing {
                Filing::Rename => name.clone(),
                _ => anew,
            };
            match filing {
                Filing::Rename | Filing::RenameAnew => world.rename("INBOX", &name, "Lists", &target),
                Filing::CopyAndUnlink => {
                    world.put("Lists", &target, text(subject));
                    world.unlink("INBOX", &name);
                }
                Filing::CopyAndTrash => {
                    world.put("Lists", &target, text(subject));
                    world.set_letters("INBOX", &name, if suffix.is_empty() { "T" } else { "ST" });
                }
            }
            wait_for("the message is in the other folder", || world.is_in(id, "Inbox/Lists"));
            wait_for("the old file is gone", || world.files_of("INBOX", subject).is_empty());
            world.let_polls_pass(4);
            assert_eq!(base_name(&world.file_of("Lists", subject)), base_name(&target), "{filing:?}");
        }
        assert_eq!(world.asked("move"), 2, "{filing:?}: {:?}", world.cloud.counters().requests);
        for kind in ["value", "create", "put-value", "copy", "delete", "patch"] {
            assert_eq!(world.asked(kind), 0, "{filing:?}: {kind}");
        }
        world.assert_same("INBOX", "Inbox");
        world.assert_same("Lists", "Inbox/Lists");
        assert_eq!((world.there("Inbox").len(), world.there("Inbox/Lists").len(), world.there(TRASH).len()), (5, 6, 0));
        daemon.stop();
        world.assert_lawful();
    }
}

#[test]
fn flags_and_trash_flags_that_were_set_while_it_was_stopped_are_told() {
    let world = World::new(10);
    let [flagged, read, trashed] = ["flagged", "read", "trashed"].map(|subject| world.receive("Inbox", subject));
    world.sync();
    for (subject, letters) in [("flagged", "F"), ("read", "RS"), ("trashed", "ST")] {
        world.set_letters("INBOX", &world.file_of("INBOX", subject), letters);
    }
    world.sync();
    assert_eq!(world.message(&flagged).unwrap().flag, FlagStatus::Flagged);
    let read = world.message(&read).unwrap();
    assert!(read.is_read && read.verb == Some(103) && read.icon == Some(261), "{read:?}");
    assert!(world.is_in(&trashed, TRASH));
    assert!(world.files_of("INBOX", "trashed").is_empty());
    assert_eq!((world.there("Inbox").len(), world.there(TRASH).len()), (12, 1));
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}
