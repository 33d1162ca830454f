//! Having the user sign in: the accounts' token sources on one side, the page, the terminal, the browser and the
//! desktop's notifications on the other.
//!
//! [`SignIns`] owns the page and the task that invites the user. The sign-ins themselves are [`TokenSource`]'s.

mod desk;
mod headless;
mod invite;
mod notification;
mod voice;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cms_auth::{SignInState, TokenSource};
use tokio::task::JoinSet;

use crate::control::Door;
use crate::page::{AccountStatus, Board, Page, PageError, PageHandle, SignInStatus, Status};

use voice::Voice;

pub(crate) use invite::Invitation;

/// How long a browser that has just come back may take to receive its page.
const LAST_PAGE: Duration = Duration::from_secs(2);

/// What [`SignIns`] is made of.
pub(crate) struct SignInOptions {
    /// The command that runs, as the page names it.
    pub(crate) command: &'static str,
    /// One for each account, in the order of the configuration.
    pub(crate) sources: Vec<TokenSource>,
    /// Where the page is served.
    pub(crate) listen: Vec<SocketAddr>,
    /// Whether the page is there from the start and stays, and the user may be needed again and again.
    pub(crate) daemon: bool,
    /// How the user is invited.
    pub(crate) invitation: Invitation,
}

/// The sign-ins of all accounts, and the page.
pub(crate) struct SignIns {
    board: Board,
    door: Door,
    page: Arc<PageHolder>,
    sources: Arc<[TokenSource]>,
    voice: Arc<Voice>,
    _tasks: JoinSet<()>,
}

/// The page, which is there from the start or from when it is first needed.
pub(crate) struct PageHolder {
    board: Board,
    door: Door,
    sources: Arc<[TokenSource]>,
    listen: Vec<SocketAddr>,
    handle: Mutex<Option<PageHandle>>,
}

impl SignIns {
    /// Watches over the sign-ins from now on. Must be called within a Tokio runtime.
    pub(crate) fn start(options: SignInOptions) -> Self {
        let board = Board::new(first_status(&options));
        let sources: Arc<[TokenSource]> = options.sources.into();
        let door = Door::default();
        let page = Arc::new(PageHolder {
            board: board.clone(),
            door: door.clone(),
            sources: sources.clone(),
            listen: options.listen,
            handle: Mutex::default(),
        });
        let voice = Arc::new(Voice::new(options.invitation));
        let mut tasks = JoinSet::new();
        for (account, source) in sources.iter().enumerate() {
            tasks.spawn(show(account, source.clone(), board.clone(), voice.clone()));
        }
        if options.daemon {
            match page.open() {
                Ok(address) => tracing::info!("The page is at http://{}", typed(address)),
                Err(error) => {
                    let remedy = error.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
                    tracing::warn!("There is no page: {}{remedy}", crate::problem::with_causes(&error));
                }
            }
        }
        let host = invite::Host::new(sources.clone(), board.clone(), page.clone(), voice.clone(), options.daemon);
        tasks.spawn(host.run());
        Self { board, door, page, sources, voice, _tasks: tasks }
    }

    /// What the page shows.
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// Where the page asks whoever opens it.
    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// Where the page is, if it is there.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.page.address()
    }

    /// Ends, after a browser that has just come back has got its page.
    pub(crate) async fn finish(self) {
        for source in self.sources.iter() {
            tell_not_kept(&source.state(), &self.voice);
        }
        if let Some(handle) = self.page.take() {
            handle.finish(LAST_PAGE).await;
        }
    }
}

impl PageHolder {
    /// Opens the page, if it isn't there yet, and says where it is.
    pub(crate) fn open(&self) -> Result<SocketAddr, PageError> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*handle {
            return Ok(handle.address());
        }
        let bound = Page::bind(&self.listen)?;
        let address = bound.address();
        let desk = desk::AccountsDesk::new(self.sources.clone(), address.port(), self.door.clone());
        *handle = Some(bound.serve(self.board.clone(), Arc::new(desk)));
        Ok(address)
    }

    fn address(&self) -> Option<SocketAddr> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(PageHandle::address)
    }

    fn take(&self) -> Option<PageHandle> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The address as a person types it.
pub(crate) fn typed(address: SocketAddr) -> String {
    format!("localhost:{}", address.port())
}

fn first_status(options: &SignInOptions) -> Status {
    let account = |source: &TokenSource| AccountStatus {
        name: source.name().to_owned(),
        service: source.registration().service().to_owned(),
        sign_in: status(&source.state()),
    };
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        command: options.command.to_owned(),
        accounts: options.sources.iter().map(account).collect(),
        mailboxes: Vec::new(),
        troubles: Vec::new(),
    }
}

fn tell_not_kept(state: &SignInState, voice: &Voice) {
    if let SignInState::SignedIn { not_kept: Some(why), .. } = state {
        voice.tell_not_kept(why);
    }
}

/// Keeps one account's line on the board true.
async fn show(account: usize, source: TokenSource, board: Board, voice: Arc<Voice>) {
    let mut states = source.watch();
    loop {
        let state = states.borrow_and_update().clone();
        tell_not_kept(&state, &voice);
        let now = status(&state);
        board.update(|status| {
            if let Some(line) = status.accounts.get_mut(account) {
                line.sign_in = now;
            }
        });
        if states.changed().await.is_err() {
            return;
        }
    }
}

fn status(state: &SignInState) -> SignInStatus {
    let seconds = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
    match state {
        SignInState::Unknown => SignInStatus::Unknown,
        SignInState::SignedIn { user, renewed_at, not_kept } => SignInStatus::SignedIn {
            user: user.clone(),
            renewed_at: Some(seconds(*renewed_at)),
            kept: not_kept.is_none(),
        },
        SignInState::Needed { reason } => SignInStatus::Needed { reason: reason.clone() },
        SignInState::InBrowser => SignInStatus::InBrowser,
        SignInState::WithCode { user_code, address, expires_at } => SignInStatus::WithCode {
            user_code: user_code.clone(),
            address: address.clone(),
            expires_at: seconds(*expires_at),
        },
        SignInState::WaitingForKeyring => SignInStatus::WaitingForKeyring,
        SignInState::Unreachable { reason } => SignInStatus::Unreachable { reason: reason.clone() },
        SignInState::Failed { reason } => SignInStatus::Failed { reason: reason.clone(), remedy: None },
    }
}
