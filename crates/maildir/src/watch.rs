//! Hearing of changes: one inotify(7) instance for all Maildirs, so that there is one order of events.

mod roots;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cms_engine::{HashMap, HashSet, MaildirId};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use crate::file_name::is_helper;
use crate::hearing::{TRIAL_FILE, make_a_sound};
use crate::{Hearing, Maildir, MaildirError, Place};

/// Something happened to a watched Maildir. What exactly, only the disk can tell: events are reasons to look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WatchEvent {
    /// A name appeared (created, linked, moved here).
    Appeared {
        /// In which Maildir.
        maildir: MaildirId,
        /// In which of its directories.
        place: Place,
        /// The file's name; [`crate::FileName::parse`] takes it apart.
        file_name: OsString,
    },
    /// A file was written to under this name; perhaps it appeared just before.
    Written {
        /// In which Maildir.
        maildir: MaildirId,
        /// In which of its directories.
        place: Place,
        /// The file's name.
        file_name: OsString,
    },
    /// A name went away (removed, moved elsewhere).
    Vanished {
        /// In which Maildir.
        maildir: MaildirId,
        /// In which of its directories.
        place: Place,
        /// The file's name.
        file_name: OsString,
    },
    /// The Maildir, or its `cur` or `new`, was removed, moved away or unmounted. Says nothing about its messages.
    DirectoryGone {
        /// Which Maildir.
        maildir: MaildirId,
    },
    /// A Maildir that was gone can be watched again. Scan it: what happened before isn't told.
    DirectoryBack {
        /// Which Maildir.
        maildir: MaildirId,
    },
    /// A directory at or below a root was made, renamed or removed.
    DirectoriesChanged {
        /// Which root.
        root: PathBuf,
    },
    /// The kernel dropped events. Scan all Maildirs.
    Overflow,
}

/// Watches `cur` and `new` of any number of Maildirs.
#[derive(Debug)]
pub struct Watcher {
    inotify: AsyncFd<OwnedFd>,
    /// What each watch descriptor stands for. One directory can be several things, such as a Maildir that lies in another.
    watches: HashMap<i32, Vec<Role>>,
    maildirs: HashMap<MaildirId, Watched>,
    /// What was heard and not yet given out; kept here so that dropping a waiting call loses nothing.
    pending: VecDeque<WatchEvent>,
    /// The Maildirs whose watch is being tried, and of which nothing was heard yet.
    silent: HashSet<MaildirId>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// Whether both directories are watched.
    present: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Role {
    /// `cur` or `new`.
    Messages(MaildirId, Place),
    /// The Maildir itself, in which `cur` and `new` come and go.
    Root(MaildirId),
    /// The directory in which the Maildir itself comes and goes.
    Parent(MaildirId),
    /// The Maildir's `tmp`, while its watch is tried.
    Trial(MaildirId),
    /// A directory of a root, in which others come and go.
    Below { root: Arc<Path>, directory: Arc<Path> },
}

/// What became of setting up one watch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    NoDirectory,
    /// The directory was watched already.
    Kept,
    /// It wasn't: another directory has the name now.
    Fresh,
}

/// What became of setting up all watches of a Maildir.
#[derive(Clone, Copy)]
struct Watching {
    /// Whether all directories are there.
    present: bool,
    /// Whether one of them is another than before.
    fresh: bool,
}

impl Watching {
    fn add(&mut self, watch: Watch) {
        self.present &= watch != Watch::NoDirectory;
        self.fresh |= watch == Watch::Fresh;
    }
}

impl Role {
    fn is_of(&self, maildir: MaildirId) -> bool {
        match self {
            Self::Messages(id, _) | Self::Root(id) | Self::Parent(id) | Self::Trial(id) => *id == maildir,
            Self::Below { .. } => false,
        }
    }
}

/// A batch is given out at the latest when this many times its settling time has passed.
const LONGEST_BATCH: u32 = 10;

impl Watcher {
    /// Makes a watcher that watches nothing yet. Must be called within a tokio runtime.
    ///
    /// [`MaildirError::WatchLimit`] if this user has too many watchers already.
    pub fn new() -> Result<Self, MaildirError> {
        let nowhere = Path::new("inotify");
        let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(|error| match error {
            Errno::MFILE => MaildirError::WatchLimit {
                path: nowhere.to_owned(),
                sysctl: "fs.inotify.max_user_instances (or the limit of open files)",
            },
            error => MaildirError::io("open", nowhere, error),
        })?;
        #[allow(
            deprecated,
            reason = "its successor is unsafe; an OwnedFd keeps what that asks for: one descriptor, open till dropped"
        )]
        let inotify = AsyncFd::new(descriptor).map_err(|error| MaildirError::io("open", nowhere, error))?;
        Ok(Self {
            inotify,
            watches: HashMap::default(),
            maildirs: HashMap::default(),
            pending: VecDeque::new(),
            silent: HashSet::default(),
        })
    }

    /// Watches a Maildir from now on. Scan it afterwards: what happened before isn't told.
    ///
    /// May be called again for the same Maildir, to look whether it can be watched now.
    pub fn add(&mut self, id: MaildirId, maildir: &Maildir) -> Result<(), MaildirError> {
        self.maildirs.insert(id, Watched { path: maildir.path().to_owned(), present: false });
        let result = self.watch_parent(id).and_then(|()| self.watch_directories(id));
        match result {
            Ok(Watching { present: true, .. }) => Ok(()),
            Ok(_) => {
                self.remove(id);
                Err(maildir.must_be_there().err().unwrap_or_else(|| {
                    MaildirError::io("watch", maildir.path(), std::io::Error::from(std::io::ErrorKind::NotFound))
                }))
            }
            Err(error) => {
                self.remove(id);
                Err(error)
            }
        }
    }

    /// Watches a Maildir no longer.
    pub fn remove(&mut self, id: MaildirId) {
        self.maildirs.remove(&id);
        self.drop_roles(|role| role.is_of(id));
    }

    /// Waits for the first event, then until none came for `settle`, and returns all of them in the order in which they
    /// happened. Mail programs make several changes for one deed; a batch holds them together.
    ///
    /// Never returns an empty batch. While events don't cease, a batch is returned every ten times `settle`. Nothing is
    /// lost when the future is dropped.
    pub async fn next_batch(&mut self, settle: Duration) -> Result<Vec<WatchEvent>, MaildirError> {
        self.read_available()?;
        while self.pending.is_empty() {
            self.wait().await?;
        }
        let latest = Instant::now() + settle * LONGEST_BATCH;
        let mut until = Instant::now() + settle;
        while let Ok(heard) = timeout_at(until.min(latest), self.wait()).await {
            heard?;
            until = Instant::now() + settle;
            if until >= latest && Instant::now() >= latest {
                break;
            }
        }
        Ok(self.pending.drain(..).collect())
    }

    /// Tries what is heard of each Maildir: a file is made and removed in its `tmp`, and if the kernel tells nothing of
    /// that `within` some time, it won't tell of anything. Other events meanwhile are kept for [`Watcher::next_batch`].
    pub async fn try_out(&mut self, within: Duration) -> Result<Vec<(MaildirId, Hearing)>, MaildirError> {
        let present = self.maildirs.iter().filter(|(_, watched)| watched.present);
        let maildirs: Vec<(MaildirId, PathBuf)> =
            present.map(|(id, watched)| (*id, watched.path.join("tmp"))).collect();
        for (id, tmp) in &maildirs {
            // Where it can't be tried, such as for want of watches, silence would say nothing.
            if self.watch(tmp, Role::Trial(*id), WatchFlags::CREATE).is_ok_and(|watch| watch != Watch::NoDirectory) {
                self.silent.insert(*id);
                if !make_a_sound(tmp) {
                    self.silent.remove(id);
                }
            }
        }
        let until = Instant::now() + within;
        // Whatever the kernel has told by the deadline counts, however late this gets to run.
        self.read_available()?;
        while !self.silent.is_empty()
            && let Ok(heard) = timeout_at(until, self.wait()).await
        {
            heard?;
        }
        self.read_available()?;
        self.drop_roles(|role| matches!(role, Role::Trial(_)));
        let silent = std::mem::take(&mut self.silent);
        let hearing = |(id, tmp): (MaildirId, PathBuf)| {
            (id, if silent.contains(&id) { Hearing::Nothing } else { Hearing::at_best(&tmp) })
        };
        Ok(maildirs.into_iter().map(hearing).collect())
    }

    /// Takes in what the kernel has to tell and returns what was heard so far, in the order in which it happened; perhaps
    /// nothing. Doesn't wait.
    pub fn heard(&mut self) -> Result<Vec<WatchEvent>, MaildirError> {
        self.read_available()?;
        Ok(self.pending.drain(..).collect())
    }

    /// Waits until the kernel has something to tell and takes it in.
    async fn wait(&mut self) -> Result<(), MaildirError> {
        self.inotify
            .readable()
            .await
            .map_err(|error| MaildirError::io("read", Path::new("inotify"), error))?
            .clear_ready();
        // Whatever came before the readiness was cleared is read here; what comes later makes it ready again.
        self.read_available()
    }

    fn read_available(&mut self) -> Result<(), MaildirError> {
        let mut heard = Vec::new();
        {
            let mut buffer = Vec::<u8>::with_capacity(64 * 1024);
            let mut reader = inotify::Reader::new(self.inotify.get_ref(), buffer.spare_capacity_mut());
            loop {
                match reader.next() {
                    Ok(event) => heard.push((
                        event.wd(),
                        event.events(),
                        event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned()),
                    )),
                    Err(Errno::WOULDBLOCK) => break,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(MaildirError::io("read", Path::new("inotify"), error)),
                }
            }
        }
        for (descriptor, events, name) in heard {
            self.take(descriptor, events, name.as_deref());
        }
        Ok(())
    }

    fn take(&mut self, descriptor: i32, events: ReadFlags, name: Option<&OsStr>) {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.pending.push_back(WatchEvent::Overflow);
            // A Maildir's coming and going may be among what was dropped.
            let ids: Vec<MaildirId> = self.maildirs.keys().copied().collect();
            for id in ids {
                self.look_again(id);
            }
            return;
        }
        let roles = self.watches.get(&descriptor).cloned().unwrap_or_default();
        if events.contains(ReadFlags::IGNORED) {
            self.watches.remove(&descriptor);
        }
        let ended =
            events.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED);
        for role in roles {
            match (role, name) {
                (Role::Messages(id, _) | Role::Root(id), None) if ended => self.gone(id),
                (Role::Messages(maildir, place), Some(name)) if !events.contains(ReadFlags::ISDIR) => {
                    self.message_event(maildir, place, events, name);
                }
                (Role::Root(id), Some(name)) if name == "cur" || name == "new" => self.look_again(id),
                (Role::Parent(id), Some(name)) if self.is_named(id, name) => self.look_again(id),
                (Role::Below { root, directory }, Some(name)) if events.contains(ReadFlags::ISDIR) => {
                    self.directory_event(&root, &directory, events, name);
                }
                (Role::Trial(id), Some(name)) if name == TRIAL_FILE => {
                    self.silent.remove(&id);
                }
                _ => {}
            }
        }
    }

    fn message_event(&mut self, maildir: MaildirId, place: Place, events: ReadFlags, name: &OsStr) {
        if name.to_str().is_some_and(is_helper) {
            return;
        }
        let file_name = name.to_owned();
        let event = if events.contains(ReadFlags::CLOSE_WRITE) {
            // A file that is created and written is told twice in a row.
            if self.pending.back() == Some(&WatchEvent::Appeared { maildir, place, file_name: file_name.clone() }) {
                self.pending.pop_back();
            }
            WatchEvent::Written { maildir, place, file_name }
        } else if events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            WatchEvent::Appeared { maildir, place, file_name }
        } else if events.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            WatchEvent::Vanished { maildir, place, file_name }
        } else {
            return;
        };
        if self.pending.back() != Some(&event) {
            self.pending.push_back(event);
        }
    }

    /// A directory of the Maildir came or went: watches what is there now.
    fn look_again(&mut self, id: MaildirId) {
        let was_present = self.maildirs.get(&id).is_some_and(|watched| watched.present);
        let result = self.watch_directories(id);
        let now = match result {
            Ok(watching) => watching,
            Err(error) => {
                tracing::warn!(%error, "a Maildir that came back can't be watched");
                Watching { present: false, fresh: false }
            }
        };
        if was_present && (!now.present || now.fresh) {
            self.pending.push_back(WatchEvent::DirectoryGone { maildir: id });
        }
        if now.present && (!was_present || now.fresh) {
            self.pending.push_back(WatchEvent::DirectoryBack { maildir: id });
        }
    }

    /// A watch of the Maildir ended. All are set up anew, for a directory that was moved away is still watched.
    fn gone(&mut self, id: MaildirId) {
        self.drop_roles(|role| role.is_of(id) && !matches!(role, Role::Parent(_)));
        self.look_again(id);
    }

    fn is_named(&self, id: MaildirId, name: &OsStr) -> bool {
        self.maildirs.get(&id).is_some_and(|watched| watched.path.file_name() == Some(name))
    }

    fn watch_parent(&mut self, id: MaildirId) -> Result<(), MaildirError> {
        let Some(watched) = self.maildirs.get(&id) else { return Ok(()) };
        match watched.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                let parent = parent.to_owned();
                self.watch(&parent, Role::Parent(id), WatchFlags::CREATE | WatchFlags::MOVED_TO).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Watches those of the Maildir's directories that are there.
    fn watch_directories(&mut self, id: MaildirId) -> Result<Watching, MaildirError> {
        let mut watching = Watching { present: true, fresh: false };
        let Some(watched) = self.maildirs.get_mut(&id) else {
            return Ok(Watching { present: false, fresh: false });
        };
        watched.present = false;
        let path = watched.path.clone();
        let comes_and_goes = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        watching.add(self.watch(&path, Role::Root(id), comes_and_goes)?);
        for place in [Place::New, Place::Cur] {
            let directory = path.join(place.directory());
            let events = comes_and_goes | WatchFlags::CLOSE_WRITE;
            watching.add(self.watch(&directory, Role::Messages(id, place), events)?);
        }
        if let Some(watched) = self.maildirs.get_mut(&id) {
            watched.present = watching.present;
        }
        Ok(watching)
    }

    /// Adds one watch, or finds that it is there.
    fn watch(&mut self, directory: &Path, role: Role, events: WatchFlags) -> Result<Watch, MaildirError> {
        let flags = events | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD;
        let descriptor = match inotify::add_watch(self.inotify.get_ref(), directory, flags) {
            Ok(descriptor) => descriptor,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Watch::NoDirectory),
            Err(Errno::NOSPC) => {
                return Err(MaildirError::WatchLimit {
                    path: directory.to_owned(),
                    sysctl: "fs.inotify.max_user_watches",
                });
            }
            Err(error) => return Err(MaildirError::io("watch", directory, error)),
        };
        // The role moves here from a directory that had the name before.
        self.drop_roles_elsewhere(&role, descriptor);
        let roles = self.watches.entry(descriptor).or_default();
        if roles.contains(&role) {
            return Ok(Watch::Kept);
        }
        roles.push(role);
        Ok(Watch::Fresh)
    }

    fn drop_roles_elsewhere(&mut self, role: &Role, descriptor: i32) {
        let stale = self.watches.iter().any(|(other, roles)| *other != descriptor && roles.contains(role));
        if stale {
            let role = role.clone();
            self.drop_where(|other, its| other != descriptor && *its == role);
        }
    }

    fn drop_roles(&mut self, dropped: impl Fn(&Role) -> bool) {
        self.drop_where(|_, role| dropped(role));
    }

    fn drop_where(&mut self, dropped: impl Fn(i32, &Role) -> bool) {
        let inotify = self.inotify.get_ref();
        self.watches.retain(|descriptor, roles| {
            roles.retain(|role| !dropped(*descriptor, role));
            if roles.is_empty() {
                // Fails if the directory is gone, and with it the watch.
                let _ = inotify::remove_watch(inotify, *descriptor);
            }
            !roles.is_empty()
        });
    }
}
