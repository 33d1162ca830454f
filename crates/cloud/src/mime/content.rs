//! What a part holds, without its encoding.

use std::io::{self, Read};

use super::Part;

/// How much is read at a time.
const PIECE: usize = 64 << 10;

/// The content of a part as a stream, decoded as its header says (RFC 2045, section 6). What isn't encoded right is read as
/// far as it makes sense.
pub struct Content<R> {
    message: R,
    /// How many bytes of the message come before it and are still to be passed over.
    before: u64,
    /// How many of its own are still to be read.
    left: u64,
    decoder: Decoder,
    piece: Vec<u8>,
    /// What is decoded and not yet taken, from `taken` on.
    ready: Vec<u8>,
    taken: usize,
}

impl<R: Read> Content<R> {
    /// Of a part of a message that is read from its beginning.
    pub fn of(part: &Part, message: R) -> Self {
        Self::after(0, part, message)
    }

    /// Of a part of a message of which so many bytes are read already. The part must begin behind them.
    fn after(read: u64, part: &Part, message: R) -> Self {
        let encoding = part.field("Content-Transfer-Encoding").unwrap_or_default().to_ascii_lowercase();
        let decoder = match encoding.as_slice() {
            b"base64" => Decoder::Base64 { bits: 0, count: 0 },
            b"quoted-printable" => Decoder::QuotedPrintable { open: Vec::new() },
            _ => Decoder::None,
        };
        Self {
            message,
            before: part.body.start.saturating_sub(read),
            left: part.body.end - part.body.start,
            decoder,
            piece: vec![0; PIECE],
            ready: Vec::new(),
            taken: 0,
        }
    }

    /// Reads on in the message: so much at most, and nothing only at its end.
    fn read_on(&mut self, most: u64) -> io::Result<usize> {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.piece.len());
        loop {
            match self.message.read(&mut self.piece[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.ready.len() {
            self.ready.clear();
            self.taken = 0;
            if self.before > 0 {
                let count = self.read_on(self.before)?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.before -= count as u64;
                continue;
            }
            if self.left == 0 {
                self.decoder.finish(&mut self.ready);
                if self.ready.is_empty() {
                    return Ok(0);
                }
                break;
            }
            let count = self.read_on(self.left)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.left -= count as u64;
            self.decoder.take(self.piece.get(..count).unwrap_or_default(), &mut self.ready);
        }
        let left = self.ready.get(self.taken..).unwrap_or_default();
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.taken += count;
        Ok(count)
    }
}

/// Reads all parts of a message that have content of their own, in one go: `each` is given every one of them.
pub fn contents<E: From<io::Error>>(
    mut message: impl Read,
    parts: &[Part],
    mut each: impl FnMut(&Part, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut read = 0;
    for part in parts.iter().filter(|part| part.is_leaf()) {
        if part.body.start < read {
            continue;
        }
        let mut content = Content::after(read, part, &mut message);
        each(part, &mut content)?;
        io::copy(&mut content, &mut io::sink())?;
        read = part.body.end;
    }
    Ok(())
}

enum Decoder {
    None,
    Base64 {
        bits: u32,
        count: u8,
    },
    QuotedPrintable {
        /// An escape that isn't complete: it begins with `=`.
        open: Vec<u8>,
    },
}

impl Decoder {
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::None => out.extend_from_slice(bytes),
            Self::Base64 { bits, count } => {
                out.reserve(bytes.len() / 4 * 3 + 3);
                for byte in bytes {
                    let six = match byte {
                        b'A'..=b'Z' => byte - b'A',
                        b'a'..=b'z' => byte - b'a' + 26,
                        b'0'..=b'9' => byte - b'0' + 52,
                        b'+' => 62,
                        b'/' => 63,
                        // What is encoded ends here. More may follow where somebody has put several together.
                        b'=' => {
                            (*bits, *count) = (0, 0);
                            continue;
                        }
                        _ => continue,
                    };
                    *bits = *bits << 6 | u32::from(six);
                    *count += 6;
                    if *count >= 8 {
                        *count -= 8;
                        // Eight bits are what is left after the shift and the mask.
                        out.push(u8::try_from(*bits >> *count & 0xff).unwrap_or_default());
                    }
                }
            }
            Self::QuotedPrintable { open } => {
                for byte in bytes {
                    decode_quoted_printable(open, *byte, out);
                }
            }
        }
    }

    /// Gives out what an end in the middle of an escape leaves.
    fn finish(&mut self, out: &mut Vec<u8>) {
        if let Self::QuotedPrintable { open } = self {
            out.append(open);
        }
    }
}

fn decode_quoted_printable(open: &mut Vec<u8>, byte: u8, out: &mut Vec<u8>) {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match (open.as_slice(), byte) {
        ([], b'=') => open.push(byte),
        ([], _) => out.push(byte),
        // A line end that isn't one of the text. White space before it was added on the way.
        ([b'=', ..], b'\n') if open.get(1..).unwrap_or_default().trim_ascii().is_empty() => open.clear(),
        ([b'='], _) if digit(byte).is_some() || matches!(byte, b' ' | b'\t' | b'\r') => open.push(byte),
        ([b'=', b' ' | b'\t' | b'\r', ..], b' ' | b'\t' | b'\r') if open.len() < 100 => open.push(byte),
        ([b'=', high], _) => match (digit(*high), digit(byte)) {
            (Some(high), Some(low)) => {
                out.push(high << 4 | low);
                open.clear();
            }
            _ => give_up(open, byte, out),
        },
        _ => give_up(open, byte, out),
    }
}

/// What seemed to be an escape is text.
fn give_up(open: &mut Vec<u8>, byte: u8, out: &mut Vec<u8>) {
    out.append(open);
    decode_quoted_printable(open, byte, out);
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::super::parts;
    use super::*;

    fn content(message: &[u8], part: usize) -> Vec<u8> {
        let found = parts(message).unwrap();
        let mut content = Vec::new();
        Content::of(&found[part], message).read_to_end(&mut content).unwrap();
        content
    }

    fn encoded(encoding: &str, text: &str) -> Vec<u8> {
        content(format!("Content-Transfer-Encoding: {encoding}\n\n{text}").as_bytes(), 0)
    }

    #[test]
    fn each_encoding_is_undone() {
        assert_eq!(encoded("8bit", "a=20\n"), b"a=20\n");
        assert_eq!(encoded("BASE64", "aGVs\r\nbG8=\r\n"), b"hello");
        assert_eq!(encoded("base64", "aGVsbG8=aGVsbG8="), b"hellohello");
        assert_eq!(encoded("quoted-printable", "a=20b=\r\nc=3D=\n= \nd"), b"a bc=d");
        assert_eq!(encoded("quoted-printable", "a=b=zz=2x=4"), b"a=b=zz=2x=4");
        assert_eq!(encoded("quoted-printable", "==41=\r"), b"=A=\r");
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let lines: Vec<u8> = STANDARD.encode(&bytes).into_bytes().chunks(76).collect::<Vec<_>>().join(&b"\r\n"[..]);
            let message = [b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\nContent-Transfer-Encoding: base64\r\n\r\n", &lines[..], b"\r\n--x--\r\n"].concat();
            prop_assert_eq!(content(&message, 2), bytes);
        }

        #[test]
        fn f24_any_bytes_are_decoded_without_a_panic(bytes in prop::collection::vec(prop::sample::select(b"=aF0 \t\r\n".to_vec()), 0..60)) {
            for encoding in ["base64", "quoted-printable", "x"] {
                let _ = content(&[format!("Content-Transfer-Encoding: {encoding}\n\n").as_bytes(), &bytes].concat(), 0);
            }
        }
    }
}
