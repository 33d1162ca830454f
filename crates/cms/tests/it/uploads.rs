//! What goes to the cloud from the Maildirs.

use std::fs;

use simcloud::{Action, Deletion, Fault, Knobs, NewMessage, Options};

use crate::mail_program::text;
use crate::world::{World, wait_for};

/// Drafts and sent mail beside the inbox, each with a Maildir of its own.
fn folders(inbox: &str) -> String {
    format!(
        r#"
inbox = MailDir("INBOX")
drafts = MailDir("Drafts")
sent = MailDir("Sent")
Office365("inbox", account{inbox})
Office365("drafts", account)
Office365("sentitems", account)
def direct(msg):
    return {{"inbox": inbox, "drafts": drafts, "sentitems": sent}}[msg.mailbox]
cfg.direct_message = direct
"#
    )
}

fn world_with(knobs: Knobs, inbox: &str) -> World {
    let world = World::with(Options { messages: 3, size_scale: 0.1, knobs, ..Options::default() });
    world.configure(&folders(inbox));
    world.sync();
    world.cloud.reset_counters();
    world
}

fn world() -> World {
    world_with(Knobs::default(), "")
}

/// A message as a mail program postpones it: without a Message-ID.
fn postponed(subject: &str) -> String {
    text(subject)
        .lines()
        .filter(|line| !line.starts_with("Message-ID"))
        .fold(String::new(), |all, line| all + line + "\n")
}

/// What the cloud has of that subject in a folder: its bytes with LF.
fn there(world: &World, folder: &str, subject: &str) -> Vec<String> {
    let state = world.cloud.state("").unwrap();
    let of_folder = state.messages().filter(|message| message.folder == folder);
    let mimes = of_folder.map(|message| world.cloud.mime("", &message.id).unwrap());
    let texts = mimes.map(|mime| String::from_utf8_lossy(&mime).replace("\r\n", "\n"));
    texts.filter(|text| text.contains(&format!("Subject: {subject}\n"))).collect()
}

fn requests(world: &World, kind: &str) -> u64 {
    world.cloud.counters().requests.get(kind).copied().unwrap_or_default()
}

#[test]
fn f15_a_postponed_message_becomes_a_draft_and_the_file_stays_as_it_was() {
    let world = world();
    world.put("Drafts", "new/1795426808.6043_1.vm", postponed("later"));
    let finished = world.sync();
    assert!(finished.stderr.contains("1 uploaded"), "{}", finished.stderr);
    // The original isn't replaced by what the cloud made of it, and the user is told what that was.
    let name = world.file_of("Drafts", "later");
    assert_eq!(name, "cur/1795426808.6043_1.vm:2,DS");
    assert_eq!(fs::read_to_string(world.path("Drafts").join(&name)).unwrap(), postponed("later"));
    assert!(finished.stderr.contains("has built `1795426808.6043_1.vm` anew"), "{}", finished.stderr);
    assert!(finished.stderr.contains("changed: Date"), "{}", finished.stderr);
    let made = there(&world, "Drafts", "later");
    assert_eq!(made.len(), 1);
    assert!(made[0].contains("\nThis is later.\n"), "{}", made[0]);
    // Nothing more to do, now and later.
    world.cloud.reset_counters();
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    assert_eq!(requests(&world, "create") + requests(&world, "value") + requests(&world, "put-value"), 0);
    world.assert_lawful();
}

#[test]
fn a_postponed_message_goes_up_while_the_daemon_runs_and_goes_when_it_is_deleted() {
    let world = world();
    let daemon = world.daemon();
    world.put("Drafts", "new/1.a.vm", postponed("later"));
    wait_for("the draft is there", || there(&world, "Drafts", "later").len() == 1);
    wait_for("it has the cloud's marks", || world.file_of("Drafts", "later") == "cur/1.a.vm:2,DS");
    fs::remove_file(world.path("Drafts/cur/1.a.vm:2,DS")).unwrap();
    wait_for("it is gone there", || there(&world, "Drafts", "later").is_empty());
    assert_eq!(there(&world, "Deleted Items", "later").len(), 1);
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    world.assert_lawful();
}

/// How many messages the cloud has of that subject, wherever they are, and the Maildirs.
fn counts(world: &World, subject: &str) -> (usize, usize) {
    let folders = ["Inbox", "Drafts", "Sent Items", "Deleted Items"];
    let maildirs = ["INBOX", "Drafts", "Sent"];
    (
        folders.iter().map(|folder| there(world, folder, subject).len()).sum(),
        maildirs.iter().map(|maildir| world.files_of(maildir, subject).len()).sum(),
    )
}

/// The only message of the cloud with that subject.
fn id_of(world: &World, subject: &str) -> String {
    let state = world.cloud.state("").unwrap();
    let has = |id: &str| {
        String::from_utf8_lossy(&world.cloud.mime("", id).unwrap()).contains(&format!("Subject: {subject}\r\n"))
    };
    let ids: Vec<String> = state.messages().map(|message| message.id.clone()).filter(|id| has(id)).collect();
    assert_eq!(ids.len(), 1, "messages `{subject}`");
    ids[0].clone()
}

fn importing() -> World {
    world_with(Knobs { advanced_granted: true, ..Knobs::default() }, ", upload=\"import\"")
}

#[test]
fn f19_killed_between_the_clouds_acceptance_and_our_record_nothing_is_made_twice() {
    for (maildir, name, message, kind) in [
        ("Drafts", "new/1.a.vm", postponed("it"), "create"),
        ("Drafts", "cur/1.a.vm:2,D", text("it"), "create"),
        ("INBOX", "cur/1.a.vm:2,DS", postponed("it"), "create"),
        ("INBOX", "cur/1.a.vm:2,RS", text("it"), "import"),
    ] {
        let world = importing();
        world.put(maildir, name, &message);
        world.cloud.inject(Fault::once(kind, Action::HangAfter));
        let daemon = world.start(&["run"]);
        wait_for("the cloud has it", || counts(&world, "it").0 == 1);
        daemon.kill();
        let finished = world.sync();
        assert_eq!(counts(&world, "it"), (1, 1), "{name}: {}", finished.stderr);
        assert_eq!(requests(&world, kind), 1, "{name}: {}", finished.stderr);
        let file = world.file_of(maildir, "it");
        assert_eq!(fs::read_to_string(world.path(maildir).join(&file)).unwrap(), message);
        let folder = if maildir == "INBOX" { "Inbox" } else { maildir };
        assert_eq!(there(&world, folder, "it").len(), 1, "{name} is in its place: {}", finished.stderr);
        let again = world.sync();
        assert!(again.stderr.contains("nothing to do"), "{name}: {}", again.stderr);
        world.assert_lawful();
    }
}

#[test]
fn f19_a_create_whose_answer_is_lost_is_looked_for_before_it_is_repeated() {
    for (action, made) in [
        (Action::ResetAfter, true),
        (Action::StatusAfter { status: 504 }, true),
        (Action::status(503), false),
        (Action::ResetBefore, false),
    ] {
        let world = world();
        let daemon = world.daemon();
        world.cloud.inject(Fault::once("create", action.clone()));
        world.put("Drafts", "new/1.a.vm", postponed("it"));
        daemon.wait_for_line("it isn't known whether `1.a.vm` reached the cloud");
        wait_for("it is linked", || world.file_of("Drafts", "it") == "cur/1.a.vm:2,DS");
        assert_eq!(counts(&world, "it"), (1, 1), "{action:?}");
        assert_eq!(requests(&world, "create"), if made { 1 } else { 2 }, "{action:?}: {}", daemon.stderr());
        let ended = daemon.stop();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        world.assert_lawful();
    }
}

#[test]
fn f19_a_single_run_fails_where_it_is_not_known_and_the_next_one_finds_out() {
    let world = world();
    world.put("Drafts", "new/1.a.vm", postponed("it"));
    world.cloud.inject(Fault::once("create", Action::ResetAfter));
    let failed = world.cms(&["sync"]);
    assert_eq!(failed.status.code(), Some(1), "{}", failed.stderr);
    world.sync();
    assert_eq!((counts(&world, "it"), requests(&world, "create")), ((1, 1), 1));
    world.assert_lawful();
}

#[test]
fn f19_an_update_whose_answer_is_lost_makes_no_second_draft() {
    for kept in [true, false] {
        let world = world_with(Knobs { uploads_kept: kept, ..Knobs::default() }, "");
        world.put("Drafts", "new/1.a.vm", postponed("it"));
        world.sync();
        let name = world.file_of("Drafts", "it");
        let edited = postponed("it") + "And more.\n";
        world.put("Drafts", &name, &edited);
        world.cloud.inject(Fault::once("put-value", Action::HangAfter));
        let daemon = world.start(&["run"]);
        wait_for("the cloud has it", || there(&world, "Drafts", "it").iter().any(|text| text.contains("And more.")));
        daemon.kill();
        let finished = world.sync();
        assert_eq!(counts(&world, "it"), (1, 1), "{}", finished.stderr);
        assert_eq!(fs::read_to_string(world.path("Drafts").join(world.file_of("Drafts", "it"))).unwrap(), edited);
        world.assert_lawful();
    }
}

#[test]
fn f02_with_a_lost_state_uploaded_drafts_are_known_again() {
    let world = world();
    for (name, message) in [("new/1.a.vm", postponed("one")), ("cur/2.a.vm:2,DF", text("two"))] {
        world.put("Drafts", name, message);
    }
    world.sync();
    fs::remove_dir_all(world.path(".cms")).unwrap();
    world.cloud.reset_counters();
    world.sync();
    assert_eq!((counts(&world, "one"), counts(&world, "two")), ((1, 1), (1, 1)));
    assert_eq!(requests(&world, "create"), 0);
    assert_eq!(world.file_of("Drafts", "two"), "cur/2.a.vm:2,DFS");
    world.assert_lawful();
}

#[test]
fn a_draft_follows_whichever_side_edits_it() {
    let world = world();
    world.put("Drafts", "new/1.a.vm", postponed("it"));
    let daemon = world.daemon();
    wait_for("it has the cloud's marks", || world.file_of("Drafts", "it") == "cur/1.a.vm:2,DS");
    let id = id_of(&world, "it");
    // Here, under its own name.
    world.put("Drafts", "cur/1.a.vm:2,DS", postponed("here"));
    wait_for("the cloud has the edit", || there(&world, "Drafts", "here").len() == 1);
    assert_eq!(id_of(&world, "here"), id, "it is the same draft");
    // An edit within the moment in which the upload is read back can't be told from what the cloud made of it.
    wait_for("it is read back", || daemon.stderr().matches("has built `1.a.vm` anew").count() == 2);
    // There.
    world.cloud.edit_draft("", &id, postponed("there").as_bytes()).unwrap();
    let name = world.file_of("Drafts", "there");
    wait_for("the old version is gone", || world.files("Drafts").len() == 1);
    // Here again, while nothing runs.
    daemon.stop();
    world.put("Drafts", &name, postponed("again"));
    let finished = world.sync();
    assert_eq!(there(&world, "Drafts", "again").len(), 1, "{:?}\n{}", world.files("Drafts"), finished.stderr);
    assert_eq!(id_of(&world, "again"), id);
    assert_eq!((world.files("Drafts").len(), world.there("Drafts").len()), (1, 1));
    world.assert_lawful();
}

#[test]
fn a_draft_that_is_edited_on_both_sides_is_kept_twice_on_both() {
    let world = world();
    world.put("Drafts", "new/1.a.vm", postponed("it"));
    world.sync();
    let id = id_of(&world, "it");
    world.put("Drafts", &world.file_of("Drafts", "it"), postponed("here"));
    world.cloud.edit_draft("", &id, postponed("there").as_bytes()).unwrap();
    let finished = world.sync();
    assert_eq!((counts(&world, "here"), counts(&world, "there")), ((1, 1), (1, 1)), "{}", finished.stderr);
    assert_eq!(id_of(&world, "there"), id);
    world.assert_lawful();
}

#[test]
fn a_draft_that_a_mail_program_writes_anew_is_there_once() {
    let world = world();
    let daemon = world.daemon();
    // mutt keeps no Message-ID of what it postpones, others do.
    for (subject, message) in [("mutt", postponed("mutt")), ("other", text("other"))] {
        world.put("Drafts", "new/1.a.vm", &message);
        wait_for("it has the cloud's marks", || world.file_of("Drafts", subject) == "cur/1.a.vm:2,DS");
        let id = id_of(&world, subject);
        world.put("Drafts", "new/2.a.vm", message + "And more.\n");
        fs::remove_file(world.path("Drafts/cur/1.a.vm:2,DS")).unwrap();
        let is_new = || {
            let all = there(&world, "Drafts", subject);
            all.len() == 1 && all[0].contains("And more.")
        };
        wait_for("the cloud has the new one alone", is_new);
        let marked = || world.file_of("Drafts", subject) == "cur/2.a.vm:2,DS";
        assert!(crate::world::wait(&marked), "{:?}\n{}", world.files("Drafts"), daemon.stderr());
        let same = world.message(&id).is_some_and(|message| message.folder == "Drafts");
        assert_eq!(same, subject == "other", "{subject}: {}", daemon.stderr());
        fs::remove_file(world.path("Drafts/cur/2.a.vm:2,DS")).unwrap();
        wait_for("it is gone there", || there(&world, "Drafts", subject).is_empty());
    }
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    world.assert_lawful();
}

#[test]
fn f15_other_messages_are_imported_where_that_was_asked_for_and_granted() {
    let world = importing();
    world.put("INBOX", "cur/1.a.vm:2,FRS", text("saved"));
    let finished = world.sync();
    assert!(finished.stderr.contains("1 uploaded"), "{}", finished.stderr);
    let message = world.message(&id_of(&world, "saved")).unwrap();
    assert_eq!((message.folder.as_str(), message.is_draft, message.is_read), ("Inbox", false, true));
    assert_eq!(message.flag, simcloud::FlagStatus::Flagged);
    let name = world.file_of("INBOX", "saved");
    assert_eq!(name, "cur/1.a.vm:2,FRS", "the file's flags hold");
    assert_eq!(fs::read_to_string(world.path("INBOX").join(&name)).unwrap(), text("saved"));
    assert!(finished.stderr.contains("anew"), "{}", finished.stderr);
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    world.assert_lawful();
}

#[test]
fn f15_other_messages_stay_where_that_was_not_granted_and_it_is_told_once() {
    let world = world_with(Knobs::default(), ", upload=\"import\"");
    world.put("INBOX", "cur/1.a.vm:2,S", text("saved"));
    let finished = world.sync();
    assert!(finished.stderr.contains("`Mail-Advanced.ReadWrite`"), "{}", finished.stderr);
    assert!(finished.stderr.contains("is only here"), "{}", finished.stderr);
    assert_eq!(counts(&world, "saved"), (0, 1));
    let again = world.sync();
    assert!(!again.stderr.contains("`1.a.vm` in"), "{}", again.stderr);
    assert_eq!(world.files_of("INBOX", "saved").len(), 1);
    world.assert_lawful();
}

#[test]
fn f15_nothing_is_uploaded_that_was_not_asked_for() {
    let world = World::with(Options { messages: 3, size_scale: 0.1, ..Options::default() });
    world.configure(
        "MailDir(\"INBOX\")\nOffice365(\"inbox\", account, upload=\"none\")\n\
         Office365(\"drafts\", account, upload=\"none\")\n",
    );
    world.sync();
    world.put("INBOX", "cur/1.a.vm:2,D", text("draft"));
    let finished = world.sync();
    // Neither does the cloud refuse it.
    assert!(finished.stderr.contains("is only here: it doesn't go to the cloud (see `upload`)"), "{}", finished.stderr);
    assert!(
        world.status().contains("1 file only here: what doesn't go to the cloud (see `upload`)"),
        "{}",
        world.status()
    );
    world.configure("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\n");
    world.put("INBOX", "cur/2.a.vm:2,S", text("saved"));
    let finished = world.sync();
    assert_eq!((counts(&world, "draft"), counts(&world, "saved")), ((1, 1), (0, 1)), "{}", finished.stderr);
    world.assert_lawful();
}

#[test]
fn f38_a_copy_of_what_was_sent_joins_the_servers_own() {
    for inbox in ["", ", upload=\"import\""] {
        let world = world_with(Knobs { advanced_granted: true, ..Knobs::default() }, inbox);
        let daemon = world.daemon();
        world.put("Sent", "cur/1.a.vm:2,S", text("sent"));
        daemon.wait_for_line("`1.a.vm` in");
        assert_eq!(counts(&world, "sent"), (0, 1), "it waits");
        // What the server files differs in its bytes.
        let own = text("sent").replace("Date:", "X-MS-Exchange: 1\nDate:");
        world.cloud.add_message("", NewMessage { is_read: true, ..NewMessage::mime("sentitems", own) }).unwrap();
        daemon.wait_for_line("with more than is here");
        let id = id_of(&world, "sent");
        // They are one message from now on.
        world.set_letters("Sent", "cur/1.a.vm:2,S", "FS");
        wait_for("the flag is there", || {
            world.message(&id).is_some_and(|message| message.flag == simcloud::FlagStatus::Flagged)
        });
        assert_eq!(counts(&world, "sent"), (1, 1));
        assert_eq!(requests(&world, "create") + requests(&world, "import"), 0);
        let ended = daemon.stop();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        world.assert_lawful();
    }
}

#[test]
fn f25_line_ends_and_eight_bit_text_survive_the_way_there_and_back() {
    let world = world_with(Knobs { uploads_kept: true, ..Knobs::default() }, "");
    let bytes =
        b"From: a@domain.com\nSubject: J\xf6rg\nMessage-ID: <8bit@domain.com>\n\nGr\xfc\xdfe\n\n.\nlone \r here\n";
    world.put("Drafts", "cur/1.a.vm:2,DS", bytes);
    let finished = world.sync();
    let state = world.cloud.state("").unwrap();
    let id = &state.messages().find(|message| message.folder == "Drafts").unwrap().id;
    let sent = world.cloud.mime("", id).unwrap();
    let mut expected = Vec::new();
    for byte in bytes {
        if *byte == b'\n' {
            expected.push(b'\r');
        }
        expected.push(*byte);
    }
    assert_eq!(sent.escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert!(!finished.stderr.contains("anew"), "{}", finished.stderr);
    world.assert_same("Drafts", "Drafts");
    world.assert_lawful();
}

#[test]
fn a_large_draft_goes_up_and_one_that_is_too_large_stays_and_is_told() {
    let world = world();
    let large = postponed("large") + &"A line of an attachment, as it were.\n".repeat(80_000);
    let too_large = postponed("huge") + &"A line of an attachment, as it were.\n".repeat(230_000);
    assert!(large.len() > 2_900_000 && too_large.len() > 8 << 20);
    world.put("Drafts", "cur/1.a.vm:2,DS", &large);
    world.put("Drafts", "cur/2.a.vm:2,DS", &too_large);
    let finished = world.sync();
    assert_eq!((counts(&world, "large"), counts(&world, "huge")), ((1, 1), (0, 1)), "{}", finished.stderr);
    assert!(
        finished
            .stderr
            .contains("8.7 MB of it are no attachments, and the mail service takes no more than 3.1 MB at once"),
        "{}",
        finished.stderr
    );
    assert_eq!(requests(&world, "create"), 1);
    world.assert_lawful();
}

#[test]
fn f07_a_copy_that_turns_out_to_be_a_move_is_not_uploaded() {
    let world = World::with(Options {
        messages: 0,
        knobs: Knobs { advanced_granted: true, ..Knobs::default() },
        ..Options::default()
    });
    world.configure(&crate::mail_program::INBOX_AND_LISTS.replace(", account)", ", account, upload=\"import\")"));
    world.cloud.create_folder("", "Inbox/Lists", false).unwrap();
    let id = world.receive_read("Inbox", "moved");
    let daemon = world.daemon();
    let name = world.file_of("INBOX", "moved");
    fs::copy(world.path("INBOX").join(&name), world.path("Lists/cur/1.a.vm:2,S")).unwrap();
    // mutt does the other half when it is told to; the daemon hears of both, and does nothing in between.
    std::thread::sleep(std::time::Duration::from_secs(3));
    fs::remove_file(world.path("INBOX").join(&name)).unwrap();
    wait_for("it is moved", || world.is_in(&id, "Inbox/Lists"));
    let ended = daemon.stop();
    assert_eq!(requests(&world, "import"), 0, "{}", ended.stderr);
    assert_eq!(world.files("Lists"), ["cur/1.a.vm:2,S"]);
    world.assert_lawful();
}

#[test]
fn a_dry_run_says_what_would_be_uploaded_and_uploads_nothing() {
    let world = world();
    world.put("Drafts", "new/1.a.vm", postponed("it"));
    let finished = world.cms(&["plan"]);
    assert!(finished.stdout.contains("upload 1.a.vm as a draft"), "{}\n{}", finished.stdout, finished.stderr);
    assert_eq!(requests(&world, "create"), 0);
    assert_eq!(world.files("Drafts"), ["new/1.a.vm"]);
}

#[test]
fn a_draft_that_is_edited_here_and_deleted_there_is_made_anew() {
    let world = world();
    world.put("Drafts", "new/1.a.vm", postponed("it"));
    world.sync();
    let id = id_of(&world, "it");
    world.put("Drafts", &world.file_of("Drafts", "it"), postponed("edited"));
    world.cloud.delete_message("", &id, simcloud::Deletion::Purge).unwrap();
    let finished = world.sync();
    assert_eq!(counts(&world, "edited"), (1, 1), "{}", finished.stderr);
    assert_eq!(there(&world, "Drafts", "edited").len(), 1);
    world.assert_lawful();
}

#[test]
fn a_draft_that_is_deleted_while_it_is_uploaded_goes_there_too() {
    let world = world();
    let daemon = world.daemon();
    world.cloud.inject(Fault::once("create", Action::Delay { milliseconds: 4_000 }));
    world.put("Drafts", "new/1.a.vm", postponed("it"));
    wait_for("the upload is under way", || requests(&world, "create") == 1);
    world.unlink("Drafts", "new/1.a.vm");
    wait_for("it was made, and is gone", || {
        there(&world, "Drafts", "it").is_empty() && there(&world, "Deleted Items", "it").len() == 1
    });
    assert!(world.files("Drafts").is_empty());
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    world.assert_lawful();
}

#[test]
fn a_draft_that_is_restored_and_gone_from_the_cloud_is_made_there_anew() {
    let world = world();
    world.put("Drafts", "new/1.a.vm", postponed("later"));
    world.sync();
    world.cloud.delete_message("", &id_of(&world, "later"), Deletion::Purge).unwrap();
    world.sync();
    assert_eq!(counts(&world, "later"), (0, 0));
    let told = world.done(&["restore", "--since", "1h"]);
    assert!(told.contains("from where it goes to the cloud anew: the cloud doesn't have it any more"), "{told}");
    world.sync();
    assert_eq!(counts(&world, "later"), (1, 1));
    assert_eq!(there(&world, "Drafts", "later").len(), 1);
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    world.assert_lawful();
}

#[test]
fn a_message_that_is_restored_and_gone_from_the_cloud_is_imported_where_that_was_asked_for() {
    let world = importing();
    let id = world.receive_read("Inbox", "dear");
    world.sync();
    let name = world.file_of("INBOX", "dear");
    world.cloud.delete_message("", &id, Deletion::Purge).unwrap();
    world.sync();
    assert_eq!(counts(&world, "dear"), (0, 0));
    let told = world.done(&["restore", "--since", "1h"]);
    assert!(told.contains("from where it goes to the cloud anew: the cloud doesn't have it any more"), "{told}");
    world.sync();
    assert_eq!((there(&world, "Inbox", "dear").len(), world.file_of("INBOX", "dear")), (1, name));
    let again = world.sync();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    world.assert_lawful();
}
