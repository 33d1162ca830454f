//! The messages of the Cloud tree.

use std::collections::hash_map::Entry;

use crate::packed::{Bits, Number, Part};
use crate::{CloudMessage, HashMap, MailboxId, RemoteId, Row, SyncedTree};

/// Messages by remote id. Those that are as their rows say may be packed, which nobody notices.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    loose: HashMap<RemoteId, CloudMessage>,
    pub(crate) part: Part<CloudMessage>,
    /// How many of the packed ones are of each mailbox.
    packed_sizes: HashMap<MailboxId, u64>,
}

impl FromIterator<(RemoteId, CloudMessage)> for Messages {
    fn from_iter<T: IntoIterator<Item = (RemoteId, CloudMessage)>>(messages: T) -> Self {
        Self { loose: messages.into_iter().collect(), ..Self::default() }
    }
}

impl Messages {
    /// The message of that id.
    pub fn get(&self, id: &RemoteId) -> Option<&CloudMessage> {
        if let Some(message) = self.loose.get(id) {
            return Some(message);
        }
        let number = self.part.find(|packed| packed.find_remote(id))?;
        self.part.get(number, |packed| packed.message(number))
    }

    /// The same by value, for those who look at very many.
    pub fn copy_of(&self, id: &RemoteId) -> Option<CloudMessage> {
        if let Some(message) = self.loose.get(id) {
            return Some(message.clone());
        }
        self.part.packed().message(self.part.find(|packed| packed.find_remote(id))?)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: &RemoteId) -> Option<&mut CloudMessage> {
        if let Some(message) = self.unpack(id) {
            self.loose.insert(id.clone(), message);
        }
        self.loose.get_mut(id)
    }

    /// Whether there is a message of that id.
    pub fn contains_key(&self, id: &RemoteId) -> bool {
        self.loose.contains_key(id) || self.part.find(|packed| packed.find_remote(id)).is_some()
    }

    /// Puts a message under an id, in the place of one that was there.
    pub fn insert(&mut self, id: RemoteId, message: CloudMessage) {
        if let Some(number) = self.part.packed().find_remote(&id) {
            if self.part.packed().message(number).as_ref() == Some(&message) {
                self.loose.remove(&id);
                self.hold_packed(number);
                return;
            }
            self.let_go_of_packed(number);
        }
        self.loose.insert(id, message);
    }

    /// Puts a message that isn't packed beside those that are.
    pub(crate) fn insert_loose(&mut self, id: RemoteId, message: CloudMessage) {
        self.loose.insert(id, message);
    }

    /// Takes a message out and returns it.
    pub fn remove(&mut self, id: &RemoteId) -> Option<CloudMessage> {
        self.unpack(id).or_else(|| self.loose.remove(id))
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.loose.len() + self.part.live.count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All messages, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (RemoteId, CloudMessage)> {
        let packed = self
            .part
            .live
            .iter()
            .filter_map(|number| Some((self.part.packed().remote(number)?, self.part.packed().message(number)?)));
        packed.chain(self.loose.iter().map(|(id, message)| (id.clone(), message.clone())))
    }

    /// The same without their ids.
    pub fn values(&self) -> impl Iterator<Item = CloudMessage> {
        let packed = self.part.live.iter().filter_map(|number| self.part.packed().message(number));
        packed.chain(self.loose.values().cloned())
    }

    /// Those whose content isn't known.
    pub fn unread(&self) -> impl Iterator<Item = (&RemoteId, &CloudMessage)> {
        // What is packed is known.
        self.loose.iter().filter(|(_, message)| message.hash.is_none())
    }

    /// The ids of all messages that have no row.
    pub fn without_row(&self, synced: &SyncedTree) -> impl Iterator<Item = RemoteId> {
        let has_no_row = |id: &RemoteId| synced.by_remote(id).is_none();
        // A number says the same in both trees only if they share the records.
        let packed =
            self.part.live.iter().filter(|number| !(self.part.shares(&synced.part) && synced.part.live.get(*number)));
        packed
            .filter_map(|number| self.part.packed().remote(number))
            .chain(self.loose.keys().cloned())
            .filter(move |id| has_no_row(id))
    }

    /// How many there are of each mailbox.
    pub fn counts(&self) -> HashMap<MailboxId, u64> {
        // Only what isn't packed is walked: there may be a million others, and this is asked for whenever the page is drawn.
        let mut counts = self.packed_sizes.clone();
        for message in self.loose.values() {
            *counts.entry(message.mailbox).or_default() += 1;
        }
        counts
    }

    /// Says that a packed message is held as its record says.
    pub(crate) fn hold_packed(&mut self, number: Number) {
        if self.part.live.set(number)
            && let Some(head) = self.part.packed().head(number)
        {
            *self.packed_sizes.entry(head.mailbox).or_default() += 1;
        }
    }

    /// Says that a packed message isn't held any more. Whether it was comes back.
    fn let_go_of_packed(&mut self, number: Number) -> bool {
        let was_held = self.part.live.clear(number);
        if was_held
            && let Some(head) = self.part.packed().head(number)
            && let Entry::Occupied(mut count) = self.packed_sizes.entry(head.mailbox)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        was_held
    }

    /// Takes out which of the packed ones are held, and the records.
    pub(crate) fn take_packed(&mut self) -> Bits {
        self.packed_sizes.clear();
        self.part.take().0
    }

    /// Whether there is a message as a row says that it was.
    pub(crate) fn is_as(&self, row: &Row) -> bool {
        if let Some(message) = self.loose.get(&row.remote) {
            return message.is_at_rest(row);
        }
        let number = self.part.find(|packed| packed.find_remote(&row.remote));
        number.and_then(|number| self.part.packed().message(number)).is_some_and(|message| message.is_at_rest(row))
    }

    pub(crate) fn shrink(&mut self) {
        self.loose.shrink_to(0);
    }

    /// Takes a packed message out and returns it.
    fn unpack(&mut self, id: &RemoteId) -> Option<CloudMessage> {
        let number = self.part.packed().find_remote(id)?;
        if !self.let_go_of_packed(number) {
            return None;
        }
        self.part.packed().message(number)
    }
}
