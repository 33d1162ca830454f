//! The administration interface over HTTP; `ADMINISTRATION.md` describes it.

mod mail;
mod service;
mod sign_in;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cloud::{AdminError, Cloud};
use crate::odata::Query;
use crate::reply::Answer;

/// One administrative request.
struct Order<'a> {
    cloud: &'a Cloud,
    query: &'a Query,
    body: &'a [u8],
}

impl Order<'_> {
    /// The user that is meant: of the query, or the first.
    fn user(&self) -> &str {
        self.query.get("user").unwrap_or_default()
    }

    /// The body as what it should be; an empty body is an empty object.
    fn read<T: DeserializeOwned>(&self) -> Result<T, AdminError> {
        let text: &[u8] = if self.body.is_empty() { b"{}" } else { self.body };
        serde_json::from_slice(text).map_err(|error| AdminError::Invalid(error.to_string()))
    }
}

/// Answers an administrative request.
pub(crate) fn answer(cloud: &Cloud, method: &str, path: &str, query: &Query, body: &[u8]) -> Answer {
    let order = Order { cloud, query, body };
    let decoded: Vec<String> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .skip(1)
        .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let result = mail::answer(&order, method, &segments)
        .or_else(|| service::answer(&order, method, &segments))
        .or_else(|| sign_in::answer(&order, method, &segments));
    match result {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => {
            let status = match error {
                AdminError::Invalid(_) => 400,
                AdminError::NoUser(_) | AdminError::NoMessage(_) | AdminError::NoFolder(_) => 404,
                AdminError::Read(_) => 500,
            };
            Answer::value(status, &json!({"error": error.to_string()}))
        }
        None => Answer::value(404, &json!({"error": format!("there is no {method} {path}")})),
    }
}

type Reply = Option<Result<Answer, AdminError>>;

fn ok(value: &impl serde::Serialize) -> Result<Answer, AdminError> {
    serde_json::to_string(value)
        .map(|text| Answer::json(200, text))
        .map_err(|error| AdminError::Invalid(error.to_string()))
}

fn done() -> Result<Answer, AdminError> {
    ok(&Value::Object(serde_json::Map::new()))
}
