//! The streaming notifications of the old Outlook REST interface (beta): subscriptions, and one slow JSON document that
//! tells what happened to them.
//!
//! What changes while no channel is open is told to nobody: a client has to look for itself when it begins to listen.

mod channel;
mod subscriptions;

use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cloud::{Inner, lock};
use crate::entra::BadToken;
use crate::http::{Arrival, Departure, Outcome, RequestBody, collect, with_fault};
use crate::knobs::Knobs;
use crate::odata;
use crate::reply::Answer;

use subscriptions::Subscription;
pub(crate) use subscriptions::Subscriptions;

/// What the type of a subscription must be.
const STREAMING: &str = "#Microsoft.OutlookServices.StreamingSubscription";

/// What the old interface is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationService {
    /// It is gone, and says so: 410, whoever asks. So it is since about the end of 2024.
    #[default]
    Retired,
    /// It is gone, and nobody remembers it: 404.
    NotFound,
    /// It works.
    Live,
}

/// What is asked of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Subscribe,
    Listen,
    Unknown,
}

/// One request, understood as far as it goes.
struct Call<'a> {
    inner: &'a Arc<Inner>,
    knobs: &'a Knobs,
    base: &'a str,
    user: &'a str,
    token: &'a str,
    body: &'a [u8],
}

/// Answers a request to anything below `/api`.
pub(crate) async fn request<B: RequestBody>(
    inner: &Arc<Inner>,
    knobs: &Knobs,
    arrival: &Arrival,
    request: Request<B>,
    user: &mut String,
) -> (&'static str, Outcome) {
    let segments: Vec<String> =
        odata::segments(&arrival.path).iter().map(|segment| segment.to_ascii_lowercase()).collect();
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (kind, wish) = match (arrival.method.as_str(), names.as_slice()) {
        ("POST", ["api", "beta", "me", "subscriptions"]) => ("subscription", Wish::Subscribe),
        ("POST", ["api", "beta", "me", "getnotifications"]) => ("notifications", Wish::Listen),
        _ => ("other", Wish::Unknown),
    };
    inner.tally.request(kind.to_owned());
    let token = arrival.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let holder = token.ok_or(BadToken::Missing).and_then(|token| inner.entra.check_outlook(token));
    if let Ok(holder) = &holder {
        user.clone_from(&holder.user);
    }
    let body = match collect(request).await {
        Ok(body) => body,
        Err(error) => return (kind, Err(error)),
    };
    inner.tally.count(|counters| counters.bytes_in += body.len() as u64);
    let action = inner.faults.strike(kind, &arrival.method, &arrival.target, user);
    let mut channel = None;
    let act = || {
        match knobs.notifications {
            NotificationService::Retired => return Answer::error(410, "Gone", "This interface was retired."),
            NotificationService::NotFound => return Answer::empty(404),
            NotificationService::Live => {}
        }
        let holder = match holder {
            Ok(holder) if holder.mail => holder,
            Ok(_) => {
                return Answer::error(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.");
            }
            Err(why) => return why.answer(&arrival.base),
        };
        let token = token.unwrap_or_default();
        let call = Call { inner, knobs, base: &arrival.base, user: &holder.user, token, body: &body };
        let answered = match wish {
            Wish::Subscribe => call.subscribe(),
            Wish::Listen => call.listen().map(|opened| {
                channel = Some(opened);
                Answer::json(200, String::new())
            }),
            Wish::Unknown => Err(Answer::error(404, "RequestBroker--ParseUri", "Resource not found for the segment.")),
        };
        answered.unwrap_or_else(|refusal| refusal)
    };
    let (answer, departure) = with_fault(inner, None, action, act).await;
    // A fault may have taken the place of the answer.
    let live = channel.filter(|_| answer.status == 200 && !departure.reset).map(channel::open);
    (kind, Ok((answer, Departure { live, ..departure }, None)))
}

impl Call<'_> {
    fn read(&self) -> Result<Value, Answer> {
        serde_json::from_slice(self.body)
            .map_err(|error| Answer::error(400, "RequestBodyUnreadable", &error.to_string()))
    }

    fn bad(&self, what: &str) -> Answer {
        self.inner.tally.violation(format!("notifications: {what}"));
        Answer::error(400, "RequestBodyInvalid", what)
    }

    /// `POST /me/subscriptions`
    fn subscribe(&self) -> Result<Answer, Answer> {
        let body = self.read()?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("@odata.type") != STREAMING {
            return Err(self.bad("a subscription that isn't a streaming one"));
        }
        let resource = text("Resource");
        let changes: Vec<String> = text("ChangeType").split(',').map(|one| one.trim().to_owned()).collect();
        let known = ["Acknowledgment", "Created", "Updated", "Deleted", "Missed"];
        if changes.iter().any(|one| !known.contains(&one.as_str())) {
            return Err(self.bad("a subscription to changes of an unknown kind"));
        }
        let folder = self.folder(resource)?;
        let subscription = Subscription {
            user: self.user.to_owned(),
            folder,
            resource: resource.to_owned(),
            changes: changes.clone(),
            until: Instant::now() + Duration::from_secs(self.knobs.notifications_idle_seconds),
            open: 0,
            told: 0,
        };
        let id = self.inner.subscriptions.add(subscription);
        let mut all = changes;
        if !all.iter().any(|one| one == "Missed") {
            all.push("Missed".to_owned());
        }
        let answer = json!({
            "@odata.context": format!("{}/api/beta/$metadata#Me/Subscriptions/$entity", self.base),
            "@odata.type": STREAMING,
            "@odata.id": format!("{}/api/beta/Users('{}')/Subscriptions('{id}')", self.base, self.user),
            "Id": id,
            "Resource": resource,
            "ChangeType": all.join(", "),
        });
        Ok(Answer::value(201, &answer))
    }

    /// The folder whose messages a resource is.
    fn folder(&self, resource: &str) -> Result<u32, Answer> {
        let path = resource.split_once("/api/beta/").map_or(resource, |(_, path)| path);
        let path = path.split('?').next().unwrap_or_default();
        let segments = odata::segments(path);
        let [me, folders, id, messages] = segments.as_slice() else {
            return Err(self.bad("a subscription to something else than the messages of a folder"));
        };
        let named = |found: &str, name: &str| found.eq_ignore_ascii_case(name);
        if !named(me, "me") || !named(folders, "mailfolders") || !named(messages, "messages") {
            return Err(self.bad("a subscription to something else than the messages of a folder"));
        }
        let mailbox = self.inner.mailbox(self.user).ok_or_else(Answer::not_found)?;
        lock(mailbox).folder_by_id(id, self.knobs.archive_exists)
    }

    /// `POST /me/GetNotifications`
    fn listen(&self) -> Result<channel::Channel, Answer> {
        let body = self.read()?;
        let number = |name: &str| body.get(name).and_then(Value::as_u64).filter(|number| *number > 0);
        let (Some(minutes), Some(seconds)) =
            (number("ConnectionTimeoutInMinutes"), number("KeepAliveNotificationIntervalInSeconds"))
        else {
            return Err(self.bad("a channel without a timeout and an interval for keep-alives"));
        };
        let ids: Vec<String> = body
            .get("SubscriptionIds")
            .and_then(Value::as_array)
            .map(|ids| ids.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default();
        if ids.is_empty() {
            return Err(self.bad("a channel for no subscription"));
        }
        let orders = self.inner.subscriptions.orders();
        if !self.inner.subscriptions.open(&ids, self.user) {
            return Err(Answer::error(404, "ErrorItemNotFound", "The subscription was not found."));
        }
        let now = Instant::now();
        Ok(channel::Channel::new(channel::Opening {
            inner: Arc::clone(self.inner),
            base: self.base.to_owned(),
            user: self.user.to_owned(),
            token: self.token.to_owned(),
            ids,
            ends: now + Duration::from_secs(minutes * 60),
            keep_alive: Duration::from_secs(seconds),
            orders,
            dice: self.knobs.notifications_cut_seed,
        }))
    }
}
