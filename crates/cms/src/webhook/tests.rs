use std::net::SocketAddr;

use cms_cloud::office365::Webhook;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Reception;

fn open() -> (Reception, Webhook) {
    let webhook = Webhook::new("https://mail.example.org/cms".parse().unwrap());
    (Reception::open("127.0.0.1:0".parse().unwrap(), webhook.clone()).unwrap(), webhook)
}

/// Sends text, and gives what comes back until the other side hangs up.
async fn ask(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Who is refused may not be read to the end.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn request(address: SocketAddr, line: &str, body: &str) -> String {
    let head = format!("Host: mail.example.org\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    ask(address, &format!("{line} HTTP/1.1\r\n{head}{body}")).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn only_the_path_takes_only_posts() {
    let (reception, _) = open();
    for (line, expected) in [
        ("POST /cms", "202"),
        ("POST /", "404"),
        ("POST /cms/", "404"),
        ("POST /cms/status.json", "404"),
        ("GET /cms", "405"),
        ("OPTIONS /cms", "405"),
        ("GET /", "404"),
        ("GET /cms?validationToken=x", "405"),
        // As the page would be asked.
        ("POST /sign-in", "404"),
    ] {
        let answer = request(reception.address(), line, r#"{"value":[]}"#).await;
        assert_eq!(status(&answer), expected, "{line}: {answer}");
        assert!(!answer.contains("access-control"), "{answer}");
    }
}

#[tokio::test]
async fn a_handshake_that_nobody_expects_is_not_answered() {
    let (reception, _) = open();
    let answer = request(reception.address(), "POST /cms?validationToken=%3Cscript%3E", "").await;
    assert_eq!(status(&answer), "404");
    assert!(!answer.contains("script"), "{answer}");
}

#[tokio::test]
async fn what_is_too_much_or_makes_no_sense_is_refused() {
    let (reception, _) = open();
    let address = reception.address();
    assert_eq!(status(&request(address, "POST /cms", "not json").await), "400");
    assert_eq!(status(&request(address, "POST /cms", &"[".repeat(100_000)).await), "400");
    let announced = "POST /cms HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10000000000\r\n\r\n";
    assert_eq!(status(&ask(address, announced).await), "413");
    // Without a length, it is only seen as it comes.
    let chunk = format!("{:x}\r\n{}\r\n", 300_000, "x".repeat(300_000));
    let head = "POST /cms HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(status(&ask(address, &format!("{head}{chunk}0\r\n\r\n")).await), "413");
    let long = format!("POST /cms HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(100_000));
    assert!(["431", ""].contains(&status(&ask(address, &long).await)));
    assert_eq!(status(&request(address, "POST /cms", r#"{"value":[]}"#).await), "202");
}

/// However many wait there without a word.
#[tokio::test]
async fn more_connections_than_there_is_room_for_are_closed() {
    let (reception, _) = open();
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(TcpStream::connect(reception.address()).await.unwrap());
    }
    assert_eq!(request(reception.address(), "POST /cms", r#"{"value":[]}"#).await, "");
    silent.clear();
    loop {
        let answer = request(reception.address(), "POST /cms", r#"{"value":[]}"#).await;
        if status(&answer) == "202" {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_address_that_leads_here_is_told_from_another() {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/cms", probe.local_addr().unwrap());
    drop(probe);
    let webhook = Webhook::new(url.parse().unwrap());
    assert!(webhook.is_answered().await.is_err());
    let address = url.trim_start_matches("http://").trim_end_matches("/cms").parse().unwrap();
    let _reception = Reception::open(address, webhook.clone()).unwrap();
    webhook.is_answered().await.unwrap();
    let other = Webhook::new(format!("http://{address}/other").parse().unwrap());
    assert!(other.is_answered().await.unwrap_err().to_string().contains("404"));
}
