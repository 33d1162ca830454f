use std::fs;
use std::time::Duration;

use cms_engine::MaildirId;
use cms_maildir::{Hearing, Maildir, Place, WatchEvent, Watcher};

use crate::{Fixture, at, flags};

const SETTLE: Duration = Duration::from_millis(30);
const DEADLINE: Duration = Duration::from_secs(20);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.expect("no event within the deadline") })
}

fn appeared(id: u32, path: &str) -> WatchEvent {
    let (place, name) = at(path);
    WatchEvent::Appeared { maildir: MaildirId(id), place, file_name: name.on_disk().into() }
}

fn written(id: u32, path: &str) -> WatchEvent {
    let (place, name) = at(path);
    WatchEvent::Written { maildir: MaildirId(id), place, file_name: name.on_disk().into() }
}

fn vanished(id: u32, path: &str) -> WatchEvent {
    let (place, name) = at(path);
    WatchEvent::Vanished { maildir: MaildirId(id), place, file_name: name.on_disk().into() }
}

/// Collects batches until `wanted` was among them, and returns all events.
async fn until(watcher: &mut Watcher, wanted: &WatchEvent) -> Vec<WatchEvent> {
    let mut events = Vec::new();
    while !events.contains(wanted) {
        events.extend(watcher.next_batch(SETTLE).await.unwrap());
    }
    events
}

#[test]
fn every_change_of_a_name_is_told_in_order() {
    run(async {
        let fixture = Fixture::new();
        let mut watcher = Watcher::new().unwrap();
        watcher.add(MaildirId(1), &fixture.maildir).unwrap();

        fixture.put("cur/.hidden", "x");
        fixture.put("cur/dovecot-uidlist", "x");
        let source = fixture.stored("message", "x");
        fs::hard_link(source, fixture.maildir.path().join("new/1.a")).unwrap();
        let (place, name) = at("new/1.a");
        let (place, name) = fixture.maildir.set_flags(place, &name, flags("S")).unwrap();
        let facts = fixture.maildir.inspect(place, &name).unwrap().unwrap();
        fixture.maildir.remove(place, &name, &facts).unwrap();
        fixture.put("cur/2.b:2,", "x");

        assert_eq!(
            until(&mut watcher, &written(1, "cur/2.b:2,")).await,
            [
                appeared(1, "new/1.a"),
                vanished(1, "new/1.a"),
                appeared(1, "cur/1.a:2,S"),
                vanished(1, "cur/1.a:2,S"),
                written(1, "cur/2.b:2,"),
            ]
        );
    });
}

#[test]
fn a_move_between_maildirs_is_told_as_leaving_and_arriving() {
    run(async {
        let fixture = Fixture::new();
        let other = Maildir::create(fixture.directory.path().join("Lists")).unwrap();
        fixture.put("cur/1.a:2,S", "x");
        let mut watcher = Watcher::new().unwrap();
        watcher.add(MaildirId(1), &fixture.maildir).unwrap();
        watcher.add(MaildirId(2), &other).unwrap();
        let (place, name) = at("cur/1.a:2,S");
        fixture.maildir.move_to(place, &name, &other, &name.base_name, flags("S")).unwrap();
        assert_eq!(
            until(&mut watcher, &appeared(2, "cur/1.a:2,S")).await,
            [vanished(1, "cur/1.a:2,S"), appeared(2, "cur/1.a:2,S")]
        );
    });
}

#[test]
fn a_file_that_is_written_to_in_place_is_told() {
    run(async {
        let fixture = Fixture::new();
        let path = fixture.put("cur/1.a:2,S", "x");
        let mut watcher = Watcher::new().unwrap();
        watcher.add(MaildirId(1), &fixture.maildir).unwrap();
        fs::read(&path).unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, b"y").unwrap();
        drop(file);
        assert_eq!(until(&mut watcher, &written(1, "cur/1.a:2,S")).await, [written(1, "cur/1.a:2,S")]);
    });
}

#[test]
fn dropping_a_waiting_call_loses_no_event() {
    run(async {
        let fixture = Fixture::new();
        let mut watcher = Watcher::new().unwrap();
        watcher.add(MaildirId(1), &fixture.maildir).unwrap();
        fixture.put("cur/1.a:2,", "x");
        // Has heard the event, and is dropped while it waits for more.
        let slow = tokio::time::timeout(Duration::from_millis(50), watcher.next_batch(Duration::from_secs(60))).await;
        assert!(slow.is_err());
        assert_eq!(watcher.next_batch(SETTLE).await.unwrap(), [written(1, "cur/1.a:2,")]);
    });
}

#[test]
fn a_directory_that_goes_and_comes_back_is_told_and_watched_again() {
    let gone = WatchEvent::DirectoryGone { maildir: MaildirId(1) };
    let back = WatchEvent::DirectoryBack { maildir: MaildirId(1) };
    run(async {
        let fixture = Fixture::new();
        let root = fixture.maildir.path().to_owned();
        let away = fixture.directory.path().join("away");
        let mut watcher = Watcher::new().unwrap();
        watcher.add(MaildirId(1), &fixture.maildir).unwrap();

        for directory in [root.join("cur"), root.join("new"), root.clone()] {
            // Removed, and made again empty.
            fs::remove_dir_all(&directory).unwrap();
            until(&mut watcher, &gone).await;
            Maildir::create(&root).unwrap();
            until(&mut watcher, &back).await;
            fixture.put("cur/1.a:2,", "x");
            until(&mut watcher, &written(1, "cur/1.a:2,")).await;
            fs::remove_file(root.join("cur/1.a:2,")).unwrap();
            until(&mut watcher, &vanished(1, "cur/1.a:2,")).await;

            // Moved away: what happens there is no longer told.
            fs::rename(&directory, &away).unwrap();
            until(&mut watcher, &gone).await;
            fs::write(away.join("elsewhere"), "x").unwrap();
            fs::remove_file(away.join("elsewhere")).unwrap();
            fs::rename(&away, &directory).unwrap();
            let events = until(&mut watcher, &back).await;
            let messages = events.iter().filter(|event| !matches!(event, WatchEvent::DirectoryBack { .. })).count();
            assert_eq!(messages, 0, "{events:?}");
            fixture.put("new/2.b", "x");
            until(&mut watcher, &written(1, "new/2.b")).await;
            fs::remove_file(root.join("new/2.b")).unwrap();
            until(&mut watcher, &vanished(1, "new/2.b")).await;
        }
    });
}

#[test]
fn a_maildir_that_is_not_there_cannot_be_watched() {
    run(async {
        let fixture = Fixture::new();
        fs::remove_dir(fixture.maildir.path().join("new")).unwrap();
        let mut watcher = Watcher::new().unwrap();
        assert!(watcher.add(MaildirId(1), &fixture.maildir).is_err());
        assert!(matches!(at("new/1.a").0, Place::New));
    });
}

#[test]
fn f31_what_is_heard_of_a_maildir_is_tried() {
    run(async {
        let fixture = Fixture::new();
        let mut watcher = Watcher::new().unwrap();
        watcher.add(MaildirId(1), &fixture.maildir).unwrap();
        fixture.put("new/1.a", "x");
        let heard = watcher.try_out(Duration::from_secs(60)).await.unwrap();
        assert_eq!(heard, [(MaildirId(1), Hearing::Everything)]);
        assert!(fs::read_dir(fixture.maildir.path().join("tmp")).unwrap().next().is_none(), "nothing is left behind");
        until(&mut watcher, &written(1, "new/1.a")).await;
        // Where no file can be made, silence says nothing.
        fs::remove_dir(fixture.maildir.path().join("tmp")).unwrap();
        let heard = watcher.try_out(Duration::from_secs(60)).await.unwrap();
        assert_eq!(heard, [(MaildirId(1), Hearing::Everything)]);
    });
}

#[test]
fn f31_dropped_events_are_told_as_such() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
    let Some(limit) = limit.ok().and_then(|limit| limit.trim().parse::<usize>().ok()).filter(|limit| *limit <= 100_000)
    else {
        println!("skipped: needs a limit of queued inotify events that can be reached");
        return;
    };
    run(async {
        let fixture = Fixture::new();
        let mut watcher = Watcher::new().unwrap();
        watcher.add(MaildirId(1), &fixture.maildir).unwrap();
        let [one, other] = ["cur/1.a:2,", "cur/1.a:2,S"].map(|name| fixture.maildir.path().join(name));
        fs::write(&one, "x").unwrap();
        for _ in 0..=limit / 4 {
            fs::rename(&one, &other).unwrap();
            fs::rename(&other, &one).unwrap();
        }
        let events = until(&mut watcher, &WatchEvent::Overflow).await;
        assert_eq!(events.iter().filter(|event| **event == WatchEvent::Overflow).count(), 1);
        fixture.put("new/2.b", "x");
        until(&mut watcher, &written(1, "new/2.b")).await;
    });
}

#[test]
fn directories_that_come_and_go_below_a_root_are_told_however_deep_they_are() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let existing = Maildir::create(root.join("a")).unwrap();
        let mut watcher = Watcher::new().unwrap();
        watcher.add(MaildirId(1), &existing).unwrap();
        watcher.add_root(&root).unwrap();
        let changed = WatchEvent::DirectoriesChanged { root: root.clone() };
        let told = |events: &[WatchEvent]| events.contains(&changed);

        // Each is made in one that was made after the watch began.
        fs::create_dir(root.join("b")).unwrap();
        until(&mut watcher, &changed).await;
        fs::create_dir(root.join("b/c")).unwrap();
        until(&mut watcher, &changed).await;
        fs::create_dir(root.join("b/c/cur")).unwrap();
        until(&mut watcher, &changed).await;
        // What is in one that is moved is told under its new name.
        fs::rename(root.join("b"), root.join("a/d")).unwrap();
        until(&mut watcher, &changed).await;
        fs::create_dir(root.join("a/d/c/new")).unwrap();
        until(&mut watcher, &changed).await;
        // One that is moved out of the root isn't of interest any more.
        fs::rename(root.join("a/d"), directory.path().join("d")).unwrap();
        until(&mut watcher, &changed).await;
        fs::create_dir(directory.path().join("d/e")).unwrap();
        fs::remove_dir(directory.path().join("d/c/cur")).unwrap();
        // Files are none of this, and their own events are told as ever.
        fs::write(root.join("file"), "x").unwrap();
        fs::write(root.join("a/cur/1.a:2,"), "x").unwrap();
        let events = until(&mut watcher, &written(1, "cur/1.a:2,")).await;
        assert!(!told(&events), "{events:?}");
        watcher.add_root(&directory.path().join("none")).unwrap();
    });
}
