//! Questions and answers over a real socket.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::*;

/// Answers every question with nothing held.
fn serve_at(state_dir: &Path) -> (Listening, JoinHandle<()>) {
    let (listening, listener) = Listening::at(state_dir).unwrap();
    let answer = |asked: Asked| async { asked.reply.send(Reply::Held { held: Vec::new() }).is_ok() };
    (listening, tokio::spawn(serve(listener, answer)))
}

async fn held_at(state_dir: &Path) -> Result<Reply, ControlError> {
    Client::connect(state_dir).await?.ask(Request::Held).await
}

#[tokio::test]
async fn a_question_is_answered_and_another_one_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let (listening, _serving) = serve_at(directory.path());
    let mut client = Client::connect(directory.path()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.ask(Request::Held).await.unwrap(), Reply::Held { held: Vec::new() });
    }
    let mode = std::fs::metadata(directory.path().join("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(listening);
    assert!(!directory.path().join("control.sock").exists());
}

#[tokio::test]
async fn a_directory_with_a_long_path_has_a_socket_too() {
    let directory = tempfile::tempdir().unwrap();
    let long = directory.path().join("d".repeat(120)).join("e".repeat(120));
    std::fs::create_dir_all(&long).unwrap();
    assert!(matches!(held_at(&long).await, Err(ControlError::NobodyThere { .. })));
    let (listening, _serving) = serve_at(&long);
    assert!(held_at(&long).await.is_ok());
    drop(listening);
    assert!(!long.join("control.sock").exists());
}

#[tokio::test]
async fn what_a_killed_process_left_is_nobody_and_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(held_at(directory.path()).await, Err(ControlError::NobodyThere { .. })));
    drop(std::os::unix::net::UnixListener::bind(directory.path().join("control.sock")).unwrap());
    assert!(matches!(held_at(directory.path()).await, Err(ControlError::NobodyThere { .. })));
    let (_listening, _serving) = serve_at(directory.path());
    assert!(held_at(directory.path()).await.is_ok());
}

#[tokio::test]
async fn who_ends_before_the_answer_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let (_listening, listener) = Listening::at(directory.path()).unwrap();
    // A loop that ends drops what was asked.
    let _serving = tokio::spawn(serve(listener, |_| async { false }));
    assert!(matches!(held_at(directory.path()).await, Err(ControlError::Ended)));
}

#[tokio::test]
async fn another_language_and_rubbish_are_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let (_listening, _serving) = serve_at(directory.path());
    for (line, words) in [
        ("{\"language\":2,\"ask\":\"held\"}\n", "this cms is version"),
        ("{\"language\":1,\"ask\":\"the time\"}\n", "isn't known"),
        ("GET / HTTP/1.1\n", "can't be read"),
    ] {
        let mut stream = tokio::net::UnixStream::connect(directory.path().join("control.sock")).await.unwrap();
        stream.write_all(line.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("\"reply\":\"refused\"") && answer.contains(words), "{answer}");
    }
}
