//! Drafts that take several requests. What a broken-off attempt leaves in the cloud is removed, by the next run if this one is
//! killed: it is written down before anything is asked for.

use std::time::Duration;

use cms_cloud::contract::CloudError;
use cms_engine::{ContentHash, FileKey, HashMap, MailboxId, MessageId};
use cms_store::{Change, Database};
use tokio::time::Instant;
use tracing::debug;

use crate::sync::driver::{Driver, backoff};
use crate::sync::original::Original;
use crate::sync::{SyncError, tasks};

/// Where in the database they are written down.
const KEY: &str = "unfinished";

/// How long until what couldn't be removed is removed again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The attempts to make something in several requests of which it isn't known that nothing is left.
#[derive(Default)]
pub(super) struct AllUnfinished {
    all: Vec<Unfinished>,
    /// How many were begun in this run.
    attempts: u64,
    /// How often in a row it went wrong, by content, and when it is tried again: each attempt may send megabytes for nothing.
    setbacks: HashMap<ContentHash, (u32, Instant)>,
    /// When what is left is removed.
    due: Option<Instant>,
}

struct Unfinished {
    mailbox: MailboxId,
    content: ContentHash,
    message_id: MessageId,
    /// The Message-ID that it is to have; nothing of what the last run left.
    becomes: Option<MessageId>,
    /// Whether it is being made, or removed.
    under_way: bool,
}

impl AllUnfinished {
    /// What the last run left. What can't be read was written by nobody we know.
    pub(super) fn load(database: &Database) -> Result<Self, SyncError> {
        let text = database.meta(KEY).map_err(SyncError::Store)?.unwrap_or_default();
        let noted: Vec<(u32, String, String)> = serde_json::from_str(&text).unwrap_or_default();
        let unfinished = |(mailbox, content, id): (u32, String, String)| {
            let (mailbox, content) = (MailboxId(mailbox), ContentHash::from_hex(&content)?);
            Some(Unfinished { mailbox, content, message_id: MessageId::new(id), becomes: None, under_way: false })
        };
        let all: Vec<Unfinished> = noted.into_iter().filter_map(unfinished).collect();
        let due = (!all.is_empty()).then(Instant::now);
        Ok(Self { all, attempts: 0, setbacks: HashMap::default(), due })
    }

    fn noted(&self) -> Change {
        let noted = self.all.iter().map(|one| (one.mailbox.0, one.content.to_string(), one.message_id.as_str()));
        let noted: Vec<(u32, String, &str)> = noted.collect();
        let value = if noted.is_empty() { String::new() } else { serde_json::json!(noted).to_string() };
        Change::SetMeta { key: KEY.to_owned(), value }
    }

    /// Whether a message of that Message-ID is being made.
    pub(super) fn becomes(&self, message_id: &MessageId) -> bool {
        self.all.iter().any(|one| one.under_way && one.becomes.as_ref() == Some(message_id))
    }

    /// Says that a content went up.
    pub(super) fn forget_setbacks(&mut self, content: &ContentHash) {
        self.setbacks.remove(content);
    }

    /// Whether something is made in several requests under that Message-ID.
    pub(super) fn contains(&self, message_id: &MessageId) -> bool {
        self.all.iter().any(|one| one.message_id == *message_id)
    }

    /// When something is to be removed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl Driver {
    /// What a message is known by until it is whole; nothing if it can't be written down now that it is begun, or went wrong
    /// only lately.
    pub(super) fn begin_unfinished(
        &mut self,
        mailbox: MailboxId,
        (content, becomes): (&ContentHash, &MessageId),
        file: &FileKey,
        at_once: bool,
    ) -> Result<Option<MessageId>, SyncError> {
        self.unfinished.attempts += 1;
        let message_id = MessageId::for_unfinished(content, file, self.now(), self.unfinished.attempts);
        if at_once {
            return Ok(Some(message_id));
        }
        if self.unfinished.setbacks.get(content).is_some_and(|(_, until)| Instant::now() < *until) {
            return Ok(None);
        }
        let becomes = Some(becomes.clone());
        self.unfinished.all.push(Unfinished {
            mailbox,
            content: *content,
            message_id: message_id.clone(),
            becomes,
            under_way: true,
        });
        let noted = self.unfinished.noted();
        self.world.note(noted);
        self.write_down()?;
        if self.world.has_changes() {
            self.end_unfinished(&message_id, true);
            return Ok(None);
        }
        Ok(Some(message_id))
    }

    /// Forgets what has become whole, or was never begun. Of anything else what is left is removed.
    pub(super) fn end_unfinished(&mut self, message_id: &MessageId, nothing_is_left: bool) {
        let Some(place) = self.unfinished.all.iter().position(|one| one.message_id == *message_id) else { return };
        let content = self.unfinished.all[place].content;
        if nothing_is_left {
            self.unfinished.all.swap_remove(place);
            let noted = self.unfinished.noted();
            self.world.note(noted);
        } else {
            self.unfinished.all[place].under_way = false;
            self.unfinished.due = Some(Instant::now());
            let times = self.unfinished.setbacks.get(&content).map_or(0, |(times, _)| *times);
            self.unfinished.setbacks.insert(content, (times + 1, Instant::now() + backoff(times)));
        }
    }

    /// Removes what attempts have left, once it is time for that.
    pub(super) fn remove_unfinished(&mut self, now: Instant) {
        if self.unfinished.due.is_none_or(|due| due > now) {
            return;
        }
        self.unfinished.due = None;
        for one in self.unfinished.all.iter_mut().filter(|one| !one.under_way) {
            // What is left in a mailbox that isn't configured any more stays noted.
            let Some(mailbox) = self.mailboxes.iter().find(|mailbox| mailbox.id == one.mailbox) else { continue };
            one.under_way = true;
            self.asking += 1;
            let (account, message_id) = (self.accounts[mailbox.account].clone(), one.message_id.clone());
            let original = Original { store: self.store.clone(), hash: one.content, prefix: String::new() };
            self.tasks.spawn(tasks::remove_unfinished(account, message_id, original, self.events.0.clone()));
        }
    }

    pub(super) fn removed_unfinished(&mut self, message_id: &MessageId, result: Result<(), CloudError>) {
        self.asking -= 1;
        let Err(error) = result else { return self.end_unfinished(message_id, true) };
        debug!(%error, "What a broken-off upload has left in the cloud couldn't be removed yet");
        if let Some(one) = self.unfinished.all.iter_mut().find(|one| one.message_id == *message_id) {
            one.under_way = false;
        }
        // A single run leaves it to the next one.
        self.unfinished.due = self.watching.then(|| Instant::now() + AGAIN_AFTER);
    }
}
