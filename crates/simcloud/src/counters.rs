//! What happened, for those who test: counts, sentences about broken rules, and a log of requests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

use serde::Serialize;

/// How many of the newest requests the log keeps.
const LOG_LENGTH: usize = 50_000;
/// How many sentences about broken rules are kept.
const VIOLATIONS_KEPT: usize = 1000;

/// One request that was answered.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    /// Counts requests from 1, in the order in which they were answered.
    pub number: u64,
    /// What was asked, such as `delta` or `value`.
    pub kind: String,
    /// The HTTP method.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// Of a batch, the addresses of its items as they stand in it.
    pub items: Vec<String>,
    /// The status of the answer; 0 when the connection was broken instead.
    pub status: u16,
    /// When the request's header was there, in milliseconds since the server started.
    pub arrived_ms: f64,
    /// When the answer began to go out.
    pub answered_ms: f64,
    /// Bytes of the answer's body as sent.
    pub bytes_out: u64,
    /// The mailbox, where one was named.
    pub user: String,
    /// The request's `client-request-id`.
    pub client_request_id: String,
}

/// What is counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counters {
    /// Requests by kind; items of batches are `batch-item:KIND`.
    pub requests: BTreeMap<String, u64>,
    /// HTTP requests, batches as one, sign-in included.
    pub http_requests: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of answers' bodies, compressed where they were.
    pub bytes_out: u64,
    /// The most requests that were in flight at one time for one application and mailbox.
    pub highest_concurrency: usize,
    /// 429 answers that the client brought upon itself.
    pub throttled_by_client: u64,
    /// 429 answers that were injected.
    pub throttled_injected: u64,
    /// Answers that a fault changed.
    pub faults_injected: u64,
    /// Times that a client broke a rule of the service.
    pub violation_count: u64,
    /// A sentence for each, the first thousand.
    pub violations: Vec<String>,
    /// What is allowed but unwise, and how often it was done.
    pub notes: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Inside {
    counters: Counters,
    /// Finished downloads by mailbox and immutable id.
    downloads: BTreeMap<(String, String), u64>,
    log: VecDeque<RequestRecord>,
    number: u64,
}

/// Counters and log behind a lock.
pub(crate) struct Tally {
    started: Instant,
    inside: Mutex<Inside>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), inside: Mutex::default() }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the server started.
    pub(crate) fn milliseconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.started).as_secs_f64() * 1000.0
    }

    /// Changes the counters.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.inside().counters);
    }

    /// Counts one request of a kind.
    pub(crate) fn request(&self, kind: String) {
        *self.inside().counters.requests.entry(kind).or_default() += 1;
    }

    /// Notes that a client broke a rule.
    pub(crate) fn violation(&self, sentence: impl Into<String>) {
        let counters = &mut self.inside().counters;
        counters.violation_count += 1;
        if counters.violations.len() < VIOLATIONS_KEPT {
            counters.violations.push(sentence.into());
        }
    }

    /// Notes something unwise.
    pub(crate) fn note(&self, sentence: &str) {
        *self.inside().counters.notes.entry(sentence.to_owned()).or_default() += 1;
    }

    /// Counts a download and says the how-manieth it is.
    pub(crate) fn download(&self, user: &str, id: String) -> u64 {
        let mut inside = self.inside();
        let count = inside.downloads.entry((user.to_owned(), id)).or_default();
        *count += 1;
        *count
    }

    /// Writes a request into the log and counts its bytes.
    pub(crate) fn log(&self, mut record: RequestRecord) {
        let mut inside = self.inside();
        inside.number += 1;
        record.number = inside.number;
        inside.counters.http_requests += 1;
        inside.counters.bytes_out += record.bytes_out;
        if inside.log.len() == LOG_LENGTH {
            inside.log.pop_front();
        }
        inside.log.push_back(record);
    }

    /// A copy of the counters.
    pub(crate) fn counters(&self) -> Counters {
        self.inside().counters.clone()
    }

    /// Downloads of a mailbox's messages by immutable id.
    pub(crate) fn downloads(&self, user: &str) -> BTreeMap<String, u64> {
        let inside = self.inside();
        inside.downloads.iter().filter(|((owner, _), _)| owner == user).map(|((_, id), n)| (id.clone(), *n)).collect()
    }

    /// Requests answered after number `since`.
    pub(crate) fn requests(&self, since: u64) -> Vec<RequestRecord> {
        self.inside().log.iter().filter(|record| record.number > since).cloned().collect()
    }

    /// Sets all counters and downloads to nothing; the log's numbers go on.
    pub(crate) fn reset(&self) {
        let mut inside = self.inside();
        inside.counters = Counters::default();
        inside.downloads.clear();
    }
}
