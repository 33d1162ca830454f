//! Values that are more than text: addresses, durations, counts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use url::Url;

use super::error::Refusal;

/// An address of a service: https, or http on this machine.
pub(super) fn service_url(written: &str) -> Result<Url, Refusal> {
    let url = Url::parse(written).map_err(|error| {
        Refusal::new(format!("`{written}` is not a URL: {error}"))
            .hint("write something like `https://login.example.com`")
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(Refusal::new(format!("`{written}` is not the URL of a web service"))
            .hint("write something like `https://login.example.com`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::new("a URL must not hold a user name or password"));
    }
    if !cms_auth::may_carry_secrets(&url) {
        let mut secure = url.clone();
        // Turning http into https can't fail: both are special schemes.
        let _ = secure.set_scheme("https");
        return Err(Refusal::new(format!("`{written}` would send your mail and sign-in over an open connection"))
            .hint(format!("write `{secure}`; only addresses on this machine may use http")));
    }
    Ok(url)
}

/// `127.0.0.1:8080`, `localhost:8080` or `[::1]:8080`.
pub(super) fn listen_address(written: &str) -> Result<SocketAddr, Refusal> {
    let wrong = || {
        Refusal::new(format!("`{written}` is not an address to listen on"))
            .hint("write something like `127.0.0.1:8080`")
    };
    let address = match written.strip_prefix("localhost:") {
        Some(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().map_err(|_| wrong())?),
        None => written.parse::<SocketAddr>().map_err(|_| wrong())?,
    };
    if !address.ip().is_loopback() {
        return Err(Refusal::new(format!("`{written}` could be reached from other machines"))
            .hint(format!("write `127.0.0.1:{}`", address.port())));
    }
    Ok(address)
}

/// Whose mailbox: a sign-in name or mail address. It stands in addresses and in front of folders' names.
pub(super) fn mailbox_owner(written: &str) -> Result<String, Refusal> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/\\?#%<>\"'".contains(c);
    let parts: Vec<&str> = written.split('@').collect();
    match parts.as_slice() {
        [name, domain] if !name.is_empty() && !domain.is_empty() && !written.contains(bad) => {
            Ok(written.to_lowercase())
        }
        _ => Err(Refusal::new(format!("`{written}` is not the address of a mailbox"))
            .hint("write whose mailbox it is, such as `team@domain.com`")),
    }
}

/// The path of a redirect address, as it is registered (Redirect URI restrictions and limitations).
pub(super) fn redirect_path(written: &str) -> Result<String, Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    if !written.starts_with('/') || written.len() > 200 || !written.chars().all(allowed) {
        return Err(Refusal::new(format!("`{written}` is not the path of a redirect address"))
            .hint("write the path that is registered, such as `/oauth2/msal`"));
    }
    Ok(written.to_owned())
}

/// The units of a duration, in milliseconds.
const UNITS: [(&str, u64); 10] = [
    ("ms", 1),
    ("s", 1000),
    ("sec", 1000),
    ("second", 1000),
    ("seconds", 1000),
    ("m", 60_000),
    ("min", 60_000),
    ("minute", 60_000),
    ("minutes", 60_000),
    ("h", 3_600_000),
];

/// `30s`, `5min`, `1h`, or a bare number of seconds.
pub(super) fn duration(written: &str) -> Result<Duration, Refusal> {
    let wrong = || {
        Refusal::new(format!("`{written}` is not a duration"))
            .hint("write a number of seconds, `\"30s\"` or `\"5min\"`")
    };
    let text = written.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match unit.trim() {
        "" => 1000,
        unit => {
            UNITS.iter().find(|(name, _)| *name == unit).map(|(_, milliseconds)| *milliseconds).ok_or_else(wrong)?
        }
    };
    number.checked_mul(unit).map(Duration::from_millis).ok_or_else(wrong)
}

/// How often to poll: between a tenth of a second and a day.
pub(super) fn poll_interval(interval: Duration) -> Result<Duration, Refusal> {
    if interval < Duration::from_millis(100) {
        return Err(Refusal::new("polling that often would be refused by the mail service")
            .hint("write at least `\"1s\"`; the default is 60 s"));
    }
    if interval > Duration::from_secs(24 * 3600) {
        return Err(Refusal::new("polling less than once a day makes no sense")
            .hint("write at most `\"24h\"`; the default is 60 s"));
    }
    Ok(interval)
}

/// `14`, `14d`, `14 days`.
pub(super) fn days(written: &str) -> Result<u32, Refusal> {
    let text = written.trim();
    let number = ["days", "day", "d"].iter().find_map(|unit| text.strip_suffix(unit)).unwrap_or(text).trim_end();
    number
        .parse()
        .map_err(|_| Refusal::new(format!("`{written}` is not a number of days")).hint("write a number such as `14`"))
}
