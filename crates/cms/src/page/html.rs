//! Text that becomes part of HTML.

/// Text from outside as HTML, in an element or in a quoted attribute.
///
/// Control characters become spaces: none has a meaning here, and a line end would cut an event in two.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A name from outside, which can't change the direction in which what follows it is read.
pub(super) fn name(text: &str) -> String {
    format!("<bdi>{}</bdi>", escape(text))
}

/// Puts values in the places of a template, `{{like_this}}`. What a value contains is never taken for a place.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let (place, after) = after.split_once("}}").unwrap_or((after, ""));
        if let Some((_, value)) = values.iter().find(|(name, _)| *name == place) {
            text.push_str(value);
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_stays_text() {
        assert_eq!(escape("<a href='x' b=\"y\">&"), "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp;");
        assert_eq!(escape("a\r\nb\0c\u{85}"), "a  b c ");
    }

    #[test]
    fn values_are_not_templates() {
        assert_eq!(fill("<{{a}}-{{b}}-{{c}}>", &[("a", "{{b}}"), ("b", "2")]), "<{{b}}-2->");
        assert_eq!(fill("{{a", &[("a", "1")]), "1");
    }
}
