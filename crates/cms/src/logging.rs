//! The log: to stderr, for people or for programs, never across a progress bar.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::arguments::LogFormat;
use crate::progress::Progress;

/// What of ours writes to the log. Of the libraries below only warnings are let through: at their finer levels, some
/// write whole requests, and with them tokens.
const OURS: [&str; 7] = ["cms", "cms_auth", "cms_cloud", "cms_engine", "cms_maildir", "cms_store", "simcloud"];

/// Starts the log for the whole process. A second call changes nothing.
pub fn start(verbose: u8, format: LogFormat, progress: &Progress) {
    let terminal = io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let level = level(verbose, terminal);
    let targets = Targets::new().with_default(LevelFilter::WARN).with_targets(OURS.map(|ours| (ours, level)));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(BesideProgress(progress.clone()))
        .with_timer(Utc)
        // A log whose reader went away is no reason to panic.
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(targets);
    let started = match format {
        LogFormat::Text => registry.with(lines.compact().with_ansi(colour).with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_ansi(false)).try_init(),
    };
    // It fails only if a log was started before, which tests do.
    drop(started);
}

/// At a terminal the progress tells what goes on; a daemon's log must tell it itself.
fn level(verbose: u8, terminal: bool) -> LevelFilter {
    match (verbose, terminal) {
        (0, true) => LevelFilter::WARN,
        (0, false) => LevelFilter::INFO,
        (1, _) => LevelFilter::DEBUG,
        (2.., _) => LevelFilter::TRACE,
    }
}

/// Writes whole events while the progress bars are out of the way.
struct BesideProgress(Progress);

struct Event {
    progress: Progress,
    bytes: Vec<u8>,
}

impl<'a> MakeWriter<'a> for BesideProgress {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event { progress: self.0.clone(), bytes: Vec::new() }
    }
}

impl Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.progress.suspend(|| {
            let _ = io::stderr().lock().write_all(&self.bytes);
        });
    }
}

/// Times such as `2026-11-23T20:14:03Z`.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        write!(writer, "{}", utc(seconds))
    }
}

/// Seconds since 1970 as ISO 8601 (RFC 3339). The days are counted from 1 March of the year 0, so that a leap day is the
/// last of its year, and in eras of 400 years, which all have 146,097 days.
pub(crate) fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_back_by_others() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(utc(1_795_464_843), "2026-11-23T20:14:03Z");
    }

    #[test]
    fn a_daemon_tells_more_than_a_terminal() {
        assert_eq!(level(0, true), LevelFilter::WARN);
        assert_eq!(level(0, false), LevelFilter::INFO);
        assert_eq!(level(1, true), LevelFilter::DEBUG);
        assert_eq!(level(9, false), LevelFilter::TRACE);
    }
}
