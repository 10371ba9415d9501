//! Which panel gets which part of the screen.

use ratatui::layout::Rect;

/// Below this many columns or rows there are only the counts.
const SMALLEST: (u16, u16) = (40, 10);

/// The parts of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Areas {
    /// The screen is too small for panels.
    pub(crate) counts_only: bool,
    pub(crate) whole: Rect,
    pub(crate) header: Rect,
    pub(crate) summary: Rect,
    pub(crate) rule: Rect,
    /// Table and detail together.
    pub(crate) body: Rect,
    pub(crate) table: Rect,
    pub(crate) detail: Rect,
    pub(crate) footer: Rect,
}

impl Areas {
    /// Divides the screen.
    pub(crate) fn of(whole: Rect) -> Self {
        let line = |y: u16| Rect { y: whole.y + y.min(whole.height), height: 1, ..whole }.intersection(whole);
        let body =
            Rect { y: whole.y + 3, height: whole.height.saturating_sub(4), ..whole }.intersection(whole);
        let detail_height = detail_height(whole.height).min(body.height);
        let table = Rect { height: body.height - detail_height, ..body };
        Self {
            counts_only: whole.width < SMALLEST.0 || whole.height < SMALLEST.1,
            whole,
            header: line(0),
            summary: line(1),
            rule: line(2),
            body,
            table,
            detail: Rect { y: body.y + table.height, height: detail_height, ..body },
            footer: line(whole.height.saturating_sub(1)),
        }
    }

    /// How many customers the table shows at a time.
    pub(crate) fn rows(&self) -> usize {
        usize::from(self.table.height.saturating_sub(1))
    }
}

/// The detail shrinks with the screen: four rows of customers tell more than a box around one of them.
fn detail_height(screen: u16) -> u16 {
    match screen {
        0..16 => 1,
        16..26 => 5,
        26..40 => 8,
        _ => 12,
    }
}
