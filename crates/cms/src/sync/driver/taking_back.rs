//! Undo and restore: wishes that go through the planner, and messages that are brought back from where the cloud keeps what
//! was deleted.

use std::collections::BTreeMap;

use cms_cloud::contract::{FolderId, Seen};
use cms_engine::{CloudBytes, Flags, MailboxId, MaildirId, Op, Role, Row, RowId, Sides, UnixSeconds, Uploads as _};
use cms_store::{After, Change, Deed, Heard, JournalEntry, JournalPart, Standing, Wanted};

use crate::envelope::Envelope;
use crate::history::{History, Told};
use crate::problem::with_causes;
use crate::sync::LocalError;
use crate::sync::driver::Driver;
use crate::sync::errand::Undone;
use crate::sync::journal::{Reason, Wish};
use crate::sync::tasks::{self, Moved, TakenBack};
use crate::sync::undo::{Intent, Step, take_back};

impl Driver {
    pub(super) fn undo(&mut self, what: Undone, dry_run: bool) {
        let part = match what {
            Undone::Since(at) => JournalPart::Since(UnixSeconds(at)),
            Undone::Entry(_) | Undone::Run(_) => JournalPart::Since(UnixSeconds(i64::MIN)),
        };
        let Some(entries) = self.journal_entries(part) else { return };
        let chosen: Vec<Told> = entries
            .into_iter()
            .filter(|told| match what {
                Undone::Since(_) => true,
                Undone::Entry(number) => told.number == number,
                Undone::Run(run) => told.entry.undo == Some(run),
            })
            .collect();
        if chosen.is_empty() {
            let what = match what {
                Undone::Since(_) => "nothing was done in that time".to_owned(),
                Undone::Entry(number) => format!("the journal has no entry {number}"),
                Undone::Run(run) => format!("the journal has no undo or restoration {run}"),
            };
            return self.report_not_done(what);
        }
        let found = take_back(&chosen, &self.world);
        for (number, why) in found.impossible {
            self.report_not_done(format!("#{number}: {why}"));
        }
        if found.arrivals > 0 && !matches!(what, Undone::Since(_)) {
            self.report_not_done("that a message came isn't taken back; delete it if you don't want it".to_owned());
        }
        self.act_on(found.steps, Wanted::Undo, dry_run);
    }

    pub(super) fn restore(&mut self, numbers: &[u64]) {
        let Some(entries) = self.journal_entries(JournalPart::Since(UnixSeconds(i64::MIN))) else { return };
        let mut steps = Vec::new();
        for number in numbers {
            let Some(chosen) = entries.iter().find(|told| told.number == *number) else {
                self.report_not_done(format!("#{number}: the journal has no such entry"));
                continue;
            };
            if chosen.entry.deed == Deed::Replaced
                && let Some(old) = chosen.entry.before.clone()
            {
                // The message lives on as another version, so this one can only be a file of its own.
                let message = Standing { remote: None, mailbox: None, ..old };
                steps.push(Step { number: *number, message: message.clone(), intent: Intent::BringBack(message) });
                continue;
            }
            // All that was done to it, since a deletion's own entry says where the cloud keeps it.
            let of_it: Vec<Told> = entries
                .iter()
                .filter(|told| {
                    told.number == *number || (told.entry.row.is_some() && told.entry.row == chosen.entry.row)
                })
                .filter(|told| told.is_removal())
                .cloned()
                .collect();
            let found = take_back(&of_it, &self.world);
            if of_it.is_empty() {
                self.report_not_done(format!("#{number}: no message was removed by that"));
            }
            for (_, why) in found.impossible {
                self.report_not_done(format!("#{number}: {why}"));
            }
            steps.extend(
                found
                    .steps
                    .into_iter()
                    .filter(|step| matches!(step.intent, Intent::BringBack(_) | Intent::Move { .. })),
            );
        }
        self.act_on(steps, Wanted::Restore, false);
    }

    /// The journal, with all that was done until now.
    fn journal_entries(&mut self, part: JournalPart) -> Option<Vec<Told>> {
        let read = self.write_down().map_err(|error| with_causes(&error)).and_then(|()| {
            let history = History::open(&self.state_dir).map_err(|error| with_causes(&error))?;
            history.map_or(Ok(Vec::new()), |history| history.entries(part).map_err(|error| with_causes(&error)))
        });
        match read {
            Ok(entries) => Some(entries),
            Err(why) => {
                self.report_not_done(format!("the journal can't be read: {why}"));
                None
            }
        }
    }

    fn act_on(&mut self, steps: Vec<Step>, wanted: Wanted, dry_run: bool) {
        if steps.is_empty() {
            return;
        }
        if dry_run {
            for step in &steps {
                let text = self.step_in_words(step);
                self.report_done(text);
            }
            return;
        }
        let run = self.database.next_undo().unwrap_or(1);
        if let Some(errand) = &mut self.errand {
            errand.report.run = Some(run);
        }
        let wish = Wish { wanted, undo: Some(run) };
        let mut back: BTreeMap<usize, Vec<(Step, FolderId)>> = BTreeMap::new();
        let mut only_here = Vec::new();
        let mut moves = Vec::new();
        for step in steps {
            let text = self.step_in_words(&step);
            match &step.intent {
                Intent::Flags { row, mask, value } => match self.set_flags_here(*row, *mask, *value, wish) {
                    Ok(()) => self.report_done(text),
                    Err(why) => self.report_not_done(format!("#{}: {why}", step.number)),
                },
                Intent::Move { row, to } => match self.move_there(*row, *to) {
                    Some(op) => {
                        self.world.wish(*row, wish);
                        moves.push(op);
                        self.report_done(text);
                    }
                    None => self.report_not_done(format!("#{}: its mailbox isn't configured any more", step.number)),
                },
                Intent::MoveFile { row, to } => match self.local.move_file(&mut self.world, *row, *to) {
                    Ok(()) => {
                        self.world.wish(*row, wish);
                        self.report_done(text);
                    }
                    Err(error) => self.report_not_done(format!("#{}: {}", step.number, with_causes(&error))),
                },
                Intent::RemoveFile(key) => {
                    let reason = self.command_reason(wish);
                    match self.local.remove_restored(&mut self.world, &self.store, key, &step.message, &reason) {
                        Ok(()) => {
                            self.touched_maildirs.insert(key.maildir);
                            self.report_done(text);
                        }
                        Err(error) => self.report_not_done(format!("#{}: {}", step.number, with_causes(&error))),
                    }
                }
                Intent::BringBack(message) => {
                    let place = message.mailbox.and_then(|id| self.mailbox(id));
                    match place.and_then(|mailbox| Some((mailbox.account, mailbox.folder.clone()?))) {
                        Some((account, folder)) if message.remote.is_some() => {
                            back.entry(account).or_default().push((step, folder));
                        }
                        _ => only_here.push(step),
                    }
                }
            }
        }
        for step in only_here {
            self.restore_here(&step, wish, "the cloud doesn't have it");
        }
        self.act_there(moves);
        for (account, work) in back {
            if let Some(errand) = &mut self.errand {
                errand.open += 1;
            }
            let account = self.accounts[account].clone();
            self.tasks.spawn(tasks::take_back(account, work, wish, self.events.0.clone()));
        }
    }

    /// Changes flags here as a mail program would. The planner tells the cloud.
    fn set_flags_here(&mut self, row: RowId, mask: Flags, value: Flags, wish: Wish) -> Result<(), String> {
        self.world.wish(row, wish);
        match self.local.set_flags(&mut self.world, row, mask, value) {
            Ok(maildir) => {
                self.touched_maildirs.insert(maildir);
                Ok(())
            }
            Err(error) => Err(with_causes(&error)),
        }
    }

    /// The step that moves a message to a mailbox. Its row stays what it is: to the next plan the cloud looks as if it had
    /// moved the message, and so the file follows.
    fn move_there(&self, row: RowId, to: MailboxId) -> Option<Op> {
        self.mailbox(to)?.folder.as_ref()?;
        let base = self.world.synced.get(row)?.clone();
        Some(Op::MoveInCloud { row, to, base, deletes: false })
    }

    fn command_reason(&self, wish: Wish) -> Reason {
        use cms_engine::{Became, Because};
        Reason {
            at: self.now(),
            age: self.age(),
            wanted: wish.wanted,
            because: Because { here: Became::Absent, there: Became::Absent },
            heard: Heard::Command,
            heard_at: None,
            undo: wish.undo,
            request: None,
            exchange: None,
        }
    }

    /// Takes what came of bringing messages back in the cloud.
    pub(super) fn taken_back(&mut self, results: Vec<TakenBack>, wish: Wish) {
        for TakenBack { step, folder, outcome } in results {
            match outcome {
                Ok((seen, moved)) => self.take_back_in(&step, &folder, &seen, moved, wish),
                Err(why) => self.restore_here(&step, wish, &why),
            }
        }
        self.one_task_less();
    }

    /// Puts the file of a message that is in its mailbox again where it was.
    fn take_back_in(&mut self, step: &Step, folder: &FolderId, seen: &Seen, moved: Option<Moved>, wish: Wish) {
        let text = self.step_in_words(step);
        let place = self.mailboxes.iter().find(|mailbox| mailbox.folder.as_ref() == Some(folder));
        let Some(mailbox) = place.map(|mailbox| mailbox.id) else { return };
        let message = &step.message;
        let mut reason = self.command_reason(wish);
        if let Some(Moved { request, exchange }) = moved {
            reason.request = Some(request);
            reason.sent(exchange);
            let after = Standing { remote: Some(seen.id.clone()), mailbox: Some(mailbox), ..message.clone() };
            let entry = JournalEntry {
                before: Some(message.clone()),
                after: After::As(after),
                ..reason.entry(Deed::RestoredThere)
            };
            self.world.note(Change::journal(entry));
        }
        self.own_writes.insert(seen.id.clone(), tokio::time::Instant::now());
        self.world.see(seen, mailbox);
        self.world.wish_for(&seen.id, wish);
        let draft = seen.flags.contains(Flags::DRAFT);
        if draft || !self.store.contains(&message.hash) || self.world.synced.by_remote(&seen.id).is_some() {
            // It is downloaded and delivered as any message is.
            return self.report_done(text);
        }
        self.world.fetched(&seen.id, message.hash, false);
        let Some(known) = self.world.cloud.messages.get(&seen.id).cloned() else { return };
        let readable = self.readable_flags();
        let row = Row {
            remote: seen.id.clone(),
            mailbox,
            file: message.file.clone(),
            flags: Sides {
                local: (message.flags.local - Flags::TRASHED).with(readable, known.flags),
                cloud: known.flags,
            },
            hash: message.hash,
            cloud_bytes: CloudBytes::Same,
            inode: 0,
            received: known.received,
            revision: None,
        };
        let free = self.world.synced.by_file(&row.file).is_none() && !self.world.local.files.contains_key(&row.file);
        if free && self.world.local.readable.contains(&row.file.maildir) {
            self.act_here(&Op::Deliver { row: None, base: row });
        }
        self.report_done(text);
    }

    /// Puts a message back into its Maildir that the cloud can't have back.
    fn restore_here(&mut self, step: &Step, wish: Wish, why: &str) {
        let reason = self.command_reason(wish);
        let Standing { file, flags, hash, .. } = &step.message;
        let flags = flags.local - Flags::TRASHED;
        match self.local.restore(&mut self.world, &self.store, file, flags, hash, &reason) {
            Ok(()) => {
                self.touched_maildirs.insert(file.maildir);
                let text = self.step_in_words(step);
                let how = if self.goes_up(&step.message) {
                    "into the Maildir, from where it goes to the cloud anew"
                } else {
                    "into the Maildir only"
                };
                self.report_done(format!("{text}; {how}: {why}"));
            }
            Err(LocalError::ContentMissing) => {
                self.report_not_done(format!("#{}: {why}, and its content isn't kept any more", step.number));
            }
            Err(LocalError::NotThere) if self.local.path(file.maildir).is_none() => {
                self.report_not_done(format!("#{}: {}", step.number, self.without_maildir(file.maildir)));
            }
            Err(error) => self.report_not_done(format!("#{}: {}", step.number, with_causes(&error))),
        }
    }

    /// Why nothing can be put into a Maildir that isn't among those that there are, and what helps.
    fn without_maildir(&self, maildir: MaildirId) -> String {
        let all = self.database.maildirs().unwrap_or_default();
        match all.into_iter().find(|(id, _)| *id == maildir).map(|(_, path)| path) {
            Some(path) if self.trees.have(&path) => format!(
                "its Maildir is gone with its folder; make `{}` again, with `cur`, `new` and `tmp` in it, and restore it after \
                 the next sync",
                path.display()
            ),
            Some(path) => format!("its Maildir `{}` isn't in cms.cfg any more", path.display()),
            None => "its Maildir isn't known any more".to_owned(),
        }
    }

    /// Whether the cloud is given the file of a message that it doesn't have any more.
    fn goes_up(&self, message: &Standing) -> bool {
        let takes = message.mailbox.map(|id| self.uploads.takes(id)).unwrap_or_default();
        let is_draft = message.flags.local.contains(Flags::DRAFT) || takes.role == Role::Drafts;
        if is_draft { takes.drafts } else { takes.others }
    }

    pub(super) fn readable_flags(&self) -> Flags {
        self.accounts.first().map_or(Flags::NONE, |account| account.capabilities().readable_flags)
    }

    fn step_in_words(&self, step: &Step) -> String {
        let envelope = self.store.header(&step.message.hash).map(|header| Envelope::read(&header)).unwrap_or_default();
        let message =
            if envelope.subject.is_empty() { step.message.file.base_name.to_string() } else { envelope.subject };
        let maildir = |id| self.local.path(id).map(|path| path.display().to_string()).unwrap_or_default();
        match &step.intent {
            Intent::Flags { mask, .. } if mask.contains(Flags::TRASHED) => format!("delete again: {message}"),
            Intent::Flags { mask, value, .. } => {
                let words = |flags| crate::history::flags_in_words(flags);
                match (*value, *mask - *value) {
                    (set, cleared) if cleared.is_empty() => format!("mark {}: {message}", words(set)),
                    (set, cleared) if set.is_empty() => format!("mark not {}: {message}", words(cleared)),
                    (set, cleared) => format!("mark {}, and not {}: {message}", words(set), words(cleared)),
                }
            }
            Intent::Move { to, .. } => format!("move back to `{}`: {message}", self.mailbox_name(*to)),
            Intent::MoveFile { to, .. } => format!("move the file back to `{}`: {message}", maildir(*to)),
            Intent::BringBack(standing) => format!("bring back into `{}`: {message}", maildir(standing.file.maildir)),
            Intent::RemoveFile(key) => format!("take out of `{}` again: {message}", maildir(key.maildir)),
        }
    }
}
