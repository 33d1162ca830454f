//! To make a message in the cloud, and only once.

use std::sync::Arc;

use cms_cloud::contract::{
    CloudAccount, CloudChange, CloudError, CloudOp, Created, FolderId, NewContent, NewMessage, Outcome, Seen,
};
use cms_cloud::recorded;
use cms_engine::{Flags, RemoteId};
use tokio::sync::mpsc::Sender;
use tracing::info;

use crate::sync::driver::uploading::Underway;
use crate::sync::message_text::says_the_same;
use crate::sync::original::{LookedAt, Original};
use crate::sync::tasks::{Event, UploadEnd};

/// What making a message in the cloud needs to know.
pub(crate) struct Making {
    pub(crate) account: Arc<dyn CloudAccount>,
    pub(crate) folder: FolderId,
    pub(crate) original: Original,
    pub(crate) draft: bool,
    /// Messages of the same Message-ID, one of which may have been made of this file already.
    pub(crate) candidates: Vec<Seen>,
    /// What else has that Message-ID.
    pub(crate) others: Vec<RemoteId>,
}

impl Making {
    /// Makes the message, and moves it to where it belongs.
    pub(crate) async fn run(self, underway: Underway, events: Sender<Event>) {
        let made = self.find_made().await;
        let found = matches!(made, Ok(Some(_)));
        let (created, mut exchanges) = match made {
            Ok(Some(seen)) => {
                info!(file = %underway.file.base_name, "An earlier upload has reached the cloud; it isn't made again");
                (Created::Made(seen), Vec::new())
            }
            Ok(None) => recorded(self.create(&underway)).await,
            Err(error) => (Created::Later(error), Vec::new()),
        };
        let exchange = exchanges.pop();
        let (created, moved) = match created {
            Created::Made(seen) if seen.folder.as_ref() != Some(&self.folder) => {
                (self.settle(seen, underway.message_id.as_str()).await, true)
            }
            other => (other, false),
        };
        let _ = events.send(Event::Uploaded(UploadEnd { underway, created, found, moved, exchange })).await;
    }

    /// The message that an earlier upload has made. A Message-ID alone doesn't tell: another version of a draft has the same
    /// one, and so has the copy of a message that came by way of a mailing list.
    ///
    /// [`CloudError::Gone`] if one of those that it may be has gone since they were looked for: it may have another id now.
    async fn find_made(&self) -> Result<Option<Seen>, CloudError> {
        for candidate in &self.candidates {
            match self.is_made_of_it(candidate).await {
                Ok(true) => return Ok(Some(candidate.clone())),
                Ok(false) | Err(CloudError::Unconvertible { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn is_made_of_it(&self, message: &Seen) -> Result<bool, CloudError> {
        let mut there = LookedAt::new(&self.original.store).map_err(CloudError::Sink)?;
        self.account.fetch(&message.id, &mut there).await?;
        says_the_same(&there, &self.original.store.path_of(&self.original.hash)).map_err(CloudError::Sink)
    }

    /// The message that was made and isn't found any more, if it has another id now: the service gives new ones now and then.
    async fn find_again(&self, lost: &Seen, message_id: &str) -> Result<Option<Seen>, CloudError> {
        let known = |id: &RemoteId| {
            *id == lost.id || self.others.contains(id) || self.candidates.iter().any(|candidate| candidate.id == *id)
        };
        for found in self.account.find(message_id).await? {
            if !known(&found.id)
                && found.flags.contains(Flags::DRAFT) == self.draft
                && self.is_made_of_it(&found).await?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn create(&self, underway: &Underway) -> Created {
        let Underway { message_id, unfinished, .. } = underway;
        let content = NewContent { mime: &self.original, message_id, unfinished };
        self.account.create(NewMessage { folder: &self.folder, draft: self.draft, content }).await
    }

    /// Moves a message to where it belongs. One that can't be moved now is found again by the next attempt.
    async fn settle(&self, made: Seen, message_id: &str) -> Created {
        let lost = match self.put_in_place(made).await {
            Ok(created) => return created,
            Err(lost) => lost,
        };
        match self.find_again(&lost, message_id).await {
            Ok(Some(again)) => self.put_in_place(again).await.unwrap_or(Created::Unknown(CloudError::Gone)),
            // Somebody has deleted it.
            Ok(None) => Created::Made(lost),
            Err(error) => Created::Unknown(error),
        }
    }

    /// The message comes back if it isn't found any more.
    async fn put_in_place(&self, message: Seen) -> Result<Created, Seen> {
        let request = CloudOp { id: message.id.clone(), change: CloudChange::Move { to: self.folder.clone() } };
        match self.account.apply(&[request]).await.pop() {
            Some(Outcome::Done { id, now } | Outcome::Unconfirmed { id, now }) => {
                Ok(Created::Made(self.in_place(&message, id, now)))
            }
            Some(Outcome::Later(error)) => Ok(Created::Unknown(error)),
            Some(Outcome::Gone) => Err(message),
            Some(Outcome::Outdated | Outcome::Refused(_)) | None => Ok(Created::Made(message)),
        }
    }

    /// What is known of a message that was moved to where it belongs.
    fn in_place(&self, before: &Seen, id: Option<RemoteId>, now: Option<Seen>) -> Seen {
        let id = id.unwrap_or_else(|| before.id.clone());
        let told = now.unwrap_or_else(|| before.clone());
        let (received, revision) =
            (told.received.or(before.received), told.revision.or_else(|| before.revision.clone()));
        let flags = before.flags.with(told.known_flags, told.flags);
        let known_flags = before.known_flags | told.known_flags;
        Seen { id, folder: Some(self.folder.clone()), flags, known_flags, received, revision, size: None }
    }
}
