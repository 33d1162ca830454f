//! What happens to mail and folders behind the client's back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::{Order, Reply, done, ok};
use crate::clock;
use crate::cloud::{AdminError, Deletion, FlagChange, NewMessage};
use crate::mailbox::FlagStatus;
use crate::reply::{Answer, Content};
use crate::state::StateQuery;

/// When a message was received: seconds since 1970, or as Graph writes it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(i64),
    Text(String),
}

impl Time {
    fn seconds(&self) -> Result<i64, AdminError> {
        match self {
            Self::Seconds(seconds) => Ok(*seconds),
            Self::Text(text) => clock::parse(text).ok_or_else(|| AdminError::Invalid(format!("`{text}` isn't a time"))),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools)] // Independent marks of a message.
struct Delivery {
    folder: String,
    mime: Option<String>,
    mime_base64: Option<String>,
    verbatim: bool,
    count: usize,
    received: Option<Time>,
    is_read: bool,
    flag: FlagStatus,
    replied: bool,
    forwarded: bool,
    is_draft: bool,
    unconvertible: bool,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            folder: "inbox".to_owned(),
            mime: None,
            mime_base64: None,
            verbatim: false,
            count: 1,
            received: None,
            is_read: false,
            flag: FlagStatus::NotFlagged,
            replied: false,
            forwarded: false,
            is_draft: false,
            unconvertible: false,
        }
    }
}

#[derive(Deserialize)]
struct Place {
    folder: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFolder {
    path: String,
    #[serde(default)]
    hidden: bool,
}

#[derive(Deserialize)]
struct Rename {
    path: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct How {
    how: Deletion,
}

pub(super) fn answer(order: &Order<'_>, method: &str, segments: &[&str]) -> Reply {
    let (cloud, user) = (order.cloud, order.user());
    Some(match (method, segments) {
        ("GET", ["state"]) => state(order),
        ("POST", ["messages"]) => deliver(order),
        ("GET", ["message", id]) => cloud.message(user, id).and_then(|message| ok(&message)),
        ("GET", ["message", id, "mime"]) => {
            cloud.mime(user, id).map(|bytes| Answer { status: 200, headers: Vec::new(), content: Content::Mime(bytes) })
        }
        ("PUT", ["message", id, "mime"]) => cloud.edit_draft(user, id, order.body).and_then(|()| done()),
        ("POST", ["message", id, "send"]) => cloud.send_draft(user, id).and_then(|()| done()),
        ("POST", ["message", id, "flags"]) => {
            order.read::<FlagChange>().and_then(|change| cloud.set_flags(user, id, change)).and_then(|()| done())
        }
        ("POST", ["message", id, "move"]) => {
            order.read::<Place>().and_then(|place| cloud.move_message(user, id, &place.folder)).and_then(|()| done())
        }
        ("POST", ["message", id, "away-and-back"]) => order
            .read::<Place>()
            .and_then(|place| cloud.move_away_and_back(user, id, &place.folder))
            .and_then(|()| done()),
        ("POST", ["message", id, "delete"]) => {
            order.read::<How>().and_then(|how| cloud.delete_message(user, id, how.how)).and_then(|()| done())
        }
        ("POST", ["message", id, "rot-classic-id"]) => cloud.rot_classic_id(user, id).and_then(|()| done()),
        ("POST", ["trash", "empty"]) => cloud.empty_trash(user).and_then(|count| ok(&json!({"deleted": count}))),
        ("POST", ["folders"]) => order
            .read::<NewFolder>()
            .and_then(|new| cloud.create_folder(user, &new.path, new.hidden))
            .and_then(|id| ok(&json!({"id": id}))),
        ("POST", ["folders", "rename"]) => order
            .read::<Rename>()
            .and_then(|rename| cloud.rename_folder(user, &rename.path, &rename.name))
            .and_then(|()| done()),
        ("POST", ["folders", "delete"]) => {
            order.read::<Place>().and_then(|place| cloud.delete_folder(user, &place.folder)).and_then(|()| done())
        }
        _ => return None,
    })
}

fn state(order: &Order<'_>) -> Result<Answer, AdminError> {
    let number = |name: &str, default: usize| {
        order.query.get(name).map_or(Ok(default), |text| {
            text.parse().map_err(|_| AdminError::Invalid(format!("`{name}` isn't a number")))
        })
    };
    let query = StateQuery {
        folder: order.query.get("folder").map(str::to_owned),
        skip: number("skip", 0)?,
        top: number("top", usize::MAX)?,
        hashes: order.query.get("hashes") != Some("false"),
    };
    order.cloud.state_of(order.user(), &query).and_then(|state| ok(&state))
}

fn deliver(order: &Order<'_>) -> Result<Answer, AdminError> {
    let delivery: Delivery = order.read()?;
    let mime = match (delivery.mime, delivery.mime_base64) {
        (Some(text), _) => Some(text.into_bytes()),
        (None, Some(text)) => {
            Some(STANDARD.decode(text).map_err(|_| AdminError::Invalid("mime_base64 isn't base64".to_owned()))?)
        }
        (None, None) => None,
    };
    let received = delivery.received.as_ref().map(Time::seconds).transpose()?;
    let ids = (0..delivery.count)
        .map(|_| {
            order.cloud.add_message(
                order.user(),
                NewMessage {
                    folder: delivery.folder.clone(),
                    mime: mime.clone(),
                    verbatim: delivery.verbatim,
                    received,
                    is_read: delivery.is_read,
                    flag: delivery.flag,
                    replied: delivery.replied,
                    forwarded: delivery.forwarded,
                    is_draft: delivery.is_draft,
                    unconvertible: delivery.unconvertible,
                },
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    ok(&json!({"ids": ids}))
}
