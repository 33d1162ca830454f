//! Who wants to hear of what, and what the administrator does to those who listen.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::watch;
use tokio::time::Instant;

/// One subscription to a folder's messages.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) user: String,
    pub(super) folder: u32,
    pub(super) resource: String,
    /// The kinds of changes that are wanted.
    pub(super) changes: Vec<String>,
    /// It ends then unless a channel is open.
    pub(super) until: Instant,
    /// How many channels are open for it.
    pub(super) open: usize,
    /// How many notifications were told.
    pub(super) told: u64,
}

/// How often each thing was done to all channels that were open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    pub(super) cut: u64,
    pub(super) silence: u64,
    pub(super) missed: u64,
    pub(super) dropped: u64,
    pub(super) ended: u64,
}

/// All subscriptions.
#[derive(Default)]
pub(crate) struct Subscriptions {
    list: Mutex<HashMap<String, Subscription>>,
    orders: watch::Sender<Orders>,
}

impl Subscriptions {
    fn list(&self) -> MutexGuard<'_, HashMap<String, Subscription>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is done to channels, from now on.
    pub(super) fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }

    pub(super) fn add(&self, subscription: Subscription) -> String {
        let guid = || crate::ids::guid_text(rand::random());
        let id = STANDARD.encode(format!("{}_{}", guid(), guid()).to_uppercase());
        self.list().insert(id.clone(), subscription);
        id
    }

    /// Opens a channel for these; says whether all of them are there and the user's.
    pub(super) fn open(&self, ids: &[String], user: &str) -> bool {
        let mut list = self.list();
        let now = Instant::now();
        list.retain(|_, one| one.open > 0 || one.until > now);
        if !ids.iter().all(|id| list.get(id).is_some_and(|one| one.user == user)) {
            return false;
        }
        for id in ids {
            if let Some(one) = list.get_mut(id) {
                one.open += 1;
            }
        }
        true
    }

    /// Closes a channel: from now on the subscriptions live for as long as without one.
    pub(super) fn close(&self, ids: &[String], idle: Duration) {
        let mut list = self.list();
        for id in ids {
            if let Some(one) = list.get_mut(id) {
                one.open = one.open.saturating_sub(1);
                one.until = Instant::now() + idle;
            }
        }
    }

    /// A subscription as it stands.
    pub(super) fn get(&self, id: &str) -> Option<Subscription> {
        self.list().get(id).cloned()
    }

    /// Counts a notification of a subscription, and says the how-manieth it is.
    pub(super) fn count(&self, id: &str) -> u64 {
        self.list().get_mut(id).map_or(0, |one| {
            one.told += 1;
            one.told
        })
    }

    /// How many channels are open, each subscription's for itself.
    pub(crate) fn channels(&self) -> usize {
        self.list().values().map(|one| one.open).sum()
    }

    /// Breaks the connection of every open channel.
    pub(crate) fn cut(&self) {
        self.orders.send_modify(|orders| orders.cut += 1);
    }

    /// Lets nothing more come over the channels that are open, and leaves the connections as they are.
    pub(crate) fn silence(&self) {
        self.orders.send_modify(|orders| orders.silence += 1);
    }

    /// Ends every open channel as if its time were over.
    pub(crate) fn end(&self) {
        self.orders.send_modify(|orders| orders.ended += 1);
    }

    /// Tells every open channel that notifications were lost.
    pub(crate) fn miss(&self) {
        self.orders.send_modify(|orders| orders.missed += 1);
    }

    /// Forgets all subscriptions, which ends the channels that are open.
    pub(crate) fn expire(&self) {
        self.list().clear();
        self.orders.send_modify(|orders| orders.dropped += 1);
    }
}
