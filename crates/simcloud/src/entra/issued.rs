//! Tokens as their holders and administrators meet them.

use std::time::Duration;
use tokio::time::Instant;

use super::claims::Challenged;
use super::grants::{Access, Age, Grant};
use super::scopes::{self, Audience};
use super::{Entra, RedirectType, Registration, SignInMode, State};
use crate::reply::Answer;

/// Whose token came with a request, and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) client_id: String,
    pub(crate) user: String,
    /// Whether the token is good for mail.
    pub(crate) mail: bool,
    /// Whether they may change what isn't a draft.
    pub(crate) advanced: bool,
    /// Whether they may ask for mail in others' mailboxes.
    pub(crate) shared: bool,
}

/// Why an access token is refused.
#[derive(Clone, Debug)]
pub(crate) enum BadToken {
    Missing,
    Unknown,
    Expired,
    Audience,
    Challenged(Challenged),
}

impl BadToken {
    /// 401 with the words of the service.
    pub(crate) fn answer(&self, base: &str) -> Answer {
        let message = match self {
            Self::Missing => "Access token is empty.",
            Self::Unknown => "IDX14100: JWT is not well formed, there are no dots (.).",
            Self::Expired => "Lifetime validation failed, the token is expired.",
            Self::Audience => "Access token validation failure. Invalid audience.",
            Self::Challenged(challenged) => return challenged.answer(base),
        };
        Answer::error(401, "InvalidAuthenticationToken", message).with(
            "WWW-Authenticate",
            "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\"",
        )
    }
}

impl Entra {
    /// Whose token for Graph this is, and which application's.
    pub(crate) fn check(&self, token: &str) -> Result<Holder, BadToken> {
        self.check_for(Audience::Graph, token)
    }

    /// The same of a token for the old Outlook REST interface.
    pub(crate) fn check_outlook(&self, token: &str) -> Result<Holder, BadToken> {
        self.check_for(Audience::Outlook, token)
    }

    fn check_for(&self, audience: Audience, token: &str) -> Result<Holder, BadToken> {
        let state = self.state();
        let access = state.access.get(token).ok_or(BadToken::Unknown)?;
        if access.audience != audience {
            return Err(BadToken::Audience);
        }
        if access.until <= Instant::now() {
            return Err(BadToken::Expired);
        }
        // Only Graph challenges.
        if let Some(challenged) = state.challenges.meet(access).filter(|_| audience == Audience::Graph) {
            return Err(BadToken::Challenged(challenged));
        }
        Ok(Holder {
            client_id: access.client_id.clone(),
            user: access.user.clone(),
            mail: access.mail,
            advanced: access.advanced,
            shared: access.shared,
        })
    }

    /// Makes an access token and a refresh token without asking anybody.
    pub(crate) fn issue(&self, user: &str, client_id: &str, audience: Audience, life: Duration) -> (String, String) {
        let scopes: &[&str] = match audience {
            Audience::Graph => &[
                "https://graph.microsoft.com/Mail.ReadWrite",
                "https://graph.microsoft.com/Mail.ReadWrite.Shared",
                "https://graph.microsoft.com/Mail-Advanced.ReadWrite",
            ],
            Audience::Outlook => &["https://outlook.office.com/mail.read"],
        };
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let mut state = self.state();
        let spa =
            state.registrations.iter().any(|one| one.client_id == client_id && one.redirect_type == RedirectType::Spa);
        let grant = Grant {
            client_id: client_id.to_owned(),
            user: user.to_owned(),
            scopes: scopes.iter().cloned().chain(["offline_access".to_owned()]).collect(),
            claims: None,
            nonce: None,
            signed_in: Age::new(),
            issued: Age::new(),
            spa,
            revoked: false,
        };
        let access = state.grant_access(&grant, audience, life, &scopes, false);
        (access, state.grant_refresh(grant))
    }

    /// Revokes what a user granted, or all grants if no user is named; access tokens too if they are to end at once.
    pub(crate) fn revoke(&self, user: Option<&str>, access_too: bool) {
        let mut state = self.state();
        for grant in state.refresh.values_mut().filter(|grant| is_of(&grant.user, user)) {
            grant.revoked = true;
        }
        if access_too {
            state.access.retain(|_, access| !is_of(&access.user, user));
        }
    }

    /// Lets every access token that was issued so far be expired.
    pub(crate) fn expire_access(&self) {
        let now = Instant::now();
        for access in self.state().access.values_mut() {
            access.until = now;
        }
    }

    /// Lets refresh tokens, and the sign-ins that they come from, be older than they are.
    pub(crate) fn age_refresh(&self, user: Option<&str>, more: Duration) {
        for grant in self.state().refresh.values_mut().filter(|grant| is_of(&grant.user, user)) {
            grant.issued.add(more);
            grant.signed_in.add(more);
        }
    }

    /// Adds an application, or replaces the one with its client id.
    pub(crate) fn register(&self, registration: Registration) {
        let mut state = self.state();
        state.registrations.retain(|one| one.client_id != registration.client_id);
        state.registrations.push(registration);
    }

    /// Sets how the sign-in page behaves.
    pub(crate) fn set_mode(&self, mode: SignInMode) {
        self.state().mode = mode;
    }

    /// How the sign-in page behaves.
    pub(crate) fn mode(&self) -> SignInMode {
        self.state().mode.clone()
    }

    /// Every secret that came up so far.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.state().secrets.all()
    }
}

/// Whether a user is meant; everybody is if nobody is named.
fn is_of(user: &str, meant: Option<&str>) -> bool {
    meant.is_none_or(|meant| user.eq_ignore_ascii_case(meant))
}

impl State {
    /// Makes an access token.
    pub(super) fn grant_access(
        &mut self,
        grant: &Grant,
        audience: Audience,
        life: Duration,
        wanted: &[String],
        understands_claims: bool,
    ) -> String {
        let token = self.secrets.make("eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.");
        self.serial += 1;
        let access = Access {
            client_id: grant.client_id.clone(),
            user: grant.user.clone(),
            audience,
            until: Instant::now() + life,
            serial: self.serial,
            understands_claims,
            mail: wanted.iter().any(|scope| scopes::is_mail(scope)),
            advanced: wanted.iter().any(|scope| scopes::is_advanced(scope)),
            shared: wanted.iter().any(|scope| scopes::is_shared(scope)),
        };
        self.access.insert(token.clone(), access);
        token
    }

    /// Makes a refresh token.
    pub(super) fn grant_refresh(&mut self, grant: Grant) -> String {
        let token = self.secrets.make("1.AX");
        self.refresh.insert(token.clone(), Grant { issued: Age::new(), ..grant });
        token
    }
}
