//! Who is who: which file and which message belong to each row, and which to none.

use std::collections::{HashMap, HashSet};

use crate::plan::{Busy, Policy, Scope};
use crate::{
    Absence, CloudTree, ContentHash, FileKey, Flags, LocalTree, MaildirId, RemoteId, Row, RowId, SyncedTree,
    UnixSeconds,
};

/// A row with what was found of it on both sides.
pub(super) struct Found<'a> {
    pub(super) row: RowId,
    pub(super) base: &'a Row,
    pub(super) here: Here,
    pub(super) there: There,
}

/// What became of a row's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Here {
    /// Its Maildir can't be read, so nothing is known.
    Unreadable,
    /// It isn't there.
    Absent(Absence),
    /// It is there, under that name.
    At(FileKey),
    /// The user filed a copy under that name and trashed the old one, which is still there.
    Copied { to: FileKey, old: FileKey },
}

/// What became of a row's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum There {
    /// Its mailbox wasn't listed to the end, or isn't configured, so that its absence means nothing.
    Unlisted,
    /// It isn't there; but a message that isn't downloaded yet may be it, under another id.
    Perhaps,
    /// It isn't there.
    Absent,
    /// It is there, under that id.
    At(RemoteId),
}

#[derive(Default)]
pub(super) struct Matched<'a> {
    pub(super) rows: Vec<Found<'a>>,
    /// Messages without a row that are the same as a file without a row.
    pub(super) adopted: Vec<(RemoteId, FileKey)>,
    /// Messages without a row, to be fetched or delivered.
    pub(super) arrived: Vec<RemoteId>,
    /// Files without a row that match nothing.
    pub(super) local_only: Vec<FileKey>,
}

pub(super) fn match_up<'a>(
    cloud: &CloudTree,
    local: &LocalTree,
    synced: &'a SyncedTree,
    policy: &Policy<'_>,
    scope: &Scope<'_>,
    busy: &Busy,
) -> Matched<'a> {
    let mut rows = rows_in_scope(synced, scope);
    rows.retain(|(_, row)| policy.mailboxes.contains(&row.mailbox) || cloud.messages.contains_key(&row.remote));
    // A row whose message is in transfer or being changed isn't planned for; its file is nobody else's all the same.
    rows.retain(|(_, row)| !busy.ids.contains(&row.remote));
    rows.sort_unstable_by_key(|(id, _)| *id);

    let mut strangers = Strangers::new(files_without_row(local, synced, scope), local);
    let mut newcomers = Newcomers::new(messages_without_row(cloud, synced, policy, scope, busy), cloud);

    let mut matched = Matched::default();
    for (id, row) in rows {
        let here = find_file(row, local, &mut strangers);
        let there = find_message(row, cloud, &mut newcomers);
        matched.rows.push(Found { row: id, base: row, here, there });
    }
    for id in newcomers.left() {
        match find_twin_file(&id, cloud, policy, &mut strangers) {
            Some(file) => matched.adopted.push((id, file)),
            None => matched.arrived.push(id),
        }
    }
    matched.local_only = strangers.left();
    matched
}

fn rows_in_scope<'a>(synced: &'a SyncedTree, scope: &Scope<'_>) -> Vec<(RowId, &'a Row)> {
    match scope {
        Scope::All => synced.iter().collect(),
        Scope::Only(touched) => {
            let mut ids = touched.rows.clone();
            ids.extend(touched.ids.iter().filter_map(|id| synced.by_remote(id)));
            ids.extend(touched.files.iter().filter_map(|file| synced.by_file(file)));
            ids.into_iter().filter_map(|id| Some((id, synced.get(id)?))).collect()
        }
    }
}

fn files_without_row(local: &LocalTree, synced: &SyncedTree, scope: &Scope<'_>) -> Vec<FileKey> {
    let mut files: Vec<FileKey> = match scope {
        Scope::All => local.files.keys().filter(|file| synced.by_file(file).is_none()).cloned().collect(),
        Scope::Only(touched) => {
            let known = |file: &&FileKey| synced.by_file(file).is_none() && local.files.contains_key(file);
            touched.files.iter().filter(known).cloned().collect()
        }
    };
    files.retain(|file| local.readable.contains(&file.maildir));
    files.sort_unstable();
    files
}

fn messages_without_row(
    cloud: &CloudTree,
    synced: &SyncedTree,
    policy: &Policy<'_>,
    scope: &Scope<'_>,
    busy: &Busy,
) -> Vec<RemoteId> {
    let wanted = |id: &RemoteId| {
        synced.by_remote(id).is_none()
            && !busy.ids.contains(id)
            && cloud.messages.get(id).is_some_and(|message| policy.mailboxes.contains(&message.mailbox))
    };
    let mut ids: Vec<RemoteId> = match scope {
        Scope::All => cloud.messages.keys().filter(|id| wanted(id)).cloned().collect(),
        Scope::Only(touched) => touched.ids.iter().filter(|id| wanted(id)).cloned().collect(),
    };
    // Newest first, so that the mail that people wait for is there before their archive.
    ids.sort_unstable_by(|a, b| {
        let received = |id: &RemoteId| cloud.messages.get(id).map(|message| message.received);
        received(b).cmp(&received(a)).then_with(|| a.cmp(b))
    });
    ids
}

/// Files without a row, found by content. Each is given away once.
struct Strangers<'a> {
    local: &'a LocalTree,
    order: Vec<FileKey>,
    free: HashSet<FileKey>,
    by_hash: HashMap<ContentHash, Vec<FileKey>>,
}

impl<'a> Strangers<'a> {
    fn new(files: Vec<FileKey>, local: &'a LocalTree) -> Self {
        let mut by_hash: HashMap<ContentHash, Vec<FileKey>> = HashMap::new();
        for file in &files {
            if let Some(hash) = local.files.get(file).and_then(|found| found.hash) {
                by_hash.entry(hash).or_default().push(file.clone());
            }
        }
        Self { local, free: files.iter().cloned().collect(), order: files, by_hash }
    }

    /// Gives away the free file with that content for which `rank` is lowest; `rank` may refuse a file.
    fn take(&mut self, hash: &ContentHash, rank: impl Fn(&FileKey, Flags, u64) -> Option<u8>) -> Option<FileKey> {
        let best = self
            .by_hash
            .get(hash)?
            .iter()
            .filter(|file| self.free.contains(*file))
            .filter_map(|file| {
                let found = self.local.files.get(file)?;
                Some((rank(file, found.flags, found.inode)?, file))
            })
            .min()
            .map(|(_, file)| file.clone())?;
        self.free.remove(&best);
        Some(best)
    }

    fn left(self) -> Vec<FileKey> {
        self.order.into_iter().filter(|file| self.free.contains(file)).collect()
    }
}

/// Messages without a row, found by content and by time. Each is given away once.
struct Newcomers<'a> {
    cloud: &'a CloudTree,
    order: Vec<RemoteId>,
    free: HashSet<RemoteId>,
    by_hash: HashMap<ContentHash, Vec<RemoteId>>,
    unread_times: HashSet<UnixSeconds>,
}

impl<'a> Newcomers<'a> {
    fn new(ids: Vec<RemoteId>, cloud: &'a CloudTree) -> Self {
        let mut by_hash: HashMap<ContentHash, Vec<RemoteId>> = HashMap::new();
        let mut unread_times = HashSet::new();
        for id in &ids {
            let Some(message) = cloud.messages.get(id) else { continue };
            match message.hash {
                Some(hash) => by_hash.entry(hash).or_default().push(id.clone()),
                None if message.blocked => {}
                None => {
                    unread_times.insert(message.received);
                }
            }
        }
        Self { cloud, free: ids.iter().cloned().collect(), order: ids, by_hash, unread_times }
    }

    fn take(&mut self, row: &Row) -> Option<RemoteId> {
        let best = self
            .by_hash
            .get(&row.hash)?
            .iter()
            .filter(|id| self.free.contains(*id))
            .min_by_key(|id| {
                self.cloud
                    .messages
                    .get(*id)
                    .map(|message| (message.mailbox != row.mailbox, message.received != row.received))
            })
            .cloned()?;
        self.free.remove(&best);
        Some(best)
    }

    fn left(&self) -> Vec<RemoteId> {
        self.order.iter().filter(|id| self.free.contains(*id)).cloned().collect()
    }
}

fn find_file(row: &Row, local: &LocalTree, strangers: &mut Strangers<'_>) -> Here {
    if !local.readable.contains(&row.file.maildir) {
        return Here::Unreadable;
    }
    if let Some(file) = local.files.get(&row.file) {
        let newly_trashed = file.flags.contains(Flags::TRASHED) && !row.flags.local.contains(Flags::TRASHED);
        if newly_trashed {
            // mutt's save with maildir_trash: first the copy, then the Trash flag on the old file.
            let copy = strangers.take(&row.hash, |_, flags, _| (!flags.contains(Flags::TRASHED)).then_some(0));
            if let Some(to) = copy {
                return Here::Copied { to, old: row.file.clone() };
            }
        }
        return Here::At(row.file.clone());
    }
    // A rename keeps the inode, a move between Maildirs may keep the name, a copy keeps nothing but the content.
    let renamed = strangers.take(&row.hash, |file, _, inode| {
        Some(match () {
            () if row.inode != 0 && inode == row.inode && file.maildir == row.file.maildir => 0,
            () if file.base_name == row.file.base_name => 1,
            () if row.inode != 0 && inode == row.inode => 2,
            () => 3,
        })
    });
    match renamed {
        Some(file) => Here::At(file),
        None => Here::Absent(local.vanished.get(&row.file).copied().unwrap_or(Absence::Unexplained)),
    }
}

fn find_message(row: &Row, cloud: &CloudTree, newcomers: &mut Newcomers<'_>) -> There {
    if cloud.messages.contains_key(&row.remote) {
        return There::At(row.remote.clone());
    }
    if !cloud.complete.contains(&row.mailbox) {
        return There::Unlisted;
    }
    match newcomers.take(row) {
        Some(id) => There::At(id),
        None if newcomers.unread_times.contains(&row.received) => There::Perhaps,
        None => There::Absent,
    }
}

fn find_twin_file(
    id: &RemoteId,
    cloud: &CloudTree,
    policy: &Policy<'_>,
    strangers: &mut Strangers<'_>,
) -> Option<FileKey> {
    let message = cloud.messages.get(id)?;
    let hash = message.hash?;
    let maildir: MaildirId = policy.router.maildir_for(message.mailbox, &hash, message.flags)?;
    let own = crate::BaseName::for_message(message.received, id, policy.host);
    strangers.take(&hash, |file, _, _| (file.maildir == maildir).then_some(u8::from(file.base_name != own)))
}
