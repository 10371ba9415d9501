//! Every value that TDS can carry, for the tests of the modules that read cells.

use chrono::NaiveDate;
use proptest::prelude::{BoxedStrategy, Strategy, any};
use proptest::strategy::Union;
use tiberius::numeric::Numeric;
use tiberius::time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time};
use tiberius::xml::XmlData;
use tiberius::{ColumnData, Uuid};

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Guid,
    /// A whole number of any size except a bit.
    Whole,
    Bit,
    /// A point in time without an offset.
    PointInTime,
    WithOffset,
    /// A kind that no column accepts.
    Other,
}

/// Returns the kind of a value. There is no wildcard, so that a new kind of the library must be added.
pub(super) fn kind(cell: &ColumnData<'_>) -> Kind {
    match cell {
        ColumnData::String(_) => Kind::Text,
        ColumnData::Guid(_) => Kind::Guid,
        ColumnData::U8(_) | ColumnData::I16(_) | ColumnData::I32(_) | ColumnData::I64(_) => Kind::Whole,
        ColumnData::Bit(_) => Kind::Bit,
        ColumnData::DateTime(_) | ColumnData::SmallDateTime(_) | ColumnData::DateTime2(_) => {
            Kind::PointInTime
        }
        ColumnData::DateTimeOffset(_) => Kind::WithOffset,
        ColumnData::F32(_)
        | ColumnData::F64(_)
        | ColumnData::Binary(_)
        | ColumnData::Numeric(_)
        | ColumnData::Xml(_)
        | ColumnData::Time(_)
        | ColumnData::Date(_) => Kind::Other,
    }
}

/// Returns an ordinary value of each kind.
pub(super) fn ordinary() -> Vec<ColumnData<'static>> {
    let (date, time) = (Date::new(739_000), Time::new(504_000_000_000, 7));
    vec![
        ColumnData::U8(Some(1)),
        ColumnData::I16(Some(1)),
        ColumnData::I32(Some(1)),
        ColumnData::I64(Some(1)),
        ColumnData::F32(Some(1.0)),
        ColumnData::F64(Some(1.0)),
        ColumnData::Bit(Some(true)),
        ColumnData::String(Some("1".into())),
        ColumnData::Guid(Some(Uuid::from_u128(1))),
        ColumnData::Binary(Some(vec![1].into())),
        ColumnData::Numeric(Some(Numeric::new_with_scale(1, 0))),
        ColumnData::Xml(Some(std::borrow::Cow::Owned(XmlData::new("<a/>")))),
        ColumnData::DateTime(Some(DateTime::new(46_000, 300))),
        ColumnData::SmallDateTime(Some(SmallDateTime::new(46_000, 60))),
        ColumnData::Time(Some(time)),
        ColumnData::Date(Some(date)),
        ColumnData::DateTime2(Some(DateTime2::new(date, time))),
        ColumnData::DateTimeOffset(Some(DateTimeOffset::new(DateTime2::new(date, time), 60))),
    ]
}

/// Returns NULL of each kind.
pub(super) fn nulls() -> Vec<ColumnData<'static>> {
    vec![
        ColumnData::U8(None),
        ColumnData::I16(None),
        ColumnData::I32(None),
        ColumnData::I64(None),
        ColumnData::F32(None),
        ColumnData::F64(None),
        ColumnData::Bit(None),
        ColumnData::String(None),
        ColumnData::Guid(None),
        ColumnData::Binary(None),
        ColumnData::Numeric(None),
        ColumnData::Xml(None),
        ColumnData::DateTime(None),
        ColumnData::SmallDateTime(None),
        ColumnData::Time(None),
        ColumnData::Date(None),
        ColumnData::DateTime2(None),
        ColumnData::DateTimeOffset(None),
    ]
}

/// Generates every value that the protocol can carry, also those that only a broken or hostile server sends.
pub(super) fn any_cell() -> BoxedStrategy<ColumnData<'static>> {
    let date = || (0_u32..1 << 24).prop_map(Date::new);
    let time = || any::<(u64, u8)>().prop_map(|(increments, scale)| Time::new(increments, scale));
    let datetime2 = move || (date(), time()).prop_map(|(date, time)| DateTime2::new(date, time));
    let texts = || Union::new([any::<String>().boxed(), "[0-9a-fA-F:. -]{0,40}".boxed()]);
    // Days outside the range of the library, and those at its limits.
    let (first, last) = (days_to(NaiveDate::MIN), days_to(NaiveDate::MAX));
    let days =
        Union::new([any::<i32>().boxed(), (first - 2..first + 3).boxed(), (last - 2..last + 3).boxed()]);
    let nulls = nulls();
    Union::new([
        any::<usize>().prop_map(move |index| nulls[index % nulls.len()].clone()).boxed(),
        any::<u8>().prop_map(|value| ColumnData::U8(Some(value))).boxed(),
        any::<i16>().prop_map(|value| ColumnData::I16(Some(value))).boxed(),
        any::<i32>().prop_map(|value| ColumnData::I32(Some(value))).boxed(),
        any::<i64>().prop_map(|value| ColumnData::I64(Some(value))).boxed(),
        any::<f32>().prop_map(|value| ColumnData::F32(Some(value))).boxed(),
        any::<f64>().prop_map(|value| ColumnData::F64(Some(value))).boxed(),
        any::<bool>().prop_map(|value| ColumnData::Bit(Some(value))).boxed(),
        texts().prop_map(|text| ColumnData::String(Some(text.into()))).boxed(),
        any::<u128>().prop_map(|value| ColumnData::Guid(Some(Uuid::from_u128(value)))).boxed(),
        any::<Vec<u8>>().prop_map(|bytes| ColumnData::Binary(Some(bytes.into()))).boxed(),
        (any::<i128>(), 0_u8..38)
            .prop_map(|(value, scale)| ColumnData::Numeric(Some(Numeric::new_with_scale(value, scale))))
            .boxed(),
        any::<String>()
            .prop_map(|text| ColumnData::Xml(Some(std::borrow::Cow::Owned(XmlData::new(text)))))
            .boxed(),
        (days, any::<u32>())
            .prop_map(|(days, fragments)| ColumnData::DateTime(Some(DateTime::new(days, fragments))))
            .boxed(),
        any::<(u16, u16)>()
            .prop_map(|(days, minutes)| ColumnData::SmallDateTime(Some(SmallDateTime::new(days, minutes))))
            .boxed(),
        time().prop_map(|time| ColumnData::Time(Some(time))).boxed(),
        date().prop_map(|date| ColumnData::Date(Some(date))).boxed(),
        datetime2().prop_map(|value| ColumnData::DateTime2(Some(value))).boxed(),
        (datetime2(), any::<i16>())
            .prop_map(|(value, offset)| ColumnData::DateTimeOffset(Some(DateTimeOffset::new(value, offset))))
            .boxed(),
    ])
    .boxed()
}

/// Returns the days from the first day of `datetime`.
fn days_to(date: NaiveDate) -> i32 {
    let days = date.signed_duration_since(NaiveDate::from_ymd_opt(1900, 1, 1).unwrap()).num_days();
    i32::try_from(days).unwrap()
}

#[test]
fn every_kind_is_among_the_ordinary_and_the_nulls() {
    let discriminants =
        |cells: Vec<ColumnData<'static>>| cells.iter().map(std::mem::discriminant).collect::<Vec<_>>();
    assert_eq!(discriminants(ordinary()), discriminants(nulls()));
    assert_eq!(discriminants(ordinary()).len(), 18, "as many as `kind` knows");
}
