//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// No file was named, and none is where they are looked for.
    #[error("there is no configuration: neither {} exists", listed(.looked_for))]
    Missing {
        /// The files that don't exist.
        looked_for: Vec<PathBuf>,
    },
    /// The file can't be read.
    #[error("could not read the configuration `{}`", .file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in the file is wrong.
    #[error("{position}: {what}")]
    Wrong {
        /// Where.
        position: Position,
        /// What, as a sentence without a full stop.
        what: String,
        /// What to write instead, if that is known.
        hint: Option<String>,
    },
}

impl ConfigurationError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Missing { .. } => {
                Some("write one (see docs/configuration.md), name it with `-c FILE`, or try `cms demo`")
            }
            Self::Unreadable { .. } => None,
            Self::Wrong { hint, .. } => hint.as_deref(),
        }
    }
}

fn listed(files: &[PathBuf]) -> String {
    files.iter().map(|file| format!("`{}`", file.display())).collect::<Vec<_>>().join(" nor ")
}

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file, as the user named it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl Position {
    /// Where a file begins, for what is wrong with the file as a whole.
    pub(super) fn start_of(file: &Path) -> Self {
        Self { file: file.display().to_string(), line: 1, column: 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Something that a value in the file can't be, before it is known where the value stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(super) struct Refusal {
    pub(super) what: String,
    pub(super) hint: Option<String>,
    pub(super) argument: Option<Argument>,
}

/// Which argument of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    Positional(usize),
    Named(String),
}

impl Refusal {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, argument: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn maybe_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    pub(super) fn at(self, argument: Argument) -> Self {
        Self { argument: Some(argument), ..self }
    }

    pub(super) fn positioned(self, position: Position) -> ConfigurationError {
        ConfigurationError::Wrong { position, what: self.what, hint: self.hint }
    }
}

/// Passes a refusal through the Starlark interpreter, which adds where it happened.
impl From<Refusal> for starlark::Error {
    fn from(refusal: Refusal) -> Self {
        Self::new_native(refusal)
    }
}

/// "did you mean `x`?", if a candidate is near enough.
pub(super) fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let likeness =
        |candidate: &str| strsim::normalized_damerau_levenshtein(&written.to_lowercase(), &candidate.to_lowercase());
    candidates
        .into_iter()
        .map(|candidate| (candidate, likeness(candidate)))
        .filter(|(_, likeness)| *likeness >= 0.55)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(candidate, _)| format!("did you mean `{candidate}`?"))
}
