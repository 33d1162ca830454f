//! A disk of its own for a world: a journalled ext4 in a file, whose power can be cut.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::world::World;

/// How large the disk is. Its file is copied at each power cut.
const SIZE: u64 = 48 * 1024 * 1024;

/// A mounted ext4 under a world's directory. What the kernel hasn't written to it yet is lost when the power is cut, and
/// what it has written by then is there.
///
/// Needs root and a mount namespace of the test's own ([`crate::namespace`]).
pub(crate) struct Disk {
    /// Where its files are: in memory if possible, for the speed.
    directory: TempDir,
    mounted_at: PathBuf,
    options: String,
    cuts: u32,
}

impl Disk {
    /// Puts a new disk in the place of the world's directory; nothing where that can't be done. What was in the directory
    /// is hidden.
    pub(crate) fn under(world: &World, options: &str) -> Option<Self> {
        let directory = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let disk =
            Self { directory, mounted_at: world.directory.path().to_owned(), options: options.to_owned(), cuts: 0 };
        fs::File::create(disk.file()).unwrap().set_len(SIZE).unwrap();
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,nodiscard"])
            .arg(disk.file())
            .output();
        if !made.is_ok_and(|made| made.status.success()) {
            println!("skipped: needs mkfs.ext4");
            return None;
        }
        if let Err(error) = disk.mount() {
            println!("skipped: needs a loop device with a journalled ext4 ({error})");
            return None;
        }
        Some(disk)
    }

    /// Makes all that was done so far durable.
    pub(crate) fn flush(&self) {
        rustix::fs::syncfs(fs::File::open(&self.mounted_at).unwrap()).unwrap();
    }

    /// Cuts the power and switches it on again. Nobody may have a file open.
    pub(crate) fn cut_power(&mut self) {
        let before = self.file();
        let after = self.directory.path().join(format!("disk.{}", self.cuts + 1));
        // What is copied while the kernel writes may be a mixture that no disk ever held.
        let mut attempts = 0;
        loop {
            let writes = self.writes();
            fs::copy(&before, &after).unwrap();
            if writes == self.writes() {
                break;
            }
            attempts += 1;
            assert!(attempts < 100, "the kernel never stops writing");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.unmount();
        fs::remove_file(before).unwrap();
        self.cuts += 1;
        self.mount().unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join(format!("disk.{}", self.cuts))
    }

    fn mount(&self) -> io::Result<()> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "ext4", "-o", &format!("loop,{}", self.options)]).arg(self.file()).arg(&self.mounted_at);
        let output = mount.output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    fn unmount(&self) {
        let output = Command::new("umount").arg(&self.mounted_at).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What the kernel has done with the disk: the counters of its block device, requests under way among them.
    fn writes(&self) -> String {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let of_this = |line: &str| {
            let (device, rest) = line.split_once(' ')?;
            (Path::new(rest.split(' ').next()?) == self.mounted_at).then(|| device.to_owned())
        };
        let device = mounts.lines().rev().find_map(of_this).unwrap();
        let name = device.strip_prefix("/dev/").unwrap();
        loop {
            let counters = fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
            if counters.split_whitespace().nth(8) == Some("0") {
                return counters;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // After a failure somebody may be there still; then the namespace's end does it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.mounted_at).output();
    }
}
