//! The sign-in that is to be done next.

use url::Url;

use super::html::{escape, name};
use super::render::View;
use super::status::{AccountStatus, SignInStatus};
use super::words::{left, sentence};

/// Shows the next sign-in, or that there is none any more after there were some.
pub(super) fn panel(view: &View<'_>) -> String {
    match next(&view.status.accounts) {
        Some((place, account)) => sign_in(view, place, account),
        None if is_done(view) => "<section id=\"all-done\" class=\"card\"><h2>All accounts are signed in.</h2>\
             <p>You can close this tab.</p></section>"
            .to_owned(),
        None => String::new(),
    }
}

/// Whether everybody is signed in and the user was here for that.
pub(super) fn is_done(view: &View<'_>) -> bool {
    let accounts = &view.status.accounts;
    (view.series.is_over() || view.status.command == "sign-in")
        && !accounts.is_empty()
        && accounts.iter().all(|account| matches!(account.sign_in, SignInStatus::SignedIn { .. }))
}

/// Whether the panel shows this as the reason why a sign-in failed.
pub(super) fn is_told(words: &str, view: &View<'_>) -> bool {
    next(&view.status.accounts)
        .is_some_and(|(_, next)| matches!(&next.sign_in, SignInStatus::Failed { reason, .. } if reason == words))
}

/// One that has begun is finished first, and one that failed is where the user is; else they come in order.
pub(super) fn next(accounts: &[AccountStatus]) -> Option<(usize, &AccountStatus)> {
    let ranked = |(place, account)| rank(account).map(|rank| (rank, place, account));
    let first = accounts.iter().enumerate().filter_map(ranked).min_by_key(|(rank, ..)| *rank);
    first.map(|(_, place, account)| (place, account))
}

/// How soon the account's turn comes, if the user has something to do for it.
fn rank(account: &AccountStatus) -> Option<u8> {
    match account.sign_in {
        SignInStatus::InBrowser | SignInStatus::WithCode { .. } => Some(0),
        SignInStatus::Failed { .. } => Some(1),
        SignInStatus::Needed { .. } => Some(2),
        SignInStatus::Unknown
        | SignInStatus::SignedIn { .. }
        | SignInStatus::WaitingForKeyring
        | SignInStatus::Unreachable { .. } => None,
    }
}

/// A button that begins a sign-in in the browser, in a form of its own.
pub(super) fn sign_in_form(view: &View<'_>, place: usize, buttons: &str) -> String {
    form("/sign-in", view, place, buttons)
}

fn sign_in(view: &View<'_>, place: usize, account: &AccountStatus) -> String {
    let state = account.sign_in.state();
    let (title, middle, buttons, cancel) = match &account.sign_in {
        SignInStatus::WithCode { user_code, address, expires_at } => (
            "Sign in with a code".to_owned(),
            code(user_code, address, *expires_at, view.now),
            button("sign-in", "Sign in here", false) + &button("code", "New code", false),
            true,
        ),
        SignInStatus::InBrowser => (
            format!("Sign in to {}", escape(&account.service)),
            // There may be no other tab: an address that was only shown begins a sign-in as well.
            "<p class=\"reason\">A sign-in has begun. Finish it in the other tab, or sign in here. \
             This page goes on by itself.</p>"
                .to_owned(),
            // Not what to do if in doubt: Enter would begin anew what goes well in the other tab.
            button("sign-in", "Sign in here", false) + &button("code", "Use a code instead", false),
            true,
        ),
        SignInStatus::Failed { reason, remedy } => (
            format!("The sign-in to {} failed", escape(&account.service)),
            format!("<p class=\"reason bad\">{}</p>{}", escape(&sentence(reason)), remedy_words(remedy.as_deref())),
            button("sign-in", "Try again", true) + &button("code", "Use a code instead", false),
            false,
        ),
        SignInStatus::Needed { reason } => (
            format!("Sign in to {}", escape(&account.service)),
            format!("<p class=\"reason\">{}</p>", escape(&sentence(reason))),
            button("sign-in", "Sign in", true) + &button("code", "Use a code instead", false),
            false,
        ),
        // These need nothing from the user, so they are never next.
        SignInStatus::Unknown
        | SignInStatus::SignedIn { .. }
        | SignInStatus::WaitingForKeyring
        | SignInStatus::Unreachable { .. } => return String::new(),
    };
    let step = match view.series.position() {
        Some((position, of)) if of > 1 => format!("<p class=\"step\">{position} of {of}</p>"),
        _ => String::new(),
    };
    let cancel = if cancel { form("/cancel", view, place, &button("cancel", "Cancel", false)) } else { String::new() };
    format!(
        "<section id=\"next-sign-in\" class=\"card\" aria-labelledby=\"next-title\" data-key=\"{place}-{state}\" \
         data-account=\"{place}\" data-sign-in=\"{state}\">{step}<h2 id=\"next-title\">{title}</h2>\
         <p class=\"who\">{}</p>{middle}<div class=\"actions\">{}{cancel}</div></section>",
        name(&account.name),
        sign_in_form(view, place, &buttons),
    )
}

fn code(user_code: &str, address: &str, expires_at: i64, now: i64) -> String {
    let shown = escape(address.trim_start_matches("https://"));
    let place = if can_be_linked(address) {
        format!(
            "<a href=\"{}\" target=\"_blank\" rel=\"noopener noreferrer\" data-primary>{shown}</a>",
            escape(address)
        )
    } else {
        shown
    };
    let ends = if expires_at > now {
        format!("The code is good for <span data-until=\"{expires_at}\">{}</span>.", left(expires_at, now))
    } else {
        "The code has expired.".to_owned()
    };
    format!(
        "<p class=\"reason\">Open {place} on this or any other device, and type:</p>\
         <p class=\"code\" id=\"user-code\">{}</p><p class=\"fine\" role=\"timer\" aria-live=\"off\">{ends}</p>",
        escape(user_code)
    )
}

/// A link can be a program in disguise, so only addresses that are places are made links.
fn can_be_linked(address: &str) -> bool {
    Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "https" | "http"))
}

pub(super) fn remedy_words(remedy: Option<&str>) -> String {
    remedy.map(|remedy| format!("<p class=\"remedy\">{}</p>", escape(remedy))).unwrap_or_default()
}

/// A button of the panel; the first one is what to do if in doubt.
fn button(action: &str, words: &str, primary: bool) -> String {
    let method = match action {
        "sign-in" => " name=\"method\" value=\"browser\"",
        "code" => " name=\"method\" value=\"code\"",
        _ => "",
    };
    let primary = if primary { " class=\"primary\" data-primary autofocus" } else { "" };
    format!("<button data-action=\"{action}\"{method}{primary}>{words}</button>")
}

fn form(action: &str, view: &View<'_>, place: usize, buttons: &str) -> String {
    format!(
        "<form method=\"post\" action=\"{action}\"><input type=\"hidden\" name=\"account\" value=\"{place}\">\
         <input type=\"hidden\" name=\"key\" value=\"{}\">{buttons}</form>",
        view.key
    )
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, set};
    use super::super::status::Status;
    use super::*;

    #[test]
    fn the_panel_stays_with_the_account_that_the_user_is_at() {
        let place = |status: &Status| next(&status.accounts).map(|(place, _)| place);
        let mut status = samples::needed();
        assert_eq!(place(&status), Some(0));
        set(&mut status, 1, SignInStatus::Failed { reason: String::new(), remedy: None });
        assert_eq!(place(&status), Some(1));
        set(&mut status, 0, SignInStatus::InBrowser);
        assert_eq!(place(&status), Some(0));
        assert_eq!(place(&samples::in_sync()), None);
    }
}
