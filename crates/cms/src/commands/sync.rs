//! `cms sync`: one full sync.

use super::{Context, Ended};
use crate::problem::Problem;

/// Runs the command.
#[allow(clippy::unused_async)]
pub async fn run(context: &Context) -> Result<Ended, Problem> {
    context.configuration()?;
    Err(Problem::new("`cms sync` is not built yet"))
}
