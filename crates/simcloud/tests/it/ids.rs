use serde_json::json;
use simcloud::{Knobs, NewMessage, Options};

use crate::client::Fixture;

#[tokio::test]
async fn classic_ids_change_on_moving_and_immutable_ones_do_not() {
    let mut it = Fixture::calm(0).await;
    let immutable = it.cloud.add_message("", NewMessage::generated("inbox")).unwrap();
    it.immutable = false;
    let answer = it.get(&format!("/me/messages/{immutable}?$select=id")).await;
    let classic = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!((classic.len(), immutable.len(), answer.header("preference-applied")), (152, 68, ""));
    let answer = it.post(&format!("/me/messages/{classic}/move"), &json!({"destinationId": "Archive"})).await;
    let moved = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.status, 201);
    assert_ne!(moved, classic);
    assert_eq!(it.get(&format!("/me/messages/{classic}")).await.code(), "ErrorItemNotFound");
    it.immutable = true;
    let answer = it.get(&format!("/me/messages/{moved}?$select=id,parentFolderId")).await;
    assert_eq!(
        (answer.json()["id"].as_str().unwrap(), answer.header("preference-applied")),
        (immutable.as_str(), "IdType=ImmutableId")
    );
    assert_eq!(answer.json()["parentFolderId"], it.cloud.folder_id("", "archive").unwrap());
    let answer = it.post(&format!("/me/messages/{immutable}/move"), &json!({"destinationId": "inbox"})).await;
    assert_eq!(answer.json()["id"], immutable.as_str());
    let copy = it.post(&format!("/me/messages/{immutable}/copy"), &json!({"destinationId": "inbox"})).await;
    assert_ne!(copy.json()["id"], immutable.as_str());
    assert!(it.cloud.counters().notes.keys().any(|note| note.starts_with("message:")));
    assert_eq!(it.cloud.counters().violation_count, 0);
}

#[tokio::test]
async fn classic_ids_rot_on_their_own() {
    let mut it = Fixture::calm(1).await;
    it.immutable = false;
    let one = it.cloud.state("").unwrap().messages().next().unwrap().clone();
    it.cloud.rot_classic_id("", &one.id).unwrap();
    assert_eq!(it.get(&format!("/me/messages/{}", one.classic_id)).await.status, 404);
    assert_eq!(it.get(&format!("/me/messages/{}", one.id)).await.status, 200);
}

#[tokio::test]
async fn broken_and_foreign_ids_are_told_apart() {
    let users = vec!["a@x.org".to_owned(), "b@x.org".to_owned()];
    let it = Fixture::new(Options { users, messages: 1, knobs: Knobs::calm(), ..Options::default() }).await;
    let foreign = it.cloud.state("b@x.org").unwrap().messages().next().unwrap().id.clone();
    assert_eq!(it.get(&format!("/me/messages/{foreign}")).await.code(), "ErrorInvalidMailboxItemId");
    assert_eq!(it.get("/me/messages/AAMkBroken").await.code(), "ErrorInvalidIdMalformed");
    assert_eq!(it.get("/users/b@x.org/messages").await.code(), "ErrorAccessDenied");
    assert_eq!(it.get("/users/A@x.org/messages").await.status, 200);
    let own = it.cloud.state("a@x.org").unwrap().messages().next().unwrap().id.clone();
    let lower = it.get(&format!("/me/messages/{}", own.to_lowercase())).await;
    assert_eq!(lower.status, 400);
    let qualified = it.get(&format!("/me/mailFolders/archive/messages/{own}")).await;
    assert_eq!(qualified.status, 404);
}

#[tokio::test]
async fn ids_are_translated() {
    let it = Fixture::calm(1).await;
    let one = it.cloud.state("").unwrap().messages().next().unwrap().clone();
    let body =
        json!({"inputIds": [one.classic_id, "x"], "sourceIdType": "restId", "targetIdType": "restImmutableEntryId"});
    let answer = it.post("/me/translateExchangeIds", &body).await.json();
    assert_eq!(answer["value"][0]["targetId"], one.id.as_str());
    assert!(answer["value"][1]["errorDetails"].is_object());
}
