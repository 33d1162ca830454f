//! Since when a mailbox's messages are brought here: a day, or an age.

use super::error::Refusal;

/// Since when messages are brought here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Since the beginning of a day in UTC, as days since 1970-01-01.
    Day(i64),
    /// For so many days.
    Age(u32),
}

/// The seconds of a day.
const DAY: i64 = 86_400;

impl Since {
    /// The time from which on messages are brought, in seconds since 1970, if it is `now`.
    ///
    /// An age is counted in whole days. What lies ahead counts as now: a message that comes is never too old.
    pub fn at(self, now: i64) -> i64 {
        let day = match self {
            Self::Day(day) => day,
            Self::Age(days) => now.div_euclid(DAY) - i64::from(days),
        };
        (day * DAY).min(now)
    }
}

/// `2026-01-31`, `90 days`, `12 weeks`.
pub(super) fn since(written: &str) -> Result<Since, Refusal> {
    let wrong = || {
        Refusal::new(format!("`{written}` is neither a day nor an age"))
            .hint("write a day such as `\"2026-01-31\"`, or an age such as `\"90 days\"` or `\"12 weeks\"`")
    };
    let text = written.trim();
    if let [year, month, day] = text.split('-').collect::<Vec<_>>().as_slice() {
        let number = |digits: &str, length| {
            let all = digits.len() == length && digits.bytes().all(|digit| digit.is_ascii_digit());
            all.then(|| digits.parse::<i64>().ok()).flatten()
        };
        let day = number(year, 4).zip(number(month, 2)).zip(number(day, 2));
        return day.and_then(|((year, month), day)| days_since_1970(year, month, day)).map(Since::Day).ok_or_else(
            || {
                Refusal::new(format!("`{written}` is not a day"))
                    .hint("write year, month and day, as in `\"2026-01-31\"`")
            },
        );
    }
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let in_days = match unit.trim() {
        "d" | "day" | "days" => 1,
        "w" | "week" | "weeks" => 7,
        _ => return Err(wrong()),
    };
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(in_days).filter(|days| *days > 0).map(Since::Age).ok_or_else(wrong)
}

/// The days from 1970-01-01 to a day, if there is such a day. Howard Hinnant's `days_from_civil`.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        let at = |written: &str| since(written).ok().map(|since| since.at(i64::MAX / 2));
        // `date -u -d DAY +%s`
        assert_eq!(at("1970-01-01"), Some(0));
        assert_eq!(at("2024-02-29"), Some(1_709_164_800));
        assert_eq!(at("2026-01-01"), Some(1_767_225_600));
        assert_eq!(at("2000-12-31"), Some(978_220_800));
        assert_eq!(at("1969-12-31"), Some(-86_400));
    }

    #[test]
    fn an_age_is_counted_in_whole_days() {
        let now = 1_767_225_600 + 3_600;
        assert_eq!(since("1 day").ok().map(|since| since.at(now)), Some(1_767_225_600 - 86_400));
        assert_eq!(since("2weeks").ok(), Some(Since::Age(14)));
        assert_eq!(since("90d").ok(), Some(Since::Age(90)));
    }

    #[test]
    fn what_lies_ahead_counts_as_now() {
        assert_eq!(since("2062-01-01").ok().map(|since| since.at(1_767_225_600)), Some(1_767_225_600));
    }

    #[test]
    fn what_is_neither_is_refused() {
        let bad = ["", "90", "0 days", "-3 days", "3 months", "days", "2026", "2026-1-1", "2026-02-29", "2026-13-01"];
        for written in bad.into_iter().chain(["2026-00-10", "2026-01-00", "2026-01-01T00:00", "+026-01-01"]) {
            assert!(since(written).is_err(), "{written}");
        }
    }
}
