//! Replied and forwarded: MAPI properties that Graph carries as single-value extended properties.
//!
//! No one property is the truth. Outlook keeps an icon (`PidTagIconIndex`) and the last verb
//! (`PidTagLastVerbExecuted`), of which a message has one each, so that forwarding a message forgets that it was
//! replied to; Exchange's IMAP sets a bit of the message status, which can't be written from here.

use cms_engine::{Flags, UnixSeconds};
use serde_json::{Value, json};

use super::time::format_time;

const ICON_INDEX: u32 = 0x1080;
const LAST_VERB: u32 = 0x1081;
const LAST_VERB_TIME: u32 = 0x1082;
const MESSAGE_STATUS: u32 = 0xe17;
/// How many bytes the mailbox spends on the message (`PidTagMessageSize`), which is about what its MIME takes.
const MESSAGE_SIZE: u32 = 0xe08;

const ICON_NEW: i64 = -1;
const ICON_READ: i64 = 0x100;
const ICON_REPLIED: i64 = 0x105;
const ICON_FORWARDED: i64 = 0x106;

const VERB_NONE: i64 = 0;
const VERB_REPLY: i64 = 102;
const VERB_REPLY_ALL: i64 = 103;
const VERB_FORWARD: i64 = 104;

const STATUS_ANSWERED: i64 = 0x200;

/// The query that brings the properties with a message, ready to stand in an address.
pub(crate) const EXPAND: &str = "singleValueExtendedProperties($filter=id%20eq%20'Integer%200x1080'%20or%20id%20eq%20\
                                 'Integer%200x1081'%20or%20id%20eq%20'Integer%200xe17'%20or%20id%20eq%20\
                                 'Integer%200xe08')";

/// The properties of one message; what isn't set is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties {
    icon: Option<i64>,
    verb: Option<i64>,
    status: Option<i64>,
    size: Option<i64>,
}

impl Properties {
    /// Reads those that a message came with; nothing if it came with none.
    pub(crate) fn read(item: &Value) -> Option<Self> {
        let mut properties = Self::default();
        for property in item["singleValueExtendedProperties"].as_array()? {
            let (Some(tag), Some(value)) = (property["id"].as_str().and_then(tag_of), integer(&property["value"]))
            else {
                continue;
            };
            match tag {
                ICON_INDEX => properties.icon = Some(value),
                LAST_VERB => properties.verb = Some(value),
                MESSAGE_STATUS => properties.status = Some(value),
                MESSAGE_SIZE => properties.size = Some(value),
                _ => {}
            }
        }
        Some(properties)
    }

    pub(crate) fn replied(self) -> bool {
        self.is_shown_as_replied() || self.status.is_some_and(|status| status & STATUS_ANSWERED != 0)
    }

    /// Whether it says replied only where that can't be taken back from here.
    pub(crate) fn is_replied_for_good(self) -> bool {
        self.replied() && !self.is_shown_as_replied()
    }

    fn is_shown_as_replied(self) -> bool {
        self.icon == Some(ICON_REPLIED) || matches!(self.verb, Some(VERB_REPLY | VERB_REPLY_ALL))
    }

    pub(crate) fn forwarded(self) -> bool {
        self.icon == Some(ICON_FORWARDED) || self.verb == Some(VERB_FORWARD)
    }

    /// The size in bytes, if it makes sense as one.
    pub(crate) fn size(self) -> Option<u64> {
        self.size.and_then(|size| u64::try_from(size).ok())
    }
}

/// The properties to write when replied or forwarded change, or nothing if they don't.
///
/// Of several marks that a message shall have, the newest is kept: the one just set.
pub(crate) fn written(add: Flags, remove: Flags, result: Flags, now: UnixSeconds) -> Option<Value> {
    let marks = Flags::REPLIED | Flags::PASSED;
    if ((add | remove) & marks).is_empty() {
        return None;
    }
    let shown = if (add & marks).is_empty() { result & marks } else { add & marks };
    let (verb, icon) = if shown.contains(Flags::REPLIED) {
        (VERB_REPLY_ALL, ICON_REPLIED)
    } else if shown.contains(Flags::PASSED) {
        (VERB_FORWARD, ICON_FORWARDED)
    } else if result.contains(Flags::SEEN) {
        (VERB_NONE, ICON_READ)
    } else {
        (VERB_NONE, ICON_NEW)
    };
    let mut properties = vec![
        json!({"id": format!("Integer 0x{LAST_VERB:x}"), "value": verb.to_string()}),
        json!({"id": format!("Integer 0x{ICON_INDEX:x}"), "value": icon.to_string()}),
    ];
    if verb != VERB_NONE {
        properties.push(json!({"id": format!("SystemTime 0x{LAST_VERB_TIME:x}"), "value": format_time(now)}));
    }
    Some(Value::Array(properties))
}

/// The tag in `Integer 0x1080`, in whatever case and with whatever zeros in front.
fn tag_of(id: &str) -> Option<u32> {
    let (kind, tag) = id.trim().split_once(' ')?;
    let digits = tag.trim().strip_prefix("0x").or_else(|| tag.trim().strip_prefix("0X"))?;
    kind.eq_ignore_ascii_case("Integer").then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// Values come as texts; a number is understood as well.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Properties {
        let array: Vec<Value> = pairs.iter().map(|(id, value)| json!({"id": id, "value": value})).collect();
        Properties::read(&json!({"singleValueExtendedProperties": array})).unwrap()
    }

    fn value(properties: &Value, id: &str) -> Option<String> {
        properties.as_array()?.iter().find(|p| p["id"] == id)?["value"].as_str().map(str::to_owned)
    }

    #[test]
    fn any_of_three_says_replied_and_any_of_two_forwarded() {
        assert!(read(&[("Integer 0x1080", "261")]).replied());
        assert!(read(&[("Integer 0x1081", "102")]).replied());
        assert!(read(&[("integer 0x01081", "103")]).replied());
        assert!(read(&[("Integer 0xE17", "513")]).replied());
        assert!(read(&[("Integer 0x1080", "262")]).forwarded());
        assert!(read(&[("Integer 0x1081", "104")]).forwarded());
        for nothing in [read(&[]), read(&[("Integer 0x1080", "256"), ("Integer 0x1081", "0"), ("Integer 0xe17", "1")])]
        {
            assert!(!nothing.replied() && !nothing.forwarded());
        }
        let both = read(&[("Integer 0xe17", "512"), ("Integer 0x1081", "104")]);
        assert!(both.replied() && both.forwarded());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let now = UnixSeconds(1_769_860_800);
        for mark in [Flags::REPLIED, Flags::PASSED] {
            let set = written(mark, Flags::NONE, mark | Flags::SEEN, now).unwrap();
            let properties = Properties::read(&json!({"singleValueExtendedProperties": set})).unwrap();
            assert_eq!((properties.replied(), properties.forwarded()), (mark == Flags::REPLIED, mark == Flags::PASSED));
            assert_eq!(value(&set, "SystemTime 0x1082").as_deref(), Some("2026-01-31T12:00:00Z"));
            let cleared = written(Flags::NONE, mark, Flags::SEEN, now).unwrap();
            let properties = Properties::read(&json!({"singleValueExtendedProperties": cleared})).unwrap();
            assert!(!properties.replied() && !properties.forwarded());
        }
    }

    #[test]
    fn clearing_shows_a_letter_opened_or_closed() {
        let now = UnixSeconds(0);
        let read = written(Flags::NONE, Flags::REPLIED, Flags::SEEN, now).unwrap();
        assert_eq!(value(&read, "Integer 0x1080").as_deref(), Some("256"));
        assert_eq!(value(&read, "Integer 0x1081").as_deref(), Some("0"));
        let unread = written(Flags::NONE, Flags::REPLIED, Flags::NONE, now).unwrap();
        assert_eq!(value(&unread, "Integer 0x1080").as_deref(), Some("-1"));
    }

    #[test]
    fn clearing_one_mark_leaves_the_other() {
        let set = written(Flags::NONE, Flags::REPLIED, Flags::PASSED, UnixSeconds(0)).unwrap();
        assert_eq!(value(&set, "Integer 0x1081").as_deref(), Some("104"));
        assert_eq!(written(Flags::SEEN, Flags::NONE, Flags::REPLIED, UnixSeconds(0)), None);
    }

    #[test]
    fn the_newest_mark_wins() {
        let set = written(Flags::PASSED, Flags::NONE, Flags::REPLIED | Flags::PASSED, UnixSeconds(0)).unwrap();
        assert_eq!(value(&set, "Integer 0x1081").as_deref(), Some("104"));
    }
}
