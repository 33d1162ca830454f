//! The run: a start, hours of changes, and the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::agitation::{Agitation, Moment};
use crate::here::Here;
use crate::histogram::Histogram;
use crate::mail::Side;
use crate::network::Way;
use crate::process::Running;
use crate::report::{Lags, Report, Sample};
use crate::verdict::{self, Verdict};
use crate::world::World;
use crate::{Arguments, Result};

/// How often both sides are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How often a figure is taken down.
const SAMPLE: Duration = Duration::from_secs(60);

/// How many of those make a line.
const SAMPLES_IN_A_LINE: usize = 10;

/// How often the service forgets what it told whom.
const FORGETS: Duration = Duration::from_secs(7 * 60);

/// How long the first sync may take, and the last change until it is on both sides: more than the ten minutes for which
/// the service limits requests.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

pub(crate) struct Run<'a> {
    arguments: &'a Arguments,
    world: &'a World,
    daemon: Running,
    agitation: Agitation,
    here: Here,
    began: Instant,
    moment: Moment,
    way: Way,
    last_request: u64,
    changes: u64,
    report: Report,
    recent: Lags,
}

impl<'a> Run<'a> {
    /// Fills the mailbox, and waits until the program has all of it.
    pub(crate) fn new(arguments: &'a Arguments, world: &'a mut World) -> Result<Self> {
        let seed = arguments.seed();
        eprintln!("seed {seed}, {} minutes, {} changes a second", arguments.minutes(), arguments.rate);
        eprintln!("log: {}", world.log().display());
        let mut agitation = Agitation::new(seed, arguments.messages);
        agitation.fill(&world.cloud)?;
        let began = Instant::now();
        let mut run = Self {
            arguments,
            world,
            daemon: world.start()?,
            agitation,
            here: Here::new(&world.root),
            began,
            moment: Moment::default(),
            way: Way::Open,
            last_request: 0,
            changes: 0,
            report: Report::new(arguments),
            recent: Lags::new(),
        };
        loop {
            run.daemon.assert_running()?;
            if run.daemon.was_in_sync() && run.compare()?.is_good() {
                break;
            }
            if began.elapsed() > PATIENCE || run.world.interrupts() > 0 {
                return Err("the first sync doesn't end".into());
            }
            std::thread::sleep(LOOK);
        }
        eprintln!("first sync of {} messages after {:.1} s", arguments.messages, began.elapsed().as_secs_f64());
        Ok(run)
    }

    fn compare(&mut self) -> Result<Verdict> {
        verdict::compare(self.world, &self.agitation, &mut self.here)
    }

    /// Makes changes for as long as is wanted, waits until both sides are the same, and tells how it went.
    pub(crate) fn play(mut self) -> Result<Report> {
        if !self.arguments.calm {
            self.world.inject_faults(self.arguments.seed());
        }
        self.began = Instant::now();
        self.sample()?;
        let length = Duration::from_secs_f64(self.arguments.minutes() * 60.0);
        let mut forgets = FORGETS;
        while self.began.elapsed() < length && self.world.interrupts() == 0 {
            self.look()?;
            if self.moment.now > forgets && !self.arguments.calm {
                self.world.cloud.kill_delta_tokens("")?;
                forgets += FORGETS;
            }
            self.change()?;
            if self.moment.now > SAMPLE * u32::try_from(self.report.samples.len())? {
                self.sample()?;
            }
            std::thread::sleep(LOOK);
        }
        self.report.length = self.began.elapsed();
        self.settle()?;
        self.sample()?;
        self.finish()
    }

    /// Looks at both sides, and moves the clocks.
    fn look(&mut self) -> Result<()> {
        self.daemon.assert_running()?;
        let now = self.began.elapsed();
        if self.way == Way::Open {
            self.moment.connected += now.saturating_sub(self.moment.now);
        }
        self.moment.now = now;
        self.turn();
        self.here.look()?;
        let (moment, report, recent) = (self.moment, &mut self.report, &mut self.recent);
        self.agitation.settle(&self.world.cloud, &self.here, moment, |deed| {
            let lag = moment.now.saturating_sub(deed.at);
            let connected = moment.connected.saturating_sub(deed.connected_at);
            report.lags.add(deed.side, lag);
            report.connected_lags.add(deed.side, connected);
            recent.add(deed.side, connected);
            report.by_kind.entry((deed.side == Side::There, deed.what)).or_insert_with(Histogram::new).add(connected);
        });
        Ok(())
    }

    /// Cuts the network when it is time to, by silence and by refusal in turn.
    fn turn(&mut self) {
        let arguments = self.arguments;
        let second = self.moment.now.as_secs();
        let period = second / arguments.cut_every;
        let is_cut = second % arguments.cut_every >= arguments.cut_every.saturating_sub(arguments.cut_for);
        self.way = match (arguments.cuts && is_cut && self.report.length.is_zero(), period % 2) {
            (false, _) => Way::Open,
            (true, 0) => Way::Silent,
            (true, _) => Way::Refused,
        };
        self.world.network.turn(self.way);
    }

    /// Makes the changes that are due.
    fn change(&mut self) -> Result<()> {
        while (self.changes as f64) < self.moment.now.as_secs_f64() * self.arguments.rate {
            let side = if self.changes.is_multiple_of(2) { Side::There } else { Side::Here };
            self.agitation.change(side, self.world, &mut self.here, self.moment)?;
            self.changes += 1;
        }
        Ok(())
    }

    /// Waits until both sides are as wanted, with nothing that fails any more.
    fn settle(&mut self) -> Result<()> {
        self.world.cloud.clear_faults();
        let interrupts = self.world.interrupts();
        let began = Instant::now();
        let mut looked = began;
        loop {
            self.look()?;
            if self.agitation.pending() == 0 || looked.elapsed() > Duration::from_secs(5) {
                let verdict = self.compare()?;
                looked = Instant::now();
                let is_over = verdict.is_good() && self.agitation.pending() == 0;
                self.report.verdict = verdict;
                if is_over || began.elapsed() > PATIENCE || self.world.interrupts() > interrupts {
                    break;
                }
            }
            std::thread::sleep(LOOK);
        }
        self.report.settled_after = began.elapsed();
        Ok(())
    }

    /// Takes down what the program takes, and how it goes.
    fn sample(&mut self) -> Result<()> {
        for request in self.world.cloud.requests(self.last_request) {
            self.last_request = request.number;
            *self.report.answers.entry(request.status).or_default() += 1;
        }
        let (database, messages) = self.world.sizes();
        let sample = Sample {
            at: self.moment.now,
            taken: self.daemon.taken()?,
            database,
            messages,
            rows: self.world.rows(),
            lengths: self.daemon.lengths(),
            requests: charged(&self.world.cloud.counters().requests),
            pending: self.agitation.pending(),
            changes: self.changes,
            lags: std::mem::replace(&mut self.recent, Lags::new()),
        };
        self.report.samples.push(sample);
        let count = self.report.samples.len();
        // Who waits for hours wants to see something.
        if count <= 2 || (count - 1).is_multiple_of(SAMPLES_IN_A_LINE) {
            eprintln!("{}", self.report.line(count - 1));
        }
        for odd in self.agitation.odd.iter().skip(self.report.odd) {
            eprintln!("{odd}");
        }
        self.report.odd = self.agitation.odd.len();
        Ok(())
    }

    fn finish(mut self) -> Result<Report> {
        self.daemon.stop()?;
        self.report.verdict = verdict::compare(self.world, &self.agitation, &mut self.here)?;
        self.report.counters = self.world.cloud.counters();
        self.report.downloads = self.world.cloud.downloads("").values().sum();
        self.report.arrived = self.agitation.messages.len();
        self.report.changes = self.changes - self.agitation.missed;
        self.report.pending = self.agitation.pending();
        Ok(self.report)
    }
}

/// What counts towards the service's limit: every request for mail, and each item of a batch besides.
fn charged(requests: &BTreeMap<String, u64>) -> u64 {
    let signing_in = |kind: &str| matches!(kind, "authorize" | "token" | "devicecode" | "devicelogin");
    requests.iter().filter(|(kind, _)| !signing_in(kind)).map(|(_, count)| count).sum()
}
