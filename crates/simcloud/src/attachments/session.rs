//! A large file on its way into a draft.

use bytes::Bytes;

use super::{Attachment, Description};
use crate::clock;
use crate::throttle::Account;

/// The largest range that is taken at once, in bytes.
const LARGEST_RANGE: usize = 4 * 1024 * 1024;

/// A file that is announced and comes in ranges, one after the other.
pub(crate) struct UploadSession {
    pub(crate) id: String,
    /// What the address has that makes it good.
    pub(super) token: String,
    /// The key of the message that gets the file.
    pub(crate) draft: u32,
    /// The id by which the address names it.
    pub(super) message: String,
    /// Whose mailbox it is.
    pub(super) user: String,
    /// What the bytes count for.
    pub(super) account: Account,
    pub(super) description: Description,
    /// How many bytes the file has.
    pub(super) size: usize,
    /// When it is over, in seconds since 1970.
    pub(crate) expires: i64,
    /// What has come of the file.
    pub(super) pieces: Vec<Bytes>,
    /// How many bytes that are.
    pub(super) received: usize,
}

/// A `Content-Range`: the first and the last byte, and how many the whole has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    start: usize,
    end: usize,
    total: usize,
}

impl Range {
    /// Reads `bytes {start}-{end}/{total}`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (start, end) = range.split_once('-')?;
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let range = Self { start: number(start)?, end: number(end)?, total: number(total)? };
        (range.start <= range.end && range.end < range.total).then_some(range)
    }

    fn length(self) -> usize {
        self.end - self.start + 1
    }
}

/// Why a range isn't taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    TooLarge,
    /// Another total than was announced.
    Total,
    /// Another length than the body has.
    Length,
    /// It is there already, or its beginning is.
    Repeated,
    /// Something before it is missing.
    Gap,
}

impl UploadSession {
    /// Takes a range, and says whether the file is complete.
    pub(super) fn take(&mut self, range: Range, bytes: Bytes) -> Result<bool, Misfit> {
        if range.length() > LARGEST_RANGE || bytes.len() > LARGEST_RANGE {
            return Err(Misfit::TooLarge);
        }
        if range.total != self.size {
            return Err(Misfit::Total);
        }
        if range.length() != bytes.len() {
            return Err(Misfit::Length);
        }
        if range.start != self.received {
            return Err(if range.start < self.received { Misfit::Repeated } else { Misfit::Gap });
        }
        self.received += bytes.len();
        self.pieces.push(bytes);
        Ok(self.received == self.size)
    }

    /// The file, once it is complete.
    pub(super) fn into_attachment(self) -> Attachment {
        Attachment { description: self.description, pieces: self.pieces, size: self.size }
    }

    /// The address of the message below which the session and its attachment are.
    pub(super) fn message_url(&self, base: &str) -> String {
        format!("{base}/api/v2.0/Users('{}')/Messages('{}')", self.user, self.message)
    }

    /// The address to which the ranges go.
    pub(super) fn url(&self, base: &str) -> String {
        format!("{}/AttachmentSessions('{}')?authtoken={}", self.message_url(base), self.id, self.token)
    }

    /// When it is over, with the fraction of a second that the service writes here.
    pub(super) fn expiration(&self) -> String {
        clock::format(self.expires).replace('Z', ".0000000Z")
    }

    /// `nextExpectedRanges`: an open range at first, and from then on where the next one begins, as the documents' examples
    /// have it.
    pub(super) fn expected(&self) -> [String; 1] {
        [if self.received == 0 { "0-".to_owned() } else { self.received.to_string() }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_strictly() {
        assert_eq!(Range::read("bytes 0-2097151/3483322"), Some(Range { start: 0, end: 2_097_151, total: 3_483_322 }));
        for text in
            ["", "0-1/2", "bytes 0-1", "bytes 1-0/2", "bytes 0-2/2", "bytes 0-1/*", "bytes +0-1/2", "bytes -1/2"]
        {
            assert_eq!(Range::read(text), None, "{text}");
        }
    }
}
