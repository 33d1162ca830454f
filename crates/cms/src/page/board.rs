//! The board on which the program writes its status, and from which the page reads.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::status::Status;

/// A cheap handle to the status that the page shows; all clones are the same board.
#[derive(Clone, Debug)]
pub struct Board {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    status: watch::Sender<Status>,
    series: Mutex<Series>,
    tabs: watch::Sender<usize>,
}

/// The sign-ins that the user is taken through one after the other: "2 of 3" needs to know about the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Series {
    accounts: BTreeSet<usize>,
    pending: usize,
}

/// An open event stream; dropping it closes the tab.
#[derive(Debug)]
pub(super) struct Tab {
    board: Board,
}

impl Board {
    /// A board with this on it.
    pub fn new(status: Status) -> Self {
        let mut series = Series::default();
        series.follow(&status);
        Self {
            inner: Arc::new(Inner {
                status: watch::Sender::new(status),
                series: Mutex::new(series),
                tabs: watch::Sender::new(0),
            }),
        }
    }

    /// Changes what is on the board. Those who watch are woken only if something is different afterwards.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.inner.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            let changed = *status != before;
            if changed {
                self.inner.series.lock().unwrap_or_else(PoisonError::into_inner).follow(status);
            }
            changed
        });
    }

    /// What is on the board now.
    pub fn status(&self) -> Status {
        self.inner.status.borrow().clone()
    }

    /// Watches the board.
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.inner.status.subscribe()
    }

    /// How many event streams are connected now: one for each tab that shows the page.
    pub fn open_tabs(&self) -> usize {
        *self.inner.tabs.borrow()
    }

    /// Returns once at least one tab shows the page, which may be at once.
    pub async fn tab_opened(&self) {
        // The sender is in `self`, so this can't fail.
        let _ = self.inner.tabs.subscribe().wait_for(|tabs| *tabs > 0).await;
    }

    /// Returns once the number of tabs is another than when this was first waited for.
    pub async fn tabs_changed(&self) {
        let mut tabs = self.inner.tabs.subscribe();
        let before = *tabs.borrow_and_update();
        let _ = tabs.wait_for(|now| *now != before).await;
    }

    pub(super) fn open_tab(&self) -> Tab {
        self.inner.tabs.send_modify(|tabs| *tabs += 1);
        Tab { board: self.clone() }
    }

    pub(super) fn series(&self) -> Series {
        self.inner.series.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.board.inner.tabs.send_modify(|tabs| *tabs = tabs.saturating_sub(1));
    }
}

impl Series {
    fn follow(&mut self, status: &Status) {
        let pending: BTreeSet<usize> = status
            .accounts
            .iter()
            .enumerate()
            .filter(|(_, account)| account.sign_in.is_pending())
            .map(|(place, _)| place)
            .collect();
        if self.pending == 0 && !pending.is_empty() {
            self.accounts.clear();
        }
        self.pending = pending.len();
        self.accounts.extend(pending);
    }

    /// Which of how many sign-ins the next one is, if one is to be done.
    pub(super) fn position(&self) -> Option<(usize, usize)> {
        (self.pending > 0).then(|| (self.accounts.len() - self.pending + 1, self.accounts.len()))
    }

    /// Whether there were sign-ins and all are done.
    pub(super) fn is_over(&self) -> bool {
        self.pending == 0 && !self.accounts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, set};
    use super::super::status::SignInStatus;
    use super::*;

    #[test]
    fn only_changes_wake() {
        let board = Board::new(samples::in_sync());
        let mut watch = board.subscribe();
        board.update(|_| {});
        board.update(|status| status.version = status.version.clone());
        assert!(!watch.has_changed().unwrap());
        board.update(|status| status.pid += 1);
        assert!(watch.has_changed().unwrap());
        assert_eq!(*watch.borrow_and_update(), board.status());
    }

    #[test]
    fn the_second_sign_in_of_two_is_the_second() {
        let signed_in = || SignInStatus::SignedIn { user: None, renewed_at: None, kept: true };
        let board = Board::new(samples::needed());
        assert_eq!(board.series().position(), Some((1, 2)));
        board.update(|status| set(status, 0, SignInStatus::InBrowser));
        assert_eq!(board.series().position(), Some((1, 2)));
        board.update(|status| set(status, 0, signed_in()));
        assert_eq!(board.series().position(), Some((2, 2)));
        assert!(!board.series().is_over());
        board.update(|status| set(status, 1, signed_in()));
        assert_eq!(board.series().position(), None);
        assert!(board.series().is_over());
        // The next one, perhaps weeks later, has nothing to do with these.
        board.update(|status| set(status, 1, SignInStatus::InBrowser));
        assert_eq!(board.series().position(), Some((1, 1)));
    }

    #[tokio::test]
    async fn tabs_are_counted() {
        let board = Board::new(Status::default());
        let (first, second) = (board.open_tab(), board.open_tab());
        assert_eq!(board.open_tabs(), 2);
        board.tab_opened().await;
        let changed = board.tabs_changed();
        drop(first);
        // It counts from when it is first waited for.
        tokio::select! {
            () = changed => panic!("nothing changed since"),
            () = tokio::task::yield_now() => {}
        }
        let (changed, ()) = tokio::join!(board.tabs_changed(), async { drop(second) });
        let () = changed;
        assert_eq!(board.open_tabs(), 0);
    }
}
