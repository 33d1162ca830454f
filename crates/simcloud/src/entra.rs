//! Signing in as with Entra ID (v2.0): authorization code with PKCE, refresh tokens, loopback redirects.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::clock;
use crate::cloud::Inner;
use crate::knobs::Knobs;
use crate::odata::Query;
use crate::reply::Answer;

/// The client id of the public registration that many clients share.
pub const DEFAULT_CLIENT_ID: &str = "122f4826-adf9-465d-8e84-e9d00bc9f234";

/// What kind of redirect an application is registered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectType {
    /// Mobile and desktop; an `Origin` header is refused.
    #[default]
    Native,
    /// Single-page application; an `Origin` header is demanded, and refresh tokens die after a day.
    Spa,
}

/// An application that may ask for tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Its client id.
    pub client_id: String,
    /// Where it may be redirected to; the port of a loopback address doesn't matter.
    pub redirects: Vec<String>,
    /// What kind the redirects are.
    #[serde(default)]
    pub redirect_type: RedirectType,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            client_id: DEFAULT_CLIENT_ID.to_owned(),
            redirects: ["http://127.0.0.1:8080/oauth2/msal", "http://localhost:8080/oauth2/msal"]
                .map(str::to_owned)
                .into(),
            redirect_type: RedirectType::Native,
        }
    }
}

/// What an access token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Microsoft Graph.
    Graph,
    /// `outlook.office.com`.
    Outlook,
}

/// How the sign-in page behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum SignInMode {
    /// The user is signed in at once.
    #[default]
    Immediate,
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

struct Code {
    client_id: String,
    redirect: String,
    challenge: Option<(String, bool)>,
    user: String,
    tenant: String,
    scopes: Vec<String>,
    made: Instant,
    used: bool,
}

#[derive(Clone)]
struct Grant {
    client_id: String,
    user: String,
    scopes: Vec<String>,
    /// When the user signed in.
    signed_in: Instant,
    spa: bool,
    revoked: bool,
}

struct Access {
    client_id: String,
    user: String,
    audience: Audience,
    until: Instant,
}

#[derive(Default)]
struct State {
    registrations: Vec<Registration>,
    mode: SignInMode,
    codes: HashMap<String, Code>,
    refresh: HashMap<String, Grant>,
    access: HashMap<String, Access>,
}

/// All that was issued.
pub(crate) struct Entra(Mutex<State>);

/// Why an access token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadToken {
    Missing,
    Unknown,
    Expired,
    Audience,
}

impl BadToken {
    /// 401 with the words of the service.
    pub(crate) fn answer(self) -> Answer {
        let message = match self {
            Self::Missing => "Access token is empty.",
            Self::Unknown => "IDX14100: JWT is not well formed, there are no dots (.).",
            Self::Expired => "Lifetime validation failed, the token is expired.",
            Self::Audience => "Access token validation failure. Invalid audience.",
        };
        Answer::error(401, "InvalidAuthenticationToken", message).with(
            "WWW-Authenticate",
            "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\"",
        )
    }
}

/// One request to the sign-in service.
pub(crate) struct SignInRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) origin: Option<&'a str>,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
}

/// The kind under which a request is counted.
pub(crate) fn kind(path: &str) -> &'static str {
    match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        [_, "oauth2", "v2.0", "authorize"] => "authorize",
        [_, "oauth2", "v2.0", "token"] => "token",
        _ => "other",
    }
}

/// Answers a request to the sign-in service.
pub(crate) fn answer(inner: &Inner, knobs: &Knobs, request: &SignInRequest<'_>) -> Answer {
    let tenant = request.path.trim_matches('/').split('/').next().unwrap_or_default();
    match (kind(request.path), request.method) {
        ("authorize", "GET") => authorize(inner, tenant, &Query::parse(request.query)),
        ("token", "POST") => token(inner, knobs, tenant, request),
        ("token", _) => {
            Refused::new("invalid_request", 900_561, "The endpoint only accepts POST requests. Received a GET request.")
                .answer()
        }
        _ => Answer::error(404, "ResourceNotFound", "There is nothing here."),
    }
}

/// An error of the token endpoint.
struct Refused {
    error: &'static str,
    number: u32,
    text: String,
}

impl Refused {
    fn new(error: &'static str, number: u32, text: &str) -> Self {
        Self { error, number, text: text.to_owned() }
    }

    fn answer(&self) -> Answer {
        let (trace, correlation) = (crate::ids::guid_text(rand::random()), crate::ids::guid_text(rand::random()));
        let timestamp = clock::format(clock::now()).replace('T', " ");
        let status = if self.error == "invalid_client" { 401 } else { 400 };
        let description = format!(
            "AADSTS{}: {}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {timestamp}",
            self.number, self.text
        );
        Answer::value(
            status,
            &json!({
                "error": self.error,
                "error_description": description,
                "error_codes": [self.number],
                "timestamp": timestamp,
                "trace_id": trace,
                "correlation_id": correlation,
                "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.number),
            }),
        )
    }

    /// The page that a browser shows when it can't be sent back.
    fn page(&self) -> Answer {
        Answer::other(
            400,
            "text/html",
            &format!("<!DOCTYPE html><html><body><p>AADSTS{}: {}</p></body></html>", self.number, self.text),
        )
    }
}

/// A secret that nobody can guess.
fn secret(prefix: &str) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

impl Entra {
    pub(crate) fn new(registrations: Vec<Registration>) -> Self {
        Self(Mutex::new(State { registrations, ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose token this is, and which application's.
    pub(crate) fn check(&self, token: &str) -> Result<(String, String), BadToken> {
        let state = self.state();
        let access = state.access.get(token).ok_or(BadToken::Unknown)?;
        match (access.audience, access.until > Instant::now()) {
            (Audience::Outlook, _) => Err(BadToken::Audience),
            (Audience::Graph, false) => Err(BadToken::Expired),
            (Audience::Graph, true) => Ok((access.client_id.clone(), access.user.clone())),
        }
    }

    /// Makes an access token and a refresh token without asking anybody.
    pub(crate) fn issue(&self, user: &str, client_id: &str, audience: Audience, life: Duration) -> (String, String) {
        let scope = match audience {
            Audience::Graph => "https://graph.microsoft.com/Mail.ReadWrite",
            Audience::Outlook => "https://outlook.office.com/mail.read",
        };
        let mut state = self.state();
        let spa =
            state.registrations.iter().any(|one| one.client_id == client_id && one.redirect_type == RedirectType::Spa);
        let grant = Grant {
            client_id: client_id.to_owned(),
            user: user.to_owned(),
            scopes: vec![scope.to_owned(), "offline_access".to_owned()],
            signed_in: Instant::now(),
            spa,
            revoked: false,
        };
        let refresh = secret("1.AX");
        state.refresh.insert(refresh.clone(), grant);
        (state.grant_access(client_id, user, audience, life), refresh)
    }

    /// Revokes what a user granted, or all grants if no user is named; access tokens too if they are to end at once.
    pub(crate) fn revoke(&self, user: Option<&str>, access_too: bool) {
        let mut state = self.state();
        for grant in
            state.refresh.values_mut().filter(|grant| user.is_none_or(|user| grant.user.eq_ignore_ascii_case(user)))
        {
            grant.revoked = true;
        }
        if access_too {
            state.access.retain(|_, access| user.is_some_and(|user| !access.user.eq_ignore_ascii_case(user)));
        }
    }

    /// Lets every access token that was issued so far be expired.
    pub(crate) fn expire_access(&self) {
        let now = Instant::now();
        for access in self.state().access.values_mut() {
            access.until = now;
        }
    }

    /// Adds an application, or replaces the one with its client id.
    pub(crate) fn register(&self, registration: Registration) {
        let mut state = self.state();
        state.registrations.retain(|one| one.client_id != registration.client_id);
        state.registrations.push(registration);
    }

    /// Sets how the sign-in page behaves.
    pub(crate) fn set_mode(&self, mode: SignInMode) {
        self.state().mode = mode;
    }
}

impl State {
    fn grant_access(&mut self, client_id: &str, user: &str, audience: Audience, life: Duration) -> String {
        let token = secret("eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.");
        let until = Instant::now() + life;
        let (client_id, user) = (client_id.to_owned(), user.to_owned());
        self.access.insert(token.clone(), Access { client_id, user, audience, until });
        token
    }
}

/// Whether an application may be redirected there: the port of a loopback address is not compared.
fn redirect_fits(registered: &str, asked: &str) -> bool {
    let (Ok(one), Ok(other)) = (Url::parse(registered), Url::parse(asked)) else { return false };
    let loopback = matches!(one.host_str(), Some("localhost" | "127.0.0.1"));
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && (loopback || one.port_or_known_default() == other.port_or_known_default())
        && one.path() == other.path()
        && one.query() == other.query()
        && other.fragment().is_none()
        && (loopback || other.scheme() == "https")
}

/// Scopes that belong to no resource.
fn is_general(scope: &str) -> bool {
    matches!(scope, "openid" | "profile" | "email" | "offline_access")
}

/// Which resource a scope belongs to; nothing if to none that exists.
fn audience_of(scope: &str) -> Option<Audience> {
    if !scope.contains("://") {
        return Some(Audience::Graph);
    }
    let url = Url::parse(scope).ok()?;
    match url.host_str()? {
        "graph.microsoft.com"
        | "graph.microsoft.us"
        | "dod-graph.microsoft.us"
        | "microsoftgraph.chinacloudapi.cn"
        | "127.0.0.1"
        | "localhost" => Some(Audience::Graph),
        "outlook.office.com" | "outlook.office365.com" => Some(Audience::Outlook),
        _ => None,
    }
}

fn split_scopes(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn authorize(inner: &Inner, tenant: &str, query: &Query) -> Answer {
    let mut state = inner.entra.state();
    let get = |name: &str| query.get(name).unwrap_or_default();
    let Some(registration) = state.registrations.iter().find(|one| one.client_id == get("client_id")) else {
        let text = format!("Application with identifier '{}' was not found in the directory.", get("client_id"));
        return Refused::new("unauthorized_client", 700_016, &text).page();
    };
    let redirect = get("redirect_uri");
    if !registration.redirects.iter().any(|one| redirect_fits(one, redirect)) {
        let text = format!(
            "The redirect URI '{redirect}' specified in the request does not match the redirect URIs configured for the application."
        );
        return Refused::new("invalid_request", 50_011, &text).page();
    }
    let back = |members: &[(&str, &str)]| send_back(redirect, query, members);
    if get("response_type") != "code" {
        return back(&[
            ("error", "unsupported_response_type"),
            ("error_description", "AADSTS700051: response_type is not supported."),
        ]);
    }
    let scopes = split_scopes(get("scope"));
    if scopes.is_empty() || scopes.iter().any(|scope| !is_general(scope) && audience_of(scope).is_none()) {
        return back(&[
            ("error", "invalid_scope"),
            ("error_description", "AADSTS70011: The provided value for the input parameter 'scope' is not valid."),
        ]);
    }
    let challenge = match (query.get("code_challenge"), get("code_challenge_method")) {
        (None, _) => None,
        (Some(challenge), "S256") => Some((challenge.to_owned(), true)),
        (Some(challenge), "" | "plain") => Some((challenge.to_owned(), false)),
        (Some(_), _) => {
            return back(&[
                ("error", "invalid_request"),
                ("error_description", "AADSTS501491: Invalid code_challenge_method."),
            ]);
        }
    };
    match &state.mode {
        SignInMode::Immediate => {}
        SignInMode::Redirect { error, number } => {
            let description = format!("AADSTS{number}: the sign-in ended.");
            return back(&[("error", error), ("error_description", &description)]);
        }
        SignInMode::Page { number } => return Refused::new("", *number, "The sign-in can't go on.").page(),
    }
    let hint = get("login_hint");
    let Some(user) = inner.user_name(hint) else {
        let text = format!("The user account {hint} does not exist in the directory.");
        return Refused::new("", 50_034, &text).page();
    };
    let code = secret("0.A");
    state.codes.insert(
        code.clone(),
        Code {
            client_id: get("client_id").to_owned(),
            redirect: redirect.to_owned(),
            challenge,
            user,
            tenant: tenant.to_owned(),
            scopes,
            made: Instant::now(),
            used: false,
        },
    );
    back(&[("code", &code), ("session_state", &crate::ids::guid_text(rand::random()))])
}

/// Sends the browser back to the application, with the state that it gave.
fn send_back(redirect: &str, query: &Query, members: &[(&str, &str)]) -> Answer {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in members {
        pairs.append_pair(name, value);
    }
    if let Some(state) = query.get("state") {
        pairs.append_pair("state", state);
    }
    // An address without a path comes back with a slash.
    let slash =
        if Url::parse(redirect).is_ok_and(|url| url.path() == "/") && !redirect.ends_with('/') { "/" } else { "" };
    let mark = if query.get("response_mode") == Some("fragment") { '#' } else { '?' };
    Answer::empty(302).with("Location", format!("{redirect}{slash}{mark}{}", pairs.finish()))
}

fn token(inner: &Inner, knobs: &Knobs, tenant: &str, request: &SignInRequest<'_>) -> Answer {
    if !request.content_type.starts_with("application/x-www-form-urlencoded") {
        return Refused::new(
            "invalid_request",
            900_144,
            "The request body must be form-urlencoded and contain 'grant_type'.",
        )
        .answer();
    }
    let form = Query::parse(&String::from_utf8_lossy(request.body));
    let mut state = inner.entra.state();
    redeem(&mut state, knobs, tenant, request.origin, &form).unwrap_or_else(|refused| refused.answer())
}

fn redeem(
    state: &mut State,
    knobs: &Knobs,
    tenant: &str,
    origin: Option<&str>,
    form: &Query,
) -> Result<Answer, Refused> {
    let need = |name: &str| {
        form.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Refused::new(
                "invalid_request",
                900_144,
                &format!("The request body must contain the following parameter: '{name}'."),
            )
        })
    };
    let client_id = need("client_id")?;
    let registration = state.registrations.iter().find(|one| one.client_id == client_id).ok_or_else(|| {
        Refused::new(
            "unauthorized_client",
            700_016,
            &format!("Application with identifier '{client_id}' was not found in the directory."),
        )
    })?;
    if form.get("client_secret").is_some() || form.get("client_assertion").is_some() {
        return Err(Refused::new(
            "invalid_client",
            700_025,
            "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
        ));
    }
    let spa = registration.redirect_type == RedirectType::Spa;
    match (spa, origin) {
        (true, None) => {
            return Err(Refused::new(
                "invalid_request",
                9_002_327,
                "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests.",
            ));
        }
        (false, Some(_)) => {
            return Err(Refused::new(
                "invalid_request",
                9_002_326,
                "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type.",
            ));
        }
        _ => {}
    }
    let asked = split_scopes(form.get("scope").unwrap_or_default());
    if asked.iter().any(|scope| !is_general(scope) && audience_of(scope).is_none()) {
        return Err(Refused::new(
            "invalid_scope",
            70_011,
            "The provided value for the input parameter 'scope' is not valid.",
        ));
    }
    let (grant, old) = match need("grant_type")? {
        "authorization_code" => (redeem_code(state, knobs, tenant, form, spa, &asked)?, None),
        "refresh_token" => {
            let old = need("refresh_token")?;
            (check_refresh(state, knobs, client_id, old)?, Some(old))
        }
        other => {
            return Err(Refused::new(
                "unsupported_grant_type",
                70_003,
                &format!("The app requested an unsupported grant type '{other}'."),
            ));
        }
    };
    grant_tokens(state, knobs, client_id, &grant, &asked, old.is_some())
}

/// Issues what a grant is good for, within what was asked for.
fn grant_tokens(
    state: &mut State,
    knobs: &Knobs,
    client_id: &str,
    grant: &Grant,
    asked: &[String],
    refreshing: bool,
) -> Result<Answer, Refused> {
    let wanted: Vec<String> = if asked.iter().all(|scope| is_general(scope)) {
        let first = grant.scopes.iter().find(|scope| !is_general(scope)).and_then(|scope| audience_of(scope));
        grant.scopes.iter().filter(|scope| !is_general(scope) && audience_of(scope) == first).cloned().collect()
    } else {
        let first = asked.iter().find(|scope| !is_general(scope)).and_then(|scope| audience_of(scope));
        asked.iter().filter(|scope| !is_general(scope) && audience_of(scope) == first).cloned().collect()
    };
    if let Some(strange) = wanted.iter().find(|scope| !grant.scopes.iter().any(|had| same_scope(had, scope))) {
        return Err(Refused::new(
            "invalid_grant",
            65_001,
            &format!("The user or administrator has not consented to use the application with '{strange}'."),
        ));
    }
    let audience = wanted.first().and_then(|scope| audience_of(scope)).unwrap_or(Audience::Graph);
    let life = Duration::from_secs(knobs.access_token_seconds);
    let access = state.grant_access(client_id, &grant.user, audience, life);
    let mut answer = json!({
        "token_type": "Bearer",
        "scope": told_scopes(&wanted),
        "expires_in": knobs.access_token_seconds,
        "ext_expires_in": knobs.access_token_seconds,
        "access_token": access,
    });
    let has = |name: &str| grant.scopes.iter().chain(asked).any(|scope| scope == name);
    let members = answer.as_object_mut();
    if let Some(members) = members {
        if has("offline_access") || refreshing {
            let refresh = secret("1.AX");
            state.refresh.insert(refresh.clone(), grant.clone());
            members.insert("refresh_token".to_owned(), Value::String(refresh));
        }
        if has("openid") {
            let claims = json!({"aud": client_id, "preferred_username": grant.user, "name": grant.user});
            let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let token = format!("{}.{}.", encode("{\"alg\":\"none\"}"), encode(&claims.to_string()));
            members.insert("id_token".to_owned(), Value::String(token));
        }
    }
    Ok(Answer::value(200, &answer).with("Cache-Control", "no-store"))
}

/// The last part of a scope: `Mail.ReadWrite` of `https://graph.microsoft.com/Mail.ReadWrite`.
fn short(scope: &str) -> &str {
    scope.rsplit('/').next().unwrap_or(scope)
}

fn same_scope(one: &str, other: &str) -> bool {
    audience_of(one) == audience_of(other)
        && (short(one).eq_ignore_ascii_case(short(other)) || short(other) == ".default")
}

/// Scopes as the service tells them: in another order and spelling than they were asked for, with some more.
fn told_scopes(wanted: &[String]) -> String {
    let mut told: Vec<String> = wanted
        .iter()
        .rev()
        .map(|scope| match audience_of(scope) {
            Some(Audience::Outlook) => format!("https://outlook.office.com/{}", short(scope)),
            _ => format!("https://graph.microsoft.com/{}", short(scope)),
        })
        .collect();
    told.push("profile openid email".to_owned());
    told.join(" ")
}

fn redeem_code(
    state: &mut State,
    knobs: &Knobs,
    tenant: &str,
    form: &Query,
    spa: bool,
    asked: &[String],
) -> Result<Grant, Refused> {
    let grant_error = |number, text| Err(Refused::new("invalid_grant", number, text));
    let mut resources = asked.iter().filter(|scope| !is_general(scope)).map(|scope| audience_of(scope));
    let first = resources.next();
    if first.is_some_and(|first| resources.any(|other| other != first)) {
        return Err(Refused::new(
            "invalid_request",
            28_000,
            "Provided value for the input parameter scope is not valid because it contains more than one resource.",
        ));
    }
    let text = form.get("code").unwrap_or_default();
    let Some(code) = state.codes.get_mut(text) else {
        return grant_error(9_002_313, "Invalid request. Request is malformed or invalid.");
    };
    if code.client_id != form.get("client_id").unwrap_or_default() {
        return grant_error(700_005, "Provided Authorization Code is intended to use against other client.");
    }
    if code.used {
        return grant_error(
            54_005,
            "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.",
        );
    }
    if code.made.elapsed() > Duration::from_secs(knobs.authorization_code_seconds) {
        return grant_error(70_008, "The provided authorization code or refresh token has expired due to inactivity.");
    }
    if code.tenant != tenant {
        return grant_error(
            700_005,
            "Provided Authorization Code is intended to use against other tenant, thus rejected.",
        );
    }
    if code.redirect != form.get("redirect_uri").unwrap_or_default() {
        return grant_error(
            50_011,
            "The redirect URI specified in the request does not match the one of the authorization request.",
        );
    }
    if let Some((challenge, hashed)) = &code.challenge {
        let Some(verifier) = form.get("code_verifier") else {
            return grant_error(50_148, "The code_verifier is missing.");
        };
        if !(43..=128).contains(&verifier.len()) {
            return grant_error(501_491, "Invalid size of code_verifier parameter.");
        }
        let found = if *hashed { URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) } else { verifier.to_owned() };
        if found != *challenge {
            return grant_error(
                501_481,
                "The code_verifier does not match the code_challenge supplied in the authorization request.",
            );
        }
    }
    code.used = true;
    Ok(Grant {
        client_id: code.client_id.clone(),
        user: code.user.clone(),
        scopes: code.scopes.clone(),
        signed_in: Instant::now(),
        spa,
        revoked: false,
    })
}

fn check_refresh(state: &State, knobs: &Knobs, client_id: &str, token: &str) -> Result<Grant, Refused> {
    let grant_error = |number, text| Err(Refused::new("invalid_grant", number, text));
    let Some(grant) = state.refresh.get(token) else {
        return grant_error(9_002_313, "Invalid request. Request is malformed or invalid.");
    };
    if grant.client_id != client_id {
        return grant_error(70_000, "The provided refresh token was issued to another client.");
    }
    if grant.revoked {
        return grant_error(
            50_173,
            "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password.",
        );
    }
    if grant.spa && grant.signed_in.elapsed() > Duration::from_secs(knobs.spa_refresh_seconds) {
        return grant_error(
            700_084,
            "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of 1.00:00:00, which cannot be extended.",
        );
    }
    Ok(grant.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_port_of_a_loopback_redirect_is_free() {
        let registered = "http://127.0.0.1:8080/oauth2/msal";
        assert!(redirect_fits(registered, "http://127.0.0.1:45678/oauth2/msal"));
        assert!(!redirect_fits(registered, "http://localhost:8080/oauth2/msal"));
        assert!(!redirect_fits(registered, "http://127.0.0.1:8080/oauth2/MSAL"));
        assert!(!redirect_fits(registered, "http://127.0.0.1:8080/oauth2/msal/"));
        assert!(!redirect_fits("https://example.com/a", "https://example.com:444/a"));
    }

    #[test]
    fn scopes_know_their_resource() {
        assert_eq!(audience_of("Mail.Read"), Some(Audience::Graph));
        assert_eq!(audience_of("https://outlook.office.com/mail.read"), Some(Audience::Outlook));
        assert_eq!(audience_of("https://example.com/x"), None);
        assert!(same_scope("https://graph.microsoft.com/Mail.ReadWrite", "mail.readwrite"));
    }
}
