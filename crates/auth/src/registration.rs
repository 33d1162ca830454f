//! As what the program is known to a sign-in service.

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

fn host_url(host: &str) -> Url {
    service_url(&format!("https://{host}"))
}

#[allow(clippy::expect_used)]
fn service_url(url: &str) -> Url {
    // Only addresses made of the constants in this file come here; a test makes each.
    Url::parse(url).expect("a constant is an address")
}

/// Where a sign-in service is.
#[derive(Clone, Debug)]
pub enum Endpoints {
    /// Entra ID, version 2.0 (Microsoft identity platform).
    Microsoft {
        /// Such as `https://login.microsoftonline.com`.
        login_url: Url,
        /// A tenant's id or domain, or `common`, `organizations`, `consumers`.
        tenant: String,
    },
    /// Google (OAuth 2.0 for mobile and desktop apps).
    Google {
        /// Where the browser goes.
        auth_url: Url,
        /// Where codes and refresh tokens are redeemed.
        token_url: Url,
        /// Where refresh tokens are revoked.
        revoke_url: Url,
    },
}

/// Where to learn whose an access token is.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Asked with the access token; answers with a JSON object.
    pub url: Url,
    /// The members that hold the account's names, the best one first.
    pub members: &'static [&'static str],
}

/// The program's registration with a sign-in service.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The sign-in service.
    pub endpoints: Endpoints,
    /// The registered application's id.
    pub client_id: String,
    /// What Google gives to desktop applications and doesn't treat as a secret. Microsoft's public clients have none.
    pub client_secret: Option<String>,
    /// The path of the registered redirect address; compared exactly by the service.
    pub redirect_path: String,
    /// The host of the registered redirect address: `127.0.0.1` or `localhost`, which the service tells apart.
    pub redirect_host: String,
    /// Whether token requests carry an `Origin` header at first: it is demanded if the redirect address is registered as
    /// that of a single-page application, and refused if it isn't (Redirect URI restrictions and limitations). A request
    /// that is refused as invalid is made once more the other way.
    pub send_origin: bool,
    /// What is asked for: the scopes of the main resource, and `offline_access`.
    pub scopes: Vec<String>,
    /// The scopes of each further resource. The user consents to all at once; a token is for one resource.
    pub further_resources: Vec<Vec<String>>,
    /// Where to learn who has signed in.
    pub profile: Option<Profile>,
}

impl Registration {
    /// The public client that this program is registered as at Microsoft.
    pub const MICROSOFT_CLIENT_ID: &str = "122f4826-adf9-465d-8e84-e9d00bc9f234";
    /// The client that this program is registered as at Google.
    pub const GOOGLE_CLIENT_ID: &str = "14979213351-bik90v3b8b9f22160ura3oah71u3l113.apps.googleusercontent.com";

    /// Reads and changes mail in one of Microsoft's clouds. Without a tenant any account may sign in, without a
    /// client id the program's own registration is used.
    pub fn microsoft(cloud: NationalCloud, tenant: Option<&str>, client_id: Option<&str>) -> Self {
        let graph = cloud.graph_host();
        let registration = Self {
            endpoints: Endpoints::Microsoft {
                login_url: cloud.login_url(),
                tenant: tenant.unwrap_or("common").to_owned(),
            },
            client_id: client_id.unwrap_or(Self::MICROSOFT_CLIENT_ID).to_owned(),
            client_secret: None,
            redirect_path: "/oauth2/msal".to_owned(),
            redirect_host: "127.0.0.1".to_owned(),
            send_origin: false,
            scopes: vec![
                format!("https://{graph}/User.Read"),
                format!("https://{graph}/Mail.ReadWrite"),
                OFFLINE_ACCESS.to_owned(),
            ],
            further_resources: Vec::new(),
            profile: None,
        };
        registration.with_graph_at(&cloud.graph_url())
    }

    /// Reads and changes mail at Google. It is the user's own registration that can be relied on: one that many share
    /// isn't verified, and may be limited or withdrawn.
    pub fn google(client_id: Option<&str>, client_secret: Option<&str>) -> Self {
        Self {
            endpoints: Endpoints::Google {
                auth_url: service_url("https://accounts.google.com/o/oauth2/v2/auth"),
                token_url: service_url("https://oauth2.googleapis.com/token"),
                revoke_url: service_url("https://oauth2.googleapis.com/revoke"),
            },
            client_id: client_id.unwrap_or(Self::GOOGLE_CLIENT_ID).to_owned(),
            client_secret: client_secret.map(str::to_owned),
            redirect_path: "/oauth2/gmail".to_owned(),
            redirect_host: "127.0.0.1".to_owned(),
            send_origin: false,
            scopes: vec!["https://www.googleapis.com/auth/gmail.modify".to_owned()],
            further_resources: Vec::new(),
            profile: Some(Profile {
                url: service_url("https://gmail.googleapis.com/gmail/v1/users/me/profile"),
                members: &["emailAddress"],
            }),
        }
    }

    /// The same with Microsoft Graph at another address, which is then asked who has signed in.
    #[must_use]
    pub fn with_graph_at(mut self, graph_url: &Url) -> Self {
        let mut url = graph_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1.0", "me"]);
        }
        url.set_query(Some("$select=userPrincipalName,mail"));
        self.profile = Some(Profile { url, members: &["userPrincipalName", "mail"] });
        self
    }

    /// The same with other scopes. `offline_access` is added: without it nothing could be renewed.
    #[must_use]
    pub fn with_scopes(mut self, scopes: Vec<String>) -> Self {
        self.scopes = scopes;
        let microsoft = matches!(self.endpoints, Endpoints::Microsoft { .. });
        if microsoft && !self.scopes.iter().any(|scope| scope == OFFLINE_ACCESS) {
            self.scopes.push(OFFLINE_ACCESS.to_owned());
        }
        self
    }

    /// The service's name, for people.
    pub fn service(&self) -> &'static str {
        match self.endpoints {
            Endpoints::Microsoft { .. } => "Microsoft 365",
            Endpoints::Google { .. } => "Gmail",
        }
    }

    /// What an account without a user's name is called: the tenant, or the service.
    pub fn unnamed_account(&self) -> &str {
        match &self.endpoints {
            Endpoints::Microsoft { tenant, .. } => tenant,
            Endpoints::Google { .. } => "Gmail",
        }
    }

    /// Under what a sign-in as `user` is kept: tokens are of use only with the client and the service that they came from.
    pub fn kept_as(&self, user: Option<&str>) -> String {
        let user = user.unwrap_or_default().to_lowercase();
        match &self.endpoints {
            Endpoints::Microsoft { login_url, tenant } => {
                format!("{} {tenant} {} {user}", host_of(login_url), self.client_id)
            }
            Endpoints::Google { token_url, .. } => format!("{} {} {user}", host_of(token_url), self.client_id),
        }
    }

    /// The origin of the page where users sign in.
    pub fn sign_in_origin(&self) -> String {
        match &self.endpoints {
            Endpoints::Microsoft { login_url, .. } => login_url,
            Endpoints::Google { auth_url, .. } => auth_url,
        }
        .origin()
        .ascii_serialization()
    }

    /// The page where an administrator consents for the whole organisation, where the service has one.
    pub(crate) fn consent_page(&self) -> Option<String> {
        let Endpoints::Microsoft { login_url, tenant } = &self.endpoints else { return None };
        let mut url = login_url.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend([tenant.as_str(), "adminconsent"]);
        url.query_pairs_mut().append_pair("client_id", &self.client_id);
        Some(url.into())
    }

    /// The page where a user sees and ends the sign-ins of all programs, where the service lets a program end none.
    pub fn sign_ins_page(&self) -> Option<&'static str> {
        match self.endpoints {
            Endpoints::Microsoft { .. } => Some("https://myapplications.microsoft.com"),
            Endpoints::Google { .. } => None,
        }
    }

    /// Whether the service can show a code to be typed on another device. Google's can't for mail.
    pub fn has_device_codes(&self) -> bool {
        matches!(self.endpoints, Endpoints::Microsoft { .. })
    }

    /// The scopes for a token of one resource; 0 is the main one.
    pub(crate) fn scopes_of(&self, resource: usize) -> &[String] {
        match resource.checked_sub(1) {
            None => &self.scopes,
            Some(further) => self.further_resources.get(further).map_or(&[], Vec::as_slice),
        }
    }

    /// Everything that the user is asked to consent to.
    pub(crate) fn all_scopes(&self) -> impl Iterator<Item = &String> {
        self.scopes.iter().chain(self.further_resources.iter().flatten())
    }

    /// Where the browser goes to sign in.
    pub(crate) fn authorize_url(&self) -> Result<Url, AuthError> {
        match &self.endpoints {
            Endpoints::Microsoft { .. } => self.microsoft_url("authorize"),
            Endpoints::Google { auth_url, .. } => checked(auth_url),
        }
    }

    /// Where codes and refresh tokens are redeemed.
    pub(crate) fn token_url(&self) -> Result<Url, AuthError> {
        match &self.endpoints {
            Endpoints::Microsoft { .. } => self.microsoft_url("token"),
            Endpoints::Google { token_url, .. } => checked(token_url),
        }
    }

    /// Where a device code is asked for, if anywhere.
    pub(crate) fn device_url(&self) -> Option<Result<Url, AuthError>> {
        self.has_device_codes().then(|| self.microsoft_url("devicecode"))
    }

    /// Where a refresh token is revoked, if anywhere. Entra ID lets no public client revoke its own.
    pub(crate) fn revoke_url(&self) -> Option<Result<Url, AuthError>> {
        match &self.endpoints {
            Endpoints::Microsoft { .. } => None,
            Endpoints::Google { revoke_url, .. } => Some(checked(revoke_url)),
        }
    }

    fn microsoft_url(&self, name: &str) -> Result<Url, AuthError> {
        let Endpoints::Microsoft { login_url, tenant } = &self.endpoints else {
            return Err(AuthError::Configuration("only Microsoft has tenants".to_owned()));
        };
        let mut url = checked(login_url)?;
        url.path_segments_mut()
            .map_err(|()| AuthError::Configuration(format!("{login_url} can't be a sign-in service")))?
            .pop_if_empty()
            .extend([tenant.as_str(), "oauth2", "v2.0", name]);
        Ok(url)
    }

    /// The address that the browser comes back to when `port` is where we wait for it.
    pub(crate) fn redirect_url(&self, port: u16) -> String {
        format!("http://{}:{port}{}", self.redirect_host, self.redirect_path)
    }

    /// The value of the `Origin` header, for the registrations that want one.
    pub(crate) fn origin(&self, port: u16) -> String {
        format!("http://{}:{port}", self.redirect_host)
    }
}

/// Asks for a refresh token (`OpenID` Connect Core, section 11).
const OFFLINE_ACCESS: &str = "offline_access";

fn checked(url: &Url) -> Result<Url, AuthError> {
    if may_carry_secrets(url) {
        Ok(url.clone())
    } else {
        Err(AuthError::Configuration(format!("{url} is neither https nor on this machine")))
    }
}

fn host_of(url: &Url) -> String {
    url[url::Position::BeforeHost..url::Position::AfterPort].to_owned()
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
        registration.endpoints = Endpoints::Microsoft {
            login_url: "http://login.example.com".parse().unwrap(),
            tenant: "common".to_owned(),
        };
        assert!(matches!(registration.token_url(), Err(AuthError::Configuration(_))));
    }

    #[test]
    fn googles_registration_has_its_own_addresses_and_no_device_codes() {
        let registration = Registration::google(None, Some("x"));
        assert_eq!(registration.authorize_url().unwrap().host_str(), Some("accounts.google.com"));
        assert_eq!(registration.token_url().unwrap().as_str(), "https://oauth2.googleapis.com/token");
        assert!(registration.device_url().is_none() && registration.revoke_url().is_some());
        assert!(!registration.scopes.iter().any(|scope| scope == OFFLINE_ACCESS));
    }

    #[test]
    fn a_sign_in_is_kept_apart_for_each_client_tenant_and_user() {
        let kept = |tenant, client| {
            Registration::microsoft(NationalCloud::Global, tenant, client).kept_as(Some("User@Domain.com"))
        };
        assert_eq!(kept(None, Some("id")), "login.microsoftonline.com common id user@domain.com");
        assert_ne!(kept(None, Some("id")), kept(None, Some("other")));
        assert_ne!(kept(None, Some("id")), kept(Some("contoso.com"), Some("id")));
    }

    #[test]
    fn own_scopes_can_be_renewed_too_and_graph_is_asked_where_it_is() {
        let registration = Registration::microsoft(NationalCloud::Global, None, None)
            .with_scopes(vec!["https://graph.microsoft.com/Mail.Read".to_owned()])
            .with_graph_at(&"http://127.0.0.1:9/sub/".parse().unwrap());
        assert_eq!(registration.scopes.len(), 2);
        let profile = registration.profile.unwrap().url;
        assert_eq!(profile.as_str(), "http://127.0.0.1:9/sub/v1.0/me?$select=userPrincipalName,mail");
    }
}
