//! The menu of orders.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::popup;
use crate::app::App;
use crate::view::Sort;

/// ```text
/// ┌ Sort by ──────────┐
/// │ ▶ problems first  │
/// │   LEFT            │
/// └───────────────────┘
/// ```
pub(super) fn render(frame: &mut Frame<'_>, app: &App, chosen: usize, screen: Rect) {
    let theme = app.theme;
    let line = |(at, sort): (usize, Sort)| {
        let pointer = if at == chosen { theme.glyphs.pointer } else { " " };
        let arrow = if sort == app.view.sort { theme.arrow(app.view.direction) } else { "" };
        let style = if at == chosen { theme.reverse() } else { Style::new() };
        Line::styled(format!("{pointer} {:<16}{arrow:<2}", sort.word()), style)
    };
    let lines: Vec<Line<'_>> = Sort::ALL.iter().copied().enumerate().map(line).collect();
    let height = u16::try_from(lines.len()).unwrap_or_default();
    let inside = popup::render(frame, theme, "Sort by", (20, height), screen);
    frame.render_widget(Paragraph::new(lines), inside);
}
