//! The messages, and what each of them was last wanted to be.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

/// The Maildirs, each with its folder in the cloud.
pub(crate) const MAILBOXES: [(&str, &str); 4] =
    [("INBOX", "Inbox"), ("Archive", "Archive"), ("Projects", "Projects"), ("Lists", "Inbox/Lists")];

/// Where a message is, and how it is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Which of the mailboxes; none once it was deleted.
    pub(crate) mailbox: Option<usize>,
    pub(crate) read: bool,
    pub(crate) flagged: bool,
}

impl Wanted {
    /// Whether it looks like this, given what is seen of it.
    pub(crate) fn is(&self, seen: Option<Wanted>) -> bool {
        match (self.mailbox, seen) {
            (None, None) => true,
            (Some(_), Some(seen)) => *self == seen,
            _ => false,
        }
    }
}

/// On which side something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Here,
    There,
}

/// What was done and hasn't been seen on the other side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deed {
    pub(crate) side: Side,
    pub(crate) what: &'static str,
    /// Since the beginning.
    pub(crate) at: Duration,
    /// The same without the time in which the network was cut.
    pub(crate) connected_at: Duration,
}

pub(crate) struct Message {
    /// The id in the cloud.
    pub(crate) id: String,
    /// BLAKE3 of its text.
    pub(crate) hash: blake3::Hash,
    pub(crate) wanted: Wanted,
    pub(crate) deed: Option<Deed>,
    /// Nothing is done to it until then, not counting cuts of the network: who asks again after a lost answer would
    /// otherwise undo what somebody did meanwhile, and rightly so.
    pub(crate) rests_until: Duration,
    /// When the last changes were made of it.
    pub(crate) changed: VecDeque<Duration>,
    /// How often in a row no file of it was found.
    pub(crate) absences: u32,
    /// Whether it was told already that a side isn't as wanted although nothing was done.
    pub(crate) is_odd: bool,
}

/// The text of the message of that number, by which it is recognized.
pub(crate) fn text(number: usize, dice: &mut ChaCha8Rng) -> String {
    let mut text = format!(
        "From: Ada <ada@domain.com>\nTo: user@domain.com\nSubject: message {number}\nMessage-ID: <{number}@endurance>\n\
         Date: Thu, 01 Jan 2026 00:00:00 +0000\nMIME-Version: 1.0\nContent-Type: text/plain\n\n"
    );
    let lines = dice.random_range(5..120);
    for line in 0..lines {
        // Writing to a string can't fail.
        let _ = writeln!(text, "Line {line} says {:016x}, and that is all it says.", dice.random::<u64>());
    }
    text
}

/// The number of the message that a Message-ID belongs to.
pub(crate) fn number(message_id: &str) -> Option<usize> {
    message_id.trim().strip_prefix('<')?.strip_suffix("@endurance>")?.parse().ok()
}
