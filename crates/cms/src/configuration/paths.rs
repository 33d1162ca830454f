//! Paths as people write them.

use std::path::{Component, Path, PathBuf};

use super::error::Refusal;

/// What a path in the file is relative to.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    /// What `~` stands for.
    pub(super) home: Option<PathBuf>,
    /// The directory of the file.
    pub(super) directory: PathBuf,
}

impl Surroundings {
    /// Makes a path absolute and takes out what is superfluous in it. `..` stays, since what it means depends on links.
    pub(super) fn absolute(&self, written: &str) -> Result<PathBuf, Refusal> {
        if written.is_empty() {
            return Err(Refusal::new("a path must not be empty"));
        }
        if written.contains('\0') {
            return Err(Refusal::new("a path can't hold a zero byte"));
        }
        let path = match written.strip_prefix('~') {
            None => self.directory.join(written),
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let home = self.home.as_deref().ok_or_else(|| {
                    Refusal::new("`~` can't be resolved since `HOME` is not set").hint("write the whole path")
                })?;
                home.join(rest.trim_start_matches('/'))
            }
            Some(_) => {
                return Err(Refusal::new(format!("`{written}` names another user's home, which is not supported"))
                    .hint("write the whole path"));
            }
        };
        Ok(path.components().collect())
    }
}

/// The one name of the directory that a path leads to, so that two paths to one directory can be told: links are
/// followed as far as the path exists, and the rest is taken literally.
pub(super) fn identity(path: &Path) -> PathBuf {
    let existing = path.ancestors().find_map(|ancestor| ancestor.canonicalize().ok().map(|real| (ancestor, real)));
    let Some((ancestor, mut real)) = existing else { return path.to_owned() };
    for component in path.strip_prefix(ancestor).unwrap_or(Path::new("")).components() {
        match component {
            Component::ParentDir => {
                real.pop();
            }
            Component::Normal(name) => real.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    real
}
