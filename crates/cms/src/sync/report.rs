//! What a run has to tell its user.

use std::fmt;

use cms_engine::Op;

use crate::control::HeldReport;

/// Something that a run has just done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Something crossed from the cloud into a Maildir.
    Here(String),
    /// Something crossed from a Maildir to the cloud.
    There(String),
    /// Everything is settled: both sides are the same.
    Settled,
}

/// Hears of what happens, as it does.
pub(crate) type Listener = dyn Fn(&Notice) + Send + Sync;

/// What a run did and what it left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    /// Messages downloaded.
    pub(crate) downloaded: u64,
    /// Bytes downloaded, as the cloud sent them.
    pub(crate) bytes: u64,
    /// Files delivered.
    pub(crate) delivered: u64,
    /// Files removed because their message is gone from the cloud.
    pub(crate) removed: u64,
    /// Files renamed, for flags or another Maildir.
    pub(crate) renamed: u64,
    /// Messages whose flags were changed in the cloud.
    pub(crate) flagged_there: u64,
    /// Messages moved to another folder in the cloud.
    pub(crate) moved_there: u64,
    /// Messages deleted in the cloud.
    pub(crate) deleted_there: u64,
    /// Messages of the cloud that have no file here yet, for no reason that is told.
    pub(crate) missing_here: u64,
    /// Messages made in the cloud of files.
    pub(crate) uploaded: u64,
    /// Drafts whose new version went to the cloud.
    pub(crate) updated_there: u64,
    /// Messages that can't be downloaded for now, with the reason.
    pub(crate) troubles: Vec<String>,
    /// Changes that the cloud refused for good, with the reason.
    pub(crate) refused: Vec<String>,
    /// Deletions that wait for the user's word.
    pub(crate) held: Vec<HeldReport>,
    /// Files that only a Maildir has.
    pub(crate) local_only: u64,
}

impl Summary {
    /// Whether both sides are the same, as far as the trees tell.
    pub(crate) fn is_same(&self) -> bool {
        self.missing_here == 0 && self.troubles.is_empty() && self.held.is_empty()
    }

    /// What a run that came to its end says. Only such a run has looked at both sides.
    pub(crate) fn in_the_end(&self) -> String {
        if self.counts().is_empty() && self.is_same() {
            "nothing to do: both sides are the same".to_owned()
        } else {
            self.to_string()
        }
    }

    /// Such as `12 delivered, 3 flagged in the cloud`, or nothing.
    fn counts(&self) -> String {
        let counts = [
            (self.downloaded, "downloaded"),
            (self.delivered, "delivered"),
            (self.renamed, "changed here"),
            (self.removed, "removed here"),
            (self.uploaded, "uploaded"),
            (self.updated_there, "drafts updated in the cloud"),
            (self.flagged_there, "flagged in the cloud"),
            (self.moved_there, "moved in the cloud"),
            (self.deleted_there, "deleted in the cloud"),
            (self.local_only, "only here"),
            (self.missing_here, "not here yet"),
            (self.troubles.len() as u64, "not downloadable now"),
            (self.refused.len() as u64, "refused by the cloud"),
        ];
        let told: Vec<String> =
            counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        told.join(", ")
    }

    /// Counts a local op that was done.
    pub(crate) fn count_local(&mut self, op: &Op) -> Option<Notice> {
        match op {
            Op::Deliver { .. } | Op::Replace { .. } => self.delivered += 1,
            Op::Rename { .. } => self.renamed += 1,
            Op::Remove { row: Some(_), .. } => self.removed += 1,
            _ => return None,
        }
        Some(Notice::Here(op.to_string()))
    }

    /// Counts an op that the cloud confirmed.
    pub(crate) fn count_cloud(&mut self, op: &Op) -> Option<Notice> {
        match op {
            Op::Upload { .. } => self.uploaded += 1,
            Op::UpdateDraft { .. } => self.updated_there += 1,
            Op::SetCloudFlags { .. } => self.flagged_there += 1,
            Op::MoveInCloud { deletes: false, .. } => self.moved_there += 1,
            Op::MoveInCloud { deletes: true, .. } | Op::DeleteInCloud { .. } => self.deleted_there += 1,
            _ => return None,
        }
        Some(Notice::There(op.to_string()))
    }
}

/// What was done and what is left, in one line.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        f.write_str(if counts.is_empty() { "nothing was changed" } else { &counts })
    }
}
