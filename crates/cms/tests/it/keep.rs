//! `keep=True`: what the cloud deletes stays here.

use std::fs;

use simcloud::Deletion;

use crate::mail_program::{INBOX_AND_LISTS, TRASH};
use crate::world::{World, wait_for};

const ARCHIVE: &str = "MailDir(\"INBOX\")\nOffice365(\"inbox\", account, keep=True)\n";
const MIRROR: &str = "MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\n";

/// An archive of so many messages.
fn archive(messages: usize) -> World {
    let world = World::new(messages);
    world.configure(ARCHIVE);
    world
}

fn ids(world: &World) -> Vec<String> {
    let state = world.cloud.state("").unwrap();
    state.messages().filter(|message| message.folder == "Inbox").map(|message| message.id.clone()).collect()
}

/// That so many are told to be kept, whether something runs or not, and that nothing differs.
#[track_caller]
fn assert_kept(world: &World, kept: u64) {
    let (status, verified) = (world.status(), world.done(&["verify"]));
    assert!(verified.contains("both sides are the same"), "{verified}");
    if kept == 0 {
        assert!(!status.contains("kept here") && !verified.contains("kept"), "{status}\n{verified}");
    } else {
        assert!(status.contains(&format!("{kept} more kept here")), "{status}");
        assert!(verified.contains(&format!("{kept} kept here alone")), "{verified}");
    }
}

#[test]
fn f34_what_the_cloud_deletes_stays_as_it_is() {
    let world = archive(5);
    let id = world.receive("Inbox", "kept");
    world.sync();
    let daemon = world.daemon();
    world.cloud.delete_message("", &id, Deletion::Purge).unwrap();
    wait_for("its deletion is heard of", || world.status().contains("1 more kept here"));
    world.cloud.reset_counters();
    // It is the user's own: flags stay here, and nothing goes up.
    let file = world.file_of("INBOX", "kept");
    let file = world.set_letters("INBOX", &file, "FS");
    world.let_polls_pass(2);
    assert_kept(&world, 1);
    daemon.stop();
    for _ in 0..2 {
        assert!(world.sync().stderr.contains("nothing to do"), "it isn't even told to be only here");
    }
    assert_kept(&world, 1);
    assert!(world.files("INBOX").contains(&file));
    assert_eq!((world.there("Inbox").len(), world.asked("patch") + world.asked("post")), (5, 0));

    // Nobody saw it go: the store has it.
    world.unlink("INBOX", &file);
    world.sync();
    assert_eq!(world.files_of("INBOX", "kept").len(), 1);
    assert_kept(&world, 1);
    // The user deletes it.
    let file = world.file_of("INBOX", "kept");
    world.set_letters("INBOX", &file, "T");
    world.sync();
    assert!(world.files_of("INBOX", "kept").is_empty());
    assert_kept(&world, 0);
    world.assert_lawful();
}

#[test]
fn f01_a_mailbox_that_was_emptied_there_holds_nothing_and_loses_nothing() {
    let world = archive(60);
    world.sync();
    let names = world.files("INBOX");
    for id in ids(&world) {
        world.cloud.delete_message("", &id, Deletion::Purge).unwrap();
    }
    world.sync();
    assert_eq!(world.files("INBOX"), names);
    assert_eq!(world.done(&["held"]).matches("held:").count(), 0);
    assert_kept(&world, 60);
    world.assert_lawful();
}

#[test]
fn f34_what_comes_back_there_is_linked_again_and_what_changed_meanwhile_is_told() {
    let world = archive(3);
    let id = world.receive("Inbox", "there and back");
    world.sync();
    world.cloud.move_message("", &id, "Archive").unwrap();
    world.sync();
    assert_kept(&world, 1);
    let file = world.file_of("INBOX", "there and back");
    let inode = world.inode("INBOX", &file);
    world.set_letters("INBOX", &file, "S");
    world.cloud.move_message("", &id, "Inbox").unwrap();
    world.sync();
    let file = world.file_of("INBOX", "there and back");
    assert_eq!(world.inode("INBOX", &file), inode, "no file was made anew");
    assert_kept(&world, 0);
    world.assert_same("INBOX", "Inbox");

    // The same under another id.
    world.cloud.move_message("", &id, "Archive").unwrap();
    let daemon = world.daemon();
    // Everything is looked at once more for the first message that comes; for later ones it isn't.
    world.receive("Inbox", "new");
    world.file_of("INBOX", "new");
    wait_for("it is kept", || world.status().contains("1 more kept here"));
    let id = world.cloud.renumber("", &id).unwrap();
    world.cloud.move_message("", &id, "Inbox").unwrap();
    wait_for("it is linked again", || !world.status().contains("kept here"));
    daemon.stop();
    world.assert_same("INBOX", "Inbox");
    assert_eq!(world.inode("INBOX", &file), inode, "no file was made anew");
    world.assert_lawful();
}

#[test]
fn f34_a_deletion_here_goes_there_as_ever() {
    let world = archive(10);
    world.sync();
    let file = world.files("INBOX").remove(0);
    world.set_letters("INBOX", &file, "T");
    world.sync();
    assert_eq!((world.files("INBOX").len(), world.there("Inbox").len(), world.there(TRASH).len()), (9, 9, 1));
    assert_kept(&world, 0);
    world.assert_lawful();
}

#[test]
fn f34_a_move_to_another_mailbox_is_a_move() {
    let world = World::new(4);
    world.configure(
        &INBOX_AND_LISTS.replace("Office365(\"inbox\", account)", "Office365(\"inbox\", account, keep=True)"),
    );
    let id = world.receive("Inbox", "moved");
    world.cloud.create_folder("", "Inbox/Lists", false).unwrap();
    world.sync();
    world.cloud.move_message("", &id, "Inbox/Lists").unwrap();
    world.sync();
    world.assert_same("INBOX", "Inbox");
    world.assert_same("Lists", "Inbox/Lists");
    // That one keeps nothing.
    world.cloud.delete_message("", &id, Deletion::Purge).unwrap();
    world.sync();
    assert!(world.files("Lists").is_empty());
    world.assert_lawful();
}

#[test]
fn f02_where_the_state_is_lost_what_was_kept_stays_and_nothing_goes_up() {
    let world = archive(5);
    let id = world.receive("Inbox", "kept");
    world.sync();
    world.cloud.delete_message("", &id, Deletion::Purge).unwrap();
    world.sync();
    let names = world.files("INBOX");
    fs::remove_dir_all(world.path(".cms")).unwrap();
    let finished = world.sync();
    assert!(finished.stderr.contains("1 only here"), "{}", finished.stderr);
    assert_eq!(world.files("INBOX"), names);
    assert_eq!((world.there("Inbox").len(), world.there(TRASH).len()), (5, 0));
    world.assert_lawful();
}

#[test]
fn f34_what_was_kept_stays_when_the_mailbox_keeps_no_more() {
    let world = archive(5);
    let (kept, gone) = (world.receive("Inbox", "kept"), world.receive("Inbox", "gone"));
    world.sync();
    world.cloud.delete_message("", &kept, Deletion::Purge).unwrap();
    world.sync();
    world.configure(MIRROR);
    world.cloud.delete_message("", &gone, Deletion::Purge).unwrap();
    for _ in 0..2 {
        world.sync();
        assert!(world.files_of("INBOX", "gone").is_empty());
        world.file_of("INBOX", "kept");
        assert_kept(&world, 1);
    }
    world.configure(ARCHIVE);
    world.sync();
    assert_kept(&world, 1);
    world.assert_lawful();
}

#[test]
fn f27_an_archive_whose_messages_all_get_other_ids_has_nothing_twice() {
    let world = archive(0);
    world.configure(&INBOX_AND_LISTS.replace("\", account)", "\", account, keep=True)"));
    world.cloud.create_folder("", "Inbox/Lists", false).unwrap();
    for number in 0..10 {
        world.receive(["Inbox", "Inbox/Lists"][number % 2], &format!("archived {number}."));
    }
    let daemon = world.daemon();
    let names = (world.files("INBOX"), world.files("Lists"));
    let state = world.cloud.state("").unwrap();
    let ids: Vec<String> = state.messages().map(|message| message.id.clone()).collect();
    // One at a time, as they are told in the middle of a round; then all, with nothing known of what was before.
    for id in &ids[..3] {
        world.cloud.renumber("", id).unwrap();
        world.let_polls_pass(2);
    }
    daemon.stop();
    for id in &ids[3..] {
        world.cloud.renumber("", id).unwrap();
    }
    world.cloud.kill_delta_tokens("").unwrap();
    world.sync();
    assert_eq!((world.files("INBOX"), world.files("Lists")), names);
    world.assert_same("INBOX", "Inbox");
    world.assert_same("Lists", "Inbox/Lists");
    assert_kept(&world, 0);
    world.assert_lawful();
}
