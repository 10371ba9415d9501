//! Between the values of TDS and our own: ids, expiries, texts. Pure.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Timelike, Utc};
use tiberius::{ColumnData, FromSql, IntoSql, Uuid};

use super::layout::{ExpiryType, IdType};
use super::statements::NO_TIME;
use super::zone::Zone;
use crate::model::{CustomerId, Secret};

/// A value that has not the type that it must have. Says nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strange;

/// The id as text: as the server would print it, so a `uniqueidentifier` in capitals. `None` for NULL and empty.
pub(super) fn id(value: ColumnData<'_>) -> Result<Option<CustomerId>, Strange> {
    let text = match value {
        ColumnData::Guid(guid) => guid.map(|guid| format!("{:X}", guid.hyphenated())),
        ColumnData::U8(number) => number.map(|number| number.to_string()),
        ColumnData::I16(number) => number.map(|number| number.to_string()),
        ColumnData::I32(number) => number.map(|number| number.to_string()),
        ColumnData::I64(number) => number.map(|number| number.to_string()),
        value => text(value)?,
    };
    Ok(text.filter(|text| !text.is_empty()).map(CustomerId::new))
}

/// The id as a parameter for a column of that type. `None` if no value of that type prints so.
pub(super) fn id_parameter<'a>(kind: &IdType, id: &'a CustomerId) -> Option<ColumnData<'a>> {
    match kind {
        IdType::Guid => Uuid::try_parse(id.as_str()).ok().map(IntoSql::into_sql),
        IdType::Number(_) => id.as_str().parse::<i64>().ok().map(IntoSql::into_sql),
        IdType::Text(_) => Some(id.as_str().into_sql()),
    }
}

/// A text column.
pub(super) fn text(value: ColumnData<'_>) -> Result<Option<String>, Strange> {
    match value {
        ColumnData::String(text) => Ok(text.map(Cow::into_owned)),
        _ => Err(Strange),
    }
}

/// A text column that nobody may see.
pub(super) fn secret(value: ColumnData<'static>) -> Result<Option<Secret>, Strange> {
    Ok(text(value)?.map(Secret::new))
}

/// A whole number of whatever size.
pub(super) fn number(value: &ColumnData<'static>) -> Result<Option<i64>, Strange> {
    match value {
        ColumnData::Bit(bit) => Ok(bit.map(i64::from)),
        ColumnData::U8(number) => Ok(number.map(i64::from)),
        ColumnData::I16(number) => Ok(number.map(i64::from)),
        ColumnData::I32(number) => Ok(number.map(i64::from)),
        ColumnData::I64(number) => Ok(*number),
        _ => Err(Strange),
    }
}

/// A time without a zone.
pub(super) fn naive(value: &ColumnData<'static>) -> Result<Option<NaiveDateTime>, Strange> {
    NaiveDateTime::from_sql(value).map_err(|_| Strange)
}

/// A point in time as a column holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// By a clock that the column does not name.
    Naive(NaiveDateTime),
    /// With its offset.
    Exact(DateTime<Utc>),
}

impl Stored {
    /// The instant that is meant.
    pub(super) fn instant(self, zone: Zone) -> DateTime<Utc> {
        match self {
            Self::Naive(shown) => zone.instant(shown),
            Self::Exact(instant) => instant,
        }
    }
}

/// An expiry as it stands in its column.
pub(super) fn expiry(value: &ColumnData<'static>) -> Result<Option<Stored>, Strange> {
    match value {
        ColumnData::DateTimeOffset(_) => {
            let exact = DateTime::<chrono::FixedOffset>::from_sql(value).map_err(|_| Strange)?;
            Ok(exact.map(|exact| Stored::Exact(exact.with_timezone(&Utc))))
        }
        value => Ok(naive(value)?.map(Stored::Naive)),
    }
}

/// What a column of that type will hold for this expiry: never later than the expiry itself.
pub(super) fn stored(kind: ExpiryType, expiry: DateTime<Utc>, zone: Zone) -> Stored {
    let whole_second = expiry - TimeDelta::nanoseconds(i64::from(expiry.nanosecond() % 1_000_000_000));
    match kind {
        ExpiryType::DateTimeOffset(_) => Stored::Exact(whole_second),
        ExpiryType::DateTime | ExpiryType::DateTime2(_) => Stored::Naive(zone.shown(whole_second)),
        ExpiryType::SmallDateTime => {
            let shown = zone.shown(whole_second);
            Stored::Naive(shown - TimeDelta::seconds(i64::from(shown.second())))
        }
    }
}

/// The value as a parameter.
pub(super) fn stored_parameter(value: Stored) -> ColumnData<'static> {
    match value {
        Stored::Naive(shown) => shown.into_sql(),
        Stored::Exact(instant) => instant.fixed_offset().into_sql(),
    }
}

/// A naive value as a parameter.
pub(super) fn naive_parameter(value: Option<NaiveDateTime>) -> ColumnData<'static> {
    value.unwrap_or(NO_TIME).into_sql()
}
