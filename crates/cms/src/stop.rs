//! Ending in an orderly way.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::commands::Ended;
use crate::problem::{ExitStatus, Problem};

/// How long a command has to end after it was asked to.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// The wish that the program ends. All clones share it, and it is never taken back.
#[derive(Clone, Debug)]
pub struct Stop {
    wish: Arc<watch::Sender<bool>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// A wish that only [`Stop::request`] makes.
    pub fn new() -> Self {
        Self { wish: Arc::new(watch::Sender::new(false)) }
    }

    /// A wish that SIGINT (Ctrl-C), SIGTERM and SIGHUP make. A second SIGINT ends the process at once, with status 130.
    ///
    /// Must be called within a Tokio runtime.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let asked = stop.clone();
        tokio::spawn(async move {
            loop {
                let interrupted = tokio::select! {
                    _ = interrupt.recv() => true,
                    _ = terminate.recv() => false,
                    _ = hang_up.recv() => false,
                };
                if interrupted && asked.is_requested() {
                    // Whatever is under way is found again at the next start, as after a crash.
                    std::process::exit(ExitStatus::Interrupted as i32);
                }
                tracing::debug!("Asked to stop");
                asked.request();
            }
        });
        Ok(stop)
    }

    /// Asks everything to end.
    pub fn request(&self) {
        self.wish.send_replace(true);
    }

    /// Whether it was asked for.
    pub fn is_requested(&self) -> bool {
        *self.wish.borrow()
    }

    /// Waits until it is asked for; returns at once if it was already.
    pub async fn requested(&self) {
        // Waiting fails only if the sender is gone, and `self` holds it.
        let _ = self.wish.subscribe().wait_for(|asked| *asked).await;
    }
}

/// Runs a command to its end, but not for longer than `grace` after it was asked to stop.
pub(crate) async fn within_grace(
    stop: &Stop,
    grace: Duration,
    command: impl Future<Output = Result<Ended, Problem>>,
) -> Result<Ended, Problem> {
    tokio::select! {
        biased;
        ended = command => ended,
        () = async { stop.requested().await; tokio::time::sleep(grace).await } => {
            tracing::warn!("Stopped in the middle of the work; the next start goes on from here");
            Ok(Ended::Interrupted)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_who_waits_is_told_and_latecomers_too() {
        let stop = Stop::new();
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.requested().await }
        });
        assert!(!stop.is_requested());
        stop.request();
        waiting.await.unwrap();
        stop.requested().await;
        assert!(stop.is_requested());
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_left_behind() {
        let stop = Stop::new();
        stop.request();
        assert_eq!(within_grace(&stop, Duration::ZERO, std::future::pending()).await, Ok(Ended::Interrupted));
    }

    #[tokio::test]
    async fn a_command_that_ends_in_time_has_the_last_word() {
        let stop = Stop::new();
        stop.request();
        assert_eq!(within_grace(&stop, GRACE, async { Ok(Ended::Held) }).await, Ok(Ended::Held));
    }
}
