//! Listening, and one task for each connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::board::Board;
use super::desk::Desk;
use super::error::PageError;
use super::guard::Key;
use super::holder::Holder;
use super::peer::{self, Peer};
use super::respond::{House, STREAMS_MAX};

/// Browsers open connections on suspicion; one that says nothing is closed after this.
const SILENCE: Duration = Duration::from_secs(10);
/// How long it may take, at the end, until it says something after all.
const LAST_CHANCE: Duration = Duration::from_millis(100);
/// Connections of the user at one time; more are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// Connections at one time of which isn't known yet whose they are, so that strangers can't crowd out the user.
const UNKNOWN_MAX: usize = 16;
/// The largest head of a request. Browsers send the cookies of all programs that were ever at localhost.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How often a port is looked for that is free on all addresses.
const PORT_TRIES: usize = 16;

/// The page.
#[derive(Debug)]
pub struct Page;

/// The page with its addresses, on which nobody is answered yet.
#[derive(Debug)]
pub struct BoundPage {
    listeners: Vec<TcpListener>,
    address: SocketAddr,
}

/// The page while it is served; dropping it ends all connections at once.
#[derive(Debug)]
pub struct PageHandle {
    address: SocketAddr,
    end: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Page {
    /// Takes addresses of this machine alone: the first as it is, and others on the same port if the machine has them.
    ///
    /// Port 0 stands for any that is free. Must be called within a Tokio runtime.
    pub fn bind(addresses: &[SocketAddr]) -> Result<BoundPage, PageError> {
        if let Some(&address) = addresses.iter().find(|address| !address.ip().is_loopback()) {
            return Err(PageError::NotLoopback { address });
        }
        let (&first, others) = addresses.split_first().ok_or(PageError::NoAddress)?;
        let mut tries = if first.port() == 0 { PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            match bind_all(first, others) {
                Err(PageError::Taken { .. }) if tries > 0 => {}
                result => return result,
            }
        }
    }
}

fn bind_all(first: SocketAddr, others: &[SocketAddr]) -> Result<BoundPage, PageError> {
    let (listener, address) = listen(first)?;
    let mut listeners = vec![listener];
    for other in others {
        let other = SocketAddr::new(other.ip(), address.port());
        match listen(other) {
            Ok((listener, _)) => listeners.push(listener),
            // A machine without IPv6; `localhost` means the other address there.
            Err(PageError::Listen { address, source }) => {
                tracing::debug!(%address, %source, "Could not listen here as well");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(BoundPage { listeners, address })
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), PageError> {
    let bind = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((TcpListener::from_std(listener)?, bound))
    };
    bind().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => PageError::Taken { address, by: Holder::of(address) },
        _ => PageError::Listen { address, source: Arc::new(source) },
    })
}

impl BoundPage {
    /// The first address, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows what is on the board, and takes wishes to the desk.
    pub fn serve(self, board: Board, desk: Arc<dyn Desk>) -> PageHandle {
        let (end, ended) = watch::channel(false);
        let house = House {
            board,
            desk,
            port: self.address.port(),
            key: Key::new(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            ended,
        };
        let doors =
            Doors { unknown: Arc::new(Semaphore::new(UNKNOWN_MAX)), known: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
        let mut tasks = JoinSet::new();
        for listener in self.listeners {
            tasks.spawn(accept(listener, house.clone(), doors.clone()));
        }
        PageHandle { address: self.address, end, tasks }
    }
}

impl PageHandle {
    /// The first address, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nobody any more, and returns when the answers under way are sent, but after `max` at the latest.
    ///
    /// A browser that has just come back from its sign-in so still gets its page.
    pub async fn finish(mut self, max: Duration) {
        self.end.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(max, all).await.is_err() {
            tracing::debug!("The page ends before its last answer was sent");
        }
    }
}

#[derive(Clone)]
struct Doors {
    unknown: Arc<Semaphore>,
    known: Arc<Semaphore>,
}

async fn accept(listener: TcpListener, house: House, doors: Doors) {
    let mut connections = JoinSet::new();
    let mut ended = house.ended.clone();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            _ = ended.wait_for(|ended| *ended) => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file handles, most likely: it passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if let Ok(permit) = Arc::clone(&doors.unknown).acquire_owned().await {
            connections.spawn(admit(stream, peer, house.clone(), Arc::clone(&doors.known), permit));
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    house: House,
    known: Arc<Semaphore>,
    unknown: OwnedSemaphorePermit,
) {
    let Ok(own) = stream.local_addr() else { return };
    let who = tokio::task::spawn_blocking(move || peer::look_up(peer, own)).await.unwrap_or(Peer::Unknown);
    match who {
        Peer::Own | Peer::Unknown => {}
        Peer::Stranger => return turn_away(stream, "403 Forbidden", "This page is another user's.").await,
        Peer::Gone => return,
    }
    drop(unknown);
    match known.try_acquire_owned() {
        Ok(_permit) => converse(stream, house).await,
        Err(_) => turn_away(stream, "503 Service Unavailable", "Too many connections.").await,
    }
}

async fn converse(stream: TcpStream, house: House) {
    let mut ended = house.ended.clone();
    let asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        let house = house.clone();
        async move { Ok::<_, Infallible>(house.respond(request).await) }
    });
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(SILENCE)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        // It ended, or the browser went away: nothing to do about either.
        _ = connection.as_mut() => return,
        _ = ended.wait_for(|ended| *ended) => connection.as_mut().graceful_shutdown(),
    }
    // A connection that was opened on suspicion counts as busy, and would last until its silence is noticed.
    if asked.load(Ordering::Relaxed) {
        let _ = connection.await;
    } else {
        let _ = tokio::time::timeout(LAST_CHANCE, connection).await;
    }
}

/// Says one sentence without reading what was asked.
async fn turn_away(mut stream: TcpStream, status: &str, words: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nconnection: close\r\n\r\n{words}\n",
        words.len() + 1
    );
    let farewell = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // Closing while there is something to read would take the answer back.
        let mut ignored = [0; 1024];
        while stream.read(&mut ignored).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    let _ = tokio::time::timeout(Duration::from_millis(500), farewell).await;
}
