//! Streaming notifications of the old Outlook REST interface.

use serde_json::{Value, json};
use simcloud::{Audience, Knobs, NewMessage, NotificationService, Options, Server};

use crate::client::http_client;

const KEEP_ALIVE: &str = "KeepAliveNotification\",\"Status\":\"Ok\"}";

async fn live() -> Server {
    let knobs = Knobs { notifications: NotificationService::Live, ..Knobs::calm() };
    simcloud::serve(Options { knobs, ..Options::default() }).await.unwrap()
}

fn token(server: &Server, audience: Audience) -> String {
    server.cloud().tokens("", simcloud::DEFAULT_CLIENT_ID, audience).unwrap().0
}

async fn post(server: &Server, path: &str, token: &str, body: &Value) -> reqwest::Response {
    let http = http_client();
    let request = http.post(format!("{}/api/beta/me/{path}", server.url())).bearer_auth(token);
    request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap()
}

async fn subscribe(server: &Server, token: &str, folder: &str) -> String {
    let body = json!({
        "@odata.type": "#Microsoft.OutlookServices.StreamingSubscription",
        "Resource": format!("{}/api/beta/me/mailfolders('{folder}')/Messages", server.url()),
        "ChangeType": "Created,Updated,Deleted",
    });
    let answer = post(server, "subscriptions", token, &body).await;
    assert_eq!(answer.status(), 201);
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert!(answer["ChangeType"].as_str().unwrap().contains("Missed"), "{answer}");
    answer["Id"].as_str().unwrap().to_owned()
}

async fn listen(server: &Server, token: &str, ids: &[&str]) -> reqwest::Response {
    let body = json!({
        "ConnectionTimeoutInMinutes": 1,
        "KeepAliveNotificationIntervalInSeconds": 1,
        "SubscriptionIds": ids,
    });
    post(server, "GetNotifications", token, &body).await
}

/// Reads on until what comes ends as it should.
async fn read(answer: &mut reqwest::Response, text: &mut String, end: &str) {
    loop {
        let chunk = answer.chunk().await.unwrap().expect("the document goes on");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        if text.ends_with(end) {
            return;
        }
    }
}

#[tokio::test]
async fn a_retired_interface_says_so_to_anybody() {
    let server = simcloud::serve(Options::default()).await.unwrap();
    assert_eq!(post(&server, "subscriptions", "", &json!({})).await.status(), 410);
    server.cloud().turn(|knobs| knobs.notifications = NotificationService::NotFound);
    assert_eq!(post(&server, "subscriptions", &token(&server, Audience::Outlook), &json!({})).await.status(), 404);
}

#[tokio::test]
async fn a_document_tells_what_happens_in_the_folders() {
    let server = live().await;
    let outlook = token(&server, Audience::Outlook);
    let inbox = subscribe(&server, &outlook, "inbox").await;
    let drafts = subscribe(&server, &outlook, "drafts").await;
    let mut answer = listen(&server, &outlook, &[&inbox, &drafts]).await;
    let mut text = String::new();
    read(&mut answer, &mut text, KEEP_ALIVE).await;
    assert_eq!(text.matches("Acknowledgment").count(), 2, "{text}");
    let id = server.cloud().add_message("", NewMessage::generated("inbox")).unwrap();
    server.cloud().add_message("", NewMessage::generated("sentitems")).unwrap();
    server.cloud().move_message("", &id, "drafts").unwrap();
    read(&mut answer, &mut text, KEEP_ALIVE).await;
    // The document has no end yet.
    let document: Value = serde_json::from_str(&format!("{text}]}}")).unwrap();
    let told: Vec<(&str, &str)> = document["value"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["ResourceData"].is_object())
        .map(|one| (one["SubscriptionId"].as_str().unwrap(), one["ChangeType"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [(&*inbox, "Created"), (&*inbox, "Deleted"), (&*drafts, "Created")]);
}

#[tokio::test]
async fn tokens_and_subscriptions_are_checked() {
    let server = live().await;
    let (graph, outlook) = (token(&server, Audience::Graph), token(&server, Audience::Outlook));
    assert_eq!(listen(&server, &graph, &["x"]).await.status(), 401);
    assert_eq!(listen(&server, &outlook, &["x"]).await.status(), 404);
    let id = subscribe(&server, &outlook, "inbox").await;
    server.cloud().turn(|knobs| knobs.notifications_idle_seconds = 0);
    let mut answer = listen(&server, &outlook, &[&id]).await;
    assert_eq!(server.cloud().notification_channels(), 1);
    let mut text = String::new();
    read(&mut answer, &mut text, KEEP_ALIVE).await;
    // A channel ends with its token …
    server.cloud().expire_access_tokens();
    server.cloud().add_message("", NewMessage::generated("inbox")).unwrap();
    while let Ok(Some(_)) = answer.chunk().await {}
    // … and the subscription ends some time after its channel.
    let outlook = token(&server, Audience::Outlook);
    assert_eq!(listen(&server, &outlook, &[&id]).await.status(), 404);
    let id = subscribe(&server, &outlook, "inbox").await;
    server.cloud().turn(|knobs| knobs.notifications_idle_seconds = 1800);
    server.cloud().expire_subscriptions();
    assert_eq!(listen(&server, &outlook, &[&id]).await.status(), 404);
}

#[tokio::test]
async fn channels_end_break_and_fall_silent() {
    let server = live().await;
    server.cloud().turn(|knobs| knobs.notifications_cut_seed = 7);
    let outlook = token(&server, Audience::Outlook);
    let id = subscribe(&server, &outlook, "inbox").await;
    let mut text = String::new();
    let mut answer = listen(&server, &outlook, &[&id]).await;
    read(&mut answer, &mut text, "}").await;
    server.cloud().cut_notifications();
    assert!(loop {
        match answer.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    });
    let mut silent = listen(&server, &outlook, &[&id]).await;
    let mut text = String::new();
    read(&mut silent, &mut text, "}").await;
    server.cloud().silence_notifications();
    let mut answer = listen(&server, &outlook, &[&id]).await;
    text.clear();
    server.cloud().miss_notifications();
    while !text.contains("Missed") {
        let chunk = answer.chunk().await.unwrap().expect("the document goes on");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    server.cloud().expire_subscriptions();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(document["value"].as_array().unwrap().len() >= 2);
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(1500), async {
        while let Ok(Some(_)) = silent.chunk().await {}
    });
    assert!(quiet.await.is_err(), "a dead link stays as it is");
}
