//! Which user of this machine is at the other end of a connection.

use std::net::SocketAddr;

use super::sockets::{self, Socket};

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// The user that we run as, or root, from whom nothing can be hidden.
    Own,
    /// Another user.
    Stranger,
    /// Nobody any more: it was closed, and whose it was can't be told. No answer would arrive.
    Gone,
    /// The system doesn't tell. It may be in another network namespace, as behind a container's forwarded port, or
    /// `/proc` may not be mounted. Such a peer is served: the other rules still hold for it, and a page that can't be
    /// used at all protects nobody.
    Unknown,
}

/// Looks up the other end of a connection from `peer` to `own`. Reads files, so it can take a moment.
pub(super) fn look_up(peer: SocketAddr, own: SocketAddr) -> Peer {
    let euid = rustix::process::geteuid().as_raw();
    // The list is read in pieces, so a socket can slip through while others come and go: look again before we give up.
    (0..3)
        .map(|_| judge(&sockets::list(), peer, own, euid))
        .find(|peer| *peer != Peer::Unknown)
        .unwrap_or(Peer::Unknown)
}

fn judge(sockets: &[Socket], peer: SocketAddr, own: SocketAddr, euid: u32) -> Peer {
    let (peer, own) = (canonical(peer), canonical(own));
    match sockets.iter().find(|socket| socket.local == peer && socket.remote == own) {
        Some(socket) if socket.inode == 0 => Peer::Gone,
        Some(socket) if socket.uid == euid || socket.uid == 0 => Peer::Own,
        Some(_) => Peer::Stranger,
        None => Peer::Unknown,
    }
}

/// Without the scope and flow of the newer family, which the list doesn't have.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_ends_user_decides() {
        let (peer, own) = ("127.0.0.1:50000".parse().unwrap(), "127.0.0.1:8080".parse().unwrap());
        let other_end = |uid, inode| Socket { local: peer, remote: own, listens: false, uid, inode };
        // Our own end is in the list as well, and must not be taken for the other.
        let own_end = Socket { local: own, remote: peer, listens: false, uid: 1000, inode: 7 };
        let judged = |uid, inode| judge(&[own_end, other_end(uid, inode)], peer, own, 1000);
        assert_eq!(judged(1000, 8), Peer::Own);
        assert_eq!(judged(0, 8), Peer::Own);
        assert_eq!(judged(1001, 8), Peer::Stranger);
        assert_eq!(judged(0, 0), Peer::Gone);
        assert_eq!(judge(&[own_end], peer, own, 1000), Peer::Unknown);
    }
}
