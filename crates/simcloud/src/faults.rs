//! Failures on order: which requests fail, and how.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Which requests fail, how many of them, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The kind of request, such as `delta` or `batch-item:patch`; any if empty. `*` at the end stands for anything.
    #[serde(default)]
    pub kind: String,
    /// The HTTP method; any if empty.
    #[serde(default)]
    pub method: String,
    /// Text that the path and query hold, decoded or not; any if empty.
    #[serde(default)]
    pub path: String,
    /// The mailbox; any if empty.
    #[serde(default)]
    pub user: String,
    /// How many matching requests pass unharmed before the first failure.
    #[serde(default)]
    pub skip: u64,
    /// How many fail; nothing for all.
    #[serde(default)]
    pub count: Option<u64>,
    /// How likely a matching request fails, between 0 and 1.
    #[serde(default = "certain")]
    pub probability: f64,
    /// What the dice begin with.
    #[serde(default)]
    pub seed: u64,
    /// What happens.
    pub action: Action,
}

fn certain() -> f64 {
    1.0
}

impl Fault {
    /// The next request of a kind fails, once.
    pub fn once(kind: &str, action: Action) -> Self {
        Self { count: Some(1), ..Self::always(kind, action) }
    }

    /// All requests of a kind fail.
    pub fn always(kind: &str, action: Action) -> Self {
        Self {
            kind: kind.to_owned(),
            method: String::new(),
            path: String::new(),
            user: String::new(),
            skip: 0,
            count: None,
            probability: 1.0,
            seed: 0,
            action,
        }
    }
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// It is answered with this status, and nothing is done.
    Status {
        /// The HTTP status.
        status: u16,
        /// What the body is.
        #[serde(default)]
        body: BodyKind,
        /// The error's code; a usual one for the status if empty.
        #[serde(default)]
        code: String,
        /// The error's message.
        #[serde(default)]
        message: String,
        /// When to come back.
        #[serde(default)]
        retry_after: Option<RetryAfter>,
    },
    /// The connection is reset before anything is done.
    ResetBefore,
    /// It is done, and the connection is reset instead of an answer.
    ResetAfter,
    /// It is done and answered with this status instead of its own.
    StatusAfter {
        /// The HTTP status.
        status: u16,
    },
    /// There is never an answer, and nothing is done.
    Hang,
    /// It is done, and there is never an answer.
    HangAfter,
    /// The answer's body breaks off.
    Truncate {
        /// After so many bytes, as sent.
        after: usize,
    },
    /// The answer's body stops, and the connection stays open.
    Stall {
        /// After so many bytes, as sent.
        after: usize,
    },
    /// The body is noise, the status 200.
    Garbage,
    /// The body is a page for people, the status 200.
    Html,
    /// The body is an error, the status 200.
    ErrorInOk {
        /// The error's code.
        code: String,
    },
    /// It is done later, and answered then.
    Delay {
        /// By so many milliseconds.
        milliseconds: u64,
    },
    /// It is done at once, and the answer comes later: what it tells is old by then.
    DelayAfter {
        /// By so many milliseconds.
        milliseconds: u64,
    },
}

impl Action {
    /// An error in the usual shape.
    pub fn status(status: u16) -> Self {
        Self::Status { status, body: BodyKind::Json, code: String::new(), message: String::new(), retry_after: None }
    }

    /// 200 without a body.
    pub fn empty() -> Self {
        Self::Status {
            status: 200,
            body: BodyKind::Empty,
            code: String::new(),
            message: String::new(),
            retry_after: None,
        }
    }

    /// 429 with Retry-After.
    pub fn throttled(seconds: u64) -> Self {
        Self::Status {
            status: 429,
            body: BodyKind::Json,
            code: String::new(),
            message: String::new(),
            retry_after: Some(RetryAfter::Seconds(seconds)),
        }
    }
}

/// The body of an injected error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyKind {
    /// An error in the shape of Graph.
    #[default]
    Json,
    /// Nothing.
    Empty,
    /// A page for people.
    Html,
    /// Noise.
    Garbage,
    /// `UnknownError` with an empty message.
    Unknown,
}

/// When an injected error says to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// After so many seconds.
    Seconds(u64),
    /// At the date that is so many seconds away.
    Date(u64),
}

/// A rule and how far it has come.
#[derive(Clone, Debug, Serialize)]
pub struct FaultState {
    /// The rule's number.
    pub number: u64,
    /// The rule.
    pub fault: Fault,
    /// Requests that matched.
    pub seen: u64,
    /// Requests that failed.
    pub fired: u64,
    #[serde(skip)]
    random: ChaCha8Rng,
}

#[derive(Default)]
struct Rules {
    list: Vec<FaultState>,
    next: u64,
}

/// All rules.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Rules>);

impl Faults {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule and returns its number.
    pub(crate) fn add(&self, fault: Fault) -> u64 {
        let mut rules = self.rules();
        rules.next += 1;
        let number = rules.next;
        let random = ChaCha8Rng::seed_from_u64(fault.seed);
        rules.list.push(FaultState { number, fault, seen: 0, fired: 0, random });
        number
    }

    /// Removes one rule; says whether it was there.
    pub(crate) fn remove(&self, number: u64) -> bool {
        let mut rules = self.rules();
        let before = rules.list.len();
        rules.list.retain(|rule| rule.number != number);
        rules.list.len() < before
    }

    /// Removes all rules.
    pub(crate) fn clear(&self) {
        self.rules().list.clear();
    }

    /// All rules and how far they have come.
    pub(crate) fn list(&self) -> Vec<FaultState> {
        self.rules().list.clone()
    }

    /// What happens to a request: the action of the first rule that strikes.
    pub(crate) fn strike(&self, kind: &str, method: &str, target: &str, user: &str) -> Option<Action> {
        let mut rules = self.rules();
        for rule in &mut rules.list {
            if !matches(&rule.fault, kind, method, target, user) {
                continue;
            }
            rule.seen += 1;
            let due = rule.seen > rule.fault.skip && rule.fault.count.is_none_or(|count| rule.fired < count);
            if due && rule.random.random_bool(rule.fault.probability.clamp(0.0, 1.0)) {
                rule.fired += 1;
                return Some(rule.fault.action.clone());
            }
        }
        None
    }
}

fn matches(fault: &Fault, kind: &str, method: &str, target: &str, user: &str) -> bool {
    let kind_fits = match fault.kind.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None => fault.kind.is_empty() || fault.kind == kind,
    };
    kind_fits
        && (fault.method.is_empty() || fault.method.eq_ignore_ascii_case(method))
        && (fault.user.is_empty() || fault.user.eq_ignore_ascii_case(user))
        && (fault.path.is_empty()
            || target.contains(&fault.path)
            || percent_encoding::percent_decode_str(target).decode_utf8_lossy().contains(&fault.path))
}

/// The code that goes with a status when none is given.
pub(crate) fn usual_code(status: u16) -> (&'static str, &'static str) {
    match status {
        400 => ("BadRequest", "The request is malformed."),
        401 => ("InvalidAuthenticationToken", "Access token has expired or is not yet valid."),
        403 => ("ErrorAccessDenied", "Access is denied. Check credentials and try again."),
        404 => ("ErrorItemNotFound", "The specified object was not found in the store."),
        409 => ("ErrorFolderExists", "A folder with the specified name already exists."),
        410 => ("SyncStateNotFound", "The sync state root folder is not found."),
        412 => (
            "ErrorIrresolvableConflict",
            "The send or update operation could not be performed because the change key passed in the request does not match the current change key for the item.",
        ),
        413 => ("RequestEntityTooLarge", "The request is too large."),
        429 => ("ApplicationThrottled", "Application is over its MailboxConcurrency limit."),
        502 => ("BadGateway", "Bad gateway."),
        503 => ("ServiceNotAvailable", "The service is temporarily unavailable. Please retry later."),
        504 => ("GatewayTimeout", "The request timed out."),
        509 => ("BandwidthLimitExceeded", "The bandwidth limit was exceeded."),
        _ => ("InternalServerError", "Error while processing response."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_strike_in_their_turn() {
        let faults = Faults::default();
        faults.add(Fault { skip: 1, count: Some(2), ..Fault::always("delta", Action::Hang) });
        let struck: Vec<bool> = (0..5).map(|_| faults.strike("delta", "GET", "/x", "u").is_some()).collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert!(faults.strike("value", "GET", "/x", "u").is_none());
    }

    #[test]
    fn rules_read_from_json() {
        let text =
            r#"{"kind":"batch-item:*","action":{"do":"status","status":503,"body":"html","retry_after":{"date":3}}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert!(matches(&fault, "batch-item:patch", "PATCH", "/me", "u"));
        assert!(matches!(fault.action, Action::Status { retry_after: Some(RetryAfter::Date(3)), .. }));
    }
}
