//! Answers, each with the headers that keep it where it belongs.

use std::convert::Infallible;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use url::Url;

use super::guard::hex;

/// A body: all at once, or as it comes.
pub(super) type Body = Either<Full<Bytes>, StreamBody<Events>>;
/// The events of a stream.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;
pub(super) type Answer = Response<Body>;

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What lets a script or a style of ours run: it stands in the policy and in the page, and is never used twice.
pub(super) struct Nonce(String);

impl Nonce {
    pub(super) fn new() -> Self {
        Self(hex(&rand::random::<[u8; 16]>()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The whole page.
pub(super) fn page(status: StatusCode, html: String, nonce: &Nonce, sign_in_origins: &[String]) -> Answer {
    let nonce = nonce.as_str();
    let mut policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    );
    for origin in sign_in_origins.iter().filter_map(|origin| policy_source(origin)) {
        policy.push(' ');
        policy.push_str(&origin);
    }
    let mut answer = whole(status, "text/html; charset=utf-8", html);
    // The policy is made of origins as `Url` writes them, which are ASCII; should one not fit all the same, nothing may
    // run.
    let policy = HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static(NOTHING));
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    // Without a referrer, browsers send `Origin: null` with forms, and we couldn't tell our own from others'. The
    // address of this page can hold a code, but goes nowhere but here.
    answer.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    answer
}

/// A sentence.
pub(super) fn plain(status: StatusCode, words: &str) -> Answer {
    whole(status, "text/plain; charset=utf-8", format!("{words}\n"))
}

pub(super) fn json(text: String) -> Answer {
    whole(StatusCode::OK, "application/json", text)
}

pub(super) fn events(events: Events) -> Answer {
    let mut answer = whole(StatusCode::OK, "text/event-stream", String::new());
    *answer.body_mut() = Either::Right(StreamBody::new(events));
    answer
}

/// To the page itself.
pub(super) fn to_page() -> Answer {
    see_other(HeaderValue::from_static("/"))
}

/// To the sign-in service. `None` if the address can't be meant: such a service is reached safely or is on this
/// machine.
pub(super) fn to_sign_in(address: &Url) -> Option<Answer> {
    let safe = match address.scheme() {
        "https" => true,
        "http" => match address.host()? {
            url::Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            url::Host::Ipv4(ip) => ip.is_loopback(),
            url::Host::Ipv6(ip) => ip.is_loopback(),
        },
        _ => false,
    };
    if safe { HeaderValue::try_from(address.as_str()).ok().map(see_other) } else { None }
}

pub(super) fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "That can't be done here.");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn see_other(location: HeaderValue) -> Answer {
    let mut answer = whole(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", String::new());
    answer.headers_mut().insert(LOCATION, location);
    answer
}

fn whole(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(text)));
    *answer.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, NOTHING),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (OPENER_POLICY, "same-origin"),
        (RESOURCE_POLICY, "same-origin"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// An origin as a policy names it, and nothing that could say more than that.
fn policy_source(origin: &str) -> Option<String> {
    if origin == "https:" {
        return Some(origin.to_owned());
    }
    let url = Url::parse(origin).ok()?;
    if !matches!(url.scheme(), "https" | "http") {
        return None;
    }
    let origin = url.origin().ascii_serialization();
    // A host may contain what separates one policy from the next.
    origin.bytes().all(|b| b.is_ascii_alphanumeric() || b":/.-_[]".contains(&b)).then_some(origin)
}
