//! Subscriptions to change notifications, of which the service refuses some.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cms_cloud::contract::{FolderId, Notifications, Notifier as _, Wake};
use cms_cloud::office365::{Webhook, WebhookNotifier, WebhookOptions};
use cms_engine::UnixSeconds;
use simcloud::Knobs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{World, world_with};

/// How long anything may take before a test gives up on it.
const LONG: Duration = Duration::from_secs(30);

const FOLDERS: [&str; 3] = ["Inbox", "Archive", "Drafts"];

/// Says back what the service asks, as who awaits notifications does.
async fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 1024];
        match stream.read(&mut part).await {
            Ok(length @ 1..) => request.extend_from_slice(&part[..length]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&request);
    let query = head.split(' ').nth(1).and_then(|target| target.split_once('?')).map_or("", |(_, query)| query);
    let token = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "validationToken");
    let (status, body) = token.map_or_else(|| (202, String::new()), |(_, token)| (200, token.into_owned()));
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// A service that refuses subscriptions to some folders, and an account's notifier.
async fn refusing(refused: &[&str], options: WebhookOptions) -> (World, WebhookNotifier, Vec<FolderId>) {
    let refused = refused.iter().map(|path| (*path).to_owned()).collect();
    let knobs = Knobs { webhooks_to_loopback: true, webhooks_refused: refused, ..Knobs::calm() };
    let world = world_with(simcloud::Options { knobs, ..simcloud::Options::default() }, |options| {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
        options.now = Arc::new(move || UnixSeconds(now()));
    })
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/cms", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let notifier = WebhookNotifier::new(world.account.clone(), Webhook::new(url.parse().unwrap()), options);
    let folders = FOLDERS.map(|path| FolderId(world.cloud().folder_id("", path).unwrap())).to_vec();
    (world, notifier, folders)
}

/// How many requests about subscriptions there were.
fn requests(world: &World) -> u64 {
    world.cloud().counters().requests.get("webhook").copied().unwrap_or_default()
}

async fn next(listening: &mut Box<dyn Notifications>) -> Wake {
    tokio::time::timeout(LONG, listening.next()).await.expect("something is told")
}

#[tokio::test]
async fn a_folder_that_was_refused_is_asked_for_again_and_the_others_are_heard_meanwhile() {
    let options = WebhookOptions { refused_pause: Duration::from_millis(20), ..WebhookOptions::default() };
    let (world, notifier, folders) = refusing(&["Inbox"], options).await;
    let mut listening = notifier.listen(folders.clone());
    let told = next(&mut listening).await;
    let Wake::Refused { folder, reason } = told else { panic!("{told:?}") };
    assert_eq!(folder, folders[0]);
    assert!(reason.contains("ExtensionError") && reason.contains("an administrator"), "{reason}");
    assert_eq!(next(&mut listening).await, Wake::All);
    assert_eq!(world.cloud().webhooks().len(), 2);
    // It is asked for again and again, of which nothing is told.
    let asked = || requests(&world);
    let before = asked();
    let none = tokio::time::timeout(LONG, async {
        tokio::select! {
            wake = listening.next() => Some(wake),
            () = async { while asked() < before + 3 { tokio::task::yield_now().await } } => None,
        }
    });
    assert_eq!(none.await.expect("it is asked for again"), None);
    world.cloud().turn(|knobs| knobs.webhooks_refused.clear());
    assert_eq!(next(&mut listening).await, Wake::Folder(folders[0].clone()));
    assert_eq!(world.cloud().webhooks().len(), 3);
}

#[tokio::test]
async fn a_refusal_outlives_who_listens() {
    let (world, notifier, folders) = refusing(&["Inbox"], WebhookOptions::default()).await;
    let mut listening = notifier.listen(folders.clone());
    while next(&mut listening).await != Wake::All {}
    drop(listening);
    let asked = requests(&world);
    // It is listened for one folder less.
    let mut listening = notifier.listen(folders[..2].to_vec());
    assert!(matches!(next(&mut listening).await, Wake::Refused { folder, .. } if folder == folders[0]));
    assert_eq!(next(&mut listening).await, Wake::All);
    assert_eq!(requests(&world), asked + 2, "one subscription was ended, and what is left was looked for");
}

#[tokio::test]
async fn where_all_folders_are_refused_there_is_nothing_to_listen_for() {
    let (world, notifier, folders) = refusing(&FOLDERS, WebhookOptions::default()).await;
    let mut listening = notifier.listen(folders.clone());
    let told = next(&mut listening).await;
    assert!(matches!(&told, Wake::Unavailable { reason } if reason.contains("an administrator")), "{told:?}");
    drop(listening);
    // Who tries again asks for all of them.
    world.cloud().turn(|knobs| knobs.webhooks_refused.clear());
    let mut listening = notifier.listen(folders);
    assert_eq!(next(&mut listening).await, Wake::All);
    assert_eq!(world.cloud().webhooks().len(), 3);
}

#[tokio::test]
async fn an_address_that_nobody_answers_is_no_matter_of_a_folder() {
    let (world, _, folders) = refusing(&[], WebhookOptions::default()).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let webhook = Webhook::new(format!("http://{nobody}/cms").parse().unwrap());
    let notifier = WebhookNotifier::new(world.account.clone(), webhook, WebhookOptions::default());
    let mut listening = notifier.listen(folders);
    let told = next(&mut listening).await;
    assert!(matches!(&told, Wake::Unavailable { reason } if reason.contains("leads here")), "{told:?}");
    assert_eq!(requests(&world), 2, "what was left was looked for, and one was asked for");
}
