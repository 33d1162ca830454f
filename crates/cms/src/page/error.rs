//! What can go wrong before the page is there.

use std::net::SocketAddr;
use std::sync::Arc;

use super::holder::Holder;

/// Why the page can't be served.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PageError {
    /// Other machines could reach the address.
    #[error("{address} is not an address of this machine alone")]
    NotLoopback {
        /// The address as configured.
        address: SocketAddr,
    },
    /// No address was given.
    #[error("the page has no address")]
    NoAddress,
    /// Another program has the port.
    #[error("{address} is taken{}", taken_by(.by.as_ref()))]
    Taken {
        /// The address as configured.
        address: SocketAddr,
        /// Who has it, if that could be found out.
        by: Option<Holder>,
    },
    /// The system refused.
    #[error("could not listen on {address}")]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// The system's reason.
        source: Arc<std::io::Error>,
    },
}

impl PageError {
    /// What the user can do about it.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::NotLoopback { .. } | Self::NoAddress => Some("set `cfg.listen = \"127.0.0.1:8080\"`".to_owned()),
            Self::Taken { address, by } => {
                let other = SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(8081));
                Some(match by {
                    Some(holder) if holder.is_cms() => format!(
                        "open http://{address}/ and sign in there; if that is another configuration's, set `cfg.listen = \"{other}\"`"
                    ),
                    Some(_) => format!("stop it, or set `cfg.listen = \"{other}\"`"),
                    None => format!("stop the program that uses it, or set `cfg.listen = \"{other}\"`"),
                })
            }
            Self::Listen { .. } => None,
        }
    }
}

fn taken_by(holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder { pid, command }) if !command.is_empty() => format!(" by {command} (process {pid})"),
        Some(Holder { pid, .. }) => format!(" by process {pid}"),
        None => " by another program".to_owned(),
    }
}
