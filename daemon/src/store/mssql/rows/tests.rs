//! Promise 22: no value in the cells of a row spoils more than that row.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::{collection, option};
use tiberius::ColumnData;

use super::super::any_cell_tests::{Kind, any_cell, kind, nulls, ordinary};
use super::*;

type Row = Vec<ColumnData<'static>>;

/// The columns of the statement `read`.
const COLUMNS: [&str; 6] =
    ["customer_id", "tb_url", "tb_username", "tb_password", "has_token", "tbtokenexpiry"];

/// Returns a row without a problem.
fn good(id: &'static str) -> Row {
    let text = |text: &'static str| ColumnData::String(Some(text.into()));
    let expiry = tiberius::time::DateTime::new(46_000, 300);
    vec![
        text(id),
        text("https://tb"),
        text("u"),
        text("p"),
        ColumnData::I32(Some(1)),
        ColumnData::DateTime(Some(expiry)),
    ]
}

fn good_except(column: usize, cell: ColumnData<'static>) -> Row {
    let mut cells = good("c");
    cells[column] = cell;
    cells
}

fn read(rows: impl IntoIterator<Item = Row>, zone: Zone, fallback_url: Option<&str>) -> Rows {
    let own_writes = OwnWrites::default();
    let mut reader = Reader::new(fallback_url, zone, &own_writes);
    for cells in rows {
        reader.add(cells.into());
    }
    reader.finish()
}

/// Whether a column accepts a value of this kind. Every other kind is a problem of the row.
fn is_readable(column: usize, kind: Kind) -> bool {
    match COLUMNS[column] {
        "customer_id" => matches!(kind, Kind::Text | Kind::Guid | Kind::Whole),
        "tb_url" | "tb_username" | "tb_password" => kind == Kind::Text,
        "has_token" => matches!(kind, Kind::Whole | Kind::Bit),
        "tbtokenexpiry" => matches!(kind, Kind::PointInTime | Kind::WithOffset),
        other => panic!("no column {other}"),
    }
}

#[test]
fn p22_each_kind_in_each_column_spoils_its_own_row_at_most() {
    for (column, name) in COLUMNS.iter().enumerate() {
        for cell in ordinary() {
            let what = format!("{cell:?} in {name}");
            let is_readable = is_readable(column, kind(&cell));
            let Rows { customers, problems, .. } =
                read([good_except(column, cell), good("after")], Zone::UTC, None);
            assert_eq!(customers.last().unwrap().id.as_str(), "after", "{what}");
            assert_eq!(customers.len(), 1 + usize::from(is_readable), "{what}");
            assert_eq!(problems.len(), usize::from(!is_readable), "{what}");
            let row = if column == 0 { "(no id)" } else { "c" };
            assert!(problems.iter().all(|problem| problem.row == row), "{what}");
        }
    }
}

#[test]
fn p22_null_of_each_kind_in_each_column_is_nothing_or_a_problem_of_its_row() {
    for (column, name) in COLUMNS.iter().enumerate() {
        for cell in nulls() {
            let what = format!("{cell:?} in {name}");
            let is_readable = is_readable(column, kind(&cell));
            let Rows { customers, problems, .. } =
                read([good_except(column, cell), good("after")], Zone::UTC, None);
            assert_eq!(customers.last().unwrap().id.as_str(), "after", "{what}");
            // A row without an id is reported; a row without URL, user or password is not meant for the daemon.
            let is_reported = column == 0 || !is_readable;
            assert_eq!(problems.len(), usize::from(is_reported), "{what}");
            let is_customer = matches!(*name, "has_token" | "tbtokenexpiry") && is_readable;
            assert_eq!(customers.len(), 1 + usize::from(is_customer), "{what}");
            if is_customer {
                let customer = &customers[0];
                assert_eq!(customer.has_token, *name != "has_token", "{what}");
                assert_eq!(customer.expiry.is_none(), *name == "tbtokenexpiry", "{what}");
            }
        }
    }
}

#[test]
fn p22_a_row_that_ends_early_is_a_problem() {
    for length in 0..COLUMNS.len() {
        let short = good("c").into_iter().take(length).collect();
        let Rows { customers, problems, .. } = read([short, good("after")], Zone::UTC, None);
        assert_eq!((customers.len(), problems.len()), (1, 1), "{length}");
    }
}

/// Promise 2: text that could not be decoded differs from the row, so it is not sent as a password.
#[test]
fn p02_a_text_that_could_not_be_decoded_is_not_sent() {
    for (column, name) in COLUMNS.iter().enumerate().take(4).skip(1) {
        let broken = ColumnData::String(Some("x\u{fffd}".into()));
        let Rows { customers, problems, .. } = read([good_except(column, broken)], Zone::UTC, None);
        assert_eq!((customers.len(), problems.len()), (0, 1), "{name}");
    }
}

proptest! {
    #[test]
    fn p22_no_row_panics_nor_spoils_the_next(
        rows in collection::vec(collection::vec(any_cell(), 0..9), 0..4),
        minutes in -840_i32..=840,
        fallback_url in option::of(any::<String>()),
    ) {
        let count = rows.len();
        let rows = rows.into_iter().chain([good("the last one")]);
        let Rows { customers, problems, .. } = read(rows, Zone::ahead(minutes), fallback_url.as_deref());
        prop_assert_eq!(customers.last().unwrap().id.as_str(), "the last one");
        prop_assert!(customers.len() + problems.len() <= count + 1);
    }

    /// Rows that are nearly right get further into the reading.
    #[test]
    fn p22_no_value_in_an_otherwise_good_row_panics(
        column in 0_usize..6,
        cell in any_cell(),
        minutes in -840_i32..=840,
    ) {
        let rows = [good_except(column, cell), good("after")];
        let Rows { customers, problems, .. } = read(rows, Zone::ahead(minutes), None);
        prop_assert_eq!(customers.last().unwrap().id.as_str(), "after");
        prop_assert!(customers.len() + problems.len() <= 2);
    }
}
