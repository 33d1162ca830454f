//! Small messages fetched together.

use std::sync::Arc;
use std::time::Duration;

use cms_cloud::contract::{Changes, CloudAccount, CloudChange, CloudError, CloudOp, Outcome, Wanted};
use cms_engine::{Flags, RemoteId};
use futures_util::future::join_all;
use simcloud::{Action, Deletion, Fault, FlagChange, Knobs, NewMessage};

use crate::support::{Bytes, World, impatient_world, world, world_with};

type Answer = Result<u64, CloudError>;

/// Fetches messages in one call, and those alone that have to be.
async fn fetch(world: &World, ids: &[RemoteId]) -> (Vec<Bytes>, Vec<Answer>) {
    let mut sinks: Vec<Bytes> = ids.iter().map(|_| Bytes::default()).collect();
    let mut wanted: Vec<Wanted<'_>> = ids.iter().zip(&mut sinks).map(|(id, sink)| Wanted { id, sink }).collect();
    let answers = world.account.fetch_together(&mut wanted).await;
    assert_eq!(answers.len(), ids.len());
    let mut results = Vec::new();
    for ((id, sink), answer) in ids.iter().zip(&mut sinks).zip(answers) {
        if answer.is_none() {
            assert!(sink.bytes.is_empty(), "something is left of the first attempt");
        }
        results.push(match answer {
            Some(answer) => answer,
            None => world.account.fetch(id, sink).await,
        });
    }
    (sinks, results)
}

fn assert_is_whole(world: &World, id: &RemoteId, sink: &Bytes, result: &Answer) {
    assert_eq!(*result.as_ref().unwrap(), sink.bytes.len() as u64);
    assert_eq!(sink.bytes, world.cloud().mime("", id.as_str()).unwrap());
}

fn requests(world: &World, kind: &str) -> u64 {
    world.cloud().counters().requests.get(kind).copied().unwrap_or_default()
}

#[tokio::test]
async fn messages_come_as_they_are_and_take_one_place() {
    for gzip in [true, false] {
        let world = world(20).await;
        world.cloud().turn(|knobs| (knobs.gzip, knobs.batch_shuffle) = (gzip, true));
        let ids = world.ids();
        let (sinks, results) = fetch(&world, &ids).await;
        for ((id, sink), result) in ids.iter().zip(&sinks).zip(&results) {
            assert_is_whole(&world, id, sink, result);
        }
        assert_eq!((requests(&world, "batch"), requests(&world, "value")), (1, 0));
        assert_eq!(world.cloud().counters().highest_concurrency, 1);
        world.assert_well_behaved();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f10_eight_calls_at_a_time_take_four_places() {
    let knobs = Knobs { latency_ms: 50, batch_overload: 1.0, ..Knobs::calm() };
    let world = world_with(simcloud::Options { messages: 160, knobs, ..simcloud::Options::default() }, |_| {}).await;
    let ids = world.ids();
    for (_, results) in join_all(ids.chunks(20).map(|ids| fetch(&world, ids))).await {
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }
    assert_eq!((requests(&world, "batch"), requests(&world, "value")), (8, 0));
    assert!(world.cloud().counters().highest_concurrency > 1);
    world.assert_well_behaved();
}

#[tokio::test]
async fn more_than_a_batch_holds_goes_into_several() {
    let world = world(45).await;
    let ids = world.ids();
    let (_, results) = fetch(&world, &ids).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!((requests(&world, "batch"), requests(&world, "value")), (3, 0));
    world.assert_well_behaved();
}

#[tokio::test]
async fn one_message_is_asked_for_alone() {
    let world = world(1).await;
    let ids = world.ids();
    let (sinks, results) = fetch(&world, &ids).await;
    assert_is_whole(&world, &ids[0], &sinks[0], &results[0]);
    assert_eq!((requests(&world, "batch"), requests(&world, "value")), (0, 1));
}

#[tokio::test]
async fn a_message_that_is_gone_holds_up_none_of_the_others() {
    let world = world(12).await;
    let ids = world.ids();
    for gone in [3, 8] {
        world.cloud().delete_message("", ids[gone].as_str(), Deletion::Purge).unwrap();
    }
    let (sinks, results) = fetch(&world, &ids).await;
    for (number, ((id, sink), result)) in ids.iter().zip(&sinks).zip(&results).enumerate() {
        if [3, 8].contains(&number) {
            assert!(matches!(result, Err(CloudError::Gone)), "{result:?}");
            assert!(sink.bytes.is_empty());
        } else {
            assert_is_whole(&world, id, sink, result);
        }
    }
    assert_eq!((requests(&world, "batch"), requests(&world, "value")), (3, 0));
    world.assert_well_behaved();
}

#[tokio::test]
async fn a_message_that_the_service_cannot_make_is_given_up_alone() {
    let world = world(6).await;
    let ids = world.ids();
    let change = FlagChange { unconvertible: Some(true), ..FlagChange::default() };
    world.cloud().set_flags("", ids[2].as_str(), change).unwrap();
    let (sinks, results) = fetch(&world, &ids).await;
    for (number, ((id, sink), result)) in ids.iter().zip(&sinks).zip(&results).enumerate() {
        match number {
            2 => assert!(matches!(result, Err(CloudError::Unconvertible { .. })), "{result:?}"),
            _ => assert_is_whole(&world, id, sink, result),
        }
    }
    assert_eq!(requests(&world, "value"), 3, "it is tried as often as one that is fetched alone");
    world.assert_well_behaved();
}

/// What may happen to an item, or to a batch as a whole.
fn mishaps() -> Vec<Fault> {
    let times = |count, fault: Fault| Fault { count: Some(count), skip: 2, ..fault };
    let item = |count, action| times(count, Fault::always("batch-item:value", action));
    let batch = |action| Fault::once("batch", action);
    vec![
        item(1, Action::throttled(1)),
        item(1, Action::status(429)),
        item(4, Action::status(500)),
        item(2, Action::status(503)),
        item(1, Action::status(401)),
        item(1, Action::status(400)),
        batch(Action::throttled(1)),
        batch(Action::status(400)),
        batch(Action::status(401)),
        batch(Action::status(500)),
        batch(Action::status(504)),
        batch(Action::ResetBefore),
        batch(Action::ResetAfter),
        batch(Action::Hang),
        batch(Action::Truncate { after: 3000 }),
        batch(Action::Stall { after: 3000 }),
        batch(Action::Html),
        batch(Action::Garbage),
        batch(Action::ErrorInOk { code: "ErrorInternalServerError".to_owned() }),
        batch(Action::empty()),
    ]
}

#[tokio::test]
async fn f16_whatever_happens_to_a_batch_all_come_whole_in_the_end() {
    for fault in mishaps() {
        println!("{fault:?}");
        let world = impatient_world(8, 10).await;
        world.cloud().inject(fault);
        let ids = world.ids();
        let (sinks, results) = fetch(&world, &ids).await;
        for ((id, sink), result) in ids.iter().zip(&sinks).zip(&results) {
            assert_is_whole(&world, id, sink, result);
        }
        let counters = world.cloud().counters();
        assert!(counters.faults_injected > 0);
        assert_eq!((counters.violations, counters.throttled_by_client), (Vec::new(), 0));
    }
}

#[tokio::test]
async fn f10_a_pause_that_an_item_asks_for_holds_all_calls() {
    let world = world(6).await;
    world.cloud().inject(Fault { skip: 1, ..Fault::once("batch-item:value", Action::throttled(1)) });
    let (_, results) = fetch(&world, &world.ids()).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let log = world.cloud().requests(0);
    assert!(log.len() > 1);
    for later in &log[1..] {
        assert!(later.arrived_ms >= log[0].answered_ms + 999.0, "{later:?}");
    }
    world.assert_well_behaved();
}

#[tokio::test]
async fn an_item_that_found_no_place_narrows_the_gate() {
    let knobs = Knobs { latency_ms: 5, ..Knobs::calm() };
    let world = world_with(simcloud::Options { messages: 40, knobs, ..simcloud::Options::default() }, |_| {}).await;
    let crowded = Action::Status {
        status: 429,
        body: simcloud::BodyKind::default(),
        code: "ApplicationThrottled".to_owned(),
        message: "Application is over its MailboxConcurrency limit.".to_owned(),
        retry_after: Some(simcloud::RetryAfter::Seconds(0)),
    };
    world.cloud().inject(Fault::once("batch-item:value", crowded));
    let ids = world.ids();
    let (first, rest) = ids.split_at(4);
    assert!(fetch(&world, first).await.1.iter().all(Result::is_ok));
    world.cloud().reset_counters();
    for (_, results) in join_all(rest.chunks(4).map(|ids| fetch(&world, ids))).await {
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }
    assert_eq!(world.cloud().counters().highest_concurrency, 2);
}

#[tokio::test]
async fn batches_that_wait_for_the_budget_leave_room_for_changes() {
    let knobs = Knobs { window_requests: 100, ..Knobs::calm() };
    let options = simcloud::Options { messages: 110, knobs, ..simcloud::Options::default() };
    let world = Arc::new(world_with(options, |options| options.rate_limit = 100).await);
    let ids = world.ids();
    let fetches: Vec<_> = ids
        .chunks(3)
        .map(|ids| {
            let (world, ids) = (Arc::clone(&world), ids.to_vec());
            tokio::spawn(async move { fetch(&world, &ids).await })
        })
        .collect();
    // One request of a hundred is never made, and two are left to others; a batch counts as three.
    let used_up = async {
        while requests(&world, "batch-item:value") != 96 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), used_up).await.expect("the budget is used up");
    let change = CloudChange::SetFlags { add: Flags::SEEN, remove: Flags::NONE, result: Flags::SEEN };
    let ops = [CloudOp { id: ids[0].clone(), change }];
    let apply = tokio::time::timeout(Duration::from_secs(20), world.account.apply(&ops));
    assert!(matches!(apply.await.expect("the reserve is for this")[0], Outcome::Done { .. }));
    assert_eq!(requests(&world, "batch-item:value"), 96);
    for fetch in fetches {
        fetch.abort();
    }
    world.assert_well_behaved();
}

#[tokio::test]
async fn batches_shrink_while_they_fail_and_grow_again() {
    let world = world(20).await;
    let most = || world.account.capabilities().together.unwrap().most;
    assert_eq!(most(), 20);
    world.cloud().inject(Fault { count: Some(2), ..Fault::always("batch", Action::status(504)) });
    let ids = world.ids();
    for expected in [10, 5] {
        let count = most();
        assert!(fetch(&world, &ids[..count]).await.1.iter().all(Result::is_ok));
        assert_eq!(most(), expected);
    }
    for _ in 0..15 {
        fetch(&world, &ids[..2]).await;
    }
    assert_eq!(most(), 20);
}

#[tokio::test]
async fn messages_that_turn_out_to_be_long_come_alone() {
    let world = world(0).await;
    let mut mime = b"Subject: long\r\n\r\n".to_vec();
    mime.extend(std::iter::repeat_n(*b"0123456789abcdef\r\n", 1 << 17).flatten());
    let ids: Vec<RemoteId> = (0..2)
        .map(|_| RemoteId::new(world.cloud().add_message("", NewMessage::mime("Inbox", mime.clone())).unwrap()))
        .collect();
    let (sinks, results) = fetch(&world, &ids).await;
    for ((id, sink), result) in ids.iter().zip(&sinks).zip(&results) {
        assert_is_whole(&world, id, sink, result);
    }
    assert_eq!((requests(&world, "batch"), requests(&world, "value")), (1, 2));
}

#[tokio::test]
async fn a_listing_tells_about_how_long_messages_are() {
    let world = world(60).await;
    let Changes::Page(page) = world.account.changes(&world.inbox, None).await.unwrap() else { panic!("no page") };
    assert_eq!(page.upserts.len(), 60);
    for seen in page.upserts {
        let real = world.cloud().mime("", seen.id.as_str()).unwrap().len() as u64;
        let told = seen.size.unwrap();
        assert!(told >= real && told <= real + 4096, "{told} {real}");
    }
}
