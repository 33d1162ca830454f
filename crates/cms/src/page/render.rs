//! The page as HTML.

use super::answer::Nonce;
use super::board::Series;
use super::status::Status;

/// All that goes into the page.
pub(super) struct View<'a> {
    pub(super) status: &'a Status,
    pub(super) series: Series,
    pub(super) key: &'a str,
    pub(super) now: i64,
}

/// What the page says first, once.
pub(super) struct Banner {
    pub(super) good: bool,
    pub(super) heading: String,
    pub(super) words: String,
}

pub(super) fn page(view: &View<'_>, banner: Option<&Banner>, nonce: &Nonce) -> String {
    let _ = (view.status, &view.series, view.key, view.now, nonce.as_str());
    banner.map(|b| format!("{}{}{}", b.good, b.heading, b.words)).unwrap_or_default()
}

pub(super) fn content(_view: &View<'_>) -> String {
    String::new()
}
