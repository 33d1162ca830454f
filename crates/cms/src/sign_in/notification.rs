//! A word on the desktop (Desktop Notifications Specification, over D-Bus).

use std::collections::HashMap;
use std::time::Duration;

use zbus::zvariant::Value;

/// A desktop that takes longer isn't looked at by anybody.
const WITHIN: Duration = Duration::from_secs(3);
/// Milliseconds that stand for "until the user has seen it".
const UNTIL_SEEN: i32 = 0;

/// Shows a notification. Without a desktop nothing happens.
pub(super) async fn show(summary: &str, body: &str) {
    match tokio::time::timeout(WITHIN, notify(summary, body)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "There is no desktop to notify"),
        Err(_) => tracing::debug!("The desktop doesn't take notifications"),
    }
}

async fn notify(summary: &str, body: &str) -> zbus::Result<()> {
    let bus = zbus::Connection::session().await?;
    let hints = HashMap::from([("category", Value::from("network.error")), ("urgency", Value::from(1_u8))]);
    let actions: Vec<&str> = Vec::new();
    let text = escape(body);
    let arguments = ("Cloud MailDir Sync", 0_u32, "mail-unread", summary, text.as_str(), actions, hints, UNTIL_SEEN);
    let (name, path) = ("org.freedesktop.Notifications", "/org/freedesktop/Notifications");
    bus.call_method(Some(name), path, Some(name), "Notify", &arguments).await.map(drop)
}

/// Some desktops read the body as markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_service_says_stays_text() {
        assert_eq!(super::escape("<a> & b"), "&lt;a&gt; &amp; b");
    }
}
