//! The three trees in memory, what was touched since they were last planned for, and the changes that the database
//! hasn't been told yet. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cms_cloud::contract::Seen;
use cms_engine::{
    Absence, Answer, BaseName, Busy, CloudBytes, CloudMessage, CloudTree, ContentHash, FileKey, Flags, HashMap,
    HashSet, LocalFile, LocalTree, MailboxId, MaildirId, Op, Plan, Policy, RemoteId, Row, RowId, Scope, Sides,
    SyncedTree, Touched, UnixSeconds,
};
use cms_maildir::{FileName, Place};
use cms_store::{Change, CloudRecord, ReportedNote, SyncedRecord};

use crate::sync::journal::{Hearsay, Reason};
use crate::sync::scope::{ByTime, Scopes};

/// Where a file is on disk, beyond what the engine needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    /// `new` or `cur`.
    pub(crate) place: Place,
    /// Its whole name.
    pub(crate) name: FileName,
}

/// Why a message can't be downloaded for now.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// In words.
    pub(crate) why: String,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// When it is tried again.
    pub(crate) retry_at: UnixSeconds,
    /// Whether it is this machine's trouble rather than the message's. Then the next start tries it at once.
    pub(crate) is_ours: bool,
}

/// A file that is there and can't be read.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    /// Where it is.
    pub(crate) located: Located,
    /// How often it was tried again.
    pub(crate) tries: u32,
}

/// How many of a Maildir's stored rows are packed together.
const LOADED_TOGETHER: usize = 256;

/// So many rows at rest are worth packing.
const PACKED_TOGETHER: usize = if cfg!(test) { 2 } else { 1000 };

/// How often a file that can't be read is tried again. Until then it may be what a file that went has become.
const TRIES_OF_UNREAD: u32 = 6;

/// The longest that a message waits until its download is tried again, in seconds: a day.
pub(crate) const LONGEST_WAIT: i64 = 86_400;

/// What applying one observation of the cloud came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The tree says so now.
    Yes,
    /// It is too little to go by, or may be older than what we know: the message must be asked for by its id.
    AskFirst,
}

/// The trees and their bookkeeping.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) cloud: CloudTree,
    pub(crate) local: LocalTree,
    pub(crate) synced: SyncedTree,
    /// Where files are that don't lie where [`World::located`] says without this.
    places: HashMap<FileKey, Located>,
    /// So many rows aren't packed until they are looked at with that in mind.
    pack_beyond: usize,
    /// Stored rows until they are enough to be packed.
    loading: BTreeMap<MaildirId, Vec<(RowId, Row)>>,
    /// A further file under a base name that is taken, which only other programs make.
    pub(crate) doubles: HashMap<FileKey, Located>,
    /// Files without a row that may be copies which mutt made, each with the hash that it has without the lengths in its
    /// header.
    pub(crate) saved: HashMap<FileKey, ContentHash>,
    pub(crate) troubles: HashMap<RemoteId, Trouble>,
    /// Files without a row that can't be read, so that nobody knows what they are.
    pub(crate) unread: HashMap<FileKey, Unread>,
    /// Whether a file without a row was gone when it was to be looked at. It has another name or place by now, which may be
    /// heard of only later.
    pub(crate) missed: bool,
    pub(crate) busy: Busy,
    /// The files without a row that changes under way will give to the rows of their messages.
    promised: HashMap<RemoteId, FileKey>,
    /// The rows that work under way is for. Their messages may have had other ids before.
    concerned: HashMap<RemoteId, RowId>,
    /// The ids under which rows know messages that are changed under others.
    known_as: HashMap<RemoteId, RemoteId>,
    touched: Touched,
    everything_touched: bool,
    /// Files without a row. They stay in the scope of every plan, since their match may come later.
    strangers: HashSet<FileKey>,
    /// Messages without a row that nobody is working on.
    homeless: HashSet<RemoteId>,
    /// Rows that the planner left waiting for something to show.
    waiting: HashSet<RowId>,
    /// Files of which the user was told that they are only here.
    reported: HashSet<FileKey>,
    /// About how many bytes messages have whose content isn't known, as far as the cloud told it since the program began.
    sizes: HashMap<RemoteId, u64>,
    changes: Vec<Change>,
    /// What is brought here, and what stays here.
    pub(crate) scopes: Arc<Scopes>,
    pub(super) by_time: ByTime,
    /// How all of this came to be known.
    pub(super) hearsay: Hearsay,
}

impl World {
    /// Plans for what was touched, or for everything the first time and after a rescan.
    pub(crate) fn plan(&mut self, policy: &Policy<'_>) -> Plan {
        let rows = self.rows_to_name(self.touched.ids.iter().chain(&self.homeless));
        self.touched.rows.extend(rows);
        let left_out = self.messages_to_name();
        let mut touched = std::mem::take(&mut self.touched);
        touched.ids.extend(left_out);
        let everything = std::mem::take(&mut self.everything_touched);
        let plan = if everything {
            cms_engine::plan(&self.cloud, &self.local, &self.synced, policy, &Scope::All, &self.busy)
        } else {
            touched.files.extend(self.strangers.iter().cloned());
            touched.ids.extend(self.homeless.iter().cloned());
            touched.rows.extend(self.waiting.iter().copied());
            cms_engine::plan(&self.cloud, &self.local, &self.synced, policy, &Scope::Only(&touched), &self.busy)
        };
        // A waiting row that is being worked on isn't named again; it comes back into scope when that work ends.
        self.waiting = plan.waiting.iter().copied().collect();
        plan
    }

    /// How many entries each of the collections has that could grow without end, for a debugging log.
    pub(crate) fn lengths(&self) -> Vec<(&'static str, usize)> {
        let mut lengths = vec![
            ("messages", self.cloud.messages.len()),
            ("files", self.local.files.len()),
            ("rows", self.synced.len()),
            ("vanished", self.local.vanished.len()),
            ("places", self.places.len()),
            ("troubles", self.troubles.len()),
            ("unread", self.unread.len()),
            ("promised", self.promised.len()),
            ("concerned", self.concerned.len()),
            ("known_as", self.known_as.len()),
            ("strangers", self.strangers.len()),
            ("homeless", self.homeless.len()),
            ("waiting", self.waiting.len()),
            ("reported", self.reported.len()),
            ("sizes", self.sizes.len()),
        ];
        lengths.extend(self.by_time.lengths());
        lengths.extend(self.hearsay.lengths());
        lengths
    }

    /// Whether something was seen of a row since the last plan.
    pub(crate) fn touches(&self, id: RowId) -> bool {
        self.touched.rows.contains(&id)
            || self
                .synced
                .get(id)
                .is_some_and(|row| self.touched.ids.contains(&row.remote) || self.touched.files.contains(&row.file))
    }

    /// The content of every message, among those that the next plan looks at, whose file isn't there or was trashed.
    pub(crate) fn contents_that_went(&self) -> Vec<ContentHash> {
        let went = |row: &&Row| {
            self.local.files.get(&row.file).is_none_or(|file| {
                (file.flags - row.flags.local).contains(Flags::TRASHED) && file.hash.is_none_or(|hash| hash == row.hash)
            })
        };
        self.rows_in_scope().filter(went).map(|row| row.hash).collect()
    }

    /// The files of drafts, among those that the next plan looks at, that were edited here.
    pub(crate) fn edited_drafts(&self) -> Vec<FileKey> {
        let is_edited = |row: &&Row| {
            let hash = self.local.files.get(&row.file).and_then(|file| file.hash);
            row.flags.cloud.contains(Flags::DRAFT) && hash.is_some_and(|hash| hash != row.hash)
        };
        self.rows_in_scope().filter(is_edited).map(|row| row.file.clone()).collect()
    }

    /// The rows that the next plan looks at.
    pub(super) fn rows_in_scope(&self) -> Box<dyn Iterator<Item = &Row> + '_> {
        if self.everything_touched {
            let rows = self.synced.not_at_rest(&self.cloud, &self.local);
            return Box::new(rows.into_iter().filter_map(|row| self.synced.get(row)));
        }
        let files = self.touched.files.iter().chain(self.local.vanished.keys());
        let by_file = files.filter_map(|file| self.synced.by_file(file));
        let by_id = self.touched.ids.iter().filter_map(|id| self.synced.by_remote(id));
        let rows: HashSet<RowId> =
            by_file.chain(by_id).chain(self.touched.rows.iter().chain(&self.waiting).copied()).collect();
        Box::new(rows.into_iter().filter_map(|row| self.synced.get(row)))
    }

    /// Whether anything was touched since the last plan.
    pub(crate) fn is_touched(&self) -> bool {
        self.everything_touched
            || !self.touched.ids.is_empty()
            || !self.touched.files.is_empty()
            || !self.touched.rows.is_empty()
    }

    /// Marks everything as touched.
    pub(crate) fn touch_everything(&mut self) {
        self.everything_touched = true;
    }

    /// Marks a message as touched.
    pub(crate) fn touch(&mut self, id: &RemoteId) {
        self.touched.ids.insert(id.clone());
    }

    /// Marks a row as touched.
    pub(crate) fn touch_row(&mut self, row: RowId) {
        self.touched.rows.insert(row);
    }

    /// Says that work on a message has begun.
    pub(crate) fn begin(&mut self, id: &RemoteId) {
        self.busy.ids.insert(id.clone());
        self.homeless.remove(id);
    }

    /// Says that a message is being worked on for the sake of an op.
    pub(crate) fn begin_op(&mut self, id: &RemoteId, op: &Op) {
        self.begin(id);
        if let Some(row) = op.row() {
            self.concerned.insert(id.clone(), row);
            // Under the id that its row knows, the message would be looked for among others of the same content meanwhile.
            let known_as = self.synced.get(row).map(|row| &row.remote).filter(|known_as| *known_as != id);
            if let Some(known_as) = known_as.cloned()
                && self.busy.ids.insert(known_as.clone())
            {
                self.known_as.insert(id.clone(), known_as);
            }
        }
    }

    /// Says that a change of a message has begun. The file that its row gets by it is that of no twin meanwhile.
    pub(crate) fn begin_change(&mut self, id: &RemoteId, op: &Op) {
        self.begin_op(id, op);
        if let Some(file) = op_base(op).map(|base| &base.file).filter(|file| self.strangers.contains(*file)) {
            self.busy.promised.insert(file.clone());
            self.promised.insert(id.clone(), file.clone());
        }
    }

    /// Says that work on a message has ended, however it ended.
    pub(crate) fn end(&mut self, id: &RemoteId) {
        self.busy.ids.remove(id);
        self.touched.rows.extend(self.concerned.remove(id));
        if let Some(known_as) = self.known_as.remove(id) {
            self.busy.ids.remove(&known_as);
        }
        if let Some(file) = self.promised.remove(id) {
            self.busy.promised.remove(&file);
            self.free_file(&file);
        }
        if self.synced.by_remote(id).is_none()
            && let Some(message) = self.cloud.messages.get(id).cloned()
            && self.is_brought(id, &message)
        {
            self.homeless.insert(id.clone());
        }
        self.touch(id);
    }

    /// Says that the upload of a file has begun.
    pub(crate) fn begin_file(&mut self, key: &FileKey) {
        self.busy.files.insert(key.clone());
    }

    /// Says that the upload of a file has ended, however it ended.
    pub(crate) fn end_file(&mut self, key: &FileKey) {
        self.busy.files.remove(key);
        self.free_file(key);
    }

    fn free_file(&mut self, key: &FileKey) {
        if self.synced.by_file(key).is_none() {
            self.local.vanished.remove(key);
        }
        self.touched.files.insert(key.clone());
    }

    /// Marks a file as touched.
    pub(crate) fn touch_file(&mut self, key: &FileKey) {
        self.touched.files.insert(key.clone());
    }

    /// Takes what the cloud said of a message, with `mailbox` as the place where it was seen.
    pub(crate) fn see(&mut self, seen: &Seen, mailbox: MailboxId) -> Taken {
        let known = self.cloud.messages.get(&seen.id);
        if let Some(size) = seen.size
            && known.is_none_or(|known| known.hash.is_none())
        {
            self.sizes.insert(seen.id.clone(), size);
        }
        let Some(known) = known else {
            // The report of a read mark alone doesn't make a message of one that was never seen.
            let Some(received) = seen.received else { return Taken::AskFirst };
            let message = CloudMessage {
                mailbox,
                flags: seen.flags & seen.known_flags,
                received,
                hash: None,
                revision: seen.revision.clone().map(Into::into),
                blocked: false,
            };
            self.put_cloud(seen.id.clone(), message);
            return Taken::Yes;
        };
        let mut message = known.clone();
        message.mailbox = mailbox;
        let was_draft = message.flags.contains(Flags::DRAFT);
        message.flags = message.flags.with(seen.known_flags, seen.flags);
        if let Some(received) = seen.received {
            message.received = received;
        }
        let is_draft = message.flags.contains(Flags::DRAFT);
        if is_draft && seen.revision.is_some() && seen.revision.as_deref() != message.revision.as_deref() {
            message.revision = seen.revision.clone().map(Into::into);
            message.hash = None;
        }
        if was_draft && !is_draft {
            // Sending gives a draft its final form.
            message.revision = None;
            message.hash = None;
        }
        if message != *known {
            self.put_cloud(seen.id.clone(), message);
        }
        Taken::Yes
    }

    /// About how many bytes a message has that is to be downloaded, if the cloud told.
    pub(crate) fn size(&self, id: &RemoteId) -> Option<u64> {
        self.sizes.get(id).copied()
    }

    /// Says that a message isn't to be taken for a small one.
    pub(crate) fn forget_size(&mut self, id: &RemoteId) {
        self.sizes.remove(id);
    }

    /// Writes a message into the Cloud tree.
    pub(crate) fn put_cloud(&mut self, id: RemoteId, message: CloudMessage) {
        self.changes.push(Change::PutCloud(self.cloud_record(&id, &message)));
        if self.synced.by_remote(&id).is_none() && !self.busy.ids.contains(&id) && self.is_brought(&id, &message) {
            self.homeless.insert(id.clone());
        }
        self.touch(&id);
        self.hearsay.of_message(&id);
        self.cloud.messages.insert(id, message);
    }

    /// Takes a message out of the Cloud tree: it is in none of the configured mailboxes any more.
    pub(crate) fn drop_cloud(&mut self, id: &RemoteId) {
        self.sizes.remove(id);
        if let Some(message) = self.cloud.messages.remove(id) {
            self.note_gone(id, &message);
            self.troubles.remove(id);
            self.homeless.remove(id);
            self.changes.push(Change::DeleteCloud(id.clone()));
            self.hearsay.of_message(id);
            self.touch(id);
        }
    }

    /// Notes that a message can't be downloaded for now, because of what it is.
    pub(crate) fn block(&mut self, id: &RemoteId, why: String, retry_at: impl FnOnce(u32) -> UnixSeconds) {
        self.note_trouble(id, why, false, retry_at);
    }

    /// Notes that a message can't be kept for now, for a reason that lies on this machine.
    pub(crate) fn block_for_now(&mut self, id: &RemoteId, why: String, retry_at: impl FnOnce(u32) -> UnixSeconds) {
        self.note_trouble(id, why, true, retry_at);
    }

    fn note_trouble(&mut self, id: &RemoteId, why: String, is_ours: bool, retry_at: impl FnOnce(u32) -> UnixSeconds) {
        let attempts = self.troubles.get(id).map_or(0, |trouble| trouble.attempts) + 1;
        self.troubles.insert(id.clone(), Trouble { why, attempts, retry_at: retry_at(attempts), is_ours });
        if let Some(mut message) = self.cloud.messages.get(id).cloned() {
            message.blocked = true;
            self.put_cloud(id.clone(), message);
        }
    }

    /// Lets every message be tried again whose time has come, or lies so far ahead that the clock was set back.
    pub(crate) fn unblock_due(&mut self, now: UnixSeconds) {
        let is_due = |at: UnixSeconds| at <= now || (at.0 > now.0 + LONGEST_WAIT && at.0 != i64::MAX);
        let due: Vec<RemoteId> =
            self.troubles.iter().filter(|(_, trouble)| is_due(trouble.retry_at)).map(|(id, _)| id.clone()).collect();
        for id in due {
            if let Some(trouble) = self.troubles.get_mut(&id) {
                trouble.retry_at = UnixSeconds(i64::MAX);
            }
            if let Some(message) = self.cloud.messages.get_mut(&id)
                && message.blocked
            {
                message.blocked = false;
                self.touch(&id);
            }
        }
    }

    /// What a download of a message is of, as the store is to know it: for a draft, that revision of it, so that an older
    /// one which was downloaded before a crash isn't taken for it; for all else the message.
    pub(crate) fn version(&self, id: &RemoteId) -> RemoteId {
        match self.cloud.messages.get(id) {
            Some(CloudMessage { flags, revision: Some(revision), .. }) if flags.contains(Flags::DRAFT) => {
                RemoteId::new(format!("{id} {revision}"))
            }
            _ => id.clone(),
        }
    }

    /// The revision at which a draft is that was uploaded and not read back yet. What is read at another one is what somebody
    /// else has made of it.
    pub(crate) fn uploaded_revision(&self, id: &RemoteId) -> Option<Box<str>> {
        let row = self.synced.get(self.synced.by_remote(id)?)?;
        let message = self.cloud.messages.get(id)?;
        let is_draft = message.flags.contains(Flags::DRAFT);
        message.revision.clone().filter(|_| is_draft && row.cloud_bytes == CloudBytes::Unread)
    }

    /// What both sides agree on of a row that has more to be told: flags that a file was given because the cloud said so look
    /// like the user's wish once the cloud says otherwise. `after` is what the row will be when all is told.
    pub(crate) fn agreed_already(&self, row: RowId, after: &Row) -> Option<Op> {
        let old = self.synced.get(row)?.flags;
        let here = self.local.files.get(&after.file)?.flags;
        let there = self.cloud.messages.get(&after.remote)?.flags;
        let agreed = ((here ^ old.local) & (there ^ old.cloud)) - (here ^ there);
        if agreed.is_empty() {
            return None;
        }
        let flags = Sides { local: old.local.with(agreed, here), cloud: old.cloud.with(agreed, there) };
        Some(Op::Record { row: Some(row), base: Row { flags, ..after.clone() } })
    }

    /// Whether the cloud was heard to say something of messages that their rows don't tell: files may have been brought up to
    /// it.
    pub(crate) fn has_unnoted(&self) -> bool {
        let mut homeless = self.homeless.iter().filter_map(|id| self.cloud.messages.get(id));
        let is_newer = |row: &Row, message: &CloudMessage| {
            let edited = (message.flags | row.flags.cloud).contains(Flags::DRAFT)
                && message.hash.is_some_and(|hash| hash != row.hash);
            edited || message.flags != row.flags.cloud || message.mailbox != row.mailbox
        };
        let mut unlike = self.synced.unlike_the_cloud(&self.cloud);
        homeless.any(|message| message.hash.is_some())
            || unlike
                .any(|(_, row)| self.cloud.messages.get(&row.remote).is_some_and(|message| is_newer(&row, message)))
    }

    /// The downloads that a run which ended early may have completed without writing it down.
    pub(crate) fn awaited_versions(&self) -> impl Iterator<Item = RemoteId> {
        self.cloud.messages.unread().map(|(id, _)| self.version(id))
    }

    /// Notes the content of a message that was downloaded.
    ///
    /// `lost` says that the content of its row is nowhere any more.
    pub(crate) fn fetched(&mut self, id: &RemoteId, hash: ContentHash, lost: bool) {
        self.sizes.remove(id);
        self.troubles.remove(id);
        if let Some(mut message) = self.cloud.messages.get(id).cloned() {
            message.hash = Some(hash);
            message.blocked = false;
            let draft = message.flags.contains(Flags::DRAFT);
            self.put_cloud(id.clone(), message);
            // Exchange may make other bytes of a message each time. It is no other message for that: what was downloaded
            // again because it was lost here takes the place of what was lost.
            let may_be_amended = |row: &Row| {
                let is_draft = draft || row.flags.cloud.contains(Flags::DRAFT);
                // Of a draft these may be another version, which takes the place of nothing but what nobody has.
                row.hash != hash && (!is_draft || !self.local.files.contains_key(&row.file))
            };
            if lost
                && let Some(row) = self.synced.by_remote(id)
                && self.synced.get(row).is_some_and(may_be_amended)
            {
                self.amend_row(row, |row| {
                    row.hash = hash;
                    row.cloud_bytes = CloudBytes::Same;
                });
            }
        }
    }

    /// Writes a file into the Local tree.
    pub(crate) fn put_file(&mut self, key: FileKey, file: LocalFile, located: Located) {
        if !self.local.vanished.is_empty() {
            self.local.vanished.remove(&key);
        }
        if self.synced.by_file(&key).is_none() {
            self.strangers.insert(key.clone());
        }
        if !self.everything_touched {
            self.touched.files.insert(key.clone());
        }
        if !self.unread.is_empty() {
            self.unread.remove(&key);
        }
        self.hearsay.of_file(&key);
        if is_usual(&key, &file, &located) {
            if !self.places.is_empty() {
                self.places.remove(&key);
            }
            self.local.files.put(key, file, located.place == Place::New);
        } else {
            self.local.files.put(key.clone(), file, false);
            self.places.insert(key, located);
        }
    }

    /// Where a file of the Local tree is on disk.
    pub(crate) fn located(&self, key: &FileKey) -> Option<Located> {
        if let Some(located) = self.places.get(key) {
            return Some(located.clone());
        }
        let file = self.local.files.copy_of(key)?;
        let base_name = key.base_name.clone();
        Some(if self.local.files.is_new(key) {
            Located { place: Place::New, name: FileName::bare(base_name) }
        } else {
            Located { place: Place::Cur, name: FileName::new(base_name, file.flags, "") }
        })
    }

    /// Notes that a file of the Local tree is elsewhere.
    pub(crate) fn place(&mut self, key: FileKey, located: Located) {
        if let Some(file) = self.local.files.copy_of(&key) {
            let is_usual = is_usual(&key, &file, &located);
            self.local.files.put(key.clone(), file, is_usual && located.place == Place::New);
            if is_usual {
                self.places.remove(&key);
            } else {
                self.places.insert(key, located);
            }
        }
    }

    /// Packs what has come to rest, if that is worth it, and lets go of what was unpacked to be looked at.
    pub(crate) fn pack(&mut self) {
        if self.synced.unpacked() > self.pack_beyond.max(PACKED_TOGETHER) {
            cms_engine::pack(&mut self.cloud, &mut self.local, &mut self.synced);
            // What couldn't be packed isn't looked at again and again.
            self.pack_beyond = self.synced.unpacked() * 2;
        }
    }

    /// Lets go of what was unpacked to be looked at.
    pub(crate) fn forget_unpacked(&mut self) {
        cms_engine::forget_unpacked(&mut self.cloud, &mut self.local, &mut self.synced);
    }

    /// Notes that a file can't be read. Returns whether that is new.
    pub(crate) fn note_unread(&mut self, key: FileKey, located: Located) -> bool {
        let tries = self.unread.get(&key).map(|unread| unread.tries);
        self.unread.insert(key, Unread { located, tries: tries.unwrap_or_default() });
        tries.is_none()
    }

    /// Writes a file of a row into the Local tree that isn't the one that the row knows and can't be read. Returns whether
    /// that is new.
    pub(crate) fn put_unread(&mut self, key: FileKey, flags: Flags, located: Located) -> bool {
        let known = self.unread.remove(&key);
        let is_new = known.is_none();
        self.put_file(key.clone(), LocalFile { flags, hash: None, inode: 0 }, located.clone());
        self.unread.insert(key, known.unwrap_or(Unread { located, tries: 0 }));
        is_new
    }

    /// Whether any file that can't be read is worth another try soon.
    pub(crate) fn has_unread(&self) -> bool {
        self.unread.values().any(|unread| unread.tries < TRIES_OF_UNREAD)
    }

    /// Hands out the files that couldn't be read and are worth another try, and counts that try.
    pub(crate) fn try_unread(&mut self) -> Vec<(FileKey, Located)> {
        let mut due = Vec::new();
        for (key, unread) in &mut self.unread {
            if unread.tries < TRIES_OF_UNREAD {
                unread.tries += 1;
                due.push((key.clone(), unread.located.clone()));
            }
        }
        due
    }

    /// Takes a file out of the Local tree, and notes how it went if somebody saw it.
    pub(crate) fn drop_file(&mut self, key: &FileKey, absence: Option<Absence>) {
        self.places.remove(key);
        self.strangers.remove(key);
        self.saved.remove(key);
        if self.local.files.remove(key).is_some() {
            if let Some(absence) = absence
                && (self.synced.by_file(key).is_some() || self.busy.has_file(key))
            {
                self.local.vanished.insert(key.clone(), absence);
            }
            self.hearsay.of_file(key);
            self.touched.files.insert(key.clone());
        }
    }

    /// Notes that a file was seen to go which a listing has missed already.
    pub(crate) fn explain_absence(&mut self, key: &FileKey) {
        if self.synced.by_file(key).is_some() && !self.local.files.contains_key(key) {
            self.local.vanished.entry(key.clone()).or_insert(Absence::Settling);
            self.touched.files.insert(key.clone());
        }
    }

    /// Notes that a file which isn't where its row has it was not deleted there.
    pub(crate) fn forget_vanishing(&mut self, key: &FileKey) {
        self.local.vanished.remove(key);
    }

    /// Says that a Maildir can't be read any more: nothing that went from it lately was a deletion.
    pub(crate) fn lose_maildir(&mut self, maildir: MaildirId) {
        self.local.readable.remove(&maildir);
        self.local.files.remove_all_in(maildir);
        self.places.retain(|key, _| key.maildir != maildir);
        self.doubles.retain(|key, _| key.maildir != maildir);
        self.strangers.retain(|key| key.maildir != maildir);
        self.unread.retain(|key, _| key.maildir != maildir);
        self.saved.retain(|key, _| key.maildir != maildir);
        self.local.vanished.retain(|key, _| key.maildir != maildir);
        self.everything_touched = true;
    }

    /// Ends the time in which vanished files of a Maildir may turn up elsewhere. Returns whether there were any.
    pub(crate) fn settle_vanished(&mut self, maildir: MaildirId) -> bool {
        let mut any = false;
        for (key, absence) in &mut self.local.vanished {
            if key.maildir == maildir && *absence == Absence::Settling {
                *absence = Absence::Observed;
                self.touched.files.insert(key.clone());
                any = true;
            }
        }
        any
    }

    /// Whether a file has no row.
    pub(crate) fn is_stranger(&self, key: &FileKey) -> bool {
        self.strangers.contains(key)
    }

    /// The files that have no row.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = &FileKey> {
        self.strangers.iter()
    }

    /// Notes that a place has no row any more. If a file is there, it has the content that the row had, unless it is known
    /// to have another one: without knowing it, nobody could tell what the file is.
    fn orphan(&mut self, file: FileKey, hash: ContentHash) {
        if let Some(found) = self.local.files.get_mut(&file) {
            found.hash.get_or_insert(hash);
            self.strangers.insert(file.clone());
        }
        self.touched.files.insert(file);
    }

    /// Moves the base for a confirmed op, and the trees with it as far as the op says how they are now, and writes it into
    /// the journal.
    pub(crate) fn confirm(&mut self, op: &Op, answer: &Answer, reason: &Reason) {
        let before = op.row();
        let row_before = self.row_before(op);
        let vanished_file = before.and_then(|row| self.synced.get(row)).map(|row| (row.file.clone(), row.hash));
        // A message has one row: one that a new row takes the place of goes from the database first.
        let rivals: Vec<(RowId, Row)> = op_base(op)
            .map(|base| [self.synced.by_remote(&base.remote), self.synced.by_file(&base.file)])
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|rival| Some((rival, self.synced.get(rival)?.clone())))
            .collect();
        let row = self.synced.confirm(op, answer);
        for (rival, lost) in rivals {
            if self.synced.get(rival).is_some() || Some(rival) == before {
                continue;
            }
            self.changes.push(Change::DeleteSynced(rival));
            self.write_rival(rival, &lost, reason);
            let Row { remote, file, hash, .. } = lost;
            // What it stood for is nobody's now.
            if self.synced.by_remote(&remote).is_none()
                && let Some(message) = self.cloud.messages.get(&remote).cloned()
                && self.is_brought(&remote, &message)
            {
                self.homeless.insert(remote.clone());
                self.touch(&remote);
            }
            if self.synced.by_file(&file).is_none() {
                self.orphan(file, hash);
            }
        }
        self.mirror(before, row);
        self.write_journal(op, row, row_before.as_ref(), answer, reason);
        if let Some((file, hash)) = vanished_file
            && self.synced.by_file(&file).is_none()
        {
            self.local.vanished.remove(&file);
            self.orphan(file, hash);
        }
    }

    /// The row that an op concerns, as it is now; for a leftover, that of the message that it is left of.
    fn row_before(&self, op: &Op) -> Option<Row> {
        let row = match op {
            Op::Remove { row: None, file, .. } => self.synced.by_file(file),
            _ => op.row(),
        };
        row.and_then(|row| self.synced.get(row)).cloned()
    }

    /// Moves the base for an op that the cloud refused for good, for that reason.
    pub(crate) fn refuse(&mut self, op: &Op, reason: &Reason, why: String) {
        let Some(before) = op.row() else { return };
        let Some(old) = self.synced.get(before).cloned() else { return };
        let local = self.local.files.get(&old.file).map(|file| file.flags);
        let cloud = self.cloud.messages.get(&old.remote).map(|message| message.flags);
        // A file that was deleted here and can't be deleted there comes back.
        self.local.vanished.remove(&old.file);
        let row = self.synced.refuse(op, local, cloud);
        self.mirror(Some(before), row);
        self.write_refusal(op, &old, reason, why);
        self.touch_row(before);
    }

    /// Changes a row outside of any op.
    pub(crate) fn amend_row(&mut self, id: RowId, change: impl FnOnce(&mut Row)) {
        if let Some(mut row) = self.synced.get(id).cloned() {
            change(&mut row);
            self.synced.put(id, row);
            self.mirror(Some(id), Some(id));
        }
    }

    fn mirror(&mut self, before: Option<RowId>, after: Option<RowId>) {
        if let Some(before) = before
            && Some(before) != after
            && self.synced.get(before).is_none()
        {
            self.changes.push(Change::DeleteSynced(before));
        }
        if let Some(id) = after
            && let Some(row) = self.synced.get(id)
        {
            self.strangers.remove(&row.file);
            self.saved.remove(&row.file);
            self.homeless.remove(&row.remote);
            self.changes.push(Change::PutSynced(synced_record(id, row)));
            self.touched.rows.insert(id);
            self.note_linked(id);
        }
    }

    /// Adds a change that the database is to be told with the next ones.
    pub(crate) fn note(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Hands out the changes that the database hasn't been told yet.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Takes changes back that couldn't be written; they go before whatever came since.
    pub(crate) fn put_back(&mut self, mut changes: Vec<Change>) {
        changes.append(&mut self.changes);
        self.changes = changes;
    }

    /// Whether there is something that the database hasn't been told.
    pub(crate) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    fn cloud_record(&self, id: &RemoteId, message: &CloudMessage) -> CloudRecord {
        let trouble = self.troubles.get(id).filter(|trouble| !trouble.is_ours);
        CloudRecord {
            remote_id: id.clone(),
            mailbox: message.mailbox,
            flags: message.flags,
            received: message.received,
            hash: message.hash,
            revision: message.revision.as_deref().map(Into::into),
            fetched_revision: None,
            trouble: trouble.filter(|_| message.blocked).map(|trouble| trouble.why.clone()),
            retry_at: trouble.filter(|_| message.blocked).map(|trouble| trouble.retry_at),
            attempts: trouble.map_or(0, |trouble| trouble.attempts),
        }
    }

    /// Takes a stored message into the tree at the start.
    pub(crate) fn load_cloud(&mut self, record: CloudRecord) {
        if let (Some(why), Some(retry_at)) = (record.trouble, record.retry_at) {
            let trouble = Trouble { why, attempts: record.attempts, retry_at, is_ours: false };
            self.troubles.insert(record.remote_id.clone(), trouble);
        }
        let message = CloudMessage {
            mailbox: record.mailbox,
            flags: record.flags,
            received: record.received,
            hash: record.hash,
            revision: record.revision.map(Into::into),
            blocked: self.troubles.contains_key(&record.remote_id),
        };
        self.cloud.messages.insert(record.remote_id, message);
    }

    /// The content of every message in the trees.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = ContentHash> {
        self.cloud.messages.values().filter_map(|message| message.hash).chain(self.synced.contents())
    }

    /// Finds the messages without a row, once all trees are loaded.
    pub(crate) fn find_homeless(&mut self) {
        for id in self.cloud.messages.without_row(&self.synced).collect::<Vec<RemoteId>>() {
            if let Some(message) = self.cloud.messages.get(&id).cloned()
                && self.is_brought(&id, &message)
            {
                self.homeless.insert(id);
            }
        }
    }

    /// Takes a stored row into the tree at the start, before the cloud's messages are loaded.
    pub(crate) fn load_row(&mut self, record: SyncedRecord) {
        let Some(remote) = record.remote_id else { return };
        let row = Row {
            remote,
            mailbox: record.mailbox,
            file: FileKey::new(record.maildir, record.base_name),
            flags: Sides { local: record.local_flags, cloud: record.cloud_flags },
            hash: record.hash,
            cloud_bytes: record.cloud_bytes,
            inode: record.inode,
            received: record.received,
            revision: record.revision.map(Into::into),
        };
        let rows = self.loading.entry(row.file.maildir).or_default();
        rows.push((record.row_id, row));
        if rows.len() >= LOADED_TOGETHER {
            self.synced.load(rows);
        }
    }

    /// Says that all rows were loaded. The other trees can answer from them now.
    pub(crate) fn loaded_rows(&mut self) {
        for mut rows in std::mem::take(&mut self.loading).into_values() {
            self.synced.load(&mut rows);
        }
        self.synced.share(&mut self.cloud, &mut self.local);
    }

    /// Takes a stored note that the user was told of a file.
    pub(crate) fn load_reported(&mut self, note: ReportedNote) {
        self.reported.insert(FileKey::new(note.maildir, BaseName::new(note.base_name)));
    }

    /// Whether the user was told that a file is only here.
    pub(crate) fn is_reported(&self, key: &FileKey) -> bool {
        self.reported.contains(key)
    }

    /// Notes that the user was told that a file is only here.
    pub(crate) fn report(&mut self, key: &FileKey) {
        if self.reported.insert(key.clone()) {
            let base_name = key.base_name.as_str().to_owned();
            self.note(Change::Reported(ReportedNote { maildir: key.maildir, base_name, what: ONLY_HERE.to_owned() }));
        }
    }

    /// How long until a message may be tried again that couldn't be downloaded.
    pub(crate) fn next_retry(&self, now: UnixSeconds) -> Option<Duration> {
        let next = self.troubles.values().map(|trouble| trouble.retry_at).filter(|at| at.0 != i64::MAX).min()?;
        let wait = next.0.saturating_sub(now.0).clamp(1, LONGEST_WAIT);
        Some(Duration::from_secs(wait.unsigned_abs()))
    }

    /// How many messages of the cloud have no file yet though nothing is told of why. Counted in the trees: that nothing
    /// failed says little, for a question without an answer fails nowhere.
    pub(crate) fn missing_here(&self) -> usize {
        let is_missing = |id: &&RemoteId| {
            let message = self.cloud.messages.get(id);
            message.is_some_and(|message| self.cloud.complete.contains(&message.mailbox))
                && !self.troubles.contains_key(*id)
                && !message.is_some_and(|message| self.is_left_out(id, message))
                && self.synced.by_remote(id).is_none()
        };
        let busy = self.busy.ids.iter().filter(|id| !self.homeless.contains(*id));
        self.homeless.iter().chain(busy).filter(is_missing).count()
    }

    /// One line for each message that can't be downloaded for now.
    pub(crate) fn trouble_lines(&self) -> Vec<String> {
        self.trouble_lines_where(|_| true)
    }

    /// One line for each message of a mailbox that can't be downloaded for now.
    pub(crate) fn trouble_lines_of(&self, mailbox: MailboxId) -> Vec<String> {
        self.trouble_lines_where(|its| its == mailbox)
    }

    fn trouble_lines_where(&self, wanted: impl Fn(MailboxId) -> bool) -> Vec<String> {
        let mut lines: Vec<String> = self
            .troubles
            .iter()
            .filter_map(|(id, trouble)| {
                let message = self.cloud.messages.get(id).filter(|message| wanted(message.mailbox))?;
                if self.is_nobodys_concern(id, message) {
                    return None;
                }
                let received = message.received;
                Some(format!("the message received {} (id {id}): {}", rfc3339(received), trouble.why))
            })
            .collect();
        lines.sort_unstable();
        lines
    }

    /// Lets a message be downloaded again whose content was lost here.
    pub(crate) fn forget_content(&mut self, id: &RemoteId) {
        if let Some(mut message) = self.cloud.messages.get(id).cloned() {
            message.hash = None;
            message.blocked = false;
            self.put_cloud(id.clone(), message);
        }
    }

    /// Forgets what messages have as their content that the store turned out not to have, so that it is downloaded again.
    pub(crate) fn forget_contents(&mut self, contents: &HashSet<ContentHash>) {
        let rows = self.synced.iter().filter(|(_, row)| contents.contains(&row.hash)).map(|(_, row)| row.remote);
        let known = |message: &CloudMessage| message.hash.is_some_and(|hash| contents.contains(&hash));
        let messages = self.cloud.messages.iter().filter(|(_, message)| known(message)).map(|(id, _)| id);
        let ids: HashSet<RemoteId> = rows.chain(messages).collect();
        for id in ids {
            self.forget_content(&id);
        }
    }

    /// Whether the last plan left a row waiting for something to show.
    pub(crate) fn is_waiting(&self, row: RowId) -> bool {
        self.waiting.contains(&row)
    }

    /// Keeps a held deletion in the scope of every plan, so that none slips through alone later.
    pub(crate) fn keep_in_scope(&mut self, op: &Op) {
        self.waiting.extend(op.row());
    }

    /// Marks what an op concerns as touched, so that it is planned again.
    pub(crate) fn touch_op(&mut self, op: &Op) {
        self.touched.rows.extend(op.row());
        if let Some(id) = op.id(&self.synced) {
            self.touched.ids.insert(id.clone());
        }
        if let Op::Remove { file, .. } | Op::Upload { file, .. } = op {
            self.touched.files.insert(file.clone());
        }
    }
}

/// Whether a file lies in `new` under its base name, or in `cur` under the name that we would write, as nearly all do. Of such
/// a file nothing is noted but which of both.
fn is_usual(key: &FileKey, file: &LocalFile, Located { place, name }: &Located) -> bool {
    match place {
        Place::New => *name == FileName::bare(key.base_name.clone()) && file.flags.is_empty(),
        Place::Cur => *name == FileName::new(key.base_name.clone(), file.flags, ""),
    }
}

/// The note of [`World::report`] in the database.
pub(crate) const ONLY_HERE: &str = "only here";

/// A time as RFC 3339 writes it, in UTC. Days are counted by Howard Hinnant's `civil_from_days`.
pub(crate) fn rfc3339(at: UnixSeconds) -> String {
    let (days, second) = (at.0.div_euclid(86_400), at.0.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

fn op_base(op: &Op) -> Option<&Row> {
    match op {
        Op::Deliver { base, .. }
        | Op::Replace { base, .. }
        | Op::Rename { base, .. }
        | Op::SetCloudFlags { base, .. }
        | Op::MoveInCloud { base, .. }
        | Op::UpdateDraft { base, .. }
        | Op::Record { base, .. } => Some(base),
        Op::Fetch { .. } | Op::Upload { .. } | Op::Remove { .. } | Op::DeleteInCloud { .. } | Op::Forget { .. } => None,
    }
}

fn synced_record(id: RowId, row: &Row) -> SyncedRecord {
    SyncedRecord {
        row_id: id,
        remote_id: Some(row.remote.clone()),
        mailbox: row.mailbox,
        maildir: row.file.maildir,
        base_name: row.file.base_name.clone(),
        local_flags: row.flags.local,
        cloud_flags: row.flags.cloud,
        hash: row.hash,
        cloud_bytes: row.cloud_bytes,
        inode: row.inode,
        received: row.received,
        revision: row.revision.as_deref().map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cms_engine::BaseName;
    use cms_store::Heard;

    fn row_of(remote: RemoteId, number: i64) -> Row {
        Row {
            remote,
            mailbox: MailboxId(1),
            file: FileKey::new(MaildirId(1), BaseName::new(format!("file {number}"))),
            flags: cms_engine::Sides { local: Flags::NONE, cloud: Flags::NONE },
            hash: ContentHash::of(b""),
            cloud_bytes: CloudBytes::Same,
            inode: 0,
            received: UnixSeconds(number),
            revision: None,
        }
    }

    #[test]
    fn f17_what_is_missing_here_is_counted_in_the_trees() {
        let mut world = World::default();
        let mailbox = MailboxId(1);
        world.cloud.complete.insert(mailbox);
        let message = CloudMessage {
            mailbox,
            flags: Flags::NONE,
            received: UnixSeconds(0),
            hash: None,
            revision: None,
            blocked: false,
        };
        for id in ["answered", "unanswered", "elsewhere"] {
            let mailbox = if id == "elsewhere" { MailboxId(2) } else { mailbox };
            world.put_cloud(RemoteId::new(id), CloudMessage { mailbox, ..message.clone() });
        }
        assert_eq!(world.missing_here(), 2, "a mailbox that isn't synced has nothing that could be missing");
        // Both are asked for, and one is never answered: no error tells of it.
        for id in ["answered", "unanswered"] {
            world.begin(&RemoteId::new(id));
        }
        world.end(&RemoteId::new("answered"));
        assert_eq!(world.missing_here(), 2);
        world.block(&RemoteId::new("answered"), "why".to_owned(), |_| UnixSeconds(1));
        assert_eq!(world.missing_here(), 1, "what can't be had is told by itself");
    }

    /// What the collections hold that grow with what happens, by their names.
    fn noted(world: &World) -> Vec<(&'static str, usize)> {
        let noted =
            ["gone_times", "linked_times", "have_waited", "heard_messages", "heard_files", "wishes", "wishes_for"];
        world.lengths().into_iter().filter(|(what, length)| *length > 0 && noted.contains(what)).collect()
    }

    #[test]
    fn nothing_is_left_of_messages_that_are_no_more() {
        let mut world = World::default();
        for number in 0..100 {
            world.hear(Some((Heard::Watch, UnixSeconds(number))));
            let (id, row) = (RemoteId::new(format!("message {number}")), RowId(number.unsigned_abs()));
            let base = row_of(id.clone(), number);
            let message = CloudMessage {
                mailbox: base.mailbox,
                flags: Flags::NONE,
                received: base.received,
                hash: Some(base.hash),
                revision: None,
                blocked: false,
            };
            let file = base.file.clone();
            world.synced.put(row, base);
            world.put_cloud(id.clone(), message);
            world.hearsay.of_file(&file);
            world.drop_cloud(&id);
            if number > 0 {
                world.synced.remove(row);
            }
        }
        assert_eq!(noted(&world), [("gone_times", 100), ("heard_messages", 100), ("heard_files", 100)]);
        world.tidy();
        let one = [("gone_times", 1), ("heard_messages", 1), ("heard_files", 1)];
        assert_eq!(noted(&world), one, "that of the row which is still there");
    }

    #[test]
    fn f27_a_row_whose_change_under_a_new_id_comes_to_nothing_is_looked_at_again() {
        let mut world = World::default();
        let (old, new) = (RemoteId::new("old"), RemoteId::new("new"));
        let base = row_of(old, 0);
        let row = RowId(1);
        world.synced.put(row, base.clone());
        let base = Row { remote: new.clone(), ..base };
        world.begin_change(&new, &Op::SetCloudFlags { row, add: Flags::SEEN, remove: Flags::NONE, base });
        assert_eq!(world.busy.ids.len(), 2, "meanwhile it is looked for under neither id");
        world.end(&new);
        assert!(world.touches(row) && world.busy.ids.is_empty());
    }
}
