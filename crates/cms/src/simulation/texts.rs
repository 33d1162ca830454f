//! What must be in the end of the drafts that somebody writes on either side: of every text the versions that nobody has
//! written anew, each of them once here and once there.
//!
//! A cloud makes a message anew of what it is given. A text is therefore known by what of it stays the same: the bytes
//! without those fields of its header that the service puts there or takes away.

use std::collections::{BTreeMap, BTreeSet};

use cms_engine::ContentHash;

use super::ledger::{Item, LOST, Ledger, Message, Outcome, Spot};

/// One version of a text.
// Each of these is a fact of its own.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// What stays the same whatever the cloud makes of it.
    pub(super) hash: ContentHash,
    /// Its bytes as they were written here; nothing if it was written in the cloud.
    pub(super) written: Option<ContentHash>,
    /// The version that its writer had before him.
    pub(super) parent: Option<ContentHash>,
    /// Where it may be.
    pub(super) homes: Vec<Spot>,
    /// Whether somebody who had it before him has written another version.
    pub(super) superseded: bool,
    /// Whether it was written since both sides were the same.
    pub(super) fresh: bool,
    /// Whether it is a message that was delivered or sent here.
    pub(super) is_mail: bool,
    /// Whether somebody deleted it.
    pub(super) deleted: bool,
    /// Whether its file was removed here once another had taken its place. Who writes in the cloud may have been too late.
    pub(super) removed: bool,
    /// Whether its file was removed one by one with its Maildir, which deletes it in the cloud.
    pub(super) wiped: bool,
    /// Whether it was written in the cloud after that. The program asks for a draft right before it deletes it, and has perhaps
    /// asked already: no request to delete depends on what it deletes.
    pub(super) late: bool,
    /// Whether its file got another name: without a Message-ID of its own, it was known by that in the cloud.
    pub(super) renamed: bool,
    /// Whether it got that name while the program didn't run, or hadn't listed anything yet.
    pub(super) unlisted: bool,
    /// How often the message of it got another id. Under that it is brought here again, before the old one is known to be gone.
    pub(super) renumbered: usize,
    /// How often it was there when both sides were last the same.
    pub(super) times: usize,
    /// Whether what was done to it may not have been seen.
    pub(super) unsure: bool,
    /// Whether it was in a folder or a Maildir that went, so that the program's user says whether it comes again.
    pub(super) adrift: bool,
    /// Whether it may be nowhere: it went on one side, and the other had nothing of it or was told that this is meant.
    pub(super) forsaken: bool,
    /// Whether it had a file in a Maildir of which its user said that what is gone from the cloud stays.
    pub(super) kept: bool,
}

impl Text {
    pub(super) fn new(hash: ContentHash, home: Spot) -> Self {
        Self {
            hash,
            written: None,
            parent: None,
            homes: vec![home],
            superseded: false,
            fresh: true,
            is_mail: false,
            deleted: false,
            removed: false,
            wiped: false,
            late: false,
            renamed: false,
            unlisted: false,
            renumbered: 0,
            times: 1,
            unsure: false,
            adrift: false,
            forsaken: false,
            kept: false,
        }
    }
}

/// All texts.
#[derive(Debug, Default)]
pub(super) struct Texts(pub(super) Vec<Text>);

impl Texts {
    pub(super) fn get_mut(&mut self, hash: &ContentHash) -> Option<&mut Text> {
        self.0.iter_mut().find(|text| text.hash == *hash)
    }

    pub(super) fn get(&self, hash: &ContentHash) -> Option<&Text> {
        self.0.iter().find(|text| text.hash == *hash)
    }

    /// Notes that somebody who had one version before him has written another.
    pub(super) fn rewrite(&mut self, old: &ContentHash, mut new: Text, seen: bool) {
        if let Some(old) = self.get_mut(old) {
            old.superseded = true;
            old.unsure |= !seen;
            new.homes.extend(old.homes.iter().copied());
            new.parent = Some(old.hash);
        }
        self.0.push(new);
    }

    /// Notes that nobody saw which file a version was written into. The earlier ones that the cloud has may come back.
    pub(super) fn doubt_earlier_versions(&mut self, of: &ContentHash) {
        let mut parent = self.get(of).and_then(|text| text.parent);
        while let Some(text) = parent.and_then(|hash| self.get_mut(&hash)) {
            text.unsure = true;
            parent = text.parent;
        }
    }

    /// A version and those that it was made of.
    fn lineage<'a>(&'a self, text: &'a Text) -> impl Iterator<Item = &'a Text> {
        std::iter::successors(Some(text), |text| self.get(text.parent.as_ref()?))
    }

    /// All versions of the same text.
    fn same<'a>(&'a self, text: &Text) -> impl Iterator<Item = &'a Text> {
        let root = |text| self.lineage(text).last().map(|first| first.hash);
        let first = self.get(&text.hash).and_then(root);
        self.0.iter().filter(move |other| root(other) == first)
    }

    /// Whether it is what somebody has written in the cloud of a draft that was removed here. What is written in the very moment
    /// of a deletion comes back only where the deleted messages are looked at, too.
    fn came_too_late(&self, text: &Text, ledger: &Ledger) -> bool {
        let stays_deleted = ledger.troubled || !matches!(ledger.deleted, Some(Spot::Box(_)));
        text.late && stays_deleted || text.written.is_none() && self.same(text).any(|other| other.removed)
    }

    /// Everything that isn't as it must be, but for texts in what is passed over.
    pub(super) fn problems(
        &self,
        ledger: &Ledger,
        outcome: &Outcome,
        passed_over: &BTreeSet<ContentHash>,
        problems: &mut Vec<String>,
    ) {
        for text in self.0.iter().filter(|text| !passed_over.contains(&text.hash)) {
            if let Some(what) = self.judge(text, ledger, outcome) {
                problems.push(format!("{what}: {text:?}"));
            }
        }
        for (id, (spot, item)) in &outcome.cloud {
            // What was deleted in the cloud while the state was lost comes again, as what only a file tells of.
            let comes_again = ledger.lost_state || ledger.apart.contains(&item.hash);
            let is_it = |message: &Message| message.id == *id || comes_again && message.hash == item.hash;
            let known = self.get(&item.hash).is_some() || ledger.messages.iter().any(is_it);
            if matches!(spot, Spot::Box(_)) && !known {
                problems.push(format!("nobody has put {} into {spot:?}: {id}", item.hash));
            }
        }
    }

    fn judge(&self, text: &Text, ledger: &Ledger, outcome: &Outcome) -> Option<String> {
        let found = Places::of(text, outcome);
        let (there, here) = (found.boxes_there(ledger.deleted), found.here.len());
        let is_deleted = self.lineage(text).any(|text| text.deleted) || self.came_too_late(text, ledger);
        // Where it was to be moved to was no more, so that nobody knows what became of the upload.
        let was_removed = ledger.removed.is_some_and(|removed| text.homes.contains(&removed));
        let is_unsure = ledger.lost_state
            || ledger.unmounted
            // What was told to the cloud in between, without its answer being heard, is a version like any other.
            || (ledger.troubled || was_removed) && text.fresh
            // What went without the Trash flag comes back where nobody remembers having seen it go.
            || self.lineage(text).any(|text| text.unsure || text.adrift)
            || (ledger.troubled || was_removed) && self.same(text).any(|version| version.removed);
        let anywhere = found.there.len() + here + found.trashed;
        if !text.superseded && !text.forsaken && anywhere == 0 {
            return Some(format!("{LOST}a text is nowhere"));
        }
        // What was deleted on one side before anybody knew that the other's is the same message stays there.
        let is_unknown = text.fresh || text.times == 0 || ledger.lost_state || ledger.killed;
        if text.is_mail && text.deleted && there <= 1 && is_unknown {
            return None;
        }
        if let Some(what) = found.differ() {
            return Some(what);
        }
        // A state that is lost takes with it what a file without a Message-ID of its own was known by, and that two files were
        // brought here of the same message: each is a draft of its own then. So is what stays by the user's word though the
        // message is there under another id.
        let brought_again = if ledger.lost_state || text.kept { text.renumbered } else { 0 };
        // And with it goes which draft a file was that was written anew. As long as that draft can't be read, the file looks like
        // the next version of the old one.
        let is_anybodys = text.renamed || ledger.troubled && text.parent.is_some();
        if there > text.times.max(1) + brought_again && !(ledger.lost_state && is_anybodys) {
            return Some(format!("a text is there {there} times"));
        }
        if !text.superseded && !is_deleted {
            let in_place = |spot: &Spot| matches!(spot, Spot::Box(_)) && Some(*spot) != ledger.deleted;
            let Some((spot, _)) = found.there.iter().find(|(spot, _)| in_place(spot)) else {
                let is_out_of_place = !text.adrift && !text.forsaken;
                return is_out_of_place.then(|| "a text isn't in its place".to_owned());
            };
            if !text.homes.contains(spot) && !ledger.stays_where_it_was_made(text, *spot) {
                return Some(format!("a text is in {spot:?}"));
            }
            let is_its_own = text.written.is_none_or(|bytes| found.here.iter().all(|(_, item)| item.raw == bytes));
            return (!is_its_own && !is_unsure).then(|| "a file has other bytes than its writer gave it".to_owned());
        }
        let is_unwanted = text.superseded || text.deleted;
        (there > 0 && is_unwanted && !is_unsure).then(|| "a version that nobody wants is still there".to_owned())
    }

    /// Takes what is for what was, once it was found right.
    pub(super) fn turn_the_page(&mut self, deleted: Option<Spot>, outcome: &Outcome) {
        self.0.retain_mut(|text| {
            let found = Places::of(text, outcome);
            text.parent = None;
            text.superseded = false;
            // A deletion here of what was uploaded just then may wait until it can be read back, which lasts if that failed. Where
            // another file stands for the message, the trashed one is nobody's.
            let has_file = found.here.len() >= found.boxes_there(deleted);
            let awaits_deletion = text.is_mail && text.deleted && found.trashed > 0 && !has_file;
            text.fresh &= awaits_deletion;
            text.unsure = false;
            text.unlisted = false;
            text.renumbered = 0;
            text.removed = false;
            text.wiped = false;
            text.late = false;
            text.adrift = false;
            text.forsaken = false;
            text.kept = false;
            text.times = found.boxes_there(deleted);
            let in_place = |spot: &Spot| matches!(spot, Spot::Box(_)) && Some(*spot) != deleted;
            let home = found.there.iter().find(|(spot, _)| in_place(spot));
            text.deleted = home.is_none() || awaits_deletion;
            if let Some((spot, _)) = home {
                text.homes = vec![*spot];
                if found.here.iter().any(|(_, item)| Some(item.raw) != text.written) {
                    text.written = None;
                }
            }
            home.is_some() || found.trashed + found.here.len() > 0
        });
    }
}

/// Where a text is.
struct Places<'a> {
    there: Vec<(Spot, &'a Item)>,
    here: Vec<(usize, &'a Item)>,
    /// How many more files of it have the Trash flag.
    trashed: usize,
}

impl<'a> Places<'a> {
    fn of(text: &Text, outcome: &'a Outcome) -> Self {
        let is_it = |item: &Item| item.hash == text.hash;
        let there = outcome.cloud.values().filter(|(_, item)| is_it(item)).map(|(spot, item)| (*spot, item)).collect();
        let (mut here, mut trashed) = (Vec::new(), 0);
        for (at, files) in outcome.here.iter().enumerate() {
            for item in files.iter().filter(|item| is_it(item)) {
                if item.trashed {
                    trashed += 1;
                } else {
                    here.push((at, item));
                }
            }
        }
        Self { there, here, trashed }
    }

    /// In how many mailboxes other than that of deleted messages it is.
    fn boxes_there(&self, deleted: Option<Spot>) -> usize {
        self.there.iter().filter(|(spot, _)| matches!(spot, Spot::Box(_)) && Some(*spot) != deleted).count()
    }

    /// In what the two sides differ.
    fn differ(&self) -> Option<String> {
        let mut boxes: BTreeMap<usize, (Vec<_>, Vec<_>)> = BTreeMap::new();
        for (spot, item) in &self.there {
            if let Spot::Box(at) = spot {
                boxes.entry(*at).or_default().0.push(item.flags);
            }
        }
        for (at, item) in &self.here {
            boxes.entry(*at).or_default().1.push(item.flags);
        }
        boxes.into_iter().find_map(|(at, (mut there, mut here))| {
            there.sort_unstable();
            here.sort_unstable();
            (there != here).then(|| format!("mailbox {at}: a text with {there:?} in the cloud, with {here:?} here"))
        })
    }
}

/// Those fields of a header that a service changes.
const CHANGED: [&str; 7] =
    ["date", "received", "return-path", "dkim-signature", "message-id", "content-language", "status"];

/// What stays the same of a message whatever the cloud makes of it. Header fields are in one line each.
pub(super) fn essence(bytes: &[u8]) -> ContentHash {
    let text = String::from_utf8_lossy(bytes);
    let (header, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let stays = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        !CHANGED.contains(&name.as_str()) && !name.starts_with("x-ms-")
    };
    let header: Vec<&str> = header.lines().filter(stays).collect();
    ContentHash::of(format!("{}\n\n{body}", header.join("\n")).as_bytes())
}

/// The line with a message's Message-ID, with its line end; empty if it has none.
pub(super) fn message_id_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let header = text.split_once("\n\n").map_or(&*text, |(header, _)| header);
    let line = header.lines().find(|line| line.to_ascii_lowercase().starts_with("message-id:"));
    line.map(|line| format!("{line}\n")).unwrap_or_default()
}
