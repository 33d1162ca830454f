//! Where messages are.

use std::sync::PoisonError;

use cms_engine::RemoteId;
use serde_json::Value;

use super::Account;
use super::account::out_of_reach;
use super::batch::{Item, Linked};
use super::message::{SELECT, Told, read_message};
use super::properties::EXPAND;
use crate::contract::{CloudError, Whereabouts};
use crate::http::Failure;

impl Account {
    /// Asks for messages. Chained, twenty are asked for in one request however few slots the mailbox has, and one that is gone
    /// has those behind it asked for again.
    pub(super) async fn look_up_all(&self, ids: &[RemoteId], linked: Linked) -> Vec<Result<Whereabouts, CloudError>> {
        let answers = self.ask_for(ids, linked).await;
        let mut answers: Vec<_> = answers.into_iter().map(|answer| self.whereabouts(answer)).collect();
        let is_gone = |answer: &Result<Whereabouts, CloudError>| matches!(answer, Ok(Whereabouts::Gone));
        if let Some(owner) = &self.owner
            && answers.iter().any(is_gone)
            && !self.still_answers().await
        {
            for answer in answers.iter_mut().filter(|answer| is_gone(answer)) {
                *answer = Err(out_of_reach(owner));
            }
        }
        answers
    }

    /// Asks for messages with all that is told of them.
    pub(super) async fn ask_for(&self, ids: &[RemoteId], linked: Linked) -> Vec<Result<Value, Failure>> {
        let query = format!("$select={SELECT}&$expand={EXPAND}");
        let items: Vec<Item> =
            ids.iter().map(|id| Item::get(self.relative(&self.url(&["messages", id.as_str()], &query)), id)).collect();
        self.run(&items, linked).await
    }

    /// Whether a mailbox of somebody else's is still open to us, so that what isn't found in it isn't there. One that is no
    /// longer shared may answer as if it were empty (404 instead of 403).
    async fn still_answers(&self) -> bool {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match reached {
            Some(folder) => self.folder_exists(&folder).await.unwrap_or(false),
            None => false,
        }
    }

    pub(super) async fn look_up_one(&self, id: &RemoteId) -> Result<Whereabouts, CloudError> {
        let mut answers = self.look_up_all(std::slice::from_ref(id), Linked::Not).await;
        answers.pop().unwrap_or_else(|| Err(CloudError::Unexpected("a question got no answer".to_owned())))
    }

    fn whereabouts(&self, answer: Result<Value, Failure>) -> Result<Whereabouts, CloudError> {
        match answer {
            Ok(body) => match read_message(&body, Told::Asked) {
                Some(seen) if seen.folder.is_some() => Ok(Whereabouts::Here(seen)),
                _ => Err(CloudError::Unexpected("a message came without its id or its folder".to_owned())),
            },
            Err(failure) => match self.item_error(failure) {
                CloudError::Gone => Ok(Whereabouts::Gone),
                error => Err(error),
            },
        }
    }
}
