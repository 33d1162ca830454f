//! Messages' bytes.

use cms_cloud::contract::{CloudAccount, CloudError};
use cms_engine::RemoteId;
use simcloud::{Action, Deletion, Fault, FlagChange};

use crate::support::{Bytes, impatient_world, world};

#[tokio::test]
async fn a_message_comes_as_it_is_compressed_or_not() {
    for gzip in [true, false] {
        let world = world(3).await;
        world.cloud().turn(|knobs| knobs.gzip = gzip);
        for id in world.ids() {
            let mut sink = Bytes::default();
            let count = world.account.fetch(&id, &mut sink).await.unwrap();
            assert_eq!(sink.bytes, world.cloud().mime("", id.as_str()).unwrap());
            assert_eq!(count, sink.bytes.len() as u64);
        }
        world.assert_well_behaved();
    }
}

#[tokio::test]
async fn a_transfer_that_breaks_off_begins_again() {
    for gzip in [true, false] {
        for action in [
            Action::Truncate { after: 100 },
            Action::Stall { after: 100 },
            Action::ResetBefore,
            Action::Hang,
            Action::Html,
            Action::ErrorInOk { code: "ErrorInternalServerError".to_owned() },
            Action::status(500),
            Action::status(503),
            Action::Status {
                status: 200,
                body: simcloud::BodyKind::Empty,
                code: String::new(),
                message: String::new(),
                retry_after: None,
            },
        ] {
            println!("gzip {gzip}, {action:?}");
            let world = impatient_world(1, 10).await;
            world.cloud().turn(|knobs| knobs.gzip = gzip);
            let id = world.ids().remove(0);
            world.cloud().inject(Fault::once("value", action));
            let mut sink = Bytes::default();
            world.account.fetch(&id, &mut sink).await.unwrap();
            assert_eq!(sink.bytes, world.cloud().mime("", id.as_str()).unwrap());
            assert_eq!(world.cloud().counters().faults_injected, 1);
        }
    }
}

#[tokio::test]
async fn f16_nothing_short_is_ever_taken_for_whole() {
    let world = world(1).await;
    let id = world.ids().remove(0);
    for action in [Action::Truncate { after: 200 }, Action::Html, Action::ErrorInOk { code: "X".to_owned() }] {
        world.cloud().clear_faults();
        world.cloud().inject(Fault::always("value", action.clone()));
        let answer = world.account.fetch(&id, &mut Bytes::default()).await;
        assert!(
            matches!(answer, Err(CloudError::Unreachable(_) | CloudError::Unexpected(_))),
            "{action:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_message_that_is_gone_is_gone() {
    let world = world(2).await;
    let ids = world.ids();
    world.cloud().delete_message("", ids[0].as_str(), Deletion::Purge).unwrap();
    assert!(matches!(world.account.fetch(&ids[0], &mut Bytes::default()).await, Err(CloudError::Gone)));
    let unknown = RemoteId::new("no such/id?&%");
    let answer = world.account.fetch(&unknown, &mut Bytes::default()).await;
    assert!(matches!(answer, Err(CloudError::Gone | CloudError::Refused { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_message_that_the_service_cannot_make_is_given_up_alone() {
    let world = world(2).await;
    let ids = world.ids();
    let change = FlagChange { unconvertible: Some(true), ..FlagChange::default() };
    world.cloud().set_flags("", ids[0].as_str(), change).unwrap();
    let before = world.cloud().counters().http_requests;
    match world.account.fetch(&ids[0], &mut Bytes::default()).await {
        Err(CloudError::Unconvertible { code, request_id, .. }) => {
            assert_eq!(code, "ErrorMimeContentConversionFailed");
            assert!(!request_id.is_empty());
        }
        other => panic!("{other:?}"),
    }
    assert!(world.cloud().counters().http_requests <= before + 3);
    world.account.fetch(&ids[1], &mut Bytes::default()).await.unwrap();
}
