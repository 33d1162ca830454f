//! The state of a mailbox in full, for tests that compare it with what a client made of it.

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::content::to_lf;
use crate::mailbox::{FlagStatus, ICON, Mailbox, Message, STATUS, VERB};
use crate::mime_generator::Generator;

/// What to dump.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateQuery {
    /// Only the folder at this path.
    pub folder: Option<String>,
    /// How many messages of each folder to pass over, in the order of their immutable ids' numbers.
    pub skip: usize,
    /// How many messages of each folder to dump at most.
    pub top: usize,
    /// Whether to make every message's bytes and hash them.
    pub hashes: bool,
}

impl Default for StateQuery {
    fn default() -> Self {
        Self { folder: None, skip: 0, top: usize::MAX, hashes: true }
    }
}

/// One mailbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MailboxState {
    /// Whose it is.
    pub user: String,
    /// Its folders, the well-known ones first.
    pub folders: Vec<FolderState>,
}

impl MailboxState {
    /// All messages, whatever their folder.
    pub fn messages(&self) -> impl Iterator<Item = &MessageState> {
        self.folders.iter().flat_map(|folder| &folder.messages)
    }
}

/// One folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FolderState {
    /// Its path with English names, such as `Inbox/Lists/rust`.
    pub path: String,
    /// Its id.
    pub id: String,
    /// Its well-known name, if it has one.
    pub well_known: Option<String>,
    /// Whether clients have to ask for it.
    pub hidden: bool,
    /// How many messages it holds.
    pub total: usize,
    /// Those that were asked for.
    pub messages: Vec<MessageState>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageState {
    /// Its immutable id.
    pub id: String,
    /// Its classic id as long as it stays where it is.
    pub classic_id: String,
    /// The path of its folder.
    pub folder: String,
    /// Whether it was read.
    pub is_read: bool,
    /// Whether it is flagged.
    pub flag: FlagStatus,
    /// `PidTagIconIndex`, if set.
    pub icon: Option<i32>,
    /// `PidTagLastVerbExecuted`, if set.
    pub verb: Option<i32>,
    /// `PidTagMessageStatus`, if set.
    pub status: Option<i32>,
    /// Its categories.
    pub categories: Vec<String>,
    /// When it was received, as Graph tells it.
    pub received: String,
    /// The same in seconds since 1970.
    pub received_seconds: i64,
    /// Its Message-ID, if it has one.
    pub message_id: Option<String>,
    /// Whether it is a draft.
    pub is_draft: bool,
    /// Whether downloading it fails.
    pub unconvertible: bool,
    /// Bytes as served (CRLF); 0 without hashes.
    pub size: usize,
    /// BLAKE3 of the bytes as served, in hexadecimal; empty without hashes.
    pub blake3_crlf: String,
    /// BLAKE3 of the bytes with every CRLF made LF; empty without hashes.
    pub blake3_lf: String,
}

/// Dumps one message.
pub(crate) fn message(mailbox: &Mailbox, generator: &Generator, message: &Message, hashes: bool) -> MessageState {
    let number = |id: &str| message.properties.get(id).and_then(|text| text.parse().ok());
    let bytes = if hashes { message.source.wire(generator).unwrap_or_default() } else { bytes::Bytes::new() };
    let hash = |bytes: &[u8]| if hashes { blake3::hash(bytes).to_hex().to_string() } else { String::new() };
    MessageState {
        id: mailbox.ids.immutable(message.key),
        classic_id: mailbox.ids.classic(message.key, message.folder, message.generation),
        folder: mailbox.path(message.folder),
        is_read: message.is_read,
        flag: message.flag,
        icon: number(ICON),
        verb: number(VERB),
        status: number(STATUS),
        categories: message.categories.clone(),
        received: clock::format(message.received),
        received_seconds: message.received,
        message_id: message.internet_id.as_deref().map(str::to_owned),
        is_draft: message.is_draft,
        unconvertible: message.unconvertible,
        size: bytes.len(),
        blake3_crlf: hash(&bytes),
        blake3_lf: hash(&to_lf(&bytes)),
    }
}

/// Dumps a mailbox; `only` is the key of the single folder that was asked for.
pub(crate) fn dump(mailbox: &Mailbox, generator: &Generator, query: &StateQuery, only: Option<u32>) -> MailboxState {
    let folders = mailbox
        .folders
        .iter()
        .filter(|folder| !folder.gone && only.is_none_or(|key| key == folder.key))
        .map(|folder| {
            let mut keys: Vec<u32> = folder.by_time.iter().map(|(_, key)| *key).collect();
            keys.sort_unstable();
            FolderState {
                path: mailbox.path(folder.key),
                id: mailbox.ids.folder(folder.key),
                well_known: folder.well_known.map(|known| known.name.to_owned()),
                hidden: folder.hidden,
                total: keys.len(),
                messages: keys
                    .iter()
                    .skip(query.skip)
                    .take(query.top)
                    .filter_map(|key| mailbox.message(*key))
                    .map(|one| message(mailbox, generator, one, query.hashes))
                    .collect(),
            }
        })
        .collect();
    MailboxState { user: mailbox.user.clone(), folders }
}
