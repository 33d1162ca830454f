//! Ids of messages and folders in the two shapes that Exchange Online uses.
//!
//! A classic id (152 characters) holds the mailbox, the folder and the item, and so changes with every move. An
//! immutable id (68 characters) holds the mailbox and the item. Both are base64url text, therefore case-sensitive, and
//! both can be taken apart again, which spares the simulator two maps of 100,000 strings each.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

/// What every immutable id begins with, as seen in public reports.
const IMMUTABLE_PREFIX: &str = "AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A";

/// A message as an id names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemId {
    /// By an id that is kept through moves.
    Immutable { key: u32 },
    /// By an id that is good only as long as the item stays where it is.
    Classic { key: u32, folder: u32, generation: u32 },
}

/// Why an id can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadId {
    /// Not an id at all.
    Malformed,
    /// An id from another mailbox.
    OtherMailbox,
}

/// Makes and reads the ids of one mailbox.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    guid: [u8; 16],
    text: String,
}

impl Ids {
    /// Ids of the mailbox with this GUID.
    pub(crate) fn new(guid: [u8; 16]) -> Self {
        Self { guid, text: guid_text(guid) }
    }

    /// The mailbox's GUID in the usual spelling.
    pub(crate) fn guid_text(&self) -> &str {
        &self.text
    }

    /// The immutable id of an item.
    pub(crate) fn immutable(&self, key: u32) -> String {
        let mut bytes = [0_u8; 24];
        bytes[..16].copy_from_slice(&self.guid);
        bytes[20..].copy_from_slice(&key.to_be_bytes());
        let mut id = String::with_capacity(68);
        id.push_str(IMMUTABLE_PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut id);
        id
    }

    /// The classic id of an item that lies in `folder` and has been moved `generation` times.
    pub(crate) fn classic(&self, key: u32, folder: u32, generation: u32) -> String {
        let mut bytes = [0_u8; 113];
        self.stamp(&mut bytes);
        bytes[40] = 0x46;
        bytes[62..66].copy_from_slice(&folder.to_be_bytes());
        bytes[66] = 7;
        bytes[68..84].copy_from_slice(&self.guid);
        bytes[96..100].copy_from_slice(&generation.to_be_bytes());
        bytes[105..109].copy_from_slice(&key.to_be_bytes());
        URL_SAFE.encode(bytes)
    }

    /// The id of a folder; there is only one kind.
    pub(crate) fn folder(&self, key: u32) -> String {
        let mut bytes = [0_u8; 89];
        self.stamp(&mut bytes);
        bytes[40] = 0x2e;
        bytes[46..62].copy_from_slice(&self.guid);
        bytes[80..84].copy_from_slice(&key.to_be_bytes());
        URL_SAFE.encode(bytes)
    }

    /// The id of the attachment of an item that has this number in the mailbox.
    pub(crate) fn attachment(&self, key: u32, number: u32) -> String {
        let mut bytes = [0_u8; 121];
        self.stamp(&mut bytes);
        bytes[40] = 0x46;
        bytes[68..84].copy_from_slice(&self.guid);
        bytes[105..109].copy_from_slice(&key.to_be_bytes());
        bytes[110] = 1;
        bytes[113..117].copy_from_slice(&number.to_be_bytes());
        URL_SAFE.encode(bytes)
    }

    /// The id of the upload session that has this number in the mailbox.
    pub(crate) fn upload_session(&self, number: u32) -> String {
        let mut bytes = [0_u8; 26];
        bytes[2..18].copy_from_slice(&self.guid);
        bytes[20..24].copy_from_slice(&number.to_be_bytes());
        URL_SAFE.encode(bytes)
    }

    /// The head that classic and folder ids share: a type and the mailbox's GUID as text.
    fn stamp(&self, bytes: &mut [u8]) {
        bytes[..4].copy_from_slice(&[0, 3, 0x24, 0]);
        bytes[4..40].copy_from_slice(self.text.as_bytes());
    }

    /// Reads a message id of either kind.
    pub(crate) fn parse_item(&self, id: &str) -> Result<ItemId, BadId> {
        if let Some(rest) = id.strip_prefix(IMMUTABLE_PREFIX) {
            let bytes: [u8; 24] = decode(rest)?;
            return if bytes[..16] == self.guid && bytes[16..20] == [0; 4] {
                Ok(ItemId::Immutable { key: number(&bytes[20..]) })
            } else {
                Err(BadId::OtherMailbox)
            };
        }
        let bytes: [u8; 113] = decode(id)?;
        if bytes[..4] != [0, 3, 0x24, 0] || bytes[40] != 0x46 {
            return Err(BadId::Malformed);
        }
        if &bytes[4..40] != self.text.as_bytes() {
            return Err(BadId::OtherMailbox);
        }
        Ok(ItemId::Classic {
            key: number(&bytes[105..109]),
            folder: number(&bytes[62..66]),
            generation: number(&bytes[96..100]),
        })
    }

    /// Reads a folder id.
    pub(crate) fn parse_folder(&self, id: &str) -> Result<u32, BadId> {
        let bytes: [u8; 89] = decode(id)?;
        if bytes[..4] != [0, 3, 0x24, 0] || bytes[40] != 0x2e {
            return Err(BadId::Malformed);
        }
        if &bytes[4..40] != self.text.as_bytes() {
            return Err(BadId::OtherMailbox);
        }
        Ok(number(&bytes[80..84]))
    }
}

fn decode<const N: usize>(text: &str) -> Result<[u8; N], BadId> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| BadId::Malformed)?;
    bytes.try_into().map_err(|_| BadId::Malformed)
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
}

/// Writes sixteen bytes as a GUID.
pub(crate) fn guid_text(guid: [u8; 16]) -> String {
    let hex: String = guid.iter().fold(String::with_capacity(32), |mut text, byte| {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        text
    });
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_documented_shape_and_come_back() {
        let ids = Ids::new([0xa7; 16]);
        let (immutable, classic) = (ids.immutable(77), ids.classic(77, 3, 1));
        assert_eq!((immutable.len(), classic.len()), (68, 152));
        assert!(immutable.starts_with(IMMUTABLE_PREFIX) && classic.starts_with("AAMk") && classic.ends_with('='));
        assert_eq!(ids.parse_item(&immutable), Ok(ItemId::Immutable { key: 77 }));
        assert_eq!(ids.parse_item(&classic), Ok(ItemId::Classic { key: 77, folder: 3, generation: 1 }));
        assert_eq!(ids.parse_folder(&ids.folder(9)), Ok(9));
        assert_eq!(ids.parse_folder(&classic), Err(BadId::Malformed));
        assert_eq!(ids.parse_item("what"), Err(BadId::Malformed));
        assert_eq!(Ids::new([1; 16]).parse_item(&immutable), Err(BadId::OtherMailbox));
    }

    #[test]
    fn some_ids_differ_only_in_case() {
        let ids = Ids::new([0xa7; 16]);
        let all: Vec<String> = (0..64).map(|key| ids.immutable(key)).collect();
        let folded: std::collections::HashSet<String> = all.iter().map(|id| id.to_lowercase()).collect();
        assert!(folded.len() < all.len());
    }
}
