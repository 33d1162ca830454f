//! A service that fails in every way that it is known to, and what the program makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use simcloud::{
    AccountMode, Action, BodyKind, Deletion, Fault, FlagChange, FlagStatus, NewMessage, Options, RetryAfter,
    RetryAfterStyle, SignInMode,
};

use crate::world::{USER, World, wait_for};

/// The ids of what is in the inbox, in the service's order.
fn ids(world: &World) -> Vec<String> {
    let state = world.cloud.state("").unwrap();
    state.messages().filter(|message| message.folder == "Inbox").map(|message| message.id.clone()).collect()
}

/// Gives a file other flags, as a mail program does.
fn set_flags(world: &World, name: &str, flags: &str) {
    let base = name.rsplit('/').next().unwrap().split(":2,").next().unwrap();
    fs::rename(world.path("INBOX").join(name), world.path("INBOX/cur").join(format!("{base}:2,{flags}"))).unwrap();
}

fn answered(status: u16, body: BodyKind, retry_after: Option<RetryAfter>) -> Action {
    Action::Status { status, body, code: String::new(), message: String::new(), retry_after }
}

/// One of the failures that the service is known for, and the kind of request that it happens to.
fn misfortune(random: &mut ChaCha8Rng) -> Fault {
    let kinds = [
        "delta",
        "value",
        "batch",
        "batch-item:patch",
        "batch-item:move",
        "batch-item:message",
        "batch-item:value",
        "patch",
        "move",
        "message",
        "folder",
        "",
    ];
    let kind = *kinds.choose(random).unwrap();
    let bodies = [BodyKind::Json, BodyKind::Empty, BodyKind::Html, BodyKind::Garbage, BodyKind::Unknown];
    let body = *bodies.choose(random).unwrap();
    let action = if kind.starts_with("batch-item:") {
        match random.random_range(0..4) {
            0 => Action::throttled(1),
            1 => Action::status(*[500, 502, 503, 504].choose(random).unwrap()),
            2 => Action::status(412),
            _ => Action::StatusAfter { status: 504 },
        }
    } else {
        match random.random_range(0..13) {
            0 => Action::throttled(1),
            1 => answered(429, BodyKind::Json, Some(RetryAfter::Date(2))),
            2 => answered(429, body, None),
            3 => answered(503, body, Some(RetryAfter::Seconds(1))),
            4 => answered(*[500, 502, 503, 504].choose(random).unwrap(), body, None),
            5 => Action::ResetBefore,
            6 => Action::ResetAfter,
            7 => Action::StatusAfter { status: 504 },
            8 => Action::Truncate { after: random.random_range(0..2000) },
            9 => Action::Garbage,
            10 => Action::Html,
            11 => Action::ErrorInOk { code: "ServiceUnavailable".to_owned() },
            _ => answered(401, BodyKind::Json, None),
        }
    };
    // Who gets a broken page while signing in reloads it, and the simulated browser doesn't.
    let path = if kind.is_empty() { "/v1.0/" } else { "" };
    Fault { path: path.to_owned(), skip: random.random_range(0..6), count: Some(1), ..Fault::always(kind, action) }
}

/// Syncs until a run succeeds. Each that doesn't must fail in an orderly way.
fn sync_until_it_works(world: &World, seed: u64) {
    for _ in 0..8 {
        let finished = world.cms(&["sync"]);
        match finished.status.code() {
            Some(0) => return,
            Some(1) => assert!(!finished.stderr.contains("panicked"), "seed {seed}: {}", finished.stderr),
            _ => panic!("seed {seed}: {}\n{}", finished.status, finished.stderr),
        }
    }
    panic!("seed {seed}: nothing works any more");
}

/// Lets misfortunes happen to a first sync and to changes on both sides; afterwards all is as if they hadn't.
fn storm(seed: u64) {
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut options = Options { messages: 50, size_scale: 0.2, seed, ..Options::default() };
    options.knobs.patch_conflict = 0.1;
    options.knobs.patch_ignored = 0.1;
    let world = World::with(options);
    for _ in 0..8 {
        world.cloud.inject(misfortune(&mut random));
    }
    sync_until_it_works(&world, seed);

    for round in 0..2 {
        let ids = ids(&world);
        let files = world.files("INBOX");
        for id in ids.choose_multiple(&mut random, 6) {
            match random.random_range(0..4) {
                0 => world.cloud.set_flags(
                    "",
                    id,
                    FlagChange { is_read: Some(random.random()), ..FlagChange::default() },
                ),
                1 => world.cloud.set_flags(
                    "",
                    id,
                    FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() },
                ),
                2 => world.cloud.delete_message("", id, Deletion::Trash),
                _ => world.cloud.move_away_and_back("", id, "Archive"),
            }
            .unwrap();
        }
        world.cloud.add_generated("", "Inbox", 3).unwrap();
        for name in files.choose_multiple(&mut random, 8) {
            set_flags(&world, name, ["S", "FS", "", "RS", "F", "ST"].choose(&mut random).unwrap());
        }
        for _ in 0..8 {
            world.cloud.inject(misfortune(&mut random));
        }
        if round == 1 {
            world.cloud.expire_access_tokens();
            world.cloud.kill_delta_tokens("").unwrap();
        }
        sync_until_it_works(&world, seed);
    }

    world.cloud.clear_faults();
    world.cloud.turn(|knobs| {
        knobs.patch_conflict = 0.0;
        knobs.patch_ignored = 0.0;
    });
    // What a broken download was postponed for isn't due yet; that is told, and nothing else may be open.
    let last = world.cms(&["sync"]);
    assert!(matches!(last.status.code(), Some(0)), "seed {seed}: {}", last.stderr);
    world.assert_same("INBOX", "Inbox");
    let state = world.cloud.state("").unwrap();
    assert_eq!(state.messages().count(), 56, "seed {seed}: messages were lost or made");
    world.assert_lawful();
}

#[test]
fn a_storm_of_failures_passes_1() {
    storm(1);
}

#[test]
fn a_storm_of_failures_passes_2() {
    storm(2);
}

#[test]
fn a_storm_of_failures_passes_3() {
    storm(3);
}

#[test]
fn tokens_and_cursors_that_end_in_the_middle_of_a_listing() {
    let mut options = Options { messages: 1200, size_scale: 0.05, ..Options::default() };
    options.knobs.latency_ms = 10;
    let world = World::with(options);
    world.cloud.inject(Fault { skip: 1, ..Fault::once("delta", answered(401, BodyKind::Json, None)) });
    world.cloud.inject(Fault { skip: 2, ..Fault::once("delta", Action::status(410)) });
    world.sync();
    world.assert_same("INBOX", "Inbox");
    let downloads = world.cloud.downloads("");
    assert!(downloads.values().all(|count| *count == 1), "downloaded twice");
    world.assert_lawful();
}

#[test]
fn every_way_to_be_asked_for_a_pause_is_understood() {
    for style in [RetryAfterStyle::Seconds, RetryAfterStyle::Date, RetryAfterStyle::Missing] {
        let world = World::with(Options { messages: 12, size_scale: 0.1, ..Options::default() });
        let retry_after = match style {
            RetryAfterStyle::Seconds => Some(RetryAfter::Seconds(1)),
            RetryAfterStyle::Date => Some(RetryAfter::Date(2)),
            RetryAfterStyle::Missing => None,
        };
        world.cloud.inject(Fault {
            skip: 3,
            count: Some(2),
            ..Fault::always("batch-item:value", answered(429, BodyKind::Json, retry_after))
        });
        world.cloud.inject(Fault::once("value", answered(429, BodyKind::Json, retry_after)));
        world.cloud.inject(Fault::once("delta", answered(429, BodyKind::Empty, retry_after)));
        world.sync();
        assert_eq!(world.cloud.counters().faults_injected, 4, "{style:?}");
        world.assert_same("INBOX", "Inbox");
        world.assert_lawful();
    }
}

#[test]
fn a_sign_in_that_is_refused_ends_with_3_and_the_services_number() {
    let world = World::new(2);
    world.cloud.set_sign_in_mode(SignInMode::Redirect { error: "access_denied".to_owned(), number: 65_004 });
    let finished = world.cms(&["sync"]);
    assert_eq!(finished.status.code(), Some(3), "{}", finished.stderr);
    for text in ["error: signing in to user@domain.com is needed", "AADSTS65004", "hint: "] {
        assert!(finished.stderr.contains(text), "{text}: {}", finished.stderr);
    }
    assert_eq!(world.cms(&["check"]).status.code(), Some(3));
    world.cloud.set_sign_in_mode(SignInMode::Immediate);
    world.sync();
    world.assert_same("INBOX", "Inbox");
}

#[test]
fn a_grant_that_is_revoked_in_the_middle_ends_with_3_and_the_services_number() {
    let mut options = Options { messages: 300, size_scale: 0.1, ..Options::default() };
    options.knobs.latency_ms = 30;
    let world = World::with(options);
    let running = world.start(&["sync"]);
    wait_for("downloads begin", || world.cloud.downloads("").len() > 10);
    world.cloud.revoke("", true);
    let finished = running.finish();
    assert_eq!(finished.status.code(), Some(3), "{}", finished.stderr);
    assert!(finished.stderr.contains("AADSTS50173"), "{}", finished.stderr);
    assert_eq!(world.cloud.counters().requests.get("authorize"), Some(&1), "nobody is asked to sign in unasked");
    world.cloud.turn(|knobs| knobs.latency_ms = 0);
    world.sync();
    world.assert_same("INBOX", "Inbox");
}

/// A port on which nobody listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn configure_for(world: &World, port: u16) {
    let url = format!("http://127.0.0.1:{port}");
    let text = format!(
        "MailDir(\"INBOX\")\nOffice365(\"inbox\", Office365_Account(user=\"{USER}\", login_url=\"{url}\", graph_url=\"{url}\"))\n"
    );
    world.configure(&text);
}

#[test]
fn without_a_network_a_sync_fails_with_a_hint() {
    let world = World::new(0);
    configure_for(&world, free_port());
    let finished = world.cms(&["sync"]);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    for text in ["error: ", "can't be reached", "hint: check the network"] {
        assert!(finished.stderr.contains(text), "{text}: {}", finished.stderr);
    }
}

#[test]
fn without_a_network_the_daemon_waits_and_goes_on_when_it_is_there() {
    let world = World::new(0);
    let port = free_port();
    configure_for(&world, port);
    let daemon = world.start(&["run"]);
    daemon.wait_for_line("can't be reached");
    let there = World::with(Options { port, messages: 9, size_scale: 0.1, ..Options::default() });
    daemon.wait_for_line("Both sides are the same");
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_eq!(world.here("INBOX"), there.there("Inbox"));
    there.assert_lawful();
}

#[test]
fn marks_that_the_service_refuses_stay_here_and_are_never_fought_over() {
    let world = World::with(Options { messages: 10, size_scale: 0.1, ..Options::default() });
    world.cloud.turn(|knobs| knobs.refuse_extended = true);
    let daemon = world.daemon();
    let name = world.files("INBOX").into_iter().next().unwrap();
    let before = flags_there(&world);
    set_flags(&world, &name, "RS");
    daemon.wait_for_line("the cloud refuses to");
    world.cloud.add_generated("", "Inbox", 1).unwrap();
    wait_for("later mail comes", || world.files("INBOX").len() == 11);
    let patches = |world: &World| -> u64 {
        let counters = world.cloud.counters();
        counters.requests.iter().filter(|(kind, _)| kind.ends_with("patch")).map(|(_, count)| count).sum()
    };
    let sent = patches(&world);
    assert!((1..=3).contains(&sent), "{sent} attempts");
    let ended = daemon.stop();
    assert_eq!(ended.stderr.matches("the cloud refuses to").count(), 1, "{}", ended.stderr);
    let finished = world.sync();
    assert!(!finished.stderr.contains("refuses"), "{}", finished.stderr);
    assert_eq!(patches(&world), sent, "it is tried again and again");
    let base = name.rsplit('/').next().unwrap().split(":2,").next().unwrap();
    assert!(world.files("INBOX").contains(&format!("cur/{base}:2,RS")), "{:?}", world.files("INBOX"));
    // The read mark, which wasn't refused, is in the cloud.
    let after = flags_there(&world);
    let changed: Vec<_> = after.iter().filter(|(id, flags)| before.get(*id).is_some_and(|old| old != *flags)).collect();
    assert!(changed.iter().all(|(_, read)| **read) && changed.len() <= 1, "{changed:?}");
    // One for the daemon and one for the sync.
    assert_eq!(world.cloud.counters().requests.get("authorize"), Some(&2));
    world.assert_lawful();
}

fn flags_there(world: &World) -> BTreeMap<String, bool> {
    world.cloud.state("").unwrap().messages().map(|message| (message.id.clone(), message.is_read)).collect()
}

#[test]
fn f33_a_refusal_never_opens_a_sign_in() {
    let world = World::with(Options { messages: 5, size_scale: 0.1, ..Options::default() });
    let daemon = world.daemon();
    world.cloud.set_account_mode("", AccountMode::AccessDenied).unwrap();
    daemon.wait_for_line("ErrorAccessDenied");
    let asked = world.cloud.counters().http_requests;
    let name = world.files("INBOX").into_iter().find(|name| !name.contains('F')).unwrap();
    set_flags(&world, &name, "F");
    daemon.wait_for_line("the cloud refuses to");
    wait_for("it goes on asking", || world.cloud.counters().http_requests > asked + 2);
    assert_eq!(world.cloud.counters().requests.get("authorize"), Some(&1));
    assert_eq!(world.files("INBOX").len(), 5);
    drop(daemon);
    let finished = world.cms(&["sync"]);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("403 ErrorAccessDenied"), "{}", finished.stderr);
    assert_eq!(world.cloud.counters().requests.get("authorize"), Some(&2));
}

/// Changes in both directions where the service can only list.
fn two_ways(world: &World) {
    world.sync();
    world.assert_same("INBOX", "Inbox");
    let all = ids(world);
    world.cloud.delete_message("", &all[0], Deletion::Trash).unwrap();
    world.cloud.delete_message("", &all[1], Deletion::Purge).unwrap();
    world
        .cloud
        .set_flags("", &all[2], FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() })
        .unwrap();
    world.cloud.add_generated("", "Inbox", 2).unwrap();
    world.sync();
    world.assert_same("INBOX", "Inbox");
    let files = world.files("INBOX");
    set_flags(world, &files[0], "FRS");
    set_flags(world, &files[1], "ST");
    world.sync();
    world.assert_same("INBOX", "Inbox");
    assert_eq!(world.files("INBOX").len(), 29);
    let daemon = world.daemon();
    let all = ids(world);
    world.cloud.delete_message("", &all[5], Deletion::Trash).unwrap();
    world.cloud.add_message("", NewMessage::generated("Inbox")).unwrap();
    world.wait_until_same("INBOX", "Inbox");
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    world.assert_lawful();
}

#[test]
fn a_cloud_without_change_tracking_is_synced_both_ways() {
    let mut options = Options { messages: 30, size_scale: 0.1, ..Options::default() };
    options.knobs.delta_unsupported = true;
    two_ways(&World::with(options));
}

#[test]
fn a_mailbox_too_full_for_change_tracking_is_synced_both_ways() {
    let world = World::with(Options { messages: 30, size_scale: 0.1, ..Options::default() });
    world.cloud.set_account_mode("", AccountMode::QuotaExceeded).unwrap();
    two_ways(&world);
}

#[test]
fn f22_what_was_deleted_while_all_cursors_died_is_found() {
    let world = World::with(Options { messages: 40, size_scale: 0.1, ..Options::default() });
    world.sync();
    let all = ids(&world);
    for id in &all[..7] {
        world.cloud.delete_message("", id, Deletion::Purge).unwrap();
    }
    world.cloud.delete_message("", &all[7], Deletion::Trash).unwrap();
    world.cloud.kill_delta_tokens("").unwrap();
    let names = world.files("INBOX");
    world.cloud.reset_counters();
    let finished = world.sync();
    assert!(finished.stderr.contains("8 removed here"), "{}", finished.stderr);
    assert_eq!(world.asked("value"), 0, "nothing is downloaded again");
    assert!(world.files("INBOX").iter().all(|name| names.contains(name)));
    world.assert_same("INBOX", "Inbox");

    // The same for a daemon that is running.
    let daemon = world.daemon();
    world.cloud.delete_message("", &all[10], Deletion::Purge).unwrap();
    world.cloud.kill_delta_tokens("").unwrap();
    world.wait_until_same("INBOX", "Inbox");
    drop(daemon);
    world.assert_lawful();
}

#[test]
fn a_service_that_never_answers_is_left_in_the_end() {
    let world = World::with(Options { messages: 4, size_scale: 0.1, ..Options::default() });
    world.cloud.inject(Fault::once("value", Action::Stall { after: 100 }));
    let began = std::time::Instant::now();
    let finished = world.sync();
    assert!(began.elapsed() >= Duration::from_secs(29), "the stalled download wasn't waited for: {}", finished.stderr);
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}
