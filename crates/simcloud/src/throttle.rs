//! The limits per application and mailbox: requests in flight, requests and uploads in a window, and pauses.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

use crate::knobs::{Knobs, RetryAfterStyle};
use crate::reply::Answer;

/// Application and mailbox: what the limits are counted for.
pub(crate) type Account = (String, String);

/// What happened within the last so-and-so many seconds.
#[derive(Default)]
struct Window {
    buckets: VecDeque<(u64, u64)>,
    sum: u64,
}

impl Window {
    /// Adds an amount at a second, forgets what is older than `length`, and returns the sum.
    fn add(&mut self, second: u64, amount: u64, length: u64) -> u64 {
        while let Some((_, gone)) = self.buckets.front().copied().filter(|(at, _)| at + length <= second) {
            self.sum -= gone;
            self.buckets.pop_front();
        }
        match self.buckets.back_mut() {
            Some((at, sum)) if *at == second => *sum += amount,
            _ => self.buckets.push_back((second, amount)),
        }
        self.sum += amount;
        self.sum
    }

    /// Seconds until something leaves the window.
    fn wait(&self, second: u64, length: u64) -> u64 {
        self.buckets.front().map_or(1, |(at, _)| (at + length).saturating_sub(second).max(1))
    }
}

#[derive(Default)]
struct Gate {
    in_flight: usize,
    /// When the client was told to pause, and until when.
    pause: Option<(Instant, Instant)>,
    requests: Window,
    uploads: Window,
    /// Until when single items of batches were told to wait.
    items: HashMap<String, Instant>,
}

impl Gate {
    /// Refuses what comes while the client was told to pause.
    fn check_pause(&mut self, now: Instant, knobs: &Knobs) -> Result<(), Refusal> {
        let Some((told, until)) = self.pause else { return Ok(()) };
        let grace = Duration::from_millis(knobs.retry_after_grace_ms);
        if now < until && now >= told + grace {
            let early = (until - now).as_secs_f64();
            return Err(Refusal {
                limit: "MailboxConcurrency",
                seconds: ceiling(until - now),
                sentence: format!("called {early:.2} s before Retry-After was over"),
            });
        }
        if now >= until {
            self.pause = None;
        }
        Ok(())
    }
}

/// Why a request isn't served.
pub(crate) struct Refusal {
    /// The limit, as the service names it.
    pub(crate) limit: &'static str,
    /// What to ask for.
    pub(crate) seconds: u64,
    /// What the client did wrong.
    pub(crate) sentence: String,
}

/// All gates.
pub(crate) struct Throttle {
    started: Instant,
    gates: Mutex<HashMap<Account, Gate>>,
}

/// A place among the requests in flight; given back when dropped.
pub(crate) struct Slot {
    throttle: Arc<Throttle>,
    account: Account,
    places: usize,
}

impl Slot {
    /// How many places this is.
    pub(crate) fn places(&self) -> usize {
        self.places
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(gate) = self.throttle.gates().get_mut(&self.account) {
            gate.in_flight -= self.places;
        }
    }
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), gates: Mutex::default() }
    }

    fn gates(&self) -> MutexGuard<'_, HashMap<Account, Gate>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets something in that counts as so many requests, or says why not. Whoever is refused was counted nevertheless.
    pub(crate) fn enter(
        self: &Arc<Self>,
        account: &Account,
        requests: u64,
        knobs: &Knobs,
    ) -> Result<(Slot, usize), Refusal> {
        let now = Instant::now();
        let second = now.saturating_duration_since(self.started).as_secs();
        let mut gates = self.gates();
        let gate = gates.entry(account.clone()).or_default();
        let sum = gate.requests.add(second, requests, knobs.window_seconds);
        gate.check_pause(now, knobs)?;
        if sum > knobs.window_requests {
            return Err(Refusal {
                limit: "MailboxRequests",
                seconds: gate.requests.wait(second, knobs.window_seconds),
                sentence: format!("{sum} requests within {} s", knobs.window_seconds),
            });
        }
        if gate.in_flight >= knobs.concurrency_limit {
            return Err(Refusal {
                limit: "MailboxConcurrency",
                seconds: knobs.retry_after_seconds,
                sentence: format!("{} requests in flight", gate.in_flight + 1),
            });
        }
        gate.in_flight += 1;
        let highest = gate.in_flight;
        drop(gates);
        Ok((Slot { throttle: Arc::clone(self), account: account.clone(), places: 1 }, highest))
    }

    /// Takes more places for a batch that runs several items at a time: as many of `wanted` as are free.
    pub(crate) fn widen(&self, slot: &mut Slot, wanted: usize, knobs: &Knobs) -> usize {
        let mut gates = self.gates();
        let Some(gate) = gates.get_mut(&slot.account) else { return 0 };
        let more = wanted.saturating_sub(slot.places).min(knobs.concurrency_limit.saturating_sub(gate.in_flight));
        gate.in_flight += more;
        slot.places += more;
        gate.in_flight
    }

    /// Counts an item of a batch. A refusal says how long the item is to wait.
    pub(crate) fn item(&self, account: &Account, name: &str, knobs: &Knobs) -> Result<(), Refusal> {
        let now = Instant::now();
        let second = now.saturating_duration_since(self.started).as_secs();
        let mut gates = self.gates();
        let gate = gates.entry(account.clone()).or_default();
        let sum = gate.requests.add(second, 1, knobs.window_seconds);
        if let Some(until) = gate.items.remove(name).filter(|until| *until > now) {
            gate.items.insert(name.to_owned(), until);
            return Err(Refusal {
                limit: "MailboxConcurrency",
                seconds: ceiling(until - now),
                sentence: format!(
                    "batch item sent again {:.2} s before its Retry-After was over",
                    (until - now).as_secs_f64()
                ),
            });
        }
        if sum > knobs.window_requests {
            return Err(Refusal {
                limit: "MailboxRequests",
                seconds: gate.requests.wait(second, knobs.window_seconds),
                sentence: format!("{sum} requests within {} s", knobs.window_seconds),
            });
        }
        Ok(())
    }

    /// Refuses something that comes while the client was told to pause; it counts for no limit.
    pub(crate) fn keep_pause(&self, account: &Account, knobs: &Knobs) -> Result<(), Refusal> {
        self.gates().get_mut(account).map_or(Ok(()), |gate| gate.check_pause(Instant::now(), knobs))
    }

    /// Counts uploaded bytes.
    pub(crate) fn upload(&self, account: &Account, bytes: usize, knobs: &Knobs) -> Result<(), Refusal> {
        let second = self.started.elapsed().as_secs();
        let mut gates = self.gates();
        let gate = gates.entry(account.clone()).or_default();
        let amount = u64::try_from(bytes).unwrap_or(u64::MAX);
        let sum = gate.uploads.add(second, amount, knobs.upload_window_seconds);
        if sum > knobs.upload_bytes {
            return Err(Refusal {
                limit: "MailboxUpload",
                seconds: gate.uploads.wait(second, knobs.upload_window_seconds),
                sentence: format!("{sum} bytes uploaded within {} s", knobs.upload_window_seconds),
            });
        }
        Ok(())
    }

    /// Remembers that the client was told to pause.
    pub(crate) fn pause(&self, account: &Account, length: Duration) {
        let now = Instant::now();
        let mut gates = self.gates();
        let gate = gates.entry(account.clone()).or_default();
        let until = now + length;
        // A second 429 within one burst doesn't renew the grace of the first.
        let told = gate.pause.filter(|(_, until)| *until > now).map_or(now, |(told, _)| told);
        let until = gate.pause.map_or(until, |(_, old)| old.max(until));
        gate.pause = Some((told, until));
    }

    /// Remembers that one item of a batch was told to wait.
    pub(crate) fn pause_item(&self, account: &Account, name: &str, length: Duration) {
        let mut gates = self.gates();
        gates.entry(account.clone()).or_default().items.insert(name.to_owned(), Instant::now() + length);
    }

    /// Forgets all pauses and windows; what is in flight stays counted.
    pub(crate) fn forget(&self) {
        for gate in self.gates().values_mut() {
            *gate = Gate { in_flight: gate.in_flight, ..Gate::default() };
        }
    }
}

fn ceiling(length: Duration) -> u64 {
    length.as_secs() + u64::from(length.subsec_nanos() > 0)
}

/// Adds Retry-After in the wanted style, and returns how long the client is asked to pause.
pub(crate) fn retry_after(answer: Answer, seconds: u64, style: RetryAfterStyle) -> (Answer, Option<Duration>) {
    match style {
        RetryAfterStyle::Missing => (answer, None),
        RetryAfterStyle::Seconds => {
            (answer.with("Retry-After", seconds.to_string()), Some(Duration::from_secs(seconds)))
        }
        RetryAfterStyle::Date => {
            let now = SystemTime::now();
            let at = now + Duration::from_secs(seconds);
            let text = httpdate::fmt_http_date(at);
            // The date has whole seconds, so the pause that the client sees is a little shorter.
            let length = httpdate::parse_http_date(&text).ok().and_then(|at| at.duration_since(now).ok());
            (answer.with("Retry-After", text), length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_forget() {
        let mut window = Window::default();
        assert_eq!(window.add(0, 5, 10), 5);
        assert_eq!(window.add(9, 1, 10), 6);
        assert_eq!(window.wait(9, 10), 1);
        assert_eq!(window.add(10, 1, 10), 2);
    }

    #[test]
    fn places_are_given_back() {
        let throttle = Arc::new(Throttle::new());
        let knobs = Knobs { concurrency_limit: 2, ..Knobs::default() };
        let account = ("app".to_owned(), "user".to_owned());
        let first = throttle.enter(&account, 1, &knobs).ok();
        let second = throttle.enter(&account, 1, &knobs).ok();
        assert!(throttle.enter(&account, 1, &knobs).is_err());
        drop((first, second));
        assert!(throttle.enter(&account, 1, &knobs).is_ok());
    }
}
