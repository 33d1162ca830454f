//! One process per state directory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::StoreError;
use crate::messages::create_private;

/// Holds a state directory for this process, until dropped or until the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, making the state directory if need be. Doesn't wait: [`StoreError::Locked`] names the holder.
    pub fn acquire(state_dir: &Path) -> Result<Self, StoreError> {
        create_private(state_dir)?;
        let path = state_dir.join("lock");
        let failed = |doing| {
            let path = path.clone();
            move |error: std::io::Error| StoreError::io(doing, &path, error)
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(StoreError::Locked { path: state_dir.to_owned(), holder: holder(&mut file) });
            }
            Err(error) => return Err(StoreError::io("lock", &path, error)),
        }
        let node = rustix::system::uname();
        let holder = format!("{} {}\n", std::process::id(), node.nodename().to_string_lossy());
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed("write"))?;
        // A full disk is no reason not to run; the file's text is only for people.
        let _ = file.write_all(holder.as_bytes());
        Ok(Self { _file: file })
    }
}

/// Reads who holds the lock. The file's text is as good as its last writer.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.take(512).read_to_string(&mut text);
    let mut words = text.split_whitespace();
    match (words.next().and_then(|pid| pid.parse::<u32>().ok()), words.next()) {
        (Some(pid), Some(host)) => format!("process {pid} on {host}"),
        (Some(pid), None) => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}
