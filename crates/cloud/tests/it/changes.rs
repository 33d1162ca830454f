//! What changed, and how the service may tell it.

use std::sync::atomic::Ordering;

use cms_cloud::contract::{Changes, CloudAccount, CloudError, Cursor, Whereabouts};
use cms_engine::{Flags, RemoteId};
use simcloud::{Action, Deletion, Fault, FlagChange, Knobs};

use crate::support::{World, impatient_world, world, world_with};

/// A first round names everything with all flags, whatever happens on the way.
async fn assert_first_round_is_whole(world: &World) {
    let round = world.round(None).await;
    assert!(round.whole);
    assert_eq!(round.seen, world.truth());
    assert!(round.known.values().all(|known| *known == Flags::ALL - Flags::TRASHED));
}

#[tokio::test]
async fn a_first_round_tells_all_and_a_quiet_mailbox_costs_one_request() {
    let world = world_with(
        simcloud::Options { messages: 120, knobs: Knobs::calm(), ..simcloud::Options::default() },
        |options| options.page_size = 25,
    )
    .await;
    assert_first_round_is_whole(&world).await;
    let round = world.round(None).await;
    assert!(round.pages >= 5);
    let before = world.cloud().counters().http_requests;
    let quiet = world.round(round.cursor.as_ref()).await;
    assert_eq!(world.cloud().counters().http_requests, before + 1);
    assert!(quiet.seen.is_empty() && quiet.removed.is_empty() && !quiet.whole);
    world.assert_well_behaved();
}

#[tokio::test]
async fn f21_noise_in_the_pages_changes_nothing() {
    for seed in 1..=6 {
        println!("seed {seed}");
        let knobs = Knobs { delta_duplicates: 0.2, delta_empty_pages: 0.3, delta_short_pages: 0.3, ..Knobs::default() };
        let world =
            world_with(simcloud::Options { messages: 60, seed, knobs, ..simcloud::Options::default() }, |options| {
                options.page_size = 7;
            })
            .await;
        assert_first_round_is_whole(&world).await;
        world.assert_well_behaved();
    }
}

#[tokio::test]
async fn later_rounds_tell_what_changed_and_leave_the_rest_unsaid() {
    let world = world(10).await;
    let first = world.round(None).await;
    let ids = world.ids();
    let was_read = world.flags(&ids[0]).contains(Flags::SEEN);
    let read = FlagChange { is_read: Some(!was_read), ..FlagChange::default() };
    world.cloud().set_flags("", ids[0].as_str(), read).unwrap();
    let replied = FlagChange { replied: Some(true), ..FlagChange::default() };
    world.cloud().set_flags("", ids[1].as_str(), replied).unwrap();
    world.cloud().delete_message("", ids[2].as_str(), Deletion::Trash).unwrap();
    let new = world.cloud().add_message("", simcloud::NewMessage::generated("Inbox")).unwrap();
    let second = world.round(first.cursor.as_ref()).await;
    assert!(!second.whole);
    assert_eq!(second.known[&ids[0]], Flags::SEEN, "a read mark comes alone");
    assert_eq!(second.seen[&ids[0]].contains(Flags::SEEN), !was_read);
    assert!(second.seen[&ids[1]].contains(Flags::REPLIED));
    assert_eq!(second.removed, vec![ids[2].clone()]);
    assert!(second.seen.contains_key(&RemoteId::new(new)));
    assert_eq!(second.seen.len(), 3);
    world.assert_well_behaved();
}

#[tokio::test]
async fn f22_dead_links_are_a_lost_cursor_in_and_between_rounds() {
    let world = world_with(
        simcloud::Options { messages: 40, knobs: Knobs::calm(), ..simcloud::Options::default() },
        |options| options.page_size = 10,
    )
    .await;
    let first = world.round(None).await;
    world.cloud().kill_delta_tokens("").unwrap();
    let cursor = first.cursor.unwrap();
    assert!(matches!(world.account.changes(&world.inbox, Some(&cursor)).await.unwrap(), Changes::CursorLost));
    let mut fault = Fault::once(
        "delta",
        Action::Status {
            status: 410,
            body: simcloud::BodyKind::Json,
            code: "syncStateNotFound".to_owned(),
            message: String::new(),
            retry_after: None,
        },
    );
    fault.skip = 2;
    world.cloud().inject(fault);
    let again = world.round(None).await;
    assert_eq!((again.resets, again.whole), (1, true));
    assert_eq!(again.seen, world.truth());
}

#[tokio::test]
async fn cursors_of_other_places_are_lost() {
    let world = world(1).await;
    for text in ["", "nonsense", "1 delta https://elsewhere.example/v1.0/delta?$deltatoken=x", "9 delta x"] {
        let changes = world.account.changes(&world.inbox, Some(&Cursor(text.to_owned()))).await.unwrap();
        assert!(matches!(changes, Changes::CursorLost), "{text}");
    }
    assert_eq!(world.cloud().counters().http_requests, 0);
}

#[tokio::test]
async fn a_token_that_expires_between_pages_is_renewed_once() {
    let world = world_with(
        simcloud::Options { messages: 40, knobs: Knobs::calm(), ..simcloud::Options::default() },
        |options| options.page_size = 10,
    )
    .await;
    let mut fault = Fault::once("delta", Action::status(401));
    fault.skip = 2;
    world.cloud().inject(fault);
    assert_first_round_is_whole(&world).await;
    assert_eq!(world.tokens.renewals.load(Ordering::SeqCst), 1);
    world.cloud().expire_access_tokens();
    assert_first_round_is_whole(&world).await;
    assert_eq!(world.tokens.renewals.load(Ordering::SeqCst), 2);
    world.cloud().inject(Fault::always("delta", Action::status(401)));
    assert!(matches!(world.account.changes(&world.inbox, None).await, Err(CloudError::SignInNeeded { .. })));
}

#[tokio::test]
async fn faults_on_the_way_are_outlasted() {
    for action in [
        Action::status(500),
        Action::status(502),
        Action::status(503),
        Action::status(504),
        Action::status(509),
        Action::ResetBefore,
        Action::ResetAfter,
        Action::Truncate { after: 100 },
        Action::Stall { after: 100 },
        Action::Hang,
        Action::Html,
        Action::Garbage,
        Action::ErrorInOk { code: "UnknownError".to_owned() },
    ] {
        println!("{action:?}");
        let world = impatient_world(40, 10).await;
        let mut fault = Fault::once("delta", action);
        fault.skip = 1;
        world.cloud().inject(fault);
        assert_first_round_is_whole(&world).await;
        assert_eq!(world.cloud().counters().faults_injected, 1);
    }
}

#[tokio::test]
async fn a_service_that_stays_away_is_unreachable() {
    let world = world(1).await;
    for action in [Action::ResetBefore, Action::status(502)] {
        world.cloud().clear_faults();
        world.cloud().inject(Fault::always("", action));
        assert!(matches!(world.account.changes(&world.inbox, None).await, Err(CloudError::Unreachable(_))));
    }
}

#[tokio::test]
async fn without_change_tracking_the_folder_is_listed() {
    let world = world_with(
        simcloud::Options {
            messages: 40,
            knobs: Knobs { delta_unsupported: true, ..Knobs::calm() },
            ..simcloud::Options::default()
        },
        |options| options.page_size = 15,
    )
    .await;
    assert_first_round_is_whole(&world).await;
    let first = world.round(None).await;
    let ids = world.ids();
    world.cloud().delete_message("", ids[0].as_str(), Deletion::Purge).unwrap();
    let second = world.round(first.cursor.as_ref()).await;
    assert!(second.whole);
    assert_eq!(second.seen, world.truth());
}

#[tokio::test]
async fn a_full_mailbox_is_listed_until_it_is_emptied() {
    let world = world(20).await;
    let full = Action::Status {
        status: 403,
        body: simcloud::BodyKind::Json,
        code: "ErrorQuotaExceeded".to_owned(),
        message: String::new(),
        retry_after: None,
    };
    let rule = world.cloud().inject(Fault::always("delta", full));
    assert_first_round_is_whole(&world).await;
    let listed = world.round(None).await;
    world.cloud().remove_fault(rule);
    let tracked = world.round(listed.cursor.as_ref()).await;
    assert!(tracked.whole);
    let before = world.cloud().counters().http_requests;
    world.round(tracked.cursor.as_ref()).await;
    assert_eq!(world.cloud().counters().http_requests, before + 1);
}

#[tokio::test]
async fn pages_that_the_service_cannot_make_are_asked_for_smaller() {
    for status in [500, 504] {
        let world = world_with(
            simcloud::Options { messages: 40, knobs: Knobs::calm(), ..simcloud::Options::default() },
            |options| options.page_size = 40,
        )
        .await;
        let mut fault = Fault::always("delta", Action::status(status));
        fault.count = Some(2);
        world.cloud().inject(fault);
        let round = world.round(None).await;
        assert_eq!(round.seen, world.truth());
        assert!(round.pages >= 4, "{}", round.pages);
        world.assert_well_behaved();
    }
    let world = world_with(
        simcloud::Options {
            messages: 40,
            knobs: Knobs { delta_unsupported: true, list_timeout_above: 10, ..Knobs::calm() },
            ..simcloud::Options::default()
        },
        |options| options.page_size = 100,
    )
    .await;
    assert_first_round_is_whole(&world).await;
}

#[tokio::test]
async fn a_folder_that_is_gone_is_said_to_be_gone() {
    let world = world(1).await;
    world.cloud().create_folder("", "Projects", false).unwrap();
    let folder = world.account.open("Projects").await.unwrap();
    world.cloud().delete_folder("", "Projects").unwrap();
    let changes = world.account.changes(&folder.id, None).await;
    assert!(matches!(changes, Err(CloudError::NoSuchFolder { .. })), "{changes:?}");
}

#[tokio::test]
async fn messages_are_looked_up_one_or_many_at_a_time() {
    let world = world(30).await;
    let ids = world.ids();
    world.cloud().delete_message("", ids[3].as_str(), Deletion::Purge).unwrap();
    world.cloud().move_message("", ids[4].as_str(), "Projects").unwrap();
    let asked: Vec<RemoteId> = ids[..10].to_vec();
    let answers = world.account.look_up(&asked).await;
    assert_eq!(answers.len(), 10);
    for (id, answer) in asked.iter().zip(answers) {
        match answer.unwrap() {
            Whereabouts::Gone => assert_eq!(*id, ids[3]),
            Whereabouts::Here(seen) => {
                assert_eq!(seen.id, *id);
                assert_eq!(seen.flags, world.flags(id));
                let path = if *id == ids[4] { "Projects" } else { "Inbox" };
                assert_eq!(seen.folder.unwrap().0, world.cloud().folder_id("", path).unwrap());
                assert!(seen.received.is_some());
            }
        }
    }
    let one = world.account.look_up(&ids[3..4]).await;
    assert!(matches!(one[0], Ok(Whereabouts::Gone)));
    world.assert_well_behaved();
}

#[tokio::test]
async fn a_not_found_that_the_service_does_not_explain_is_not_gone() {
    let world = world(2).await;
    for body in [simcloud::BodyKind::Empty, simcloud::BodyKind::Html] {
        world.cloud().clear_faults();
        let action =
            Action::Status { status: 404, body, code: String::new(), message: String::new(), retry_after: None };
        world.cloud().inject(Fault::always("", action));
        let ids = world.ids();
        let answers = world.account.look_up(&ids[..1]).await;
        assert!(answers[0].is_err(), "{answers:?}");
        assert!(!matches!(answers[0], Err(CloudError::Gone)));
    }
}
