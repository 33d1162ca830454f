//! A browser for tests: gets a page and follows redirects, on this machine only.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use url::Url;

/// How many redirects are followed.
const MOST_REDIRECTS: usize = 10;

/// Why a visit didn't end well.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// The address isn't one, or not on this machine.
    #[error("`{0}` isn't an http address on this machine")]
    Elsewhere(String),
    /// Nobody answers, or not in HTTP.
    #[error("nobody answers at {url}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The redirects never end.
    #[error("more than {MOST_REDIRECTS} redirects")]
    Endless,
}

/// Gets a page, follows redirects to loopback addresses, and returns the last status. Blocks.
pub fn visit(url: &str) -> Result<u16, VisitError> {
    follow(url, None)
}

/// The same as [`visit`] by somebody who picks an account on the sign-in page that is at `url`; nobody is Cancel.
pub fn visit_as(url: &str, account: Option<&str>) -> Result<u16, VisitError> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    match account {
        Some(account) => form.append_pair("account", account).append_pair("action", "sign-in"),
        None => form.append_pair("action", "cancel"),
    };
    follow(url, Some(form.finish()))
}

/// Gets or posts to a page, and follows redirects.
fn follow(url: &str, mut form: Option<String>) -> Result<u16, VisitError> {
    let elsewhere = |url: &str| VisitError::Elsewhere(url.to_owned());
    let mut at = Url::parse(url).map_err(|_| elsewhere(url))?;
    for _ in 0..=MOST_REDIRECTS {
        if at.scheme() != "http" || !matches!(at.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
            return Err(elsewhere(at.as_str()));
        }
        let answer =
            ask(&at, form.take()).map_err(|source| VisitError::Unreachable { url: at.as_str().to_owned(), source })?;
        match answer {
            (300..400, Some(location)) => at = at.join(&location).map_err(|_| elsewhere(&location))?,
            (status, _) => return Ok(status),
        }
    }
    Err(VisitError::Endless)
}

/// The status of a page and where it sends us.
fn ask(url: &Url, form: Option<String>) -> std::io::Result<(u16, Option<String>)> {
    let address = url.socket_addrs(|| Some(80))?;
    let mut stream = TcpStream::connect(address.as_slice())?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let (method, content) = match form {
        None => ("GET", String::new()),
        Some(form) => (
            "POST",
            format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}", form.len()),
        ),
    };
    let content = if content.is_empty() { "\r\n" } else { &content };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: simcloud\r\nAccept: text/html\r\nConnection: close\r\n{content}"
    )?;
    let mut text = Vec::new();
    stream.take(1 << 20).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let location =
        head.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("location"));
    let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
    Ok((status, location.map(|(_, value)| value.trim().to_owned())))
}
