//! `since`: only what was received since then is brought here, and nothing ever goes for its age.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use simcloud::{Deletion, FlagChange, NewMessage};

use crate::mail_program::{TRASH, text};
use crate::world::{World, wait_for};

/// 2023-11-14 and 2024-06-01.
const OLD: i64 = 1_700_000_000;
const NEW: i64 = 1_717_200_000;

fn configure(world: &World, more: &str) {
    world.configure(&format!("MailDir(\"INBOX\")\nOffice365(\"inbox\", account{more})\n"));
}

fn receive_at(world: &World, folder: &str, subject: &str, received: i64) -> String {
    world
        .cloud
        .add_message("", NewMessage { received: Some(received), ..NewMessage::mime(folder, text(subject)) })
        .unwrap()
}

/// A mailbox with so many old messages and three new ones; the ids of the old ones.
fn old_and_new(old: u32) -> (World, Vec<String>) {
    let world = World::new(0);
    // Two of them at a time are received at the same second.
    let ids =
        (0..old).map(|number| receive_at(&world, "Inbox", &format!("old {number}."), OLD + i64::from(number / 2)));
    let ids = ids.collect();
    for number in 0..3 {
        receive_at(&world, "Inbox", &format!("new {number}."), NEW + number);
    }
    (world, ids)
}

/// That nothing was changed in the cloud.
#[track_caller]
fn assert_unchanged(world: &World) {
    for kind in ["patch", "move", "delete"] {
        assert_eq!(world.asked(kind), 0, "{kind}");
    }
    assert!(world.there(TRASH).is_empty());
}

#[test]
fn f34_only_what_is_new_enough_is_brought_and_the_rest_when_the_scope_is_widened() {
    let (world, ids) = old_and_new(6);
    configure(&world, ", since=\"2024-01-01\"");
    world.sync();
    assert_eq!(world.files("INBOX").len(), 3);
    assert_eq!(world.asked("value"), 3, "no other one was downloaded");
    let verified = world.done(&["verify"]);
    for expected in
        ["9 in the cloud, 9 known of, 3 the same on both sides, 6 left in the cloud", "both sides are the same"]
    {
        assert!(verified.contains(expected), "{expected:?} is missing in:\n{verified}");
    }
    let at_rest = world.status();
    let expected = "inbox: 9 messages, 6 from before 2024-01-01 left in the cloud";
    assert!(at_rest.contains(expected) && !at_rest.contains("not here yet"), "{at_rest}");

    // What happens to them there is nobody's concern here; what comes is.
    let daemon = world.daemon();
    let status = world.status();
    assert!(status.contains(expected) && !status.contains("not here yet"), "{status}");
    world.cloud.set_flags("", &ids[0], FlagChange { is_read: Some(true), ..FlagChange::default() }).unwrap();
    world.cloud.delete_message("", &ids[1], Deletion::Purge).unwrap();
    receive_at(&world, "Inbox", "moved in from elsewhere", OLD);
    receive_at(&world, "Inbox", "new 3.", NEW);
    world.file_of("INBOX", "new 3.");
    world.let_polls_pass(2);
    daemon.stop();
    assert_eq!(world.files("INBOX").len(), 4);
    assert_unchanged(&world);

    configure(&world, ", since=\"2023-01-01\"");
    world.sync();
    world.assert_same("INBOX", "Inbox");
    assert_eq!(world.files("INBOX").len(), 10);
    assert_eq!(world.asked("value"), 10, "each was downloaded once");
    assert_unchanged(&world);
    world.assert_lawful();
}

#[test]
fn f34_what_is_here_stays_and_is_kept_the_same_when_the_scope_is_narrowed() {
    let (world, ids) = old_and_new(40);
    world.sync();
    let names = world.files("INBOX");
    world.cloud.reset_counters();
    configure(&world, ", since=\"2024-01-01\"");
    assert!(world.sync().stderr.contains("nothing to do"));
    assert_eq!(world.files("INBOX"), names);
    assert_unchanged(&world);
    assert!(world.done(&["verify"]).contains("43 the same on both sides\n"));

    // A flag there, a flag here, a deletion there, a deletion here, and a file that nobody saw go.
    let read = world.file_of("INBOX", "old 1.");
    world.set_letters("INBOX", &read, "S");
    let trashed = world.file_of("INBOX", "old 3.");
    world.set_letters("INBOX", &trashed, "T");
    let lost = world.file_of("INBOX", "old 4.");
    world.unlink("INBOX", &lost);
    world.cloud.set_flags("", &ids[0], FlagChange { is_read: Some(true), ..FlagChange::default() }).unwrap();
    world.cloud.delete_message("", &ids[2], Deletion::Purge).unwrap();
    world.sync();
    world.assert_same("INBOX", "Inbox");
    assert_eq!((world.files("INBOX").len(), world.there(TRASH).len()), (41, 1));
    assert!(world.message(&ids[1]).unwrap().is_read);
    assert_eq!(world.files_of("INBOX", "old 4.").len(), 1);
    world.assert_lawful();
}

#[test]
fn f27_what_is_here_is_known_again_under_another_id_however_old_it_is() {
    let (world, ids) = old_and_new(6);
    world.sync();
    configure(&world, ", since=\"2024-01-01\"");
    receive_at(&world, "Inbox", "never here", OLD);
    let names = world.files("INBOX");
    for id in &ids {
        world.cloud.renumber("", id).unwrap();
    }
    let finished = world.sync();
    assert!(!finished.stderr.contains("removed here"), "{}", finished.stderr);
    assert_eq!(world.files("INBOX"), names);
    let verified = world.done(&["verify"]);
    assert!(verified.contains("9 the same on both sides, 1 left in the cloud"), "{verified}");
    // The links hold.
    let daemon = world.daemon();
    let file = world.file_of("INBOX", "old 1.");
    world.set_letters("INBOX", &file, "ST");
    wait_for("it is deleted there", || world.there(TRASH).len() == 1);
    daemon.stop();
    assert_eq!(world.there("Inbox").len(), 9);
    world.assert_lawful();
}

#[test]
fn f34_an_age_is_counted_from_the_start_on() {
    let world = World::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    receive_at(&world, "Inbox", "of 100 days ago", now - 100 * 86_400);
    receive_at(&world, "Inbox", "of 10 days ago", now - 10 * 86_400);
    configure(&world, ", since=\"30 days\"");
    world.sync();
    assert_eq!((world.files("INBOX").len(), world.files_of("INBOX", "of 10 days ago").len()), (1, 1));
    // As if it had grown older meanwhile.
    configure(&world, ", since=\"5 days\"");
    assert!(world.sync().stderr.contains("nothing to do"));
    assert_eq!(world.files("INBOX").len(), 1);
    configure(&world, ", since=\"20 weeks\"");
    world.sync();
    world.assert_same("INBOX", "Inbox");
    assert_unchanged(&world);
}

#[test]
fn f02_where_the_state_is_lost_files_are_known_by_their_names_and_no_older_mail_is_brought() {
    let (world, _) = old_and_new(6);
    configure(&world, ", since=\"2023-11-14\"");
    world.sync();
    let names = world.files("INBOX");
    assert_eq!(names.len(), 9);
    configure(&world, ", since=\"2024-01-01\"");
    receive_at(&world, "Inbox", "never here", OLD);
    fs::remove_dir_all(world.path(".cms")).unwrap();
    world.cloud.reset_counters();
    world.sync();
    assert_eq!(world.files("INBOX"), names);
    assert_eq!(world.asked("value"), 0);
    assert_unchanged(&world);
    let verified = world.done(&["verify"]);
    assert!(verified.contains("9 the same on both sides, 1 left in the cloud"), "{verified}");
    world.assert_lawful();
}

#[test]
fn cms_check_tells_what_of_a_mailbox_is_synced() {
    let (world, _) = old_and_new(1);
    configure(&world, ", since=\"2024-01-01\", keep=True");
    let checked = world.cms(&["check"]).stdout;
    let expected = "holds 4 items; what came before 2024-01-01 isn't brought here; what is deleted there stays here";
    assert!(checked.contains(expected), "{checked}");
}
