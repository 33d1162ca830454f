//! Writing data to stdout.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use crate::problem::{Problem, printable};

/// Writes one line to stdout, or several, without control characters. That the reader went away (`cms plan | head`) is not a
/// problem.
pub fn line(text: impl Display) -> Result<(), Problem> {
    bytes(format!("{}\n", printable(&text.to_string())).as_bytes())
}

/// The name of a folder as it is shown: on one line, whatever its owner has put into it.
pub fn name(name: &str) -> String {
    printable(name).replace('\n', "\u{fffd}")
}

/// Writes bytes to stdout, as [`line`] does.
pub fn bytes(bytes: &[u8]) -> Result<(), Problem> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Problem::from_error("could not write the output", error)),
    }
}
