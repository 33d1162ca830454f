//! What is held in memory of one account's sign-in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::grant::Grant;
use crate::secret::RefreshToken;
use crate::vault::{Fingerprint, KeptSignIn};
use crate::{AccessToken, AuthError};

/// How long a service that says it is asked too often is left alone.
const REST: Duration = Duration::from_secs(300);

/// What a claims challenge asked for, until a token was had with it. All clones are the same: a sign-in must bring it
/// whoever has the lock of the rest.
#[derive(Clone, Default)]
pub(crate) struct Claims(Arc<Mutex<Option<String>>>);

impl Claims {
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, claims: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = claims;
    }
}

/// All that is held; one lock guards it.
pub(crate) struct Held {
    pub(crate) refresh: Option<RefreshToken>,
    /// For each resource of the registration, the main one first.
    pub(crate) slots: Vec<Slot>,
    pub(crate) user: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) signed_in_at: u64,
    pub(crate) renewed_at: u64,
    /// The refresh token that is no longer good, though the vault may still hold it.
    pub(crate) ended_token: Option<RefreshToken>,
    /// Why there is no refresh token.
    pub(crate) ended: String,
    pub(crate) vault: VaultSide,
    /// Why the sign-in isn't kept.
    pub(crate) not_kept: Option<String>,
    pub(crate) claims: Claims,
    /// Until when the service wants not to be asked, and in which words it said so.
    pub(crate) rest: Option<(Instant, String)>,
    pub(crate) asking: Asking,
    /// Whether the user wasn't told yet that signing in is needed.
    pub(crate) untold: bool,
}

/// What is held for one resource.
#[derive(Clone, Default)]
pub(crate) struct Slot {
    pub(crate) access: Option<Access>,
    /// The claims challenge that the access token was had for.
    pub(crate) claims: Option<String>,
    /// What came of the last renewal, if it failed.
    pub(crate) last_failure: Option<AuthError>,
}

#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) token: AccessToken,
    renew_at: SystemTime,
}

impl Access {
    pub(crate) fn of(grant: &Grant) -> Self {
        Self { token: grant.access.clone(), renew_at: grant.renew_at }
    }

    pub(crate) fn is_good(&self) -> bool {
        SystemTime::now() < self.renew_at
    }
}

/// What is known of the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VaultSide {
    /// It wasn't looked into yet.
    Unopened,
    /// What it holds of this account is held here, or older than that, as long as the file is this one.
    Same(Option<Fingerprint>),
    /// It can't be read, and to try again is of no use as long as the file is this one.
    Unreadable(Option<Fingerprint>),
}

impl VaultSide {
    /// Whether there is no use in looking at a file that is this one now.
    pub(crate) fn is_known(self, now: Option<Fingerprint>) -> bool {
        match self {
            Self::Unopened => false,
            Self::Same(seen) | Self::Unreadable(seen) => seen == now,
        }
    }
}

/// Whether the user may still be asked, where that is done once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    NotYet,
    UnderWay,
    Over,
}

impl Held {
    pub(crate) fn new(resources: usize) -> Self {
        Self {
            refresh: None,
            slots: vec![Slot::default(); resources],
            user: None,
            scopes: Vec::new(),
            signed_in_at: 0,
            renewed_at: 0,
            ended_token: None,
            ended: "nobody has signed in yet".to_owned(),
            vault: VaultSide::Unopened,
            not_kept: None,
            claims: Claims::default(),
            rest: None,
            asking: Asking::NotYet,
            untold: true,
        }
    }

    /// Takes what the service granted for one of the resources.
    pub(crate) fn take(&mut self, resource: usize, grant: Grant, now: u64) {
        if let Some(slot) = self.slots.get_mut(resource) {
            *slot = Slot { access: Some(Access::of(&grant)), claims: self.claims.get(), last_failure: None };
        }
        // A service that sends none means the one at hand to be kept.
        if let Some(refresh) = grant.refresh {
            self.refresh = Some(refresh);
        }
        if let Some(scopes) = grant.scopes.filter(|_| resource == 0) {
            self.scopes = scopes;
        }
        self.renewed_at = now;
        self.claims.set(None);
        self.rest = None;
        if self.refresh.is_none() {
            "the sign-in can't be renewed: the service gave no refresh token".clone_into(&mut self.ended);
        }
    }

    /// Takes what the vault held.
    pub(crate) fn take_kept(&mut self, kept: KeptSignIn) {
        self.drop_tokens();
        self.refresh = Some(kept.refresh_token);
        self.user = kept.user;
        self.scopes = kept.scopes;
        self.signed_in_at = kept.signed_in_at;
        self.renewed_at = kept.renewed_at;
        self.not_kept = None;
    }

    /// What the vault is to hold; nothing without a refresh token.
    pub(crate) fn to_keep(&self) -> Option<KeptSignIn> {
        Some(KeptSignIn {
            refresh_token: self.refresh.clone()?,
            user: self.user.clone(),
            scopes: self.scopes.clone(),
            signed_in_at: self.signed_in_at,
            renewed_at: self.renewed_at,
        })
    }

    /// Lets go of everything that could be used.
    pub(crate) fn drop_tokens(&mut self) {
        self.refresh = None;
        for slot in &mut self.slots {
            *slot = Slot::default();
        }
    }

    /// Leaves the service alone for a while, since it says that it is asked too often.
    pub(crate) fn rest(&mut self, reason: &str) {
        self.rest = Some((Instant::now() + REST, reason.to_owned()));
    }

    /// Why the service is to be left alone now, if it is.
    pub(crate) fn resting(&self) -> Option<&str> {
        self.rest.as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, reason)| reason.as_str())
    }

    /// Ends the sign-in because somebody signed out: who comes next may be somebody else.
    pub(crate) fn forget(&mut self) {
        self.end("it was signed out");
        self.user = None;
        self.scopes.clear();
        self.claims.set(None);
        (self.signed_in_at, self.renewed_at) = (0, 0);
    }

    /// Ends the sign-in, for a reason.
    pub(crate) fn end(&mut self, reason: &str) {
        self.ended_token = self.refresh.take().or(self.ended_token.take());
        self.drop_tokens();
        reason.clone_into(&mut self.ended);
        self.untold = true;
    }
}
