//! What is sent: `{"value": [{"subscriptionId": …, "clientState": …, …}]}`.

use serde_json::Value;

/// What one notification says. It is never more than a reason to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// Something happened in the folder.
    Changed,
    /// The service doesn't remember all that happened.
    Missed,
    /// The subscription is over.
    Removed,
    /// The subscription is to be renewed before more is told.
    Reauthorize,
}

/// One notification, believed by nobody yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Notification<'v> {
    pub(super) subscription: &'v str,
    pub(super) client_state: &'v str,
    pub(super) told: Told,
}

/// The notifications of a body; nothing where it isn't a list of them.
pub(super) fn list(body: &Value) -> Option<impl Iterator<Item = Notification<'_>>> {
    Some(body.get("value")?.as_array()?.iter().map(|item| {
        let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
        let told = match text("lifecycleEvent") {
            "missed" => Told::Missed,
            "subscriptionRemoved" => Told::Removed,
            "reauthorizationRequired" => Told::Reauthorize,
            // Events that aren't known yet are as good a reason to look as any.
            _ => Told::Changed,
        };
        Notification { subscription: text("subscriptionId"), client_state: text("clientState"), told }
    }))
}
