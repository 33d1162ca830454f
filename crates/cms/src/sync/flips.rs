//! Messages that change to and fro without end, as where two clients of one account don't agree (`lieer#112`): each is
//! left alone until it is quiet.

use std::collections::VecDeque;
use std::time::Duration;

use cms_engine::{HashMap, RowId};
use tokio::time::Instant;

/// So many changes of one message that crossed over within [`WITHIN`] are no person's doing.
const MANY: usize = 20;

/// See [`MANY`].
const WITHIN: Duration = Duration::from_secs(3600);

/// How long nothing must happen to a message that was left alone.
const QUIET: Duration = Duration::from_secs(600);

/// Counts the changes that crossed over, and knows the messages that are left alone.
#[derive(Default)]
pub(crate) struct Flips {
    crossed: HashMap<RowId, VecDeque<Instant>>,
    /// Since when nothing has happened to each.
    frozen: HashMap<RowId, Instant>,
    tidied_at: Option<Instant>,
}

impl Flips {
    /// Notes that a change of a message crossed over. Returns whether it is left alone from now on.
    pub(crate) fn note(&mut self, row: RowId, now: Instant) -> bool {
        if self.tidied_at.is_none_or(|at| now.duration_since(at) >= WITHIN) {
            self.crossed.retain(|_, times| times.back().is_some_and(|at| now.duration_since(*at) < WITHIN));
            self.tidied_at = Some(now);
        }
        let times = self.crossed.entry(row).or_default();
        times.push_back(now);
        if times.len() < MANY {
            return false;
        }
        let first = times.pop_front();
        let many = first.is_some_and(|first| now.duration_since(first) < WITHIN);
        many && self.frozen.insert(row, now).is_none()
    }

    /// How many messages changes are counted of.
    pub(crate) fn len(&self) -> usize {
        self.crossed.len()
    }

    /// How many are left alone.
    pub(crate) fn frozen(&self) -> usize {
        self.frozen.len()
    }

    /// Whether a message is left alone.
    pub(crate) fn is_frozen(&self, row: RowId) -> bool {
        self.frozen.contains_key(&row)
    }

    /// Heeds that something has happened to those messages of which `touched` says so.
    pub(crate) fn heed(&mut self, touched: impl Fn(RowId) -> bool, now: Instant) {
        for (row, since) in &mut self.frozen {
            if touched(*row) {
                *since = now;
            }
        }
    }

    /// Gives the messages back that were quiet for long enough; they are counted anew.
    pub(crate) fn release(&mut self, now: Instant) -> Vec<RowId> {
        let mut quiet: Vec<RowId> =
            self.frozen.iter().filter(|(_, since)| now.duration_since(**since) >= QUIET).map(|(row, _)| *row).collect();
        quiet.sort_unstable();
        for row in &quiet {
            self.frozen.remove(row);
            self.crossed.remove(row);
        }
        quiet
    }

    /// When [`Flips::release`] has something to give back next.
    pub(crate) fn next_release(&self) -> Option<Instant> {
        self.frozen.values().map(|since| *since + QUIET).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: RowId = RowId(1);

    #[test]
    fn f08_many_changes_within_an_hour_freeze_a_message_until_it_is_quiet() {
        let mut flips = Flips::default();
        let start = Instant::now();
        let minute = |minute: u64| start + Duration::from_secs(60 * minute);
        for change in 0..19 {
            assert!(!flips.note(ROW, minute(change)), "change {change}");
        }
        assert!(!flips.is_frozen(ROW));
        assert!(flips.note(ROW, minute(19)), "it is told");
        assert!(!flips.note(ROW, minute(19)), "and told once");
        assert!(flips.is_frozen(ROW) && !flips.is_frozen(RowId(2)));
        assert_eq!(flips.next_release(), Some(minute(29)));
        flips.heed(|row| row == ROW, minute(25));
        assert_eq!((flips.release(minute(34)), flips.next_release()), (vec![], Some(minute(35))));
        assert_eq!((flips.release(minute(35)), flips.next_release()), (vec![ROW], None));
        assert!(!flips.is_frozen(ROW));
        assert!(!flips.note(ROW, minute(35)), "it is counted anew");
    }

    #[test]
    fn changes_over_a_day_freeze_nothing() {
        let mut flips = Flips::default();
        let start = Instant::now();
        for change in 0..200 {
            assert!(!flips.note(ROW, start + Duration::from_secs(change * 240)));
        }
        assert_eq!(flips.crossed[&ROW].len(), MANY - 1);
    }
}
