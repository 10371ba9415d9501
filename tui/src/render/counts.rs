//! The whole screen when it is too small for panels: what is wrong, and how many of each status.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{header, summary};
use crate::app::App;

/// ```text
/// DAEMON UNREACHABLE for 42s
/// 3 expired
/// 2 parked
/// 128 total
/// ```
pub(super) fn render(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let theme = app.theme;
    let mut lines = Vec::new();
    if let Some(alarm) = header::alarm(app, area.width.into()) {
        lines.push(Line::styled(theme.clip(&alarm, area.width.into()), theme.alarm()));
    }
    match &app.scene().picture.overview {
        None => lines.push(Line::raw(theme.clip("connecting", area.width.into()))),
        Some(overview) => {
            if !overview.cron.running {
                lines.push(Line::styled(theme.clip("loop STOPPED", area.width.into()), theme.alarm()));
            }
            let mut pieces = summary::pieces(theme, &overview.summary);
            pieces.sort_by_key(|piece| piece.rank);
            // On the flattest screens all counts share the lines that there are.
            let room = usize::from(area.height).saturating_sub(lines.len()).max(1);
            for shared in pieces.chunks(pieces.len().div_ceil(room).max(1)) {
                let spans = shared.iter().enumerate().flat_map(|(at, piece)| {
                    let gap = if at == 0 { "" } else { "  " };
                    std::iter::once(Span::raw(gap)).chain(piece.spans.iter().cloned())
                });
                lines.push(Line::from(spans.collect::<Vec<_>>()));
            }
        }
    }
    frame.render_widget(Paragraph::new(lines), area);
}
