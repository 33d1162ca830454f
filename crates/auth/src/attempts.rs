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
}

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

    /// Puts a sign-in by code in place of an earlier one.
    pub(crate) fn with_code(&self, task: AbortHandle) {
        if let Some(earlier) = self.lock().with_code.replace(task) {
            earlier.abort();
        }
    }

    /// Gives up everything that is under way.
    pub(crate) fn clear(&self) {
        let mut all = self.lock();
        all.in_browser.clear();
        if let Some(task) = all.with_code.take() {
            task.abort();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
