//! `GET /me`: who signed in.

use serde_json::{Map, Value, json};

use crate::graph::{Call, Desk};
use crate::reply::Answer;

/// What is told when nothing is selected.
const USUAL: [&str; 11] = [
    "businessPhones",
    "displayName",
    "givenName",
    "jobTitle",
    "mail",
    "mobilePhone",
    "officeLocation",
    "preferredLanguage",
    "surname",
    "userPrincipalName",
    "id",
];

/// Tells the properties of the user that were selected.
pub(crate) fn answer(desk: &Desk<'_>, call: &Call) -> Result<Answer, Answer> {
    let selected: Vec<&str> = match call.query.get("$select") {
        None => USUAL.to_vec(),
        Some(list) => list.split(',').map(str::trim).map(known).collect::<Result<_, _>>()?,
    };
    let suffix = if call.query.get("$select").is_some() { format!("({})", selected.join(",")) } else { String::new() };
    let mut user = Map::new();
    let context = format!("{}/v1.0/$metadata#users{suffix}/$entity", call.base);
    user.insert("@odata.context".to_owned(), Value::String(context));
    for name in selected {
        user.insert(name.to_owned(), property(desk, name));
    }
    Ok(Answer::value(200, &Value::Object(user)))
}

/// The spelling of a property, which may be asked for in any case.
fn known(name: &str) -> Result<&'static str, Answer> {
    USUAL.into_iter().find(|one| one.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let text = format!(
            "Parsing OData Select and Expand failed: Could not find a property named '{name}' on type 'microsoft.graph.user'."
        );
        Answer::error(400, "BadRequest", &text)
    })
}

fn property(desk: &Desk<'_>, name: &str) -> Value {
    let mailbox = &desk.mailbox;
    match name {
        "id" => json!(mailbox.ids.guid_text()),
        "displayName" | "userPrincipalName" => json!(mailbox.user),
        "mail" if !mailbox.mail.is_empty() => json!(mailbox.mail),
        "businessPhones" => json!([]),
        _ => Value::Null,
    }
}
