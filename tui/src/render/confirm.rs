//! The dialog before a risky action.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::popup;
use crate::app::App;
use crate::mode::{Button, Question};
use crate::text::wrap;

/// ```text
/// ┌ Refresh 8f1c02aa once? ───────────────────────────────┐
/// │ It is parked: wrong password. Another wrong password  │
/// │ could lock the account.                               │
/// │                                                       │
/// │ [ Cancel ]  [ Refresh ]                               │
/// └───────────────────────────────────────────────────────┘
/// ```
pub(super) fn render(frame: &mut Frame<'_>, app: &App, question: &Question, focus: Button, screen: Rect) {
    let theme = app.theme;
    let columns = popup::columns(screen);
    let mut lines: Vec<Line<'_>> =
        wrap(&theme.printable(&question.text), columns.into()).into_iter().map(Line::raw).collect();
    // The buttons must be visible, even under a long text.
    let gap = u16::from(screen.height > 12);
    lines.truncate(screen.height.saturating_sub(3 + gap).into());
    let height = u16::try_from(lines.len()).unwrap_or(screen.height) + 1 + gap;
    let inside = popup::render(frame, theme, &question.title, (columns, height), screen);

    let button = |this: Button, word: &str| {
        let style =
            if this == focus { theme.reverse().patch(theme.strong()) } else { ratatui::style::Style::new() };
        let (left, right) = if this == focus { (">", "<") } else { (" ", " ") };
        Span::styled(format!("[{left}{word}{right}]"), style)
    };
    if gap > 0 {
        lines.push(Line::default());
    }
    lines.push(Line::from(vec![
        button(Button::Cancel, "Cancel"),
        Span::raw("  "),
        button(Button::Go, question.verb),
    ]));
    frame.render_widget(Paragraph::new(lines), inside);
}
