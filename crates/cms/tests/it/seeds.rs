//! Chance that can be played again: worlds from seeds, so many of them as are asked for.

use std::time::Instant;

/// Chance from a seed (splitmix64), so that it can be played again.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several things.
    pub(crate) fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len())]
    }

    /// Chance for something that draws an unknown number of times, so that what comes after is the same each time.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// What a kind of world is called and how much of it is played: `deeds` of its own accord, or as many as the environment
/// variable `count` says; from seed 1, or from the one that the variable `seed` says.
pub(crate) struct Worlds<'a> {
    pub(crate) test: &'a str,
    /// What is counted, in the plural.
    pub(crate) what: &'a str,
    pub(crate) count: &'a str,
    pub(crate) seed: &'a str,
    pub(crate) deeds: u64,
    /// The share of them that this test has, in percent.
    pub(crate) percent: u64,
}

impl Worlds<'_> {
    /// Plays worlds until that much was done. `play` returns how much it did.
    pub(crate) fn play(&self, play: impl Fn(&mut Random) -> u64) {
        let deeds = (number(self.count).unwrap_or(self.deeds) * self.percent).div_ceil(100);
        let mut seed = number(self.seed).unwrap_or(1);
        let (mut done, mut worlds) = (0, 0);
        let started = Instant::now();
        while done < deeds {
            let _replay = Replay { worlds: self, seed };
            // A world in which nothing could be done is one step nearer to the end, too.
            done += play(&mut Random::new(seed)).max(1);
            seed += 1;
            worlds += 1;
        }
        println!("{}: {done} {} in {worlds} worlds, {:.1?}", self.test, self.what, started.elapsed());
    }
}

/// What a variable says, if it is set. Of one that can't be read nobody would notice that it did nothing.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: `{text}`")))
}

/// Says how to play a world again in which something failed.
struct Replay<'a> {
    worlds: &'a Worlds<'a>,
    seed: u64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Worlds { test, count, seed, .. } = self.worlds;
            eprintln!("again: {seed}={} {count}=1 cargo test -p cms --test it {test}", self.seed);
        }
    }
}
