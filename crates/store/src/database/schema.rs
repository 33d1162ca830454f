//! The tables, and how older ones become these.

use std::path::Path;

use rusqlite::Connection;

use crate::StoreError;

/// Step `n` makes version `n + 1` of version `n`. Steps that were released are never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
    include_str!("schema_9.sql"),
];

/// Brings the database to the newest version; whether there was none before comes back.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<bool, StoreError> {
    let failed = |error| StoreError::database(path, error);
    // Two processes may open a new database at once; the second waits here and finds it made.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
    let found = version(&transaction, path)?;
    for (step, version) in MIGRATIONS.iter().zip(1u32..).skip(found as usize) {
        transaction.execute_batch(step).map_err(failed)?;
        transaction.pragma_update(None, "user_version", version).map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    Ok(found == 0)
}

/// The version that this program makes.
pub(super) fn newest() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// The version that a database has; an error if this program doesn't know it.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<u32, StoreError> {
    let found = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| StoreError::database(path, error))?;
    let known = newest();
    if found > known {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known });
    }
    Ok(found)
}

/// Looks whether all tables are there and can be counted.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    for table in [
        "meta",
        "mailboxes",
        "maildirs",
        "cloud",
        "synced",
        "reported",
        "released",
        "deleted",
        "words",
        "journal",
        "tree_folders",
        "asked",
    ] {
        let count = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
        match count {
            Ok(_) => {}
            Err(rusqlite::Error::SqliteFailure(_, Some(detail))) if detail.starts_with("no such table") => {
                return Err(StoreError::Damaged { path: path.to_owned(), detail });
            }
            Err(error) => return Err(StoreError::database(path, error)),
        }
    }
    Ok(())
}
