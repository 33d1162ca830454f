//! Folders: listing and looking up.

use serde_json::{Map, Value, json};

use crate::graph::{Call, Desk, only};
use crate::mailbox::Folder;
use crate::odata;
use crate::reply::Answer;
use crate::well_known;

const PROPERTIES: [&str; 7] =
    ["id", "displayName", "parentFolderId", "childFolderCount", "unreadItemCount", "totalItemCount", "isHidden"];

pub(crate) fn describe(desk: &Desk<'_>, folder: &Folder, select: &[&str]) -> Value {
    let ids = &desk.mailbox.ids;
    let mut map = Map::new();
    for name in PROPERTIES {
        if name != "id" && !select.is_empty() && !select.iter().any(|one| one.eq_ignore_ascii_case(name)) {
            continue;
        }
        let value = match name {
            "id" => json!(ids.folder(folder.key)),
            "displayName" => json!(folder.title(&desk.knobs.locale)),
            "parentFolderId" => json!(ids.folder(folder.parent)),
            "childFolderCount" => json!(desk.mailbox.children(folder.key).filter(|child| !child.hidden).count()),
            "unreadItemCount" => json!(folder.unread),
            "totalItemCount" => json!(folder.by_time.len()),
            _ => json!(folder.hidden),
        };
        map.insert(name.to_owned(), value);
    }
    Value::Object(map)
}

pub(crate) fn selection(call: &Call) -> Result<Vec<&str>, Answer> {
    let names: Vec<&str> = call
        .query
        .get("$select")
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    match names.iter().find(|name| !PROPERTIES.iter().any(|known| known.eq_ignore_ascii_case(name))) {
        None => Ok(names),
        Some(name) => Err(Answer::error(
            400,
            "RequestBroker--ParseUri",
            &format!("Could not find a property named '{name}' on type 'Microsoft.OutlookServices.MailFolder'."),
        )),
    }
}

/// `GET /me/mailFolders/{id}`
pub(crate) fn get(desk: &Desk<'_>, call: &Call, id: &str) -> Result<Answer, Answer> {
    only(desk, call, &["$select", "includehiddenfolders"])?;
    let select = selection(call)?;
    let key = desk.mailbox.folder_by_id(id, desk.knobs.archive_exists)?;
    let folder = desk.mailbox.folder(key).ok_or_else(Answer::not_found)?;
    let mut value = describe(desk, folder, &select);
    if let Some(map) = value.as_object_mut() {
        let context =
            format!("{}/v1.0/$metadata#users('{}')/mailFolders/$entity", call.base, desk.mailbox.ids.guid_text());
        map.insert("@odata.context".to_owned(), json!(context));
    }
    Ok(Answer::value(200, &value))
}

/// `GET /me/mailFolders` and `GET /me/mailFolders/{id}/childFolders`
pub(crate) fn list(desk: &Desk<'_>, call: &Call, parent: Option<&str>) -> Result<Answer, Answer> {
    only(desk, call, &["$select", "$top", "$skip", "$filter", "$count", "includehiddenfolders"])?;
    let select = selection(call)?;
    let key = match parent {
        None => well_known::ROOT,
        Some(id) => desk.mailbox.folder_by_id(id, desk.knobs.archive_exists)?,
    };
    let top = call.query.number("$top")?.unwrap_or(10);
    if top == 0 || top > 1000 {
        return Err(Answer::error(400, "ErrorInvalidUrlQuery", "The value of $top must be between 1 and 1000."));
    }
    let skip = call.query.number("$skip")?.unwrap_or(0);
    let hidden = call.query.get("includehiddenfolders").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let wanted = match call.query.get("$filter") {
        None => None,
        Some(text) => Some(name_filter(text).ok_or_else(|| {
            Answer::error(400, "ErrorInvalidUrlQuery", "The $filter on mail folders is not supported.")
        })?),
    };
    let all: Vec<&Folder> = desk
        .mailbox
        .children(key)
        .filter(|folder| hidden || !folder.hidden)
        .filter(|folder| folder.key != well_known::ARCHIVE || desk.knobs.archive_exists)
        .filter(|folder| wanted.as_ref().is_none_or(|name| folder.title(&desk.knobs.locale).to_lowercase() == *name))
        .collect();
    let page: Vec<Value> = all.iter().skip(skip).take(top).map(|folder| describe(desk, folder, &select)).collect();
    let mut answer = json!({
        "@odata.context": format!("{}/v1.0/$metadata#users('{}')/mailFolders", call.base, desk.mailbox.ids.guid_text()),
        "value": page,
    });
    if let Some(map) = answer.as_object_mut() {
        if call.query.get("$count") == Some("true") {
            map.insert("@odata.count".to_owned(), json!(all.len()));
        }
        if skip + top < all.len() {
            let path = match parent {
                None => "mailFolders".to_owned(),
                Some(_) => format!("mailFolders('{}')/childFolders", desk.mailbox.ids.folder(key)),
            };
            map.insert("@odata.nextLink".to_owned(), json!(next_link(call, &path, skip + top)));
        }
    }
    Ok(Answer::value(200, &answer))
}

/// `POST /me/mailFolders` and `POST /me/mailFolders/{id}/childFolders`
pub(crate) fn create(desk: &mut Desk<'_>, call: &Call, parent: Option<&str>) -> Result<Answer, Answer> {
    only(desk, call, &[])?;
    let body: Value = serde_json::from_slice(&call.body)
        .map_err(|error| Answer::error(400, "UnableToDeserializePostBody", &error.to_string()))?;
    let name = body.get("displayName").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Answer::error(400, "ErrorInvalidArgument", "displayName is missing."))?;
    let hidden = body.get("isHidden").and_then(Value::as_bool).unwrap_or(false);
    let parent = match parent {
        None => well_known::ROOT,
        Some(id) => desk.mailbox.folder_by_id(id, desk.knobs.archive_exists)?,
    };
    let key = desk
        .mailbox
        .create_folder(parent, name, hidden, &desk.knobs.locale)
        .ok_or_else(|| Answer::error(409, "ErrorFolderExists", "A folder with the specified name already exists."))?;
    let folder = desk.mailbox.folder(key).ok_or_else(Answer::not_found)?;
    Ok(Answer::value(201, &describe(desk, folder, &[])))
}

/// `displayName eq 'x'`: the name in lower case.
fn name_filter(text: &str) -> Option<String> {
    let list = odata::comparisons(text, "and")?;
    match list.as_slice() {
        [one] if one.property.eq_ignore_ascii_case("displayName") && one.operator == "eq" => {
            Some(one.value.to_lowercase())
        }
        _ => None,
    }
}

/// The link to the next page of a list: the same options with another `$skip`.
pub(crate) fn next_link(call: &Call, path: &str, skip: usize) -> String {
    let mut options: Vec<String> = call
        .query
        .0
        .iter()
        .filter(|option| option.name != "$skip")
        .map(|option| format!("{}={}", odata::encode(&option.name), odata::encode(&option.value)))
        .collect();
    options.push(format!("%24skip={skip}"));
    format!("{}/v1.0/{}/{path}?{}", call.base, call.home(), options.join("&"))
}
