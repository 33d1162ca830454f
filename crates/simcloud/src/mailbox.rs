//! A mailbox: folders, messages, and the log of changes that delta is read from.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio::sync::watch;
use tokio::time::Instant;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::attachments::UploadSession;
use crate::content::Source;
use crate::delta::Chains;
use crate::ids::{BadId, Ids, ItemId};
use crate::reply::Answer;
use crate::well_known;

/// The state of `flag.flagStatus`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FlagStatus {
    /// No flag.
    #[default]
    NotFlagged,
    /// To be followed up.
    Flagged,
    /// Followed up.
    Complete,
}

impl FlagStatus {
    /// As Graph spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFlagged => "notFlagged",
            Self::Flagged => "flagged",
            Self::Complete => "complete",
        }
    }
}

/// The icon index of an item (`PidTagIconIndex`).
pub(crate) const ICON: &str = "Integer 0x1080";
/// What was last done with an item (`PidTagLastVerbExecuted`).
pub(crate) const VERB: &str = "Integer 0x1081";
/// When that was done.
pub(crate) const VERB_TIME: &str = "SystemTime 0x1082";
/// Bits that only MAPI and IMAP set (`PidTagMessageStatus`).
pub(crate) const STATUS: &str = "Integer 0xe17";

/// One item.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) key: u32,
    pub(crate) folder: u32,
    /// How often the classic id has changed.
    pub(crate) generation: u32,
    pub(crate) source: Source,
    pub(crate) internet_id: Option<Box<str>>,
    pub(crate) received: i64,
    pub(crate) modified: i64,
    pub(crate) change: u64,
    pub(crate) is_read: bool,
    pub(crate) is_draft: bool,
    pub(crate) flag: FlagStatus,
    pub(crate) unconvertible: bool,
    pub(crate) categories: Vec<String>,
    /// Extended properties that are set, by their ids in normal spelling.
    pub(crate) properties: BTreeMap<String, String>,
}

/// What a change of a message touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Only the read state.
    Read,
    /// Anything else.
    More,
}

/// One line of a folder's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogEntry {
    pub(crate) sequence: u64,
    pub(crate) at: Instant,
    pub(crate) key: u32,
    pub(crate) event: Event,
}

/// What happened to an item in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Arrived { moved: bool },
    Changed,
    ReadToggled,
    Left { generation: u32 },
}

/// The sequence numbers of what last happened to an item in a folder; zero for what was so from the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latest {
    pub(crate) any: u64,
    /// Of the last event that wasn't a toggle of the read state.
    pub(crate) full: u64,
    pub(crate) arrived: u64,
    pub(crate) left: u64,
    /// Of the arrival before it last left.
    pub(crate) arrived_before: u64,
}

/// One folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) key: u32,
    pub(crate) parent: u32,
    /// Empty for a well-known folder that bears its usual name.
    pub(crate) name: String,
    pub(crate) well_known: Option<&'static well_known::WellKnown>,
    pub(crate) hidden: bool,
    pub(crate) gone: bool,
    /// Items in an order that means nothing, the one in which delta lists them.
    pub(crate) shuffled: BTreeSet<(u32, u32)>,
    /// Items by when they were received.
    pub(crate) by_time: BTreeSet<(i64, u32)>,
    pub(crate) unread: usize,
    pub(crate) log: Vec<LogEntry>,
    pub(crate) latest: HashMap<u32, Latest>,
}

impl Folder {
    /// The folder's name in a mailbox of this language.
    pub(crate) fn title(&self, locale: &str) -> String {
        match self.well_known {
            Some(known) if self.name.is_empty() => known.title(locale).to_owned(),
            _ => self.name.clone(),
        }
    }
}

/// Where an item stands in the order that means nothing.
pub(crate) fn shuffle(key: u32) -> u32 {
    key.wrapping_mul(0x9e37_79b1)
}

/// What the account is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountMode {
    /// All works.
    #[default]
    Normal,
    /// Every call is answered with 403 `ErrorAccessDenied`.
    AccessDenied,
    /// Delta is answered with 403 `ErrorQuotaExceeded`; the rest works.
    QuotaExceeded,
    /// Every call is answered with 404 `MailboxNotEnabledForRESTAPI`.
    NotEnabled,
}

/// All that changes in a mailbox.
pub(crate) struct Mailbox {
    pub(crate) user: String,
    /// The user's address where it isn't the name to sign in with; empty for a user without one.
    pub(crate) mail: String,
    pub(crate) ids: Ids,
    pub(crate) mode: AccountMode,
    /// The other users who may do everything in it.
    pub(crate) delegates: Vec<String>,
    pub(crate) messages: Vec<Option<Message>>,
    pub(crate) folders: Vec<Folder>,
    /// The folders that were made, renamed, moved or deleted, in that order.
    pub(crate) folder_log: Vec<u32>,
    pub(crate) chains: Chains,
    pub(crate) random: ChaCha8Rng,
    /// Counts events; the number of the newest.
    pub(crate) sequence: u64,
    /// Tells that number to whoever waits for events.
    pub(crate) news: watch::Sender<u64>,
    /// What clients have made and that nobody has looked for since, by Message-ID: hashes of what they
    /// sent, and of drafts that got their Message-ID later, of what was there by then.
    pub(crate) made_unseen: BTreeMap<String, BTreeSet<[u8; 32]>>,
    /// How many of the last changes to a message were ignored, by its key.
    pub(crate) ignored: BTreeMap<u32, u32>,
    /// How many ids were given to attachments and upload sessions.
    pub(crate) attached: u32,
    /// Files that are being attached, by the sessions' ids.
    pub(crate) upload_sessions: BTreeMap<String, UploadSession>,
}

impl Mailbox {
    /// A mailbox with nothing but its usual folders.
    pub(crate) fn new(user: &str, seed: u64) -> Self {
        use rand::Rng as _;
        let spread = user.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let mut random = ChaCha8Rng::seed_from_u64(spread);
        let mut mailbox = Self {
            user: user.to_owned(),
            mail: user.to_owned(),
            ids: Ids::new(random.random()),
            mode: AccountMode::Normal,
            delegates: Vec::new(),
            messages: Vec::new(),
            folders: Vec::new(),
            folder_log: Vec::new(),
            chains: Chains::default(),
            random,
            sequence: 0,
            news: watch::Sender::new(0),
            made_unseen: BTreeMap::new(),
            ignored: BTreeMap::new(),
            attached: 0,
            upload_sessions: BTreeMap::new(),
        };
        for known in &well_known::ALL {
            let key = mailbox.push_folder(well_known::ROOT, String::new(), known.hidden);
            if let Some(folder) = mailbox.folders.get_mut(key as usize) {
                folder.well_known = Some(known);
            }
        }
        mailbox
    }

    fn push_folder(&mut self, parent: u32, name: String, hidden: bool) -> u32 {
        let key = u32::try_from(self.folders.len()).unwrap_or(u32::MAX);
        self.folders.push(Folder {
            key,
            parent,
            name,
            well_known: None,
            hidden,
            gone: false,
            shuffled: BTreeSet::new(),
            by_time: BTreeSet::new(),
            unread: 0,
            log: Vec::new(),
            latest: HashMap::new(),
        });
        self.folder_log.push(key);
        key
    }

    /// A folder that exists.
    pub(crate) fn folder(&self, key: u32) -> Option<&Folder> {
        self.folders.get(key as usize).filter(|folder| !folder.gone)
    }

    /// The folders directly below another one; the root's own siblings aren't among them.
    pub(crate) fn children(&self, parent: u32) -> impl Iterator<Item = &Folder> {
        self.folders.iter().filter(move |folder| {
            folder.parent == parent && !folder.gone && folder.well_known.is_none_or(|known| !known.outside)
        })
    }

    /// Makes a folder; nothing if its parent has one of that name.
    pub(crate) fn create_folder(&mut self, parent: u32, name: &str, hidden: bool, locale: &str) -> Option<u32> {
        let lower = name.to_lowercase();
        if self.folder(parent).is_none() || self.children(parent).any(|one| one.title(locale).to_lowercase() == lower) {
            return None;
        }
        Some(self.push_folder(parent, name.to_owned(), hidden))
    }

    /// Gives a folder a parent and a name; false if the parent has another one of that name.
    pub(crate) fn put_folder(&mut self, key: u32, parent: u32, name: &str, locale: &str) -> bool {
        let lower = name.to_lowercase();
        if self.children(parent).any(|one| one.key != key && one.title(locale).to_lowercase() == lower) {
            return false;
        }
        if let Some(folder) = self.folders.get_mut(key as usize) {
            folder.parent = parent;
            name.clone_into(&mut folder.name);
            self.folder_log.push(key);
        }
        true
    }

    /// The folder at a path such as `Inbox/Lists/rust`: the first part may be a well-known name or a folder's id.
    pub(crate) fn find_folder(&self, path: &str, locale: &str) -> Option<u32> {
        let mut at = None;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            at = Some(match at {
                None => self.find_first(part, locale)?,
                Some(parent) => self.find_child(parent, part, locale)?,
            });
        }
        at
    }

    fn find_first(&self, part: &str, locale: &str) -> Option<u32> {
        let squeezed: String = part.chars().filter(|character| *character != ' ').collect();
        well_known::key(&squeezed)
            .or_else(|| self.ids.parse_folder(part).ok())
            .filter(|key| self.folder(*key).is_some())
            .or_else(|| self.find_child(well_known::ROOT, part, locale))
    }

    fn find_child(&self, parent: u32, part: &str, locale: &str) -> Option<u32> {
        let lower = part.to_lowercase();
        self.children(parent).find(|child| child.title(locale).to_lowercase() == lower).map(|child| child.key)
    }

    /// The folder at a path, made with its parents where it is missing.
    pub(crate) fn ensure_folder(&mut self, path: &str, locale: &str) -> u32 {
        let mut at = None;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let found = match at {
                None => self.find_first(part, locale),
                Some(parent) => self.find_child(parent, part, locale),
            };
            let parent = at.unwrap_or(well_known::ROOT);
            at = Some(found.unwrap_or_else(|| self.push_folder(parent, part.to_owned(), false)));
        }
        at.unwrap_or(well_known::INBOX)
    }

    /// A folder's path in English, for the dump of the state.
    pub(crate) fn path(&self, key: u32) -> String {
        let Some(folder) = self.folders.get(key as usize) else { return String::new() };
        let title = folder.title("en");
        if folder.parent == well_known::ROOT || folder.parent == key {
            title
        } else {
            format!("{}/{title}", self.path(folder.parent))
        }
    }

    /// A folder as a request names it: by id or by well-known name.
    pub(crate) fn folder_by_id(&self, id: &str, archive_exists: bool) -> Result<u32, Answer> {
        let key = match well_known::key(id) {
            Some(well_known::ARCHIVE) if !archive_exists => None,
            Some(key) => Some(key),
            None => Some(self.ids.parse_folder(id).map_err(bad_id)?),
        };
        key.filter(|key| self.folder(*key).is_some()).ok_or_else(Answer::not_found)
    }

    /// The message with this key.
    pub(crate) fn message(&self, key: u32) -> Option<&Message> {
        self.messages.get(key as usize).and_then(Option::as_ref)
    }

    /// The message with this key, to be changed.
    pub(crate) fn message_mut(&mut self, key: u32) -> Option<&mut Message> {
        self.messages.get_mut(key as usize).and_then(Option::as_mut)
    }

    /// A message as a request names it: by either kind of id, as long as the id is good.
    pub(crate) fn message_by_id(&self, id: &str) -> Result<&Message, Answer> {
        match self.ids.parse_item(id).map_err(bad_id)? {
            ItemId::Immutable { key } => self.message(key),
            ItemId::Classic { key, folder, generation } => {
                self.message(key).filter(|found| (found.folder, found.generation) == (folder, generation))
            }
        }
        .filter(|message| message.folder != well_known::RECOVERABLE)
        .ok_or_else(Answer::not_found)
    }

    /// The id under which a message is told.
    pub(crate) fn id_of(&self, message: &Message, immutable: bool) -> String {
        if immutable {
            self.ids.immutable(message.key)
        } else {
            self.ids.classic(message.key, message.folder, message.generation)
        }
    }

    /// Takes a new message in. `quietly` leaves no trace in the log: for what was there from the beginning.
    pub(crate) fn insert(&mut self, mut message: Message, quietly: bool) -> u32 {
        let key = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        message.key = key;
        message.change = if quietly { 0 } else { self.sequence + 1 };
        let folder = message.folder;
        self.messages.push(Some(message));
        self.enter(key, folder);
        if !quietly {
            self.note(folder, key, Event::Arrived { moved: false });
        }
        key
    }

    fn enter(&mut self, key: u32, folder: u32) {
        let Some((received, unread)) = self.message(key).map(|message| (message.received, !message.is_read)) else {
            return;
        };
        if let Some(folder) = self.folders.get_mut(folder as usize) {
            folder.shuffled.insert((shuffle(key), key));
            folder.by_time.insert((received, key));
            folder.unread += usize::from(unread);
        }
    }

    fn leave(&mut self, key: u32, folder: u32) {
        let Some((received, unread, generation)) =
            self.message(key).map(|message| (message.received, !message.is_read, message.generation))
        else {
            return;
        };
        if let Some(folder) = self.folders.get_mut(folder as usize) {
            folder.shuffled.remove(&(shuffle(key), key));
            folder.by_time.remove(&(received, key));
            folder.unread -= usize::from(unread);
        }
        self.note(folder, key, Event::Left { generation });
    }

    fn note(&mut self, folder: u32, key: u32, event: Event) {
        self.sequence += 1;
        let sequence = self.sequence;
        self.news.send_replace(sequence);
        let Some(folder) = self.folders.get_mut(folder as usize) else { return };
        folder.log.push(LogEntry { sequence, at: Instant::now(), key, event });
        let latest = folder.latest.entry(key).or_default();
        latest.any = sequence;
        match event {
            Event::ReadToggled => {}
            Event::Changed => latest.full = sequence,
            Event::Arrived { .. } => {
                latest.full = sequence;
                latest.arrived = sequence;
            }
            Event::Left { .. } => {
                latest.full = sequence;
                latest.left = sequence;
                latest.arrived_before = latest.arrived;
            }
        }
    }

    /// Changes a message and writes it into the log. Nothing if it isn't there.
    pub(crate) fn change(&mut self, key: u32, touched: Touched, edit: impl FnOnce(&mut Message)) -> Option<()> {
        let sequence = self.sequence + 1;
        let message = self.message_mut(key)?;
        let (was_unread, was_received) = (!message.is_read, message.received);
        edit(message);
        message.change = sequence;
        if touched == Touched::More {
            message.modified = crate::clock::now();
        }
        let (unread, received, folder) = (!message.is_read, message.received, message.folder);
        if let Some(folder) = self.folders.get_mut(folder as usize) {
            folder.unread = folder.unread + usize::from(unread) - usize::from(was_unread);
            if received != was_received {
                folder.by_time.remove(&(was_received, key));
                folder.by_time.insert((received, key));
            }
        }
        self.note(folder, key, if touched == Touched::Read { Event::ReadToggled } else { Event::Changed });
        Some(())
    }

    /// Moves a message; its classic id changes. `unseen` leaves the arrival out of the log.
    pub(crate) fn relocate(&mut self, key: u32, to: u32, unseen: bool) -> Option<()> {
        let from = self.message(key)?.folder;
        self.leave(key, from);
        let change = self.sequence + 1;
        let message = self.message_mut(key)?;
        message.folder = to;
        message.generation += 1;
        message.change = change;
        message.modified = crate::clock::now();
        self.enter(key, to);
        if !unseen {
            self.note(to, key, Event::Arrived { moved: true });
        }
        Some(())
    }

    /// Gives a message another key, and so other ids of both kinds, as the way through an archive mailbox does.
    pub(crate) fn renumber(&mut self, key: u32) -> Option<u32> {
        let message = self.message(key)?.clone();
        self.purge(key)?;
        Some(self.insert(message, false))
    }

    /// Deletes a message for good.
    pub(crate) fn purge(&mut self, key: u32) -> Option<()> {
        let from = self.message(key)?.folder;
        self.leave(key, from);
        if let Some(slot) = self.messages.get_mut(key as usize) {
            *slot = None;
        }
        Some(())
    }

    /// Gives a message another classic id where it is, as the server's own upkeep does at times.
    pub(crate) fn rot_classic_id(&mut self, key: u32) -> Option<()> {
        let message = self.message_mut(key)?;
        message.generation += 1;
        Some(())
    }

    /// Deletes a folder with all in it.
    pub(crate) fn delete_folder(&mut self, key: u32) -> Option<()> {
        let folder = self.folder(key).filter(|folder| folder.well_known.is_none())?;
        let keys: Vec<u32> = folder.by_time.iter().map(|(_, key)| *key).collect();
        let children: Vec<u32> = self.children(key).map(|child| child.key).collect();
        for child in children {
            self.delete_folder(child);
        }
        for message in keys {
            self.relocate(message, well_known::RECOVERABLE, true);
        }
        self.folders.get_mut(key as usize)?.gone = true;
        self.folder_log.push(key);
        Some(())
    }
}

/// The answer to an id that can't be used.
pub(crate) fn bad_id(why: BadId) -> Answer {
    match why {
        BadId::Malformed => Answer::error(400, "ErrorInvalidIdMalformed", "Id is malformed."),
        BadId::OtherMailbox => {
            Answer::error(400, "ErrorInvalidMailboxItemId", "Item Id doesn't belong to the current mailbox.")
        }
    }
}
