//! What was issued, and what it can be redeemed for.

use std::time::Duration;
use tokio::time::Instant;

use serde_json::Value;

use super::refused::{Refused, words};
use super::scopes::Audience;
use super::{State, need};
use crate::knobs::Knobs;
use crate::odata::Query;
use crate::pkce::{BadVerifier, CodeChallenge};

/// How old something is, which an administrator can add to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    since: Instant,
    added: Duration,
}

impl Age {
    pub(super) fn since(since: Instant) -> Self {
        Self { since, added: Duration::ZERO }
    }

    pub(super) fn new() -> Self {
        Self::since(Instant::now())
    }

    /// When it began; what was added doesn't count.
    pub(super) fn began(self) -> Instant {
        self.since
    }

    pub(super) fn add(&mut self, more: Duration) {
        self.added = self.added.saturating_add(more);
    }

    fn is_over(self, seconds: u64) -> bool {
        self.since.elapsed().saturating_add(self.added) > Duration::from_secs(seconds)
    }
}

/// The refusal of a verifier.
fn bad_verifier(bad: BadVerifier) -> Refused {
    match bad {
        BadVerifier::Missing => Refused::grant(50_148, "The code_verifier is missing."),
        BadVerifier::Size => Refused::grant(501_491, "Invalid size of code_verifier parameter."),
        BadVerifier::Other => Refused::grant(
            501_481,
            "The code_verifier does not match the code_challenge supplied in the authorization request.",
        ),
    }
}

/// An authorization code.
pub(super) struct Code {
    pub(super) client_id: String,
    pub(super) redirect: String,
    pub(super) challenge: Option<CodeChallenge>,
    pub(super) user: String,
    pub(super) tenant: String,
    pub(super) scopes: Vec<String>,
    pub(super) claims: Option<Value>,
    pub(super) nonce: Option<String>,
    pub(super) made: Age,
    pub(super) used: bool,
}

/// What a user granted to an application.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) user: String,
    pub(super) scopes: Vec<String>,
    /// The claims that the sign-in was asked for.
    pub(super) claims: Option<Value>,
    pub(super) nonce: Option<String>,
    /// How long ago the user signed in.
    pub(super) signed_in: Age,
    /// How long ago the refresh token was issued.
    pub(super) issued: Age,
    pub(super) spa: bool,
    pub(super) revoked: bool,
}

/// An access token.
#[allow(clippy::struct_excessive_bools)] // Independent powers of a token.
pub(super) struct Access {
    pub(super) client_id: String,
    pub(super) user: String,
    pub(super) audience: Audience,
    pub(super) until: Instant,
    /// Counts access tokens from 1.
    pub(super) serial: u64,
    /// Whether the client said that it understands claims challenges.
    pub(super) understands_claims: bool,
    /// Whether it lets its holder read mail.
    pub(super) mail: bool,
    /// Whether it lets its holder change what isn't a draft.
    pub(super) advanced: bool,
    /// Whether it lets its holder into others' mailboxes.
    pub(super) shared: bool,
}

/// Redeems an authorization code, which is good once.
pub(super) fn redeem_code(
    state: &mut State,
    knobs: &Knobs,
    tenant: &str,
    spa: bool,
    form: &Query,
) -> Result<Grant, Refused> {
    let (text, redirect) = (need(form, "code")?, need(form, "redirect_uri")?);
    let Some(code) = state.codes.get_mut(text) else {
        return Err(Refused::grant(9_002_313, "Invalid request. Request is malformed or invalid."));
    };
    if code.client_id != need(form, "client_id")? {
        let text = "Provided Authorization Code is intended to use against other client.";
        return Err(Refused::grant(700_005, text));
    }
    if code.used {
        return Err(Refused::grant(54_005, ALREADY_REDEEMED));
    }
    if code.made.is_over(knobs.authorization_code_seconds) {
        let text = "The provided authorization code or refresh token has expired due to inactivity.";
        return Err(Refused::grant(70_008, text));
    }
    if code.tenant != tenant {
        let text = "Provided Authorization Code is intended to use against other tenant, thus rejected.";
        return Err(Refused::grant(700_005, text));
    }
    if code.redirect != redirect {
        let text = "The redirect URI specified in the request does not match the one of the authorization request.";
        return Err(Refused::grant(50_011, text));
    }
    match &code.challenge {
        Some(challenge) => challenge.check(form.get("code_verifier")).map_err(bad_verifier)?,
        None if spa => {
            let text = "Proof Key for Code Exchange is required for cross-origin authorization code redemption.";
            return Err(Refused::new("invalid_request", 9_002_325, text));
        }
        None => {}
    }
    code.used = true;
    Ok(Grant {
        client_id: code.client_id.clone(),
        user: code.user.clone(),
        scopes: code.scopes.clone(),
        claims: code.claims.clone(),
        nonce: code.nonce.clone(),
        signed_in: code.made,
        issued: Age::new(),
        spa,
        revoked: false,
    })
}

pub(super) const ALREADY_REDEEMED: &str = "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.";

/// What a refresh token stands for, if it is still good.
pub(super) fn check_refresh(state: &State, knobs: &Knobs, client_id: &str, token: &str) -> Result<Grant, Refused> {
    let Some(grant) = state.refresh.get(token) else {
        return Err(Refused::grant(9_002_313, "Invalid request. Request is malformed or invalid."));
    };
    if grant.client_id != client_id {
        return Err(Refused::grant(70_000, "The provided refresh token was issued to another client."));
    }
    let number = if grant.revoked {
        50_173
    } else if grant.spa && grant.signed_in.is_over(knobs.spa_refresh_seconds) {
        700_084
    } else if grant.issued.is_over(knobs.refresh_token_seconds) {
        700_082
    } else {
        return Ok(grant.clone());
    };
    Err(Refused::grant(number, words(number)))
}
