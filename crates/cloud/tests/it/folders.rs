//! Folders by the names people use.

use cms_cloud::contract::{CloudAccount, CloudError, DeleteAction};
use simcloud::{Action, Fault};

use crate::support::world;

#[tokio::test]
async fn folders_are_found_by_well_known_name_display_name_and_path() {
    let world = world(3).await;
    world.cloud().create_folder("", "Inbox/Lists/rust", false).unwrap();
    world.cloud().create_folder("", "Bob's mail", false).unwrap();
    for n in 0..25 {
        world.cloud().create_folder("", &format!("Inbox/Lists/list {n}"), false).unwrap();
    }
    for (name, path) in [
        ("inbox", "Inbox"),
        ("INBOX", "Inbox"),
        ("Sent Items", "Sent Items"),
        ("sentitems", "Sent Items"),
        ("Inbox/Lists/rust", "Inbox/Lists/rust"),
        ("inbox/lists/RUST", "Inbox/Lists/rust"),
        ("Bob's mail", "Bob's mail"),
        ("Inbox/Lists/list 24", "Inbox/Lists/list 24"),
    ] {
        let folder = world.account.open(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(folder.id.0, world.cloud().folder_id("", path).unwrap(), "{name}");
        assert_eq!(folder.path, path, "{name}");
    }
    assert_eq!(world.account.open("inbox").await.unwrap().total_items, 3);
    let all = world.account.folders().await.unwrap();
    assert!(all.iter().any(|folder| folder.path == "Inbox/Lists/list 17"));
    let place = |path: &str| all.iter().position(|folder| folder.path == path).unwrap();
    assert!(place("Inbox") < place("Inbox/Lists") && place("Inbox/Lists") < place("Inbox/Lists/list 17"));
    assert!(place("Inbox/Lists/rust") < place("Junk Email"));
    world.assert_well_behaved();
}

#[tokio::test]
async fn an_english_name_finds_the_folder_in_a_mailbox_of_another_language() {
    let world = world(1).await;
    world.cloud().turn(|knobs| knobs.locale = "de".to_owned());
    for name in ["Inbox", "Sent Items", "Deleted Items"] {
        let folder = world.account.open(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(folder.id.0, world.cloud().folder_id("", &name.replace(' ', "").to_lowercase()).unwrap());
    }
}

#[tokio::test]
async fn a_name_that_is_not_there_brings_the_nearest_that_are() {
    let world = world(1).await;
    world.cloud().create_folder("", "Inbox/Lists/rust", false).unwrap();
    for (name, nearest) in [("Inbox/List/rust", "Inbox/Lists/rust"), ("rust", "Inbox/Lists/rust"), ("Inbxo", "Inbox")] {
        match world.account.open(name).await {
            Err(CloudError::NoSuchFolder { nearest: found, .. }) => assert_eq!(found[0], nearest),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_service_names_where_deleted_messages_go() {
    let world = world(1).await;
    let target = world.account.delete_target(DeleteAction::Trash).await.unwrap().unwrap();
    assert_eq!(target.0, world.cloud().folder_id("", "deleteditems").unwrap());
    let before = world.cloud().counters().http_requests;
    world.account.delete_target(DeleteAction::Trash).await.unwrap();
    assert_eq!(world.cloud().counters().http_requests, before);
    assert!(world.account.delete_target(DeleteAction::Purge).await.unwrap().is_none());
    world.cloud().turn(|knobs| knobs.archive_exists = false);
    match world.account.delete_target(DeleteAction::Archive).await {
        Err(CloudError::Refused { message, .. }) => assert!(message.contains("archive"), "{message}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_account_without_a_mailbox_is_refused_and_not_empty() {
    let world = world(1).await;
    let code = "MailboxNotEnabledForRESTAPI".to_owned();
    let action = Action::Status {
        status: 404,
        body: simcloud::BodyKind::Json,
        code,
        message: "The mailbox is hosted on-premise.".to_owned(),
        retry_after: None,
    };
    world.cloud().inject(Fault::always("", action));
    match world.account.open("inbox").await {
        Err(CloudError::Refused { status: 404, code, .. }) => assert_eq!(code, "MailboxNotEnabledForRESTAPI"),
        other => panic!("{other:?}"),
    }
}
