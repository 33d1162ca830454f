//! `cms verify` in the loop: a fresh listing of the cloud and a fresh reading of the disk meet the trees. What differs is told,
//! and taken as an observation; whatever follows from it is the planner's to say.

use std::collections::BTreeMap;
use std::time::Duration;

use cms_cloud::contract::{CloudError, Whereabouts};
use cms_engine::{ContentHash, MailboxId, MaildirId, RemoteId, RowId};
use cms_store::{After, Change, Deed, Heard, JournalEntry, Standing, Wanted};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::control::ComparisonReport;
use crate::problem::with_causes;
use crate::sync::at_rest;
use crate::sync::driver::Driver;
use crate::sync::errand::{Errand, ErrandReport};
use crate::sync::journal::Reason;
use crate::sync::tasks;
use crate::sync::verification::{
    Contents, Difference, Kind, Listing, Names, Verification, as_known, compare_trees, count, doubtful, expected,
};

/// Messages asked for in one go.
const QUESTIONS: usize = 80;

/// How often the daemon compares everything by itself.
const BETWEEN_COMPARISONS: Duration = Duration::from_secs(7 * 86_400);

/// When it did last, as a key in the database.
const COMPARED: &str = "compared at";

impl Driver {
    pub(super) fn verify(&mut self, hurry: bool) {
        self.rescan(None);
        let expected = expected(&self.world, |id| self.local.maildir(id));
        let mailboxes = self
            .mailboxes
            .iter()
            // There is nothing to list of a folder that is gone.
            .filter(|mailbox| !mailbox.is_gone)
            .map(|mailbox| {
                let account = self.accounts[mailbox.account].clone();
                tasks::ToList {
                    account,
                    mailbox: mailbox.id,
                    name: mailbox.name.clone(),
                    folder: mailbox.folder.clone(),
                }
            })
            .collect();
        let (store, events, surroundings) = (self.store.clone(), self.events.0.clone(), self.surroundings.clone());
        if let Some(errand) = &mut self.errand {
            errand.open += 1;
        }
        self.tasks.spawn(tasks::verify(mailboxes, store, expected, hurry, surroundings, events));
    }

    /// Takes the fresh look at both sides. A daemon hears the cloud once more before it compares: what came since the last
    /// poll is no difference, but on its way.
    pub(super) fn looked_afresh(&mut self, listing: Listing, contents: Contents) {
        if self.watching {
            for mailbox in &mut self.mailboxes {
                mailbox.next_poll = Instant::now();
            }
            self.poll_due();
            if let Some(errand) = &mut self.errand {
                errand.look = Some((listing, contents));
            }
        } else {
            self.compare(&listing, &contents);
        }
        self.one_task_less();
    }

    /// Compares: first the trees with each other, then what is doubtful in the cloud.
    pub(super) fn compare(&mut self, listing: &Listing, contents: &Contents) {
        self.rescan(None);
        let mut verification = Verification {
            files_read: contents.files_read,
            stored_read: contents.stored_read,
            ..Verification::default()
        };
        let mailbox_ids: Vec<MailboxId> = self.mailboxes.iter().map(|mailbox| mailbox.id).collect();
        let maildir_ids = self.local.ids();
        let edited = self.note_edited(contents);
        {
            let mailbox = |id| self.mailbox_name(id);
            let maildir = |id| self.maildir_name(id);
            let names = Names { mailbox: &mailbox, maildir: &maildir };
            count(&mut verification, listing, &self.world, &mailbox_ids, &maildir_ids, &names);
            verification.differences = compare_trees(&self.world, self.readable_flags(), &names);
        }
        for (id, why) in &listing.failed {
            verification.differences.push(Difference {
                place: self.mailbox_name(*id),
                message: "the mailbox".to_owned(),
                kind: Kind::Unreadable,
                what: why.clone(),
            });
        }
        for id in maildir_ids.iter().filter(|id| !self.world.local.readable.contains(id)) {
            verification.differences.push(Difference {
                place: self.maildir_name(*id),
                message: "the Maildir".to_owned(),
                kind: Kind::Unreadable,
                what: "it can't be read".to_owned(),
            });
        }
        verification.differences.extend(self.look_at_store(contents, &edited));
        let doubtful = doubtful(listing, &self.world);
        if let Some(errand) = &mut self.errand {
            errand.report.verification = Some(verification);
        }
        // A listing takes its time, and the cloud goes on meanwhile: what counts is what it says when asked for the message.
        let mut by_account: BTreeMap<usize, Vec<RemoteId>> = BTreeMap::new();
        for id in doubtful {
            let listed = listing.messages.get(&id).map(|(mailbox, _)| *mailbox);
            let mailbox = listed.or_else(|| self.world.cloud.messages.get(&id).map(|known| known.mailbox));
            let account = mailbox.and_then(|id| self.mailbox(id)).map(|mailbox| mailbox.account);
            by_account.entry(account.unwrap_or_default()).or_default().push(id);
        }
        for (account, ids) in by_account {
            for some in ids.chunks(QUESTIONS) {
                if let Some(errand) = &mut self.errand {
                    errand.open += 1;
                }
                let (account, events) = (self.accounts[account].clone(), self.events.0.clone());
                self.tasks.spawn(tasks::look_at_doubtful(account, some.to_vec(), events));
            }
        }
    }

    /// Takes the files that were written to: an edit, whose message's stored copy went the same way if it is the same file.
    fn note_edited(&mut self, contents: &Contents) -> Vec<RowId> {
        let mut rows = Vec::new();
        let now = self.now();
        for (key, found) in &contents.edited {
            let Some(row) = self.world.synced.by_file(key) else { continue };
            if self.world.local.files.get(key).is_none_or(|file| file.hash == Some(*found)) {
                continue;
            }
            self.world.hear(Some((Heard::Verification, now)));
            if let Err(error) = self.local.look_into(&mut self.world, key) {
                warn!(error = %with_causes(&error), "Couldn't look into a file that was written to");
            }
            self.world.hear(None);
            // A row without an inode is one whose file was found edited before.
            if let Some(before) = self.world.synced.get(row).filter(|before| before.inode != 0) {
                let reason = Reason {
                    at: now,
                    age: self.age(),
                    wanted: Wanted::Local,
                    because: cms_engine::Because {
                        here: cms_engine::Became::Edited,
                        there: cms_engine::Became::Unchanged,
                    },
                    heard: Heard::Verification,
                    heard_at: None,
                    undo: None,
                    request: None,
                    exchange: None,
                };
                let before = Standing::from(before);
                let after = Standing { hash: *found, ..before.clone() };
                let entry = JournalEntry {
                    row: Some(row),
                    before: Some(before),
                    after: After::As(after),
                    ..reason.entry(Deed::FoundEdited)
                };
                self.world.note(Change::journal(entry));
            }
            // Names that a row knows are believed at the next start, but never with an inode that isn't the row's.
            self.world.amend_row(row, |row| row.inode = 0);
            rows.push(row);
        }
        rows
    }

    /// Tells of stored messages that aren't what they should be, and lets those be downloaded again that a message needs.
    fn look_at_store(&mut self, contents: &Contents, edited: &[RowId]) -> Vec<Difference> {
        let mut differences = Vec::new();
        let needed: Vec<(RowId, RemoteId, ContentHash, String)> = self
            .world
            .synced
            .iter()
            .filter(|(_, row)| contents.damaged.contains(&row.hash) || !self.store.contains(&row.hash))
            .map(|(id, row)| (id, row.remote.clone(), row.hash, row.file.base_name.to_string()))
            .collect();
        for (row, id, hash, message) in needed {
            let what = match (edited.contains(&row), contents.damaged.contains(&hash)) {
                (true, true) => "its stored copy was changed together with its file; it is downloaded again",
                (_, true) => "its stored copy isn't what it was; it is downloaded again",
                (_, false) => "its stored copy is missing; it is downloaded again",
            };
            differences.push(Difference {
                place: "store".to_owned(),
                message,
                kind: Kind::StoreDamaged,
                what: what.to_owned(),
            });
            self.call_by_its_content(&hash);
            self.world.forget_content(&id);
        }
        for hash in &contents.damaged {
            if !self.world.synced.has_content(hash) {
                differences.push(Difference {
                    place: "store".to_owned(),
                    message: hash.to_string(),
                    kind: Kind::StoreDamaged,
                    what: "a message that was removed isn't what it was, and can't be brought back".to_owned(),
                });
                self.call_by_its_content(hash);
            }
        }
        differences
    }

    /// Lets the store have nothing under a name that isn't its content's.
    fn call_by_its_content(&self, hash: &ContentHash) {
        if let Err(error) = self.store.rename_altered(hash) {
            warn!(error = %with_causes(&error), "Couldn't rename a stored message that isn't what it was");
        }
    }

    /// Takes what the cloud says of messages of which its listing said something else than we knew.
    pub(super) fn looked_at_doubtful(&mut self, answers: Vec<(RemoteId, Result<Whereabouts, CloudError>)>) {
        let mut found = Vec::new();
        for (id, answer) in answers {
            let known = self.world.cloud.messages.get(&id).cloned();
            let place = known.as_ref().map(|known| known.mailbox);
            let name = self
                .world
                .synced
                .by_remote(&id)
                .and_then(|row| self.world.synced.get(row))
                .map_or_else(|| id.to_string(), |row| row.file.base_name.to_string());
            let mut push = |place: String, kind, what: &str| {
                found.push(Difference { place, message: name.clone(), kind, what: what.to_owned() });
            };
            match answer {
                Ok(Whereabouts::Here(seen)) => {
                    let now =
                        self.mailboxes.iter().find(|mailbox| mailbox.folder.is_some() && mailbox.folder == seen.folder);
                    let now = now.map(|mailbox| mailbox.id);
                    if now.is_none()
                        && seen
                            .folder
                            .as_ref()
                            .is_some_and(|folder| self.may_be_new(folder, self.account_of(&id)).is_some())
                    {
                        // Where it is now is asked until the folder is known.
                        self.ask(None, vec![id]);
                        continue;
                    }
                    match (known, now) {
                        (Some(known), Some(now)) if as_known(&known, &seen, now) => continue,
                        (None, None) => continue,
                        (Some(_), Some(now)) => {
                            push(
                                self.mailbox_name(now),
                                Kind::OtherInCloud,
                                "the cloud has it with other flags or elsewhere than it told",
                            );
                        }
                        (None, Some(now)) => {
                            push(
                                self.mailbox_name(now),
                                Kind::UnknownInCloud,
                                "the cloud has it and hadn't told of it",
                            );
                        }
                        (Some(known), None) => {
                            push(
                                self.mailbox_name(known.mailbox),
                                Kind::GoneInCloud,
                                "the cloud has it in no mailbox that is synced",
                            );
                        }
                    }
                    self.world.hear(Some((Heard::Verification, self.now())));
                    match now {
                        Some(now) => drop(self.world.see(&seen, now)),
                        None => self.world.drop_cloud(&id),
                    }
                    self.world.hear(None);
                }
                Ok(Whereabouts::Gone) => {
                    if let Some(place) = place {
                        push(self.mailbox_name(place), Kind::GoneInCloud, "the cloud doesn't have it any more");
                        self.world.hear(Some((Heard::Verification, self.now())));
                        self.world.drop_cloud(&id);
                        self.world.hear(None);
                    }
                }
                Err(error) => {
                    let place = place.map(|place| self.mailbox_name(place)).unwrap_or_default();
                    push(place, Kind::Unreadable, &with_causes(&error));
                }
            }
        }
        if let Some(verification) = self.errand.as_mut().and_then(|errand| errand.report.verification.as_mut()) {
            verification.differences.append(&mut found);
        }
        self.one_task_less();
    }

    /// Remembers that a comparison was made, and tells the log what it found if nobody else is told.
    pub(super) fn conclude_verification(&mut self, report: &mut ErrandReport, is_told: bool) {
        let Some(verification) = &mut report.verification else { return };
        verification.differences.sort_unstable();
        verification.differences.dedup();
        let now = self.now();
        self.world.note(Change::SetMeta { key: COMPARED.to_owned(), value: now.0.to_string() });
        let report = ComparisonReport {
            at: now.0,
            files: verification.files_read,
            differences: verification.differences.len() as u64,
        };
        let json = serde_json::to_string(&report).unwrap_or_default();
        self.world.note(Change::SetMeta { key: at_rest::COMPARISON.to_owned(), value: json });
        if is_told {
            return;
        }
        if verification.is_same() {
            info!(files = verification.files_read, "Compared everything: both sides are the same");
        }
        for difference in &verification.differences {
            warn!("Compared everything: {difference}");
        }
    }

    /// Compares everything if the last time is a week ago. The first time is a week after the first start.
    pub(super) fn compare_if_due(&mut self) {
        let now = self.now();
        let compared: Option<i64> = self.database.meta(COMPARED).ok().flatten().and_then(|at| at.parse().ok());
        match compared {
            // A time that is yet to come was noted by a clock that has been set back since.
            Some(at) if (0..BETWEEN_COMPARISONS.as_secs().cast_signed()).contains(&(now.0 - at)) => {}
            Some(_) => self.take_own_errand(Errand::Verify),
            None => self.world.note(Change::SetMeta { key: COMPARED.to_owned(), value: now.0.to_string() }),
        }
    }

    fn maildir_name(&self, id: MaildirId) -> String {
        self.local.path(id).map(|path| path.display().to_string()).unwrap_or_default()
    }
}
