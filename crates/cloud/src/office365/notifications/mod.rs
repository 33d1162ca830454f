//! The streaming notifications of the old Outlook REST interface (beta): one long connection for all folders of an
//! account.
//!
//! The service has retired it for most (410 Gone); then there is nothing to do but to poll. Where it lives, what it tells
//! is only a hint to look: the ids in it are of another kind, and what happened while nobody listened is lost.

mod connection;
mod document;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use cms_auth::{AccessToken, AccessTokens, AuthError};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::debug;
use url::Url;

use crate::contract::{CloudError, FolderId, Notifications, Notifier, Wake};
use crate::http::{ServiceError, Timeouts, client_builder, service_root};
use connection::{Connection, Heard};

/// What a token for the notifications is asked for with.
pub const NOTIFICATIONS_SCOPE: &str = "https://outlook.office.com/mail.read";

/// How often the service is to say that the connection lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long the service is to keep the connection, in minutes: as in the example of its documentation.
const CONNECTION_MINUTES: u64 = 30;

/// An error's body is read no further.
const LARGEST_ERROR_BYTES: usize = 64 << 10;

/// What a [`StreamingNotifier`] is made of.
#[derive(Clone)]
pub struct NotifierOptions {
    /// Where Outlook on the web is: `https://outlook.office.com`.
    pub owa_url: Url,
    /// How often the service is to give a sign of life, in whole seconds; the connection is taken for dead after twice that.
    pub keep_alive: Duration,
    /// How long the wait is after a first failure. It doubles with each further one, up to [`NotifierOptions::longest_pause`].
    pub first_pause: Duration,
    /// The longest wait.
    pub longest_pause: Duration,
    /// How long an answer may take to begin.
    pub patience: Duration,
    /// A number from 0 up to 1, which spreads the waits.
    pub random: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl NotifierOptions {
    /// The usual ones.
    pub fn new(owa_url: Url) -> Self {
        Self {
            owa_url,
            keep_alive: KEEP_ALIVE,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(15 * 60),
            patience: Duration::from_secs(30),
            random: Arc::new(rand::random::<f64>),
        }
    }
}

/// One account's way to the notifications.
#[derive(Clone)]
pub struct StreamingNotifier(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    tokens: Arc<dyn AccessTokens>,
    /// The address of the interface with its version.
    root: Url,
    options: NotifierOptions,
}

/// Why there are no notifications.
#[derive(Debug)]
enum Trouble {
    /// They can't be had.
    Unavailable(String),
    /// They may be had later, not sooner than after the pause that the service asked for.
    Passing { words: String, pause: Duration },
    /// What was asked about isn't there.
    NotFound(ServiceError),
}

impl Trouble {
    fn passing(words: &(impl ToString + ?Sized)) -> Self {
        Self::Passing { words: words.to_string(), pause: Duration::ZERO }
    }
}

impl StreamingNotifier {
    /// Makes a client; asks nothing yet. Refuses an address that a token must not be sent to. `tokens` are for
    /// [`NOTIFICATIONS_SCOPE`].
    pub fn new(options: NotifierOptions, tokens: Arc<dyn AccessTokens>) -> Result<Self, CloudError> {
        let owa_url = &options.owa_url;
        let root = service_root(owa_url, "Outlook on the web", &["api", "beta", "me"])?;
        // A compressed document would come in blocks, and late.
        let http = client_builder(Timeouts::default().connect, cms_auth::is_loopback(owa_url)).no_gzip();
        let http = http.build().map_err(|error| CloudError::Unreachable(Box::new(error)))?;
        Ok(Self(Arc::new(Inner { http, tokens, root, options })))
    }
}

impl Notifier for StreamingNotifier {
    fn listen(&self, folders: Vec<FolderId>) -> Box<dyn Notifications> {
        Box::new(Stream {
            inner: Arc::clone(&self.0),
            folders,
            subscriptions: Vec::new(),
            connection: None,
            waiting: VecDeque::new(),
            failures: 0,
            is_there: false,
            hears: false,
            resume_at: None,
            over: false,
        })
    }
}

/// What is listened for, and how far that has come.
struct Stream {
    inner: Arc<Inner>,
    folders: Vec<FolderId>,
    /// Those that the service has, by id.
    subscriptions: Vec<(String, FolderId)>,
    connection: Option<Connection>,
    waiting: VecDeque<Wake>,
    /// How many connections in a row didn't live.
    failures: u32,
    /// Whether the interface turned out to be there.
    is_there: bool,
    /// Whether a connection was told of that wasn't told to be lost.
    hears: bool,
    /// When to try again after a failure.
    resume_at: Option<Instant>,
    over: bool,
}

#[async_trait]
impl Notifications for Stream {
    async fn next(&mut self) -> Wake {
        loop {
            if let Some(wake) = self.waiting.pop_front() {
                return wake;
            }
            if self.over {
                std::future::pending::<()>().await;
            }
            if let Some(at) = self.resume_at.take() {
                tokio::time::sleep_until(at).await;
            }
            let trouble = match self.go_on().await {
                Ok(()) => continue,
                Err(trouble) => trouble,
            };
            self.connection = None;
            let (words, pause) = match trouble {
                Trouble::Unavailable(reason) => {
                    self.over = true;
                    return Wake::Unavailable { reason };
                }
                Trouble::Passing { words, pause } => (words, pause),
                Trouble::NotFound(error) => (error.to_string(), Duration::ZERO),
            };
            self.failures += 1;
            let pause = pause.max(self.inner.pause_after(self.failures));
            debug!("The notifications broke off: {words}; listening again in {} ms", pause.as_millis());
            self.resume_at = Some(Instant::now() + pause);
            if std::mem::take(&mut self.hears) {
                return Wake::Lost;
            }
        }
    }
}

impl Stream {
    /// Waits for what comes over the connection, or makes one.
    async fn go_on(&mut self) -> Result<(), Trouble> {
        let Some(connection) = &mut self.connection else { return self.connect().await };
        let heard = connection.hear().await?;
        if connection.has_lived() {
            self.failures = 0;
        }
        match heard {
            Heard::Items(items) => {
                for item in items {
                    self.note(item);
                }
                Ok(())
            }
            Heard::End if connection.has_lived() => {
                self.connection = None;
                Ok(())
            }
            Heard::End => Err(Trouble::passing("the document was over at once")),
        }
    }

    fn note(&mut self, item: document::Item) {
        let document::Item::Notification { subscription, change } = item else { return };
        let folder = self.subscriptions.iter().find(|(id, _)| *id == subscription).map(|(_, folder)| folder.clone());
        let wake = match (change.as_str(), folder) {
            ("Acknowledgment", _) => return,
            ("Missed", _) | (_, None) => Wake::All,
            (_, Some(folder)) => Wake::Folder(folder),
        };
        // One look serves all that has happened.
        if !self.waiting.contains(&wake) {
            self.waiting.push_back(wake);
        }
    }

    async fn connect(&mut self) -> Result<(), Trouble> {
        if !self.is_there {
            self.inner.look_whether_it_is_there().await?;
            self.is_there = true;
        }
        for folder in &self.folders {
            if self.subscriptions.iter().any(|(_, known)| known == folder) {
                continue;
            }
            match self.inner.subscribe(folder).await {
                Ok(id) => self.subscriptions.push((id, folder.clone())),
                // A folder may have been deleted a moment ago; the others are heard of.
                Err(Trouble::NotFound(error)) if is_about_an_item(&error) => debug!("No notifications: {error}"),
                Err(Trouble::NotFound(error)) => return Err(Trouble::Unavailable(error.to_string())),
                Err(trouble) => return Err(trouble),
            }
        }
        if self.subscriptions.is_empty() {
            return Err(Trouble::passing("none of the folders is there"));
        }
        let options = &self.inner.options;
        let ids: Vec<&str> = self.subscriptions.iter().map(|(id, _)| id.as_str()).collect();
        let wish = json!({
            "ConnectionTimeoutInMinutes": CONNECTION_MINUTES,
            "KeepAliveNotificationIntervalInSeconds": options.keep_alive.as_secs().max(1),
            "SubscriptionIds": ids,
        });
        match self.inner.post("GetNotifications", &wish).await {
            Ok(response) => {
                debug!(folders = ids.len(), "Listening for notifications");
                self.connection = Some(Connection::new(response, options.keep_alive));
                // What happened before was told to nobody.
                self.waiting.push_back(Wake::All);
                self.hears = true;
                Ok(())
            }
            Err(Trouble::NotFound(error)) => {
                self.subscriptions.clear();
                Err(Trouble::NotFound(error))
            }
            Err(trouble) => Err(trouble),
        }
    }
}

impl Inner {
    /// Asks without a token: an interface that is gone says so to anybody, and then no token for it is ever asked for.
    async fn look_whether_it_is_there(&self) -> Result<(), Trouble> {
        match self.post_once("subscriptions", &json!({}), None).await {
            Err(Trouble::Unavailable(reason)) => Err(Trouble::Unavailable(reason)),
            Err(Trouble::NotFound(error)) => Err(Trouble::Unavailable(error.to_string())),
            Err(Trouble::Passing { words, pause }) => Err(Trouble::Passing { words, pause }),
            Ok(_) => Ok(()),
        }
    }

    /// Subscribes to a folder's messages and gives the subscription's id.
    async fn subscribe(&self, folder: &FolderId) -> Result<String, Trouble> {
        let wish = json!({
            "@odata.type": "#Microsoft.OutlookServices.StreamingSubscription",
            "Resource": format!("{}/mailfolders('{}')/Messages", self.root, folder.0),
            "ChangeType": "Created,Updated,Deleted",
        });
        let mut response = self.post("subscriptions", &wish).await?;
        let body = tokio::time::timeout(self.options.patience, read(&mut response));
        let body = body.await.map_err(|_| Trouble::passing("a subscription has no end"))?;
        let answer: Value = serde_json::from_slice(&body).map_err(|_| Trouble::passing("a subscription isn't JSON"))?;
        let id = answer.get("Id").and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| Trouble::passing("a subscription has no id"))
    }

    /// Asks with a token, and with another one if that is refused.
    async fn post(&self, what: &str, body: &Value) -> Result<reqwest::Response, Trouble> {
        let token = self.tokens.access_token().await.map_err(|error| no_token(&error))?;
        let response = self.post_once(what, body, Some(&token)).await?;
        if response.status() != reqwest::StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let token = self.tokens.renew(&token, None).await.map_err(|error| no_token(&error))?;
        let response = self.post_once(what, body, Some(&token)).await?;
        if response.status() == reqwest::StatusCode::UNAUTHORIZED {
            return Err(Trouble::Unavailable("it doesn't accept the sign-in".to_owned()));
        }
        Ok(response)
    }

    /// Asks once. An answer is success, or 401 in any case, or whatever is refused to those who show no token.
    async fn post_once(
        &self,
        what: &str,
        body: &Value,
        token: Option<&AccessToken>,
    ) -> Result<reqwest::Response, Trouble> {
        let mut url = self.root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(what);
        }
        let mut request =
            self.http.post(url).header(CONTENT_TYPE, "application/json").header(ACCEPT, "application/json");
        if let Some(token) = token {
            request = request.bearer_auth(token.reveal());
        }
        let sent = tokio::time::timeout(self.options.patience, request.body(body.to_string()).send()).await;
        let mut response =
            sent.map_err(|_| Trouble::passing("no answer"))?.map_err(|error| Trouble::passing(&error.without_url()))?;
        let status = response.status();
        if status.is_success() || status == reqwest::StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let headers: HeaderMap = response.headers().clone();
        let body = tokio::time::timeout(self.options.patience, read(&mut response)).await.unwrap_or_default();
        let error = ServiceError::read(status.as_u16(), &headers, &body, SystemTime::now());
        match status.as_u16() {
            404 => Err(Trouble::NotFound(error)),
            // A page instead of an interface is no interface.
            300..=399 | 405 | 410 | 501 => Err(Trouble::Unavailable(error.to_string())),
            403 if token.is_some() => Err(Trouble::Unavailable(error.to_string())),
            400..=499 if token.is_none() && error.status != 429 && error.status != 408 => Ok(response),
            _ => Err(Trouble::Passing { pause: error.retry_after.unwrap_or_default(), words: error.to_string() }),
        }
    }

    /// How long to wait after so many failures in a row.
    fn pause_after(&self, failures: u32) -> Duration {
        let doubled = self.options.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
        // Half of it is spread, so that not everybody comes back at the same moment.
        doubled.min(self.options.longest_pause).mul_f64(0.5 + (self.options.random)() / 2.0)
    }
}

/// What there is of a body that is of no use to anybody if it is long.
async fn read(response: &mut reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    // What breaks off is as good as what is over: the status has been said.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ERROR_BYTES {
            break;
        }
    }
    body
}

/// Whether the interface is there, and only what was asked about isn't.
fn is_about_an_item(error: &ServiceError) -> bool {
    error.code.contains("ItemNotFound") || error.code.contains("FolderNotFound")
}

fn no_token(error: &AuthError) -> Trouble {
    match error {
        AuthError::Refused { .. } | AuthError::Configuration(_) => Trouble::Unavailable(error.to_string()),
        AuthError::SignInNeeded { .. } | AuthError::Unreachable(_) | AuthError::TimedOut(_) => Trouble::passing(error),
    }
}
