//! The stream of events by which the page stays up to date.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::answer::Events;
use super::board::Tab;
use super::render;
use super::respond::House;
use super::status::Status;
use super::words::unix_now;

/// At most one snapshot in this time.
const PACE: Duration = Duration::from_millis(200);
/// A sign of life after this, so that a browser that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long the browser waits before it connects again.
const RETRY_MILLIS: u64 = 1500;

struct Follower {
    house: House,
    status: watch::Receiver<Status>,
    ended: watch::Receiver<bool>,
    sent_at: Option<Instant>,
    over: bool,
    _tab: Tab,
    _permit: OwnedSemaphorePermit,
}

enum Woken {
    Changed,
    Quiet,
    Ended,
}

/// A snapshot now and after each change. The newest state is always sent in the end; those between may be left out.
pub(super) fn follow(house: House, permit: OwnedSemaphorePermit) -> Events {
    let follower = Follower {
        status: house.board.subscribe(),
        ended: house.ended.clone(),
        sent_at: None,
        over: false,
        _tab: house.board.open_tab(),
        _permit: permit,
        house,
    };
    Box::pin(stream::unfold(follower, |mut follower| async move {
        let text = follower.next().await?;
        Some((Ok(Frame::data(Bytes::from(text))), follower))
    }))
}

impl Follower {
    async fn next(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        let Some(sent_at) = self.sent_at else {
            return Some(format!("retry: {RETRY_MILLIS}\n{}", self.snapshot()));
        };
        let woken = tokio::select! {
            biased;
            _ = self.ended.wait_for(|ended| *ended) => Woken::Ended,
            changed = async {
                tokio::time::sleep_until(sent_at + PACE).await;
                self.status.changed().await
            } => if changed.is_ok() { Woken::Changed } else { Woken::Ended },
            () = tokio::time::sleep(KEEP_ALIVE) => Woken::Quiet,
        };
        Some(match woken {
            Woken::Changed => self.snapshot(),
            Woken::Quiet => ":\n\n".to_owned(),
            Woken::Ended => {
                self.over = true;
                // What was written last, such as the end of the last sign-in, must still be seen.
                let last = if self.status.has_changed().unwrap_or(false) { self.snapshot() } else { String::new() };
                format!("{last}event: ended\ndata:\n\n")
            }
        })
    }

    /// The status for programs, and the same for the eye, so that only one place knows how to show it.
    fn snapshot(&mut self) -> String {
        self.sent_at = Some(Instant::now());
        let status = self.status.borrow_and_update().clone();
        let json = serde_json::to_string(&status).unwrap_or_else(|_| "null".to_owned());
        let html = render::content(&self.house.view(&status, unix_now()));
        let mut text = format!("data: {json}\n\nevent: page\n");
        for line in html.lines() {
            text.push_str("data: ");
            text.push_str(line);
            text.push('\n');
        }
        text.push('\n');
        text
    }
}
