//! One open connection.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Trouble;
use super::document::{Item, Reader};

/// A connection over which the document comes.
pub(super) struct Connection {
    response: reqwest::Response,
    reader: Reader,
    keep_alive: Duration,
    since: Instant,
    /// By when the next object must have come.
    deadline: Instant,
    is_alive: bool,
}

/// What came.
pub(super) enum Heard {
    /// These, or nothing that is whole yet.
    Items(Vec<Item>),
    /// The end of the document.
    End,
}

impl Connection {
    pub(super) fn new(response: reqwest::Response, keep_alive: Duration) -> Self {
        let since = Instant::now();
        let reader = Reader::default();
        Self { response, reader, keep_alive, since, deadline: since + keep_alive * 2, is_alive: false }
    }

    /// Whether the connection was of use for as long as one should be at least: who answers and ends at once isn't asked
    /// again at once.
    pub(super) fn has_lived(&self) -> bool {
        self.is_alive && self.since.elapsed() >= self.keep_alive
    }

    /// Waits for the next chunk. Only whole objects count as signs of life.
    pub(super) async fn hear(&mut self) -> Result<Heard, Trouble> {
        if self.reader.is_over() {
            return Ok(Heard::End);
        }
        let chunk = timeout_at(self.deadline, self.response.chunk()).await;
        let chunk = chunk.map_err(|_| Trouble::passing("there was no sign of life"))?;
        let chunk = chunk.map_err(|error| Trouble::passing(&error.without_url()))?;
        let chunk = chunk.ok_or_else(|| Trouble::passing("the document has no end"))?;
        let mut items = Vec::new();
        self.reader.feed(&chunk, &mut items).map_err(|error| Trouble::passing(&error))?;
        if !items.is_empty() {
            self.is_alive = true;
            self.deadline = Instant::now() + self.keep_alive * 2;
        }
        Ok(Heard::Items(items))
    }
}
