//! Whether the service can be reached, so that only one request at a time is spent on finding out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;
use super::policy::RetryPolicy;

/// No pause between two probes is longer: a network that is back is found that soon, at a cost that any budget bears.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A probe that takes longer no longer keeps others from trying: it may be a long upload, or hang.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// So many failures in a row say that it isn't about one request, and are told to all who wait.
const TOLD: u32 = 3;

/// What the requests that were made tell about the way to the service.
///
/// While it is open, each request goes as it comes. From the first request that doesn't come through until one does, they
/// go one at a time, as probes, with pauses that grow; the others wait for what becomes of these.
pub(crate) struct Reach {
    state: Mutex<State>,
    /// Wakes those who wait, in the order in which they came; a channel would do so in any order.
    news: Notify,
    first_pause: Duration,
    longest_pause: Duration,
}

struct State {
    /// Failures since the last request that came through.
    failures: u32,
    /// What the last one was.
    error: Arc<str>,
    /// When the last probe began, while it is under way.
    probe: Option<Instant>,
    /// No probe begins before.
    probe_at: Instant,
}

/// What a request that may go does with its turn: it says how it went. One that is given up says nothing.
pub(crate) struct Turn<'r> {
    reach: &'r Reach,
    /// How many failures there were when it began.
    mark: u32,
    /// When it began, if it is a probe.
    probe: Option<Instant>,
}

/// One request's wait for its turns.
#[derive(Default)]
pub(crate) struct Patience {
    /// How many failures there were when it began to wait.
    known: Option<u32>,
}

impl Reach {
    pub(crate) fn new(policy: &RetryPolicy) -> Self {
        let now = Instant::now();
        let state = State { failures: 0, error: "".into(), probe: None, probe_at: now };
        Self {
            state: Mutex::new(state),
            news: Notify::new(),
            first_pause: policy.first_delay,
            longest_pause: policy.longest_delay.min(LONGEST_PAUSE),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a turn to a request that may go now.
    pub(crate) fn turn(&self) -> Option<Turn<'_>> {
        let now = Instant::now();
        let mut state = self.state();
        let mut probe = None;
        if state.failures > 0 {
            if state.next_chance() > now {
                return None;
            }
            state.probe = Some(now);
            probe = Some(now);
        }
        Some(Turn { reach: self, mark: state.failures, probe })
    }

    /// Waits until it is worth asking for a turn. Fails as the probe does that shows that nobody comes through.
    pub(crate) async fn wait(&self, patience: &mut Patience) -> Result<(), Failure> {
        let news = self.news.notified();
        let (failures, error, chance) = {
            let state = self.state();
            (state.failures, state.error.clone(), state.next_chance())
        };
        if failures == 0 {
            return Ok(());
        }
        let known = patience.known.map_or(failures, |known| known.min(failures));
        patience.known = Some(known);
        if failures > known && failures >= TOLD {
            return Err(Failure::Network(error.to_string().into()));
        }
        // Either way it is worth asking.
        let _ = timeout_at(chance, news).await;
        Ok(())
    }

    /// The network has changed: the next probe may begin at once.
    pub(crate) fn hurry(&self) {
        let mut state = self.state();
        state.probe_at = Instant::now();
        state.probe = None;
        drop(state);
        self.news.notify_waiters();
    }

    /// The pause before the next probe after so many failures. The first one may have been about one request only, so the
    /// next follows at once.
    fn pause(&self, failures: u32, random: f64) -> Duration {
        let Some(doublings) = failures.checked_sub(2) else { return Duration::ZERO };
        let bound = self.first_pause.saturating_mul(1 << doublings.min(20)).min(self.longest_pause);
        bound.mul_f64(f64::midpoint(1.0, random.clamp(0.0, 1.0)))
    }
}

impl State {
    /// When the next request may become a probe.
    fn next_chance(&self) -> Instant {
        self.probe.map_or(self.probe_at, |began| self.probe_at.max(began + PROBE_PATIENCE))
    }
}

impl Turn<'_> {
    /// An answer came: the way is open.
    pub(crate) fn came_through(self) {
        let mut state = self.reach.state();
        state.failures = 0;
        state.probe = None;
        drop(state);
        self.reach.news.notify_waiters();
    }

    /// The request or its answer didn't come through. `random` is from 0 up to 1.
    pub(crate) fn failed(self, error: &str, random: f64) {
        let mut state = self.reach.state();
        // Those that were under way together fail together, which says no more than one does.
        if self.mark != state.failures {
            return;
        }
        state.failures = state.failures.saturating_add(1);
        state.error = error.into();
        state.probe_at = Instant::now() + self.reach.pause(state.failures, random);
        state.probe = None;
        drop(state);
        self.reach.news.notify_waiters();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(began) = self.probe else { return };
        if self.reach.state().probe.take_if(|probe| *probe == began).is_some() {
            self.reach.news.notify_waiters();
        }
    }
}
