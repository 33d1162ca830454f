//! What happened, line by line: the same for the same seed.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// What happened in one world. All clones are the same trace.
#[derive(Clone)]
pub(super) struct Trace {
    began: Instant,
    state: Arc<Mutex<State>>,
}

struct State {
    hasher: blake3::Hasher,
    /// Nothing where only the hash is wanted.
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(super) fn new(keep: bool) -> Self {
        let state = State { hasher: blake3::Hasher::new(), lines: keep.then(Vec::new) };
        Self { began: Instant::now(), state: Arc::new(Mutex::new(state)) }
    }

    /// Adds a line with the simulated time before it.
    pub(super) fn line(&self, what: impl Display) {
        let line = format!("{:>10.3} {what}", self.began.elapsed().as_secs_f64());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.hasher.update(line.as_bytes());
        if let Some(lines) = &mut state.lines {
            lines.push(line);
        }
    }

    /// A hash of all lines so far.
    pub(super) fn hash(&self) -> blake3::Hash {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).hasher.finalize()
    }

    /// The lines so far, if they were kept.
    pub(super) fn lines(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lines.clone().unwrap_or_default()
    }
}
