//! Where the mail service's change notifications reach this program.

use url::Url;

use super::error::Refusal;

/// The address that the service sends notifications to: https, or http on this machine for trying it out.
pub(super) fn push_url(written: &str) -> Result<Url, Refusal> {
    let example = "write where the mail service reaches this program, such as `https://mail.example.org/cms`";
    let refused = |what: String| Err(Refusal::new(what).hint(example));
    let url = match Url::parse(written) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host_str().is_some() => url,
        Ok(_) => return refused(format!("`{written}` is not the URL of a web service")),
        Err(error) => return refused(format!("`{written}` is not a URL: {error}")),
    };
    if !cms_auth::may_carry_secrets(&url) {
        return refused(format!("`{written}` isn't https, without which the mail service sends no notifications"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refused("a URL must not hold a user name or password".to_owned());
    }
    // The service puts its own question behind the address.
    if url.query().is_some() || url.fragment().is_some() {
        return refused(format!("`{written}` holds more than a host and a path"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_or_on_this_machine() {
        for good in ["https://mail.example.org/cms", "https://mail.example.org", "http://127.0.0.1:8081/cms"] {
            assert!(push_url(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn an_address_that_can_not_be_meant_is_refused() {
        for (bad, words) in [
            ("mail.example.org/cms", "not a URL"),
            ("ftp://mail.example.org/cms", "not the URL of a web service"),
            ("http://mail.example.org/cms", "isn't https"),
            ("https://user:secret@mail.example.org/cms", "must not hold a user name"),
            ("https://mail.example.org/cms?a=b", "more than a host and a path"),
            ("https://mail.example.org/cms#a", "more than a host and a path"),
        ] {
            let refusal = push_url(bad).unwrap_err();
            assert!(refusal.what.contains(words), "{bad}: {}", refusal.what);
            assert!(refusal.hint.unwrap().contains("https://mail.example.org/cms"));
        }
    }
}
