//! What `undo`, `restore` and `verify` have in common: the loop does it, that of the daemon if one runs and else one of our own.

use super::asking::{Doer, doer, unexpected};
use super::{Context, Ended};
use crate::control::{Reply, Request};
use crate::output;
use crate::problem::Problem;
use crate::sync::{Errand, ErrandReport};

/// Has an errand done: by the process that holds the state, and if there is none, by a sync of our own. Nothing comes back
/// if that was interrupted.
pub(super) async fn run(
    context: &Context,
    command: &'static str,
    errand: Errand,
) -> Result<Option<ErrandReport>, Problem> {
    let request = Request::Errand { errand: errand.clone() };
    let doer = tokio::select! {
        doer = doer(context, command, &request) => doer?,
        () = context.stop.requested() => return Ok(None),
    };
    match doer {
        Doer::Process(Reply::Errand { report }) => Ok(Some(*report)),
        Doer::Process(_) => Err(unexpected()),
        Doer::Ourselves(mut driver, accounts) => {
            let ran = driver.run_errand(errand, &context.stop).await;
            accounts.sign_ins.finish().await;
            ran.map_err(Problem::from)
        }
    }
}

/// Tells what was taken or brought back.
pub(super) fn tell(report: Option<ErrandReport>, dry_run: bool) -> Result<Ended, Problem> {
    let Some(report) = report else { return Ok(Ended::Interrupted) };
    for done in &report.done {
        output::line(done)?;
    }
    for not_done in &report.not_done {
        output::line(format_args!("not done: {not_done}"))?;
    }
    if report.done.is_empty() && report.not_done.is_empty() {
        output::line("nothing to do: it is as it was")?;
    }
    if report.on_its_way {
        output::line("some of it is still on its way to the cloud; `cms log` tells when it is there")?;
    }
    if let Some(run) = report.run.filter(|_| !report.done.is_empty() && !dry_run) {
        output::line(format_args!("`cms undo run-{run}` takes this back"))?;
    }
    Ok(if report.not_done.is_empty() { Ended::Done } else { Ended::Failed })
}
