use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use simcloud::{Knobs, NewMessage, Options};

use crate::client::{Answer, DELTA, Fixture};

/// A draft that was made from this MIME.
pub(crate) async fn draft(it: &Fixture, mime: &str) -> String {
    let request = it.request("POST", "/me/messages").header("Content-Type", "text/plain");
    let answer = it.send(request.body(STANDARD.encode(mime))).await;
    assert_eq!(answer.status, 201);
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn file(name: &str, bytes: &[u8]) -> Value {
    json!({"@odata.type": "#microsoft.graph.fileAttachment", "name": name, "contentBytes": STANDARD.encode(bytes)})
}

async fn attach(it: &Fixture, id: &str, body: &Value) -> Answer {
    it.post(&format!("/me/messages/{id}/attachments"), body).await
}

/// What `$value` gives.
pub(crate) async fn value(it: &Fixture, id: &str) -> String {
    let answer = it.get(&format!("/me/messages/{id}/$value")).await;
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.bytes).unwrap()
}

#[tokio::test]
async fn files_become_parts_of_a_draft() {
    let it = Fixture::calm(0).await;
    let id = draft(&it, "Subject: s\r\nContent-Type: text/plain\r\n\r\nhi\r\n").await;
    let answer = attach(&it, &id, &file("a.bin", b"one")).await;
    let told = answer.json();
    assert_eq!((answer.status, it.cloud.counters().requests["attach"]), (201, 1));
    assert!(told["id"].as_str().unwrap().starts_with("AAMk") && told["lastModifiedDateTime"].is_string(), "{told}");
    assert_eq!(
        (
            &told["@odata.type"],
            &told["name"],
            &told["contentType"],
            &told["size"],
            &told["isInline"],
            &told["contentId"]
        ),
        (
            &json!("#microsoft.graph.fileAttachment"),
            &json!("a.bin"),
            &json!("application/octet-stream"),
            &json!(3),
            &json!(false),
            &Value::Null
        )
    );
    let inline = json!({"contentType": "image/png", "isInline": true, "contentId": "<logo@x>"});
    let mut second = file("ü.png", b"two");
    second.as_object_mut().unwrap().extend(inline.as_object().unwrap().clone());
    let told_second = attach(&it, &id, &second).await.json();
    assert_eq!(
        (&told_second["contentType"], &told_second["isInline"], &told_second["contentId"]),
        (&json!("image/png"), &json!(true), &json!("logo@x"))
    );
    assert_ne!(told["id"], told_second["id"]);
    let mime = value(&it, &id).await;
    assert!(
        mime.starts_with("Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\""),
        "{mime}"
    );
    let boundary = mime.split('"').nth(1).unwrap();
    let parts: Vec<&str> = mime.split(&format!("--{boundary}")).skip(1).collect();
    assert_eq!((parts.len(), parts[0], parts[3]), (4, "\r\nContent-Type: text/plain\r\n\r\nhi\r\n", "--\r\n"));
    assert_eq!(
        parts[1],
        "\r\nContent-Type: application/octet-stream;\r\n\tname=\"a.bin\"\r\nContent-Disposition: attachment;\r\n\tfilename=\"a.bin\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nb25l\r\n"
    );
    assert!(parts[2].contains("Content-Disposition: inline;\r\n\tfilename*=utf-8''%C3%BC.png\r\n"), "{}", parts[2]);
    assert!(parts[2].contains("Content-ID: <logo@x>\r\n") && parts[2].ends_with("\r\n\r\ndHdv\r\n"), "{}", parts[2]);
    let state = it.cloud.message("", &id).unwrap();
    assert_eq!((state.size, state.blake3_crlf), (mime.len(), blake3::hash(mime.as_bytes()).to_hex().to_string()));
    assert_eq!(it.get(&format!("/me/messages/{id}?$select=hasAttachments")).await.json()["hasAttachments"], true);
    assert_eq!(it.cloud.counters().violation_count, 0);
}

#[tokio::test]
async fn a_file_changes_its_draft() {
    let it = Fixture::calm(0).await;
    let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
    let first = DELTA.replace("inbox", "drafts");
    let (_, link, _) = it.round(&first, 10).await;
    let before = it.get(&format!("/me/messages/{id}")).await.json();
    attach(&it, &id, &file("a", b"a")).await;
    let after = it.get(&format!("/me/messages/{id}")).await.json();
    assert_ne!((&before["changeKey"], &before["@odata.etag"]), (&after["changeKey"], &after["@odata.etag"]));
    assert_eq!((&before["hasAttachments"], &after["hasAttachments"]), (&json!(false), &json!(true)));
    let (items, _, _) = it.round(&link, 10).await;
    assert_eq!(items.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), [&id]);
    let replaced = it.request("PUT", &format!("/me/messages/{id}/$value")).header("Content-Type", "text/plain");
    assert_eq!(it.send(replaced.body(STANDARD.encode("Subject: t\r\n\r\n"))).await.status, 200);
    assert_eq!(value(&it, &id).await, "Subject: t\r\n\r\n", "other MIME has other files");
}

#[tokio::test]
async fn a_draft_can_get_another_message_id() {
    let it = Fixture::calm(0).await;
    let id = draft(&it, "Message-ID: <temporary@x>\r\nSubject: s\r\n\r\nhi\r\n").await;
    let (_, link, _) = it.round(&DELTA.replace("inbox", "drafts"), 10).await;
    let found = async |message_id: &str| {
        let answer =
            it.get(&format!("/me/messages?$select=id&$filter=internetMessageId eq '{message_id}'")).await.json();
        answer["value"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found("<temporary@x>").await, [id.as_str()]);
    let before = it.get(&format!("/me/messages/{id}")).await.json();
    let answer = it.patch(&id, &json!({"internetMessageId": "<final@x>"})).await;
    assert_eq!((answer.status, &answer.json()["internetMessageId"]), (200, &json!("<final@x>")));
    assert_ne!(answer.json()["changeKey"], before["changeKey"]);
    assert_eq!((found("<final@x>").await, found("<temporary@x>").await), (vec![id.clone()], vec![]));
    assert_eq!(value(&it, &id).await, "Message-ID: <final@x>\r\nSubject: s\r\n\r\nhi\r\n");
    let (items, _, _) = it.round(&link, 10).await;
    assert_eq!(items.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), [&id]);
    attach(&it, &id, &file("a", b"abc")).await;
    assert_eq!(it.patch(&id, &json!({"internetMessageId": "<other@x>"})).await.status, 200);
    let mime = value(&it, &id).await;
    assert!(mime.starts_with("Message-ID: <other@x>\r\nSubject: s\r\n") && mime.contains("\r\nYWJj\r\n--"), "{mime}");
    for bad in [json!(""), json!(1), Value::Null, json!("<a@b>\r\nBcc: c@d")] {
        assert_eq!(it.patch(&id, &json!({"internetMessageId": bad})).await.code(), "UnableToDeserializePostBody");
    }
    assert_eq!(it.cloud.counters().violation_count, 0);
    let received = it.cloud.add_message("", NewMessage::mime("inbox", "Message-ID: <x@y>\n\n")).unwrap();
    for (id, body) in [(&received, json!({"internetMessageId": "<z@y>"})), (&id, json!({"subject": "t"}))] {
        assert_eq!(it.patch(id, &body).await.code(), "ErrorInvalidPropertySet");
    }
    assert_eq!(it.cloud.counters().violation_count, 2);
    assert_eq!(found("<x@y>").await, [received]);
}

#[tokio::test]
async fn who_makes_a_renamed_draft_again_must_have_looked_for_it() {
    let it = Fixture::calm(0).await;
    let violations = || it.cloud.counters().violation_count;
    let make = async |number: u32, bytes: &[u8]| {
        let id = draft(&it, &format!("Message-ID: <temporary-{number}@x>\r\n\r\nhi\r\n")).await;
        attach(&it, &id, &file("a", bytes)).await;
        assert_eq!(it.patch(&id, &json!({"internetMessageId": "<final@x>"})).await.status, 200);
        id
    };
    let first = make(1, b"one").await;
    assert_eq!(it.patch(&first, &json!({"internetMessageId": "<final@x>"})).await.status, 200);
    make(2, b"two").await;
    assert_eq!(violations(), 0, "neither is the same as another one");
    make(3, b"one").await;
    assert_eq!(violations(), 1);
    it.get("/me/messages?$filter=internetMessageId eq '<final@x>'").await;
    make(4, b"one").await;
    assert_eq!(violations(), 1);
}

#[tokio::test]
async fn a_draft_is_found_by_every_path() {
    let users = vec!["user@domain.com".to_owned(), "other@domain.com".to_owned()];
    let it = Fixture::new(Options { users, knobs: Knobs::calm(), ..Options::default() }).await;
    let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
    for path in
        ["me", "users/user@domain.com", "me/mailFolders/drafts", "users('user@domain.com')/mailFolders('drafts')"]
    {
        let answer = it.post(&format!("/{path}/messages/{id}/attachments"), &file("a", b"a")).await;
        assert_eq!(answer.status, 201, "{path}");
    }
    let answer = it.post(&format!("/me/mailFolders/inbox/messages/{id}/attachments"), &file("a", b"a")).await;
    assert_eq!(answer.code(), "ErrorItemNotFound");
    let new = NewMessage { is_draft: true, ..NewMessage::mime("drafts", "Subject: x\n\n") };
    let foreign = it.cloud.add_message("other@domain.com", new).unwrap();
    let path = format!("/users/other@domain.com/messages/{foreign}/attachments");
    assert_eq!(it.post(&path, &file("a", b"a")).await.status, 403);
    it.cloud.share_mailbox("other@domain.com", "user@domain.com", true).unwrap();
    assert_eq!(it.post(&path, &file("a", b"a")).await.status, 201);
    let mime = it.cloud.mime("other@domain.com", &foreign).unwrap();
    assert!(mime.starts_with(b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;"));
}

#[tokio::test]
async fn what_isnt_a_file_for_a_draft_is_refused() {
    let it = Fixture::calm(0).await;
    let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
    let with = |name: &str, value: Value| {
        let mut body = file("a", b"a");
        body[name] = value;
        body
    };
    let without = |name: &str| {
        let mut body = file("a", b"a");
        body.as_object_mut().unwrap().remove(name);
        body
    };
    for body in [
        without("@odata.type"),
        without("name"),
        without("contentBytes"),
        with("@odata.type", json!("#microsoft.graph.itemAttachment")),
        with("name", json!("")),
        with("contentBytes", json!("&")),
        with("size", json!(1)),
        with("contentType", json!("text/plain\r\nBcc: a@b")),
        with("contentId", json!("")),
    ] {
        let violations = it.cloud.counters().violation_count;
        let answer = attach(&it, &id, &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "UnableToDeserializePostBody"), "{body}");
        assert_eq!(it.cloud.counters().violation_count, violations + 1, "{body}");
    }
    let untyped = it.request("POST", &format!("/me/messages/{id}/attachments")).body(file("a", b"a").to_string());
    assert_eq!(it.send(untyped).await.status, 400);
    let large = attach(&it, &id, &file("a", &vec![0; 3_200_000])).await;
    assert_eq!((large.status, large.code().as_str()), (413, "RequestEntityTooLarge"));
    assert_eq!(attach(&it, &id, &file("a", &vec![0; 3_000_000])).await.status, 201, "4 MB with base64");
    let received = it.cloud.add_message("", NewMessage::mime("inbox", "Subject: x\n\n")).unwrap();
    assert_eq!(attach(&it, &received, &file("a", b"a")).await.code(), "ErrorInvalidOperation");
    assert_eq!(it.get(&format!("/me/messages/{id}/attachments")).await.status, 405);
}
