//! What carries a request to the service and its answer back.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Request, Response};

use super::policy::Timeouts;

/// Carries one request, once. An error means that nobody knows whether it arrived, unless it is a [`NeverSent`].
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends the request and waits for the head of its answer; the body is read from what comes back.
    async fn carry(&self, request: Request) -> Result<Response, Box<dyn Error + Send + Sync>>;
}

/// No connection to the service came about, so that nothing of the request has left this machine.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NeverSent(pub Box<dyn Error + Send + Sync>);

/// The network.
pub(crate) struct Network(reqwest::Client);

impl Network {
    /// `loopback` says that the service is on this machine, which no proxy leads to.
    pub(crate) fn new(timeouts: Timeouts, loopback: bool) -> Result<Self, reqwest::Error> {
        // A request that times out only ends its own stream of HTTP/2, and the next one would go over the same connection.
        // A ping tells whether the connection is what is silent, before the first request times out.
        let ping = timeouts.read / 3;
        client_builder(timeouts.connect, loopback)
            .read_timeout(timeouts.read)
            .http2_keep_alive_interval(ping)
            .http2_keep_alive_timeout(ping)
            .build()
            .map(Self)
    }
}

/// What every client of a service is made of.
pub(crate) fn client_builder(connect_timeout: Duration, loopback: bool) -> reqwest::ClientBuilder {
    // A second installation is refused, and the first one is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("cloud-maildir-sync/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        // A token goes where it was addressed to and nowhere else.
        .redirect(reqwest::redirect::Policy::none());
    if loopback { builder.no_proxy() } else { builder }
}

#[async_trait]
impl Transport for Network {
    async fn carry(&self, request: Request) -> Result<Response, Box<dyn Error + Send + Sync>> {
        // The address may hold a cursor or an id; neither is for a log.
        self.0.execute(request).await.map_err(|error| {
            let is_for_connection = error.is_connect();
            let error = error.without_url().into();
            if is_for_connection { Box::new(NeverSent(error)) } else { error }
        })
    }
}
