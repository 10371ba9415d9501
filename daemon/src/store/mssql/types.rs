//! Converts between the values of TDS and the daemon's: ids, expiries, texts. Pure.

use std::borrow::Cow;
use std::vec::IntoIter;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Timelike, Utc};
use tiberius::{ColumnData, FromSql, Row, Uuid};

use super::layout::{ExpiryType, IdType};
use super::row_source::Cell;
use super::zone::Zone;
use crate::model::{CustomerId, Secret};

/// The error for a value of an unexpected type. It does not hold the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnreadableValue;

/// The cells of a row, in the order of its columns.
#[derive(Debug)]
pub(super) struct Cells(IntoIter<ColumnData<'static>>);

impl From<Row> for Cells {
    fn from(row: Row) -> Self {
        Self(row.into_iter())
    }
}

impl Cells {
    /// Reads the next cell with one of the functions of this file.
    pub(super) fn next<T>(
        &mut self,
        read: impl FnOnce(ColumnData<'static>) -> Result<Option<T>, UnreadableValue>,
    ) -> Result<Option<T>, UnreadableValue> {
        self.0.next().ok_or(UnreadableValue).and_then(read)
    }

    /// Reads the next cell, which must not be NULL.
    pub(super) fn require<T>(
        &mut self,
        read: impl FnOnce(ColumnData<'static>) -> Result<Option<T>, UnreadableValue>,
    ) -> Result<T, UnreadableValue> {
        self.next(read)?.ok_or(UnreadableValue)
    }
}

/// Reads an id as the server prints it: a `uniqueidentifier` in capitals. `None` for NULL and empty.
pub(super) fn read_id(value: ColumnData<'_>) -> Result<Option<CustomerId>, UnreadableValue> {
    let text = match value {
        ColumnData::Guid(guid) => guid.map(|guid| format!("{:X}", guid.hyphenated())),
        ColumnData::U8(number) => number.map(|number| number.to_string()),
        ColumnData::I16(number) => number.map(|number| number.to_string()),
        ColumnData::I32(number) => number.map(|number| number.to_string()),
        ColumnData::I64(number) => number.map(|number| number.to_string()),
        value => read_text(value)?,
    };
    Ok(text.filter(|text| !text.is_empty()).map(CustomerId::new))
}

/// Returns the id as a cell for a column of that type, and as the server prints it. `None` if no value of that type prints so.
pub(super) fn make_id_cell<'a>(kind: &IdType, customer: &'a CustomerId) -> Option<(Cell<'a>, CustomerId)> {
    match kind {
        IdType::Guid => {
            let guid = read_id(ColumnData::Guid(Some(Uuid::try_parse(customer.as_str()).ok()?))).ok()??;
            Some((Cell::Text(guid.as_str().to_owned().into()), guid))
        }
        IdType::Number(_) => {
            let number: i64 = customer.as_str().parse().ok()?;
            Some((Cell::Number(number), CustomerId::new(number.to_string())))
        }
        IdType::Text { .. } => Some((Cell::Text(customer.as_str().into()), customer.clone())),
    }
}

/// Reads a text.
pub(super) fn read_text(value: ColumnData<'_>) -> Result<Option<String>, UnreadableValue> {
    match value {
        ColumnData::String(text) => Ok(text.map(Cow::into_owned)),
        _ => Err(UnreadableValue),
    }
}

/// Reads a secret text.
pub(super) fn read_secret(value: ColumnData<'static>) -> Result<Option<Secret>, UnreadableValue> {
    Ok(read_text(value)?.map(Secret::new))
}

/// Reads bytes.
pub(super) fn read_bytes(value: ColumnData<'static>) -> Result<Option<Vec<u8>>, UnreadableValue> {
    match value {
        ColumnData::Binary(bytes) => Ok(bytes.map(Cow::into_owned)),
        _ => Err(UnreadableValue),
    }
}

/// Reads a whole number of any size.
pub(super) fn read_number(value: ColumnData<'static>) -> Result<Option<i64>, UnreadableValue> {
    match value {
        ColumnData::Bit(bit) => Ok(bit.map(i64::from)),
        ColumnData::U8(number) => Ok(number.map(i64::from)),
        ColumnData::I16(number) => Ok(number.map(i64::from)),
        ColumnData::I32(number) => Ok(number.map(i64::from)),
        ColumnData::I64(number) => Ok(number),
        _ => Err(UnreadableValue),
    }
}

/// Reads a time without a zone.
pub(super) fn read_time(value: ColumnData<'static>) -> Result<Option<NaiveDateTime>, UnreadableValue> {
    NaiveDateTime::from_sql(&value).map_err(|_| UnreadableValue)
}

/// A point in time in the form of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// A time of a clock that the column does not name.
    Naive(NaiveDateTime),
    /// A time with its offset.
    Exact(DateTime<Utc>),
}

impl Stored {
    /// Returns the instant.
    pub(super) fn instant(self, zone: Zone) -> DateTime<Utc> {
        match self {
            Self::Naive(shown) => zone.instant(shown),
            Self::Exact(instant) => instant,
        }
    }

    /// Returns the value as a cell. For a column with an offset, the cell is in UTC.
    pub(super) fn cell(self) -> Cell<'static> {
        Cell::Time(match self {
            Self::Naive(shown) => shown,
            Self::Exact(instant) => instant.naive_utc(),
        })
    }
}

/// Reads an expiry in the form of its column.
pub(super) fn read_expiry(value: ColumnData<'static>) -> Result<Option<Stored>, UnreadableValue> {
    match value {
        ColumnData::DateTimeOffset(_) => {
            let exact = DateTime::<chrono::FixedOffset>::from_sql(&value).map_err(|_| UnreadableValue)?;
            Ok(exact.map(|exact| Stored::Exact(exact.with_timezone(&Utc))))
        }
        value => Ok(read_time(value)?.map(Stored::Naive)),
    }
}

/// Returns the value that a column of that type can hold for this expiry. It is never later than the expiry.
pub(super) fn round_expiry(kind: ExpiryType, expiry: DateTime<Utc>, zone: Zone) -> Stored {
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

#[cfg(test)]
impl From<Vec<ColumnData<'static>>> for Cells {
    fn from(cells: Vec<ColumnData<'static>>) -> Self {
        Self(cells.into_iter())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::super::any_cell_tests::any_cell;
    use super::*;

    const EXPIRY_TYPES: [ExpiryType; 6] = [
        ExpiryType::DateTime,
        ExpiryType::SmallDateTime,
        ExpiryType::DateTime2(0),
        ExpiryType::DateTime2(7),
        ExpiryType::DateTimeOffset(0),
        ExpiryType::DateTimeOffset(7),
    ];

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn ids_are_printed_as_the_server_prints_them_and_found_again() {
        let guid = "6F9619FF-8B86-D011-B42D-00C04FC964FF";
        let value = ColumnData::Guid(Uuid::try_parse(guid).ok());
        assert_eq!(read_id(value.clone()).unwrap().unwrap().as_str(), guid);
        let cell = |kind: &IdType, id: &str| {
            let id = CustomerId::new(id);
            make_id_cell(kind, &id).map(|(cell, printed)| (format!("{cell:?}"), printed.as_str().to_owned()))
        };
        let printed = (format!("{:?}", Cell::Text(guid.into())), guid.to_owned());
        assert_eq!(cell(&IdType::Guid, &guid.to_lowercase()), Some(printed));
        assert_eq!(read_id(ColumnData::I32(Some(-7))).unwrap().unwrap().as_str(), "-7");
        assert_eq!(cell(&IdType::Number("int"), "-07"), Some(("Number(-7)".to_owned(), "-7".to_owned())));
        assert_eq!(cell(&IdType::Guid, "7"), None);
        assert_eq!(cell(&IdType::Number("int"), "x"), None);
        for nothing in [ColumnData::Guid(None), ColumnData::I64(None), ColumnData::String(Some("".into()))] {
            assert_eq!(read_id(nothing), Ok(None));
        }
        assert_eq!(read_id(ColumnData::F64(Some(1.0))), Err(UnreadableValue));
    }

    /// Promise 8: no column type makes an expiry later than it is.
    #[test]
    fn p08_what_is_stored_is_never_later_than_the_expiry() {
        let expiry = utc("2026-11-25T14:15:59.999Z");
        for kind in [
            ExpiryType::DateTime,
            ExpiryType::SmallDateTime,
            ExpiryType::DateTime2(0),
            ExpiryType::DateTimeOffset(7),
        ] {
            for zone in [Zone::UTC, Zone::ahead(60), Zone::ahead(-330)] {
                let back = round_expiry(kind, expiry, zone).instant(zone);
                let expected = if kind == ExpiryType::SmallDateTime { "14:15:00Z" } else { "14:15:59Z" };
                assert_eq!(back, utc(&format!("2026-11-25T{expected}")), "{kind:?} {zone:?}");
            }
        }
    }

    proptest! {
        /// Promise 22: no value of TDS causes a panic, neither when it is read nor when it is sent back for the guard.
        #[test]
        fn p22_no_value_panics(cell in any_cell(), offset in -840_i32..=840) {
            let _ = (read_number(cell.clone()), read_secret(cell.clone()));
            if let Ok(Some(id)) = read_id(cell.clone()) {
                for kind in [IdType::Guid, IdType::Number("int")] {
                    let _ = make_id_cell(&kind, &id);
                }
            }
            if let Ok(Some(there)) = read_expiry(cell) {
                let zone = Zone::ahead(offset);
                let instant = there.instant(zone);
                for kind in EXPIRY_TYPES {
                    let _ = round_expiry(kind, instant, zone).cell();
                }
            }
        }

        /// Promise 8: every type holds the sent value exactly, so the guard compares without a conversion.
        #[test]
        fn p08_what_is_sent_has_no_fraction_that_a_type_would_round(
            milliseconds in 0_i64..4_000_000_000_000,
            offset in -840_i32..840,
        ) {
            let at = DateTime::from_timestamp_millis(milliseconds).unwrap();
            for kind in EXPIRY_TYPES {
                let (second, nanosecond) = match round_expiry(kind, at, Zone::ahead(offset)) {
                    Stored::Naive(shown) => (shown.second(), shown.nanosecond()),
                    Stored::Exact(instant) => (instant.second(), instant.nanosecond()),
                };
                prop_assert_eq!(nanosecond, 0);
                prop_assert!(kind != ExpiryType::SmallDateTime || second == 0);
            }
        }

        #[test]
        fn what_is_stored_is_read_back(seconds in -2_000_000_000_i64..250_000_000_000, offset in -840_i32..840) {
            let at = DateTime::from_timestamp(seconds, 0).unwrap();
            let zone = Zone::ahead(offset);
            prop_assert_eq!(round_expiry(ExpiryType::DateTime, at, zone).instant(zone), at);
            prop_assert!(round_expiry(ExpiryType::SmallDateTime, at, zone).instant(zone) <= at);
        }
    }
}
