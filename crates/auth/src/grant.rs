//! What the token endpoint granted, or why it didn't.

use std::time::{Duration, SystemTime};

use oauth2::{ErrorResponse, ErrorResponseType, RequestTokenError, StandardErrorResponse, TokenResponse};

use crate::AccessToken;
use crate::error::{aadsts_number, explain};
use crate::exchange::{Answer, DeviceAnswer};
use crate::secret::RefreshToken;
use crate::transport::{Besides, TransportError, passes};

/// What a token is taken to be good for when the service doesn't say (`expires_in` is only recommended).
const LIFE_IF_UNTOLD: Duration = Duration::from_secs(300);

/// Nothing is believed to last longer, whatever the service says.
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Microsoft's number for a client that asks again and again. It comes as `invalid_grant`, and is over after a while.
const CLIENT_LOOPS: u32 = 50_196;

/// What the token endpoint granted.
pub(crate) struct Grant {
    pub(crate) access: AccessToken,
    pub(crate) renew_at: SystemTime,
    /// Absent when the one at hand stays good.
    pub(crate) refresh: Option<RefreshToken>,
    /// Absent when all that was asked for was granted.
    pub(crate) scopes: Option<Vec<String>>,
}

/// Why nothing was granted.
#[derive(Debug)]
pub(crate) enum Denial {
    /// What was redeemed is no longer good: only the user can help.
    Ended {
        /// In words.
        reason: String,
        /// What the next sign-in must bring.
        claims: Option<String>,
    },
    /// The service refuses, and will again.
    Refused(String),
    /// The service refuses the request as such, which may be for a header that the registration decides about.
    Invalid(String),
    /// The service can't be reached or made no sense; what was redeemed may still be good.
    Unreachable(String),
    /// The service is asked too often, and wants a long rest; what was redeemed may still be good.
    TooOften(String),
}

pub(crate) fn judge(answer: Answer, besides: Besides) -> Result<Grant, Denial> {
    answer.map(|answer| granted(&answer)).map_err(|error| deny(error, besides))
}

/// The same for the answer to a device code, whose errors have further names (RFC 8628, section 3.5).
pub(crate) fn judge_device(answer: DeviceAnswer, besides: Besides) -> Result<Grant, Denial> {
    answer.map(|answer| granted(&answer)).map_err(|error| deny(error, besides))
}

/// Sorts an error by what it means for what was redeemed.
pub(crate) fn deny<T>(error: RequestTokenError<TransportError, StandardErrorResponse<T>>, besides: Besides) -> Denial
where
    T: ErrorResponseType + 'static,
    StandardErrorResponse<T>: ErrorResponse,
{
    match error {
        RequestTokenError::ServerResponse(said) => {
            let description = said.error_description().map_or("", String::as_str);
            denied(&error_name(said.error()), description, besides)
        }
        RequestTokenError::Request(error) => Denial::Unreachable(error.to_string()),
        // The bytes that couldn't be read may hold tokens: neither they nor the reader's words about them are told.
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            Denial::Unreachable(TransportError::Senseless.to_string())
        }
    }
}

/// The error as it travels: every kind of the `oauth2` crate is serialised as its name.
fn error_name<T: ErrorResponseType>(error: &T) -> String {
    serde_json::to_value(error).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

fn denied(error: &str, description: &str, besides: Besides) -> Denial {
    let reason = explain(error, description, besides.consent_page.as_deref());
    match error {
        _ if aadsts_number(description) == Some(CLIENT_LOOPS) => Denial::TooOften(reason),
        "invalid_grant" | "interaction_required" | "login_required" | "consent_required" => {
            Denial::Ended { reason, claims: besides.claims }
        }
        // Outside of a sign-in by code, where it is obeyed, nothing says what should be slower.
        "slow_down" => Denial::Unreachable(reason),
        _ if passes(error) => Denial::Unreachable(reason),
        "invalid_request" => Denial::Invalid(reason),
        _ => Denial::Refused(reason),
    }
}

fn granted(answer: &oauth2::basic::BasicTokenResponse) -> Grant {
    let life = answer.expires_in().unwrap_or(LIFE_IF_UNTOLD);
    // A minute early, so that no token expires on its way; half of a life shorter than that.
    let life = life.min(LONGEST_LIFE);
    let lead = Duration::from_secs(60).min(life / 2);
    Grant {
        access: AccessToken::new(answer.access_token().secret().as_str()),
        renew_at: SystemTime::now() + life.saturating_sub(lead),
        refresh: answer.refresh_token().map(|token| RefreshToken::new(token.secret().as_str())),
        scopes: answer.scopes().map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect()),
    }
}
