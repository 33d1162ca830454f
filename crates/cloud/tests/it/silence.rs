//! A service that doesn't answer all that it is asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cms_auth::{AccessToken, AccessTokens, AuthError};
use cms_cloud::RetryPolicy;
use cms_cloud::contract::{CloudAccount, CloudChange, CloudError, CloudOp, Outcome};
use cms_cloud::office365::{Account, Options};
use cms_engine::{Flags, RemoteId};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Has any number of tokens, and notes what is wanted of them.
#[derive(Default)]
struct Signed {
    renewals: AtomicUsize,
    claims: Mutex<Vec<Option<String>>>,
}

#[async_trait]
impl AccessTokens for Signed {
    fn account(&self) -> &'static str {
        "user@domain.com"
    }
    async fn access_token(&self) -> Result<AccessToken, AuthError> {
        Ok(AccessToken::new(format!("token {}", self.renewals.load(Ordering::SeqCst))))
    }
    async fn renew(&self, rejected: &AccessToken, claims: Option<&str>) -> Result<AccessToken, AuthError> {
        let token = self.access_token().await?;
        if token == *rejected {
            self.renewals.fetch_add(1, Ordering::SeqCst);
            self.claims.lock().unwrap().push(claims.map(str::to_owned));
        }
        self.access_token().await
    }
    async fn sign_in_anew(&self, _rejected: &AccessToken, reason: &str) -> Result<AccessToken, AuthError> {
        Err(AuthError::SignInNeeded { account: self.account().to_owned(), reason: reason.to_owned() })
    }
}

/// Answers each batch by what `answer` makes of its number and the ids in it, and everything else with nothing done.
async fn service(answer: fn(usize, &[String]) -> Vec<Value>) -> (Account, Arc<AtomicUsize>) {
    service_for(Arc::default(), answer).await
}

async fn service_for(tokens: Arc<Signed>, answer: fn(usize, &[String]) -> Vec<Value>) -> (Account, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let batches = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let body = read_request(BufReader::new(stream)).await;
            let Some((mut stream, body)) = body else { continue };
            let reply = match serde_json::from_slice::<Value>(&body).unwrap_or_default()["requests"].as_array() {
                Some(requests) => {
                    let ids: Vec<String> = requests.iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect();
                    json!({"responses": answer(batches.fetch_add(1, Ordering::SeqCst), &ids)})
                }
                None => json!({"id": "alone"}),
            };
            let text = reply.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                text.len()
            );
            stream.write_all(format!("{head}{text}").as_bytes()).await.ok();
        }
    });
    let mut options = Options::new(format!("http://{address}").parse().unwrap());
    options.retry = RetryPolicy { first_delay: Duration::from_millis(1), ..RetryPolicy::default() };
    (Account::new(options, tokens).unwrap(), count)
}

async fn read_request(mut reader: BufReader<TcpStream>) -> Option<(BufReader<TcpStream>, Vec<u8>)> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).await.ok()?;
            return Some((reader, body));
        }
    }
}

fn ops() -> Vec<CloudOp> {
    let change = CloudChange::SetFlags { add: Flags::SEEN, remove: Flags::NONE, result: Flags::SEEN };
    (0..20).map(|n| CloudOp { id: RemoteId::new(format!("m{n}")), change: change.clone() }).collect()
}

#[tokio::test]
async fn two_answers_of_twenty_are_two_done() {
    let (account, batches) = service(|_, ids| {
        ids.iter().take(2).map(|id| json!({"id": id, "status": 200, "body": {"id": "x", "isRead": true}})).collect()
    })
    .await;
    let outcomes = account.apply(&ops()).await;
    // Two settle each time, until the others have gone unanswered too often.
    let done = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Done { .. })).count();
    let later = outcomes.iter().filter(|o| matches!(o, Outcome::Later(CloudError::Unexpected(_)))).count();
    assert_eq!((done, later), (6, 14));
    assert_eq!(batches.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_went_unanswered_is_asked_again() {
    let (account, batches) = service(|number, ids| {
        let answered = if number == 0 { 2 } else { ids.len() };
        ids.iter().rev().take(answered).map(|id| json!({"id": id, "status": 204})).collect()
    })
    .await;
    let outcomes = account.apply(&ops()).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done { .. })), "{outcomes:?}");
    assert_eq!(batches.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn answers_that_say_nothing_are_no_answers() {
    let (account, _) = service(|_, _| vec![json!({}), json!(null), json!({"id": "1"}), json!({"status": 200})]).await;
    let outcomes = account.apply(&ops()).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Later(_))), "{outcomes:?}");
}

#[tokio::test]
async fn a_challenge_to_one_of_many_is_met_once_with_what_it_asks_for() {
    // Two challenges beside many answers, the second of them behind another scheme in the same header.
    fn answer(number: usize, ids: &[String]) -> Vec<Value> {
        let challenge = r#"Bearer realm="", error="insufficient_claims", claims="eyJhIjoxfQ==""#;
        let behind = format!(r#"PoP realm="", nonce="x", {challenge}"#);
        let refused = |id: &String, status: u16, challenge: &str| {
            let body = json!({"error": {"code": "InvalidAuthenticationToken", "message": ""}});
            json!({"id": id, "status": status, "headers": {"WWW-Authenticate": challenge}, "body": body})
        };
        let done = |id: &String| json!({"id": id, "status": 204});
        if number > 0 {
            return ids.iter().map(done).collect();
        }
        let some = [refused(&ids[0], 401, challenge), refused(&ids[1], 403, &behind)];
        some.into_iter().chain(ids.iter().skip(2).map(done)).collect()
    }
    let tokens = Arc::new(Signed::default());
    let (account, batches) = service_for(Arc::clone(&tokens), answer).await;
    let outcomes = account.apply(&ops()).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done { .. })), "{outcomes:?}");
    assert_eq!(*tokens.claims.lock().unwrap(), [Some("{\"a\":1}".to_owned())]);
    assert_eq!(batches.load(Ordering::SeqCst), 2);
}
