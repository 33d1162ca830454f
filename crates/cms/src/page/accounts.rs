//! The accounts, each with its mailboxes.

use std::time::Duration;

use super::held::HeldReport;
use super::html::{escape, name};
use super::panel::{next, remedy_words, sign_in_form};
use super::render::View;
use super::status::{AccountStatus, Activity, MailboxStatus, SignInStatus, Trouble};
use super::words::{ago, capitalised, grouped, messages, sentence};
use crate::progress::duration;

pub(super) fn accounts(view: &View<'_>) -> String {
    let mut html = String::new();
    for (place, shown) in view.status.accounts.iter().enumerate() {
        html.push_str(&account(view, place, shown));
    }
    if html.is_empty() {
        html.push_str("<p class=\"fine\">No account is configured.</p>");
    }
    html
}

fn account(view: &View<'_>, place: usize, account: &AccountStatus) -> String {
    let (badge, tone) = badge(&account.sign_in);
    let mut mailboxes = String::new();
    for shown in view.status.mailboxes.iter().filter(|mailbox| mailbox.account == place) {
        mailboxes.push_str(&mailbox(view, account, shown));
    }
    if !mailboxes.is_empty() {
        mailboxes = format!("<ul>{mailboxes}</ul>");
    }
    // The panel has the next one; the others can be taken out of turn, should that one not be possible now.
    let is_next = next(&view.status.accounts).is_some_and(|(next, _)| next == place);
    let out_of_turn = if account.sign_in.is_pending() && !is_next {
        sign_in_form(
            view,
            place,
            &format!(
                "<button class=\"small\" name=\"method\" value=\"browser\" aria-label=\"Sign in {}\">Sign in</button>",
                escape(&account.name)
            ),
        )
    } else {
        String::new()
    };
    format!(
        "<article class=\"account card\" data-key=\"{place}\" data-account=\"{place}\" data-sign-in=\"{}\" \
         aria-labelledby=\"account-{place}\"><div class=\"head\"><h3 id=\"account-{place}\">{}</h3><p class=\"service\">{}</p><p class=\"badge {tone}\">{badge}</p>{out_of_turn}\
         </div>{}{mailboxes}</article>",
        account.sign_in.state(),
        name(&account.name),
        escape(&account.service),
        details(view, account),
    )
}

fn badge(sign_in: &SignInStatus) -> (&'static str, &'static str) {
    match sign_in {
        SignInStatus::Unknown => ("Checking…", ""),
        SignInStatus::SignedIn { .. } => ("Signed in", "good"),
        SignInStatus::Needed { .. } => ("Sign-in needed", "warn"),
        SignInStatus::InBrowser | SignInStatus::WithCode { .. } => ("Signing in…", "warn"),
        SignInStatus::WaitingForKeyring => ("Keyring is locked", "warn"),
        SignInStatus::Unreachable { .. } => ("Not reachable", "warn"),
        SignInStatus::Failed { .. } => ("Sign-in failed", "bad"),
    }
}

fn details(view: &View<'_>, account: &AccountStatus) -> String {
    let words = match &account.sign_in {
        SignInStatus::SignedIn { user, renewed_at, kept } => {
            let mut words = Vec::new();
            if let Some(user) = user.as_ref().filter(|user| **user != account.name) {
                words.push(format!("as {}", name(user)));
            }
            if let Some(at) = renewed_at {
                words.push(format!("sign-in renewed {}", moment(*at, view.now)));
            }
            if !kept {
                words.push("ends when cms stops".to_owned());
            }
            capitalised(&words.join(" · "))
        }
        SignInStatus::WaitingForKeyring => "Unlock your keyring. This goes on by itself.".to_owned(),
        SignInStatus::Unreachable { reason } => format!("{} It is tried again by itself.", escape(&sentence(reason))),
        SignInStatus::Unknown
        | SignInStatus::Needed { .. }
        | SignInStatus::InBrowser
        | SignInStatus::WithCode { .. }
        | SignInStatus::Failed { .. } => String::new(),
    };
    if words.is_empty() { words } else { format!("<p class=\"fine\">{words}</p>") }
}

fn mailbox(view: &View<'_>, account: &AccountStatus, mailbox: &MailboxStatus) -> String {
    let (state, words, progress) = activity(view, account, mailbox);
    let mut trouble = mailbox.trouble.as_ref().map(trouble).unwrap_or_default();
    for shown in &mailbox.held {
        trouble.push_str(&held(view, shown));
    }
    format!(
        "<li class=\"mailbox\" data-key=\"{0}\" data-name=\"{0}\" data-activity=\"{state}\">\
         <span class=\"name\">{1}</span><span class=\"count\">{2}</span>\
         <span class=\"doing\">{words}</span>{progress}{trouble}</li>",
        escape(&mailbox.name),
        name(&mailbox.name),
        messages(mailbox.messages),
    )
}

fn activity(view: &View<'_>, account: &AccountStatus, mailbox: &MailboxStatus) -> (&'static str, String, String) {
    let synced = || match mailbox.synced_at {
        Some(at) => format!("Synced {}", moment(at, view.now)),
        None => "Not synced yet".to_owned(),
    };
    match mailbox.activity {
        Activity::Idle => ("idle", synced(), String::new()),
        Activity::Listing { done, total: Some(total) } => (
            "listing",
            format!("Listing {} of {}", grouped(done), grouped(total)),
            progress(mailbox, "listing", Some((done, total))),
        ),
        Activity::Listing { done, total: None } => {
            ("listing", format!("Listing {}", grouped(done)), progress(mailbox, "listing", None))
        }
        Activity::Downloading { done, total, seconds_left } => (
            "downloading",
            format!("Downloading {} of {}{}", grouped(done), grouped(total), left(seconds_left)),
            progress(mailbox, "downloading", Some((done, total))),
        ),
        Activity::Changing => ("changing", "Applying changes".to_owned(), progress(mailbox, "applying changes", None)),
        Activity::Waiting if account.sign_in.is_pending() => {
            ("waiting", "Waiting for the sign-in".to_owned(), String::new())
        }
        Activity::Waiting => ("waiting", "Waiting".to_owned(), String::new()),
    }
}

fn left(seconds: Option<u64>) -> String {
    seconds.map(|seconds| format!(", {} left", duration(Duration::from_secs(seconds)))).unwrap_or_default()
}

fn progress(mailbox: &MailboxStatus, doing: &str, part: Option<(u64, u64)>) -> String {
    let value = match part {
        Some((done, total)) if total > 0 => format!(" max=\"{total}\" value=\"{}\"", done.min(total)),
        _ => String::new(),
    };
    format!("<progress aria-label=\"{}: {doing}\"{value}></progress>", escape(&mailbox.name))
}

/// What is wrong with something, and what to do about it.
pub(super) fn trouble(trouble: &Trouble) -> String {
    format!("<div class=\"trouble\"><p>{}</p>{}</div>", escape(&trouble.what), remedy_words(trouble.remedy.as_deref()))
}

/// Deletions that wait for the user's word, with what they are of and what can be said.
fn held(view: &View<'_>, held: &HeldReport) -> String {
    let mut samples = String::new();
    for sample in &held.samples {
        let subject = if sample.subject.is_empty() { "(no subject)" } else { &sample.subject };
        let day = sample.received.split('T').next().unwrap_or_default();
        samples.push_str("<li>");
        for part in [subject, &sample.sender, day] {
            samples.push_str("<span>");
            samples.push_str(&escape(part));
            samples.push_str("</span> ");
        }
        samples.push_str("</li>");
    }
    let more = held.count.saturating_sub(held.samples.len() as u64);
    if more > 0 {
        samples.push_str("<li>… and ");
        samples.push_str(&grouped(more));
        samples.push_str(" more</li>");
    }
    let (restore, apply) = if held.directory.is_some() {
        ("Get the messages back", "Move the folder to the deleted items too")
    } else if held.gone_from_cloud {
        ("Keep the files", "Remove the files too")
    } else {
        ("Get the messages back", "Delete them in the cloud too")
    };
    // Each word is a form of its own, so that Enter says nothing by chance.
    let form = |word: &str, words: &str| {
        format!(
            "<form method=\"post\" action=\"/held\"><input type=\"hidden\" name=\"held\" value=\"{}\">\
             <input type=\"hidden\" name=\"word\" value=\"{word}\"><input type=\"hidden\" name=\"key\" value=\"{}\">\
             <button class=\"small\" data-action=\"held-{word}\">{words}</button></form>",
            escape(&held.id),
            view.key,
        )
    };
    format!(
        "<div class=\"trouble held\" data-key=\"held-{}\" data-held=\"{}\"><p>{}</p><ul>{samples}</ul>\
         <p class=\"remedy\">{}</p><div class=\"actions\">{}{}</div></div>",
        escape(&held.id),
        held.count,
        escape(&sentence(&capitalised(&held.to_string()))),
        escape(&sentence(held.avoid())),
        form("restore", restore),
        form("apply", apply),
    )
}

/// A moment that the script keeps up to date.
fn moment(at: i64, now: i64) -> String {
    format!("<span data-at=\"{at}\">{}</span>", ago(at, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_where_it_is_known() {
        assert_eq!(left(Some(507)), ", 9 min left");
        assert_eq!(left(None), "");
    }
}
