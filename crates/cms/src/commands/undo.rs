//! `cms undo`: takes back what was done.

use super::{Context, Ended, errands};
use crate::arguments::span::{Since, Undoing};
use crate::problem::Problem;
use crate::sync::{Errand, Surroundings, Undone};

/// How far back, if nothing is said.
const LAST: Since = Since::Ago(3_600);

/// Makes messages what they were, on both sides as far as the cloud can do it.
pub async fn run(
    context: &Context,
    what: Option<Undoing>,
    last: Option<Since>,
    dry_run: bool,
) -> Result<Ended, Problem> {
    let what = match what {
        Some(Undoing::Entry(number)) => Undone::Entry(number),
        Some(Undoing::Run(run)) => Undone::Run(run),
        None => Undone::Since(last.unwrap_or(LAST).from((Surroundings::default().now)()).0),
    };
    let report = errands::run(context, "undo", Errand::Undo { what, dry_run }).await?;
    errands::tell(report, dry_run)
}
