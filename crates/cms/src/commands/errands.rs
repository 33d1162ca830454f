//! What `undo`, `restore` and `verify` have in common: the loop does it, that of the daemon if one runs and else one of our own.

use std::time::Duration;

use cms_auth::Patience;
use tokio::time::{Instant, sleep};

use super::asking::{BETWEEN_LOCK_AND_SOCKET, ask_process, unexpected};
use super::setup::{self, Manner, Run};
use super::{Context, Ended};
use crate::control::{Reply, Request};
use crate::output;
use crate::problem::Problem;
use crate::sync::{Driver, Errand, ErrandReport};

/// Has an errand done: by the process that holds the state, and if there is none, by a sync of our own. Nothing comes back
/// if that was interrupted.
pub(super) async fn run(
    context: &Context,
    command: &'static str,
    errand: Errand,
) -> Result<Option<ErrandReport>, Problem> {
    let request = Request::Errand { errand: errand.clone() };
    let patience_ends = Instant::now() + BETWEEN_LOCK_AND_SOCKET;
    loop {
        let configuration = context.configuration()?;
        let asked = tokio::select! {
            asked = ask_process(&configuration, &request) => asked?,
            () = context.stop.requested() => return Ok(None),
        };
        match asked {
            Some(Reply::Errand { report }) => return Ok(Some(*report)),
            Some(_) => return Err(unexpected()),
            None => {}
        }
        let manner = Manner::of(context, command, Patience::Once(setup::PATIENCE));
        let accounts = setup::accounts(&configuration, Some(&setup::vault(&configuration)), manner)?;
        let setup = setup::setup(context, configuration, &accounts, Run { dry_run: false, listener: None });
        let mut driver = match Driver::open(setup) {
            Err(error) if error.is_locked() && Instant::now() < patience_ends => {
                sleep(Duration::from_millis(50)).await;
                continue;
            }
            other => other?,
        };
        let ran = driver.run_errand(errand, &context.stop).await;
        accounts.sign_ins.finish().await;
        return ran.map_err(Problem::from);
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
