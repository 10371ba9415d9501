//! Dates as numbers: the calendar, and the roundings between the four types of a point in time.

/// Ticks of 100 ns in a day.
pub(super) const DAY: i64 = 864_000_000_000;
const SECOND: i64 = 10_000_000;
const MINUTE: i64 = 60 * SECOND;
/// 1900-01-01, from which `datetime` counts, in ticks since 0001-01-01.
pub(super) const TO_1900: i64 = crate::mssql::wire::types::TICKS_TO_1900;
/// 1753-01-01, before which there is no `datetime`.
const FIRST_DATETIME: i64 = 639_905 * DAY;
/// 2079-06-06 23:59, after which there is no `smalldatetime`, in minutes since 1900-01-01.
const LAST_SMALL: i64 = 65_536 * 1440 - 1;

/// `datetime` to ticks: 1/300 s, shown with seven digits since compatibility level 130.
pub(super) fn ticks_of_datetime(thirds: i64) -> i64 {
    let (seconds, thirds) = (thirds.div_euclid(300), thirds.rem_euclid(300));
    TO_1900 + seconds * SECOND + round(thirds * SECOND, 300)
}

/// Ticks to `datetime`, rounded to the nearest 1/300 s; `None` before 1753.
pub(super) fn datetime_of_ticks(ticks: i64) -> Option<i64> {
    (ticks >= FIRST_DATETIME).then(|| {
        let since = ticks - TO_1900;
        let (seconds, rest) = (since.div_euclid(SECOND), since.rem_euclid(SECOND));
        seconds * 300 + round(rest * 300, SECOND)
    })
}

/// `smalldatetime` to ticks.
pub(super) fn ticks_of_small(minutes: i64) -> i64 {
    TO_1900 + minutes * MINUTE
}

/// Ticks to `smalldatetime`: rounded to the *nearest* minute, so up from 30 s on. `None` outside of 1900 to 2079.
pub(super) fn small_of_ticks(ticks: i64) -> Option<i64> {
    let minutes = round(ticks - TO_1900, MINUTE);
    (0..=LAST_SMALL).contains(&minutes).then_some(minutes)
}

/// Ticks rounded to a scale of 0 to 7 digits after the second.
pub(super) fn to_scale(ticks: i64, scale: u8) -> i64 {
    let unit = 10_i64.pow(7 - u32::from(scale));
    round(ticks, unit) * unit
}

fn round(number: i64, unit: i64) -> i64 {
    (number + unit / 2).div_euclid(unit)
}

/// Seconds since 1970 to ticks.
pub(in crate::mssql) fn ticks_of_unix(seconds: i64, nanos: u32) -> i64 {
    719_162 * DAY + seconds * SECOND + i64::from(nanos) / 100
}

/// Reads `2026-11-23 14:03:00.123`, with `T` or a space, with or without an offset; ticks of what is written, and the
/// offset in minutes.
pub(super) fn parse(text: &str) -> Option<(i64, Option<i16>)> {
    let text = text.trim();
    let (text, offset) = split_offset(text)?;
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let (year, month, day) = split_date(date)?;
    let mut parts = time.trim().splitn(3, ':');
    let (hour, minute) = (number(parts.next()?, 23)?, number(parts.next()?, 59)?);
    let seconds = parts.next().unwrap_or("0");
    let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let second = number(second, 59)?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) || fraction.len() > 7 {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<7}").parse().ok()?;
    let days = days_of(year, month, day)?;
    Some((days * DAY + (hour * 60 + minute) * MINUTE + second * SECOND + fraction, offset))
}

/// `2026-11-23`, or `20261123`.
fn split_date(date: &str) -> Option<(i64, i64, i64)> {
    if date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some((date[..4].parse().ok()?, date[4..6].parse().ok()?, date[6..].parse().ok()?));
    }
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    Some((date.next()??, date.next()??, date.next()??))
}

fn number(text: &str, most: i64) -> Option<i64> {
    text.parse().ok().filter(|number| (0..=most).contains(number))
}

fn split_offset(text: &str) -> Option<(&str, Option<i16>)> {
    if let Some(text) = text.strip_suffix('Z') {
        return Some((text, Some(0)));
    }
    // The date itself has two hyphens; a third one, or a plus, begins an offset.
    let at = text.rfind(['+', '-']).filter(|&at| at > 10);
    let Some(at) = at else { return Some((text, None)) };
    let (hours, minutes) = text[at + 1..].split_once(':')?;
    let minutes = i16::try_from(number(hours, 14)? * 60 + number(minutes, 59)?).ok()?;
    Some((text[..at].trim_end(), Some(if text[at..].starts_with('-') { -minutes } else { minutes })))
}

/// Days since 0001-01-01 of a date of our calendar.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month - 1).ok()?)?;
    if !(1..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    let before = year - 1;
    let months: i64 = lengths.iter().take(usize::try_from(month - 1).ok()?).sum();
    Some(before * 365 + before / 4 - before / 100 + before / 400 + months + day - 1)
}

/// The opposite: `YYYY-MM-DD hh:mm:ss.fffffff`, cut to `digits`.
pub(super) fn format(ticks: i64, digits: u8) -> String {
    let (days, mut rest) = (ticks.div_euclid(DAY), ticks.rem_euclid(DAY));
    let mut year = days / 366 + 1;
    while days_of(year + 1, 1, 1).is_some_and(|first| first <= days) {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_of(year, month + 1, 1).is_some_and(|first| first <= days) {
        month += 1;
    }
    let day = days - days_of(year, month, 1).expect("a month of our calendar") + 1;
    let fraction = rest % SECOND;
    rest /= SECOND;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    match digits {
        0 => text,
        digits => format!("{text}.{}", &format!("{fraction:07}")[..digits.into()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(text: &str) -> i64 {
        parse(text).unwrap().0
    }

    #[test]
    fn dates_are_read_and_written() {
        for text in
            ["0001-01-01 00:00:00.0000000", "2026-11-23 14:03:59.1234567", "2024-02-29 23:59:59.0000000"]
        {
            assert_eq!(format(ticks(text), 7), text);
        }
        assert_eq!(ticks("1900-01-01"), TO_1900);
        assert_eq!(ticks("19000101"), TO_1900);
        assert_eq!(ticks("1753-01-01"), FIRST_DATETIME);
        assert_eq!(ticks("1970-01-01"), ticks_of_unix(0, 0));
        assert_eq!(parse("2026-03-01T02:00:00+05:30"), Some((ticks("2026-03-01 02:00:00"), Some(330))));
        assert_eq!(parse("2026-03-01 02:00:00Z").unwrap().1, Some(0));
        for text in ["", "soon", "2026-02-29", "2026-13-01", "2026-01-01 24:00:00", "2026-01-01 10:00:60"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    /// `SELECT CAST('23:59:59.998' AS datetime)` and its neighbours, from the documentation of `datetime`.
    #[test]
    fn datetime_rounds_to_0_3_and_7_milliseconds() {
        for (written, stored) in [
            ("01:01:20.998", "01:01:20.997"),
            ("01:01:20.999", "01:01:21.000"),
            ("01:01:20.995", "01:01:20.997"),
            ("01:01:20.994", "01:01:20.993"),
            ("01:01:20.991", "01:01:20.990"),
            ("01:01:20.001", "01:01:20.000"),
            ("01:01:20.002", "01:01:20.003"),
        ] {
            let thirds = datetime_of_ticks(ticks(&format!("1998-01-01 {written}"))).unwrap();
            let shown = format(to_scale(ticks_of_datetime(thirds), 3), 3);
            assert_eq!(shown, format!("1998-01-01 {stored}"), "{written}");
        }
        assert_eq!(datetime_of_ticks(ticks("1752-12-31")), None);
    }

    #[test]
    fn smalldatetime_rounds_to_the_nearest_minute() {
        let small = |text| small_of_ticks(ticks(text)).map(|minutes| format(ticks_of_small(minutes), 0));
        assert_eq!(small("2007-05-08 12:35:29.998").as_deref(), Some("2007-05-08 12:35:00"));
        assert_eq!(small("2007-05-08 12:35:30").as_deref(), Some("2007-05-08 12:36:00"));
        assert_eq!(small("1899-12-31 10:00:00"), None);
        assert_eq!(small("2079-06-07 10:00:00"), None);
    }

    /// The third of all values of `datetime` that a `datetime2` of three digits does not equal.
    #[test]
    fn a_datetime_is_no_round_number_of_milliseconds() {
        let odd = (0..300).filter(|&thirds| {
            let ticks = ticks_of_datetime(thirds);
            ticks != to_scale(ticks, 3)
        });
        assert_eq!(odd.count(), 200);
    }
}
