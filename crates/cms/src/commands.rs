//! The commands, one per file.

use std::path::PathBuf;

use crate::arguments::Arguments;
use crate::configuration::{self, Configuration};
use crate::problem::{ExitStatus, Problem};
use crate::progress::Progress;
use crate::stop::Stop;

mod asking;
pub mod check;
pub mod completion;
pub mod demo;
mod errands;
pub mod folders;
pub mod held;
pub mod log;
pub mod man;
pub mod plan;
mod pushing;
pub mod restore;
pub mod run;
mod setup;
pub mod sign_in;
pub mod sign_out;
pub mod status;
pub mod sync;
pub mod undo;
pub mod verify;
mod webhooks;

/// What every command is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// What was typed.
    pub arguments: Arguments,
    /// Where to show how far it is.
    pub progress: Progress,
    /// The wish that it ends; a command has two seconds to follow it.
    pub stop: Stop,
}

impl Context {
    /// The configuration that was named, or else the one that is found.
    pub fn configuration_file(&self) -> Result<PathBuf, Problem> {
        match &self.arguments.config {
            Some(file) => Ok(file.clone()),
            None => Ok(configuration::locate()?),
        }
    }

    /// Loads [`Context::configuration_file`].
    pub fn configuration(&self) -> Result<Configuration, Problem> {
        Ok(Configuration::load(&self.configuration_file()?)?)
    }
}

/// How a command ended that met no problem of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is done, or was a daemon and was asked to stop.
    Done,
    /// It is done but for what it told about on the way.
    Failed,
    /// It needs somebody to sign in.
    SignInNeeded,
    /// Deletions wait for the user's confirmation.
    Held,
    /// It was asked to stop before it was done.
    Interrupted,
}

impl Ended {
    /// With what status the program exits.
    pub fn exit_status(self) -> ExitStatus {
        match self {
            Self::Done => ExitStatus::Done,
            Self::Failed => ExitStatus::Failed,
            Self::SignInNeeded => ExitStatus::SignInNeeded,
            Self::Held => ExitStatus::Held,
            Self::Interrupted => ExitStatus::Interrupted,
        }
    }
}
