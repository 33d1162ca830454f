//! Messages: listing, looking up, downloading.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::clock;
use crate::cloud::{Inner, lock};
use crate::content;
use crate::folders::next_link;
use crate::graph::{Call, Desk, mode_refusal, only};
use crate::ids::ItemId;
use crate::knobs::Knobs;
use crate::mailbox::{Mailbox, Message, bad_id};
use crate::message_json::{self, Head, Shape};
use crate::odata::{self, Comparison};
use crate::reply::{Answer, Content};
use crate::well_known;

/// The message that a request names, which must lie in the folder that it names, if it names one.
pub(crate) fn find<'a>(
    mailbox: &'a Mailbox,
    knobs: &Knobs,
    folder: Option<&str>,
    id: &str,
) -> Result<&'a Message, Answer> {
    let message = mailbox.message_by_id(id)?;
    match folder {
        Some(folder) if mailbox.folder_by_id(folder, knobs.archive_exists)? != message.folder => {
            Err(Answer::not_found())
        }
        _ => Ok(message),
    }
}

/// One message as a whole answer.
pub(crate) fn single(desk: &Desk<'_>, call: &Call, key: u32, status: u16, shape: &Shape) -> Result<Answer, Answer> {
    let message = desk.mailbox.message(key).ok_or_else(Answer::not_found)?;
    let mut out = String::with_capacity(2048);
    message_json::push(&mut out, desk.mailbox, &desk.inner.generator, message, shape, Head::Single(&call.base));
    Ok(Answer::json(status, out).with("ETag", message_json::etag(message)))
}

/// `GET /me/messages/{id}`
pub(crate) fn get(desk: &Desk<'_>, call: &Call, folder: Option<&str>, id: &str) -> Result<Answer, Answer> {
    only(desk, call, &["$select", "$expand"])?;
    let shape = Shape::new(call.query.get("$select"), call.query.get("$expand"), call.immutable())?;
    let key = find(desk.mailbox, desk.knobs, folder, id)?.key;
    single(desk, call, key, 200, &shape)
}

/// `GET /me/messages/{id}/$value`
pub(crate) fn value(
    inner: &Inner,
    mailbox: &Mutex<Mailbox>,
    knobs: &Knobs,
    call: &Call,
    folder: Option<&str>,
    id: &str,
) -> Answer {
    if folder.is_some() {
        inner.tally.violation("value: a message was downloaded through its folder");
        return Answer::error(400, "ErrorInvalidRequest", "The OData request is not supported.");
    }
    if let Some(name) = call.query.unknown(&[]) {
        inner.tally.violation(format!("value: query option '{name}' isn't supported"));
        return Answer::error(400, "ErrorInvalidUrlQuery", &format!("The query parameter '{name}' is not supported."));
    }
    let found = {
        let mailbox = lock(mailbox);
        if let Some(refusal) = mode_refusal(mailbox.mode, false) {
            return refusal;
        }
        find(&mailbox, knobs, None, id)
            .map(|message| (message.source.clone(), message.unconvertible, mailbox.ids.immutable(message.key)))
    };
    let (source, unconvertible, immutable) = match found {
        Ok(found) => found,
        Err(refusal) => return refusal,
    };
    if unconvertible {
        return Answer::error(
            500,
            "ErrorMimeContentConversionFailed",
            "The process failed to get the correct properties.",
        );
    }
    let bytes = match source.wire(&inner.generator) {
        Ok(bytes) => bytes,
        Err(error) => return Answer::error(500, "ErrorCorruptData", &format!("The item is corrupt: {error}")),
    };
    let round = inner.tally.download(&call.user, immutable);
    let bytes = match (knobs.unstable_mime, knobs.rebuild_mime) {
        (true, _) => content::rebuild(&bytes, round).into(),
        (false, true) => content::rebuild(&bytes, 0).into(),
        (false, false) => bytes,
    };
    Answer { status: 200, headers: Vec::new(), content: Content::Mime(bytes) }
}

/// `GET /me/mailFolders/{id}/messages` and `GET /me/messages`
pub(crate) fn list(desk: &mut Desk<'_>, call: &Call, folder: Option<&str>) -> Result<Answer, Answer> {
    only(desk, call, &["$select", "$expand", "$top", "$skip", "$orderby", "$filter", "$count"])?;
    let shape = Shape::new(call.query.get("$select"), call.query.get("$expand"), call.immutable())?;
    let top = match (call.query.number("$top")?, call.page_size()) {
        (Some(top), _) if top == 0 || top > 1000 => {
            return Err(Answer::error(400, "ErrorInvalidUrlQuery", "The value of $top must be between 1 and 1000."));
        }
        (Some(top), _) => top,
        (None, Some(page)) => page.clamp(1, 1000),
        (None, None) => 10,
    };
    if desk.knobs.list_timeout_above > 0 && top > desk.knobs.list_timeout_above {
        return Err(Answer::error(504, "GatewayTimeout", "The request timed out."));
    }
    let skip = call.query.number("$skip")?.unwrap_or(0);
    let order = order(call.query.get("$orderby"))?;
    let filter = match call.query.get("$filter") {
        None => Vec::new(),
        Some(text) => odata::comparisons(text, "and")
            .ok_or_else(|| Answer::error(400, "ErrorInvalidUrlQuery", &format!("Invalid filter clause: {text}")))?,
    };
    for one in filter.iter().filter(|one| one.property.eq_ignore_ascii_case("internetMessageId")) {
        desk.mailbox.made_unseen.remove(&one.value);
    }
    if call.query.get("$orderby").is_some()
        && filter.first().is_some_and(|one| !one.property.eq_ignore_ascii_case("receivedDateTime"))
    {
        return Err(Answer::error(
            400,
            "InefficientFilter",
            "The restriction or sort order is too complex for this operation.",
        ));
    }
    let (keys, path) = if let Some(id) = folder {
        let key = desk.mailbox.folder_by_id(id, desk.knobs.archive_exists)?;
        (vec![key], format!("mailFolders('{}')/messages", desk.mailbox.ids.folder(key)))
    } else {
        let keys = desk.mailbox.folders.iter().filter(|one| !one.gone && one.key != well_known::RECOVERABLE);
        (keys.map(|one| one.key).collect(), "messages".to_owned())
    };
    let page = select_page(desk.mailbox, &keys, order, &filter, skip, top)?;
    let mut out = String::with_capacity(256 + page.keys.len() * 400);
    let guid = desk.mailbox.ids.guid_text();
    let _ = write!(out, "{{\"@odata.context\":\"{}/v1.0/$metadata#users('{guid}')/{path}\"", call.base);
    if call.query.get("$count") == Some("true") {
        let total: usize = keys.iter().filter_map(|key| desk.mailbox.folder(*key)).map(|one| one.by_time.len()).sum();
        let _ = write!(out, ",\"@odata.count\":{total}");
    }
    out.push_str(",\"value\":[");
    for (at, key) in page.keys.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let message = desk.mailbox.message(*key).ok_or_else(Answer::not_found)?;
        message_json::push(&mut out, desk.mailbox, &desk.inner.generator, message, &shape, Head::Listed);
    }
    out.push(']');
    if page.more {
        let _ = write!(out, ",\"@odata.nextLink\":\"{}\"", next_link(call, &path, skip + top));
    }
    out.push('}');
    Ok(Answer::json(200, out))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    NewestFirst,
    OldestFirst,
}

fn order(text: Option<&str>) -> Result<Order, Answer> {
    let Some(text) = text else { return Ok(Order::NewestFirst) };
    let lower = text.to_ascii_lowercase();
    match lower.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["receiveddatetime", "desc"] => Ok(Order::NewestFirst),
        ["receiveddatetime"] | ["receiveddatetime", "asc"] => Ok(Order::OldestFirst),
        _ => Err(Answer::error(400, "ErrorInvalidUrlQuery", &format!("The $orderby '{text}' is not supported."))),
    }
}

struct Page {
    keys: Vec<u32>,
    more: bool,
}

fn select_page(
    mailbox: &Mailbox,
    folders: &[u32],
    order: Order,
    filter: &[Comparison],
    skip: usize,
    top: usize,
) -> Result<Page, Answer> {
    let merged: BTreeSet<(i64, u32)>;
    let index = match folders {
        [one] => &mailbox.folder(*one).ok_or_else(Answer::not_found)?.by_time,
        many => {
            merged = many
                .iter()
                .filter_map(|key| mailbox.folder(*key))
                .flat_map(|one| one.by_time.iter().copied())
                .collect();
            &merged
        }
    };
    let mut keys: Box<dyn Iterator<Item = &(i64, u32)>> = match order {
        Order::NewestFirst => Box::new(index.iter().rev()),
        Order::OldestFirst => Box::new(index.iter()),
    };
    if filter.is_empty() {
        let keys: Vec<u32> = keys.skip(skip).take(top).map(|(_, key)| *key).collect();
        return Ok(Page { more: skip + keys.len() < index.len(), keys });
    }
    let mut passed = 0;
    let mut page = Page { keys: Vec::new(), more: false };
    for (_, key) in &mut keys {
        let Some(message) = mailbox.message(*key) else { continue };
        if !matches_all(message, filter)? {
            continue;
        }
        passed += 1;
        if passed <= skip {
            continue;
        }
        if page.keys.len() == top {
            page.more = true;
            break;
        }
        page.keys.push(*key);
    }
    Ok(page)
}

fn matches_all(message: &Message, filter: &[Comparison]) -> Result<bool, Answer> {
    for one in filter {
        if !matches_one(message, one)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn matches_one(message: &Message, one: &Comparison) -> Result<bool, Answer> {
    let refuse =
        || Answer::error(400, "ErrorInvalidUrlQuery", &format!("The filter on '{}' is not supported.", one.property));
    let ordering = match one.property.to_ascii_lowercase().as_str() {
        "receiveddatetime" => message.received.cmp(&clock::parse(&one.value).ok_or_else(refuse)?),
        "lastmodifieddatetime" => message.modified.cmp(&clock::parse(&one.value).ok_or_else(refuse)?),
        "isread" => message.is_read.cmp(&one.value.parse().map_err(|_| refuse())?),
        "isdraft" => message.is_draft.cmp(&one.value.parse().map_err(|_| refuse())?),
        "internetmessageid" => message.internet_id.as_deref().unwrap_or_default().cmp(one.value.as_str()),
        "flag/flagstatus" => message.flag.as_str().cmp(one.value.as_str()),
        _ => return Err(refuse()),
    };
    Ok(match one.operator.as_str() {
        "eq" => ordering.is_eq(),
        "ne" => ordering.is_ne(),
        "ge" => ordering.is_ge(),
        "gt" => ordering.is_gt(),
        "le" => ordering.is_le(),
        _ => ordering.is_lt(),
    })
}

/// `POST /me/translateExchangeIds`, between the two kinds of ids that REST knows.
pub(crate) fn translate(desk: &Desk<'_>, call: &Call) -> Result<Answer, Answer> {
    let body: Value = serde_json::from_slice(&call.body)
        .map_err(|error| Answer::error(400, "UnableToDeserializePostBody", &error.to_string()))?;
    let inputs = body.get("inputIds").and_then(Value::as_array).cloned().unwrap_or_default();
    if inputs.len() > 1000 {
        return Err(Answer::error(400, "BadRequest", "At most 1000 ids can be translated at once."));
    }
    let immutable = match body.get("targetIdType").and_then(Value::as_str) {
        Some("restImmutableEntryId") => true,
        Some("restId") => false,
        _ => return Err(Answer::error(400, "BadRequest", "The target id type is not supported.")),
    };
    let value: Vec<Value> = inputs
        .iter()
        .filter_map(Value::as_str)
        .map(|id| {
            let key = desk.mailbox.ids.parse_item(id).map_err(bad_id).map(|item| match item {
                ItemId::Immutable { key } | ItemId::Classic { key, .. } => key,
            });
            match key.and_then(|key| desk.mailbox.message(key).ok_or_else(Answer::not_found)) {
                Ok(message) => json!({"sourceId": id, "targetId": desk.mailbox.id_of(message, immutable)}),
                Err(_) => {
                    json!({"sourceId": id, "errorDetails": {"code": "ErrorInvalidId", "message": "Id is malformed."}})
                }
            }
        })
        .collect();
    Ok(Answer::value(200, &json!({"value": value})))
}
