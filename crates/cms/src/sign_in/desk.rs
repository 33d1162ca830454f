//! What the page asks for, handed to the accounts.

use std::sync::Arc;
use std::time::Duration;

use cms_auth::{Landing, TokenSource};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use url::Url;

use crate::control::{Door, Reply, Request, Which};
use crate::page::{CameBack, Desk, Word};

/// How long the loop may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The accounts, as the page sees them.
pub(super) struct AccountsDesk {
    sources: Arc<[TokenSource]>,
    /// The port that browsers come back to.
    port: u16,
    /// The way to the loop.
    door: Door,
}

impl AccountsDesk {
    pub(super) fn new(sources: Arc<[TokenSource]>, port: u16, door: Door) -> Self {
        Self { sources, port, door }
    }

    fn is_user_needed(&self) -> bool {
        self.sources.iter().any(|source| source.state().needs_user())
    }

    fn source(&self, account: usize) -> Result<&TokenSource, String> {
        self.sources.get(account).ok_or_else(|| "there is no such account".to_owned())
    }
}

impl Desk for AccountsDesk {
    fn begin(&self, account: usize) -> Result<Url, String> {
        self.source(account)?.begin(self.port).map_err(|error| error.to_string())
    }

    fn begin_with_code(&self, account: usize) -> Result<(), String> {
        let source = self.source(account)?.clone();
        // What comes of it shows in the account's state.
        tokio::spawn(async move { source.begin_with_code().await });
        Ok(())
    }

    fn cancel(&self, account: usize) {
        if let Ok(source) = self.source(account) {
            source.cancel();
        }
    }

    fn rule<'a>(&'a self, held: &'a str, word: Word) -> BoxFuture<'a, Result<(), String>> {
        let which = Which::Shown(held.to_owned());
        let request = match word {
            Word::Apply => Request::Apply { which },
            Word::Restore => Request::Restore { which },
        };
        async move {
            match tokio::time::timeout(PATIENCE, self.door.ask(request)).await {
                Ok(Some(Reply::Ruled { .. })) => Ok(()),
                Ok(Some(Reply::Refused { what, hint })) => {
                    Err(hint.map_or_else(|| what.clone(), |hint| format!("{what}: {hint}")))
                }
                Ok(Some(_) | None) => Err("nothing is being synced here".to_owned()),
                Err(_) => Err("it takes too long; look again in a while".to_owned()),
            }
        }
        .boxed()
    }

    fn redirect_paths(&self) -> Vec<String> {
        let mut paths: Vec<String> =
            self.sources.iter().map(|source| source.registration().redirect_path.clone()).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    fn came_back<'a>(&'a self, path: &'a str, query: &'a str) -> BoxFuture<'a, Option<CameBack>> {
        async move {
            for source in self.sources.iter().filter(|source| source.registration().redirect_path == path) {
                if let Some(Landing { good, heading, words }) = source.came_back(query).await {
                    let closing = if good && !self.is_user_needed() { "You can close this tab. " } else { "" };
                    let words = format!("{closing}{words}").trim_end().to_owned();
                    return Some(CameBack { good, heading, words });
                }
            }
            None
        }
        .boxed()
    }

    fn sign_in_origins(&self) -> Vec<String> {
        let mut origins: Vec<String> = self
            .sources
            .iter()
            .map(|source| source.registration().sign_in_origin())
            // A tenant may hand its users on to a sign-in page of its own, and browsers hold a form to this on every
            // step of such a way.
            .map(|origin| if origin.starts_with("https:") { "https:".to_owned() } else { origin })
            .collect();
        origins.sort_unstable();
        origins.dedup();
        origins
    }
}
