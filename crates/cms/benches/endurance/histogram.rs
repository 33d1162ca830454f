//! How often which length of time was seen, in a space that doesn't grow.

use std::time::Duration;

/// Buckets for each doubling: a percentile is told at most 4.5 % too long.
const STEPS: f64 = 16.0;

/// Enough for 2^28 milliseconds, which is three days.
const BUCKETS: usize = 28 * 16;

#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    longest: Duration,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], longest: Duration::ZERO }
    }

    pub(crate) fn add(&mut self, length: Duration) {
        let milliseconds = (length.as_secs_f64() * 1000.0).max(1.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a small number from 0 on")]
        let bucket = (milliseconds.log2() * STEPS) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.longest = self.longest.max(length);
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(crate) fn longest(&self) -> f64 {
        self.longest.as_secs_f64()
    }

    /// The seconds within which that share of all lies.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let wanted = self.count() as f64 * share;
        let mut sum = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            sum += count;
            if sum > 0 && sum as f64 >= wanted {
                let end = ((bucket + 1) as f64 / STEPS).exp2() / 1000.0;
                return end.min(self.longest());
            }
        }
        self.longest()
    }
}
