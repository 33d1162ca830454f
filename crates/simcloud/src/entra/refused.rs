//! Refusals of the sign-in service: as JSON for programs, as a page for people.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::clock;
use crate::pages;
use crate::reply::Answer;

/// A refusal with its AADSTS number.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) error: Cow<'static, str>,
    pub(super) number: u32,
    pub(super) text: String,
    pub(super) suberror: Option<String>,
    /// What must be passed on to the next request, as JSON text.
    pub(super) claims: Option<String>,
    /// Another status than the usual one.
    pub(super) status: Option<u16>,
}

impl Refused {
    pub(super) fn new(error: impl Into<Cow<'static, str>>, number: u32, text: &str) -> Self {
        Self { error: error.into(), number, text: text.to_owned(), suberror: None, claims: None, status: None }
    }

    /// The refusal of a grant.
    pub(super) fn grant(number: u32, text: &str) -> Self {
        Self::new("invalid_grant", number, text)
    }

    /// The refusal for a parameter that must be there.
    pub(super) fn missing(name: &str) -> Self {
        let text = format!("The request body must contain the following parameter: '{name}'.");
        Self::new("invalid_request", 900_144, &text)
    }

    /// A refusal with the usual words for its number.
    pub(super) fn numbered(error: impl Into<Cow<'static, str>>, number: u32) -> Self {
        Self::new(error, number, words(number))
    }

    /// What stands behind `AADSTSnnnnn:` and before the ids.
    pub(super) fn sentence(&self) -> String {
        format!("AADSTS{}: {}", self.number, self.text)
    }

    /// The answer of the token endpoint.
    pub(super) fn answer(&self) -> Answer {
        let (trace, correlation) = (crate::ids::guid_text(rand::random()), crate::ids::guid_text(rand::random()));
        let timestamp = clock::format(clock::now()).replace('T', " ");
        let usual = if self.error == "invalid_client" { 401 } else { 400 };
        let description = format!(
            "{}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {timestamp}",
            self.sentence()
        );
        let mut body = json!({
            "error": self.error,
            "error_description": description,
            "error_codes": [self.number],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.number),
        });
        if let Some(members) = body.as_object_mut() {
            for (name, value) in [("suberror", &self.suberror), ("claims", &self.claims)] {
                if let Some(value) = value {
                    members.insert(name.to_owned(), Value::String(value.clone()));
                }
            }
        }
        Answer::plain_json(self.status.unwrap_or(usual), &body)
    }

    /// The page that a browser shows when it can't be sent back.
    pub(super) fn page(&self) -> Answer {
        Answer::other(400, "text/html; charset=utf-8", &pages::error(&self.sentence()))
    }
}

/// The usual words for a number.
pub(super) fn words(number: u32) -> &'static str {
    match number {
        50_005 => {
            "User tried to log in to a device from a platform that's currently not supported through Conditional Access policy."
        }
        50_020 | 90_072 => {
            "User account from identity provider does not exist in tenant and cannot access the application."
        }
        50_033 | 90_006 | 90_024 | 90_033 => "A transient error has occurred. Please try again.",
        50_034 => "The user account does not exist in the directory.",
        50_055 => "The password is expired.",
        50_057 => "The user account is disabled.",
        50_058 => "A silent sign-in request was sent but no user is signed in.",
        50_074 | 50_076 => {
            "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access the resource."
        }
        50_078 => "Presented multi-factor authentication has expired due to policies configured by your administrator.",
        50_079 => {
            "Due to a configuration change made by your administrator, you must enroll in multi-factor authentication."
        }
        50_105 => {
            "Your administrator has configured the application to block users unless they are specifically granted access to it."
        }
        50_173 => {
            "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password."
        }
        50_196 => "The server terminated an operation because it encountered a client request loop.",
        53_000 => "Device is not in required device state. Conditional Access policy requires a compliant device.",
        53_001 => "Device is not in required device state. Conditional Access policy requires a domain joined device.",
        53_003 => {
            "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."
        }
        530_032 => "Blocked by security policy.",
        65_001 => {
            "The user or administrator has not consented to use the application. Send an interactive authorization request for this user and resource."
        }
        65_002 => {
            "Consent between first party application and first party resource must be configured via preauthorization."
        }
        65_004 => "User declined to consent to access the app.",
        70_008 | 700_082 => "The refresh token has expired due to inactivity.",
        70_043 => "The refresh token has expired or is invalid due to sign-in frequency checks by Conditional Access.",
        700_084 => {
            "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of 1.00:00:00, which cannot be extended."
        }
        90_002 => {
            "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
        }
        90_008 => "The user or administrator has not consented to use the application.",
        90_038 => "Confidential Client is not supported in Cross Cloud request. The tenant lives in a national cloud.",
        90_094 => "Admin consent is required for the permissions requested by this application.",
        90_095 => "Admin consent is required for the permissions requested by this application; it can be asked for.",
        _ => "The sign-in can't go on.",
    }
}
