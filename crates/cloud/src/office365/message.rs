//! A message as Microsoft Graph tells it, read into the contract's words.

use cms_engine::{Flags, MessageId, RemoteId, UnixSeconds};
use serde_json::Value;

use super::properties::Properties;
use super::time::parse_time;
use crate::contract::{FolderId, Seen};

/// What is asked for of each message. Read-state changes are reported by delta only if `isRead` is among it.
pub(crate) const SELECT: &str = "id,isRead,flag,isDraft,receivedDateTime,parentFolderId,changeKey,internetMessageId";

/// Where a message was told, which decides what it means that something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// In a page of a folder: all that was asked for, or only what changed.
    InPage,
    /// As the answer to a question for this message: all that was asked for.
    Asked,
    /// As the answer to a change: the message without what has to be asked for.
    AfterChange,
}

/// One entry of a page.
#[derive(Debug)]
pub(crate) enum Entry {
    Message(Seen),
    Removed(RemoteId),
    /// A message that somebody is still making.
    Unfinished,
}

/// For how long somebody may be at making a message, in seconds. Afterwards it is nobody's, and is there to be seen.
const MADE_WITHIN: i64 = 86_400;

/// Reads an entry of a page; one without an id can't be spoken of.
pub(crate) fn read_entry(item: &Value, now: UnixSeconds) -> Option<Entry> {
    if item.get("@removed").is_some() {
        return Some(Entry::Removed(id_of(item)?));
    }
    let seen = read_message(item, Told::InPage)?;
    let is_old = seen.received.is_some_and(|received| received.0 < now.0 - MADE_WITHIN);
    if !is_old && item["internetMessageId"].as_str().is_some_and(MessageId::is_unfinished) {
        return Some(Entry::Unfinished);
    }
    Some(Entry::Message(seen))
}

/// Reads a message; one without an id can't be spoken of.
pub(crate) fn read_message(item: &Value, told: Told) -> Option<Seen> {
    let id = id_of(item)?;
    let mut known = Flags::NONE;
    let mut flags = Flags::NONE;
    let mut tell = |flag: Flags, set: bool| {
        known |= flag;
        if set {
            flags |= flag;
        }
    };
    if let Some(read) = item["isRead"].as_bool() {
        tell(Flags::SEEN, read);
    }
    if let Some(status) = flag_status(item) {
        tell(Flags::FLAGGED, status.eq_ignore_ascii_case("flagged"));
    }
    let draft = item["isDraft"].as_bool();
    if let Some(draft) = draft {
        tell(Flags::DRAFT, draft);
    }
    let received = item["receivedDateTime"].as_str().and_then(parse_time);
    // A property that isn't set is left out, and so may be the whole array. A page's entry that tells when the message
    // was received tells everything; one that doesn't tells what changed.
    let all_told = match told {
        Told::Asked => true,
        Told::InPage => received.is_some(),
        Told::AfterChange => false,
    };
    let properties = Properties::read(item).or_else(|| all_told.then(Properties::default));
    if let Some(properties) = properties {
        tell(Flags::REPLIED, properties.replied());
        tell(Flags::PASSED, properties.forwarded());
    }
    let revision = item["changeKey"].as_str().filter(|_| draft != Some(false));
    Some(Seen {
        id,
        folder: item["parentFolderId"].as_str().map(|folder| FolderId(folder.to_owned())),
        flags,
        known_flags: known,
        received,
        revision: revision.map(str::to_owned),
        size: properties.and_then(Properties::size),
    })
}

/// `notFlagged`, `flagged` or `complete`.
pub(crate) fn flag_status(item: &Value) -> Option<&str> {
    item["flag"]["flagStatus"].as_str()
}

fn id_of(item: &Value) -> Option<RemoteId> {
    item["id"].as_str().filter(|id| !id.is_empty()).map(RemoteId::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn in_page(item: &Value) -> Seen {
        read_message(item, Told::InPage).unwrap()
    }

    #[test]
    fn a_whole_message_tells_all_flags_and_an_unset_property_is_not_set() {
        let seen = in_page(&json!({
            "id": "A", "isRead": true, "isDraft": false, "flag": {"flagStatus": "flagged"},
            "receivedDateTime": "2026-01-31T12:00:00Z", "parentFolderId": "F", "changeKey": "CK"
        }));
        assert_eq!(seen.flags, Flags::SEEN | Flags::FLAGGED);
        assert_eq!(seen.known_flags, Flags::ALL - Flags::TRASHED);
        assert_eq!(seen.received, Some(UnixSeconds(1_769_860_800)));
        assert_eq!(seen.folder, Some(FolderId("F".to_owned())));
        assert_eq!(seen.revision, None);
    }

    #[test]
    fn a_partial_message_tells_only_what_it_holds() {
        let seen = in_page(&json!({"id": "A", "isRead": false, "parentFolderId": "F"}));
        assert_eq!(seen.known_flags, Flags::SEEN);
        assert_eq!(seen.flags, Flags::NONE);
        assert_eq!(seen.received, None);
    }

    #[test]
    fn the_answer_to_a_change_says_nothing_of_properties() {
        let item = json!({"id": "A", "isRead": true, "receivedDateTime": "2026-01-31T12:00:00Z"});
        assert_eq!(read_message(&item, Told::AfterChange).unwrap().known_flags, Flags::SEEN);
        assert_eq!(read_message(&item, Told::Asked).unwrap().known_flags, Flags::SEEN | Flags::REPLIED | Flags::PASSED);
    }

    #[test]
    fn the_size_is_told_where_the_mailbox_told_one_that_makes_sense() {
        let sized = |id: &str, value: &str| {
            let properties = json!([{"id": id, "value": value}]);
            in_page(&json!({"id": "A", "singleValueExtendedProperties": properties})).size
        };
        assert_eq!(sized("Integer 0xe08", "5120"), Some(5120));
        assert_eq!(sized("Integer 0xe08", "-5120"), None);
        assert_eq!(sized("Integer 0xe17", "5120"), None);
        assert_eq!(in_page(&json!({"id": "A", "isRead": true})).size, None);
    }

    #[test]
    fn a_task_that_is_done_is_not_flagged() {
        let seen = in_page(&json!({"id": "A", "flag": {"flagStatus": "complete"}}));
        assert_eq!((seen.flags, seen.known_flags), (Flags::NONE, Flags::FLAGGED));
    }

    #[test]
    fn a_draft_carries_its_revision() {
        let seen = in_page(&json!({"id": "A", "isDraft": true, "changeKey": "CK"}));
        assert_eq!(seen.revision.as_deref(), Some("CK"));
    }

    #[test]
    fn a_removal_needs_no_more_than_an_id() {
        let read = |item: Value| read_entry(&item, UnixSeconds::default());
        let entry = read(json!({"id": "A", "@removed": {"reason": "deleted"}}));
        assert!(matches!(entry, Some(Entry::Removed(id)) if id.as_str() == "A"));
        assert!(read(json!({"@removed": {"reason": "deleted"}})).is_none());
        assert!(read(json!({"id": 7, "isRead": true})).is_none());
    }

    #[test]
    fn what_is_not_whole_is_no_message_yet() {
        let item = |id: &str| json!({"id": "A", "isDraft": true, "internetMessageId": id, "receivedDateTime": "2026-01-31T12:00:00Z"});
        let read = |id: &str, hours: i64| read_entry(&item(id), UnixSeconds(1_769_860_800 + hours * 3600));
        assert!(matches!(read("<1@unfinished.maildir.invalid>", 23), Some(Entry::Unfinished)));
        assert!(matches!(read("<1@maildir.invalid>", 0), Some(Entry::Message(_))));
        // Whoever began it has forgotten it.
        assert!(matches!(read("<1@unfinished.maildir.invalid>", 25), Some(Entry::Message(_))));
    }

    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
        let key = prop_oneof![
            Just("id".to_owned()),
            Just("isRead".to_owned()),
            Just("flag".to_owned()),
            Just("flagStatus".to_owned()),
            Just("receivedDateTime".to_owned()),
            Just("singleValueExtendedProperties".to_owned()),
            Just("value".to_owned()),
            Just("@removed".to_owned()),
            "[a-z]{0,3}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "Integer 0x(1080|1081|e17|zz)".prop_map(Value::from),
            "[0-9:TZ+.-]{0,25}".prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((key.clone(), inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_read_without_a_panic(item in any_json()) {
            for told in [Told::InPage, Told::Asked, Told::AfterChange] {
                if let Some(seen) = read_message(&item, told) {
                    prop_assert!(seen.known_flags.contains(seen.flags));
                }
            }
            read_entry(&item, UnixSeconds::default());
        }
    }
}
