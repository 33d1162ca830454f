//! The answer that never ends: one JSON document, whose objects are told as soon as they are whole.
//!
//! Chunks and objects don't line up, so the reader keeps no more than what it has of the object that is under way.

use serde_json::Value;

/// No object comes near this: a notification is about 1 kB.
const LARGEST_OBJECT_BYTES: usize = 64 << 10;

/// The member of the document that holds the objects.
const OBJECTS: &[u8] = b"value";

/// One object of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// The connection lives.
    KeepAlive,
    /// Something happened, or a subscription is acknowledged.
    Notification {
        /// Which subscription it is for, empty where the service didn't say.
        subscription: String,
        /// Such as `Created` or `Missed`.
        change: String,
    },
    /// Something of another kind, which is a sign of life.
    Other,
}

/// Why what comes isn't such a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadDocument {
    #[error("there is a {found:?} where it can't be")]
    Unexpected { found: char },
    #[error("an object has no end")]
    TooLong,
    #[error("an object isn't JSON")]
    NotJson,
}

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Document,
    /// The name of a member of the document, or the document's end if there may be none.
    Name {
        may_end: bool,
    },
    Colon,
    /// What a member that doesn't matter is, or the objects.
    Member,
    /// A comma between members, or the document's end.
    AfterMember,
    /// An object, or the end of the objects if there may be none.
    Object {
        may_end: bool,
    },
    /// A comma between objects, or their end.
    AfterObject,
    /// Nothing.
    Nothing,
}

/// Of what the bytes that are being kept will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Name,
    Member,
    Object,
}

/// A value of which not all bytes have come.
#[derive(Debug)]
struct Partial {
    kind: Kind,
    bytes: Vec<u8>,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Whether it is a number or a word, which end where something else begins.
    is_bare: bool,
}

/// Reads the document as it comes.
#[derive(Debug)]
pub(super) struct Reader {
    expected: Expected,
    partial: Option<Partial>,
    /// Whether the member under way is the one that holds the objects.
    at_objects: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self { expected: Expected::Document, partial: None, at_objects: false }
    }
}

impl Reader {
    /// Takes the next bytes and tells the objects that they complete. After an error nothing more can be read.
    pub(super) fn feed(&mut self, bytes: &[u8], items: &mut Vec<Item>) -> Result<(), BadDocument> {
        for byte in bytes {
            self.take(*byte, items)?;
        }
        Ok(())
    }

    /// Whether the document has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.expected == Expected::Nothing
    }

    fn take(&mut self, byte: u8, items: &mut Vec<Item>) -> Result<(), BadDocument> {
        if let Some(partial) = &mut self.partial {
            let is_end = is_space(byte) || matches!(byte, b',' | b'}' | b']' | b':' | b'{' | b'[' | b'"');
            let ends_before = partial.is_bare && is_end;
            let whole = ends_before || partial.push(byte)?;
            if whole && let Some(partial) = self.partial.take() {
                self.complete(&partial, items)?;
            }
            if !ends_before {
                return Ok(());
            }
        }
        self.begin(byte)
    }

    /// Takes a byte that is in no value.
    fn begin(&mut self, byte: u8) -> Result<(), BadDocument> {
        if is_space(byte) {
            return Ok(());
        }
        self.expected = match (self.expected, byte) {
            (Expected::Document, b'{') => Expected::Name { may_end: true },
            (Expected::Name { .. }, b'"') => return self.keep(Kind::Name, byte),
            (Expected::Name { may_end: true } | Expected::AfterMember, b'}') => Expected::Nothing,
            (Expected::Colon, b':') => Expected::Member,
            (Expected::Member, b'[') if self.at_objects => Expected::Object { may_end: true },
            (Expected::Member, b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                return self.keep(Kind::Member, byte);
            }
            (Expected::AfterMember, b',') => Expected::Name { may_end: false },
            (Expected::Object { .. }, b'{') => return self.keep(Kind::Object, byte),
            (Expected::Object { may_end: true } | Expected::AfterObject, b']') => Expected::AfterMember,
            (Expected::AfterObject, b',') => Expected::Object { may_end: false },
            _ => return Err(BadDocument::Unexpected { found: char::from(byte) }),
        };
        Ok(())
    }

    fn keep(&mut self, kind: Kind, first: u8) -> Result<(), BadDocument> {
        let mut partial = Partial {
            kind,
            bytes: Vec::new(),
            depth: 0,
            in_text: false,
            escaped: false,
            is_bare: !matches!(first, b'"' | b'{' | b'['),
        };
        partial.push(first)?;
        self.partial = Some(partial);
        Ok(())
    }

    fn complete(&mut self, partial: &Partial, items: &mut Vec<Item>) -> Result<(), BadDocument> {
        let value: Value = serde_json::from_slice(&partial.bytes).map_err(|_| BadDocument::NotJson)?;
        self.expected = match partial.kind {
            Kind::Name => {
                self.at_objects = value.as_str().map(str::as_bytes) == Some(OBJECTS);
                Expected::Colon
            }
            Kind::Member => Expected::AfterMember,
            Kind::Object => {
                items.push(item(&value));
                Expected::AfterObject
            }
        };
        Ok(())
    }
}

impl Partial {
    /// Takes one more byte, and says whether the value is whole with it.
    fn push(&mut self, byte: u8) -> Result<bool, BadDocument> {
        if self.bytes.len() >= LARGEST_OBJECT_BYTES {
            return Err(BadDocument::TooLong);
        }
        self.bytes.push(byte);
        if self.is_bare {
            return Ok(false);
        }
        if self.in_text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        Ok(self.depth == 0 && !self.in_text)
    }
}

/// White space as JSON has it (RFC 8259, section 2).
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn item(value: &Value) -> Item {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let kind = text("@odata.type");
    if kind.ends_with("KeepAliveNotification") {
        Item::KeepAlive
    } else if kind.ends_with(".Notification") {
        Item::Notification { subscription: text("SubscriptionId").to_owned(), change: text("ChangeType").to_owned() }
    } else {
        Item::Other
    }
}

#[cfg(test)]
mod tests;
