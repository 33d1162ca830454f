//! Power cuts at any moment: what the kernel hadn't written to the disk by then is gone, and the next start goes on as if
//! it had never been.
//!
//! `CMS_POWER_SEED` chooses the moments and `CMS_POWER_CUTS` how many cuts there are, 45 of its own accord. A failure tells
//! the seed of its world; that world alone is played again with
//!
//! ```text
//! CMS_POWER_SEED=SEED CMS_POWER_CUTS=1 cargo test -p cms --test it power::NAME
//! ```
//!
//! The world lives on a disk of its own, a journalled ext4 ([`Disk`]). A kernel may write what it was given whenever it
//! likes; so that it isn't always all or nothing, it is made to write some of it just before the cut.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Command;

use simcloud::{FlagChange, FlagStatus, Knobs, Options};

use crate::disk::Disk;
use crate::kills::{Moment, run_and_kill, strace_works};
use crate::ledger::{Ledger, PAIRS, TWO_MAILBOXES, finish, unconfigured_world};
use crate::mail_program::letters;
use crate::namespace::is_inside;
use crate::seeds::{Random, Worlds};
use crate::world::{World, wait_for};

/// How ext4 is mounted: when it commits, and in which order it writes what.
const MOUNTS: [&str; 6] = [
    "commit=5",
    "commit=1",
    "commit=60",
    "commit=60,noauto_da_alloc",
    "commit=5,nodelalloc",
    "commit=5,data=writeback,noauto_da_alloc",
];

fn worlds(test: &str, percent: u64) -> Worlds<'_> {
    Worlds { test, what: "power cuts", count: "CMS_POWER_CUTS", seed: "CMS_POWER_SEED", deeds: 45, percent }
}

#[test]
fn f26_during_the_first_sync() {
    let test = "power::f26_during_the_first_sync";
    if !is_inside(test) {
        return;
    }
    worlds(test, 45).play(|random| {
        let Some((world, mut disk, mut ledger)) = world_on_a_disk(random, 50) else { return u64::MAX };
        let cuts = 7;
        for _ in 0..cuts {
            let command = if random.chance(50) { "sync" } else { "run" };
            let moment = Moment::random(random, 40, 60, 250);
            run_and_cut(&world, &mut disk, world.command(&[command]), moment, random);
            ledger.note_loss(&world);
        }
        finish(&world, &mut ledger);
        cuts
    });
}

#[test]
fn f26_during_changes_on_both_sides() {
    let test = "power::f26_during_changes_on_both_sides";
    if !is_inside(test) {
        return;
    }
    worlds(test, 55).play(|random| {
        let Some((world, mut disk, mut ledger)) = world_on_a_disk(random, 30) else { return u64::MAX };
        play_changes(&world, &mut disk, &mut ledger, random, |world, command| world.command(&[command]))
    });
}

/// What was done on both sides and written down isn't undone by halves: a row that is older than its file looks as if
/// somebody had changed the file, and that goes up again.
#[test]
fn f26_what_was_agreed_on_stays_agreed_on() {
    let test = "power::f26_what_was_agreed_on_stays_agreed_on";
    if !is_inside(test) {
        return;
    }
    let world = World::with(Options { messages: 3, knobs: Knobs::calm(), ..Options::default() });
    let Some(mut disk) = Disk::under(&world, "commit=60") else { return };
    world.configure("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\n");
    let [theirs, mine] = ["flagged there", "flagged here"].map(|subject| world.receive_read("Inbox", subject));
    world.sync();
    disk.flush();
    let flag = |id: &str, flag| {
        world.cloud.set_flags("", id, FlagChange { flag: Some(flag), ..FlagChange::default() }).unwrap();
    };
    let is_flagged = |id: &str| world.message(id).unwrap().flag == FlagStatus::Flagged;

    let daemon = world.daemon();
    flag(&theirs, FlagStatus::Flagged);
    wait_for("the flag is here", || letters(&world.file_of("INBOX", "flagged there")) == "FS");
    world.set_letters("INBOX", &world.file_of("INBOX", "flagged here"), "FS");
    disk.flush();
    wait_for("the flag is there", || is_flagged(&mine));
    // Rounds end only when all that came before is written down.
    world.let_polls_pass(2);
    daemon.kill();
    disk.cut_power();
    flag(&theirs, FlagStatus::NotFlagged);
    flag(&mine, FlagStatus::NotFlagged);
    world.sync();
    assert!(!is_flagged(&theirs) && !is_flagged(&mine), "what was taken back there is set again");
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

/// The test of the test: where the program's flushes of what it has downloaded do nothing, that is noticed.
#[test]
fn a_flush_that_does_nothing_is_noticed() {
    let test = "power::a_flush_that_does_nothing_is_noticed";
    if !strace_works() {
        println!("skipped: needs strace");
        return;
    }
    if !is_inside(test) {
        return;
    }
    for seed in 1..=8 {
        let mut random = Random::new(seed);
        let Some((world, mut disk, mut ledger)) = world_on_a_disk(&mut random, 30) else { return };
        let without_flush = |world: &World, command: &str| {
            let mut strace = vec!["-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"];
            strace.extend(["-e", "trace=syncfs", "-e", "inject=syncfs:retval=0"]);
            world.command_under("strace", &strace, &[command])
        };
        let played = catch_unwind(AssertUnwindSafe(|| {
            play_changes(&world, &mut disk, &mut ledger, &mut random, without_flush);
        }));
        if let Err(why) = played {
            let why = why.downcast_ref::<String>().unwrap();
            println!("noticed in world {seed}: {why}");
            assert!(why.contains("differ"), "that was something else");
            return;
        }
    }
    panic!("in eight worlds nobody noticed that nothing was flushed");
}

/// Changes on both sides, each time with a run that is cut off, and in the end one that isn't. Returns how many cuts there
/// were.
fn play_changes(
    world: &World,
    disk: &mut Disk,
    ledger: &mut Ledger,
    random: &mut Random,
    command: impl Fn(&World, &str) -> Command,
) -> u64 {
    world.sync();
    ledger.converged(world);
    let mut cuts = 0;
    for _round in 0..3 {
        for _ in 0..3 {
            disk.flush();
            ledger.change_there(world, random, 3);
            ledger.change_here(world, random, 3);
            // What people do is durable here. What is tried is what the program does.
            disk.flush();
            let name = if random.chance(50) { "sync" } else { "run" };
            let moment = Moment::random(random, 25, 8, 250);
            run_and_cut(world, disk, command(world, name), moment, random);
            cuts += 1;
            ledger.note_loss(world);
        }
        world.sync();
        ledger.converged(world);
    }
    finish(world, ledger);
    cuts
}

/// A world on a disk of its own. The disk must go first.
fn world_on_a_disk(random: &mut Random, least: usize) -> Option<(World, Disk, Ledger)> {
    let world = unconfigured_world(random, least);
    let disk = Disk::under(&world, random.pick::<&str>(&MOUNTS))?;
    world.configure(TWO_MAILBOXES);
    disk.flush();
    let ledger = Ledger::new(&world);
    Some((world, disk, ledger))
}

/// Starts the program, and at that moment or soon after its end cuts the power.
fn run_and_cut(world: &World, disk: &mut Disk, command: Command, moment: Moment, random: &mut Random) {
    run_and_kill(world, command, moment, || {});
    write_some(world, random);
    disk.cut_power();
}

/// Has the kernel write some of what it was given. What else goes along is the file system's affair: with a commit, all
/// names, but not the bytes of files that have no blocks yet.
fn write_some(world: &World, random: &mut Random) {
    let write = |path: PathBuf| {
        if let Ok(file) = fs::File::open(path) {
            file.sync_data().unwrap();
        }
    };
    match random.below(6) {
        0 => {}
        1 => {
            // A commit of the journal, as comes by itself every few seconds.
            let path = world.path("committed");
            let _ = fs::remove_file(&path);
            fs::write(&path, "").unwrap();
            fs::File::open(path).unwrap().sync_all().unwrap();
        }
        2 | 3 => write(world.path(".cms/state.sqlite-wal")),
        4 => write(world.path(".cms/state.sqlite")),
        _ => {
            for (maildir, _) in PAIRS {
                for name in world.files(maildir) {
                    if random.chance(20) {
                        write(world.path(maildir).join(name));
                    }
                }
            }
        }
    }
}
