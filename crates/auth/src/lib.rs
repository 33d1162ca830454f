//! Signing in with OAuth 2.0 as a desktop program (RFC 8252): authorization code with PKCE (RFC 7636) or a code that is
//! typed on another device (RFC 8628).
//!
//! [`TokenSource`] holds one account's tokens, renews them, and asks for the user where nothing else helps; whoever needs
//! a token sees only the trait [`AccessTokens`]. What tells one cloud from another is in [`Registration`]. Refresh tokens
//! are kept in a [`Vault`]. Nothing here listens, prints or opens a window: how a sign-in stands is a [`SignInState`] to
//! be watched, and what a browser brought back is handed in with [`TokenSource::came_back`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod attempts;
mod beside;
mod browser;
mod error;
mod exchange;
mod grant;
mod held;
mod profile;
mod registration;
mod secret;
mod sign_in;
mod source;
mod state;
mod transport;
mod vault;

use async_trait::async_trait;

pub use browser::Browser;
pub use error::AuthError;
pub use registration::{Endpoints, NationalCloud, Profile, Registration};
pub use secret::{AccessToken, RefreshToken};
pub use sign_in::SignedOut;
pub use source::{Patience, TokenSource, TokenSourceOptions};
pub use state::{Landing, SignInReport, SignInState};
pub use vault::{
    Fingerprint, FormatError, KeptSignIn, KeyCommandFailure, KeyDescription, KeySource, KeyringState, Vault, VaultError,
};

#[doc(hidden)]
pub mod fuzzing;

/// Where a client of a service gets its access tokens, whatever way they come about.
#[async_trait]
pub trait AccessTokens: Send + Sync {
    /// Who is signed in, in words for messages: a user name, or what stands for it.
    fn account(&self) -> &str;

    /// A token that is good for some time yet.
    async fn access_token(&self) -> Result<AccessToken, AuthError>;

    /// A token other than `rejected`, which the service just refused with 401.
    ///
    /// However many callers bring the same rejected token, it is renewed once. `claims` is what the service asked for
    /// with its refusal (claims challenge), as JSON.
    async fn renew(&self, rejected: &AccessToken, claims: Option<&str>) -> Result<AccessToken, AuthError>;

    /// A token of a new sign-in, since the service refused even a fresh one. Ends what is signed in.
    async fn sign_in_anew(&self, rejected: &AccessToken, reason: &str) -> Result<AccessToken, AuthError>;
}

/// Whether secrets may travel to this address: over TLS, or without it to this machine only.
pub fn may_carry_secrets(url: &url::Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Whether the address is on this machine.
pub fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_travel_over_tls_or_stay_on_the_machine() {
        let may = |text: &str| may_carry_secrets(&text.parse().unwrap());
        assert!(may("https://graph.microsoft.com"));
        assert!(may("http://127.0.0.1:8080"));
        assert!(may("http://localhost"));
        assert!(may("http://[::1]:1"));
        assert!(!may("http://graph.microsoft.com"));
        assert!(!may("http://localhost.example.com"));
        assert!(!may("ftp://localhost"));
    }
}
