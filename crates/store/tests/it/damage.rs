use std::fs;

use cms_store::{Change, Database, StoreError};
use tempfile::TempDir;

use crate::cloud_record;

/// Makes a database with 2,000 rows, closed, and returns its bytes.
fn filled(directory: &TempDir) -> Vec<u8> {
    let mut database = Database::open(directory.path()).unwrap();
    let mailbox = database.mailbox_id("user", "inbox").unwrap();
    let changes: Vec<Change> = (0..2000).map(|number| Change::PutCloud(cloud_record(number, mailbox))).collect();
    database.apply(&changes).unwrap();
    drop(database);
    fs::read(Database::path(directory.path())).unwrap()
}

#[test]
fn f26_a_damaged_database_is_told_and_set_aside() {
    let directory = TempDir::new().unwrap();
    let whole = filled(&directory);
    assert!(whole.len() > 100_000);
    let middle = whole.len() / 2;
    let mut scribbled = whole.clone();
    scribbled[8192..middle].fill(0xa5);
    for (what, bytes) in [
        ("garbage", b"no database at all, but long enough to look at".repeat(100)),
        ("truncated", whole[..middle].to_vec()),
        ("scribbled on", scribbled),
        ("no tables", whole[..4096].iter().map(|_| 0).collect()),
    ] {
        fs::write(Database::path(directory.path()), &bytes).unwrap();
        let error = Database::open(directory.path()).map(|_| ()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error:?}");
        let aside = Database::set_aside(directory.path()).unwrap();
        assert_eq!(fs::read(&aside).unwrap(), bytes, "{what}: kept as it was");
        let database = Database::open(directory.path()).unwrap();
        assert!(database.is_new());
    }
    let is_aside = |name: std::ffi::OsString| name.to_string_lossy().contains(".damaged-");
    let aside = fs::read_dir(directory.path()).unwrap().filter(|entry| is_aside(entry.as_ref().unwrap().file_name()));
    assert!(aside.count() >= 4, "each is kept under a name of its own");
}

#[test]
fn a_row_of_the_wrong_kind_is_damage() {
    let directory = TempDir::new().unwrap();
    filled(&directory);
    let connection = rusqlite::Connection::open(Database::path(directory.path())).unwrap();
    connection.execute("UPDATE cloud SET hash = x'1234' WHERE hash IS NOT NULL", []).unwrap();
    drop(connection);
    let error = Database::open(directory.path()).unwrap().load_cloud(|_| {}).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_missing_table_is_damage() {
    let directory = TempDir::new().unwrap();
    filled(&directory);
    let connection = rusqlite::Connection::open(Database::path(directory.path())).unwrap();
    connection.execute("DROP TABLE synced", []).unwrap();
    drop(connection);
    let error = Database::open(directory.path()).map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_newer_schema_is_left_alone() {
    let directory = TempDir::new().unwrap();
    filled(&directory);
    let connection = rusqlite::Connection::open(Database::path(directory.path())).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Database::open(directory.path()).map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error:?}");
}

#[test]
fn f26_what_was_written_before_a_kill_is_there_after_it() {
    let directory = TempDir::new().unwrap();
    let mut database = Database::open(directory.path()).unwrap();
    let mailbox = database.mailbox_id("user", "inbox").unwrap();
    database.apply(&[Change::PutCloud(cloud_record(1, mailbox))]).unwrap();
    // The files as a kill leaves them: the log isn't yet part of the database.
    let elsewhere = TempDir::new().unwrap();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), elsewhere.path().join(entry.file_name())).unwrap();
    }
    let mut rows = 0;
    Database::open(elsewhere.path()).unwrap().load_cloud(|_| rows += 1).unwrap();
    assert_eq!(rows, 1);
}
