use base64::Engine as _;
use serde_json::{Value, json};
use simcloud::{Action, Fault};

use crate::client::Fixture;

fn item<'a>(answer: &'a Value, id: &str) -> &'a Value {
    answer["responses"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap()
}

#[tokio::test]
async fn items_are_answered_each_for_itself() {
    let it = Fixture::calm(3).await;
    let ids: Vec<String> = it.cloud.state("").unwrap().messages().map(|one| one.id.clone()).collect();
    let answer = it
        .post("/$batch", &json!({"requests": [
            {"id": "value", "method": "GET", "url": format!("/me/messages/{}/$value", ids[0])},
            {"id": "patch", "method": "PATCH", "url": format!("/me/messages/{}", ids[1]), "headers": {"Content-Type": "application/json", "Prefer": "IdType=\"ImmutableId\""}, "body": {"flag": {"flagStatus": "flagged"}}},
            {"id": "delete", "method": "DELETE", "url": format!("me/messages/{}", ids[2])},
            {"id": "classic", "method": "GET", "url": format!("/me/messages/{}?$select=id", ids[1])},
        ]}))
        .await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    let value = item(&answer, "value");
    let bytes = base64::engine::general_purpose::STANDARD.decode(value["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        (bytes, &value["headers"]["Content-Type"]),
        (it.cloud.mime("", &ids[0]).unwrap().to_vec(), &json!("text/plain"))
    );
    assert_eq!(item(&answer, "patch")["body"]["id"], ids[1].as_str());
    assert_eq!(item(&answer, "patch")["headers"]["Preference-Applied"], "IdType=ImmutableId");
    assert_eq!(item(&answer, "delete")["status"], 204);
    assert!(item(&answer, "delete").get("body").is_none());
    assert_eq!(item(&answer, "classic")["body"]["id"].as_str().unwrap().len(), 152);
    let counters = it.cloud.counters();
    assert_eq!((counters.requests["batch"], counters.requests["batch-item:patch"]), (1, 1));
    assert_eq!(counters.highest_concurrency, 4);
}

#[tokio::test]
async fn envelopes_have_rules() {
    let it = Fixture::calm(0).await;
    let get = |id: String| json!({"id": id, "method": "GET", "url": "/me"});
    let many: Vec<Value> = (0..21).map(|number| get(number.to_string())).collect();
    assert_eq!(it.post("/$batch", &json!({"requests": many})).await.status, 400);
    assert_eq!(it.post("/$batch", &json!({"requests": [get("a".to_owned()), get("A".to_owned())]})).await.status, 400);
    assert_eq!(
        it.post("/$batch", &json!({"requests": [{"id": "1", "method": "PATCH", "url": "/me", "body": {}}]}))
            .await
            .status,
        400
    );
    assert_eq!(it.post("/$batch", &json!({})).await.status, 400);
}

#[tokio::test]
async fn dependants_of_a_failure_fail() {
    let it = Fixture::calm(1).await;
    let id = it.cloud.state("").unwrap().messages().next().unwrap().id.clone();
    it.cloud.inject(Fault::once("batch-item:patch", Action::throttled(3)));
    let answer = it
        .post("/$batch", &json!({"requests": [
            {"id": "1", "method": "PATCH", "url": format!("/me/messages/{id}"), "headers": {"content-type": "application/json"}, "body": {"isRead": true}},
            {"id": "2", "method": "DELETE", "url": format!("/me/messages/{id}"), "dependsOn": ["1"]},
        ]}))
        .await
        .json();
    assert_eq!(
        (&item(&answer, "1")["status"], &item(&answer, "1")["headers"]["Retry-After"]),
        (&json!(429), &json!("3"))
    );
    assert_eq!(item(&answer, "2")["status"], 424);
    assert_eq!(it.cloud.counters().throttled_injected, 1);
    assert_eq!(it.get(&format!("/me/messages/{id}")).await.status, 200);
}

#[tokio::test]
async fn more_than_four_independent_items_are_too_many() {
    let it = Fixture::calm(0).await;
    it.cloud.turn(|knobs| {
        knobs.batch_overload = 1.0;
        knobs.batch_shuffle = true;
    });
    let requests: Vec<Value> = (0..20).map(|number| json!({"id": number.to_string(), "method": "GET", "url": format!("/me/mailFolders?$skip={number}")})).collect();
    let answer = it.post("/$batch", &json!({"requests": requests})).await.json();
    let statuses: Vec<u64> =
        answer["responses"].as_array().unwrap().iter().map(|one| one["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 16);
    let order: Vec<&str> =
        answer["responses"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_ne!(order, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    // Sent again before its time, an item is refused and counted.
    let again = it
        .post("/$batch", &json!({"requests": [{"id": "1", "method": "GET", "url": "/me/mailFolders?$skip=19"}]}))
        .await
        .json();
    assert_eq!(item(&again, "1")["status"], 429);
    assert!(it.cloud.counters().violations.iter().any(|text| text.contains("before its Retry-After")));
    let chain: Vec<Value> = (0..20)
        .map(|number: u32| {
            let before: Vec<String> = number.checked_sub(1).iter().map(ToString::to_string).collect();
            json!({"id": number.to_string(), "method": "GET", "url": "/me", "dependsOn": before})
        })
        .collect();
    let answer = it.post("/$batch", &json!({"requests": chain})).await.json();
    assert!(answer["responses"].as_array().unwrap().iter().all(|one| one["status"] == 200));
}
