//! Inviting the user to sign in: one account after the other, and never with more windows than it takes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cms_auth::{Browser, SignInState, TokenSource};
use futures_util::future::select_all;
use tracing::{debug, warn};

use super::voice::Voice;
use super::{PageHolder, headless, notification, typed};
use crate::page::Board;
use crate::progress::Progress;

/// How long a browser that came back may take to show the page, before another window is opened for the next account.
const TAB_OPENS_WITHIN: Duration = Duration::from_secs(2);
/// How long somebody may take who has a browser after all, before a code is offered as well.
const CODE_OFFERED_AFTER: Duration = Duration::from_secs(2);

/// How the user is invited.
pub(crate) enum Invitation {
    /// On the terminal, with a browser where there is one, and on the desktop.
    User {
        progress: Progress,
        browser: Browser,
        /// Whether to begin with a code to be typed on another device.
        with_code: bool,
    },
    /// There is no user: whoever this is goes to the address.
    Visitor(Arc<dyn Fn(&str) + Send + Sync>),
}

/// Sees who is needed, and invites.
pub(super) struct Host {
    sources: Arc<[TokenSource]>,
    board: Board,
    page: Arc<PageHolder>,
    voice: Arc<Voice>,
    daemon: bool,
    /// Accounts for which a browser was opened: that happens once, and later only if the user wants it.
    invited: HashSet<usize>,
}

impl Host {
    pub(super) fn new(
        sources: Arc<[TokenSource]>,
        board: Board,
        page: Arc<PageHolder>,
        voice: Arc<Voice>,
        daemon: bool,
    ) -> Self {
        Self { sources, board, page, voice, daemon, invited: HashSet::new() }
    }

    pub(super) async fn run(mut self) {
        let mut states: Vec<_> = self.sources.iter().map(TokenSource::watch).collect();
        // What was seen of each account, so that each need is answered once.
        let mut seen = vec![SignInState::Unknown; states.len()];
        loop {
            for account in 0..states.len() {
                let now = states[account].borrow_and_update().clone();
                let before = std::mem::replace(&mut seen[account], now.clone());
                match &now {
                    SignInState::Needed { reason } if before != now => self.invite(account, reason).await,
                    SignInState::WaitingForKeyring if before != now => self.tell_locked(account),
                    SignInState::Failed { reason } if before != now && self.daemon => self.tell_failed(account, reason),
                    _ => {}
                }
            }
            let changes = states.iter_mut().map(|state| Box::pin(state.changed()));
            if self.sources.is_empty() || select_all(changes).await.0.is_err() {
                return;
            }
        }
    }

    async fn invite(&mut self, account: usize, reason: &str) {
        let Some(source) = self.sources.get(account).cloned() else { return };
        let page = self.page.open();
        let first = self.invited.insert(account);
        match (self.voice.invitation(), page) {
            (Invitation::Visitor(visit), Ok(address)) => match source.begin(address.port()) {
                Ok(url) => visit(url.as_str()),
                Err(error) => warn!("{error}"),
            },
            (Invitation::Visitor(_), Err(error)) => warn!("{}", crate::problem::with_causes(&error)),
            (Invitation::User { with_code: true, .. }, _) => self.offer_code(&source).await,
            (Invitation::User { .. }, Err(error)) => {
                let remedy = error.remedy().map(|remedy| format!("\nhint: {remedy}")).unwrap_or_default();
                self.voice.say(&format!(
                    "can't wait for a browser to sign in to {}: {}{remedy}",
                    source.name(),
                    crate::problem::with_causes(&error)
                ));
                self.offer_code(&source).await;
            }
            (Invitation::User { browser, .. }, Ok(address)) => {
                let place = format!("http://{}", typed(address));
                if self.daemon && (!first || self.board.open_tabs() > 0) {
                    self.voice.say(&format!("Signing in to {} is needed ({reason}): open {place}", source.name()));
                    self.notify(&source, reason, &place).await;
                    return;
                }
                if self.board.open_tabs() > 0 {
                    self.voice.say(&format!("To sign in to {}, go to the page that is open at {place}", source.name()));
                    return;
                }
                let browser = browser.clone();
                self.open(&source, address.port(), &browser, reason, &place).await;
            }
        }
    }

    /// Shows where to sign in and opens a browser there; without one, offers what works without.
    async fn open(&self, source: &TokenSource, port: u16, browser: &Browser, reason: &str, place: &str) {
        let url = match source.begin(port) {
            Ok(url) => url,
            Err(error) => return self.voice.say(&format!("can't sign in to {}: {error}", source.name())),
        };
        self.voice.show_address(source.name(), url.as_str());
        if browser.is_none() || !browser.open(url.as_str()).await {
            if self.daemon {
                // The terminal may be a journal that nobody looks at.
                self.notify(source, reason, place).await;
            }
            self.offer_other_ways(source, port, place).await;
        }
        self.wait_while_under_way(source).await;
        // The page that the browser got takes the user on from here.
        tokio::time::timeout(TAB_OPENS_WITHIN, self.board.tab_opened()).await.ok();
    }

    /// Offers what works without a browser on this machine, unless there is one after all.
    async fn offer_other_ways(&self, source: &TokenSource, port: u16, place: &str) {
        let mut states = source.watch();
        let over = states.wait_for(|state| *state != SignInState::InBrowser);
        if tokio::time::timeout(CODE_OFFERED_AFTER, over).await.is_ok() || self.board.open_tabs() > 0 {
            return;
        }
        if let Some(line) = headless::port_forward(port) {
            self.voice.say(&format!(
                "If your browser is on another computer, type this there, then open {place} in it:\n\n    {line}\n"
            ));
        }
        self.offer_code(source).await;
    }

    /// Shows a code that can be typed on any device, where the service has such.
    async fn offer_code(&self, source: &TokenSource) {
        if !source.registration().has_device_codes() {
            return;
        }
        if let Err(error) = source.begin_with_code().await {
            debug!(account = source.name(), %error, "No sign-in by code");
            return;
        }
        if let SignInState::WithCode { user_code, address, .. } = source.state() {
            self.voice.say(&format!(
                "To sign in to {} on any device, open {address} there and enter the code\n\n    {user_code}\n",
                source.name()
            ));
        }
    }

    async fn notify(&self, source: &TokenSource, reason: &str, place: &str) {
        notification::show(&format!("Sign in to {}", source.name()), &format!("{reason}. Open {place}")).await;
    }

    async fn wait_while_under_way(&self, source: &TokenSource) {
        // It fails only when the source is gone, and then nothing is under way.
        source.watch().wait_for(|state| !state.is_under_way()).await.ok();
    }

    fn tell_locked(&self, account: usize) {
        if let Some(source) = self.sources.get(account) {
            self.voice.say(&format!("The sign-in to {} waits for the keyring: unlock it", source.name()));
        }
    }

    fn tell_failed(&self, account: usize, reason: &str) {
        let (Some(source), Some(address)) = (self.sources.get(account), self.page.address()) else { return };
        self.voice.say(&format!(
            "Not signed in to {}: {reason}\nTo try again, open http://{}",
            source.name(),
            typed(address)
        ));
    }
}
