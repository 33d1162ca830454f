//! `cms plan`: what a sync would change.

use super::{Context, Ended};
use crate::problem::Problem;

/// Runs the command.
#[allow(clippy::unused_async)]
pub async fn run(context: &Context) -> Result<Ended, Problem> {
    context.configuration()?;
    Err(Problem::new("`cms plan` is not built yet"))
}
