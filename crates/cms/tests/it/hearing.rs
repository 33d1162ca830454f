//! Maildirs of whose changes the kernel tells nothing, or only what this machine does.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use simcloud::{FlagStatus, Knobs, Options};

use crate::kills::strace_works;
use crate::mail_program::TRASH;
use crate::world::{Running, World, wait_for};

const SUBJECTS: [&str; 3] = ["flagged", "removed", "trashed"];

fn world() -> (World, [String; 3]) {
    let world = World::with(Options { messages: 4, knobs: Knobs::calm(), ..Options::default() });
    let ids = SUBJECTS.map(|subject| world.receive_read("Inbox", subject));
    (world, ids)
}

/// What was done in the Maildir is done in the cloud, and the user was told once why that took a while.
fn converges(world: &World, ids: &[String; 3], daemon: Running, told: &str) {
    wait_for("what was done here is done there", || {
        world.message(&ids[0]).unwrap().flag == FlagStatus::Flagged
            && world.is_in(&ids[1], TRASH)
            && world.is_in(&ids[2], TRASH)
    });
    world.wait_until_same("INBOX", "Inbox");
    let finished = daemon.stop();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert_eq!(finished.stderr.matches(told).count(), 1, "{}", finished.stderr);
    world.assert_lawful();
}

/// A file system that takes a watch and never tells of anything.
#[test]
fn f31_a_maildir_of_which_nothing_is_told_is_listed_instead() {
    if !strace_works() {
        println!("skipped: needs strace");
        return;
    }
    let (world, ids) = world();
    let deaf = ["-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"];
    let deaf = [&deaf[..], &["-e", "trace=inotify_add_watch", "-e", "inject=inotify_add_watch:retval=1000"]].concat();
    let daemon = Running::of(world.command_under("strace", &deaf, &["run"]));
    daemon.wait_for_line("Both sides are the same");
    daemon.wait_for_line("nothing is told of changes in");
    assert!(fs::read_dir(world.path("INBOX/tmp")).unwrap().next().is_none(), "the trial leaves nothing behind");
    let names = SUBJECTS.map(|subject| world.file_of("INBOX", subject));
    world.set_letters("INBOX", &names[0], "FS");
    world.unlink("INBOX", &names[1]);
    world.set_letters("INBOX", &names[2], "ST");
    converges(&world, &ids, daemon, "nothing is told of changes in");
}

/// A directory of the computer's that is mounted at another place, where changes made in the first aren't told: what a
/// network's file system is like, of which another machine changes the files.
struct Mounted(PathBuf);

impl Mounted {
    fn new(directory: PathBuf, at: PathBuf) -> Option<Self> {
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir_all(&at).unwrap();
        let mut bindfs = Command::new("bindfs");
        bindfs.arg("--no-allow-other").args([directory, at.clone()]).stdout(Stdio::null()).stderr(Stdio::null());
        bindfs.status().is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("fusermount3").arg("-uz").arg(&self.0).status();
    }
}

#[test]
fn f31_what_other_machines_do_is_found_by_listing() {
    let (world, ids) = world();
    let Some(_mounted) = Mounted::new(world.path("server"), world.path("INBOX")) else {
        println!("skipped: needs bindfs, and FUSE");
        return;
    };
    let daemon = world.daemon();
    daemon.wait_for_line("is on FUSE");
    let names = SUBJECTS.map(|subject| world.file_of("INBOX", subject));
    world.set_letters("server", &names[0], "FS");
    world.unlink("server", &names[1]);
    world.set_letters("server", &names[2], "ST");
    converges(&world, &ids, daemon, "is on FUSE");
}
