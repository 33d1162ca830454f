//! Errands: what commands ask for. One at a time, begun when both sides are the same so that nothing else is under way, and
//! ended when they are the same again.

use std::time::Duration;

use tokio::time::Instant;

use crate::stop::Stop;
use crate::sync::SyncError;
use crate::sync::driver::Driver;
use crate::sync::errand::{Answer, Errand, ErrandReport};
use crate::sync::verification::{Contents, Listing};

/// How long an errand waits for both sides to be the same, before it begins all the same and before it ends all the same.
const PATIENCE: Duration = Duration::from_secs(30);

/// What waits for its turn.
pub(super) struct Waiting {
    errand: Errand,
    answer: Option<Answer>,
    since: Instant,
}

/// What is under way.
pub(super) struct Underway {
    pub(super) report: ErrandReport,
    answer: Option<Answer>,
    since: Instant,
    /// Tasks that haven't ended.
    pub(super) open: usize,
    /// A fresh look at both sides that waits until the trees have caught up with it.
    pub(super) look: Option<(Listing, Contents)>,
}

impl Driver {
    /// Takes an errand; its report comes by `answer`.
    pub(crate) fn take_errand(&mut self, errand: Errand, answer: Answer) {
        self.errands.push_back(Waiting { errand, answer: Some(answer), since: Instant::now() });
    }

    /// Takes an errand of which nobody waits for the report.
    pub(super) fn take_own_errand(&mut self, errand: Errand) {
        self.errands.push_back(Waiting { errand, answer: None, since: Instant::now() });
    }

    /// Opens the state for one errand, does it, and ends.
    pub(crate) async fn run_errand(&mut self, errand: Errand, stop: &Stop) -> Result<Option<ErrandReport>, SyncError> {
        let (sender, mut receiver) = tokio::sync::oneshot::channel();
        // A comparison tells how things are before this run changes them.
        self.compare_first = errand == Errand::Verify;
        self.take_errand(errand, Box::new(move |report| drop(sender.send(report))));
        self.run(true, stop).await?;
        Ok(receiver.try_recv().ok())
    }

    /// Begins and ends errands. Returns whether none is left.
    pub(super) fn look_after_errands(&mut self, settled: bool) -> bool {
        if let Some(errand) = &self.errand {
            let late = errand.since.elapsed() >= PATIENCE;
            if errand.open > 0 || !(settled || late) {
                return false;
            }
            if let Some((listing, contents)) = self.errand.as_mut().and_then(|errand| errand.look.take()) {
                self.compare(&listing, &contents);
                self.plan_at.get_or_insert_with(Instant::now);
                return false;
            }
            if let Some(Underway { mut report, answer, .. }) = self.errand.take() {
                report.on_its_way = !settled;
                self.conclude_verification(&mut report, answer.is_some());
                if let Some(answer) = answer {
                    answer(report);
                }
            }
        }
        let Some(next) = self.errands.front() else { return true };
        let may_begin = settled || self.compare_first || (self.watching && next.since.elapsed() >= PATIENCE);
        if may_begin && let Some(Waiting { errand, answer, .. }) = self.errands.pop_front() {
            let hurry = answer.is_some();
            self.errand =
                Some(Underway { report: ErrandReport::default(), answer, since: Instant::now(), open: 0, look: None });
            match errand {
                Errand::Undo { what, dry_run } => self.undo(what, dry_run),
                Errand::Restore { numbers } => self.restore(&numbers),
                Errand::Verify => self.verify(hurry),
            }
            // What is wished for is planned for at once.
            self.plan_at.get_or_insert_with(Instant::now);
        }
        false
    }

    /// When an errand is to be looked at again.
    pub(super) fn errand_due(&self) -> Option<Instant> {
        let underway = self.errand.as_ref().filter(|errand| errand.open == 0).map(|errand| errand.since + PATIENCE);
        // What comes before everything else waits for nothing, and nothing else would wake the loop.
        let patience = if self.compare_first { Duration::ZERO } else { PATIENCE };
        let waiting = self.errands.front().filter(|_| self.errand.is_none()).map(|next| next.since + patience);
        [underway, waiting].into_iter().flatten().map(|at| at.max(Instant::now() + Duration::from_millis(10))).min()
    }

    /// One of the errand's tasks has ended. With the last one of a comparison that comes first, everything else may begin.
    pub(super) fn one_task_less(&mut self) {
        if let Some(errand) = &mut self.errand {
            errand.open = errand.open.saturating_sub(1);
            self.compare_first &= errand.open > 0;
        }
    }

    pub(super) fn report_done(&mut self, what: String) {
        if let Some(errand) = &mut self.errand {
            errand.report.done.push(what);
        }
    }

    pub(super) fn report_not_done(&mut self, what: String) {
        if let Some(errand) = &mut self.errand {
            errand.report.not_done.push(what);
        }
    }
}
