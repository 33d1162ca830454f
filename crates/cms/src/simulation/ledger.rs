//! What must be in the end: who wanted what of each message, and which outcomes are right.

use std::collections::{BTreeMap, BTreeSet};

use cms_engine::{ContentHash, Flags};

use super::texts::Text;

/// What begins the account of a message that is nowhere any more.
pub(super) const LOST: &str = "LOST: ";

/// The flags that are changed and compared.
pub(super) const FLAGS: [Flags; 3] = [Flags::SEEN, Flags::FLAGGED, Flags::REPLIED];

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    /// In this one of the mailboxes that are kept in a Maildir.
    Box(usize),
    /// In the folder of deleted messages, where that isn't among them.
    Deleted,
    /// In another folder of the account.
    Elsewhere,
    /// Gone for good.
    Nowhere,
}

/// One message that the cloud has, or had.
// Each of these is a fact of its own.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug)]
pub(super) struct Message {
    /// Its immutable id.
    pub(super) id: String,
    pub(super) hash: ContentHash,
    /// What it was before it was edited.
    pub(super) old_hashes: Vec<ContentHash>,
    pub(super) is_draft: bool,
    /// Whether it may be left in the cloud for its age.
    pub(super) is_old: bool,
    /// Where it was when both sides were last the same, or where it arrived.
    pub(super) spot: Spot,
    /// Its flags then.
    pub(super) flags: Flags,
    /// Where it was put since, on each side.
    pub(super) put_there: Vec<Spot>,
    pub(super) put_here: Vec<Spot>,
    /// Whether what was done here may not have been seen, so that it may have no effect.
    pub(super) unsure: bool,
    /// Which values each flag was given since, on each side.
    pub(super) flagged_there: Vec<(Flags, bool)>,
    pub(super) flagged_here: Vec<(Flags, bool)>,
    /// Copies that a move by copying made of it since.
    pub(super) copies: usize,
    /// Where such copies went, each of which may stand for the message if the move isn't finished.
    pub(super) copied_to: Vec<Spot>,
    /// Whether its user has said that it is to be kept, and hasn't done anything to it since.
    pub(super) is_kept: bool,
}

impl Message {
    /// A message with that content that nothing was done to.
    pub(super) fn new(hash: ContentHash) -> Self {
        Self {
            id: String::new(),
            hash,
            old_hashes: Vec::new(),
            is_draft: false,
            is_old: false,
            spot: Spot::Nowhere,
            flags: Flags::NONE,
            put_there: Vec::new(),
            put_here: Vec::new(),
            unsure: false,
            flagged_there: Vec::new(),
            flagged_here: Vec::new(),
            copies: 0,
            copied_to: Vec::new(),
            is_kept: false,
        }
    }
}

/// A file that another program delivered, which the cloud never has.
#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) hash: ContentHash,
    /// In which Maildir it must be; nothing once its user removed it.
    pub(super) maildir: Option<usize>,
}

/// Everything that anybody wanted.
// Each of these is a fact of its own.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) messages: Vec<Message>,
    pub(super) foreign: Vec<Foreign>,
    /// Contents of which the user made copies, and how many more files than messages there may be.
    pub(super) copied: BTreeMap<ContentHash, usize>,
    /// Where deleted messages go.
    pub(super) deleted: Option<Spot>,
    /// Where the cloud makes drafts, where that is among the mailboxes.
    pub(super) drafts: Option<Spot>,
    /// Whether drafts are that large that an edited one is made anew there, and moved from there.
    pub(super) drafts_are_large: bool,
    /// The folder that was removed in the cloud.
    pub(super) removed: Option<Spot>,
    /// Whether the program was killed.
    pub(super) killed: bool,
    /// Whether the power failed, and with it may have gone what the program had written down last.
    pub(super) power_failed: bool,
    /// Whether answers of the cloud were lost, the disk failed, or the program was killed before it wrote something down.
    pub(super) troubled: bool,
    /// Whether a Maildir was away, so that the end of a move may have been missed.
    pub(super) unmounted: bool,
    /// Whether the state was lost, so that what was done here may have no effect.
    pub(super) lost_state: bool,
    /// The mailboxes that keep what is deleted there.
    pub(super) keeping: BTreeSet<usize>,
    /// Contents of which the files needn't be as the messages are.
    pub(super) apart: BTreeSet<ContentHash>,
}

/// A message as the cloud has it, or a file as a Maildir has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    /// What it is known by on both sides.
    pub(super) hash: ContentHash,
    /// The hash of its very bytes.
    pub(super) raw: ContentHash,
    pub(super) flags: Flags,
    /// Whether it has the Trash flag.
    pub(super) trashed: bool,
}

/// What is in the end.
pub(super) struct Outcome {
    /// Of each message by id: where it is, its flags and content.
    pub(super) cloud: BTreeMap<String, (Spot, Item)>,
    /// Of each Maildir: its files.
    pub(super) here: Vec<Vec<Item>>,
}

impl Outcome {
    /// What there is on both sides, for whoever looks into a failure.
    pub(super) fn lines(&self) -> Vec<String> {
        let what = |item: &Item| {
            format!("{} ({}), flags {}{}", item.hash, item.raw, item.flags, if item.trashed { ", trashed" } else { "" })
        };
        let there = self.cloud.iter().map(|(id, (spot, item))| format!("end: there {id} in {spot:?}: {}", what(item)));
        let here = self.here.iter().enumerate();
        let here =
            here.flat_map(|(at, files)| files.iter().map(move |file| format!("end: here in {at}: {}", what(file))));
        there.chain(here).collect()
    }
}

impl Ledger {
    /// Whether this content stands for more than one message, so that nobody can tell them apart.
    pub(super) fn is_ambiguous(&self, hash: &ContentHash) -> bool {
        self.copied.get(hash).is_some_and(|copies| *copies > 0)
            || self.messages.iter().filter(|message| message.hash == *hash).count() > 1
    }

    /// The messages with that content.
    pub(super) fn of_content(&mut self, hash: ContentHash) -> impl Iterator<Item = &mut Message> {
        self.messages.iter_mut().filter(move |message| message.hash == hash || message.old_hashes.contains(&hash))
    }

    pub(super) fn foreign_mut(&mut self, hash: &ContentHash) -> Option<&mut Foreign> {
        self.foreign.iter_mut().find(|file| file.hash == *hash)
    }

    /// Whether a draft is where the cloud made it, for the folder that it was to be moved to wasn't there, or its file went
    /// with its Maildir before that; or the service failed when an edited large one was to be moved.
    pub(super) fn stays_where_it_was_made(&self, text: &Text, spot: Spot) -> bool {
        let was_removed = self.removed.is_some_and(|removed| text.homes.contains(&removed));
        let was_refused = self.drafts_are_large && self.troubled && text.parent.is_some();
        self.drafts == Some(spot) && (was_removed || text.adrift || was_refused)
    }

    /// Everything that isn't as it must be, apart from contents that are told of elsewhere.
    pub(super) fn problems(&self, outcome: &Outcome, elsewhere: &dyn Fn(&ContentHash) -> bool) -> Vec<String> {
        let mut problems = Vec::new();
        for (at, files) in outcome.here.iter().enumerate() {
            self.compare(at, files, outcome, elsewhere, &mut problems);
        }
        for message in &self.messages {
            self.judge(message, outcome, &mut problems);
        }
        for foreign in &self.foreign {
            let places: Vec<usize> = outcome
                .here
                .iter()
                .enumerate()
                .flat_map(|(at, files)| files.iter().filter(|file| file.hash == foreign.hash).map(move |_| at))
                .collect();
            if places != foreign.maildir.into_iter().collect::<Vec<_>>() {
                let lost = if places.is_empty() { LOST } else { "" };
                problems.push(format!(
                    "{lost}a file delivered by another program ({}) is in {places:?}, not in {:?}",
                    foreign.hash, foreign.maildir
                ));
            }
        }
        problems
    }

    /// Compares one mailbox of the cloud with its Maildir.
    fn compare(
        &self,
        at: usize,
        files: &[Item],
        outcome: &Outcome,
        elsewhere: &dyn Fn(&ContentHash) -> bool,
        problems: &mut Vec<String>,
    ) {
        let mut there: BTreeMap<ContentHash, Vec<Flags>> = BTreeMap::new();
        for (spot, item) in outcome.cloud.values() {
            if *spot == Spot::Box(at) && !elsewhere(&item.hash) {
                there.entry(item.hash).or_default().push(item.flags);
            }
        }
        let mut here: BTreeMap<ContentHash, Vec<Flags>> = BTreeMap::new();
        let mut trashed: BTreeMap<ContentHash, Vec<Flags>> = BTreeMap::new();
        for file in files.iter().filter(|file| !elsewhere(&file.hash)) {
            if file.trashed {
                trashed.entry(file.hash).or_default().push(file.flags);
            }
            if !self.foreign.iter().any(|foreign| foreign.hash == file.hash) {
                here.entry(file.hash).or_default().push(file.flags);
            }
        }
        let all: BTreeSet<ContentHash> = there.keys().chain(here.keys()).copied().collect();
        for hash in all {
            let mut there = there.remove(&hash).unwrap_or_default();
            let mut here = here.remove(&hash).unwrap_or_default();
            // A copy that its user has trashed is left to be removed.
            for flags in trashed.remove(&hash).unwrap_or_default() {
                if here.len() > there.len()
                    && let Some(at) = here.iter().position(|found| *found == flags)
                {
                    here.swap_remove(at);
                }
            }
            there.sort_unstable();
            here.sort_unstable();
            if there == here {
                continue;
            }
            let spare = self.spare(&hash);
            let mut messages = self.messages.iter().filter(|message| message.hash == hash);
            // Of one that is left in the cloud there may be a copy here that nobody knows to be one.
            let may_be_fewer = here.len() < there.len() || self.copied.contains_key(&hash);
            let fewer_will_do = may_be_fewer && messages.clone().any(|message| message.is_old);
            if fewer_will_do || self.apart.contains(&hash) || messages.any(|message| self.may_be_apart(message)) {
                continue;
            }
            if here.len() < there.len() || here.len() > there.len() + spare {
                problems.push(format!(
                    "mailbox {at}: {} in the cloud, {} files here of {hash} (up to {spare} more would do)",
                    there.len(),
                    here.len()
                ));
            } else if !contains_all(&here, &there) {
                problems.push(format!("mailbox {at}: flags {here:?} here, {there:?} in the cloud, of {hash}"));
            }
        }
    }

    /// How many more files than messages there may be.
    fn spare(&self, hash: &ContentHash) -> usize {
        let moved_by_copying: usize = self
            .messages
            .iter()
            .filter(|message| {
                message.hash == *hash && (self.unmounted || !message.put_there.is_empty() || self.is_unsure(message))
            })
            .map(|message| message.copies)
            .sum();
        // Without a base nothing is removed here.
        let gone_unseen = self.messages.iter().filter(|message| {
            (message.hash == *hash || message.old_hashes.contains(hash))
                && (self.lost_state || self.unmounted)
                && (message.unsure || !(message.put_there.is_empty() && message.put_here.is_empty()))
        });
        let kept = self.messages.iter().filter(|message| {
            !self.keeping.is_empty()
                && (message.hash == *hash || message.old_hashes.contains(hash))
                && !(message.put_there.is_empty() && message.put_here.is_empty())
        });
        self.copied.get(hash).copied().unwrap_or_default() + moved_by_copying + gone_unseen.count() + kept.count()
    }

    fn is_unsure(&self, message: &Message) -> bool {
        // Who trashes again what has just gone to the deleted ones may be taken to have done it once.
        let again = message.put_here.contains(&Spot::Nowhere) && message.put_here.len() > 1;
        // What the cloud was told and isn't known any more looks like the cloud's own wish afterwards, and that one holds.
        let told = self.is_unknown_whether_told(message) && message.put_here.len() > 1;
        let apart = self.apart.contains(&message.hash);
        again || told || apart || message.unsure || self.lost_state || self.is_ambiguous(&message.hash)
    }

    /// Whether the cloud may have been told of a place that a later run doesn't know of. Deletions aren't remembered.
    fn is_unknown_whether_told(&self, message: &Message) -> bool {
        let is_deletion = |spot: &Spot| !matches!(spot, Spot::Box(_)) || self.deleted == Some(*spot);
        self.power_failed || self.killed && message.put_here.iter().any(is_deletion)
    }

    /// Judges where one message is, and its flags.
    fn judge(&self, message: &Message, outcome: &Outcome, problems: &mut Vec<String>) {
        let found = outcome.cloud.get(&message.id);
        let spot = found.map_or(Spot::Nowhere, |(spot, _)| *spot);
        let is_here = || outcome.here.iter().flatten().any(|file| file.hash == message.hash);
        if message.is_kept && !self.lost_state && !matches!(spot, Spot::Box(_)) && !is_here() {
            problems.push(format!("{LOST}{} was to be kept: {message:?}", message.hash));
        }
        if self.must_stay(message) && !matches!(spot, Spot::Box(_)) && !is_here() {
            problems.push(format!("{LOST}{} was in an archive: {message:?}", message.hash));
        }
        let spots = self.right_spots(message);
        if !spots.contains(&spot) {
            let lost = if spot == Spot::Nowhere { LOST } else { "" };
            problems.push(format!("{lost}{} is in {spot:?}, not in one of {spots:?}: {message:?}", message.hash));
        }
        let (Some((Spot::Box(_), item)), false) = (found, self.is_ambiguous(&message.hash)) else { return };
        for flag in FLAGS {
            let is = item.flags.contains(flag);
            if !self.right_values(message, flag).contains(&is) {
                problems.push(format!("{flag} of {} is {is}: {message:?}", message.hash));
            }
        }
    }

    /// Whether nobody could tell that a message and a file are one: the message has another id, and is left in the cloud for its
    /// age while the state is lost; or the file was filed elsewhere while it was kept, so that it stays there though the message
    /// came back.
    fn may_be_apart(&self, message: &Message) -> bool {
        let was_filed = !message.put_here.is_empty() || message.copies > 0;
        let may_be_kept = !self.keeping.is_empty() && message.unsure || self.was_kept(message);
        message.is_old && self.lost_state || may_be_kept && was_filed
    }

    /// Whether a message went from a mailbox that keeps.
    fn was_kept(&self, message: &Message) -> bool {
        let before = std::iter::once(&message.spot).chain(&message.put_there);
        let keeps = |spot: &Spot| matches!(spot, Spot::Box(at) if self.keeping.contains(at));
        before.zip(&message.put_there).any(|(from, to)| keeps(from) && !matches!(to, Spot::Box(_)))
    }

    /// Whether a message was on both sides in a mailbox that keeps, and nobody here has done anything to it.
    fn must_stay(&self, message: &Message) -> bool {
        let keeps = |spot: &Spot| matches!(spot, Spot::Box(at) if self.keeping.contains(at));
        let passes_by = |spot: &Spot| matches!(spot, Spot::Box(_)) && !keeps(spot);
        let was_there = keeps(&message.spot) && !message.copied_to.is_empty() && !message.is_draft;
        let is_doubtful = self.unmounted || self.is_unsure(message);
        was_there && message.put_here.is_empty() && !message.put_there.iter().any(passes_by) && !is_doubtful
    }

    fn right_spots(&self, message: &Message) -> BTreeSet<Spot> {
        let (there, here) = (&message.put_there, &message.put_here);
        match (there.last(), here.last()) {
            (None, None) if self.is_ambiguous(&message.hash) => {
                let twins = self.messages.iter().filter(|other| other.hash == message.hash);
                twins
                    .flat_map(|other| other.put_here.iter().chain(&other.copied_to).copied().chain([other.spot]))
                    .collect()
            }
            (None, None) => [message.spot].into(),
            (Some(last), None) if !self.is_ambiguous(&message.hash) => [*last].into(),
            (None, Some(last)) if !self.is_unsure(message) => [*last].into(),
            // One of twins may have stood in for the other.
            _ => {
                let twins = self.messages.iter().filter(|other| {
                    other.id == message.id || other.hash == message.hash && self.is_ambiguous(&message.hash)
                });
                twins
                    .flat_map(|other| {
                        let put = other.put_there.iter().chain(&other.put_here).chain(&other.copied_to).copied();
                        // The original that a copy was made of is trashed in the end.
                        let trashed = (other.copies > 0 && self.is_ambiguous(&message.hash)).then_some(self.deleted);
                        put.chain([other.spot]).chain(trashed.flatten())
                    })
                    .collect()
            }
        }
    }

    fn right_values(&self, message: &Message, flag: Flags) -> BTreeSet<bool> {
        let last = |changes: &[(Flags, bool)]| changes.iter().rev().find(|(its, _)| *its == flag).map(|(_, on)| *on);
        let was = message.flags.contains(flag);
        // What is out of sight has no file that could keep a change.
        let mut put = message.put_there.iter().chain(&message.put_here);
        let left = put.any(|spot| !matches!(spot, Spot::Box(_)));
        // A copy has the flags that the original had when it was made.
        let copied = message.copies > 0 && !(message.flagged_there.is_empty() && message.flagged_here.is_empty());
        // What the cloud was told and isn't known any more looks like the cloud's own wish afterwards.
        let told_twice = self.power_failed && message.flagged_here.iter().filter(|(its, _)| *its == flag).count() > 1;
        let uncertain = left || told_twice || copied || self.is_unsure(message);
        // What a lost state left in the Maildir where the cloud had it before stands for it, with its old flags, once the
        // file that came anew is taken away.
        let left_over = self.lost_state && !message.put_there.is_empty() && !message.put_here.is_empty();
        match (last(&message.flagged_there), last(&message.flagged_here)) {
            (None, None) => [was].into(),
            (Some(there), None) if !copied && !left_over => [there].into(),
            (None, Some(here)) if !uncertain => [here].into(),
            (Some(there), Some(here)) if !uncertain => [there, here].into(),
            // What was told to the cloud in between may be all that is left.
            _ => [true, false].into(),
        }
    }

    /// Takes messages that were uploaded anew, of what was deleted in the cloud while the state was lost, for new ones.
    fn adopt_what_came_again(&mut self, outcome: &Outcome) {
        for (id, (spot, item)) in &outcome.cloud {
            let mut same = self.messages.iter().filter(|message| message.hash == item.hash);
            let Some(first) = same.next() else { continue };
            if first.id != *id && same.all(|message| message.id != *id) {
                let again = Message { id: id.clone(), spot: *spot, flags: item.flags, ..Message::new(item.hash) };
                self.messages.push(again);
            }
        }
    }

    /// Takes what is for what was, once it was found right.
    pub(super) fn turn_the_page(&mut self, outcome: &Outcome) {
        self.adopt_what_came_again(outcome);
        let apart = self.messages.iter().filter(|message| self.may_be_apart(message)).map(|message| message.hash);
        self.apart.extend(apart.collect::<Vec<_>>());
        if self.lost_state {
            self.apart.extend(trashed_here_alone(outcome));
        }
        self.lost_state = false;
        self.killed = false;
        self.power_failed = false;
        self.troubled = false;
        self.unmounted = false;
        self.removed = None;
        for message in &mut self.messages {
            let found = outcome.cloud.get(&message.id);
            message.spot = found.map_or(Spot::Nowhere, |(spot, _)| *spot);
            if let Some((_, item)) = found {
                message.flags = item.flags;
            }
            message.put_there.clear();
            message.put_here.clear();
            message.flagged_there.clear();
            message.flagged_here.clear();
            message.unsure = false;
            message.is_kept = false;
            message.copies = 0;
            message.old_hashes.clear();
            message.copied_to.clear();
            for (at, files) in outcome.here.iter().enumerate() {
                if files.iter().any(|file| file.hash == message.hash) {
                    message.copied_to.push(Spot::Box(at));
                }
            }
        }
        let mut spare: BTreeMap<ContentHash, usize> = BTreeMap::new();
        for file in outcome.here.iter().flatten() {
            *spare.entry(file.hash).or_default() += 1;
        }
        for (spot, item) in outcome.cloud.values() {
            if let (Spot::Box(_), Some(files)) = (spot, spare.get_mut(&item.hash)) {
                *files = files.saturating_sub(1);
            }
        }
        for foreign in &self.foreign {
            spare.remove(&foreign.hash);
        }
        spare.retain(|_, files| *files > 0);
        self.copied = spare;
    }
}

/// The contents of files with the Trash flag whose messages aren't in any mailbox that is synced. Where the state was lost after the
/// cloud was told of a deletion, nobody knows that it was, and who takes the flag off has a file of his own.
fn trashed_here_alone(outcome: &Outcome) -> BTreeSet<ContentHash> {
    let is_there = |hash: &ContentHash| {
        outcome.cloud.values().any(|(spot, item)| matches!(spot, Spot::Box(_)) && item.hash == *hash)
    };
    let trashed = outcome.here.iter().flatten().filter(|file| file.trashed).map(|file| file.hash);
    trashed.filter(|hash| !is_there(hash)).collect()
}

/// Whether a sorted list holds all of another.
fn contains_all(list: &[Flags], wanted: &[Flags]) -> bool {
    let mut rest = list.to_vec();
    wanted.iter().all(|flags| rest.iter().position(|found| found == flags).map(|at| rest.swap_remove(at)).is_some())
}
