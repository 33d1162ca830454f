//! The state of everything in one sentence.

use super::status::{Activity, SignInStatus, Status};

/// One word for tests and styles, and one sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Overall {
    pub(super) state: &'static str,
    pub(super) sentence: String,
}

impl Overall {
    /// What matters most: first what only the user can do, then what is wrong, then what is going on.
    pub(super) fn of(status: &Status) -> Self {
        let named = |is: fn(&SignInStatus) -> bool| -> Vec<&str> {
            status.accounts.iter().filter(|account| is(&account.sign_in)).map(|account| account.name.as_str()).collect()
        };
        let pending = named(SignInStatus::is_pending);
        let begun = named(|s| matches!(s, SignInStatus::InBrowser | SignInStatus::WithCode { .. }));
        let unreachable = named(|s| matches!(s, SignInStatus::Unreachable { .. }));
        let troubled =
            status.mailboxes.iter().filter(|mailbox| mailbox.trouble.is_some() || !mailbox.held.is_empty()).count();
        let busy = |mailbox: &super::MailboxStatus| !matches!(mailbox.activity, Activity::Idle | Activity::Waiting);

        if let Some(accounts) = list(&pending) {
            if begun.len() == pending.len() {
                Self::new("signing-in", format!("Sign-in under way for {accounts}"))
            } else {
                // Those under way are counted too: the page shows the one that has begun first.
                Self::new("needed", format!("Sign-in needed for {accounts}"))
            }
        } else if status.accounts.iter().any(|account| account.sign_in == SignInStatus::WaitingForKeyring) {
            Self::new("keyring", "Waiting for the keyring to be unlocked".to_owned())
        } else if troubled > 0 {
            let mailboxes =
                if troubled == 1 { "1 mailbox needs".to_owned() } else { format!("{troubled} mailboxes need") };
            Self::new("trouble", format!("{mailboxes} attention"))
        } else if !status.troubles.is_empty() {
            Self::new("trouble", "Something on this machine needs attention".to_owned())
        } else if let Some(accounts) = list(&unreachable) {
            Self::new("unreachable", format!("Can’t reach the sign-in service for {accounts}"))
        } else if status.mailboxes.iter().any(busy) {
            Self::new("syncing", "Syncing…".to_owned())
        } else if status.accounts.iter().any(|account| account.sign_in == SignInStatus::Unknown)
            || status.mailboxes.iter().any(|mailbox| mailbox.synced_at.is_none())
        {
            Self::new("starting", "Starting…".to_owned())
        } else if status.mailboxes.is_empty() {
            Self::new("synced", "Everything is ready".to_owned())
        } else {
            Self::new("synced", "Everything is in sync".to_owned())
        }
    }

    fn new(state: &'static str, sentence: String) -> Self {
        Self { state, sentence }
    }
}

fn list(accounts: &[&str]) -> Option<String> {
    match accounts {
        [] => None,
        [account] => Some((*account).to_owned()),
        several => Some(format!("{} accounts", several.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;

    use super::super::status::Trouble;
    use super::*;

    fn check(status: &Status, state: &str, sentence: &str) {
        assert_eq!(Overall::of(status), Overall { state: Overall::of(status).state, sentence: sentence.to_owned() });
        assert_eq!(Overall::of(status).state, state);
    }

    #[test]
    fn the_sentence_says_what_matters_most() {
        check(&samples::needed(), "needed", "Sign-in needed for 2 accounts");
        let mut one_begun = samples::needed();
        samples::set(&mut one_begun, 0, SignInStatus::InBrowser);
        check(&one_begun, "needed", "Sign-in needed for 2 accounts");
        check(&samples::failed(), "needed", "Sign-in needed for jane@example.com");
        check(&samples::in_browser(), "signing-in", "Sign-in under way for jane@example.com");
        check(&samples::with_code(), "signing-in", "Sign-in under way for jane@example.com");
        check(&samples::keyring(), "keyring", "Waiting for the keyring to be unlocked");
        check(&samples::unreachable(), "unreachable", "Can’t reach the sign-in service for jane@example.com");
        check(&samples::syncing(), "syncing", "Syncing…");
        check(&samples::trouble(), "trouble", "1 mailbox needs attention");
        let mut full = samples::in_sync();
        full.troubles = vec![Trouble { what: "The disk is full.".to_owned(), remedy: None }];
        check(&full, "trouble", "Something on this machine needs attention");
        check(&samples::in_sync(), "synced", "Everything is in sync");
        check(&samples::starting(), "starting", "Starting…");
        check(&Status::default(), "synced", "Everything is ready");
    }
}
