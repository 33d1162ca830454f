//! The journal, and how a database from before it gets one.

use cms_engine::{Became, Because, FileKey, Flags, MailboxId, MaildirId, RowId, Sides, UnixSeconds};
use cms_store::{
    After, Change, Database, Deed, Ended, Heard, JournalEntry, JournalPart, JournalRecord, Standing, Wanted,
};
use tempfile::TempDir;

use crate::{cloud_record, synced_record};

fn standing(number: u32) -> Standing {
    Standing::from(&synced_record(number, MailboxId(1), MaildirId(1)))
}

pub(crate) fn entry(at: i64) -> JournalEntry {
    JournalEntry {
        at: UnixSeconds(at),
        age: UnixSeconds(at),
        deed: Deed::Delivered,
        wanted: Wanted::Cloud,
        because: Because { here: Became::Absent, there: Became::New },
        heard: Heard::Listing,
        heard_at: None,
        undo: None,
        row: Some(RowId(1)),
        before: None,
        after: After::AsItsRow(Sides { local: Flags::SEEN, cloud: Flags::SEEN }),
        request: None,
        request_id: None,
        status: None,
        answer: None,
        ended: Ended::Done,
    }
}

fn write(database: &mut Database, entries: &[JournalEntry]) {
    let changes: Vec<Change> = entries.iter().cloned().map(Change::journal).collect();
    database.apply(&changes).unwrap();
}

fn read(database: &Database, part: JournalPart) -> Vec<JournalRecord> {
    let mut records = Vec::new();
    database.journal(part, |record| records.push(record)).unwrap();
    records
}

#[test]
fn entries_come_back_as_they_went() {
    let directory = TempDir::new().unwrap();
    let mut database = Database::open(directory.path()).unwrap();
    let moved = Standing { file: FileKey::new(MaildirId(2), standing(1).file.base_name), ..standing(1) };
    let local_only = Standing { remote: None, mailbox: None, ..standing(2) };
    let entries = [
        entry(100),
        JournalEntry {
            deed: Deed::FlaggedThere,
            wanted: Wanted::Local,
            because: Because { here: Became::Flags, there: Became::Unchanged },
            heard: Heard::Watch,
            heard_at: Some(UnixSeconds(99)),
            before: Some(standing(1)),
            after: After::As(Standing { flags: Sides { local: Flags::ALL, cloud: Flags::SEEN }, ..standing(1) }),
            request: Some("PATCH /me/messages/{id}".to_owned()),
            request_id: Some("e1f0c0de-0000-4000-8000-000000000001".to_owned()),
            status: Some(403),
            answer: Some("the cloud refuses".to_owned()),
            ended: Ended::Refused,
            ..entry(101)
        },
        JournalEntry { deed: Deed::MovedHere, before: Some(standing(1)), after: After::As(moved), ..entry(102) },
        JournalEntry {
            deed: Deed::RemovedHere,
            wanted: Wanted::Undo,
            undo: Some(7),
            before: Some(standing(3)),
            after: After::Nothing,
            ..entry(103)
        },
        JournalEntry { deed: Deed::RestoredHere, row: None, after: After::As(local_only), ..entry(104) },
    ];
    write(&mut database, &entries);
    let records = read(&database, JournalPart::Since(UnixSeconds(0)));
    assert_eq!(records.iter().map(|record| record.entry.clone()).collect::<Vec<_>>(), entries);
    assert_eq!(records.iter().map(|record| record.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(read(&database, JournalPart::Newest(2)), records[3..]);
    assert_eq!(read(&database, JournalPart::Since(UnixSeconds(103))), records[3..]);
    assert_eq!(database.next_undo().unwrap(), 8);
}

#[test]
fn every_code_is_read_back_as_what_was_written() {
    let directory = TempDir::new().unwrap();
    let mut database = Database::open(directory.path()).unwrap();
    let deeds = [
        Deed::Delivered,
        Deed::Returned,
        Deed::Replaced,
        Deed::FlaggedHere,
        Deed::MovedHere,
        Deed::RemovedHere,
        Deed::LeftoverRemoved,
        Deed::FlaggedThere,
        Deed::MovedThere,
        Deed::DeletedThere,
        Deed::Agreed,
        Deed::Forgotten,
        Deed::RestoredHere,
        Deed::RestoredThere,
        Deed::FoundEdited,
        Deed::Uploaded,
        Deed::UpdatedThere,
    ];
    let entries: Vec<JournalEntry> = deeds.into_iter().map(|deed| JournalEntry { deed, ..entry(1) }).collect();
    write(&mut database, &entries);
    let found: Vec<Deed> = read(&database, JournalPart::Newest(99)).iter().map(|record| record.entry.deed).collect();
    assert_eq!(found, deeds);
}

#[test]
fn old_entries_go_in_bounded_steps_and_numbers_are_never_given_twice() {
    let directory = TempDir::new().unwrap();
    let mut database = Database::open(directory.path()).unwrap();
    write(&mut database, &(0..10).map(entry).collect::<Vec<_>>());
    assert_eq!(database.prune_journal(UnixSeconds(8), 5).unwrap(), 5);
    assert_eq!(database.prune_journal(UnixSeconds(8), 5).unwrap(), 3);
    assert_eq!(database.prune_journal(UnixSeconds(8), 5).unwrap(), 0);
    assert_eq!(database.prune_journal(UnixSeconds(i64::MAX), 5).unwrap(), 1, "the newest one stays");
    write(&mut database, &[entry(20)]);
    let numbers: Vec<u64> = read(&database, JournalPart::Newest(9)).iter().map(|record| record.number).collect();
    assert_eq!(numbers, [10, 11]);
}

#[test]
fn an_entry_and_the_row_that_it_tells_of_are_written_together_or_not_at_all() {
    let directory = TempDir::new().unwrap();
    let mut database = Database::open(directory.path()).unwrap();
    let mailbox = database.mailbox_id("user", "inbox").unwrap();
    let maildir = database.maildir_id(std::path::Path::new("/m")).unwrap();
    let row = synced_record(1, mailbox, maildir);
    let clash = cms_store::SyncedRecord { row_id: RowId(99), ..row.clone() };
    let refused = database.apply(&[
        Change::PutSynced(row),
        Change::journal(entry(1)),
        Change::PutSynced(clash),
        Change::journal(entry(2)),
    ]);
    assert!(refused.is_err());
    assert_eq!(read(&database, JournalPart::Newest(9)), []);
}

/// A database as version 1 of the schema made it.
fn of_version_1(directory: &TempDir) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(Database::path(directory.path())).unwrap();
    connection.execute_batch(include_str!("../../src/database/schema_1.sql")).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection
        .execute_batch(
            "INSERT INTO mailboxes (account, name, folder, cursor, complete) VALUES ('user', 'inbox', 'f', 'c', 1);
             INSERT INTO maildirs (path) VALUES (CAST('/m' AS BLOB));
             INSERT INTO cloud VALUES ('AAMk1', 1, 16, 5, zeroblob(32), NULL, NULL, NULL, NULL, 0);
             INSERT INTO synced VALUES (41, 'AAMk1', 1, 1, '5.R1.host', 16, 16, zeroblob(32), 77, 5, NULL);
             INSERT INTO released VALUES (zeroblob(32), 9);",
        )
        .unwrap();
    connection
}

#[test]
fn a_database_from_before_the_journal_keeps_all_that_it_holds_and_gets_one() {
    let directory = TempDir::new().unwrap();
    drop(of_version_1(&directory));
    let mut database = Database::open(directory.path()).unwrap();
    assert!(!database.is_new());
    assert_eq!(database.tree_sizes().unwrap(), (1, 1));
    assert_eq!(database.next_row_id().unwrap(), RowId(42));
    assert_eq!(database.released().unwrap().len(), 1);
    assert_eq!(database.mailboxes().unwrap()[0].cursor.as_deref(), Some("c"));
    write(&mut database, &[entry(1)]);
    database.apply(&[Change::PutCloud(cloud_record(1, MailboxId(1)))]).unwrap();
    drop(database);
    let database = Database::open(directory.path()).unwrap();
    assert_eq!(read(&database, JournalPart::Newest(9)).len(), 1);
    assert_eq!(database.tree_sizes().unwrap(), (2, 1));
}

#[test]
fn entries_from_before_their_age_and_their_requests_were_noted_are_read_and_go_by_their_time() {
    let directory = TempDir::new().unwrap();
    let old = of_version_1(&directory);
    old.execute_batch(include_str!("../../src/database/schema_2.sql")).unwrap();
    old.execute_batch(include_str!("../../src/database/schema_3.sql")).unwrap();
    old.execute_batch(include_str!("../../src/database/schema_4.sql")).unwrap();
    old.pragma_update(None, "user_version", 4).unwrap();
    for at in [7, 8] {
        let sql =
            "INSERT INTO journal (at, deed, wanted, here, there, heard, request) VALUES (?1, 7, 1, 3, 2, 4, 'PATCH')";
        old.execute(sql, [at]).unwrap();
    }
    drop(old);
    let told = |database: &Database| {
        let records = read(database, JournalPart::Newest(9));
        let of = |entry: JournalEntry| (entry.at.0, entry.age.0, entry.request, entry.request_id, entry.status);
        records.into_iter().map(|record| of(record.entry)).collect::<Vec<_>>()
    };
    let entry_at = |at| (at, at, Some("PATCH".to_owned()), None, None);
    let reader = Database::open_read_only(directory.path()).unwrap().unwrap();
    assert_eq!(told(&reader), [entry_at(7), entry_at(8)]);
    drop(reader);
    let mut database = Database::open(directory.path()).unwrap();
    assert_eq!(told(&database), [entry_at(7), entry_at(8)]);
    // A clock that is wrong has written it long ago, or long from now.
    write(&mut database, &[JournalEntry { age: UnixSeconds(9), ..entry(1) }, entry(10)]);
    assert_eq!(database.prune_journal(UnixSeconds(8), 5).unwrap(), 1);
    assert_eq!(told(&database).iter().map(|told| told.0).collect::<Vec<_>>(), [8, 1, 10]);
}

#[test]
fn reading_beside_a_writer_changes_nothing_not_even_an_old_version() {
    let directory = TempDir::new().unwrap();
    assert!(Database::open_read_only(directory.path()).unwrap().is_none(), "there is none");
    assert!(!Database::path(directory.path()).exists(), "and none is made");
    let writer = of_version_1(&directory);
    let mut reader = Database::open_read_only(directory.path()).unwrap().unwrap();
    assert_eq!(read(&reader, JournalPart::Newest(9)), []);
    assert_eq!(reader.next_undo().unwrap(), 1);
    assert_eq!(reader.tree_sizes().unwrap(), (1, 1));
    assert!(reader.set_meta("a", "b").is_err());
    let version: u32 = writer.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 1);
    drop(writer);
    let mut writer = Database::open(directory.path()).unwrap();
    let reader = Database::open_read_only(directory.path()).unwrap().unwrap();
    write(&mut writer, &[entry(1)]);
    assert_eq!(read(&reader, JournalPart::Newest(9)).len(), 1);
}
