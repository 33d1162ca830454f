//! What is asked for, and what comes back.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use cms_cloud::office365::Webhook;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Body;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};

/// No batch of notifications comes near this: one is about 1 kB.
const BYTES_MAX: usize = 256 << 10;
/// How long a batch may take to arrive; the service waits three seconds for its answer.
const BODY_SILENCE: Duration = Duration::from_secs(5);
/// The service's own are shorter than 200 characters.
const TOKEN_CHARACTERS_MAX: usize = 2_000;

pub(super) type Answer = Response<Full<Bytes>>;

/// Answers one request.
pub(super) async fn respond<B>(webhook: &Webhook, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    if head.uri.path() != webhook.url().path() {
        return nothing_here();
    }
    if head.method != Method::POST {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "That can't be done here.\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return answer;
    }
    if let Some(token) = validation_token(head.uri.query().unwrap_or_default()) {
        // It is said back only where the service has a reason to ask: nobody is to have this address say things.
        let is_expected = webhook.expects_handshake() && token.chars().count() <= TOKEN_CHARACTERS_MAX;
        return if is_expected { plain(StatusCode::OK, token.into_owned()) } else { nothing_here() };
    }
    if body.size_hint().lower() > BYTES_MAX as u64 {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "That is too much.\n");
    }
    match tokio::time::timeout(BODY_SILENCE, Limited::new(body, BYTES_MAX).collect()).await {
        Ok(Ok(body)) => match webhook.take(&body.to_bytes()) {
            Ok(()) => plain(StatusCode::ACCEPTED, ""),
            Err(_) => plain(StatusCode::BAD_REQUEST, "These are no notifications.\n"),
        },
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            plain(StatusCode::PAYLOAD_TOO_LARGE, "That is too much.\n")
        }
        Ok(Err(_)) => plain(StatusCode::BAD_REQUEST, "The notifications didn't arrive whole.\n"),
        Err(_) => plain(StatusCode::REQUEST_TIMEOUT, "The notifications didn't arrive.\n"),
    }
}

fn validation_token(query: &str) -> Option<Cow<'_, str>> {
    url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "validationToken").map(|(_, value)| value)
}

fn nothing_here() -> Answer {
    plain(StatusCode::NOT_FOUND, "There is nothing here.\n")
}

/// Text, which no browser takes for anything else.
fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (CACHE_CONTROL, "no-store"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}
