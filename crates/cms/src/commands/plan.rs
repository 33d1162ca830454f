//! `cms plan`: what a sync would change.

use cms_auth::Patience;

use super::setup::{self, Manner, Run};
use super::{Context, Ended};
use crate::output;
use crate::problem::Problem;

/// Looks at both sides and writes what a sync would do, one step a line.
pub async fn run(context: &Context) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    let missing: Vec<_> = configuration
        .maildirs
        .iter()
        .map(|maildir| maildir.path.clone())
        .filter(|path| !path.join("cur").is_dir())
        .collect();
    let manner = Manner::of(context, "plan", Patience::Once(setup::PATIENCE));
    let accounts = setup::accounts(&configuration, Some(&setup::vault(&configuration)), manner)?;
    let setup = setup::setup(context, configuration, &accounts, Run { dry_run: true, listener: None });
    let planned = setup::open(setup)?.dry_run(&context.stop).await;
    accounts.sign_ins.finish().await;
    let steps = planned?;
    if context.stop.is_requested() {
        // Half a look says nothing about the whole.
        return Ok(Ended::Interrupted);
    }
    for path in missing {
        output::line(format_args!("make the Maildir `{}`", path.display()))?;
    }
    for step in &steps {
        output::line(step)?;
    }
    if steps.is_empty() {
        output::line("nothing to do: both sides are the same")?;
    }
    Ok(if steps.iter().any(|step| step.starts_with("held: ")) { Ended::Held } else { Ended::Done })
}
