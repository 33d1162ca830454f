//! Several folders polled in the same moment.

use cms_cloud::contract::{Changes, CloudAccount, CloudError, Cursor, FolderId, Next, Page};
use futures_util::future::join_all;
use simcloud::{Action, Fault, Knobs};

use crate::support::{World, world_with};

/// A world with so many folders, each with its cursor after a first round.
async fn folders(count: usize) -> (World, Vec<(FolderId, Cursor)>) {
    let options = simcloud::Options { messages: 0, knobs: Knobs::calm(), ..simcloud::Options::default() };
    let world = world_with(options, |_| {}).await;
    let mut folders = Vec::new();
    for number in 0..count {
        let path = format!("Inbox/{number}");
        world.cloud().add_generated("", &path, 2).unwrap();
        let id = FolderId(world.cloud().folder_id("", &path).unwrap());
        let mut cursor = None;
        let cursor = loop {
            match page(world.account.changes(&id, cursor.as_ref()).await).next {
                Next::More(next) => cursor = Some(next),
                Next::Complete { cursor, .. } => break cursor,
            }
        };
        folders.push((id, cursor));
    }
    world.cloud().reset_counters();
    (world, folders)
}

fn page(answer: Result<Changes, CloudError>) -> Page {
    match answer.unwrap() {
        Changes::Page(page) => page,
        Changes::CursorLost => panic!("the cursor is lost"),
    }
}

async fn poll(world: &World, folders: &[(FolderId, Cursor)]) -> Vec<Result<Changes, CloudError>> {
    join_all(folders.iter().map(|(id, cursor)| world.account.changes(id, Some(cursor)))).await
}

fn requests(world: &World) -> u64 {
    world.cloud().counters().http_requests
}

#[tokio::test]
async fn all_folders_are_polled_in_one_request_and_each_tells_its_own_news() {
    let (world, folders) = folders(12).await;
    world.cloud().add_generated("", "Inbox/7", 3).unwrap();
    let pages: Vec<Page> = poll(&world, &folders).await.into_iter().map(page).collect();
    assert_eq!(requests(&world), 1);
    let news: Vec<usize> = pages.iter().map(|page| page.upserts.len()).collect();
    assert_eq!(news, [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0]);
    assert!(pages.iter().all(|page| matches!(page.next, Next::Complete { whole: false, .. })));
    assert_eq!(world.cloud().counters().highest_concurrency, 1);
    world.assert_well_behaved();
}

#[tokio::test]
async fn forty_five_folders_take_three_requests() {
    let (world, folders) = folders(45).await;
    let pages: Vec<Page> = poll(&world, &folders).await.into_iter().map(page).collect();
    assert!(pages.iter().all(|page| page.upserts.is_empty()));
    assert_eq!(requests(&world), 3);
    world.assert_well_behaved();
}

#[tokio::test]
async fn a_folder_alone_is_polled_as_ever() {
    let (world, folders) = folders(1).await;
    page(poll(&world, &folders).await.remove(0));
    assert_eq!((requests(&world), world.cloud().counters().requests["delta"]), (1, 1));
}

#[tokio::test]
async fn one_folder_that_fails_spoils_none_of_the_others() {
    let (world, folders) = folders(6).await;
    world.cloud().add_generated("", "Inbox/1", 1).unwrap();
    world.cloud().add_generated("", "Inbox/4", 1).unwrap();
    world.cloud().delete_folder("", "Inbox/2").unwrap();
    let answers = poll(&world, &folders).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match number {
            2 => assert!(matches!(answer, Err(CloudError::NoSuchFolder { .. })), "{answer:?}"),
            1 | 4 => assert_eq!(page(answer).upserts.len(), 1),
            _ => assert_eq!(page(answer).upserts.len(), 0),
        }
    }
    world.assert_well_behaved();
}

#[tokio::test]
async fn f22_cursors_that_were_all_lost_are_told_as_lost() {
    let (world, folders) = folders(5).await;
    world.cloud().kill_delta_tokens("").unwrap();
    let answers = poll(&world, &folders).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Changes::CursorLost))), "{answers:?}");
    world.assert_well_behaved();
}

#[tokio::test]
async fn what_is_refused_in_a_batch_is_asked_for_alone() {
    let faults = [
        Fault { count: Some(2), ..Fault::always("batch-item:delta", Action::status(503)) },
        Fault { count: Some(1), ..Fault::always("batch-item:delta", Action::status(429)) },
        Fault { count: Some(1), ..Fault::always("batch", Action::status(500)) },
        Fault { count: Some(1), ..Fault::always("batch", Action::status(400)) },
    ];
    for fault in faults {
        println!("{fault:?}");
        let (world, folders) = folders(6).await;
        world.cloud().add_generated("", "Inbox/5", 1).unwrap();
        world.cloud().inject(fault);
        let pages: Vec<Page> = poll(&world, &folders).await.into_iter().map(page).collect();
        let news: Vec<usize> = pages.iter().map(|page| page.upserts.len()).collect();
        assert_eq!(news, [0, 0, 0, 0, 0, 1]);
        assert!(world.cloud().counters().violations.is_empty());
    }
}

#[tokio::test]
async fn a_poll_that_is_given_up_holds_up_nobody() {
    let (world, mut folders) = folders(3).await;
    for _ in 0..20 {
        let (given_up, others) = folders.split_first_mut().unwrap();
        // It has begun to gather the others.
        let poll = world.account.changes(&given_up.0, Some(&given_up.1));
        drop(tokio::time::timeout(std::time::Duration::from_micros(200), poll).await);
        let polls = others.iter().map(|(id, cursor)| world.account.changes(id, Some(cursor)));
        for (answer, folder) in join_all(polls).await.into_iter().zip(others) {
            let Next::Complete { cursor, .. } = page(answer).next else { panic!("nothing is new") };
            folder.1 = cursor;
        }
    }
    world.assert_well_behaved();
}
