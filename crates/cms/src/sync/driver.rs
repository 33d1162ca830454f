//! The loop that owns the trees: events come in, the planner says what to do, local steps are done at once and cloud
//! steps are given to tasks. Nothing else changes the trees.

mod cloud_side;
mod open;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cms_cloud::contract::{CloudAccount, Cursor, DeleteAction, FolderId};
use cms_engine::{
    Absence, ContentHash, FileKey, Flags, MailboxId, MaildirId, Op, Plan, Policy, RemoteId, Side, UnixSeconds,
};
use cms_maildir::{MaildirError, WatchEvent, Watcher};
use cms_store::{Database, Lock, Store, StoreError};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::problem::with_causes;
use crate::progress::Progress;
use crate::stop::Stop;
use crate::sync::local::{LocalError, LocalSide};
use crate::sync::report::{HeldDeletions, Listener, Notice, Summary};
use crate::sync::routing::Routing;
use crate::sync::tasks::{self, Event};
use crate::sync::world::World;
use crate::sync::{Setup, Start, SyncError};

/// How long a file that went may take to turn up under another name: mutt writes the copy first, an indexer renames,
/// but two programs on one Maildir may need a moment.
const PAIRING_WINDOW: Duration = Duration::from_secs(2);

/// How long downloaded messages may wait for each other, so that one flush of the disk serves many.
const GATHER: Duration = Duration::from_millis(100);

/// Downloads under way: more than the service's four connections, so that none idles while a message is made durable.
const DOWNLOADS: usize = 8;

/// Local steps done between two looks at the events.
const LOCAL_STEPS: usize = 500;

/// Changes given to one call: four chains of twenty, the most that a service runs at a time.
const CLOUD_STEPS: usize = 80;

/// How long a file may be only here before the user is told: a mail program's move is a copy first.
const REPORT_AFTER: Duration = Duration::from_secs(10);

/// How often Maildirs are listed again without cause, in case the kernel lost an event.
const SAFETY_SCAN: Duration = Duration::from_secs(600);

/// How long after our own change an observation that contradicts it is doubted (delta answers may lag behind writes).
const DOUBT: Duration = Duration::from_secs(60);

/// One configured mailbox.
struct Mailbox {
    id: MailboxId,
    account: usize,
    name: String,
    position: Option<String>,
    delete_action: DeleteAction,
    folder: Option<FolderId>,
    total_items: u64,
    cursor: Option<Cursor>,
    /// Where deleted messages go.
    delete_target: DeleteTarget,
    round: Option<Round>,
    next_poll: Instant,
    failures: u32,
    /// Whether a round was completed since the start.
    polled: bool,
}

/// Where deleted messages of a mailbox go.
enum DeleteTarget {
    /// It wasn't asked for yet.
    Unknown,
    /// Nowhere: they are deleted for good.
    Nowhere,
    /// Into a folder.
    Folder(FolderId),
}

impl From<Option<FolderId>> for DeleteTarget {
    fn from(folder: Option<FolderId>) -> Self {
        folder.map_or(Self::Nowhere, Self::Folder)
    }
}

/// A round of polling under way.
#[derive(Default)]
struct Round {
    seen: HashSet<RemoteId>,
    removals: HashSet<RemoteId>,
    /// Set when the last page has come: the cursor to save once nothing is open any more.
    finished: Option<Cursor>,
    open_questions: usize,
    failed: bool,
    /// Whether the folder was looked up by name in this round.
    opened: bool,
}

/// The loop's state.
pub(crate) struct Driver {
    world: World,
    local: LocalSide,
    store: Arc<Store>,
    database: Database,
    state_dir: PathBuf,
    /// Held until the end, so that no second process works on the same state.
    _lock: Lock,
    accounts: Vec<Arc<dyn CloudAccount>>,
    mailboxes: Vec<Mailbox>,
    routing: Routing,
    host: String,
    start: Start,
    max_deletions: Option<u32>,
    poll_interval: Duration,
    on_change: Option<String>,
    watching: bool,

    events: (Sender<Event>, Receiver<Event>),
    tasks: JoinSet<()>,
    watch_task: Option<AbortHandle>,
    downloads: VecDeque<RemoteId>,
    /// Queued and running downloads.
    downloading: HashSet<RemoteId>,
    downloads_running: usize,
    changing: usize,
    asking: usize,
    /// Those of the questions under way that no round waits for by itself.
    loose_questions: usize,
    writing: HashSet<RemoteId>,
    ask_after: HashSet<RemoteId>,
    own_writes: HashMap<RemoteId, Instant>,
    /// Messages of which the last change was answered by "gone".
    said_gone: HashSet<RemoteId>,
    /// How often a change of flags was said to be made and wasn't.
    unmade: HashMap<RemoteId, u32>,
    /// Messages whose change is to be tried again, and when.
    postponed: Vec<(Instant, RemoteId)>,
    /// Versions of messages whose download is to be settled once the database knows of it.
    to_settle: Vec<RemoteId>,
    /// Whether downloads came since the disk was last flushed.
    unflushed: bool,
    touched_maildirs: HashSet<MaildirId>,

    plan_at: Option<Instant>,
    vanish_settles_at: Option<Instant>,
    paused_until: Option<Instant>,
    downloads_paused_until: Option<Instant>,
    reopen_at: Option<Instant>,
    scan_at: Instant,
    hook_at: Option<Instant>,

    told: HashSet<String>,
    /// Files that only a Maildir has, of which the user wasn't told yet, and since when they were seen.
    unreported: HashMap<FileKey, Instant>,
    looked_again: u32,
    was_settled: bool,
    fatal: Option<SyncError>,
    summary: Summary,
    /// Messages and bytes downloaded since nothing was waiting.
    burst: (u64, u64),
    progress: Progress,
    listener: Option<Arc<Listener>>,
}

impl Driver {
    /// Opens the state and the Maildirs. Nothing is asked of any cloud yet.
    pub(crate) fn open(setup: Setup) -> Result<Self, SyncError> {
        open::open(setup)
    }

    /// Keeps both sides the same until `stop`, or until nothing is left to do if `once`.
    pub(crate) async fn run(&mut self, once: bool, stop: &Stop) -> Result<Summary, SyncError> {
        self.watching = !once;
        if self.watching {
            self.watch()?;
        }
        self.look_at_maildirs()?;
        self.apply_start_policy();
        self.world.touch_everything();
        loop {
            self.poll_due();
            self.start_downloads();
            let wake_at = self.next_deadline();
            tokio::select! {
                biased;
                () = stop.requested() => return self.finish_up().await,
                Some(event) = self.events.1.recv() => self.handle(event),
                () = sleep_until(wake_at) => {}
            }
            while let Ok(event) = self.events.1.try_recv() {
                self.handle(event);
            }
            while self.tasks.try_join_next().is_some() {}
            self.look_at_the_clock();
            if self.plan_at.is_some_and(|at| at <= Instant::now())
                || (self.world.is_touched() && self.nothing_under_way())
            {
                // A file in a Maildir is whole, whatever happens to the power.
                self.flush_downloads()?;
                self.plan_and_act();
            }
            if !self.is_gathering() {
                self.write_down()?;
            }
            self.show_progress();
            let settled = self.is_settled();
            if once && (self.fatal.is_some() || settled) {
                return self.finish_up().await;
            }
            if settled && !std::mem::replace(&mut self.was_settled, true) {
                info!("Both sides are the same; watching ({})", self.summary);
                self.tell(&Notice::Settled);
            }
            if let Some(SyncError::Configuration { .. }) = self.fatal {
                return self.finish_up().await;
            }
        }
    }

    /// What would be done, without doing it: one round of observation, then the plan's words.
    pub(crate) async fn dry_run(&mut self, stop: &Stop) -> Result<Vec<String>, SyncError> {
        self.look_at_maildirs()?;
        self.apply_start_policy();
        self.world.touch_everything();
        while !self.mailboxes.iter().all(|mailbox| mailbox.polled) && self.fatal.is_none() {
            self.poll_due();
            let wake_at = self.next_deadline();
            tokio::select! {
                () = stop.requested() => break,
                Some(event) = self.events.1.recv() => self.handle(event),
                () = sleep_until(wake_at) => {}
            }
        }
        self.tasks.shutdown().await;
        // What the cloud told is an observation, and is kept: to ask again from the same place works only a few times.
        self.write_down()?;
        if let Some(error) = self.fatal.take() {
            return Err(error);
        }
        self.world.touch_everything();
        let plan = self.plan();
        let mut lines: Vec<String> = plan
            .ops
            .iter()
            .filter(|op| !matches!(op, Op::Record { .. } | Op::Forget { .. }))
            .map(ToString::to_string)
            .collect();
        self.note_held(&plan);
        lines.extend(self.summary.held.iter().map(|held| format!("held: {held}")));
        Ok(lines)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Opened { mailbox, folder } => self.opened(mailbox, folder),
            Event::DeleteTarget { mailbox, target } => {
                if let Some(mailbox) = self.mailbox_mut(mailbox) {
                    mailbox.delete_target = target.into();
                }
            }
            Event::Page { mailbox, page, first } => self.page(mailbox, page, first),
            Event::CursorLost { mailbox } => self.cursor_lost(mailbox),
            Event::RoundFailed { mailbox, error } => self.round_failed(mailbox, error),
            Event::LookedUp { round, answers } => self.looked_up(round, answers),
            Event::Fetched { id, version, result } => self.fetched(&id, &version, result),
            Event::Applied { results } => self.applied(results),
            Event::Watched(Ok(batch)) => self.hear(batch),
            Event::Watched(Err(error)) => {
                warn!(%error, "Watching the Maildirs failed; starting to watch anew");
                self.reopen_at = Some(Instant::now());
            }
        }
        if self.world.is_touched() && self.plan_at.is_none() {
            self.plan_at = Some(Instant::now());
        }
    }

    fn hear(&mut self, batch: Vec<WatchEvent>) {
        let serious = self.local.hear(&mut self.world, batch);
        if LocalSide::is_settling(&self.world) {
            self.vanish_settles_at = Some(Instant::now() + PAIRING_WINDOW);
        }
        for event in serious {
            match event {
                WatchEvent::DirectoryGone { maildir } => {
                    let path = self.local.path(maildir).map(|path| path.display().to_string()).unwrap_or_default();
                    warn!(
                        "`{path}` is gone; nothing is deleted in the cloud because of that, and it is used again when it comes back"
                    );
                    self.local.close(&mut self.world, maildir);
                    self.reopen_at = Some(Instant::now() + Duration::from_secs(2));
                }
                WatchEvent::DirectoryBack { .. } => self.reopen_at = Some(Instant::now()),
                _ => {
                    info!("The kernel dropped file events; listing the Maildirs again");
                    self.rescan(Some(Absence::Settling));
                }
            }
        }
    }

    /// Lists all readable Maildirs again.
    fn rescan(&mut self, missing: Option<Absence>) {
        for id in self.local.ids() {
            if let Err(error) = self.local.scan(&mut self.world, id, missing) {
                warn!(%error, "Couldn't list a Maildir");
                self.local.close(&mut self.world, id);
                self.reopen_at = Some(Instant::now() + Duration::from_secs(5));
            }
        }
        if LocalSide::is_settling(&self.world) {
            self.vanish_settles_at = Some(Instant::now() + PAIRING_WINDOW);
        }
        self.scan_at = Instant::now() + SAFETY_SCAN;
    }

    fn watch(&mut self) -> Result<(), SyncError> {
        let mut watcher = Watcher::new().map_err(SyncError::Maildir)?;
        for id in self.local.ids() {
            if let Some(maildir) = self.local.maildir(id) {
                watcher.add(id, maildir).map_err(SyncError::Maildir)?;
            }
        }
        let task = self.tasks.spawn(tasks::watch(watcher, self.events.0.clone()));
        if let Some(before) = self.watch_task.replace(task) {
            before.abort();
        }
        Ok(())
    }

    /// Lists every Maildir; the first time this is the observation that everything else rests on.
    fn look_at_maildirs(&mut self) -> Result<(), SyncError> {
        for id in self.local.ids() {
            if self.local.maildir(id).is_some() {
                self.local.scan(&mut self.world, id, None).map_err(SyncError::Local)?;
            }
        }
        self.scan_at = Instant::now() + SAFETY_SCAN;
        Ok(())
    }

    fn apply_start_policy(&mut self) {
        if self.start != Start::Online {
            return;
        }
        let mut strangers: HashMap<ContentHash, Vec<FileKey>> = HashMap::new();
        for key in self.world.strangers() {
            if let Some(hash) = self.world.local.files.get(key).and_then(|file| file.hash) {
                strangers.entry(hash).or_default().push(key.clone());
            }
        }
        let strangers = std::cell::RefCell::new(strangers);
        let World { cloud, synced, local, .. } = &mut self.world;
        synced.discard_local_changes(local, |row| {
            // A message that isn't in the cloud any more has no place to bring the file back to.
            cloud.messages.get(&row.remote)?;
            strangers.borrow_mut().get_mut(&row.hash)?.pop()
        });
    }

    fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        if self.vanish_settles_at.is_some_and(|at| at <= now) {
            // A file may have been moved to a Maildir that can't be read just now.
            let all_readable = self.local.ids().iter().all(|id| self.world.local.readable.contains(id));
            self.vanish_settles_at = (!all_readable).then_some(now + PAIRING_WINDOW);
            if all_readable {
                for id in self.local.ids() {
                    self.world.settle_vanished(id);
                }
                self.plan_at = Some(now);
            }
        }
        if self.reopen_at.is_some_and(|at| at <= now) {
            self.reopen_at = None;
            self.reopen();
        }
        let due: Vec<RemoteId> = self.postponed.iter().filter(|(at, _)| *at <= now).map(|(_, id)| id.clone()).collect();
        if !due.is_empty() {
            self.postponed.retain(|(at, _)| *at > now);
            for id in due {
                self.world.end(&id);
            }
            self.plan_at = Some(now);
        }
        if self.paused_until.is_some_and(|at| at <= now) {
            self.paused_until = None;
            self.world.touch_everything();
            self.plan_at = Some(now);
        }
        if self.downloads_paused_until.is_some_and(|at| at <= now) {
            self.downloads_paused_until = None;
        }
        if self.watching && self.scan_at <= now {
            self.rescan(None);
        }
        self.world.unblock_due(unix_now());
        self.own_writes.retain(|_, at| now.duration_since(*at) < DOUBT);
        self.report_local_only(REPORT_AFTER);
        self.run_hook(now);
        if self.world.is_touched() && self.plan_at.is_none() {
            self.plan_at = Some(now);
        }
    }

    /// Tries to open Maildirs that were gone, and watches anew.
    fn reopen(&mut self) {
        for id in self.local.ids() {
            if self.local.maildir(id).is_none() {
                match self.local.open(&self.world, id) {
                    Ok(()) => {}
                    Err(MaildirError::NotAMaildir { .. }) => {
                        self.reopen_at = Some(Instant::now() + Duration::from_secs(5));
                    }
                    Err(error) => {
                        self.tell_once(&format!("{error}"));
                        self.reopen_at = Some(Instant::now() + Duration::from_secs(30));
                    }
                }
            }
        }
        if self.watching
            && let Err(error) = self.watch()
        {
            warn!(%error, "Couldn't watch the Maildirs");
            self.reopen_at = Some(Instant::now() + Duration::from_secs(30));
        }
        self.rescan(None);
        self.world.touch_everything();
    }

    fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        let polls = self.mailboxes.iter().filter(|mailbox| mailbox.round.is_none()).map(|mailbox| mailbox.next_poll);
        let retry = self.world.next_retry(unix_now()).map(|wait| now + wait);
        let rest = [
            self.plan_at,
            self.vanish_settles_at,
            self.paused_until,
            self.downloads_paused_until,
            self.reopen_at,
            self.hook_at,
            self.watching.then_some(self.scan_at),
            retry,
        ];
        let postponed = self.postponed.iter().map(|(at, _)| *at);
        let reports = self.unreported.values().map(|since| *since + REPORT_AFTER);
        polls.chain(rest.into_iter().flatten()).chain(postponed).chain(reports).min().unwrap_or(now + SAFETY_SCAN)
    }

    fn plan(&mut self) -> Plan {
        let mailboxes: Vec<MailboxId> = self.mailboxes.iter().map(|mailbox| mailbox.id).collect();
        let capabilities = self.accounts.first().map(|account| account.capabilities());
        let all = &self.mailboxes;
        let deleted_mailbox = |mailbox: MailboxId| {
            let mailbox = all.iter().find(|known| known.id == mailbox)?;
            let DeleteTarget::Folder(target) = &mailbox.delete_target else { return None };
            all.iter()
                .find(|other| other.account == mailbox.account && other.folder.as_ref() == Some(target))
                .map(|other| other.id)
        };
        let same_account = |one: MailboxId, other: MailboxId| {
            let account = |id| all.iter().find(|known| known.id == id).map(|mailbox| mailbox.account);
            account(one) == account(other)
        };
        let policy = Policy {
            mailboxes: &mailboxes,
            same_account: &same_account,
            readable_flags: capabilities.map_or(Flags::NONE, |can| can.readable_flags),
            settable_flags: capabilities.map_or(Flags::NONE, |can| can.settable_flags),
            exclusive_flags: capabilities.map_or(Flags::NONE, |can| can.exclusive_flags),
            deleted_mailbox: &deleted_mailbox,
            first_meeting: if self.start == Start::Offline { Side::Local } else { Side::Cloud },
            max_deletions: self.max_deletions,
            router: &self.routing,
            host: &self.host,
        };
        self.world.plan(&policy)
    }

    fn plan_and_act(&mut self) {
        self.plan_at = None;
        if self.paused_until.is_some() {
            return;
        }
        let plan = self.plan();
        self.note_held(&plan);
        self.note_local_only(&plan);
        let mut steps = 0;
        let mut cloud_steps = Vec::new();
        for op in plan.ops {
            match op {
                Op::Fetch { id } if self.recognize(&id) => {}
                Op::Fetch { id } => {
                    self.world.begin(&id);
                    self.downloading.insert(id.clone());
                    self.downloads.push_back(id);
                }
                // What a mailbox has to tell since the last run is heard before it is changed: a draft that was edited
                // there meanwhile must not fall to a deletion here.
                Op::SetCloudFlags { .. } | Op::MoveInCloud { .. } | Op::DeleteInCloud { .. } => {
                    if self.is_heard(&op) {
                        cloud_steps.push(op);
                    } else {
                        self.world.keep_in_scope(&op);
                    }
                }
                op if steps < LOCAL_STEPS => {
                    steps += usize::from(!matches!(op, Op::Record { .. } | Op::Forget { .. }));
                    if !self.act_here(&op) {
                        break;
                    }
                }
                op => self.world.touch_op(&op),
            }
        }
        self.act_there(cloud_steps);
        if self.world.is_touched() && self.paused_until.is_none() {
            self.plan_at = Some(Instant::now());
        }
    }

    /// Takes what an earlier delivery left in a Maildir for a message's content, where the state that told of it was
    /// lost. Not only is that quicker: Exchange may build other bytes by now, and the message would be there twice.
    fn recognize(&mut self, id: &RemoteId) -> bool {
        let Some(hash) = self.local.left_by_delivery(&self.world, &self.store, id, &self.host) else { return false };
        self.world.fetched(id, hash);
        true
    }

    /// Whether the mailbox that a message is in has been polled since the start.
    fn is_heard(&self, op: &Op) -> bool {
        let message = op.id(&self.world.synced).and_then(|id| self.world.cloud.messages.get(id));
        message.and_then(|message| self.mailbox(message.mailbox)).is_some_and(|mailbox| mailbox.polled)
    }

    /// Does one local step. Returns whether the next one makes sense now.
    fn act_here(&mut self, op: &Op) -> bool {
        match self.local.perform(&mut self.world, &self.store, op, unix_now()) {
            Ok(()) => {
                debug!(%op, "Done");
                self.looked_again = 0;
                if let Op::Deliver { base, .. } | Op::Replace { base, .. } | Op::Rename { base, .. } = op {
                    self.touched_maildirs.insert(base.file.maildir);
                }
                // What left a place must not be there again after a power failure, as a message of its own.
                if let Op::Replace { old: left, .. } | Op::Rename { from: left, .. } | Op::Remove { file: left, .. } =
                    op
                {
                    self.touched_maildirs.insert(left.maildir);
                }
                if let Some(notice) = self.summary.count_local(op) {
                    self.hook_at.get_or_insert(Instant::now() + Duration::from_secs(1));
                    self.tell(&notice);
                }
                true
            }
            Err(LocalError::LookAgain(id)) => {
                debug!(%op, "The Maildir has changed meanwhile; looking again");
                let missing = self.watching.then_some(Absence::Settling);
                if let Err(error) = self.local.scan(&mut self.world, id, missing) {
                    warn!(%error, "Couldn't list a Maildir");
                    self.local.close(&mut self.world, id);
                    self.reopen_at = Some(Instant::now() + Duration::from_secs(5));
                }
                if LocalSide::is_settling(&self.world) {
                    self.vanish_settles_at = Some(Instant::now() + PAIRING_WINDOW);
                }
                self.world.touch_op(op);
                self.looked_again += 1;
                if self.looked_again > 50 {
                    // Something renames faster than we look, or a name can't be had: no reason to spin.
                    self.looked_again = 0;
                    self.paused_until = Some(Instant::now() + Duration::from_secs(2));
                    return false;
                }
                true
            }
            Err(LocalError::ContentMissing) => {
                if let Some(id) = op.id(&self.world.synced).cloned() {
                    self.world.forget_content(&id);
                }
                true
            }
            Err(error) => {
                let full = error.is_disk_full();
                let pause = Duration::from_secs(if full { 10 } else { 30 });
                if full {
                    self.tell_once("the disk is full: waiting until there is room again; nothing is lost");
                } else {
                    self.tell_once(&format!("couldn't {op}: {}", with_causes(&error)));
                }
                self.fail(SyncError::Local(error));
                self.paused_until = Some(Instant::now() + pause);
                self.world.touch_op(op);
                false
            }
        }
    }

    fn note_held(&mut self, plan: &Plan) {
        let held: Vec<HeldDeletions> = plan
            .held
            .iter()
            .map(|held| HeldDeletions {
                count: held.ops.len(),
                of: held.of,
                mailbox: self.mailbox_name(held.mailbox),
                from_maildir: held.on == Side::Local,
            })
            .collect();
        for ops in plan.held.iter().map(|held| &held.ops) {
            for op in ops {
                self.world.keep_in_scope(op);
            }
        }
        for deletions in &held {
            self.tell_once(&format!("held: {deletions}"));
        }
        self.summary.held = held;
    }

    /// Says once of each file that only a Maildir has that it stays there.
    fn note_local_only(&mut self, plan: &Plan) {
        for row in &plan.edited {
            if let Some(row) = self.world.synced.get(*row) {
                let file = row.file.base_name.clone();
                self.tell_once(&format!(
                    "`{file}` was edited here; the cloud can't take that, so the edit stays in the Maildir"
                ));
            }
        }
        let now = Instant::now();
        for key in plan.local_only.iter().filter(|key| !self.world.is_reported(key)) {
            self.unreported.entry(key.clone()).or_insert(now);
        }
        self.summary.local_only = self.world.strangers().count() as u64;
    }

    /// Tells of files that are only here, once they aren't likely to be one half of a move any more.
    fn report_local_only(&mut self, at_least: Duration) {
        let now = Instant::now();
        let due: Vec<FileKey> = self
            .unreported
            .iter()
            .filter(|(_, since)| now.duration_since(**since) >= at_least)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.unreported.remove(&key);
            if self.world.is_stranger(&key) {
                let path = self.local.path(key.maildir).map(|path| path.display().to_string()).unwrap_or_default();
                warn!(
                    "`{}` in `{path}` is only here: the cloud can't take it, and it stays where it is",
                    key.base_name
                );
                self.world.report(&key);
            }
        }
    }

    fn tell(&self, notice: &Notice) {
        if let Some(listener) = &self.listener {
            listener(notice);
        }
    }

    /// Warns, but not of the same thing again and again.
    fn tell_once(&mut self, what: &str) {
        if self.told.insert(what.to_owned()) {
            warn!("{what}");
        }
    }

    /// Whether downloads wait for more of their kind. Whatever else is to be written can wait as long.
    fn is_gathering(&self) -> bool {
        self.unflushed && self.plan_at.is_some_and(|at| at > Instant::now())
    }

    /// Makes durable what was downloaded.
    fn flush_downloads(&mut self) -> Result<(), SyncError> {
        if self.unflushed {
            if let Err(error) = self.store.flush() {
                return self.could_not_write(SyncError::Store(error));
            }
            self.unflushed = false;
        }
        Ok(())
    }

    /// Writes the trees' changes to the database, after what they tell of is on the disk.
    fn write_down(&mut self) -> Result<(), SyncError> {
        if !self.world.has_changes() {
            return Ok(());
        }
        let touched = std::mem::take(&mut self.touched_maildirs);
        if let Err(error) = self.local.sync_directories(touched.iter().copied()) {
            self.touched_maildirs.extend(touched);
            return self.could_not_write(SyncError::Maildir(error));
        }
        self.flush_downloads()?;
        if self.unflushed {
            return Ok(());
        }
        let changes = self.world.take_changes();
        if let Err(error) = self.database.apply(&changes) {
            self.world.put_back(changes);
            return self.could_not_write(SyncError::Store(error));
        }
        for id in self.to_settle.drain(..) {
            if let Err(error) = self.store.settle(&id) {
                debug!(%error, "Couldn't tidy up after a download");
            }
        }
        Ok(())
    }

    /// A full disk is waited for; anything else that keeps the state from being written ends the run.
    fn could_not_write(&mut self, error: SyncError) -> Result<(), SyncError> {
        if let SyncError::Store(StoreError::Damaged { .. }) = error {
            // The next start may not come across it before its own first change.
            open::set_aside(&self.state_dir)?;
        }
        if !error.is_disk_full() {
            return Err(error);
        }
        self.tell_once("the disk is full: waiting until there is room again; nothing is lost");
        self.fail(error);
        self.paused_until = Some(Instant::now() + Duration::from_secs(10));
        Ok(())
    }

    /// A single run ends with its first failure; the daemon has told it and goes on.
    fn fail(&mut self, error: SyncError) {
        if !self.watching {
            self.fatal.get_or_insert(error);
        }
    }

    /// Runs `cfg.on_change` once after a burst of changes in the Maildirs.
    fn run_hook(&mut self, now: Instant) {
        if self.hook_at.is_none_or(|at| at > now) {
            return;
        }
        self.hook_at = None;
        let Some(command) = self.on_change.clone() else { return };
        self.tasks.spawn(async move {
            let status = tokio::process::Command::new("sh")
                .arg("-c")
                .arg(&command)
                .stdin(std::process::Stdio::null())
                .kill_on_drop(true)
                .status()
                .await;
            match status {
                Ok(status) if status.success() => {}
                Ok(status) => warn!("cfg.on_change `{command}` ended with {status}"),
                Err(error) => warn!("cfg.on_change `{command}` couldn't be started: {error}"),
            }
        });
    }

    fn show_progress(&mut self) {
        let listing = self.mailboxes.iter().filter_map(|mailbox| Some((mailbox, mailbox.round.as_ref()?)));
        for (mailbox, round) in listing {
            if mailbox.cursor.is_none() {
                let total = (mailbox.total_items > 0).then_some(mailbox.total_items);
                self.progress.listing(&mailbox.name, round.seen.len() as u64, total);
            }
        }
        let waiting = self.downloading.len() as u64;
        if waiting > 0 {
            let (done, bytes) = self.burst;
            self.progress.downloading(done, done + waiting, bytes);
        } else if std::mem::take(&mut self.burst).0 > 0 {
            self.progress.clear();
        }
    }

    fn nothing_under_way(&self) -> bool {
        self.downloading.is_empty() && self.changing == 0
    }

    /// Whether there is nothing left to do or to wait for.
    fn is_settled(&self) -> bool {
        self.mailboxes.iter().all(|mailbox| mailbox.polled && mailbox.round.is_none())
            && self.nothing_under_way()
            && self.asking == 0
            && self.postponed.is_empty()
            && self.vanish_settles_at.is_none()
            && !self.world.is_touched()
            && self.plan_at.is_none()
    }

    /// Ends the run: changes that are on their way get a moment to be confirmed, downloads are dropped.
    async fn finish_up(&mut self) -> Result<Summary, SyncError> {
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.changing > 0 {
            tokio::select! {
                Some(event) = self.events.1.recv() => if matches!(event, Event::Applied { .. } | Event::Fetched { .. }) { self.handle(event) },
                () = sleep_until(deadline) => break,
            }
        }
        self.tasks.shutdown().await;
        if !self.watching {
            self.report_local_only(Duration::ZERO);
        }
        let written = self.write_down();
        self.summary.troubles = self.world.trouble_lines();
        if let Some(error) = self.fatal.take() {
            return Err(error);
        }
        written?;
        Ok(std::mem::take(&mut self.summary))
    }

    fn mailbox_mut(&mut self, id: MailboxId) -> Option<&mut Mailbox> {
        self.mailboxes.iter_mut().find(|mailbox| mailbox.id == id)
    }

    fn mailbox(&self, id: MailboxId) -> Option<&Mailbox> {
        self.mailboxes.iter().find(|mailbox| mailbox.id == id)
    }

    /// What is wrong with a mailbox of the configuration, with the place where that says so.
    fn wrong(&self, id: MailboxId, what: &str, hint: String) -> SyncError {
        let position = self.mailbox(id).and_then(|mailbox| mailbox.position.as_ref());
        let what = position.map_or_else(|| what.to_owned(), |position| format!("{position}: {what}"));
        SyncError::Configuration { what, hint }
    }

    fn mailbox_name(&self, id: MailboxId) -> String {
        self.mailbox(id).map(|mailbox| mailbox.name.clone()).unwrap_or_default()
    }
}

/// The time of day, for what is written down.
pub(crate) fn unix_now() -> UnixSeconds {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    UnixSeconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}
