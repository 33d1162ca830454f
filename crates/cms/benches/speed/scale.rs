//! Many messages in many folders, of which next to nothing changes.
//!
//! The state is written as a first sync would have left it, since one of a million messages takes hours: the listing comes
//! from the service, the files are empty. Neither a start nor an idle daemon opens them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cms_cloud::contract::{Changes, CloudAccount as _, Next, Seen};
use cms_cloud::office365::{Account, Options};
use cms_engine::{BaseName, CloudBytes, ContentHash, MailboxId, MaildirId, RowId};
use cms_maildir::{FileName, Maildir};
use cms_store::{Change, CloudRecord, Database, SyncedRecord};

use crate::Result;
use crate::plain::SignedIn;
use crate::process::{Running, wait_until};
use crate::report::{COUNT, Report};
use crate::start::find;
use crate::world::{World, folder_name};

/// How long the idle daemon is looked at.
const IDLE: Duration = Duration::from_secs(60);

/// The interval of its polls meanwhile.
const POLL: &str = "10s";

pub(crate) fn measure(messages: usize, folders: usize, report: &mut Report) -> Result<()> {
    let world = World::with_folders(messages, folders)?;
    write_state(&world)?;
    let what = format!("{messages} messages in {folders} folders");
    let ideal_batches = folders.div_ceil(20) as f64;

    let find = find(&world.path("mail"))?;
    // The first warms the caches up.
    world.sync()?.finish()?;
    world.cloud.reset_counters();
    let usage = world.sync()?.finish()?;
    report.tell(format!("{what}: start (ideal: find)"), usage.wall.as_secs_f64(), "s", Some(find));
    report.tell(format!("{what}: start, processor time"), usage.processor_seconds, "s", None);
    report.tell(format!("{what}: start, peak memory"), usage.peak_megabytes, "MB", None);
    let requests = world.mail_requests() as f64;
    report.tell(format!("{what}: start, requests for mail"), requests, COUNT, Some(ideal_batches));
    let database = fs::metadata(Database::path(&world.path("mail/.cms")))?.len() as f64;
    report.tell(format!("{what}: database per message"), database / messages as f64, "bytes", None);

    let daemon = world.daemon(POLL)?;
    sleep(Duration::from_secs(5));
    idle(&world, &daemon, &what, report)?;
    one_change(&world, &daemon, &what, report)?;
    daemon.stop()?;
    Ok(())
}

fn idle(world: &World, daemon: &Running, what: &str, report: &mut Report) -> Result<()> {
    let polls = || world.cloud.counters().requests.get("batch-item:delta").copied().unwrap_or_default();
    world.cloud.reset_counters();
    let before = daemon.processor_seconds()?;
    sleep(IDLE);
    let used = daemon.processor_seconds()? - before;
    let rounds = polls() as f64 / world.folders as f64;
    let requests = world.cloud.counters().http_requests as f64;
    let batches = world.folders.div_ceil(20) as f64;
    report.goal(format!("{what}: idle, memory"), daemon.resident_megabytes()?, "MB", 0.0, 150.0);
    report.goal(format!("{what}: idle, share of a processor"), used / IDLE.as_secs_f64(), COUNT, 0.0, 0.01);
    if rounds > 0.0 {
        report.tell(format!("{what}: idle, requests for a poll of all"), requests / rounds, COUNT, Some(batches));
    }
    // A Maildir, its `new` and its `cur`.
    let directories = 3.0 * world.folders as f64;
    let watches = daemon.watches()? as f64 / directories;
    report.tell(format!("{what}: idle, inotify watches per directory"), watches, COUNT, Some(1.0));
    Ok(())
}

/// One message is marked as read here.
fn one_change(world: &World, daemon: &Running, what: &str, report: &mut Report) -> Result<()> {
    let cur = world.path("mail/folder-1/cur");
    let unread = |name: &String| !name.rsplit(',').next().is_some_and(|letters| letters.contains('S'));
    let names = fs::read_dir(&cur)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let name = names.filter(unread).min().ok_or("no message is unread")?;
    world.wait_for_silence()?;
    world.cloud.reset_counters();
    let (cpu, written) = (daemon.processor_seconds()?, daemon.written()?);
    let since = world.cloud.requests(0).last().map_or(0, |request| request.number);
    let began = Instant::now();
    fs::rename(cur.join(&name), cur.join(format!("{name}S")))?;
    let is_change = |kind: &str| matches!(kind, "patch" | "batch-item:patch");
    wait_until("the change arrives", || world.cloud.requests(since).iter().any(|request| is_change(&request.kind)))?;
    report.tell(format!("{what}: one flag change, on the wire after"), began.elapsed().as_secs_f64() * 1e3, "ms", None);
    sleep(Duration::from_secs(2));
    let cpu = daemon.processor_seconds()? - cpu;
    report.tell(format!("{what}: one flag change, processor time"), cpu * 1e3, "ms", Some(0.0));
    let written = (daemon.written()? - written) as f64;
    report.tell(format!("{what}: one flag change, written"), written / 1e3, "kB", None);
    Ok(())
}

/// Writes what a first sync would have left.
fn write_state(world: &World) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let token = world.cloud.access_token("").map_err(|error| error.to_string())?;
    let options = Options { rate_limit: u32::MAX, page_size: 2000, ..Options::new(world.url().parse()?) };
    let account = Account::new(options, Arc::new(SignedIn::new(token)))?;
    fs::create_dir_all(world.path("mail/.cms"))?;
    let mut database = Database::open(&world.path("mail/.cms"))?;
    let mut next_row = 1;
    for number in 1..=world.folders {
        let name = folder_name(number);
        let path = world.path(&format!("mail/{name}"));
        Maildir::create(&path)?;
        let mailbox = database.mailbox_id("office365 user@domain.com", &name)?;
        let maildir = database.maildir_id(&path)?;
        let folder = runtime.block_on(account.open(&name))?.id;
        database.set_folder(mailbox, &folder.0)?;
        let mut cursor = None;
        loop {
            let Changes::Page(page) = runtime.block_on(account.changes(&folder, cursor.as_ref()))? else {
                return Err("the cursor is lost".into());
            };
            let mut changes = Vec::new();
            for seen in page.upserts {
                deliver(seen, (mailbox, maildir), &path, &mut next_row, &mut changes)?;
            }
            database.apply(&changes)?;
            match page.next {
                Next::More(next) => cursor = Some(next),
                Next::Complete { cursor, .. } => {
                    database.set_cursor(mailbox, Some(&cursor.0), true)?;
                    break;
                }
            }
        }
    }
    Ok(())
}

fn deliver(
    seen: Seen,
    (mailbox, maildir): (MailboxId, MaildirId),
    path: &Path,
    next_row: &mut u64,
    changes: &mut Vec<Change>,
) -> Result<()> {
    let received = seen.received.ok_or("a message has no time")?;
    let base_name = BaseName::for_message(received, &seen.id, "vm");
    let hash = ContentHash::of(seen.id.as_str().as_bytes());
    let file = path.join("cur").join(FileName::new(base_name.clone(), seen.flags, "").on_disk());
    let inode = fs::File::create_new(file)?.metadata()?.ino();
    changes.push(Change::PutCloud(CloudRecord {
        remote_id: seen.id.clone(),
        mailbox,
        flags: seen.flags,
        received,
        hash: Some(hash),
        revision: None,
        fetched_revision: None,
        trouble: None,
        retry_at: None,
        attempts: 0,
        size: None,
    }));
    changes.push(Change::PutSynced(SyncedRecord {
        row_id: RowId(*next_row),
        remote_id: Some(seen.id),
        mailbox,
        maildir,
        base_name,
        local_flags: seen.flags,
        cloud_flags: seen.flags,
        hash,
        cloud_bytes: CloudBytes::Same,
        inode,
        received,
        revision: None,
    }));
    *next_row += 1;
    Ok(())
}
