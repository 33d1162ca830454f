//! The folders of accounts that are kept as a whole. A folder is known by the cloud's id, so that its mailbox and its Maildir
//! stay what they are whatever it is called.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cms_engine::{MailboxId, MaildirId};
use rusqlite::{OptionalExtension, Transaction, params};

use super::Database;
use crate::StoreError;

/// The first version of the schema that has the table.
const SINCE: u32 = 7;

/// A folder of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreeFolderRecord {
    /// Its mailbox.
    pub mailbox: MailboxId,
    /// Its Maildir.
    pub maildir: MaildirId,
    /// Which tree it is in.
    pub tree: String,
    /// The cloud's id of it.
    pub folder: String,
    /// Its path in the cloud, as people read it.
    pub name: String,
    /// The Maildir's directory below the tree's root.
    pub directory: PathBuf,
    /// Whether it is kept the same.
    pub standing: TreeStanding,
}

/// How a folder of a tree stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TreeStanding {
    /// Both sides are kept the same.
    Synced,
    /// The cloud doesn't have it any more; what its Maildir holds goes away.
    Gone,
    /// Nobody looks at either side; the Maildir stays as it is.
    LeftOut,
}

impl TreeStanding {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Synced => 0,
            Self::Gone => 1,
            Self::LeftOut => 2,
        }
    }

    fn of(number: u8) -> Self {
        match number {
            0 => Self::Synced,
            1 => Self::Gone,
            _ => Self::LeftOut,
        }
    }
}

/// Where a folder of a tree is to be.
#[derive(Clone, Copy, Debug)]
pub struct TreePlace<'a> {
    /// The account, as the database names it.
    pub account: &'a str,
    /// Which tree.
    pub tree: &'a str,
    /// The cloud's id of the folder.
    pub folder: &'a str,
    /// Its path in the cloud.
    pub name: &'a str,
    /// The tree's root, an absolute path.
    pub root: &'a Path,
    /// The Maildir's directory below it.
    pub directory: &'a Path,
    /// How it stands.
    pub standing: TreeStanding,
}

impl Database {
    /// All folders of all trees, by mailbox.
    pub fn tree_folders(&self) -> Result<Vec<TreeFolderRecord>, StoreError> {
        let mut folders = Vec::new();
        if self.version < SINCE {
            return Ok(folders);
        }
        let sql = "SELECT t.mailbox, t.maildir, t.tree, m.folder, m.name, t.directory, t.standing
                   FROM tree_folders t JOIN mailboxes m ON m.id = t.mailbox ORDER BY t.mailbox";
        self.each_row(sql, |row| {
            let directory: Vec<u8> = row.get(5)?;
            folders.push(TreeFolderRecord {
                mailbox: MailboxId(row.get(0)?),
                maildir: MaildirId(row.get(1)?),
                tree: row.get(2)?,
                folder: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
                name: row.get(4)?,
                directory: OsString::from_vec(directory).into(),
                standing: TreeStanding::of(row.get(6)?),
            });
            Ok(())
        })?;
        Ok(folders)
    }

    /// Notes where folders of trees are, all of them or none. A folder that is known keeps its mailbox, and its Maildir if
    /// that is below the same root. What else has a name that is wanted gets another one.
    pub fn place_tree_folders(&mut self, places: &[TreePlace<'_>]) -> Result<(), StoreError> {
        self.in_transaction(|transaction| places.iter().try_for_each(|place| put(transaction, place)))
    }

    /// Forgets that a mailbox and a Maildir are a folder of a tree.
    pub fn forget_tree_folder(&mut self, mailbox: MailboxId) -> Result<(), StoreError> {
        self.in_transaction(|transaction| {
            transaction.execute("DELETE FROM tree_folders WHERE mailbox = ?1", [mailbox.0]).map(|_| ())
        })
    }

    /// How many messages and rows there are yet of a folder of a tree.
    pub fn left_in_tree_folder(&self, folder: &TreeFolderRecord) -> Result<u64, StoreError> {
        let sql = "SELECT (SELECT count(*) FROM cloud WHERE mailbox = ?1)
                        + (SELECT count(*) FROM synced WHERE mailbox = ?1 OR maildir = ?2)";
        self.connection
            .query_row(sql, [folder.mailbox.0, folder.maildir.0], |row| row.get::<_, i64>(0))
            .map(i64::unsigned_abs)
            .map_err(|error| self.failed(error))
    }

    fn in_transaction(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let path = &self.path;
        let failed = |error| StoreError::database(path, error);
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
        work(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)
    }
}

fn put(transaction: &Transaction<'_>, place: &TreePlace<'_>) -> rusqlite::Result<()> {
    let known: Option<(u32, u32)> = transaction
        .query_row(
            "SELECT t.mailbox, t.maildir FROM tree_folders t JOIN mailboxes m ON m.id = t.mailbox
             WHERE t.tree = ?1 AND m.folder = ?2",
            params![place.tree, place.folder],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let mailbox = match known {
        Some((mailbox, _)) => Some(mailbox),
        // The folder may have been a mailbox by itself.
        None => transaction
            .query_row(
                "SELECT id FROM mailboxes WHERE account = ?1 AND folder = ?2
                 AND id NOT IN (SELECT mailbox FROM tree_folders) ORDER BY id DESC LIMIT 1",
                params![place.account, place.folder],
                |row| row.get(0),
            )
            .optional()?,
    };
    transaction.execute(
        "UPDATE mailboxes SET name = name || ' (' || id || ')' WHERE account = ?1 AND name = ?2 AND id IS NOT ?3",
        params![place.account, place.name, mailbox],
    )?;
    let mailbox: u32 = if let Some(mailbox) = mailbox {
        transaction.execute("UPDATE mailboxes SET name = ?2 WHERE id = ?1", params![mailbox, place.name])?;
        mailbox
    } else {
        transaction.query_row(
            "INSERT INTO mailboxes (account, name, folder) VALUES (?1, ?2, ?3) RETURNING id",
            params![place.account, place.name, place.folder],
            |row| row.get(0),
        )?
    };
    let maildir = put_maildir(transaction, place, known.map(|(_, maildir)| maildir))?;
    transaction.execute(
        "INSERT INTO tree_folders (mailbox, tree, maildir, directory, standing) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (mailbox) DO UPDATE SET tree = excluded.tree, maildir = excluded.maildir,
             directory = excluded.directory, standing = excluded.standing",
        params![mailbox, place.tree, maildir, place.directory.as_os_str().as_bytes(), place.standing.number()],
    )?;
    Ok(())
}

/// Below another root it is another Maildir: one that was moved there is found by its files, and else they come back.
fn put_maildir(transaction: &Transaction<'_>, place: &TreePlace<'_>, known: Option<u32>) -> rusqlite::Result<u32> {
    let path =
        if place.directory.as_os_str().is_empty() { place.root.to_owned() } else { place.root.join(place.directory) };
    let path = path.as_os_str().as_bytes();
    let known = match known {
        None => None,
        Some(known) => {
            let now: Vec<u8> =
                transaction.query_row("SELECT path FROM maildirs WHERE id = ?1", [known], |row| row.get(0))?;
            Path::new(&OsString::from_vec(now)).starts_with(place.root).then_some(known)
        }
    };
    let maildir: Option<u32> = match known {
        Some(known) => Some(known),
        None => transaction
            .query_row(
                "SELECT id FROM maildirs WHERE path = ?1 AND id NOT IN (SELECT maildir FROM tree_folders)",
                params![path],
                |row| row.get(0),
            )
            .optional()?,
    };
    // No path holds a zero byte.
    transaction.execute(
        "UPDATE maildirs SET path = CAST(path || x'00' || id AS BLOB) WHERE path = ?1 AND id IS NOT ?2",
        params![path, maildir],
    )?;
    match maildir {
        Some(maildir) => {
            transaction.execute("UPDATE maildirs SET path = ?2 WHERE id = ?1", params![maildir, path])?;
            Ok(maildir)
        }
        None => transaction
            .query_row("INSERT INTO maildirs (path) VALUES (?1) RETURNING id", params![path], |row| row.get(0)),
    }
}
