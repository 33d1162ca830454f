//! Messages that the cloud doesn't have when it is asked for them by their ids.
//!
//! They may be gone, or have other ids by now: a mailbox that is moved to another server gives all of its messages new ones.
//! Only a listing of the mailbox tells which. Until there is one, nothing is planned for them, or else a file that was moved
//! here meanwhile would be taken for one that nobody has there, and its message be put beside it under the new id.

use cms_engine::{HashMap, MailboxId, RemoteId};
use tokio::time::Instant;

use crate::sync::driver::Driver;

/// Messages that wait for a listing.
#[derive(Default)]
pub(super) struct GoneById {
    /// Of each message that the cloud doesn't have by its id, the mailbox whose listing is waited for, and since when.
    gone: HashMap<RemoteId, (MailboxId, Instant)>,
    /// Messages of which a listing didn't tell and that couldn't be asked for, each with the mailbox that was listed. The next round
    /// asks again.
    unasked: HashMap<RemoteId, MailboxId>,
}

impl GoneById {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.gone.len() + self.unasked.len()
    }

    /// Forgets a message of which more is known now. Returns whether it was one of these.
    pub(super) fn forget(&mut self, id: &RemoteId) -> bool {
        let was_gone = self.gone.remove(id).is_some();
        self.unasked.remove(id).is_some() || was_gone
    }
}

impl Driver {
    /// Whether a round that isn't over yet has told that a message left its mailbox, while a change of ours kept it from being
    /// asked for. Once the round's cursor is saved, that is never told again.
    pub(super) fn is_told_to_be_gone(&self, id: &RemoteId) -> bool {
        let mailbox = self.world.cloud.messages.get(id).and_then(|message| self.mailbox(message.mailbox));
        mailbox.and_then(|mailbox| mailbox.round.as_ref()).is_some_and(|round| round.removals.contains(id))
    }

    /// Lets a message wait for a listing of its mailbox, if both sides have had it and there can be one.
    pub(super) fn wait_for_a_listing(&mut self, id: &RemoteId) -> bool {
        if self.world.synced.by_remote(id).is_none() {
            return false;
        }
        let Some(mailbox) = self.world.cloud.messages.get(id).map(|message| message.mailbox) else { return false };
        let can_be_listed = self.mailbox(mailbox).is_some_and(|its| !its.is_gone && its.left_out.is_none());
        if can_be_listed {
            self.gone_by_id.gone.entry(id.clone()).or_insert((mailbox, Instant::now()));
            self.list_soon(mailbox);
        }
        can_be_listed
    }

    /// Lets a message that both sides have had wait until the mailbox of a round that couldn't ask for it was listed to its end:
    /// it may have another id, and be told of under that.
    pub(super) fn wait_for_the_next_round(&mut self, id: &RemoteId, mailbox: MailboxId) -> bool {
        let is_known = self.world.synced.by_remote(id).is_some();
        if is_known {
            self.gone_by_id.unasked.insert(id.clone(), mailbox);
        }
        is_known
    }

    /// Takes those messages of a mailbox for gone that the last listing, begun after they were asked for, didn't tell of. What
    /// it has asked for anew waits no longer.
    pub(super) fn end_waiting_for_a_listing(&mut self, mailbox: MailboxId) {
        let unasked: Vec<RemoteId> =
            self.gone_by_id.unasked.extract_if(|_, its| *its == mailbox).map(|(id, _)| id).collect();
        for id in unasked {
            self.end_waiting(&id);
        }
        let Some(listed) = self.mailbox(mailbox).and_then(|mailbox| mailbox.polled_at) else { return };
        let (waiting, over): (Vec<_>, Vec<_>) = {
            let of_it = self.gone_by_id.gone.iter().filter(|(_, (its, _))| *its == mailbox);
            of_it.map(|(id, (_, since))| (id.clone(), *since)).partition(|(_, since)| *since > listed)
        };
        for (id, _) in over {
            self.gone_by_id.forget(&id);
            self.world.drop_cloud(&id);
            self.world.end(&id);
        }
        if !waiting.is_empty() {
            self.list_soon(mailbox);
        }
    }

    /// Lists a mailbox without waiting for its time. A single run does so once more.
    fn list_soon(&mut self, id: MailboxId) {
        let watching = self.watching;
        if let Some(mailbox) = self.mailbox_mut(id) {
            mailbox.next_poll = Instant::now();
            mailbox.polled &= watching;
        }
    }
}
