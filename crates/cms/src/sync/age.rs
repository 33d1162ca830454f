//! The state's own clock, by which it is told how long something has been kept.
//!
//! The computer's clock may be wrong for a moment: before it was set over the network, or with an empty battery, by years.
//! What was deleted yesterday must not go for good because of that, nor stay for years. This clock goes on with the time
//! that the computer was running, and is set by nobody. Only the time between two runs it must take from the computer's,
//! and it believes little of that at once: who runs CMS seldom has what was deleted for longer.

use std::time::Duration;

use cms_engine::UnixSeconds;
use cms_store::{Change, Database, JournalPart, StoreError};

use crate::sync::Surroundings;

/// The most that is believed to have passed between two runs, in seconds.
const MOST_BETWEEN_RUNS: i64 = 12 * 3600;

/// How long it goes on until that is worth a note.
const WORTH_NOTING: i64 = 60;

/// What it showed last and what the computer's clock showed then, as a key in the database.
const NOTED: &str = "age";

/// The clock of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Age {
    /// What it showed when the run began.
    began: i64,
    /// How long the computer had been running then.
    uptime: Duration,
    /// What it showed when it was noted, in this run.
    noted: Option<i64>,
}

impl Age {
    /// Goes on where the last run has left it.
    pub(crate) fn open(database: &Database, surroundings: &Surroundings) -> Result<Self, StoreError> {
        let now = (surroundings.now)().0;
        let began = match database.meta(NOTED)?.and_then(|text| parse(&text)) {
            Some((age, clock)) => after(age, now.saturating_sub(clock)),
            // What a state from before this clock holds was noted by the computer's.
            None => newest_note(database)?.map_or(now, |newest| now.min(after(newest, i64::MAX))),
        };
        Ok(Self { began, uptime: (surroundings.uptime)(), noted: None })
    }

    /// What it shows.
    pub(crate) fn now(&self, surroundings: &Surroundings) -> UnixSeconds {
        let running = (surroundings.uptime)().saturating_sub(self.uptime);
        UnixSeconds(self.began.saturating_add(i64::try_from(running.as_secs()).unwrap_or(i64::MAX)))
    }

    /// What is to be written down for the next run, unless that was done just now.
    pub(crate) fn note(&mut self, surroundings: &Surroundings) -> Option<Change> {
        let age = self.now(surroundings).0;
        if self.noted.is_some_and(|noted| age - noted < WORTH_NOTING) {
            return None;
        }
        self.noted = Some(age);
        let clock = (surroundings.now)().0;
        Some(Change::SetMeta { key: NOTED.to_owned(), value: format!("{age} {clock}") })
    }
}

fn after(age: i64, passed: i64) -> i64 {
    age.saturating_add(passed.clamp(0, MOST_BETWEEN_RUNS))
}

fn parse(text: &str) -> Option<(i64, i64)> {
    let (age, clock) = text.split_once(' ')?;
    Some((age.parse().ok()?, clock.parse().ok()?))
}

/// When something was last released or written into the journal.
fn newest_note(database: &Database) -> Result<Option<i64>, StoreError> {
    let mut newest = database.released()?.into_iter().map(|(_, at)| at.0).max();
    database.journal(JournalPart::Newest(1), |record| newest = newest.max(Some(record.entry.at.0)))?;
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use tempfile::TempDir;

    use super::*;

    const TODAY: i64 = 1_790_100_000;
    const HOUR: i64 = 3600;
    const YEAR: i64 = 365 * 24 * HOUR;

    /// A computer: what its clock shows, and how long it has been running.
    #[derive(Clone, Default)]
    struct Computer(Arc<[AtomicI64; 2]>);

    impl Computer {
        fn at(clock: i64) -> Self {
            let computer = Self::default();
            computer.set(clock);
            computer
        }

        fn set(&self, clock: i64) {
            self.0[0].store(clock, Ordering::Relaxed);
        }

        fn pass(&self, seconds: i64) {
            for clock in self.0.iter() {
                clock.fetch_add(seconds, Ordering::Relaxed);
            }
        }

        fn surroundings(&self) -> Surroundings {
            let (clock, uptime) = (self.0.clone(), self.0.clone());
            Surroundings {
                now: Arc::new(move || UnixSeconds(clock[0].load(Ordering::Relaxed))),
                uptime: Arc::new(move || Duration::from_secs(uptime[1].load(Ordering::Relaxed).unsigned_abs())),
                ..Surroundings::default()
            }
        }
    }

    /// A run that begins, goes on for so long, and says what it showed at both ends.
    fn run(directory: &TempDir, computer: &Computer, passes: impl FnOnce()) -> (i64, i64) {
        let surroundings = computer.surroundings();
        let mut database = Database::open(directory.path()).unwrap();
        let mut age = Age::open(&database, &surroundings).unwrap();
        let began = age.now(&surroundings).0;
        database.apply(&[age.note(&surroundings).expect("each start is noted")]).unwrap();
        passes();
        database.apply(Vec::from_iter(age.note(&surroundings)).as_slice()).unwrap();
        (began - TODAY, age.now(&surroundings).0 - TODAY)
    }

    #[test]
    fn it_goes_on_with_the_computer_and_is_set_by_nobody() {
        let directory = TempDir::new().unwrap();
        let computer = Computer::at(TODAY);
        let jumps = || {
            computer.set(TODAY + 10 * YEAR);
            computer.pass(HOUR);
            computer.set(0);
            computer.pass(HOUR);
        };
        assert_eq!(run(&directory, &computer, jumps), (0, 2 * HOUR));
        // Off for an hour, and the clock that stood at 1970 was set meanwhile: that counts for half a day.
        computer.set(TODAY + 3 * HOUR);
        assert_eq!(run(&directory, &computer, || {}), (14 * HOUR, 14 * HOUR));
        computer.set(TODAY + 4 * HOUR);
        assert_eq!(run(&directory, &computer, || computer.pass(HOUR)), (15 * HOUR, 16 * HOUR));
    }

    #[test]
    fn a_start_with_a_wrong_clock_counts_for_half_a_day_at_most() {
        let directory = TempDir::new().unwrap();
        let computer = Computer::at(TODAY);
        assert_eq!(run(&directory, &computer, || {}), (0, 0));
        computer.set(TODAY + 10 * YEAR);
        assert_eq!(run(&directory, &computer, || {}).0, 12 * HOUR);
        computer.set(TODAY);
        assert_eq!(run(&directory, &computer, || {}).0, 12 * HOUR);
        computer.set(TODAY + HOUR);
        assert_eq!(run(&directory, &computer, || {}).0, 13 * HOUR);
    }

    #[test]
    fn a_state_from_before_begins_where_its_notes_end() {
        let directory = TempDir::new().unwrap();
        let mut database = Database::open(directory.path()).unwrap();
        let hash = cms_engine::ContentHash::of(b"x");
        database.apply(&[Change::Released { hash, at: UnixSeconds(TODAY) }]).unwrap();
        drop(database);
        let computer = Computer::at(TODAY + 10 * YEAR);
        assert_eq!(run(&directory, &computer, || {}).0, 12 * HOUR);
    }
}
