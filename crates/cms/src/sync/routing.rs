//! Which Maildir a message belongs to: the configuration's `direct_message`, asked with the header from the store.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;

use cms_engine::{ContentHash, Flags, HashMap, HashSet, MailboxId, MaildirId, Router};
use cms_store::Store;
use tracing::warn;

/// What decides, given the index of a configured mailbox, the header of a message and its flags: the index of a
/// configured Maildir, or why it can't say.
pub(crate) type Route = dyn Fn(usize, &[u8], Flags) -> Result<usize, String> + Send + Sync;

/// The planner's view of the configuration's routing.
pub(crate) struct Routing {
    /// Nothing where every message goes to the first Maildir.
    route: Option<Arc<Route>>,
    store: Arc<Store>,
    mailboxes: Vec<MailboxId>,
    maildirs: Vec<MaildirId>,
    /// The Maildirs of mailboxes that have one of their own, whatever the configuration says of others; nothing where nobody
    /// looks at any.
    homes: HashMap<MailboxId, Option<MaildirId>>,
    /// A stored message never changes, so that one answer holds for good.
    known: RefCell<HashMap<(MailboxId, ContentHash, Flags), Option<MaildirId>>>,
    /// Whether a question went unanswered since somebody last asked.
    failed: Cell<bool>,
    /// Contents that the store turned out not to have.
    missing: RefCell<HashSet<ContentHash>>,
}

/// Answers kept at the most; a run over a large mailbox asks once for each message.
const KNOWN_MAX: usize = 10_000;

impl Routing {
    pub(crate) fn new(
        route: Option<Arc<Route>>,
        store: Arc<Store>,
        mailboxes: Vec<MailboxId>,
        maildirs: Vec<MaildirId>,
        homes: HashMap<MailboxId, Option<MaildirId>>,
    ) -> Self {
        Self {
            route,
            store,
            mailboxes,
            maildirs,
            homes,
            known: RefCell::default(),
            failed: Cell::new(false),
            missing: RefCell::default(),
        }
    }

    /// Whether a question went unanswered since this was last asked, so that it must be put again.
    pub(crate) fn take_failed(&self) -> bool {
        self.failed.take()
    }

    /// Hands out the contents that the store turned out not to have, so that they can be downloaded again.
    pub(crate) fn take_missing(&self) -> HashSet<ContentHash> {
        self.missing.take()
    }

    fn ask(&self, route: &Route, mailbox: MailboxId, content: &ContentHash, flags: Flags) -> Option<MaildirId> {
        let index = self.mailboxes.iter().position(|known| *known == mailbox)?;
        let header = match self.store.header(content) {
            Ok(header) => header,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.missing.borrow_mut().insert(*content);
                return None;
            }
            Err(error) => {
                warn!(%error, %content, "Couldn't read a stored message to find its Maildir");
                return None;
            }
        };
        match route(index, &header, flags) {
            Ok(maildir) => self.maildirs.get(maildir).copied(),
            Err(error) => {
                warn!("cfg.direct_message failed, so a message waits: {error}");
                None
            }
        }
    }
}

impl Router for Routing {
    fn maildir_for(&self, mailbox: MailboxId, content: &ContentHash, flags: Flags) -> Option<MaildirId> {
        if let Some(home) = self.homes.get(&mailbox) {
            return *home;
        }
        let Some(route) = &self.route else { return self.maildirs.first().copied() };
        let question = (mailbox, *content, flags);
        if let Some(answer) = self.known.borrow().get(&question) {
            return *answer;
        }
        let answer = self.ask(route.as_ref(), mailbox, content, flags);
        self.failed.set(self.failed.get() || answer.is_none());
        let mut known = self.known.borrow_mut();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        // A failure isn't remembered: a store that couldn't be read may be readable next time.
        if answer.is_some() {
            known.insert(question, answer);
        }
        answer
    }
}
