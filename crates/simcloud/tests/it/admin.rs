use serde_json::{Value, json};
use simcloud::{Knobs, Options};

use crate::client::{Answer, DELTA, Fixture};

async fn order(it: &Fixture, method: &str, path: &str, body: &Value) -> Answer {
    let url = format!("{}/admin{path}", it.server.url());
    it.send(it.http.request(method.parse().unwrap(), url).json(body)).await
}

#[tokio::test]
async fn everything_can_be_done_over_http() {
    let it = Fixture::calm(2).await;
    let answer = order(&it, "POST", "/messages", &json!({"folder": "Inbox/Lists", "mime": "Subject: hi\n\nyou\n", "received": "2026-01-31T12:00:00Z", "flag": "flagged"})).await;
    let id = answer.json()["ids"][0].as_str().unwrap().to_owned();
    let message = order(&it, "GET", &format!("/message/{id}"), &json!({})).await.json();
    assert_eq!(
        (&message["folder"], &message["flag"], &message["received"]),
        (&json!("Inbox/Lists"), &json!("flagged"), &json!("2026-01-31T12:00:00Z"))
    );
    assert_eq!(message["blake3_lf"], blake3::hash(b"Subject: hi\n\nyou\n").to_hex().as_str());
    assert_eq!(
        order(&it, "GET", &format!("/message/{id}/mime"), &json!({})).await.bytes,
        b"Subject: hi\r\n\r\nyou\r\n"
    );
    for (path, body) in [
        ("flags", json!({"actor": "imap", "replied": true, "is_read": true})),
        ("move", json!({"folder": "archive"})),
        ("away-and-back", json!({"folder": "inbox"})),
        ("rot-classic-id", json!({})),
        ("delete", json!({"how": "trash"})),
    ] {
        let answer = order(&it, "POST", &format!("/message/{id}/{path}"), &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.bytes));
    }
    let message = order(&it, "GET", &format!("/message/{id}"), &json!({})).await.json();
    assert_eq!(
        (&message["folder"], &message["status"], &message["is_read"]),
        (&json!("Deleted Items"), &json!(512), &json!(true))
    );
    assert_eq!(order(&it, "POST", "/trash/empty", &json!({})).await.json()["deleted"], 1);
    let draft =
        order(&it, "POST", "/messages", &json!({"folder": "drafts", "is_draft": true, "mime": "Subject: a\n\n"}))
            .await
            .json()["ids"][0]
            .as_str()
            .unwrap()
            .to_owned();
    let request = it.http.put(format!("{}/admin/message/{draft}/mime", it.server.url())).body("Subject: b\n\n");
    assert_eq!(it.send(request).await.status, 200);
    assert_eq!(order(&it, "POST", &format!("/message/{draft}/send"), &json!({})).await.status, 200);
    let state = order(&it, "GET", "/state?folder=sentitems&top=10", &json!({})).await.json();
    assert_eq!(state["folders"][0]["messages"][0]["id"], draft.as_str());
    assert_eq!(order(&it, "POST", "/folders", &json!({"path": "A/B", "hidden": true})).await.status, 200);
    assert_eq!(order(&it, "POST", "/folders/rename", &json!({"path": "A/B", "name": "C"})).await.status, 200);
    assert_eq!(order(&it, "POST", "/folders/delete", &json!({"folder": "A/C"})).await.status, 200);
    assert_eq!(order(&it, "POST", "/folders/delete", &json!({"folder": "A/C"})).await.status, 404);
    assert_eq!(order(&it, "POST", "/nonsense", &json!({})).await.status, 404);
    assert_eq!(order(&it, "POST", "/messages", &json!({"fodler": "x"})).await.status, 400);
    assert_eq!(it.cloud.counters().http_requests, 0, "administration isn't counted");
}

#[tokio::test]
async fn the_service_is_turned_over_http() {
    let it = Fixture::calm(2).await;
    assert_eq!(order(&it, "PATCH", "/knobs", &json!({"latency_ms": 1})).await.json()["latency_ms"], 1);
    assert_eq!(order(&it, "PATCH", "/knobs", &json!({"latncy": 1})).await.status, 400);
    let number = order(
        &it,
        "POST",
        "/faults",
        &json!({"kind": "me", "count": 1, "action": {"do": "status", "status": 503, "retry_after": {"seconds": 0}}}),
    )
    .await
    .json()["number"]
        .clone();
    assert_eq!(it.get("/me").await.status, 503);
    assert_eq!(order(&it, "GET", "/faults", &json!({})).await.json()[0]["fired"], 1);
    assert_eq!(order(&it, "DELETE", &format!("/faults/{number}"), &json!({})).await.status, 200);
    let counters = order(&it, "GET", "/counters", &json!({})).await.json();
    assert_eq!((&counters["requests"]["me"], &counters["faults_injected"]), (&json!(1), &json!(1)));
    let log = order(&it, "GET", "/requests?since=0", &json!({})).await.json();
    assert!(log[0]["answered_ms"].as_f64().unwrap() >= log[0]["arrived_ms"].as_f64().unwrap());
    let tokens = order(&it, "POST", "/token", &json!({"audience": "outlook"})).await.json();
    assert!(tokens["refresh_token"].is_string());
    let (_, link, _) = it.round(DELTA, 50).await;
    assert_eq!(order(&it, "POST", "/delta/kill", &json!({})).await.status, 200);
    assert_eq!(it.get(&link).await.status, 410);
    assert_eq!(order(&it, "POST", "/account/mode", &json!({"mode": "access_denied"})).await.status, 200);
    assert_eq!(it.get("/me").await.status, 403);
    assert_eq!(order(&it, "POST", "/sign-in", &json!({"mode": "page", "number": 53003})).await.status, 200);
    assert_eq!(order(&it, "POST", "/tokens/revoke", &json!({"access_too": true})).await.status, 200);
    assert_eq!(it.get("/me").await.status, 401);
    assert_eq!(order(&it, "POST", "/counters/reset", &json!({})).await.status, 200);
    assert_eq!(order(&it, "GET", "/downloads", &json!({})).await.json(), json!({}));
}

#[tokio::test]
async fn a_visit_follows_redirects_on_this_machine_only() {
    let it = Fixture::calm(0).await;
    // The redirect leads back to the simulation itself, which has nothing at that path.
    let url = format!(
        "{0}/common/oauth2/v2.0/authorize?client_id={1}&response_type=code&scope=Mail.Read&redirect_uri={0}/oauth2/msal",
        it.server.url(),
        simcloud::DEFAULT_CLIENT_ID
    );
    let status = tokio::task::spawn_blocking(move || simcloud::visit(&url)).await.unwrap();
    assert_eq!(status.unwrap(), 404);
    let users = format!("{}/admin/users", it.server.url());
    assert_eq!(tokio::task::spawn_blocking(move || simcloud::visit(&users)).await.unwrap().unwrap(), 200);
    assert!(simcloud::visit("https://example.com/").is_err());
}

#[tokio::test]
async fn a_mailbox_is_shared_and_taken_back_over_http() {
    let users = vec!["user@domain.com".to_owned(), "team@domain.com".to_owned()];
    let it = Fixture::new(Options { messages: 2, users, knobs: Knobs::calm(), ..Options::default() }).await;
    let token = order(&it, "POST", "/token", &json!({})).await.json()["access_token"].as_str().unwrap().to_owned();
    let url = format!("{}/v1.0/users/team@domain.com/messages", it.server.url());
    let seen = async || it.send(it.http.get(&url).bearer_auth(&token)).await.status;
    let share = async |body: Value| order(&it, "POST", "/account/share?user=team@domain.com", &body).await.status;
    assert_eq!(seen().await, 403);
    assert_eq!(share(json!({"with": "user@domain.com"})).await, 200);
    assert_eq!(seen().await, 200);
    assert_eq!(share(json!({"with": "user@domain.com", "allowed": false})).await, 200);
    assert_eq!(seen().await, 403);
    assert_eq!(share(json!({"with": "nobody@domain.com"})).await, 404);
}
