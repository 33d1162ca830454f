//! New messages and new versions of drafts, and what is known of them when an answer is lost.

use cms_cloud::contract::{
    CloudAccount, CloudError, Created, Fidelity, FolderId, FolderRole, NewContent, NewMessage, Outcome, Seen,
};
use cms_cloud::mime::Readable;
use cms_engine::{Flags, MessageId, RemoteId};
use simcloud::{Action, Fault, Knobs};

use crate::support::{World, impatient_world, world, world_with};

const MIME: &[u8] = b"From: a@domain.com\r\nSubject: x\r\nMessage-ID: <it's@here>\r\n\r\nJ\xf6rg\r\n";

async fn create(world: &World, folder: &str, draft: bool, mime: &[u8]) -> Created {
    let folder = FolderId(world.cloud().folder_id("", folder).unwrap());
    world.account.create(NewMessage { folder: &folder, draft, content: content(&mime, &ids()) }).await
}

/// The Message-ID of [`MIME`], and one for as long as it isn't whole.
fn ids() -> [MessageId; 2] {
    [MessageId::new("<it's@here>"), MessageId::new("<1@unfinished.maildir.invalid>")]
}

fn content<'a>(mime: &'a dyn Readable, [message_id, unfinished]: &'a [MessageId; 2]) -> NewContent<'a> {
    NewContent { mime, message_id, unfinished }
}

async fn replace(world: &World, id: &RemoteId, revision: Option<&str>, mime: &[u8]) -> Outcome {
    world.account.replace(id, revision, content(&mime, &ids())).await
}

#[track_caller]
fn made(created: Created) -> Seen {
    match created {
        Created::Made(seen) => seen,
        other => panic!("{other:?}"),
    }
}

fn bytes(world: &World, id: &RemoteId) -> Vec<u8> {
    world.cloud().mime("", id.as_str()).unwrap().to_vec()
}

fn requests(world: &World, kind: &str) -> u64 {
    world.cloud().counters().requests.get(kind).copied().unwrap_or_default()
}

async fn importing_world(granted: bool) -> World {
    let knobs = Knobs { advanced_granted: granted, ..Knobs::calm() };
    world_with(simcloud::Options { knobs, ..simcloud::Options::default() }, |_| {}).await
}

#[tokio::test]
async fn f15_a_draft_is_made_of_mime_and_is_dated_now() {
    let world = world(0).await;
    let seen = made(create(&world, "Inbox", true, MIME).await);
    assert_eq!(seen.flags, Flags::DRAFT | Flags::SEEN);
    assert_eq!(seen.folder, Some(FolderId(world.cloud().folder_id("", "drafts").unwrap())), "wherever it is to be");
    assert!(seen.received.is_some() && seen.revision.is_some());
    assert_eq!(bytes(&world, &seen.id), MIME);
    assert_eq!(world.account.capabilities().uploads.drafts, Fidelity::Lossy);
    world.assert_well_behaved();
}

#[tokio::test]
async fn f15_what_is_no_draft_is_imported_where_that_was_granted() {
    let world = importing_world(true).await;
    let seen = made(create(&world, "Inbox", false, MIME).await);
    assert_eq!((seen.flags, seen.folder), (Flags::NONE, Some(world.inbox.clone())));
    assert_eq!(bytes(&world, &seen.id), MIME);
    assert_eq!((requests(&world, "import"), requests(&world, "create")), (1, 0));
    world.assert_well_behaved();
}

#[tokio::test]
async fn f15_without_the_grant_it_is_refused_and_asked_for_once() {
    let world = importing_world(false).await;
    for _ in 0..3 {
        match create(&world, "Inbox", false, MIME).await {
            Created::Refused(CloudError::Refused { status: 403, message, .. }) => {
                assert!(message.contains("Mail-Advanced.ReadWrite"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(requests(&world, "import"), 1);
    assert_eq!(world.account.capabilities().uploads.others, Fidelity::Refused);
    made(create(&world, "drafts", true, MIME).await);
    world.assert_well_behaved();
}

#[tokio::test]
async fn a_message_is_found_by_its_message_id_wherever_it_is() {
    let world = world(5).await;
    assert!(world.account.find("<it's@here>").await.unwrap().is_empty());
    let seen = made(create(&world, "drafts", true, MIME).await);
    world.cloud().move_message("", seen.id.as_str(), "Inbox").unwrap();
    let found = world.account.find("<it's@here>").await.unwrap();
    assert_eq!(found.iter().map(|found| &found.id).collect::<Vec<_>>(), [&seen.id]);
    assert_eq!(found[0].folder, Some(world.inbox.clone()));
    assert!(world.account.find("<it's@elsewhere>").await.unwrap().is_empty());
    world.assert_well_behaved();
}

#[tokio::test]
async fn f19_a_create_is_repeated_after_429_and_after_nothing_else() {
    let world = impatient_world(0, 10).await;
    world.cloud().inject(Fault::once("create", Action::throttled(1)));
    made(create(&world, "drafts", true, MIME).await);
    assert_eq!(requests(&world, "create"), 2);
    let faults = [
        Action::status(503),
        Action::StatusAfter { status: 504 },
        Action::ResetBefore,
        Action::ResetAfter,
        Action::HangAfter,
        Action::Truncate { after: 20 },
        Action::ErrorInOk { code: "x".to_owned() },
    ];
    for action in faults {
        let before = requests(&world, "create");
        let there = world.cloud().state("").unwrap().messages().count();
        world.cloud().inject(Fault::once("create", action.clone()));
        let created = create(&world, "drafts", true, MIME).await;
        assert!(matches!(created, Created::Unknown(_)), "{action:?}: {created:?}");
        assert_eq!(requests(&world, "create"), before + 1, "{action:?}");
        let now = world.cloud().state("").unwrap().messages().count();
        assert!(now <= there + 1, "{action:?} made several");
        // What it did can be found out.
        assert_eq!(world.account.find("<it's@here>").await.unwrap().len(), now, "{action:?}");
    }
}

#[tokio::test]
async fn f19_an_expired_token_makes_no_second_message() {
    let world = world(0).await;
    world.cloud().expire_access_tokens();
    made(create(&world, "drafts", true, MIME).await);
    assert_eq!(world.cloud().state("").unwrap().messages().count(), 1);
}

#[tokio::test]
async fn a_drafts_content_is_replaced_and_that_may_be_repeated() {
    let world = impatient_world(0, 10).await;
    let seen = made(create(&world, "drafts", true, MIME).await);
    world.cloud().inject(Fault::once("put-value", Action::ResetAfter));
    let other = b"Subject: other\r\n\r\n";
    let outcome = replace(&world, &seen.id, None, other).await;
    let Outcome::Done { now: Some(now), .. } = outcome else { panic!("{outcome:?}") };
    assert_ne!(now.revision, seen.revision);
    assert_eq!(bytes(&world, &seen.id), other);
    world.assert_well_behaved();
}

#[tokio::test]
async fn f19_a_draft_that_was_edited_there_meanwhile_is_not_written_over() {
    let world = world(0).await;
    let seen = made(create(&world, "drafts", true, MIME).await);
    world.cloud().edit_draft("", seen.id.as_str(), b"Subject: there\r\n\r\n").unwrap();
    let outcome = replace(&world, &seen.id, seen.revision.as_deref(), MIME).await;
    assert!(matches!(outcome, Outcome::Outdated), "{outcome:?}");
    assert_eq!(bytes(&world, &seen.id), b"Subject: there\r\n\r\n");
}

#[tokio::test]
async fn what_was_sent_meanwhile_is_no_draft_any_more() {
    let world = world(0).await;
    let seen = made(create(&world, "drafts", true, MIME).await);
    world.cloud().send_draft("", seen.id.as_str()).unwrap();
    let outcome = replace(&world, &seen.id, None, MIME).await;
    assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_without_a_request_and_one_at_it_is_taken() {
    let world = world(0).await;
    let uploads = world.account.capabilities().uploads;
    let long = |bytes: u64| {
        let head = "Subject: long\r\n\r\n";
        format!("{head}{}", "x".repeat(usize::try_from(bytes).unwrap() - head.len())).into_bytes()
    };
    for draft in [true, false] {
        let created = create(&world, "drafts", draft, &long(uploads.longest_at_once_bytes + 1)).await;
        assert!(matches!(created, Created::Refused(CloudError::TooLong { .. })), "{created:?}");
    }
    assert_eq!((requests(&world, "create"), requests(&world, "import")), (0, 0));
    made(create(&world, "drafts", true, &long(uploads.longest_at_once_bytes)).await);
    world.assert_well_behaved();
}

#[tokio::test]
async fn folders_say_what_they_are_for_in_any_language() {
    let knobs = Knobs { locale: "de".to_owned(), ..Knobs::calm() };
    let world = world_with(simcloud::Options { knobs, ..simcloud::Options::default() }, |_| {}).await;
    for (name, role) in [
        ("drafts", FolderRole::Drafts),
        ("sentitems", FolderRole::Sent),
        ("inbox", FolderRole::Other),
        ("deleteditems", FolderRole::Other),
    ] {
        let folder = FolderId(world.cloud().folder_id("", name).unwrap());
        assert_eq!(world.account.role(&folder).await.unwrap(), role, "{name}");
    }
    world.assert_well_behaved();
}
