//! Files that are attached to drafts: small ones with one request, large ones in an upload session.

mod composed;
mod part;
mod session;
mod upload;

use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::clock;
use crate::graph::{Call, Desk, only};
use crate::mailbox::{Mailbox, Message, Touched};
use crate::messages::find;
use crate::mime_generator::Generator;
use crate::reply::Answer;
use crate::writes::{LARGEST_REQUEST, unreadable};

pub(crate) use composed::{Attachment, Composed, Description};
pub(crate) use session::UploadSession;
pub(crate) use upload::{is_here as is_upload, request as upload};

/// The type that an attachment must say it has.
const FILE: &str = "#microsoft.graph.fileAttachment";

/// What a request with a whole file says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WholeFile {
    #[serde(rename = "@odata.type")]
    odata_type: String,
    name: String,
    content_type: Option<String>,
    content_bytes: String,
    is_inline: Option<bool>,
    content_id: Option<String>,
}

/// `POST /me/messages/{id}/attachments`: a file becomes part of a draft.
pub(crate) fn add(desk: &mut Desk<'_>, call: &Call, folder: Option<&str>, id: &str) -> Result<Answer, Answer> {
    only(desk, call, &[])?;
    if call.body.len() > LARGEST_REQUEST {
        return Err(Answer::error(413, "RequestEntityTooLarge", "The request is too large."));
    }
    let file: WholeFile = read(desk, call)?;
    if file.odata_type != FILE {
        return Err(refused(desk, "only files can be attached here"));
    }
    let bytes = STANDARD.decode(&file.content_bytes).map_err(|_| refused(desk, "contentBytes isn't base64"))?;
    let description = describe(desk, file.name, file.content_type, file.is_inline, file.content_id)?;
    let draft = draft(desk, folder, id)?;
    let (key, message) = (draft.key, desk.mailbox.id_of(draft, call.immutable()));
    let mut told = json!({
        "@odata.type": FILE,
        "name": description.name,
        "contentType": description.content_type,
        "size": bytes.len(),
        "isInline": description.is_inline,
        "contentId": description.content_id,
        "lastModifiedDateTime": clock::format(clock::now()),
    });
    let size = bytes.len();
    let attachment = Attachment { description, pieces: vec![Bytes::from(bytes)], size };
    let id = attach(desk.mailbox, &desk.inner.generator, key, attachment)?;
    told["id"] = json!(id);
    told["@odata.context"] = json!(format!(
        "{}/v1.0/$metadata#users('{}')/messages('{}')/attachments/$entity",
        call.base,
        desk.mailbox.ids.guid_text(),
        message.replace('=', "%3D")
    ));
    Ok(Answer::value(201, &told))
}

/// The largest file that a session is for, in bytes: 150 MB, as the documents say without saying which megabytes.
const LARGEST_UPLOAD: u64 = 150 * 1024 * 1024;

/// What a request for a session says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionWish {
    #[serde(rename = "AttachmentItem")]
    item: AttachmentItem,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AttachmentItem {
    attachment_type: String,
    name: String,
    size: u64,
    content_type: Option<String>,
    is_inline: Option<bool>,
    content_id: Option<String>,
}

/// `POST /me/messages/{id}/attachments/createUploadSession`: a file is announced that comes in pieces.
pub(crate) fn begin_upload(desk: &mut Desk<'_>, call: &Call, folder: Option<&str>, id: &str) -> Result<Answer, Answer> {
    only(desk, call, &[])?;
    let SessionWish { item } = read(desk, call)?;
    if item.attachment_type != "file" {
        return Err(refused(desk, "only files are attached in sessions"));
    }
    let description = describe(desk, item.name, item.content_type, item.is_inline, item.content_id)?;
    let draft = draft(desk, folder, id)?;
    let (draft, message) = (draft.key, desk.mailbox.id_of(draft, call.immutable()));
    if item.size < desk.knobs.upload_session_from {
        return Err(Answer::error(
            400,
            "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize",
            "Attachment size should be greater than the minimum size of 3 MB.",
        ));
    }
    let size = usize::try_from(item.size).ok().filter(|_| item.size <= LARGEST_UPLOAD).ok_or_else(|| {
        Answer::error(400, "ErrorMessageSizeExceeded", "The message exceeds the maximum supported size.")
    })?;
    let now = clock::now();
    let life = i64::try_from(desk.knobs.upload_session_seconds).unwrap_or(i64::MAX);
    let token = {
        let mut secrets = desk.inner.upload_secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.make("eyJhbGciOiJSUzI1NiIsImtpZCI6")
    };
    desk.mailbox.attached += 1;
    let session = UploadSession {
        id: desk.mailbox.ids.upload_session(desk.mailbox.attached),
        token,
        draft,
        message,
        user: call.user.clone(),
        account: (call.holder.client.clone(), call.user.clone()),
        description,
        size,
        expires: now.saturating_add(life),
        pieces: Vec::new(),
        received: 0,
    };
    let told = json!({
        "@odata.context": format!("{}/v1.0/$metadata#microsoft.graph.uploadSession", call.base),
        "uploadUrl": session.url(&call.base),
        "expirationDateTime": session.expiration(),
        "nextExpectedRanges": session.expected(),
    });
    let sessions = &mut desk.mailbox.upload_sessions;
    sessions.retain(|_, session| session.expires > now);
    sessions.insert(session.id.clone(), session);
    Ok(Answer::value(201, &told))
}

/// The body of a request, which must be JSON and have no member that isn't known.
fn read<T: DeserializeOwned>(desk: &Desk<'_>, call: &Call) -> Result<T, Answer> {
    if !call.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(refused(desk, "only application/json is taken"));
    }
    serde_json::from_slice(&call.body).map_err(|error| refused(desk, &error.to_string()))
}

/// The refusal of something that the client could have known.
fn refused(desk: &Desk<'_>, why: &str) -> Answer {
    desk.tally.violation(format!("attachments: {why}"));
    unreadable(why)
}

/// What is said of a file, if a header of MIME can say it.
fn describe(
    desk: &Desk<'_>,
    name: String,
    content_type: Option<String>,
    is_inline: Option<bool>,
    content_id: Option<String>,
) -> Result<Description, Answer> {
    let content_type = content_type.unwrap_or_else(|| "application/octet-stream".to_owned());
    let content_id = content_id.map(|id| id.trim_start_matches('<').trim_end_matches('>').to_owned());
    let is_line = |text: &str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if name.is_empty() {
        return Err(refused(desk, "a file has no name"));
    }
    if !content_type.contains('/') || !is_line(&content_type) {
        return Err(refused(desk, "a contentType isn't one"));
    }
    if content_id.as_ref().is_some_and(|id| id.is_empty() || !is_line(id)) {
        return Err(refused(desk, "a contentId isn't one"));
    }
    Ok(Description { name, content_type, is_inline: is_inline.unwrap_or(false), content_id })
}

/// A message to which files can be attached: a draft.
fn draft<'a>(desk: &'a Desk<'_>, folder: Option<&str>, id: &str) -> Result<&'a Message, Answer> {
    let message = find(desk.mailbox, desk.knobs, folder, id)?;
    if message.is_draft { Ok(message) } else { Err(not_a_draft()) }
}

fn not_a_draft() -> Answer {
    Answer::error(400, "ErrorInvalidOperation", "Files can only be attached to drafts.")
}

/// Makes a file part of a message, and returns the attachment's id.
fn attach(mailbox: &mut Mailbox, generator: &Generator, key: u32, attachment: Attachment) -> Result<String, Answer> {
    let source = &mailbox.message(key).ok_or_else(Answer::not_found)?.source;
    let source = source
        .with_attachment(generator, attachment)
        .map_err(|error| Answer::error(500, "ErrorCorruptData", &format!("The item is corrupt: {error}")))?;
    mailbox.change(key, Touched::More, |message| message.source = source).ok_or_else(Answer::not_found)?;
    mailbox.attached += 1;
    Ok(mailbox.ids.attachment(key, mailbox.attached))
}
