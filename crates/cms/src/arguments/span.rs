//! Times as they are typed: `2h`, `3d`, `2026-11-26`, `2026-11-26T14`, `2026-11-26T14:05`. In UTC, as all times of `cms` are.

use cms_engine::UnixSeconds;

/// A time in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So many seconds ago.
    Ago(i64),
    /// That moment.
    At(UnixSeconds),
}

/// One hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hour(pub UnixSeconds);

/// What is to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undoing {
    /// One change.
    Entry(u64),
    /// A whole undo or restoration.
    Run(u32),
}

/// Reads `57`, `#57` or `run-3`.
pub fn undoing(text: &str) -> Result<Undoing, String> {
    let wrong = |_| format!("`{text}` is neither a number of `cms log` nor an undo such as `run-3`");
    match text.strip_prefix("run-") {
        Some(run) => run.parse().map(Undoing::Run).map_err(wrong),
        None => text.strip_prefix('#').unwrap_or(text).parse().map(Undoing::Entry).map_err(wrong),
    }
}

/// Reads `90s`, `10m`, `2h`, `3d`, `1w`, or a date with or without a time.
pub fn since(text: &str) -> Result<Since, String> {
    if let Some(at) = moment(text) {
        return Ok(Since::At(at));
    }
    let wrong = || {
        format!("`{text}` is neither a span such as `90s`, `10m`, `2h`, `3d` or `1w` nor a date such as `2026-11-26`")
    };
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Since::Ago(i64::from(number) * seconds))
}

/// Reads an hour of a day: `2026-11-26T14`.
pub fn hour(text: &str) -> Result<Hour, String> {
    let wrong = || format!("`{text}` is no hour such as `2026-11-26T14`");
    if !text.contains(['T', ' ']) {
        return Err(wrong());
    }
    let at = moment(text).ok_or_else(wrong)?;
    Ok(Hour(UnixSeconds(at.0 - at.0.rem_euclid(3_600))))
}

fn moment(text: &str) -> Option<UnixSeconds> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, clock) = text.split_once(['T', ' ']).unwrap_or((text, ""));
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let (year, month, day) = (number(year, 1970..=9999)?, number(month, 1..=12)?, number(day, 1..=31)?);
    let mut seconds = days(year, month, day) * 86_400;
    if text.len() > date.len() {
        let mut parts = clock.split(':');
        seconds += number(parts.next()?, 0..=23)? * 3_600;
        seconds += parts.next().map_or(Some(0), |minute| number(minute, 0..=59))? * 60;
        seconds += parts.next().map_or(Some(0), |second| number(second, 0..=59))?;
        if parts.next().is_some() {
            return None;
        }
    }
    Some(UnixSeconds(seconds))
}

fn number(text: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|number| range.contains(number))
}

/// Days since 1970-01-01, counted by Howard Hinnant's `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match since(text) {
            Ok(Since::Ago(seconds)) => format!("{seconds} s ago"),
            Ok(Since::At(at)) => crate::logging::utc(u64::try_from(at.0).unwrap()),
            Err(_) => "wrong".to_owned(),
        }
    }

    #[test]
    fn spans_and_dates_are_read() {
        assert_eq!(
            ["90s", "10m", "2h", "3d", "1w"].map(shown),
            ["90", "600", "7200", "259200", "604800"].map(|s| format!("{s} s ago"))
        );
        assert_eq!(shown("2026-11-26"), "2026-11-26T00:00:00Z");
        assert_eq!(shown("2026-11-26T14"), "2026-11-26T14:00:00Z");
        assert_eq!(shown("2026-11-26 14:05:09Z"), "2026-11-26T14:05:09Z");
        assert_eq!(shown("2024-02-29T23:59"), "2024-02-29T23:59:00Z");
        assert_eq!(shown("2000-03-01"), "2000-03-01T00:00:00Z");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "h", "-1h", "1", "1.5h", "2026", "2026-13-01", "2026-1-1", "2026-11-26T", "2026-11-26T25", "é", "1é"]
        {
            assert_eq!(shown(text), "wrong", "{text}");
        }
        assert!(hour("2026-11-26").is_err());
        assert_eq!(hour("2026-11-26T14:05"), hour("2026-11-26T14"));
    }
}
