//! What fate does to those who are told of changes at an address of theirs.

use super::Cloud;
use crate::webhooks::{LifecycleEvent, WebhookState};

impl Cloud {
    /// The subscriptions whose notifications go to an address, by their ids.
    pub fn webhooks(&self) -> Vec<WebhookState> {
        self.inner().webhooks.states()
    }

    /// How many notifications were taken where they were sent, several in one counted once.
    pub fn webhook_deliveries(&self) -> u64 {
        self.inner().webhooks.deliveries()
    }

    /// Has something told of all these subscriptions themselves.
    pub fn tell_webhooks(&self, event: LifecycleEvent) {
        self.inner().webhooks.tell(event);
    }

    /// Forgets all of them without a word.
    pub fn forget_webhooks(&self) {
        self.inner().webhooks.forget();
    }
}
