use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn read(chunks: &[&[u8]]) -> Result<(Vec<Item>, bool), BadDocument> {
    let (mut reader, mut items) = (Reader::default(), Vec::new());
    for chunk in chunks {
        reader.feed(chunk, &mut items)?;
    }
    Ok((items, reader.is_over()))
}

fn notification(subscription: &str, change: &str) -> Item {
    Item::Notification { subscription: subscription.to_owned(), change: change.to_owned() }
}

const HEAD: &str = "{\"@odata.context\":\"https://outlook.office.com/api/beta/metadata#Notifications\",\"value\":[";

#[test]
fn objects_are_told_as_soon_as_they_are_whole() {
    let (mut reader, mut items) = (Reader::default(), Vec::new());
    reader.feed(HEAD.as_bytes(), &mut items).unwrap();
    let alive = r##"{"@odata.type":"#Microsoft.OutlookServices.KeepAliveNotification","Status":"Ok"}"##;
    reader.feed(alive.as_bytes(), &mut items).unwrap();
    assert_eq!(items, [Item::KeepAlive]);
    let told = r##", {"@odata.type":"#Microsoft.OutlookServices.Notification","Id":null,"SubscriptionId":"a=",
        "ChangeType":"Created","ResourceData":{"Id":"]}\"{,"}}"##;
    let (but_last, last) = told.split_at(told.len() - 1);
    reader.feed(but_last.as_bytes(), &mut items).unwrap();
    assert_eq!(items.len(), 1);
    reader.feed(last.as_bytes(), &mut items).unwrap();
    assert_eq!(items[1], notification("a=", "Created"));
    assert!(!reader.is_over());
    reader.feed(b" ] \r\n}", &mut items).unwrap();
    assert!(reader.is_over());
    reader.feed(b" \n", &mut items).unwrap();
    assert_eq!(reader.feed(b"{", &mut items), Err(BadDocument::Unexpected { found: '{' }));
}

#[test]
fn what_is_no_such_document_is_an_error() {
    let garbage = [
        "",
        "<html>",
        "[",
        "{]",
        "{\"value\" [",
        "{\"value\":[,",
        "{\"value\":[{},]",
        "{\"value\":[{}{",
        "{\"value\":[1",
        "{\"value\":[{}}",
        "{\"value\":[{\"a\":}",
        "{\"value\":[{]",
        "{\"a\":tru,",
        "{\"a\":1 2",
        "{\"a\":1,}",
        "{,",
        "{\"a\u{1}\"",
    ];
    for text in garbage {
        assert_eq!(read(&[text.as_bytes()]).is_err(), !text.is_empty(), "{text}");
    }
    assert_eq!(read(&[b"{\"a\":-1.5e3,\"b\" :[1,{\"c\":\"]\"}],\"value\":[]}"]), Ok((Vec::new(), true)));
    assert_eq!(read(&[b"{\"value\":null,\"d\":{}}"]), Ok((Vec::new(), true)));
    assert_eq!(read(&[b" {} "]), Ok((Vec::new(), true)));
}

/// In whatever place the endless thing stands.
#[test]
fn nothing_grows_without_end() {
    for begin in ["{\"", "{\"a\":", "{\"a\":\"", "{\"a\":[", "{\"value\":[{\"a\":\"", "{\"value\":[{\"a\":[{"] {
        let (mut reader, mut items) = (Reader::default(), Vec::new());
        reader.feed(begin.as_bytes(), &mut items).unwrap();
        let endless = vec![b'1'; LARGEST_OBJECT_BYTES + 1];
        assert_eq!(reader.feed(&endless, &mut items), Err(BadDocument::TooLong), "{begin}");
    }
}

/// Text with all that could be taken for the end of something.
fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("\""),
            Just("\\"),
            Just("{"),
            Just("}"),
            Just("["),
            Just("]"),
            Just(","),
            Just("é"),
            Just("a")
        ],
        0..12,
    )
    .prop_map(|parts| parts.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((text(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// An object as it may come, and what is to be understood.
fn object() -> impl Strategy<Value = (Value, Item)> {
    let alive = Just((
        json!({"@odata.type": "#Microsoft.OutlookServices.KeepAliveNotification", "Status": "Ok"}),
        Item::KeepAlive,
    ));
    let changes =
        prop_oneof![Just("Created"), Just("Updated"), Just("Deleted"), Just("Missed"), Just("Acknowledgment")];
    let told = (text(), changes, value()).prop_map(|(subscription, change, data)| {
        let object = json!({
            "@odata.type": "#Microsoft.OutlookServices.Notification",
            "Id": null,
            "SubscriptionId": subscription,
            "ChangeType": change,
            "ResourceData": data,
        });
        (object, notification(&subscription, change))
    });
    let other = value().prop_map(|value| (json!({ "x": value }), Item::Other));
    prop_oneof![alive, told, other]
}

fn space() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just(" "), Just("\t"), Just("\r\n"), Just("\n")], 0..3)
        .prop_map(|parts| parts.concat())
}

/// A document, and what is to be understood.
fn document() -> impl Strategy<Value = (String, Vec<Item>)> {
    let objects = proptest::collection::vec((object(), space(), space(), any::<bool>()), 0..6);
    (objects, value(), space(), any::<bool>()).prop_map(|(objects, member, space, is_after)| {
        let mut text = format!("{space}{{{space}");
        if !is_after {
            let _ = write!(text, "\"first\":{space}{member},");
        }
        let _ = write!(text, "\"value\"{space}:{space}[");
        let mut items = Vec::new();
        for (at, ((object, item), before, after, pretty)) in objects.into_iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let object = if pretty { format!("{object:#}") } else { object.to_string() };
            let _ = write!(text, "{before}{comma}{after}{object}");
            items.push(item);
        }
        let _ = write!(text, "{space}]{space}");
        if is_after {
            let _ = write!(text, ",\"last\":{member}{space}");
        }
        let _ = write!(text, "}}{space}");
        (text, items)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(20), ..ProptestConfig::default() })]

    #[test]
    fn a_document_reads_the_same_wherever_it_is_cut((text, items) in document()) {
        let bytes = text.as_bytes();
        let expected = Ok((items, true));
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(read(&each), expected.clone());
        for cut in 0..=bytes.len() {
            let (before, after) = bytes.split_at(cut);
            prop_assert_eq!(read(&[before, after]), expected.clone(), "cut at {}", cut);
        }
    }

    #[test]
    fn a_document_reads_the_same_in_pieces((text, items) in document(), sizes in proptest::collection::vec(1_usize..40, 1..20)) {
        let mut rest = text.as_bytes();
        let mut chunks = Vec::new();
        for size in sizes.iter().cycle() {
            let (chunk, more) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read(&chunks), Ok((items, true)));
    }

    /// A document in which one byte is another: never a panic, and the same in whatever pieces it comes.
    #[test]
    fn a_flaw_is_the_same_flaw_wherever_it_is_cut((text, _) in document(), at: prop::sample::Index, byte: u8) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(read(&each), read(&[&bytes]));
    }

    #[test]
    fn garbage_is_no_trouble(bytes in proptest::collection::vec(any::<u8>(), 0..400), with_head: bool) {
        let head = if with_head { HEAD.as_bytes() } else { b"" };
        let mut items = Vec::new();
        let mut reader = Reader::default();
        let _ = reader.feed(head, &mut items).and_then(|()| reader.feed(&bytes, &mut items));
        prop_assert!(items.len() <= bytes.len());
    }
}
