//! Where the parts of a message begin and end.

use std::io::{self, Read};
use std::ops::Range;

/// Of a line no more than this is looked at: longer ones are content, for none may be longer than 998 bytes (RFC 5322,
/// section 2.1.1).
const LONGEST_LINE: usize = 4096;
/// A part's header is read no further.
const LONGEST_HEADER: usize = 64 << 10;
/// Parts within parts are looked into so far.
const DEEPEST: usize = 20;
/// So many parts are told apart.
const MOST_PARTS: usize = 10_000;
/// How much is read at a time.
const PIECE: usize = 64 << 10;

/// What a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One with content of its own.
    Leaf,
    /// One that holds others: a multipart, by its subtype in lower case, such as `mixed`.
    Multipart(String),
}

/// A part of a message, the whole message being the first one.
#[derive(Clone, Debug)]
pub struct Part {
    /// The place, in the list of all parts, of the one that holds it.
    pub parent: Option<usize>,
    /// What it is.
    pub kind: Kind,
    /// Its header, without the blank line after it, cut off where it is absurdly long.
    pub header: Vec<u8>,
    /// Where all of it lies: from the beginning of the boundary line before it to that of the next one.
    pub span: Range<u64>,
    /// Where its content lies, in the encoding that the header names.
    pub body: Range<u64>,
}

impl Part {
    /// The value of the first header field of this name, in one line.
    pub fn field(&self, name: &str) -> Option<Vec<u8>> {
        field(&self.header, name)
    }

    /// Whether it is content of its own rather than a holder of other parts.
    pub fn is_leaf(&self) -> bool {
        self.kind == Kind::Leaf
    }
}

/// The value of the first header field of a name, in one line (RFC 5322, section 2.2.3).
fn field(header: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut value: Option<Vec<u8>> = None;
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        match &mut value {
            Some(value) if folded => value.extend_from_slice(line),
            Some(_) => break,
            None if folded => {}
            None => {
                let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
                if line.get(..colon).unwrap_or_default().trim_ascii().eq_ignore_ascii_case(name.as_bytes()) {
                    value = Some(line.get(colon + 1..).unwrap_or_default().to_vec());
                }
            }
        }
    }
    let mut value = value?;
    value.retain(|byte| !matches!(byte, b'\r' | b'\n'));
    Some(value.trim_ascii().to_vec())
}

/// A multipart that isn't over yet.
struct Open {
    part: usize,
    boundary: Vec<u8>,
}

/// Where a line stands.
#[derive(PartialEq, Eq)]
enum At {
    Header,
    /// Behind the header of this part: in a leaf, or before the first part of a multipart or behind its last.
    Body,
}

/// A message as far as it is read.
struct Scan {
    parts: Vec<Part>,
    open: Vec<Open>,
    /// The part that is being read: a multipart where what is read stands behind its last boundary. Nothing if there are too
    /// many.
    current: Option<usize>,
    at: At,
    /// How long the line end before this line is, which belongs to a boundary that follows (RFC 2046, section 5.1.1).
    last_end: u64,
}

/// Finds the parts of a message, each before those that it holds.
pub fn parts(mut message: impl Read) -> io::Result<Vec<Part>> {
    let root = Part { parent: None, kind: Kind::Leaf, header: Vec::new(), span: 0..0, body: 0..0 };
    let mut scan = Scan { parts: vec![root], open: Vec::new(), current: Some(0), at: At::Header, last_end: 0 };
    let mut piece = vec![0; PIECE];
    let (mut line, mut begins, mut offset) = (Vec::new(), 0_u64, 0_u64);
    let mut last_byte = None;
    loop {
        let count = match message.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let mut rest = piece.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (now, after) = rest.split_at(end.map_or(rest.len(), |at| at + 1));
            let room = LONGEST_LINE.saturating_sub(line.len());
            line.extend_from_slice(now.get(..room).unwrap_or(now));
            offset += now.len() as u64;
            let before_end = if now.len() > 1 { now.get(now.len() - 2).copied() } else { last_byte };
            last_byte = now.last().copied();
            if end.is_some() {
                scan.line(&line, begins..offset, if before_end == Some(b'\r') { 2 } else { 1 });
                line.clear();
                begins = offset;
            }
            rest = after;
        }
    }
    if begins < offset {
        scan.line(&line, begins..offset, 0);
    }
    Ok(scan.finish(offset))
}

impl Scan {
    /// Takes the next line, of which the beginning is `text`. `end` is how long its line end is.
    fn line(&mut self, text: &[u8], lies: Range<u64>, end: u64) {
        if let Some((level, closes)) = self.boundary(text) {
            self.end_parts(level, lies.start);
            if closes {
                // What follows its last boundary still is a part of it.
                self.current = self.open.get(level).map(|open| open.part);
                self.open.truncate(level);
                self.at = At::Body;
            } else {
                self.begin_part(lies);
            }
            self.last_end = end;
            return;
        }
        self.last_end = end;
        let (At::Header, Some(current)) = (&self.at, self.current) else { return };
        let Some(part) = self.parts.get_mut(current) else { return };
        if text.trim_ascii().is_empty() {
            part.body = lies.end..lies.end;
            self.at = At::Body;
            self.begin_multipart(current);
        } else if part.header.len() < LONGEST_HEADER {
            part.header.extend_from_slice(text);
        }
    }

    /// Whether a line is the boundary of a multipart that is open: of which, and whether it is its last.
    fn boundary(&self, text: &[u8]) -> Option<(usize, bool)> {
        let rest = text.strip_prefix(b"--")?;
        self.open.iter().enumerate().rev().find_map(|(level, open)| {
            let after = rest.strip_prefix(open.boundary.as_slice())?.trim_ascii_end();
            match after {
                b"" => Some((level, false)),
                b"--" => Some((level, true)),
                _ => None,
            }
        })
    }

    /// Ends what is open within the multipart at `level`, right before a line that begins at `at`.
    fn end_parts(&mut self, level: usize, at: u64) {
        let holders = self.open.iter().skip(level + 1).map(|open| open.part);
        let ended: Vec<usize> = holders.chain(self.current).collect();
        let multipart = self.open.get(level).map(|open| open.part);
        for part in ended.into_iter().filter(|part| Some(*part) != multipart) {
            self.end_part(part, at, at.saturating_sub(self.last_end));
        }
        self.open.truncate(level + 1);
    }

    fn end_part(&mut self, part: usize, span_end: u64, body_end: u64) {
        let in_header = self.at == At::Header && self.current == Some(part);
        if let Some(part) = self.parts.get_mut(part) {
            part.span.end = span_end;
            if in_header {
                part.body.start = body_end;
            }
            part.body.end = body_end.max(part.body.start);
        }
    }

    fn begin_part(&mut self, boundary_line: Range<u64>) {
        let parent = self.open.last().map(|open| open.part);
        if self.parts.len() >= MOST_PARTS {
            self.current = None;
            self.at = At::Body;
            return;
        }
        let Range { start, end } = boundary_line;
        let part = Part { parent, kind: Kind::Leaf, header: Vec::new(), span: start..start, body: end..end };
        self.parts.push(part);
        self.current = Some(self.parts.len() - 1);
        self.at = At::Header;
    }

    /// Opens a part whose header has ended, if it holds others.
    fn begin_multipart(&mut self, number: usize) {
        let Some(part) = self.parts.get_mut(number) else { return };
        let Some((subtype, boundary)) = multipart(&part.field("Content-Type").unwrap_or_default()) else { return };
        if self.open.len() < DEEPEST {
            part.kind = Kind::Multipart(subtype);
            self.open.push(Open { part: number, boundary });
        }
    }

    fn finish(mut self, length: u64) -> Vec<Part> {
        let open: Vec<usize> = self.open.iter().map(|open| open.part).chain(self.current).collect();
        for part in open {
            self.end_part(part, length, length);
        }
        // The message itself ends where all ends, whatever is behind its last boundary.
        if let Some(root) = self.parts.first_mut() {
            root.span.end = length;
            root.body.end = length.max(root.body.start);
        }
        self.parts
    }
}

/// The subtype and the boundary that a `Content-Type` names, if it is a multipart's (RFC 2046, section 5.1.1).
fn multipart(kind: &[u8]) -> Option<(String, Vec<u8>)> {
    let lower = kind.to_ascii_lowercase();
    let subtype = lower.strip_prefix(b"multipart/")?;
    let subtype = subtype.split(|byte| *byte == b';' || byte.is_ascii_whitespace()).next()?;
    let at = lower.windows(9).position(|window| window == b"boundary=")?;
    let value = kind.get(at + 9..)?;
    let value = match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|byte| *byte == b'"').next()?,
        None => value.split(|byte| *byte == b';' || byte.is_ascii_whitespace()).next()?,
    };
    // White space at the end of a boundary isn't a part of it.
    let value = value.trim_ascii_end();
    (!value.is_empty()).then(|| (String::from_utf8_lossy(subtype).into_owned(), value.to_vec()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NESTED: &str = "Subject: s\r\nContent-Type: multipart/Mixed;\r\n boundary=\"ab\"\r\n\r\npreamble\r\n\
        --ab\r\nContent-Type: multipart/alternative; boundary=abc\r\n\r\n\
        --abc\r\n\r\nplain\r\n--abc\r\nContent-Type: text/html\r\n\r\n<p>\r\n--abc--\r\n\
        --ab\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\nAAAA\r\n--ab--\r\nepilogue\r\n";

    fn texts<'m>(message: &'m str, found: &[Part], of: impl Fn(&Part) -> Range<u64>) -> Vec<&'m str> {
        let text =
            |range: Range<u64>| &message[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        found.iter().map(|part| text(of(part))).collect()
    }

    #[test]
    fn parts_within_parts_are_found() {
        let found = parts(NESTED.as_bytes()).unwrap();
        let kinds: Vec<&Kind> = found.iter().map(|part| &part.kind).collect();
        let multipart = |subtype: &str| Kind::Multipart(subtype.to_owned());
        assert_eq!(kinds, [&multipart("mixed"), &multipart("alternative"), &Kind::Leaf, &Kind::Leaf, &Kind::Leaf]);
        let parents: Vec<Option<usize>> = found.iter().map(|part| part.parent).collect();
        assert_eq!(parents, [None, Some(0), Some(1), Some(1), Some(0)]);
        let bodies = texts(NESTED, &found, |part| part.body.clone());
        assert_eq!(bodies[2..], ["plain", "<p>", "AAAA\r\nAAAA"]);
        let spans = texts(NESTED, &found, |part| part.span.clone());
        assert!(spans[4].starts_with("--ab\r\nContent-Type: image/png") && spans[4].ends_with("AAAA\r\n"));
        assert!(spans[1].starts_with("--ab\r\nContent-Type: multipart/alt") && spans[1].ends_with("--abc--\r\n"));
        assert_eq!(found[4].field("content-transfer-encoding").as_deref(), Some(&b"base64"[..]));
        assert_eq!(found[0].field("content-type").as_deref(), Some(&b"multipart/Mixed; boundary=\"ab\""[..]));
    }

    #[test]
    fn line_feeds_alone_do_as_well() {
        let message = NESTED.replace("\r\n", "\n");
        let found = parts(message.as_bytes()).unwrap();
        assert_eq!(texts(&message, &found, |part| part.body.clone())[2..], ["plain", "<p>", "AAAA\nAAAA"]);
    }

    #[test]
    fn a_message_that_breaks_off_ends_where_it_does() {
        let message = &NESTED[..NESTED.find("AAAA").unwrap() + 2];
        let found = parts(message.as_bytes()).unwrap();
        assert_eq!(texts(message, &found, |part| part.body.clone()).last(), Some(&"AA"));
        assert_eq!(parts(&b""[..]).unwrap().len(), 1);
        assert_eq!(parts(&b"Subject: x"[..]).unwrap()[0].body, 10..10);
    }

    #[test]
    fn what_is_no_multipart_is_one_part() {
        let message = "Subject: x\n\n--ab\n\ntext\n--ab--\n";
        let found = parts(message.as_bytes()).unwrap();
        assert_eq!(texts(message, &found, |part| part.body.clone()), ["--ab\n\ntext\n--ab--\n"]);
    }

    /// Hands out a few bytes at a time.
    struct Slowly<'a>(&'a [u8], usize);

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            let (now, rest) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = rest;
            Ok(count)
        }
    }

    proptest! {
        #[test]
        fn f24_any_bytes_are_parts_that_lie_within_each_other(
            bytes in prop::collection::vec(prop::sample::select(b"\r\n\n-ab: ;\"=".to_vec()), 0..300),
            step in 1_usize..9,
        ) {
            let message = [b"Content-Type: multipart/x; boundary=a\n\n--a\n", &bytes[..], b"\n--a--"].concat();
            let found = parts(&message[..]).unwrap();
            let slowly = parts(Slowly(&message, step)).unwrap();
            prop_assert_eq!(format!("{found:?}"), format!("{slowly:?}"));
            for part in &found {
                prop_assert!(part.span.start <= part.body.start && part.body.start <= part.body.end, "{:?}", part);
                prop_assert!(part.body.end <= part.span.end && part.span.end <= message.len() as u64, "{:?}", part);
                if let Some(holder) = part.parent.map(|parent| &found[parent]) {
                    prop_assert!(holder.span.start <= part.span.start && part.span.end <= holder.span.end);
                }
            }
        }
    }
}
