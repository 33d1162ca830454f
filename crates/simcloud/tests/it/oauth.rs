//! An OAuth client that knows nothing but HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use simcloud::DEFAULT_CLIENT_ID;

use crate::client::{Answer, Fixture};

pub(crate) const VERIFIER: &str = "a-verifier-that-is-long-enough-for-rfc-7636-to-like-it";
pub(crate) const REDIRECT: &str = "http://127.0.0.1:45678/oauth2/msal";
pub(crate) const SCOPE: &str =
    "https://graph.microsoft.com/Mail.ReadWrite https://outlook.office.com/mail.read offline_access";

pub(crate) async fn authorize(it: &Fixture, change: &[(&str, &str)]) -> Answer {
    it.send(it.http.get(format!("{}{}", it.server.url(), authorize_target(change)))).await
}

pub(crate) async fn code(it: &Fixture) -> String {
    let answer = authorize(it, &[]).await;
    assert_eq!(answer.status, 302);
    assert!(answer.header("location").starts_with(REDIRECT));
    assert_eq!(returned(&answer, "state"), "st&te");
    returned(&answer, "code")
}

pub(crate) async fn token(it: &Fixture, change: &[(&str, &str)]) -> Answer {
    let mut form = vec![
        ("client_id", DEFAULT_CLIENT_ID),
        ("grant_type", "authorization_code"),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("scope", "https://graph.microsoft.com/Mail.ReadWrite offline_access"),
    ];
    form.retain(|(name, _)| change.iter().all(|(other, _)| other != name));
    form.extend(change.iter().filter(|(_, value)| !value.is_empty()));
    post(it, "/common/oauth2/v2.0/token", &form).await
}

pub(crate) fn number(answer: &Answer) -> i64 {
    let json = answer.json();
    let number = json["error_codes"][0].as_i64().unwrap();
    assert!(json["error_description"].as_str().unwrap().starts_with(&format!("AADSTS{number}: ")));
    assert!(json["trace_id"].is_string() && json["correlation_id"].is_string() && json["timestamp"].is_string());
    number
}

/// A member of the query of the address that a browser is sent back to; empty if it isn't there.
pub(crate) fn returned(answer: &Answer, name: &str) -> String {
    let back = url::Url::parse(answer.header("location")).unwrap();
    back.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// A refresh token from an interactive sign-in.
pub(crate) async fn signed_in(it: &Fixture) -> String {
    text(&token(it, &[("code", &code(it).await)]).await.json(), "refresh_token")
}

/// Redeems a refresh token.
pub(crate) async fn refresh(it: &Fixture, refresh_token: &str, more: &[(&str, &str)]) -> Answer {
    let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
    form.extend_from_slice(more);
    token(it, &form).await
}

/// Posts a form.
pub(crate) async fn post(it: &Fixture, target: &str, form: &[(&str, &str)]) -> Answer {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let url = if target.starts_with("http") { target.to_owned() } else { format!("{}{target}", it.server.url()) };
    it.send(it.http.post(url).header("Content-Type", "application/x-www-form-urlencoded").body(body)).await
}

/// The path and query of an authorization request, with some parameters changed; an empty value leaves one out.
pub(crate) fn authorize_target(change: &[(&str, &str)]) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let mut query = vec![
        ("client_id", DEFAULT_CLIENT_ID),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("scope", SCOPE),
        ("state", "st&te"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    query.retain(|(name, _)| change.iter().all(|(other, _)| other != name));
    query.extend(change.iter().filter(|(_, value)| !value.is_empty()));
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    format!("/common/oauth2/v2.0/authorize?{query}")
}

/// A text member of JSON.
pub(crate) fn text(json: &Value, name: &str) -> String {
    json[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {json}")).to_owned()
}

/// What a page says.
pub(crate) fn page(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.bytes).into_owned()
}

/// An administrative request.
pub(crate) async fn order(it: &Fixture, method: &str, path: &str, body: &Value) -> Answer {
    let url = format!("{}/admin{path}", it.server.url());
    it.send(it.http.request(method.parse().unwrap(), url).json(body)).await
}

/// What Graph says to an access token.
pub(crate) async fn me(it: &Fixture, access_token: &str) -> Answer {
    it.send(it.http.get(format!("{}/v1.0/me", it.server.url())).bearer_auth(access_token)).await
}
