//! `cms restore`: what was removed comes back, to disk and where the cloud can to the cloud.

use serde_json::Value;
use simcloud::Deletion;

use crate::journal::{calm, deeds, objects, told};
use crate::mail_program::{INBOX_AND_LISTS, TRASH, base_name, letters};
use crate::world::{World, wait_for};

/// What can be brought back: number and subject.
fn removed(world: &World, more: &[&str]) -> Vec<(u64, String)> {
    let arguments: Vec<&str> = ["restore", "--list", "--json"].iter().chain(more).copied().collect();
    let take = |entry: Value| (entry["number"].as_u64().unwrap(), entry["subject"].as_str().unwrap().to_owned());
    objects(world, &arguments).into_iter().map(take).collect()
}

/// Nothing is left to do, and a further sync changes nothing.
fn stays(world: &World, maildir: &str) {
    let files = world.files(maildir);
    let before = world.asked("move") + world.asked("delete") + world.asked("patch");
    let finished = world.sync();
    assert_eq!(world.files(maildir), files, "{}", finished.stderr);
    assert_eq!(world.asked("move") + world.asked("delete") + world.asked("patch"), before);
}

#[test]
fn what_was_deleted_here_is_moved_back_in_the_cloud_under_its_old_name() {
    let world = calm(5, &[]);
    let id = world.receive_read("Inbox", "dear");
    world.sync();
    let name = world.file_of("INBOX", "dear");
    world.set_letters("INBOX", &name, "ST");
    world.sync();
    assert!(world.is_in(&id, TRASH) && world.files_of("INBOX", "dear").is_empty());
    let list = told(&world, &["restore"]);
    assert!(list.contains("deleted here  inbox: dear · Ann <ann@domain.com>"), "{list}");

    let number = removed(&world, &[])[0].0.to_string();
    world.cloud.reset_counters();
    let restored = told(&world, &["restore", &number]);
    assert!(restored.contains("bring back into `") && restored.contains("`: dear"), "{restored}");
    assert!(world.is_in(&id, "Inbox"));
    assert_eq!(world.file_of("INBOX", "dear"), name);
    assert_eq!(world.asked("value"), 0, "the content was kept");
    assert_eq!(removed(&world, &[]), []);
    stays(&world, "INBOX");
    world.assert_same("INBOX", "Inbox");
    let last = deeds(&world, "dear").pop().unwrap();
    assert_eq!(last, ("delivered".to_owned(), "restore".to_owned()));
    world.assert_lawful();
}

#[test]
fn what_the_cloud_deleted_comes_back_on_both_sides_or_here_alone_and_says_which() {
    let world = calm(5, &[]);
    let [trashed, purged] = ["trashed", "purged"].map(|subject| world.receive("Inbox", subject));
    world.sync();
    let names = ["trashed", "purged"].map(|subject| world.file_of("INBOX", subject));
    world.cloud.delete_message("", &trashed, Deletion::Trash).unwrap();
    world.cloud.delete_message("", &purged, Deletion::Purge).unwrap();
    world.sync();
    assert_eq!(world.files("INBOX").len(), 5);

    let restored = told(&world, &["restore", "--since", "1h"]);
    assert!(restored.contains("`: purged; into the Maildir only: the cloud doesn't have it any more"), "{restored}");
    assert!(restored.contains("`: trashed\n"), "{restored}");
    assert!(world.is_in(&trashed, "Inbox"));
    assert!(world.message(&purged).is_none());
    assert_eq!(["trashed", "purged"].map(|subject| world.file_of("INBOX", subject)), names);
    stays(&world, "INBOX");
    stays(&world, "INBOX");
    // Neither does a daemon take it for anything but a file of the user's.
    let daemon = world.daemon();
    world.let_polls_pass(3);
    daemon.stop();
    assert_eq!(["trashed", "purged"].map(|subject| world.file_of("INBOX", subject)), names);
    assert_eq!(removed(&world, &[]), []);
    world.assert_lawful();
}

#[test]
fn words_and_hours_choose_what_comes_back() {
    let world = calm(3, &["Inbox/Lists"]);
    world.configure(INBOX_AND_LISTS);
    let ids = ["budget-2026", "budget-2025", "party"].map(|subject| world.receive("Inbox/Lists", subject));
    world.sync();
    for id in &ids {
        world.cloud.delete_message("", id, Deletion::Trash).unwrap();
    }
    world.sync();
    let subjects = |more: &[&str]| {
        let mut subjects: Vec<String> = removed(&world, more).into_iter().map(|(_, subject)| subject).collect();
        subjects.sort();
        subjects
    };
    assert_eq!(subjects(&["--search", "ANN budget"]), ["budget-2025", "budget-2026"]);
    assert_eq!(subjects(&["--search", "nobody"]), Vec::<String>::new());
    assert_eq!(subjects(&["--hour", "2001-01-01T00"]), Vec::<String>::new());
    assert_eq!(subjects(&["--since", "1h"]).len(), 3);
    let none = world.cms(&["restore", "--search", "nobody"]);
    assert_eq!(none.status.code(), Some(1));

    told(&world, &["restore", "--search", "budget 2026"]);
    assert!(world.is_in(&ids[0], "Inbox/Lists") && world.is_in(&ids[1], TRASH) && world.is_in(&ids[2], TRASH));
    assert_eq!(world.files_of("Lists", "budget-2026").len(), 1);
    assert_eq!(world.files("Lists").len(), 1);
    stays(&world, "Lists");
    world.assert_lawful();
}

#[test]
fn what_cannot_be_restored_is_told() {
    let world = calm(2, &[]);
    world.sync();
    for (number, why) in [("1", "no message was removed by that"), ("999", "the journal has no such entry")] {
        let finished = world.cms(&["restore", number]);
        assert_eq!(finished.status.code(), Some(1));
        assert!(finished.stdout.contains(why), "{}", finished.stdout);
    }
    assert_eq!(told(&world, &["restore"]), "nothing was removed that could be brought back\n");
}

#[test]
fn a_message_that_went_by_rm_can_be_restored_with_its_flags() {
    let world = calm(3, &[]);
    let id = world.receive("Inbox", "unlinked");
    let daemon = world.daemon();
    let name = world.file_of("INBOX", "unlinked");
    let name = world.set_letters("INBOX", &name, "FRS");
    wait_for("the flags are there", || world.message(&id).unwrap().verb == Some(103));
    world.unlink("INBOX", &name);
    wait_for("it is deleted there", || world.is_in(&id, TRASH));
    wait_for("that is written down", || !removed(&world, &[]).is_empty());
    daemon.stop();
    told(&world, &["restore", "--search", "unlinked"]);
    let back = world.file_of("INBOX", "unlinked");
    assert_eq!((base_name(&back), letters(&back)), (base_name(&name), "FRS"));
    assert!(world.is_in(&id, "Inbox"));
    stays(&world, "INBOX");
    world.assert_lawful();
}
