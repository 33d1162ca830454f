//! What can be told of the key without asking for it.

use std::fmt;

/// Where the key is and whether it can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyDescription {
    /// The keyring has it, or would have it.
    Keyring(KeyringState),
    /// This command gives it. It wasn't run to find out.
    Command(String),
}

/// What can be seen of the keyring without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyringState {
    /// It is unlocked and has the vault's key.
    HasKey,
    /// It is unlocked; there is no vault yet, nor a key for it.
    Ready,
    /// It is unlocked and has no key for the vault that is there.
    LacksKey,
    /// It is locked.
    Locked,
    /// There is none, for this reason.
    Absent(String),
    /// It doesn't do its work, for this reason.
    Failed(String),
}

impl fmt::Display for KeyDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyring(state) => state.fmt(f),
            Self::Command(command) => write!(f, "the key comes from `{command}`"),
        }
    }
}

impl fmt::Display for KeyringState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HasKey => f.write_str("the key is in the keyring"),
            Self::Ready => f.write_str("the keyring is unlocked; a key is made with the first sign-in"),
            Self::LacksKey => f.write_str("the keyring is unlocked and has no key for the vault"),
            Self::Locked => f.write_str("the keyring is locked"),
            Self::Absent(reason) => write!(f, "there is no keyring: {reason}"),
            Self::Failed(reason) => write!(f, "the keyring doesn't work: {reason}"),
        }
    }
}
