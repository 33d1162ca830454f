//! The gate: so many requests in flight, the urgent ones first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::limit::Limit;

/// Who wants several places takes as many as are free after so long. Hardly any request takes longer, and one that hangs
/// keeps its place for half a minute, in which nobody else would pass.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who goes first when there is a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Small calls that somebody waits for.
    Urgent,
    /// Downloads, of which thousands may be queued.
    Bulk,
}

/// Lets so many requests through at a time as the service is known to bear. First come, first served among equals; urgent before bulk.
#[derive(Clone)]
pub(crate) struct Gate {
    state: Arc<Mutex<State>>,
}

struct State {
    limit: Limit,
    taken: usize,
    urgent: VecDeque<Waiter>,
    bulk: VecDeque<Waiter>,
}

struct Waiter {
    slots: usize,
    /// Any place will do by now.
    has_waited: Arc<AtomicBool>,
    admit: oneshot::Sender<Permit>,
}

/// The right to have a request in flight; given back when dropped.
pub(crate) struct Permit {
    slots: usize,
    mark: u64,
    gate: Gate,
}

impl Gate {
    pub(crate) fn new(size: usize) -> Self {
        let state = State { limit: Limit::new(size), taken: 0, urgent: VecDeque::new(), bulk: VecDeque::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for `slots` places: for as many as there are, if those are fewer, and no longer than it takes to find that
    /// some aren't given back. Giving up the wait costs nobody a place.
    pub(crate) async fn pass(&self, urgency: Urgency, slots: usize) -> Permit {
        let slots = slots.max(1);
        let (admit, mut admitted) = oneshot::channel();
        let has_waited = Arc::new(AtomicBool::new(false));
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = match urgency {
                Urgency::Urgent => &mut state.urgent,
                Urgency::Bulk => &mut state.bulk,
            };
            queue.push_back(Waiter { slots, has_waited: has_waited.clone(), admit });
        }
        self.admit();
        if slots > 1
            && let Ok(Ok(permit)) = tokio::time::timeout(PATIENCE, &mut admitted).await
        {
            return permit;
        }
        has_waited.store(true, Ordering::Relaxed);
        self.admit();
        match admitted.await {
            Ok(permit) => permit,
            // The sender is dropped only when it is used.
            Err(_) => unreachable!("a waiter leaves the queue only by being admitted"),
        }
    }

    /// Admits whoever fits, in order. One who waits for several places isn't overtaken, so it gets some in the end.
    fn admit(&self) {
        loop {
            let (waiter, permit) = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let (places, mark) = (state.limit.places(), state.limit.mark());
                let free = places.saturating_sub(state.taken);
                let queue = if state.urgent.is_empty() { &mut state.bulk } else { &mut state.urgent };
                let fits = queue.front().is_some_and(|waiter| {
                    let least = if waiter.has_waited.load(Ordering::Relaxed) { 1 } else { waiter.slots.min(places) };
                    least <= free || waiter.admit.is_closed()
                });
                let Some(waiter) = (if fits { queue.pop_front() } else { None }) else { return };
                if waiter.admit.is_closed() {
                    continue;
                }
                // There may be fewer places than when it came.
                let slots = waiter.slots.min(free);
                state.taken += slots;
                let permit = Permit { slots, mark, gate: self.clone() };
                (waiter, permit)
            };
            // If the waiter gave up just now, the permit comes back and gives its places back itself.
            drop(waiter.admit.send(permit));
        }
    }
}

impl Permit {
    /// How many places it has.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Keeps the place for this long although nobody waits for the answer any more: the service counts a request until it
    /// has noticed that.
    pub(crate) fn linger(self, pause: Duration) {
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            drop(self);
        });
    }

    /// The service took the request.
    pub(crate) fn succeeded(&self) {
        self.gate.state.lock().unwrap_or_else(PoisonError::into_inner).limit.succeeded();
        self.gate.admit();
    }

    /// The service refused the request because too many were in flight.
    pub(crate) fn refused(&self) {
        self.gate.state.lock().unwrap_or_else(PoisonError::into_inner).limit.refused(self.mark);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.state.lock().unwrap_or_else(PoisonError::into_inner).taken -= self.slots;
        self.gate.admit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn no_more_than_its_size_pass_and_urgent_ones_first() {
        let gate = Gate::new(2);
        let first = gate.pass(Urgency::Bulk, 1).await;
        let _second = gate.pass(Urgency::Bulk, 1).await;
        let mut bulk = Box::pin(gate.pass(Urgency::Bulk, 1));
        assert!(bulk.as_mut().now_or_never().is_none());
        let mut urgent = Box::pin(gate.pass(Urgency::Urgent, 1));
        assert!(urgent.as_mut().now_or_never().is_none());
        drop(first);
        assert!(bulk.as_mut().now_or_never().is_none());
        let urgent = urgent.as_mut().now_or_never().expect("the urgent one is next");
        drop(urgent);
        assert!(bulk.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn giving_up_gives_the_place_to_the_next() {
        let gate = Gate::new(1);
        let held = gate.pass(Urgency::Urgent, 1).await;
        let mut gives_up = Box::pin(gate.pass(Urgency::Urgent, 1));
        let mut stays = Box::pin(gate.pass(Urgency::Urgent, 1));
        assert!(gives_up.as_mut().now_or_never().is_none());
        assert!(stays.as_mut().now_or_never().is_none());
        // Admitted, then dropped without having looked.
        drop(held);
        drop(gives_up);
        let permit = stays.as_mut().now_or_never().expect("the place is free");
        let mut leaves_early = Box::pin(gate.pass(Urgency::Urgent, 1));
        assert!(leaves_early.as_mut().now_or_never().is_none());
        drop(leaves_early);
        drop(permit);
        assert!(gate.pass(Urgency::Urgent, 1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn one_who_needs_all_places_is_not_overtaken() {
        let gate = Gate::new(4);
        let one = gate.pass(Urgency::Bulk, 1).await;
        let mut all = Box::pin(gate.pass(Urgency::Urgent, 9));
        assert!(all.as_mut().now_or_never().is_none());
        let mut late = Box::pin(gate.pass(Urgency::Bulk, 1));
        assert!(late.as_mut().now_or_never().is_none());
        drop(one);
        let all = all.as_mut().now_or_never().expect("all places are free");
        assert!(late.as_mut().now_or_never().is_none());
        drop(all);
        assert!(late.as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_has_waited_makes_do_with_the_places_that_are_free() {
        let gate = Gate::new(4);
        let hangs = gate.pass(Urgency::Urgent, 1).await;
        let mut after = Box::pin(async {
            let few = gate.pass(Urgency::Urgent, 4).await;
            (few.slots(), few)
        });
        assert!(after.as_mut().now_or_never().is_none(), "the place may be free soon");
        let (slots, few) = after.await;
        assert_eq!(slots, 3);
        let mut late = Box::pin(gate.pass(Urgency::Urgent, 1));
        assert!(late.as_mut().now_or_never().is_none());
        drop(few);
        assert!(late.as_mut().now_or_never().is_some());
        drop((hangs, late));
        assert_eq!(gate.pass(Urgency::Urgent, 4).await.slots(), 4);
    }

    #[tokio::test]
    async fn after_a_refusal_fewer_pass() {
        let gate = Gate::new(4);
        let refused = gate.pass(Urgency::Bulk, 1).await;
        refused.refused();
        drop(refused);
        let first = gate.pass(Urgency::Bulk, 1).await;
        let second = gate.pass(Urgency::Bulk, 1).await;
        let mut third = Box::pin(gate.pass(Urgency::Bulk, 1));
        assert!(third.as_mut().now_or_never().is_none(), "two places are all that there are now");
        let mut all = Box::pin(gate.pass(Urgency::Bulk, 4));
        drop(first);
        let third = third.as_mut().now_or_never().expect("a place is free");
        assert!(all.as_mut().now_or_never().is_none());
        drop((second, third));
        assert!(all.as_mut().now_or_never().is_some(), "nobody waits for more places than there are");
    }
}
