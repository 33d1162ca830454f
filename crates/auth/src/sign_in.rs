//! Having the user sign in: in a browser (RFC 8252) or with a code on any device (RFC 8628).

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};
use url::{Url, form_urlencoded};

use crate::error::explain;
use crate::exchange::{ATTEMPT_LASTS, Attempt, Wishes};
use crate::grant::{Denial, Grant};
use crate::held::Asking;
use crate::registration::Endpoints;
use crate::source::{Inner, TokenSource, unix_now};
use crate::state::{Landing, SignInState};
use crate::{AuthError, profile};

/// What came of signing out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedOut {
    /// Whether a sign-in was kept or held.
    pub was_signed_in: bool,
    /// Whether the service has forgotten it too.
    pub revoked: bool,
    /// Why the service couldn't be told.
    pub trouble: Option<String>,
}

impl TokenSource {
    /// Begins a sign-in in the browser, which is to come back to `port` of this machine. Returns where it should go.
    pub fn begin(&self, port: u16) -> Result<Url, AuthError> {
        self.0.begin(port)
    }

    /// Begins a sign-in by code. What to type is in the state from then on.
    pub async fn begin_with_code(&self) -> Result<(), AuthError> {
        self.0.begin_with_code().await
    }

    /// Gives up the sign-in that is under way.
    pub fn cancel(&self) {
        self.0.attempts.clear();
        let under_way = self.0.state.borrow().is_under_way();
        if under_way {
            self.0.fail("the sign-in was cancelled");
        }
    }

    /// Takes what the browser brought back: the query of the redirect address. Nothing if it belongs to no attempt that
    /// is waited for: a stranger's, or that of a page left open.
    pub async fn came_back(&self, query: &str) -> Option<Landing> {
        let (attempt, answer) = self.0.read(query)?;
        let inner = Arc::clone(&self.0);
        // In a task of its own: a browser that goes away doesn't break off what it has begun.
        let concluded = tokio::spawn(async move { inner.conclude(&attempt, answer).await }).await;
        Some(concluded.unwrap_or_else(|error| Landing {
            good: false,
            heading: "Not signed in".to_owned(),
            words: format!("The sign-in broke off: {error}"),
        }))
    }

    /// Asks for a sign-in by the user, whatever is held, and waits until one was made or failed. What is held is kept
    /// until then.
    pub async fn sign_in(&self, patience: Duration) -> Result<(), AuthError> {
        self.0.exchange.reach().await?;
        if let Some(vault) = &self.0.options.vault {
            vault.ask_again().await;
        }
        let mut states = self.watch();
        {
            let mut held = self.0.held.lock().await;
            held.asking = Asking::UnderWay;
            self.0.set_state(SignInState::Needed { reason: "you asked for it".to_owned() });
        }
        let ended = states.wait_for(|state| matches!(state, SignInState::SignedIn { .. } | SignInState::Failed { .. }));
        let outcome = match tokio::time::timeout(patience, ended).await {
            Ok(Ok(state)) => match &*state {
                SignInState::Failed { reason } => Err(AuthError::Refused { reason: reason.clone() }),
                _ => Ok(()),
            },
            Ok(Err(_)) | Err(_) => Err(AuthError::TimedOut(patience)),
        };
        self.0.held.lock().await.asking = Asking::Over;
        if outcome.is_err() {
            self.0.attempts.clear();
        }
        outcome
    }

    /// Forgets the sign-in, here and where the service can be told to.
    pub async fn sign_out(&self) -> Result<SignedOut, crate::VaultError> {
        let mut held = self.0.held.lock().await;
        self.0.attempts.clear();
        // Without the key the sign-in can't be told to the service, but it can be forgotten.
        self.0.look_into_vault(&mut held).await.ok();
        let (revoked, trouble) = match &held.refresh {
            Some(token) => match self.0.exchange.revoke(token).await {
                Ok(revoked) => (revoked, None),
                Err(error) => (false, Some(error.to_string())),
            },
            None => (false, None),
        };
        let kept = match &self.0.options.vault {
            Some(vault) => vault.forget(&self.0.kept_as).await?,
            None => false,
        };
        let was_signed_in = kept || held.refresh.is_some();
        held.forget();
        self.0.announce(&mut held);
        Ok(SignedOut { was_signed_in, revoked, trouble })
    }
}

/// What the browser brought.
enum Answer {
    Code(String),
    Declined(String),
}

impl Inner {
    fn begin(self: &Arc<Self>, port: u16) -> Result<Url, AuthError> {
        let attempt = self.exchange.attempt(port, &self.wishes())?;
        let address = Url::parse(&attempt.address).map_err(|e| AuthError::Configuration(e.to_string()))?;
        self.attempts.add(attempt);
        self.set_state(SignInState::InBrowser);
        debug!(account = %self.account, "A sign-in in the browser begins");
        let inner = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(ATTEMPT_LASTS).await;
            if let Some(inner) = inner.upgrade() {
                let over = !inner.attempts.drop_old() && *inner.state.borrow() == SignInState::InBrowser;
                if over {
                    inner.fail("nobody finished the sign-in in the browser in time");
                }
            }
        });
        Ok(address)
    }

    fn wishes(&self) -> Wishes {
        // The lock may be held by somebody who waits for the service; neither of these two does harm if it is a guess.
        let (user, refresh_token) = match self.held.try_lock() {
            Ok(held) => (held.user.clone(), held.refresh.is_none()),
            Err(_) => (None, true),
        };
        Wishes {
            login_hint: self.options.user.clone().or(user),
            select_account: matches!(*self.state.borrow(), SignInState::Failed { .. }),
            refresh_token,
            claims: self.claims.get(),
        }
    }

    async fn begin_with_code(self: &Arc<Self>) -> Result<(), AuthError> {
        let beginning = self.attempts.beginning();
        let details = self.exchange.device_code().await.map_err(denied)?;
        let shown = SignInState::WithCode {
            user_code: details.user_code().secret().clone(),
            address: details.verification_uri().to_string(),
            expires_at: unix_now().saturating_add(details.expires_in().as_secs()),
        };
        // Somebody may have signed in or given up while the code was asked for.
        self.attempts.with_code(beginning, || {
            self.set_state(shown.clone());
            let inner = Arc::clone(self);
            let task = tokio::spawn(async move {
                let granted = inner.exchange.await_device(&details).await;
                if let Err(error) = inner.settle(granted).await {
                    inner.fail_shown(&shown, &words(&error));
                }
            });
            task.abort_handle()
        });
        Ok(())
    }

    /// Ends a sign-in by code with a failure, unless something else is under way by now.
    fn fail_shown(&self, shown: &SignInState, reason: &str) {
        if *self.state.borrow() == *shown {
            self.fail(reason);
        } else {
            debug!(account = %self.account, "A sign-in by code came to nothing: {reason}");
        }
    }

    /// Ends the sign-in under way with a failure.
    fn fail(&self, reason: &str) {
        info!(account = %self.account, "Not signed in: {reason}");
        self.set_state(SignInState::Failed { reason: reason.to_owned() });
    }

    /// Finds the attempt that an answer belongs to.
    fn read(&self, query: &str) -> Option<(Attempt, Answer)> {
        let value = |name: &str| {
            form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let state = value("state").filter(|state| self.attempts.has(state))?;
        let answer = match (value("code"), value("error")) {
            (_, Some(error)) => {
                let page = self.exchange.registration().consent_page();
                Answer::Declined(explain(&error, &value("error_description").unwrap_or_default(), page.as_deref()))
            }
            (Some(code), None) if !code.is_empty() => Answer::Code(code),
            _ => return None,
        };
        Some((self.attempts.take(&state)?, answer))
    }

    async fn conclude(&self, attempt: &Attempt, answer: Answer) -> Landing {
        let settled = match answer {
            Answer::Code(code) => {
                let granted = self.exchange.redeem(attempt, &code).await;
                self.settle(granted).await
            }
            Answer::Declined(reason) => Err(AuthError::Refused { reason }),
        };
        match settled {
            Ok(Settled { user, not_kept }) => Landing {
                good: true,
                heading: match user {
                    Some(user) => format!("Signed in as {user}"),
                    None => "Signed in".to_owned(),
                },
                words: not_kept.map_or_else(String::new, |_| {
                    "The sign-in ends with the program, since it can't be kept here.".to_owned()
                }),
            },
            Err(error) => {
                let words = words(&error);
                self.fail(&words);
                Landing { good: false, heading: "Not signed in".to_owned(), words }
            }
        }
    }

    /// Takes a grant of the user's making, if it is for the right account.
    async fn settle(&self, granted: Result<Grant, Denial>) -> Result<Settled, AuthError> {
        let grant = match granted {
            Ok(grant) => grant,
            Err(denial) => return Err(self.learn_from(denial).await),
        };
        self.check_scopes(&grant)?;
        let user = self.check_user(&grant).await?;
        let mut held = self.held.lock().await;
        // The account's own refresh token stays good where the service sees no need for another.
        let before = held.refresh.take().filter(|_| user.is_some());
        held.drop_tokens();
        held.refresh = before;
        held.take(0, grant, unix_now());
        held.user = user;
        if held.scopes.is_empty() {
            held.scopes.clone_from(&self.exchange.registration().scopes);
        }
        held.signed_in_at = unix_now();
        self.keep(&mut held).await;
        held.asking = Asking::Over;
        let settled = Settled { user: held.user.clone(), not_kept: held.not_kept.clone() };
        info!(account = %self.account, kept = settled.not_kept.is_none(), "Signed in");
        // One of the attempts may be the task that runs this, so that nothing may be waited for from here on. And what is
        // still beginning must find itself given up before it could hide that the account is signed in.
        self.attempts.clear();
        self.tell_signed_in(&held);
        drop(held);
        Ok(settled)
    }

    /// Notes what a refused sign-in says about the next one.
    async fn learn_from(&self, denial: Denial) -> AuthError {
        let mut held = self.held.lock().await;
        match &denial {
            Denial::Ended { claims: Some(claims), .. } => held.claims.set(Some(claims.clone())),
            Denial::TooOften(reason) => held.rest(reason),
            _ => {}
        }
        match denied(denial) {
            AuthError::Refused { reason } => AuthError::Refused { reason: self.with_clock(reason) },
            other => other,
        }
    }

    /// Google's users can untick what they are asked for, and the service says so by granting less.
    fn check_scopes(&self, grant: &Grant) -> Result<(), AuthError> {
        let registration = self.exchange.registration();
        // Microsoft spells scopes in its own ways, and grants all or nothing.
        if matches!(registration.endpoints, Endpoints::Microsoft { .. }) {
            return Ok(());
        }
        let Some(granted) = &grant.scopes else { return Ok(()) };
        match registration.scopes.iter().find(|scope| !granted.contains(scope)) {
            None => Ok(()),
            Some(missing) => Err(AuthError::Refused {
                reason: format!(
                    "`{missing}` was not granted: sign in again and leave the boxes on the consent page ticked"
                ),
            }),
        }
    }

    /// Who the grant is for. An account other than the configured one, or than the one of the sign-in before, is refused:
    /// its mail doesn't belong into these Maildirs.
    async fn check_user(&self, grant: &Grant) -> Result<Option<String>, AuthError> {
        let registration = self.exchange.registration();
        let Some(asked) = &registration.profile else { return Ok(None) };
        let names = profile::names(self.exchange.http(), asked, &grant.access).await?;
        let before = self.held.lock().await.user.clone();
        let wanted = self.options.user.clone().or(before);
        let Some(wanted) = wanted else { return Ok(names.into_iter().next()) };
        let Some(found) = names.first() else { return Ok(Some(wanted)) };
        if profile::is_one_of(&wanted, &names) {
            return Ok(Some(wanted));
        }
        warn!(account = %self.account, "Another account signed in; it isn't used");
        let remedy = if self.options.user.is_some() {
            format!("sign in again and choose {wanted}, or write `user=\"{found}\"` in cms.cfg")
        } else {
            format!("sign in again and choose {wanted}; for another account, `cms sign-out` this one first")
        };
        Err(AuthError::Refused { reason: format!("{found} signed in where {wanted} was expected ({remedy})") })
    }
}

struct Settled {
    user: Option<String>,
    not_kept: Option<String>,
}

fn denied(denial: Denial) -> AuthError {
    match denial {
        Denial::Unreachable(reason) | Denial::TooOften(reason) => AuthError::Unreachable(reason),
        Denial::Ended { reason, .. } | Denial::Refused(reason) | Denial::Invalid(reason) => {
            AuthError::Refused { reason }
        }
    }
}

/// An error without the words that say where it occurred: the page around it says so already.
fn words(error: &AuthError) -> String {
    match error {
        AuthError::Refused { reason } => reason.clone(),
        other => other.to_string(),
    }
}
