use serde_json::json;
use simcloud::{Action, BodyKind, Fault, NewMessage};

use crate::client::Fixture;

#[tokio::test]
async fn an_answer_can_be_lost_after_the_deed() {
    let it = Fixture::calm(0).await;
    let id = it.cloud.add_message("", NewMessage::generated("inbox")).unwrap();
    let patch = || it.request("PATCH", &format!("/me/messages/{id}")).json(&json!({"isRead": true})).send();
    it.cloud.inject(Fault::once("patch", Action::ResetBefore));
    assert!(patch().await.is_err());
    assert!(!it.cloud.message("", &id).unwrap().is_read);
    it.cloud.inject(Fault::once("patch", Action::ResetAfter));
    assert!(patch().await.is_err());
    assert!(it.cloud.message("", &id).unwrap().is_read);
    it.cloud.inject(Fault::once("delete", Action::StatusAfter { status: 504 }));
    let answer = it.send(it.request("DELETE", &format!("/me/messages/{id}"))).await;
    assert_eq!(answer.status, 504);
    assert!(it.cloud.state("").unwrap().messages().all(|one| one.folder == "Deletions"));
    assert!(it.cloud.requests(0).iter().any(|request| request.status == 0));
}

#[tokio::test]
async fn bodies_break_off() {
    let it = Fixture::calm(0).await;
    let text = format!("Subject: long\n\n{}", "x".repeat(100_000));
    let id = it.cloud.add_message("", NewMessage::mime("inbox", text)).unwrap();
    it.cloud.turn(|knobs| knobs.gzip = false);
    for kind in ["value", "message"] {
        it.cloud.inject(Fault::once(kind, Action::Truncate { after: 500 }));
        let path = if kind == "value" { format!("/me/messages/{id}/$value") } else { format!("/me/messages/{id}") };
        let mut answer = it.request("GET", &path).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut got = 0;
        let failed = loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => got += chunk.len(),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(failed && got == 500, "{kind}: {failed} {got}");
    }
    assert_eq!(it.get(&format!("/me/messages/{id}/$value")).await.status, 200);
}

#[tokio::test]
async fn bodies_can_be_anything() {
    let it = Fixture::calm(0).await;
    let status =
        |status, body| Action::Status { status, body, code: String::new(), message: String::new(), retry_after: None };
    let cases = [
        (status(503, BodyKind::Empty), 503, ""),
        (status(503, BodyKind::Html), 503, "<!DOCTYPE html>"),
        (status(504, BodyKind::Unknown), 504, "{\"error\":{\"code\":\"UnknownError\""),
        (status(509, BodyKind::Json), 509, "{\"error\":{\"code\":\"BandwidthLimitExceeded\""),
        (Action::Html, 200, "<!DOCTYPE html>"),
        (Action::ErrorInOk { code: "ErrorInternalServerError".to_owned() }, 200, "{\"error\":"),
        (Action::Garbage, 200, "\u{1}"),
    ];
    for (action, expected, start) in cases {
        it.cloud.inject(Fault::once("me", action.clone()));
        let answer = it.get("/me").await;
        let text = String::from_utf8_lossy(&answer.bytes).into_owned();
        assert_eq!(answer.status, expected, "{action:?}");
        assert!(text.starts_with(start), "{action:?}: {text}");
    }
    assert_eq!(it.get("/me").await.status, 200);
}
