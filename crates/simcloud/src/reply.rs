//! Answers, before and while they go over the wire.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// What a handler answers; batches put several of these into one HTTP answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) content: Content,
}

/// The body of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// No body at all.
    Empty,
    /// JSON text.
    Json(String),
    /// An error that becomes JSON once the request's ids are known.
    Error { code: String, message: String },
    /// MIME, sent in chunks without a length.
    Mime(Bytes),
    /// A page for people, or worse.
    Other { kind: &'static str, text: String },
}

impl Answer {
    /// An answer of JSON text.
    pub(crate) fn json(status: u16, text: String) -> Self {
        Self { status, headers: Vec::new(), content: Content::Json(text) }
    }

    /// An answer of a JSON value.
    pub(crate) fn value(status: u16, value: &Value) -> Self {
        Self::json(status, value.to_string())
    }

    /// An answer of a JSON value that says no more of itself than that it is JSON.
    pub(crate) fn plain_json(status: u16, value: &Value) -> Self {
        Self::other(status, "application/json; charset=utf-8", &value.to_string())
    }

    /// An answer without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), content: Content::Empty }
    }

    /// An error in the shape of Graph.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let content = Content::Error { code: code.to_owned(), message: message.to_owned() };
        Self { status, headers: Vec::new(), content }
    }

    /// Something else than JSON.
    pub(crate) fn other(status: u16, kind: &'static str, text: &str) -> Self {
        Self { status, headers: Vec::new(), content: Content::Other { kind, text: text.to_owned() } }
    }

    /// The same with one more header.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// 404 with the words of the service.
    pub(crate) fn not_found() -> Self {
        Self::error(
            404,
            "ErrorItemNotFound",
            "The specified object was not found in the store., The process failed to get the correct properties.",
        )
    }

    /// 429 with the words of the service, without Retry-After.
    pub(crate) fn throttled(limit: &str) -> Self {
        Self::error(429, "ApplicationThrottled", &format!("Application is over its {limit} limit."))
    }
}

/// The JSON of an error, with the ids of the request in it.
pub(crate) fn error_body(code: &str, message: &str, request_id: &str, client_request_id: &str) -> Value {
    let date = crate::clock::format(crate::clock::now());
    json!({"error": {"code": code, "message": message, "innerError": {
        "date": date.trim_end_matches('Z'),
        "request-id": request_id,
        "client-request-id": client_request_id,
    }}})
}

/// Something to be dropped when the last byte has been handed over.
pub(crate) type Guard = Box<dyn std::any::Any + Send>;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As it should.
    Whole,
    /// The connection breaks.
    Broken,
    /// Nothing more comes, and the connection stays.
    Stalled,
}

/// A body on its way out.
pub struct ReplyBody {
    rest: Bytes,
    /// The largest piece handed over at once.
    piece: usize,
    /// The length to announce; nothing for a chunked body.
    announced: Option<u64>,
    end: End,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
    guard: Option<Guard>,
    /// What comes in place of all that, as it happens.
    live: Option<mpsc::Receiver<io::Result<Bytes>>>,
}

impl ReplyBody {
    /// A body with a length, sent in one piece.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        let announced = u64::try_from(bytes.len()).ok();
        Self { rest: bytes, piece: usize::MAX, announced, end: End::Whole, pause: None, guard: None, live: None }
    }

    /// A body without a length, sent in pieces.
    pub(crate) fn chunked(bytes: Bytes) -> Self {
        Self { rest: bytes, piece: 32 * 1024, announced: None, end: End::Whole, pause: None, guard: None, live: None }
    }

    /// A body without a length whose chunks come as they are made.
    pub(crate) fn live(chunks: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self { live: Some(chunks), ..Self::chunked(Bytes::new()) }
    }

    /// Lets the body end early, after `after` bytes.
    pub(crate) fn cut(mut self, after: usize, end: End) -> Self {
        self.rest.truncate(after);
        self.end = end;
        self
    }

    /// Holds something until the body is out.
    pub(crate) fn holding(mut self, guard: Guard) -> Self {
        if !self.rest.is_empty() || self.end == End::Stalled {
            self.guard = Some(guard);
        }
        self
    }

    /// How many bytes will go out.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(chunks) = &mut self.live {
            return chunks.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)));
        }
        if self.rest.is_empty() {
            return match self.end {
                End::Whole => Poll::Ready(None),
                End::Stalled => Poll::Pending,
                End::Broken => {
                    // What was handed over before must get out before the connection breaks.
                    let pause =
                        self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(20))));
                    ready!(pause.as_mut().poll(context));
                    // The client may ask again as soon as it sees that, and the server closes the connection before it drops
                    // this.
                    self.guard = None;
                    Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
                }
            };
        }
        let piece = self.piece.min(self.rest.len());
        let frame = self.rest.split_to(piece);
        if self.rest.is_empty() && self.end == End::Whole {
            // The client may ask again as soon as it has the last byte, so the slot must be free before that.
            self.guard = None;
        }
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.end == End::Whole && self.live.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_slot_is_free_before_the_client_can_know_that_the_answer_is_over() {
        for end in [End::Whole, End::Broken] {
            let slot = Arc::new(());
            let mut body = ReplyBody::chunked(Bytes::from_static(b"half")).cut(2, end).holding(Box::new(slot.clone()));
            assert_eq!(Arc::strong_count(&slot), 2, "{end:?}");
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ha");
            if end == End::Broken {
                assert!(body.frame().await.unwrap().is_err());
            }
            assert_eq!(Arc::strong_count(&slot), 1, "{end:?}");
        }
    }
}
