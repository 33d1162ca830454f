//! Listening, and one task for each connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cms_cloud::office365::Webhook;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::respond::respond;

/// A connection that says nothing is closed after this.
const SILENCE: Duration = Duration::from_secs(10);
/// Connections at one time; more are closed at once, and the service sends again what it couldn't.
const CONNECTIONS_MAX: usize = 32;
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// The listener; dropping it ends it with all its connections.
pub(crate) struct Reception {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Reception {
    /// Takes an address of this machine, and whatever arrives there. Must be called within a Tokio runtime.
    pub(crate) fn open(address: SocketAddr, webhook: Webhook) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let mut task = JoinSet::new();
        task.spawn(accept(listener, webhook));
        Ok(Self { address, _task: task })
    }

    /// Where it listens, with its real port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, webhook: Webhook) {
    let mut connections = JoinSet::new();
    let doors = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file handles, most likely: it passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if let Ok(permit) = Arc::clone(&doors).try_acquire_owned() {
            let webhook = webhook.clone();
            connections.spawn(async move {
                converse(stream, &webhook).await;
                drop(permit);
            });
        }
    }
}

async fn converse(stream: TcpStream, webhook: &Webhook) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(respond(webhook, request).await) });
    // It ended, or the other side went away: nothing to do about either.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
