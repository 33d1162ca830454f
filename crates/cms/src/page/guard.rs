//! Who may ask for what: the rules that keep other web pages and other names away.
//!
//! A web page in the user's browser can make the browser send requests here. Three things tell them apart from
//! our own: the name it used (`Host`), the page that asked (`Origin`, `Sec-Fetch-*`), and a key that only our page
//! knows. We never send `Access-Control-*` headers, so no other page can read an answer.

use std::fmt;

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, HeaderValue, ORIGIN};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const OWN_NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It came under another name, under none or under several (DNS rebinding).
    Host,
    /// Another page asked.
    Origin,
    /// It would show the page inside of another, or as something that it isn't.
    Embedded,
    /// It has not the key of our forms.
    Key,
}

/// The `Host` under which a request came, one of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnHost<'a>(&'a str);

/// What a form must bring along, new with each process.
#[derive(Clone)]
pub(super) struct Key(String);

impl<'a> OwnHost<'a> {
    /// The host of a request, if it has exactly one and that is ours.
    pub(super) fn of(headers: &'a HeaderMap, port: u16) -> Result<Self, Refusal> {
        let host = only(headers, &HOST).ok_or(Refusal::Host)?;
        if is_own_host(host, port) { Ok(Self(host)) } else { Err(Refusal::Host) }
    }

    /// Something is to change: our page must have asked, and the browser must say so.
    pub(super) fn check_change(self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.is_origin(only(headers, &ORIGIN).ok_or(Refusal::Origin)?)?;
        self.check_site(headers)
    }

    /// The status is to be read by a script: it must be that of our page. Programs other than browsers, which say
    /// nothing of origins, may read it as well.
    pub(super) fn check_read(self, headers: &HeaderMap) -> Result<(), Refusal> {
        if headers.contains_key(ORIGIN) {
            self.is_origin(only(headers, &ORIGIN).ok_or(Refusal::Origin)?)?;
        }
        self.check_site(headers)
    }

    /// A page is to be shown, where a link from anywhere may lead: it must be a tab of its own.
    pub(super) fn check_show(self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.check_site(headers).is_ok() || all(headers, &SEC_FETCH_DEST, |dest| dest == "document") {
            Ok(())
        } else {
            Err(Refusal::Embedded)
        }
    }

    fn check_site(self, headers: &HeaderMap) -> Result<(), Refusal> {
        let ours = |site: &HeaderValue| site == "same-origin" || site == "none";
        if all(headers, &SEC_FETCH_SITE, ours) { Ok(()) } else { Err(Refusal::Origin) }
    }

    fn is_origin(self, origin: &str) -> Result<(), Refusal> {
        let name = origin.strip_prefix("http://").ok_or(Refusal::Origin)?;
        if name.eq_ignore_ascii_case(self.0) { Ok(()) } else { Err(Refusal::Origin) }
    }
}

impl Key {
    pub(super) fn new() -> Self {
        Self(hex(&rand::random::<[u8; 32]>()))
    }

    /// The key as it stands in forms.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is it; how long that takes tells nothing of where they differ.
    pub(super) fn check(&self, given: &str) -> Result<(), Refusal> {
        let (own, given) = (self.0.as_bytes(), given.as_bytes());
        let difference = own.iter().zip(given).fold(0, |difference, (a, b)| difference | (a ^ b));
        if own.len() == given.len() && std::hint::black_box(difference) == 0 { Ok(()) } else { Err(Refusal::Key) }
    }
}

/// It is worth as much as the user's click.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "This address answers under its own name only, such as localhost.",
            Self::Origin => "Only the page itself may ask for this.",
            Self::Embedded => "The page can't be part of another page.",
            Self::Key => "The page is out of date. Please load it again.",
        })
    }
}

/// Random bytes, written so that they fit anywhere.
pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn is_own_host(host: &str, port: u16) -> bool {
    let (name, given) = match host.rsplit_once(':') {
        // Only digits: a sign would be read as part of the number.
        Some((name, digits)) if !digits.ends_with(']') => {
            (name, digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten())
        }
        _ => (host, Some(80)),
    };
    given == Some(port) && OWN_NAMES.iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// The value of a header that must be there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

fn all(headers: &HeaderMap, name: &HeaderName, holds: impl Fn(&HeaderValue) -> bool) -> bool {
    headers.get_all(name).iter().all(holds)
}
