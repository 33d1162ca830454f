//! A real mutt, driven by key strokes in a terminal, works in the Maildir that the daemon keeps.
//!
//! The key strokes go through `services/mutt-session` of the shared directory (`CMS_SHARED`, or `shared` beside the
//! project); without it, or without mutt, nothing is tried. The terminal is tmux's, so that none is needed to run this.

use std::fs;
use std::process::{Command, Stdio};

use simcloud::{Deletion, FlagChange, FlagStatus, Knobs, NewMessage, Options};

use crate::mail_program::{INBOX_AND_LISTS, TRASH, base_name, letters, text};
use crate::shared::{has_program, service};
use crate::world::{World, wait_for};

/// What mutt left behind.
struct Session {
    /// The screen after each key stroke.
    screen: String,
}

/// Runs mutt, or neomutt, on `INBOX` with these settings and key strokes. Nothing if that can't be done here.
fn mutt(world: &World, program: &str, settings: &[&str], keys: &[&str]) -> Option<Session> {
    let script = service("mutt-session")?;
    let screen = world.path("screen");
    let mut command = Command::new(script);
    if program == "neomutt" {
        command.arg("--neomutt");
    }
    for setting in settings.iter().copied().chain(["set fast_reply=yes"]) {
        command.arg("-e").arg(setting);
    }
    let output =
        command.arg("--screen").arg(&screen).arg(world.path("INBOX")).args(keys).stdin(Stdio::null()).output().unwrap();
    if !has_program(program) {
        return None;
    }
    let screen = String::from_utf8_lossy(&fs::read(&screen).unwrap_or_default()).into_owned();
    assert!(output.status.success(), "{}\n{}\n{screen}", output.status, String::from_utf8_lossy(&output.stderr));
    Some(Session { screen })
}

/// Key strokes that put the cursor on the message of that subject.
fn find(subject: &str) -> [String; 2] {
    [format!("text:/{subject}"), "Enter".to_owned()]
}

/// Key strokes for one message after another, and then mutt is left, which is when it writes.
fn script(steps: &[(&str, &[&str])]) -> Vec<String> {
    let mut keys = Vec::new();
    for (subject, then) in steps {
        keys.extend(find(subject));
        keys.extend(then.iter().map(|key| (*key).to_owned()));
    }
    keys.push("q".to_owned());
    keys
}

fn strs(keys: &[String]) -> Vec<&str> {
    keys.iter().map(String::as_str).collect()
}

/// A world with these unread messages in its inbox, synced, and the daemon at work.
fn world_of(subjects: &[&str]) -> (World, Vec<String>, crate::world::Running) {
    let folders = vec![("Inbox/Lists".to_owned(), 2)];
    let world = World::with(Options { folders, knobs: Knobs::calm(), ..Options::default() });
    world.configure(INBOX_AND_LISTS);
    let ids = subjects.iter().map(|subject| world.receive("Inbox", subject)).collect();
    let daemon = world.daemon();
    (world, ids, daemon)
}

fn reading_flagging_replying_and_deleting(program: &str, settings: &[&str]) {
    let (world, ids, daemon) = world_of(&["alpha", "bravo", "charlie", "echo", "untouched"]);
    let bases: Vec<String> = ["alpha", "bravo", "charlie"]
        .iter()
        .map(|subject| base_name(&world.file_of("INBOX", subject)).to_owned())
        .collect();
    let keys = script(&[
        // Read in the pager, and back to the index.
        ("alpha", &["Enter", "i"]),
        ("bravo", &["F"]),
        // Replied to, with an editor that changes nothing, and sent to nowhere.
        ("charlie", &["r", "y"]),
        ("echo", &["d"]),
    ]);
    let Some(session) = mutt(&world, program, settings, &strs(&keys)) else { return };
    wait_for("the deletion arrives", || world.is_in(&ids[3], TRASH));
    world.wait_until_same("INBOX", "Inbox");
    let message = |at: usize| world.message(&ids[at]).unwrap();
    assert!(message(0).is_read, "{}", session.screen);
    assert_eq!(message(1).flag, FlagStatus::Flagged, "{}", session.screen);
    assert!(letters(&world.file_of("INBOX", "charlie")).contains('R'), "{}", session.screen);
    assert!(!message(4).is_read);
    for (base, subject) in bases.iter().zip(["alpha", "bravo", "charlie"]) {
        assert_eq!(base_name(&world.file_of("INBOX", subject)), base, "{subject} has kept its name");
    }
    assert!(world.cloud.downloads("").values().all(|count| *count == 1));
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}

#[test]
fn mutt_reads_flags_replies_and_deletes() {
    reading_flagging_replying_and_deleting("mutt", &[]);
}

#[test]
fn mutt_reads_flags_replies_and_deletes_with_maildir_trash() {
    reading_flagging_replying_and_deleting("mutt", &["set maildir_trash=yes"]);
}

#[test]
fn neomutt_reads_flags_replies_and_deletes() {
    reading_flagging_replying_and_deleting("neomutt", &["set maildir_trash=yes"]);
}

/// `header` is what the message's header has besides.
fn saving_is_one_move_there(program: &str, settings: &[&str], header: &str) {
    let (world, mut ids, daemon) = world_of(&["alpha"]);
    let mime = text("bravo").replacen("\n\n", &format!("\n{header}\n"), 1);
    ids.push(world.cloud.add_message("", NewMessage::mime("Inbox", mime)).unwrap());
    world.file_of("INBOX", "bravo");
    let keys = script(&[("bravo", &["s", "C-u", "text:=Lists", "Enter"])]);
    let Some(session) = mutt(&world, program, settings, &strs(&keys)) else { return };
    wait_for(&format!("the move arrives\n{}", session.screen), || world.is_in(&ids[1], "Inbox/Lists"));
    world.wait_until_same("INBOX", "Inbox");
    // mutt writes lengths of its own into the header of what it saves, and that file stays as it is.
    let saved = world.file_of("Lists", "bravo");
    assert!(fs::read_to_string(world.path("Lists").join(&saved)).unwrap().contains("Content-Length:"));
    assert_eq!(world.asked("move"), 1, "{:?}", world.cloud.counters().requests);
    // It is the same message: what happens to it there happens to that file, also after another start.
    world
        .cloud
        .set_flags("", &ids[1], FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() })
        .unwrap();
    wait_for("the flag arrives", || letters(&world.file_of("Lists", "bravo")).contains('F'));
    assert!(daemon.stop().status.success());
    let next = world.sync();
    assert!(next.stderr.contains("nothing to do"), "{}", next.stderr);
    world.cloud.delete_message("", &ids[1], Deletion::Trash).unwrap();
    world.sync();
    world.assert_same("Lists", "Inbox/Lists");
    assert!(world.cloud.downloads("").values().all(|count| *count == 1));
    world.assert_lawful();
}

#[test]
fn f07_saving_in_mutt_is_one_move_in_the_cloud() {
    saving_is_one_move_there("mutt", &[], "");
}

#[test]
fn f07_saving_in_mutt_with_maildir_trash_is_one_move_in_the_cloud() {
    saving_is_one_move_there("mutt", &["set maildir_trash=yes"], "");
}

#[test]
fn f07_saving_in_neomutt_is_one_move_in_the_cloud() {
    saving_is_one_move_there("neomutt", &[], "");
    saving_is_one_move_there("neomutt", &["set maildir_trash=yes"], "");
}

#[test]
fn f07_saving_a_message_with_lengths_of_its_own_in_mutt_is_one_move_in_the_cloud() {
    // As a list server leaves them that adds a footer.
    let header = "Content-Length: 7\nLines: 1\n";
    saving_is_one_move_there("mutt", &[], header);
    saving_is_one_move_there("mutt", &["set maildir_trash=yes"], header);
}

#[test]
fn what_changes_in_the_cloud_shows_in_a_mutt_that_is_open() {
    let (world, ids, daemon) = world_of(&["alpha", "bravo", "charlie"]);
    let (open, go) = (world.path("open"), world.path("go"));
    let wait = format!(
        "sh:touch {}; for turn in $(seq 600); do [ ! -e {} ] || break; sleep 0.1; done",
        open.display(),
        go.display()
    );
    // The second look is made when mutt has noticed, which takes it a second (`mail_check`).
    let mut keys =
        vec![wait, "C-l".to_owned(), "wait:1.5".to_owned(), "C-l".to_owned(), "wait:1.5".to_owned(), "C-l".to_owned()];
    keys.extend(script(&[("alpha", &["F"])]));
    std::thread::scope(|scope| {
        let session = scope.spawn(|| mutt(&world, "mutt", &[], &strs(&keys)));
        wait_for("mutt has opened the folder, or can't", || open.exists() || session.is_finished());
        if !open.exists() {
            assert!(session.join().unwrap().is_none());
            return;
        }
        world
            .cloud
            .set_flags("", &ids[1], FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() })
            .unwrap();
        world.cloud.delete_message("", &ids[2], Deletion::Trash).unwrap();
        world.receive("Inbox", "newcomer");
        world.wait_until_same("INBOX", "Inbox");
        wait_for("the new message is here", || world.files_of("INBOX", "newcomer").len() == 1);
        fs::write(&go, "").unwrap();
        let session = session.join().unwrap().expect("mutt was open a moment ago");
        let last = session.screen.rsplit("=== after C-l").next().unwrap().split("=== after").next().unwrap().to_owned();
        let line = |subject: &str| last.lines().find(|line| line.trim_end().ends_with(subject)).map(str::to_owned);
        assert!(line("newcomer").is_some(), "{last}");
        assert!(line("bravo").is_some_and(|line| line.contains('!')), "{last}");
        assert!(line("charlie").is_none(), "{last}");
        // What mutt itself changed meanwhile goes the other way.
        wait_for("the flag arrives", || {
            world.message(&ids[0]).is_some_and(|message| message.flag == FlagStatus::Flagged)
        });
        world.wait_until_same("INBOX", "Inbox");
        assert_eq!(world.files("INBOX").len(), 3);
    });
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}
