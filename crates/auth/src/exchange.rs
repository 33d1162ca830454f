//! The token endpoint: a code or a refresh token goes in, an access token comes out.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use oauth2::basic::{BasicClient, BasicErrorResponse, BasicTokenResponse};
use oauth2::http::header::CONTENT_TYPE;
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, DeviceAuthorizationUrl,
    DeviceCodeErrorResponse, EndpointNotSet, EndpointSet, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RequestTokenError, Scope, StandardDeviceAuthorizationResponse, TokenUrl,
};

use crate::error::is_about_origin;
use crate::grant::{Denial, Grant, judge, judge_device};
use crate::registration::Endpoints;
use crate::secret::RefreshToken;
use crate::transport::{Besides, Pause, Skew, Transport, TransportError, http_client};
use crate::{AuthError, Registration};

/// How long an attempt to sign in is waited for.
pub(crate) const ATTEMPT_LASTS: Duration = Duration::from_secs(15 * 60);

/// A service may ask for no pause between two questions about a code; this much is kept all the same.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// How far faults on the way may push apart the questions about a code.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);

/// One attempt to sign in: the address for the browser and what must be remembered until it comes back.
pub(crate) struct Attempt {
    pub(crate) address: String,
    pub(crate) state: CsrfToken,
    pub(crate) began: Instant,
    verifier: PkceCodeVerifier,
    redirect: RedirectUrl,
}

/// What an attempt asks for besides the usual.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// The user name that the sign-in page is filled with.
    pub(crate) login_hint: Option<String>,
    /// Whether the user is to choose the account even if the browser knows one.
    pub(crate) select_account: bool,
    /// Whether a refresh token must come of it. Google gives one with a user's consent, which it asks for once.
    pub(crate) refresh_token: bool,
    /// What a claims challenge asked for.
    pub(crate) claims: Option<String>,
}

/// The token endpoint of one registration.
#[derive(Clone)]
pub(crate) struct Exchange {
    registration: Arc<Registration>,
    http: reqwest::Client,
    /// What worked last.
    send_origin: Arc<AtomicBool>,
    /// The port that the browser is sent back to.
    port: Arc<AtomicU16>,
    skew: Skew,
    pause: Pause,
}

pub(crate) type Answer = Result<BasicTokenResponse, RequestTokenError<TransportError, BasicErrorResponse>>;
pub(crate) type DeviceAnswer = Result<BasicTokenResponse, RequestTokenError<TransportError, DeviceCodeErrorResponse>>;
type TokenClient = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

impl Exchange {
    pub(crate) fn new(registration: Registration, port: u16) -> Result<Self, AuthError> {
        let token_url = registration.token_url()?;
        registration.authorize_url()?;
        if let Some(profile) = registration.profile.as_ref().filter(|profile| !crate::may_carry_secrets(&profile.url)) {
            return Err(AuthError::Configuration(format!("{} is neither https nor on this machine", profile.url)));
        }
        let http = http_client(crate::is_loopback(&token_url))
            .map_err(|e| AuthError::Configuration(format!("no HTTP client: {e}")))?;
        let send_origin = Arc::new(AtomicBool::new(registration.send_origin));
        let port = Arc::new(AtomicU16::new(port));
        Ok(Self {
            registration: Arc::new(registration),
            http,
            send_origin,
            port,
            skew: Skew::default(),
            pause: Pause::default(),
        })
    }

    pub(crate) fn registration(&self) -> &Registration {
        &self.registration
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(crate) fn skew(&self) -> &Skew {
        &self.skew
    }

    /// Whether the registration turned out to be that of a single-page application.
    pub(crate) fn is_single_page(&self) -> bool {
        self.send_origin.load(Ordering::Relaxed)
    }

    /// Finds out whether the sign-in service answers at all, whatever it says.
    pub(crate) async fn reach(&self) -> Result<(), AuthError> {
        let mut url = self.registration.token_url()?;
        url.set_path("/");
        let answer = self.http.head(url).send().await.map_err(TransportError::from);
        answer.map(drop).map_err(|error| AuthError::Unreachable(error.to_string()))
    }

    /// Begins an attempt whose answer is awaited at `port` of this machine.
    pub(crate) fn attempt(&self, port: u16, wishes: &Wishes) -> Result<Attempt, AuthError> {
        let configuration = |e: url::ParseError| AuthError::Configuration(e.to_string());
        self.port.store(port, Ordering::Relaxed);
        let redirect = RedirectUrl::new(self.registration.redirect_url(port)).map_err(configuration)?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = BasicClient::new(ClientId::new(self.registration.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(self.registration.authorize_url()?))
            .set_redirect_uri(redirect.clone());
        let mut request = client
            .authorize_url(CsrfToken::new_random)
            .add_scopes(self.registration.all_scopes().cloned().map(Scope::new))
            .set_pkce_challenge(challenge);
        let mut prompts = Vec::new();
        match self.registration.endpoints {
            Endpoints::Microsoft { .. } => request = request.add_extra_param("response_mode", "query"),
            Endpoints::Google { .. } => {
                request = request.add_extra_param("access_type", "offline");
                prompts.extend(wishes.refresh_token.then_some("consent"));
            }
        }
        if let Some(hint) = &wishes.login_hint {
            request = request.add_extra_param("login_hint", hint.clone());
        }
        prompts.extend(wishes.select_account.then_some("select_account"));
        if !prompts.is_empty() {
            request = request.add_extra_param("prompt", prompts.join(" "));
        }
        if let Some(claims) = &wishes.claims {
            request = request.add_extra_param("claims", claims.clone());
        }
        let (address, state) = request.url();
        Ok(Attempt { address: address.into(), state, began: Instant::now(), verifier, redirect })
    }

    /// Redeems the code that the browser brought.
    pub(crate) async fn redeem(&self, attempt: &Attempt, code: &str) -> Result<Grant, Denial> {
        let client = self.client()?.set_redirect_uri(attempt.redirect.clone());
        let mut transport = self.transport();
        loop {
            let mut request = client
                .exchange_code(AuthorizationCode::new(code.to_owned()))
                .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier.secret().clone()));
            if !self.registration.further_resources.is_empty() {
                // Of all that was consented to, one token is for one resource.
                request = request.add_extra_param("scope", self.registration.scopes.join(" "));
            }
            let judged = judge(request.request_async(&transport).await, transport.take_besides());
            if let ControlFlow::Break(outcome) = self.turn_origin(&mut transport, judged) {
                return outcome;
            }
        }
    }

    /// Redeems a refresh token for one of the resources, bringing what a claims challenge asked for.
    pub(crate) async fn refresh(
        &self,
        token: &RefreshToken,
        resource: usize,
        claims: Option<&str>,
    ) -> Result<Grant, Denial> {
        self.refresh_for(token, self.registration.scopes_of(resource), claims).await
    }

    /// The same for any scopes of one resource.
    pub(crate) async fn refresh_for(
        &self,
        token: &RefreshToken,
        scopes: &[String],
        claims: Option<&str>,
    ) -> Result<Grant, Denial> {
        let client = self.client()?;
        let token = oauth2::RefreshToken::new(token.reveal().to_owned());
        let mut transport = self.transport();
        loop {
            let scopes = scopes.iter().cloned().map(Scope::new);
            let mut request = client.exchange_refresh_token(&token).add_scopes(scopes);
            if let Some(claims) = claims {
                request = request.add_extra_param("claims", claims.to_owned());
            }
            let judged = judge(request.request_async(&transport).await, transport.take_besides());
            if let ControlFlow::Break(outcome) = self.turn_origin(&mut transport, judged) {
                return outcome;
            }
        }
    }

    /// Asks for a code that the user types on any device (RFC 8628).
    pub(crate) async fn device_code(&self) -> Result<StandardDeviceAuthorizationResponse, Denial> {
        let none = || Denial::Refused("the service has no sign-in by code for mail".to_owned());
        let url = self.registration.device_url().ok_or_else(none)?.map_err(|e| Denial::Refused(e.to_string()))?;
        let client = self.client()?.set_device_authorization_url(DeviceAuthorizationUrl::from_url(url));
        let request =
            client.exchange_device_code().add_scopes(self.registration.scopes.iter().cloned().map(Scope::new));
        let transport = self.transport();
        let answer = request.request_async(&transport).await;
        answer.map_err(|error| crate::grant::deny(error, transport.take_besides()))
    }

    /// Waits until the user has typed the code, or it is too late.
    pub(crate) async fn await_device(&self, details: &StandardDeviceAuthorizationResponse) -> Result<Grant, Denial> {
        let client = self.client()?;
        let mut transport = Transport { patient: true, ..self.transport() };
        let began = Instant::now();
        loop {
            // The first question isn't due before the first interval is over (RFC 8628, section 3.5).
            tokio::time::sleep(details.interval().max(SHORTEST_INTERVAL)).await;
            let left = details.expires_in().saturating_sub(began.elapsed());
            let answer = client
                .exchange_device_access_token(details)
                .set_max_backoff_interval(LONGEST_INTERVAL.max(details.interval()))
                .request_async(&transport, |wait| tokio::time::sleep(wait.max(SHORTEST_INTERVAL)), Some(left))
                .await;
            let judged = judge_device(answer, transport.take_besides());
            if let ControlFlow::Break(outcome) = self.turn_origin(&mut transport, judged) {
                return outcome;
            }
        }
    }

    /// Has the service forget a refresh token, where it can. Says whether it did.
    pub(crate) async fn revoke(&self, token: &RefreshToken) -> Result<bool, AuthError> {
        let Some(url) = self.registration.revoke_url() else { return Ok(false) };
        let unreachable = |error: reqwest::Error| AuthError::Unreachable(TransportError::from(error).to_string());
        let body = url::form_urlencoded::Serializer::new(String::new()).append_pair("token", token.reveal()).finish();
        let request = self.http.post(url?).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        let status = request.send().await.map_err(unreachable)?.status();
        match status.as_u16() {
            // A token that the service doesn't know is as good as revoked (RFC 7009, section 2.2).
            200..=299 | 400 => Ok(true),
            status => Err(AuthError::Unreachable(format!("it answered with status {status}"))),
        }
    }

    /// Says what came of a request, unless it was refused as invalid: then turns the `Origin` header on or off, once, for
    /// the request to be made again. Which kind a registration is can't be asked.
    fn turn_origin(
        &self,
        transport: &mut Transport,
        judged: Result<Grant, Denial>,
    ) -> ControlFlow<Result<Grant, Denial>> {
        let microsoft = matches!(self.registration.endpoints, Endpoints::Microsoft { .. });
        ControlFlow::Break(match (judged, transport.refused.take()) {
            (Ok(grant), _) => {
                self.send_origin.store(transport.send_origin, Ordering::Relaxed);
                Ok(grant)
            }
            (Err(Denial::Invalid(reason)), None) if microsoft => {
                transport.send_origin = !transport.send_origin;
                transport.refused = Some(reason);
                return ControlFlow::Continue(());
            }
            // The header was right at first, so that it was refused for something else.
            (Err(Denial::Invalid(again)), Some(reason)) if is_about_origin(&again) => Err(Denial::Refused(reason)),
            (Err(Denial::Invalid(reason)), _) => Err(Denial::Refused(reason)),
            (Err(denial), _) => Err(denial),
        })
    }

    fn client(&self) -> Result<TokenClient, Denial> {
        let url = self.registration.token_url().map_err(|e| Denial::Refused(e.to_string()))?;
        let client = BasicClient::new(ClientId::new(self.registration.client_id.clone()))
            .set_token_uri(TokenUrl::from_url(url))
            // In the body, as both services document it for programs that users install.
            .set_auth_type(AuthType::RequestBody);
        Ok(match &self.registration.client_secret {
            Some(secret) => client.set_client_secret(ClientSecret::new(secret.clone())),
            None => client,
        })
    }

    fn transport(&self) -> Transport {
        Transport {
            http: self.http.clone(),
            origin: self.registration.origin(self.port.load(Ordering::Relaxed)),
            send_origin: self.send_origin.load(Ordering::Relaxed),
            refused: None,
            patient: false,
            skew: self.skew.clone(),
            pause: self.pause.clone(),
            consent_page: self.registration.consent_page(),
            besides: std::sync::Mutex::new(Besides::default()),
        }
    }
}
