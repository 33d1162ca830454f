//! `cms completion SHELL`: the completion script, for packagers.

use super::Ended;
use crate::arguments::Arguments;
use crate::output;
use crate::problem::Problem;

/// Writes the script to stdout.
pub fn run(shell: clap_complete::Shell) -> Result<Ended, Problem> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command_line(), "cms", &mut script);
    output::bytes(&script)?;
    Ok(Ended::Done)
}
