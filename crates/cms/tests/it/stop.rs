//! Ending at any time, and the commands that look without touching.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use simcloud::{Action, Deletion, Fault, FlagChange, FlagStatus, Options};

use crate::world::{Finished, Running, World, wait_for};

/// Two seconds are promised; the rest is for a busy machine.
const PROMPT: Duration = Duration::from_secs(3);

/// Sends a signal and waits for the end, which must come promptly.
#[track_caller]
fn end_with(running: Running, name: Signal) -> Finished {
    let asked = Instant::now();
    running.signal(name);
    let finished = running.finish();
    let took = asked.elapsed();
    assert!(took < PROMPT, "it took {took:?} to end:\n{}", finished.stderr);
    finished
}

/// Every file below a directory with its content, names relative to it.
fn files_below(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, directory: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read(&path).unwrap_or_default());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(directory, directory, &mut found);
    found
}

/// The hashes of all messages in the store.
fn stored(world: &World) -> Vec<String> {
    files_below(&world.path(".cms/messages")).into_keys().map(|name| name.replace('/', "")).collect()
}

fn slow(messages: usize) -> World {
    let mut options = Options { messages, size_scale: 0.2, ..Options::default() };
    options.knobs.latency_ms = 40;
    World::with(options)
}

/// Stops a first sync in the middle by each of the signals; the next one ends what it began.
fn stop_in_the_middle(name: Signal, arguments: &[&str], status: i32) {
    let world = slow(400);
    let running = world.start(arguments);
    wait_for("some messages are stored", || stored(&world).len() > 40);
    let finished = end_with(running, name);
    assert_eq!(finished.status.code(), Some(status), "{}", finished.stderr);
    let kept = stored(&world);
    assert!(kept.len() < 400, "it wasn't in the middle any more");
    world.cloud.turn(|knobs| knobs.latency_ms = 0);
    world.sync();
    world.assert_same("INBOX", "Inbox");
    let ids: BTreeMap<String, String> = world
        .cloud
        .state("")
        .unwrap()
        .messages()
        .map(|message| (message.blake3_lf.clone(), message.id.clone()))
        .collect();
    let downloads = world.cloud.downloads("");
    for hash in &kept {
        let id = &ids[hash];
        assert_eq!(downloads.get(id), Some(&1), "{id} was in the store, and was downloaded again");
    }
    let rubbish: Vec<_> = fs::read_dir(world.path(".cms/incoming")).unwrap().collect();
    assert!(rubbish.is_empty(), "{rubbish:?}");
    assert!(fs::read_dir(world.path("INBOX/tmp")).unwrap().next().is_none());
    world.assert_lawful();
}

#[test]
fn ctrl_c_in_the_middle_of_a_first_sync() {
    stop_in_the_middle(Signal::INT, &["sync"], 130);
}

#[test]
fn sigterm_in_the_middle_of_a_first_sync() {
    stop_in_the_middle(Signal::TERM, &["sync"], 130);
}

#[test]
fn sigterm_in_the_middle_of_a_daemons_first_sync() {
    stop_in_the_middle(Signal::TERM, &["run"], 0);
}

#[test]
fn ctrl_c_while_nobody_has_signed_in_yet() {
    let world = World::new(1);
    let mut command = world.command(&["sync"]);
    // Nobody reads the address, so nobody signs in.
    command.stderr(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for("the state is open", || world.path(".cms/lock").exists());
    let asked = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    // If it came before the handlers were there, the signal itself ended it.
    assert!(matches!(status.code(), Some(130) | None), "{status}");
    assert!(asked.elapsed() < PROMPT);
}

#[test]
fn signals_while_nothing_is_to_be_done() {
    for name in [Signal::INT, Signal::TERM, Signal::HUP] {
        let world = World::new(5);
        let finished = end_with(world.daemon(), name);
        assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
        assert!(finished.stderr.contains("Stopped ("), "{}", finished.stderr);
    }
}

/// Marks every message of the Maildir as read and flagged, as a mail program would.
fn mark_all(world: &World) {
    for name in world.files("INBOX") {
        let base = name.rsplit('/').next().unwrap().split(":2,").next().unwrap().to_owned();
        fs::rename(world.path("INBOX").join(&name), world.path("INBOX/cur").join(format!("{base}:2,FS"))).unwrap();
    }
}

#[test]
fn a_stop_among_changes_loses_none_of_them() {
    let world = slow(60);
    let daemon = world.daemon();
    world.cloud.turn(|knobs| knobs.latency_ms = 300);
    let before = world.cloud.counters().requests.get("batch").copied().unwrap_or_default();
    mark_all(&world);
    world.cloud.add_generated("", "Inbox", 20).unwrap();
    wait_for("changes are on their way", || {
        world.cloud.counters().requests.get("batch").copied().unwrap_or_default() > before
    });
    let finished = end_with(daemon, Signal::TERM);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    world.cloud.turn(|knobs| knobs.latency_ms = 0);
    world.sync();
    world.assert_same("INBOX", "Inbox");
    let flagged = world.there("Inbox").iter().filter(|(_, flags)| flags.contains('F') && flags.contains('S')).count();
    assert!(flagged >= 60, "{flagged} of 60 changes are in the cloud");
    world.assert_lawful();
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_anything() {
    let world = World::new(5);
    let daemon = world.daemon();
    for kind in ["batch", "patch"] {
        world.cloud.inject(Fault::always(kind, Action::Hang));
    }
    mark_all(&world);
    wait_for("the change hangs", || world.cloud.faults().iter().any(|rule| rule.fired > 0));
    daemon.signal(Signal::INT);
    daemon_is_stopping(&world, &daemon);
    let finished = end_with(daemon, Signal::INT);
    // Either the second one ended it at once, or the first one had by then.
    assert!(matches!(finished.status.code(), Some(130 | 0)), "{}", finished.stderr);
    world.cloud.clear_faults();
    world.sync();
    world.assert_same("INBOX", "Inbox");
}

/// Two signals of one kind that are both pending are one; so the first must have been taken.
fn daemon_is_stopping(_world: &World, daemon: &Running) {
    let status = format!("/proc/{}/status", daemon.id());
    wait_for("the first signal is taken", || {
        let Ok(text) = fs::read_to_string(&status) else { return true };
        !text.lines().any(|line| line.starts_with("ShdPnd:") && !line.trim_end().ends_with("0000000000000000"))
    });
}

#[test]
fn a_terminal_that_goes_away_does_not_end_a_sync() {
    let world = slow(60);
    let mut command = world.command(&["sync", "-v"]);
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = lines.by_ref().map_while(Result::ok).find(|line| line.contains("/oauth2/")).unwrap();
    drop(lines);
    simcloud::visit(address.trim()).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

#[test]
fn who_ends_a_sync_is_not_told_that_all_is_done() {
    let world = World::new(3);
    world.cloud.inject(Fault::always("delta", Action::Hang));
    let running = world.start(&["sync"]);
    wait_for("it asks", || world.cloud.faults().iter().any(|rule| rule.fired > 0));
    let finished = end_with(running, Signal::INT);
    assert_eq!(finished.status.code(), Some(130), "{}", finished.stderr);
    assert!(finished.stderr.contains("interrupted: nothing was changed"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("both sides are the same"), "{}", finished.stderr);
}

/// A world with something to do in every direction.
fn with_things_to_do() -> World {
    let world = World::with(Options { messages: 20, size_scale: 0.2, ..Options::default() });
    world.sync();
    let ids: Vec<String> = world
        .cloud
        .state("")
        .unwrap()
        .messages()
        .filter(|message| message.folder == "Inbox")
        .map(|message| message.id.clone())
        .collect();
    world.cloud.delete_message("", &ids[0], Deletion::Trash).unwrap();
    world
        .cloud
        .set_flags("", &ids[1], FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() })
        .unwrap();
    world.cloud.add_generated("", "Inbox", 2).unwrap();
    let names = world.files("INBOX");
    let changed = names.last().unwrap();
    let base = changed.rsplit('/').next().unwrap().split(":2,").next().unwrap().to_owned();
    fs::rename(world.path("INBOX").join(changed), world.path("INBOX/cur").join(format!("{base}:2,RS"))).unwrap();
    let trashed = &names[names.len() - 2];
    let base = trashed.rsplit('/').next().unwrap().split(":2,").next().unwrap().to_owned();
    fs::rename(world.path("INBOX").join(trashed), world.path("INBOX/cur").join(format!("{base}:2,ST"))).unwrap();
    world
}

#[test]
fn f36_a_plan_changes_nothing_on_either_side() {
    let world = with_things_to_do();
    let maildir = files_below(&world.path("INBOX"));
    let store = files_below(&world.path(".cms/messages"));
    let there = (world.there("Inbox"), world.there("Deleted Items"));
    world.cloud.reset_counters();
    let mut told = String::new();
    for turn in 0..5 {
        let plan = world.cms(&["plan"]);
        assert_eq!(plan.status.code(), Some(0), "{}", plan.stderr);
        assert!(plan.stdout.lines().count() >= 5, "{}", plan.stdout);
        assert!(plan.stdout.contains(" of `inbox`, received 20"), "{}", plan.stdout);
        let mut lines: Vec<&str> = plan.stdout.lines().collect();
        lines.sort_unstable();
        if turn > 0 {
            assert_eq!(lines.join("\n"), told, "the plan changed by being looked at");
        }
        told = lines.join("\n");
    }
    let requests = world.cloud.counters().requests;
    for kind in ["value", "patch", "move", "delete", "batch-item:patch", "batch-item:move", "batch-item:delete"] {
        assert_eq!(requests.get(kind), None, "{requests:?}");
    }
    assert_eq!(files_below(&world.path("INBOX")), maildir);
    assert_eq!(files_below(&world.path(".cms/messages")), store);
    assert_eq!((world.there("Inbox"), world.there("Deleted Items")), there);
    let done = world.sync();
    assert!(done.stderr.contains("2 downloaded"), "{}", done.stderr);
    world.assert_same("INBOX", "Inbox");
    let after = world.cms(&["plan"]);
    assert_eq!(after.stdout, "nothing to do: both sides are the same\n");
    world.assert_lawful();
}

#[test]
fn a_plan_before_the_first_sync_makes_no_maildir() {
    let world = World::new(7);
    for _ in 0..5 {
        let plan = world.cms(&["plan"]);
        assert_eq!(plan.status.code(), Some(0), "{}", plan.stderr);
        assert!(plan.stdout.contains("make the Maildir"), "{}", plan.stdout);
        assert!(!world.path("INBOX").exists());
    }
    world.sync();
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

#[test]
fn ctrl_c_ends_a_plan() {
    let mut options = Options { messages: 200, ..Options::default() };
    options.knobs.latency_ms = 200;
    let world = World::with(options);
    world.cloud.inject(Fault::always("delta", Action::Hang));
    let running = world.start(&["plan"]);
    wait_for("it asks", || world.cloud.faults().iter().any(|rule| rule.fired > 0));
    let finished = end_with(running, Signal::INT);
    assert_eq!(finished.status.code(), Some(130), "{}{}", finished.stdout, finished.stderr);
    assert!(!finished.stdout.contains("both sides are the same"), "{}", finished.stdout);
}

#[test]
fn a_check_tells_what_works() {
    let world = World::new(4);
    let check = world.cms(&["check"]);
    assert_eq!(check.status.code(), Some(0), "{}{}", check.stdout, check.stderr);
    for text in [
        "ok    configuration: ",
        "ok    Maildir: ",
        "will be made",
        "ok    state: ",
        "ok    mailbox: `Inbox` of user@domain.com holds 4 items",
    ] {
        assert!(check.stdout.contains(text), "{text}: {}", check.stdout);
    }
    assert!(!world.path("INBOX").exists() && !world.path(".cms").exists(), "a check makes nothing");
    world.sync();
    let check = world.cms(&["check"]);
    assert!(check.stdout.contains("holds 4 messages"), "{}", check.stdout);
    world.assert_lawful();
}

#[test]
fn a_check_tells_what_does_not_work_and_what_to_do() {
    let world = World::with(Options { folders: vec![("Lists".to_owned(), 1)], ..Options::default() });
    world.configure("MailDir(\"INBOX\")\nOffice365(\"Lisst\", account)\nOffice365(\"inbox\", account)\n");
    fs::write(world.path("INBOX"), "").unwrap();
    let check = world.cms(&["check"]);
    assert_eq!(check.status.code(), Some(1), "{}", check.stdout);
    for text in [
        "FAIL  Maildir: ",
        "FAIL  mailbox: user@domain.com has no folder `Lisst`",
        "hint: did you mean `Lists`",
        "ok    mailbox: `Inbox`",
    ] {
        assert!(check.stdout.contains(text), "{text}: {}", check.stdout);
    }
}

fn demo(directory: &Path) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cms"));
    command
        .args(["demo", "--once"])
        .current_dir(directory)
        .env("HOME", directory)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::of(command).finish()
}

#[test]
fn the_demonstration_works_as_often_as_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let finished = demo(directory.path());
        assert_eq!(finished.status.code(), Some(0), "{}{}", finished.stdout, finished.stderr);
        assert!(finished.stdout.contains("Synced 500 messages in "), "{}", finished.stdout);
        assert!(
            finished
                .stdout
                .contains("Verified: 501 messages, the same on both sides, byte for byte and flag for flag."),
            "{}",
            finished.stdout
        );
    }
}

#[test]
fn the_demonstration_touches_no_directory_that_is_not_its_own() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("cms-demo")).unwrap();
    fs::write(directory.path().join("cms-demo/precious"), "x").unwrap();
    let finished = demo(directory.path());
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stdout);
    assert!(finished.stderr.contains("exists and wasn't made by `cms demo`"), "{}", finished.stderr);
    assert!(finished.stderr.contains("hint: run `cms demo` in another directory"), "{}", finished.stderr);
    assert_eq!(fs::read_to_string(directory.path().join("cms-demo/precious")).unwrap(), "x");
}
