//! Folders by the names people use.

use cms_cloud::contract::{CloudAccount, CloudError, Cursor, DeleteAction, FolderId, Purpose, Tree};
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
async fn many_mailboxes_that_ask_at_once_where_deleted_messages_go_make_one_request() {
    let world = world(1).await;
    world.cloud().turn(|knobs| knobs.latency_ms = 20);
    let before = world.cloud().counters().http_requests;
    let ask = || world.account.delete_target(DeleteAction::Trash);
    let targets = futures_util::future::join_all((0..50).map(|_| ask())).await;
    assert!(targets.iter().all(|target| matches!(target, Ok(Some(_)))));
    assert_eq!(world.cloud().counters().http_requests, before + 1);
    // Who waited for an attempt that failed asks by itself, at the same time as all others.
    world.cloud().turn(|knobs| knobs.archive_exists = false);
    let before = world.cloud().counters().http_requests;
    let ask = || world.account.delete_target(DeleteAction::Archive);
    let targets = futures_util::future::join_all((0..3).map(|_| ask())).await;
    assert!(targets.iter().all(|target| matches!(target, Err(CloudError::Refused { .. }))));
    assert_eq!(world.cloud().counters().http_requests, before + 3);
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

fn names(tree: &Tree) -> Vec<(String, Option<Purpose>)> {
    let mut names: Vec<_> = tree.folders.iter().map(|folder| (folder.name.clone(), folder.purpose)).collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    names
}

#[tokio::test]
async fn a_tree_has_every_folder_and_says_what_it_is_for_in_any_language() {
    let world = world(1).await;
    world.cloud().turn(|knobs| knobs.locale = "de".to_owned());
    for n in 0..25 {
        world.cloud().create_folder("", &format!("inbox/Listen/liste {n}"), false).unwrap();
    }
    world.cloud().create_folder("", "inbox/verborgen", true).unwrap();
    let tree = world.account.tree(&[]).await.unwrap();
    let names = names(&tree);
    assert!(names.contains(&("Posteingang".to_owned(), Some(Purpose::Inbox))));
    assert!(names.contains(&("Gelöschte Elemente".to_owned(), Some(Purpose::Deleted))));
    assert!(names.contains(&("liste 24".to_owned(), None)));
    assert!(!names.iter().any(|(name, _)| name == "verborgen"));
    let list = tree.folders.iter().find(|folder| folder.name == "liste 3").unwrap();
    assert_eq!(list.parent.as_ref().unwrap().0, world.cloud().folder_id("", "inbox/Listen").unwrap());
    world.assert_well_behaved();
}

#[tokio::test]
async fn f35_only_a_folder_that_the_cloud_does_not_find_by_its_id_is_gone() {
    let world = world(1).await;
    let ids = ["A", "B", "C"].map(|name| FolderId(world.cloud().create_folder("", name, name == "C").unwrap()));
    world.cloud().delete_folder("", "B").unwrap();
    let tree = world.account.tree(&ids).await.unwrap();
    // The third one is hidden: in no list, and there.
    assert_eq!(tree.gone, [ids[1].clone()]);
    assert!(tree.folders.iter().any(|folder| folder.id == ids[0]));
}

#[tokio::test]
async fn whether_folders_changed_costs_one_request() {
    let world = world(1).await;
    let first = world.account.tree_news(None).await.unwrap();
    assert!(first.changed);
    let quiet = world.account.tree_news(first.cursor.as_ref()).await.unwrap();
    assert!(!quiet.changed);
    let before = world.cloud().counters().requests["folder-delta"];
    let id = world.account.create_folder(None, "A").await.unwrap();
    assert_eq!(world.account.create_folder(None, "a").await.unwrap(), id, "a folder that is there is that one");
    let told = world.account.tree_news(quiet.cursor.as_ref()).await.unwrap();
    assert!(told.changed);
    assert_eq!(world.cloud().counters().requests["folder-delta"], before + 1);
    // A cursor that is forgotten, and a mailbox that is full, say nothing.
    let link = told.cursor.unwrap().0;
    let lost = Cursor(format!("{link}x"));
    let told = world.account.tree_news(Some(&lost)).await.unwrap();
    assert!(told.changed && told.cursor.is_none());
    let inside = world.account.create_folder(Some(&id), "B").await.unwrap();
    world.account.rename_folder(&inside, "C").await.unwrap();
    world.account.move_folder(&inside, None).await.unwrap();
    assert_eq!(world.cloud().folder_id("", "C").unwrap(), inside.0);
    world.cloud().delete_folder("", "C").unwrap();
    assert!(matches!(world.account.rename_folder(&inside, "D").await, Err(CloudError::Gone)));
}
