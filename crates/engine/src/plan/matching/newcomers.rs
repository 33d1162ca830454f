//! Messages that no row has, to be given to the rows that they belong to.

use std::cell::OnceCell;

use crate::plan::matching::may_be_origin;
use crate::plan::{Busy, Policy};
use crate::{
    CloudMessage, CloudTree, ContentHash, Flags, HashMap, HashSet, MessageId, RemoteId, Row, SyncedTree, UnixSeconds,
};

/// Messages without a row, found by content and by time. Each is given away once.
pub(super) struct Newcomers<'a> {
    pub(super) cloud: &'a CloudTree,
    pub(super) order: Vec<RemoteId>,
    pub(super) free: HashSet<RemoteId>,
    by_hash: HashMap<ContentHash, Vec<RemoteId>>,
    synced: &'a SyncedTree,
    busy: &'a Busy,
    unread: Unread,
    /// What is being worked on, looked through only when somebody asks: on a first sync that is the whole mailbox, and
    /// nobody does.
    busy_unread: OnceCell<Unread>,
}

/// Messages of which nobody can tell yet whose they are, because their content isn't known or is just being changed.
#[derive(Default)]
struct Unread {
    times: HashSet<UnixSeconds>,
    /// Whether the content of a draft among them isn't known yet.
    draft: bool,
}

impl<'a> Newcomers<'a> {
    pub(super) fn new(
        mut ids: Vec<RemoteId>,
        cloud: &'a CloudTree,
        synced: &'a SyncedTree,
        policy: &Policy<'_>,
        busy: &'a Busy,
    ) -> Self {
        let mut by_hash: HashMap<ContentHash, Vec<RemoteId>> = HashMap::default();
        let mut unread = Unread::default();
        ids.retain(|id| !busy.ids.contains(id));
        for id in &ids {
            let Some(message) = cloud.messages.get(id) else { continue };
            match message.hash {
                Some(hash) => by_hash.entry(hash).or_default().push(id.clone()),
                None => unread.note(message, policy.brings(message)),
            }
        }
        let free = ids.iter().cloned().collect();
        Self { cloud, order: ids, free, by_hash, synced, busy, unread, busy_unread: OnceCell::new() }
    }

    /// Whether a message that was received then may be any of that time, since its content isn't known.
    pub(super) fn has_unread_of(&self, received: UnixSeconds) -> bool {
        self.unread.times.contains(&received) || self.busy_unread().times.contains(&received)
    }

    /// Whether the content of a draft isn't known yet.
    pub(super) fn has_unread_draft(&self) -> bool {
        self.unread.draft || self.busy_unread().draft
    }

    /// One that is being worked on isn't touched, and can't be told yet whose it is all the same.
    fn busy_unread(&self) -> &Unread {
        self.busy_unread.get_or_init(|| {
            let mut unread = Unread::default();
            for id in self.busy.ids.iter().filter(|id| self.synced.by_remote(id).is_none()) {
                if let Some(message) = self.cloud.messages.get(id) {
                    unread.note(message, true);
                }
            }
            unread
        })
    }

    /// Gives away the free message with the row's content that is most like it, unless that is less like it than `most`.
    pub(super) fn take(&mut self, row: &Row, most: u8) -> Option<RemoteId> {
        let (_, best) = self
            .by_hash
            .get(&row.hash_in_the_cloud())?
            .iter()
            .filter(|id| self.free.contains(*id))
            .filter_map(|id| {
                let message = self.cloud.messages.get(id)?;
                // The time never changes, the mailbox may.
                let rank = 2 * u8::from(message.received != row.received) + u8::from(message.mailbox != row.mailbox);
                (rank <= most).then_some((rank, id))
            })
            .min()?;
        let best = best.clone();
        self.free.remove(&best);
        Some(best)
    }

    /// Gives away the free draft that the cloud has made of a content.
    pub(super) fn take_made_of(&mut self, content: &ContentHash, policy: &Policy<'_>) -> Option<RemoteId> {
        let mut free = self.order.iter().filter(|id| self.free.contains(*id));
        let found = free.find(|id| self.is_made_of(id, content, policy))?.clone();
        self.free.remove(&found);
        Some(found)
    }

    /// Whether a message is a draft that the cloud has made of a content.
    pub(super) fn is_made_of(&self, id: &RemoteId, content: &ContentHash, policy: &Policy<'_>) -> bool {
        let message = self.cloud.messages.get(id).filter(|message| message.flags.contains(Flags::DRAFT));
        let Some((message, hash)) = message.and_then(|message| Some((message, message.hash?))) else { return false };
        let known_as = policy.uploads.message_id(content).unwrap_or_else(|| MessageId::for_upload(content));
        policy.uploads.message_id(&hash) == Some(known_as) && may_be_origin(message, content, policy)
    }

    pub(super) fn left(&self) -> Vec<RemoteId> {
        self.order.iter().filter(|id| self.free.contains(*id)).cloned().collect()
    }
}

impl Unread {
    /// One that isn't to come here is never read.
    fn note(&mut self, message: &CloudMessage, is_to_come: bool) {
        self.times.insert(message.received);
        let is_read_soon = is_to_come && message.hash.is_none() && !message.blocked;
        self.draft |= message.flags.contains(Flags::DRAFT) && is_read_soon;
    }
}
