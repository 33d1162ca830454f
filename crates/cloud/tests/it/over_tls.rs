//! The client over TLS, as HTTP/2 where that is offered.
//!
//! The certificate is made here, and trusted as a user would have it trusted who has an authority of their own: by
//! `SSL_CERT_FILE`. That is read once in a process, so each of these tests runs in one of its own.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cms_cloud::contract::{CloudAccount, CloudChange, CloudOp, Outcome};
use cms_cloud::office365::Options;
use cms_engine::Flags;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use simcloud::{Cloud, Knobs, ReplyBody};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::{Bytes, World, world_at};

/// Where the certificate is, in the process that trusts it.
const IDENTITY: &str = "CMS_TEST_IDENTITY";

/// In the process that trusts the certificate, the directory with it; in any other, nothing, after the test of that name has
/// passed in one that does.
fn identity(test: &str) -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os(IDENTITY) {
        return Some(directory.into());
    }
    let directory = tempfile::tempdir().unwrap();
    make_identity(directory.path());
    let output = Command::new(std::env::current_exe().unwrap())
        .args([&format!("over_tls::{test}"), "--exact"])
        .env(IDENTITY, directory.path())
        .env("SSL_CERT_FILE", directory.path().join("authority.pem"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    None
}

fn make_identity(directory: &Path) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let key = KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&key).unwrap();
    fs::write(directory.join("authority.pem"), certificate.pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(directory.join("certificate.pem"), certificate.pem()).unwrap();
    fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
}

/// What the service does with the connections that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Serves,
    /// It says that it takes no further request over them (GOAWAY), and serves those that it has.
    SaysGoodbye,
    /// It never says anything over them again.
    IsSilent,
}

/// The simulated service behind TLS.
struct Front {
    cloud: Cloud,
    mood: watch::Sender<Mood>,
    connections: AtomicUsize,
    versions: Mutex<Vec<Version>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

impl Front {
    async fn connection(self: Arc<Self>, stream: TcpStream, acceptor: TlsAcceptor) {
        // One that is begun and given up because another is there first is none.
        let Ok(stream) = acceptor.accept(stream).await else { return };
        self.connections.fetch_add(1, Ordering::SeqCst);
        let speaks_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let front = self.clone();
        let service = service_fn(move |request| front.clone().answer(request));
        let stream = TokioIo::new(stream);
        let mut mood = self.mood.subscribe();
        mood.mark_unchanged();
        if !speaks_h2 {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
            return;
        }
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut connection = pin!(builder.serve_connection(stream, service));
        loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                changed = mood.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
            let now = *mood.borrow_and_update();
            match now {
                Mood::Serves => {}
                Mood::SaysGoodbye => connection.as_mut().graceful_shutdown(),
                // The kernel still acknowledges what comes, as a router in between may.
                Mood::IsSilent => std::future::pending().await,
            }
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<ReplyBody>, std::io::Error> {
        let most = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(most, Ordering::SeqCst);
        self.versions.lock().unwrap().push(request.version());
        let (mut head, body) = request.into_parts();
        let bytes = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        // HTTP/2 has the host in the address, and the simulation looks for it where HTTP/1.1 has it.
        head.headers.insert(HOST, "localhost".parse().unwrap());
        let answer = self.cloud.exchange(Request::from_parts(head, Full::new(bytes))).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::SeqCst)
    }

    /// The versions of HTTP that were spoken.
    fn versions(&self) -> Vec<Version> {
        let mut versions = self.versions.lock().unwrap().clone();
        versions.dedup();
        versions
    }
}

async fn world(identity: &Path, protocols: &[&str], change: impl FnOnce(&mut Options)) -> (World, Arc<Front>) {
    let knobs = Knobs { latency_ms: 5, ..Knobs::calm() };
    let server =
        simcloud::serve(simcloud::Options { messages: 60, knobs, ..simcloud::Options::default() }).await.unwrap();
    let certificate = CertificateDer::from_pem_file(identity.join("certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(identity.join("key.pem")).unwrap();
    // The client's provider is installed with its first use, which comes later.
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap();
    let front = Arc::new(Front {
        cloud: server.cloud().clone(),
        mood: watch::Sender::new(Mood::Serves),
        connections: AtomicUsize::new(0),
        versions: Mutex::default(),
        under_way: AtomicUsize::new(0),
        most_under_way: AtomicUsize::new(0),
    });
    let serves = front.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serves.clone().connection(stream, acceptor.clone()));
        }
        Ok::<(), Infallible>(())
    });
    (world_at(server, url, change), front)
}

/// Fetches every message, each in a request of its own, as many at a time as may be.
async fn fetch_all(world: &World) {
    let ids = world.ids();
    let fetches = ids.iter().map(|id| async move {
        let mut sink = Bytes::default();
        world.account.fetch(id, &mut sink).await.unwrap();
        assert_eq!(sink.bytes, world.cloud().mime("", id.as_str()).unwrap());
    });
    join_all(fetches).await;
}

/// Marks a message as read, which is a request with a body.
async fn mark(world: &World) {
    let id = world.ids().remove(0);
    let change = CloudChange::SetFlags { add: Flags::SEEN, remove: Flags::NONE, result: Flags::SEEN };
    let outcomes = world.account.apply(&[CloudOp { id: id.clone(), change }]).await;
    assert!(matches!(outcomes[0], Outcome::Done { .. }), "{outcomes:?}");
    assert!(world.flags(&id).contains(Flags::SEEN));
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered_over_one_connection() {
    let Some(identity) = identity("http_2_is_spoken_where_it_is_offered_over_one_connection") else { return };
    let (world, front) = world(&identity, &["h2", "http/1.1"], |_| {}).await;
    mark(&world).await;
    fetch_all(&world).await;
    assert_eq!(front.versions(), [Version::HTTP_2]);
    assert_eq!((front.connections(), front.most_under_way()), (1, 4));
    world.assert_well_behaved();
}

#[tokio::test]
async fn where_only_http_1_1_is_offered_that_is_spoken() {
    let Some(identity) = identity("where_only_http_1_1_is_offered_that_is_spoken") else { return };
    for protocols in [&["http/1.1"][..], &[]] {
        let (world, front) = world(&identity, protocols, |_| {}).await;
        mark(&world).await;
        fetch_all(&world).await;
        assert_eq!(front.versions(), [Version::HTTP_11]);
        assert_eq!(front.most_under_way(), 4);
        world.assert_well_behaved();
    }
}

#[tokio::test]
async fn a_connection_that_the_service_ends_in_order_loses_nothing() {
    let Some(identity) = identity("a_connection_that_the_service_ends_in_order_loses_nothing") else { return };
    let (world, front) = world(&identity, &["h2"], |_| {}).await;
    mark(&world).await;
    let says_goodbye = async {
        for requests in [10, 30] {
            while front.versions.lock().unwrap().len() < requests {
                tokio::task::yield_now().await;
            }
            front.mood.send_replace(Mood::SaysGoodbye);
        }
    };
    tokio::join!(fetch_all(&world), says_goodbye);
    assert!(front.connections() > 1, "nobody said goodbye");
    assert_eq!(front.versions(), [Version::HTTP_2]);
    assert!(front.most_under_way() <= 4);
    world.assert_well_behaved();
}

/// As a router does that forgets a connection, or a network that is another one after sleep.
#[tokio::test]
async fn a_connection_that_leads_nowhere_is_replaced() {
    let Some(identity) = identity("a_connection_that_leads_nowhere_is_replaced") else { return };
    let (world, front) = world(&identity, &["h2"], |options| options.timeouts.read = Duration::from_secs(3)).await;
    mark(&world).await;
    front.mood.send_replace(Mood::IsSilent);
    fetch_all(&world).await;
    mark(&world).await;
    assert_eq!(front.connections(), 2);
}
