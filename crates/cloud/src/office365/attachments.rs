//! Attachments: small ones in one request, others by an upload session, in ranges.
//!
//! A session's address carries its own authority and leads to another host, so that no token goes there (reference,
//! microsoft-graph, section 5.2).

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cms_engine::RemoteId;
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use super::Account;
use super::split::Attachment;
use crate::contract::CloudError;
use crate::http::{Body, Call, Failure, Retries};
use crate::mime::Readable;

/// A range is no longer than 4 MB.
const LONGEST_RANGE_BYTES: usize = (12 * 320) << 10;
/// A shorter one isn't worth its request, however bad the network is.
const SHORTEST_RANGE_BYTES: usize = 320 << 10;

/// How many sessions are begun for one attachment.
const SESSIONS: u32 = 4;
/// Why an attachment wasn't uploaded.
enum Trouble {
    /// The session leads nowhere. The draft hasn't got the attachment.
    Stale(CloudError),
    /// Nobody knows whether the draft has it, or it makes no sense to go on.
    Final(CloudError),
}

impl Account {
    /// Gives a draft an attachment. After an error nobody knows whether it has it.
    pub(super) async fn attach(
        &self,
        draft: &RemoteId,
        attachment: &Attachment,
        mime: &dyn Readable,
        longest_at_once: usize,
    ) -> Result<(), CloudError> {
        let mut sessions = 1;
        loop {
            let tried = if attachment.size <= longest_at_once as u64 {
                self.attach_at_once(draft, attachment, mime).await
            } else {
                self.attach_in_ranges(draft, attachment, mime).await
            };
            match tried {
                Ok(()) => return Ok(()),
                Err(Trouble::Stale(error)) if sessions < SESSIONS => {
                    tracing::debug!(%error, "an attachment is uploaded anew");
                    // A draft that was just made isn't known everywhere at once.
                    tokio::time::sleep(self.http.policy().first_delay * sessions).await;
                    sessions += 1;
                }
                Err(Trouble::Stale(error)) => return Err(CloudError::Unreachable(Box::new(error))),
                Err(Trouble::Final(error)) => return Err(error),
            }
        }
    }

    async fn attach_at_once(
        &self,
        draft: &RemoteId,
        attachment: &Attachment,
        mime: &dyn Readable,
    ) -> Result<(), Trouble> {
        let mut content = Vec::new();
        let read = attachment.content(mime).and_then(|mut from| from.read_to_end(&mut content));
        read.map_err(|error| Trouble::Final(CloudError::Sink(error)))?;
        let mut body = described(attachment);
        body["@odata.type"] = json!("#microsoft.graph.fileAttachment");
        body["contentBytes"] = json!(STANDARD.encode(&content));
        let url = self.url(&["messages", draft.as_str(), "attachments"], "");
        let call = Call::json(Method::POST, url, &body);
        let mut retries = Retries::new(&self.http);
        loop {
            let Err((failure, token)) = self.http.json_once(&call).await else { return Ok(()) };
            if is_doubtful(&failure) {
                return Err(Trouble::Final(self.error(failure)));
            }
            retries.after(failure, token.as_ref()).await.map_err(|failure| self.trouble(failure))?;
        }
    }

    async fn attach_in_ranges(
        &self,
        draft: &RemoteId,
        attachment: &Attachment,
        mime: &dyn Readable,
    ) -> Result<(), Trouble> {
        let mut item = described(attachment);
        item["attachmentType"] = json!("file");
        item["size"] = json!(attachment.size);
        let url = self.url(&["messages", draft.as_str(), "attachments", "createUploadSession"], "");
        let call = Call::json(Method::POST, url, &json!({ "AttachmentItem": item }));
        let session = self.http.json(&call).await.map_err(|failure| self.trouble(failure))?;
        let url = session["uploadUrl"].as_str().and_then(|url| self.session_address(url));
        let url = url.ok_or_else(|| {
            Trouble::Final(CloudError::Unexpected("an upload session came without an address to go to".to_owned()))
        })?;
        let mut from = Ranges { attachment, mime, content: None, at: 0 };
        let (mut start, mut longest) = (0, LONGEST_RANGE_BYTES);
        while start < attachment.size {
            let range = from.read(start, longest).map_err(|error| Trouble::Final(CloudError::Sink(error)))?;
            let next = self.put_range(&url, start, attachment.size, range, &mut longest).await?;
            if next <= start {
                let words = "an upload session doesn't go on".to_owned();
                return Err(Trouble::Stale(CloudError::Unexpected(words)));
            }
            start = next;
        }
        Ok(())
    }

    /// Uploads one range, and says where the next one begins: at the end once all is there.
    async fn put_range(
        &self,
        url: &Url,
        start: u64,
        total: u64,
        range: Bytes,
        longest: &mut usize,
    ) -> Result<u64, Trouble> {
        let end = start + range.len() as u64;
        let call = Call {
            method: Method::PUT,
            body: Body::Range { bytes: range, content_range: format!("bytes {start}-{}/{total}", end - 1) },
            is_authorized: false,
            ..Call::get(url.clone())
        };
        let mut retries = Retries::new(&self.http);
        let mut is_doubtful_already = false;
        loop {
            let failure = match self.http.json_once(&call).await {
                Ok((answer, _)) => return Ok(next_range(&answer).unwrap_or(end)),
                Err((failure, _)) => failure,
            };
            let is_passing = match &failure {
                Failure::Status(error) => error.status == 408 || error.status == 429 || error.status >= 500,
                Failure::Network(_) | Failure::Senseless(_) => true,
                Failure::Auth(_) => false,
            };
            if !is_passing {
                // The draft has the attachment if the last range came through the first time.
                let may_be_there = end == total && is_doubtful_already;
                return Err(match self.trouble(failure) {
                    Trouble::Stale(error) if may_be_there => Trouble::Final(CloudError::Unreachable(Box::new(error))),
                    trouble => trouble,
                });
            }
            if is_doubtful(&failure) {
                is_doubtful_already = true;
                *longest = (*longest / 2).max(SHORTEST_RANGE_BYTES);
            }
            retries.after(failure, None).await.map_err(|failure| Trouble::Final(self.error(failure)))?;
        }
    }

    /// What a refusal means. A draft that was just made may not be known everywhere yet (404), a session may be over (401,
    /// 404), and one of which an answer was lost may be further than we know (416).
    fn trouble(&self, failure: Failure) -> Trouble {
        let is_stale = match &failure {
            Failure::Status(error) => matches!(error.status, 401 | 404 | 409 | 410 | 412 | 416),
            _ => false,
        };
        match failure {
            Failure::Status(error) if is_stale => Trouble::Stale(super::errors::refused(error)),
            failure => Trouble::Final(self.error(failure)),
        }
    }

    /// Where a session is, if what is uploaded is safe on the way there.
    fn session_address(&self, url: &str) -> Option<Url> {
        let url = Url::parse(url).ok()?;
        (url.scheme() == "https" || self.own_link(url.as_str()).is_some()).then_some(url)
    }
}

/// Reads an attachment range by range.
struct Ranges<'a> {
    attachment: &'a Attachment,
    mime: &'a dyn Readable,
    content: Option<Box<dyn Read + Send + 'a>>,
    at: u64,
}

impl Ranges<'_> {
    fn read(&mut self, start: u64, longest: usize) -> std::io::Result<Bytes> {
        let content = match &mut self.content {
            Some(content) if self.at <= start => content,
            content => {
                self.at = 0;
                content.insert(Box::new(self.attachment.content(self.mime)?))
            }
        };
        self.at += std::io::copy(&mut content.by_ref().take(start - self.at), &mut std::io::sink())?;
        let mut range = Vec::new();
        content.by_ref().take(longest as u64).read_to_end(&mut range)?;
        self.at += range.len() as u64;
        if range.is_empty() || self.at > self.attachment.size {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(range.into())
    }
}

/// What is said of an attachment either way.
fn described(attachment: &Attachment) -> Value {
    let mut item = json!({
        "name": attachment.name,
        "contentType": attachment.content_type,
        "isInline": attachment.is_inline,
    });
    if let Some(id) = &attachment.content_id {
        item["contentId"] = json!(id);
    }
    item
}

/// Whether a failure leaves it open what the service has done.
fn is_doubtful(failure: &Failure) -> bool {
    match failure {
        Failure::Network(_) | Failure::Senseless(_) => true,
        Failure::Status(error) => error.status == 408 || error.status >= 500,
        Failure::Auth(_) => false,
    }
}

/// Where a session goes on, as its answer says: `["2097152"]` or `["2097152-3483321"]`.
fn next_range(answer: &Value) -> Option<u64> {
    let range = answer["nextExpectedRanges"].as_array()?.first()?.as_str()?;
    range.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_session_goes_on_is_read_in_both_forms() {
        let next = |ranges: Value| next_range(&json!({ "nextExpectedRanges": ranges }));
        assert_eq!(next(json!(["2097152"])), Some(2_097_152));
        assert_eq!(next(json!(["10-", "30-40"])), Some(10));
        assert_eq!(next(json!([])), None);
        assert_eq!(next(json!("x")), None);
    }
}
