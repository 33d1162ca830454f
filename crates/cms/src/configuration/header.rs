//! Finding one header field in a message (RFC 5322 section 2.2).

/// Returns the value of the first field called `name`, whatever its case, unfolded and without the white space around
/// it. Encoded words (RFC 2047) stay encoded, and bytes that aren't UTF-8 become U+FFFD.
///
/// Nothing in a header makes this fail: lines that aren't fields are passed over.
pub(crate) fn value(header: &[u8], name: &str) -> Option<String> {
    let mut lines = header
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .take_while(|line| !line.is_empty())
        .peekable();
    while let Some(line) = lines.next() {
        let Some(first) = value_if_called(line, name) else { continue };
        let mut whole = first.to_vec();
        while let Some(continued) = lines.next_if(|line| is_continuation(line)) {
            whole.extend_from_slice(continued);
        }
        return Some(String::from_utf8_lossy(&whole).trim().to_owned());
    }
    None
}

fn value_if_called<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    if is_continuation(line) {
        return None;
    }
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (field, rest) = line.split_at(colon);
    // White space before the colon is obsolete but allowed (RFC 5322 section 4.5).
    field.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes()).then(|| rest.get(1..).unwrap_or_default())
}

fn is_continuation(line: &[u8]) -> bool {
    line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_found_whatever_their_case() {
        let header = b"List-ID: <rust.example.org>\r\nSubject: x\r\n\r\n";
        assert_eq!(value(header, "list-id").as_deref(), Some("<rust.example.org>"));
        assert_eq!(value(header, "LIST-ID").as_deref(), Some("<rust.example.org>"));
        assert_eq!(value(header, "List"), None);
    }

    #[test]
    fn the_first_of_several_counts() {
        assert_eq!(value(b"X: 1\nX: 2\n", "X").as_deref(), Some("1"));
    }

    #[test]
    fn folded_values_become_one_line() {
        assert_eq!(value(b"Subject: a\r\n  b\r\n\tc\r\nTo: d\r\n", "subject").as_deref(), Some("a  b\tc"));
    }

    #[test]
    fn the_body_is_not_the_header() {
        assert_eq!(value(b"Subject: a\n\nList-ID: x\n", "List-ID"), None);
    }

    #[test]
    fn odd_lines_are_passed_over() {
        let header = b"From alice Mon Jan 1\n continued\n: empty name\nno colon\nTo : x\n";
        assert_eq!(value(header, "To").as_deref(), Some("x"));
        assert_eq!(value(header, "").as_deref(), Some("empty name"));
    }

    #[test]
    fn an_empty_value_is_not_an_absent_one() {
        assert_eq!(value(b"X-Empty:\nTo: x\n", "x-empty").as_deref(), Some(""));
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(header: Vec<u8>, name: String) {
            let _ = value(&header, &name);
        }

        #[test]
        fn what_was_folded_is_unfolded(words in prop::collection::vec("[a-z]{1,8}", 1..6), lf: bool) {
            let end = if lf { "\n" } else { "\r\n" };
            let header = format!("A: b{end}Subject: {}{end}{end}body", words.join(&format!("{end} ")));
            prop_assert_eq!(value(header.as_bytes(), "SUBJECT"), Some(words.join(" ")));
        }
    }
}
