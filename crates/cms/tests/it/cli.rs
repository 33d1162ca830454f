//! The command line: help, errors, exit statuses.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `cms` in a directory that is its home, too, and that knows nothing of the user's own settings.
fn cms(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cms"))
        .args(arguments)
        .current_dir(directory)
        .env("HOME", directory)
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs a command with this configuration and expects it to be refused in exactly these words.
#[track_caller]
fn refused(configuration: &str, arguments: &[&str], expected: &str) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("cms.cfg"), configuration).unwrap();
    let output = cms(directory.path(), arguments);
    assert_eq!(stderr(&output), expected);
    assert_eq!(stdout(&output), "");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn help_names_every_command_and_exit_status() {
    let directory = tempfile::tempdir().unwrap();
    let output = cms(directory.path(), &["--help"]);
    let help = stdout(&output);
    for expected in [
        "Usage: cms [OPTIONS] [COMMAND]",
        "  run ",
        "  sync ",
        "  demo ",
        "  plan ",
        "  check ",
        "  folders ",
        "  log ",
        "  restore ",
        "  undo ",
        "  verify ",
        "--online",
        "--offline",
        "Examples:",
        "Exit status:",
        "    3  signing in is needed",
        "    4  held",
    ] {
        assert!(help.contains(expected), "{expected:?} is missing in:\n{help}");
    }
    assert!(!help.contains("completion"), "commands for packagers are not shown:\n{help}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_version_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let output = cms(directory.path(), &["--version"]);
    assert_eq!(stdout(&output), format!("cms {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_name_is_told_with_its_place_and_what_was_meant() {
    refused(
        "MailDir(\"~/mail/INBOX\")\nOffice356(\"inbox\", Office365_Account(user=\"user@domain.com\"))\n",
        &["check"],
        "error: cms.cfg:2:1: `Office356` is not known\nhint: did you mean `Office365`?\n",
    );
}

#[test]
fn every_command_that_needs_a_configuration_refuses_a_wrong_one() {
    for command in ["run", "sync", "plan", "check", "folders"] {
        refused(
            "MailDir(\"~/mail/INBOX\")\ncfg.listen = 1\n",
            &[command, "-v"],
            "error: cms.cfg:1:1: no cloud mailbox is declared\n\
             hint: write `Office365(\"inbox\", Office365_Account(user=\"user@domain.com\"))`\n",
        );
    }
}

#[test]
fn a_configuration_that_is_named_but_not_there() {
    refused(
        "",
        &["-c", "other.cfg", "sync"],
        "error: could not read the configuration `other.cfg`\n  caused by: No such file or directory (os error 2)\n",
    );
}

#[test]
fn no_configuration_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let output = cms(directory.path(), &["sync"]);
    let home = directory.path().display();
    assert_eq!(
        stderr(&output),
        format!(
            "error: there is no configuration: neither `cms.cfg` nor `{home}/.config/cms/cms.cfg` exists\n\
             hint: write one (see docs/configuration.md), name it with `-c FILE`, or try `cms demo`\n"
        )
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn wrong_usage_exits_with_2() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["snyc"][..], &["--online", "sync", "--offline"], &["sync", "--no-such-option"]] {
        let output = cms(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).starts_with("error: "), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = cms(directory.path(), &["completion", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("cms"), "{shell}");
        assert!(stdout(&output).contains("offline"), "{shell}");
    }
}

#[test]
fn the_manual_page_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let output = cms(directory.path(), &["man"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains(".TH cms 1"), "{}", stdout(&output));
}

#[test]
fn a_reader_that_goes_away_is_no_problem() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_cms"))
        .arg("man")
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_error_nobody_reads_still_has_its_status() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_cms"))
        .arg("sync")
        .current_dir(directory.path())
        .env("HOME", directory.path())
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null())
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
}
