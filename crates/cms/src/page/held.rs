//! Deletions that wait for the user's word, as the page, the commands and the log tell of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Deletions in one mailbox that wait for the user's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldReport {
    /// Stands for exactly these messages: another set has another id.
    pub id: String,
    /// The place of the account in the configuration.
    pub account: usize,
    /// The mailbox, as the configuration names it.
    pub mailbox: String,
    /// Whether the messages are gone from the cloud, and files would go; else they were deleted here.
    pub gone_from_cloud: bool,
    /// How many messages.
    pub count: u64,
    /// Of how many that both sides had.
    pub of: u64,
    /// What happened: a sentence without its full stop.
    pub cause: String,
    /// Up to five of them, newest first.
    pub samples: Vec<Headline>,
    /// The Maildir that isn't there any more, where that is what is held: nobody has deleted a message then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

/// What the user says of held deletions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// They are meant.
    Apply,
    /// They aren't.
    Restore,
}

/// A message as people know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headline {
    /// Its subject, decoded; empty if it has none.
    pub subject: String,
    /// Who sent it.
    pub sender: String,
    /// When it was received, as RFC 3339 writes it.
    pub received: String,
}

impl HeldReport {
    /// What makes it worse.
    pub fn avoid(&self) -> &'static str {
        if self.directory.is_some() {
            "don't delete the state directory to be rid of this"
        } else if self.gone_from_cloud {
            "don't delete the files or the state directory: they may hold the only copies"
        } else {
            "don't delete the state directory, and don't raise `cfg.max_deletions`, to be rid of this"
        }
    }

    /// What is safe whatever has happened, and the command for it.
    pub fn safe(&self) -> String {
        let what = if self.gone_from_cloud { "keep the files" } else { "get the messages back" };
        format!("to {what}: `cms held restore {}`", argument(self.directory.as_ref().unwrap_or(&self.mailbox)))
    }

    /// What to do if the deletions are meant.
    pub fn meant(&self) -> String {
        if let Some(directory) = &self.directory {
            let to = argument(directory);
            return format!(
                "only if that is what you want, to move the folder to the deleted items in the cloud: `cms held apply {to}`"
            );
        }
        let what = if self.gone_from_cloud { "remove the files too" } else { "delete them in the cloud too" };
        format!("only if that is what you want, to {what}: `cms held apply {}`", argument(&self.mailbox))
    }
}

impl fmt::Display for HeldReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.directory.is_some() {
            let count = self.count;
            return write!(f, "{}; the cloud keeps its {count} messages until you say otherwise", self.cause);
        }
        let kept = if self.gone_from_cloud { "their files are kept" } else { "the cloud keeps them" };
        write!(f, "{}; {kept} until you say otherwise", self.cause)
    }
}

/// A mailbox or a path as it is typed after a command.
pub(crate) fn argument(mailbox: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    if mailbox.chars().all(plain) { mailbox.to_owned() } else { format!("'{}'", mailbox.replace('\'', "'\\''")) }
}
