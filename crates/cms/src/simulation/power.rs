//! Whether the simulated machine has power. Without it, no request is answered and no deed on the disk is done.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::sync::Notify;

/// The power, and what may take it away.
#[derive(Default)]
pub(super) struct Power {
    off: AtomicBool,
    /// Wakes who is to drop the run.
    went: Notify,
    /// The power goes at this request from now; never if negative.
    requests_left: AtomicI64,
}

impl Power {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { off: AtomicBool::new(true), went: Notify::new(), requests_left: AtomicI64::new(-1) })
    }

    pub(super) fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    pub(super) fn turn_on(&self) {
        self.requests_left.store(-1, Ordering::Relaxed);
        self.off.store(false, Ordering::Relaxed);
    }

    pub(super) fn turn_off(&self) {
        self.off.store(true, Ordering::Relaxed);
        self.went.notify_one();
    }

    /// Lets the power go when so many more requests have been acted on.
    pub(super) fn go_after_requests(&self, requests: i64) {
        self.requests_left.store(requests, Ordering::Relaxed);
    }

    /// Counts a request that was acted on, whose answer may never arrive.
    pub(super) fn count_request(&self) {
        if self.requests_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.turn_off();
        }
    }

    pub(super) async fn gone(&self) {
        loop {
            self.went.notified().await;
            // A word from before the power came back means nothing.
            if self.is_off() {
                return;
            }
        }
    }
}

/// Something that one thread shares with itself.
pub(super) type Shared<T> = Rc<RefCell<T>>;

/// A number that one thread shares with itself.
pub(super) type Counter = Rc<Cell<i64>>;
