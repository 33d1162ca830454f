//! One account's tokens: had from the vault, renewed as needed, and asked of the user when nothing else helps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tracing::{debug, warn};

use crate::attempts::Attempts;
use crate::beside::Beside;
use crate::exchange::Exchange;
use crate::grant::Denial;
use crate::held::{Access, Asking, Claims, Held, VaultSide};
use crate::state::{SignInReport, SignInState};
use crate::vault::{Vault, VaultError};
use crate::{AccessToken, AccessTokens, AuthError, Registration};

/// How often is looked whether another process has signed the account in, while it isn't.
const LOOKS_AT_VAULT: Duration = Duration::from_secs(1);

/// A refresh token of a single-page application's registration lasts so long from the sign-in on, whatever is renewed
/// meanwhile (Microsoft identity platform refresh tokens).
const SINGLE_PAGE_LASTS_SECONDS: u64 = 24 * 3600;

/// How long whoever needs a token waits for the user to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all.
    None,
    /// So long, and only the first time.
    Once(Duration),
    /// As long as it takes.
    Forever,
}

/// What a [`TokenSource`] is made of.
#[derive(Clone)]
pub struct TokenSourceOptions {
    /// As what the program signs in.
    pub registration: Registration,
    /// The user name that the sign-in page is filled with, and that must be the one that signs in.
    pub user: Option<String>,
    /// Where the sign-in is kept between runs. Without one it ends with the process.
    pub vault: Option<Arc<Vault>>,
    /// The port that the browser is expected back at.
    pub port: u16,
    /// How long the user may take.
    pub patience: Patience,
}

/// One account's tokens. All clones are the same.
#[derive(Clone)]
pub struct TokenSource(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) options: TokenSourceOptions,
    pub(crate) account: String,
    /// What the vault knows the account by.
    pub(crate) kept_as: String,
    pub(crate) exchange: Exchange,
    pub(crate) held: Arc<Mutex<Held>>,
    /// Those of what is held.
    pub(crate) claims: Claims,
    pub(crate) state: watch::Sender<SignInState>,
    pub(crate) attempts: Attempts,
    /// Counts finished renewals of each resource, good and bad, so that those who waited for one share what came of it.
    renewals: Vec<AtomicU64>,
}

/// The tokens of one of the registration's resources.
struct OfResource {
    source: TokenSource,
    resource: usize,
}

impl TokenSource {
    /// Makes a source; looks into no vault and asks nobody yet. Fails if the registration can't work.
    pub fn new(options: TokenSourceOptions) -> Result<Self, AuthError> {
        let exchange = Exchange::new(options.registration.clone(), options.port)?;
        let account = options.user.clone().unwrap_or_else(|| options.registration.unnamed_account().to_owned());
        let kept_as = options.registration.kept_as(options.user.as_deref());
        let resources = 1 + options.registration.further_resources.len();
        let held = Held::new(resources);
        Ok(Self(Arc::new(Inner {
            account,
            kept_as,
            exchange,
            claims: held.claims.clone(),
            held: Arc::new(Mutex::new(held)),
            state: watch::Sender::new(SignInState::Unknown),
            attempts: Attempts::default(),
            renewals: (0..resources).map(|_| AtomicU64::new(0)).collect(),
            options,
        })))
    }

    /// What the account is called.
    pub fn name(&self) -> &str {
        &self.0.account
    }

    /// As what the program signs in.
    pub fn registration(&self) -> &Registration {
        self.0.exchange.registration()
    }

    /// How the sign-in stands, now and from now on.
    pub fn watch(&self) -> watch::Receiver<SignInState> {
        self.0.state.subscribe()
    }

    /// How the sign-in stands.
    pub fn state(&self) -> SignInState {
        self.0.state.borrow().clone()
    }

    /// The tokens of one of the registration's resources; 0 is the main one, for which the source itself stands too.
    pub fn for_resource(&self, resource: usize) -> Option<Arc<dyn AccessTokens>> {
        (resource < self.0.renewals.len())
            .then(|| Arc::new(OfResource { source: self.clone(), resource }) as Arc<dyn AccessTokens>)
    }

    /// Tokens for scopes of a resource that the account can do without. Whatever is wrong with them, the sign-in stands,
    /// and nobody is asked for anything: a refusal is [`AuthError::Refused`].
    pub fn beside(&self, scopes: Vec<String>) -> Arc<dyn AccessTokens> {
        Arc::new(Beside::new(self.clone(), scopes))
    }

    /// Whether a token can be had without the user, as far as is known. Looks into the vault.
    pub async fn is_signed_in(&self) -> bool {
        let mut held = Arc::clone(&self.0.held).lock_owned().await;
        // What can't be read isn't there.
        self.0.look_into_vault(&mut held).await.ok();
        held.refresh.is_some() || held.slots.iter().any(|slot| slot.access.as_ref().is_some_and(Access::is_good))
    }

    /// Whether a sign-in is kept in the vault, good or not. Asks for no key.
    pub async fn is_kept(&self) -> bool {
        match &self.0.options.vault {
            // What can't be read isn't there.
            Some(vault) => vault.holds(&self.0.kept_as).await.unwrap_or(false),
            None => false,
        }
    }

    /// What is known of the sign-in, without asking for anything.
    pub async fn report(&self) -> SignInReport {
        let held = self.0.held.lock().await;
        let lasts = self.0.exchange.is_single_page().then_some(SINGLE_PAGE_LASTS_SECONDS);
        SignInReport {
            user: held.user.clone(),
            scopes: held.scopes.clone(),
            signed_in_at: held.signed_in_at,
            renewed_at: held.renewed_at,
            ends_at: lasts.map(|lasts| held.signed_in_at.saturating_add(lasts)),
            not_kept: held.not_kept.clone(),
            clock: self.0.exchange.skew().words(),
        }
    }
}

impl Inner {
    pub(crate) fn set_state(&self, state: SignInState) {
        self.state.send_if_modified(|now| {
            let changed = *now != state;
            *now = state;
            changed
        });
    }

    pub(crate) fn tell_signed_in(&self, held: &Held) {
        self.set_state(SignInState::SignedIn {
            user: held.user.clone(),
            renewed_at: held.renewed_at,
            not_kept: held.not_kept.clone(),
        });
    }

    /// Gives a token: the one held if `wanted` takes it, else a renewed one, else one of the user's making.
    async fn token(
        self: &Arc<Self>,
        resource: usize,
        claims: Option<&str>,
        wanted: impl Fn(&Access) -> bool + Send,
    ) -> Result<AccessToken, AuthError> {
        let renewals = self
            .renewals
            .get(resource)
            .ok_or_else(|| AuthError::Configuration("there is no such resource in the registration".to_owned()))?;
        loop {
            // Read before waiting: a renewal that ends while we wait was begun for us as well.
            let before = renewals.load(Ordering::Acquire);
            let mut held = Arc::clone(&self.held).lock_owned().await;
            let vault = self.look_into_vault(&mut held).await;
            let slot = held.slots.get(resource).cloned().unwrap_or_default();
            // Another token is no answer to a challenge if nothing was asked for with it.
            let answers = claims.is_none() || slot.claims.is_some();
            if let Some(access) = slot.access.as_ref().filter(|access| answers && wanted(access)) {
                return Ok(access.token.clone());
            }
            if renewals.load(Ordering::Acquire) != before
                && let Some(failure) = slot.last_failure
            {
                return Err(failure);
            }
            if let Some(claims) = claims {
                held.claims.set(Some(claims.to_owned()));
            }
            if held.refresh.is_some() {
                return self.renew_in_background(held, resource).await;
            }
            self.have_user_sign_in(held, vault.err()).await?;
        }
    }

    /// Renews in a task of its own, so that a caller who gives up doesn't lose a new refresh token on its way.
    async fn renew_in_background(
        self: &Arc<Self>,
        mut held: OwnedMutexGuard<Held>,
        resource: usize,
    ) -> Result<AccessToken, AuthError> {
        let inner = Arc::clone(self);
        let renewal = tokio::spawn(async move {
            let outcome = inner.renew(&mut held, resource).await;
            if let Some(slot) = held.slots.get_mut(resource) {
                slot.last_failure = outcome.as_ref().err().cloned();
            }
            if let Some(renewals) = inner.renewals.get(resource) {
                renewals.fetch_add(1, Ordering::Release);
            }
            outcome
        });
        let outcome =
            renewal.await.unwrap_or_else(|e| Err(AuthError::Unreachable(format!("the renewal broke off: {e}"))));
        match outcome {
            Err(AuthError::SignInNeeded { .. }) => {
                let held = Arc::clone(&self.held).lock_owned().await;
                self.have_user_sign_in(held, None).await?;
                Box::pin(self.token(resource, None, Access::is_good)).await
            }
            outcome => outcome,
        }
    }

    async fn renew(&self, held: &mut Held, resource: usize) -> Result<AccessToken, AuthError> {
        let Some(refresh) = held.refresh.clone() else { return Err(self.needed(&held.ended)) };
        if let Some(reason) = held.resting() {
            return Err(AuthError::Unreachable(format!("it is left alone for some minutes, because it said {reason}")));
        }
        let claims = held.claims.get();
        match self.exchange.refresh(&refresh, resource, claims.as_deref()).await {
            Ok(grant) => {
                let token = grant.access.clone();
                held.take(resource, grant, unix_now());
                debug!(account = %self.account, resource, "Renewed the access token");
                // On the disk before it is used: from now on the service may count the old one as spent.
                self.keep(held).await;
                self.tell_signed_in(held);
                Ok(token)
            }
            Err(Denial::Ended { reason, claims }) => {
                let reason = self.with_clock(reason);
                held.end(&reason);
                warn!(account = %self.account, "The sign-in has ended: {reason}");
                if claims.is_some() {
                    held.claims.set(claims);
                }
                Err(self.needed(&reason))
            }
            Err(Denial::Refused(reason) | Denial::Invalid(reason)) => {
                let reason = self.with_clock(reason);
                self.set_state(SignInState::Failed { reason: reason.clone() });
                Err(AuthError::Refused { reason })
            }
            Err(Denial::Unreachable(reason)) => {
                self.set_state(SignInState::Unreachable { reason: reason.clone() });
                Err(AuthError::Unreachable(reason))
            }
            Err(Denial::TooOften(reason)) => {
                held.rest(&reason);
                self.set_state(SignInState::Unreachable { reason: reason.clone() });
                Err(AuthError::Unreachable(reason))
            }
        }
    }

    /// Shows that the sign-in has ended. Where nobody waits for another one, that is a failure and no invitation.
    pub(crate) fn announce(&self, held: &mut Held) {
        let reason = held.ended.clone();
        if self.options.patience == Patience::Forever {
            held.untold = false;
            self.set_state(SignInState::Needed { reason });
        } else {
            self.set_state(SignInState::Failed { reason });
        }
    }

    pub(crate) fn needed(&self, reason: &str) -> AuthError {
        AuthError::SignInNeeded { account: self.account.clone(), reason: reason.to_owned() }
    }

    /// A wrong clock is behind many a refusal whose words don't say so.
    pub(crate) fn with_clock(&self, reason: String) -> String {
        match self.exchange.skew().words() {
            Some(words) => format!("{reason}; {words}"),
            None => reason,
        }
    }

    /// Makes sure that what is held is what the vault holds, whoever wrote it. One look at the file, as a rule.
    ///
    /// Fails only where waiting may help: the key can't be had now.
    pub(crate) async fn look_into_vault(&self, held: &mut Held) -> Result<(), VaultError> {
        let Some(vault) = &self.options.vault else { return Ok(()) };
        let fingerprint = vault.fingerprint();
        let known = held.vault;
        if known.is_known(fingerprint) {
            return Ok(());
        }
        match vault.load(&self.kept_as).await {
            Ok(Some(kept)) => {
                held.vault = VaultSide::Same(fingerprint);
                // What couldn't be kept is not to be lost for the older sign-in that is still there.
                let newer = held.refresh.is_none() || held.not_kept.is_none() || kept.renewed_at > held.renewed_at;
                let known =
                    [&held.refresh, &held.ended_token].into_iter().flatten().any(|it| *it == kept.refresh_token);
                if newer && !known {
                    held.take_kept(kept);
                    self.attempts.clear();
                    self.tell_signed_in(held);
                }
            }
            Ok(None) => {
                // What was never kept isn't ended by its absence.
                if matches!(known, VaultSide::Same(Some(_))) && held.refresh.is_some() && held.not_kept.is_none() {
                    held.forget();
                    self.announce(held);
                }
                held.vault = VaultSide::Same(fingerprint);
            }
            Err(error) if error.may_pass() && held.refresh.is_none() => {
                held.ended = in_words(&error);
                return Err(error);
            }
            Err(error) => {
                let why = in_words(&error);
                warn!(account = %self.account, "{why}");
                held.vault = VaultSide::Unreadable(fingerprint);
                if held.refresh.is_none() {
                    held.ended.clone_from(&why);
                }
                held.not_kept = Some(why);
            }
        }
        Ok(())
    }

    /// Puts what is held into the vault, and notes why not if that fails.
    pub(crate) async fn keep(&self, held: &mut Held) {
        let Some(vault) = &self.options.vault else {
            held.not_kept = Some("there is no vault".to_owned());
            return;
        };
        let Some(kept) = held.to_keep() else { return };
        match vault.keep(&self.kept_as, &kept).await {
            Ok(()) => {
                held.not_kept = None;
                held.vault = VaultSide::Same(vault.fingerprint());
            }
            Err(error) => {
                debug!(account = %self.account, %error, "The sign-in isn't kept");
                held.not_kept = Some(in_words(&error));
            }
        }
    }

    /// Waits until the user has signed in, or until what keeps the sign-in from being read is over, as far as there is
    /// patience for it.
    async fn have_user_sign_in(
        self: &Arc<Self>,
        mut held: OwnedMutexGuard<Held>,
        vault: Option<VaultError>,
    ) -> Result<(), AuthError> {
        let locked = vault.as_ref().is_some_and(VaultError::is_locked);
        let over = match self.options.patience {
            Patience::None => true,
            // Somebody is there who has just been asked to unlock it, and didn't.
            Patience::Once(_) => locked || held.asking == Asking::Over,
            Patience::Forever => false,
        };
        if over {
            self.announce(&mut held);
            return Err(self.needed(&held.ended));
        }
        let limit = match self.options.patience {
            Patience::Once(limit) => Some(limit),
            Patience::None | Patience::Forever => None,
        };
        if locked {
            self.set_state(SignInState::WaitingForKeyring);
        } else if held.untold || !self.state.borrow().needs_user() {
            // Nobody can sign in while the network is down, and this would use up the one chance to.
            if let Err(error) = self.exchange.reach().await {
                self.set_state(SignInState::Unreachable { reason: error.to_string() });
                return Err(error);
            }
            held.untold = false;
            if !self.state.borrow().is_under_way() {
                self.set_state(SignInState::Needed { reason: held.ended.clone() });
            }
        }
        held.asking = Asking::UnderWay;
        let reason = held.ended.clone();
        let known = held.vault;
        drop(held);
        let waited = match limit {
            Some(limit) => tokio::time::timeout(limit, self.wait_for_sign_in(known, vault.is_some()))
                .await
                .unwrap_or(Err(AuthError::TimedOut(limit))),
            None => self.wait_for_sign_in(known, vault.is_some()).await,
        };
        let mut held = self.held.lock().await;
        match &waited {
            Ok(Waited::SignedIn) => held.asking = Asking::Over,
            Ok(Waited::LookAgain) => {}
            Err(_) => {
                held.asking = Asking::Over;
                held.ended = reason;
                self.attempts.clear();
            }
        }
        waited.map(drop)
    }

    /// Waits for a sign-in, here or by another process, or for the keyring.
    async fn wait_for_sign_in(&self, known: VaultSide, for_key: bool) -> Result<Waited, AuthError> {
        let forever = self.options.patience == Patience::Forever;
        let mut states = self.state.subscribe();
        let vault = self.options.vault.as_deref();
        let key = async {
            match vault.filter(|_| for_key) {
                Some(vault) => vault.wait_for_key().await,
                None => std::future::pending().await,
            }
        };
        let elsewhere = async {
            loop {
                tokio::time::sleep(LOOKS_AT_VAULT).await;
                let now = vault.and_then(Vault::fingerprint);
                if now.is_some() && known != VaultSide::Unopened && !known.is_known(now) {
                    return;
                }
            }
        };
        tokio::select! {
            state = states.wait_for(|state| match state {
                SignInState::SignedIn { .. } => true,
                SignInState::Failed { .. } => !forever,
                _ => false,
            }) => match state.as_deref() {
                Ok(SignInState::Failed { reason }) => Err(AuthError::Refused { reason: reason.clone() }),
                _ => Ok(Waited::SignedIn),
            },
            () = key => Ok(Waited::LookAgain),
            () = elsewhere => Ok(Waited::LookAgain),
        }
    }
}

/// What a wait for the user ended with.
enum Waited {
    SignedIn,
    /// Something changed that may help.
    LookAgain,
}

#[async_trait]
impl AccessTokens for TokenSource {
    fn account(&self) -> &str {
        &self.0.account
    }

    async fn access_token(&self) -> Result<AccessToken, AuthError> {
        self.0.token(0, None, Access::is_good).await
    }

    async fn renew(&self, rejected: &AccessToken, claims: Option<&str>) -> Result<AccessToken, AuthError> {
        self.0.token(0, claims, |access| access.token != *rejected).await
    }

    async fn sign_in_anew(&self, rejected: &AccessToken, reason: &str) -> Result<AccessToken, AuthError> {
        self.0.distrust(0, rejected, reason).await;
        self.0.token(0, None, |access| access.token != *rejected).await
    }
}

#[async_trait]
impl AccessTokens for OfResource {
    fn account(&self) -> &str {
        &self.source.0.account
    }

    async fn access_token(&self) -> Result<AccessToken, AuthError> {
        self.source.0.token(self.resource, None, Access::is_good).await
    }

    async fn renew(&self, rejected: &AccessToken, claims: Option<&str>) -> Result<AccessToken, AuthError> {
        self.source.0.token(self.resource, claims, |access| access.token != *rejected).await
    }

    async fn sign_in_anew(&self, rejected: &AccessToken, reason: &str) -> Result<AccessToken, AuthError> {
        self.source.0.distrust(self.resource, rejected, reason).await;
        self.source.0.token(self.resource, None, |access| access.token != *rejected).await
    }
}

impl Inner {
    /// Ends a sign-in whose fresh token a service refused, unless it has been replaced meanwhile. The vault keeps it: it
    /// may be good again at the next start.
    async fn distrust(&self, resource: usize, rejected: &AccessToken, reason: &str) {
        let mut held = self.held.lock().await;
        let current = held.slots.get(resource).and_then(|slot| slot.access.as_ref());
        if current.is_some_and(|access| access.token == *rejected) {
            let claims = held.slots.get(resource).and_then(|slot| slot.claims.clone());
            held.end(reason);
            // The challenge isn't met, so that the sign-in must meet it.
            held.claims.set(claims);
            self.announce(&mut held);
        }
    }
}

/// An error of the vault, what caused it, and what to do about it.
fn in_words(error: &VaultError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    format!("{words} ({})", error.remedy())
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
