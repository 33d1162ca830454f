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
use crate::contract::{CloudChange, CloudError, CloudOp, Created, NewContent, Outcome, Seen};
use crate::exchange;
use crate::http::{Call, Failure, Retries};

/// The longest draft. Its attachments may have 150 MB, of which base64 with line ends makes 78 bytes for each 57; and there is
/// what goes at once.
pub(super) const LONGEST_DRAFT_BYTES: u64 = (150 << 20) / 57 * 78 + (4 << 20);

const UNNAMED: &str = "a draft can't be given its Message-ID";

/// How often it is tried to make the last change.
const TRIES: usize = 5;

/// What somebody else would change who writes on a draft. Attachments aren't among it.
const WRITTEN: [&str; 5] = ["subject", "body", "toRecipients", "ccRecipients", "bccRecipients"];

/// A draft that has everything but its Message-ID.
struct Assembled {
    id: RemoteId,
    folder: Option<String>,
    /// What was written in it when it was made.
    written: Value,
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
            Err(error @ (CloudError::Refused { .. } | CloudError::TooLong { .. })) => return Created::Refused(error),
            Err(error) => return Created::Later(error),
        };
        match self.finish(&draft, &json!({ "internetMessageId": content.message_id.as_str() })).await {
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
            Err(error @ (CloudError::Refused { .. } | CloudError::TooLong { .. })) => return Outcome::Refused(error),
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
        match self.delete(id, old["changeKey"].as_str()).await {
            Ok(()) => {}
            Err(Failure::Status(error)) if error.status == 412 => return Outcome::Outdated,
            // An attempt whose answer was lost has done it, or somebody else: what was written here outlives that.
            Err(Failure::Status(error)) if error.item_is_gone() => {}
            Err(failure) => return self.outcome(failure),
        }
        let mut last = json!({ "internetMessageId": content.message_id.as_str(), "isRead": old["isRead"] });
        if let Some(status) = old["flag"]["flagStatus"].as_str() {
            last["flag"] = json!({ "flagStatus": status });
        }
        let body = match self.finish(&draft, &last).await {
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
                let made = now.clone();
                match self.apply_all(&[op]).await.pop() {
                    Some(Outcome::Done { id, now } | Outcome::Unconfirmed { id, now }) => {
                        // What it is after that may be what somebody has made of it since it was whole.
                        let revision = made.and_then(|made| made.revision);
                        let now = now.map(|seen| Seen { revision, ..seen });
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
    pub(super) async fn remove_left(&self, left: &Seen) -> Result<(), CloudError> {
        match self.delete(&left.id, left.revision.as_deref()).await.map_err(|failure| self.item_error(failure)) {
            Ok(()) | Err(CloudError::Gone) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes what is left of an attempt a message like any other.
    pub(super) async fn keep_left(&self, left: &Seen, message_id: &MessageId) -> Result<(), CloudError> {
        let last = json!({ "internetMessageId": message_id.as_str() });
        let call = Call::json(Method::PATCH, self.url(&["messages", left.id.as_str()], ""), &last).prefer(IMMUTABLE);
        for _ in 0..TRIES {
            match self.http.json(&call).await.map_err(|failure| self.item_error(failure)) {
                Ok(body) if is_as(&body, &last) => return Ok(()),
                Err(CloudError::Gone) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Err(CloudError::Unexpected(UNNAMED.to_owned()))
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
        Ok(Assembled { id: seen.id, folder: seen.folder.map(|folder| folder.0), written: written(&body) })
    }

    /// Says of a draft that it is whole, unless somebody else has written on it meanwhile: that isn't ours any more.
    async fn finish(&self, draft: &Assembled, last: &Value) -> Asked {
        let query = format!("$select=id,changeKey,internetMessageId,{}", WRITTEN.join(","));
        let question = Call::get(self.url(&["messages", draft.id.as_str()], &query)).prefer(IMMUTABLE);
        let mut call =
            Call::json(Method::PATCH, self.url(&["messages", draft.id.as_str()], ""), last).prefer(IMMUTABLE);
        let mut doubt = None;
        for _ in 0..TRIES {
            let now = match (self.http.json(&question).await, doubt.take()) {
                (Ok(now), _) => now,
                (Err(_), Some(error)) => return Asked::Unknown(error),
                (Err(failure), None) => return Asked::Not(failure),
            };
            if written(&now) != draft.written {
                let words = "somebody has written on a draft that isn't whole".to_owned();
                let is_named = now["internetMessageId"] == last["internetMessageId"];
                return if is_named {
                    Asked::Unknown(CloudError::Unexpected(words))
                } else {
                    Asked::Not(Failure::Senseless(words))
                };
            }
            call.if_match = now["changeKey"].as_str().map(|revision| format!("W/\"{revision}\""));
            let asked = self.ask_once(&call).await;
            let line = self.line("PATCH", "messages/{id}, after POST messages and its attachments");
            exchange::note(|| call.sent.exchange(Some(&draft.id), Some(&line)));
            match asked {
                // It may say that it has, and not have done it.
                Asked::Done(body) if !is_as(&body, last) => {}
                Asked::Not(Failure::Status(error)) if error.status == 412 => {}
                // What became of it is seen, and to ask for the same again changes nothing.
                Asked::Unknown(error) => doubt = Some(error),
                asked => return asked,
            }
        }
        match doubt {
            Some(error) => Asked::Unknown(error),
            None => Asked::Not(Failure::Senseless(UNNAMED.to_owned())),
        }
    }

    /// Deletes a message, if it still is at that revision as far as the service cares.
    async fn delete(&self, id: &RemoteId, revision: Option<&str>) -> Result<(), Failure> {
        let mut call = Call { method: Method::DELETE, ..Call::get(self.url(&["messages", id.as_str()], "")) };
        call.if_match = revision.map(|revision| format!("W/\"{revision}\""));
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

/// What is written in a message.
fn written(message: &Value) -> Value {
    WRITTEN.iter().map(|name| message[*name].clone()).collect()
}

/// Whether an answer tells of a message that it is as was asked for.
fn is_as(answer: &Value, asked: &Value) -> bool {
    let flag = |value: &Value| value["flag"]["flagStatus"].clone();
    ["internetMessageId", "isRead"].iter().all(|name| asked[*name].is_null() || answer[*name] == asked[*name])
        && (flag(asked).is_null() || flag(answer) == flag(asked))
}
