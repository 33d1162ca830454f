//! What the user is told of sign-ins, on the terminal or in a log for programs.

use std::sync::Mutex;
use std::sync::PoisonError;

use tracing::warn;

use super::Invitation;

/// Tells the user, and the same thing once.
pub(super) struct Voice {
    invitation: Invitation,
    told_not_kept: Mutex<bool>,
}

impl Voice {
    pub(super) fn new(invitation: Invitation) -> Self {
        Self { invitation, told_not_kept: Mutex::default() }
    }

    pub(super) fn invitation(&self) -> &Invitation {
        &self.invitation
    }

    /// Says it on the terminal, or in the log where that is for programs.
    pub(super) fn say(&self, text: &str) {
        if let Invitation::User { progress, .. } = &self.invitation {
            if progress.is_silent() {
                let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
                warn!("{line}");
            } else {
                progress.println(text);
            }
        }
    }

    /// Shows where to sign in to an account.
    pub(super) fn show_address(&self, account: &str, address: &str) {
        match &self.invitation {
            Invitation::User { progress, .. } if progress.is_silent() => {
                warn!(account, address, "To sign in, open the address in a browser on this machine");
            }
            _ => self.say(&format!(
                "To sign in to {account}, open this address in a browser on this machine:\n\n    {address}\n"
            )),
        }
    }

    /// Says why sign-ins end with the process: once, for all accounts are kept in one place.
    pub(super) fn tell_not_kept(&self, why: &str) {
        let mut told = self.told_not_kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *told, true) {
            self.say(&format!("The sign-in isn't kept for the next start: {why}"));
        }
    }
}
