//! What can be typed after `cms`. The doc comments here are the help text.

pub mod span;

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use self::span::{Hour, Since, Undoing};

const EXAMPLES: &str = "\
Examples:
  cms demo                   see it work on a simulated Microsoft 365; nothing to configure
  cms check                  what works, what doesn't, and what to do
  cms plan                   what `cms sync` would change
  cms sign-in                sign in to every account that needs it
  cms status                 how everything stands
  cms sync                   one full sync, then exit
  cms log                    what was done lately
  cms -c ~/work.cfg run -v   the daemon, with another configuration, telling more

Exit status:
    0  done
    1  failed
    2  wrong usage or configuration
    3  signing in is needed
    4  held: more deletions than `max_deletions` wait for your confirmation
  130  interrupted";

const SIGN_IN_EXAMPLES: &str = "\
Examples:
  cms sign-in                    every account that isn't signed in, in the browser
  cms sign-in anna@domain.com    this account, even if it is signed in
  cms sign-in --device           with a code, where there is no browser";

const HELD_EXAMPLES: &str = "\
Your word holds for the messages that are held now, and for no later ones.

Examples:
  cms held                   what is held, and why
  cms held restore inbox     safe in every case: nothing is deleted on either side
  cms held apply inbox       the deletions are meant
  cms held restore ~/mail/INBOX
                             a Maildir on a new disk: its mail is put back";

const LOG_EXAMPLES: &str = "\
Examples:
  cms log                                        the last changes
  cms log --since 2h                             all of the last two hours
  cms log '<abc@example.com>'                    why this message is gone, here, or read
  cms log ~/mail/INBOX/cur/1700000000.R1.host    the same, by its file; flags don't matter";

const FOLDERS_EXAMPLES: &str = "\
The names are those to write in cms.cfg: Office365(\"Inbox/Lists/rust\", account)
`team@domain.com/Inbox`, in a mailbox that is shared with you, is
Office365(\"Inbox\", account, mailbox_owner=\"team@domain.com\")

Examples:
  cms folders                                  all folders of all accounts
  cms folders --json | jq -r 'select(.unread > 0).path'   those with something to read";

const RESTORE_EXAMPLES: &str = "\
Examples:
  cms restore                          what was removed and can be brought back
  cms restore 57 58                    these two
  cms restore --search 'budget anna'   those with both words in subject or sender
  cms restore --hour 2026-11-26T14     all that were removed in that hour
  cms restore --since 1h --list        what the last hour removed, without bringing it back";

const UNDO_EXAMPLES: &str = "\
Examples:
  cms undo --dry-run    what taking back the last hour would change
  cms undo              take back the last hour
  cms undo 57           take back one change
  cms undo run-3        take back an undo";

/// Keeps an Office 365 mailbox and local Maildirs the same, both ways
#[derive(Clone, Debug, Parser)]
#[command(name = "cms", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Arguments {
    /// The configuration [default: ./cms.cfg, then ~/.config/cms/cms.cfg]
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Discard what was changed here while cms was not running: the cloud is right
    #[arg(long, global = true)]
    pub online: bool,

    /// Where it is unknown what both sides last agreed on, flags here are right
    #[arg(long, global = true)]
    pub offline: bool,

    /// Log more (-vv: still more)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,

    /// How to write the log
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,

    #[command(subcommand)]
    command: Option<Command>,
}

/// How to write the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line per event, for people
    #[default]
    Text,
    /// One JSON object per line, for programs
    Json,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Sync, then watch both sides and keep them the same (default)
    Run,
    /// Do one full sync, then exit
    Sync,
    /// Show everything on a simulated Microsoft 365
    Demo {
        /// Exit after the first full sync and one exchange each way, verified
        #[arg(long)]
        once: bool,
    },
    /// Tell what a sync would change, and change nothing
    Plan,
    /// Tell how everything stands: accounts, mailboxes, Maildirs, held deletions
    Status {
        /// Write one JSON object, for programs
        #[arg(long)]
        json: bool,
    },
    /// List the deletions that wait for your word, or give it
    #[command(after_help = HELD_EXAMPLES)]
    Held {
        /// What to do with them
        #[command(subcommand)]
        word: Option<HeldWord>,
    },
    /// Check configuration, sign-in, folders and disk
    Check,
    /// List the folders of each account, with how much is in them and which are synced
    #[command(after_help = FOLDERS_EXAMPLES)]
    Folders {
        /// Write one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Tell what was done on both sides, or the story of one message
    #[command(after_help = LOG_EXAMPLES)]
    Log {
        /// The message: its Message-ID, or its file in a Maildir, gone or not
        message: Option<String>,
        /// Tell so many changes [default: 20, or all with `--since`]
        #[arg(short = 'n', value_name = "N")]
        count: Option<u32>,
        /// Tell what was done since then: `2h`, `3d`, `2026-11-26T14` (times are UTC)
        #[arg(long, value_name = "TIME", value_parser = span::since)]
        since: Option<Since>,
        /// Write one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Bring back messages that were removed, or list them
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore {
        /// The messages, by the numbers that the list shows
        numbers: Vec<u64>,
        /// Those with all of these words in subject or sender
        #[arg(long, value_name = "WORDS", conflicts_with = "numbers")]
        search: Option<String>,
        /// Those removed in that hour: `2026-11-26T14` (times are UTC)
        #[arg(long, value_name = "HOUR", value_parser = span::hour, conflicts_with_all = ["numbers", "since"])]
        hour: Option<Hour>,
        /// Those removed since then: `1h`, `3d`, `2026-11-26`
        #[arg(long, value_name = "TIME", value_parser = span::since, conflicts_with = "numbers")]
        since: Option<Since>,
        /// Only list them
        #[arg(short, long, conflicts_with = "numbers")]
        list: bool,
        /// Write one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Take back what was done in the last hour, or one change
    #[command(after_help = UNDO_EXAMPLES)]
    Undo {
        /// One change by its number in `cms log`, or a whole undo or restoration such as `run-3`
        #[arg(value_name = "NUMBER", value_parser = span::undoing, conflicts_with = "last")]
        what: Option<Undoing>,
        /// What was done since then: `10m`, `2h`, `2026-11-26T14` [default: 1h]
        #[arg(long, value_name = "TIME", value_parser = span::since)]
        last: Option<Since>,
        /// Tell what would be taken back, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Compare everything on both sides, down to the bytes of the files
    Verify {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign in to an account, in the browser or with a code
    #[command(after_help = SIGN_IN_EXAMPLES)]
    SignIn {
        /// The account: its user, or a part that only it has [default: every account that isn't signed in]
        account: Option<String>,
        /// Show a code that can be typed on any device, instead of opening a browser
        #[arg(long)]
        device: bool,
    },
    /// Forget an account's sign-in, here and where the cloud can be told
    SignOut {
        /// The account: its user, or a part that only it has
        account: String,
    },
    /// Write the completion script for a shell
    #[command(hide = true)]
    Completion {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual page
    #[command(hide = true)]
    Man,
}

/// What to do with held deletions.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum HeldWord {
    /// They are meant: do them, on the side that still has the messages
    Apply {
        /// Of this mailbox only, as cms.cfg names it, or ACCOUNT:MAILBOX; or a Maildir of a tree that was removed: its folder
        /// goes to the deleted items
        mailbox: Option<String>,
    },
    /// They aren't meant: what was deleted here comes back, and what is gone from the cloud stays here and is brought
    /// back there as far as that is possible
    Restore {
        /// Of this mailbox only, as cms.cfg names it, or ACCOUNT:MAILBOX; or a Maildir that isn't the one that held the
        /// mail, or is missing, and is to be filled again
        mailbox: Option<String>,
    },
}

impl Arguments {
    /// The command, which is [`Command::Run`] if none was given.
    pub fn command(&self) -> Command {
        self.command.clone().unwrap_or(Command::Run)
    }

    /// Refuses what only makes sense apart.
    // Not left to clap's `conflicts_with`, which misses options on different sides of the command.
    pub(crate) fn checked(self) -> Result<Self, clap::Error> {
        if self.online && self.offline {
            let text = "`--online` and `--offline` contradict each other; choose one";
            return Err(Self::command_line().error(ErrorKind::ArgumentConflict, text));
        }
        Ok(self)
    }

    /// The command line as clap knows it.
    pub(crate) fn command_line() -> clap::Command {
        <Self as CommandFactory>::command()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace()).and_then(Arguments::checked)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command_line().debug_assert();
    }

    #[test]
    fn options_may_stand_on_either_side_of_the_command() {
        for line in
            ["cms -c x.cfg -v --offline sync", "cms sync -c x.cfg -v --offline", "cms --offline sync -v -c x.cfg"]
        {
            let arguments = parse(line).unwrap();
            assert_eq!(arguments.config, Some(PathBuf::from("x.cfg")), "{line}");
            assert_eq!((arguments.verbose, arguments.offline), (1, true), "{line}");
            assert_eq!(arguments.command(), Command::Sync, "{line}");
        }
    }

    #[test]
    fn without_a_command_it_runs() {
        assert_eq!(parse("cms").unwrap().command(), Command::Run);
    }

    #[test]
    fn online_and_offline_exclude_each_other_wherever_they_stand() {
        for line in ["cms --online --offline", "cms --online sync --offline", "cms run --online --offline"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
