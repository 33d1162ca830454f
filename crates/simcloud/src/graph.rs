//! Microsoft Graph v1.0 for mail: which request is which, and who answers it.

use bytes::Bytes;

use crate::cloud::Inner;
use crate::counters::Tally;
use crate::knobs::Knobs;
use crate::mailbox::{AccountMode, Mailbox};
use crate::odata::Query;
use crate::reply::Answer;
use crate::{attachments, delta, folder_tree, folders, me, messages, odata, writes};

/// One request, alone or out of a batch.
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) route: Route,
    pub(crate) query: Query,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// The address of the service, as the client wrote it.
    pub(crate) base: String,
    /// Whose token it came with.
    pub(crate) holder: Visitor,
    /// Whose mailbox it is about: the holder's, or one that is shared with them.
    pub(crate) user: String,
}

/// Who asks for something in a mailbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visitor {
    /// The signed-in user.
    pub(crate) user: String,
    /// Whether their token is good for others' mailboxes.
    pub(crate) shared: bool,
    /// The application that they use.
    pub(crate) client: String,
}

impl Visitor {
    /// Whose mailbox a path leads to: the one that it names if this visitor is let in, or else their own.
    pub(crate) fn mailbox_at(&self, inner: &Inner, path: &str) -> String {
        let segments = odata::segments(path);
        let named = match segments.as_slice() {
            [users, whose, ..] if users.eq_ignore_ascii_case("users") => inner.account(whose),
            _ => None,
        };
        let lets_in = |owner: &String| {
            inner.mailbox(owner).is_some_and(|mailbox| crate::cloud::lock(mailbox).delegates.contains(&self.user))
        };
        named.filter(|owner| self.shared && lets_in(owner)).unwrap_or_else(|| self.user.clone())
    }
}

impl Call {
    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The value of one preference, without quotes.
    fn preference(&self, name: &str) -> Option<&str> {
        self.headers.iter().filter(|(found, _)| found == "prefer").flat_map(|(_, value)| value.split(',')).find_map(
            |one| {
                let (found, value) = one.split_once('=')?;
                found.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
            },
        )
    }

    /// Whether ids are to be immutable.
    pub(crate) fn immutable(&self) -> bool {
        self.preference("IdType").is_some_and(|value| value.eq_ignore_ascii_case("ImmutableId"))
    }

    /// The part of an address that leads to the mailbox.
    pub(crate) fn home(&self) -> String {
        if self.user == self.holder.user { "me".to_owned() } else { format!("users('{}')", self.user) }
    }

    /// The page size that is preferred.
    pub(crate) fn page_size(&self) -> Option<usize> {
        self.preference("odata.maxpagesize").and_then(|value| value.parse().ok())
    }
}

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Me,
    Folders {
        parent: Option<String>,
    },
    Folder {
        id: String,
    },
    /// What changed in the tree of folders.
    FolderDelta,
    /// Another place for a folder.
    FolderMove {
        id: String,
    },
    List {
        folder: Option<String>,
    },
    Delta {
        folder: Option<String>,
    },
    Message {
        folder: Option<String>,
        id: String,
    },
    Value {
        folder: Option<String>,
        id: String,
    },
    Action {
        folder: Option<String>,
        id: String,
        name: String,
    },
    /// The files of a message.
    Attachments {
        folder: Option<String>,
        id: String,
    },
    /// A session in which a large file is attached to a message.
    UploadSession {
        folder: Option<String>,
        id: String,
    },
    /// Any message from MIME, in the beta version.
    Import {
        folder: String,
    },
    Translate,
    Batch,
    /// A mailbox that isn't the signed-in user's.
    Foreign,
    Unknown,
}

/// Finds out what a path below the version means; `user` is whose token it came with.
pub(crate) fn route(path: &str, user: &str) -> Route {
    let segments = odata::segments(path);
    let lower: Vec<String> = segments.iter().map(|segment| segment.to_ascii_lowercase()).collect();
    let names: Vec<&str> = lower.iter().map(String::as_str).collect();
    let rest = match names.as_slice() {
        ["$batch"] => return Route::Batch,
        ["me", ..] => 1,
        ["users", whose, ..] if *whose == user => 2,
        ["users", _, ..] => return Route::Foreign,
        _ => return Route::Unknown,
    };
    let key = |at: usize| segments.get(rest + at).cloned().unwrap_or_default();
    let some = |at: usize| Some(key(at));
    match names.get(rest..).unwrap_or_default() {
        [] => Route::Me,
        ["translateexchangeids"] => Route::Translate,
        ["mailfolders"] => Route::Folders { parent: None },
        ["mailfolders", "delta" | "microsoft.graph.delta"] => Route::FolderDelta,
        ["mailfolders", _, "move" | "microsoft.graph.move"] => Route::FolderMove { id: key(1) },
        ["mailfolders", _] => Route::Folder { id: key(1) },
        ["mailfolders", _, "childfolders"] => Route::Folders { parent: some(1) },
        ["mailfolders", _, "importmime" | "microsoft.graph.importmime"] => Route::Import { folder: key(1) },
        ["mailfolders", _, "messages"] => Route::List { folder: some(1) },
        ["mailfolders", _, "messages", "delta" | "microsoft.graph.delta"] => Route::Delta { folder: some(1) },
        ["mailfolders", _, "messages", _] => Route::Message { folder: some(1), id: key(3) },
        ["mailfolders", _, "messages", _, "$value"] => Route::Value { folder: some(1), id: key(3) },
        ["mailfolders", _, "messages", _, "attachments"] => Route::Attachments { folder: some(1), id: key(3) },
        [
            "mailfolders",
            _,
            "messages",
            _,
            "attachments",
            "createuploadsession" | "microsoft.graph.createuploadsession",
        ] => Route::UploadSession { folder: some(1), id: key(3) },
        ["mailfolders", _, "messages", _, name] => {
            Route::Action { folder: some(1), id: key(3), name: (*name).to_owned() }
        }
        ["messages"] => Route::List { folder: None },
        ["messages", "delta" | "microsoft.graph.delta"] => Route::Delta { folder: None },
        ["messages", _] => Route::Message { folder: None, id: key(1) },
        ["messages", _, "$value"] => Route::Value { folder: None, id: key(1) },
        ["messages", _, "attachments"] => Route::Attachments { folder: None, id: key(1) },
        ["messages", _, "attachments", "createuploadsession" | "microsoft.graph.createuploadsession"] => {
            Route::UploadSession { folder: None, id: key(1) }
        }
        ["messages", _, name] => Route::Action { folder: None, id: key(1), name: (*name).to_owned() },
        _ => Route::Unknown,
    }
}

/// The kind under which a request is counted and faults are ordered.
pub(crate) fn kind(method: &str, route: &Route) -> &'static str {
    match (route, method) {
        (Route::Me, _) => "me",
        (Route::Folders { .. }, _) => "folders",
        (Route::FolderDelta, _) => "folder-delta",
        (Route::FolderMove { .. }, _) => "folder-move",
        (Route::Folder { .. }, "PATCH") => "folder-rename",
        (Route::Folder { .. }, _) => "folder",
        (Route::List { .. }, "POST") => "create",
        (Route::List { .. }, _) => "list",
        (Route::Delta { .. }, _) => "delta",
        (Route::Message { .. }, "PATCH") => "patch",
        (Route::Message { .. }, "DELETE") => "delete",
        (Route::Message { .. }, _) => "message",
        (Route::Value { .. }, "PUT") => "put-value",
        (Route::Value { .. }, _) => "value",
        (Route::Action { name, .. }, _) => match name.as_str() {
            "move" => "move",
            "copy" => "copy",
            "permanentdelete" => "delete",
            _ => "other",
        },
        (Route::Attachments { .. }, "POST") => "attach",
        (Route::UploadSession { .. }, _) => "upload-session",
        (Route::Import { .. }, _) => "import",
        (Route::Translate, _) => "translate",
        (Route::Batch, _) => "batch",
        (Route::Attachments { .. } | Route::Foreign | Route::Unknown, _) => "other",
    }
}

/// What handlers work with.
pub(crate) struct Desk<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) mailbox: &'a mut Mailbox,
    pub(crate) knobs: &'a Knobs,
    pub(crate) tally: &'a Tally,
}

/// Answers one request other than a batch.
pub(crate) fn answer(inner: &Inner, knobs: &Knobs, call: &Call) -> Answer {
    let Some(mailbox) = inner.mailbox(&call.user) else {
        return Answer::error(404, "ErrorInvalidUser", &format!("The requested user '{}' is invalid.", call.user));
    };
    // The bytes of a message are made or read without holding the mailbox up.
    if let (Route::Value { folder, id }, "GET") = (&call.route, call.method.as_str()) {
        return messages::value(inner, mailbox, knobs, call, folder.as_deref(), id);
    }
    let mut mailbox = crate::cloud::lock(mailbox);
    let mut desk = Desk { inner, mailbox: &mut mailbox, knobs, tally: &inner.tally };
    let answer = dispatch(&mut desk, call).unwrap_or_else(|refusal| refusal);
    prefer(answer, call, &inner.tally)
}

/// The refusal that the account's mode asks for.
pub(crate) fn mode_refusal(mode: AccountMode, delta: bool) -> Option<Answer> {
    match mode {
        AccountMode::Normal => None,
        AccountMode::QuotaExceeded if !delta => None,
        AccountMode::QuotaExceeded => {
            Some(Answer::error(403, "ErrorQuotaExceeded", "The mailbox has exceeded its storage quota."))
        }
        AccountMode::AccessDenied => {
            Some(Answer::error(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."))
        }
        AccountMode::NotEnabled => Some(Answer::error(
            404,
            "MailboxNotEnabledForRESTAPI",
            "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
        )),
    }
}

fn dispatch(desk: &mut Desk<'_>, call: &Call) -> Result<Answer, Answer> {
    if let Some(refusal) =
        mode_refusal(desk.mailbox.mode, matches!(call.route, Route::Delta { .. } | Route::FolderDelta))
    {
        return Err(refusal);
    }
    match (&call.route, call.method.as_str()) {
        (Route::Me, "GET") => me::answer(desk, call),
        (Route::Translate, "POST") => messages::translate(desk, call),
        (Route::Folders { parent }, "GET") => folders::list(desk, call, parent.as_deref()),
        (Route::Folders { parent }, "POST") => folders::create(desk, call, parent.as_deref()),
        (Route::Folder { id }, "GET") => folders::get(desk, call, id),
        (Route::Folder { id }, "PATCH") => folder_tree::rename(desk, call, id),
        (Route::FolderMove { id }, "POST") => folder_tree::relocate(desk, call, id),
        (Route::FolderDelta, "GET") => folder_tree::delta(desk, call),
        (Route::List { folder }, "GET") => messages::list(desk, call, folder.as_deref()),
        (Route::List { folder }, "POST") => writes::create(desk, call, folder.as_deref()),
        (Route::Import { folder }, "POST") => writes::import(desk, call, folder),
        (Route::Delta { folder: None }, "GET") => Err(Answer::error(
            400,
            "ErrorInvalidUrlQuery",
            "Change tracking is not supported against 'microsoft.graph.message'.",
        )),
        (Route::Delta { folder: Some(folder) }, "GET") => {
            let folder = desk.mailbox.folder_by_id(folder, desk.knobs.archive_exists).map_err(|refusal| {
                if refusal.status == 404 {
                    Answer::error(
                        404,
                        "ErrorSyncFolderNotFound",
                        "The specified folder could not be found in the store.",
                    )
                } else {
                    refusal
                }
            })?;
            let page = call.page_size();
            let delta = delta::DeltaCall {
                folder,
                query: &call.query,
                immutable: call.immutable(),
                page,
                base: &call.base,
                home: &call.home(),
            };
            Ok(delta::answer(desk.mailbox, &desk.inner.generator, desk.knobs, desk.tally, &delta))
        }
        (Route::Message { folder, id }, "GET") => messages::get(desk, call, folder.as_deref(), id),
        (Route::Message { folder, id }, "PATCH") => writes::patch(desk, call, folder.as_deref(), id),
        (Route::Message { folder, id }, "DELETE") => writes::delete(desk, call, folder.as_deref(), id, false),
        (Route::Value { folder: None, id }, "PUT") => writes::put_value(desk, call, id),
        (Route::Action { folder, id, name }, "POST") => match name.as_str() {
            "move" => writes::relocate(desk, call, folder.as_deref(), id),
            "copy" => writes::copy(desk, call, folder.as_deref(), id),
            "permanentdelete" => writes::delete(desk, call, folder.as_deref(), id, true),
            _ => Err(unknown_resource(desk)),
        },
        (Route::Attachments { folder, id }, "POST") => attachments::add(desk, call, folder.as_deref(), id),
        (Route::UploadSession { folder, id }, "POST") => attachments::begin_upload(desk, call, folder.as_deref(), id),
        (Route::Foreign, _) => {
            Err(Answer::error(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."))
        }
        (Route::Unknown | Route::Action { .. }, _) => Err(unknown_resource(desk)),
        _ => Err(Answer::error(
            405,
            "Request_BadRequest",
            "Specified HTTP method is not allowed for the request target.",
        )),
    }
}

fn unknown_resource(desk: &Desk<'_>) -> Answer {
    desk.tally.violation("a path was asked for that the service doesn't have");
    Answer::error(400, "BadRequest", "Resource not found for the segment.")
}

/// Says that the wish for immutable ids was granted, or notes that nobody wished it.
fn prefer(mut answer: Answer, call: &Call, tally: &Tally) -> Answer {
    let tells_ids = answer.status < 300
        && answer.status != 204
        && matches!(
            call.route,
            Route::List { .. }
                | Route::Delta { .. }
                | Route::Message { .. }
                | Route::Action { .. }
                | Route::Import { .. }
        );
    if !tells_ids {
        return answer;
    }
    if !call.immutable() {
        tally.note(&format!(
            "{}: ids were asked for without Prefer: IdType=\"ImmutableId\"",
            kind(&call.method, &call.route)
        ));
        return answer;
    }
    match answer.headers.iter_mut().find(|(name, _)| *name == "Preference-Applied") {
        Some((_, value)) => value.push_str(", IdType=ImmutableId"),
        None => answer.headers.push(("Preference-Applied", "IdType=ImmutableId".to_owned())),
    }
    answer
}

/// Refuses options that the service doesn't know here.
pub(crate) fn only(desk: &Desk<'_>, call: &Call, known: &[&str]) -> Result<(), Answer> {
    match call.query.unknown(known) {
        None => Ok(()),
        Some(name) => {
            desk.tally.violation(format!("{}: query option '{name}' isn't supported", kind(&call.method, &call.route)));
            Err(Answer::error(400, "ErrorInvalidUrlQuery", &format!("The query parameter '{name}' is not supported.")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_the_same_in_either_spelling() {
        let expected = Route::Delta { folder: Some("Ab=".to_owned()) };
        assert_eq!(route("/me/mailFolders('Ab=')/messages/delta", "u@x"), expected);
        assert_eq!(route("/Me/MailFolders/Ab=/Messages/Delta()", "u@x"), expected);
        assert_eq!(route("/users/U@x/mailfolders/Ab=/messages/delta", "u@x"), expected);
        assert_eq!(route("/users/other@x/messages", "u@x"), Route::Foreign);
        assert_eq!(route("/me/messages/Id/$value", "u@x"), Route::Value { folder: None, id: "Id".to_owned() });
        assert_eq!(
            route("/me/messages/Id/permanentDelete", "u@x"),
            Route::Action { folder: None, id: "Id".to_owned(), name: "permanentdelete".to_owned() }
        );
    }
}
