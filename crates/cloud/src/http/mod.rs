//! How a service is spoken to over HTTP: one gate, one clock for pauses and one retry policy for all calls of an account.
//!
//! [`Http::attempt`] makes one request and sorts what went wrong into [`Failure`]; [`Retries`] says, from the failures
//! of one call so far, whether and when to try again. What a failure means to the caller is the provider's to say.

mod client;
mod failure;
mod gate;
mod limit;
#[cfg(test)]
mod outage;
mod pace;
mod policy;
mod reach;
mod retries;
mod root;
mod transport;

pub(crate) use client::{Answer, Body, Call, Failed, Http, HttpOptions, JsonAnswer};
pub(crate) use failure::{Failure, ServiceError, challenged_claims};
pub(crate) use gate::Urgency;
pub(crate) use policy::{History, Verdict};
pub use policy::{RetryPolicy, Timeouts};
pub(crate) use retries::{Retries, not_accepted};
pub(crate) use root::service_root;
pub(crate) use transport::{Network, client_builder};
pub use transport::{NeverSent, Transport};
