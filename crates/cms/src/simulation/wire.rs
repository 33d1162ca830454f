//! The network between the program and the simulated cloud: it takes its time, breaks off, and loses what it carried.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cms_auth::{AccessToken, AccessTokens, AuthError};
use cms_cloud::{NeverSent, Transport};
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use simcloud::Cloud;
use tokio::time::{sleep, timeout};

use super::power::Power;
use super::trace::Trace;

/// How long the client waits in silence.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the network is.
pub(super) struct Weather {
    pub(super) random: ChaCha8Rng,
    /// The longest time that a request or its answer takes, in milliseconds.
    pub(super) slowest_ms: u64,
    /// How many requests of a hundred get lost.
    pub(super) loss_percent: u32,
    /// Whether there is no network at all.
    pub(super) down: bool,
}

/// The network.
pub(super) struct Wire {
    pub(super) cloud: Cloud,
    pub(super) weather: Arc<Mutex<Weather>>,
    pub(super) power: Arc<Power>,
    pub(super) trace: Trace,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrives,
    LostOnTheWay,
    AnswerLost,
    AnswerCut,
}

impl Wire {
    fn roll(&self) -> (Duration, Duration, Fate) {
        let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
        let slowest = weather.slowest_ms.max(1);
        let there = Duration::from_millis(weather.random.random_range(0..=slowest));
        let back = Duration::from_millis(weather.random.random_range(0..=slowest));
        let loss = weather.loss_percent;
        let fate = match weather.random.random_range(0..100_u32) {
            _ if weather.down => Fate::LostOnTheWay,
            dice if dice >= loss => Fate::Arrives,
            dice if dice % 3 == 0 => Fate::LostOnTheWay,
            dice if dice % 3 == 1 => Fate::AnswerLost,
            _ => Fate::AnswerCut,
        };
        (there, back, fate)
    }
}

type Failure = Box<dyn Error + Send + Sync>;

#[async_trait]
impl Transport for Wire {
    async fn carry(&self, request: reqwest::Request) -> Result<reqwest::Response, Failure> {
        if self.power.is_off() {
            return std::future::pending().await;
        }
        let (there, back, fate) = self.roll();
        let what = describe(&request);
        sleep(there).await;
        if fate == Fate::LostOnTheWay {
            self.trace.line(format_args!("net  lost {what}"));
            return Err(Box::new(NeverSent("the connection was refused".into())));
        }
        let answered = timeout(PATIENCE, self.cloud.exchange(convert(&request)?)).await;
        self.power.count_request();
        if self.power.is_off() {
            self.trace.line(format_args!("net  acted, and the power went: {what}"));
            return std::future::pending().await;
        }
        let Ok(answered) = answered else {
            self.trace.line(format_args!("net  timeout {what}"));
            return Err("no answer within 30 s".into());
        };
        let response = match answered {
            Ok(response) => response,
            Err(error) => {
                self.trace.line(format_args!("net  reset {what}"));
                return Err(error.into());
            }
        };
        if fate == Fate::AnswerLost {
            self.trace.line(format_args!("net  {} but the answer is lost: {what}", response.status()));
            sleep(back).await;
            return Err("the connection was reset".into());
        }
        let (head, body) = response.into_parts();
        let (mut bytes, mut whole) = read(body).await;
        if fate == Fate::AnswerCut && !bytes.is_empty() {
            bytes.truncate(bytes.len() / 2);
            whole = false;
        }
        sleep(back).await;
        self.trace.line(format_args!(
            "net  {} {} bytes{} {what}",
            head.status.as_u16(),
            bytes.len(),
            if whole { "" } else { ", cut" }
        ));
        if self.power.is_off() {
            return std::future::pending().await;
        }
        let body = if whole { reqwest::Body::from(bytes) } else { cut(bytes) };
        Ok(hyper::Response::from_parts(head, body).into())
    }
}

/// A body that breaks off.
fn cut(bytes: Vec<u8>) -> reqwest::Body {
    let pieces = [Ok(bytes), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))];
    reqwest::Body::wrap_stream(futures_util::stream::iter(pieces).boxed())
}

/// Reads a body as far as it comes; whether that is all of it.
async fn read(mut body: simcloud::ReplyBody) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    loop {
        match timeout(PATIENCE, body.frame()).await {
            Ok(None) => return (bytes, true),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    bytes.extend_from_slice(&data);
                }
            }
            Ok(Some(Err(_))) | Err(_) => return (bytes, false),
        }
    }
}

fn convert(request: &reqwest::Request) -> Result<hyper::Request<Full<Bytes>>, Failure> {
    let body = request.body().and_then(reqwest::Body::as_bytes).map(Bytes::copy_from_slice).unwrap_or_default();
    let target = match request.url().query() {
        Some(query) => format!("{}?{query}", request.url().path()),
        None => request.url().path().to_owned(),
    };
    let mut converted = hyper::Request::builder().method(request.method().clone()).uri(target);
    if let Some(headers) = converted.headers_mut() {
        headers.clone_from(request.headers());
        headers.insert(hyper::header::HOST, hyper::header::HeaderValue::from_static("127.0.0.1"));
    }
    Ok(converted.body(Full::new(body))?)
}

/// A request in a line, without what differs between two runs of one seed.
fn describe(request: &reqwest::Request) -> String {
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    let path: String = request.url().path().chars().skip(5).collect();
    let mut text = format!("{} {path}", request.method());
    if !body.is_empty() {
        text.push(' ');
        text.push_str(&String::from_utf8_lossy(body).chars().take(600).collect::<String>());
    }
    text
}

/// Somebody who is always signed in.
pub(super) struct SignedIn(pub(super) Cloud);

#[async_trait]
impl AccessTokens for SignedIn {
    fn account(&self) -> &'static str {
        "user@domain.com"
    }

    async fn access_token(&self) -> Result<AccessToken, AuthError> {
        Ok(AccessToken::new(self.0.access_token("").unwrap_or_default()))
    }

    async fn renew(&self, _rejected: &AccessToken, _claims: Option<&str>) -> Result<AccessToken, AuthError> {
        self.access_token().await
    }

    async fn sign_in_anew(&self, _rejected: &AccessToken, _reason: &str) -> Result<AccessToken, AuthError> {
        self.access_token().await
    }
}
