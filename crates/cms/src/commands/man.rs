//! `cms man`: the manual page, for packagers.

use super::Ended;
use crate::arguments::Arguments;
use crate::output;
use crate::problem::Problem;

/// Writes the page to stdout, in roff.
pub fn run() -> Result<Ended, Problem> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Arguments::command_line())
        .render(&mut page)
        .map_err(|error| Problem::from_error("could not write the manual page", error))?;
    output::bytes(&page)?;
    Ok(Ended::Done)
}
