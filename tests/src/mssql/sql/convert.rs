//! Conversions from one type to another: by `CAST`, and by storing a value in a column.

use super::errors;
use super::time;
use super::value::{Length, SqlType, Value};
use crate::mssql::wire::tokens::Said;

/// `CAST(value AS to)`. A text that is too long is cut in silence, as SQL Server does it.
pub(super) fn cast(value: Value, to: SqlType) -> Result<Value, Said> {
    if value == Value::Null {
        return Ok(Value::Null);
    }
    match to {
        SqlType::Bit => number(&value, to).map(|number| Value::Bit(number != 0)),
        SqlType::TinyInt => integer(&value, to, 0, 255),
        SqlType::SmallInt => integer(&value, to, i16::MIN.into(), i16::MAX.into()),
        SqlType::Int => integer(&value, to, i32::MIN.into(), i32::MAX.into()),
        SqlType::BigInt => integer(&value, to, i64::MIN, i64::MAX),
        SqlType::Guid => guid(value, to),
        SqlType::Varchar(length) => Ok(Value::Text(cut(code_page(&as_text(&value)), length))),
        SqlType::Char(length) => Ok(Value::Text(padded(&code_page(&as_text(&value)), length))),
        SqlType::NVarchar(length) => Ok(Value::Text(cut(as_text(&value), length))),
        SqlType::NChar(length) => Ok(Value::Text(padded(&as_text(&value), length))),
        SqlType::Varbinary(length) => bytes(&value, length, to),
        SqlType::SmallDateTime | SqlType::DateTime | SqlType::DateTime2(_) | SqlType::DateTimeOffset(_) => {
            date(&value, to)
        }
    }
}

/// Stores a value in a column: like [`cast`], but what does not fit is an error.
pub(super) fn assign(value: Value, to: SqlType, too_long: impl FnOnce(&str) -> Said) -> Result<Value, Said> {
    let text = match (&value, to) {
        (Value::Null, _) => return Ok(Value::Null),
        (Value::Text(text), to) if to.is_text() => text.clone(),
        _ => return cast(value, to),
    };
    // Trailing spaces are cut off without an error.
    let length = text.trim_end_matches(' ').encode_utf16().count();
    match to.characters().and_then(|most| usize::try_from(most).ok()) {
        Some(most) if length > most => Err(too_long(&text)),
        _ => cast(value, to),
    }
}

fn number(value: &Value, to: SqlType) -> Result<i64, Said> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::Bit(bit) => Ok((*bit).into()),
        Value::Text(text) if to == SqlType::Bit && text.eq_ignore_ascii_case("true") => Ok(1),
        Value::Text(text) if to == SqlType::Bit && text.eq_ignore_ascii_case("false") => Ok(0),
        Value::Text(text) if text.trim().is_empty() => Ok(0),
        Value::Text(text) => text.trim().parse().map_err(|_| errors::no_number(text, to.name())),
        other => Err(errors::no_conversion(name_of(other), to.name())),
    }
}

fn integer(value: &Value, to: SqlType, least: i64, most: i64) -> Result<Value, Said> {
    let number = number(value, to)?;
    if (least..=most).contains(&number) { Ok(Value::Int(number)) } else { Err(errors::overflow(to.name())) }
}

/// A GUID from a text: with or without braces, any case, and whatever follows the 36 characters is ignored.
fn guid(value: Value, to: SqlType) -> Result<Value, Said> {
    match value {
        Value::Guid(guid) => Ok(Value::Guid(guid)),
        Value::Text(text) => {
            let text = text.strip_prefix('{').unwrap_or(&text);
            let written = text.get(..36).ok_or_else(errors::no_guid)?;
            parse_guid(written).map(Value::Guid).ok_or_else(errors::no_guid)
        }
        other => Err(errors::no_conversion(name_of(&other), to.name())),
    }
}

/// A GUID as it is written: `6F9619FF-8B86-D011-B42D-00C04FC964FF`.
pub(in crate::mssql) fn parse_guid(text: &str) -> Option<[u8; 16]> {
    let hyphens_are_right =
        text.bytes().enumerate().all(|(n, b)| (b == b'-') == [8, 13, 18, 23].contains(&n));
    if text.len() != 36 || !hyphens_are_right {
        return None;
    }
    let digits: Vec<u8> = text.bytes().filter(|&byte| byte != b'-').collect();
    let mut guid = [0; 16];
    for (byte, pair) in guid.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(guid)
}

/// SQL Server writes GUIDs in capitals.
pub(super) fn format_guid(guid: &[u8; 16]) -> String {
    let hex: String = guid.iter().map(|byte| format!("{byte:02X}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// What code page 1252 makes of a text: a question mark for what it does not hold.
fn code_page(text: &str) -> String {
    let holds = |c: char| u32::from(c) < 0x80 || (0xa0..=0xff).contains(&u32::from(c));
    text.chars().map(|c| if holds(c) { c } else { '?' }).collect()
}

fn cut(text: String, length: Length) -> String {
    match length {
        Length::Max => text,
        Length::Of(length) => {
            let units: Vec<u16> = text.encode_utf16().take(length.into()).collect();
            String::from_utf16_lossy(&units)
        }
    }
}

fn padded(text: &str, length: u16) -> String {
    let text = cut(text.to_owned(), Length::Of(length));
    let missing = usize::from(length).saturating_sub(text.encode_utf16().count());
    text + &" ".repeat(missing)
}

/// A value as text, as `CONVERT` without a style writes it.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bit(bit) => u8::from(*bit).to_string(),
        Value::Int(number) => number.to_string(),
        Value::Guid(guid) => format_guid(guid),
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => bytes.iter().map(|&byte| char::from(byte)).collect(),
        Value::SmallDateTime(_) | Value::DateTime(_) => time::format(ticks(value).expect("a date"), 3),
        Value::DateTime2(ticks) => time::format(*ticks, 7),
        Value::DateTimeOffset { utc, offset } => {
            let shown = time::format(utc + i64::from(*offset) * 600_000_000, 7);
            let sign = if *offset < 0 { '-' } else { '+' };
            let minutes = offset.unsigned_abs();
            format!("{shown} {sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
    }
}

fn bytes(value: &Value, length: Length, to: SqlType) -> Result<Value, Said> {
    let mut bytes = match value {
        Value::Bytes(bytes) => bytes.clone(),
        // As nvarchar; a varchar would be one byte a character. What matters is that equal texts give equal bytes.
        Value::Text(text) => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        Value::Guid(guid) => guid.to_vec(),
        Value::Int(number) => number.to_be_bytes().to_vec(),
        other => return Err(errors::no_conversion(name_of(other), to.name())),
    };
    if let Length::Of(length) = length {
        bytes.truncate(length.into());
    }
    Ok(Value::Bytes(bytes))
}

/// The ticks of a date as it is written; a `datetimeoffset` is taken in UTC.
pub(super) fn ticks(value: &Value) -> Option<i64> {
    Some(match value {
        Value::SmallDateTime(minutes) => time::ticks_of_small(*minutes),
        Value::DateTime(thirds) => time::ticks_of_datetime(*thirds),
        Value::DateTime2(ticks) => *ticks,
        Value::DateTimeOffset { utc, .. } => *utc,
        _ => return None,
    })
}

fn date(value: &Value, to: SqlType) -> Result<Value, Said> {
    let (ticks, offset) = match value {
        Value::Text(text) => {
            let (written, offset) = time::parse(text).ok_or_else(errors::no_date)?;
            if offset.is_some() && matches!(to, SqlType::DateTime | SqlType::SmallDateTime) {
                return Err(errors::no_date());
            }
            (written, offset.unwrap_or(0))
        }
        // Its own wall clock, not UTC, is what remains when the offset is dropped.
        Value::DateTimeOffset { utc, offset } => (utc + i64::from(*offset) * 600_000_000, *offset),
        other => {
            let ticks = ticks(other).ok_or_else(|| errors::no_conversion(name_of(other), to.name()))?;
            (ticks, 0)
        }
    };
    let out_of_range = || errors::date_out_of_range(to.name());
    Ok(match to {
        SqlType::SmallDateTime => Value::SmallDateTime(time::small_of_ticks(ticks).ok_or_else(out_of_range)?),
        SqlType::DateTime => Value::DateTime(time::datetime_of_ticks(ticks).ok_or_else(out_of_range)?),
        SqlType::DateTime2(scale) => Value::DateTime2(time::to_scale(ticks, scale)),
        SqlType::DateTimeOffset(scale) => {
            let utc = ticks - i64::from(offset) * 600_000_000;
            Value::DateTimeOffset { utc: time::to_scale(utc, scale), offset }
        }
        other => return Err(errors::no_conversion("datetime2", other.name())),
    })
}

/// The name of a value's type, for errors.
pub(super) fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "void",
        Value::Bit(_) => "bit",
        Value::Int(_) => "int",
        Value::Guid(_) => "uniqueidentifier",
        Value::Text(_) => "nvarchar",
        Value::Bytes(_) => "varbinary",
        Value::SmallDateTime(_) => "smalldatetime",
        Value::DateTime(_) => "datetime",
        Value::DateTime2(_) => "datetime2",
        Value::DateTimeOffset { .. } => "datetimeoffset",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_type(value: &str, to: &str) -> Result<String, u32> {
        let to = SqlType::parse(to).unwrap();
        cast(Value::text(value), to).map(|value| as_text(&value)).map_err(|said| said.number)
    }

    #[test]
    fn casts_follow_the_documentation() {
        let guid = "6F9619FF-8B86-D011-B42D-00C04FC964FF";
        for (value, to, result) in [
            (guid, "uniqueidentifier", Ok(guid)),
            (&guid.to_lowercase(), "uniqueidentifier", Ok(guid)),
            (&format!("{{{guid}}}"), "uniqueidentifier", Ok(guid)),
            ("acme", "uniqueidentifier", Err(8169)),
            ("12", "int", Ok("12")),
            ("twelve", "int", Err(245)),
            ("3000000000", "int", Err(8115)),
            ("3000000000", "bigint", Ok("3000000000")),
            ("abcdef", "varchar(3)", Ok("abc")),
            ("Łódź", "varchar(10)", Ok("?ód?")),
            ("Łódź", "nvarchar(10)", Ok("Łódź")),
            ("2026-11-23T14:03:00.123", "datetime", Ok("2026-11-23 14:03:00.123")),
            ("2026-11-23T14:03:30", "smalldatetime", Ok("2026-11-23 14:04:00.000")),
            ("2026-11-23 14:03:00 +01:00", "datetimeoffset(7)", Ok("2026-11-23 14:03:00.0000000 +01:00")),
            ("2026-11-23 14:03:00 +01:00", "datetime", Err(241)),
            ("1700-01-01", "datetime", Err(242)),
            ("soon", "datetime2", Err(241)),
        ] {
            assert_eq!(as_type(value, to), result.map(str::to_owned), "{value} as {to}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_stored() {
        let store = |text: &str, to: &str| {
            let to = SqlType::parse(to).unwrap();
            assign(Value::text(text), to, |value| errors::truncated("dbo.t", "c", value, "app"))
        };
        assert_eq!(store("abc   ", "varchar(3)"), Ok(Value::text("abc")));
        let said = store("abcd", "varchar(3)").unwrap_err();
        assert_eq!(said.number, 2628);
        assert!(said.text.contains("Truncated value: 'abcd'"), "{}", said.text);
        assert!(store("abcd", "varchar(max)").is_ok());
    }
}
