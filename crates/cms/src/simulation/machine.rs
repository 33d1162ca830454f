//! One simulated machine: the program on it is started, stopped, killed and started again, while everybody acts.

mod scripted;

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cms_cloud::contract::{CloudAccount, DeleteAction};
use cms_cloud::office365;
use cms_engine::{Flags, UnixSeconds};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use simcloud::{Action, Cloud, Fault, Knobs, RetryAfter};
use tokio::time::{Instant, sleep, sleep_until};

use super::base;
use super::disk::{Disk, DiskState};
use super::extras::Extras;
use super::flawed::Flawed;
use super::ledger::LOST;
use super::people::{Pair, People};
use super::power::{Power, Shared};
use super::trace::Trace;
use super::wire::{SignedIn, Weather, Wire};
use super::{Failure, Flaw};
use crate::configuration::{Since, Upload};
use crate::control::Door;
use crate::progress::{Kind, Progress};
use crate::stop::Stop;
use crate::sync::{Driver, MailboxSetup, Setup, Start, Summary, Surroundings};

/// When the simulated world begins, in seconds since 1970.
const BEGINNING: i64 = 1_790_100_000;

/// The day of the beginning. Most mail was received the day before.
const NEW_MAIL: Since = Since::Day(BEGINNING / 86_400);

/// The longest message that goes in one request, in bytes, in worlds with drafts that take several.
const LONGEST_AT_ONCE: usize = 1200;

/// How long both sides may take to be the same again, once everybody holds still.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// After how long at the latest the program looks again for a folder that wasn't there: until then what it says of the messages
/// that were in it isn't its last word.
const LONGEST_PAUSE: Duration = Duration::from_secs(310);

type Running = Pin<Box<dyn Future<Output = Result<Summary, String>>>>;

/// Everything that one seed makes.
pub(super) struct Machine {
    pub(super) random: ChaCha8Rng,
    root: PathBuf,
    cloud: Cloud,
    account: Arc<dyn CloudAccount>,
    weather: Arc<Mutex<Weather>>,
    power: Arc<Power>,
    disk: Rc<Disk>,
    pub(super) people: Shared<People>,
    pub(super) trace: Trace,
    pairs: Vec<Pair>,
    flaw: Option<Flaw>,
    extras: Extras,
    /// Whether everybody holds still.
    calm: Arc<AtomicBool>,
    /// The program, while it runs, and the wish that it ends.
    running: Option<(Running, Stop)>,
    /// Where it can be asked.
    pub(super) door: Option<Door>,
    /// When it is started again.
    start_at: Option<Instant>,
    /// When the machine was made, which is the beginning of all time.
    began: Instant,
    /// Whether what wasn't flushed is lost when the power goes.
    cuts_power: bool,
    /// Since when mail is brought here.
    since: Option<Since>,
    /// Whether the program hears nothing of what is done in the Maildirs.
    is_deaf: bool,
    pub(super) starts: u64,
    pub(super) actions: u64,
}

/// What happens at some time of a time of agitation.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Act,
    FinishOne,
    Kill,
    Stop,
    KillAtDeed(i64),
    KillAtRequest(i64),
    LoseCursors,
    NetworkDown(bool),
    DiskFull(bool),
    LoseState,
    ExpireTokens,
}

/// What happens where the disk is slow: somebody else acts, and sees what was done to the names.
fn meddler(people: &Rc<RefCell<People>>, disk: &Rc<Disk>) -> Box<dyn Fn()> {
    let (people, disk) = (Rc::downgrade(people), Rc::downgrade(disk));
    Box::new(move || {
        if let (Some(people), Some(disk)) = (people.upgrade(), disk.upgrade())
            && let Ok(mut people) = people.try_borrow_mut()
        {
            people.is_known = disk.state.borrow().committed;
            people.act();
            disk.somebody_changed_names();
        }
    })
}

impl Machine {
    pub(super) fn new(seed: u64, root: &Path, trace: Trace, flaw: Option<Flaw>) -> Result<Self, Failure> {
        let failed = |what: &str| Failure::broken(format!("the simulation can't begin: {what}"));
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        simcloud::pin_clock(BEGINNING);
        let noisy = random.random_bool(0.6);
        let extras = Extras::of(seed);
        let knobs = if noisy { Knobs::default() } else { Knobs::calm() };
        let upload_session_from = if extras.large { LONGEST_AT_ONCE as u64 } else { knobs.upload_session_from };
        let knobs = Knobs { gzip: false, advanced_granted: true, upload_session_from, ..knobs };
        let cloud = simcloud::in_process(simcloud::Options { seed, knobs, ..simcloud::Options::default() })
            .map_err(|_| failed("cloud"))?;
        let mut folders = vec!["Inbox", "Archive", "Work"];
        let most = random.random_range(1..=3);
        folders.truncate(if extras.folders { 3 } else { most });
        let trash = random.random_bool(0.25).then_some(folders.len());
        folders.extend(trash.map(|_| "Deleted Items"));
        let mut drafts = random.random_bool(0.3).then_some(folders.len());
        // Who writes has mostly a place for it.
        if extras.uploads.is_some() && !seed.is_multiple_of(4) {
            drafts = Some(folders.len());
        }
        folders.extend(drafts.map(|_| "Drafts"));
        let sent = extras.mail.then_some(folders.len());
        folders.extend(sent.map(|_| "Sent Items"));
        for folder in folders.iter().chain(&["Private"]) {
            cloud.create_folder("", folder, false).map_err(|_| failed("folder"))?;
        }
        let pairs: Vec<Pair> =
            folders.iter().map(|folder| Pair { folder, maildir: root.join(folder.replace(' ', "")) }).collect();
        let power = Power::new();
        let fork = |random: &mut ChaCha8Rng| ChaCha8Rng::seed_from_u64(random.random());
        let weather =
            Arc::new(Mutex::new(Weather { random: fork(&mut random), slowest_ms: 50, loss_percent: 0, down: false }));
        let wire = Wire {
            cloud: cloud.clone(),
            weather: Arc::clone(&weather),
            power: Arc::clone(&power),
            trace: trace.clone(),
        };
        let mut options = office365::Options::new("http://127.0.0.1".parse().map_err(|_| failed("address"))?);
        options.transport = Some(Arc::new(wire));
        let jitter = Mutex::new(fork(&mut random));
        options.random = Arc::new(move || jitter.lock().unwrap_or_else(PoisonError::into_inner).random_range(0.0..1.0));
        let began = Instant::now();
        options.now = Arc::new(move || time_of_day(began));
        options.page_size = random.random_range(2..20);
        if extras.narrow {
            options.parallel = 1;
        }
        if extras.large {
            options.longest_at_once(LONGEST_AT_ONCE);
        }
        let account = office365::Account::new(options, Arc::new(SignedIn(cloud.clone())));
        let mut account: Arc<dyn CloudAccount> = Arc::new(account.map_err(|_| failed("account"))?);
        if let Some(flaw) = flaw {
            account = Arc::new(Flawed { account, flaw, count: AtomicU64::new(0) });
        }
        let disk = Rc::new(Disk {
            power: Arc::clone(&power),
            trace: trace.clone(),
            root: root.to_owned(),
            deeds_left: Rc::new(Cell::new(0)),
            state: RefCell::new(DiskState::new(fork(&mut random))),
            meddler: RefCell::new(None),
        });
        disk.state.borrow_mut().lying = flaw == Some(Flaw::FlushesNothing);
        disk.state.borrow_mut().careless = flaw == Some(Flaw::KeepsNothing);
        let mut people = People::new(fork(&mut random), cloud.clone(), trace.clone(), pairs.clone(), trash, drafts);
        people.extras = extras;
        people.ledger.drafts_are_large = people.extras.large;
        people.steps = ChaCha8Rng::seed_from_u64(!seed);
        people.sent = sent;
        people.ledger.keeping = extras.keeping(seed, pairs.len());
        let people = Rc::new(RefCell::new(people));
        *disk.meddler.borrow_mut() = Some(meddler(&people, &disk));
        cms_disk::interpose(Some(disk.clone()));
        Ok(Self {
            began,
            cuts_power: false,
            random,
            root: root.to_owned(),
            cloud,
            account,
            weather,
            power,
            disk,
            people,
            trace,
            pairs,
            flaw,
            extras,
            calm: Arc::default(),
            running: None,
            door: None,
            start_at: None,
            since: None,
            is_deaf: false,
            starts: 0,
            actions: 0,
        })
    }

    fn setup(&self) -> Setup {
        let began = Instant::now();
        let start = simulated_now(time_of_day(self.began).0, began);
        let calm = Arc::clone(&self.calm);
        let files_sent = self.extras.mail;
        let is_deaf = self.is_deaf;
        let deaf = Mutex::new(ChaCha8Rng::seed_from_u64(self.starts));
        let mailboxes = self.pairs.iter().enumerate().map(|(at, pair)| MailboxSetup {
            account: 0,
            client: 0,
            name: pair.folder.to_owned(),
            position: None,
            delete_action: DeleteAction::Trash,
            upload: self.extras.uploads.unwrap_or(Upload::None),
            since: self.since,
            keep: self.people.borrow().ledger.keeping.contains(&at),
        });
        Setup {
            state_dir: self.root.join("state"),
            accounts: vec![Arc::clone(&self.account)],
            account_names: vec!["simulated".to_owned()],
            mailboxes: mailboxes.collect(),
            trees: Vec::new(),
            maildirs: self.pairs.iter().map(|pair| pair.maildir.clone()).collect(),
            route: Some(Arc::new(|mailbox, _: &[u8], _: Flags| Ok(mailbox))),
            poll_interval: Duration::from_secs(60),
            // In a world something happens all the time, and polls are what takes its time.
            quick_poll_interval: Duration::from_secs(60),
            keep_deleted_days: 14,
            max_deletions: None,
            on_change: None,
            start: Start::Merge,
            dry_run: false,
            surroundings: Surroundings {
                now: start,
                uptime: Arc::new(move || began.elapsed()),
                host: "simulated".to_owned(),
                deaf_for: Some(Arc::new(move || {
                    if is_deaf {
                        return Duration::from_secs(86_400);
                    }
                    let mut deaf = deaf.lock().unwrap_or_else(PoisonError::into_inner);
                    // Where nothing happens, there is little to hear; but of what was sent a file is waited for, which may be filed
                    // just when something begins to happen again.
                    let longest = if calm.load(Ordering::Relaxed) && !files_sent { 9000 } else { 900 };
                    Duration::from_millis(deaf.random_range(20..longest))
                })),
                single_thread: true,
                alarms: false,
            },
            progress: Progress::new(Kind::Silent),
            listener: None,
            board: None,
            door: self.door.clone(),
            push: Vec::new(),
        }
    }

    fn start(&mut self, once: bool) {
        self.starts += 1;
        // The last run has to find nothing to do.
        if self.extras.scope && !once {
            self.since = self.starts.is_multiple_of(2).then_some(NEW_MAIL);
        }
        self.power.turn_on();
        self.disk.deeds_left.set(0);
        self.disk.state.borrow_mut().committed = false;
        self.door = self.extras.folders.then(Door::default);
        self.trace.line("---- the program starts");
        let stop = Stop::new();
        let (setup, wish) = (self.setup(), stop.clone());
        let run = async move {
            let mut driver = Driver::open(setup).map_err(|error| format!("{error:?}"))?;
            driver.open_door();
            driver.run(once, &wish).await.map_err(|error| format!("{error:?}"))
        };
        self.running = Some((Box::pin(run), stop));
        self.people.borrow_mut().watched = true;
        self.start_at = None;
    }

    /// The program ends at once: nothing that it still wants to do is done.
    async fn kill(&mut self) {
        self.power.turn_off();
        self.running = None;
        // Its tasks are dropped when the runtime next looks at them.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.trace.line("---- the program is killed");
        self.people.borrow_mut().ledger.power_failed |= self.cuts_power;
        if self.cuts_power && self.disk.fail_power() {
            let mut people = self.people.borrow_mut();
            people.ledger.lost_state = true;
            // A new state knows no Maildir, and would make one where none is.
            people.mount_all();
        }
        self.ended();
    }

    fn ended(&mut self) {
        self.running = None;
        {
            let mut people = self.people.borrow_mut();
            people.watched = false;
            people.ledger.killed = true;
            people.ledger.troubled = true;
            // Of what was done last there may be no base.
            people.ledger.lost_state |= std::mem::take(&mut self.disk.state.borrow_mut().unrecorded);
        }
        let pause = self.random.random_range(0..40_000);
        self.start_at = Some(Instant::now() + Duration::from_millis(pause));
    }

    /// Lets time pass until `until`, with the program started and started again as it ends.
    pub(super) async fn live(&mut self, until: Instant) {
        loop {
            let start_at = self.start_at;
            let running = self.running.is_some();
            tokio::select! {
                biased;
                () = self.power.gone(), if running => self.kill().await,
                ended = wait_for(&mut self.running) => {
                    match ended {
                        Ok(summary) => self.trace.line(format_args!("---- the program ends: {summary}")),
                        Err(error) => {
                            // The directory has another name each time.
                            let error = error.replace(&*self.root.to_string_lossy(), "");
                            self.trace.line(format_args!("---- the program fails: {error}"));
                        }
                    }
                    self.ended();
                }
                () = sleep_until(start_at.unwrap_or(until)), if start_at.is_some_and(|at| at < until) => self.start(false),
                () = sleep_until(until) => return,
            }
        }
    }

    /// A time in which everybody acts and much goes wrong.
    pub(super) async fn agitate(&mut self) {
        self.calm.store(false, Ordering::Relaxed);
        let length = Duration::from_secs(self.random.random_range(5..400));
        let actions = self.random.random_range(2..18);
        let mut happenings: Vec<(Duration, Happening)> = Vec::new();
        let mut add = |random: &mut ChaCha8Rng, what: Happening| {
            happenings.push((length.mul_f64(random.random_range(0.0..1.0)), what));
        };
        for _ in 0..actions {
            add(&mut self.random, Happening::Act);
        }
        for _ in 0..self.random.random_range(0..3) {
            add(&mut self.random, Happening::FinishOne);
        }
        for _ in 0..self.random.random_range(0..4) {
            let what = match self.random.random_range(0..12) {
                0 | 1 => Happening::Kill,
                2 => Happening::Stop,
                3 | 4 => Happening::KillAtDeed(self.random.random_range(1..60)),
                5 | 6 => Happening::KillAtRequest(self.random.random_range(1..12)),
                7 => Happening::LoseCursors,
                8 => Happening::NetworkDown(true),
                9 => Happening::DiskFull(true),
                10 => Happening::ExpireTokens,
                _ => Happening::LoseState,
            };
            add(&mut self.random, what);
            match what {
                Happening::NetworkDown(true) => add(&mut self.random, Happening::NetworkDown(false)),
                Happening::DiskFull(true) => add(&mut self.random, Happening::DiskFull(false)),
                _ => {}
            }
        }
        happenings.sort_by_key(|(at, _)| *at);
        self.make_trouble();
        if self.running.is_none() && self.random.random_bool(0.8) {
            self.start_at = Some(Instant::now());
        }
        let began = Instant::now();
        for (at, what) in happenings {
            self.live(began + at).await;
            self.happen(what).await;
            if self.extras.folders && self.random.random_bool(0.2) {
                self.heed_the_program().await;
            }
        }
        self.live(began + length).await;
    }

    /// Lets the network, the service and the disk be as bad as they like.
    fn make_trouble(&mut self) {
        {
            let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
            weather.slowest_ms = [5, 50, 400, 3000][self.random.random_range(0..4)];
            weather.loss_percent = [0, 0, 3, 15][self.random.random_range(0..4)];
        }
        for _ in 0..[0, 0, 1, 3][self.random.random_range(0..4)] {
            let fault = self.fault();
            self.trace.line(format_args!("trouble: {fault:?}"));
            self.cloud.inject(fault);
        }
        let (lag, generations) = (self.random.random_range(0..4), self.random.random_range(2..4));
        let conflicts = if self.random.random_bool(0.2) { 0.2 } else { 0.0 };
        let forgetful = self.extras.forgetful;
        self.cloud.turn(|knobs| {
            knobs.delta_lag_ms = [0, 0, 500, 5000][lag];
            knobs.delta_generations = generations;
            knobs.patch_conflict = conflicts;
            if forgetful {
                // After the third time the program would no longer believe that the cloud can make the change.
                (knobs.patch_ignored, knobs.patch_ignored_in_a_row) = (0.4, 1);
            }
        });
        let lossy = self.weather.lock().unwrap_or_else(PoisonError::into_inner).loss_percent > 0;
        let mut state = self.disk.state.borrow_mut();
        state.failures_per_mille = [0, 0, 3, 20][self.random.random_range(0..4)];
        let fails = lossy || state.failures_per_mille > 0 || !self.cloud.faults().is_empty();
        self.people.borrow_mut().ledger.troubled |= fails;
        state.meddling_per_mille = [0, 5, 20, 0][self.random.random_range(0..4)];
        state.meddling_left = 500;
        if self.extras.slow {
            state.slow_per_mille = [0, 100, 300][self.random.random_range(0..3)];
        }
        self.cuts_power = self.random.random_bool(0.35) || self.flaw == Some(Flaw::FlushesNothing);
        state.remembers = self.cuts_power;
    }

    fn fault(&mut self) -> Fault {
        let kinds = ["", "delta", "value", "batch", "batch-item:*", "get", "batch-item:patch", "batch-item:move"];
        let mut kind = kinds[self.random.random_range(0..kinds.len())];
        if self.extras.uploads.is_some() && self.random.random_bool(0.5) {
            kind = ["create", "put-value", "list", "import", "move"][self.random.random_range(0..5)];
        }
        if self.extras.narrow && self.random.random_bool(0.3) {
            kind = "batch-item:value";
        }
        let in_batch = kind.starts_with("batch-item");
        let status = [429, 500, 502, 503, 504, 429][self.random.random_range(0..6)];
        let wait = self.random.random_range(1..20);
        let retry_after = (status == 429 || self.random.random_bool(0.3)).then_some(RetryAfter::Seconds(wait));
        let plain = Action::Status {
            status,
            body: simcloud::BodyKind::default(),
            code: String::new(),
            message: String::new(),
            retry_after,
        };
        let action = match self.random.random_range(0..9) {
            _ if in_batch => plain,
            0 => Action::ResetBefore,
            1 => Action::ResetAfter,
            2 => Action::StatusAfter { status: [500, 503, 504][self.random.random_range(0..3)] },
            3 => Action::Hang,
            4 => Action::Truncate { after: self.random.random_range(0..400) },
            5 => Action::Stall { after: self.random.random_range(0..400) },
            6 => Action::Html,
            _ => plain,
        };
        Fault {
            count: Some(self.random.random_range(1..12)),
            probability: self.random.random_range(0.05..1.0),
            skip: self.random.random_range(0..6),
            seed: self.random.random(),
            ..Fault::always(kind, action)
        }
    }

    async fn happen(&mut self, what: Happening) {
        match what {
            Happening::Act => {
                self.actions += 1;
                self.people.borrow_mut().is_known = self.disk.state.borrow().committed;
                self.people.borrow_mut().act();
                self.disk.somebody_changed_names();
            }
            Happening::FinishOne => {
                self.people.borrow_mut().finish_one();
                self.disk.somebody_changed_names();
            }
            Happening::Kill if self.running.is_some() => self.kill().await,
            Happening::Stop => {
                if let Some((_, stop)) = &self.running {
                    stop.request();
                }
            }
            Happening::KillAtDeed(deeds) => self.disk.deeds_left.set(deeds),
            Happening::KillAtRequest(requests) => self.power.go_after_requests(requests),
            Happening::LoseCursors => {
                self.trace.line("trouble: all delta tokens are forgotten");
                drop(self.cloud.kill_delta_tokens(""));
            }
            Happening::NetworkDown(down) => {
                self.trace.line(format_args!("trouble: network down: {down}"));
                self.weather.lock().unwrap_or_else(PoisonError::into_inner).down = down;
            }
            Happening::DiskFull(full) => {
                self.trace.line(format_args!("trouble: disk full: {full}"));
                self.disk.state.borrow_mut().full = full;
            }
            Happening::ExpireTokens => self.cloud.expire_access_tokens(),
            Happening::LoseState => {
                if self.running.is_some() {
                    self.kill().await;
                }
                // A new state knows no Maildir, and would make one where none is.
                self.people.borrow_mut().mount_all();
                self.trace.line("trouble: the state is lost");
                for suffix in ["", "-wal", "-shm"] {
                    drop(fs::remove_file(self.root.join(format!("state/state.sqlite{suffix}"))));
                }
                self.people.borrow_mut().ledger.lost_state = true;
            }
            Happening::Kill => {}
        }
    }

    /// Everybody holds still, everything works, and the program has time: then both sides must be as they should be.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        self.trace.line("---- everybody holds still");
        self.calm.store(true, Ordering::Relaxed);
        {
            let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
            weather.down = false;
            weather.loss_percent = 0;
            weather.slowest_ms = 40;
        }
        self.cloud.clear_faults();
        self.cloud.turn(|knobs| {
            knobs.delta_lag_ms = 0;
            knobs.patch_conflict = 0.0;
            knobs.patch_ignored = 0.0;
        });
        {
            let mut state = self.disk.state.borrow_mut();
            state.failures_per_mille = 0;
            state.meddling_per_mille = 0;
            state.slow_per_mille = 0;
            state.full = false;
        }
        self.disk.deeds_left.set(0);
        self.power.go_after_requests(-1);
        let away = self.people.borrow_mut().stays_away_for();
        if let Some(away) = away {
            self.trace.line("a folder stays away");
            self.live(Instant::now() + away).await;
        }
        self.people.borrow_mut().finish_all();
        if self.running.is_none() {
            self.start_at = Some(Instant::now());
        }
        // A folder that was missing is looked for now and then.
        let was_missing = self.people.borrow().ledger.removed.is_some();
        if away.is_some() || was_missing {
            self.live(Instant::now() + LONGEST_PAUSE).await;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut right_for = 0;
        let mut step = Duration::from_secs(5);
        loop {
            self.live(Instant::now() + step).await;
            if self.extras.folders {
                self.heed_the_program().await;
            }
            let outcome = self.people.borrow().outcome();
            let problems = self.people.borrow().problems(&outcome);
            if problems.is_empty() {
                right_for += 1;
                // What is right by chance, before a late observation, doesn't last.
                if right_for == 3 {
                    self.people.borrow_mut().turn_the_page(&outcome);
                    return Ok(());
                }
                step = Duration::from_secs(70);
                continue;
            }
            right_for = 0;
            if Instant::now() > deadline {
                for line in outcome.lines() {
                    self.trace.line(line);
                }
                return Err(Failure::wrong(problems));
            }
            step = (step * 2).min(Duration::from_secs(900));
        }
    }

    /// A stop and a single run: there must be nothing left to do.
    pub(super) async fn prove_rest(&mut self) -> Result<(), Failure> {
        if let Some((_, stop)) = &self.running {
            stop.request();
        }
        if let Some((run, _)) = self.running.take() {
            run.await.map_err(|error| Failure::broken(format!("stopping failed: {error}")))?;
        }
        let names = self.people.borrow().names();
        self.start(true);
        let Some((run, _)) = self.running.take() else { return Ok(()) };
        let summary = run.await.map_err(|error| Failure::broken(format!("the last run failed: {error}")))?;
        let did = summary.delivered
            + summary.removed
            + summary.renamed
            + summary.flagged_there
            + summary.moved_there
            + summary.deleted_there
            + summary.uploaded
            + summary.updated_there;
        if did > 0 || self.people.borrow().names() != names {
            return Err(Failure::wrong(vec![format!("a run with nothing to do did something: {summary}")]));
        }
        let unlike = base::problems(&self.root.join("state"), &self.people.borrow()).map_err(Failure::broken)?;
        if !unlike.is_empty() {
            return Err(Failure::wrong(unlike));
        }
        let gone = self.disk.not_restorable();
        if !gone.is_empty() {
            return Err(Failure::wrong(
                gone.iter().map(|hash| format!("{LOST}{hash} was removed here and isn't stored")).collect(),
            ));
        }
        // Who was killed knows nothing of pauses that it was asked for. What was made twice is another matter.
        let mut violations = self.cloud.counters().violations;
        violations.retain(|violation| violation.starts_with("create: "));
        if violations.is_empty() { Ok(()) } else { Err(Failure::wrong(violations)) }
    }

    /// Begins with some mail.
    pub(super) fn populate(&mut self) {
        for _ in 0..self.random.random_range(0..7) {
            self.people.borrow_mut().arrive();
        }
    }

    /// How many times everybody is agitated.
    pub(super) fn rounds(&mut self) -> u32 {
        self.random.random_range(1..=3)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.power.turn_off();
        self.running = None;
        cms_disk::interpose(None);
    }
}

/// Waits for the program's end; for ever if it doesn't run.
async fn wait_for(running: &mut Option<(Running, Stop)>) -> Result<Summary, String> {
    match running {
        Some((run, _)) => run.await,
        None => std::future::pending().await,
    }
}

fn time_of_day(began: Instant) -> UnixSeconds {
    UnixSeconds(BEGINNING + i64::try_from(began.elapsed().as_secs()).unwrap_or_default())
}

fn simulated_now(from: i64, began: Instant) -> Arc<dyn Fn() -> UnixSeconds + Send + Sync> {
    Arc::new(move || UnixSeconds(from + i64::try_from(began.elapsed().as_secs()).unwrap_or_default()))
}

/// Lets one last moment pass, so that what was dropped is gone.
pub(super) async fn let_go() {
    sleep(Duration::from_millis(1)).await;
}
