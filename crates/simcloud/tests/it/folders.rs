use serde_json::json;
use simcloud::{Knobs, Options};

use crate::client::Fixture;

#[tokio::test]
async fn well_known_names_work_in_every_language() {
    let knobs = Knobs { locale: "de".to_owned(), ..Knobs::calm() };
    let it = Fixture::new(Options { messages: 2, knobs, ..Options::default() }).await;
    let inbox = it.get("/me/mailFolders/Inbox").await.json();
    assert_eq!((&inbox["displayName"], &inbox["totalItemCount"]), (&json!("Posteingang"), &json!(2)));
    assert_eq!(it.get("/ME/MAILFOLDERS('inBOX')").await.json()["id"], inbox["id"]);
    let found = it.get("/me/mailFolders?$filter=displayName eq 'posteingang'").await.json();
    assert_eq!(found["value"][0]["id"], inbox["id"]);
    assert_eq!(it.get("/me/mailFolders?$filter=displayName eq 'inbox'").await.json()["value"], json!([]));
    assert_eq!(it.get("/me/mailFolders/msgfolderroot").await.status, 200);
}

#[tokio::test]
async fn folders_come_in_pages_of_ten_with_hidden_ones_on_request() {
    let it = Fixture::calm(0).await;
    for number in 0..15 {
        it.cloud.create_folder("", &format!("Box {number}"), number == 3).unwrap();
    }
    it.cloud.create_folder("", "Inbox/Lists/rust's", false).unwrap();
    let (mut at, mut names) = ("/me/mailFolders?$select=displayName".to_owned(), Vec::new());
    loop {
        let page = it.get(&at).await.json();
        let list = page["value"].as_array().unwrap();
        assert!(list.len() <= 10 && list[0].get("totalItemCount").is_none());
        names.extend(list.iter().map(|one| one["displayName"].as_str().unwrap().to_owned()));
        let Some(next) = page["@odata.nextLink"].as_str() else { break };
        next.clone_into(&mut at);
    }
    assert!(names.contains(&"Box 14".to_owned()) && !names.contains(&"Box 3".to_owned()));
    let all = it.get("/me/mailFolders?includeHiddenFolders=true&$top=100").await.json();
    assert_eq!(all["value"].as_array().unwrap().len(), names.len() + 3);
    let lists = it.get("/me/mailFolders/inbox/childFolders").await.json()["value"][0].clone();
    let id = lists["id"].as_str().unwrap();
    let rust = it.get(&format!("/me/mailFolders('{id}')/childFolders?$filter=displayName eq 'RUST''s'")).await.json();
    assert_eq!(rust["value"][0]["displayName"], "rust's");
    let folder = rust["value"][0]["id"].as_str().unwrap().to_owned();
    it.cloud.rename_folder("", "Inbox/Lists/rust's", "crab").unwrap();
    assert_eq!(it.get(&format!("/me/mailFolders/{folder}")).await.json()["displayName"], "crab");
    it.cloud.delete_folder("", "Inbox/Lists").unwrap();
    assert_eq!(it.get(&format!("/me/mailFolders/{folder}")).await.code(), "ErrorItemNotFound");
    assert_eq!(it.get(&format!("/me/mailFolders/{folder}/messages/delta")).await.code(), "ErrorSyncFolderNotFound");
}

#[tokio::test]
async fn folders_are_made_once_and_the_archive_may_be_missing() {
    let it = Fixture::calm(1).await;
    assert_eq!(it.post("/me/mailFolders", &json!({"displayName": "New"})).await.status, 201);
    let answer = it.post("/me/mailFolders", &json!({"displayName": "new"})).await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "ErrorFolderExists"));
    it.cloud.turn(|knobs| knobs.archive_exists = false);
    let id = it.cloud.state("").unwrap().messages().next().unwrap().id.clone();
    let answer = it.post(&format!("/me/messages/{id}/move"), &json!({"destinationId": "archive"})).await;
    assert_eq!(answer.status, 404);
    let names = it.get("/me/mailFolders").await.json().to_string();
    assert!(!names.contains("\"Archive\""));
}

#[tokio::test]
async fn folder_delta_tells_what_changed_in_the_tree() {
    let it = Fixture::calm(0).await;
    it.cloud.create_folder("", "A", false).unwrap();
    let (mut at, mut ids) = ("/me/mailFolders/delta?$select=displayName".to_owned(), Vec::new());
    let link = loop {
        let page = it.get(&at).await.json();
        ids.extend(page["value"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        match page["@odata.nextLink"].as_str() {
            Some(next) => next.clone_into(&mut at),
            None => break page["@odata.deltaLink"].as_str().unwrap().to_owned(),
        }
    };
    let a = it.cloud.folder_id("", "A").unwrap();
    assert!(ids.len() > 8 && ids.contains(&a));
    let quiet = it.get(&link).await.json();
    assert_eq!(quiet["value"], json!([]));
    let link = quiet["@odata.deltaLink"].as_str().unwrap().to_owned();
    it.cloud.create_folder("", "B", false).unwrap();
    it.cloud.move_folder("", "A", "B").unwrap();
    it.cloud.rename_folder("", "B/A", "C").unwrap();
    let page = it.get(&link).await.json();
    let told = page["value"].as_array().unwrap();
    assert_eq!(told.len(), 2);
    assert!(told.iter().any(|one| one["id"] == a.as_str() && one["displayName"] == "C"));
    it.cloud.delete_folder("", "B/C").unwrap();
    let gone = it.get(page["@odata.deltaLink"].as_str().unwrap()).await.json();
    assert_eq!(gone["value"], json!([{ "id": a, "@removed": { "reason": "deleted" } }]));
}
