//! `plan()`: three trees and a policy in, the steps that make both sides the same out.
//!
//! Pure: no I/O, no clock, no chance; the same trees give the same plan. Total: every combination below has one
//! outcome. It ends: when all its ops are confirmed and the trees are planned again, and so on, a plan is empty.
//!
//! # What is decided for a message that both sides had
//!
//! Rows: what became of the file since the base. Columns: what became of the message in the cloud. A cell names the steps
//! that bring both sides to rest, in their order, and what remains then, in the [words](#the-words) below. The tests read
//! these tables and try each cell under each policy.
//!
//! | local \ cloud | unchanged | flags | moved | moved, flags | edited | edit unread | edit blocked | rebuilt | another id | gone | perhaps gone | unlisted |
//! |---|---|---|---|---|---|---|---|---|---|---|---|---|
//! | unchanged | – | rename | move | move | replace | fetch replace | – | – | record | remove | wait | wait |
//! | flags | tell | tell rename | tell move | tell move | tell replace | fetch tell replace | tell | tell | tell | remove | wait | wait |
//! | renamed | record | rename | move | move | replace | fetch replace | record | record | record | remove | wait | wait |
//! | renamed, flags | tell | tell rename | tell move | tell move | tell replace | fetch tell replace | tell | tell | tell | remove | wait | wait |
//! | moved | refile | refile rename | move | move | refile replace | fetch refile replace | refile | refile | refile | remove | wait | wait |
//! | moved, flags | refile tell | refile tell rename | tell move | tell move | refile tell replace | fetch refile tell replace | refile tell | refile tell | refile tell | remove | wait | wait |
//! | moved alike | refile | refile rename | record | rename | refile replace | fetch refile replace | refile | refile | refile | remove | wait | wait |
//! | moved by copy | refile | refile rename | move | move | refile replace | fetch refile replace | refile | refile | refile | forget keep | wait | wait |
//! | copied | keep | rename keep | move keep | move keep | replace keep | fetch replace keep | keep | keep | record keep | remove keep | wait keep | wait keep |
//! | copied, then trashed | drop refile | drop refile rename | drop move | drop move | drop refile replace | fetch drop refile replace | drop refile | drop refile | drop refile | drop forget keep | wait | wait |
//! | trashed | delete clear | delete clear | move | move | replace | fetch replace | wait | delete clear | clear deliver | clear | wait | wait |
//! | seen to go | delete forget | delete forget | deliver | deliver | deliver | fetch deliver | wait | delete forget | forget deliver | forget | wait | wait |
//! | unexplained | deliver | deliver | deliver | deliver | deliver | fetch deliver | wait | deliver | deliver | forget | wait | wait |
//! | settling | wait | wait | wait | wait | wait | fetch wait | wait | wait | wait | wait | wait | wait |
//! | edited | told | rename told | move told | move told | deliver keep | fetch deliver keep | told | told | record told | forget keep | wait | wait |
//! | unreadable | wait | wait | wait | wait | wait | fetch wait | wait | wait | wait | wait | wait | wait |
//!
//! The rows:
//!
//! * *renamed*: another base name in the same Maildir; *moved*: into another Maildir; *moved alike*: into the one that the
//!   cloud's move leads to; *moved by copy*: the file went, and one of the same content is in another Maildir.
//! * *copied*: there is another file of the same content, which is the user's; *copied, then trashed*: and the first one
//!   has the Trash flag: a mail program's way of moving.
//! * *trashed*: it has got the Trash flag; *seen to go*: a watcher or a listing saw it go, and it turned up nowhere;
//!   *settling*: it may yet turn up; *unexplained*: it isn't there, and nobody knows why.
//! * *edited*: it has other content; *unreadable*: its Maildir can't be read.
//!
//! The columns:
//!
//! * *edited*: a draft has other content; *edit unread*: it may have, and isn't downloaded yet; *edit blocked*: it can't be
//!   for now; *rebuilt*: a message that is no draft has other bytes, as Exchange makes them.
//! * *another id*: the message is there, under an id that nobody knew.
//! * *gone* counts only once every mailbox was listed to the end, since it may have been moved (else it is *unlisted*), and
//!   not while a message that was received at the same second isn't downloaded: it may be the same one under a new id
//!   (*perhaps gone*).
//!
//! What the cells say in other words: flags merge bit by bit; where both sides moved a message the cloud's place holds;
//! what the cloud deleted goes here too, even if its flags were changed; an edit on either side outlives a deletion on the
//! other; a deletion here holds unless the cloud moved or edited the message; what nobody saw go comes back.
//!
//! Where deleted messages have a mailbox, a draft that is moved there is deleted. If it was edited here meanwhile, it gets a file
//! of its own there, and the edited file stays as a draft that only the Maildir has. If it was moved there because it was deleted
//! here, and says something else than was known of it then, it is moved back.
//!
//! Where the user has said of a held deletion that it isn't meant, a file that was trashed or seen to go counts as gone for no
//! known reason, and one whose message is gone in the cloud stays, a local one from now on. Where the user has said that it
//! is meant, a file that is gone was seen to go.
//!
//! A file that was found by its content alone, under another name and inode, may be a copy of the user's: it is never
//! removed because the cloud's message is gone, and its Trash flag means nothing. A deletion here passes to no other id.
//!
//! # What is decided for a message that has no base
//!
//! In the cloud only: it is fetched, then matched by content with a row whose message went (an id that changed), then with
//! a file that has no row (a lost state, an interrupted delivery), then delivered. Where a mailbox isn't listed to its end, so
//! that nobody knows whether a row's message went, one in the same mailbox and of the same time takes its place all the same.
//! On disk only: it is matched by content with a row whose file went (a rename, a move); otherwise it stays and is told.
//! Nothing is deleted.
//!
//! | local \ cloud | present | with flags | unread | blocked | listed in part | absent |
//! |---|---|---|---|---|---|---|
//! | absent | deliver | deliver | fetch deliver | – | deliver | – |
//! | the same | record | record rename | fetch record | keep | record | keep |
//! | flags | record rename | record rename | fetch record rename | keep | record rename | keep |
//! | another name | record | record rename | fetch record | keep | record | keep |
//! | trashed | record untrash | record untrash | fetch record untrash | keep | record untrash | keep |
//! | another Maildir | deliver keep | deliver keep | fetch deliver keep | keep | deliver keep | keep |
//! | other content | deliver keep | deliver keep | fetch deliver keep | keep | deliver keep | keep |
//! | unreadable | – | – | fetch | – | – | – |
//!
//! # What a mailbox keeps, and what isn't brought
//!
//! A mailbox that *keeps* is an archive: what is gone there stays here. The row stays, too, so that the file is no stranger that
//! might be uploaded, and is linked again if the message comes back. Drafts are none of its concern: one that is gone was
//! sent or thrown away. What the user deletes here goes there as ever. While a mailbox isn't listed to its end, a message that
//! comes with the content and the time of one that is kept waits, since it may be that one under a new id. In the same mailbox
//! it is.
//!
//! A mailbox may bring only what was received since some time. That is asked where a message would come here for the first
//! time, and nowhere else: what has a row or a file is kept the same whatever its age. All messages are in the Cloud tree
//! nonetheless, or else one that isn't brought couldn't be told from one that is gone. Of one that isn't brought the content
//! is asked for only where it may be a row's under a new id, or has a file under the name that its delivery gave.
//!
//! # What a policy changes
//!
//! Where a policy says so, these steps take the place of those in the tables above, line by line. Everything else in a
//! policy changes no cell.
//!
//! | policy | local | cloud | instead of | is done |
//! |---|---|---|---|---|
//! | the mailbox keeps | unchanged; flags; copied | gone | remove | – |
//! | the mailbox keeps | renamed; renamed, flags; moved; moved, flags; moved alike | gone | remove | record |
//! | the mailbox keeps | moved by copy; copied, then trashed | gone | forget keep | record |
//! | the mailbox keeps | edited | gone | forget keep | – |
//! | the mailbox keeps | unexplained | gone | forget | deliver |
//! | the message isn't brought | any | unread | fetch record rename | keep |
//! | the message isn't brought | any | unread | fetch record untrash | keep |
//! | the message isn't brought | any | unread | fetch record | keep |
//! | the message isn't brought | any | unread | fetch deliver | – |
//! | the message isn't brought | any | unread | fetch | – |
//! | the message isn't brought | any | present; with flags; listed in part | deliver | – |
//! | the router doesn't know | any | present; with flags; unread; listed in part | record rename | keep |
//! | the router doesn't know | any | present; with flags; unread; listed in part | record untrash | keep |
//! | the router doesn't know | any | present; with flags; unread; listed in part | record | keep |
//! | the router doesn't know | any | present; with flags; unread; listed in part | deliver | – |
//! | the Maildir wins at the first meeting | any | any | record rename | record tell |
//! | the Maildir wins at the first meeting | any | with flags | record untrash | record tell untrash |
//! | no flag can be told | any | any | tell untrash | untrash |
//! | no flag can be told | any | any | tell rename | rename |
//! | no flag can be told | any | any | tell move | move |
//! | no flag can be told | any | any | tell replace | replace |
//! | no flag can be told | any | any | tell | record |
//! | no flag is reported | any | any | rename | record |
//! | no deletion is allowed | any | any | delete clear | held |
//! | no deletion is allowed | any | any | delete forget | held |
//! | no deletion is allowed | any | any | remove | held |
//! | the folder was removed | any | any | remove | held |
//! | the user means the deletion | unexplained | unchanged; flags; rebuilt | deliver | delete forget |
//! | the user means the deletion | unexplained | another id | deliver | forget deliver |
//! | the user means the deletion | unexplained | gone | deliver | forget |
//! | the user takes it back | any | any | delete forget | deliver |
//! | the user takes it back | any | any | delete clear | untrash |
//! | the user takes it back | trashed | edit blocked | wait | untrash |
//! | the user takes it back | any | any | clear deliver | untrash |
//! | the user takes it back | any | any | forget deliver | deliver |
//! | the user takes it back | any | any | clear | forget keep |
//! | the user takes it back | any | any | remove keep | forget keep |
//! | the user takes it back | any | any | remove | forget keep |
//! | the message isn't brought | any | another id | clear deliver | clear |
//! | the message isn't brought | any | another id | forget deliver | forget |
//! | deleted messages have a mailbox | any | any | delete clear | delete move |
//! | deleted messages have a mailbox | any | any | delete forget | delete deliver |
//! | the router doesn't know | any | any | tell move | wait |
//! | the router doesn't know | any | any | move | wait |
//! | the router doesn't know | any | moved; moved, flags | deliver | wait |
//! | the router doesn't know | any | moved; moved, flags | record | wait |
//! | the router doesn't know | any | moved, flags | rename | wait |
//! | the router doesn't know | any | any | delete deliver | delete wait |
//! | the router doesn't know | any | another id | clear deliver | clear |
//! | the router doesn't know | any | another id | forget deliver | forget |
//! | the router doesn't know | any | any | refile tell rename | wait |
//! | the router doesn't know | any | any | refile tell record | wait |
//! | the router doesn't know | any | any | refile tell replace | wait |
//! | the router doesn't know | any | any | refile tell | wait |
//! | the router doesn't know | any | any | refile rename | wait |
//! | the router doesn't know | any | any | refile record | wait |
//! | the router doesn't know | any | any | refile replace | wait |
//! | the router doesn't know | any | any | refile | wait |
//!
//! # The words
//!
//! | word | what is done, or remains |
//! |---|---|
//! | fetch | the message is downloaded |
//! | deliver | a file is put into the Maildir |
//! | replace | the draft's new version is put into the Maildir, and the old one is taken out |
//! | rename | the file gets the flags |
//! | untrash | the file loses its Trash flag, and gets the other flags |
//! | move | the file goes into the Maildir that belongs to the cloud's mailbox, with the flags |
//! | remove | the file is taken out because the cloud deleted the message |
//! | clear | the file is taken out that the user trashed |
//! | drop | the trashed original is taken out; the row has the copy from then on |
//! | tell | the flags are changed in the cloud |
//! | refile | the message is moved in the cloud, to the mailbox that leads to the file's Maildir |
//! | delete | the message is deleted in the cloud, in the way that the mailbox is configured for |
//! | record | only the row is written: both sides are the same |
//! | forget | only the row is taken out |
//! | held | the deletion waits for the user's word |
//! | wait | the row waits for something that will show by itself |
//! | told | the edit stays here, and the user is told |
//! | keep | a file that only the Maildir has stays there, and the user is told |
//!
//! # One flag
//!
//! Which sides have a change of a flag in the end, by what the cloud does with such a flag.
//!
//! | a flag that the cloud | changed here | changed there | changed on both |
//! |---|---|---|---|
//! | reports and takes | both | both | both |
//! | only reports | here | both | both |
//! | only takes | both | there | both |
//! | does neither with | here | there | both |
//!
//! Where flags crossed over in both directions, the cloud is told first; then the file is renamed once, for good.
//!
//! # Two flags of which the cloud keeps one
//!
//! Rows: what both sides had, and what the file has then. Columns: what the cloud has then. Cells: what the file and the
//! cloud have in the end. Nothing is taken away here because it made room for another there.
//!
//! | here \ there | – | P | R |
//! |---|---|---|---|
//! | –, then – | – / – | P / P | R / R |
//! | –, then P | P / P | P / P | PR / R |
//! | –, then R | R / R | PR / P | R / R |
//! | –, then PR | PR / R | PR / P | PR / R |
//! | P, then – | – / – | – / – | R / R |
//! | P, then P | – / – | P / P | PR / R |
//! | P, then R | R / R | R / R | R / R |
//! | P, then PR | PR / R | PR / R | PR / R |
//! | R, then – | – / – | P / P | – / – |
//! | R, then P | P / P | P / P | P / P |
//! | R, then R | – / – | PR / P | R / R |
//! | R, then PR | PR / P | PR / P | PR / P |
//!
//! # What is uploaded
//!
//! A file that only the Maildir has, that matches nothing and hasn't the Trash flag is uploaded where the mailbox takes it.
//! The tables above are those of mailboxes that take nothing; otherwise "keep" is this.
//!
//! | file without a row | the mailbox takes nothing | takes drafts | takes everything |
//! |---|---|---|---|
//! | marked as a draft (`D`) | stays, told | upload as a draft | upload as a draft |
//! | in a Maildir to which folders for drafts alone lead | stays, told | upload as a draft | upload as a draft |
//! | in a Maildir to which a folder of sent mail leads | stays until the cloud's copy comes, and joins it | the same | the same |
//! | any other | stays, told | stays, told | upload |
//!
//! An edited draft is updated in the cloud if its mailbox takes drafts, instead of being told: unless the cloud has another
//! version too, or may have one that can't be looked at now.
//!
//! An upload waits while the file may be one half of a move, or the next version of a draft that waits itself, while the
//! mailbox isn't listed to the end, and while there is a message in it whose content isn't known yet: that may be what an
//! upload whose answer was lost has made. Such a message is known by its Message-ID and joins the file; a draft does so only
//! if it says the same as the file, since all versions of a draft have one Message-ID. A file under a name that deliveries of
//! a message give waits until the content of that message is known. Messages that come while an upload is under way wait for
//! its answer.
//!
//! # Bytes that differ between the sides
//!
//! A cloud may make a message anew of what it is given. The row then knows both contents, the file stays as it is, and
//! only a version that the cloud has made of a draft since then takes its place. Of an upload that wasn't read back yet,
//! what the cloud has is the cloud's form of it, if it is at the same revision or says the same. Where both sides edited a draft and say the same, it is an update whose
//! answer was lost.
//!
//! # Identity
//!
//! The remote id is asked first, the content hash second; on disk the base name, then inode and hash, then the hash.
//! Each file and each message is used for one match only, so twins stay two messages.
//! A draft's new version in the cloud has a file by then if one without a row says the same in its Maildir.
//! That holds for rows whose messages are being worked on, too: their files are those of no twin. Where only the content tells
//! whose a file is, and it may be such a row's, the others wait.

mod decide;
mod matching;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    CloudMessage, CloudTree, ContentHash, FileKey, Flags, HashSet, LocalTree, MailboxId, MaildirId, MessageId, Op,
    RemoteId, RowId, Side, SyncedTree, UnixSeconds,
};

/// What the planner has to know besides the trees.
pub struct Policy<'a> {
    /// The mailboxes that are configured. Rows of others are left alone.
    pub mailboxes: &'a [MailboxId],
    /// Whether two mailboxes are of one account, so that a message can be moved from one to the other.
    pub same_account: &'a dyn Fn(MailboxId, MailboxId) -> bool,
    /// The flags that the cloud reports.
    pub readable_flags: Flags,
    /// The flags that can be changed in the cloud.
    pub settable_flags: Flags,
    /// Of these flags the cloud keeps only the newest.
    pub exclusive_flags: Flags,
    /// Where deleting a message moves it, if that is a configured mailbox.
    pub deleted_mailbox: &'a dyn Fn(MailboxId) -> Option<MailboxId>,
    /// Whether a row of a mailbox whose message is gone there stays here. Drafts don't.
    pub keeps: &'a dyn Fn(RowId, MailboxId) -> bool,
    /// Of a mailbox, what was received before this isn't brought here.
    pub since: &'a dyn Fn(MailboxId) -> Option<UnixSeconds>,
    /// Whose flags hold where no base is known.
    pub first_meeting: Side,
    /// How many messages may be deleted from one mailbox, on one side, in one cycle; nothing for the larger of 20
    /// messages or a quarter of the mailbox.
    pub max_deletions: Option<u32>,
    /// What was deleted in this cycle already, and not by the user's word: it counts, so that many small plans don't add
    /// up to what one wouldn't be allowed.
    pub deleted_lately: &'a Deletions,
    /// What the user said of deletions that were held.
    pub word: &'a dyn Fn(RowId) -> Option<Word>,
    /// Whether a row is of a folder that was removed in the cloud and made again. That its message is gone there is held,
    /// however few they are.
    pub folder_was_removed: &'a dyn Fn(RowId) -> bool,
    /// Which Maildir a message belongs to.
    pub router: &'a dyn Router,
    /// What goes to the cloud from the Maildirs.
    pub uploads: &'a dyn Uploads,
    /// The host part of new base names, without `/` and `:`.
    pub host: &'a str,
}

impl Policy<'_> {
    /// Whether a message would be brought here if nothing of it were here.
    pub(crate) fn brings(&self, message: &CloudMessage) -> bool {
        (self.since)(message.mailbox).is_none_or(|since| message.received >= since)
    }
}

/// Rows whose messages were deleted, by the side that lost them and the mailbox that they were in.
pub type Deletions = BTreeMap<(Side, MailboxId), BTreeSet<RowId>>;

/// What the user said of a message whose deletion was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Word {
    /// The deletion is meant.
    Delete,
    /// It isn't: what was deleted here comes back, and what is gone from the cloud stays here.
    Keep,
}

/// Says which Maildir a message of a mailbox belongs to. Its answers depend on its arguments alone.
pub trait Router {
    /// The Maildir for a message with that content if it were in that mailbox; nothing if that can't be told now.
    fn maildir_for(&self, mailbox: MailboxId, content: &ContentHash, flags: Flags) -> Option<MaildirId>;
}

/// Says what of the Maildirs goes to the cloud. While one plan is made, its answers depend on its arguments alone.
pub trait Uploads {
    /// What a mailbox takes.
    fn takes(&self, mailbox: MailboxId) -> Takes;
    /// Whether a file can be uploaded now.
    fn readiness(&self, file: &FileKey) -> Readiness;
    /// The Message-ID in a content, if it has one that can be told.
    fn message_id(&self, content: &ContentHash) -> Option<MessageId>;

    /// Whether an upload of this content may have been made without anybody having heard of it. Its file is a message of its
    /// own then, and no other draft's next version.
    fn may_be_made(&self, _content: &ContentHash) -> bool {
        false
    }
    /// Whether one content may be what the cloud has made of the other: they say the same in other bytes.
    fn is_made_of(&self, in_the_cloud: &ContentHash, here: &ContentHash) -> bool;
}

/// Nothing is uploaded.
impl Uploads for () {
    fn takes(&self, _: MailboxId) -> Takes {
        Takes::default()
    }
    fn readiness(&self, _: &FileKey) -> Readiness {
        Readiness::Never
    }
    fn message_id(&self, _: &ContentHash) -> Option<MessageId> {
        None
    }
    fn is_made_of(&self, _: &ContentHash, _: &ContentHash) -> bool {
        false
    }
}

/// What a mailbox takes from its Maildir.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// Drafts, and other versions of them.
    pub drafts: bool,
    /// All other messages.
    pub others: bool,
    /// What the mailbox is for.
    pub role: Role,
}

/// What a mailbox is for, as far as it decides what is uploaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It wasn't asked yet; files that it matters for wait.
    Unknown,
    /// For drafts: whatever is put there is one.
    Drafts,
    /// For what was sent: the cloud files a copy there by itself.
    Sent,
    /// For anything else.
    #[default]
    Other,
}

/// Whether a file can be uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Now,
    /// Not yet: it may be half of a move, or an attempt that failed is to be repeated later.
    Later,
    /// It can't: it is too large, was refused, or is known to be one that nobody takes.
    Never,
}

/// What part of the trees to plan for.
pub enum Scope<'a> {
    /// Everything.
    All,
    /// What was touched, and nothing else. Files and messages without a row are matched only with what is named too, so
    /// name all of them that still wait for a match, and the rows that the last plan left waiting. With a message name the
    /// rows of messages that were received when it was and are gone, and with such a row the messages without a row.
    Only(&'a Touched),
}

/// Rows, messages and files that changed since they were last planned for.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// Remote ids.
    pub ids: HashSet<RemoteId>,
    /// Files.
    pub files: HashSet<FileKey>,
    /// Rows.
    pub rows: HashSet<RowId>,
}

/// What is being worked on already and so is not planned for.
#[derive(Clone, Debug, Default)]
pub struct Busy {
    /// Messages with a transfer or a change under way; their rows are busy with them.
    pub ids: HashSet<RemoteId>,
    /// Files that are being uploaded.
    pub files: HashSet<FileKey>,
    /// Files without a row that the changes under way will give to the rows of their messages.
    pub promised: HashSet<FileKey>,
}

impl Busy {
    /// Whether a file without a row is spoken for.
    pub fn has_file(&self, file: &FileKey) -> bool {
        self.files.contains(file) || self.promised.contains(file)
    }
}

/// What to do.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The steps. They are independent of each other but for this: a plan never has two for one message.
    pub ops: Vec<Op>,
    /// Deletions beyond the limit, to be done only when the user says so.
    pub held: Vec<Held>,
    /// Files that only the Maildir has, that match nothing and that no mailbox takes.
    pub local_only: Vec<FileKey>,
    /// Files that will be uploaded, and not yet.
    pub unripe: Vec<FileKey>,
    /// Rows whose file was changed in place, which the cloud can't be told.
    pub edited: Vec<RowId>,
    /// Rows that wait for something which will show by itself: a file that may turn up, a download, a Maildir.
    pub waiting: Vec<RowId>,
}

/// Deletions that wait for the user's word.
#[derive(Clone, Debug)]
pub struct Held {
    /// The side that would lose messages.
    pub on: Side,
    /// The mailbox.
    pub mailbox: MailboxId,
    /// How many messages that mailbox had in the base when the cycle began.
    pub of: usize,
    /// How many of them were deleted in this cycle before.
    pub before: usize,
    /// Why.
    pub reason: Reason,
    /// The deletions.
    pub ops: Vec<Op>,
}

/// Why deletions are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// They are too many.
    Many,
    /// The folder was removed in the cloud and made again.
    FolderRemoved,
}

impl Plan {
    /// Whether there is nothing to do, now or after the user's word.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.held.is_empty()
    }
}

/// Finds what has to be done to make both sides the same. The module's documentation says what is decided when.
pub fn plan(
    cloud: &CloudTree,
    local: &LocalTree,
    synced: &SyncedTree,
    policy: &Policy<'_>,
    scope: &Scope<'_>,
    busy: &Busy,
) -> Plan {
    let matched = matching::match_up(cloud, local, synced, policy, scope, busy);
    let mut deciding = decide::Deciding::new(cloud, local, synced, policy);
    for found in &matched.rows {
        deciding.known(found);
    }
    for (id, file) in &matched.adopted {
        deciding.adopt(id, file);
    }
    for id in &matched.arrived {
        deciding.arrived(id);
    }
    for file in &matched.local_only {
        deciding.only_here(file, &matched);
    }
    let mut plan = deciding.plan;
    hold_mass_deletions(&mut plan, synced, policy);
    plan
}

/// Takes the deletions out of the plan where one mailbox would lose too many (failures of peers: a wiped disk, a
/// server in maintenance that lists nothing). Compared with the base, not with zero, and counted over a cycle. What the
/// user has said is done, and what was begun goes on.
fn hold_mass_deletions(plan: &mut Plan, synced: &SyncedTree, policy: &Policy<'_>) {
    let begun = |key, row| policy.deleted_lately.get(&key).is_some_and(|rows| rows.contains(&row));
    let new = |op: &Op| {
        let (key, row) = op.deletes_from(synced).zip(op.row())?;
        let is_new = (policy.word)(row) != Some(Word::Delete) && !begun(key, row);
        is_new.then_some((key, row))
    };
    let mut counts: BTreeMap<(Side, MailboxId), (usize, bool)> = BTreeMap::new();
    for ((side, mailbox), row) in plan.ops.iter().filter_map(new) {
        let (count, removed) = counts.entry((side, mailbox)).or_default();
        *count += 1;
        *removed |= side == Side::Local && (policy.folder_was_removed)(row);
    }
    let before = |key| policy.deleted_lately.get(&key).map_or(0, BTreeSet::len);
    let least = policy.max_deletions.unwrap_or(20) as usize;
    counts.retain(|key, (count, removed)| *removed || *count + before(*key) > least);
    if counts.is_empty() {
        return;
    }
    for (key @ (on, mailbox), (count, removed)) in counts {
        let left = |row: &&RowId| synced.get(**row).is_none_or(|row| row.mailbox != mailbox);
        let gone = policy.deleted_lately.get(&key).map_or(0, |rows| rows.iter().filter(left).count());
        let of = synced.size_of(mailbox) + gone;
        let most = policy.max_deletions.map_or_else(|| (of / 4).max(least), |most| most as usize);
        let many = count + before(key) > most;
        if !many && !removed {
            continue;
        }
        let is_held =
            |op: &Op| new(op).is_some_and(|(its, row)| its == key && (many || (policy.folder_was_removed)(row)));
        let (held, kept) = std::mem::take(&mut plan.ops).into_iter().partition(is_held);
        plan.ops = kept;
        let reason = if removed { Reason::FolderRemoved } else { Reason::Many };
        plan.held.push(Held { on, mailbox, of, before: before(key), reason, ops: held });
    }
}
