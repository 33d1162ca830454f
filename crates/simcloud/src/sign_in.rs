//! Requests to the sign-in services: which of them is meant, and what it gets to see.

use crate::cloud::Inner;
use crate::knobs::Knobs;
use crate::odata::Query;
use crate::reply::Answer;
use crate::{entra, google};

/// One request to a sign-in service.
pub(crate) struct SignInRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) origin: Option<&'a str>,
    pub(crate) authorization: Option<&'a str>,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
    /// The address of the service, as the client wrote it.
    pub(crate) base: &'a str,
}

impl SignInRequest<'_> {
    /// The body as a form.
    pub(crate) fn form(&self) -> Query {
        Query::parse(&String::from_utf8_lossy(self.body))
    }

    /// Path and query, which a page's form is sent to.
    pub(crate) fn target(&self) -> String {
        format!("{}?{}", self.path, self.query)
    }
}

/// The kind under which a request is counted.
pub(crate) fn kind(path: &str) -> &'static str {
    google::kind(path).or_else(|| entra::kind(path)).unwrap_or("other")
}

/// Answers a request to whichever service its path belongs to.
pub(crate) fn answer(inner: &Inner, knobs: &Knobs, request: &SignInRequest<'_>) -> Answer {
    if google::kind(request.path).is_some() {
        return google::answer(inner, knobs, request);
    }
    entra::answer(inner, knobs, request)
}
