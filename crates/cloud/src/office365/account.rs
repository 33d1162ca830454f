//! One account, and what all its calls share.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use cms_auth::AccessTokens;
use cms_engine::{Flags, MessageId, RemoteId, UnixSeconds};
use url::Url;

use super::batch::Linked;
use super::fetch_together::Downloads;
use super::polls::Polls;
use super::upload::OVERHEAD_BYTES;
use crate::contract::{
    Capabilities, Changes, CloudAccount, CloudChange, CloudError, CloudOp, Created, Cursor, DeleteAction, Folder,
    FolderId, FolderRole, MimeSink, NewContent, NewMessage, Outcome, Seen, Tree, TreeNews, Wanted, Whereabouts,
};
use crate::http::{Http, HttpOptions, Network, RetryPolicy, Timeouts, Transport, service_root};

/// Ids that stay the same when a message moves (Outlook immutable identifiers).
pub(super) const IMMUTABLE: &str = "IdType=\"ImmutableId\"";

/// How many requests a mailbox serves at a time for one application (Microsoft Graph throttling limits, Outlook).
const PARALLEL: usize = 4;
/// How many requests a mailbox takes from one application (Microsoft Graph throttling limits, Outlook) …
const RATE_LIMIT: u32 = 10_000;
/// … in how long.
const RATE_WINDOW: Duration = Duration::from_secs(600);

/// How many bytes a mailbox takes from one application (the same) …
const UPLOAD_LIMIT_BYTES: usize = 150_000_000;
/// … in how long.
const UPLOAD_WINDOW: Duration = Duration::from_secs(300);
/// A request is no longer than this (Outlook MIME limits).
const LONGEST_REQUEST_BYTES: usize = 4 << 20;

/// One in so many requests that the mailbox takes may be a poll.
const POLL_SHARE: u32 = 4;

/// What an [`Account`] is made of.
#[derive(Clone)]
pub struct Options {
    /// The user's name, for messages; without it, what the token source calls the account.
    pub user: Option<String>,
    /// The address of whose mailbox it is, where it isn't the signed-in user's own. Its folders are named with the address in
    /// front, `team@domain.com/inbox`, which tells them apart from the user's.
    pub mailbox_owner: Option<String>,
    /// Where Microsoft Graph is, without a version: `https://graph.microsoft.com` or another cloud's.
    pub graph_url: Url,
    /// How many messages a page may hold. The service is free to send fewer.
    pub page_size: u32,
    /// How many requests the service takes in ten minutes. Of those, one in a hundred is never made, and downloads leave
    /// two more in a hundred to changes and polls.
    pub rate_limit: u32,
    /// How many requests the service serves at a time.
    pub parallel: usize,
    /// How long a request may be, in bytes.
    pub longest_request_bytes: usize,
    /// When to try again.
    pub retry: RetryPolicy,
    /// How long silence is taken for work.
    pub timeouts: Timeouts,
    /// What carries the requests; nothing for the network.
    pub transport: Option<Arc<dyn Transport>>,
    /// The time, which is written beside a reply mark.
    pub now: Arc<dyn Fn() -> UnixSeconds + Send + Sync>,
    /// A number from 0 up to 1, which spreads the waits between tries.
    pub random: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl Options {
    /// The usual ones: pages of 500, the documented limit of requests, the system's clock.
    pub fn new(graph_url: Url) -> Self {
        Self {
            user: None,
            mailbox_owner: None,
            graph_url,
            page_size: 500,
            rate_limit: RATE_LIMIT,
            parallel: PARALLEL,
            longest_request_bytes: LONGEST_REQUEST_BYTES,
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
            transport: None,
            now: Arc::new(|| {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                UnixSeconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
            }),
            random: Arc::new(rand::random::<f64>),
        }
    }
}

impl Options {
    /// Has requests be so short that no longer message than that goes in one.
    pub fn longest_at_once(&mut self, bytes: usize) {
        self.longest_request_bytes = bytes.div_ceil(3) * 4 + OVERHEAD_BYTES;
    }
}

/// One mailbox: the signed-in user's, or one that is shared with them.
pub struct Account {
    pub(super) http: Http,
    pub(super) name: String,
    /// Whose mailbox it is, if not the signed-in user's.
    pub(super) owner: Option<String>,
    /// The folder that last told its changes: where it doesn't answer, the whole mailbox may be out of reach.
    pub(super) reached: Mutex<Option<FolderId>>,
    /// The address of the API with its version.
    pub(super) root: Url,
    pub(super) longest_request_bytes: usize,
    pub(super) full_page_size: u32,
    /// What pages are asked for at the moment: fewer after the service failed to make a large one.
    pub(super) page_size: AtomicU32,
    /// Whether the cloud turned out to have no `permanentDelete`.
    pub(super) cannot_purge: AtomicBool,
    /// Whether the account turned out not to take messages other than drafts.
    pub(super) cannot_import: AtomicBool,
    pub(super) polls: Polls,
    pub(super) together: Downloads,
    pub(super) well_known: Mutex<HashMap<&'static str, FolderId>>,
    /// Held by who asks for one of them.
    pub(super) asking_well_known: tokio::sync::Mutex<()>,
    /// How often that failed.
    pub(super) failed_well_known: AtomicU64,
    pub(super) now: Arc<dyn Fn() -> UnixSeconds + Send + Sync>,
}

impl Account {
    /// Makes a client; asks nothing yet. Refuses an address that a token must not be sent to.
    pub fn new(options: Options, tokens: Arc<dyn AccessTokens>) -> Result<Self, CloudError> {
        let graph_url = &options.graph_url;
        let root = service_root(graph_url, "Microsoft Graph", &["v1.0"])?;
        let transport = match options.transport {
            Some(transport) => transport,
            None => Arc::new(
                Network::new(options.timeouts, cms_auth::is_loopback(graph_url))
                    .map_err(|error| CloudError::Unreachable(Box::new(error)))?,
            ),
        };
        let rate_limit = usize::try_from(options.rate_limit.max(1)).unwrap_or(usize::MAX);
        let http = HttpOptions {
            policy: options.retry,
            parallel: options.parallel,
            budget: (rate_limit - rate_limit / 100, RATE_WINDOW),
            upload_budget: (UPLOAD_LIMIT_BYTES - UPLOAD_LIMIT_BYTES / 50, UPLOAD_WINDOW),
            reserve: rate_limit / 50,
            random: options.random,
            transport,
        };
        let name = options.user.unwrap_or_else(|| tokens.account().to_owned());
        let http = Http::new(http, tokens);
        let page_size = options.page_size.max(1);
        Ok(Self {
            http,
            name,
            owner: options.mailbox_owner,
            reached: Mutex::default(),
            root,
            longest_request_bytes: options.longest_request_bytes,
            full_page_size: page_size,
            page_size: AtomicU32::new(page_size),
            cannot_purge: AtomicBool::new(false),
            cannot_import: AtomicBool::new(false),
            polls: Polls::default(),
            together: Downloads::new(options.parallel),
            well_known: Mutex::default(),
            asking_well_known: tokio::sync::Mutex::default(),
            failed_well_known: AtomicU64::default(),
            now: options.now,
        })
    }

    /// The way to the mailbox, and from there to something in it.
    fn in_mailbox<'s>(&'s self, segments: &[&'s str]) -> Vec<&'s str> {
        let home = match &self.owner {
            None => vec!["me"],
            Some(owner) => vec!["users", owner.as_str()],
        };
        home.into_iter().chain(segments.iter().copied()).collect()
    }

    /// How the journal writes a request about something in the mailbox.
    pub(super) fn line(&self, method: &str, path: &str) -> String {
        let home = if self.owner.is_some() { "users/{owner}" } else { "me" };
        format!("{method} /{home}/{path}")
    }

    /// The address of something in the mailbox under `/v1.0`. `query` is already fit to stand in an address.
    pub(super) fn url(&self, segments: &[&str], query: &str) -> Url {
        let mut url = self.root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(self.in_mailbox(segments));
        }
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        url
    }

    /// The address of something in the mailbox under `/beta`.
    pub(super) fn beta_url(&self, segments: &[&str]) -> Url {
        let mut url = self.root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop().push("beta").extend(self.in_mailbox(segments));
        }
        url
    }

    /// Where many requests are made in one.
    pub(super) fn batch_url(&self) -> Url {
        let mut url = self.root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push("$batch");
        }
        url
    }

    /// An address as a batch wants it: without host and version.
    pub(super) fn relative<'u>(&self, url: &'u Url) -> &'u str {
        let from_path = &url[url::Position::BeforePath..];
        from_path.strip_prefix(self.root.path()).unwrap_or(from_path)
    }

    /// A link of the service's, to be followed as it is, or nothing if it leads elsewhere: a token must not.
    pub(super) fn own_link(&self, link: &str) -> Option<Url> {
        Url::parse(link).ok().filter(|url| url.origin() == self.root.origin())
    }
}

#[async_trait]
impl CloudAccount for Account {
    fn capabilities(&self) -> Capabilities {
        let settable = Flags::SEEN | Flags::FLAGGED | Flags::REPLIED | Flags::PASSED;
        Capabilities {
            readable_flags: settable | Flags::DRAFT,
            settable_flags: settable,
            exclusive_flags: Flags::REPLIED | Flags::PASSED,
            uploads: self.uploads(),
            poll_cost: RATE_WINDOW * POLL_SHARE / RATE_LIMIT,
            together: Some(self.together.now()),
        }
    }

    async fn open(&self, name: &str) -> Result<Folder, CloudError> {
        let Some(owner) = &self.owner else { return self.open_folder(name).await };
        let own = name.strip_prefix(owner.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name);
        match self.open_folder(own).await {
            Ok(folder) => Ok(of_owner(owner, folder)),
            // A name is wrong only in a mailbox that is there: one that isn't shared may answer as if it held nothing.
            Err(CloudError::NoSuchFolder { nearest, .. }) => match self.well_known_folder("inbox").await {
                Ok(_) => Err(CloudError::NoSuchFolder {
                    name: name.to_owned(),
                    nearest: nearest.into_iter().map(|near| format!("{owner}/{near}")).collect(),
                }),
                Err(CloudError::NoSuchFolder { .. }) => Err(out_of_reach(owner)),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn folders(&self) -> Result<Vec<Folder>, CloudError> {
        let folders = self.all_folders().await?;
        let Some(owner) = &self.owner else { return Ok(folders) };
        Ok(folders.into_iter().map(|folder| of_owner(owner, folder)).collect())
    }

    async fn changes(&self, folder: &FolderId, cursor: Option<&Cursor>) -> Result<Changes, CloudError> {
        let changes = self.changes_after(folder, cursor).await?;
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.clone());
        Ok(changes)
    }

    async fn look_up(&self, ids: &[RemoteId]) -> Vec<Result<Whereabouts, CloudError>> {
        self.look_up_all(ids, Linked::Not).await
    }

    async fn look_up_before_change(&self, ids: &[RemoteId]) -> Vec<Result<Whereabouts, CloudError>> {
        self.look_up_all(ids, Linked::Chained).await
    }

    async fn fetch(&self, id: &RemoteId, sink: &mut dyn MimeSink) -> Result<u64, CloudError> {
        self.fetch_mime(id, sink).await
    }

    async fn fetch_together(&self, wanted: &mut [Wanted<'_>]) -> Vec<Option<Result<u64, CloudError>>> {
        self.fetch_all(wanted).await
    }

    fn least_time(&self, downloads: usize) -> Duration {
        self.http.least_time(downloads)
    }

    fn network_changed(&self) {
        self.http.network_changed();
    }

    async fn apply(&self, ops: &[CloudOp]) -> Vec<Outcome> {
        self.apply_all(ops).await
    }

    fn request_line(&self, change: &CloudChange) -> String {
        let (method, action) = match change {
            CloudChange::SetFlags { .. } => ("PATCH", ""),
            CloudChange::Move { .. } => ("POST", "/move"),
            CloudChange::Delete(DeleteAction::Trash) => ("POST", "/move to deleteditems"),
            CloudChange::Delete(DeleteAction::Archive) => ("POST", "/move to archive"),
            CloudChange::Delete(DeleteAction::Purge) => ("POST", "/permanentDelete"),
        };
        self.line(method, &format!("messages/{{id}}{action}"))
    }

    async fn role(&self, folder: &FolderId) -> Result<FolderRole, CloudError> {
        self.role_of(folder).await
    }

    async fn create(&self, new: NewMessage<'_>) -> Created {
        self.create_message(new).await
    }

    async fn find(&self, message_id: &str) -> Result<Vec<Seen>, CloudError> {
        self.find_message(message_id).await
    }

    async fn replace(&self, id: &RemoteId, revision: Option<&str>, content: NewContent<'_>) -> Outcome {
        self.replace_content(id, revision, content).await
    }

    async fn remove_unfinished(&self, left: &Seen) -> Result<(), CloudError> {
        self.remove_left(left).await
    }

    async fn keep_unfinished(&self, left: &Seen, message_id: &MessageId) -> Result<(), CloudError> {
        self.keep_left(left, message_id).await
    }

    async fn delete_target(&self, action: DeleteAction) -> Result<Option<FolderId>, CloudError> {
        self.target_of(action).await
    }

    async fn tree(&self, known: &[FolderId]) -> Result<Tree, CloudError> {
        self.whole_tree(known).await
    }

    async fn tree_news(&self, since: Option<&Cursor>) -> Result<TreeNews, CloudError> {
        self.folder_news(since).await
    }

    async fn create_folder(&self, parent: Option<&FolderId>, name: &str) -> Result<FolderId, CloudError> {
        self.make_folder(parent, name).await
    }

    async fn rename_folder(&self, folder: &FolderId, name: &str) -> Result<(), CloudError> {
        self.name_folder(folder, name).await
    }

    async fn move_folder(&self, folder: &FolderId, parent: Option<&FolderId>) -> Result<(), CloudError> {
        self.place_folder(folder, parent).await
    }
}

/// Says that nothing can be known of a mailbox. It isn't an answer about anything in it.
pub(super) fn out_of_reach(owner: &str) -> CloudError {
    CloudError::Unexpected(format!("the mailbox of {owner} is out of reach; it may not be shared with this account"))
}

/// A folder of a mailbox that isn't the signed-in user's, under its name there.
fn of_owner(owner: &str, folder: Folder) -> Folder {
    Folder { path: format!("{owner}/{}", folder.path), ..folder }
}
