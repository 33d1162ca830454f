//! When the cloud is asked what is new, and how often.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use simcloud::{Knobs, Options};

use crate::world::{Running, World, wait_for};

const HOURLY: &str = "MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\ncfg.poll_interval = 3600\n";

fn hourly() -> (World, Running) {
    let world = World::with(Options { messages: 5, knobs: Knobs::calm(), ..Options::default() });
    world.configure(HOURLY);
    let daemon = world.start(&["run", "-vv"]);
    daemon.wait_for_line("Both sides are the same");
    (world, daemon)
}

/// Adds a message and waits until it is here.
#[track_caller]
fn mail_comes(world: &World) {
    world.cloud.add_generated("", "Inbox", 1).unwrap();
    world.wait_until_same("INBOX", "Inbox");
}

#[test]
fn mail_comes_at_once_while_somebody_is_there_however_seldom_a_quiet_mailbox_is_polled() {
    let (world, daemon) = hourly();
    for _ in 0..3 {
        mail_comes(&world);
    }
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn all_mailboxes_of_an_account_are_polled_in_one_request() {
    let names = ["Inbox/a", "Inbox/b", "Inbox/c", "Inbox/d"];
    let folders = names.iter().map(|name| ((*name).to_owned(), 2)).collect();
    let world = World::with(Options { messages: 3, folders, knobs: Knobs::calm(), ..Options::default() });
    let mailboxes = names.map(|name| format!("Office365(\"{name}\", account)\n")).concat();
    world.configure(&format!("MailDir(\"INBOX\")\n{mailboxes}"));
    let daemon = world.daemon();
    world.cloud.reset_counters();
    wait_for("they were polled a few times", || world.asked("delta") >= 20);
    let requests = world.cloud.counters().requests;
    let count = |kind: &str| requests.get(kind).copied().unwrap_or_default();
    let (together, alone) = (count("batch-item:delta"), count("delta"));
    // On a busy machine one may come too late for the others.
    assert!(together >= 12 && alone <= together / 6, "{requests:?}");
    assert!(count("batch") <= together / 3, "{requests:?}");
    daemon.stop();
    world.assert_lawful();
}

#[test]
fn the_cloud_is_asked_at_once_when_the_user_says_so() {
    let (world, daemon) = hourly();
    daemon.signal(Signal::USR1);
    daemon.wait_for_line("Looking into the mailboxes at once: asked by SIGUSR1");
    mail_comes(&world);
    daemon.stop();
}

#[test]
fn a_new_folder_comes_at_once_when_the_user_says_so() {
    let world = World::with(Options { messages: 1, knobs: Knobs::calm(), ..Options::default() });
    world.configure("Office365_Tree(account, \"work\")\ncfg.poll_interval = 3600\n");
    let daemon = world.daemon();
    world.cloud.create_folder("", "Lists", false).unwrap();
    daemon.signal(Signal::USR1);
    wait_for("it has a Maildir", || world.path("work/Lists/cur").is_dir());
    daemon.stop();
}

#[test]
fn the_cloud_is_asked_at_once_when_somebody_looks_at_the_page() {
    let (world, daemon) = hourly();
    let told = daemon.stderr();
    let (_, rest) = told.split_once("The page is at http://localhost:").unwrap();
    let port: u16 = rest.lines().next().unwrap().trim().parse().unwrap();
    let mut page = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(page, "GET /events HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").unwrap();
    page.read_exact(&mut [0; 12]).unwrap();
    daemon.wait_for_line("Looking into the mailboxes at once: somebody looks at the page");
    mail_comes(&world);
    daemon.stop();
}

/// An address of this machine that goes when this does.
struct Address(&'static str);

impl Address {
    fn add(address: &'static str) -> Option<Self> {
        Self::ip("add", address).then_some(Self(address))
    }

    fn ip(what: &str, address: &str) -> bool {
        let done = Command::new("ip").args(["address", what, address, "dev", "lo"]).output();
        done.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        Self::ip("del", self.0);
    }
}

#[test]
fn the_cloud_is_asked_at_once_when_the_network_comes_up() {
    let (world, daemon) = hourly();
    let Some(_address) = Address::add("127.83.77.1/32") else {
        println!("skipped: needs ip and the right to give this machine an address");
        return;
    };
    daemon.wait_for_line("Looking into the mailboxes at once: the network has changed");
    mail_comes(&world);
    daemon.stop();
}

/// That a clock was set, as when a computer wakes, is told by a timer that this cancels. Nobody's clock is set here: the timer
/// runs out instead.
#[test]
fn f32_the_cloud_is_asked_at_once_when_the_clock_was_set() {
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 15;
    // As it lies in memory.
    let seconds = format!("{:016x}", u64::from_be_bytes(soon.to_ne_bytes()));
    let nothing = "00".repeat(8);
    let inject = format!("inject=timerfd_settime:poke_enter=@arg3={nothing}{nothing}{seconds}{nothing}:when=1");
    let world = World::with(Options { messages: 5, knobs: Knobs::calm(), ..Options::default() });
    world.configure(HOURLY);
    let trace = world.path("trace").display().to_string();
    let strace = ["-D", "-f", "--seccomp-bpf", "-qq", "-o", &trace, "-e", "trace=timerfd_settime", "-e", &inject];
    if !Command::new("strace").args(strace).arg("true").output().is_ok_and(|output| output.status.success()) {
        println!("skipped: needs strace that can change what a call is given");
        return;
    }
    let daemon = Running::of(world.command_under("strace", &strace, &["run", "-vv"]));
    daemon.wait_for_line("Both sides are the same");
    daemon.wait_for_line("Looking into the mailboxes at once: the clock was set, or this machine has slept");
    mail_comes(&world);
    daemon.stop();
    assert!(fs::read_to_string(trace).unwrap().contains("TFD_TIMER_CANCEL_ON_SET"));
}
