//! A configuration that changes: what leaves it is left alone on both sides, and what comes in is taken as it is.

use std::fs;

use simcloud::{Deletion, FlagChange, Options};

use crate::mail_program::{INBOX_AND_LISTS, TRASH};
use crate::world::World;

/// The same Maildirs as [`INBOX_AND_LISTS`], without the second mailbox.
const INBOX_ALONE: &str = "inbox = MailDir(\"INBOX\")\nlists = MailDir(\"Lists\")\nOffice365(\"inbox\", account)\n";

fn two() -> World {
    let world =
        World::with(Options { messages: 6, folders: vec![("Inbox/Lists".to_owned(), 30)], ..Options::default() });
    world.configure(INBOX_AND_LISTS);
    world
}

/// That nothing was changed in the cloud.
fn assert_unchanged(world: &World) {
    for kind in ["patch", "move", "delete"] {
        assert_eq!(world.asked(kind), 0, "{kind}");
    }
    assert!(world.there(TRASH).is_empty());
}

#[test]
fn f34_a_mailbox_that_leaves_the_configuration_loses_nothing_on_either_side() {
    let world = two();
    let id = world.receive("Inbox/Lists", "deleted there meanwhile");
    world.sync();
    let (names, there) = (world.files("Lists"), world.there("Inbox/Lists"));
    world.cloud.reset_counters();

    world.configure(INBOX_ALONE);
    let finished = world.sync();
    assert!(finished.stderr.contains("nothing to do"), "{}", finished.stderr);
    assert_eq!((world.files("Lists"), world.there("Inbox/Lists")), (names.clone(), there));
    // Whatever happens to it now is nobody's concern.
    let daemon = world.daemon();
    world.unlink("Lists", &names[0]);
    world.set_letters("Lists", &names[1], "ST");
    world.cloud.delete_message("", &id, Deletion::Purge).unwrap();
    world.receive("Inbox", "fresh");
    world.file_of("INBOX", "fresh");
    world.let_polls_pass(3);
    daemon.stop();
    assert_eq!((world.files("Lists").len(), world.there("Inbox/Lists").len()), (30, 30));
    assert_unchanged(&world);

    // It comes back: what vanished unseen comes back, and what is gone there goes.
    let trashed = world.files("Lists").into_iter().find(|name| name.ends_with("ST")).unwrap();
    world.set_letters("Lists", &trashed, "S");
    world.configure(INBOX_AND_LISTS);
    world.sync();
    world.assert_same("Lists", "Inbox/Lists");
    assert_eq!(world.files("Lists").len(), 30);
    assert!(world.files_of("Lists", "deleted there meanwhile").is_empty());
    world.assert_lawful();
}

#[test]
fn f34_a_maildir_that_leaves_the_configuration_keeps_its_files() {
    let world = World::new(20);
    world.sync();
    let (names, there) = (world.files("INBOX"), world.there("Inbox"));
    world.cloud.reset_counters();
    world.configure("MailDir(\"Elsewhere\")\nOffice365(\"inbox\", account)\n");
    world.sync();
    assert_eq!(world.files("INBOX"), names, "the old files stay");
    world.assert_same("Elsewhere", "Inbox");
    assert_eq!(world.asked("value"), 0, "and nothing is downloaded again");
    assert_unchanged(&world);
    assert_eq!(world.there("Inbox"), there);
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    world.assert_lawful();
}

#[test]
fn f34_a_maildir_that_was_moved_is_found_under_its_new_path() {
    let world = World::new(20);
    let id = world.receive("Inbox", "read meanwhile");
    world.sync();
    let names: Vec<u64> = world.files("INBOX").iter().map(|name| world.inode("INBOX", name)).collect();
    fs::rename(world.path("INBOX"), world.path("Moved")).unwrap();
    let file = world.file_of("Moved", "read meanwhile");
    world.set_letters("Moved", &file, "S");
    world.configure("MailDir(\"Moved\")\nOffice365(\"inbox\", account)\ncfg.state_dir = \".cms\"\n");
    world.cloud.reset_counters();
    let finished = world.sync();
    assert!(!finished.stderr.contains("delivered"), "{}", finished.stderr);
    assert!(world.message(&id).unwrap().is_read, "what was changed there counts");
    world.assert_same("Moved", "Inbox");
    let mut after: Vec<u64> = world.files("Moved").iter().map(|name| world.inode("Moved", name)).collect();
    let mut before = names;
    after.sort_unstable();
    before.sort_unstable();
    assert_eq!(after, before, "no file was made anew");
    assert_eq!(world.asked("value"), 0);
    world.assert_lawful();
}

#[test]
fn f34_a_rule_that_changed_moves_no_old_mail() {
    let world = two();
    world.sync();
    let names = (world.files("INBOX"), world.files("Lists"));
    world.configure(
        &INBOX_AND_LISTS.replace("return lists if msg.mailbox == \"Inbox/Lists\" else inbox", "return inbox"),
    );
    world.cloud.reset_counters();
    world.sync();
    assert_eq!((world.files("INBOX"), world.files("Lists")), names);
    assert_unchanged(&world);
    world.cloud.set_flags("", &world.receive("Inbox/Lists", "new"), FlagChange::default()).unwrap();
    world.sync();
    world.file_of("INBOX", "new");
    assert_eq!(world.files("Lists"), names.1);
}

/// The state is lost, and the Maildir was filled by another program: names and times of its own.
fn of_another_program(world: &World) -> Vec<String> {
    fs::remove_dir_all(world.path(".cms")).unwrap();
    fs::remove_file(world.path("INBOX/.cms-maildir")).unwrap();
    for (number, name) in world.files("INBOX").iter().enumerate() {
        let bytes = fs::read(world.path("INBOX").join(name)).unwrap();
        world.unlink("INBOX", name);
        let suffix = name.split_once(":2,").map_or("", |(_, letters)| letters);
        world.put("INBOX", &format!("cur/1795431857_{number}.26659.vm,U={number}:2,{suffix}"), bytes);
    }
    world.files("INBOX")
}

#[test]
fn f02_a_maildir_that_another_program_filled_is_taken_as_it_is() {
    let world = World::new(40);
    world.sync();
    let names = of_another_program(&world);
    world.put("INBOX", "new/1795431857_99.26659.vm", "Subject: only here\n\nx\n");
    let there = world.there("Inbox");
    world.cloud.reset_counters();
    world.sync();
    let after: Vec<String> = world.files("INBOX").into_iter().filter(|name| !name.contains("_99.")).collect();
    assert_eq!(after, names, "not one is there twice, and each keeps its name");
    assert_eq!(world.there("Inbox"), there);
    assert_unchanged(&world);
    assert_eq!(world.asked("value"), 40, "the service tells nothing of a message that proves it the same");
    let again = world.sync();
    assert!(again.stderr.contains("1 only here") && !again.stderr.contains("delivered"), "{}", again.stderr);
    // From now on they are messages like any other.
    let file = world.files("INBOX").remove(0);
    world.set_letters("INBOX", &file, &format!("{}T", crate::mail_program::letters(&file)));
    world.sync();
    assert_eq!((world.there("Inbox").len(), world.there(TRASH).len()), (39, 1));
    world.assert_lawful();
}

#[test]
fn f02_another_program_may_deliver_into_the_same_maildir_all_the_time() {
    let world = World::new(10);
    let daemon = world.daemon();
    for number in 0..30 {
        world.put("INBOX", &format!("new/17954318{number}.M1P2.vm"), format!("Subject: local {number}\n\nx\n"));
        if number % 10 == 0 {
            world.receive("Inbox", &format!("cloud {number}"));
            world.file_of("INBOX", &format!("cloud {number}"));
        }
    }
    // It has its own way of deleting, too.
    for number in 0..25 {
        world.unlink("INBOX", &format!("new/17954318{number}.M1P2.vm"));
    }
    world.let_polls_pass(3);
    assert_eq!((world.files("INBOX").len(), world.there("Inbox").len()), (18, 13));
    assert_eq!(world.cms(&["status"]).status.code(), Some(0), "what only was here is held by nobody");
    assert_unchanged(&world);
    daemon.stop();
    world.assert_lawful();
}
