//! Those who use the mailbox: somebody with Outlook, somebody with a mail program on the Maildirs, senders of mail.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cms_engine::{BaseName, ContentHash, Flags};
use cms_maildir::{FileName, Place};
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use simcloud::{Cloud, Deletion, FlagChange, FlagStatus, NewMessage};

use super::extras::Extras;
use super::ledger::{FLAGS, Foreign, Item, Ledger, Message, Outcome, Spot};
use super::texts::{Texts, essence};
use super::trace::Trace;

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
    raw: ContentHash,
}

/// The second half of something that a mail program does in two steps.
#[derive(Clone, Debug)]
pub(super) enum Rest {
    /// Flag the original as trashed, whose copy went into that Maildir.
    Trash { original: Seen, to: usize },
    /// Remove the original, whose further name went into that Maildir.
    Unlink { original: Seen, to: usize },
    /// Mount the Maildir again.
    Mount(usize),
    /// Remove a draft that was written anew, or flag it as trashed.
    Rewritten { original: Seen, trashes: bool },
    /// Make a folder again that was removed in the cloud.
    MakeFolder(usize),
    /// Make a Maildir again that was removed here.
    MakeMaildir(usize),
    /// Remove more of a Maildir that is being removed.
    Wipe(usize),
    /// Give a folder its name again.
    NameFolder(usize),
    /// File in the cloud what was sent.
    Sent { bytes: Vec<u8> },
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

    fn message_bytes(&mut self, what: &str) -> Vec<u8> {
        self.serial += 1;
        let serial = self.serial;
        let lines = self.dice(6) as usize;
        let body = "A line of some length, and another one.\n".repeat(lines);
        format!("From: Ann <ann@example.org>\nSubject: {what} {serial}\nMessage-ID: <{serial}@example.org>\n\n{body}{serial}\n")
            .into_bytes()
    }

    /// Somebody does something in the cloud.
    pub(super) fn act_there(&mut self) {
        let dice = self.dice(100);
        if dice < 22 || self.ledger.messages.is_empty() {
            return self.arrive();
        }
        let at = self.dice(u32::try_from(self.ledger.messages.len()).unwrap_or(1)) as usize;
        let id = self.ledger.messages[at].id.clone();
        let Some((now, _)) = self.outcome_there().remove(&id) else { return };
        match dice {
            22..58 => self.flag_there(at, &id),
            58..70 => {
                // Deleting what is deleted already is for good.
                let (how, to) = match self.dice(6) {
                    0 => (Deletion::Purge, Spot::Nowhere),
                    1 => (Deletion::Soft, Spot::Nowhere),
                    _ if now == self.deleted_spot() => return,
                    _ => (Deletion::Trash, self.deleted_spot()),
                };
                self.trace.line(format_args!("there delete {id} {how:?}"));
                if self.cloud.delete_message("", &id, how).is_ok() {
                    self.ledger.messages[at].is_kept = false;
                    self.ledger.messages[at].put_there.push(to);
                }
            }
            70..86 => {
                let to = match self.dice(10) {
                    0 => Spot::Elsewhere,
                    1 => self.deleted_spot(),
                    _ => Spot::Box(self.dice(u32::try_from(self.pairs.len()).unwrap_or(1)) as usize),
                };
                let is_gone =
                    |rest: &Rest| matches!(rest, Rest::MakeFolder(at) | Rest::NameFolder(at) if to == Spot::Box(*at));
                if to == now || to == self.drafts.map_or(Spot::Nowhere, Spot::Box) || self.rest.iter().any(is_gone) {
                    return;
                }
                self.trace.line(format_args!("there move {id} to {to:?}"));
                if self.cloud.move_message("", &id, self.folder_of(to)).is_ok() {
                    // A folder that was made again is another one, of which the program may not know yet.
                    let unknown = (self.extras.folders && self.is_removable(to)).then_some(Spot::Elsewhere);
                    self.ledger.messages[at].put_there.extend(unknown);
                    self.ledger.messages[at].is_kept = false;
                    self.ledger.messages[at].put_there.push(to);
                }
            }
            86..91 => {
                self.trace.line(format_args!("there move {id} away and back"));
                if self.cloud.move_away_and_back("", &id, ELSEWHERE).is_ok() {
                    self.ledger.messages[at].put_there.extend([Spot::Elsewhere, now]);
                }
            }
            _ if self.ledger.messages[at].is_draft => {
                let bytes = self.message_bytes("draft");
                self.trace.line(format_args!("there edit {id}"));
                if self.cloud.edit_draft("", &id, &bytes).is_ok() {
                    let message = &mut self.ledger.messages[at];
                    message.old_hashes.push(message.hash);
                    message.hash = ContentHash::of(&bytes);
                    // An edit holds against a deletion.
                    message.put_there.push(now);
                }
            }
            _ => self.flag_there(at, &id),
        }
    }

    /// Messages get other ids: one, as on the way through an archive mailbox, or all at once with a mailbox that moves.
    fn renumber(&mut self) {
        let there = self.outcome_there();
        let one = self.dice(4) > 0;
        let mut ids: Vec<String> = there.keys().cloned().collect();
        if one {
            ids = ids.choose(&mut self.random).cloned().into_iter().collect();
        }
        for id in &ids {
            // The file that a message with another id is taken for has the cloud's bytes, unless those were known.
            if let Some(text) = there.get(id).and_then(|(_, item)| self.texts.get_mut(&item.hash)) {
                text.unsure = true;
                text.renumbered += 1;
            }
            let Ok(new) = self.cloud.renumber("", id) else { continue };
            self.trace.line(format_args!("there {id} is {new} from now on"));
            if let Some(message) = self.ledger.messages.iter_mut().find(|message| message.id == *id) {
                message.id = new;
                // What is asked of the old one is asked of nobody.
                message.unsure = true;
            }
        }
        if !one {
            self.trace.line("trouble: all delta tokens are forgotten");
            drop(self.cloud.kill_delta_tokens(""));
        }
    }

    fn flag_there(&mut self, at: usize, id: &str) {
        if let Some(change) = self.toggle_there(id) {
            self.ledger.messages[at].flagged_there.push(change);
        }
    }

    /// Gives a message in the cloud another flag; what was changed.
    pub(super) fn toggle_there(&mut self, id: &str) -> Option<(Flags, bool)> {
        let flag = self.some_flag();
        let on = self.dice(2) == 0;
        let change = if flag == Flags::SEEN {
            FlagChange { is_read: Some(on), ..FlagChange::default() }
        } else if flag == Flags::REPLIED {
            FlagChange { replied: Some(on), ..FlagChange::default() }
        } else {
            let status = if on { FlagStatus::Flagged } else { FlagStatus::NotFlagged };
            FlagChange { flag: Some(status), ..FlagChange::default() }
        };
        self.trace.line(format_args!("there {id} {flag} {on}"));
        let now = self.outcome_there().get(id).map(|(_, item)| item.flags.contains(flag));
        // To say again what is said already is no change.
        (now.is_some_and(|now| now != on) && self.cloud.set_flags("", id, change).is_ok()).then_some((flag, on))
    }

    /// New mail, now and then twice the same, or a new draft.
    pub(super) fn arrive(&mut self) {
        let draft = self.drafts.filter(|_| self.extras.uploads.is_none() && self.dice(5) == 0);
        let to = draft.unwrap_or_else(|| {
            let ordinary: Vec<usize> = (0..self.pairs.len()).filter(|at| !self.is_special(*at)).collect();
            ordinary.choose(&mut self.random).copied().unwrap_or_default()
        });
        if self.has_another_name(to) {
            return;
        }
        let bytes = self.message_bytes(if draft.is_some() { "draft" } else { "mail" });
        let received = 1_790_000_000 + i64::from(self.dice(5));
        // A part of it is newer than the beginning of that day.
        let received = if self.extras.scope && self.dice(2) == 0 { received + 50_000 } else { received };
        let is_old = self.extras.scope && received < 1_790_035_200;
        let times = if draft.is_none() && self.dice(12) == 0 { 2 } else { 1 };
        for _ in 0..times {
            let is_read = self.dice(3) == 0;
            let new = NewMessage {
                received: Some(received),
                is_read,
                is_draft: draft.is_some(),
                ..NewMessage::mime(self.pairs[to].folder, bytes.clone())
            };
            let Ok(id) = self.cloud.add_message("", new) else { return };
            let hash = self.hash_of(&bytes);
            self.trace.line(format_args!("there arrives {id} in {to}: {hash}"));
            self.ledger.messages.push(Message {
                id,
                is_draft: draft.is_some(),
                is_old,
                spot: Spot::Box(to),
                flags: if is_read { Flags::SEEN } else { Flags::NONE },
                ..Message::new(hash)
            });
        }
    }

    /// All that is in the Maildirs, sorted.
    pub(super) fn files(&self) -> Vec<Seen> {
        let mut files = Vec::new();
        for (maildir, pair) in self.pairs.iter().enumerate() {
            // What is made in its place is hidden once it is mounted again.
            if self.rest.iter().any(|rest| matches!(rest, Rest::Mount(at) if *at == maildir)) {
                continue;
            }
            for place in [Place::New, Place::Cur] {
                let directory = pair.maildir.join(place.directory());
                let Ok(entries) = fs::read_dir(&directory) else { continue };
                let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
                names.sort();
                for name in names {
                    let Ok(bytes) = fs::read(directory.join(&name)) else { continue };
                    if let Some(name) = FileName::parse(&name) {
                        let (hash, raw) = (self.hash_of(&bytes), ContentHash::of(&bytes));
                        files.push(Seen { maildir, place, name, hash, raw });
                    }
                }
            }
        }
        files
    }

    pub(super) fn path(&self, seen: &Seen) -> PathBuf {
        self.directory(seen.maildir, seen.place).join(seen.name.on_disk())
    }

    pub(super) fn directory(&self, maildir: usize, place: Place) -> PathBuf {
        self.pairs[maildir].maildir.join(place.directory())
    }

    /// Somebody does something in the Maildirs.
    pub(super) fn act_here(&mut self) {
        let mut files = self.files();
        files.retain(|seen| self.texts.get(&seen.hash).is_none());
        let dice = self.dice(100);
        let Some(seen) = files.choose(&mut self.random).cloned() else {
            return if self.extras.mail { self.deliver_for_all() } else { self.deliver() };
        };
        let path = self.path(&seen);
        let others: Vec<usize> = (0..self.pairs.len())
            .filter(|at| *at != seen.maildir && !self.is_special(*at))
            .filter(|_| !self.is_unmounted())
            .collect();
        // Where everything goes to the cloud, a copy is a message of its own.
        let to = others.choose(&mut self.random).copied().filter(|_| !self.extras.mail);
        match (dice, to) {
            (38..48, _) => self.rename_here(&seen, &path, seen.name.flags | Flags::TRASHED),
            (48..52, _) if seen.name.flags.contains(Flags::TRASHED) => {
                self.rename_here(&seen, &path, seen.name.flags - Flags::TRASHED);
            }
            (52..57, _) => self.unlink(&seen, &path),
            (57..69, Some(to)) if !self.is_draft(&seen) => self.move_here(&seen, &path, to),
            (69..75, Some(to)) if !self.is_draft(&seen) => self.copy_then(&seen, &path, to),
            (75..79, Some(to)) if !self.is_draft(&seen) => self.link_then(&seen, &path, to),
            (79..85, _) => self.rename_by_an_indexer(&seen, &path),
            (85..88, _) if !self.is_draft(&seen) && !self.extras.mail => self.duplicate(&seen, &path),
            (88..94, _) if self.extras.mail => self.deliver_for_all(),
            (88..94, _) => self.deliver(),
            (94..97, _) => self.unmount(),
            _ => self.flag_here(&seen, &path),
        }
    }

    /// Whether a mailbox is for drafts, for what was sent, or for what was deleted.
    pub(super) fn is_special(&self, at: usize) -> bool {
        [self.drafts, self.sent, self.trash].contains(&Some(at))
    }

    fn is_draft(&self, seen: &Seen) -> bool {
        self.ledger.messages.iter().any(|message| message.is_draft && message.hash == seen.hash)
            || Some(seen.maildir) == self.drafts
    }

    /// A flag to be changed. The answer to a change doesn't name a mark of answering, so that a forgetful cloud is worse with it.
    pub(super) fn some_flag(&mut self) -> Flags {
        let other = if self.extras.forgetful { Flags::REPLIED } else { Flags::FLAGGED };
        [Flags::SEEN, other][self.dice(2) as usize]
    }

    fn flag_here(&mut self, seen: &Seen, path: &Path) {
        let flag = self.some_flag();
        self.rename_here(seen, path, seen.name.flags ^ flag);
    }

    /// Gives a file other flags, as a mail program does.
    fn rename_here(&mut self, seen: &Seen, path: &Path, flags: Flags) {
        let name = seen.name.with_flags(flags);
        let to = self.directory(seen.maildir, Place::Cur).join(name.on_disk());
        if to.exists() || fs::rename(path, &to).is_err() {
            return;
        }
        self.trace.line(format_args!("here {} in {} gets {flags}", seen.name.on_disk(), seen.maildir));
        let changed = flags ^ seen.name.flags;
        let is_deletion = (changed & flags).contains(Flags::TRASHED);
        let is_rescue = (changed - flags).contains(Flags::TRASHED);
        let deleted = if Some(seen.maildir) == self.trash { Spot::Nowhere } else { self.deleted_spot() };
        let ambiguous = self.ledger.is_ambiguous(&seen.hash);
        for message in self.ledger.of_content(seen.hash) {
            // A copy that is trashed before the program knows what it is of is a copy and no more.
            message.unsure |= ambiguous || is_deletion && message.copies > 0;
            message.is_kept &= !is_deletion;
            for flag in FLAGS.into_iter().filter(|flag| changed.contains(*flag)) {
                message.flagged_here.push((flag, flags.contains(flag)));
            }
            if is_deletion {
                message.put_here.push(deleted);
            }
            if is_rescue {
                message.put_here.push(Spot::Box(seen.maildir));
                message.unsure = true;
            }
        }
    }

    fn unlink(&mut self, seen: &Seen, path: &Path) {
        if fs::remove_file(path).is_err() {
            return;
        }
        self.trace.line(format_args!("here {} in {} is unlinked", seen.name.on_disk(), seen.maildir));
        if let Some(foreign) = self.ledger.foreign_mut(&seen.hash) {
            foreign.maildir = None;
        }
        let deleted = if Some(seen.maildir) == self.trash { Spot::Nowhere } else { self.deleted_spot() };
        let watched = self.watched;
        let half_moved = self.rest.iter().any(|rest| match rest {
            Rest::Trash { original, .. } | Rest::Unlink { original, .. } => original.hash == seen.hash,
            Rest::Mount(_)
            | Rest::Rewritten { .. }
            | Rest::MakeFolder(_)
            | Rest::MakeMaildir(_)
            | Rest::Wipe(_)
            | Rest::NameFolder(_)
            | Rest::Sent { .. } => false,
        });
        for message in self.ledger.of_content(seen.hash) {
            message.unsure = true;
            message.is_kept = false;
            if message.copies > 0 || half_moved {
                // The copy goes, and its original is trashed.
                message.copied_to.push(deleted);
            }
            // Where nobody sees it, it comes back.
            message.put_here.push(if watched { deleted } else { Spot::Box(seen.maildir) });
        }
    }

    /// Notes that the only file of a content was filed into another Maildir.
    fn note_move(&mut self, hash: ContentHash, to: usize) {
        if let Some(foreign) = self.ledger.foreign_mut(&hash) {
            foreign.maildir = Some(to);
        }
        let ambiguous = self.ledger.is_ambiguous(&hash);
        for message in self.ledger.of_content(hash) {
            message.unsure |= ambiguous;
            message.put_here.push(Spot::Box(to));
        }
    }

    fn move_here(&mut self, seen: &Seen, path: &Path, to: usize) {
        let target = self.directory(to, Place::Cur).join(seen.name.with_flags(seen.name.flags).on_disk());
        // Who moves what is trashed already wants two things at once.
        if seen.name.flags.contains(Flags::TRASHED) || target.exists() || fs::rename(path, &target).is_err() {
            return;
        }
        self.trace.line(format_args!("here {} moves from {} to {to}", seen.name.on_disk(), seen.maildir));
        self.note_move(seen.hash, to);
    }

    pub(super) fn fresh_name(&mut self, flags: Flags) -> FileName {
        self.serial += 1;
        FileName::new(BaseName::new(format!("1790000000.P1Q{}.reader", self.serial)), flags, "")
    }

    /// mutt's way of filing: a copy, and the original is flagged as trashed.
    fn copy_then(&mut self, seen: &Seen, path: &Path, to: usize) {
        if seen.name.flags.contains(Flags::TRASHED) || self.is_unmounted() {
            return;
        }
        let name = self.fresh_name(seen.name.flags);
        let target = self.directory(to, Place::Cur).join(name.on_disk());
        if fs::copy(path, &target).is_err() {
            return;
        }
        self.trace.line(format_args!("here {} is copied from {} to {to}", seen.name.on_disk(), seen.maildir));
        self.note_copy(seen.hash, to);
        self.rest.push(Rest::Trash { original: seen.clone(), to });
        self.perhaps_at_once();
    }

    fn link_then(&mut self, seen: &Seen, path: &Path, to: usize) {
        let target = self.directory(to, Place::Cur).join(seen.name.with_flags(seen.name.flags).on_disk());
        if seen.name.flags.contains(Flags::TRASHED) || target.exists() || fs::hard_link(path, &target).is_err() {
            return;
        }
        self.trace.line(format_args!("here {} is linked from {} to {to}", seen.name.on_disk(), seen.maildir));
        self.note_copy(seen.hash, to);
        self.rest.push(Rest::Unlink { original: seen.clone(), to });
        self.perhaps_at_once();
    }

    fn note_copy(&mut self, hash: ContentHash, to: usize) {
        if self.ledger.foreign_mut(&hash).is_some() {
            return self.adopt_foreign_copies(hash);
        }
        *self.ledger.copied.entry(hash).or_default() += 1;
        for message in self.ledger.of_content(hash) {
            message.copied_to.push(Spot::Box(to));
        }
    }

    pub(super) fn perhaps_at_once(&mut self) {
        if self.dice(3) > 0 {
            self.finish_one();
        }
    }

    /// Does the second half of something.
    pub(super) fn finish_one(&mut self) {
        if self.rest.is_empty() {
            return;
        }
        let at = self.dice(u32::try_from(self.rest.len()).unwrap_or(1)) as usize;
        let rest = self.rest.remove(at);
        self.finish(&rest);
    }

    /// A program finds its message again by its base name.
    pub(super) fn find_again(&self, original: &Seen) -> Option<Seen> {
        self.files().into_iter().find(|seen| {
            seen.maildir == original.maildir
                && seen.name.base_name == original.name.base_name
                && seen.hash == original.hash
        })
    }

    fn finish(&mut self, rest: &Rest) {
        match rest {
            Rest::Rewritten { original, trashes } => self.finish_rewriting(original, *trashes),
            Rest::MakeFolder(at) => self.make_folder(*at),
            Rest::Sent { bytes } => self.file_sent(bytes),
            Rest::MakeMaildir(at) => self.make_maildir(*at),
            Rest::Wipe(at) => self.wipe_more(*at),
            Rest::NameFolder(at) => self.name_folder(*at),
            Rest::Mount(at) => {
                let maildir = self.pairs[*at].maildir.clone();
                if maildir.exists() {
                    // What was made there meanwhile is hidden, as under a mount.
                    self.serial += 1;
                    let under = maildir.with_extension(format!("under{}", self.serial));
                    drop(fs::rename(&maildir, under));
                }
                let back = fs::rename(maildir.with_extension("away"), &maildir).is_ok();
                self.trace.line(format_args!("here Maildir {at} is mounted again: {back}"));
            }
            Rest::Trash { original, to } | Rest::Unlink { original, to } => {
                let found = self.find_again(original);
                let done = found.is_some_and(|found| {
                    let path = self.path(&found);
                    if let Rest::Unlink { .. } = rest {
                        return fs::remove_file(path).is_ok();
                    }
                    let name = found.name.with_flags(found.name.flags | Flags::TRASHED);
                    fs::rename(path, self.directory(found.maildir, Place::Cur).join(name.on_disk())).is_ok()
                });
                self.trace.line(format_args!("here the second half of {rest:?}: {done}"));
                if !done {
                    if self.ledger.foreign_mut(&original.hash).is_some() {
                        self.adopt_foreign_copies(original.hash);
                    }
                    return;
                }
                // Copies of a file that the cloud never had are no more the cloud's than that.
                let is_foreign = self.ledger.of_content(original.hash).next().is_none();
                if is_foreign && matches!(rest, Rest::Trash { .. }) {
                    // A file that the cloud never had stays where it is, flag or not.
                    return self.adopt_foreign_copies(original.hash);
                }
                if let Some(copies) = self.ledger.copied.get_mut(&original.hash) {
                    *copies = copies.saturating_sub(1);
                }
                let watched = self.watched;
                let from_trash = Some(original.maildir) == self.trash;
                for message in self.ledger.of_content(original.hash) {
                    if from_trash {
                        // Unless the copy is in its place, this was the end of it.
                        message.copied_to.push(Spot::Nowhere);
                    }
                    message.copies += 1;
                    // What is unlinked unseen, with a further name elsewhere, is a move all the same.
                    message.unsure |= !watched && matches!(rest, Rest::Unlink { .. });
                }
                self.note_move(original.hash, *to);
            }
        }
    }

    /// Two files of another program with the same content: nobody counts on how many there are.
    fn adopt_foreign_copies(&mut self, hash: ContentHash) {
        self.ledger.foreign.retain(|foreign| foreign.hash != hash);
        self.ledger.copied.insert(hash, 9);
    }

    /// An indexer gives the same file another name.
    pub(super) fn rename_by_an_indexer(&mut self, seen: &Seen, path: &Path) {
        let name = self.fresh_name(seen.name.flags);
        let target = self.directory(seen.maildir, Place::Cur).join(name.on_disk());
        if fs::rename(path, target).is_ok() {
            self.trace.line(format_args!(
                "here {} in {} becomes {}",
                seen.name.on_disk(),
                seen.maildir,
                name.on_disk()
            ));
        }
    }

    fn duplicate(&mut self, seen: &Seen, path: &Path) {
        let name = self.fresh_name(seen.name.flags - Flags::TRASHED);
        let target = self.directory(seen.maildir, Place::Cur).join(name.on_disk());
        if fs::copy(path, target).is_ok() {
            self.trace.line(format_args!("here {} in {} is duplicated", seen.name.on_disk(), seen.maildir));
            if self.ledger.foreign_mut(&seen.hash).is_some() {
                self.adopt_foreign_copies(seen.hash);
            } else {
                *self.ledger.copied.entry(seen.hash).or_default() += 1;
            }
        }
    }

    /// Another program delivers a message that the cloud doesn't have.
    fn deliver(&mut self) {
        let ordinary: Vec<usize> = (0..self.pairs.len()).filter(|at| !self.is_special(*at)).collect();
        let Some(to) = ordinary.choose(&mut self.random).copied() else { return };
        if self.is_unmounted() {
            return;
        }
        let bytes = self.message_bytes("local");
        let name = FileName::bare(self.fresh_name(Flags::NONE).base_name);
        let temporary = self.pairs[to].maildir.join("tmp").join(name.on_disk());
        let target = self.directory(to, Place::New).join(name.on_disk());
        if fs::write(&temporary, &bytes).and_then(|()| fs::rename(&temporary, &target)).is_ok() {
            let hash = self.hash_of(&bytes);
            self.trace.line(format_args!("here {} is delivered into {to}: {hash}", name.on_disk()));
            self.ledger.foreign.push(Foreign { hash, maildir: Some(to) });
        }
    }

    /// Somebody mounts everything that isn't.
    pub(super) fn mount_all(&mut self) {
        while let Some(at) = self.rest.iter().position(|rest| matches!(rest, Rest::Mount(_))) {
            let rest = self.rest.remove(at);
            self.finish(&rest);
        }
    }

    pub(super) fn is_unmounted(&self) -> bool {
        self.rest.iter().any(|rest| matches!(rest, Rest::Mount(_) | Rest::MakeMaildir(_) | Rest::Wipe(_)))
    }

    /// A Maildir's disk goes away.
    fn unmount(&mut self) {
        // Who has just copied something there waits for it.
        if !self.rest.is_empty() {
            return;
        }
        let at = self.dice(u32::try_from(self.pairs.len()).unwrap_or(1)) as usize;
        let maildir = self.pairs[at].maildir.clone();
        // Nobody knows a Maildir that was never there when the program ran.
        if self.watched
            && self.is_known
            && maildir.join(".cms-maildir").exists()
            && fs::rename(&maildir, maildir.with_extension("away")).is_ok()
        {
            self.ledger.unmounted = true;
            self.trace.line(format_args!("here Maildir {at} is unmounted"));
            self.rest.push(Rest::Mount(at));
        }
    }

    /// Everybody finishes what they began.
    pub(super) fn finish_all(&mut self) {
        while !self.rest.is_empty() {
            self.finish_one();
        }
    }

    pub(super) fn outcome_there(&self) -> BTreeMap<String, (Spot, Item)> {
        let Ok(state) = self.cloud.state("") else { return BTreeMap::new() };
        let mut found = BTreeMap::new();
        for message in state.messages() {
            let spot = self.spot_of(&message.folder);
            let Some(raw) = ContentHash::from_hex(&message.blake3_lf) else { continue };
            let hash = if self.extras.uploads.is_some() {
                let bytes = self.cloud.mime("", &message.id).unwrap_or_default();
                essence(String::from_utf8_lossy(&bytes).replace("\r\n", "\n").as_bytes())
            } else {
                raw
            };
            let mut flags = if message.is_read { Flags::SEEN } else { Flags::NONE };
            if message.flag == FlagStatus::Flagged {
                flags |= Flags::FLAGGED;
            }
            if matches!(message.verb, Some(102 | 103)) {
                flags |= Flags::REPLIED;
            }
            if spot != Spot::Nowhere {
                found.insert(message.id.clone(), (spot, Item { hash, raw, flags, trashed: false }));
            }
        }
        found
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
            self.texts.problems(&self.ledger, outcome, &mut problems);
        }
        problems
    }

    /// Takes what is for what was, once it was found right.
    pub(super) fn turn_the_page(&mut self, outcome: &Outcome) {
        self.ledger.turn_the_page(outcome);
        self.texts.turn_the_page(self.ledger.deleted, outcome);
        for text in &self.texts.0 {
            self.ledger.copied.remove(&text.hash);
        }
    }

    /// Which files there are, by inode and name: a run that does nothing leaves them alone.
    pub(super) fn names(&self) -> Vec<(u64, String)> {
        let inode = |path: &Path| fs::symlink_metadata(path).map(|metadata| metadata.ino()).unwrap_or_default();
        self.files().iter().map(|seen| (inode(&self.path(seen)), seen.name.on_disk())).collect()
    }
}
