//! The attempts to sign in that are under way for one account.

use std::sync::{Mutex, PoisonError};

use tokio::task::AbortHandle;

use crate::exchange::{ATTEMPT_LASTS, Attempt};

/// How many tabs may be at it at a time; the oldest is given up for a new one.
const MOST_ATTEMPTS: usize = 4;

/// The attempts to sign in that are under way for one account.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<UnderWay>);

#[derive(Default)]
struct UnderWay {
    in_browser: Vec<Attempt>,
    with_code: Option<AbortHandle>,
    /// Counts how often everything was given up.
    given_up: u64,
}

/// Says of something that takes its time to begin whether it began before everything was given up.
#[derive(Clone, Copy)]
pub(crate) struct Beginning(u64);

impl Attempts {
    pub(crate) fn add(&self, attempt: Attempt) {
        let mut all = self.lock();
        if all.in_browser.len() >= MOST_ATTEMPTS {
            all.in_browser.remove(0);
        }
        all.in_browser.push(attempt);
    }

    /// Takes out the attempt that an answer belongs to: it is answered once.
    pub(crate) fn take(&self, state: &str) -> Option<Attempt> {
        let mut all = self.lock();
        let at = all.in_browser.iter().position(|attempt| attempt.state.secret() == state)?;
        Some(all.in_browser.remove(at)).filter(|attempt| attempt.began.elapsed() < ATTEMPT_LASTS)
    }

    /// Whether an answer with this state is waited for.
    pub(crate) fn has(&self, state: &str) -> bool {
        self.lock().in_browser.iter().any(|attempt| attempt.state.secret() == state)
    }

    /// Lets go of attempts that nobody will finish any more, and says whether any is left.
    pub(crate) fn drop_old(&self) -> bool {
        let mut all = self.lock();
        all.in_browser.retain(|attempt| attempt.began.elapsed() < ATTEMPT_LASTS);
        !all.in_browser.is_empty()
    }

    /// To be shown once what begins now has begun.
    pub(crate) fn beginning(&self) -> Beginning {
        Beginning(self.lock().given_up)
    }

    /// Puts a sign-in by code, which `start` starts, in place of an earlier one. Doesn't if everything was given up since
    /// its beginning: nobody waits for it any more.
    pub(crate) fn with_code(&self, beginning: Beginning, start: impl FnOnce() -> AbortHandle) {
        let mut all = self.lock();
        if all.given_up != beginning.0 {
            return;
        }
        if let Some(earlier) = all.with_code.replace(start()) {
            earlier.abort();
        }
    }

    /// Gives up everything that is under way.
    pub(crate) fn clear(&self) {
        let mut all = self.lock();
        all.given_up += 1;
        all.in_browser.clear();
        if let Some(task) = all.with_code.take() {
            task.abort();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
