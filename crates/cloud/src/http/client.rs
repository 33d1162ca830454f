//! One request at a time through the gate.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cms_auth::{AccessToken, AccessTokens, AuthError};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, IF_MATCH};
use reqwest::{Method, Url};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::failure::{Failure, ServiceError, json_error};
use super::gate::{Gate, Permit, Urgency};
use super::pace::Pace;
use super::policy::RetryPolicy;
use super::reach::{Patience, Reach, Turn};
use super::retries::Retries;
use super::transport::{NeverSent, Transport};
use crate::background::urgency_here;
use crate::exchange::Sent;

/// No answer that is held in memory as a whole comes near this: a page of a thousand messages without bodies is 1 MB.
const LARGEST_JSON_BYTES: usize = 64 << 20;
/// An error's body is read no further.
const LARGEST_ERROR_BYTES: usize = 64 << 10;

/// A wait for the budget that is shorter goes unnoticed.
const WORTH_TELLING: Duration = Duration::from_secs(5);

/// What [`Http`] is made of.
pub(crate) struct HttpOptions {
    pub(crate) policy: RetryPolicy,
    /// How many requests may be in flight at most; fewer after the service refused one for their number.
    pub(crate) parallel: usize,
    /// How many requests a span of time may hold, and how many of those only urgent calls may use.
    pub(crate) budget: (usize, Duration),
    /// How many bytes a span of time may send.
    pub(crate) upload_budget: (usize, Duration),
    pub(crate) reserve: usize,
    /// Gives a number from 0 up to 1 for each wait.
    pub(crate) random: Arc<dyn Fn() -> f64 + Send + Sync>,
    pub(crate) transport: Arc<dyn Transport>,
}

/// One account's way to its service.
pub(crate) struct Http {
    transport: Arc<dyn Transport>,
    tokens: Arc<dyn AccessTokens>,
    gate: Gate,
    pace: Mutex<Pace>,
    upload_pace: Mutex<Pace>,
    /// A part of the budget was given back.
    freed: Notify,
    reach: Reach,
    /// No request begins before.
    held_until: Mutex<Instant>,
    /// Until when the budget is known to be used up, so that it is told once.
    told_until: Mutex<Instant>,
    started: Instant,
    policy: RetryPolicy,
    random: Arc<dyn Fn() -> f64 + Send + Sync>,
    reserve: usize,
}

/// What a request carries besides its headers.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    None,
    Json(Bytes),
    /// Any bytes as `text/plain`, which is how MIME in base64 is sent.
    Text(Bytes),
    /// A part of a file, and which one it is (RFC 9110, section 14.4).
    Range {
        bytes: Bytes,
        content_range: String,
    },
    /// JSON that takes several of the service's slots: the first for one slot, the next for two, and so on. As much is sent as
    /// there are slots for.
    Fitting(Vec<Bytes>),
}

impl Body {
    /// How many of the service's slots it takes at most.
    fn slots(&self) -> usize {
        match self {
            Self::Fitting(bodies) => bodies.len().max(1),
            Self::None | Self::Json(_) | Self::Text(_) | Self::Range { .. } => 1,
        }
    }

    /// What is sent where there are so many slots, and as what.
    fn for_slots(&self, slots: usize) -> Option<(&'static str, &Bytes)> {
        match self {
            Self::None => None,
            Self::Json(bytes) => Some(("application/json", bytes)),
            Self::Text(bytes) => Some(("text/plain", bytes)),
            Self::Range { bytes, .. } => Some(("application/octet-stream", bytes)),
            Self::Fitting(bodies) => bodies.get(slots.saturating_sub(1)).map(|bytes| ("application/json", bytes)),
        }
    }
}

/// A request, as often as it takes.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) prefer: Option<String>,
    /// The entity tag that what is changed must have.
    pub(crate) if_match: Option<String>,
    pub(crate) body: Body,
    /// Whether it carries the account's token. Without, its address must be enough.
    pub(crate) is_authorized: bool,
    pub(crate) urgency: Urgency,
    /// How many requests the service counts it as, for each of the slots that it takes while it is in flight.
    pub(crate) cost: usize,
    /// An answer in JSON of more bytes makes no sense.
    pub(crate) longest_answer: usize,
    /// As what it was sent.
    pub(crate) sent: Sent,
}

impl Call {
    pub(crate) fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            prefer: None,
            if_match: None,
            body: Body::None,
            is_authorized: true,
            urgency: Urgency::Urgent,
            cost: 1,
            longest_answer: LARGEST_JSON_BYTES,
            sent: Sent::default(),
        }
    }

    pub(crate) fn json(method: Method, url: Url, body: &Value) -> Self {
        Self { method, body: Body::Json(body.to_string().into()), ..Self::get(url) }
    }

    pub(crate) fn text(method: Method, url: Url, body: Bytes) -> Self {
        Self { method, body: Body::Text(body), ..Self::get(url) }
    }

    pub(crate) fn prefer(mut self, preferences: impl Into<String>) -> Self {
        self.prefer = Some(preferences.into());
        self
    }
}

/// A successful answer whose body hasn't been read. The place in the gate is kept until it is dropped.
pub(crate) struct Answer {
    pub(crate) response: reqwest::Response,
    pub(crate) token: AccessToken,
    permit: Permit,
}

/// A successful answer that was read as JSON. The place in the gate is kept until it is dropped.
pub(crate) struct JsonAnswer {
    /// `Value::Null` where there is none.
    pub(crate) body: Value,
    pub(crate) token: AccessToken,
    permit: Permit,
}

impl JsonAnswer {
    /// How many slots the request took, which says how much of it was sent.
    pub(crate) fn slots(&self) -> usize {
        self.permit.slots()
    }

    /// What it holds tells that too many requests were in flight.
    pub(crate) fn tells_of_crowd(&self) {
        self.permit.refused();
    }
}

/// What a request that may go has: a place in the gate, its part of the budget, and its turn on the way to the service.
struct Pass<'h> {
    permit: Permit,
    charge: Charge<'h>,
    turn: Turn<'h>,
}

/// A part of the budget. It is given back unless the request may have left this machine.
struct Charge<'h> {
    http: &'h Http,
    at: Duration,
    cost: usize,
    is_spent: bool,
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        if !self.is_spent {
            self.http.pace.lock().unwrap_or_else(PoisonError::into_inner).give_back(self.at, self.cost);
            self.http.freed.notify_waiters();
        }
    }
}

/// A request that failed, and the token that it carried if it came that far.
pub(crate) type Failed = (Failure, Option<AccessToken>);

impl Http {
    pub(crate) fn new(options: HttpOptions, tokens: Arc<dyn AccessTokens>) -> Self {
        let now = Instant::now();
        Self {
            transport: options.transport,
            tokens,
            gate: Gate::new(options.parallel),
            pace: Mutex::new(Pace::new(options.budget.0, options.budget.1)),
            upload_pace: Mutex::new(Pace::new(options.upload_budget.0, options.upload_budget.1)),
            freed: Notify::new(),
            reach: Reach::new(&options.policy),
            held_until: Mutex::new(now),
            told_until: Mutex::new(now),
            started: now,
            policy: options.policy,
            random: options.random,
            reserve: options.reserve,
        }
    }

    pub(crate) fn policy(&self) -> &RetryPolicy {
        &self.policy
    }

    pub(crate) fn random(&self) -> f64 {
        (self.random)()
    }

    pub(crate) fn tokens(&self) -> &Arc<dyn AccessTokens> {
        &self.tokens
    }

    /// Lets no request begin for this long from now.
    pub(crate) fn hold_for(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut held = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        *held = until.max(*held);
    }

    /// The network has changed: if the service couldn't be reached, that is tried again at once.
    pub(crate) fn network_changed(&self) {
        self.reach.hurry();
    }

    /// How long it takes at least until so many downloads have begun.
    pub(crate) fn least_time(&self, downloads: usize) -> Duration {
        let pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.least_time(self.started.elapsed(), downloads, self.reserve)
    }

    /// Makes the request once. Success is a status of 2xx; everything else is read and sorted.
    pub(crate) async fn attempt(&self, call: &Call) -> Result<Answer, Failed> {
        let Pass { permit, mut charge, turn } = self.pass(call).await.map_err(|failure| (failure, None))?;
        let token = match self.tokens.access_token().await {
            Ok(token) => token,
            Err(error) => {
                if matches!(error, AuthError::Unreachable(_)) {
                    turn.failed(&error.to_string(), self.random());
                }
                return Err((Failure::Auth(error), None));
            }
        };
        let failed = |failure| (failure, Some(token.clone()));
        let request = make_request(call, permit.slots(), &token).map_err(failed)?;
        // From here on it may arrive even if nobody waits for the answer any more.
        charge.is_spent = true;
        let mut response = match self.transport.carry(request).await {
            Ok(response) => response,
            Err(error) => {
                charge.is_spent = !error.is::<NeverSent>();
                if charge.is_spent {
                    permit.linger(self.policy.first_delay);
                }
                turn.failed(&with_causes(error.as_ref()), self.random());
                return Err(failed(Failure::Network(error)));
            }
        };
        turn.came_through();
        let status = response.status();
        call.sent.answered(status.as_u16());
        if status.is_success() {
            permit.succeeded();
            return Ok(Answer { response, token, permit });
        }
        let mut body = Vec::new();
        // The status has been said; a body that breaks off doesn't unsay it.
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_ERROR_BYTES {
                break;
            }
        }
        let error = ServiceError::read(status.as_u16(), response.headers(), &body, SystemTime::now());
        if error.is_for_concurrency() {
            permit.refused();
        }
        Err(failed(Failure::Status(error)))
    }

    /// Makes the request until it succeeds or it makes no sense to go on, and reads its answer as JSON.
    ///
    /// An answer without a body is `Value::Null`.
    pub(crate) async fn json(&self, call: &Call) -> Result<Value, Failure> {
        self.json_answer(call).await.map(|answer| answer.body)
    }

    /// The same, with the token that the request carried and the place that it has.
    pub(crate) async fn json_answer(&self, call: &Call) -> Result<JsonAnswer, Failure> {
        let mut retries = Retries::new(self);
        loop {
            let (failure, token) = match self.json_answer_once(call).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            retries.after(failure, token.as_ref()).await?;
        }
    }

    /// Makes the request once and reads its answer as JSON.
    pub(crate) async fn json_once(&self, call: &Call) -> Result<(Value, AccessToken), Failed> {
        self.json_answer_once(call).await.map(|answer| (answer.body, answer.token))
    }

    /// The same, with the place that it has.
    pub(crate) async fn json_answer_once(&self, call: &Call) -> Result<JsonAnswer, Failed> {
        let Answer { mut response, token, permit } = self.attempt(call).await?;
        let failed = |failure| (failure, Some(token.clone()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(error.into()))? {
            body.extend_from_slice(&chunk);
            if body.len() > call.longest_answer {
                return Err(failed(Failure::Senseless("an answer has no end".to_owned())));
            }
        }
        if body.is_empty() {
            return Ok(JsonAnswer { body: Value::Null, token, permit });
        }
        let value: Value = serde_json::from_slice(&body)
            .map_err(|_| failed(Failure::Senseless("an answer isn't JSON; a proxy may be in between".to_owned())))?;
        if json_error(&value).is_some() {
            let error = ServiceError::read(response.status().as_u16(), response.headers(), &body, SystemTime::now());
            return Err(failed(Failure::Senseless(format!("an error in an answer that says success: {error}"))));
        }
        Ok(JsonAnswer { body: value, token, permit })
    }

    /// Waits for a place in the gate, for the pause that the service asked for, for a turn while the service can't be
    /// reached, and for room in the budget.
    ///
    /// Who has to wait for the others keeps no place: the reserve is of use only to calls that get through.
    /// A pause that it isn't sensible to wait for fails as the call did that brought it.
    async fn pass(&self, call: &Call) -> Result<Pass<'_>, Failure> {
        let urgency = urgency_here(call.urgency);
        let mut patience = Patience::default();
        loop {
            let permit = self.gate.pass(urgency, call.body.slots()).await;
            let until = *self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
            let pause = until.saturating_duration_since(Instant::now());
            if pause > self.policy.longest_pause {
                let message = "a pause that the service asked for isn't over".to_owned();
                let error = ServiceError { status: 429, message, retry_after: Some(pause), ..ServiceError::default() };
                return Err(Failure::Status(error));
            }
            if !pause.is_zero() {
                drop(permit);
                tokio::time::sleep_until(until).await;
                continue;
            }
            let Some(turn) = self.reach.turn() else {
                drop(permit);
                self.reach.wait(&mut patience).await?;
                continue;
            };
            let reserve = match urgency {
                Urgency::Urgent => 0,
                Urgency::Bulk => self.reserve,
            };
            if let Some(wait) = self.upload_wait(call, permit.slots()) {
                drop((permit, turn));
                self.tell_of_wait("no more uploads for now; they go on", wait);
                tokio::time::sleep(wait).await;
                continue;
            }
            let freed = self.freed.notified();
            let at = self.started.elapsed();
            let cost = call.cost * permit.slots();
            let wait = self.pace.lock().unwrap_or_else(PoisonError::into_inner).take(at, cost, reserve);
            let Some(wait) = wait else {
                let charge = Charge { http: self, at, cost, is_spent: false };
                return Ok(Pass { permit, charge, turn });
            };
            drop((permit, turn));
            self.tell_of_wait("no more requests for now; downloads go on", wait);
            let _ = tokio::time::timeout(wait, freed).await;
        }
    }

    /// How long a request has to wait for those before it to have used up less of what may be sent. It is counted if it needn't.
    fn upload_wait(&self, call: &Call, slots: usize) -> Option<Duration> {
        let bytes = call.body.for_slots(slots).map_or(0, |(_, bytes)| bytes.len());
        if bytes == 0 {
            return None;
        }
        let mut pace = self.upload_pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.take(self.started.elapsed(), bytes, 0)
    }

    /// Says once that the budget is used up, where somebody may wonder what is going on.
    fn tell_of_wait(&self, what: &str, wait: Duration) {
        let now = Instant::now();
        let mut told_until = self.told_until.lock().unwrap_or_else(PoisonError::into_inner);
        if wait >= WORTH_TELLING && now >= *told_until {
            *told_until = now + wait;
            tracing::info!("the service takes {what} in {} s", wait.as_secs());
        }
    }
}

fn make_request(call: &Call, slots: usize, token: &AccessToken) -> Result<reqwest::Request, Failure> {
    let mut request = reqwest::Request::new(call.method.clone(), call.url.clone());
    let headers = request.headers_mut();
    if call.is_authorized {
        let mut bearer = header(&format!("Bearer {}", token.reveal()))?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    let id = random_guid();
    call.sent.begin(&id);
    headers.insert("client-request-id", header(&id)?);
    if let Some(preferences) = &call.prefer {
        headers.insert("prefer", header(preferences)?);
    }
    if let Some(tag) = &call.if_match {
        headers.insert(IF_MATCH, header(tag)?);
    }
    if let Body::Range { content_range, .. } = &call.body {
        headers.insert(CONTENT_RANGE, header(content_range)?);
    }
    if let Some((content_type, bytes)) = call.body.for_slots(slots) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        *request.body_mut() = Some(bytes.clone().into());
    }
    if call.urgency == Urgency::Urgent {
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    }
    Ok(request)
}

/// What went wrong, and why.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

fn header(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| Failure::Senseless("a header can't be sent".to_owned()))
}

/// A version 4 UUID (RFC 9562, section 5.4).
fn random_guid() -> String {
    let bits = (rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        // The address may hold a cursor or an id; neither is for a log.
        Self::Network(Box::new(error.without_url()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_version_4_guids() {
        for _ in 0..100 {
            let guid = random_guid();
            assert_eq!(guid.len(), 36);
            assert_eq!(&guid[14..15], "4", "{guid}");
            assert!(matches!(&guid[19..20], "8" | "9" | "a" | "b"), "{guid}");
        }
    }
}
