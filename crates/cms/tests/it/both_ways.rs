//! The daemon between a mailbox and its Maildirs: what changes on one side shows on the other.

use std::fs;

use simcloud::{Actor, Deletion, FlagChange, FlagStatus, Knobs, NewMessage, Options};

use crate::mail_program::{INBOX_AND_LISTS, TRASH, base_name, letters, text};
use crate::world::{World, wait_for};

/// A world in which requests can be counted, with these folders.
fn calm(messages: usize, folders: &[&str]) -> World {
    let folders = folders.iter().map(|name| ((*name).to_owned(), 0)).collect();
    World::with(Options { messages, folders, knobs: Knobs::calm(), ..Options::default() })
}

fn read(is_read: bool) -> FlagChange {
    FlagChange { is_read: Some(is_read), ..FlagChange::default() }
}

#[test]
fn flags_that_change_in_the_cloud_are_renames_here() {
    let world = World::new(3);
    let id = world.receive_read("Inbox", "marked");
    let daemon = world.daemon();
    let first = world.file_of("INBOX", "marked");
    let inode = world.inode("INBOX", &first);
    // Keywords of another program are nobody's business but its own.
    world.set_letters("INBOX", &first, "Sab");
    let steps = [
        (read(false), "ab"),
        (FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() }, "Fab"),
        (read(true), "FSab"),
        (FlagChange { replied: Some(true), ..FlagChange::default() }, "FRSab"),
        (FlagChange { flag: Some(FlagStatus::Complete), ..FlagChange::default() }, "RSab"),
        // Exchange keeps the newest mark only, and that the older one made room is nobody's wish.
        (FlagChange { forwarded: Some(true), ..FlagChange::default() }, "PRSab"),
    ];
    for (change, expected) in steps {
        world.cloud.set_flags("", &id, change).unwrap();
        wait_for(expected, || world.files_of("INBOX", "marked").iter().any(|name| letters(name) == expected));
        let name = world.file_of("INBOX", "marked");
        assert_eq!((base_name(&name), world.inode("INBOX", &name)), (base_name(&first), inode));
    }
    let by_imap = world.receive_read("Inbox", "answered");
    world.file_of("INBOX", "answered");
    let answered = FlagChange { actor: Actor::Imap, replied: Some(true), ..FlagChange::default() };
    world.cloud.set_flags("", &by_imap, answered).unwrap();
    wait_for("the reply shows", || world.files_of("INBOX", "answered").iter().any(|name| letters(name) == "RS"));
    let message = world.message(&by_imap).unwrap();
    assert_eq!((message.verb, message.icon), (None, None), "the cloud was told what it told: {message:?}");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn flags_that_change_here_arrive_in_the_cloud() {
    let world = World::new(3);
    let id = world.receive("Inbox", "marked");
    let daemon = world.daemon();
    let name = world.file_of("INBOX", "marked");
    assert!(name.starts_with("new/"), "{name}");

    let name = world.set_letters("INBOX", &name, "S");
    wait_for("it is read", || world.message(&id).unwrap().is_read);
    let name = world.set_letters("INBOX", &name, "FSx");
    wait_for("it is flagged", || world.message(&id).unwrap().flag == FlagStatus::Flagged);
    let name = world.set_letters("INBOX", &name, "FRSx");
    // Whether it was a reply to the sender or to all a Maildir can't say; 103 means both to those who look.
    wait_for("it is replied to", || world.message(&id).unwrap().verb == Some(103));
    assert_eq!(world.message(&id).unwrap().icon, Some(261));
    let name = world.set_letters("INBOX", &name, "FPRSx");
    wait_for("it is forwarded", || world.message(&id).unwrap().verb == Some(104));
    assert_eq!(world.message(&id).unwrap().icon, Some(262));
    // The cloud has room for the newest mark only; the Maildir keeps both.
    world.let_polls_pass(3);
    assert_eq!(world.file_of("INBOX", "marked"), name);
    assert_eq!(world.message(&id).unwrap().verb, Some(104));
    let name = world.set_letters("INBOX", &name, "x");
    wait_for("all flags are gone", || {
        let message = world.message(&id).unwrap();
        !message.is_read && message.flag == FlagStatus::NotFlagged && message.verb == Some(0)
    });
    world.let_polls_pass(3);
    assert_eq!(world.file_of("INBOX", "marked"), name);
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn one_change_of_flags_is_one_request_however_often_it_is_told_back() {
    let world = calm(10, &[]);
    world.receive("Inbox", "marked");
    let daemon = world.daemon();
    let name = world.file_of("INBOX", "marked");
    world.cloud.reset_counters();
    world.set_letters("INBOX", &name, "FS");
    wait_for("the cloud is told", || world.asked("patch") > 0);
    world.let_polls_pass(4);
    let requests = world.cloud.counters().requests;
    assert_eq!(world.asked("patch"), 1, "{requests:?}");
    for kind in ["message", "value", "move", "delete", "list", "folders"] {
        assert_eq!(world.asked(kind), 0, "{requests:?}");
    }
    world.assert_same("INBOX", "Inbox");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn new_mail_comes_into_new_and_what_goes_in_the_cloud_goes_here() {
    let world = World::new(30);
    let [deleted, purged, moved, stays] =
        ["deleted", "purged", "moved", "stays"].map(|subject| world.receive("Inbox", subject));
    let daemon = world.daemon();
    world.receive("Inbox", "fresh");
    let name = world.file_of("INBOX", "fresh");
    assert!(name.starts_with("new/") && !name.contains(':'), "{name}");

    world.cloud.delete_message("", &deleted, Deletion::Trash).unwrap();
    world.cloud.delete_message("", &purged, Deletion::Purge).unwrap();
    world.cloud.move_message("", &moved, "Inbox/Elsewhere").unwrap();
    let inode = world.inode("INBOX", &world.file_of("INBOX", "stays"));
    world.cloud.move_away_and_back("", &stays, "Inbox/Elsewhere").unwrap();
    for subject in ["deleted", "purged", "moved"] {
        wait_for(subject, || world.files_of("INBOX", subject).is_empty());
    }
    world.let_polls_pass(4);
    assert_eq!(world.inode("INBOX", &world.file_of("INBOX", "stays")), inode);
    assert!(world.is_in(&moved, "Inbox/Elsewhere") && world.is_in(&deleted, TRASH) && world.is_in(&stays, "Inbox"));
    world.assert_same("INBOX", "Inbox");
    // And back, which is an arrival like any other.
    world.cloud.move_message("", &moved, "Inbox").unwrap();
    world.wait_until_same("INBOX", "Inbox");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn a_message_that_moves_in_the_cloud_moves_here_without_a_download() {
    let world = calm(5, &["Inbox/Lists"]);
    world.configure(INBOX_AND_LISTS);
    let read = world.receive_read("Inbox", "travels");
    let unread = world.receive("Inbox", "travels unread");
    let back = world.receive("Inbox", "comes back");
    let daemon = world.daemon();
    let names = ["travels", "travels unread", "comes back"].map(|subject| {
        let name = world.file_of("INBOX", subject);
        (subject, world.inode("INBOX", &name), name)
    });
    world.cloud.reset_counters();
    world.cloud.move_message("", &read, "Inbox/Lists").unwrap();
    world.cloud.move_message("", &unread, "Inbox/Lists").unwrap();
    world.cloud.move_message("", &back, "Inbox/Lists").unwrap();
    for (subject, inode, name) in &names {
        assert_eq!(world.file_of("Lists", subject), *name);
        assert_eq!(world.inode("Lists", name), *inode);
        assert!(world.files_of("INBOX", subject).is_empty());
    }
    world.cloud.move_message("", &back, "Inbox").unwrap();
    world.wait_until_same("INBOX", "Inbox");
    world.wait_until_same("Lists", "Inbox/Lists");
    assert_eq!(world.inode("INBOX", &world.file_of("INBOX", "comes back")), names[2].1);
    world.let_polls_pass(4);
    world.assert_same("INBOX", "Inbox");
    world.assert_same("Lists", "Inbox/Lists");
    for kind in ["value", "move", "delete", "patch"] {
        assert_eq!(world.asked(kind), 0, "{kind}");
    }
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn messages_that_move_to_and_fro_under_a_flawed_service_end_where_they_are() {
    let world =
        World::with(Options { messages: 20, folders: vec![("Inbox/Lists".to_owned(), 20)], ..Options::default() });
    world.configure(INBOX_AND_LISTS);
    let daemon = world.daemon();
    let ids: Vec<String> = world.cloud.state("").unwrap().messages().map(|message| message.id.clone()).collect();
    for (number, id) in ids.iter().enumerate() {
        let home = world.message(id).unwrap().folder;
        let other = if home == "Inbox" { "Inbox/Lists" } else { "Inbox" };
        match number % 4 {
            0 => world.cloud.move_message("", id, other).unwrap(),
            1 => world.cloud.move_away_and_back("", id, other).unwrap(),
            2 => world.cloud.move_away_and_back("", id, "Inbox/Elsewhere").unwrap(),
            _ => world.cloud.set_flags("", id, read(true)).unwrap(),
        }
    }
    world.wait_until_same("INBOX", "Inbox");
    world.wait_until_same("Lists", "Inbox/Lists");
    world.let_polls_pass(8);
    world.assert_same("INBOX", "Inbox");
    world.assert_same("Lists", "Inbox/Lists");
    assert_eq!(world.cloud.state("").unwrap().messages().count(), 40);
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn f29_what_is_deleted_here_goes_to_the_trash_there() {
    let world = World::new(30);
    let [unlinked, trashed] = ["unlinked", "trashed"].map(|subject| world.receive("Inbox", subject));
    let daemon = world.daemon();
    world.unlink("INBOX", &world.file_of("INBOX", "unlinked"));
    wait_for("the unlinked one is in the trash", || world.is_in(&unlinked, TRASH));
    world.set_letters("INBOX", &world.file_of("INBOX", "trashed"), "ST");
    wait_for("the trashed one is in the trash", || world.is_in(&trashed, TRASH));
    wait_for("its file is gone", || world.files_of("INBOX", "trashed").is_empty());
    world.let_polls_pass(3);
    world.assert_same("INBOX", "Inbox");
    assert_eq!((world.there("Inbox").len(), world.there(TRASH).len()), (30, 2));
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn deleting_can_mean_archiving_or_purging() {
    for (action, folder) in [("archive", Some("Archive")), ("purge", None)] {
        let world = World::new(5);
        world.configure(&format!("MailDir(\"INBOX\")\nOffice365(\"inbox\", account, delete_action=\"{action}\")\n"));
        let [unlinked, trashed] = ["unlinked", "trashed"].map(|subject| world.receive("Inbox", subject));
        let daemon = world.daemon();
        world.unlink("INBOX", &world.file_of("INBOX", "unlinked"));
        world.set_letters("INBOX", &world.file_of("INBOX", "trashed"), "T");
        for id in [&unlinked, &trashed] {
            wait_for(action, || world.message(id).map(|message| message.folder) == folder.map(str::to_owned));
        }
        wait_for("the trashed file is gone", || world.files_of("INBOX", "trashed").is_empty());
        world.let_polls_pass(2);
        world.assert_same("INBOX", "Inbox");
        assert_eq!(
            (world.files("INBOX").len(), world.there(TRASH).len(), world.there("Deletions").len()),
            (5, 0, 0),
            "{action}"
        );
        daemon.stop();
        world.assert_lawful();
    }
}

/// A Maildir of the deleted items beside the inbox.
const INBOX_AND_TRASH: &str = r#"
inbox = MailDir("INBOX")
trash = MailDir("Trash")
Office365("inbox", account)
Office365("deleteditems", account)
def direct(msg):
    return trash if msg.mailbox == "deleteditems" else inbox
cfg.direct_message = direct
"#;

#[test]
fn where_the_trash_is_a_maildir_too_deleting_is_moving_and_deleting_again_is_the_end() {
    let world = calm(5, &[]);
    world.configure(INBOX_AND_TRASH);
    let [unlinked, trashed] = ["unlinked", "trashed"].map(|subject| world.receive_read("Inbox", subject));
    let daemon = world.daemon();
    world.cloud.reset_counters();
    world.unlink("INBOX", &world.file_of("INBOX", "unlinked"));
    world.set_letters("INBOX", &world.file_of("INBOX", "trashed"), "ST");
    for (id, subject) in [(&unlinked, "unlinked"), (&trashed, "trashed")] {
        wait_for(subject, || world.is_in(id, TRASH));
        let name = world.file_of("Trash", subject);
        assert_eq!(letters(&name), "S", "{name}");
    }
    world.let_polls_pass(4);
    world.assert_same("INBOX", "Inbox");
    world.assert_same("Trash", TRASH);
    assert_eq!((world.asked("value"), world.asked("delete"), world.there(TRASH).len()), (0, 0, 2));

    world.unlink("Trash", &world.file_of("Trash", "unlinked"));
    wait_for("it is gone for good", || world.message(&unlinked).is_none());
    world.set_letters("Trash", &world.file_of("Trash", "trashed"), "ST");
    wait_for("it is gone for good", || world.message(&trashed).is_none());
    wait_for("the Maildir is empty", || world.files("Trash").is_empty());
    assert_eq!(world.files("INBOX").len(), 5);
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn where_only_the_trash_is_a_maildir_deleting_purges() {
    let world = World::with(Options { folders: vec![("deleteditems".to_owned(), 5)], ..Options::default() });
    world.configure("MailDir(\"Trash\")\nOffice365(\"deleteditems\", account)\n");
    let id = world.receive(TRASH, "done");
    let daemon = world.daemon();
    world.unlink("Trash", &world.file_of("Trash", "done"));
    wait_for("it is gone for good", || world.message(&id).is_none());
    world.wait_until_same("Trash", TRASH);
    assert_eq!(world.files("Trash").len(), 5);
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn archiving_in_the_archive_is_no_end_of_a_message() {
    let world = World::new(3);
    world.configure(
        r#"
inbox = MailDir("INBOX")
archive = MailDir("Archive")
Office365("inbox", account, delete_action="archive")
Office365("archive", account, delete_action="archive")
cfg.direct_message = lambda msg: archive if msg.mailbox == "archive" else inbox
"#,
    );
    let id = world.receive_read("Inbox", "done");
    let daemon = world.daemon();
    world.unlink("INBOX", &world.file_of("INBOX", "done"));
    wait_for("it is archived", || world.is_in(&id, "Archive"));
    world.unlink("Archive", &world.file_of("Archive", "done"));
    wait_for("it is in the trash", || world.is_in(&id, TRASH));
    world.let_polls_pass(2);
    assert!(world.files("Archive").is_empty());
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn names_of_other_programs_are_the_same_message() {
    let world = calm(10, &[]);
    let subjects = ["indexed", "mbsync", "bare", "twice"];
    let ids = subjects.map(|subject| world.receive_read("Inbox", subject));
    let last = world.receive("Inbox", "last");
    let daemon = world.daemon();
    let names = subjects.map(|subject| world.file_of("INBOX", subject));
    let inodes = [0, 1, 2, 3].map(|at: usize| world.inode("INBOX", &names[at]));
    world.cloud.reset_counters();
    world.rename("INBOX", &names[0], "INBOX", "cur/1700000000.indexer:2,S");
    world.rename("INBOX", &names[1], "INBOX", "new/1700000001.R1.host,U=2:2,S");
    // Read once, but the name says nothing of it.
    world.rename("INBOX", &names[2], "INBOX", "cur/1700000002.bare");
    world.rename("INBOX", &names[3], "INBOX", "cur/1700000003.one:2,S");
    world.rename("INBOX", "cur/1700000003.one:2,S", "INBOX", "cur/1700000003.two:2,FS");
    wait_for("the bare one is unread", || !world.message(&ids[2]).unwrap().is_read);
    wait_for("the one that was renamed twice is flagged", || {
        world.message(&ids[3]).unwrap().flag == FlagStatus::Flagged
    });
    world.let_deletions_settle("last", &last);
    world.let_polls_pass(3);
    let expected = [
        "cur/1700000000.indexer:2,S",
        "new/1700000001.R1.host,U=2:2,S",
        "cur/1700000002.bare",
        "cur/1700000003.two:2,FS",
    ];
    for at in 0..4 {
        assert!(world.is_in(&ids[at], "Inbox"), "{}", subjects[at]);
        assert_eq!(world.file_of("INBOX", subjects[at]), expected[at]);
        assert_eq!(world.inode("INBOX", expected[at]), inodes[at]);
    }
    assert_eq!(
        (world.asked("patch"), world.asked("move"), world.asked("value")),
        (2, 1, 0),
        "{:?}",
        world.cloud.counters().requests
    );
    world.assert_same("INBOX", "Inbox");
    // They are still linked to their messages.
    for id in &ids {
        let change = FlagChange { is_read: Some(true), flag: Some(FlagStatus::Flagged), ..FlagChange::default() };
        world.cloud.set_flags("", id, change).unwrap();
    }
    world.wait_until_same("INBOX", "Inbox");
    for (subject, base) in
        subjects.iter().zip(["1700000000.indexer", "1700000001.R1.host,U=2", "1700000002.bare", "1700000003.two"])
    {
        assert_eq!(world.file_of("INBOX", subject), format!("cur/{base}:2,FS"));
    }
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn messages_are_directed_by_their_header_and_stay_where_the_user_files_them() {
    let world = calm(5, &[]);
    world.configure(
        r#"
inbox = MailDir("INBOX")
lists = MailDir("Lists")
Office365("inbox", account)
cfg.direct_message = lambda msg: lists if msg.get_header("List-ID") else inbox
"#,
    );
    let list_mail = |subject: &str| format!("List-ID: A list <list.domain.com>\n{}", text(subject));
    let first = world.cloud.add_message("", NewMessage::mime("Inbox", list_mail("for the list"))).unwrap();
    let mine = world.receive("Inbox", "for me");
    let daemon = world.daemon();
    world.cloud.reset_counters();
    world.cloud.add_message("", NewMessage::mime("Inbox", list_mail("more for the list"))).unwrap();
    world.file_of("Lists", "more for the list");
    // Filed by hand against the rule: no mailbox leads there, so it is so here and nowhere else.
    let name = world.file_of("Lists", "for the list");
    world.rename("Lists", &name, "INBOX", &name);
    let other = world.file_of("INBOX", "for me");
    world.rename("INBOX", &other, "Lists", &other);
    world.let_polls_pass(4);
    for id in [&first, &mine] {
        world.cloud.set_flags("", id, read(true)).unwrap();
    }
    wait_for("the flag shows", || letters(&world.file_of("INBOX", "for the list")) == "S");
    wait_for("the flag shows", || letters(&world.file_of("Lists", "for me")) == "S");
    assert_eq!(world.files("Lists").iter().filter(|name| base_name(name) == base_name(&other)).count(), 1);
    assert!(world.files_of("Lists", "for the list").is_empty() && world.files_of("INBOX", "for me").is_empty());
    assert!(world.is_in(&first, "Inbox") && world.is_in(&mine, "Inbox"));
    assert_eq!((world.asked("value"), world.asked("move"), world.asked("patch")), (1, 0, 0));
    // What is done to it there still reaches the cloud.
    let name = world.file_of("INBOX", "for the list");
    world.set_letters("INBOX", &name, "FS");
    wait_for("it is flagged", || world.message(&first).unwrap().flag == FlagStatus::Flagged);
    world.unlink("Lists", &world.file_of("Lists", "for me"));
    wait_for("it is in the trash", || world.is_in(&mine, TRASH));
    daemon.stop();
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    world.assert_lawful();
}

#[test]
fn a_draft_is_replaced_when_it_is_edited_in_the_cloud_and_doubled_when_on_both_sides() {
    let world = World::with(Options { folders: vec![("drafts".to_owned(), 0)], ..Options::default() });
    world.configure("MailDir(\"Drafts\")\nOffice365(\"drafts\", account)\n");
    let draft = |subject: &str| NewMessage { is_draft: true, ..NewMessage::mime("drafts", text(subject)) };
    let there = world.cloud.add_message("", draft("there")).unwrap();
    let both = world.cloud.add_message("", draft("both")).unwrap();
    let daemon = world.daemon();
    let first = world.file_of("Drafts", "there");
    assert!(letters(&first).contains('D'), "{first}");

    world.cloud.edit_draft("", &there, text("there edited").as_bytes()).unwrap();
    let second = world.file_of("Drafts", "there edited");
    wait_for("the old version is gone", || world.files_of("Drafts", "there").is_empty());
    assert_ne!(base_name(&first), base_name(&second), "other bytes under the name that caches know");
    assert_eq!(fs::read_to_string(world.path("Drafts").join(&second)).unwrap(), text("there edited"));
    world.wait_until_same("Drafts", "Drafts");

    // Stopped, so that both edits are there before either is seen.
    daemon.stop();
    let name = world.file_of("Drafts", "both");
    world.put("Drafts", &name, text("both edited here"));
    world.cloud.edit_draft("", &both, text("both edited there").as_bytes()).unwrap();
    let daemon = world.daemon();
    assert_eq!(world.files_of("Drafts", "both edited there").len(), 1);
    assert_eq!(world.files_of("Drafts", "both edited here").len(), 1);
    assert!(world.is_in(&both, "Drafts"));

    // Once sent it is no draft of this folder any more.
    world.cloud.send_draft("", &there).unwrap();
    wait_for("the sent one is gone", || world.files_of("Drafts", "there edited").is_empty());
    world.let_polls_pass(2);
    assert_eq!(world.files_of("Drafts", "both edited here").len(), 1);
    daemon.stop();
    world.assert_lawful();
}
