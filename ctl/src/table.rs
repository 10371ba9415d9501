//! Columns of text. Wide characters count as wide; a row is always one line.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, presets};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A table that is to fit on a terminal.
pub(crate) struct Columns {
    /// The headings, one for each column.
    pub(crate) headings: &'static [&'static str],
    /// Columns that may be cut short with `…`; the others never are.
    pub(crate) flexible: &'static [usize],
    /// Columns to leave out, in this order, as long as there is not enough room.
    pub(crate) expendable: &'static [usize],
}

/// The narrowest that a flexible column may become before another one is left out.
const USEFUL_WIDTH: usize = 14;

/// Spaces between two columns.
const GAP: u16 = 2;

impl Columns {
    /// Whether these rows fit into so many columns with nothing cut or left out.
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
        let mut table = plain_table();
        table.set_header(one_line(self.headings.iter().map(|&heading| heading.to_owned()).collect()));
        table.add_rows(rows.map(one_line));
        space_out(&mut table);
        if let Some(width) = width {
            self.fit(&mut table, width);
        }
        finished(&table)
    }

    /// Leaves out what does not fit and lets the flexible columns share what is left. The last column is followed by
    /// a gap, too, which is cut off in the end.
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
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width.saturating_add(GAP));
        for (index, column) in table.column_iter_mut().enumerate() {
            if hidden.contains(&index) {
                column.set_constraint(ColumnConstraint::Hidden);
            } else if !self.flexible.contains(&index) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    }
}

/// Rows without headings and without a limit.
pub(crate) fn lines<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = plain_table();
    table.add_rows(rows.map(|row| one_line(row.into())));
    space_out(&mut table);
    finished(&table)
}

/// `text`, filled up to so many columns of the screen.
pub(crate) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// `text` in at most so many columns of the screen, its end replaced by `…` if it is longer.
pub(crate) fn clip(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let mut clipped = String::new();
    for c in text.chars() {
        let wide = UnicodeWidthChar::width(c).unwrap_or(0);
        if wide > room {
            break;
        }
        room -= wide;
        clipped.push(c);
    }
    clipped + "…"
}

/// `text` broken between words into lines of at most `columns`; a word that is longer has a line for itself.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.width() + 1 + word.width() > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// Facts on a line, well apart; on a terminal on as many lines as they need.
pub(crate) fn folded(parts: &[String], width: Option<u16>) -> String {
    const GAP: &str = "   ";
    let room = width.map_or(usize::MAX, usize::from);
    let mut text = String::new();
    let mut taken = 0;
    for part in parts {
        let wanted = part.width();
        if taken > 0 && taken + GAP.len() + wanted > room {
            text.push('\n');
            taken = 0;
        } else if taken > 0 {
            text.push_str(GAP);
            taken += GAP.len();
        }
        text.push_str(part);
        taken += wanted;
    }
    text.push('\n');
    text
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_truncation_indicator("…");
    table
}

fn one_line(cells: Vec<String>) -> Row {
    let mut row = Row::from(cells);
    row.max_height(1);
    row
}

/// Works on the columns that are there, so it comes after the rows.
fn space_out(table: &mut Table) {
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
}

fn finished(table: &Table) -> String {
    if table.is_empty() && table.header().is_none() {
        return String::new();
    }
    table.trim_fmt() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_broken_between_and_never_inside() {
        let parts = ["loop running", "no run yet", "株式会社"].map(str::to_owned);
        assert_eq!(folded(&parts, None), "loop running   no run yet   株式会社\n");
        assert_eq!(folded(&parts, Some(36)), "loop running   no run yet   株式会社\n");
        assert_eq!(folded(&parts, Some(35)), "loop running   no run yet\n株式会社\n");
        assert_eq!(folded(&parts, Some(5)), "loop running\nno run yet\n株式会社\n");
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
    fn what_is_clipped_or_broken_is_as_wide_as_it_may_be() {
        assert_eq!((clip("expired", 7), clip("expired", 6)), ("expired".to_owned(), "expir…".to_owned()));
        assert_eq!((clip("株式会社", 7), clip("株式会社", 6)), ("株式会…".to_owned(), "株式…".to_owned()));
        assert_eq!(clip("x", 0), "…");
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("a bc def", 3), ["a", "bc", "def"]);
        assert_eq!(wrap("a-word-that-is-longer than", 8), ["a-word-that-is-longer", "than"]);
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
    fn no_rows_are_no_lines() {
        assert_eq!(lines::<2>(std::iter::empty()), "");
        assert_eq!(COLUMNS.lay_out(std::iter::empty(), Some(80)), "STATUS  ID  USER  ERROR\n");
    }
}
