//! What the engine's driver may ask of a cloud account, in words that hold for every provider.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use cms_engine::{Flags, MessageId, RemoteId, UnixSeconds};

use crate::mime::Readable;

pub use self::tree::{Purpose, Tree, TreeFolder, TreeNews};

mod tree;

/// One signed-in account in some cloud. Asked the same thing twice, it answers as if asked once.
///
/// Waiting that the service asks for (Retry-After, back-off after failures) happens inside: an error that comes
/// out of a call has already been retried as far as it makes sense to. All calls may run at the same time; the
/// client keeps to the service's own limit of parallel requests.
#[async_trait]
pub trait CloudAccount: Send + Sync {
    /// What this cloud can store and do; known before anything is planned.
    fn capabilities(&self) -> Capabilities;

    /// Finds a folder by the name or path that the configuration gives.
    ///
    /// A folder that doesn't exist is [`CloudError::NoSuchFolder`] with the nearest names that do.
    async fn open(&self, name: &str) -> Result<Folder, CloudError>;

    /// All folders that people see, in the order of a tree: each before those in it, and these before the next.
    async fn folders(&self) -> Result<Vec<Folder>, CloudError>;

    /// Returns one page of what changed in a folder after `cursor`, or of everything when there is no cursor.
    ///
    /// Ask on with the page's own cursor until [`Page::next`] says that the round is complete. A cursor that the
    /// cloud has forgotten is an answer ([`Changes::CursorLost`]), not an error: begin again with `None`.
    async fn changes(&self, folder: &FolderId, cursor: Option<&Cursor>) -> Result<Changes, CloudError>;

    /// Asks where each message is now. Answers come in the order of `ids`, one for each.
    async fn look_up(&self, ids: &[RemoteId]) -> Vec<Result<Whereabouts, CloudError>>;

    /// Asks like [`CloudAccount::look_up`] for messages that are changed next if they are as they are known, so that as little time
    /// as possible lies between the first answer and the last. That a message is gone may cost more than there.
    async fn look_up_before_change(&self, ids: &[RemoteId]) -> Vec<Result<Whereabouts, CloudError>> {
        self.look_up(ids).await
    }

    /// Writes a message's MIME bytes, as the cloud sends them (CRLF), into `sink`, and returns how many.
    ///
    /// When a transfer breaks off, the sink is restarted and filled again. `Ok` means that the transfer ended as the
    /// protocol says a whole one ends. Costs memory for one chunk, whatever the message's size.
    async fn fetch(&self, id: &RemoteId, sink: &mut dyn MimeSink) -> Result<u64, CloudError>;

    /// Fetches several small messages as [`CloudAccount::fetch`] does one, in fewer requests where the cloud can
    /// ([`Capabilities::together`]). Answers in the order of `wanted`, one for each; none for one that has to be fetched
    /// alone. Costs memory for all that comes in one request.
    async fn fetch_together(&self, wanted: &mut [Wanted<'_>]) -> Vec<Option<Result<u64, CloudError>>> {
        let mut results = Vec::with_capacity(wanted.len());
        for Wanted { id, sink } in wanted {
            results.push(Some(self.fetch(id, *sink).await));
        }
        results
    }

    /// How long the service's limits make so many downloads take at least, as far as they are known.
    fn least_time(&self, _downloads: usize) -> Duration {
        Duration::ZERO
    }

    /// The network of this machine has changed. What waits because the service couldn't be reached tries again at once.
    fn network_changed(&self) {}

    /// Makes changes, each message's own independently of the others. Answers in the order of `ops`, one for each.
    ///
    /// Several changes to one message are made in the order in which they stand.
    async fn apply(&self, ops: &[CloudOp]) -> Vec<Outcome>;

    /// The request by which a change is made, such as `PATCH /me/messages/{id}`: for people who want to know what the
    /// service was asked. Without the message's id, and nothing in it is secret.
    fn request_line(&self, change: &CloudChange) -> String;

    /// What a folder is for.
    async fn role(&self, folder: &FolderId) -> Result<FolderRole, CloudError>;

    /// Makes a new message. This is the one call that is not the same when it is made twice: whoever doesn't know what
    /// became of it ([`Created::Unknown`], or a crash) must look with [`CloudAccount::find`] before asking again.
    ///
    /// The message may be made in another folder than the one that was asked for; `Seen::folder` tells which, and a move
    /// brings it where it belongs.
    async fn create(&self, new: NewMessage<'_>) -> Created;

    /// Finds the messages with this Message-ID, wherever they are.
    async fn find(&self, message_id: &str) -> Result<Vec<Seen>, CloudError>;

    /// Gives a draft another content. With a `revision`, only if the draft still is at that one; otherwise the answer is
    /// [`Outcome::Outdated`]. To give it the same content again changes nothing.
    ///
    /// The draft may have another id afterwards.
    async fn replace(&self, id: &RemoteId, revision: Option<&str>, content: NewContent<'_>) -> Outcome;

    /// Removes what an attempt to make a message has left that took several requests and was broken off. It is found by
    /// [`NewContent::unfinished`]; whether somebody has written on it is for the caller to find out.
    async fn remove_unfinished(&self, left: &Seen) -> Result<(), CloudError>;

    /// Makes such a one a message like any other, of that Message-ID.
    async fn keep_unfinished(&self, left: &Seen, message_id: &MessageId) -> Result<(), CloudError>;

    /// The folder that a deleted message ends up in, or nothing where it ends up nowhere.
    ///
    /// Who deletes a message that is in the folder [`DeleteAction::Trash`] leads to must ask for
    /// [`DeleteAction::Purge`]: no cloud can move a message to where it is.
    async fn delete_target(&self, action: DeleteAction) -> Result<Option<FolderId>, CloudError>;

    /// All folders that people see and that may hold mail. Of those of `known` that aren't among them it is found out whether
    /// they are gone.
    async fn tree(&self, known: &[FolderId]) -> Result<Tree, CloudError>;

    /// Asks whether folders were made, renamed, moved or deleted since; with nothing to begin at, whence to ask later.
    async fn tree_news(&self, since: Option<&Cursor>) -> Result<TreeNews, CloudError>;

    /// Makes a folder below another one, or at the top. Where there is one of that name already, it is that one.
    async fn create_folder(&self, parent: Option<&FolderId>, name: &str) -> Result<FolderId, CloudError>;

    /// Gives a folder another name. [`CloudError::Gone`] if it isn't there.
    async fn rename_folder(&self, folder: &FolderId, name: &str) -> Result<(), CloudError>;

    /// Moves a folder, with all that is in it, below another one, or to the top. [`CloudError::Gone`] if one isn't there.
    async fn move_folder(&self, folder: &FolderId, parent: Option<&FolderId>) -> Result<(), CloudError>;
}

/// A service that tells of changes by itself, beside being asked for them.
pub trait Notifier: Send + Sync {
    /// Listens for changes in these folders. Nothing is asked of the service before the first [`Notifications::next`].
    fn listen(&self, folders: Vec<FolderId>) -> Box<dyn Notifications>;
}

/// What a service tells by itself. Dropping it ends the listening.
#[async_trait]
pub trait Notifications: Send {
    /// Waits for the next thing that is told. Connections that break are made again inside.
    async fn next(&mut self) -> Wake;
}

/// A reason to look at folders now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Something happened in this folder.
    Folder(FolderId),
    /// Something may have happened in any of the folders, because nobody listened for a while.
    All,
    /// What happens in this folder isn't told, and what happens in the others is. [`Wake::Folder`] comes when that is over.
    Refused {
        /// The folder.
        folder: FolderId,
        /// Why, in words.
        reason: String,
    },
    /// Nothing is heard for now; [`Wake::All`] comes when that is over.
    Lost,
    /// Nothing is told here, and nothing more comes.
    Unavailable {
        /// Why, in words.
        reason: String,
    },
}

/// Where fetched bytes go.
pub trait MimeSink: Send {
    /// Forgets all that was written: the transfer begins again.
    fn restart(&mut self) -> io::Result<()>;
    /// Takes the next bytes.
    fn write(&mut self, chunk: &[u8]) -> io::Result<()>;
}

/// One of several messages that are fetched together.
pub struct Wanted<'a> {
    /// Which message.
    pub id: &'a RemoteId,
    /// Where its bytes go.
    pub sink: &'a mut dyn MimeSink,
}

/// Which messages it pays to fetch in one request, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Together {
    /// How many messages at most.
    pub most: usize,
    /// How many such requests run at a time. It pays to fetch messages together only where more wait than that.
    pub at_a_time: usize,
    /// The largest that is small, by its [`Seen::size`].
    pub longest_bytes: u64,
    /// How many bytes at most in all, by the same.
    pub most_bytes: u64,
}

/// What a cloud can store and do.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// The flags that the cloud reports.
    pub readable_flags: Flags,
    /// The flags that can be set and cleared. A subset of the readable ones.
    pub settable_flags: Flags,
    /// Of these flags the cloud remembers only the newest: that one of them went when another came means nothing.
    pub exclusive_flags: Flags,
    /// What becomes of messages that are given to it.
    pub uploads: Uploads,
    /// How much time must lie between two polls of one mailbox for each mailbox of the account, so that polls use up only
    /// a part of what the service takes.
    pub poll_cost: Duration,
    /// How messages are fetched together; nothing where the cloud can't.
    pub together: Option<Together>,
}

/// What becomes of messages that are given to a cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uploads {
    /// Of drafts.
    pub drafts: Fidelity,
    /// Of all others, as far as it is known: a cloud may turn out not to take them.
    pub others: Fidelity,
    /// The longest draft that it takes, in bytes with CRLF line ends.
    pub longest_draft_bytes: u64,
    /// The longest of the others.
    pub longest_other_bytes: u64,
    /// What is longer takes several requests, and may be left unfinished.
    pub longest_at_once_bytes: u64,
}

/// How much of a message that is given to a cloud comes back from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// Every byte, and when it was received.
    Lossless,
    /// What it says; header fields, times and encodings may be others.
    Lossy,
    /// The cloud doesn't take such messages.
    Refused,
}

/// What a folder is for, as far as it matters for uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderRole {
    /// The one for drafts.
    Drafts,
    /// The one in which the cloud files what was sent.
    Sent,
    /// Any other.
    Other,
}

/// A message to be made.
pub struct NewMessage<'a> {
    /// Where it is to be.
    pub folder: &'a FolderId,
    /// Whether it is a draft.
    pub draft: bool,
    /// What it is to hold.
    pub content: NewContent<'a>,
}

/// What a message is to hold.
#[derive(Clone, Copy)]
pub struct NewContent<'a> {
    /// Its bytes, with CRLF line ends.
    pub mime: &'a dyn Readable,
    /// Its Message-ID.
    pub message_id: &'a MessageId,
    /// The Message-ID that it has in the cloud until it is whole, where it takes several requests. It must be one of
    /// [`MessageId::for_unfinished`] that was never used before. Whoever doesn't hear that the message was made must look for
    /// what is left of it ([`CloudAccount::find`]): nobody sees that here, and everybody who looks at the mailbox by other means
    /// does.
    pub unfinished: &'a MessageId,
}

/// What became of a message that was to be made.
#[derive(Debug)]
pub enum Created {
    /// It was made, and this is what the cloud says of it.
    Made(Seen),
    /// Nobody knows whether it was made.
    Unknown(CloudError),
    /// It wasn't made, and may be later.
    Later(CloudError),
    /// It wasn't made, and it makes no sense to ask again.
    Refused(CloudError),
}

/// The cloud's name for a folder: opaque.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FolderId(pub String);

/// A folder that was found.
#[derive(Clone, Debug)]
pub struct Folder {
    /// What it is asked for by.
    pub id: FolderId,
    /// Its path as people read it, such as `Inbox/Lists/rust`.
    pub path: String,
    /// How many items the cloud says it holds, those that aren't mail included.
    pub total_items: u64,
    /// How many of them aren't read.
    pub unread_items: u64,
}

/// Where a listing stands: opaque, to be stored and given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);

/// The answer to [`CloudAccount::changes`].
#[derive(Clone, Debug)]
pub enum Changes {
    /// One page, perhaps an empty one in the middle of a round.
    Page(Page),
    /// The cloud no longer knows the cursor. A full listing must follow; what was seen in this round counts for nothing.
    CursorLost,
}

/// One page of a round.
#[derive(Clone, Debug)]
pub struct Page {
    /// Messages as they are now, in no order; the same message may come more than once, and the last one holds.
    pub upserts: Vec<Seen>,
    /// Messages said to have left the folder. Only a hint: confirm it with [`CloudAccount::look_up`].
    pub removals: Vec<RemoteId>,
    /// How the round goes on.
    pub next: Next,
}

/// How a round of pages goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more: ask with this cursor.
    More(Cursor),
    /// The round is complete; begin the next one here.
    Complete {
        /// To be stored once all that the round told is durable, and not before.
        cursor: Cursor,
        /// Whether the round named everything that is in the folder, so that what it didn't name is no longer there.
        /// True for the first round and for every round of a provider that can only list. Messages that move while a
        /// list is walked can slip past it, so what wasn't named is only probably gone: confirm it with
        /// [`CloudAccount::look_up`] as well.
        whole: bool,
    },
}

/// What the cloud said about one message. A field that is absent is unchanged, never empty.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which message.
    pub id: RemoteId,
    /// The folder that it is in, if told.
    pub folder: Option<FolderId>,
    /// The values of the flags named in `known_flags`; others are not set here.
    pub flags: Flags,
    /// Which flags were told.
    pub known_flags: Flags,
    /// When the message was received, if told.
    pub received: Option<UnixSeconds>,
    /// Drafts only: changes when the draft's content may have changed.
    pub revision: Option<String>,
    /// About how many bytes the message has, if told. A hint: what is fetched may be shorter or longer.
    pub size: Option<u64>,
}

/// Where a message is now.
#[derive(Clone, Debug)]
pub enum Whereabouts {
    /// In the folder named by `Seen::folder`, which is always told here, as are all readable flags and the time.
    Here(Seen),
    /// Nowhere in the account.
    Gone,
}

/// One change to one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudOp {
    /// Which message.
    pub id: RemoteId,
    /// What to do with it.
    pub change: CloudChange,
}

/// What can be done to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudChange {
    /// Set and clear flags, settable ones only.
    SetFlags {
        /// The flags to set.
        add: Flags,
        /// The flags to clear.
        remove: Flags,
        /// All flags as they shall be afterwards, for clouds in which one field holds several.
        result: Flags,
    },
    /// Move to another folder.
    Move {
        /// Where to.
        to: FolderId,
    },
    /// Delete. A message that is already where the action would put it needs [`DeleteAction::Purge`]
    /// (see [`CloudAccount::delete_target`]).
    Delete(DeleteAction),
}

/// What deleting a message means in the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeleteAction {
    /// Into the cloud's own folder of deleted messages.
    #[default]
    Trash,
    /// Into the cloud's archive folder.
    Archive,
    /// For good, as far as the service lets a user do that.
    Purge,
}

/// What became of one change.
#[derive(Debug)]
pub enum Outcome {
    /// The cloud says that it is done.
    Done {
        /// The message's id from now on; most clouds never change it. Nothing for a message that was purged.
        id: Option<RemoteId>,
        /// What the cloud says of the message now, where it said anything. Believe this, not the status.
        now: Option<Seen>,
    },
    /// The cloud says that it is done. It says so at times of what it doesn't do, and what became of it couldn't be read.
    Unconfirmed {
        /// As in [`Outcome::Done`].
        id: Option<RemoteId>,
        /// As in [`Outcome::Done`].
        now: Option<Seen>,
    },
    /// The message isn't there any more.
    Gone,
    /// Not done: the message isn't at the revision any more that was named.
    Outdated,
    /// Not done, perhaps later: the network, the service or the sign-in failed.
    Later(CloudError),
    /// Not done, and it makes no sense to ask again.
    Refused(CloudError),
}

/// Why a call failed; each variant is another thing to do next.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// Nobody is signed in, or no longer.
    #[error("signing in to {account} is needed: {reason}")]
    SignInNeeded {
        /// The account's user name, or what stands for it.
        account: String,
        /// What ended the sign-in, in the service's words.
        reason: String,
    },
    /// The folder that was asked for doesn't exist.
    #[error("there is no folder `{name}`")]
    NoSuchFolder {
        /// The name that was asked for.
        name: String,
        /// The nearest names that do exist, best first.
        nearest: Vec<String>,
    },
    /// The network or the service can't be reached now.
    #[error("the mail service can't be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The service asks for a pause longer than it is sensible to wait inside a call.
    #[error("the mail service asks to be left alone for {} s", .0.as_secs())]
    Throttled(Duration),
    /// The message isn't there any more.
    #[error("the message is no longer there")]
    Gone,
    /// The service can't make this one message; the rest of the folder is fine.
    #[error("the mail service can't deliver this message ({code}: {message})")]
    Unconvertible {
        /// The service's error code.
        code: String,
        /// The service's words.
        message: String,
        /// What the service's support asks for.
        request_id: String,
    },
    /// The message is too long, in what of it can't be given piece by piece.
    #[error(
        "{:.1} MB of it are no attachments, and the mail service takes no more than {:.1} MB at once",
        megabytes(*.bytes), megabytes(*.most)
    )]
    TooLong {
        /// How many bytes that has.
        bytes: u64,
        /// How many are taken.
        most: u64,
    },
    /// The service refused, and will again.
    #[error("the mail service refused with {status} {code}: {message} (request id {request_id})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The service's error code, empty where it gave none.
        code: String,
        /// The service's words.
        message: String,
        /// What the service's support asks for, empty where it gave none.
        request_id: String,
    },
    /// The answer makes no sense, such as a page that isn't JSON.
    #[error("the mail service gave an answer that makes no sense: {0}")]
    Unexpected(String),
    /// What was fetched couldn't be written here.
    #[error("what was fetched couldn't be written")]
    Sink(#[source] io::Error),
}

#[allow(clippy::cast_precision_loss, reason = "one digit of it is shown")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
