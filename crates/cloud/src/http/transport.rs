//! What carries a request to the service and its answer back.

use std::error::Error;

use async_trait::async_trait;
use reqwest::{Request, Response};

use super::policy::Timeouts;

/// Carries one request, once. An error means that nobody knows whether it arrived.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends the request and waits for the head of its answer; the body is read from what comes back.
    async fn carry(&self, request: Request) -> Result<Response, Box<dyn Error + Send + Sync>>;
}

/// The network.
pub(crate) struct Network(reqwest::Client);

impl Network {
    /// `loopback` says that the service is on this machine, which no proxy leads to.
    pub(crate) fn new(timeouts: Timeouts, loopback: bool) -> Result<Self, reqwest::Error> {
        // A second installation is refused, and the first one is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("cloud-maildir-sync/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(timeouts.connect)
            .read_timeout(timeouts.read)
            // A token goes where it was addressed to and nowhere else.
            .redirect(reqwest::redirect::Policy::none());
        if loopback {
            builder = builder.no_proxy();
        }
        builder.build().map(Self)
    }
}

#[async_trait]
impl Transport for Network {
    async fn carry(&self, request: Request) -> Result<Response, Box<dyn Error + Send + Sync>> {
        // The address may hold a cursor or an id; neither is for a log.
        self.0.execute(request).await.map_err(|error| error.without_url().into())
    }
}
