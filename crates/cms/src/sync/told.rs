//! When mailboxes are polled of which something was told.

use std::time::Duration;

use cms_engine::{HashMap, HashSet, MailboxId};
use tokio::time::Instant;

/// The least time between two rounds of a mailbox of which much is told.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(1);

/// How long after a round that found nothing of what was told another one is made: what a listing tells may lag behind.
const SECOND_LOOK: Duration = Duration::from_secs(5);

/// What was told of mailboxes, and not found yet.
#[derive(Default)]
pub(crate) struct Told {
    /// Mailboxes of which something was told while their round ran.
    again: HashSet<MailboxId>,
    /// Mailboxes whose next round must find something, or there is a second look.
    expecting: HashSet<MailboxId>,
    /// When mailboxes were last looked at to the end.
    looked_at: HashMap<MailboxId, Instant>,
}

impl Told {
    /// Something was told of a mailbox. Returns when to poll it; nothing if a round runs, which is followed by another one.
    pub(crate) fn hear(&mut self, mailbox: MailboxId, is_running: bool, now: Instant) -> Option<Instant> {
        if is_running {
            self.again.insert(mailbox);
            return None;
        }
        self.expecting.insert(mailbox);
        let earliest = self.looked_at.get(&mailbox).map(|at| *at + BETWEEN_ROUNDS);
        Some(earliest.unwrap_or(now).max(now))
    }

    /// A round is over that found something or nothing. Returns when to poll again for what was told.
    pub(crate) fn after_round(&mut self, mailbox: MailboxId, found: bool, now: Instant) -> Option<Instant> {
        self.looked_at.insert(mailbox, now);
        let expected = self.expecting.remove(&mailbox);
        if self.again.remove(&mailbox) {
            self.expecting.insert(mailbox);
            return Some(now + BETWEEN_ROUNDS);
        }
        (expected && !found).then_some(now + SECOND_LOOK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INBOX: MailboxId = MailboxId(1);
    const OTHER: MailboxId = MailboxId(2);

    #[test]
    fn what_is_told_is_looked_at_at_once() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert_eq!(told.hear(INBOX, false, now), Some(now));
        assert_eq!(told.after_round(INBOX, true, now), None);
        assert_eq!(told.hear(OTHER, false, now), Some(now));
        // Not again and again without a pause.
        assert_eq!(told.hear(INBOX, false, now), Some(now + BETWEEN_ROUNDS));
        let later = now + BETWEEN_ROUNDS * 3;
        assert_eq!(told.hear(INBOX, false, later), Some(later));
    }

    #[test]
    fn what_is_told_during_a_round_has_one_after_it() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert_eq!(told.hear(INBOX, true, now), None);
        assert_eq!(told.hear(INBOX, true, now), None);
        assert_eq!(told.after_round(OTHER, true, now), None);
        assert_eq!(told.after_round(INBOX, true, now), Some(now + BETWEEN_ROUNDS));
        assert_eq!(told.after_round(INBOX, true, now), None);
    }

    #[test]
    fn what_a_round_does_not_find_is_looked_for_once_more() {
        let (mut told, now) = (Told::default(), Instant::now());
        told.hear(INBOX, false, now);
        assert_eq!(told.after_round(INBOX, false, now), Some(now + SECOND_LOOK));
        assert_eq!(told.after_round(INBOX, false, now), None, "nothing is looked for for ever");
        told.hear(INBOX, true, now);
        told.after_round(INBOX, true, now);
        assert_eq!(told.after_round(INBOX, false, now), Some(now + SECOND_LOOK));
        assert_eq!(told.after_round(INBOX, false, now), None);
    }
}
