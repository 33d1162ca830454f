use std::time::Duration;

use simcloud::{Action, Fault, RetryAfterStyle};

use crate::client::Fixture;

#[tokio::test]
async fn the_fifth_request_in_flight_is_refused() {
    let it = Fixture::calm(1).await;
    let hang = it.cloud.inject(Fault { count: Some(4), ..Fault::always("folders", Action::Hang) });
    let hanging: Vec<_> = (0..4).map(|_| tokio::spawn(it.request("GET", "/me/mailFolders").send())).collect();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while it.cloud.faults()[0].fired < 4 {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    let answer = it.get("/me/mailFolders").await;
    assert_eq!(
        (answer.status, answer.code().as_str(), answer.header("retry-after")),
        (429, "ApplicationThrottled", "1")
    );
    let counters = it.cloud.counters();
    assert_eq!((counters.highest_concurrency, counters.throttled_by_client), (4, 1));
    assert!(counters.violations[0].starts_with("5 requests in flight"));
    assert!(it.cloud.remove_fault(hang));
    for one in hanging {
        one.abort();
    }
}

#[tokio::test]
async fn a_pause_is_to_be_kept() {
    let it = Fixture::calm(1).await;
    it.cloud.turn(|knobs| knobs.retry_after_grace_ms = 0);
    it.cloud.inject(Fault::once("folders", Action::throttled(30)));
    assert_eq!(it.get("/me/mailFolders").await.header("retry-after"), "30");
    let answer = it.get("/me/messages").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "30"));
    let counters = it.cloud.counters();
    assert_eq!((counters.throttled_injected, counters.throttled_by_client, counters.violation_count), (1, 1, 1));
    assert!(counters.violations[0].contains("before Retry-After was over"));
    it.cloud.reset_counters();
    assert_eq!(it.get("/me/messages").await.status, 200);
}

#[tokio::test]
async fn windows_are_limited_and_the_header_has_three_styles() {
    let it = Fixture::calm(1).await;
    it.cloud.turn(|knobs| {
        knobs.window_requests = 2;
        knobs.retry_after_style = RetryAfterStyle::Missing;
    });
    assert_eq!(it.get("/me").await.status, 200);
    assert_eq!(it.get("/me").await.status, 200);
    let answer = it.get("/me").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, ""));
    it.cloud.turn(|knobs| knobs.retry_after_style = RetryAfterStyle::Date);
    let answer = it.get("/me").await;
    assert!(answer.header("retry-after").ends_with(" GMT"), "{}", answer.header("retry-after"));
    it.cloud.reset_counters();
    it.cloud.turn(|knobs| {
        knobs.window_requests = 100;
        knobs.upload_bytes = 10;
    });
    let answer = it.post("/me/messages", &serde_json::json!({"subject": "long enough"})).await;
    assert_eq!(answer.status, 429);
}

#[tokio::test]
async fn of_a_batch_each_item_counts_and_the_envelope_does_not() {
    let it = Fixture::calm(1).await;
    it.cloud.turn(|knobs| knobs.window_requests = 3);
    let item = |id: &str| serde_json::json!({"id": id, "method": "GET", "url": "/me"});
    let batch = serde_json::json!({"requests": [item("1"), item("2"), item("3")]});
    let answer = it.post("/$batch", &batch).await;
    let text = answer.json().to_string();
    assert_eq!((answer.status, text.matches("\"status\":200").count()), (200, 3), "{text}");
    assert_eq!(it.get("/me").await.status, 429);
}
