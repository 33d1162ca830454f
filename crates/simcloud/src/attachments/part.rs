//! The header of an attachment's part.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::composed::Description;

/// The longest name, in bytes, that stands in a line as it is.
const LONGEST_PLAIN: usize = 200;
/// How many bytes an encoded word of at most 75 characters holds (RFC 2047, section 2).
const WORD: usize = 45;
/// How many characters of a parameter stand in one line.
const SECTION: usize = 60;

/// The header fields of a part and the empty line after them.
pub(super) fn head(description: &Description) -> String {
    let Description { name, content_type, is_inline, content_id } = description;
    let mut out = format!("Content-Type: {content_type};\r\n\t");
    let plain = name.len() <= LONGEST_PLAIN && name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    // Exchange writes encoded words into the name, where RFC 2047 doesn't want them.
    let in_quotes = if plain { name.replace('\\', "\\\\").replace('"', "\\\"") } else { encoded_words(name) };
    let disposition = if *is_inline { "inline" } else { "attachment" };
    let filename = if plain { format!("filename=\"{in_quotes}\"") } else { sections("filename", name) };
    let _ = write!(out, "name=\"{in_quotes}\"\r\nContent-Disposition: {disposition};\r\n\t{filename}\r\n");
    if let Some(id) = content_id {
        let _ = write!(out, "Content-ID: <{id}>\r\n");
    }
    out.push_str("Content-Transfer-Encoding: base64\r\n\r\n");
    out
}

/// Text as encoded words, one in each line.
fn encoded_words(text: &str) -> String {
    let mut words = vec![String::new()];
    for character in text.chars() {
        match words.last_mut() {
            Some(word) if word.len() + character.len_utf8() <= WORD => word.push(character),
            _ => words.push(character.into()),
        }
    }
    let words: Vec<String> = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word))).collect();
    words.join("\r\n\t")
}

/// A parameter as RFC 2231 writes it, in sections where it is long.
fn sections(parameter: &str, value: &str) -> String {
    let mut pieces = vec!["utf-8''".to_owned()];
    for byte in value.bytes() {
        let encoded = if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        };
        match pieces.last_mut() {
            Some(piece) if piece.len() + encoded.len() <= SECTION => piece.push_str(&encoded),
            _ => pieces.push(encoded),
        }
    }
    if let [only] = pieces.as_slice() {
        return format!("{parameter}*={only}");
    }
    let pieces: Vec<String> =
        pieces.iter().enumerate().map(|(at, piece)| format!("{parameter}*{at}*={piece}")).collect();
    pieces.join(";\r\n\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> String {
        head(&Description {
            name: name.to_owned(),
            content_type: "a/b".to_owned(),
            is_inline: true,
            content_id: Some("x@y".to_owned()),
        })
    }

    #[test]
    fn plain_names_stand_as_they_are() {
        assert_eq!(
            named("a \"b\".txt"),
            "Content-Type: a/b;\r\n\tname=\"a \\\"b\\\".txt\"\r\nContent-Disposition: inline;\r\n\tfilename=\"a \\\"b\\\".txt\"\r\n\
             Content-ID: <x@y>\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        );
    }

    #[test]
    fn other_names_are_encoded_and_no_line_is_long() {
        let text = named("ä.txt");
        assert!(
            text.contains("name=\"=?utf-8?B?w6QudHh0?=\"") && text.contains("filename*=utf-8''%C3%A4.txt\r\n"),
            "{text}"
        );
        for name in ["日本語".repeat(80), "x".repeat(1000), "a\r\nBcc: b@c".to_owned()] {
            let text = named(&name);
            assert!(text.lines().all(|line| line.len() <= 100), "{text}");
            assert!(!text.contains("\nBcc"), "{text}");
            let words = text.split("=?utf-8?B?").skip(1).map(|rest| STANDARD.decode(rest.split("?=").next().unwrap()));
            assert_eq!(words.map(|word| String::from_utf8(word.unwrap()).unwrap()).collect::<String>(), name);
            let pieces: String = text
                .lines()
                .filter_map(|line| {
                    line.trim()
                        .strip_prefix("filename*")?
                        .split_once("*=")
                        .map(|(_, piece)| piece.trim_end_matches(';'))
                        .or_else(|| line.split_once('=').map(|(_, piece)| piece))
                })
                .collect();
            let pieces =
                percent_encoding::percent_decode_str(pieces.strip_prefix("utf-8''").unwrap()).decode_utf8().unwrap();
            assert_eq!(pieces, name);
        }
    }
}
