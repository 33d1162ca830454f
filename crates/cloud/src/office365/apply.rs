//! Changes to messages.
//!
//! All requests here may be repeated without harm: to set a field again, to move a message to where it is or to delete
//! what is deleted changes nothing.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use cms_engine::{Flags, RemoteId};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Account;
use super::batch::{Item, Linked};
use super::message::{Told, flag_status, read_message};
use super::properties::{self, Properties};
use crate::contract::{CloudChange, CloudError, CloudOp, DeleteAction, FolderId, Outcome, Seen, Whereabouts};
use crate::http::{Failure, ServiceError};

/// How often a change is made again after somebody else's got in between.
const CONFLICT_TRIES: u32 = 2;
const PROPERTIES: &str = "singleValueExtendedProperties";

impl Account {
    pub(super) async fn apply_all(&self, ops: &[CloudOp]) -> Vec<Outcome> {
        let completed = self.completed_tasks(ops).await;
        let items: Vec<Option<Item>> = ops.iter().map(|op| self.item(op, &completed)).collect();
        let sent: Vec<Item> = items.iter().flatten().cloned().collect();
        let mut answers = self.run(&sent, Linked::Chained).await.into_iter();
        let mut outcomes = Vec::with_capacity(ops.len());
        for (op, item) in ops.iter().zip(items) {
            let outcome = match item {
                None => Outcome::Done { id: Some(op.id.clone()), now: completed.get(&op.id).cloned() },
                Some(item) => match answers.next() {
                    Some(answer) => self.conclude(op, &item, answer).await,
                    None => Outcome::Later(CloudError::Unexpected("a change got no answer".to_owned())),
                },
            };
            outcomes.push(outcome);
        }
        self.read_marks_back(ops, &mut outcomes).await;
        outcomes
    }

    /// Asks what became of changes of the marks of answering and forwarding: the answer to a change doesn't name them, and a
    /// change may be taken and not made (microsoft-graph-docs#21616). No page of changes names them either, so that what can't be
    /// read now is said to be unconfirmed.
    ///
    /// Of the other flags the answer to the change holds: somebody else may have changed them since.
    async fn read_marks_back(&self, ops: &[CloudOp], outcomes: &mut [Outcome]) {
        let is_last = |at: usize| ops.iter().skip(at + 1).all(|later| later.id != ops[at].id);
        let changed: Vec<usize> = (0..ops.len())
            .filter(|at| touches_marks(&ops[*at].change) && is_last(*at))
            .filter(|at| matches!(outcomes.get(*at), Some(Outcome::Done { .. })))
            .collect();
        let ids: Vec<RemoteId> = changed.iter().map(|at| ops[*at].id.clone()).collect();
        for (at, answer) in changed.into_iter().zip(self.ask_for(&ids, Linked::Chained).await) {
            let body = match answer {
                Ok(body) => body,
                Err(failure) => {
                    let passes = matches!(self.outcome(failure), Outcome::Later(_));
                    if let Some(outcome) = outcomes.get_mut(at).filter(|_| passes)
                        && let Outcome::Done { id, now } = outcome
                    {
                        *outcome = Outcome::Unconfirmed { id: id.take(), now: now.take() };
                    }
                    continue;
                }
            };
            // What an IMAP client has marked stays marked whatever is changed from here, so that it says nothing.
            let is_for_good = Properties::read(&body).is_some_and(Properties::is_replied_for_good);
            let telling = if is_for_good { marks() - Flags::REPLIED } else { marks() };
            let seen = read_message(&body, Told::Asked);
            if let (Some(seen), Some(Outcome::Done { now, .. })) = (seen, outcomes.get_mut(at)) {
                let (flags, known_flags) = (seen.flags & telling, seen.known_flags & telling);
                let alone = Seen { folder: None, flags, known_flags, received: None, revision: None, ..seen };
                let told = now.get_or_insert(alone);
                told.flags = told.flags.with(known_flags, flags);
                told.known_flags |= known_flags;
            }
        }
    }

    pub(super) async fn target_of(&self, action: DeleteAction) -> Result<Option<FolderId>, CloudError> {
        match action {
            DeleteAction::Purge => Ok(None),
            DeleteAction::Trash => self.well_known_folder("deleteditems").await.map(Some),
            DeleteAction::Archive => self.well_known_folder("archive").await.map(Some).map_err(|error| match error {
                CloudError::NoSuchFolder { .. } => no_archive(),
                other => other,
            }),
        }
    }

    /// Of the messages whose flag is to be cleared, those that carry a finished task instead: clearing would destroy it,
    /// and they already read as not flagged.
    async fn completed_tasks(&self, ops: &[CloudOp]) -> HashMap<RemoteId, Seen> {
        let clears_flag = |op: &&CloudOp| matches!(op.change, CloudChange::SetFlags { remove, .. } if remove.contains(Flags::FLAGGED));
        let asked: Vec<Item> = ops
            .iter()
            .filter(clears_flag)
            .map(|op| Item::get(self.relative(&self.url(&["messages", op.id.as_str()], "$select=id,flag")), &op.id))
            .collect();
        // Chained, twenty fit into a request instead of four.
        let answers = self.run(&asked, Linked::Chained).await;
        // What can't be read now is found out by the change itself.
        let bodies = asked.into_iter().zip(answers).filter_map(|(item, answer)| Some((item.message, answer.ok()?)));
        bodies
            .filter(|(_, body)| flag_status(body).is_some_and(|status| status.eq_ignore_ascii_case("complete")))
            .filter_map(|(id, body)| Some((id, read_message(&body, Told::AfterChange)?)))
            .collect()
    }

    /// The request that makes a change, or nothing where there is nothing to change.
    fn item(&self, op: &CloudOp, completed: &HashMap<RemoteId, Seen>) -> Option<Item> {
        let (method, action, body) = match &op.change {
            CloudChange::SetFlags { add, remove, result } => {
                let keep_task = completed.contains_key(&op.id);
                let remove = if keep_task { *remove - Flags::FLAGGED } else { *remove };
                let fields = flag_fields(*add, remove, *result, (self.now)());
                if fields.is_empty() {
                    return None;
                }
                (Method::PATCH, None, Some(Value::Object(fields)))
            }
            CloudChange::Move { to } => (Method::POST, Some("move"), Some(json!({"destinationId": to.0}))),
            CloudChange::Delete(DeleteAction::Trash) => {
                (Method::POST, Some("move"), Some(json!({"destinationId": "deleteditems"})))
            }
            CloudChange::Delete(DeleteAction::Archive) => {
                (Method::POST, Some("move"), Some(json!({"destinationId": "archive"})))
            }
            CloudChange::Delete(DeleteAction::Purge) if self.cannot_purge.load(Ordering::Relaxed) => {
                (Method::DELETE, None, None)
            }
            CloudChange::Delete(DeleteAction::Purge) => (Method::POST, Some("permanentDelete"), None),
        };
        let mut segments = vec!["messages", op.id.as_str()];
        segments.extend(action);
        let url = self.url(&segments, "");
        Some(Item { method, path: self.relative(&url).to_owned(), body, message: op.id.clone(), page_size: None })
    }

    async fn conclude(&self, op: &CloudOp, item: &Item, answer: Result<Value, Failure>) -> Outcome {
        let failure = match answer {
            Ok(body) => return done(op, &body),
            Err(failure) => failure,
        };
        match &op.change {
            CloudChange::SetFlags { .. } => self.conclude_flags(op, item, failure).await,
            CloudChange::Move { to } => self.conclude_move(op, item, failure, Ok(Some(to.clone()))).await,
            CloudChange::Delete(action @ (DeleteAction::Trash | DeleteAction::Archive)) => match &failure {
                Failure::Status(error) if matches!(error.status, 404 | 412) => {
                    let target = self.target_of(*action).await;
                    self.conclude_move(op, item, failure, target).await
                }
                _ => self.outcome(failure),
            },
            CloudChange::Delete(DeleteAction::Purge) => match &failure {
                Failure::Status(error) if item.method == Method::POST && lacks_permanent_delete(error) => {
                    self.cannot_purge.store(true, Ordering::Relaxed);
                    let url = self.url(&["messages", op.id.as_str()], "");
                    let delete = Item {
                        method: Method::DELETE,
                        path: self.relative(&url).to_owned(),
                        body: None,
                        message: op.id.clone(),
                        page_size: None,
                    };
                    match self.run_one(&delete).await {
                        Ok(body) => done(op, &body),
                        Err(failure) => self.outcome(failure),
                    }
                }
                _ => self.outcome(failure),
            },
        }
    }

    async fn conclude_flags(&self, op: &CloudOp, item: &Item, failure: Failure) -> Outcome {
        match &failure {
            // It comes without If-Match as well, when a delivery agent or another client is at the message
            // (microsoft-graph-docs-contrib#7934).
            Failure::Status(error) if error.status == 412 => self.after_conflict(op, item, failure).await,
            Failure::Status(error) if error.status == 403 => {
                // The reply marks may be what is refused; the read mark needn't wait for that.
                if let Some(plain) = without_properties(item)
                    && let Err(failure) = self.run_one(&plain).await
                {
                    tracing::debug!(failure = %failure.summary(), "nor was the rest of the change taken");
                }
                self.outcome(failure)
            }
            _ => self.outcome(failure),
        }
    }

    /// A move to a folder that doesn't exist, of a message that doesn't, and of one that a lost answer already moved
    /// fail alike.
    async fn conclude_move(
        &self,
        op: &CloudOp,
        item: &Item,
        failure: Failure,
        target: Result<Option<FolderId>, CloudError>,
    ) -> Outcome {
        match &failure {
            Failure::Status(error) if error.status == 412 => return self.after_conflict(op, item, failure).await,
            Failure::Status(error) if error.status == 404 => {}
            _ => return self.outcome(failure),
        }
        match (self.look_up_one(&op.id).await, target) {
            (Ok(Whereabouts::Gone), _) => Outcome::Gone,
            (Ok(Whereabouts::Here(seen)), Ok(Some(target))) if seen.folder.as_ref() == Some(&target) => {
                Outcome::Done { id: Some(seen.id.clone()), now: Some(seen) }
            }
            (Ok(Whereabouts::Here(_)), Err(error @ CloudError::Refused { .. })) => Outcome::Refused(error),
            (Err(error), _) | (Ok(Whereabouts::Here(_)), Err(error)) => Outcome::Later(error),
            (Ok(Whereabouts::Here(_)), Ok(target)) => Outcome::Refused(match target {
                Some(FolderId(name)) => CloudError::NoSuchFolder { name, nearest: Vec::new() },
                None => self.error(failure),
            }),
        }
    }

    async fn after_conflict(&self, op: &CloudOp, item: &Item, mut failure: Failure) -> Outcome {
        for _ in 0..CONFLICT_TRIES {
            match self.look_up_one(&op.id).await {
                Ok(Whereabouts::Gone) => return Outcome::Gone,
                Ok(Whereabouts::Here(_)) => {}
                Err(error) => return Outcome::Later(error),
            }
            failure = match self.run_one(item).await {
                Ok(body) => return done(op, &body),
                Err(failure @ Failure::Status(ServiceError { status: 412, .. })) => failure,
                Err(failure) => return self.outcome(failure),
            };
        }
        self.outcome(failure)
    }

    async fn run_one(&self, item: &Item) -> Result<Value, Failure> {
        let mut answers = self.run(std::slice::from_ref(item), Linked::Chained).await;
        answers.pop().unwrap_or_else(|| Err(Failure::Senseless("a change got no answer".to_owned())))
    }
}

fn done(op: &CloudOp, body: &Value) -> Outcome {
    if op.change == CloudChange::Delete(DeleteAction::Purge) {
        return Outcome::Done { id: None, now: None };
    }
    let now = read_message(body, Told::AfterChange);
    let id = now.as_ref().map_or_else(|| op.id.clone(), |seen| seen.id.clone());
    Outcome::Done { id: Some(id), now: now.filter(|seen| !seen.known_flags.is_empty() || seen.folder.is_some()) }
}

/// The fields of a message that a change of flags writes.
fn flag_fields(add: Flags, remove: Flags, result: Flags, now: cms_engine::UnixSeconds) -> Map<String, Value> {
    let mut fields = Map::new();
    let touched = add | remove;
    if touched.contains(Flags::SEEN) {
        fields.insert("isRead".to_owned(), add.contains(Flags::SEEN).into());
    }
    if touched.contains(Flags::FLAGGED) {
        let status = if add.contains(Flags::FLAGGED) { "flagged" } else { "notFlagged" };
        fields.insert("flag".to_owned(), json!({"flagStatus": status}));
    }
    if let Some(properties) = properties::written(add, remove, result, now) {
        fields.insert(PROPERTIES.to_owned(), properties);
    }
    fields
}

/// The flags that are extended properties.
fn marks() -> Flags {
    Flags::REPLIED | Flags::PASSED
}

fn touches_marks(change: &CloudChange) -> bool {
    matches!(change, CloudChange::SetFlags { add, remove, .. } if !((*add | *remove) & marks()).is_empty())
}

/// The same change without reply marks, if it has both.
fn without_properties(item: &Item) -> Option<Item> {
    let mut plain = item.clone();
    let fields = plain.body.as_mut()?.as_object_mut()?;
    fields.remove(PROPERTIES)?;
    (!fields.is_empty()).then_some(plain)
}

/// Whether a refusal is said of the action, which only the global cloud has, rather than of the message.
fn lacks_permanent_delete(error: &ServiceError) -> bool {
    match error.status {
        404 => !error.item_is_gone(),
        405 | 501 => true,
        400 => ["BadRequest", "ErrorInvalidRequest", "UnknownError"].iter().any(|code| error.is(code)),
        _ => false,
    }
}

fn no_archive() -> CloudError {
    CloudError::Refused {
        status: 404,
        code: "ErrorFolderNotFound".to_owned(),
        message:
            "the mailbox has no archive folder yet: archive any one message in Outlook, which makes it, or choose \
                  another delete_action"
                .to_owned(),
        request_id: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cms_engine::UnixSeconds;

    #[test]
    fn all_flag_changes_of_a_message_are_one_set_of_fields() {
        let letters = Flags::from_letters;
        let fields = flag_fields(letters("RS"), letters("F"), letters("RS"), UnixSeconds(0));
        assert_eq!(fields["isRead"], json!(true));
        assert_eq!(fields["flag"], json!({"flagStatus": "notFlagged"}));
        assert_eq!(fields[PROPERTIES].as_array().map(Vec::len), Some(3));
        assert!(flag_fields(letters("DT"), Flags::NONE, letters("DT"), UnixSeconds(0)).is_empty());
    }

    #[test]
    fn an_action_that_is_missing_is_told_from_a_message_that_is() {
        let error = |status, code: &str| ServiceError { status, code: code.to_owned(), ..ServiceError::default() };
        assert!(!lacks_permanent_delete(&error(404, "ErrorItemNotFound")));
        assert!(lacks_permanent_delete(&error(404, "")));
        assert!(lacks_permanent_delete(&error(405, "")));
        assert!(lacks_permanent_delete(&error(501, "NotImplemented")));
        assert!(lacks_permanent_delete(&error(400, "BadRequest")));
        assert!(!lacks_permanent_delete(&error(400, "ErrorInvalidIdMalformed")));
        assert!(!lacks_permanent_delete(&error(403, "ErrorAccessDenied")));
    }

    #[test]
    fn the_answer_to_a_change_is_believed_only_where_it_says_something() {
        let op = CloudOp {
            id: RemoteId::new("A"),
            change: CloudChange::SetFlags { add: Flags::SEEN, remove: Flags::NONE, result: Flags::SEEN },
        };
        assert!(matches!(done(&op, &Value::Null), Outcome::Done { id: Some(id), now: None } if id.as_str() == "A"));
        assert!(matches!(done(&op, &json!({"id": "A"})), Outcome::Done { now: None, .. }));
        match done(&op, &json!({"id": "A", "isRead": false})) {
            Outcome::Done { now: Some(seen), .. } => {
                assert_eq!((seen.flags, seen.known_flags), (Flags::NONE, Flags::SEEN));
            }
            other => panic!("{other:?}"),
        }
    }
}
