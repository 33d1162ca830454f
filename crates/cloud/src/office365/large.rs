//! Drafts that no single request takes.
//!
//! Such a draft is made without its large attachments, which are added to it one by one. Meanwhile it has a Message-ID that
//! says so, by which every `cms` passes it over ([`super::message::read_entry`]), and the last request gives it its own: until
//! then it doesn't count, and from then on it is whole.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms_engine::{MessageId, RemoteId};
use reqwest::Method;
use serde_json::{Value, json};

use super::Account;
use super::account::IMMUTABLE;
use super::batch::Linked;
use super::message::{Told, read_message};
use super::split::Split;
use super::upload::{is_certainly_unmade, made};
use crate::contract::{CloudChange, CloudError, CloudOp, Created, NewContent, Outcome};
use crate::exchange;
use crate::http::{Call, Failure, Retries};

/// The longest draft. Its attachments may have 150 MB, of which base64 with line ends makes 78 bytes for each 57; and there is
/// what goes at once.
pub(super) const LONGEST_DRAFT_BYTES: u64 = (150 << 20) / 57 * 78 + (4 << 20);

/// A draft that has everything but its Message-ID.
struct Assembled {
    id: RemoteId,
    folder: Option<String>,
}

/// What became of a request that must not be made twice.
pub(super) enum Asked {
    Done(Value),
    /// Nobody knows.
    Unknown(CloudError),
    /// It certainly wasn't made.
    Not(Failure),
}

impl Account {
    pub(super) async fn create_large(&self, content: NewContent<'_>) -> Created {
        let draft = match self.assemble(content).await {
            Ok(draft) => draft,
            Err(error @ CloudError::Refused { .. }) => return Created::Refused(error),
            Err(error) => return Created::Later(error),
        };
        match self.finish(&draft.id, json!({ "internetMessageId": content.message_id.as_str() })).await {
            Asked::Done(body) => made(&body),
            Asked::Unknown(error) => Created::Unknown(error),
            Asked::Not(failure) => match self.error(failure) {
                error @ CloudError::Refused { status: 400 | 403 | 405 | 501, .. } => Created::Refused(error),
                error => Created::Later(error),
            },
        }
    }

    /// Puts another draft in the place of one whose new content no request takes. The old one goes only once the new one has
    /// all but its name, and can be had back for as long as the mailbox keeps what was deleted.
    pub(super) async fn replace_by_large(
        &self,
        id: &RemoteId,
        revision: Option<&str>,
        content: NewContent<'_>,
    ) -> Outcome {
        let draft = match self.assemble(content).await {
            Ok(draft) => draft,
            Err(error @ CloudError::Refused { .. }) => return Outcome::Refused(error),
            Err(error) => return Outcome::Later(error),
        };
        let old = match self.ask_for(std::slice::from_ref(id), Linked::Not).await.pop() {
            Some(Ok(old)) => old,
            Some(Err(failure)) => return self.outcome(failure),
            None => return Outcome::Later(CloudError::Unexpected("a question got no answer".to_owned())),
        };
        if revision.is_some_and(|revision| old["changeKey"].as_str() != Some(revision)) {
            return Outcome::Outdated;
        }
        if old["isDraft"].as_bool() != Some(true) {
            return Outcome::Refused(no_draft());
        }
        if let Err(failure) = self.delete(id).await {
            return self.outcome(failure);
        }
        let mut last = json!({ "internetMessageId": content.message_id.as_str(), "isRead": old["isRead"] });
        if let Some(status) = old["flag"]["flagStatus"].as_str() {
            last["flag"] = json!({ "flagStatus": status });
        }
        let body = match self.finish(&draft.id, last).await {
            Asked::Done(body) => body,
            Asked::Unknown(error) => return Outcome::Later(error),
            Asked::Not(failure) => return Outcome::Later(self.error(failure)),
        };
        let now = read_message(&body, Told::AfterChange);
        let new_id = now.as_ref().map_or_else(|| draft.id.clone(), |seen| seen.id.clone());
        match old["parentFolderId"].as_str() {
            Some(folder) if draft.folder.as_deref() != Some(folder) => {
                let to = crate::contract::FolderId(folder.to_owned());
                let op = CloudOp { id: new_id.clone(), change: CloudChange::Move { to } };
                match self.apply_all(&[op]).await.pop() {
                    Some(Outcome::Done { id, now } | Outcome::Unconfirmed { id, now }) => {
                        Outcome::Done { id: Some(id.unwrap_or(new_id)), now }
                    }
                    // It is where all drafts are, and whole.
                    _ => Outcome::Done { id: Some(new_id), now },
                }
            }
            _ => Outcome::Done { id: Some(new_id), now },
        }
    }

    /// Removes what is left of an attempt. It can be had back for as long as the mailbox keeps what was deleted.
    pub(super) async fn remove_left_unfinished(&self, unfinished: &MessageId) -> Result<(), CloudError> {
        for left in self.find_message(unfinished.as_str()).await? {
            match self.delete(&left.id).await.map_err(|failure| self.item_error(failure)) {
                Ok(()) | Err(CloudError::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes a draft of everything that a message holds, under the Message-ID of one that isn't whole.
    async fn assemble(&self, content: NewContent<'_>) -> Result<Assembled, CloudError> {
        let longest = self.longest_at_once();
        let Split { rest, attachments } = Split::of(content.mime, content.unfinished.as_str(), longest)?;
        let call =
            Call::text(Method::POST, self.url(&["messages"], ""), STANDARD.encode(&rest).into()).prefer(IMMUTABLE);
        drop(rest);
        let body = match self.ask_once(&call).await {
            Asked::Done(body) => body,
            Asked::Unknown(error) => return Err(error),
            Asked::Not(failure) => return Err(self.error(failure)),
        };
        drop(call);
        let Some(seen) = read_message(&body, Told::AfterChange) else {
            return Err(CloudError::Unexpected("a new message came without what must be known of it".to_owned()));
        };
        for attachment in &attachments {
            tracing::debug!(bytes = attachment.size, "adding an attachment to a draft");
            self.attach(&seen.id, attachment, content.mime, longest).await?;
        }
        Ok(Assembled { id: seen.id, folder: seen.folder.map(|folder| folder.0) })
    }

    /// Says of a draft that it is whole.
    async fn finish(&self, id: &RemoteId, last: Value) -> Asked {
        let call = Call::json(Method::PATCH, self.url(&["messages", id.as_str()], ""), &last).prefer(IMMUTABLE);
        let asked = self.ask_once(&call).await;
        let line = self.line("PATCH", "messages/{id}, after POST messages and its attachments");
        exchange::note(|| call.sent.exchange(Some(id), Some(&line)));
        asked
    }

    async fn delete(&self, id: &RemoteId) -> Result<(), Failure> {
        let call = Call { method: Method::DELETE, ..Call::get(self.url(&["messages", id.as_str()], "")) };
        self.http.json(&call).await.map(drop)
    }

    /// Makes a request again only as long as it certainly hasn't been made.
    pub(super) async fn ask_once(&self, call: &Call) -> Asked {
        let mut retries = Retries::new(&self.http);
        loop {
            let (failure, token) = match self.http.json_once(call).await {
                Ok((body, _)) => return Asked::Done(body),
                Err(failed) => failed,
            };
            if !is_certainly_unmade(&failure) {
                return Asked::Unknown(self.error(failure));
            }
            if let Err(failure) = retries.after(failure, token.as_ref()).await {
                return Asked::Not(failure);
            }
        }
    }
}

/// What was sent isn't written over.
fn no_draft() -> CloudError {
    CloudError::Refused {
        status: 400,
        code: "ErrorInvalidOperation".to_owned(),
        message: "it isn't a draft any more".to_owned(),
        request_id: String::new(),
    }
}
