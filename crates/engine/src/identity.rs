//! What a message, a file and a mailbox are called. Each identity is a type of its own, so that none is taken for another.

use std::fmt;
use std::sync::Arc;

/// The name that a cloud gives to one message: opaque, case-sensitive, unique within an account.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteId(Arc<str>);

/// The part of a Maildir file name before the first `:` (maildir(5) calls it the unique name).
///
/// A message keeps it for life. The same name may exist in two Maildirs, never twice in one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BaseName(Arc<str>);

/// A message's Message-ID: a hint and never a key, for it is neither unique nor always there.
///
/// It stands in for the content only where the cloud may have made other bytes of what we gave it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Arc<str>);

macro_rules! text_identity {
    ($name:ident) => {
        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text_identity!(RemoteId);
text_identity!(BaseName);
text_identity!(MessageId);

/// BLAKE3 of a message's bytes as they lie in the Maildir (line ends are LF).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Wraps a BLAKE3 digest.
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Hashes a message that is at hand in memory.
    pub fn of(message: &[u8]) -> Self {
        Self(*blake3::hash(message).as_bytes())
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits, as [`fmt::Display`] writes them.
    pub fn from_hex(hex: &str) -> Option<Self> {
        blake3::Hash::from_hex(hex).ok().map(|hash| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One mailbox (folder, label) of one cloud account that the configuration names. Stable across starts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MailboxId(pub u32);

/// One Maildir that the configuration names. Stable across starts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MaildirId(pub u32);

/// One row of the Synced tree. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RowId(pub u64);

/// A file's place: which Maildir, under which base name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FileKey {
    /// The Maildir that holds the file.
    pub maildir: MaildirId,
    /// Its base name there.
    pub base_name: BaseName,
}

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct UnixSeconds(pub i64);

impl BaseName {
    /// The base name under which a message from the cloud is delivered for the first time.
    ///
    /// It depends on nothing but its arguments, so that a delivery which was interrupted before it was recorded
    /// is made again under the same name. `host` must hold neither `/` nor `:` (maildir(5)).
    pub fn for_message(received: UnixSeconds, id: &RemoteId, host: &str) -> Self {
        let digest = blake3::hash(id.as_str().as_bytes());
        let tail = &digest.to_hex()[..16];
        Self::new(format!("{}.R{tail}.{host}", received.0))
    }

    /// The base name under which another version of a draft is delivered. Names are keys of caches in mail programs, so that
    /// other bytes need another name; and the same bytes the same name, so that an interrupted delivery isn't made twice.
    pub fn for_version(received: UnixSeconds, id: &RemoteId, content: &ContentHash, host: &str) -> Self {
        // The revision doesn't count: it changes with each flag.
        Self::for_message(received, &RemoteId::new(format!("{id} {content}")), host)
    }

    /// When the message was received that was delivered under this name; nothing if the name is of another kind.
    pub fn received(&self) -> Option<UnixSeconds> {
        let (time, _) = self.as_str().split_once(".R")?;
        time.parse().ok().map(UnixSeconds)
    }
}

impl MessageId {
    /// The Message-ID that a message without one is uploaded with, so that it is known again in the cloud even if the
    /// answer to the upload was lost, and whatever name its file has by then. Twins get the same one: of those that are
    /// found in the cloud, each file takes one that is nobody's. Nobody's host is told.
    pub fn for_upload(content: &ContentHash) -> Self {
        let digest = blake3::hash(&content.0);
        Self::new(format!("<{}@maildir.invalid>", &digest.to_hex()[..32]))
    }

    /// The Message-ID that a message has in the cloud while it takes several requests to make it: it is nobody's message until
    /// the last of them gives it its own. Each attempt has one of its own, told apart by `when` and `attempt`.
    pub fn for_unfinished(content: &ContentHash, file: &FileKey, when: UnixSeconds, attempt: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&content.0).update(&file.maildir.0.to_le_bytes()).update(file.base_name.as_str().as_bytes());
        hasher.update(&when.0.to_le_bytes()).update(&attempt.to_le_bytes());
        Self::new(format!("<{}{UNFINISHED}", &hasher.finalize().to_hex()[..32]))
    }

    /// The one for a message that was never made whole, and isn't to be removed either.
    pub fn for_fragment(unfinished: &Self) -> Self {
        Self::new(unfinished.as_str().replace(UNFINISHED, "@maildir.invalid>"))
    }

    /// Whether a Message-ID is that of a message that isn't whole.
    pub fn is_unfinished(message_id: &str) -> bool {
        message_id.trim().ends_with(UNFINISHED)
    }
}

/// How the Message-IDs of messages end that aren't whole yet.
const UNFINISHED: &str = "@unfinished.maildir.invalid>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read_back_from_what_they_print() {
        let hash = ContentHash::of(b"Subject: x\n\nbody\n");
        assert_eq!(ContentHash::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(ContentHash::from_hex("12"), None);
    }

    #[test]
    fn a_message_is_always_uploaded_under_the_same_message_id() {
        let id = |content: &[u8]| MessageId::for_upload(&ContentHash::of(content));
        assert_eq!(id(b"x"), id(b"x"));
        assert_ne!(id(b"x"), id(b"y"));
        assert!(id(b"x").as_str().starts_with('<') && id(b"x").as_str().ends_with("@maildir.invalid>"));
    }

    #[test]
    fn what_is_not_whole_is_known_by_its_message_id() {
        let file = FileKey::new(MaildirId(1), BaseName::new("a"));
        let id = |attempt| MessageId::for_unfinished(&ContentHash::of(b"x"), &file, UnixSeconds(7), attempt);
        assert_ne!(id(1), id(2));
        assert!(MessageId::is_unfinished(id(1).as_str()));
        assert!(!MessageId::is_unfinished(MessageId::for_fragment(&id(1)).as_str()));
        assert!(!MessageId::is_unfinished(MessageId::for_upload(&ContentHash::of(b"x")).as_str()));
    }

    #[test]
    fn a_message_is_always_delivered_under_the_same_name() {
        let name = |id| BaseName::for_message(UnixSeconds(1_700_000_000), &RemoteId::new(id), "vm");
        assert_eq!(name("AAkA"), name("AAkA"));
        assert_ne!(name("AAkA"), name("AAka"));
        assert!(name("AAkA").as_str().starts_with("1700000000.R"));
        assert_eq!(name("AAkA").received(), Some(UnixSeconds(1_700_000_000)));
        assert_eq!(BaseName::new("1700000000.P1Q2.host").received(), None);
    }
}
