//! What a message says, apart from the bytes in which it says it: mail services make messages anew of what they are given.
//!
//! All of this is for hints and for the user's information. It reads anything without failing, and what it can't read it
//! takes as it is.

use std::fmt;

use cms_engine::MessageId;

/// No Message-ID is longer: that is as long as a line may be (RFC 5322, section 2.1.1).
const LONGEST_MESSAGE_ID: usize = 998;

/// Parts within parts are looked into so far.
const DEEPEST: u8 = 20;

/// The Message-ID in a header.
pub(crate) fn message_id(header: &[u8]) -> Option<MessageId> {
    let value = fields(header).find(|field| field.is("Message-ID"))?.unfolded();
    let id = String::from_utf8_lossy(value.trim_ascii()).into_owned();
    (!id.is_empty() && id.len() <= LONGEST_MESSAGE_ID).then(|| MessageId::new(id))
}

/// Whether a header may be put before the message's own: not before the line that an mbox begins with.
pub(crate) fn takes_another_field(header: &[u8]) -> bool {
    !header.starts_with(b"From ") && !header.starts_with(b">From ")
}

/// Whether two messages say the same: the same subject, and the same text in their parts.
pub(crate) fn says_the_same(one: &[u8], other: &[u8]) -> bool {
    let ((one_header, _), (other_header, _)) = (split(one), split(other));
    let subject = |header| {
        let subject = fields(header).find(|field| field.is("Subject")).map(|field| field.unfolded());
        subject.unwrap_or_default().trim_ascii().to_vec()
    };
    let (one_subject, other_subject) = (subject(one_header), subject(other_header));
    // One and the same text can be encoded in many ways (RFC 2047).
    let encoded = [&one_subject, &other_subject].iter().any(|text| text.windows(2).any(|two| two == b"=?"));
    (encoded || one_subject == other_subject) && text_of(one) == text_of(other)
}

/// How a cloud's form of a message differs from the original.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Names of header fields that the original hasn't.
    added: Vec<String>,
    /// Names of those that the cloud's form hasn't.
    missing: Vec<String>,
    /// Names of those with another value.
    changed: Vec<String>,
    body: Body,
}

/// What became of a message's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Body {
    #[default]
    Same,
    Encoded,
    Other,
}

impl Difference {
    /// Compares an original with what a cloud made of it.
    pub(crate) fn between(original: &[u8], stored: &[u8]) -> Self {
        let ((original_header, original_body), (stored_header, stored_body)) = (split(original), split(stored));
        let (before, after): (Vec<Field<'_>>, Vec<Field<'_>>) =
            (fields(original_header).collect(), fields(stored_header).collect());
        let mut difference = Self::default();
        let values = |all: &[Field<'_>], name: &str| -> Vec<Vec<u8>> {
            all.iter().filter(|field| field.is(name)).map(Field::words).collect()
        };
        let mut names: Vec<String> = Vec::new();
        for field in before.iter().chain(&after) {
            if !names.iter().any(|known| field.is(known)) {
                names.push(field.name());
            }
        }
        for name in names {
            match (values(&before, &name), values(&after, &name)) {
                (was, is) if was == is => {}
                (was, _) if was.is_empty() => difference.added.push(name),
                (_, is) if is.is_empty() => difference.missing.push(name),
                _ => difference.changed.push(name),
            }
        }
        difference.body = match () {
            () if original_body == stored_body => Body::Same,
            () if text_of(original) == text_of(stored) => Body::Encoded,
            () => Body::Other,
        };
        difference
    }

    /// Whether nothing was lost or changed.
    pub(crate) fn keeps_everything(&self) -> bool {
        self.missing.is_empty() && self.changed.is_empty() && self.body == Body::Same
    }
}

/// Such as `header fields missing: Received; changed: Date; the text is encoded anew`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (what, names) in [("added", &self.added), ("missing", &self.missing), ("changed", &self.changed)] {
            if !names.is_empty() {
                parts.push(format!("header fields {what}: {}", names.join(", ")));
            }
        }
        match self.body {
            Body::Same => {}
            Body::Encoded => parts.push("the same text in other bytes".to_owned()),
            Body::Other => parts.push("another text".to_owned()),
        }
        if parts.is_empty() {
            parts.push("line ends".to_owned());
        }
        f.write_str(&parts.join("; "))
    }
}

/// One header field, folded as it stands (RFC 5322, section 2.2).
#[derive(Clone, Copy)]
struct Field<'a>(&'a [u8]);

impl Field<'_> {
    fn colon(&self) -> usize {
        self.0.iter().position(|byte| *byte == b':').unwrap_or(self.0.len())
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(self.0.get(..self.colon()).unwrap_or_default().trim_ascii()).into_owned()
    }

    fn is(&self, name: &str) -> bool {
        self.0.get(..self.colon()).unwrap_or_default().trim_ascii().eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value in one line.
    fn unfolded(&self) -> Vec<u8> {
        let value = self.0.get(self.colon() + 1..).unwrap_or_default();
        value.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect()
    }

    /// The value with every run of white space made one blank: folding isn't a difference.
    fn words(&self) -> Vec<u8> {
        let value = self.0.get(self.colon() + 1..).unwrap_or_default();
        let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join(&b' ')
    }
}

fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = header;
    std::iter::from_fn(move || {
        let mut end = line_end(rest, 0)?;
        while matches!(rest.get(end), Some(b' ' | b'\t')) {
            end = line_end(rest, end)?;
        }
        let (field, after) = rest.split_at(end);
        rest = after;
        Some(Field(field))
    })
}

/// Where the line that begins at `from` ends, with its line end.
fn line_end(text: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..).filter(|rest| !rest.is_empty())?;
    Some(rest.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| from + at + 1))
}

/// The header and the body.
fn split(message: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(end) = line_end(message, at) {
        if message.get(at..end).unwrap_or_default().trim_ascii().is_empty() {
            return (message.get(..at).unwrap_or_default(), message.get(end..).unwrap_or_default());
        }
        at = end;
    }
    (message, &[])
}

/// What the parts of a message say, whatever their encodings and boundaries: a hash of all that isn't white space.
fn text_of(message: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    add_text(message, &mut hasher, DEEPEST);
    *hasher.finalize().as_bytes()
}

fn add_text(part: &[u8], hasher: &mut blake3::Hasher, deepest: u8) {
    let (header, body) = split(part);
    let value = |name: &str| fields(header).find(|field| field.is(name)).map(|field| field.unfolded());
    let kind = value("Content-Type").unwrap_or_default();
    let boundary = boundary(&kind).filter(|_| deepest > 0);
    if let Some(boundary) = boundary {
        for part in parts(body, &boundary) {
            add_text(part, hasher, deepest - 1);
        }
        return;
    }
    let encoding = value("Content-Transfer-Encoding").unwrap_or_default().trim_ascii().to_ascii_lowercase();
    let decoded = match encoding.as_slice() {
        b"base64" => base64_decoded(body),
        b"quoted-printable" => quoted_printable_decoded(body),
        _ => body.to_vec(),
    };
    let text: Vec<u8> = decoded.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
    hasher.update(&text).update(b"\n");
}

/// The boundary of a multipart's parts (RFC 2046, section 5.1.1).
fn boundary(kind: &[u8]) -> Option<Vec<u8>> {
    let lower = kind.to_ascii_lowercase();
    if !lower.trim_ascii_start().starts_with(b"multipart/") {
        return None;
    }
    let at = lower.windows(9).position(|window| window == b"boundary=")?;
    let value = kind.get(at + 9..)?;
    let value = match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|byte| *byte == b'"').next()?,
        None => value.split(|byte| *byte == b';' || byte.is_ascii_whitespace()).next()?,
    };
    (!value.is_empty()).then(|| value.to_vec())
}

/// The parts between lines that begin with `--` and the boundary.
fn parts<'b>(body: &'b [u8], boundary: &[u8]) -> Vec<&'b [u8]> {
    let mut parts = Vec::new();
    let (mut at, mut begun) = (0, None);
    while let Some(end) = line_end(body, at) {
        let line = body.get(at..end).unwrap_or_default();
        if let Some(rest) = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary)) {
            if let Some(from) = begun.replace(end) {
                parts.push(body.get(from..at).unwrap_or_default());
            }
            if rest.starts_with(b"--") {
                return parts;
            }
        }
        at = end;
    }
    parts.extend(begun.and_then(|from| body.get(from..)));
    parts
}

fn base64_decoded(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in body {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            // Eight bits are what is left after the shift and the mask.
            out.push(u8::try_from(bits >> count & 0xff).unwrap_or_default());
        }
    }
    out
}

fn quoted_printable_decoded(body: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'=' {
            out.push(*first);
            continue;
        }
        match after {
            [b'\n', more @ ..] | [b'\r', b'\n', more @ ..] => rest = more,
            [high, low, more @ ..] if digit(high).is_some() && digit(low).is_some() => {
                let byte = digit(high).unwrap_or_default() << 4 | digit(low).unwrap_or_default();
                out.push(u8::try_from(byte).unwrap_or_default());
                rest = more;
            }
            _ => out.push(b'='),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(header: &str) -> Option<String> {
        message_id(header.as_bytes()).map(|id| id.as_str().to_owned())
    }

    #[test]
    fn the_message_id_is_found_however_it_is_written() {
        assert_eq!(id("Subject: x\nMessage-ID: <a@b>\n").as_deref(), Some("<a@b>"));
        assert_eq!(id("message-id:\n <a@b>\nSubject: x\n").as_deref(), Some("<a@b>"));
        assert_eq!(id("MESSAGE-ID:<a@b>\r\n").as_deref(), Some("<a@b>"));
        assert_eq!(id("X-Message-ID: <a@b>\n"), None);
        assert_eq!(id("Message-ID:  \n"), None);
        assert_eq!(id(&format!("Message-ID: <{}>\n", "x".repeat(2000))), None);
        assert_eq!(id(""), None);
    }

    const PLAIN: &str = "Subject: s\nDate: d\nX-Own: 1\n\nGr\u{fc}\u{df}e, and\na line\n";

    #[test]
    fn f15_what_the_cloud_made_of_a_message_is_told() {
        let between = |stored: &str| Difference::between(PLAIN.as_bytes(), stored.as_bytes());
        let added = between(&format!("Received: by x\n\tat y\n{PLAIN}"));
        assert!(added.keeps_everything());
        assert_eq!(added.to_string(), "header fields added: Received");
        let rebuilt = between(
            "Date: e\nSubject:\n s\nContent-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe, a=\nnd\na line\n",
        );
        assert!(!rebuilt.keeps_everything());
        assert_eq!(
            rebuilt.to_string(),
            "header fields added: Content-Transfer-Encoding; header fields missing: X-Own; header fields changed: Date; \
             the same text in other bytes"
        );
        assert_eq!(between(&PLAIN.replace("line", "word")).to_string(), "another text");
        assert_eq!(between(PLAIN).to_string(), "line ends");
    }

    #[test]
    fn f19_the_same_is_said_in_other_bytes_and_boundaries() {
        let multipart = |boundary: &str, encoding: &str, text: &str| {
            format!(
                "Subject: s\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\n\npreamble\n--{boundary}\n\
                 Content-Transfer-Encoding: {encoding}\n\n{text}\n--{boundary}\n\nsecond\n--{boundary}--\n"
            )
        };
        let one = multipart("abc", "8bit", "hello there");
        assert!(says_the_same(one.as_bytes(), multipart("_x_", "base64", "aGVsbG8g\ndGhlcmU=").as_bytes()));
        assert!(!says_the_same(one.as_bytes(), multipart("_x_", "8bit", "hello here").as_bytes()));
        assert!(!says_the_same(one.as_bytes(), one.replace("Subject: s", "Subject: t").as_bytes()));
        assert!(says_the_same(b"Subject: \xfc\n\nx\n", b"Subject: =?iso-8859-1?q?=FC?=\n\nx\n"));
    }

    proptest! {
        #[test]
        fn f24_any_bytes_are_read_without_a_panic(
            one in prop::collection::vec(prop::sample::select(b"\r\n\r\n :=-\"aAZ9/+\xff\0".to_vec()), 0..200),
            other in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let multipart = [b"Content-Type: multipart/x; boundary=a\n\n--a\n", &one[..], b"\n--a--"].concat();
            for message in [&one, &other, &multipart] {
                let _ = message_id(message);
                prop_assert!(says_the_same(message, message));
                prop_assert!(Difference::between(message, message).keeps_everything());
                let _ = Difference::between(message, &other).to_string();
            }
        }
    }
}
