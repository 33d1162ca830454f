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
        check_site(headers)
    }

    /// The status is to be read by a script: it must be that of our page. Programs other than browsers, which say
    /// nothing of origins, may read it as well.
    pub(super) fn check_read(self, headers: &HeaderMap) -> Result<(), Refusal> {
        if headers.contains_key(ORIGIN) {
            self.is_origin(only(headers, &ORIGIN).ok_or(Refusal::Origin)?)?;
        }
        check_site(headers)
    }

    fn is_origin(self, origin: &str) -> Result<(), Refusal> {
        let name = origin.strip_prefix("http://").ok_or(Refusal::Origin)?;
        if name.eq_ignore_ascii_case(self.0) { Ok(()) } else { Err(Refusal::Origin) }
    }
}

/// A page is to be shown, where a link from anywhere may lead: it must be a tab of its own.
pub(super) fn check_show(headers: &HeaderMap) -> Result<(), Refusal> {
    if check_site(headers).is_ok() || all(headers, &SEC_FETCH_DEST, |dest| dest == "document") {
        Ok(())
    } else {
        Err(Refusal::Embedded)
    }
}

impl Key {
    pub(super) fn new() -> Self {
        Self(hex(&rand::random::<[u8; 32]>()))
    }

    /// A key that isn't secret, to try what is behind it.
    pub(super) fn known(key: &str) -> Self {
        Self(key.to_owned())
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

fn check_site(headers: &HeaderMap) -> Result<(), Refusal> {
    let ours = |site: &HeaderValue| site == "same-origin" || site == "none";
    if all(headers, &SEC_FETCH_SITE, ours) { Ok(()) } else { Err(Refusal::Origin) }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_names_of_this_machine_with_the_right_port_are_answered() {
        assert!(is_own_host("127.0.0.1:8080", 8080));
        assert!(is_own_host("LOCALHOST:8080", 8080));
        assert!(is_own_host("[::1]:8080", 8080));
        assert!(is_own_host("localhost", 80));
        for other in [
            "localhost",
            "127.0.0.1:8081",
            "evil.example:8080",
            "localhost.evil.example:8080",
            "localhost:+8080",
            "localhost:",
            "localhost:8080:8080",
            "user@localhost:8080",
            "::1:8080",
            "[::1]",
            "",
        ] {
            assert!(!is_own_host(other, 8080), "{other}");
        }
    }

    #[test]
    fn a_request_has_one_host() {
        assert!(OwnHost::of(&headers(&[("host", "localhost:8080")]), 8080).is_ok());
        assert_eq!(OwnHost::of(&headers(&[]), 8080), Err(Refusal::Host));
        assert_eq!(
            OwnHost::of(&headers(&[("host", "localhost:8080"), ("host", "localhost:8080")]), 8080),
            Err(Refusal::Host)
        );
    }

    #[test]
    fn a_change_comes_from_our_page() {
        let check = |lines: &[(&'static str, &str)]| OwnHost("localhost:8080").check_change(&headers(lines));
        let own = ("origin", "http://localhost:8080");
        assert_eq!(check(&[own]), Ok(()));
        assert_eq!(check(&[own, ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(check(&[own, ("sec-fetch-site", "none")]), Ok(()));
        for refused in [
            &[][..],
            &[own, own],
            &[("origin", "null")],
            &[("origin", "https://localhost:8080")],
            &[("origin", "http://127.0.0.1:8080")],
            &[("origin", "http://evil.example")],
            &[own, ("sec-fetch-site", "same-site")],
            &[own, ("sec-fetch-site", "cross-site")],
            &[own, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(check(refused), Err(Refusal::Origin), "{refused:?}");
        }
    }

    #[test]
    fn the_status_is_read_by_our_page_or_by_no_page() {
        let check = |lines: &[(&'static str, &str)]| OwnHost("localhost:8080").check_read(&headers(lines));
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(check(&[("origin", "http://localhost:8080")]), Ok(()));
        assert_eq!(check(&[("origin", "http://evil.example")]), Err(Refusal::Origin));
        assert_eq!(check(&[("origin", "null")]), Err(Refusal::Origin));
        assert_eq!(check(&[("sec-fetch-site", "cross-site")]), Err(Refusal::Origin));
        assert_eq!(check(&[("sec-fetch-site", "same-site")]), Err(Refusal::Origin));
    }

    #[test]
    fn links_from_elsewhere_lead_to_the_page_but_frames_and_images_do_not() {
        let check = |dest| check_show(&headers(&[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", dest)]));
        assert_eq!(check("document"), Ok(()));
        assert_eq!(check("iframe"), Err(Refusal::Embedded));
        assert_eq!(check("image"), Err(Refusal::Embedded));
        assert_eq!(check("empty"), Err(Refusal::Embedded));
    }

    #[test]
    fn the_key_is_long_and_new_and_hidden() {
        let key = Key::new();
        assert_eq!(key.as_str().len(), 64);
        assert_ne!(key.as_str(), Key::new().as_str());
        assert_eq!(format!("{key:?}"), "Key(hidden)");
        assert_eq!(key.check(key.as_str()), Ok(()));
        assert_eq!(key.check(""), Err(Refusal::Key));
        assert_eq!(key.check(&key.as_str()[..63]), Err(Refusal::Key));
        assert_eq!(key.check(&format!("{}0", key.as_str())), Err(Refusal::Key));
        assert_eq!(key.check(Key::new().as_str()), Err(Refusal::Key));
    }
}
