//! A request that gets no answer, and those that come after it, in time that is simulated.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cms_auth::{AccessToken, AccessTokens, AuthError};
use cms_cloud::Transport;
use cms_cloud::contract::{CloudAccount, Whereabouts};
use cms_cloud::office365::{Account, Options};
use cms_engine::RemoteId;
use reqwest::{Request, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// How many requests a mailbox serves at a time.
const PLACES: usize = 4;
const ROUND_TRIP: Duration = Duration::from_millis(40);
/// How long the program waits for an answer.
const SILENCE: Duration = Duration::from_secs(30);

/// A mailbox in which every message is in its inbox, and which says nothing of those whose name begins with "hung".
#[derive(Default)]
struct Mailbox {
    under_way: AtomicUsize,
    most: AtomicUsize,
    /// How many requests were in each batch.
    batches: Mutex<Vec<usize>>,
}

#[async_trait]
impl Transport for Mailbox {
    async fn carry(&self, request: Request) -> Result<Response, Box<dyn Error + Send + Sync>> {
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let batch: Value = serde_json::from_slice(body).unwrap_or_default();
        let asked: Vec<String> = match batch["requests"].as_array() {
            Some(requests) => requests.iter().map(|request| request["url"].as_str().unwrap().to_owned()).collect(),
            None => vec![request.url().path().to_owned()],
        };
        let is_chained = batch["requests"][1]["dependsOn"].is_array();
        let places = if is_chained { 1 } else { asked.len() };
        let under_way = self.under_way.fetch_add(places, Ordering::SeqCst) + places;
        self.most.fetch_max(under_way, Ordering::SeqCst);
        let hangs = asked.iter().any(|url| url.contains("hung"));
        sleep(if hangs { SILENCE } else { ROUND_TRIP }).await;
        self.under_way.fetch_sub(places, Ordering::SeqCst);
        if hangs {
            return Err("timed out".into());
        }
        let reply = if batch.is_null() {
            message(&asked[0])
        } else {
            self.batches.lock().unwrap().push(asked.len());
            let answers = asked
                .iter()
                .enumerate()
                .map(|(at, url)| json!({"id": (at + 1).to_string(), "status": 200, "body": message(url)}));
            json!({"responses": answers.collect::<Vec<_>>()})
        };
        Ok(hyper::Response::new(reqwest::Body::from(reply.to_string())).into())
    }
}

fn message(url: &str) -> Value {
    let id = url.split("/messages/").nth(1).and_then(|rest| rest.split('?').next());
    json!({"id": id, "parentFolderId": "inbox", "isRead": true})
}

struct Token;

#[async_trait]
impl AccessTokens for Token {
    fn account(&self) -> &'static str {
        "user@domain.com"
    }
    async fn access_token(&self) -> Result<AccessToken, AuthError> {
        Ok(AccessToken::new("t".to_owned()))
    }
    async fn renew(&self, _: &AccessToken, _: Option<&str>) -> Result<AccessToken, AuthError> {
        self.access_token().await
    }
    async fn sign_in_anew(&self, _: &AccessToken, _: &str) -> Result<AccessToken, AuthError> {
        self.access_token().await
    }
}

#[tokio::test(start_paused = true)]
async fn questions_do_not_wait_for_a_request_that_hangs() {
    let mailbox = Arc::new(Mailbox::default());
    let mut options = Options::new("http://localhost".parse().unwrap());
    options.transport = Some(mailbox.clone());
    let account = Account::new(options, Arc::new(Token)).unwrap();
    let hangs = async {
        let answers = account.look_up(&[RemoteId::new("hung")]).await;
        assert!(answers[0].is_err(), "{answers:?}");
    };
    let asked = async {
        sleep(ROUND_TRIP).await;
        let ids: Vec<RemoteId> = (0..10).map(|n| RemoteId::new(format!("m{n}"))).collect();
        let began = Instant::now();
        let answers = account.look_up(&ids).await;
        assert!(began.elapsed() < SILENCE / 2, "{:?}", began.elapsed());
        assert_eq!(answers.len(), ids.len());
        for answer in answers {
            assert!(matches!(&answer, Ok(Whereabouts::Here(_))), "{answer:?}");
        }
    };
    tokio::join!(hangs, asked);
    assert!(mailbox.most.load(Ordering::SeqCst) <= PLACES);
    let batches = mailbox.batches.lock().unwrap().clone();
    assert!(batches.iter().all(|size| *size < PLACES), "{batches:?}");
}
