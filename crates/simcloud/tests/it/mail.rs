use base64::Engine as _;
use serde_json::json;
use simcloud::{Deletion, FlagChange, Knobs, NewMessage, Options};

use crate::client::Fixture;

async fn first_id(it: &Fixture) -> String {
    let answer = it.get("/me/mailFolders/inbox/messages?$select=id&$top=1").await;
    answer.json()["value"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn lists_have_ten_items_newest_first_and_links_with_skip() {
    let it = Fixture::calm(25).await;
    let (mut at, mut seen) = ("/me/mailFolders/inbox/messages?$select=receivedDateTime".to_owned(), Vec::new());
    loop {
        let page = it.get(&at).await.json();
        seen.extend(
            page["value"].as_array().unwrap().iter().map(|one| one["receivedDateTime"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["@odata.nextLink"].as_str() else { break };
        assert!(next.contains("skip=10") || next.contains("skip=20"), "{next}");
        next.clone_into(&mut at);
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.iter().rev().is_sorted());
    assert_eq!(it.get("/me/mailFolders/inbox/messages?$top=1001").await.status, 400);
    assert_eq!(it.get("/me/mailFolders/inbox/messages?$unknown=1").await.status, 400);
    assert_eq!(it.get("/me/messages?$top=30").await.json()["value"].as_array().unwrap().len(), 25);
}

#[tokio::test]
async fn list_filters_and_orders() {
    let it = Fixture::calm(25).await;
    let one = it.cloud.state("").unwrap().messages().find(|one| one.message_id.is_some()).unwrap().clone();
    let filter = format!("/me/mailFolders/inbox/messages?$filter=internetMessageId eq '{}'", one.message_id.unwrap());
    assert!(
        it.get(&filter).await.json()["value"].as_array().unwrap().iter().any(|found| found["id"] == one.id.as_str())
    );
    let oldest = it.get("/me/mailFolders/inbox/messages?$orderby=receivedDateTime asc&$top=1").await.json();
    let first = it.cloud.state("").unwrap().messages().map(|one| one.received.clone()).min().unwrap();
    assert_eq!(oldest["value"][0]["receivedDateTime"], first.as_str());
    let answer = it.get("/me/mailFolders/inbox/messages?$filter=isRead eq true&$orderby=receivedDateTime desc").await;
    assert_eq!(answer.code(), "InefficientFilter");
    it.cloud.turn(|knobs| knobs.list_timeout_above = 100);
    assert_eq!(it.get("/me/mailFolders/inbox/messages?$top=200").await.status, 504);
}

#[tokio::test]
async fn values_are_the_bytes_of_the_state_in_chunks() {
    let it = Fixture::calm(30).await;
    for message in it.cloud.state("").unwrap().messages() {
        let answer = it.get(&format!("/me/messages/{}/$value", message.id)).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain"));
        assert_eq!(answer.header("content-length"), "");
        assert_eq!(blake3::hash(&answer.bytes).to_hex().to_string(), message.blake3_crlf);
        assert_eq!(it.cloud.mime("", &message.id).unwrap(), answer.bytes);
    }
    let id = first_id(&it).await;
    let answer = it.get(&format!("/me/mailFolders/inbox/messages/{id}/$value")).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "ErrorInvalidRequest"));
    assert_eq!(it.cloud.downloads("")[&id], 1);
}

#[tokio::test]
async fn eml_files_are_served_with_crlf_and_nothing_else_changed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.eml"), b"Subject: a\nX: \xff\n\nlone\rcr\0\nno end").unwrap();
    std::fs::write(directory.path().join("b.eml"), b"Subject: b\r\n\r\nalready\r\n").unwrap();
    let eml = Some(directory.path().to_owned());
    let it = Fixture::new(Options { eml, knobs: Knobs::calm(), ..Options::default() }).await;
    let ids: Vec<String> = it.cloud.state("").unwrap().messages().map(|one| one.id.clone()).collect();
    let a = it.get(&format!("/me/messages/{}/$value", ids[0])).await;
    assert_eq!(a.bytes, b"Subject: a\r\nX: \xff\r\n\r\nlone\rcr\0\r\nno end");
    let b = it.get(&format!("/me/messages/{}/$value", ids[1])).await;
    assert_eq!(b.bytes, b"Subject: b\r\n\r\nalready\r\n");
    it.cloud.turn(|knobs| knobs.rebuild_mime = true);
    let rebuilt = it.get(&format!("/me/messages/{}/$value", ids[1])).await;
    assert_eq!(rebuilt.bytes, it.get(&format!("/me/messages/{}/$value", ids[1])).await.bytes);
    assert_ne!(rebuilt.bytes, b.bytes);
    it.cloud.turn(|knobs| knobs.unstable_mime = true);
    let one = it.get(&format!("/me/messages/{}/$value", ids[1])).await;
    assert_ne!(one.bytes, it.get(&format!("/me/messages/{}/$value", ids[1])).await.bytes);
}

#[tokio::test]
async fn an_unconvertible_message_fails_for_ever() {
    let it = Fixture::calm(0).await;
    let new = NewMessage { unconvertible: true, ..NewMessage::generated("inbox") };
    let id = it.cloud.add_message("", new).unwrap();
    for _ in 0..3 {
        let answer = it.get(&format!("/me/messages/{id}/$value")).await;
        assert_eq!((answer.status, answer.code().as_str()), (500, "ErrorMimeContentConversionFailed"));
    }
    assert_eq!(it.get(&format!("/me/messages/{id}")).await.status, 200);
}

#[tokio::test]
async fn a_patch_answers_with_the_whole_message_and_another_etag() {
    let it = Fixture::calm(1).await;
    let id = first_id(&it).await;
    let before = it.get(&format!("/me/messages/{id}")).await.json();
    let read = before["isRead"].as_bool().unwrap();
    let answer = it.patch(&id, &json!({"isRead": !read, "categories": ["red"]})).await;
    let after = answer.json();
    assert_eq!((answer.status, &after["isRead"], &after["categories"]), (200, &json!(!read), &json!(["red"])));
    assert_ne!(before["@odata.etag"], after["@odata.etag"]);
    assert!(after["subject"].is_string() && after["body"]["content"].is_string() && after["changeKey"].is_string());
    let etag = before["@odata.etag"].as_str().unwrap();
    let stale =
        it.request("PATCH", &format!("/me/messages/{id}")).header("If-Match", etag).json(&json!({"isRead": read}));
    let answer = it.send(stale).await;
    assert_eq!((answer.status, answer.code().as_str()), (412, "ErrorIrresolvableConflict"));
    let fresh = after["@odata.etag"].as_str().unwrap();
    let request =
        it.request("PATCH", &format!("/me/messages/{id}")).header("If-Match", fresh).json(&json!({"isRead": read}));
    assert_eq!(it.send(request).await.status, 200);
}

#[tokio::test]
async fn extended_properties_can_be_written_but_not_all() {
    let it = Fixture::calm(0).await;
    let id = it.cloud.add_message("", NewMessage::generated("inbox")).unwrap();
    let expand = format!(
        "/me/messages/{id}?$select=id&$expand=singleValueExtendedProperties($filter=id eq 'Integer 0x1080' or id eq 'Integer 0x1081' or id eq 'SystemTime 0x1082')"
    );
    assert!(it.get(&expand).await.json().get("singleValueExtendedProperties").is_none());
    let body = json!({"singleValueExtendedProperties": [{"id": "Integer 0x1080", "value": "261"}, {"id": "Integer 0x1081", "value": "103"}, {"id": "SystemTime 0x1082", "value": "2026-01-31T12:00:00Z"}]});
    assert_eq!(it.patch(&id, &body).await.status, 200);
    assert_eq!(it.get(&expand).await.json()["singleValueExtendedProperties"].as_array().unwrap().len(), 3);
    let state = it.cloud.message("", &id).unwrap();
    assert_eq!((state.icon, state.verb), (Some(261), Some(103)));
    for body in [
        json!({"singleValueExtendedProperties": [{"id": "Integer 0x0E17", "value": "512"}]}),
        json!({"singleValueExtendedProperties": [{"id": "Integer 0x1080", "value": 261}]}),
        json!({"subject": "other"}),
        json!({"nonsense": true}),
    ] {
        assert_eq!(it.patch(&id, &body).await.status, 400, "{body}");
    }
    it.cloud.turn(|knobs| {
        knobs.refuse_extended = true;
        knobs.refuse_sensitive = true;
    });
    assert_eq!(it.patch(&id, &body).await.code(), "ErrorAccessDenied");
    assert_eq!(it.patch(&id, &json!({"subject": "x"})).await.status, 403);
    assert_eq!(it.patch(&id, &json!({"isRead": true})).await.status, 200);
}

#[tokio::test]
async fn patches_can_be_ignored_or_meet_conflicts() {
    let it = Fixture::calm(0).await;
    let id = it.cloud.add_message("", NewMessage::generated("inbox")).unwrap();
    it.cloud.turn(|knobs| knobs.patch_ignored = 1.0);
    let answer = it.patch(&id, &json!({"isRead": true})).await;
    assert_eq!((answer.status, answer.json()["isRead"].as_bool()), (200, Some(false)));
    it.cloud.turn(|knobs| knobs.patch_ignored_in_a_row = 2);
    // The second of the two in a row was the first of these.
    for (read, is_so) in [(false, false), (true, true), (false, true)] {
        let answer = it.patch(&id, &json!({"isRead": read})).await;
        assert_eq!(answer.json()["isRead"].as_bool(), Some(is_so), "every third is made");
    }
    it.cloud.turn(|knobs| {
        knobs.patch_ignored = 0.0;
        knobs.patch_conflict = 1.0;
    });
    assert_eq!(it.patch(&id, &json!({"isRead": true})).await.status, 412);
}

#[tokio::test]
async fn what_is_gone_is_not_found() {
    let it = Fixture::calm(3).await;
    let ids: Vec<String> = it.cloud.state("").unwrap().messages().map(|one| one.id.clone()).collect();
    let delete = |path: String| it.send(it.request("DELETE", &path));
    let answer = delete(format!("/me/messages/{}", ids[0])).await;
    assert_eq!((answer.status, answer.bytes.len()), (204, 0));
    assert_eq!(delete(format!("/me/messages/{}", ids[0])).await.code(), "ErrorItemNotFound");
    assert_eq!(it.post(&format!("/me/messages/{}/permanentDelete", ids[1]), &json!({})).await.status, 204);
    it.cloud.delete_message("", &ids[2], Deletion::Purge).unwrap();
    for id in &ids {
        assert_eq!(it.get(&format!("/me/messages/{id}")).await.status, 404);
        assert_eq!(it.get(&format!("/me/messages/{id}/$value")).await.status, 404);
        assert_eq!(it.patch(id, &json!({"isRead": true})).await.status, 404);
        assert_eq!(it.post(&format!("/me/messages/{id}/move"), &json!({"destinationId": "archive"})).await.status, 404);
    }
    let state = it.cloud.state("").unwrap();
    assert_eq!(state.messages().map(|one| one.folder.as_str()).collect::<Vec<_>>(), ["Deletions"]);
}

#[tokio::test]
async fn mime_becomes_a_draft_and_can_be_replaced() {
    let it = Fixture::calm(0).await;
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let request = |path: &str, method: &str, body: String| {
        it.request(method, path).header("Content-Type", "text/plain").body(body)
    };
    let answer = it.send(request("/me/messages", "POST", base64("Subject: one\r\n\r\nhi\r\n"))).await;
    let json = answer.json();
    assert_eq!((answer.status, &json["isDraft"], &json["subject"]), (201, &json!(true), &json!("one")));
    let id = json["id"].as_str().unwrap();
    let answer = it.send(request(&format!("/me/messages/{id}/$value"), "PUT", base64("Subject: two\r\n\r\n"))).await;
    assert_eq!(answer.json()["subject"], "two");
    let answer = it.send(request("/me/messages", "POST", "&&&".to_owned())).await;
    assert_eq!(answer.code(), "ErrorMimeContentInvalidBase64String");
    let answer = it.send(request("/me/mailFolders/inbox/messages", "POST", base64("Subject: x\r\n\r\n"))).await;
    assert_eq!(answer.code(), "UnableToDeserializePostBody");
    assert_eq!(it.send(request("/me/messages", "POST", "A".repeat(5_000_000))).await.status, 413);
}

#[tokio::test]
async fn gzip_is_honoured() {
    let it = Fixture::calm(20).await;
    let http = reqwest::Client::builder().no_gzip().build().unwrap();
    let raw = |value: &'static str| {
        http.get(format!("{}/v1.0/me/messages?$top=20", it.server.url()))
            .bearer_auth(&it.token)
            .header("Accept-Encoding", value)
    };
    let packed = it.send(raw("gzip")).await;
    let plain = it.send(raw("identity")).await;
    assert_eq!((packed.header("content-encoding"), plain.header("content-encoding")), ("gzip", ""));
    assert!(packed.bytes.len() < plain.bytes.len());
    assert_eq!(plain.json()["value"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn read_state_alone_leaves_the_time_of_modification() {
    let it = Fixture::calm(0).await;
    let new = NewMessage { received: Some(1_500_000_000), ..NewMessage::mime("inbox", "Subject: x\n\n") };
    let id = it.cloud.add_message("", new).unwrap();
    it.cloud.set_flags("", &id, FlagChange { is_read: Some(true), ..FlagChange::default() }).unwrap();
    let one = it.get(&format!("/me/messages/{id}?$select=lastModifiedDateTime,receivedDateTime")).await.json();
    assert_eq!(one["lastModifiedDateTime"], one["receivedDateTime"]);
    it.patch(&id, &json!({"flag": {"flagStatus": "flagged"}})).await;
    let one = it.get(&format!("/me/messages/{id}?$select=lastModifiedDateTime,receivedDateTime")).await.json();
    assert_ne!(one["lastModifiedDateTime"], one["receivedDateTime"]);
}

#[tokio::test]
async fn mime_becomes_a_draft_dated_now_and_anything_else_only_in_beta_with_the_grant() {
    let it =
        Fixture::new(Options { knobs: Knobs { uploads_kept: false, ..Knobs::calm() }, ..Options::default() }).await;
    let mime = base64::engine::general_purpose::STANDARD
        .encode("Received: by x\nDate: Mon, 1 Jan 2024 12:00:00 +0000\nSubject: s\nMessage-ID: <a@b>\n\nbody\n");
    let post =
        |url: String| it.http.post(url).bearer_auth(&it.token).header("content-type", "text/plain").body(mime.clone());
    let draft = post(format!("{}/v1.0/me/messages", it.server.url())).send().await.unwrap();
    assert_eq!(draft.status(), 201);
    let draft: serde_json::Value = serde_json::from_slice(&draft.bytes().await.unwrap()).unwrap();
    assert_eq!(
        (&draft["isDraft"], &draft["isRead"], &draft["internetMessageId"]),
        (&json!(true), &json!(true), &json!("<a@b>"))
    );
    let made = it.cloud.mime("", draft["id"].as_str().unwrap()).unwrap();
    let made = String::from_utf8_lossy(&made);
    assert!(made.contains("Subject: s\r\n") && !made.contains("2024") && !made.contains("Received"), "{made}");
    let import = |version: &str| format!("{}/{version}/me/mailFolders/inbox/importMime", it.server.url());
    assert_eq!(post(import("beta")).send().await.unwrap().status(), 403);
    it.cloud.set_knobs(Knobs { advanced_granted: true, ..Knobs::calm() });
    assert_eq!(post(import("v1.0")).send().await.unwrap().status(), 400);
    let imported = post(import("beta")).send().await.unwrap();
    assert_eq!(imported.status(), 201);
    let imported: serde_json::Value = serde_json::from_slice(&imported.bytes().await.unwrap()).unwrap();
    assert_eq!(
        (&imported["isDraft"], &imported["parentFolderId"]),
        (&json!(false), &json!(it.cloud.folder_id("", "inbox").unwrap()))
    );
}
