//! Telling: one task for each subscription, for as long as that lives.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::address::Address;
use super::list::{LifecycleEvent, Subscription};
use crate::clock;
use crate::cloud::{Inner, lock};
use crate::mailbox::Event;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often is looked whether a subscription is over.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What tells of one subscription.
pub(super) struct Teller {
    inner: Weak<Inner>,
    id: String,
    base: String,
    /// The mailbox's number of the newest change that was told or is too old to be.
    position: u64,
    mailbox: watch::Receiver<u64>,
    orders: watch::Receiver<u64>,
}

/// Tells of a subscription from now on.
pub(super) fn begin(inner: &Arc<Inner>, subscription: &Subscription, base: &str) {
    let Some(mailbox) = inner.mailbox(&subscription.state.user) else { return };
    let mailbox = lock(mailbox).news.subscribe();
    let position = *mailbox.borrow();
    let teller = Teller {
        inner: Arc::downgrade(inner),
        id: subscription.state.id.clone(),
        base: base.to_owned(),
        position,
        mailbox,
        orders: inner.webhooks.orders.subscribe(),
    };
    tokio::spawn(teller.run());
}

impl Teller {
    async fn run(mut self) {
        loop {
            tokio::select! {
                changed = self.mailbox.changed() => if changed.is_err() { return },
                changed = self.orders.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(BETWEEN_LOOKS) => {}
            }
            let Some(inner) = self.inner.upgrade() else { return };
            while let Some(event) = inner.webhooks.next_event(&self.id) {
                self.tell_event(&inner, event).await;
            }
            let Some(subscription) = inner.webhooks.get(&self.id) else { return };
            let news = self.news(&inner, &subscription);
            // What happens meanwhile is lost to the client.
            if !news.is_empty() && !subscription.is_paused && !inner.knobs().webhooks_lost {
                self.tell(&inner, &subscription.notify, &json!({"value": news})).await;
            }
        }
    }

    async fn tell_event(&self, inner: &Arc<Inner>, event: LifecycleEvent) {
        let Some(subscription) = inner.webhooks.get(&self.id) else { return };
        if event == LifecycleEvent::SubscriptionRemoved {
            inner.webhooks.remove(&self.id);
        }
        let state = &subscription.state;
        let told = json!({
            "subscriptionId": state.id,
            "subscriptionExpirationDateTime": clock::format(state.expires),
            "organizationId": "00000000-0000-0000-0000-000000000001",
            "tenantId": "00000000-0000-0000-0000-000000000001",
            "clientState": state.client_state,
            "lifecycleEvent": event.name(),
        });
        if let Some((_, address)) = &subscription.lifecycle {
            self.tell(inner, address, &json!({"value": [told]})).await;
        }
    }

    /// Sends it until it is taken or nobody is there any more to take it.
    async fn tell(&self, inner: &Arc<Inner>, address: &Address, what: &Value) {
        let mut pause = Duration::from_millis(inner.knobs().webhook_retry_ms);
        loop {
            let answer = address.post("application/json", &what.to_string(), PATIENCE).await;
            if answer.is_ok_and(|answer| (200..300).contains(&answer.status)) {
                inner.webhooks.delivered.fetch_add(1, Ordering::Relaxed);
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if inner.webhooks.get(&self.id).is_none() {
                return;
            }
        }
    }

    /// What happened in the folder since that was last looked at.
    fn news(&mut self, inner: &Inner, subscription: &Subscription) -> Vec<Value> {
        let Some(mailbox) = inner.mailbox(&subscription.state.user) else { return Vec::new() };
        let mailbox = lock(mailbox);
        let from = std::mem::replace(&mut self.position, mailbox.sequence);
        let Some(folder) = mailbox.folder(subscription.folder) else { return Vec::new() };
        let at = folder.log.partition_point(|entry| entry.sequence <= from);
        let entries = folder.log.get(at..).unwrap_or_default().iter();
        let change = |event: &Event| match event {
            Event::Arrived { .. } => "created",
            Event::Changed | Event::ReadToggled => "updated",
            Event::Left { .. } => "deleted",
        };
        let wanted = entries.filter(|entry| subscription.changes.iter().any(|one| one == change(&entry.event)));
        let state = &subscription.state;
        wanted
            .map(|entry| {
                let id = if subscription.immutable {
                    mailbox.ids.immutable(entry.key)
                } else {
                    mailbox.ids.classic(entry.key, subscription.folder, 0)
                };
                let resource = format!("Users/{}/Messages/{id}", state.user);
                json!({
                    "subscriptionId": state.id,
                    "subscriptionExpirationDateTime": clock::format(state.expires),
                    "changeType": change(&entry.event),
                    "resource": resource,
                    "clientState": state.client_state,
                    "tenantId": "00000000-0000-0000-0000-000000000001",
                    "resourceData": {
                        "@odata.type": "#Microsoft.Graph.Message",
                        "@odata.id": format!("{}/v1.0/{resource}", self.base),
                        "@odata.etag": "W/\"CQAAABYAAAC\"",
                        "id": id,
                    },
                })
            })
            .collect()
    }
}
