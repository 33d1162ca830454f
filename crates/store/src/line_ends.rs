//! Line ends: the cloud sends and takes CRLF, Maildirs hold LF.

/// Turns CRLF into LF in a stream that comes in arbitrary pieces. All other bytes stay, a CR without LF among them.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineEnds {
    /// The last piece ended with a CR, which isn't written yet.
    held_cr: bool,
}

impl LineEnds {
    /// Appends the converted piece to `output`.
    pub fn convert(&mut self, piece: &[u8], output: &mut Vec<u8>) {
        let Some(first) = piece.first() else { return };
        if std::mem::take(&mut self.held_cr) && *first != b'\n' {
            output.push(b'\r');
        }
        let mut rest = piece;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\r') {
            let (text, from_cr) = rest.split_at(at);
            output.extend_from_slice(text);
            match from_cr.get(1) {
                Some(b'\n') => {}
                Some(_) => output.push(b'\r'),
                None => self.held_cr = true,
            }
            rest = from_cr.get(1..).unwrap_or_default();
        }
        output.extend_from_slice(rest);
    }

    /// Appends what is held back when the stream has ended.
    pub fn finish(self, output: &mut Vec<u8>) {
        if self.held_cr {
            output.push(b'\r');
        }
    }
}

/// Turns LF into CRLF in a stream that comes in arbitrary pieces. An LF after a CR stays, and so do all other bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct WireLineEnds {
    /// The last byte was a CR.
    after_cr: bool,
}

impl WireLineEnds {
    /// Appends the converted piece to `output`.
    pub fn convert(&mut self, piece: &[u8], output: &mut Vec<u8>) {
        let mut rest = piece;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, from_lf) = rest.split_at(at);
            output.extend_from_slice(line);
            if !line.last().map_or(self.after_cr, |last| *last == b'\r') {
                output.push(b'\r');
            }
            output.push(b'\n');
            self.after_cr = false;
            rest = from_lf.get(1..).unwrap_or_default();
        }
        output.extend_from_slice(rest);
        self.after_cr = rest.last().map_or(self.after_cr, |last| *last == b'\r');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn converted(pieces: &[&[u8]]) -> Vec<u8> {
        let mut output = Vec::new();
        let mut line_ends = LineEnds::default();
        for piece in pieces {
            line_ends.convert(piece, &mut output);
        }
        line_ends.finish(&mut output);
        output
    }

    /// The conversion in its plainest form.
    fn expected(bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
                output.push(*byte);
            }
        }
        output
    }

    #[test]
    fn only_cr_before_lf_goes() {
        assert_eq!(converted(&[b"a\r\nb\nc\rd\r\r\ne\r"]), b"a\nb\nc\rd\r\ne\r");
        assert_eq!(converted(&[b"a\r", b"", b"\nb\r", b"\r", b"\n\r", b"c"]), b"a\nb\r\n\rc");
        assert_eq!(converted(&[]), b"");
    }

    #[test]
    fn f25_the_result_is_the_same_wherever_the_stream_is_cut_in_three() {
        let message = b"Subject: x\r\n\r\nlone \r and \n\r and \r\r\n\r\nend\r";
        let whole = expected(message);
        for one in 0..=message.len() {
            for two in one..=message.len() {
                assert_eq!(
                    converted(&[&message[..one], &message[one..two], &message[two..]]),
                    whole,
                    "cut at {one}, {two}"
                );
            }
        }
    }

    fn sent(pieces: &[&[u8]]) -> Vec<u8> {
        let mut output = Vec::new();
        let mut line_ends = WireLineEnds::default();
        for piece in pieces {
            line_ends.convert(piece, &mut output);
        }
        output
    }

    /// The conversion in its plainest form.
    fn expected_on_the_wire(bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            if *byte == b'\n' && (at == 0 || bytes[at - 1] != b'\r') {
                output.push(b'\r');
            }
            output.push(*byte);
        }
        output
    }

    #[test]
    fn f25_only_a_lone_lf_gets_a_cr() {
        assert_eq!(sent(&[b"a\nb\r\nc\rd\n\n\r\r\n"]), b"a\r\nb\r\nc\rd\r\n\r\n\r\r\n");
        assert_eq!(sent(&[b"a\r", b"", b"\nb", b"\n", b"\n"]), b"a\r\nb\r\n\r\n");
        assert_eq!(sent(&[]), b"");
    }

    #[test]
    fn f25_what_is_sent_is_the_same_wherever_the_stream_is_cut_in_three() {
        let message = b"Subject: x\n\nlone \r and \n\r and \r\r\n\nend\n";
        let whole = expected_on_the_wire(message);
        for one in 0..=message.len() {
            for two in one..=message.len() {
                let pieces = [&message[..one], &message[one..two], &message[two..]];
                assert_eq!(sent(&pieces), whole, "cut at {one}, {two}");
            }
        }
    }

    proptest! {
        #[test]
        fn f25_what_is_sent_in_random_pieces_is_what_the_whole_gives_and_comes_back_as_it_was(
            pieces in prop::collection::vec(prop::collection::vec(prop::sample::select(b"\r\n\r\nab\0\xff".to_vec()), 0..6), 0..12),
        ) {
            let whole = pieces.concat();
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let on_the_wire = sent(&pieces);
            prop_assert_eq!(&on_the_wire, &expected_on_the_wire(&whole));
            // A Maildir's own CRLF is the only thing that doesn't survive the way there and back.
            prop_assert_eq!(converted(&[&on_the_wire]), expected(&whole));
        }

        #[test]
        fn f25_random_pieces_give_what_the_whole_gives(
            pieces in prop::collection::vec(prop::collection::vec(prop::sample::select(b"\r\n\r\nab\0\xff".to_vec()), 0..6), 0..12),
        ) {
            let whole = pieces.concat();
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(converted(&pieces), expected(&whole));
        }
    }
}
