//! A simulation, a client of it, and what every test asks of both at its end.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cms_auth::{
    AccessToken, AccessTokens, AuthError, Endpoints, NationalCloud, Patience, Registration, TokenSource,
    TokenSourceOptions,
};
use cms_cloud::RetryPolicy;
use cms_cloud::contract::{Changes, CloudAccount, CloudError, Cursor, FolderId, MimeSink, Next, Page};
use cms_cloud::office365::{Account, Options};
use cms_engine::{Flags, RemoteId, UnixSeconds};
use simcloud::{Cloud, Knobs, Server};

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) account: Arc<Account>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) inbox: FolderId,
}

/// Tokens straight from the simulation.
pub(crate) struct Tokens {
    cloud: Cloud,
    current: Mutex<AccessToken>,
    pub(crate) renewals: AtomicUsize,
}

#[async_trait]
impl AccessTokens for Tokens {
    fn account(&self) -> &'static str {
        "user@domain.com"
    }
    async fn access_token(&self) -> Result<AccessToken, AuthError> {
        Ok(self.current.lock().unwrap().clone())
    }
    async fn renew(&self, rejected: &AccessToken, _claims: Option<&str>) -> Result<AccessToken, AuthError> {
        let mut current = self.current.lock().unwrap();
        if *current == *rejected {
            self.renewals.fetch_add(1, Ordering::SeqCst);
            *current = AccessToken::new(self.cloud.access_token("").unwrap());
        }
        Ok(current.clone())
    }
    async fn sign_in_anew(&self, _rejected: &AccessToken, reason: &str) -> Result<AccessToken, AuthError> {
        Err(AuthError::SignInNeeded { account: self.account().to_owned(), reason: reason.to_owned() })
    }
}

/// A world whose user has signed in, or may do so.
pub(crate) struct SignedIn {
    pub(crate) server: Server,
    pub(crate) account: Arc<Account>,
    pub(crate) source: TokenSource,
    pub(crate) inbox: FolderId,
}

/// A client with tokens of the given resource of a registration that also has Outlook's, as number 1.
pub(crate) async fn signed_in(resource: usize) -> SignedIn {
    let options = simcloud::Options { messages: 20, knobs: Knobs::calm(), ..simcloud::Options::default() };
    let server = simcloud::serve(options).await.unwrap();
    let url: url::Url = server.url().parse().unwrap();
    let mut registration = Registration::microsoft(NationalCloud::Global, None, None).with_graph_at(&url);
    registration.endpoints = Endpoints::Microsoft { login_url: url.clone(), tenant: "common".to_owned() };
    registration.further_resources = vec![vec!["https://outlook.office.com/mail.read".to_owned()]];
    let user = Some("user@domain.com".to_owned());
    let options = TokenSourceOptions { registration, user, vault: None, port: 8080, patience: Patience::None };
    let source = TokenSource::new(options).unwrap();
    browse(&source).await;
    let mut options = Options::new(url);
    options.retry = RetryPolicy { first_delay: Duration::from_millis(2), ..RetryPolicy::default() };
    let account = Arc::new(Account::new(options, source.for_resource(resource).unwrap()).unwrap());
    let inbox = FolderId(server.cloud().folder_id("", "Inbox").unwrap());
    SignedIn { server, account, source, inbox }
}

/// Has the user sign in in an obedient browser.
pub(crate) async fn browse(source: &TokenSource) {
    let address = source.begin(8080).unwrap();
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = http.get(address).send().await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap();
    let landing = source.came_back(location.split_once('?').unwrap().1).await.unwrap();
    assert!(landing.good, "{landing:?}");
}

impl SignedIn {
    /// Asks for mail, once as far as whoever asks can tell.
    pub(crate) async fn ask(&self) -> Result<(), CloudError> {
        self.account.changes(&self.inbox, None).await.map(drop)
    }

    /// How many requests of a kind there were.
    pub(crate) fn requests(&self, kind: &str) -> u64 {
        self.server.cloud().counters().requests.get(kind).copied().unwrap_or_default()
    }
}

pub(crate) async fn world(messages: usize) -> World {
    world_with(simcloud::Options { messages, knobs: Knobs::calm(), ..simcloud::Options::default() }, |_| {}).await
}

/// A world whose client soon takes silence for a broken connection.
pub(crate) async fn impatient_world(messages: usize, page_size: u32) -> World {
    let options = simcloud::Options { messages, knobs: Knobs::calm(), ..simcloud::Options::default() };
    world_with(options, |options| {
        options.page_size = page_size;
        options.timeouts.read = Duration::from_millis(500);
    })
    .await
}

pub(crate) async fn world_with(options: simcloud::Options, change: impl FnOnce(&mut Options)) -> World {
    let server = simcloud::serve(options).await.unwrap();
    let url = server.url().parse().unwrap();
    world_at(server, url, change)
}

/// A world whose client finds the service at another address.
pub(crate) fn world_at(server: Server, url: url::Url, change: impl FnOnce(&mut Options)) -> World {
    let cloud = server.cloud().clone();
    let token = AccessToken::new(cloud.access_token("").unwrap());
    let tokens = Arc::new(Tokens { cloud, current: Mutex::new(token), renewals: AtomicUsize::new(0) });
    let mut options = Options::new(url);
    options.retry = RetryPolicy {
        first_delay: Duration::from_millis(2),
        longest_delay: Duration::from_millis(20),
        ..RetryPolicy::default()
    };
    options.now = Arc::new(|| UnixSeconds(1_769_860_800));
    change(&mut options);
    let account = Arc::new(Account::new(options, tokens.clone()).unwrap());
    let inbox = FolderId(server.cloud().folder_id("", "Inbox").unwrap());
    World { server, account, tokens, inbox }
}

impl World {
    pub(crate) fn cloud(&self) -> &Cloud {
        self.server.cloud()
    }

    /// Walks a round to its end.
    pub(crate) async fn round(&self, cursor: Option<&Cursor>) -> Round {
        let mut round = Round::default();
        let mut cursor = cursor.cloned();
        loop {
            match self.account.changes(&self.inbox, cursor.as_ref()).await.unwrap() {
                Changes::CursorLost => {
                    assert!(cursor.is_some(), "nothing was given that could be lost");
                    round = Round { resets: round.resets + 1, ..Round::default() };
                    cursor = None;
                }
                Changes::Page(page) => {
                    round.pages += 1;
                    round.take(&page);
                    match page.next {
                        Next::More(next) => cursor = Some(next),
                        Next::Complete { cursor, whole } => {
                            return Round { cursor: Some(cursor), whole, ..round };
                        }
                    }
                }
            }
        }
    }

    /// What the service holds in the inbox: ids and flags.
    pub(crate) fn truth(&self) -> BTreeMap<RemoteId, Flags> {
        let state = self.cloud().state("").unwrap();
        state
            .messages()
            .filter(|message| message.folder == "Inbox")
            .map(|m| (RemoteId::new(m.id.as_str()), flags_of(m)))
            .collect()
    }

    pub(crate) fn flags(&self, id: &RemoteId) -> Flags {
        flags_of(&self.cloud().message("", id.as_str()).unwrap())
    }

    pub(crate) fn folder_of(&self, id: &RemoteId) -> String {
        self.cloud().message("", id.as_str()).unwrap().folder
    }

    pub(crate) fn ids(&self) -> Vec<RemoteId> {
        self.truth().into_keys().collect()
    }

    /// The client has kept to the service's rules.
    pub(crate) fn assert_well_behaved(&self) {
        let counters = self.cloud().counters();
        assert_eq!(counters.violations, Vec::<String>::new());
        assert_eq!(counters.throttled_by_client, 0, "{:?}", counters.notes);
        assert!(counters.highest_concurrency <= 4, "{}", counters.highest_concurrency);
        assert!(counters.notes.is_empty(), "{:?}", counters.notes);
    }
}

pub(crate) fn flags_of(message: &simcloud::MessageState) -> Flags {
    let mut flags = Flags::NONE;
    let mut set = |flag, on| {
        if on {
            flags |= flag;
        }
    };
    set(Flags::SEEN, message.is_read);
    set(Flags::FLAGGED, message.flag == simcloud::FlagStatus::Flagged);
    set(Flags::DRAFT, message.is_draft);
    let status = message.status.unwrap_or_default();
    set(Flags::REPLIED, message.icon == Some(261) || matches!(message.verb, Some(102 | 103)) || status & 0x200 != 0);
    set(Flags::PASSED, message.icon == Some(262) || message.verb == Some(104));
    flags
}

/// What a round told, taken together.
#[derive(Default)]
pub(crate) struct Round {
    pub(crate) seen: BTreeMap<RemoteId, Flags>,
    pub(crate) known: BTreeMap<RemoteId, Flags>,
    pub(crate) removed: Vec<RemoteId>,
    pub(crate) pages: usize,
    pub(crate) resets: usize,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) whole: bool,
}

impl Round {
    fn take(&mut self, page: &Page) {
        for seen in &page.upserts {
            let flags = self.seen.entry(seen.id.clone()).or_default();
            *flags = flags.with(seen.known_flags, seen.flags);
            *self.known.entry(seen.id.clone()).or_default() |= seen.known_flags;
        }
        for id in &page.removals {
            self.seen.remove(id);
            self.removed.push(id.clone());
        }
    }
}

/// Keeps what is fetched, and counts restarts.
#[derive(Default)]
pub(crate) struct Bytes {
    pub(crate) bytes: Vec<u8>,
    pub(crate) restarts: usize,
}

impl MimeSink for Bytes {
    fn restart(&mut self) -> io::Result<()> {
        self.bytes.clear();
        self.restarts += 1;
        Ok(())
    }
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }
}
