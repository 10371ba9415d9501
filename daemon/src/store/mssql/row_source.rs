//! A batch of rows as the source of a statement: one text in JSON, or a parameter for each value. Pure.
//!
//! One text is faster: a server needs three times as long for the declarations of a thousand parameters. Databases with a
//! compatibility level below 130 (SQL Server 2016) have no `OPENJSON`.

use std::borrow::Cow;
use std::fmt::Write;

use chrono::{NaiveDateTime, Timelike as _};
use tiberius::Query;

use super::statements::NO_TIME;

/// The most parameters of one statement.
const MOST_PARAMETERS: usize = 2100;

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

    /// Returns the most rows of one batch, beside `others` parameters.
    pub(super) fn most_rows(self, columns: &[Column], others: usize) -> usize {
        match self {
            Self::Json => usize::MAX,
            Self::Values => (MOST_PARAMETERS - 1 - others) / columns.len().max(1),
        }
    }
}

/// Makes the source that reads an array of arrays. With objects, the names of the columns would be most of the text.
fn json_source(columns: &[Column], first: usize) -> String {
    let (mut read, mut typed) = (String::new(), String::new());
    for (number, (name, kind)) in columns.iter().enumerate() {
        let comma = if number == 0 { "" } else { ", " };
        let (value, of) = match kind {
            Kind::Text => (unescaped(name), "nvarchar(max)"),
            Kind::Plain => (format!("{name} COLLATE Latin1_General_BIN2"), "nvarchar(max)"),
            Kind::Number => ((*name).to_owned(), "bigint"),
            Kind::Time => ((*name).to_owned(), "datetime2(6)"),
        };
        let _ = write!(read, "{comma}{value} AS {name}");
        let _ = write!(typed, "{comma}{name} {of} '$[{number}]'");
    }
    format!("(SELECT {read} FROM OPENJSON(@P{first}) WITH ({typed}) AS j) AS v")
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
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    format!("(VALUES {}) AS v ({})", values(rows, columns.len(), first), names.join(", "))
}

/// `(@P1, @P2), (@P3, @P4)`.
pub(super) fn values(rows: usize, width: usize, first: usize) -> String {
    let mut text = String::with_capacity(rows * (width * 7 + 4));
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..width {
            let comma = if column == 0 { "" } else { ", " };
            let _ = write!(text, "{comma}@P{}", first + row * width + column);
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] = [("a", Kind::Text), ("b", Kind::Number)];

    #[test]
    fn values_number_their_parameters() {
        assert_eq!(values(2, 2, 1), "(@P1, @P2), (@P3, @P4)");
        assert_eq!(values(1, 1, 1), "(@P1)");
        assert_eq!(RowSource::Values.sql(&COLUMNS, 1, 6), "(VALUES (@P6, @P7)) AS v (a, b)");
    }

    #[test]
    fn a_batch_of_values_has_no_more_parameters_than_the_server_takes() {
        assert_eq!(RowSource::Values.most_rows(&COLUMNS, 99), 1000);
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
