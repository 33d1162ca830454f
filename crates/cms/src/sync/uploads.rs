//! What goes to the cloud from the Maildirs, as the planner asks for it: what the mailboxes take, which files are ready, and
//! what is known of contents.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;

use cms_engine::{
    ContentHash, FileKey, Flags, HashMap, HashSet, MailboxId, MessageId, Readiness, RemoteId, Takes, UnixSeconds,
    Uploads,
};
use cms_store::Store;
use tokio::time::Instant;

use crate::sync::message_text::{self, Difference};

/// Answers kept at the most.
const KNOWN_MAX: usize = 10_000;

/// By how much the cloud's clock may be ahead, in seconds.
const CLOCKS_APART: i64 = 300;

/// The planner's view of what can be uploaded.
pub(crate) struct Uploading {
    store: Arc<Store>,
    takes: HashMap<MailboxId, Takes>,
    /// Since when files that are to be uploaded may be.
    ready_at: HashMap<FileKey, Instant>,
    /// Those of them whose time has come and that were planned for since. What they wait for now brings the next plan.
    woken: HashSet<FileKey>,
    /// Files that nobody takes, as they were when that was found out.
    never: HashMap<FileKey, (Flags, Option<ContentHash>)>,
    /// Contents of which nobody knows whether their upload was made.
    unsure: HashSet<ContentHash>,
    /// Messages that were found to be gone while uploads were under way, which may be of them.
    pub(crate) gone_meanwhile: HashSet<RemoteId>,
    /// Whether no further upload can begin now.
    full: bool,
    /// Whether everything counts as ready: nothing is done anyway.
    only_asked: bool,
    /// Whether no earlier run has left any state.
    state_is_new: bool,
    now: Instant,
    /// When this run began.
    opened_at: UnixSeconds,
    // A content never changes, so that one answer holds for good.
    message_ids: RefCell<HashMap<ContentHash, Option<MessageId>>>,
    made_of: RefCell<HashMap<(ContentHash, ContentHash), bool>>,
    /// Whether a content couldn't be read, or taken into the store, since the plan was begun.
    uncertain: Cell<bool>,
}

/// What an upload is known by in the cloud.
pub(crate) struct Address {
    pub(crate) message_id: MessageId,
    /// What goes before the message's own header, so that it has that Message-ID.
    pub(crate) prefix: String,
}

impl Uploading {
    pub(crate) fn new(store: Arc<Store>, only_asked: bool, state_is_new: bool, opened_at: UnixSeconds) -> Self {
        Self {
            store,
            takes: HashMap::default(),
            ready_at: HashMap::default(),
            woken: HashSet::default(),
            never: HashMap::default(),
            unsure: HashSet::default(),
            gone_meanwhile: HashSet::default(),
            full: false,
            only_asked,
            state_is_new,
            now: Instant::now(),
            opened_at,
            message_ids: RefCell::default(),
            made_of: RefCell::default(),
            uncertain: Cell::new(false),
        }
    }

    /// Says how things stand when a plan is made: what the mailboxes take, and whether an upload can begin. `file` tells
    /// what a file is now.
    pub(crate) fn begin(
        &mut self,
        takes: HashMap<MailboxId, Takes>,
        full: bool,
        file: impl Fn(&FileKey) -> Option<(Flags, Option<ContentHash>)>,
    ) {
        self.takes = takes;
        self.full = full;
        self.now = Instant::now();
        self.uncertain.set(false);
        // What has changed may be taken now.
        self.never.retain(|key, was| file(key).is_some_and(|is| is == *was));
        self.ready_at.retain(|key, _| file(key).is_some());
        self.woken.retain(|key| self.ready_at.contains_key(key));
    }

    /// Whether any mailbox takes something, or might.
    pub(crate) fn any(&self) -> bool {
        self.takes.values().any(|takes| takes.drafts || takes.others)
    }

    /// When a file that waits can be uploaded, if that is known.
    pub(crate) fn ready_at(&self, file: &FileKey) -> Option<Instant> {
        self.ready_at.get(file).copied()
    }

    /// Lets a file wait.
    pub(crate) fn wait_until(&mut self, file: &FileKey, at: Instant) {
        self.woken.remove(file);
        self.ready_at.insert(file.clone(), at);
    }

    /// Says that a file was uploaded: its next version is another matter.
    pub(crate) fn done(&mut self, file: &FileKey, content: &ContentHash) {
        self.ready_at.remove(file);
        self.unsure.remove(content);
    }

    /// Says that nobody knows whether the upload of a content was made, until another one finds out.
    pub(crate) fn doubt(&mut self, content: ContentHash) {
        self.unsure.insert(content);
    }

    /// Whether a message that was found when a content was to be uploaded counts as an earlier upload of it. Where the state was
    /// lost, it is most likely the very message that the file was delivered for.
    pub(crate) fn is_earlier_upload(&self, content: &ContentHash) -> bool {
        !self.state_is_new || self.unsure.contains(content)
    }

    /// Whether what was made in the cloud then may be an upload of which nobody heard: an earlier run may have made it, or
    /// there is one that wasn't answered.
    pub(crate) fn may_be_unheard_of(&self, made: UnixSeconds) -> bool {
        made.0 <= self.opened_at.0 + CLOCKS_APART || !self.unsure.is_empty()
    }

    /// Hands out, once, the files whose time has come.
    pub(crate) fn wake(&mut self, now: Instant) -> Vec<FileKey> {
        let due = self.ready_at.iter().filter(|(key, at)| **at <= now && !self.woken.contains(*key));
        let due: Vec<FileKey> = due.map(|(key, _)| key.clone()).collect();
        self.woken.extend(due.iter().cloned());
        due
    }

    /// Says that there is room again for files whose time has come.
    pub(crate) fn rouse(&mut self) {
        self.woken.clear();
    }

    /// Says that nobody takes a file as it is.
    pub(crate) fn give_up(&mut self, file: &FileKey, flags: Flags, hash: Option<ContentHash>) {
        self.ready_at.remove(file);
        self.never.insert(file.clone(), (flags, hash));
    }

    /// Whether nobody takes a file.
    pub(crate) fn is_given_up(&self, file: &FileKey) -> bool {
        self.never.contains_key(file)
    }

    /// The next time at which a file becomes ready.
    pub(crate) fn next_ready(&self) -> Option<Instant> {
        self.ready_at.iter().filter(|(key, _)| !self.woken.contains(*key)).map(|(_, at)| *at).min()
    }

    /// Whether the plan was made without knowing a content that the store should have. A file that seems to be new may then
    /// be another version of a draft that seems to be gone.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.uncertain.get()
    }

    /// Says that the content of a file that may be uploaded couldn't be taken into the store.
    pub(crate) fn miss_a_content(&self) {
        self.uncertain.set(true);
    }

    /// What a content is known by in the cloud. One without a Message-ID is given one.
    pub(crate) fn address(&self, content: &ContentHash) -> io::Result<Address> {
        let header = self.store.header(content)?;
        if let Some(message_id) = message_text::message_id(&header) {
            return Ok(Address { message_id, prefix: String::new() });
        }
        let message_id = MessageId::for_upload(content);
        let takes_it = message_text::takes_another_field(&header);
        let prefix = if takes_it { format!("Message-ID: {message_id}\r\n") } else { String::new() };
        Ok(Address { message_id, prefix })
    }

    /// How what the cloud made of a content differs from it, if both can be read.
    pub(crate) fn difference(&self, here: &ContentHash, there: &ContentHash) -> Option<Difference> {
        self.noting(Difference::between(&self.store.path_of(here), &self.store.path_of(there)))
    }

    /// Notes if something couldn't be read. What the store doesn't have, nobody wanted to upload.
    fn noting<T>(&self, read: io::Result<T>) -> Option<T> {
        if read.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            self.uncertain.set(true);
        }
        read.ok()
    }
}

impl Uploads for Uploading {
    fn takes(&self, mailbox: MailboxId) -> Takes {
        self.takes.get(&mailbox).copied().unwrap_or_default()
    }

    fn readiness(&self, file: &FileKey) -> Readiness {
        match self.ready_at.get(file) {
            _ if self.never.contains_key(file) => Readiness::Never,
            _ if self.only_asked => Readiness::Now,
            Some(at) if *at <= self.now && !self.full => Readiness::Now,
            _ => Readiness::Later,
        }
    }

    fn message_id(&self, content: &ContentHash) -> Option<MessageId> {
        if let Some(known) = self.message_ids.borrow().get(content) {
            return known.clone();
        }
        // What can't be read now may be readable next time.
        let found = message_text::message_id(&self.noting(self.store.header(content))?);
        remember(&mut self.message_ids.borrow_mut(), *content, found.clone());
        found
    }

    fn may_be_made(&self, content: &ContentHash) -> bool {
        self.unsure.contains(content)
    }

    fn is_made_of(&self, in_the_cloud: &ContentHash, here: &ContentHash) -> bool {
        let question = (*in_the_cloud, *here);
        if let Some(known) = self.made_of.borrow().get(&question) {
            return *known;
        }
        let (there, here) = (self.store.path_of(in_the_cloud), self.store.path_of(here));
        let Some(same) = self.noting(message_text::says_the_same(&there, &here)) else { return false };
        remember(&mut self.made_of.borrow_mut(), question, same);
        same
    }
}

fn remember<K: std::hash::Hash + Eq, V>(known: &mut HashMap<K, V>, question: K, answer: V) {
    if known.len() >= KNOWN_MAX {
        known.clear();
    }
    known.insert(question, answer);
}
