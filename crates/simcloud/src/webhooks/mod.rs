//! Microsoft Graph's change notifications: subscriptions whose client is asked back before they count, and deliveries to
//! where it listens.
//!
//! The real service takes addresses with https only. A simulation has no certificate to show, so that it reaches this
//! machine by http, and only if a knob lets it.

mod address;
mod delivery;
mod list;

use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use serde_json::{Value, json};

use crate::clock;
use crate::cloud::{Inner, lock};
use crate::entra::BadToken;
use crate::http::{Arrival, Departure, Outcome, RequestBody, collect, with_fault};
use crate::knobs::Knobs;
use crate::odata;
use crate::reply::Answer;

use address::Address;
use list::Subscription;
pub(crate) use list::Webhooks;
pub use list::{LifecycleEvent, WebhookState};

/// Where the interface is.
const PATH: &str = "/v1.0/subscriptions";

/// How long the answer to a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The shortest and the longest life of a subscription, in seconds: 45 and 4,230 minutes.
const SHORTEST: i64 = 45 * 60;
const LONGEST: i64 = 4_230 * 60;

/// The most characters of a `clientState`.
const LONGEST_STATE: usize = 128;

/// What a subscription may say.
const MEMBERS: [&str; 6] =
    ["changeType", "notificationUrl", "lifecycleNotificationUrl", "resource", "expirationDateTime", "clientState"];

/// Whether a path is one of these.
pub(crate) fn is_here(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

struct Call<'a> {
    inner: &'a Arc<Inner>,
    knobs: &'a Knobs,
    arrival: &'a Arrival,
    user: &'a str,
    body: &'a [u8],
}

/// Answers a request about subscriptions.
pub(crate) async fn request<B: RequestBody>(
    inner: &Arc<Inner>,
    knobs: &Knobs,
    arrival: &Arrival,
    request: Request<B>,
    user: &mut String,
) -> (&'static str, Outcome) {
    let kind = "webhook";
    inner.tally.request(kind.to_owned());
    let token = arrival.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let holder = token.ok_or(BadToken::Missing).and_then(|token| inner.entra.check(token));
    if let Ok(holder) = &holder {
        user.clone_from(&holder.user);
    }
    let body = match collect(request).await {
        Ok(body) => body,
        Err(error) => return (kind, Err(error)),
    };
    inner.tally.count(|counters| counters.bytes_in += body.len() as u64);
    if let Some(action) = inner.faults.strike(kind, &arrival.method, &arrival.target, user) {
        let instead = || Answer::error(503, "ServiceUnavailable", "The service is unavailable.");
        let (answer, departure) = with_fault(inner, None, Some(action), instead).await;
        return (kind, Ok((answer, departure, None)));
    }
    let answer = match holder {
        Ok(holder) if holder.mail => {
            let call = Call { inner, knobs, arrival, user: &holder.user, body: &body };
            call.answer().await.unwrap_or_else(|refusal| refusal)
        }
        Ok(_) => Answer::error(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."),
        Err(why) => why.answer(&arrival.base),
    };
    (kind, Ok((answer, Departure::default(), None)))
}

impl Call<'_> {
    async fn answer(&self) -> Result<Answer, Answer> {
        let id = self.arrival.path.strip_prefix(PATH).unwrap_or_default().trim_matches('/');
        match (self.arrival.method.as_str(), id) {
            ("POST", "") => self.create().await,
            ("GET", "") => {
                let all = self.inner.webhooks.of(self.user);
                let all: Vec<Value> = all.iter().map(|one| one.told(&self.arrival.base)).collect();
                Ok(Answer::value(200, &json!({"value": all})))
            }
            ("PATCH", id) if !id.is_empty() => self.renew(id),
            ("DELETE", id) if !id.is_empty() => {
                self.inner.webhooks.get(id).filter(|one| one.state.user == self.user).ok_or_else(no_such)?;
                self.inner.webhooks.remove(id).map(|_| Answer::empty(204)).ok_or_else(no_such)
            }
            _ => Err(Answer::error(405, "Request_BadRequest", "The method isn't allowed here.")),
        }
    }

    /// A request that breaks a rule which the client could know.
    fn bad(&self, what: &str) -> Answer {
        self.inner.tally.violation(format!("subscriptions: {what}"));
        Answer::error(400, "InvalidRequest", what)
    }

    fn read(&self, members: &[&str]) -> Result<Value, Answer> {
        let body: Value = serde_json::from_slice(self.body).map_err(|error| self.bad(&error.to_string()))?;
        let object = body.as_object().ok_or_else(|| self.bad("a subscription is an object"))?;
        match object.keys().find(|name| !members.contains(&name.as_str())) {
            Some(name) => Err(self.bad(&format!("a subscription has no property `{name}`"))),
            None => Ok(body),
        }
    }

    fn text<'v>(&self, body: &'v Value, name: &str) -> Result<&'v str, Answer> {
        let text = body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        text.ok_or_else(|| self.bad(&format!("a subscription needs a `{name}`")))
    }

    /// When a subscription ends that is to end then.
    fn expires(&self, body: &Value) -> Result<i64, Answer> {
        let wish = self.text(body, "expirationDateTime")?;
        let wish = clock::parse(wish).ok_or_else(|| self.bad("an expiration isn't a time"))?;
        let now = clock::now();
        if wish <= now {
            return Err(self.bad("an expiration is over"));
        }
        if wish > now + LONGEST {
            return Err(self.bad("an expiration is more than 4230 minutes away"));
        }
        let expires = wish.max(now + SHORTEST);
        let shorter = i64::try_from(self.knobs.webhook_life_seconds).unwrap_or(i64::MAX);
        Ok(if shorter > 0 { expires.min(now.saturating_add(shorter)) } else { expires })
    }

    fn address(&self, written: &str) -> Result<Address, Answer> {
        let address = Address::read(written).filter(|_| self.knobs.webhooks_to_loopback);
        address.ok_or_else(|| {
            Answer::error(400, "ValidationError", "The notification URL must be an https address that can be reached.")
        })
    }

    async fn create(&self) -> Result<Answer, Answer> {
        let body = self.read(&MEMBERS)?;
        let changes: Vec<String> =
            self.text(&body, "changeType")?.split(',').map(|one| one.trim().to_owned()).collect();
        if changes.iter().any(|one| !["created", "updated", "deleted"].contains(&one.as_str())) {
            return Err(self.bad("a subscription to changes of an unknown kind"));
        }
        let client_state = self.text(&body, "clientState")?;
        if client_state.chars().count() > LONGEST_STATE {
            return Err(self.bad("a `clientState` of more than 128 characters"));
        }
        let expires = self.expires(&body)?;
        let resource = self.text(&body, "resource")?;
        let folder = self.folder(resource)?;
        let notification_url = self.text(&body, "notificationUrl")?;
        let notify = self.address(notification_url)?;
        let lifecycle = match body.get("lifecycleNotificationUrl").and_then(Value::as_str) {
            Some(written) => Some((written.to_owned(), self.address(written)?)),
            None => None,
        };
        for address in std::iter::once(&notify).chain(lifecycle.iter().map(|(_, address)| address)) {
            shake_hands(address).await?;
        }
        let prefers = self.arrival.header("prefer").unwrap_or_default().to_ascii_lowercase();
        let subscription = Subscription {
            state: WebhookState {
                id: crate::ids::guid_text(rand::random()),
                user: self.user.to_owned(),
                resource: resource.to_owned(),
                notification_url: notification_url.to_owned(),
                client_state: client_state.to_owned(),
                expires,
                renewals: 0,
            },
            folder,
            changes,
            immutable: prefers.contains("immutableid"),
            notify,
            lifecycle,
            events: std::collections::VecDeque::new(),
            is_paused: false,
        };
        let told = subscription.told(&self.arrival.base);
        self.inner.webhooks.add(subscription.clone());
        delivery::begin(self.inner, &subscription, &self.arrival.base);
        Ok(Answer::value(201, &told))
    }

    fn renew(&self, id: &str) -> Result<Answer, Answer> {
        let body = self.read(&["expirationDateTime"])?;
        let expires = self.expires(&body)?;
        let renewed = self.inner.webhooks.renew(id, self.user, expires).ok_or_else(no_such)?;
        Ok(Answer::value(200, &renewed.told(&self.arrival.base)))
    }

    /// The folder whose messages a resource is, if there may be a subscription to them.
    fn folder(&self, resource: &str) -> Result<u32, Answer> {
        let segments = odata::segments(resource);
        let [me, folders, id, messages] = segments.as_slice() else {
            return Err(self.bad("a subscription to something else than the messages of a folder"));
        };
        let named = |found: &str, name: &str| found.eq_ignore_ascii_case(name);
        if !named(me, "me") || !named(folders, "mailfolders") || !named(messages, "messages") {
            return Err(self.bad("a subscription to something else than the messages of the user's own folder"));
        }
        let mailbox = self.inner.mailbox(self.user).ok_or_else(Answer::not_found)?;
        let mailbox = lock(mailbox);
        let folder = mailbox.folder_by_id(id, self.knobs.archive_exists)?;
        if self.knobs.webhooks_refused.contains(&mailbox.path(folder)) {
            return Err(Answer::error(403, "ExtensionError", "Operation: Create; Exception: [Status Code: Forbidden]"));
        }
        Ok(folder)
    }
}

fn no_such() -> Answer {
    Answer::error(404, "ResourceNotFound", "The object was not found.")
}

/// Has the client show that it is there and wants this.
async fn shake_hands(address: &Address) -> Result<(), Answer> {
    let id = crate::ids::guid_text(rand::random());
    let token = format!("Validation: Testing client application reachability for subscription Request-Id: {id} <b>&+%");
    let answer = address.asking("validationToken", &token).post("text/plain; charset=utf-8", "", HANDSHAKE).await;
    let words = match answer {
        Ok(answer) if answer.status == 200 && answer.kind.starts_with("text/plain") && answer.body == token => {
            return Ok(());
        }
        Ok(answer) => format!("HTTP status code is '{}'.", answer.status),
        Err(error) => error.to_string(),
    };
    let words = format!(
        "Subscription validation request failed. Notification endpoint must respond with 200 OK to validation request. {words}"
    );
    Err(Answer::error(400, "ValidationError", &words))
}
