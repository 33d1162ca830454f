//! Whether the address leads here, as far as this machine can tell.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;

use super::Webhook;
use crate::http::client_builder;

/// The service waits no longer for a handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why an address doesn't lead to one of these programs.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The request or its answer didn't get through.
    #[error("it can't be reached from here")]
    Unreachable(#[source] reqwest::Error),
    /// Somebody else answers there, or something on the way.
    #[error("it answers with {0}")]
    Answered(StatusCode),
}

impl Webhook {
    /// Sends an empty list of notifications to the address, which means nothing to anybody and is taken here alone.
    pub async fn is_answered(&self) -> Result<(), Unanswered> {
        let unreachable = |error: reqwest::Error| Unanswered::Unreachable(error.without_url());
        let http = client_builder(PATIENCE, cms_auth::is_loopback(self.url())).timeout(PATIENCE);
        let request = http.build().map_err(unreachable)?.post(self.url().clone());
        let request = request.header(CONTENT_TYPE, "application/json").body(r#"{"value":[]}"#);
        match request.send().await.map_err(unreachable)?.status() {
            StatusCode::ACCEPTED => Ok(()),
            other => Err(Unanswered::Answered(other)),
        }
    }
}
