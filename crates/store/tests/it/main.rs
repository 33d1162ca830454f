//! The state directory as kills, full disks and damage leave it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod damage;
mod database;
mod incoming;
mod journal;
mod limits;
mod lock;
mod measure;
mod message_ids;
mod messages;
mod prune;
mod trees;

use std::fs;
use std::path::{Path, PathBuf};

use cms_engine::{BaseName, CloudBytes, ContentHash, Flags, MailboxId, MaildirId, RemoteId, RowId, UnixSeconds};
use cms_store::{CloudRecord, Store, Stored, SyncedRecord};
use tempfile::TempDir;

/// A store in a temporary directory.
struct Fixture {
    directory: TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let store = Store::open(directory.path().join("state")).unwrap();
        Self { directory, store }
    }

    fn state_dir(&self) -> &Path {
        self.store.state_dir()
    }

    /// Downloads `bytes` in one piece.
    fn download(&self, remote: &str, bytes: &[u8]) -> Stored {
        let mut incoming = self.store.incoming(&id(remote)).unwrap();
        incoming.write(bytes).unwrap();
        incoming.finish().unwrap()
    }

    /// Links a stored message to a file outside, as a delivery does.
    fn deliver(&self, hash: &ContentHash, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::hard_link(self.store.path_of(hash), &path).unwrap();
        path
    }

    /// The only file in `incoming`.
    fn mark(&self) -> PathBuf {
        fs::read_dir(self.state_dir().join("incoming")).unwrap().next().unwrap().unwrap().path()
    }

    /// The names in `incoming`, each shortened to whether it is a mark or a part.
    fn incoming_names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = fs::read_dir(self.state_dir().join("incoming"))
            .unwrap()
            .map(|entry| if entry.unwrap().path().extension().is_some() { "part" } else { "mark" })
            .collect();
        names.sort_unstable();
        names
    }
}

fn id(text: &str) -> RemoteId {
    RemoteId::new(text)
}

fn cloud_record(number: u32, mailbox: MailboxId) -> CloudRecord {
    CloudRecord {
        remote_id: id(&format!("AAMkAGI2{number:08}")),
        mailbox,
        flags: Flags::from_bits(u8::try_from(number % 64).unwrap()),
        received: UnixSeconds(1_700_000_000 + i64::from(number)),
        hash: number.is_multiple_of(2).then(|| ContentHash::of(&number.to_le_bytes())),
        revision: number.is_multiple_of(3).then(|| format!("revision {number}")),
        fetched_revision: number.is_multiple_of(6).then(|| format!("fetched {number}")),
        trouble: number.is_multiple_of(5).then(|| "ErrorMimeContentConversionFailed".to_owned()),
        retry_at: number.is_multiple_of(7).then_some(UnixSeconds(i64::from(number))),
        attempts: number % 4,
        size: (!number.is_multiple_of(2)).then_some(u64::from(number) * 100),
    }
}

fn synced_record(number: u32, mailbox: MailboxId, maildir: MaildirId) -> SyncedRecord {
    SyncedRecord {
        row_id: RowId(u64::from(number) + 1),
        remote_id: (!number.is_multiple_of(10)).then(|| id(&format!("AAMkAGI2{number:08}"))),
        mailbox,
        maildir,
        base_name: BaseName::new(format!("17000{number:05}.R0123456789abcdef.host")),
        local_flags: Flags::from_bits(u8::try_from(number % 64).unwrap()),
        cloud_flags: Flags::from_bits(u8::try_from((number + 1) % 64).unwrap()),
        hash: ContentHash::of(&number.to_le_bytes()),
        cloud_bytes: match number % 5 {
            0 => CloudBytes::Unread,
            1 => CloudBytes::Other(ContentHash::of(b"there")),
            _ => CloudBytes::Same,
        },
        inode: u64::MAX - u64::from(number),
        received: UnixSeconds(i64::from(number) - 5),
        revision: number.is_multiple_of(3).then(|| format!("revision {number}")),
    }
}

/// Runs the test `name` of this program again in a namespace of its own, after the shell commands `setup`; `$1` is
/// `directory`. There the same test finds the directory in `CMS_TEST_INSIDE`.
fn run_inside(name: &str, directory: &Path, setup: &str) {
    let script = format!("{{ {setup}; }} || exit 77; exec \"$2\" --exact {name} --nocapture");
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(directory)
        .arg(std::env::current_exe().unwrap())
        .env("CMS_TEST_INSIDE", directory)
        .output();
    let reached = output.as_ref().is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("inside: yes"));
    match output {
        Ok(output) if reached => assert!(output.status.success(), "{output:?}"),
        _ => println!("skipped: needs unshare and user namespaces"),
    }
}

/// The directory prepared by [`run_inside`], if this is the inner run.
fn inside() -> Option<PathBuf> {
    let directory = std::env::var_os("CMS_TEST_INSIDE")?;
    println!("inside: yes");
    Some(directory.into())
}
