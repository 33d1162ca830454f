//! Starting and stopping a simulation.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::cloud::Cloud;
use crate::entra::Registration;
use crate::google::GoogleClient;
use crate::http;
use crate::knobs::Knobs;

/// What a simulation begins with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// The mailboxes; the first is meant wherever a user is left empty.
    pub users: Vec<String>,
    /// Users whose mail address isn't the name that they sign in with, and that address.
    pub aliases: Vec<(String, String)>,
    /// How many generated messages each inbox begins with.
    pub messages: usize,
    /// What generated mail and all dice begin with.
    pub seed: u64,
    /// How long generated bodies are, where 1 is usual mail (13 kB on average).
    pub size_scale: f64,
    /// A directory whose `.eml` files, sorted by name, lie in the first user's inbox.
    pub eml: Option<PathBuf>,
    /// Seconds since 1970 at which all of them were received; without it each has a time of its own.
    pub eml_received: Option<i64>,
    /// Folders by path, with how many generated messages each of them begins with.
    pub folders: Vec<(String, usize)>,
    /// The knobs.
    pub knobs: Knobs,
    /// The applications that may ask for tokens.
    pub registrations: Vec<Registration>,
    /// The applications that may ask Google for tokens.
    pub google_clients: Vec<GoogleClient>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            users: vec!["user@domain.com".to_owned()],
            aliases: Vec::new(),
            messages: 0,
            seed: 1,
            size_scale: 1.0,
            eml: None,
            eml_received: None,
            folders: Vec::new(),
            knobs: Knobs::default(),
            registrations: vec![Registration::default()],
            google_clients: vec![GoogleClient::default()],
        }
    }
}

/// A running simulation; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    cloud: Cloud,
    task: JoinHandle<()>,
}

/// Starts a simulation on the current tokio runtime; it listens when this returns.
pub async fn serve(options: Options) -> io::Result<Server> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
    let address = listener.local_addr()?;
    let cloud = Cloud::new(options)?;
    let task = tokio::spawn(http::accept(listener, cloud.clone()));
    Ok(Server { address, cloud, task })
}

/// A simulation that nobody can reach over the network: see [`Cloud::exchange`].
pub fn in_process(options: Options) -> io::Result<Cloud> {
    Cloud::new(options)
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL without a slash at its end; good for both the login and the Graph address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The handle for administration.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// Ends it, with all its connections.
    pub async fn shutdown(mut self) {
        self.task.abort();
        // The task was aborted, and nothing else can be wrong with it.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
