use std::collections::HashSet;

use serde_json::json;
use simcloud::{AccountMode, FlagChange, FlagStatus, Knobs, NewMessage, Options};

use crate::client::{DELTA, Fixture};

fn ids(items: &[serde_json::Value]) -> Vec<String> {
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_first_round_names_every_message_once_when_calm() {
    let it = Fixture::calm(523).await;
    let (items, link, pages) = it.round(DELTA, 100).await;
    let named: HashSet<String> = ids(&items).into_iter().collect();
    let there: HashSet<String> = it.cloud.state("").unwrap().messages().map(|one| one.id.clone()).collect();
    assert_eq!((items.len(), pages), (523, 6));
    assert_eq!(named, there);
    assert!(link.contains("/me/mailfolders('") && link.contains("$deltatoken="));
    assert!(items[0]["@odata.etag"].is_string() && items[0]["subject"].is_null());
    let times: Vec<&str> = items.iter().map(|item| item["receivedDateTime"].as_str().unwrap()).collect();
    assert!(!times.is_sorted() && !times.iter().rev().is_sorted(), "there must be no order");
    let (items, _, pages) = it.round(&link, 100).await;
    assert_eq!((items.len(), pages), (0, 1));
}

#[tokio::test]
async fn noise_repeats_and_invents_but_loses_nothing() {
    let knobs = Knobs {
        delta_duplicates: 0.2,
        delta_empty_pages: 0.5,
        delta_unknown_removals: 0.5,
        delta_replays: 1.0,
        ..Knobs::default()
    };
    let it = Fixture::new(Options { messages: 200, knobs, ..Options::default() }).await;
    let (items, link, pages) = it.round(DELTA, 20).await;
    let there: HashSet<String> = it.cloud.state("").unwrap().messages().map(|one| one.id.clone()).collect();
    let removed: HashSet<String> = items
        .iter()
        .filter(|item| item.get("@removed").is_some())
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect();
    let told: HashSet<String> = ids(&items).into_iter().filter(|id| !removed.contains(id)).collect();
    assert_eq!(told, there);
    assert!(items.len() > 210 && pages > 12 && !removed.is_empty() && removed.is_disjoint(&there));
    let mut link = link;
    let mut heard = HashSet::new();
    for _ in 0..10 {
        let new = it.cloud.add_message("", NewMessage::generated("inbox")).unwrap();
        let (items, next, _) = it.round(&link, 20).await;
        assert!(ids(&items).contains(&new));
        heard.extend(ids(&items).into_iter().map(|id| (id, items.len())));
        link = next;
    }
    assert!(heard.iter().any(|(_, length)| *length > 1), "something must have been replayed");
}

#[tokio::test]
async fn default_pages_have_fifteen_items_and_large_ones_are_cut() {
    let it = Fixture::calm(600).await;
    assert_eq!(it.get(DELTA).await.json()["value"].as_array().unwrap().len(), 15);
    let request = it.request("GET", DELTA).header("Prefer", "odata.maxpagesize=1000");
    let answer = it.send(request).await;
    assert_eq!(answer.json()["value"].as_array().unwrap().len(), 500);
    let applied = answer.header("preference-applied");
    assert!(applied.contains("odata.track-changes") && applied.contains("IdType=ImmutableId"), "{applied}");
}

#[tokio::test]
async fn a_read_toggle_comes_with_three_properties_and_only_if_asked_for() {
    let it = Fixture::calm(5).await;
    let (items, with_read, _) = it.round(DELTA, 50).await;
    let (_, without, _) = it.round("/me/mailFolders/inbox/messages/delta?$select=subject", 50).await;
    let id = ids(&items)[0].clone();
    let read = items[0]["isRead"].as_bool().unwrap();
    it.cloud.set_flags("", &id, FlagChange { is_read: Some(!read), ..FlagChange::default() }).unwrap();
    let (items, with_read, _) = it.round(&with_read, 50).await;
    let names: HashSet<&str> =
        items[0].as_object().unwrap().keys().map(String::as_str).filter(|name| !name.starts_with('@')).collect();
    assert_eq!(names, HashSet::from(["id", "isRead", "parentFolderId"]));
    let (items, without, _) = it.round(&without, 50).await;
    assert!(items.is_empty());
    it.cloud
        .set_flags(
            "",
            &id,
            FlagChange { is_read: Some(read), flag: Some(FlagStatus::Complete), ..FlagChange::default() },
        )
        .unwrap();
    let (items, _, _) = it.round(&with_read, 50).await;
    assert_eq!(items[0]["flag"]["flagStatus"], "complete");
    assert!(items[0]["receivedDateTime"].is_string());
    assert_eq!(it.round(&without, 50).await.0.len(), 1);
}

#[tokio::test]
async fn our_own_change_echoes() {
    let it = Fixture::calm(3).await;
    let (items, link, _) = it.round(DELTA, 50).await;
    let id = ids(&items)[0].clone();
    assert_eq!(it.patch(&id, &json!({"flag": {"flagStatus": "flagged"}})).await.status, 200);
    assert_eq!(ids(&it.round(&link, 50).await.0), [id]);
}

#[tokio::test]
async fn there_and_back_is_told_as_removed_by_immutable_id() {
    let it = Fixture::calm(3).await;
    it.cloud.turn(|knobs| knobs.delta_a_b_a_flaw = true);
    let (items, link, _) = it.round(DELTA, 50).await;
    let id = ids(&items)[0].clone();
    it.cloud.move_away_and_back("", &id, "archive").unwrap();
    let (items, link, _) = it.round(&link, 50).await;
    assert_eq!(items.len(), 1);
    assert_eq!(items[0]["@removed"]["reason"], "deleted");
    assert_eq!(it.get(&format!("/me/messages/{id}")).await.status, 200);
    assert_eq!(it.round(&link, 50).await.0.len(), 0);
    it.cloud.set_flags("", &id, FlagChange { flag: Some(FlagStatus::Flagged), ..FlagChange::default() }).unwrap();
    let (items, _, _) = it.round(&link, 50).await;
    assert_eq!(items[0]["flag"]["flagStatus"], "flagged");
}

#[tokio::test]
async fn classic_ids_are_told_as_removed_and_new() {
    let mut it = Fixture::calm(3).await;
    it.immutable = false;
    let (items, link, _) = it.round(DELTA, 50).await;
    let id = ids(&items)[0].clone();
    it.cloud.move_away_and_back("", &id, "archive").unwrap();
    let (items, _, _) = it.round(&link, 50).await;
    assert_eq!(items.len(), 2);
    assert_eq!((items[0]["id"].as_str().unwrap(), items[0].get("@removed").is_some()), (id.as_str(), true));
    assert!(items[1].get("@removed").is_none() && items[1]["id"] != items[0]["id"]);
}

#[tokio::test]
async fn old_messages_moved_in_come_twice() {
    let it = Fixture::calm(3).await;
    it.cloud.turn(|knobs| knobs.delta_moved_twice = true);
    let (items, _, _) = it.round(DELTA, 50).await;
    let archive = DELTA.replace("inbox", "archive");
    let (_, link, _) = it.round(&archive, 50).await;
    it.cloud.move_message("", &ids(&items)[0], "archive").unwrap();
    let (items, _, _) = it.round(&link, 50).await;
    assert_eq!(items.len(), 2);
    assert_eq!(items[0], items[1]);
}

#[tokio::test]
async fn only_three_generations_of_links_live() {
    let it = Fixture::calm(40).await;
    let first = it.get(DELTA).await.json()["@odata.nextLink"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        assert_eq!(it.get(&first).await.status, 200);
    }
    assert_eq!(it.get(&first).await.status, 200);
    let answer = it.get(&first).await;
    assert_eq!((answer.status, answer.code().as_str()), (410, "SyncStateNotFound"));
    let text = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(text.starts_with("The sync state generation is not found; generation=1;[highest=4]["), "{text}");
    assert!(answer.header("location").ends_with("$deltatoken="));
    let (_, link, _) = it.round(DELTA, 50).await;
    it.cloud.kill_delta_tokens("").unwrap();
    assert_eq!(it.get(&link).await.status, 410);
}

#[tokio::test]
async fn top_cuts_the_enumeration_short_and_is_a_violation() {
    let it = Fixture::calm(40).await;
    let (items, _, pages) = it.round("/me/mailFolders/inbox/messages/delta?$top=2", 50).await;
    assert_eq!((items.len(), pages), (2, 2));
    assert!(it.cloud.counters().violations[0].contains("$top"));
}

#[tokio::test]
async fn unsupported_options_are_refused() {
    let it = Fixture::calm(4).await;
    for option in [
        "$skip=1",
        "$search=x",
        "$count=true",
        "$orderby=subject",
        "$filter=isRead eq true",
        "$filter=receivedDateTime lt 2020-01-01T00:00:00Z",
    ] {
        let answer = it.get(&format!("/me/mailFolders/inbox/messages/delta?{option}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "ErrorInvalidUrlQuery"), "{option}");
    }
    let answer = it.get("/me/messages/delta").await;
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("Change tracking is not supported"));
    let answer = it.get("/me/mailFolders/inbox/messages/delta?$select=nonsense").await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn filter_and_order_are_kept() {
    let it = Fixture::calm(100).await;
    let state = it.cloud.state("").unwrap();
    let border = state.messages().nth(60).unwrap().received.clone();
    let (items, link, _) = it
        .round(&format!("/me/mailFolders/inbox/messages/delta?$select=receivedDateTime&$filter=receivedDateTime ge {border}&$orderby=receivedDateTime desc"), 7)
        .await;
    assert_eq!(items.len(), 40);
    assert!(items.iter().rev().map(|item| item["receivedDateTime"].as_str().unwrap()).is_sorted());
    let old = NewMessage { received: Some(1_000_000_000), ..NewMessage::mime("inbox", "Subject: old\n\n") };
    it.cloud.add_message("", old).unwrap();
    let new = it.cloud.add_message("", NewMessage::mime("inbox", "Subject: new\n\n")).unwrap();
    assert_eq!(ids(&it.round(&link, 50).await.0), [new]);
}

#[tokio::test]
async fn changes_are_seen_late_with_a_lag() {
    let it = Fixture::calm(3).await;
    let (_, link, _) = it.round(DELTA, 50).await;
    it.cloud.turn(|knobs| knobs.delta_lag_ms = 3_600_000);
    let id = it.cloud.add_message("", NewMessage::generated("inbox")).unwrap();
    let (items, link, _) = it.round(&link, 50).await;
    assert!(items.is_empty());
    assert_eq!(it.round(DELTA, 50).await.0.len(), 3);
    it.cloud.turn(|knobs| knobs.delta_lag_ms = 0);
    assert_eq!(ids(&it.round(&link, 50).await.0), [id]);
}

#[tokio::test]
async fn messages_that_come_and_go_during_a_round_are_told_sooner_or_later() {
    let it = Fixture::calm(60).await;
    let first = it.get(DELTA).await.json();
    let new = it.cloud.add_message("", NewMessage::generated("inbox")).unwrap();
    let gone = it.cloud.state("").unwrap().messages().nth(30).unwrap().id.clone();
    it.cloud.delete_message("", &gone, simcloud::Deletion::Trash).unwrap();
    let (_, link, _) = it.round(first["@odata.nextLink"].as_str().unwrap(), 50).await;
    let (items, _, _) = it.round(&link, 50).await;
    assert!(ids(&items).contains(&new));
    assert!(items.iter().any(|item| item["id"] == gone.as_str() && item.get("@removed").is_some()));
}

#[tokio::test]
async fn china_and_full_mailboxes_refuse_delta_but_not_lists() {
    let it = Fixture::calm(3).await;
    it.cloud.turn(|knobs| knobs.delta_unsupported = true);
    assert_eq!(it.get(DELTA).await.code(), "ErrorInvalidIdMalformed");
    it.cloud.turn(|knobs| knobs.delta_unsupported = false);
    it.cloud.set_account_mode("", AccountMode::QuotaExceeded).unwrap();
    let answer = it.get(DELTA).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "ErrorQuotaExceeded"));
    assert_eq!(it.get("/me/mailFolders/inbox/messages").await.status, 200);
    it.cloud.set_account_mode("", AccountMode::NotEnabled).unwrap();
    assert_eq!(it.get("/me/mailFolders").await.code(), "MailboxNotEnabledForRESTAPI");
}

#[tokio::test]
async fn extended_properties_are_expanded_in_delta() {
    let it = Fixture::calm(1).await;
    let id = it.cloud.state("").unwrap().messages().next().unwrap().id.clone();
    let expand = "$expand=singleValueExtendedProperties($filter=id eq 'Integer 0x1080' or id eq 'Integer 0x0E17')";
    let (_, link, _) = it.round(&format!("/me/mailFolders/inbox/messages/delta?$select=isRead&{expand}"), 50).await;
    it.cloud.set_flags("", &id, FlagChange { replied: Some(true), ..FlagChange::default() }).unwrap();
    let (items, link, _) = it.round(&link, 50).await;
    assert_eq!(items[0]["singleValueExtendedProperties"][0], json!({"id": "Integer 0x1080", "value": "261"}));
    let imap = FlagChange { replied: Some(true), actor: simcloud::Actor::Imap, ..FlagChange::default() };
    it.cloud.set_flags("", &id, imap).unwrap();
    let (items, _, _) = it.round(&link, 50).await;
    assert!(
        items[0]["singleValueExtendedProperties"]
            .as_array()
            .unwrap()
            .contains(&json!({"id": "Integer 0xe17", "value": "512"}))
    );
}
