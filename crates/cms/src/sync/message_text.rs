//! What a message says, apart from the bytes in which it says it: mail services make messages anew of what they are given.
//!
//! All of this is for hints and for the user's information. It reads anything without failing, and what it can't read it
//! takes as it is.

use std::fmt;
use std::io::{self, Read as _};

use cms_cloud::mime::{Part, Readable, contents, parts};
use cms_engine::MessageId;

/// No Message-ID is longer: that is as long as a line may be (RFC 5322, section 2.1.1).
const LONGEST_MESSAGE_ID: usize = 998;

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

/// Whether two messages say the same: the same subject, and the same in their parts. Costs no memory for what they hold.
pub(crate) fn says_the_same(one: &dyn Readable, other: &dyn Readable) -> io::Result<bool> {
    let (one_parts, other_parts) = (parts(one.open()?)?, parts(other.open()?)?);
    Ok(have_the_same_subject(&one_parts, &other_parts) && text_of(one, &one_parts)? == text_of(other, &other_parts)?)
}

fn have_the_same_subject(one: &[Part], other: &[Part]) -> bool {
    let subject = |parts: &[Part]| parts.first().and_then(|message| message.field("Subject")).unwrap_or_default();
    let (one, other) = (subject(one), subject(other));
    // One and the same text can be encoded in many ways (RFC 2047).
    let is_encoded = [&one, &other].iter().any(|text| text.windows(2).any(|two| two == b"=?"));
    is_encoded || one == other
}

/// Whether a message says nothing that the whole one doesn't: it is what is there of it so far.
pub(crate) fn is_part_of(message: &dyn Readable, whole: &dyn Readable) -> io::Result<bool> {
    let (some_parts, all_parts) = (parts(message.open()?)?, parts(whole.open()?)?);
    if !have_the_same_subject(&some_parts, &all_parts) {
        return Ok(false);
    }
    let mut all = texts_of(whole, &all_parts)?;
    for text in texts_of(message, &some_parts)? {
        match all.binary_search(&text) {
            Ok(at) => drop(all.remove(at)),
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
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
    pub(crate) fn between(original: &dyn Readable, stored: &dyn Readable) -> io::Result<Self> {
        let (original_parts, stored_parts) = (parts(original.open()?)?, parts(stored.open()?)?);
        let header = |parts: &[Part]| parts.first().map(|message| message.header.clone()).unwrap_or_default();
        let (original_header, stored_header) = (header(&original_parts), header(&stored_parts));
        let (before, after): (Vec<Field<'_>>, Vec<Field<'_>>) =
            (fields(&original_header).collect(), fields(&stored_header).collect());
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
            () if body_of(original, &original_parts)? == body_of(stored, &stored_parts)? => Body::Same,
            () if text_of(original, &original_parts)? == text_of(stored, &stored_parts)? => Body::Encoded,
            () => Body::Other,
        };
        Ok(difference)
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

/// A hash of all that follows the header.
fn body_of(message: &dyn Readable, parts: &[Part]) -> io::Result<[u8; 32]> {
    let mut bytes = message.open()?;
    let from = parts.first().map_or(0, |message| message.body.start);
    io::copy(&mut bytes.by_ref().take(from), &mut io::sink())?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(bytes)?;
    Ok(*hasher.finalize().as_bytes())
}

/// What the parts of a message say, whatever their encodings, boundaries and order: a hash of all that isn't white space. A
/// service that attaches files one by one puts them behind the others.
fn text_of(message: &dyn Readable, parts: &[Part]) -> io::Result<[u8; 32]> {
    let texts = texts_of(message, parts)?;
    Ok(*blake3::hash(texts.as_flattened()).as_bytes())
}

/// The same of each part that says something, in an order of their own.
fn texts_of(message: &dyn Readable, parts: &[Part]) -> io::Result<Vec<[u8; 32]>> {
    let mut texts = Vec::new();
    contents(message.open()?, parts, |_, content| {
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; 64 << 10];
        let mut is_empty = true;
        loop {
            let count = content.read(&mut piece)?;
            if count == 0 {
                break;
            }
            let mut text = piece.get(..count).unwrap_or_default().to_vec();
            text.retain(|byte| !byte.is_ascii_whitespace());
            is_empty &= text.is_empty();
            hasher.update(&text);
        }
        if !is_empty {
            texts.push(*hasher.finalize().as_bytes());
        }
        io::Result::Ok(())
    })?;
    texts.sort_unstable();
    Ok(texts)
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
        let between = |stored: &str| Difference::between(&PLAIN.as_bytes(), &stored.as_bytes()).unwrap();
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
        let same = |one: &[u8], other: &[u8]| says_the_same(&one, &other).unwrap();
        assert!(same(one.as_bytes(), multipart("_x_", "base64", "aGVsbG8g\ndGhlcmU=").as_bytes()));
        assert!(!same(one.as_bytes(), multipart("_x_", "8bit", "hello here").as_bytes()));
        assert!(!same(one.as_bytes(), one.replace("Subject: s", "Subject: t").as_bytes()));
        assert!(same(b"Subject: \xfc\n\nx\n", b"Subject: =?iso-8859-1?q?=FC?=\n\nx\n"));
        // Attached one by one, the parts stand in another order, and one may be empty.
        let parts = |parts: [&str; 3]| {
            let [one, two, three] = parts.map(|part| format!("--b\n\n{part}\n"));
            format!("Subject: s\nContent-Type: multipart/mixed; boundary=b\n\n{one}{two}{three}--b--\n")
        };
        assert!(same(parts(["a", "b", "c"]).as_bytes(), parts(["a", "c", "b"]).as_bytes()));
        assert!(!same(parts(["a", "b", "b"]).as_bytes(), parts(["a", "a", "b"]).as_bytes()));
        let is_part = |one: &[u8], other: &[u8]| is_part_of(&one, &other).unwrap();
        assert!(is_part(parts(["a", "c", ""]).as_bytes(), parts(["a", "b", "c"]).as_bytes()));
        assert!(!is_part(parts(["a", "d", ""]).as_bytes(), parts(["a", "b", "c"]).as_bytes()));
        assert!(!is_part(parts(["a", "a", ""]).as_bytes(), parts(["a", "b", "c"]).as_bytes()));
        let other = parts(["a", "c", ""]).replace("Subject: s", "Subject: t");
        assert!(!is_part(other.as_bytes(), parts(["a", "b", "c"]).as_bytes()));
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
                let message = &message[..];
                prop_assert!(says_the_same(&message, &message).unwrap());
                prop_assert!(Difference::between(&message, &message).unwrap().keeps_everything());
                let _ = Difference::between(&message, &&other[..]).unwrap().to_string();
            }
        }
    }
}
