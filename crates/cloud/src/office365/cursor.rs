//! What a cursor holds: the way of asking, and the service's link, which nobody looks into.

use crate::contract::Cursor;

/// Where a round stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// In the first round of change tracking, which names everything.
    FirstDelta(String),
    /// In or before a later round of change tracking.
    LaterDelta(String),
    /// In a list.
    List(String, WhyList),
    /// Before a list.
    NewList(WhyList),
}

/// Why a folder is listed rather than tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhyList {
    /// The cloud has no change tracking (China, operated by 21Vianet).
    Unsupported,
    /// The mailbox is too full for the service to note what it told us. It may be emptied.
    Full,
}

/// The form of the text; another form gets another number, and is then a cursor that was lost.
const VERSION: &str = "2";

impl Position {
    pub(crate) fn to_cursor(&self) -> Cursor {
        let (kind, link) = match self {
            Self::FirstDelta(link) => ("delta-first", link.as_str()),
            Self::LaterDelta(link) => ("delta", link.as_str()),
            Self::List(link, WhyList::Unsupported) => ("list", link.as_str()),
            Self::List(link, WhyList::Full) => ("list-full", link.as_str()),
            Self::NewList(WhyList::Unsupported) => ("list", ""),
            Self::NewList(WhyList::Full) => ("list-full", ""),
        };
        Cursor(format!("{VERSION} {kind} {link}"))
    }

    /// Reads a cursor; one that isn't of this form is nothing.
    pub(crate) fn from_cursor(cursor: &Cursor) -> Option<Self> {
        let mut parts = cursor.0.splitn(3, ' ');
        if parts.next() != Some(VERSION) {
            return None;
        }
        let (kind, link) = (parts.next()?, parts.next()?);
        let why = match kind {
            "delta-first" if !link.is_empty() => return Some(Self::FirstDelta(link.to_owned())),
            "delta" if !link.is_empty() => return Some(Self::LaterDelta(link.to_owned())),
            "list" => WhyList::Unsupported,
            "list-full" => WhyList::Full,
            _ => return None,
        };
        Some(if link.is_empty() { Self::NewList(why) } else { Self::List(link.to_owned(), why) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_as_they_went() {
        let link = "https://graph.microsoft.com/v1.0/me/mailfolders('A')/messages/delta?$skiptoken=a b".to_owned();
        for position in [
            Position::FirstDelta(link.clone()),
            Position::LaterDelta(link.clone()),
            Position::List(link.clone(), WhyList::Full),
            Position::List(link, WhyList::Unsupported),
            Position::NewList(WhyList::Full),
            Position::NewList(WhyList::Unsupported),
        ] {
            assert_eq!(Position::from_cursor(&position.to_cursor()), Some(position));
        }
    }

    #[test]
    fn other_texts_are_no_positions() {
        for text in ["", "1", "1 delta", "1 delta ", "1 delta x", "1 other x", "https://x"] {
            assert_eq!(Position::from_cursor(&Cursor(text.to_owned())), None, "{text}");
        }
    }
}
