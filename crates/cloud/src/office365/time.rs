//! Times as Microsoft Graph writes them: `2026-01-31T12:00:00Z` (ISO 8601, UTC).

use cms_engine::UnixSeconds;

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse: year, month, day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Reads a time; a fraction of a second is dropped, an offset from UTC is taken into account.
pub(crate) fn parse_time(text: &str) -> Option<UnixSeconds> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<i64>().ok()).flatten()
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, byte)| text.as_bytes().get(*at) != Some(byte)) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..)?;
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let offset = parse_offset(zone)?;
    Some(UnixSeconds(days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset))
}

/// Seconds east of UTC.
fn parse_offset(zone: &str) -> Option<i64> {
    if zone.is_empty() || zone.eq_ignore_ascii_case("Z") {
        return Some(0);
    }
    let sign = match zone.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    Some(sign * (i64::from(hours.parse::<u8>().ok()?) * 3600 + i64::from(minutes.parse::<u8>().ok()?) * 60))
}

/// Writes a time in whole seconds.
pub(crate) fn format_time(time: UnixSeconds) -> String {
    let (year, month, day) = civil_from_days(time.0.div_euclid(86_400));
    let second = time.0.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read() {
        assert_eq!(parse_time("1970-01-01T00:00:00Z"), Some(UnixSeconds(0)));
        assert_eq!(parse_time("2026-01-31T12:00:00Z"), Some(UnixSeconds(1_769_860_800)));
        assert_eq!(parse_time("2024-02-29T23:59:59.1234567Z"), Some(UnixSeconds(1_709_251_199)));
        assert_eq!(parse_time("1970-01-01T01:00:00+01:00"), Some(UnixSeconds(0)));
        assert_eq!(parse_time("0001-01-01T00:00:00Z"), Some(UnixSeconds(-62_135_596_800)));
        for wrong in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "2026-01-31 12:00:00Z",
            "2026-01-31T12:00:00X",
            "２026-01-31T12:00:00Z",
        ] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn times_come_back_as_they_went(seconds in -62_135_596_800i64..253_402_300_800) {
            let time = UnixSeconds(seconds);
            prop_assert_eq!(parse_time(&format_time(time)), Some(time));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,40}") {
            parse_time(&text);
        }
    }
}
