//! The comparison of values: by type, by collation, by the rounding of dates.

use std::cmp::Ordering;

use super::convert::{cast, ticks};
use super::value::{Length, SqlType, Value};
use crate::mssql::wire::tokens::Said;

/// The collation of the database.
pub(super) const OF_THE_DATABASE: &str = "SQL_Latin1_General_CP1_CI_AS";

/// How texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collation {
    /// `SQL_Latin1_General_CP1_CI_AS`, the default: without regard to case.
    IgnoreCase,
    /// `..._BIN2` or `..._CS_AS`: to the letter.
    Exact,
}

impl Collation {
    /// That of a column; `None` is the database's.
    pub(super) fn of(name: Option<&str>) -> Self {
        let upper = name.unwrap_or(OF_THE_DATABASE).to_ascii_uppercase();
        if upper.contains("_BIN") || upper.contains("_CS_") { Self::Exact } else { Self::IgnoreCase }
    }
}

/// Compares two values, the one of the lower type converted to the higher. `None` if one is NULL.
pub(super) fn compare(left: &Value, right: &Value, collation: Collation) -> Result<Option<Ordering>, Said> {
    if *left == Value::Null || *right == Value::Null {
        return Ok(None);
    }
    let to = if rank(left) >= rank(right) { left } else { right };
    let (left, right) = (convert(left, to)?, convert(right, to)?);
    Ok(Some(match (&left, &right) {
        (Value::Text(left), Value::Text(right)) => texts(left, right, collation),
        (Value::Bytes(left), Value::Bytes(right)) => left.cmp(right),
        (Value::Guid(left), Value::Guid(right)) => left.cmp(right),
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        (Value::Bit(left), Value::Bit(right)) => left.cmp(right),
        (left, right) => ticks(left).cmp(&ticks(right)),
    }))
}

/// Texts of different length are filled up with spaces, in every collation.
fn texts(left: &str, right: &str, collation: Collation) -> Ordering {
    let (left, right) = (left.trim_end_matches(' '), right.trim_end_matches(' '));
    match collation {
        Collation::IgnoreCase => left.to_lowercase().cmp(&right.to_lowercase()),
        Collation::Exact => left.cmp(right),
    }
}

/// The order of precedence of the documentation: the lower is converted to the higher.
fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bytes(_) => 1,
        Value::Text(_) => 2,
        Value::Guid(_) => 3,
        Value::Bit(_) => 4,
        Value::Int(_) => 5,
        Value::SmallDateTime(_) => 6,
        Value::DateTime(_) => 7,
        Value::DateTime2(_) => 8,
        Value::DateTimeOffset { .. } => 9,
    }
}

fn convert(value: &Value, to: &Value) -> Result<Value, Said> {
    let to = match to {
        Value::Null => return Ok(value.clone()),
        Value::Bytes(_) => SqlType::Varbinary(Length::Max),
        Value::Text(_) => SqlType::NVarchar(Length::Max),
        Value::Guid(_) => SqlType::Guid,
        Value::Bit(_) => SqlType::Bit,
        Value::Int(_) => SqlType::BigInt,
        Value::SmallDateTime(_) => SqlType::SmallDateTime,
        Value::DateTime(_) => SqlType::DateTime,
        Value::DateTime2(_) => SqlType::DateTime2(7),
        Value::DateTimeOffset { .. } => SqlType::DateTimeOffset(7),
    };
    cast(value.clone(), to)
}

/// The type of a result that can be either: the higher of both, and room for the longer.
pub(super) fn common(left: SqlType, right: SqlType) -> SqlType {
    let rank = |of: SqlType| match of {
        SqlType::Varbinary(_) => 1,
        SqlType::Char(_) => 2,
        SqlType::Varchar(_) => 3,
        SqlType::NChar(_) => 4,
        SqlType::NVarchar(_) => 5,
        SqlType::Guid => 6,
        SqlType::Bit => 7,
        SqlType::TinyInt => 8,
        SqlType::SmallInt => 9,
        SqlType::Int => 10,
        SqlType::BigInt => 11,
        SqlType::SmallDateTime => 12,
        SqlType::DateTime => 13,
        SqlType::DateTime2(_) => 14,
        SqlType::DateTimeOffset(_) => 15,
    };
    let (low, high) = if rank(left) > rank(right) { (right, left) } else { (left, right) };
    let longer = |low: SqlType, length: Length| match (low.characters(), length) {
        (Some(-1), _) | (_, Length::Max) => Length::Max,
        (Some(other), Length::Of(length)) => Length::Of(length.max(u16::try_from(other).unwrap_or(length))),
        (None, length) => length,
    };
    match high {
        SqlType::Varchar(length) => SqlType::Varchar(longer(low, length)),
        SqlType::NVarchar(length) => SqlType::NVarchar(longer(low, length)),
        high => high,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(left: &Value, right: &Value) -> bool {
        compare(left, right, Collation::IgnoreCase).unwrap() == Some(Ordering::Equal)
    }

    #[test]
    fn texts_compare_without_regard_to_case_and_trailing_spaces() {
        assert!(equal(&Value::text("Ops  "), &Value::text("oPS")));
        assert!(!equal(&Value::text(" ops"), &Value::text("ops")));
        let exact = |left: &Value, right: &Value| {
            compare(left, right, Collation::Exact).unwrap() == Some(Ordering::Equal)
        };
        assert!(!exact(&Value::text("Ops"), &Value::text("ops")));
        assert!(exact(&Value::text("ops "), &Value::text("ops")), "even to the letter");
        assert_eq!(compare(&Value::Null, &Value::Null, Collation::Exact), Ok(None));
    }

    /// A `datetime` does not equal the `datetime2` that it looks like, unless it ends in a zero.
    #[test]
    fn most_datetimes_do_not_equal_what_they_look_like() {
        let unequal = (0..1000).filter(|milliseconds| {
            let written = Value::DateTime2(time_ticks("2026-11-23 14:00:00") + milliseconds * 10_000);
            let stored = cast(written, SqlType::DateTime).unwrap();
            let shown = cast(stored.clone(), SqlType::DateTime2(3)).unwrap();
            !equal(&stored, &shown)
        });
        assert_eq!(unequal.count(), 700);
    }

    fn time_ticks(text: &str) -> i64 {
        super::super::time::parse(text).unwrap().0
    }
}
