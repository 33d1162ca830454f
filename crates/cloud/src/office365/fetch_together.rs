//! Small messages, several in one request.
//!
//! A request for one message costs a round trip whatever its size, which for a small one is most of its time. So small ones
//! are asked for in batches. The mailbox serves four requests at a time, and the items of a batch that don't wait for each
//! other each take one of these places. Two shapes keep to that: one batch of four chains, which takes all four places, or
//! four batches of one chain each, which take one place each.
//!
//! It is the second. With a time `t` for an item and `r` for the round trip, the first brings 20 messages in `5 t + r`, and the
//! four places idle in `r`; the second brings 80 in `20 t + r`. At a round trip of 40 ms, 160 messages take the simulated
//! service eight round trips in the first shape, two in the second, and forty where each comes alone. A large message or a
//! failure holds up its own chain only, and a gate that has fallen to fewer places needs no other shape.

use std::sync::atomic::{AtomicUsize, Ordering};

use cms_engine::RemoteId;

use super::Account;
use super::batch::{Item, ItemAnswer, LARGEST_BATCH};
use super::fetch::{is_of_something_else, is_something_else};
use crate::contract::{CloudError, Together, Wanted};
use crate::http::{Failure, History, Verdict};

/// The largest message that comes in a batch, as the mailbox counts it. The time of a larger one is spent on its bytes.
const LONGEST_BYTES: u64 = 64 << 10;

/// How much one batch may bring, by the same count. It is held in memory, once for each batch under way.
const MOST_BYTES: u64 = 512 << 10;

/// How much longer than that an answer may be: MIME can be longer than what the mailbox stores, and base64 makes four bytes
/// of three.
const LONGEST_ANSWER: usize = 4 << 20;

/// How many messages a batch may hold for now: fewer after one failed as a whole, as one does that takes too long.
pub(super) struct Downloads {
    most: AtomicUsize,
    at_a_time: usize,
}

impl Downloads {
    /// Batches that so many run at a time of.
    pub(super) fn new(at_a_time: usize) -> Self {
        Self { most: AtomicUsize::new(LARGEST_BATCH), at_a_time: at_a_time.max(1) }
    }

    pub(super) fn now(&self) -> Together {
        let most = self.most.load(Ordering::Relaxed);
        Together { most, at_a_time: self.at_a_time, longest_bytes: LONGEST_BYTES, most_bytes: MOST_BYTES }
    }

    fn failed(&self, count: usize) {
        self.most.store((count / 2).max(2), Ordering::Relaxed);
    }

    fn succeeded(&self) {
        let most = self.most.load(Ordering::Relaxed);
        self.most.store((most + 1).min(LARGEST_BATCH), Ordering::Relaxed);
    }
}

/// What became of one message in a batch.
enum Fate {
    Ended(Result<u64, CloudError>),
    /// It has to be asked for alone, where all the rules of retrying hold.
    Alone,
    /// It wasn't tried, because one before it failed.
    Postponed,
}

impl Account {
    pub(super) async fn fetch_all(&self, wanted: &mut [Wanted<'_>]) -> Vec<Option<Result<u64, CloudError>>> {
        let item = |id: &RemoteId| Item::get(self.relative(&self.url(&["messages", id.as_str(), "$value"], "")), id);
        let items: Vec<Item> = wanted.iter().map(|wanted| item(wanted.id)).collect();
        let mut results: Vec<Option<Result<u64, CloudError>>> = items.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..items.len()).collect();
        let mut history = History::default();
        while open.len() > 1 {
            let rest = open.split_off(open.len().min(LARGEST_BATCH));
            let fates = self.fetch_batch(&items, &open, wanted, &mut history).await;
            // One that failed is no longer among the postponed, so there are fewer each time; unless none did.
            let stuck = fates.iter().all(|fate| matches!(fate, Fate::Postponed));
            let mut postponed = Vec::new();
            for (index, fate) in open.into_iter().zip(fates) {
                match fate {
                    Fate::Ended(result) => results[index] = Some(result),
                    Fate::Postponed if !stuck => postponed.push(index),
                    Fate::Postponed | Fate::Alone => {}
                }
            }
            open = postponed;
            open.extend(rest);
        }
        results
    }

    /// Fetches messages in one batch.
    async fn fetch_batch(
        &self,
        items: &[Item],
        open: &[usize],
        wanted: &mut [Wanted<'_>],
        history: &mut History,
    ) -> Vec<Fate> {
        let answers = match self.run_downloads(items, open, LONGEST_ANSWER).await {
            Ok(answer) => answer.items,
            Err((failure, _)) => {
                let is_no_fault_of_batch = match &failure {
                    Failure::Auth(_) => true,
                    Failure::Status(error) => matches!(error.status, 401 | 429),
                    Failure::Network(_) | Failure::Senseless(_) => false,
                };
                if !is_no_fault_of_batch {
                    self.together.failed(open.len());
                }
                self.heed(&failure, history);
                return open.iter().map(|_| Fate::Alone).collect();
            }
        };
        self.together.succeeded();
        open.iter().zip(answers).map(|(index, answer)| self.fate(answer, &mut wanted[*index], history)).collect()
    }

    fn fate(&self, answer: Option<ItemAnswer>, wanted: &mut Wanted<'_>, history: &mut History) -> Fate {
        let Some(answer) = answer else { return Fate::Alone };
        if (200..300).contains(&answer.status) {
            let Some(mime) = mime_of(&answer) else { return Fate::Alone };
            let written = wanted.sink.write(&mime).map(|()| mime.len() as u64);
            return Fate::Ended(written.map_err(CloudError::Sink));
        }
        if answer.status == 424 {
            return Fate::Postponed;
        }
        let error = answer.error();
        let is_gone = error.status == 404 && !error.may_flap();
        let failure = Failure::Status(error);
        if is_gone {
            return Fate::Ended(Err(self.fetch_error(failure)));
        }
        self.heed(&failure, history);
        Fate::Alone
    }

    /// Holds all calls where a failure asks for that.
    fn heed(&self, failure: &Failure, history: &mut History) {
        match self.http.policy().decide(failure, history, self.http.random()) {
            Verdict::HoldAll(pause) | Verdict::TooLong(pause) => self.http.hold_for(pause),
            Verdict::RenewToken | Verdict::SignInAnew | Verdict::Wait(_) | Verdict::GiveUp => {}
        }
    }
}

/// The message that an item brought, unless it is short or something else.
fn mime_of(answer: &ItemAnswer) -> Option<Vec<u8>> {
    if answer.header("Content-Type").is_some_and(|content_type| is_of_something_else(&content_type)) {
        return None;
    }
    let mime = answer.bytes()?;
    let announced = answer.header("Content-Length").and_then(|length| length.trim().parse().ok());
    let whole = announced.is_none_or(|announced: usize| announced == mime.len());
    (!mime.is_empty() && whole && !is_something_else(&mime)).then_some(mime)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use serde_json::{Value, json};

    use super::super::batch::match_answers;
    use super::*;

    fn mime(headers: &Value, body: &str) -> Option<Vec<u8>> {
        let body = BASE64_STANDARD.encode(body);
        let answer = json!({"responses": [{"id": "1", "status": 200, "headers": headers, "body": body}]});
        mime_of(match_answers(answer, 1)[0].as_ref().unwrap())
    }

    #[test]
    fn f16_what_is_short_or_something_else_is_no_message() {
        let mail = "Subject: x\r\n\r\n";
        for headers in [json!({}), json!({"Content-Type": "text/plain"}), json!({"content-length": "14"})] {
            assert_eq!(mime(&headers, mail).unwrap(), mail.as_bytes(), "{headers}");
        }
        for headers in [
            json!({"Content-Length": "15"}),
            json!({"content-length": 13}),
            json!({"Content-Type": "application/json"}),
            json!({"Content-Type": "text/html; charset=utf-8"}),
        ] {
            assert_eq!(mime(&headers, mail), None, "{headers}");
        }
        for body in ["", "<!DOCTYPE html><html>", "{\"error\":{}}"] {
            assert_eq!(mime(&json!({}), body), None, "{body}");
        }
    }
}
