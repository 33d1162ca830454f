//! The driver's dealings with the Maildirs: hearing of changes, listing, local steps, what it tells of files.

use std::path::Path;
use std::time::Duration;

use cms_engine::{Absence, ContentHash, FileKey, HashMap, MaildirId, Op, Plan, RemoteId};
use cms_maildir::{MaildirError, WatchEvent, Watcher};
use cms_store::Heard;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::page::argument;
use crate::problem::with_causes;
use crate::sync::driver::clock::SAFETY_SCAN;
use crate::sync::driver::trees::TRY_AGAIN;
use crate::sync::driver::{Driver, PAIRING_WINDOW, READ_AGAIN, READ_AGAIN_AT_ONCE};
use crate::sync::local::{LocalError, LocalSide};
use crate::sync::tasks;
use crate::sync::world::World;
use crate::sync::{Start, SyncError};

impl Driver {
    pub(super) fn hear(&mut self, batch: Vec<WatchEvent>) {
        let serious = self.local.hear(&mut self.world, batch);
        // What went from one Maildir may have gone to one of which nothing is heard.
        self.needs_second_look |= !self.unheard.is_empty();
        if LocalSide::is_settling(&self.world) {
            self.vanish_settles_at = Some(Instant::now() + PAIRING_WINDOW);
        }
        for event in serious {
            match event {
                WatchEvent::DirectoryGone { maildir } => self.maildir_went(maildir),
                WatchEvent::DirectoryBack { .. } => self.reopen_at = Some(Instant::now()),
                WatchEvent::DirectoriesChanged { .. } => self.follow_directories(),
                _ => {
                    info!("The kernel dropped file events; listing the Maildirs again");
                    self.rescan(Some(Absence::Settling));
                    self.follow_directories();
                }
            }
        }
    }

    /// That every Maildir which held mail is there. A daemon bears another directory in the place of one: the right one may
    /// come back while it runs.
    pub(super) fn must_have_maildirs(&mut self, may_touch: bool) -> Result<(), SyncError> {
        for id in self.local.ids() {
            if self.local.maildir(id).is_some() {
                continue;
            }
            let Some(path) = self.local.path(id).map(Path::to_owned) else { continue };
            let is_awaited = self.local.is_known(id) || self.world.synced.has_files_in(id);
            if is_awaited && !self.local.is_replaced(id) {
                // What was missing a moment ago may be there by now.
                match self.local.open(&mut self.world, id, may_touch) {
                    Ok(()) => continue,
                    Err(LocalError::Replaced(_)) => {}
                    Err(LocalError::Maildir(MaildirError::NotAMaildir { .. })) if self.note_removed(id) => continue,
                    Err(LocalError::Maildir(_)) if self.trees.bear_missing() => {
                        self.reopen_at = Some(Instant::now() + Duration::from_secs(5));
                        continue;
                    }
                    Err(LocalError::Maildir(source)) => return Err(SyncError::MaildirMissing { path, source }),
                    Err(error) => return Err(SyncError::Local(error)),
                }
            }
            if self.local.is_replaced(id) {
                if !self.watching {
                    return Err(SyncError::MaildirReplaced { path });
                }
                self.tell_replaced(id);
                self.reopen_at = Some(Instant::now() + Duration::from_secs(5));
            } else if !is_awaited
                && may_touch
                && let Err(error) = self.local.open(&mut self.world, id, true)
            {
                self.could_not_make(error)?;
            }
        }
        Ok(())
    }

    /// Tries later to make a Maildir that couldn't be made, unless nobody wants to wait.
    fn could_not_make(&mut self, error: LocalError) -> Result<(), SyncError> {
        if !self.watching {
            return Err(SyncError::Local(error));
        }
        self.tell_of_disk(if error.is_disk_full() {
            "the disk is full: waiting until there is room again; nothing is lost".to_owned()
        } else {
            format!("{}; trying again", with_causes(&error))
        });
        self.reopen_at = Some(Instant::now() + TRY_AGAIN);
        Ok(())
    }

    fn tell_replaced(&mut self, id: MaildirId) {
        let path = self.local.path(id).map(|path| path.display().to_string()).unwrap_or_default();
        self.tell_once(&format!(
            "`{path}` isn't the directory that held the mail, so it isn't used, and nothing is deleted in the cloud because \
             of it. Mount the right disk, and it goes on by itself; if this is its new place, `cms held restore {}` \
             puts the mail back",
            argument(&path)
        ));
    }

    /// Takes a Maildir out of use that isn't there any more.
    fn maildir_went(&mut self, id: MaildirId) {
        let path = self.local.path(id).map(|path| path.display().to_string()).unwrap_or_default();
        warn!(
            "`{path}` is gone; nothing is deleted in the cloud because of that, and it is used again when it comes back"
        );
        self.local.close(&mut self.world, id);
        self.reopen_at = Some(Instant::now() + Duration::from_secs(2));
    }

    /// Takes a Maildir out of use that can't be listed, and looks again before long.
    fn give_up_maildir(&mut self, id: MaildirId, error: &LocalError) {
        if matches!(error, LocalError::Replaced(_)) {
            self.tell_replaced(id);
        } else {
            warn!(%error, "Couldn't list a Maildir");
        }
        self.local.close(&mut self.world, id);
        self.reopen_at = Some(Instant::now() + Duration::from_secs(5));
    }

    /// Takes whatever is at a Maildir's path for the Maildir, by the user's word, if it is out of use.
    pub(super) fn accept_maildir(&mut self, path: &str) -> Option<Result<(), LocalError>> {
        let is_it = |id: &MaildirId| self.local.path(*id) == Some(Path::new(path)) && self.local.maildir(*id).is_none();
        let id = self.local.ids().into_iter().find(is_it)?;
        Some(self.local.accept(&mut self.world, id).and_then(|()| {
            if self.watching {
                self.reopen();
                Ok(())
            } else {
                self.local.scan(&mut self.world, id, None)
            }
        }))
    }

    /// Lists all readable Maildirs again.
    pub(super) fn rescan(&mut self, missing: Option<Absence>) {
        self.list_again(&self.local.ids(), missing);
        self.scan_at = Instant::now() + SAFETY_SCAN;
        self.tell_lengths();
    }

    pub(super) fn list_again(&mut self, ids: &[MaildirId], missing: Option<Absence>) {
        self.world.hear(Some((Heard::Scan, self.now())));
        for id in ids {
            if let Err(error) = self.local.scan(&mut self.world, *id, missing) {
                self.give_up_maildir(*id, &error);
            }
        }
        if LocalSide::is_settling(&self.world) {
            self.vanish_settles_at = Some(Instant::now() + PAIRING_WINDOW);
        }
        self.world.hear(None);
        self.needs_second_look = true;
    }

    /// Tries files again that couldn't be read: one of them may be what a file that went has become.
    pub(super) fn read_again(&mut self, now: Instant) {
        if self.read_again_at.is_some_and(|at| at <= now) {
            self.read_again_at = None;
            if let Err(error) = self.local.read_again(&mut self.world) {
                debug!(%error, "Couldn't look at files again");
            }
            // What waited for it goes on.
            self.plan_at.get_or_insert(now);
        }
        if self.read_again_at.is_none() && self.world.has_unread() {
            self.read_again_at = Some(now + self.until_read_again());
        }
    }

    pub(super) fn until_read_again(&self) -> Duration {
        if self.watching { READ_AGAIN } else { READ_AGAIN_AT_ONCE }
    }

    pub(super) fn watch(&mut self) -> Result<(), SyncError> {
        let mut watcher = Watcher::new().map_err(SyncError::Maildir)?;
        for id in self.local.ids() {
            let Some(maildir) = self.local.maildir(id) else { continue };
            match watcher.add(id, maildir) {
                // Somebody has moved it since it was opened.
                Err(MaildirError::NotAMaildir { .. }) => self.maildir_went(id),
                added => added.map_err(SyncError::Maildir)?,
            }
        }
        for root in self.trees.roots() {
            watcher.add_root(root).map_err(SyncError::Maildir)?;
        }
        let task = self.tasks.spawn(tasks::watch(watcher, self.surroundings.clone(), self.events.0.clone()));
        if let Some(before) = self.watch_task.replace(task) {
            before.abort();
        }
        Ok(())
    }

    /// Lists every Maildir; the first time this is the observation that everything else rests on.
    pub(super) fn look_at_maildirs(&mut self) -> Result<(), SyncError> {
        for id in self.local.ids() {
            if self.local.maildir(id).is_some() {
                match self.local.scan(&mut self.world, id, None) {
                    Err(LocalError::Replaced(id)) => self.local.close(&mut self.world, id),
                    Err(LocalError::Maildir(MaildirError::NotAMaildir { .. })) if self.watching => {
                        self.maildir_went(id);
                    }
                    other => other.map_err(SyncError::Local)?,
                }
            }
        }
        self.scan_at = Instant::now() + SAFETY_SCAN;
        self.needs_second_look = true;
        Ok(())
    }

    /// Takes out what was delivered for nothing and couldn't be taken out at once.
    pub(super) fn take_back_leftovers(&mut self) {
        let age = self.age();
        let changed = self.local.take_back_leftovers(&mut self.world, &self.store, age);
        self.touched_maildirs.extend(changed);
    }

    pub(super) fn apply_start_policy(&mut self) {
        if self.start != Start::Online {
            return;
        }
        self.world.wish_to_discard();
        let mut strangers: HashMap<ContentHash, Vec<FileKey>> = HashMap::default();
        for key in self.world.strangers() {
            if let Some(hash) = self.world.local.files.get(key).and_then(|file| file.hash) {
                strangers.entry(hash).or_default().push(key.clone());
            }
        }
        let strangers = std::cell::RefCell::new(strangers);
        let World { cloud, synced, local, .. } = &mut self.world;
        synced.discard_local_changes(local, |row| {
            // A message that isn't in the cloud any more has no place to bring the file back to.
            cloud.messages.get(&row.remote)?;
            strangers.borrow_mut().get_mut(&row.hash)?.pop()
        });
    }

    /// Tries to open Maildirs that were gone, and watches anew.
    pub(super) fn reopen(&mut self) {
        for id in self.local.ids() {
            if self.local.maildir(id).is_none() {
                match self.local.open(&mut self.world, id, true) {
                    Ok(()) => {
                        let path = self.local.path(id).map(|path| path.display().to_string()).unwrap_or_default();
                        info!("`{path}` is used again");
                    }
                    Err(LocalError::Maildir(MaildirError::NotAMaildir { .. })) => {
                        self.look_for_moved(id);
                        self.reopen_at = Some(Instant::now() + Duration::from_secs(5));
                    }
                    Err(LocalError::Replaced(_)) => {
                        self.tell_replaced(id);
                        self.reopen_at = Some(Instant::now() + Duration::from_secs(5));
                    }
                    Err(error) if !self.local.is_known(id) => {
                        if let Err(error) = self.could_not_make(error) {
                            warn!("{}", with_causes(&error));
                        }
                    }
                    Err(error) => {
                        self.tell_once(&format!("{error}"));
                        self.reopen_at = Some(Instant::now() + Duration::from_secs(30));
                    }
                }
            }
        }
        if self.watching
            && let Err(error) = self.watch()
        {
            warn!(%error, "Couldn't watch the Maildirs");
            self.reopen_at = Some(Instant::now() + Duration::from_secs(30));
        }
        self.rescan(None);
        self.follow_directories();
        self.world.touch_everything();
    }

    /// Takes what an earlier delivery left in a Maildir for a message's content, where the state that told of it was
    /// lost. Not only is that quicker: Exchange may build other bytes by now, and the message would be there twice.
    pub(super) fn recognize(&mut self, id: &RemoteId) -> bool {
        let Some(hash) = self.local.left_by_delivery(&self.world, &self.store, id, &self.host) else { return false };
        // Its download may have been noted and never written down.
        self.to_settle.push(self.world.version(id));
        self.world.fetched(id, hash, false);
        true
    }

    /// Does one local step. Returns whether the next one makes sense now.
    pub(super) fn act_here(&mut self, op: &Op) -> bool {
        let deletes = op.deletes_from(&self.world.synced);
        if let Op::Record { row, base } = op {
            self.tell_stored_form(row.and_then(|row| self.world.synced.get(row)), base);
        }
        if let Op::Rename { row, base, .. } = op {
            self.tell_stored_form(self.world.synced.get(*row), base);
        }
        let reason = self.reason(op);
        match self.local.perform(&mut self.world, &self.store, op, &reason) {
            Ok(()) => {
                debug!(%op, "Done");
                self.looked_again = 0;
                self.note_deletion(op, deletes);
                self.note_crossing(op);
                if let Op::Deliver { base, .. } | Op::Replace { base, .. } | Op::Rename { base, .. } = op {
                    self.touched_maildirs.insert(base.file.maildir);
                }
                // What left a place must not be there again after a power failure, as a message of its own.
                if let Op::Replace { old: left, .. } | Op::Rename { from: left, .. } | Op::Remove { file: left, .. } =
                    op
                {
                    self.touched_maildirs.insert(left.maildir);
                }
                if let Some(notice) = self.summary.count_local(op) {
                    self.hook_at.get_or_insert(Instant::now() + Duration::from_secs(1));
                    self.tell(&notice);
                }
                true
            }
            Err(LocalError::LookAgain(id)) => {
                debug!(%op, "The Maildir has changed meanwhile; looking again");
                self.needs_second_look = true;
                let missing = self.watching.then_some(Absence::Settling);
                self.world.hear(Some((Heard::Scan, self.now())));
                if let Err(error) = self.local.scan(&mut self.world, id, missing) {
                    self.give_up_maildir(id, &error);
                }
                self.world.hear(None);
                if LocalSide::is_settling(&self.world) {
                    self.vanish_settles_at = Some(Instant::now() + PAIRING_WINDOW);
                }
                self.world.touch_op(op);
                self.looked_again += 1;
                if self.looked_again > 50 {
                    // Something renames faster than we look, or a name can't be had: no reason to spin.
                    self.looked_again = 0;
                    self.paused_until = Some(Instant::now() + Duration::from_secs(2));
                }
                // The other steps were planned from the tree as it was. One that renames a file would undo what
                // somebody has given it for a name meanwhile.
                false
            }
            Err(LocalError::ContentMissing) => {
                if let Some(id) = op.id(&self.world.synced).cloned() {
                    self.world.forget_content(&id);
                }
                true
            }
            Err(error) => {
                let full = error.is_disk_full();
                let pause = Duration::from_secs(if full { 10 } else { 30 });
                if full {
                    self.tell_of_disk(
                        "the disk is full: waiting until there is room again; nothing is lost".to_owned(),
                    );
                } else {
                    self.tell_of_disk(format!("couldn't {op}: {}", with_causes(&error)));
                }
                self.fail(SyncError::Local(error));
                self.paused_until = Some(Instant::now() + pause);
                self.world.touch_op(op);
                false
            }
        }
    }

    /// Says once of each file that only a Maildir has that it stays there.
    pub(super) fn note_local_only(&mut self, plan: &Plan) {
        for row in &plan.edited {
            if let Some(row) = self.world.synced.get(*row) {
                let file = row.file.base_name.clone();
                self.tell_once(&format!(
                    "`{file}` was edited here; the cloud can't take that, so the edit stays in the Maildir"
                ));
            }
        }
        let now = Instant::now();
        for key in plan.local_only.iter().filter(|key| !self.world.is_reported(key)) {
            self.unreported.entry(key.clone()).or_insert(now);
        }
        self.summary.local_only = self.world.strangers().count() as u64;
    }

    /// Tells of files that are only here, once they aren't likely to be one half of a move any more.
    pub(super) fn report_local_only(&mut self, at_least: Duration) {
        let now = Instant::now();
        let due: Vec<FileKey> = self
            .unreported
            .iter()
            .filter(|(_, since)| now.duration_since(**since) >= at_least)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.unreported.remove(&key);
            if self.world.is_stranger(&key) {
                let path = self.local.path(key.maildir).map(|path| path.display().to_string()).unwrap_or_default();
                warn!(
                    "`{}` in `{path}` is only here: it doesn't go to the cloud (see `upload`), and stays where it is",
                    key.base_name
                );
                self.world.report(&key);
            }
        }
    }

    /// Runs `cfg.on_change` once after a burst of changes in the Maildirs.
    pub(super) fn run_hook(&mut self, now: Instant) {
        if self.hook_at.is_none_or(|at| at > now) {
            return;
        }
        self.hook_at = None;
        let Some(command) = self.on_change.clone() else { return };
        self.tasks.spawn(async move {
            let status = tokio::process::Command::new("sh")
                .arg("-c")
                .arg(&command)
                .stdin(std::process::Stdio::null())
                .kill_on_drop(true)
                .status()
                .await;
            match status {
                Ok(status) if status.success() => {}
                Ok(status) => warn!("cfg.on_change `{command}` ended with {status}"),
                Err(error) => warn!("cfg.on_change `{command}` couldn't be started: {error}"),
            }
        });
    }
}
