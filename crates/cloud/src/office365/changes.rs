//! What changed in a folder: change tracking (delta), and lists where the cloud refuses that.

use std::sync::atomic::Ordering;

use cms_engine::UnixSeconds;
use serde_json::Value;
use url::Url;

use super::Account;
use super::account::IMMUTABLE;
use super::cursor::{Position, WhyList};
use super::errors::{says_cursor_lost, says_folder_missing};
use super::message::{Entry, SELECT, read_entry};
use super::properties::EXPAND;
use crate::contract::{Changes, CloudError, Cursor, FolderId, Next, Page};
use crate::http::{Call, Failure, Retries};

/// A page as the service sent it.
struct RawPage {
    items: Vec<Value>,
    link: Link,
}

/// How a page says that the round goes on.
enum Link {
    Next(String),
    Delta(String),
    /// Neither: the end of a list.
    End,
}

impl Account {
    pub(super) async fn changes_after(
        &self,
        folder: &FolderId,
        cursor: Option<&Cursor>,
    ) -> Result<Changes, CloudError> {
        let position = match cursor.map(Position::from_cursor) {
            None => None,
            // Another version of the program wrote it.
            Some(None) => return Ok(Changes::CursorLost),
            Some(Some(position)) => Some(position),
        };
        match position {
            // A mailbox that was too full may have been emptied.
            None | Some(Position::NewList(WhyList::Full)) => self.begin(folder).await,
            Some(Position::NewList(WhyList::Unsupported)) => {
                self.list_page(&self.list_url(folder), WhyList::Unsupported).await
            }
            Some(Position::List(link, why)) => match self.own_link(&link) {
                Some(url) => self.list_page(&url, why).await,
                None => Ok(Changes::CursorLost),
            },
            Some(Position::FirstDelta(link)) => self.go_on(folder, &link, true).await,
            Some(Position::LaterDelta(link)) => self.go_on(folder, &link, false).await,
        }
    }

    /// The first page of a first round.
    async fn begin(&self, folder: &FolderId) -> Result<Changes, CloudError> {
        let query = format!("$select={SELECT}&$expand={EXPAND}");
        let url = self.url(&["mailFolders", &folder.0, "messages", "delta"], &query);
        match self.raw_page(&url, true).await {
            Ok(page) => self.delta_page(page, true),
            Err(Failure::Status(error)) if error.status == 403 && error.is("ErrorQuotaExceeded") => {
                self.list_page(&self.list_url(folder), WhyList::Full).await
            }
            Err(Failure::Status(error)) if error.status == 400 && error.is("ErrorInvalidIdMalformed") => {
                // Said of a good folder id where the cloud has no change tracking.
                if self.folder_exists(folder).await? {
                    self.list_page(&self.list_url(folder), WhyList::Unsupported).await
                } else {
                    Err(no_such_folder(folder))
                }
            }
            Err(Failure::Status(error)) if says_folder_missing(&error) => Err(no_such_folder(folder)),
            Err(failure) => Err(self.error(failure)),
        }
    }

    /// A further page, or the first of a later round.
    async fn go_on(&self, folder: &FolderId, link: &str, first: bool) -> Result<Changes, CloudError> {
        let Some(url) = self.own_link(link) else { return Ok(Changes::CursorLost) };
        if !first
            && let Some(body) = self.poll_with_others(&url).await
            && let Ok(page) = parse_page(body, true)
        {
            return self.delta_page(page, false);
        }
        match self.raw_page(&url, true).await {
            Ok(page) => self.delta_page(page, first),
            Err(Failure::Status(error)) if says_cursor_lost(&error) => Ok(Changes::CursorLost),
            Err(Failure::Status(error)) if error.status == 403 && error.is("ErrorQuotaExceeded") => {
                self.list_page(&self.list_url(folder), WhyList::Full).await
            }
            Err(Failure::Status(error)) if says_folder_missing(&error) => {
                if self.folder_exists(folder).await? {
                    Ok(Changes::CursorLost)
                } else {
                    Err(no_such_folder(folder))
                }
            }
            Err(failure) => Err(self.error(failure)),
        }
    }

    fn delta_page(&self, page: RawPage, first: bool) -> Result<Changes, CloudError> {
        let next = match page.link {
            Link::Next(link) => {
                self.check_link(&link)?;
                let position = if first { Position::FirstDelta(link) } else { Position::LaterDelta(link) };
                Next::More(position.to_cursor())
            }
            Link::Delta(link) => {
                self.check_link(&link)?;
                self.forget_small_pages();
                Next::Complete { cursor: Position::LaterDelta(link).to_cursor(), whole: first }
            }
            Link::End => return Err(CloudError::Unexpected("a page of changes doesn't say how to go on".to_owned())),
        };
        Ok(Changes::Page(read_page(&page.items, next, (self.now)())))
    }

    fn list_url(&self, folder: &FolderId) -> Url {
        let query = format!("$select={SELECT}&$expand={EXPAND}");
        self.url(&["mailFolders", &folder.0, "messages"], &query)
    }

    async fn list_page(&self, url: &Url, why: WhyList) -> Result<Changes, CloudError> {
        let page = self.raw_page(url, false).await.map_err(|failure| self.error(failure))?;
        let next = match page.link {
            Link::Next(link) => {
                self.check_link(&link)?;
                Next::More(Position::List(link, why).to_cursor())
            }
            Link::Delta(_) | Link::End => {
                self.forget_small_pages();
                Next::Complete { cursor: Position::NewList(why).to_cursor(), whole: true }
            }
        };
        Ok(Changes::Page(read_page(&page.items, next, (self.now)())))
    }

    /// Asks for one page, and for a smaller one when the service can't make it.
    async fn raw_page(&self, url: &Url, tracked: bool) -> Result<RawPage, Failure> {
        let mut retries = Retries::new(&self.http);
        let mut failed_at_this_size = 0;
        loop {
            let size = self.page_size.load(Ordering::Relaxed);
            let call = Call::get(url.clone()).prefer(format!("odata.maxpagesize={size}, {IMMUTABLE}"));
            let (failure, token) = match self.http.json_once(&call).await {
                Ok((body, token)) => match parse_page(body, tracked) {
                    Ok(page) => return Ok(page),
                    Err(words) => (Failure::Senseless(words), Some(token)),
                },
                Err(failed) => failed,
            };
            if matches!(&failure, Failure::Status(error) if matches!(error.status, 500 | 504)) {
                failed_at_this_size += 1;
                // Once may be chance. Twice, and the page is too large or holds an item that spoils it
                // (microsoft-graph-docs-contrib#7758).
                if failed_at_this_size >= 2 && size > 1 {
                    self.page_size.store((size / 4).max(1), Ordering::Relaxed);
                    failed_at_this_size = 0;
                    retries = Retries::new(&self.http);
                }
            }
            retries.after(failure, token.as_ref()).await?;
        }
    }

    fn forget_small_pages(&self) {
        self.page_size.store(self.full_page_size, Ordering::Relaxed);
    }

    fn check_link(&self, link: &str) -> Result<(), CloudError> {
        match self.own_link(link) {
            Some(_) => Ok(()),
            None => Err(CloudError::Unexpected("a page leads to another server".to_owned())),
        }
    }

    pub(super) async fn folder_exists(&self, folder: &FolderId) -> Result<bool, CloudError> {
        let call = Call::get(self.url(&["mailFolders", &folder.0], "$select=id"));
        match self.http.json(&call).await {
            Ok(_) => Ok(true),
            Err(Failure::Status(error)) if says_folder_missing(&error) || error.is("ErrorInvalidIdMalformed") => {
                Ok(false)
            }
            Err(failure) => Err(self.error(failure)),
        }
    }
}

fn no_such_folder(folder: &FolderId) -> CloudError {
    CloudError::NoSuchFolder { name: folder.0.clone(), nearest: Vec::new() }
}

/// A page without its list, or one of changes without a way on, is no page.
fn parse_page(mut body: Value, tracked: bool) -> Result<RawPage, String> {
    let link = match (body["@odata.nextLink"].as_str(), body["@odata.deltaLink"].as_str()) {
        (Some(link), _) => Link::Next(link.to_owned()),
        (None, Some(link)) => Link::Delta(link.to_owned()),
        (None, None) if tracked => return Err("a page of changes doesn't say how to go on".to_owned()),
        (None, None) => Link::End,
    };
    match body.get_mut("value").map(Value::take) {
        Some(Value::Array(items)) => Ok(RawPage { items, link }),
        _ => Err("a page has no list of messages".to_owned()),
    }
}

fn read_page(items: &[Value], next: Next, now: UnixSeconds) -> Page {
    let mut page = Page { upserts: Vec::new(), removals: Vec::new(), next };
    for item in items {
        match read_entry(item, now) {
            Some(Entry::Message(seen)) => page.upserts.push(seen),
            Some(Entry::Removed(id)) => page.removals.push(id),
            Some(Entry::Unfinished) => {}
            None => tracing::warn!("an entry of a page has no id and is passed over"),
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const NOW: UnixSeconds = UnixSeconds(1_790_000_000);

    #[test]
    fn f21_an_empty_page_with_a_way_on_is_a_page() {
        let page = parse_page(json!({"value": [], "@odata.nextLink": "n"}), true).unwrap();
        assert!(page.items.is_empty());
        assert!(matches!(page.link, Link::Next(link) if link == "n"));
    }

    #[test]
    fn a_page_of_changes_without_a_way_on_is_not_the_end() {
        assert!(parse_page(json!({"value": []}), true).is_err());
        assert!(matches!(parse_page(json!({"value": []}), false).unwrap().link, Link::End));
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for body in [json!(null), json!({}), json!([]), json!("x"), json!({"value": {}, "@odata.deltaLink": "d"})] {
            assert!(parse_page(body.clone(), true).is_err(), "{body}");
        }
    }

    #[test]
    fn f21_entries_without_an_id_do_not_spoil_the_page() {
        let next = Next::More(Cursor("c".to_owned()));
        let page = read_page(&[json!({}), json!({"id": "A"}), json!(3), json!({"id": "B", "@removed": {}})], next, NOW);
        assert_eq!((page.upserts.len(), page.removals.len()), (1, 1));
    }

    /// Values of every kind, under the names that pages have and under others.
    fn any_value() -> impl Strategy<Value = Value> {
        let name = prop::sample::select(vec![
            "value",
            "id",
            "@removed",
            "reason",
            "isRead",
            "isDraft",
            "flag",
            "flagStatus",
            "receivedDateTime",
            "changeKey",
            "singleValueExtendedProperties",
            "@odata.nextLink",
            "@odata.deltaLink",
            "other",
        ]);
        let text = prop::sample::select(vec!["", "A", "flagged", "deleted", "2024-01-01T12:00:00Z", "Integer 0x1081"]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..8).prop_map(|fields| {
                    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn f21_pages_of_any_shape_are_read_or_refused(
            body in any_value(),
            items in prop::collection::vec(any_value(), 0..12),
            tracked: bool,
        ) {
            if let Ok(page) = parse_page(body, tracked) {
                prop_assert!(!tracked || !matches!(page.link, Link::End), "a page of changes that says nothing isn't the end");
            }
            let page = parse_page(json!({"value": items, "@odata.deltaLink": "d"}), true).unwrap();
            let with_id = page.items.iter().filter(|item| item["id"].as_str().is_some_and(|id| !id.is_empty())).count();
            let read = read_page(&page.items, Next::More(Cursor("c".to_owned())), NOW);
            prop_assert!(read.upserts.len() + read.removals.len() >= with_id, "none that has an id is passed over");
        }
    }
}
