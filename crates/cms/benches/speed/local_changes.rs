//! Changes of flags in the Maildir, on their way to the service.

use std::fs;
use std::time::Instant;

use simcloud::{FlagStatus, MessageState};

use crate::Result;
use crate::process::{median, wait_until};
use crate::report::{COUNT, Report};
use crate::world::World;

/// Changes made at once.
const MANY: usize = 1000;

/// Changes that a batch holds at most.
const BATCH: usize = 20;

/// Changes made one by one.
const SINGLE: usize = 20;

pub(crate) fn measure(world: &World, report: &mut Report) -> Result<()> {
    // Polls are not what is measured here.
    let daemon = world.daemon("1h")?;
    let many = MANY.min(world.messages);
    let ideal = many.div_ceil(BATCH) as f64;
    let requests = requests_for(world, 'S', many)?;
    report.goal(
        format!("{many} messages marked as read or unread: HTTP requests"),
        requests,
        COUNT,
        ideal,
        1.1 * ideal,
    );
    // Taking a flag back needs a look first: a finished task reads as not flagged, and must not be destroyed.
    let requests = requests_for(world, 'F', many)?;
    report.tell(format!("{many} messages flagged or no longer flagged: HTTP requests"), requests, COUNT, Some(ideal));

    let clock = world.service_clock()?;
    let mut delays = Vec::new();
    for name in world.files()?.iter().skip(many).take(SINGLE) {
        world.wait_for_silence()?;
        let since = world.cloud.requests(0).last().map_or(0, |request| request.number);
        let renamed = Instant::now();
        toggle(world, name, 'S')?;
        let arrived = || {
            world
                .cloud
                .requests(since)
                .iter()
                .find(|request| matches!(request.kind.as_str(), "patch" | "batch"))
                .map(|request| request.arrived_ms)
        };
        wait_until("the change arrives", || arrived().is_some())?;
        delays.push(arrived().ok_or("the request is gone from the log")? - clock(renamed));
    }
    let middle = median(&mut delays);
    let worst = delays.last().copied().unwrap_or_default();
    report.goal(format!("one flag change: on the wire after, median of {}", delays.len()), middle, "ms", 0.0, 200.0);
    report.goal("one flag change: on the wire after, worst", worst, "ms", 0.0, 200.0);
    daemon.stop()?;
    Ok(())
}

/// Turns a flag of many messages at once, and counts the requests that it takes until the service knows all of them.
fn requests_for(world: &World, flag: char, many: usize) -> Result<f64> {
    world.wait_for_silence()?;
    let before = with_flag(world, flag)?;
    world.cloud.reset_counters();
    let mut added = 0;
    for name in world.files()?.iter().take(many) {
        added += toggle(world, name, flag)?;
    }
    wait_until("all changes are there", || with_flag(world, flag).is_ok_and(|now| now == before + added))?;
    world.wait_for_silence()?;
    Ok(world.mail_requests() as f64)
}

/// Renames a file in `cur` so that a flag is the other way round. Returns 1 if it is set now, otherwise -1.
fn toggle(world: &World, name: &str, flag: char) -> Result<isize> {
    let (base, letters) = name.split_once(":2,").ok_or("a file in cur has no flags")?;
    let (flags, change) = if letters.contains(flag) {
        (letters.replace(flag, ""), -1)
    } else {
        let mut flags: Vec<char> = letters.chars().chain([flag]).collect();
        flags.sort_unstable();
        (flags.into_iter().collect(), 1)
    };
    let cur = world.path("INBOX/cur");
    fs::rename(cur.join(name), cur.join(format!("{base}:2,{flags}")))?;
    Ok(change)
}

/// How many messages have a flag at the service.
fn with_flag(world: &World, flag: char) -> Result<isize> {
    let state = world.state()?;
    let has = |message: &&MessageState| if flag == 'S' { message.is_read } else { message.flag == FlagStatus::Flagged };
    Ok(isize::try_from(state.messages().filter(has).count())?)
}
