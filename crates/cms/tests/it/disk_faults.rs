//! A disk that refuses: single system calls fail, chosen by a seed, and afterwards nothing is lost and nothing doubled.
//!
//! `CMS_FAULT_SEED` chooses what fails and `CMS_DISK_FAULTS` how many runs are disturbed, 80 of its own accord. A failure
//! tells the seed of its world; that world alone is played again with
//!
//! ```text
//! CMS_FAULT_SEED=SEED CMS_DISK_FAULTS=1 cargo test -p cms --test it disk_faults::NAME
//! ```

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use simcloud::{Knobs, Options};

use crate::kills::strace_works;
use crate::ledger::{Ledger, PAIRS, finish, small_world};
use crate::seeds::{Random, Worlds};
use crate::world::{Running, World, wait};

/// Calls that change the disk or look at it, and how many of them a first sync of a small world makes at least.
const CALLS: [(&str, usize); 10] = [
    (WRITE, 30),
    ("linkat,link", 30),
    ("rename,renameat,renameat2", 30),
    ("fsync,syncfs", 12),
    ("fdatasync", 6),
    ("unlink,unlinkat", 30),
    ("symlink,symlinkat", 20),
    ("pwrite64", 60),
    ("mkdir,mkdirat", 12),
    ("openat", 250),
];

/// Writing the bytes of messages. Of all other files, which are few, this tells nothing: by the same call the program's parts
/// wake each other, which never fails.
pub(crate) const WRITE: &str = "write";

/// What strace is to be told besides, so that of such calls only those count that are meant.
pub(crate) fn paths_of(world: &World, calls: &str) -> Vec<String> {
    if calls != WRITE {
        return Vec::new();
    }
    let state = world.cloud.state("").unwrap();
    let part = |id: &str| world.path(format!(".cms/incoming/{}.part", blake3::hash(id.as_bytes()).to_hex()));
    state.messages().flat_map(|message| ["-P".to_owned(), part(&message.id).display().to_string()]).collect()
}

/// What a disk that is broken, full, read-only or somebody else's says.
const ERRORS: [&str; 5] = ["EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES"];

fn worlds(test: &str, percent: u64) -> Worlds<'_> {
    Worlds { test, what: "disturbed runs", count: "CMS_DISK_FAULTS", seed: "CMS_FAULT_SEED", deeds: 80, percent }
}

#[test]
fn single_syncs_that_are_refused_something() {
    if !strace_works() {
        println!("skipped: needs strace");
        return;
    }
    worlds("disk_faults::single_syncs_that_are_refused_something", 95).play(|random| {
        let (world, mut ledger) = small_world(random, 30);
        let mut disturbed = 0;
        for round in 0..3 {
            for _ in 0..4 {
                let (calls, most) = *random.pick(&CALLS);
                // What follows the first sync is small.
                let most = if round == 0 || calls == "openat" { most } else { most / 6 };
                let first = 1 + random.below(most);
                let last = first + random.pick(&[0, 0, 0, 2, 1000]);
                sync_with_fault(&world, calls, random.pick::<&str>(&ERRORS), first, last);
                disturbed += 1;
                ledger.note_loss(&world);
                ledger.change_there(&world, random, 3);
                ledger.change_here(&world, random, 3);
            }
            world.sync();
            ledger.converged(&world);
        }
        finish(&world, &mut ledger);
        disturbed
    });
}

/// That what is meant is what fails: without it, worlds in which writing fails would try nothing.
#[test]
fn a_message_whose_bytes_cannot_be_written_is_not_delivered_by_half() {
    if !strace_works() {
        println!("skipped: needs strace");
        return;
    }
    for (error, told) in [("EIO", "Input/output error"), ("ENOSPC", "the disk is full")] {
        let world = World::with(Options { messages: 3, knobs: Knobs::calm(), ..Options::default() });
        let inject = format!("inject={WRITE}:error={error}");
        let paths = paths_of(&world, WRITE);
        let mut strace = vec!["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=write", "-e", &inject];
        strace.extend(paths.iter().map(String::as_str));
        let finished = Running::of(world.command_under("strace", &strace, &["sync"])).finish();
        assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains(told), "{}", finished.stderr);
        assert_eq!(world.files("INBOX"), [""; 0]);
        world.sync();
        world.assert_same("INBOX", "Inbox");
        world.assert_lawful();
    }
}

#[test]
fn a_daemon_that_is_refused_something_for_a_while() {
    if !may_attach() {
        println!("skipped: needs strace that may attach to a process");
        return;
    }
    worlds("disk_faults::a_daemon_that_is_refused_something_for_a_while", 5).play(|random| {
        let (world, mut ledger) = small_world(random, 20);
        world.sync();
        ledger.converged(&world);
        let mut daemon = world.daemon();
        let mut disturbed = 0;
        for _ in 0..4 {
            // Of messages that are still to come nobody knows the files.
            let known_before: Vec<_> = CALLS.iter().filter(|(calls, _)| *calls != WRITE).collect();
            let (calls, _) = **random.pick(&known_before);
            let error = random.pick::<&str>(&ERRORS);
            println!("{calls}: {error}");
            let told = daemon.stderr().len();
            let mut tracer = Tracer::attach(&daemon, calls, error);
            disturb(&world, &mut ledger, random);
            let since = Instant::now();
            while since.elapsed() < Duration::from_secs(3) && daemon.is_running() {
                std::thread::sleep(Duration::from_millis(50));
            }
            tracer.detach();
            disturbed += 1;
            ledger.note_loss(&world);
            daemon = settle(&world, daemon, told, calls, error);
            ledger.converged(&world);
        }
        assert!(daemon.stop().status.success());
        finish(&world, &mut ledger);
        disturbed
    });
}

/// Changes on both sides.
fn disturb(world: &World, ledger: &mut Ledger, random: &mut Random) {
    ledger.change_there(world, random, 4);
    ledger.change_here(world, random, 4);
}

/// The disk works again: a daemon for which it was full goes on by itself. Where it had to give up, it has said why, and a
/// new one goes on.
fn settle(world: &World, mut daemon: Running, told: usize, calls: &str, error: &str) -> Running {
    let ended = !daemon.is_running();
    let text = daemon.stderr()[told..].to_owned();
    assert!(!text.contains("panicked"), "{text}");
    let daemon = if ended {
        assert!(!matches!(error, "ENOSPC" | "EDQUOT"), "a full disk ({calls}) ended the daemon:\n{text}");
        let finished = daemon.finish();
        assert_eq!(finished.status.code(), Some(1), "{calls} {error}: {text}");
        assert!(finished.stderr.contains("error: "), "{calls} {error}: {text}");
        println!("  ended: {}", finished.stderr.lines().rev().take(3).collect::<Vec<_>>().join(" / "));
        world.daemon()
    } else {
        daemon
    };
    let same = || PAIRS.iter().all(|(maildir, folder)| world.here(maildir) == world.there(folder));
    if !wait(&same) {
        let told = daemon.stderr();
        for (maildir, folder) in PAIRS {
            assert!(world.here(maildir) == world.there(folder), "{maildir} stays another:\n{told}");
        }
    }
    daemon
}

/// Runs one sync in which those calls fail, from the `first`th to the `last`th that one thread makes. It may fail, with
/// words.
fn sync_with_fault(world: &World, calls: &str, error: &str, first: usize, last: usize) {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error={error}:when={first}..{last}"));
    let paths = paths_of(world, calls);
    let mut strace = vec!["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    strace.extend(paths.iter().map(String::as_str));
    let finished = Running::of(world.command_under("strace", &strace, &["sync"])).finish();
    let what = format!("{calls} {error} {first}..{last}: {}\n{}", finished.status, finished.stderr);
    assert!(!finished.stderr.contains("panicked"), "{what}");
    match finished.status.code() {
        Some(0) => {}
        Some(1..=3) => {
            assert!(["error: ", "not downloaded: "].iter().any(|word| finished.stderr.contains(word)), "{what}");
        }
        // The system's own loader found no library.
        Some(127) if calls == "openat" => {}
        _ => panic!("{what}"),
    }
}

/// Whether strace is there and may attach to a process.
pub(crate) fn may_attach() -> bool {
    let Ok(mut sleep) = Command::new("sleep").arg("60").spawn() else { return false };
    let attached = Command::new("timeout")
        .args(["--signal=INT", "0.5", "strace", "-qq", "-o", "/dev/null", "-p"])
        .arg(sleep.id().to_string())
        .stderr(Stdio::piped())
        .output();
    let _ = sleep.kill();
    let _ = sleep.wait();
    attached.is_ok_and(|output| output.stderr.is_empty())
}

/// A strace that makes calls of a running program fail.
pub(crate) struct Tracer(Child);

impl Tracer {
    pub(crate) fn attach(daemon: &Running, calls: &str, error: &str) -> Self {
        let child = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:error={error}"), "-p", &daemon.id().to_string()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let status = format!("/proc/{}/status", daemon.id());
        let traced = || {
            std::fs::read_to_string(&status)
                .unwrap_or_default()
                .lines()
                .any(|line| line == format!("TracerPid:\t{}", child.id()))
        };
        crate::world::wait_for("the daemon is traced", traced);
        Self(child)
    }

    pub(crate) fn detach(&mut self) {
        let id = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::INT);
        let _ = self.0.wait();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
