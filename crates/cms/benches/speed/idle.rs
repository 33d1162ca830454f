//! A daemon with nothing to do.

use std::fs;
use std::process::{Command, Stdio};

use crate::Result;
use crate::process::{Running, wait_until};
use crate::report::{COUNT, Report};
use crate::world::World;

/// Polls that are looked at.
const POLLS: u64 = 5;

pub(crate) fn measure(world: &World, report: &mut Report) -> Result<()> {
    let plain = world.command("1s", "run")?;
    let trace = world.path("trace");
    let strace = Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let daemon = if strace {
        let mut traced = Command::new("strace");
        // With -D the program is the child, and strace goes when it does.
        traced
            .args(["-D", "-f", "-qq", "-e", "trace=getdents64", "-o"])
            .arg(&trace)
            .arg("--")
            .arg(plain.get_program())
            .args(plain.get_args());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => traced.env(name, value),
                None => traced.env_remove(name),
            };
        }
        traced.current_dir(world.path(""));
        Running::start(traced)?
    } else {
        report.note("That an idle poll lists no directory wasn't looked at: needs strace.");
        Running::start(plain)?
    };
    daemon.wait_for_line("Both sides are the same")?;
    let listings = || fs::read_to_string(&trace).map_or(0, |text| text.lines().count());
    let polls = || world.cloud.counters().requests.get("delta").copied().unwrap_or_default();
    // From one poll on, so that as many intervals as polls are looked at.
    world.cloud.reset_counters();
    wait_until("the daemon polls", || polls() > 0)?;
    world.cloud.reset_counters();
    let before = listings();
    wait_until("the daemon polls", || polls() >= POLLS)?;
    let polled = polls() as f64;
    let requests = world.cloud.counters().http_requests as f64;
    report.goal("idle: requests per poll and mailbox", requests / polled, COUNT, 1.0, 1.0);
    if strace {
        let listed = listings() - before;
        report.goal(format!("idle: directories read (getdents64) in {POLLS} polls"), listed as f64, COUNT, 0.0, 0.0);
    }
    daemon.stop()?;
    Ok(())
}
