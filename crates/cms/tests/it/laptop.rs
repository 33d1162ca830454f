//! A laptop: it sleeps, travels, has a clock that jumps, and loses the network in the middle of a sentence.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use cms_engine::UnixSeconds;
use cms_store::{Change, Database};
use rustix::process::Signal;
use simcloud::{Action, Deletion, Fault, FlagChange, FlagStatus, Knobs, NewMessage, Options};

use crate::mail_program::{INBOX_AND_LISTS, TRASH, base_name, letters};
use crate::world::{Running, World, wait, wait_for};

const MONTH: u64 = 30 * 86_400;

fn flag(world: &World, id: &str, flag: FlagStatus) {
    world.cloud.set_flags("", id, FlagChange { flag: Some(flag), ..FlagChange::default() }).unwrap();
}

fn is_flagged(world: &World, id: &str) -> bool {
    world.message(id).unwrap().flag == FlagStatus::Flagged
}

/// A month later every token and cursor is dead, the connections that were open lead nowhere, and both sides have changed.
#[test]
fn f32_after_a_month_asleep_both_sides_meet_again() {
    let world = World::with(Options {
        messages: 30,
        folders: vec![("Inbox/Lists".to_owned(), 3)],
        knobs: Knobs::calm(),
        ..Options::default()
    });
    world.configure(INBOX_AND_LISTS);
    let subjects = ["flagged here", "flagged there", "deleted here", "deleted there", "filed here", "filed there"];
    let [mine, theirs, deleted, gone, filed, moved] = subjects.map(|subject| world.receive_read("Inbox", subject));
    let daemon = world.daemon();
    world.wait_until_same("INBOX", "Inbox");
    let names = subjects.map(|subject| world.file_of("INBOX", subject));
    daemon.signal(Signal::STOP);

    world.cloud.age_refresh_tokens("", MONTH);
    world.cloud.expire_access_tokens();
    world.cloud.kill_delta_tokens("").unwrap();
    flag(&world, &theirs, FlagStatus::Flagged);
    world.cloud.delete_message("", &gone, Deletion::Purge).unwrap();
    world.cloud.move_message("", &moved, "Inbox/Lists").unwrap();
    world.receive("Inbox", "new");
    world.set_letters("INBOX", &names[0], "FS");
    world.unlink("INBOX", &names[2]);
    world.rename("INBOX", &names[4], "Lists", &names[4]);
    for kind in ["delta", "batch"] {
        world.cloud.inject(Fault::once(kind, Action::Hang));
    }
    world.cloud.reset_counters();

    daemon.signal(Signal::CONT);
    let is_here = || world.files_of("INBOX", "new").len() == 1;
    // The requests that hang are given up after half a minute each, and may come one after the other.
    assert!(wait(&is_here) || wait(&is_here), "waited in vain until the new message is here");
    wait_for("all that was done is done on the other side", || {
        is_flagged(&world, &mine)
            && world.is_in(&deleted, TRASH)
            && world.is_in(&filed, "Inbox/Lists")
            && world.files_of("INBOX", "deleted there").is_empty()
            && world.files_of("Lists", "filed there").len() == 1
            && letters(&world.file_of("INBOX", "flagged there")) == "FS"
    });
    world.wait_until_same("INBOX", "Inbox");
    world.wait_until_same("Lists", "Inbox/Lists");
    assert_eq!(world.asked("value"), 1, "what was here was downloaded again");
    assert_eq!(base_name(&world.file_of("Lists", "filed there")), base_name(&names[5]));
    assert_eq!(daemon.stop().status.code(), Some(0));
    world.assert_lawful();
}

/// So many events that the kernel drops some.
#[test]
fn f31_events_that_the_kernel_dropped_are_made_up_for() {
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    if limit > 100_000 {
        println!("skipped: needs an inotify queue that can be filled");
        return;
    }
    let world = World::with(Options { messages: 6, knobs: Knobs::calm(), ..Options::default() });
    let subjects = ["busy", "flagged", "deleted", "trashed"];
    let [_, flagged, deleted, trashed] = subjects.map(|subject| world.receive_read("Inbox", subject));
    let daemon = world.daemon();
    world.wait_until_same("INBOX", "Inbox");
    let names = subjects.map(|subject| world.file_of("INBOX", subject));
    daemon.signal(Signal::STOP);
    // The signal takes its time on a busy machine, and what is read until then leaves room in the queue.
    let state = || fs::read_to_string(format!("/proc/{}/stat", daemon.id())).unwrap();
    wait_for("the program stands still", || state().rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')));
    let mut busy = names[0].clone();
    for round in 0..limit / 2 + 1000 {
        busy = world.set_letters("INBOX", &busy, if round % 2 == 0 { "FS" } else { "S" });
    }
    world.set_letters("INBOX", &names[1], "FS");
    world.unlink("INBOX", &names[2]);
    world.set_letters("INBOX", &names[3], "ST");
    daemon.signal(Signal::CONT);
    daemon.wait_for_line("The kernel dropped file events");
    wait_for("what came last is known, too", || {
        is_flagged(&world, &flagged) && world.is_in(&deleted, TRASH) && world.is_in(&trashed, TRASH)
    });
    world.wait_until_same("INBOX", "Inbox");
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}

#[test]
fn another_time_zone_changes_nothing() {
    let world = World::with(Options { messages: 8, ..Options::default() });
    let in_zone = |zone: &str| {
        let mut command = world.command(&["sync"]);
        command.env("TZ", zone);
        Running::of(command).finish()
    };
    assert!(in_zone("Asia/Kolkata").status.success());
    let names = world.files("INBOX");
    let times = || -> Vec<SystemTime> {
        let modified = |name: &String| fs::metadata(world.path("INBOX").join(name)).unwrap().modified().unwrap();
        world.files("INBOX").iter().map(modified).collect()
    };
    let before = times();
    for zone in ["America/St_Johns", "Pacific/Kiritimati", "UTC"] {
        let finished = in_zone(zone);
        assert!(finished.stderr.contains("nothing to do"), "{zone}: {}", finished.stderr);
    }
    assert_eq!((world.files("INBOX"), times()), (names, before));
    world.assert_lawful();
}

/// A clock that can be set while a program runs. That of how long the machine has been running stays what it is.
struct Clock {
    library: PathBuf,
    shift: PathBuf,
}

impl Clock {
    /// Nothing where there is no faketime.
    fn new(world: &World) -> Option<Self> {
        let directories = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok).map(|entry| entry.path());
        let library = directories.map(|path| path.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())?;
        let clock = Self { library, shift: world.path("clock") };
        clock.set(0);
        Some(clock)
    }

    /// Sets it so many hours ahead of the right time.
    fn set(&self, hours: i64) {
        let new = self.shift.with_extension("new");
        fs::write(&new, format!("{hours:+}h\n")).unwrap();
        fs::rename(new, &self.shift).unwrap();
    }

    /// Starts the program, which looks at this clock each time.
    fn start(&self, world: &World, arguments: &[&str]) -> Running {
        let mut command = world.command(arguments);
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.shift)
            .env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
        Running::of(command)
    }

    fn sync(&self, world: &World) {
        let finished = self.start(world, &["sync"]).finish();
        assert!(finished.status.success(), "{}", finished.stderr);
    }
}

const YEARS: i64 = 10 * 365 * 24;

/// What of these contents the store still has.
fn kept(world: &World, contents: &[String]) -> usize {
    let is_kept = |hash: &&String| world.path(".cms/messages").join(&hash[..2]).join(&hash[2..]).exists();
    contents.iter().filter(is_kept).count()
}

/// The numbers of what `cms restore` offers.
fn offered(world: &World) -> Vec<String> {
    let finished = world.cms(&["restore", "--list", "--json"]);
    assert!(finished.status.success(), "{}", finished.stderr);
    let number = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["number"].to_string();
    finished.stdout.lines().map(number).collect()
}

/// The network's time is set, or the battery's that is empty: years ahead, years back, and right again.
#[test]
fn a_clock_that_jumps_under_a_daemon_loses_and_delays_nothing() {
    let world = World::with(Options { messages: 4, knobs: Knobs::calm(), ..Options::default() });
    let Some(clock) = Clock::new(&world) else {
        println!("skipped: needs faketime");
        return;
    };
    let mut gone = Vec::new();
    let daemon = clock.start(&world, &["run"]);
    for (round, hours) in [YEARS, -YEARS, 0, -5, 24 * 40, 0].into_iter().enumerate() {
        let [flagged, here, there] = ["flagged", "here", "there"].map(|what| format!("{what} {round}"));
        let [id, deleted, other] = [&flagged, &here, &there].map(|subject| world.receive_read("Inbox", subject));
        let names = [&flagged, &here, &there].map(|subject| world.file_of("INBOX", subject));
        let hash =
            |name: &String| blake3::hash(&fs::read(world.path("INBOX").join(name)).unwrap()).to_hex().to_string();
        gone.extend([hash(&names[1]), hash(&names[2])]);
        clock.set(hours);
        world.cloud.expire_access_tokens();
        world.set_letters("INBOX", &names[0], "FS");
        world.set_letters("INBOX", &names[1], "ST");
        world.cloud.delete_message("", &other, Deletion::Purge).unwrap();
        wait_for("what was done on one side is done on the other", || {
            is_flagged(&world, &id) && world.is_in(&deleted, TRASH) && world.files_of("INBOX", &there).is_empty()
        });
        world.wait_until_same("INBOX", "Inbox");
    }
    assert_eq!(daemon.stop().status.code(), Some(0));
    for hours in [YEARS, 0, -YEARS, 0] {
        clock.set(hours);
        clock.sync(&world);
        assert_eq!(kept(&world, &gone), gone.len(), "what was deleted is gone for good with the clock {hours} h ahead");
        assert_eq!(offered(&world).len(), gone.len(), "with the clock {hours} h ahead");
    }
    let all = offered(&world);
    let restored = world.cms(&[&["restore"], &all.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
    assert!(restored.status.success(), "{}", restored.stderr);
    assert_eq!(world.files("INBOX").len(), 4 + 6 * 3);
    world.assert_lawful();
}

/// What a wrong clock has noted goes when its days are over, and not before; nor does what was there earlier.
#[test]
fn what_was_deleted_under_a_wrong_clock_is_kept_for_its_days_and_no_longer() {
    let world = World::with(Options { messages: 4, knobs: Knobs::calm(), ..Options::default() });
    let Some(clock) = Clock::new(&world) else {
        println!("skipped: needs faketime");
        return;
    };
    clock.sync(&world);
    let mut gone = Vec::new();
    for hours in [YEARS, -YEARS, 0] {
        let name = world.files("INBOX").remove(0);
        gone.push(blake3::hash(&fs::read(world.path("INBOX").join(&name)).unwrap()).to_hex().to_string());
        world.set_letters("INBOX", &name, "ST");
        clock.set(hours);
        clock.sync(&world);
        assert_eq!(kept(&world, &gone), gone.len());
    }
    // The half days that pass between the runs, the two jumps among them.
    let mut hours = 0;
    while hours < 13 * 24 {
        hours += 12;
        clock.set(hours);
        clock.sync(&world);
        assert_eq!(kept(&world, &gone[2..]), 1, "after {hours} h");
    }
    clock.set(hours + 12);
    clock.sync(&world);
    clock.set(hours + 25);
    clock.sync(&world);
    assert_eq!(kept(&world, &gone), 0, "the days are over");
    world.assert_lawful();
}

/// A clock that was years ahead when a message couldn't be downloaded, and is right again.
#[test]
fn a_clock_that_was_set_back_puts_nothing_off_for_years() {
    let world = World::with(Options { messages: 3, ..Options::default() });
    let bad =
        world.cloud.add_message("", NewMessage { unconvertible: true, ..NewMessage::generated("Inbox") }).unwrap();
    assert_eq!(world.cms(&["sync"]).status.code(), Some(1));
    world.cloud.set_flags("", &bad, FlagChange { unconvertible: Some(false), ..FlagChange::default() }).unwrap();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let years = 10 * 365 * 86_400;
    let mut state = Database::open(&world.path(".cms")).unwrap();
    let mut record = None;
    state.load_cloud(|found| record = Some(found).filter(|found| found.trouble.is_some()).or(record.take())).unwrap();
    let mut record = record.expect("the trouble is written down");
    record.retry_at = Some(UnixSeconds(now + years));
    state.apply(&[Change::PutCloud(record)]).unwrap();
    state.set_meta("store searched at", &(now + years).to_string()).unwrap();
    drop(state);
    world.sync();
    world.assert_same("INBOX", "Inbox");
    let searched = Database::open(&world.path(".cms")).unwrap().meta("store searched at").unwrap();
    assert!(searched.unwrap().parse::<i64>().unwrap() <= now + 600, "the store isn't searched for ten years");
    world.assert_lawful();
}

/// In the middle of whatever a running daemon asks for.
#[test]
fn a_network_that_goes_in_the_middle_of_a_request_costs_nothing() {
    let world = World::with(Options { messages: 12, knobs: Knobs::calm(), ..Options::default() });
    let subjects = ["one", "two", "three", "four", "five", "six"];
    let ids = subjects.map(|subject| world.receive_read("Inbox", subject));
    let daemon = world.daemon();
    world.wait_until_same("INBOX", "Inbox");
    let ways = [
        ("", Action::ResetBefore),
        ("", Action::ResetAfter),
        ("delta", Action::Truncate { after: 150 }),
        ("value", Action::Truncate { after: 60 }),
        ("batch", Action::ResetAfter),
        ("patch", Action::ResetAfter),
    ];
    for ((kind, action), (subject, id)) in ways.into_iter().zip(subjects.iter().zip(&ids)) {
        let rule = world.cloud.inject(Fault { count: Some(2), ..Fault::always(kind, action) });
        world.set_letters("INBOX", &world.file_of("INBOX", subject), "FS");
        world.receive("Inbox", &format!("while {subject}"));
        wait_for("it is flagged there", || is_flagged(&world, id));
        world.file_of("INBOX", &format!("while {subject}"));
        world.cloud.remove_fault(rule);
    }
    world.wait_until_same("INBOX", "Inbox");
    assert_eq!(world.there("Inbox").len(), 24);
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}
