//! Cloud `MailDir` Sync, the program: configuration, commands, and the loop that keeps both sides the same.
//!
//! Everything is in this library, so that tests and benchmarks can reach the pieces; `main.rs` only calls
//! [`run_program`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command, LogFormat};
use crate::commands::{Context, Ended};
use crate::problem::{ExitStatus, Problem};
use crate::progress::{Kind, Progress};
use crate::stop::Stop;

pub mod arguments;
pub mod commands;
pub mod configuration;
mod control;
mod envelope;
mod history;
pub mod logging;
pub mod output;
pub mod page;
pub mod problem;
pub mod progress;
mod sign_in;
#[cfg(test)]
mod simulation;
pub mod stop;
mod sync;
mod tree;
mod webhook;

/// Runs the program with these arguments, the first of which is its own name, and returns its exit status.
///
/// Errors are told on stderr. Called once per process, since it installs the logger and the signal handlers.
pub fn run_program(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments).and_then(Arguments::checked) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way too, with status 0. A closed pipe is no reason to complain.
            let _ = error.print();
            return if error.use_stderr() { ExitStatus::Usage.into() } else { ExitStatus::Done.into() };
        }
    };
    match dispatch(arguments) {
        Ok(ended) => ended.exit_status().into(),
        Err(problem) => {
            let colour =
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let _ = write!(std::io::stderr().lock(), "{}", problem.display(colour));
            problem.exit.into()
        }
    }
}

fn dispatch(arguments: Arguments) -> Result<Ended, Problem> {
    match arguments.command() {
        Command::Completion { shell } => return commands::completion::run(shell),
        Command::Man => return commands::man::run(),
        Command::Run
        | Command::Sync
        | Command::Demo { .. }
        | Command::Plan
        | Command::Status { .. }
        | Command::Held { .. }
        | Command::Check
        | Command::Folders { .. }
        | Command::Log { .. }
        | Command::Undo { .. }
        | Command::Restore { .. }
        | Command::Verify { .. }
        | Command::SignIn { .. }
        | Command::SignOut { .. } => {}
    }
    // Lines for people have no place among objects for programs.
    let progress = match arguments.log_format {
        LogFormat::Text => Progress::detect(),
        LogFormat::Json => Progress::new(Kind::Silent),
    };
    logging::start(arguments.verbose, arguments.log_format, &progress);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::from_error("could not start", error))?;
    let ended = runtime.block_on(async {
        let stop = Stop::on_signals().map_err(|error| Problem::from_error("could not listen for signals", error))?;
        let context = Context { arguments, progress: progress.clone(), stop };
        stop::within_grace(&context.stop, stop::GRACE, Box::pin(command(&context))).await
    });
    // A task that hangs, such as a name look-up, must not keep the process alive.
    runtime.shutdown_background();
    progress.clear();
    ended
}

async fn command(context: &Context) -> Result<Ended, Problem> {
    match context.arguments.command() {
        Command::Run => commands::run::run(context).await,
        Command::Sync => commands::sync::run(context).await,
        Command::Demo { once } => commands::demo::run(context, once).await,
        Command::Plan => commands::plan::run(context).await,
        Command::Status { json } => commands::status::run(context, json).await,
        Command::Held { word } => commands::held::run(context, word).await,
        Command::Check => commands::check::run(context).await,
        Command::Folders { json } => commands::folders::run(context, json).await,
        Command::Log { message, count, since, json } => {
            commands::log::run(context, &commands::log::Asked { message: message.as_deref(), count, since, json })
        }
        Command::Undo { what, last, dry_run } => commands::undo::run(context, what, last, dry_run).await,
        Command::Restore { numbers, search, hour, since, list, json } => {
            let chosen = commands::restore::Chosen { numbers, search, hour, since };
            commands::restore::run(context, &chosen, list, json).await
        }
        Command::Verify { json } => commands::verify::run(context, json).await,
        Command::SignIn { account, device } => commands::sign_in::run(context, account.as_deref(), device).await,
        Command::SignOut { account } => commands::sign_out::run(context, &account).await,
        Command::Completion { shell } => commands::completion::run(shell),
        Command::Man => commands::man::run(),
    }
}
