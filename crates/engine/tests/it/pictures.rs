//! Small scenes, each a sentence; those with a number are stories that once cost somebody mail.

use std::collections::BTreeSet;

use cms_engine::{
    Absence, Busy, CloudBytes, HashSet, MailboxId, MaildirId, Op, Reason, RemoteId, Row, RowId, Scope, Side, Sides,
    SyncedTree, Touched, UnixSeconds, Word,
};

use crate::world::{Content, File, Message, World, flags, hash, key};

/// Builds a world of two mailboxes and Maildirs from lines of `name base local cloud`: flags each, `-` for none of them,
/// `.` for absent. Message n has content n, id `name`, file `name`, and lives in mailbox 0.
fn scene(lines: &str) -> World {
    let mut world = World::new(2);
    for (number, line) in lines.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, base, local, cloud] = words[..] else { panic!("four words: {line}") };
        let content = 1 + number as Content;
        if base != "." {
            link(&mut world, name, content, base);
        }
        if local != "." {
            let inode = 100 + number as u64;
            world.disk.insert(key(0, name), File { flags: flags(local), content, inode });
        }
        if cloud != "." {
            world.cloud.insert(RemoteId::new(name), message(content, cloud));
        }
    }
    world
}

fn link(world: &mut World, name: &str, content: Content, letters: &str) {
    world.synced.insert(Row {
        remote: RemoteId::new(name),
        mailbox: MailboxId(0),
        file: key(0, name),
        flags: Sides { local: flags(letters), cloud: flags(letters) },
        hash: hash(content),
        cloud_bytes: CloudBytes::Same,
        inode: 99 + u64::from(content),
        received: UnixSeconds(content.into()),
        revision: None,
    });
}

fn message(content: Content, letters: &str) -> Message {
    Message {
        mailbox: MailboxId(0),
        flags: flags(letters),
        content,
        received: content.into(),
        known: true,
        blocked: false,
        revision: 0,
        listed: false,
    }
}

/// What both sides hold: `name flags` of each file, then of each message.
fn held(world: &World) -> String {
    let files = world.disk.iter().map(|(key, file)| format!("{}/{} {:?}", key.maildir.0, key.base_name, file.flags));
    let messages = world.cloud.iter().map(|(id, message)| format!("{}:{id} {:?}", message.mailbox.0, message.flags));
    files.chain(messages).collect::<Vec<_>>().join(", ")
}

/// Runs the world to rest and compares what both sides hold then.
fn check(mut world: World, expected: &str) {
    world.run();
    assert_eq!(held(&world), expected);
}

#[test]
fn a_message_read_on_the_phone_is_marked_read_here() {
    check(scene("a - - S"), "0/a S, 0:a S");
}

#[test]
fn flags_set_on_both_sides_are_all_kept() {
    check(scene("a - S F"), "0/a FS, 0:a FS");
}

#[test]
fn a_flag_change_here_survives_a_change_there_in_the_same_moment() {
    check(scene("a FS F S"), "0/a -, 0:a -");
}

#[test]
fn f01_an_empty_maildir_is_not_a_wish_to_delete() {
    check(scene("a - . - \n b S . S"), "0/a -, 0/b S, 0:a -, 0:b S");
}

#[test]
fn f01_an_unreadable_maildir_changes_nothing() {
    let mut world = scene("a - . - \n b S . .");
    world.readable.remove(&MaildirId(0));
    check(world, "0:a -");
}

#[test]
fn f02_a_lost_state_deletes_nothing_on_either_side() {
    for first in [Side::Cloud, Side::Local] {
        let mut world = scene("a . ST S \n b . S . \n c . . F");
        world.first_meeting = first;
        world.run();
        let (messages, files) = (world.cloud.len(), world.disk.len());
        assert_eq!((messages, files), (2, 3), "{first:?}: {}", held(&world));
        assert!(world.disk.values().all(|file| !file.flags.contains(flags("T"))));
    }
}

#[test]
fn f03_half_a_listing_is_not_a_deletion() {
    let mut world = scene("a - - .");
    world.complete.remove(&MailboxId(0));
    check(world, "0/a -");
}

#[test]
fn f03_a_listing_that_lost_everything_is_held_for_a_word() {
    let lines: Vec<String> = (0..50).map(|number| format!("m{number} S S .")).collect();
    let mut world = scene(&lines.join("\n"));
    world.max_deletions = None;
    let plan = world.plan(&Scope::All, &Busy::default());
    assert!(plan.ops.is_empty());
    assert_eq!((plan.held[0].on, plan.held[0].of, plan.held[0].ops.len()), (Side::Local, 50, 50));
}

#[test]
fn a_few_deletions_are_not_held() {
    let lines: Vec<String> = (0..20).map(|number| format!("m{number} S ST S")).collect();
    let mut world = scene(&lines.join("\n"));
    world.max_deletions = None;
    check(world, "");
}

/// Fifty messages of which the first so many were trashed here.
fn trashed(count: usize) -> World {
    trashed_of(50, count)
}

fn trashed_of(all: usize, count: usize) -> World {
    let lines: Vec<String> =
        (0..all).map(|number| format!("m{number} S {} S", if number < count { "ST" } else { "S" })).collect();
    let mut world = scene(&lines.join("\n"));
    world.max_deletions = None;
    world
}

#[test]
fn f04_without_a_limit_of_the_users_more_than_twenty_and_a_quarter_is_held() {
    for (all, most) in [(10, 10), (79, 20), (80, 20), (84, 21), (200, 50)] {
        let plan = trashed_of(all, most).plan(&Scope::All, &Busy::default());
        assert_eq!((plan.ops.len(), plan.held.len()), (most, 0), "{most} of {all}");
        if most < all {
            let plan = trashed_of(all, most + 1).plan(&Scope::All, &Busy::default());
            assert_eq!((plan.ops.len(), plan.held[0].ops.len()), (0, most + 1), "one more of {all}");
        }
    }
}

fn row(world: &World, name: &str) -> RowId {
    world.synced.by_remote(&RemoteId::new(name)).unwrap()
}

#[test]
fn f04_deletions_a_few_at_a_time_add_up() {
    let mut world = trashed(3);
    let earlier: BTreeSet<RowId> = (30..48).map(|number| row(&world, &format!("m{number}"))).collect();
    for id in 30..48 {
        let id = RemoteId::new(format!("m{id}"));
        world.cloud.remove(&id);
        let row = world.synced.by_remote(&id).unwrap();
        world.disk.remove(&world.synced.remove(row).unwrap().file);
    }
    world.deleted_lately.insert((Side::Cloud, MailboxId(0)), earlier.clone());
    let plan = world.plan(&Scope::All, &Busy::default());
    assert!(plan.ops.is_empty(), "{:?}", plan.ops);
    assert_eq!((plan.held[0].of, plan.held[0].before, plan.held[0].ops.len()), (50, 18, 3), "compared with what was");
    // The other side's losses, and another mailbox's, are counted apart.
    world.deleted_lately.clear();
    world.deleted_lately.insert((Side::Local, MailboxId(0)), earlier.clone());
    world.deleted_lately.insert((Side::Cloud, MailboxId(1)), earlier);
    assert!(world.plan(&Scope::All, &Busy::default()).held.is_empty());
}

#[test]
fn f04_a_deletion_that_was_begun_is_gone_on_with_and_counted_once() {
    let mut world = trashed(20);
    let all = (0..20).map(|number| row(&world, &format!("m{number}"))).collect();
    world.deleted_lately.insert((Side::Cloud, MailboxId(0)), all);
    let plan = world.plan(&Scope::All, &Busy::default());
    assert_eq!((plan.ops.len(), plan.held.len()), (20, 0));
}

#[test]
fn f04_the_users_word_holds_for_the_messages_that_it_was_said_of() {
    let mut world = trashed(40);
    for number in 0..30 {
        let row = row(&world, &format!("m{number}"));
        world.words.insert(row, Word::Delete);
    }
    let plan = world.plan(&Scope::All, &Busy::default());
    assert_eq!((plan.ops.len(), plan.held.len()), (40, 0), "ten more are few");
    world.disk.values_mut().for_each(|file| file.flags = flags("ST"));
    world.max_deletions = Some(19);
    let plan = world.plan(&Scope::All, &Busy::default());
    assert_eq!((plan.ops.len(), plan.held[0].ops.len()), (30, 20), "but twenty more aren't");
}

#[test]
fn f04_what_was_not_meant_comes_back() {
    let mut world = scene("a S ST S\nb S . S\nc S S .");
    world.vanished.insert(key(0, "b"), Absence::Observed);
    for name in ["a", "b", "c"] {
        let row = row(&world, name);
        world.words.insert(row, Word::Keep);
    }
    check(world, "0/a S, 0/b S, 0/c S, 0:a S, 0:b S");
}

#[test]
fn f04_a_deletion_that_was_meant_is_done_after_a_restart_too() {
    // Nobody remembers that the file was seen to go.
    let mut world = scene("a S . S");
    let row = row(&world, "a");
    world.words.insert(row, Word::Delete);
    check(world, "");
}

#[test]
fn f35_what_went_with_a_folder_is_held_however_few_it_is() {
    let mut world = scene("old S S .\nnew S S .");
    world.max_deletions = None;
    let old = row(&world, "old");
    world.of_removed_folder.insert(old);
    let plan = world.plan(&Scope::All, &Busy::default());
    assert_eq!((plan.ops.len(), plan.held[0].ops.len(), plan.held[0].reason), (1, 1, Reason::FolderRemoved));
    world.words.insert(old, Word::Delete);
    assert_eq!(world.plan(&Scope::All, &Busy::default()).ops.len(), 2);
}

#[test]
fn f06_an_indexers_rename_is_not_a_delete() {
    let mut world = scene("a - - -");
    let file = world.disk.remove(&key(0, "a")).unwrap();
    world.disk.insert(key(0, "indexed"), file);
    world.vanished.insert(key(0, "a"), Absence::Observed);
    check(world, "0/indexed -, 0:a -");
}

#[test]
fn f07_a_move_between_maildirs_is_one_move_in_the_cloud() {
    let mut world = scene("a S S S");
    let file = world.disk.remove(&key(0, "a")).unwrap();
    world.disk.insert(key(1, "a"), file);
    world.vanished.insert(key(0, "a"), Absence::Settling);
    let plan = world.plan(&Scope::All, &Busy::default());
    assert!(matches!(plan.ops[..], [Op::MoveInCloud { to: MailboxId(1), deletes: false, .. }]), "{:?}", plan.ops);
    check(world, "1/a S, 1:a S");
}

#[test]
fn f07_a_move_back_in_the_cloud_while_it_is_told_of_a_flag_is_a_move() {
    let mut world = scene("a FS S FS");
    let file = world.disk.remove(&key(0, "a")).unwrap();
    world.disk.insert(key(1, "a"), file);
    let put_into = |world: &mut World, mailbox| {
        world.cloud.get_mut(&RemoteId::new("a")).unwrap().mailbox = MailboxId(mailbox);
    };
    put_into(&mut world, 1);
    let [op @ Op::SetCloudFlags { .. }] = &world.plan(&Scope::All, &Busy::default()).ops[..] else { panic!() };
    world.carry_out(op);
    put_into(&mut world, 0);
    check(world, "0/a S, 0:a S");
}

#[test]
fn f07_where_both_sides_moved_a_message_the_clouds_way_back_holds_while_it_is_told_of_a_flag() {
    for back in [0, 1, 2] {
        let World { cloud, disk, synced, .. } = scene("a FS S FS");
        let mut world = World { cloud, disk, synced, ..World::new(3) };
        let file = world.disk.remove(&key(0, "a")).unwrap();
        world.disk.insert(key(1, "a"), file);
        let put_into = |world: &mut World, mailbox| {
            world.cloud.get_mut(&RemoteId::new("a")).unwrap().mailbox = MailboxId(mailbox);
        };
        put_into(&mut world, 2);
        let [op @ Op::SetCloudFlags { .. }] = &world.plan(&Scope::All, &Busy::default()).ops[..] else { panic!() };
        world.carry_out(op);
        put_into(&mut world, back);
        check(world, &format!("{back}/a S, {back}:a S"));
    }
}

#[test]
fn f07_a_copy_followed_by_the_trash_flag_is_a_move() {
    let mut world = scene("a S ST S");
    world.disk.insert(key(1, "copy"), File { flags: flags("S"), content: 1, inode: 7 });
    check(world, "1/copy S, 1:a S");
}

#[test]
fn f07_a_file_that_just_went_waits_for_its_second_half() {
    let mut world = scene("a S . S");
    world.vanished.insert(key(0, "a"), Absence::Settling);
    check(world, "0:a S");
}

#[test]
fn f08_the_clouds_own_answer_is_taken_and_not_fought() {
    let mut world = scene("a - FS -");
    world.manners.own_mind_on_flags = true;
    check(world, "0/a FS, 0:a F");
}

#[test]
fn f08_a_refused_flag_stays_where_it_was_set() {
    let mut world = scene("a - F S");
    world.manners.refuses_flags = true;
    check(world, "0/a FS, 0:a S");
}

#[test]
fn f09_the_first_meeting_marks_nothing_unread_in_the_cloud() {
    check(scene("a . - S"), "0/a S, 0:a S");
}

#[test]
fn f14_other_bytes_under_a_known_id_are_no_new_message() {
    let mut world = scene("a S S S");
    world.cloud.get_mut(&RemoteId::new("a")).unwrap().content = 77;
    check(world, "0/a S, 0:a S");
}

#[test]
fn a_draft_edited_on_both_sides_is_kept_twice() {
    let mut world = scene("a D D D");
    let draft = world.cloud.get_mut(&RemoteId::new("a")).unwrap();
    (draft.content, draft.known, draft.revision) = (2, false, 1);
    world.disk.get_mut(&key(0, "a")).unwrap().content = 3;
    world.run();
    let contents: Vec<Content> = world.disk.values().map(|file| file.content).collect();
    assert_eq!(contents, [2, 3]);
}

#[test]
fn a_draft_that_was_edited_in_the_cloud_tells_it_the_flags_set_here_too() {
    let mut world = scene("a D DF D");
    let draft = world.cloud.get_mut(&RemoteId::new("a")).unwrap();
    (draft.content, draft.known, draft.revision) = (2, false, 1);
    world.run();
    assert_eq!(world.cloud[&RemoteId::new("a")].flags, flags("DF"));
}

#[test]
fn flags_set_on_a_drafts_new_version_whose_delivery_nobody_remembers_are_told() {
    let mut world = scene("a D D DS");
    let draft = world.cloud.get_mut(&RemoteId::new("a")).unwrap();
    (draft.content, draft.revision) = (2, 1);
    let plan = world.plan(&Scope::All, &Busy::default());
    let [op @ Op::Replace { base, .. }] = &plan.ops[..] else { panic!("{:?}", plan.ops) };
    world.effect(op);
    world.disk.get_mut(&base.file).unwrap().flags = flags("DFS");
    world.run();
    assert_eq!(world.cloud[&RemoteId::new("a")].flags, flags("DFS"));
    assert_eq!(world.disk[&base.file].flags, flags("DFS"));
}

#[test]
fn f27_a_message_under_a_new_id_waits_for_the_answer_about_the_old_one() {
    let mut world = scene("a S S S");
    world.cloud.insert(RemoteId::new("new"), message(1, "S"));
    let mut asked = Busy::default();
    asked.ids.insert(RemoteId::new("a"));
    let plan = world.plan(&Scope::All, &asked);
    assert!(plan.ops.is_empty(), "{:?}", plan.ops);
    world.cloud.remove(&RemoteId::new("a"));
    check(world, "0/a S, 0:new S");
}

#[test]
fn a_drafts_new_version_goes_beside_an_edit_that_has_its_name() {
    let mut world = scene("a D D D");
    let draft = world.cloud.get_mut(&RemoteId::new("a")).unwrap();
    (draft.content, draft.revision) = (2, 1);
    let plan = world.plan(&Scope::All, &Busy::default());
    let [Op::Replace { base, .. }] = &plan.ops[..] else { panic!("{:?}", plan.ops) };
    let edited = File { flags: flags("D"), content: 3, inode: world.number() };
    world.disk.insert(base.file.clone(), edited);
    world.run();
    let contents: Vec<Content> = world.disk.values().map(|file| file.content).collect();
    assert_eq!(contents, [3, 2]);
}

#[test]
fn f27_ids_that_all_change_move_nothing_here() {
    let mut world = scene("a S S . \n b F F .");
    for content in [1, 2] {
        let mut renewed = message(content, if content == 1 { "S" } else { "F" });
        renewed.known = false;
        world.cloud.insert(RemoteId::new(format!("new-{content}")), renewed);
    }
    check(world, "0/a S, 0/b F, 0:new-1 S, 0:new-2 F");
}

#[test]
fn f27_ids_that_change_while_another_mailbox_cannot_be_listed_move_nothing_here() {
    let mut world = scene("a S S .");
    world.complete.remove(&MailboxId(1));
    world.cloud.insert(RemoteId::new("new"), Message { known: false, ..message(1, "S") });
    check(world, "0/a S, 0:new S");
}

#[test]
fn f27_a_message_that_is_being_downloaded_may_be_the_one_that_went() {
    for (known, blocked) in [(false, false), (true, false), (false, true)] {
        let mut world = scene("a S S .");
        let id = RemoteId::new("new");
        world.cloud.insert(id.clone(), Message { known, blocked, ..message(1, "S") });
        let ids = if blocked { HashSet::default() } else { std::iter::once(id).collect() };
        let busy = Busy { ids, ..Busy::default() };
        assert!(world.plan(&Scope::All, &busy).ops.is_empty());
        if !blocked {
            let rows = world.synced.iter().map(|(row, _)| row).collect();
            let touched = Touched { rows, ..Touched::default() };
            assert!(world.plan(&Scope::Only(&touched), &busy).ops.is_empty());
        }
    }
}

#[test]
fn f28_deleting_one_of_two_twins_leaves_the_other() {
    let mut world = scene("a S ST S \n b S S S");
    for file in world.disk.values_mut() {
        file.content = 1;
    }
    world.cloud.get_mut(&RemoteId::new("b")).unwrap().content = 1;
    let mut twin = world.synced.get(world.synced.by_file(&key(0, "b")).unwrap()).unwrap().clone();
    twin.hash = hash(1);
    world.synced.insert(twin);
    check(world, "0/b S, 0:b S");
}

#[test]
fn f28_a_copy_that_is_promised_to_a_row_is_not_that_of_a_twin_that_goes() {
    let mut world = scene("a S - S");
    world.cloud.insert(RemoteId::new("twin"), message(1, "S"));
    let mut twin = world.synced.iter().next().map(|(_, row)| row.clone()).unwrap();
    (twin.remote, twin.file) = (RemoteId::new("twin"), key(0, "twin"));
    world.synced.insert(twin);
    world.disk.insert(key(0, "copy"), File { flags: flags("S"), content: 1, inode: 9 });
    let ids = std::iter::once(RemoteId::new("a")).collect();
    let busy = Busy { ids, promised: std::iter::once(key(0, "copy")).collect(), ..Busy::default() };
    let plan = world.plan(&Scope::All, &busy);
    let told: Vec<String> = plan.ops.iter().map(ToString::to_string).collect();
    assert!(matches!(&plan.ops[..], [Op::Deliver { row: Some(_), base }] if base.file == key(0, "twin")), "{told:?}");
}

/// Two twins, of which the first one's message is being worked on and its file went to Maildir 1, under that name and with
/// that inode, when the second one was trashed; what is planned.
fn a_twin_trashed_while_the_other_moves(name: &str, inode: u64) -> Vec<Op> {
    let mut world = scene("a S . S");
    world.cloud.insert(RemoteId::new("twin"), message(1, "S"));
    let mut twin = world.synced.iter().next().map(|(_, row)| row.clone()).unwrap();
    (twin.remote, twin.file, twin.inode) = (RemoteId::new("twin"), key(0, "twin"), 200);
    world.synced.insert(twin);
    world.disk.insert(key(0, "twin"), File { flags: flags("ST"), content: 1, inode: 200 });
    world.disk.insert(key(1, name), File { flags: flags("S"), content: 1, inode });
    let busy = Busy { ids: std::iter::once(RemoteId::new("a")).collect(), ..Busy::default() };
    world.plan(&Scope::All, &busy).ops
}

#[test]
fn f28_a_file_that_was_moved_while_its_message_is_worked_on_is_no_copy_of_a_twin_that_is_trashed() {
    for (name, inode) in [("a", 100), ("a", 9), ("b", 100)] {
        let ops = a_twin_trashed_while_the_other_moves(name, inode);
        assert!(matches!(&ops[..], [Op::DeleteInCloud { id, .. }] if id.as_str() == "twin"), "{name}: {ops:?}");
    }
}

#[test]
fn f28_which_of_two_twins_was_filed_elsewhere_is_told_once_both_can_be_looked_at() {
    let ops = a_twin_trashed_while_the_other_moves("b", 9);
    assert!(ops.is_empty(), "{ops:?}");
}

#[test]
fn f28_a_deletion_does_not_pass_to_a_twin_that_arrives() {
    let mut world = scene("a S ST S");
    world.cloud.insert(RemoteId::new("twin"), message(1, "-"));
    world.run();
    assert_eq!(world.cloud.keys().map(RemoteId::as_str).collect::<Vec<_>>(), ["twin"]);
    assert_eq!(world.disk.len(), 1);
}

#[test]
fn f34_rows_of_a_mailbox_that_left_the_configuration_are_left_alone() {
    let mut world = scene("a S ST .");
    world.mailboxes = vec![MailboxId(1)];
    check(world, "0/a ST");
}

#[test]
fn two_messages_moved_onto_one_name_both_arrive() {
    let mut world = scene("a S . S");
    world.cloud.get_mut(&RemoteId::new("a")).unwrap().mailbox = MailboxId(1);
    world.synced.insert(Row {
        remote: RemoteId::new("b"),
        mailbox: MailboxId(1),
        file: key(1, "a"),
        flags: Sides::default(),
        hash: hash(2),
        cloud_bytes: CloudBytes::Same,
        inode: 0,
        received: UnixSeconds(9),
        revision: None,
    });
    world.cloud.insert(RemoteId::new("b"), Message { mailbox: MailboxId(1), ..message(2, "-") });
    check(world, "1/a -, 1/a.1 S, 1:a S, 1:b -");
}

#[test]
fn the_same_trees_give_the_same_plan() {
    let lines: Vec<String> =
        (0..200).map(|number| format!("m{number} S {} F", ["S", "ST", ".", "-"][number % 4])).collect();
    let mut world = scene(&lines.join("\n"));
    world.max_deletions = Some(3);
    for id in 0..60 {
        world.cloud.remove(&RemoteId::new(format!("m{id}")));
    }
    let first = format!("{:?}", world.plan(&Scope::All, &Busy::default()));
    for _ in 0..20 {
        // Every map is made anew, and so is in another order.
        let mut synced = SyncedTree::default();
        world.synced.iter().for_each(|(id, row)| synced.put(id, row.clone()));
        world.synced = synced;
        assert_eq!(format!("{:?}", world.plan(&Scope::All, &Busy::default())), first);
    }
}

#[test]
fn online_discards_flags_set_while_stopped() {
    let mut world = scene("a S FST S");
    let local = world.local_tree();
    world.synced.discard_local_changes(&local, |_| None);
    check(world, "0/a S, 0:a S");
}

#[test]
fn f28_the_users_word_on_a_deletion_does_not_pass_to_a_twin_that_arrives() {
    let mut world = scene("a S . .");
    world.cloud.insert(RemoteId::new("twin"), message(1, "S"));
    let row = world.synced.by_remote(&RemoteId::new("a")).unwrap();
    world.words.insert(row, Word::Delete);
    world.run();
    assert_eq!(world.cloud.len(), 1, "{}", held(&world));
    assert_eq!(world.disk.len(), 1, "the twin is delivered: {}", held(&world));
}

#[test]
fn a_deletion_that_is_taken_back_keeps_one_file_though_the_id_changed() {
    let mut world = scene("a S ST .");
    world.cloud.insert(RemoteId::new("new"), message(1, "S"));
    let row = world.synced.by_remote(&RemoteId::new("a")).unwrap();
    world.words.insert(row, Word::Keep);
    check(world, "0/a S, 0:new S");
}
