//! The first sync of a mailbox.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use cms_store::Database;

use crate::Result;
use crate::plain;
use crate::process::{PATIENCE, Usage};
use crate::report::{COUNT, Report};
use crate::world::World;

/// Requests that a mailbox serves at a time (Microsoft Graph throttling limits).
const CONNECTIONS: f64 = 4.0;

/// Requests that a batch holds (JSON batching documentation).
const BATCH: usize = 20;

/// Messages that the service lists in a page, however many are asked for.
const PAGE: usize = 500;

/// Requests that a mailbox takes in ten minutes (Microsoft Graph throttling limits).
const WINDOW_REQUESTS: usize = 10_000;

pub(crate) fn measure(world: &World, report: &mut Report) -> Result<()> {
    let usage = sync_all(world, PATIENCE)?;
    let counters = world.cloud.counters();
    let plain = plain::measure(world)?;
    let messages = world.messages as f64;
    let what = format!("first sync of {messages} messages at {} ms", world.latency_ms);
    let latency = f64::from(world.latency_ms) / 1000.0;
    // Nobody could have more in a batch or in a page than they hold; large messages come alone.
    let least = (world.messages.div_ceil(BATCH) + world.messages.div_ceil(PAGE)) as f64;
    report.goal(format!("{what}: requests"), counters.http_requests as f64, COUNT, least, 0.2 * messages);
    let wall = usage.wall.as_secs_f64();
    // The goal is half of what nobody could do better who asks for each message alone.
    let (ideal, goal) = (least * latency / CONNECTIONS, messages * latency / CONNECTIONS / 2.0);
    report.goal(format!("{what}: wall time"), wall, "s", ideal, goal);
    let plain_wall = plain.wall.as_secs_f64();
    report.tell(format!("{what}: a plain loop, told from {}", plain.measured), plain_wall, "s", None);
    report.goal(format!("{what}: part of a plain loop's time"), wall / plain_wall, COUNT, ideal / plain_wall, 0.25);
    report.goal(format!("{what}: 429 answers"), counters.throttled_by_client as f64, COUNT, 0.0, 0.0);
    report.goal(format!("{what}: peak memory"), usage.peak_megabytes, "MB", 0.0, 80.0);
    // The loop only downloads: it neither hashes nor flushes, and knows nothing afterwards.
    let per_10_000 = 10_000.0 / messages;
    let (processor, plain) = (usage.processor_seconds * per_10_000, plain.processor_seconds * per_10_000);
    report.tell(format!("{what}: processor per 10,000 (ideal: loop)"), processor, "s", Some(plain));
    written(world, &usage, &what, report)?;
    report.note(
        "The first sync is measured with a service that sets no limit of requests in ten minutes, and with \
         `rate_limit` in cms.cfg set accordingly: 10,000 messages and their listing are more than the 10,000 requests \
         that Microsoft Graph documents. `--only limit` measures what happens at that limit, with `--limited 100000` for over an hour and a half.",
    );
    Ok(())
}

/// A first sync, after which everything must be here.
fn sync_all(world: &World, patience: Duration) -> Result<Usage> {
    let usage = world.sync()?.finish_within(patience)?;
    let delivered = world.delivered()?;
    if delivered != world.messages {
        return Err(format!("{delivered} of {} messages were delivered", world.messages).into());
    }
    Ok(usage)
}

/// A mailbox larger than what may be asked for in ten minutes: each message is a request of that limit, and each page.
pub(crate) fn measure_documented_limit(messages: usize, report: &mut Report) -> Result<()> {
    let world = World::with_documented_limit(messages, 0)?;
    // Those of the last ten minutes may all be asked for at once.
    let requests = messages + messages.div_ceil(PAGE);
    let ideal = 600.0 * ((requests - 1) / WINDOW_REQUESTS) as f64;
    let usage = sync_all(&world, PATIENCE + Duration::from_secs_f64(ideal))?;
    let counters = world.cloud.counters();
    let what = format!("first sync of {messages} messages, {WINDOW_REQUESTS} requests in ten minutes");
    report.goal(format!("{what}: 429 answers"), counters.throttled_by_client as f64, COUNT, 0.0, 0.0);
    report.goal(format!("{what}: wall time"), usage.wall.as_secs_f64(), "s", ideal, ideal / 0.95);
    report.tell(format!("{what}: peak memory"), usage.peak_megabytes, "MB", None);
    Ok(())
}

/// What was written, beside the mail itself. The store adds no content to a Maildir: its files are the same ones.
fn written(world: &World, usage: &Usage, what: &str, report: &mut Report) -> Result<()> {
    let (mut bytes, mut blocks) = (0, 0);
    for place in ["INBOX/cur", "INBOX/new"] {
        for entry in fs::read_dir(world.path(place))? {
            let metadata = entry?.metadata()?;
            bytes += metadata.len();
            blocks += 512 * metadata.blocks();
        }
    }
    let mail = bytes as f64;
    report.goal(format!("{what}: bytes written per byte of mail"), usage.written as f64 / mail, COUNT, 1.0, 2.5);
    report.tell(format!("{what}: mail in whole blocks per byte of it"), blocks as f64 / mail, COUNT, Some(1.0));
    let database = fs::metadata(Database::path(&world.path(".cms")))?.len() as f64;
    report.tell(format!("{what}: database per byte of mail"), database / mail, COUNT, None);
    Ok(())
}
