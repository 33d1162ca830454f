//! The authorization endpoint: what a browser is shown, and where it is sent back to.

use serde_json::Value;
use url::Url;

use super::grants::{Age, Code};
use super::refused::Refused;
use super::registration::redirect_fits;
use super::{SignInMode, State, claims, consent, scopes};
use crate::cloud::Inner;
use crate::counters::Tally;
use crate::odata::Query;
use crate::pages::{self, Choice};
use crate::pkce::{BadChallenge, CodeChallenge};
use crate::reply::Answer;
use crate::sign_in::SignInRequest;

/// An authorization request that is sound.
struct Wish<'a> {
    query: &'a Query,
    client_id: &'a str,
    redirect: &'a str,
    scopes: Vec<String>,
    challenge: Option<CodeChallenge>,
    claims: Option<Value>,
    prompt: &'a str,
}

/// Answers a browser that was sent here, or that sends the form of the page.
pub(super) fn answer(inner: &Inner, tenant: &str, request: &SignInRequest<'_>) -> Answer {
    let query = Query::parse(request.query);
    let mut state = inner.entra.state();
    let wish = match read(&state, tenant, &query, &inner.tally) {
        Ok(wish) => wish,
        Err(answer) => return answer,
    };
    let user = match sign_in(inner, &state.mode, &wish, request) {
        Ok(user) => user,
        Err(answer) => return answer,
    };
    let granted = match state.consents.ask(wish.client_id, &wish.scopes, wish.prompt == "none") {
        Ok(granted) => granted,
        Err(consent::Refusal::Back(refused)) => return wish.refuse(&refused),
        Err(consent::Refusal::Page(refused)) => return refused.page(),
    };
    let code = state.secrets.make("0.A");
    let made = Code {
        client_id: wish.client_id.to_owned(),
        redirect: wish.redirect.to_owned(),
        challenge: wish.challenge.clone(),
        user,
        tenant: tenant.to_owned(),
        scopes: granted,
        claims: wish.claims.clone(),
        nonce: query.get("nonce").map(str::to_owned),
        made: Age::new(),
        used: false,
    };
    state.codes.insert(code.clone(), made);
    send_back(wish.redirect, &query, &[("code", &code), ("session_state", &crate::ids::guid_text(rand::random()))])
}

impl Wish<'_> {
    /// Sends the browser back with an error.
    fn refuse(&self, refused: &Refused) -> Answer {
        refuse(self.redirect, self.query, refused)
    }
}

fn refuse(redirect: &str, query: &Query, refused: &Refused) -> Answer {
    let mut members = vec![("error", refused.error.as_ref())];
    let description = refused.sentence();
    members.push(("error_description", &description));
    if let Some(suberror) = &refused.suberror {
        members.push(("error_subcode", suberror));
    }
    send_back(redirect, query, &members)
}

/// Reads a request; what is wrong before the redirect is known to be good is shown on a page.
fn read<'a>(state: &State, tenant: &str, query: &'a Query, tally: &Tally) -> Result<Wish<'a>, Answer> {
    let on_page = |refused: Refused| refused.page();
    let client_id = super::need(query, "client_id").map_err(on_page)?;
    let registration = state.registration(client_id, tenant).map_err(on_page)?;
    let redirect = query.get("redirect_uri").unwrap_or_default();
    if redirect.is_empty() {
        return Err(Refused::new("invalid_request", 900_971, "No reply address provided.").page());
    }
    if !registration.redirects.iter().any(|one| redirect_fits(one, redirect)) {
        let text = format!(
            "The redirect URI '{redirect}' specified in the request does not match the redirect URIs configured for the application."
        );
        return Err(Refused::new("invalid_request", 50_011, &text).page());
    }
    note_the_unwise(query, tally);
    read_rest(query, client_id, redirect).map_err(|refused| refuse(redirect, query, &refused))
}

fn read_rest<'a>(query: &'a Query, client_id: &'a str, redirect: &'a str) -> Result<Wish<'a>, Refused> {
    if super::need(query, "response_type")? != "code" {
        return Err(Refused::new("unsupported_response_type", 700_051, "response_type is not supported."));
    }
    let asked = scopes::split(super::need(query, "scope")?);
    if !scopes::all_known(&asked) {
        let text = "The provided value for the input parameter 'scope' is not valid.";
        return Err(Refused::new("invalid_scope", 70_011, text));
    }
    let prompt = query.get("prompt").unwrap_or_default();
    if !matches!(prompt, "" | "login" | "none" | "consent" | "select_account") {
        let text = format!("Unsupported 'prompt' value '{prompt}'.");
        return Err(Refused::new("invalid_request", 90_023, &text));
    }
    Ok(Wish {
        query,
        client_id,
        redirect,
        scopes: asked,
        challenge: challenge(query)?,
        claims: claims::read(query.get("claims"))?,
        prompt,
    })
}

fn challenge(query: &Query) -> Result<Option<CodeChallenge>, Refused> {
    CodeChallenge::read(query).map_err(|bad| match bad {
        BadChallenge::Method => Refused::new("invalid_request", 501_491, "Invalid code_challenge_method."),
        BadChallenge::Size => Refused::new("invalid_request", 50_147, "Invalid size of Code_Challenge parameter."),
    })
}

/// Notes what the service puts up with although it leaves the sign-in open to others.
fn note_the_unwise(query: &Query, tally: &Tally) {
    match (query.get("code_challenge"), query.get("code_challenge_method")) {
        (None, _) => tally.note("authorize: no PKCE"),
        (Some(_), Some("S256")) => {}
        (Some(_), _) => tally.note("authorize: the code challenge is the verifier itself"),
    }
    if query.get("state").is_none_or(str::is_empty) {
        tally.note("authorize: no state");
    }
}

/// Who signs in, or what the browser gets instead.
fn sign_in(inner: &Inner, mode: &SignInMode, wish: &Wish<'_>, request: &SignInRequest<'_>) -> Result<String, Answer> {
    let hint = wish.query.get("login_hint").unwrap_or_default();
    match mode {
        SignInMode::Redirect { error, number } => {
            return Err(wish.refuse(&Refused::new(error.clone(), *number, "the sign-in ended.")));
        }
        SignInMode::Page { number } => return Err(Refused::numbered("", *number).page()),
        SignInMode::Immediate | SignInMode::Form => {}
    }
    let account = match (request.method, mode) {
        ("POST", _) => match Choice::read(&request.form()) {
            Choice::Cancel => return Err(wish.refuse(&consent::declined())),
            Choice::Account(account) if account.is_empty() => return Err(page(inner, request, hint)),
            Choice::Account(account) => account,
        },
        (_, SignInMode::Form) if wish.prompt == "none" => {
            return Err(wish.refuse(&Refused::numbered("login_required", 50_058)));
        }
        (_, SignInMode::Form) => return Err(page(inner, request, hint)),
        _ => hint.to_owned(),
    };
    inner.account(&account).ok_or_else(|| {
        let text = format!("The user account {account} does not exist in the directory.");
        Refused::new("", 50_034, &text).page()
    })
}

fn page(inner: &Inner, request: &SignInRequest<'_>, hint: &str) -> Answer {
    let hinted = if hint.is_empty() { None } else { inner.account(hint) };
    let html = pages::pick_account(&request.target(), &inner.user_names(), hinted.as_deref());
    Answer::other(200, "text/html; charset=utf-8", &html).with("Cache-Control", "no-store")
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
