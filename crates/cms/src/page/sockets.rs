//! The system's list of TCP sockets: whose they are.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One socket of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) listens: bool,
    pub(super) uid: u32,
    /// 0 once no process has it open any more; its user then counts as 0 too.
    pub(super) inode: u64,
}

/// Lists the sockets of both families; what can't be read is left out.
pub(super) fn list() -> Vec<Socket> {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| parse(&text))
        .collect()
}

/// Reads a list; lines that aren't sockets are left out.
pub(super) fn parse(text: &str) -> Vec<Socket> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Socket> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let local = address(columns.next()?)?;
    let remote = address(columns.next()?)?;
    let listens = columns.next()? == "0A";
    // Queues, timer and retransmissions come before the user, and a timeout between the user and the inode.
    let uid = columns.nth(3)?.parse().ok()?;
    let inode = columns.nth(1)?.parse().ok()?;
    Some(Socket { local, remote, listens, uid, inode })
}

/// An address as the kernel prints it: words of 32 bits in the machine's own byte order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    if !ip.bytes().chain(port.bytes()).all(|b| b.is_ascii_hexdigit()) || port.len() != 4 {
        return None;
    }
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (place, octets) in octets.chunks_exact_mut(4).enumerate() {
                octets.copy_from_slice(&word(place * 8)?);
            }
            // A socket of the new family can speak the old one.
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}
