//! The handle to a running simulation: everything that administrators, other clients and fate can do.

mod notifications;
mod sign_in;
mod webhooks;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use http_body_util::Full;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::content::to_crlf;
use crate::counters::{Counters, RequestRecord, Tally};
use crate::entra::Entra;
use crate::faults::{Fault, FaultState, Faults};
use crate::google::Google;
use crate::http;
use crate::ids::ItemId;
use crate::knobs::Knobs;
use crate::mailbox::{AccountMode, FlagStatus, ICON, Mailbox, Message, STATUS, Touched, VERB, VERB_TIME};
use crate::mime_generator::Generator;
use crate::notifications::Subscriptions;
use crate::population;
use crate::reply::ReplyBody;
use crate::secrets::Secrets;
use crate::server::Options;
use crate::state::{self, MailboxState, MessageState, StateQuery};
use crate::throttle::Throttle;
use crate::webhooks::Webhooks;
use crate::well_known;
use crate::writes::{new_message, replace_text};

/// Why an administrator's wish can't be granted.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// There is no such mailbox.
    #[error("there is no user `{0}`")]
    NoUser(String),
    /// There is no such message in the mailbox.
    #[error("there is no message `{0}`")]
    NoMessage(String),
    /// There is no such folder in the mailbox.
    #[error("there is no folder `{0}`")]
    NoFolder(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A message's bytes couldn't be read.
    #[error("a message's bytes can't be read")]
    Read(#[from] io::Error),
}

/// A message to be delivered.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // Independent marks of a message.
pub struct NewMessage {
    /// The folder's path; it is made if it is missing. The inbox if empty.
    pub folder: String,
    /// The bytes; generated if missing.
    pub mime: Option<Vec<u8>>,
    /// Whether the bytes are served as they are, whatever their line ends.
    pub verbatim: bool,
    /// Seconds since 1970; now if missing (for generated mail: the generator's time).
    pub received: Option<i64>,
    /// Whether it was read.
    pub is_read: bool,
    /// Whether it is flagged.
    pub flag: FlagStatus,
    /// Whether it was replied to, with Outlook.
    pub replied: bool,
    /// Whether it was forwarded, with Outlook.
    pub forwarded: bool,
    /// Whether it is a draft.
    pub is_draft: bool,
    /// Whether downloading it fails for ever.
    pub unconvertible: bool,
}

impl NewMessage {
    /// An unread message of these bytes, received now.
    pub fn mime(folder: &str, mime: impl Into<Vec<u8>>) -> Self {
        Self { folder: folder.to_owned(), mime: Some(mime.into()), ..Self::default() }
    }

    /// An unread generated message.
    pub fn generated(folder: &str) -> Self {
        Self { folder: folder.to_owned(), ..Self::default() }
    }
}

/// Which program somebody uses to change a message; they leave different marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// Sets the icon and the last verb.
    #[default]
    Outlook,
    /// Sets a bit of the message status.
    Imap,
}

/// A change of flags; what is missing stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlagChange {
    /// Which program is used.
    pub actor: Actor,
    /// Read or unread.
    pub is_read: Option<bool>,
    /// Flagged, complete or neither.
    pub flag: Option<FlagStatus>,
    /// Replied to, or no longer.
    pub replied: Option<bool>,
    /// Forwarded, or no longer; IMAP clients can't tell.
    pub forwarded: Option<bool>,
    /// All categories.
    pub categories: Option<Vec<String>>,
    /// Whether downloading the message fails from now on. Leaves no trace in delta.
    pub unconvertible: Option<bool>,
}

/// What deleting means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletion {
    /// Into the deleted items, as Outlook does it.
    #[default]
    Trash,
    /// Out of sight, recoverable by the user for some time.
    Soft,
    /// For good.
    Purge,
}

/// All that the server holds.
pub(crate) struct Inner {
    mailboxes: Vec<(String, Mutex<Mailbox>)>,
    pub(crate) generator: Generator,
    knobs: RwLock<Arc<Knobs>>,
    pub(crate) faults: Faults,
    pub(crate) tally: Tally,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) entra: Entra,
    pub(crate) google: Google,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) webhooks: Webhooks,
    pub(crate) upload_secrets: Mutex<Secrets>,
    generated: AtomicU32,
}

/// Locks a mailbox; a panic of another thread doesn't make it unusable.
pub(crate) fn lock(mailbox: &Mutex<Mailbox>) -> MutexGuard<'_, Mailbox> {
    mailbox.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// The mailbox of a user, by name in any case; the first one's if the name is empty.
    pub(crate) fn mailbox(&self, user: &str) -> Option<&Mutex<Mailbox>> {
        if user.is_empty() {
            return self.mailboxes.first().map(|(_, mailbox)| mailbox);
        }
        self.mailboxes.iter().find(|(name, _)| name.eq_ignore_ascii_case(user)).map(|(_, mailbox)| mailbox)
    }

    /// A user's name as it was configured.
    pub(crate) fn user_name(&self, user: &str) -> Option<String> {
        let mut names = self.mailboxes.iter().map(|(name, _)| name);
        names.find(|name| user.is_empty() || name.eq_ignore_ascii_case(user)).cloned()
    }

    /// The user whom a person means at a sign-in page: by name or mail address in any case, the first one if empty.
    pub(crate) fn account(&self, typed: &str) -> Option<String> {
        self.user_name(typed).or_else(|| {
            let by_mail = |(_, mailbox): &&(String, Mutex<Mailbox>)| lock(mailbox).mail.eq_ignore_ascii_case(typed);
            self.mailboxes.iter().find(by_mail).map(|(name, _)| name.clone())
        })
    }

    /// All users' names as they were configured.
    pub(crate) fn user_names(&self) -> Vec<String> {
        self.mailboxes.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The knobs as they stand.
    pub(crate) fn knobs(&self) -> Arc<Knobs> {
        Arc::clone(&self.knobs.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A handle to a running simulation. All its clones are the same simulation.
///
/// A `user` may be left empty for the first one; a message may be named by either kind of id; folders are named by
/// path (`Inbox/Lists/rust`, `deleteditems`) or id.
#[derive(Clone)]
pub struct Cloud(Arc<Inner>);

impl std::fmt::Debug for Cloud {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cloud").field("users", &self.users()).finish_non_exhaustive()
    }
}

impl Cloud {
    /// A simulation with its first mail, not yet served.
    pub(crate) fn new(options: Options) -> io::Result<Self> {
        let generator = Generator::new(options.seed, options.size_scale);
        let mut next = 0_u32;
        let mut mailboxes = Vec::new();
        for user in &options.users {
            let mut mailbox = Mailbox::new(user, options.seed);
            let mut fill = |mailbox: &mut Mailbox, folder: u32, count: usize| {
                for _ in 0..count {
                    mailbox.insert(population::generated(&generator, next, folder), true);
                    next += 1;
                }
            };
            fill(&mut mailbox, well_known::INBOX, options.messages);
            for (path, count) in &options.folders {
                let folder = mailbox.ensure_folder(path, &options.knobs.locale);
                fill(&mut mailbox, folder, *count);
            }
            if let (Some(directory), true) = (&options.eml, mailboxes.is_empty()) {
                let received = options.eml_received;
                population::add_files(&mut mailbox, &generator, well_known::INBOX, directory, received)?;
            }
            if let Some((_, mail)) = options.aliases.iter().find(|(name, _)| name.eq_ignore_ascii_case(user)) {
                mailbox.mail.clone_from(mail);
            }
            mailboxes.push((user.clone(), Mutex::new(mailbox)));
        }
        Ok(Self(Arc::new(Inner {
            mailboxes,
            generator,
            knobs: RwLock::new(Arc::new(options.knobs)),
            faults: Faults::default(),
            tally: Tally::new(),
            throttle: Arc::new(Throttle::new()),
            entra: Entra::new(options.registrations),
            google: Google::new(options.google_clients),
            subscriptions: Subscriptions::default(),
            webhooks: Webhooks::default(),
            upload_secrets: Mutex::default(),
            generated: AtomicU32::new(next),
        })))
    }

    /// Answers one request without a network in between. An error stands for a connection that is reset.
    ///
    /// Whoever drops the future hangs up.
    pub async fn exchange(&self, request: hyper::Request<Full<Bytes>>) -> io::Result<hyper::Response<ReplyBody>> {
        http::respond(self, &AtomicBool::new(false), request).await
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    fn mailbox(&self, user: &str) -> Result<MutexGuard<'_, Mailbox>, AdminError> {
        self.0.mailbox(user).map(lock).ok_or_else(|| AdminError::NoUser(user.to_owned()))
    }

    fn locale(&self) -> String {
        self.0.knobs().locale.clone()
    }

    fn folder(&self, mailbox: &Mailbox, path: &str) -> Result<u32, AdminError> {
        mailbox.find_folder(path, &self.locale()).ok_or_else(|| AdminError::NoFolder(path.to_owned()))
    }

    /// The users whose mailboxes exist.
    pub fn users(&self) -> Vec<String> {
        self.0.user_names()
    }

    /// Delivers a message, and returns its immutable id.
    pub fn add_message(&self, user: &str, new: NewMessage) -> Result<String, AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let folder = mailbox.ensure_folder(&new.folder, &self.locale());
        let mut message = if let Some(mime) = new.mime {
            let bytes = if new.verbatim { mime } else { to_crlf(&mime) };
            new_message(folder, Bytes::from(bytes), new.received.unwrap_or_else(clock::now), new.is_draft)
        } else {
            let index = self.0.generated.fetch_add(1, Ordering::Relaxed);
            let mut message = population::generated(&self.0.generator, index, folder);
            message.properties.clear();
            message.received = new.received.unwrap_or(message.received);
            message.is_draft = new.is_draft;
            message
        };
        message.is_read = new.is_read;
        message.flag = new.flag;
        message.unconvertible = new.unconvertible;
        mark(&mut message, Actor::Outlook, new.replied.then_some(true), new.forwarded.then_some(true));
        let key = mailbox.insert(message, false);
        Ok(mailbox.ids.immutable(key))
    }

    /// Delivers generated messages with marks as the generator gives them, and returns their immutable ids.
    pub fn add_generated(&self, user: &str, folder: &str, count: usize) -> Result<Vec<String>, AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let folder = mailbox.ensure_folder(folder, &self.locale());
        Ok((0..count)
            .map(|_| {
                let index = self.0.generated.fetch_add(1, Ordering::Relaxed);
                let key = mailbox.insert(population::generated(&self.0.generator, index, folder), false);
                mailbox.ids.immutable(key)
            })
            .collect())
    }

    /// Changes a message's flags as another program does.
    pub fn set_flags(&self, user: &str, id: &str, change: FlagChange) -> Result<(), AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let key = key_of(&mailbox, id)?;
        let more = change.flag.is_some()
            || change.replied.is_some()
            || change.forwarded.is_some()
            || change.categories.is_some();
        if let (Some(unconvertible), Some(message)) = (change.unconvertible, mailbox.message_mut(key)) {
            message.unconvertible = unconvertible;
        }
        let toggled =
            mailbox.message(key).is_some_and(|message| change.is_read.is_some_and(|read| read != message.is_read));
        if !more && !toggled {
            return Ok(());
        }
        let touched = if more { Touched::More } else { Touched::Read };
        mailbox
            .change(key, touched, |message| {
                message.is_read = change.is_read.unwrap_or(message.is_read);
                message.flag = change.flag.unwrap_or(message.flag);
                if let Some(categories) = change.categories {
                    message.categories = categories;
                }
                mark(message, change.actor, change.replied, change.forwarded);
            })
            .ok_or_else(|| AdminError::NoMessage(id.to_owned()))
    }

    /// Moves a message to a folder, which is made if it is missing.
    pub fn move_message(&self, user: &str, id: &str, folder: &str) -> Result<(), AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let key = key_of(&mailbox, id)?;
        let to = mailbox.ensure_folder(folder, &self.locale());
        mailbox.relocate(key, to, false).ok_or_else(|| AdminError::NoMessage(id.to_owned()))
    }

    /// Moves a message to another folder and back again, so that a delta round sees both at once.
    pub fn move_away_and_back(&self, user: &str, id: &str, folder: &str) -> Result<(), AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let key = key_of(&mailbox, id)?;
        let missing = || AdminError::NoMessage(id.to_owned());
        let home = mailbox.message(key).ok_or_else(missing)?.folder;
        let away = mailbox.ensure_folder(folder, &self.locale());
        mailbox.relocate(key, away, false).ok_or_else(missing)?;
        mailbox.relocate(key, home, false).ok_or_else(missing)
    }

    /// Deletes a message.
    pub fn delete_message(&self, user: &str, id: &str, how: Deletion) -> Result<(), AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let key = key_of(&mailbox, id)?;
        match how {
            Deletion::Trash => mailbox.relocate(key, well_known::DELETED, false),
            Deletion::Soft => mailbox.relocate(key, well_known::RECOVERABLE, true),
            Deletion::Purge => mailbox.purge(key),
        }
        .ok_or_else(|| AdminError::NoMessage(id.to_owned()))
    }

    /// Deletes all that is in the deleted items, recoverably; returns how many messages that were.
    pub fn empty_trash(&self, user: &str) -> Result<usize, AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let keys: Vec<u32> = mailbox
            .folder(well_known::DELETED)
            .map(|one| one.by_time.iter().map(|(_, key)| *key).collect())
            .unwrap_or_default();
        for key in &keys {
            mailbox.relocate(*key, well_known::RECOVERABLE, true);
        }
        Ok(keys.len())
    }

    /// Gives a draft another text.
    pub fn edit_draft(&self, user: &str, id: &str, mime: &[u8]) -> Result<(), AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let key = key_of(&mailbox, id)?;
        if mailbox.message(key).is_none_or(|message| !message.is_draft) {
            return Err(AdminError::Invalid("the message isn't a draft".to_owned()));
        }
        let bytes = Bytes::from(to_crlf(mime));
        mailbox
            .change(key, Touched::More, |message| replace_text(message, bytes))
            .ok_or_else(|| AdminError::NoMessage(id.to_owned()))
    }

    /// Sends a draft: it moves to the sent items and is no draft any more.
    pub fn send_draft(&self, user: &str, id: &str) -> Result<(), AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let key = key_of(&mailbox, id)?;
        let sent = well_known::key("sentitems").unwrap_or(well_known::ROOT);
        match mailbox.message_mut(key) {
            Some(message) if message.is_draft => message.is_draft = false,
            _ => return Err(AdminError::Invalid("the message isn't a draft".to_owned())),
        }
        mailbox.relocate(key, sent, false).ok_or_else(|| AdminError::NoMessage(id.to_owned()))
    }

    /// Gives a message another classic id without moving it, as the server's upkeep does at times.
    pub fn rot_classic_id(&self, user: &str, id: &str) -> Result<(), AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let key = key_of(&mailbox, id)?;
        mailbox.rot_classic_id(key).ok_or_else(|| AdminError::NoMessage(id.to_owned()))
    }

    /// Gives a message other ids of both kinds, as the way through an archive mailbox does, and returns its immutable id.
    pub fn renumber(&self, user: &str, id: &str) -> Result<String, AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let key = key_of(&mailbox, id)?;
        let key = mailbox.renumber(key).ok_or_else(|| AdminError::NoMessage(id.to_owned()))?;
        Ok(mailbox.ids.immutable(key))
    }

    /// Makes a folder with its parents, and returns its id. One that exists is left as it is.
    pub fn create_folder(&self, user: &str, path: &str, hidden: bool) -> Result<String, AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let key = mailbox.ensure_folder(path, &self.locale());
        if let Some(folder) = mailbox.folders.get_mut(key as usize).filter(|_| hidden) {
            folder.hidden = true;
        }
        Ok(mailbox.ids.folder(key))
    }

    /// Gives a folder another name; its id stays.
    pub fn rename_folder(&self, user: &str, path: &str, name: &str) -> Result<(), AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let key = self.folder(&mailbox, path)?;
        let parent = mailbox.folder(key).map_or(crate::well_known::ROOT, |folder| folder.parent);
        mailbox.put_folder(key, parent, name, &self.locale());
        Ok(())
    }

    /// Moves a folder with all in it below another one; its id stays.
    pub fn move_folder(&self, user: &str, path: &str, to: &str) -> Result<(), AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let key = self.folder(&mailbox, path)?;
        let parent = self.folder(&mailbox, to)?;
        let name = mailbox.folder(key).map(|folder| folder.name.clone()).unwrap_or_default();
        mailbox.put_folder(key, parent, &name, &self.locale());
        Ok(())
    }

    /// Deletes a folder with all in it; well-known ones stay.
    pub fn delete_folder(&self, user: &str, path: &str) -> Result<(), AdminError> {
        let mut mailbox = self.mailbox(user)?;
        let key = self.folder(&mailbox, path)?;
        mailbox.delete_folder(key).ok_or_else(|| AdminError::Invalid(format!("`{path}` can't be deleted")))
    }

    /// The id of a folder.
    pub fn folder_id(&self, user: &str, path: &str) -> Result<String, AdminError> {
        let mailbox = self.mailbox(user)?;
        let key = self.folder(&mailbox, path)?;
        Ok(mailbox.ids.folder(key))
    }

    /// The mailbox in full, with hashes of all messages.
    pub fn state(&self, user: &str) -> Result<MailboxState, AdminError> {
        self.state_of(user, &StateQuery::default())
    }

    /// As much of the mailbox as was asked for.
    pub fn state_of(&self, user: &str, query: &StateQuery) -> Result<MailboxState, AdminError> {
        let mailbox = self.mailbox(user)?;
        let only = query.folder.as_deref().map(|path| self.folder(&mailbox, path)).transpose()?;
        Ok(state::dump(&mailbox, &self.0.generator, query, only))
    }

    /// One message's state.
    pub fn message(&self, user: &str, id: &str) -> Result<MessageState, AdminError> {
        let mailbox = self.mailbox(user)?;
        let key = key_of(&mailbox, id)?;
        let found = mailbox.message(key).ok_or_else(|| AdminError::NoMessage(id.to_owned()))?;
        Ok(state::message(&mailbox, &self.0.generator, found, true))
    }

    /// A message's bytes as they are served, before any rebuilding.
    pub fn mime(&self, user: &str, id: &str) -> Result<Bytes, AdminError> {
        let source = {
            let mailbox = self.mailbox(user)?;
            let key = key_of(&mailbox, id)?;
            mailbox.message(key).ok_or_else(|| AdminError::NoMessage(id.to_owned()))?.source.clone()
        };
        Ok(source.wire(&self.0.generator)?)
    }

    /// Sets what the account is good for.
    pub fn set_account_mode(&self, user: &str, mode: AccountMode) -> Result<(), AdminError> {
        self.mailbox(user)?.mode = mode;
        Ok(())
    }

    /// Lets a user into the whole mailbox of another one, or no longer.
    pub fn share_mailbox(&self, owner: &str, user: &str, allowed: bool) -> Result<(), AdminError> {
        let user = self.0.user_name(user).ok_or_else(|| AdminError::NoUser(user.to_owned()))?;
        let mut mailbox = self.mailbox(owner)?;
        mailbox.delegates.retain(|known| *known != user);
        mailbox.delegates.extend(allowed.then_some(user));
        Ok(())
    }

    /// Makes every delta link unknown, as moving the mailbox to another server does.
    pub fn kill_delta_tokens(&self, user: &str) -> Result<(), AdminError> {
        self.mailbox(user)?.chains.kill_all();
        Ok(())
    }

    /// Orders a failure, and returns the rule's number.
    pub fn inject(&self, fault: Fault) -> u64 {
        self.0.faults.add(fault)
    }

    /// The rules for failures and how far they have come.
    pub fn faults(&self) -> Vec<FaultState> {
        self.0.faults.list()
    }

    /// Takes one rule back; says whether there was one.
    pub fn remove_fault(&self, number: u64) -> bool {
        self.0.faults.remove(number)
    }

    /// Takes all rules back.
    pub fn clear_faults(&self) {
        self.0.faults.clear();
    }

    /// The knobs as they stand.
    pub fn knobs(&self) -> Knobs {
        (*self.0.knobs()).clone()
    }

    /// Sets all knobs.
    pub fn set_knobs(&self, knobs: Knobs) {
        *self.0.knobs.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(knobs);
    }

    /// Changes some knobs.
    pub fn turn(&self, change: impl FnOnce(&mut Knobs)) {
        let mut knobs = self.knobs();
        change(&mut knobs);
        self.set_knobs(knobs);
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.0.tally.counters()
    }

    /// Sets the counters to nothing, and forgets pauses and windows.
    pub fn reset_counters(&self) {
        self.0.tally.reset();
        self.0.throttle.forget();
    }

    /// How often each message was downloaded, by immutable id.
    pub fn downloads(&self, user: &str) -> BTreeMap<String, u64> {
        self.0.user_name(user).map(|user| self.0.tally.downloads(&user)).unwrap_or_default()
    }

    /// The requests that were answered after number `since`, at most the newest 50,000.
    pub fn requests(&self, since: u64) -> Vec<RequestRecord> {
        self.0.tally.requests(since)
    }
}

/// The key of a message by either kind of id, good or outlived.
fn key_of(mailbox: &Mailbox, id: &str) -> Result<u32, AdminError> {
    let missing = || AdminError::NoMessage(id.to_owned());
    let key = match mailbox.ids.parse_item(id).map_err(|_| missing())? {
        ItemId::Immutable { key } | ItemId::Classic { key, .. } => key,
    };
    mailbox.message(key).map(|_| key).ok_or_else(missing)
}

/// Leaves the marks of replying and forwarding.
fn mark(message: &mut Message, actor: Actor, replied: Option<bool>, forwarded: Option<bool>) {
    let mut set = |id: &str, value: &str| message.properties.insert(id.to_owned(), value.to_owned());
    match actor {
        Actor::Outlook => {
            let now = clock::format(clock::now());
            for (wanted, icon, verb) in [(replied, "261", "102"), (forwarded, "262", "104")] {
                match wanted {
                    Some(true) => {
                        set(ICON, icon);
                        set(VERB, verb);
                        set(VERB_TIME, &now);
                    }
                    Some(false) => {
                        set(ICON, "256");
                        set(VERB, "0");
                    }
                    None => {}
                }
            }
        }
        Actor::Imap => {
            let old: u32 = message.properties.get(STATUS).and_then(|text| text.parse().ok()).unwrap_or(0);
            match replied {
                Some(true) => {
                    message.properties.insert(STATUS.to_owned(), (old | 0x200).to_string());
                }
                Some(false) if old & !0x200 == 0 => {
                    message.properties.remove(STATUS);
                }
                Some(false) => {
                    message.properties.insert(STATUS.to_owned(), (old & !0x200).to_string());
                }
                None => {}
            }
        }
    }
}
