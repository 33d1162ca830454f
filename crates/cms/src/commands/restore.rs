//! `cms restore`: brings back messages that were removed.

use cms_engine::UnixSeconds;
use serde_json::json;

use super::log::{could_not_read, open};
use super::{Context, Ended, errands};
use crate::arguments::span::{Hour, Since};
use crate::history::{History, Removed, time};
use crate::output;
use crate::problem::Problem;
use crate::sync::{Errand, Surroundings};

/// Which messages.
pub struct Chosen {
    /// By their numbers.
    pub numbers: Vec<u64>,
    /// By words in subject and sender.
    pub search: Option<String>,
    /// By the hour in which they were removed.
    pub hour: Option<Hour>,
    /// By the time since which they were removed.
    pub since: Option<Since>,
}

/// Lists what was removed, or brings it back.
pub async fn run(context: &Context, chosen: &Chosen, list: bool, json: bool) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    let mut numbers = chosen.numbers.clone();
    let by_what = chosen.search.is_some() || chosen.hour.is_some() || chosen.since.is_some();
    if numbers.is_empty() {
        let history = open(&configuration)?;
        let found = match &history {
            Some(history) => choose(history, chosen, configuration.keep_deleted_days)?,
            None => Vec::new(),
        };
        if list || !by_what {
            return show(history.as_ref(), &found, json);
        }
        numbers = found.into_iter().map(|removed| removed.number).collect();
        if numbers.is_empty() {
            return Err(
                Problem::new("no message that was removed fits").with_hint("`cms restore` lists what was removed")
            );
        }
    }
    let report = errands::run(context, "restore", Errand::Restore { numbers }).await?;
    errands::tell(report, false)
}

fn choose(history: &History, chosen: &Chosen, days: u32) -> Result<Vec<Removed>, Problem> {
    let now = (Surroundings::default().now)();
    let kept = UnixSeconds(now.0 - i64::from(days) * 86_400);
    let (from, until) = match (chosen.hour, chosen.since) {
        (Some(Hour(hour)), _) => (hour, UnixSeconds(hour.0 + 3_600)),
        (None, Some(since)) => (since.from(now), UnixSeconds(i64::MAX)),
        (None, None) => (UnixSeconds(i64::MIN), UnixSeconds(i64::MAX)),
    };
    // What a wrong clock has noted may be from any time, and is kept all the same.
    let mut removed = history.removed(UnixSeconds(i64::MIN)).map_err(could_not_read)?;
    removed.retain(|removed| {
        (removed.kept || removed.at >= kept)
            && (from..until).contains(&removed.at)
            && chosen.search.as_ref().is_none_or(|words| removed.has_words(words))
    });
    Ok(removed)
}

fn show(history: Option<&History>, found: &[Removed], json: bool) -> Result<Ended, Problem> {
    let Some(history) = history.filter(|_| !found.is_empty()) else {
        if !json {
            output::line("nothing was removed that could be brought back")?;
        }
        return Ok(Ended::Done);
    };
    for removed in found {
        let Removed { number, at, by, message, envelope, kept } = removed;
        let mailbox = message
            .mailbox
            .map_or_else(|| history.maildir_name(message.file.maildir), |mailbox| history.mailbox(mailbox).to_owned());
        if json {
            output::line(json!({
                "number": number,
                "at": crate::logging::utc(u64::try_from(at.0).unwrap_or_default()),
                "by": by.in_words(),
                "mailbox": mailbox,
                "file": message.file.base_name.as_str(),
                "subject": envelope.subject,
                "from": envelope.from,
                "message_id": envelope.message_id,
                "kept": kept,
            }))?;
            continue;
        }
        let subject = match (envelope.subject.as_str(), kept) {
            ("", true) => "(no subject)",
            ("", false) => "(its content isn't kept any more)",
            (subject, _) => subject,
        };
        let from = if envelope.from.is_empty() { String::new() } else { format!(" · {}", envelope.from) };
        output::line(format_args!("{}  {number:>5}  {}  {mailbox}: {subject}{from}", time(*at), by.in_words()))?;
    }
    if !json {
        output::line("`cms restore NUMBER` brings one back; see `cms restore --help`")?;
    }
    Ok(Ended::Done)
}
