use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde_json::{Value, json};
use simcloud::{Action, Deletion, Fault, Knobs, NewMessage, Options};

use crate::attachments::{draft, value};
use crate::client::{Answer, Fixture};

const SIZE: usize = 5_000_000;
const FIRST: usize = 4 * 1024 * 1024;

/// A file in which no two places look alike.
fn content(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

async fn announce(it: &Fixture, id: &str, item: &Value) -> Answer {
    it.post(&format!("/me/messages/{id}/attachments/createUploadSession"), &json!({"AttachmentItem": item})).await
}

/// The address of a new session for a file of this size.
async fn session(it: &Fixture, id: &str, size: usize) -> String {
    let answer = announce(it, id, &json!({"attachmentType": "file", "name": "big", "size": size})).await;
    assert_eq!(answer.status, 201);
    answer.json()["uploadUrl"].as_str().unwrap().to_owned()
}

fn put(it: &Fixture, url: &str, range: &str, bytes: &[u8]) -> reqwest::RequestBuilder {
    let request = it.http.put(url).header("Content-Type", "application/octet-stream");
    request.header("Content-Range", format!("bytes {range}")).body(bytes.to_vec())
}

async fn send_range(it: &Fixture, url: &str, whole: &[u8], start: usize, end: usize) -> Answer {
    it.send(put(it, url, &format!("{start}-{}/{}", end - 1, whole.len()), &whole[start..end])).await
}

async fn ask(it: &Fixture, method: &str, url: &str) -> Answer {
    it.send(it.http.request(method.parse().unwrap(), url)).await
}

#[tokio::test]
async fn a_large_file_comes_in_ranges() {
    let it = Fixture::calm(0).await;
    let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
    let before = it.get(&format!("/me/messages/{id}")).await.json();
    let item = json!({
        "attachmentType": "file", "name": "big.bin", "size": SIZE, "contentType": "application/x-big", "isInline": true,
        "contentId": "c@d",
    });
    let answer = announce(&it, &id, &item).await;
    let told = answer.json();
    assert_eq!((answer.status, &told["nextExpectedRanges"]), (201, &json!(["0-"])));
    assert!(told["@odata.context"].as_str().unwrap().ends_with("/v1.0/$metadata#microsoft.graph.uploadSession"));
    assert!(told["expirationDateTime"].as_str().unwrap().ends_with(".0000000Z"), "{told}");
    let url = told["uploadUrl"].as_str().unwrap();
    let message = format!("{}/api/v2.0/Users('user@domain.com')/Messages('{id}')", it.server.url());
    assert!(url.starts_with(&format!("{message}/AttachmentSessions('")) && url.contains("')?authtoken="), "{url}");
    assert!(it.cloud.secrets().contains(&url.split_once("authtoken=").unwrap().1.to_owned()));
    let whole = content(SIZE);
    let answer = send_range(&it, url, &whole, 0, FIRST).await;
    let middle = answer.json();
    assert_eq!((answer.status, &middle["nextExpectedRanges"]), (200, &json!([FIRST.to_string()])));
    assert_eq!(middle["ExpirationDateTime"], told["expirationDateTime"]);
    assert_eq!(
        middle["@odata.context"],
        format!(
            "{}/api/v2.0/$metadata#Users('user%40domain.com')/Messages('{id}')/AttachmentSessions/$entity",
            it.server.url()
        )
    );
    assert_eq!(value(&it, &id).await, "Subject: s\r\n\r\nhi\r\n", "half a file is none");
    assert_eq!(ask(&it, "GET", url).await.json(), middle);
    let last = send_range(&it, url, &whole, FIRST, SIZE).await;
    assert_eq!((last.status, last.bytes.len(), last.header("content-length")), (201, 0, "0"));
    assert!(
        last.header("location").starts_with(&format!("{message}/Attachments('AAMk")),
        "{}",
        last.header("location")
    );
    let mime = value(&it, &id).await;
    for field in [
        "Content-Type: application/x-big;\r\n\tname=\"big.bin\"\r\n",
        "Content-Disposition: inline;\r\n\tfilename=\"big.bin\"\r\n",
        "Content-ID: <c@d>\r\n",
    ] {
        assert!(mime.contains(field), "{field}");
    }
    let part = mime.rsplit("base64\r\n\r\n").next().unwrap().split("--").next().unwrap();
    assert!(STANDARD.decode(part.replace("\r\n", "")).unwrap() == whole);
    assert_eq!(it.cloud.message("", &id).unwrap().size, mime.len());
    assert_ne!(it.get(&format!("/me/messages/{id}")).await.json()["changeKey"], before["changeKey"]);
    assert_eq!(ask(&it, "GET", url).await.code(), "ErrorItemNotFound");
    let counters = it.cloud.counters();
    assert_eq!((counters.requests["upload-session"], counters.requests["upload-range"]), (3, 2));
    assert_eq!(counters.violation_count, 0);
}

#[tokio::test]
async fn what_cant_be_announced_is_refused() {
    let it = Fixture::calm(0).await;
    let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
    let item = |name: &str, value: Value| {
        let mut item = json!({"attachmentType": "file", "name": "big", "size": SIZE});
        item[name] = value;
        item
    };
    for (size, code) in [
        (2_999_999, "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize"),
        (150 * 1024 * 1024 + 1, "ErrorMessageSizeExceeded"),
    ] {
        let answer = announce(&it, &id, &item("size", json!(size))).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code));
    }
    for size in [3_000_000, 150 * 1024 * 1024] {
        assert_eq!(announce(&it, &id, &item("size", json!(size))).await.status, 201);
    }
    assert_eq!(it.cloud.counters().violation_count, 0);
    for item in [
        item("attachmentType", json!("item")),
        item("contentBytes", json!("")),
        item("size", Value::Null),
        item("size", json!(-1)),
        item("name", Value::Null),
        item("contentId", json!("a\r\nb")),
    ] {
        let answer = announce(&it, &id, &item).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "UnableToDeserializePostBody"), "{item}");
    }
    assert_eq!(it.cloud.counters().violation_count, 6);
    let received = it.cloud.add_message("", NewMessage::mime("inbox", "Subject: x\n\n")).unwrap();
    assert_eq!(announce(&it, &received, &item("name", json!("n"))).await.code(), "ErrorInvalidOperation");
    let path = format!("/me/mailFolders/inbox/messages/{id}/attachments/createUploadSession");
    assert_eq!(it.post(&path, &json!({"AttachmentItem": item("name", json!("n"))})).await.code(), "ErrorItemNotFound");
    let path = format!("/users/user@domain.com/mailFolders/drafts/messages/{id}/attachments/createUploadSession");
    assert_eq!(it.post(&path, &json!({"AttachmentItem": item("name", json!("n"))})).await.status, 201);
}

#[tokio::test]
async fn ranges_come_in_order() {
    let it = Fixture::calm(0).await;
    let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
    let (whole, url) = (content(SIZE), session(&it, &id, SIZE).await);
    let violations = || it.cloud.counters().violation_count;
    let gap = send_range(&it, &url, &whole, 10, 20).await;
    assert_eq!((gap.status, gap.code().as_str(), violations()), (416, "InvalidRange", 1));
    assert_eq!(send_range(&it, &url, &whole, 0, 1000).await.status, 200);
    for (start, end) in [(0, 1000), (999, 2000)] {
        let repeated = send_range(&it, &url, &whole, start, end).await;
        assert_eq!((repeated.status, repeated.code().as_str(), violations()), (416, "InvalidRange", 1));
    }
    assert_eq!(ask(&it, "GET", &url).await.json()["nextExpectedRanges"], json!(["1000"]));
    for (range, bytes) in [("1000-1999/4999999", 1000), ("1000-1999/5000000", 999), ("1000-1999/5000000", 1001)] {
        let before = violations();
        let answer = it.send(put(&it, &url, range, &whole[1000..1000 + bytes])).await;
        assert_eq!((answer.status, answer.code().as_str(), violations()), (416, "InvalidRange", before + 1), "{range}");
    }
    let large = send_range(&it, &url, &whole, 1000, 1000 + FIRST + 1).await;
    assert_eq!((large.status, large.code().as_str()), (413, "RequestEntityTooLarge"));
    assert_eq!(send_range(&it, &url, &whole, 1000, 1000 + FIRST).await.status, 200);
    assert_eq!(send_range(&it, &url, &whole, 1000 + FIRST, SIZE).await.status, 201);
    let mime = value(&it, &id).await;
    let part = mime.rsplit("base64\r\n\r\n").next().unwrap().split("--").next().unwrap();
    assert!(STANDARD.decode(part.replace("\r\n", "")).unwrap() == whole);
}

#[tokio::test]
async fn a_range_needs_its_headers_and_no_other_token() {
    let it = Fixture::calm(0).await;
    let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
    let (whole, url) = (content(SIZE), session(&it, &id, SIZE).await);
    let good = || put(&it, &url, "0-99/5000000", &whole[..100]);
    let typed = |kind: &str| it.http.put(&url).header("Content-Type", kind);
    let chunked = reqwest::Body::wrap(Unmeasured(Some(Bytes::copy_from_slice(&whole[..100]))));
    for (request, status) in [
        (good().bearer_auth(&it.token), 401),
        (typed("text/plain").header("Content-Range", "bytes 0-99/5000000").body(whole[..100].to_vec()), 400),
        (typed("application/octet-stream").body(whole[..100].to_vec()), 400),
        (put(&it, &url, "0-99/*", &whole[..100]), 400),
        (typed("application/octet-stream").header("Content-Range", "bytes 0-99/5000000").body(chunked), 411),
    ] {
        let before = it.cloud.counters().violation_count;
        assert_eq!(it.send(request).await.status, status);
        assert_eq!(it.cloud.counters().violation_count, before + 1, "{status}");
    }
    let before = it.cloud.counters().violation_count;
    for other in [url.replace("authtoken=", "authtoken=x"), url.split('?').next().unwrap().to_owned()] {
        let answer = it.send(put(&it, &other, "0-99/5000000", &whole[..100])).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "InvalidAuthenticationToken"));
    }
    let other = session(&it, &draft(&it, "Subject: t\r\n\r\n").await, SIZE).await;
    for other in [
        url.replace("AttachmentSessions('", "AttachmentSessions('x"),
        url.replace("user@domain.com", "nobody@domain.com"),
        url.replace(url.split('\'').nth(3).unwrap(), other.split('\'').nth(3).unwrap()),
    ] {
        let answer = it.send(put(&it, &other, "0-99/5000000", &whole[..100])).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "ErrorItemNotFound"), "{other}");
    }
    assert_eq!(ask(&it, "POST", &url).await.status, 405);
    assert_eq!(ask(&it, "GET", &url).await.json()["nextExpectedRanges"], json!(["0-"]));
    assert_eq!(it.send(good()).await.status, 200);
    assert_eq!(it.cloud.counters().violation_count, before);
}

/// A body that comes without saying how long it is.
struct Unmeasured(Option<Bytes>);

impl Body for Unmeasured {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test]
async fn sessions_end() {
    let it = Fixture::calm(0).await;
    let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
    let whole = content(SIZE);
    let cancelled = session(&it, &id, SIZE).await;
    assert_eq!(send_range(&it, &cancelled, &whole, 0, FIRST).await.status, 200);
    let answer = ask(&it, "DELETE", &cancelled).await;
    assert_eq!((answer.status, answer.bytes.len()), (204, 0));
    assert_eq!(send_range(&it, &cancelled, &whole, FIRST, SIZE).await.code(), "ErrorItemNotFound");
    let (kept, gone) = (draft(&it, "Subject: k\r\n\r\n").await, session(&it, &id, SIZE).await);
    let other = session(&it, &kept, SIZE).await;
    let delete = it.request("DELETE", &format!("/me/messages/{id}"));
    assert_eq!(it.send(delete).await.status, 204);
    for method in ["GET", "DELETE"] {
        assert_eq!(ask(&it, method, &gone).await.code(), "ErrorItemNotFound", "it goes with its draft");
    }
    assert_eq!(ask(&it, "GET", &other).await.status, 200);
    it.cloud.turn(|knobs| knobs.upload_session_seconds = 0);
    let late = session(&it, &kept, SIZE).await;
    assert_eq!(send_range(&it, &late, &whole, 0, 100).await.code(), "ErrorItemNotFound");
    assert_eq!(ask(&it, "GET", &other).await.status, 200, "it has its own time");
}

#[tokio::test]
async fn the_last_range_asks_for_its_draft() {
    let it = Fixture::calm(0).await;
    let whole = content(SIZE);
    for (how, code) in [
        (Some(Deletion::Purge), "ErrorItemNotFound"),
        (Some(Deletion::Soft), "ErrorItemNotFound"),
        (None, "ErrorInvalidOperation"),
    ] {
        let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
        let url = session(&it, &id, SIZE).await;
        match how {
            Some(how) => it.cloud.delete_message("", &id, how).unwrap(),
            None => it.cloud.send_draft("", &id).unwrap(),
        }
        assert_eq!(send_range(&it, &url, &whole, 0, FIRST).await.status, 200);
        assert_eq!(send_range(&it, &url, &whole, FIRST, SIZE).await.code(), code);
        assert_eq!(ask(&it, "GET", &url).await.status, 404);
    }
    let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
    let url = session(&it, &id, SIZE).await;
    it.cloud.move_message("", &id, "Inbox").unwrap();
    assert_eq!(send_range(&it, &url, &whole, 0, FIRST).await.status, 200);
    assert_eq!(send_range(&it, &url, &whole, FIRST, SIZE).await.status, 201, "a draft is one wherever it lies");
}

#[tokio::test]
async fn faults_strike_ranges() {
    let it = Fixture::calm(0).await;
    let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
    let (whole, url) = (content(SIZE), session(&it, &id, SIZE).await);
    it.cloud.inject(Fault { user: "user@domain.com".to_owned(), ..Fault::once("upload-range", Action::ResetBefore) });
    let first = || put(&it, &url, &format!("0-{}/{SIZE}", FIRST - 1), &whole[..FIRST]).send();
    assert!(first().await.is_err());
    it.cloud.inject(Fault::once("upload-range", Action::ResetAfter));
    assert!(first().await.is_err());
    assert_eq!(first().await.unwrap().status(), 416);
    it.cloud.inject(Fault::once("upload-session", Action::status(503)));
    assert_eq!(ask(&it, "GET", &url).await.status, 503);
    assert_eq!(ask(&it, "GET", &url).await.json()["nextExpectedRanges"], json!([FIRST.to_string()]));
    it.cloud.inject(Fault::once("upload-range", Action::StatusAfter { status: 504 }));
    assert_eq!(send_range(&it, &url, &whole, FIRST, SIZE).await.status, 504);
    assert_eq!(send_range(&it, &url, &whole, FIRST, SIZE).await.status, 404);
    assert!(value(&it, &id).await.contains("filename=\"big\""));
    assert_eq!(it.cloud.counters().violation_count, 0);
}

#[tokio::test]
async fn ranges_count_for_uploads_and_for_nothing_else() {
    let it = Fixture::calm(0).await;
    let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
    let (whole, url) = (content(SIZE), session(&it, &id, SIZE).await);
    it.cloud.reset_counters();
    it.cloud.turn(|knobs| {
        knobs.window_requests = 1;
        knobs.concurrency_limit = 0;
        knobs.retry_after_grace_ms = 0;
        knobs.upload_bytes = 3000;
    });
    for at in 0..3 {
        assert_eq!(send_range(&it, &url, &whole, at * 1000, at * 1000 + 1000).await.status, 200);
    }
    assert_eq!((it.cloud.counters().highest_concurrency, it.cloud.counters().violation_count), (0, 0));
    let full = send_range(&it, &url, &whole, 3000, 3001).await;
    assert_eq!(
        (full.status, full.code().as_str(), full.header("retry-after").is_empty()),
        (429, "ApplicationThrottled", false)
    );
    it.cloud.turn(|knobs| {
        knobs.upload_bytes = 1_000_000;
        knobs.window_requests = 1000;
        knobs.concurrency_limit = 4;
    });
    let early = send_range(&it, &url, &whole, 3000, 3001).await;
    assert_eq!((early.status, it.cloud.counters().violation_count), (429, 2), "the pause isn't over");
    assert_eq!(it.get("/me").await.status, 200, "another host, another pause");
    it.cloud.reset_counters();
    it.cloud.inject(Fault::once("me", Action::throttled(30)));
    assert_eq!(it.get("/me").await.status, 429);
    assert_eq!(send_range(&it, &url, &whole, 3000, 3001).await.status, 200);
    assert_eq!(it.cloud.counters().violation_count, 0);
}

#[tokio::test]
async fn ranges_take_their_time() {
    let it = Fixture::new(Options { knobs: Knobs { latency_ms: 50, ..Knobs::calm() }, ..Options::default() }).await;
    let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
    let (whole, url) = (content(SIZE), session(&it, &id, SIZE).await);
    assert_eq!(send_range(&it, &url, &whole, 0, 100).await.status, 200);
    let record = it.cloud.requests(0).into_iter().find(|one| one.kind == "upload-range").unwrap();
    assert!(record.answered_ms - record.arrived_ms >= 50.0 && record.user == "user@domain.com", "{record:?}");
}

#[tokio::test]
async fn the_largest_file_is_no_burden() {
    let it = Fixture::calm(0).await;
    let id = draft(&it, "Subject: s\r\n\r\nhi\r\n").await;
    let size = 150 * 1024 * 1024;
    let url = session(&it, &id, size).await;
    it.cloud.turn(|knobs| knobs.upload_bytes *= 2);
    let piece = Bytes::from(content(FIRST));
    for start in (0..size).step_by(FIRST) {
        let end = (start + FIRST).min(size);
        let request = it.http.put(&url).header("Content-Type", "application/octet-stream");
        let request = request.header("Content-Range", format!("bytes {start}-{}/{size}", end - 1));
        let answer = it.send(request.body(piece.slice(..end - start))).await;
        assert_eq!(answer.status, if end == size { 201 } else { 200 });
    }
    assert_eq!(it.get(&format!("/me/messages/{id}")).await.json()["hasAttachments"], true);
    let mime = it.get(&format!("/me/messages/{id}/$value")).await.bytes;
    assert!(mime.len() > size / 3 * 4 && mime.ends_with(b"_--\r\n"));
}
