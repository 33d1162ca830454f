//! The device code flow (RFC 8628): a code for the program, a short one for a person at any browser.

use std::time::Duration;
use tokio::time::Instant;

use rand::Rng as _;
use serde::Serialize;
use serde_json::json;

use super::grants::{ALREADY_REDEEMED, Age, Grant};
use super::refused::Refused;
use super::token::Desk;
use super::{Entra, State, consent, need, scopes};
use crate::cloud::Inner;
use crate::knobs::Knobs;
use crate::odata::Query;
use crate::pages::{self, Choice};
use crate::reply::Answer;
use crate::sign_in::SignInRequest;

/// The grant type under which a device code is redeemed.
pub(super) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What the interval grows by when a client polls too early.
const SLOWER: Duration = Duration::from_secs(5);
/// A poll that is this much too early is put up with, because clocks and networks aren't exact.
const GRACE: Duration = Duration::from_millis(250);
/// Letters and digits that are hard to mistake for others.
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// A device code that nobody has approved or declined yet.
#[derive(Clone, Debug, Serialize)]
pub struct PendingDevice {
    /// What the person enters.
    pub user_code: String,
    /// The application that asks.
    pub client_id: String,
    /// What it asks for.
    pub scopes: Vec<String>,
    /// How long the code can still be used.
    pub seconds_left: u64,
    /// How often the application has asked for the outcome.
    pub polls: u64,
    /// How far apart its questions must be by now, in seconds.
    pub interval_seconds: u64,
}

enum Outcome {
    Open,
    Approved { user: String, scopes: Vec<String>, at: Instant },
    Declined,
    Redeemed,
}

struct Device {
    /// What the program shows; `user_code` is what the person does.
    secret: String,
    user_code: String,
    client_id: String,
    tenant: String,
    scopes: Vec<String>,
    until: Instant,
    interval: Duration,
    polled: Option<Instant>,
    polls: u64,
    outcome: Outcome,
}

impl Device {
    fn is_open(&self) -> bool {
        matches!(self.outcome, Outcome::Open) && self.until > Instant::now()
    }
}

/// All device codes that were issued.
#[derive(Default)]
pub(super) struct Devices(Vec<Device>);

/// Why a person's code can't be approved.
#[derive(Debug)]
pub(crate) enum DeviceError {
    /// There is no open request with this code.
    Unknown,
    /// The service doesn't let it be approved; the sentence has the number in it.
    Refused(String),
}

impl Devices {
    /// Who approved a code.
    pub(super) fn user(&self, device_code: &str) -> Option<String> {
        self.0.iter().find(|device| device.secret == device_code).and_then(|device| match &device.outcome {
            Outcome::Approved { user, .. } => Some(user.clone()),
            _ => None,
        })
    }

    fn open(&mut self, user_code: &str) -> Option<&mut Device> {
        let code = plain(user_code);
        self.0.iter_mut().find(|device| device.user_code == code && device.is_open())
    }
}

/// A code as people may have typed it.
fn plain(user_code: &str) -> String {
    user_code.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect()
}

/// Answers a POST to the device code endpoint.
pub(super) fn issue(inner: &Inner, knobs: &Knobs, tenant: &str, request: &SignInRequest<'_>) -> Answer {
    let mut state = inner.entra.state();
    super::form(request)
        .and_then(|form| begin(&mut state, knobs, tenant, request, &form))
        .unwrap_or_else(|refused| refused.answer())
}

fn begin(
    state: &mut State,
    knobs: &Knobs,
    tenant: &str,
    request: &SignInRequest<'_>,
    form: &Query,
) -> Result<Answer, Refused> {
    let client_id = need(form, "client_id")?;
    state.registration(client_id, tenant)?.check_public()?;
    let asked = scopes::split(need(form, "scope")?);
    if !scopes::all_known(&asked) {
        let text = "The provided value for the input parameter 'scope' is not valid.";
        return Err(Refused::new("invalid_scope", 70_011, text));
    }
    let mut random = rand::rng();
    let letter = |_| char::from(ALPHABET.get(random.random_range(0..ALPHABET.len())).copied().unwrap_or(b'A'));
    let user_code: String = (0..9).map(letter).collect();
    let device_code = state.secrets.make("D");
    let address = format!("{}/devicelogin", request.base);
    let query = Query::parse(request.query);
    let message = message(&address, &user_code, query.get("mkt").or_else(|| form.get("mkt")));
    let answer = json!({
        "user_code": user_code,
        "device_code": device_code,
        "verification_uri": address,
        "expires_in": knobs.device_code_seconds,
        "interval": knobs.device_interval_seconds,
        "message": message,
    });
    state.devices.0.push(Device {
        secret: device_code,
        user_code,
        client_id: client_id.to_owned(),
        tenant: tenant.to_owned(),
        scopes: asked,
        until: Instant::now() + Duration::from_secs(knobs.device_code_seconds),
        interval: Duration::from_secs(knobs.device_interval_seconds),
        polled: None,
        polls: 0,
        outcome: Outcome::Open,
    });
    Ok(Answer::plain_json(200, &answer).with("Cache-Control", "no-store"))
}

fn message(address: &str, user_code: &str, market: Option<&str>) -> String {
    if market.is_some_and(|market| market.to_ascii_lowercase().starts_with("de")) {
        return format!(
            "Um sich anzumelden, öffnen Sie in einem Webbrowser die Seite {address} und geben Sie den Code {user_code} ein."
        );
    }
    format!("To sign in, use a web browser to open the page {address} and enter the code {user_code} to authenticate.")
}

/// What a program gets that asks whether its code was approved.
pub(super) fn poll(desk: &Desk<'_>, state: &mut State, client_id: &str, spa: bool) -> Result<Grant, Refused> {
    let code = need(desk.form, "device_code")?;
    let found = state.devices.0.iter_mut().find(|one| one.secret == code && one.client_id == client_id);
    let Some(device) = found else {
        return Err(Refused::new("bad_verification_code", 70_018, "Invalid verification code."));
    };
    if device.tenant != desk.tenant {
        let text = "Provided Authorization Code is intended to use against other tenant, thus rejected.";
        return Err(Refused::grant(700_005, text));
    }
    device.polls += 1;
    let early = device.polled.is_some_and(|last| last.elapsed() + GRACE < device.interval);
    device.polled = Some(Instant::now());
    if early {
        device.interval += SLOWER;
        desk.inner.tally.violation("token: a device code was polled sooner than its interval allows");
        // The service lists no number for this answer of RFC 8628, so it carries that of the state the code is in.
        return Err(Refused::new(
            "slow_down",
            70_016,
            "The code is asked for too often. Wait longer between requests.",
        ));
    }
    match &device.outcome {
        Outcome::Redeemed => Err(Refused::grant(54_005, ALREADY_REDEEMED)),
        Outcome::Declined => {
            Err(Refused::new("authorization_declined", 70_017, "The end user denied the authorization request."))
        }
        _ if device.until <= Instant::now() => {
            Err(Refused::new("expired_token", 70_019, "The verification code has expired. Have the user retry."))
        }
        Outcome::Open => Err(Refused::new(
            "authorization_pending",
            70_016,
            "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
        )),
        Outcome::Approved { user, scopes, at } => {
            let grant = Grant {
                client_id: device.client_id.clone(),
                user: user.clone(),
                scopes: scopes.clone(),
                claims: None,
                nonce: None,
                signed_in: Age::since(*at),
                issued: Age::new(),
                spa,
                revoked: false,
            };
            device.outcome = Outcome::Redeemed;
            Ok(grant)
        }
    }
}

/// The page on which a person enters the code; `?user_code=` fills it in.
pub(super) fn page(inner: &Inner, knobs: &Knobs, request: &SignInRequest<'_>) -> Answer {
    let form = request.form();
    let html = |status, text: &str| Answer::other(status, "text/html; charset=utf-8", text);
    let typed = form.get("user_code").unwrap_or_default();
    if request.method == "GET" {
        let query = Query::parse(request.query);
        return html(200, &pages::device(&inner.user_names(), query.get("user_code").unwrap_or_default()));
    }
    let done = match Choice::read(&form) {
        Choice::Cancel => inner.entra.decline_device(typed).map(|()| "You have declined the sign-in."),
        Choice::Account(account) => match inner.account(&account).filter(|_| !account.is_empty()) {
            Some(user) => inner
                .entra
                .approve_device(knobs, typed, &user)
                .map(|()| "You have signed in. You may now close this window."),
            None => return html(200, &pages::device(&inner.user_names(), typed)),
        },
    };
    match done {
        Ok(sentence) => html(200, &pages::outcome(sentence)),
        Err(DeviceError::Unknown) => html(400, &pages::error("That code didn't work. Check the code and try again.")),
        Err(DeviceError::Refused(sentence)) => html(400, &pages::error(&sentence)),
    }
}

impl Entra {
    /// Approves a device's request as a user does at the page.
    pub(crate) fn approve_device(&self, knobs: &Knobs, user_code: &str, user: &str) -> Result<(), DeviceError> {
        let mut state = self.state();
        let State { devices, consents, .. } = &mut *state;
        let device = devices.open(user_code).ok_or(DeviceError::Unknown)?;
        if knobs.device_code_blocked {
            // The program isn't told: its code stays pending until it expires.
            return Err(DeviceError::Refused(Refused::numbered("", 53_003).sentence()));
        }
        match consents.ask(&device.client_id, &device.scopes, false) {
            Ok(scopes) => {
                device.outcome = Outcome::Approved { user: user.to_owned(), scopes, at: Instant::now() };
                Ok(())
            }
            Err(consent::Refusal::Page(refused)) => Err(DeviceError::Refused(refused.sentence())),
            Err(consent::Refusal::Back(refused)) => {
                device.outcome = Outcome::Declined;
                Err(DeviceError::Refused(refused.sentence()))
            }
        }
    }

    /// Declines a device's request as a user does at the page.
    pub(crate) fn decline_device(&self, user_code: &str) -> Result<(), DeviceError> {
        self.state().devices.open(user_code).ok_or(DeviceError::Unknown)?.outcome = Outcome::Declined;
        Ok(())
    }

    /// The requests that wait for a person.
    pub(crate) fn pending_devices(&self) -> Vec<PendingDevice> {
        let now = Instant::now();
        let pending = |device: &Device| PendingDevice {
            user_code: device.user_code.clone(),
            client_id: device.client_id.clone(),
            scopes: device.scopes.clone(),
            seconds_left: device.until.saturating_duration_since(now).as_secs(),
            polls: device.polls,
            interval_seconds: device.interval.as_secs(),
        };
        self.state().devices.0.iter().filter(|device| device.is_open()).map(pending).collect()
    }
}
