//! Where the page takes the user's wish to sign in.

use futures_util::future::BoxFuture;
use url::Url;

use super::held::Word;

/// The sign-ins themselves, as the page sees them. Accounts are named by their place in
/// [`Status::accounts`](super::Status::accounts).
pub trait Desk: Send + Sync {
    /// Begins a sign-in of that account in the browser; returns the address of the sign-in service to go to.
    ///
    /// The error is a sentence for the user.
    fn begin(&self, account: usize) -> Result<Url, String>;

    /// Begins one by device code; what to type shows in the status.
    ///
    /// The error is a sentence for the user.
    fn begin_with_code(&self, account: usize) -> Result<(), String>;

    /// Gives up the sign-in under way, if there is one.
    fn cancel(&self, account: usize);

    /// Says what becomes of the held deletions that were shown under that id, and of no others.
    ///
    /// The error is a sentence for the user.
    fn rule<'a>(&'a self, held: &'a str, word: Word) -> BoxFuture<'a, Result<(), String>>;

    /// Paths that sign-in services send the browser back to, such as `/oauth2/msal`.
    ///
    /// If `/` is one of them, only a request for it with a `state` in its query counts as coming back.
    fn redirect_paths(&self) -> Vec<String>;

    /// The browser came back on one of them. `None`: it belongs to no sign-in that is waited for.
    ///
    /// Any web page can make the browser come here, so nothing may change unless the state in the query is known.
    fn came_back<'a>(&'a self, path: &'a str, query: &'a str) -> BoxFuture<'a, Option<CameBack>>;

    /// Origins of the sign-in services, to which alone a form on the page may lead the browser.
    ///
    /// `https:` stands for all origins with that scheme. It is needed where a service may send the browser on to the
    /// sign-in of the user's own organisation, whose origin nobody knows before: Chromium applies the policy to every
    /// redirect that follows a form.
    fn sign_in_origins(&self) -> Vec<String>;
}

/// How a sign-in in the browser ended, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameBack {
    /// Whether the account is signed in now.
    pub good: bool,
    /// Such as "Signed in as jane@example.com".
    pub heading: String,
    /// What follows from it.
    pub words: String,
}
