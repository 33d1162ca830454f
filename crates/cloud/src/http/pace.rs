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

    /// Takes back what was counted at `then`: the requests weren't made.
    pub(crate) fn give_back(&mut self, then: Duration, requests: usize) {
        let Ok(at) = self.seconds.binary_search_by_key(&then.as_secs(), |(second, _)| *second) else { return };
        let count = &mut self.seconds[at].1;
        let requests = requests.min(*count);
        *count -= requests;
        self.used -= requests;
    }

    /// How long after `now` the last of so many requests begins, if each begins as soon as it may and nobody else makes any.
    pub(crate) fn least_time(&self, now: Duration, requests: usize, reserve: usize) -> Duration {
        let limit = self.limit.saturating_sub(reserve).max(1);
        let cycle = self.window_secs + 1;
        let in_window = || self.seconds.iter().filter(|(began, _)| began + cycle > now.as_secs());
        let used: usize = in_window().map(|(_, count)| count).sum();
        let Some(missing) = (requests + used).checked_sub(limit).filter(|missing| *missing > 0) else {
            return Duration::ZERO;
        };
        // Each place is taken again as soon as it is free, so the same pattern comes back with each window.
        let (cycles, mut wanted) = ((missing - 1) / limit, (missing - 1) % limit + 1);
        let mut free_at = now.as_secs() + cycle;
        for (began, count) in in_window() {
            if wanted <= *count {
                free_at = began + cycle;
                break;
            }
            wanted -= count;
        }
        let whole = cycle.saturating_mul(u64::try_from(cycles).unwrap_or(u64::MAX));
        Duration::from_secs(free_at.saturating_add(whole)).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn what_is_given_back_can_be_taken_again_and_only_once() {
        let seconds = Duration::from_secs;
        let mut pace = Pace::new(10, seconds(10));
        assert!(pace.take(seconds(1), 4, 0).is_none());
        assert!(pace.take(seconds(3), 6, 0).is_none());
        assert!(pace.take(seconds(4), 1, 0).is_some());
        pace.give_back(seconds(1), 3);
        assert!(pace.take(seconds(4), 4, 0).is_some());
        assert!(pace.take(seconds(4), 3, 0).is_none());
        // Those of the first second no longer count, and can't be had twice.
        assert!(pace.take(seconds(12), 1, 0).is_none());
        pace.give_back(seconds(1), 1);
        assert!(pace.take(seconds(12), 1, 0).is_some());
    }

    /// The documented limit, and what is kept of it (see the options of an Office 365 account).
    const LIMIT: usize = 10_000;
    const WINDOW: Duration = Duration::from_secs(600);
    const RESERVE: usize = LIMIT / 50;

    fn real() -> Pace {
        Pace::new(LIMIT - LIMIT / 100, WINDOW)
    }

    /// A limit that is used to the last request and the last millisecond, as nobody can from the other end of a network.
    struct Ceiling(VecDeque<(Duration, usize)>, usize);

    impl Ceiling {
        fn take(&mut self, now: Duration, requests: usize) -> Option<Duration> {
            while let Some((began, count)) = self.0.front().copied().filter(|(began, _)| *began + WINDOW <= now) {
                self.0.pop_front();
                self.1 -= count;
                assert!(began < now);
            }
            if self.1 + requests > LIMIT {
                return self.0.front().map(|(began, _)| (*began + WINDOW).saturating_sub(now));
            }
            self.0.push_back((now, requests));
            self.1 += requests;
            None
        }
    }

    /// When the last of so many messages begins, listing included. Four batches are under way at a time, each of twenty
    /// messages and a third of a second; a poll is made every half minute. Tells of each request when it began.
    fn download(
        messages: usize,
        mut take: impl FnMut(Duration, usize, usize) -> Option<Duration>,
    ) -> (Duration, Vec<(Duration, usize)>) {
        let mut now = Duration::ZERO;
        let mut begun = Vec::new();
        let mut pass = |now: &mut Duration, requests: usize, reserve: usize| {
            while let Some(wait) = take(*now, requests, reserve) {
                *now += wait;
            }
            begun.push((*now, requests));
        };
        let mut next_poll = Duration::ZERO;
        for number in 0..messages.div_ceil(20) {
            if number % 25 == 0 {
                pass(&mut now, 1, 0);
            }
            if now >= next_poll {
                pass(&mut now, 1, 0);
                next_poll = now + Duration::from_secs(30);
            }
            pass(&mut now, 20, RESERVE);
            now += Duration::from_millis(350) / 4;
        }
        (now, begun)
    }

    #[test]
    fn a_hundred_thousand_messages_come_nearly_as_fast_as_the_service_allows() {
        for messages in [30_000, 100_000, 400_000] {
            let mut pace = real();
            let (ours, begun) = download(messages, |now, requests, reserve| pace.take(now, requests, reserve));
            let mut ceiling = Ceiling(VecDeque::new(), 0);
            let (least, _) = download(messages, |now, requests, _| ceiling.take(now, requests));
            assert!(least >= ours.mul_f64(0.95), "{messages} messages take {ours:?}, and could take {least:?}");
            // A network may delay one request by up to a second more than another, and the service still never says 429.
            let (mut first, mut inside) = (0, 0);
            for (at, requests) in &begun {
                inside += requests;
                while begun[first].0 + WINDOW + Duration::from_secs(1) <= *at {
                    inside -= begun[first].1;
                    first += 1;
                }
                assert!(inside <= LIMIT, "{inside} requests in the window before {at:?}");
            }
        }
    }

    #[test]
    fn the_least_time_of_a_hundred_thousand_messages_is_that_of_the_budget() {
        let least = real().least_time(Duration::ZERO, 100_000, RESERVE);
        assert_eq!(least, Duration::from_secs(10 * 601));
        assert_eq!(real().least_time(Duration::ZERO, LIMIT - LIMIT / 100 - RESERVE, RESERVE), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn the_least_time_is_what_it_takes(
            history in proptest::collection::vec((0u64..4000, 1usize..6), 0..30),
            requests in 1usize..120,
            reserve in 0usize..5,
        ) {
            let mut pace = Pace::new(25, Duration::from_secs(10));
            let mut now = Duration::ZERO;
            for (later, count) in history {
                now += Duration::from_millis(later);
                let _ = pace.take(now, count, reserve);
            }
            let told = pace.least_time(now, requests, reserve);
            let mut at = now;
            for _ in 0..requests {
                while let Some(wait) = pace.take(at, 1, reserve) {
                    at += wait;
                }
            }
            prop_assert_eq!(now + told, at);
        }
    }
}
