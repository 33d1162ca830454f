//! One account's tokens, in memory, renewed as needed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::Mutex;
use url::form_urlencoded;

use crate::error::explain;
use crate::exchange::{Attempt, Denial, Exchange, Grant};
use crate::loopback::{Arrival, Loopback};
use crate::secret::RefreshToken;
use crate::{AccessToken, AccessTokens, AuthError, Browser, Registration};

/// How the user learns where to sign in.
pub trait SignInPrompt: Send + Sync {
    /// Shows the address at which `account` signs in.
    fn show(&self, account: &str, address: &str);
}

impl<F: Fn(&str, &str) + Send + Sync> SignInPrompt for F {
    fn show(&self, account: &str, address: &str) {
        self(account, address);
    }
}

/// What a [`TokenSource`] is made of.
#[derive(Clone)]
pub struct TokenSourceOptions {
    /// As what the program signs in.
    pub registration: Registration,
    /// The user name that the sign-in page is filled with.
    pub user: Option<String>,
    /// Where the browser's answer is awaited, while a sign-in is under way only. Port 0 takes any.
    pub listen: SocketAddr,
    /// Who shows the address.
    pub prompt: Arc<dyn SignInPrompt>,
    /// What opens the address.
    pub browser: Browser,
    /// Whether the first need of a token may begin a sign-in. Later ones never do.
    pub interactive: bool,
    /// How long the user may take.
    pub patience: Duration,
}

/// One account's tokens. They live in memory and end with the process.
pub struct TokenSource {
    options: TokenSourceOptions,
    account: String,
    exchange: Exchange,
    held: Arc<Mutex<Held>>,
    /// Counts finished renewals, good and bad, so that those who waited for one share what came of it.
    renewals: Arc<AtomicU64>,
}

struct Held {
    access: Option<Access>,
    refresh: Option<RefreshToken>,
    /// Why there is no refresh token.
    ended: String,
    /// What came of the last renewal, if it failed.
    last_failure: Option<AuthError>,
    may_ask_user: bool,
}

#[derive(Clone)]
struct Access {
    token: AccessToken,
    renew_at: SystemTime,
}

impl TokenSource {
    /// Makes a source with nobody signed in. Fails if the registration can't work.
    pub fn new(options: TokenSourceOptions) -> Result<Self, AuthError> {
        let exchange = Exchange::new(options.registration.clone())?;
        let account = options.user.clone().unwrap_or_else(|| options.registration.tenant.clone());
        let held = Held {
            access: None,
            refresh: None,
            ended: "nobody has signed in yet".to_owned(),
            last_failure: None,
            may_ask_user: options.interactive,
        };
        Ok(Self { options, account, exchange, held: Arc::new(Mutex::new(held)), renewals: Arc::default() })
    }

    /// Has the user sign in, whatever is held. Others who need a token wait meanwhile; what is held is kept until the
    /// sign-in succeeds.
    pub async fn sign_in(&self) -> Result<(), AuthError> {
        let mut held = self.held.lock().await;
        self.ask_user(&mut held).await
    }

    /// Whether a token can be had without the user, as far as is known.
    pub async fn is_signed_in(&self) -> bool {
        let held = self.held.lock().await;
        held.refresh.is_some() || held.access.as_ref().is_some_and(Access::is_good)
    }

    /// Waits for the browser once, with `held` locked: one sign-in at a time.
    async fn ask_user(&self, held: &mut Held) -> Result<(), AuthError> {
        // Nobody can sign in while the network is down, and this would use up the one chance to.
        self.exchange.reach().await?;
        held.may_ask_user = false;
        let patience = self.options.patience;
        let grant =
            tokio::time::timeout(patience, self.browse()).await.map_err(|_| AuthError::TimedOut(patience))??;
        held.take(grant);
        Ok(())
    }

    async fn browse(&self) -> Result<Grant, AuthError> {
        let loopback = Loopback::bind(self.options.listen).await?;
        let listening = loopback.address();
        let attempt = self.exchange.attempt(listening, self.options.user.as_deref())?;
        let mut arrivals = loopback.serve(self.options.registration.redirect_path.clone());
        self.options.prompt.show(&self.account, &attempt.address);
        let (browser, address) = (self.options.browser.clone(), attempt.address.clone());
        tokio::spawn(async move { browser.open(&address).await });
        while let Some(arrival) = arrivals.next().await {
            match read_query(&arrival.query, &attempt) {
                Answer::Stranger => {
                    arrival
                        .answer(false, "Not this sign-in", "This answer belongs to no sign-in that is waited for.")
                        .await;
                }
                Answer::Declined(reason) => {
                    arrival.answer(false, "Not signed in", &reason).await;
                    return Err(AuthError::Refused { reason });
                }
                Answer::Code(code) => {
                    let granted = self.exchange.redeem(&attempt, &code, listening).await;
                    return conclude(arrival, granted).await;
                }
            }
        }
        Err(AuthError::Unreachable("the address for the browser's answer went away".to_owned()))
    }

    /// Gives a token: the one held if `wanted` takes it, else a renewed one.
    async fn token(&self, wanted: impl Fn(&Access) -> bool + Send) -> Result<AccessToken, AuthError> {
        // Read before waiting: a renewal that ends while we wait was begun for us as well.
        let before = self.renewals.load(Ordering::Acquire);
        let mut held = Arc::clone(&self.held).lock_owned().await;
        if let Some(access) = held.access.as_ref().filter(|access| wanted(access)) {
            return Ok(access.token.clone());
        }
        if self.renewals.load(Ordering::Acquire) != before
            && let Some(failure) = &held.last_failure
        {
            return Err(failure.clone());
        }
        if held.refresh.is_none() {
            if held.may_ask_user {
                self.ask_user(&mut held).await?;
            }
            return match &held.access {
                Some(access) if wanted(access) => Ok(access.token.clone()),
                _ => Err(AuthError::SignInNeeded { account: self.account.clone(), reason: held.ended.clone() }),
            };
        }
        let (exchange, account, renewals) = (self.exchange.clone(), self.account.clone(), Arc::clone(&self.renewals));
        let listening = self.options.listen;
        // In a task of its own, so that a caller who gives up doesn't lose a new refresh token on its way.
        let renewal = tokio::spawn(async move {
            let outcome = held.renew(&exchange, &account, listening).await;
            held.last_failure = outcome.as_ref().err().cloned();
            renewals.fetch_add(1, Ordering::Release);
            outcome
        });
        renewal.await.unwrap_or_else(|e| Err(AuthError::Unreachable(format!("the renewal broke off: {e}"))))
    }
}

#[async_trait]
impl AccessTokens for TokenSource {
    fn account(&self) -> &str {
        &self.account
    }

    async fn access_token(&self) -> Result<AccessToken, AuthError> {
        self.token(Access::is_good).await
    }

    async fn renew(&self, rejected: &AccessToken) -> Result<AccessToken, AuthError> {
        self.token(|access| access.token != *rejected).await
    }
}

impl Access {
    fn is_good(&self) -> bool {
        SystemTime::now() < self.renew_at
    }
}

impl Held {
    fn take(&mut self, grant: Grant) {
        self.access = Some(Access { token: grant.access, renew_at: grant.renew_at });
        // A service that sends none means the one at hand to be kept.
        if let Some(refresh) = grant.refresh {
            self.refresh = Some(refresh);
        }
        self.last_failure = None;
        if self.refresh.is_none() {
            "the sign-in can't be renewed: the service gave no refresh token".clone_into(&mut self.ended);
        }
    }

    async fn renew(
        &mut self,
        exchange: &Exchange,
        account: &str,
        listening: SocketAddr,
    ) -> Result<AccessToken, AuthError> {
        let sign_in_needed = |reason: String| AuthError::SignInNeeded { account: account.to_owned(), reason };
        let Some(refresh) = self.refresh.clone() else {
            return Err(sign_in_needed(self.ended.clone()));
        };
        match exchange.refresh(&refresh, listening).await {
            Ok(grant) => {
                let token = grant.access.clone();
                self.take(grant);
                Ok(token)
            }
            Err(Denial::Ended(reason)) => {
                self.refresh = None;
                self.access = None;
                self.ended.clone_from(&reason);
                Err(sign_in_needed(reason))
            }
            Err(Denial::Refused(reason)) => Err(AuthError::Refused { reason }),
            Err(Denial::Unreachable(reason)) => Err(AuthError::Unreachable(reason)),
        }
    }
}

/// What the browser brought.
enum Answer {
    Code(String),
    Declined(String),
    /// Not the answer to this attempt: a stranger's, or that of a page left open.
    Stranger,
}

fn read_query(query: &str, attempt: &Attempt) -> Answer {
    let value = |name: &str| {
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    if value("state").as_deref() != Some(attempt.state.secret().as_str()) {
        return Answer::Stranger;
    }
    match (value("code"), value("error")) {
        (_, Some(error)) => Answer::Declined(explain(&error, &value("error_description").unwrap_or_default())),
        (Some(code), None) if !code.is_empty() => Answer::Code(code),
        _ => Answer::Stranger,
    }
}

async fn conclude(arrival: Arrival, granted: Result<Grant, Denial>) -> Result<Grant, AuthError> {
    match granted {
        Ok(grant) => {
            arrival.answer(true, "Signed in", "You can close this tab.").await;
            Ok(grant)
        }
        Err(Denial::Unreachable(reason)) => {
            arrival.answer(false, "Not signed in", &reason).await;
            Err(AuthError::Unreachable(reason))
        }
        Err(Denial::Ended(reason) | Denial::Refused(reason)) => {
            arrival.answer(false, "Not signed in", &reason).await;
            Err(AuthError::Refused { reason })
        }
    }
}
