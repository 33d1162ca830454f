//! What taking something back means: from entries of the journal and the trees of today to what has to be done. Pure.

use std::collections::BTreeMap;

use cms_engine::{FileKey, Flags, HashMap, MailboxId, MaildirId, RemoteId, RowId};
use cms_store::{Deed, Ended, Standing, Wanted};

use crate::history::Told;
use crate::sync::world::World;

/// Something to be done in order to take something back. Each is a wish: what follows from it is the planner's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Give a file's flags these values, where `mask` names them.
    Flags { row: RowId, mask: Flags, value: Flags },
    /// Move a message to another mailbox; its file follows.
    Move { row: RowId, to: MailboxId },
    /// Move a file to another Maildir; no mailbox leads there, so that the cloud isn't concerned.
    MoveFile { row: RowId, to: MaildirId },
    /// Bring a message back that was removed from both sides.
    BringBack(Standing),
    /// Take a file out again that only the Maildir has.
    RemoveFile(FileKey),
}

/// An intent with the message that it is for, and the entry that it takes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) number: u64,
    pub(crate) message: Standing,
    pub(crate) intent: Intent,
}

/// What to do, and what can't be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TakingBack {
    pub(crate) steps: Vec<Step>,
    /// The entries' numbers, each with the reason.
    pub(crate) impossible: Vec<(u64, &'static str)>,
    /// How many of the entries are arrivals, which aren't taken back.
    pub(crate) arrivals: usize,
}

/// Finds what makes each message again what it was before the first of these entries that concerns it.
pub(crate) fn take_back(entries: &[Told], world: &World) -> TakingBack {
    let mut found = TakingBack::default();
    let done: Vec<&Told> = entries.iter().filter(|told| told.entry.ended == Ended::Done).collect();
    for told in by_message(&done).into_values() {
        let row = told.iter().filter_map(|told| told.entry.row).find(|row| world.synced.get(*row).is_some());
        match (row, told.last()) {
            (Some(row), _) => change_back(row, &told, world, &mut found),
            // What was removed and put back is there again, if only here.
            (None, Some(last)) if last.entry.deed == Deed::RestoredHere => {
                take_back_file(last, told.len() > 1, world, &mut found);
            }
            (None, _) => bring_back(&told, world, &mut found),
        }
    }
    found.steps.sort_by_key(|step| step.number);
    found.impossible.sort_unstable();
    found
}

/// The entries of each message. One that was removed and brought back has got another row, and its id in the cloud tells that
/// it is the same; where it has none, its file does.
fn by_message<'a>(entries: &[&'a Told]) -> BTreeMap<usize, Vec<&'a Told>> {
    let mut by_message: BTreeMap<usize, Vec<&Told>> = BTreeMap::new();
    let mut known: HashMap<Name<'_>, usize> = HashMap::default();
    for (at, told) in entries.iter().enumerate() {
        if matches!(told.entry.deed, Deed::RestoredThere | Deed::FoundEdited | Deed::Uploaded | Deed::UpdatedThere) {
            continue;
        }
        let standings = [told.message.as_ref(), told.entry.before.as_ref(), told.entry.after.standing()];
        let mut names: Vec<Name<'_>> = told.entry.row.map(Name::Row).into_iter().collect();
        for standing in standings.into_iter().flatten() {
            names.extend(standing.remote.as_ref().map(Name::Remote));
            if told.entry.row.is_none() || told.is_removal() {
                names.push(Name::File(&standing.file));
            }
        }
        if names.is_empty() {
            continue;
        }
        let message = names.iter().find_map(|name| known.get(name).copied()).unwrap_or(at);
        for name in names {
            known.insert(name, message);
        }
        by_message.entry(message).or_default().push(told);
    }
    by_message
}

/// What an entry calls a message by.
#[derive(PartialEq, Eq, Hash)]
enum Name<'a> {
    Row(RowId),
    Remote(&'a RemoteId),
    File(&'a FileKey),
}

/// A file that was put back for the Maildir only.
fn take_back_file(told: &Told, was_removed: bool, world: &World, found: &mut TakingBack) {
    let Some(message) = &told.message else { return };
    if was_removed {
        return;
    }
    if world.local.files.contains_key(&message.file) {
        let intent = Intent::RemoveFile(message.file.clone());
        found.steps.push(Step { number: told.number, message: message.clone(), intent });
    } else {
        found.impossible.push((told.number, "its file isn't there any more"));
    }
}

/// A message that both sides have: its flags and its place.
fn change_back(row: RowId, told: &[&Told], world: &World, found: &mut TakingBack) {
    let (Some(first), Some(now)) = (told.first(), world.synced.get(row)) else { return };
    let last = told.last().unwrap_or(first).number;
    let mut push = |intent| {
        let message = Standing::from(now);
        found.steps.push(Step { number: last, message, intent });
    };
    let brought_back = matches!(first.entry.wanted, Wanted::Undo | Wanted::Restore);
    if first.entry.before.is_none() && first.entry.deed == Deed::Delivered {
        if brought_back {
            // What was brought back goes again, by the way on which the user's deletions go.
            push(Intent::Flags { row, mask: Flags::TRASHED, value: Flags::TRASHED });
            return;
        }
        found.arrivals += 1;
    }
    let Some(then) = first.entry.before.as_ref().or(first.message.as_ref()) else { return };
    if let Some(replaced) = told.iter().find(|told| told.entry.deed == Deed::Replaced) {
        let why = "the cloud has the draft's new version and can't be given the old one; `cms restore` puts that into the Maildir";
        found.impossible.push((replaced.number, why));
    }
    let mask = told.iter().filter_map(|told| {
        let (before, after) = (told.entry.before.as_ref()?, told.entry.after.flags()?);
        let concerns_flags = !matches!(told.entry.deed, Deed::DeletedThere);
        concerns_flags.then_some((before.flags.local ^ after.local) - Flags::TRASHED)
    });
    let mask = mask.fold(Flags::NONE, |all, some| all | some);
    let here = world.local.files.get(&now.file).map(|file| file.flags);
    if let Some(here) = here
        && !((here ^ then.flags.local) & mask).is_empty()
    {
        push(Intent::Flags { row, mask, value: then.flags.local & mask });
    }
    let moved = told.iter().any(|told| {
        let (before, after) = (told.entry.before.as_ref(), told.entry.after.standing());
        matches!(told.entry.deed, Deed::MovedThere | Deed::DeletedThere | Deed::MovedHere)
            || before.zip(after).is_some_and(|(before, after)| {
                before.mailbox != after.mailbox || before.file.maildir != after.file.maildir
            })
    });
    let mailbox = world.cloud.messages.get(&now.remote).map_or(now.mailbox, |message| message.mailbox);
    match then.mailbox {
        Some(to) if moved && to != mailbox => push(Intent::Move { row, to }),
        _ if moved && then.file.maildir != now.file.maildir => {
            push(Intent::MoveFile { row, to: then.file.maildir });
        }
        _ => {}
    }
}

/// A message that neither side has any more.
fn bring_back(told: &[&Told], world: &World, found: &mut TakingBack) {
    let Some(last) = told.iter().rev().find(|told| told.is_removal()) else {
        if let Some(last) = told.last() {
            let why = if told.iter().any(|told| told.leaves_the_file()) {
                "only the Maildir has the message since"
            } else {
                "the message is gone since; `cms restore` brings it back"
            };
            found.impossible.push((last.number, why));
        }
        return;
    };
    // Where the deletion put it in the cloud is what the deletion's answer said.
    let deletion = told.iter().rev().find(|told| told.entry.deed == Deed::DeletedThere);
    let remote = deletion.and_then(|told| told.entry.after.standing()).and_then(|after| after.remote.clone());
    let first = told.iter().find_map(|told| told.entry.before.as_ref());
    let Some(then) = first.or(last.entry.before.as_ref()) else { return };
    let mut message = then.clone();
    message.remote = remote.or_else(|| last.entry.before.as_ref().and_then(|before| before.remote.clone()));
    message.flags.local = message.flags.local - Flags::TRASHED;
    let back = message.remote.as_ref().is_some_and(|id| world.synced.by_remote(id).is_some())
        || world.local.files.contains_key(&message.file);
    if back {
        found.impossible.push((last.number, "the message is here again already"));
        return;
    }
    let intent = Intent::BringBack(message.clone());
    found.steps.push(Step { number: last.number, message, intent });
}
