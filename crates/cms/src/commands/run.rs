//! `cms run`: the daemon. It syncs, then watches both sides.

use cms_auth::Patience;

use super::setup::{self, Manner, Run};
use super::{Context, Ended, pushing};
use crate::problem::Problem;

/// Keeps both sides the same until it is asked to stop.
pub async fn run(context: &Context) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    let manner = Manner::of(context, "run", Patience::Forever);
    let accounts = setup::accounts(&configuration, Some(&setup::vault(&configuration)), manner)?;
    let push = pushing::sources(&configuration, &accounts)?;
    let mut setup = setup::setup(context, configuration, &accounts, Run { dry_run: false, listener: None });
    setup.push = push;
    let ran = setup::open(setup)?.run(false, &context.stop).await;
    accounts.sign_ins.finish().await;
    let summary = ran?;
    tracing::info!("Stopped ({summary})");
    Ok(Ended::Done)
}
