//! What tests read and drive that lies outside of the repository: the shared directory (`CMS_SHARED`, or `shared` beside
//! the project), and programs. What isn't there is told, and the test that wants it tries nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Something in the shared directory, whether it is there or not.
pub(crate) fn shared(name: &str) -> PathBuf {
    let root = std::env::var_os("CMS_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    root.join(name)
}

/// A script that starts a real part, if it is there.
pub(crate) fn service(name: &str) -> Option<PathBuf> {
    let script = shared("services").join(name);
    if !script.is_file() {
        println!("skipped: needs services/{name}");
        return None;
    }
    Some(script)
}

/// Whether a program is there.
pub(crate) fn has_program(name: &str) -> bool {
    let found = Command::new("sh").arg("-c").arg(format!("command -v {name}")).output().unwrap().status.success();
    if !found {
        println!("skipped: needs {name}");
    }
    found
}
