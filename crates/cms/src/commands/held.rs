//! `cms held`: which deletions wait for the user's word, and the word itself.

use super::asking::{Answer, ask, unexpected};
use super::{Context, Ended, setup, status};
use crate::arguments::HeldWord;
use crate::control::{HeldReport, MaildirState, Reply, Request, Which};
use crate::output;
use crate::problem::Problem;
use crate::tree;

/// Lists what is held, or takes the user's word on it.
pub async fn run(context: &Context, word: Option<HeldWord>) -> Result<Ended, Problem> {
    let which = |mailbox: Option<String>| mailbox.map_or(Which::All, Which::Mailbox);
    let configuration = context.configuration()?;
    let folders = tree::known(&configuration.state_dir, &setup::trees_at_rest(&configuration))
        .map_err(|error| Problem::from_error("could not read the state", error))?;
    let maildirs = || configuration.maildirs.iter().map(|maildir| &maildir.path);
    // A Maildir goes by its whole path.
    let whole = |name: String| match std::path::absolute(&name) {
        Ok(path) if maildirs().chain(folders.iter().map(|folder| &folder.path)).any(|known| *known == path) => {
            path.display().to_string()
        }
        _ => name,
    };
    match word {
        None => list(context).await,
        Some(HeldWord::Apply { mailbox }) => give(context, Request::Apply { which: which(mailbox.map(whole)) }).await,
        Some(HeldWord::Restore { mailbox }) => {
            give(context, Request::Restore { which: which(mailbox.map(whole)) }).await
        }
    }
}

/// Gives the user's word. A running process follows it; else a full sync does.
async fn give(context: &Context, request: Request) -> Result<Ended, Problem> {
    let Answer { reply, summary } = ask(context, "held", &request).await?;
    let held = match reply {
        Reply::Ruled { held } => held,
        Reply::Refilled { maildir } => {
            output::line(format_args!("{maildir}: it is used again, and its mail is put back"))?;
            return Ok(summary.map_or(Ended::Done, |summary| setup::conclude(context, &summary)));
        }
        _ => return Err(unexpected()),
    };
    let apply = matches!(request, Request::Apply { .. });
    for ruled in &held {
        let HeldReport { count, mailbox, gone_from_cloud, directory, .. } = ruled;
        if let Some(directory) = directory {
            if apply {
                output::line(format_args!("{mailbox}: the folder goes to the deleted items in the cloud"))?;
            } else {
                output::line(format_args!("{directory}: it is used again, and its mail is put back"))?;
            }
            continue;
        }
        let what = match (apply, gone_from_cloud) {
            (true, true) => "removed here too, and kept in the store for some days",
            (true, false) => "deleted in the cloud too",
            (false, true) => "kept here, and brought back in the cloud as far as that is possible",
            (false, false) => "brought back here",
        };
        output::line(format_args!("{mailbox}: {count} messages are {what}"))?;
    }
    if held.is_empty() {
        output::line("nothing is held")?;
    }
    Ok(summary.map_or(Ended::Done, |summary| setup::conclude(context, &summary)))
}

/// Lists what is held, and the Maildirs that aren't used until the user says what they are.
async fn list(context: &Context) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    let report = status::now(&configuration).await?;
    let mailboxes = report.accounts.iter().flat_map(|account| &account.mailboxes);
    let held: Vec<&HeldReport> = mailboxes.flat_map(|mailbox| &mailbox.held).collect();
    for shown in &held {
        output::bytes(status::held(shown, "").as_bytes())?;
    }
    let is_told = |path: &str| held.iter().any(|held| held.directory.as_deref() == Some(path));
    let unused = |state| report.maildirs.iter().filter(move |maildir| maildir.state == state);
    let mut told = 0;
    for maildir in unused(MaildirState::Replaced).chain(unused(MaildirState::Missing)) {
        if !is_told(&maildir.path) {
            output::bytes(status::maildir(maildir).as_bytes())?;
            told += 1;
        }
    }
    if !held.is_empty() || unused(MaildirState::Replaced).next().is_some() {
        return Ok(Ended::Held);
    }
    if told > 0 {
        return Ok(Ended::Failed);
    }
    output::line("nothing is held").map(|()| Ended::Done)
}
