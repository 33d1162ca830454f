//! The service's limits, kept and felt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cms_cloud::contract::{CloudAccount, CloudChange, CloudError, CloudOp, Outcome};
use cms_engine::Flags;
use simcloud::{Action, Fault, Knobs};

use crate::support::{Bytes, world, world_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f10_no_more_than_four_requests_are_in_flight_whatever_is_asked() {
    let knobs = Knobs { latency_ms: 2, batch_overload: 1.0, batch_shuffle: true, ..Knobs::calm() };
    let world = world_with(simcloud::Options { messages: 60, knobs, ..simcloud::Options::default() }, |_| {}).await;
    let ids = world.ids();
    let mut tasks = Vec::new();
    for id in ids.clone() {
        let account = Arc::clone(&world.account);
        tasks.push(tokio::spawn(async move {
            account.fetch(&id, &mut Bytes::default()).await.unwrap();
        }));
    }
    let (account, asked) = (Arc::clone(&world.account), ids.clone());
    tasks.push(tokio::spawn(async move {
        assert!(account.look_up(&asked).await.iter().all(Result::is_ok));
    }));
    let ops: Vec<CloudOp> = ids
        .iter()
        .map(|id| CloudOp {
            id: id.clone(),
            change: CloudChange::SetFlags { add: Flags::SEEN, remove: Flags::NONE, result: Flags::SEEN },
        })
        .collect();
    let account = Arc::clone(&world.account);
    tasks.push(tokio::spawn(async move {
        assert!(account.apply(&ops).await.iter().all(|outcome| matches!(outcome, Outcome::Done { .. })));
    }));
    let (account, inbox) = (Arc::clone(&world.account), world.inbox.clone());
    tasks.push(tokio::spawn(async move {
        account.changes(&inbox, None).await.unwrap();
    }));
    for task in tasks {
        task.await.unwrap();
    }
    world.assert_well_behaved();
}

#[tokio::test]
async fn a_flag_change_overtakes_queued_downloads() {
    let knobs = Knobs { latency_ms: 5, ..Knobs::calm() };
    let world = world_with(simcloud::Options { messages: 40, knobs, ..simcloud::Options::default() }, |_| {}).await;
    let ids = world.ids();
    let fetches: Vec<_> = ids
        .iter()
        .map(|id| {
            let (account, id) = (Arc::clone(&world.account), id.clone());
            tokio::spawn(async move { account.fetch(&id, &mut Bytes::default()).await.unwrap() })
        })
        .collect();
    while world.cloud().counters().http_requests < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let change = CloudChange::SetFlags { add: Flags::SEEN, remove: Flags::NONE, result: Flags::SEEN };
    let outcomes = world.account.apply(&[CloudOp { id: ids[0].clone(), change }]).await;
    assert!(matches!(outcomes[0], Outcome::Done { .. }));
    assert!(fetches.iter().filter(|fetch| !fetch.is_finished()).count() > 20);
    for fetch in fetches {
        fetch.await.unwrap();
    }
    world.assert_well_behaved();
}

#[tokio::test]
async fn downloads_that_wait_for_the_budget_leave_room_for_changes() {
    let knobs = Knobs { window_requests: 100, ..Knobs::calm() };
    let options = simcloud::Options { messages: 110, knobs, ..simcloud::Options::default() };
    let world = world_with(options, |options| options.rate_limit = 100).await;
    let ids = world.ids();
    let fetches: Vec<_> = ids
        .iter()
        .map(|id| {
            let (account, id) = (Arc::clone(&world.account), id.clone());
            tokio::spawn(async move { account.fetch(&id, &mut Bytes::default()).await.unwrap() })
        })
        .collect();
    while world.cloud().counters().requests.get("value") != Some(&97) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let change = CloudChange::SetFlags { add: Flags::SEEN, remove: Flags::NONE, result: Flags::SEEN };
    let ops = [CloudOp { id: ids[0].clone(), change }];
    let apply = tokio::time::timeout(Duration::from_secs(20), world.account.apply(&ops));
    let outcomes = apply.await.expect("the reserve is for this");
    assert!(matches!(outcomes[0], Outcome::Done { .. }));
    assert_eq!(world.cloud().counters().requests.get("value"), Some(&97));
    for fetch in fetches {
        fetch.abort();
    }
    world.assert_well_behaved();
}

#[tokio::test]
async fn f10_a_pause_that_the_service_asks_for_holds_all_calls() {
    let world = world(3).await;
    world.cloud().inject(Fault::once("delta", Action::throttled(1)));
    let began = Instant::now();
    let id = world.ids().remove(0);
    let (account, inbox) = (Arc::clone(&world.account), world.inbox.clone());
    let changes = tokio::spawn(async move { account.changes(&inbox, None).await.map(drop) });
    while world.cloud().counters().throttled_injected == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The answer needs a moment to be read here.
    let log = world.cloud().requests(0);
    let throttled_at = log.iter().find(|request| request.status == 429).unwrap().answered_ms;
    changes.await.unwrap().unwrap();
    world.account.fetch(&id, &mut Bytes::default()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    let after: Vec<f64> =
        world.cloud().requests(0).iter().map(|r| r.arrived_ms).filter(|at| *at > throttled_at).collect();
    assert!(after.iter().all(|at| *at >= throttled_at + 999.0), "{throttled_at}: {after:?}");
}

#[tokio::test]
async fn a_long_pause_is_an_answer() {
    let world = world(1).await;
    world.cloud().inject(Fault::once("delta", Action::throttled(900)));
    match world.account.changes(&world.inbox, None).await {
        Err(CloudError::Throttled(pause)) => assert_eq!(pause, Duration::from_secs(900)),
        other => panic!("{other:?}"),
    }
    let requests = world.cloud().counters().http_requests;
    let id = world.ids().remove(0);
    match world.account.fetch(&id, &mut Bytes::default()).await {
        Err(CloudError::Throttled(pause)) => assert!(pause > Duration::from_secs(800), "{pause:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.cloud().counters().http_requests, requests);
}

#[tokio::test]
async fn a_service_that_takes_fewer_at_a_time_refuses_only_the_first_burst() {
    let knobs = Knobs { latency_ms: 5, concurrency_limit: 2, ..Knobs::calm() };
    let world = world_with(simcloud::Options { messages: 60, knobs, ..simcloud::Options::default() }, |_| {}).await;
    let fetches: Vec<_> = world
        .ids()
        .into_iter()
        .map(|id| {
            let account = Arc::clone(&world.account);
            tokio::spawn(async move { account.fetch(&id, &mut Bytes::default()).await.unwrap() })
        })
        .collect();
    for fetch in fetches {
        fetch.await.unwrap();
    }
    let log = world.cloud().requests(0);
    let refused: Vec<f64> = log.iter().filter(|request| request.status == 429).map(|r| r.arrived_ms).collect();
    let first = refused.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(!refused.is_empty(), "four were in flight at first");
    assert!(refused.iter().all(|at| *at < first + 999.0), "refused again after the pause: {refused:?}");
}
