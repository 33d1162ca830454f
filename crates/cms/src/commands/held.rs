//! `cms held`: which deletions wait for the user's word.

use super::asking::{ask_process, unexpected};
use super::{Context, Ended, status};
use crate::control::{HeldReport, Reply, Request};
use crate::output;
use crate::problem::Problem;

/// Lists what is held.
pub async fn list(context: &Context) -> Result<Ended, Problem> {
    let configuration = context.configuration()?;
    let held: Vec<HeldReport> = match ask_process(&configuration, &Request::Held).await? {
        Some(Reply::Held { held }) => held,
        Some(_) => return Err(unexpected()),
        None => {
            let report = status::at_rest(&configuration).await?;
            report.accounts.into_iter().flat_map(|account| account.mailboxes).flat_map(|mailbox| mailbox.held).collect()
        }
    };
    for shown in &held {
        output::bytes(status::held(shown, "").as_bytes())?;
    }
    if held.is_empty() {
        output::line("nothing is held")?;
    }
    Ok(if held.is_empty() { Ended::Done } else { Ended::Held })
}
