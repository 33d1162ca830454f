//! What an outage costs, in time that is simulated.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cms_auth::{AccessToken, AccessTokens, AuthError};
use reqwest::{Method, Request, Response, Url};
use tokio::time::{Instant, sleep};

use super::client::{Call, Http, HttpOptions};
use super::gate::Urgency;
use super::policy::RetryPolicy;
use super::transport::{NeverSent, Transport};

const BUDGET: usize = 1000;
const RESERVE: usize = 20;
const WINDOW: Duration = Duration::from_secs(600);
/// When the network is down.
const DOWN: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];
const ROUND_TRIP: Duration = Duration::from_millis(40);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// No connection comes about.
    Refused,
    /// The request leaves, and the connection is reset.
    Reset,
    /// Nothing is heard for the time that is waited.
    Silent,
}

struct Wire {
    how: How,
    began: Instant,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    /// When requests left, and what they count as.
    left: Vec<(Duration, usize)>,
    /// When urgent ones and others were answered.
    answered: Vec<(Duration, Method)>,
    under_way: usize,
    most_when_down: usize,
    tried_when_down: usize,
}

impl Wire {
    fn is_down(&self) -> bool {
        (DOWN[0]..DOWN[1]).contains(&self.began.elapsed())
    }

    async fn pass(&self, request: &Request) -> Result<(), Box<dyn Error + Send + Sync>> {
        if !self.is_down() {
            sleep(ROUND_TRIP).await;
            return Ok(());
        }
        match self.how {
            How::Refused => Err(Box::new(NeverSent("connection refused".into()))),
            How::Reset => {
                self.leaves(request);
                Err("connection reset".into())
            }
            How::Silent => {
                self.leaves(request);
                sleep(Duration::from_secs(30)).await;
                Err("timed out".into())
            }
        }
    }

    fn leaves(&self, request: &Request) {
        let cost = if request.method() == Method::POST { 20 } else { 1 };
        self.log.lock().unwrap().left.push((self.began.elapsed(), cost));
    }
}

#[async_trait]
impl Transport for Wire {
    async fn carry(&self, request: Request) -> Result<Response, Box<dyn Error + Send + Sync>> {
        let is_down = self.is_down();
        {
            let mut log = self.log.lock().unwrap();
            log.under_way += 1;
            if is_down && self.began.elapsed() > DOWN[0] + Duration::from_secs(1) {
                log.most_when_down = log.most_when_down.max(log.under_way);
            }
            log.tried_when_down += usize::from(is_down);
        }
        let passed = self.pass(&request).await;
        self.log.lock().unwrap().under_way -= 1;
        passed?;
        self.leaves(&request);
        self.log.lock().unwrap().answered.push((self.began.elapsed(), request.method().clone()));
        Ok(hyper::Response::new(reqwest::Body::from("{}")).into())
    }
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

fn client(how: How) -> (Arc<Wire>, Arc<Http>, Url) {
    client_with(how, 1 << 30)
}

fn client_with(how: How, upload_bytes: usize) -> (Arc<Wire>, Arc<Http>, Url) {
    let wire = Arc::new(Wire { how, began: Instant::now(), log: Mutex::default() });
    let options = HttpOptions {
        policy: RetryPolicy::default(),
        parallel: 4,
        budget: (BUDGET, WINDOW),
        upload_budget: (upload_bytes, Duration::from_secs(300)),
        reserve: RESERVE,
        random: Arc::new(|| 0.5),
        transport: wire.clone(),
    };
    (wire, Arc::new(Http::new(options, Arc::new(Token))), "http://localhost/".parse().unwrap())
}

/// Eighty downloads in batches and ten urgent calls, each made anew for as long as the test takes, through a minute without
/// a network.
async fn outage(how: How) -> Log {
    let (wire, http, url) = client(how);
    let batch = Call {
        urgency: Urgency::Bulk,
        cost: 20,
        ..Call::json(Method::POST, url.clone(), &serde_json::json!({"requests": []}))
    };
    // A download every two seconds and an urgent call every five, which leaves a third of the budget.
    let tasks = (0..90).map(|number| {
        let (http, call) = (http.clone(), if number < 80 { batch.clone() } else { Call::get(url.clone()) });
        let pause = Duration::from_secs(if number < 80 { 2400 } else { 50 });
        tokio::spawn(async move {
            sleep(pause.mul_f64(f64::from(number % 80) / 80.0)).await;
            loop {
                while http.json(&call).await.is_err() {
                    sleep(Duration::from_secs(5)).await;
                }
                sleep(pause).await;
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    sleep(Duration::from_secs(1200)).await;
    for task in tasks {
        task.abort();
    }
    std::mem::take(&mut *wire.log.lock().unwrap())
}

fn assert_keeps_to_the_budget(log: &Log) {
    for (at, _) in &log.left {
        let inside = log.left.iter().filter(|(other, _)| (*at..*at + WINDOW).contains(other));
        let count: usize = inside.map(|(_, cost)| cost).sum();
        assert!(count <= BUDGET, "{count} within the window after {at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_leaves_the_budget_to_what_comes_after_it() {
    for how in [How::Refused, How::Reset, How::Silent] {
        let log = outage(how).await;
        assert_keeps_to_the_budget(&log);
        // A request that hangs may be about to arrive, and doesn't keep others from trying.
        let most = if how == How::Silent { 4 } else { 1 };
        assert!(log.most_when_down <= most, "{how:?}: {} at a time", log.most_when_down);
        assert!(log.tried_when_down <= 16, "{how:?}: {} tries", log.tried_when_down);
        // What came due meanwhile is made up for within the minute after.
        let minutes: Vec<usize> = (0..20)
            .map(|minute| {
                let is_then = |at: Duration| at.as_secs() / 60 == minute;
                log.answered.iter().filter(|(at, method)| is_then(*at) && *method == Method::POST).count()
            })
            .collect();
        assert_eq!(minutes[2..].iter().min(), Some(&2), "{how:?}: {minutes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_never_left_is_given_back() {
    for (how, again_after) in [(How::Refused, 60), (How::Reset, 601)] {
        let (wire, http, url) = client(how);
        let whole_budget = Call { cost: BUDGET, ..Call::get(url) };
        sleep(DOWN[0]).await;
        assert!(http.json_once(&whole_budget).await.is_err());
        sleep(DOWN[1].saturating_sub(DOWN[0])).await;
        http.json_once(&whole_budget).await.unwrap();
        let after = wire.began.elapsed().saturating_sub(DOWN[0]);
        assert_eq!(after.as_secs(), again_after, "{how:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_network_that_changes_is_tried_at_once() {
    let (wire, http, url) = client(How::Refused);
    let waits = async {
        sleep(DOWN[0]).await;
        while http.json(&Call::get(url.clone())).await.is_err() {}
    };
    let changes = async {
        // The pauses have grown to ten seconds, and the next probe isn't due.
        sleep(DOWN[1] + Duration::from_millis(1)).await;
        http.network_changed();
    };
    tokio::join!(waits, changes);
    assert!(wire.began.elapsed() < DOWN[1] + Duration::from_secs(1), "{:?}", wire.began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn f10_the_place_of_a_request_that_went_unanswered_is_not_taken_at_once() {
    let (wire, http, url) = client(How::Silent);
    sleep(DOWN[1].saturating_sub(Duration::from_secs(10))).await;
    let get = Call::get(url);
    let hang = async {
        let all_places = futures_util::future::join_all((0..4).map(|_| http.json_once(&get))).await;
        assert!(all_places.iter().all(Result::is_err));
        wire.began.elapsed()
    };
    let comes_after = async {
        sleep(Duration::from_secs(1)).await;
        http.json_once(&get).await.unwrap();
        wire.began.elapsed().saturating_sub(ROUND_TRIP)
    };
    let (failed, begun) = tokio::join!(hang, comes_after);
    assert_eq!(begun.saturating_sub(failed), RetryPolicy::default().first_delay);
}

#[tokio::test(start_paused = true)]
async fn no_more_is_uploaded_in_a_while_than_the_service_takes() {
    let (wire, http, url) = client_with(How::Refused, 1000);
    let upload = Call::text(Method::POST, url, vec![b'x'; 400].into());
    let begun = Instant::now();
    for _ in 0..5 {
        http.json(&upload).await.unwrap();
    }
    // Two fit into five minutes.
    assert!((600..620).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(wire.log.lock().unwrap().left.len(), 5);
}
