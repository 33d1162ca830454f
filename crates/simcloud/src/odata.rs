//! Request targets as `OData` writes them: keys in parentheses, names in any case, options that begin with `$`.

use percent_encoding::percent_decode_str;

use crate::reply::Answer;

/// Splits a path into flat segments: `/me/mailFolders('X')/messages` and `/me/mailfolders/X/messages` both become
/// `me`, `mailfolders`, `X`, `messages`. Names are in lower case, keys as they came.
pub(crate) fn segments(path: &str) -> Vec<String> {
    let mut flat = Vec::new();
    for raw in path.split('/').filter(|segment| !segment.is_empty()) {
        let segment = percent_decode_str(raw).decode_utf8_lossy();
        if let Some((name, key)) =
            segment.split_once("('").and_then(|(name, rest)| Some((name, rest.strip_suffix("')")?)))
        {
            flat.push(name.to_ascii_lowercase());
            flat.push(key.replace("''", "'"));
        } else {
            flat.push(segment.strip_suffix("()").unwrap_or(&segment).to_owned());
        }
    }
    flat
}

/// One decoded query option.
#[derive(Clone, Debug)]
pub(crate) struct QueryOption {
    /// The name, in lower case.
    pub(crate) name: String,
    /// The value, decoded.
    pub(crate) value: String,
}

/// The options of a request's query, decoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(pub(crate) Vec<QueryOption>);

impl Query {
    /// Reads what stands after the question mark.
    pub(crate) fn parse(text: &str) -> Self {
        let decode = |part: &str| {
            let spaced = part.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        Self(
            text.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    QueryOption { name: decode(name).to_ascii_lowercase(), value: decode(value) }
                })
                .collect(),
        )
    }

    /// The value of an option, by its name in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|option| option.name == name).map(|option| option.value.as_str())
    }

    /// The first option whose name isn't among `known`.
    pub(crate) fn unknown(&self, known: &[&str]) -> Option<&str> {
        self.0.iter().map(|option| option.name.as_str()).find(|name| !known.contains(name))
    }

    /// A number, or the error that Graph gives for something else.
    pub(crate) fn number(&self, name: &str) -> Result<Option<usize>, Answer> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => text.trim().parse().map(Some).map_err(|_| {
                Answer::error(400, "BadRequest", &format!("Invalid value '{text}' for {name} query option."))
            }),
        }
    }
}

/// One comparison of a `$filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// The property, as it was written.
    pub(crate) property: String,
    /// `eq`, `ne`, `ge`, `gt`, `le` or `lt`.
    pub(crate) operator: String,
    /// What it is compared with, unquoted.
    pub(crate) value: String,
}

/// Reads a `$filter` that consists of comparisons joined by `and` (or, where `joiner` says so, `or`).
pub(crate) fn comparisons(text: &str, joiner: &str) -> Option<Vec<Comparison>> {
    let mut words = Words(text).peekable();
    let mut found = Vec::new();
    loop {
        let (property, operator, value) = (words.next()??, words.next()??, words.next()??);
        if property.1 || operator.1 || !matches!(operator.0.as_str(), "eq" | "ne" | "ge" | "gt" | "le" | "lt") {
            return None;
        }
        found.push(Comparison { property: property.0, operator: operator.0, value: value.0 });
        match words.next() {
            None => return Some(found),
            Some(Some((word, false))) if word == joiner => {}
            Some(_) => return None,
        }
    }
}

/// Words of a filter; a quoted one says so. `None` inside is a string that never ends.
struct Words<'a>(&'a str);

impl Iterator for Words<'_> {
    type Item = Option<(String, bool)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0 = self.0.trim_start();
        if self.0.is_empty() {
            return None;
        }
        let Some(quoted) = self.0.strip_prefix('\'') else {
            let end = self.0.find(char::is_whitespace).unwrap_or(self.0.len());
            let (word, rest) = self.0.split_at(end);
            self.0 = rest;
            return Some(Some((word.to_owned(), false)));
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            if character != '\'' {
                value.push(character);
            } else if characters.peek().is_some_and(|(_, next)| *next == '\'') {
                value.push('\'');
                characters.next();
            } else {
                self.0 = &quoted[at + 1..];
                return Some(Some((value, true)));
            }
        }
        self.0 = "";
        Some(None)
    }
}

/// The ids asked for by `$expand=singleValueExtendedProperties($filter=id eq '…' or id eq '…')`, in normal spelling.
pub(crate) fn expanded_properties(expand: &str) -> Result<Vec<String>, Answer> {
    let refuse = || Answer::error(400, "BadRequest", &format!("Parsing OData Select and Expand failed: '{expand}'."));
    let lower = expand.to_ascii_lowercase();
    if !lower.starts_with("singlevalueextendedproperties") {
        return Err(refuse());
    }
    let inner = expand
        .split_once('(')
        .and_then(|(_, rest)| rest.trim_end().strip_suffix(')'))
        .and_then(|inner| inner.trim().split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("$filter"))
        .map(|(_, filter)| filter)
        .ok_or_else(refuse)?;
    comparisons(inner, "or")
        .filter(|list| list.iter().all(|one| one.property.eq_ignore_ascii_case("id") && one.operator == "eq"))
        .map(|list| list.iter().map(|one| property_id(&one.value)).collect())
        .ok_or_else(refuse)
}

/// An extended property's id as Exchange gives it back: hexadecimal digits in lower case, no leading zeros.
pub(crate) fn property_id(id: &str) -> String {
    let mut words = id.split_whitespace();
    let (Some(kind), Some(tag), None) = (words.next(), words.next(), words.next()) else {
        return id.to_owned();
    };
    match tag.to_ascii_lowercase().strip_prefix("0x").map(|digits| u32::from_str_radix(digits, 16)) {
        Some(Ok(number)) => format!("{kind} {number:#x}"),
        _ => id.to_owned(),
    }
}

/// Percent-encodes a query value for a link, as the service does.
pub(crate) fn encode(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_parentheses_and_in_segments_are_the_same() {
        let expected = ["me", "mailfolders", "A-b=", "messages", "delta"];
        assert_eq!(segments("/me/mailFolders('A-b=')/messages/delta"), expected);
        assert_eq!(segments("/me/mailFolders('A-b%3D')/messages/delta()"), expected);
    }

    #[test]
    fn filters_keep_quotes_apart() {
        let one = comparisons("displayName eq 'it''s and so'", "and").unwrap();
        assert_eq!(one[0].value, "it's and so");
        let two = comparisons("receivedDateTime ge 2026-01-01T00:00:00Z and isRead eq false", "and").unwrap();
        assert_eq!((two.len(), two[1].property.as_str()), (2, "isRead"));
        assert_eq!(comparisons("startswith(subject,'x')", "and"), None);
        assert_eq!(comparisons("subject eq 'x", "and"), None);
    }

    #[test]
    fn property_ids_are_given_back_in_normal_spelling() {
        assert_eq!(property_id("Integer 0x0E17"), "Integer 0xe17");
        let ids = expanded_properties(
            "singleValueExtendedProperties($filter=id eq 'Integer 0x1080' or id eq 'Integer 0x0E17')",
        );
        assert_eq!(ids.unwrap(), ["Integer 0x1080", "Integer 0xe17"]);
        assert!(expanded_properties("attachments").is_err());
    }
}
