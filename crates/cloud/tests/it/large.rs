//! Drafts that no single request takes.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms_cloud::contract::{
    Changes, CloudAccount, CloudError, Created, FolderId, NewContent, NewMessage, Outcome, Seen, Whereabouts,
};
use cms_cloud::mime::{Content, parts};
use cms_engine::{Flags, MessageId, RemoteId};
use simcloud::{Action, Fault, FlagChange, FlagStatus, Knobs};

use crate::support::{World, impatient_world, world, world_with};

/// A draft with three attachments. Each line of them is known by its place.
struct Draft {
    /// How many lines of base64 each attachment has.
    lines: [usize; 3],
    subject: &'static str,
    mime: Vec<u8>,
}

/// What a line of 76 characters of base64 holds.
fn line(attachment: usize, number: usize) -> String {
    format!("{attachment}{number:056}")
}

impl Draft {
    fn new(lines: [usize; 3], subject: &'static str) -> Self {
        let mut mime = format!(
            "From: a@domain.com\r\nSubject: {subject}\r\nMessage-ID: <its@own>\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nsee below"
        );
        for (attachment, count) in lines.into_iter().enumerate() {
            let _ = write!(
                mime,
                "\r\n--b\r\nContent-Type: application/pdf; name=\"{attachment}.pdf\"\r\n\
                 Content-Transfer-Encoding: base64\r\n\
                 Content-Disposition: attachment; filename=\"{attachment}.pdf\"\r\n\r\n"
            );
            for number in 0..count {
                STANDARD.encode_string(line(attachment, number), &mut mime);
                mime += "\r\n";
            }
        }
        mime += "--b--\r\n";
        Self { lines, subject, mime: mime.into_bytes() }
    }

    /// 5.7 MB, a few bytes and 3.99 MB.
    fn large(subject: &'static str) -> Self {
        Self::new([100_000, 3, 70_000], subject)
    }
}

const UNFINISHED: &str = "<1@unfinished.maildir.invalid>";

async fn create(world: &World, draft: &Draft) -> Created {
    let folder = FolderId(world.cloud().folder_id("", "drafts").unwrap());
    let (message_id, unfinished) = (MessageId::new("<its@own>"), MessageId::new(UNFINISHED));
    let content = NewContent { mime: &draft.mime.as_slice(), message_id: &message_id, unfinished: &unfinished };
    world.account.create(NewMessage { folder: &folder, draft: true, content }).await
}

async fn replace(world: &World, id: &RemoteId, revision: Option<&str>, draft: &Draft) -> Outcome {
    let (message_id, unfinished) = (MessageId::new("<its@own>"), MessageId::new(UNFINISHED));
    let content = NewContent { mime: &draft.mime.as_slice(), message_id: &message_id, unfinished: &unfinished };
    world.account.replace(id, revision, content).await
}

async fn remove_unfinished(world: &World) {
    for left in world.account.find(UNFINISHED).await.unwrap() {
        world.account.remove_unfinished(&left).await.unwrap();
    }
}

#[track_caller]
fn made(created: Created) -> Seen {
    match created {
        Created::Made(seen) => seen,
        other => panic!("{other:?}"),
    }
}

/// Checks that the cloud has all of a draft, and each part of it once.
#[track_caller]
fn assert_whole(world: &World, id: &RemoteId, draft: &Draft) {
    let there = world.cloud().mime("", id.as_str()).unwrap();
    let there = &there[..];
    let found = parts(there).unwrap();
    assert_eq!(found[0].field("Subject").unwrap(), draft.subject.as_bytes());
    assert_eq!(found[0].field("Message-ID").unwrap(), b"<its@own>");
    let mut contents: Vec<(u64, blake3::Hash)> = Vec::new();
    for part in found.iter().filter(|part| part.is_leaf()).skip(1) {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(Content::of(part, there)).unwrap();
        contents.push((hasher.count(), hasher.finalize()));
    }
    contents.sort_by_key(|(bytes, _)| *bytes);
    let mut expected: Vec<(u64, blake3::Hash)> = (0..3)
        .map(|attachment| {
            let mut hasher = blake3::Hasher::new();
            for number in 0..draft.lines[attachment] {
                hasher.update(line(attachment, number).as_bytes());
            }
            (hasher.count(), hasher.finalize())
        })
        .collect();
    expected.sort_by_key(|(bytes, _)| *bytes);
    assert_eq!(contents, expected);
}

fn requests(world: &World, kind: &str) -> u64 {
    world.cloud().counters().requests.get(kind).copied().unwrap_or_default()
}

/// The messages that a listing of the drafts tells.
async fn listed(world: &World) -> Vec<RemoteId> {
    let folder = FolderId(world.cloud().folder_id("", "drafts").unwrap());
    match world.account.changes(&folder, None).await.unwrap() {
        Changes::Page(page) => page.upserts.into_iter().map(|seen| seen.id).collect(),
        Changes::CursorLost => panic!("the cursor is lost"),
    }
}

fn drafts(world: &World) -> usize {
    let state = world.cloud().state("").unwrap();
    state.messages().filter(|message| message.folder.eq_ignore_ascii_case("drafts")).count()
}

#[tokio::test]
async fn f15_a_draft_goes_up_in_parts_and_is_whole_at_last() {
    let world = world(0).await;
    let draft = Draft::large("large");
    let seen = made(create(&world, &draft).await);
    assert_eq!(seen.flags, Flags::DRAFT | Flags::SEEN);
    assert!(seen.received.is_some() && seen.revision.is_some());
    assert_whole(&world, &seen.id, &draft);
    // Two of the three don't fit: the ideal is two sessions and two and one range of under 4 MB.
    let kinds = ["create", "attach", "upload-session", "upload-range", "message", "patch", "move"];
    assert_eq!(kinds.map(|kind| requests(&world, kind)), [1, 0, 2, 4, 1, 1, 0]);
    assert_eq!(listed(&world).await, std::slice::from_ref(&seen.id));
    assert_eq!(world.account.find("<its@own>").await.unwrap().len(), 1);
    world.assert_well_behaved();
}

#[tokio::test]
async fn small_attachments_that_must_go_alone_go_in_one_request() {
    let knobs = Knobs::calm();
    let world = world_with(simcloud::Options { knobs, ..simcloud::Options::default() }, |_| {}).await;
    // 2.28 MB each: together they are too much, and no session takes one of them.
    let draft = Draft::new([40_000, 40_001, 40_002], "several");
    let seen = made(create(&world, &draft).await);
    assert_whole(&world, &seen.id, &draft);
    assert_eq!(["attach", "upload-session"].map(|kind| requests(&world, kind)), [2, 0]);
    world.assert_well_behaved();
}

#[tokio::test]
async fn f19_whatever_fails_there_is_one_draft_at_last_and_it_is_whole() {
    let faults = [
        Action::status(503),
        Action::status(404),
        Action::ResetBefore,
        Action::ResetAfter,
        Action::StatusAfter { status: 504 },
        Action::HangAfter,
    ];
    let kinds = ["create", "upload-session", "upload-range", "attach", "patch"];
    for kind in kinds {
        for action in &faults {
            let context = format!("{kind}, {action:?}");
            let world = impatient_world(0, 10).await;
            let draft = Draft::new([56_000, 3, 41_000], "large");
            world.cloud().inject(Fault::once(kind, action.clone()));
            let first = create(&world, &draft).await;
            let seen = match first {
                Created::Made(seen) => seen,
                Created::Later(_) | Created::Unknown(_) | Created::Refused(CloudError::Refused { status: 404, .. }) => {
                    assert!(listed(&world).await.len() <= 1, "{context}: what isn't whole is no message");
                    remove_unfinished(&world).await;
                    match &world.account.find("<its@own>").await.unwrap()[..] {
                        [] => made(create(&world, &draft).await),
                        [seen] => seen.clone(),
                        several => panic!("{context}: {several:?}"),
                    }
                }
                other @ Created::Refused(_) => panic!("{context}: {other:?}"),
            };
            assert_whole(&world, &seen.id, &draft);
            assert_eq!((drafts(&world), listed(&world).await), (1, vec![seen.id]), "{context}");
            world.assert_well_behaved();
        }
    }
}

#[tokio::test]
async fn what_is_refused_half_way_is_passed_over_and_can_be_removed() {
    let world = world(0).await;
    let refusal = Action::Status {
        status: 403,
        body: simcloud::BodyKind::Json,
        code: "ErrorMessageSizeExceeded".to_owned(),
        message: "The message exceeds the maximum supported size.".to_owned(),
        retry_after: None,
    };
    world.cloud().inject(Fault { skip: 1, ..Fault::once("upload-session", refusal) });
    let created = create(&world, &Draft::large("large")).await;
    assert!(matches!(created, Created::Refused(CloudError::Refused { status: 403, .. })), "{created:?}");
    assert_eq!((drafts(&world), listed(&world).await), (1, Vec::new()));
    remove_unfinished(&world).await;
    assert_eq!(drafts(&world), 0);
    // There is nothing to do any more.
    remove_unfinished(&world).await;
    world.assert_well_behaved();
}

#[tokio::test]
async fn a_draft_becomes_one_that_no_request_takes() {
    let world = world(0).await;
    let small = Draft::new([3, 3, 3], "small");
    let first = made(create(&world, &small).await);
    let flagged = FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() };
    world.cloud().set_flags("", first.id.as_str(), flagged).unwrap();
    let archive = FolderId(world.cloud().folder_id("", "archive").unwrap());
    world.cloud().move_message("", first.id.as_str(), &archive.0).unwrap();
    let large = Draft::large("large");
    let outcome = replace(&world, &first.id, None, &large).await;
    let Outcome::Done { id: Some(id), now: Some(now) } = outcome else { panic!("{outcome:?}") };
    assert_ne!(id, first.id);
    assert_whole(&world, &id, &large);
    assert_eq!((now.folder, now.flags & Flags::FLAGGED), (Some(archive), Flags::FLAGGED));
    assert_eq!((drafts(&world), world.account.find("<its@own>").await.unwrap().len()), (0, 1));
    // And it may become small again.
    let outcome = replace(&world, &id, None, &small).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_whole(&world, &id, &small);
    world.assert_well_behaved();
}

#[tokio::test]
async fn f19_it_is_found_out_whether_the_last_request_was_heard() {
    let world = impatient_world(0, 10).await;
    let first = made(create(&world, &Draft::new([3, 3, 3], "small")).await);
    world.cloud().inject(Fault::once("patch", Action::ResetAfter));
    let large = Draft::large("large");
    let outcome = replace(&world, &first.id, None, &large).await;
    let Outcome::Done { id: Some(id), .. } = outcome else { panic!("{outcome:?}") };
    assert_whole(&world, &id, &large);
    assert_eq!(drafts(&world), 1);
    world.assert_well_behaved();
}

#[tokio::test]
async fn f19_what_was_written_or_sent_there_meanwhile_is_not_replaced_by_a_large_draft() {
    let world = world(0).await;
    let first = made(create(&world, &Draft::new([3, 3, 3], "small")).await);
    let edited = b"Subject: there\r\nMessage-ID: <its@own>\r\n\r\n";
    world.cloud().edit_draft("", first.id.as_str(), edited).unwrap();
    let outcome = replace(&world, &first.id, first.revision.as_deref(), &Draft::large("large")).await;
    assert!(matches!(outcome, Outcome::Outdated), "{outcome:?}");
    remove_unfinished(&world).await;
    world.cloud().send_draft("", first.id.as_str()).unwrap();
    let outcome = replace(&world, &first.id, None, &Draft::large("other")).await;
    assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    assert_eq!(world.cloud().mime("", first.id.as_str()).unwrap(), &edited[..]);
    remove_unfinished(&world).await;
    assert_eq!(drafts(&world), 0);
    world.assert_well_behaved();
}

#[tokio::test]
async fn f19_what_somebody_writes_on_a_large_draft_before_it_is_in_its_place_has_another_revision() {
    let world = world(0).await;
    let first = made(create(&world, &Draft::new([3, 3, 3], "small")).await);
    world.cloud().move_message("", first.id.as_str(), "Inbox").unwrap();
    world.cloud().inject(Fault::once("move", Action::Delay { milliseconds: 300 }));
    let draft = Draft::large("large");
    let write = async {
        while world.cloud().counters().faults_injected == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let listed = listed(&world).await;
        let whole = listed.iter().find(|id| **id != first.id).unwrap();
        world.cloud().edit_draft("", whole.as_str(), b"Subject: theirs\r\n\r\n").unwrap();
    };
    let (outcome, ()) = tokio::join!(replace(&world, &first.id, None, &draft), write);
    let Outcome::Done { id: Some(id), now: Some(now) } = outcome else { panic!("{outcome:?}") };
    let Some(Ok(Whereabouts::Here(seen))) = world.account.look_up(std::slice::from_ref(&id)).await.pop() else {
        panic!("it is gone")
    };
    assert_ne!(seen.folder, first.folder);
    assert!(now.revision.is_some() && now.revision != seen.revision, "{now:?} {seen:?}");
    world.assert_well_behaved();
}

#[tokio::test]
async fn f19_what_somebody_writes_on_a_draft_that_is_not_whole_is_not_taken_for_ours() {
    let world = impatient_world(0, 10).await;
    let edited = b"Subject: theirs\r\nMessage-ID: <1@unfinished.maildir.invalid>\r\n\r\n";
    // It is written on while its second attachment is on its way.
    world.cloud().inject(Fault { skip: 1, ..Fault::once("upload-session", Action::HangAfter) });
    let draft = Draft::large("large");
    let write = async {
        while world.cloud().counters().faults_injected == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let id = world.account.find(UNFINISHED).await.unwrap().remove(0).id;
        world.cloud().edit_draft("", id.as_str(), edited).unwrap();
    };
    let (created, ()) = tokio::join!(create(&world, &draft), write);
    assert!(matches!(created, Created::Later(_)), "{created:?}");
    let [left] = &world.account.find(UNFINISHED).await.unwrap()[..] else { panic!("it is gone") };
    world.account.keep_unfinished(left, &MessageId::new("<kept@here>")).await.unwrap();
    assert_eq!(listed(&world).await, std::slice::from_ref(&left.id));
    // Who looked at it before that doesn't remove it.
    assert!(world.account.remove_unfinished(left).await.is_err());
    assert_eq!(drafts(&world), 1);
    world.assert_well_behaved();
}
