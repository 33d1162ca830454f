//! Which requests were made for whom, for people who want to ask the service about one of them.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use cms_engine::RemoteId;

/// A request that was meant to change something, as the service's own logs know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// The message that it was about; nothing for one that was to be made.
    pub message: Option<RemoteId>,
    /// What was asked, such as `PUT /me/messages/{id}/$value`, where [`request_line`] can't tell it.
    ///
    /// [`request_line`]: crate::contract::CloudAccount::request_line
    pub line: Option<String>,
    /// The `client-request-id` that it carried: that of the whole batch, if it was a part of one.
    pub client_request_id: String,
    /// The status of the answer, if one came.
    pub status: Option<u16>,
}

tokio::task_local! {
    static RECORD: RefCell<Vec<Exchange>>;
}

/// Does some work, and says which requests that change something were made for it, in their order.
pub async fn recorded<T>(work: impl Future<Output = T>) -> (T, Vec<Exchange>) {
    let recording = async {
        let done = work.await;
        (done, RECORD.with(RefCell::take))
    };
    RECORD.scope(RefCell::default(), recording).await
}

/// Notes a request, if anybody wants to know.
pub(crate) fn note(exchange: impl FnOnce() -> Exchange) {
    // Outside of a recording there is no place to write to, and no need.
    let _ = RECORD.try_with(|record| record.borrow_mut().push(exchange()));
}

/// As what a call was sent the last time, and how that was answered. Filled in where the request is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent(Arc<Mutex<(String, Option<u16>)>>);

impl Sent {
    pub(crate) fn begin(&self, client_request_id: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (client_request_id.to_owned(), None);
    }

    pub(crate) fn answered(&self, status: u16) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(status);
    }

    /// The exchange that it came to.
    pub(crate) fn exchange(&self, message: Option<&RemoteId>, line: Option<&str>) -> Exchange {
        let (client_request_id, status) = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Exchange { message: message.cloned(), line: line.map(str::to_owned), client_request_id, status }
    }
}
