//! The decision table of the planner's documentation, written once more as data, and compared with what is done.

use cms_engine::{Absence, Busy, FileKey, MailboxId, MaildirId, Op, RemoteId, Row, Scope, Sides, UnixSeconds};

use crate::world::{File, Message, World, flags, hash, key};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Here {
    Unchanged,
    Flags,
    Moved,
    CopiedAndTrashed,
    Renamed,
    Trashed,
    SeenToGo,
    Vanished,
    Edited,
    Going,
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Unchanged,
    Flags,
    Moved,
    Edited,
    Gone,
    Incomplete,
}

const COLUMNS: [There; 6] =
    [There::Unchanged, There::Flags, There::Moved, There::Edited, There::Gone, There::Incomplete];

/// The first step for a message with a row. "move+wait" is not here: every cell is one step, or `-` for none.
const TABLE: [(Here, [&str; 6]); 11] = [
    //                        unchanged      flags          moved      edited          gone      incomplete
    (Here::Unchanged, ["-", "rename", "move file", "replace", "remove", "-"]),
    (Here::Flags, ["tell", "tell", "tell", "tell", "remove", "-"]),
    (Here::Moved, ["move there", "move there", "move file", "move there", "remove", "-"]),
    (Here::CopiedAndTrashed, ["drop", "drop", "drop", "drop", "drop", "-"]),
    (Here::Renamed, ["record", "rename", "move file", "replace", "remove", "-"]),
    (Here::Trashed, ["delete", "delete", "move file", "replace", "remove", "-"]),
    (Here::SeenToGo, ["delete", "delete", "deliver", "deliver", "forget", "-"]),
    (Here::Vanished, ["deliver", "deliver", "deliver", "deliver", "forget", "-"]),
    (Here::Edited, ["-", "rename", "move file", "deliver", "forget", "-"]),
    (Here::Going, ["-", "-", "-", "-", "-", "-"]),
    (Here::Unreadable, ["-", "-", "-", "-", "-", "-"]),
];

fn kind(op: &Op) -> &'static str {
    match op {
        Op::Fetch { .. } => "fetch",
        Op::Deliver { .. } => "deliver",
        Op::Replace { .. } => "replace",
        Op::Rename { from, base, .. } if from.maildir != base.file.maildir => "move file",
        Op::Rename { .. } => "rename",
        Op::Remove { row: Some(_), .. } => "remove",
        Op::Remove { row: None, .. } => "drop",
        Op::SetCloudFlags { .. } => "tell",
        Op::MoveInCloud { deletes: false, .. } => "move there",
        Op::MoveInCloud { deletes: true, .. } | Op::DeleteInCloud { .. } => "delete",
        Op::Record { .. } => "record",
        Op::Forget { .. } => "forget",
    }
}

/// One draft in mailbox 0 of three, of which mailbox n leads to Maildir n.
fn world(here: Here, there: There, row: bool) -> World {
    let mut world = World::new(3);
    let file = key(0, "name");
    let id = RemoteId::new("id");
    if row {
        world.synced.insert(Row {
            remote: id.clone(),
            mailbox: MailboxId(0),
            file: file.clone(),
            flags: Sides { local: flags("D"), cloud: flags("D") },
            hash: hash(1),
            inode: 5,
            received: UnixSeconds(1),
            revision: Some("0".into()),
        });
    }
    let mut message = Message {
        mailbox: MailboxId(0),
        flags: flags("D"),
        content: 1,
        received: 1,
        known: true,
        blocked: false,
        revision: 0,
        listed: true,
    };
    match there {
        There::Flags => message.flags = flags("DF"),
        There::Moved => message.mailbox = MailboxId(1),
        There::Edited => (message.content, message.revision) = (2, 1),
        There::Unchanged | There::Gone | There::Incomplete => {}
    }
    if there == There::Incomplete {
        world.complete.remove(&MailboxId(0));
    } else if there != There::Gone {
        world.cloud.insert(id, message);
    }
    let mut on_disk = File { flags: flags("D"), content: 1, inode: 5 };
    let place = match here {
        Here::Moved => key(2, "name"),
        Here::Renamed => key(0, "other"),
        _ => file.clone(),
    };
    match here {
        Here::Flags => on_disk.flags = flags("DS"),
        Here::Trashed => on_disk.flags = flags("DT"),
        Here::CopiedAndTrashed => {
            world.disk.insert(key(2, "copy"), File { inode: 6, ..on_disk.clone() });
            on_disk.flags = flags("DT");
        }
        Here::Edited => on_disk.content = 9,
        Here::SeenToGo => drop(world.vanished.insert(file, Absence::Observed)),
        Here::Going => drop(world.vanished.insert(file, Absence::Settling)),
        Here::Unreadable => drop(world.readable.remove(&MaildirId(0))),
        Here::Unchanged | Here::Moved | Here::Renamed | Here::Vanished => {}
    }
    if !matches!(here, Here::SeenToGo | Here::Going | Here::Vanished) {
        world.disk.insert(place, on_disk);
    }
    world
}

fn first_step(world: &World) -> String {
    let plan = world.plan(&Scope::All, &Busy::default());
    if plan.ops.is_empty() { "-".to_owned() } else { plan.ops.iter().map(kind).collect::<Vec<_>>().join(", ") }
}

#[test]
fn every_cell_of_the_table_is_what_is_done() {
    let mut wrong = Vec::new();
    for (here, cells) in TABLE {
        for (there, expected) in COLUMNS.into_iter().zip(cells) {
            let found = first_step(&world(here, there, true));
            if found != expected {
                wrong.push(format!("{here:?} × {there:?}: {found}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_cell_comes_to_rest() {
    for (here, _) in TABLE {
        for there in COLUMNS {
            for row in [true, false] {
                let mut world = world(here, there, row);
                world.run();
            }
        }
    }
}

#[test]
fn without_a_row_nothing_is_ever_deleted() {
    for (here, _) in TABLE {
        for there in COLUMNS {
            let mut world = world(here, there, false);
            let (messages, files) = (world.cloud.len(), world.disk.clone());
            let first = first_step(&world);
            let hidden = here == Here::Unreadable;
            let expected = match (here, there) {
                (_, There::Gone | There::Incomplete) => "-",
                _ if hidden && there != There::Moved => "-",
                (
                    Here::Unchanged | Here::Flags | Here::Renamed | Here::Trashed | Here::CopiedAndTrashed,
                    There::Unchanged | There::Flags,
                ) => "record",
                _ => "deliver",
            };
            assert_eq!(first, expected, "{here:?} × {there:?} without a row");
            world.run();
            assert_eq!(world.cloud.len(), messages, "{here:?} × {there:?}");
            let stays = |(file, was): (&FileKey, &File)| {
                world.disk.get(file).is_some_and(|is| is.content == was.content && is.inode == was.inode)
            };
            assert!(files.iter().all(stays), "{here:?} × {there:?}");
        }
    }
}
