//! Messages that the cloud doesn't have when it is asked for them by their ids.
//!
//! They may be gone, or have other ids by now: a mailbox that is moved to another server gives all of its messages new ones.
//! Only a listing of the mailbox tells which. Until there is one, nothing is planned for them, or else a file that was moved
//! here meanwhile would be taken for one that nobody has there, and its message be put beside it under the new id.

use cms_engine::{HashMap, MailboxId, RemoteId};
use tokio::time::Instant;

use crate::sync::driver::Driver;

/// Of each such message, the mailbox whose listing is waited for, and since when.
#[derive(Default)]
pub(super) struct GoneById(HashMap<RemoteId, (MailboxId, Instant)>);

impl GoneById {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets a message of which more is known now. Returns whether it was one of these.
    pub(super) fn forget(&mut self, id: &RemoteId) -> bool {
        self.0.remove(id).is_some()
    }
}

impl Driver {
    /// Whether a round that isn't over yet has told that a message left its mailbox, while a change of ours kept it from being
    /// asked for. Once the round's cursor is saved, that is never told again.
    pub(super) fn is_told_to_be_gone(&self, id: &RemoteId) -> bool {
        let mailbox = self.world.cloud.messages.get(id).and_then(|message| self.mailbox(message.mailbox));
        mailbox.and_then(|mailbox| mailbox.round.as_ref()).is_some_and(|round| round.removals.contains(id))
    }

    /// Lets a message wait for a listing of its mailbox, if both sides have had it and there can be one, and has that listed soon.
    pub(super) fn wait_for_a_listing(&mut self, id: &RemoteId) -> bool {
        let mailbox = self.wait_for_the_next_listing(id);
        if let Some(mailbox) = mailbox {
            self.list_soon(mailbox);
        }
        mailbox.is_some()
    }

    /// The same, for whenever the listing comes. Returns of which mailbox that is.
    pub(super) fn wait_for_the_next_listing(&mut self, id: &RemoteId) -> Option<MailboxId> {
        self.world.synced.by_remote(id)?;
        let mailbox = self.world.cloud.messages.get(id)?.mailbox;
        self.mailbox(mailbox).filter(|its| !its.is_gone && its.left_out.is_none())?;
        self.gone_by_id.0.entry(id.clone()).or_insert((mailbox, Instant::now()));
        Some(mailbox)
    }

    /// Takes those messages of a mailbox for gone that the last listing, begun after they were asked for, didn't tell of.
    pub(super) fn end_waiting_for_a_listing(&mut self, mailbox: MailboxId) {
        let Some(listed) = self.mailbox(mailbox).and_then(|mailbox| mailbox.polled_at) else { return };
        let (waiting, over): (Vec<_>, Vec<_>) = {
            let of_it = self.gone_by_id.0.iter().filter(|(_, (its, _))| *its == mailbox);
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
