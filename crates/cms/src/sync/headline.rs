//! A message as people know it: subject, sender and time, from its header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms_engine::UnixSeconds;

use crate::configuration::header_value;
use crate::control::Headline;
use crate::sync::world::rfc3339;

/// Characters of a subject or a name that are shown.
const LONGEST: usize = 120;

/// What a header says. Nothing in it makes this fail.
pub(crate) fn headline(header: &[u8], received: UnixSeconds) -> Headline {
    let field = |name| shown(&decoded(&header_value(header, name).unwrap_or_default()));
    Headline { subject: field("Subject"), sender: field("From"), received: rfc3339(received) }
}

/// One line without control characters, and not too long.
fn shown(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// The text with its encoded words decoded (RFC 2047), as far as their character sets are known; the rest stays.
fn decoded(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let mut after_word = false;
    while let Some(at) = rest.find("=?") {
        let (before, word) = rest.split_at(at);
        let Some((length, decoded)) = encoded_word(word) else {
            out.push_str(before);
            out.push_str("=?");
            rest = &word[2..];
            after_word = false;
            continue;
        };
        // White space between two encoded words is for the fold only (section 6.2).
        if !(after_word && before.chars().all(char::is_whitespace)) {
            out.push_str(before);
        }
        out.push_str(&decoded);
        rest = &word[length..];
        after_word = true;
    }
    out.push_str(rest);
    out
}

/// Decodes the encoded word at the beginning: how long it is, and what it says.
fn encoded_word(text: &str) -> Option<(usize, String)> {
    let inner = text.strip_prefix("=?")?;
    let (charset, inner) = inner.split_once('?')?;
    let (encoding, inner) = inner.split_once('?')?;
    let (payload, rest) = inner.split_once("?=")?;
    if payload.contains(char::is_whitespace) {
        return None;
    }
    let bytes = match encoding {
        "B" | "b" => STANDARD.decode(payload).ok()?,
        "Q" | "q" => unquoted(payload.as_bytes()),
        _ => return None,
    };
    // RFC 2231 lets a language follow the character set.
    let charset = charset.split('*').next().unwrap_or_default().to_ascii_lowercase();
    let decoded = match charset.as_str() {
        "utf-8" | "us-ascii" => String::from_utf8_lossy(&bytes).into_owned(),
        "iso-8859-1" => bytes.iter().map(|byte| char::from(*byte)).collect(),
        _ => return None,
    };
    Some((text.len() - rest.len(), decoded))
}

fn unquoted(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let hex = (*byte == b'=').then(|| text.get(at + 1..at + 3)).flatten();
        let code = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (code, byte) {
            (Some(code), _) => {
                bytes.push(code);
                at += 3;
                continue;
            }
            (None, b'_') => bytes.push(b' '),
            (None, other) => bytes.push(*other),
        }
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subject(text: &str) -> String {
        headline(format!("Subject: {text}\n").as_bytes(), UnixSeconds(0)).subject
    }

    #[test]
    fn encoded_words_are_read() {
        assert_eq!(subject("=?utf-8?Q?Gr=C3=BC=C3=9Fe_aus?= =?UTF-8?B?IEvDtmxu?="), "Grüße aus Köln");
        assert_eq!(subject("Re: =?iso-8859-1?q?caf=E9?= at six"), "Re: café at six");
        assert_eq!(subject("=?utf-8*de?Q?ja?="), "ja");
    }

    #[test]
    fn what_cannot_be_read_stays_as_it_is() {
        for text in ["=?koi8-r?Q?=F0?=", "=?utf-8?B?broken", "=?utf-8?X?a?=", "a =? b", "=?utf-8?B?***?="] {
            assert_eq!(subject(text), text);
        }
    }

    #[test]
    fn a_subject_is_one_short_line() {
        assert_eq!(subject("=?utf-8?Q?a=0D=0A=1B[31mb?="), "a [31mb");
        assert_eq!(subject(&"x".repeat(5000)).chars().count(), LONGEST + 1);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_fail(header in proptest::collection::vec(any::<u8>(), 0..200), word in "[=?a-zA-Z0-9_-]{0,40}") {
            let _ = headline(&header, UnixSeconds(i64::MIN / 2));
            let _ = decoded(&word);
        }
    }
}
