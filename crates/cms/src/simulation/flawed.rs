//! An account with a mistake in it, to see that the simulation finds mistakes of its kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use cms_cloud::contract::{
    Capabilities, Changes, CloudAccount, CloudChange, CloudError, CloudOp, Created, Cursor, DeleteAction, Folder,
    FolderId, FolderRole, MimeSink, NewContent, NewMessage, Outcome, Seen, Tree, TreeNews, Wanted, Whereabouts,
};
use cms_engine::{MessageId, RemoteId};

use super::Flaw;

/// How many times out of so many the mistake is made.
const EVERY: u64 = 5;

/// What a message's second id has at its end.
const SECOND: &str = "-again";

/// An account that makes a mistake now and then.
pub(super) struct Flawed {
    pub(super) account: Arc<dyn CloudAccount>,
    pub(super) flaw: Flaw,
    pub(super) count: AtomicU64,
}

impl Flawed {
    /// Whether the mistake is made this time.
    fn errs(&self, flaw: Flaw) -> bool {
        self.flaw == flaw && self.count.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1
    }
}

fn first_id(id: &RemoteId) -> RemoteId {
    RemoteId::new(id.as_str().trim_end_matches(SECOND))
}

#[async_trait]
impl CloudAccount for Flawed {
    fn capabilities(&self) -> Capabilities {
        self.account.capabilities()
    }

    async fn open(&self, name: &str) -> Result<Folder, CloudError> {
        self.account.open(name).await
    }

    async fn folders(&self) -> Result<Vec<Folder>, CloudError> {
        self.account.folders().await
    }

    async fn changes(&self, folder: &FolderId, cursor: Option<&Cursor>) -> Result<Changes, CloudError> {
        let mut changes = self.account.changes(folder, cursor).await?;
        if let Changes::Page(page) = &mut changes
            && let Some(first) = page.upserts.first()
            && self.errs(Flaw::DeliversTwice)
        {
            let mut again = first.clone();
            again.id = RemoteId::new(format!("{}{SECOND}", again.id));
            page.upserts.push(again);
        }
        Ok(changes)
    }

    async fn look_up(&self, ids: &[RemoteId]) -> Vec<Result<Whereabouts, CloudError>> {
        if self.errs(Flaw::DeletesWrongly) {
            return ids.iter().map(|_| Ok(Whereabouts::Gone)).collect();
        }
        let ids: Vec<RemoteId> = ids.iter().map(first_id).collect();
        self.account.look_up(&ids).await
    }

    async fn fetch(&self, id: &RemoteId, sink: &mut dyn MimeSink) -> Result<u64, CloudError> {
        self.account.fetch(&first_id(id), sink).await
    }

    async fn fetch_together(&self, wanted: &mut [Wanted<'_>]) -> Vec<Option<Result<u64, CloudError>>> {
        let ids: Vec<RemoteId> = wanted.iter().map(|wanted| first_id(wanted.id)).collect();
        let mut wanted: Vec<Wanted<'_>> =
            wanted.iter_mut().zip(&ids).map(|(Wanted { sink, .. }, id)| Wanted { id, sink: *sink }).collect();
        self.account.fetch_together(&mut wanted).await
    }

    async fn apply(&self, ops: &[CloudOp]) -> Vec<Outcome> {
        let is_update = ops.iter().any(|op| matches!(op.change, CloudChange::SetFlags { .. }));
        if is_update && self.errs(Flaw::LosesUpdates) {
            return ops.iter().map(|op| Outcome::Done { id: Some(op.id.clone()), now: None }).collect();
        }
        self.account.apply(ops).await
    }

    fn request_line(&self, change: &CloudChange) -> String {
        self.account.request_line(change)
    }

    async fn role(&self, folder: &FolderId) -> Result<FolderRole, CloudError> {
        self.account.role(folder).await
    }

    async fn create(&self, new: NewMessage<'_>) -> Created {
        self.account.create(new).await
    }

    async fn find(&self, message_id: &str) -> Result<Vec<Seen>, CloudError> {
        self.account.find(message_id).await
    }

    async fn replace(&self, id: &RemoteId, revision: Option<&str>, content: NewContent<'_>) -> Outcome {
        self.account.replace(&first_id(id), revision, content).await
    }

    async fn remove_unfinished(&self, left: &Seen) -> Result<(), CloudError> {
        self.account.remove_unfinished(left).await
    }

    async fn keep_unfinished(&self, left: &Seen, message_id: &MessageId) -> Result<(), CloudError> {
        self.account.keep_unfinished(left, message_id).await
    }

    async fn delete_target(&self, action: DeleteAction) -> Result<Option<FolderId>, CloudError> {
        self.account.delete_target(action).await
    }

    async fn tree(&self, known: &[FolderId]) -> Result<Tree, CloudError> {
        self.account.tree(known).await
    }

    async fn tree_news(&self, since: Option<&Cursor>) -> Result<TreeNews, CloudError> {
        self.account.tree_news(since).await
    }

    async fn create_folder(&self, parent: Option<&FolderId>, name: &str) -> Result<FolderId, CloudError> {
        self.account.create_folder(parent, name).await
    }

    async fn rename_folder(&self, folder: &FolderId, name: &str) -> Result<(), CloudError> {
        self.account.rename_folder(folder, name).await
    }

    async fn move_folder(&self, folder: &FolderId, parent: Option<&FolderId>) -> Result<(), CloudError> {
        self.account.move_folder(folder, parent).await
    }
}
