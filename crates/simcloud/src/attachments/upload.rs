//! Where the ranges of large files go: an address of its own, on another host than Graph's, that needs no token but the one
//! in it.
//!
//! Whether such requests count for Graph's limits isn't documented. Here only their bytes do, for the 150 MB within five
//! minutes: they are no Graph requests in the window of ten minutes and take no place among those in flight, and a pause
//! that one side asks for isn't asked for by the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use serde_json::json;

use super::session::{Misfit, Range};
use super::{UploadSession, attach, not_a_draft};
use crate::clock;
use crate::cloud::{Inner, lock};
use crate::faults::usual_code;
use crate::graph::mode_refusal;
use crate::http::{Arrival, Departure, Outcome, RequestBody, collect, refuse, with_fault};
use crate::knobs::Knobs;
use crate::odata::{self, Query};
use crate::reply::Answer;
use crate::throttle::Account;
use crate::well_known;

/// Where the interface is, in lower case.
const PATH: &str = "/api/v2.0/users(";

/// Whether a path is one of these.
pub(crate) fn is_here(path: &str) -> bool {
    path.get(..PATH.len()).is_some_and(|start| start.eq_ignore_ascii_case(PATH))
}

/// What an address names.
struct Address {
    user: String,
    message: String,
    session: String,
}

impl Address {
    fn read(path: &str) -> Option<Self> {
        let segments: [String; 8] = odata::segments(path).try_into().ok()?;
        let [_, _, users, user, messages, message, sessions, session] = segments;
        let is_whole =
            (users.as_str(), messages.as_str(), sessions.as_str()) == ("users", "messages", "attachmentsessions");
        is_whole.then_some(Self { user, message, session })
    }

    fn is_of(&self, session: &UploadSession) -> bool {
        session.message == self.message
    }
}

struct Call<'a> {
    inner: &'a Inner,
    arrival: &'a Arrival,
    address: Option<&'a Address>,
    /// How many bytes the header says there are.
    length: Option<u64>,
    body: Bytes,
}

/// Answers a request to the address of a session.
pub(crate) async fn request<B: RequestBody>(
    inner: &Arc<Inner>,
    knobs: &Knobs,
    arrival: &Arrival,
    request: Request<B>,
    user: &mut String,
) -> (&'static str, Outcome) {
    let kind = if arrival.method == "PUT" { "upload-range" } else { "upload-session" };
    inner.tally.request(kind.to_owned());
    // Without a network in between, nobody writes a Content-Length, and the body knows.
    let length = request.body().size_hint().exact();
    let body = match collect(request).await {
        Ok(body) => body,
        Err(error) => return (kind, Err(error)),
    };
    inner.tally.count(|counters| counters.bytes_in += body.len() as u64);
    let address = Address::read(&arrival.path);
    let account = address.as_ref().and_then(|address| account(inner, address));
    let pauses = account.as_ref().map(|(client, user)| (format!("{client} at the upload host"), user.clone()));
    if let (Some(account), Some(pauses)) = (&account, &pauses) {
        user.clone_from(&account.1);
        let kept = inner.throttle.keep_pause(pauses, knobs);
        if let Err(refusal) = kept.and_then(|()| inner.throttle.upload(account, body.len(), knobs)) {
            return (kind, Ok((refuse(inner, knobs, pauses, refusal), Departure::default(), None)));
        }
    }
    let action = inner.faults.strike(kind, &arrival.method, &arrival.target, user);
    let latency = Duration::from_millis(knobs.latency_ms);
    if !latency.is_zero() {
        tokio::time::sleep_until(arrival.at + latency / 2).await;
    }
    let act = || {
        let call = Call { inner, arrival, address: address.as_ref(), length, body };
        call.answer().unwrap_or_else(|refusal| refusal)
    };
    let (answer, departure) = with_fault(inner, pauses.as_ref(), action, act).await;
    if !latency.is_zero() {
        tokio::time::sleep_until(arrival.at + latency).await;
    }
    (kind, Ok((answer, departure, None)))
}

/// What the bytes of a session count for.
fn account(inner: &Inner, address: &Address) -> Option<Account> {
    let mailbox = lock(inner.mailbox(&address.user)?);
    mailbox.upload_sessions.get(&address.session).map(|session| session.account.clone())
}

impl Call<'_> {
    fn answer(self) -> Result<Answer, Answer> {
        if self.arrival.header("authorization").is_some() {
            self.inner.tally.violation("upload: an Authorization header came to an address that has its token in it");
            return Err(unauthorized());
        }
        let address = self.address.ok_or_else(Answer::not_found)?;
        let mut mailbox = lock(self.inner.mailbox(&address.user).ok_or_else(Answer::not_found)?);
        if let Some(refusal) = mode_refusal(mailbox.mode, false) {
            return Err(refusal);
        }
        mailbox.upload_sessions.retain(|_, session| session.expires > clock::now());
        let found = mailbox.upload_sessions.get_mut(&address.session).filter(|session| address.is_of(session));
        let session = found.ok_or_else(Answer::not_found)?;
        if Query::parse(&self.arrival.query).get("authtoken") != Some(&session.token) {
            return Err(unauthorized());
        }
        match self.arrival.method.as_str() {
            "PUT" => {
                if !self.take(session)? {
                    return Ok(self.told(session));
                }
            }
            "GET" => return Ok(self.told(session)),
            "DELETE" => {
                mailbox.upload_sessions.remove(&address.session);
                return Ok(Answer::empty(204));
            }
            _ => return Err(Answer::error(405, "Request_BadRequest", "The method isn't allowed here.")),
        }
        let session = mailbox.upload_sessions.remove(&address.session).ok_or_else(Answer::not_found)?;
        let key = session.draft;
        let draft = mailbox.message(key).filter(|message| message.folder != well_known::RECOVERABLE);
        if !draft.ok_or_else(Answer::not_found)?.is_draft {
            return Err(not_a_draft());
        }
        let message = session.message_url(&self.arrival.base);
        let id = attach(&mut mailbox, &self.inner.generator, key, session.into_attachment())?;
        Ok(Answer::empty(201).with("Location", format!("{message}/Attachments('{id}')")))
    }

    /// Takes a range, and says whether the file is complete.
    fn take(&self, session: &mut UploadSession) -> Result<bool, Answer> {
        let kind = self.arrival.header("content-type");
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/octet-stream")) {
            return Err(self.bad(400, "BadRequest", "The Content-Type must be application/octet-stream."));
        }
        if self.length.is_none() {
            return Err(self.bad(411, "LengthRequired", "The Content-Length is missing."));
        }
        let range = self.arrival.header("content-range").and_then(Range::read);
        let range =
            range.ok_or_else(|| self.bad(400, "BadRequest", "The Content-Range isn't bytes START-END/TOTAL."))?;
        session.take(range, self.body.clone()).map_err(|misfit| match misfit {
            Misfit::TooLarge => {
                let (code, message) = usual_code(413);
                Answer::error(413, code, message)
            }
            Misfit::Total => self.unfit("The total isn't the size that was announced."),
            Misfit::Length => self.unfit("The range isn't as long as the body."),
            Misfit::Gap => self.unfit("Bytes before the range are missing."),
            // A client whose answer was lost can't know.
            Misfit::Repeated => invalid_range("The bytes were received already."),
        })
    }

    /// A range that a client could know to be wrong.
    fn unfit(&self, message: &str) -> Answer {
        self.inner.tally.violation(format!("upload: {message}"));
        invalid_range(message)
    }

    fn bad(&self, status: u16, code: &str, message: &str) -> Answer {
        self.inner.tally.violation(format!("upload: {message}"));
        Answer::error(status, code, message)
    }

    /// The session as it stands, with the capital letter that the documents' example has.
    fn told(&self, session: &UploadSession) -> Answer {
        let context = session.message_url("").replace('@', "%40").replace('=', "%3D");
        let context = context.replace("/api/v2.0/", "/api/v2.0/$metadata#");
        Answer::value(
            200,
            &json!({
                "@odata.context": format!("{}{context}/AttachmentSessions/$entity", self.arrival.base),
                "ExpirationDateTime": session.expiration(),
                "nextExpectedRanges": session.expected(),
            }),
        )
    }
}

/// 416 with a code of our own: the documents name none.
fn invalid_range(message: &str) -> Answer {
    Answer::error(416, "InvalidRange", message)
}

fn unauthorized() -> Answer {
    let (code, message) = usual_code(401);
    Answer::error(401, code, message)
}
