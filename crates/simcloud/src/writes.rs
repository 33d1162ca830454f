//! Changes: flags, moves, copies, deletions, drafts.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rand::Rng as _;
use serde_json::Value;

use crate::clock;
use crate::content::{self, Source, Summary, to_crlf};
use crate::graph::{Call, Desk, only};
use crate::mailbox::{FlagStatus, Message, STATUS, Touched};
use crate::message_json::{Shape, etag};
use crate::messages::{find, single};
use crate::odata::property_id;
use crate::reply::Answer;
use crate::well_known;

/// The largest request that is taken.
pub(crate) const LARGEST_REQUEST: usize = 4 * 1024 * 1024;

fn body(call: &Call) -> Result<Value, Answer> {
    serde_json::from_slice(&call.body).map_err(|error| unreadable(&error.to_string()))
}

pub(crate) fn unreadable(why: &str) -> Answer {
    Answer::error(400, "UnableToDeserializePostBody", &format!("were unable to deserialize: {why}"))
}

fn conflict() -> Answer {
    let (code, message) = crate::faults::usual_code(412);
    Answer::error(412, code, message)
}

fn check_match(call: &Call, message: &Message) -> Result<(), Answer> {
    match call.header("if-match") {
        Some(expected) if expected != "*" && expected != etag(message) => Err(conflict()),
        _ => Ok(()),
    }
}

/// What a PATCH asks for, read and checked before anything is changed.
#[derive(Default)]
struct Changes {
    is_read: Option<bool>,
    flag: Option<FlagStatus>,
    categories: Option<Vec<String>>,
    properties: BTreeMap<String, Option<String>>,
    message_id: Option<String>,
    /// Something that is accepted and not simulated, such as importance.
    other: bool,
}

impl Changes {
    fn read(desk: &Desk<'_>, body: &Value, is_draft: bool) -> Result<Self, Answer> {
        let members = body.as_object().ok_or_else(|| unreadable("not an object"))?;
        let mut changes = Self::default();
        for (name, value) in members {
            match name.as_str() {
                "isRead" => changes.is_read = Some(value.as_bool().ok_or_else(|| unreadable("isRead"))?),
                "flag" => {
                    let status = value.get("flagStatus").cloned().ok_or_else(|| unreadable("flag"))?;
                    changes.flag = Some(serde_json::from_value(status).map_err(|_| unreadable("flagStatus"))?);
                }
                "categories" => {
                    changes.categories =
                        Some(serde_json::from_value(value.clone()).map_err(|_| unreadable("categories"))?);
                }
                "importance" | "inferenceClassification" => changes.other = true,
                "singleValueExtendedProperties" => changes.read_properties(desk, value)?,
                "internetMessageId" if is_draft => {
                    let id =
                        value.as_str().filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()));
                    changes.message_id = Some(id.ok_or_else(|| unreadable("internetMessageId"))?.to_owned());
                }
                "subject" | "body" | "toRecipients" | "ccRecipients" | "bccRecipients" | "from" | "sender"
                | "replyTo" | "internetMessageId" => {
                    if !is_draft && desk.knobs.refuse_sensitive {
                        return Err(denied());
                    }
                    desk.tally.violation(format!("patch: '{name}' can't be changed"));
                    return Err(Answer::error(
                        400,
                        "ErrorInvalidPropertySet",
                        &format!("Property '{name}' can only be set on a draft, and here only by its MIME."),
                    ));
                }
                other if other.starts_with("@odata.") => {}
                other => {
                    desk.tally.violation(format!("patch: there is no writable property '{other}'"));
                    return Err(unreadable(&format!("'{other}' is not a writable property of a message")));
                }
            }
        }
        Ok(changes)
    }

    fn read_properties(&mut self, desk: &Desk<'_>, list: &Value) -> Result<(), Answer> {
        if desk.knobs.refuse_extended {
            return Err(denied());
        }
        for one in list.as_array().ok_or_else(|| unreadable("singleValueExtendedProperties"))? {
            let id = one.get("id").and_then(Value::as_str).ok_or_else(|| unreadable("a property without an id"))?;
            let id = property_id(id);
            let value = match one.get("value") {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Null) | None => None,
                Some(_) => return Err(unreadable("the value of an extended property must be a string")),
            };
            if id == STATUS {
                desk.tally.violation("patch: Integer 0xe17 can't be set");
                return Err(Answer::error(400, "ErrorInvalidPropertySet", "Property Integer 0xe17 is read-only."));
            }
            let sound = match (id.split(' ').next(), &value) {
                (_, None) | (Some("String"), _) => true,
                (Some("Integer"), Some(text)) => text.parse::<i32>().is_ok(),
                (Some("SystemTime"), Some(text)) => clock::parse(text).is_some(),
                _ => false,
            };
            if !sound {
                return Err(Answer::error(
                    400,
                    "ErrorInvalidPropertySet",
                    &format!("The value of '{id}' is not valid."),
                ));
            }
            self.properties.insert(id, value);
        }
        Ok(())
    }
}

fn denied() -> Answer {
    Answer::error(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
}

/// `PATCH /me/messages/{id}`
pub(crate) fn patch(desk: &mut Desk<'_>, call: &Call, folder: Option<&str>, id: &str) -> Result<Answer, Answer> {
    only(desk, call, &[])?;
    let message = find(desk.mailbox, desk.knobs, folder, id)?;
    check_match(call, message)?;
    let (key, was_read) = (message.key, message.is_read);
    let changes = Changes::read(desk, &body(call)?, message.is_draft)?;
    if call.header("if-match").is_none() && desk.mailbox.random.random_bool(desk.knobs.patch_conflict.clamp(0.0, 1.0)) {
        return Err(conflict());
    }
    let shape = Shape::full(call.immutable());
    let in_a_row = desk.mailbox.ignored.remove(&key).unwrap_or_default();
    let ignored = desk.mailbox.random.random_bool(desk.knobs.patch_ignored.clamp(0.0, 1.0))
        && in_a_row < desk.knobs.patch_ignored_in_a_row;
    if ignored {
        desk.mailbox.ignored.insert(key, in_a_row + 1);
    }
    let more = changes.flag.is_some()
        || changes.categories.is_some()
        || !changes.properties.is_empty()
        || changes.message_id.is_some()
        || changes.other;
    let toggled = changes.is_read.is_some_and(|read| read != was_read);
    if !ignored && (more || toggled) {
        let touched = if more { Touched::More } else { Touched::Read };
        let source = match &changes.message_id {
            Some(id) => Some(renamed(desk, key, id)?),
            None => None,
        };
        desk.mailbox.change(key, touched, |message| {
            if let (Some(source), Some(id)) = (source, changes.message_id) {
                message.source = source;
                message.internet_id = Some(id.into());
            }
            message.is_read = changes.is_read.unwrap_or(message.is_read);
            message.flag = changes.flag.unwrap_or(message.flag);
            if let Some(categories) = changes.categories {
                message.categories = categories;
            }
            for (id, value) in changes.properties {
                match value {
                    Some(value) => message.properties.insert(id, value),
                    None => message.properties.remove(&id),
                };
            }
        });
    }
    single(desk, call, key, 200, &shape)
}

/// A draft's text with another Message-ID. Under that, too, it counts as made.
fn renamed(desk: &mut Desk<'_>, key: u32, id: &str) -> Result<Source, Answer> {
    let message = desk.mailbox.message(key).ok_or_else(Answer::not_found)?;
    let corrupt = |error| Answer::error(500, "ErrorCorruptData", &format!("The item is corrupt: {error}"));
    let generator = &desk.inner.generator;
    let source = message.source.with_message_id(generator, id).map_err(corrupt)?;
    if message.internet_id.as_deref() != Some(id) {
        let made = message.source.hash_without_head(generator).map_err(corrupt)?;
        note_made_as(desk, id, *made.as_bytes());
    }
    Ok(source)
}

fn destination(desk: &Desk<'_>, call: &Call) -> Result<u32, Answer> {
    let body = body(call)?;
    let id = body
        .get("destinationId")
        .or_else(|| body.get("DestinationId"))
        .and_then(Value::as_str)
        .ok_or_else(|| unreadable("destinationId is missing"))?;
    desk.mailbox.folder_by_id(id, desk.knobs.archive_exists)
}

/// `POST /me/messages/{id}/move`
pub(crate) fn relocate(desk: &mut Desk<'_>, call: &Call, folder: Option<&str>, id: &str) -> Result<Answer, Answer> {
    only(desk, call, &[])?;
    let key = find(desk.mailbox, desk.knobs, folder, id)?.key;
    let to = destination(desk, call)?;
    let unseen = desk.mailbox.random.random_bool(desk.knobs.delta_moves_missing.clamp(0.0, 1.0));
    desk.mailbox.relocate(key, to, unseen).ok_or_else(Answer::not_found)?;
    single(desk, call, key, 201, &Shape::full(call.immutable()))
}

/// `POST /me/messages/{id}/copy`
pub(crate) fn copy(desk: &mut Desk<'_>, call: &Call, folder: Option<&str>, id: &str) -> Result<Answer, Answer> {
    only(desk, call, &[])?;
    let mut copy = find(desk.mailbox, desk.knobs, folder, id)?.clone();
    copy.folder = destination(desk, call)?;
    copy.generation = 0;
    let key = desk.mailbox.insert(copy, false);
    single(desk, call, key, 201, &Shape::full(call.immutable()))
}

/// `DELETE /me/messages/{id}` and `POST /me/messages/{id}/permanentDelete`
pub(crate) fn delete(
    desk: &mut Desk<'_>,
    call: &Call,
    folder: Option<&str>,
    id: &str,
    for_good: bool,
) -> Result<Answer, Answer> {
    only(desk, call, &[])?;
    let message = find(desk.mailbox, desk.knobs, folder, id)?;
    check_match(call, message)?;
    let (key, is_draft) = (message.key, message.is_draft);
    desk.mailbox.upload_sessions.retain(|_, session| session.draft != key);
    // Another draft may be about to take its place, which isn't a second one of its own Message-ID.
    if is_draft {
        desk.mailbox.made_unseen.clear();
    }
    let done =
        if for_good { desk.mailbox.purge(key) } else { desk.mailbox.relocate(key, well_known::RECOVERABLE, true) };
    done.map(|()| Answer::empty(204)).ok_or_else(Answer::not_found)
}

fn decode_mime(call: &Call) -> Result<Bytes, Answer> {
    if call.body.len() > LARGEST_REQUEST {
        return Err(Answer::error(413, "RequestEntityTooLarge", "The request is too large."));
    }
    if !call.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")) {
        return Err(unreadable("only MIME in base64, sent as text/plain, is taken"));
    }
    let text: Vec<u8> = call.body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(text).map_err(|_| {
        Answer::error(400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.")
    })?;
    Ok(to_crlf(&bytes).into())
}

/// `POST /me/messages`: MIME becomes a draft.
pub(crate) fn create(desk: &mut Desk<'_>, call: &Call, folder: Option<&str>) -> Result<Answer, Answer> {
    only(desk, call, &[])?;
    if folder.is_some() {
        return Err(unreadable("MIME can't be posted into a folder"));
    }
    let bytes = taken_in(desk, decode_mime(call)?);
    let message = new_message(well_known::DRAFTS, bytes, clock::now(), true);
    note_made(desk, call, &message);
    let key = desk.mailbox.insert(message, false);
    single(desk, call, key, 201, &Shape::full(call.immutable()))
}

/// `POST /me/mailFolders/{id}/importMime`, in the beta version: MIME becomes a message that isn't a draft.
pub(crate) fn import(desk: &mut Desk<'_>, call: &Call, folder: &str) -> Result<Answer, Answer> {
    only(desk, call, &[])?;
    let folder = desk.mailbox.folder_by_id(folder, desk.knobs.archive_exists)?;
    let bytes = taken_in(desk, decode_mime(call)?);
    let message = new_message(folder, bytes, clock::now(), false);
    note_made(desk, call, &message);
    let key = desk.mailbox.insert(message, false);
    single(desk, call, key, 201, &Shape::full(call.immutable()))
}

/// Notes that a client makes a message. Who makes it again must have looked for it first: the answer may have been lost.
fn note_made(desk: &mut Desk<'_>, call: &Call, message: &Message) {
    if let Some(id) = &message.internet_id {
        note_made_as(desk, id, *blake3::hash(&call.body).as_bytes());
    }
}

fn note_made_as(desk: &mut Desk<'_>, id: &str, hash: [u8; 32]) {
    if !desk.mailbox.made_unseen.entry(id.to_owned()).or_default().insert(hash) {
        desk.tally.violation("create: a message was made again by somebody who hadn't looked for the first one");
    }
}

/// What is stored of MIME that came in.
fn taken_in(desk: &Desk<'_>, bytes: Bytes) -> Bytes {
    if desk.knobs.uploads_kept { bytes } else { content::take_in(&bytes).into() }
}

/// `PUT /me/messages/{id}/$value`: a draft's text is replaced.
pub(crate) fn put_value(desk: &mut Desk<'_>, call: &Call, id: &str) -> Result<Answer, Answer> {
    only(desk, call, &[])?;
    let message = find(desk.mailbox, desk.knobs, None, id)?;
    check_match(call, message)?;
    if !message.is_draft {
        return Err(Answer::error(400, "ErrorInvalidOperation", "Only drafts can be changed."));
    }
    let key = message.key;
    let bytes = taken_in(desk, decode_mime(call)?);
    desk.mailbox.change(key, Touched::More, |message| replace_text(message, bytes));
    single(desk, call, key, 200, &Shape::full(call.immutable()))
}

/// Gives a message another text.
pub(crate) fn replace_text(message: &mut Message, bytes: Bytes) {
    message.internet_id = Summary::read(&bytes).message_id.map(Into::into);
    message.source = Source::Stored(bytes);
}

/// A message of these bytes, read if it is a draft and unread if it isn't.
pub(crate) fn new_message(folder: u32, bytes: Bytes, received: i64, is_draft: bool) -> Message {
    Message {
        key: 0,
        folder,
        generation: 0,
        internet_id: Summary::read(&bytes).message_id.map(Into::into),
        source: Source::Stored(bytes),
        received,
        modified: received,
        change: 0,
        is_read: is_draft,
        is_draft,
        flag: FlagStatus::NotFlagged,
        unconvertible: false,
        categories: Vec::new(),
        properties: BTreeMap::new(),
    }
}
