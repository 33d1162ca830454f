//! One open channel: a JSON document that is written as things happen.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::subscriptions::{Orders, Subscription};
use crate::clock;
use crate::cloud::{Inner, lock};
use crate::mailbox::Event;

/// Chunks that may wait for the connection.
const WAITING: usize = 64;

/// What a channel is opened with.
pub(super) struct Opening {
    pub(super) inner: Arc<Inner>,
    pub(super) base: String,
    pub(super) user: String,
    pub(super) token: String,
    pub(super) ids: Vec<String>,
    pub(super) ends: Instant,
    pub(super) keep_alive: Duration,
    pub(super) orders: watch::Receiver<Orders>,
    /// What the dice for chunks and white space begin with; 0 for neat chunks.
    pub(super) dice: u64,
}

/// A channel whose subscriptions are held open until it is dropped.
pub(super) struct Channel {
    opening: Opening,
    /// What was ordered before this channel was there.
    before: Orders,
    /// The mailbox's number of the newest change that was told or is too old to be.
    position: u64,
    mailbox: Option<watch::Receiver<u64>>,
}

/// How a channel ends.
enum Ending {
    /// With the end of the document.
    Orderly,
    /// In the middle of it.
    Broken,
}

/// The head of the answer is out: what comes now comes over this.
pub(super) fn open(channel: Channel) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let dice = channel.opening.dice;
    let random = (dice != 0).then(|| ChaCha8Rng::seed_from_u64(dice));
    tokio::spawn(channel.run(Pen { sender, random, first: true }));
    receiver
}

impl Channel {
    pub(super) fn new(opening: Opening) -> Self {
        let before = *opening.orders.borrow();
        let mailbox = opening.inner.mailbox(&opening.user).map(|mailbox| lock(mailbox).news.subscribe());
        let position = mailbox.as_ref().map_or(0, |news| *news.borrow());
        Self { opening, before, position, mailbox }
    }

    async fn run(mut self, mut pen: Pen) {
        let head = json!(format!("{}/api/beta/metadata#Notifications", self.opening.base));
        let mut alive = pen.write(&format!("{{\"@odata.context\":{head},\"value\":[")).await;
        let greetings: Vec<Value> =
            self.opening.ids.iter().filter_map(|id| self.notification(id, "Acknowledgment", None)).collect();
        alive &= pen.objects(&greetings).await;
        let mut next = Instant::now() + self.opening.keep_alive;
        while alive {
            let changed = async {
                match &mut self.mailbox {
                    Some(news) => drop(news.changed().await),
                    None => std::future::pending().await,
                }
            };
            let mut keep_alive = false;
            tokio::select! {
                () = pen.sender.closed() => return,
                () = sleep_until(self.opening.ends) => {}
                () = sleep_until(next) => keep_alive = true,
                () = changed => {}
                _ = self.opening.orders.changed() => {}
            }
            let orders = *self.opening.orders.borrow_and_update();
            if orders.silence > self.before.silence {
                // The other end is to find out for itself.
                pen.sender.closed().await;
                return;
            }
            match self.ending(orders) {
                None => {}
                Some(Ending::Orderly) => {
                    pen.write("]}").await;
                    return;
                }
                Some(Ending::Broken) => {
                    drop(pen.sender.send(Err(io::ErrorKind::ConnectionReset.into())).await);
                    return;
                }
            }
            let mut objects = self.news();
            if orders.missed > self.before.missed {
                self.before.missed = orders.missed;
                objects.extend(self.opening.ids.iter().filter_map(|id| self.notification(id, "Missed", None)));
            }
            if keep_alive {
                objects.push(json!({
                    "@odata.type": "#Microsoft.OutlookServices.KeepAliveNotification",
                    "Status": "Ok",
                }));
                next += self.opening.keep_alive;
            }
            alive = pen.objects(&objects).await;
        }
    }

    fn ending(&self, orders: Orders) -> Option<Ending> {
        let known = |id: &String| self.opening.inner.subscriptions.get(id).is_some();
        if orders.cut > self.before.cut || self.opening.inner.entra.check_outlook(&self.opening.token).is_err() {
            return Some(Ending::Broken);
        }
        let ended = orders.ended > self.before.ended || self.opening.ends <= Instant::now();
        let over = ended || !self.opening.ids.iter().all(known);
        over.then_some(Ending::Orderly)
    }

    /// What happened in the folders since it was last told.
    fn news(&mut self) -> Vec<Value> {
        let inner = Arc::clone(&self.opening.inner);
        let Some(mailbox) = inner.mailbox(&self.opening.user) else { return Vec::new() };
        let mailbox = lock(mailbox);
        let mut found = Vec::new();
        for id in &self.opening.ids {
            let Some(subscription) = inner.subscriptions.get(id) else { continue };
            let Some(folder) = mailbox.folder(subscription.folder) else { continue };
            let from = folder.log.partition_point(|entry| entry.sequence <= self.position);
            for entry in folder.log.get(from..).unwrap_or_default() {
                let change = match entry.event {
                    Event::Arrived { .. } => "Created",
                    Event::Changed | Event::ReadToggled => "Updated",
                    Event::Left { .. } => "Deleted",
                };
                let message = mailbox.ids.classic(entry.key, subscription.folder, 0);
                found.push((entry.sequence, id.clone(), change, message));
            }
        }
        self.position = mailbox.sequence;
        drop(mailbox);
        found.sort_unstable();
        found.iter().filter_map(|(_, id, change, message)| self.notification(id, change, Some(message))).collect()
    }

    fn notification(&self, id: &str, change: &str, message: Option<&str>) -> Option<Value> {
        let subscriptions = &self.opening.inner.subscriptions;
        let Subscription { resource, changes, .. } = subscriptions.get(id)?;
        if message.is_some() && !changes.iter().any(|one| one == change) {
            return None;
        }
        let now = clock::format(clock::now());
        let data = message.map(|message| {
            json!({
                "@odata.type": "#Microsoft.OutlookServices.Message",
                "@odata.id": format!("{}/api/beta/Users('{}')/Messages('{message}')", self.opening.base, self.opening.user),
                // What a name or a tag may hold must not end anything early.
                "@odata.etag": "W/\"CQAAABYAAAC{[}]\\\"",
                "Id": message,
            })
        });
        Some(json!({
            "@odata.type": "#Microsoft.OutlookServices.Notification",
            "Id": null,
            "SubscriptionId": id,
            "SubscriptionExpirationDateTime": now,
            "SequenceNumber": subscriptions.count(id),
            "ChangeType": change,
            "Resource": resource,
            "ResourceData": data,
        }))
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let idle = Duration::from_secs(self.opening.inner.knobs().notifications_idle_seconds);
        self.opening.inner.subscriptions.close(&self.opening.ids, idle);
    }
}

/// What writes the document.
struct Pen {
    sender: mpsc::Sender<io::Result<Bytes>>,
    random: Option<ChaCha8Rng>,
    /// Whether no object was written yet.
    first: bool,
}

impl Pen {
    /// Writes objects with what stands between them. Says whether anybody still reads.
    async fn objects(&mut self, objects: &[Value]) -> bool {
        let mut text = String::new();
        for object in objects {
            if !std::mem::replace(&mut self.first, false) {
                text.push_str(&self.space());
                text.push(',');
            }
            text.push_str(&self.space());
            let pretty = self.random.as_mut().is_some_and(|random| random.random_bool(0.3));
            // A value without maps that have keys other than text can always be written.
            let written = if pretty { serde_json::to_string_pretty(object) } else { serde_json::to_string(object) };
            text.push_str(&written.unwrap_or_default());
        }
        self.write(&text).await
    }

    fn space(&mut self) -> String {
        let Some(random) = &mut self.random else { return String::new() };
        let some = [" ", "\n", "\r\n", "\t"];
        (0..random.random_range(0..3)).map(|_| some[random.random_range(0..some.len())]).collect()
    }

    /// Writes text in as many chunks as the dice want.
    async fn write(&mut self, text: &str) -> bool {
        let mut rest = Bytes::copy_from_slice(text.as_bytes());
        while !rest.is_empty() {
            let piece = match &mut self.random {
                Some(random) => random.random_range(1..=64).min(rest.len()),
                None => rest.len(),
            };
            if self.sender.send(Ok(rest.split_to(piece))).await.is_err() {
                return false;
            }
        }
        true
    }
}
