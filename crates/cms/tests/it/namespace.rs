//! Tests that mount disks run again by themselves in a mount namespace of their own, which takes all with it at its end.

use std::process::Command;

/// Whether this is the run inside of the namespace. The run outside starts that one, and returns when it has ended.
///
/// `test` is the test's own name, with its modules.
#[track_caller]
pub(crate) fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        println!("{REACHED}");
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return false;
    }
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.arg("--mount").arg(program).args(["--exact", test, "--nocapture"]).env(INSIDE, "yes");
    let output = command.output();
    let (status, stdout, stderr) =
        output.map(|output| (output.status, output.stdout, output.stderr)).unwrap_or_default();
    let stdout = String::from_utf8_lossy(&stdout);
    if !stdout.contains(REACHED) {
        println!("skipped: needs unshare with mounts");
        return false;
    }
    for line in stdout.lines().filter(|line| !line.starts_with("test ") && *line != REACHED) {
        println!("{line}");
    }
    assert!(status.success(), "{stdout}\n{}", String::from_utf8_lossy(&stderr));
    false
}

const INSIDE: &str = "CMS_TEST_INSIDE";
const REACHED: &str = "inside: yes";
