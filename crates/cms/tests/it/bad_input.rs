//! What users get wrong and what disks do: each is told in words that help, and no mail is touched for it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use cms_store::{Change, Database};
use simcloud::{Action, BodyKind, Fault, FlagChange, NewMessage, Options};

use crate::world::{Finished, Running, World, wait_for};

/// Few small messages.
fn small(messages: usize) -> World {
    World::with(Options { messages, size_scale: 0.1, ..Options::default() })
}

/// Runs `cms sync`, which must end with this status and say these things.
#[track_caller]
fn sync_ends(world: &World, status: i32, says: &[&str]) -> Finished {
    let finished = world.cms(&["sync"]);
    assert_ended(&finished, status, says);
    finished
}

#[track_caller]
fn assert_ended(finished: &Finished, status: i32, says: &[&str]) {
    assert_eq!(finished.status.code(), Some(status), "{}", finished.stderr);
    for text in says {
        assert!(finished.stderr.contains(text), "`{text}` isn't said:\n{}", finished.stderr);
    }
}

/// A shell with mounts of its own, in the world's directory; nothing where the system doesn't allow that.
fn with_own_mounts(world: &World, script: &str) -> Option<Running> {
    let isolated = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script]).current_dir(world.directory.path());
        command.env("HOME", world.directory.path()).env("CMS", env!("CARGO_BIN_EXE_cms"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    fs::create_dir_all(world.path("probe")).unwrap();
    let probe = isolated("mount -t tmpfs -o size=64k none probe && mount -o remount,size=128k probe").output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        println!("skipped: needs unshare with mounts");
        return None;
    }
    Some(Running::of(isolated(script)))
}

#[test]
fn a_folder_that_does_not_exist_is_told_with_the_nearest_names() {
    let world = World::with(Options {
        folders: vec![("Lists".to_owned(), 2), ("Inbox/Rust".to_owned(), 1)],
        ..Options::default()
    });
    world.configure("MailDir(\"INBOX\")\nOffice365(\"Lisst\", account)\n");
    sync_ends(&world, 2, &["cms.cfg:3:1: the account has no folder `Lisst`", "hint: did you mean `Lists`"]);
    let daemon = world.cms(&["run"]);
    assert_ended(&daemon, 2, &["cms.cfg:3:1: the account has no folder `Lisst`", "hint: did you mean `Lists`"]);
    assert_eq!(world.files("INBOX"), [""; 0]);
    world.assert_lawful();
}

#[test]
fn two_names_of_one_folder_are_refused() {
    let mut options = Options { messages: 3, ..Options::default() };
    options.knobs.locale = "de".to_owned();
    let world = World::with(options);
    world.configure("MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\nOffice365(\"Posteingang\", account)\n");
    sync_ends(
        &world,
        2,
        &["are the same folder of the account", "`inbox`", "`Posteingang`", "hint: name it once in cms.cfg"],
    );
    assert_eq!(world.files("INBOX"), [""; 0]);
}

#[test]
fn f35_a_folder_that_was_made_anew_under_its_name_is_found_again() {
    let world = World::with(Options { folders: vec![("Lists".to_owned(), 3)], size_scale: 0.1, ..Options::default() });
    world.configure("MailDir(\"INBOX\")\nOffice365(\"Lists\", account)\n");
    world.sync();
    world.assert_same("INBOX", "Lists");
    world.cloud.delete_folder("", "Lists").unwrap();
    world.cloud.add_generated("", "Lists", 2).unwrap();
    sync_ends(&world, 4, &["`Lists` was removed in the cloud and made again, and 3 messages of the old one are gone"]);
    assert_eq!(world.files("INBOX").len(), 5, "what is new comes, and what was old stays");
    assert_eq!(world.cms(&["held", "apply"]).status.code(), Some(0));
    world.assert_same("INBOX", "Lists");

    world.cloud.delete_folder("", "Lists").unwrap();
    let gone = sync_ends(&world, 2, &["the account has no folder `Lists`"]);
    assert!(!gone.stderr.contains("removed"), "{}", gone.stderr);
    assert_eq!(world.files("INBOX").len(), 2, "a folder that is gone takes no mail along");
    world.assert_lawful();
}

#[test]
fn a_maildir_path_that_is_a_file() {
    let world = small(2);
    fs::write(world.path("INBOX"), "precious").unwrap();
    let finished = sync_ends(&world, 1, &["error: ", "INBOX"]);
    assert!(finished.stderr.contains("hint: "), "{}", finished.stderr);
    assert_eq!(fs::read_to_string(world.path("INBOX")).unwrap(), "precious");
}

#[test]
fn f01_a_maildir_that_held_mail_and_is_missing_is_not_made_anew() {
    let world = small(12);
    world.sync();
    let there = world.there("Inbox");
    fs::rename(world.path("INBOX"), world.path("unmounted")).unwrap();
    let finished =
        sync_ends(&world, 1, &["INBOX", "isn't there", "hint: mount its disk", "Nothing was changed in the cloud"]);
    assert!(!finished.stderr.contains("panicked"));
    assert!(!world.path("INBOX").exists());
    assert_eq!(world.there("Inbox"), there);
    fs::rename(world.path("unmounted"), world.path("INBOX")).unwrap();
    assert!(world.sync().stderr.contains("nothing to do"));
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

#[test]
fn a_read_only_maildir_is_told_and_nothing_is_downloaded_twice() {
    let world = small(6);
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(world.path("INBOX").join(part)).unwrap();
    }
    let script = "mount --bind INBOX INBOX && mount -o remount,bind,ro INBOX && exec \"$CMS\" -c cms.cfg sync";
    let Some(running) = with_own_mounts(&world, script) else { return };
    assert_ended(
        &running.finish(),
        1,
        &["error: ", "INBOX", "Read-only file system", "hint: see that you may write there"],
    );
    assert_eq!(world.files("INBOX"), [""; 0]);
    world.sync();
    world.assert_same("INBOX", "Inbox");
    let downloads = world.cloud.downloads("");
    assert!(downloads.values().all(|count| *count == 1), "{downloads:?}");
    world.assert_lawful();
}

/// The user whom no file belongs to, by custom.
const NOBODY: u32 = 65_534;

/// Gives a directory and all below it to that user.
fn give_to_nobody(path: &Path) {
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_to_nobody(&entry.unwrap().path());
        }
    }
}

/// Makes `command` run as a user whom file modes stop. Nothing where that can't be had.
fn as_nobody(world: &World, command: &mut Command) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    give_to_nobody(world.directory.path());
    let mut probe = Command::new(env!("CARGO_BIN_EXE_cms"));
    let runs = probe.arg("--version").uid(NOBODY).gid(NOBODY).stdout(Stdio::null()).status();
    if !runs.is_ok_and(|status| status.success()) {
        println!("skipped: needs a program that others may run");
        return false;
    }
    command.uid(NOBODY).gid(NOBODY);
    true
}

#[test]
fn a_maildir_that_may_not_be_written_to_is_told() {
    let world = small(4);
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(world.path("INBOX").join(part)).unwrap();
    }
    let mut command = world.command(&["sync"]);
    if !as_nobody(&world, &mut command) {
        return;
    }
    let set = |mode| {
        for part in ["cur", "new", "tmp"] {
            fs::set_permissions(world.path("INBOX").join(part), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    set(0o555);
    assert_ended(
        &Running::of(command).finish(),
        1,
        &["error: ", "INBOX", "Permission denied", "hint: see that you may write there"],
    );
    let mut check = world.command(&["check"]);
    as_nobody(&world, &mut check);
    let check = Running::of(check).finish();
    assert_eq!(check.status.code(), Some(1));
    assert!(
        check.stdout.contains("FAIL  Maildir: ") && check.stdout.contains("can't be written to"),
        "{}",
        check.stdout
    );
    set(0o755);
    world.sync();
    world.assert_same("INBOX", "Inbox");
}

#[test]
fn a_stray_file_that_may_not_be_read_spoils_nothing_else() {
    let world = small(4);
    world.sync();
    let stray = world.path("INBOX/cur/1700000000.stray.host:2,S");
    fs::write(&stray, "Subject: stray\n\nx\n").unwrap();
    fs::set_permissions(&stray, fs::Permissions::from_mode(0o000)).unwrap();
    world.cloud.add_generated("", "Inbox", 2).unwrap();
    let mut command = world.command(&["sync"]);
    if !as_nobody(&world, &mut command) {
        return;
    }
    let finished = Running::of(command).finish();
    assert_ended(&finished, 0, &["Couldn't read a file in the Maildir; it is left alone", "stray"]);
    fs::remove_file(&stray).unwrap();
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

#[test]
fn strange_names_in_a_maildir_are_left_alone() {
    let world = small(5);
    world.sync();
    let cur = world.path("INBOX/cur");
    fs::create_dir(cur.join("directory")).unwrap();
    fs::write(cur.join("directory/file"), "x").unwrap();
    fs::create_dir(world.path("INBOX/new/1700000001.dir.host")).unwrap();
    fs::create_dir_all(world.path("INBOX/.Sub/cur")).unwrap();
    let files = [&b".hidden"[..], b".nfs000000001", b".mh_sequences", b"\xff\xfe.not-utf8:2,S"];
    for name in files {
        fs::write(cur.join(std::ffi::OsStr::from_bytes(name)), "Subject: x\n\n").unwrap();
    }
    symlink("nowhere", cur.join("1700000002.link.host:2,")).unwrap();
    world.cloud.add_generated("", "Inbox", 2).unwrap();
    let messages = |world: &World| world.here("INBOX").len();
    world.sync();
    let daemon = world.daemon();
    fs::write(cur.join(".later"), "x").unwrap();
    fs::create_dir(cur.join("later")).unwrap();
    world.cloud.add_generated("", "Inbox", 1).unwrap();
    wait_for("new mail is there", || world.there("Inbox").iter().all(|message| world.here("INBOX").contains(message)));
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    for name in files {
        assert!(cur.join(std::ffi::OsStr::from_bytes(name)).exists());
        fs::remove_file(cur.join(std::ffi::OsStr::from_bytes(name))).unwrap();
    }
    assert!(
        cur.join("directory/file").exists()
            && cur.join("later").exists()
            && cur.join("1700000002.link.host:2,").symlink_metadata().is_ok()
    );
    fs::remove_file(cur.join(".later")).unwrap();
    assert_eq!(messages(&world), 8);
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

#[test]
fn a_state_directory_on_another_file_system_works_by_copying() {
    let world = small(8);
    let device = |path: &Path| fs::metadata(path).map(|facts| facts.dev()).ok();
    let shared = Path::new("/dev/shm");
    if device(shared).is_none() || device(shared) == device(world.directory.path()) {
        println!("skipped: needs another file system");
        return;
    }
    let state = tempfile::tempdir_in(shared).unwrap();
    world.configure(&format!(
        "MailDir(\"INBOX\")\nOffice365(\"inbox\", account)\ncfg.state_dir = \"{}\"\n",
        state.path().display()
    ));
    let first = world.sync();
    assert_eq!(first.stderr.matches("on another file system").count(), 1, "{}", first.stderr);
    world.assert_same("INBOX", "Inbox");
    for name in world.files("INBOX") {
        assert_eq!(fs::metadata(world.path("INBOX").join(name)).unwrap().nlink(), 1);
    }
    let name = world.files("INBOX").into_iter().find(|name| !name.contains('S')).unwrap();
    let base = name.rsplit('/').next().unwrap().split(":2,").next().unwrap().to_owned();
    fs::rename(world.path("INBOX").join(&name), world.path("INBOX/cur").join(format!("{base}:2,FS"))).unwrap();
    let ids: Vec<String> =
        world.cloud.state("").unwrap().messages().map(|message| message.id.clone()).take(1).collect();
    world.cloud.delete_message("", &ids[0], simcloud::Deletion::Purge).unwrap();
    world.sync();
    world.assert_same("INBOX", "Inbox");
    assert!(world.sync().stderr.contains("nothing to do"));
    world.assert_lawful();
}

/// The database, when nothing has it open.
fn database(world: &World) -> PathBuf {
    world.path(".cms/state.sqlite")
}

/// Damages the database and syncs: it must be kept aside and made anew, and both sides must stay as they are.
fn survives_damage(what: &str, damage: impl Fn(&mut Vec<u8>)) {
    let world = small(30);
    world.sync();
    let mut names = world.files("INBOX");
    let there = world.there("Inbox");
    let mut bytes = fs::read(database(&world)).unwrap();
    damage(&mut bytes);
    fs::write(database(&world), &bytes).unwrap();
    let finished = world.sync();
    assert!(
        finished.stderr.contains("is damaged") && finished.stderr.contains("Nothing is deleted on either"),
        "{what}: {}",
        finished.stderr
    );
    let aside: Vec<_> = fs::read_dir(world.path(".cms")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let aside = aside
        .iter()
        .find(|name| name.to_string_lossy().starts_with("state.sqlite.damaged-"))
        .unwrap_or_else(|| panic!("{what}: {aside:?}"));
    assert!(finished.stderr.contains(&*aside.to_string_lossy()), "{what}: {}", finished.stderr);
    assert_eq!(fs::read(world.path(".cms").join(aside)).unwrap(), bytes, "{what}: kept as it was");
    names.sort();
    assert_eq!(world.files("INBOX"), names, "{what}: every file keeps its name");
    assert_eq!(world.there("Inbox"), there, "{what}");
    assert!(world.sync().stderr.contains("nothing to do"), "{what}");
    world.assert_lawful();
}

#[test]
fn a_state_database_of_garbage_is_kept_aside_and_made_anew() {
    survives_damage("garbage", |bytes| {
        for (byte, garbage) in bytes.iter_mut().zip((0..251_u8).cycle()) {
            *byte = garbage;
        }
    });
}

#[test]
fn a_state_database_with_garbage_inside_is_kept_aside_and_made_anew() {
    survives_damage("garbage after the schema", |bytes| bytes.iter_mut().skip(4096).for_each(|byte| *byte = 0x5a));
}

#[test]
fn a_state_database_that_breaks_off_is_kept_aside_and_made_anew() {
    survives_damage("half of it", |bytes| bytes.truncate(bytes.len() / 2));
}

#[test]
fn a_state_database_with_one_bad_page_is_kept_aside_and_made_anew() {
    // The pages with the rows lie after those with the schema; one that only a query finds is taken from each end.
    survives_damage("its last page", |bytes| {
        let from = bytes.len() - 4096;
        bytes[from..].fill(0xff);
    });
}

#[test]
fn a_state_of_a_newer_version_is_left_alone() {
    let world = small(3);
    world.sync();
    let mut bytes = fs::read(database(&world)).unwrap();
    // The user version is at offset 60 of an SQLite file, big-endian.
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(database(&world), &bytes).unwrap();
    let names = world.files("INBOX");
    let finished = sync_ends(&world, 1, &["was written by a newer version (schema 99", "hint: "]);
    assert!(!finished.stderr.contains("damaged"), "{}", finished.stderr);
    assert_eq!(fs::read(database(&world)).unwrap()[60..64], 99_u32.to_be_bytes());
    assert_eq!(world.files("INBOX"), names);
}

#[test]
fn a_message_that_cannot_be_downloaded_is_passed_over_and_tried_again_when_due() {
    let world = small(10);
    let bad =
        world.cloud.add_message("", NewMessage { unconvertible: true, ..NewMessage::generated("Inbox") }).unwrap();
    let first = sync_ends(
        &world,
        1,
        &["10 delivered", "1 not downloadable now", "not downloaded: the message received", &bad, "tried again"],
    );
    assert_eq!(first.stderr.matches("not downloaded: ").count(), 1, "{}", first.stderr);
    assert_eq!(world.files("INBOX").len(), 10);

    // It is not asked for at once, though it may be fine by now; but everything else goes on.
    world.cloud.set_flags("", &bad, FlagChange { unconvertible: Some(false), ..FlagChange::default() }).unwrap();
    world.cloud.reset_counters();
    world.cloud.add_generated("", "Inbox", 1).unwrap();
    sync_ends(&world, 1, &["1 delivered", "not downloaded: the message received", &bad]);
    assert_eq!(world.cloud.counters().requests.get("value"), Some(&1));
    assert_eq!(world.files("INBOX").len(), 11);

    // Its time comes.
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let mut state = Database::open(&world.path(".cms")).unwrap();
    let mut record = None;
    state
        .load_cloud(|found| {
            if found.trouble.is_some() {
                record = Some(found);
            }
        })
        .unwrap();
    let mut record = record.expect("the trouble is written down");
    let due = record.retry_at.expect("with the time of the next try").0 - now;
    assert!((1800..=86_400).contains(&due), "tried again in {due} s");
    record.retry_at = Some(cms_engine::UnixSeconds(now - 1));
    state.apply(&[Change::PutCloud(record)]).unwrap();
    drop(state);
    let last = world.sync();
    assert!(!last.stderr.contains("not downloadable"), "{}", last.stderr);
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

#[test]
fn something_else_in_a_messages_place_is_never_taken_for_it() {
    let not_mail = [
        Action::Html,
        Action::Garbage,
        Action::ErrorInOk { code: "ServiceUnavailable".to_owned() },
        Action::Status {
            status: 200,
            body: BodyKind::Empty,
            code: String::new(),
            message: String::new(),
            retry_after: None,
        },
        Action::Status {
            status: 200,
            body: BodyKind::Json,
            code: String::new(),
            message: String::new(),
            retry_after: None,
        },
        Action::Truncate { after: 0 },
        Action::Truncate { after: 40 },
    ];
    for action in not_mail {
        let world = small(3);
        let bad = world.cloud.state("").unwrap().messages().map(|message| message.id.clone()).next().unwrap();
        world.cloud.inject(Fault { path: bad.clone(), ..Fault::always("value", action.clone()) });
        let finished = world.cms(&["sync"]);
        assert_eq!(finished.status.code(), Some(1), "{action:?}: {}", finished.stderr);
        let right = world.there("Inbox");
        assert!(world.here("INBOX").iter().all(|message| right.contains(message)), "{action:?}: {}", finished.stderr);
        world.cloud.clear_faults();
        let state = Database::open(&world.path(".cms")).unwrap();
        let mut in_trouble = Vec::new();
        state.load_cloud(|found| in_trouble.extend(found.trouble.map(|_| found.remote_id))).unwrap();
        drop(state);
        if in_trouble.is_empty() {
            // The connection broke rather than the message: the next run simply goes on.
            world.sync();
            world.assert_same("INBOX", "Inbox");
        } else {
            assert_eq!(
                in_trouble.iter().map(cms_engine::RemoteId::as_str).collect::<Vec<_>>(),
                [bad.as_str()],
                "{action:?}"
            );
            assert_eq!(world.files("INBOX").len(), 2, "{action:?}: {}", finished.stderr);
            assert!(finished.stderr.contains("not downloaded: "), "{action:?}: {}", finished.stderr);
        }
    }
}

/// A script that fills a small disk with a Maildir and its state, and enlarges it when the file `enlarge` appears.
const SMALL_DISK: &str = "mkdir disk && mount -t tmpfs -o size=1500k none disk";

#[test]
fn a_full_disk_stops_a_sync_which_goes_on_when_there_is_room() {
    let world = World::with(Options { messages: 120, ..Options::default() });
    world.configure("MailDir(\"disk/INBOX\")\nOffice365(\"inbox\", account)\n");
    let script = format!(
        "{SMALL_DISK}\nset +e\n\"$CMS\" -c cms.cfg sync; echo first $?\n\"$CMS\" -c cms.cfg sync; echo second $?\n\
         mount -o remount,size=64m disk\n\"$CMS\" -c cms.cfg sync; echo third $?\ncp -a disk/INBOX INBOX\nls -A disk/.cms/incoming | wc -l"
    );
    let Some(running) = with_own_mounts(&world, &script) else { return };
    let finished = running.finish();
    assert_eq!(finished.stdout, "first 1\nsecond 1\nthird 0\n0\n", "{}", finished.stderr);
    assert!(finished.stderr.contains("error: the disk is full"), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("hint: make room on the disk, then run the command again; nothing is lost"),
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("is damaged"), "{}", finished.stderr);
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

#[test]
fn a_full_disk_makes_the_daemon_wait_until_there_is_room() {
    let world = World::with(Options { messages: 120, ..Options::default() });
    world.configure("MailDir(\"disk/INBOX\")\nOffice365(\"inbox\", account)\n");
    let script = format!(
        "{SMALL_DISK}\n\"$CMS\" -c cms.cfg run & pid=$!\nwhile [ ! -e enlarge ]; do sleep 0.1; done\n\
         \"$CMS\" -c cms.cfg status || echo status $?\nmount -o remount,size=64m disk\n\
         while [ ! -e finish ]; do sleep 0.1; done\nkill -TERM $pid; wait $pid; echo $?\ncp -a disk/INBOX INBOX"
    );
    let Some(running) = with_own_mounts(&world, &script) else { return };
    running.wait_for_line("the disk is full: waiting until there is room again; nothing is lost");
    fs::write(world.path("enlarge"), "").unwrap();
    running.wait_for_line("Both sides are the same");
    fs::write(world.path("finish"), "").unwrap();
    let finished = running.finish();
    let shown = finished.stdout.strip_suffix("status 1\n0\n").unwrap_or_else(|| panic!("{}", finished.stdout));
    assert!(shown.contains("trouble: The disk is full: waiting until there is room again"), "{shown}");
    assert_eq!(finished.stderr.matches("the disk is full").count(), 1, "told once:\n{}", finished.stderr);
    world.assert_same("INBOX", "Inbox");
    world.assert_lawful();
}

#[test]
fn a_second_program_on_one_state_directory_is_told_who_holds_it() {
    let world = small(3);
    let daemon = world.daemon();
    let names = world.files("INBOX");
    for arguments in [&["sync"][..], &["run"], &["plan"]] {
        let finished = world.cms(arguments);
        assert_ended(
            &finished,
            1,
            &["error: ", ".cms` is in use by process ", &daemon.id().to_string(), "hint: one program at a time"],
        );
    }
    assert_eq!(world.files("INBOX"), names);
    assert_eq!(daemon.stop().status.code(), Some(0));
    world.sync();
    world.assert_lawful();
}

#[test]
fn a_bad_page_anywhere_in_the_state_database_is_outlived() {
    const PAGE: usize = 4096;
    let world = small(30);
    world.sync();
    let there = world.there("Inbox");
    let names = world.files("INBOX");
    let pages = fs::metadata(database(&world)).unwrap().len();
    let pages = usize::try_from(pages).unwrap() / PAGE;
    for page in 1..pages {
        let mut bytes = fs::read(database(&world)).unwrap();
        if let Some(damaged) = bytes.get_mut(page * PAGE..(page + 1) * PAGE) {
            damaged.fill(0xff);
        }
        fs::write(database(&world), &bytes).unwrap();
        let id = world.cloud.add_generated("", "Inbox", 1).unwrap().remove(0);
        let first = world.cms(&["sync"]);
        if first.status.code() != Some(0) {
            assert_ended(&first, 1, &["is damaged", "hint: run the command again"]);
            let again = world.sync();
            let told = format!("{}{}", first.stderr, again.stderr);
            assert_eq!(told.matches("is kept as `").count(), 1, "page {page}: {told}");
        }
        world.assert_same("INBOX", "Inbox");
        world.cloud.delete_message("", &id, simcloud::Deletion::Purge).unwrap();
        world.sync();
        assert_eq!(world.there("Inbox"), there, "page {page}");
        assert_eq!(world.files("INBOX"), names, "page {page}");
    }
    world.assert_lawful();
}
