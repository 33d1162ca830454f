//! `cms status`: how everything stands.

use std::fmt::Write as _;
use std::time::Duration;

use super::asking::{ask_process, unexpected};
use super::{Context, Ended, setup};
use crate::configuration::Configuration;
use crate::control::{AccountReport, HeldReport, MailboxReport, MaildirReport, MaildirState, Reply, Report, Request};
use crate::logging::utc;
use crate::output;
use crate::page::{Activity, SignInStatus, argument};
use crate::problem::Problem;
use crate::progress::duration;
use crate::sync::{complete_at_rest, unknown_mailbox};
use crate::tree;

/// Tells how everything stands: from the process that runs, or from what the last one wrote down.
pub async fn run(context: &Context, json: bool) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    let report = now(&configuration).await?;
    if json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| Problem::from_error("could not write the status", error))?;
        output::line(text)?;
    } else {
        output::line(words(&report).trim_end())?;
    }
    Ok(ended(&report))
}

/// How everything stands, by the process that runs or by what the last one wrote down.
pub(super) async fn now(configuration: &Configuration) -> Result<Report, Problem> {
    match ask_process(configuration, &Request::Status).await? {
        Some(Reply::Status(report)) => Ok(*report),
        Some(_) => Err(unexpected()),
        None => at_rest(configuration).await,
    }
}

/// How everything stands while nothing runs.
async fn at_rest(configuration: &Configuration) -> Result<Report, Problem> {
    let mut report = Report::default();
    let vault = setup::vault(configuration);
    for (account, config) in configuration.accounts.iter().enumerate() {
        let source = setup::idle_source(configuration, config, &vault)?;
        let sign_in = if source.is_kept().await {
            SignInStatus::SignedIn { user: None, renewed_at: None, kept: true }
        } else {
            SignInStatus::Needed { reason: "no sign-in is kept".to_owned() }
        };
        let mailboxes = configuration.mailboxes.iter().filter(|mailbox| mailbox.account == account);
        report.accounts.push(AccountReport {
            name: source.name().to_owned(),
            service: source.registration().service().to_owned(),
            sign_in,
            mailboxes: mailboxes.map(|mailbox| unknown_mailbox(&mailbox.name)).collect(),
        });
    }
    report.maildirs = configuration
        .maildirs
        .iter()
        .map(|maildir| MaildirReport {
            path: maildir.path.display().to_string(),
            state: MaildirState::New,
            local_only: 0,
        })
        .collect();
    let trees = setup::trees_at_rest(configuration);
    let folders = tree::known(&configuration.state_dir, &trees)
        .map_err(|error| Problem::from_error("could not read the state", error))?;
    for folder in folders {
        report.accounts[trees[folder.tree].account].mailboxes.push(unknown_mailbox(&folder.name));
        let path = folder.path.display().to_string();
        report.maildirs.push(MaildirReport { path, state: MaildirState::New, local_only: 0 });
    }
    let names: Vec<String> = configuration.accounts.iter().map(setup::account_name).collect();
    complete_at_rest(&mut report, &configuration.state_dir, &names)
        .map_err(|error| Problem::from_error("could not read the state", error))?;
    Ok(report)
}

fn ended(report: &Report) -> Ended {
    let mailboxes = || report.accounts.iter().flat_map(|account| &account.mailboxes);
    let is_in = |state| report.maildirs.iter().any(|maildir| maildir.state == state);
    if mailboxes().any(|mailbox| !mailbox.held.is_empty()) || is_in(MaildirState::Replaced) {
        Ended::Held
    } else if report.accounts.iter().any(|account| account.sign_in.is_pending()) {
        Ended::SignInNeeded
    } else if is_in(MaildirState::Missing) || !report.disk.is_empty() {
        Ended::Failed
    } else {
        Ended::Done
    }
}

fn words(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = match &report.process {
        Some(process) => {
            writeln!(text, "cms {} runs `cms {}` (process {})", process.version, process.command, process.pid)
        }
        None => writeln!(text, "no cms runs; this is how the last one left things"),
    };
    for account in &report.accounts {
        let _ = writeln!(text, "\n{} ({}): {}", account.name, account.service, sign_in(&account.sign_in, report));
        for shown in &account.mailboxes {
            mailbox(&mut text, shown);
        }
    }
    text.push('\n');
    for trouble in &report.disk {
        let _ = writeln!(text, "trouble: {}", trouble.what);
    }
    if let Some(compared) = &report.compared {
        let found = match compared.differences {
            0 => "the same".to_owned(),
            1 => "1 difference, which was told".to_owned(),
            differences => format!("{}, which were told", counted(differences, "difference")),
        };
        let _ = writeln!(
            text,
            "compared everything {}: {} read, {found}",
            utc(compared.at.max(0).cast_unsigned()),
            counted(compared.files, "file")
        );
    }
    for shown in &report.maildirs {
        text.push_str(&maildir(shown));
    }
    text
}

/// A Maildir, and what can be done where it isn't used.
pub(super) fn maildir(shown: &MaildirReport) -> String {
    let mut text = String::new();
    let state = match shown.state {
        MaildirState::Known => "",
        MaildirState::New => ", which will be made",
        MaildirState::Missing => ", which held mail and isn't there; nothing is deleted in the cloud because of that",
        MaildirState::Replaced => {
            ", which isn't the directory that held the mail; nothing is deleted in the cloud because of that"
        }
    };
    let _ = writeln!(text, "Maildir {}{state}", output::name(&shown.path));
    if matches!(shown.state, MaildirState::Missing | MaildirState::Replaced) {
        let _ = writeln!(
            text,
            "  mount its disk if it isn't mounted, and all goes on by itself; don't write a mark by hand"
        );
        let _ = writeln!(text, "  if its mail is to be put back there: `cms held restore {}`", argument(&shown.path));
    }
    if shown.local_only > 0 {
        let _ = writeln!(
            text,
            "  {} only here: what doesn't go to the cloud (see `upload`) stays where it is",
            counted(shown.local_only, "file")
        );
    }
    text
}

fn sign_in(sign_in: &SignInStatus, report: &Report) -> String {
    match sign_in {
        SignInStatus::Unknown => "not asked for a sign-in yet".to_owned(),
        SignInStatus::SignedIn { .. } if report.process.is_none() => "a sign-in is kept".to_owned(),
        SignInStatus::SignedIn { user: Some(user), .. } => format!("signed in as {user}"),
        SignInStatus::SignedIn { user: None, .. } => "signed in".to_owned(),
        SignInStatus::Needed { reason } => format!("sign-in needed ({reason}): `cms sign-in`"),
        SignInStatus::InBrowser => "signing in, in a browser".to_owned(),
        SignInStatus::WithCode { user_code, address, .. } => format!("type {user_code} at {address} to sign in"),
        SignInStatus::WaitingForKeyring => "waiting for the keyring to be unlocked".to_owned(),
        SignInStatus::Unreachable { reason } => format!("the sign-in service can't be reached ({reason})"),
        SignInStatus::Failed { reason, .. } => format!("the sign-in failed ({reason}): `cms sign-in`"),
    }
}

fn mailbox(text: &mut String, mailbox: &MailboxReport) {
    let _ = write!(text, "  {}: {}", output::name(&mailbox.name), counted(mailbox.messages, "message"));
    if mailbox.waiting > 0 {
        let _ = write!(text, ", {} not here yet", mailbox.waiting);
    }
    if let (Some(since), 1..) = (mailbox.since, mailbox.left_out) {
        let day = utc(since.max(0).cast_unsigned());
        let day = day.split('T').next().unwrap_or_default();
        let _ = write!(text, ", {} from before {day} left in the cloud", mailbox.left_out);
    }
    if mailbox.kept > 0 {
        let _ = write!(text, ", {} more kept here", mailbox.kept);
    }
    if let Some(doing) = mailbox.activity.as_ref().and_then(activity) {
        let _ = write!(text, "; {doing}");
    }
    let _ = match mailbox.synced_at {
        Some(at) => write!(text, "; last heard {}", utc(at.max(0).cast_unsigned())),
        None => write!(text, "; not heard yet"),
    };
    if let Some(at) = mailbox.next_poll_at {
        let _ = write!(text, ", next {}", utc(at.max(0).cast_unsigned()));
    }
    text.push('\n');
    if let Some(trouble) = &mailbox.trouble {
        let _ = writeln!(text, "    trouble: {}", trouble.what);
        if let Some(remedy) = &trouble.remedy {
            let _ = writeln!(text, "      {remedy}");
        }
    }
    for line in &mailbox.not_downloadable {
        let _ = writeln!(text, "    not downloaded: {line}");
    }
    for shown in &mailbox.held {
        text.push_str(&held(shown, "    "));
    }
}

/// Held deletions with their samples and what can be done about them.
pub(super) fn held(held: &HeldReport, indent: &str) -> String {
    let mut text = format!("{indent}held: {held}\n");
    for sample in &held.samples {
        let subject = if sample.subject.is_empty() { "(no subject)" } else { &sample.subject };
        let day = sample.received.split('T').next().unwrap_or_default();
        let _ = writeln!(text, "{indent}  {day}  {}  {subject}", sample.sender);
    }
    let more = held.count.saturating_sub(held.samples.len() as u64);
    if more > 0 {
        let _ = writeln!(text, "{indent}  … and {more} more");
    }
    for line in [held.avoid().to_owned(), held.safe(), held.meant()] {
        let _ = writeln!(text, "{indent}  {line}");
    }
    text
}

fn activity(activity: &Activity) -> Option<String> {
    match activity {
        Activity::Idle => None,
        Activity::Listing { done, .. } => Some(format!("listing, {done} so far")),
        Activity::Downloading { done, total, seconds_left } => {
            let left = seconds_left.map(|seconds| format!(", {} left", duration(Duration::from_secs(seconds))));
            Some(format!("downloading, {done} of {total}{}", left.unwrap_or_default()))
        }
        Activity::Changing => Some("making changes".to_owned()),
        Activity::Waiting => Some("waiting".to_owned()),
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_for_a_maildir_can_be_copied_whatever_its_path() {
        let shown =
            MaildirReport { path: "/mail of Ann/INBOX".to_owned(), state: MaildirState::Missing, local_only: 0 };
        let told = maildir(&shown);
        assert!(told.contains("`cms held restore '/mail of Ann/INBOX'`"), "{told}");
    }

    #[test]
    fn downloads_tell_the_time_that_they_take_where_it_is_known() {
        let told = |seconds_left| activity(&Activity::Downloading { done: 4210, total: 12_345, seconds_left }).unwrap();
        assert_eq!(told(Some(507)), "downloading, 4210 of 12345, 9 min left");
        assert_eq!(told(None), "downloading, 4210 of 12345");
    }
}
