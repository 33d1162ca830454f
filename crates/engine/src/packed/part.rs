//! What one tree holds of the packed records.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::{Number, Packed, SEGMENT};

/// A set of numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
    count: usize,
}

impl Bits {
    pub(crate) fn get(&self, number: Number) -> bool {
        self.words.get(number as usize / 64).is_some_and(|word| word & mask(number) != 0)
    }

    /// Puts a number in; whether it wasn't there comes back.
    pub(crate) fn set(&mut self, number: Number) -> bool {
        let is_new = !self.get(number);
        let at = number as usize / 64;
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        self.words[at] |= mask(number);
        self.count += usize::from(is_new);
        is_new
    }

    /// Takes a number out; whether it was there comes back.
    pub(crate) fn clear(&mut self, number: Number) -> bool {
        let was_there = self.get(number);
        if was_there {
            self.words[number as usize / 64] &= !mask(number);
            self.count -= 1;
        }
        was_there
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Number> {
        let ones = |(at, word): (usize, &u64)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (bit < 64).then(|| Number::try_from(at * 64).unwrap_or(Number::MAX) + bit)
            })
        };
        self.words.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(ones)
    }
}

fn mask(number: Number) -> u64 {
    1 << (number % 64)
}

/// The records of which a tree holds what they say.
#[derive(Debug)]
pub(crate) struct Part<V> {
    packed: Arc<Packed>,
    /// Their numbers.
    pub(crate) live: Bits,
    unpacked: Unpacked<V>,
}

// Not derived: nothing is asked of `V`.
impl<V> Default for Part<V> {
    fn default() -> Self {
        Self { packed: Arc::default(), live: Bits::default(), unpacked: Unpacked::default() }
    }
}

impl<V> Clone for Part<V> {
    fn clone(&self) -> Self {
        let mut copy = Self { packed: self.packed.clone(), live: self.live.clone(), unpacked: Unpacked::default() };
        copy.unpacked.make_room(copy.packed.numbers());
        copy
    }
}

impl<V> Part<V> {
    pub(crate) fn packed(&self) -> &Packed {
        &self.packed
    }

    /// The number that `find` finds among the records, if this tree holds what it says.
    pub(crate) fn find(&self, find: impl FnOnce(&Packed) -> Option<Number>) -> Option<Number> {
        if self.live.count() == 0 {
            return None;
        }
        find(&self.packed).filter(|number| self.live.get(*number))
    }

    /// Whether another tree has the same records under the same numbers.
    pub(crate) fn shares<W>(&self, other: &Part<W>) -> bool {
        Arc::ptr_eq(&self.packed, &other.packed)
    }

    /// A record that this tree holds, unpacked until [`Part::forget_unpacked`].
    pub(crate) fn get(&self, number: Number, unpack: impl Fn(&Packed) -> Option<V>) -> Option<&V> {
        self.live.get(number).then(|| self.unpacked.get(number, || unpack(&self.packed)))?
    }

    /// Lets go of what was unpacked to be looked at.
    pub(crate) fn forget_unpacked(&mut self) {
        self.unpacked.clear(self.packed.numbers());
    }

    /// Lets go of the records, so that their owner may change them.
    pub(super) fn detach(&mut self) {
        self.packed = Arc::default();
    }

    /// Shares another tree's records.
    pub(crate) fn attach<W>(&mut self, other: &Part<W>) {
        self.packed = other.packed.clone();
        self.unpacked.make_room(self.packed.numbers());
    }

    /// Changes the records, which nobody else should share.
    pub(crate) fn change<T>(&mut self, change: impl FnOnce(&mut Packed) -> T) -> T {
        let changed = change(Arc::make_mut(&mut self.packed));
        self.unpacked.make_room(self.packed.numbers());
        changed
    }

    /// Takes the numbers and the records out.
    pub(crate) fn take(&mut self) -> (Bits, Arc<Packed>) {
        let Self { packed, live, .. } = std::mem::take(self);
        (live, packed)
    }
}

type Slots<V> = OnceLock<Box<[OnceLock<Box<V>>]>>;

/// Records that were looked at. They are unpacked where only a shared reference is at hand, once each, so that references to
/// them can be given out.
struct Unpacked<V> {
    segments: Vec<Slots<V>>,
    any: OnceLock<()>,
}

impl<V> Default for Unpacked<V> {
    fn default() -> Self {
        Self { segments: Vec::new(), any: OnceLock::new() }
    }
}

impl<V> fmt::Debug for Unpacked<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpacked")
    }
}

impl<V> Unpacked<V> {
    fn get(&self, number: Number, unpack: impl FnOnce() -> Option<V>) -> Option<&V> {
        let slots = self.segments.get(number as usize / SEGMENT)?;
        self.any.get_or_init(|| ());
        let slots = slots.get_or_init(|| (0..SEGMENT).map(|_| OnceLock::new()).collect());
        let slot = slots.get(number as usize % SEGMENT)?;
        if let Some(value) = slot.get() {
            return Some(value);
        }
        let value = unpack()?;
        Some(slot.get_or_init(|| Box::new(value)))
    }

    fn make_room(&mut self, numbers: usize) {
        self.segments.resize_with(numbers / SEGMENT, OnceLock::new);
    }

    fn clear(&mut self, numbers: usize) {
        if self.any.take().is_some() {
            self.segments.clear();
            self.make_room(numbers);
        }
    }
}
