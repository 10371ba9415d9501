//! Typed values on the wire: the parameters of a call, and the cells of a row.

use super::bytes::{Malformed, Reader, Result, to_utf16, utf16};
use crate::mssql::sql::{Length, SqlType, Value};

/// `SQL_Latin1_General_CP1_CI_AS`, the default of an installation.
const COLLATION: [u8; 5] = [0x09, 0x04, 0xd0, 0x00, 0x34];

/// Long values are sent in pieces of this size.
const PIECE: usize = 1000;

/// The date that `datetime` counts from, in days since 0001-01-01.
const DAYS_TO_1900: i64 = 693_595;
const TICKS_A_DAY: i64 = 864_000_000_000;

/// Reads the type of a parameter and its value.
pub(in crate::mssql) fn read_parameter(reader: &mut Reader<'_>) -> Result<(SqlType, Value)> {
    match reader.u8()? {
        0x24 => read_guid(reader),
        0x26 => read_integer(reader),
        0x68 => {
            let _size = reader.u8()?;
            let value = match reader.u8()? {
                0 => Value::Null,
                _ => Value::Bit(reader.u8()? != 0),
            };
            Ok((SqlType::Bit, value))
        }
        0x6f => read_datetime(reader),
        0x2a => read_datetime2(reader),
        0x2b => read_datetimeoffset(reader),
        0xe7 => read_text(reader),
        0xa5 => read_bytes(reader),
        other => {
            Err(Malformed(format!("a parameter of type {other:#x}, which no statement of the daemon uses")))
        }
    }
}

fn read_guid(reader: &mut Reader<'_>) -> Result<(SqlType, Value)> {
    let _size = reader.u8()?;
    let value = match reader.u8()? {
        0 => Value::Null,
        _ => Value::Guid(swap_guid(reader.array()?)),
    };
    Ok((SqlType::Guid, value))
}

/// The first three groups of a GUID are little endian on the wire.
fn swap_guid(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

fn read_integer(reader: &mut Reader<'_>) -> Result<(SqlType, Value)> {
    let of = match reader.u8()? {
        1 => SqlType::TinyInt,
        2 => SqlType::SmallInt,
        4 => SqlType::Int,
        8 => SqlType::BigInt,
        size => return Err(Malformed(format!("an integer of {size} bytes"))),
    };
    let value = match reader.u8()? {
        0 => Value::Null,
        1 => Value::Int(reader.u8()?.into()),
        2 => Value::Int(i16::from_le_bytes(reader.array()?).into()),
        4 => Value::Int(i32::from_le_bytes(reader.array()?).into()),
        8 => Value::Int(i64::from_le_bytes(reader.array()?)),
        size => return Err(Malformed(format!("an integer of {size} bytes"))),
    };
    Ok((of, value))
}

fn read_datetime(reader: &mut Reader<'_>) -> Result<(SqlType, Value)> {
    let of = if reader.u8()? == 4 { SqlType::SmallDateTime } else { SqlType::DateTime };
    let value = match reader.u8()? {
        0 => Value::Null,
        4 => Value::SmallDateTime(i64::from(reader.u16()?) * 1440 + i64::from(reader.u16()?)),
        8 => {
            let days = i64::from(i32::from_le_bytes(reader.array()?));
            Value::DateTime(days * 25_920_000 + i64::from(reader.u32()?))
        }
        size => return Err(Malformed(format!("a datetime of {size} bytes"))),
    };
    Ok((of, value))
}

fn read_datetime2(reader: &mut Reader<'_>) -> Result<(SqlType, Value)> {
    let scale = reader.u8()?;
    let value = match reader.u8()? {
        0 => Value::Null,
        length => Value::DateTime2(read_ticks(reader, scale, usize::from(length) - 3)?),
    };
    Ok((SqlType::DateTime2(scale), value))
}

fn read_datetimeoffset(reader: &mut Reader<'_>) -> Result<(SqlType, Value)> {
    let scale = reader.u8()?;
    let value = match reader.u8()? {
        0 => Value::Null,
        length => Value::DateTimeOffset {
            utc: read_ticks(reader, scale, usize::from(length) - 5)?,
            offset: i16::from_le_bytes(reader.array()?),
        },
    };
    Ok((SqlType::DateTimeOffset(scale), value))
}

/// Reads a time of day and a date as ticks of 100 ns since 0001-01-01.
fn read_ticks(reader: &mut Reader<'_>, scale: u8, time_bytes: usize) -> Result<i64> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_i64, |sum, &byte| sum << 8 | i64::from(byte));
    let time = number(reader.take(time_bytes)?);
    let days = number(reader.take(3)?);
    let of_scale = 7_u32.checked_sub(scale.into()).ok_or_else(|| Malformed(format!("a scale of {scale}")))?;
    Ok(days * TICKS_A_DAY + time * 10_i64.pow(of_scale))
}

fn read_text(reader: &mut Reader<'_>) -> Result<(SqlType, Value)> {
    let size = reader.u16()?;
    let _collation: [u8; 5] = reader.array()?;
    let bytes = read_sized(reader, size)?;
    let length = if size == 0xffff { Length::Max } else { Length::Of(size / 2) };
    let value = bytes.map(|bytes| utf16(&bytes)).transpose()?.map_or(Value::Null, Value::Text);
    Ok((SqlType::NVarchar(length), value))
}

fn read_bytes(reader: &mut Reader<'_>) -> Result<(SqlType, Value)> {
    let size = reader.u16()?;
    let bytes = read_sized(reader, size)?;
    let length = if size == 0xffff { Length::Max } else { Length::Of(size) };
    Ok((SqlType::Varbinary(length), bytes.map_or(Value::Null, Value::Bytes)))
}

/// Reads a value with its length before it, or in pieces in a column without a limit.
fn read_sized(reader: &mut Reader<'_>, size: u16) -> Result<Option<Vec<u8>>> {
    if size != 0xffff {
        let length = reader.u16()?;
        return match length {
            0xffff => Ok(None),
            length if length > size => Err(Malformed(format!("{length} bytes for a type of {size}"))),
            length => Ok(Some(reader.take(length.into())?.to_vec())),
        };
    }
    if reader.u64()? == u64::MAX {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    loop {
        let piece = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        if piece == 0 {
            return Ok(Some(bytes));
        }
        bytes.extend(reader.take(piece)?);
        // tiberius writes an empty value without a last empty piece if nothing follows.
        if bytes.is_empty() && reader.peek().is_none() {
            return Ok(Some(bytes));
        }
    }
}

/// Appends the type of a column.
pub(super) fn put_type(bytes: &mut Vec<u8>, of: SqlType, nullable: bool) {
    match (of, nullable) {
        (SqlType::Bit, true) => bytes.extend([0x68, 1]),
        (SqlType::Bit, false) => bytes.push(0x32),
        (SqlType::TinyInt, true) => bytes.extend([0x26, 1]),
        (SqlType::TinyInt, false) => bytes.push(0x30),
        (SqlType::SmallInt, true) => bytes.extend([0x26, 2]),
        (SqlType::SmallInt, false) => bytes.push(0x34),
        (SqlType::Int, true) => bytes.extend([0x26, 4]),
        (SqlType::Int, false) => bytes.push(0x38),
        (SqlType::BigInt, true) => bytes.extend([0x26, 8]),
        (SqlType::BigInt, false) => bytes.push(0x7f),
        (SqlType::SmallDateTime, true) => bytes.extend([0x6f, 4]),
        (SqlType::SmallDateTime, false) => bytes.push(0x3a),
        (SqlType::DateTime, true) => bytes.extend([0x6f, 8]),
        (SqlType::DateTime, false) => bytes.push(0x3d),
        (SqlType::Guid, _) => bytes.extend([0x24, 16]),
        (SqlType::DateTime2(scale), _) => bytes.extend([0x2a, scale]),
        (SqlType::DateTimeOffset(scale), _) => bytes.extend([0x2b, scale]),
        (SqlType::Varchar(length), _) => put_sized_type(bytes, 0xa7, length, 1, true),
        (SqlType::Char(length), _) => put_sized_type(bytes, 0xaf, Length::Of(length), 1, true),
        (SqlType::NVarchar(length), _) => put_sized_type(bytes, 0xe7, length, 2, true),
        (SqlType::NChar(length), _) => put_sized_type(bytes, 0xef, Length::Of(length), 2, true),
        (SqlType::Varbinary(length), _) => put_sized_type(bytes, 0xa5, length, 1, false),
    }
}

fn put_sized_type(bytes: &mut Vec<u8>, token: u8, length: Length, width: u16, collated: bool) {
    let size = match length {
        Length::Max => 0xffff,
        Length::Of(length) => length * width,
    };
    bytes.push(token);
    bytes.extend(size.to_le_bytes());
    if collated {
        bytes.extend(COLLATION);
    }
}

/// Appends a value of that type.
///
/// # Panics
/// If the value has another type; the engine converts before it answers.
pub(super) fn put_value(bytes: &mut Vec<u8>, of: SqlType, nullable: bool, value: &Value) {
    let fixed = !nullable;
    match (of, value) {
        (SqlType::Varchar(length) | SqlType::NVarchar(length) | SqlType::Varbinary(length), value) => {
            put_sized(bytes, length, encode(of, value));
        }
        (SqlType::Char(length) | SqlType::NChar(length), value) => {
            put_sized(bytes, Length::Of(length), encode(of, value));
        }
        (_, Value::Null) => bytes.push(0),
        (SqlType::Bit, Value::Bit(bit)) => put_short(bytes, fixed, &[u8::from(*bit)]),
        (SqlType::TinyInt, Value::Int(number)) => put_short(bytes, fixed, &number.to_le_bytes()[..1]),
        (SqlType::SmallInt, Value::Int(number)) => put_short(bytes, fixed, &number.to_le_bytes()[..2]),
        (SqlType::Int, Value::Int(number)) => put_short(bytes, fixed, &number.to_le_bytes()[..4]),
        (SqlType::BigInt, Value::Int(number)) => put_short(bytes, fixed, &number.to_le_bytes()),
        (SqlType::Guid, Value::Guid(guid)) => put_short(bytes, false, &swap_guid(*guid)),
        (SqlType::SmallDateTime, Value::SmallDateTime(minutes)) => {
            let (days, minutes) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
            let mut value = days.to_le_bytes()[..2].to_vec();
            value.extend(&minutes.to_le_bytes()[..2]);
            put_short(bytes, fixed, &value);
        }
        (SqlType::DateTime, Value::DateTime(thirds)) => {
            let (days, thirds) = (thirds.div_euclid(25_920_000), thirds.rem_euclid(25_920_000));
            let mut value = days.to_le_bytes()[..4].to_vec();
            value.extend(&thirds.to_le_bytes()[..4]);
            put_short(bytes, fixed, &value);
        }
        (SqlType::DateTime2(scale), Value::DateTime2(ticks)) => {
            put_short(bytes, false, &ticks_in_bytes(*ticks, scale));
        }
        (SqlType::DateTimeOffset(scale), Value::DateTimeOffset { utc, offset }) => {
            let mut value = ticks_in_bytes(*utc, scale);
            value.extend(offset.to_le_bytes());
            put_short(bytes, false, &value);
        }
        (of, value) => panic!("the fake's engine answers {value:?} in a column of {of:?}"),
    }
}

fn put_short(bytes: &mut Vec<u8>, fixed: bool, value: &[u8]) {
    if !fixed {
        bytes.push(u8::try_from(value.len()).expect("short"));
    }
    bytes.extend(value);
}

fn ticks_in_bytes(ticks: i64, scale: u8) -> Vec<u8> {
    let (days, time) = (ticks.div_euclid(TICKS_A_DAY), ticks.rem_euclid(TICKS_A_DAY));
    let time = time / 10_i64.pow(7 - u32::from(scale));
    let width = match scale {
        0..=2 => 3,
        3..=4 => 4,
        _ => 5,
    };
    let mut bytes = time.to_le_bytes()[..width].to_vec();
    bytes.extend(&days.to_le_bytes()[..3]);
    bytes
}

/// Encodes a text or bytes for the column; `None` for NULL.
fn encode(of: SqlType, value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::Bytes(bytes) => Some(bytes.clone()),
        Value::Text(text) if matches!(of, SqlType::NVarchar(_) | SqlType::NChar(_)) => Some(to_utf16(text)),
        // Code page 1252, as far as it is Latin-1. Other characters became question marks when they were stored.
        Value::Text(text) => Some(text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()),
        value => panic!("the fake's engine answers {value:?} in a column of {of:?}"),
    }
}

fn put_sized(bytes: &mut Vec<u8>, length: Length, value: Option<Vec<u8>>) {
    match (length, value) {
        (Length::Of(_), None) => bytes.extend([0xff, 0xff]),
        (Length::Of(_), Some(value)) => {
            bytes.extend(u16::try_from(value.len()).expect("checked when it was stored").to_le_bytes());
            bytes.extend(value);
        }
        (Length::Max, None) => bytes.extend(u64::MAX.to_le_bytes()),
        (Length::Max, Some(value)) => {
            bytes.extend((value.len() as u64).to_le_bytes());
            for piece in value.chunks(PIECE) {
                bytes.extend(u32::try_from(piece.len()).expect("small").to_le_bytes());
                bytes.extend(piece);
            }
            bytes.extend(0_u32.to_le_bytes());
        }
    }
}

/// `datetime` counts from here, in ticks of 100 ns since 0001-01-01.
pub(in crate::mssql) const TICKS_TO_1900: i64 = DAYS_TO_1900 * TICKS_A_DAY;
