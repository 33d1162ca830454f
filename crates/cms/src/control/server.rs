//! The end that listens.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::ControlError;
use super::message::{Answer, Envelope, LANGUAGE, Question, Reply, Request};
use super::socket::{ShortPath, path};

/// The longest request.
const LINE_MAX: u64 = 64 * 1024;

/// Who says nothing for so long is left.
const SILENCE: Duration = Duration::from_secs(10);

/// Connections at one time; more wait.
const CONNECTIONS: usize = 16;

/// A request that waits for the loop's reply.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// The socket's file, which goes with this.
#[derive(Debug)]
pub(crate) struct Listening {
    path: PathBuf,
}

impl Listening {
    /// Makes the socket of a state directory. The caller holds the lock, so that one which is there is a leftover.
    ///
    /// Must be called within a Tokio runtime.
    pub(crate) fn at(state_dir: &Path) -> Result<(Self, UnixListener), ControlError> {
        let path = path(state_dir);
        let failed = |doing| {
            let path = path.clone();
            move |source: io::Error| ControlError::Io { doing, path, source }
        };
        let short = ShortPath::of(state_dir).map_err(failed("reach"))?;
        match fs::remove_file(short.as_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove")(error)),
            _ => {}
        }
        let listener = UnixListener::bind(short.as_path()).map_err(failed("listen at"))?;
        // Until then the directory's mode and the peer's user keep others out.
        fs::set_permissions(short.as_path(), Permissions::from_mode(0o600)).map_err(failed("protect"))?;
        Ok((Self { path }, listener))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // One that stays is found to be nobody's, and is replaced by the next.
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes requests to the loop, by way of `ask`, until this is dropped.
pub(crate) async fn serve<F>(listener: UnixListener, ask: impl Fn(Asked) -> F + Clone + Send + 'static)
where
    F: Future<Output = bool> + Send,
{
    let mut connections = JoinSet::new();
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file handles, most likely: it passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let ask = ask.clone();
        connections.spawn(async move {
            if is_own(&stream) {
                // Who asked may have gone away, which is its own concern.
                let _ = converse(stream, ask).await;
            }
            drop(seat);
        });
    }
}

/// Whether this user is at the other end, or root, from whom nothing can be hidden.
pub(super) fn is_own(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn converse<F>(mut stream: UnixStream, ask: impl Fn(Asked) -> F) -> io::Result<()>
where
    F: Future<Output = bool>,
{
    let (from, mut to) = stream.split();
    let mut from = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut from).take(LINE_MAX);
        match tokio::time::timeout(SILENCE, limited.read_until(b'\n', &mut line)).await {
            Ok(read) => read?,
            Err(_) => return Ok(()),
        };
        if line.last() != Some(&b'\n') {
            // The end, or more than any request has.
            return Ok(());
        }
        let reply = match understood(&line) {
            Ok(request) => {
                let (reply, answered) = oneshot::channel();
                if !ask(Asked { request, reply }).await {
                    return Ok(());
                }
                // The loop has ended; who asked hears that by the end of the connection.
                let Ok(reply) = answered.await else { return Ok(()) };
                reply
            }
            Err(what) => Reply::Refused { what, hint: None },
        };
        let answer = Answer { language: LANGUAGE, version: env!("CARGO_PKG_VERSION").to_owned(), reply };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        to.write_all(&line).await?;
    }
}

fn understood(line: &[u8]) -> Result<Request, String> {
    match serde_json::from_slice::<Envelope>(line) {
        Ok(envelope) if envelope.language == LANGUAGE => {}
        Ok(_) => return Err(format!("this cms is version {}", env!("CARGO_PKG_VERSION"))),
        Err(error) => return Err(format!("the request can't be read: {error}")),
    }
    let question: Question =
        serde_json::from_slice(line).map_err(|error| format!("the request isn't known: {error}"))?;
    Ok(question.request)
}
