//! Changes as people and other programs make them, on both sides, one message at a time.

use std::collections::VecDeque;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use simcloud::{Cloud, Deletion, FlagChange, FlagStatus, NewMessage};

use crate::Result;
use crate::here::{Found, Here};
use crate::mail::{Deed, MAILBOXES, Message, Side, Wanted, text};
use crate::world::World;

/// How long nothing is done to a message once both sides have what was wanted.
const REST: Duration = Duration::from_secs(60);

const HOUR: Duration = Duration::from_secs(3600);

/// So many changes of one message within an hour, and no more: what changes to and fro without end is left alone by the
/// program for ten minutes, which is no lag.
pub(crate) const MOST_AN_HOUR: usize = 12;

/// How many messages are looked at for one to which something may be done.
const TRIES: usize = 200;

/// The number of a message, and what was done to it.
type Done = (usize, &'static str);

/// A moment, on two clocks: one of them stands while the network is cut.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    pub(crate) now: Duration,
    pub(crate) connected: Duration,
}

/// All messages, and the dice.
pub(crate) struct Agitation {
    pub(crate) messages: Vec<Message>,
    /// The numbers of those that weren't deleted.
    live: Vec<usize>,
    dice: ChaCha8Rng,
    size: usize,
    /// Times that no message was found to do something to, or somebody else was quicker.
    pub(crate) missed: u64,
    /// What was wrong with messages to which nothing had been done for a while.
    pub(crate) odd: Vec<String>,
}

impl Agitation {
    pub(crate) fn new(seed: u64, size: usize) -> Self {
        let dice = ChaCha8Rng::seed_from_u64(seed);
        Self { messages: Vec::new(), live: Vec::new(), dice, size, missed: 0, odd: Vec::new() }
    }

    /// The mail of the start.
    pub(crate) fn fill(&mut self, cloud: &Cloud) -> Result<()> {
        for number in 0..self.size {
            let (read, flagged) = (self.dice.random_bool(0.7), self.dice.random_bool(0.1));
            self.arrive(cloud, Wanted { mailbox: Some(number % MAILBOXES.len()), read, flagged })?;
        }
        Ok(())
    }

    /// Delivers a message, and returns its number.
    fn arrive(&mut self, cloud: &Cloud, wanted: Wanted) -> Result<usize> {
        let number = self.messages.len();
        let text = text(number, &mut self.dice);
        let mailbox = wanted.mailbox.ok_or("a message arrives nowhere")?;
        let received = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let new = NewMessage {
            is_read: wanted.read,
            flag: flag(wanted.flagged),
            received: Some(received),
            ..NewMessage::mime(MAILBOXES[mailbox].1, text.clone())
        };
        let id = cloud.add_message("", new)?;
        self.messages.push(Message {
            id,
            hash: blake3::hash(text.as_bytes()),
            wanted,
            deed: None,
            rests_until: Duration::ZERO,
            changed: VecDeque::new(),
            absences: 0,
            is_odd: false,
        });
        self.live.push(number);
        Ok(number)
    }

    /// Those whose change wasn't seen on the other side yet.
    pub(crate) fn pending(&self) -> usize {
        self.messages.iter().filter(|message| message.deed.is_some()).count()
    }

    /// Makes one change on a side.
    pub(crate) fn change(&mut self, side: Side, world: &World, here: &mut Here, moment: Moment) -> Result<()> {
        let done = match side {
            Side::There => self.change_there(&world.cloud, here, moment)?,
            Side::Here => self.change_here(world, here, moment)?,
        };
        let Some((number, what)) = done else {
            self.missed += 1;
            return Ok(());
        };
        if self.messages[number].wanted.mailbox.is_none() {
            self.live.retain(|other| *other != number);
        }
        let deed = Deed { side, what, at: moment.now, connected_at: moment.connected };
        self.messages[number].deed = Some(deed);
        self.messages[number].changed.push_back(moment.now);
        self.messages[number].absences = 0;
        Ok(())
    }

    fn change_there(&mut self, cloud: &Cloud, here: &Here, moment: Moment) -> Result<Option<Done>> {
        let mut kind = self.dice.random_range(0..100);
        if kind < 25 && self.live.len() > self.size + 50 {
            kind = 30;
        }
        if (25..35).contains(&kind) && self.live.len() + 50 < self.size {
            kind = 0;
        }
        if kind < 25 {
            let mailbox = self.dice.random_range(0..MAILBOXES.len());
            let wanted = Wanted { mailbox: Some(mailbox), read: false, flagged: false };
            return Ok(Some((self.arrive(cloud, wanted)?, "arrives")));
        }
        let Some(number) = self.pick(cloud, here, moment, |_| true) else { return Ok(None) };
        let message = &mut self.messages[number];
        let wanted = &mut message.wanted;
        let what = match kind {
            25..35 => {
                let how = if self.dice.random_bool(0.5) { Deletion::Trash } else { Deletion::Purge };
                cloud.delete_message("", &message.id, how)?;
                wanted.mailbox = None;
                "deleted"
            }
            35..55 => {
                let mailbox = elsewhere(wanted.mailbox, &mut self.dice);
                cloud.move_message("", &message.id, MAILBOXES[mailbox].1)?;
                wanted.mailbox = Some(mailbox);
                "moved"
            }
            55..75 => {
                wanted.flagged = !wanted.flagged;
                let change = FlagChange { flag: Some(flag(wanted.flagged)), ..FlagChange::default() };
                cloud.set_flags("", &message.id, change)?;
                "flag"
            }
            _ => {
                wanted.read = !wanted.read;
                cloud.set_flags("", &message.id, FlagChange { is_read: Some(wanted.read), ..FlagChange::default() })?;
                "read"
            }
        };
        Ok(Some((number, what)))
    }

    fn change_here(&mut self, world: &World, here: &mut Here, moment: Moment) -> Result<Option<Done>> {
        // The last look may be older than what the program has done since.
        here.look()?;
        let mut kind = self.dice.random_range(0..100);
        if kind < 15 && self.live.len() + 50 < self.size {
            kind = 20;
        }
        let opens = kind >= 85;
        let Some(number) = self.pick(&world.cloud, here, moment, |file| !opens || file.is_new) else { return Ok(None) };
        let Some(old) = here.file(number).cloned() else { return Ok(None) };
        let mut wanted = self.messages[number].wanted;
        let mut file = Found { is_new: false, ..old.clone() };
        let what = match kind {
            0..15 => {
                file.letters = toggled(&old.letters, 'T');
                wanted.mailbox = None;
                "trashed"
            }
            15..35 => {
                file.mailbox = elsewhere(wanted.mailbox, &mut self.dice);
                wanted.mailbox = Some(file.mailbox);
                "moved"
            }
            35..60 => {
                file.letters = toggled(&old.letters, 'F');
                wanted.flagged = !wanted.flagged;
                "flag"
            }
            60..85 => {
                file.letters = toggled(&old.letters, 'S');
                wanted.read = !wanted.read;
                "read"
            }
            _ => {
                file.letters = toggled(&old.letters, 'S');
                wanted.read = !wanted.read;
                "opened"
            }
        };
        if fs::rename(old.path(&world.root), file.path(&world.root)).is_err() {
            return Ok(None);
        }
        self.messages[number].wanted = wanted;
        Ok(Some((number, what)))
    }

    /// A message that rests no longer, and that is as wanted on both sides. One that isn't although nothing was done to
    /// it is told.
    fn pick(&mut self, cloud: &Cloud, here: &Here, moment: Moment, fits: impl Fn(&Found) -> bool) -> Option<usize> {
        for _ in 0..TRIES {
            let number = self.live[self.dice.random_range(0..self.live.len())];
            let message = &mut self.messages[number];
            if message.is_odd || message.deed.is_some() || message.rests_until > moment.connected {
                continue;
            }
            while message.changed.front().is_some_and(|at| *at + HOUR < moment.now) {
                message.changed.pop_front();
            }
            if message.changed.len() >= MOST_AN_HOUR {
                continue;
            }
            let file = here.file(number);
            if let Some(file) = file
                && !fits(file)
            {
                continue;
            }
            let there = seen_there(cloud, &message.id);
            if message.wanted.is(file.and_then(Found::seen)) && message.wanted.is(there) {
                return Some(number);
            }
            message.is_odd = true;
            let wanted = message.wanted;
            let files = here.files.get(&number);
            self.odd.push(format!("message {number}: wanted {wanted:?}, here {files:?}, there {there:?}"));
        }
        None
    }

    /// Looks for what was done on the other side, and hands over each deed that has arrived there.
    pub(crate) fn settle(&mut self, cloud: &Cloud, here: &Here, moment: Moment, mut arrived: impl FnMut(Deed)) {
        for (number, message) in self.messages.iter_mut().enumerate() {
            let Some(deed) = message.deed else { continue };
            let is_there = match deed.side {
                Side::Here => message.wanted.is(seen_there(cloud, &message.id)),
                Side::There => {
                    let none = !here.files.contains_key(&number);
                    message.absences = if none { message.absences + 1 } else { 0 };
                    // A listing may miss a file that is renamed meanwhile.
                    (message.wanted.mailbox.is_some() || message.absences > 1)
                        && message.wanted.is(here.file(number).and_then(Found::seen))
                }
            };
            if is_there {
                message.deed = None;
                message.rests_until = moment.connected + REST;
                arrived(deed);
            }
        }
    }
}

/// What a message looks like in the cloud; nothing if it is in none of the mailboxes.
pub(crate) fn seen_there(cloud: &Cloud, id: &str) -> Option<Wanted> {
    let state = cloud.message("", id).ok()?;
    let mailbox = MAILBOXES.iter().position(|(_, folder)| *folder == state.folder)?;
    Some(Wanted { mailbox: Some(mailbox), read: state.is_read, flagged: state.flag == FlagStatus::Flagged })
}

fn flag(flagged: bool) -> FlagStatus {
    if flagged { FlagStatus::Flagged } else { FlagStatus::NotFlagged }
}

/// Another mailbox than this one.
fn elsewhere(mailbox: Option<usize>, dice: &mut ChaCha8Rng) -> usize {
    (mailbox.unwrap_or_default() + dice.random_range(1..MAILBOXES.len())) % MAILBOXES.len()
}

fn toggled(letters: &str, letter: char) -> String {
    let mut all: Vec<char> = letters.chars().filter(|other| *other != letter).collect();
    if all.len() == letters.len() {
        all.push(letter);
    }
    all.sort_unstable();
    all.into_iter().collect()
}
