//! Times as logs write them.

/// What stands for "the log does not say".
pub(crate) const UNKNOWN: i64 = -1;

const DAY: i64 = 86_400;

/// Reads a time: seconds, milliseconds or microseconds since 1970, told apart by size, as an
/// integer or a float, or a date like `2023-05-22`, `2023-05-22 15:53:20` or
/// `2023-05-22T15:53:20.5+08:00`. Nothing, and -1, mean unknown.
///
/// `offset` is the distance to UTC in seconds of dates that do not say theirs.
pub(crate) fn parse(text: &str, offset: i64) -> Result<i64, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(UNKNOWN);
    }
    if let Ok(number) = text.parse::<i64>() {
        return from_number(number as f64, || number);
    }
    if let Ok(number) = text.parse::<f64>() {
        return from_number(number, || number.floor() as i64);
    }
    from_date(text, offset).ok_or("neither seconds since 1970 nor a date like 2023-05-22 15:53:20")
}

/// Days since 1970 of a date of the Gregorian calendar, none if there is no such day.
pub(crate) fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Counted from March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468)
}

/// The date of a time in UTC as `2023-05-22`.
pub(crate) fn date(time: i64) -> String {
    let days = time.div_euclid(DAY) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    format!("{:04}-{month:02}-{day:02}", year + era * 400)
}

/// The first second of the day of a time, where days start `offset` seconds before those of UTC.
pub(crate) fn day_start(time: i64, offset: i64) -> i64 {
    (time + offset).div_euclid(DAY) * DAY - offset
}

fn from_number(size: f64, seconds: impl Fn() -> i64) -> Result<i64, &'static str> {
    if size == -1.0 {
        return Ok(UNKNOWN);
    }
    // 1e11 is the year 5138 in seconds and 1973 in milliseconds.
    match size {
        s if s < 0.0 || s.is_nan() => Err("before 1970"),
        s if s < 1e11 => Ok(seconds()),
        s if s < 1e14 => Ok(seconds() / 1_000),
        s if s < 1e17 => Ok(seconds() / 1_000_000),
        _ => Err("too large for microseconds since 1970"),
    }
}

fn from_date(text: &str, offset: i64) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut fields = date.split(['-', '/']).map(|field| field.parse::<i64>().ok());
    let days = days(fields.next()??, fields.next()??, fields.next()??)?;
    let rest = rest.trim_start_matches(['T', 't', ' ']);
    let (clock, zone) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let offset = match zone {
        "" => offset,
        "Z" | "z" => 0,
        zone => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            sign * clock_seconds(&zone[1..])?
        }
    };
    let time = days * DAY + clock_seconds(clock.trim())? - offset;
    (time >= 0).then_some(time)
}

/// Seconds of `hh`, `hh:mm`, `hhmm` or `hh:mm:ss.fff`; of nothing, zero.
fn clock_seconds(clock: &str) -> Option<i64> {
    if clock.is_empty() {
        return Some(0);
    }
    if clock.len() == 4 && !clock.contains(':') {
        return clock_seconds(&format!("{}:{}", clock.get(..2)?, clock.get(2..)?));
    }
    let mut total = 0;
    let mut unit = 3600;
    for field in clock.split(':') {
        let whole = field.split_once('.').map_or(field, |(whole, _)| whole);
        let value: i64 = whole.parse().ok()?;
        if !(0..=60).contains(&value) || unit == 0 {
            return None;
        }
        total += value * unit;
        unit /= 60;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_unit_and_dates_of_any_zone_are_the_same_second() {
        // `date -u -d '2023-05-22 07:53:20' +%s`
        let expected = 1_684_742_000;
        for text in [
            "1684742000",
            "1684742000.7",
            "1684742000123",
            "1.684742000123e12",
            "1684742000123456",
            "2023-05-22 07:53:20",
            "2023-05-22T07:53:20Z",
            "2023-05-22T15:53:20.123+08:00",
            "2023/05/22 02:53:20-0500",
        ] {
            assert_eq!(parse(text, 0), Ok(expected), "{text}");
        }
        assert_eq!(parse("2023-05-22 15:53:20", 8 * 3600), Ok(expected));
        assert_eq!(parse("2023-05-22", 0), Ok(1_684_713_600));
        assert_eq!(date(expected), "2023-05-22");
    }

    #[test]
    fn unknown_and_wrong_times_are_told_apart() {
        assert_eq!(parse("", 0), Ok(UNKNOWN));
        assert_eq!(parse(" -1 ", 0), Ok(UNKNOWN));
        for text in ["-5", "soon", "2023-02-30", "2023-05-22 25:99", "1e30", "nan", "1969-01-01"] {
            assert!(parse(text, 0).is_err(), "{text}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(days(2000, 2, 29), Some(11_016));
        assert_eq!(days(1900, 2, 29), None);
        for day in (0..40_000).step_by(13) {
            let text = date(day * DAY);
            assert_eq!(parse(&text, 0), Ok(day * DAY), "{text}");
        }
        assert_eq!(day_start(1_684_742_000, 8 * 3600), 1_684_684_800);
    }
}
