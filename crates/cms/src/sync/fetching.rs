//! Downloads: from the account into the store.

use std::io;
use std::sync::Arc;

use cms_cloud::contract::{CloudAccount, CloudError, MimeSink, Wanted, Whereabouts};
use cms_engine::RemoteId;
use cms_store::{Incoming, Store, StoreError, Stored};
use tokio::sync::mpsc::Sender;

use crate::sync::Surroundings;
use crate::sync::tasks::Event;

/// What became of one message's download.
pub(crate) struct Download {
    pub(crate) id: RemoteId,
    /// What was downloaded, as the store knows it.
    pub(crate) version: RemoteId,
    /// Whether the message was found to be still at the revision that this is to be of.
    pub(crate) checked: bool,
    pub(crate) result: Result<Stored, FetchError>,
}

/// Why a download didn't end in a stored message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Cloud(#[from] CloudError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the draft was edited meanwhile")]
    Edited,
    #[error("it has to be downloaded alone")]
    Alone,
}

/// Downloads one message into the store, unless a download that wasn't recorded is there already. Where a `revision` is
/// named, only what the message is at that revision counts.
pub(crate) async fn fetch(
    account: Arc<dyn CloudAccount>,
    store: Arc<Store>,
    surroundings: Surroundings,
    id: RemoteId,
    version: RemoteId,
    revision: Option<Box<str>>,
    events: Sender<Event>,
) {
    let mut result = download(account.as_ref(), store, &surroundings, &id, &version).await;
    let checked = revision.is_some();
    if let (Ok(_), Some(revision)) = (&result, revision)
        && let Err(error) = must_be_at(account.as_ref(), &id, &revision).await
    {
        result = Err(error);
    }
    let _ = events.send(Event::Fetched(vec![Download { id, version, checked, result }])).await;
}

/// Makes sure that a draft is still at a revision: a download doesn't tell which one it is of.
async fn must_be_at(account: &dyn CloudAccount, id: &RemoteId, revision: &str) -> Result<(), FetchError> {
    match account.look_up(std::slice::from_ref(id)).await.pop() {
        Some(Ok(Whereabouts::Here(seen))) if seen.revision.as_deref() == Some(revision) => Ok(()),
        Some(Ok(_)) | None => Err(FetchError::Edited),
        Some(Err(error)) => Err(error.into()),
    }
}

async fn download(
    account: &dyn CloudAccount,
    store: Arc<Store>,
    surroundings: &Surroundings,
    id: &RemoteId,
    version: &RemoteId,
) -> Result<Stored, FetchError> {
    let mut sink = match begin(&store, version)? {
        Begun::Before(stored) => return Ok(stored),
        Begun::Now(sink) => sink,
    };
    let fetched = account.fetch(id, sink.as_mut()).await;
    let incoming = sink.after(fetched)?;
    // It is made durable together with others. What is left to do waits for the disk all the same; the connection is
    // free again meanwhile.
    match surroundings.aside(move || incoming.finish_unflushed()).await {
        Ok(finished) => Ok(finished?),
        Err(error) => Err(CloudError::Sink(error).into()),
    }
}

/// Downloads small messages in one go, each with the version that it is of.
pub(crate) async fn fetch_together(
    account: Arc<dyn CloudAccount>,
    store: Arc<Store>,
    surroundings: Surroundings,
    messages: Vec<(RemoteId, RemoteId)>,
    events: Sender<Event>,
) {
    let mut ended = Vec::with_capacity(messages.len());
    let mut open = Vec::with_capacity(messages.len());
    for (id, version) in messages {
        match begin(&store, &version) {
            Ok(Begun::Now(sink)) => open.push((id, version, sink)),
            Ok(Begun::Before(stored)) => ended.push(Download { id, version, checked: false, result: Ok(stored) }),
            Err(error) => ended.push(Download { id, version, checked: false, result: Err(error.into()) }),
        }
    }
    let mut wanted: Vec<Wanted<'_>> = open.iter_mut().map(|(id, _, sink)| Wanted { id, sink: sink.as_mut() }).collect();
    let mut fetched = account.fetch_together(&mut wanted).await.into_iter();
    drop(wanted);
    let mut incoming = Vec::with_capacity(open.len());
    for (id, version, sink) in open {
        let whole = fetched.next().flatten().ok_or(FetchError::Alone).and_then(|fetched| sink.after(fetched));
        match whole {
            Ok(whole) => incoming.push((id, version, whole)),
            Err(error) => ended.push(Download { id, version, checked: false, result: Err(error) }),
        }
    }
    let names: Vec<(RemoteId, RemoteId)> =
        incoming.iter().map(|(id, version, _)| (id.clone(), version.clone())).collect();
    let finish = move || incoming.into_iter().map(|(_, _, whole)| whole.finish_unflushed()).collect::<Vec<_>>();
    let finished: Vec<Result<Stored, FetchError>> = match surroundings.aside(finish).await {
        Ok(finished) => finished.into_iter().map(|stored| stored.map_err(FetchError::Store)).collect(),
        Err(error) => {
            let why = error.to_string();
            names.iter().map(|_| Err(CloudError::Sink(io::Error::other(why.clone())).into())).collect()
        }
    };
    let finished = names.into_iter().zip(finished);
    ended.extend(finished.map(|((id, version), result)| Download { id, version, checked: false, result }));
    let _ = events.send(Event::Fetched(ended)).await;
}

/// How a download begins.
enum Begun {
    /// It was completed before, and wasn't recorded.
    Before(Stored),
    Now(Box<IncomingSink>),
}

fn begin(store: &Store, version: &RemoteId) -> Result<Begun, StoreError> {
    if let Some(stored) = store.finished_incoming(version)? {
        return Ok(Begun::Before(stored));
    }
    Ok(Begun::Now(Box::new(IncomingSink { incoming: store.incoming(version)?, failure: None })))
}

/// Lets the store's own error come back out of the cloud's call.
struct IncomingSink {
    incoming: Incoming,
    failure: Option<StoreError>,
}

impl IncomingSink {
    /// What was written, if it is all there.
    fn after(self, fetched: Result<u64, CloudError>) -> Result<Incoming, FetchError> {
        match (fetched, self.failure) {
            (_, Some(error)) => Err(error.into()),
            (Err(error), None) => Err(error.into()),
            (Ok(_), None) => Ok(self.incoming),
        }
    }

    fn note(&mut self, result: Result<(), StoreError>) -> io::Result<()> {
        result.map_err(|error| {
            self.failure = Some(error);
            io::Error::other("the message store failed")
        })
    }
}

impl MimeSink for IncomingSink {
    fn restart(&mut self) -> io::Result<()> {
        let result = self.incoming.restart();
        self.note(result)
    }

    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        let result = self.incoming.write(chunk);
        self.note(result)
    }
}
