//! What some worlds have beyond what all of them have. Every fifth seed makes such a world; all others stay as they are when
//! something is added here.

use crate::configuration::Upload;

/// What a world has more of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extras {
    /// Drafts are written and edited on both sides, and go to the cloud.
    pub(super) uploads: Option<Upload>,
    /// Messages get other ids, one by one and all at once.
    pub(super) ids: bool,
    /// Folders are removed and made again, on either side.
    pub(super) folders: bool,
}

/// Every so many seeds.
const EVERY: u64 = 5;

/// Every so many seeds has folders that are removed.
const EVERY_WITH_FOLDERS: u64 = 20;

impl Extras {
    /// Whether the seed makes a world with extras.
    pub(super) fn has(seed: u64) -> bool {
        seed.is_multiple_of(EVERY)
    }

    pub(super) fn of(seed: u64) -> Self {
        if seed % EVERY_WITH_FOLDERS == 1 {
            return Self { folders: true, ..Self::default() };
        }
        if !Self::has(seed) {
            return Self::default();
        }
        let is_one_of = |these: &[u64]| these.contains(&(seed / EVERY % 8));
        Self { uploads: (!is_one_of(&[6])).then_some(Upload::Drafts), ids: is_one_of(&[6, 7]), folders: false }
    }
}
