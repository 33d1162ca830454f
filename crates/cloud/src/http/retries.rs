//! The failures of one call, and the waits between them.

use super::client::Http;
use super::failure::Failure;
use super::policy::{History, Verdict};
use cms_auth::AccessToken;

/// What a call has been through. Made when the call begins, asked after each failure.
pub(crate) struct Retries<'a> {
    http: &'a Http,
    history: History,
}

impl<'a> Retries<'a> {
    pub(crate) fn new(http: &'a Http) -> Self {
        Self { http, history: History::default() }
    }

    /// Waits until it is time to try again, or gives the failure back because it makes no sense to.
    ///
    /// `token` is the one that the failed request carried, if it came that far.
    pub(crate) async fn after(&mut self, failure: Failure, token: Option<&AccessToken>) -> Result<(), Failure> {
        let verdict = self.http.policy().decide(&failure, &mut self.history, self.http.random());
        let claims = failure.claims();
        tracing::debug!(?verdict, failure = %failure.summary(), "a request failed");
        match verdict {
            Verdict::GiveUp => Err(failure),
            Verdict::TooLong(pause) => {
                self.http.hold_for(pause);
                Err(failure)
            }
            Verdict::HoldAll(pause) => {
                self.http.hold_for(pause);
                // The gate's hold is waited for by the next attempt, like everybody's.
                Ok(())
            }
            Verdict::Wait(delay) => {
                tokio::time::sleep(delay).await;
                Ok(())
            }
            Verdict::RenewToken => match token {
                Some(token) => self.renew(token, claims.as_deref()).await,
                None => Err(failure),
            },
            Verdict::SignInAnew => match token {
                Some(token) => {
                    let reason = not_accepted(&failure);
                    self.http.tokens().sign_in_anew(token, &reason).await.map(drop).map_err(Failure::Auth)
                }
                None => Err(failure),
            },
        }
    }

    /// Renews the token, again as often as makes sense where only the way to the sign-in service is in the way: the next
    /// try with the old token would look as if a fresh one weren't accepted.
    async fn renew(&mut self, token: &AccessToken, claims: Option<&str>) -> Result<(), Failure> {
        loop {
            let Err(error) = self.http.tokens().renew(token, claims).await else { return Ok(()) };
            let failure = Failure::Auth(error);
            match self.http.policy().decide(&failure, &mut self.history, self.http.random()) {
                Verdict::Wait(delay) => tokio::time::sleep(delay).await,
                _ => return Err(failure),
            }
        }
    }
}

/// Why the user must sign in although a token could be had.
pub(crate) fn not_accepted(failure: &Failure) -> String {
    format!("the mail service doesn't accept a fresh sign-in: {}", failure.summary())
}
