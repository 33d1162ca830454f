//! The token endpoint: who may redeem what, and what comes of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::grants::{Grant, check_refresh, redeem_code};
use super::refusals::Asked;
use super::refused::Refused;
use super::{Audience, RedirectType, Registration, State, claims, device, need, scopes};
use crate::cloud::Inner;
use crate::knobs::Knobs;
use crate::odata::Query;
use crate::reply::Answer;
use crate::sign_in::SignInRequest;

/// Answers a POST to the token endpoint.
pub(super) fn answer(inner: &Inner, knobs: &Knobs, tenant: &str, request: &SignInRequest<'_>) -> Answer {
    let mut state = inner.entra.state();
    super::form(request)
        .and_then(|form| {
            state.secrets.receive(form.get("code_verifier").unwrap_or_default());
            Desk { inner, knobs, tenant, form: &form }.redeem(&mut state, request.origin)
        })
        .unwrap_or_else(|refused| refused.answer())
}

/// What redeeming works with.
pub(super) struct Desk<'a> {
    pub(super) inner: &'a Inner,
    pub(super) knobs: &'a Knobs,
    pub(super) tenant: &'a str,
    pub(super) form: &'a Query,
}

/// What a redeemed grant is to become.
struct Issue<'a> {
    grant: &'a Grant,
    asked: &'a [String],
    /// The claims of this request.
    claims: Option<&'a Value>,
    refreshing: bool,
}

impl Desk<'_> {
    fn redeem(&self, state: &mut State, origin: Option<&str>) -> Result<Answer, Refused> {
        let client_id = need(self.form, "client_id")?;
        let registration = state.registration(client_id, self.tenant)?;
        let spa = check_client(registration, self.form, origin)?;
        let grant_type = need(self.form, "grant_type")?;
        let asked = scopes::split(self.form.get("scope").unwrap_or_default());
        if !scopes::all_known(&asked) {
            let text = "The provided value for the input parameter 'scope' is not valid.";
            return Err(Refused::new("invalid_scope", 70_011, text));
        }
        let claims = claims::read(self.form.get("claims"))?;
        let user = self.whose(state);
        state.refusals.strike(&Asked { client_id, grant_type, user: &user })?;
        let grant = match grant_type {
            "authorization_code" => {
                check_one_resource(&asked, 28_000)?;
                redeem_code(state, self.knobs, self.tenant, spa, self.form)?
            }
            "refresh_token" => {
                let grant = check_refresh(state, self.knobs, client_id, need(self.form, "refresh_token")?)?;
                state.challenges.check_refresh(&grant.user, claims.as_ref())?;
                grant
            }
            device::GRANT_TYPE => {
                check_one_resource(&asked, 700_022)?;
                device::poll(self, state, client_id, spa)?
            }
            other => {
                let text = format!("The app requested an unsupported grant type '{other}'.");
                return Err(Refused::new("unsupported_grant_type", 70_003, &text));
            }
        };
        state.consents.check(&grant)?;
        let refreshing = grant_type == "refresh_token";
        issue(state, self.knobs, &Issue { grant: &grant, asked: &asked, claims: claims.as_ref(), refreshing })
    }

    /// Whose code or token is shown; empty if that isn't known.
    fn whose(&self, state: &State) -> String {
        let get = |name: &str| self.form.get(name).unwrap_or_default();
        let code = state.codes.get(get("code")).map(|code| code.user.clone());
        code.or_else(|| state.refresh.get(get("refresh_token")).map(|grant| grant.user.clone()))
            .or_else(|| state.devices.user(get("device_code")))
            .unwrap_or_default()
    }
}

/// Refuses an application that shows too much or too little; says whether it is a single-page one.
fn check_client(registration: &Registration, form: &Query, origin: Option<&str>) -> Result<bool, Refused> {
    registration.check_public()?;
    if form.get("client_secret").is_some() || form.get("client_assertion").is_some() {
        return Err(Refused::new(
            "invalid_client",
            700_025,
            "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
        ));
    }
    let spa = registration.redirect_type == RedirectType::Spa;
    match (spa, origin) {
        (true, None) => Err(Refused::new(
            "invalid_request",
            9_002_327,
            "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests.",
        )),
        (false, Some(_)) => Err(Refused::new(
            "invalid_request",
            9_002_326,
            "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type.",
        )),
        _ => Ok(spa),
    }
}

fn check_one_resource(asked: &[String], number: u32) -> Result<(), Refused> {
    if !scopes::several_resources(asked) {
        return Ok(());
    }
    Err(Refused::new(
        "invalid_request",
        number,
        "Provided value for the input parameter scope is not valid because it contains more than one resource.",
    ))
}

/// Issues what a grant is good for, within what was asked for.
fn issue(state: &mut State, knobs: &Knobs, issue: &Issue<'_>) -> Result<Answer, Refused> {
    let Issue { grant, asked, claims, refreshing } = issue;
    let (audience, wanted) = scopes::of_first_resource(asked)
        .or_else(|| scopes::of_first_resource(&grant.scopes))
        .unwrap_or((Audience::Graph, Vec::new()));
    if let Some(strange) = wanted.iter().find(|scope| !grant.scopes.iter().any(|had| scopes::same(had, scope))) {
        let text = format!("The user or administrator has not consented to use the application with '{strange}'.");
        return Err(Refused::grant(65_001, &text));
    }
    let claims: Vec<&Value> = claims.iter().copied().chain(grant.claims.as_ref()).collect();
    let understands = claims.iter().any(|claims| claims::declares_capability(claims));
    let life = Duration::from_secs(knobs.access_token_seconds);
    let access = state.grant_access(grant, audience, life, &wanted, understands);
    let serial = state.serial;
    state.challenges.obtained(&grant.user, &claims, serial);
    let mut answer = json!({
        "token_type": "Bearer",
        "scope": scopes::told(&wanted),
        "expires_in": knobs.access_token_seconds,
        "ext_expires_in": knobs.access_token_seconds,
        "access_token": access,
    });
    let has = |name: &str| grant.scopes.iter().any(|scope| scope == name);
    if let Some(members) = answer.as_object_mut() {
        if has("offline_access") || *refreshing {
            // What the sign-in was asked for holds for its first token; a refresh says for itself what it wants.
            let refresh = state.grant_refresh(Grant { claims: None, ..(*grant).clone() });
            members.insert("refresh_token".to_owned(), Value::String(refresh));
        }
        if has("openid") {
            members.insert("id_token".to_owned(), Value::String(id_token(knobs, grant)));
        }
    }
    Ok(Answer::plain_json(200, &answer).with("Cache-Control", "no-store"))
}

fn id_token(knobs: &Knobs, grant: &Grant) -> String {
    let now = crate::clock::now().saturating_add(knobs.clock_offset_seconds);
    let mut claims = json!({
        "aud": grant.client_id,
        "iat": now,
        "exp": now.saturating_add(3600),
        "preferred_username": grant.user,
        "name": grant.user,
        "ver": "2.0",
    });
    if let (Some(members), Some(nonce)) = (claims.as_object_mut(), &grant.nonce) {
        members.insert("nonce".to_owned(), Value::String(nonce.clone()));
    }
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.", encode("{\"alg\":\"none\"}"), encode(&claims.to_string()))
}
