//! Time and numbers in words that mean the same everywhere: no time zone and no locale is needed to read them.

use std::time::{SystemTime, UNIX_EPOCH};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Seconds since 1970.
pub(super) fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(0)
}

/// How long ago something was. The script of the page says the same, so that it stays true while nothing changes.
pub(super) fn ago(at: i64, now: i64) -> String {
    match now.saturating_sub(at) {
        ..MINUTE => "just now".to_owned(),
        seconds @ MINUTE..HOUR => counted(seconds / MINUTE, "minute"),
        seconds @ HOUR..DAY => counted(seconds / HOUR, "hour"),
        seconds => counted(seconds / DAY, "day"),
    }
}

fn counted(count: i64, unit: &str) -> String {
    if count == 1 { format!("1 {unit} ago") } else { format!("{count} {unit}s ago") }
}

/// How long is left, in minutes and seconds.
pub(super) fn left(until: i64, now: i64) -> String {
    let seconds = until.saturating_sub(now).max(0);
    format!("{}:{:02}", seconds / MINUTE, seconds % MINUTE)
}

/// A number in groups of three, which a narrow space keeps together.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// "1 message", "2 messages".
pub(super) fn messages(count: u64) -> String {
    format!("{} message{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// The same with a capital at the beginning.
pub(super) fn capitalised(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The reason of an error as a sentence. What it begins with stays as it is unless it is a word: names have no capital.
pub(super) fn sentence(reason: &str) -> String {
    let reason = reason.trim();
    let first = reason.split([' ', ':', ',', ';']).next().unwrap_or_default();
    let is_word = first.chars().all(|c| c.is_alphabetic() || c == '\'');
    let mut text = if is_word { capitalised(reason) } else { reason.to_owned() };
    if !text.is_empty() && !text.ends_with(['.', '!', '?', '…']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (seconds, words) in [
            (-5, "just now"),
            (0, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (3599, "59 minutes ago"),
            (3600, "1 hour ago"),
            (86_399, "23 hours ago"),
            (86_400, "1 day ago"),
            (864_000, "10 days ago"),
        ] {
            assert_eq!(ago(1_000_000 - seconds, 1_000_000), words);
        }
        assert_eq!(ago(i64::MIN, i64::MAX), "106751991167300 days ago");
        assert_eq!(ago(i64::MAX, i64::MIN), "just now");
    }

    #[test]
    fn what_is_left() {
        assert_eq!(left(1000, 101), "14:59");
        assert_eq!(left(100, 101), "0:00");
        assert_eq!(left(i64::MAX, i64::MIN), format!("{}:07", i64::MAX / 60));
    }

    #[test]
    fn reasons_become_sentences_and_names_stay() {
        for (reason, words) in [
            ("nobody has signed in yet", "Nobody has signed in yet."),
            ("it couldn't be kept", "It couldn't be kept."),
            ("Ask its administrator.", "Ask its administrator."),
            ("ann@domain.com signed in", "ann@domain.com signed in."),
            ("login.example doesn't answer", "login.example doesn't answer."),
            ("invalid_grant: AADSTS50173: gone (sign in again)", "invalid_grant: AADSTS50173: gone (sign in again)."),
            ("", ""),
        ] {
            assert_eq!(sentence(reason), words);
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1\u{202f}000");
        assert_eq!(grouped(u64::MAX).chars().filter(char::is_ascii_digit).count(), 20);
        assert_eq!(messages(1), "1 message");
        assert_eq!(messages(12_345), "12\u{202f}345 messages");
    }
}
