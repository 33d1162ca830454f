//! Signing in as with Google, for desktop programs: loopback redirects, PKCE, a secret that isn't one, revoking; and
//! the one request to Gmail that tells who signed in.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::{Host, Url};

use crate::cloud::{Inner, lock};
use crate::entra::SignInMode;
use crate::knobs::Knobs;
use crate::odata::Query;
use crate::pages::{self, Choice};
use crate::pkce::{BadVerifier, CodeChallenge};
use crate::reply::Answer;
use crate::secrets::Secrets;
use crate::sign_in::SignInRequest;

/// The client id that the simulation knows from the start.
pub const DEFAULT_GOOGLE_CLIENT_ID: &str = "14979213351-bik90v3b8b9f22160ura3oah71u3l113.apps.googleusercontent.com";
/// The client secret that goes with it.
pub const DEFAULT_GOOGLE_CLIENT_SECRET: &str = "GOCSPX-simulated-desktop-client";

/// A desktop application that may ask Google for tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoogleClient {
    /// Its client id.
    pub client_id: String,
    /// What it must show at the token endpoint, although everybody can read it in the program.
    pub client_secret: String,
}

impl Default for GoogleClient {
    fn default() -> Self {
        Self { client_id: DEFAULT_GOOGLE_CLIENT_ID.to_owned(), client_secret: DEFAULT_GOOGLE_CLIENT_SECRET.to_owned() }
    }
}

/// What a user granted.
#[derive(Clone)]
struct Grant {
    number: u64,
    client_id: String,
    user: String,
    scopes: Vec<String>,
    offline: bool,
}

struct Code {
    grant: Grant,
    redirect: String,
    challenge: Option<CodeChallenge>,
    made: Instant,
    used: bool,
}

#[derive(Default)]
struct State {
    clients: Vec<GoogleClient>,
    /// Scopes that users untick.
    unticked: Vec<String>,
    codes: HashMap<String, Code>,
    refresh: HashMap<String, Grant>,
    access: HashMap<String, (Grant, Instant)>,
    /// Users who consented to an application before.
    consented: HashSet<(String, String)>,
    grants: u64,
    secrets: Secrets,
}

/// All that Google issued.
pub(crate) struct Google(Mutex<State>);

/// An error in the shape of Google's token endpoint.
struct Refused {
    status: u16,
    error: &'static str,
    text: String,
}

impl Refused {
    fn new(error: &'static str, text: &str) -> Self {
        let status = if error == "invalid_client" { 401 } else { 400 };
        Self { status, error, text: text.to_owned() }
    }

    fn answer(&self) -> Answer {
        Answer::plain_json(self.status, &json!({"error": self.error, "error_description": self.text}))
    }

    fn page(&self) -> Answer {
        let sentence = format!("Error {}: {} - {}", self.status, self.error, self.text);
        Answer::other(self.status, "text/html; charset=utf-8", &pages::error(&sentence))
    }
}

/// The kind under which a request is counted; nothing if it isn't for Google.
pub(crate) fn kind(path: &str) -> Option<&'static str> {
    match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["o", "oauth2", "v2", "auth"] => Some("google-authorize"),
        ["token"] => Some("google-token"),
        ["revoke"] => Some("google-revoke"),
        ["gmail", "v1", "users", _, "profile"] => Some("google-profile"),
        _ => None,
    }
}

/// Answers a request to Google.
pub(crate) fn answer(inner: &Inner, knobs: &Knobs, request: &SignInRequest<'_>) -> Answer {
    match (kind(request.path), request.method) {
        (Some("google-authorize"), "GET" | "POST") => authorize(inner, knobs, request),
        (Some("google-token"), "POST") => token(inner, knobs, request),
        (Some("google-revoke"), "POST") => revoke(inner, request),
        (Some("google-profile"), "GET") => profile(inner, request),
        _ => gmail_error(405, "httpMethodNotAllowed", "METHOD_NOT_ALLOWED", "The request method is not supported."),
    }
}

/// Whether a desktop program may be redirected there: any port and path of this machine, by number.
fn is_loopback(redirect: &str) -> bool {
    Url::parse(redirect).is_ok_and(|url| {
        let here = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            _ => false,
        };
        here && url.scheme() == "http" && url.fragment().is_none()
    })
}

fn is_known_scope(scope: &str) -> bool {
    matches!(scope, "openid" | "email" | "profile" | "https://mail.google.com/")
        || scope.strip_prefix("https://www.googleapis.com/auth/").is_some_and(|rest| !rest.is_empty())
}

/// Whether a scope lets its holder see the profile of the mailbox.
fn is_mail(scope: &str) -> bool {
    let rest = scope.strip_prefix("https://www.googleapis.com/auth/gmail.");
    scope == "https://mail.google.com/"
        || rest.is_some_and(|rest| matches!(rest, "modify" | "readonly" | "metadata" | "compose"))
}

fn authorize(inner: &Inner, knobs: &Knobs, request: &SignInRequest<'_>) -> Answer {
    let query = Query::parse(request.query);
    let mut state = inner.google.state();
    let (redirect, scopes, challenge) = match read(&state, &query) {
        Ok(wish) => wish,
        Err(refused) => return refused.page(),
    };
    match &challenge {
        None => inner.tally.note("google-authorize: no PKCE"),
        Some(_) if query.get("code_challenge_method") == Some("S256") => {}
        Some(_) => inner.tally.note("google-authorize: the code challenge is the verifier itself"),
    }
    if query.get("state").is_none_or(str::is_empty) {
        inner.tally.note("google-authorize: no state");
    }
    let user = match sign_in(inner, &query, &redirect, request) {
        Ok(user) => user,
        Err(answer) => return answer,
    };
    let granted: Vec<String> = scopes.into_iter().filter(|scope| !state.unticked.contains(scope)).collect();
    let client_id = query.get("client_id").unwrap_or_default().to_owned();
    let first = state.consented.insert((client_id.clone(), user.clone()));
    let asked_again = query.get("prompt").is_some_and(|prompt| prompt.split(' ').any(|one| one == "consent"));
    let offline =
        query.get("access_type") == Some("offline") && (first || asked_again || !knobs.google_refresh_token_once);
    state.grants += 1;
    let grant = Grant { number: state.grants, client_id, user, scopes: granted, offline };
    let scope = grant.scopes.join(" ");
    let code = state.secrets.make("4/0A");
    let made = Code { grant, redirect: redirect.clone(), challenge, made: Instant::now(), used: false };
    state.codes.insert(code.clone(), made);
    send_back(&redirect, &query, &[("code", &code), ("scope", &scope)])
}

type Wish = (String, Vec<String>, Option<CodeChallenge>);

/// Reads an authorization request; whatever is wrong with it is shown on a page.
fn read(state: &State, query: &Query) -> Result<Wish, Refused> {
    let need = |name: &str| {
        query
            .get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Refused::new("invalid_request", &format!("Required parameter is missing: {name}")))
    };
    let client_id = need("client_id")?;
    if !state.clients.iter().any(|client| client.client_id == client_id) {
        return Err(Refused::new("invalid_client", "The OAuth client was not found."));
    }
    let redirect = need("redirect_uri")?;
    if !is_loopback(redirect) {
        return Err(Refused::new("redirect_uri_mismatch", "The redirect URI isn't one of a desktop client."));
    }
    if need("response_type")? != "code" {
        return Err(Refused::new("unsupported_response_type", "Invalid response_type."));
    }
    let scopes: Vec<String> = need("scope")?.split_whitespace().map(str::to_owned).collect();
    if let Some(strange) = scopes.iter().find(|scope| !is_known_scope(scope)) {
        return Err(Refused::new("invalid_scope", &format!("Some requested scopes were invalid: [{strange}]")));
    }
    let prompts = query.get("prompt").unwrap_or_default();
    let known = |one: &str| matches!(one, "none" | "consent" | "select_account");
    if !prompts.split_whitespace().all(known) || (prompts.contains("none") && prompts.trim() != "none") {
        return Err(Refused::new("invalid_request", "Invalid parameter value for prompt."));
    }
    let challenge = CodeChallenge::read(query)
        .map_err(|_| Refused::new("invalid_request", "Invalid code_challenge or code_challenge_method."))?;
    Ok((redirect.to_owned(), scopes, challenge))
}

/// Who signs in, or what the browser gets instead.
fn sign_in(inner: &Inner, query: &Query, redirect: &str, request: &SignInRequest<'_>) -> Result<String, Answer> {
    let hint = query.get("login_hint").unwrap_or_default();
    let mode = inner.entra.mode();
    let form = matches!(mode, SignInMode::Form);
    let page = || {
        let hinted = if hint.is_empty() { None } else { inner.account(hint) };
        let html = pages::pick_account(&request.target(), &inner.user_names(), hinted.as_deref());
        Answer::other(200, "text/html; charset=utf-8", &html).with("Cache-Control", "no-store")
    };
    let account = match (request.method, mode) {
        (_, SignInMode::Redirect { error, .. }) => return Err(send_back(redirect, query, &[("error", &error)])),
        (_, SignInMode::Page { .. }) => {
            return Err(Refused::new("access_denied", "The sign-in can't go on.").page());
        }
        ("POST", _) => match Choice::read(&request.form()) {
            Choice::Cancel => return Err(send_back(redirect, query, &[("error", "access_denied")])),
            Choice::Account(account) if account.is_empty() => return Err(page()),
            Choice::Account(account) => account,
        },
        _ if form && query.get("prompt") == Some("none") => {
            return Err(send_back(redirect, query, &[("error", "interaction_required")]));
        }
        _ if form => return Err(page()),
        _ => hint.to_owned(),
    };
    inner.account(&account).ok_or_else(|| Refused::new("access_denied", "Couldn't find your Google Account.").page())
}

/// Sends the browser back, with the state that the program gave.
fn send_back(redirect: &str, query: &Query, members: &[(&str, &str)]) -> Answer {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    if let Some(state) = query.get("state") {
        pairs.append_pair("state", state);
    }
    for (name, value) in members {
        pairs.append_pair(name, value);
    }
    let mark = if redirect.contains('?') { '&' } else { '?' };
    Answer::empty(302).with("Location", format!("{redirect}{mark}{}", pairs.finish()))
}

fn token(inner: &Inner, knobs: &Knobs, request: &SignInRequest<'_>) -> Answer {
    if !request.content_type.starts_with("application/x-www-form-urlencoded") {
        return Refused::new("invalid_request", "The body must be form-urlencoded.").answer();
    }
    let form = request.form();
    let mut state = inner.google.state();
    state.secrets.receive(form.get("code_verifier").unwrap_or_default());
    redeem(&mut state, knobs, &form).unwrap_or_else(|refused| refused.answer())
}

fn redeem(state: &mut State, knobs: &Knobs, form: &Query) -> Result<Answer, Refused> {
    let need = |name: &str| {
        form.get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Refused::new("invalid_request", &format!("Missing required parameter: {name}")))
    };
    let client_id = need("client_id")?;
    let client = state.clients.iter().find(|client| client.client_id == client_id);
    let client = client.ok_or_else(|| Refused::new("invalid_client", "The OAuth client was not found."))?;
    match form.get("client_secret") {
        None | Some("") => return Err(Refused::new("invalid_client", "client_secret is missing.")),
        Some(secret) if secret != client.client_secret => {
            return Err(Refused::new("invalid_client", "The provided client secret is invalid."));
        }
        Some(_) => {}
    }
    let (grant, with_refresh) = match need("grant_type")? {
        "authorization_code" => {
            let grant = redeem_code(state, knobs, need("code")?, need("redirect_uri")?, form)?;
            let offline = grant.offline;
            (grant, offline)
        }
        "refresh_token" => {
            let grant = state.refresh.get(need("refresh_token")?).filter(|grant| grant.client_id == client_id);
            let grant = grant.ok_or_else(|| Refused::new("invalid_grant", "Token has been expired or revoked."))?;
            (grant.clone(), false)
        }
        other => {
            return Err(Refused::new("unsupported_grant_type", &format!("Invalid grant_type: {other}")));
        }
    };
    let access = state.secrets.make("ya29.a0");
    let until = Instant::now() + Duration::from_secs(knobs.access_token_seconds);
    state.access.insert(access.clone(), (grant.clone(), until));
    let mut answer = json!({
        "access_token": access,
        "expires_in": knobs.access_token_seconds,
        "scope": grant.scopes.join(" "),
        "token_type": "Bearer",
    });
    if let (Some(members), true) = (answer.as_object_mut(), with_refresh) {
        let refresh = state.secrets.make("1//0");
        state.refresh.insert(refresh.clone(), grant);
        members.insert("refresh_token".to_owned(), Value::String(refresh));
    }
    Ok(Answer::plain_json(200, &answer).with("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate"))
}

fn redeem_code(state: &mut State, knobs: &Knobs, text: &str, redirect: &str, form: &Query) -> Result<Grant, Refused> {
    let malformed = || Refused::new("invalid_grant", "Malformed auth code.");
    let code = state.codes.get_mut(text).ok_or_else(malformed)?;
    let over = code.made.elapsed() > Duration::from_secs(knobs.authorization_code_seconds);
    if code.used || over || form.get("client_id") != Some(code.grant.client_id.as_str()) {
        return Err(Refused::new("invalid_grant", "Bad Request"));
    }
    if code.redirect != redirect {
        return Err(Refused::new("redirect_uri_mismatch", "Bad Request"));
    }
    if let Some(challenge) = &code.challenge {
        challenge.check(form.get("code_verifier")).map_err(|bad| match bad {
            BadVerifier::Missing => Refused::new("invalid_grant", "Missing code verifier."),
            BadVerifier::Size | BadVerifier::Other => Refused::new("invalid_grant", "Invalid code verifier."),
        })?;
    }
    code.used = true;
    Ok(code.grant.clone())
}

/// Ends a grant by either of its tokens.
fn revoke(inner: &Inner, request: &SignInRequest<'_>) -> Answer {
    let (form, query) = (request.form(), Query::parse(request.query));
    let token = form.get("token").or_else(|| query.get("token")).unwrap_or_default();
    let mut state = inner.google.state();
    let found = state.refresh.get(token).or_else(|| state.access.get(token).map(|(grant, _)| grant));
    let Some(number) = found.map(|grant| grant.number) else {
        return Refused::new("invalid_token", "Token expired or revoked").answer();
    };
    state.end(|grant| grant.number == number, true);
    Answer::plain_json(200, &json!({}))
}

fn profile(inner: &Inner, request: &SignInRequest<'_>) -> Answer {
    let token = request.authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let state = inner.google.state();
    let Some((grant, _)) = state.access.get(token).filter(|(_, until)| *until > Instant::now()) else {
        let text = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.";
        return gmail_error(401, "authError", "UNAUTHENTICATED", text)
            .with("WWW-Authenticate", "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"");
    };
    if !grant.scopes.iter().any(|scope| is_mail(scope)) {
        let text = "Request had insufficient authentication scopes.";
        return gmail_error(403, "insufficientPermissions", "PERMISSION_DENIED", text);
    }
    let whose = request.path.trim_matches('/').split('/').nth(3).unwrap_or_default();
    let mail = inner.mailbox(&grant.user).map(|mailbox| lock(mailbox).mail.clone()).unwrap_or_default();
    let whose = percent_encoding::percent_decode_str(whose).decode_utf8_lossy();
    if whose != "me" && !whose.eq_ignore_ascii_case(&mail) {
        return gmail_error(403, "forbidden", "PERMISSION_DENIED", &format!("Delegation denied for {mail}"));
    }
    Answer::plain_json(200, &json!({"emailAddress": mail}))
}

/// An error in the shape of Gmail.
fn gmail_error(status: u16, reason: &str, name: &str, text: &str) -> Answer {
    Answer::plain_json(
        status,
        &json!({"error": {
            "code": status,
            "message": text,
            "errors": [{"domain": "global", "reason": reason, "message": text}],
            "status": name,
        }}),
    )
}

impl State {
    /// Ends grants; access tokens too if they are to end at once.
    fn end(&mut self, which: impl Fn(&Grant) -> bool, access_too: bool) {
        self.refresh.retain(|_, grant| !which(grant));
        if access_too {
            self.access.retain(|_, (grant, _)| !which(grant));
        }
    }
}

impl Google {
    pub(crate) fn new(clients: Vec<GoogleClient>) -> Self {
        Self(Mutex::new(State { clients, ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an application, or replaces the one with its client id.
    pub(crate) fn register(&self, client: GoogleClient) {
        let mut state = self.state();
        state.clients.retain(|one| one.client_id != client.client_id);
        state.clients.push(client);
    }

    /// Sets which scopes users untick.
    pub(crate) fn set_unticked(&self, scopes: Vec<String>) {
        self.state().unticked = scopes;
    }

    /// Revokes what a user granted, or everybody.
    pub(crate) fn revoke(&self, user: Option<&str>, access_too: bool) {
        self.state().end(|grant| user.is_none_or(|user| grant.user.eq_ignore_ascii_case(user)), access_too);
    }

    /// Lets every access token that was issued so far be expired.
    pub(crate) fn expire_access(&self) {
        self.state().access.clear();
    }

    /// Every secret that came up so far.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.state().secrets.all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn desktop_programs_are_redirected_to_this_machine_by_number() {
        assert!(is_loopback("http://127.0.0.1:5000/oauth2/gmail") && is_loopback("http://[::1]:1"));
        for bad in ["http://localhost:1/", "https://127.0.0.1/", "http://example.com/", "urn:ietf:wg:oauth:2.0:oob"] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}
