//! Times for people to read: `cargo test --release -p cms-store -- --ignored --nocapture measure`.

use std::path::Path;
use std::time::{Duration, Instant};

use cms_engine::RowId;
use cms_store::{Change, Database, JournalEntry};
use tempfile::TempDir;

use crate::{Fixture, cloud_record, id, journal, synced_record};

#[test]
#[ignore = "measures, doesn't test"]
fn measure_100_000_rows() {
    let directory = TempDir::new().unwrap();
    let mut database = Database::open(directory.path()).unwrap();
    let mailbox = database.mailbox_id("user", "inbox").unwrap();
    let maildir = database.maildir_id(Path::new("/home/user/mail/INBOX")).unwrap();
    let start = Instant::now();
    for from in (0..100_000).step_by(1000) {
        let numbers = from..from + 1000;
        let cloud = numbers.clone().map(|number| Change::PutCloud(cloud_record(number, mailbox)));
        let synced = numbers.map(|number| Change::PutSynced(synced_record(number, mailbox, maildir)));
        database.apply(&cloud.chain(synced).collect::<Vec<_>>()).unwrap();
    }
    println!("write: {:?} for 200,000 rows in 100 batches", start.elapsed());
    drop(database);
    for _ in 0..3 {
        let start = Instant::now();
        let database = Database::open(directory.path()).unwrap();
        println!("open: {:?}", start.elapsed());
        let (start, mut rows) = (Instant::now(), Vec::new());
        database.load_cloud(|row| rows.push(row)).unwrap();
        println!("load_cloud: {:?} for {} rows", start.elapsed(), rows.len());
        let (start, mut rows) = (Instant::now(), Vec::new());
        database.load_synced(|row| rows.push(row)).unwrap();
        println!("load_synced: {:?} for {} rows", start.elapsed(), rows.len());
    }
}

/// What the journal adds to a first sync: one entry for each delivery.
#[test]
#[ignore = "measures, doesn't test"]
#[allow(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]
fn measure_100_000_deliveries_with_and_without_a_journal() {
    let mut before = (Duration::ZERO, 0);
    for with_journal in [false, true] {
        let directory = TempDir::new().unwrap();
        let mut database = Database::open(directory.path()).unwrap();
        let mailbox = database.mailbox_id("user", "inbox").unwrap();
        let maildir = database.maildir_id(Path::new("/home/user/mail/INBOX")).unwrap();
        let start = Instant::now();
        for from in (0..100_000).step_by(100) {
            let mut changes = Vec::new();
            for number in from..from + 100 {
                changes.push(Change::PutCloud(cloud_record(number, mailbox)));
                changes.push(Change::PutSynced(synced_record(number, mailbox, maildir)));
                if with_journal {
                    let row = Some(RowId(u64::from(number) + 1));
                    changes.push(Change::journal(JournalEntry { row, ..journal::entry(1_700_000_000) }));
                }
            }
            database.apply(&changes).unwrap();
        }
        let took = start.elapsed();
        drop(database);
        let bytes = std::fs::metadata(Database::path(directory.path())).unwrap().len();
        println!("journal {with_journal}: {took:?}, {bytes} bytes");
        if with_journal {
            let (base, base_bytes) = before;
            println!(
                "for each delivery: {:.1} µs, {:.1} bytes",
                (took.as_secs_f64() - base.as_secs_f64()) * 10.0,
                (bytes - base_bytes) as f64 / 100_000.0
            );
        }
        before = (took, bytes);
    }
}

#[test]
#[ignore = "measures, doesn't test"]
fn measure_1_000_downloads() {
    let fixture = Fixture::new();
    let body = "a line of text of common length, with its line end\r\n".repeat(640);
    for flush_each in [true, false] {
        let start = Instant::now();
        for number in 0..1000 {
            let mut incoming = fixture.store.incoming(&id(&number.to_string())).unwrap();
            incoming.write(format!("Subject: {number} {flush_each}\r\n\r\n{body}").as_bytes()).unwrap();
            if flush_each {
                incoming.finish().unwrap()
            } else {
                incoming.finish_unflushed().unwrap()
            };
        }
        fixture.store.flush().unwrap();
        println!("store, each flushed {flush_each}: {:?} for 1,000 messages of {} bytes", start.elapsed(), body.len());
    }
}
