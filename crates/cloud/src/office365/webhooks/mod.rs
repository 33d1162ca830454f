//! Microsoft Graph's change notifications: the service sends them to an address of ours.
//!
//! Each folder has a subscription, which lives for an hour at a time: what a killed process leaves behind is soon gone
//! by itself. Its secret is never written down; the next start makes others, and ends those that were left.

mod client_state;
mod endpoint;
mod notification;
mod probe;
mod subscriptions;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::contract::{CloudError, FolderId, Notifications, Notifier, Wake};
use crate::office365::Account;

use endpoint::Line;
pub use endpoint::{NotNotifications, Webhook};
use notification::Told;
pub use probe::Unanswered;
use subscriptions::{Renewed, Subscription};

/// How often is looked what time it is: the computer may have slept.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);

/// How many folders may be refused before one is accepted until that is taken for the account's matter.
const REFUSALS: usize = 8;

/// When things are done.
#[derive(Clone, Copy, Debug)]
pub struct WebhookOptions {
    /// How long a subscription lives without being renewed. The service grants 45 minutes at least.
    pub life: Duration,
    /// How long the wait is after a first failure. It doubles with each further one, up to
    /// [`WebhookOptions::longest_pause`].
    pub first_pause: Duration,
    /// The longest wait.
    pub longest_pause: Duration,
    /// How long a folder is left alone to which no subscription could be had, where there are some to others.
    pub refused_pause: Duration,
}

impl Default for WebhookOptions {
    fn default() -> Self {
        Self {
            life: Duration::from_secs(3600),
            first_pause: Duration::from_secs(5),
            longest_pause: Duration::from_secs(15 * 60),
            refused_pause: Duration::from_secs(86_400),
        }
    }
}

/// One account's subscriptions.
#[derive(Clone)]
pub struct WebhookNotifier(Arc<Inner>);

struct Inner {
    account: Arc<Account>,
    webhook: Webhook,
    options: WebhookOptions,
    line: Arc<Line>,
    /// They outlive who listens: which folders are listened for may change.
    subscriptions: Mutex<Vec<Subscription>>,
    /// Folders that can't be subscribed to. That, too, outlives who listens.
    refused: Mutex<HashMap<FolderId, Refusal>>,
}

/// That there is no subscription to a folder.
struct Refusal {
    reason: String,
    /// When one is asked for again.
    again_at: Instant,
}

impl WebhookNotifier {
    /// Asks nothing yet.
    pub fn new(account: Arc<Account>, webhook: Webhook, options: WebhookOptions) -> Self {
        let (line, subscriptions, refused) = (Arc::default(), Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { account, webhook, options, line, subscriptions, refused }))
    }

    /// Ends all subscriptions, as far as that can be done in time.
    pub async fn finish(&self, max: Duration) {
        let all = std::mem::take(&mut *self.0.subscriptions());
        let ended = join_all(all.iter().map(|one| self.0.unsubscribe(&one.id)));
        if tokio::time::timeout(max, ended).await.is_err() {
            debug!("Subscriptions are left to end by themselves");
        }
    }
}

impl Inner {
    fn subscriptions(&self) -> MutexGuard<'_, Vec<Subscription>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, HashMap<FolderId, Refusal>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to wait after so many failures in a row.
    fn pause_after(&self, failures: u32) -> Duration {
        let doubled = self.options.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.options.longest_pause)
    }
}

impl Notifier for WebhookNotifier {
    fn listen(&self, folders: Vec<FolderId>) -> Box<dyn Notifications> {
        Box::new(Stream {
            inner: Arc::clone(&self.0),
            folders,
            absent: Vec::new(),
            told_refused: HashSet::new(),
            waiting: VecDeque::new(),
            is_tidy: false,
            hears: false,
            failures: 0,
            resume_at: None,
            over: false,
        })
    }
}

/// What is listened for, and how far that has come.
struct Stream {
    inner: Arc<Inner>,
    folders: Vec<FolderId>,
    /// Folders that weren't there.
    absent: Vec<FolderId>,
    /// Folders of which it was told that nothing is told of them.
    told_refused: HashSet<FolderId>,
    waiting: VecDeque<Wake>,
    /// Whether what other runs and other wishes left behind was ended.
    is_tidy: bool,
    /// Whether it was told that everything is heard, and not that this is over.
    hears: bool,
    failures: u32,
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
            for (id, told) in self.inner.line.take() {
                self.note(&id, told);
            }
            if self.resume_at.is_none_or(|at| at <= Instant::now()) {
                self.resume_at = None;
                match self.look_after_subscriptions().await {
                    Ok(()) => self.failures = 0,
                    Err(error) => self.failed(&error),
                }
            }
            if self.waiting.is_empty() && !self.over {
                let next = self.next_at();
                tokio::select! {
                    () = self.inner.line.news() => {}
                    () = sleep_until(next) => {}
                }
            }
        }
    }
}

impl Stream {
    /// Takes what was told of a subscription.
    fn note(&mut self, id: &str, told: Told) {
        let mut subscriptions = self.inner.subscriptions();
        let Some(at) = subscriptions.iter().position(|one| one.id == id) else { return };
        let folder = subscriptions[at].folder.clone();
        match told {
            Told::Changed | Told::Missed => {}
            Told::Removed => {
                subscriptions.remove(at);
                self.inner.webhook.remove(id);
            }
            Told::Reauthorize => subscriptions[at].renewal.make_due(),
        }
        drop(subscriptions);
        if told != Told::Changed {
            debug!(?told, "The mail service tells of a subscription");
        }
        self.wake(Wake::Folder(folder));
    }

    /// One look serves all that has happened.
    fn wake(&mut self, wake: Wake) {
        if !self.waiting.contains(&wake) {
            self.waiting.push_back(wake);
        }
    }

    async fn look_after_subscriptions(&mut self) -> Result<(), CloudError> {
        if !self.is_tidy {
            self.tidy_up().await;
            self.is_tidy = true;
        }
        self.renew_what_is_due().await?;
        let mut refusal = None;
        for folder in self.folders.clone() {
            if self.has_subscription(&folder) || self.absent.contains(&folder) || !self.is_to_be_asked_for(&folder) {
                continue;
            }
            match self.inner.subscribe(&folder).await {
                Ok(Some(subscription)) => {
                    self.inner.subscriptions().push(subscription);
                    self.inner.refused().remove(&folder);
                    self.told_refused.remove(&folder);
                    // What happened before was told to nobody.
                    self.wake(Wake::Folder(folder));
                }
                // It may have been deleted a moment ago; the others are heard of.
                Ok(None) => {
                    self.inner.refused().remove(&folder);
                    self.absent.push(folder);
                }
                Err(error @ CloudError::Refused { .. }) => {
                    self.refuse(folder, &error);
                    if !self.hears_any() && self.is_of_account(&error) {
                        return Err(error);
                    }
                    refusal = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(refusal) = refusal.filter(|_| !self.hears_any()) {
            return Err(refusal);
        }
        if !std::mem::replace(&mut self.hears, true) {
            debug!(folders = self.folders.len(), "Subscribed to notifications");
            self.waiting.clear();
            self.tell_refused();
            self.waiting.push_back(Wake::All);
        }
        self.tell_refused();
        Ok(())
    }

    fn has_subscription(&self, folder: &FolderId) -> bool {
        self.inner.subscriptions().iter().any(|one| one.folder == *folder)
    }

    /// Whether there is a subscription to any of the folders.
    fn hears_any(&self) -> bool {
        self.inner.subscriptions().iter().any(|one| self.folders.contains(&one.folder))
    }

    /// Whether a folder wasn't refused, or was long ago.
    fn is_to_be_asked_for(&self, folder: &FolderId) -> bool {
        self.inner.refused().get(folder).is_none_or(|refusal| refusal.again_at <= Instant::now())
    }

    /// Whether a refusal while there is no subscription yet says that there are none at all: the address isn't answered, or
    /// many folders were refused.
    fn is_of_account(&self, error: &CloudError) -> bool {
        let is_of_address = matches!(error, CloudError::Refused { code, .. } if code == "ValidationError");
        is_of_address || self.inner.refused().len() >= REFUSALS
    }

    /// Leaves a folder alone for a while.
    fn refuse(&self, folder: FolderId, error: &CloudError) {
        let refusal =
            Refusal { reason: self.reason(error), again_at: Instant::now() + self.inner.options.refused_pause };
        self.inner.refused().insert(folder, refusal);
    }

    /// Tells of which folders nothing is told.
    fn tell_refused(&mut self) {
        let refused = self.inner.refused();
        for folder in &self.folders {
            if let Some(refusal) = refused.get(folder)
                && self.told_refused.insert(folder.clone())
            {
                self.waiting.push_back(Wake::Refused { folder: folder.clone(), reason: refusal.reason.clone() });
            }
        }
    }

    /// Why there are no notifications, and what can be done about it.
    fn reason(&self, error: &CloudError) -> String {
        let remedy = match error {
            CloudError::Refused { status: 403, .. } => "an administrator may have to allow it".to_owned(),
            _ => format!("see that {} leads here", self.inner.webhook.url()),
        };
        format!("{error}; {remedy}")
    }

    /// Ends the subscriptions that nobody wants.
    async fn tidy_up(&mut self) {
        let unwanted: Vec<String> = {
            let mut all = self.inner.subscriptions();
            let unwanted = all.extract_if(.., |one| !self.folders.contains(&one.folder));
            unwanted.map(|one| one.id).collect()
        };
        for id in unwanted {
            self.inner.unsubscribe(&id).await;
        }
        self.inner.end_leftovers().await;
    }

    async fn renew_what_is_due(&mut self) -> Result<(), CloudError> {
        let now = (self.inner.account.now)();
        let all = self.inner.subscriptions().clone();
        for one in all.into_iter().filter(|one| one.renewal.is_due(now)) {
            // Another one is made in its place, unless the service doesn't answer at all.
            let renewal = match self.inner.renew(&one.id).await {
                Ok(Renewed::Lives(renewal)) => Some(renewal),
                Ok(Renewed::Gone) | Err(CloudError::Refused { .. }) => None,
                Err(_) if one.renewal.is_over() => None,
                Err(error) => {
                    let pause = self.inner.pause_after(self.failures + 1);
                    self.set_renewal(&one.id, |renewal| renewal.postpone(pause));
                    return Err(error);
                }
            };
            self.absent.clear();
            if let Some(renewed) = renewal {
                debug!("A subscription was renewed");
                self.set_renewal(&one.id, |renewal| *renewal = renewed);
            } else {
                debug!("A subscription is over");
                self.inner.subscriptions().retain(|other| other.id != one.id);
                self.inner.webhook.remove(&one.id);
            }
        }
        Ok(())
    }

    fn set_renewal(&self, id: &str, change: impl FnOnce(&mut subscriptions::Renewal)) {
        if let Some(one) = self.inner.subscriptions().iter_mut().find(|one| one.id == id) {
            change(&mut one.renewal);
        }
    }

    fn failed(&mut self, error: &CloudError) {
        if let CloudError::Refused { .. } | CloudError::NoSuchFolder { .. } = error {
            self.over = true;
            self.waiting.clear();
            self.inner.refused().clear();
            return self.waiting.push_back(Wake::Unavailable { reason: self.reason(error) });
        }
        self.failures += 1;
        let asked = if let CloudError::Throttled(pause) = error { *pause } else { Duration::ZERO };
        let pause = asked.max(self.inner.pause_after(self.failures));
        debug!("Subscribing to notifications failed: {error}; trying again in {} ms", pause.as_millis());
        self.resume_at = Some(Instant::now() + pause);
        let all_heard = self.folders.iter().all(|folder| {
            self.absent.contains(folder) || self.told_refused.contains(folder) || self.has_subscription(folder)
        });
        if !all_heard && std::mem::take(&mut self.hears) {
            self.waiting.push_back(Wake::Lost);
        }
    }

    /// When there is something to do even if nothing is told.
    fn next_at(&self) -> Instant {
        let look = Instant::now() + BETWEEN_LOOKS;
        if let Some(at) = self.resume_at {
            return at.min(look);
        }
        let refused = self.inner.refused();
        let asked_again = self.folders.iter().filter_map(|folder| refused.get(folder)).map(|refusal| refusal.again_at);
        self.inner.subscriptions().iter().map(|one| one.renewal.at()).chain(asked_again).fold(look, Instant::min)
    }
}
