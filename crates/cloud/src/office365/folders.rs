//! Finding folders by the names that people and Microsoft give them.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde_json::Value;
use url::Url;

use super::Account;
use super::errors::says_folder_missing;
use crate::contract::{CloudError, Folder, FolderId};
use crate::http::{Call, Failure};

/// Names that stand for a folder in every mailbox, whatever its language (mailFolder resource type).
const WELL_KNOWN: [&str; 17] = [
    "archive",
    "clutter",
    "conflicts",
    "conversationhistory",
    "deleteditems",
    "drafts",
    "inbox",
    "junkemail",
    "localfailures",
    "msgfolderroot",
    "outbox",
    "recoverableitemsdeletions",
    "scheduled",
    "searchfolders",
    "sentitems",
    "serverfailures",
    "syncissues",
];

pub(super) const SELECT: &str = "$select=id,displayName,parentFolderId,childFolderCount,totalItemCount,unreadItemCount";
/// A mailbox with more folders than this is listed no further.
pub(super) const MOST_FOLDERS: usize = 2_000;
/// How many names are offered in place of one that isn't there.
const MOST_SUGGESTIONS: usize = 3;
/// Names less alike than this are no help.
const ALIKE: f64 = 0.6;

/// A folder as the service tells it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) children: u64,
    total: u64,
    unread: u64,
    /// Whether it only shows what other folders hold.
    pub(super) is_search: bool,
}

impl Found {
    fn at(self, path: String) -> Folder {
        Folder { id: FolderId(self.id), path, total_items: self.total, unread_items: self.unread }
    }
}

impl Account {
    pub(super) async fn open_folder(&self, name: &str) -> Result<Folder, CloudError> {
        let parts: Vec<&str> = name.split('/').map(str::trim).filter(|part| !part.is_empty()).collect();
        let Some((first, rest)) = parts.split_first() else { return Err(self.no_folder(name).await) };
        // An exact well-known name first: it means the same in a mailbox of any language.
        if let Some(found) = self.by_well_known_name(first).await?
            && let Some(folder) = self.descend(found, rest).await?
        {
            return Ok(folder);
        }
        if let Some(folder) = self.descend_from_top(&parts).await? {
            return Ok(folder);
        }
        // `Sent Items` in a mailbox where it is called otherwise.
        let squeezed: String = first.split_whitespace().collect();
        if squeezed != **first
            && let Some(found) = self.by_well_known_name(&squeezed).await?
            && let Some(folder) = self.descend(found, rest).await?
        {
            return Ok(folder);
        }
        Err(self.no_folder(name).await)
    }

    /// All folders that are not hidden, in the order of a tree.
    pub(super) async fn all_folders(&self) -> Result<Vec<Folder>, CloudError> {
        let mut folders: Vec<Folder> = Vec::new();
        let mut unvisited = vec![(String::new(), self.url(&["mailFolders"], SELECT))];
        while let Some((path, url)) = unvisited.pop() {
            for found in self.list(url).await? {
                let path = join(&path, &found.name);
                if found.children > 0 {
                    unvisited.push((path.clone(), self.url(&["mailFolders", &found.id, "childFolders"], SELECT)));
                }
                folders.push(found.at(path));
            }
            if folders.len() >= MOST_FOLDERS {
                break;
            }
        }
        // A slash comes before all else that a name may go on with, so that children follow their parent.
        folders.sort_by_cached_key(|folder| folder.path.to_lowercase().replace('/', "\0"));
        Ok(folders)
    }

    /// The id of a folder that every mailbox has, or may have. Asked for once, however many ask at the same time.
    pub(super) async fn well_known_folder(&self, name: &'static str) -> Result<FolderId, CloudError> {
        let known = || self.well_known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(id) = known() {
            return Ok(id);
        }
        let failures = || self.failed_well_known.load(Ordering::Relaxed);
        let before = failures();
        let mut asking = Some(self.asking_well_known.lock().await);
        if let Some(id) = known() {
            return Ok(id);
        }
        if failures() != before {
            // Who waited for an attempt that failed doesn't wait for those of all others, too.
            asking = None;
        }
        let found = self.by_well_known_name(name).await;
        if !matches!(found, Ok(Some(_))) {
            self.failed_well_known.fetch_add(1, Ordering::Relaxed);
        }
        let Some(found) = found? else {
            return Err(CloudError::NoSuchFolder { name: name.to_owned(), nearest: Vec::new() });
        };
        let id = FolderId(found.id);
        self.well_known.lock().unwrap_or_else(PoisonError::into_inner).insert(name, id.clone());
        drop(asking);
        Ok(id)
    }

    async fn by_well_known_name(&self, name: &str) -> Result<Option<Found>, CloudError> {
        let name = name.to_ascii_lowercase();
        if !WELL_KNOWN.contains(&name.as_str()) {
            return Ok(None);
        }
        match self.http.json(&Call::get(self.url(&["mailFolders", &name], SELECT))).await {
            Ok(body) => Ok(read_folder(&body)),
            Err(Failure::Status(error)) if says_folder_missing(&error) => Ok(None),
            Err(failure) => Err(self.error(failure)),
        }
    }

    async fn descend_from_top(&self, parts: &[&str]) -> Result<Option<Folder>, CloudError> {
        self.walk(vec!["mailFolders".to_owned()], String::new(), parts).await
    }

    async fn descend(&self, found: Found, rest: &[&str]) -> Result<Option<Folder>, CloudError> {
        if rest.is_empty() {
            let path = found.name.clone();
            return Ok(Some(found.at(path)));
        }
        self.walk(children_of(&found.id), found.name, rest).await
    }

    /// Goes down from a list of folders, part by part.
    ///
    /// A name may itself hold a slash: where no folder has the next part as its name, some parts together are tried.
    async fn walk(
        &self,
        mut level: Vec<String>,
        mut path: String,
        mut parts: &[&str],
    ) -> Result<Option<Folder>, CloudError> {
        loop {
            let mut step = None;
            for count in 1..=parts.len() {
                let (name, rest) = parts.split_at(count);
                if let Some(found) = self.by_display_name(&level, &name.join("/")).await? {
                    step = Some((found, rest));
                    break;
                }
            }
            let Some((found, rest)) = step else { return Ok(None) };
            path = join(&path, &found.name);
            if rest.is_empty() {
                return Ok(Some(found.at(path)));
            }
            level = children_of(&found.id);
            parts = rest;
        }
    }

    pub(super) async fn by_display_name(&self, level: &[String], name: &str) -> Result<Option<Found>, CloudError> {
        let literal =
            percent_encoding::utf8_percent_encode(&name.replace('\'', "''"), percent_encoding::NON_ALPHANUMERIC)
                .to_string();
        let level: Vec<&str> = level.iter().map(String::as_str).collect();
        let url = self.url(&level, &format!("$filter=displayName%20eq%20'{literal}'&{SELECT}"));
        let found = self.list(url).await?;
        // The service doesn't mind case; of several that it finds, an exact one is meant.
        let exact = found.iter().position(|folder| folder.name == name).unwrap_or(0);
        Ok(found.into_iter().nth(exact))
    }

    /// A list of folders, all its pages. A folder that has gone meanwhile has no children.
    pub(super) async fn list(&self, first: Url) -> Result<Vec<Found>, CloudError> {
        let mut folders = Vec::new();
        let mut next = Some(first);
        while let Some(url) = next {
            let body = match self.http.json(&Call::get(url).prefer("odata.maxpagesize=100")).await {
                Ok(body) => body,
                Err(Failure::Status(error)) if says_folder_missing(&error) => break,
                Err(failure) => return Err(self.error(failure)),
            };
            let Some(items) = body["value"].as_array() else {
                return Err(CloudError::Unexpected("a list of folders has no list".to_owned()));
            };
            folders.extend(items.iter().filter_map(read_folder));
            next = match body["@odata.nextLink"].as_str() {
                None => None,
                Some(_) if folders.len() >= MOST_FOLDERS => None,
                Some(link) => match self.own_link(link) {
                    Some(url) => Some(url),
                    None => return Err(CloudError::Unexpected("a list of folders leads to another server".to_owned())),
                },
            };
        }
        Ok(folders)
    }

    async fn no_folder(&self, name: &str) -> CloudError {
        let nearest = match self.all_folders().await {
            Ok(folders) => nearest(name, folders.iter().map(|folder| folder.path.as_str())),
            Err(_) => Vec::new(),
        };
        CloudError::NoSuchFolder { name: name.to_owned(), nearest }
    }
}

pub(super) fn children_of(id: &str) -> Vec<String> {
    ["mailFolders", id, "childFolders"].map(str::to_owned).to_vec()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

pub(super) fn read_folder(item: &Value) -> Option<Found> {
    Some(Found {
        id: item["id"].as_str()?.to_owned(),
        name: item["displayName"].as_str().unwrap_or_default().to_owned(),
        children: item["childFolderCount"].as_u64().unwrap_or_default(),
        total: item["totalItemCount"].as_u64().unwrap_or_default(),
        unread: item["unreadItemCount"].as_u64().unwrap_or_default(),
        is_search: item["@odata.type"].as_str().is_some_and(|kind| kind.ends_with("mailSearchFolder")),
    })
}

/// The paths most like `name`, as a whole or in their last part; best first.
fn nearest<'p>(name: &str, paths: impl Iterator<Item = &'p str>) -> Vec<String> {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_lowercase();
    let (wanted, wanted_last) = (name.to_lowercase(), last(name));
    let mut ranked: Vec<(f64, &str)> = paths
        .map(|path| {
            let whole = strsim::normalized_damerau_levenshtein(&wanted, &path.to_lowercase());
            // The place counts a little: between equal names the one at the right place is meant.
            let part = strsim::normalized_damerau_levenshtein(&wanted_last, &last(path)) * 0.9 + whole * 0.1;
            (whole.max(part), path)
        })
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    ranked.into_iter().take(MOST_SUGGESTIONS).map(|(_, path)| path.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_what_was_probably_meant() {
        let paths = ["Inbox", "Inbox/Lists", "Inbox/Lists/rust", "Inbox/Lists/rust-users", "Sent Items", "Archive"];
        assert_eq!(nearest("Inbox/List/rust", paths.into_iter())[0], "Inbox/Lists/rust");
        assert_eq!(nearest("rust", paths.into_iter())[0], "Inbox/Lists/rust");
        assert_eq!(nearest("snet items", paths.into_iter()), ["Sent Items"]);
        assert!(nearest("Quarterly reports", paths.into_iter()).is_empty());
        assert!(nearest("x", paths.into_iter()).is_empty());
    }
}
