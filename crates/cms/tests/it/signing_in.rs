//! Signing in as a user of the terminal does it, and living with it: kept, locked, elsewhere, on another device.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use simcloud::Options;

use crate::desktop::{Desktop, Keyring};
use crate::kills::strace_works;
use crate::world::{Finished, Running, USER, World, wait_for};

/// A configuration whose sign-ins are kept without a keyring.
const KEPT: &str =
    "MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\ncfg.token_key_command = \"echo a-passphrase-for-tests\"\n";

fn kept_world(messages: usize) -> World {
    let world = World::new(messages);
    world.configure(KEPT);
    world
}

/// Runs a command to its end without anybody who signs in.
fn alone(world: &World, arguments: &[&str]) -> Finished {
    Running::unattended(world.command(arguments)).finish()
}

/// Waits for a code on the terminal, and enters it as the user.
#[track_caller]
fn enter_code(world: &World, running: &Running) {
    wait_for("a code is shown", || !world.cloud.pending_devices().is_empty());
    let code = world.cloud.pending_devices()[0].user_code.clone();
    running.wait_for_line(&code);
    world.cloud.approve_device(&code, USER).unwrap();
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The configuration with the page at a port that is known.
fn configure_at(world: &World, port: u16, more: &str) {
    world.configure(&format!("{KEPT}{more}"));
    let file = world.path("cms.cfg");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(file, text.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))).unwrap();
}

#[test]
fn a_sign_in_is_kept_shown_and_forgotten() {
    let world = kept_world(3);
    let signed_in = world.cms(&["sign-in"]);
    assert_eq!(signed_in.status.code(), Some(0), "{}", signed_in.stderr);
    assert_eq!(signed_in.stdout, format!("{USER} is signed in now\n"));
    let again = alone(&world, &["sign-in"]);
    assert_eq!((again.status.code(), again.stdout.as_str()), (Some(0), format!("{USER} is signed in\n").as_str()));
    // What is kept may have ended at the service.
    world.cloud.revoke("", true);
    let anew = world.cms(&["sign-in"]);
    assert_eq!(anew.stdout, format!("{USER} is signed in now\n"), "{}", anew.stderr);
    assert!(anew.stderr.contains("AADSTS50173"), "{}", anew.stderr);
    // Nobody is asked any more.
    let synced = alone(&world, &["sync"]);
    assert_eq!(synced.status.code(), Some(0), "{}", synced.stderr);
    assert!(!synced.stderr.contains("To sign in"), "{}", synced.stderr);
    world.assert_same("INBOX", "Inbox");
    let check = alone(&world, &["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", check.stdout);
    for text in [
        "ok    sign-in: user@domain.com; signed in 2",
        "may ",
        "Mail.ReadWrite",
        "kept for the next start",
        "ok    key of the token vault: ",
    ] {
        assert!(check.stdout.contains(text), "{text}: {}", check.stdout);
    }
    let out = alone(&world, &["sign-out", "USER"]);
    assert_eq!(out.status.code(), Some(0), "{}", out.stderr);
    assert!(out.stdout.contains("is signed out") && out.stdout.contains("https://"), "{}", out.stdout);
    assert!(!world.path(".cms/tokens.vault").exists());
    assert_eq!(alone(&world, &["sign-out", USER]).stdout, format!("{USER} was not signed in\n"));
}

/// The old token may be worth nothing by the time at which the new one has come.
#[test]
fn f12_f26_a_new_refresh_token_is_on_the_disk_before_it_takes_the_place_of_the_old_one() {
    if !strace_works() {
        println!("skipped: needs strace");
        return;
    }
    let world = kept_world(3);
    assert!(world.cms(&["sign-in"]).status.success());
    let trace = world.path("trace").display().to_string();
    let strace = ["-f", "-qq", "-y", "-o", &trace, "-e", "trace=write,fsync,rename,renameat,renameat2"];
    let finished = Running::unattended(world.command_under("strace", &strace, &["sync"])).finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let trace = fs::read_to_string(trace).unwrap();
    let begins = |line: &str, call: &str| line.split_whitespace().nth(1).is_some_and(|begun| begun.starts_with(call));
    let mut lines = trace.lines();
    for (call, of) in [
        ("write(", "/.cms/tokens.vault.new>"),
        ("fsync(", "/.cms/tokens.vault.new>"),
        ("rename", "/.cms/tokens.vault\""),
        ("fsync(", "/.cms>"),
    ] {
        assert!(lines.any(|line| begins(line, call) && line.contains(of)), "no {call} of {of} then:\n{trace}");
    }
}

#[test]
fn accounts_are_named_by_a_part_that_only_one_has() {
    let world =
        World::with(Options { users: vec![USER.to_owned(), "anna@domain.com".to_owned()], ..Options::default() });
    let url = &world.url;
    world.configure(&format!(
        "MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\nOffice365(\"inbox\", Office365_Account(user=\"anna@domain.com\", \
         login_url=\"{url}\", graph_url=\"{url}\"))\ncfg.token_key_command = \"echo x\"\n"
    ));
    let unknown = alone(&world, &["sign-out", "bob"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        unknown.stderr.contains("there is no account `bob`") && unknown.stderr.contains("`anna@domain.com`"),
        "{}",
        unknown.stderr
    );
    let ambiguous = alone(&world, &["sign-in", "domain"]);
    assert_eq!(ambiguous.status.code(), Some(2));
    assert!(ambiguous.stderr.contains("more than one account"), "{}", ambiguous.stderr);
    let anna = world.cms(&["sign-in", "anna"]);
    assert_eq!(
        (anna.status.code(), anna.stdout.as_str()),
        (Some(0), "anna@domain.com is signed in now\n"),
        "{}",
        anna.stderr
    );
    // The other one is still to come, and both are signed in to one after the other.
    let both = world.cms(&["sign-in"]);
    assert_eq!(both.status.code(), Some(0), "{}", both.stderr);
    assert_eq!(both.stdout, "user@domain.com is signed in now\nanna@domain.com is signed in\n");
}

#[test]
fn two_accounts_that_need_a_sign_in_are_taken_one_after_the_other() {
    let world =
        World::with(Options { users: vec![USER.to_owned(), "anna@domain.com".to_owned()], ..Options::default() });
    let url = &world.url;
    world.cloud.add_generated(USER, "Inbox", 2).unwrap();
    world.cloud.add_generated("anna@domain.com", "Inbox", 3).unwrap();
    world.configure(&format!(
        "MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\nOffice365(\"inbox\", Office365_Account(user=\"anna@domain.com\", \
         login_url=\"{url}\", graph_url=\"{url}\"))\n"
    ));
    world.sync();
    assert_eq!(world.files("INBOX").len(), 5);
}

#[test]
fn a_code_is_typed_on_another_device() {
    let world = kept_world(2);
    let running = Running::unattended(world.command(&["sign-in", "--device"]));
    enter_code(&world, &running);
    let finished = running.finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains("on any device, open http://"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("/authorize?"), "{}", finished.stderr);
    let synced = alone(&world, &["sync"]);
    assert_eq!(synced.status.code(), Some(0), "{}", synced.stderr);
    world.assert_lawful();
}

#[test]
fn a_code_is_offered_by_itself_where_there_is_no_browser_and_the_way_over_ssh_is_told() {
    let world = kept_world(2);
    let mut command = world.command(&["sync"]);
    command.env("SSH_CONNECTION", "192.0.2.7 50122 192.0.2.1 22").env("USER", "anna");
    let running = Running::unattended(command);
    enter_code(&world, &running);
    let finished = running.finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains("open this address in a browser on this machine"), "{}", finished.stderr);
    assert!(finished.stderr.contains("ssh -N -L "), "{}", finished.stderr);
    assert!(finished.stderr.contains(" anna@192.0.2.1"), "{}", finished.stderr);
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

#[test]
fn a_declined_code_ends_with_3_and_the_services_words() {
    let world = kept_world(1);
    let running = Running::unattended(world.command(&["sign-in", "--device"]));
    wait_for("a code is shown", || !world.cloud.pending_devices().is_empty());
    world.cloud.decline_device(&world.cloud.pending_devices()[0].user_code).unwrap();
    let finished = running.finish();
    assert_eq!(finished.status.code(), Some(3), "{}", finished.stderr);
    assert!(finished.stderr.contains("declined"), "{}", finished.stderr);
}

#[test]
fn a_port_that_is_taken_is_told_with_its_holder_and_a_code_is_offered() {
    let world = kept_world(2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    configure_at(&world, listener.local_addr().unwrap().port(), "");
    let running = Running::unattended(world.command(&["sync"]));
    enter_code(&world, &running);
    let finished = running.finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let holder = format!("(process {})", std::process::id());
    assert!(finished.stderr.contains("is taken by") && finished.stderr.contains(&holder), "{}", finished.stderr);
    assert!(finished.stderr.contains("cfg.listen"), "{}", finished.stderr);
}

#[test]
fn a_daemon_that_waits_goes_on_when_another_process_has_signed_in() {
    let world = kept_world(3);
    let port = free_port();
    configure_at(&world, port, "");
    let daemon = Running::unattended(world.command(&["run"]));
    daemon.wait_for_line("To sign in to");
    let helper = Running::unattended(world.command(&["sign-in", "--device"]));
    wait_for("a code is shown", || !world.cloud.pending_devices().is_empty());
    // The daemon offers one, too; the first to be entered serves both.
    wait_for("the code of `cms sign-in` is entered", || {
        for device in world.cloud.pending_devices() {
            if helper.stderr().contains(&device.user_code) {
                world.cloud.approve_device(&device.user_code, USER).unwrap();
                return true;
            }
        }
        false
    });
    assert_eq!(helper.finish().status.code(), Some(0));
    daemon.wait_for_line("Both sides are the same");
    world.assert_same("INBOX", "Inbox");
    // And what another process signs out of is over here at the next look.
    let out = alone(&world, &["sign-out", USER]);
    assert_eq!(out.status.code(), Some(0), "{}", out.stderr);
    daemon.wait_for_line("it was signed out");
    // Who asks for a page while the daemon has it is sent there.
    let beside = Running::unattended(world.command(&["sign-in"]));
    beside.wait_for_line(&format!("open http://127.0.0.1:{port}/ and sign in there"));
    drop(beside);
    daemon.stop();
}

#[test]
fn a_daemon_that_is_started_without_a_network_waits_and_goes_on() {
    let world = kept_world(0);
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let text = fs::read_to_string(world.path("cms.cfg")).unwrap().replace(&world.url, &url);
    fs::write(world.path("cms.cfg"), text).unwrap();
    let daemon = world.start(&["run"]);
    daemon.wait_for_line("trying again");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let options = Options { port, messages: 4, ..Options::default() };
    let server = runtime.block_on(simcloud::serve(options)).unwrap();
    daemon.wait_for_line("Both sides are the same");
    assert_eq!(world.files("INBOX").len(), 4);
    drop((daemon, server));
}

#[test]
fn one_account_that_needs_a_sign_in_does_not_stop_the_other() {
    let world =
        World::with(Options { users: vec![USER.to_owned(), "anna@domain.com".to_owned()], ..Options::default() });
    let url = &world.url;
    world.configure(&format!(
        "inbox = MailDir(\"INBOX\")\nother = MailDir(\"ANNA\")\nOffice365(\"inbox\", account)\n\
         Office365(\"Lists\", Office365_Account(user=\"anna@domain.com\", login_url=\"{url}\", graph_url=\"{url}\"))\n\
         def sort(msg):\n    return other if msg.mailbox == \"Lists\" else inbox\ncfg.direct_message = sort\n"
    ));
    world.cloud.add_generated("anna@domain.com", "Lists", 1).unwrap();
    let daemon = world.daemon();
    world.cloud.revoke(USER, true);
    world.cloud.set_sign_in_mode(simcloud::SignInMode::Page { number: 90_094 });
    daemon.wait_for_line("AADSTS50173");
    world.cloud.add_generated("anna@domain.com", "Lists", 2).unwrap();
    wait_for("the other account's mail arrives", || world.files("ANNA").len() == 3);
    // What is changed here for the account that waits is kept until it can be told.
    drop(daemon);
}

#[test]
fn a_real_keyring_keeps_the_sign_in_over_a_restart_of_both() {
    let keyring = tempfile::tempdir().unwrap();
    let world = World::new(3);
    let Some(desktop) = Desktop::begin(keyring.path(), Keyring::Unlocked) else { return };
    let first = Running::of(desktop.enter(world.command(&["sync"]))).finish();
    assert_eq!(first.status.code(), Some(0), "{}", first.stderr);
    assert!(first.stderr.contains("To sign in") && !first.stderr.contains("isn't kept"), "{}", first.stderr);
    assert_eq!(desktop.keys().len(), 1);
    drop(desktop);

    let Some(desktop) = Desktop::begin(keyring.path(), Keyring::Unlocked) else { return };
    let second = Running::unattended(desktop.enter(world.command(&["sync"]))).finish();
    assert_eq!(second.status.code(), Some(0), "{}", second.stderr);
    assert!(!second.stderr.contains("To sign in"), "{}", second.stderr);
    drop(desktop);

    // Without a keyring the user is asked, is told why, and what is kept stays as it is.
    let Some(desktop) = Desktop::begin(keyring.path(), Keyring::None) else { return };
    let kept = fs::read(world.path(".cms/tokens.vault")).unwrap();
    let without = Running::of(desktop.enter(world.command(&["sync"]))).finish();
    assert_eq!(without.status.code(), Some(0), "{}", without.stderr);
    assert!(without.stderr.contains("isn't kept for the next start: there is no keyring"), "{}", without.stderr);
    assert!(without.stderr.contains("cfg.token_key_command"), "{}", without.stderr);
    assert_eq!(fs::read(world.path(".cms/tokens.vault")).unwrap(), kept);
    drop(desktop);

    let Some(desktop) = Desktop::begin(keyring.path(), Keyring::Unlocked) else { return };
    let out = Running::unattended(desktop.enter(world.command(&["sign-out", USER]))).finish();
    assert_eq!(out.status.code(), Some(0), "{}", out.stderr);
    assert_eq!(desktop.keys().len(), 0, "the key goes with the last sign-in");
    assert!(!world.path(".cms/tokens.vault").exists());
}

#[test]
fn a_locked_keyring_is_waited_for_and_not_taken_for_an_empty_one() {
    let keyring = tempfile::tempdir().unwrap();
    let world = World::new(2);
    let Some(desktop) = Desktop::begin(keyring.path(), Keyring::Unlocked) else { return };
    let first = Running::of(desktop.enter(world.command(&["sign-in"]))).finish();
    assert_eq!(first.status.code(), Some(0), "{}", first.stderr);
    drop(desktop);

    let Some(desktop) = Desktop::begin(keyring.path(), Keyring::Locked) else { return };
    let once = Running::unattended(desktop.enter(world.command(&["sync"]))).finish();
    assert_eq!(once.status.code(), Some(3), "{}", once.stderr);
    assert!(once.stderr.contains("is locked") && once.stderr.contains("unlock the keyring"), "{}", once.stderr);
    let check = Running::unattended(desktop.enter(world.command(&["check"]))).finish();
    assert_eq!(check.status.code(), Some(3), "{}", check.stdout);
    let daemon = Running::unattended(desktop.enter(world.command(&["run"])));
    daemon.wait_for_line("waits for the keyring");
    desktop.unlock();
    daemon.wait_for_line("Both sides are the same");
    assert!(!daemon.stderr().contains("To sign in"), "{}", daemon.stderr());
    assert_eq!(desktop.keys().len(), 1);
    daemon.stop();
}

#[test]
fn a_desktop_is_told_that_a_sign_in_is_needed() {
    let keyring = tempfile::tempdir().unwrap();
    let world = World::new(1);
    let Some(desktop) = Desktop::begin(keyring.path(), Keyring::Unlocked) else { return };
    let notifications = desktop.notifications();
    let daemon = Running::of(desktop.enter(world.command(&["run"])));
    daemon.wait_for_line("Both sides are the same");
    // No browser can be opened, and nobody may look at what a daemon prints.
    let (summary, body) = notifications.next();
    assert_eq!(summary, format!("Sign in to {USER}"));
    assert!(body.contains("nobody has signed in yet"), "{body}");
    world.cloud.revoke("", true);
    let (summary, body) = notifications.next();
    assert_eq!(summary, format!("Sign in to {USER}"));
    assert!(body.contains("AADSTS50173") && body.contains("http://localhost:"), "{body}");
    daemon.stop();
}

#[test]
fn a_browser_that_the_environment_names_is_opened_once() {
    let world = kept_world(2);
    let script = world.path("browser");
    let visit = world.path("visits");
    fs::write(&script, format!("#!/bin/sh\necho \"$1\" >> {}\n", visit.display())).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).unwrap();
    let mut command = world.command(&["run"]);
    command.env("BROWSER", &script);
    let daemon = Running::of(command);
    daemon.wait_for_line("Both sides are the same");
    world.cloud.set_sign_in_mode(simcloud::SignInMode::Page { number: 90_094 });
    world.cloud.revoke("", true);
    daemon.wait_for_line("AADSTS50173");
    let visits = fs::read_to_string(&visit).unwrap();
    assert_eq!(visits.lines().count(), 1, "{visits}");
    assert!(visits.contains("/authorize?"), "{visits}");
    daemon.stop();
}

#[test]
fn a_key_command_that_fails_is_told_with_its_status_and_nothing_is_overwritten() {
    let world = kept_world(1);
    assert_eq!(world.cms(&["sign-in"]).status.code(), Some(0));
    let kept = fs::read(world.path(".cms/tokens.vault")).unwrap();
    world.configure(&KEPT.replace("echo a-passphrase-for-tests", "echo secret-words-of-a-user >&2; exit 7"));
    let failing = world.cms(&["sync"]);
    assert_eq!(failing.status.code(), Some(0), "{}", failing.stderr);
    assert!(failing.stderr.contains("exit status: 7"), "{}", failing.stderr);
    world.configure(&KEPT.replace("a-passphrase", "another-passphrase"));
    let wrong = world.cms(&["sync"]);
    assert!(wrong.stderr.contains("does not open"), "{}", wrong.stderr);
    assert_eq!(fs::read(world.path(".cms/tokens.vault")).unwrap(), kept);
    // The right one opens it still.
    world.configure(KEPT);
    assert!(!alone(&world, &["sync"]).stderr.contains("To sign in"));
    let file = Command::new("stat").args(["-c", "%a"]).arg(world.path(".cms/tokens.vault")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&file.stdout).trim(), "600");
}

#[test]
fn an_organisations_own_registration_is_used_as_it_is_configured() {
    let registration = simcloud::Registration {
        client_id: "11111111-2222-3333-4444-555555555555".to_owned(),
        redirects: vec!["http://localhost/desk/mail".to_owned()],
        redirect_type: simcloud::RedirectType::Spa,
        tenant: Some("contoso.com".to_owned()),
        ..simcloud::Registration::default()
    };
    let world = World::with(Options { registrations: vec![registration], messages: 2, ..Options::default() });
    let url = &world.url;
    let configure = |more: &str| {
        world.configure(&format!(
            "own = Office365_Account(user=\"{USER}\", login_url=\"{url}\", graph_url=\"{url}\", \
             client_id=\"11111111-2222-3333-4444-555555555555\"{more})\nMailDir(\"INBOX\")\nOffice365(\"inbox\", own)\n"
        ));
    };
    configure(
        ", tenant=\"contoso.com\", redirect_host=\"localhost\", redirect_path=\"/desk/mail\", send_origin=True, \
         scopes=[\"https://graph.microsoft.com/Mail.ReadWrite\", \"https://graph.microsoft.com/User.Read\"]",
    );
    world.sync();
    world.assert_same("INBOX", "Inbox");
    let check = world.cms(&["check"]);
    assert!(check.stdout.contains("the redirect address is registered as `spa`"), "{}", check.stdout);
    // Each part counts: the service refuses another host, and shows so in the browser.
    configure(", tenant=\"contoso.com\", redirect_path=\"/desk/mail\", redirect_host=\"127.0.0.1\"");
    let running = Running::unattended(world.command(&["sign-in"]));
    running.wait_for_line("/authorize?");
    let address = running.stderr().lines().find_map(crate::world::sign_in_address).unwrap();
    assert_eq!(simcloud::visit(&address).unwrap(), 400);
}
