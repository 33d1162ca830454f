//! Polls of several folders in one request.
//!
//! Folders that are asked about in the same moment, as the mailboxes of one account are, share a `$batch`. Whatever
//! doesn't come out of that as a page is asked for alone, where all the rules of retrying hold.

use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::oneshot;
use url::Url;

use super::Account;
use super::batch::{Item, LARGEST_BATCH, Linked};

/// How long the first of several polls waits for the others.
const GATHER: Duration = Duration::from_millis(10);

/// Entries of a page that comes in a batch: a poll brings few, and whoever has more to tell goes on alone.
const PAGE_SIZE: u32 = 50;

/// The polls that wait to be sent.
#[derive(Default)]
pub(super) struct Polls {
    waiting: Mutex<Vec<Poll>>,
    /// Held by the one that sends.
    sending: tokio::sync::Mutex<()>,
}

struct Poll {
    path: String,
    answer: oneshot::Sender<Value>,
}

impl Account {
    /// The answer to a poll that went out together with others; nothing if there were no others, or if it has to be
    /// asked for alone.
    pub(super) async fn poll_with_others(&self, url: &Url) -> Option<Value> {
        let (answer, mut answered) = oneshot::channel();
        let path = self.relative(url).to_owned();
        self.polls.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Poll { path, answer });
        // Whoever comes first sends for all. Should it be given up midway, the next one does.
        let sending = self.polls.sending.lock().await;
        match answered.try_recv() {
            Ok(body) => return Some(body),
            Err(oneshot::error::TryRecvError::Closed) => return None,
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        tokio::time::sleep(GATHER).await;
        let waiting = mem::take(&mut *self.polls.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.send_polls(waiting).await;
        drop(sending);
        answered.await.ok()
    }

    async fn send_polls(&self, mut polls: Vec<Poll>) {
        polls.retain(|poll| !poll.answer.is_closed());
        while polls.len() > 1 {
            let mut batches = Vec::new();
            while !polls.is_empty() {
                let rest = polls.split_off(polls.len().min(LARGEST_BATCH));
                batches.push(mem::replace(&mut polls, rest));
            }
            let postponed = join_all(batches.into_iter().map(|batch| self.send_batch(batch))).await;
            polls = postponed.into_iter().flatten().collect();
        }
    }

    /// Sends polls together, and returns those that weren't tried because one before them failed. A poll that is
    /// dropped is made alone.
    async fn send_batch(&self, polls: Vec<Poll>) -> Vec<Poll> {
        let items: Vec<Item> = polls.iter().map(|poll| Item::page(&poll.path, PAGE_SIZE)).collect();
        let all: Vec<usize> = (0..items.len()).collect();
        let Ok(batch) = self.run_batch(&items, &all, Linked::Chained).await else { return Vec::new() };
        let mut postponed = Vec::new();
        let mut failed = false;
        for (poll, answer) in polls.into_iter().zip(batch.items) {
            match answer {
                Some(answer) if (200..300).contains(&answer.status) => drop(poll.answer.send(answer.into_json())),
                // The one that failed isn't among them, so there are fewer each time.
                Some(answer) if answer.status == 424 && failed => postponed.push(poll),
                Some(answer) => {
                    failed = true;
                    if answer.status == 429
                        && let Some(pause) = answer.error().retry_after
                    {
                        self.http.hold_for(pause);
                    }
                }
                None => failed = true,
            }
        }
        postponed
    }
}
