//! What only a file system or a kernel limit of one's own can show.

use std::fs;

use cms_engine::{MaildirId, UnixSeconds};
use cms_maildir::{Maildir, MaildirError, Watcher};
use tempfile::TempDir;

use crate::{at, base, flags, inside, names, run_inside};

#[test]
fn a_full_disk_is_told_and_nothing_half_is_left() {
    let Some(disk) = inside() else {
        let directory = TempDir::new().unwrap();
        let name = "limits::a_full_disk_is_told_and_nothing_half_is_left";
        run_inside(name, directory.path(), "mount -t tmpfs -o size=64k none \"$1\"");
        return;
    };
    let elsewhere = TempDir::new().unwrap();
    let source = elsewhere.path().join("message");
    fs::write(&source, vec![b'x'; 256 * 1024]).unwrap();
    let maildir = Maildir::create(disk.join("INBOX")).unwrap();
    let error = maildir.deliver(&source, &base("1.R1.vm"), flags("S"), "", UnixSeconds(7)).unwrap_err();
    assert!(error.is_disk_full(), "{error:?}");
    assert_eq!(names(&maildir), [""; 0]);
}

#[test]
fn a_read_only_disk_is_told_and_can_be_listed() {
    let Some(disk) = inside() else {
        let directory = TempDir::new().unwrap();
        let name = "limits::a_read_only_disk_is_told_and_can_be_listed";
        let setup = "mount -t tmpfs none \"$1\" && mkdir -p \"$1\"/INBOX/cur \"$1\"/INBOX/new \"$1\"/INBOX/tmp \
            && echo x > \"$1\"/INBOX/cur/1.a:2,S && mount -o remount,ro \"$1\"";
        run_inside(name, directory.path(), setup);
        return;
    };
    let maildir = Maildir::open(disk.join("INBOX")).unwrap();
    assert_eq!(maildir.scan().unwrap().entries.len(), 1);
    let (place, name) = at("cur/1.a:2,S");
    assert!(maildir.set_flags(place, &name, flags("FS")).unwrap_err().is_read_only());
    let facts = maildir.inspect(place, &name).unwrap().unwrap();
    assert!(maildir.remove(place, &name, &facts).unwrap_err().is_read_only());
    let elsewhere = TempDir::new().unwrap();
    let source = elsewhere.path().join("message");
    fs::write(&source, "x").unwrap();
    let error = maildir.deliver(&source, &base("1.R1.vm"), flags("S"), "", UnixSeconds(7)).unwrap_err();
    assert!(error.is_read_only(), "{error:?}");
}

#[test]
fn the_limit_of_watches_is_named() {
    let Some(directory) = inside() else {
        let directory = TempDir::new().unwrap();
        let name = "limits::the_limit_of_watches_is_named";
        run_inside(name, directory.path(), "echo 5 > /proc/sys/user/max_inotify_watches");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let mut watcher = Watcher::new().unwrap();
    let one = Maildir::create(directory.join("one")).unwrap();
    let two = Maildir::create(directory.join("two")).unwrap();
    watcher.add(MaildirId(1), &one).unwrap();
    for _ in 0..2 {
        let error = watcher.add(MaildirId(2), &two).unwrap_err();
        assert!(matches!(error, MaildirError::WatchLimit { sysctl: "fs.inotify.max_user_watches", .. }), "{error:?}");
    }
    // What was begun for the second is undone, so that there is room again once the first goes.
    watcher.remove(MaildirId(1));
    watcher.add(MaildirId(2), &two).unwrap();
}
