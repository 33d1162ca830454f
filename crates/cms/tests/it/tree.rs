//! Whole accounts: `Office365_Tree`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use simcloud::{Action, Fault, Knobs, Options};

use crate::disk_faults::{Tracer, may_attach};
use crate::world::{World, wait, wait_for};

/// A world with an inbox of three messages and two more in each of these folders.
fn world(folders: &[&str], rest: &str) -> World {
    let folders = folders.iter().map(|name| ((*name).to_owned(), 2)).collect();
    let world = World::with(Options { messages: 3, folders, knobs: Knobs::calm(), ..Options::default() });
    configure(&world, "", rest);
    world
}

fn configure(world: &World, arguments: &str, rest: &str) {
    world.configure(&format!("Office365_Tree(account, \"work\"{arguments})\n{rest}"));
}

/// The Maildirs below the root.
fn maildirs(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let mut unvisited = vec![world.path("work")];
    while let Some(directory) = unvisited.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().map(Result::unwrap) {
            if entry.file_name() == "cur" {
                let below = directory.strip_prefix(world.path("work")).unwrap();
                found.push(below.display().to_string());
            } else if entry.file_type().unwrap().is_dir() {
                unvisited.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn inodes(world: &World, maildir: &str) -> Vec<u64> {
    let mut inodes: Vec<u64> =
        world.files(maildir).iter().map(|name| fs::metadata(world.path(maildir).join(name)).unwrap().ino()).collect();
    inodes.sort_unstable();
    inodes
}

fn count(world: &World, kind: &str) -> u64 {
    let requests = world.cloud.counters().requests;
    [kind.to_owned(), format!("batch-item:{kind}")].iter().filter_map(|kind| requests.get(kind)).sum()
}

#[test]
fn every_folder_is_a_maildir() {
    let world = world(&["Inbox/Lists", "Inbox/Lists/a.b", "Other/A"], "");
    configure(&world, ", exclude=[\"junk*\", \"Other\"]", "");
    world.sync();
    assert_eq!(
        maildirs(&world),
        ["Archive", "Deleted Items", "Drafts", "Inbox", "Inbox/Lists", "Inbox/Lists/a.b", "Other/A", "Sent Items"]
    );
    for folder in ["Inbox", "Inbox/Lists", "Inbox/Lists/a.b", "Other/A"] {
        world.assert_same(&format!("work/{folder}"), folder);
    }
    // A start needs only to ask what is new.
    let downloads = count(&world, "value");
    world.sync();
    assert_eq!(count(&world, "value"), downloads);
    let listed = world.cms(&["folders"]).stdout;
    assert!(listed.contains("Inbox/Lists   (synced"), "{listed}");
    let status = world.cms(&["status"]).stdout;
    assert!(status.contains("  Inbox/Lists/a.b: 2 messages") && status.contains("work/Other/A"), "{status}");
    let checked = world.cms(&["check"]).stdout;
    assert!(checked.contains("takes in 8 of the"), "{checked}");
    let verified = world.cms(&["verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}{}", verified.stdout, verified.stderr);
    assert!(verified.stdout.contains("Inbox/Lists/a.b"), "{}", verified.stdout);
    world.assert_lawful();
}

#[test]
fn a_maildir_plus_plus_tree_has_the_inbox_as_its_root() {
    let world = world(&["Inbox/Lists", "v1.2"], "");
    configure(&world, ", layout=\"maildir++\"", "");
    world.sync();
    world.assert_same("work", "Inbox");
    world.assert_same("work/.Inbox.Lists", "Inbox/Lists");
    world.assert_same("work/.v1%2E2", "v1.2");
    // To lie otherwise is another tree.
    configure(&world, "", "");
    let refused = world.cms(&["sync"]);
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("layout=\"maildir++\""), "{}", refused.stderr);
    world.assert_lawful();
}

#[test]
fn folders_that_are_made_renamed_and_moved_while_it_runs_are_so_here() {
    let world = world(&["Lists", "Lists/rust", "Projects"], "");
    let daemon = world.daemon();
    world.wait_until_same("work/Lists/rust", "Lists/rust");
    let (before, downloads) = (inodes(&world, "work/Lists/rust"), count(&world, "value"));

    world.cloud.create_folder("", "Projects/x", false).unwrap();
    wait_for("the new folder is here", || world.path("work/Projects/x/cur").is_dir());
    world.receive_read("Projects/x", "hello");
    world.wait_until_same("work/Projects/x", "Projects/x");

    world.cloud.rename_folder("", "Lists", "Mailing lists").unwrap();
    wait_for("the directory has the new name", || world.path("work/Mailing lists/rust/cur").is_dir());
    world.wait_until_same("work/Mailing lists/rust", "Mailing lists/rust");
    world.cloud.move_folder("", "Mailing lists/rust", "Projects").unwrap();
    wait_for("the directory is at the new place", || world.path("work/Projects/rust/cur").is_dir());
    world.wait_until_same("work/Projects/rust", "Projects/rust");
    world.wait_until_same("work/Mailing lists", "Mailing lists");
    assert!(!world.path("work/Lists").exists());
    assert_eq!(inodes(&world, "work/Projects/rust"), before, "they are the same files");
    assert_eq!(count(&world, "value"), downloads + 1, "nothing but the new message was downloaded");

    // Both sides are the same under the new names: what happens to a file happens to the message.
    let file = &world.files("work/Projects/rust")[0];
    let (from, name) = (world.path("work/Projects/rust").join(file), file.split('/').nth(1).unwrap());
    let base = name.split(":2,").next().unwrap();
    fs::rename(from, world.path("work/Projects/rust/cur").join(format!("{base}:2,FS"))).unwrap();
    wait_for("the flag is there", || world.there("Projects/rust").iter().any(|(_, flags)| flags == "FS"));
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn folders_that_changed_names_with_each_other_while_nothing_ran_do_so_here() {
    let world = world(&["A", "B", "A/x"], "");
    world.sync();
    let before = [inodes(&world, "work/A"), inodes(&world, "work/B"), inodes(&world, "work/A/x")];
    world.cloud.rename_folder("", "A", "C").unwrap();
    world.cloud.rename_folder("", "B", "A").unwrap();
    world.cloud.rename_folder("", "C", "B").unwrap();
    world.sync();
    assert_eq!([inodes(&world, "work/B"), inodes(&world, "work/A"), inodes(&world, "work/B/x")], before);
    for folder in ["A", "B", "B/x"] {
        world.assert_same(&format!("work/{folder}"), folder);
    }
    assert!(!world.path("work/A/x").exists());
    world.assert_lawful();
}

#[test]
fn f35_a_folder_that_is_deleted_goes_and_its_messages_can_be_had_again() {
    let world = world(&["Old", "Old/x"], "");
    let daemon = world.daemon();
    world.wait_until_same("work/Old/x", "Old/x");
    let messages = world.here("work/Old/x");
    world.cloud.delete_folder("", "Old/x").unwrap();
    wait_for("the Maildir is gone", || !world.path("work/Old/x").exists());
    world.wait_until_same("work/Old", "Old");
    // One of that name is another one.
    world.cloud.create_folder("", "Old/x", false).unwrap();
    let is_here = || world.path("work/Old/x/cur").is_dir();
    assert!(wait(&is_here), "the new folder doesn't come:\n{}", daemon.stderr());
    assert_eq!(world.here("work/Old/x"), []);
    daemon.stop();
    let log = world.cms(&["log"]).stdout;
    assert!(log.contains("removed from x"), "{log}");
    assert!(world.cms(&["restore", "8", "9"]).status.success());
    assert_eq!(world.here("work/Old/x"), messages);
    world.assert_lawful();
}

#[test]
fn f35_what_a_deleted_folder_held_can_be_had_again_where_its_maildir_is_made_again() {
    let world = world(&["Old"], "");
    world.sync();
    let messages = world.here("work/Old");
    world.cloud.delete_folder("", "Old").unwrap();
    world.sync();
    assert!(!world.path("work/Old").exists());
    let restore = ["restore", "--since", "1h"];
    let told = world.cms(&restore);
    assert_eq!(told.status.code(), Some(1), "{}", told.stdout);
    let hint = format!("make `{}` again", world.path("work/Old").display());
    assert!(told.stdout.contains(&hint), "{}{}", told.stdout, told.stderr);
    make_maildir(&world, "work/Old");
    world.sync();
    world.done(&restore);
    assert_eq!(world.here("work/Old"), messages);
    world.assert_lawful();
}

#[test]
fn f35_a_large_folder_that_is_deleted_is_held() {
    let world = world(&["Old"], "cfg.max_deletions = 1\n");
    world.sync();
    let here = world.here("work/Old");
    world.cloud.delete_folder("", "Old").unwrap();
    let held = world.cms(&["sync"]);
    assert_eq!(held.status.code(), Some(4), "{}", held.stderr);
    assert_eq!(world.here("work/Old"), here);
    let again = world.cms(&["sync"]);
    assert_eq!(again.status.code(), Some(4), "{}", again.stderr);
    let applied = world.cms(&["held", "apply"]);
    assert_eq!(applied.status.code(), Some(0), "{}{}", applied.stdout, applied.stderr);
    world.sync();
    assert!(!world.path("work/Old").exists());
    world.assert_lawful();
}

#[test]
fn f35_a_folder_whose_deletion_is_held_is_made_again_by_the_users_word() {
    let world = world(&["Old/x", "Kept"], "cfg.max_deletions = 1\n");
    configure(&world, ", exclude=[\"Deleted Items*\"]", "cfg.max_deletions = 1\n");
    world.sync();
    let (here, before) = (world.here("work/Old/x"), inodes(&world, "work/Old/x"));
    // Outlook puts a folder among what was deleted, with all that is in it.
    world.cloud.move_folder("", "Old/x", "Deleted Items").unwrap();
    assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
    let restored = world.cms(&["held", "restore"]);
    assert_eq!(restored.status.code(), Some(0), "{}{}", restored.stdout, restored.stderr);
    world.assert_same("work/Old/x", "Old/x");
    // Nobody has the folder any more, nor the one that it was in; and its messages are gone with it.
    world.cloud.delete_folder("", "Old/x").unwrap();
    world.cloud.delete_folder("", "Old").unwrap();
    assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
    let restored = world.cms(&["held", "restore"]);
    assert_eq!(restored.status.code(), Some(0), "{}{}", restored.stdout, restored.stderr);
    world.receive_read("Old/x", "the folder is there");
    world.sync();
    assert_eq!(world.here("work/Old/x").len(), here.len() + 1);
    assert!(before.iter().all(|inode| inodes(&world, "work/Old/x").contains(inode)));
    world.assert_lawful();
}

#[test]
fn f34_a_folder_that_is_excluded_later_stays_as_it_is() {
    let world = world(&["A", "B"], "");
    world.sync();
    configure(&world, ", exclude=[\"A\"]", "");
    let there = world.there("A");
    world.sync();
    world.receive_read("A", "not for here");
    fs::remove_file(world.path("work/A").join(&world.files("work/A")[0])).unwrap();
    let here = world.here("work/A");
    world.sync();
    assert_eq!(world.here("work/A"), here);
    assert_eq!(world.there("A").len(), there.len() + 1);
    assert_eq!(world.here("work/B"), world.there("B"));
    // What comes from there into a folder that is taken in comes here, and what is here of it stays too.
    let moved =
        world.cloud.state("").unwrap().messages().find(|message| message.blake3_lf == here[0].0).unwrap().id.clone();
    world.cloud.move_message("", &moved, "B").unwrap();
    world.sync();
    assert_eq!(world.here("work/A"), here);
    assert_eq!(world.here("work/B"), world.there("B"));
    // Taken in again, it goes on where it was.
    configure(&world, "", "");
    world.sync();
    let mut expected: Vec<_> = world.there("A").into_iter().chain(here).collect();
    expected.sort();
    assert_eq!(world.here("work/A"), expected, "one of them is only here now");
    world.assert_same("work/B", "B");
    assert_eq!(world.there("B").len(), 3);
    world.assert_lawful();
}

#[test]
fn a_quiet_tree_costs_one_small_request_more() {
    let world = world(&["A", "B", "C"], "cfg.poll_interval = 1\n");
    let daemon = world.daemon();
    wait_for("the folders were looked at", || count(&world, "folder-delta") > 2);
    let lists = count(&world, "folders");
    let looks = count(&world, "folder-delta");
    wait_for("they were looked at again", || count(&world, "folder-delta") > looks + 3);
    assert_eq!(count(&world, "folders"), lists, "they are listed only when they have changed");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn f01_a_maildir_that_was_removed_is_held_and_comes_back_by_the_users_word() {
    let world = world(&["A", "A/x", "B"], "");
    world.sync();
    let (there, downloads) = (world.there("A"), count(&world, "value"));
    fs::remove_dir_all(world.path("work/A")).unwrap();
    world.receive_read("B", "the others go on");
    let held = world.cms(&["sync"]);
    assert_eq!(held.status.code(), Some(4), "{}", held.stderr);
    assert!(held.stderr.contains("work/A`, the Maildir of the folder `A`, isn't there any more"), "{}", held.stderr);
    world.assert_same("work/B", "B");
    for command in ["held", "status"] {
        let told = world.cms(&[command]);
        assert_eq!(told.status.code(), Some(4), "{}{}", told.stdout, told.stderr);
        assert!(told.stdout.contains("work/A/x`, the Maildir of"), "{}", told.stdout);
        assert!(told.stdout.contains("cms held apply ") && told.stdout.contains("work/A`"), "{}", told.stdout);
    }
    let restored = world.cms(&["held", "restore", "work/A"]);
    assert_eq!(restored.status.code(), Some(0), "{}{}", restored.stdout, restored.stderr);
    for folder in ["A", "A/x"] {
        world.assert_same(&format!("work/{folder}"), folder);
    }
    assert_eq!((world.there("A"), count(&world, "value")), (there, downloads + 1));
    assert_eq!(world.cms(&["held"]).status.code(), Some(0));
    world.assert_lawful();
}

#[test]
fn f01_the_folder_of_a_maildir_that_was_removed_goes_by_the_users_word() {
    for kept in [true, false] {
        let world = world(&["A", "A/x", "B", "Deleted Items/A"], "");
        let exclude = if kept { "" } else { ", exclude=[\"Deleted Items*\"]" };
        configure(&world, exclude, "cfg.max_deletions = 1\n");
        world.sync();
        let (there, id) = (world.there("A"), world.cloud.folder_id("", "A").unwrap());
        fs::remove_dir_all(world.path("work/A/x")).unwrap();
        let (cur, files) = (world.path("work/A/cur"), world.files("work/A"));
        fs::rename(&cur, world.path("aside")).unwrap();
        assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
        fs::rename(world.path("aside"), &cur).unwrap();
        assert_eq!(world.files("work/A"), files);
        assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
        fs::remove_dir_all(world.path("work/A")).unwrap();
        assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
        assert_eq!(world.cloud.folder_id("", "A").unwrap(), id, "nothing goes by itself");
        let applied = world.cms(&["held", "apply", "work/A"]);
        assert_eq!(applied.status.code(), Some(0), "{}{}", applied.stdout, applied.stderr);
        assert!(applied.stdout.contains("A/x: the folder goes to the deleted items"), "{}", applied.stdout);
        // There is one of that name among the deleted ones already.
        assert_eq!(world.cloud.folder_id("", "Deleted Items/A (2)").unwrap(), id);
        assert_eq!(world.there("Deleted Items/A (2)"), there);
        assert!(!is_folder(&world, "A"));
        let again = world.sync();
        assert!(!world.path("work/A").exists(), "{}{}", applied.stderr, again.stderr);
        if kept {
            world.assert_same("work/Deleted Items/A (2)/x", "Deleted Items/A (2)/x");
        } else {
            assert!(!world.path("work/Deleted Items").exists());
        }
        assert_eq!(world.cms(&["held"]).status.code(), Some(0));
        world.assert_lawful();
    }
}

#[test]
fn f01_a_daemon_holds_a_maildir_that_is_removed_and_follows_the_users_word() {
    let world = world(&["A", "A/x", "B"], "");
    let daemon = world.daemon();
    fs::remove_dir_all(world.path("work/A/cur")).unwrap();
    daemon.wait_for_line("held: ");
    let refused = world.cms(&["held", "apply", "work/A"]);
    assert_eq!(refused.status.code(), Some(1), "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("the Maildir of `A/x` is still here"), "{}", refused.stderr);
    let restored = world.cms(&["held", "restore"]);
    assert_eq!(restored.status.code(), Some(0), "{}{}", restored.stdout, restored.stderr);
    world.wait_until_same("work/A", "A");
    fs::remove_dir_all(world.path("work/B")).unwrap();
    wait_for("it is held", || world.cms(&["held"]).status.code() == Some(4));
    let applied = world.cms(&["held", "apply", "work/B"]);
    assert_eq!(applied.status.code(), Some(0), "{}{}", applied.stdout, applied.stderr);
    let is_there = || is_folder(&world, "Deleted Items/B") && world.here("work/Deleted Items/B").len() == 2;
    assert!(wait(&is_there), "the folder isn't moved:\n{}", daemon.stderr());
    wait_for("the directory has moved", || !world.path("work/B").exists());
    // The cloud keeps the inbox.
    fs::remove_dir_all(world.path("work/Inbox")).unwrap();
    wait_for("it is held", || world.cms(&["held"]).status.code() == Some(4));
    world.cms(&["held", "apply", "work/Inbox"]);
    daemon.wait_for_line("doesn't let the folder `Inbox` go");
    wait_for("it is held again", || world.cms(&["held"]).status.code() == Some(4));
    world.cms(&["held", "restore", "work/Inbox"]);
    world.wait_until_same("work/Inbox", "Inbox");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn a_new_maildir_waits_for_room_on_the_disk() {
    if !may_attach() {
        println!("skipped: needs strace that may attach to a process");
        return;
    }
    // What a directory is made or renamed by fails; the latter where it was moved before the state is opened anew.
    for calls in ["mkdir,mkdirat", "rename,renameat,renameat2"] {
        let world = world(&["A", "B"], "");
        let mut daemon = world.daemon();
        let mut tracer = Tracer::attach(&daemon, calls, "ENOSPC");
        world.cloud.create_folder("", "C/x", false).unwrap();
        world.cloud.rename_folder("", "B", "D").unwrap();
        daemon.wait_for_line("the disk is full");
        assert!(daemon.is_running());
        tracer.detach();
        world.receive_read("C/x", "hello");
        world.receive_read("D", "hello");
        let is_here = || world.here("work/C/x").len() == 1 && world.here("work/D").len() == 3;
        assert!(wait(&is_here), "the Maildirs don't come:\n{}", daemon.stderr());
        assert_eq!(daemon.stderr().matches("the disk is full").count(), 1, "{}", daemon.stderr());
        daemon.stop();
        world.assert_lawful();
    }
}

#[test]
fn an_empty_folder_that_is_deleted_goes_from_one_that_gets_another_name() {
    let world = world(&["N"], "");
    world.cloud.create_folder("", "N/x", false).unwrap();
    world.sync();
    world.cloud.delete_folder("", "N/x").unwrap();
    world.cloud.rename_folder("", "N", "M").unwrap();
    world.sync();
    world.assert_same("work/M", "M");
    assert!(!world.path("work/M/x").exists() && !world.path("work/N").exists());
    world.assert_lawful();
}

#[test]
fn a_maildir_that_comes_back_goes_where_its_folder_is_now() {
    let world = world(&["A", "B"], "");
    world.sync();
    let before = inodes(&world, "work/A");
    fs::rename(world.path("work/A"), world.path("elsewhere")).unwrap();
    world.cloud.rename_folder("", "A", "C").unwrap();
    let held = world.cms(&["sync"]);
    assert_eq!(held.status.code(), Some(4), "{}", held.stderr);
    fs::rename(world.path("elsewhere"), world.path("work/A")).unwrap();
    world.sync();
    world.assert_same("work/C", "C");
    assert_eq!(inodes(&world, "work/C"), before);
    assert!(!world.path("work/A").exists() && !is_folder(&world, "A"));
    // From now on a name that it is given here is one for the folder again.
    fs::rename(world.path("work/C"), world.path("work/D")).unwrap();
    world.sync();
    world.assert_same("work/D", "D");
    assert!(!is_folder(&world, "C"));
    world.assert_lawful();
}

#[test]
fn a_move_of_directories_that_a_kill_has_cut_short_is_ended_by_the_next_run() {
    let world = world(&["A", "A/x", "B"], "");
    world.sync();
    let before = inodes(&world, "work/A");
    for (left, name) in [("work/.cms-moving-7", "C"), ("work/D", "D")] {
        let was = if name == "C" { "A" } else { "C" };
        world.cloud.rename_folder("", was, name).unwrap();
        fs::rename(world.path("work").join(was), world.path(left)).unwrap();
        world.sync();
        assert_eq!(inodes(&world, &format!("work/{name}")), before);
        for folder in [name, &format!("{name}/x"), "B"] {
            world.assert_same(&format!("work/{folder}"), folder);
        }
        assert!(!world.path("work").join(was).exists() && !world.path("work/.cms-moving-7").exists());
    }
    world.assert_lawful();
}

#[test]
fn a_plan_tells_what_would_be_made_and_makes_nothing() {
    let world = world(&["A", "B"], "");
    let planned = world.cms(&["plan"]);
    assert_eq!(planned.status.code(), Some(0), "{}", planned.stderr);
    assert!(planned.stdout.contains("work/A` for the folder `A`"), "{}", planned.stdout);
    assert!(!world.path("work").exists());
    world.sync();
    world.cloud.rename_folder("", "A", "C").unwrap();
    world.cloud.delete_folder("", "B").unwrap();
    let planned = world.cms(&["plan"]);
    assert_eq!(planned.status.code(), Some(0), "{}", planned.stderr);
    for text in ["work/A` to `", "the folder `B` is gone"] {
        assert!(planned.stdout.contains(text), "{}", planned.stdout);
    }
    assert!(world.path("work/A/cur").is_dir());
    world.assert_lawful();
}

#[test]
fn a_folder_that_is_named_by_itself_is_not_the_trees() {
    let world = world(&["Lists"], "");
    world.sync();
    configure(&world, "", "MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\n");
    world.sync();
    world.assert_same("INBOX", "Inbox");
    world.receive_read("Inbox", "to the Maildir by itself");
    let before = world.here("work/Inbox");
    world.sync();
    world.assert_same("INBOX", "Inbox");
    assert_eq!(world.here("work/Inbox"), before);
    world.assert_lawful();
}

fn make_maildir(world: &World, path: &str) {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(world.path(path).join(part)).unwrap();
    }
}

fn is_folder(world: &World, path: &str) -> bool {
    world.cloud.folder_id("", path).is_ok()
}

#[test]
fn directories_that_are_made_renamed_and_moved_here_are_so_in_the_cloud() {
    let world = world(&["A", "A/x", "B"], "");
    let daemon = world.daemon();
    world.wait_until_same("work/A/x", "A/x");
    let (before, downloads, id) =
        (inodes(&world, "work/A/x"), count(&world, "value"), world.cloud.folder_id("", "A/x").unwrap());

    make_maildir(&world, "work/Fresh/100%25");
    let is_there = || is_folder(&world, "Fresh/100%");
    assert!(wait(&is_there), "the folder isn't made:\n{}", daemon.stderr());
    world.receive_read("Fresh/100%", "hello");
    world.wait_until_same("work/Fresh/100%25", "Fresh/100%");

    fs::rename(world.path("work/A"), world.path("work/Z")).unwrap();
    let is_there = || is_folder(&world, "Z/x");
    assert!(wait(&is_there), "the folder doesn't get the new name:\n{}", daemon.stderr());
    // Until both sides know the new name, one that is given here would be a second one beside the cloud's.
    wait_for("it is known by the new name", || world.cms(&["status"]).stdout.contains("  Z/x:"));
    world.wait_until_same("work/Z/x", "Z/x");
    fs::rename(world.path("work/Z/x"), world.path("work/B/y")).unwrap();
    wait_for("the folder is at the new place", || is_folder(&world, "B/y"));
    world.wait_until_same("work/B/y", "B/y");
    assert_eq!(world.cloud.folder_id("", "B/y").unwrap(), id, "it is the same folder");
    assert_eq!(inodes(&world, "work/B/y"), before);
    assert_eq!(count(&world, "value"), downloads + 1);
    assert!(!is_folder(&world, "A") && !is_folder(&world, "Z/x"));
    world.receive_read("B/y", "one more");
    world.wait_until_same("work/B/y", "B/y");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn directories_are_followed_at_once() {
    let world = world(&["A"], "cfg.poll_interval = 3600\n");
    let daemon = world.daemon();
    make_maildir(&world, "work/Fresh/x");
    let is_there = || is_folder(&world, "Fresh/x");
    assert!(wait(&is_there), "the folder isn't made:\n{}", daemon.stderr());
    fs::rename(world.path("work/A"), world.path("work/Fresh/A")).unwrap();
    let is_there = || is_folder(&world, "Fresh/A");
    assert!(wait(&is_there), "the folder isn't moved:\n{}", daemon.stderr());
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn directories_that_were_changed_while_nothing_ran_are_so_in_the_cloud() {
    let world = world(&["A", "A/x", "B"], "");
    world.sync();
    let before = [inodes(&world, "work/A"), inodes(&world, "work/A/x")];
    fs::rename(world.path("work/A"), world.path("work/B/A")).unwrap();
    make_maildir(&world, "work/C");
    world.sync();
    assert_eq!([inodes(&world, "work/B/A"), inodes(&world, "work/B/A/x")], before);
    for folder in ["B", "B/A", "B/A/x", "C"] {
        world.assert_same(&format!("work/{folder}"), folder);
    }
    assert!(!is_folder(&world, "A") && !world.path("work/A").exists());
    // Where both have given it another name, the cloud's holds.
    fs::rename(world.path("work/C"), world.path("work/here")).unwrap();
    world.cloud.rename_folder("", "C", "there").unwrap();
    world.sync();
    world.assert_same("work/there", "there");
    assert!(!world.path("work/here").exists() && !is_folder(&world, "here"));
    // One that every mailbox has can't be renamed.
    fs::rename(world.path("work/Inbox"), world.path("work/Mail")).unwrap();
    let told = world.sync();
    assert!(told.stderr.contains("gets its old name again"), "{}", told.stderr);
    world.assert_same("work/Inbox", "Inbox");
    world.assert_lawful();
}

#[test]
fn a_maildir_that_becomes_no_folder_is_told() {
    let world = world(&[], "");
    configure(&world, ", exclude=[\"Archive/*\"]", "");
    world.sync();
    make_maildir(&world, "work/50%");
    make_maildir(&world, "work/Archive/2026");
    let told = world.sync().stderr;
    let becomes_none = |path: &str| format!("`{}` is a Maildir that becomes no folder", world.path(path).display());
    assert_eq!(told.matches(&becomes_none("work/50%")).count(), 1, "{told}");
    assert_eq!(told.matches(&becomes_none("work/Archive/2026")).count(), 1, "{told}");
    assert!(told.contains("`include` and `exclude` leave `Archive/2026` out"), "{told}");
    assert_eq!(told.matches("becomes no folder").count(), 2, "{told}");
    world.assert_lawful();
}

#[test]
fn a_copy_of_a_maildir_is_not_taken_for_it() {
    let world = world(&["B"], "");
    world.sync();
    make_maildir(&world, "work/A copy");
    fs::copy(world.path("work/B/.cms-maildir"), world.path("work/A copy/.cms-maildir")).unwrap();
    world.cloud.rename_folder("", "B", "C").unwrap();
    world.sync();
    world.assert_same("work/C", "C");
    assert!(world.path("work/A copy/cur").is_dir() && !is_folder(&world, "A copy"));
    world.assert_lawful();
}

#[test]
fn messages_move_between_the_folders_of_a_tree_as_between_any_others() {
    let world = world(&["A", "B"], "");
    world.sync();
    let downloads = count(&world, "value");
    let file = world.files("work/A")[0].clone();
    let name = file.split('/').nth(1).unwrap();
    fs::rename(world.path("work/A").join(&file), world.path("work/B/cur").join(name)).unwrap();
    world.cloud.create_folder("", "C", false).unwrap();
    world.sync();
    let ids: Vec<String> = world
        .cloud
        .state("")
        .unwrap()
        .messages()
        .filter(|message| message.folder == "Inbox")
        .map(|message| message.id.clone())
        .collect();
    for id in &ids {
        world.cloud.move_message("", id, "C").unwrap();
    }
    world.sync();
    assert_eq!((world.here("work/A").len(), world.here("work/B").len(), world.here("work/C").len()), (1, 3, 3));
    for folder in ["A", "B", "C", "Inbox"] {
        world.assert_same(&format!("work/{folder}"), folder);
    }
    for id in &ids {
        world.cloud.move_message("", id, "B").unwrap();
    }
    world.cloud.delete_folder("", "C").unwrap();
    world.sync();
    world.sync();
    assert!(!world.path("work/C").exists());
    assert_eq!(world.here("work/B").len(), 6);
    world.assert_same("work/B", "B");
    assert_eq!(count(&world, "value"), downloads, "nothing was downloaded again");
    world.assert_lawful();
}

/// The ids of the messages in a folder.
fn ids(world: &World, folder: &str) -> Vec<String> {
    let state = world.cloud.state("").unwrap();
    let ids = state.messages().filter(|message| message.folder == folder).map(|message| message.id.clone());
    ids.collect()
}

#[test]
fn a_message_that_goes_into_a_folder_nobody_has_listed_yet_stays_here() {
    let world = world(&["A"], "cfg.poll_interval = 2\n");
    // A cloud that can't tell whether the folders have changed: they are listed more seldom than each of them is polled.
    world.cloud.inject(Fault::always("folder-delta", Action::status(400)));
    let daemon = world.daemon();
    let (before, downloads) = (inodes(&world, "work/A"), count(&world, "value"));
    world.cloud.create_folder("", "C/x", false).unwrap();
    for id in ids(&world, "A") {
        world.cloud.move_message("", &id, "C/x").unwrap();
    }
    let is_here = || inodes(&world, "work/C/x") == before;
    assert!(wait(&is_here), "the messages aren't moved:\n{}", daemon.stderr());
    daemon.stop();
    world.assert_same("work/C/x", "C/x");
    world.assert_same("work/A", "A");
    assert_eq!(count(&world, "value"), downloads, "nothing was downloaded again");
    world.assert_lawful();
}

#[test]
fn a_message_that_goes_into_a_folder_nobody_can_list_goes_away_here() {
    let world = world(&["A"], "cfg.poll_interval = 2\n");
    world.cloud.inject(Fault::always("folder-delta", Action::status(400)));
    world.cloud.create_folder("", "Recoverable", true).unwrap();
    let daemon = world.daemon();
    let ids = ids(&world, "A");
    let lists = count(&world, "folders");
    world.cloud.move_message("", &ids[0], "Recoverable").unwrap();
    let is_gone = || world.here("work/A").len() == 1;
    assert!(wait(&is_gone), "it stays:\n{}", daemon.stderr());
    let looked = count(&world, "folders");
    assert!(looked > lists, "the folders are listed before it is believed");
    world.cloud.move_message("", &ids[1], "Recoverable").unwrap();
    wait_for("the other one is gone", || world.here("work/A").is_empty());
    assert!(count(&world, "folders") < looked + (looked - lists), "they aren't listed for each message");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn killed_while_the_folders_change_it_ends_the_same() {
    let world = world(&["A", "A/x", "B"], "");
    world.sync();
    let (before, downloads) = ([inodes(&world, "work/A"), inodes(&world, "work/A/x")], count(&world, "value"));
    for round in 0..6 {
        let (was, name) = (format!("A{}", round - 1), format!("A{round}"));
        let was = if round == 0 { "A".to_owned() } else { was };
        world.cloud.rename_folder("", &was, &name).unwrap();
        let daemon = world.start(&["run"]);
        daemon.wait_for_line("The folders have changed");
        daemon.kill();
        if round % 2 == 0 {
            // What is done after that is done by another run.
            world.cloud.create_folder("", &format!("{name}/new"), false).unwrap();
        }
    }
    world.sync();
    assert_eq!([inodes(&world, "work/A5"), inodes(&world, "work/A5/x")], before);
    assert_eq!(count(&world, "value"), downloads);
    for folder in ["A5", "A5/x", "A5/new", "B", "Inbox"] {
        world.assert_same(&format!("work/{folder}"), folder);
    }
    let others = maildirs(&world).into_iter().filter(|path| path.starts_with('A') && path != "Archive").count();
    assert_eq!(others, 3, "{:?}", maildirs(&world));
    world.assert_lawful();
}

#[test]
fn a_daemon_waits_for_a_maildir_that_went_whatever_becomes_of_the_folders() {
    let world = world(&["A", "B"], "");
    let mut daemon = world.daemon();
    world.wait_until_same("work/A", "A");
    let there = world.there("A");
    fs::rename(world.path("work/A"), world.path("elsewhere")).unwrap();
    daemon.wait_for_line("is gone; nothing is deleted");
    world.cloud.create_folder("", "C", false).unwrap();
    let is_here = || world.path("work/C/cur").is_dir();
    assert!(wait(&is_here), "the new folder doesn't come:\n{}", daemon.stderr());
    assert!(daemon.is_running());
    fs::rename(world.path("elsewhere"), world.path("work/A")).unwrap();
    world.receive_read("A", "it is used again");
    world.wait_until_same("work/A", "A");
    assert_eq!(world.there("A").len(), there.len() + 1);
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn a_tree_that_becomes_a_mailbox_by_itself_loses_nothing() {
    let world = world(&["Lists"], "");
    world.sync();
    let (downloads, before) = (count(&world, "value"), world.here("work/Inbox"));
    world.configure("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\n");
    world.sync();
    world.assert_same("INBOX", "Inbox");
    assert_eq!(count(&world, "value"), downloads, "the messages come from the store");
    assert_eq!(world.here("work/Inbox"), before);
    // And back.
    configure(&world, "", "");
    world.sync();
    world.assert_same("work/Inbox", "Inbox");
    world.assert_same("work/Lists", "Lists");
    assert_eq!(count(&world, "value"), downloads);
    world.assert_lawful();
}
