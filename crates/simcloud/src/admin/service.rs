//! Knobs, faults, counters: the service rather than the mail.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Order, Reply, done, ok};
use crate::cloud::AdminError;
use crate::faults::Fault;
use crate::knobs::Knobs;
use crate::mailbox::AccountMode;
use crate::reply::Answer;
use crate::webhooks::LifecycleEvent;

#[derive(Deserialize)]
struct Mode {
    mode: AccountMode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sharing {
    with: String,
    #[serde(default = "yes")]
    allowed: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Telling {
    event: LifecycleEvent,
}

pub(super) fn answer(order: &Order<'_>, method: &str, segments: &[&str]) -> Reply {
    let (cloud, user) = (order.cloud, order.user());
    Some(match (method, segments) {
        ("GET", ["users"]) => ok(&cloud.users()),
        ("GET", ["counters"]) => ok(&cloud.counters()),
        ("POST", ["counters", "reset"]) => {
            cloud.reset_counters();
            done()
        }
        ("GET", ["downloads"]) => ok(&cloud.downloads(user)),
        ("GET", ["requests"]) => {
            let since = order.query.get("since").and_then(|text| text.parse().ok()).unwrap_or(0);
            ok(&cloud.requests(since))
        }
        ("GET", ["knobs"]) => ok(&cloud.knobs()),
        ("PATCH" | "POST", ["knobs"]) => turn(order, &cloud.knobs()),
        ("POST", ["knobs", "reset"]) => turn(order, &Knobs::default()),
        ("POST", ["knobs", "calm"]) => turn(order, &Knobs { latency_ms: cloud.knobs().latency_ms, ..Knobs::calm() }),
        ("GET", ["faults"]) => ok(&cloud.faults()),
        ("POST", ["faults"]) => {
            order.read::<Fault>().map(|fault| cloud.inject(fault)).and_then(|number| ok(&json!({"number": number})))
        }
        ("DELETE", ["faults"]) => {
            cloud.clear_faults();
            done()
        }
        ("DELETE", ["faults", number]) => match number.parse().map(|number| cloud.remove_fault(number)) {
            Ok(true) => done(),
            _ => Err(AdminError::Invalid(format!("there is no fault `{number}`"))),
        },
        ("POST", ["delta", "kill"]) => cloud.kill_delta_tokens(user).and_then(|()| done()),
        ("POST", ["account", "mode"]) => {
            order.read::<Mode>().and_then(|mode| cloud.set_account_mode(user, mode.mode)).and_then(|()| done())
        }
        ("POST", ["account", "share"]) => order
            .read::<Sharing>()
            .and_then(|sharing| cloud.share_mailbox(user, &sharing.with, sharing.allowed))
            .and_then(|()| done()),
        ("GET", ["notifications"]) => ok(&json!({"channels": cloud.notification_channels()})),
        ("POST", ["notifications", what]) => {
            match *what {
                "cut" => cloud.cut_notifications(),
                "end" => cloud.end_notifications(),
                "silence" => cloud.silence_notifications(),
                "miss" => cloud.miss_notifications(),
                "expire" => cloud.expire_subscriptions(),
                _ => return None,
            }
            done()
        }
        ("GET", ["webhooks"]) => ok(&cloud.webhooks()),
        ("POST", ["webhooks", "forget"]) => {
            cloud.forget_webhooks();
            done()
        }
        ("POST", ["webhooks", "tell"]) => order.read::<Telling>().and_then(|telling| {
            cloud.tell_webhooks(telling.event);
            done()
        }),
        _ => return None,
    })
}

fn turn(order: &Order<'_>, base: &Knobs) -> Result<Answer, AdminError> {
    let changes: Value = order.read()?;
    let knobs = base.merge(&changes).map_err(|error| AdminError::Invalid(error.to_string()))?;
    order.cloud.set_knobs(knobs.clone());
    ok(&knobs)
}
