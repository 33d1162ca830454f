//! Knowing a message again that mutt has copied: mutt writes its own `Content-Length` and `Lines` into the header of what
//! it saves to another folder (`CH_UPDATE_LEN` in its `copy.c`), so that the copy isn't the same bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use cms_engine::ContentHash;

/// The longest header that is looked through.
const LONGEST_HEADER: u64 = 1024 * 1024;

/// The hash that a message would have without the lines that mutt puts in the place of those it finds; nothing if it has
/// none of them.
pub(crate) fn hash_without_lengths(path: &Path) -> io::Result<Option<ContentHash>> {
    without_lengths(File::open(path)?)
}

fn without_lengths(message: impl Read) -> io::Result<Option<ContentHash>> {
    let mut message = BufReader::new(message);
    let mut hasher = blake3::Hasher::new();
    let mut found = false;
    let mut line = Vec::new();
    let mut header = message.by_ref().take(LONGEST_HEADER);
    while header.read_until(b'\n', &mut line)? > 0 {
        if is_length(&line) {
            found = true;
        } else {
            hasher.update(&line);
        }
        if line == b"\n" {
            break;
        }
        line.clear();
    }
    if !found {
        return Ok(None);
    }
    hasher.update_reader(message)?;
    Ok(Some(ContentHash::new(*hasher.finalize().as_bytes())))
}

fn is_length(line: &[u8]) -> bool {
    let starts_with = |name: &[u8]| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    starts_with(b"Content-Length:") || starts_with(b"Lines:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(message: &str) -> Option<ContentHash> {
        without_lengths(message.as_bytes()).unwrap()
    }

    #[test]
    fn a_copy_of_mutt_is_the_original_without_its_lengths() {
        let original = "Subject: x\nLineage: y\n\nContent-Length: in the body\nLines: 3\n";
        let copy = original.replacen("\n\n", "\nContent-Length: 37\nLines: 2\n\n", 1);
        assert_eq!(hash(&copy), Some(ContentHash::of(original.as_bytes())));
        assert_eq!(hash(original), None);
    }

    #[test]
    fn a_message_that_is_all_header_is_looked_through_too() {
        assert_eq!(hash("Lines: 0\nSubject: x"), Some(ContentHash::of(b"Subject: x")));
        assert_eq!(hash(""), None);
    }
}
