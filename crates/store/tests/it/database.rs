use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cms_engine::{
    BaseName, ContentHash, FileKey, Flags, MailboxId, MaildirId, RemoteId, RowId, Side, UnixSeconds, Word,
};
use cms_store::{
    Asked, AskedRecord, Change, CloudRecord, Database, DeletedNote, MailboxRecord, ReportedNote, StoreError,
    SyncedRecord,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::{cloud_record, id, synced_record};

fn open(directory: &TempDir) -> (Database, MailboxId, MaildirId) {
    let mut database = Database::open(directory.path()).unwrap();
    let mailbox = database.mailbox_id("user@example.org", "inbox").unwrap();
    let maildir = database.maildir_id(Path::new("/home/user/mail/INBOX")).unwrap();
    (database, mailbox, maildir)
}

fn cloud(database: &Database) -> Vec<CloudRecord> {
    let mut records = Vec::new();
    database.load_cloud(|record| records.push(record)).unwrap();
    records
}

fn synced(database: &Database) -> Vec<SyncedRecord> {
    let mut records = Vec::new();
    database.load_synced(|record| records.push(record)).unwrap();
    records
}

#[test]
fn rows_come_back_as_they_went_after_reopening() {
    let directory = TempDir::new().unwrap();
    let (mut database, mailbox, maildir) = open(&directory);
    assert!(database.is_new());
    let cloud_rows: Vec<_> = (0..211).map(|number| cloud_record(number, mailbox)).collect();
    let synced_rows: Vec<_> = (0..211).map(|number| synced_record(number, mailbox, maildir)).collect();
    let mut changes: Vec<Change> = cloud_rows.iter().cloned().map(Change::PutCloud).collect();
    changes.extend(synced_rows.iter().cloned().map(Change::PutSynced));
    database.apply(&changes).unwrap();
    drop(database);

    let (database, ..) = open(&directory);
    assert!(!database.is_new());
    assert_eq!(cloud(&database), cloud_rows);
    assert_eq!(synced(&database), synced_rows);
    let mode = std::fs::metadata(Database::path(directory.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn deletions_and_words_come_back_as_they_went_and_are_forgotten() {
    let directory = TempDir::new().unwrap();
    let (mut database, mailbox, _) = open(&directory);
    let note = |row, side, at| DeletedNote { row: RowId(row), side, mailbox, at: UnixSeconds(at) };
    let notes = [note(7, Side::Cloud, 10), note(7, Side::Local, 20), note(8, Side::Local, 30)];
    let mut changes: Vec<Change> = notes.iter().copied().map(Change::Deleted).collect();
    // What was begun is begun once.
    changes.push(Change::Deleted(note(7, Side::Cloud, 99)));
    for (row, word) in [(1, Word::Keep), (2, Word::Delete), (1, Word::Delete), (3, Word::Keep)] {
        changes.push(Change::SetWord { row: RowId(row), word: Some(word) });
    }
    changes.push(Change::SetWord { row: RowId(2), word: None });
    database.apply(&changes).unwrap();
    drop(database);

    let (mut database, ..) = open(&directory);
    assert_eq!(database.deleted().unwrap(), notes);
    assert_eq!(database.words().unwrap(), [(RowId(1), Word::Delete), (RowId(3), Word::Keep)]);
    database.apply(&[Change::ForgetDeleted { row: RowId(7), side: Side::Local }]).unwrap();
    assert_eq!(database.deleted().unwrap(), [notes[0], notes[2]]);
}

#[test]
fn what_the_cloud_was_asked_for_is_known_until_it_is_answered() {
    let directory = TempDir::new().unwrap();
    let (mut database, mailbox, maildir) = open(&directory);
    let flags = Asked::Flags { add: Flags::SEEN, remove: Flags::FLAGGED | Flags::REPLIED };
    let file = FileKey::new(maildir, BaseName::new("1.a"));
    let asked =
        [(3, flags.clone()), (1, Asked::Place { mailbox, file }), (2, flags)].map(|(number, what)| AskedRecord {
            number,
            at: UnixSeconds(1_700_000_000),
            // One message may be asked for several things at a time.
            id: RemoteId::new("AAMk="),
            what,
        });
    database.apply(&asked.clone().map(Change::Asked)).unwrap();
    drop(database);

    let (mut database, ..) = open(&directory);
    assert_eq!(database.asked().unwrap(), [asked[1].clone(), asked[2].clone(), asked[0].clone()]);
    database.apply(&[1, 3, 4].map(|number| Change::Answered { number })).unwrap();
    assert_eq!(database.asked().unwrap(), [asked[2].clone()]);
}

#[test]
fn a_database_of_the_first_version_is_brought_to_this_one() {
    let directory = TempDir::new().unwrap();
    let connection = rusqlite::Connection::open(Database::path(directory.path())).unwrap();
    connection.execute_batch(include_str!("../../src/database/schema_1.sql")).unwrap();
    connection.execute("INSERT INTO mailboxes (account, name) VALUES ('user', 'inbox')", []).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    drop(connection);
    let before = Database::open_read_only(directory.path()).unwrap().unwrap();
    assert_eq!(before.mailboxes().unwrap().len(), 1, "who only reads needs no new version");
    drop(before);
    let database = Database::open(directory.path()).unwrap();
    assert!(!database.is_new());
    assert_eq!(database.mailboxes().unwrap().len(), 1);
    assert_eq!((database.deleted().unwrap(), database.words().unwrap()), (Vec::new(), Vec::new()));
}

#[test]
fn who_only_reads_makes_nothing_and_disturbs_nobody() {
    let directory = TempDir::new().unwrap();
    assert!(Database::open_read_only(directory.path()).unwrap().is_none());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let (mut database, mailbox, _) = open(&directory);
    let reader = Database::open_read_only(directory.path()).unwrap().unwrap();
    let mut downloaded = cloud_record(1, mailbox);
    downloaded.hash = Some(ContentHash::of(b"x"));
    let mut waiting = cloud_record(2, mailbox);
    waiting.hash = None;
    database.apply(&[Change::PutCloud(downloaded), Change::PutCloud(waiting)]).unwrap();
    assert_eq!(reader.mailbox_sizes().unwrap(), [(mailbox, 2, 1)]);
}

#[test]
fn ids_stay_and_are_never_given_twice() {
    let directory = TempDir::new().unwrap();
    let (mut database, mailbox, maildir) = open(&directory);
    let odd = Path::new(OsStr::from_bytes(b"/home/user/\xff"));
    let other = database.maildir_id(odd).unwrap();
    let sent = database.mailbox_id("user@example.org", "sent").unwrap();
    let namesake = database.mailbox_id("other@example.org", "inbox").unwrap();
    assert_ne!(maildir, other);
    assert!(mailbox != sent && mailbox != namesake && sent != namesake);
    database.set_folder(mailbox, "AQMk").unwrap();
    database.set_cursor(sent, Some("https://example.org/delta?token=1"), true).unwrap();
    assert_eq!(database.next_row_id().unwrap(), RowId(1));
    database.apply(&[Change::PutSynced(synced_record(6, mailbox, maildir))]).unwrap();
    database.apply(&[Change::DeleteSynced(RowId(7))]).unwrap();
    drop(database);

    let (mut database, again, maildir_again) = open(&directory);
    assert_eq!((again, maildir_again), (mailbox, maildir));
    assert_eq!(database.maildir_id(odd).unwrap(), other);
    assert_eq!(database.next_row_id().unwrap(), RowId(8), "row 7 was there once");
    assert_eq!(database.maildirs().unwrap()[1], (other, odd.to_owned()));
    let record = |id, account: &str, name: &str| MailboxRecord {
        id,
        account: account.to_owned(),
        name: name.to_owned(),
        folder: None,
        cursor: None,
        complete: false,
    };
    assert_eq!(
        database.mailboxes().unwrap(),
        [
            MailboxRecord { folder: Some("AQMk".to_owned()), ..record(mailbox, "user@example.org", "inbox") },
            MailboxRecord {
                cursor: Some("https://example.org/delta?token=1".to_owned()),
                complete: true,
                ..record(sent, "user@example.org", "sent")
            },
            record(namesake, "other@example.org", "inbox"),
        ]
    );
}

#[test]
fn a_batch_is_written_whole_or_not_at_all() {
    let directory = TempDir::new().unwrap();
    let (mut database, mailbox, maildir) = open(&directory);
    let row = synced_record(1, mailbox, maildir);
    database.apply(&[Change::PutSynced(row.clone())]).unwrap();
    let namesake = SyncedRecord { row_id: RowId(90), remote_id: Some(id("other")), ..row.clone() };
    let same_message = SyncedRecord { row_id: RowId(91), base_name: BaseName::new("other"), ..row.clone() };
    let nowhere = CloudRecord { mailbox: MailboxId(99), ..cloud_record(5, mailbox) };
    for refused in [Change::PutSynced(namesake.clone()), Change::PutSynced(same_message), Change::PutCloud(nowhere)] {
        let error = database.apply(&[Change::PutCloud(cloud_record(3, mailbox)), refused]).unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        assert_eq!((cloud(&database), synced(&database)), (vec![], vec![row.clone()]));
    }
    database.apply(&[Change::DeleteSynced(row.row_id), Change::PutSynced(namesake.clone())]).unwrap();
    assert_eq!(synced(&database), [namesake]);
}

#[test]
fn notes_are_kept_once_and_dropped() {
    let directory = TempDir::new().unwrap();
    let (mut database, _, maildir) = open(&directory);
    let note = |base_name: &str, what: &str| ReportedNote { maildir, base_name: base_name.into(), what: what.into() };
    let told = [note("1.a", "not uploaded"), note("1.a", "unreadable"), note("2.b", "unreadable")];
    for _ in 0..2 {
        database.apply(&told.clone().map(Change::Reported)).unwrap();
    }
    assert_eq!(database.reported().unwrap(), told);
    database.apply(&[Change::ClearReported { maildir, base_name: "1.a".into() }]).unwrap();
    assert_eq!(database.reported().unwrap(), told[2..]);

    let hash = ContentHash::of(b"x");
    let released = |at| Change::Released { hash, at: UnixSeconds(at) };
    database.apply(&[released(5), released(9)]).unwrap();
    assert_eq!(database.released().unwrap(), [(hash, UnixSeconds(5))], "the first time counts");
    database.apply(&[Change::Unreleased { hash }]).unwrap();
    assert_eq!(database.released().unwrap(), []);

    assert_eq!(database.meta("host").unwrap(), None);
    database.set_meta("host", "one").unwrap();
    database.set_meta("host", "two").unwrap();
    assert_eq!(database.meta("host").unwrap().as_deref(), Some("two"));
}

#[test]
fn a_second_reader_sees_what_was_written() {
    let directory = TempDir::new().unwrap();
    let (mut database, mailbox, _) = open(&directory);
    let reader = Database::open(directory.path()).unwrap();
    database.apply(&[Change::PutCloud(cloud_record(1, mailbox))]).unwrap();
    assert_eq!(cloud(&reader).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// The database does with random changes what two maps do.
    #[test]
    fn changes_have_the_effect_of_maps(steps in prop::collection::vec((0u32..8, 0u32..4, any::<bool>()), 0..40)) {
        let directory = TempDir::new().unwrap();
        let (mut database, mailbox, maildir) = open(&directory);
        let mut cloud_map = std::collections::BTreeMap::new();
        let mut synced_map = std::collections::BTreeMap::new();
        for batch in steps.chunks(7) {
            let mut changes = Vec::new();
            for (number, kind, odd) in batch {
                let mut cloud_row = cloud_record(*number, mailbox);
                let mut synced_row = synced_record(*number, mailbox, maildir);
                if *odd {
                    cloud_row.attempts = 77;
                    synced_row.inode = 77;
                }
                match kind {
                    0 => {
                        cloud_map.insert(cloud_row.remote_id.clone(), cloud_row.clone());
                        changes.push(Change::PutCloud(cloud_row));
                    }
                    1 => {
                        cloud_map.remove(&cloud_row.remote_id);
                        changes.push(Change::DeleteCloud(cloud_row.remote_id));
                    }
                    2 => {
                        synced_map.insert(synced_row.row_id, synced_row.clone());
                        changes.push(Change::PutSynced(synced_row));
                    }
                    _ => {
                        synced_map.remove(&synced_row.row_id);
                        changes.push(Change::DeleteSynced(synced_row.row_id));
                    }
                }
            }
            database.apply(&changes).unwrap();
        }
        prop_assert_eq!(cloud(&database), cloud_map.into_values().collect::<Vec<_>>());
        prop_assert_eq!(synced(&database), synced_map.into_values().collect::<Vec<_>>());
    }
}
