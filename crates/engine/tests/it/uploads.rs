//! What goes to the cloud from the Maildirs, and how it is known again there.

use cms_engine::{
    Absence, Answer, BaseName, Busy, CloudBytes, MailboxId, MaildirId, MessageId, Op, Readiness, RemoteId, Role, Row,
    Scope, Sides, Takes, Touched, UnixSeconds,
};

use crate::world::{Content, File, Message, World, flags, hash, key};

/// Which mailbox each of the two leads to its own Maildir: mailbox 0 is an ordinary one, mailbox 1 has the role.
fn world(role: Role, others: bool) -> World {
    let mut world = World::new(2);
    world.takes.insert(MailboxId(0), Takes { drafts: true, others, role: Role::Other });
    world.takes.insert(MailboxId(1), Takes { drafts: true, others, role });
    world
}

fn put(world: &mut World, maildir: u32, name: &str, content: Content, letters: &str) {
    let inode = world.number();
    world.disk.insert(key(maildir, name), File { flags: flags(letters), content, inode });
}

fn message(mailbox: u32, content: Content, letters: &str) -> Message {
    Message {
        mailbox: MailboxId(mailbox),
        flags: flags(letters),
        content,
        received: 7,
        known: false,
        blocked: false,
        revision: 1,
        listed: true,
    }
}

/// A draft that both sides have.
fn draft(world: &mut World, name: &str, content: Content) {
    put(world, 1, name, content, "DS");
    world.cloud.insert(RemoteId::new(name), Message { known: true, revision: 0, ..message(1, content, "DS") });
    let inode = world.disk[&key(1, name)].inode;
    world.synced.insert(Row {
        remote: RemoteId::new(name),
        mailbox: MailboxId(1),
        file: key(1, name),
        flags: Sides { local: flags("DS"), cloud: flags("DS") },
        hash: hash(content),
        cloud_bytes: CloudBytes::Same,
        inode,
        received: UnixSeconds(7),
        revision: Some("0".into()),
    });
}

fn ops(world: &World) -> Vec<Op> {
    world.plan(&Scope::All, &Busy::default()).ops
}

/// Mailbox, flags and content of each message: what it was made of.
fn there(world: &World) -> Vec<(u32, String, Content)> {
    world.cloud.values().map(|one| (one.mailbox.0, one.flags.to_string(), world.origin(one.content))).collect()
}

/// Maildir, flags and content of each file.
fn here(world: &World) -> Vec<(u32, String, Content)> {
    world.disk.iter().map(|(key, file)| (key.maildir.0, file.flags.to_string(), file.content)).collect()
}

fn text(all: &[(u32, &str, Content)]) -> Vec<(u32, String, Content)> {
    all.iter().map(|(place, letters, content)| (*place, (*letters).to_owned(), *content)).collect()
}

#[test]
fn a_file_in_a_maildir_for_drafts_becomes_a_draft_whatever_its_letters() {
    for rebuilds in [false, true] {
        let mut world = world(Role::Drafts, false);
        world.manners.rebuilds = rebuilds;
        put(&mut world, 1, "postponed", 5, "");
        world.run();
        assert_eq!(there(&world), text(&[(1, "DS", 5)]));
        assert_eq!(here(&world), text(&[(1, "DS", 5)]), "the file stays the user's own, with the cloud's marks");
    }
}

#[test]
fn a_file_that_is_marked_as_a_draft_goes_to_the_mailbox_of_its_maildir() {
    let mut world = world(Role::Drafts, false);
    put(&mut world, 0, "marked", 5, "DF");
    world.run();
    assert_eq!(there(&world), text(&[(0, "DFS", 5)]));
    assert_eq!(here(&world), text(&[(0, "DFS", 5)]));
}

#[test]
fn anything_else_stays_unless_the_mailbox_takes_everything() {
    for others in [false, true] {
        let mut world = world(Role::Drafts, others);
        put(&mut world, 0, "saved", 5, "RS");
        put(&mut world, 0, "trashed", 6, "DT");
        world.run();
        assert_eq!(there(&world), if others { text(&[(0, "RS", 5)]) } else { Vec::new() });
        assert_eq!(here(&world), text(&[(0, "RS", 5), (0, "DT", 6)]));
        let plan = world.plan(&Scope::All, &Busy::default());
        assert_eq!(plan.local_only.len(), if others { 1 } else { 2 });
    }
}

#[test]
fn what_a_mailbox_is_for_is_learned_before_anything_is_uploaded() {
    let mut world = world(Role::Unknown, false);
    put(&mut world, 1, "postponed", 5, "");
    let plan = world.plan(&Scope::All, &Busy::default());
    assert!(plan.ops.is_empty());
    assert_eq!((plan.unripe.len(), plan.local_only.len()), (1, 0));
}

#[test]
fn f07_a_file_that_may_be_half_of_a_move_waits() {
    let mut world = world(Role::Drafts, true);
    for (readiness, unripe, local_only) in [(Readiness::Later, 1, 0), (Readiness::Never, 0, 1)] {
        put(&mut world, 0, "copy", 5, "S");
        world.readiness.insert(key(0, "copy"), readiness);
        let plan = world.plan(&Scope::All, &Busy::default());
        assert!(plan.ops.is_empty());
        assert_eq!((plan.unripe.len(), plan.local_only.len()), (unripe, local_only), "{readiness:?}");
    }
}

#[test]
fn f02_nothing_is_uploaded_to_a_mailbox_that_was_not_listed_to_its_end() {
    let mut world = world(Role::Drafts, true);
    world.complete.remove(&MailboxId(1));
    put(&mut world, 1, "draft", 5, "D");
    put(&mut world, 0, "draft", 6, "D");
    assert!(ops(&world).is_empty());
}

#[test]
fn f19_an_upload_whose_answer_was_lost_is_not_made_twice() {
    for rebuilds in [false, true] {
        for (maildir, letters, others) in [(1, "", false), (0, "D", false), (0, "S", true)] {
            let mut world = world(Role::Drafts, others);
            world.manners.rebuilds = rebuilds;
            put(&mut world, maildir, "file", 5, letters);
            let [upload @ Op::Upload { .. }] = &ops(&world)[..] else { panic!("{:?}", ops(&world)) };
            world.effect(upload);
            // A crash: the cloud has it, and nothing was noted. It isn't uploaded again before it is known what this is.
            let [Op::Fetch { .. }] = ops(&world)[..] else { panic!("{:?}", ops(&world)) };
            world.run();
            assert_eq!((world.cloud.len(), world.disk.len()), (1, 1), "{letters} {rebuilds}");
            assert_eq!(world.disk[&key(maildir, "file")].content, 5);
            assert_eq!(world.synced.len(), 1);
        }
    }
}

#[test]
fn a_draft_waits_for_no_file_that_goes_to_no_mailbox() {
    // No mailbox leads to Maildir 7, and what was trashed is uploaded nowhere.
    for (maildir, letters) in [(7, "D"), (0, "DT")] {
        let mut world = world(Role::Drafts, false);
        world.readable.insert(MaildirId(7));
        put(&mut world, maildir, "file", 5, letters);
        world.message_ids.borrow_mut().insert(hash(5), MessageId::new("<1@program>"));
        world.cloud.insert(RemoteId::new("made"), message(1, 5, "DS"));
        world.run();
        assert_eq!(world.synced.len(), 1, "{letters}");
        assert_eq!(world.disk.len(), 2, "{letters}");
    }
}

#[test]
fn f19_a_message_that_comes_during_an_upload_waits_for_its_answer() {
    let mut world = world(Role::Drafts, false);
    put(&mut world, 1, "file", 5, "");
    world.cloud.insert(RemoteId::new("new"), Message { known: true, ..message(1, 6, "D") });
    let busy = Busy { files: std::iter::once(key(1, "file")).collect(), ..Busy::default() };
    let plan = world.plan(&Scope::All, &busy);
    assert!(plan.ops.is_empty(), "{:?}", plan.ops);
}

#[test]
fn a_file_that_a_message_which_cannot_be_had_now_was_delivered_as_is_not_uploaded() {
    let mut world = world(Role::Drafts, false);
    let there = Message { blocked: true, ..message(1, 5, "D") };
    let own = BaseName::for_message(UnixSeconds(there.received), &RemoteId::new("d"), "vm");
    let version = BaseName::for_version(UnixSeconds(there.received), &RemoteId::new("d"), &hash(7), "vm");
    world.cloud.insert(RemoteId::new("d"), there);
    put(&mut world, 1, own.as_str(), 5, "D");
    put(&mut world, 1, version.as_str(), 7, "D");
    put(&mut world, 1, "another", 6, "D");
    let uploaded = |op: &Op| matches!(op, Op::Upload { file, .. } if *file == key(1, "another"));
    assert!(matches!(&ops(&world)[..], [op] if uploaded(op)), "{:?}", ops(&world));
}

#[test]
fn f02_where_the_state_was_lost_a_draft_that_was_moved_there_has_the_file_of_its_last_version() {
    let mut world = world(Role::Drafts, false);
    let version = BaseName::for_version(UnixSeconds(7), &RemoteId::new("d"), &hash(5), "vm");
    put(&mut world, 1, version.as_str(), 5, "DS");
    world.cloud.insert(RemoteId::new("d"), message(0, 5, "DS"));
    world.run();
    assert_eq!((here(&world), there(&world)), (text(&[(0, "DS", 5)]), text(&[(0, "DS", 5)])));
}

#[test]
fn f02_where_the_state_was_lost_a_draft_that_is_not_brought_has_the_file_of_its_last_version() {
    let mut world = world(Role::Drafts, false);
    world.since = Some(100);
    let version = BaseName::for_version(UnixSeconds(7), &RemoteId::new("d"), &hash(5), "vm");
    put(&mut world, 1, version.as_str(), 5, "DS");
    world.cloud.insert(RemoteId::new("d"), message(1, 5, "DS"));
    world.run();
    assert_eq!((here(&world), there(&world)), (text(&[(1, "DS", 5)]), text(&[(1, "DS", 5)])));
}

#[test]
fn f28_of_two_twins_each_is_uploaded_once() {
    let mut world = world(Role::Drafts, false);
    world.manners.rebuilds = true;
    put(&mut world, 1, "one", 5, "D");
    put(&mut world, 1, "two", 5, "D");
    let first = ops(&world);
    world.effect(&first[0]);
    world.run();
    assert_eq!((world.cloud.len(), world.disk.len(), world.synced.len()), (2, 2, 2));
}

#[test]
fn f15_later_downloads_do_not_replace_a_file_that_was_uploaded() {
    let mut world = world(Role::Drafts, true);
    world.manners.rebuilds = true;
    put(&mut world, 0, "saved", 5, "S");
    world.run();
    let id = world.cloud.keys().next().unwrap().clone();
    world.cloud.get_mut(&id).unwrap().content = 77;
    world.run();
    assert_eq!(here(&world), text(&[(0, "S", 5)]));
    // Not even if the file was lost: the store has the original.
    world.disk.clear();
    world.run();
    assert_eq!(here(&world), text(&[(0, "S", 5)]));
}

#[test]
fn f27_an_upload_is_known_again_under_another_id_by_the_clouds_bytes() {
    let mut world = world(Role::Drafts, true);
    world.manners.rebuilds = true;
    put(&mut world, 0, "saved", 5, "S");
    world.run();
    let id = world.cloud.keys().next().unwrap().clone();
    let message = world.cloud.remove(&id).unwrap();
    world.cloud.insert(RemoteId::new("renewed"), Message { known: false, ..message });
    world.run();
    assert_eq!((world.cloud.len(), here(&world)), (1, text(&[(0, "S", 5)])));
}

#[test]
fn a_draft_that_is_edited_here_is_updated_there() {
    for rebuilds in [false, true] {
        let mut world = world(Role::Drafts, false);
        world.manners.rebuilds = rebuilds;
        draft(&mut world, "d", 5);
        let file = world.disk.get_mut(&key(1, "d")).unwrap();
        (file.content, file.inode, file.flags) = (6, 900, flags("DFS"));
        let [update @ Op::UpdateDraft { .. }] = &ops(&world)[..] else { panic!("{:?}", ops(&world)) };
        let mut crashed = world.clone();
        crashed.effect(update);
        for mut world in [world, crashed] {
            world.run();
            assert_eq!(there(&world), text(&[(1, "DFS", 6)]));
            assert_eq!(here(&world), text(&[(1, "DFS", 6)]));
        }
    }
}

#[test]
fn a_draft_that_was_uploaded_follows_an_edit_there() {
    let mut world = world(Role::Drafts, false);
    world.manners.rebuilds = true;
    put(&mut world, 1, "postponed", 5, "");
    world.run();
    let (_, message) = world.cloud.iter_mut().next().unwrap();
    (message.content, message.known, message.revision) = (6, false, 9);
    world.run();
    assert_eq!(here(&world), text(&[(1, "DS", 6)]));
}

#[test]
fn an_edit_there_that_is_quicker_than_the_reading_back_of_an_upload_is_no_part_of_it() {
    for rebuilds in [false, true] {
        let mut world = world(Role::Drafts, false);
        world.manners.rebuilds = rebuilds;
        put(&mut world, 1, "postponed", 5, "");
        let upload = ops(&world);
        world.carry_out(&upload[0]);
        let (_, message) = world.cloud.iter_mut().next().unwrap();
        (message.content, message.revision) = (6, 9);
        world.run();
        assert_eq!(here(&world), text(&[(1, "DS", 6)]));
    }
}

#[test]
fn a_draft_that_is_edited_on_both_sides_is_there_twice_on_both() {
    let mut world = world(Role::Drafts, false);
    draft(&mut world, "d", 5);
    world.disk.get_mut(&key(1, "d")).unwrap().content = 6;
    let message = world.cloud.get_mut(&RemoteId::new("d")).unwrap();
    (message.content, message.known, message.revision) = (7, false, 1);
    world.run();
    let contents = |all: Vec<(u32, String, Content)>| -> Vec<Content> {
        let mut contents: Vec<Content> = all.into_iter().map(|(_, _, content)| content).collect();
        contents.sort_unstable();
        contents
    };
    assert_eq!((contents(here(&world)), contents(there(&world))), (vec![6, 7], vec![6, 7]));
}

#[test]
fn a_draft_that_is_edited_here_when_the_cloud_puts_it_among_the_deleted_ones_stays_a_draft() {
    for letters in ["DS", "DFS"] {
        let mut world = world(Role::Drafts, false);
        world.deleted = Some(MailboxId(0));
        draft(&mut world, "d", 5);
        let file = world.disk.get_mut(&key(1, "d")).unwrap();
        (file.content, file.flags) = (6, flags(letters));
        world.cloud.get_mut(&RemoteId::new("d")).unwrap().mailbox = MailboxId(0);
        world.run();
        assert_eq!(there(&world), text(&[(0, "DS", 5), (1, letters, 6)]));
        assert_eq!(here(&world), text(&[(0, "DS", 5), (1, letters, 6)]));
    }
}

#[test]
fn a_draft_that_is_edited_and_trashed_here_goes_where_the_cloud_puts_it_among_the_deleted_ones() {
    let mut world = world(Role::Drafts, false);
    world.deleted = Some(MailboxId(0));
    draft(&mut world, "d", 5);
    let file = world.disk.get_mut(&key(1, "d")).unwrap();
    (file.content, file.flags) = (6, flags("DST"));
    world.cloud.get_mut(&RemoteId::new("d")).unwrap().mailbox = MailboxId(0);
    world.run();
    assert_eq!(there(&world), text(&[(0, "DS", 6)]));
    assert_eq!(here(&world), text(&[(0, "DS", 6)]));
}

#[test]
fn a_draft_that_was_edited_in_the_cloud_just_before_it_was_deleted_there_for_this_side_comes_back() {
    for is_still_here in [false, true] {
        let mut world = world(Role::Drafts, false);
        world.deleted = Some(MailboxId(0));
        draft(&mut world, "d", 5);
        if is_still_here {
            world.disk.get_mut(&key(1, "d")).unwrap().flags = flags("DST");
        } else {
            world.disk.remove(&key(1, "d"));
            world.vanished.insert(key(1, "d"), Absence::Observed);
        }
        let [op @ Op::MoveInCloud { deletes: true, .. }] = &ops(&world)[..] else { panic!("{:?}", ops(&world)) };
        world.carry_out(op);
        let message = world.cloud.get_mut(&RemoteId::new("d")).unwrap();
        (message.content, message.known, message.revision) = (7, false, 1);
        world.run();
        assert_eq!(there(&world), text(&[(1, "DS", 7)]));
        assert_eq!(here(&world), text(&[(1, "DS", 7)]));
    }
}

#[test]
fn a_draft_that_the_cloud_builds_anew_when_it_is_deleted_for_this_side_stays_deleted() {
    let mut world = world(Role::Drafts, false);
    world.deleted = Some(MailboxId(0));
    draft(&mut world, "d", 5);
    world.disk.get_mut(&key(1, "d")).unwrap().flags = flags("DST");
    let op = ops(&world).remove(0);
    world.carry_out(&op);
    world.manners.rebuilds = true;
    let rebuilt = world.given(5, &key(1, "d"));
    let message = world.cloud.get_mut(&RemoteId::new("d")).unwrap();
    (message.content, message.known, message.revision) = (rebuilt, false, 1);
    world.run();
    assert_eq!(there(&world), text(&[(0, "DS", 5)]));
    assert_eq!(here(&world), text(&[(0, "DS", rebuilt)]));
}

#[test]
fn a_drafts_new_version_that_was_delivered_before_anybody_noted_it_is_known_again_though_its_file_has_another_name() {
    for old in [Some("DS"), Some("DST"), None] {
        let mut world = world(Role::Drafts, false);
        draft(&mut world, "d", 5);
        match old {
            Some(letters) => world.disk.get_mut(&key(1, "d")).unwrap().flags = flags(letters),
            None => drop(world.disk.remove(&key(1, "d"))),
        }
        let message = world.cloud.get_mut(&RemoteId::new("d")).unwrap();
        (message.content, message.revision) = (7, 1);
        put(&mut world, 1, "renamed", 7, "DS");
        world.run();
        assert_eq!(there(&world), text(&[(1, "DS", 7)]), "{old:?}");
        assert_eq!(world.disk.keys().cloned().collect::<Vec<_>>(), [key(1, "renamed")], "{old:?}");
    }
}

#[test]
fn a_draft_that_a_mail_program_writes_anew_is_the_same_draft_by_its_message_id() {
    let mut world = world(Role::Drafts, false);
    draft(&mut world, "d", 5);
    for content in [5, 6] {
        world.message_ids.borrow_mut().insert(hash(content), MessageId::new("<kept@program>"));
    }
    world.disk.remove(&key(1, "d"));
    world.vanished.insert(key(1, "d"), Absence::Observed);
    put(&mut world, 1, "anew", 6, "F");
    world.run();
    assert_eq!(there(&world), text(&[(1, "DFS", 6)]));
    assert_eq!(world.cloud.keys().map(RemoteId::as_str).collect::<Vec<_>>(), ["d"]);
    assert_eq!(here(&world), text(&[(1, "DFS", 6)]));
}

#[test]
fn a_draft_that_is_written_anew_is_no_version_of_one_that_was_deleted() {
    let mut world = world(Role::Drafts, false);
    draft(&mut world, "a deleted one", 5);
    draft(&mut world, "d", 6);
    for content in [5, 6, 7] {
        world.message_ids.borrow_mut().insert(hash(content), MessageId::new("<kept@program>"));
    }
    // The cloud has put it among the deleted ones, which are mailbox 0, and it isn't brought there yet.
    let deleted = RemoteId::new("a deleted one");
    let id = world.synced.by_remote(&deleted).unwrap();
    let mut row = world.synced.get(id).unwrap().clone();
    row.flags = Sides { local: flags("DST"), cloud: flags("DST") };
    world.synced.put(id, row);
    world.cloud.get_mut(&deleted).unwrap().mailbox = MailboxId(0);
    for name in ["a deleted one", "d"] {
        world.disk.remove(&key(1, name));
        world.vanished.insert(key(1, name), Absence::Observed);
    }
    put(&mut world, 1, "anew", 7, "DS");
    world.run();
    assert_eq!(there(&world), text(&[(0, "DS", 5), (1, "DS", 7)]));
    assert_eq!(here(&world), text(&[(0, "DS", 5), (1, "DS", 7)]));
}

#[test]
fn f19_what_may_have_been_uploaded_already_is_no_other_drafts_next_version() {
    let mut world = world(Role::Drafts, false);
    draft(&mut world, "d", 5);
    for content in [5, 6] {
        world.message_ids.borrow_mut().insert(hash(content), MessageId::new("<kept@program>"));
    }
    put(&mut world, 1, "anew", 6, "D");
    world.unheard_uploads.push(hash(6));
    world.disk.remove(&key(1, "d"));
    world.vanished.insert(key(1, "d"), Absence::Observed);
    let ops = ops(&world);
    assert!(matches!(ops[..], [Op::DeleteInCloud { .. }, Op::Upload { .. }]), "{ops:?}");
}

/// A draft of content 5 and a file of content 6 with its Message-ID, which is its next version.
fn written_anew(absence: Absence) -> World {
    let mut world = world(Role::Drafts, false);
    draft(&mut world, "d", 5);
    for content in [5, 6] {
        world.message_ids.borrow_mut().insert(hash(content), MessageId::new("<kept@program>"));
    }
    put(&mut world, 1, "anew", 6, "DS");
    world.disk.remove(&key(1, "d"));
    world.vanished.insert(key(1, "d"), absence);
    world
}

#[test]
fn f19_a_draft_that_is_not_read_yet_may_be_what_an_upload_has_made_of_the_next_version() {
    let mut world = written_anew(Absence::Observed);
    world.cloud.insert(RemoteId::new("made"), message(1, 6, "DS"));
    assert!(matches!(ops(&world)[..], [Op::Fetch { .. }]), "{:?}", ops(&world));
    let busy = Busy { ids: std::iter::once(RemoteId::new("made")).collect(), ..Busy::default() };
    let touched = Touched { files: [key(1, "d"), key(1, "anew")].into_iter().collect(), ..Touched::default() };
    let plan = world.plan(&Scope::Only(&touched), &busy);
    assert!(plan.ops.is_empty(), "{:?}", plan.ops);
    world.run();
    assert_eq!(there(&world), text(&[(1, "DS", 6)]));
    assert_eq!(here(&world), text(&[(1, "DS", 6)]));
}

#[test]
fn f19_while_a_draft_elsewhere_is_not_read_yet_the_next_version_of_another_one_waits_with_it() {
    let mut world = written_anew(Absence::Observed);
    world.cloud.insert(RemoteId::new("elsewhere"), message(0, 7, "DS"));
    assert!(matches!(ops(&world)[..], [Op::Fetch { .. }]), "{:?}", ops(&world));
    world.run();
    assert_eq!(there(&world), text(&[(1, "DS", 6), (0, "DS", 7)]));
}

#[test]
fn f19_a_version_that_an_unheard_update_may_have_told_is_not_uploaded_before_that_is_known() {
    let mut world = written_anew(Absence::Unexplained);
    let told = world.cloud.get_mut(&RemoteId::new("d")).unwrap();
    (told.content, told.known, told.revision) = (6, false, 1);
    assert!(matches!(ops(&world)[..], [Op::Fetch { .. }]), "{:?}", ops(&world));
    world.run();
    assert_eq!(there(&world), text(&[(1, "DS", 6)]));
    assert_eq!(here(&world), text(&[(1, "DS", 6)]));
}

#[test]
fn f19_a_version_that_an_unheard_update_may_have_told_waits_while_the_draft_cannot_be_read() {
    let mut world = written_anew(Absence::Unexplained);
    let told = world.cloud.get_mut(&RemoteId::new("d")).unwrap();
    (told.content, told.known, told.revision, told.blocked) = (6, false, 1, true);
    let plan = world.plan(&Scope::All, &Busy::default());
    assert!(plan.ops.is_empty(), "{:?}", plan.ops);
    assert_eq!((plan.waiting.len(), plan.unripe.len()), (1, 1));
    world.cloud.get_mut(&RemoteId::new("d")).unwrap().blocked = false;
    world.run();
    assert_eq!(there(&world), text(&[(1, "DS", 6)]));
    assert_eq!(here(&world), text(&[(1, "DS", 6)]));
}

#[test]
fn f19_an_unheard_update_is_known_again_though_its_file_has_another_name() {
    for (absence, old_id, new_id) in [
        (Absence::Unexplained, None, None),
        (Absence::Observed, None, None),
        (Absence::Unexplained, Some("<kept@program>"), Some("<kept@program>")),
        (Absence::Unexplained, Some("<old@program>"), Some("<new@program>")),
        (Absence::Unexplained, None, Some("<new@program>")),
    ] {
        let mut world = world(Role::Drafts, false);
        world.manners.rebuilds = true;
        draft(&mut world, "d", 5);
        let file = world.disk.get_mut(&key(1, "d")).unwrap();
        (file.content, file.inode) = (6, 900);
        for (content, own) in [(5, old_id), (6, new_id)] {
            world.message_ids.borrow_mut().extend(own.map(|own| (hash(content), MessageId::new(own))));
        }
        let [update @ Op::UpdateDraft { .. }] = &ops(&world)[..] else { panic!("{:?}", ops(&world)) };
        world.effect(update);
        let known_as = new_id.map_or_else(|| MessageId::for_upload(&hash(6)), MessageId::new);
        world.message_ids.borrow_mut().insert(hash(world.cloud[&RemoteId::new("d")].content), known_as);
        let file = world.disk.remove(&key(1, "d")).unwrap();
        world.disk.insert(key(1, "renamed"), file);
        world.vanished.insert(key(1, "d"), absence);
        assert!(matches!(ops(&world)[..], [Op::Fetch { .. }]), "{:?}", ops(&world));
        world.run();
        assert_eq!(there(&world), text(&[(1, "DS", 6)]), "{absence:?} {old_id:?} {new_id:?}");
        assert_eq!(here(&world), text(&[(1, "DS", 6)]));
    }
}

#[test]
fn f27_an_unheard_update_is_known_again_under_another_id() {
    for (rebuilds, has_id) in [(false, true), (true, true), (true, false)] {
        let mut world = world(Role::Drafts, false);
        world.manners.rebuilds = rebuilds;
        draft(&mut world, "d", 5);
        let file = world.disk.get_mut(&key(1, "d")).unwrap();
        (file.content, file.inode) = (6, 900);
        if has_id {
            world.message_ids.borrow_mut().insert(hash(6), MessageId::new("<kept@program>"));
        }
        let [update @ Op::UpdateDraft { .. }] = &ops(&world)[..] else { panic!("{:?}", ops(&world)) };
        world.effect(update);
        let updated = world.cloud.remove(&RemoteId::new("d")).unwrap();
        let known_as = if has_id { MessageId::new("<kept@program>") } else { MessageId::for_upload(&hash(6)) };
        world.message_ids.borrow_mut().insert(hash(updated.content), known_as);
        world.cloud.insert(RemoteId::new("renewed"), Message { received: 9, known: false, ..updated });
        assert!(matches!(ops(&world)[..], [Op::Fetch { .. }]), "{:?}", ops(&world));
        world.cloud.get_mut(&RemoteId::new("renewed")).unwrap().known = true;
        assert!(matches!(ops(&world)[..], [Op::Record { row: Some(_), .. }]), "{:?}", ops(&world));
        world.run();
        assert_eq!(there(&world), text(&[(1, "DS", 6)]), "{rebuilds} {has_id}");
        assert_eq!(here(&world), text(&[(1, "DS", 6)]));
    }
}

#[test]
fn f27_an_unheard_update_under_another_id_waits_until_it_is_known_what_became_of_the_old_one() {
    for (unlisted, is_asked_for) in [(Some(1), false), (Some(0), false), (None, true)] {
        let mut world = world(Role::Drafts, false);
        world.manners.rebuilds = true;
        draft(&mut world, "d", 5);
        let before = world.cloud[&RemoteId::new("d")].clone();
        let file = world.disk.get_mut(&key(1, "d")).unwrap();
        (file.content, file.inode) = (6, 900);
        let [update @ Op::UpdateDraft { .. }] = &ops(&world)[..] else { panic!("{:?}", ops(&world)) };
        world.effect(update);
        let updated = world.cloud.insert(RemoteId::new("d"), before).unwrap();
        world.cloud.insert(RemoteId::new("renewed"), Message { known: true, ..updated });
        let mut busy = Busy::default();
        if is_asked_for {
            busy.ids.insert(RemoteId::new("d"));
        } else if unlisted == Some(0) {
            world.cloud.remove(&RemoteId::new("d"));
        }
        unlisted.map(|mailbox| world.complete.remove(&MailboxId(mailbox)));
        let plan = world.plan(&Scope::All, &busy);
        assert!(!plan.ops.iter().any(|op| matches!(op, Op::Deliver { .. })), "{:?}", plan.ops);
        world.cloud.remove(&RemoteId::new("d"));
        world.complete.extend(unlisted.map(MailboxId));
        world.run();
        assert_eq!((there(&world), here(&world)), (text(&[(1, "DS", 6)]), text(&[(1, "DS", 6)])));
    }
}

#[test]
fn f38_a_copy_of_what_was_sent_joins_the_clouds_own() {
    for others in [false, true] {
        let mut world = world(Role::Sent, others);
        put(&mut world, 1, "fcc", 5, "S");
        world.run();
        assert!(world.cloud.is_empty(), "it isn't uploaded");
        for content in [5, 6] {
            world.message_ids.borrow_mut().insert(hash(content), MessageId::new("<sent@program>"));
        }
        world.cloud.insert(RemoteId::new("own"), message(1, 6, "S"));
        world.run();
        assert_eq!((here(&world), there(&world)), (text(&[(1, "S", 5)]), text(&[(1, "S", 6)])));
        let row = world.synced.get(world.synced.by_remote(&RemoteId::new("own")).unwrap()).unwrap();
        assert_eq!((row.hash, row.cloud_bytes), (hash(5), CloudBytes::Other(hash(6))));
        assert_eq!(row.file.maildir, MaildirId(1));
    }
}

#[test]
fn f28_the_same_message_id_elsewhere_is_no_reason_to_join() {
    let mut world = world(Role::Sent, false);
    put(&mut world, 0, "saved", 5, "S");
    for content in [5, 6] {
        world.message_ids.borrow_mut().insert(hash(content), MessageId::new("<list@domain>"));
    }
    world.cloud.insert(RemoteId::new("other"), message(0, 6, "S"));
    world.run();
    assert_eq!(world.disk.len(), 2);
}

#[test]
fn f19_f38_what_comes_before_it_is_known_what_its_mailbox_is_for_waits() {
    let mut world = world(Role::Unknown, false);
    put(&mut world, 0, "marked", 5, "D");
    put(&mut world, 1, "fcc", 7, "S");
    for (own, there) in [(5, 6), (7, 8)] {
        for content in [own, there] {
            world.message_ids.borrow_mut().insert(hash(content), MessageId::new(format!("<{own}@program>")));
        }
    }
    world.cloud.insert(RemoteId::new("draft"), Message { known: true, ..message(1, 6, "D") });
    world.cloud.insert(RemoteId::new("sent"), Message { known: true, ..message(1, 8, "S") });
    assert!(!ops(&world).iter().any(|op| matches!(op, Op::Deliver { .. })), "{:?}", ops(&world));
}

#[test]
fn a_draft_may_have_another_id_once_it_has_another_content() {
    let mut world = world(Role::Drafts, false);
    draft(&mut world, "note", 5);
    let row = world.synced.by_remote(&RemoteId::new("note")).unwrap();
    let base = world.synced.get(row).unwrap().clone();
    let op = Op::UpdateDraft { row, base: Row { hash: hash(6), ..base }, revision: Some("0".into()) };
    let (id, received) = (Some(RemoteId::new("other")), Some(UnixSeconds(9)));
    world.synced.confirm(&op, &Answer { id, received, revision: Some("1".into()), flags: None });
    assert_eq!(world.synced.by_remote(&RemoteId::new("other")), Some(row));
    assert!(world.synced.by_remote(&RemoteId::new("note")).is_none());
    let now = world.synced.get(row).unwrap();
    assert_eq!((now.hash, now.received, now.revision.as_deref()), (hash(6), UnixSeconds(9), Some("1")));
}
