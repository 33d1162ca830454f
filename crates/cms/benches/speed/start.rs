//! A start with nothing to do.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Result;
use crate::process::median;
use crate::report::{COUNT, Report};
use crate::world::World;

/// Starts that are measured.
const STARTS: usize = 5;

pub(crate) fn measure(messages: usize, report: &mut Report) -> Result<()> {
    // Small bodies: neither a start nor `find` opens the files.
    let world = World::new(messages, 0.02, 0)?;
    let first = world.sync()?.finish()?;
    if world.delivered()? != messages {
        return Err("not all messages were delivered".into());
    }
    let what = format!("first sync of {messages} small messages at 0 ms");
    report.tell(format!("{what}: wall time"), first.wall.as_secs_f64(), "s", None);
    report.tell(format!("{what}: peak memory"), first.peak_megabytes, "MB", None);

    let (mut starts, mut finds) = (Vec::new(), Vec::new());
    let (mut memory, mut requests, mut processor) = (0.0_f64, 0, Vec::new());
    // The first of each warms the caches up.
    for round in 0..=STARTS {
        world.cloud.reset_counters();
        let usage = world.sync()?.finish()?;
        let found = find(&world.path("INBOX"))?;
        if round > 0 {
            starts.push(usage.wall.as_secs_f64());
            processor.push(usage.processor_seconds);
            finds.push(found);
            memory = memory.max(usage.peak_megabytes);
            requests = requests.max(world.mail_requests());
        }
    }
    let find = median(&mut finds);
    let what = format!("start with {messages} messages");
    report.goal(format!("{what}: requests for mail per mailbox"), requests as f64, COUNT, 1.0, 2.0);
    report.goal(format!("{what}: time (ideal: find), median"), median(&mut starts), "s", find, 2.0 * find + 0.5);
    report.goal(format!("{what}: peak memory"), memory, "MB", 0.0, 200.0);
    report.tell(format!("{what}: processor time, median"), median(&mut processor), "s", None);
    Ok(())
}

/// How long it takes to list a directory with each file's size and time.
pub(crate) fn find(directory: &Path) -> Result<f64> {
    let mut command = Command::new("find");
    command.arg(directory).args(["-printf", "%f %s %T@\n"]);
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).status().map_err(|error| format!("needs find: {error}"))?;
    if status.success() { Ok(began.elapsed().as_secs_f64()) } else { Err(format!("find: {status}").into()) }
}
