//! The pages of the sign-in services: plain HTML that works without scripts, with ids that don't change.

use std::fmt::Write as _;

/// Text as it stands in HTML, within attributes too.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head><body><h1>{title}</h1>{body}</body></html>"
    )
}

/// A page that says why a sign-in can't go on; the sentence has the id `error`.
pub(crate) fn error(sentence: &str) -> String {
    page("Sorry, but we're having trouble signing you in.", &format!("<p id=\"error\">{}</p>", escape(sentence)))
}

/// A page that says how something ended; the sentence has the id `outcome`.
pub(crate) fn outcome(sentence: &str) -> String {
    page("Sign-in", &format!("<p id=\"outcome\">{}</p>", escape(sentence)))
}

/// A radio button `account-N` for each user; the one that was hinted at is chosen.
fn accounts(users: &[String], hinted: Option<&str>) -> String {
    let mut list = String::new();
    for (number, user) in users.iter().enumerate() {
        let checked = if hinted == Some(user.as_str()) { " checked" } else { "" };
        let user = escape(user);
        // Writing into a string can't fail.
        let _ = write!(
            list,
            "<p><input type=\"radio\" name=\"account\" id=\"account-{number}\" value=\"{user}\"{checked}> <label for=\"account-{number}\">{user}</label></p>"
        );
    }
    list
}

const BUTTONS: &str = "<p><button type=\"submit\" id=\"sign-in\" name=\"action\" value=\"sign-in\">Sign in</button> \
     <button type=\"submit\" id=\"cancel\" name=\"action\" value=\"cancel\">Cancel</button></p>";

/// The page on which an account is picked; the form goes to `target`.
pub(crate) fn pick_account(target: &str, users: &[String], hinted: Option<&str>) -> String {
    let body = format!(
        "<form id=\"sign-in-form\" method=\"post\" action=\"{}\">{}{BUTTONS}</form>",
        escape(target),
        accounts(users, hinted)
    );
    page("Pick an account", &body)
}

/// The page on which a device's code is entered and an account is picked for it.
pub(crate) fn device(users: &[String], user_code: &str) -> String {
    let body = format!(
        "<form id=\"device-form\" method=\"post\" action=\"/devicelogin\"><p><label for=\"user-code\">Code</label> \
         <input type=\"text\" id=\"user-code\" name=\"user_code\" autocomplete=\"off\" value=\"{}\"></p>{}{BUTTONS}</form>",
        escape(user_code),
        accounts(users, None)
    );
    page("Enter code to allow access", &body)
}

/// What somebody did on such a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This account was picked; nothing stands there if none was.
    Account(String),
    /// The sign-in was given up.
    Cancel,
}

impl Choice {
    /// Reads a form that was sent.
    pub(crate) fn read(form: &crate::odata::Query) -> Self {
        if form.get("action") == Some("cancel") {
            return Self::Cancel;
        }
        Self::Account(form.get("account").unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_are_called_cannot_break_the_page() {
        let page = pick_account("/a?b=1&c=2", &["\"><b>@x".to_owned()], None);
        assert!(page.contains("action=\"/a?b=1&amp;c=2\"") && page.contains("value=\"&quot;&gt;&lt;b&gt;@x\""));
    }
}
