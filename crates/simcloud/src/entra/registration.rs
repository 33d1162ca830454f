//! The applications that may ask for tokens, and where they may be redirected to.

use serde::{Deserialize, Serialize};
use url::Url;

use super::refused::Refused;

/// The client id of the public registration that many clients share.
pub const DEFAULT_CLIENT_ID: &str = "122f4826-adf9-465d-8e84-e9d00bc9f234";

/// What kind of redirect an application is registered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectType {
    /// Mobile and desktop; an `Origin` header is refused.
    #[default]
    Native,
    /// Single-page application; an `Origin` header is demanded, and refresh tokens die after a day.
    Spa,
}

/// An application that may ask for tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Its client id.
    pub client_id: String,
    /// Where it may be redirected to; the port of a loopback address doesn't matter.
    pub redirects: Vec<String>,
    /// What kind the redirects are.
    #[serde(default)]
    pub redirect_type: RedirectType,
    /// Whether it may do without a secret ("allow public client flows").
    #[serde(default = "yes")]
    pub public_client: bool,
    /// The only tenant that it can be used in, by name or GUID; any tenant if none is named.
    #[serde(default)]
    pub tenant: Option<String>,
}

fn yes() -> bool {
    true
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            client_id: DEFAULT_CLIENT_ID.to_owned(),
            redirects: ["http://127.0.0.1:8080/oauth2/msal", "http://localhost:8080/oauth2/msal"]
                .map(str::to_owned)
                .into(),
            redirect_type: RedirectType::Native,
            public_client: true,
            tenant: None,
        }
    }
}

impl Registration {
    /// Refuses a path of another tenant than the only one that the application is registered in.
    pub(super) fn check_tenant(&self, tenant: &str) -> Result<(), Refused> {
        match self.tenant.as_deref() {
            None => Ok(()),
            Some(only) if only.eq_ignore_ascii_case(tenant) => Ok(()),
            Some(_) if matches!(tenant, "common" | "organizations" | "consumers") => Err(Refused::new(
                "invalid_request",
                50_194,
                &format!(
                    "Application '{}' is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps.",
                    self.client_id
                ),
            )),
            Some(_) => Err(unknown_application(&self.client_id)),
        }
    }

    /// Refuses an application that would have to show a secret.
    pub(super) fn check_public(&self) -> Result<(), Refused> {
        if self.public_client {
            return Ok(());
        }
        Err(Refused::new(
            "invalid_client",
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ))
    }
}

/// The refusal for a client id that isn't known in the tenant.
pub(super) fn unknown_application(client_id: &str) -> Refused {
    let text = format!("Application with identifier '{client_id}' was not found in the directory.");
    Refused::new("unauthorized_client", 700_016, &text)
}

/// Whether an application may be redirected there: the port of a loopback address is not compared.
pub(super) fn redirect_fits(registered: &str, asked: &str) -> bool {
    let (Ok(one), Ok(other)) = (Url::parse(registered), Url::parse(asked)) else { return false };
    let loopback = matches!(one.host_str(), Some("localhost" | "127.0.0.1"));
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && (loopback || one.port_or_known_default() == other.port_or_known_default())
        && one.path() == other.path()
        && one.query() == other.query()
        && other.fragment().is_none()
        && (loopback || other.scheme() == "https")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_port_of_a_loopback_redirect_is_free() {
        let registered = "http://127.0.0.1:8080/oauth2/msal";
        assert!(redirect_fits(registered, "http://127.0.0.1:45678/oauth2/msal"));
        assert!(!redirect_fits(registered, "http://localhost:8080/oauth2/msal"));
        assert!(!redirect_fits(registered, "http://127.0.0.1:8080/oauth2/MSAL"));
        assert!(!redirect_fits(registered, "http://127.0.0.1:8080/oauth2/msal/"));
        assert!(!redirect_fits("https://example.com/a", "https://example.com:444/a"));
    }
}
