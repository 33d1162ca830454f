//! Deletions that wait for the user's word: what counts towards the limit, what is held, and what the user says of it.
//!
//! A cycle of a mailbox, on one side, is as long as the deletions in it lie within [`CYCLE`], and doesn't end while one
//! of them is held. What the user ordered counts towards no limit.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use cms_engine::{
    Deletions, HashMap, HashSet, Held, MailboxId, MaildirId, Op, Plan, Reason, RemoteId, Row, RowId, Side, Word,
};
use cms_store::{Change, Database, DeletedNote, StoreError};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::control::{Headline, HeldReport, Reply, Which};
use crate::sync::at_rest;
use crate::sync::driver::{Driver, Mailbox, backoff};
use crate::sync::headline::headline;
use crate::sync::tasks::{self, BroughtBack};
use crate::sync::world::World;

/// How long a deletion counts, in seconds.
const CYCLE: i64 = 600;

/// Held messages of which more than the number is told.
const SAMPLES: usize = 5;

/// Messages brought back in one go.
const BROUGHT_BACK: usize = 80;

/// What is known of deletions besides the trees.
#[derive(Default)]
pub(super) struct Holding {
    /// What was deleted in the running cycles, oldest first.
    notes: Vec<DeletedNote>,
    deleted: Deletions,
    words: HashMap<RowId, Word>,
    /// The rows of folders that were removed and made again.
    removed: HashSet<RowId>,
    /// What is held now, with the rows.
    held: Vec<(Side, MailboxId, HeldReport, Vec<RowId>)>,
    /// The Maildirs of trees that were removed here, as they are told of.
    missing: Vec<(MaildirId, HeldReport)>,
    /// Of which something was held when this was last looked at.
    holds: BTreeSet<(Side, MailboxId)>,
    /// Whether the database knows what is held.
    told: bool,
    /// Messages that couldn't be brought back yet, and when that is tried again.
    to_bring_back: Vec<RemoteId>,
    bring_back_at: Option<Instant>,
    /// The mailboxes whose folder was removed and made again.
    removed_in: BTreeSet<MailboxId>,
}

/// The key of the highest row of a folder that was removed and made again.
fn removed_up_to(mailbox: MailboxId) -> String {
    format!("mailbox {} folder removed up to row", mailbox.0)
}

impl Holding {
    pub(super) fn load(database: &Database, world: &World, mailboxes: &[Mailbox]) -> Result<Self, StoreError> {
        let mut holding = Self { words: database.words()?.into_iter().collect(), ..Self::default() };
        for note in database.deleted()? {
            holding.count(note);
        }
        for mailbox in mailboxes {
            let up_to = database.meta(&removed_up_to(mailbox.id))?.and_then(|row| row.parse().ok());
            if let Some(up_to) = up_to {
                holding.add_removed(world, mailbox.id, RowId(up_to));
            }
        }
        let held: Vec<HeldReport> =
            database.meta(at_rest::HELD)?.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        holding.holds = held
            .iter()
            .filter_map(|held| {
                let is_it = |mailbox: &&Mailbox| mailbox.sign_in == held.account && mailbox.name == held.mailbox;
                let side = if held.gone_from_cloud { Side::Local } else { Side::Cloud };
                Some((side, mailboxes.iter().find(is_it)?.id))
            })
            .collect();
        Ok(holding)
    }

    /// What was deleted in the running cycles.
    pub(super) fn deleted_lately(&self) -> &Deletions {
        &self.deleted
    }

    /// What the user said of a row.
    pub(super) fn word(&self, row: RowId) -> Option<Word> {
        self.words.get(&row).copied()
    }

    /// Whether a row is of a folder that was removed and made again.
    pub(super) fn is_of_removed_folder(&self, row: RowId) -> bool {
        self.removed.contains(&row)
    }

    /// Counts a deletion; whether it is a new one comes back.
    fn count(&mut self, note: DeletedNote) -> bool {
        let new = self.deleted.entry((note.side, note.mailbox)).or_default().insert(note.row);
        if new {
            self.notes.push(note);
        }
        new
    }

    fn add_removed(&mut self, world: &World, mailbox: MailboxId, up_to: RowId) {
        let rows = world.synced.iter().filter(|(id, row)| row.mailbox == mailbox && *id <= up_to);
        self.removed.extend(rows.map(|(id, _)| id));
        self.removed_in.insert(mailbox);
    }
}

impl Driver {
    /// Forgets the deletions of the cycles that are over.
    pub(super) fn end_cycles(&mut self) {
        let over = self.age().0 - CYCLE;
        let Holding { notes, deleted, holds, .. } = &mut self.holding;
        if notes.first().is_none_or(|oldest| oldest.at.0 > over) {
            return;
        }
        for note in notes.extract_if(.., |note| note.at.0 <= over && !holds.contains(&(note.side, note.mailbox))) {
            if let Some(rows) = deleted.get_mut(&(note.side, note.mailbox)) {
                rows.remove(&note.row);
            }
            self.world.note(Change::ForgetDeleted { row: note.row, side: note.side });
        }
    }

    /// Counts what a step deletes, which is done or on its way.
    pub(super) fn note_deletion(&mut self, op: &Op, deletes: Option<(Side, MailboxId)>) {
        let Some(((side, mailbox), row)) = deletes.zip(op.row()) else { return };
        let note = DeletedNote { row, side, mailbox, at: self.age() };
        if self.holding.word(row).is_none() && self.holding.count(note) {
            self.world.note(Change::Deleted(note));
        }
    }

    /// Notes that a mailbox is another folder than it was: what was in the old one is held, should it be gone.
    pub(super) fn note_folder_removed(&mut self, mailbox: MailboxId) {
        let up_to = self.world.synced.last_id();
        self.holding.add_removed(&self.world, mailbox, up_to);
        self.world.note(Change::SetMeta { key: removed_up_to(mailbox), value: up_to.0.to_string() });
    }

    /// Takes note of the deletions that wait for the user's word.
    pub(super) fn note_held(&mut self, plan: &Plan) {
        for op in plan.held.iter().flat_map(|held| &held.ops) {
            self.world.keep_in_scope(op);
        }
        let mut now = Vec::new();
        for held in &plan.held {
            let mut rows: Vec<RowId> = held.ops.iter().filter_map(Op::row).collect();
            rows.sort_unstable();
            // To read headers again and again would be too dear.
            let known = self
                .holding
                .held
                .iter()
                .find(|(side, mailbox, report, its)| {
                    (*side, *mailbox, report.of) == (held.on, held.mailbox, held.of as u64) && *its == rows
                })
                .map(|(_, _, report, _)| report.clone());
            let report = known.unwrap_or_else(|| self.held_report(held, &rows));
            self.tell_once(&format!("held: {report}"));
            now.push((held.on, held.mailbox, report, rows));
        }
        let missing = self.missing_homes();
        let missing_is_told = self.holding.missing.iter().map(|(id, _)| *id).eq(missing.iter().copied());
        if !missing_is_told {
            self.holding.missing = missing.into_iter().filter_map(|id| Some((id, self.missing_report(id)?))).collect();
            for at in 0..self.holding.missing.len() {
                let what = format!("held: {}", self.holding.missing[at].1);
                self.tell_once(&what);
            }
        }
        if now != self.holding.held || !missing_is_told || !self.holding.told {
            self.holding.told = true;
            self.summary.held = now.iter().map(|(_, _, report, _)| report.clone()).collect();
            self.summary.held.extend(self.holding.missing.iter().map(|(_, report)| report.clone()));
            // For `cms status` when nothing runs.
            let json = serde_json::to_string(&self.summary.held).unwrap_or_default();
            self.world.note(Change::SetMeta { key: at_rest::HELD.to_owned(), value: json });
        }
        self.holding.holds = now.iter().map(|(side, mailbox, ..)| (*side, *mailbox)).collect();
        self.holding.held = now;
    }

    fn held_report(&self, held: &Held, rows: &[RowId]) -> HeldReport {
        let mut id = blake3::Hasher::new();
        for row in rows {
            id.update(&row.0.to_le_bytes());
        }
        let mailbox = self.mailbox_name(held.mailbox);
        let (count, of) = (held.ops.len(), held.of);
        let gone_from_cloud = held.on == Side::Local;
        let mut cause = match (held.reason, held.on) {
            (Reason::FolderRemoved, _) => format!(
                "`{mailbox}` was removed in the cloud and made again, and {count} messages of the old one are gone there"
            ),
            (Reason::Many, Side::Local) => format!("{count} of {of} messages are gone from `{mailbox}` in the cloud"),
            (Reason::Many, Side::Cloud) => format!("{count} of {of} messages of `{mailbox}` were deleted here"),
        };
        if held.before > 0 {
            // Writing to a string can't fail.
            let _ = write!(cause, ", after {} that went shortly before", held.before);
        }
        HeldReport {
            id: id.finalize().to_hex()[..16].to_owned(),
            account: self.mailbox(held.mailbox).map(|mailbox| mailbox.sign_in).unwrap_or_default(),
            mailbox,
            gone_from_cloud,
            count: count as u64,
            of: of as u64,
            cause,
            samples: self.samples(rows),
            directory: None,
        }
    }

    /// The newest of some messages, as people know them.
    pub(super) fn samples(&self, rows: &[RowId]) -> Vec<Headline> {
        let mut newest: Vec<&Row> = rows.iter().filter_map(|row| self.world.synced.get(*row)).collect();
        newest.sort_by_key(|row| Reverse(row.received));
        // What can't be read now is a message all the same.
        let sample = |row: &Row| headline(&self.store.header(&row.hash).unwrap_or_default(), row.received);
        newest.into_iter().take(SAMPLES).map(sample).collect()
    }

    /// Whether a Maildir that was removed here is held.
    pub(super) fn holds_maildir(&self, path: &str) -> bool {
        self.holding.missing.iter().any(|(_, report)| report.directory.as_deref() == Some(path))
    }

    /// The Maildirs of trees that were removed here, as they are told of.
    pub(super) fn holding_missing(&self) -> &[(MaildirId, HeldReport)] {
        &self.holding.missing
    }

    /// Takes the user's word on held deletions. It holds for those that are held now, and for no later ones.
    pub(super) fn rule(&mut self, which: &Which, word: Word) -> Reply {
        let ruled: Vec<(Side, MailboxId, HeldReport, Vec<RowId>)> =
            self.holding.held.iter().filter(|(_, _, report, _)| self.is_meant(which, report)).cloned().collect();
        let mut reports: Vec<HeldReport> = ruled.iter().map(|(_, _, report, _)| report.clone()).collect();
        let missing = self.holding.missing.iter().map(|(_, report)| report);
        reports.extend(missing.filter(|report| self.is_meant(which, report)).cloned());
        match which {
            Which::Mailbox(name) if reports.is_empty() && !self.summary.held.is_empty() => {
                return Reply::Refused {
                    what: format!("nothing is held in `{name}`"),
                    hint: Some("`cms held` tells what is held, and in which mailbox".to_owned()),
                };
            }
            Which::Mailbox(name) if reports.iter().any(|report| report.account != reports[0].account) => {
                return Reply::Refused {
                    what: format!("something is held in `{name}` of several accounts"),
                    hint: Some(format!(
                        "name the account too, as in `{}:{name}`",
                        self.account_name(reports[0].account)
                    )),
                };
            }
            Which::Shown(_) if reports.is_empty() => {
                return Reply::Refused {
                    what: "what is held has changed meanwhile".to_owned(),
                    hint: Some("look at it again".to_owned()),
                };
            }
            Which::All | Which::Mailbox(_) | Which::Shown(_) => {}
        }
        if let Err(refused) = self.rule_missing(which, word) {
            return refused;
        }
        for (side, mailbox, report, rows) in ruled {
            let verb = if word == Word::Delete { "Deleting" } else { "Keeping" };
            info!(mailbox = %report.mailbox, messages = report.count, "{verb} what was held, as the user says");
            for row in &rows {
                self.holding.words.insert(*row, word);
                self.world.note(Change::SetWord { row: *row, word: Some(word) });
                self.world.touch_row(*row);
            }
            if (side, word) == (Side::Local, Word::Keep) {
                self.bring_back(mailbox, &rows);
            }
        }
        self.plan_at = Some(Instant::now());
        self.was_settled = false;
        Reply::Ruled { held: reports }
    }

    pub(super) fn is_meant(&self, which: &Which, held: &HeldReport) -> bool {
        match which {
            Which::All => true,
            Which::Shown(id) => held.id == *id,
            Which::Mailbox(name) => {
                let is_in = |directory: &String| Path::new(directory).starts_with(name);
                held.directory.as_ref().is_some_and(is_in)
                    || held.mailbox == *name
                    || format!("{}:{}", self.account_name(held.account), held.mailbox) == *name
            }
        }
    }

    fn account_name(&self, account: usize) -> String {
        let status = self.board.as_ref().map(crate::page::Board::status).unwrap_or_default();
        status.accounts.get(account).map(|account| account.name.clone()).unwrap_or_default()
    }

    /// Asks the cloud to move messages back to where they are gone from. What can't be moved stays here alone.
    fn bring_back(&mut self, mailbox: MailboxId, rows: &[RowId]) {
        let ids: Vec<RemoteId> =
            rows.iter().filter_map(|row| self.world.synced.get(*row)).map(|row| row.remote.clone()).collect();
        let Some(known) = self.mailbox(mailbox) else { return };
        let (account, Some(folder)) = (known.account, known.folder.clone()) else {
            // It is being looked for, or made again.
            for id in &ids {
                self.world.begin(id);
            }
            self.holding.to_bring_back.extend(ids);
            self.holding.bring_back_at = Some(Instant::now() + backoff(0));
            self.make_folder_again(mailbox);
            return;
        };
        for some in ids.chunks(BROUGHT_BACK) {
            for id in some {
                self.world.begin(id);
            }
            self.asking += 1;
            let account = self.accounts[account].clone();
            self.tasks.spawn(tasks::bring_back(account, some.to_vec(), folder.clone(), self.events.0.clone()));
        }
    }

    /// When messages are to be brought back for which that has failed.
    pub(super) fn bring_back_at(&self) -> Option<Instant> {
        self.holding.bring_back_at
    }

    /// Goes on with the messages that are to be brought back by the user's word, after a failure or a restart.
    pub(super) fn bring_back_the_rest(&mut self) {
        self.holding.bring_back_at = None;
        for id in std::mem::take(&mut self.holding.to_bring_back) {
            self.world.end(&id);
        }
        let mut rows: HashMap<MailboxId, Vec<RowId>> = HashMap::default();
        for (row, _) in self.holding.words.iter().filter(|(_, word)| **word == Word::Keep) {
            if let Some(found) = self.world.synced.get(*row)
                && !self.world.cloud.messages.contains_key(&found.remote)
                && !self.world.busy.ids.contains(&found.remote)
            {
                rows.entry(found.mailbox).or_default().push(*row);
            }
        }
        for (mailbox, rows) in rows {
            self.bring_back(mailbox, &rows);
        }
    }

    pub(super) fn brought_back(&mut self, results: Vec<(RemoteId, BroughtBack)>) {
        self.asking -= 1;
        let mut back = Vec::new();
        let mut lost = 0;
        for (id, result) in results {
            match result {
                BroughtBack::Back(now) => {
                    self.world.end(&id);
                    if now != id
                        && let Some(row) = self.world.synced.by_remote(&id)
                    {
                        self.world.amend_row(row, |row| row.remote = now.clone());
                    }
                    back.push(now);
                }
                BroughtBack::Lost => {
                    self.world.end(&id);
                    lost += 1;
                }
                // It stays busy, so that nothing is planned for it, and is asked for again.
                BroughtBack::Failed(error) => {
                    self.holding.to_bring_back.push(id);
                    self.holding.bring_back_at = Some(Instant::now() + backoff(0));
                    self.fail_if_passing(error);
                }
            }
        }
        if !back.is_empty() {
            info!(messages = back.len(), "Brought back in the cloud");
        }
        if lost > 0 {
            warn!("{lost} messages can't be brought back in the cloud; their files stay here");
        }
        // What they look like now is asked for: only that puts them into the tree.
        self.ask(None, back);
    }

    /// Once everything is settled, ends the user's words, for what they were said of is done; and takes a folder that was
    /// made again for the mailbox if nothing of the old one is held any more.
    pub(super) fn settle_held(&mut self) {
        let mut open: HashSet<MailboxId> =
            self.holding.holds.iter().filter(|hold| hold.0 == Side::Local).map(|hold| hold.1).collect();
        // Of what waits it isn't known yet whether it is gone.
        let waiting = self.holding.removed.iter().filter(|row| self.world.is_waiting(**row));
        open.extend(waiting.filter_map(|row| self.world.synced.get(*row)).map(|row| row.mailbox));
        let over: Vec<MailboxId> =
            self.holding.removed_in.iter().copied().filter(|mailbox| !open.contains(mailbox)).collect();
        for mailbox in over {
            self.holding.removed_in.remove(&mailbox);
            let world = &self.world;
            self.holding.removed.retain(|row| world.synced.get(*row).is_some_and(|row| row.mailbox != mailbox));
            self.world.note(Change::SetMeta { key: removed_up_to(mailbox), value: String::new() });
        }
        if self.holding.words.is_empty() {
            return;
        }
        let over: Vec<RowId> = self.holding.words.keys().copied().filter(|row| !self.world.is_waiting(*row)).collect();
        for row in over {
            self.holding.words.remove(&row);
            self.world.note(Change::SetWord { row, word: None });
        }
    }
}
