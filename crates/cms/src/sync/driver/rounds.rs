//! Rounds of polling: pages come in, what is doubtful is asked about, and only then is the cursor saved.

use std::collections::BTreeMap;

use cms_cloud::contract::{CloudError, Folder, Next, Page, Seen, Whereabouts};
use cms_engine::{CloudMessage, MailboxId, RemoteId};
use cms_store::Change;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::page::Trouble;
use crate::problem::{remedy, with_causes};
use crate::sync::driver::unlisted::Found;
use crate::sync::driver::{DeleteTarget, Driver, Mailbox, Round, backoff};
use crate::sync::tasks::{self, Poll};
use crate::sync::world::Taken;
use crate::sync::{SyncError, at_rest};

/// Messages asked for in one go.
const QUESTIONS: usize = 80;

impl Driver {
    /// Whether a mailbox is polled when its time comes. A single run does so once.
    pub(super) fn awaits_poll(&self, mailbox: &Mailbox) -> bool {
        let once_is_enough = !self.watching && (mailbox.polled || mailbox.left_out.is_some());
        let waits_for_folders = mailbox.tree.is_some_and(|tree| !self.trees.can_be_polled(tree));
        !self.compare_first && mailbox.round.is_none() && !once_is_enough && !waits_for_folders
    }

    /// Starts a round for every mailbox whose time has come.
    pub(super) fn poll_due(&mut self) {
        let now = Instant::now();
        // Those of one account go out together, in one request.
        let mut until = vec![now; self.accounts.len()];
        for mailbox in self.mailboxes.iter().filter(|mailbox| mailbox.round.is_none() && mailbox.next_poll <= now) {
            if !self.is_told_of(mailbox) {
                until[mailbox.account] = now + self.poll_pause(mailbox) / 2;
            }
        }
        let mut gone = Vec::new();
        for at in 0..self.mailboxes.len() {
            let siblings = self.mailboxes.iter().filter(|other| other.account == self.mailboxes[at].account).count();
            let (is_told_of, awaits_poll) =
                (self.is_told_of(&self.mailboxes[at]), self.awaits_poll(&self.mailboxes[at]));
            let mailbox = &mut self.mailboxes[at];
            let due = if mailbox.failures == 0 && !is_told_of { until[mailbox.account] } else { now };
            if mailbox.next_poll > due || !awaits_poll {
                continue;
            }
            mailbox.round = Some(Round::new(0));
            if mailbox.is_gone {
                gone.push(mailbox.id);
                continue;
            }
            let ask_delete_target = (siblings > 1 && matches!(mailbox.delete_target, DeleteTarget::Unknown))
                .then_some(mailbox.delete_action);
            let poll = Poll {
                account: self.accounts[mailbox.account].clone(),
                mailbox: mailbox.id,
                name: mailbox.name.clone(),
                folder: mailbox.folder.clone(),
                cursor: mailbox.cursor.clone(),
                ask_delete_target,
            };
            self.tasks.spawn(poll.run(self.events.0.clone()));
        }
        self.poll_gone(gone);
    }

    pub(super) fn opened(&mut self, id: MailboxId, folder: Folder) {
        let twin = self
            .mailboxes
            .iter()
            .find(|other| other.id != id && other.folder.as_ref() == Some(&folder.id))
            .map(|other| (other.name.clone(), other.tree));
        if let Some((_, Some(_))) = twin {
            // What is named by itself isn't the tree's.
            self.folders_have_changed();
        }
        let Some(mailbox) = self.mailbox_mut(id) else { return };
        if let Some((twin, None)) = twin {
            let what = format!("`{}` and `{twin}` are the same folder of the account", mailbox.name);
            self.fatal = Some(self.wrong(id, &what, "name it once in cms.cfg".to_owned()));
            return;
        }
        mailbox.total_items = folder.total_items;
        mailbox.folder = Some(folder.id.clone());
        let before = mailbox.last_folder.replace(folder.id.clone());
        if before.is_some_and(|before| before != folder.id) {
            self.note_folder_removed(id);
        }
        let Some(mailbox) = self.mailbox_mut(id) else { return };
        if let Some(round) = &mut mailbox.round {
            round.opened = true;
        }
        self.world.note(Change::SetFolder { mailbox: id, folder: folder.id.0 });
    }

    pub(super) fn page(&mut self, id: MailboxId, page: Page, first: bool) {
        let Some(mailbox) = self.mailbox_mut(id) else { return };
        let round = mailbox.round.get_or_insert_with(|| Round::new(0));
        if first {
            round.seen.clear();
            round.removals.clear();
        }
        let is_news = !page.upserts.is_empty() || !page.removals.is_empty();
        for seen in &page.upserts {
            round.removals.remove(&seen.id);
            round.seen.insert(seen.id.clone());
        }
        round.removals.extend(page.removals.iter().cloned());
        let mut questions = Vec::new();
        for seen in &page.upserts {
            if !self.take(seen, id) {
                questions.push(seen.id.clone());
            }
        }
        self.ask(Some(id), questions);
        if is_news {
            self.note_activity();
        }
        if let Next::Complete { cursor, whole } = page.next {
            self.last_page(id, cursor, whole);
        }
    }

    /// Takes what a page says of one message. Returns whether that was enough; otherwise it must be asked for.
    pub(super) fn take(&mut self, seen: &Seen, polled: MailboxId) -> bool {
        let place = match &seen.folder {
            Some(folder) => {
                self.mailboxes.iter().find(|mailbox| mailbox.folder.as_ref() == Some(folder)).map(|mailbox| mailbox.id)
            }
            None => Some(polled),
        };
        let Some(place) = place else { return false };
        if self.writing.contains(&seen.id) {
            // Our own change is under way; what holds is what the cloud says after it.
            self.ask_after.insert(seen.id.clone());
            return true;
        }
        // An answer that was under way when a change of ours was made tells of the time before. One of which no message is left
        // here was moved away or deleted by us.
        let says_nothing_new =
            |known: &CloudMessage| known.mailbox == place && ((known.flags ^ seen.flags) & seen.known_flags).is_empty();
        if self.own_writes.contains_key(&seen.id)
            && !self.world.cloud.messages.get(&seen.id).is_some_and(says_nothing_new)
        {
            return false;
        }
        let taken = self.world.see(seen, place) == Taken::Yes;
        if self.gone_by_id.forget(&seen.id) {
            self.end_waiting(&seen.id);
        }
        self.bring_from_left_out(&seen.id);
        self.recognize_unanswered(&seen.id);
        taken
    }

    pub(super) fn last_page(&mut self, id: MailboxId, cursor: cms_cloud::contract::Cursor, whole: bool) {
        let Some(round) = self.mailbox_mut(id).and_then(|mailbox| mailbox.round.as_mut()) else { return };
        round.finished = Some(cursor);
        let mut gone: Vec<RemoteId> = round.removals.iter().cloned().collect();
        let seen = whole.then(|| std::mem::take(&mut round.seen));
        // A removal of a message that isn't known is asked about too, even if we deleted it ourselves: it may be all that is
        // ever told of one that was moved away and back.
        let message_is_here = |message: &CloudMessage| message.mailbox == id;
        gone.retain(|gone| self.world.cloud.messages.get(gone).is_none_or(message_is_here));
        if let Some(seen) = seen {
            // Only a complete round can say what is no longer there.
            let missing = self
                .world
                .cloud
                .messages
                .iter()
                .filter(|(known, message)| message.mailbox == id && !seen.contains(known));
            gone.extend(missing.map(|(known, _)| known));
            gone.sort_unstable();
            gone.dedup();
        }
        if let Some(round) = self.mailbox_mut(id).and_then(|mailbox| mailbox.round.as_mut()) {
            round.removals.extend(gone.iter().cloned());
        }
        // That a message left is believed only when it is asked for by its id: one that was moved away and back is
        // reported as removed and never as come back (microsoft-graph-docs-contrib#72).
        self.ask(Some(id), gone);
        self.end_round(id);
    }

    /// Asks where messages are. Until the answer comes nothing is planned for them.
    pub(super) fn ask(&mut self, round: Option<MailboxId>, mut ids: Vec<RemoteId>) {
        ids.retain(|id| {
            let writing = self.writing.contains(id);
            if writing {
                self.ask_after.insert(id.clone());
            }
            !writing
        });
        let account = round.and_then(|id| self.mailbox(id)).map(|mailbox| mailbox.account);
        let mut by_account: BTreeMap<usize, Vec<RemoteId>> = BTreeMap::new();
        for id in ids {
            let its = account.or_else(|| self.account_to_ask(&id)).unwrap_or_default();
            by_account.entry(its).or_default().push(id);
        }
        let chunks = by_account.iter().flat_map(|(account, ids)| ids.chunks(QUESTIONS).map(|some| (*account, some)));
        for (account, some) in chunks {
            for id in some {
                self.world.begin(id);
            }
            self.asking += 1;
            self.loose_questions += usize::from(round.is_none());
            if let Some(round) = round.and_then(|id| self.mailbox_mut(id)).and_then(|mailbox| mailbox.round.as_mut()) {
                round.open_questions += 1;
            }
            self.tasks.spawn(tasks::look_up(
                self.accounts[account].clone(),
                round,
                some.to_vec(),
                self.events.0.clone(),
            ));
        }
    }

    /// Who can be asked for a message, though the cloud may not have told of it, or not again since it was gone.
    pub(super) fn account_to_ask(&self, id: &RemoteId) -> Option<usize> {
        self.account_of(id).or_else(|| {
            let row = self.world.synced.get(self.world.synced.by_remote(id)?)?;
            self.mailbox(row.mailbox).map(|mailbox| mailbox.account)
        })
    }

    pub(super) fn account_of(&self, id: &RemoteId) -> Option<usize> {
        let mailbox = self.world.cloud.messages.get(id)?.mailbox;
        self.mailbox(mailbox).map(|mailbox| mailbox.account)
    }

    pub(super) fn looked_up(
        &mut self,
        round: Option<MailboxId>,
        asked: Instant,
        answers: Vec<(RemoteId, Result<Whereabouts, CloudError>)>,
    ) {
        self.asking -= 1;
        let mut failed = false;
        let mut outdated = Vec::new();
        let mut unlisted = Found::default();
        for (id, answer) in answers {
            // A message may be asked for twice at a time. The first answer lets it be changed, and the second one tells how it
            // was before.
            if self.writing.contains(&id) {
                self.ask_after.insert(id);
                continue;
            }
            if self.own_writes.get(&id).is_some_and(|written| *written >= asked) {
                outdated.push(id);
                continue;
            }
            match answer {
                Ok(Whereabouts::Here(seen)) => {
                    self.setbacks.heard_of(&id);
                    let place = self
                        .mailboxes
                        .iter()
                        .find(|mailbox| mailbox.folder.is_some() && mailbox.folder == seen.folder)
                        .map(|mailbox| mailbox.id);
                    match place {
                        Some(place) => {
                            self.world.see(&seen, place);
                            self.bring_from_left_out(&id);
                            self.recognize_unanswered(&id);
                        }
                        None if self.set_aside_unlisted(&mut unlisted, round, &id, seen.folder.as_ref()) => continue,
                        None => self.drop_gone(&id),
                    }
                }
                Ok(Whereabouts::Gone)
                    if round.is_none() && !self.is_told_to_be_gone(&id) && self.wait_for_a_listing(&id) =>
                {
                    continue;
                }
                Ok(Whereabouts::Gone) => self.drop_gone(&id),
                Err(error) => {
                    debug!(%error, "Couldn't ask where a message is");
                    failed = true;
                    let Some(mailbox) = round else {
                        self.postponed.push((Instant::now() + backoff(0), id.clone()));
                        self.fail_if_passing(error);
                        continue;
                    };
                    if self.wait_for_the_next_round(&id, mailbox) {
                        continue;
                    }
                }
            }
            self.gone_by_id.forget(&id);
            // A message that waits for its download is left to that.
            if !self.downloading.contains(&id) {
                self.end_waiting(&id);
            }
        }
        self.ask(round, outdated);
        let is_over = usize::from(!self.list_for(round, unlisted));
        if let Some(id) = round {
            if let Some(round) = self.mailbox_mut(id).and_then(|mailbox| mailbox.round.as_mut()) {
                round.open_questions -= is_over;
                round.failed |= failed;
            }
            self.end_round(id);
        } else {
            self.loose_questions -= is_over;
            if failed {
                // One of them may be about what a round told: that round must tell it again.
                for mailbox in &mut self.mailboxes {
                    if let Some(round) = &mut mailbox.round {
                        round.failed = true;
                    }
                }
            }
            self.end_rounds();
        }
    }

    /// Takes a message for gone. If it is one that an upload under way has made, the upload's answer may be older than that.
    fn drop_gone(&mut self, id: &RemoteId) {
        if !self.uploading.is_empty() {
            self.uploads.gone_meanwhile.insert(id.clone());
        }
        self.world.drop_cloud(id);
    }

    /// Ends the rounds that waited for what was open elsewhere.
    pub(super) fn end_rounds(&mut self) {
        let ids: Vec<MailboxId> = self.mailboxes.iter().map(|mailbox| mailbox.id).collect();
        for id in ids {
            self.end_round(id);
        }
    }

    /// Ends a round of which nothing is open any more. Only now is the cursor saved: with it, what the round told is
    /// never told again. That includes what was set aside while a change of ours was under way.
    pub(super) fn end_round(&mut self, id: MailboxId) {
        if self.loose_questions > 0 || !self.ask_after.is_empty() {
            return;
        }
        let now = self.now();
        let Some(mailbox) = self.mailbox_mut(id) else { return };
        let Some(round) = mailbox.round.take_if(|round| round.finished.is_some() && round.open_questions == 0) else {
            return;
        };
        if round.failed {
            mailbox.failures += 1;
            mailbox.next_poll = Instant::now() + backoff(mailbox.failures);
            let name = mailbox.name.clone();
            if mailbox.failures == 1 {
                warn!(mailbox = %name, "The cloud didn't say where some messages are; trying again");
            }
            self.fail(SyncError::Cloud(CloudError::Unexpected("it didn't say where some messages are".to_owned())));
            return;
        }
        let found = !round.seen.is_empty() || !round.removals.is_empty();
        let name = mailbox.name.clone();
        mailbox.failures = 0;
        mailbox.polled = true;
        mailbox.polled_at = Some(round.began);
        mailbox.synced_at = Some(now);
        mailbox.trouble = None;
        mailbox.cursor.clone_from(&round.finished);
        if let Some(cursor) = round.finished {
            self.world.note(Change::SetCursor { mailbox: id, cursor: Some(cursor.0), complete: true });
            self.world.note(Change::SetMeta { key: at_rest::synced_at(id), value: now.0.to_string() });
        }
        if self.world.cloud.complete.insert(id) {
            info!(mailbox = %name, "Listed");
            self.world.touch_everything();
        }
        self.forget_what_was_not_made(id);
        self.after_round(id, found);
        self.end_waiting_for_a_listing(id);
        // Changes of ours may have waited for this.
        self.plan_at.get_or_insert_with(Instant::now);
    }

    pub(super) fn cursor_lost(&mut self, id: MailboxId) {
        if let Some(mailbox) = self.mailbox_mut(id) {
            info!(mailbox = %mailbox.name, "The cloud has forgotten where we were; listing the folder from the beginning");
            mailbox.cursor = None;
            let open_questions = mailbox.round.as_ref().map_or(0, |round| round.open_questions);
            mailbox.round = Some(Round::new(open_questions));
        }
        // What isn't in the others may be here, under an id that nobody has told yet.
        self.world.cloud.complete.remove(&id);
    }

    /// Looks for a mailbox by its name again: the folder behind the stored id is gone, and there may be a new one. A round
    /// under way finds that out by itself.
    pub(super) fn look_for_folder(&mut self, id: MailboxId) {
        if self.is_missing_in_tree(id) {
            return;
        }
        let Some(mailbox) = self.mailbox_mut(id).filter(|mailbox| mailbox.folder.is_some() && mailbox.round.is_none())
        else {
            return;
        };
        info!(mailbox = %mailbox.name, "The folder that it was is gone; looking for it by name");
        mailbox.folder = None;
        mailbox.cursor = None;
        mailbox.next_poll = Instant::now();
    }

    pub(super) fn round_failed(&mut self, id: MailboxId, error: CloudError) {
        let watching = self.watching;
        let Some(mailbox) = self.mailbox_mut(id) else { return };
        let opened_now = mailbox.round.as_ref().is_some_and(|round| round.opened);
        if mailbox.tree.is_none()
            && matches!(error, CloudError::NoSuchFolder { .. })
            && mailbox.folder.is_some()
            && !opened_now
        {
            mailbox.round = None;
            return self.look_for_folder(id);
        }
        let is_missing = matches!(
            error,
            CloudError::NoSuchFolder { .. } | CloudError::Gone | CloudError::Refused { status: 404, .. }
        );
        if is_missing && mailbox.tree.is_some() && mailbox.round.as_ref().is_none_or(|round| round.open_questions == 0)
        {
            mailbox.round = None;
            if self.is_missing_in_tree(id) {
                return;
            }
        }
        let Some(mailbox) = self.mailbox_mut(id) else { return };
        let failures = mailbox.failures;
        mailbox.failures += 1;
        mailbox.next_poll =
            Instant::now() + if let CloudError::Throttled(pause) = &error { *pause } else { backoff(failures) };
        // Answers to questions of this round may still come.
        if let Some(round) = &mut mailbox.round {
            round.failed = true;
            if round.open_questions == 0 {
                mailbox.round = None;
            } else {
                round.finished.get_or_insert(cms_cloud::contract::Cursor(String::new()));
            }
        }
        let name = mailbox.name.clone();
        if mailbox.tree.is_none() && matches!(error, CloudError::Gone | CloudError::Refused { status: 404, .. }) {
            // The folder behind the stored id is gone; there may be a new one of that name.
            mailbox.folder = None;
            mailbox.cursor = None;
        }
        let text = with_causes(&error);
        mailbox.trouble = Some(Trouble { what: text.clone(), remedy: remedy(&error) });
        match error {
            CloudError::NoSuchFolder { nearest, .. } if !mailbox.polled && mailbox.tree.is_none() => {
                let hint = if nearest.is_empty() {
                    "`cms check` lists the folders that exist".to_owned()
                } else {
                    format!(
                        "did you mean {}?",
                        nearest.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
                    )
                };
                self.fatal = Some(self.wrong(id, &format!("the account has no folder `{name}`"), hint));
            }
            error if !watching => match error {
                CloudError::SignInNeeded { .. } | CloudError::Unreachable(_) | CloudError::Throttled(_) => {
                    self.fatal.get_or_insert(SyncError::Cloud(error));
                }
                source => {
                    warn!(mailbox = %name, "{text}; the other mailboxes are synced without it");
                    mailbox.left_out = Some(SyncError::Mailbox { mailbox: name, source });
                }
            },
            _ => {
                if failures == 0 {
                    warn!(mailbox = %name, "{text}; trying again");
                } else {
                    debug!(mailbox = %name, "{text}; trying again");
                }
            }
        }
    }

    /// A failure of the network or the sign-in ends a single run; the daemon waits for better times.
    pub(super) fn fail_if_passing(&mut self, error: CloudError) {
        if self.watching {
            self.tell_once(&with_causes(&error));
        }
        self.fail(SyncError::Cloud(error));
    }
}
