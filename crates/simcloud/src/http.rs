//! The server: connections, what every request goes through, and how answers go out.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::admin;
use crate::attachments;
use crate::batch::{self, Batch};
use crate::cloud::{Cloud, Inner};
use crate::counters::RequestRecord;
use crate::entra::{BadToken, Holder};
use crate::faults::{Action, BodyKind, RetryAfter, usual_code};
use crate::graph::{self, Call, Route, Visitor};
use crate::knobs::{Knobs, RetryAfterStyle};
use crate::notifications;
use crate::odata::Query;
use crate::reply::{Answer, Content, End, ReplyBody, error_body};
use crate::sign_in;
use crate::throttle::{Account, Refusal, Slot, retry_after};
use crate::webhooks;

/// A connection that can be told to end with a reset.
struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // Closing with data unsent and no time to linger is what makes the kernel send RST.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Serves until the task is aborted; every connection ends with it.
pub(crate) async fn accept(listener: TcpListener, cloud: Cloud) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, peer)) = accepted {
                    connections.spawn(connection(stream, peer, cloud.clone()));
                } else {
                    // Out of file descriptors, most likely; some are given back soon.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, _peer: SocketAddr, cloud: Cloud) {
    // Answers are written whole, and waiting for more would only add the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let wire = TokioIo::new(Wire { stream, reset: Arc::clone(&reset) });
    let service = service_fn(move |request| {
        let (cloud, reset) = (cloud.clone(), Arc::clone(&reset));
        async move { respond(&cloud, &reset, request).await }
    });
    // Whatever ends a connection early is the client's business or an injected fault.
    let _ = hyper::server::conn::http1::Builder::new().timer(TokioTimer::new()).serve_connection(wire, service).await;
}

/// A request's header, taken apart once.
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) path: String,
    pub(crate) query: String,
    headers: Vec<(String, String)>,
    pub(crate) base: String,
}

impl Arrival {
    fn new<B>(request: &Request<B>) -> Self {
        let headers: Vec<(String, String)> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let host = headers.iter().find(|(name, _)| name == "host").map_or("127.0.0.1", |(_, host)| host.as_str());
        Self {
            at: Instant::now(),
            method: request.method().as_str().to_owned(),
            target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            base: format!("http://{host}"),
            headers,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// What becomes of an answer on its way out.
#[derive(Default)]
pub(crate) struct Departure {
    pub(crate) cut: Option<(usize, End)>,
    pub(crate) reset: bool,
    /// What comes in place of the body, as it happens.
    pub(crate) live: Option<mpsc::Receiver<io::Result<Bytes>>>,
}

/// Answers one request. An error is a connection that ends without an answer.
pub(crate) async fn respond<B: RequestBody>(
    cloud: &Cloud,
    reset: &AtomicBool,
    request: Request<B>,
) -> Result<Response<ReplyBody>, io::Error> {
    let arrival = Arrival::new(&request);
    let inner = cloud.inner();
    if arrival.path.starts_with("/admin") {
        let body = collect(request).await?;
        let answer = admin::answer(cloud, &arrival.method, &arrival.path, &Query::parse(&arrival.query), &body);
        let knobs = Knobs { gzip: false, ..(*inner.knobs()).clone() };
        return Ok(render(answer, &knobs, &arrival, None, None).0);
    }
    let knobs = inner.knobs();
    let mut user = String::new();
    let mut items = Vec::new();
    let (kind, outcome) = match arrival.path.get(..5) {
        _ if webhooks::is_here(&arrival.path) => webhooks::request(inner, &knobs, &arrival, request, &mut user).await,
        Some("/v1.0" | "/beta") => graph_request(inner, &knobs, &arrival, request, (&mut user, &mut items)).await,
        _ if attachments::is_upload(&arrival.path) => {
            attachments::upload(inner, &knobs, &arrival, request, &mut user).await
        }
        Some("/api/") => notifications::request(inner, &knobs, &arrival, request, &mut user).await,
        _ => sign_in_request(inner, &knobs, &arrival, request).await,
    };
    let (answer, departure, slot) = outcome?;
    let record = |status, bytes_out: usize| RequestRecord {
        number: 0,
        kind: kind.to_owned(),
        method: arrival.method.clone(),
        target: arrival.target.clone(),
        items: items.clone(),
        status,
        arrived_ms: inner.tally.milliseconds(arrival.at),
        answered_ms: inner.tally.milliseconds(Instant::now()),
        bytes_out: u64::try_from(bytes_out).unwrap_or(u64::MAX),
        user: user.clone(),
        client_request_id: arrival.header("client-request-id").unwrap_or_default().to_owned(),
    };
    if departure.reset {
        reset.store(true, Ordering::Relaxed);
        inner.tally.log(record(0, 0));
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    let status = answer.status;
    let (response, length) = render(answer, &knobs, &arrival, departure.cut, slot);
    inner.tally.log(record(status, length));
    Ok(match departure.live {
        Some(chunks) => response.map(|_| ReplyBody::live(chunks)),
        None => response,
    })
}

/// The body of a request, off the wire or from memory.
pub(crate) trait RequestBody: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send {}

impl<B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send> RequestBody for B {}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) async fn collect<B: RequestBody>(request: Request<B>) -> Result<Bytes, io::Error> {
    request.into_body().collect().await.map(http_body_util::Collected::to_bytes).map_err(io::Error::other)
}

pub(crate) type Outcome = Result<(Answer, Departure, Option<Slot>), io::Error>;

async fn sign_in_request<B: RequestBody>(
    inner: &Arc<Inner>,
    knobs: &Knobs,
    arrival: &Arrival,
    request: Request<B>,
) -> (&'static str, Outcome) {
    let kind = sign_in::kind(&arrival.path);
    inner.tally.request(kind.to_owned());
    let body = match collect(request).await {
        Ok(body) => body,
        Err(error) => return (kind, Err(error)),
    };
    inner.tally.count(|counters| counters.bytes_in += body.len() as u64);
    let action = inner.faults.strike(kind, &arrival.method, &arrival.target, "");
    let act = || {
        sign_in::answer(
            inner,
            knobs,
            &sign_in::SignInRequest {
                method: &arrival.method,
                path: &arrival.path,
                query: &arrival.query,
                origin: arrival.header("origin"),
                authorization: arrival.header("authorization"),
                base: &arrival.base,
                content_type: arrival.header("content-type").unwrap_or_default(),
                body: &body,
            },
        )
    };
    let (answer, departure) = with_fault(inner, None, action, act).await;
    (kind, Ok((answer, departure, None)))
}

async fn graph_request<B: RequestBody>(
    inner: &Arc<Inner>,
    knobs: &Knobs,
    arrival: &Arrival,
    request: Request<B>,
    (user, items): (&mut String, &mut Vec<String>),
) -> (&'static str, Outcome) {
    let path = arrival.path.get(5..).unwrap_or_default();
    let token = arrival.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let holder = token.ok_or(BadToken::Missing).and_then(|token| inner.entra.check(token));
    let (holder, mut refusal) = match holder {
        Ok(holder) => (holder, None),
        Err(why) => (Holder::default(), Some(why.answer(&arrival.base))),
    };
    user.clone_from(&holder.user);
    let visitor = Visitor { user: holder.user, shared: holder.shared, client: holder.client_id };
    // The limits are a mailbox's, whoever asks for it.
    let mut account = (visitor.client.clone(), visitor.mailbox_at(inner, path));
    let route = graph::route(path, &account.1.to_ascii_lowercase());
    let beta = arrival.path.starts_with("/beta");
    let route = if matches!(route, Route::Import { .. }) && !beta { Route::Unknown } else { route };
    if beta && !matches!(route, Route::Import { .. }) {
        inner.tally.violation(format!("{}: the beta version was asked for what v1.0 has", arrival.path));
    }
    let kind = graph::kind(&arrival.method, &route);
    inner.tally.request(kind.to_owned());
    if refusal.is_none() && !holder.mail && !matches!(route, Route::Me) {
        refusal = Some(Answer::error(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."));
    }
    if refusal.is_none() && !(holder.advanced && knobs.advanced_granted) && matches!(route, Route::Import { .. }) {
        refusal = Some(Answer::error(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."));
    }
    if let Some(refusal) = refusal {
        // The body is read all the same, so that the connection can be used again.
        let body = collect(request).await;
        return (kind, body.map(|_| (refusal, Departure::default(), None)));
    }
    let (early, request) = match &route {
        // Only its body says which mailbox a batch is about.
        Route::Batch => match collect(request).await {
            Ok(body) => (Some(body), None),
            Err(error) => return (kind, Err(error)),
        },
        _ => (None, Some(request)),
    };
    let batch = early.as_ref().map(|body| Batch::read(body));
    if let Some(Ok(batch)) = &batch {
        account.1 = batch.mailbox(inner, &visitor);
    }
    let body = async || match (early, request) {
        (Some(body), _) => Ok(body),
        (None, Some(request)) => collect(request).await,
        (None, None) => Ok(Bytes::new()),
    };
    // Of a batch each item counts, and the envelope doesn't (JSON batching documentation).
    let counts = u64::from(!matches!(batch, Some(Ok(_))));
    let mut slot = match inner.throttle.enter(&account, counts, knobs) {
        Ok((slot, highest)) => {
            inner.tally.count(|counters| counters.highest_concurrency = counters.highest_concurrency.max(highest));
            slot
        }
        Err(refusal) => {
            let answer = refuse(inner, knobs, &account, refusal);
            return (kind, body().await.map(|_| (answer, Departure::default(), None)));
        }
    };
    let body = match body().await {
        Ok(body) => body,
        Err(error) => return (kind, Err(error)),
    };
    inner.tally.count(|counters| counters.bytes_in += body.len() as u64);
    if let Err(refusal) = inner.throttle.upload(&account, body.len(), knobs) {
        let answer = refuse(inner, knobs, &account, refusal);
        return (kind, Ok((answer, Departure::default(), None)));
    }
    let action = inner.faults.strike(kind, &arrival.method, &arrival.target, user);
    let call = Call {
        method: arrival.method.clone(),
        route,
        query: Query::parse(&arrival.query),
        headers: arrival.headers.clone(),
        body,
        base: arrival.base.clone(),
        holder: visitor,
        user: account.1.clone(),
    };
    if let Some(Ok(batch)) = &batch {
        *items = batch.addresses();
        let highest = inner.throttle.widen(&mut slot, batch.chains().min(4), knobs);
        inner.tally.count(|counters| counters.highest_concurrency = counters.highest_concurrency.max(highest));
    }
    let latency = Duration::from_millis(knobs.latency_ms);
    if !latency.is_zero() {
        tokio::time::sleep_until(arrival.at + latency / 2).await;
    }
    let act = || match batch {
        Some(Ok(batch)) => batch::run(inner, knobs, &call, &account, &slot, &batch),
        Some(Err(refusal)) => refusal,
        None => graph::answer(inner, knobs, &call),
    };
    let (answer, departure) = with_fault(inner, Some(&account), action, act).await;
    if !latency.is_zero() {
        tokio::time::sleep_until(arrival.at + latency).await;
    }
    (kind, Ok((answer, departure, Some(slot))))
}

/// 429 for something that the client did.
pub(crate) fn refuse(inner: &Inner, knobs: &Knobs, account: &Account, refusal: Refusal) -> Answer {
    inner.tally.violation(refusal.sentence);
    inner.tally.count(|counters| counters.throttled_by_client += 1);
    let (answer, pause) = retry_after(Answer::throttled(refusal.limit), refusal.seconds, knobs.retry_after_style);
    if let Some(pause) = pause {
        inner.throttle.pause(account, pause);
    }
    answer
}

/// Adds an injected Retry-After, and says how long the client is asked to pause.
pub(crate) fn with_retry_after(answer: Answer, after: Option<RetryAfter>) -> (Answer, Option<Duration>) {
    match after {
        None => (answer, None),
        Some(RetryAfter::Seconds(seconds)) => retry_after(answer, seconds, RetryAfterStyle::Seconds),
        Some(RetryAfter::Date(seconds)) => retry_after(answer, seconds, RetryAfterStyle::Date),
    }
}

const PAGE: &str =
    "<!DOCTYPE html><html><head><title>Service unavailable</title></head><body><h1>Sorry</h1></body></html>";

/// Lets a request be answered, as far as the fault allows it.
pub(crate) async fn with_fault(
    inner: &Inner,
    account: Option<&Account>,
    action: Option<Action>,
    act: impl FnOnce() -> Answer,
) -> (Answer, Departure) {
    let Some(action) = action else { return (act(), Departure::default()) };
    inner.tally.count(|counters| counters.faults_injected += 1);
    let reset = Departure { reset: true, ..Departure::default() };
    match action {
        Action::Status { status, body, code, message, retry_after: after } => {
            let (usual, words) = usual_code(status);
            let code = if code.is_empty() { usual } else { &code };
            let message = if message.is_empty() { words } else { &message };
            let answer = match body {
                BodyKind::Json => Answer::error(status, code, message),
                BodyKind::Empty => Answer::empty(status),
                BodyKind::Html => Answer::other(status, "text/html", PAGE),
                BodyKind::Garbage => Answer::other(status, "application/json", "{\"error\":{\"co\u{0}\u{1}"),
                BodyKind::Unknown => Answer::error(status, "UnknownError", ""),
            };
            if status == 429 {
                inner.tally.count(|counters| counters.throttled_injected += 1);
            }
            let (answer, pause) = with_retry_after(answer, after);
            if let (Some(account), Some(pause)) = (account, pause) {
                inner.throttle.pause(account, pause);
            }
            (answer, Departure::default())
        }
        Action::ResetBefore => (Answer::empty(500), reset),
        Action::ResetAfter => {
            act();
            (Answer::empty(500), reset)
        }
        Action::StatusAfter { status } => {
            act();
            let (code, message) = usual_code(status);
            (Answer::error(status, code, message), Departure::default())
        }
        Action::Hang => std::future::pending().await,
        Action::HangAfter => {
            act();
            std::future::pending().await
        }
        Action::Truncate { after } => (act(), Departure { cut: Some((after, End::Broken)), ..Departure::default() }),
        Action::Stall { after } => (act(), Departure { cut: Some((after, End::Stalled)), ..Departure::default() }),
        Action::Garbage => (Answer::other(200, "application/json", "\u{1}\u{2}not json at all"), Departure::default()),
        Action::Html => (Answer::other(200, "text/html", PAGE), Departure::default()),
        Action::ErrorInOk { code } => {
            let answer = Answer { status: 200, ..Answer::error(500, &code, "Error while processing response.") };
            (answer, Departure::default())
        }
        Action::Delay { milliseconds } => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            (act(), Departure::default())
        }
        Action::DelayAfter { milliseconds } => {
            let answer = act();
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            (answer, Departure::default())
        }
    }
}

/// Turns an answer into what goes over the wire, and says how long its body is.
fn render(
    answer: Answer,
    knobs: &Knobs,
    arrival: &Arrival,
    cut: Option<(usize, End)>,
    slot: Option<Slot>,
) -> (Response<ReplyBody>, usize) {
    let request_id = crate::ids::guid_text(rand::random());
    let client_id = arrival.header("client-request-id").unwrap_or(&request_id).to_owned();
    let gzip = knobs.gzip && arrival.header("accept-encoding").is_some_and(|list| list.contains("gzip"));
    let (kind, bytes, chunked) = match answer.content {
        Content::Empty => ("", Bytes::new(), false),
        Content::Json(text) => (
            "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8",
            text.into(),
            false,
        ),
        Content::Error { code, message } => {
            ("application/json", error_body(&code, &message, &request_id, &client_id).to_string().into(), false)
        }
        Content::Mime(bytes) => ("text/plain", bytes, true),
        Content::Other { kind, text } => (kind, text.into(), false),
    };
    let gzip = gzip && bytes.len() > 500;
    let bytes = if gzip { compress(&bytes) } else { bytes };
    let mut body = if chunked { ReplyBody::chunked(bytes) } else { ReplyBody::whole(bytes) };
    if let Some((after, end)) = cut {
        body = body.cut(after, end);
    }
    if let Some(slot) = slot {
        body = if chunked || cut.is_some() { body.holding(Box::new(slot)) } else { body };
    }
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(answer.status).unwrap_or_default();
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap_or(hyper::header::WARNING), value);
        }
    };
    if !kind.is_empty() {
        set("content-type", kind);
    }
    if gzip {
        set("content-encoding", "gzip");
    }
    set("request-id", &request_id);
    set("client-request-id", &client_id);
    if knobs.clock_offset_seconds != 0 {
        set("date", &shifted_date(knobs.clock_offset_seconds));
    }
    for (name, value) in &answer.headers {
        // Some headers come several times.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    (response, length)
}

/// The date that a clock shows which is so many seconds ahead.
fn shifted_date(offset_seconds: i64) -> String {
    let offset = Duration::from_secs(offset_seconds.unsigned_abs());
    let now = SystemTime::now();
    let shown = if offset_seconds < 0 { now.checked_sub(offset) } else { now.checked_add(offset) };
    httpdate::fmt_http_date(shown.unwrap_or(now))
}

fn compress(bytes: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 2), flate2::Compression::fast());
    // Writing into memory can't fail; were it to, the bytes would go out as they are, marked wrongly.
    match encoder.write_all(bytes).and_then(|()| encoder.finish()) {
        Ok(packed) => packed.into(),
        Err(_) => Bytes::copy_from_slice(bytes),
    }
}
