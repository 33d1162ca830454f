//! What the user wants to be kept the same: `cms.cfg`, a file in Starlark, a hermetic dialect of Python.
//!
//! Everything that can be wrong with the file is found while loading it, and told with file, line and column. The one
//! thing left for later is what `cfg.direct_message` answers for a message that hasn't come yet.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cms_auth::NationalCloud;
use cms_cloud::contract::DeleteAction;
use url::Url;

pub use self::error::{ConfigurationError, Position};
pub(crate) use self::header::value as header_value;
pub use self::locate::locate;
use self::router::Router;
pub use self::since::Since;
pub use self::tree::TreeConfig;

mod arguments;
mod check;
mod error;
mod functions;
mod header;
mod language;
mod locate;
mod options;
mod parse;
mod paths;
mod push;
mod router;
mod since;
#[cfg(test)]
mod tests;
mod tree;

/// A loaded and checked configuration.
#[derive(Debug)]
pub struct Configuration {
    /// The file it was read from, as the user named it.
    pub file: PathBuf,
    /// The local mailboxes, in the order of the file. Empty only where there is nothing but trees.
    pub maildirs: Vec<MaildirConfig>,
    /// The accounts that the mailboxes are in.
    pub accounts: Vec<Office365AccountConfig>,
    /// The cloud mailboxes, in the order of the file. Empty only where there is nothing but trees.
    pub mailboxes: Vec<MailboxConfig>,
    /// The accounts that are kept as a whole.
    pub trees: Vec<TreeConfig>,
    /// Where the messages' store and the database are.
    pub state_dir: PathBuf,
    /// Where the page listens; always a loopback address.
    pub listen: SocketAddr,
    /// Where the mail service reaches this program, if it does.
    pub push_url: Option<Url>,
    /// Where what the service sends there arrives; always a loopback address.
    pub push_listen: SocketAddr,
    /// The command that gives the key of the token vault; without one it is in the desktop's keyring.
    pub token_key_command: Option<String>,
    /// How long to wait between two looks at a mailbox that doesn't push.
    pub poll_interval: Duration,
    /// For how many days a message that was removed here can be brought back.
    pub keep_deleted_days: u32,
    /// How many deletions at once need the user's confirmation; `None`: see [`Configuration::deletions_held_beyond`].
    pub max_deletions: Option<u32>,
    /// The command to run when something changed in a Maildir.
    pub on_change: Option<String>,
    router: Option<Router>,
}

/// One `MailDir(path)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaildirConfig {
    /// An absolute path.
    pub path: PathBuf,
}

/// One `Office365_Account(…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Office365AccountConfig {
    /// The user's sign-in name, if the user told it.
    pub user: Option<String>,
    /// A tenant's id or domain, or `common`, `organizations`, `consumers`.
    pub tenant: String,
    /// The id of the user's own application registration.
    pub client_id: Option<String>,
    /// Which of Microsoft's clouds.
    pub cloud: NationalCloud,
    /// Replaces the sign-in service's address.
    pub login_url: Option<Url>,
    /// Replaces Microsoft Graph's address.
    pub graph_url: Option<Url>,
    /// Replaces the address of Outlook on the web, which serves the notifications.
    pub owa_url: Option<Url>,
    /// Replaces how many requests Microsoft Graph takes in ten minutes.
    pub rate_limit: Option<u32>,
    /// Replaces the host of the registered redirect address.
    pub redirect_host: Option<&'static str>,
    /// Replaces the path of the registered redirect address.
    pub redirect_path: Option<String>,
    /// Replaces what is asked for.
    pub scopes: Option<Vec<String>>,
    /// Whether the redirect address is registered as that of a single-page application.
    pub send_origin: bool,
}

/// One `Office365(mailbox, account)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxConfig {
    /// A well-known name, a display name, or a path such as `Inbox/Lists/rust`; with the owner in front, if there is one.
    pub name: String,
    /// Whose mailbox it is, where it isn't the signed-in user's.
    pub owner: Option<String>,
    /// Where the file says so, for errors that only the cloud can find.
    pub position: Option<Position>,
    /// Which of [`Configuration::accounts`].
    pub account: usize,
    /// What deleting a message locally means in the cloud.
    pub delete_action: DeleteAction,
    /// How changes in the cloud are noticed.
    pub push: Push,
    /// What of the Maildirs' own messages goes there.
    pub upload: Upload,
    /// Since when its messages are brought here; all of them if nothing is said.
    pub since: Option<Since>,
    /// Whether what the cloud deletes there stays here.
    pub keep: bool,
}

/// What of the Maildirs' own messages goes to a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Upload {
    /// Nothing.
    None,
    /// Drafts.
    #[default]
    Drafts,
    /// Everything, where the account may do that.
    Import,
}

/// How changes in the cloud are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Push {
    /// By a stream of notifications where there is one, else by polling.
    #[default]
    Auto,
    /// By polling only.
    Poll,
    /// By a stream of notifications only.
    Stream,
}

impl Configuration {
    /// Where the program listens if the file doesn't say.
    pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
    /// Where notifications arrive if the file doesn't say.
    pub const PUSH_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
    /// How often it polls if the file doesn't say.
    pub const POLL_INTERVAL: Duration = Duration::from_secs(60);
    /// How long it keeps deleted messages if the file doesn't say.
    pub const KEEP_DELETED_DAYS: u32 = 14;

    /// Every address that the page listens on. Sign-in services send browsers back to the IPv4 address only, so that one is
    /// always among them.
    pub fn listen_addresses(&self) -> Vec<SocketAddr> {
        if self.listen.is_ipv6() {
            vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.listen.port()), self.listen]
        } else {
            vec![self.listen]
        }
    }

    /// Reads and checks a file. `~` is `$HOME`; relative paths start at the file's directory.
    pub fn load(file: &Path) -> Result<Self, ConfigurationError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| ConfigurationError::Unreadable { file: file.to_owned(), source: error })?;
        let absolute = std::path::absolute(file)
            .map_err(|error| ConfigurationError::Unreadable { file: file.to_owned(), source: error })?;
        let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        Self::read(file, &text, paths::Surroundings { home, directory })
    }

    fn read(file: &Path, text: &str, surroundings: paths::Surroundings) -> Result<Self, ConfigurationError> {
        check::checked(file, language::evaluate(file, text, surroundings)?)
    }

    /// Whether `cfg.direct_message` is set. If not, every message goes to the first Maildir.
    pub fn has_router(&self) -> bool {
        self.router.is_some()
    }

    /// Says which Maildir a new message belongs into, by its place in [`Configuration::maildirs`].
    ///
    /// `header` is the message's header; what follows the first empty line is passed over. `flags` are letters as
    /// in a Maildir file name. The user's function may take its time, so call this where waiting is allowed.
    pub fn route(&self, mailbox: usize, header: &[u8], flags: &str) -> Result<usize, ConfigurationError> {
        let Some(router) = &self.router else { return Ok(0) };
        let mailbox = self.mailboxes.get(mailbox).map_or("", |mailbox| mailbox.name.as_str());
        router.route(mailbox, header, flags)
    }

    /// Beyond how many deletions at once, in a mailbox of `messages`, nothing is deleted until the user confirms:
    /// `cfg.max_deletions`, or else 20 messages or a quarter of the mailbox, whichever is more.
    pub fn deletions_held_beyond(&self, messages: u64) -> u64 {
        self.max_deletions.map_or_else(|| (messages / 4).max(20), u64::from)
    }
}
