//! How many requests may be in flight, learnt from what the service says.

/// Successes in a row, for each place there is, before one place more is tried.
///
/// A refusal costs a pause of seconds and a place more saves a few milliseconds a request, so growing is rare.
const SUCCESSES_PER_PLACE: usize = 50;

/// A number of places that halves when the service finds it too many and grows back by one after a long time without.
#[derive(Debug)]
pub(crate) struct Limit {
    most: usize,
    places: usize,
    successes: usize,
    /// How often it has fallen.
    falls: u64,
}

impl Limit {
    /// Begins with as many places as there may ever be, at least one.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { most, places: most, successes: 0, falls: 0 }
    }

    /// How many requests may be in flight now.
    pub(crate) fn places(&self) -> usize {
        self.places
    }

    /// Marks a request that begins now; to be given back with what became of it.
    pub(crate) fn mark(&self) -> u64 {
        self.falls
    }

    /// A request succeeded.
    pub(crate) fn succeeded(&mut self) {
        if self.places == self.most {
            return;
        }
        self.successes += 1;
        if self.successes >= SUCCESSES_PER_PLACE * self.places {
            self.successes = 0;
            self.places += 1;
        }
    }

    /// A request was refused because too many were in flight.
    ///
    /// Those that began before the last fall say nothing new: one burst is refused several times.
    pub(crate) fn refused(&mut self, mark: u64) {
        self.successes = 0;
        if mark == self.falls {
            self.places = (self.places / 2).max(1);
            self.falls += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_refusals_is_one_fall_and_one_place_always_stays() {
        let mut limit = Limit::new(4);
        let mark = limit.mark();
        for _ in 0..4 {
            limit.refused(mark);
        }
        assert_eq!(limit.places(), 2);
        for _ in 0..3 {
            limit.refused(limit.mark());
        }
        assert_eq!(limit.places(), 1);
    }

    #[test]
    fn it_grows_back_one_by_one_and_no_further_than_it_began() {
        let mut limit = Limit::new(4);
        limit.refused(limit.mark());
        let mut steps = Vec::new();
        for _ in 0..1000 {
            let before = limit.places();
            limit.succeeded();
            if limit.places() != before {
                steps.push(limit.places());
            }
        }
        assert_eq!(steps, [3, 4]);
    }

    #[test]
    fn a_refusal_begins_the_count_of_successes_anew() {
        let mut limit = Limit::new(2);
        limit.refused(limit.mark());
        for _ in 1..SUCCESSES_PER_PLACE {
            limit.succeeded();
        }
        limit.refused(limit.mark());
        limit.succeeded();
        assert_eq!(limit.places(), 1);
    }
}
