//! What is due: at each look at the clock, and when the next one is.

use std::time::Duration;

use cms_engine::RemoteId;
use tokio::time::Instant;

use crate::sync::driver::{Driver, PAIRING_WINDOW, REPORT_AFTER, open};

/// How often Maildirs are listed again without cause, in case the kernel lost an event.
pub(super) const SAFETY_SCAN: Duration = Duration::from_secs(600);

/// How long after our own change an observation that contradicts it is doubted (delta answers may lag behind writes).
pub(super) const DOUBT: Duration = Duration::from_secs(60);

/// So many turns of the loop may find at once that something is due.
const MOST_OVERDUE_TURNS: u32 = 1000;

impl Driver {
    pub(super) fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        self.read_again(now);
        if self.vanish_settles_at.is_none() && self.world.has_gone_further() {
            self.vanish_settles_at = Some(now + PAIRING_WINDOW);
        }
        if self.vanish_settles_at.is_some_and(|at| at <= now) {
            // A file may have been moved to a Maildir that can't be read just now, or have become a file that can't.
            let all_readable = self.all_readable() && !self.world.has_unread();
            self.vanish_settles_at = (!all_readable).then_some(now + PAIRING_WINDOW);
            if all_readable {
                self.keep_what_was_taken_out();
                for id in self.local.ids() {
                    self.world.settle_vanished(id);
                }
                self.plan_at = Some(now);
            }
        }
        if self.bring_back_at().is_some_and(|at| at <= now) {
            self.bring_back_the_rest();
        }
        if self.reopen_at.is_some_and(|at| at <= now) {
            self.reopen_at = None;
            self.reopen();
        }
        let due: Vec<RemoteId> = self.postponed.iter().filter(|(at, _)| *at <= now).map(|(_, id)| id.clone()).collect();
        if !due.is_empty() {
            self.postponed.retain(|(at, _)| *at > now);
            for id in due {
                self.end_waiting(&id);
            }
            self.plan_at = Some(now);
        }
        if self.paused_until.is_some_and(|at| at <= now) {
            self.paused_until = None;
            self.world.touch_everything();
            self.plan_at = Some(now);
        }
        if self.routing_retry_at.is_some_and(|at| at <= now) {
            self.routing_retry_at = None;
            self.world.touch_everything();
            self.plan_at = Some(now);
        }
        if self.downloads_paused_until.is_some_and(|at| at <= now) {
            self.downloads_paused_until = None;
        }
        if self.watching && self.scan_at <= now {
            self.rescan(None);
        }
        if self.unheard_scan_at.is_some_and(|at| at <= now) {
            self.rescan_unheard();
        }
        for row in self.flips.release(now) {
            self.world.touch_row(row);
        }
        if self.watching && self.tidy_at <= now {
            self.tidy_at = now + open::BETWEEN_TIDYINGS;
            let age = self.age();
            open::shorten_journal(&mut self.database, age, self.keep_deleted_days);
            self.note_age();
            self.compare_if_due();
            self.forget_what_is_no_more();
        }
        let time_of_day = self.now();
        self.world.unblock_due(time_of_day);
        self.own_writes.retain(|_, at| now.duration_since(*at) < DOUBT);
        self.forget_unanswered(now);
        self.report_local_only(REPORT_AFTER);
        self.look_at_unripe(now);
        self.remove_unfinished(now);
        self.run_hook(now);
        if self.world.is_touched() && self.plan_at.is_none() {
            self.plan_at = Some(now);
        }
    }

    /// When the cloud is asked next for what is in a mailbox, or for folders.
    pub(super) fn next_poll(&self) -> Option<Instant> {
        let awaited = self.mailboxes.iter().filter(|mailbox| self.awaits_poll(mailbox));
        awaited.map(|mailbox| mailbox.next_poll).chain(self.trees.due(self.watching)).min()
    }

    pub(super) fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        let retry = self.world.next_retry(self.now()).map(|wait| now + wait);
        let rest = [
            self.plan_at,
            self.vanish_settles_at,
            self.read_again_at,
            self.paused_until,
            self.downloads_paused_until,
            self.reopen_at,
            self.routing_retry_at,
            self.bring_back_at(),
            self.hook_at,
            self.watching.then_some(self.scan_at),
            self.unheard_scan_at,
            self.flips.next_release(),
            self.watching.then_some(self.tidy_at),
            self.errand_due(),
            retry,
            self.next_upload(),
            self.paused_roles_until,
            self.unfinished.due(),
            self.pushing.due(),
            self.next_poll(),
        ];
        let postponed = self.postponed.iter().map(|(at, _)| *at);
        let reports = self.unreported.values().map(|since| *since + REPORT_AFTER);
        rest.into_iter().flatten().chain(postponed).chain(reports).min().unwrap_or(now + SAFETY_SCAN)
    }
}

/// How many turns of a loop in a row found at once that something is due.
#[derive(Default)]
pub(super) struct Overdue(u32);

impl Overdue {
    /// Notes until when the loop waits. Were something due again and again and never done, the processor would never rest.
    pub(super) fn note(&mut self, wake_at: Instant) {
        self.0 = if wake_at > Instant::now() { 0 } else { self.0 + 1 };
        debug_assert!(self.0 < MOST_OVERDUE_TURNS, "something is due and isn't done");
    }
}
