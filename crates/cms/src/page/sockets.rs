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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn both_lists_are_read() {
        let sockets = parse(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 9001 1 0 100\n\
             \x20  1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 02:000A7214 00000000 65534        0 9002 2 0 20\n\
             \x20  2: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A \
             00000000:00000000 00:00000000 00000000     0        0 9003 1 0 100\n\
             \x20  3: 0000000000000000FFFF00000100007F:C351 0000000000000000FFFF00000100007F:1F90 06 \
             00000000:00000000 03:00000176 00000000     0        0 0 3 0\n",
        );
        let [listens, connected, newer, mapped] = sockets[..] else { panic!("{sockets:?}") };
        assert_eq!(listens.local, "127.0.0.1:8080".parse().unwrap());
        assert!(listens.listens);
        assert_eq!((listens.uid, listens.inode), (1000, 9001));
        assert_eq!(connected.local, "127.0.0.1:50000".parse().unwrap());
        assert_eq!(connected.remote, "127.0.0.1:8080".parse().unwrap());
        assert!(!connected.listens);
        assert_eq!((connected.uid, connected.inode), (65534, 9002));
        assert_eq!(newer.local, "[::1]:8080".parse().unwrap());
        assert_eq!(mapped.local, "127.0.0.1:50001".parse().unwrap());
        assert_eq!(mapped.inode, 0);
    }

    #[test]
    fn lines_that_are_not_sockets_are_left_out() {
        for line in [
            "",
            "0:",
            "0: 0100007F:1F90",
            "0: x:y z:w 0A 0:0 0:0 0 0 0 1",
            "0: +100007F:1F90 00000000:0000 0A 0:0 0:0 0 1 0 1",
        ] {
            assert_eq!(parse(line), [], "{line}");
        }
    }

    #[test]
    fn the_systems_own_list_is_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = list().into_iter().find(|socket| socket.listens && socket.local == address).unwrap();
        assert_eq!(found.uid, rustix::process::geteuid().as_raw());
        assert_ne!(found.inode, 0);
    }

    proptest! {
        #[test]
        fn odd_lists_do_no_harm(text in "([0-9A-Fa-f:é ]{0,40}[ \n]){0,12}") {
            parse(&text);
        }
    }
}
