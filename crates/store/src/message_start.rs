//! Telling a message from what a server sends in its stead: a page, an error as JSON, plain text.

/// How much of a message's beginning is looked at.
pub(crate) const ENOUGH: usize = 16 * 1024;

/// Checks that `start`, the first bytes of a body in LF form, may begin a message.
///
/// As lenient as broken mail asks for: one line that reads like a header field, before the first empty line, will do,
/// and so will an empty header. `Err` says what is wrong.
pub(crate) fn check(start: &[u8]) -> Result<(), &'static str> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    if text.is_empty() {
        return Err("it is empty");
    }
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    if [&b"<!doctype"[..], b"<html", b"<head", b"<body", b"<?xml", b"<!--"].into_iter().any(begins) {
        return Err("it is a web page");
    }
    if text.starts_with(b"{") || text.starts_with(b"[{") {
        return Err("it is JSON");
    }
    // A message that begins with an empty line has no header, and all that follows is its body.
    if start.starts_with(b"\n") || start.starts_with(b"\r\n") {
        return Ok(());
    }
    let header = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let mut lines = header.split(|byte| *byte == b'\n').take_while(|line| !line.trim_ascii().is_empty());
    if lines.any(|line| is_field(line) || line.starts_with(b"From ") || line.starts_with(b">From ")) {
        Ok(())
    } else {
        Err("no line at its beginning reads like a header field")
    }
}

/// Whether a line begins with a field name and a colon (RFC 5322 section 2.2; blanks before the colon are section 4.5.8).
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
    // Names beyond ASCII occur in broken mail.
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic() || !byte.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_mail_is_mail() {
        for message in [
            &b"Subject: x\n\nbody"[..],
            b"Subject : x\n",
            b"From someone@example.org Mon Jan  1 00:00:00 2024\nSubject: x\n\n",
            b"no field\nTo: x\n\n",
            b" folded first line\nTo: x\n\n",
            b"\nbody only",
            b"\n\nbody only",
            b"\xef\xbb\xbfSubject: x\n\n",
            b"X-\xfc: x\n\n",
            b"Subject:",
        ] {
            assert_eq!(check(message), Ok(()), "{}", message.escape_ascii());
        }
    }

    #[test]
    fn f16_other_bodies_are_refused() {
        for body in [
            &b""[..],
            b"\n\n \n",
            b"<!DOCTYPE html><html>",
            b"\n  <HTML><head>",
            b"<?xml version=\"1.0\"?>",
            b"{\"error\": {\"code\": \"tooManyRequests\"}}",
            b"\n[{\"a\": 1}]",
            b"Service unavailable\n",
            b"Service unavailable\n\nTry: again",
            b"\0\0\0\0\0\0",
        ] {
            assert!(check(body).is_err(), "{}", body.escape_ascii());
        }
    }
}
