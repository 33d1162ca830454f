//! One message's MIME.

use cms_engine::RemoteId;
use reqwest::header::CONTENT_TYPE;

use super::Account;
use crate::contract::{CloudError, MimeSink};
use crate::http::{Answer, Call, Failure, Retries, ServiceError, Urgency};

/// So much of a message is looked at before any of it is believed.
const LOOKED_AT_BYTES: usize = 16;

/// Why a transfer ended early.
enum Broken {
    /// The service or the network, which may do better.
    There(Failure),
    /// The sink, which won't.
    Here(std::io::Error),
}

impl Account {
    pub(super) async fn fetch_mime(&self, id: &RemoteId, sink: &mut dyn MimeSink) -> Result<u64, CloudError> {
        let mut call = Call::get(self.url(&["messages", id.as_str(), "$value"], ""));
        call.urgency = Urgency::Bulk;
        let mut retries = Retries::new(&self.http);
        let mut begun = false;
        loop {
            if begun {
                sink.restart().map_err(CloudError::Sink)?;
            }
            let (failure, token) = match self.http.attempt(&call).await {
                Err(failed) => failed,
                Ok(answer) => {
                    begun = true;
                    let token = answer.token.clone();
                    match pour(answer, sink).await {
                        Ok(bytes) => return Ok(bytes),
                        Err(Broken::Here(error)) => return Err(CloudError::Sink(error)),
                        Err(Broken::There(failure)) => (failure, Some(token)),
                    }
                }
            };
            if let Err(failure) = retries.after(failure, token.as_ref()).await {
                return Err(self.fetch_error(failure));
            }
        }
    }

    /// A service that answers, with a code, that it fails on this message says nothing about others.
    pub(super) fn fetch_error(&self, failure: Failure) -> CloudError {
        match failure {
            Failure::Status(ServiceError { status: 500, code, message, request_id, .. }) if !code.is_empty() => {
                CloudError::Unconvertible { code, message, request_id }
            }
            other => self.item_error(other),
        }
    }
}

/// Pours the body into the sink. Its end is a proper one, or this fails: the HTTP library tells a body that breaks off,
/// whether its length was announced or it came in chunks or compressed.
async fn pour(mut answer: Answer, sink: &mut dyn MimeSink) -> Result<u64, Broken> {
    let content_type = answer.response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if let Some(other) = content_type.filter(|content_type| is_of_something_else(content_type)) {
        return Err(Broken::There(Failure::Senseless(format!("a message came as {other}"))));
    }
    let announced = answer.response.content_length();
    let mut head = Vec::new();
    let mut total: u64 = 0;
    let mut believed = false;
    while let Some(chunk) = answer.response.chunk().await.map_err(|error| Broken::There(error.into()))? {
        total += chunk.len() as u64;
        if believed {
            sink.write(&chunk).map_err(Broken::Here)?;
            continue;
        }
        head.extend_from_slice(&chunk);
        if head.len() >= LOOKED_AT_BYTES {
            believed = believe(&head)?;
            sink.write(&head).map_err(Broken::Here)?;
            head = Vec::new();
        }
    }
    if !believed && !head.is_empty() {
        believe(&head)?;
        sink.write(&head).map_err(Broken::Here)?;
    }
    if total == 0 {
        return Err(Broken::There(Failure::Senseless("a message came empty".to_owned())));
    }
    if announced.is_some_and(|announced| announced != total) {
        return Err(Broken::There(Failure::Senseless("a message came short".to_owned())));
    }
    Ok(total)
}

fn believe(head: &[u8]) -> Result<bool, Broken> {
    if is_something_else(head) {
        return Err(Broken::There(Failure::Senseless("something else came in a message's place".to_owned())));
    }
    Ok(true)
}

/// Whether a body of this content type is no message.
pub(super) fn is_of_something_else(content_type: &str) -> bool {
    let content_type = content_type.to_ascii_lowercase();
    content_type.starts_with("text/html") || content_type.contains("json")
}

/// No header field's name begins with `{` or `<` followed by what follows here, so this is an error or a web page under
/// the wrong name.
pub(super) fn is_something_else(head: &[u8]) -> bool {
    let start = head.trim_ascii_start();
    let pages: [&[u8]; 4] = [b"{\"error\"", b"<!doctype", b"<html", b"<?xml"];
    pages.iter().any(|page| start.len() >= page.len() && start[..page.len()].eq_ignore_ascii_case(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_web_pages_are_not_taken_for_messages() {
        for not_mail in ["{\"error\":{\"code\":1}}", "<!DOCTYPE html><html>", "\r\n<html lang=en>"] {
            assert!(believe(not_mail.as_bytes()).is_err(), "{not_mail}");
        }
        for mail in ["Received: from x", "X", "{odd}: name", "<odd>: name", "\r\n\r\nno header at all"] {
            assert!(believe(mail.as_bytes()).is_ok(), "{mail}");
        }
    }
}
