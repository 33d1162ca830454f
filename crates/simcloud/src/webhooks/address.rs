//! Where notifications go, and how they get there: HTTP on this machine.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::{Host, Url};

/// No answer is read further.
const LARGEST_ANSWER_BYTES: u64 = 64 << 10;

/// A place on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    authority: String,
    connect_to: (String, u16),
    target: String,
}

/// What came back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) kind: String,
    pub(super) body: String,
}

impl Address {
    /// Reads a URL. Only this machine can be reached.
    pub(super) fn read(written: &str) -> Option<Self> {
        let url = Url::parse(written).ok().filter(|url| url.scheme() == "http")?;
        let (shown, host) = match url.host()? {
            Host::Ipv4(ip) if ip.is_loopback() => (ip.to_string(), ip.to_string()),
            Host::Ipv6(ip) if ip.is_loopback() => (format!("[{ip}]"), ip.to_string()),
            Host::Domain(name) if name == "localhost" => (name.to_owned(), "127.0.0.1".to_owned()),
            _ => return None,
        };
        let port = url.port_or_known_default()?;
        let target = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        Some(Self { authority: format!("{shown}:{port}"), connect_to: (host, port), target })
    }

    /// The same with a question.
    pub(super) fn asking(&self, name: &str, value: &str) -> Self {
        let joint = if self.target.contains('?') { '&' } else { '?' };
        let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
        Self { target: format!("{}{joint}{name}={value}", self.target), ..self.clone() }
    }

    /// Sends something there, and reads what comes back within a time.
    pub(super) async fn post(&self, kind: &str, body: &str, patience: Duration) -> io::Result<Reply> {
        tokio::time::timeout(patience, self.exchange(kind, body)).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn exchange(&self, kind: &str, body: &str) -> io::Result<Reply> {
        let mut stream = TcpStream::connect((self.connect_to.0.as_str(), self.connect_to.1)).await?;
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.target,
            self.authority,
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LARGEST_ANSWER_BYTES).read_to_end(&mut answer).await?;
        read_reply(&String::from_utf8_lossy(&answer)).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// Reads an answer that ends with its connection.
fn read_reply(text: &str) -> Option<Reply> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let found = |line: &str| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        head.lines().find_map(found)
    };
    Some(Reply { status, kind: header("content-type").unwrap_or_default(), body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_an_address() {
        let target = |written| Address::read(written).map(|address| (address.authority, address.target));
        let some = |authority: &str, target: &str| Some((authority.to_owned(), target.to_owned()));
        assert_eq!(target("http://127.0.0.1:81/cms?a=b#c"), some("127.0.0.1:81", "/cms?a=b"));
        assert_eq!(target("http://localhost"), some("localhost:80", "/"));
        assert_eq!(target("http://[::1]:81/"), some("[::1]:81", "/"));
        for other in ["https://127.0.0.1/", "http://mail.example/", "http://192.168.0.1/", "x"] {
            assert_eq!(target(other), None, "{other}");
        }
    }

    #[test]
    fn a_question_is_written_so_that_nothing_of_it_ends_early() {
        let address = Address::read("http://127.0.0.1:81/cms").unwrap();
        assert_eq!(address.asking("token", "a b&c").target, "/cms?token=a%20b%26c");
    }

    #[test]
    fn answers_are_read() {
        let reply = read_reply("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nbody").unwrap();
        assert_eq!((reply.status, reply.kind.as_str(), reply.body.as_str()), (200, "text/plain", "body"));
        assert_eq!(read_reply("SSH-2.0"), None);
    }
}
