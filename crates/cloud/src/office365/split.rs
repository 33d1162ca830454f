//! A message that no single request takes, taken apart: a message of what fits, and the attachments that are left out of it.

use std::io::{self, Read};

use mail_parser::{ContentType, MessageParser, MimeHeaders as _};

use crate::contract::CloudError;
use crate::mime::{Content, Kind, Part, Readable, parts};

/// Within these an attachment is one of the message's, wherever it stands. A signature holds only for the parts as they are.
const TRANSPARENT: [&str; 3] = ["mixed", "related", "alternative"];

/// A message in two.
#[derive(Debug)]
pub(super) struct Split {
    /// The message without the attachments that don't fit, under another Message-ID.
    pub(super) rest: Vec<u8>,
    /// These, in the order in which they stand.
    pub(super) attachments: Vec<Attachment>,
}

/// A file that hangs on a message.
#[derive(Debug)]
pub(super) struct Attachment {
    part: Part,
    pub(super) name: String,
    pub(super) content_type: String,
    /// Without angle brackets.
    pub(super) content_id: Option<String>,
    /// Whether it is a part of the text, such as a picture in it.
    pub(super) is_inline: bool,
    /// How many bytes it has.
    pub(super) size: u64,
}

impl Split {
    /// Takes a message apart so that the rest is no longer than that. An error if what isn't an attachment is too much.
    pub(super) fn of(mime: &dyn Readable, message_id: &str, longest: usize) -> Result<Self, CloudError> {
        let all = parts(mime.open().map_err(CloudError::Sink)?).map_err(CloudError::Sink)?;
        let length = all.first().map_or(0, |root| root.span.end);
        // The new Message-ID may be longer than the old one.
        let room = (longest as u64).saturating_sub(200);
        let mut candidates: Vec<&Part> = attachments(&all).collect();
        candidates.sort_by_key(|part| part.span.end - part.span.start);
        let (mut rest, mut taken) = (length, Vec::new());
        while rest > room {
            let Some(largest) = candidates.pop() else {
                return Err(CloudError::TooLong { bytes: rest, most: room });
            };
            rest -= largest.span.end - largest.span.start;
            taken.push(largest);
        }
        taken.sort_by_key(|part| part.span.start);
        let header_end = all.first().map_or(0, |root| root.body.start);
        let rest = rest_of(mime, &taken, header_end, message_id).map_err(CloudError::Sink)?;
        let attachments = taken.into_iter().map(|part| Attachment::read(mime, part));
        Ok(Self { rest, attachments: attachments.collect::<io::Result<_>>().map_err(CloudError::Sink)? })
    }
}

impl Attachment {
    fn read(mime: &dyn Readable, part: &Part) -> io::Result<Self> {
        let size = io::copy(&mut Content::of(part, mime.open()?), &mut io::sink())?;
        let header = [&part.header, &b"\r\n"[..]].concat();
        let read = MessageParser::default().parse_headers(&header);
        let read = read.as_ref();
        let kind = read.and_then(|header| header.content_type());
        let content_type = kind.map_or("application/octet-stream".to_owned(), |kind| {
            format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")).to_ascii_lowercase()
        });
        let unnamed = if content_type == "message/rfc822" { "message.eml" } else { "attachment" };
        let name = read.and_then(|header| header.attachment_name()).filter(|name| !name.trim().is_empty());
        let content_id = read.and_then(|header| header.content_id()).map(str::to_owned);
        let is_attached = read.and_then(|header| header.content_disposition()).is_some_and(ContentType::is_attachment);
        Ok(Self {
            part: part.clone(),
            name: name.unwrap_or(unnamed).to_owned(),
            content_type,
            is_inline: content_id.is_some() && !is_attached,
            content_id,
            size,
        })
    }

    /// Its bytes.
    pub(super) fn content<'m>(&self, mime: &'m dyn Readable) -> io::Result<impl Read + Send + use<'m>> {
        Ok(Content::of(&self.part, mime.open()?))
    }
}

/// The parts that are attachments. The first one with content is the text.
fn attachments(all: &[Part]) -> impl Iterator<Item = &Part> {
    let is_transparent = |part: &Part| {
        let mut holder = part.parent;
        while let Some(part) = holder.and_then(|holder| all.get(holder)) {
            match &part.kind {
                Kind::Multipart(subtype) if TRANSPARENT.contains(&subtype.as_str()) => holder = part.parent,
                _ => return false,
            }
        }
        true
    };
    // One way of saying the same isn't an attachment.
    let is_a_version = |part: &Part| {
        let holder = part.parent.and_then(|holder| all.get(holder));
        holder.is_some_and(|holder| holder.kind == Kind::Multipart("alternative".to_owned()))
    };
    let others = all.iter().filter(|part| part.is_leaf()).skip(1);
    others.filter(move |part| part.parent.is_some() && is_transparent(part) && !is_a_version(part))
}

/// The message without these parts, which are in the order in which they stand.
fn rest_of(mime: &dyn Readable, without: &[&Part], header_end: u64, message_id: &str) -> io::Result<Vec<u8>> {
    let mut message = mime.open()?;
    let (mut rest, mut at) = (Vec::new(), 0);
    for part in without {
        io::copy(&mut message.by_ref().take(part.span.start - at), &mut rest)?;
        io::copy(&mut message.by_ref().take(part.span.end - part.span.start), &mut io::sink())?;
        at = part.span.end;
    }
    message.read_to_end(&mut rest)?;
    let header_end = usize::try_from(header_end).unwrap_or(usize::MAX).min(rest.len());
    let body = rest.split_off(header_end);
    let mut named = with_message_id(&rest, message_id);
    named.extend_from_slice(&body);
    Ok(named)
}

/// A header with another Message-ID.
fn with_message_id(header: &[u8], message_id: &str) -> Vec<u8> {
    let field = format!("Message-ID: {message_id}\r\n");
    let mut named = Vec::with_capacity(header.len() + field.len());
    let (mut is_named, mut in_message_id) = (false, false);
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        // The line that an mbox begins with stays the first.
        if !is_named && !line.starts_with(b"From ") && !line.starts_with(b">From ") {
            named.extend_from_slice(field.as_bytes());
            is_named = true;
        }
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            in_message_id = name.len() < line.len() && name.trim_ascii().eq_ignore_ascii_case(b"Message-ID");
        }
        if !in_message_id {
            named.extend_from_slice(line);
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Vec<u8> {
        let large = "QUJD".repeat(19).repeat(100);
        format!(
            "Subject: s\r\nmessage-id:\r\n <old@x>\r\nTo: a@b\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n\
             --b\r\nContent-Type: multipart/related; boundary=r\r\n\r\n--r\r\nContent-Type: text/html\r\n\r\n<p>\r\n\
             --r\r\nContent-Type: image/png; name=\"p.png\"\r\nContent-ID: <cid@x>\r\nContent-Transfer-Encoding: base64\
             \r\n\r\nQUJD\r\n--r--\r\n\
             --b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n filename*=utf-8''%C3%BCber%20uns.pdf\r\n\r\n{large}\r\n\
             --b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=\"=?utf-8?q?=C3=BC.txt?=\"\
             \r\n\r\nshort\r\n--b--\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn the_largest_attachments_are_left_out() {
        let message = message();
        let split = Split::of(&&message[..], "<new@x>", 2000).unwrap();
        let rest = String::from_utf8(split.rest).unwrap();
        assert!(rest.starts_with("Message-ID: <new@x>\r\nSubject: s\r\nTo: a@b\r\nContent-Type"), "{rest}");
        assert!(!rest.contains("pdf") && !rest.contains("old@x"), "{rest}");
        assert!(
            rest.ends_with(
                "--r--\r\n--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; \
                                filename=\"=?utf-8?q?=C3=BC.txt?=\"\r\n\r\nshort\r\n--b--\r\n"
            ),
            "{rest}"
        );
        let [pdf] = &split.attachments[..] else { panic!("{:?}", split.attachments) };
        assert_eq!((pdf.name.as_str(), pdf.content_type.as_str(), pdf.size), ("über uns.pdf", "application/pdf", 5700));
        assert!(!pdf.is_inline && pdf.content_id.is_none());
        let mut content = Vec::new();
        pdf.content(&&message[..]).unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(content, b"ABC".repeat(1900));
    }

    #[test]
    fn names_and_pictures_are_kept() {
        let message = message();
        let split = Split::of(&&message[..], "<new@x>", 450).unwrap();
        let found: Vec<_> =
            split.attachments.iter().map(|one| (one.name.as_str(), one.content_id.as_deref(), one.is_inline)).collect();
        assert_eq!(found, [("p.png", Some("cid@x"), true), ("über uns.pdf", None, false), ("ü.txt", None, false)]);
        assert!(!parts(&split.rest[..]).unwrap().iter().any(|part| part.field("Content-ID").is_some()));
    }

    #[test]
    fn what_is_no_attachment_stays() {
        let text = format!("Subject: s\r\n\r\n{}", "x".repeat(3000));
        assert!(matches!(Split::of(&text.as_bytes(), "<n@x>", 2000), Err(CloudError::TooLong { .. })));
        // What is signed is valid only as it is.
        let signed = String::from_utf8(message()).unwrap().replace("multipart/mixed", "multipart/signed");
        assert!(matches!(Split::of(&signed.as_bytes(), "<n@x>", 2000), Err(CloudError::TooLong { .. })));
    }
}
