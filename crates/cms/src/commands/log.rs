//! `cms log`: what was done, and the story of one message.

use cms_engine::UnixSeconds;
use cms_store::{Deed, JournalPart, Wanted};
use serde_json::json;

use super::{Context, Ended};
use crate::arguments::span::Since;
use crate::configuration::Configuration;
use crate::envelope::harmless;
use crate::history::{self, Found, History, Sought, flags_in_words, line, time, why};
use crate::output;
use crate::problem::Problem;
use crate::sync::Surroundings;

/// What is to be told.
pub struct Asked<'a> {
    /// The message: a Message-ID or a file.
    pub message: Option<&'a str>,
    /// How many entries at the most.
    pub count: Option<u32>,
    /// How far back.
    pub since: Option<Since>,
    /// For programs.
    pub json: bool,
}

/// Tells what was done, newest last, or the story of one message.
pub fn run(context: &Context, asked: &Asked<'_>) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    let history = open(&configuration)?;
    match asked.message {
        Some(message) => story(&configuration, history.as_ref(), message, asked),
        None => recent(history.as_ref(), asked),
    }
}

/// The past of a configuration; nothing if it has none.
pub(super) fn open(configuration: &Configuration) -> Result<Option<History>, Problem> {
    History::open(&configuration.state_dir).map_err(could_not_read)
}

pub(super) fn could_not_read(error: cms_store::StoreError) -> Problem {
    Problem::from_error("could not read what was done", error)
}

fn recent(history: Option<&History>, asked: &Asked<'_>) -> Result<Ended, Problem> {
    let now = (Surroundings::default().now)();
    let mut entries = Vec::new();
    if let Some(history) = history {
        let part = match asked.since {
            Some(since) => JournalPart::Since(since.from(now)),
            None => JournalPart::Newest(asked.count.unwrap_or(DEFAULT_COUNT)),
        };
        entries = history.entries(part).map_err(could_not_read)?;
        if let Some(count) = asked.count {
            entries.drain(..entries.len().saturating_sub(count as usize));
        }
        for told in &entries {
            if asked.json {
                output::line(history::json(history, told))?;
            } else {
                output::line(line(history, told))?;
            }
        }
    }
    if entries.is_empty() && !asked.json {
        output::line("nothing was done in that time")?;
    }
    Ok(Ended::Done)
}

/// Entries that are shown if nothing is asked for.
const DEFAULT_COUNT: u32 = 20;

fn story(
    configuration: &Configuration,
    history: Option<&History>,
    message: &str,
    asked: &Asked<'_>,
) -> Result<Ended, Problem> {
    let sought = Sought::parse(message)
        .ok_or_else(|| Problem::new(format!("`{message}` is neither a Message-ID nor a message's file")))?;
    let found = match history {
        Some(history) => history.find(&sought).map_err(could_not_read)?,
        None => Found::default(),
    };
    let Some(history) = history.filter(|_| !found.is_empty()) else {
        return Err(Problem::new(format!("nothing is known of `{}`", harmless(message))).with_hint(format!(
            "the journal goes back {} days; name a file by its path, or a message by its Message-ID",
            configuration.keep_deleted_days
        )));
    };
    if asked.json {
        for told in &found.entries {
            output::line(history::json(history, told))?;
        }
        return output::line(json!({"now": now_json(history, &found)})).map(|()| Ended::Done);
    }
    tell_envelope(history, &found)?;
    for told in &found.entries {
        output::line(format_args!("{}  {:>5}  {}", time(told.entry.at), told.number, history::what(history, told)))?;
        for line in why(told) {
            output::line(format_args!("{:27}{line}", ""))?;
        }
    }
    if found.entries.is_empty() {
        output::line(format_args!(
            "no changes in the last {} days, which is as far as the journal goes back",
            configuration.keep_deleted_days
        ))?;
    }
    for line in now(history, &found) {
        output::line(format_args!("now: {line}"))?;
    }
    Ok(Ended::Done)
}

fn tell_envelope(history: &History, found: &Found) -> Result<(), Problem> {
    let Some(envelope) = found.contents.first().and_then(|hash| history.envelope(hash)) else { return Ok(()) };
    for (name, value) in [("Subject", envelope.subject), ("From", envelope.from), ("Message-ID", envelope.message_id)] {
        if !value.is_empty() {
            output::line(format_args!("{name}: {value}"))?;
        }
    }
    Ok(())
}

/// How the message is now.
fn now(history: &History, found: &Found) -> Vec<String> {
    let mut lines: Vec<String> = found
        .rows
        .iter()
        .map(|row| {
            let key = cms_engine::FileKey::new(row.maildir, row.base_name.clone());
            let here = match history.file_now(&key) {
                Some((path, flags)) => format!("here as `{}`, {}", path.display(), flags_in_words(flags)),
                None => format!("its file isn't in {} at this moment", history.maildir_name(row.maildir)),
            };
            format!("{here}; in the cloud in `{}`, {}", history.mailbox(row.mailbox), flags_in_words(row.cloud_flags))
        })
        .collect();
    if let Some(path) = &found.stranger {
        lines.push(format!("only here, as `{}`; the cloud doesn't have it", path.display()));
    }
    if lines.is_empty() {
        let last = found.entries.iter().rev().find(|told| told.is_removal());
        lines.push(match last {
            Some(told) => {
                let why = match (told.entry.deed, told.entry.wanted) {
                    (Deed::DeletedThere, _) | (Deed::RemovedHere, Wanted::Local) => {
                        "it was deleted here, and so in the cloud"
                    }
                    (Deed::Forgotten, _) => "it went from both sides",
                    _ => "it was deleted in the cloud, and so here",
                };
                let kept = told.hash().is_some_and(|hash| history.has(&hash));
                let back = if kept {
                    format!("its content is kept: `cms restore {}` brings it back", told.number)
                } else {
                    "its content isn't kept any more".to_owned()
                };
                format!("gone since {}: {why}; {back}", time(told.entry.at))
            }
            None => "not in any Maildir that is synced".to_owned(),
        });
    }
    lines
}

fn now_json(history: &History, found: &Found) -> serde_json::Value {
    let rows: Vec<_> = found
        .rows
        .iter()
        .map(|row| {
            let key = cms_engine::FileKey::new(row.maildir, row.base_name.clone());
            let file = history.file_now(&key);
            json!({
                "path": file.as_ref().map(|(path, _)| path.display().to_string()),
                "flags": file.map(|(_, flags)| flags.to_string()),
                "mailbox": history.mailbox(row.mailbox),
                "flags_in_cloud": row.cloud_flags.to_string(),
                "id": row.remote_id.as_ref().map(cms_engine::RemoteId::as_str),
            })
        })
        .collect();
    json!({
        "synced": rows,
        "only_here": found.stranger.as_ref().map(|path| path.display().to_string()),
        "text": now(history, found),
    })
}

impl Since {
    /// The time that it names, seen from `now`.
    pub(super) fn from(self, now: UnixSeconds) -> UnixSeconds {
        match self {
            Self::Ago(seconds) => UnixSeconds(now.0.saturating_sub(seconds)),
            Self::At(at) => at,
        }
    }
}
