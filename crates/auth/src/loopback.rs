//! The loopback address to which the browser returns (RFC 8252, section 7.3).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, REFERRER_POLICY,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::AuthError;
use crate::page::page;

/// Browsers open connections on suspicion; one that says nothing is closed after this.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the browser may take to receive the last page.
const LAST_PAGE: Duration = Duration::from_secs(2);

/// A bound address on which nobody has been answered yet.
pub(crate) struct Loopback {
    listener: TcpListener,
    address: SocketAddr,
}

/// The browser, waiting for its page.
pub(crate) struct Arrival {
    /// The query that the sign-in service gave the browser.
    pub(crate) query: String,
    page: oneshot::Sender<Page>,
    sent: Arc<Notify>,
}

struct Page {
    status: StatusCode,
    html: String,
}

/// The answers of a browser, one at a time.
pub(crate) struct Arrivals {
    arrivals: mpsc::Receiver<Arrival>,
    // Dropping it ends the listener and all connections.
    _server: JoinSet<()>,
}

impl Loopback {
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, AuthError> {
        if !address.ip().is_loopback() {
            return Err(AuthError::Configuration(format!("{address} is not an address of this machine alone")));
        }
        let listen = |source: std::io::Error| AuthError::Listen { address, source: Arc::new(source) };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self { listener, address })
    }

    /// The address with its real port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests for `path`; everything else isn't there.
    pub(crate) fn serve(self, path: String) -> Arrivals {
        let (arrived, arrivals) = mpsc::channel(1);
        let mut server = JoinSet::new();
        server.spawn(accept(self, path.into(), arrived));
        Arrivals { arrivals, _server: server }
    }
}

impl Arrivals {
    pub(crate) async fn next(&mut self) -> Option<Arrival> {
        self.arrivals.recv().await
    }
}

impl Arrival {
    /// Shows the browser a page, and returns when it is sent.
    pub(crate) async fn answer(self, good: bool, heading: &str, words: &str) {
        let status = if good { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        if self.page.send(Page { status, html: page(heading, words) }).is_ok() {
            tokio::time::timeout(LAST_PAGE, self.sent.notified()).await.ok();
        }
    }
}

async fn accept(loopback: Loopback, path: Arc<str>, arrived: mpsc::Sender<Arrival>) {
    let port = loopback.address.port();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = loopback.listener.accept().await else {
            // Out of file handles, most likely: it passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (path, arrived) = (Arc::clone(&path), arrived.clone());
        connections.spawn(async move {
            let sent = Arc::new(Notify::new());
            let service = service_fn(|request| {
                let (path, arrived, sent) = (Arc::clone(&path), arrived.clone(), Arc::clone(&sent));
                async move { Ok::<_, Infallible>(respond(&request, port, &path, &arrived, sent).await) }
            });
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(SILENCE)
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
            sent.notify_one();
        });
    }
}

async fn respond<B>(
    request: &Request<B>,
    port: u16,
    path: &str,
    arrived: &mpsc::Sender<Arrival>,
    sent: Arc<Notify>,
) -> Response<Full<Bytes>> {
    // A web page can make the browser send requests here under another name (DNS rebinding): the name tells.
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_own_host(host, port) {
        return reply(StatusCode::FORBIDDEN, page("Not here", "This address answers under its own name only."));
    }
    if request.uri().path() != path || request.method() != Method::GET {
        return reply(StatusCode::NOT_FOUND, page("Not found", "There is nothing here."));
    }
    let (page_sender, page_receiver) = oneshot::channel();
    let query = request.uri().query().unwrap_or_default().to_owned();
    if arrived.send(Arrival { query, page: page_sender, sent }).await.is_err() {
        return reply(StatusCode::GONE, page("Too late", "This sign-in is over."));
    }
    match page_receiver.await {
        Ok(Page { status, html }) => reply(status, html),
        Err(_) => reply(StatusCode::GONE, page("Too late", "This sign-in is over.")),
    }
}

fn is_own_host(host: &str, port: u16) -> bool {
    let (name, given) = match host.rsplit_once(':') {
        Some((name, digits)) if !digits.ends_with(']') => (name, digits.parse().ok()),
        _ => (host, Some(80)),
    };
    given == Some(port) && ["127.0.0.1", "localhost", "[::1]"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

fn reply(status: StatusCode, html: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(html));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        (CONNECTION, "close"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_with_the_right_port_are_answered() {
        assert!(is_own_host("127.0.0.1:8080", 8080));
        assert!(is_own_host("LOCALHOST:8080", 8080));
        assert!(is_own_host("[::1]:8080", 8080));
        assert!(is_own_host("localhost", 80));
        assert!(!is_own_host("localhost", 8080));
        assert!(!is_own_host("127.0.0.1:8081", 8080));
        assert!(!is_own_host("evil.example:8080", 8080));
        assert!(!is_own_host("", 8080));
    }
}
