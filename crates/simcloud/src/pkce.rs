//! Proof Key for Code Exchange (RFC 7636).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::odata::Query;

/// What a verifier is to be compared with.
#[derive(Clone, Debug)]
pub(crate) struct CodeChallenge {
    text: String,
    /// Whether it is the hash of the verifier.
    hashed: bool,
}

/// What is wrong with a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadChallenge {
    Method,
    Size,
}

/// What is wrong with a verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadVerifier {
    Missing,
    Size,
    Other,
}

fn has_good_size(text: &str) -> bool {
    (43..=128).contains(&text.len())
}

impl CodeChallenge {
    /// Reads the challenge of an authorization request.
    pub(crate) fn read(query: &Query) -> Result<Option<Self>, BadChallenge> {
        let Some(text) = query.get("code_challenge") else { return Ok(None) };
        let hashed = match query.get("code_challenge_method").unwrap_or_default() {
            "S256" => true,
            "" | "plain" => false,
            _ => return Err(BadChallenge::Method),
        };
        if !has_good_size(text) {
            return Err(BadChallenge::Size);
        }
        Ok(Some(Self { text: text.to_owned(), hashed }))
    }

    /// Compares the verifier of a token request with the challenge.
    pub(crate) fn check(&self, verifier: Option<&str>) -> Result<(), BadVerifier> {
        let verifier = verifier.filter(|verifier| !verifier.is_empty()).ok_or(BadVerifier::Missing)?;
        if !has_good_size(verifier) {
            return Err(BadVerifier::Size);
        }
        let found = if self.hashed { URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) } else { verifier.to_owned() };
        if found == self.text { Ok(()) } else { Err(BadVerifier::Other) }
    }
}
