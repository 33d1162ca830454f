//! The flags of a message, as maildir(5) names them.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, BitXor, Not, Sub};

/// A set of Maildir flags: Draft, Flagged, Passed, Replied, Seen, Trashed.
///
/// Letters that a Maildir file name carries beyond these six (keywords of other programs) are not ours to
/// judge; they stay with the file name and never reach the engine.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flags(u8);

impl Flags {
    /// No flag at all.
    pub const NONE: Self = Self(0);
    /// `D`: the message is a draft.
    pub const DRAFT: Self = Self(1);
    /// `F`: flagged by the user.
    pub const FLAGGED: Self = Self(1 << 1);
    /// `P`: passed on (forwarded, resent, bounced).
    pub const PASSED: Self = Self(1 << 2);
    /// `R`: replied to.
    pub const REPLIED: Self = Self(1 << 3);
    /// `S`: seen (read).
    pub const SEEN: Self = Self(1 << 4);
    /// `T`: trashed; a wish that the message be deleted.
    pub const TRASHED: Self = Self(1 << 5);
    /// All six.
    pub const ALL: Self = Self(0b11_1111);

    /// The letters of maildir(5), in the ASCII order in which they must be written.
    const LETTERS: [(char, Self); 6] = [
        ('D', Self::DRAFT),
        ('F', Self::FLAGGED),
        ('P', Self::PASSED),
        ('R', Self::REPLIED),
        ('S', Self::SEEN),
        ('T', Self::TRASHED),
    ];

    /// Returns the flag that a letter stands for, or nothing if the letter isn't ours.
    pub fn from_letter(letter: char) -> Option<Self> {
        Self::LETTERS.iter().find(|(l, _)| *l == letter).map(|(_, flag)| *flag)
    }

    /// Collects the flags whose letters occur in `letters`; other letters are passed over.
    pub fn from_letters(letters: &str) -> Self {
        letters.chars().filter_map(Self::from_letter).fold(Self::NONE, BitOr::bitor)
    }

    /// Whether every flag of `other` is in this set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no flag is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set as bits, for storage: D 1, F 2, P 4, R 8, S 16, T 32.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set that [`Flags::bits`] gave; unknown bits are dropped.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// Takes the flags in `mask` from `other` and all others from `self`.
    #[must_use]
    pub fn with(self, mask: Self, other: Self) -> Self {
        (self & !mask) | (other & mask)
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Flags {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitXor for Flags {
    type Output = Self;
    fn bitxor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
}

impl Sub for Flags {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl Not for Flags {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0 & Self::ALL.0)
    }
}

/// Writes the letters in ASCII order, as they stand in a Maildir file name; nothing for the empty set.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::LETTERS.iter().filter(|(_, flag)| self.contains(*flag)).try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() { f.write_str("-") } else { fmt::Display::fmt(self, f) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_written_in_ascii_order_whatever_order_they_came_in() {
        assert_eq!(Flags::from_letters("TSRPFD").to_string(), "DFPRST");
    }

    #[test]
    fn letters_that_are_not_ours_are_passed_over() {
        assert_eq!(Flags::from_letters("abSx,S"), Flags::SEEN);
    }

    #[test]
    fn bits_come_back_as_they_went() {
        for bits in 0..=Flags::ALL.bits() {
            assert_eq!(Flags::from_bits(bits).bits(), bits);
            assert_eq!(Flags::from_letters(&Flags::from_bits(bits).to_string()).bits(), bits);
        }
    }

    #[test]
    fn with_takes_only_the_masked_flags() {
        assert_eq!(
            Flags::from_letters("FR").with(Flags::SEEN | Flags::FLAGGED, Flags::SEEN),
            Flags::from_letters("RS")
        );
    }
}
