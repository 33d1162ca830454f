//! Why a sign-in can't be kept or had again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::format::FormatError;

/// Why the vault did not do what it was asked. Nothing of what it held is lost by any of these.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VaultError {
    /// There is no keyring: no session bus, or nothing on it that keeps secrets. One may appear; until then sign-ins
    /// are kept by nobody, unless a key command is configured.
    #[error("there is no keyring for the key of {}: {reason}", .path.display())]
    NoKeyring {
        /// The vault.
        path: PathBuf,
        /// What is missing, in words.
        reason: String,
    },
    /// The keyring is locked, and nobody unlocked it when asked to. Wait until the key may be available.
    #[error("the keyring that holds the key of {} is locked", .path.display())]
    Locked {
        /// The vault.
        path: PathBuf,
    },
    /// The keyring is there and did not do its work. Try again after it changed, or later.
    #[error("the keyring did not give the key of {}: {reason}", .path.display())]
    Keyring {
        /// The vault.
        path: PathBuf,
        /// What happened, in words.
        reason: String,
    },
    /// The key at hand is not the vault's. The user must bring back the right one, or sign out and in again; until
    /// then the vault stays as it is.
    #[error("the key at hand does not open {}: {reason}", .path.display())]
    WrongKey {
        /// The vault, which is left alone.
        path: PathBuf,
        /// Where the key came from and why it isn't the right one, in words.
        reason: String,
    },
    /// The vault is damaged, so that this sign-in can't be had from it. Sign in again: what is damaged is put aside
    /// before anything is written.
    #[error("{} is damaged: {what}", .path.display())]
    Damaged {
        /// The vault.
        path: PathBuf,
        /// What is damaged.
        what: FormatError,
    },
    /// A later version of the program wrote the vault, which is left alone. Use that version.
    #[error("{} was written by a later version of the program (version {version})", .path.display())]
    NewerVersion {
        /// The vault.
        path: PathBuf,
        /// The version it has.
        version: u8,
    },
    /// The key command gave no passphrase. It isn't run again before [`Vault::ask_again`](super::Vault::ask_again).
    #[error("`{command}` gave no passphrase for {}: {reason}", .path.display())]
    KeyCommand {
        /// The vault.
        path: PathBuf,
        /// The command as it is configured.
        command: String,
        /// Why not.
        reason: KeyCommandFailure,
    },
    /// What should be kept is too large, or the account has no name.
    #[error("this sign-in can't be kept in {}: {what}", .path.display())]
    Unfit {
        /// The vault.
        path: PathBuf,
        /// What is too large.
        what: FormatError,
    },
    /// A file can't be read or written.
    #[error("could not {doing} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
}

/// Why a key command gave no passphrase. Nothing that the command printed is in here.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyCommandFailure {
    /// It can't be run at all.
    #[error("it can't be run")]
    Start(#[source] Arc<io::Error>),
    /// It ended with another status than success.
    #[error("it ended with {0}")]
    Status(std::process::ExitStatus),
    /// Its first line is empty.
    #[error("its first line is empty")]
    Empty,
    /// Its first line is longer than any passphrase.
    #[error("its first line is longer than {0} bytes")]
    TooLong(usize),
    /// It did not end in time.
    #[error("it did not end within {} seconds", .0.as_secs_f32())]
    Slow(Duration),
    /// No key can be derived from what it printed.
    #[error("no key can be derived from its first line")]
    Derivation,
}

impl VaultError {
    /// Whether the key is there, behind a lock that the user may open.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }

    /// Whether it may be over by itself, which [`Vault::wait_for_key`](super::Vault::wait_for_key) notices.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::NoKeyring { .. } | Self::Keyring { .. })
    }

    /// What the user can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoKeyring { .. } => {
                "write `cfg.token_key_command = \"pass show cms\"` or the like in cms.cfg, which gives a key without a \
                 keyring"
                    .to_owned()
            }
            Self::Locked { .. } => {
                "unlock the keyring: log in to the desktop, or open it in its own program".to_owned()
            }
            Self::Keyring { .. } => {
                "see that the keyring's own program works, or write `cfg.token_key_command` in cms.cfg".to_owned()
            }
            Self::WrongKey { path, .. } => {
                format!("bring back the key; or, to begin anew, move {} away and sign in again", path.display())
            }
            Self::Damaged { .. } => "sign in again; the damaged file is put aside".to_owned(),
            Self::NewerVersion { .. } => "use that version of cms again".to_owned(),
            Self::KeyCommand { .. } => "run the command yourself, and set `cfg.token_key_command` right".to_owned(),
            Self::Unfit { .. } => "sign in again".to_owned(),
            Self::Io { .. } => "see that the state directory is yours and that its disk has room".to_owned(),
        }
    }

    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source: Arc::new(source) }
    }
}
