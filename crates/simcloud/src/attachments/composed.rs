//! Messages to which files were attached one by one: their MIME is put together whenever it is asked for, so that the
//! files are in memory once, however many there are.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::part;
use crate::content::{Summary, begins, fields, find, push_line, split_head};

/// How many bytes a line of 76 characters of base64 holds.
const LINE: usize = 57;

/// A file that is attached to a message.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) description: Description,
    /// The file's bytes, in pieces as they came.
    pub(crate) pieces: Vec<Bytes>,
    /// How many bytes that are.
    pub(crate) size: usize,
}

/// What is said of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) content_type: String,
    pub(crate) is_inline: bool,
    /// Without angle brackets.
    pub(crate) content_id: Option<String>,
}

/// A message's MIME without the files, and the files.
#[derive(Clone, Debug)]
pub(crate) struct Composed {
    text: Bytes,
    attachments: Vec<Arc<Attachment>>,
}

/// What stands before and after the parts of the files.
struct Frame<'a> {
    before: Cow<'a, [u8]>,
    boundary: String,
    after: Cow<'a, [u8]>,
}

impl Composed {
    /// A message without files yet, of this MIME with CRLF.
    pub(crate) fn new(text: Bytes) -> Self {
        Self { text, attachments: Vec::new() }
    }

    /// The same with one more file.
    pub(crate) fn with(&self, attachment: Attachment) -> Self {
        let mut all = self.clone();
        all.attachments.push(Arc::new(attachment));
        all
    }

    /// The MIME without the files.
    pub(crate) fn text(&self) -> &Bytes {
        &self.text
    }

    /// The same files with other MIME.
    pub(crate) fn with_text(&self, text: Bytes) -> Self {
        Self { text, attachments: self.attachments.clone() }
    }

    /// The files, in the order in which they were attached.
    pub(crate) fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.iter().map(Arc::as_ref)
    }

    /// Whether there are files that aren't shown within the text.
    pub(crate) fn has_attachments(&self) -> bool {
        self.attachments.iter().any(|one| !one.description.is_inline)
    }

    /// The MIME with the files in it.
    pub(crate) fn wire(&self) -> Bytes {
        let frame = Frame::of(&self.text);
        let mut out = Vec::with_capacity(self.length(&frame));
        out.extend_from_slice(&frame.before);
        for one in &self.attachments {
            out.extend_from_slice(format!("--{}\r\n{}", frame.boundary, part::head(&one.description)).as_bytes());
            push_base64(&mut out, &one.pieces);
        }
        out.extend_from_slice(&frame.after);
        out.into()
    }

    /// How many bytes [`Composed::wire`] gives.
    pub(crate) fn size(&self) -> usize {
        self.length(&Frame::of(&self.text))
    }

    fn length(&self, frame: &Frame<'_>) -> usize {
        let part = |one: &Arc<Attachment>| {
            "--\r\n".len() + frame.boundary.len() + part::head(&one.description).len() + base64_length(one.size)
        };
        frame.before.len() + self.attachments.iter().map(part).sum::<usize>() + frame.after.len()
    }
}

impl<'a> Frame<'a> {
    fn of(text: &'a [u8]) -> Self {
        match mixed_boundary(text) {
            Some(boundary) => Self::inside(text, boundary),
            None => Self::around(text),
        }
    }

    /// The parts go before the end of a multipart.
    fn inside(text: &'a [u8], boundary: String) -> Self {
        let start = text.len() - split_head(text).1.len();
        let delimiter = format!("\r\n--{boundary}--");
        if let Some(at) = find(&text[start..], delimiter.as_bytes()) {
            let (before, after) = text.split_at(start + at + 2);
            Self { before: before.into(), boundary, after: after.into() }
        } else {
            let after = format!("--{boundary}--\r\n").into_bytes().into();
            Self { before: [text, b"\r\n"].concat().into(), boundary, after }
        }
    }

    /// What the message consists of becomes the first part of a multipart.
    fn around(text: &'a [u8]) -> Self {
        let boundary = format!("_004_{}_", &blake3::hash(text).to_hex()[..24]);
        let (head, body) = split_head(text);
        let (own, of_message): (Vec<&[u8]>, Vec<&[u8]>) =
            fields(head).into_iter().partition(|field| begins(field, "Content-"));
        let mut before = Vec::with_capacity(text.len() + 200);
        for field in &of_message {
            push_line(&mut before, field);
        }
        if !of_message.iter().any(|field| begins(field, "MIME-Version:")) {
            before.extend_from_slice(b"MIME-Version: 1.0\r\n");
        }
        before.extend_from_slice(
            format!("Content-Type: multipart/mixed;\r\n\tboundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n").as_bytes(),
        );
        for field in &own {
            push_line(&mut before, field);
        }
        push_line(&mut before, body);
        let after = format!("--{boundary}--\r\n").into_bytes().into();
        Self { before: before.into(), boundary, after }
    }
}

/// The boundary of MIME that is a `multipart/mixed`.
fn mixed_boundary(text: &[u8]) -> Option<String> {
    let headers = Summary::read(split_head(text).0).headers;
    let (_, kind) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("Content-Type"))?;
    let mut pieces = kind.split(';').map(str::trim);
    let parameter = |piece: &str| {
        let (name, value) = piece.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    };
    let is_mixed = pieces.next().is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/mixed"));
    is_mixed.then(|| pieces.find_map(parameter)).flatten().filter(|boundary| !boundary.is_empty())
}

fn base64_length(size: usize) -> usize {
    let rest = size % LINE;
    let last = if rest > 0 { rest.div_ceil(3) * 4 + 2 } else { 0 };
    size / LINE * (LINE / 3 * 4 + 2) + last
}

/// Writes pieces as one base64 text, in lines that end with CRLF.
fn push_base64(out: &mut Vec<u8>, pieces: &[Bytes]) {
    let mut line = String::with_capacity(LINE / 3 * 4);
    let mut push = |bytes: &[u8]| {
        line.clear();
        STANDARD.encode_string(bytes, &mut line);
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    let mut begun: Vec<u8> = Vec::with_capacity(LINE);
    for piece in pieces {
        let (missing, rest) = piece.split_at(piece.len().min((LINE - begun.len()) % LINE));
        begun.extend_from_slice(missing);
        if begun.len() == LINE {
            push(&begun);
            begun.clear();
        }
        let lines = rest.chunks_exact(LINE);
        begun.extend_from_slice(lines.remainder());
        lines.for_each(&mut push);
    }
    if !begun.is_empty() {
        push(&begun);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attached(text: &str, pieces: Vec<Bytes>) -> Composed {
        let description = Description {
            name: "f.bin".to_owned(),
            content_type: "application/x-f".to_owned(),
            is_inline: false,
            content_id: None,
        };
        let size = pieces.iter().map(Bytes::len).sum();
        Composed::new(Bytes::copy_from_slice(text.as_bytes())).with(Attachment { description, pieces, size })
    }

    fn read(composed: &Composed) -> String {
        let wire = composed.wire();
        assert_eq!(wire.len(), composed.size());
        String::from_utf8(wire.into()).unwrap()
    }

    #[test]
    fn base64_doesnt_know_how_the_bytes_were_cut() {
        let bytes: Vec<u8> = (0..=255_u8).cycle().take(1000).collect();
        for length in [0, 1, 56, 57, 58, 113, 114, 115, 1000] {
            let whole = &bytes[..length];
            for cut in [1, 2, 19, 56, 57, 58, 171, 999] {
                let pieces: Vec<Bytes> = whole.chunks(cut).map(Bytes::copy_from_slice).collect();
                let mut out = Vec::new();
                push_base64(&mut out, &pieces);
                assert_eq!(out.len(), base64_length(length), "{length} in pieces of {cut}");
                let text = String::from_utf8(out).unwrap();
                assert!(text.is_empty() || text.ends_with("\r\n"));
                assert!(text.lines().rev().skip(1).all(|line| line.len() == 76));
                assert_eq!(STANDARD.decode(text.replace("\r\n", "")).unwrap(), whole);
            }
        }
    }

    #[test]
    fn text_becomes_the_first_part() {
        let text = read(&attached("Subject: s\r\ncontent-type: text/plain\r\nX: y\r\n\r\nhi", vec!["abc".into()]));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("Subject: s\r\nX: y\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;"),
            "{head}"
        );
        let boundary = head.split('"').nth(1).unwrap();
        let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
        assert_eq!((parts[0], parts[1]), ("", "\r\ncontent-type: text/plain\r\n\r\nhi\r\n"));
        assert!(parts[2].starts_with("\r\nContent-Type: application/x-f") && parts[2].ends_with("\r\n\r\nYWJj\r\n"));
        assert_eq!((parts[3], parts.len()), ("--\r\n", 4));
    }

    #[test]
    fn a_multipart_gets_more_parts() {
        let head = "Content-Type: Multipart/Mixed; charset=x;\r\n boundary=b\r\n\r\n";
        let text = read(&attached(&format!("{head}--b\r\n\r\none\r\n--b--\r\nafter\r\n"), vec!["abc".into()]));
        assert!(text.starts_with(&format!("{head}--b\r\n\r\none\r\n--b\r\nContent-Type: application/x-f")), "{text}");
        assert!(text.ends_with("\r\n\r\nYWJj\r\n--b--\r\nafter\r\n"), "{text}");
        let empty = read(&attached(&format!("{head}--b--\r\n"), vec![Bytes::new()]));
        assert!(empty.starts_with(&format!("{head}--b\r\nContent-Type:")), "{empty}");
        let open = read(&attached(&format!("{head}--b\r\n\r\none"), vec![]));
        assert!(open.starts_with(&format!("{head}--b\r\n\r\none\r\n--b\r\nContent")) && open.ends_with("--b--\r\n"));
    }

    #[test]
    fn a_message_without_a_body_is_wrapped_too() {
        let text = read(&attached("Subject: s", vec!["abc".into()]));
        assert!(text.starts_with("Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;"), "{text}");
        let text = read(&attached("\r\nonly a body\r\n\r\n", vec!["abc".into()]));
        assert!(
            text.starts_with("MIME-Version: 1.0\r\n") && text.contains("_\r\n\r\nonly a body\r\n\r\n--_"),
            "{text}"
        );
    }
}
