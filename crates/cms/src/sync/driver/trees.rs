//! Whole accounts: whether their folders are as they were, and what follows if they aren't.

mod directories;
mod making;
mod missing;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cms_cloud::contract::{CloudAccount, CloudError, Cursor, FolderId, Next, Page, Tree};
use cms_engine::{FileKey, HashSet, MailboxId, MaildirId, RemoteId, Router as _};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::problem::with_causes;
use crate::sync::driver::unlisted::Unlisted;
use crate::sync::driver::{Driver, backoff, open};
use crate::sync::tasks::Event;
use crate::sync::{MailboxSetup, Start, SyncError};
use crate::tree::{FolderWish, TreeSetup, expand, is_as_arranged, is_kept, steps};

/// How long what is under way may take until the state is opened anew all the same: everything is begun again then.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long changes on their way get to be confirmed.
const CONFIRMATION: Duration = Duration::from_secs(10);

/// How long until something is tried again that the disk refused.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(10);

/// How many times more seldom folders are listed where the cloud can't say whether they changed.
const SELDOM: u32 = 10;

/// How often a folder of a tree may be missing where the list says that it is there.
const CONTRADICTIONS: u32 = 3;

/// The trees, and how far the looks at them are.
pub(super) struct Trees {
    looks: Vec<Look>,
    /// What the configuration names by itself.
    mailboxes: Vec<MailboxSetup>,
    /// Whether a folder that is gone is being made again.
    making: bool,
    /// Whether something is being done in the cloud that somebody has done here.
    fulfilling: bool,
    /// What was done last of that.
    fulfilled: Option<FolderWish>,
    /// Whether a Maildir that is missing is waited for, as it has been since it went.
    bears_missing: bool,
    /// Since when it is known that the folders are other than the state has.
    changed_at: Option<Instant>,
    /// When that is tried again which the disk refused.
    not_before: Option<Instant>,
    /// Messages in folders that aren't known yet.
    pub(super) unlisted: Vec<Unlisted>,
    /// Maildirs that aren't there, while others are.
    missing: HashSet<MaildirId>,
    /// Those of them whose folders are to go, too.
    to_go: HashSet<MaildirId>,
}

/// How the folders of one tree are looked at.
struct Look {
    tree: TreeSetup,
    cursor: Option<Cursor>,
    /// Whether they were listed since the state was opened, or just before.
    listed: bool,
    /// When the look began that is under way.
    under_way: Option<Instant>,
    /// Whether another one must follow, for what it tells may be older than what is asked.
    once_more: bool,
    next: Instant,
    failures: u32,
    /// Why a single run goes on without it.
    left_out: Option<SyncError>,
    /// Folders that messages are in and that aren't listed, as what can be recovered is.
    not_listed: HashSet<FolderId>,
}

impl Look {
    /// Whether a single run needs none any more.
    fn is_over(&self) -> bool {
        self.listed || self.left_out.is_some()
    }
}

/// What a look at the folders of a tree found.
pub(crate) struct Looked {
    /// The folders; nothing where they are as they were.
    tree: Option<Tree>,
    cursor: Option<Cursor>,
}

impl Trees {
    pub(super) fn new(trees: Vec<TreeSetup>, mailboxes: Vec<MailboxSetup>) -> Self {
        let now = Instant::now();
        let look = |tree: TreeSetup| {
            let listed = tree.listed.is_some();
            Look {
                tree,
                cursor: None,
                listed,
                under_way: None,
                once_more: false,
                next: now,
                failures: 0,
                left_out: None,
                not_listed: HashSet::default(),
            }
        };
        Self {
            looks: trees.into_iter().map(look).collect(),
            mailboxes,
            making: false,
            fulfilling: false,
            fulfilled: None,
            bears_missing: false,
            changed_at: None,
            not_before: None,
            unlisted: Vec::new(),
            missing: HashSet::default(),
            to_go: HashSet::default(),
        }
    }

    /// When one is looked at again, or what is under way has had its time. After that, only what happens can change anything.
    pub(super) fn due(&self, watching: bool) -> Option<Instant> {
        let looks = self.looks.iter().filter(|look| look.under_way.is_none() && (watching || !look.is_over()));
        let patience_ends = self.changed_at.map(|at| at + PATIENCE).filter(|at| *at > Instant::now());
        looks.map(|look| look.next).chain(patience_ends).chain(self.not_before).min()
    }

    /// Whether it is known which folders there are.
    pub(super) fn are_known(&self) -> bool {
        self.changed_at.is_none() && !self.fulfilling && self.unlisted.is_empty() && self.are_listed()
    }

    pub(super) fn len(&self) -> usize {
        self.looks.len()
    }

    /// The directories that the Maildirs are in.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Path> {
        self.looks.iter().map(|look| look.tree.root.as_path())
    }

    /// Which client reaches a tree.
    pub(super) fn client(&self, tree: usize) -> Option<usize> {
        self.looks.get(tree).map(|look| look.tree.client)
    }

    /// Whether the folders are known to be other than the state has.
    pub(super) fn has_changed(&self) -> bool {
        self.changed_at.is_some()
    }

    /// Whether a folder is listed, or was looked for and isn't.
    pub(super) fn knows(&self, tree: usize, folder: &FolderId) -> bool {
        self.looks.get(tree).is_some_and(|look| {
            let is_listed = |listed: &Arc<Tree>| listed.folders.iter().any(|known| known.id == *folder);
            // One that can't be looked at isn't waited for.
            look.left_out.is_some()
                || look.not_listed.contains(folder)
                || look.tree.listed.as_ref().is_some_and(is_listed)
        })
    }

    /// Takes note of folders that were looked for.
    pub(super) fn not_listed(&mut self, tree: usize, folders: HashSet<FolderId>) {
        if let Some(look) = self.looks.get_mut(tree) {
            look.not_listed.extend(folders);
        }
    }

    /// Whether the mailboxes of a tree can be polled. Until its folders were looked at, what went into a new one would have to
    /// wait for that; where they can't be looked at, the rest is polled all the same.
    pub(super) fn can_be_polled(&self, tree: usize) -> bool {
        self.looks.get(tree).is_none_or(|look| look.listed || look.failures > 0)
    }

    /// Whether a Maildir that is missing is waited for.
    pub(super) fn bear_missing(&self) -> bool {
        self.bears_missing
    }

    /// Whether it was looked which folders there are, as far as that can be had.
    pub(super) fn are_listed(&self) -> bool {
        self.looks.iter().all(Look::is_over)
    }

    /// Whether a single run goes on without one.
    pub(super) fn leave_out(&self) -> bool {
        self.looks.iter().any(|look| look.left_out.is_some())
    }

    /// Why it does.
    pub(super) fn take_left_out(&mut self) -> Option<SyncError> {
        self.looks.iter_mut().find_map(|look| look.left_out.take())
    }

    /// Takes over how far the looks were before the state was opened anew.
    fn go_on_from(&mut self, before: Self) {
        for (look, before) in self.looks.iter_mut().zip(before.looks) {
            look.cursor = before.cursor;
            look.next = before.next;
        }
        self.fulfilled = before.fulfilled;
    }

    /// Has the folders of all trees looked at without waiting for their times.
    pub(super) fn look_soon(&mut self) {
        let now = Instant::now();
        for look in &mut self.looks {
            look.next = look.next.min(now);
        }
    }

    /// Whether a path is below a tree's root.
    pub(super) fn have(&self, path: &Path) -> bool {
        self.looks.iter().any(|look| path.starts_with(&look.tree.root))
    }
}

impl Driver {
    /// Looks at the folders of every tree whose time has come.
    pub(super) fn look_at_folders(&mut self) {
        let now = Instant::now();
        for at in 0..self.trees.len() {
            let look = &self.trees.looks[at];
            let enough = !self.watching && look.is_over();
            if look.under_way.is_some() || look.next > now || enough {
                continue;
            }
            let its = self.mailboxes.iter().filter(|mailbox| mailbox.tree == Some(at));
            let mut known: Vec<FolderId> = its.filter_map(|mailbox| mailbox.last_folder.clone()).collect();
            known.extend(self.waited_for_folders(at));
            let look = &mut self.trees.looks[at];
            look.under_way = Some(now);
            let account = self.accounts[look.tree.client].clone();
            let (listed, since) = (look.tree.listed.is_some(), look.cursor.clone());
            self.tasks.spawn(run_look(at, account, listed, since, known, self.events.0.clone()));
        }
    }

    /// Looks at the folders of a tree at once: one of them can't be found.
    pub(super) fn look_at_folders_now(&mut self, tree: usize) {
        if let Some(look) = self.trees.looks.get_mut(tree) {
            look.next = Instant::now();
            look.listed = false;
            look.once_more = look.under_way.is_some();
            // What has changed is known already.
            look.cursor = None;
        }
    }

    pub(super) fn looked_at_folders(&mut self, tree: usize, result: Result<Looked, CloudError>) {
        let (watching, seldom) = (self.watching, self.poll_interval * SELDOM);
        let Some(look) = self.trees.looks.get_mut(tree) else { return };
        let began = look.under_way.take();
        let once_more = std::mem::take(&mut look.once_more);
        let looked = match result {
            Ok(looked) => looked,
            Err(error) => {
                let pause = if let CloudError::Throttled(pause) = &error { *pause } else { backoff(look.failures) };
                look.next = Instant::now() + pause;
                look.failures += 1;
                let text = with_causes(&error);
                if look.failures == 1 && watching {
                    warn!("couldn't list the folders of {}: {text}; trying again", look.tree.name);
                } else {
                    debug!("couldn't list the folders of {}: {text}", look.tree.name);
                }
                let passes = matches!(
                    error,
                    CloudError::SignInNeeded { .. } | CloudError::Unreachable(_) | CloudError::Throttled(_)
                );
                if let Some(owner) = look.tree.shape.owner.clone().filter(|_| !watching && !passes) {
                    // One's own mail doesn't wait for somebody else's.
                    warn!("{text}; the other mailboxes are synced without those of {owner}");
                    look.left_out = Some(SyncError::Mailbox { mailbox: owner, source: error });
                    return;
                }
                return self.fail(SyncError::Cloud(error));
            }
        };
        look.failures = 0;
        look.listed = true;
        look.next = Instant::now() + if looked.cursor.is_some() { self.poll_interval } else { seldom };
        look.cursor = looked.cursor;
        if let Some(listed) = looked.tree {
            look.not_listed.clear();
            let first = look.tree.listed.replace(Arc::new(listed)).is_none();
            self.compare_folders(tree, first);
        }
        if once_more {
            self.look_at_folders_now(tree);
        } else if let Some(began) = began {
            self.ask_for_listed(tree, began);
        }
        self.follow_directories();
    }

    /// Notes whether the folders are other than the state has; the directories matter where nobody has looked at them yet.
    fn compare_folders(&mut self, tree: usize, with_directories: bool) {
        // What the configuration names by itself may have been found only now.
        let compared = self.write_down().and_then(|()| {
            let Some(look) = self.trees.looks.get(tree) else { return Ok(true) };
            is_as_arranged(&self.database, &look.tree, &self.trees.mailboxes, with_directories)
        });
        match compared {
            Ok(true) => {}
            Ok(false) => self.folders_have_changed(),
            Err(error) => drop(self.fatal.get_or_insert(error)),
        }
    }

    /// What would be done so that the trees' Maildirs are as the folders.
    pub(super) fn folder_steps(&self) -> Result<Vec<String>, SyncError> {
        let mut lines = Vec::new();
        for look in &self.trees.looks {
            lines.extend(steps(&self.database, &look.tree, &self.trees.mailboxes)?);
        }
        Ok(lines)
    }

    pub(super) fn folders_have_changed(&mut self) {
        self.trees.changed_at.get_or_insert_with(Instant::now);
    }

    /// What a folder of a tree that is gone holds is told to be nothing: each message is asked for by its id then.
    pub(super) fn poll_gone(&mut self, mailboxes: Vec<MailboxId>) {
        for id in mailboxes {
            let next = Next::Complete { cursor: Cursor(String::new()), whole: true };
            self.page(id, Page { upserts: Vec::new(), removals: Vec::new(), next }, true);
        }
    }

    /// Gives a message a place here that came from a folder which nobody looks at into one that is kept the same, as if it had
    /// been delivered there. Its file in the other Maildir stays.
    pub(super) fn bring_from_left_out(&mut self, id: &RemoteId) {
        let Some(row_id) = self.world.synced.by_remote(id) else { return };
        let (Some(row), Some(message)) = (self.world.synced.get(row_id), self.world.cloud.messages.get(id)) else {
            return;
        };
        if self.local.path(row.file.maildir).is_some() {
            return;
        }
        let Some(home) = self.routing.maildir_for(message.mailbox, &row.hash, row.flags.cloud) else { return };
        let place = FileKey::new(home, row.file.base_name.clone());
        if self.world.synced.by_file(&place).is_none() {
            self.world.amend_row(row_id, |row| row.file = place);
            self.world.touch_row(row_id);
        }
    }

    /// Looks again at the folders of the tree that a mailbox is in, for it couldn't be found. Whether it is in one comes back.
    pub(super) fn is_missing_in_tree(&mut self, id: MailboxId) -> bool {
        let dry_run = self.setup.dry_run;
        let Some(mailbox) = self.mailbox_mut(id) else { return false };
        let Some(tree) = mailbox.tree.filter(|_| mailbox.failures < CONTRADICTIONS) else { return false };
        if self.trees.looks.get(tree).is_some_and(|look| look.left_out.is_some()) {
            // All of them can't be seen just now.
            return false;
        }
        let Some(mailbox) = self.mailbox_mut(id) else { return false };
        if dry_run {
            // That it is gone is told by the list of folders.
            mailbox.polled = true;
            return true;
        }
        mailbox.failures += 1;
        mailbox.next_poll = Instant::now() + backoff(mailbox.failures);
        debug!(mailbox = %mailbox.name, "A folder isn't there; looking at all of them");
        self.look_at_folders_now(tree);
        true
    }

    /// Once both sides are the same: whether a folder is gone of which nothing is left here, so that its Maildir can go too.
    pub(super) fn look_for_empty_folders(&mut self) {
        let is_kept = |mailbox: &super::Mailbox| {
            let tree = mailbox.tree.and_then(|tree| self.trees.looks.get(tree));
            // One that can't be read isn't taken away.
            tree.zip(mailbox.home).is_some_and(|(look, home)| is_kept(&self.database, &look.tree, home).unwrap_or(true))
        };
        let is_over = |mailbox: &super::Mailbox| {
            mailbox.is_gone
                && !is_kept(mailbox)
                && mailbox.home.is_some_and(|home| self.world.local.files.keys_in(home).next().is_none())
                && self
                    .world
                    .synced
                    .iter()
                    .all(|(_, row)| row.mailbox != mailbox.id && Some(row.file.maildir) != mailbox.home)
                && self.world.cloud.messages.values().all(|message| message.mailbox != mailbox.id)
        };
        let over = self.mailboxes.iter().find(|mailbox| is_over(mailbox)).and_then(|mailbox| mailbox.tree);
        if over.is_some_and(|tree| self.trees.looks.get(tree).is_some_and(|look| look.tree.listed.is_some())) {
            self.folders_have_changed();
        }
    }

    /// Whether the state is to be opened anew now, for other folders than those that it was opened with.
    pub(super) fn must_renew(&self) -> bool {
        let Some(since) = self.trees.changed_at else { return false };
        let is_quiet = self.nothing_under_way() && self.asking == 0;
        !self.trees.fulfilling
            && (0..self.trees.len()).all(|tree| self.has_root(tree))
            && self.fatal.is_none()
            && self.errand.is_none()
            && self.paused_until.is_none()
            && self.trees.not_before.is_none_or(|at| at <= Instant::now())
            && (is_quiet || since.elapsed() >= PATIENCE)
    }

    /// Makes the directories what the folders are, before all else is ended for that. Whether the state can be opened anew comes
    /// back: where the disk refuses something, the Maildirs that are there go on, and it is tried again.
    pub(super) async fn can_renew(&mut self) -> Result<bool, SyncError> {
        if self.trees.not_before.take().is_none() {
            info!("The folders have changed");
        }
        self.wait_for_changes(CONFIRMATION).await;
        self.write_down()?;
        if self.paused_until.is_some() {
            return Ok(false);
        }
        let trees: Vec<TreeSetup> = self.trees.looks.iter().map(|look| look.tree.clone()).collect();
        match expand(&mut self.database, &trees, &self.trees.mailboxes, true) {
            Ok(_) => Ok(true),
            Err(error @ (SyncError::Maildir(_) | SyncError::Store(_))) => {
                self.could_not_write(error)?;
                self.trees.not_before = Some(Instant::now() + TRY_AGAIN);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the state anew, with the folders as they are. Whatever was under way is begun again, as after a kill.
    pub(super) async fn renew(&mut self) -> Result<(), SyncError> {
        self.tasks.shutdown().await;
        self.note_age();
        self.write_down()?;
        let mut setup = self.setup.clone();
        setup.trees = self.trees.looks.iter().map(|look| look.tree.clone()).collect();
        if !self.first_time {
            // What the start discards is what was changed while nothing ran.
            setup.start = Start::Merge;
        }
        let listens = self.listening.take().is_some();
        let events = std::mem::replace(&mut self.events, tokio::sync::mpsc::channel(1));
        let Some(lock) = self.lock.take() else { return Ok(()) };
        let renewed = open::open_with(setup, Some((lock, events)))?;
        let before = std::mem::replace(self, renewed);
        self.trees.go_on_from(before.trees);
        self.watching = before.watching;
        self.trees.bears_missing = before.watching;
        self.first_time = before.first_time;
        self.compare_first = before.compare_first;
        self.errands = before.errands;
        self.summary = before.summary;
        self.told = before.told;
        self.told_of_disk = before.told_of_disk;
        self.active_at = before.active_at;
        // To give the trees' memory back message by message would take a while.
        let mut asked = Vec::new();
        while let Ok(event) = self.events.1.try_recv() {
            if let Event::Asked(one) = event {
                asked.push(one);
            }
        }
        if listens {
            self.listen();
        }
        for one in asked {
            self.asked(one);
        }
        Ok(())
    }

    async fn wait_for_changes(&mut self, longest: Duration) {
        let deadline = Instant::now() + longest;
        while self.changing > 0 || !self.uploading.is_empty() {
            match tokio::time::timeout_at(deadline, self.events.1.recv()).await {
                Ok(Some(event)) => self.handle(event),
                Ok(None) | Err(_) => break,
            }
        }
    }
}

/// Looks at the folders of a tree. Where they were `listed`, only if there is anything new since.
async fn run_look(
    tree: usize,
    account: Arc<dyn CloudAccount>,
    listed: bool,
    since: Option<Cursor>,
    known: Vec<FolderId>,
    events: Sender<Event>,
) {
    let look = async {
        // Asked before the list is made, so that nothing is missed that changes meanwhile.
        let news = account.tree_news(since.as_ref()).await?;
        let tree = if listed && !news.changed { None } else { Some(account.tree(&known).await?) };
        Ok(Looked { tree, cursor: news.cursor })
    };
    let result = look.await;
    let _ = events.send(Event::Folders { tree, result }).await;
}
