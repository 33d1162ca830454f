//! A client that knows nothing but HTTP.

use reqwest::header::HeaderMap;
use serde_json::Value;
use simcloud::{Cloud, Knobs, Options, Server};

/// An answer in full.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The error's code, which must be in the documented shape.
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        let inner = &json["error"]["innerError"];
        assert_eq!(inner["request-id"], self.header("request-id"));
        assert!(inner["client-request-id"].is_string() && inner["date"].is_string());
        json["error"]["code"].as_str().unwrap().to_owned()
    }
}

/// A running simulation and a token for it.
pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) cloud: Cloud,
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
    pub(crate) immutable: bool,
}

pub(crate) fn http_client() -> reqwest::Client {
    // A second installation is refused, and the first is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

impl Fixture {
    pub(crate) async fn new(options: Options) -> Self {
        let server = simcloud::serve(options).await.unwrap();
        let cloud = server.cloud().clone();
        let token = cloud.access_token("").unwrap();
        Self { server, cloud, http: http_client(), token, immutable: true }
    }

    /// Without noise.
    pub(crate) async fn calm(messages: usize) -> Self {
        Self::new(Options { messages, knobs: Knobs::calm(), ..Options::default() }).await
    }

    pub(crate) fn request(&self, method: &str, target: &str) -> reqwest::RequestBuilder {
        let url =
            if target.starts_with("http") { target.to_owned() } else { format!("{}/v1.0{target}", self.server.url()) };
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(&self.token);
        if self.immutable {
            request = request.header("Prefer", "IdType=\"ImmutableId\"");
        }
        request
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, bytes: answer.bytes().await.unwrap().to_vec() }
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(self.request("GET", target)).await
    }

    pub(crate) async fn post(&self, target: &str, body: &Value) -> Answer {
        self.send(self.request("POST", target).json(body)).await
    }

    pub(crate) async fn patch(&self, id: &str, body: &Value) -> Answer {
        self.send(self.request("PATCH", &format!("/me/messages/{id}")).json(body)).await
    }

    /// Follows a round of delta to its end: all items, the link for the next round, and the number of pages.
    pub(crate) async fn round(&self, first: &str, page: usize) -> (Vec<Value>, String, usize) {
        let (mut items, mut at, mut pages) = (Vec::new(), first.to_owned(), 0);
        loop {
            let request = self.request("GET", &at).header("Prefer", format!("odata.maxpagesize={page}"));
            let answer = self.send(request).await;
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.bytes));
            let json = answer.json();
            pages += 1;
            items.extend(json["value"].as_array().unwrap().iter().cloned());
            match (json["@odata.nextLink"].as_str(), json["@odata.deltaLink"].as_str()) {
                (Some(next), None) => next.clone_into(&mut at),
                (None, Some(link)) => return (items, link.to_owned(), pages),
                other => panic!("exactly one link is due: {other:?}"),
            }
            assert!(pages < 10_000, "the round never ends");
        }
    }
}

/// The first link of an ordinary client.
pub(crate) const DELTA: &str =
    "/me/mailFolders/inbox/messages/delta?$select=isRead,flag,receivedDateTime,parentFolderId";
