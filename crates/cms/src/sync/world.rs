//! The three trees in memory, what was touched since they were last planned for, and the changes that the database
//! hasn't been told yet. No I/O.

mod cloud;
mod confirming;
mod files;
mod state;
#[cfg(test)]
mod tests;
mod troubles;
mod under_way;

use std::collections::BTreeMap;
use std::sync::Arc;

use cms_engine::{
    Busy, CloudTree, ContentHash, FileKey, Flags, HashMap, HashSet, LocalTree, MaildirId, Op, Plan, Policy, RemoteId,
    Row, RowId, Scope, SyncedTree, Touched, UnixSeconds,
};
use cms_store::Change;

use crate::sync::journal::Hearsay;
use crate::sync::scope::{ByTime, Scopes};

pub(crate) use cloud::Taken;
pub(crate) use files::{Located, ONLY_HERE, Unread};
pub(crate) use troubles::{LONGEST_WAIT, Trouble};

/// What a file is known by that was delivered for nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leftover {
    pub(crate) inode: u64,
    /// The time that the delivery gave it.
    pub(crate) received: UnixSeconds,
}

/// The trees and their bookkeeping.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) cloud: CloudTree,
    pub(crate) local: LocalTree,
    pub(crate) synced: SyncedTree,
    /// Where files are that don't lie where [`World::located`] says without this.
    places: HashMap<FileKey, Located>,
    /// So many rows aren't packed until they are looked at with that in mind.
    pack_beyond: usize,
    /// Stored rows until they are enough to be packed.
    loading: BTreeMap<MaildirId, Vec<(RowId, Row)>>,
    /// A further file under a base name that is taken, which only other programs make.
    pub(crate) doubles: HashMap<FileKey, Located>,
    /// Files without a row that may be copies which mutt made, each with the hash that it has without the lengths in its
    /// header.
    pub(crate) saved: HashMap<FileKey, ContentHash>,
    pub(crate) troubles: HashMap<RemoteId, Trouble>,
    /// Files without a row that can't be read, so that nobody knows what they are.
    pub(crate) unread: HashMap<FileKey, Unread>,
    /// Files of versions that couldn't take the place of the last one, nor be taken out again. Nobody would know what they are
    /// once the cloud has yet another version.
    pub(crate) leftovers: HashMap<FileKey, Leftover>,
    /// Whether a file without a row was gone when it was to be looked at. It has another name or place by now, which may be
    /// heard of only later.
    pub(crate) missed: bool,
    pub(crate) busy: Busy,
    /// The files without a row that changes under way will give to the rows of their messages.
    promised: HashMap<RemoteId, FileKey>,
    /// The rows that work under way is for. Their messages may have had other ids before.
    concerned: HashMap<RemoteId, RowId>,
    /// The ids under which rows know messages that are changed under others.
    known_as: HashMap<RemoteId, RemoteId>,
    touched: Touched,
    everything_touched: bool,
    /// Files of rows that went, after which files in other Maildirs went that they may have become.
    gone_further: HashSet<FileKey>,
    /// Files without a row. They stay in the scope of every plan, since their match may come later.
    strangers: HashSet<FileKey>,
    /// Messages without a row that nobody is working on.
    homeless: HashSet<RemoteId>,
    /// Rows that the planner left waiting for something to show.
    waiting: HashSet<RowId>,
    /// Files of which the user was told that they are only here.
    reported: HashSet<FileKey>,
    /// About how many bytes messages have whose content isn't known, as far as the cloud told it since the program began.
    sizes: HashMap<RemoteId, u64>,
    changes: Vec<Change>,
    /// What is brought here, and what stays here.
    pub(crate) scopes: Arc<Scopes>,
    pub(super) by_time: ByTime,
    /// How all of this came to be known.
    pub(super) hearsay: Hearsay,
}

impl World {
    /// Plans for what was touched, or for everything the first time and after a rescan.
    pub(crate) fn plan(&mut self, policy: &Policy<'_>) -> Plan {
        let rows = self.rows_to_name(self.touched.ids.iter().chain(&self.homeless));
        self.touched.rows.extend(rows);
        let left_out = self.messages_to_name();
        let mut touched = std::mem::take(&mut self.touched);
        touched.ids.extend(left_out);
        let everything = std::mem::take(&mut self.everything_touched);
        let plan = if everything {
            cms_engine::plan(&self.cloud, &self.local, &self.synced, policy, &Scope::All, &self.busy)
        } else {
            touched.files.extend(self.strangers.iter().cloned());
            touched.ids.extend(self.homeless.iter().cloned());
            touched.rows.extend(self.waiting.iter().copied());
            cms_engine::plan(&self.cloud, &self.local, &self.synced, policy, &Scope::Only(&touched), &self.busy)
        };
        // A waiting row that is being worked on isn't named again; it comes back into scope when that work ends.
        self.waiting = plan.waiting.iter().copied().collect();
        plan
    }

    /// How many entries each of the collections has that could grow without end, for a debugging log.
    pub(crate) fn lengths(&self) -> Vec<(&'static str, usize)> {
        let mut lengths = vec![
            ("messages", self.cloud.messages.len()),
            ("files", self.local.files.len()),
            ("rows", self.synced.len()),
            ("vanished", self.local.vanished.len()),
            ("places", self.places.len()),
            ("troubles", self.troubles.len()),
            ("unread", self.unread.len()),
            ("leftovers", self.leftovers.len()),
            ("promised", self.promised.len()),
            ("concerned", self.concerned.len()),
            ("known_as", self.known_as.len()),
            ("strangers", self.strangers.len()),
            ("homeless", self.homeless.len()),
            ("waiting", self.waiting.len()),
            ("reported", self.reported.len()),
            ("sizes", self.sizes.len()),
        ];
        lengths.extend(self.by_time.lengths());
        lengths.extend(self.hearsay.lengths());
        lengths
    }

    /// Whether something was seen of a row since the last plan.
    pub(crate) fn touches(&self, id: RowId) -> bool {
        self.touched.rows.contains(&id)
            || self
                .synced
                .get(id)
                .is_some_and(|row| self.touched.ids.contains(&row.remote) || self.touched.files.contains(&row.file))
    }

    /// The content of every message, among those that the next plan looks at, whose file isn't there or was trashed.
    pub(crate) fn contents_that_went(&self) -> Vec<ContentHash> {
        let went = |row: &&Row| {
            self.local.files.get(&row.file).is_none_or(|file| {
                (file.flags - row.flags.local).contains(Flags::TRASHED) && file.hash.is_none_or(|hash| hash == row.hash)
            })
        };
        self.rows_in_scope().filter(went).map(|row| row.hash).collect()
    }

    /// The files of drafts, among those that the next plan looks at, that were edited here.
    pub(crate) fn edited_drafts(&self) -> Vec<FileKey> {
        let is_edited = |row: &&Row| {
            let hash = self.local.files.get(&row.file).and_then(|file| file.hash);
            row.flags.cloud.contains(Flags::DRAFT) && hash.is_some_and(|hash| hash != row.hash)
        };
        self.rows_in_scope().filter(is_edited).map(|row| row.file.clone()).collect()
    }

    /// The rows that the next plan looks at.
    pub(super) fn rows_in_scope(&self) -> Box<dyn Iterator<Item = &Row> + '_> {
        if self.everything_touched {
            let rows = self.synced.not_at_rest(&self.cloud, &self.local);
            return Box::new(rows.into_iter().filter_map(|row| self.synced.get(row)));
        }
        let files = self.touched.files.iter().chain(self.local.vanished.keys());
        let by_file = files.filter_map(|file| self.synced.by_file(file));
        let by_id = self.touched.ids.iter().filter_map(|id| self.synced.by_remote(id));
        let rows: HashSet<RowId> =
            by_file.chain(by_id).chain(self.touched.rows.iter().chain(&self.waiting).copied()).collect();
        Box::new(rows.into_iter().filter_map(|row| self.synced.get(row)))
    }

    /// Whether anything was touched since the last plan.
    pub(crate) fn is_touched(&self) -> bool {
        self.everything_touched
            || !self.touched.ids.is_empty()
            || !self.touched.files.is_empty()
            || !self.touched.rows.is_empty()
    }

    /// Marks everything as touched.
    pub(crate) fn touch_everything(&mut self) {
        self.everything_touched = true;
    }

    /// Marks a message as touched.
    pub(crate) fn touch(&mut self, id: &RemoteId) {
        self.touched.ids.insert(id.clone());
    }

    /// Marks a row as touched.
    pub(crate) fn touch_row(&mut self, row: RowId) {
        self.touched.rows.insert(row);
    }

    /// Marks a file as touched.
    pub(crate) fn touch_file(&mut self, key: &FileKey) {
        self.touched.files.insert(key.clone());
    }

    /// Whether the last plan left a row waiting for something to show.
    pub(crate) fn is_waiting(&self, row: RowId) -> bool {
        self.waiting.contains(&row)
    }

    /// Keeps a held deletion in the scope of every plan, so that none slips through alone later.
    pub(crate) fn keep_in_scope(&mut self, op: &Op) {
        self.waiting.extend(op.row());
    }

    /// Marks what an op concerns as touched, so that it is planned again.
    pub(crate) fn touch_op(&mut self, op: &Op) {
        self.touched.rows.extend(op.row());
        if let Some(id) = op.id(&self.synced) {
            self.touched.ids.insert(id.clone());
        }
        if let Op::Remove { file, .. } | Op::Upload { file, .. } = op {
            self.touched.files.insert(file.clone());
        }
    }
}

/// A time as RFC 3339 writes it, in UTC. Days are counted by Howard Hinnant's `civil_from_days`.
pub(crate) fn rfc3339(at: UnixSeconds) -> String {
    let (days, second) = (at.0.div_euclid(86_400), at.0.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}
