//! What only a file system of one's own can show.

use std::fs;

use cms_store::{Change, Database, Store, StoreError};
use tempfile::TempDir;

use crate::{cloud_record, id, inside, run_inside};

#[test]
fn a_full_disk_is_told_and_what_was_stored_stays() {
    let Some(disk) = inside() else {
        let directory = TempDir::new().unwrap();
        let name = "limits::a_full_disk_is_told_and_what_was_stored_stays";
        run_inside(name, directory.path(), "mount -t tmpfs -o size=512k none \"$1\"");
        return;
    };
    let store = Store::open(disk.join("state")).unwrap();
    let mut database = Database::open(store.state_dir()).unwrap();
    let mailbox = database.mailbox_id("user", "inbox").unwrap();
    let mut incoming = store.incoming(&id("small")).unwrap();
    incoming.write(b"Subject: small\n\n").unwrap();
    let small = incoming.finish().unwrap();

    let mut incoming = store.incoming(&id("large")).unwrap();
    let mut error = None;
    for _ in 0..1024 {
        if let Err(full) = incoming.write(&[b'x'; 1024]) {
            error = Some(full);
            break;
        }
    }
    let error = error.expect("a megabyte fitted into half of one");
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");

    // The download still has its bytes, so the database finds no room either.
    let many: Vec<Change> = (0..4000).map(|number| Change::PutCloud(cloud_record(number, mailbox))).collect();
    let error = database.apply(&many).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");

    // Given up, it makes room, and all goes on.
    drop(incoming);
    database.apply(&many[..10]).unwrap();
    let mut rows = 0;
    database.load_cloud(|_| rows += 1).unwrap();
    assert_eq!(rows, 10);
    assert!(store.contains(&small.hash));
    assert_eq!(fs::read_dir(disk.join("state/incoming")).unwrap().count(), 1, "the small one's mark");
}
