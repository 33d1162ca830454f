//! The end that asks.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::ControlError;
use super::message::{Answer, Envelope, LANGUAGE, Question, Reply, Request};
use super::server::is_own;
use super::socket::{ShortPath, path};

/// A connection to the process that holds the state.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Client {
    /// Connects, if somebody listens.
    pub(crate) async fn connect(state_dir: &Path) -> Result<Self, ControlError> {
        let path = path(state_dir);
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                ControlError::NobodyThere { path: path.clone() }
            }
            _ => ControlError::Io { doing: "connect to", path: path.clone(), source },
        };
        let short = ShortPath::of(state_dir).map_err(failed)?;
        let stream = UnixStream::connect(short.as_path()).await.map_err(failed)?;
        if !is_own(&stream) {
            return Err(ControlError::Stranger { path });
        }
        Ok(Self { stream: BufReader::new(stream), path })
    }

    /// Asks, and waits for the reply as long as it takes.
    pub(crate) async fn ask(&mut self, request: Request) -> Result<Reply, ControlError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
                ControlError::Ended
            }
            _ => ControlError::Io { doing: "ask at", path: self.path.clone(), source },
        };
        let question = Question { language: LANGUAGE, request };
        let mut line = serde_json::to_vec(&question).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).await.map_err(failed)?;
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await.map_err(failed)?;
        if line.last() != Some(&b'\n') {
            return Err(ControlError::Ended);
        }
        let other_version = |theirs| ControlError::OtherVersion { theirs, ours: env!("CARGO_PKG_VERSION") };
        let envelope: Envelope =
            serde_json::from_slice(&line).map_err(|_| other_version("it answers in no known way".to_owned()))?;
        if envelope.language != LANGUAGE {
            return Err(other_version(envelope.version));
        }
        let answer: Answer = serde_json::from_slice(&line).map_err(|_| other_version(envelope.version))?;
        Ok(answer.reply)
    }
}
