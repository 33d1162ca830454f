//! Who is who: which file and which message belong to each row, and which to none.

mod newcomers;
mod strangers;

use newcomers::Newcomers;
use strangers::{Strangers, known_in_the_cloud_as};

use crate::plan::decide::draft_edited;
use crate::plan::{Busy, Policy, Readiness, Role, Scope, Takes, Word};
use crate::{
    Absence, BaseName, CloudMessage, CloudTree, ContentHash, FileKey, Flags, HashMap, HashSet, LocalFile, LocalTree,
    MailboxId, MaildirId, MessageId, RemoteId, Row, RowId, SyncedTree, UnixSeconds,
};

/// A row with what was found of it on both sides.
pub(super) struct Found<'a> {
    pub(super) row: RowId,
    pub(super) base: &'a Row,
    pub(super) here: Here,
    pub(super) there: There,
    /// A file without a row that is the draft's new version in the cloud, delivered by a step that nobody noted: somebody may have
    /// given it another name since.
    pub(super) version: Option<FileKey>,
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
    /// Some mailbox wasn't listed to the end, or its own isn't configured, so that its absence means nothing.
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
    /// Messages without a row that are the same as a file without a row, or were made of it.
    pub(super) adopted: Vec<(RemoteId, FileKey)>,
    /// Messages without a row, to be fetched or delivered.
    pub(super) arrived: Vec<RemoteId>,
    /// Files without a row that match nothing.
    pub(super) local_only: Vec<FileKey>,
    /// Mailboxes with messages without a row of which it isn't known yet what they are; told only where there are files of
    /// `local_only`.
    pub(super) unread: HashSet<MailboxId>,
    /// Files of `local_only` with the names that deliveries of messages give whose content isn't known, yet or for now. Such a
    /// file is most likely its message's, where the state that told of it was lost.
    pub(super) undelivered: HashSet<FileKey>,
    /// Contents of messages that are being worked on and whose file isn't where it was: it may be any file without a row.
    pub(super) moving: HashSet<ContentHash>,
    /// The Message-IDs of drafts of which the same is true, of those that wait, and of those whose file isn't where it was and
    /// whose content in the cloud can't be known for now: a file without a row may be their next version. Nothing stands for
    /// those without one.
    pub(super) rewriting: HashSet<Option<MessageId>>,
    /// Maildirs of drafts whose file isn't where it was and whose content in the cloud isn't known yet: the cloud may have been
    /// told of any file without a row there.
    pub(super) untold: HashSet<MaildirId>,
}

pub(super) fn match_up<'a>(
    cloud: &CloudTree,
    local: &LocalTree,
    synced: &'a SyncedTree,
    policy: &Policy<'_>,
    scope: &Scope<'_>,
    busy: &Busy,
) -> Matched<'a> {
    let mut rows = rows_in_scope(cloud, local, synced, scope);
    // What left the configuration is left alone, unless it came back in by a move.
    let is_configured = |mailbox| policy.mailboxes.contains(&mailbox);
    let came_in = |id: &RemoteId| cloud.messages.get(id).is_some_and(|message| is_configured(message.mailbox));
    rows.retain(|(_, row)| is_configured(row.mailbox) || came_in(&row.remote));
    // A row whose message is in transfer or being changed isn't planned for; its file is nobody else's all the same.
    rows.retain(|(_, row)| !busy.ids.contains(&row.remote));
    rows.sort_unstable_by_key(|(id, _)| *id);

    let mut strangers = files_without_row(local, synced, scope);
    strangers.retain(|file| !busy.has_file(file));
    let mut strangers = Strangers::new(strangers, local);
    let mut newcomers = Newcomers::new(messages_without_row(cloud, synced, policy, scope), cloud, synced, policy, busy);

    let mut matched = Matched::default();
    // The surest match first: a file under the very name that a message's delivery gives, left by a delivery that wasn't
    // recorded.
    for id in newcomers.left() {
        if let Some(file) = take_own_file(&id, cloud, policy, &mut strangers) {
            newcomers.free.remove(&id);
            matched.adopted.push((id, file));
        }
    }
    let busy_rows: Vec<&Row> = busy.ids.iter().filter_map(|id| synced.get(synced.by_remote(id)?)).collect();
    let mut places = find_files(&rows, &busy_rows, busy, local, &mut strangers);
    let put_off = find_rewritten_drafts(&rows, &mut places, policy, cloud, &mut strangers, &newcomers);
    let messages = find_messages(&rows, &places, policy, local, cloud, &mut newcomers);
    let undecided: HashSet<(ContentHash, UnixSeconds)> = rows
        .iter()
        .zip(&messages)
        .filter(|((id, row), message)| **message == There::Unlisted && (policy.keeps)(*id, row.mailbox))
        .map(|((_, row), _)| (row.hash_in_the_cloud(), row.received))
        .collect();
    let sought = Sought::new(&rows, &messages, &strangers);
    for (((row, base), here), there) in rows.into_iter().zip(places).zip(messages) {
        let version = find_version(base, &here, &there, policy, local, cloud, &mut strangers);
        matched.rows.push(Found { row, base, here, there, version });
    }
    // The file of a message that is being worked on may have another name or place by now, which isn't looked for here.
    let gone_rows = || busy_rows.iter().copied().filter(|row| !local.files.contains_key(&row.file));
    let moving: HashSet<ContentHash> = gone_rows().map(|row| row.hash).collect();
    let is_draft = |row: &&Row| row.flags.cloud.contains(Flags::DRAFT);
    // A draft may have been written anew, into another file, and the cloud may have been told so by a run that was killed.
    let absent = || matched.rows.iter().filter(|found| matches!(found.here, Here::Absent(_))).map(|found| found.base);
    let of_unknown_content = |is_blocked: bool| {
        gone_rows().chain(absent()).filter(is_draft).filter(move |row| {
            let message = cloud.messages.get(&row.remote);
            message.is_some_and(|message| message.hash.is_none() && message.blocked == is_blocked)
        })
    };
    // What can't be known for now would hold up every file there.
    let blocked = of_unknown_content(true);
    let rewritten = gone_rows().filter(is_draft).chain(blocked).map(|row| policy.uploads.message_id(&row.hash));
    let rewriting: HashSet<Option<MessageId>> = rewritten.chain(put_off.into_iter().map(Some)).collect();
    let untold: HashSet<MaildirId> = of_unknown_content(false).map(|row| row.file.maildir).collect();
    matched.rewriting = rewriting;
    matched.untold = untold;
    // One that the cloud is being asked for may have got another id, which is told as a new message.
    let asked_for: HashSet<(ContentHash, UnixSeconds)> =
        busy_rows.iter().map(|row| (row.hash_in_the_cloud(), row.received)).collect();
    // So may a draft that an unheard update has given what its file says, as long as it isn't known to be gone.
    let may_be_told: Vec<ContentHash> = if newcomers.free.is_empty() {
        Vec::new()
    } else {
        let edited = |row, here: &Here| edited_draft(row, here, local, policy);
        let asked_for = busy_rows.iter().filter_map(|row| edited(row, &look_up(row, local)));
        let unknown = matched.rows.iter().filter(|found| match found.there {
            There::At(_) => !cloud.complete.contains(&found.base.mailbox),
            There::Absent => false,
            There::Unlisted | There::Perhaps => true,
        });
        asked_for.chain(unknown.filter_map(|found| edited(found.base, &found.here))).collect()
    };
    let mut skipped = Vec::new();
    for id in newcomers.left() {
        let known = cloud.messages.get(&id).and_then(|message| Some((message.hash?, message.received)));
        // Nor is it put beside what stays, and may be it.
        let is_told = || may_be_told.iter().any(|content| newcomers.is_made_of(&id, content, policy));
        let may_be_known = |known| asked_for.contains(&known) || undecided.contains(&known) || is_told();
        if known.is_some_and(|known| moving.contains(&known.0) || may_be_known(known)) {
            skipped.push(id);
            continue;
        }
        let twin = find_twin_file(&id, cloud, policy, &mut strangers);
        match twin.or_else(|| find_origin(&id, cloud, policy, &mut strangers)) {
            Some(file) => matched.adopted.push((id, file)),
            None if may_be_an_upload(&id, cloud, policy, local, busy) => {}
            None if is_to_be_moved(&id, cloud, policy, &mut strangers) => {}
            None if !is_wanted(&id, cloud, policy, &sought) => {}
            None => matched.arrived.push(id),
        }
    }
    matched.local_only = strangers.left();
    // Nothing but files asks for it, and what is being worked on may be the whole mailbox.
    if !matched.local_only.is_empty() {
        let unread = matched.arrived.iter().filter_map(|id| cloud.messages.get(id));
        let unread = unread.filter(|message| message.hash.is_none() && !message.blocked);
        // What is being worked on wasn't compared with any file.
        let open = busy
            .ids
            .iter()
            .chain(&skipped)
            .filter(|id| synced.by_remote(id).is_none())
            .filter_map(|id| cloud.messages.get(id));
        matched.unread = unread.chain(open).map(|message| message.mailbox).collect();
        let named = Named::new(matched.local_only.iter(), local);
        let without_row = busy.ids.iter().filter(|id| synced.by_remote(id).is_none());
        let known = matched.arrived.iter().chain(without_row).filter_map(|id| Some((id, cloud.messages.get(id)?)));
        let not_read = known.filter(|(_, message)| message.hash.is_none());
        matched.undelivered = not_read.flat_map(|(id, message)| named.of(id, message, policy.host)).cloned().collect();
    }
    matched.moving = moving;
    matched
}

fn rows_in_scope<'a>(
    cloud: &CloudTree,
    local: &LocalTree,
    synced: &'a SyncedTree,
    scope: &Scope<'_>,
) -> Vec<(RowId, &'a Row)> {
    let rows = |ids: Vec<RowId>| ids.into_iter().filter_map(|id| Some((id, synced.get(id)?))).collect();
    match scope {
        Scope::All => rows(synced.not_at_rest(cloud, local)),
        Scope::Only(touched) => {
            let mut ids = touched.rows.clone();
            ids.extend(touched.ids.iter().filter_map(|id| synced.by_remote(id)));
            ids.extend(touched.files.iter().filter_map(|file| synced.by_file(file)));
            rows(ids.into_iter().collect())
        }
    }
}

fn files_without_row(local: &LocalTree, synced: &SyncedTree, scope: &Scope<'_>) -> Vec<FileKey> {
    let mut files: Vec<FileKey> = match scope {
        Scope::All => local.files.without_row(synced).collect(),
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
) -> Vec<RemoteId> {
    let wanted = |id: &RemoteId| {
        synced.by_remote(id).is_none()
            && cloud.messages.get(id).is_some_and(|message| policy.mailboxes.contains(&message.mailbox))
    };
    let mut ids: Vec<RemoteId> = match scope {
        Scope::All => cloud.messages.without_row(synced).filter(|id| wanted(id)).collect(),
        Scope::Only(touched) => touched.ids.iter().filter(|id| wanted(id)).cloned().collect(),
    };
    // Newest first, so that the mail that people wait for is there before their archive.
    ids.sort_unstable_by(|a, b| {
        let received = |id: &RemoteId| cloud.messages.get(id).map(|message| message.received);
        received(b).cmp(&received(a)).then_with(|| a.cmp(b))
    });
    ids
}

/// What makes it worth asking for the content of a message that isn't brought here for its age.
struct Sought {
    /// When the messages were received that aren't there under the ids that their rows know.
    times: HashSet<UnixSeconds>,
    files: Named,
}

impl Sought {
    fn new(rows: &[(RowId, &Row)], messages: &[There], strangers: &Strangers<'_>) -> Self {
        let waits = rows.iter().zip(messages).filter(|(_, message)| **message == There::Perhaps);
        Self {
            times: waits.map(|((_, row), _)| row.received).collect(),
            files: Named::new(strangers.free.iter(), strangers.local),
        }
    }
}

/// Files without a row, by the times in the names that deliveries gave them.
struct Named(HashMap<UnixSeconds, Vec<(FileKey, Option<ContentHash>)>>);

impl Named {
    fn new<'a>(files: impl Iterator<Item = &'a FileKey>, local: &LocalTree) -> Self {
        let mut by_time: HashMap<UnixSeconds, Vec<(FileKey, Option<ContentHash>)>> = HashMap::default();
        for file in files {
            if let Some(time) = file.base_name.received() {
                let content = local.files.get(file).and_then(|found| found.hash);
                by_time.entry(time).or_default().push((file.clone(), content));
            }
        }
        Self(by_time)
    }

    /// Those with a name that a delivery of this message gives.
    fn of<'a>(
        &'a self,
        id: &'a RemoteId,
        message: &'a CloudMessage,
        host: &'a str,
    ) -> impl Iterator<Item = &'a FileKey> {
        let files = self.0.get(&message.received).into_iter().flatten();
        let is_its = move |(file, content): &&(FileKey, _)| is_named_for(&file.base_name, *content, id, message, host);
        files.filter(is_its).map(|(file, _)| file)
    }
}

/// Whether a file with that content has a name that a delivery of this message gives. Of a draft, each version has another.
fn is_named_for(
    name: &BaseName,
    content: Option<ContentHash>,
    id: &RemoteId,
    message: &CloudMessage,
    host: &str,
) -> bool {
    let version = || Some(BaseName::for_version(message.received, id, &content?, host));
    *name == BaseName::for_message(message.received, id, host)
        || (message.flags.contains(Flags::DRAFT) && version().as_ref() == Some(name))
}

/// Whether a message that matches nothing is to be brought here, or to be looked into because it may match something.
fn is_wanted(id: &RemoteId, cloud: &CloudTree, policy: &Policy<'_>, sought: &Sought) -> bool {
    let Some(message) = cloud.messages.get(id) else { return false };
    let has_file = || sought.files.of(id, message, policy.host).next().is_some();
    let may_match = || sought.times.contains(&message.received) || has_file();
    policy.brings(message) || (message.hash.is_none() && may_match())
}

/// Finds each row's file. Rows take what they are surest of before any row takes what it is less sure of, so that of
/// two identical messages the right one is found renamed and the right one is found gone.
///
/// A row that is being worked on isn't planned for, but its file is that of no twin. Where only the content tells whose a file
/// is, and it may be such a row's, the others wait.
fn find_files(
    rows: &[(RowId, &Row)],
    busy_rows: &[&Row],
    busy: &Busy,
    local: &LocalTree,
    strangers: &mut Strangers<'_>,
) -> Vec<Here> {
    let mut places: Vec<Here> = rows.iter().map(|(_, row)| look_up(row, local)).collect();
    if strangers.by_hash.is_empty() {
        return places;
    }
    let mut sought = sought_by_busy(busy_rows, busy, local);
    for most in 0..=2 {
        for ((_, row), place) in rows.iter().zip(&mut places) {
            if matches!(place, Here::Absent(_))
                && let Some(file) =
                    strangers.take(&row.hash, |file, flags, inode| likeness(row, file, flags, inode, most))
            {
                *place = Here::At(file);
            }
        }
        sought.retain(|row| {
            let its = strangers.take(&row.hash, |file, flags, inode| likeness(row, file, flags, inode, most));
            its.is_none()
        });
    }
    let sought: HashSet<ContentHash> = sought.into_iter().map(|row| row.hash).collect();
    for ((_, row), place) in rows.iter().zip(&mut places) {
        let by_content = |file: &FileKey, flags, inode| likeness(row, file, flags, inode, 3);
        if matches!(place, Here::Absent(_))
            && let Some(file) = strangers.find(&row.hash, by_content)
        {
            *place = if sought.contains(&row.hash) { Here::Unreadable } else { Here::At(strangers.give_away(file)) };
        }
    }
    // mutt's save with maildir_trash: first the copy, then the Trash flag on the old file.
    for ((_, row), place) in rows.iter().zip(&mut places) {
        let Here::At(old) = &*place else { continue };
        let Some(seen) = local.files.get(old) else { continue };
        let as_it_was = seen.hash.is_none_or(|hash| hash == row.hash);
        let is_own = *old == row.file || row.inode != 0 && seen.inode == row.inode;
        if newly_trashed(row, seen)
            && as_it_was
            && is_own
            && let Some(to) = strangers.find(&row.hash, |_, flags, _| (!flags.contains(Flags::TRASHED)).then_some(0))
        {
            let old = old.clone();
            *place = if sought.contains(&row.hash) {
                Here::Unreadable
            } else {
                Here::Copied { to: strangers.give_away(to), old }
            };
        }
    }
    places
}

/// The rows that are being worked on whose file isn't where it was, unless the work will give them another one.
fn sought_by_busy<'a>(busy_rows: &[&'a Row], busy: &Busy, local: &LocalTree) -> Vec<&'a Row> {
    let content = |file| local.files.get(file).and_then(|found: &LocalFile| found.hash);
    let promised: HashSet<ContentHash> = busy.promised.iter().filter_map(content).collect();
    let is_sought = |row: &&&Row| matches!(look_up(row, local), Here::Absent(_)) && !promised.contains(&row.hash);
    busy_rows.iter().filter(is_sought).copied().collect()
}

fn look_up(row: &Row, local: &LocalTree) -> Here {
    if !local.readable.contains(&row.file.maildir) {
        Here::Unreadable
    } else if local.files.contains_key(&row.file) {
        Here::At(row.file.clone())
    } else {
        Here::Absent(local.vanished.get(&row.file).copied().unwrap_or(Absence::Unexplained))
    }
}

/// How like a row's lost file a file of the same content is; lower is surer, and nothing beyond `most`. A rename keeps
/// the inode, a move between Maildirs may keep the name, a copy keeps nothing but the content. A file that is
/// known to be another one, or by its content alone, doesn't speak for this message by its Trash flag.
fn likeness(row: &Row, file: &FileKey, flags: Flags, inode: u64, most: u8) -> Option<u8> {
    let same_inode = row.inode != 0 && inode == row.inode;
    let other_inode = row.inode != 0 && inode != 0 && inode != row.inode;
    let rank = match () {
        () if flags.contains(Flags::TRASHED) && other_inode => return None,
        () if same_inode && file.maildir == row.file.maildir => 0,
        () if file.base_name == row.file.base_name => 1,
        () if same_inode => 2,
        () if flags.contains(Flags::TRASHED) => return None,
        () => 3,
    };
    (rank <= most).then_some(rank)
}

fn newly_trashed(row: &Row, seen: &LocalFile) -> bool {
    (seen.flags - row.flags.local).contains(Flags::TRASHED)
}

fn find_messages(
    rows: &[(RowId, &Row)],
    places: &[Here],
    policy: &Policy<'_>,
    local: &LocalTree,
    cloud: &CloudTree,
    newcomers: &mut Newcomers<'_>,
) -> Vec<There> {
    // What isn't where it was may have been moved to a mailbox that isn't listed to its end yet.
    let unlisted: Vec<MailboxId> =
        policy.mailboxes.iter().copied().filter(|mailbox| !cloud.complete.contains(mailbox)).collect();
    let listed = |row: &Row| !unlisted.iter().any(|mailbox| (policy.same_account)(row.mailbox, *mailbox));
    let look_up = |row: &Row| match () {
        () if cloud.messages.contains_key(&row.remote) => There::At(row.remote.clone()),
        () if cloud.complete.contains(&row.mailbox) && listed(row) => There::Absent,
        () => There::Unlisted,
    };
    let mut messages: Vec<There> = rows.iter().map(|(_, row)| look_up(row)).collect();
    // A deletion is meant for one message: it never passes to another one that only has the same content.
    let deleted = |id: RowId, row: &Row, place: &Here| match ((policy.word)(id), place) {
        (_, Here::Unreadable | Here::Copied { .. }) | (Some(Word::Keep), _) => false,
        (Some(Word::Delete), Here::Absent(absence)) => *absence != Absence::Settling,
        (None, Here::Absent(absence)) => *absence == Absence::Observed,
        (Some(Word::Delete) | None, Here::At(file)) => {
            local.files.get(file).is_some_and(|seen| newly_trashed(row, seen))
        }
    };
    for most in 0..=3 {
        for (((id, row), place), message) in rows.iter().zip(places).zip(&mut messages) {
            // While a mailbox can't be listed, nothing but what is like it in everything takes the place of a message.
            let is_open = *message == There::Absent || (*message == There::Unlisted && most == 0);
            if is_open
                && !deleted(*id, row, place)
                && (most <= 1 || !newcomers.has_unread_of(row.received))
                && let Some(id) = newcomers.take(row, most)
            {
                *message = There::At(id);
            }
        }
    }
    for (((_, row), place), message) in rows.iter().zip(places).zip(&mut messages) {
        if *message != There::Absent {
            continue;
        }
        let edited = edited_draft(row, place, local, policy);
        if let Some(id) = edited.and_then(|content| newcomers.take_made_of(&content, policy)) {
            *message = There::At(id);
        } else if newcomers.has_unread_of(row.received) || (edited.is_some() && newcomers.has_unread_draft()) {
            *message = There::Perhaps;
        }
    }
    messages
}

/// Finds the new version of a draft in its Maildir, where it is no other file's.
fn find_version(
    base: &Row,
    here: &Here,
    there: &There,
    policy: &Policy<'_>,
    local: &LocalTree,
    cloud: &CloudTree,
    strangers: &mut Strangers<'_>,
) -> Option<FileKey> {
    let There::At(id) = there else { return None };
    let message = cloud.messages.get(id).filter(|message| message.mailbox == base.mailbox)?;
    let hash = message.hash.filter(|_| !strangers.by_hash.is_empty() && draft_edited(base, message, policy))?;
    let maildir = match here {
        Here::At(file) if local.files.get(file).is_some_and(|seen| seen.hash == Some(hash)) => return None,
        Here::At(file) => file.maildir,
        Here::Absent(_) => base.file.maildir,
        Here::Unreadable | Here::Copied { .. } => return None,
    };
    let is_own = |file: &FileKey| is_named_for(&file.base_name, Some(hash), id, message, policy.host);
    strangers.take(&hash, |file, flags, _| {
        let fits = file.maildir == maildir && !flags.contains(Flags::TRASHED);
        fits.then(|| u8::from(!is_own(file)))
    })
}

/// The content that a draft was given here, which the cloud may have been told without our hearing of it.
fn edited_draft(row: &Row, place: &Here, local: &LocalTree, policy: &Policy<'_>) -> Option<ContentHash> {
    let Here::At(file) = place else { return None };
    let is_draft = row.flags.cloud.contains(Flags::DRAFT) && policy.uploads.takes(row.mailbox).drafts;
    let content = local.files.get(file)?.hash?;
    (is_draft && content != row.hash).then_some(content)
}

/// The file that a delivery of this message leaves, if it is there and holds what the message holds: in the Maildir
/// that the message belongs to, or in another one, from where it was moved in the cloud while nobody knew of it.
fn take_own_file(
    id: &RemoteId,
    cloud: &CloudTree,
    policy: &Policy<'_>,
    strangers: &mut Strangers<'_>,
) -> Option<FileKey> {
    let message = cloud.messages.get(id)?;
    let hash = message.hash?;
    if !strangers.by_hash.contains_key(&hash) {
        return None;
    }
    let maildir = policy.router.maildir_for(message.mailbox, &hash, message.flags)?;
    let is_own = |file: &FileKey| is_named_for(&file.base_name, Some(hash), id, message, policy.host);
    strangers.take(&hash, |file, _, _| is_own(file).then_some(u8::from(file.maildir != maildir)))
}

/// A file of the same content in the Maildir that the message belongs to.
fn find_twin_file(
    id: &RemoteId,
    cloud: &CloudTree,
    policy: &Policy<'_>,
    strangers: &mut Strangers<'_>,
) -> Option<FileKey> {
    let message = cloud.messages.get(id)?;
    let hash = message.hash?;
    let maildir = policy.router.maildir_for(message.mailbox, &hash, message.flags)?;
    strangers.take(&hash, |file, _, _| (file.maildir == maildir).then_some(0))
}

/// The file that an upload whose answer was lost has made a message of, or that a mail program has filed of a message that
/// it sent: the cloud's bytes are others, and the Message-ID is the same.
///
/// That is a hint only, and is taken where such messages come from: in a mailbox that takes uploads of that kind, and in
/// one of sent mail, where the cloud files a copy by itself.
fn find_origin(
    id: &RemoteId,
    cloud: &CloudTree,
    policy: &Policy<'_>,
    strangers: &mut Strangers<'_>,
) -> Option<FileKey> {
    if strangers.free.is_empty() {
        return None;
    }
    let message = cloud.messages.get(id)?;
    let Takes { drafts, others, role } = policy.uploads.takes(message.mailbox);
    let taken = if message.flags.contains(Flags::DRAFT) { drafts } else { others || role == Role::Sent };
    let hash = message.hash.filter(|_| taken)?;
    let known_as = policy.uploads.message_id(&hash)?;
    let maildir = policy.router.maildir_for(message.mailbox, &hash, message.flags)?;
    let fits = |content: &ContentHash| may_be_origin(message, content, policy);
    strangers.take_by_message_id(&known_as, maildir, policy, fits)
}

/// Whether a message may be what the cloud has made of a file with the same Message-ID. All versions of a draft have that,
/// so that a draft must say the same, too.
fn may_be_origin(message: &CloudMessage, content: &ContentHash, policy: &Policy<'_>) -> bool {
    let is_made_of = |hash: ContentHash| hash == *content || policy.uploads.is_made_of(&hash, content);
    !message.flags.contains(Flags::DRAFT) || message.hash.is_some_and(is_made_of)
}

/// Whether a draft is what an upload to another mailbox has made, and only wasn't moved there yet: the file's next upload
/// finds it and moves it. Where it isn't known what the mailbox is for, that is waited for.
fn is_to_be_moved(id: &RemoteId, cloud: &CloudTree, policy: &Policy<'_>, strangers: &mut Strangers<'_>) -> bool {
    let Some(message) = cloud.messages.get(id).filter(|_| !strangers.free.is_empty()) else { return false };
    let role = policy.uploads.takes(message.mailbox).role;
    let concerned = match role {
        Role::Drafts => message.flags.contains(Flags::DRAFT),
        Role::Unknown => true,
        Role::Sent | Role::Other => false,
    };
    let Some(hash) = message.hash.filter(|_| concerned) else { return false };
    let Some(known_as) = policy.uploads.message_id(&hash) else { return false };
    let local = strangers.local;
    strangers.with_message_id(&known_as, policy).iter().any(|file| {
        let Some(seen) = local.files.get(file) else { return false };
        let goes_up = seen.flags.contains(Flags::DRAFT)
            && !seen.flags.contains(Flags::TRASHED)
            && policy.uploads.readiness(file) != Readiness::Never;
        let is_waited_for =
            |content| may_be_origin(message, &content, policy) && has_mailbox(file, &content, seen.flags, policy);
        role == Role::Unknown || (goes_up && seen.hash.is_some_and(is_waited_for))
    })
}

/// Whether a mailbox that takes drafts may lead to a file's Maildir. To a place of the user's own none does.
fn has_mailbox(file: &FileKey, content: &ContentHash, flags: Flags, policy: &Policy<'_>) -> bool {
    let leads_here = |mailbox: &MailboxId| {
        let maildir = policy.router.maildir_for(*mailbox, content, flags);
        policy.uploads.takes(*mailbox).drafts && maildir.is_none_or(|its| its == file.maildir)
    };
    policy.mailboxes.iter().any(leads_here)
}

/// Whether a message may be what an upload that is under way has made: it is left until the answer has come.
fn may_be_an_upload(id: &RemoteId, cloud: &CloudTree, policy: &Policy<'_>, local: &LocalTree, busy: &Busy) -> bool {
    if busy.files.is_empty() {
        return false;
    }
    let known = cloud.messages.get(id).and_then(|message| Some((message, message.hash?)));
    known.is_some_and(|(message, hash)| {
        // Wherever a draft is to be in the end, it is made in the folder for drafts.
        let for_drafts = matches!(policy.uploads.takes(message.mailbox).role, Role::Drafts | Role::Unknown);
        let maildir = policy.router.maildir_for(message.mailbox, &hash, message.flags);
        if for_drafts || busy.files.iter().any(|file| Some(file.maildir) == maildir) {
            return true;
        }
        // Wherever what an earlier attempt has made is now, it is found and moved.
        let known_as = policy.uploads.message_id(&hash);
        known_as.is_some() && busy.files.iter().any(|file| known_in_the_cloud_as(file, local, policy) == known_as)
    })
}

/// Finds drafts that a mail program has written anew: mutt and its kin make a new file of one and remove the old. Where
/// the program keeps the Message-ID, the new file is the old one's next version.
///
/// So is a file that says what the cloud has by now, under the Message-ID that it has there: an update of which nobody heard.
/// A file that was uploaded already as a draft of its own is none. Where that can't be told yet, the row waits; returns the
/// Message-IDs of such.
fn find_rewritten_drafts(
    rows: &[(RowId, &Row)],
    places: &mut [Here],
    policy: &Policy<'_>,
    cloud: &CloudTree,
    strangers: &mut Strangers<'_>,
    newcomers: &Newcomers<'_>,
) -> Vec<MessageId> {
    let mut put_off = Vec::new();
    let was_uploaded = |content: &ContentHash, known_as: &MessageId| {
        let drafts = newcomers.free.iter().filter_map(|id| newcomers.cloud.messages.get(id));
        let mut drafts = drafts.filter(|draft| draft.flags.contains(Flags::DRAFT));
        let has_id = |draft: &CloudMessage| policy.uploads.message_id(&draft.hash?);
        drafts.any(|draft| has_id(draft).as_ref() == Some(known_as) && may_be_origin(draft, content, policy))
    };
    for ((_, row), place) in rows.iter().zip(places) {
        let Here::Absent(absence) = place else { continue };
        // One that was deleted is on its way among the deleted ones, and what is written since isn't its next version.
        let is_deleted = row.flags.local.contains(Flags::TRASHED);
        if !row.flags.cloud.contains(Flags::DRAFT) || is_deleted || !policy.uploads.takes(row.mailbox).drafts {
            continue;
        }
        let was_seen = match absence {
            Absence::Settling | Absence::Observed => true,
            Absence::Unexplained => false,
        };
        let known_as = policy.uploads.message_id(&row.hash).filter(|_| was_seen);
        if let Some(known_as) = &known_as
            && newcomers.has_unread_draft()
            && strangers.has_draft_like(row, known_as, policy)
        {
            // A draft that isn't read yet may be what an upload has made of the file.
            *place = Here::Unreadable;
            put_off.push(known_as.clone());
            continue;
        }
        let message = cloud.messages.get(&row.remote);
        let told = |content: &ContentHash| message.is_some_and(|message| may_be_origin(message, content, policy));
        let told_as = message.and_then(|message| policy.uploads.message_id(&message.hash?));
        let is_of_its_own = |content: &ContentHash, known_as: &MessageId| {
            was_seen && (policy.uploads.may_be_made(content) || was_uploaded(content, known_as))
        };
        let mut take = |known_as: &MessageId, is_next: &dyn Fn(&ContentHash) -> bool| {
            let fits = |content: &ContentHash| is_next(content) && !is_of_its_own(content, known_as);
            strangers.take_by_message_id(known_as, row.file.maildir, policy, fits)
        };
        // What the cloud was told already is surest. Where nobody saw the old file go, nothing else is its next version.
        let next = told_as.and_then(|known_as| take(&known_as, &told));
        if let Some(next) = next.or_else(|| take(&known_as?, &|_| true)) {
            *place = Here::At(next);
        }
    }
    put_off
}
