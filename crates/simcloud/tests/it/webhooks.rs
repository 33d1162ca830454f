//! Change notifications that are sent to an address of the client's.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use simcloud::{Audience, Knobs, LifecycleEvent, NewMessage, Options, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::client::http_client;

async fn server(webhooks_to_loopback: bool) -> Server {
    let knobs = Knobs { webhooks_to_loopback, webhook_retry_ms: 20, ..Knobs::calm() };
    simcloud::serve(Options { knobs, ..Options::default() }).await.unwrap()
}

/// Where notifications go.
struct Endpoint {
    url: String,
    /// What is answered to the next ones before they are taken.
    refusals: Arc<Mutex<usize>>,
    bodies: mpsc::UnboundedReceiver<Value>,
}

/// Takes notifications, and answers handshakes with the token or with something else.
async fn endpoint(shakes_hands: bool) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/cms", listener.local_addr().unwrap());
    let (sender, bodies) = mpsc::unbounded_channel();
    let refusals = Arc::new(Mutex::new(0));
    let left = Arc::clone(&refusals);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !is_whole(&request) {
                stream.read_buf(&mut request).await.unwrap();
            }
            let request = String::from_utf8(request).unwrap();
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let target = url::Url::parse(&format!("http://x{}", head.split(' ').nth(1).unwrap())).unwrap();
            let token = target.query_pairs().find(|(name, _)| name == "validationToken");
            let refused = token.is_none() && std::mem::replace(&mut *left.lock().unwrap(), 0) > 0;
            let (status, answer) = match token {
                Some((_, token)) if shakes_hands => (200, token.into_owned()),
                Some(_) => (200, "something else".to_owned()),
                None if refused => (503, String::new()),
                None => {
                    sender.send(serde_json::from_str(body).unwrap()).unwrap();
                    (202, String::new())
                }
            };
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Type: text/plain\r\n\r\n{answer}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    Endpoint { url, refusals, bodies }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    length.map_or(0, |length| length.parse().unwrap()) <= body.len()
}

async fn ask(server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let token = server.cloud().tokens("", simcloud::DEFAULT_CLIENT_ID, Audience::Graph).unwrap().0;
    let url = format!("{}/v1.0/subscriptions{path}", server.url());
    let request = http_client().request(method.parse().unwrap(), url).bearer_auth(token);
    let answer = request.body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

fn wish(url: &str) -> Value {
    json!({
        "changeType": "created,updated,deleted",
        "notificationUrl": url,
        "lifecycleNotificationUrl": url,
        "resource": "/me/mailFolders('inbox')/messages",
        "expirationDateTime": in_minutes(60),
        "clientState": "secret",
    })
}

fn in_minutes(minutes: u64) -> String {
    let at = std::time::SystemTime::now() + std::time::Duration::from_secs(minutes * 60);
    let text = httpdate::fmt_http_date(at);
    let parts: Vec<&str> = text.split(' ').collect();
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == parts[2]).unwrap() + 1;
    format!("{}-{month:02}-{}T{}Z", parts[3], parts[1], parts[4])
}

#[tokio::test]
async fn what_happens_in_the_folder_is_told_until_it_is_taken() {
    let (server, mut endpoint) = (server(true).await, endpoint(true).await);
    let (status, told) = ask(&server, "POST", "", &wish(&endpoint.url)).await;
    assert_eq!((status, &told["clientState"]), (201, &Value::Null), "{told}");
    *endpoint.refusals.lock().unwrap() = 1;
    server.cloud().add_message("", NewMessage::generated("sentitems")).unwrap();
    server.cloud().add_message("", NewMessage::generated("inbox")).unwrap();
    let body = endpoint.bodies.recv().await.unwrap();
    assert_eq!(body["value"].as_array().unwrap().len(), 1, "{body}");
    let one = &body["value"][0];
    assert_eq!((&one["clientState"], &one["changeType"]), (&json!("secret"), &json!("created")), "{one}");
    assert_eq!(one["subscriptionId"], told["id"]);

    server.cloud().tell_webhooks(LifecycleEvent::SubscriptionRemoved);
    let body = endpoint.bodies.recv().await.unwrap();
    assert_eq!(body["value"][0]["lifecycleEvent"], "subscriptionRemoved", "{body}");
    assert_eq!(server.cloud().webhooks(), []);
    assert_eq!(server.cloud().counters().violations, Vec::<String>::new());
}

#[tokio::test]
async fn subscriptions_are_listed_renewed_and_deleted() {
    let (server, endpoint) = (server(true).await, endpoint(true).await);
    let (_, told) = ask(&server, "POST", "", &wish(&endpoint.url)).await;
    let path = format!("/{}", told["id"].as_str().unwrap());
    let (_, listed) = ask(&server, "GET", "", &Value::Null).await;
    assert_eq!(listed["value"][0]["id"], told["id"]);
    let later = json!({"expirationDateTime": in_minutes(1)});
    let (status, renewed) = ask(&server, "PATCH", &path, &later).await;
    // What is too short is made longer.
    assert_eq!(status, 200);
    assert!(renewed["expirationDateTime"].as_str().unwrap() > in_minutes(40).as_str(), "{renewed}");
    assert_eq!(server.cloud().webhooks()[0].renewals, 1);
    assert_eq!(ask(&server, "DELETE", &path, &Value::Null).await.0, 204);
    for method in ["DELETE", "PATCH"] {
        assert_eq!(ask(&server, method, &path, &later).await.0, 404, "{method}");
    }
}

#[tokio::test]
async fn who_does_not_answer_the_handshake_gets_no_subscription() {
    let (server, endpoint) = (server(true).await, endpoint(false).await);
    let (status, refusal) = ask(&server, "POST", "", &wish(&endpoint.url)).await;
    assert_eq!((status, &refusal["error"]["code"]), (400, &json!("ValidationError")), "{refusal}");
    assert_eq!(server.cloud().webhooks(), []);
}

#[tokio::test]
async fn an_address_without_https_is_refused_unless_a_knob_lets_it() {
    let (server, endpoint) = (server(false).await, endpoint(true).await);
    assert_eq!(ask(&server, "POST", "", &wish(&endpoint.url)).await.0, 400);
}

#[tokio::test]
async fn a_wish_that_breaks_a_rule_is_refused_and_noted() {
    let (server, endpoint) = (server(true).await, endpoint(true).await);
    let changed = |name: &str, value: Value| {
        let mut wish = wish(&endpoint.url);
        wish[name] = value;
        wish
    };
    let wrong = [
        changed("more", json!(1)),
        changed("notificationUrl", Value::Null),
        changed("clientState", json!("x".repeat(129))),
        changed("expirationDateTime", json!("2020-01-01T00:00:00Z")),
        changed("expirationDateTime", json!(in_minutes(4240))),
        changed("changeType", json!("created,read")),
        changed("resource", json!("/me/events")),
    ];
    for (at, wish) in wrong.iter().enumerate() {
        assert_eq!(ask(&server, "POST", "", wish).await.0, 400, "{wish}");
        assert_eq!(server.cloud().counters().violations.len(), at + 1, "{wish}");
    }
    assert_eq!(ask(&server, "POST", "", &changed("resource", json!("/me/mailFolders('x')/messages"))).await.0, 400);
}
