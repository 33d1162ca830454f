//! A message's subject, sender and Message-ID, to be shown to people. Any bytes have an answer, and none of it can do
//! anything to a terminal.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use encoding_rs::{Encoding, WINDOWS_1252};

use crate::configuration::header_value;

/// The longest text that is shown.
const LONGEST: usize = 200;

/// Padding is often missing in what programs send.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a message says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// Empty where there is none.
    pub(crate) subject: String,
    /// Empty where there is none.
    pub(crate) from: String,
    /// Without the angle brackets; empty where there is none.
    pub(crate) message_id: String,
}

impl Envelope {
    /// Reads it from a header.
    pub(crate) fn read(header: &[u8]) -> Self {
        let text = |name| harmless(&decoded(&header_value(header, name).unwrap_or_default()));
        Self { subject: text("Subject"), from: text("From"), message_id: message_id(header) }
    }
}

/// The Message-ID of a header, without the angle brackets; empty where there is none.
pub(crate) fn message_id(header: &[u8]) -> String {
    harmless(bare_id(&header_value(header, "Message-ID").unwrap_or_default()))
}

/// A Message-ID without blanks and angle brackets around it.
pub(crate) fn bare_id(id: &str) -> &str {
    let id = id.trim();
    id.strip_prefix('<').unwrap_or(id).strip_suffix('>').unwrap_or(id.strip_prefix('<').unwrap_or(id)).trim()
}

/// A text in one line of printable characters: control characters and those that turn the direction of writing become
/// blanks or U+FFFD, and what is very long is cut.
pub(crate) fn harmless(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(LONGEST) {
        match character {
            character if character.is_whitespace() => {
                if !shown.ends_with(' ') {
                    shown.push(' ');
                }
            }
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                shown.push('\u{fffd}');
            }
            character if character.is_control() => shown.push('\u{fffd}'),
            character => shown.push(character),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown.trim().to_owned()
}

/// Decodes the encoded words of a header field (RFC 2047); what isn't one stays as it is.
fn decoded(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    let mut after_word = false;
    while let Some(at) = rest.find("=?") {
        let (before, from_here) = rest.split_at(at);
        let Some((decoded, after)) = word(from_here) else {
            shown.push_str(before);
            shown.push_str("=?");
            rest = from_here.get(2..).unwrap_or_default();
            after_word = false;
            continue;
        };
        // White space between two encoded words is no part of the text.
        if !(after_word && before.trim().is_empty()) {
            shown.push_str(before);
        }
        shown.push_str(&decoded);
        rest = after;
        after_word = true;
    }
    shown.push_str(rest);
    shown
}

/// Decodes the encoded word that `text` begins with, and returns what follows it.
fn word(text: &str) -> Option<(String, &str)> {
    let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (content, after) = rest.split_once("?=")?;
    let bytes = match encoding {
        "B" | "b" => {
            let content: Vec<u8> = content.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
            BASE64.decode(content).ok()?
        }
        "Q" | "q" => unquoted(content.as_bytes()),
        _ => return None,
    };
    // A language may follow the charset (RFC 2231 section 5).
    let label = charset.split('*').next().unwrap_or_default();
    let charset = Encoding::for_label(label.as_bytes()).unwrap_or(WINDOWS_1252);
    Some((charset.decode_without_bom_handling(&bytes).0.into_owned(), after))
}

/// The Q encoding: `_` is a blank, `=XX` a byte. What isn't well-formed stays as it is.
fn unquoted(content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some((first, others)) = rest.split_first() {
        let code = (*first == b'=').then(|| others.get(..2)).flatten().and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        match (first, code) {
            (_, Some(byte)) => {
                bytes.push(byte);
                rest = others.get(2..).unwrap_or_default();
            }
            (b'_', None) => {
                bytes.push(b' ');
                rest = others;
            }
            (byte, None) => {
                bytes.push(*byte);
                rest = others;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(subject: &str, shown: &str) {
        let header = format!("Subject: {subject}\n\n");
        assert_eq!(Envelope::read(header.as_bytes()).subject, shown);
    }

    #[test]
    fn encoded_words_are_decoded() {
        check("=?utf-8?Q?Gr=C3=BC=C3=9Fe_aus?= Bern", "Grüße aus Bern");
        check("=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße");
        check("=?UTF-8?B?R3LDvMOfZQ?=", "Grüße");
        check("=?iso-8859-1?q?Gr=FC=DFe?=", "Grüße");
        check("=?koi8-r?B?8NLJ18XU?=", "Привет");
        check("=?utf-8*de?Q?Gr=C3=BC=C3=9Fe?=", "Grüße");
        check("=?utf-8?Q?a?=\n =?utf-8?Q?b?= c", "ab c");
    }

    #[test]
    fn what_is_no_encoded_word_stays_as_it_is() {
        for text in ["=?", "=?utf-8?Q?a", "=?utf-8?X?a?=", "=?utf-8?B?*?=", "a =? b ?= c"] {
            check(text, text);
        }
        check("=?utf-8?Q?=ZZ=4?=", "=ZZ=4");
        check("=?nobody-knows?Q?=FC?=", "ü");
    }

    #[test]
    fn nothing_in_a_header_reaches_the_terminal_as_a_command() {
        check("a\x1b[2Jb\x07", "a\u{fffd}[2Jb\u{fffd}");
        check("=?utf-8?Q?a=1B]0;x=07=0A=0Db?=", "a\u{fffd}]0;x\u{fffd} b");
        check("=?utf-8?Q?=C2=9B31m?=", "\u{fffd}31m");
        check("gpj.\u{202e}exe", "gpj.\u{fffd}exe");
        check(&"x".repeat(1000), &format!("{}…", "x".repeat(200)));
    }

    #[test]
    fn a_message_id_is_shown_without_its_brackets() {
        let header = b"From: =?utf-8?Q?J=C3=B6rg?= <j@example.org>\nMessage-Id:\n <a@b>\n\n";
        let envelope = Envelope::read(header);
        assert_eq!(envelope.message_id, "a@b");
        assert_eq!(envelope.from, "Jörg <j@example.org>");
        assert_eq!(envelope.subject, "");
        assert_eq!([bare_id("a@b"), bare_id("<a@b"), bare_id("a@b>"), bare_id(" <a@b> ")], ["a@b"; 4]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_in_one_harmless_line(header: Vec<u8>, words: String) {
            let mut subject = b"Subject: ".to_vec();
            subject.extend_from_slice(format!("=?utf-8?Q?{words}?= {words} =?x?b?{words}").as_bytes());
            for header in [header, subject] {
                let envelope = Envelope::read(&header);
                for text in [envelope.subject, envelope.from, envelope.message_id] {
                    prop_assert!(!text.chars().any(char::is_control));
                    prop_assert!(text.chars().count() <= LONGEST + 1);
                }
            }
        }
    }
}
