//! Directories that hold Maildirs, in which Maildirs are made, renamed and removed.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::inotify::{ReadFlags, WatchFlags};

use super::{Role, Watch, WatchEvent, Watcher};
use crate::MaildirError;
use crate::tree::{DEPTH, is_part, subdirectories};

impl Watcher {
    /// Tells from now on when a directory at or below `root` is made, renamed or removed. Look at them afterwards: what
    /// happened before isn't told. A root that isn't there isn't watched.
    pub fn add_root(&mut self, root: &Path) -> Result<(), MaildirError> {
        self.watch_below(&Arc::from(root), root)
    }

    fn watch_below(&mut self, root: &Arc<Path>, from: &Path) -> Result<(), MaildirError> {
        let comes_and_goes = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE;
        let depth = root.components().count() + DEPTH;
        let mut unvisited = vec![from.to_owned()];
        while let Some(directory) = unvisited.pop() {
            let role = Role::Below { root: root.clone(), directory: Arc::from(directory.as_path()) };
            // Watched before it is listed, so that nothing is made in between.
            if self.watch(&directory, role, comes_and_goes)? == Watch::NoDirectory {
                continue;
            }
            if directory.components().count() <= depth {
                unvisited.extend(subdirectories(&directory)?.into_iter().map(|name| directory.join(name)));
            }
        }
        Ok(())
    }

    pub(super) fn directory_event(&mut self, root: &Arc<Path>, directory: &Path, events: ReadFlags, name: &OsStr) {
        let path = directory.join(name);
        if events.contains(ReadFlags::MOVED_FROM) {
            // It is still watched, wherever it is now.
            self.drop_roles(|role| matches!(role, Role::Below { directory, .. } if directory.starts_with(&path)));
        }
        if events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO)
            && !is_part(name)
            && let Err(error) = self.watch_below(root, &path)
        {
            tracing::warn!(%error, "a directory that was made can't be watched");
        }
        let event = WatchEvent::DirectoriesChanged { root: root.to_path_buf() };
        if !self.pending.contains(&event) {
            self.pending.push_back(event);
        }
    }
}
