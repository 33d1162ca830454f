//! Folders as a tree: `mailFolder: delta`, and the client's renames and moves.

use serde_json::{Value, json};

use crate::folders::{describe, selection};
use crate::graph::{Call, Desk, only};
use crate::odata;
use crate::reply::Answer;
use crate::well_known;

/// Folders on a page if nobody asked for another number.
const PAGE: usize = 10;

/// Where a link goes on: in the first round after so many folders, or in the log after so many entries.
enum Position {
    First { told: usize, log: usize },
    Log(usize),
}

impl Position {
    fn read(token: &str) -> Option<Self> {
        match token.split_once('-')? {
            ("log", after) => Some(Self::Log(after.parse().ok()?)),
            (told, log) => Some(Self::First { told: told.parse().ok()?, log: log.parse().ok()? }),
        }
    }
}

/// `GET /me/mailFolders/delta`
pub(crate) fn delta(desk: &Desk<'_>, call: &Call) -> Result<Answer, Answer> {
    only(desk, call, &["$select", "$skiptoken", "$deltatoken"])?;
    let select = selection(call)?;
    let log = &desk.mailbox.folder_log;
    let position = match call.query.get("$skiptoken").or(call.query.get("$deltatoken")) {
        None => Position::First { told: 0, log: log.len() },
        Some(token) => Position::read(token)
            .ok_or_else(|| Answer::error(410, "SyncStateNotFound", "The sync state generation is not found."))?,
    };
    let (items, link): (Vec<Value>, String) = match position {
        Position::First { told, log } => {
            let is_told =
                |key: u32| key != well_known::ROOT && (key != well_known::ARCHIVE || desk.knobs.archive_exists);
            let all = desk.mailbox.folders.iter().filter(|folder| {
                is_told(folder.key) && !folder.gone && folder.well_known.is_none_or(|known| !known.outside)
            });
            let all: Vec<_> = all.skip(told).collect();
            let page = call.page_size().unwrap_or(PAGE).max(1);
            let link = if all.len() > page {
                format!("$skiptoken={}-{log}", told + page)
            } else {
                format!("$deltatoken=log-{log}")
            };
            (all.into_iter().take(page).map(|folder| describe(desk, folder, &select)).collect(), link)
        }
        Position::Log(after) => {
            let mut keys: Vec<u32> = log.iter().skip(after).copied().collect();
            keys.sort_unstable();
            keys.dedup();
            let tell = |key: u32| match desk.mailbox.folder(key) {
                Some(folder) => describe(desk, folder, &select),
                None => json!({"id": desk.mailbox.ids.folder(key), "@removed": {"reason": "deleted"}}),
            };
            (keys.into_iter().map(tell).collect(), format!("$deltatoken=log-{}", log.len()))
        }
    };
    let name = if link.starts_with("$skip") { "@odata.nextLink" } else { "@odata.deltaLink" };
    let select = call.query.get("$select").map(|select| format!("$select={}&", odata::encode(select)));
    let url = format!("{}/v1.0/{}/mailFolders/delta?{}{link}", call.base, call.home(), select.unwrap_or_default());
    Ok(Answer::value(200, &json!({ "value": items, name: url })))
}

/// `PATCH /me/mailFolders/{id}`: another name.
pub(crate) fn rename(desk: &mut Desk<'_>, call: &Call, id: &str) -> Result<Answer, Answer> {
    only(desk, call, &[])?;
    let body = read(call)?;
    let name = body.get("displayName").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Answer::error(400, "ErrorInvalidArgument", "displayName is missing."))?;
    let key = own_folder(desk, id)?;
    let parent = desk.mailbox.folder(key).map_or(well_known::ROOT, |folder| folder.parent);
    put(desk, key, parent, name)
}

/// `POST /me/mailFolders/{id}/move`: another parent.
pub(crate) fn relocate(desk: &mut Desk<'_>, call: &Call, id: &str) -> Result<Answer, Answer> {
    only(desk, call, &[])?;
    let body = read(call)?;
    let to = body.get("destinationId").and_then(Value::as_str).unwrap_or_default();
    let parent = desk.mailbox.folder_by_id(to, desk.knobs.archive_exists)?;
    let key = own_folder(desk, id)?;
    let mut above = parent;
    while above != well_known::ROOT {
        if above == key {
            return Err(Answer::error(400, "ErrorMoveCopyFailed", "The move or copy operation failed."));
        }
        above = desk.mailbox.folder(above).map_or(well_known::ROOT, |folder| folder.parent);
    }
    let name = desk.mailbox.folder(key).map(|folder| folder.name.clone()).unwrap_or_default();
    put(desk, key, parent, &name)
}

fn read(call: &Call) -> Result<Value, Answer> {
    serde_json::from_slice(&call.body)
        .map_err(|error| Answer::error(400, "UnableToDeserializePostBody", &error.to_string()))
}

/// A folder that isn't one of those that every mailbox has.
fn own_folder(desk: &Desk<'_>, id: &str) -> Result<u32, Answer> {
    let key = desk.mailbox.folder_by_id(id, desk.knobs.archive_exists)?;
    if desk.mailbox.folder(key).is_some_and(|folder| folder.well_known.is_some()) {
        return Err(Answer::error(
            400,
            "ErrorDistinguishedFolderCannotBeChanged",
            "The distinguished folder can't be moved or renamed.",
        ));
    }
    Ok(key)
}

fn put(desk: &mut Desk<'_>, key: u32, parent: u32, name: &str) -> Result<Answer, Answer> {
    if !desk.mailbox.put_folder(key, parent, name, &desk.knobs.locale) {
        return Err(Answer::error(409, "ErrorFolderExists", "A folder with the specified name already exists."));
    }
    let folder = desk.mailbox.folder(key).ok_or_else(Answer::not_found)?;
    Ok(Answer::value(200, &describe(desk, folder, &[])))
}
