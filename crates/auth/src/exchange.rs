//! The token endpoint: a code or a refresh token goes in, an access token comes out.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use oauth2::basic::{BasicClient, BasicErrorResponseType, BasicTokenResponse};
use oauth2::http::HeaderValue;
use oauth2::http::header::ORIGIN;
use oauth2::{
    AsyncHttpClient, AuthUrl, AuthorizationCode, ClientId, CsrfToken, EndpointNotSet, EndpointSet, HttpRequest,
    HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, TokenResponse, TokenUrl,
};

use crate::error::explain;
use crate::secret::RefreshToken;
use crate::{AccessToken, AuthError, Registration};

/// No honest answer of a token endpoint comes near this.
const LARGEST_ANSWER_BYTES: usize = 1 << 20;
/// What a token is taken to be good for when the service doesn't say (`expires_in` is only recommended).
const LIFE_IF_UNTOLD: Duration = Duration::from_secs(300);

/// Nothing is believed to last longer, whatever the service says.
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the token endpoint granted.
pub(crate) struct Grant {
    pub(crate) access: AccessToken,
    pub(crate) renew_at: SystemTime,
    /// Absent when the one at hand stays good.
    pub(crate) refresh: Option<RefreshToken>,
}

/// Why nothing was granted.
pub(crate) enum Denial {
    /// What was redeemed is no longer good: only the user can help.
    Ended(String),
    /// The service refuses, and will again.
    Refused(String),
    /// The service can't be reached or made no sense; what was redeemed may still be good.
    Unreachable(String),
}

/// One attempt to sign in: the address for the browser and what must be remembered until it comes back.
pub(crate) struct Attempt {
    pub(crate) address: String,
    pub(crate) state: CsrfToken,
    verifier: PkceCodeVerifier,
    redirect: RedirectUrl,
}

/// The token endpoint of one registration.
#[derive(Clone)]
pub(crate) struct Exchange {
    registration: Registration,
    http: reqwest::Client,
    /// What worked last.
    send_origin: Arc<AtomicBool>,
}

type TokenClient = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

impl Exchange {
    pub(crate) fn new(registration: Registration) -> Result<Self, AuthError> {
        let token_url = registration.token_url()?;
        registration.authorize_url()?;
        // A second installation is refused, and the first one is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(60))
            // A secret goes where it was addressed to and nowhere else.
            .redirect(reqwest::redirect::Policy::none());
        if crate::is_loopback(&token_url) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|e| AuthError::Configuration(format!("no HTTP client: {e}")))?;
        let send_origin = Arc::new(AtomicBool::new(registration.send_origin));
        Ok(Self { registration, http, send_origin })
    }

    /// Finds out whether the sign-in service answers at all, whatever it says.
    pub(crate) async fn reach(&self) -> Result<(), AuthError> {
        let mut url = self.registration.token_url()?;
        url.set_path("/");
        let answer = self.http.head(url).send().await.map_err(TransportError::from);
        answer.map(drop).map_err(|error| AuthError::Unreachable(error.to_string()))
    }

    /// Begins an attempt whose answer is awaited at `listening`.
    pub(crate) fn attempt(&self, listening: SocketAddr, login_hint: Option<&str>) -> Result<Attempt, AuthError> {
        let configuration = |e: url::ParseError| AuthError::Configuration(e.to_string());
        let redirect = RedirectUrl::new(self.registration.redirect_url(listening)).map_err(configuration)?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = BasicClient::new(ClientId::new(self.registration.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(self.registration.authorize_url()?))
            .set_redirect_uri(redirect.clone());
        let mut request = client
            .authorize_url(CsrfToken::new_random)
            .add_scopes(self.scopes())
            .add_extra_param("response_mode", "query")
            .set_pkce_challenge(challenge);
        if let Some(hint) = login_hint {
            request = request.add_extra_param("login_hint", hint.to_owned());
        }
        let (address, state) = request.url();
        Ok(Attempt { address: address.into(), state, verifier, redirect })
    }

    /// Redeems the code that the browser brought.
    pub(crate) async fn redeem(&self, attempt: &Attempt, code: &str, listening: SocketAddr) -> Result<Grant, Denial> {
        let client = self.client()?.set_redirect_uri(attempt.redirect.clone());
        let mut transport = self.transport(listening);
        loop {
            let answer = client
                .exchange_code(AuthorizationCode::new(code.to_owned()))
                .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier.secret().clone()))
                .request_async(&transport)
                .await;
            if !self.turn_origin(&mut transport, &answer) {
                return judge(answer);
            }
        }
    }

    /// Redeems a refresh token.
    pub(crate) async fn refresh(&self, token: &RefreshToken, listening: SocketAddr) -> Result<Grant, Denial> {
        let client = self.client()?;
        let token = oauth2::RefreshToken::new(token.reveal().to_owned());
        let mut transport = self.transport(listening);
        loop {
            let request = client.exchange_refresh_token(&token).add_scopes(self.scopes());
            let answer = request.request_async(&transport).await;
            if !self.turn_origin(&mut transport, &answer) {
                return judge(answer);
            }
        }
    }

    /// After a request that was refused as invalid, turns the `Origin` header on or off, once, and says that the request
    /// should be made again. Which kind a registration is can't be asked.
    fn turn_origin(&self, transport: &mut Transport, answer: &Answer) -> bool {
        let refused = matches!(
            answer,
            Err(RequestTokenError::ServerResponse(said)) if *said.error() == BasicErrorResponseType::InvalidRequest
        );
        if answer.is_ok() {
            self.send_origin.store(transport.send_origin, Ordering::Relaxed);
        }
        let again = refused && !transport.turned;
        if again {
            transport.send_origin = !transport.send_origin;
            transport.turned = true;
        }
        again
    }

    fn client(&self) -> Result<TokenClient, Denial> {
        let url = self.registration.token_url().map_err(|e| Denial::Refused(e.to_string()))?;
        Ok(BasicClient::new(ClientId::new(self.registration.client_id.clone())).set_token_uri(TokenUrl::from_url(url)))
    }

    fn scopes(&self) -> Vec<Scope> {
        self.registration.scopes.iter().cloned().map(Scope::new).collect()
    }

    fn transport(&self, listening: SocketAddr) -> Transport {
        let send_origin = self.send_origin.load(Ordering::Relaxed);
        Transport { http: self.http.clone(), origin: self.registration.origin(listening), send_origin, turned: false }
    }
}

/// Carries a request of the `oauth2` crate.
struct Transport {
    http: reqwest::Client,
    origin: String,
    send_origin: bool,
    turned: bool,
}

/// A fault on the way, or one of the service that says nothing of the grant.
#[derive(Debug, thiserror::Error)]
enum TransportError {
    #[error("{0}")]
    Network(String),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("its answer has no end")]
    TooLarge,
    #[error("the request can't be made")]
    Request,
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::Network(text)
    }
}

impl<'c> AsyncHttpClient<'c> for Transport {
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.carry(request))
    }
}

impl Transport {
    async fn carry(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let mut request = reqwest::Request::try_from(request).map_err(|_| TransportError::Request)?;
        if self.send_origin {
            let value = HeaderValue::from_str(&self.origin).map_err(|_| TransportError::Request)?;
            request.headers_mut().insert(ORIGIN, value);
        }
        let mut answer = self.http.execute(request).await?;
        let status = answer.status();
        // Whatever such an answer says in its body, it isn't about the grant.
        if status.is_server_error() || status.as_u16() == 429 || status.is_redirection() {
            return Err(TransportError::Status(status.as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_ANSWER_BYTES {
                return Err(TransportError::TooLarge);
            }
        }
        let mut response = HttpResponse::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = answer.headers().clone();
        Ok(response)
    }
}

type Answer = Result<BasicTokenResponse, RequestTokenError<TransportError, oauth2::basic::BasicErrorResponse>>;

fn judge(answer: Answer) -> Result<Grant, Denial> {
    match answer {
        Ok(answer) => {
            let life = answer.expires_in().unwrap_or(LIFE_IF_UNTOLD);
            // A minute early, so that no token expires on its way; half of a life shorter than that.
            let life = life.min(LONGEST_LIFE);
            let lead = Duration::from_secs(60).min(life / 2);
            Ok(Grant {
                access: AccessToken::new(answer.access_token().secret().as_str()),
                renew_at: SystemTime::now() + life.saturating_sub(lead),
                refresh: answer.refresh_token().map(|token| RefreshToken::new(token.secret().as_str())),
            })
        }
        Err(RequestTokenError::ServerResponse(said)) => {
            let error = said.error().as_ref().to_owned();
            let reason = explain(&error, said.error_description().map_or("", String::as_str));
            Err(match said.error() {
                BasicErrorResponseType::InvalidGrant => Denial::Ended(reason),
                BasicErrorResponseType::Extension(name) => match name.as_str() {
                    "interaction_required" | "login_required" | "consent_required" => Denial::Ended(reason),
                    "temporarily_unavailable" | "server_error" | "slow_down" => Denial::Unreachable(reason),
                    _ => Denial::Refused(reason),
                },
                BasicErrorResponseType::InvalidClient
                | BasicErrorResponseType::InvalidRequest
                | BasicErrorResponseType::InvalidScope
                | BasicErrorResponseType::UnauthorizedClient
                | BasicErrorResponseType::UnsupportedGrantType => Denial::Refused(reason),
            })
        }
        Err(RequestTokenError::Request(error)) => Err(Denial::Unreachable(error.to_string())),
        // The bytes that couldn't be read may hold tokens: neither they nor the reader's words about them are told.
        Err(RequestTokenError::Parse(..) | RequestTokenError::Other(_)) => Err(Denial::Unreachable(
            "its answer makes no sense; a proxy or a sign-in page may be in between".to_owned(),
        )),
    }
}
