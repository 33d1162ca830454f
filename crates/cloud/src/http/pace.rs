//! A budget of requests in a sliding window of time.

use std::collections::VecDeque;
use std::time::Duration;

/// Counts requests by the second and says how long to wait so that no window of time holds too many.
///
/// Time is whatever the caller gives, as seconds since a start of its own.
pub(crate) struct Pace {
    window_secs: u64,
    limit: usize,
    used: usize,
    /// Second and how many requests began in it, oldest first: at most as many entries as the window has seconds.
    seconds: VecDeque<(u64, usize)>,
}

impl Pace {
    pub(crate) fn new(limit: usize, window: Duration) -> Self {
        Self { window_secs: window.as_secs().max(1), limit, used: 0, seconds: VecDeque::new() }
    }

    /// Counts `requests` at `now` and returns nothing, or returns how long to wait before asking again.
    ///
    /// `reserve` requests are left for others.
    pub(crate) fn take(&mut self, now: Duration, requests: usize, reserve: usize) -> Option<Duration> {
        let second = now.as_secs();
        while let Some(&(began, count)) = self.seconds.front() {
            // The second in which the window ends still counts: its requests may have begun at its end.
            if began + self.window_secs >= second {
                break;
            }
            self.seconds.pop_front();
            self.used -= count;
        }
        let limit = self.limit.saturating_sub(reserve);
        if self.used > 0 && self.used + requests > limit {
            let oldest = self.seconds.front().map_or(second, |(began, _)| *began);
            let free_at = Duration::from_secs(oldest + self.window_secs + 1);
            return Some(free_at.saturating_sub(now).max(Duration::from_millis(1)));
        }
        self.used += requests;
        match self.seconds.back_mut() {
            Some((began, count)) if *began == second => *count += requests,
            _ => self.seconds.push_back((second, requests)),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_holds_more_than_the_limit() {
        let limit = 50;
        let mut pace = Pace::new(limit, Duration::from_secs(10));
        let (mut now, mut taken) = (Duration::ZERO, Vec::new());
        while taken.len() < 1000 {
            match pace.take(now, 1, 0) {
                None => {
                    taken.push(now);
                    now += Duration::from_millis(37);
                }
                Some(wait) => now += wait,
            }
        }
        for (index, begin) in taken.iter().enumerate() {
            let inside = taken[index..].iter().take_while(|time| **time < *begin + Duration::from_secs(10)).count();
            assert!(inside <= limit, "{inside} within the window after {begin:?}");
        }
    }

    #[test]
    fn a_reserve_is_left_and_a_large_request_passes_alone() {
        let mut pace = Pace::new(10, Duration::from_secs(10));
        assert!(pace.take(Duration::ZERO, 8, 2).is_none());
        assert!(pace.take(Duration::ZERO, 1, 2).is_some());
        assert!(pace.take(Duration::ZERO, 2, 0).is_none());
        let mut pace = Pace::new(10, Duration::from_secs(10));
        assert!(pace.take(Duration::ZERO, 20, 0).is_none());
    }
}
