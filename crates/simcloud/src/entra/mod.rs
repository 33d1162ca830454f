//! Signing in as with Entra ID (v2.0): codes with PKCE, device codes, refresh tokens, consent, claims challenges.

mod authorize;
mod claims;
mod consent;
mod device;
mod grants;
mod issued;
mod refusals;
mod refused;
mod registration;
mod scopes;
mod token;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

pub use claims::ClaimsChallenge;
pub use consent::Consent;
pub use device::PendingDevice;
pub use refusals::{TokenRefusal, TokenRefusalState};
pub use registration::{DEFAULT_CLIENT_ID, RedirectType, Registration};
pub use scopes::Audience;

pub(crate) use device::DeviceError;
pub(crate) use issued::{BadToken, Holder};

use crate::cloud::Inner;
use crate::knobs::Knobs;
use crate::odata::Query;
use crate::reply::Answer;
use crate::secrets::Secrets;
use crate::sign_in::SignInRequest;
use refused::Refused;

/// How the sign-in page behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum SignInMode {
    /// The user is signed in at once.
    #[default]
    Immediate,
    /// A page is shown on which a person picks an account or gives up.
    Form,
    /// The browser is sent back with this error.
    Redirect {
        /// Such as `access_denied`.
        error: String,
        /// The number of the AADSTS message.
        number: u32,
    },
    /// The browser shows an error and isn't sent back.
    Page {
        /// The number of the AADSTS message.
        number: u32,
    },
}

#[derive(Default)]
struct State {
    registrations: Vec<Registration>,
    mode: SignInMode,
    codes: HashMap<String, grants::Code>,
    refresh: HashMap<String, grants::Grant>,
    access: HashMap<String, grants::Access>,
    /// How many access tokens were issued.
    serial: u64,
    devices: device::Devices,
    consents: consent::Consents,
    challenges: claims::Challenges,
    refusals: refusals::Refusals,
    secrets: Secrets,
}

impl State {
    /// The application with a client id, as far as it may be used in a tenant.
    fn registration(&self, client_id: &str, tenant: &str) -> Result<&Registration, Refused> {
        let found = self.registrations.iter().find(|one| one.client_id == client_id);
        let registration = found.ok_or_else(|| registration::unknown_application(client_id))?;
        registration.check_tenant(tenant)?;
        Ok(registration)
    }
}

/// All that was issued.
pub(crate) struct Entra(Mutex<State>);

impl Entra {
    pub(crate) fn new(registrations: Vec<Registration>) -> Self {
        Self(Mutex::new(State { registrations, ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kind under which a request is counted; nothing if it isn't for this service.
pub(crate) fn kind(path: &str) -> Option<&'static str> {
    match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        [_, "oauth2", "v2.0", "authorize"] => Some("authorize"),
        [_, "oauth2", "v2.0", "token"] => Some("token"),
        [_, "oauth2", "v2.0", "devicecode"] => Some("devicecode"),
        ["devicelogin"] => Some("devicelogin"),
        _ => None,
    }
}

/// Answers a request to the sign-in service.
pub(crate) fn answer(inner: &Inner, knobs: &Knobs, request: &SignInRequest<'_>) -> Answer {
    let tenant = request.path.trim_matches('/').split('/').next().unwrap_or_default();
    match (kind(request.path), request.method) {
        (Some("authorize"), "GET" | "POST") => authorize::answer(inner, tenant, request),
        (Some("token"), "POST") => token::answer(inner, knobs, tenant, request),
        (Some("devicecode"), "POST") => device::issue(inner, knobs, tenant, request),
        (Some("token" | "devicecode"), method) => {
            let text = format!("The endpoint only accepts POST requests. Received a {method} request.");
            Refused::new("invalid_request", 900_561, &text).answer()
        }
        (Some("devicelogin"), "GET" | "POST") => device::page(inner, knobs, request),
        _ => Answer::error(404, "ResourceNotFound", "There is nothing here."),
    }
}

/// The form of a request to an endpoint that takes nothing else.
fn form(request: &SignInRequest<'_>) -> Result<Query, Refused> {
    if request.content_type.starts_with("application/x-www-form-urlencoded") {
        return Ok(request.form());
    }
    Err(Refused::new(
        "invalid_request",
        900_144,
        "The request body must be form-urlencoded and contain the following parameter: 'grant_type'.",
    ))
}

/// A parameter that must be there.
fn need<'a>(form: &'a Query, name: &str) -> Result<&'a str, Refused> {
    form.get(name).filter(|value| !value.is_empty()).ok_or_else(|| Refused::missing(name))
}
