//! The whole screen if it is too small for panels: the outage, and the customers by status.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::line::{self, Piece};
use super::{header, summary};
use crate::app::App;
use crate::text::time_exact;

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
    if let Some(at) = app.frozen_at() {
        let frozen = format!("FROZEN {}", time_exact(at, at));
        lines.push(Line::styled(theme.clip(&frozen, area.width.into()), theme.reverse()));
    }
    match &app.scene().snapshot.overview {
        None => lines.push(Line::raw(theme.clip("connecting", area.width.into()))),
        Some(overview) => {
            if !overview.cron.running {
                lines.push(Line::styled(theme.clip("loop STOPPED", area.width.into()), theme.alarm()));
            }
            let mut pieces = summary::pieces(theme, overview);
            pieces.sort_by_key(|piece| piece.rank);
            let room = usize::from(area.height).saturating_sub(lines.len()).max(1);
            lines.extend(arrange_pieces(pieces, area.width.into(), room));
        }
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// Arranges pieces in at most `room` lines: one per line if they fit, else as many side by side as fit whole. The last
/// ones are left out, because a count without its word says nothing.
fn arrange_pieces(pieces: Vec<Piece<'static>>, columns: usize, room: usize) -> Vec<Line<'static>> {
    let is_tall = pieces.len() <= room;
    let mut lines: Vec<Vec<Piece<'static>>> = vec![];
    for piece in pieces {
        let fits = |line: &&mut Vec<Piece<'_>>| line::width(line, GAP) + GAP + piece.width() <= columns;
        match lines.last_mut().filter(|line| !is_tall && fits(line)) {
            Some(line) => line.push(piece),
            None => lines.push(vec![piece]),
        }
    }
    lines.into_iter().take(room).map(|pieces| line::fit(pieces, columns, &[GAP])).collect()
}

/// The columns between two counts in a line.
const GAP: usize = 2;
