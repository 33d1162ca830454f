//! `$batch`: up to twenty requests in one, up to four at a time, answered in any order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rand::Rng as _;
use serde_json::{Map, Value, json};

use crate::cloud::{Inner, lock};
use crate::faults::{Action, usual_code};
use crate::graph::{self, Call, Route, Visitor};
use crate::knobs::Knobs;
use crate::odata::Query;
use crate::reply::{Answer, Content, error_body};
use crate::throttle::{Account, Slot, retry_after};

/// The most requests in a batch.
const MOST: usize = 20;
/// How many of them run at a time.
const AT_A_TIME: usize = 4;

struct Item {
    id: String,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    depends_on: Vec<String>,
}

/// A batch whose envelope was read.
pub(crate) struct Batch {
    items: Vec<Item>,
}

fn malformed(message: &str) -> Answer {
    Answer::error(400, "BadRequest", message)
}

impl Batch {
    /// Reads the envelope; only this can fail as a whole.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Answer> {
        let value: Value = serde_json::from_slice(body).map_err(|error| malformed(&error.to_string()))?;
        let list = value.get("requests").and_then(Value::as_array).ok_or_else(|| malformed("requests is missing"))?;
        if list.is_empty() || list.len() > MOST {
            return Err(malformed("The number of requests in a batch must be between 1 and 20."));
        }
        let items = list.iter().map(Item::read).collect::<Result<Vec<_>, _>>()?;
        let mut seen = HashSet::new();
        for item in &items {
            if !seen.insert(item.id.to_ascii_lowercase()) {
                return Err(malformed(&format!("The id '{}' occurs twice.", item.id)));
            }
        }
        for item in &items {
            // A request may only wait for earlier ones, so nothing waits in a circle.
            let earlier: HashSet<String> = items
                .iter()
                .take_while(|other| other.id != item.id)
                .map(|other| other.id.to_ascii_lowercase())
                .collect();
            if item.depends_on.iter().any(|other| !earlier.contains(&other.to_ascii_lowercase())) {
                return Err(malformed(&format!("Request '{}' depends on one that doesn't come before it.", item.id)));
            }
        }
        Ok(Self { items })
    }

    /// What the items ask for.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.items.iter().map(|item| item.url.clone()).collect()
    }

    /// Whose mailbox the first item is about. Requests in one batch usually are about one mailbox.
    pub(crate) fn mailbox(&self, inner: &Inner, visitor: &Visitor) -> String {
        self.items.first().map_or_else(|| visitor.user.clone(), |item| visitor.mailbox_at(inner, &item.url))
    }

    /// How many chains of requests there are.
    pub(crate) fn chains(&self) -> usize {
        self.items.iter().filter(|item| item.depends_on.is_empty()).count()
    }
}

impl Item {
    fn read(value: &Value) -> Result<Self, Answer> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let id = text("id").or_else(|| value.get("id").and_then(Value::as_i64).map(|id| id.to_string()));
        let headers: Vec<(String, String)> = value
            .get("headers")
            .and_then(Value::as_object)
            .map(|map| {
                map.iter()
                    .filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.as_str()?.to_owned())))
                    .collect()
            })
            .unwrap_or_default();
        let kind = headers.iter().find(|(name, _)| name == "content-type").map(|(_, kind)| kind.as_str());
        let body = match (value.get("body"), kind) {
            (None | Some(Value::Null), _) => Bytes::new(),
            (Some(_), None) => return Err(malformed("A request with a body needs a Content-Type header.")),
            (Some(body), Some(kind)) if kind.starts_with("application/json") => body.to_string().into(),
            (Some(body), Some(_)) => STANDARD
                .decode(body.as_str().unwrap_or_default())
                .map_err(|_| malformed("A body that isn't JSON must be a base64 string."))?
                .into(),
        };
        let depends_on = value
            .get("dependsOn")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default();
        Ok(Self {
            id: id.ok_or_else(|| malformed("A request has no id."))?,
            method: text("method").ok_or_else(|| malformed("A request has no method."))?.to_ascii_uppercase(),
            url: text("url").ok_or_else(|| malformed("A request has no url."))?,
            headers,
            body,
            depends_on,
        })
    }

    fn call(&self, inner: &Inner, outer: &Call) -> Call {
        let (path, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let user = outer.holder.mailbox_at(inner, &path);
        Call {
            method: self.method.clone(),
            route: graph::route(&path, &user.to_ascii_lowercase()),
            query: Query::parse(query),
            headers: self.headers.clone(),
            body: self.body.clone(),
            base: outer.base.clone(),
            holder: outer.holder.clone(),
            user,
        }
    }
}

/// Runs a batch in the places that its slot has.
pub(crate) fn run(
    inner: &Arc<Inner>,
    knobs: &Knobs,
    outer: &Call,
    account: &Account,
    slot: &Slot,
    batch: &Batch,
) -> Answer {
    let wanted = batch.chains().min(AT_A_TIME);
    let mut statuses: HashMap<String, u16> = HashMap::new();
    let mut answers = Vec::with_capacity(batch.items.len());
    let mut chain = 0;
    for item in &batch.items {
        let call = item.call(inner, outer);
        let kind = format!("batch-item:{}", graph::kind(&call.method, &call.route));
        inner.tally.request(kind.clone());
        let failed = item
            .depends_on
            .iter()
            .any(|other| statuses.get(&other.to_ascii_lowercase()).is_none_or(|status| *status >= 400));
        let answer = if failed {
            Answer::error(424, "FailedDependency", "The request depends on one that failed.")
        } else {
            let place = chain;
            chain += usize::from(item.depends_on.is_empty());
            let alone = !item.depends_on.is_empty();
            item_answer(inner, knobs, &call, account, item, &kind, (alone, place, wanted, slot.places()))
        };
        statuses.insert(item.id.to_ascii_lowercase(), answer.status);
        answers.push(write(item, answer));
    }
    if let (true, Some(mailbox)) = (knobs.batch_shuffle, inner.mailbox(&outer.user)) {
        let random = &mut lock(mailbox).random;
        for at in (1..answers.len()).rev() {
            answers.swap(at, random.random_range(0..=at));
        }
    }
    Answer::json(200, format!("{{\"responses\":[{}]}}", answers.join(",")))
}

/// `place` is the item's number among the independent ones, `wanted` how many run at a time, `had` how many places
/// were free.
fn item_answer(
    inner: &Arc<Inner>,
    knobs: &Knobs,
    call: &Call,
    account: &Account,
    item: &Item,
    kind: &str,
    (alone, place, wanted, had): (bool, usize, usize, usize),
) -> Answer {
    let name = format!("{} {}", item.method, item.url);
    if let Err(refusal) = inner.throttle.item(account, &name, knobs) {
        inner.tally.violation(refusal.sentence);
        return overloaded(inner, knobs, account, &name, refusal.limit, Some(refusal.seconds));
    }
    let crowded = !alone && place >= AT_A_TIME && {
        let dice = inner
            .mailbox(&call.user)
            .map(|mailbox| lock(mailbox).random.random_bool(knobs.batch_overload.clamp(0.0, 1.0)));
        dice.unwrap_or(false)
    };
    if !alone && place % wanted.max(1) >= had {
        inner.tally.violation(format!("a batch of {wanted} parallel items found only {had} free places"));
        return overloaded(inner, knobs, account, &name, "MailboxConcurrency", None);
    }
    if crowded {
        inner.tally.note("batch: more than four independent items");
        return overloaded(inner, knobs, account, &name, "MailboxConcurrency", None);
    }
    let action = inner.faults.strike(kind, &item.method, &item.url, &call.user);
    match action {
        Some(Action::Status { status, code, message, retry_after: after, .. }) => {
            inner.tally.count(|counters| {
                counters.faults_injected += 1;
                counters.throttled_injected += u64::from(status == 429);
            });
            let (usual, words) = usual_code(status);
            let code = if code.is_empty() { usual } else { &code };
            let message = if message.is_empty() { words } else { &message };
            let answer = Answer::error(status, code, message);
            crate::http::with_retry_after(answer, after).0
        }
        Some(Action::StatusAfter { status }) => {
            inner.tally.count(|counters| counters.faults_injected += 1);
            graph::answer(inner, knobs, call);
            let (code, message) = usual_code(status);
            Answer::error(status, code, message)
        }
        _ if matches!(call.route, Route::Batch) => malformed("A batch can't hold a batch."),
        _ => graph::answer(inner, knobs, call),
    }
}

fn overloaded(
    inner: &Inner,
    knobs: &Knobs,
    account: &Account,
    name: &str,
    limit: &str,
    seconds: Option<u64>,
) -> Answer {
    inner.tally.count(|counters| counters.throttled_by_client += 1);
    let seconds = seconds.unwrap_or(knobs.retry_after_seconds);
    let (answer, pause) = retry_after(Answer::throttled(limit), seconds, knobs.retry_after_style);
    inner.throttle.pause_item(account, name, pause.unwrap_or(Duration::ZERO));
    answer
}

/// One item's answer as JSON text.
fn write(item: &Item, answer: Answer) -> String {
    let mut headers = Map::new();
    for (name, value) in &answer.headers {
        headers.insert((*name).to_owned(), json!(value));
    }
    let mut kind = |kind: &str| headers.insert("Content-Type".to_owned(), json!(kind));
    let body = match answer.content {
        Content::Empty => None,
        Content::Json(text) => {
            kind(
                "application/json; odata.metadata=minimal; odata.streaming=true; IEEE754Compatible=false; charset=utf-8",
            );
            Some(text)
        }
        Content::Error { code, message } => {
            kind("application/json");
            let ids = crate::ids::guid_text(rand::random());
            Some(error_body(&code, &message, &ids, &ids).to_string())
        }
        Content::Mime(bytes) => {
            kind("text/plain");
            let mut text = String::with_capacity(bytes.len() * 4 / 3 + 8);
            text.push('"');
            STANDARD.encode_string(&bytes, &mut text);
            text.push('"');
            Some(text)
        }
        Content::Other { kind: media, text } => {
            kind(media);
            Some(json!(STANDARD.encode(text)).to_string())
        }
    };
    let body = body.map(|body| format!(",\"body\":{body}")).unwrap_or_default();
    format!("{{\"id\":{},\"status\":{},\"headers\":{}{body}}}", json!(item.id), answer.status, Value::Object(headers))
}
