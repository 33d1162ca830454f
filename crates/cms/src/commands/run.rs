//! `cms run`: the daemon. It syncs, then watches both sides.

use cms_auth::Patience;

use super::setup::{self, Manner, Run};
use super::webhooks::Webhooks;
use super::{Context, Ended, pushing};
use crate::problem::Problem;

/// Keeps both sides the same until it is asked to stop.
pub async fn run(context: &Context) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    let manner = Manner::of(context, "run", Patience::Forever);
    let accounts = setup::accounts(&configuration, Some(&setup::vault(&configuration)), manner)?;
    let (webhooks, push) = match &configuration.push_url {
        Some(url) => {
            let (webhooks, push) = Webhooks::open(&configuration, &accounts, url);
            (Some(webhooks), push)
        }
        None => (None, pushing::sources(&configuration, &accounts)?),
    };
    let mut setup = setup::setup(context, configuration, &accounts, Run { dry_run: false, listener: None });
    setup.push = push;
    let ran = setup::open(setup)?.run(false, &context.stop).await;
    if let Some(webhooks) = webhooks {
        webhooks.finish().await;
    }
    accounts.sign_ins.finish().await;
    let summary = ran?;
    tracing::info!("Stopped ({summary})");
    Ok(Ended::Done)
}
