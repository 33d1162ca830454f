//! Dates as Microsoft Graph writes them: UTC, whole seconds, `Z`.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

thread_local! {
    /// What this thread takes the time of day to have been, and when.
    static PINNED: Cell<Option<(i64, Instant)>> = const { Cell::new(None) };
}

/// Says what time of day it is now, in seconds since 1970. From here on this thread's time of day goes by
/// [`tokio::time`], which a test may hold still.
pub fn pin_clock(seconds: i64) {
    PINNED.with(|pinned| pinned.set(Some((seconds, Instant::now()))));
}

/// Seconds since 1970, now.
pub(crate) fn now() -> i64 {
    if let Some((seconds, since)) = PINNED.with(Cell::get) {
        return seconds + i64::try_from(since.elapsed().as_secs()).unwrap_or_default();
    }
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_secs()).ok()).unwrap_or_default()
}

/// Splits days since 1970 into year, month and day of the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970 of a Gregorian date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_index = (month + 9) % 12;
    let day_of_year = (153 * month_index + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// `2026-01-31T12:00:00Z`
pub(crate) fn format(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// `Sat, 31 Jan 2026 12:00:00 +0000`, as mail headers write it.
pub(crate) fn format_mail(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let number = seconds.div_euclid(86_400);
    let (year, month, day) = civil(number);
    let rest = seconds.rem_euclid(86_400);
    let name =
        |list: &'static [&str], at: i64| usize::try_from(at).ok().and_then(|i| list.get(i)).copied().unwrap_or("");
    format!(
        "{}, {day} {} {year:04} {:02}:{:02}:{:02} +0000",
        name(&DAYS, number.rem_euclid(7)),
        name(&MONTHS, month - 1),
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Reads what [`format`] writes; a fraction of a second and a missing time are put up with.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', 't']) {
        Some((date, time)) => (date, time.trim_end_matches(['Z', 'z'])),
        None => (text, "00:00:00"),
    };
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let time = time.split('.').next()?;
    let mut time = time.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute) = (time.next()?.ok()?, time.next()?.ok()?);
    let second = time.next().and_then(Result::ok).unwrap_or(0);
    let sane = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    sane.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_come_back_as_they_went() {
        for seconds in [0, 1, 951_782_400, 1_700_000_000, 4_102_444_799] {
            assert_eq!(parse(&format(seconds)), Some(seconds));
        }
        assert_eq!(format(1_769_860_800), "2026-01-31T12:00:00Z");
        assert_eq!(format_mail(1_769_860_800), "Sat, 31 Jan 2026 12:00:00 +0000");
        assert_eq!(parse("2026-01-31"), Some(1_769_817_600));
        assert_eq!(parse("nonsense"), None);
    }
}
