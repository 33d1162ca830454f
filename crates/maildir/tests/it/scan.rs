use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cms_maildir::{Maildir, MaildirError, Place};

use crate::{Fixture, names};

#[test]
fn all_messages_are_listed_and_nothing_else() {
    let fixture = Fixture::new();
    for name in
        ["cur/1.a:2,S", "cur/2.b", "new/3.c", "new/4.d:2,T", "tmp/5.e", "cur/.hidden", "cur/dovecot.index", "cur/:2,"]
    {
        fixture.put(name, "x");
    }
    fs::create_dir(fixture.maildir.path().join("cur/6.f:2,S")).unwrap();
    let odd = OsStr::from_bytes(b"7.\xff:2,S");
    fs::write(fixture.maildir.path().join("new").join(odd), "x").unwrap();

    let scan = fixture.maildir.scan().unwrap();
    let listed: BTreeSet<String> =
        scan.entries.iter().map(|entry| format!("{}/{}", entry.place, entry.name.on_disk())).collect();
    assert_eq!(listed, ["cur/1.a:2,S", "cur/2.b", "new/3.c", "new/4.d:2,T"].map(String::from).into());
    assert!(scan.doubles.is_empty());
    let mut ignored = scan.ignored;
    ignored.sort();
    assert_eq!(ignored, [(Place::New, odd.to_owned()), (Place::Cur, "6.f:2,S".into()), (Place::Cur, ":2,".into())]);
}

#[test]
fn the_listing_tells_inodes() {
    let fixture = Fixture::new();
    fixture.put("cur/1.a:2,S", "x");
    let scan = fixture.maildir.scan().unwrap();
    let facts = fixture.maildir.inspect(scan.entries[0].place, &scan.entries[0].name).unwrap().unwrap();
    assert_eq!(scan.entries[0].inode, facts.inode);
    assert_eq!((facts.size, facts.links), (1, 1));
}

#[test]
fn of_two_files_under_one_base_name_the_one_in_cur_counts() {
    let fixture = Fixture::new();
    for name in ["new/1.a", "cur/1.a:2,S", "cur/2.b:2,F", "cur/2.b:2,S", "cur/3.c:2,"] {
        fixture.put(name, "x");
    }
    let scan = fixture.maildir.scan().unwrap();
    let shown = |entries: &[cms_maildir::Entry]| -> Vec<String> {
        entries.iter().map(|entry| format!("{}/{}", entry.place, entry.name.on_disk())).collect()
    };
    assert_eq!(shown(&scan.entries), ["cur/1.a:2,S", "cur/2.b:2,F", "cur/3.c:2,"]);
    assert_eq!(shown(&scan.doubles), ["new/1.a", "cur/2.b:2,S"]);
}

#[test]
fn f01_a_missing_directory_is_an_error_and_no_empty_listing() {
    for missing in ["cur", "new", "tmp"] {
        let fixture = Fixture::new();
        fixture.put("cur/1.a:2,S", "x");
        fs::rename(fixture.maildir.path().join(missing), fixture.directory.path().join("away")).unwrap();
        let error = Maildir::open(fixture.maildir.path()).unwrap_err();
        assert!(matches!(error, MaildirError::NotAMaildir { missing: which, .. } if which == missing), "{error}");
        if missing != "tmp" {
            let error = fixture.maildir.scan().unwrap_err();
            assert!(matches!(error, MaildirError::NotAMaildir { missing: which, .. } if which == missing), "{error}");
        }
    }
    let fixture = Fixture::new();
    fixture.put("cur/1.a:2,S", "x");
    let (place, name) = crate::at("cur/1.a:2,S");
    let facts = fixture.maildir.inspect(place, &name).unwrap().unwrap();
    fs::rename(fixture.maildir.path(), fixture.directory.path().join("away")).unwrap();
    let error = fixture.maildir.scan().unwrap_err();
    assert!(matches!(error, MaildirError::NotAMaildir { missing: ".", .. }), "{error}");
    assert!(fixture.maildir.inspect(place, &name).is_err(), "an absence without its directory proves nothing");
    assert!(fixture.maildir.remove(place, &name, &facts).is_err());
}

#[test]
fn a_listing_that_claims_to_be_still_misses_nothing_while_files_are_renamed() {
    let fixture = Fixture::new();
    let count = 500;
    for number in 0..count {
        fixture.put(&format!("new/{number}.x"), "x");
    }
    let stop = AtomicBool::new(false);
    let root = fixture.maildir.path();
    std::thread::scope(|scope| {
        let renamer = scope.spawn(|| {
            for letters in [":2,", ":2,S", ":2,FS", ":2,F"].iter().cycle() {
                for entry in ["new", "cur"].into_iter().flat_map(|place| fs::read_dir(root.join(place)).unwrap()) {
                    let path = entry.unwrap().path();
                    let name = path.file_name().unwrap().to_str().unwrap();
                    let base = name.split(':').next().unwrap();
                    fs::rename(&path, root.join("cur").join(format!("{base}{letters}"))).unwrap();
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
        let mut moving = 0;
        // On a busy machine the renames may not have begun by the tenth listing.
        let deadline = Instant::now() + Duration::from_secs(20);
        for listing in 0.. {
            if listing >= 10 && (moving > 0 || Instant::now() > deadline) {
                break;
            }
            let scan = fixture.maildir.scan().unwrap();
            if scan.still {
                assert_eq!(scan.entries.len(), count, "a still listing misses a message");
            } else {
                moving += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
        renamer.join().unwrap();
        assert!(moving > 0, "the renames were never noticed");
    });
    let scan = fixture.maildir.scan().unwrap();
    assert!(scan.still, "nobody changes it any more");
    assert_eq!((scan.entries.len(), names(&fixture.maildir).len()), (count, count));
}
