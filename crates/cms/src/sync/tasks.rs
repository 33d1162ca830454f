//! What goes on beside the loop: each task talks to one account, holds nothing, and ends in events.

use std::io;
use std::sync::Arc;

use cms_cloud::contract::{
    Changes, CloudAccount, CloudChange, CloudError, CloudOp, Created, Cursor, DeleteAction, Folder, FolderId,
    FolderRole, NewContent, Next, Notifications, Outcome, Page, Seen, Wake, Whereabouts,
};
use cms_cloud::{Exchange, in_background, recorded};
use cms_engine::{HashMap, MailboxId, MaildirId, MessageId, Op, RemoteId};
use cms_maildir::{Hearing, MaildirError, WatchEvent, Watcher};
use cms_store::Store;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use crate::control::Asked;
use crate::problem::with_causes;
use crate::sync::journal::Wish;
use crate::sync::message_text::is_part_of;
use crate::sync::original::{LookedAt, Original};
use crate::sync::undo::Step;
use crate::sync::verification::{Contents, Expected, Listing, read_contents};

use crate::sync::Surroundings;
use crate::sync::alarms::Alarm;
use crate::sync::driver::trees::Looked;
use crate::sync::driver::uploading::Underway;
use crate::sync::fetching::Download;
use crate::tree::FolderWish;

/// Everything that can wake the loop, but for time and the wish to stop.
pub(crate) enum Event {
    /// The folders of a tree were looked at.
    Folders { tree: usize, result: Result<Looked, CloudError> },
    /// What somebody did with a directory of a tree was done in the cloud, or not.
    Fulfilled { tree: usize, wish: FolderWish, result: Result<(), CloudError> },
    /// Folders that were gone were made again.
    MadeFolders { result: Result<Vec<(MailboxId, FolderId)>, CloudError> },
    /// A mailbox's folder was found.
    Opened { mailbox: MailboxId, folder: Folder },
    /// Where deleted messages of a mailbox go.
    DeleteTarget { mailbox: MailboxId, target: Option<FolderId> },
    /// One page of what changed in a mailbox. `first` begins a round.
    Page { mailbox: MailboxId, page: Page, first: bool },
    /// The cloud has forgotten where we were; a round from the very beginning follows.
    CursorLost { mailbox: MailboxId },
    /// A round ended too early.
    RoundFailed { mailbox: MailboxId, error: CloudError },
    /// Where messages are now. `round` names the mailbox whose round waits for it.
    LookedUp {
        round: Option<MailboxId>,
        /// When the question was put: what was changed since isn't in the answer.
        asked: Instant,
        answers: Vec<(RemoteId, Result<Whereabouts, CloudError>)>,
    },
    /// Downloads that were made together ended.
    Fetched(Vec<Download>),
    /// Changes in the cloud ended, each with the request that was made of it.
    Applied { results: Vec<(Op, Outcome, Option<Exchange>)> },
    /// Messages were to be brought back into the folder that they are gone from.
    BroughtBack { results: Vec<(RemoteId, BroughtBack)> },
    /// The cloud is to be asked at once.
    Alarm(Alarm),
    /// A command asks something.
    Asked(Asked),
    /// Messages whose deletion is taken back were brought back in the cloud, or not.
    TakenBack { results: Vec<TakenBack>, wish: Wish },
    /// Everything was looked at afresh.
    Compared { listing: Listing, contents: Contents },
    /// What the cloud says of messages of which its listing said something else than was known.
    LookedAtDoubtful { answers: Vec<(RemoteId, Result<Whereabouts, CloudError>)> },
    /// What a mailbox is for.
    Role { mailbox: MailboxId, role: Result<FolderRole, CloudError> },
    /// The messages that an earlier upload may have made.
    UploadLookedFor { underway: Underway, found: Result<Vec<Seen>, CloudError> },
    /// An upload ended.
    Uploaded(UploadEnd),
    /// An update of a draft ended.
    Updated { op: Op, outcome: Outcome, exchange: Option<Exchange>, unfinished: MessageId },
    /// What an attempt to make a message has left was removed, or not.
    RemovedUnfinished { unfinished: MessageId, result: Result<(), CloudError> },
    /// How much is heard of what happens in the Maildirs.
    TriedOut(Vec<(MaildirId, Hearing)>),
    /// The account's service told something by itself; `source` is which.
    Woken { source: usize, wake: Wake },
    /// Maildirs changed.
    Watched(Result<Vec<WatchEvent>, MaildirError>),
}

/// What came of bringing a message back.
pub(crate) enum BroughtBack {
    /// It is there again, under this id.
    Back(RemoteId),
    /// It can't be found, or can't be moved.
    Lost,
    /// Nobody can say yet.
    Failed(CloudError),
}

/// What a round of polling needs to know.
pub(crate) struct Poll {
    pub(crate) account: Arc<dyn CloudAccount>,
    pub(crate) mailbox: MailboxId,
    pub(crate) name: String,
    pub(crate) folder: Option<FolderId>,
    pub(crate) cursor: Option<Cursor>,
    /// Set where the loop still has to learn where deleted messages go.
    pub(crate) ask_delete_target: Option<DeleteAction>,
}

impl Poll {
    /// Asks for everything that changed, page by page.
    pub(crate) async fn run(self, events: Sender<Event>) {
        let mailbox = self.mailbox;
        if let Err(error) = self.pages(&events).await {
            let _ = events.send(Event::RoundFailed { mailbox, error }).await;
        }
    }

    async fn pages(self, events: &Sender<Event>) -> Result<(), CloudError> {
        let mailbox = self.mailbox;
        // A send fails only when the loop has ended, and then nobody waits for the rest.
        let folder = if let Some(folder) = self.folder {
            folder
        } else {
            let folder = self.account.open(&self.name).await?;
            let id = folder.id.clone();
            let _ = events.send(Event::Opened { mailbox, folder }).await;
            id
        };
        if let Some(action) = self.ask_delete_target {
            let target = self.account.delete_target(action).await?;
            let _ = events.send(Event::DeleteTarget { mailbox, target }).await;
        }
        let mut cursor = self.cursor;
        let mut first = true;
        let mut lost = 0;
        loop {
            match self.account.changes(&folder, cursor.as_ref()).await? {
                Changes::CursorLost => {
                    lost += 1;
                    if lost > 3 {
                        return Err(CloudError::Unexpected("every new listing was declared lost at once".to_owned()));
                    }
                    let _ = events.send(Event::CursorLost { mailbox }).await;
                    (cursor, first) = (None, true);
                }
                Changes::Page(page) => {
                    let more = match &page.next {
                        Next::More(more) => Some(more.clone()),
                        Next::Complete { .. } => None,
                    };
                    if events.send(Event::Page { mailbox, page, first }).await.is_err() || more.is_none() {
                        return Ok(());
                    }
                    (cursor, first) = (more, false);
                }
            }
        }
    }
}

/// Passes on what a service tells by itself, until it tells nothing any more.
pub(crate) async fn listen(mut notifications: Box<dyn Notifications>, source: usize, events: Sender<Event>) {
    loop {
        let wake = notifications.next().await;
        let is_over = matches!(wake, Wake::Unavailable { .. });
        if events.send(Event::Woken { source, wake }).await.is_err() || is_over {
            return;
        }
    }
}

/// Asks where messages are.
pub(crate) async fn look_up(
    account: Arc<dyn CloudAccount>,
    round: Option<MailboxId>,
    ids: Vec<RemoteId>,
    events: Sender<Event>,
) {
    let asked = Instant::now();
    let answers = account.look_up(&ids).await;
    let answers = ids.into_iter().zip(answers).collect();
    let _ = events.send(Event::LookedUp { round, asked, answers }).await;
}

/// Asks what a mailbox is for.
pub(crate) async fn ask_role(
    account: Arc<dyn CloudAccount>,
    mailbox: MailboxId,
    folder: FolderId,
    events: Sender<Event>,
) {
    let role = account.role(&folder).await;
    let _ = events.send(Event::Role { mailbox, role }).await;
}

/// Looks for what an earlier upload may have made.
pub(crate) async fn find_upload(account: Arc<dyn CloudAccount>, underway: Underway, events: Sender<Event>) {
    let found = account.find(underway.message_id.as_str()).await;
    let _ = events.send(Event::UploadLookedFor { underway, found }).await;
}

/// What became of an upload.
pub(crate) struct UploadEnd {
    pub(crate) underway: Underway,
    pub(crate) created: Created,
    /// Whether it was in the cloud before.
    pub(crate) found: bool,
    /// Whether it was moved after it was made, so that it is at another revision than the one at which it was made.
    pub(crate) moved: bool,
    pub(crate) exchange: Option<Exchange>,
}

/// A new version of a draft.
pub(crate) struct Update {
    pub(crate) op: Op,
    pub(crate) original: Original,
    pub(crate) message_id: MessageId,
    pub(crate) unfinished: MessageId,
    /// The revision that the draft must still be at.
    pub(crate) revision: Option<Box<str>>,
}

/// Gives a draft another content.
pub(crate) async fn update_draft(account: Arc<dyn CloudAccount>, update: Update, events: Sender<Event>) {
    let Update { op, original, message_id, unfinished, revision } = update;
    let id = if let Op::UpdateDraft { base, .. } = &op { base.remote.clone() } else { return };
    let content = NewContent { mime: &original, message_id: &message_id, unfinished: &unfinished };
    let (outcome, mut exchanges) = recorded(account.replace(&id, revision.as_deref(), content)).await;
    let _ = events.send(Event::Updated { op, outcome, exchange: exchanges.pop(), unfinished }).await;
}

/// Removes what a broken-off attempt to make a message has left, unless somebody has written on it.
pub(crate) async fn remove_unfinished(
    account: Arc<dyn CloudAccount>,
    unfinished: MessageId,
    original: Original,
    events: Sender<Event>,
) {
    let result = remove_what_is_left(account.as_ref(), &unfinished, &original).await;
    let _ = events.send(Event::RemovedUnfinished { unfinished, result }).await;
}

async fn remove_what_is_left(
    account: &dyn CloudAccount,
    unfinished: &MessageId,
    original: &Original,
) -> Result<(), CloudError> {
    // One that goes while it is looked at may have another id now.
    for _ in 0..LOOKS_FOR_WHAT_IS_LEFT {
        let found = account.find(unfinished.as_str()).await?;
        if found.is_empty() {
            return Ok(());
        }
        for left in found {
            let mut there = LookedAt::new(&original.store).map_err(CloudError::Sink)?;
            let is_ours = match account.fetch(&left.id, &mut there).await {
                // Of an original that isn't here any more nothing can be told.
                Ok(_) => is_part_of(&there, original).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(false),
                    _ => Err(CloudError::Sink(error)),
                })?,
                Err(CloudError::Gone) => continue,
                Err(CloudError::Unconvertible { .. }) => false,
                Err(error) => return Err(error),
            };
            if is_ours {
                account.remove_unfinished(&left).await?;
            } else {
                account.keep_unfinished(&left, &MessageId::for_fragment(unfinished)).await?;
            }
        }
    }
    Err(CloudError::Unexpected("what an upload has left is found again and again".to_owned()))
}

/// How often it is looked whether anything is left of an attempt.
const LOOKS_FOR_WHAT_IS_LEFT: usize = 5;

/// A change that is to be made in the cloud.
pub(crate) struct Change {
    pub(crate) op: Op,
    pub(crate) request: CloudOp,
    /// The revision that the message must still be at.
    pub(crate) only_at: Option<Box<str>>,
}

/// Makes changes in the cloud.
pub(crate) async fn apply(account: Arc<dyn CloudAccount>, work: Vec<Change>, events: Sender<Event>) {
    let (work, mut results) = leave_out_what_has_changed(account.as_ref(), work).await;
    let (ops, requests): (Vec<Op>, Vec<CloudOp>) = work.into_iter().map(|change| (change.op, change.request)).unzip();
    let (outcomes, exchanges) = recorded(account.apply(&requests)).await;
    // Of several requests about one message, the last decided.
    let mut last: HashMap<RemoteId, Exchange> =
        exchanges.into_iter().filter_map(|exchange| Some((exchange.message.clone()?, exchange))).collect();
    let with_exchange = |((op, request), outcome): ((Op, CloudOp), Outcome)| (op, outcome, last.remove(&request.id));
    results.extend(ops.into_iter().zip(requests).zip(outcomes).map(with_exchange));
    let _ = events.send(Event::Applied { results }).await;
}

/// Asks for the messages that are only to be changed at a certain revision. No request to delete takes that as a condition.
async fn leave_out_what_has_changed(
    account: &dyn CloudAccount,
    work: Vec<Change>,
) -> (Vec<Change>, Vec<(Op, Outcome, Option<Exchange>)>) {
    let (asked, mut work): (Vec<Change>, Vec<Change>) = work.into_iter().partition(|change| change.only_at.is_some());
    let mut results = Vec::new();
    if asked.is_empty() {
        return (work, results);
    }
    let ids: Vec<RemoteId> = asked.iter().map(|change| change.request.id.clone()).collect();
    for (change, answer) in asked.into_iter().zip(account.look_up_before_change(&ids).await) {
        let is_as_known = match answer {
            Ok(Whereabouts::Here(seen)) => seen.revision.as_deref() == change.only_at.as_deref(),
            Ok(Whereabouts::Gone) => true,
            // It is asked for again.
            Err(_) => false,
        };
        if is_as_known {
            work.push(change);
        } else {
            results.push((change.op, Outcome::Outdated, None));
        }
    }
    (work, results)
}

/// Moves messages back into the folder that they are gone from, as far as they can still be found.
pub(crate) async fn bring_back(
    account: Arc<dyn CloudAccount>,
    ids: Vec<RemoteId>,
    folder: FolderId,
    events: Sender<Event>,
) {
    let found = account.look_up(&ids).await;
    let mut results = Vec::new();
    let mut ops = Vec::new();
    for (id, found) in ids.into_iter().zip(found) {
        match found {
            Ok(Whereabouts::Here(seen)) if seen.folder.as_ref() == Some(&folder) => {
                results.push((id.clone(), BroughtBack::Back(id)));
            }
            Ok(Whereabouts::Here(_)) => ops.push(CloudOp { id, change: CloudChange::Move { to: folder.clone() } }),
            Ok(Whereabouts::Gone) => results.push((id, BroughtBack::Lost)),
            Err(error) => results.push((id, BroughtBack::Failed(error))),
        }
    }
    let outcomes = account.apply(&ops).await;
    for (CloudOp { id, .. }, outcome) in ops.into_iter().zip(outcomes) {
        let result = match outcome {
            Outcome::Done { id: new, .. } | Outcome::Unconfirmed { id: new, .. } => {
                BroughtBack::Back(new.unwrap_or_else(|| id.clone()))
            }
            Outcome::Refused(error @ CloudError::NoSuchFolder { .. }) | Outcome::Later(error) => {
                BroughtBack::Failed(error)
            }
            Outcome::Gone | Outcome::Outdated | Outcome::Refused(_) => BroughtBack::Lost,
        };
        results.push((id, result));
    }
    let _ = events.send(Event::BroughtBack { results }).await;
}

/// How long the Maildirs must be quiet before changes are taken for complete: long enough for a program that renames
/// twice, short enough that nobody notices.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(30);

/// How long the kernel may take to tell of a change, until it is taken for one that tells of none.
const TRIAL: std::time::Duration = std::time::Duration::from_secs(3);

/// Hears of changes in the Maildirs until the loop ends.
pub(crate) async fn watch(mut watcher: Watcher, surroundings: Surroundings, events: Sender<Event>) {
    // An ear that is told when to listen needs no trial.
    if surroundings.deaf_for.is_none() {
        let event = match watcher.try_out(TRIAL).await {
            Ok(heard) => Event::TriedOut(heard),
            Err(error) => Event::Watched(Err(error)),
        };
        let failed = matches!(event, Event::Watched(_));
        if events.send(event).await.is_err() || failed {
            return;
        }
    }
    loop {
        let batch = match &surroundings.deaf_for {
            None => watcher.next_batch(SETTLE).await,
            Some(deaf_for) => {
                tokio::time::sleep(deaf_for()).await;
                watcher.heard()
            }
        };
        if batch.as_ref().is_ok_and(Vec::is_empty) {
            continue;
        }
        let failed = batch.is_err();
        if events.send(Event::Watched(batch)).await.is_err() || failed {
            return;
        }
    }
}

/// What came of bringing one message back in the cloud.
pub(crate) struct TakenBack {
    pub(crate) step: Step,
    /// The folder that it was to be brought back to.
    pub(crate) folder: FolderId,
    /// What the cloud says of it now, and by what request it was moved if it had to be; or why it can't be had back.
    pub(crate) outcome: Result<(Seen, Option<Moved>), String>,
}

/// How a message was moved back.
pub(crate) struct Moved {
    /// What was asked.
    pub(crate) request: String,
    /// As what that was sent, and what was answered.
    pub(crate) exchange: Option<Exchange>,
}

/// Moves messages back to the folders that they were deleted from, as far as the cloud still has them.
pub(crate) async fn take_back(
    account: Arc<dyn CloudAccount>,
    work: Vec<(Step, FolderId)>,
    wish: Wish,
    events: Sender<Event>,
) {
    let mut results = Vec::new();
    for (step, folder) in work {
        let outcome = take_one_back(account.as_ref(), &step, &folder).await;
        results.push(TakenBack { step, folder, outcome });
    }
    let _ = events.send(Event::TakenBack { results, wish }).await;
}

async fn take_one_back(
    account: &dyn CloudAccount,
    step: &Step,
    folder: &FolderId,
) -> Result<(Seen, Option<Moved>), String> {
    let Some(id) = step.message.remote.clone() else { return Err("the cloud doesn't have it".to_owned()) };
    let ask = async |id: RemoteId| match account.look_up(&[id]).await.pop() {
        Some(Ok(Whereabouts::Here(seen))) => Ok(seen),
        Some(Ok(Whereabouts::Gone)) => Err("the cloud doesn't have it any more".to_owned()),
        Some(Err(error)) => Err(format!("the cloud couldn't be asked: {}", with_causes(&error))),
        None => Err("the cloud didn't say where it is".to_owned()),
    };
    let seen = ask(id.clone()).await?;
    if seen.folder.as_ref() == Some(folder) {
        return Ok((seen, None));
    }
    let change = CloudChange::Move { to: folder.clone() };
    let request = account.request_line(&change);
    let (mut outcomes, mut exchanges) = recorded(account.apply(&[CloudOp { id: id.clone(), change }])).await;
    match outcomes.pop() {
        Some(Outcome::Done { id: new, .. } | Outcome::Unconfirmed { id: new, .. }) => {
            let seen = ask(new.unwrap_or(id)).await?;
            if seen.folder.as_ref() == Some(folder) {
                Ok((seen, Some(Moved { request, exchange: exchanges.pop() })))
            } else {
                Err("the cloud says that it moved it back, and has it elsewhere".to_owned())
            }
        }
        Some(Outcome::Gone | Outcome::Outdated) | None => Err("the cloud doesn't have it any more".to_owned()),
        Some(Outcome::Later(error) | Outcome::Refused(error)) => {
            Err(format!("the cloud can't move it back: {}", with_causes(&error)))
        }
    }
}

/// A mailbox to be listed from the beginning.
pub(crate) struct ToList {
    pub(crate) account: Arc<dyn CloudAccount>,
    pub(crate) mailbox: MailboxId,
    pub(crate) name: String,
    pub(crate) folder: Option<FolderId>,
}

/// Lists all mailboxes from the beginning and reads the bytes of all files and of the store.
pub(crate) async fn verify(
    mailboxes: Vec<ToList>,
    store: Arc<Store>,
    expected: Vec<Expected>,
    hurry: bool,
    surroundings: Surroundings,
    events: Sender<Event>,
) {
    let read = surroundings.aside(move || read_contents(&store, &expected, hurry)).await;
    let mut listing = Listing::default();
    let mut out_of_reach: Vec<(Arc<dyn CloudAccount>, String)> = Vec::new();
    for ToList { account, mailbox, name, folder } in mailboxes {
        // Each further mailbox would take all attempts anew.
        if let Some((_, why)) = out_of_reach.iter().find(|(known, _)| Arc::ptr_eq(known, &account)) {
            listing.failed.push((mailbox, why.clone()));
            continue;
        }
        let listed = list(account.as_ref(), &name, folder);
        let listed = if hurry { listed.await } else { in_background(listed).await };
        if let Err(error @ (CloudError::Unreachable(_) | CloudError::SignInNeeded { .. })) = &listed {
            out_of_reach.push((account, with_causes(error)));
        }
        match listed {
            Ok((seen, removed)) => {
                listing.complete.insert(mailbox);
                for seen in seen {
                    listing.messages.insert(seen.id.clone(), (mailbox, seen));
                }
                for id in removed {
                    if listing.messages.get(&id).is_some_and(|(of, _)| *of == mailbox) {
                        listing.messages.remove(&id);
                    }
                }
            }
            Err(error) => listing.failed.push((mailbox, with_causes(&error))),
        }
    }
    let contents = read.unwrap_or_default();
    let _ = events.send(Event::Compared { listing, contents }).await;
}

async fn list(
    account: &dyn CloudAccount,
    name: &str,
    folder: Option<FolderId>,
) -> Result<(Vec<Seen>, Vec<RemoteId>), CloudError> {
    let folder = match folder {
        Some(folder) => folder,
        None => account.open(name).await?.id,
    };
    let (mut seen, mut removed) = (Vec::new(), Vec::new());
    let mut cursor = None;
    loop {
        match account.changes(&folder, cursor.as_ref()).await? {
            Changes::CursorLost if cursor.is_none() => {
                return Err(CloudError::Unexpected("a new listing was declared lost at once".to_owned()));
            }
            Changes::CursorLost => {
                (seen, removed, cursor) = (Vec::new(), Vec::new(), None);
            }
            Changes::Page(page) => {
                removed.retain(|id| !page.upserts.iter().any(|seen| seen.id == *id));
                seen.extend(page.upserts);
                removed.extend(page.removals);
                match page.next {
                    Next::More(more) => cursor = Some(more),
                    Next::Complete { .. } => return Ok((seen, removed)),
                }
            }
        }
    }
}

/// Asks for messages of which the listing said something else than was known.
pub(crate) async fn look_at_doubtful(account: Arc<dyn CloudAccount>, ids: Vec<RemoteId>, events: Sender<Event>) {
    let answers = account.look_up(&ids).await;
    let answers = ids.into_iter().zip(answers).collect();
    let _ = events.send(Event::LookedAtDoubtful { answers }).await;
}
