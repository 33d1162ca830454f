//! Disasters that befell users of other programs, told again with this one. The numbers are those of the failure catalogue
//! that the names of tests elsewhere carry, too.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use simcloud::{Action, Deletion, Fault, FlagChange, FlagStatus, NewMessage, Options};

use crate::world::{USER, World, wait_for};

fn small(messages: usize) -> World {
    World::with(Options { messages, size_scale: 0.1, ..Options::default() })
}

fn ids(world: &World) -> Vec<String> {
    let state = world.cloud.state("").unwrap();
    state.messages().filter(|message| message.folder == "Inbox").map(|message| message.id.clone()).collect()
}

fn base_of(name: &str) -> String {
    name.rsplit('/').next().unwrap().split(":2,").next().unwrap().to_owned()
}

fn set_flags(world: &World, name: &str, flags: &str) {
    fs::rename(world.path("INBOX").join(name), world.path("INBOX/cur").join(format!("{}:2,{flags}", base_of(name))))
        .unwrap();
}

/// How often the client changed anything in the cloud.
fn changes_made(world: &World) -> u64 {
    let counters = world.cloud.counters();
    let kinds = ["patch", "move", "delete", "create", "copy", "put-value"];
    counters
        .requests
        .iter()
        .filter(|(kind, _)| kinds.iter().any(|one| kind.ends_with(one)))
        .map(|(_, count)| count)
        .sum()
}

#[test]
fn f01_a_wiped_maildir_wipes_nothing_in_the_cloud_and_its_mail_comes_back() {
    let world = small(40);
    world.sync();
    let there = world.there("Inbox");
    let names: Vec<String> = world.files("INBOX").iter().map(|name| base_of(name)).collect();
    for start in [&["sync"][..], &["--offline", "sync"], &["--online", "sync"]] {
        for name in world.files("INBOX") {
            fs::remove_file(world.path("INBOX").join(name)).unwrap();
        }
        world.cloud.reset_counters();
        let finished = world.cms(start);
        assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
        assert_eq!(world.there("Inbox"), there);
        assert_eq!(world.there("Deleted Items").len(), 0);
        assert_eq!(changes_made(&world), 0);
        world.assert_same("INBOX", "Inbox");
        let mut back: Vec<String> = world.files("INBOX").iter().map(|name| base_of(name)).collect();
        let mut before = names.clone();
        back.sort();
        before.sort();
        assert_eq!(back, before, "mail comes back under its old names");
        assert_eq!(world.asked("value"), 0, "and from the store");
    }
    world.assert_lawful();
}

#[test]
fn f01_a_new_disk_under_a_running_daemon_wipes_nothing_in_the_cloud() {
    let world = small(40);
    let daemon = world.daemon();
    let there = world.there("Inbox");
    // The mount goes, and an empty one comes in its place.
    fs::rename(world.path("INBOX"), world.path("old")).unwrap();
    daemon.wait_for_line("is gone; nothing is deleted in the cloud because of that");
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(world.path("INBOX").join(part)).unwrap();
    }
    daemon.wait_for_line("isn't the directory that held the mail");
    let told = world.cms(&["status"]);
    assert_eq!(told.status.code(), Some(4), "{}", told.stdout);
    assert!(told.stdout.contains("which isn't the directory that held the mail"), "{}", told.stdout);
    assert!(world.files("INBOX").is_empty(), "what lies under a mount point isn't filled");
    // It comes back: all goes on by itself.
    fs::rename(world.path("INBOX"), world.path("empty")).unwrap();
    fs::rename(world.path("old"), world.path("INBOX")).unwrap();
    daemon.wait_for_line("is used again");
    world.cloud.add_generated("", "Inbox", 1).unwrap();
    world.wait_until_same("INBOX", "Inbox");
    // And then the new disk is there to stay.
    daemon.wait_for_line("is gone; nothing is deleted in the cloud because of that");
    fs::rename(world.path("INBOX"), world.path("old")).unwrap();
    fs::rename(world.path("empty"), world.path("INBOX")).unwrap();
    wait_for("it is told", || world.cms(&["status"]).status.code() == Some(4));
    let restored = world.cms(&["held", "restore", "INBOX"]);
    assert_eq!(restored.status.code(), Some(0), "{}", restored.stderr);
    wait_for("its mail is back", || world.here("INBOX") == world.there("Inbox"));
    assert_eq!(world.there("Inbox").len(), 41);
    assert!(there.iter().all(|message| world.there("Inbox").contains(message)));
    assert_eq!(changes_made(&world), 0);
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    world.assert_lawful();
}

/// Makes an empty Maildir in the place of `INBOX`, which is moved away to `old`.
fn replace_inbox(world: &World) {
    fs::rename(world.path("INBOX"), world.path("old")).unwrap();
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(world.path("INBOX").join(part)).unwrap();
    }
}

#[test]
fn f01_a_new_disk_before_a_start_is_not_filled_unasked_and_wipes_nothing() {
    let world = small(30);
    world.sync();
    let there = world.there("Inbox");
    let mark = fs::read_to_string(world.path("INBOX/.cms-maildir")).unwrap();
    replace_inbox(&world);
    world.cloud.reset_counters();
    for command in [&["sync"][..], &["sync", "--online"], &["sync", "--offline"], &["plan"]] {
        let finished = world.cms(command);
        assert_eq!(finished.status.code(), Some(4), "{command:?}: {}", finished.stderr);
        for text in ["isn't the directory that held the mail", "cms held restore", "don't copy or write a mark by hand"]
        {
            assert!(finished.stderr.contains(text), "{command:?}: {text}: {}", finished.stderr);
        }
        assert!(world.files("INBOX").is_empty(), "{command:?}");
    }
    for command in ["status", "held"] {
        let told = world.cms(&[command]);
        assert_eq!(told.status.code(), Some(4), "{command}: {}", told.stdout);
        assert!(told.stdout.contains("which isn't the directory that held the mail"), "{command}: {}", told.stdout);
        assert!(told.stdout.contains("`cms held restore "), "{command}: {}", told.stdout);
    }
    // A daemon waits for the right disk.
    let daemon = world.start(&["run"]);
    daemon.wait_for_line("isn't the directory that held the mail");
    fs::remove_dir_all(world.path("INBOX")).unwrap();
    fs::rename(world.path("old"), world.path("INBOX")).unwrap();
    daemon.wait_for_line("Both sides are the same");
    wait_for("it is used", || world.cms(&["status"]).status.code() == Some(0));
    daemon.stop();
    world.assert_same("INBOX", "Inbox");
    // The new disk is there to stay.
    replace_inbox(&world);
    let restored = world.cms(&["held", "restore", "INBOX"]);
    assert_eq!(restored.status.code(), Some(0), "{}", restored.stderr);
    world.assert_same("INBOX", "Inbox");
    assert_eq!((world.there("Inbox"), changes_made(&world)), (there, 0));
    assert_eq!(world.asked("value"), 0, "all of it comes from the store");
    assert_ne!(fs::read_to_string(world.path("INBOX/.cms-maildir")).unwrap(), mark, "the old disk is a stranger now");
    fs::rename(world.path("INBOX"), world.path("new")).unwrap();
    fs::rename(world.path("old"), world.path("INBOX")).unwrap();
    assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
    world.assert_lawful();
}

const TWO_MAILDIRS: &str = r#"
inbox = MailDir("INBOX")
archive = MailDir("Archive")
Office365("inbox", account)
Office365("archive", account)
cfg.direct_message = lambda msg: archive if msg.mailbox == "archive" else inbox
"#;

#[test]
fn f01_the_directory_of_another_maildir_takes_no_maildirs_place() {
    let world = small(20);
    world.configure(TWO_MAILDIRS);
    world.receive_read("Archive", "filed");
    world.sync();
    let swap = || {
        fs::rename(world.path("INBOX"), world.path("aside")).unwrap();
        fs::rename(world.path("Archive"), world.path("INBOX")).unwrap();
        fs::rename(world.path("aside"), world.path("Archive")).unwrap();
    };
    swap();
    assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
    for maildir in ["INBOX", "Archive"] {
        let refused = world.cms(&["held", "restore", maildir]);
        assert_ne!(refused.status.code(), Some(0));
        for text in ["is the directory that held the mail of", "move it back"] {
            assert!(refused.stderr.contains(text), "{}", refused.stderr);
        }
    }
    swap();
    world.sync();
    assert_eq!(changes_made(&world), 0);
    // A copy is nobody's once its mark is taken away.
    fs::remove_dir_all(world.path("INBOX")).unwrap();
    let copied =
        std::process::Command::new("cp").arg("-a").arg(world.path("Archive")).arg(world.path("INBOX")).status();
    assert!(copied.unwrap().success());
    assert_ne!(world.cms(&["held", "restore", "INBOX"]).status.code(), Some(0));
    fs::remove_file(world.path("INBOX/.cms-maildir")).unwrap();
    assert_eq!(world.cms(&["held", "restore", "INBOX"]).status.code(), Some(0));
    assert!(world.files("INBOX").len() >= 20);
}

#[test]
fn f01_a_maildir_that_is_missing_is_made_anew_by_the_users_word() {
    let world = small(20);
    world.sync();
    fs::remove_dir_all(world.path("INBOX")).unwrap();
    let missing = world.cms(&["sync"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(missing.stderr.contains("cms held restore"), "{}", missing.stderr);
    assert_eq!(world.cms(&["status"]).status.code(), Some(3), "no sign-in is kept, which comes first");
    let held = world.cms(&["held"]);
    assert_eq!(held.status.code(), Some(1), "{}", held.stdout);
    assert!(held.stdout.contains("`cms held restore "), "{}", held.stdout);
    assert_eq!(world.cms(&["held", "restore", "INBOX"]).status.code(), Some(0));
    world.assert_same("INBOX", "Inbox");
    assert_eq!((world.files("INBOX").len(), changes_made(&world)), (20, 0));
    world.sync();
}

#[test]
fn f04_a_mark_made_by_hand_authorises_no_deletion() {
    let world = small(30);
    world.sync();
    let there = world.there("Inbox");
    replace_inbox(&world);
    fs::copy(world.path("old/.cms-maildir"), world.path("INBOX/.cms-maildir")).unwrap();
    world.sync();
    assert_eq!((world.there("Inbox"), world.here("INBOX"), changes_made(&world)), (there.clone(), there, 0));
}

#[test]
fn f04_files_under_known_names_on_another_disk_are_looked_at() {
    let world = small(10);
    world.sync();
    let (there, names) = (world.there("Inbox"), world.files("INBOX"));
    replace_inbox(&world);
    for name in &names {
        fs::copy(world.path("old").join(name), world.path("INBOX").join(name)).unwrap();
    }
    fs::remove_file(world.path("INBOX").join(&names[0])).unwrap();
    fs::write(world.path("INBOX").join(&names[1]), "Subject: another\n\nx").unwrap();
    let restored = world.cms(&["held", "restore", "INBOX"]);
    assert_eq!(restored.status.code(), Some(0), "{}", restored.stderr);
    assert_eq!(world.files("INBOX"), names);
    assert!(restored.stderr.contains("was edited here"), "{}", restored.stderr);
    assert_eq!(fs::read(world.path("INBOX").join(&names[1])).unwrap(), b"Subject: another\n\nx", "and is kept");
    assert_eq!((world.there("Inbox"), changes_made(&world)), (there, 0));
}

#[test]
fn f01_a_mark_that_somebody_tidied_away_is_made_again() {
    let world = small(5);
    let daemon = world.daemon();
    let mark = fs::read(world.path("INBOX/.cms-maildir")).unwrap();
    fs::remove_file(world.path("INBOX/.cms-maildir")).unwrap();
    // What lies under the watched names is listed again after this.
    fs::rename(world.path("INBOX/cur"), world.path("INBOX/aside")).unwrap();
    daemon.wait_for_line("is gone; nothing is deleted");
    fs::rename(world.path("INBOX/aside"), world.path("INBOX/cur")).unwrap();
    wait_for("it is told or mended", || {
        fs::read(world.path("INBOX/.cms-maildir")).is_ok_and(|found| found == mark)
            || world.cms(&["status"]).status.code() == Some(4)
    });
    world.cms(&["held", "restore", "INBOX"]);
    world.wait_until_same("INBOX", "Inbox");
    assert_eq!((world.files("INBOX").len(), changes_made(&world)), (5, 0));
}

#[test]
fn f02_a_lost_state_deletes_and_doubles_nothing() {
    let world = small(30);
    world.sync();
    let all = ids(&world);
    world.cloud.delete_message("", &all[0], Deletion::Trash).unwrap();
    let names = world.files("INBOX");
    fs::remove_dir_all(world.path(".cms")).unwrap();
    world.cloud.reset_counters();
    let finished = world.sync();
    assert_eq!(changes_made(&world), 0, "{}", finished.stderr);
    // Without a base, a file whose message is gone may as well be the only copy: it stays.
    assert_eq!(world.files("INBOX"), names);
    assert!(finished.stderr.contains("only here"), "{}", finished.stderr);
    assert_eq!(world.there("Inbox").len(), 29);
    let again = world.sync();
    assert_eq!(world.files("INBOX"), names);
    assert!(!again.stderr.contains("delivered"), "{}", again.stderr);
    world.assert_lawful();
}

#[test]
fn f02_a_state_directory_that_is_a_broken_link_is_told() {
    let world = small(5);
    world.sync();
    let names = world.files("INBOX");
    fs::rename(world.path(".cms"), world.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("nowhere/at/all", world.path(".cms")).unwrap();
    let finished = world.cms(&["sync"]);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains(".cms"), "{}", finished.stderr);
    assert_eq!(world.files("INBOX"), names);
    assert_eq!(changes_made(&world), 0);
}

#[test]
fn f03_a_mailbox_that_was_emptied_is_held_until_the_user_says_so() {
    let world = small(40);
    world.sync();
    let names = world.files("INBOX");
    for id in ids(&world) {
        world.cloud.delete_message("", &id, Deletion::Purge).unwrap();
    }
    for _ in 0..2 {
        let finished = world.cms(&["sync"]);
        assert_eq!(finished.status.code(), Some(4), "{}", finished.stderr);
        assert!(
            finished.stderr.contains("held: 40 of 40 messages are gone from `inbox` in the cloud"),
            "{}",
            finished.stderr
        );
        assert!(finished.stderr.contains("hint: to keep the files: `cms held restore inbox`"), "{}", finished.stderr);
        assert_eq!(world.files("INBOX"), names);
    }
    let plan = world.cms(&["plan"]);
    assert_eq!(plan.status.code(), Some(4), "{}", plan.stdout);
    assert!(plan.stdout.contains("held: 40 of 40"), "{}", plan.stdout);
    // What else there is to do is done meanwhile.
    world.cloud.add_generated("", "Inbox", 1).unwrap();
    assert_eq!(world.cms(&["sync"]).status.code(), Some(4));
    assert_eq!(world.files("INBOX").len(), 41);
    // And the user's word counts.
    world.configure("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\ncfg.max_deletions = 40\n");
    world.sync();
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

/// Answers every listing with an empty one, as a service in maintenance has been seen to, and passes on the rest.
fn emptying_proxy(service: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap();
    let service = service.trim_start_matches("http://").to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let service = service.clone();
            std::thread::spawn(move || serve_one(client, &service, &own.to_string()));
        }
    });
    format!("http://{own}")
}

fn serve_one(mut client: TcpStream, service: &str, own: &str) -> Option<()> {
    let mut request = Vec::new();
    let mut piece = [0; 8192];
    let head_end = loop {
        let count = client.read(&mut piece).ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&piece[..count]);
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&request[..head_end]).into_owned();
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse::<usize>().unwrap())
    });
    while request.len() < head_end + length.unwrap_or(0) {
        let count = client.read(&mut piece).ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&piece[..count]);
    }
    if head.lines().next()?.contains("/messages/delta") {
        let body = format!(
            "{{\"value\":[],\"@odata.deltaLink\":\"http://{own}/v1.0/me/mailFolders/x/messages/delta?$deltatoken=x\"}}"
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        client.write_all(answer.as_bytes()).ok()?;
        return Some(());
    }
    let mut upstream = TcpStream::connect(service).ok()?;
    let first_line = head.find("\r\n")? + 2;
    upstream.write_all(&request[..first_line]).ok()?;
    upstream.write_all(b"Connection: close\r\n").ok()?;
    upstream.write_all(&request[first_line..]).ok()?;
    std::io::copy(&mut upstream, &mut client).ok()?;
    Some(())
}

#[test]
fn f03_a_listing_that_came_empty_removes_nothing() {
    let world = small(30);
    world.sync();
    let names = world.files("INBOX");
    let proxy = emptying_proxy(&world.url);
    let account = format!("Office365_Account(user=\"{USER}\", login_url=\"{}\", graph_url=\"{proxy}\")", world.url);
    // The stored cursor belongs to another server, so that the folder is listed from the beginning, and comes empty.
    world.configure(&format!("MailDir(\"INBOX\")\nOffice365(\"inbox\", {account})\n"));
    let finished = world.cms(&["sync"]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert_eq!(world.files("INBOX"), names, "{}", finished.stderr);
    // And when the service is well again, nothing needs mending.
    world.configure("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\n");
    world.cloud.reset_counters();
    world.sync();
    assert_eq!(world.files("INBOX"), names);
    assert_eq!(world.asked("value"), 0);
    world.assert_same("INBOX", "Inbox");
}

#[test]
fn f05_mail_deleted_here_stays_deleted_though_listings_lag_behind() {
    let world = small(20);
    let daemon = world.daemon();
    world.cloud.turn(|knobs| knobs.delta_lag_ms = 4000);
    let names = world.files("INBOX");
    let doomed: Vec<String> = names[..5].iter().map(|name| base_of(name)).collect();
    for name in &names[..5] {
        set_flags(&world, name, "ST");
    }
    set_flags(&world, &names[6], "FRS");
    wait_for("they are in the deleted items", || world.there("Deleted Items").len() == 5);
    let since = world.cloud.counters().requests.get("delta").copied().unwrap_or_default();
    wait_for("some more rounds", || {
        let back = world.files("INBOX").iter().any(|name| doomed.contains(&base_of(name)) && !name.contains('T'));
        assert!(!back, "a deleted message came back: {:?}", world.files("INBOX"));
        world.cloud.counters().requests.get("delta").copied().unwrap_or_default() > since + 7
    });
    world.wait_until_same("INBOX", "Inbox");
    assert_eq!(world.there("Inbox").len(), 15);
    assert_eq!(world.there("Deleted Items").len(), 5);
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    world.cloud.turn(|knobs| knobs.delta_lag_ms = 0);
    world.sync();
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

#[test]
fn f09_a_first_run_over_a_full_maildir_marks_nothing_in_the_cloud() {
    let world = small(25);
    world.sync();
    let there = world.there("Inbox");
    // Somebody else's Maildir, without flags, and no state.
    for name in world.files("INBOX") {
        fs::rename(world.path("INBOX").join(&name), world.path("INBOX/new").join(base_of(&name))).unwrap();
    }
    fs::remove_dir_all(world.path(".cms")).unwrap();
    world.sync();
    assert_eq!(world.there("Inbox"), there, "nothing was marked unread");
    assert_eq!(changes_made(&world), 0);
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

/// That every fault that was put in the way was met with.
#[track_caller]
fn assert_faults_struck(world: &World) {
    let missed: Vec<_> = world.cloud.faults().into_iter().filter(|rule| rule.fired == 0).collect();
    assert!(missed.is_empty(), "nobody met with {missed:?}");
    world.cloud.clear_faults();
}

#[test]
fn f16_short_and_empty_bodies_are_never_stored() {
    let world = small(0);
    for action in [
        Action::Truncate { after: 0 },
        Action::Truncate { after: 1 },
        Action::Truncate { after: 300 },
        Action::empty(),
        Action::Garbage,
        Action::ResetAfter,
    ] {
        for kind in ["batch", "value"] {
            // Several are asked for together, and one alone.
            world.cloud.add_generated("", "Inbox", if kind == "batch" { 12 } else { 1 }).unwrap();
            world.cloud.inject(Fault::once(kind, action.clone()));
            world.sync();
            assert_faults_struck(&world);
            world.assert_same("INBOX", "Inbox");
        }
    }
    world.assert_lawful();
}

#[test]
fn f18_a_refused_change_is_not_recorded_as_made() {
    let world = small(6);
    let daemon = world.daemon();
    // It says 200, and nothing has changed.
    world.cloud.turn(|knobs| knobs.patch_ignored = 1.0);
    let name = world.files("INBOX").into_iter().find(|name| !name.contains('F')).unwrap();
    set_flags(&world, &name, "FS");
    wait_for("it was tried", || changes_made(&world) > 0);
    world.cloud.turn(|knobs| knobs.patch_ignored = 0.0);
    let tried = changes_made(&world);
    assert!(tried < 30, "{tried} attempts in no time");
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    world.sync();
    world.assert_same("INBOX", "Inbox");
}

#[test]
fn f19_a_change_whose_answer_was_lost_is_made_once() {
    let world = small(20);
    world.sync();
    let mut trashed = 0;
    for (kind, letters) in [
        ("batch", "ST"),
        ("batch", "FS"),
        ("move", "ST"),
        ("patch", "FS"),
        ("batch-item:move", "ST"),
        ("batch-item:patch", "FS"),
    ] {
        let action =
            if kind.starts_with("batch-item") { Action::StatusAfter { status: 504 } } else { Action::ResetAfter };
        world.cloud.inject(Fault::once(kind, action));
        // Several go together, and one alone.
        let count = if kind.starts_with("batch") { 2 } else { 1 };
        for name in world.files("INBOX").iter().filter(|name| !name.contains('F')).take(count) {
            set_flags(&world, name, letters);
            trashed += usize::from(letters == "ST");
        }
        world.sync();
        assert_faults_struck(&world);
        world.assert_same("INBOX", "Inbox");
        assert_eq!(world.there("Deleted Items").len(), trashed, "{kind}");
        assert_eq!(world.cloud.state("").unwrap().messages().count(), 20, "{kind}");
    }
    world.assert_lawful();
}

#[test]
fn f19_a_change_that_was_taken_back_after_a_kill_is_known_to_have_been_our_own() {
    let world = small(1);
    let daemon = world.daemon();
    let name = world.files("INBOX").remove(0);
    let base_name = base_of(&name);
    set_flags(&world, &name, "S");
    world.wait_until_same("INBOX", "Inbox");
    world.cloud.inject(Fault::once("patch", Action::HangAfter));
    set_flags(&world, &format!("cur/{base_name}:2,S"), "FS");
    let is_flagged = || world.there("Inbox").iter().any(|(_, flags)| flags.contains('F'));
    wait_for("the cloud has made the change", is_flagged);
    daemon.kill();
    set_flags(&world, &format!("cur/{base_name}:2,FS"), "S");
    world.sync();
    assert!(!is_flagged());
    assert_eq!(world.files("INBOX"), [format!("cur/{base_name}:2,S")]);
    world.assert_lawful();
}

#[test]
fn f23_a_mailbox_that_fails_does_not_stop_the_other() {
    let world = World::with(Options {
        messages: 10,
        folders: vec![("Lists".to_owned(), 10)],
        size_scale: 0.1,
        ..Options::default()
    });
    world.configure(
        "inbox = MailDir(\"INBOX\")\nlists = MailDir(\"Lists\")\n\
         Office365(\"inbox\", account)\nOffice365(\"Lists\", account)\n\
         def route(msg):\n    return lists if msg.mailbox == \"Lists\" else inbox\n\
         cfg.direct_message = route\n",
    );
    let daemon = world.daemon();
    world.assert_same("Lists", "Lists");
    let failing = world.cloud.folder_id("", "Lists").unwrap();
    // Mailboxes are asked for together, and what fails then alone.
    for kind in ["delta", "batch-item:delta"] {
        world.cloud.inject(Fault { path: failing.clone(), ..Fault::always(kind, Action::status(404)) });
    }
    wait_for("the faults strike", || world.cloud.faults().iter().all(|rule| rule.fired > 0));
    let names = world.files("Lists");
    world.cloud.add_generated("", "Inbox", 3).unwrap();
    world.wait_until_same("INBOX", "Inbox");
    assert_eq!(world.files("Lists"), names);
    world.cloud.clear_faults();
    world.cloud.add_generated("", "Lists", 2).unwrap();
    world.wait_until_same("Lists", "Lists");
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    world.assert_lawful();
}

/// Mail that strict readers stumble over.
fn malformed() -> Vec<Vec<u8>> {
    vec![
        b"Subject: =?utf-8?B?broken\r\nFrom: =?x?=\r\n\r\nbody".to_vec(),
        b"Subject: \xff\xfe\x80 raw bytes\r\nDate: not a date\r\n\r\n\xff\xff".to_vec(),
        b" folded first line\r\nTo: x\r\n\r\nbody".to_vec(),
        b"No-Body: at all".to_vec(),
        b"\r\nonly a body".to_vec(),
        b"From someone@example.org Mon Jan  1 00:00:00 2024\r\nSubject: mbox\r\n\r\nFrom here\r\n".to_vec(),
        [b"Subject: ".to_vec(), vec![b'x'; 200_000], b"\r\n\r\nlong line".to_vec()].concat(),
        b"Content-Type: multipart/mixed; boundary=\"a\r\n\r\n--a\r\n--a--".to_vec(),
        b"Message-ID: <same@x>\r\nMessage-ID: <other@x>\r\nSubject: two ids\r\n\r\n".to_vec(),
        b"Subject: nul\r\n\r\na\0b\x1a\r\n.\r\n..\r\n".to_vec(),
        b"Subject: mixed ends\r\n\r\na\nb\r\nc\rd\r\n".to_vec(),
    ]
}

#[test]
fn f24_malformed_mail_syncs_like_any_other() {
    let world = small(3);
    for mime in malformed() {
        world.cloud.add_message("", NewMessage { mime: Some(mime), verbatim: true, ..NewMessage::default() }).unwrap();
    }
    let finished = world.sync();
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    world.assert_same("INBOX", "Inbox");
    for name in world.files("INBOX") {
        set_flags(&world, &name, "FS");
    }
    world.sync();
    world.assert_same("INBOX", "Inbox");
    assert!(world.there("Inbox").iter().all(|(_, flags)| flags.contains('F')));
    world.assert_lawful();
}

#[test]
fn f25_no_byte_of_a_message_is_changed_but_its_line_ends() {
    let world = small(8);
    for mime in malformed() {
        world.cloud.add_message("", NewMessage { mime: Some(mime), verbatim: true, ..NewMessage::default() }).unwrap();
    }
    world.sync();
    let mut served: Vec<Vec<u8>> = ids(&world)
        .iter()
        .map(|id| {
            let bytes = world.cloud.mime("", id).unwrap();
            let mut plain = Vec::new();
            for (at, byte) in bytes.iter().enumerate() {
                if !(*byte == b'\r' && bytes.get(at + 1) == Some(&b'\n')) {
                    plain.push(*byte);
                }
            }
            plain
        })
        .collect();
    let mut held: Vec<Vec<u8>> =
        world.files("INBOX").iter().map(|name| fs::read(world.path("INBOX").join(name)).unwrap()).collect();
    served.sort();
    held.sort();
    assert!(served == held, "bytes differ");
}

#[test]
fn f27_ids_that_change_in_the_cloud_move_and_double_nothing_here() {
    let world = small(15);
    world.sync();
    let names = world.files("INBOX");
    world.cloud.reset_counters();
    for id in ids(&world) {
        world.cloud.move_away_and_back("", &id, "Archive").unwrap();
    }
    world.cloud.kill_delta_tokens("").unwrap();
    world.sync();
    assert_eq!(world.files("INBOX"), names);
    assert_eq!(world.asked("value"), 0, "downloaded again");
    world.assert_same("INBOX", "Inbox");
    let notes = world.cloud.counters().notes;
    assert!(notes.is_empty(), "ids that change were asked for: {notes:?}");
    world.assert_lawful();
}

#[test]
fn f28_twins_are_two_messages_on_both_sides() {
    let world = small(2);
    let mime = b"Message-ID: <twin@x>\r\nSubject: twin\r\n\r\nthe same\r\n".to_vec();
    for _ in 0..3 {
        world.cloud.add_message("", NewMessage::mime("Inbox", mime.clone())).unwrap();
    }
    world.sync();
    world.assert_same("INBOX", "Inbox");
    let twins = |world: &World| -> Vec<String> {
        let is_twin =
            |name: &String| fs::read(world.path("INBOX").join(name)).unwrap().starts_with(b"Message-ID: <twin@x>");
        world.files("INBOX").into_iter().filter(is_twin).collect()
    };
    assert_eq!(twins(&world).len(), 3);
    set_flags(&world, &twins(&world)[0], "ST");
    world.sync();
    world.assert_same("INBOX", "Inbox");
    assert_eq!((twins(&world).len(), world.there("Deleted Items").len()), (2, 1));
    let all = world.cloud.state("").unwrap();
    let one = all
        .messages()
        .find(|message| {
            message.folder == "Inbox" && message.message_id.as_deref().is_some_and(|id| id.contains("twin"))
        })
        .unwrap()
        .id
        .clone();
    world.cloud.delete_message("", &one, Deletion::Purge).unwrap();
    world.sync();
    assert_eq!(twins(&world).len(), 1);
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

#[test]
fn f37_two_programs_never_work_on_one_state() {
    let mut options = Options { messages: 60, size_scale: 0.1, ..Options::default() };
    options.knobs.latency_ms = 20;
    let world = World::with(options);
    let many: Vec<_> = (0..4).map(|_| world.start(&["sync"])).collect();
    let ended: Vec<_> = many.into_iter().map(crate::world::Running::finish).collect();
    let done = ended.iter().filter(|one| one.status.success()).count();
    let refused = ended.iter().filter(|one| one.stderr.contains("is in use by ")).count();
    assert!(done >= 1 && done + refused == 4, "{done} done, {refused} refused");
    world.assert_same("INBOX", "Inbox");
    let downloads = world.cloud.downloads("");
    assert!(downloads.values().all(|count| *count == 1), "{downloads:?}");
    world.assert_lawful();
}

/// Every file below a directory, hidden ones included.
pub(crate) fn contents(directory: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            contents(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.insert(path.display().to_string(), bytes);
        }
    }
}

#[test]
fn f40_no_secret_is_in_a_log_a_file_or_an_argument() {
    let world = small(10);
    // What the simulated service gives out begins with these: access tokens, refresh tokens. Then what carries them.
    let secrets = ["eyJ0eXAi", "1.AX", "Bearer", "code_verifier", "refresh_token", "code=0.A"];
    let assert_clean = |place: &str, bytes: &[u8]| {
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "`{secret}` is in {place}:\n{}", String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]));
        }
    };
    for format in ["text", "json"] {
        let daemon = world.start(&["-vv", "--log-format", format, "run"]);
        daemon.wait_for_line("Both sides are the same");
        for part in ["cmdline", "environ"] {
            assert_clean(part, &fs::read(format!("/proc/{}/{part}", daemon.id())).unwrap());
        }
        // Failures tell more than successes.
        world.cloud.expire_access_tokens();
        world.cloud.inject(Fault::once("delta", Action::Garbage));
        world.cloud.inject(Fault::once("delta", Action::status(400)));
        world.cloud.add_generated("", "Inbox", 2).unwrap();
        world.wait_until_same("INBOX", "Inbox");
        world.cloud.revoke("", true);
        daemon.wait_for_line("AADSTS50173");
        let ended = daemon.stop();
        assert_clean("stderr", ended.stderr.as_bytes());
        assert_clean("stdout", ended.stdout.as_bytes());
        assert!(ended.stderr.len() > 2000, "it was to tell everything");
    }
    let mut files = BTreeMap::new();
    contents(world.directory.path(), &mut files);
    assert!(files.len() > 10);
    for (path, bytes) in &files {
        // Mail itself may say anything.
        if !path.contains("/messages/") && !path.contains("/INBOX/") {
            assert_clean(path, bytes);
        }
    }
    let mode = |name: &str| fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".cms"), 0o700);
    assert_eq!(mode(".cms/state.sqlite"), 0o600);
}

#[test]
fn f08_flags_settle_and_stay_settled() {
    let world = small(8);
    let daemon = world.daemon();
    for (at, id) in ids(&world).iter().enumerate() {
        let flag = if at % 2 == 0 { FlagStatus::Flagged } else { FlagStatus::NotFlagged };
        world
            .cloud
            .set_flags("", id, FlagChange { flag: Some(flag), is_read: Some(true), ..FlagChange::default() })
            .unwrap();
    }
    for name in world.files("INBOX").iter().take(4) {
        if world.path("INBOX").join(name).exists() {
            let _ = fs::rename(
                world.path("INBOX").join(name),
                world.path("INBOX/cur").join(format!("{}:2,FRS", base_of(name))),
            );
        }
    }
    world.wait_until_same("INBOX", "Inbox");
    let settled = changes_made(&world);
    let polls = world.cloud.counters().requests.get("delta").copied().unwrap_or_default();
    wait_for("five more polls", || {
        world.cloud.counters().requests.get("delta").copied().unwrap_or_default() > polls + 5
    });
    assert!(changes_made(&world) <= settled + 1, "somebody plays ping-pong");
    world.assert_same("INBOX", "Inbox");
    drop(daemon);
    world.assert_lawful();
}
