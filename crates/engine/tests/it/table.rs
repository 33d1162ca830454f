//! The tables of the planner's documentation, compared with what is done: every row with every column under every policy.

use std::collections::BTreeSet;

use cms_engine::{
    Absence, Busy, CloudBytes, FileKey, Flags, MailboxId, MaildirId, Op, RemoteId, Role, Row, RowId, Scope, Side,
    Sides, Takes, UnixSeconds, Word,
};

use crate::documentation::Table;
use crate::world::{File, Message, World, flags, hash, key};

const WITH_A_BASE: &str = "What is decided for a message that both sides had";
const WITHOUT_A_BASE: &str = "What is decided for a message that has no base";
const POLICIES: &str = "What a policy changes";
const WORDS: &str = "The words";
const ONE_FLAG: &str = "One flag";
const TWO_FLAGS: &str = "Two flags of which the cloud keeps one";
const UPLOADS: &str = "What is uploaded";

/// What may have become of the file, with a base and without.
const HERE: [&str; 16] = [
    "unchanged",
    "flags",
    "renamed",
    "renamed, flags",
    "moved",
    "moved, flags",
    "moved alike",
    "moved by copy",
    "copied",
    "copied, then trashed",
    "trashed",
    "seen to go",
    "unexplained",
    "settling",
    "edited",
    "unreadable",
];
const HERE_AT_FIRST: [&str; 8] =
    ["absent", "the same", "flags", "another name", "trashed", "another Maildir", "other content", "unreadable"];

/// What may have become of the message, with a base and without.
const THERE: [&str; 12] = [
    "unchanged",
    "flags",
    "moved",
    "moved, flags",
    "edited",
    "edit unread",
    "edit blocked",
    "rebuilt",
    "another id",
    "gone",
    "perhaps gone",
    "unlisted",
];
const THERE_AT_FIRST: [&str; 6] = ["present", "with flags", "unread", "blocked", "listed in part", "absent"];

/// The mailbox where the message lives, the one that the cloud moves it to, the one that the user moves it to, and the
/// one for what is deleted. Mailbox n leads to Maildir n.
const HOME: u32 = 0;
const THEIRS: u32 = 1;
const OURS: u32 = 2;
const DELETED: u32 = 3;

/// What a policy can say, by the names in the documentation.
const SETTINGS: [&str; 7] = [
    "the Maildir wins at the first meeting",
    "no flag can be told",
    "no flag is reported",
    "deleted messages have a mailbox",
    "the router doesn't know",
    "the mailbox keeps",
    "the message isn't brought",
];

/// What it can say of deletions; one of these, or nothing.
const OF_DELETIONS: [&str; 4] =
    ["no deletion is allowed", "the user means the deletion", "the user takes it back", "the folder was removed"];

fn set(world: &mut World, setting: &str) {
    match setting {
        "the Maildir wins at the first meeting" => world.first_meeting = Side::Local,
        "no flag can be told" => world.settable_flags = Flags::NONE,
        "no flag is reported" => world.readable_flags = Flags::NONE,
        "deleted messages have a mailbox" => world.deleted = Some(MailboxId(DELETED)),
        "the router doesn't know" => world.routes.clear(),
        "the mailbox keeps" => world.keeps = world.mailboxes.iter().copied().collect(),
        // All of a cell's messages are received before.
        "the message isn't brought" => world.since = Some(2),
        "no deletion is allowed" => world.max_deletions = Some(0),
        "the user means the deletion" => {
            world.max_deletions = Some(0);
            world.words = rows(world).map(|row| (row, Word::Delete)).collect();
        }
        "the user takes it back" => {
            world.max_deletions = Some(0);
            world.words = rows(world).map(|row| (row, Word::Keep)).collect();
        }
        "the folder was removed" => world.of_removed_folder = rows(world).collect(),
        other => panic!("nobody can set `{other}`"),
    }
}

fn rows(world: &World) -> impl Iterator<Item = RowId> + use<> {
    world.synced.iter().map(|(row, _)| row).collect::<Vec<_>>().into_iter()
}

/// The word for a step, as the documentation has it.
fn word(op: &Op, world: &World) -> &'static str {
    match op {
        Op::Fetch { .. } => "fetch",
        Op::Deliver { .. } => "deliver",
        Op::Replace { .. } => "replace",
        Op::Rename { from, base, .. } if from.maildir != base.file.maildir => "move",
        Op::Rename { from, base, .. } => {
            let before = world.disk[from].flags;
            if (before - base.flags.local).contains(Flags::TRASHED) { "untrash" } else { "rename" }
        }
        Op::Remove { row: Some(_), trashed: false, .. } => "remove",
        Op::Remove { row: Some(_), trashed: true, .. } => "clear",
        Op::Remove { row: None, .. } => "drop",
        Op::SetCloudFlags { .. } => "tell",
        Op::MoveInCloud { deletes: false, .. } => "refile",
        Op::MoveInCloud { deletes: true, .. } | Op::DeleteInCloud { .. } => "delete",
        Op::Upload { .. } => "upload",
        Op::UpdateDraft { .. } => "update",
        Op::Record { .. } => "record",
        Op::Forget { .. } => "forget",
    }
}

/// Carries out plan after plan until one is empty. Returns the words for all steps, and for what remains then.
fn play(world: &mut World) -> Vec<&'static str> {
    let mut words = Vec::new();
    for _ in 0..12 {
        let plan = world.plan(&Scope::All, &Busy::default());
        if plan.ops.is_empty() {
            let remains = [
                ("held", plan.held.is_empty()),
                ("wait", plan.waiting.is_empty()),
                ("told", plan.edited.is_empty()),
                ("keep", plan.local_only.is_empty()),
            ];
            words.extend(remains.into_iter().filter(|(_, none)| !none).map(|(word, _)| word));
            return words;
        }
        for op in &plan.ops {
            words.push(word(op, world));
            let row = world.carry_out(op);
            // Who delivers a file knows its inode.
            if let (Op::Deliver { base, .. } | Op::Replace { base, .. }, Some(row)) = (op, row) {
                let mut known = world.synced.get(row).unwrap().clone();
                known.inode = world.disk[&base.file].inode;
                world.synced.put(row, known);
            }
        }
    }
    panic!("no rest: {words:?}");
}

fn file(content: u32, inode: u64, letters: &str) -> File {
    File { flags: flags(letters), content, inode }
}

fn message(letters: &str) -> Message {
    Message {
        mailbox: MailboxId(HOME),
        flags: flags(letters),
        content: 1,
        received: 1,
        known: true,
        blocked: false,
        revision: 0,
        listed: true,
    }
}

/// One message that both sides had; a draft where only drafts can be what the column says.
fn known(here: &str, there: &str) -> World {
    let mut world = World::new(4);
    let plain = if there.starts_with("edit") { "D" } else { "" };
    let with = |letters: &str| format!("{plain}{letters}");
    world.synced.insert(Row {
        remote: RemoteId::new("id"),
        mailbox: MailboxId(HOME),
        file: key(HOME, "name"),
        flags: Sides { local: flags(plain), cloud: flags(plain) },
        hash: hash(1),
        cloud_bytes: CloudBytes::Same,
        inode: 5,
        received: UnixSeconds(1),
        revision: (plain == "D").then(|| "0".into()),
    });
    let seen = message(plain);
    let elsewhere = Message { mailbox: MailboxId(THEIRS), ..seen.clone() };
    let edited = Message { content: 2, revision: 1, ..seen.clone() };
    let cloud = match there {
        "unchanged" => Some(("id", seen)),
        "flags" => Some(("id", message("F"))),
        "moved" => Some(("id", elsewhere)),
        "moved, flags" => Some(("id", Message { flags: flags("F"), ..elsewhere })),
        "edited" => Some(("id", edited)),
        "edit unread" => Some(("id", Message { known: false, ..edited })),
        "edit blocked" => Some(("id", Message { known: false, blocked: true, ..edited })),
        "rebuilt" => Some(("id", Message { content: 2, ..seen })),
        "another id" => Some(("another", seen)),
        "gone" => None,
        "perhaps gone" => Some(("unread", Message { content: 3, known: false, blocked: true, ..seen })),
        "unlisted" => {
            world.complete.remove(&MailboxId(HOME));
            None
        }
        other => panic!("nobody can make the column `{other}`"),
    };
    world.cloud.extend(cloud.map(|(id, message)| (RemoteId::new(id), message)));

    let (own, copy) = (key(HOME, "name"), (key(OURS, "copy"), file(1, 6, plain)));
    let absence = |absence| (vec![], Some(absence));
    let (files, vanished) = match here {
        "unchanged" => (vec![(own, file(1, 5, plain))], None),
        "flags" => (vec![(own, file(1, 5, &with("S")))], None),
        "renamed" => (vec![(key(HOME, "other"), file(1, 5, plain))], None),
        "renamed, flags" => (vec![(key(HOME, "other"), file(1, 5, &with("S")))], None),
        "moved" => (vec![(key(OURS, "name"), file(1, 5, plain))], None),
        "moved, flags" => (vec![(key(OURS, "name"), file(1, 5, &with("S")))], None),
        "moved alike" => (vec![(key(THEIRS, "name"), file(1, 5, plain))], None),
        "moved by copy" => (vec![copy], Some(Absence::Observed)),
        "copied" => (vec![(own, file(1, 5, plain)), copy], None),
        "copied, then trashed" => (vec![(own, file(1, 5, &with("T"))), copy], None),
        "trashed" => (vec![(own, file(1, 5, &with("T")))], None),
        "seen to go" => absence(Absence::Observed),
        "unexplained" => (vec![], None),
        "settling" => absence(Absence::Settling),
        "edited" => (vec![(own, file(9, 7, plain))], None),
        "unreadable" => {
            world.readable.remove(&MaildirId(HOME));
            (vec![(own, file(1, 5, plain))], None)
        }
        other => panic!("nobody can make the row `{other}`"),
    };
    world.disk.extend(files);
    world.vanished.extend(vanished.map(|absence| (key(HOME, "name"), absence)));
    world
}

/// One message, or one file, or both, of which nothing is known yet.
fn unknown(here: &str, there: &str) -> World {
    let mut world = World::new(4);
    let cloud = match there {
        "present" => Some(message("")),
        "with flags" => Some(message("F")),
        "unread" => Some(Message { known: false, ..message("") }),
        "blocked" => Some(Message { known: false, blocked: true, ..message("") }),
        "listed in part" => {
            world.complete.remove(&MailboxId(HOME));
            Some(message(""))
        }
        "absent" => None,
        other => panic!("nobody can make the column `{other}`"),
    };
    world.cloud.extend(cloud.map(|message| (RemoteId::new("id"), message)));
    let own: FileKey = key(HOME, "name");
    let file = match here {
        "absent" => None,
        "the same" => Some((own, file(1, 5, ""))),
        "flags" => Some((own, file(1, 5, "S"))),
        "another name" => Some((key(HOME, "other"), file(1, 5, ""))),
        "trashed" => Some((own, file(1, 5, "T"))),
        "another Maildir" => Some((key(OURS, "name"), file(1, 5, ""))),
        "other content" => Some((own, file(9, 5, ""))),
        "unreadable" => {
            world.readable.remove(&MaildirId(HOME));
            Some((own, file(1, 5, "")))
        }
        other => panic!("nobody can make the row `{other}`"),
    };
    world.disk.extend(file);
    world
}

/// One line of the table of policies: where a policy is in force, these steps take the place of those.
struct Change {
    setting: String,
    /// The rows and the columns that it concerns; all of them if there are none.
    rows: Vec<String>,
    columns: Vec<String>,
    from: Vec<String>,
    to: Vec<String>,
}

impl Change {
    fn all() -> Vec<Self> {
        let table = Table::under(POLICIES);
        assert_eq!(table.columns, ["local", "cloud", "instead of", "is done"]);
        let names =
            |cell: &str| cell.split(';').map(|name| name.trim().to_owned()).filter(|name| name != "any").collect();
        let change = |(setting, cells): (String, Vec<String>)| Self {
            setting,
            rows: names(&cells[0]),
            columns: names(&cells[1]),
            from: words(&cells[2]),
            to: words(&cells[3]),
        };
        table.rows.into_iter().map(change).collect()
    }

    /// Puts the one in the place of the other, wherever that is. Returns whether it was there.
    fn apply(&self, row: &str, column: &str, steps: &mut Vec<String>) -> bool {
        let concerns = |names: &[String], name: &str| names.is_empty() || names.iter().any(|other| other == name);
        if !concerns(&self.rows, row) || !concerns(&self.columns, column) {
            return false;
        }
        let mut found = false;
        let mut at = 0;
        while at + self.from.len() <= steps.len() {
            if steps[at..at + self.from.len()] == self.from {
                steps.splice(at..at + self.from.len(), self.to.iter().cloned());
                at += self.to.len();
                found = true;
            } else {
                at += 1;
            }
        }
        found
    }
}

/// The words of a cell; `–` is none of them.
fn words(cell: &str) -> Vec<String> {
    cell.split_whitespace().filter(|word| *word != "–").map(str::to_owned).collect()
}

fn names(all: impl IntoIterator<Item = impl AsRef<str>>) -> BTreeSet<String> {
    all.into_iter().map(|name| name.as_ref().to_owned()).collect()
}

/// Every combination of what a policy can say.
fn policies() -> impl Iterator<Item = Vec<&'static str>> {
    (0..1_u32 << SETTINGS.len()).flat_map(|bits| {
        let some = SETTINGS.into_iter().enumerate().filter(move |(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| name);
        let of_deletions = OF_DELETIONS.into_iter().map(Some).chain([None]);
        of_deletions.map(move |name| some.clone().chain(name).collect())
    })
}

/// What came of comparing.
#[derive(Default)]
struct Comparison {
    tried: usize,
    /// The cells that are wrong, with how much of a policy it takes to see that.
    wrong: Vec<(usize, String)>,
    /// The words that were expected anywhere.
    words: BTreeSet<String>,
    /// The lines of the table of policies that changed something.
    changes: BTreeSet<usize>,
}

impl Comparison {
    /// Tries every cell of a table, which must have just these rows and columns, under every policy.
    fn of(&mut self, heading: &str, rows: &[&str], columns: &[&str], make: impl Fn(&str, &str) -> World) {
        let table = Table::under(heading);
        assert_eq!(table.columns, columns, "the columns under `{heading}`");
        assert_eq!(table.rows.iter().map(|(row, _)| row).collect::<Vec<_>>(), rows, "the rows under `{heading}`");
        let changes = Change::all();
        for ((here, there), cell) in table.by_name() {
            for policy in policies() {
                let mut expected = words(&cell);
                for (number, change) in changes.iter().enumerate() {
                    if policy.contains(&change.setting.as_str()) && change.apply(&here, &there, &mut expected) {
                        self.changes.insert(number);
                    }
                }
                let mut world = make(&here, &there);
                for setting in &policy {
                    set(&mut world, setting);
                }
                let found = play(&mut world);
                self.tried += 1;
                if found != expected {
                    let what = format!("{here} × {there}, {policy:?}: {found:?}, not {expected:?}");
                    self.wrong.push((policy.len(), what));
                }
                self.words.extend(expected);
            }
        }
    }
}

#[test]
fn every_cell_of_the_documentation_is_what_is_done_under_every_policy() {
    let mut compared = Comparison::default();
    compared.of(WITH_A_BASE, &HERE, &THERE, known);
    compared.of(WITHOUT_A_BASE, &HERE_AT_FIRST, &THERE_AT_FIRST, unknown);
    let Comparison { tried, mut wrong, words, changes } = compared;
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {tried} are wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(40)]);
    let cells = HERE.len() * THERE.len() + HERE_AT_FIRST.len() * THERE_AT_FIRST.len();
    assert_eq!(tried, (cells * (OF_DELETIONS.len() + 1)) << SETTINGS.len());
    assert_eq!(words, names(Table::under(WORDS).rows.iter().map(|(word, _)| word)), "the words used, and explained");
    let documented = Change::all();
    assert_eq!(names(documented.iter().map(|change| &change.setting)), names(SETTINGS.iter().chain(&OF_DELETIONS)));
    for (number, change) in documented.iter().enumerate() {
        assert!(changes.contains(&number), "`{}` never changes {:?}", change.setting, change.from);
    }
}

#[test]
fn the_table_of_one_flag_is_what_is_done() {
    let table = Table::under(ONE_FLAG);
    assert_eq!(table.columns, ["changed here", "changed there", "changed on both"]);
    let mut tried = BTreeSet::new();
    for ((cloud, who), expected) in table.by_name() {
        // Set, and cleared.
        for base in ["", "F"] {
            let other = if base.is_empty() { "F" } else { "" };
            let (here, there) = match who.as_str() {
                "changed here" => (other, base),
                "changed there" => (base, other),
                _ => (other, other),
            };
            let mut world = one(base, here, there);
            let none = Flags::NONE;
            (world.readable_flags, world.settable_flags) = match cloud.as_str() {
                "reports and takes" => (flags("F"), flags("F")),
                "only reports" => (flags("F"), none),
                "only takes" => (none, flags("F")),
                "does neither with" => (none, none),
                other => panic!("no cloud `{other}`"),
            };
            play(&mut world);
            let (here, there) = flags_of(&world);
            let changed = |flags: Flags| flags == self::flags(other);
            let found = match (changed(here), changed(there)) {
                (true, true) => "both",
                (true, false) => "here",
                (false, true) => "there",
                (false, false) => "none",
            };
            assert_eq!(found, expected, "{cloud}, {who}, `{base}` before");
        }
        tried.insert(cloud);
    }
    assert_eq!(tried.len(), 4);
}

#[test]
fn the_table_of_two_flags_is_what_is_done() {
    let table = Table::under(TWO_FLAGS);
    let letters = |text: &str| if text == "–" { String::new() } else { text.to_owned() };
    assert_eq!(names(&table.columns), names(["–", "P", "R"]));
    let rows: Vec<String> = ["–", "P", "R"]
        .into_iter()
        .flat_map(|base| ["–", "P", "R", "PR"].map(|here| format!("{base}, then {here}")))
        .collect();
    assert_eq!(table.rows.iter().map(|(row, _)| row.clone()).collect::<Vec<_>>(), rows);
    for ((row, there), expected) in table.by_name() {
        let (base, here) = row.split_once(", then ").unwrap();
        let mut world = one(&letters(base), &letters(here), &letters(&there));
        play(&mut world);
        let show = |flags: Flags| if flags.is_empty() { "–".to_owned() } else { flags.to_string() };
        let (here, there_now) = flags_of(&world);
        assert_eq!(format!("{} / {}", show(here), show(there_now)), expected, "`{row}` × `{there}`");
    }
}

/// One message with these flags before, here and there.
fn one(base: &str, here: &str, there: &str) -> World {
    let mut world = known("unchanged", "unchanged");
    let row = world.synced.by_remote(&RemoteId::new("id")).unwrap();
    let mut before = world.synced.get(row).unwrap().clone();
    before.flags = Sides { local: flags(base), cloud: flags(base) };
    world.synced.put(row, before);
    world.disk.get_mut(&key(HOME, "name")).unwrap().flags = flags(here);
    world.cloud.get_mut(&RemoteId::new("id")).unwrap().flags = flags(there);
    world
}

fn flags_of(world: &World) -> (Flags, Flags) {
    (world.disk[&key(HOME, "name")].flags, world.cloud[&RemoteId::new("id")].flags)
}

/// What becomes of a file without a row, in the words of the table.
fn upload(world: &mut World) -> &'static str {
    let own = key(HOME, "name");
    let plan = world.plan(&Scope::All, &Busy::default());
    match &plan.ops[..] {
        [Op::Upload { file, draft: true, .. }] if *file == own => "upload as a draft",
        [Op::Upload { file, draft: false, .. }] if *file == own => "upload",
        [] if plan.local_only == [own.clone()] => {
            if world.takes.get(&MailboxId(HOME)).is_none_or(|takes| takes.role != Role::Sent) {
                return "stays, told";
            }
            world.cloud.insert(RemoteId::new("own"), message(""));
            play(world);
            let joined = world.synced.by_remote(&RemoteId::new("own")) == world.synced.by_file(&own)
                && world.synced.by_file(&own).is_some();
            if joined && world.disk.len() == 1 {
                "stays until the cloud's copy comes, and joins it"
            } else {
                "is doubled"
            }
        }
        _ => "something else",
    }
}

#[test]
fn the_table_of_uploads_is_what_is_done_under_every_policy() {
    let table = Table::under(UPLOADS);
    assert_eq!(table.columns, ["the mailbox takes nothing", "takes drafts", "takes everything"]);
    let rows = [
        "marked as a draft (D)",
        "in a Maildir to which folders for drafts alone lead",
        "in a Maildir to which a folder of sent mail leads",
        "any other",
    ];
    assert_eq!(table.rows.iter().map(|(row, _)| row).collect::<Vec<_>>(), rows);
    for (row, cells) in &table.rows {
        for (column, cell) in table.columns.iter().zip(cells) {
            // Of a file that no mailbox leads to, and of a copy that isn't brought, the table doesn't speak.
            let others = ["the router doesn't know", "the message isn't brought"];
            for policy in policies().filter(|policy| !others.iter().any(|other| policy.contains(other))) {
                // The role of the mailbox, and of one that leads to the same Maildir.
                let (letters, role, beside) = match row.as_str() {
                    "marked as a draft (D)" => ("D", Role::Other, Role::Other),
                    "in a Maildir to which folders for drafts alone lead" => ("", Role::Drafts, Role::Drafts),
                    "in a Maildir to which a folder of sent mail leads" => ("", Role::Sent, Role::Other),
                    _ => ("", Role::Other, Role::Drafts),
                };
                let mut world = World::new(4);
                for setting in &policy {
                    set(&mut world, setting);
                }
                let (drafts, others) = (column != "the mailbox takes nothing", column == "takes everything");
                world.takes.insert(MailboxId(HOME), Takes { drafts, others, role });
                world.takes.insert(MailboxId(THEIRS), Takes { drafts, others, role: beside });
                world.routes.insert(MailboxId(THEIRS), MaildirId(HOME));
                world.disk.insert(key(HOME, "name"), file(1, 5, letters));
                let expected = if cell == "the same" { &cells[0] } else { cell };
                assert_eq!(upload(&mut world), *expected, "{row} × {column}, {policy:?}");
            }
        }
    }
}

#[test]
fn without_a_base_nothing_is_ever_deleted() {
    for here in HERE_AT_FIRST {
        for there in THERE_AT_FIRST {
            for policy in policies() {
                let mut world = unknown(here, there);
                for setting in &policy {
                    set(&mut world, setting);
                }
                let (messages, files) = (world.cloud.len(), world.disk.clone());
                play(&mut world);
                assert_eq!(world.cloud.len(), messages, "{here} × {there}, {policy:?}");
                let stays = |(file, was): (&FileKey, &File)| {
                    world.disk.get(file).is_some_and(|is| is.content == was.content && is.inode == was.inode)
                };
                assert!(files.iter().all(stays), "{here} × {there}, {policy:?}");
            }
        }
    }
}
