//! How far it is: bars at a terminal, now and then a line elsewhere.
//!
//! Nothing is shown of a phase that is over within a second. Numbers never go back within a phase.

use std::fmt::{self, Write as _};
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A handle to show progress with. Clones show on the same place. Cheap enough to be told of every message.
#[derive(Clone)]
pub struct Progress(Arc<Inner>);

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As bars on a terminal.
    Terminal,
    /// As a line on stderr every five seconds.
    Plain,
    /// Nowhere.
    Silent,
}

/// For how long a phase isn't worth being shown.
const QUIET: Duration = Duration::from_secs(1);
/// How often a bar is drawn.
const BETWEEN_DRAWINGS: Duration = Duration::from_millis(100);
/// How often a line is written.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

struct Inner {
    kind: Kind,
    bars: MultiProgress,
    now: Box<dyn Fn() -> Duration + Send + Sync>,
    state: Mutex<State>,
}

struct State {
    phases: Vec<Phase>,
    lines: Box<dyn Write + Send>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Label {
    Listing(String),
    Downloading,
    Applying,
}

struct Phase {
    label: Label,
    counts: Counts,
    began: Duration,
    shown: Option<Duration>,
    bar: Option<ProgressBar>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    done: u64,
    total: Option<u64>,
    bytes: u64,
}

impl Progress {
    /// Bars if stderr is a terminal, else lines.
    pub fn detect() -> Self {
        Self::new(if std::io::stderr().is_terminal() { Kind::Terminal } else { Kind::Plain })
    }

    /// Whether nothing is shown.
    pub fn is_silent(&self) -> bool {
        self.0.kind == Kind::Silent
    }

    /// Shows progress in a given way.
    pub fn new(kind: Kind) -> Self {
        let start = Instant::now();
        Self::with(kind, Box::new(std::io::stderr()), Box::new(move || start.elapsed()))
    }

    fn with(kind: Kind, lines: Box<dyn Write + Send>, now: Box<dyn Fn() -> Duration + Send + Sync>) -> Self {
        let target = match kind {
            Kind::Terminal => ProgressDrawTarget::stderr_with_hz(20),
            Kind::Plain | Kind::Silent => ProgressDrawTarget::hidden(),
        };
        let bars = MultiProgress::with_draw_target(target);
        Self(Arc::new(Inner { kind, bars, now, state: Mutex::new(State { phases: Vec::new(), lines }) }))
    }

    /// Tells how many messages of a mailbox were listed, of how many if that is known.
    pub fn listing(&self, mailbox: &str, seen: u64, total: Option<u64>) {
        let same = |label: &Label| matches!(label, Label::Listing(name) if name == mailbox);
        self.update(
            same,
            || Label::Listing(mailbox.to_owned()),
            Counts { done: seen, total, bytes: 0 },
            Duration::default,
        );
    }

    /// Tells how many messages were downloaded, of how many, and how many bytes that was. `least` is how long the rest takes at
    /// least, and is asked only when it is shown.
    pub fn downloading(&self, done: u64, total: u64, bytes: u64, least: impl FnOnce() -> Duration) {
        let counts = Counts { done, total: Some(total), bytes };
        self.update(|label| *label == Label::Downloading, || Label::Downloading, counts, least);
    }

    /// Tells how many changes were made, of how many.
    pub fn applying(&self, done: u64, total: u64) {
        let counts = Counts { done, total: Some(total), bytes: 0 };
        self.update(|label| *label == Label::Applying, || Label::Applying, counts, Duration::default);
    }

    /// Ends all phases and shows what came of them, as one line.
    pub fn finish(&self, summary: &str) {
        self.clear();
        self.println(summary);
    }

    /// Ends all phases and takes the bars away.
    pub fn clear(&self) {
        let mut state = self.0.state();
        for phase in state.phases.drain(..) {
            if let Some(bar) = phase.bar {
                bar.finish_and_clear();
                self.0.bars.remove(&bar);
            }
        }
    }

    /// Writes a line above the bars, or just writes it. Not when silent.
    pub fn println(&self, text: &str) {
        if self.0.kind != Kind::Silent {
            self.suspend(|| self.0.state().write_line(text));
        }
    }

    /// Takes the bars away while something else is written to the terminal.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.bars.suspend(write)
    }

    fn update(
        &self,
        is_same: impl Fn(&Label) -> bool,
        label: impl FnOnce() -> Label,
        told: Counts,
        least: impl FnOnce() -> Duration,
    ) {
        if self.0.kind == Kind::Silent {
            return;
        }
        let now = (self.0.now)();
        let mut guard = self.0.state();
        let state = &mut *guard;
        let index = state.phases.iter().position(|phase| is_same(&phase.label)).unwrap_or_else(|| {
            state.phases.push(Phase { label: label(), counts: Counts::default(), began: now, shown: None, bar: None });
            state.phases.len() - 1
        });
        let Some(phase) = state.phases.get_mut(index) else { return };
        phase.take(told, now);
        if !phase.is_due(self.0.kind, now) {
            return;
        }
        phase.shown = Some(now);
        let least = least();
        match self.0.kind {
            Kind::Terminal => phase.draw(&self.0.bars, now, least),
            Kind::Plain => {
                let line =
                    format!("{}: {}", phase.label, phase.counts.told(now.saturating_sub(phase.began), least, true));
                state.write_line(&line);
            }
            Kind::Silent => {}
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Progress").field(&self.0.kind).finish()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether anybody still reads what we write is not our concern.
    fn write_line(&mut self, line: &str) {
        let _ = writeln!(self.lines, "{line}").and_then(|()| self.lines.flush());
    }
}

impl Phase {
    fn take(&mut self, told: Counts, now: Duration) {
        if self.counts.is_complete() && told.done < self.counts.done {
            // The next round of the same kind.
            *self = Self { label: self.label.clone(), counts: told, began: now, shown: None, bar: self.bar.take() };
            if let Some(bar) = self.bar.take() {
                bar.finish_and_clear();
            }
            return;
        }
        let counts = &mut self.counts;
        counts.done = counts.done.max(told.done);
        counts.bytes = counts.bytes.max(told.bytes);
        // Totals may shrink, as when a message is gone before it was downloaded, but not below what is done.
        counts.total = told.total.map(|total| total.max(counts.done));
    }

    fn is_due(&self, kind: Kind, now: Duration) -> bool {
        let between = if kind == Kind::Terminal { BETWEEN_DRAWINGS } else { BETWEEN_LINES };
        match self.shown {
            None => now.saturating_sub(self.began) >= QUIET,
            Some(shown) => {
                now.saturating_sub(shown) >= between || (self.counts.is_complete() && kind == Kind::Terminal)
            }
        }
    }

    fn draw(&mut self, bars: &MultiProgress, now: Duration, least: Duration) {
        let total = self.counts.total;
        let told = self.counts.told(now.saturating_sub(self.began), least, false);
        let Some(bar) = &self.bar else {
            // Complete before it is drawn for the first time.
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let bar = bar.with_style(style(total.is_some())).with_prefix(self.label.to_string());
            let bar = bars.add(bar.with_position(self.counts.done).with_message(told));
            bar.tick();
            self.bar = Some(bar);
            return;
        };
        if let Some(total) = total {
            if bar.length().is_none() {
                bar.set_style(style(true));
            }
            bar.set_length(total);
        }
        bar.set_position(self.counts.done);
        bar.set_message(told);
    }
}

fn style(has_end: bool) -> ProgressStyle {
    let template = if has_end { "{prefix} [{bar:24}] {msg}" } else { "{prefix} {msg}" };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Counts {
    fn is_complete(self) -> bool {
        self.total.is_some_and(|total| self.done >= total)
    }

    /// `1,200 of 50,000 (2 %), 350/s, 12.3 MB, 2 min left`.
    fn told(self, elapsed: Duration, least: Duration, with_percent: bool) -> String {
        let mut told = grouped(self.done);
        if let Some(total) = self.total {
            let _ = write!(told, " of {}", grouped(total));
            if with_percent && total > 0 {
                let _ = write!(told, " ({} %)", u128::from(self.done) * 100 / u128::from(total));
            }
        }
        let millis = elapsed.as_millis().max(1);
        let per_second = u128::from(self.done) * 1000 / millis;
        let _ = write!(told, ", {}/s", grouped(u64::try_from(per_second).unwrap_or(u64::MAX)));
        if self.bytes > 0 {
            let _ = write!(told, ", {}", bytes(self.bytes));
        }
        if let Some(left) = self.total.and_then(|total| time_left(self.done, total, elapsed, least)) {
            let _ = write!(told, ", {} left", duration(left));
        }
        told
    }
}

/// How long it takes until all is done: at the rate so far, but not less than what is known to be the `least`; nothing where
/// neither is known, or nothing is left.
pub(crate) fn time_left(done: u64, total: u64, elapsed: Duration, least: Duration) -> Option<Duration> {
    let left = total.checked_sub(done).filter(|left| *left > 0)?;
    let millis = elapsed.as_millis().max(1).saturating_mul(u128::from(left));
    let at_this_rate = millis.checked_div(u128::from(done)).map(|millis| u64::try_from(millis).unwrap_or(u64::MAX));
    let at_this_rate = at_this_rate.map(Duration::from_millis);
    at_this_rate.map(|time| time.max(least)).or((!least.is_zero()).then_some(least))
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listing(mailbox) => write!(f, "Listing `{mailbox}`"),
            Self::Downloading => f.write_str("Downloading"),
            Self::Applying => f.write_str("Applying"),
        }
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `12.3 MB`.
pub(crate) fn bytes(count: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", count / unit, count % unit * 10 / unit);
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{} kB", tenths(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

pub(crate) fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..100 => format!("{} s", seconds.max(1)),
        seconds @ 100..6_000 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    struct ClosedPipe;

    impl Write for ClosedPipe {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }

    /// A progress whose clock stands until it is moved, in milliseconds.
    fn plain() -> (Progress, Arc<AtomicU64>, Written) {
        let (clock, written) = (Arc::new(AtomicU64::new(0)), Written::default());
        let now = clock.clone();
        let progress = Progress::with(
            Kind::Plain,
            Box::new(written.clone()),
            Box::new(move || Duration::from_millis(now.load(Ordering::Relaxed))),
        );
        (progress, clock, written)
    }

    fn lines(written: &Written) -> Vec<String> {
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_short_phase_is_not_shown() {
        let (progress, clock, written) = plain();
        for done in 0..=10 {
            progress.downloading(done, 10, done * 100, Duration::default);
            clock.fetch_add(90, Ordering::Relaxed);
        }
        assert_eq!(lines(&written), Vec::<String>::new());
    }

    #[test]
    fn a_long_phase_is_told_every_five_seconds() {
        let (progress, clock, written) = plain();
        for done in 0..=1200 {
            progress.downloading(done, 1200, done * 10_000, Duration::default);
            clock.fetch_add(10, Ordering::Relaxed);
        }
        assert_eq!(
            lines(&written),
            [
                "Downloading: 100 of 1,200 (8 %), 100/s, 1.0 MB, 11 s left",
                "Downloading: 600 of 1,200 (50 %), 100/s, 6.0 MB, 6 s left",
                "Downloading: 1,100 of 1,200 (91 %), 100/s, 11.0 MB, 1 s left",
            ]
        );
    }

    #[test]
    fn the_time_left_is_that_of_the_rate_so_far_unless_it_is_known_to_take_longer() {
        let seconds = Duration::from_secs;
        // At first a thousand a minute, and the service takes ten thousand in ten.
        assert_eq!(time_left(1000, 100_000, seconds(60), seconds(6000)), Some(seconds(6000)));
        assert_eq!(time_left(1000, 5000, seconds(60), Duration::ZERO), Some(seconds(240)));
        assert_eq!(time_left(1000, 100_000, seconds(600), seconds(6000)), Some(seconds(59_400)));
        assert_eq!(time_left(0, 100_000, seconds(1), seconds(6000)), Some(seconds(6000)));
        assert_eq!(time_left(0, 100_000, seconds(1), Duration::ZERO), None);
        assert_eq!(time_left(10, 10, seconds(1), seconds(6000)), None);
        assert_eq!(time_left(11, 10, seconds(1), seconds(6000)), None);
        assert_eq!(time_left(1, u64::MAX, Duration::MAX, Duration::ZERO), Some(Duration::from_millis(u64::MAX)));
    }

    #[test]
    fn what_the_service_allows_shows_in_the_time_left() {
        let (progress, clock, written) = plain();
        progress.downloading(0, 100_000, 0, Duration::default);
        clock.store(10_000, Ordering::Relaxed);
        progress.downloading(1000, 100_000, 0, || Duration::from_secs(5400));
        assert_eq!(lines(&written), ["Downloading: 1,000 of 100,000 (1 %), 100/s, 90 min left"]);
    }

    #[test]
    fn numbers_do_not_go_back() {
        let (progress, clock, written) = plain();
        progress.listing("inbox", 0, None);
        progress.listing("inbox", 500, None);
        clock.store(2000, Ordering::Relaxed);
        progress.listing("inbox", 400, None);
        assert_eq!(lines(&written), ["Listing `inbox`: 500, 250/s"]);
    }

    #[test]
    fn the_next_round_begins_at_nothing() {
        let (progress, clock, written) = plain();
        progress.applying(50, 50);
        clock.store(10_000, Ordering::Relaxed);
        progress.applying(0, 20);
        clock.store(12_000, Ordering::Relaxed);
        progress.applying(10, 20);
        assert_eq!(lines(&written), ["Applying: 10 of 20 (50 %), 5/s, 2 s left"]);
    }

    #[test]
    fn the_summary_is_always_told_unless_silent() {
        let (progress, _, written) = plain();
        progress.finish("nothing to do");
        assert_eq!(lines(&written), ["nothing to do"]);
        let silent = Written::default();
        Progress::with(Kind::Silent, Box::new(silent.clone()), Box::new(|| Duration::ZERO)).finish("nothing to do");
        assert_eq!(lines(&silent), Vec::<String>::new());
    }

    #[test]
    fn a_closed_pipe_does_not_matter() {
        let seconds = AtomicU64::new(0);
        let now = move || Duration::from_secs(seconds.fetch_add(10, Ordering::Relaxed));
        let progress = Progress::with(Kind::Plain, Box::new(ClosedPipe), Box::new(now));
        progress.listing("inbox", 1, Some(3));
        progress.listing("inbox", 2, Some(3));
        progress.finish("done");
    }

    #[test]
    fn numbers_are_made_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_550), "1.5 kB");
        assert_eq!(bytes(12_345_678_901), "12.3 GB");
        assert_eq!(duration(Duration::from_secs(99)), "99 s");
        assert_eq!(duration(Duration::from_secs(121)), "3 min");
        assert_eq!(duration(Duration::from_secs(7_260)), "2 h 1 min");
    }
}
