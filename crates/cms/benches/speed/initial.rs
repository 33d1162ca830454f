//! The first sync of a mailbox.

use crate::Result;
use crate::plain;
use crate::report::{COUNT, Report};
use crate::world::World;

/// Requests that a mailbox serves at a time (Microsoft Graph throttling limits).
const CONNECTIONS: f64 = 4.0;

/// Requests that a batch holds (JSON batching documentation).
const BATCH: f64 = 20.0;

pub(crate) fn measure(world: &World, report: &mut Report) -> Result<()> {
    let messages = world.messages as f64;
    let usage = world.sync()?.finish()?;
    let delivered = world.delivered()?;
    if delivered != world.messages {
        return Err(format!("{delivered} of {messages} messages were delivered").into());
    }
    let counters = world.cloud.counters();
    let downloaded = bytes_in(world)?;
    let what = format!("first sync of {messages} messages at {} ms", world.latency_ms);
    let alone = messages * f64::from(world.latency_ms) / 1000.0 / CONNECTIONS;
    let wall = usage.wall.as_secs_f64();
    let requests = counters.http_requests as f64;
    // Nobody could have more in a batch than it holds; large messages come alone.
    report.goal(format!("{what}: requests per message"), requests / messages, COUNT, 1.0 / BATCH, 0.2);
    // Half of what nobody could do better who asks for each message alone.
    report.goal(format!("{what}: wall time"), wall, "s", alone / BATCH, alone / 2.0);
    let plain = plain::time_of_loop(world)?.as_secs_f64();
    report.tell(format!("{what}: wall time of a plain loop, told from some"), plain, "s", None);
    report.goal(format!("{what}: part of a plain loop's time"), wall / plain, COUNT, 1.0 / CONNECTIONS / BATCH, 0.25);
    report.goal(format!("{what}: 429 answers"), counters.throttled_by_client as f64, COUNT, 0.0, 0.0);
    report.goal(format!("{what}: peak memory"), usage.peak_megabytes(), "MB", 0.0, 80.0);
    report.tell(format!("{what}: processor time"), usage.processor_seconds, "s", None);
    report.tell(format!("{what}: bytes written per byte of mail"), usage.written as f64 / downloaded, COUNT, Some(1.0));
    report.note(
        "The first sync is measured with a service that sets no limit of requests in ten minutes, and with \
         `rate_limit` in cms.cfg set accordingly: 10,000 messages and their listing are more than the 10,000 requests \
         that Microsoft Graph documents. `--only limit` measures what happens at that limit; it takes over ten minutes.",
    );
    Ok(())
}

/// A mailbox just larger than what may be asked for in ten minutes.
pub(crate) fn measure_documented_limit(report: &mut Report) -> Result<()> {
    let world = World::with_documented_limit(10_100, 0)?;
    let usage = world.sync()?.finish()?;
    let counters = world.cloud.counters();
    let what = format!("first sync of {} messages, 10,000 requests in ten minutes", world.messages);
    report.goal(format!("{what}: 429 answers"), counters.throttled_by_client as f64, COUNT, 0.0, 0.0);
    report.goal(format!("{what}: wall time"), usage.wall.as_secs_f64(), "s", 600.0, 1.15 * 600.0);
    Ok(())
}

/// Bytes of all message files.
fn bytes_in(world: &World) -> Result<f64> {
    let mut sum = 0;
    for place in ["INBOX/cur", "INBOX/new"] {
        for entry in std::fs::read_dir(world.path(place))? {
            sum += entry?.metadata()?.len();
        }
    }
    Ok(sum as f64)
}
