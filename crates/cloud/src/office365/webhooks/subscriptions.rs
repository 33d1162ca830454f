//! Making, renewing and ending subscriptions.

use std::time::Duration;

use cms_engine::UnixSeconds;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::debug;
use url::Url;

use super::Inner;
use super::client_state::ClientState;
use crate::contract::{CloudError, FolderId};
use crate::http::{Call, Failure};
use crate::office365::account::IMMUTABLE;
use crate::office365::errors::says_folder_missing;
use crate::office365::time::{format_time, parse_time};

/// The shortest wait until a renewal, and the one where the service's clock and ours make no sense together.
const SOONEST: Duration = Duration::from_secs(1);
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// A subscription that the service has.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) id: String,
    pub(super) folder: FolderId,
    pub(super) renewal: Renewal,
}

/// When a subscription is to be renewed: by the time that passes and by the clock, of which only one goes on while the
/// computer sleeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewal {
    at: Instant,
    by_clock: UnixSeconds,
    /// When it is over without one.
    over_at: Instant,
}

impl Renewal {
    /// Half of the life that the service granted; it may be shorter than what was asked for.
    fn of(life: Duration, now: UnixSeconds, expires: Option<UnixSeconds>) -> Self {
        let granted =
            expires.map(|expires| u64::try_from(expires.0 - now.0).map_or(Duration::ZERO, Duration::from_secs));
        let life = life.min(granted.unwrap_or(life));
        let wait = if life.is_zero() { CLOCKS_DIFFER } else { (life / 2).max(SOONEST) };
        let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
        let at = Instant::now() + wait;
        Self { at, by_clock: UnixSeconds(now.0.saturating_add(seconds).max(now.0 + 1)), over_at: at + wait }
    }

    pub(super) fn at(&self) -> Instant {
        self.at
    }

    pub(super) fn is_due(&self, now: UnixSeconds) -> bool {
        self.at <= Instant::now() || self.by_clock <= now
    }

    /// Whether nobody has told anything any more for some time.
    pub(super) fn is_over(&self) -> bool {
        self.over_at <= Instant::now()
    }

    pub(super) fn make_due(&mut self) {
        self.at = Instant::now();
    }

    /// Tries it again later.
    pub(super) fn postpone(&mut self, pause: Duration) {
        self.at = Instant::now() + pause;
        self.by_clock = UnixSeconds(i64::MAX);
    }
}

/// What became of a subscription.
pub(super) enum Renewed {
    /// It lives on until the next renewal.
    Lives(Renewal),
    /// The service doesn't have it any more.
    Gone,
}

impl Inner {
    fn url(&self, id: Option<&str>) -> Url {
        let mut url = self.account.root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push("subscriptions").extend(id);
        }
        url
    }

    fn expiration(&self, now: UnixSeconds) -> String {
        let life = i64::try_from(self.options.life.as_secs()).unwrap_or(i64::MAX);
        format_time(UnixSeconds(now.0.saturating_add(life)))
    }

    fn renewal(&self, now: UnixSeconds, answer: &Value) -> Renewal {
        let expires = answer.get("expirationDateTime").and_then(Value::as_str).and_then(parse_time);
        Renewal::of(self.options.life, now, expires)
    }

    /// Subscribes to what happens to a folder's messages; nothing if the folder isn't there.
    pub(super) async fn subscribe(&self, folder: &FolderId) -> Result<Option<Subscription>, CloudError> {
        let (client_state, now) = (ClientState::new(), (self.account.now)());
        let address = self.webhook.url().as_str();
        let wish = json!({
            "changeType": "created,updated,deleted",
            "notificationUrl": address,
            "lifecycleNotificationUrl": address,
            "resource": format!("/me/mailFolders('{}')/messages", folder.0.replace('\'', "''")),
            "expirationDateTime": self.expiration(now),
            "clientState": client_state.reveal(),
        });
        let expecting = self.webhook.expect();
        let answer = self.account.http.json(&Call::json(Method::POST, self.url(None), &wish).prefer(IMMUTABLE)).await;
        drop(expecting);
        let answer = match answer {
            Ok(answer) => answer,
            Err(Failure::Status(error)) if says_folder_missing(&error) => return Ok(None),
            Err(failure) => return Err(self.account.error(failure)),
        };
        let id = answer.get("id").and_then(Value::as_str);
        let id = id.ok_or_else(|| CloudError::Unexpected("a subscription has no id".to_owned()))?.to_owned();
        self.webhook.add(id.clone(), client_state, self.line.clone());
        Ok(Some(Subscription { id, folder: folder.clone(), renewal: self.renewal(now, &answer) }))
    }

    /// Lets a subscription live on.
    pub(super) async fn renew(&self, id: &str) -> Result<Renewed, CloudError> {
        let now = (self.account.now)();
        let wish = json!({"expirationDateTime": self.expiration(now)});
        match self.account.http.json(&Call::json(Method::PATCH, self.url(Some(id)), &wish)).await {
            Ok(answer) => Ok(Renewed::Lives(self.renewal(now, &answer))),
            Err(Failure::Status(error)) if matches!(error.status, 404 | 410) => Ok(Renewed::Gone),
            Err(failure) => Err(self.account.error(failure)),
        }
    }

    /// Ends a subscription. One that stays ends by itself, and what it tells until then is ignored.
    pub(super) async fn unsubscribe(&self, id: &str) {
        self.webhook.remove(id);
        let call = Call { method: Method::DELETE, ..Call::get(self.url(Some(id))) };
        if let Err(failure) = self.account.http.json(&call).await {
            debug!("A subscription couldn't be ended: {}", failure.summary());
        }
    }

    /// Ends the subscriptions that a killed process has left at this address, so that no two tell of the same.
    pub(super) async fn end_leftovers(&self) {
        let listed = match self.account.http.json(&Call::get(self.url(None))).await {
            Ok(listed) => listed,
            Err(failure) => return debug!("The subscriptions couldn't be listed: {}", failure.summary()),
        };
        let address = self.webhook.url().as_str();
        for one in listed.get("value").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default();
            if text("notificationUrl") == address && !text("id").is_empty() && !self.webhook.knows(text("id")) {
                debug!("A subscription of an earlier run is ended");
                self.unsubscribe(text("id")).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const NOW: UnixSeconds = UnixSeconds(1_000_000);

    fn wait(expires: Option<i64>) -> u64 {
        let renewal = Renewal::of(HOUR, NOW, expires.map(|after| UnixSeconds(NOW.0 + after)));
        u64::try_from(renewal.by_clock.0 - NOW.0).unwrap()
    }

    #[test]
    fn a_subscription_is_renewed_well_before_its_end() {
        assert_eq!(wait(None), 1800);
        assert_eq!(wait(Some(3600)), 1800);
        // A longer life than was asked for is the service's clock speaking.
        assert_eq!(wait(Some(36_000)), 1800);
        assert_eq!(wait(Some(2700)), 1350);
        assert_eq!(wait(Some(1)), 1);
        // An end that is over doesn't have the service asked without a pause.
        assert_eq!(wait(Some(-5)), 60);
    }

    #[test]
    fn a_renewal_is_due_by_either_clock() {
        let renewal = Renewal::of(HOUR, NOW, None);
        assert!(!renewal.is_due(NOW) && !renewal.is_over());
        assert!(renewal.is_due(UnixSeconds(NOW.0 + 1800)), "the computer slept");
        let mut renewal = renewal;
        renewal.make_due();
        assert!(renewal.is_due(NOW));
        renewal.postpone(HOUR);
        assert!(!renewal.is_due(UnixSeconds(NOW.0 + 1800)));
    }
}
