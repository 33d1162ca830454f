//! Other programs and other users of the machine.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

const LISTEN: &str = "
import socket, sys
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
";

const FETCH: &str = "
import socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
peer.sendall(b'GET /status.json HTTP/1.1\\r\\nHost: localhost:%s\\r\\nConnection: close\\r\\n\\r\\n' % sys.argv[2].encode())
while piece := peer.recv(4096):
    sys.stdout.write(piece.decode())
";

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The interpreter itself: a wrapper would be another process, and other users may not be able to reach it.
fn python() -> Option<&'static str> {
    let found = ["/usr/bin/python3", "python3"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()));
    if found.is_none() {
        eprintln!("skipped: needs python3");
    }
    found
}

#[tokio::test]
async fn who_has_the_port_is_told() {
    let Some(python) = python() else { return };
    let child = Command::new(python).args(["-c", LISTEN]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = Ends(child.unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address: SocketAddr = format!("127.0.0.1:{}", line.trim()).parse().unwrap();
    let error = Page::bind(&[address]).unwrap_err();
    let PageError::Taken { by: Some(Holder { pid, command }), .. } = &error else { panic!("{error:?}") };
    assert_eq!(*pid, child.0.id());
    assert!(command.starts_with("python"), "{command}");
    assert_eq!(error.to_string(), format!("{address} is taken by {command} (process {pid})"));
    let other = SocketAddr::new(address.ip(), address.port() + 1);
    assert_eq!(error.remedy().unwrap(), format!("stop it, or set `cfg.listen = \"{other}\"`"));
}

#[test]
fn a_second_one_is_sent_to_the_first() {
    let by = Some(Holder { pid: 1, command: "cms".to_owned() });
    let error = PageError::Taken { address: "127.0.0.1:8080".parse().unwrap(), by };
    assert_eq!(
        error.remedy().unwrap(),
        "open http://127.0.0.1:8080/ and sign in there; if that is another configuration's, set `cfg.listen = \"127.0.0.1:8081\"`"
    );
}

#[tokio::test]
async fn only_this_machine_can_be_listened_to() {
    for address in ["0.0.0.0:0", "192.0.2.1:8080", "[::]:0"] {
        let error = Page::bind(&["127.0.0.1:0".parse().unwrap(), address.parse().unwrap()]).unwrap_err();
        assert!(matches!(error, PageError::NotLoopback { .. }), "{address}");
    }
    assert!(matches!(Page::bind(&[]), Err(PageError::NoAddress)));
}

#[tokio::test]
async fn both_families_have_the_same_port() {
    let bound = Page::bind(&["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()]).unwrap();
    let port = bound.address().port();
    let page = bound.serve(Board::new(samples::needed()), Arc::new(Notebook::default()));
    let wire = format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    assert_eq!(status_of(&ask(page.address(), &wire).await), 200);
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: needs IPv6");
        return;
    }
    assert_eq!(status_of(&ask(SocketAddr::new("::1".parse().unwrap(), port), &wire).await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn f39_another_user_sees_nothing() {
    let Some(python) = python() else { return };
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || !Command::new("setpriv").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: needs root and setpriv");
        return;
    }
    let bound = Page::bind(&["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()]).unwrap();
    let page = bound.serve(Board::new(samples::needed()), Arc::new(Notebook::default()));
    let port = page.address().port().to_string();
    // The last is how a socket of the newer family speaks the older one.
    for host in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        let fetch = |uid: &str| {
            let fetched = Command::new("setpriv")
                .args(["--reuid", uid, "--clear-groups", python, "-c", FETCH, host, &port])
                .current_dir("/")
                .output()
                .unwrap();
            String::from_utf8(fetched.stdout).unwrap() + &String::from_utf8(fetched.stderr).unwrap()
        };
        if host == "::1" && fetch("0").contains("Error") {
            eprintln!("skipped: needs IPv6");
            continue;
        }
        let answer = fetch("65534");
        assert_eq!(status_of(&answer), 403, "{host}: {answer}");
        assert!(answer.ends_with("This page is another user's.\n"), "{answer}");
        assert_eq!(status_of(&fetch("0")), 200, "{host}");
    }
}
