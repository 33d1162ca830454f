//! Being told of changes, beside polling: what is told has a mailbox polled at once. Nothing is ever read from it, so that
//! a service that tells too little or too much costs a wait or a request, and never a message.

use std::time::Duration;

use cms_cloud::contract::{FolderId, Wake};
use cms_engine::{HashSet, MailboxId};
use cms_store::{Change, Database, StoreError};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::sync::driver::{Driver, Mailbox};
use crate::sync::told::Told;
use crate::sync::{PushSetup, tasks};

/// How long a service that tells nothing is left alone, in seconds: a day.
const LEFT_ALONE: i64 = 86_400;

/// How long it is left alone where the user wants it all the same: first this, then twice as much each time …
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// What tells of changes, and what of that is under way.
#[derive(Default)]
pub(super) struct Pushing {
    sources: Vec<Source>,
    told: Told,
}

/// One account that may tell of changes.
struct Source {
    setup: PushSetup,
    /// What is under way for these folders.
    listening: Option<(Vec<FolderId>, AbortHandle)>,
    /// Whether all that happens in them is told just now, but for what happens in those that were refused.
    hears: bool,
    /// The folders that aren't refused.
    heard: HashSet<FolderId>,
    /// When it may be tried again, if it told that there is nothing to be had.
    try_at: Option<Instant>,
    refusals: u32,
    /// Whether it is known to the user that it tells nothing, or that it tells something.
    told: Option<bool>,
}

impl Source {
    /// Where the state keeps when there was nothing to be had, in seconds since 1970.
    fn key(&self) -> String {
        format!("no notifications at {}", self.setup.account_name)
    }
}

/// Makes what listens, as far as the state lets it.
pub(super) fn open(setups: Vec<PushSetup>, database: &Database, now: i64) -> Result<Pushing, StoreError> {
    let mut sources = Vec::new();
    for setup in setups {
        let mut source = Source {
            setup,
            listening: None,
            hears: false,
            heard: HashSet::default(),
            try_at: None,
            refusals: 0,
            told: None,
        };
        if !source.setup.insists
            && let Some(at) = database.meta(&source.key())?.and_then(|at| at.parse::<i64>().ok())
        {
            source.told = Some(false);
            // A time that is yet to come was noted by a clock that has been set back since.
            let left = LEFT_ALONE - (now - at);
            let wait = u64::try_from(left).ok().filter(|_| at <= now);
            source.try_at = wait.map(|wait| Instant::now() + Duration::from_secs(wait));
        }
        sources.push(source);
    }
    Ok(Pushing { sources, ..Pushing::default() })
}

impl Pushing {
    /// Whether somebody tells just now of what changes in a folder of an account.
    fn tells_of(&self, account: usize, folder: &FolderId) -> bool {
        let tells = |source: &Source| source.setup.account == account && source.hears && source.heard.contains(folder);
        self.sources.iter().any(tells)
    }

    /// When one that told nothing may be tried again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.sources.iter().filter(|source| source.listening.is_none()).filter_map(|source| source.try_at).min()
    }
}

impl Driver {
    /// Listens for changes in all folders that are known, once the first look at each is over: that one finds out whether
    /// the user is signed in and the folders are there.
    pub(super) fn look_after_pushing(&mut self) {
        if !self.watching {
            return;
        }
        let now = Instant::now();
        for at in 0..self.pushing.sources.len() {
            let source = &mut self.pushing.sources[at];
            if source.try_at.is_some_and(|at| at > now) {
                continue;
            }
            source.try_at = None;
            let source = &self.pushing.sources[at];
            let setup = &source.setup;
            let its = || self.mailboxes.iter().filter(|mailbox| setup.is_for(mailbox));
            if its().any(|mailbox| !mailbox.polled && mailbox.failures == 0) {
                continue;
            }
            let folders = || its().filter(|mailbox| mailbox.polled).filter_map(|mailbox| mailbox.folder.as_ref());
            let known = source.listening.as_ref().map(|(folders, _)| folders.iter());
            if folders().next().is_none() || known.is_some_and(|known| known.eq(folders())) {
                continue;
            }
            let folders: Vec<FolderId> = folders().cloned().collect();
            let listening = setup.notifier.listen(folders.clone());
            let task = self.tasks.spawn(tasks::listen(listening, at, self.events.0.clone()));
            let source = &mut self.pushing.sources[at];
            source.hears = false;
            source.heard = folders.iter().cloned().collect();
            if let Some((_, old)) = source.listening.replace((folders, task)) {
                old.abort();
            }
        }
    }

    /// Whether all that happens in a mailbox is told just now, so that polls are only for what isn't told.
    pub(super) fn is_told_of(&self, mailbox: &Mailbox) -> bool {
        mailbox.folder.as_ref().is_some_and(|folder| self.pushing.tells_of(mailbox.account, folder))
    }

    /// Takes what one of the sources tells.
    pub(super) fn woken(&mut self, at: usize, wake: Wake) {
        let folder = match wake {
            Wake::Folder(folder) => Some(folder),
            Wake::All => None,
            Wake::Refused { folder, reason } => return self.tells_nothing_of(at, &folder, &reason),
            Wake::Lost => return self.tells_nothing_now(at),
            Wake::Unavailable { reason } => return self.tells_nothing(at, &reason),
        };
        let Some(source) = self.pushing.sources.get_mut(at) else { return };
        source.refusals = 0;
        source.hears = true;
        if source.told.replace(true) != Some(true) {
            info!("{}: the mail service tells of changes as they happen", source.setup.account_name);
        }
        if let Some(folder) = &folder
            && self.pushing.sources[at].heard.insert(folder.clone())
        {
            self.told.remove(&refusal_key(folder));
            debug!("The mail service tells of changes in a mailbox that it had told nothing of");
        }
        let setup = &self.pushing.sources[at].setup;
        let is_meant = |mailbox: &&Mailbox| {
            setup.is_for(mailbox) && folder.as_ref().is_none_or(|folder| mailbox.folder.as_ref() == Some(folder))
        };
        let meant: Vec<MailboxId> = self.mailboxes.iter().filter(is_meant).map(|mailbox| mailbox.id).collect();
        let new = folder.as_ref().filter(|_| setup.tree && meant.is_empty());
        if let Some(tree) = new.and_then(|folder| self.may_be_new(folder, Some(setup.account))) {
            self.look_at_folders_now(tree);
        }
        for id in meant {
            self.poll_soon(id);
        }
    }

    /// Polls as if there were no notifications, until there are again.
    fn tells_nothing_now(&mut self, at: usize) {
        let Some(source) = self.pushing.sources.get_mut(at) else { return };
        source.hears = false;
        let account = source.setup.account;
        self.poll_as_ever(|mailbox| mailbox.account == account);
    }

    /// Polls one mailbox so, whose changes aren't told, and says that once.
    fn tells_nothing_of(&mut self, at: usize, folder: &FolderId, reason: &str) {
        let Some(source) = self.pushing.sources.get_mut(at) else { return };
        source.heard.remove(folder);
        let account = source.setup.account;
        let is_it = |mailbox: &Mailbox| mailbox.account == account && mailbox.folder.as_ref() == Some(folder);
        let name = self.mailboxes.iter().find(|mailbox| is_it(mailbox)).map(|mailbox| mailbox.name.clone());
        let (account_name, name) = (&source.setup.account_name, name.unwrap_or_default());
        let what = format!("{account_name}: there are no notifications of changes in `{name}`: {reason}");
        if self.told.insert(refusal_key(folder)) {
            warn!("{what}; it is polled instead, and they are asked for again after a day, or at the next start");
        } else {
            debug!("{what}");
        }
        self.poll_as_ever(is_it);
    }

    /// Has mailboxes polled before long that might have waited for what is told.
    fn poll_as_ever(&mut self, which: impl Fn(&Mailbox) -> bool) {
        for at in 0..self.mailboxes.len() {
            let mailbox = &self.mailboxes[at];
            if which(mailbox) && mailbox.failures == 0 {
                let soon = Instant::now() + self.poll_pause(mailbox);
                let mailbox = &mut self.mailboxes[at];
                mailbox.next_poll = mailbox.next_poll.min(soon);
            }
        }
    }

    /// Leaves a source alone that tells nothing.
    fn tells_nothing(&mut self, at: usize, reason: &str) {
        self.tells_nothing_now(at);
        let now = self.now();
        let Some(source) = self.pushing.sources.get_mut(at) else { return };
        if let Some((_, task)) = source.listening.take() {
            task.abort();
        }
        let insists = source.setup.insists;
        let pause = if insists {
            FIRST_PAUSE.saturating_mul(1 << source.refusals.min(8)).min(LONGEST_PAUSE)
        } else {
            self.world.note(Change::SetMeta { key: source.key(), value: now.0.to_string() });
            Duration::from_secs(LEFT_ALONE.unsigned_abs())
        };
        source.refusals += 1;
        source.try_at = Some(Instant::now() + pause);
        let account = &source.setup.account_name;
        let what = format!("{account}: there are no notifications of changes: {reason}");
        match (source.told.replace(false), insists) {
            (Some(false), _) => debug!("{what}"),
            (_, true) => warn!("{what}; mail is polled for, and they are tried again from time to time"),
            (_, false) => info!("{what}; mail is polled for instead"),
        }
    }

    /// Polls a mailbox as soon as that makes sense, once more if it is being polled.
    pub(super) fn poll_soon(&mut self, id: MailboxId) {
        let Some(mailbox) = self.mailboxes.iter_mut().find(|mailbox| mailbox.id == id) else { return };
        let at = self.pushing.told.hear(id, mailbox.round.is_some(), Instant::now());
        // A pause after failures is the service's wish, or for its good, and the poll after it finds everything.
        if let Some(at) = at.filter(|_| mailbox.failures == 0) {
            mailbox.next_poll = mailbox.next_poll.min(at);
        }
    }

    /// Says when a mailbox is looked at again, after a round that found something or nothing.
    pub(super) fn after_round(&mut self, id: MailboxId, found: bool) {
        let now = Instant::now();
        let Some(mailbox) = self.mailbox(id) else { return };
        let in_time = now + self.poll_pause(mailbox);
        let again = self.pushing.told.after_round(id, found, now);
        if let Some(mailbox) = self.mailbox_mut(id) {
            mailbox.next_poll = again.map_or(in_time, |again| again.min(in_time));
        }
    }
}

/// What is kept of having said that nothing is told of a folder.
fn refusal_key(folder: &FolderId) -> String {
    format!("no notifications in {}", folder.0)
}

impl PushSetup {
    fn is_for(&self, mailbox: &Mailbox) -> bool {
        mailbox.account == self.account
            && if mailbox.tree.is_some() {
                self.tree && !mailbox.is_gone
            } else {
                self.mailboxes.contains(&mailbox.name)
            }
    }
}
