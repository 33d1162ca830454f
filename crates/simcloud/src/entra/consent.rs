//! Consent: whether a user may let an application in, wants to, and has.

use tokio::time::Instant;

use serde::{Deserialize, Serialize};

use super::grants::Grant;
use super::refused::Refused;
use super::{Entra, scopes};

/// What becomes of the consent that an application asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "consent")]
pub enum Consent {
    /// It is given.
    #[default]
    Normal,
    /// The user declines; the application is told so with `access_denied` (65004).
    UserDeclines,
    /// Only an administrator may give it; the browser shows 90094 and isn't sent back.
    AdminRequired,
    /// It was withdrawn, or never covered what is asked for now: what was signed in before is refused at the token
    /// endpoint (65001) until the user has signed in again, which `prompt=none` isn't enough for.
    NotConsented,
    /// It is given but for these scopes.
    WithoutScopes {
        /// Scopes in any spelling.
        scopes: Vec<String>,
    },
}

struct Rule {
    client_id: String,
    consent: Consent,
    since: Instant,
}

/// The states of consent by client id; the empty one is meant for all that have none of their own.
#[derive(Default)]
pub(super) struct Consents(Vec<Rule>);

/// How a sign-in ends for want of consent.
pub(super) enum Refusal {
    /// The application is told.
    Back(Refused),
    /// The browser shows a page.
    Page(Refused),
}

impl Consents {
    fn of(&self, client_id: &str) -> Option<&Rule> {
        let rule = |wanted: &str| self.0.iter().find(|rule| rule.client_id == wanted);
        rule(client_id).or_else(|| rule(""))
    }

    /// What the user grants of what is asked for.
    pub(super) fn ask(&self, client_id: &str, asked: &[String], silently: bool) -> Result<Vec<String>, Refusal> {
        match self.of(client_id).map(|rule| &rule.consent) {
            Some(Consent::UserDeclines) => Err(Refusal::Back(declined())),
            Some(Consent::AdminRequired) => Err(Refusal::Page(Refused::numbered("", 90_094))),
            Some(Consent::NotConsented) if silently => {
                Err(Refusal::Back(Refused::numbered("consent_required", 65_001)))
            }
            Some(Consent::WithoutScopes { scopes: without }) => {
                let left_out = |scope: &str| without.iter().any(|one| one == scope || scopes::same(scope, one));
                Ok(asked.iter().filter(|scope| !left_out(scope)).cloned().collect())
            }
            _ => Ok(asked.to_vec()),
        }
    }

    /// Refuses a grant from before the consent was withdrawn.
    pub(super) fn check(&self, grant: &Grant) -> Result<(), Refused> {
        match self.of(&grant.client_id) {
            Some(rule) if rule.consent == Consent::NotConsented && grant.signed_in.began() < rule.since => {
                let mut refused = Refused::numbered("invalid_grant", 65_001);
                refused.suberror = Some("consent_required".to_owned());
                Err(refused)
            }
            _ => Ok(()),
        }
    }
}

/// The refusal of a user who gave up or declined.
pub(super) fn declined() -> Refused {
    Refused::numbered("access_denied", 65_004)
}

impl Entra {
    /// Sets what becomes of consent for an application, or for all if no client id is given.
    pub(crate) fn set_consent(&self, client_id: &str, consent: Consent) {
        let rules = &mut self.state().consents.0;
        if client_id.is_empty() {
            rules.clear();
        }
        rules.retain(|rule| rule.client_id != client_id);
        rules.push(Rule { client_id: client_id.to_owned(), consent, since: Instant::now() });
    }
}
