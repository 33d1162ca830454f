//! How requests get to a sign-in service, and what of its answers is believed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oauth2::http::HeaderValue;
use oauth2::http::header::{DATE, HeaderMap, ORIGIN, RETRY_AFTER};
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use serde_json::Value;
use tokio::time::Instant;

/// No honest answer of a sign-in service comes near this.
const LARGEST_ANSWER_BYTES: usize = 1 << 20;

/// Nobody's clock is compared with more precision: an answer takes its time, and `Date` has whole seconds.
const TELLING_SKEW_SECONDS: i64 = 120;

/// A pause that is longer isn't waited for inside a request.
const WORTH_WAITING: Duration = Duration::from_secs(30);
/// No pause is believed to last longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// A client that a secret can be trusted to.
pub(crate) fn http_client(loopback: bool) -> reqwest::Result<reqwest::Client> {
    // A second installation is refused, and the first one is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(60))
        // A secret goes where it was addressed to and nowhere else.
        .redirect(reqwest::redirect::Policy::none());
    if loopback {
        builder = builder.no_proxy();
    }
    builder.build()
}

/// A fault on the way, or one of the service that says nothing of the grant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    #[error("{0}")]
    Network(String),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("its answer has no end")]
    TooLarge,
    #[error("it wants to lead elsewhere (status {0}); the sign-in page of a network may be in between")]
    Elsewhere(u16),
    #[error("its answer makes no sense; a proxy or the sign-in page of a network may be in between")]
    Senseless,
    #[error("the request can't be made")]
    Request,
    #[error("it wants not to be asked for another {0} seconds")]
    Paused(u64),
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::Network(text)
    }
}

/// How far this computer's clock is behind the service's, in seconds, as the answers' `Date` tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Skew(Arc<AtomicI64>);

impl Skew {
    pub(crate) fn note(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let Some(there) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else { return };
        self.0.store(seconds(there) - seconds(SystemTime::now()), Ordering::Relaxed);
    }

    /// The difference, if it is one that can do harm.
    pub(crate) fn harmful(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|skew| skew.abs() > TELLING_SKEW_SECONDS)
    }

    /// The difference in words, for a message.
    pub(crate) fn words(&self) -> Option<String> {
        let skew = self.harmful()?;
        let (minutes, side) = (skew.abs().div_euclid(60), if skew > 0 { "behind" } else { "ahead of" });
        Some(format!("this computer's clock is {minutes} minutes {side} the service's: set it right"))
    }
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Until when the service wants no request (`Retry-After`); shared by all that are made to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pause(Arc<Mutex<Option<Instant>>>);

impl Pause {
    fn begin(&self, wait: Option<Duration>) {
        if let Some(wait) = wait {
            let until = Instant::now() + wait.min(LONGEST_PAUSE);
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *held = Some(held.map_or(until, |held| held.max(until)));
        }
    }

    /// Waits until the pause is over, if that is soon.
    async fn over(&self) -> Result<(), TransportError> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = until else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        if left > WORTH_WAITING {
            return Err(TransportError::Paused(left.as_secs()));
        }
        tokio::time::sleep_until(until).await;
        Ok(())
    }
}

/// Reads `Retry-After`: seconds or a date (RFC 9110, section 10.2.3), as a wait from now.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).unwrap_or_default()),
    }
}

/// What goes with an error of the token endpoint besides what RFC 6749 knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Besides {
    /// What the next sign-in must bring, as the service wants it back (claims challenge).
    pub(crate) claims: Option<String>,
    /// Where an administrator can consent for everybody.
    pub(crate) consent_page: Option<String>,
}

/// Carries the requests of the `oauth2` crate.
pub(crate) struct Transport {
    pub(crate) http: reqwest::Client,
    pub(crate) origin: String,
    pub(crate) send_origin: bool,
    /// The words of the refusal for which the header was turned on or off, which happens once.
    pub(crate) refused: Option<String>,
    /// Whether what passes by itself is no answer: a code that somebody is typing isn't given up for it.
    pub(crate) patient: bool,
    pub(crate) skew: Skew,
    pub(crate) pause: Pause,
    pub(crate) consent_page: Option<String>,
    pub(crate) besides: Mutex<Besides>,
}

impl<'c> AsyncHttpClient<'c> for Transport {
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.carry(request))
    }
}

impl Transport {
    async fn carry(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let mut request = reqwest::Request::try_from(request).map_err(|_| TransportError::Request)?;
        if self.send_origin {
            let value = HeaderValue::from_str(&self.origin).map_err(|_| TransportError::Request)?;
            request.headers_mut().insert(ORIGIN, value);
        }
        self.pause.over().await?;
        let mut answer = self.http.execute(request).await?;
        let status = answer.status();
        self.skew.note(answer.headers());
        // Whatever such an answer says in its body, it isn't about the grant.
        if status.is_redirection() {
            return Err(TransportError::Elsewhere(status.as_u16()));
        }
        if status.is_server_error() || status.as_u16() == 429 {
            self.pause.begin(retry_after(answer.headers()));
            return Err(TransportError::Status(status.as_u16()));
        }
        let body = read_body(&mut answer).await?;
        // The bytes that make no sense may hold tokens all the same, so nothing of them is told.
        let json: Value = serde_json::from_slice(&body).map_err(|_| TransportError::Senseless)?;
        if !status.is_success() {
            let error = json["error"].as_str().ok_or(TransportError::Senseless)?;
            if self.patient && passes(error) {
                return Err(TransportError::Status(status.as_u16()));
            }
            *self.besides.lock().unwrap_or_else(PoisonError::into_inner) = read_besides(&json);
        }
        let mut response = HttpResponse::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = answer.headers().clone();
        Ok(response)
    }

    pub(crate) fn take_besides(&self) -> Besides {
        let besides = std::mem::take(&mut *self.besides.lock().unwrap_or_else(PoisonError::into_inner));
        Besides { consent_page: self.consent_page.clone(), ..besides }
    }
}

pub(crate) async fn read_body(answer: &mut reqwest::Response) -> Result<Vec<u8>, TransportError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ANSWER_BYTES {
            return Err(TransportError::TooLarge);
        }
    }
    Ok(body)
}

/// Whether an error says nothing but that the service can't answer now.
pub(crate) fn passes(error: &str) -> bool {
    matches!(error, "temporarily_unavailable" | "server_error")
}

fn read_besides(json: &Value) -> Besides {
    // It goes into an address: what isn't JSON itself isn't a claims request.
    let claims = json["claims"].as_str().filter(|claims| serde_json::from_str::<Value>(claims).is_ok());
    Besides { claims: claims.map(str::to_owned), consent_page: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skew_of(offset: i64) -> Skew {
        let there = SystemTime::now() + Duration::from_secs(100_000)
            - Duration::from_secs(100_000u64.saturating_add_signed(-offset));
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_str(&httpdate::fmt_http_date(there)).unwrap());
        let skew = Skew::default();
        skew.note(&headers);
        skew
    }

    #[test]
    fn a_clock_that_is_minutes_off_is_told() {
        assert_eq!(skew_of(0).words(), None);
        assert_eq!(skew_of(60).words(), None);
        assert!(skew_of(3605).words().unwrap().contains("60 minutes behind"));
        assert!(skew_of(-3605).words().unwrap().contains("60 minutes ahead of"));
        let skew = Skew::default();
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("yesterday"));
        skew.note(&headers);
        assert_eq!(skew.harmful(), None);
    }

    #[test]
    fn claims_are_taken_over_only_if_they_are_json() {
        let claims = |claims: Value| read_besides(&serde_json::json!({"error": "x", "claims": claims})).claims;
        assert_eq!(claims("{\"a\":1}".into()).as_deref(), Some("{\"a\":1}"));
        assert_eq!(claims("&prompt=none".into()), None);
        assert_eq!(claims(Value::Null), None);
    }

    #[test]
    fn a_pause_is_told_in_seconds_or_as_a_date() {
        let told = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
            retry_after(&headers)
        };
        assert_eq!(told(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(told("soon"), None);
        assert_eq!(told("Sat, 31 Jan 2026 12:00:00 GMT"), Some(Duration::ZERO));
        let later = told(&httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60))).unwrap();
        assert!((Duration::from_secs(57)..=Duration::from_secs(60)).contains(&later), "{later:?}");
    }

    #[tokio::test]
    async fn a_short_pause_is_waited_for_and_a_long_one_is_told() {
        let pause = Pause::default();
        pause.over().await.unwrap();
        let began = Instant::now();
        pause.begin(Some(Duration::from_millis(50)));
        pause.clone().over().await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(50));
        pause.begin(Some(Duration::from_secs(90)));
        // A shorter one that is told later doesn't end it.
        pause.begin(Some(Duration::from_secs(1)));
        assert!(matches!(pause.over().await, Err(TransportError::Paused(80..))));
    }
}
