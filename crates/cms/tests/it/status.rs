//! `cms status` and `cms held`, beside a daemon and without one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use serde_json::Value;
use simcloud::{Deletion, SignInMode};

use crate::world::{USER, World};

/// What `cms status --json` says, and its exit status.
fn status(world: &World) -> (Value, Option<i32>) {
    let finished = world.cms(&["status", "--json"]);
    let json = serde_json::from_str(&finished.stdout);
    (json.unwrap_or_else(|error| panic!("{error}: {}\n{}", finished.stdout, finished.stderr)), finished.status.code())
}

#[test]
fn a_command_says_that_it_waits_for_a_daemon_which_does_not_answer() {
    let world = World::new(3);
    let daemon = world.daemon();
    daemon.signal(Signal::STOP);
    let asking = world.start(&["status"]);
    asking.wait_for_line("Waiting for the running cms to answer");
    daemon.signal(Signal::CONT);
    let finished = asking.finish();
    assert!(finished.status.success(), "{}", finished.stderr);
    daemon.stop();
}

#[test]
fn the_status_is_told_by_the_daemon_and_without_one() {
    let world = World::new(12);
    let (json, code) = status(&world);
    assert_eq!((&json["process"], code), (&Value::Null, Some(3)), "{json:#}");
    assert!(!world.path(".cms").exists() && !world.path("INBOX").exists(), "to look changes nothing");

    let daemon = world.daemon();
    let (json, code) = status(&world);
    assert_eq!(code, Some(0), "{json:#}");
    assert_eq!(json["process"]["pid"], daemon.id());
    assert_eq!(
        (&json["accounts"][0]["name"], &json["accounts"][0]["sign_in"]["state"]),
        (&USER.into(), &"signed_in".into())
    );
    let mailbox = &json["accounts"][0]["mailboxes"][0];
    assert_eq!((mailbox["messages"].as_u64(), mailbox["waiting"].as_u64()), (Some(12), Some(0)), "{json:#}");
    assert!(mailbox["next_poll_at"].as_i64() >= mailbox["synced_at"].as_i64(), "{json:#}");
    let mode = |name: &str| fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".cms/control.sock"), 0o600);
    let words = world.cms(&["status"]);
    assert!(words.stdout.contains("inbox: 12 messages") && words.stdout.contains("signed in"), "{}", words.stdout);
    assert!(world.cms(&["held"]).stdout.contains("nothing is held"));
    fs::write(world.path("INBOX/new/mine"), "Subject: mine\n\nx").unwrap();
    crate::world::wait_for("the file is counted", || status(&world).0["maildirs"][0]["local_only"] == 1);
    daemon.stop();

    assert!(!world.path(".cms/control.sock").exists());
    let (json, code) = status(&world);
    let mailbox = &json["accounts"][0]["mailboxes"][0];
    assert_eq!((&json["process"], mailbox["messages"].as_u64()), (&Value::Null, Some(12)), "{json:#}");
    assert!(mailbox["synced_at"].as_i64().is_some(), "{json:#}");
    assert_eq!(code, Some(3), "no keyring, so no sign-in is kept");
    assert!(world.cms(&["status"]).stdout.contains("no cms runs"));
    world.assert_lawful();
}

#[test]
fn what_a_killed_daemon_left_is_in_nobodys_way() {
    let world = World::new(3);
    world.daemon().kill();
    assert!(world.path(".cms/control.sock").exists());
    assert_eq!(status(&world).0["process"], Value::Null);
    let daemon = world.daemon();
    assert_eq!(status(&world).0["process"]["pid"], daemon.id());
}

#[test]
fn a_sign_in_that_is_needed_is_told_by_3() {
    let world = World::new(3);
    world.cloud.set_sign_in_mode(SignInMode::Redirect { error: "access_denied".to_owned(), number: 65_004 });
    let _daemon = world.start(&["run"]);
    crate::world::wait_for("the status says so", || status(&world).1 == Some(3));
}

#[test]
fn held_deletions_are_shown_with_samples_by_the_daemon_and_without_one() {
    let world = World::new(30);
    world.receive("Inbox", "one to miss");
    world.sync();
    let ids: Vec<String> = world.cloud.state("").unwrap().messages().map(|message| message.id.clone()).collect();
    for id in &ids {
        world.cloud.delete_message("", id, Deletion::Purge).unwrap();
    }
    let check = |name: &str| {
        let (json, code) = status(&world);
        assert_eq!(code, Some(4), "{name}: {json:#}");
        let held = &json["accounts"][0]["mailboxes"][0]["held"][0];
        assert_eq!((held["count"].as_u64(), held["of"].as_u64()), (Some(31), Some(31)), "{name}: {json:#}");
        assert_eq!(held["samples"].as_array().unwrap().len(), 5);
        assert!(held["samples"].to_string().contains("one to miss"), "{name}: {json:#}");
        for command in [&["status"][..], &["held"]] {
            let finished = world.cms(command);
            assert_eq!(finished.status.code(), Some(4));
            for text in ["31 of 31 messages are gone", "one to miss", "and 26 more", "cms held restore inbox"] {
                assert!(finished.stdout.contains(text), "{name}: {text}: {}", finished.stdout);
            }
        }
    };
    assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
    check("at rest");
    let daemon = world.start(&["run"]);
    daemon.wait_for_line("held: ");
    check("beside the daemon");
}
