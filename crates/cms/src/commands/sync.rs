//! `cms sync`: one full sync.

use cms_auth::Patience;

use super::setup::{self, Manner, Run};
use super::{Context, Ended};
use crate::problem::Problem;

/// Syncs until both sides are the same, then tells what was done.
pub async fn run(context: &Context) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    let manner = Manner::of(context, "sync", Patience::Once(setup::PATIENCE));
    let accounts = setup::accounts(&configuration, Some(&setup::vault(&configuration)), manner)?;
    let setup = setup::setup(context, configuration, &accounts, Run { dry_run: false, listener: None });
    let ran = setup::open(setup)?.run(true, &context.stop).await;
    accounts.sign_ins.finish().await;
    Ok(setup::conclude(context, &ran?))
}
