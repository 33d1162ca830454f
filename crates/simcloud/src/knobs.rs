//! What can be turned while the simulation runs.

use serde::{Deserialize, Serialize};

use crate::notifications::NotificationService;

/// How a 429 of the simulation's own making tells when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfterStyle {
    /// `Retry-After: 5`
    Seconds,
    /// `Retry-After: Sat, 31 Jan 2026 12:00:00 GMT`
    Date,
    /// No such header.
    Missing,
}

/// Every knob of the simulation. Probabilities are between 0 and 1.
///
/// The default is the service as its users describe it, flaws included; [`Knobs::calm`] leaves the flaws out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools)] // Independent switches, set by name over HTTP.
pub struct Knobs {
    /// How long every Graph request takes at least, in milliseconds; a batch counts as one request.
    pub latency_ms: u64,
    /// Requests in flight per application and mailbox before the next one is answered with 429.
    pub concurrency_limit: usize,
    /// What 429 answers ask for, in seconds.
    pub retry_after_seconds: u64,
    /// How 429 answers ask for it.
    pub retry_after_style: RetryAfterStyle,
    /// A request that arrives this soon after a 429 was sent was already under way, and is served.
    pub retry_after_grace_ms: u64,
    /// Requests per application and mailbox within `window_seconds`.
    pub window_requests: u64,
    /// Length of the window for requests.
    pub window_seconds: u64,
    /// Bytes uploaded per application and mailbox within `upload_window_seconds`.
    pub upload_bytes: u64,
    /// Length of the window for uploads.
    pub upload_window_seconds: u64,
    /// Life of a session in which a large file is attached.
    pub upload_session_seconds: u64,
    /// The smallest file that such a session is for, in bytes.
    pub upload_session_from: u64,
    /// Life of an access token.
    pub access_token_seconds: u64,
    /// Life of an authorization code.
    pub authorization_code_seconds: u64,
    /// Life of refresh tokens of `spa` registrations, from the interactive sign-in on.
    pub spa_refresh_seconds: u64,
    /// Life of refresh tokens that aren't used; a refresh gives one with a life of its own.
    pub refresh_token_seconds: u64,
    /// Life of a device code and of the short code for people.
    pub device_code_seconds: u64,
    /// How far apart a program's questions for a device code must be.
    pub device_interval_seconds: u64,
    /// Whether a policy blocks device codes: people are refused with 53003, and programs wait until the code expires.
    pub device_code_blocked: bool,
    /// Whether Google gives a refresh token only with a user's first consent, or with `prompt=consent`.
    pub google_refresh_token_once: bool,
    /// How far the clock of the `Date` headers is ahead, in seconds.
    pub clock_offset_seconds: i64,
    /// Language of the well-known folders' names: `en`, `de`, `fr` or `ja`.
    pub locale: String,
    /// Items in a page of delta when the client doesn't say.
    pub delta_page_size: usize,
    /// The most items that a page of delta has, whatever the client says.
    pub delta_page_cap: usize,
    /// Probability that an item comes twice in a page of delta.
    pub delta_duplicates: f64,
    /// Whether messages older than a day that are moved into a folder come twice, as reported.
    pub delta_moved_twice: bool,
    /// Probability that a page with something to tell comes empty, with a link to go on.
    pub delta_empty_pages: f64,
    /// Probability that a page is shorter than asked for.
    pub delta_short_pages: f64,
    /// Probability that a round tells again what an earlier round told.
    pub delta_replays: f64,
    /// Probability that a round with something to tell removes an id that nobody has seen.
    pub delta_unknown_removals: f64,
    /// Whether a change of the read state alone is told as `id`, `isRead` and `parentFolderId`.
    pub delta_partial_reads: bool,
    /// How many of a chain's newest links are good.
    pub delta_generations: u64,
    /// How long it takes until delta shows a change, in milliseconds.
    pub delta_lag_ms: u64,
    /// Whether delta is refused as it is in China.
    pub delta_unsupported: bool,
    /// Whether a message that left and came back between two rounds is only told as removed (immutable ids).
    pub delta_a_b_a_flaw: bool,
    /// Probability that a message that was moved isn't told at its new place (immutable ids).
    pub delta_moves_missing: f64,
    /// Probability that an independent batch item beyond the fourth is answered with 429.
    pub batch_overload: f64,
    /// Whether a batch's answers are shuffled.
    pub batch_shuffle: bool,
    /// Probability that a PATCH without If-Match is answered with 412.
    pub patch_conflict: f64,
    /// Probability that a PATCH is answered with 200 and changes nothing.
    pub patch_ignored: f64,
    /// How often in a row that may happen to a message.
    pub patch_ignored_in_a_row: u32,
    /// Whether changes to sensitive properties of messages that aren't drafts are refused with 403.
    pub refuse_sensitive: bool,
    /// Whether writing extended properties is refused with 403.
    pub refuse_extended: bool,
    /// Whether `$value` builds MIME anew instead of giving the stored bytes.
    pub rebuild_mime: bool,
    /// Whether two downloads of one message differ.
    pub unstable_mime: bool,
    /// Whether an administrator has granted `Mail-Advanced.ReadWrite` to the applications that ask for it.
    pub advanced_granted: bool,
    /// Whether uploaded MIME is kept as it came, apart from what a draft's time of creation changes.
    pub uploads_kept: bool,
    /// Whether answers are compressed for clients that accept gzip.
    pub gzip: bool,
    /// List pages of more items than this are answered with 504; 0 is never.
    pub list_timeout_above: usize,
    /// Whether the one-click Archive folder exists.
    pub archive_exists: bool,
    /// What the streaming notifications of the old Outlook REST interface are like.
    pub notifications: NotificationService,
    /// What the dice begin with that cut notifications across chunks and put white space between them; 0 for neither.
    pub notifications_cut_seed: u64,
    /// How long a subscription to notifications lives while nobody listens.
    pub notifications_idle_seconds: u64,
    /// Whether change notifications may go to addresses of this machine without https.
    pub webhooks_to_loopback: bool,
    /// How long a subscription to change notifications lives at most; 0 for as long as the service lets it.
    pub webhook_life_seconds: u64,
    /// How long after a change notification that nobody took it is sent again; the pause doubles with each further one.
    pub webhook_retry_ms: u64,
    /// Whether changes are told to nobody at an address of theirs.
    pub webhooks_lost: bool,
    /// Folders, by their paths, whose changes nobody is to be told of: a subscription to them is refused.
    pub webhooks_refused: Vec<String>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            latency_ms: 0,
            concurrency_limit: 4,
            retry_after_seconds: 1,
            retry_after_style: RetryAfterStyle::Seconds,
            retry_after_grace_ms: 100,
            window_requests: 10_000,
            window_seconds: 600,
            upload_bytes: 150 * 1024 * 1024,
            upload_window_seconds: 300,
            upload_session_seconds: 86_400,
            upload_session_from: 3_000_000,
            access_token_seconds: 3599,
            authorization_code_seconds: 600,
            spa_refresh_seconds: 86_400,
            refresh_token_seconds: 90 * 86_400,
            device_code_seconds: 900,
            device_interval_seconds: 5,
            device_code_blocked: false,
            google_refresh_token_once: false,
            clock_offset_seconds: 0,
            locale: "en".to_owned(),
            delta_page_size: 15,
            delta_page_cap: 500,
            delta_duplicates: 0.01,
            delta_moved_twice: true,
            delta_empty_pages: 0.03,
            delta_short_pages: 0.1,
            delta_replays: 0.1,
            delta_unknown_removals: 0.03,
            delta_partial_reads: true,
            delta_generations: 3,
            delta_lag_ms: 0,
            delta_unsupported: false,
            delta_a_b_a_flaw: true,
            delta_moves_missing: 0.0,
            batch_overload: 0.5,
            batch_shuffle: true,
            patch_conflict: 0.0,
            patch_ignored: 0.0,
            patch_ignored_in_a_row: u32::MAX,
            refuse_sensitive: false,
            refuse_extended: false,
            rebuild_mime: false,
            unstable_mime: false,
            advanced_granted: false,
            uploads_kept: false,
            gzip: true,
            list_timeout_above: 0,
            archive_exists: true,
            notifications: NotificationService::Retired,
            notifications_cut_seed: 0,
            notifications_idle_seconds: 1800,
            webhooks_to_loopback: false,
            webhook_life_seconds: 0,
            webhook_retry_ms: 1000,
            webhooks_lost: false,
            webhooks_refused: Vec::new(),
        }
    }
}

impl Knobs {
    /// The service without noise: nothing comes twice, nothing comes empty, nothing is lost. Limits stay as they are.
    pub fn calm() -> Self {
        Self {
            delta_duplicates: 0.0,
            delta_moved_twice: false,
            delta_empty_pages: 0.0,
            delta_short_pages: 0.0,
            delta_replays: 0.0,
            delta_unknown_removals: 0.0,
            delta_a_b_a_flaw: false,
            batch_overload: 0.0,
            batch_shuffle: false,
            uploads_kept: true,
            ..Self::default()
        }
    }

    /// Takes over the members of a JSON object, by the names of the fields; a name that isn't a knob is an error.
    pub fn merge(&self, changes: &serde_json::Value) -> Result<Self, serde_json::Error> {
        let mut all = serde_json::to_value(self)?;
        if let (Some(all), Some(changes)) = (all.as_object_mut(), changes.as_object()) {
            for (name, value) in changes {
                all.insert(name.clone(), value.clone());
            }
        }
        serde_json::from_value(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knobs_are_merged_by_name() {
        let knobs = Knobs::default().merge(&serde_json::json!({"latency_ms": 7, "retry_after_style": "date"})).unwrap();
        assert_eq!((knobs.latency_ms, knobs.retry_after_style), (7, RetryAfterStyle::Date));
        assert_eq!(knobs.concurrency_limit, 4);
        assert!(Knobs::default().merge(&serde_json::json!({"latency": 7})).is_err());
    }
}
