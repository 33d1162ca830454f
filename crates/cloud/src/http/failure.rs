//! What went wrong with one request.

use std::error::Error;
use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use cms_auth::AuthError;
use reqwest::header::{HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::Value;

use super::policy::parse_retry_after;

/// What went wrong with one request.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request or its answer didn't get through.
    Network(Box<dyn Error + Send + Sync>),
    /// There is no access token.
    Auth(AuthError),
    /// The service answered with an error.
    Status(ServiceError),
    /// The service answered, and it means nothing to us.
    Senseless(String),
}

impl Failure {
    /// The same failure once more, for each of several requests that shared it.
    pub(crate) fn repeat(&self) -> Self {
        match self {
            Self::Network(error) => Self::Network(error.to_string().into()),
            Self::Auth(error) => Self::Auth(error.clone()),
            Self::Status(error) => Self::Status(error.clone()),
            Self::Senseless(words) => Self::Senseless(words.clone()),
        }
    }

    /// What the next token must bring.
    pub(crate) fn claims(&self) -> Option<String> {
        match self {
            Self::Status(error) => error.claims.clone(),
            Self::Network(_) | Self::Auth(_) | Self::Senseless(_) => None,
        }
    }

    /// For logs: no addresses, no secrets.
    pub(crate) fn summary(&self) -> String {
        match self {
            Self::Network(error) => format!("network: {error}"),
            Self::Auth(error) => error.to_string(),
            Self::Status(error) => error.to_string(),
            Self::Senseless(words) => words.clone(),
        }
    }
}

/// An error that the service answered with.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceError {
    pub(crate) status: u16,
    /// The service's code, empty where it gave none.
    pub(crate) code: String,
    /// The service's words, empty where it gave none.
    pub(crate) message: String,
    /// What the service's support asks for, empty where it gave none.
    pub(crate) request_id: String,
    pub(crate) retry_after: Option<Duration>,
    /// What the next token must bring, as JSON (claims challenge).
    pub(crate) claims: Option<String>,
}

impl ServiceError {
    /// Reads the body that came with an error status; it may be anything.
    pub(crate) fn read(status: u16, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let mut challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let claims = challenges.find_map(challenged_claims);
        Self { claims, ..Self::from_json(status, &json, header("request-id"), retry_after, now) }
    }

    /// The same with the body already read as JSON and the two headers that matter picked out.
    pub(crate) fn from_json(
        status: u16,
        body: &Value,
        request_id: Option<&str>,
        retry_after: Option<&str>,
        now: SystemTime,
    ) -> Self {
        let error = &body["error"];
        // OAuth's and other proxies' errors are a text where Graph's are an object.
        let code = error["code"].as_str().or_else(|| error.as_str()).unwrap_or_default();
        let request_id = request_id.map_or_else(|| nested_request_id(error, 0).unwrap_or_default(), str::to_owned);
        Self {
            status,
            code: code.to_owned(),
            message: error["message"].as_str().unwrap_or_default().to_owned(),
            request_id,
            retry_after: retry_after.and_then(|value| parse_retry_after(value, now)),
            claims: None,
        }
    }

    /// Whether the code is this one. Their case isn't dependable.
    pub(crate) fn is(&self, code: &str) -> bool {
        self.code.eq_ignore_ascii_case(code)
    }

    /// A refusal because too many requests were in flight; only the text tells it from one for too many in a span of time.
    pub(crate) fn is_for_concurrency(&self) -> bool {
        self.status == 429 && self.message.contains("MailboxConcurrency")
    }

    /// A failure to make one object's content, which the next call for another object doesn't share.
    pub(crate) fn concerns_one_object(&self) -> bool {
        ["ErrorMimeContentConversionFailed", "ErrorContentConversionFailed", "ErrorCorruptData"]
            .iter()
            .any(|code| self.is(code))
    }

    /// A "not found" that isn't said of an item and has been seen to come and go, or that says nothing at all.
    pub(crate) fn may_flap(&self) -> bool {
        self.code.is_empty()
            || [
                "ErrorFolderNotFound",
                "ErrorSyncFolderNotFound",
                "ResourceNotFound",
                "Request_ResourceNotFound",
                "ErrorInvalidUser",
            ]
            .iter()
            .any(|code| self.is(code))
    }

    /// Whether the service says in so many words that the item is gone. A 404 without the code may be a proxy's.
    pub(crate) fn item_is_gone(&self) -> bool {
        self.status == 404 && self.is("ErrorItemNotFound")
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {} (request id {})", self.status, self.code, self.message, self.request_id)
    }
}

impl Error for ServiceError {}

/// The claims that a `WWW-Authenticate` header asks for: JSON in base64, among parameters in any order (claims challenges,
/// continuous access evaluation).
pub(crate) fn challenged_claims(header: &str) -> Option<String> {
    if parameter(header, "error")? != "insufficient_claims" {
        return None;
    }
    let encoded = parameter(header, "claims")?.trim_end_matches('=').replace('-', "+").replace('_', "/");
    let claims = String::from_utf8(STANDARD_NO_PAD.decode(encoded).ok()?).ok()?;
    serde_json::from_str::<Value>(&claims).is_ok_and(|json| json.is_object()).then_some(claims)
}

/// A quoted parameter of a challenge (RFC 9110, section 11.2), which begins the header or follows a space or comma.
fn parameter<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    let mut from = 0;
    loop {
        let at = from + header[from..].find(name)?;
        from = at + name.len();
        let starts = header[..at].chars().next_back().is_none_or(|before| before == ' ' || before == ',');
        if let (true, Some(value)) = (starts, header[from..].trim_start().strip_prefix('=')) {
            let value = value.trim_start().strip_prefix('"')?;
            return value.split_once('"').map(|(value, _)| value);
        }
    }
}

/// The error object inside an answer, if the answer is one. It has been seen with status 200.
pub(crate) fn json_error(body: &Value) -> Option<&Value> {
    body.get("error").filter(|error| error.is_object() || error.is_string())
}

/// Error details nest, under two spellings. The depth is bounded because the answer is a stranger's.
fn nested_request_id(error: &Value, depth: u8) -> Option<String> {
    if let Some(id) = error["request-id"].as_str() {
        return Some(id.to_owned());
    }
    if depth > 8 {
        return None;
    }
    ["innerError", "innererror"]
        .iter()
        .filter_map(|name| error.get(name))
        .find_map(|inner| nested_request_id(inner, depth + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(status: u16, body: &str) -> ServiceError {
        ServiceError::read(status, &HeaderMap::new(), body.as_bytes(), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn code_message_and_request_id_are_found_at_any_depth() {
        let error = read(
            429,
            r#"{"error":{"code":"TooManyRequests","innererror":{"innerError":{"request-id":"r-1"}},"message":"Please"}}"#,
        );
        assert_eq!((error.code.as_str(), error.message.as_str()), ("TooManyRequests", "Please"));
        assert_eq!(error.request_id, "r-1");
        assert!(error.is("toomanyrequests"));
    }

    #[test]
    fn too_many_at_a_time_is_told_from_too_many_requests() {
        let body = |limit| {
            format!(
                r#"{{"error":{{"code":"ApplicationThrottled","message":"Application is over its {limit} limit."}}}}"#
            )
        };
        assert!(read(429, &body("MailboxConcurrency")).is_for_concurrency());
        assert!(!read(429, &body("MailboxRequests")).is_for_concurrency());
        assert!(!read(503, &body("MailboxConcurrency")).is_for_concurrency());
    }

    #[test]
    fn a_body_may_be_missing_or_a_web_page() {
        for body in ["", "<html><body>503</body></html>", "[]", "null", "{\"error\":null}", "{\"error\":7}"] {
            let error = read(503, body);
            assert_eq!((error.code.as_str(), error.status), ("", 503), "{body}");
        }
        assert_eq!(read(400, r#"{"error":"invalid_request"}"#).code, "invalid_request");
    }

    #[test]
    fn only_the_services_own_words_make_an_item_gone() {
        assert!(read(404, r#"{"error":{"code":"ErrorItemNotFound","message":""}}"#).item_is_gone());
        assert!(!read(404, "").item_is_gone());
        assert!(!read(404, r#"{"error":{"code":"MailboxNotEnabledForRESTAPI"}}"#).item_is_gone());
        assert!(!read(200, r#"{"error":{"code":"ErrorItemNotFound"}}"#).item_is_gone());
    }

    #[test]
    fn a_claims_challenge_is_found_among_other_challenges() {
        let claims = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
        let encoded = base64::engine::general_purpose::STANDARD.encode(claims);
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "PoP realm=\"x\"".parse().unwrap());
        let challenge = format!("Bearer claims=\"{encoded}\", realm=\"\", error=\"insufficient_claims\"");
        headers.append(WWW_AUTHENTICATE, challenge.parse().unwrap());
        let error = ServiceError::read(401, &headers, b"{}", SystemTime::UNIX_EPOCH);
        assert_eq!(error.claims.as_deref(), Some(claims));
        for other in [
            "Bearer realm=\"\", error=\"invalid_token\", claims=\"e30=\"",
            "Bearer error=\"insufficient_claims\", claims=\"!\"",
            "Bearer error=\"insufficient_claims\", claims=\"W10\"",
            "Bearer error=\"insufficient_claims\", xclaims=\"e30\"",
            "Bearer error=insufficient_claims",
            "",
        ] {
            assert_eq!(challenged_claims(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_challenge_is_read_without_a_panic(header in ".{0,80}", claims in "(error|claims|=|\"|,| |[a-zé]){0,20}") {
            challenged_claims(&header);
            challenged_claims(&claims);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(status in 0u16..1000, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            ServiceError::read(status, &HeaderMap::new(), &body, SystemTime::UNIX_EPOCH);
        }
    }
}
