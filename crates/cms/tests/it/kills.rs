//! Kills (SIGKILL) at any moment: the next start goes on, nothing is lost, nothing is doubled, and what was stored isn't
//! downloaded again.
//!
//! `CMS_KILL_SEED` chooses the moments and `CMS_KILLS` how many kills there are, 300 of its own accord. A failure tells
//! the seed of its world; that world alone is played again with
//!
//! ```text
//! CMS_KILL_SEED=SEED CMS_KILLS=1 cargo test -p cms --test it kills::NAME
//! ```
//!
//! where `NAME` is the test that failed. Moments are counted in requests, in files and, where neither tells enough, in
//! milliseconds; with strace also in system calls.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use simcloud::{Action, Deletion, Fault, Knobs, NewMessage, Options};

use crate::disk_faults::{WRITE, paths_of};
use crate::ledger::{PAIRS, finish, small_world};
use crate::seeds::{Random, Worlds};
use crate::world::{PATIENCE, Running, World, wait_for};

#[test]
fn during_the_first_sync() {
    worlds("kills::during_the_first_sync", 35).play(|random| {
        let (world, mut ledger) = small_world(random, 50);
        let mut kills = 0;
        while kills < 14 {
            let command = if random.chance(50) { "sync" } else { "run" };
            let moment = Moment::random(random, 40, 60, 150);
            let killed = run_and_kill(&world, world.command(&[command]), moment, || {});
            ledger.note_kill(&world);
            if !killed {
                break;
            }
            kills += 1;
        }
        finish(&world, &mut ledger);
        kills
    });
}

#[test]
fn during_changes_and_a_single_sync() {
    worlds("kills::during_changes_and_a_single_sync", 30).play(|random| {
        let (world, mut ledger) = small_world(random, 30);
        world.sync();
        ledger.converged(&world);
        let mut length = 120;
        let mut kills = 0;
        for _round in 0..6 {
            for _ in 0..3 {
                ledger.change_there(&world, random, 3);
                ledger.change_here(&world, random, 3);
                let started = Instant::now();
                let moment = Moment::random(random, 25, 8, length);
                if run_and_kill(&world, world.command(&["sync"]), moment, || {}) {
                    kills += 1;
                } else {
                    length = milliseconds(started.elapsed());
                }
                ledger.note_kill(&world);
            }
            world.sync();
            ledger.converged(&world);
        }
        finish(&world, &mut ledger);
        kills
    });
}

#[test]
fn during_changes_and_the_daemon() {
    worlds("kills::during_changes_and_the_daemon", 35).play(|random| {
        let (world, mut ledger) = small_world(random, 30);
        world.sync();
        ledger.converged(&world);
        let mut kills = 0;
        for round in 0..6 {
            for _ in 0..3 {
                ledger.change_there(&world, random, 2);
                ledger.change_here(&world, random, 2);
                let moment = Moment::random(random, 25, 8, 400);
                let mut meanwhile = random.fork();
                run_and_kill(&world, world.command(&["run"]), moment, || {
                    if meanwhile.chance(2) {
                        ledger.change_there(&world, &mut meanwhile, 1);
                    }
                    if meanwhile.chance(2) {
                        ledger.change_here(&world, &mut meanwhile, 1);
                        ledger.remove_here(&world, &mut meanwhile);
                    }
                });
                kills += 1;
                ledger.note_kill(&world);
            }
            if round % 2 == 0 {
                world.sync();
            } else {
                let daemon = world.daemon();
                for (maildir, folder) in PAIRS {
                    world.wait_until_same(maildir, folder);
                }
                assert!(daemon.stop().status.success());
            }
            ledger.converged(&world);
        }
        finish(&world, &mut ledger);
        kills
    });
}

/// Calls after which the disk differs from what the database says, or the other way round; and how many of them the first
/// sync of a small world makes in one thread.
const CALLS: [(&str, usize); 7] = [
    (WRITE, 40),
    ("linkat,link", 40),
    ("rename,renameat,renameat2", 20),
    ("fsync,syncfs", 12),
    ("fdatasync", 3),
    ("unlink,unlinkat", 30),
    ("pwrite64", 60),
];

#[test]
fn at_system_calls() {
    if !strace_works() {
        println!("skipped: needs strace");
        return;
    }
    worlds("kills::at_system_calls", 15).play(|random| {
        let (world, mut ledger) = small_world(random, 30);
        let mut kills = 0;
        for round in 0..4 {
            for _ in 0..3 {
                let (calls, most) = *random.pick(&CALLS);
                // What follows the first sync is small.
                let count = 1 + random.below(if round == 0 { most } else { 3 });
                if trace_and_kill(&world, calls, count) {
                    kills += 1;
                }
                ledger.note_kill(&world);
                ledger.change_there(&world, random, 3);
                ledger.change_here(&world, random, 3);
            }
            world.sync();
            ledger.converged(&world);
        }
        finish(&world, &mut ledger);
        kills
    });
}

#[test]
fn an_earlier_version_of_a_draft_is_not_taken_for_the_present_one() {
    if !strace_works() {
        println!("skipped: needs strace");
        return;
    }
    let world = World::new(3);
    world.sync();
    let draft = NewMessage { is_draft: true, ..NewMessage::mime("Inbox", "Subject: draft\n\nfirst\n") };
    let id = world.cloud.add_message("", draft).unwrap();
    world.sync();
    // Killed when the second version is downloaded, but not written down.
    world.cloud.edit_draft("", &id, b"Subject: draft\n\nsecond\n").unwrap();
    let left = || fs::read_dir(world.path(".cms/incoming")).unwrap().count();
    let killed = (1..8).any(|count| trace_and_kill(&world, "rename,renameat,renameat2", count) && left() > 0);
    assert!(killed, "the download was never cut off");
    world.cloud.edit_draft("", &id, b"Subject: draft\n\nthird\n").unwrap();
    world.sync();
    world.assert_same("INBOX", "Inbox");
}

#[test]
fn a_version_of_a_draft_that_was_put_in_place_and_not_noted_goes_when_the_next_comes() {
    if !strace_works() {
        println!("skipped: needs strace");
        return;
    }
    // Killed before the earlier version's file is removed, and after that.
    for calls in ["unlink,unlinkat", "pwrite64"] {
        let mut cut_off = 0;
        for count in 1..40 {
            let world = World::new(2);
            world.sync();
            let draft = NewMessage { is_draft: true, ..NewMessage::mime("Inbox", "Subject: draft\n\nfirst\n") };
            let id = world.cloud.add_message("", draft).unwrap();
            world.sync();
            world.cloud.edit_draft("", &id, b"Subject: draft\n\nsecond\n").unwrap();
            if !trace_and_kill(&world, calls, count) {
                break;
            }
            let in_place = world.files_of("INBOX", "draft").iter().any(|name| {
                String::from_utf8_lossy(&fs::read(world.path("INBOX").join(name)).unwrap()).contains("second")
            });
            cut_off += u32::from(in_place);
            world.cloud.edit_draft("", &id, b"Subject: draft\n\nthird\n").unwrap();
            world.sync();
            world.assert_same("INBOX", "Inbox");
            assert_eq!(world.files("INBOX").len(), 3, "{calls} {count}: {:?}", world.files("INBOX"));
        }
        assert!(cut_off > 0, "{calls}: no kill came when the second version was in place");
    }
}

#[test]
fn mail_that_was_put_in_place_and_not_noted_goes_when_the_cloud_deletes_it() {
    if !strace_works() {
        println!("skipped: needs strace");
        return;
    }
    let mut cut_off = 0;
    for count in 1..20 {
        let world = World::new(3);
        if !trace_and_kill(&world, "fsync,syncfs", count) {
            break;
        }
        cut_off += world.files("INBOX").len();
        let ids: Vec<String> = world.cloud.state("").unwrap().messages().map(|message| message.id.clone()).collect();
        world.cloud.delete_message("", &ids[0], Deletion::Purge).unwrap();
        world.sync();
        world.assert_same("INBOX", "Inbox");
    }
    assert!(cut_off > 0, "no kill came when mail was in place");
}

#[test]
fn what_is_told_during_a_change_of_ours_is_not_forgotten() {
    let world = World::with(Options { messages: 3, knobs: Knobs::calm(), ..Options::default() });
    world.sync();
    let message = world.cloud.state("").unwrap().messages().find(|message| message.folder == "Inbox").unwrap().clone();
    let daemon = world.daemon();
    // Our own change hangs. Meanwhile somebody moves the same message away, and a poll tells of it.
    for kind in ["batch", "patch"] {
        world.cloud.inject(Fault::always(kind, Action::Hang));
    }
    let is_it = |name: &String| {
        blake3::hash(&fs::read(world.path("INBOX").join(name)).unwrap()).to_hex().as_str() == message.blake3_lf
    };
    let name = world.files("INBOX").into_iter().find(is_it).unwrap();
    let base = name.split_once('/').unwrap().1.split(':').next().unwrap();
    let letters = if message.is_read { "FRS" } else { "FR" };
    fs::rename(world.path("INBOX").join(&name), world.path(format!("INBOX/cur/{base}:2,{letters}"))).unwrap();
    wait_for("our change is under way", || world.cloud.faults().iter().any(|fault| fault.fired > 0));
    world.cloud.move_message("", &message.id, "Archive").unwrap();
    let polls = || world.cloud.counters().requests.get("delta").copied().unwrap_or_default();
    let before = polls();
    wait_for("the mailbox was polled", || polls() > before);
    // Time in which a program that goes on at once would write down that it has heard.
    std::thread::sleep(Duration::from_millis(200));
    daemon.kill();
    world.cloud.clear_faults();
    world.sync();
    world.assert_same("INBOX", "Inbox");
}

/// The worlds in which that share of all kills, in percent, is done.
fn worlds(test: &str, percent: u64) -> Worlds<'_> {
    Worlds { test, what: "kills", count: "CMS_KILLS", seed: "CMS_KILL_SEED", deeds: 300, percent }
}

/// When to kill.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// After so many further requests were answered.
    Requests(u64),
    /// When so many files more or fewer, or so many new names, are in the Maildirs.
    Files(usize),
    /// After so many milliseconds.
    Milliseconds(u64),
}

impl Moment {
    pub(crate) fn random(random: &mut Random, requests: usize, files: usize, milliseconds: u64) -> Self {
        match random.below(4) {
            0 | 1 => Self::Requests(1 + random.below(requests) as u64),
            2 => Self::Files(1 + random.below(files)),
            _ => Self::Milliseconds(1 + random.below(usize::try_from(milliseconds).unwrap()) as u64),
        }
    }
}

/// Starts the program and kills it at that moment, or soon after it has nothing left to do. Returns whether it was killed
/// before it ended by itself.
pub(crate) fn run_and_kill(world: &World, command: Command, moment: Moment, mut meanwhile: impl FnMut()) -> bool {
    let requests = world.cloud.counters().http_requests;
    let names = all_names(world);
    let mut running = Running::of(command);
    let started = Instant::now();
    let mut idle_since = None;
    loop {
        let reached = match moment {
            Moment::Requests(count) => world.cloud.counters().http_requests >= requests + count,
            Moment::Files(count) => {
                all_names(world).iter().filter(|name| names.binary_search(name).is_err()).count() >= count
            }
            Moment::Milliseconds(count) => started.elapsed() >= Duration::from_millis(count),
        };
        // A daemon to which that never happens is killed when it has been at rest for a moment.
        if idle_since.is_none() && running.stderr().contains("Both sides are the same") {
            idle_since = Some(Instant::now());
        }
        if reached || idle_since.is_some_and(|since| since.elapsed() > Duration::from_millis(150)) {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "neither the moment comes nor the end:\n{}", running.stderr());
        if !running.is_running() {
            let finished = running.finish();
            assert!(finished.status.success(), "{}\n{}", finished.status, finished.stderr);
            return false;
        }
        meanwhile();
        std::thread::sleep(Duration::from_micros(300));
    }
    let was_running = running.is_running();
    let finished = running.kill();
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    was_running
}

/// Runs one sync that is killed when it enters such a system call for the `count`th time in one thread. Returns whether
/// it came so far.
fn trace_and_kill(world: &World, calls: &str, count: usize) -> bool {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:signal=KILL:when={count}"));
    // Not with `--seccomp-bpf`: strace 6.1 then keeps the signal to itself.
    let paths = paths_of(world, calls);
    let mut strace = vec!["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    strace.extend(paths.iter().map(String::as_str));
    let command = world.command_under("strace", &strace, &["sync"]);
    let finished = Running::of(command).finish();
    let killed = std::os::unix::process::ExitStatusExt::signal(&finished.status) == Some(9);
    assert!(killed || finished.status.success(), "{calls} {count}: {}\n{}", finished.status, finished.stderr);
    killed
}

/// Whether strace is there and may trace.
pub(crate) fn strace_works() -> bool {
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=linkat",
        "-e",
        "inject=linkat:error=EIO",
        "true",
    ]);
    strace.output().is_ok_and(|output| output.status.success())
}

fn all_names(world: &World) -> Vec<String> {
    let mut names = Vec::new();
    for (maildir, _) in PAIRS {
        for place in ["new", "cur"] {
            let Ok(entries) = fs::read_dir(world.path(maildir).join(place)) else { continue };
            names.extend(
                entries
                    .filter_map(Result::ok)
                    .map(|entry| format!("{maildir}/{}", entry.file_name().to_string_lossy())),
            );
        }
    }
    names.sort_unstable();
    names
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

#[test]
fn what_a_killed_run_has_begun_in_tmp_is_ended_by_the_next_one_and_not_by_a_dry_run() {
    let world = World::with(Options { messages: 3, knobs: Knobs::calm(), ..Options::default() });
    world.configure("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\n");
    world.sync();
    let aside = world.path("INBOX/tmp/.cms-removed.cur.1.written:2,S");
    fs::write(&aside, "Subject: written\n\nx\n").unwrap();
    let trial = world.path("INBOX/tmp/.cms-watched");
    fs::write(&trial, "").unwrap();
    assert!(world.cms(&["plan"]).status.success());
    assert!(aside.exists() && trial.exists());
    world.sync();
    assert!(!trial.exists());
    assert!(!aside.exists() && world.path("INBOX/cur/1.written:2,S").exists());
}
