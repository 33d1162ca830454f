//! What of a mailbox is brought here, and what of it stays here. A configuration that changes deletes nothing: what came
//! before stays and is kept the same, and what was kept stays kept.

use std::sync::Arc;

use cms_engine::{CloudMessage, FileKey, Flags, HashMap, HashSet, MailboxId, RemoteId, Row, RowId, UnixSeconds};
use cms_store::{Change, Database, StoreError};

use crate::sync::world::World;

/// Each mailbox's scope.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    since: HashMap<MailboxId, UnixSeconds>,
    keeps: HashSet<MailboxId>,
    /// What was kept in mailboxes that don't keep any more.
    kept: HashSet<RowId>,
}

/// What the configuration says of one mailbox.
pub(crate) struct Scope {
    /// Which one.
    pub(crate) mailbox: MailboxId,
    /// Since when messages are brought here.
    pub(crate) since: Option<UnixSeconds>,
    /// Whether what the cloud deletes there stays here.
    pub(crate) keeps: bool,
}

/// What may have to be named with something that was touched, by when the messages were received: what isn't brought may be a
/// row's message under a new id.
#[derive(Default)]
pub(super) struct ByTime {
    /// Messages that aren't brought.
    left_out: HashMap<UnixSeconds, HashSet<RemoteId>>,
    /// Rows whose messages are gone.
    gone: HashMap<UnixSeconds, HashSet<RowId>>,
    /// All rows, where some mailbox keeps.
    linked: HashMap<UnixSeconds, HashSet<RowId>>,
    /// The messages that waited for what is said of their twins.
    have_waited: HashSet<RemoteId>,
}

impl ByTime {
    /// See [`World::lengths`].
    pub(super) fn lengths(&self) -> [(&'static str, usize); 4] {
        [
            ("left_out_times", self.left_out.len()),
            ("gone_times", self.gone.len()),
            ("linked_times", self.linked.len()),
            ("have_waited", self.have_waited.len()),
        ]
    }
}

/// The key in the database of the time since when a mailbox's messages are brought, in seconds since 1970.
pub(super) fn since_key(mailbox: MailboxId) -> String {
    format!("mailbox {} brings since", mailbox.0)
}

/// The key of whether a mailbox keeps.
pub(super) fn keeps_key(mailbox: MailboxId) -> String {
    format!("mailbox {} keeps", mailbox.0)
}

/// The key of the rows that a mailbox has kept while it did, as JSON.
pub(super) fn kept_key(mailbox: MailboxId) -> String {
    format!("mailbox {} has kept", mailbox.0)
}

/// What a mailbox that keeps has under its key.
pub(super) const KEEPS: &str = "yes";

/// The rows that a mailbox has kept while it did.
pub(super) fn kept_before(database: &Database, mailbox: MailboxId) -> Result<Vec<u64>, StoreError> {
    let kept = database.meta(&kept_key(mailbox))?;
    // What can't be read was written by nobody.
    Ok(kept.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default())
}

/// Whether a row is one that can be kept.
pub(super) fn can_be_kept(row_flags_in_the_cloud: Flags) -> bool {
    !row_flags_in_the_cloud.contains(Flags::DRAFT)
}

impl Scopes {
    /// Since when messages of a mailbox are brought.
    pub(crate) fn since(&self, mailbox: MailboxId) -> Option<UnixSeconds> {
        self.since.get(&mailbox).copied()
    }

    /// Whether a row of a mailbox stays here if its message is gone.
    pub(crate) fn keeps(&self, row: RowId, mailbox: MailboxId) -> bool {
        self.keeps.contains(&mailbox) || self.kept.contains(&row)
    }

    fn brings(&self, message: &CloudMessage) -> bool {
        self.since(message.mailbox).is_none_or(|since| message.received >= since)
    }
}

impl World {
    /// Takes what the configuration says of the mailboxes, and notes it for the next run. What a mailbox has kept until now
    /// stays kept.
    pub(crate) fn set_scopes(&mut self, scopes: &[Scope], database: &Database) -> Result<(), StoreError> {
        let mut taken = Scopes::default();
        for Scope { mailbox, since, keeps } in scopes {
            let kept_until_now = database.meta(&keeps_key(*mailbox))?.is_some_and(|keeps| keeps == KEEPS);
            let mut kept: HashSet<RowId> = kept_before(database, *mailbox)?.into_iter().map(RowId).collect();
            let is_gone = |row: &Row| row.mailbox == *mailbox && !self.cloud.messages.contains_key(&row.remote);
            if *keeps {
                kept.clear();
            } else if kept_until_now {
                let gone = self.synced.unlike_the_cloud(&self.cloud);
                let gone = gone.filter(|(_, row)| is_gone(row) && can_be_kept(row.flags.cloud));
                kept.extend(gone.map(|(id, _)| id));
            }
            kept.retain(|id| self.synced.get(*id).is_some_and(is_gone));
            let mut ids: Vec<u64> = kept.iter().map(|id| id.0).collect();
            ids.sort_unstable();
            let json = if ids.is_empty() { String::new() } else { serde_json::to_string(&ids).unwrap_or_default() };
            taken.kept.extend(kept);
            if let Some(since) = since {
                taken.since.insert(*mailbox, *since);
            }
            if *keeps {
                taken.keeps.insert(*mailbox);
            }
            let since = since.map(|since| since.0.to_string()).unwrap_or_default();
            let keeps = if *keeps { KEEPS } else { "" };
            for (key, value) in
                [(since_key(*mailbox), since), (keeps_key(*mailbox), keeps.to_owned()), (kept_key(*mailbox), json)]
            {
                if database.meta(&key)?.unwrap_or_default() != value {
                    self.note(Change::SetMeta { key, value });
                }
            }
        }
        self.scopes = Arc::new(taken);
        let gone: Vec<(RowId, UnixSeconds)> = self
            .synced
            .unlike_the_cloud(&self.cloud)
            .filter(|(_, row)| !self.cloud.messages.contains_key(&row.remote))
            .map(|(id, row)| (id, row.received))
            .collect();
        for (id, received) in gone {
            self.by_time.gone.entry(received).or_default().insert(id);
        }
        if !self.scopes.keeps.is_empty() {
            for (id, row) in self.synced.iter() {
                self.by_time.linked.entry(row.received).or_default().insert(id);
            }
        }
        self.find_homeless();
        Ok(())
    }

    /// Notes that there is a row.
    pub(super) fn note_linked(&mut self, id: RowId) {
        if !self.scopes.keeps.is_empty()
            && let Some(row) = self.synced.get(id)
        {
            self.by_time.linked.entry(row.received).or_default().insert(id);
        }
    }

    /// The messages that have rows in mailboxes that keep, and the content and the time of this one. A message waits for them
    /// once.
    pub(super) fn twins_to_ask_for(&mut self, base: &Row) -> Vec<RemoteId> {
        if self.by_time.have_waited.contains(&base.remote) {
            return Vec::new();
        }
        let rows = self.by_time.linked.get(&base.received).into_iter().flatten();
        let rows = rows.filter_map(|id| Some((*id, self.synced.get(*id)?)));
        let twins = rows.filter(|(id, row)| {
            self.scopes.keeps(*id, row.mailbox)
                && row.hash_in_the_cloud() == base.hash
                && self.cloud.messages.contains_key(&row.remote)
        });
        let twins: Vec<RemoteId> = twins.map(|(_, row)| row.remote.clone()).collect();
        if !twins.is_empty() {
            self.by_time.have_waited.insert(base.remote.clone());
        }
        twins
    }

    /// Whether a message that has no row is brought here, or was looked into already, so that it is named in every plan.
    /// Otherwise notes that it is left out.
    pub(super) fn is_brought(&mut self, id: &RemoteId, message: &CloudMessage) -> bool {
        if message.hash.is_some() || self.scopes.brings(message) {
            return true;
        }
        self.by_time.left_out.entry(message.received).or_default().insert(id.clone());
        false
    }

    /// Notes that a message is gone.
    pub(super) fn note_gone(&mut self, id: &RemoteId, message: &CloudMessage) {
        if let Some(left_out) = self.by_time.left_out.get_mut(&message.received) {
            left_out.remove(id);
            if left_out.is_empty() {
                self.by_time.left_out.remove(&message.received);
            }
        }
        if let Some(row) = self.synced.by_remote(id)
            && let Some(received) = self.synced.get(row).map(|row| row.received)
        {
            self.by_time.gone.entry(received).or_default().insert(row);
        }
    }

    /// Whether a message is in the cloud or has a row, or work on it is under way.
    pub(crate) fn knows(&self, id: &RemoteId) -> bool {
        self.cloud.messages.contains_key(id) || self.synced.by_remote(id).is_some() || self.busy.ids.contains(id)
    }

    /// Forgets what was noted of rows, messages and files that are no more, which would pile up for as long as the program
    /// runs.
    pub(crate) fn tidy(&mut self) {
        let mut by_time = std::mem::take(&mut self.by_time);
        keep_rows(&mut by_time.gone, |id| {
            self.synced.get(id).is_some_and(|row| !self.cloud.messages.contains_key(&row.remote))
        });
        keep_rows(&mut by_time.linked, |id| self.synced.get(id).is_some());
        by_time.have_waited.retain(|id| self.knows(id));
        self.by_time = by_time;
        let mut hearsay = std::mem::take(&mut self.hearsay);
        let has_file = |key: &FileKey| {
            self.local.files.contains_key(key) || self.synced.by_file(key).is_some() || self.busy.has_file(key)
        };
        hearsay.keep(|id| self.knows(id), has_file, |id| self.synced.get(id).is_some());
        self.hearsay = hearsay;
    }

    /// The rows whose messages were received then and are gone.
    fn gone_at(&self, received: UnixSeconds) -> impl Iterator<Item = RowId> {
        let is_gone =
            |row: &RowId| self.synced.get(*row).is_some_and(|row| !self.cloud.messages.contains_key(&row.remote));
        self.by_time.gone.get(&received).into_iter().flatten().copied().filter(move |row| is_gone(row))
    }

    /// The rows that one of these messages may be of, if it has none.
    pub(super) fn rows_to_name<'a>(&self, ids: impl Iterator<Item = &'a RemoteId>) -> Vec<RowId> {
        if self.by_time.gone.is_empty() {
            return Vec::new();
        }
        let newcomers = ids.filter(|id| self.synced.by_remote(id).is_none());
        let times = newcomers.filter_map(|id| self.cloud.messages.get(id)).map(|message| message.received);
        times.flat_map(|received| self.gone_at(received)).collect()
    }

    /// The messages that aren't brought and may be of one of the rows in the scope of the next plan.
    pub(super) fn messages_to_name(&self) -> Vec<RemoteId> {
        if self.by_time.left_out.is_empty() {
            return Vec::new();
        }
        let gone = self.rows_in_scope().filter(|row| !self.cloud.messages.contains_key(&row.remote));
        gone.filter_map(|row| self.by_time.left_out.get(&row.received)).flatten().cloned().collect()
    }

    /// Whether a message is none that should be here.
    pub(crate) fn is_left_out(&self, id: &RemoteId, message: &CloudMessage) -> bool {
        !self.scopes.brings(message) && self.synced.by_remote(id).is_none()
    }

    /// Whether a message is left out, and nothing here waits for what it is.
    pub(super) fn is_nobodys_concern(&self, id: &RemoteId, message: &CloudMessage) -> bool {
        self.is_left_out(id, message) && self.gone_at(message.received).next().is_none()
    }

    /// Whether a row's message is gone from the cloud and its file stays here.
    pub(crate) fn is_kept(&self, id: RowId, row: &Row) -> bool {
        can_be_kept(row.flags.cloud)
            && self.scopes.keeps(id, row.mailbox)
            && !self.cloud.messages.contains_key(&row.remote)
            && self.cloud.complete.contains(&row.mailbox)
    }

    /// How many messages of each mailbox stay here though they are gone there.
    pub(crate) fn kept(&self) -> HashMap<MailboxId, u64> {
        let mut counts: HashMap<MailboxId, u64> = HashMap::default();
        for (_, row) in self.synced.unlike_the_cloud(&self.cloud).filter(|(id, row)| self.is_kept(*id, row)) {
            *counts.entry(row.mailbox).or_default() += 1;
        }
        counts
    }

    /// How many messages of each mailbox are left in the cloud for their age.
    pub(crate) fn left_out(&self) -> HashMap<MailboxId, u64> {
        let mut counts: HashMap<MailboxId, u64> = HashMap::default();
        if !self.scopes.since.is_empty() {
            let without_row = self.cloud.messages.without_row(&self.synced);
            let messages = without_row.filter_map(|id| Some((self.cloud.messages.get(&id)?, id)));
            for (message, _) in messages.filter(|(message, id)| self.is_left_out(id, message)) {
                *counts.entry(message.mailbox).or_default() += 1;
            }
        }
        counts
    }
}

/// Keeps those rows of each time for which it makes sense.
fn keep_rows(by_time: &mut HashMap<UnixSeconds, HashSet<RowId>>, makes_sense: impl Fn(RowId) -> bool) {
    by_time.retain(|_, rows| {
        rows.retain(|row| makes_sense(*row));
        !rows.is_empty()
    });
}
