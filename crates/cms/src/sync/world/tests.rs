use super::*;
use cms_engine::{BaseName, CloudBytes, CloudMessage, MailboxId};
use cms_store::Heard;

fn row_of(remote: RemoteId, number: i64) -> Row {
    Row {
        remote,
        mailbox: MailboxId(1),
        file: FileKey::new(MaildirId(1), BaseName::new(format!("file {number}"))),
        flags: cms_engine::Sides { local: Flags::NONE, cloud: Flags::NONE },
        hash: ContentHash::of(b""),
        cloud_bytes: CloudBytes::Same,
        inode: 0,
        received: UnixSeconds(number),
        revision: None,
    }
}

#[test]
fn f17_what_is_missing_here_is_counted_in_the_trees() {
    let mut world = World::default();
    let mailbox = MailboxId(1);
    world.cloud.complete.insert(mailbox);
    let message = CloudMessage {
        mailbox,
        flags: Flags::NONE,
        received: UnixSeconds(0),
        hash: None,
        revision: None,
        blocked: false,
    };
    for id in ["answered", "unanswered", "elsewhere"] {
        let mailbox = if id == "elsewhere" { MailboxId(2) } else { mailbox };
        world.put_cloud(RemoteId::new(id), CloudMessage { mailbox, ..message.clone() });
    }
    assert_eq!(world.missing_here(), 2, "a mailbox that isn't synced has nothing that could be missing");
    // Both are asked for, and one is never answered: no error tells of it.
    for id in ["answered", "unanswered"] {
        world.begin(&RemoteId::new(id));
    }
    world.end(&RemoteId::new("answered"));
    assert_eq!(world.missing_here(), 2);
    world.block(&RemoteId::new("answered"), "why".to_owned(), |_| UnixSeconds(1));
    assert_eq!(world.missing_here(), 1, "what can't be had is told by itself");
}

/// What the collections hold that grow with what happens, by their names.
fn noted(world: &World) -> Vec<(&'static str, usize)> {
    let noted = ["gone_times", "linked_times", "have_waited", "heard_messages", "heard_files", "wishes", "wishes_for"];
    world.lengths().into_iter().filter(|(what, length)| *length > 0 && noted.contains(what)).collect()
}

#[test]
fn nothing_is_left_of_messages_that_are_no_more() {
    let mut world = World::default();
    for number in 0..100 {
        world.hear(Some((Heard::Watch, UnixSeconds(number))));
        let (id, row) = (RemoteId::new(format!("message {number}")), RowId(number.unsigned_abs()));
        let base = row_of(id.clone(), number);
        let message = CloudMessage {
            mailbox: base.mailbox,
            flags: Flags::NONE,
            received: base.received,
            hash: Some(base.hash),
            revision: None,
            blocked: false,
        };
        let file = base.file.clone();
        world.synced.put(row, base);
        world.put_cloud(id.clone(), message);
        world.hearsay.of_file(&file);
        world.drop_cloud(&id);
        if number > 0 {
            world.synced.remove(row);
        }
    }
    assert_eq!(noted(&world), [("gone_times", 100), ("heard_messages", 100), ("heard_files", 100)]);
    world.tidy();
    let one = [("gone_times", 1), ("heard_messages", 1), ("heard_files", 1)];
    assert_eq!(noted(&world), one, "that of the row which is still there");
}

#[test]
fn f27_a_row_whose_change_under_a_new_id_comes_to_nothing_is_looked_at_again() {
    let mut world = World::default();
    let (old, new) = (RemoteId::new("old"), RemoteId::new("new"));
    let base = row_of(old, 0);
    let row = RowId(1);
    world.synced.put(row, base.clone());
    let base = Row { remote: new.clone(), ..base };
    world.begin_change(&new, &Op::SetCloudFlags { row, add: Flags::SEEN, remove: Flags::NONE, base });
    assert_eq!(world.busy.ids.len(), 2, "meanwhile it is looked for under neither id");
    world.end(&new);
    assert!(world.touches(row) && world.busy.ids.is_empty());
}
