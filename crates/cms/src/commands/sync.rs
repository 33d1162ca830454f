//! `cms sync`: one full sync.

use super::{Context, Ended, setup};
use crate::problem::Problem;

/// Syncs until both sides are the same, then tells what was done.
pub async fn run(context: &Context) -> Result<Ended, Problem> {
    let setup = setup::setup(context, context.configuration()?, false, None)?;
    let summary = setup::open(setup)?.run(true, &context.stop).await?;
    let ended = setup::conclude(context, &summary);
    Ok(if context.stop.is_requested() { Ended::Interrupted } else { ended })
}
