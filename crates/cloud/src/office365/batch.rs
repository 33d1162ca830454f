//! Many requests in one (`$batch`), each with a fate of its own.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cms_auth::AccessToken;
use cms_engine::RemoteId;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Account;
use super::account::IMMUTABLE;
use crate::exchange::{self, Exchange, Sent};
use crate::http::{
    Body, Call, Failed, Failure, History, JsonAnswer, ServiceError, Urgency, Verdict, challenged_claims, not_accepted,
};

/// The service takes no more in one batch (JSON batching documentation).
pub(super) const LARGEST_BATCH: usize = 20;
/// So many items of a batch the mailbox serves at a time; a fifth may be refused rather than wait.
const SERVED_AT_A_TIME: usize = 4;
/// Batches under way at a time.
const BATCHES: usize = 4;
/// An item that fails for another's sake is sent again; the other is settled meanwhile, so this is never reached by a
/// service that does what it says.
const MOST_DEPENDENCY_FAILURES: u32 = 64;

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) method: Method,
    /// Below the version: `/me/messages/…`.
    pub(super) path: String,
    pub(super) body: Option<Value>,
    /// The message that it is about: requests about one message keep their order.
    pub(super) message: RemoteId,
    /// Of a page, how many entries it may have.
    pub(super) page_size: Option<u32>,
}

/// How requests are sent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linked {
    /// All at the same time, or only the first few where the mailbox has no slots for the others. For questions: one's failure
    /// means nothing to the next.
    Not,
    /// One after the other, which takes up one of the mailbox's slots only.
    Chained,
}

/// What a batch said of one request.
pub(super) struct ItemAnswer {
    pub(super) status: u16,
    headers: Map<String, Value>,
    /// JSON, or bytes as base64.
    body: Value,
}

/// What came of a batch.
pub(super) struct BatchAnswer {
    /// What it said of each request, if it did. The last ones may not have been sent, and are missing.
    pub(super) items: Vec<Option<ItemAnswer>>,
    /// The token that it carried.
    token: AccessToken,
    sent: Sent,
}

/// Where one request stands.
struct Standing {
    settled: Option<Result<Value, Failure>>,
    history: History,
    unanswered: u32,
    dependency_failures: u32,
}

impl Item {
    pub(super) fn get(path: &str, message: &RemoteId) -> Self {
        Self { method: Method::GET, path: path.to_owned(), body: None, message: message.clone(), page_size: None }
    }

    /// A page of at most so many entries.
    pub(super) fn page(path: &str, size: u32) -> Self {
        Self { page_size: Some(size), ..Self::get(path, &RemoteId::new(path)) }
    }

    /// Notes that it was sent, unless it only asks.
    fn note(&self, exchange: impl FnOnce(&RemoteId) -> Exchange) {
        if self.method != Method::GET {
            exchange::note(|| exchange(&self.message));
        }
    }

    fn prefer(&self) -> String {
        // What a question selects is wanted back, and so is what became of a change; only nothing more than that.
        match self.page_size {
            Some(size) => format!("odata.maxpagesize={size}, {IMMUTABLE}"),
            None if self.method == Method::GET => IMMUTABLE.to_owned(),
            None => format!("{IMMUTABLE}, return=minimal"),
        }
    }
}

impl Account {
    /// Sends all requests, again as often as makes sense, and gives the body of each that succeeded.
    pub(super) async fn run(&self, items: &[Item], linked: Linked) -> Vec<Result<Value, Failure>> {
        let mut standings: Vec<Standing> = items
            .iter()
            .map(|_| Standing { settled: None, history: History::default(), unanswered: 0, dependency_failures: 0 })
            .collect();
        loop {
            let open: Vec<usize> = (0..items.len()).filter(|index| standings[*index].settled.is_none()).collect();
            if let [only] = open.as_slice() {
                standings[*only].settled = Some(self.run_alone(&items[*only]).await);
                continue;
            }
            if open.is_empty() {
                break;
            }
            let mut wait = Duration::ZERO;
            for few in pack(items, &open, linked).chunks(BATCHES) {
                let answers = join_all(few.iter().map(|group| self.run_batch(items, group, linked))).await;
                for (group, answer) in few.iter().zip(answers) {
                    wait = wait.max(self.settle(items, group, answer, &mut standings).await);
                }
            }
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
        let unsettled = || Err(Failure::Senseless("a request got no answer".to_owned()));
        standings.into_iter().map(|standing| standing.settled.unwrap_or_else(unsettled)).collect()
    }

    async fn run_alone(&self, item: &Item) -> Result<Value, Failure> {
        let Some(url) = self.absolute(&item.path) else {
            return Err(Failure::Senseless("an address can't be made".to_owned()));
        };
        let call = match &item.body {
            Some(body) => Call::json(item.method.clone(), url, body),
            None => Call { method: item.method.clone(), ..Call::get(url) },
        };
        let call = call.prefer(item.prefer());
        let answer = self.http.json(&call).await;
        item.note(|message| call.sent.exchange(Some(message), None));
        answer
    }

    /// Sends one batch. Its answers come in any order, and some may not come at all.
    pub(super) async fn run_batch(
        &self,
        items: &[Item],
        group: &[usize],
        linked: Linked,
    ) -> Result<BatchAnswer, Failure> {
        let call = self.batch_call(items, group, linked);
        let answer = self.http.json_answer(&call).await?;
        let sent = match linked {
            Linked::Chained => group.len(),
            Linked::Not => answer.slots(),
        };
        Ok(Self::read_batch(answer, sent, call.sent))
    }

    /// Sends a batch of downloads, once. Its answer may not be longer than so many bytes.
    pub(super) async fn run_downloads(
        &self,
        items: &[Item],
        group: &[usize],
        longest_answer: usize,
    ) -> Result<BatchAnswer, Failed> {
        let mut call = self.batch_call(items, group, Linked::Chained);
        call.urgency = Urgency::Bulk;
        call.longest_answer = longest_answer;
        let answer = self.http.json_answer_once(&call).await?;
        Ok(Self::read_batch(answer, group.len(), call.sent))
    }

    fn batch_call(&self, items: &[Item], group: &[usize], linked: Linked) -> Call {
        let mut requests = Vec::with_capacity(group.len());
        for (position, index) in group.iter().enumerate() {
            let item = &items[*index];
            let mut headers = json!({"Prefer": item.prefer()});
            let mut request =
                json!({"id": (position + 1).to_string(), "method": item.method.as_str(), "url": item.path});
            if let Some(body) = &item.body {
                headers["Content-Type"] = "application/json".into();
                request["body"] = body.clone();
            }
            request["headers"] = headers;
            if linked == Linked::Chained && position > 0 {
                request["dependsOn"] = json!([position.to_string()]);
            }
            requests.push(request);
        }
        let call = Call::json(Method::POST, self.batch_url(), &json!({"requests": requests}));
        match linked {
            Linked::Chained => Call { cost: group.len(), ..call },
            Linked::Not => {
                let first = |count| json!({"requests": requests[..count]}).to_string().into();
                Call { body: Body::Fitting((1..=requests.len()).map(first).collect()), ..call }
            }
        }
    }

    fn read_batch(mut answer: JsonAnswer, count: usize, sent: Sent) -> BatchAnswer {
        let items = match_answers(answer.body.take(), count);
        if items.iter().flatten().any(|item| item.status == 429 && item.error().is_for_concurrency()) {
            answer.tells_of_crowd();
        }
        BatchAnswer { items, token: answer.token, sent }
    }

    /// Notes what a batch brought, and says how long to wait before what is still open is sent again.
    async fn settle(
        &self,
        items: &[Item],
        group: &[usize],
        answer: Result<BatchAnswer, Failure>,
        standings: &mut [Standing],
    ) -> Duration {
        let BatchAnswer { items: answers, token, sent } = match answer {
            Ok(answer) => answer,
            Err(Failure::Status(error)) if (400..500).contains(&error.status) && !matches!(error.status, 401 | 429) => {
                // The batch was refused as such, perhaps for one of its requests: the others needn't suffer for it.
                for index in group {
                    standings[*index].settled = Some(self.run_alone(&items[*index]).await);
                }
                return Duration::ZERO;
            }
            Err(failure) => {
                for index in group {
                    standings[*index].settled = Some(Err(failure.repeat()));
                }
                return Duration::ZERO;
            }
        };
        let mut wait = Duration::ZERO;
        for (index, answer) in group.iter().zip(answers) {
            let standing = &mut standings[*index];
            let Some(answer) = answer else {
                standing.unanswered += 1;
                let policy = self.http.policy();
                if standing.unanswered >= policy.object_tries {
                    let failure = Failure::Senseless("a batch left a request unanswered".to_owned());
                    standing.settled = Some(Err(failure));
                } else {
                    wait = wait.max(policy.backoff(standing.unanswered, self.http.random()));
                }
                continue;
            };
            let status = Some(answer.status);
            items[*index].note(|message| Exchange { status, ..sent.exchange(Some(message), None) });
            if (200..300).contains(&answer.status) {
                standing.settled = Some(Ok(answer.into_json()));
                continue;
            }
            let failure = Failure::Status(answer.error());
            if answer.status == 424 && standing.dependency_failures < MOST_DEPENDENCY_FAILURES {
                standing.dependency_failures += 1;
                continue;
            }
            match self.http.policy().decide(&failure, &mut standing.history, self.http.random()) {
                Verdict::GiveUp => standing.settled = Some(Err(failure)),
                Verdict::Wait(delay) => wait = wait.max(delay),
                Verdict::HoldAll(pause) => self.http.hold_for(pause),
                Verdict::TooLong(pause) => {
                    self.http.hold_for(pause);
                    standing.settled = Some(Err(failure));
                }
                Verdict::RenewToken => {
                    if let Err(error) = self.http.tokens().renew(&token, failure.claims().as_deref()).await {
                        standing.settled = Some(Err(Failure::Auth(error)));
                    }
                }
                Verdict::SignInAnew => {
                    if let Err(error) = self.http.tokens().sign_in_anew(&token, &not_accepted(&failure)).await {
                        standing.settled = Some(Err(Failure::Auth(error)));
                    }
                }
            }
        }
        wait
    }

    fn absolute(&self, path: &str) -> Option<url::Url> {
        url::Url::parse(&format!("{}{path}", self.root)).ok()
    }
}

impl ItemAnswer {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|number| number.to_string()))
    }

    /// The body as JSON.
    pub(super) fn into_json(self) -> Value {
        match self.body {
            Value::String(text) => decode_body(&text),
            body => body,
        }
    }

    /// The bytes of a body that isn't JSON.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        BASE64_STANDARD.decode(self.body.as_str()?).ok()
    }

    pub(super) fn error(&self) -> ServiceError {
        let decoded = self.body.as_str().map(decode_body);
        let header = |name: &str| self.header(name);
        let (request_id, retry_after) = (header("request-id"), header("Retry-After"));
        let error = ServiceError::from_json(
            self.status,
            decoded.as_ref().unwrap_or(&self.body),
            request_id.as_deref(),
            retry_after.as_deref(),
            SystemTime::now(),
        );
        ServiceError { claims: header("WWW-Authenticate").and_then(|value| challenged_claims(&value)), ..error }
    }
}

/// Puts requests into batches: those about one message stay together, in order.
fn pack(items: &[Item], open: &[usize], linked: Linked) -> Vec<Vec<usize>> {
    let most = match linked {
        Linked::Chained => LARGEST_BATCH,
        Linked::Not => SERVED_AT_A_TIME,
    };
    let mut by_message: Vec<Vec<usize>> = Vec::new();
    let mut place: HashMap<&RemoteId, usize> = HashMap::new();
    for index in open {
        let message = &items[*index].message;
        match place.get(message) {
            // A batch can't hold more, and what doesn't fit goes out in the next round.
            Some(group) if linked == Linked::Chained => {
                if by_message[*group].len() < most {
                    by_message[*group].push(*index);
                }
            }
            _ => {
                place.insert(message, by_message.len());
                by_message.push(vec![*index]);
            }
        }
    }
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for group in by_message {
        match batches.last_mut() {
            Some(batch) if batch.len() + group.len() <= most => batch.extend(group),
            _ => batches.push(group),
        }
    }
    batches
}

/// Puts a batch's answers in the order of its requests. Ids are compared without regard to case.
pub(super) fn match_answers(mut body: Value, count: usize) -> Vec<Option<ItemAnswer>> {
    let mut answers: Vec<Option<ItemAnswer>> = (0..count).map(|_| None).collect();
    let Some(Value::Array(responses)) = body.get_mut("responses").map(Value::take) else { return answers };
    for mut response in responses {
        let id = &response["id"];
        let position = id.as_str().map_or_else(|| id.as_u64(), |text| text.trim().parse().ok());
        let slot = position.and_then(|position| usize::try_from(position).ok()?.checked_sub(1));
        let status = response["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        let (Some(slot), Some(status)) = (slot.and_then(|slot| answers.get_mut(slot)), status) else { continue };
        if slot.is_some() {
            continue;
        }
        let headers = match response.get_mut("headers").map(Value::take) {
            Some(Value::Object(headers)) => headers,
            _ => Map::new(),
        };
        let body = response.get_mut("body").map(Value::take).unwrap_or_default();
        *slot = Some(ItemAnswer { status, headers, body });
    }
    answers
}

/// A body that the service didn't take for JSON comes as base64, and may be JSON all the same.
fn decode_body(text: &str) -> Value {
    BASE64_STANDARD.decode(text).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn items(messages: &[&str]) -> Vec<Item> {
        messages.iter().map(|message| Item::get("/x", &RemoteId::new(*message))).collect()
    }

    #[test]
    fn answers_are_matched_by_id_in_any_order_with_or_without_a_body() {
        let body = json!({"responses": [
            {"id": "3", "status": 204},
            {"id": "1", "status": 429, "headers": {"retry-after": 7}, "body": {"error": {"code": "ApplicationThrottled"}}},
            {"id": 9, "status": 200}, {"status": 200}, {"id": "1", "status": 200},
        ]});
        let answers = match_answers(body, 3);
        assert_eq!(
            answers.iter().map(|a| a.as_ref().map(|a| a.status)).collect::<Vec<_>>(),
            [Some(429), None, Some(204)]
        );
        let error = answers[0].as_ref().unwrap().error();
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
        assert!(error.is("ApplicationThrottled"));
    }

    #[test]
    fn bytes_come_as_base64_and_so_may_json() {
        let body = json!({"responses": [
            {"id": "1", "status": 200, "body": BASE64_STANDARD.encode("From: a\r\n\r\n")},
            {"id": "2", "status": 200, "body": BASE64_STANDARD.encode("{\"value\":[]}")},
            {"id": "3", "status": 200, "body": "no base64"},
            {"id": "4", "status": 404, "body": BASE64_STANDARD.encode("{\"error\":{\"code\":\"ErrorItemNotFound\"}}")},
        ]});
        let mut answers = match_answers(body, 4).into_iter().flatten();
        let mut next = || answers.next().unwrap();
        assert_eq!(next().bytes().unwrap(), b"From: a\r\n\r\n");
        assert_eq!(next().into_json(), json!({"value": []}));
        let neither = next();
        assert_eq!((neither.bytes(), neither.into_json()), (None, Value::Null));
        assert!(next().error().is("ErrorItemNotFound"));
    }

    #[test]
    fn requests_about_one_message_stay_together_in_order() {
        let items = items(&["a", "b", "a", "c", "b"]);
        assert_eq!(pack(&items, &[0, 1, 2, 3, 4], Linked::Chained), vec![vec![0, 2, 1, 4, 3]]);
        assert_eq!(pack(&items, &[0, 1, 2, 3, 4], Linked::Not), vec![vec![0, 1, 2, 3], vec![4]]);
    }

    #[test]
    fn batches_hold_no_more_than_they_may_and_a_group_is_not_torn() {
        let names: Vec<String> = (0..50).map(|n| format!("m{}", n / 2)).collect();
        let items = items(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let open: Vec<usize> = (0..50).collect();
        let batches = pack(&items, &open, Linked::Chained);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [20, 20, 10]);
        assert_eq!(batches.concat(), open);
        let one: Vec<&str> = vec!["same"; 30];
        assert_eq!(
            pack(&self::items(&one), &(0..30).collect::<Vec<_>>(), Linked::Chained),
            vec![(0..20).collect::<Vec<_>>()]
        );
    }

    proptest! {
        #[test]
        fn any_answer_is_matched_without_a_panic(ids in proptest::collection::vec(any::<i64>(), 0..6), count in 0usize..5) {
            let responses: Vec<Value> = ids.iter().map(|id| json!({"id": id.to_string(), "status": id, "body": "e30="})).collect();
            prop_assert_eq!(match_answers(json!({"responses": responses}), count).len(), count);
            prop_assert_eq!(match_answers(json!({"responses": 1}), count).len(), count);
        }
    }
}
