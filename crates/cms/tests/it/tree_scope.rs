//! Whole accounts of which a part is brought here (`since`), or whose mail stays here (`keep`).

use std::fs;

use simcloud::{Deletion, FlagChange, Knobs, NewMessage, Options};

use crate::mail_program::{TRASH, text};
use crate::world::{World, wait_for};

/// 2023-11-14 and 2024-06-01.
const OLD: i64 = 1_700_000_000;
const NEW: i64 = 1_717_200_000;

/// A world of these folders, each with two old messages and a new one.
fn world(folders: &[&str], arguments: &str) -> World {
    let world = World::with(Options { messages: 0, knobs: Knobs::calm(), ..Options::default() });
    for folder in folders {
        world.cloud.create_folder("", folder, false).unwrap();
        for (subject, received) in [("old one", OLD), ("old two", OLD + 1), ("new", NEW)] {
            receive_at(&world, folder, &format!("{subject} in {folder}."), received);
        }
    }
    configure(&world, arguments);
    world
}

fn configure(world: &World, arguments: &str) {
    // What isn't held then isn't for its number.
    world.configure(&format!("Office365_Tree(account, \"work\"{arguments})\ncfg.max_deletions = 1\n"));
}

fn receive_at(world: &World, folder: &str, subject: &str, received: i64) -> String {
    world
        .cloud
        .add_message("", NewMessage { received: Some(received), ..NewMessage::mime(folder, text(subject)) })
        .unwrap()
}

fn ids(world: &World, folder: &str) -> Vec<String> {
    let state = world.cloud.state("").unwrap();
    state.messages().filter(|message| message.folder == folder).map(|message| message.id.clone()).collect()
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
fn f34_of_every_folder_only_what_is_new_enough_is_brought() {
    let world = world(&["Inbox", "Lists/rust"], ", since=\"2024-01-01\"");
    world.sync();
    for folder in ["Inbox", "Lists/rust"] {
        assert_eq!(world.files(&format!("work/{folder}")).len(), 1);
        assert_eq!(world.files_of(&format!("work/{folder}"), &format!("new in {folder}.")).len(), 1);
    }
    assert_eq!(world.asked("value"), 2, "no other one was downloaded");
    let expected = "Lists/rust: 3 messages, 2 from before 2024-01-01 left in the cloud";
    assert!(world.status().contains(expected), "{}", world.status());
    let checked = world.cms(&["check"]).stdout;
    assert!(checked.contains("what came before 2024-01-01 isn't brought here"), "{checked}");

    let daemon = world.daemon();
    assert!(world.status().contains(expected), "{}", world.status());
    // So it is in a folder that is new, or comes from somewhere else, or gets another name.
    world.cloud.create_folder("", "Fresh", false).unwrap();
    receive_at(&world, "Fresh", "old in Fresh.", OLD);
    receive_at(&world, "Fresh", "new in Fresh.", NEW);
    wait_for("the new folder is here", || world.files_of("work/Fresh", "new in Fresh.").len() == 1);
    let old = ids(&world, "Inbox");
    world.cloud.move_message("", &old[0], "Fresh").unwrap();
    world.cloud.set_flags("", &old[1], FlagChange { is_read: Some(true), ..FlagChange::default() }).unwrap();
    world.cloud.rename_folder("", "Lists", "Mailing lists").unwrap();
    wait_for("the directory has the new name", || world.files("work/Mailing lists/rust").len() == 1);
    for told in ["Fresh: 3 messages", "Inbox: 2 messages"] {
        wait_for(told, || world.status().contains(told));
    }
    daemon.stop();
    assert_eq!(world.files("work/Fresh").len(), 1);
    assert_eq!(world.files("work/Inbox").len(), 1);
    assert_unchanged(&world);
    assert!(world.done(&["verify"]).contains("both sides are the same"));

    // What is here stays and is kept the same when less is brought, and all comes when nothing is said.
    configure(&world, "");
    world.sync();
    for folder in ["Inbox", "Mailing lists/rust", "Fresh"] {
        world.assert_same(&format!("work/{folder}"), folder);
    }
    let names = world.files("work/Mailing lists/rust");
    configure(&world, ", since=\"2024-01-01\"");
    world.sync();
    assert_eq!(world.files("work/Mailing lists/rust"), names);
    assert_unchanged(&world);
    let file = world.file_of("work/Inbox", "old two in Inbox.");
    world.set_letters("work/Inbox", &file, "FS");
    world.sync();
    world.assert_same("work/Inbox", "Inbox");
    world.assert_lawful();
}

#[test]
fn f34_what_is_left_in_the_cloud_is_not_missed_when_its_folder_goes() {
    let world = world(&["Old", "Kept"], ", since=\"2024-01-01\", exclude=[\"Deleted Items*\"]");
    world.sync();
    world.cloud.move_folder("", "Old", "Deleted Items").unwrap();
    world.sync();
    assert!(!world.path("work/Old").exists());
    assert_eq!(world.there("Deleted Items/Old").len(), 3);
    world.cloud.move_folder("", "Deleted Items/Old", "Kept").unwrap();
    world.sync();
    assert_eq!(world.files("work/Kept/Old").len(), 1);
    assert_eq!(world.there("Kept/Old").len(), 3);
    world.assert_lawful();
}

#[test]
fn f34_what_the_cloud_deletes_stays_in_every_folder() {
    let world = world(&["Inbox", "Lists"], ", keep=True, exclude=[\"Deleted Items*\"]");
    let daemon = world.daemon();
    let names = (world.files("work/Inbox"), world.files("work/Lists"));
    for id in ids(&world, "Inbox") {
        world.cloud.delete_message("", &id, Deletion::Purge).unwrap();
    }
    world.cloud.delete_message("", &ids(&world, "Lists")[0], Deletion::Trash).unwrap();
    world.cloud.create_folder("", "Fresh", false).unwrap();
    let id = receive_at(&world, "Fresh", "kept in Fresh.", NEW);
    wait_for("the new folder is here", || world.files_of("work/Fresh", "kept in Fresh.").len() == 1);
    world.cloud.delete_message("", &id, Deletion::Purge).unwrap();
    for kept in [
        "Inbox: 0 messages, 3 more kept here",
        "Lists: 2 messages, 1 more kept here",
        "Fresh: 0 messages, 1 more kept here",
    ] {
        wait_for(kept, || world.status().contains(kept));
    }
    daemon.stop();
    assert!(world.sync().stderr.contains("nothing to do"));
    assert_eq!((world.files("work/Inbox"), world.files("work/Lists")), names);
    assert_eq!(world.files("work/Fresh").len(), 1);
    let checked = world.cms(&["check"]).stdout;
    assert!(checked.contains("what is deleted there stays here"), "{checked}");
    // One that goes from a folder into another one that is here moves.
    let id = ids(&world, "Lists").remove(0);
    world.cloud.move_message("", &id, "Inbox").unwrap();
    world.sync();
    assert_eq!((world.files("work/Inbox").len(), world.files("work/Lists").len()), (4, 2));

    // What was kept stays when nothing is kept any more, and nothing else does.
    configure(&world, ", exclude=[\"Deleted Items*\"]");
    let id = ids(&world, "Lists").remove(0);
    world.cloud.delete_message("", &id, Deletion::Purge).unwrap();
    world.sync();
    assert_eq!((world.files("work/Inbox").len(), world.files("work/Lists").len()), (4, 1));
    assert!(world.status().contains("Lists: 0 messages, 1 more kept here"), "{}", world.status());
    world.assert_lawful();
}

#[test]
fn f35_the_maildir_of_a_folder_that_is_deleted_stays_with_its_messages() {
    let world = world(&["Old", "Old/x", "Other"], "");
    configure(&world, ", keep=True, exclude=[\"Deleted Items*\"]");
    let daemon = world.daemon();
    world.cloud.create_folder("", "Empty", false).unwrap();
    wait_for("the empty folder is here", || world.path("work/Empty/cur").is_dir());
    let names = (world.files("work/Old"), world.files("work/Old/x"));
    // One goes to what was deleted with all that is in it, as Outlook does it, and one is gone for good.
    world.cloud.delete_folder("", "Empty").unwrap();
    world.cloud.move_folder("", "Old", "Deleted Items").unwrap();
    for kept in ["Old: 0 messages, 3 more kept here", "Old/x: 0 messages, 3 more kept here"] {
        wait_for(kept, || world.status().contains(kept));
    }
    daemon.stop();
    world.sync();
    assert_eq!((world.files("work/Old"), world.files("work/Old/x")), names);
    assert!(world.path("work/Empty/cur").is_dir());
    assert_eq!(world.cms(&["held"]).status.code(), Some(0), "nothing waits for the user's word");
    let verified = world.cms(&["verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}{}", verified.stdout, verified.stderr);

    // It is the user's own: flags stay here, what goes unseen comes back, and what is deleted here goes.
    let read = world.file_of("work/Old", "new in Old.");
    let read = world.set_letters("work/Old", &read, "FS");
    let lost = world.file_of("work/Old", "old one in Old.");
    world.unlink("work/Old", &lost);
    let trashed = world.file_of("work/Old/x", "new in Old/x.");
    world.set_letters("work/Old/x", &trashed, "T");
    world.sync();
    assert!(world.files("work/Old").contains(&read));
    assert_eq!((world.files("work/Old").len(), world.files("work/Old/x").len()), (3, 2));
    assert_eq!(world.there("Deleted Items/Old").len(), 3, "it stays among what was deleted there");

    // One of that name is another folder; the old one is linked again where it comes back.
    world.cloud.create_folder("", "Old", false).unwrap();
    receive_at(&world, "Old", "in the new one.", NEW);
    world.sync();
    assert_eq!(world.files("work/Old").len(), 3);
    world.cloud.rename_folder("", "Old", "Old again").unwrap();
    world.cloud.move_folder("", "Deleted Items/Old", "Other").unwrap();
    world.sync();
    assert_eq!(world.files("work/Old again").len(), 1);
    world.assert_same("work/Other/Old", "Other/Old");
    assert_eq!(world.there("Other/Old/x").len(), 3, "what was deleted while it was away is back in the cloud alone");
    assert!(!world.path("work/Old").exists());
    world.assert_lawful();
}

#[test]
fn f35_what_is_kept_of_a_folder_goes_along_with_the_folder_that_it_was_in() {
    let world = world(&["P", "P/x"], ", keep=True, exclude=[\"Deleted Items*\"]");
    world.sync();
    let names = world.files("work/P/x");
    world.cloud.delete_folder("", "P/x").unwrap();
    world.sync();
    world.cloud.rename_folder("", "P", "Q").unwrap();
    world.sync();
    world.assert_same("work/Q", "Q");
    assert_eq!(world.files("work/Q/x"), names);
    assert!(world.status().contains("P/x: 0 messages, 3 more kept here"), "{}", world.status());
    assert!(world.sync().stderr.contains("nothing to do"));
    assert_eq!(world.files("work/Q/x"), names);
    world.assert_lawful();
}

#[test]
fn f01_a_folder_goes_by_the_users_word_though_everything_is_kept() {
    for watched in [false, true] {
        let world = world(&["A", "B"], ", keep=True, exclude=[\"Deleted Items*\"]");
        world.sync();
        world.cloud.delete_message("", &ids(&world, "A")[0], Deletion::Purge).unwrap();
        world.sync();
        assert_eq!(world.files("work/A").len(), 3);
        let daemon = watched.then(|| world.daemon());
        fs::remove_dir_all(world.path("work/A")).unwrap();
        match &daemon {
            Some(daemon) => daemon.wait_for_line("held: "),
            None => assert_eq!(world.cms(&["sync"]).status.code(), Some(4)),
        }
        let applied = world.cms(&["held", "apply", "work/A"]);
        assert_eq!(applied.status.code(), Some(0), "{}{}", applied.stdout, applied.stderr);
        match daemon {
            Some(daemon) => {
                wait_for("the Maildir is gone", || !world.path("work/A").exists());
                daemon.stop();
            }
            None => drop(world.sync()),
        }
        assert_eq!(world.there("Deleted Items/A").len(), 2);
        assert!(!world.path("work/A").exists());
        world.assert_same("work/B", "B");
        world.assert_lawful();
    }
}

#[test]
fn f34_the_maildirs_of_folders_that_were_deleted_go_when_nothing_is_kept_in_them_any_more() {
    let arguments = ", keep=True, exclude=[\"Deleted Items*\"]";
    let world = world(&["Old"], arguments);
    world.cloud.create_folder("", "Empty", false).unwrap();
    world.sync();
    world.cloud.delete_folder("", "Old").unwrap();
    world.cloud.delete_folder("", "Empty").unwrap();
    world.sync();
    configure(&world, &arguments.replace("keep=True", "keep=False"));
    for _ in 0..2 {
        world.sync();
        assert_eq!(world.files("work/Old").len(), 3, "what was kept stays");
        assert!(!world.path("work/Empty").exists());
    }
    for file in world.files("work/Old") {
        world.set_letters("work/Old", &file, "T");
    }
    world.sync();
    assert!(!world.path("work/Old").exists());
    world.assert_lawful();
}
