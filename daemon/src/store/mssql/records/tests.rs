//! Promise 22: no value in the cells of a record spoils more than that record.

use proptest::collection;
use proptest::prelude::{prop_assert, proptest};
use tiberius::ColumnData;

use super::super::any_cell_tests::{Kind, any_cell, kind, nulls, ordinary};
use super::*;

type Row = Vec<ColumnData<'static>>;

/// The columns and their kinds, in the order of the statement, after the id.
const COLUMNS: [(&str, Holds); 9] = [
    ("credentials_fingerprint", Holds::Text),
    ("failures", Holds::Number),
    ("kind", Holds::Text),
    ("message", Holds::Text),
    ("parked", Holds::Number),
    ("failed_at", Holds::Time),
    ("next_attempt_at", Holds::Time),
    ("last_success_at", Holds::Time),
    ("renewals", Holds::Number),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Text,
    Number,
    Time,
}

fn good() -> Row {
    let text = |text: &'static str| ColumnData::String(Some(text.into()));
    let time = || ColumnData::DateTime(Some(tiberius::time::DateTime::new(46_000, 300)));
    vec![
        text("tGPP1FUodnKkKfRMm4Ag7A"),
        ColumnData::I32(Some(3)),
        text("credentials_rejected"),
        text("no"),
        ColumnData::Bit(Some(true)),
        time(),
        time(),
        time(),
        ColumnData::I64(Some(7)),
        time(),
        text("2026-11-23T14:03:00Z parked"),
    ]
}

fn read(cells: Row) -> Result<(Record, Option<RowProblem>), UnreadableValue> {
    read_record(CustomerId::new("c"), cells.into())
}

#[test]
fn p22_each_kind_in_each_column_of_a_record_has_its_outcome() {
    for (column, (name, holds)) in COLUMNS.iter().enumerate() {
        for cell in ordinary().into_iter().chain(nulls()) {
            let (what, kind) = (format!("{cell:?} in {name}"), kind(&cell));
            let mut cells = good();
            cells[column] = cell;
            let outcome = read(cells).map(|(record, problem)| {
                assert_eq!(record.id.as_str(), "c", "{what}");
                problem
            });
            let expected = match (holds, kind) {
                (Holds::Text, Kind::Text) | (Holds::Number, Kind::Whole | Kind::Bit) => Ok(None),
                (Holds::Text | Holds::Number, _) => Err(UnreadableValue),
                (Holds::Time, Kind::PointInTime) => Ok(None),
                // The record still says whether the customer is parked.
                (Holds::Time, _) => Ok(Some(RowProblem::record_without_time("c"))),
            };
            assert_eq!(outcome, expected, "{what}");
        }
    }
}

#[test]
fn p22_a_record_that_ends_early_cannot_be_read() {
    for length in 0..good().len() {
        let short = good().into_iter().take(length).collect();
        assert_eq!(read(short).map(|(_, problem)| problem), Err(UnreadableValue), "{length}");
    }
    let (record, problem) = read(good()).unwrap();
    let failure = record.failure.unwrap();
    assert!(failure.permanent && problem.is_none());
    assert_eq!((failure.consecutive, record.renewals), (3, 7));
}

#[test]
fn p22_numbers_that_cannot_be_counts_are_none() {
    let mut cells = good();
    cells[1] = ColumnData::I64(Some(-1));
    cells[8] = ColumnData::I64(Some(i64::MIN));
    let (record, _) = read(cells).unwrap();
    assert_eq!((record.failure.unwrap().consecutive, record.renewals), (0, 0));
}

proptest! {
    #[test]
    fn p22_no_record_panics(cells in collection::vec(any_cell(), 0..13)) {
        let is_short = cells.len() < good().len();
        prop_assert!(read(cells).is_err() || !is_short);
    }

    #[test]
    fn p22_no_value_in_an_otherwise_good_record_panics(column in 0_usize..11, cell in any_cell()) {
        let mut cells = good();
        cells[column] = cell;
        let _ = read(cells);
    }
}
