//! A Maildir as mail programs and failures find it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod deliver;
mod limits;
mod mark;
mod measure;
mod rename;
mod scan;
mod watch;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cms_engine::{BaseName, Flags};
use cms_maildir::{FileName, Maildir, Place};
use tempfile::TempDir;

/// A Maildir and a stand-in for the store, in one temporary directory.
struct Fixture {
    directory: TempDir,
    maildir: Maildir,
}

impl Fixture {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let maildir = Maildir::create(directory.path().join("INBOX")).unwrap();
        Self { directory, maildir }
    }

    /// Puts a file into the Maildir as another program would.
    fn put(&self, name: &str, content: &str) -> PathBuf {
        let path = self.maildir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Makes a file that can be delivered.
    fn stored(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// All names below `cur`, `new` and `tmp`, sorted.
    fn names(&self) -> Vec<String> {
        names(&self.maildir)
    }
}

fn names(maildir: &Maildir) -> Vec<String> {
    let mut names = Vec::new();
    for directory in ["cur", "new", "tmp"] {
        for entry in fs::read_dir(maildir.path().join(directory)).unwrap() {
            names.push(format!("{directory}/{}", entry.unwrap().file_name().to_string_lossy()));
        }
    }
    names.sort();
    names
}

fn base(name: &str) -> BaseName {
    BaseName::new(name)
}

fn flags(letters: &str) -> Flags {
    Flags::from_letters(letters)
}

/// Parses `cur/NAME` or `new/NAME`.
fn at(path: &str) -> (Place, FileName) {
    let (directory, name) = path.split_once('/').unwrap();
    let place = if directory == "new" { Place::New } else { Place::Cur };
    (place, FileName::parse(name).unwrap())
}

/// A directory on another file system than `here`, if this machine has one to write to.
fn elsewhere(here: &Path) -> Option<TempDir> {
    let other = TempDir::new_in("/dev/shm").ok()?;
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    if device(other.path()) == device(here) {
        println!("skipped: needs a second file system");
        return None;
    }
    Some(other)
}

/// Runs the test `name` of this program again in a namespace of its own, after the shell commands `setup`; `$1` is
/// `directory`. There the same test finds the directory in `CMS_TEST_INSIDE`.
fn run_inside(name: &str, directory: &Path, setup: &str) {
    let script = format!("{{ {setup}; }} || exit 77; exec \"$2\" --exact {name} --nocapture");
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(directory)
        .arg(std::env::current_exe().unwrap())
        .env("CMS_TEST_INSIDE", directory)
        .output();
    let reached = output.as_ref().is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("inside: yes"));
    match output {
        Ok(output) if reached => assert!(output.status.success(), "{output:?}"),
        _ => println!("skipped: needs unshare and user namespaces"),
    }
}

/// The directory prepared by [`run_inside`], if this is the inner run.
fn inside() -> Option<PathBuf> {
    let directory = std::env::var_os("CMS_TEST_INSIDE")?;
    println!("inside: yes");
    Some(directory.into())
}
