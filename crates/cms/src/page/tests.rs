//! The page over real sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use super::samples;
use super::*;

mod events;
mod gallery;
mod neighbours;
mod requests;

const SIGN_IN: &str = "https://login.example/authorize?state=known";

/// Writes down what it is asked for.
#[derive(Default)]
struct Notebook {
    asked: Mutex<Vec<String>>,
    /// Where sign-ins begin, if not at the usual place.
    sign_in: Option<String>,
    /// How long it takes to find out how a sign-in ended.
    thinks: Duration,
}

impl Notebook {
    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Desk for Notebook {
    fn begin(&self, account: usize) -> Result<Url, String> {
        self.note(format!("begin {account}"));
        match account {
            2 => Err("The <sign-in> service doesn't answer.".to_owned()),
            _ => Ok(Url::parse(self.sign_in.as_deref().unwrap_or(SIGN_IN)).unwrap()),
        }
    }

    fn begin_with_code(&self, account: usize) -> Result<(), String> {
        self.note(format!("code {account}"));
        Ok(())
    }

    fn cancel(&self, account: usize) {
        self.note(format!("cancel {account}"));
    }

    fn rule<'a>(&'a self, held: &'a str, word: Word) -> BoxFuture<'a, Result<(), String>> {
        self.note(format!("{word:?} {held}"));
        Box::pin(
            async move { if held == "old" { Err("what is <held> has changed meanwhile".to_owned()) } else { Ok(()) } },
        )
    }

    fn redirect_paths(&self) -> Vec<String> {
        vec!["/oauth2/msal".to_owned()]
    }

    fn came_back<'a>(&'a self, path: &'a str, query: &'a str) -> BoxFuture<'a, Option<CameBack>> {
        self.note(format!("{path}?{query}"));
        Box::pin(async move {
            tokio::time::sleep(self.thinks).await;
            let good = !query.contains("error=");
            let heading = if good { "Signed in as jane@example.com" } else { "Not signed in" };
            let words = if good { "Its mailboxes are synced from now on." } else { "The service said <no>." };
            query.contains("state=known").then(|| CameBack {
                good,
                heading: heading.to_owned(),
                words: words.to_owned(),
            })
        })
    }

    fn sign_in_origins(&self) -> Vec<String> {
        let mut origins = vec!["https://login.example".to_owned(), "https://x.example; script-src *".to_owned()];
        origins.extend(self.sign_in.as_ref().map(|url| Url::parse(url).unwrap().origin().ascii_serialization()));
        origins
    }
}

struct Served {
    page: PageHandle,
    board: Board,
    desk: Arc<Notebook>,
}

fn serve(status: Status) -> Served {
    serve_with(status, Notebook::default())
}

fn serve_with(status: Status, desk: Notebook) -> Served {
    let (board, desk) = (Board::new(status), Arc::new(desk));
    let bound = Page::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    Served { page: bound.serve(board.clone(), desk.clone()), board, desk }
}

impl Served {
    fn host(&self) -> String {
        format!("localhost:{}", self.page.address().port())
    }

    async fn get(&self, target: &str, more: &str) -> String {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{more}", self.host()), "").await
    }

    async fn post(&self, target: &str, more: &str, body: &str) -> String {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n{more}",
            self.host(),
            body.len()
        );
        self.ask(&head, body).await
    }

    /// As our own page posts.
    async fn post_well(&self, target: &str, fields: &str) -> String {
        let body = format!("{fields}&key={}", self.key().await);
        self.post(target, &format!("Origin: http://{}\r\n", self.host()), &body).await
    }

    async fn key(&self) -> String {
        let page = self.get("/", "").await;
        page.split_once("name=\"key\" value=\"").unwrap().1[..64].to_owned()
    }

    async fn ask(&self, head: &str, body: &str) -> String {
        ask(self.page.address(), &format!("{head}Connection: close\r\n\r\n{body}")).await
    }
}

/// All that comes back.
async fn ask(address: SocketAddr, wire: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(wire.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("an answer").unwrap();
    String::from_utf8(answer).unwrap()
}

fn status_of(answer: &str) -> u16 {
    answer.get(9..12).unwrap_or_default().parse().unwrap_or(0)
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|h| h.1)
}
