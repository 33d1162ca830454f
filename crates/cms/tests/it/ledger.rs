//! What was done to the mail on both sides, and what must have become of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use simcloud::{Deletion, FlagChange, FlagStatus, Knobs, MessageState, NewMessage, Options};

use crate::seeds::Random;
use crate::world::World;

/// Each Maildir with its folder in the cloud.
pub(crate) const PAIRS: [(&str, &str); 2] = [("INBOX", "Inbox"), ("Projects", "Projects")];

/// Downloads that a process may have under way: eight requests for up to twenty messages each.
const DOWNLOADS: u64 = 8 * 20;

/// Two mailboxes, each with a Maildir of its own.
pub(crate) const TWO_MAILBOXES: &str = r#"
inbox = MailDir("INBOX")
projects = MailDir("Projects")
Office365("inbox", account)
Office365("Projects", account)
def place(msg):
    return projects if msg.mailbox == "Projects" else inbox
cfg.direct_message = place
cfg.max_deletions = 1000
"#;

/// Content, by the hash of its LF form.
type Hash = String;

/// A file in a Maildir.
struct Here {
    maildir: &'static str,
    path: PathBuf,
    base: String,
    letters: String,
    hash: Hash,
}

/// What must have become of the mail once both sides are the same.
#[derive(Default)]
pub(crate) struct Ledger {
    /// How many messages of each content there must be at least and may be at the most.
    counts: BTreeMap<Hash, (usize, usize)>,
    /// Flags that somebody set or cleared.
    flags: BTreeMap<(Hash, char), bool>,
    /// Folders that somebody moved a message to.
    places: BTreeMap<Hash, &'static str>,
    /// What something was done to since both sides were the same: the outcome of two deeds is not this test's subject.
    touched: BTreeSet<Hash>,
    /// What both sides had when they were last the same.
    settled: BTreeSet<Hash>,
    /// Downloads beyond the first that kills account for, by message.
    again: BTreeMap<String, u64>,
    /// All messages that ever were drafts. Each change of a draft may cost a download.
    drafts: BTreeSet<String>,
    kills: u64,
    /// Downloads that the disk may have undone.
    lost: u64,
    made: u64,
}

impl Ledger {
    pub(crate) fn new(world: &World) -> Self {
        let mut ledger = Self::default();
        for message in synced_messages(world) {
            ledger.add(&message.blake3_lf, 1);
        }
        ledger
    }

    fn add(&mut self, hash: &str, count: usize) {
        let counts = self.counts.entry(hash.to_owned()).or_default();
        counts.0 += count;
        counts.1 += count;
    }

    fn take(&mut self, hash: &str) {
        let counts = self.counts.entry(hash.to_owned()).or_default();
        counts.0 = counts.0.saturating_sub(1);
        counts.1 = counts.1.saturating_sub(1);
    }

    fn is_single(&self, hash: &str) -> bool {
        self.counts.get(hash).is_some_and(|(_, most)| *most == 1)
    }

    /// Does something to the mail in the cloud, so many times.
    pub(crate) fn change_there(&mut self, world: &World, random: &mut Random, times: usize) {
        for _ in 0..times {
            let all = synced_messages(world);
            let free: Vec<_> = all.iter().filter(|message| !self.touched.contains(&message.blake3_lf)).collect();
            let folder = PAIRS[random.below(2)].1;
            let add = |new: NewMessage| world.cloud.add_message("", new).unwrap();
            let kind = random.below(12);
            if kind < 4 || free.is_empty() {
                self.made += 1;
                let text = format!(
                    "Subject: message {}\nMessage-ID: <{}@kills>\n\nText {}\n",
                    self.made,
                    self.made,
                    random.next()
                );
                let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
                let new = NewMessage {
                    received: Some(1_700_000_000 + i64::try_from(random.below(50)).unwrap()),
                    ..NewMessage::mime(folder, text)
                };
                let twins = 1 + usize::from(kind == 1);
                for _ in 0..twins {
                    let id = add(NewMessage { is_draft: kind == 2, ..new.clone() });
                    if kind == 2 {
                        self.drafts.insert(id);
                    }
                }
                self.add(&hash, twins);
                self.touched.insert(hash);
                continue;
            }
            let message = free[random.below(free.len())];
            let (id, hash) = (message.id.as_str(), message.blake3_lf.as_str());
            self.touched.insert(hash.to_owned());
            match kind {
                4 if !message.is_draft => {
                    let mime = world.cloud.mime("", id).unwrap();
                    add(NewMessage {
                        received: Some(message.received_seconds),
                        verbatim: true,
                        ..NewMessage::mime(folder, mime.to_vec())
                    });
                    self.add(hash, 1);
                }
                5 | 6 => self.flag_there(world, message, random.chance(50)),
                7 => {
                    let how = if random.chance(50) { Deletion::Trash } else { Deletion::Purge };
                    world.cloud.delete_message("", id, how).unwrap();
                    self.take(hash);
                }
                8 | 9 => {
                    let target = if message.folder == PAIRS[0].1 { PAIRS[1].1 } else { PAIRS[0].1 };
                    world.cloud.move_message("", id, target).unwrap();
                    if self.is_single(hash) {
                        self.places.insert(hash.to_owned(), target);
                    }
                }
                _ => {
                    let drafts: Vec<_> = free.iter().filter(|message| message.is_draft).collect();
                    if drafts.is_empty() {
                        continue;
                    }
                    let draft = drafts[random.below(drafts.len())];
                    self.made += 1;
                    let text = format!("Subject: draft {}\n\nEdited {}\n", self.made, random.next());
                    world.cloud.edit_draft("", &draft.id, text.as_bytes()).unwrap();
                    self.take(&draft.blake3_lf);
                    self.touched.insert(draft.blake3_lf.clone());
                    // It isn't edited again before both sides are the same: a version whose delivery was cut off would stay
                    // here as an old draft.
                    let edited = blake3::hash(text.as_bytes()).to_hex().to_string();
                    self.add(&edited, 1);
                    self.touched.insert(edited);
                }
            }
        }
    }

    fn flag_there(&mut self, world: &World, message: &MessageState, read: bool) {
        let single = self.is_single(&message.blake3_lf);
        let (letter, set, change) = if read {
            ('S', !message.is_read, FlagChange { is_read: Some(!message.is_read), ..FlagChange::default() })
        } else {
            let set = message.flag != FlagStatus::Flagged;
            let flag = if set { FlagStatus::Flagged } else { FlagStatus::NotFlagged };
            ('F', set, FlagChange { flag: Some(flag), ..FlagChange::default() })
        };
        world.cloud.set_flags("", &message.id, change).unwrap();
        if single {
            self.flags.insert((message.blake3_lf.clone(), letter), set);
        }
    }

    /// Does something to the files in the Maildirs, so many times.
    pub(crate) fn change_here(&mut self, world: &World, random: &mut Random, times: usize) {
        for _ in 0..times {
            let Some(file) = self.pick_file(world, random) else { return };
            let toggled = |letter: char| {
                let mut letters: Vec<char> = file.letters.chars().filter(|other| *other != letter).collect();
                let set = letters.len() == file.letters.len();
                letters.extend(set.then_some(letter));
                letters.sort_unstable();
                (letters.into_iter().collect::<String>(), set)
            };
            match random.below(8) {
                kind @ 0..=3 => {
                    let letter = if kind % 2 == 0 { 'F' } else { 'S' };
                    let (letters, set) = toggled(letter);
                    if !rename(&file, &place(world, file.maildir, &file.base, &letters)) {
                        continue;
                    }
                    if self.is_single(&file.hash) {
                        self.flags.insert((file.hash.clone(), letter), set);
                        // The other flag changes in the cloud meanwhile.
                        let there = synced_messages(world).into_iter().find(|message| message.blake3_lf == file.hash);
                        if let Some(message) = there.filter(|_| random.chance(50)) {
                            self.flag_there(world, &message, letter == 'F');
                        }
                    }
                }
                4 | 5 => {
                    let (letters, _) = toggled('T');
                    if rename(&file, &place(world, file.maildir, &file.base, &letters)) {
                        self.take(&file.hash);
                    }
                }
                kind => {
                    let (maildir, folder) = if file.maildir == PAIRS[0].0 { PAIRS[1] } else { PAIRS[0] };
                    let moved = if kind == 6 {
                        rename(&file, &place(world, maildir, &file.base, &file.letters))
                    } else {
                        self.save_as_mutt_does(world, random, &file, maildir)
                    };
                    if moved && self.is_single(&file.hash) {
                        self.places.insert(file.hash.clone(), folder);
                    }
                }
            }
            self.touched.insert(file.hash);
        }
    }

    /// A copy under a name of its own, then the old file is removed, or gets the Trash flag (`maildir_trash`).
    fn save_as_mutt_does(&mut self, world: &World, random: &mut Random, file: &Here, maildir: &str) -> bool {
        let Ok(bytes) = fs::read(&file.path) else { return false };
        self.made += 1;
        let base = format!("1700000000.R{}.mutt", self.made);
        let temporary = world.path(maildir).join("tmp").join(&base);
        let copy = place(world, maildir, &base, &file.letters);
        fs::write(&temporary, bytes).unwrap();
        fs::rename(temporary, &copy).unwrap();
        let done = if random.chance(50) {
            fs::remove_file(&file.path).is_ok()
        } else {
            rename(file, &place(world, file.maildir, &file.base, &format!("{}T", file.letters)))
        };
        if !done {
            // The program renamed it meanwhile; mutt would look again, we don't.
            fs::remove_file(copy).unwrap();
        }
        done
    }

    /// Removes a file. A daemon that sees it tells the cloud; if it is killed before, the file comes back.
    pub(crate) fn remove_here(&mut self, world: &World, random: &mut Random) {
        if let Some(file) = self.pick_file(world, random)
            && fs::remove_file(&file.path).is_ok()
        {
            self.touched.insert(file.hash.clone());
            if let Some(counts) = self.counts.get_mut(&file.hash) {
                counts.0 = counts.0.saturating_sub(1);
            }
        }
    }

    fn pick_file(&self, world: &World, random: &mut Random) -> Option<Here> {
        let mut files = all_files(world);
        files.retain(|file| self.settled.contains(&file.hash) && !self.touched.contains(&file.hash));
        files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        (!files.is_empty()).then(|| files.swap_remove(random.below(files.len())))
    }

    /// Notes what a kill left: a message that was not stored yet may be downloaded once more.
    pub(crate) fn note_kill(&mut self, world: &World) {
        self.kills += 1;
        let messages = synced_messages(world);
        for message in &messages {
            let (start, rest) = message.blake3_lf.split_at(2);
            let content = world.path(".cms/messages").join(start).join(rest);
            let mark = world.path(".cms/incoming").join(blake3::hash(message.id.as_bytes()).to_hex().as_str());
            // Of a message with twins the content tells nothing: another one's download may have brought it.
            let is_single = messages.iter().filter(|other| other.blake3_lf == message.blake3_lf).count() == 1;
            if !(is_single && content.exists()) && fs::symlink_metadata(mark).is_err() {
                *self.again.entry(message.id.clone()).or_default() += 1;
            }
        }
    }

    /// Notes that the disk failed: the power was cut, or it refused something. What both sides had when they were last
    /// the same is there; what came since may have to be downloaded once more.
    pub(crate) fn note_loss(&mut self, world: &World) {
        for message in synced_messages(world) {
            if !self.settled.contains(&message.blake3_lf) || self.touched.contains(&message.blake3_lf) {
                *self.again.entry(message.id).or_default() += 1;
                self.lost += 1;
            }
        }
    }

    /// Checks that both sides are the same and that all is as it must be, and begins a new page.
    pub(crate) fn converged(&mut self, world: &World) {
        for (maildir, folder) in PAIRS {
            world.assert_same(maildir, folder);
        }
        let messages = synced_messages(world);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for message in &messages {
            *counts.entry(&message.blake3_lf).or_default() += 1;
        }
        for (hash, (least, most)) in &self.counts {
            let count = counts.get(hash.as_str()).copied().unwrap_or_default();
            assert!((*least..=*most).contains(&count), "{count} messages {hash} instead of {least} to {most}");
        }
        assert!(counts.keys().all(|hash| self.counts.contains_key(*hash)), "messages that nobody made");
        let files = all_files(world);
        for ((hash, letter), set) in &self.flags {
            for file in files.iter().filter(|file| file.hash == *hash) {
                assert_eq!(file.letters.contains(*letter), *set, "flag {letter} of {}", file.path.display());
            }
        }
        for (hash, folder) in &self.places {
            for message in messages.iter().filter(|message| message.blake3_lf == *hash) {
                assert_eq!(message.folder, *folder, "the place of {hash}");
            }
        }
        self.check_downloads(world);
        for empty in ["INBOX/tmp", "Projects/tmp"] {
            let left: Vec<_> =
                fs::read_dir(world.path(empty)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(left.is_empty(), "left in {empty}: {left:?}");
        }
        self.counts = counts.into_iter().map(|(hash, count)| (hash.to_owned(), (count, count))).collect();
        self.settled = self.counts.keys().cloned().collect();
        self.flags.clear();
        self.places.clear();
        self.touched.clear();
    }

    fn check_downloads(&self, world: &World) {
        let (mut all, mut first) = (0, 0);
        for (id, count) in world.cloud.downloads("").iter().filter(|(id, _)| !self.drafts.contains(*id)) {
            let most = 1 + self.again.get(id).copied().unwrap_or_default();
            assert!(*count <= most, "{id} was downloaded {count} times, at most {most} were needed");
            all += count;
            first += 1;
        }
        let most = first + DOWNLOADS * self.kills + self.lost;
        assert!(all <= most, "{all} downloads of {first} messages, at most {most} were needed");
    }
}

/// A world of two mailboxes: the first holds `least` messages or up to half as many more, the other a third of that.
pub(crate) fn small_world(random: &mut Random, least: usize) -> (World, Ledger) {
    let world = unconfigured_world(random, least);
    world.configure(TWO_MAILBOXES);
    let ledger = Ledger::new(&world);
    (world, ledger)
}

/// The same without the configuration of two mailboxes.
pub(crate) fn unconfigured_world(random: &mut Random, least: usize) -> World {
    let messages = least + random.below(least / 2);
    let knobs = Knobs { latency_ms: 2 + random.below(4) as u64, ..Knobs::default() };
    let folders = vec![("Projects".to_owned(), messages / 3)];
    World::with(Options { messages, folders, seed: random.next(), size_scale: 0.2, knobs, ..Options::default() })
}

/// The end of a world: one start sets everything right, and the next has nothing to do.
pub(crate) fn finish(world: &World, ledger: &mut Ledger) {
    world.sync();
    ledger.converged(world);
    let last = world.sync();
    assert!(last.stderr.contains("nothing to do"), "{}", last.stderr);
    assert_eq!(fs::read_dir(world.path(".cms/incoming")).unwrap().count(), 0, "marks of downloads are left");
    assert!(world.cloud.counters().violations.is_empty(), "{:#?}", world.cloud.counters().violations);
}

fn synced_messages(world: &World) -> Vec<MessageState> {
    let mut folders = world.cloud.state("").unwrap().folders;
    folders.retain(|folder| PAIRS.iter().any(|(_, path)| folder.path == *path));
    folders.into_iter().flat_map(|folder| folder.messages).collect()
}

fn all_files(world: &World) -> Vec<Here> {
    let mut files = Vec::new();
    for (maildir, _) in PAIRS {
        for name in world.files(maildir) {
            let path = world.path(maildir).join(&name);
            let Ok(bytes) = fs::read(&path) else { continue };
            let file_name = name.split_once('/').unwrap().1;
            let (base, letters) = file_name.split_once(":2,").unwrap_or((file_name, ""));
            let (base, letters) = (base.to_owned(), letters.to_owned());
            files.push(Here { maildir, path, base, letters, hash: blake3::hash(&bytes).to_hex().to_string() });
        }
    }
    files
}

fn place(world: &World, maildir: &str, base: &str, letters: &str) -> PathBuf {
    world.path(maildir).join("cur").join(format!("{base}:2,{letters}"))
}

/// Whether the file was there to be renamed.
fn rename(file: &Here, to: &PathBuf) -> bool {
    fs::rename(&file.path, to).is_ok()
}
