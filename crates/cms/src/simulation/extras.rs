//! What some worlds have beyond what all of them have: every fifth seed drafts, and four more of every twenty other things. All
//! others stay as they are when something is added here.

use std::collections::BTreeSet;

use crate::configuration::Upload;

/// What a world has more of.
// Each of these is a fact of its own.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extras {
    /// Drafts are written and edited on both sides, and go to the cloud.
    pub(super) uploads: Option<Upload>,
    /// Messages get other ids, one by one and all at once.
    pub(super) ids: bool,
    /// Folders are removed and made again, on either side.
    pub(super) folders: bool,
    /// A Maildir is removed file by file, a folder gets another name for a while, or stays away for long.
    pub(super) steps: bool,
    /// Changes of names take their time, and others act meanwhile.
    pub(super) slow: bool,
    /// Whatever is delivered here goes to the cloud, and what is sent is filed on both sides.
    pub(super) mail: bool,
    /// One request at a time, so that even a few messages wait for each other and are downloaded together.
    pub(super) narrow: bool,
    /// Changes of flags are taken and not made, now and then.
    pub(super) forgetful: bool,
    /// A request takes so little that some drafts go up in several.
    pub(super) large: bool,
    /// Some mailboxes keep what is deleted there, and whether old mail is brought changes with each start.
    pub(super) scope: bool,
}

/// Every so many seeds.
const EVERY: u64 = 5;

/// Every so many seeds has folders that are removed, as many others have a slow disk, as many mail that is delivered and
/// sent here, and as many mailboxes of which the two sides don't have the same.
const EVERY_WITH_MORE: u64 = 20;

/// Of so many worlds with folders that are removed one has drafts as well, and in another they go step by step.
const EVERY_WRITTEN: u64 = 3;

/// Of so many seeds one is narrow, whatever else it has.
const EVERY_NARROW: u64 = 3;

/// Of so many seeds the cloud of one is forgetful, whatever else it has.
const EVERY_FORGETFUL: u64 = 7;

/// Of so many seeds with drafts one has large ones.
const EVERY_LARGE: u64 = 4;

impl Extras {
    pub(super) fn of(seed: u64) -> Self {
        let is_last_of = |every: u64| seed % every == every - 1;
        let others = Self::others(seed);
        let large = others.uploads == Some(Upload::Drafts) && is_last_of(EVERY_LARGE);
        Self { narrow: is_last_of(EVERY_NARROW), forgetful: is_last_of(EVERY_FORGETFUL), large, ..others }
    }

    fn others(seed: u64) -> Self {
        match seed % EVERY_WITH_MORE {
            1 => {
                let at = seed / EVERY_WITH_MORE;
                let uploads = (at % EVERY_WRITTEN == EVERY_WRITTEN - 1).then_some(Upload::Drafts);
                let ids = !at.is_multiple_of(2);
                let steps = at % EVERY_WRITTEN == 1 || uploads.is_some() && ids;
                return Self { folders: true, slow: true, ids, uploads, steps, ..Self::default() };
            }
            6 => return Self { slow: true, ..Self::default() },
            16 => return Self { scope: true, ids: (seed / EVERY_WITH_MORE).is_multiple_of(2), ..Self::default() },
            11 => return Self { mail: true, slow: true, uploads: Some(Upload::Import), ..Self::default() },
            _ => {}
        }
        if !seed.is_multiple_of(EVERY) {
            return Self::default();
        }
        let is_one_of = |these: &[u64]| these.contains(&(seed / EVERY % 8));
        Self { uploads: (!is_one_of(&[6])).then_some(Upload::Drafts), ids: is_one_of(&[6, 7]), ..Self::default() }
    }

    /// Which of so many mailboxes keep: every other one.
    pub(super) fn keeping(self, seed: u64, mailboxes: usize) -> BTreeSet<usize> {
        let keeps = |at: &usize| self.scope && (seed / 40 + *at as u64).is_multiple_of(2);
        (0..mailboxes).filter(keeps).collect()
    }
}
