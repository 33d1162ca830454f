//! Numbers of records, found by a hash of their keys: four bytes and a third for each. The keys themselves are asked of the
//! records.

use super::Number;

/// Slots are filled to four fifths at most.
const FILL: (usize, usize) = (4, 5);

/// A table with open addressing: of a slot, the lower 24 bits are a number plus one, or zero if it is free, and the upper
/// eight a part of the hash, so that a record is hardly ever asked in vain.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    slots: Vec<u32>,
    used: usize,
}

impl Index {
    /// The number under a hash whose record has the key, as `is_it` says.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(Number) -> bool) -> Option<Number> {
        self.slot_of(hash, is_it).and_then(|slot| number_in(self.slots[slot]))
    }

    /// Writes a number under a hash, in the place of one whose record has the same key. There must be room.
    pub(super) fn insert(&mut self, hash: u64, number: Number, is_same: impl Fn(Number) -> bool) {
        let entry = (tag(hash) << 24) | (number + 1);
        if let Some(slot) = self.slot_of(hash, is_same) {
            self.slots[slot] = entry;
            return;
        }
        let mut slot = self.first_slot(hash);
        while self.slots[slot] != 0 {
            slot = (slot + 1) % self.slots.len();
        }
        self.slots[slot] = entry;
        self.used += 1;
    }

    /// Makes room for so many more; `hash_of` tells the hash of a record's key.
    pub(super) fn reserve(&mut self, more: usize, hash_of: impl Fn(Number) -> u64) {
        let needed = self.used + more;
        if needed * FILL.1 <= self.slots.len() * FILL.0 {
            return;
        }
        // By a quarter at least, so that adding a few at a time costs no more than adding many at once.
        let slots = (needed.max(self.used + self.used / 4) * FILL.1).div_ceil(FILL.0) + 1;
        let numbers = std::mem::replace(&mut self.slots, vec![0; slots]);
        self.used = 0;
        for number in numbers.into_iter().filter_map(number_in) {
            // Each key is there once.
            self.insert(hash_of(number), number, |_| false);
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }

    fn slot_of(&self, hash: u64, is_it: impl Fn(Number) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = self.first_slot(hash);
        while self.slots[slot] != 0 {
            let entry = self.slots[slot];
            if entry >> 24 == tag(hash) && number_in(entry).is_some_and(&is_it) {
                return Some(slot);
            }
            slot = (slot + 1) % self.slots.len();
        }
        None
    }

    /// Where the search for a hash begins.
    #[allow(clippy::cast_possible_truncation, reason = "the product's upper half is less than the number of slots")]
    fn first_slot(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }
}

/// The part of a hash by which the search doesn't begin.
fn tag(hash: u64) -> u32 {
    u32::from(hash.to_le_bytes()[0])
}

fn number_in(entry: u32) -> Option<Number> {
    (entry & 0xff_ffff).checked_sub(1)
}
