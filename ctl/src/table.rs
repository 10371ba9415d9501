//! Text in columns. Wide characters count as two columns; a row is always one line.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, Width, presets};
use tbtoken_proto::fit;
use unicode_width::UnicodeWidthStr;

/// The columns of a table for a terminal.
pub(crate) struct Columns {
    /// The headings, one for each column.
    pub(crate) headings: &'static [&'static str],
    /// Columns that may be clipped with `…`. Of the others only the widest may, when no column is left to leave out.
    pub(crate) flexible: &'static [usize],
    /// Columns to leave out, in this order, until the rest fits.
    pub(crate) expendable: &'static [usize],
}

/// The least useful width of a flexible column; a column is left out before another gets narrower.
const USEFUL_WIDTH: usize = 14;

/// The least width of the widest other column, when there is no room even then.
const LEAST_WIDTH: usize = 8;

/// Spaces between two columns.
const GAP: u16 = 2;

impl Columns {
    /// Whether the rows fit into `width` whole.
    pub(crate) fn fits(&self, rows: &[Vec<String>], width: u16) -> bool {
        let widest = |column: usize, heading: &str| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
            cells.chain([heading.width()]).max().unwrap_or_default()
        };
        let widths = self.headings.iter().enumerate().map(|(column, heading)| widest(column, heading));
        let gaps = usize::from(GAP) * self.headings.len().saturating_sub(1);
        widths.sum::<usize>() + gaps <= width.into()
    }

    /// Lays the rows out below the headings, within `width` columns if there is such a limit.
    pub(crate) fn lay_out(&self, rows: impl Iterator<Item = Vec<String>>, width: Option<u16>) -> String {
        let one_line = |cells: Vec<String>| {
            let mut row = Row::from(cells);
            row.max_height(1);
            row
        };
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_truncation_indicator("…");
        table.set_header(one_line(self.headings.iter().map(|&heading| heading.to_owned()).collect()));
        table.add_rows(rows.map(one_line));
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        if let Some(width) = width {
            self.fit(&mut table, width);
        }
        table.trim_fmt() + "\n"
    }

    /// Leaves out columns until the rest fits, and divides the width among the flexible columns. The gap of comfy-table
    /// after the last column is trimmed later.
    fn fit(&self, table: &mut Table, width: u16) {
        let widths: Vec<usize> =
            table.column_max_content_widths().iter().map(|&width| width.into()).collect();
        let least = |column: usize| match self.flexible.contains(&column) {
            true => widths[column].min(USEFUL_WIDTH),
            false => widths[column],
        };
        let mut needed: usize = (0..widths.len()).map(|column| least(column) + usize::from(GAP)).sum();
        let available = usize::from(width) + usize::from(GAP);
        let mut hidden = Vec::new();
        for &column in self.expendable {
            if needed > available {
                needed -= least(column) + usize::from(GAP);
                hidden.push(column);
            }
        }
        let too_wide = needed.saturating_sub(available);
        let rigid = (0..widths.len()).filter(|at| !hidden.contains(at) && !self.flexible.contains(at));
        let widest = rigid.max_by_key(|&column| widths[column]).filter(|_| too_wide > 0);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width.saturating_add(GAP));
        for (index, column) in table.column_iter_mut().enumerate() {
            if hidden.contains(&index) {
                column.set_constraint(ColumnConstraint::Hidden);
            } else if widest == Some(index) {
                let room = widths[index].saturating_sub(too_wide).max(LEAST_WIDTH) + usize::from(GAP);
                let room = Width::Fixed(u16::try_from(room).unwrap_or(u16::MAX));
                column.set_constraint(ColumnConstraint::Absolute(room));
            } else if !self.flexible.contains(&index) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    }
}

/// Lays out rows without headings; on a terminal of so many columns the last cell is wrapped.
pub(crate) fn lines<const N: usize>(rows: impl Iterator<Item = [String; N]>, width: Option<u16>) -> String {
    let rows: Vec<_> = rows.collect();
    let widest = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(widest);
    let line = |row: &[String; N]| {
        let Some((last, others)) = row.split_last() else { return String::new() };
        let others: Vec<_> = others.iter().zip(widths).map(|(cell, width)| pad(cell, width)).collect();
        line(&others.join("  "), last, width)
    };
    rows.iter().map(line).collect()
}

/// Puts a text beside a label. On a terminal of so many columns it is wrapped, beside the label or, where that leaves too
/// little room, below it.
pub(crate) fn line(label: &str, text: &str, width: Option<u16>) -> String {
    let gap = usize::from(GAP);
    let width = width.map_or(usize::MAX, usize::from);
    let mut indent = label.width() + gap;
    let mut lines = Vec::new();
    if !text.is_empty() && width.saturating_sub(indent) < USEFUL_WIDTH {
        // The label itself may be too long, such as that of an event of a GUID.
        lines.push(fit::wrap(label, width.saturating_sub(gap)).join("\n  "));
        indent = gap;
    }
    let mut pieces = fit::wrap(text, width.saturating_sub(indent)).into_iter();
    if lines.is_empty() {
        lines.push(format!("{label}  {}", pieces.next().unwrap_or_default()).trim_end().to_owned());
    }
    lines.extend(pieces.map(|piece| format!("{:indent$}{piece}", "")));
    lines.join("\n") + "\n"
}

/// Fills `text` up with spaces to so many columns.
pub(crate) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Joins facts to a line; on a terminal to as many lines as they need, wrapped between the facts.
pub(crate) fn folded(facts: &[String], width: Option<u16>) -> String {
    // Text is not wrapped at spaces of this kind.
    const INSIDE: &str = "\u{a0}";
    let facts: Vec<String> = facts.iter().map(|fact| fact.replace(' ', INSIDE)).collect();
    let lines = fit::wrap(&facts.join("   "), width.map_or(usize::MAX, usize::from));
    lines.join("\n").replace(INSIDE, " ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_wrapped_between_and_not_inside() {
        let parts = ["loop running", "no run yet", "株式会社"].map(str::to_owned);
        assert_eq!(folded(&parts, None), "loop running   no run yet   株式会社\n");
        assert_eq!(folded(&parts, Some(36)), "loop running   no run yet   株式会社\n");
        assert_eq!(folded(&parts, Some(35)), "loop running   no run yet\n株式会社\n");
        assert_eq!(folded(&parts, Some(12)), "loop running\nno run yet\n株式会社\n");
    }

    const COLUMNS: Columns =
        Columns { headings: &["STATUS", "ID", "USER", "ERROR"], flexible: &[2, 3], expendable: &[2] };

    fn rows() -> impl Iterator<Item = Vec<String>> {
        [
            ["valid", "株式会社", "a@b.c", ""],
            ["expired", "8F1C02AA", "operations@a-long-name.example", "timed out (x4)"],
        ]
        .into_iter()
        .map(|row| row.map(str::to_owned).to_vec())
    }

    #[test]
    fn without_a_limit_nothing_is_cut() {
        assert_eq!(
            COLUMNS.lay_out(rows(), None),
            "STATUS   ID        USER                            ERROR\n\
             valid    株式会社  a@b.c\n\
             expired  8F1C02AA  operations@a-long-name.example  timed out (x4)\n"
        );
    }

    #[test]
    fn on_a_terminal_the_flexible_columns_give_way() {
        let text = COLUMNS.lay_out(rows(), Some(56));
        assert_eq!(
            text,
            "STATUS   ID        USER                   ERROR\n\
             valid    株式会社  a@b.c\n\
             expired  8F1C02AA  operations@a-long-na…  timed out (x4)\n"
        );
    }

    #[test]
    fn where_there_is_no_room_a_column_goes() {
        let text = COLUMNS.lay_out(rows(), Some(40));
        assert_eq!(
            text,
            "STATUS   ID        ERROR\n\
             valid    株式会社\n\
             expired  8F1C02AA  timed out (x4)\n"
        );
    }

    #[test]
    fn a_column_stays_as_long_as_there_is_just_enough_room() {
        let has_user = |width| COLUMNS.lay_out(rows(), Some(width)).starts_with("STATUS   ID        USER");
        // 7 and 8, twice the 14 that are of use, three gaps.
        assert!(has_user(49) && !has_user(48));
    }

    #[test]
    fn what_fits_is_known_before() {
        let rows: Vec<_> = rows().collect();
        let needed = COLUMNS.lay_out(rows.clone().into_iter(), None).lines().map(|line| line.width()).max();
        let needed = u16::try_from(needed.unwrap()).unwrap();
        assert!(COLUMNS.fits(&rows, needed) && !COLUMNS.fits(&rows, needed - 1));
        assert_eq!(pad("日本", 6), "日本  ");
    }

    #[test]
    fn a_row_is_one_line_at_any_width() {
        for width in 1..120 {
            assert_eq!(COLUMNS.lay_out(rows(), Some(width)).lines().count(), 3, "{width} columns");
        }
    }

    #[test]
    fn the_widest_column_gives_way_last_and_says_so() {
        let text = COLUMNS.lay_out(rows(), Some(28));
        assert_eq!(text, "STATUS   ID        ERROR\nvalid    株式会社\nexpired  8F1C02AA  timed ou…\n");
        let long = || {
            [["valid".to_owned(), "customer-of-the-north".to_owned(), String::new(), "x".to_owned()].to_vec()]
        };
        assert_eq!(
            COLUMNS.lay_out(long().into_iter(), Some(24)),
            "STATUS  ID         ERROR\nvalid   customer…  x\n"
        );
    }

    #[test]
    fn a_last_cell_is_broken_beside_or_below_the_others() {
        let row = || {
            [["8F1C", "the server did not answer https://tb.acme.example/login"].map(str::to_owned)]
                .into_iter()
        };
        let whole = "8F1C  the server did not answer https://tb.acme.example/login\n";
        assert_eq!(lines(row(), None), whole);
        assert_eq!(
            lines(row(), Some(30)),
            "8F1C  the server did not\n      answer\n      https://tb.acme.example/\n      login\n"
        );
        assert_eq!(
            lines(row(), Some(18)),
            "8F1C\n  the server did\n  not answer\n  https://tb.acme.\n  example/login\n"
        );
    }

    #[test]
    fn what_stands_before_is_broken_where_it_does_not_fit_either() {
        assert_eq!(
            line("2026-11-23T14:03:00Z  8F1C02AA-33D1", "no. 1", Some(24)),
            "2026-11-23T14:03:00Z\n  8F1C02AA-33D1\n  no. 1\n"
        );
    }

    #[test]
    fn no_rows_are_no_lines() {
        assert_eq!(lines::<2>(std::iter::empty(), None), "");
        assert_eq!(COLUMNS.lay_out(std::iter::empty(), Some(80)), "STATUS  ID  USER  ERROR\n");
    }
}
