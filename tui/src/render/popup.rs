//! A box in the middle of the screen.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;
use ratatui::widgets::{Block, Clear};

use crate::theme::Theme;

/// The widest box that is easy to read.
const WIDEST: u16 = 72;

/// Returns the columns for text in a popup on this screen.
pub(super) fn columns(screen: Rect) -> u16 {
    screen.width.saturating_sub(2).min(WIDEST).saturating_sub(4)
}

/// Draws an empty box for text of this size, and returns the area for the text.
///
/// ```text
/// ┌ Title ────────┐
/// │ text          │
/// └───────────────┘
/// ```
pub(super) fn render(
    frame: &mut Frame<'_>,
    theme: Theme,
    title: &str,
    (columns, lines): (u16, u16),
    screen: Rect,
) -> Rect {
    let width = (columns + 4).min(screen.width);
    let height = (lines + 2).min(screen.height);
    let area = Rect {
        x: screen.x + (screen.width - width) / 2,
        y: screen.y + (screen.height - height) / 2,
        width,
        height,
    };
    let title = theme.clip(&format!(" {title} "), usize::from(width).saturating_sub(2));
    let block = Block::bordered()
        .border_set(theme.glyphs.border)
        .title(Span::styled(title, Style::reset().patch(theme.strong())));
    let inside = block.inner(area);
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    Rect { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside }
}
