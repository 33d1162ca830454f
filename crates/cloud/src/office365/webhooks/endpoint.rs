//! Where notifications arrive: what the listener and the accounts' subscriptions have in common.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::Notify;
use tracing::debug;
use url::Url;

use super::client_state::ClientState;
use super::notification::{self, Told};

/// An address at which change notifications arrive, for all accounts. Anybody may send something there, so that nothing
/// is believed but that it may make sense to look, and that only of who knows the secret of a subscription.
#[derive(Clone)]
pub struct Webhook(Arc<Inner>);

struct Inner {
    url: Url,
    /// How many subscriptions are being made.
    expected: AtomicUsize,
    known: Mutex<HashMap<String, Known>>,
    ignored: AtomicU64,
}

/// A subscription of ours.
struct Known {
    client_state: ClientState,
    line: Arc<Line>,
}

/// What was told and not looked at yet. One look serves all that was told of a subscription, so that it never grows.
#[derive(Default)]
pub(super) struct Line {
    told: Mutex<BTreeSet<(String, Told)>>,
    news: Notify,
}

/// What arrived isn't a list of notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no list of notifications")]
pub struct NotNotifications;

/// While this lives, the service may ask whether somebody is here.
pub(super) struct Expecting(Arc<Inner>);

impl Drop for Expecting {
    fn drop(&mut self) {
        self.0.expected.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Webhook {
    /// An address that the service can reach.
    pub fn new(url: Url) -> Self {
        let expected = AtomicUsize::new(0);
        Self(Arc::new(Inner { url, expected, known: Mutex::default(), ignored: AtomicU64::new(0) }))
    }

    /// The address.
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    /// Whether the service has a reason just now to ask whether somebody is here: a subscription is being made.
    pub fn expects_handshake(&self) -> bool {
        self.0.expected.load(Ordering::Relaxed) > 0
    }

    /// Takes what was sent. Whose secret is wrong, or whose subscription isn't known, isn't told so.
    pub fn take(&self, body: &[u8]) -> Result<(), NotNotifications> {
        let body: Value = serde_json::from_slice(body).map_err(|_| NotNotifications)?;
        let known = self.known();
        let mut ignored = 0;
        for one in notification::list(&body).ok_or(NotNotifications)? {
            match known.get(one.subscription).filter(|known| known.client_state.is(one.client_state)) {
                Some(known) => known.line.tell(one.subscription, one.told),
                None => ignored += 1,
            }
        }
        drop(known);
        if ignored > 0 {
            let all = self.0.ignored.fetch_add(ignored, Ordering::Relaxed) + ignored;
            debug!(ignored, all, "Notifications weren't for a subscription of this process");
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn expect(&self) -> Expecting {
        self.0.expected.fetch_add(1, Ordering::Relaxed);
        Expecting(Arc::clone(&self.0))
    }

    pub(super) fn add(&self, id: String, client_state: ClientState, line: Arc<Line>) {
        self.known().insert(id, Known { client_state, line });
    }

    pub(super) fn remove(&self, id: &str) {
        self.known().remove(id);
    }

    pub(super) fn knows(&self, id: &str) -> bool {
        self.known().contains_key(id)
    }
}

impl Line {
    fn told(&self) -> MutexGuard<'_, BTreeSet<(String, Told)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, subscription: &str, told: Told) {
        self.told().insert((subscription.to_owned(), told));
        self.news.notify_one();
    }

    /// What was told since this was last asked.
    pub(super) fn take(&self) -> BTreeSet<(String, Told)> {
        std::mem::take(&mut *self.told())
    }

    /// Waits until something is told.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// An endpoint that knows one subscription, its secret, and what hears of it.
    fn one() -> (Webhook, ClientState, Arc<Line>) {
        let (webhook, state, line) =
            (Webhook::new("https://mail.example/cms".parse().unwrap()), ClientState::new(), Arc::new(Line::default()));
        webhook.add("id".to_owned(), state.clone(), Arc::clone(&line));
        (webhook, state, line)
    }

    fn body(subscription: &str, state: &str, more: &Value) -> Vec<u8> {
        let mut one = json!({"subscriptionId": subscription, "clientState": state});
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"value": [one]}).to_string().into_bytes()
    }

    #[test]
    fn who_knows_the_secret_is_heard() {
        let (webhook, state, line) = one();
        for (more, told) in [
            (json!({"changeType": "created"}), Told::Changed),
            (json!({"lifecycleEvent": "missed"}), Told::Missed),
            (json!({"lifecycleEvent": "subscriptionRemoved"}), Told::Removed),
            (json!({"lifecycleEvent": "reauthorizationRequired"}), Told::Reauthorize),
            (json!({"lifecycleEvent": "something new"}), Told::Changed),
        ] {
            // However often it is said.
            for _ in 0..3 {
                webhook.take(&body("id", state.reveal(), &more)).unwrap();
            }
            assert_eq!(line.take(), BTreeSet::from([("id".to_owned(), told)]), "{more}");
        }
        assert_eq!(webhook.0.ignored.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_does_not_know_it_is_not_heard_and_not_told_so() {
        let (webhook, state, line) = one();
        let removed = json!({"lifecycleEvent": "subscriptionRemoved"});
        for (subscription, secret) in [("id", ""), ("id", "secret"), ("other", state.reveal()), ("", state.reveal())] {
            webhook.take(&body(subscription, secret, &removed)).unwrap();
        }
        webhook.take(br#"{"value": [null, 1, [], {}, {"subscriptionId": "id"}, {"subscriptionId": ["id"]}]}"#).unwrap();
        assert_eq!(line.take(), BTreeSet::new());
        assert_eq!(webhook.0.ignored.load(Ordering::Relaxed), 10);
        webhook.remove("id");
        webhook.take(&body("id", state.reveal(), &removed)).unwrap();
        assert_eq!(line.take(), BTreeSet::new());
    }

    #[test]
    fn one_bad_notification_takes_nothing_from_its_neighbours() {
        let (webhook, state, line) = one();
        let good = json!({"subscriptionId": "id", "clientState": state.reveal()});
        webhook.take(json!({"value": [{"subscriptionId": 1}, good]}).to_string().as_bytes()).unwrap();
        assert_eq!(line.take().len(), 1);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let (webhook, _, _) = one();
        let deep = "[".repeat(100_000);
        for body in ["", "{", "[]", "{}", "null", "{\"value\": {}}", "{\"value\": 1}", &deep, "\u{0}"] {
            assert_eq!(webhook.take(body.as_bytes()), Err(NotNotifications));
        }
        assert_eq!(webhook.take(&[0xff, 0xfe]), Err(NotNotifications));
    }

    #[test]
    fn a_handshake_is_expected_while_a_subscription_is_made() {
        let (webhook, _, _) = one();
        assert!(!webhook.expects_handshake());
        let (first, second) = (webhook.expect(), webhook.expect());
        drop(first);
        assert!(webhook.expects_handshake());
        drop(second);
        assert!(!webhook.expects_handshake());
    }

    proptest! {
        #[test]
        fn nothing_that_lacks_the_secret_wakes_anybody(text in r#"[{}\[\]",: a-z0-9]{0,80}"#, secret in "[0-9a-f]{64}") {
            let (webhook, _, line) = one();
            let _ = webhook.take(text.as_bytes());
            let _ = webhook.take(format!(r#"{{"value":[{text}]}}"#).as_bytes());
            let _ = webhook.take(&body("id", &secret, &json!({})));
            prop_assert_eq!(line.take(), BTreeSet::new());
        }
    }
}
