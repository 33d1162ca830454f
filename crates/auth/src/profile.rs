//! Whose an access token is.

use std::time::Duration;

use serde_json::Value;

use crate::registration::Profile;
use crate::transport::{TransportError, read_body, retry_after};
use crate::{AccessToken, AuthError};

/// How often the service is asked when it can't be reached.
const TRIES: u32 = 4;
/// No wait is longer: somebody looks at a page that doesn't come.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The names of the account that a token is for, the best one first. Empty where the service doesn't tell.
pub(crate) async fn names(
    http: &reqwest::Client,
    profile: &Profile,
    token: &AccessToken,
) -> Result<Vec<String>, AuthError> {
    let mut tries = 1;
    loop {
        match ask(http, profile, token).await {
            Ok(names) => return Ok(names),
            Err(Silence::Refused(reason)) => return Err(AuthError::Refused { reason }),
            Err(Silence::Later { wait, .. }) if tries < TRIES => tokio::time::sleep(wait.min(LONGEST_WAIT)).await,
            Err(Silence::Later { why, .. }) => {
                return Err(AuthError::Unreachable(format!("who has signed in can't be asked: {why}")));
            }
        }
        tries += 1;
    }
}

/// Why there was no answer.
enum Silence {
    /// There may be one after a while.
    Later { why: TransportError, wait: Duration },
    /// The token is of no use there.
    Refused(String),
}

impl From<TransportError> for Silence {
    fn from(why: TransportError) -> Self {
        Self::Later { why, wait: Duration::from_secs(1) }
    }
}

async fn ask(http: &reqwest::Client, profile: &Profile, token: &AccessToken) -> Result<Vec<String>, Silence> {
    let request = http.get(profile.url.clone()).bearer_auth(token.reveal());
    let mut answer = request.send().await.map_err(TransportError::from)?;
    let status = answer.status();
    if status.is_redirection() {
        return Err(TransportError::Elsewhere(status.as_u16()).into());
    }
    if status.is_server_error() || status.as_u16() == 429 {
        let asked = retry_after(answer.headers());
        return Err(Silence::Later {
            why: TransportError::Status(status.as_u16()),
            // A little more than is asked for: the answer was under way for a while, too.
            wait: asked.unwrap_or_default() + Duration::from_secs(1),
        });
    }
    // A challenge is for whoever reads the mail to answer; other than that, no token is better than the one just made.
    if status.as_u16() == 401 && !is_challenge(answer.headers()) {
        return Err(Silence::Refused(
            "the mail service doesn't accept what was signed in (status 401): check `scopes`".to_owned(),
        ));
    }
    if !status.is_success() {
        // A registration that may not ask for it can't be told who it is; what mail it may read shows soon enough.
        tracing::warn!("the service doesn't tell who has signed in (status {})", status.as_u16());
        return Ok(Vec::new());
    }
    let body = read_body(&mut answer).await?;
    let json: Value = serde_json::from_slice(&body).map_err(|_| TransportError::Senseless)?;
    let names = profile.members.iter().filter_map(|member| json[*member].as_str());
    Ok(names.filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// Whether a refusal asks for another token (claims challenge) rather than for none of this kind.
fn is_challenge(headers: &reqwest::header::HeaderMap) -> bool {
    let challenges = headers.get_all(reqwest::header::WWW_AUTHENTICATE).iter();
    challenges.filter_map(|value| value.to_str().ok()).any(|value| value.contains("insufficient_claims"))
}

/// Whether one of an account's names is the one that is wanted.
pub(crate) fn is_one_of(wanted: &str, names: &[String]) -> bool {
    let wanted = wanted.trim().to_lowercase();
    names.iter().any(|name| name.trim().to_lowercase() == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case() {
        let names = ["Anna@Contoso.com".to_owned(), "a.b@contoso.com".to_owned()];
        assert!(is_one_of("anna@contoso.com ", &names));
        assert!(is_one_of("A.B@contoso.com", &names));
        assert!(!is_one_of("anna@contoso.co", &names));
        assert!(!is_one_of("anna@contoso.com", &[]));
    }
}
