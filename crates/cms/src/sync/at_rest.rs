//! How everything stands while nothing runs: what the last process wrote down. Nothing is changed, and nobody is asked.

use std::collections::BTreeMap;
use std::path::Path;

use cms_engine::{HashSet, MailboxId, RemoteId};
use cms_maildir::Maildir;
use cms_store::{Database, StoreError};

use crate::control::{ComparisonReport, HeldReport, MailboxReport, MaildirReport, MaildirState, Report};
use crate::sync::local::mark_key;
use crate::sync::scope;
use crate::sync::world::{ONLY_HERE, rfc3339};

/// The key of the held deletions in the database, as JSON.
pub(super) const HELD: &str = "held deletions";

/// The key of what the last comparison of everything found, as JSON.
pub(super) const COMPARISON: &str = "comparison";

/// What the last comparison of everything found, if there was one.
pub(super) fn comparison(database: &Database) -> Result<Option<ComparisonReport>, StoreError> {
    Ok(database.meta(COMPARISON)?.and_then(|json| serde_json::from_str(&json).ok()))
}

/// The key of the time at which a mailbox was last heard to the end, in seconds since 1970.
pub(super) fn synced_at(mailbox: MailboxId) -> String {
    format!("mailbox {} heard at", mailbox.0)
}

/// Adds what the state directory tells to a report that has the accounts, with their mailboxes, and the Maildirs.
///
/// `account_names` are what the accounts are called in the database.
pub(crate) fn complete(report: &mut Report, state_dir: &Path, account_names: &[String]) -> Result<(), StoreError> {
    let Some(database) = Database::open_read_only(state_dir)? else { return Ok(()) };
    let known = database.mailboxes()?;
    let sizes: BTreeMap<_, _> =
        database.mailbox_sizes()?.into_iter().map(|(mailbox, all, waiting)| (mailbox, (all, waiting))).collect();
    report.compared = comparison(&database)?;
    let held: Vec<HeldReport> =
        database.meta(HELD)?.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
    let mut troubles: BTreeMap<_, Vec<String>> = BTreeMap::new();
    database.load_cloud(|record| {
        if let Some(why) = record.trouble {
            let line = format!("the message received {} (id {}): {why}", rfc3339(record.received), record.remote_id);
            troubles.entry(record.mailbox).or_default().push(line);
        }
    })?;
    for (account, (report, name)) in report.accounts.iter_mut().zip(account_names).enumerate() {
        for mailbox in &mut report.mailboxes {
            mailbox.held =
                held.iter().filter(|held| held.account == account && held.mailbox == mailbox.name).cloned().collect();
            let Some(stored) = known.iter().find(|known| known.account == *name && known.name == mailbox.name) else {
                continue;
            };
            (mailbox.messages, mailbox.waiting) = sizes.get(&stored.id).copied().unwrap_or_default();
            mailbox.synced_at = database.meta(&synced_at(stored.id))?.and_then(|at| at.parse().ok());
            scope_of(mailbox, stored.id, &database)?;
            mailbox.not_downloadable = troubles.remove(&stored.id).unwrap_or_default();
        }
    }
    maildirs(&mut report.maildirs, &database)
}

/// Adds what stays in the cloud for its age, and what stays here though it is gone.
fn scope_of(report: &mut MailboxReport, mailbox: MailboxId, database: &Database) -> Result<(), StoreError> {
    let said = |key: &str| database.meta(key).map(|value| value.filter(|value| !value.is_empty()));
    report.since = said(&scope::since_key(mailbox))?.and_then(|since| since.parse().ok());
    let keeps = said(&scope::keeps_key(mailbox))?.is_some();
    let kept_before = scope::kept_before(database, mailbox)?;
    if report.since.is_none() && !keeps && kept_before.is_empty() {
        return Ok(());
    }
    let mut linked: HashSet<RemoteId> = HashSet::default();
    let mut there: HashSet<RemoteId> = HashSet::default();
    database.load_synced(|row| linked.extend(row.remote_id))?;
    let mut unread = 0;
    database.load_cloud(|record| {
        let is_old = report.since.is_some_and(|since| record.received.0 < since);
        if record.mailbox == mailbox && is_old && !linked.contains(&record.remote_id) {
            report.left_out += 1;
            unread += u64::from(record.hash.is_none());
        }
        there.insert(record.remote_id);
    })?;
    report.waiting = report.waiting.saturating_sub(unread);
    database.load_synced(|row| {
        let is_gone = row.mailbox == mailbox && row.remote_id.is_some_and(|id| !there.contains(&id));
        let stays = keeps || kept_before.contains(&row.row_id.0);
        report.kept += u64::from(is_gone && stays && scope::can_be_kept(row.cloud_flags));
    })
}

fn maildirs(reports: &mut [MaildirReport], database: &Database) -> Result<(), StoreError> {
    let known = database.maildirs()?;
    let only_here = database.reported_without_row()?;
    let mut rows: BTreeMap<_, u64> = BTreeMap::new();
    database.load_synced(|row| *rows.entry(row.maildir).or_default() += 1)?;
    for report in reports {
        let path = Path::new(&report.path);
        let id = known.iter().find(|(_, known)| known == path).map(|(id, _)| *id);
        let held_mail = id.is_some_and(|id| rows.contains_key(&id));
        let found = Maildir::open(path).and_then(|maildir| Ok((maildir.mark()?, maildir.scan()?)));
        let Ok((mark, scan)) = found else {
            report.state = if held_mail { MaildirState::Missing } else { MaildirState::New };
            continue;
        };
        let known = id.map(|id| database.meta(&mark_key(id))).transpose()?.flatten().filter(|mark| !mark.is_empty());
        let replaced = held_mail && known.is_some() && mark != known;
        report.state = if replaced { MaildirState::Replaced } else { MaildirState::Known };
        let is_noted = |name: &str| {
            only_here.iter().any(|note| Some(note.maildir) == id && note.what == ONLY_HERE && note.base_name == name)
        };
        report.local_only = scan.entries.iter().filter(|entry| is_noted(entry.name.base_name.as_str())).count() as u64;
    }
    Ok(())
}

/// A mailbox of which nothing is known yet.
pub(crate) fn unknown_mailbox(name: &str) -> MailboxReport {
    MailboxReport {
        name: name.to_owned(),
        messages: 0,
        waiting: 0,
        left_out: 0,
        since: None,
        kept: 0,
        activity: None,
        synced_at: None,
        next_poll_at: None,
        trouble: None,
        not_downloadable: Vec::new(),
        held: Vec::new(),
    }
}
