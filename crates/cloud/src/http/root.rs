//! Where a service's interface begins.

use url::Url;

use crate::contract::CloudError;

/// The address of a service's interface: that of its host, with the segments that lead to the version. Refuses an address
/// that a token must not be sent to. `service` is its name, for messages.
pub(crate) fn service_root(address: &Url, service: &str, segments: &[&str]) -> Result<Url, CloudError> {
    if !cms_auth::may_carry_secrets(address) {
        return Err(CloudError::Unexpected(format!("{address} is neither https nor on this machine")));
    }
    let mut root = address.clone();
    root.set_query(None);
    root.set_fragment(None);
    root.path_segments_mut()
        .map_err(|()| CloudError::Unexpected(format!("{address} can't be {service}")))?
        .pop_if_empty()
        .extend(segments);
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(address: &str) -> Option<String> {
        let address = Url::parse(address).unwrap();
        service_root(&address, "a service", &["v1.0", "me"]).ok().map(String::from)
    }

    #[test]
    fn a_root_keeps_the_path_and_nothing_behind_it() {
        assert_eq!(root("https://mail.example").as_deref(), Some("https://mail.example/v1.0/me"));
        assert_eq!(root("https://mail.example/proxy/?a=b#c").as_deref(), Some("https://mail.example/proxy/v1.0/me"));
        assert_eq!(root("http://127.0.0.1:8080/x").as_deref(), Some("http://127.0.0.1:8080/x/v1.0/me"));
    }

    #[test]
    fn a_token_goes_nowhere_in_the_clear() {
        assert_eq!(root("http://mail.example"), None);
        assert_eq!(root("data:text/plain,x"), None);
    }
}
