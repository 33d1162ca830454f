//! Opening the state: the lock, the store, the database and the Maildirs, before anything is asked of a cloud.

use std::cell::LazyCell;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cms_cloud::contract::{Cursor, FolderId};
use cms_engine::{ContentHash, FileKey, HashMap, HashSet, MailboxId, MaildirId, Router as _, Row, RowId, UnixSeconds};
use cms_maildir::MaildirError;
use cms_store::{Database, Lock, Store, StoreError};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::configuration::Upload;
use crate::sync::age::Age;
use crate::sync::driver::changes::Setbacks;
use crate::sync::driver::clock::SAFETY_SCAN;
use crate::sync::driver::downloads::Burst;
use crate::sync::driver::gone_by_id::GoneById;
use crate::sync::driver::holding::Holding;
use crate::sync::driver::planning::Filing;
use crate::sync::driver::trees::Trees;
use crate::sync::driver::unanswered::AllUnanswered;
use crate::sync::driver::unfinished::AllUnfinished;
use crate::sync::driver::{DeleteTarget, Driver, Mailbox, pushing};
use crate::sync::flips::Flips;
use crate::sync::local::{LocalError, LocalSide, mark_key};
use crate::sync::queue::Queue;
use crate::sync::report::Summary;
use crate::sync::routing::Routing;
use crate::sync::scope::Scope;
use crate::sync::tasks::Event;
use crate::sync::uploads::Uploading;
use crate::sync::world::World;
use crate::sync::{MailboxSetup, Setup, Surroundings, SyncError};
use crate::tree::{Expanded, GONE, expand, removed_key};

/// Events that may wait for the loop; a page of a listing is one.
const EVENTS: usize = 64;

/// What of a driver goes on when the state is opened anew.
pub(super) type Carried = (Lock, (Sender<Event>, Receiver<Event>));

pub(super) fn open(setup: Setup) -> Result<Driver, SyncError> {
    open_with(setup, None)
}

/// Opens the state, or does so again with the lock that is held.
pub(super) fn open_with(setup: Setup, carried: Option<Carried>) -> Result<Driver, SyncError> {
    let (lock, events) = carried.map_or_else(|| begin(&setup), Ok)?;
    let store = Arc::new(open_store(&setup.state_dir, &lock).map_err(SyncError::Store)?);
    let Loaded { mut database, maildirs, mailboxes, homes, mut world } = load_what_is_sound(&setup)?;
    let holding = Holding::load(&database, &world, &mailboxes).map_err(SyncError::Store)?;
    store.settle_all_but(world.awaited_versions()).map_err(SyncError::Store)?;

    let mut age = Age::open(&database, &setup.surroundings).map_err(SyncError::Store)?;
    let local = open_maildirs(&setup, &store, &database, &mut world, &maildirs)?;
    let maildir_ids: Vec<MaildirId> = maildirs.iter().map(|(id, _)| *id).collect();
    let routing = routing((&setup, &store), &maildir_ids, &mailboxes, homes, &mut world);

    let unanswered = AllUnanswered::load(&setup, &database, &mut world, &maildir_ids)?;
    write_down_maildirs(&mut world, &mut database);
    tidy(&store, &mut database, &world, &mut age, &setup.surroundings, setup.keep_deleted_days);

    let (opened_at, state_is_new) = ((setup.surroundings.now)(), world.synced.last_id() == RowId(0));
    Ok(Driver {
        setup: setup.clone(),
        pushing: pushing::open(setup.push, &database, opened_at.0).map_err(SyncError::Store)?,
        world,
        local,
        routing,
        unfinished: AllUnfinished::load(&database)?,
        database,
        state_dir: setup.state_dir,
        listening: None,
        lock: Some(lock),
        host: setup.surroundings.host.clone(),
        surroundings: setup.surroundings,
        accounts: setup.accounts,
        mailboxes,
        start: setup.start,
        max_deletions: setup.max_deletions,
        keep_deleted_days: setup.keep_deleted_days,
        poll_interval: setup.poll_interval,
        quick_poll_interval: setup.quick_poll_interval,
        active_at: Instant::now(),
        on_change: setup.on_change,
        watching: false,
        events,
        tasks: JoinSet::new(),
        watch_task: None,
        downloads: Queue::default(),
        downloading: HashSet::default(),
        downloads_running: 0,
        changing: 0,
        asking: 0,
        loose_questions: 0,
        writing: HashSet::default(),
        reasons: HashMap::default(),
        ask_after: HashSet::default(),
        own_writes: HashMap::default(),
        unanswered,
        setbacks: Setbacks::default(),
        gone_by_id: GoneById::default(),
        filing: Filing::default(),
        drafts_asked_for: HashSet::default(),
        postponed: Vec::new(),
        uploads: Uploading::new(store.clone(), setup.dry_run, state_is_new, opened_at),
        unripe: HashSet::default(),
        uploading: HashMap::default(),
        kept: HashMap::default(),
        paused_roles_until: None,
        to_settle: Vec::new(),
        unflushed: false,
        touched_maildirs: HashSet::default(),
        plan_at: None,
        vanish_settles_at: None,
        read_again_at: None,
        paused_until: None,
        downloads_paused_until: None,
        reopen_at: None,
        routing_retry_at: None,
        scan_at: Instant::now() + SAFETY_SCAN,
        unheard: HashSet::default(),
        unheard_scan_at: None,
        tidy_at: Instant::now() + BETWEEN_TIDYINGS,
        age,
        hook_at: None,
        flips: Flips::default(),
        told: HashSet::default(),
        holding,
        told_of_disk: Vec::new(),
        unreported: HashMap::default(),
        looked_again: 0,
        needs_second_look: true,
        listed_once: true,
        was_settled: false,
        first_time: true,
        fatal: None,
        errands: VecDeque::new(),
        errand: None,
        compare_first: false,
        summary: Summary::default(),
        burst: Burst::default(),
        progress: setup.progress,
        listener: setup.listener,
        board: setup.board,
        door: setup.door,
        trees: Trees::new(setup.trees, setup.mailboxes),
        shown_at: None,
        store,
    })
}

/// What is brought is counted from the start of the run on: what comes is new, and what is here stays.
fn set_scopes(setup: &Setup, database: &Database, mailboxes: &[Mailbox], world: &mut World) -> Result<(), SyncError> {
    let now = (setup.surroundings.now)();
    let scope = |mailbox: &Mailbox| {
        let is_it = |setup: &&MailboxSetup| setup.account == mailbox.sign_in && setup.name == mailbox.name;
        let (since, keeps) = match mailbox.tree {
            Some(tree) => setup.trees.get(tree).map(|tree| (tree.since, tree.keep))?,
            None => setup.mailboxes.iter().find(is_it).map(|configured| (configured.since, configured.keep))?,
        };
        Some(Scope { mailbox: mailbox.id, since: since.map(|since| UnixSeconds(since.at(now.0))), keeps })
    };
    let scopes: Vec<Scope> = mailboxes.iter().filter_map(scope).collect();
    world.set_scopes(&scopes, database).map_err(SyncError::Store)
}

fn begin(setup: &Setup) -> Result<Carried, SyncError> {
    Ok((Lock::acquire(&setup.state_dir).map_err(SyncError::Store)?, channel(EVENTS)))
}

fn open_store(state_dir: &Path, lock: &Lock) -> Result<Store, StoreError> {
    let store = Store::open(state_dir)?;
    store.recover(lock)?;
    Ok(store)
}

fn routing(
    (setup, store): (&Setup, &Store),
    maildirs: &[MaildirId],
    mailboxes: &[Mailbox],
    homes: HashMap<MailboxId, Option<MaildirId>>,
    world: &mut World,
) -> Routing {
    // The configuration routes to those that it names, which come first.
    let routed = maildirs.iter().take(setup.maildirs.len()).copied().collect();
    let mailboxes = mailboxes.iter().map(|mailbox| mailbox.id).collect();
    let routing = Routing::new(setup.route.clone(), Arc::new(store.clone()), mailboxes, routed, homes);
    rehome(world, &routing, maildirs);
    routing
}

fn load_what_is_sound(setup: &Setup) -> Result<Loaded, SyncError> {
    match load(setup) {
        // Some damage shows only where the rows are read.
        Err(SyncError::Store(StoreError::Damaged { .. })) => {
            set_aside(&setup.state_dir)?;
            load(setup)
        }
        other => other,
    }
}

/// First of all, whatever becomes of this run: a Maildir that the state doesn't know would be made anew where it is missing.
fn write_down_maildirs(world: &mut World, database: &mut Database) {
    let changes = world.take_changes();
    if let Err(error) = database.apply(&changes) {
        debug!(%error, "Couldn't write down which Maildirs there are");
        world.put_back(changes);
    }
}

/// Opens the Maildirs. One that was there once and isn't, or isn't the one that we know, stays closed: whether that is
/// borne is a matter of the run's.
fn open_maildirs(
    setup: &Setup,
    store: &Store,
    database: &Database,
    world: &mut World,
    maildirs: &[(MaildirId, PathBuf)],
) -> Result<LocalSide, SyncError> {
    let mut marked = Vec::new();
    for (id, path) in maildirs {
        let mark = database.meta(&mark_key(*id)).map_err(SyncError::Store)?.filter(|mark| !mark.is_empty());
        marked.push((*id, path.clone(), mark));
    }
    let mut local = LocalSide::new(store.clone(), marked);
    for (at, (id, path)) in maildirs.iter().enumerate() {
        let is_in_tree = at >= setup.maildirs.len();
        if setup.dry_run && !path.join("cur").is_dir() {
            continue;
        }
        match local.open(world, *id, !setup.dry_run) {
            Ok(()) => {}
            Err(LocalError::Replaced(_)) => continue,
            Err(LocalError::Maildir(MaildirError::NotAMaildir { .. }))
                if local.is_known(*id) || world.synced.has_files_in(*id) =>
            {
                continue;
            }
            // The others are kept the same meanwhile.
            Err(error) if is_in_tree && !local.is_known(*id) => {
                debug!(%error, "Couldn't make a Maildir");
                continue;
            }
            Err(LocalError::Maildir(error)) => return Err(SyncError::Maildir(error)),
            Err(error) => return Err(SyncError::Local(error)),
        }
        if !store.probe_same_file_system(path) {
            warn!(maildir = %path.display(), "The state directory is on another file system, so messages are copied instead of linked and take twice the space");
        }
    }
    Ok(local)
}

/// Gives the messages of Maildirs that aren't configured any more a place in those that are, as if they had been delivered
/// there. Where such a Maildir was moved, its files are found there; where it was only left out of the configuration, its
/// files stay as they are, nobody's concern, and the messages come back in their new place.
fn rehome(world: &mut World, routing: &Routing, maildirs: &[MaildirId]) {
    if world.synced.maildirs().all(|maildir| maildirs.contains(&maildir)) {
        return;
    }
    let lost: Vec<(RowId, Row)> =
        world.synced.iter().filter(|(_, row)| !maildirs.contains(&row.file.maildir)).collect();
    for (id, row) in lost {
        let Some(maildir) = routing.maildir_for(row.mailbox, &row.hash, row.flags.cloud) else { continue };
        let place = FileKey::new(maildir, row.file.base_name.clone());
        // A name that is taken stays where it was: its message is one that two Maildirs have.
        if world.synced.by_file(&place).is_none() {
            world.amend_row(id, |row| row.file = place);
        }
    }
}

/// How often the whole store is searched for messages that nothing names any more, in seconds: a week.
const SEARCHES: i64 = 7 * 86_400;

/// When it was last searched, as a key in the database.
const SEARCHED: &str = "store searched at";

/// Lets go of what was deleted long ago. That this fails keeps nobody from their mail.
fn tidy(
    store: &Store,
    database: &mut Database,
    world: &World,
    age: &mut Age,
    surroundings: &Surroundings,
    keep_deleted_days: u32,
) {
    let (now, today) = ((surroundings.now)(), age.now(surroundings));
    // Most starts have nothing to let go of, and need no list of what is in use.
    let in_use: LazyCell<HashSet<ContentHash>, _> = LazyCell::new(|| world.hashes().collect());
    let keep = |hash: &ContentHash| in_use.contains(hash);
    let tidied = (|| -> Result<(), StoreError> {
        database.apply(Vec::from_iter(age.note(surroundings)).as_slice())?;
        let released_until = UnixSeconds(today.0 - i64::from(keep_deleted_days) * 86_400);
        let pruned = store.prune(database, released_until, keep)?;
        if pruned.messages > 0 {
            debug!(messages = pruned.messages, bytes = pruned.bytes, "Dropped messages that were deleted long ago");
        }
        shorten_journal(database, today, keep_deleted_days);
        // What a crash left without a name is noted now, and goes when its days are over.
        let searched: Option<i64> = database.meta(SEARCHED)?.and_then(|at| at.parse().ok());
        // A time that is yet to come was noted by a clock that has been set back since.
        if searched.is_none_or(|at| !(0..=SEARCHES).contains(&(now.0 - at))) {
            if searched.is_some() {
                store.note_unused(database, today, keep)?;
            }
            database.set_meta(SEARCHED, &now.0.to_string())?;
        }
        Ok(())
    })();
    if let Err(error) = tidied {
        warn!(%error, "Couldn't tidy the message store");
    }
}

/// How often a daemon lets go of old entries of the journal.
pub(super) const BETWEEN_TIDYINGS: Duration = Duration::from_secs(3600);

/// How many entries of the journal are dropped at a time: few enough that nobody waits for it.
const ENTRIES_DROPPED: u32 = 5_000;

/// Lets go of what was written into the journal long ago, a part of it at a time.
pub(super) fn shorten_journal(database: &mut Database, age: UnixSeconds, keep_deleted_days: u32) {
    let until = UnixSeconds(age.0 - i64::from(keep_deleted_days) * 86_400);
    match database.prune_journal(until, ENTRIES_DROPPED) {
        Ok(0) => {}
        Ok(entries) => debug!(entries, "Dropped old entries of the journal"),
        Err(error) => warn!(%error, "Couldn't drop old entries of the journal"),
    }
}

/// Finds the configured mailboxes in the state, or makes them there, and says which were listed to the end.
fn open_mailboxes(
    setup: &Setup,
    expanded: &[Expanded],
    database: &mut Database,
    world: &mut World,
) -> Result<Vec<Mailbox>, SyncError> {
    let mut configured_ids = Vec::new();
    for configured in &setup.mailboxes {
        let account = setup.account_names.get(configured.account).cloned().unwrap_or_default();
        configured_ids.push(database.mailbox_id(&account, &configured.name).map_err(SyncError::Store)?);
    }
    let known = database.mailboxes().map_err(SyncError::Store)?;
    let mut open = |id: MailboxId, configured: &MailboxSetup| {
        let stored = known.iter().find(|known| known.id == id).cloned()?;
        if stored.complete {
            world.cloud.complete.insert(stored.id);
        }
        Some(Mailbox {
            id: stored.id,
            account: configured.client,
            sign_in: configured.account,
            name: configured.name.clone(),
            tree: None,
            home: None,
            is_gone: false,
            position: configured.position.clone(),
            delete_action: configured.delete_action,
            upload: configured.upload,
            role: None,
            role_asked: false,
            folder: stored.folder.clone().map(FolderId),
            last_folder: stored.folder.map(FolderId),
            total_items: 0,
            cursor: stored.cursor.map(Cursor),
            delete_target: DeleteTarget::Unknown,
            round: None,
            next_poll: Instant::now(),
            failures: 0,
            polled: false,
            left_out: None,
            polled_at: None,
            synced_at: None,
            trouble: None,
        })
    };
    let mut mailboxes: Vec<Mailbox> =
        setup.mailboxes.iter().zip(configured_ids).filter_map(|(configured, id)| open(id, configured)).collect();
    for folder in expanded.iter().filter(|folder| !folder.gone && !setup.dry_run) {
        let key = removed_key(folder.maildir);
        if database.meta(&key).map_err(SyncError::Store)?.as_deref() == Some(GONE) {
            // It is among what was deleted, and kept the same there.
            database.set_meta(&key, "").map_err(SyncError::Store)?;
        }
    }
    for folder in expanded {
        let tree = &setup.trees[folder.tree];
        let configured = MailboxSetup {
            account: tree.account,
            client: tree.client,
            name: folder.name.clone(),
            position: tree.position.clone(),
            delete_action: tree.delete_action,
            // Nothing can go to a folder that isn't there.
            upload: if folder.gone { Upload::None } else { tree.upload },
            since: tree.since,
            keep: tree.keep,
        };
        mailboxes.extend(open(folder.mailbox, &configured).map(|mailbox| Mailbox {
            tree: Some(folder.tree),
            home: Some(folder.maildir),
            is_gone: folder.gone,
            folder: (!folder.gone).then(|| folder.folder.clone()),
            ..mailbox
        }));
    }
    Ok(mailboxes)
}

/// Where the messages of the folders of trees are. Those of one that is gone have no place any more, and those of one that
/// isn't kept the same aren't looked at.
fn homes(database: &Database, mailboxes: &[Mailbox]) -> Result<HashMap<MailboxId, Option<MaildirId>>, SyncError> {
    let named = |id| mailboxes.iter().any(|mailbox| mailbox.id == id && mailbox.tree.is_none());
    let mut homes: HashMap<MailboxId, Option<MaildirId>> = HashMap::default();
    for folder in database.tree_folders().map_err(SyncError::Store)? {
        if !named(folder.mailbox) {
            homes.insert(folder.mailbox, None);
        }
    }
    for mailbox in mailboxes.iter().filter(|mailbox| mailbox.tree.is_some()) {
        homes.insert(mailbox.id, mailbox.home.filter(|_| !mailbox.is_gone));
    }
    Ok(homes)
}

/// What the database held.
struct Loaded {
    database: Database,
    maildirs: Vec<(MaildirId, PathBuf)>,
    mailboxes: Vec<Mailbox>,
    /// Where the messages of the mailboxes are that have a Maildir of their own; nothing where none is looked at.
    homes: HashMap<MailboxId, Option<MaildirId>>,
    world: World,
}

fn load(setup: &Setup) -> Result<Loaded, SyncError> {
    let mut database = Database::open(&setup.state_dir).map_err(SyncError::Store)?;
    let mut maildirs = Vec::new();
    for path in &setup.maildirs {
        maildirs.push((database.maildir_id(path).map_err(SyncError::Store)?, path.clone()));
    }
    let mut world = World::default();
    let expanded = expand(&mut database, &setup.trees, &setup.mailboxes, !setup.dry_run)?;
    maildirs.extend(expanded.iter().map(|folder| (folder.maildir, folder.path.clone())));
    let mailboxes = open_mailboxes(setup, &expanded, &mut database, &mut world)?;
    let homes = homes(&database, &mailboxes)?;
    let (_, rows) = database.tree_sizes().map_err(SyncError::Store)?;
    // Some may come before the tables must grow.
    world.synced.reserve(rows + rows / 20);
    database.load_synced(|record| world.load_row(record)).map_err(SyncError::Store)?;
    world.loaded_rows();
    database.load_cloud(|record| world.load_cloud(record)).map_err(SyncError::Store)?;
    world.synced.skip_to(database.next_row_id().map_err(SyncError::Store)?);
    for note in database.reported().map_err(SyncError::Store)? {
        world.load_reported(note);
    }
    set_scopes(setup, &database, &mailboxes, &mut world)?;
    debug!(messages = world.cloud.messages.len(), rows = world.synced.len(), "Loaded the state");
    Ok(Loaded { database, maildirs, mailboxes, homes, world })
}

/// Keeps a damaged database aside. A new one is filled by looking at both sides again: without a base nothing is
/// deleted on either.
pub(super) fn set_aside(state_dir: &Path) -> Result<(), SyncError> {
    let aside = Database::set_aside(state_dir).map_err(SyncError::Store)?;
    warn!(
        "the state database is damaged; it is kept as `{}`, and a new one is made by looking at both sides again. Nothing is deleted on either",
        aside.display()
    );
    Ok(())
}
