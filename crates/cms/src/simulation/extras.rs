//! What some worlds have beyond what all of them have. Every fifth seed makes such a world; all others stay as they are when
//! something is added here.

use crate::configuration::Upload;

/// What a world has more of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extras {
    /// Drafts are written and edited on both sides, and go to the cloud.
    pub(super) uploads: Option<Upload>,
}

/// Every so many seeds.
const EVERY: u64 = 5;

impl Extras {
    pub(super) fn of(seed: u64) -> Self {
        if !seed.is_multiple_of(EVERY) {
            return Self::default();
        }
        Self { uploads: Some(Upload::Drafts) }
    }
}
