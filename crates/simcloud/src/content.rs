//! Where a message's bytes come from, and what a listing tells of them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::attachments::{Attachment, Composed};
use crate::clock;
use crate::mime_generator::Generator;

/// Where a message's bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Made anew whenever they are asked for.
    Generated(u32),
    /// In a file, with any line ends.
    File(Arc<Path>),
    /// Here, as they are served.
    Stored(Bytes),
    /// Here, as MIME and files that are attached to it.
    Composed(Arc<Composed>),
}

impl Source {
    /// The bytes as `$value` gives them.
    pub(crate) fn wire(&self, generator: &Generator) -> io::Result<Bytes> {
        match self {
            Self::Generated(index) => Ok(generator.mime(*index).into()),
            Self::File(path) => Ok(to_crlf(&std::fs::read(path)?).into()),
            Self::Stored(bytes) => Ok(bytes.clone()),
            Self::Composed(composed) => Ok(composed.wire()),
        }
    }

    /// At least the header of the message.
    fn head(&self, generator: &Generator) -> io::Result<Bytes> {
        match self {
            Self::Generated(index) => Ok(generator.head(*index).into()),
            Self::File(_) | Self::Stored(_) => self.wire(generator),
            Self::Composed(composed) => Ok(composed.text().clone()),
        }
    }

    /// How many bytes [`Source::wire`] gives, where that can be told; of a file before its line ends are made CRLF.
    pub(crate) fn size(&self, generator: &Generator) -> Option<u64> {
        match self {
            Self::Generated(index) => Some(generator.mime(*index).len() as u64),
            Self::File(path) => std::fs::metadata(path).ok().map(|metadata| metadata.len()),
            Self::Stored(bytes) => Some(bytes.len() as u64),
            Self::Composed(composed) => Some(composed.size() as u64),
        }
    }

    /// What a listing tells; the preview only `with_body`.
    pub(crate) fn summary(&self, generator: &Generator, with_body: bool) -> Summary {
        // A listing shows the beginning of the text, which comes before the files.
        let all = with_body && !matches!(self, Self::Composed(_));
        let bytes = if all { self.wire(generator) } else { self.head(generator) };
        let mut summary = bytes.map(|bytes| Summary::read(&bytes)).unwrap_or_default();
        if let Self::Composed(composed) = self {
            summary.has_attachments |= composed.has_attachments();
        }
        summary
    }

    /// The same with another Message-ID.
    pub(crate) fn with_message_id(&self, generator: &Generator, id: &str) -> io::Result<Self> {
        Ok(match self {
            Self::Composed(composed) => {
                Self::Composed(Arc::new(composed.with_text(with_message_id(composed.text(), id).into())))
            }
            other => Self::Stored(with_message_id(&other.wire(generator)?, id).into()),
        })
    }

    /// A hash of all but the header.
    pub(crate) fn hash_without_head(&self, generator: &Generator) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        if let Self::Composed(composed) = self {
            hasher.update(split_head(composed.text()).1);
            for one in composed.attachments() {
                hasher.update(one.description.name.as_bytes());
                for piece in &one.pieces {
                    hasher.update(piece);
                }
            }
        } else {
            hasher.update(split_head(&self.wire(generator)?).1);
        }
        Ok(hasher.finalize())
    }

    /// The same with one more file attached to it.
    pub(crate) fn with_attachment(&self, generator: &Generator, attachment: Attachment) -> io::Result<Self> {
        let composed = match self {
            Self::Composed(composed) => composed.with(attachment),
            other => Composed::new(other.wire(generator)?).with(attachment),
        };
        Ok(Self::Composed(Arc::new(composed)))
    }
}

/// Makes every line end CRLF: a line feed that follows a carriage return stays, and so does a carriage return alone.
pub(crate) fn to_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 32);
    let mut last = 0;
    for byte in bytes {
        if *byte == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(*byte);
        last = *byte;
    }
    out
}

/// Makes every CRLF a line feed, as a Maildir stores mail; a carriage return alone stays.
pub(crate) fn to_lf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            out.push(*byte);
        }
    }
    out
}

/// What a listing tells of a message's text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) subject: String,
    pub(crate) from: Option<(String, String)>,
    pub(crate) to: Vec<(String, String)>,
    pub(crate) cc: Vec<(String, String)>,
    pub(crate) message_id: Option<String>,
    pub(crate) has_attachments: bool,
    pub(crate) preview: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Summary {
    /// Reads a message far enough for a listing. Nothing is an error: what can't be read is left out.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let end = find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in head.split("\r\n") {
            if let (true, Some((_, value))) = (line.starts_with([' ', '\t']), headers.last_mut()) {
                value.push(' ');
                value.push_str(line.trim());
            } else if let Some((name, value)) = line.split_once(':') {
                headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        let get = |name: &str| {
            headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let body = bytes.get(end + 4..).unwrap_or_default();
        let preview: String = String::from_utf8_lossy(&body[..body.len().min(255)]).into_owned();
        Self {
            subject: get("Subject").unwrap_or_default().to_owned(),
            from: get("From").and_then(|text| addresses(text).into_iter().next()),
            to: get("To").map(addresses).unwrap_or_default(),
            cc: get("Cc").map(addresses).unwrap_or_default(),
            message_id: get("Message-ID").filter(|id| !id.is_empty()).map(str::to_owned),
            has_attachments: get("Content-Type")
                .is_some_and(|kind| kind.to_ascii_lowercase().contains("multipart/mixed")),
            preview,
            headers,
        }
    }
}

/// Where a text first stands in another one.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Whether a header field begins so, in any case.
pub(crate) fn begins(field: &[u8], start: &str) -> bool {
    field.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start.as_bytes()))
}

/// Writes a line with its end, which it may lack.
pub(crate) fn push_line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(line);
    if !line.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
}

/// A message's header fields and what follows them, beginning with the empty line.
pub(crate) fn split_head(bytes: &[u8]) -> (&[u8], &[u8]) {
    if bytes.starts_with(b"\r\n") {
        return (&[], bytes);
    }
    find(bytes, b"\r\n\r\n").map_or((bytes, b"\r\n"), |at| bytes.split_at(at + 2))
}

/// The fields of a header, each with all its lines and their ends.
pub(crate) fn fields(head: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    for line in split_lines(head) {
        if starts.is_empty() || !line.starts_with(b" ") && !line.starts_with(b"\t") {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([head.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| head.get(*start..end)).collect()
}

/// Names and addresses of a header, roughly; a comma inside quotes doesn't part two of them.
fn addresses(text: &str) -> Vec<(String, String)> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for character in text.chars() {
        quoted ^= character == '"';
        match (character, parts.last_mut()) {
            (',', Some(part)) if !quoted && part.contains('@') => parts.push(String::new()),
            (_, Some(part)) => part.push(character),
            (_, None) => {}
        }
    }
    parts
        .iter()
        .map(|part| part.trim())
        .filter(|part| !part.is_empty())
        .map(|part| match part.rsplit_once('<') {
            Some((name, address)) => {
                (name.trim().trim_matches('"').to_owned(), address.trim_end_matches(['>', ' ']).to_owned())
            }
            None => (part.to_owned(), part.to_owned()),
        })
        .collect()
}

/// Builds MIME anew, as Exchange does from its stored items: own headers and boundaries. `round` makes copies differ.
pub(crate) fn rebuild(bytes: &[u8], round: u64) -> Vec<u8> {
    let head_end = find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
    let (head, rest) = bytes.split_at(head_end);
    let mut out = head.to_vec();
    out.extend_from_slice(b"\r\nX-MS-Has-Attach:\r\nX-MS-TNEF-Correlator:\r\n");
    if round > 0 {
        out.extend_from_slice(
            format!("X-MS-Exchange-Processed-By-Build: {round} {}", clock::format_mail(clock::now())).as_bytes(),
        );
    } else {
        out.extend_from_slice(b"Content-Language: en-US");
    }
    out.extend_from_slice(rest);
    let text = String::from_utf8_lossy(head);
    let Some(boundary) = text.split_once("boundary=\"").and_then(|(_, rest)| rest.split('"').next()) else {
        return out;
    };
    if boundary.len() < 8 {
        return out;
    }
    let new = format!("_{round:03}_{}_rebuilt_", boundary.len());
    replace(&out, boundary.as_bytes(), new.as_bytes())
}

/// What Exchange stores of MIME that it is given: the header fields that it knows and those that begin with `X-`, without the
/// trace of earlier transport, with the time at which it was taken in, and with a Message-ID of its own where there is none.
pub(crate) fn take_in(bytes: &[u8]) -> Vec<u8> {
    let head_end = find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
    let (head, rest) = bytes.split_at(head_end);
    let mut fields = fields(head);
    let now = clock::now();
    fields.retain(|field| {
        !["Received:", "Return-Path:", "DKIM-Signature:", "Date:", "Status:", "X-Status:"]
            .iter()
            .any(|name| begins(field, name))
    });
    let mut out = format!("Date: {}\r\n", clock::format_mail(now)).into_bytes();
    for field in &fields {
        push_line(&mut out, field);
    }
    if !fields.iter().any(|field| begins(field, "Message-ID:")) {
        let own = blake3::hash(bytes).to_hex();
        out.extend_from_slice(format!("Message-ID: <{}@PROD.OUTLOOK.COM>\r\n", &own[..24]).as_bytes());
    }
    out.extend_from_slice(b"X-MS-Has-Attach:\r\nX-MS-Exchange-Organization-SCL: -1");
    out.extend_from_slice(if rest.is_empty() { b"\r\n\r\n" } else { rest });
    out
}

/// The same message with another Message-ID.
fn with_message_id(bytes: &[u8], id: &str) -> Vec<u8> {
    let (head, body) = split_head(bytes);
    let (old, others): (Vec<&[u8]>, Vec<&[u8]>) =
        fields(head).into_iter().partition(|field| begins(field, "Message-ID:"));
    let mut out = Vec::with_capacity(bytes.len() + id.len() + 16);
    let at = old.first().and_then(|old| fields(head).iter().position(|field| field == old)).unwrap_or(others.len());
    for field in &others[..at] {
        push_line(&mut out, field);
    }
    push_line(&mut out, format!("Message-ID: {id}").as_bytes());
    for field in &others[at..] {
        push_line(&mut out, field);
    }
    out.extend_from_slice(body);
    out
}

fn split_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}

fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = find(rest, old) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_crlf_and_nothing_else_changes() {
        assert_eq!(to_crlf(b"a\nb\r\nc\rd\r\r\n"), b"a\r\nb\r\nc\rd\r\r\n");
        assert_eq!(to_lf(b"a\r\nb\rc\r\r\nd\r"), b"a\nb\rc\r\nd\r");
    }

    #[test]
    fn summaries_unfold_headers() {
        let summary = Summary::read(b"Subject: one\r\n two\r\nFrom: \"A, B\" <a@b.c>\r\nTo: x@y, Z <z@y>\r\n\r\nbody");
        assert_eq!(summary.subject, "one two");
        assert_eq!(summary.from, Some(("A, B".to_owned(), "a@b.c".to_owned())));
        assert_eq!(summary.to.len(), 2);
        assert_eq!(summary.preview, "body");
        assert_eq!(summary.message_id, None);
    }

    #[test]
    fn what_is_taken_in_has_another_date_and_no_trace() {
        let taken =
            take_in(b"Received: by x\r\n\tby y\r\nDate: old\r\nSubject: s\r\nMessage-ID: <a@b>\r\n\r\nbody\r\n");
        let text = String::from_utf8(taken).unwrap();
        assert!(text.contains("Subject: s\r\nMessage-ID: <a@b>\r\nX-MS") && text.ends_with("\r\n\r\nbody\r\n"));
        assert!(!text.contains("by y") && !text.contains("old"));
        assert!(String::from_utf8(take_in(b"Subject: s\r\n\r\n")).unwrap().contains("OUTLOOK.COM>\r\n"));
    }

    #[test]
    fn another_message_id_stands_where_the_old_one_did() {
        let with = |text: &str| String::from_utf8(with_message_id(text.as_bytes(), "<new@x>")).unwrap();
        assert_eq!(
            with("A: b\r\nmessage-id:\r\n <old@x>\r\nC: d\r\nMessage-ID: <two@x>\r\n\r\nMessage-ID: <old@x>\r\n"),
            "A: b\r\nMessage-ID: <new@x>\r\nC: d\r\n\r\nMessage-ID: <old@x>\r\n"
        );
        assert_eq!(with("A: b\r\n\r\nbody"), "A: b\r\nMessage-ID: <new@x>\r\n\r\nbody");
        assert_eq!(with("\r\nbody"), "Message-ID: <new@x>\r\n\r\nbody");
        assert_eq!(with("A: b"), "A: b\r\nMessage-ID: <new@x>\r\n\r\n");
    }

    #[test]
    fn rebuilt_mime_differs_but_keeps_its_text() {
        let mail = b"Content-Type: multipart/mixed; boundary=\"abcdefghij\"\r\n\r\n--abcdefghij\r\n\r\nhi\r\n--abcdefghij--\r\n";
        let (first, second) = (rebuild(mail, 1), rebuild(mail, 2));
        assert_ne!(first, second);
        assert!(find(&first, b"\r\n\r\nhi\r\n").is_some() && find(&first, b"abcdefghij").is_none());
    }
}
