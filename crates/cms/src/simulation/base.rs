//! What the program has written down, compared with what is: the tree of what both sides agreed on, and that of the cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cms_engine::Flags;
use cms_store::Database;

use super::ledger::{FLAGS, Spot};
use super::people::People;

/// Everything in the database of a program that has come to rest, and ended, which isn't so.
///
/// # Errors
///
/// What keeps the database from being read.
pub(super) fn problems(state_dir: &Path, people: &People) -> Result<Vec<String>, String> {
    let told = |error: cms_store::StoreError| format!("the database can't be read: {error}");
    let database = Database::open_read_only(state_dir).map_err(told)?.ok_or("there is no database")?;
    let folder_at = |name: &str| people.pairs.iter().position(|pair| pair.folder == name);
    let mailboxes = database.mailboxes().map_err(told)?;
    let mailboxes: BTreeMap<_, _> =
        mailboxes.into_iter().filter_map(|mailbox| Some((mailbox.id, folder_at(&mailbox.name)?))).collect();
    let maildir_at = |path: &Path| people.pairs.iter().position(|pair| pair.maildir == path);
    let maildirs = database.maildirs().map_err(told)?;
    let maildirs: BTreeMap<_, _> =
        maildirs.into_iter().filter_map(|(id, path)| Some((id, maildir_at(&path)?))).collect();
    let keeps = |at: usize| people.ledger.keeping.contains(&at);
    let known = FLAGS.into_iter().fold(Flags::NONE, |all, flag| all | flag);
    let (there, here) = (people.outcome_there(), people.files());
    let mut problems = Vec::new();

    let mut listed = BTreeSet::new();
    let mut troubled = BTreeSet::new();
    let check_cloud = |record: cms_store::CloudRecord| {
        let id = record.remote_id.as_str().to_owned();
        let at = mailboxes.get(&record.mailbox).copied().map(Spot::Box);
        let is = there.get(&id).map(|(spot, item)| (Some(*spot), item.flags));
        if is != Some((at, record.flags & known)) {
            problems.push(format!("the cloud's tree has {id} in {at:?} with {}, and it is {is:?}", record.flags));
        }
        if record.trouble.is_some() {
            troubled.insert(id.clone());
        }
        listed.insert(id);
    };
    database.load_cloud(check_cloud).map_err(told)?;

    let mut linked = BTreeSet::new();
    let check_row = |row: cms_store::SyncedRecord| {
        let id = row.remote_id.map(|id| id.as_str().to_owned());
        let box_at = mailboxes.get(&row.mailbox).copied();
        let at = box_at.map(Spot::Box);
        let is = id.as_ref().and_then(|id| there.get(id)).map(|(spot, item)| (Some(*spot), item.flags));
        // What is kept here though it went there is still known by its id, in case that it comes back, and its file is its user's.
        let is_kept = id.is_some() && is.is_none_or(|(spot, _)| spot != at) && box_at.is_some_and(keeps);
        let files: Vec<_> = here
            .iter()
            .filter(|file| Some(&file.maildir) == maildirs.get(&row.maildir) && file.name.base_name == row.base_name)
            .map(|file| (file.name.flags & known, file.raw == row.hash))
            .collect();
        // A user may have given one file two names that differ in their flags alone.
        let is_as_told = |(flags, is_same): &(Flags, bool)| *is_same && (is_kept || *flags == row.local_flags & known);
        if !files.iter().any(is_as_told) {
            let (name, flags) = (row.base_name, row.local_flags);
            problems.push(format!("the base has {name} with {flags}, and of that are here: {files:?}"));
        }
        let Some(id) = id else { return };
        // What went with a folder waits for a word of its user, which nobody gives any more.
        let is_held = people.extras.folders && is.is_none();
        // What couldn't be downloaded may be the same message under another id.
        let is_perhaps_another = is.is_none() && !troubled.is_empty();
        let is_excused = is_kept || is_held || is_perhaps_another;
        if is != Some((at, row.cloud_flags & known)) && !is_excused {
            problems.push(format!("the base has {id} in {at:?} with {}, and it is {is:?}", row.cloud_flags));
        }
        if !linked.insert(id.clone()) {
            problems.push(format!("the base has {id} twice"));
        }
    };
    database.load_synced(check_row).map_err(told)?;

    let is_old = |id: &String| people.ledger.messages.iter().any(|message| message.id == *id && message.is_old);
    for (id, (spot, _)) in &there {
        // What is left in the cloud for its age is known by its id alone.
        // One that couldn't be downloaded may be there as a file all the same, which is known to be its own once that works.
        let is_linked = linked.contains(id) || troubled.contains(id);
        if matches!(spot, Spot::Box(_)) && !is_old(id) && !(listed.contains(id) && is_linked) {
            problems.push(format!("{id} is in {spot:?}, and in no tree"));
        }
    }
    Ok(problems)
}
