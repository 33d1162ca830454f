//! `cms log`: what was done on both sides, and the story of one message.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use simcloud::{Action, Deletion, Fault, FlagChange, Knobs, NewMessage, Options};

use crate::mail_program::{INBOX_AND_LISTS, text};
use crate::world::{Finished, World, wait_for};

pub(crate) fn calm(messages: usize, folders: &[&str]) -> World {
    let folders = folders.iter().map(|name| ((*name).to_owned(), 0)).collect();
    World::with(Options { messages, folders, knobs: Knobs::calm(), ..Options::default() })
}

/// What a command writes, which must succeed.
#[track_caller]
pub(crate) fn told(world: &World, arguments: &[&str]) -> String {
    let finished = world.cms(arguments);
    assert!(
        finished.status.success(),
        "cms {arguments:?}: {}\n{}{}",
        finished.status,
        finished.stdout,
        finished.stderr
    );
    finished.stdout
}

/// The objects of a command's output.
#[track_caller]
pub(crate) fn objects(world: &World, arguments: &[&str]) -> Vec<Value> {
    told(world, arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The journal, but for messages of other subjects: what was done and who wanted it.
#[track_caller]
pub(crate) fn deeds(world: &World, subject: &str) -> Vec<(String, String)> {
    objects(world, &["log", "--since", "1h", "--json"])
        .into_iter()
        .filter(|entry| entry["subject"] == subject)
        .map(|entry| (entry["did"].as_str().unwrap().to_owned(), entry["wanted_by"].as_str().unwrap().to_owned()))
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(did, wanted)| ((*did).to_owned(), (*wanted).to_owned())).collect()
}

fn failed_with(finished: &Finished, text: &str) {
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains(text), "{}", finished.stderr);
}

#[test]
fn the_journal_tells_what_each_side_did_beside_a_running_daemon() {
    let world = calm(3, &["Inbox/Lists"]);
    world.configure(INBOX_AND_LISTS);
    let ids = ["read-here", "flagged-there", "moved-here", "deleted-here", "deleted-there"]
        .map(|subject| world.receive("Inbox", subject));
    let daemon = world.daemon();
    world.set_letters("INBOX", &world.file_of("INBOX", "read-here"), "S");
    wait_for("it is read there", || world.message(&ids[0]).unwrap().is_read);
    world.cloud.set_flags("", &ids[1], FlagChange { is_read: Some(true), ..FlagChange::default() }).unwrap();
    wait_for("it is read here", || world.file_of("INBOX", "flagged-there").ends_with('S'));
    let name = world.file_of("INBOX", "moved-here");
    world.rename("INBOX", &name, "Lists", &name);
    wait_for("it is moved there", || world.is_in(&ids[2], "Inbox/Lists"));
    world.set_letters("INBOX", &world.file_of("INBOX", "deleted-here"), "ST");
    wait_for("it is deleted there", || !world.is_in(&ids[3], "Inbox"));
    wait_for("its file is gone", || world.files_of("INBOX", "deleted-here").is_empty());
    world.cloud.delete_message("", &ids[4], Deletion::Purge).unwrap();
    wait_for("it is gone here", || world.files_of("INBOX", "deleted-there").is_empty());
    wait_for("the last change is written down", || deeds(&world, "deleted-there").len() == 2);

    let new = ("delivered", "cloud");
    assert_eq!(deeds(&world, "read-here"), pairs(&[new, ("flagged there", "local")]));
    assert_eq!(deeds(&world, "flagged-there"), pairs(&[new, ("flagged here", "cloud")]));
    assert_eq!(deeds(&world, "moved-here"), pairs(&[new, ("moved there", "local")]));
    assert_eq!(deeds(&world, "deleted-here"), pairs(&[new, ("deleted there", "local"), ("removed here", "local")]));
    assert_eq!(deeds(&world, "deleted-there"), pairs(&[new, ("removed here", "cloud")]));
    let heard: Vec<_> = objects(&world, &["log", "--since", "1h", "--json"])
        .into_iter()
        .filter(|entry| entry["wanted_by"] == "local")
        .map(|entry| (entry["did"].clone(), entry["heard"].clone()))
        .collect();
    assert!(heard.iter().all(|(_, heard)| heard == "watch"), "the last step of several, too: {heard:?}");
    let newest = told(&world, &["log", "-n", "1"]);
    assert!(newest.contains("removed from INBOX: deleted-there · Ann <ann@domain.com>"), "{newest}");
    let story = told(&world, &["log", "deleted-here@domain.com"]);
    assert!(story.contains(": it was deleted here, and so in the cloud; its content is kept"), "{story}");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn the_story_of_a_message_says_when_it_was_seen_which_rule_decided_and_what_was_asked() {
    let world = calm(3, &[]);
    let id = world.receive("Inbox", "story");
    let daemon = world.daemon();
    let name = world.file_of("INBOX", "story");
    world.set_letters("INBOX", &name, "S");
    wait_for("it is read there", || world.message(&id).unwrap().is_read);
    world.cloud.delete_message("", &id, Deletion::Trash).unwrap();
    wait_for("it is gone here", || world.files_of("INBOX", "story").is_empty());
    wait_for("that is written down", || deeds(&world, "story").len() == 3);
    daemon.stop();
    let made = world.cloud.requests(0);
    let patch = made.iter().find(|request| request.kind == "patch").unwrap();

    let path = world.path("INBOX").join(&name);
    for sought in ["<story@domain.com>", "story@domain.com", path.to_str().unwrap()] {
        let story = told(&world, &["log", sought]);
        for expected in [
            "Subject: story",
            "Message-ID: story@domain.com",
            "came into INBOX",
            "marked read in the cloud",
            "by watching the Maildir: here other flags, in the cloud unchanged",
            "rule    flags that changed here are told to the cloud",
            "asked   PATCH /me/messages/{id}",
            "answer  200, done; its flags there are now S",
            &format!("known   to the service as client-request-id {}", patch.client_request_id),
            "removed from INBOX",
            "by asking the cloud for this message: here unchanged, in the cloud gone",
            "rule    what the cloud deleted goes here too",
            "now: gone since ",
            "it was deleted in the cloud, and so here",
            "its content is kept: `cms restore ",
        ] {
            assert!(story.contains(expected), "{sought}: {expected:?} is missing in:\n{story}");
        }
    }
    let all = objects(&world, &["log", "story@domain.com", "--json"]);
    let asked = all.iter().find(|entry| entry["did"] == "flagged there").unwrap();
    let exchange = [&asked["request"], &asked["client_request_id"], &asked["status"]];
    assert_eq!(
        serde_json::json!(exchange),
        serde_json::json!(["PATCH /me/messages/{id}", patch.client_request_id, 200])
    );
    assert!(all.iter().all(|entry| entry["request"].is_null() == entry["client_request_id"].is_null()));
    let last = all.last().unwrap();
    assert_eq!(last["now"]["synced"], serde_json::json!([]));
    failed_with(&world.cms(&["log", "<nobody@domain.com>"]), "nothing is known of `<nobody@domain.com>`");
    world.assert_lawful();
}

/// Changes that go together have the id of their batch, and each an answer of its own.
#[test]
fn a_refusal_and_its_neighbour_tell_the_request_that_both_were_a_part_of() {
    let world = calm(0, &[]);
    let subjects = ["first", "second", "third"];
    let ids = subjects.map(|subject| world.receive_read("Inbox", subject));
    world.sync();
    world.cloud.inject(Fault { path: ids[1].clone(), ..Fault::always("batch-item:patch", Action::status(403)) });
    for subject in subjects {
        world.set_letters("INBOX", &world.file_of("INBOX", subject), "FS");
    }
    world.cms(&["sync"]);
    let made = world.cloud.requests(0);
    let sent_as = |kind: &str| &made.iter().rfind(|request| request.kind == kind).unwrap().client_request_id;
    // What comes after a refusal in a batch is made by itself.
    for (subject, status, kind) in [("first", 200, "batch"), ("second", 403, "batch"), ("third", 200, "patch")] {
        let all = objects(&world, &["log", &format!("{subject}@domain.com"), "--json"]);
        let asked = all.iter().find(|entry| entry["did"] == "flagged there").unwrap();
        assert_eq!((&asked["status"], asked["done"] == true), (&status.into(), status == 200), "{subject}");
        assert_eq!(asked["client_request_id"], **sent_as(kind), "{subject}");
    }
}

#[test]
fn an_upload_tells_its_request() {
    let world = calm(0, &[]);
    world.configure("MailDir(\"Drafts\")\nOffice365(\"drafts\", account)\n");
    world.sync();
    world.put("Drafts", "cur/1795426808.6043_1.vm:2,DS", text("mine"));
    world.sync();
    let all = objects(&world, &["log", "mine@domain.com", "--json"]);
    let asked = all.iter().find(|entry| entry["did"] == "uploaded").unwrap();
    assert_eq!((&asked["request"], &asked["status"]), (&"POST /me/messages".into(), &201.into()));
    let made = world.cloud.requests(0);
    assert!(
        made.iter().any(|request| asked["client_request_id"] == *request.client_request_id && request.status == 201)
    );
}

#[test]
fn why_a_message_is_here_or_read_is_told_too() {
    let world = calm(0, &[]);
    world.receive_read("Inbox", "here");
    world.sync();
    world.put("INBOX", "new/1.only.here", "Subject: only\nMessage-ID: <only@here>\n\nx\n");
    world.sync();
    let story = told(&world, &["log", "here@domain.com"]);
    assert!(story.contains("by the listing of the mailbox: here not there, in the cloud new"), "{story}");
    assert!(story.contains("now: here as `") && story.contains("in the cloud in `inbox`, read"), "{story}");
    let only = world.path("INBOX/new/1.only.here");
    let story = told(&world, &["log", only.to_str().unwrap()]);
    assert!(story.contains("only here, as `"), "{story}");
    world.assert_lawful();
}

#[test]
fn what_a_message_says_of_itself_can_do_nothing_to_a_terminal() {
    let world = calm(0, &[]);
    let hostile = "From: \x1b]0;owned\x07 <a@b>\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe=1B[2J?= \x1b[31mred\u{202e}\n\
                   Message-ID: <hostile@x>\n\nbody\n";
    world.cloud.add_message("", NewMessage::mime("Inbox", hostile)).unwrap();
    world.sync();
    for arguments in [&["log"][..], &["log", "hostile@x"], &["log", "--json"]] {
        let text = told(&world, arguments);
        assert!(text.contains("Grüße"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}'), "{text:?}");
    }
}

#[test]
fn before_the_first_sync_nothing_was_done_and_nothing_is_made() {
    let world = calm(0, &[]);
    assert_eq!(told(&world, &["log"]), "nothing was done in that time\n");
    assert_eq!(told(&world, &["log", "--json"]), "");
    failed_with(&world.cms(&["log", "a@b"]), "nothing is known of `a@b`");
    assert!(!world.path(".cms").exists());
}

/// What a refusal leaves is told, and that the file stays as it is.
#[test]
fn f18_what_the_cloud_refused_is_told_as_refused() {
    let world = calm(2, &[]);
    let id = world.receive("Inbox", "refused");
    world.sync();
    world.set_letters("INBOX", &world.file_of("INBOX", "refused"), "S");
    for kind in ["patch", "batch-item:patch"] {
        world.cloud.inject(Fault::always(kind, Action::status(403)));
    }
    let _ = world.cms(&["sync"]);
    assert!(!world.message(&id).unwrap().is_read);
    let entry = objects(&world, &["log", "-n", "1", "--json"]).pop().unwrap();
    assert_eq!((&entry["did"], &entry["done"]), (&"flagged there".into(), &false.into()), "{entry}");
    assert!(entry["answer"].as_str().unwrap().contains("403"), "{entry}");
}

#[test]
fn the_journal_never_disagrees_with_the_trees_after_a_kill() {
    let world = calm(40, &[]);
    for _ in 0..5 {
        let mut running = world.start(&["run"]);
        wait_for("something is here", || !world.files("INBOX").is_empty());
        assert!(running.is_running());
        running.kill();
    }
    world.sync();
    world.assert_same("INBOX", "Inbox");
    let entries = objects(&world, &["log", "--since", "1h", "--json"]);
    let delivered = entries.iter().filter(|entry| entry["did"] == "delivered" || entry["did"] == "agreed").count();
    assert_eq!(delivered, 40, "each row has the entry that made it, and only one");
    assert!(entries.iter().all(|entry| entry["subject"] != ""));
}

#[test]
fn the_start_policy_that_discards_says_so() {
    let world = calm(2, &[]);
    world.receive("Inbox", "discarded");
    world.sync();
    world.set_letters("INBOX", &world.file_of("INBOX", "discarded"), "F");
    assert!(world.cms(&["sync", "--online"]).status.success());
    assert_eq!(deeds(&world, "discarded").last().unwrap(), &("flagged here".to_owned(), "start".to_owned()));
    world.unlink("INBOX", &world.file_of("INBOX", "discarded"));
    world.sync();
    assert_eq!(deeds(&world, "discarded").last().unwrap(), &("returned".to_owned(), "start".to_owned()));
}

#[test]
fn a_message_id_is_looked_up_without_reading_messages_that_were_read_before() {
    let world = calm(5, &[]);
    for subject in ["first", "second"] {
        world.receive("Inbox", subject);
    }
    world.sync();
    let count = |id: &str| {
        let entries = objects(&world, &["log", id, "--json"]).into_iter();
        let subjects: BTreeSet<String> =
            entries.filter_map(|entry| entry["subject"].as_str().map(str::to_owned)).collect();
        subjects.len()
    };
    assert_eq!(count("<first@domain.com>"), 1);
    // What isn't read again can't say anything else.
    let second = world.path("INBOX").join(world.file_of("INBOX", "second"));
    let text = fs::read_to_string(&second).unwrap();
    fs::write(&second, text.replace("second@domain.com", "first@domain.com")).unwrap();
    assert_eq!((count("<first@domain.com>"), count("<second@domain.com>")), (1, 1));
    // Without the index everything is read.
    fs::remove_file(world.path(".cms/message-ids.sqlite")).unwrap();
    assert_eq!(count("<first@domain.com>"), 2);
    // What came since is read once.
    world.receive("Inbox", "third");
    world.sync();
    assert_eq!(count("<third@domain.com>"), 1);
}
