//! Errors as people see them. This is the only place that knows hints and exit statuses; the libraries know neither.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use cms_cloud::contract::CloudError;
use cms_store::StoreError;

use crate::configuration::ConfigurationError;
use crate::page::argument;
use crate::sync::{LocalError, SyncError};

/// With what status the program exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Done.
    Done = 0,
    /// Something failed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Nobody is signed in, or no longer.
    SignInNeeded = 3,
    /// More deletions than allowed wait for the user's confirmation.
    Held = 4,
    /// Stopped by a signal before it was done.
    Interrupted = 130,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// What went wrong, for a person at a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What could not be done, to which thing: a sentence without a full stop.
    pub what: String,
    /// Because of what, outermost first.
    pub causes: Vec<String>,
    /// One thing that can be done about it.
    pub hint: Option<String>,
    /// With what status the program exits.
    pub exit: ExitStatus,
}

impl Problem {
    /// A problem that stands for itself, with status 1.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), causes: Vec::new(), hint: None, exit: ExitStatus::Failed }
    }

    /// A problem caused by an error and what caused that in turn, with status 1.
    pub fn from_error(what: impl Into<String>, error: impl Error) -> Self {
        let mut causes = vec![error.to_string()];
        causes.extend(sources(&error));
        Self { causes, ..Self::new(what) }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Sets the exit status.
    #[must_use]
    pub fn with_exit(self, exit: ExitStatus) -> Self {
        Self { exit, ..self }
    }

    /// The problem as it is written to the terminal, ending with a line end.
    pub fn display(&self, colour: bool) -> impl fmt::Display + '_ {
        Displayed { problem: self, colour }
    }
}

impl From<ConfigurationError> for Problem {
    fn from(error: ConfigurationError) -> Self {
        Self {
            what: error.to_string(),
            causes: sources(&error),
            hint: error.hint().map(str::to_owned),
            exit: ExitStatus::Usage,
        }
    }
}

/// An error and what caused it, on one line: `outer: inner`.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    std::iter::once(error.to_string()).chain(sources(error)).collect::<Vec<_>>().join(": ")
}

/// What helps against a failure of the cloud that the daemon waits to be over.
pub(crate) fn remedy(error: &CloudError) -> Option<String> {
    let remedy = match error {
        CloudError::SignInNeeded { .. } => "sign in on this page, or with `cms sign-in`",
        CloudError::Unreachable(_) => "check the network; it is tried again by itself",
        CloudError::Throttled(_) => "nothing: the service wants a pause, and it goes on by itself",
        CloudError::NoSuchFolder { .. } => "`cms check` lists what is near; set the name right in cms.cfg",
        CloudError::Refused { code, .. } if code == "ErrorAccessDenied" => {
            "the mailbox's owner, or an administrator, must give this account access to it"
        }
        _ => return None,
    };
    Some(remedy.to_owned())
}

impl From<SyncError> for Problem {
    fn from(error: SyncError) -> Self {
        let causes = sources(&error);
        let (exit, hint) = match &error {
            SyncError::Configuration { hint, .. } => (ExitStatus::Usage, Some(hint.clone())),
            SyncError::MaildirMissing { path, .. } => (
                ExitStatus::Failed,
                Some(format!(
                    "mount its disk if it isn't mounted; don't make it anew by hand. If it is gone for good, \
                     `cms held restore {0}` makes it and puts the mail back. Nothing was changed in the cloud",
                    argument(&path.display().to_string())
                )),
            ),
            SyncError::MaildirReplaced { path } => (
                ExitStatus::Held,
                Some(format!(
                    "mount the disk that it was on if that isn't mounted; don't copy or write a mark by hand. If this is \
                     its new place, `cms held restore {0}` puts the mail back. Nothing was changed in the cloud",
                    argument(&path.display().to_string())
                )),
            ),
            SyncError::Cloud(CloudError::SignInNeeded { .. }) => {
                (ExitStatus::SignInNeeded, Some("sign in with `cms sign-in`, then run the command again".to_owned()))
            }
            SyncError::Cloud(CloudError::Unreachable(_)) => {
                (ExitStatus::Failed, Some("check the network, then run the command again; nothing is lost".to_owned()))
            }
            SyncError::Mailbox { source, .. } => (ExitStatus::Failed, remedy(source)),
            SyncError::Store(StoreError::Locked { .. }) => (
                ExitStatus::Failed,
                Some("one program at a time works on a state directory: stop the other one first".to_owned()),
            ),
            SyncError::Store(StoreError::NewerSchema { .. }) => (
                ExitStatus::Failed,
                Some("use the newer version of cms again, or set `cfg.state_dir` to another directory".to_owned()),
            ),
            SyncError::Store(StoreError::Damaged { .. }) => (
                ExitStatus::Failed,
                Some("run the command again: the damaged database is kept aside, and no mail is lost".to_owned()),
            ),
            SyncError::Maildir(error) if error.is_not_a_directory() => (
                ExitStatus::Failed,
                Some("a file is in the Maildir's place: move it away, or name another Maildir in cms.cfg".to_owned()),
            ),
            error if error.is_disk_full() => (
                ExitStatus::Failed,
                Some("make room on the disk, then run the command again; nothing is lost".to_owned()),
            ),
            SyncError::Maildir(error) | SyncError::Local(LocalError::Maildir(error))
                if error.is_permission_denied() || error.is_read_only() =>
            {
                (
                    ExitStatus::Failed,
                    Some("see that you may write there, or name another Maildir in cms.cfg".to_owned()),
                )
            }
            _ => (ExitStatus::Failed, None),
        };
        Self { what: error.to_string(), causes, hint, exit }
    }
}

/// The causes of an error, outermost first.
fn sources(error: &dyn Error) -> Vec<String> {
    let mut told = error.to_string();
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Some libraries repeat the cause in their own message.
        if !told.contains(&cause) {
            causes.push(cause.clone());
        }
        told = cause;
        source = error.source();
    }
    causes
}

struct Displayed<'a> {
    problem: &'a Problem,
    colour: bool,
}

impl fmt::Display for Displayed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (red, cyan, plain) = if self.colour { ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "") };
        writeln!(f, "{red}error:{plain} {}", printable(&self.problem.what))?;
        for cause in &self.problem.causes {
            writeln!(f, "  caused by: {}", printable(cause))?;
        }
        if let Some(hint) = &self.problem.hint {
            writeln!(f, "{cyan}hint:{plain} {}", printable(hint))?;
        }
        Ok(())
    }
}

/// What a server says may hold anything; control characters must not reach the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not reach the mail service")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_and_hint_are_told() {
        let problem = Problem::from_error("could not sync `inbox`", Outer(std::io::Error::other("connection refused")))
            .with_hint("check the network, then run `cms sync`");
        assert_eq!(
            problem.display(false).to_string(),
            "error: could not sync `inbox`\n  caused by: could not reach the mail service\n  caused by: connection refused\n\
             hint: check the network, then run `cms sync`\n"
        );
    }

    #[test]
    fn colours_are_only_there_when_asked_for() {
        let problem = Problem::new("x").with_hint("y");
        assert!(!problem.display(false).to_string().contains('\x1b'));
        assert_eq!(problem.display(true).to_string(), "\x1b[1;31merror:\x1b[0m x\n\x1b[1;36mhint:\x1b[0m y\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(Problem::new("a\x1b[2Jb").display(false).to_string(), "error: a\u{fffd}[2Jb\n");
    }

    #[test]
    fn a_wrong_configuration_exits_with_2() {
        let error = ConfigurationError::Missing { looked_for: vec!["cms.cfg".into()] };
        assert_eq!(Problem::from(error).exit, ExitStatus::Usage);
    }
}
