//! The way from the program to the service, which can be cut.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Nothing comes through, and nobody is told.
    Silent,
    /// Connections are reset, and new ones as well.
    Refused,
}

pub(crate) struct Network {
    pub(crate) address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Network {
    pub(crate) fn new(runtime: &Runtime, service: SocketAddr) -> Result<Self> {
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let (way, seen) = watch::channel(Way::Open);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, service, seen.clone()));
            }
        });
        Ok(Self { address, way })
    }

    pub(crate) fn turn(&self, way: Way) {
        self.way.send_if_modified(|now| std::mem::replace(now, way) != way);
    }
}

/// Carries one connection until the way changes, which resets it sooner or later.
async fn carry(mut client: TcpStream, service: SocketAddr, mut way: watch::Receiver<Way>) {
    let mut now = *way.borrow_and_update();
    if now == Way::Open
        && let Ok(mut server) = TcpStream::connect(service).await
    {
        let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => return,
            _ = way.changed() => now = *way.borrow_and_update(),
        }
    }
    if now == Way::Silent {
        let _ = way.changed().await;
    }
    let _ = client.set_zero_linger();
}
