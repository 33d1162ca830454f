//! Maildirs of which the kernel doesn't tell everything: they are listed as often as the cloud is asked.

use std::time::Duration;

use cms_engine::{Absence, MaildirId};
use cms_maildir::Hearing;
use tokio::time::Instant;

use crate::sync::driver::{Driver, PAIRING_WINDOW};

/// Listing takes at most one part in so many of the time.
const SHARE: u32 = 20;

/// The least time between two listings: what the first one missed must have settled by the second.
const LEAST: Duration = PAIRING_WINDOW.saturating_mul(2);

impl Driver {
    /// Takes note of what is heard of each Maildir, and tells of those that have to be listed instead.
    pub(super) fn tried_out(&mut self, heard: Vec<(MaildirId, Hearing)>) {
        for (id, hearing) in heard {
            let path = self.local.path(id).map(|path| path.display().to_string()).unwrap_or_default();
            let what = match hearing {
                Hearing::Everything => {
                    self.unheard.remove(&id);
                    continue;
                }
                Hearing::ThisMachine(kind) => {
                    format!("`{path}` is on {kind}, and what other machines change there isn't told to this one")
                }
                Hearing::Nothing => {
                    format!("nothing is told of changes in `{path}`: its file system seems to know no inotify(7)")
                }
            };
            self.unheard.insert(id);
            let seconds = self.until_listed().as_secs_f64();
            self.tell_once(&format!("{what}; it is listed every {seconds} s instead, and changes wait until then"));
        }
        self.unheard_scan_at = (!self.unheard.is_empty()).then(|| Instant::now() + self.until_listed());
    }

    /// Lists those Maildirs again. What went from one since the last time was seen to go, as where the kernel dropped events.
    pub(super) fn rescan_unheard(&mut self) {
        let before = Instant::now();
        let ids: Vec<MaildirId> = self.local.ids().into_iter().filter(|id| self.unheard.contains(id)).collect();
        self.list_again(&ids, Some(Absence::Settling));
        let wait = self.until_listed().max(before.elapsed() * SHARE);
        self.unheard_scan_at = Some(Instant::now() + wait);
    }

    fn until_listed(&self) -> Duration {
        self.poll_interval.max(LEAST)
    }
}
