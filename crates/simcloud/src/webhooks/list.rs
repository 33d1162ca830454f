//! Who is told of what, and what the administrator has told to them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::address::Address;
use crate::clock;

/// What is told of a subscription itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LifecycleEvent {
    /// Notifications were lost.
    Missed,
    /// The subscription is no more; so it is when this is told.
    SubscriptionRemoved,
    /// Nothing more is told until the subscription is renewed.
    ReauthorizationRequired,
}

impl LifecycleEvent {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::SubscriptionRemoved => "subscriptionRemoved",
            Self::ReauthorizationRequired => "reauthorizationRequired",
        }
    }
}

/// A subscription, as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebhookState {
    /// The subscription's id.
    pub id: String,
    /// Whose mailbox.
    pub user: String,
    /// What of it, as the client wrote it.
    pub resource: String,
    /// Where notifications go.
    pub notification_url: String,
    /// What the client is to know its subscription by.
    pub client_state: String,
    /// When it ends, in seconds since 1970.
    pub expires: i64,
    /// How often it was renewed.
    pub renewals: u64,
}

/// One subscription to a folder's messages.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) state: WebhookState,
    pub(super) folder: u32,
    pub(super) changes: Vec<String>,
    pub(super) immutable: bool,
    pub(super) notify: Address,
    pub(super) lifecycle: Option<(String, Address)>,
    /// What is to be told of it.
    pub(super) events: VecDeque<LifecycleEvent>,
    /// Whether nothing of the mailbox is told until it is renewed.
    pub(super) is_paused: bool,
}

impl Subscription {
    /// As the interface tells it.
    pub(super) fn told(&self, base: &str) -> Value {
        let state = &self.state;
        json!({
            "@odata.context": format!("{base}/v1.0/$metadata#subscriptions/$entity"),
            "id": state.id,
            "resource": state.resource,
            "applicationId": null,
            "changeType": self.changes.join(","),
            // The service never says it again.
            "clientState": null,
            "notificationUrl": state.notification_url,
            "lifecycleNotificationUrl": self.lifecycle.as_ref().map(|(written, _)| written),
            "expirationDateTime": clock::format(state.expires),
            "creatorId": state.user,
        })
    }
}

/// All subscriptions.
#[derive(Default)]
pub(crate) struct Webhooks {
    list: Mutex<BTreeMap<String, Subscription>>,
    /// Changes whenever there is something to do besides telling of the mailbox.
    pub(super) orders: watch::Sender<u64>,
    /// POSTs that were answered as they should be.
    pub(super) delivered: AtomicU64,
}

impl Webhooks {
    fn list(&self) -> MutexGuard<'_, BTreeMap<String, Subscription>> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        list.retain(|_, one| one.state.expires > now);
        list
    }

    pub(super) fn add(&self, subscription: Subscription) {
        self.list().insert(subscription.state.id.clone(), subscription);
    }

    pub(super) fn get(&self, id: &str) -> Option<Subscription> {
        self.list().get(id).cloned()
    }

    pub(super) fn of(&self, user: &str) -> Vec<Subscription> {
        self.list().values().filter(|one| one.state.user == user).cloned().collect()
    }

    pub(super) fn remove(&self, id: &str) -> Option<Subscription> {
        let removed = self.list().remove(id);
        self.orders.send_modify(|orders| *orders += 1);
        removed
    }

    /// Renews one that is the user's.
    pub(super) fn renew(&self, id: &str, user: &str, expires: i64) -> Option<Subscription> {
        let mut list = self.list();
        let one = list.get_mut(id).filter(|one| one.state.user == user)?;
        one.state.expires = expires;
        one.state.renewals += 1;
        one.is_paused = false;
        Some(one.clone())
    }

    /// The next event that a subscription is to be told.
    pub(super) fn next_event(&self, id: &str) -> Option<LifecycleEvent> {
        self.list().get_mut(id).and_then(|one| one.events.pop_front())
    }

    pub(crate) fn states(&self) -> Vec<WebhookState> {
        self.list().values().map(|one| one.state.clone()).collect()
    }

    /// POSTs that were answered as they should be.
    pub(crate) fn deliveries(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Has this told to all subscriptions.
    pub(crate) fn tell(&self, event: LifecycleEvent) {
        for one in self.list().values_mut() {
            one.events.push_back(event);
            one.is_paused |= event == LifecycleEvent::ReauthorizationRequired;
        }
        self.orders.send_modify(|orders| *orders += 1);
    }

    /// Forgets all subscriptions, and tells nobody.
    pub(crate) fn forget(&self) {
        self.list().clear();
        self.orders.send_modify(|orders| *orders += 1);
    }
}
