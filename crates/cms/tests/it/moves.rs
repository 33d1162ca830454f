//! Moves as mail programs make them, and files that are written to in place.
//!
//! What each program does was seen with strace and inode numbers: a rename (aerc, Dovecot, `mv`), a rename under a new name
//! (mu, afew, mbsync), a hard link and an unlink (Gnus), a copy and an unlink or a Trash flag (mutt, neomutt).

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use simcloud::{Deletion, FlagChange, FlagStatus, Knobs, MessageState, NewMessage, Options};

use crate::mail_program::{INBOX_AND_LISTS, TRASH, base_name, letters, text};
use crate::world::{Running, World, wait_for};

/// A way to move a message: the world, and the file's name in `INBOX`.
type Deed = fn(&World, &str);

/// A way to move a message, by name, with what the message's header has besides, and how many letters change with it.
struct Way {
    name: &'static str,
    header: &'static str,
    flags_change: u64,
    deed: Deed,
}

/// Lengths that are wrong, as a list server's are that adds a footer.
const LENGTHS: &str = "Content-Length: 7\nLines: 1\n";

/// The same without lengths and with no change of flags.
const fn way(name: &'static str, deed: Deed) -> Way {
    Way { name, header: "", flags_change: 0, deed }
}

const WAYS: [Way; 14] = [
    way("renamed", |world, name| world.rename("INBOX", name, "Lists", name)),
    way("renamed under a new name", |world, name| {
        world.rename("INBOX", name, "Lists", "cur/1795427059.c2a383f69b206bc8.vm:2,S");
    }),
    way("renamed with a size in its name", |world, name| {
        world.rename("INBOX", name, "Lists", &format!("cur/{},U=7:2,S", base_name(name)));
    }),
    Way {
        name: "renamed and flagged",
        header: "",
        flags_change: 1,
        deed: |world, name| world.rename("INBOX", name, "Lists", &format!("cur/{}:2,FS", base_name(name))),
    },
    Way {
        name: "renamed, and flagged a moment later",
        header: "",
        flags_change: 1,
        deed: |world, name| {
            world.rename("INBOX", name, "Lists", name);
            world.set_letters("Lists", name, "FS");
        },
    },
    way("renamed twice", |world, name| {
        world.rename("INBOX", name, "Lists", "cur/1795427232.one:2,S");
        world.rename("Lists", "cur/1795427232.one:2,S", "Lists", "cur/1795427232.two:2,S");
    }),
    way("linked, then unlinked", |world, name| {
        link(world, name, "cur/1795427122.M040104P20324Q0.vm:2,S");
        world.unlink("INBOX", name);
    }),
    way("linked under the same name, then unlinked", |world, name| {
        link(world, name, name);
        world.unlink("INBOX", name);
    }),
    way("copied, then unlinked", |world, name| {
        let bytes = fs::read(world.path("INBOX").join(name)).unwrap();
        world.put("Lists", "cur/1795426808.6043_1.vm:2,S", bytes);
        world.unlink("INBOX", name);
    }),
    way("unlinked, then put there", |world, name| {
        let bytes = fs::read(world.path("INBOX").join(name)).unwrap();
        world.unlink("INBOX", name);
        world.put("Lists", "cur/1795426808.6043_2.vm:2,S", bytes);
    }),
    way("copied, then trashed", |world, name| {
        let bytes = fs::read(world.path("INBOX").join(name)).unwrap();
        world.put("Lists", "cur/1795426808.6043_3.vm:2,S", bytes);
        world.set_letters("INBOX", name, "ST");
    }),
    way("saved by mutt", |world, name| {
        put_as_mutt_does(world, name, "cur/1795426808.6043_4.vm:2,S");
        world.unlink("INBOX", name);
    }),
    Way {
        name: "saved by mutt, with lengths of its own",
        header: LENGTHS,
        flags_change: 0,
        deed: |world, name| {
            put_as_mutt_does(world, name, "cur/1795426808.6043_5.vm:2,S");
            world.unlink("INBOX", name);
        },
    },
    Way {
        name: "saved by mutt with maildir_trash, with lengths of its own",
        header: LENGTHS,
        flags_change: 0,
        deed: |world, name| {
            put_as_mutt_does(world, name, "cur/1795426808.6043_6.vm:2,S");
            world.set_letters("INBOX", name, "ST");
        },
    },
];

fn link(world: &World, name: &str, new: &str) {
    fs::hard_link(world.path("INBOX").join(name), world.path("Lists").join(new)).unwrap();
}

/// Saves a message as mutt does: with the lengths in the header made right (`CH_UPDATE_LEN`).
fn put_as_mutt_does(world: &World, name: &str, new: &str) {
    let message = fs::read_to_string(world.path("INBOX").join(name)).unwrap();
    let (header, body) = message.split_once("\n\n").unwrap();
    let rest: Vec<&str> =
        header.lines().filter(|line| !line.starts_with("Content-Length:") && !line.starts_with("Lines:")).collect();
    let (length, lines) = (body.len(), body.lines().count());
    let copy = format!("{}\nContent-Length: {length}\nLines: {lines}\n\n{body}", rest.join("\n"));
    assert_ne!(copy, message);
    world.put("Lists", new, copy);
}

/// A world with one read message for each way, in its inbox.
fn world_of(ways: &[Way]) -> (World, Vec<String>) {
    let folders = vec![("Inbox/Lists".to_owned(), 2)];
    let world = World::with(Options { folders, knobs: Knobs::calm(), ..Options::default() });
    world.configure(INBOX_AND_LISTS);
    let receive = |way: &Way| {
        let mime = text(way.name).replacen("\n\n", &format!("\n{}\n", way.header), 1);
        world.cloud.add_message("", NewMessage { is_read: true, ..NewMessage::mime("Inbox", mime) }).unwrap()
    };
    let ids = ways.iter().map(receive).collect();
    (world, ids)
}

/// What a move must keep.
fn kept(message: &MessageState) -> (String, i64, bool, String) {
    (message.id.clone(), message.received_seconds, message.is_read, message.blake3_lf.clone())
}

/// That so many moves, so many changes of flags and nothing else was asked for.
#[track_caller]
fn assert_asked(world: &World, moves: u64, patches: u64, what: &str) {
    let requests = &world.cloud.counters().requests;
    assert_eq!((world.asked("move"), world.asked("patch")), (moves, patches), "{what}: {requests:?}");
    for kind in ["value", "create", "put-value", "copy", "delete"] {
        assert_eq!(world.asked(kind), 0, "{what}: {kind}: {requests:?}");
    }
}

/// That nothing is left to do, and that the messages are still the same ones: a flag set there arrives at each file.
fn assert_still_linked(world: &World, ways: &[Way], ids: &[String]) {
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    for id in ids {
        let change = FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() };
        world.cloud.set_flags("", id, change).unwrap();
    }
    world.sync();
    for way in ways {
        assert_eq!(letters(&world.file_of("Lists", way.name)), "FS", "{}", way.name);
    }
    world.assert_lawful();
}

#[test]
fn f07_each_way_to_move_a_message_is_one_move_in_the_cloud() {
    let (world, ids) = world_of(&WAYS);
    let daemon = world.daemon();
    world.cloud.reset_counters();
    let mut patches = 0;
    for (number, (way, id)) in WAYS.iter().zip(&ids).enumerate() {
        let before = kept(&world.message(id).unwrap());
        (way.deed)(&world, &world.file_of("INBOX", way.name));
        wait_for(&format!("`{}` is moved in the cloud", way.name), || world.is_in(id, "Inbox/Lists"));
        patches += way.flags_change;
        wait_for(&format!("the flags of `{}` arrive", way.name), || world.asked("patch") >= patches);
        wait_for(&format!("the first file of `{}` is gone", way.name), || world.files_of("INBOX", way.name).is_empty());
        assert_asked(&world, number as u64 + 1, patches, way.name);
        assert_eq!(kept(&world.message(id).unwrap()), before, "{}", way.name);
        assert_eq!(world.files_of("Lists", way.name).len(), 1, "{}", way.name);
    }
    // What would be a deletion is told only when the pairing window is over.
    world.let_polls_pass(4);
    assert_asked(&world, WAYS.len() as u64, patches, "afterwards");
    assert!(world.there(TRASH).is_empty() && world.here("INBOX").is_empty());
    assert!(daemon.stop().status.success());
    assert_still_linked(&world, &WAYS, &ids);
}

#[test]
fn f07_each_way_to_move_a_message_while_it_is_stopped_is_one_move_in_the_cloud() {
    let (world, ids) = world_of(&WAYS);
    world.sync();
    world.cloud.reset_counters();
    let before: Vec<_> = ids.iter().map(|id| kept(&world.message(id).unwrap())).collect();
    for way in &WAYS {
        (way.deed)(&world, &world.file_of("INBOX", way.name));
    }
    world.sync();
    for (way, (id, before)) in WAYS.iter().zip(ids.iter().zip(&before)) {
        assert!(world.is_in(id, "Inbox/Lists"), "{}", way.name);
        assert_eq!(kept(&world.message(id).unwrap()), *before, "{}", way.name);
        assert_eq!(world.files_of("Lists", way.name).len(), 1, "{}", way.name);
    }
    assert_asked(&world, WAYS.len() as u64, WAYS.iter().map(|way| way.flags_change).sum(), "while stopped");
    assert!(world.there(TRASH).is_empty() && world.here("INBOX").is_empty());
    assert_still_linked(&world, &WAYS, &ids);
}

/// A world with these messages in its inbox, all read, and the daemon at work.
fn daemon_with<const N: usize>(subjects: [&'static str; N]) -> (World, [String; N], Running) {
    let (world, ids) = world_of(&subjects.map(|subject| way(subject, |_, _| {})));
    let daemon = world.daemon();
    world.cloud.reset_counters();
    (world, ids.try_into().unwrap(), daemon)
}

#[test]
fn f07_the_halves_of_a_move_may_come_one_after_the_other() {
    let (world, [linked, copied, to_and_fro, last], daemon) = daemon_with(["linked", "copied", "to and fro", "last"]);
    // mutt unlinks only when it is left; Gnus may be stopped in between.
    let name = world.file_of("INBOX", "linked");
    link(&world, &name, "cur/1795427122.linked:2,S");
    let copy = world.file_of("INBOX", "copied");
    put_as_mutt_does(&world, &copy, "cur/1795426808.copied:2,S");
    world.let_polls_pass(4);
    assert_asked(&world, 0, 0, "after the first half");
    world.unlink("INBOX", &name);
    world.set_letters("INBOX", &copy, "ST");
    wait_for("both are moved", || world.is_in(&linked, "Inbox/Lists") && world.is_in(&copied, "Inbox/Lists"));
    assert_asked(&world, 2, 0, "after the second half");
    // There and back: nothing, if it is done at once, and another move if it isn't.
    let name = world.file_of("INBOX", "to and fro");
    world.rename("INBOX", &name, "Lists", &name);
    world.rename("Lists", &name, "INBOX", &name);
    world.let_deletions_settle("last", &last);
    assert!(world.is_in(&to_and_fro, "Inbox"));
    let moves = world.asked("move");
    world.rename("INBOX", &name, "Lists", &name);
    wait_for("it is moved", || world.is_in(&to_and_fro, "Inbox/Lists"));
    world.rename("Lists", &name, "INBOX", &name);
    wait_for("it is moved back", || world.is_in(&to_and_fro, "Inbox"));
    world.let_polls_pass(4);
    assert_eq!((world.asked("move"), world.asked("patch")), (moves + 2, 0));
    assert_eq!(world.file_of("INBOX", "to and fro"), name);
    world.assert_same("INBOX", "Inbox");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn f06_a_new_name_for_the_same_file_is_nothing_to_the_cloud() {
    let (world, [renamed, flagged, _, last], daemon) = daemon_with(["renamed", "flagged", "copied", "last"]);
    // An indexer's rename, one with flags, and a copy in the same Maildir that takes the place of the first.
    world.rename("INBOX", &world.file_of("INBOX", "renamed"), "INBOX", "cur/1795427059.new:2,S");
    world.rename("INBOX", &world.file_of("INBOX", "flagged"), "INBOX", "cur/1795427060.new:2,FS");
    let name = world.file_of("INBOX", "copied");
    world.put("INBOX", "cur/1795427061.new:2,S", text("copied"));
    world.unlink("INBOX", &name);
    wait_for("the flag arrives", || world.message(&flagged).unwrap().flag == FlagStatus::Flagged);
    world.let_deletions_settle("last", &last);
    world.let_polls_pass(4);
    assert_eq!((world.asked("patch"), world.asked("value"), world.there("Inbox").len()), (1, 0, 3));
    // They are the files of the same messages.
    world.cloud.set_flags("", &renamed, FlagChange { is_read: Some(false), ..FlagChange::default() }).unwrap();
    wait_for("the mark arrives", || letters(&world.file_of("INBOX", "renamed")).is_empty());
    assert_eq!(base_name(&world.file_of("INBOX", "renamed")), "1795427059.new");
    world.assert_same("INBOX", "Inbox");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn a_file_whose_name_is_taken_where_it_goes_is_renamed_and_stays_one() {
    let (world, [moved, _], daemon) = daemon_with(["moved", "in its way"]);
    let name = world.file_of("INBOX", "moved");
    let inode = world.inode("INBOX", &name);
    world.put("Lists", &name, text("the user's own"));
    world.cloud.move_message("", &moved, "Inbox/Lists").unwrap();
    let new = world.file_of("Lists", "moved");
    assert_eq!(base_name(&new), format!("{}.1", base_name(&name)));
    assert_eq!(world.inode("Lists", &new), inode, "it is the same file: there is no moment with two of them, or none");
    assert!(world.files_of("INBOX", "moved").is_empty());
    assert_eq!(world.file_of("Lists", "the user's own"), name);
    world.let_polls_pass(3);
    assert_eq!(world.files_of("Lists", "moved").len(), 1);
    assert_asked(&world, 0, 0, "it was the cloud that moved it");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn a_message_that_is_moved_to_a_maildir_which_goes_away_at_once_is_not_deleted() {
    // Simulation, seed 1212: a Maildir from which nothing had ever been synced was made anew, and the file was nowhere.
    let world = World::with(Options {
        folders: vec![("Inbox/Lists".to_owned(), 0)],
        knobs: Knobs::calm(),
        ..Options::default()
    });
    world.configure(INBOX_AND_LISTS);
    let id = world.receive_read("Inbox", "moved");
    let daemon = world.daemon();
    let name = world.file_of("INBOX", "moved");
    world.rename("INBOX", &name, "Lists", &name);
    fs::rename(world.path("Lists"), world.path("away")).unwrap();
    daemon.wait_for_line("is gone; nothing is deleted in the cloud because of that");
    // Longer than any window, and longer than it takes to try to open it again.
    world.let_polls_pass(12);
    assert!(!world.path("Lists").exists(), "it is made anew");
    assert!(world.there(TRASH).is_empty(), "{}", daemon.stderr());
    fs::rename(world.path("away"), world.path("Lists")).unwrap();
    wait_for("it is moved in the cloud", || world.is_in(&id, "Inbox/Lists"));
    assert_eq!(world.file_of("Lists", "moved"), name);
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn of_two_names_of_one_file_in_one_maildir_either_may_go() {
    let (world, [first, one, other, last], daemon) = daemon_with(["first", "one", "other", "last"]);
    // The first deletion after a listing is checked by another listing, which would find the other name.
    world.let_deletions_settle("first", &first);
    let link = |subject: &str| {
        let name = world.file_of("INBOX", subject);
        let second = format!("cur/{}:2,FS", base_name(&name));
        fs::hard_link(world.path("INBOX").join(&name), world.path("INBOX").join(&second)).unwrap();
        (name, second)
    };
    let (_, second_of_one) = link("one");
    let (first_of_other, _) = link("other");
    world.let_polls_pass(2);
    world.unlink("INBOX", &second_of_one);
    world.unlink("INBOX", &first_of_other);
    world.let_deletions_settle("last", &last);
    world.let_polls_pass(3);
    assert!(world.is_in(&one, "Inbox") && world.is_in(&other, "Inbox"), "{}", daemon.stderr());
    assert_eq!(letters(&world.file_of("INBOX", "other")), "FS");
    world.wait_until_same("INBOX", "Inbox");
    daemon.stop();
    world.assert_lawful();
}

/// Where the store has a message of that content.
fn stored(world: &World, bytes: &[u8]) -> PathBuf {
    let hash = blake3::hash(bytes).to_hex();
    world.path(".cms/messages").join(&hash[..2]).join(&hash[2..])
}

/// Adds a line to a file in place, as a program does that knows nothing of Maildirs.
fn append(world: &World, maildir: &str, name: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(world.path(maildir).join(name)).unwrap();
    file.write_all(b"edited\n").unwrap();
}

#[test]
fn a_file_that_is_written_to_in_place_is_an_edit_and_the_original_is_fetched_again() {
    let (world, [edited, renamed, _], daemon) = daemon_with(["edited", "renamed", "untouched"]);
    let original = text("edited").into_bytes();
    append(&world, "INBOX", &world.file_of("INBOX", "edited"));
    let name = world.file_of("INBOX", "renamed");
    append(&world, "INBOX", &name);
    world.set_letters("INBOX", &name, "FS");
    wait_for("the originals are fetched again", || world.asked("value") == 2);
    wait_for("the original is stored", || fs::read(stored(&world, &original)).is_ok_and(|there| there == original));
    daemon.wait_for_line(&format!("`{}` was edited here", base_name(&world.file_of("INBOX", "edited"))));
    daemon.wait_for_line(&format!("`{}` was edited here", base_name(&name)));
    let now = [&original[..], b"edited\n"].concat();
    let read = |subject: &str| fs::read(world.path("INBOX").join(world.file_of("INBOX", subject))).unwrap();
    // It is still the message's file for all else.
    world
        .cloud
        .set_flags("", &edited, FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() })
        .unwrap();
    wait_for("the flag arrives", || letters(&world.file_of("INBOX", "edited")) == "FS");
    assert_eq!(read("edited"), now);
    // What was edited here outlives the message there.
    world.cloud.delete_message("", &edited, Deletion::Purge).unwrap();
    world.cloud.delete_message("", &renamed, Deletion::Purge).unwrap();
    world.let_polls_pass(4);
    assert_eq!(read("edited"), now);
    assert_eq!(world.files_of("INBOX", "renamed").len(), 1);
    assert_eq!(world.asked("value"), 2, "each original was fetched once");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn an_edit_in_place_while_it_is_stopped_is_found_before_it_could_be_lost() {
    let (world, ids) = world_of(&["deleted there", "deleted here", "kept"].map(|name| way(name, |_, _| {})));
    world.sync();
    for subject in ["deleted there", "deleted here"] {
        append(&world, "INBOX", &world.file_of("INBOX", subject));
    }
    let name = world.file_of("INBOX", "deleted here");
    world.unlink("INBOX", &name);
    world.cloud.delete_message("", &ids[0], Deletion::Trash).unwrap();
    world.cloud.reset_counters();
    world.sync();
    let read = |subject: &str| fs::read_to_string(world.path("INBOX").join(world.file_of("INBOX", subject))).unwrap();
    assert_eq!(read("deleted there"), format!("{}edited\n", text("deleted there")), "only the Maildir had that");
    // It comes back as the cloud has it, though the store's file was written to.
    assert_eq!(read("deleted here"), text("deleted here"));
    assert_eq!(world.asked("value"), 1, "the original was lost here, and is fetched");
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do") || again.stderr.contains("1 only here"), "{}", again.stderr);
    world.assert_lawful();
}

#[test]
fn f28_writing_into_one_twin_does_not_change_the_other() {
    let world = World::with(Options { knobs: Knobs::calm(), ..Options::default() });
    for _ in 0..2 {
        // Received at one second, which is what lets two names be one file.
        let twin = NewMessage { received: Some(1_704_110_400), ..NewMessage::mime("Inbox", text("twin")) };
        world.cloud.add_message("", twin).unwrap();
    }
    world.sync();
    let names = world.files_of("INBOX", "twin");
    assert_eq!(names.len(), 2);
    append(&world, "INBOX", &names[0]);
    assert_eq!(fs::read_to_string(world.path("INBOX").join(&names[1])).unwrap(), text("twin"));
    let daemon = world.daemon();
    append(&world, "INBOX", &names[1]);
    daemon.wait_for_line(&format!("`{}` was edited here", base_name(&names[1])));
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn f08_a_message_that_changes_to_and_fro_without_end_is_left_alone() {
    let (world, [id], daemon) = daemon_with(["fought over"]);
    let told = || daemon.stderr().contains("again and again");
    let mut turns = 0;
    while !told() {
        turns += 1;
        assert!(turns < 40, "it is never left alone");
        let read = turns % 2 == 0;
        world.set_letters("INBOX", &world.file_of("INBOX", "fought over"), if read { "S" } else { "" });
        wait_for("the mark arrives, or nothing does any more", || {
            world.message(&id).unwrap().is_read == read || told()
        });
    }
    let asked = world.asked("patch");
    let name = world.file_of("INBOX", "fought over");
    let after = if letters(&name).is_empty() { "S" } else { "" };
    world.set_letters("INBOX", &name, after);
    world.cloud.set_flags("", &id, FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() }).unwrap();
    world.let_polls_pass(4);
    assert_eq!(world.asked("patch"), asked, "it is left alone there");
    assert_eq!(letters(&world.file_of("INBOX", "fought over")), after, "and here");
    // Others are not.
    world.receive("Inbox", "another");
    world.set_letters("INBOX", &world.file_of("INBOX", "another"), "S");
    wait_for("its mark arrives", || world.asked("patch") == asked + 1);
    daemon.stop();
    // Who starts anew begins to count anew.
    world.sync();
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}
