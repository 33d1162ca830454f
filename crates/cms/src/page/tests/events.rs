//! The stream of events, and how everything ends.

use super::*;

/// An open stream of events.
struct Listener {
    stream: TcpStream,
    heard: String,
}

impl Listener {
    async fn open(served: &Served) -> Self {
        let mut stream = TcpStream::connect(served.page.address()).await.unwrap();
        let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", served.host());
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, heard: String::new() }
    }

    /// Listens until this was said; false if the stream ends before.
    async fn hears(&mut self, what: &str) -> bool {
        let listening = async {
            while !self.heard.contains(what) {
                let mut piece = [0; 4096];
                match self.stream.read(&mut piece).await {
                    Ok(0) | Err(_) => return false,
                    Ok(n) => self.heard.push_str(&String::from_utf8_lossy(&piece[..n])),
                }
            }
            true
        };
        tokio::time::timeout(Duration::from_secs(10), listening).await.expect("something to hear")
    }
}

#[tokio::test]
async fn changes_arrive_and_the_newest_always_does() {
    let served = serve(samples::needed());
    let began = std::time::Instant::now();
    let mut listener = Listener::open(&served).await;
    assert!(listener.hears("event: page").await);
    assert_eq!(header(&listener.heard, "content-type"), Some("text/event-stream"));
    assert!(listener.heard.contains("data: {\"version\":\"0.1.0\",\"pid\":4711,"));
    for pid in 0..200 {
        served.board.update(|status| status.pid = 100_000 + pid);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert!(listener.hears("\"pid\":100199,").await);
    let snapshots = listener.heard.matches("data: {\"version\"").count();
    // However long it took here: one each tenth of a second, and the first and the last.
    let most = 2 + began.elapsed().as_millis() / 100;
    assert!(snapshots as u128 <= most, "{snapshots}, and {most} are enough");
}

#[tokio::test]
async fn tabs_come_and_go() {
    let served = serve(samples::needed());
    assert_eq!(served.board.open_tabs(), 0);
    let (listener, ()) = tokio::join!(Listener::open(&served), served.board.tab_opened());
    assert_eq!(served.board.open_tabs(), 1);
    let ((), ()) = tokio::join!(served.board.tabs_changed(), async { drop(listener) });
    assert_eq!(served.board.open_tabs(), 0);
}

#[tokio::test]
async fn there_are_only_so_many_streams() {
    let served = serve(samples::needed());
    let mut listeners = Vec::new();
    for _ in 0..16 {
        let mut listener = Listener::open(&served).await;
        assert!(listener.hears("event: page").await);
        listeners.push(listener);
    }
    assert_eq!(status_of(&served.get("/events", "").await), 503);
    assert_eq!(status_of(&served.get("/", "").await), 200);
    listeners.pop();
    while served.board.open_tabs() == 16 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(Listener::open(&served).await.hears("event: page").await);
}

#[tokio::test]
async fn there_are_only_so_many_connections() {
    let served = serve(samples::needed());
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(served.page.address()).await.unwrap());
    }
    // Each of them has to be let in first.
    while status_of(&served.get("/", "").await) == 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(status_of(&served.get("/", "").await), 503);
    idle.clear();
    while status_of(&served.get("/", "").await) != 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn neither_streams_nor_silent_connections_hold_up_the_end() {
    let served = serve(samples::needed());
    let mut listener = Listener::open(&served).await;
    assert!(listener.hears("event: page").await);
    let _on_suspicion = TcpStream::connect(served.page.address()).await.unwrap();
    let _kept = {
        let mut stream = TcpStream::connect(served.page.address()).await.unwrap();
        stream.write_all(format!("HEAD / HTTP/1.1\r\nHost: {}\r\n\r\n", served.host()).as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stream
    };
    served.board.update(|status| status.pid = 77);
    let begun = std::time::Instant::now();
    served.page.finish(Duration::from_secs(5)).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(listener.hears("event: ended").await);
    assert!(listener.heard.contains("\"pid\":77,"), "the last state is still told");
    assert!(!listener.hears("never said").await);
}

#[tokio::test]
async fn who_has_just_come_back_gets_the_page_even_at_the_end() {
    let desk = Notebook { thinks: Duration::from_millis(300), ..Notebook::default() };
    let served = serve_with(samples::needed(), desk);
    let (address, host, desk) = (served.page.address(), served.host(), served.desk.clone());
    let answer = tokio::spawn(async move {
        ask(address, &format!("GET /oauth2/msal?state=known HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
    });
    while desk.asked().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    served.page.finish(Duration::from_secs(5)).await;
    let answer = answer.await.unwrap();
    assert_eq!(status_of(&answer), 200);
    assert!(answer.ends_with("</html>\n"), "{answer}");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn dropping_the_handle_ends_it_at_once() {
    let served = serve(samples::needed());
    let mut listener = Listener::open(&served).await;
    assert!(listener.hears("event: page").await);
    let (address, board) = (served.page.address(), served.board.clone());
    drop(served);
    assert!(!listener.hears("never said").await);
    while board.open_tabs() > 0 || TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
