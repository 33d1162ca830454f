//! That secrets stay secret: whatever goes wrong, and however much is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use simcloud::{Action, Fault, Options};

use crate::desktop::{Desktop, Keyring};
use crate::stories::contents;
use crate::world::{Running, USER, World, wait_for};

#[test]
fn f40_no_token_code_verifier_or_key_is_in_any_output_file_or_argument() {
    let keyring = tempfile::tempdir().unwrap();
    let world =
        World::with(Options { users: vec![USER.to_owned(), "anna@domain.com".to_owned()], ..Options::default() });
    let Some(desktop) = Desktop::begin(keyring.path(), Keyring::Unlocked) else { return };
    let url = &world.url;
    world.configure(&format!(
        "MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\nOffice365(\"inbox\", Office365_Account(user=\"anna@domain.com\", \
         login_url=\"{url}\", graph_url=\"{url}\"))\n"
    ));
    world.cloud.add_generated(USER, "Inbox", 3).unwrap();
    world.cloud.add_generated("anna@domain.com", "Inbox", 3).unwrap();
    let arguments = Arguments::collect();
    let mut told = Vec::new();
    let mut shown = String::new();
    for format in ["text", "json"] {
        // A browser that is a program of its own, with whatever it is given in the process list.
        let script = world.path("browser");
        fs::write(&script, "#!/bin/sh\nsleep 0.3\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = desktop.enter(world.command(&["-vvv", "--log-format", format, "run"]));
        command.env("BROWSER", &script);
        let daemon = Running::of(command);
        daemon.wait_for_line("Both sides are the same");
        // Failures tell more than successes: of the mail service, of the sign-in service, of the user.
        world.cloud.expire_access_tokens();
        for action in [Action::Garbage, Action::Html, Action::status(400)] {
            world.cloud.inject(Fault::once("delta", action.clone()));
            world.cloud.inject(Fault::once("token", action));
        }
        let before = world.files("INBOX").len();
        world.cloud.add_generated(USER, "Inbox", 1).unwrap();
        wait_for("mail goes on", || world.files("INBOX").len() > before);
        world.cloud.revoke("", true);
        daemon.wait_for_line("AADSTS50173");
        let ended = daemon.stop();
        told.push((format!("stderr as {format}"), ended.stderr));
        told.push((format!("stdout as {format}"), ended.stdout));
        let cms = |arguments: &[&str]| {
            let arguments = [&["-vvv", "--log-format", format], arguments].concat();
            desktop.enter(world.command(&arguments))
        };
        let coded = Running::unattended(cms(&["sign-in", "user", "--device"]));
        wait_for("a code is shown", || !world.cloud.pending_devices().is_empty());
        shown = world.cloud.pending_devices()[0].user_code.clone();
        coded.wait_for_line(&shown);
        world.cloud.approve_device(&shown, USER).unwrap();
        let coded = coded.finish();
        assert_eq!(coded.status.code(), Some(0), "{}", coded.stderr);
        told.push((format!("stderr of a code as {format}"), coded.stderr));
        let browsed = Running::of(cms(&["sign-in", "anna"])).finish();
        told.push((format!("stderr of a browser as {format}"), browsed.stderr));
        let checked = Running::unattended(cms(&["check"])).finish();
        told.push((format!("check as {format}"), checked.stdout + &checked.stderr));
    }
    let mut secrets = world.cloud.secrets();
    assert!(secrets.len() > 20, "tokens, codes and verifiers were to be had: {}", secrets.len());
    let keys = desktop.keys();
    assert_eq!(keys.len(), 1);
    secrets.extend(keys);
    told.push(("the process list".to_owned(), arguments.end()));
    let mut files = BTreeMap::new();
    contents(world.directory.path(), &mut files);
    assert!(files.keys().any(|path| path.ends_with("tokens.vault")), "{:?}", files.keys());
    let told = told.iter().map(|(place, text)| (place.as_str(), text.as_bytes()));
    let places: Vec<_> = told.chain(files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))).collect();
    let place_of = |text: &str| {
        let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        places.iter().find(|(_, bytes)| holds(bytes)).map(|(place, _)| *place)
    };
    for secret in &secrets {
        let place = place_of(secret);
        assert!(place.is_none(), "a secret that begins with `{}` is in {}", &secret[..8], place.unwrap_or_default());
    }
    // What was meant to be seen is found by the same search.
    assert!(place_of(&shown).is_some(), "{shown}");
    assert!(place_of(" sign-in user --device").is_some(), "the process list was to be complete");
}

/// The arguments of all processes while this collects them.
struct Arguments {
    stop: Arc<AtomicBool>,
    collector: JoinHandle<String>,
}

impl Arguments {
    fn collect() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let collector = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !stopped.load(Ordering::Relaxed) {
                for process in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
                    for part in ["cmdline", "environ"] {
                        if let Ok(text) = fs::read(process.path().join(part)) {
                            seen.insert(String::from_utf8_lossy(&text).replace('\0', " "));
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            seen.into_iter().collect::<Vec<_>>().join("\n")
        });
        Self { stop, collector }
    }

    fn end(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        self.collector.join().unwrap()
    }
}

#[test]
fn what_was_used_is_gone_from_the_memory_of_a_daemon() {
    let world = World::new(2);
    world.configure(
        "MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\ncfg.token_key_command = \"echo a-passphrase-for-tests\"\n",
    );
    let daemon = world.daemon();
    let used: Vec<String> = long_lived(&world);
    assert_eq!(used.len(), 3, "a code, a verifier and a refresh token were to be had");
    world.cloud.expire_access_tokens();
    wait_for("the sign-in is renewed", || long_lived(&world).len() > used.len());
    let renewed = long_lived(&world).pop().unwrap();
    if memory_of(&daemon).is_none() {
        println!("skipped: needs the right to read a child's memory");
        return;
    }
    wait_for("what was used is cleared", || {
        let memory = memory_of(&daemon).unwrap();
        // The newest refresh token is in use, and shows that this finds what is there.
        holds(&memory, &renewed) && !used.iter().any(|secret| holds(&memory, secret))
    });
    daemon.stop();
}

/// What the service gave out or took in but for access tokens, which connections keep in their buffers while they last.
fn long_lived(world: &World) -> Vec<String> {
    world.cloud.secrets().into_iter().filter(|secret| !secret.starts_with("eyJ")).collect()
}

fn holds(memory: &[u8], text: &str) -> bool {
    memory.windows(text.len()).any(|window| window == text.as_bytes())
}

/// All memory of the program that it may write to. Nothing where the system doesn't let us see it.
fn memory_of(daemon: &Running) -> Option<Vec<u8>> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", daemon.id())).ok()?;
    let memory = fs::File::open(format!("/proc/{}/mem", daemon.id())).ok()?;
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|mode| mode.starts_with("rw"))) {
        let (from, to) = line.split_whitespace().next()?.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        let mut part = vec![0; usize::try_from(to - from).ok()?];
        // What can't be read, such as the kernel's own pages, holds nothing of ours.
        if memory.read_exact_at(&mut part, from).is_ok() {
            all.extend(part);
        }
    }
    Some(all)
}
