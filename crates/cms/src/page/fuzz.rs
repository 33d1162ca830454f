//! A way in for fuzzers: one request from its bytes to its answer, with sign-ins that only look like ones.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use http_body_util::{BodyExt, Either, Full};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION, ORIGIN};
use hyper::{Method, Request};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use url::Url;

use super::board::Board;
use super::desk::{CameBack, Desk};
use super::guard::Key;
use super::held::Word;
use super::respond::House;
use super::status::{AccountStatus, SignInStatus, Status};

/// The port that requests must name.
pub const PORT: u16 = 8080;
/// The key that forms must bring.
pub const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const SIGN_IN: &str = "https://login.example/authorize?client_id=cms";

/// Answers a request as it comes over the wire, and returns the status; `None` if it isn't one.
///
/// In debug builds, panics if something changes without key and origin, or if the browser is sent elsewhere than to the
/// page or the sign-in service.
pub fn request(wire: &[u8]) -> Option<u16> {
    let request = parse(wire)?;
    let allowed = may_change(&request);
    let path = request.uri().path().to_owned();
    let changed = Arc::new(AtomicBool::new(false));
    let (_end, ended) = watch::channel(false);
    let account = |name: &str| AccountStatus {
        name: name.to_owned(),
        service: "Microsoft 365".to_owned(),
        sign_in: SignInStatus::Needed { reason: "There is no token yet.".to_owned() },
    };
    let house = House {
        board: Board::new(Status { accounts: vec![account("jane"), account("joe")], ..Status::default() }),
        desk: Arc::new(Looks(Arc::clone(&changed))),
        port: PORT,
        key: Key::known(KEY),
        streams: Arc::new(Semaphore::new(1)),
        ended,
    };
    runtime()?.block_on(async {
        let answer = house.respond(request).await;
        let status = answer.status();
        let changes = matches!(path.as_str(), "/sign-in" | "/cancel" | "/held");
        debug_assert!(allowed || !changed.load(Ordering::Relaxed), "changed without key and origin");
        debug_assert!(allowed || !changes || status.is_client_error(), "a change was not refused: {status}");
        let location = answer.headers().get(LOCATION);
        debug_assert!(location.is_none_or(|to| to == "/" || to == SIGN_IN), "sent elsewhere: {location:?}");
        debug_assert!(location.is_some() == status.is_redirection());
        let is_page = answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/html; charset=utf-8");
        if let (true, Either::Left(page)) = (is_page, answer.into_body()) {
            let Ok(page) = page.collect().await;
            let page = page.to_bytes();
            let scripts = page.windows(7).filter(|text| text.eq_ignore_ascii_case(b"<script")).count();
            debug_assert!(scripts == 1, "text became a script");
        }
        Some(status.as_u16())
    })
}

fn runtime() -> Option<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().enable_time().build().ok()).as_ref()
}

/// Whether a request is such that it may change something; written apart from the guard, and more simply.
fn may_change(request: &Request<Full<Bytes>>) -> bool {
    let values = |name| request.headers().get_all(name).iter().collect::<Vec<&HeaderValue>>();
    let [host] = values(HOST)[..] else { return false };
    let [origin] = values(ORIGIN)[..] else { return false };
    let (Ok(host), Ok(origin)) = (host.to_str(), origin.to_str()) else { return false };
    let host = host.to_ascii_lowercase();
    let body = request.body().clone();
    // All of it is there, so it is ready at once.
    let Some(Ok(body)) = futures_util::FutureExt::now_or_never(body.collect()) else { return false };
    request.method() == Method::POST
        && ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"].contains(&host.as_str())
        && origin.to_ascii_lowercase() == format!("http://{host}")
        && url::form_urlencoded::parse(&body.to_bytes()).any(|(name, value)| name == "key" && value == KEY)
}

fn parse(wire: &[u8]) -> Option<Request<Full<Bytes>>> {
    let end = wire.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(wire.get(..end)?).ok()?, wire.get(end + 4..)?);
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let mut request = Request::builder().method(first.next()?).uri(first.next()?);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        request = request.header(name, value.trim());
    }
    request.body(Full::from(body.to_vec())).ok()
}

struct Looks(Arc<AtomicBool>);

impl Desk for Looks {
    fn begin(&self, _account: usize) -> Result<Url, String> {
        self.0.store(true, Ordering::Relaxed);
        Url::parse(SIGN_IN).map_err(|error| error.to_string())
    }

    fn begin_with_code(&self, account: usize) -> Result<(), String> {
        self.0.store(true, Ordering::Relaxed);
        if account == 0 { Ok(()) } else { Err("<script>This account can't use codes.</script>".to_owned()) }
    }

    fn cancel(&self, _account: usize) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn rule<'a>(&'a self, held: &'a str, _word: Word) -> BoxFuture<'a, Result<(), String>> {
        self.0.store(true, Ordering::Relaxed);
        Box::pin(ready(Err(format!("<script>{held}"))))
    }

    fn redirect_paths(&self) -> Vec<String> {
        vec!["/oauth2/msal".to_owned(), "/".to_owned()]
    }

    fn came_back<'a>(&'a self, path: &'a str, query: &'a str) -> BoxFuture<'a, Option<CameBack>> {
        let good = query.contains("state=known");
        let back = CameBack { good, heading: query.to_owned(), words: path.to_owned() };
        Box::pin(ready((good || query.contains("state=old")).then_some(back)))
    }

    fn sign_in_origins(&self) -> Vec<String> {
        vec!["https://login.example".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_form_of_ours_gets_through_and_another_does_not() {
        let form = |key: &str| format!("account=0&method=browser&key={key}");
        let wire = |key: &str| {
            format!(
                "POST /sign-in HTTP/1.1\r\nHost: localhost:8080\r\nOrigin: http://localhost:8080\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\n\r\n{}",
                form(key)
            )
        };
        assert_eq!(request(wire(KEY).as_bytes()), Some(303));
        assert_eq!(request(wire("other").as_bytes()), Some(403));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn odd_bytes_do_no_harm(wire in proptest::collection::vec(any::<u8>(), 0..400)) {
            request(&wire);
        }

        #[test]
        fn odd_requests_do_no_harm(
            method in "GET|HEAD|POST|PUT|OPTIONS|CONNECT|X",
            path in "/|/events|/status.json|/sign-in|/cancel|/held|/oauth2/msal|//evil.example|/\\.\\.|\\*|http://localhost:8080/cancel",
            query in "|\\?state=(known|old|)[ -~&&[^ #]]{0,20}",
            headers in proptest::collection::vec(
                ("Host|Origin|Sec-Fetch-Site|Sec-Fetch-Dest|Content-Type|Content-Length",
                 "(http://)?(localhost|127\\.0\\.0\\.1|\\[::1\\]|evil\\.example)(:8080|:80|:|)|same-origin|cross-site|none|null|\
                  document|application/x-www-form-urlencoded|[0-9]{1,5}"), 0..6),
            body in "(account=[0-2]?&|method=(browser|code|)&|key=(0123456789abcdef){0,5}&|[ -~]{0,9}){0,5}",
        ) {
            let headers: Vec<String> =
                headers.iter().map(|(name, value)| format!("\r\n{name}: {value}")).collect();
            request(format!("{method} {path}{query} HTTP/1.1{}\r\n\r\n{body}", headers.concat()).as_bytes());
        }

        #[test]
        fn nearly_good_forms_do_no_harm(
            path in "/sign-in|/cancel|/held",
            host in r"localhost:8080|LOCALHOST:8080|127\.0\.0\.1:8080|evil\.example:8080",
            origin in r"http://localhost:8080|http://evil\.example:8080|null|https://localhost:8080",
            key in "(0123456789abcdef){3,5}",
            account in "[0-9]{0,30}|-1|\\+1",
            method in "browser|code|",
            word in "apply|restore|",
        ) {
            let status = request(format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\n\r\naccount={account}&method={method}&held={account}&word={word}&key={key}"
            ).as_bytes());
            prop_assert!(status.is_some());
        }
    }
}
