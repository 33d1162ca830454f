//! Comparing everything with everything: the cloud as it is listed now, what we know of it, what both sides agreed on, the
//! files, their bytes, and the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cms_cloud::contract::Seen;
use cms_engine::{ContentHash, FileKey, Flags, HashMap, HashSet, MailboxId, MaildirId, RemoteId};
use cms_maildir::{Maildir, hash_file};
use cms_store::Store;
use serde::{Deserialize, Serialize};

use crate::sync::world::World;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verification {
    /// How many messages each mailbox has, by every count that there is.
    pub(crate) mailboxes: Vec<MailboxCounts>,
    /// How many files each Maildir has.
    pub(crate) maildirs: Vec<MaildirCounts>,
    /// How many files' bytes were read, and how many stored messages'.
    pub(crate) files_read: u64,
    /// How many stored messages' bytes were read.
    pub(crate) stored_read: u64,
    /// What differs.
    pub(crate) differences: Vec<Difference>,
}

impl Verification {
    /// Whether nothing differs.
    pub(crate) fn is_same(&self) -> bool {
        self.differences.is_empty()
    }
}

/// How many messages a mailbox has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailboxCounts {
    /// The mailbox, by its configured name.
    pub(crate) name: String,
    /// As the cloud lists it now.
    pub(crate) cloud: u64,
    /// As the cloud told it before.
    pub(crate) known: u64,
    /// As both sides agreed.
    pub(crate) agreed: u64,
    /// In the cloud alone, since they are too old to be brought here.
    #[serde(default)]
    pub(crate) left_out: u64,
    /// Here alone, since what the cloud deletes stays.
    #[serde(default)]
    pub(crate) kept: u64,
}

/// How many files a Maildir has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MaildirCounts {
    /// Its path.
    pub(crate) path: String,
    /// Files.
    pub(crate) files: u64,
    /// As both sides agreed.
    pub(crate) agreed: u64,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Difference {
    /// The mailbox or Maildir that it is in.
    pub(crate) place: String,
    /// The message: a file's base name, or where there is none the cloud's id.
    pub(crate) message: String,
    /// What differs: a stable word.
    pub(crate) kind: Kind,
    /// In words.
    pub(crate) what: String,
}

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The cloud has a message that it hadn't told of.
    UnknownInCloud,
    /// The cloud has no longer what it told of.
    GoneInCloud,
    /// The cloud has it with other flags, or elsewhere, than it told.
    OtherInCloud,
    /// It isn't here yet.
    NotHere,
    /// Its file is gone.
    FileMissing,
    /// Both sides have it with different flags.
    Flags,
    /// Both sides have it in different places.
    Place,
    /// Only the Maildir has it.
    OnlyHere,
    /// A file's bytes aren't those of the message.
    FileEdited,
    /// A stored message's bytes aren't what its name says, or it isn't there.
    StoreDamaged,
    /// A mailbox or a Maildir couldn't be looked at.
    Unreadable,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, message, what, .. } = self;
        write!(f, "{place}: {message}: {what}")
    }
}

/// What the cloud lists of the configured mailboxes now.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Every message, with the mailbox that lists it.
    pub(crate) messages: HashMap<RemoteId, (MailboxId, Seen)>,
    /// The mailboxes that were listed to the end.
    pub(crate) complete: HashSet<MailboxId>,
    /// What went wrong with others.
    pub(crate) failed: Vec<(MailboxId, String)>,
}

/// A file whose bytes are known.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) key: FileKey,
    pub(crate) path: PathBuf,
    pub(crate) inode: u64,
    pub(crate) hash: ContentHash,
}

/// What reading the bytes found.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) files_read: u64,
    pub(crate) stored_read: u64,
    /// Files with other bytes: which, and what it holds.
    pub(crate) edited: Vec<(FileKey, ContentHash)>,
    /// Stored messages with other bytes than their name says.
    pub(crate) damaged: Vec<ContentHash>,
}

/// Bytes between two pauses of a comparison that nobody waits for.
const UNHURRIED_BYTES: u64 = 4 * 1024 * 1024;

/// A pause of such a comparison.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads the bytes of these files and of the whole store. A file that is a link of a stored message is read once.
pub(crate) fn read_contents(store: &Store, expected: &[Expected], hurry: bool) -> Contents {
    let mut contents = Contents::default();
    let mut pace = Pace { hurry, bytes: 0 };
    let mut read: HashMap<(u64, u64), ContentHash> = HashMap::default();
    // What can't be listed or read is found missing or unreadable by whoever needs it.
    let _ = store.each_message(|hash| {
        if let Some((identity, found)) = pace.read(&store.path_of(&hash)) {
            contents.stored_read += 1;
            read.insert(identity, found);
            if found != hash {
                contents.damaged.push(hash);
            }
        }
        Ok(())
    });
    for Expected { key, path, inode, hash } in expected {
        let Some(identity) = identity(path) else { continue };
        let found = read.get(&identity).copied().or_else(|| pace.read(path).map(|(_, found)| found));
        let Some(found) = found else { continue };
        contents.files_read += 1;
        if found != *hash && identity.1 == *inode {
            contents.edited.push((key.clone(), found));
        }
    }
    contents
}

struct Pace {
    hurry: bool,
    bytes: u64,
}

impl Pace {
    fn read(&mut self, path: &Path) -> Option<((u64, u64), ContentHash)> {
        let identity = identity(path)?;
        let found = hash_file(path).ok()?;
        self.bytes += std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        if !self.hurry && self.bytes > UNHURRIED_BYTES {
            self.bytes = 0;
            std::thread::sleep(PAUSE);
        }
        Some((identity, found))
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Names for what is compared.
pub(crate) struct Names<'a> {
    pub(crate) mailbox: &'a dyn Fn(MailboxId) -> String,
    pub(crate) maildir: &'a dyn Fn(MaildirId) -> String,
}

/// The messages about which a fresh listing says something else than the Cloud tree.
pub(crate) fn doubtful(listing: &Listing, world: &World) -> Vec<RemoteId> {
    let mut ids: BTreeSet<RemoteId> = BTreeSet::new();
    for (id, (mailbox, seen)) in &listing.messages {
        if !world.cloud.messages.copy_of(id).is_some_and(|known| as_known(&known, seen, *mailbox)) {
            ids.insert(id.clone());
        }
    }
    for (id, known) in world.cloud.messages.iter() {
        if listing.complete.contains(&known.mailbox) && !listing.messages.contains_key(&id) {
            ids.insert(id);
        }
    }
    ids.into_iter().collect()
}

/// Whether the Cloud tree says of a message what was seen of it.
pub(crate) fn as_known(known: &cms_engine::CloudMessage, seen: &Seen, mailbox: MailboxId) -> bool {
    known.mailbox == mailbox && ((known.flags ^ seen.flags) & seen.known_flags).is_empty()
}

/// Compares the trees with each other: what was agreed on with what each side has now.
pub(crate) fn compare_trees(world: &World, readable: Flags, names: &Names<'_>) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut push = |place: String, message: &dyn fmt::Display, kind, what: String| {
        differences.push(Difference { place, message: message.to_string(), kind, what });
    };
    for id in world.cloud.messages.without_row(&world.synced) {
        let Some(message) = world.cloud.messages.get(&id) else { continue };
        if !world.is_left_out(&id, message) {
            let why = world.troubles.get(&id).map_or_else(
                || "it isn't here yet".to_owned(),
                |trouble| format!("it can't be downloaded: {}", trouble.why),
            );
            push((names.mailbox)(message.mailbox), &id, Kind::NotHere, why);
        }
    }
    // What is at rest is the same everywhere.
    for id in world.synced.not_at_rest(&world.cloud, &world.local) {
        let Some(row) = world.synced.get(id) else { continue };
        let name = &row.file.base_name;
        if world.is_kept(id, row) {
            if world.local.readable.contains(&row.file.maildir) && !world.local.files.contains_key(&row.file) {
                push((names.maildir)(row.file.maildir), name, Kind::FileMissing, "its file isn't there".to_owned());
            }
            continue;
        }
        let Some(message) = world.cloud.messages.get(&row.remote) else {
            let what = "the cloud doesn't have it any more".to_owned();
            push((names.mailbox)(row.mailbox), name, Kind::GoneInCloud, what);
            continue;
        };
        if message.mailbox != row.mailbox {
            let what = format!("the cloud has it in `{}`", (names.mailbox)(message.mailbox));
            push((names.mailbox)(row.mailbox), name, Kind::Place, what);
        }
        if !world.local.readable.contains(&row.file.maildir) {
            continue;
        }
        let Some(file) = world.local.files.get(&row.file) else {
            push((names.maildir)(row.file.maildir), name, Kind::FileMissing, "its file isn't there".to_owned());
            continue;
        };
        if file.hash.is_some_and(|hash| hash != row.hash) {
            let what = "its file was edited; the cloud can't take that".to_owned();
            push((names.maildir)(row.file.maildir), name, Kind::FileEdited, what);
        }
        let local = file.flags != row.flags.local;
        let cloud = !((message.flags ^ row.flags.cloud) & readable).is_empty();
        if local || cloud {
            let what = format!("flags here `{}`, in the cloud `{}`", file.flags, message.flags);
            push((names.maildir)(row.file.maildir), name, Kind::Flags, what);
        }
    }
    for key in world.strangers() {
        let what = "only the Maildir has it".to_owned();
        push((names.maildir)(key.maildir), &key.base_name, Kind::OnlyHere, what);
    }
    differences
}

/// Counts everything.
pub(crate) fn count(
    verification: &mut Verification,
    listing: &Listing,
    world: &World,
    mailboxes: &[MailboxId],
    maildirs: &[MaildirId],
    names: &Names<'_>,
) {
    let mut counts: BTreeMap<MailboxId, MailboxCounts> = BTreeMap::new();
    for id in mailboxes {
        counts.insert(*id, MailboxCounts { name: (names.mailbox)(*id), ..MailboxCounts::default() });
    }
    for (mailbox, _) in listing.messages.values() {
        counts.entry(*mailbox).and_modify(|counts| counts.cloud += 1);
    }
    for message in world.cloud.messages.values() {
        counts.entry(message.mailbox).and_modify(|counts| counts.known += 1);
    }
    for (mailbox, left_out) in world.left_out() {
        counts.entry(mailbox).and_modify(|counts| counts.left_out = left_out);
    }
    let mut agreed: BTreeMap<MaildirId, u64> = BTreeMap::new();
    for (id, row) in world.synced.iter() {
        let is_kept = world.is_kept(id, &row);
        counts
            .entry(row.mailbox)
            .and_modify(|counts| *if is_kept { &mut counts.kept } else { &mut counts.agreed } += 1);
        *agreed.entry(row.file.maildir).or_default() += 1;
    }
    verification.mailboxes = counts.into_values().collect();
    verification.maildirs = maildirs
        .iter()
        .map(|id| MaildirCounts {
            path: (names.maildir)(*id),
            files: world.local.files.keys_in(*id).count() as u64,
            agreed: agreed.get(id).copied().unwrap_or_default(),
        })
        .collect();
}

/// The files whose bytes are known, where they are now.
pub(crate) fn expected<'a>(world: &World, maildir: impl Fn(MaildirId) -> Option<&'a Maildir>) -> Vec<Expected> {
    let mut expected: Vec<Expected> = world
        .synced
        .iter()
        .filter_map(|(_, row)| {
            let located = world.located(&row.file)?;
            let path = maildir(row.file.maildir)?.path_of(located.place, &located.name);
            let file = world.local.files.copy_of(&row.file)?;
            // What is known to be edited has other bytes, and that is told already.
            let hash = file.hash.unwrap_or(row.hash);
            let inode = identity(&path)?.1;
            Some(Expected { key: row.file.clone(), path, inode, hash })
        })
        .collect();
    expected.sort_by(|one, other| one.key.cmp(&other.key));
    expected
}
