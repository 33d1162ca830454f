//! Changes to messages, and their fates.

use cms_cloud::contract::{CloudAccount, CloudChange, CloudError, CloudOp, DeleteAction, FolderId, Outcome};
use cms_engine::{Flags, RemoteId};
use simcloud::{Action, Actor, BodyKind, Deletion, Fault, FlagChange, FlagStatus};

use crate::support::{World, impatient_world, world};

fn set(id: &RemoteId, before: Flags, result: Flags) -> CloudOp {
    CloudOp { id: id.clone(), change: CloudChange::SetFlags { add: result - before, remove: before - result, result } }
}

fn letters(text: &str) -> Flags {
    Flags::from_letters(text)
}

/// Toggles the read mark of every message.
fn toggles(world: &World) -> (Vec<CloudOp>, Vec<Flags>) {
    let wanted: Vec<Flags> = world.truth().values().map(|flags| *flags ^ Flags::SEEN).collect();
    let ops = world.truth().iter().zip(&wanted).map(|((id, flags), wanted)| set(id, *flags, *wanted)).collect();
    (ops, wanted)
}

fn assert_done(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done { .. })), "{outcomes:?}");
}

#[tokio::test]
async fn one_change_is_one_plain_request() {
    let world = world(2).await;
    let id = world.ids().remove(0);
    let before = world.flags(&id);
    let requests = world.cloud().counters().http_requests;
    let outcomes = world.account.apply(&[set(&id, before, before ^ Flags::SEEN)]).await;
    assert_eq!(world.cloud().counters().http_requests, requests + 1);
    assert_eq!(world.flags(&id), before ^ Flags::SEEN);
    match &outcomes[0] {
        Outcome::Done { id: Some(same), now } => {
            assert_eq!(*same, id);
            if let Some(now) = now {
                assert_eq!(now.flags & Flags::SEEN, (before ^ Flags::SEEN) & Flags::SEEN);
            }
        }
        other => panic!("{other:?}"),
    }
    world.assert_well_behaved();
}

#[tokio::test]
async fn every_flag_goes_there_and_comes_back() {
    let world = world(1).await;
    let id = world.ids().remove(0);
    for wanted in ["", "S", "F", "FS", "RS", "R", "P", "PS", "FPS", "", "FR"] {
        let before = world.flags(&id);
        assert_done(&world.account.apply(&[set(&id, before, letters(wanted))]).await);
        assert_eq!(world.flags(&id), letters(wanted), "{before} to {wanted}");
        let round = world.round(None).await;
        assert_eq!(round.seen[&id], letters(wanted));
    }
    world.assert_well_behaved();
}

#[tokio::test]
async fn many_changes_go_out_in_few_requests_and_all_arrive() {
    let world = world(100).await;
    let (ops, wanted) = toggles(&world);
    let requests = world.cloud().counters().http_requests;
    let outcomes = world.account.apply(&ops).await;
    assert_done(&outcomes);
    assert_eq!(world.truth().into_values().collect::<Vec<_>>(), wanted);
    assert_eq!(world.cloud().counters().http_requests, requests + 5);
    world.assert_well_behaved();
}

#[tokio::test]
async fn each_change_in_a_batch_has_its_own_fate() {
    let world = world(30).await;
    let (ops, wanted) = toggles(&world);
    let ids = world.ids();
    world.cloud().delete_message("", ids[2].as_str(), Deletion::Purge).unwrap();
    world.cloud().delete_message("", ids[7].as_str(), Deletion::Purge).unwrap();
    let outcomes = world.account.apply(&ops).await;
    for (index, outcome) in outcomes.iter().enumerate() {
        if [2, 7].contains(&index) {
            assert!(matches!(outcome, Outcome::Gone), "{index}: {outcome:?}");
        } else {
            assert!(matches!(outcome, Outcome::Done { .. }), "{index}: {outcome:?}");
            assert_eq!(world.flags(&ids[index]), wanted[index]);
        }
    }
    world.assert_well_behaved();
}

#[tokio::test]
async fn faults_of_single_items_are_outlasted() {
    for action in
        [Action::throttled(0), Action::status(500), Action::status(503), Action::status(401), Action::status(412)]
    {
        println!("{action:?}");
        let world = world(25).await;
        let (ops, wanted) = toggles(&world);
        let mut fault = Fault::once("batch-item:patch", action);
        fault.skip = 4;
        fault.count = Some(2);
        world.cloud().inject(fault);
        assert_done(&world.account.apply(&ops).await);
        assert_eq!(world.truth().into_values().collect::<Vec<_>>(), wanted);
        assert_eq!(world.cloud().counters().faults_injected, 2);
    }
}

#[tokio::test]
async fn faults_of_whole_batches_are_outlasted() {
    for action in [
        Action::ResetBefore,
        Action::ResetAfter,
        Action::StatusAfter { status: 504 },
        Action::Truncate { after: 60 },
        Action::Hang,
        Action::Html,
        Action::status(503),
        Action::throttled(0),
    ] {
        println!("{action:?}");
        let world = impatient_world(25, 10).await;
        let (ops, wanted) = toggles(&world);
        world.cloud().inject(Fault::once("batch", action));
        assert_done(&world.account.apply(&ops).await);
        assert_eq!(world.truth().into_values().collect::<Vec<_>>(), wanted);
        assert_eq!(world.cloud().counters().faults_injected, 1);
    }
}

#[tokio::test]
async fn what_never_succeeds_is_left_for_later_and_the_rest_is_done() {
    let world = world(5).await;
    let (ops, wanted) = toggles(&world);
    let ids = world.ids();
    let mut fault = Fault::always("batch-item:patch", Action::status(500));
    fault.path = ids[1].as_str().to_owned();
    world.cloud().inject(fault);
    let mut alone = Fault::always("patch", Action::status(500));
    alone.path = ids[1].as_str().to_owned();
    world.cloud().inject(alone);
    let outcomes = world.account.apply(&ops).await;
    for (index, outcome) in outcomes.iter().enumerate() {
        if index == 1 {
            assert!(matches!(outcome, Outcome::Later(CloudError::Unreachable(_))), "{outcome:?}");
            assert_ne!(world.flags(&ids[1]), wanted[1]);
        } else {
            assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn f33_a_refusal_is_no_reason_to_sign_in_and_spares_what_can_be_stored() {
    let world = world(3).await;
    world.cloud().turn(|knobs| knobs.refuse_extended = true);
    let ids = world.ids();
    for id in &ids {
        let unread = FlagChange { is_read: Some(false), replied: Some(false), ..FlagChange::default() };
        world.cloud().set_flags("", id.as_str(), unread).unwrap();
    }
    let before: Vec<Flags> = ids.iter().map(|id| world.flags(id) - letters("RP")).collect();
    let ops = [
        set(&ids[0], before[0], before[0] | letters("RS")),
        set(&ids[1], before[1], before[1] | letters("S")),
        set(&ids[2], before[2], before[2] | letters("R")),
    ];
    let outcomes = world.account.apply(&ops).await;
    assert!(matches!(outcomes[0], Outcome::Refused(CloudError::Refused { status: 403, .. })), "{:?}", outcomes[0]);
    assert!(matches!(outcomes[1], Outcome::Done { .. }));
    assert!(matches!(outcomes[2], Outcome::Refused(_)));
    assert!(world.flags(&ids[0]).contains(Flags::SEEN) && world.flags(&ids[1]).contains(Flags::SEEN));
    assert_eq!(world.tokens.renewals.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn f18_a_change_that_was_taken_and_not_made_is_not_believed() {
    let world = world(1).await;
    world.cloud().turn(|knobs| knobs.patch_ignored = 1.0);
    let id = world.ids().remove(0);
    let before = world.flags(&id);
    match &world.account.apply(&[set(&id, before, before ^ Flags::SEEN)]).await[0] {
        Outcome::Done { now: Some(now), .. } => assert_eq!(now.flags & Flags::SEEN, before & Flags::SEEN),
        Outcome::Done { now: None, .. } => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn f18_marks_that_were_taken_and_not_made_are_not_believed() {
    let world = world(15).await;
    let ids = world.ids();
    for id in &ids {
        let unmarked = FlagChange { replied: Some(false), ..FlagChange::default() };
        world.cloud().set_flags("", id.as_str(), unmarked).unwrap();
    }
    let marked = |(at, id): (usize, &RemoteId)| {
        let before = world.flags(id);
        set(id, before, before | [Flags::REPLIED, Flags::PASSED][at % 2])
    };
    let ops: Vec<CloudOp> = ids.iter().enumerate().map(marked).collect();
    for ignored in [1.0, 0.0] {
        world.cloud().turn(|knobs| knobs.patch_ignored = ignored);
        let requests = world.cloud().counters().http_requests;
        let outcomes = world.account.apply(&ops).await;
        for (id, outcome) in ids.iter().zip(&outcomes) {
            match outcome {
                Outcome::Done { now: Some(now), .. } => {
                    assert_eq!((now.flags, now.known_flags), (world.flags(id), Flags::ALL - Flags::TRASHED));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(world.cloud().counters().http_requests, requests + 2, "all are read back together");
    }
    assert!(ids.iter().all(|id| !(world.flags(id) & letters("RP")).is_empty()));
    world.assert_well_behaved();
}

#[tokio::test]
async fn a_mark_of_an_imap_client_cannot_be_taken_back_and_is_no_evidence() {
    let world = world(1).await;
    let id = world.ids().remove(0);
    let marked = FlagChange { actor: Actor::Imap, replied: Some(true), ..FlagChange::default() };
    world.cloud().set_flags("", id.as_str(), marked).unwrap();
    let before = world.flags(&id);
    match &world.account.apply(&[set(&id, before, before - Flags::REPLIED)]).await[0] {
        Outcome::Done { now: Some(now), .. } => assert_eq!(now.known_flags & letters("RP"), letters("P")),
        other => panic!("{other:?}"),
    }
    assert!(world.flags(&id).contains(Flags::REPLIED));
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_back_is_not_said_to_be_made() {
    let world = world(1).await;
    let id = world.ids().remove(0);
    let before = world.flags(&id) - letters("RP");
    world.cloud().inject(Fault::always("message", Action::status(500)));
    let outcomes = world.account.apply(&[set(&id, before, before | Flags::REPLIED)]).await;
    assert!(matches!(outcomes[0], Outcome::Unconfirmed { .. }), "{outcomes:?}");
    assert!(world.flags(&id).contains(Flags::REPLIED));
}

#[tokio::test]
async fn conflicts_are_settled_by_looking_again() {
    let world = world(12).await;
    world.cloud().turn(|knobs| knobs.patch_conflict = 0.3);
    let (ops, wanted) = toggles(&world);
    let outcomes = world.account.apply(&ops).await;
    let truth: Vec<Flags> = world.truth().into_values().collect();
    for ((outcome, wanted), flags) in outcomes.iter().zip(wanted).zip(truth) {
        match outcome {
            Outcome::Done { .. } => assert_eq!(flags, wanted),
            Outcome::Later(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Outcome::Done { .. })));
}

#[tokio::test]
async fn a_finished_task_is_not_overwritten() {
    let world = world(1).await;
    let id = world.ids().remove(0);
    let complete = FlagChange { flag: Some(FlagStatus::Complete), is_read: Some(false), ..FlagChange::default() };
    world.cloud().set_flags("", id.as_str(), complete).unwrap();
    let outcomes = world.account.apply(&[set(&id, letters("F"), letters(""))]).await;
    assert!(matches!(&outcomes[0], Outcome::Done { now: Some(now), .. } if now.known_flags.contains(Flags::FLAGGED)));
    assert_done(&world.account.apply(&[set(&id, letters("F"), letters("S"))]).await);
    let state = world.cloud().message("", id.as_str()).unwrap();
    assert_eq!((state.flag, state.is_read), (FlagStatus::Complete, true));
}

#[tokio::test]
async fn messages_move_and_a_lost_answer_does_no_harm() {
    let world = world(6).await;
    world.cloud().create_folder("", "Projects", false).unwrap();
    let to = FolderId(world.cloud().folder_id("", "Projects").unwrap());
    let ids = world.ids();
    let moves: Vec<CloudOp> =
        ids[..5].iter().map(|id| CloudOp { id: id.clone(), change: CloudChange::Move { to: to.clone() } }).collect();
    assert_done(&world.account.apply(&moves[..3]).await);
    world.cloud().inject(Fault::once("move", Action::ResetAfter));
    assert_done(&world.account.apply(&moves[3..4]).await);
    world.cloud().inject(Fault::once("move", Action::StatusAfter { status: 404 }));
    let outcome = world.account.apply(&moves[4..5]).await;
    println!("{outcome:?}");
    for id in &ids[..5] {
        assert_eq!(world.folder_of(id), "Projects");
    }
    let nowhere = FolderId("AAMkNowhere".to_owned());
    let lost = CloudOp { id: ids[5].clone(), change: CloudChange::Move { to: nowhere } };
    let outcomes = world.account.apply(&[lost]).await;
    assert!(matches!(outcomes[0], Outcome::Refused(_)), "{outcomes:?}");
    assert_eq!(world.folder_of(&ids[5]), "Inbox");
}

#[tokio::test]
async fn flags_are_set_before_the_same_message_moves() {
    let world = world(30).await;
    let mut ops = Vec::new();
    for (id, flags) in world.truth() {
        ops.push(set(&id, flags, flags ^ Flags::SEEN));
        ops.push(CloudOp { id, change: CloudChange::Delete(DeleteAction::Trash) });
    }
    let (ids, before): (Vec<RemoteId>, Vec<Flags>) = world.truth().into_iter().unzip();
    assert_done(&world.account.apply(&ops).await);
    for (id, flags) in ids.iter().zip(before) {
        assert_eq!(world.flags(id), flags ^ Flags::SEEN);
        assert_eq!(world.folder_of(id), "Deleted Items");
    }
    world.assert_well_behaved();
}

#[tokio::test]
async fn deleting_is_to_the_trash_to_the_archive_or_for_good() {
    let world = world(4).await;
    let ids = world.ids();
    let delete = |id: &RemoteId, action| CloudOp { id: id.clone(), change: CloudChange::Delete(action) };
    assert_done(&world.account.apply(&[delete(&ids[0], DeleteAction::Trash)]).await);
    assert_eq!(world.folder_of(&ids[0]), "Deleted Items");
    assert_done(&world.account.apply(&[delete(&ids[1], DeleteAction::Archive)]).await);
    assert_eq!(world.folder_of(&ids[1]), "Archive");
    let purged = world.account.apply(&[delete(&ids[2], DeleteAction::Purge)]).await;
    assert!(matches!(purged[0], Outcome::Done { id: None, .. }), "{purged:?}");
    assert!(matches!(world.account.apply(&[delete(&ids[2], DeleteAction::Purge)]).await[0], Outcome::Gone));
    let action = Action::Status {
        status: 405,
        body: BodyKind::Empty,
        code: String::new(),
        message: String::new(),
        retry_after: None,
    };
    let mut fault = Fault::always("", action);
    fault.path = "permanentDelete".to_owned();
    world.cloud().inject(fault);
    let purged = world.account.apply(&[delete(&ids[3], DeleteAction::Purge)]).await;
    assert!(matches!(purged[0], Outcome::Done { id: None, .. }), "{purged:?}");
    assert!(world.truth().is_empty());
}

#[tokio::test]
async fn without_an_archive_the_message_stays_and_the_user_is_told_what_to_do() {
    let world = world(1).await;
    world.cloud().turn(|knobs| knobs.archive_exists = false);
    let id = world.ids().remove(0);
    let outcomes =
        world.account.apply(&[CloudOp { id: id.clone(), change: CloudChange::Delete(DeleteAction::Archive) }]).await;
    match &outcomes[0] {
        Outcome::Refused(CloudError::Refused { message, .. }) => assert!(message.contains("Outlook"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.folder_of(&id), "Inbox");
}

#[tokio::test]
async fn not_found_without_a_reason_says_nothing_for_good() {
    let world = world(1).await;
    let id = &world.ids()[0];
    for (body, code) in [(BodyKind::Empty, ""), (BodyKind::Json, "MailboxNotEnabledForRESTAPI")] {
        let (code, message) = (code.to_owned(), String::new());
        world
            .cloud()
            .inject(Fault::always("patch", Action::Status { status: 404, body, code, message, retry_after: None }));
        let now = world.flags(id);
        let outcomes = world.account.apply(&[set(id, now, now ^ Flags::SEEN)]).await;
        assert!(matches!(outcomes[0], Outcome::Gone), "{outcomes:?}");
        world.cloud().clear_faults();
    }
}
