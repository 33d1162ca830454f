//! The loop that owns the trees: events come in, the planner says what to do, local steps are done at once and cloud
//! steps are given to tasks. Nothing else changes the trees.

mod asked;
mod changes;
mod clock;
mod downloads;
mod errands;
mod gone_by_id;
mod hearing;
mod holding;
mod keeping;
mod local_side;
mod mailbox;
mod open;
mod planning;
mod poll_times;
mod pushing;
mod rounds;
mod showing;
mod taking_back;
pub(super) mod trees;
mod unanswered;
mod unfinished;
mod unlisted;
pub(crate) mod uploading;
mod verifying;
mod writing;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cms_cloud::contract::CloudAccount;
use cms_engine::{ContentHash, FileKey, HashMap, HashSet, MaildirId, Op, RemoteId, UnixSeconds};
use cms_store::{Database, Heard, Lock, Store};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::control::{Door, Listening};
use crate::logging::utc;
use crate::page::Board;
use crate::progress::Progress;
use crate::stop::Stop;
use crate::sync::age::Age;
use crate::sync::alarms;
use crate::sync::driver::changes::Setbacks;
use crate::sync::driver::clock::{Overdue, SAFETY_SCAN};
use crate::sync::driver::downloads::Burst;
use crate::sync::driver::errands::{Underway, Waiting};
use crate::sync::driver::gone_by_id::GoneById;
use crate::sync::driver::holding::Holding;
use crate::sync::driver::mailbox::{DeleteTarget, Mailbox, Round};
use crate::sync::driver::planning::Filing;
use crate::sync::driver::pushing::Pushing;
use crate::sync::driver::trees::Trees;
use crate::sync::driver::unanswered::AllUnanswered;
use crate::sync::driver::unfinished::AllUnfinished;
use crate::sync::flips::Flips;
use crate::sync::journal::Reason;
use crate::sync::local::LocalSide;
use crate::sync::queue::Queue;
use crate::sync::report::{Listener, Notice, Summary};
use crate::sync::routing::Routing;
use crate::sync::tasks::Event;
use crate::sync::uploads::Uploading;
use crate::sync::world::World;
use crate::sync::{Setup, Start, Surroundings, SyncError};

/// How long a file that went may take to turn up under another name: mutt writes the copy first, an indexer renames,
/// but two programs on one Maildir may need a moment.
const PAIRING_WINDOW: Duration = Duration::from_secs(2);

/// How long downloaded messages may wait for each other, so that one flush of the disk serves many.
const GATHER: Duration = Duration::from_millis(100);

/// The same while a whole mailbox comes: each flush writes directories, inodes and the database's pages again, of which
/// messages that come together share most.
const GATHER_MANY: Duration = Duration::from_millis(500);

/// From so many downloads on they take so long that nobody sees how long the first ones gather.
const MANY_DOWNLOADS: usize = 1000;

/// Downloads under way: more than the service's four connections, so that none idles while a message is made durable.
const DOWNLOADS: usize = 8;

/// Local steps done between two looks at the events.
const LOCAL_STEPS: usize = 500;

/// Changes given to one call: four chains of twenty, the most that a service runs at a time.
const CLOUD_STEPS: usize = 80;

/// How long a file may be only here before the user is told: a mail program's move is a copy first.
const REPORT_AFTER: Duration = Duration::from_secs(10);

/// How long until a file that couldn't be read is tried again.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// The same for a single run, which nobody wants to wait for.
const READ_AGAIN_AT_ONCE: Duration = Duration::from_millis(100);

/// The loop's state.
// Each of these is a fact of its own; none of their combinations is a state that deserves a name.
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct Driver {
    world: World,
    local: LocalSide,
    store: Arc<Store>,
    database: Database,
    state_dir: PathBuf,
    /// Where commands ask. It goes before the lock does, for after that it may be another process'.
    listening: Option<Listening>,
    /// Held until the end, so that no second process works on the same state.
    lock: Option<Lock>,
    accounts: Vec<Arc<dyn CloudAccount>>,
    mailboxes: Vec<Mailbox>,
    routing: Routing,
    surroundings: Surroundings,
    host: String,
    start: Start,
    max_deletions: Option<u32>,
    keep_deleted_days: u32,
    poll_interval: Duration,
    quick_poll_interval: Duration,
    /// When anything last happened.
    active_at: Instant,
    on_change: Option<String>,
    watching: bool,

    events: (Sender<Event>, Receiver<Event>),
    tasks: JoinSet<()>,
    watch_task: Option<AbortHandle>,
    downloads: Queue,
    /// Queued and running downloads.
    downloading: HashSet<RemoteId>,
    downloads_running: usize,
    changing: usize,
    asking: usize,
    /// Those of the questions under way that no round waits for by itself.
    loose_questions: usize,
    writing: HashSet<RemoteId>,
    /// Why the changes under way are made.
    reasons: HashMap<RemoteId, Reason>,
    ask_after: HashSet<RemoteId>,
    own_writes: HashMap<RemoteId, Instant>,
    unanswered: AllUnanswered,
    unfinished: AllUnfinished,
    setbacks: Setbacks,
    gone_by_id: GoneById,
    filing: Filing,
    /// The drafts that were asked for before their files were brought back.
    drafts_asked_for: HashSet<RemoteId>,
    /// Messages whose change is to be tried again, and when.
    postponed: Vec<(Instant, RemoteId)>,
    uploads: Uploading,
    /// Files that will be uploaded, and not yet.
    unripe: HashSet<FileKey>,
    /// Files whose upload is under way.
    uploading: HashMap<FileKey, ContentHash>,
    /// Files whose content the store has because they may be uploaded.
    kept: uploading::Kept,
    paused_roles_until: Option<Instant>,
    /// Versions of messages whose download is to be settled once the database knows of it.
    to_settle: Vec<RemoteId>,
    /// Whether downloads came since the disk was last flushed.
    unflushed: bool,
    touched_maildirs: HashSet<MaildirId>,

    plan_at: Option<Instant>,
    vanish_settles_at: Option<Instant>,
    /// When files that couldn't be read are tried again.
    read_again_at: Option<Instant>,
    paused_until: Option<Instant>,
    downloads_paused_until: Option<Instant>,
    reopen_at: Option<Instant>,
    routing_retry_at: Option<Instant>,
    scan_at: Instant,
    /// Maildirs of whose changes the kernel tells nothing, or not all.
    unheard: HashSet<MaildirId>,
    /// When those are listed again.
    unheard_scan_at: Option<Instant>,
    tidy_at: Instant,
    age: Age,
    hook_at: Option<Instant>,

    flips: Flips,
    told: HashSet<String>,
    holding: Holding,
    /// What of it was about the disk, since that was last well.
    told_of_disk: Vec<String>,
    /// Files that only a Maildir has, of which the user wasn't told yet, and since when they were seen.
    unreported: HashMap<FileKey, Instant>,
    looked_again: u32,
    /// Whether a listing was made since which deletions weren't checked by another one.
    needs_second_look: bool,
    /// Whether the Maildirs were listed only once in this run, so that a file may have been missed which no row tells of.
    listed_once: bool,
    was_settled: bool,
    /// Whether both sides weren't the same yet since the start.
    first_time: bool,
    fatal: Option<SyncError>,
    /// What commands ask for, in their order, and the one under way.
    errands: VecDeque<Waiting>,
    errand: Option<Underway>,
    /// Whether everything is compared before anything is changed.
    compare_first: bool,
    summary: Summary,
    /// Messages and bytes downloaded since nothing was waiting.
    burst: Burst,
    progress: Progress,
    listener: Option<Arc<Listener>>,
    board: Option<Board>,
    door: Option<Door>,
    pushing: Pushing,
    /// What the state is opened with when the folders have changed.
    setup: Setup,
    trees: Trees,
    /// When the page was last told.
    shown_at: Option<Instant>,
}

impl Driver {
    /// Opens the state and the Maildirs. Nothing is asked of any cloud yet.
    pub(crate) fn open(setup: Setup) -> Result<Self, SyncError> {
        open::open(setup)
    }

    /// Keeps both sides the same until `stop`, or until nothing is left to do if `once`.
    pub(crate) async fn run(&mut self, once: bool, stop: &Stop) -> Result<Summary, SyncError> {
        loop {
            if let Some(summary) = self.run_with_these_folders(once, stop).await? {
                return Ok(summary);
            }
            self.renew().await?;
        }
    }

    /// The same, until it turns out that the folders of a tree are others; then nothing comes back.
    async fn run_with_these_folders(&mut self, once: bool, stop: &Stop) -> Result<Option<Summary>, SyncError> {
        self.watching = !once;
        self.must_have_maildirs(true)?;
        if self.watching {
            self.watch()?;
            if self.surroundings.alarms {
                self.tasks.spawn(alarms::listen(self.events.0.clone(), self.board.clone()));
            }
        }
        self.follow_directories();
        // The cloud answers while the Maildirs are listed.
        self.poll_due();
        // Said first, so that not each single file has to be noted.
        self.world.touch_everything();
        self.look_at_maildirs()?;
        self.apply_start_policy();
        self.bring_back_the_rest();
        self.note_what_was_left();
        self.show_on_page(false);
        let mut overdue = Overdue::default();
        loop {
            self.world.pack();
            self.world.forget_unpacked();
            self.look_after_pushing();
            self.look_at_folders();
            self.poll_due();
            self.start_downloads();
            let wake_at = self.next_deadline();
            overdue.note(wake_at);
            tokio::select! {
                biased;
                () = stop.requested() => return self.finish_up().await.map(Some),
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
                let came = self.unflushed;
                self.flush_downloads()?;
                if came {
                    // What a file is that a killed run put in place is known only by what was written down before.
                    self.write_down()?;
                }
                self.plan_and_act()?;
            }
            if !self.is_gathering() {
                self.write_down()?;
            }
            if self.must_renew() && self.can_renew().await? {
                return Ok(None);
            }
            self.show_progress();
            let settled = self.is_settled();
            if settled {
                self.settle_held();
                self.look_for_empty_folders();
            }
            let settled = settled && self.is_settled();
            let settled = self.look_after_errands(settled) && self.is_settled();
            self.show_on_page(settled);
            if once && (self.fatal.is_some() || settled) {
                return self.finish_up().await.map(Some);
            }
            if settled && !self.world.troubles.values().any(|trouble| trouble.is_ours) {
                self.disk_is_well();
            }
            if settled && !std::mem::replace(&mut self.was_settled, true) {
                self.summary.troubles = self.world.trouble_lines();
                self.summary.missing_here = self.world.missing_here() as u64;
                let but = if self.summary.is_same() { "" } else { " but for what is told here" };
                info!("Both sides are the same{but}; watching ({})", self.summary);
                self.tell(&Notice::Settled);
                if std::mem::take(&mut self.first_time) {
                    self.compare_if_due();
                }
            }
            if let Some(SyncError::Configuration { .. }) = self.fatal {
                return self.finish_up().await.map(Some);
            }
        }
    }

    /// A step as `cms plan` tells it: by a file's name, which is here to be looked at, or a message's mailbox and time, but not
    /// by an id alone.
    fn planned(&self, op: &Op) -> String {
        if let Op::DeleteInCloud { row, .. } = op
            && let Some(row) = self.world.synced.get(*row)
        {
            return format!("delete {} in the cloud", row.file.base_name);
        }
        let Op::Fetch { id } = op else { return op.to_string() };
        let Some(message) = self.world.cloud.messages.get(id) else { return op.to_string() };
        let received = utc(message.received.0.max(0).unsigned_abs());
        format!("{op} of `{}`, received {received}", self.mailbox_name(message.mailbox))
    }

    /// What would be done, without doing it: one round of observation, then the plan's words.
    pub(crate) async fn dry_run(&mut self, stop: &Stop) -> Result<Vec<String>, SyncError> {
        self.must_have_maildirs(false)?;
        self.look_at_maildirs()?;
        self.apply_start_policy();
        self.world.touch_everything();
        let waits = |mailbox: &Mailbox| !mailbox.polled && mailbox.left_out.is_none();
        let mut overdue = Overdue::default();
        while (self.mailboxes.iter().any(waits) || !self.trees.are_listed()) && self.fatal.is_none() {
            self.look_at_folders();
            self.poll_due();
            // Nothing else is done here, however long it has been due.
            let wake_at = self.next_poll().unwrap_or_else(|| Instant::now() + SAFETY_SCAN);
            overdue.note(wake_at);
            tokio::select! {
                biased;
                () = stop.requested() => break,
                Some(event) = self.events.1.recv() => self.handle(event),
                () = sleep_until(wake_at) => {}
            }
        }
        self.tasks.shutdown().await;
        // What the cloud told is an observation, and is kept: to ask again from the same place works only a few times.
        self.write_down()?;
        if let Some(error) = self.failure() {
            return Err(error);
        }
        self.world.touch_everything();
        self.prepare_uploads();
        while self.asking > 0 {
            tokio::select! {
                () = stop.requested() => break,
                Some(event) = self.events.1.recv() => self.handle(event),
            }
        }
        self.tasks.shutdown().await;
        self.world.touch_everything();
        let plan = self.plan();
        let mut lines = self.folder_steps()?;
        let ops = plan.ops.iter().filter(|op| !matches!(op, Op::Record { .. } | Op::Forget { .. }));
        lines.extend(ops.map(|op| self.planned(op)));
        self.note_held(&plan);
        lines.extend(self.summary.held.iter().map(|held| format!("held: {held}")));
        Ok(lines)
    }

    fn handle(&mut self, event: Event) {
        self.world.hear(self.how_heard(&event));
        match event {
            Event::Folders { tree, result } => self.looked_at_folders(tree, result),
            Event::Fulfilled { tree, wish, result } => self.fulfilled(tree, wish, result),
            Event::MadeFolders { result } => self.made_folders(result),
            Event::Opened { mailbox, folder } => self.opened(mailbox, folder),
            Event::DeleteTarget { mailbox, target } => {
                if let Some(mailbox) = self.mailbox_mut(mailbox) {
                    mailbox.delete_target = target.into();
                }
            }
            Event::Page { mailbox, page, first } => self.page(mailbox, page, first),
            Event::CursorLost { mailbox } => self.cursor_lost(mailbox),
            Event::RoundFailed { mailbox, error } => self.round_failed(mailbox, error),
            Event::LookedUp { round, asked, answers } => self.looked_up(round, asked, answers),
            Event::Fetched(downloads) => self.fetched_all(downloads),
            Event::Applied { results } => self.applied(results),
            Event::BroughtBack { results } => self.brought_back(results),
            Event::Alarm(alarm) => self.alarm(alarm),
            Event::Asked(asked) => {
                self.note_activity();
                self.asked(asked);
            }
            Event::TakenBack { results, wish } => self.taken_back(results, wish),
            Event::Compared { listing, contents } => self.looked_afresh(listing, contents),
            Event::LookedAtDoubtful { answers } => self.looked_at_doubtful(answers),
            Event::Role { mailbox, role } => self.told_role(mailbox, role),
            Event::UploadLookedFor { underway, found } => self.found_upload(underway, found),
            Event::Uploaded(end) => self.uploaded(end),
            Event::Updated { op, outcome, exchange, unfinished } => {
                self.updated(&op, &outcome, &unfinished);
                self.applied(vec![(op, outcome, exchange)]);
            }
            Event::RemovedUnfinished { unfinished, result } => self.removed_unfinished(&unfinished, result),
            Event::TriedOut(heard) => self.tried_out(heard),
            Event::Woken { source, wake } => self.woken(source, wake),
            Event::Watched(Ok(batch)) => self.hear(batch),
            Event::Watched(Err(error)) => {
                warn!(%error, "Watching the Maildirs failed; starting to watch anew");
                self.reopen_at = Some(Instant::now());
            }
        }
        self.world.hear(None);
        if self.world.is_touched() && self.plan_at.is_none() {
            self.plan_at = Some(Instant::now());
        }
    }

    /// By what kind of observation an event tells what it tells; nothing for a listing from the beginning.
    fn how_heard(&self, event: &Event) -> Option<(Heard, UnixSeconds)> {
        let how = match event {
            Event::Page { mailbox, .. } if self.mailbox(*mailbox).is_some_and(|mailbox| mailbox.cursor.is_some()) => {
                Heard::Poll
            }
            Event::LookedUp { .. } => Heard::Asked,
            Event::Watched(Ok(_)) => Heard::Watch,
            _ => return None,
        };
        Some((how, self.now()))
    }

    /// Whether every Maildir can be read, so that what isn't in one of them isn't anywhere.
    fn all_readable(&self) -> bool {
        self.local.ids().iter().all(|id| self.world.local.readable.contains(id))
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

    /// A single run ends with its first failure; the daemon has told it and goes on.
    fn fail(&mut self, error: SyncError) {
        if !self.watching {
            self.fatal.get_or_insert(error);
        }
    }

    /// Why the run fails as a whole, or which mailbox it had to leave out.
    fn failure(&mut self) -> Option<SyncError> {
        let left_out = self.mailboxes.iter_mut().find_map(|mailbox| mailbox.left_out.take());
        self.fatal.take().or(left_out).or_else(|| self.trees.take_left_out())
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
            let Burst { done, bytes, .. } = self.burst;
            self.burst.began.get_or_insert_with(Instant::now);
            self.progress.downloading(done, done + waiting, bytes, || self.least_time());
        } else if std::mem::take(&mut self.burst).done > 0 {
            self.progress.clear();
        }
    }

    fn nothing_under_way(&self) -> bool {
        self.downloading.is_empty() && self.changing == 0
    }

    /// Whether there is nothing left to do or to wait for.
    fn is_settled(&self) -> bool {
        self.mailboxes.iter().all(|mailbox| (mailbox.polled || mailbox.left_out.is_some()) && mailbox.round.is_none())
            && self.trees.are_known()
            && self.nothing_under_way()
            && self.asking == 0
            && self.postponed.is_empty()
            && self.bring_back_at().is_none()
            && self.vanish_settles_at.is_none()
            && (self.watching || self.read_again_at.is_none() && self.unfinished.due().is_none())
            // Nothing is uploaded before every mailbox was looked at.
            && (self.trees.leave_out() || self.mailboxes.iter().any(|mailbox| mailbox.left_out.is_some()) || !self.has_unripe())
            && !self.world.is_touched()
            && self.plan_at.is_none()
    }

    /// Ends the run: changes that are on their way get a moment to be confirmed, downloads are dropped.
    async fn finish_up(&mut self) -> Result<Summary, SyncError> {
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.changing > 0 {
            tokio::select! {
                biased;
                Some(event) = self.events.1.recv() => if matches!(event, Event::Applied { .. } | Event::Fetched(_) | Event::Uploaded(_) | Event::Updated { .. }) { self.handle(event) },
                () = sleep_until(deadline) => break,
            }
        }
        self.tasks.shutdown().await;
        if !self.watching {
            self.report_local_only(Duration::ZERO);
        }
        self.note_age();
        let written = self.write_down();
        self.summary.troubles = self.world.trouble_lines();
        self.summary.missing_here = self.world.missing_here() as u64;
        // The process ends now. To give the trees' memory back message by message would take a while, and is of no use.
        std::mem::forget(std::mem::take(&mut self.world));
        if let Some(error) = self.failure() {
            return Err(error);
        }
        written?;
        Ok(std::mem::take(&mut self.summary))
    }

    /// The time of day, for what is written down.
    fn now(&self) -> UnixSeconds {
        (self.surroundings.now)()
    }

    /// The same by the state's own clock, by which it is told how long something has been kept.
    fn age(&self) -> UnixSeconds {
        self.age.now(&self.surroundings)
    }

    fn note_age(&mut self) {
        if let Some(note) = self.age.note(&self.surroundings) {
            self.world.note(note);
        }
    }
}

/// How long to wait after so many failures in a row, in seconds: 5, 10, 20 … 300.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs((5_u64 << failures.min(6)).min(300))
}
