//! Messages as Graph writes them. Text is put together by hand: pages of a thousand items are the simulator's
//! heaviest work, and it shares its processors with the program under test.

use std::fmt::Write as _;

use crate::clock;
use crate::content::Summary;
use crate::mailbox::{Mailbox, Message};
use crate::mime_generator::Generator;
use crate::reply::Answer;

/// The properties in the order in which they are written; a selection is a set of positions.
const FIELDS: [&str; 28] = [
    "id",
    "createdDateTime",
    "lastModifiedDateTime",
    "changeKey",
    "categories",
    "receivedDateTime",
    "sentDateTime",
    "hasAttachments",
    "internetMessageId",
    "subject",
    "bodyPreview",
    "importance",
    "parentFolderId",
    "conversationId",
    "isDeliveryReceiptRequested",
    "isReadReceiptRequested",
    "isRead",
    "isDraft",
    "webLink",
    "inferenceClassification",
    "body",
    "sender",
    "from",
    "toRecipients",
    "ccRecipients",
    "bccRecipients",
    "flag",
    "internetMessageHeaders",
];
const ID: u32 = 1;
const IS_READ: u32 = 1 << 16;
const PARENT: u32 = 1 << 12;
/// Those that are read from the text of the message.
const TEXTUAL: u32 = 1 << 6 | 1 << 7 | 1 << 9 | BODILY | 1 << 21 | 1 << 22 | 1 << 23 | 1 << 24 | 1 << 27;
/// Those that need more than its header.
const BODILY: u32 = 1 << 10 | 1 << 20;

/// What to write of a message.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    fields: u32,
    /// Extended properties to write, in normal spelling.
    pub(crate) expand: Vec<String>,
    pub(crate) immutable: bool,
}

impl Shape {
    /// What `$select` and `$expand` ask for.
    pub(crate) fn new(select: Option<&str>, expand: Option<&str>, immutable: bool) -> Result<Self, Answer> {
        let mut fields = 0;
        for name in select.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let at = FIELDS.iter().position(|field| field.eq_ignore_ascii_case(name)).ok_or_else(|| {
                Answer::error(
                    400,
                    "RequestBroker--ParseUri",
                    &format!("Could not find a property named '{name}' on type 'Microsoft.OutlookServices.Message'."),
                )
            })?;
            fields |= 1 << at;
        }
        let fields = if fields == 0 { (1 << (FIELDS.len() - 1)) - 1 } else { fields | ID };
        let expand = expand.map(crate::odata::expanded_properties).transpose()?.unwrap_or_default();
        Ok(Self { fields, expand, immutable })
    }

    /// Every property, and nothing expanded.
    pub(crate) fn full(immutable: bool) -> Self {
        Self { fields: (1 << (FIELDS.len() - 1)) - 1, expand: Vec::new(), immutable }
    }

    /// The three properties that a toggle of the read state is told with.
    pub(crate) fn read_toggle(immutable: bool) -> Self {
        Self { fields: ID | IS_READ | PARENT, expand: Vec::new(), immutable }
    }

    /// Whether the read state was asked for.
    pub(crate) fn has_read(&self) -> bool {
        self.fields & IS_READ != 0
    }
}

/// Writes text as JSON does, with its quotes.
pub(crate) fn push_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                // Writing into a string can't fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

fn push_person(out: &mut String, (name, address): &(String, String)) {
    out.push_str("{\"emailAddress\":{\"name\":");
    push_text(out, name);
    out.push_str(",\"address\":");
    push_text(out, address);
    out.push_str("}}");
}

fn push_people(out: &mut String, people: &[(String, String)]) {
    out.push('[');
    for (at, person) in people.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_person(out, person);
    }
    out.push(']');
}

/// The change key; base64 of a number that grows with every change of the mailbox.
pub(crate) fn change_key(message: &Message) -> String {
    use base64::Engine as _;
    let mut bytes = [0_u8; 21];
    bytes[0] = 9;
    bytes[5..13].copy_from_slice(&message.change.to_be_bytes());
    bytes[13..17].copy_from_slice(&message.key.to_be_bytes());
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The etag, as it stands in `@odata.etag` and comes back in If-Match.
pub(crate) fn etag(message: &Message) -> String {
    format!("W/\"{}\"", change_key(message))
}

/// Writes one message as an object. `context` is the prefix of `@odata.context`, for an answer of one message.
pub(crate) fn push(
    out: &mut String,
    mailbox: &Mailbox,
    generator: &Generator,
    message: &Message,
    shape: &Shape,
    head: Head<'_>,
) {
    let summary = if shape.fields & TEXTUAL != 0 {
        message.source.summary(generator, shape.fields & BODILY != 0)
    } else {
        Summary::default()
    };
    out.push('{');
    match head {
        Head::Single(base) => {
            let _ = write!(
                out,
                "\"@odata.context\":\"{base}/v1.0/$metadata#users('{}')/messages/$entity\",",
                mailbox.ids.guid_text()
            );
        }
        Head::Delta => out.push_str("\"@odata.type\":\"#microsoft.graph.message\","),
        Head::Listed => {}
    }
    let key = change_key(message);
    let _ = write!(out, "\"@odata.etag\":\"W/\\\"{key}\\\"\"");
    for (at, name) in FIELDS.iter().enumerate() {
        if shape.fields & (1 << at) != 0 {
            let _ = write!(out, ",\"{name}\":");
            push_field(out, mailbox, message, &summary, &key, name, shape.immutable);
        }
    }
    push_properties(out, generator, message, &shape.expand);
    out.push('}');
}

/// What stands before a message's properties.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Head<'a> {
    /// One message is the whole answer; with the address of the service.
    Single(&'a str),
    /// One of a list.
    Listed,
    /// One of a page of delta.
    Delta,
}

fn push_field(
    out: &mut String,
    mailbox: &Mailbox,
    message: &Message,
    summary: &Summary,
    change_key: &str,
    name: &str,
    immutable: bool,
) {
    let time = |out: &mut String, seconds| {
        let _ = write!(out, "\"{}\"", clock::format(seconds));
    };
    let truth = |out: &mut String, value: bool| out.push_str(if value { "true" } else { "false" });
    match name {
        "id" => {
            let _ = write!(out, "\"{}\"", mailbox.id_of(message, immutable));
        }
        "createdDateTime" | "receivedDateTime" => time(out, message.received),
        "sentDateTime" => time(out, message.received - 3),
        "lastModifiedDateTime" => time(out, message.modified),
        "changeKey" => {
            let _ = write!(out, "\"{change_key}\"");
        }
        "categories" => {
            out.push('[');
            for (at, category) in message.categories.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push_text(out, category);
            }
            out.push(']');
        }
        "hasAttachments" => truth(out, summary.has_attachments),
        "internetMessageId" => match &message.internet_id {
            Some(id) => push_text(out, id),
            None => out.push_str("null"),
        },
        "subject" => push_text(out, &summary.subject),
        "bodyPreview" => push_text(out, &summary.preview),
        "importance" => out.push_str("\"normal\""),
        "inferenceClassification" => out.push_str("\"focused\""),
        "parentFolderId" => {
            let _ = write!(out, "\"{}\"", mailbox.ids.folder(message.folder));
        }
        "conversationId" => {
            let _ = write!(out, "\"AAQk{:08x}\"", message.key);
        }
        "isReadReceiptRequested" => truth(out, false),
        "isRead" => truth(out, message.is_read),
        "isDraft" => truth(out, message.is_draft),
        "webLink" => {
            let _ = write!(out, "\"https://outlook.example.com/owa/?ItemID={}\"", message.key);
        }
        "body" => {
            out.push_str("{\"contentType\":\"text\",\"content\":");
            push_text(out, &summary.preview);
            out.push('}');
        }
        "sender" | "from" => match &summary.from {
            Some(person) => push_person(out, person),
            None => out.push_str("null"),
        },
        "toRecipients" => push_people(out, &summary.to),
        "ccRecipients" => push_people(out, &summary.cc),
        "bccRecipients" => out.push_str("[]"),
        "flag" => {
            let _ = write!(out, "{{\"flagStatus\":\"{}\"}}", message.flag.as_str());
        }
        "internetMessageHeaders" => {
            out.push('[');
            for (at, (name, value)) in summary.headers.iter().enumerate() {
                out.push_str(if at > 0 { ",{\"name\":" } else { "{\"name\":" });
                push_text(out, name);
                out.push_str(",\"value\":");
                push_text(out, value);
                out.push('}');
            }
            out.push(']');
        }
        _ => out.push_str("null"),
    }
}

fn push_properties(out: &mut String, generator: &Generator, message: &Message, ids: &[String]) {
    let mut first = true;
    for id in ids {
        let value = match id.as_str() {
            "Integer 0xe07" => {
                Some((u32::from(message.is_read) | u32::from(message.is_draft) << 3 | 0x400).to_string())
            }
            // What the mailbox spends on a message is more than the message, and not told of one that can't be read.
            "Integer 0xe08" => message.source.size(generator).map(|size| (size + 2048).to_string()),
            other => message.properties.get(other).cloned(),
        };
        if let Some(value) = value {
            out.push_str(if first { ",\"singleValueExtendedProperties\":[{\"id\":" } else { ",{\"id\":" });
            push_text(out, id);
            out.push_str(",\"value\":");
            push_text(out, &value);
            out.push('}');
            first = false;
        }
    }
    if !first {
        out.push(']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_have_the_names_that_the_constants_mean() {
        let at = |bit: u32| FIELDS[bit.trailing_zeros() as usize];
        assert_eq!((at(ID), at(IS_READ), at(PARENT)), ("id", "isRead", "parentFolderId"));
        let bodily: Vec<&str> =
            (0..28_u32).filter(|bit| BODILY & 1 << bit != 0).map(|bit| FIELDS[bit as usize]).collect();
        assert_eq!(bodily, ["bodyPreview", "body"]);
        let textual: Vec<&str> =
            (0..28_u32).filter(|bit| TEXTUAL & 1 << bit != 0).map(|bit| FIELDS[bit as usize]).collect();
        assert_eq!(textual.first(), Some(&"sentDateTime"));
        assert!(textual.contains(&"internetMessageHeaders") && textual.contains(&"from"));
    }

    #[test]
    fn text_is_escaped() {
        let mut out = String::new();
        push_text(&mut out, "a\"\\\n\u{1}é");
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), "a\"\\\n\u{1}é");
    }
}
