//! `cms demo`: everything on a simulated Microsoft 365.

use super::{Context, Ended};
use crate::problem::Problem;

/// Runs the command; with `once`, it ends after the first full sync.
#[allow(clippy::unused_async)]
pub async fn run(_context: &Context, _once: bool) -> Result<Ended, Problem> {
    Err(Problem::new("`cms demo` is not built yet"))
}
