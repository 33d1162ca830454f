//! `cms run`: the daemon. It syncs, then watches both sides.

use super::{Context, Ended, setup};
use crate::problem::Problem;

/// Keeps both sides the same until it is asked to stop.
pub async fn run(context: &Context) -> Result<Ended, Problem> {
    let setup = setup::setup(context, context.configuration()?, false, None)?;
    let summary = setup::open(setup)?.run(false, &context.stop).await?;
    tracing::info!("Stopped ({summary})");
    Ok(Ended::Done)
}
