//! The messages that wait for their download, newest first.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use cms_cloud::contract::Together;
use cms_engine::{RemoteId, UnixSeconds};

/// How far into the queue small messages are looked for that can go with the first.
const LOOKED_THROUGH: usize = 64;

/// What waits for its download. The mail that people wait for comes before their archive, whenever it was heard of.
#[derive(Debug, Default)]
pub(crate) struct Queue(BTreeSet<(Reverse<UnixSeconds>, RemoteId)>);

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn push(&mut self, id: RemoteId, received: UnixSeconds) {
        self.0.insert((Reverse(received), id));
    }

    pub(crate) fn pop(&mut self) -> Option<RemoteId> {
        self.0.pop_first().map(|(_, id)| id)
    }

    /// Takes small messages out that can go with one of `first` bytes, which was the first, so that there are `most` with it.
    /// `size` is that of a message, where it may go with others.
    ///
    /// The rest of the queue keeps its order, so nobody is overtaken by more than fit into one request.
    pub(crate) fn take_small(
        &mut self,
        first: u64,
        most: usize,
        can: Together,
        size: impl Fn(&RemoteId) -> Option<u64>,
    ) -> Vec<RemoteId> {
        let mut bytes = first;
        let mut taken = Vec::new();
        for entry in self.0.iter().take(LOOKED_THROUGH) {
            if taken.len() + 1 >= most {
                break;
            }
            let fits = |size: &u64| *size <= can.longest_bytes && bytes + size <= can.most_bytes;
            if let Some(size) = size(&entry.1).filter(fits) {
                bytes += size;
                taken.push(entry.clone());
            }
        }
        for entry in &taken {
            self.0.remove(entry);
        }
        taken.into_iter().map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAN: Together = Together { most: 20, at_a_time: 4, longest_bytes: 100, most_bytes: 250 };

    fn id(name: &str) -> RemoteId {
        RemoteId::new(name)
    }

    fn queue(names: &[(&str, i64)]) -> Queue {
        let mut queue = Queue::default();
        for (name, received) in names {
            queue.push(id(name), UnixSeconds(*received));
        }
        queue
    }

    fn rest(mut queue: Queue) -> Vec<RemoteId> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn the_newest_is_first_though_it_came_last() {
        let mut queue = queue(&[("b", 2), ("a", 1), ("d", 4)]);
        assert_eq!(queue.pop(), Some(id("d")));
        queue.push(id("e"), UnixSeconds(5));
        // It is tried again.
        queue.push(id("d"), UnixSeconds(4));
        assert_eq!(queue.len(), 4);
        assert_eq!(rest(queue), ["e", "d", "b", "a"].map(id));
    }

    #[test]
    fn those_go_together_that_are_small_and_the_others_stay_in_order() {
        let sizes = [("f", 60), ("e", 101), ("d", 100), ("c", 50), ("b", 40), ("a", 60)];
        let size = |wanted: &RemoteId| {
            sizes.iter().find(|(name, _)| wanted.as_str() == *name).map(|(_, size)| *size).filter(|size| *size != 50)
        };
        let names = [("f", 6), ("e", 5), ("d", 4), ("c", 3), ("b", 2), ("a", 1)];
        let mut all = queue(&names);
        let first = all.pop().unwrap();
        // `e` is large, `c`'s size isn't known, and `a` is too much for one request.
        assert_eq!(all.take_small(size(&first).unwrap(), 20, CAN, size), ["d", "b"].map(id));
        assert_eq!(rest(all), ["e", "c", "a"].map(id));
        let mut all = queue(&names);
        all.pop();
        assert_eq!(all.take_small(0, 2, CAN, size), ["d"].map(id));
        assert!(all.take_small(0, 1, CAN, size).is_empty());
    }
}
