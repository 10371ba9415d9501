//! A batch of rows as the source of a statement: one text in JSON, or a parameter for each value. Pure.
//!
//! One text is faster: a server needs three times as long for the declarations of a thousand parameters. Databases with a
//! compatibility level below 130 (SQL Server 2016) have no `OPENJSON`.

use std::borrow::Cow;

use chrono::{NaiveDateTime, Timelike as _};
use tiberius::Query;

use super::statements::NO_TIME;

/// The form in which the rows of a batch reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowSource {
    /// One parameter with all rows in JSON.
    Json,
    /// One parameter for each value.
    Values,
}

/// A column of a batch: its name and its kind.
pub(super) type Column = (&'static str, Kind);

/// The kind of a column. No value is NULL, because tiberius sends NULL without a type, which not every engine accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Text without a character that JSON would escape.
    Plain,
    Number,
    Time,
}

/// A value of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    Text(Cow<'a, str>),
    Number(i64),
    Time(NaiveDateTime),
}

impl RowSource {
    /// Returns the batch as `(SELECT …) AS v` or `(VALUES …) AS v (…)`, with parameters from number `first`.
    pub(super) fn sql(self, columns: &[Column], rows: usize, first: usize) -> String {
        match self {
            Self::Json => json_source(columns, first),
            Self::Values => values_source(columns, rows, first),
        }
    }

    /// Binds the parameters of the same rows.
    pub(super) fn bind<'a>(self, query: &mut Query<'a>, rows: impl IntoIterator<Item = Vec<Cell<'a>>>) {
        match self {
            Self::Json => query.bind(json(rows)),
            Self::Values => {
                for cell in rows.into_iter().flatten() {
                    match cell {
                        Cell::Text(text) => query.bind(text),
                        Cell::Number(number) => query.bind(number),
                        Cell::Time(time) => query.bind(time),
                    }
                }
            }
        }
    }

    /// Returns the number of rows for one statement. Each statement costs the server time, and while one runs no other can.
    pub(super) fn rows_at_once(self) -> usize {
        match self {
            Self::Json => 1000,
            Self::Values => 100,
        }
    }
}

/// Makes the source that reads an array of arrays. With objects, the names of the columns would be most of the text.
fn json_source(columns: &[Column], first: usize) -> String {
    let read = |(name, kind): &Column| match kind {
        Kind::Text => format!("{} AS {name}", unescaped(name)),
        Kind::Plain => format!("{name} COLLATE Latin1_General_BIN2 AS {name}"),
        Kind::Number | Kind::Time => format!("{name} AS {name}"),
    };
    let typed = |(number, (name, kind)): (usize, &Column)| {
        let sql = match kind {
            Kind::Text | Kind::Plain => "nvarchar(max)",
            Kind::Number => "bigint",
            Kind::Time => "datetime2(6)",
        };
        format!("{name} {sql} '$[{number}]'")
    };
    format!(
        "(SELECT {} FROM OPENJSON(@P{first}) WITH ({}) AS j) AS v",
        joined(columns.iter().map(read)),
        joined(columns.iter().enumerate().map(typed)),
    )
}

fn joined(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

/// The replacements of the characters that JSON would escape, because Babelfish does not decode JSON's escapes.
const ESCAPES: [(char, &str); 3] = [('"', "~q"), ('\\', "~b"), ('~', "~t")];

fn unescaped(name: &str) -> String {
    ESCAPES.iter().fold(format!("{name} COLLATE Latin1_General_BIN2"), |text, (plain, escaped)| {
        format!("REPLACE({text}, N'{escaped}', N'{plain}')")
    })
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match ESCAPES.iter().find(|(plain, _)| *plain == c) {
            Some((_, escape)) => escaped.push_str(escape),
            None => escaped.push(c),
        }
    }
    escaped
}

fn json<'a>(rows: impl IntoIterator<Item = Vec<Cell<'a>>>) -> String {
    let value = |cell: Cell<'a>| match cell {
        Cell::Text(text) => escaped(&text).into(),
        Cell::Number(number) => number.into(),
        Cell::Time(time) if time.nanosecond() < 1000 => time.format("%Y-%m-%dT%H:%M:%S").to_string().into(),
        Cell::Time(time) => time.format("%Y-%m-%dT%H:%M:%S%.6f").to_string().into(),
    };
    // The last columns are left out if every row has NULL there, because a missing value is NULL. All rows have one length,
    // because Babelfish confuses rows of different lengths.
    let is_something = |cell: &Cell<'_>| *cell != Cell::Time(NO_TIME) && *cell != Cell::Text("".into());
    let rows: Vec<Vec<Cell<'a>>> = rows.into_iter().collect();
    let width =
        rows.iter().filter_map(|row| row.iter().rposition(is_something)).max().map_or(0, |last| last + 1);
    // One row after the other, because all rows as values would need as much memory again.
    let mut text = String::from("[");
    for row in rows {
        text.push_str(if text.len() == 1 { "" } else { "," });
        let row: Vec<serde_json::Value> = row.into_iter().take(width).map(value).collect();
        text.push_str(&serde_json::Value::Array(row).to_string());
    }
    text.push(']');
    text
}

/// `(VALUES (@P1, @P2), (@P3, @P4)) AS v (a, b)`.
fn values_source(columns: &[Column], rows: usize, first: usize) -> String {
    let row = |row: usize| {
        let parameters = (first + row * columns.len()..).take(columns.len());
        format!("({})", joined(parameters.map(|number| format!("@P{number}"))))
    };
    let names = joined(columns.iter().map(|(name, _)| (*name).to_owned()));
    format!("(VALUES {}) AS v ({names})", joined((0..rows).map(row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] = [("a", Kind::Text), ("b", Kind::Number)];

    #[test]
    fn values_number_their_parameters() {
        let expected = "(VALUES (@P6, @P7), (@P8, @P9)) AS v (a, b)";
        assert_eq!(RowSource::Values.sql(&COLUMNS, 2, 6), expected);
        assert_eq!(RowSource::Values.sql(&COLUMNS[..1], 1, 1), "(VALUES (@P1)) AS v (a)");
    }

    #[test]
    fn last_columns_that_are_null_in_all_rows_are_left_out() {
        let (empty, none) = (|| Cell::Text("".into()), || Cell::Time(NO_TIME));
        let rows = |second| [[empty(), Cell::Number(0), empty(), none()], [empty(), second, empty(), none()]];
        assert_eq!(json(rows(Cell::Number(1)).map(Vec::from)), r#"[["",0],["",1]]"#);
        assert_eq!(json(rows(empty()).map(Vec::from)), r#"[["",0],["",""]]"#, "all are of one length");
    }

    #[test]
    fn a_time_has_no_more_digits_than_it_needs() {
        let rows = [vec![
            Cell::Time(NO_TIME),
            Cell::Time(NO_TIME + chrono::TimeDelta::nanoseconds(1_234_567)),
            Cell::Time(NO_TIME + chrono::TimeDelta::nanoseconds(999)),
            Cell::Number(1),
        ]];
        let expected = r#"[["1900-01-01T00:00:00","1900-01-01T00:00:00.001234","1900-01-01T00:00:00",1]]"#;
        assert_eq!(json(rows), expected);
    }

    #[test]
    fn no_character_of_a_text_is_escaped_by_json() {
        let rows = [vec![Cell::Text("~q\"\\b é".into()), Cell::Number(-1)]];
        let text = json(rows);
        assert_eq!(text, r#"[["~tq~q~bb é",-1]]"#);
        let unescape = |text: &str| {
            ESCAPES
                .iter()
                .fold(text.to_owned(), |text, (plain, escaped)| text.replace(escaped, &plain.to_string()))
        };
        assert_eq!(unescape("~tq~q~bb é"), "~q\"\\b é", "as the server does it");
    }
}
