//! All folders of a mailbox, and whether they are as they were.

use std::collections::HashSet;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::Account;
use super::account::out_of_reach;
use super::errors::{says_cursor_lost, says_folder_missing};
use super::folders::{MOST_FOLDERS, SELECT, children_of, read_folder};
use crate::contract::{CloudError, Cursor, FolderId, Purpose, Tree, TreeFolder, TreeNews};
use crate::http::{Call, Failure};

/// How often the folders are listed anew because one was moved while they were listed.
const LISTINGS: usize = 3;

/// The name that stands for a folder in a mailbox of any language (mailFolder resource type).
fn well_known(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Inbox => "inbox",
        Purpose::Drafts => "drafts",
        Purpose::Sent => "sentitems",
        Purpose::Deleted => "deleteditems",
        Purpose::Junk => "junkemail",
        Purpose::Archive => "archive",
        Purpose::Outbox => "outbox",
        Purpose::Conversations => "conversationhistory",
        Purpose::SyncIssues => "syncissues",
    }
}

impl Account {
    /// All folders that people see. Whether one of `known` that isn't among them is gone is asked by its id, for a folder
    /// that is moved while the list is walked may slip past it.
    pub(super) async fn whole_tree(&self, known: &[FolderId]) -> Result<Tree, CloudError> {
        let mut tree = Tree::default();
        for _ in 0..LISTINGS {
            tree = Tree { folders: self.walk_tree().await?, gone: Vec::new() };
            let listed: HashSet<&FolderId> = tree.folders.iter().map(|folder| &folder.id).collect();
            let missing: Vec<FolderId> = known.iter().filter(|id| !listed.contains(id)).cloned().collect();
            let answers = join_all(missing.iter().map(|id| self.folder_exists(id))).await;
            let mut slipped = false;
            for (id, is_there) in missing.into_iter().zip(answers) {
                if is_there? {
                    slipped = true;
                } else {
                    tree.gone.push(id);
                }
            }
            self.must_still_answer(&tree).await?;
            if !slipped {
                break;
            }
        }
        Ok(tree)
    }

    /// Makes sure that what is missing from a list is so because it isn't there. A mailbox that isn't shared any more may answer
    /// as if there were nothing in it (404 instead of 403).
    async fn must_still_answer(&self, tree: &Tree) -> Result<(), CloudError> {
        let Some(first) = tree.folders.first() else { return Err(self.has_no_folders()) };
        let is_doubtful = self.owner.is_some() && !tree.gone.is_empty();
        if is_doubtful && !self.folder_exists(&first.id).await? {
            return Err(self.has_no_folders());
        }
        Ok(())
    }

    /// Says that a mailbox shows none of the folders that every mailbox has.
    fn has_no_folders(&self) -> CloudError {
        match &self.owner {
            Some(owner) => out_of_reach(owner),
            None => CloudError::Unexpected("the mail service lists no folder at all".to_owned()),
        }
    }

    async fn walk_tree(&self) -> Result<Vec<TreeFolder>, CloudError> {
        let purposes = self.purposes().await?;
        let purpose_of = |id: &FolderId| purposes.iter().find(|(known, _)| known == id).map(|(_, purpose)| *purpose);
        let mut folders: Vec<TreeFolder> = Vec::new();
        let mut level: Vec<Option<FolderId>> = vec![None];
        while !level.is_empty() {
            let lists = level.iter().map(|parent| {
                let segments = parent.as_ref().map_or_else(|| vec!["mailFolders".to_owned()], |id| children_of(&id.0));
                let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
                self.list(self.url(&segments, SELECT))
            });
            let lists = join_all(lists).await;
            let mut below = Vec::new();
            for (parent, list) in level.into_iter().zip(lists) {
                for found in list? {
                    // A search folder holds what other folders hold.
                    if found.is_search {
                        continue;
                    }
                    let id = FolderId(found.id);
                    if found.children > 0 {
                        below.push(Some(id.clone()));
                    }
                    let purpose = purpose_of(&id);
                    folders.push(TreeFolder { id, parent: parent.clone(), name: found.name, purpose });
                }
            }
            if folders.len() >= MOST_FOLDERS {
                // Of a list that isn't whole nobody can say what is missing from it.
                return Err(CloudError::Unexpected(format!("there are {MOST_FOLDERS} folders or more")));
            }
            level = below;
        }
        Ok(folders)
    }

    /// Which folders are those that every mailbox has. One that was found is never asked for again.
    async fn purposes(&self) -> Result<Vec<(FolderId, Purpose)>, CloudError> {
        let found = join_all(Purpose::ALL.map(|purpose| self.well_known_folder(well_known(purpose)))).await;
        let mut purposes = Vec::new();
        for (purpose, found) in Purpose::ALL.into_iter().zip(found) {
            match found {
                Ok(id) => purposes.push((id, purpose)),
                Err(CloudError::NoSuchFolder { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(purposes)
    }

    /// Whether folders changed since: one request while nothing happens. What is told isn't read, for the list of all says
    /// it better.
    pub(super) async fn folder_news(&self, since: Option<&Cursor>) -> Result<TreeNews, CloudError> {
        let first = || self.url(&["mailFolders", "delta"], "$select=displayName,parentFolderId");
        let mut url = since.and_then(|cursor| self.own_link(&cursor.0)).unwrap_or_else(first);
        let mut changed = since.is_none();
        loop {
            let body = match self.http.json(&Call::get(url).prefer("odata.maxpagesize=200")).await {
                Ok(body) => body,
                Err(Failure::Status(error)) if says_cursor_lost(&error) => {
                    return Ok(TreeNews { changed: true, cursor: None });
                }
                // A mailbox that is full, or a cloud that can't tell.
                Err(Failure::Status(error)) if matches!(error.status, 400 | 403 | 404 | 405 | 501) => {
                    return Ok(TreeNews { changed: true, cursor: None });
                }
                Err(failure) => return Err(self.error(failure)),
            };
            changed |= body["value"].as_array().is_none_or(|items| !items.is_empty());
            if let Some(link) = body["@odata.deltaLink"].as_str() {
                return Ok(TreeNews { changed, cursor: Some(Cursor(link.to_owned())) });
            }
            match body["@odata.nextLink"].as_str().and_then(|link| self.own_link(link)) {
                Some(next) => url = next,
                None => {
                    return Err(CloudError::Unexpected("a page of folders doesn't say how to go on".to_owned()));
                }
            }
        }
    }

    /// Makes a folder, or finds the one that has the name.
    pub(super) async fn make_folder(&self, parent: Option<&FolderId>, name: &str) -> Result<FolderId, CloudError> {
        let segments = parent.map_or_else(|| vec!["mailFolders".to_owned()], |id| children_of(&id.0));
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let call = Call::json(Method::POST, self.url(&segments, ""), &json!({ "displayName": name }));
        match self.http.json(&call).await {
            Ok(body) => folder_id(&body),
            Err(Failure::Status(error)) if error.status == 409 || error.is("ErrorFolderExists") => {
                let level: Vec<String> = segments.iter().map(|&segment| segment.to_owned()).collect();
                match self.by_display_name(&level, name).await? {
                    Some(found) => Ok(FolderId(found.id)),
                    None => Err(self.error(Failure::Status(error))),
                }
            }
            Err(Failure::Status(error)) if says_folder_missing(&error) => {
                Err(CloudError::NoSuchFolder { name: name.to_owned(), nearest: Vec::new() })
            }
            Err(failure) => Err(self.error(failure)),
        }
    }

    /// Gives a folder another name.
    pub(super) async fn name_folder(&self, folder: &FolderId, name: &str) -> Result<(), CloudError> {
        let url = self.url(&["mailFolders", &folder.0], "");
        self.change_folder(Call::json(Method::PATCH, url, &json!({ "displayName": name }))).await
    }

    /// Moves a folder with all in it below another one, or to the top.
    pub(super) async fn place_folder(&self, folder: &FolderId, parent: Option<&FolderId>) -> Result<(), CloudError> {
        let url = self.url(&["mailFolders", &folder.0, "move"], "");
        let to = parent.map_or("msgfolderroot", |parent| parent.0.as_str());
        self.change_folder(Call::json(Method::POST, url, &json!({ "destinationId": to }))).await
    }

    async fn change_folder(&self, call: Call) -> Result<(), CloudError> {
        match self.http.json(&call).await {
            Ok(_) => Ok(()),
            Err(Failure::Status(error)) if says_folder_missing(&error) => Err(CloudError::Gone),
            Err(failure) => Err(self.error(failure)),
        }
    }
}

fn folder_id(body: &Value) -> Result<FolderId, CloudError> {
    read_folder(body)
        .map(|found| FolderId(found.id))
        .ok_or_else(|| CloudError::Unexpected("a new folder has no id".to_owned()))
}
