//! The options: what may stand after `cfg.`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use starlark::values::{OwnedFrozenValue, Value};
use url::Url;

use super::error::{ConfigurationError, Position, Refusal};
use super::functions::describe;
use super::language::Setting;
use super::parse;
use super::paths::Surroundings;
use super::push;

/// Every option there is.
pub(super) const NAMES: [&str; 10] = [
    "direct_message",
    "state_dir",
    "listen",
    "push_url",
    "push_listen",
    "token_key_command",
    "poll_interval",
    "keep_deleted",
    "max_deletions",
    "on_change",
];

/// The options that were set.
#[derive(Default)]
pub(super) struct Options {
    pub(super) direct_message: Option<(OwnedFrozenValue, Position)>,
    pub(super) state_dir: Option<(PathBuf, Position)>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) push_url: Option<Url>,
    pub(super) push_listen: Option<(SocketAddr, Position)>,
    pub(super) token_key_command: Option<String>,
    pub(super) poll_interval: Option<Duration>,
    pub(super) keep_deleted_days: Option<u32>,
    pub(super) max_deletions: Option<u32>,
    pub(super) on_change: Option<String>,
}

impl Options {
    /// Reads the value of every option. `None` stands for the default.
    pub(super) fn read(settings: Vec<Setting>, surroundings: &Surroundings) -> Result<Self, ConfigurationError> {
        let mut options = Self::default();
        for Setting { name, position, value: owned } in settings {
            let value = owned.value();
            if value.is_none() {
                continue;
            }
            let at = position.clone();
            let located = |refusal: Refusal| refusal.positioned(at);
            match name.as_str() {
                "direct_message" => {
                    function(value).map_err(located)?;
                    options.direct_message = Some((owned.clone(), position));
                }
                "state_dir" => {
                    let path =
                        text("state_dir", value).and_then(|path| surroundings.absolute(path)).map_err(located)?;
                    options.state_dir = Some((path, position));
                }
                "listen" => {
                    options.listen = Some(text("listen", value).and_then(parse::listen_address).map_err(located)?);
                }
                "push_url" => {
                    options.push_url = Some(text("push_url", value).and_then(push::push_url).map_err(located)?);
                }
                "push_listen" => {
                    let address = text("push_listen", value).and_then(parse::listen_address).map_err(located)?;
                    options.push_listen = Some((address, position));
                }
                "token_key_command" => {
                    options.token_key_command = Some(text("token_key_command", value).map_err(located)?.to_owned());
                }
                "poll_interval" => options.poll_interval = Some(poll_interval(value).map_err(located)?),
                "keep_deleted" => options.keep_deleted_days = Some(days(value).map_err(located)?),
                "max_deletions" => options.max_deletions = Some(count("max_deletions", value).map_err(located)?),
                "on_change" => options.on_change = Some(text("on_change", value).map_err(located)?.to_owned()),
                // Names that aren't in `NAMES` were refused when the file was parsed.
                _ => {}
            }
        }
        Ok(options)
    }
}

fn function(value: Value<'_>) -> Result<(), Refusal> {
    if value.get_type() == "function" {
        return Ok(());
    }
    Err(Refusal::new(format!("`cfg.direct_message` must be a function, not {}", describe(value)))
        .hint("write `def f(msg):` with a `return` of a `MailDir`, then `cfg.direct_message = f`"))
}

fn text<'v>(option: &str, value: Value<'v>) -> Result<&'v str, Refusal> {
    match value.unpack_str() {
        Some(text) if text.trim().is_empty() => Err(Refusal::new(format!("`cfg.{option}` must not be empty"))),
        Some(text) => Ok(text),
        None => Err(Refusal::new(format!("`cfg.{option}` must be a string, not {}", describe(value)))),
    }
}

fn count(option: &str, value: Value<'_>) -> Result<u32, Refusal> {
    whole_number(value)
        .ok_or_else(|| Refusal::new(format!("`cfg.{option}` must be a number from 0, not {}", shown(value))))
}

fn days(value: Value<'_>) -> Result<u32, Refusal> {
    match (value.unpack_str(), whole_number(value)) {
        (Some(text), _) => parse::days(text),
        (None, Some(days)) => Ok(days),
        (None, None) => Err(Refusal::new(format!("`cfg.keep_deleted` must be a number of days, not {}", shown(value)))
            .hint("write a number such as `14`")),
    }
}

fn poll_interval(value: Value<'_>) -> Result<Duration, Refusal> {
    let interval = match (value.unpack_str(), whole_number(value)) {
        (Some(text), _) => parse::duration(text)?,
        (None, Some(seconds)) => Duration::from_secs(seconds.into()),
        (None, None) => {
            return Err(Refusal::new(format!("`cfg.poll_interval` must be a duration, not {}", shown(value)))
                .hint("write a number of seconds, `\"30s\"` or `\"5min\"`"));
        }
    };
    parse::poll_interval(interval)
}

fn whole_number(value: Value<'_>) -> Option<u32> {
    value.unpack_i32().and_then(|number| u32::try_from(number).ok())
}

fn shown(value: Value<'_>) -> String {
    match value.unpack_i32() {
        Some(number) => format!("{number}"),
        None => describe(value),
    }
}
