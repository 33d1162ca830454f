//! New messages, and new versions of drafts, from MIME.
//!
//! `POST /me/messages` makes a draft of MIME, in the folder for drafts whatever folder is named (microsoft-graph-docs#16368):
//! it is moved from there. `importMime`, in the beta version only and not for personal accounts, makes any other message,
//! where the administrator has granted `Mail-Advanced.ReadWrite`. Both keep what a message says and build its bytes anew.

use std::io::{self, Read as _};
use std::sync::atomic::Ordering;

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use bytes::Bytes;
use cms_engine::RemoteId;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::Value;

use super::Account;
use super::account::IMMUTABLE;
use super::large::{Asked, LONGEST_DRAFT_BYTES};
use super::message::{SELECT, Told, read_message};
use super::properties::EXPAND;
use crate::contract::{
    CloudError, Created, Fidelity, FolderId, FolderRole, NewContent, NewMessage, Outcome, Seen, Uploads,
};
use crate::exchange;
use crate::http::{Call, Failure, ServiceError};
use crate::mime::Readable;

/// So much of a request isn't the message.
pub(super) const OVERHEAD_BYTES: usize = 16 << 10;

/// How many messages of one Message-ID are looked at.
const MOST_FOUND: u32 = 50;

impl Account {
    pub(super) fn uploads(&self) -> Uploads {
        let others = if self.cannot_import.load(Ordering::Relaxed) { Fidelity::Refused } else { Fidelity::Lossy };
        let at_once = self.longest_at_once() as u64;
        Uploads {
            drafts: Fidelity::Lossy,
            others,
            longest_draft_bytes: LONGEST_DRAFT_BYTES,
            longest_other_bytes: at_once,
            longest_at_once_bytes: at_once,
        }
    }

    /// The longest message that goes in one request: in base64 three bytes become four.
    pub(super) fn longest_at_once(&self) -> usize {
        self.longest_request_bytes.saturating_sub(OVERHEAD_BYTES) / 4 * 3
    }

    pub(super) async fn role_of(&self, folder: &FolderId) -> Result<FolderRole, CloudError> {
        for (name, role) in [("drafts", FolderRole::Drafts), ("sentitems", FolderRole::Sent)] {
            match self.well_known_folder(name).await {
                Ok(found) if found == *folder => return Ok(role),
                Ok(_) | Err(CloudError::NoSuchFolder { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(FolderRole::Other)
    }

    pub(super) async fn create_message(&self, new: NewMessage<'_>) -> Created {
        if !new.draft && self.cannot_import.load(Ordering::Relaxed) {
            return Created::Refused(not_granted());
        }
        let body = match encode(new.content.mime, self.longest_at_once()) {
            Ok(Some(body)) => body,
            Ok(None) if new.draft => return self.create_large(new.content).await,
            Ok(None) => {
                let most = self.longest_at_once() as u64;
                return Created::Refused(CloudError::TooLong { bytes: most + 1, most });
            }
            Err(error) => return Created::Later(CloudError::Sink(error)),
        };
        let (url, line) = if new.draft {
            (self.url(&["messages"], ""), self.line("POST", "messages"))
        } else {
            let url = self.beta_url(&["mailFolders", &new.folder.0, "importMime"]);
            (url, self.line("POST", "mailFolders/{id}/importMime"))
        };
        let call = Call::text(Method::POST, url, body).prefer(IMMUTABLE);
        let asked = self.ask_once(&call).await;
        exchange::note(|| call.sent.exchange(None, Some(&line)));
        let failure = match asked {
            Asked::Done(body) => return made(&body),
            Asked::Unknown(error) => return Created::Unknown(error),
            Asked::Not(failure) => failure,
        };
        if let (false, Failure::Status(error)) = (new.draft, &failure)
            && lacks_import(error)
        {
            self.cannot_import.store(true, Ordering::Relaxed);
            tracing::debug!(failure = %failure.summary(), "the account doesn't take messages other than drafts");
            return Created::Refused(not_granted());
        }
        match self.error(failure) {
            error @ (CloudError::Refused { .. } | CloudError::Gone | CloudError::NoSuchFolder { .. }) => {
                Created::Refused(error)
            }
            error => Created::Later(error),
        }
    }

    pub(super) async fn find_message(&self, message_id: &str) -> Result<Vec<Seen>, CloudError> {
        // In a filter a quote is doubled (OData 4.01, URL conventions, section 5.1.1.6.1).
        let quoted = message_id.replace('\'', "''");
        let filter = utf8_percent_encode(&format!("internetMessageId eq '{quoted}'"), NON_ALPHANUMERIC).to_string();
        let query = format!("$filter={filter}&$select={SELECT}&$expand={EXPAND}&$top={MOST_FOUND}");
        let call = Call::get(self.url(&["messages"], &query)).prefer(IMMUTABLE);
        let body = self.http.json(&call).await.map_err(|failure| self.error(failure))?;
        let Some(found) = body["value"].as_array() else {
            return Err(CloudError::Unexpected("a list of messages came without them".to_owned()));
        };
        Ok(found.iter().filter_map(|item| read_message(item, Told::Asked)).collect())
    }

    pub(super) async fn replace_content(
        &self,
        id: &RemoteId,
        revision: Option<&str>,
        content: NewContent<'_>,
    ) -> Outcome {
        let body = match encode(content.mime, self.longest_at_once()) {
            Ok(Some(body)) => body,
            Ok(None) => return self.replace_by_large(id, revision, content).await,
            Err(error) => return Outcome::Later(CloudError::Sink(error)),
        };
        let url = self.url(&["messages", id.as_str(), "$value"], "");
        let mut call = Call::text(Method::PUT, url, body).prefer(IMMUTABLE);
        call.if_match = revision.map(|revision| format!("W/\"{revision}\""));
        let answer = self.http.json(&call).await;
        exchange::note(|| call.sent.exchange(Some(id), Some(&self.line("PUT", "messages/{id}/$value"))));
        match answer {
            Ok(body) => {
                let now = read_message(&body, Told::AfterChange);
                Outcome::Done { id: Some(now.as_ref().map_or_else(|| id.clone(), |seen| seen.id.clone())), now }
            }
            Err(Failure::Status(ServiceError { status: 412, .. })) => Outcome::Outdated,
            Err(failure) => self.outcome(failure),
        }
    }
}

/// What the service says of a message that it has just made.
pub(super) fn made(body: &Value) -> Created {
    match read_message(body, Told::AfterChange) {
        // Nothing has been set on it yet.
        Some(seen) if seen.folder.is_some() && seen.received.is_some() => Created::Made(seen),
        _ => Created::Unknown(CloudError::Unexpected("a new message came without what must be known of it".to_owned())),
    }
}

/// Reads a message as base64, or nothing if it is longer than that. No more is ever held.
fn encode(mime: &dyn Readable, longest: usize) -> io::Result<Option<Bytes>> {
    let mut encoder = EncoderWriter::new(Vec::new(), &STANDARD);
    let mut message = mime.open()?;
    let length = io::copy(&mut message.by_ref().take(longest as u64 + 1), &mut encoder)?;
    if length > longest as u64 {
        return Ok(None);
    }
    encoder.finish().map(|encoded| Some(encoded.into()))
}

/// Whether a failure says that nothing was made. The network's don't, and neither do those of a service that failed: a
/// gateway gives up on a request that goes on behind it (davmail#269).
pub(super) fn is_certainly_unmade(failure: &Failure) -> bool {
    match failure {
        Failure::Auth(_) => true,
        Failure::Status(error) => (400..500).contains(&error.status) && error.status != 408,
        Failure::Network(_) | Failure::Senseless(_) => false,
    }
}

/// Whether a refusal is said of the action rather than of the message.
fn lacks_import(error: &ServiceError) -> bool {
    match error.status {
        403 => !error.is("ErrorQuotaExceeded"),
        404 => !error.item_is_gone(),
        405 | 501 => true,
        400 => ["BadRequest", "ErrorInvalidRequest", "UnknownError"].iter().any(|code| error.is(code)),
        _ => false,
    }
}

fn not_granted() -> CloudError {
    CloudError::Refused {
        status: 403,
        code: "ErrorAccessDenied".to_owned(),
        message:
            "the account takes only drafts: an administrator must grant `Mail-Advanced.ReadWrite` for others, and \
                  personal accounts never take them"
                .to_owned(),
        request_id: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn f19_only_a_refusal_says_that_nothing_was_made() {
        let status = |status| Failure::Status(ServiceError { status, ..ServiceError::default() });
        for refusal in [400, 401, 403, 404, 413, 429] {
            assert!(is_certainly_unmade(&status(refusal)), "{refusal}");
        }
        for doubtful in [408, 500, 502, 503, 504, 509] {
            assert!(!is_certainly_unmade(&status(doubtful)), "{doubtful}");
        }
        assert!(!is_certainly_unmade(&Failure::Network("reset".into())));
        assert!(!is_certainly_unmade(&Failure::Senseless("no JSON".to_owned())));
    }

    #[test]
    fn a_message_is_encoded_up_to_the_limit_and_no_further() {
        let message = &b"Subject: x\r\n\r\n"[..];
        let encoded = encode(&message, message.len()).unwrap().unwrap();
        assert_eq!(encoded, STANDARD.encode(message));
        assert!(encode(&message, message.len() - 1).unwrap().is_none());
    }
}
