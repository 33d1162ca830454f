//! Where messages are.

use cms_engine::RemoteId;
use serde_json::Value;

use super::Account;
use super::batch::{Item, Linked};
use super::message::{SELECT, Told, read_message};
use super::properties::EXPAND;
use crate::contract::{CloudError, Whereabouts};
use crate::http::Failure;

impl Account {
    pub(super) async fn look_up_all(&self, ids: &[RemoteId]) -> Vec<Result<Whereabouts, CloudError>> {
        let query = format!("$select={SELECT}&$expand={EXPAND}");
        let items: Vec<Item> = ids
            .iter()
            .map(|id| Item::get(self.relative(&self.url(&["me", "messages", id.as_str()], &query)), id))
            .collect();
        let answers = self.run(&items, Linked::Not).await;
        answers.into_iter().map(|answer| self.whereabouts(answer)).collect()
    }

    pub(super) async fn look_up_one(&self, id: &RemoteId) -> Result<Whereabouts, CloudError> {
        let mut answers = self.look_up_all(std::slice::from_ref(id)).await;
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
