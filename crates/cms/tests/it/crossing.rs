//! Changes that meet on their way, answers that lag behind, and many changes at once.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use simcloud::{Action, Deletion, Fault, FlagChange, FlagStatus, Knobs, NewMessage, Options};

use crate::mail_program::{INBOX_AND_LISTS, TRASH, base_name, letters, text};
use crate::world::{World, wait_for};

/// A world with an inbox and a folder of lists, each with a Maildir.
fn two_mailboxes(messages: usize, lists: usize, knobs: Knobs) -> World {
    let world = World::with(Options {
        messages,
        folders: vec![("Inbox/Lists".to_owned(), lists)],
        knobs,
        ..Options::default()
    });
    world.configure(INBOX_AND_LISTS);
    world
}

fn flag() -> FlagChange {
    FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() }
}

#[test]
fn f05_answers_that_lag_behind_undo_nothing() {
    let world = two_mailboxes(5, 3, Knobs { delta_lag_ms: 2500, ..Knobs::calm() });
    let subjects = ["flagged", "toggled", "filed", "deleted"];
    let [flagged, toggled, filed, deleted] = subjects.map(|subject| world.receive_read("Inbox", subject));
    wait_for("delta shows all", || {
        world.sync();
        world.files("INBOX").len() == 9
    });
    let daemon = world.daemon();
    world.cloud.reset_counters();
    let names = subjects.map(|subject| world.file_of("INBOX", subject));
    world.set_letters("INBOX", &names[0], "FS");
    let name = world.set_letters("INBOX", &names[1], "");
    world.rename("INBOX", &names[2], "Lists", &names[2]);
    world.unlink("INBOX", &names[3]);
    wait_for("it is unread", || !world.message(&toggled).unwrap().is_read);
    world.set_letters("INBOX", &name, "S");
    wait_for("it is read", || world.message(&toggled).unwrap().is_read);
    wait_for("it is deleted", || world.is_in(&deleted, TRASH));
    wait_for("it is filed", || world.is_in(&filed, "Inbox/Lists"));
    world.let_polls_pass(14);
    assert_eq!(
        (world.asked("patch"), world.asked("move"), world.asked("value")),
        (3, 2, 0),
        "{:?}",
        world.cloud.counters().requests
    );
    assert_eq!(world.message(&flagged).unwrap().flag, FlagStatus::Flagged);
    world.assert_same("INBOX", "Inbox");
    world.assert_same("Lists", "Inbox/Lists");
    assert_eq!(world.file_of("Lists", "filed"), names[2]);
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn f05_an_answer_that_was_under_way_when_something_was_done_here_undoes_nothing() {
    let world = World::with(Options { messages: 3, knobs: Knobs::calm(), ..Options::default() });
    let subjects = ["flagged", "unread", "trashed"];
    let ids = subjects.map(|subject| world.receive_read("Inbox", subject));
    let daemon = world.daemon();
    let names = subjects.map(|subject| world.file_of("INBOX", subject));
    // The answer tells of all three as they are before anything is done here.
    world.cloud.inject(Fault::once("delta", Action::DelayAfter { milliseconds: 3000 }));
    for id in &ids {
        world.cloud.set_flags("", id, FlagChange { replied: Some(true), ..FlagChange::default() }).unwrap();
    }
    let answered = || world.cloud.requests(0).iter().filter(|request| request.kind == "delta").count();
    let before = answered();
    wait_for("the cloud is asked", || world.cloud.faults().iter().all(|rule| rule.fired > 0));
    std::thread::sleep(Duration::from_millis(100));
    world.set_letters("INBOX", &names[0], "FS");
    world.set_letters("INBOX", &names[1], "");
    world.set_letters("INBOX", &names[2], "ST");
    wait_for("it is done there", || {
        world.message(&ids[0]).unwrap().flag == FlagStatus::Flagged
            && !world.message(&ids[1]).unwrap().is_read
            && world.is_in(&ids[2], TRASH)
    });
    assert_eq!(answered(), before, "the old answer came too early");
    let is_undone = || {
        let has = |subject: &str, letter: char| {
            world.files_of("INBOX", subject).iter().any(|name| letters(name).contains(letter))
        };
        !has("flagged", 'F') || has("unread", 'S') || !world.files_of("INBOX", "trashed").is_empty()
    };
    wait_for("the file goes", || world.files_of("INBOX", "trashed").is_empty());
    wait_for("some more polls", || {
        assert!(!is_undone(), "{:?}\n{}", world.files("INBOX"), daemon.stderr());
        answered() > before + 4
    });
    world.wait_until_same("INBOX", "Inbox");
    assert_eq!((world.asked("patch"), world.asked("move")), (2, 1), "{}", daemon.stderr());
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn f07_files_that_are_moved_while_it_is_stopped_are_moves_in_the_cloud() {
    let world = two_mailboxes(5, 3, Knobs::calm());
    let [renamed, copied, to_and_fro] =
        ["renamed", "copied", "to and fro"].map(|subject| world.receive_read("Inbox", subject));
    world.sync();
    world.cloud.reset_counters();
    let names = ["renamed", "copied", "to and fro"].map(|subject| world.file_of("INBOX", subject));
    world.rename("INBOX", &names[0], "Lists", &format!("{}F", names[0]).replace("SF", "FS"));
    world.put("Lists", "cur/1700000000.copy:2,S", text("copied"));
    world.unlink("INBOX", &names[1]);
    world.rename("INBOX", &names[2], "Lists", &names[2]);
    world.rename("Lists", &names[2], "INBOX", &names[2]);
    world.sync();
    assert!(
        world.is_in(&renamed, "Inbox/Lists")
            && world.is_in(&copied, "Inbox/Lists")
            && world.is_in(&to_and_fro, "Inbox")
    );
    world.assert_same("INBOX", "Inbox");
    world.assert_same("Lists", "Inbox/Lists");
    assert_eq!((world.asked("move"), world.asked("patch"), world.asked("value"), world.asked("delete")), (2, 1, 0, 0));
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    world.assert_lawful();
}

#[test]
fn a_move_here_and_a_flag_there_and_the_other_way_round() {
    let world = two_mailboxes(5, 3, Knobs::default());
    let subjects =
        ["moved here", "moved there", "moved on both sides", "moved here, deleted there", "deleted here, moved there"];
    let [here, there, both, lost, kept] = subjects.map(|subject| world.receive_read("Inbox", subject));
    world.sync();
    let names = subjects.map(|subject| world.file_of("INBOX", subject));
    world.rename("INBOX", &names[0], "Lists", &names[0]);
    world.cloud.set_flags("", &here, flag()).unwrap();
    world.set_letters("INBOX", &names[1], "FS");
    world.cloud.move_message("", &there, "Inbox/Lists").unwrap();
    world.rename("INBOX", &names[2], "Lists", &names[2]);
    world.cloud.move_message("", &both, "Inbox/Lists").unwrap();
    world.rename("INBOX", &names[3], "Lists", &names[3]);
    world.cloud.delete_message("", &lost, Deletion::Trash).unwrap();
    world.set_letters("INBOX", &names[4], "ST");
    world.cloud.move_message("", &kept, "Inbox/Lists").unwrap();
    world.sync();
    for id in [&here, &there, &both, &kept] {
        assert!(world.is_in(id, "Inbox/Lists"), "{:?}", world.message(id));
    }
    assert!(world.is_in(&lost, TRASH));
    for (at, expected) in [(0, "FS"), (1, "FS"), (2, "S"), (4, "S")] {
        let name = world.file_of("Lists", subjects[at]);
        assert_eq!((base_name(&name), letters(&name)), (base_name(&names[at]), expected), "{}", subjects[at]);
    }
    world.assert_same("INBOX", "Inbox");
    world.assert_same("Lists", "Inbox/Lists");
    world.assert_lawful();
}

#[test]
fn a_file_that_is_away_for_a_moment_was_not_deleted() {
    let world = World::new(5);
    let id = world.receive("Inbox", "away");
    let last = world.receive("Inbox", "last");
    let daemon = world.daemon();
    let name = world.file_of("INBOX", "away");
    fs::rename(world.path("INBOX").join(&name), world.path("away")).unwrap();
    world.let_polls_pass(1);
    fs::rename(world.path("away"), world.path("INBOX").join(&name)).unwrap();
    world.let_deletions_settle("last", &last);
    world.let_polls_pass(3);
    assert!(world.is_in(&id, "Inbox"));
    assert_eq!(world.file_of("INBOX", "away"), name);
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn a_copy_is_a_file_of_its_own_until_the_first_goes() {
    let world = two_mailboxes(5, 3, Knobs::calm());
    let id = world.receive_read("Inbox", "copied");
    let daemon = world.daemon();
    world.cloud.reset_counters();
    let first = world.file_of("INBOX", "copied");
    for name in ["cur/1700000000.one:2,S", "cur/1700000001.two:2,S"] {
        world.put("Lists", name, text("copied"));
    }
    world.put("INBOX", "cur/1700000002.three:2,FS", text("copied"));
    daemon.wait_for_line("`1700000002.three` in `");
    assert_eq!((world.files_of("INBOX", "copied").len(), world.files_of("Lists", "copied").len()), (2, 2));
    for kind in ["patch", "move", "create", "value"] {
        assert_eq!(world.asked(kind), 0, "{kind}");
    }
    // The cloud deletes it: the copies are the user's.
    world.cloud.delete_message("", &id, Deletion::Trash).unwrap();
    wait_for("the first is gone", || world.files_of("INBOX", "copied").len() == 1);
    assert!(!world.files_of("INBOX", "copied").contains(&first));
    world.let_polls_pass(4);
    assert_eq!((world.files_of("INBOX", "copied").len(), world.files_of("Lists", "copied").len()), (1, 2));
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn a_copy_that_is_written_slowly_is_known_once_it_is_whole() {
    let world = two_mailboxes(5, 3, Knobs::calm());
    let id = world.receive_read("Inbox", "copied");
    let daemon = world.daemon();
    let name = world.file_of("INBOX", "copied");
    let whole = text("copied");
    let (first, second) = whole.split_at(whole.len() / 2);
    // As `cp` does it, in place under the final name.
    let mut copy = fs::File::create_new(world.path("Lists/cur/1700000000.slow:2,S")).unwrap();
    copy.write_all(first.as_bytes()).unwrap();
    world.let_polls_pass(2);
    copy.write_all(second.as_bytes()).unwrap();
    drop(copy);
    world.unlink("INBOX", &name);
    wait_for("the message is in the other folder", || world.is_in(&id, "Inbox/Lists"));
    world.let_polls_pass(4);
    assert_eq!(world.file_of("Lists", "copied"), "cur/1700000000.slow:2,S");
    assert!(world.files_of("INBOX", "copied").is_empty());
    assert_eq!((world.asked("move"), world.asked("delete"), world.there(TRASH).len()), (1, 0, 0));
    world.assert_same("Lists", "Inbox/Lists");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn flags_arrive_though_changes_are_refused_at_first() {
    let world = World::with(Options {
        messages: 25,
        knobs: Knobs { patch_conflict: 0.5, ..Knobs::default() },
        ..Options::default()
    });
    let daemon = world.daemon();
    for name in world.files("INBOX") {
        world.set_letters("INBOX", &name, "FS");
    }
    world.wait_until_same("INBOX", "Inbox");
    assert!(world.files("INBOX").iter().all(|name| letters(name) == "FS"));
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn flags_that_the_cloud_does_not_take_are_kept_here_and_not_fought_over() {
    let knobs = Knobs { patch_ignored: 1.0, ..Knobs::calm() };
    let world = World::with(Options { messages: 25, knobs, ..Options::default() });
    let id = world.receive("Inbox", "marked");
    let daemon = world.daemon();
    let there = world.there("Inbox");
    world.set_letters("INBOX", &world.file_of("INBOX", "marked"), "FS");
    wait_for("the cloud is told", || world.asked("patch") > 0);
    world.let_polls_pass(4);
    assert_eq!(letters(&world.file_of("INBOX", "marked")), "FS");
    assert!((1..=3).contains(&world.asked("patch")), "asked {} times", world.asked("patch"));
    assert_eq!(world.there("Inbox"), there);
    world.cloud.turn(|knobs| knobs.patch_ignored = 0.0);
    // What changes next is told as ever.
    world.set_letters("INBOX", &world.file_of("INBOX", "marked"), "FRS");
    wait_for("it is replied to", || world.message(&id).unwrap().verb == Some(103));
    assert_eq!(letters(&world.file_of("INBOX", "marked")), "FRS");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn of_twins_the_one_that_is_filed_moves_and_the_one_that_is_deleted_goes() {
    let world = two_mailboxes(5, 3, Knobs::calm());
    let twins: Vec<String> = (0..4).map(|_| world.receive_read("Inbox", "twin")).collect();
    let daemon = world.daemon();
    let names = world.files_of("INBOX", "twin");
    assert_eq!(names.len(), 4);
    world.cloud.reset_counters();
    world.rename("INBOX", &names[0], "Lists", &names[0]);
    world.unlink("INBOX", &names[1]);
    world.put("Lists", "cur/1700000000.copy:2,S", text("twin"));
    world.unlink("INBOX", &names[2]);
    wait_for("two are filed", || world.there("Inbox/Lists").len() == 5);
    wait_for("one is deleted", || world.there(TRASH).len() == 1);
    world.let_polls_pass(4);
    assert_eq!((world.asked("move"), world.asked("value"), world.asked("delete")), (3, 0, 0));
    assert_eq!(world.files_of("INBOX", "twin"), [names[3].clone()]);
    assert_eq!(world.files_of("Lists", "twin").len(), 2);
    assert_eq!(twins.iter().filter(|id| world.is_in(id, "Inbox")).count(), 1);
    world.assert_same("INBOX", "Inbox");
    world.assert_same("Lists", "Inbox/Lists");
    // Each file is still linked to a message of its own.
    let left = twins.iter().find(|id| world.is_in(id, "Inbox")).unwrap();
    world.cloud.set_flags("", left, flag()).unwrap();
    world.wait_until_same("INBOX", "Inbox");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn f28_the_copy_that_a_move_is_under_way_for_is_not_that_of_a_twin() {
    let world = two_mailboxes(5, 3, Knobs { latency_ms: 600, ..Knobs::calm() });
    let twins: Vec<String> = (0..2).map(|_| world.receive_read("Inbox", "twin")).collect();
    let daemon = world.daemon();
    let names = world.files_of("INBOX", "twin");
    world.cloud.reset_counters();
    world.unlink("INBOX", &names[0]);
    world.put("Lists", "cur/1700000000.copy:2,S", text("twin"));
    // The service has filed it, and its answer is yet to come.
    wait_for("one is filed", || world.there("Inbox/Lists").len() == 4);
    world.unlink("INBOX", &names[1]);
    wait_for("the other is deleted", || world.there(TRASH).len() == 1);
    assert_eq!(world.asked("move"), 2);
    assert_eq!(twins.iter().filter(|id| world.is_in(id, "Inbox")).count(), 0);
    world.wait_until_same("Lists", "Inbox/Lists");
    assert_eq!(world.files_of("Lists", "twin").len(), 1);
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn f19_a_move_whose_answers_are_lost_and_that_is_taken_back_meanwhile_is_taken_back() {
    let world = two_mailboxes(5, 3, Knobs::calm());
    let id = world.receive_read("Inbox", "moved");
    let daemon = world.start(&["run", "-vv"]);
    daemon.wait_for_line("Both sides are the same");
    wait_for("it is here", || world.files_of("INBOX", "moved").len() == 1);
    let name = world.file_of("INBOX", "moved");
    // It is made each time, and said to have failed.
    world.cloud.inject(Fault::always("move", Action::StatusAfter { status: 503 }));
    world.rename("INBOX", &name, "Lists", &name);
    wait_for("it is moved", || world.is_in(&id, "Inbox/Lists"));
    world.rename("Lists", &name, "INBOX", &name);
    daemon.wait_for_line("Nobody knows whether the cloud made the change");
    world.cloud.clear_faults();
    wait_for("it is moved back", || world.is_in(&id, "Inbox"));
    world.let_polls_pass(4);
    world.assert_same("INBOX", "Inbox");
    world.assert_same("Lists", "Inbox/Lists");
    assert_eq!(world.file_of("INBOX", "moved"), name);
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn many_files_can_be_filed_at_once() {
    let world = two_mailboxes(150, 40, Knobs::default());
    let daemon = world.daemon();
    let downloads: u64 = world.cloud.downloads("").values().sum();
    let names = world.files("INBOX");
    for (number, name) in names.iter().enumerate() {
        match number % 3 {
            0 => world.rename("INBOX", name, "Lists", name),
            1 => {
                let bytes = fs::read(world.path("INBOX").join(name)).unwrap();
                world.put("Lists", &format!("cur/17{number:08}.mutt:2,{}", letters(name)), bytes);
                world.unlink("INBOX", name);
            }
            _ => {}
        }
    }
    wait_for("all are filed", || world.there("Inbox/Lists").len() == 140);
    world.wait_until_same("INBOX", "Inbox");
    world.wait_until_same("Lists", "Inbox/Lists");
    world.let_polls_pass(6);
    world.assert_same("INBOX", "Inbox");
    world.assert_same("Lists", "Inbox/Lists");
    assert_eq!((world.files("INBOX").len(), world.files("Lists").len(), world.there(TRASH).len()), (50, 140, 0));
    assert_eq!(world.cloud.downloads("").values().sum::<u64>(), downloads);
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn a_draft_is_kept_when_it_is_edited_on_one_side_and_deleted_on_the_other() {
    let world = World::with(Options { folders: vec![("drafts".to_owned(), 0)], ..Options::default() });
    world.configure("MailDir(\"Drafts\")\nOffice365(\"drafts\", account, upload=\"none\")\n");
    let draft = |subject: &str| NewMessage { is_draft: true, ..NewMessage::mime("drafts", text(subject)) };
    let subjects = ["deleted here", "deleted there", "running"];
    let [here, there, running] = subjects.map(|subject| world.cloud.add_message("", draft(subject)).unwrap());
    world.sync();
    let names = subjects.map(|subject| world.file_of("Drafts", subject));
    world.set_letters("Drafts", &names[0], "DST");
    world.cloud.edit_draft("", &here, text("deleted here, edited there").as_bytes()).unwrap();
    world.put("Drafts", &names[1], text("deleted there, edited here"));
    world.cloud.delete_message("", &there, Deletion::Purge).unwrap();
    world.sync();
    assert!(world.is_in(&here, "Drafts"));
    let name = world.file_of("Drafts", "deleted here, edited there");
    assert!(!letters(&name).contains('T'), "{name}");
    assert_eq!(world.file_of("Drafts", "deleted there, edited here"), names[1]);

    let daemon = world.daemon();
    world.put("Drafts", &names[2], text("running, edited here"));
    daemon.wait_for_line("was edited here");
    world.cloud.edit_draft("", &running, text("running, edited there").as_bytes()).unwrap();
    world.file_of("Drafts", "running, edited there");
    world.let_polls_pass(3);
    assert_eq!(world.file_of("Drafts", "running, edited here"), names[2]);
    assert_eq!((world.files("Drafts").len(), world.there("Drafts").len()), (4, 2));
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn f14_a_service_that_builds_mail_anew_each_time_is_asked_once_for_each_message() {
    let knobs = Knobs { rebuild_mime: true, unstable_mime: true, ..Knobs::default() };
    let world = two_mailboxes(20, 5, knobs);
    let id = world.receive_read("Inbox", "travels");
    let daemon = world.daemon();
    let name = world.file_of("INBOX", "travels");
    world.cloud.move_message("", &id, "Inbox/Lists").unwrap();
    assert_eq!(world.file_of("Lists", "travels"), name);
    world.rename("Lists", &name, "INBOX", &name);
    wait_for("it is back", || world.is_in(&id, "Inbox"));
    world.cloud.kill_delta_tokens("").unwrap();
    world.cloud.set_flags("", &id, flag()).unwrap();
    wait_for("the flag shows", || letters(&world.file_of("INBOX", "travels")) == "FS");
    daemon.stop();
    assert!(world.cloud.downloads("").values().all(|count| *count == 1), "{:?}", world.cloud.downloads(""));

    // With no state but the Maildir, the names tell which message is which.
    fs::remove_dir_all(world.path(".cms")).unwrap();
    let names = (world.files("INBOX"), world.files("Lists"));
    world.sync();
    assert_eq!((world.files("INBOX"), world.files("Lists")), names);
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    world.cloud.set_flags("", &id, FlagChange { is_read: Some(false), ..FlagChange::default() }).unwrap();
    world.set_letters("INBOX", &world.file_of("INBOX", "travels"), "FRS");
    world.sync();
    assert_eq!(letters(&world.file_of("INBOX", "travels")), "FR");
    assert_eq!(world.message(&id).unwrap().verb, Some(103));
    world.assert_lawful();
}

#[test]
fn deleting_where_the_trash_is_a_maildir_works_under_a_flawed_service() {
    let world =
        World::with(Options { messages: 40, folders: vec![("deleteditems".to_owned(), 5)], ..Options::default() });
    world.configure(
        "inbox = MailDir(\"INBOX\")\ntrash = MailDir(\"Trash\")\nOffice365(\"inbox\", account)\nOffice365(\"deleteditems\", account)\n\
         cfg.direct_message = lambda msg: trash if msg.mailbox == \"deleteditems\" else inbox\n",
    );
    let daemon = world.daemon();
    let names = world.files("INBOX");
    for (number, name) in names[..16].iter().enumerate() {
        if number % 2 == 0 {
            world.unlink("INBOX", name);
        } else {
            world.set_letters("INBOX", name, "ST");
        }
    }
    wait_for("all are in the trash", || world.there(TRASH).len() == 21);
    world.wait_until_same("Trash", TRASH);
    world.wait_until_same("INBOX", "Inbox");
    world.let_polls_pass(6);
    world.assert_same("Trash", TRASH);
    world.assert_same("INBOX", "Inbox");
    // Out of the trash again, by hand here and by hand there.
    let saved = world.files("Trash")[0].clone();
    let plain = format!("cur/{}:2,S", base_name(&saved));
    world.rename("Trash", &saved, "INBOX", &plain);
    wait_for("it is saved", || world.there("Inbox").len() == 25);
    let id = world.cloud.state("").unwrap().messages().find(|message| message.folder == TRASH).unwrap().id.clone();
    world.cloud.move_message("", &id, "Inbox").unwrap();
    wait_for("the other is saved", || world.files("INBOX").len() == 26);
    world.wait_until_same("Trash", TRASH);
    world.wait_until_same("INBOX", "Inbox");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn a_plan_that_the_disk_has_overtaken_is_made_anew() {
    let world = World::with(Options { messages: 0, knobs: Knobs::calm(), ..Options::default() });
    let subjects = ["one", "two", "three", "four"];
    let ids = subjects.map(|subject| world.receive("Inbox", subject));
    world.sync();
    // The Maildir is listed, and before the cloud answers a mail program renames what it found. One of the renames that
    // the cloud's answer asks for comes upon that, and the others mustn't be done either as if nothing had happened.
    for id in &ids {
        world.cloud.set_flags("", id, FlagChange { is_read: Some(true), ..FlagChange::default() }).unwrap();
    }
    world.cloud.inject(Fault::once("delta", Action::Delay { milliseconds: 1500 }));
    let running = world.start(&["sync"]);
    wait_for("the cloud is asked", || world.cloud.faults().iter().any(|fault| fault.fired > 0));
    // Time in which four names are listed.
    std::thread::sleep(Duration::from_millis(500));
    for subject in subjects {
        world.set_letters("INBOX", &world.file_of("INBOX", subject), "F");
    }
    let finished = running.finish();
    assert!(finished.status.success(), "{}", finished.stderr);
    for (subject, id) in subjects.iter().zip(&ids) {
        let message = world.message(id).unwrap();
        assert!(message.is_read && message.flag == FlagStatus::Flagged, "{message:?}");
        assert_eq!(letters(&world.file_of("INBOX", subject)), "FS");
    }
    world.assert_lawful();
}
