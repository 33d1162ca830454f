//! Maps and sets whose order depends on nothing but what was done to them, so that a run can be repeated exactly.

use std::hash::{BuildHasherDefault, DefaultHasher};

/// `std`'s hash function with a fixed key. Nobody can flood these maps who couldn't do worse: their keys are made by
/// the mail service, by us, or by the user's own programs.
type Fixed = BuildHasherDefault<DefaultHasher>;

/// A map that is walked in the same order whenever the same was done to it.
pub type HashMap<K, V> = std::collections::HashMap<K, V, Fixed>;

/// A set that is walked in the same order whenever the same was done to it.
pub type HashSet<T> = std::collections::HashSet<T, Fixed>;
