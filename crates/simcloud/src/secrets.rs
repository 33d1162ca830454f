//! Every secret that was issued or received, so that a test can look for them where they must not be.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Secrets in the order in which they came up.
#[derive(Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// A secret that nobody can guess.
    pub(crate) fn make(&mut self, prefix: &str) -> String {
        let secret = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        self.0.push(secret.clone());
        secret
    }

    /// Remembers a secret that a client made.
    pub(crate) fn receive(&mut self, secret: &str) {
        if !secret.is_empty() && !self.0.iter().any(|one| one == secret) {
            self.0.push(secret.to_owned());
        }
    }

    /// All of them so far.
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.clone()
    }
}
