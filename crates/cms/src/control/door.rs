//! The way to the loop for those who ask within its own process.

use std::fmt;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{Asked, Reply, Request};

type Asks = dyn Fn(Asked) -> BoxFuture<'static, bool> + Send + Sync;

/// A door to the loop, which the loop opens. All clones are the same door.
#[derive(Clone, Default)]
pub(crate) struct Door(Arc<OnceLock<Box<Asks>>>);

impl Door {
    /// Lets everybody ask from now on.
    pub(crate) fn open(&self, asks: impl Fn(Asked) -> BoxFuture<'static, bool> + Send + Sync + 'static) {
        // Who comes second is another loop, which this process doesn't have.
        let _ = self.0.set(Box::new(asks));
    }

    /// Asks. Nothing comes back where no loop runs.
    pub(crate) async fn ask(&self, request: Request) -> Option<Reply> {
        let asks = self.0.get()?;
        let (reply, answered) = oneshot::channel();
        if !asks(Asked { request, reply }).await {
            return None;
        }
        answered.await.ok()
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Door").field(&self.0.get().is_some()).finish()
    }
}
