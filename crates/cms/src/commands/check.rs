//! `cms check`: what works, what doesn't, and what to do.

use super::{Context, Ended};
use crate::output;
use crate::problem::Problem;

/// Runs the command.
#[allow(clippy::unused_async)]
pub async fn run(context: &Context) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    output::line(format_args!("configuration: `{}` is fine", configuration.file.display()))?;
    Ok(Ended::Done)
}
