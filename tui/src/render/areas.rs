//! The division of the screen among the panels.

use ratatui::layout::{Constraint, Layout, Rect};

/// The smallest screen, in columns and rows, that shows more than the counts.
const SMALLEST: (u16, u16) = (40, 10);

/// The parts of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Areas {
    /// The screen is too small for panels.
    pub(crate) counts_only: bool,
    pub(crate) whole: Rect,
    pub(crate) header: Rect,
    /// Empty without an outage, and on screens that have no line to spare.
    pub(crate) alert: Rect,
    pub(crate) summary: Rect,
    pub(crate) rule: Rect,
    /// Table and detail together.
    pub(crate) body: Rect,
    pub(crate) table: Rect,
    pub(crate) detail: Rect,
    pub(crate) footer: Rect,
}

impl Areas {
    /// Divides the screen; `alert` returns how many lines the alert takes of those that it may take.
    pub(crate) fn of(whole: Rect, alert: impl FnOnce(u16) -> u16) -> Self {
        let alert = alert(most_alert(whole.height));
        let heights = [1, alert, 1, 1].map(Constraint::Length);
        let below =
            [Constraint::Fill(1), Constraint::Length(detail_height(whole.height)), Constraint::Length(1)];
        let panels = Layout::vertical(heights.into_iter().chain(below)).areas(whole);
        let [header, alert, summary, rule, table, detail, footer] = panels;
        let counts_only = whole.width < SMALLEST.0 || whole.height < SMALLEST.1;
        let body = table.union(detail);
        Self { counts_only, whole, header, alert, summary, rule, body, table, detail, footer }
    }

    /// Returns how many customers the table shows at a time.
    pub(crate) fn rows(&self) -> usize {
        usize::from(self.table.height.saturating_sub(1))
    }
}

/// Returns the height of the detail. It shrinks with the screen, because rows say more than a box around one of them.
fn detail_height(screen: u16) -> u16 {
    match screen {
        0..16 => 1,
        16..26 => 5,
        26..40 => 8,
        _ => 12,
    }
}

/// Returns the most lines of an alert. Without an alert the rule shows its gist.
fn most_alert(screen: u16) -> u16 {
    match screen {
        0..14 => 0,
        14..24 => 2,
        _ => 4,
    }
}
