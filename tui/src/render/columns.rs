//! The columns of the table, and their widths.

use strum::{IntoStaticStr, VariantArray};

use crate::snapshot::Widths;

/// A column of the table; its text is the heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub(super) enum Column {
    Status,
    Customer,
    User,
    #[strum(serialize = "THINGSBOARD")]
    Server,
    Left,
    Next,
    #[strum(serialize = "LAST ERROR")]
    Error,
}

/// The visible columns from left to right, each with its width, and the gap between them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) columns: Vec<(Column, usize)>,
    pub(super) gap: usize,
}

/// Returns the width before the first column, for the pointer of the selected row.
pub(super) fn margin(gap: usize) -> usize {
    gap + 1
}

/// The columns that are left out first where there is no room for all.
const LEAST_IMPORTANT: [Column; 3] = [Column::Server, Column::Next, Column::User];

impl Column {
    /// Returns the least useful width on a screen of so many columns.
    fn least(self, widths: Widths, screen: usize) -> usize {
        match self {
            // "! expiring soon"
            Self::Status => 15,
            // If a third of the screen does not tell ids apart, a few more characters do not help.
            Self::Customer => match widths.cut_id() {
                cut if cut <= (screen / 3).min(32) => cut.max(8),
                _ => 16,
            },
            Self::User => 11,
            Self::Server => 11,
            // "-365d", "in 59m"
            Self::Left => 5,
            Self::Next => 6,
            // "wrong password"
            Self::Error => 14,
        }
    }
}

impl Columns {
    /// Chooses the columns for a table of `width`.
    pub(super) fn fit(width: usize, widths: Widths) -> Self {
        let gap = if width < 100 { 1 } else { 2 };
        let all = Column::VARIANTS.iter().map(|&column| (column, column.least(widths, width)));
        let mut this = Self { columns: all.collect(), gap };
        for least_important in LEAST_IMPORTANT {
            if this.width() > width {
                this.columns.retain(|(column, _)| *column != least_important);
            }
        }
        // On the narrowest screens the error is cut: a few letters say more than none.
        let surplus = this.width().saturating_sub(width);
        let error = Column::Error.least(widths, width).saturating_sub(surplus);
        match error {
            0..4 => this.columns.retain(|(column, _)| *column != Column::Error),
            _ => this.set(Column::Error, error),
        }

        let spare = width.saturating_sub(this.width());
        // "rate limited (x12)"
        let spare = this.grow(Column::Error, 18, spare);
        // User and server share the spare width; what one does not need goes to the other.
        let (user, server) = (widths.user.min(40), widths.server.min(40));
        let spare = this.grow(Column::User, user, spare / 2) + spare.div_ceil(2);
        let spare = this.grow(Column::Server, server, spare);
        let spare = this.grow(Column::User, user, spare);
        // An id is shown short or whole; a length between looks like a mistake.
        let whole = this.of(Column::Customer).is_some_and(|now| widths.id.saturating_sub(now) <= spare);
        let spare = if whole { this.grow(Column::Customer, widths.id, spare) } else { spare };
        this.grow(Column::Error, usize::MAX, spare);
        this
    }

    fn width(&self) -> usize {
        let columns: usize = self.columns.iter().map(|(_, width)| width).sum();
        margin(self.gap) + columns + self.gap * self.columns.len().saturating_sub(1)
    }

    fn of(&self, wanted: Column) -> Option<usize> {
        self.columns.iter().find(|(column, _)| *column == wanted).map(|(_, width)| *width)
    }

    fn set(&mut self, wanted: Column, to: usize) {
        if let Some((_, width)) = self.columns.iter_mut().find(|(column, _)| *column == wanted) {
            *width = to;
        }
    }

    /// Widens a column towards `ideal` by at most `spare`; returns the rest of `spare`.
    fn grow(&mut self, wanted: Column, ideal: usize, spare: usize) -> usize {
        let Some(now) = self.of(wanted) else { return spare };
        let more = ideal.saturating_sub(now).min(spare);
        self.set(wanted, now + more);
        spare - more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTHS: Widths = Widths { short_id: 8, id: 36, user: 24, server: 24 };

    fn names(width: usize) -> Vec<&'static str> {
        Columns::fit(width, WIDTHS).columns.into_iter().map(|(column, _)| column.into()).collect()
    }

    #[test]
    fn columns_go_in_order_and_fit_everywhere() {
        assert_eq!(names(80).len(), 7);
        assert!(!names(72).contains(&"THINGSBOARD") && names(72).contains(&"NEXT"));
        assert!(!names(60).contains(&"NEXT") && names(60).contains(&"USER"));
        assert!(!names(40).contains(&"USER") && names(40).contains(&"LAST ERROR"));
        for width in 40..300 {
            for short_id in 8..40 {
                let columns = Columns::fit(width, Widths { short_id, ..WIDTHS });
                assert!(columns.width() <= width, "{width}: {columns:?}");
            }
        }
    }

    #[test]
    fn a_wide_table_shows_whole_ids() {
        assert_eq!(Columns::fit(200, WIDTHS).of(Column::Customer), Some(36));
        assert_eq!(Columns::fit(100, WIDTHS).of(Column::Customer), Some(9));
    }

    #[test]
    fn ids_are_told_apart_before_anything_else_grows() {
        let alike = Widths { short_id: 30, ..WIDTHS };
        assert_eq!(Columns::fit(100, alike).of(Column::Customer), Some(31));
        assert_eq!(
            Columns::fit(60, alike).of(Column::Customer),
            Some(16),
            "a third of the screen is not enough"
        );
    }
}
