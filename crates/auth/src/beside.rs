//! Tokens of another resource, had by the same sign-in, for what an account can do without.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tracing::debug;

use crate::grant::{Denial, Grant};
use crate::held::Access;
use crate::source::{Inner, TokenSource, unix_now};
use crate::{AccessToken, AccessTokens, AuthError};

/// Tokens for some scopes of another resource than the account's main one.
///
/// That none can be had is no matter of the sign-in's: it goes on, nobody is asked for anything, and a refusal is
/// [`AuthError::Refused`] whatever its reason, such as consent that was never given.
pub(crate) struct Beside {
    source: TokenSource,
    scopes: Arc<Vec<String>>,
    access: Mutex<Option<Access>>,
}

impl Beside {
    pub(crate) fn new(source: TokenSource, scopes: Vec<String>) -> Self {
        Self { source, scopes: Arc::new(scopes), access: Mutex::new(None) }
    }

    async fn token(&self, wanted: impl Fn(&Access) -> bool + Send) -> Result<AccessToken, AuthError> {
        let mut held = self.access.lock().await;
        if let Some(access) = held.as_ref().filter(|access| wanted(access)) {
            return Ok(access.token.clone());
        }
        let (inner, scopes) = (Arc::clone(&self.source.0), Arc::clone(&self.scopes));
        // In a task of its own, so that a caller who gives up doesn't lose a new refresh token on its way.
        let redeemed = tokio::spawn(async move { inner.redeem_beside(&scopes).await }).await;
        let grant = redeemed.unwrap_or_else(|e| Err(AuthError::Unreachable(format!("the renewal broke off: {e}"))))?;
        let access = Access::of(&grant);
        *held = Some(access.clone());
        Ok(access.token)
    }
}

impl Inner {
    /// Redeems the account's refresh token for scopes of another resource. The account's own tokens are free meanwhile:
    /// one refresh token may be redeemed twice at a time.
    async fn redeem_beside(self: Arc<Self>, scopes: &[String]) -> Result<Grant, AuthError> {
        let refresh = {
            let mut held = self.held.lock().await;
            // What can't be read isn't there.
            self.look_into_vault(&mut held).await.ok();
            if let Some(reason) = held.resting() {
                return Err(AuthError::Unreachable(format!("it is left alone for a while, because it said {reason}")));
            }
            held.refresh.clone().ok_or_else(|| self.needed(&held.ended))?
        };
        let outcome = self.exchange.refresh_for(&refresh, scopes, None).await;
        let mut held = self.held.lock().await;
        match outcome {
            Ok(mut grant) => {
                debug!(account = %self.account, "Had an access token of another resource");
                // A sign-in that came meanwhile is newer than what this one brought.
                if let Some(new) = grant.refresh.take().filter(|_| held.refresh.as_ref() == Some(&refresh)) {
                    held.refresh = Some(new);
                    held.renewed_at = unix_now();
                    self.keep(&mut held).await;
                }
                Ok(grant)
            }
            Err(Denial::Ended { reason, .. } | Denial::Refused(reason) | Denial::Invalid(reason)) => {
                Err(AuthError::Refused { reason })
            }
            Err(Denial::Unreachable(reason)) => Err(AuthError::Unreachable(reason)),
            Err(Denial::TooOften(reason)) => {
                held.rest(&reason);
                Err(AuthError::Unreachable(reason))
            }
        }
    }
}

#[async_trait]
impl AccessTokens for Beside {
    fn account(&self) -> &str {
        self.source.name()
    }

    async fn access_token(&self) -> Result<AccessToken, AuthError> {
        self.token(Access::is_good).await
    }

    async fn renew(&self, rejected: &AccessToken, _claims: Option<&str>) -> Result<AccessToken, AuthError> {
        self.token(|access| access.is_good() && access.token != *rejected).await
    }

    async fn sign_in_anew(&self, _rejected: &AccessToken, reason: &str) -> Result<AccessToken, AuthError> {
        Err(AuthError::Refused { reason: reason.to_owned() })
    }
}
