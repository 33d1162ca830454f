//! `cms verify`: whether both sides are the same, shown and not believed.

use std::fmt::Write as _;

use super::{Context, Ended, errands};
use crate::output;
use crate::problem::Problem;
use crate::sync::Errand;

/// Compares the cloud as it is listed now, what is known of it, the files with their bytes, and the store.
pub async fn run(context: &Context, json: bool) -> Result<Ended, Problem> {
    let report = errands::run(context, "verify", Errand::Verify).await?;
    let Some(verification) = report.and_then(|report| report.verification) else { return Ok(Ended::Interrupted) };
    let ended = if verification.is_same() { Ended::Done } else { Ended::Failed };
    if json {
        let mut value = serde_json::to_value(&verification)
            .map_err(|error| Problem::from_error("could not write what was found", error))?;
        value["same"] = verification.is_same().into();
        output::line(value)?;
        return Ok(ended);
    }
    for mailbox in &verification.mailboxes {
        let crate::sync::MailboxCounts { name, cloud, known, agreed, left_out, kept } = mailbox;
        let mut line = format!("`{name}`: {cloud} in the cloud, {known} known of, {agreed} the same on both sides");
        for (count, what) in [(left_out, "left in the cloud for their age"), (kept, "kept here alone")] {
            if *count > 0 {
                // Writing to a string can't fail.
                let _ = write!(line, ", {count} {what}");
            }
        }
        output::line(line)?;
    }
    for maildir in &verification.maildirs {
        let crate::sync::MaildirCounts { path, files, agreed } = maildir;
        output::line(format_args!("`{path}`: {files} files, {agreed} the same on both sides"))?;
    }
    output::line(format_args!(
        "read the bytes of {} files and of {} stored messages",
        verification.files_read, verification.stored_read
    ))?;
    for difference in &verification.differences {
        output::line(format_args!("different: {difference}"))?;
    }
    match verification.differences.len() {
        0 => output::line("both sides are the same")?,
        1 => output::line("1 difference")?,
        more => output::line(format_args!("{more} differences"))?,
    }
    Ok(ended)
}
