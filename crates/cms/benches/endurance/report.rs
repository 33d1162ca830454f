//! The figures.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use simcloud::Counters;

use crate::agitation::MOST_AN_HOUR;
use crate::histogram::Histogram;
use crate::mail::Side;
use crate::process::Taken;
use crate::verdict::Verdict;
use crate::{Arguments, Result};

/// Samples between two lines of the table.
const SAMPLES_IN_A_LINE: usize = 10;

/// How long changes took to the other side.
pub(crate) struct Lags {
    /// What was done here, to the cloud.
    from_here: Histogram,
    from_there: Histogram,
}

impl Lags {
    pub(crate) fn new() -> Self {
        Self { from_here: Histogram::new(), from_there: Histogram::new() }
    }

    pub(crate) fn add(&mut self, side: Side, lag: Duration) {
        match side {
            Side::Here => self.from_here.add(lag),
            Side::There => self.from_there.add(lag),
        }
    }

    fn each(&self) -> [(&'static str, &Histogram); 2] {
        [("here to the cloud", &self.from_here), ("cloud to here", &self.from_there)]
    }
}

/// What was seen at a moment.
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) taken: Taken,
    /// Megabytes of the state without the messages, and of the messages.
    pub(crate) database: f64,
    pub(crate) messages: f64,
    /// Rows by table.
    pub(crate) rows: Vec<(&'static str, i64)>,
    /// What the program last said of its collections: some minutes ago.
    pub(crate) lengths: String,
    /// Requests so far that count towards the service's limit.
    pub(crate) requests: u64,
    /// Changes that aren't on the other side yet.
    pub(crate) pending: usize,
    pub(crate) changes: u64,
    /// Of what arrived since the last sample, without the time in which the network was cut.
    pub(crate) lags: Lags,
}

pub(crate) struct Report {
    what: String,
    cuts: bool,
    pub(crate) samples: Vec<Sample>,
    pub(crate) lags: Lags,
    /// The same without the time in which the network was cut.
    pub(crate) connected_lags: Lags,
    /// By side (whether it was in the cloud) and kind of change.
    pub(crate) by_kind: BTreeMap<(bool, &'static str), Histogram>,
    /// Answers by status; 0 is a connection that was reset.
    pub(crate) answers: BTreeMap<u16, u64>,
    pub(crate) counters: Counters,
    /// Messages that ever were, and downloads of them.
    pub(crate) arrived: usize,
    pub(crate) downloads: u64,
    pub(crate) changes: u64,
    /// How long changes were made.
    pub(crate) length: Duration,
    pub(crate) settled_after: Duration,
    pub(crate) pending: usize,
    /// Messages that weren't as wanted although nothing had been done to them for a while.
    pub(crate) odd: usize,
    pub(crate) verdict: Verdict,
}

impl Report {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let cuts = if arguments.cuts {
            format!(", network cut for {} s of every {} s", arguments.cut_for, arguments.cut_every)
        } else {
            String::new()
        };
        let faults = if arguments.calm { ", no faults" } else { "" };
        let what = format!(
            "cms {}, seed {}, {} messages, {} changes a second, of one message at most {MOST_AN_HOUR} an hour, {} ms a \
             request{faults}{cuts}",
            env!("CARGO_PKG_VERSION"),
            arguments.seed(),
            arguments.messages,
            arguments.rate,
            arguments.latency
        );
        Self {
            what,
            cuts: arguments.cuts,
            samples: Vec::new(),
            lags: Lags::new(),
            connected_lags: Lags::new(),
            by_kind: BTreeMap::new(),
            answers: BTreeMap::new(),
            counters: Counters::default(),
            arrived: 0,
            downloads: 0,
            changes: 0,
            length: Duration::ZERO,
            settled_after: Duration::ZERO,
            pending: 0,
            odd: 0,
            verdict: Verdict::default(),
        }
    }

    /// Whether nothing is wrong that mustn't be.
    pub(crate) fn is_good(&self) -> bool {
        self.verdict.is_good()
            && self.pending == 0
            && self.odd == 0
            && self.counters.throttled_by_client == 0
            && self.counters.violation_count == 0
    }

    /// The most requests within ten samples, which are ten minutes.
    fn busiest(&self) -> u64 {
        let requests: Vec<u64> = self.samples.iter().map(|sample| sample.requests).collect();
        (1..requests.len())
            .map(|end| requests[end] - requests[end.saturating_sub(SAMPLES_IN_A_LINE)])
            .max()
            .unwrap_or_default()
    }

    /// A line about a sample and what came since the line before.
    pub(crate) fn line(&self, index: usize) -> String {
        let sample = &self.samples[index];
        let taken = &sample.taken;
        let lags = sample
            .lags
            .each()
            .map(|(_, lag)| format!("{:.1}/{:.1}/{:.1} s", lag.percentile(0.5), lag.percentile(0.9), lag.longest()));
        format!(
            "{:>5.1} min: {:>6} changes, {:>4} pending, {:>5.1} MB ({:.1} at most, {:.1} anonymous), {:>6.1} s of processor, {} files open, \
             {} threads, database {:.1} MB, store {:.1} MB, {} requests, lag p50/p90/max here {}, there {}\n          rows {:?}, {}",
            sample.at.as_secs_f64() / 60.0,
            sample.changes,
            sample.pending,
            taken.memory,
            taken.peak_memory,
            taken.anonymous,
            taken.processor,
            taken.open_files,
            taken.threads,
            sample.database,
            sample.messages,
            sample.requests,
            lags[0],
            lags[1],
            sample.rows,
            sample.lengths,
        )
    }

    pub(crate) fn json(&self) -> Result<String> {
        let samples: Vec<Value> = self.samples.iter().map(json_of_sample).collect();
        let by_kind: Vec<Value> = self
            .by_kind
            .iter()
            .map(|((there, kind), lag)| json!({ "there": there, "kind": kind, "lag": json_of(lag) }))
            .collect();
        let Verdict { lost, doubled, different, damaged, sentences } = &self.verdict;
        let all = json!({
            "what": self.what,
            "good": self.is_good(),
            "seconds": self.length.as_secs_f64(),
            "settled_after_seconds": self.settled_after.as_secs_f64(),
            "changes": self.changes,
            "lags": json_of_lags(&self.lags),
            "lags_without_cuts": json_of_lags(&self.connected_lags),
            "lags_by_kind_without_cuts": by_kind,
            "answers": self.answers,
            "counters": self.counters,
            "requests_in_the_busiest_ten_minutes": self.busiest(),
            "messages": self.arrived,
            "downloads": self.downloads,
            "pending": self.pending,
            "odd": self.odd,
            "verdict": {
                "lost": lost, "doubled": doubled, "different": different, "damaged": damaged, "sentences": sentences,
            },
            "samples": samples,
        });
        Ok(serde_json::to_string_pretty(&all)?)
    }
}

fn json_of(lag: &Histogram) -> Value {
    json!({
        "count": lag.count(),
        "p50": lag.percentile(0.5),
        "p90": lag.percentile(0.9),
        "p99": lag.percentile(0.99),
        "longest": lag.longest(),
    })
}

fn json_of_lags(lags: &Lags) -> Value {
    let [(_, here), (_, there)] = lags.each();
    json!({ "from_here": json_of(here), "from_there": json_of(there) })
}

fn json_of_sample(sample: &Sample) -> Value {
    let taken = &sample.taken;
    json!({
        "seconds": sample.at.as_secs_f64(),
        "memory_mb": taken.memory,
        "peak_memory_mb": taken.peak_memory,
        "anonymous_mb": taken.anonymous,
        "rows": sample.rows.iter().copied().collect::<BTreeMap<_, _>>(),
        "lengths": sample.lengths,
        "processor_seconds": taken.processor,
        "open_files": taken.open_files,
        "threads": taken.threads,
        "database_mb": sample.database,
        "messages_mb": sample.messages,
        "requests": sample.requests,
        "pending": sample.pending,
        "changes": sample.changes,
        "lags_without_cuts": json_of_lags(&sample.lags),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        let seconds = self.length.as_secs_f64();
        let minutes = seconds / 60.0;
        writeln!(
            f,
            "{} changes in {minutes:.1} minutes ({:.1} a second)",
            self.changes,
            self.changes as f64 / seconds
        )?;
        let lags = |f: &mut fmt::Formatter<'_>, lags: &Lags, how: &str| {
            for (way, lag) in lags.each() {
                let [middle, most, nearly_all] = [0.5, 0.9, 0.99].map(|share| lag.percentile(share));
                let longest = lag.longest();
                writeln!(
                    f,
                    "lag {way}{how}: p50 {middle:.2} s, p90 {most:.2} s, p99 {nearly_all:.2} s, longest {longest:.2} s"
                )?;
            }
            Ok(())
        };
        lags(f, &self.lags, "")?;
        if self.cuts {
            lags(f, &self.connected_lags, ", cuts not counted")?;
        }
        for ((there, kind), lag) in &self.by_kind {
            let side = if *there { "there" } else { "here" };
            let [middle, nearly_all] = [0.5, 0.99].map(|share| lag.percentile(share));
            writeln!(f, "    {side} {kind}: {} times, p50 {middle:.2} s, p99 {nearly_all:.2} s", lag.count())?;
        }
        for index in (0..self.samples.len()).filter(|index| index.is_multiple_of(SAMPLES_IN_A_LINE)) {
            writeln!(f, "{}", self.line(index))?;
        }
        if let Some(last) = self.samples.len().checked_sub(1) {
            writeln!(f, "{}", self.line(last))?;
        }
        let Counters {
            requests, throttled_by_client, throttled_injected, faults_injected, highest_concurrency, ..
        } = &self.counters;
        writeln!(f, "requests by kind: {requests:?}")?;
        writeln!(f, "answers by status: {:?}", self.answers)?;
        writeln!(f, "requests in the busiest ten minutes, items of batches too: {}", self.busiest())?;
        writeln!(f, "{faults_injected} failures on purpose, {throttled_injected} answers of 429 among them")?;
        writeln!(f, "answers of 429 that cms caused: {throttled_by_client}")?;
        writeln!(f, "requests at a time: {highest_concurrency} at most")?;
        writeln!(f, "rules of the service broken: {:?}", self.counters.violations)?;
        writeln!(f, "{} messages in all, {} downloads", self.arrived, self.downloads)?;
        writeln!(f, "both sides the same {:.1} s after the last change", self.settled_after.as_secs_f64())?;
        let Verdict { lost, doubled, different, damaged, sentences } = &self.verdict;
        writeln!(
            f,
            "{lost} messages lost, {doubled} doubled, {different} not as wanted, {damaged} damaged, {} changes not \
             arrived, {} undone without a reason",
            self.pending, self.odd
        )?;
        for sentence in sentences {
            writeln!(f, "{sentence}")?;
        }
        writeln!(f, "{}", if self.is_good() { "PASS" } else { "FAIL" })
    }
}
