//! Those who use the mailbox: somebody with Outlook, somebody with a mail program on the Maildirs, senders of mail.

mod here;
mod there;
mod unfinished;

use std::collections::BTreeSet;
use std::path::PathBuf;

use cms_engine::{ContentHash, Flags};
use cms_maildir::{FileName, Place};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use simcloud::Cloud;

use super::extras::Extras;
use super::ledger::{FLAGS, Item, Ledger, Outcome, Spot};
use super::texts::{Texts, essence};
use super::trace::Trace;

pub(super) use unfinished::Rest;

/// A mailbox of the cloud and the Maildir that it is kept in.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// The folder's path in the cloud.
    pub(super) folder: &'static str,
    pub(super) maildir: PathBuf,
}

/// A file in a Maildir, as somebody who lists it sees it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) maildir: usize,
    pub(super) place: Place,
    pub(super) name: FileName,
    /// What it is known by.
    pub(super) hash: ContentHash,
    /// The hash of its very bytes.
    pub(super) raw: ContentHash,
}

/// Everybody.
pub(super) struct People {
    pub(super) random: ChaCha8Rng,
    pub(super) cloud: Cloud,
    pub(super) trace: Trace,
    pub(super) pairs: Vec<Pair>,
    /// Which of them is the folder of deleted messages.
    pub(super) trash: Option<usize>,
    pub(super) drafts: Option<usize>,
    /// The folder of sent messages.
    pub(super) sent: Option<usize>,
    pub(super) extras: Extras,
    pub(super) ledger: Ledger,
    pub(super) texts: Texts,
    /// What is done in steps is diced for apart, so that all else stays as it is without it.
    pub(super) steps: ChaCha8Rng,
    /// Whether the program is running, so that it may see a file go.
    pub(super) watched: bool,
    /// Whether the program has written down which Maildirs there are.
    pub(super) is_known: bool,
    pub(super) rest: Vec<Rest>,
    /// Messages of the cloud that a lost state has left half made.
    left: BTreeSet<String>,
    serial: u64,
}

const DELETED: &str = "Deleted Items";
const ELSEWHERE: &str = "Private";

impl People {
    pub(super) fn new(
        random: ChaCha8Rng,
        cloud: Cloud,
        trace: Trace,
        pairs: Vec<Pair>,
        trash: Option<usize>,
        drafts: Option<usize>,
    ) -> Self {
        Self {
            random,
            cloud,
            trace,
            pairs,
            trash,
            drafts,
            sent: None,
            extras: Extras::default(),
            steps: ChaCha8Rng::seed_from_u64(0),
            texts: Texts::default(),
            ledger: Ledger {
                deleted: Some(trash.map_or(Spot::Deleted, Spot::Box)),
                drafts: drafts.map(Spot::Box),
                ..Ledger::default()
            },
            watched: false,
            is_known: false,
            rest: Vec::new(),
            left: BTreeSet::new(),
            serial: 0,
        }
    }

    pub(super) fn deleted_spot(&self) -> Spot {
        self.trash.map_or(Spot::Deleted, Spot::Box)
    }

    fn folder_of(&self, spot: Spot) -> &'static str {
        match spot {
            Spot::Box(at) => self.pairs[at].folder,
            Spot::Deleted => DELETED,
            Spot::Elsewhere | Spot::Nowhere => ELSEWHERE,
        }
    }

    fn spot_of(&self, folder: &str) -> Spot {
        match self.pairs.iter().position(|pair| pair.folder == folder) {
            Some(at) => Spot::Box(at),
            None if folder == DELETED => Spot::Deleted,
            None if folder == ELSEWHERE => Spot::Elsewhere,
            None => Spot::Nowhere,
        }
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// What a message is known by on both sides.
    pub(super) fn hash_of(&self, bytes: &[u8]) -> ContentHash {
        if self.extras.uploads.is_some() { essence(bytes) } else { ContentHash::of(bytes) }
    }

    pub(super) fn dice(&mut self, below: u32) -> u32 {
        self.random.random_range(0..below)
    }

    /// Somebody does something, anything, on either side.
    pub(super) fn act(&mut self) {
        if self.extras.mail && self.dice(100) < 60 {
            return self.mail();
        }
        let writes_and_removes = self.extras.uploads.is_some() && self.extras.folders;
        if writes_and_removes && self.dice(100) < 12 {
            return self.remove_folder();
        }
        if self.extras.uploads.is_some() && !self.extras.mail && self.dice(100) < 60 {
            return self.write();
        }
        if self.extras.ids && self.dice(100) < 12 {
            return self.renumber();
        }
        if self.extras.folders && self.dice(100) < 15 {
            return self.remove_folder();
        }
        if self.dice(100) < 45 { self.act_there() } else { self.act_here() }
    }

    /// What is on both sides.
    pub(super) fn outcome(&self) -> Outcome {
        let mut here = vec![Vec::new(); self.pairs.len()];
        let known = FLAGS.into_iter().fold(Flags::NONE, |all, flag| all | flag);
        for seen in self.files() {
            let flags = seen.name.flags;
            let trashed = flags.contains(Flags::TRASHED);
            here[seen.maildir].push(Item { hash: seen.hash, raw: seen.raw, flags: flags & known, trashed });
        }
        Outcome { cloud: self.outcome_there(), here }
    }

    /// Everything that isn't as it must be.
    pub(super) fn problems(&self, outcome: &Outcome) -> Vec<String> {
        let mut problems = self.ledger.problems(outcome, &|hash| self.texts.get(hash).is_some());
        if self.extras.uploads.is_some() {
            self.texts.problems(&self.ledger, outcome, &self.passed_over(), &mut problems);
        }
        problems
    }

    /// Takes what is for what was, once it was found right.
    pub(super) fn turn_the_page(&mut self, outcome: &Outcome) {
        self.note_what_is_left();
        self.ledger.turn_the_page(outcome);
        self.texts.turn_the_page(self.ledger.deleted, outcome);
        for text in &self.texts.0 {
            self.ledger.copied.remove(&text.hash);
        }
    }
}
