//! `cms run`: the daemon. It syncs, then watches both sides.

use super::{Context, Ended};
use crate::problem::Problem;

/// Runs the command.
#[allow(clippy::unused_async)]
pub async fn run(context: &Context) -> Result<Ended, Problem> {
    context.configuration()?;
    Err(Problem::new("`cms run` is not built yet"))
}
