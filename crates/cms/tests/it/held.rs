//! Deletions that wait for the user's word, and what becomes of them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use simcloud::{Deletion, Options};

use crate::mail_program::{INBOX_AND_LISTS, TRASH, letters};
use crate::world::{World, wait_for};

/// The ids of what is in the inbox.
fn ids(world: &World) -> Vec<String> {
    let state = world.cloud.state("").unwrap();
    state.messages().filter(|message| message.folder == "Inbox").map(|message| message.id.clone()).collect()
}

/// Trashes so many files as mutt does.
fn trash(world: &World, count: usize) {
    for name in &world.files("INBOX")[..count] {
        world.set_letters("INBOX", name, &format!("{}T", letters(name)));
    }
}

fn wipe(world: &World) {
    for name in world.files("INBOX") {
        world.unlink("INBOX", &name);
    }
}

/// Runs a command that must succeed, and returns what it says.
#[track_caller]
fn done(world: &World, command: &[&str]) -> String {
    let finished = world.cms(command);
    assert_eq!(finished.status.code(), Some(0), "{command:?}: {}{}", finished.stdout, finished.stderr);
    finished.stdout
}

#[test]
fn f01_a_wipe_while_the_daemon_watches_is_held_and_taken_back_by_one_command() {
    let world = World::new(60);
    let daemon = world.daemon();
    let (names, there) = (world.files("INBOX"), world.there("Inbox"));
    wipe(&world);
    daemon.wait_for_line("held: 60 of 60 messages of `inbox` were deleted here");
    let told = world.cms(&["held"]);
    for text in ["don't delete the state directory", "to get the messages back: `cms held restore inbox`"] {
        assert!(told.stdout.contains(text), "{text}: {}", told.stdout);
    }
    assert!(done(&world, &["held", "restore"]).contains("inbox: 60 messages are brought back here"));
    wait_for("the mail is back", || world.files("INBOX") == names);
    assert_eq!((world.there("Inbox"), world.there(TRASH).len()), (there, 0));
    wait_for("nothing is held", || world.cms(&["held"]).status.code() == Some(0));
    // The word was for those. The next wipe is another one.
    wipe(&world);
    wait_for("the next wipe is held too", || world.cms(&["held"]).status.code() == Some(4));
    assert_eq!(world.there(TRASH).len(), 0);
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn f04_a_wipe_that_is_meant_is_carried_out_by_the_users_word() {
    let world = World::new(60);
    let daemon = world.daemon();
    wipe(&world);
    daemon.wait_for_line("held: 60 of 60");
    let refused = world.cms(&["held", "apply", "elsewhere"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("nothing is held in `elsewhere`"), "{}", refused.stderr);
    assert!(done(&world, &["held", "apply", "inbox"]).contains("inbox: 60 messages are deleted in the cloud too"));
    wait_for("they are in the deleted items", || world.there(TRASH).len() == 60);
    assert!(world.files("INBOX").is_empty() && world.there("Inbox").is_empty());
    // What was ordered counts towards nothing: the next deletions are few again.
    let id = world.receive("Inbox", "later");
    let file = world.file_of("INBOX", "later");
    world.unlink("INBOX", &file);
    wait_for("one more goes unasked", || !world.is_in(&id, "Inbox"));
    daemon.stop();
    assert!(done(&world, &["held"]).contains("nothing is held"));
    world.assert_lawful();
}

#[test]
fn f04_without_a_daemon_the_word_is_followed_at_once() {
    for (word, here, there, trashed) in [("apply", 20, 20, 40), ("restore", 60, 60, 0)] {
        let world = World::new(60);
        world.sync();
        trash(&world, 40);
        assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
        assert_eq!(world.cms(&["status"]).status.code(), Some(4));
        done(&world, &["held", word, "inbox"]);
        let counts = (world.files("INBOX").len(), world.there("Inbox").len(), world.there(TRASH).len());
        assert_eq!(counts, (here, there, trashed), "{word}");
        world.assert_same("INBOX", "Inbox");
        let again = world.sync();
        assert!(again.stderr.contains("nothing to do"), "{word}: {}", again.stderr);
        assert!(done(&world, &["held", word]).contains("nothing is held"));
        world.assert_lawful();
    }
}

#[test]
fn f04_the_word_outlives_a_kill_between_it_and_the_deed() {
    let world = World::new(60);
    let daemon = world.daemon();
    wipe(&world);
    daemon.wait_for_line("held: 60 of 60");
    // The cloud takes no change until the daemon is dead.
    for kind in ["move", "batch"] {
        world.cloud.inject(simcloud::Fault::always(kind, simcloud::Action::status(503)));
    }
    done(&world, &["held", "apply"]);
    daemon.kill();
    world.cloud.clear_faults();
    assert_eq!(world.there("Inbox").len(), 60);
    world.sync();
    assert_eq!((world.files("INBOX").len(), world.there("Inbox").len(), world.there(TRASH).len()), (0, 0, 60));
    world.assert_lawful();
}

#[test]
fn f04_deletions_a_few_at_a_time_are_held_as_well() {
    let world = World::new(60);
    let daemon = world.daemon();
    let names = world.files("INBOX");
    // More than the two seconds apart in which they would be taken for one deed.
    for (number, names) in names.chunks(6).take(5).enumerate() {
        for name in names {
            world.unlink("INBOX", name);
        }
        if number < 3 {
            wait_for("those are deleted", || world.there(TRASH).len() == 6 * (number + 1));
        } else {
            wait_for("those are held", || world.cms(&["held"]).status.code() == Some(4));
        }
    }
    daemon.wait_for_line("held: 6 of 60 messages of `inbox` were deleted here, after 18 that went shortly before");
    assert_eq!(world.there(TRASH).len(), 18);
    // A restart doesn't begin a new count, and what only vanished comes back.
    daemon.kill();
    world.sync();
    assert_eq!((world.files("INBOX").len(), world.there(TRASH).len()), (42, 18));
    trash(&world, 4);
    assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
    assert_eq!(world.there(TRASH).len(), 18);
    world.assert_lawful();
}

#[test]
fn f04_raising_the_limit_holds_nothing_back() {
    let world = World::new(60);
    world.sync();
    trash(&world, 40);
    assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
    world.configure("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\ncfg.max_deletions = 40\n");
    world.sync();
    assert_eq!((world.files("INBOX").len(), world.there(TRASH).len()), (20, 40));
    world.assert_same("INBOX", "Inbox");
}

#[test]
fn f03_what_is_gone_from_the_cloud_is_brought_back_there_or_stays_here() {
    for daemon in [false, true] {
        let world = World::new(40);
        let daemon = daemon.then(|| world.daemon());
        if daemon.is_none() {
            world.sync();
        }
        let (names, there, all) = (world.files("INBOX"), world.there("Inbox"), ids(&world));
        for (number, id) in all.iter().enumerate() {
            let deletion = if number < 30 { Deletion::Trash } else { Deletion::Purge };
            world.cloud.delete_message("", id, deletion).unwrap();
        }
        if daemon.is_none() {
            assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
        }
        wait_for("all are held", || world.cms(&["held"]).stdout.contains("40 of 40 messages are gone"));
        let downloads = world.asked("value");
        done(&world, &["held", "restore", "inbox"]);
        wait_for("what can be found is back", || world.there("Inbox").len() == 30);
        assert_eq!(world.files("INBOX"), names, "not one file has moved");
        assert!(world.there("Inbox").iter().all(|message| there.contains(message)));
        assert_eq!(world.there(TRASH).len(), 0);
        if let Some(daemon) = daemon {
            wait_for("nothing is held", || world.cms(&["held"]).status.code() == Some(0));
            daemon.stop();
        }
        let again = world.sync();
        assert!(again.stderr.contains("10 only here") && !again.stderr.contains("delivered"), "{}", again.stderr);
        assert_eq!(world.files("INBOX"), names);
        assert_eq!(world.asked("value"), downloads, "what is here isn't downloaded again");
        // Nothing was removed, nothing was allowed, and that is what the journal says.
        assert_eq!(done(&world, &["restore"]), "nothing was removed that could be brought back\n");
        let log = done(&world, &["log", "--since", "1h"]);
        let kept = "found gone from inbox in the cloud; its file stays in INBOX (as you said)";
        assert_eq!(log.lines().filter(|line| line.contains(kept)).count(), 10, "{log}");
        assert!(!log.contains("you allowed it") && !log.contains("from both sides"), "{log}");
        let undone = world.cms(&["undo"]);
        assert_eq!(undone.stdout.matches("only the Maildir has the message since").count(), 10, "{}", undone.stdout);
        world.assert_lawful();
    }
}

#[test]
fn f03_bringing_back_goes_on_after_a_failure() {
    let world = World::new(40);
    let daemon = world.daemon();
    for id in ids(&world) {
        world.cloud.delete_message("", &id, Deletion::Trash).unwrap();
    }
    daemon.wait_for_line("held: 40 of 40");
    for kind in ["move", "batch"] {
        world.cloud.inject(simcloud::Fault::always(kind, simcloud::Action::status(503)));
    }
    done(&world, &["held", "restore"]);
    daemon.kill();
    world.cloud.clear_faults();
    let names = world.files("INBOX");
    world.sync();
    assert_eq!((world.there("Inbox").len(), world.there(TRASH).len()), (40, 0));
    assert_eq!(world.files("INBOX"), names);
    world.assert_same("INBOX", "Inbox");
}

#[test]
fn f35_a_folder_that_was_removed_and_made_again_takes_nothing_with_it() {
    let world =
        World::with(Options { messages: 5, folders: vec![("Inbox/Lists".to_owned(), 6)], ..Options::default() });
    world.configure(INBOX_AND_LISTS);
    world.sync();
    let names = world.files("Lists");
    world.cloud.delete_folder("", "Inbox/Lists").unwrap();
    let finished = world.cms(&["sync"]);
    assert_ne!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert_eq!(world.files("Lists"), names, "{}", finished.stderr);

    world.cloud.create_folder("", "Inbox/Lists", false).unwrap();
    world.receive("Inbox/Lists", "fresh");
    let held = world.cms(&["sync"]);
    assert_eq!(held.status.code(), Some(4), "{}", held.stderr);
    assert!(held.stderr.contains("held: `Inbox/Lists` was removed in the cloud and made again"), "{}", held.stderr);
    assert_eq!(world.files("Lists").len(), 7, "few as they are, they stay, and the new one comes");
    assert_eq!(world.cms(&["sync"]).status.code(), Some(4), "also by the next run");

    done(&world, &["held", "apply", "Inbox/Lists"]);
    world.assert_same("Lists", "Inbox/Lists");
    assert_eq!(world.files("Lists").len(), 1);
    // From then on it is a folder like any other.
    let fresh =
        world.cloud.state("").unwrap().messages().find(|message| message.folder == "Inbox/Lists").unwrap().id.clone();
    world.cloud.delete_message("", &fresh, Deletion::Purge).unwrap();
    world.sync();
    assert!(world.files("Lists").is_empty());
    world.assert_same("INBOX", "Inbox");
}

#[test]
fn f35_a_daemon_keeps_the_files_of_a_folder_that_was_removed() {
    let world =
        World::with(Options { messages: 5, folders: vec![("Inbox/Lists".to_owned(), 6)], ..Options::default() });
    world.configure(INBOX_AND_LISTS);
    let daemon = world.daemon();
    let names = world.files("Lists");
    world.cloud.delete_folder("", "Inbox/Lists").unwrap();
    wait_for("the trouble is told", || world.cms(&["status"]).stdout.contains("trouble: "));
    world.receive("Inbox", "meanwhile");
    world.file_of("INBOX", "meanwhile");
    assert_eq!(world.files("Lists"), names);
    world.cloud.create_folder("", "Inbox/Lists", false).unwrap();
    daemon.wait_for_line("held: `Inbox/Lists` was removed in the cloud and made again");
    assert_eq!(world.files("Lists"), names);
    done(&world, &["held", "restore"]);
    wait_for("nothing is held", || world.cms(&["held"]).status.code() == Some(0));
    assert_eq!(world.files("Lists"), names, "they stay, as files of this side alone");
    daemon.stop();
    let again = world.sync();
    assert!(again.stderr.contains("6 only here"), "{}", again.stderr);
    assert_eq!(
        fs::read_dir(world.path("Lists/cur")).unwrap().count() + fs::read_dir(world.path("Lists/new")).unwrap().count(),
        6
    );
}

/// Asks the daemon's page over HTTP, and returns all that comes back.
fn ask_page(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address.replace("localhost", "127.0.0.1")).unwrap();
    let length = body.len();
    write!(stream, "{head}Host: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The value of the first hidden field of that name after a place in the page.
fn field(page: &str, after: &str, name: &str) -> String {
    let rest = &page[page.find(after).unwrap_or_else(|| panic!("{after}: {page}"))..];
    let value = rest.split_once(&format!("name=\"{name}\" value=\"")).unwrap().1;
    value.split('"').next().unwrap().to_owned()
}

#[test]
fn f04_the_page_shows_what_is_held_and_takes_the_users_word() {
    let world = World::new(60);
    world.receive("Inbox", "<b>bold</b> & held");
    let daemon = world.daemon();
    let line = daemon.stderr().lines().find(|line| line.contains("The page is at")).unwrap().to_owned();
    let address = line.rsplit("http://").next().unwrap().to_owned();
    let own = format!("Origin: http://{address}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
    let names = world.files("INBOX");
    let page = || ask_page(&address, "GET / HTTP/1.1\r\n", "");
    for (word, left) in [("restore", 61), ("apply", 0)] {
        wipe(&world);
        wait_for("the page shows it", || page().contains("data-held=\"61\""));
        let shown = page();
        assert!(shown.contains("&lt;b&gt;bold&lt;/b&gt; &amp; held"), "{shown}");
        let (id, key) = (field(&shown, "data-held", "held"), field(&shown, "data-held", "key"));
        // Another page in the same browser has no key, and another origin.
        let stranger = format!("held={id}&word=apply&key={key}");
        let refused =
            ask_page(&address, &format!("POST /held HTTP/1.1\r\n{}", own.replace("localhost", "evil")), &stranger);
        assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
        let other = format!("held=0000000000000000&word={word}&key={key}");
        let refused = ask_page(&address, &format!("POST /held HTTP/1.1\r\n{own}"), &other);
        assert!(
            refused.starts_with("HTTP/1.1 409") && refused.contains("What is held has changed meanwhile"),
            "{refused}"
        );
        assert_eq!((world.there("Inbox").len(), world.there(TRASH).len()), (61, 0));

        let form = format!("held={id}&word={word}&key={key}");
        let answer = ask_page(&address, &format!("POST /held HTTP/1.1\r\n{own}"), &form);
        assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
        wait_for("it is followed", || world.files("INBOX").len() == left && world.there("Inbox").len() == left);
        wait_for("the page shows nothing held", || !page().contains("data-held="));
    }
    assert_eq!((names.len(), world.there(TRASH).len()), (61, 61));
    daemon.stop();
    world.assert_lawful();
}
