//! As what the program is known to a sign-in service.

use std::net::SocketAddr;

use url::Url;

use crate::AuthError;
use crate::may_carry_secrets;

/// One of Microsoft's clouds. Accounts, registrations and tokens of one are unknown in the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NationalCloud {
    /// The cloud for everybody, and US GCC.
    #[default]
    Global,
    /// US GCC High.
    UsGov,
    /// US Department of Defense.
    UsDod,
    /// China, operated by 21Vianet.
    China,
}

impl NationalCloud {
    /// The name under which the configuration knows it: `global`, `usgov`, `usdod` or `china`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "global" => Self::Global,
            "usgov" => Self::UsGov,
            "usdod" => Self::UsDod,
            "china" => Self::China,
            _ => return None,
        })
    }

    /// Where users sign in.
    pub fn login_host(self) -> &'static str {
        match self {
            Self::Global => "login.microsoftonline.com",
            Self::UsGov | Self::UsDod => "login.microsoftonline.us",
            Self::China => "login.chinacloudapi.cn",
        }
    }

    /// Where Microsoft Graph is (Microsoft Graph national cloud deployments).
    pub fn graph_host(self) -> &'static str {
        match self {
            Self::Global => "graph.microsoft.com",
            Self::UsGov => "graph.microsoft.us",
            Self::UsDod => "dod-graph.microsoft.us",
            Self::China => "microsoftgraph.chinacloudapi.cn",
        }
    }

    /// The address of the sign-in service.
    pub fn login_url(self) -> Url {
        host_url(self.login_host())
    }

    /// The address of Microsoft Graph, without a version.
    pub fn graph_url(self) -> Url {
        host_url(self.graph_host())
    }
}

#[allow(clippy::expect_used)]
fn host_url(host: &str) -> Url {
    // Only the constant host names above come here; a test parses each.
    Url::parse(&format!("https://{host}")).expect("a host name makes a URL")
}

/// The program's registration with a sign-in service.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The sign-in service, such as `https://login.microsoftonline.com`.
    pub login_url: Url,
    /// A tenant's id or domain, or `common`, `organizations`, `consumers`.
    pub tenant: String,
    /// The registered application's id.
    pub client_id: String,
    /// The path of the registered redirect address; compared exactly by the service.
    pub redirect_path: String,
    /// The host of the registered redirect address: `127.0.0.1` or `localhost`, which the service tells apart.
    pub redirect_host: String,
    /// Whether token requests carry an `Origin` header at first: it is demanded if the redirect address is registered as
    /// that of a single-page application, and refused if it isn't (Redirect URI restrictions and limitations). A request
    /// that is refused as invalid is made once more the other way.
    pub send_origin: bool,
    /// What is asked for. The scopes of one resource only, besides `offline_access`.
    pub scopes: Vec<String>,
}

impl Registration {
    /// The public client that this program is registered as at Microsoft.
    pub const MICROSOFT_CLIENT_ID: &str = "122f4826-adf9-465d-8e84-e9d00bc9f234";

    /// Reads and changes mail in one of Microsoft's clouds. Without a tenant any account may sign in, without a
    /// client id the program's own registration is used.
    pub fn microsoft(cloud: NationalCloud, tenant: Option<&str>, client_id: Option<&str>) -> Self {
        let graph = cloud.graph_host();
        let client_id = client_id.unwrap_or(Self::MICROSOFT_CLIENT_ID);
        Self {
            login_url: cloud.login_url(),
            tenant: tenant.unwrap_or("common").to_owned(),
            client_id: client_id.to_owned(),
            redirect_path: "/oauth2/msal".to_owned(),
            redirect_host: "127.0.0.1".to_owned(),
            send_origin: false,
            scopes: vec![
                format!("https://{graph}/User.Read"),
                format!("https://{graph}/Mail.ReadWrite"),
                "offline_access".to_owned(),
            ],
        }
    }

    /// Where the browser goes to sign in.
    pub(crate) fn authorize_url(&self) -> Result<Url, AuthError> {
        self.endpoint("authorize")
    }

    /// Where codes and refresh tokens are redeemed.
    pub(crate) fn token_url(&self) -> Result<Url, AuthError> {
        self.endpoint("token")
    }

    fn endpoint(&self, name: &str) -> Result<Url, AuthError> {
        if !may_carry_secrets(&self.login_url) {
            return Err(AuthError::Configuration(format!("{} is neither https nor on this machine", self.login_url)));
        }
        let mut url = self.login_url.clone();
        url.path_segments_mut()
            .map_err(|()| AuthError::Configuration(format!("{} can't be a sign-in service", self.login_url)))?
            .pop_if_empty()
            .extend([self.tenant.as_str(), "oauth2", "v2.0", name]);
        Ok(url)
    }

    /// The address that the browser comes back to when `listening` is where we wait for it.
    pub(crate) fn redirect_url(&self, listening: SocketAddr) -> String {
        format!("http://{}:{}{}", self.redirect_host, listening.port(), self.redirect_path)
    }

    /// The value of the `Origin` header, for the registrations that want one.
    pub(crate) fn origin(&self, listening: SocketAddr) -> String {
        format!("http://{}:{}", self.redirect_host, listening.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cloud_has_its_own_hosts_and_scopes() {
        for (name, login, graph) in [
            ("global", "login.microsoftonline.com", "graph.microsoft.com"),
            ("usgov", "login.microsoftonline.us", "graph.microsoft.us"),
            ("usdod", "login.microsoftonline.us", "dod-graph.microsoft.us"),
            ("china", "login.chinacloudapi.cn", "microsoftgraph.chinacloudapi.cn"),
        ] {
            let cloud = NationalCloud::from_name(name).unwrap();
            assert_eq!(cloud.login_url().host_str(), Some(login));
            assert_eq!(cloud.graph_url().host_str(), Some(graph));
            let registration = Registration::microsoft(cloud, None, None);
            assert!(registration.scopes.contains(&format!("https://{graph}/Mail.ReadWrite")));
            assert!(registration.scopes.contains(&"offline_access".to_owned()));
        }
        assert_eq!(NationalCloud::from_name("mars"), None);
    }

    #[test]
    fn the_endpoints_are_the_tenants_own() {
        let mut registration = Registration::microsoft(NationalCloud::Global, Some("contoso.com"), Some("id"));
        assert_eq!(
            registration.token_url().unwrap().as_str(),
            "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token"
        );
        registration.login_url = "http://login.example.com".parse().unwrap();
        assert!(matches!(registration.token_url(), Err(AuthError::Configuration(_))));
    }
}
