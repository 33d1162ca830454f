//! What a mailbox keeps, and what it doesn't bring.

use cms_engine::{
    BaseName, Busy, CloudBytes, FileKey, MailboxId, MaildirId, Op, RemoteId, Role, Row, Scope, Sides, Takes,
    UnixSeconds,
};

use crate::world::{Content, File, Message, World, flags, hash, key};

/// When every message of these tests was received, and since when messages are brought.
const RECEIVED: i64 = 7;
const SINCE: i64 = 8;

fn message(content: Content, known: bool) -> Message {
    Message {
        mailbox: MailboxId(0),
        flags: flags(""),
        content,
        received: RECEIVED,
        known,
        blocked: false,
        revision: 0,
        listed: true,
    }
}

/// A message that both sides have.
fn both_have(world: &mut World, id: &str, content: Content) {
    let inode = world.number();
    world.disk.insert(key(0, id), File { flags: flags(""), content, inode });
    world.cloud.insert(RemoteId::new(id), message(content, true));
    world.synced.insert(Row {
        remote: RemoteId::new(id),
        mailbox: MailboxId(0),
        file: key(0, id),
        flags: Sides::default(),
        hash: hash(content),
        cloud_bytes: CloudBytes::Same,
        inode,
        received: UnixSeconds(RECEIVED),
        revision: None,
    });
}

fn ops(world: &World) -> Vec<Op> {
    world.plan(&Scope::All, &Busy::default()).ops
}

#[test]
fn f34_what_is_too_old_is_neither_fetched_nor_brought() {
    let mut world = World::new(1);
    world.since = Some(SINCE);
    both_have(&mut world, "here", 1);
    world.cloud.insert(RemoteId::new("old"), message(2, false));
    world.cloud.insert(RemoteId::new("new"), Message { received: SINCE, ..message(3, false) });
    assert!(matches!(ops(&world).as_slice(), [Op::Fetch { id }] if id.as_str() == "new"), "{:?}", ops(&world));
    world.run();
    assert_eq!((world.disk.len(), world.cloud.len()), (2, 3));
    world.since = None;
    world.run();
    assert_eq!(world.disk.len(), 3, "what comes into scope is brought");
}

#[test]
fn f27_a_message_that_is_too_old_is_known_again_under_another_id() {
    let mut world = World::new(1);
    world.since = Some(SINCE);
    both_have(&mut world, "one", 1);
    both_have(&mut world, "two", 2);
    world.cloud.clear();
    for (id, content) in [("another one", 1), ("another two", 2), ("never here", 3)] {
        world.cloud.insert(RemoteId::new(id), message(content, false));
    }
    let before = world.disk.clone();
    world.run();
    assert_eq!(world.disk.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    let links = |id: &str| world.synced.by_remote(&RemoteId::new(id)).is_some();
    assert_eq!((links("another one"), links("another two"), links("never here")), (true, true, false));
}

#[test]
fn f34_where_the_state_was_lost_a_file_is_known_by_the_name_that_its_delivery_gave() {
    let mut world = World::new(1);
    world.since = Some(SINCE);
    let id = RemoteId::new("old");
    let name = BaseName::for_message(UnixSeconds(RECEIVED), &id, "vm");
    world.disk.insert(FileKey::new(MaildirId(0), name), File { flags: flags("S"), content: 1, inode: 5 });
    world.cloud.insert(id.clone(), message(1, false));
    world.cloud.insert(RemoteId::new("never here"), message(2, false));
    world.run();
    assert!(world.synced.by_remote(&id).is_some());
    assert_eq!(world.disk.len(), 1);
    assert!(world.cloud.values().any(|message| !message.known), "the other one is left alone");
}

#[test]
fn f34_what_is_too_old_keeps_no_draft_from_going_up() {
    let mut world = World::new(1);
    world.since = Some(SINCE);
    world.takes.insert(MailboxId(0), Takes { drafts: true, others: false, role: Role::Drafts });
    world.cloud.insert(RemoteId::new("old"), message(1, false));
    world.disk.insert(key(0, "draft"), File { flags: flags("D"), content: 2, inode: 5 });
    assert!(matches!(ops(&world).as_slice(), [Op::Upload { .. }]), "{:?}", ops(&world));
}

#[test]
fn f34_what_is_kept_is_no_stranger_and_is_linked_again_when_it_comes_back() {
    let mut world = World::new(1);
    world.keeps.insert(MailboxId(0));
    // Whatever only the Maildir has would go up.
    world.takes.insert(MailboxId(0), Takes { drafts: true, others: true, role: Role::Other });
    both_have(&mut world, "kept", 1);
    world.cloud.clear();
    assert!(world.plan(&Scope::All, &Busy::default()).local_only.is_empty());
    assert_eq!(ops(&world), []);
    let file = world.disk.get_mut(&key(0, "kept")).unwrap();
    file.flags = flags("F");
    world.run();
    assert_eq!(world.cloud.len(), 0, "nothing goes up");

    world.cloud.insert(RemoteId::new("another"), message(1, false));
    world.run();
    assert!(world.synced.by_remote(&RemoteId::new("another")).is_some());
    assert_eq!((world.disk.len(), world.cloud.len()), (1, 1));
    assert_eq!(world.cloud[&RemoteId::new("another")].flags, flags("F"), "what was changed meanwhile is told");
}

#[test]
fn f34_a_draft_that_is_gone_is_kept_by_nobody() {
    let mut world = World::new(1);
    world.keeps.insert(MailboxId(0));
    both_have(&mut world, "draft", 1);
    let row = world.synced.by_remote(&RemoteId::new("draft")).unwrap();
    let base = Row { flags: Sides { local: flags("D"), cloud: flags("D") }, ..world.synced.get(row).unwrap().clone() };
    world.synced.put(row, base);
    world.disk.get_mut(&key(0, "draft")).unwrap().flags = flags("D");
    world.cloud.clear();
    world.run();
    assert!(world.disk.is_empty());
}

#[test]
fn f27_a_message_that_may_be_a_kept_one_waits_until_all_is_listed() {
    let mut world = World::new(2);
    world.keeps.insert(MailboxId(0));
    both_have(&mut world, "kept", 1);
    world.cloud.clear();
    world.complete.remove(&MailboxId(0));
    world.cloud.insert(RemoteId::new("another"), Message { mailbox: MailboxId(1), ..message(1, true) });
    assert_eq!(ops(&world), []);
    world.complete.insert(MailboxId(0));
    world.run();
    assert!(world.synced.by_remote(&RemoteId::new("another")).is_some());
    assert_eq!(world.disk.len(), 1);
}
