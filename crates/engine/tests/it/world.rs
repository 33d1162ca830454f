//! A simulated account and simulated Maildirs that carry out a plan's steps, and refuse to be harmed by one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use cms_engine::{
    Absence, Answer, BaseName, Busy, CloudMessage, CloudTree, ContentHash, Deletions, FileKey, Flags, LocalFile,
    LocalTree, MailboxId, MaildirId, MessageId, Op, Plan, Policy, Readiness, RemoteId, Router, Row, RowId, Scope, Side,
    SyncedTree, Takes, UnixSeconds, Uploads, Word, plan,
};

/// `SplitMix64`: small, seeded and the same everywhere.
#[derive(Clone)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
    /// Some of these flags.
    pub(crate) fn some_of(&mut self, flags: Flags) -> Flags {
        Flags::from_bits(self.next() as u8) & flags
    }
}

/// The stand-in for a message's bytes.
pub(crate) type Content = u32;

pub(crate) fn hash(content: Content) -> ContentHash {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&content.to_le_bytes());
    ContentHash::new(digest)
}

pub(crate) fn flags(letters: &str) -> Flags {
    Flags::from_letters(letters)
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) mailbox: MailboxId,
    pub(crate) flags: Flags,
    pub(crate) content: Content,
    pub(crate) received: i64,
    /// Whether its present content was downloaded.
    pub(crate) known: bool,
    pub(crate) blocked: bool,
    pub(crate) revision: u32,
    /// Whether a listing that isn't complete has come to it.
    pub(crate) listed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) flags: Flags,
    pub(crate) content: Content,
    pub(crate) inode: u64,
}

/// What the cloud does with a request.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct Manners {
    pub(crate) new_id_on_move: bool,
    pub(crate) refuses_flags: bool,
    pub(crate) refuses_moves: bool,
    pub(crate) refuses_deletions: bool,
    /// Takes only some of the flags that it is asked to change, and says so.
    pub(crate) own_mind_on_flags: bool,
    /// Makes other bytes of what is uploaded.
    pub(crate) rebuilds: bool,
}

/// Contents that the cloud has made of others begin here.
const REBUILT: Content = 10_000_000;

/// Steps by which something was lost on one side, by content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses {
    pub(crate) in_the_cloud: BTreeMap<Content, usize>,
    pub(crate) here: BTreeMap<Content, usize>,
    pub(crate) trashed_originals: BTreeMap<Content, usize>,
    pub(crate) replaced: BTreeMap<Content, usize>,
    pub(crate) updated: BTreeMap<Content, usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) cloud: BTreeMap<RemoteId, Message>,
    pub(crate) complete: BTreeSet<MailboxId>,
    pub(crate) disk: BTreeMap<FileKey, File>,
    pub(crate) readable: BTreeSet<MaildirId>,
    pub(crate) vanished: BTreeMap<FileKey, Absence>,
    pub(crate) synced: SyncedTree,
    pub(crate) mailboxes: Vec<MailboxId>,
    pub(crate) routes: BTreeMap<MailboxId, MaildirId>,
    pub(crate) deleted: Option<MailboxId>,
    /// The mailboxes that keep what the cloud deletes.
    pub(crate) keeps: BTreeSet<MailboxId>,
    /// Since when a message must have been received to be brought here.
    pub(crate) since: Option<i64>,
    pub(crate) first_meeting: Side,
    pub(crate) max_deletions: Option<u32>,
    pub(crate) deleted_lately: Deletions,
    pub(crate) words: BTreeMap<RowId, Word>,
    /// Rows of a folder that was removed and made again.
    pub(crate) of_removed_folder: BTreeSet<RowId>,
    pub(crate) readable_flags: Flags,
    pub(crate) settable_flags: Flags,
    pub(crate) exclusive_flags: Flags,
    pub(crate) manners: Manners,
    pub(crate) losses: Losses,
    /// Whether the scan tells the hash of files that it knows by name.
    pub(crate) hashes_all: bool,
    pub(crate) last: u64,
    /// What the mailboxes take; nothing for those that aren't named.
    pub(crate) takes: BTreeMap<MailboxId, Takes>,
    /// Files that can't be uploaded now.
    pub(crate) readiness: BTreeMap<FileKey, Readiness>,
    /// Contents whose upload nobody has heard the answer of.
    pub(crate) unheard_uploads: Vec<ContentHash>,
    /// What the cloud has made of the files that it was given: of which content, and of the file of which name.
    pub(crate) rebuilt: RefCell<Vec<(Content, BaseName)>>,
    /// Message-IDs that contents have.
    pub(crate) message_ids: RefCell<BTreeMap<ContentHash, MessageId>>,
}

impl Uploads for World {
    fn takes(&self, mailbox: MailboxId) -> Takes {
        self.takes.get(&mailbox).copied().unwrap_or_default()
    }
    fn readiness(&self, file: &FileKey) -> Readiness {
        self.readiness.get(file).copied().unwrap_or(Readiness::Now)
    }
    fn message_id(&self, content: &ContentHash) -> Option<MessageId> {
        self.message_ids.borrow().get(content).cloned()
    }
    fn may_be_made(&self, content: &ContentHash) -> bool {
        self.unheard_uploads.contains(content)
    }
    fn is_made_of(&self, in_the_cloud: &ContentHash, here: &ContentHash) -> bool {
        let number = |hash: &ContentHash| u32::from_le_bytes(hash.as_bytes()[..4].try_into().unwrap());
        self.origin(number(in_the_cloud)) == number(here)
    }
}

struct Routes<'a>(&'a BTreeMap<MailboxId, MaildirId>);
impl Router for Routes<'_> {
    fn maildir_for(&self, mailbox: MailboxId, _: &ContentHash, _: Flags) -> Option<MaildirId> {
        self.0.get(&mailbox).copied()
    }
}

impl World {
    /// An empty world in which mailbox n leads to Maildir n.
    pub(crate) fn new(mailboxes: u32) -> Self {
        let all: Vec<MailboxId> = (0..mailboxes).map(MailboxId).collect();
        Self {
            cloud: BTreeMap::new(),
            complete: all.iter().copied().collect(),
            disk: BTreeMap::new(),
            readable: (0..mailboxes).map(MaildirId).collect(),
            vanished: BTreeMap::new(),
            synced: SyncedTree::default(),
            routes: all.iter().map(|mailbox| (*mailbox, MaildirId(mailbox.0))).collect(),
            mailboxes: all,
            deleted: None,
            keeps: BTreeSet::new(),
            since: None,
            first_meeting: Side::Cloud,
            max_deletions: Some(u32::MAX),
            deleted_lately: Deletions::new(),
            words: BTreeMap::new(),
            of_removed_folder: BTreeSet::new(),
            readable_flags: flags("DFPRS"),
            settable_flags: flags("FPRS"),
            exclusive_flags: flags("PR"),
            manners: Manners::default(),
            losses: Losses::default(),
            hashes_all: false,
            last: 0,
            takes: BTreeMap::new(),
            readiness: BTreeMap::new(),
            unheard_uploads: Vec::new(),
            rebuilt: RefCell::default(),
            message_ids: RefCell::default(),
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// What the listings show.
    pub(crate) fn cloud_tree(&self) -> CloudTree {
        let messages = self
            .cloud
            .iter()
            .filter(|(_, message)| self.shows(message))
            .map(|(id, message)| {
                let seen = CloudMessage {
                    mailbox: message.mailbox,
                    flags: message.flags,
                    received: UnixSeconds(message.received),
                    hash: message.known.then(|| hash(message.content)),
                    revision: message.flags.contains(Flags::DRAFT).then(|| message.revision.to_string().into()),
                    blocked: message.blocked,
                };
                (id.clone(), seen)
            })
            .collect();
        CloudTree { messages, complete: self.complete.iter().copied().collect() }
    }

    pub(crate) fn shows(&self, message: &Message) -> bool {
        self.mailboxes.contains(&message.mailbox) && (message.listed || self.complete.contains(&message.mailbox))
    }

    /// What a scan shows.
    pub(crate) fn local_tree(&self) -> LocalTree {
        let files = self
            .disk
            .iter()
            .filter(|(key, _)| self.readable.contains(&key.maildir))
            .map(|(key, file)| {
                let base = self.synced.by_file(key).and_then(|row| self.synced.get(row)).map(|row| row.hash);
                let told = base != Some(hash(file.content)) || self.hashes_all;
                let seen = LocalFile { flags: file.flags, hash: told.then(|| hash(file.content)), inode: file.inode };
                (key.clone(), seen)
            })
            .collect();
        LocalTree {
            files,
            readable: self.readable.iter().copied().collect(),
            vanished: self.vanished.iter().map(|(key, absence)| (key.clone(), *absence)).collect(),
        }
    }

    /// The same trees, some of them packed: as they are loaded at a start, and as a daemon packs what has come to rest.
    fn packed(&self, cloud: &CloudTree, local: &LocalTree) -> (CloudTree, LocalTree, SyncedTree) {
        let mut chance = Chance(self.last ^ cloud.messages.len() as u64 ^ (local.files.len() as u64) << 32);
        let mut rows: Vec<(RowId, Row)> = self.synced.iter().collect();
        rows.sort_unstable_by_key(|(id, _)| *id);
        let mut loose: Vec<(RowId, Row)> = rows.extract_if(.., |_| chance.percent(30)).collect();
        let mut synced = SyncedTree::default();
        synced.load(&mut rows);
        loose.drain(..).for_each(|(id, row)| synced.put(id, row));
        synced.skip_to(RowId(self.synced.last_id().0 + 1));
        let mut cloud = cloud.clone();
        let mut local = local.clone();
        let (messages, files) = (std::mem::take(&mut cloud.messages), std::mem::take(&mut local.files));
        synced.share(&mut cloud, &mut local);
        messages.iter().for_each(|(id, message)| cloud.messages.insert(id, message));
        files.iter().for_each(|(key, file)| local.files.insert(key, file));
        if chance.percent(50) {
            cms_engine::pack(&mut cloud, &mut local, &mut synced);
        }
        (cloud, local, synced)
    }

    pub(crate) fn plan(&self, scope: &Scope<'_>, busy: &Busy) -> Plan {
        let deleted = |_| self.deleted;
        let policy = Policy {
            mailboxes: &self.mailboxes,
            same_account: &|_, _| true,
            readable_flags: self.readable_flags,
            settable_flags: self.settable_flags,
            exclusive_flags: self.exclusive_flags,
            deleted_mailbox: &deleted,
            keeps: &|_, mailbox| self.keeps.contains(&mailbox),
            since: &|_| self.since.map(UnixSeconds),
            first_meeting: self.first_meeting,
            max_deletions: self.max_deletions,
            deleted_lately: &self.deleted_lately,
            word: &|row| self.words.get(&row).copied(),
            folder_was_removed: &|row| self.of_removed_folder.contains(&row),
            router: &Routes(&self.routes),
            uploads: self,
            host: "vm",
        };
        let (cloud, local) = (self.cloud_tree(), self.local_tree());
        let plan = plan(&cloud, &local, &self.synced, &policy, scope, busy);
        let (cloud, local, synced) = self.packed(&cloud, &local);
        let of_packed = cms_engine::plan(&cloud, &local, &synced, &policy, scope, busy);
        assert_eq!(format!("{of_packed:?}"), format!("{plan:?}"), "the plan of packed trees, and of the same trees");
        plan.ops.iter().for_each(|op| self.check_scope(op));
        plan
    }

    /// Carries a step out and moves the base by the answer.
    pub(crate) fn carry_out(&mut self, op: &Op) -> Option<RowId> {
        let Some(answer) = self.effect(op) else {
            let (file, message) = match op {
                Op::SetCloudFlags { base, .. } | Op::MoveInCloud { base, .. } => {
                    (Some(base.file.clone()), self.cloud.get(&base.remote))
                }
                Op::DeleteInCloud { row, id, .. } => {
                    (self.synced.get(*row).map(|row| row.file.clone()), self.cloud.get(id))
                }
                _ => (None, None),
            };
            let here = file.as_ref().and_then(|file| self.disk.get(file)).map(|file| file.flags);
            let there = message.map(|message| message.flags);
            let row = self.synced.refuse(op, here, there);
            if let Some(file) = &file {
                self.vanished.remove(file);
            }
            return row;
        };
        if let Op::MoveInCloud { .. } = op
            && let Some(id) = &answer.id
        {
            self.cloud.get_mut(id).unwrap().known = true;
        }
        self.synced.confirm(op, &answer)
    }

    /// Does what a step says to the side that it changes; nothing for a refusal. Panics where the step does harm.
    pub(crate) fn effect(&mut self, op: &Op) -> Option<Answer> {
        let manners = self.manners;
        match op {
            Op::Fetch { id } => {
                let message = self.cloud.get_mut(id).expect("downloads what there is");
                assert!(!message.known && !message.blocked, "downloads once");
                message.known = true;
            }
            Op::Deliver { base, row } => {
                if let Some(old) = row.and_then(|row| self.synced.get(row)) {
                    self.vanished.remove(&old.file);
                }
                self.deliver(&base.file, base.hash, base.flags.local, &base.remote);
            }
            Op::Replace { row, old, base } => {
                self.deliver(&base.file, base.hash, base.flags.local, &base.remote);
                let before = self.synced.get(*row).unwrap();
                let gone = self.disk.remove(old).expect("replaces a file that is there");
                assert_eq!(hash(gone.content), before.hash, "an edited file was replaced");
                assert_ne!(base.hash, before.hash, "replaced by the same");
                *self.losses.replaced.entry(gone.content).or_default() += 1;
            }
            Op::Rename { from, base, .. } => {
                assert!(self.readable.contains(&from.maildir) && self.readable.contains(&base.file.maildir));
                let mut file = self.disk.remove(from).expect("renames a file that is there");
                file.flags = base.flags.local;
                assert!(self.disk.insert(base.file.clone(), file).is_none(), "renamed over another file");
            }
            Op::Remove { row: Some(row), file, .. } => {
                let row = self.synced.get(*row).expect("ends a row that is there").clone();
                assert!(self.readable.contains(&file.maildir) && self.readable.contains(&row.file.maildir));
                assert_eq!(self.complete.len(), self.mailboxes.len(), "removed on the word of half a listing");
                assert!(!self.cloud.get(&row.remote).is_some_and(|message| self.shows(message)));
                let gone = self.disk.remove(file).expect("removes a file that is there");
                assert_eq!(hash(gone.content), row.hash, "an edited file was removed");
                *self.losses.here.entry(gone.content).or_default() += 1;
            }
            Op::Remove { row: None, file, .. } => {
                let gone = self.disk.remove(file).expect("removes a file that is there");
                assert!(gone.flags.contains(Flags::TRASHED), "nobody trashed it");
                assert!(self.disk.values().any(|other| other.content == gone.content), "it was the last copy");
                *self.losses.trashed_originals.entry(gone.content).or_default() += 1;
            }
            Op::SetCloudFlags { add, remove, base, .. } => {
                let message = self.cloud.get_mut(&base.remote).expect("flags a message that is there");
                assert!(!(*add | *remove).is_empty());
                if manners.refuses_flags {
                    return None;
                }
                let mut now = (message.flags - *remove) | *add;
                if manners.own_mind_on_flags {
                    now = message.flags.with(flags("FR"), now);
                }
                for (one, other) in [(Flags::REPLIED, Flags::PASSED), (Flags::PASSED, Flags::REPLIED)] {
                    if now.contains(one | other) && (add.contains(one)) {
                        now = now - other;
                    }
                }
                message.flags = now;
                let flags = manners.own_mind_on_flags.then_some(now);
                return Some(Answer { flags, ..Answer::default() });
            }
            Op::MoveInCloud { row, to, base, deletes } => {
                self.check_row_was_seen(*row);
                if if *deletes { manners.refuses_deletions } else { manners.refuses_moves } {
                    return None;
                }
                let number = self.number();
                let mut message = self.cloud.remove(&base.remote).expect("moves a message that is there");
                assert_ne!(message.mailbox, *to, "moved to where it is");
                message.mailbox = *to;
                message.listed = true;
                if *deletes {
                    *self.losses.in_the_cloud.entry(message.content).or_default() += 1;
                }
                if manners.new_id_on_move {
                    let id = RemoteId::new(format!("moved-{number}"));
                    message.known = false;
                    self.cloud.insert(id.clone(), message);
                    return Some(Answer { id: Some(id), ..Answer::default() });
                }
                self.cloud.insert(base.remote.clone(), message);
            }
            Op::DeleteInCloud { row, id, .. } => {
                self.check_row_was_seen(*row);
                if manners.refuses_deletions {
                    return None;
                }
                let gone = self.cloud.remove(id).expect("deletes a message that is there");
                *self.losses.in_the_cloud.entry(gone.content).or_default() += 1;
            }
            Op::Upload { file, hash: content, mailbox, draft, .. } => {
                return Some(self.upload(file, *content, *mailbox, *draft));
            }
            Op::UpdateDraft { base, .. } => {
                let revision = Some(self.update_draft(base).to_string().into());
                return Some(Answer { revision, ..Answer::default() });
            }
            Op::Record { .. } | Op::Forget { .. } => {}
        }
        Some(Answer::default())
    }

    fn upload(&mut self, file: &FileKey, content: ContentHash, mailbox: MailboxId, draft: bool) -> Answer {
        let on_disk = self.disk.get(file).expect("uploads a file that is there").clone();
        assert_eq!(hash(on_disk.content), content, "uploads something else");
        assert!(!on_disk.flags.contains(Flags::TRASHED), "uploads what was trashed");
        let number = self.number();
        let id = RemoteId::new(format!("uploaded-{number}"));
        let flags = if draft { flags("DS") } else { Flags::NONE };
        let content = self.given(on_disk.content, file);
        let received = 1_000 + i64::try_from(number).unwrap();
        let made =
            Message { mailbox, flags, content, received, known: false, blocked: false, revision: 0, listed: true };
        self.cloud.insert(id.clone(), made);
        let revision = draft.then(|| "0".into());
        Answer { id: Some(id), flags: Some(flags), received: Some(UnixSeconds(received)), revision }
    }

    fn update_draft(&mut self, base: &Row) -> u32 {
        let on_disk = self.disk.get(&base.file).expect("updates from a file that is there");
        assert_eq!(hash(on_disk.content), base.hash, "updates with something else");
        let content = self.given(on_disk.content, &base.file);
        let message = self.cloud.get_mut(&base.remote).expect("updates a message that is there");
        assert!(message.flags.contains(Flags::DRAFT), "updates what isn't a draft");
        *self.losses.updated.entry(message.content).or_default() += 1;
        (message.content, message.known) = (content, false);
        message.revision += 1;
        message.revision
    }

    /// What the cloud has of content that it is given. Its Message-ID is kept, or the one that it is given with.
    pub(crate) fn given(&self, content: Content, file: &FileKey) -> Content {
        if !self.manners.rebuilds {
            return content;
        }
        let origin = (content, file.base_name.clone());
        let mut rebuilt = self.rebuilt.borrow_mut();
        let at = rebuilt.iter().position(|known| *known == origin).unwrap_or_else(|| {
            rebuilt.push(origin);
            rebuilt.len() - 1
        });
        let made = REBUILT + Content::try_from(at).unwrap();
        let own = self.message_id(&hash(content));
        let known_as = own.unwrap_or_else(|| MessageId::for_upload(&hash(content)));
        self.message_ids.borrow_mut().insert(hash(made), known_as);
        made
    }

    /// The content that the cloud has made a content of.
    pub(crate) fn origin(&self, content: Content) -> Content {
        let at = content.checked_sub(REBUILT).map(|at| at as usize);
        at.and_then(|at| Some(self.rebuilt.borrow().get(at)?.0)).unwrap_or(content)
    }

    /// What is kept stays, and what is too old doesn't come.
    fn check_scope(&self, op: &Op) {
        match op {
            Op::Remove { row: Some(row), trashed: false, .. } => {
                let row = self.synced.get(*row).expect("ends a row that is there");
                let is_draft = row.flags.cloud.contains(Flags::DRAFT);
                assert!(is_draft || !self.keeps.contains(&row.mailbox), "removed what is kept");
            }
            Op::Deliver { row: None, base } => {
                assert!(self.since.is_none_or(|since| base.received.0 >= since), "brought what is too old");
            }
            _ => {}
        }
    }

    fn check_row_was_seen(&self, row: RowId) {
        let row = self.synced.get(row).expect("changes a row that is there");
        assert!(self.readable.contains(&row.file.maildir), "an unreadable Maildir changed the cloud");
    }

    fn deliver(&mut self, to: &FileKey, content: ContentHash, flags: Flags, id: &RemoteId) {
        assert!(self.readable.contains(&to.maildir), "delivered into an unreadable Maildir");
        let own = self.cloud.get(id).map(|message| message.content);
        let is_kept = || self.synced.iter().any(|(_, row)| row.remote == *id && self.keeps.contains(&row.mailbox));
        assert!(own.is_some() || is_kept(), "delivers a message that is nowhere");
        let inode = self.number();
        if let Some(there) = self.disk.get_mut(to) {
            assert_eq!(hash(there.content), content, "delivered over another file");
            there.flags = flags;
            return;
        }
        let number = u32::from_le_bytes(content.as_bytes()[..4].try_into().unwrap());
        assert!(own.is_none_or(|own| own == number) || !flags.contains(Flags::TRASHED));
        self.vanished.remove(to);
        self.disk.insert(to.clone(), File { flags, content: number, inode });
    }

    /// Messages by content, wherever they are in the cloud.
    pub(crate) fn contents_in_the_cloud(&self) -> HashMap<Content, usize> {
        count(self.cloud.values().map(|message| message.content))
    }

    /// Files by content, wherever they are on disk.
    pub(crate) fn contents_here(&self) -> HashMap<Content, usize> {
        count(self.disk.values().map(|file| file.content))
    }

    /// Plans and carries out until nothing is left to do.
    pub(crate) fn run(&mut self) {
        for _ in 0..12 {
            let plan = self.plan(&Scope::All, &Busy::default());
            if plan.ops.is_empty() {
                return;
            }
            for op in &plan.ops {
                self.carry_out(op);
            }
        }
        panic!("no rest: {:?}", self.plan(&Scope::All, &Busy::default()).ops);
    }
}

pub(crate) fn count(all: impl Iterator<Item = Content>) -> HashMap<Content, usize> {
    let mut counts = HashMap::new();
    for content in all {
        *counts.entry(content).or_default() += 1;
    }
    counts
}

pub(crate) fn key(maildir: u32, name: &str) -> FileKey {
    FileKey::new(MaildirId(maildir), BaseName::new(name))
}
