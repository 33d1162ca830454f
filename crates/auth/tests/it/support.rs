//! A simulated service, an account at it, and a browser that obeys.

use std::sync::Arc;
use std::time::Duration;

use cms_auth::{
    Endpoints, Landing, NationalCloud, Patience, Registration, SignInState, TokenSource, TokenSourceOptions, Vault,
};
use simcloud::Server;
use url::Url;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Where the browser is expected back; nothing listens there.
pub(crate) const PORT: u16 = 8080;

pub(crate) const USER: &str = "user@domain.com";

pub(crate) async fn start() -> Server {
    simcloud::serve(simcloud::Options::default()).await.unwrap()
}

/// The program's registration, with the service where the simulation is.
pub(crate) fn registration(server: &Server) -> Registration {
    let url: Url = server.url().parse().unwrap();
    let mut registration = Registration::microsoft(NationalCloud::Global, None, None).with_graph_at(&url);
    registration.endpoints = Endpoints::Microsoft { login_url: url, tenant: "common".to_owned() };
    registration
}

pub(crate) fn options(server: &Server, patience: Patience) -> TokenSourceOptions {
    TokenSourceOptions {
        registration: registration(server),
        user: Some(USER.to_owned()),
        vault: None,
        port: PORT,
        patience,
    }
}

/// Google's registration, with all of Google where the simulation is.
pub(crate) fn google_registration(server: &Server) -> Registration {
    let url = |path: &str| Url::parse(&server.url()).unwrap().join(path).unwrap();
    let mut registration = Registration::google(None, Some(simcloud::DEFAULT_GOOGLE_CLIENT_SECRET));
    registration.endpoints =
        Endpoints::Google { auth_url: url("/o/oauth2/v2/auth"), token_url: url("/token"), revoke_url: url("/revoke") };
    registration.profile.as_mut().unwrap().url = url("/gmail/v1/users/me/profile");
    registration
}

/// An account with another registration, which waits for nobody.
pub(crate) fn source_as(server: &Server, registration: Registration) -> TokenSource {
    TokenSource::new(TokenSourceOptions { registration, ..options(server, Patience::None) }).unwrap()
}

/// An account that waits for nobody.
pub(crate) fn source(server: &Server) -> TokenSource {
    TokenSource::new(options(server, Patience::None)).unwrap()
}

pub(crate) fn kept_source(server: &Server, vault: &Arc<Vault>) -> TokenSource {
    TokenSource::new(TokenSourceOptions { vault: Some(vault.clone()), ..options(server, Patience::None) }).unwrap()
}

/// Goes where a browser would, and returns the query that it would come back with. Nothing if it isn't sent back.
pub(crate) async fn redirected(address: &Url) -> Option<String> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = http.get(address.clone()).send().await.unwrap();
    let location = answer.headers().get("location")?.to_str().unwrap().to_owned();
    Some(location.split_once('?').unwrap().1.to_owned())
}

/// Has the user sign in in an obedient browser.
pub(crate) async fn browse(source: &TokenSource) -> Landing {
    let query = redirected(&source.begin(PORT).unwrap()).await.expect("the browser is sent back");
    source.came_back(&query).await.expect("the answer is waited for")
}

/// An account that is signed in.
pub(crate) async fn signed_in(server: &Server) -> TokenSource {
    let source = source(server);
    let landing = browse(&source).await;
    assert!(landing.good, "{landing:?}");
    source
}

/// Signs in by itself whenever the source says that it is needed, and counts how often that is.
pub(crate) fn obey(source: &TokenSource) -> Arc<std::sync::atomic::AtomicUsize> {
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (source, counter) = (source.clone(), count.clone());
    tokio::spawn(async move {
        let mut states = source.watch();
        loop {
            states.wait_for(|state| matches!(state, SignInState::Needed { .. })).await.unwrap();
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            browse(&source).await;
        }
    });
    count
}

/// How many requests of a kind the simulation has had.
pub(crate) fn requests(server: &Server, kind: &str) -> u64 {
    server.cloud().counters().requests.get(kind).copied().unwrap_or_default()
}

/// Waits until something is so, looking every now and then.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "it never happens that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The client has kept to the rules of the sign-in service.
pub(crate) fn assert_well_behaved(server: &Server) {
    let counters = server.cloud().counters();
    assert_eq!((counters.violations, counters.notes.len()), (Vec::new(), 0), "{:?}", counters.notes);
}

/// Waits until the sign-in stands as wanted.
pub(crate) async fn wait_for(source: &TokenSource, wanted: impl FnMut(&SignInState) -> bool) -> SignInState {
    let mut states = source.watch();
    let state = tokio::time::timeout(PATIENCE, states.wait_for(wanted)).await;
    state.unwrap_or_else(|_| panic!("it stays {:?}", source.state())).unwrap().clone()
}
